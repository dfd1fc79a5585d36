//! The tables of a page, and what they name in the sources.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

use crate::sources::{Names, text};

/// The column that names tests.
pub(crate) const TEST_COLUMN: &str = "Test";

/// A row of one of a page's tables, by the names of its columns.
pub(crate) type Row = BTreeMap<String, String>;

/// Holds every name in a page's tables against the source that it is said to be in; there have to be more than so many.
pub(crate) fn every_name_exists(page: &str, at_least: usize) -> Result<()> {
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

/// The rows of every table of a page.
pub(crate) fn rows(page: &str) -> Result<Vec<Row>> {
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
pub(crate) fn links(cell: &str) -> Vec<(String, String)> {
    let links = cell.split("[`").skip(1).filter_map(|rest| rest.split_once("`](../"));
    links.filter_map(|(name, rest)| Some((name.to_owned(), rest.split_once(')')?.0.to_owned()))).collect()
}
