//! `docs/distribution.md` against the patent's figures and the sources: each part and step has its row, and what that names exists.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use anyhow::{Context as _, Result, ensure};

use crate::tables::{Row, every_name_exists, links, rows};

const PAGE: &str = "docs/distribution.md";
const FIGURE: &str = "Figure";
const PART: &str = "Part or step";
const WHERE: &str = "Where";
/// How a row says that nothing of ours does it.
const NONE: &str = "none";

/// The reference numbers that the description of US 2007/0136098 A1 names of each figure: parts, steps, and the whole.
const FIGURES: [(&str, &[RangeInclusive<u16>]); 14] = [
    ("1", &[10..=23]),
    ("2", &[40..=48]),
    ("3", &[60..=65]),
    ("4", &[71..=85]),
    ("5A", &[100..=106]),
    ("5B", &[120..=128]),
    ("6", &[150..=153]),
    ("7", &[160..=163]),
    ("8", &[170..=178]),
    ("9", &[190..=198]),
    ("10", &[210..=221]),
    ("11", &[230..=234]),
    ("12", &[250..=266]),
    ("13", &[270..=279]),
];

/// Its paragraphs that say what the figures don't show: interfaces, kinds of devices, and further embodiments.
const PARAGRAPHS: [u16; 14] = [24, 25, 26, 28, 29, 30, 32, 33, 43, 46, 47, 51, 52, 55];

#[test]
fn every_name_in_the_table_of_the_figures_exists() -> Result<()> {
    every_name_exists(PAGE, 150)
}

#[test]
fn every_part_and_step_of_the_figures_has_its_row_and_no_row_another_number() -> Result<()> {
    let rows = figure_rows()?;
    for (figure, ranges) in FIGURES {
        let expected: BTreeSet<u16> = ranges.iter().cloned().flatten().collect();
        let mut found = BTreeSet::new();
        for row in rows.iter().filter(|row| row.get(FIGURE).is_some_and(|of| of == figure)) {
            found.extend(numbers(cell(row, PART)?));
        }
        assert_eq!(found, expected, "{PAGE}, figure {figure}");
    }
    for row in &rows {
        let figure = cell(row, FIGURE)?;
        ensure!(FIGURES.iter().any(|(known, _)| *known == figure), "the patent has no figure {figure}");
    }
    Ok(())
}

#[test]
fn every_row_of_the_figures_names_code_or_says_that_there_is_none() -> Result<()> {
    for row in figure_rows()? {
        let counterpart = cell(&row, WHERE)?;
        let says_none = counterpart.split(|c: char| !c.is_alphabetic()).any(|word| word == NONE);
        ensure!(says_none || !links(counterpart).is_empty(), "neither code nor \"{NONE}\": {row:?}");
    }
    Ok(())
}

#[test]
fn every_further_embodiment_of_the_patent_has_its_row() -> Result<()> {
    let rows = figure_rows()?;
    for paragraph in PARAGRAPHS {
        let name = format!("[{paragraph:04}]");
        let is_named = |row: &Row| row.get(PART).is_some_and(|part| part.contains(&name));
        ensure!(rows.iter().any(is_named), "{PAGE} has no row for paragraph {name}");
    }
    Ok(())
}

/// The rows of the table of figures.
fn figure_rows() -> Result<Vec<Row>> {
    let rows: Vec<Row> = rows(PAGE)?.into_iter().filter(|row| row.contains_key(FIGURE)).collect();
    ensure!(!rows.is_empty(), "{PAGE} has no table of the figures");
    Ok(rows)
}

fn cell<'a>(row: &'a Row, column: &str) -> Result<&'a str> {
    row.get(column).map(String::as_str).with_context(|| format!("a row without {column}: {row:?}"))
}

/// The reference numbers of a cell: `18 to 23` are all of them, `15a` is 15, and paragraphs such as `[0024]` are none.
fn numbers(part: &str) -> BTreeSet<u16> {
    let (mut found, mut words, mut last) = (BTreeSet::new(), part.split_whitespace().peekable(), None);
    while let Some(word) = words.next() {
        let next = words.peek().and_then(|next| number(next));
        if word == "to"
            && let Some((from, through)) = last.zip(next)
        {
            found.extend(from..=through);
        }
        last = number(word);
        found.extend(last);
    }
    found
}

/// The number with which a word begins; none of a paragraph's.
fn number(word: &str) -> Option<u16> {
    let word = word.trim_start_matches('(');
    let digits = word.find(|c: char| !c.is_ascii_digit()).map_or(word, |end| word.get(..end).unwrap_or_default());
    digits.parse().ok()
}
