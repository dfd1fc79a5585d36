//! `docs/coupling.md` and `docs/threat-model.md` against the sources: what they name exists.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};

use crate::tables::{TEST_COLUMN, every_name_exists, links, rows};

const COUPLING: &str = "docs/coupling.md";
const THREATS: &str = "docs/threat-model.md";
const NOT_YET: &str = "not yet";

#[test]
fn every_name_in_the_table_of_the_patent_exists() -> Result<()> {
    every_name_exists(COUPLING, 200)
}

#[test]
fn every_test_that_the_threat_model_names_exists() -> Result<()> {
    every_name_exists(THREATS, 40)
}

#[test]
fn every_step_and_claim_of_the_patent_has_code_and_test_or_says_what_is_missing() -> Result<()> {
    let rows = rows(COUPLING)?;
    let places: BTreeSet<&str> = rows.iter().filter_map(|row| row.get("Place")).map(String::as_str).collect();
    let steps = (1..=10).map(|number| format!("S{number}"));
    let claims = (1..=15).map(|number| format!("claim {number}"));
    for place in steps.chain(claims) {
        let is_there = |found: &&str| **found == place || found.starts_with(&format!("{place}, "));
        ensure!(places.iter().any(is_there), "docs/coupling.md has no row for {place}");
    }
    for row in rows.iter().filter(|row| row.contains_key("Place")) {
        let cell = |column: &str| row.get(column).with_context(|| format!("a row without {column}: {row:?}"));
        let is_missing = row.values().any(|cell| cell.to_lowercase().contains(NOT_YET));
        let is_shown = !links(cell("Code")?).is_empty() && !links(cell(TEST_COLUMN)?).is_empty();
        ensure!(is_shown || is_missing, "neither code and test nor \"{NOT_YET}\": {row:?}");
    }
    Ok(())
}
