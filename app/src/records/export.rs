//! What counts of a device, as a file.

use wardlink_protocol::Device;
use wardlink_protocol::api::{RecordedValue, RecordsPage};

use crate::api::{self, Failure};
use crate::app::App;
use crate::ui::file::download;

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// For tables.
    Csv,
    /// For programs.
    Json,
}

/// All pages, one after the other.
pub(super) async fn collect(app: App, device: &Device) -> Result<Vec<RecordedValue>, Failure> {
    let (mut values, mut after) = (Vec::new(), 0);
    loop {
        let page: RecordsPage = app.get(&format!("/records/{device}/values?after={after}")).await?;
        values.extend(page.values);
        match page.next {
            Some(next) => after = next,
            None => return Ok(values),
        }
    }
}

/// Hands the file to the browser.
pub(super) fn save(device: &Device, kind: Kind, values: &[RecordedValue]) {
    let name = format!("{}-{}", device.client, device.identifier);
    match kind {
        Kind::Csv => download(&format!("{name}.csv"), "text/csv;charset=utf-8", &csv(values)),
        Kind::Json => {
            download(&format!("{name}.json"), "application/json", &api::json(&values).unwrap_or_default());
        }
    }
}

/// A table (RFC 4180); times in milliseconds since 1970.
fn csv(values: &[RecordedValue]) -> String {
    let mut text = "position,at,received_at,chain,sequence,patient,series,value,unit\r\n".to_owned();
    for value in values {
        let patient = value.patient.map(|patient| patient.to_string()).unwrap_or_default();
        let columns = [
            value.position.to_string(),
            value.at.0.to_string(),
            value.received_at.0.to_string(),
            value.chain.to_string(),
            value.sequence.to_string(),
            patient,
            cell(&value.series),
            cell(&value.value),
            cell(value.unit.as_deref().unwrap_or_default()),
        ];
        text.push_str(&columns.join(","));
        text.push_str("\r\n");
    }
    text
}

/// A text that a device or patient chose: quoted, and never a formula where a spreadsheet reads it.
fn cell(text: &str) -> String {
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
}
