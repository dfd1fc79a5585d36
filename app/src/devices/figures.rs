//! The measurements of a device as large figures, each with its recent course.

use std::fmt::Write as _;

use leptos::prelude::*;
use wardlink_protocol::report::Telemetry;

use crate::app::use_text;
use crate::format;
use crate::live::History;
use crate::text::Language;

/// The drawing's size, in its own units.
const WIDTH: u32 = 240;
const HEIGHT: u32 = 48;

/// The points of a line through a series, for an SVG polyline; empty for fewer than two values. A constant series is a line in the middle.
fn points(series: &[u32]) -> String {
    let (Some(&low), Some(&high)) = (series.iter().min(), series.iter().max()) else { return String::new() };
    let Some(steps) =
        u64::try_from(series.len()).ok().and_then(|length| length.checked_sub(1)).filter(|steps| *steps > 0)
    else {
        return String::new();
    };
    let span = u64::from(high - low);
    let mut text = String::new();
    for (index, &value) in (0_u64..).zip(series) {
        let x = index * u64::from(WIDTH) / steps;
        let y = match span {
            0 => u64::from(HEIGHT) / 2,
            _ => u64::from(high - value) * u64::from(HEIGHT) / span,
        };
        // Writing to a String cannot fail.
        let _ = write!(text, "{x},{y} ");
    }
    text
}

/// One kind of measurement.
#[derive(Clone, Copy)]
struct Measure {
    name: &'static str,
    unit: &'static str,
    figure: fn(&Telemetry) -> u32,
    text: fn(u32, Language) -> String,
}

/// All measurements of an infusion pump.
#[component]
pub(super) fn Figures(history: ArcRwSignal<History>) -> impl IntoView {
    let t = use_text();
    let whole: fn(u32, Language) -> String = |value, _| value.to_string();
    let measures = [
        Measure { name: t.rate(), unit: "mL/h", figure: |m| m.rate_ul_per_h, text: format::millilitres },
        Measure { name: t.infused(), unit: "mL", figure: |m| m.infused_ul, text: format::millilitres },
        Measure { name: t.remaining(), unit: "mL", figure: |m| m.remaining_ul, text: format::millilitres },
        Measure { name: t.pressure(), unit: "mmHg", figure: |m| m.pressure_mmhg.into(), text: whole },
        Measure { name: t.battery(), unit: "%", figure: |m| m.battery_percent.into(), text: whole },
    ];
    let figures = measures.map(|measure| {
        let newest = Memo::new({
            let history = history.clone();
            move |_| history.with(|history| history.newest().map(measure.figure))
        });
        let line = Memo::new({
            let history = history.clone();
            move |_| history.with(|history| points(&history.series(measure.figure)))
        });
        let value = move || newest.get().map_or_else(|| "–".to_owned(), |value| (measure.text)(value, t));
        view! {
            <div class="figure" data-testid="figure">
                <dt>{measure.name}</dt>
                <dd><b>{value}</b> <span>{measure.unit}</span></dd>
                <svg class="spark" viewBox=format!("0 -4 {WIDTH} {}", HEIGHT + 8) preserveAspectRatio="none" aria-hidden="true" focusable="false">
                    <polyline points=line></polyline>
                </svg>
            </div>
        }
    });
    view! { <dl class="figures" data-testid="telemetry">{figures.into_iter().collect_view()}</dl> }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_spans_the_drawing() {
        assert_eq!(points(&[0, 10, 5]), "0,48 120,0 240,24 ");
    }

    #[test]
    fn a_constant_series_is_a_line_in_the_middle() {
        assert_eq!(points(&[7, 7]), "0,24 240,24 ");
    }

    #[test]
    fn one_value_is_no_line() {
        assert_eq!(points(&[7]), "");
        assert_eq!(points(&[]), "");
    }

    #[test]
    fn the_largest_values_do_not_overflow() {
        assert_eq!(points(&[0, u32::MAX]), "0,48 240,0 ");
    }
}
