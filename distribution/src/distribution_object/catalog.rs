//! The configuration catalog (figure 2): what each device is and runs, and through which gateway it is updated.

use super::{DistributionObject, text};
use serde::Serialize;
use std::collections::BTreeMap;
use wardlink_edge::messages::Assigned;
use wardlink_edge::platform::now;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, Row};
use wardlink_protocol::api::{CatalogChange, CatalogDevice, CatalogEntry, Person, ProblemKind, UpdateState};
use wardlink_protocol::identity::{KeyFingerprint, PatientReference};
use wardlink_protocol::{Device, UnixMillis};
use wardlink_trust::audit::Act;
use wardlink_update::inventory::Characteristics;
use wardlink_update::package::ModelFolder;
use wardlink_update::report::State;
use worker::SqlStorageValue;

/// The changes of a device that are kept, the newest ones.
const HISTORY: u64 = 100;
/// The assignments to patients of a device that are kept, the newest ones.
const ASSIGNMENTS: u64 = 1_000;

/// The most devices of other gateways whose data may come through one: all of them are told to it in one message.
const MAX_OTHERS: u64 = 500;

const COLUMNS: &str = "client, identifier, characteristics, state, gateway, conflict, reported_at, factory_key, \
                       standing, detail, path, failures, retry_at, rests, patient";

/// A device of the catalog.
pub(super) struct Known {
    pub(super) device: Device,
    pub(super) characteristics: Characteristics,
    pub(super) state: Option<State>,
    pub(super) gateway: Option<Device>,
    pub(super) conflict: Option<Device>,
    pub(super) progress: Progress,
    reported_at: Option<UnixMillis>,
    factory_key: Option<KeyFingerprint>,
    patient: Option<PatientReference>,
}

/// How a device's update stands.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) standing: UpdateState,
    pub(super) detail: Option<String>,
    /// The package that it is given, as far as it is.
    pub(super) path: Option<String>,
    /// How often in a row it has failed.
    pub(super) failures: u64,
    /// When it is directed anew. What fails before that belongs to the attempt that has failed.
    pub(super) retry_at: UnixMillis,
    /// Whether it is given nothing until then; otherwise it goes on by itself.
    pub(super) rests: bool,
}

impl Progress {
    /// Nothing has failed.
    pub(super) const fn new(standing: UpdateState, detail: Option<String>, path: Option<String>) -> Self {
        Self { standing, detail, path, failures: 0, retry_at: UnixMillis(0), rests: false }
    }

    /// When it is directed anew; none where nothing has failed, or a person wants it tried now.
    fn retry_at(&self) -> Option<UnixMillis> {
        Some(self.retry_at).filter(|at| *at > UnixMillis(0))
    }
}

/// A device as two columns.
pub(super) fn names(device: &Device) -> [SqlStorageValue; 2] {
    [text(device.client.as_str()), text(device.identifier.as_str())]
}

/// The device in the next two columns.
pub(super) fn take_names(row: &mut Row) -> Result<Device, Failure> {
    let (client, identifier) = (row.take::<String>()?, row.take::<String>()?);
    format!("{client}/{identifier}").parse().map_err(Failure::internal)
}

fn json<T: Serialize>(value: &T) -> Result<SqlStorageValue, Failure> {
    Ok(serde_json::to_vec(value)?.into_value())
}

fn known(mut row: Row) -> Result<Known, Failure> {
    let device = take_names(&mut row)?;
    let characteristics = serde_json::from_slice(&row.take::<Vec<u8>>()?)?;
    let state: Option<Vec<u8>> = row.take()?;
    let other = |named: Option<String>| named.map(|name| name.parse()).transpose().map_err(Failure::internal);
    let (gateway, conflict) = (other(row.take()?)?, other(row.take()?)?);
    let reported_at = row.take()?;
    let factory_key: Option<Vec<u8>> = row.take()?;
    let factory_key = factory_key.and_then(|bytes| bytes.try_into().ok()).map(KeyFingerprint);
    let standing: String = row.take()?;
    Ok(Known {
        device,
        characteristics,
        state: state.map(|state| serde_json::from_slice(&state)).transpose()?,
        gateway,
        conflict,
        reported_at,
        factory_key,
        progress: Progress {
            standing: serde_json::from_value(standing.into())?,
            detail: row.take()?,
            path: row.take()?,
            failures: row.take()?,
            retry_at: row.take()?,
            rests: row.take()?,
        },
        patient: take_patient(&mut row)?,
    })
}

/// The patient in the next column.
fn take_patient(row: &mut Row) -> Result<Option<PatientReference>, Failure> {
    let patient: Option<Vec<u8>> = row.take()?;
    let wrong = |_| Failure::internal("a stored patient has another length");
    patient.map(|bytes| bytes.try_into().map(PatientReference).map_err(wrong)).transpose()
}

/// A device of the catalog; none where it is not there.
pub(super) fn find(database: &Database, device: &Device) -> Result<Option<Known>, Failure> {
    let query = format!("SELECT {COLUMNS} FROM devices WHERE client = ? AND identifier = ?");
    database.row(&query, names(device))?.map(known).transpose()
}

/// The devices of a gateway's newest report.
pub(super) fn reported(database: &Database, gateway: &Device) -> Result<Vec<Known>, Failure> {
    let query = format!(
        "SELECT {COLUMNS} FROM devices
         WHERE (client, identifier) IN (SELECT client, identifier FROM reported WHERE reported.gateway = ?)
         ORDER BY client, identifier"
    );
    database.rows(&query, [text(gateway)])?.into_iter().map(known).collect()
}

/// The devices that are updated through a gateway, itself among them.
pub(super) fn of_gateway(database: &Database, gateway: &Device) -> Result<Vec<Known>, Failure> {
    let query = format!("SELECT {COLUMNS} FROM devices WHERE gateway = ? ORDER BY client, identifier");
    database.rows(&query, [text(gateway)])?.into_iter().map(known).collect()
}

/// The counter of a device's newest report; 0 before the first.
pub(super) fn counter(database: &Database, device: &Device) -> Result<u64, Failure> {
    let query = "SELECT counter FROM devices WHERE client = ? AND identifier = ?";
    Ok(database.one(query, names(device))?.unwrap_or_default())
}

/// Stores what a device is; what it runs and where it belongs stays.
pub(super) fn put(database: &Database, is: &Characteristics, key: Option<KeyFingerprint>) -> Result<(), Failure> {
    let words =
        format!("{} {} {} {} {} {}", is.device, is.manufacturer, is.model, is.serial_number, is.revision, is.hardware);
    let [client, identifier] = names(&is.device);
    database.run(
        "INSERT INTO devices (client, identifier, characteristics, words, manufacturer, model, factory_key)
         VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (client, identifier) DO UPDATE SET characteristics = excluded.characteristics, words = excluded.words,
             manufacturer = excluded.manufacturer, model = excluded.model,
             factory_key = coalesce(excluded.factory_key, factory_key)",
        [
            client,
            identifier,
            json(is)?,
            text(words.to_lowercase()),
            text(is.manufacturer.as_str()),
            text(is.model.as_str()),
            key.map(|key| key.0.to_vec()).into_value(),
        ],
    )
}

/// Stores what a device runs, and the counter of the report that says so. `before`: what the catalog has of it.
pub(super) fn put_state(
    database: &Database,
    before: Option<&Known>,
    state: &State,
    counter: Option<u64>,
) -> Result<(), Failure> {
    let is = &state.characteristics;
    let [client, identifier] = names(&is.device);
    let times = [counter.unwrap_or_default().into_value(), now().into_value(), client, identifier];
    if before.is_some_and(|before| before.state.as_ref() == Some(state)) {
        return database.run(
            "UPDATE devices SET counter = max(counter, ?), reported_at = ? WHERE client = ? AND identifier = ?",
            times,
        );
    }
    if let Some(before) = before {
        let (from, to) = (before.characteristics.revision.to_string(), is.revision.to_string());
        if before.state.is_none() || from != to {
            note(database, &is.device, "revision", Some(&from), Some(&to))?;
        }
    } else {
        note(database, &is.device, "reported", None, Some(is.revision.as_str()))?;
    }
    count(database, before.and_then(|before| before.state.as_ref()), state)?;
    put(database, is, None)?;
    let [counter, reported_at, client, identifier] = times;
    database.run(
        "UPDATE devices SET state = ?, counter = max(counter, ?), reported_at = ? WHERE client = ? AND identifier = ?",
        [json(state)?, counter, reported_at, client, identifier],
    )
}

/// Counts what runs where: a device was in one state, and is in another one.
fn count(database: &Database, before: Option<&State>, after: &State) -> Result<(), Failure> {
    const KIND: &str =
        "manufacturer = ? AND client = ? AND model = ? AND hardware = ? AND revision = ? AND counter = ?";
    if let Some(before) = before {
        database.run(&format!("UPDATE runs SET devices = devices - 1 WHERE {KIND}"), kind(before))?;
        database.run(&format!("DELETE FROM runs WHERE {KIND} AND devices <= 0"), kind(before))?;
    }
    let [manufacturer, client, model, hardware, revision, counter] = kind(after);
    database.run(
        "INSERT INTO runs (manufacturer, client, model, hardware, revision, counter, state, devices)
         VALUES (?, ?, ?, ?, ?, ?, ?, 1)
         ON CONFLICT (manufacturer, client, model, hardware, revision, counter) DO UPDATE SET devices = devices + 1",
        [manufacturer, client, model, hardware, revision, counter, json(after)?],
    )
}

/// What of a state matters for packages.
fn kind(State { characteristics: is, release_counter, .. }: &State) -> [SqlStorageValue; 6] {
    let counter: u64 = release_counter.map_or(0, |counter| counter.number().into());
    let client = is.device.client.as_str();
    let names = [is.manufacturer.as_str(), client, is.model.as_str(), is.hardware.as_str(), is.revision.as_str()];
    let [manufacturer, client, model, hardware, revision] = names.map(text);
    [manufacturer, client, model, hardware, revision, counter.into_value()]
}

/// From now on the device is updated through this gateway, and its data may come through it. `before`: what the catalog has of it.
pub(super) fn associate(
    database: &Database,
    before: Option<&Known>,
    device: &Device,
    gateway: &Device,
) -> Result<(), Failure> {
    let present = before.and_then(|known| known.gateway.as_ref());
    if present == Some(gateway) && before.is_some_and(|known| known.conflict.is_none()) {
        return Ok(());
    }
    let after = gateway.to_string();
    let [client, identifier] = names(device);
    database.run(
        "UPDATE devices SET gateway = ?, conflict = NULL WHERE client = ? AND identifier = ?",
        [text(&after), client, identifier],
    )?;
    allow_upload(database, device, gateway, true)?;
    if let Some(other) = before.and_then(|known| known.conflict.as_ref()) {
        note(database, device, "conflict", Some(&other.to_string()), None)?;
    }
    if present != Some(gateway) {
        note(database, device, "gateway", present.map(ToString::to_string).as_deref(), Some(&after))?;
    }
    Ok(())
}

/// Two gateways report the device; none where that is over.
pub(super) fn set_conflict(database: &Database, device: &Device, other: Option<&Device>) -> Result<(), Failure> {
    let before = find(database, device)?.and_then(|known| known.conflict);
    if before.as_ref() == other {
        return Ok(());
    }
    let [client, identifier] = names(device);
    let other = other.map(ToString::to_string);
    database.run(
        "UPDATE devices SET conflict = ? WHERE client = ? AND identifier = ?",
        [other.clone().into_value(), client, identifier],
    )?;
    note(database, device, "conflict", before.map(|before| before.to_string()).as_deref(), other.as_deref())
}

/// Who reports a device beside the gateway that updates it, and was not decided against.
pub(super) fn other_reporter(
    database: &Database,
    device: &Device,
    present: &Device,
) -> Result<Option<Device>, Failure> {
    let query = "SELECT gateway FROM reported WHERE client = ?1 AND identifier = ?2 AND gateway != ?3
                     AND gateway NOT IN (SELECT gateway FROM decided_against WHERE client = ?1 AND identifier = ?2)
                 ORDER BY gateway LIMIT 1";
    let [client, identifier] = names(device);
    let other: Option<String> = database.one(query, [client, identifier, text(present)])?;
    other.map(|other| other.parse().map_err(Failure::internal)).transpose()
}

/// Whether a device's data may come through a gateway. Of devices that were its own and have moved on, it keeps those that were reported last.
pub(super) fn allow_upload(
    database: &Database,
    device: &Device,
    gateway: &Device,
    allowed: bool,
) -> Result<(), Failure> {
    let [client, identifier] = names(device);
    if !allowed {
        let statement = "DELETE FROM uploads_allowed WHERE client = ? AND identifier = ? AND gateway = ?";
        return database.run(statement, [client, identifier, text(gateway)]);
    }
    let statement = "INSERT OR IGNORE INTO uploads_allowed (client, identifier, gateway) VALUES (?, ?, ?)";
    database.run(statement, [client, identifier, text(gateway)])?;
    database.run(
        "DELETE FROM uploads_allowed WHERE gateway = ?1 AND (client, identifier) IN (
             SELECT client, identifier FROM uploads_allowed AS allowed JOIN devices USING (client, identifier)
             WHERE allowed.gateway = ?1 AND devices.gateway IS NOT ?1
             ORDER BY devices.reported_at IS NULL DESC, devices.reported_at DESC LIMIT -1 OFFSET ?2)",
        [text(gateway), MAX_OTHERS.into_value()],
    )
}

/// Whether data of this device may come through the gateway beside that of the others.
pub(super) fn check_room(database: &Database, device: &Device, gateway: &Device) -> Result<(), Failure> {
    let query = "SELECT count(*) FROM uploads_allowed AS allowed JOIN devices USING (client, identifier)
                 WHERE allowed.gateway = ?1 AND devices.gateway IS NOT ?1 AND (client, identifier) != (?2, ?3)";
    let [client, identifier] = names(device);
    let others: u64 = database.one(query, [text(gateway), client, identifier])?.unwrap_or_default();
    let is_its_own = find(database, device)?.is_some_and(|known| known.gateway.as_ref() == Some(gateway));
    if is_its_own || others < MAX_OTHERS {
        return Ok(());
    }
    let detail = format!("Data of {others} devices of other gateways comes through this one. Take one from it first.");
    Err(Failure::with_detail(ProblemKind::WrongState, detail))
}

/// The devices whose data may come through a gateway.
pub(super) fn uploads(database: &Database, gateway: &Device) -> Result<Vec<Device>, Failure> {
    let query = "SELECT client, identifier FROM uploads_allowed WHERE gateway = ?";
    let rows = database.rows(query, [text(gateway)])?.into_iter();
    rows.map(|mut row| take_names(&mut row)).collect()
}

/// The gateways that have to do with a device: the one that updates it, and those through which its data may come.
pub(super) fn gateways_of(database: &Database, device: &Device) -> Result<Vec<Device>, Failure> {
    let query = "SELECT gateway FROM devices WHERE client = ? AND identifier = ? AND gateway IS NOT NULL
                 UNION SELECT gateway FROM uploads_allowed WHERE client = ? AND identifier = ?";
    let [client, identifier] = names(device);
    let [client_again, identifier_again] = names(device);
    let rows = database.rows(query, [client, identifier, client_again, identifier_again])?;
    rows.into_iter().map(|mut row| row.take::<String>()?.parse().map_err(Failure::internal)).collect()
}

/// The gateways through which a device's data may come; or those whose session is open.
pub(super) fn uploaders(database: &Database, of: Option<&Device>) -> Result<Vec<Device>, Failure> {
    let rows = match of {
        None => database.rows("SELECT gateway FROM gateways WHERE online = 1", [])?,
        Some(device) => {
            let query = "SELECT gateway FROM uploads_allowed WHERE client = ? AND identifier = ?";
            database.rows(query, names(device))?
        }
    };
    rows.into_iter().map(|mut row| row.take::<String>()?.parse().map_err(Failure::internal)).collect()
}

/// How a device's newest update stands.
pub(super) fn set_progress(database: &Database, device: &Device, progress: Progress) -> Result<(), Failure> {
    let Progress { standing, detail, path, failures, retry_at, rests } = progress;
    let serde_json::Value::String(word) = serde_json::to_value(standing)? else {
        return Err(Failure::internal("a standing is no word"));
    };
    let [client, identifier] = names(device);
    database.run(
        "UPDATE devices SET standing = ?, detail = ?, path = ?, failures = ?, retry_at = ?, rests = ?
         WHERE client = ? AND identifier = ?",
        [
            word.into_value(),
            detail.into_value(),
            path.into_value(),
            failures.into_value(),
            retry_at.into_value(),
            rests.into_value(),
            client,
            identifier,
        ],
    )
}

/// What has failed at this gateway's devices is tried again now: a person wants it.
pub(super) fn end_pauses(database: &Database, gateway: &Device) -> Result<(), Failure> {
    let statement = "UPDATE devices SET retry_at = 0, rests = 0 WHERE gateway = ? AND retry_at > 0";
    database.run(statement, [text(gateway)])
}

/// Writes the history of a device.
pub(super) fn note(
    database: &Database,
    device: &Device,
    what: &str,
    before: Option<&str>,
    after: Option<&str>,
) -> Result<(), Failure> {
    let [client, identifier] = names(device);
    let optional = |value: Option<&str>| value.map(str::to_owned).into_value();
    database.run(
        "INSERT INTO history (client, identifier, at, what, before, after) VALUES (?, ?, ?, ?, ?, ?)",
        [client.clone(), identifier.clone(), now().into_value(), text(what), optional(before), optional(after)],
    )?;
    database.run(
        "DELETE FROM history WHERE client = ?1 AND identifier = ?2 AND number <= (SELECT number FROM history
             WHERE client = ?1 AND identifier = ?2 ORDER BY number DESC LIMIT 1 OFFSET ?3)",
        [client, identifier, HISTORY.into_value()],
    )
}

/// A device as people see it, and the words by which it is found.
pub(super) struct Shown {
    pub(super) entry: CatalogEntry,
    pub(super) words: String,
}

/// The devices for which a condition holds, as people see them.
pub(super) fn shown<const N: usize>(
    database: &Database,
    condition: &str,
    values: [SqlStorageValue; N],
) -> Result<Vec<Shown>, Failure> {
    let query = format!(
        "SELECT words, (SELECT json_group_array(allowed.gateway) FROM uploads_allowed AS allowed
             WHERE allowed.client = devices.client AND allowed.identifier = devices.identifier), {COLUMNS}
         FROM devices WHERE {condition}"
    );
    let rows = database.rows(&query, values)?.into_iter();
    rows.map(|mut row| {
        let words = row.take()?;
        let uploads: Vec<String> = serde_json::from_str(&row.take::<String>()?)?;
        let uploads = uploads.iter().map(|gateway| gateway.parse().map_err(Failure::internal));
        let uploads = uploads.collect::<Result<_, Failure>>()?;
        Ok(Shown { words, entry: entry(known(row)?, uploads) })
    })
    .collect()
}

fn entry(known: Known, uploads: Vec<Device>) -> CatalogEntry {
    let Known { device, characteristics: is, state, gateway, conflict, patient, .. } = known;
    CatalogEntry {
        device,
        manufacturer: is.manufacturer.to_string(),
        model: is.model.to_string(),
        serial_number: is.serial_number.to_string(),
        revision: is.revision.to_string(),
        hardware: is.hardware.to_string(),
        release_counter: state.as_ref().and_then(|state| state.release_counter).map(|counter| counter.number().into()),
        gateway,
        uploads,
        patient,
        conflict,
        reported_at: known.reported_at,
        factory_key: known.factory_key,
        attack: state.and_then(|state| state.attack).map(|attack| attack.to_string()),
        update: known.progress.standing,
        failures: known.progress.failures,
        retry_at: known.progress.retry_at().filter(|_| known.progress.standing == UpdateState::Retrying),
        detail: known.progress.detail,
    }
}

/// One device, with what happened to it.
pub(super) fn device(database: &Database, device: &Device) -> Result<CatalogDevice, Failure> {
    let found = shown(database, "client = ? AND identifier = ?", names(device))?;
    let Shown { entry, .. } = found.into_iter().next().ok_or(ProblemKind::NotFound)?;
    let query = "SELECT at, what, before, after FROM history WHERE client = ? AND identifier = ?
                 ORDER BY number DESC";
    let rows = database.rows(query, names(device))?.into_iter();
    let history = rows
        .map(|mut row| Ok(CatalogChange { at: row.take()?, what: row.take()?, from: row.take()?, to: row.take()? }));
    let history = history.collect::<Result<_, Failure>>()?;
    Ok(CatalogDevice { entry, history })
}

/// A person says through which gateway a device is updated; a conflict is decided with that. What other gateways go on saying of it counts for
/// nothing until they, or the one that was chosen, let it go.
pub(super) fn decide(
    database: &Database,
    person: &Person,
    device: &Device,
    gateway: &Device,
) -> Result<Vec<Device>, Failure> {
    let known = find(database, device)?.ok_or(ProblemKind::NotFound)?;
    check_gateway(database, gateway)?;
    associate(database, Some(&known), device, gateway)?;
    forget_decision(database, device)?;
    let [client, identifier] = names(device);
    database.run(
        "INSERT INTO decided_against (client, identifier, gateway)
         SELECT ?1, ?2, gateway FROM reported WHERE client = ?1 AND identifier = ?2 AND gateway != ?3
         UNION SELECT ?1, ?2, ?4 WHERE ?4 != ?3 UNION SELECT ?1, ?2, ?5 WHERE ?5 != ?3",
        [
            client,
            identifier,
            text(gateway),
            known.gateway.as_ref().map(ToString::to_string).into_value(),
            known.conflict.as_ref().map(ToString::to_string).into_value(),
        ],
    )?;
    let subject = device.to_string();
    DistributionObject::note(database, Some(person), Act::GatewayChanged, &subject, format!("updated by {gateway}"))?;
    Ok(known.gateway.into_iter().chain(known.conflict).chain([gateway.clone()]).collect())
}

/// Whether a person has decided that a device is another gateway's than this one.
pub(super) fn is_decided_against(database: &Database, device: &Device, gateway: &Device) -> Result<bool, Failure> {
    let query = "SELECT EXISTS (SELECT 1 FROM decided_against WHERE client = ? AND identifier = ? AND gateway = ?)";
    let [client, identifier] = names(device);
    Ok(database.one(query, [client, identifier, text(gateway)])?.unwrap_or_default())
}

/// A gateway that was decided against has let the device go.
pub(super) fn accept_decision(database: &Database, device: &Device, gateway: &Device) -> Result<(), Failure> {
    let [client, identifier] = names(device);
    let statement = "DELETE FROM decided_against WHERE client = ? AND identifier = ? AND gateway = ?";
    database.run(statement, [client, identifier, text(gateway)])
}

/// What a person has decided of a device is over: the gateway that was chosen has let it go, or the device itself says where it is.
pub(super) fn forget_decision(database: &Database, device: &Device) -> Result<(), Failure> {
    database.run("DELETE FROM decided_against WHERE client = ? AND identifier = ?", names(device))
}

/// A person says for whom a device is there from now on; or nobody, with the end of its rights.
pub(super) fn assign(
    database: &Database,
    person: Option<&Person>,
    device: &Device,
    patient: Option<PatientReference>,
) -> Result<(), Failure> {
    let Some(known) = find(database, device)?.filter(|known| known.patient != patient) else { return Ok(()) };
    let [client, identifier] = names(device);
    let bytes = || patient.map(|patient| patient.0.to_vec()).into_value();
    database.run(
        "UPDATE devices SET patient = ? WHERE client = ? AND identifier = ?",
        [bytes(), client.clone(), identifier.clone()],
    )?;
    database.run(
        "INSERT OR REPLACE INTO assignments (client, identifier, since, patient) VALUES (?, ?, ?, ?)",
        [client.clone(), identifier.clone(), now().into_value(), bytes()],
    )?;
    database.run(
        "DELETE FROM assignments WHERE client = ?1 AND identifier = ?2 AND since <= (SELECT since FROM assignments
             WHERE client = ?1 AND identifier = ?2 ORDER BY since DESC LIMIT 1 OFFSET ?3)",
        [client, identifier, ASSIGNMENTS.into_value()],
    )?;
    let [before, after] = [known.patient, patient].map(|patient| patient.map(|patient| patient.to_string()));
    let what = after.as_ref().map_or_else(|| "patient: none".to_owned(), |patient| format!("patient: {patient}"));
    DistributionObject::note(database, person, Act::PatientAssigned, &device.to_string(), what)?;
    note(database, device, "patient", before.as_deref(), after.as_deref())
}

/// For whom a device was there, and from when on, the oldest first.
pub(super) fn patients(database: &Database, device: &Device) -> Result<Vec<Assigned>, Failure> {
    let query = "SELECT since, patient FROM assignments WHERE client = ? AND identifier = ? ORDER BY since";
    let rows = database.rows(query, names(device))?.into_iter();
    rows.map(|mut row| Ok(Assigned { since: row.take()?, patient: take_patient(&mut row)? })).collect()
}

/// A gateway that was in a session once, and has rights still.
pub(super) fn check_gateway(database: &Database, gateway: &Device) -> Result<(), Failure> {
    let query = "SELECT lost_at IS NULL FROM gateways WHERE gateway = ?";
    match database.one(query, [text(gateway)])? {
        Some(true) => Ok(()),
        Some(false) => {
            Err(Failure::with_detail(ProblemKind::WrongState, "This gateway has no rights at the site any more."))
        }
        None => Err(Failure::with_detail(ProblemKind::NotFound, "No such gateway was ever in a session.")),
    }
}

/// A person says that a device that was set aside is tried again.
pub(super) fn resume(database: &Database, person: &Person, device: &Device) -> Result<Option<Device>, Failure> {
    let known = find(database, device)?.ok_or(ProblemKind::NotFound)?;
    if known.progress.standing != UpdateState::SetAside {
        return Err(ProblemKind::WrongState.into());
    }
    set_progress(database, device, Progress::new(UpdateState::Current, None, None))?;
    DistributionObject::note(database, Some(person), Act::UpdateDecided, &device.to_string(), "tried again")?;
    note(database, device, "resumed", None, Some(&person.name))?;
    Ok(known.gateway)
}

impl Known {
    /// Whether it is the same device: what does not change with what it runs.
    pub(super) fn is_same_device(&self, other: &Characteristics) -> bool {
        let is = &self.characteristics;
        (&is.manufacturer, &is.model, &is.serial_number, &is.hardware)
            == (&other.manufacturer, &other.model, &other.serial_number, &other.hardware)
    }

    /// Whether it is given nothing: until a person decides, or for a while after it has failed.
    pub(super) fn is_stopped(&self) -> bool {
        let Progress { standing, retry_at, rests, .. } = &self.progress;
        *standing == UpdateState::SetAside || self.conflict.is_some() || (*rests && now() < *retry_at)
    }

    /// Whether an inventory says nothing new of it.
    pub(super) fn is_as(&self, other: &Characteristics, key: Option<KeyFingerprint>) -> bool {
        let is_key_known = key.is_none() || key == self.factory_key;
        is_key_known && self.is_same_device(other) && (self.state.is_some() || self.characteristics == *other)
    }
}

/// The key that the manufacturer gave a device.
pub(super) fn set_factory_key(
    database: &Database,
    device: &Device,
    key: Option<KeyFingerprint>,
) -> Result<(), Failure> {
    let [client, identifier] = names(device);
    database.run(
        "UPDATE devices SET factory_key = coalesce(?, factory_key) WHERE client = ? AND identifier = ?",
        [key.map(|key| key.0.to_vec()).into_value(), client, identifier],
    )
}

/// Each state that devices of a model are in, and how many are in it.
pub(super) type States = BTreeMap<ModelFolder, Vec<(State, u64)>>;

/// What runs where: each state that devices of a model are in, as far as it matters for packages, and how many are in it.
pub(super) fn states(database: &Database) -> Result<States, Failure> {
    let mut found = States::new();
    for mut row in database.rows("SELECT state, devices FROM runs", [])? {
        let state: State = serde_json::from_slice(&row.take::<Vec<u8>>()?)?;
        found.entry(state.characteristics.models()).or_default().push((state, row.take()?));
    }
    Ok(found)
}
