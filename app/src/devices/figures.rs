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

/// The points of a line through a series, for an SVG polyline; empty for fewer than two values. The drawing reaches from zero to `top`, or to
/// the largest value: a small change never looks like a large one.
fn points(series: &[u32], top: u32) -> String {
    let top = u64::from(series.iter().copied().fold(top.max(1), u32::max));
    let Some(steps) =
        u64::try_from(series.len()).ok().and_then(|length| length.checked_sub(1)).filter(|steps| *steps > 0)
    else {
        return String::new();
    };
    let mut text = String::new();
    for (index, &value) in (0_u64..).zip(series) {
        let x = index * u64::from(WIDTH) / steps;
        let y = (top - u64::from(value)) * u64::from(HEIGHT) / top;
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
    /// What the drawing reaches up to at least.
    top: u32,
    text: fn(u32, Language) -> String,
}

/// All measurements of an infusion pump.
#[component]
pub(super) fn Figures(history: ArcRwSignal<History>) -> impl IntoView {
    let t = use_text();
    let whole: fn(u32, Language) -> String = |value, _| value.to_string();
    let measures = [
        Measure { name: t.rate(), unit: "mL/h", figure: |m| m.rate_ul_per_h, top: 0, text: format::millilitres },
        Measure { name: t.infused(), unit: "mL", figure: |m| m.infused_ul, top: 0, text: format::millilitres },
        Measure { name: t.remaining(), unit: "mL", figure: |m| m.remaining_ul, top: 0, text: format::millilitres },
        Measure { name: t.pressure(), unit: "mmHg", figure: |m| m.pressure_mmhg.into(), top: 300, text: whole },
        Measure { name: t.battery(), unit: "%", figure: |m| m.battery_percent.into(), top: 100, text: whole },
    ];
    let figures = measures.map(|measure| {
        let newest = Memo::new({
            let history = history.clone();
            move |_| history.with(|history| history.newest().map(measure.figure))
        });
        let line = Memo::new({
            let history = history.clone();
            move |_| history.with(|history| points(&history.series(measure.figure), measure.top))
        });
        let value = move || newest.get().map_or_else(|| "–".to_owned(), |value| (measure.text)(value, t));
        view! {
            <div class="figure" data-testid="figure">
                <dt>{measure.name}</dt>
                <dd><b>{value}</b>" "<span>{measure.unit}</span></dd>
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
    fn a_line_spans_the_drawing_from_zero_to_its_largest_value() {
        assert_eq!(points(&[0, 10, 5], 0), "0,48 120,0 240,24 ");
    }

    #[test]
    fn small_changes_stay_small_under_a_top() {
        assert_eq!(points(&[82, 83], 100), "0,8 240,8 ");
    }

    #[test]
    fn nothing_at_all_lies_on_the_ground() {
        assert_eq!(points(&[0, 0], 0), "0,48 240,48 ");
    }

    #[test]
    fn one_value_is_no_line() {
        assert_eq!(points(&[7], 0), "");
        assert_eq!(points(&[], 0), "");
    }

    #[test]
    fn the_largest_values_do_not_overflow() {
        assert_eq!(points(&[0, u32::MAX], 0), "0,48 240,0 ");
    }
}
