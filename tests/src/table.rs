//! Tables as the web app saves them (RFC 4180), read independently of what wrote them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

/// A row: what stands in each column.
pub type Row = BTreeMap<String, String>;

/// Reads a table whose first row names its columns.
pub fn read(text: &str) -> Result<Vec<Row>> {
    let mut rows = cells(text)?.into_iter();
    let names = rows.next().context("a table names its columns")?;
    let row = |row: Vec<String>| {
        ensure!(row.len() == names.len(), "a row of {} cells in a table of {} columns", row.len(), names.len());
        Ok(names.iter().cloned().zip(row).collect())
    };
    rows.map(row).collect()
}

/// The cells of each row.
fn cells(text: &str) -> Result<Vec<Vec<String>>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let (mut is_quoted, mut rest) = (false, text.chars().peekable());
    while let Some(next) = rest.next() {
        match next {
            '"' if is_quoted && rest.next_if_eq(&'"').is_some() => cell.push('"'),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !is_quoted => {
                ensure!(rest.next() == Some('\n'), "a row ends with CR and LF");
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            other => cell.push(other),
        }
    }
    ensure!(!is_quoted && row.is_empty() && cell.is_empty(), "the table ends in the middle of a row");
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_commas_lines_and_quotes() -> Result<()> {
        let rows = read("a,b\r\n1,\"x, \"\"y\"\"\nz\"\r\n2,\r\n")?;
        let column = |name: &str| rows.iter().map(|row| row.get(name).map(String::as_str)).collect::<Vec<_>>();
        assert_eq!(column("a"), [Some("1"), Some("2")]);
        assert_eq!(column("b"), [Some("x, \"y\"\nz"), Some("")]);
        Ok(())
    }

    #[test]
    fn a_table_that_is_cut_off_is_none() {
        for text in ["", "a,b\r\n1", "a,b\r\n1,\"2\r\n", "a,b\r\n1\r\n"] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
