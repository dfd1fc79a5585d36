//! The catalog and the releases where people read them: in D1, so that whoever searches them keeps nobody waiting for whom this object signs.
//!
//! This object's own database decides. Triggers (`schema`) note what changes there, in the step of the change; from there D1 is brought up to date before
//! each answer that is read from it, so that an answer never lacks what was done before, and soon after a change in any case. D1 holds nothing that
//! cannot be written anew: where it is lost, or it or this object is restored from an earlier state, all of it is.
//!
//! Each batch leaves a mark of its own, and is carried out only where it finds the mark of the batch before. So one that is late, or was carried out
//! already without this object having heard of it, changes nothing. Whoever reads looks at the mark in the same step.

mod pages;

pub(super) use pages::{Question, page, releases};

use super::{DistributionObject, catalog, text};
use core::cell::Cell;
use core::pin::pin;
use core::time::Duration;
use futures_util::future::{Either, select};
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
use worker::{D1Database, D1PreparedStatement, D1Result, Delay};

/// The binding of the database.
const BINDING: &str = "CATALOG";
/// The version of its schema. Where it has another one, it is written anew.
const VERSION: u32 = 1;
/// How many devices are written at once.
const DEVICES: u64 = 500;
/// How much one statement writes, in bytes: a value of D1 may have 2 MB. What is longer by itself is left out.
const MAX_VALUE_BYTES: usize = 1_000_000;
/// How long D1 has to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// When it is brought up to date after a change that nobody asks for.
const LAG: Duration = Duration::from_secs(1);
/// The same after it could not be.
const RETRY: Duration = Duration::from_secs(30);

/// Which mark it carries, and for which schema.
const STAND: &str =
    "CREATE TABLE IF NOT EXISTS stand (one INTEGER PRIMARY KEY, version INTEGER NOT NULL, mark TEXT NOT NULL)";

const LOOK: &str = "SELECT version, mark FROM stand";

/// What is written into an empty one. entry: as the web API gives it, JSON. listed: path and target, JSON.
const SCHEMA: [&str; 6] = [
    STAND,
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

/// Where it carries another mark than it should.
const FOREIGN: &str = "D1 carries a mark that nobody here has made";

/// What is known of D1.
#[derive(Default)]
pub(super) struct Shown {
    /// How D1 stands, and whose turn it is with it: whoever reads finds the mark that was confirmed.
    standing: Mutex<Standing>,
    /// When it has failed last; none where it has not.
    failed_at: Cell<Option<UnixMillis>>,
}

/// How D1 stands.
#[derive(Default)]
enum Standing {
    /// Which mark it carries has to be looked at.
    #[default]
    Unknown,
    /// It carries the mark that was confirmed.
    Known,
    /// It has not the tables that it should have.
    Spoilt,
}

impl Standing {
    /// What is to be done before anything else, after something has failed.
    fn after(failure: &Failure) -> Self {
        match failure {
            Failure::Internal(cause) if cause.contains("no such table") || cause.contains("no such column") => {
                Self::Spoilt
            }
            _ => Self::Unknown,
        }
    }
}

/// One batch.
struct Batch {
    statements: Vec<D1PreparedStatement>,
    mark: String,
}

impl DistributionObject {
    /// Asks D1, which has everything that has changed until now. The answers are in the order of the questions.
    async fn ask(
        &self,
        questions: impl Fn(&D1Database) -> Result<Vec<D1PreparedStatement>, Failure>,
    ) -> Result<Vec<D1Result>, Failure> {
        let mut standing = self.shown.standing.lock().await;
        let mut asked = self.try_to_ask(&mut standing, &questions).await;
        if asked.is_err() {
            // It may have been lost or restored since it was looked at. Then it is written anew.
            asked = self.try_to_ask(&mut standing, &questions).await;
        }
        drop(standing);
        asked.map_err(|failure| match failure {
            Failure::Internal(cause) => {
                log!("distribution: catalog and releases cannot be read: {cause}");
                let what =
                    "The database of catalog and releases does not answer. Updates go on; try again in a moment.";
                Failure::with_detail(ProblemKind::Unavailable, what)
            }
            problem @ Failure::Problem(_) => problem,
        })
    }

    async fn try_to_ask(
        &self,
        standing: &mut Standing,
        questions: impl Fn(&D1Database) -> Result<Vec<D1PreparedStatement>, Failure>,
    ) -> Result<Vec<D1Result>, Failure> {
        let asked = async {
            let d1 = self.tell_changes(standing).await?;
            let mut statements = questions(&d1)?;
            statements.push(d1.prepare(LOOK));
            let mut answers = within(d1.batch(statements)).await?;
            let confirmed: Option<String> = self.database.open()?.one("SELECT confirmed FROM shown", [])?;
            let found = mark(&answers)?.map(|stand| stand.mark);
            answers.pop();
            if found.is_some() && found == confirmed { Ok(answers) } else { Err(Failure::internal(FOREIGN)) }
        };
        let asked = asked.await;
        self.remember(standing, &asked);
        asked
    }

    /// Brings D1 up to date where nobody asks. After a failure it rests for a while: nobody waits for it meanwhile.
    pub(super) async fn show_changes(&self) -> Result<(), Failure> {
        if self.shown.failed_at.get().is_some_and(|at| now() < at.after(RETRY)) {
            return Ok(());
        }
        let mut standing = self.shown.standing.lock().await;
        let told = self.tell_changes(&mut standing).await.map(drop);
        self.remember(&mut standing, &told);
        told
    }

    fn remember<T>(&self, standing: &mut Standing, outcome: &Result<T, Failure>) {
        if let Err(failure) = outcome {
            *standing = Standing::after(failure);
        }
        self.shown.failed_at.set(outcome.is_err().then(now));
    }

    /// D1, with everything that has changed until now.
    async fn tell_changes(&self, standing: &mut Standing) -> Result<D1Database, Failure> {
        let d1 = self.env.d1(BINDING)?;
        // Unknown until the end: whoever is cut off in between does not know which mark D1 carries.
        match core::mem::take(standing) {
            Standing::Known => {}
            Standing::Unknown => self.recognize(&d1).await?,
            Standing::Spoilt => self.begin_anew(&d1).await?,
        }
        let database = self.database.open()?;
        // What changes while this waits is told with the next call: under steady change this one ends, too.
        let newest: u64 = database.one("SELECT coalesce(max(number), 0) FROM changed_devices", [])?.unwrap_or_default();
        while let Some(batch) = self.next_batch(&d1, newest).await? {
            let results = within(d1.batch(batch.statements)).await?;
            if mark(&results)?.is_none_or(|stand| stand.mark != batch.mark) {
                return Err(Failure::internal(FOREIGN));
            }
            self.keep_books(confirm)?;
        }
        *standing = Standing::Known;
        Ok(d1)
    }

    /// Sees to it that D1 carries a mark of this object; otherwise it is begun anew.
    async fn recognize(&self, d1: &D1Database) -> Result<(), Failure> {
        let found = mark(&within(d1.batch(vec![d1.prepare(STAND), d1.prepare(LOOK)])).await?)?;
        let found = found.filter(|stand| stand.version == VERSION);
        let database = self.database.open()?;
        let known = database.row("SELECT confirmed, pending FROM shown", [])?;
        let known: Option<(String, String)> =
            known.map(|mut row| Ok::<_, Failure>((row.take()?, row.take()?))).transpose()?;
        match (found, known) {
            (Some(found), Some((confirmed, _))) if found.mark == confirmed => Ok(()),
            (Some(found), Some((_, pending))) if found.mark == pending => self.keep_books(confirm),
            _ => self.begin_anew(d1).await,
        }
    }

    async fn begin_anew(&self, d1: &D1Database) -> Result<(), Failure> {
        log!("distribution: catalog and releases are written to D1 anew");
        let mark = new_mark();
        self.keep_books(|database| forget_all(database, &mark))?;
        let mut statements: Vec<_> = SCHEMA.into_iter().map(|statement| d1.prepare(statement)).collect();
        let stand = d1.prepare("INSERT OR REPLACE INTO stand (one, version, mark) VALUES (1, ?, ?)");
        statements.push(stand.bind(&[VERSION.into(), mark.into()])?);
        within(d1.batch(statements)).await.map(drop)
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
            self.keep_books(|database| begin(database, last, changed.as_ref().map(|(number, _)| *number)))?;
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
        for part in parts(&devices) {
            statements.push(d1.prepare(PUT_DEVICES).bind(&[part.into(), before.clone()])?);
        }
        if let Some((_, manufacturer)) = changed {
            let manufacturer = JsValue::from(manufacturer);
            statements.push(d1.prepare(FORGET_RELEASES).bind(&[manufacturer.clone(), before.clone()])?);
            for part in parts(&listed) {
                let values = [manufacturer.clone(), before.clone(), part.into()];
                statements.push(d1.prepare(PUT_RELEASES).bind(&values)?);
            }
        }
        statements
            .push(d1.prepare("UPDATE stand SET mark = ?1 WHERE mark = ?2").bind(&[mark.as_str().into(), before])?);
        statements.push(d1.prepare(LOOK));
        Ok(Some(Batch { statements, mark }))
    }

    /// A step that writes what D1 has been told: whoever looks at catalog and releases finds them as before it, and is told nothing.
    fn keep_books<T>(&self, work: impl FnOnce(&Database) -> Result<T, Failure>) -> Result<T, Failure> {
        self.hints.quietly(self.database.open()?, |database| database.step(work))
    }

    /// When D1 is brought up to date, whether or not somebody asks; none where it is.
    pub(super) fn shown_due(&self) -> Result<Option<UnixMillis>, Failure> {
        let query = "SELECT EXISTS (SELECT 1 FROM changed_devices) OR EXISTS (SELECT 1 FROM changed_manufacturers)";
        let is_due: Option<bool> = self.database.open()?.one(query, [])?;
        let due = self.shown.failed_at.get().map_or_else(|| now().after(LAG), |at| at.after(RETRY).max(now()));
        Ok(is_due.unwrap_or_default().then_some(due))
    }
}

/// What D1 answers, if it does in time.
async fn within<T>(work: impl Future<Output = worker::Result<T>>) -> Result<T, Failure> {
    match select(pin!(work), pin!(Delay::from(PATIENCE))).await {
        Either::Left((answer, _)) => Ok(answer?),
        Either::Right(_) => Err(Failure::internal("D1 does not answer in time")),
    }
}

/// Values as lists in JSON, none of which is too long for a statement.
fn parts(values: &[Value]) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for value in values.iter().map(Value::to_string) {
        if value.len() > MAX_VALUE_BYTES {
            log!("distribution: D1 cannot hold something of {} bytes", value.len());
            continue;
        }
        match parts.last_mut().filter(|part| part.len() + value.len() < MAX_VALUE_BYTES) {
            Some(part) => {
                part.push(',');
                part.push_str(&value);
            }
            None => parts.push(format!("[{value}")),
        }
    }
    for part in &mut parts {
        part.push(']');
    }
    parts
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

/// D1 has yet to be told everything, and carries this mark then.
fn forget_all(database: &Database, mark: &str) -> Result<(), Failure> {
    database.run(
        "INSERT OR REPLACE INTO shown (one, confirmed, pending, device, manufacturer) VALUES (1, ?, ?, 0, 0)",
        [mark, mark].map(text),
    )?;
    database.run("DELETE FROM changed_devices", [])?;
    database.run("DELETE FROM changed_manufacturers", [])?;
    database.run("INSERT INTO changed_devices (client, identifier) SELECT client, identifier FROM devices", [])?;
    database.run("INSERT INTO changed_manufacturers (manufacturer) SELECT manufacturer FROM manufacturers", [])
}
