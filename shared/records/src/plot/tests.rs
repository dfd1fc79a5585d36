#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::decimal::{Decimal, SCALE};
use crate::testing::{NOW, later};
use proptest::prelude::*;

fn point(seconds: u64, value: &str) -> Point {
    Point { at: later(seconds), value: value.parse::<Decimal>().unwrap().billionths() }
}

fn plot(points: &[Point], until: u64, buckets: usize) -> Vec<Bucket> {
    let mut plot = Plot::new(NOW, later(until), buckets).unwrap();
    points.iter().copied().for_each(|point| plot.add(point));
    plot.buckets().collect()
}

#[test]
fn each_part_has_its_extremes_and_its_mean() {
    let points = [point(0, "70"), point(5, "71"), point(9, "75"), point(10, "60"), point(29, "61.5")];
    let parts = plot(&points, 30, 3);
    assert_eq!(
        parts.iter().map(|part| (part.from, part.count)).collect::<Vec<_>>(),
        [(NOW, 3), (later(10), 1), (later(20), 1)]
    );
    assert_eq!((parts[0].least, parts[0].greatest), (points[0], points[2]));
    assert_eq!(parts[0].mean, point(0, "72").value);
    assert_eq!((parts[2].least, parts[2].mean), (points[4], points[4].value));
}

#[test]
fn parts_without_values_and_values_outside_are_left_out() {
    let early = Point { at: UnixMillis(NOW.0 - 1), ..point(0, "1") };
    let parts = plot(&[early, point(0, "1"), point(99, "3"), point(100, "4")], 100, 10);
    assert_eq!(parts.iter().map(|part| part.from).collect::<Vec<_>>(), [NOW, later(90)]);
}

#[test]
fn a_mean_is_rounded_to_a_billionth() {
    let parts = plot(&[point(0, "1"), point(1, "1"), point(2, "2")], 10, 1);
    assert_eq!(parts[0].mean.to_string(), "1.333333333");
}

#[test]
fn what_is_no_plot_is_refused() {
    let refused = |from, until, buckets| Plot::new(from, until, buckets).map(drop).unwrap_err();
    assert_eq!(refused(NOW, NOW, 1), InvalidPlot::Range);
    assert_eq!(refused(later(1), NOW, 1), InvalidPlot::Range);
    assert_eq!(refused(NOW, later(1), 0), InvalidPlot::Buckets);
    assert_eq!(refused(NOW, later(1), MAX_BUCKETS + 1), InvalidPlot::Buckets);
    let mut widest = Plot::new(UnixMillis(0), UnixMillis(u64::MAX), 1).unwrap();
    widest.add(Point { at: UnixMillis(u64::MAX - 1), value: Billionths(i128::MAX) });
    assert_eq!(widest.buckets().count(), 1);
}

proptest! {
    #[test]
    fn nothing_is_lost_whatever_the_order(values in prop::collection::vec((0..1000_u64, -50..50_i128), 1..200), buckets in 1..50_usize) {
        let points: Vec<Point> = values.iter().map(|(at, value)| Point { at: later(*at), value: Billionths(value * SCALE) }).collect();
        let parts = plot(&points, 1000, buckets);
        let backwards: Vec<Point> = points.iter().rev().copied().collect();
        prop_assert_eq!(&plot(&backwards, 1000, buckets), &parts);
        prop_assert!(parts.len() <= buckets);
        prop_assert_eq!(parts.iter().map(|part| part.count).sum::<u64>(), points.len() as u64);
        let (least, greatest) = (points.iter().map(|point| point.value).min(), points.iter().map(|point| point.value).max());
        prop_assert_eq!(parts.iter().map(|part| part.least.value).min(), least);
        prop_assert_eq!(parts.iter().map(|part| part.greatest.value).max(), greatest);
        prop_assert!(parts.iter().all(|part| part.least.value <= part.mean && part.mean <= part.greatest.value));
    }
}
