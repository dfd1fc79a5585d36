//! A plot, and the same as a table beside it.

use leptos::prelude::*;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::api::{PlotBucket, RecordedAnswer, RecordsPlot};

use super::number;
use crate::app::use_text;
use crate::clock;

/// The drawing's width.
const WIDTH: f64 = 600.0;
/// The drawing's height.
const HEIGHT: f64 = 200.0;
/// Values that are closer than this are the same.
const LEAST_SPAN: f64 = 1e-9;
/// A single value is a dash; half of its length.
const DASH: f64 = 6.0;

/// The lines of a plot.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Drawing {
    /// From each part's greatest value back along the least ones.
    band: String,
    /// The means.
    line: String,
}

/// One part as numbers.
struct Part {
    x: f64,
    least: f64,
    greatest: f64,
    mean: f64,
}

fn parts(buckets: &[PlotBucket], from: UnixMillis, until: UnixMillis) -> Vec<Part> {
    #[expect(clippy::cast_precision_loss, reason = "for a drawing")]
    let share = |at: UnixMillis| at.0.saturating_sub(from.0) as f64 / until.0.saturating_sub(from.0).max(1) as f64;
    let part = |bucket: &PlotBucket| {
        Some(Part {
            x: share(bucket.from) * WIDTH,
            least: bucket.least.parse().ok()?,
            greatest: bucket.greatest.parse().ok()?,
            mean: bucket.mean.parse().ok()?,
        })
    };
    buckets.iter().filter_map(part).collect()
}

fn draw(buckets: &[PlotBucket], from: UnixMillis, until: UnixMillis) -> Drawing {
    let parts = parts(buckets, from, until);
    let bottom = parts.iter().map(|part| part.least).fold(f64::INFINITY, f64::min);
    let top = parts.iter().map(|part| part.greatest).fold(f64::NEG_INFINITY, f64::max);
    let span = top - bottom;
    // One value over and over lies in the middle.
    let y = |value: f64| if span < LEAST_SPAN { HEIGHT / 2.0 } else { HEIGHT - (value - bottom) / span * HEIGHT };
    let point = |x: f64, value: f64| format!("{x:.1},{:.1} ", y(value));
    let upper = parts.iter().map(|part| point(part.x, part.greatest));
    let lower = parts.iter().rev().map(|part| point(part.x, part.least));
    let line = match parts.as_slice() {
        // A line of one point is none.
        [only] => point(only.x - DASH, only.mean) + &point(only.x + DASH, only.mean),
        parts => parts.iter().map(|part| point(part.x, part.mean)).collect(),
    };
    Drawing { band: upper.chain(lower).collect(), line }
}

/// The plot of numbers with its table; answers as a list.
#[component]
pub(super) fn Plot(plot: RecordsPlot, name: String, from: UnixMillis, until: UnixMillis) -> impl IntoView {
    let t = use_text();
    let RecordsPlot { unit, buckets, answers } = plot;
    let unit = unit.unwrap_or_default();
    if buckets.is_empty() && answers.is_empty() {
        return view! { <p class="quiet" data-testid="no-values">{t.no_values()}</p> }.into_any();
    }
    let numbers = (!buckets.is_empty())
        .then(|| view! { <Numbers buckets=buckets name=name.clone() unit=unit from=from until=until/> });
    let said = (!answers.is_empty()).then(|| view! { <Answered answers=answers name=name/> });
    view! { {numbers} {said} }.into_any()
}

#[component]
fn Numbers(buckets: Vec<PlotBucket>, name: String, unit: String, from: UnixMillis, until: UnixMillis) -> impl IntoView {
    let t = use_text();
    let Drawing { band, line } = draw(&buckets, from, until);
    let extreme = |pick: fn(&PlotBucket) -> &String, greater: bool| {
        let value = |bucket: &PlotBucket| pick(bucket).parse::<f64>().unwrap_or_default();
        let found = buckets.iter().max_by(|one, other| {
            let order = value(one).total_cmp(&value(other));
            if greater { order } else { order.reverse() }
        });
        found.map(|bucket| number(pick(bucket), t)).unwrap_or_default()
    };
    let (greatest, least) = (extreme(|bucket| &bucket.greatest, true), extreme(|bucket| &bucket.least, false));
    let label = t.plot_label(&name, &least, &greatest, &unit);
    let heading = t.plot_table(&name, &unit);
    let rows = buckets.iter().rev().map(|bucket| {
        let [least, mean, greatest] = [&bucket.least, &bucket.mean, &bucket.greatest].map(|value| number(value, t));
        view! {
            <tr><th scope="row">{clock::day_and_time(bucket.from, t)}</th><td>{least}</td><td>{mean}</td><td>{greatest}</td><td>{bucket.count}</td></tr>
        }
    });
    view! {
        <div class="plot-with-table">
            <figure class="plot" data-testid="plot">
                <figcaption class="tiny"><span>{format!("{greatest} {unit}")}</span></figcaption>
                <svg viewBox=format!("0 -4 {WIDTH} {}", HEIGHT + 8.0) preserveAspectRatio="none" role="img" aria-label=label>
                    <polygon points=band></polygon>
                    <polyline points=line></polyline>
                </svg>
                <p class="tiny"><span>{format!("{least} {unit}")}</span></p>
                <p class="tiny ends"><span>{clock::day_and_time(from, t)}</span><span>{clock::day_and_time(until, t)}</span></p>
            </figure>
            <div class="plot-table" tabindex="0" role="region" aria-label=heading>
                <table data-testid="plot-table">
                    <thead><tr><th scope="col">{t.plot_from()}</th><th scope="col">{t.plot_least()}</th><th scope="col">{t.plot_mean()}</th><th scope="col">{t.plot_greatest()}</th><th scope="col">{t.plot_count()}</th></tr></thead>
                    <tbody>{rows.collect_view()}</tbody>
                </table>
            </div>
        </div>
    }
}

#[component]
fn Answered(answers: Vec<RecordedAnswer>, name: String) -> impl IntoView {
    let t = use_text();
    let rows = answers.into_iter().map(|one| {
        view! { <li><time>{clock::day_and_time(one.at, t)}</time><span>{one.answer}</span></li> }
    });
    view! { <ul class="events" data-testid="answers" aria-label=name>{rows.collect_view()}</ul> }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(from: u64, least: &str, mean: &str, greatest: &str) -> PlotBucket {
        let [least, mean, greatest] = [least, mean, greatest].map(str::to_owned);
        PlotBucket { from: UnixMillis(from), count: 2, least, greatest, mean }
    }

    #[test]
    fn a_plot_spans_the_drawing_from_its_least_to_its_greatest_value() {
        let drawn = draw(&[bucket(0, "60", "70", "80"), bucket(50, "70", "75", "100")], UnixMillis(0), UnixMillis(100));
        assert_eq!(drawn.line, "0.0,150.0 300.0,125.0 ");
        assert_eq!(drawn.band, "0.0,100.0 300.0,0.0 300.0,150.0 0.0,200.0 ");
    }

    #[test]
    fn one_value_alone_is_a_dash_in_the_middle() {
        let drawn = draw(&[bucket(10, "7", "7", "7")], UnixMillis(0), UnixMillis(20));
        assert_eq!(drawn.line, "294.0,100.0 306.0,100.0 ");
    }
}
