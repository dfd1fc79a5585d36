//! `docs/coupling.md` and `docs/threat-model.md` against the sources: what they name exists.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};

use crate::sources::{Names, text};

const TEST_COLUMN: &str = "Test";
const COUPLING: &str = "docs/coupling.md";
const THREATS: &str = "docs/threat-model.md";
const NOT_YET: &str = "not yet";

/// A row of one of the page's tables, by the names of its columns.
type Row = BTreeMap<String, String>;

#[test]
fn every_name_in_the_table_of_the_patent_exists() -> Result<()> {
    every_name_exists(COUPLING, 200)
}

#[test]
fn every_test_that_the_threat_model_names_exists() -> Result<()> {
    every_name_exists(THREATS, 40)
}

fn every_name_exists(page: &str, at_least: usize) -> Result<()> {
    let mut sources: BTreeMap<String, Names> = BTreeMap::new();
    let (mut count, mut missing) = (0, Vec::new());
    for row in rows(page)? {
        for (column, cell) in &row {
            for (name, path) in links(cell) {
                if !sources.contains_key(&path) {
                    sources.insert(path.clone(), Names::of(&path)?);
                }
                let names = sources.get(&path).context("a source that was read")?;
                let known = if column == TEST_COLUMN { &names.tests } else { &names.items };
                if !known.contains(&name) {
                    missing.push(format!("{path} has no {name} ({column})"));
                }
                count += 1;
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new(), "{page} names what is not there");
    ensure!(count > at_least, "the names in {page} are no longer found: {count}");
    Ok(())
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

/// The rows of every table of a page.
fn rows(page: &str) -> Result<Vec<Row>> {
    let page = text(page)?;
    let mut rows = Vec::new();
    let mut header: Option<Vec<String>> = None;
    for line in page.lines() {
        let Some(line) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            header = None;
            continue;
        };
        let cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
        match &header {
            None => header = Some(cells),
            Some(_) if cells.iter().all(|cell| cell.starts_with("--")) => {}
            Some(header) => {
                ensure!(cells.len() == header.len(), "a row with {} cells: {line}", cells.len());
                rows.push(header.iter().cloned().zip(cells).collect());
            }
        }
    }
    Ok(rows)
}

/// The links of a cell that name something in a source: ``[`name`](../path)``.
fn links(cell: &str) -> Vec<(String, String)> {
    let links = cell.split("[`").skip(1).filter_map(|rest| rest.split_once("`](../"));
    links.filter_map(|(name, rest)| Some((name.to_owned(), rest.split_once(')')?.0.to_owned()))).collect()
}
