//! The catalog and the releases where people read them: in D1, so that whoever searches them keeps nobody waiting for whom this object signs.
//!
//! This object's own database decides. Triggers (`schema`) note what changes there, in the step of the change; from there D1 is brought up to date before
//! each answer that is read from it, so that an answer never lacks what was done before, and soon after a change in any case. D1 holds nothing that
//! cannot be written anew: where it is lost, or it or this object is restored from an earlier state, all of it is.
//!
//! Each batch leaves a mark of its own, and is carried out only where it finds the mark of the batch before. So one that is late, or was carried out
//! already without this object having heard of it, changes nothing.

mod pages;

pub(super) use pages::{Question, page, releases};

use super::{DistributionObject, catalog, text};
use core::cell::Cell;
use core::time::Duration;
use futures_util::lock::Mutex;
use rand_core::Rng as _;
use serde::Deserialize;
use serde_json::{Value, json};
use wardlink_edge::platform::{log, now, rng};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database};
use wardlink_protocol::api::ProblemKind;
use wardlink_protocol::{Device, UnixMillis};
use worker::wasm_bindgen::JsValue;
use worker::{D1Database, D1PreparedStatement, D1Result};

/// The binding of the database.
const BINDING: &str = "CATALOG";
/// The version of its schema. Where it has another one, it is written anew.
const VERSION: u32 = 1;
/// How many devices are written at once. A value may have 2 MB; a device has some 1,000 bytes, and several times that at most.
const DEVICES: u64 = 300;
/// How many releases one statement writes.
const RELEASES: usize = 200;
/// When it is brought up to date after a change that nobody asks for.
const LAG: Duration = Duration::from_secs(1);
/// The same after it could not be.
const RETRY: Duration = Duration::from_secs(30);

/// Which mark it carries, and for which schema.
const STAND: &str =
    "CREATE TABLE IF NOT EXISTS stand (one INTEGER PRIMARY KEY, version INTEGER NOT NULL, mark TEXT NOT NULL)";

/// What is written into an empty one. entry: as the web API gives it, JSON. listed: path and target, JSON.
const SCHEMA: [&str; 5] = [
    "DROP TABLE IF EXISTS devices",
    "DROP TABLE IF EXISTS releases",
    "CREATE TABLE devices (
        client TEXT NOT NULL,
        identifier TEXT NOT NULL,
        words TEXT NOT NULL,
        gateway TEXT,
        conflict TEXT,
        standing TEXT NOT NULL,
        patient TEXT,
        entry TEXT NOT NULL,
        PRIMARY KEY (client, identifier)
    ) WITHOUT ROWID",
    "CREATE INDEX devices_of_gateway ON devices (gateway)",
    "CREATE TABLE releases (
        manufacturer TEXT NOT NULL,
        path TEXT NOT NULL,
        listed TEXT NOT NULL,
        PRIMARY KEY (manufacturer, path)
    ) WITHOUT ROWID",
];

/// ?1: devices, JSON. ?2: the mark that has to be there.
const PUT_DEVICES: &str = "
    INSERT INTO devices (client, identifier, words, gateway, conflict, standing, patient, entry)
    SELECT value ->> '$.client', value ->> '$.identifier', value ->> '$.words', value ->> '$.gateway',
        value ->> '$.conflict', value ->> '$.entry.update', value ->> '$.patient', value -> '$.entry'
    FROM json_each(?1) WHERE (SELECT mark FROM stand) = ?2
    ON CONFLICT (client, identifier) DO UPDATE SET words = excluded.words, gateway = excluded.gateway,
        conflict = excluded.conflict, standing = excluded.standing, patient = excluded.patient, entry = excluded.entry";
/// ?1: the manufacturer. ?2: the mark that has to be there.
const FORGET_RELEASES: &str = "DELETE FROM releases WHERE manufacturer = ?1 AND (SELECT mark FROM stand) = ?2";
/// ?1: the manufacturer. ?2: the mark that has to be there. ?3: releases, JSON.
const PUT_RELEASES: &str = "
    INSERT INTO releases (manufacturer, path, listed)
    SELECT ?1, value ->> '$[0]', value FROM json_each(?3) WHERE (SELECT mark FROM stand) = ?2";

/// What is known of D1.
#[derive(Default)]
pub(super) struct Shown {
    /// Whose turn it is to write, and whether the mark is as this object knows it.
    is_known: Mutex<bool>,
    /// Whether it could not be written to last.
    has_failed: Cell<bool>,
}

/// One batch.
struct Batch {
    statements: Vec<D1PreparedStatement>,
    mark: String,
}

impl DistributionObject {
    /// D1, with everything that has changed until now.
    pub(super) async fn shown(&self) -> Result<D1Database, Failure> {
        let mut is_known = self.shown.is_known.lock().await;
        let told = self.tell_shown(&mut is_known).await;
        self.shown.has_failed.set(told.is_err());
        told.map_err(unanswered)
    }

    async fn tell_shown(&self, is_known: &mut bool) -> Result<D1Database, Failure> {
        let d1 = self.env.d1(BINDING)?;
        // Until the end: whoever fails or is cut off in between does not know which mark D1 carries.
        if !core::mem::take(is_known) {
            self.recognize(&d1).await?;
        }
        let database = self.database.open()?;
        // What changes while this waits is told with the next call: under steady change this one ends, too.
        let newest: u64 = database.one("SELECT coalesce(max(number), 0) FROM changed_devices", [])?.unwrap_or_default();
        while let Some(batch) = self.next_batch(&d1, newest).await? {
            let results = d1.batch(batch.statements).await?;
            if mark(&results)?.is_none_or(|stand| stand.mark != batch.mark) {
                return Err(Failure::internal("D1 carries a mark that nobody here has made"));
            }
            database.step(confirm)?;
        }
        *is_known = true;
        Ok(d1)
    }

    /// Sees to it that D1 carries a mark of this object; otherwise it is begun anew.
    async fn recognize(&self, d1: &D1Database) -> Result<(), Failure> {
        let look = vec![d1.prepare(STAND), d1.prepare("SELECT version, mark FROM stand")];
        let found = mark(&d1.batch(look).await?)?.filter(|stand| stand.version == VERSION);
        let database = self.database.open()?;
        let known = database.row("SELECT confirmed, pending FROM shown", [])?;
        let known: Option<(String, String)> =
            known.map(|mut row| Ok::<_, Failure>((row.take()?, row.take()?))).transpose()?;
        match (found, known) {
            (Some(found), Some((confirmed, _))) if found.mark == confirmed => Ok(()),
            (Some(found), Some((_, pending))) if found.mark == pending => database.step(confirm),
            _ => {
                log!("distribution: catalog and releases are written to D1 anew");
                let mark = new_mark();
                database.step(|database| begin_anew(database, &mark))?;
                let mut statements: Vec<_> = SCHEMA.into_iter().map(|statement| d1.prepare(statement)).collect();
                let stand = d1.prepare("INSERT OR REPLACE INTO stand (one, version, mark) VALUES (1, ?, ?)");
                statements.push(stand.bind(&[VERSION.into(), mark.into()])?);
                d1.batch(statements).await?;
                Ok(())
            }
        }
    }

    /// The oldest changes that D1 has yet to be told: none, where there is nothing up to this number, and no release.
    async fn next_batch(&self, d1: &D1Database, newest: u64) -> Result<Option<Batch>, Failure> {
        let database = self.database.open()?;
        let query = "SELECT number, manufacturer FROM changed_manufacturers ORDER BY number LIMIT 1";
        let changed = database.row(query, [])?;
        let changed: Option<(u64, String)> =
            changed.map(|mut row| Ok::<_, Failure>((row.take()?, row.take()?))).transpose()?;
        let listed = match &changed {
            Some((_, manufacturer)) => {
                let releases = self.releases().await?;
                let packages = releases.packages().iter();
                let of = packages.filter(|listed| listed.release.manufacturer.as_str() == manufacturer.as_str());
                of.map(|listed| json!([listed.path, listed.target])).collect()
            }
            None => Vec::new(),
        };
        // From here on nothing waits.
        let query =
            "SELECT max(number) FROM (SELECT number FROM changed_devices WHERE number <= ? ORDER BY number LIMIT ?)";
        let last: Option<u64> = database.one(query, [newest.into_value(), DEVICES.into_value()])?.flatten();
        if last.is_none() && changed.is_none() {
            return Ok(None);
        }
        let (before, mark) =
            database.step(|database| begin(database, last, changed.as_ref().map(|(number, _)| *number)))?;
        let condition = "(client, identifier) IN (SELECT client, identifier FROM changed_devices WHERE number <= ?)";
        let devices = catalog::shown(database, condition, [last.unwrap_or_default().into_value()])?.into_iter();
        let devices: Vec<Value> = devices
            .map(|catalog::Shown { entry, words }| {
                let Device { client, identifier } = &entry.device;
                let [gateway, conflict] = [&entry.gateway, &entry.conflict].map(|other| other.as_ref().map(ToString::to_string));
                let patient = entry.patient.map(|patient| patient.to_string());
                json!({ "client": client, "identifier": identifier, "words": words, "gateway": gateway, "conflict": conflict,
                    "patient": patient, "entry": entry })
            })
            .collect();
        let before = JsValue::from(before);
        let mut statements = Vec::new();
        if !devices.is_empty() {
            statements.push(d1.prepare(PUT_DEVICES).bind(&[json_value(&devices)?, before.clone()])?);
        }
        if let Some((_, manufacturer)) = changed {
            let manufacturer = JsValue::from(manufacturer);
            statements.push(d1.prepare(FORGET_RELEASES).bind(&[manufacturer.clone(), before.clone()])?);
            for part in listed.chunks(RELEASES) {
                let values = [manufacturer.clone(), before.clone(), json_value(part)?];
                statements.push(d1.prepare(PUT_RELEASES).bind(&values)?);
            }
        }
        statements
            .push(d1.prepare("UPDATE stand SET mark = ?1 WHERE mark = ?2").bind(&[mark.as_str().into(), before])?);
        statements.push(d1.prepare("SELECT version, mark FROM stand"));
        Ok(Some(Batch { statements, mark }))
    }

    /// When D1 is brought up to date, whether or not somebody asks; none where it is.
    pub(super) fn shown_due(&self) -> Result<Option<UnixMillis>, Failure> {
        let query = "SELECT EXISTS (SELECT 1 FROM changed_devices) OR EXISTS (SELECT 1 FROM changed_manufacturers)";
        let is_due: Option<bool> = self.database.open()?.one(query, [])?;
        let after = if self.shown.has_failed.get() { RETRY } else { LAG };
        Ok(is_due.unwrap_or_default().then(|| now().after(after)))
    }
}

/// What people are told where D1 does not answer.
fn unanswered(failure: impl Into<Failure>) -> Failure {
    match failure.into() {
        Failure::Internal(cause) => {
            log!("distribution: D1 does not answer: {cause}");
            let what = "The database of catalog and releases does not answer. Updates go on; try again in a moment.";
            Failure::with_detail(ProblemKind::Unavailable, what)
        }
        problem @ Failure::Problem(_) => problem,
    }
}

/// D1's mark.
#[derive(Deserialize)]
struct Stand {
    version: u32,
    mark: String,
}

/// The mark in the last result of a batch.
fn mark(results: &[D1Result]) -> Result<Option<Stand>, Failure> {
    let last = results.last().ok_or_else(|| Failure::internal("D1 answers nothing"))?;
    Ok(last.results::<Stand>()?.into_iter().next())
}

fn new_mark() -> String {
    format!("{:016x}{:016x}", rng().next_u64(), rng().next_u64())
}

fn json_value(value: &(impl serde::Serialize + ?Sized)) -> Result<JsValue, Failure> {
    Ok(JsValue::from(serde_json::to_string(value)?))
}

/// A batch is under way; returns the mark that it has to find, and the one that it leaves.
fn begin(database: &Database, device: Option<u64>, manufacturer: Option<u64>) -> Result<(String, String), Failure> {
    let confirmed: Option<String> = database.one("SELECT confirmed FROM shown", [])?;
    let confirmed = confirmed.ok_or_else(|| Failure::internal("D1 was never begun"))?;
    let pending = new_mark();
    let [device, manufacturer] = [device, manufacturer].map(|number| number.unwrap_or_default().into_value());
    let statement = "UPDATE shown SET pending = ?, device = ?, manufacturer = ?";
    database.run(statement, [text(&pending), device, manufacturer])?;
    Ok((confirmed, pending))
}

/// The batch that was under way was carried out.
fn confirm(database: &Database) -> Result<(), Failure> {
    database.run("DELETE FROM changed_devices WHERE number <= (SELECT device FROM shown)", [])?;
    database.run("DELETE FROM changed_manufacturers WHERE number <= (SELECT manufacturer FROM shown)", [])?;
    database.run("UPDATE shown SET confirmed = pending, device = 0, manufacturer = 0", [])
}

/// Everything has yet to be told.
fn begin_anew(database: &Database, mark: &str) -> Result<(), Failure> {
    database.run(
        "INSERT OR REPLACE INTO shown (one, confirmed, pending, device, manufacturer) VALUES (1, ?, ?, 0, 0)",
        [mark, mark].map(text),
    )?;
    database.run("DELETE FROM changed_devices", [])?;
    database.run("DELETE FROM changed_manufacturers", [])?;
    database.run("INSERT INTO changed_devices (client, identifier) SELECT client, identifier FROM devices", [])?;
    database.run("INSERT INTO changed_manufacturers (manufacturer) SELECT manufacturer FROM manufacturers", [])
}
