//! What counts of a device, as a file.

use wardlink_protocol::Device;
use wardlink_protocol::api::{RecordedValue, RecordsPage};

use crate::api::{self, Failure};
use crate::app::App;
use crate::csv::{cell, table};
use crate::ui::export::{CSV, Saved};

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// For tables.
    Csv,
    /// For programs.
    Json,
}

/// Everything that counts of a device, all pages, one after the other.
pub(super) async fn collect(app: App, device: Device, kind: Kind) -> Result<Saved, Failure> {
    let (mut values, mut after) = (Vec::new(), 0);
    loop {
        let page: RecordsPage = app.get(&format!("/records/{device}/values?after={after}")).await?;
        values.extend(page.values);
        match page.next {
            Some(next) => after = next,
            None => return Ok(saved(&device, kind, &values)),
        }
    }
}

fn saved(device: &Device, kind: Kind, values: &[RecordedValue]) -> Saved {
    let (ending, media, text) = match kind {
        Kind::Csv => ("csv", CSV, csv(values)),
        Kind::Json => ("json", "application/json", api::json(&values).unwrap_or_default()),
    };
    Saved { name: format!("{}-{}.{ending}", device.client, device.identifier), media, text, entries: values.len() }
}

/// A table; times in milliseconds since 1970.
fn csv(values: &[RecordedValue]) -> String {
    let names = ["position", "at", "received_at", "chain", "sequence", "patient", "series", "value", "unit"];
    let rows = values.iter().map(|value| {
        [
            value.position.to_string(),
            value.at.0.to_string(),
            value.received_at.0.to_string(),
            value.chain.to_string(),
            value.sequence.to_string(),
            value.patient.map(|patient| patient.to_string()).unwrap_or_default(),
            cell(&value.series),
            cell(&value.value),
            cell(value.unit.as_deref().unwrap_or_default()),
        ]
    });
    table(names, rows)
}
