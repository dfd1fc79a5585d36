//! The label to print: the file as a QR code, and beside it in plain text what a person needs to know it by. No secret in plain text.

use std::sync::Arc;

use leptos::prelude::*;
use qrcode::{Color, EcLevel, QrCode};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::provisioning::Provisioning as File;

use crate::app::use_text;
use crate::clock;

/// The light margin that a reader needs (ISO/IEC 18004 section 5.3.8), in modules.
const MARGIN: usize = 4;

/// The dark modules as a path, each run of a row one rectangle; and the length of a side with its margin, in modules.
fn drawing(text: &str) -> Option<(String, usize)> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
    let width = code.width();
    let colors = code.to_colors();
    let mut path = String::new();
    for (y, row) in colors.chunks(width).enumerate() {
        let mut x = 0;
        for run in row.chunk_by(|one, other| one == other) {
            if run.first() == Some(&Color::Dark) {
                let (left, top, length) = (x + MARGIN, y + MARGIN, run.len());
                path.extend([format!("M{left} {top}h{length}v1h-{length}z")]);
            }
            x += run.len();
        }
    }
    Some((path, width + 2 * MARGIN))
}

/// The label, black on white in either theme.
#[component]
pub(super) fn Label(
    /// What it carries.
    file: Arc<File>,
    /// The class in the reader's language.
    class: String,
    /// When its access secret ends.
    #[prop(into)]
    ends: Signal<Option<UnixMillis>>,
) -> impl IntoView {
    let t = use_text();
    let drawn = file.to_label().ok().and_then(|text| drawing(&text));
    let Some((path, side)) = drawn else {
        return view! { <p class="quiet" data-testid="no-label">{t.no_label()}</p> }.into_any();
    };
    let title = file.identifier.as_ref().map_or_else(|| t.any_device().to_owned(), ToString::to_string);
    let (client, secret) = (file.client.to_string(), file.secret_id.to_string());
    let origin = file.web_origin.clone();
    view! {
        <div class="label" data-testid="label">
            <svg viewBox=format!("0 0 {side} {side}") role="img" aria-label=t.label_code() shape-rendering="crispEdges">
                <rect width=side height=side fill="#fff"></rect>
                <path d=path fill="#000"></path>
            </svg>
            <div>
                <p class="label-name">{title}</p>
                <p>{class} " (" {client} ")"</p>
                <p>{t.label_secret()} " " <span class="label-mono">{secret}</span></p>
                <p>{move || match ends.get() {
                    Some(at) => t.label_until(&clock::day(at, t)),
                    None => t.no_end().to_owned(),
                }}</p>
                <p class="label-origin">{origin}</p>
                <p class="label-origin">{t.label_is_secret()}</p>
            </div>
        </div>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    /// Paints a path of rectangles as a browser would, `scale` pixels to a module.
    fn painted(path: &str, side: usize, scale: usize) -> Vec<u8> {
        let mut grey = vec![255; side * scale * side * scale];
        for rectangle in path.split('M').skip(1) {
            let numbers: Vec<usize> = rectangle
                .split(|character: char| !character.is_ascii_digit())
                .filter(|number| !number.is_empty())
                .map(|number| number.parse().unwrap())
                .collect();
            let (x, y, run) = (numbers[0], numbers[1], numbers[2]);
            for line in y * scale..(y + 1) * scale {
                grey[line * side * scale + x * scale..line * side * scale + (x + run) * scale].fill(0);
            }
        }
        grey
    }

    #[test]
    fn the_drawing_is_read_back_as_the_text() {
        let text = "WARDLINK:1:ABCDEFGHIJKLMNOPQRSTUVWXYZ234567ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let (path, modules) = drawing(text).unwrap();
        let size = modules * 5;
        let grey = painted(&path, modules, 5);
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(size, size, |x, y| grey[y * size + x]);
        let read = image.detect_grids().into_iter().find_map(|grid| grid.decode().ok());
        assert_eq!(read.unwrap().1, text);
    }
}
