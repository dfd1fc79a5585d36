//! What a benchmark found, and how it is told.

use std::collections::BTreeMap;
use std::env;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// Figures by their keys.
#[derive(Clone, Debug, Default)]
pub struct Figures(BTreeMap<String, f64>);

impl Figures {
    /// Adds a figure, to three decimals.
    pub fn put(&mut self, key: &str, value: f64) {
        self.0.insert(key.to_owned(), (value * 1000.0).round() / 1000.0);
    }

    /// Adds a time in milliseconds.
    pub fn put_ms(&mut self, key: &str, time: Duration) {
        self.put(key, time.as_secs_f64() * 1000.0);
    }

    /// Takes over what else was found.
    pub fn take(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Prints one flat JSON object where the program was started with `--json`, and lines for people otherwise.
    pub fn print(&self) -> Result<()> {
        if env::args().any(|argument| argument == "--json") {
            println!("{}", serde_json::to_string(&self.0).context("cannot write JSON")?);
        } else {
            for (key, value) in &self.0 {
                println!("{key:<50} {value:>12.3}");
            }
        }
        Ok(())
    }
}

/// The smallest of the values that at least `percent` of them do not exceed.
pub fn percentile(values: &[Duration], percent: usize) -> Result<Duration> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100);
    match sorted.get(rank.saturating_sub(1)) {
        Some(value) => Ok(*value),
        None => bail!("nothing was measured"),
    }
}

/// The number that follows an argument such as `--count`, or a default.
pub fn argument(name: &str, default: usize) -> Result<usize> {
    match env::args().skip_while(|argument| argument != name).nth(1) {
        Some(text) => text.parse().with_context(|| format!("{name} takes a number")),
        None => Ok(default),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::percentile;

    #[test]
    fn a_percentile_is_one_of_the_values() -> anyhow::Result<()> {
        let values: Vec<Duration> = (1..=10).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&values, 50)?, Duration::from_millis(5));
        assert_eq!(percentile(&values, 99)?, Duration::from_millis(10));
        assert!(percentile(&[], 50).is_err());
        Ok(())
    }
}
