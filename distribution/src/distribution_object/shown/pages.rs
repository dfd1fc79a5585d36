//! What people read of catalog and releases.

use super::super::{DistributionObject, catalog, releases};
use serde::Deserialize;
use wardlink_edge::problem::Failure;
use wardlink_protocol::Device;
use wardlink_protocol::api::{CatalogEntry, CatalogPage, ReleaseView};
use wardlink_update::catalog::Listed;
use wardlink_update::metadata::{Target, TargetPath};
use wardlink_update::package::Release;
use worker::D1Database;
use worker::wasm_bindgen::JsValue;

/// The devices of one page.
const PAGE: usize = 100;
/// The longest text that is looked for, in characters.
const MAX_FIND_CHARS: usize = 128;
/// The most words of it.
const MAX_FIND_WORDS: usize = 8;

/// What of the catalog is asked for.
pub(in super::super) struct Question<'a> {
    pub(in super::super) find: &'a str,
    pub(in super::super) client: &'a str,
    pub(in super::super) gateway: &'a str,
    pub(in super::super) standing: &'a str,
    pub(in super::super) after: Option<&'a Device>,
}

#[derive(Deserialize)]
struct Count {
    total: u64,
}

#[derive(Deserialize)]
struct Entry {
    entry: String,
}

#[derive(Deserialize)]
struct Row {
    listed: String,
}

/// A part of the catalog.
pub(in super::super) async fn page(
    object: &DistributionObject,
    question: &Question<'_>,
) -> Result<CatalogPage, Failure> {
    let Question { client, gateway, standing, after, .. } = *question;
    let find: String = question.find.to_lowercase().chars().take(MAX_FIND_CHARS).collect();
    let find: Vec<&str> = find.split_whitespace().take(MAX_FIND_WORDS).collect();
    // Every word has to be there, or to begin a patient's reference.
    let word = "(instr(words, ?) > 0 OR (length(?) >= 6 AND instr(lower(patient), ?) = 1)) AND ";
    let condition = format!(
        "{}(? = '' OR client = ?) AND (? = '' OR gateway = ?)
         AND (? = '' OR standing = ? OR (? = 'conflict' AND conflict IS NOT NULL))",
        word.repeat(find.len())
    );
    let mut values: Vec<JsValue> = find.iter().flat_map(|word| [word; 3]).map(|&word| word.into()).collect();
    values.extend([client, client, gateway, gateway, standing, standing, standing].map(JsValue::from));
    let counted = values.clone();
    let after = after.map_or(["", ""], |device| [device.client.as_str(), device.identifier.as_str()]);
    values.extend(after.map(JsValue::from));
    let count = format!("SELECT count(*) AS total FROM devices WHERE {condition}");
    let query = format!(
        "SELECT entry FROM devices WHERE {condition} AND (client, identifier) > (?, ?)
         ORDER BY client, identifier LIMIT {}",
        PAGE + 1
    );
    let ask = |d1: &D1Database| Ok(vec![d1.prepare(&count).bind(&counted)?, d1.prepare(&query).bind(&values)?]);
    let results = object.ask(ask).await?;
    let [count, entries] = results.as_slice() else { return Err(Failure::internal("D1 answers something else")) };
    let total = count.results::<Count>()?.first().map_or(0, |count| count.total);
    let mut devices = entries
        .results::<Entry>()?
        .iter()
        .map(|row| Ok(serde_json::from_str(&row.entry)?))
        .collect::<Result<Vec<CatalogEntry>, Failure>>()?;
    let more = devices.len() > PAGE;
    devices.truncate(PAGE);
    let next = devices.last().filter(|_| more).map(|last| last.device.clone());
    Ok(CatalogPage { devices, total, next })
}

/// The packages of one manufacturer, or of all, with how many devices may take and run each of them.
pub(in super::super) async fn releases(
    object: &DistributionObject,
    manufacturer: Option<&str>,
) -> Result<Vec<ReleaseView>, Failure> {
    let query = "SELECT listed FROM releases WHERE ?1 = '' OR manufacturer = ?1 ORDER BY manufacturer, path";
    let found = object.ask(|d1| Ok(vec![d1.prepare(query).bind(&[manufacturer.unwrap_or_default().into()])?])).await?;
    let [found] = found.as_slice() else { return Err(Failure::internal("D1 answers something else")) };
    let mut listed = Vec::new();
    for row in found.results::<Row>()? {
        let (path, target): (TargetPath, Target) = serde_json::from_str(&row.listed)?;
        if let Some(Release::Package(package)) = Release::of(&path, &target).map_err(Failure::internal)? {
            listed.push(Listed { path, target, release: *package });
        }
    }
    Ok(releases::views(&listed, &catalog::states(object.database.open()?)?))
}
