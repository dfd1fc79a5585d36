//! Tables for spreadsheets (RFC 4180).

/// A table: its columns' names, and its rows.
pub(crate) fn table<const N: usize>(names: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut text = names.join(",");
    text.push_str("\r\n");
    for row in rows {
        text.push_str(&row.join(","));
        text.push_str("\r\n");
    }
    text
}

/// A text that somebody else chose: quoted, and never a formula where a spreadsheet reads it.
pub(crate) fn cell(text: &str) -> String {
    let is_number = text.parse::<f64>().is_ok();
    let is_formula = !is_number && text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let guard = if is_formula { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_answer_is_quoted_and_no_formula() {
        assert_eq!(cell("37.50"), "\"37.50\"");
        assert_eq!(cell("-1.5"), "\"-1.5\"");
        assert_eq!(cell("said \"no\", twice"), "\"said \"\"no\"\", twice\"");
        for formula in ["=1+1", "@SUM(A1)", "+cmd", "-x"] {
            assert_eq!(cell(formula), format!("\"'{formula}\""));
        }
    }

    #[test]
    fn a_table_begins_with_the_names_of_its_columns() {
        let rows = [["1".to_owned(), cell("a")], ["2".to_owned(), cell("b")]].into_iter();
        assert_eq!(table(["id", "name"], rows), "id,name\r\n1,\"a\"\r\n2,\"b\"\r\n");
    }
}
