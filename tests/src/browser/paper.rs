//! What a page looks like on paper.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::Browser;

/// Pixels of a picture in which paper is looked at, for each of CSS: a printer is finer than a screen.
const FINENESS: u32 = 4;

impl Browser {
    /// Shows the page as it would be printed, or as it is.
    pub fn show_as_printed(&self, printed: bool) -> Result<()> {
        self.devtools("Emulation.setEmulatedMedia", json!({ "media": if printed { "print" } else { "" } })).map(drop)
    }

    /// Prints the page and returns how many sheets it takes, and their size in millimetres.
    pub fn print(&self) -> Result<(usize, [u32; 2])> {
        let parameters =
            json!({ "preferCSSPageSize": true, "printBackground": true, "transferMode": "ReturnAsBase64" });
        let printed = self.devtools("Page.printToPDF", parameters)?;
        let pdf = printed.get("data").and_then(Value::as_str).context("a printed page")?;
        let pdf = data_encoding::BASE64.decode(pdf.as_bytes()).context("base64")?;
        let text = String::from_utf8_lossy(&pdf);
        let sheets = text.matches("/Type /Page\n").count();
        let size = text.split("/MediaBox [").nth(1).and_then(|rest| rest.split(']').next()).context("a size")?;
        let points: Vec<f64> = size.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the size of a sheet of paper")]
        let millimetres = |points: f64| (points * 25.4 / 72.0).round() as u32;
        match points.as_slice() {
            [_, _, width, height] => Ok((sheets, [millimetres(*width), millimetres(*height)])),
            _ => anyhow::bail!("a sheet of size {size}"),
        }
    }

    /// Reads the QR code that the page shows, as a scanner reads it from paper.
    pub fn read_code(&self) -> Result<String> {
        let clip: [f64; 4] = self.script(
            "const box = document.querySelector('.label').getBoundingClientRect(); \
             return [box.x + scrollX, box.y + scrollY, box.width, box.height]",
        )?;
        let [x, y, width, height] = clip;
        let clip = json!({ "x": x, "y": y, "width": width, "height": height, "scale": FINENESS });
        let parameters = json!({ "format": "png", "clip": clip, "captureBeyondViewport": true });
        let picture = self.devtools("Page.captureScreenshot", parameters)?;
        let picture = picture.get("data").and_then(Value::as_str).context("a picture")?;
        read_code(&data_encoding::BASE64.decode(picture.as_bytes()).context("base64")?)
    }
}

fn read_code(png: &[u8]) -> Result<String> {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(png));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().context("a PNG")?;
    let mut pixels = vec![0; reader.output_buffer_size().context("the size of a picture")?];
    let frame = reader.next_frame(&mut pixels).context("a frame")?;
    let (width, height) = (usize::try_from(frame.width)?, usize::try_from(frame.height)?);
    let samples = frame.color_type.samples();
    let grey = |x: usize, y: usize| pixels.get((y * width + x) * samples).copied().unwrap_or(u8::MAX);
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, grey);
    let mut found = image.detect_grids().into_iter().filter_map(|grid| grid.decode().ok());
    Ok(found.next().context("no QR code can be read")?.1)
}
