//! The audit log: every act of a person or device, chained by hashes (`wardlink_trust::audit`), written in the turn of the act.

use super::Site;
use super::authority::Authority;
use core::fmt::Write as _;
use data_encoding::BASE64;
use wardlink_edge::messages::{AuditQuery, Note};
use wardlink_edge::platform::log;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, record};
use wardlink_protocol::Device;
use wardlink_protocol::api::{AuditEntry, AuditOutcome, AuditPage, Person};
use wardlink_protocol::identity::{KeyFingerprint, Sha256};
use wardlink_trust::audit::{Act, Actor, Draft, Head, Outcome as Went, Record, SignedHead};
use worker::Response;

/// The entries of one page.
const PAGE: usize = 100;
/// The entries of one part of an export.
const EXPORT: u64 = 5_000;
/// The notes of the accounts that are remembered: more than are ever under way.
const REMEMBERED_NOTES: usize = 500;
/// The longest text that is looked for, in bytes.
const MAX_FIND_BYTES: usize = 128;

/// What a turn has to write.
#[derive(Default)]
pub(super) struct Notes {
    drafts: Vec<Draft>,
    /// The notes of the accounts among them.
    told: Vec<u64>,
}

impl Notes {
    /// Somebody did something.
    pub(super) fn add(
        &mut self,
        actor: Actor,
        act: Act,
        subject: &(impl ToString + ?Sized),
        detail: impl Into<String>,
    ) {
        self.put(actor, act, subject, detail, Went::Done);
    }

    /// A person did something. No person: the holder of the bootstrap token.
    pub(super) fn by(
        &mut self,
        person: Option<&Person>,
        act: Act,
        subject: &(impl ToString + ?Sized),
        detail: impl Into<String>,
    ) {
        self.add(actor(person), act, subject, detail);
    }

    /// Somebody did something, and this is how it went.
    pub(super) fn put(
        &mut self,
        actor: Actor,
        act: Act,
        subject: &(impl ToString + ?Sized),
        detail: impl Into<String>,
        outcome: Went,
    ) {
        self.drafts.push(Draft { actor, act, subject: subject.to_string(), detail: detail.into(), outcome });
    }

    /// What the accounts and the distribution server tell, at least once: what is written already counts no second time.
    pub(super) fn take(&mut self, database: &Database, notes: Vec<Note>) -> Result<(), Failure> {
        let known = taken(database)?;
        for note in notes.into_iter().filter(|note| !known.contains(&note.id)) {
            self.told.push(note.id);
            let outcome = if note.refused { Went::Refused } else { Went::Done };
            self.put(actor(note.person.as_ref()), note.act, &note.subject, note.detail, outcome);
        }
        Ok(())
    }

    /// Writes them, at the end of the log.
    pub(super) fn write(self, site: &Site<'_>) -> Result<(), Failure> {
        if self.drafts.is_empty() {
            return Ok(());
        }
        let mut head = head(site.database, &site.authority)?;
        for draft in self.drafts {
            let (entry, next) = head.append(draft, site.now).map_err(Failure::internal)?;
            store(site.database, &entry)?;
            head = next;
        }
        if self.told.is_empty() {
            return Ok(());
        }
        let mut known = taken(site.database)?;
        known.extend(self.told);
        let old = known.len().saturating_sub(REMEMBERED_NOTES);
        known.drain(..old);
        site.database.run("INSERT OR REPLACE INTO notes_taken (one, ids) VALUES (1, ?)", [record(&known)?])
    }
}

/// Whether somebody may have done this at the distribution server: it can say nothing else of anybody.
pub(super) fn is_distributions(note: &Note) -> bool {
    let is = matches!(
        note.act,
        Act::FlagAcknowledged
            | Act::GapConceded
            | Act::GatewayChanged
            | Act::InventoryImported
            | Act::ManufacturerChanged
            | Act::PatientAssigned
            | Act::RecordsAsked
            | Act::RecordsExported
            | Act::ReleasesPublished
            | Act::RulesChanged
            | Act::UpdateDecided
    );
    if !is {
        log!("site: the distribution server tells of what is not done there: {:?}", note.act);
    }
    is
}

/// The newest notes that are written.
fn taken(database: &Database) -> Result<Vec<u64>, Failure> {
    let stored = database.row("SELECT ids FROM notes_taken", [])?;
    Ok(stored.map(|mut row| row.take_record()).transpose()?.unwrap_or_default())
}

/// A person, as the log names her.
pub(super) fn actor(person: Option<&Person>) -> Actor {
    person.map_or(Actor::System, |person| Actor::Person { name: person.name.clone(), role: person.role })
}

/// A device, as the log names it.
pub(super) fn device(device: &Device, key: KeyFingerprint) -> Actor {
    Actor::Device { device: device.clone(), key }
}

/// The name that keeps the logs of two sites apart: the SHA-256 of the root under which the log began.
fn site_name(database: &Database, authority: &Authority) -> Result<String, Failure> {
    let kept: Option<String> = database.one("SELECT name FROM log_name", [])?;
    Ok(kept.unwrap_or_else(|| authority.root().to_string()))
}

/// The site chooses another root: a log that has begun keeps its name.
pub(super) fn keep_name(database: &Database, root: Option<Sha256>) -> Result<(), Failure> {
    let Some(root) = root else { return Ok(()) };
    let query = "INSERT OR IGNORE INTO log_name (one, name) SELECT 1, ? WHERE EXISTS (SELECT 1 FROM audit)";
    database.run(query, [root.to_string().into_value()])
}

fn beginning(database: &Database, authority: &Authority) -> Result<Head, Failure> {
    Head::beginning(&site_name(database, authority)?).map_err(Failure::internal)
}

fn head(database: &Database, authority: &Authority) -> Result<Head, Failure> {
    let last = database.row("SELECT record FROM audit ORDER BY sequence DESC LIMIT 1", [])?;
    let Some(mut row) = last else { return beginning(database, authority) };
    let last: Record = row.take_record()?;
    Ok(Head { sequence: last.entry.sequence, hash: last.hash })
}

fn store(database: &Database, entry: &Record) -> Result<(), Failure> {
    let Record { entry: written, .. } = entry;
    database.run(
        "INSERT INTO audit (sequence, act, words, record) VALUES (?, ?, ?, ?)",
        [
            written.sequence.into_value(),
            written.act.word().to_owned().into_value(),
            format!("{} {} {}", written.actor, written.subject, written.detail).to_lowercase().into_value(),
            record(entry)?,
        ],
    )
}

/// The newest entries that a query asks for.
pub(super) fn page(database: &Database, query: AuditQuery) -> Result<AuditPage, Failure> {
    let find = query.find.unwrap_or_default().to_lowercase();
    let find: String = find.chars().take(MAX_FIND_BYTES).collect();
    let statement = "SELECT record FROM audit
                     WHERE sequence < ? AND (? = '' OR act = ?) AND (? = '' OR instr(words, ?) > 0)
                     ORDER BY sequence DESC LIMIT ?";
    let act = query.act.map(|act| act.word().to_owned()).unwrap_or_default();
    let values = [
        query.before.unwrap_or(u64::MAX).into_value(),
        act.clone().into_value(),
        act.into_value(),
        find.clone().into_value(),
        find.into_value(),
        u64::try_from(PAGE + 1).unwrap_or(u64::MAX).into_value(),
    ];
    let rows = database.rows(statement, values)?.into_iter();
    let mut entries = rows.map(|mut row| Ok(entry(row.take_record()?))).collect::<Result<Vec<_>, Failure>>()?;
    let more = entries.len() > PAGE;
    entries.truncate(PAGE);
    Ok(AuditPage { entries, more })
}

fn entry(record: Record) -> AuditEntry {
    let Record { entry, hash } = record;
    let role = match &entry.actor {
        Actor::Person { role, .. } => Some(*role),
        Actor::Device { .. } | Actor::Rule { .. } | Actor::System => None,
    };
    AuditEntry {
        sequence: entry.sequence,
        at: entry.at,
        actor: entry.actor.to_string(),
        role,
        act: entry.act.word().to_owned(),
        subject: entry.subject,
        detail: entry.detail,
        outcome: match entry.outcome {
            Went::Done => AuditOutcome::Done,
            Went::Begun => AuditOutcome::Begun,
            Went::Refused => AuditOutcome::Refused,
            Went::Failed => AuditOutcome::Failed,
        },
        hash,
    }
}

/// A part of the log as lines of JSON, oldest first, from the entry after `after` on. Behind the last entry of the log stands its signed
/// head.
pub(super) fn export(site: &Site<'_>, after: u64) -> Result<Response, Failure> {
    let statement = "SELECT record FROM audit WHERE sequence > ? ORDER BY sequence LIMIT ?";
    let mut text = String::new();
    let (mut last, mut count) = (after, 0);
    for mut row in site.database.rows(statement, [after.into_value(), EXPORT.into_value()])? {
        let record: Record = row.take_record()?;
        last = record.entry.sequence;
        count += 1;
        text.push_str(&record.to_line().map_err(Failure::internal)?);
        text.push('\n');
    }
    if count < EXPORT {
        let head = head(site.database, &site.authority)?;
        let name = site_name(site.database, &site.authority)?;
        let signed = SignedHead::sign(head, &name, site.authority.key()?, &site.authority.chain()?, site.now);
        let signed = BASE64.encode(&signed.map_err(Failure::internal)?);
        writeln!(text, "{}", serde_json::json!({ "site": name, "signed_head": signed })).map_err(Failure::internal)?;
    }
    let response = Response::ok(text)?;
    response.headers().set("Content-Type", "application/x-ndjson")?;
    if count == EXPORT {
        response.headers().set("Wardlink-Continue-After", &last.to_string())?;
    }
    Ok(response)
}
