//! The catalog and the outcomes, as tables.

use wardlink_protocol::api::{CatalogEntry, CatalogPage, OutcomeView};
use wardlink_protocol::{Device, UnixMillis};

use crate::api::{self, Failure};
use crate::app::App;
use crate::csv::{cell, table};
use crate::pages;
use crate::ui::export::{CSV, Saved};

/// What a question finds in the catalog.
pub(super) async fn catalog(app: App, path: String) -> Result<Saved, Failure> {
    let entries = pages::all::<CatalogPage>(app, &path).await?;
    Ok(saved("catalog.csv", catalog_table(&entries), entries.len()))
}

/// Every outcome that is kept, the newest first.
pub(super) async fn outcomes(app: App) -> Result<Saved, Failure> {
    let mut all: Vec<OutcomeView> = Vec::new();
    loop {
        let before = all.last().map(|last| format!("?before={}", last.id)).unwrap_or_default();
        let page: Vec<OutcomeView> = app.get(&format!("/outcomes{before}")).await?;
        if page.is_empty() {
            return Ok(saved("outcomes.csv", outcomes_table(&all), all.len()));
        }
        all.extend(page);
    }
}

fn saved(name: &str, text: String, entries: usize) -> Saved {
    Saved { name: name.to_owned(), media: CSV, text, entries }
}

/// The word of a value that the API writes as one.
fn word(value: &impl serde::Serialize) -> String {
    api::json(value).unwrap_or_default().trim_matches('"').to_owned()
}

fn or_nothing<T: ToString>(value: Option<&T>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

fn time(at: Option<UnixMillis>) -> String {
    at.map(|at| at.0.to_string()).unwrap_or_default()
}

/// Times in milliseconds since 1970.
fn catalog_table(entries: &[CatalogEntry]) -> String {
    let names = [
        "client",
        "identifier",
        "manufacturer",
        "model",
        "serial_number",
        "revision",
        "hardware",
        "release_counter",
        "gateway",
        "uploads",
        "conflict",
        "patient",
        "reported_at",
        "update",
        "detail",
        "failures",
        "retry_at",
        "attack",
    ];
    let rows = entries.iter().map(|entry| {
        let uploads = entry.uploads.iter().map(Device::to_string).collect::<Vec<_>>();
        [
            entry.device.client.to_string(),
            entry.device.identifier.to_string(),
            cell(&entry.manufacturer),
            cell(&entry.model),
            cell(&entry.serial_number),
            cell(&entry.revision),
            cell(&entry.hardware),
            or_nothing(entry.release_counter.as_ref()),
            or_nothing(entry.gateway.as_ref()),
            uploads.join(" "),
            or_nothing(entry.conflict.as_ref()),
            or_nothing(entry.patient.as_ref()),
            time(entry.reported_at),
            word(&entry.update),
            cell(entry.detail.as_deref().unwrap_or_default()),
            entry.failures.to_string(),
            time(entry.retry_at),
            cell(entry.attack.as_deref().unwrap_or_default()),
        ]
    });
    table(names, rows)
}

/// Times in milliseconds since 1970.
fn outcomes_table(outcomes: &[OutcomeView]) -> String {
    let names = ["id", "at", "client", "identifier", "gateway", "directive", "outcome", "detail"];
    let rows = outcomes.iter().map(|outcome| {
        [
            outcome.id.to_string(),
            outcome.at.0.to_string(),
            outcome.device.client.to_string(),
            outcome.device.identifier.to_string(),
            outcome.gateway.to_string(),
            outcome.directive.to_string(),
            cell(&outcome.outcome),
            cell(&outcome.detail),
        ]
    });
    table(names, rows)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_outcome_is_a_row_and_what_devices_say_is_no_formula() {
        let outcome = OutcomeView {
            id: 7,
            at: UnixMillis(1_000),
            gateway: "gateway/north".parse().unwrap(),
            device: "infusion-pump/ip-1".parse().unwrap(),
            directive: 3,
            outcome: "failed".to_owned(),
            detail: "=cmd".to_owned(),
        };
        let text = outcomes_table(&[outcome]);
        assert_eq!(text.lines().nth(1), Some("7,1000,infusion-pump,ip-1,gateway/north,3,\"failed\",\"'=cmd\""));
    }
}
