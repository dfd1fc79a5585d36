//! What a plot shows: of a range of time, cut into equal parts, the least, the greatest and the mean value of each.
//!
//! The order in which values come does not matter, and however many there are, the output has a bounded size. Nothing that stands out disappears: each
//! part keeps its extremes with their times.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use wardlink_protocol::UnixMillis;

use crate::decimal::Billionths;
use crate::limits::MAX_BUCKETS;
use crate::unit::divide;

/// A value at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// When.
    pub at: UnixMillis,
    /// How much, in the unit of its series.
    pub value: Billionths,
}

/// One part of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// Where it begins.
    pub from: UnixMillis,
    /// How many values it has; at least one.
    pub count: u64,
    /// The least value, the earliest of several.
    pub least: Point,
    /// The greatest value, the earliest of several.
    pub greatest: Point,
    /// The mean, rounded to a billionth.
    pub mean: Billionths,
}

/// Why there is no plot. The caller's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlot {
    /// A range that ends where it begins, or before.
    #[error("the range of time is empty")]
    Range,
    /// No parts, or too many.
    #[error("a plot has 1 to {MAX_BUCKETS} parts")]
    Buckets,
}

/// A plot of one series that is being made.
#[derive(Clone, Debug)]
pub struct Plot {
    from: UnixMillis,
    until: UnixMillis,
    /// The length of a part, in milliseconds.
    width: u64,
    parts: BTreeMap<u64, Part>,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    count: u64,
    least: Point,
    greatest: Point,
    sum: i128,
}

impl Plot {
    /// Cuts the time from `from` up to and without `until` into at most so many parts.
    pub fn new(from: UnixMillis, until: UnixMillis, buckets: usize) -> Result<Self, InvalidPlot> {
        if from >= until {
            return Err(InvalidPlot::Range);
        }
        if buckets == 0 || buckets > MAX_BUCKETS {
            return Err(InvalidPlot::Buckets);
        }
        let width = (until.0 - from.0).div_ceil(buckets as u64);
        Ok(Self { from, until, width, parts: BTreeMap::new() })
    }

    /// Adds a value; one outside the range is passed over.
    pub fn add(&mut self, point: Point) {
        if point.at < self.from || point.at >= self.until {
            return;
        }
        let place = (point.at.0 - self.from.0) / self.width;
        let new = Part { count: 0, least: point, greatest: point, sum: 0 };
        let part = self.parts.entry(place).or_insert(new);
        part.count = part.count.saturating_add(1);
        part.sum = part.sum.saturating_add(point.value.0);
        if (point.value, point.at) < (part.least.value, part.least.at) {
            part.least = point;
        }
        let is_greater = point.value > part.greatest.value;
        if is_greater || (point.value == part.greatest.value && point.at < part.greatest.at) {
            part.greatest = point;
        }
    }

    /// The parts that have values, in the order of time.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> {
        self.parts.iter().map(|(place, part)| {
            let Part { count, least, greatest, sum } = *part;
            let from = UnixMillis(self.from.0.saturating_add(place.saturating_mul(self.width)));
            let mean = divide(sum, i128::from(count)).map_or(least.value, Billionths);
            Bucket { from, count, least, greatest, mean }
        })
    }
}

#[cfg(test)]
mod tests;
