//! What tests draw, and how somebody chooses it instead.

use std::env;

use anyhow::{Context as _, Result};

/// A seed that nobody has chosen.
pub fn drawn() -> Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).context("no randomness")?;
    Ok(u64::from_le_bytes(bytes))
}

/// The number in an environment variable; none where it is not set.
pub fn number(name: &str) -> Result<Option<u64>> {
    env::var(name).ok().map(|text| text.parse().with_context(|| format!("{name} is a number"))).transpose()
}
