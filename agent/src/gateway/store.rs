//! The gateway's embedded store: one file of `redb`, whose every transaction is whole and durable, or did not happen.
//!
//! It holds what a run after a power loss has to know: the trusted metadata of both repositories, the devices, the counter of the
//! reports, what became of updates until the server knows it, and a change-over that is under way. Images lie beside it as files
//! (`packages`).

mod metadata;
pub(super) mod records;

use super::classes::Directed;
use super::last_seen::LastSeen;
use crate::bundle::Standing;
use crate::room;
use redb::{Database, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use wardlink_protocol::cbor;
use wardlink_protocol::distribution::PollTicket;
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_trust::associated::ChannelKeys;
use wardlink_update::director::When;
use wardlink_update::metadata::{TargetPath, Version};
use wardlink_update::package::Revision;
use wardlink_update::report::State;
use wardlink_update::uptane::{Notification, Outcome, Postponed};

/// Single values, CBOR, by name.
const VALUES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("values");
/// What the server does not know yet: notifications, JSON, by number.
const OUTCOMES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outcomes");
/// How far each device has come with what it is directed: CBOR, by device.
const WORK: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("work");
/// The images that lie whole in the cache: length, by SHA-256.
const PACKAGES: TableDefinition<'_, &[u8], u64> = TableDefinition::new("packages");

/// The longest value, in bytes.
const MAX_VALUE_BYTES: usize = 4 * 1024 * 1024;
/// The most notifications that wait for the server: older ones of whoever has most give way, as a later report says what runs.
pub(super) const MAX_OUTCOMES: usize = 10_000;

/// Why the store cannot be used. What was stored before is not lost.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk has no room.
    #[error("the disk is full: make room where the gateway keeps its state; it goes on by itself then")]
    Full,
    /// Another process has it.
    #[error("the store is in use by another process; stop it, or choose another state directory")]
    InUse,
    /// The file system, or the file.
    #[error("the store cannot be used: {0}")]
    Database(Box<redb::Error>),
    /// Our fault: a value that is not what was written.
    #[error("{0} in the store cannot be read")]
    Damaged(&'static str),
    /// A file beside the store.
    #[error("{0}")]
    File(io::Error),
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::Io(error) => Self::of_file(error),
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            error => Self::Database(Box::new(error)),
        }
    }
}

impl StoreError {
    /// An error of the file system.
    pub fn of_file(error: io::Error) -> Self {
        if room::is_lacking(&error) { Self::Full } else { Self::File(error) }
    }
}

/// Single values.
pub(super) trait Value: Serialize + DeserializeOwned {
    /// Its name in the store.
    const NAME: &'static str;
}

/// A device that the server associates with this gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Associated {
    pub(super) device: Device,
    /// Whether it has a key, so that it speaks for itself.
    pub(super) has_key: bool,
    /// The key, SubjectPublicKeyInfo, DER: what the device's stored data has to be signed with.
    #[serde(default)]
    pub(super) key: Option<ByteBuf>,
    pub(super) updates: bool,
    /// The keys of its channel `update`, on which it speaks with the gateway.
    #[serde(default)]
    pub(super) keys: ChannelKeys,
}

/// The gateway's devices, as the server says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Devices(pub(super) Vec<Associated>);

/// What is known of the devices that verify for themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Verifying(pub(super) Vec<OfDevice>);

/// What is known of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OfDevice {
    /// What it has said that it runs.
    pub(super) state: State,
    /// The outcomes in what it said last, the newest last: what comes after them was not passed on yet.
    pub(super) outcomes: Vec<Sha256>,
    /// Whether the gateway has laid something down for it.
    pub(super) is_handed: bool,
    /// How it stands with a member of a set, as it said last.
    #[serde(default)]
    pub(super) standing: Option<Standing>,
    /// Why the newest of its updates could not be installed; none where it could.
    #[serde(default)]
    pub(super) failed: Option<String>,
    /// The revision that lies ready for it.
    #[serde(default)]
    pub(super) offered: Option<Revision>,
    /// Why it does not install that yet, as it said last.
    #[serde(default)]
    pub(super) postponed: Option<Postponed>,
}

impl Verifying {
    /// What is known of this device.
    pub(super) fn of(&self, device: &Device) -> Option<&OfDevice> {
        self.0.iter().find(|one| one.state.characteristics.device == *device)
    }

    /// What is known of a device from now on.
    pub(super) fn put(&mut self, known: OfDevice) {
        self.0.retain(|one| one.state.characteristics.device != known.state.characteristics.device);
        self.0.push(known);
    }
}

/// The control unit's words for who directs its devices, of those that verify for themselves: asked for before an image is there, so that none has to wait
/// for the server then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Words(pub(super) BTreeMap<Device, ByteBuf>);

/// Sets with members that verify for themselves, from the word to change over to their end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sets(pub(super) Vec<SetUnderWay>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SetUnderWay {
    pub(super) directive: Version,
    pub(super) phase: SetPhase,
    /// Why it is taken back, for people.
    pub(super) reason: String,
    /// Those that verify for themselves: the device, its package, and the SHA-256 of the image.
    pub(super) members: Vec<(Device, TargetPath, Sha256)>,
    /// Those for which the gateway installs, and when they may change over.
    pub(super) parts: Vec<(Part, When)>,
    /// When it began.
    pub(super) since: UnixMillis,
}

/// How far a set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SetPhase {
    /// Those that verify for themselves change over and prove themselves.
    Commit,
    /// All of them work: the others change over, with a [`Journal`] of their own.
    Passive,
    /// Everybody works: it is kept.
    Settle,
    /// One of them could not: everybody keeps, or takes back, what ran before.
    Abort,
}

/// What an idle poll shows and knows.
#[derive(Serialize, Deserialize)]
pub(super) struct Poll {
    pub(super) ticket: PollTicket,
    /// The validator of the timestamp that was seen last (RFC 9110 section 8.8.3).
    pub(super) etag: Option<String>,
}

/// The newest directive that was heard of, the newest with which there is nothing left to do, and the one that was verified last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Directives {
    pub(super) heard: Version,
    pub(super) done: Version,
    #[serde(default)]
    pub(super) verified: Version,
}

/// The counter of the newest report that was made.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Counter(Version);

/// The devices that stood in the newest report.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reported(pub(super) BTreeSet<Device>);

/// When the server was heard last.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Contact(pub(super) UnixMillis);

/// The certificates above the gateway's own, as the server showed them in a session; it may issue under others by now.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Issuers(pub(super) Vec<ByteBuf>);

/// The CAs of the site that have issued, as the server showed them in its sessions, the newest first: what an earlier one has issued counts until it ends.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Issuing(pub(super) Vec<ByteBuf>);

impl Issuing {
    /// So many are remembered: each lasts for years.
    const MAX: usize = 8;

    /// Remembers the CA that issues now.
    pub(super) fn learn(&mut self, issuing: &ByteBuf) {
        self.0.retain(|known| known != issuing);
        self.0.insert(0, issuing.clone());
        self.0.truncate(Self::MAX);
    }
}

/// What may be an attack, until the server knows it.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Attack {
    pub(super) seen: Option<Seen>,
}

/// A refusal that an attack would bring about.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Seen {
    /// For people.
    pub(super) note: wardlink_update::package::Note,
    pub(super) since: UnixMillis,
    /// The first report that tells of it; none yet where there was no report since.
    pub(super) reported_in: Option<Version>,
}

/// Why the newest update of a device could not be installed; those that could are not named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failures(pub(super) BTreeMap<Device, String>);

macro_rules! values {
    ($($value:ty => $name:literal),+ $(,)?) => {
        $(impl Value for $value {
            const NAME: &'static str = $name;
        })+
    };
}
values! {
    Devices => "devices",
    Words => "words",
    Verifying => "devices that verify",
    Sets => "sets",
    Poll => "poll",
    Directives => "directives",
    Counter => "report counter",
    Contact => "contact",
    Issuers => "issuers",
    Issuing => "issuing",
    Attack => "attack seen",
    Failures => "failures",
    Journal => "change-over",
    Directed => "directed",
    Reported => "reported",
    LastSeen => "last seen",
}

/// How far a change-over has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ChangeOverPhase {
    /// Every device has its image beside the present one: all of them change over.
    Commit,
    /// All others have changed over, and the gateway's own program is on trial.
    Trial,
    /// One of them could not: all of them go back.
    Undo,
}

/// A change-over of one or several devices: begun when it is stored, ended when it is removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journal {
    pub(super) directive: Version,
    pub(super) phase: ChangeOverPhase,
    /// Why all of them go back, for people.
    pub(super) reason: String,
    pub(super) parts: Vec<Part>,
}

/// One device's part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) path: TargetPath,
    /// What the device runs before and afterwards.
    pub(super) before: State,
    pub(super) after: State,
    /// Whether the manufacturer allows it during a therapy.
    #[serde(default)]
    pub(super) during_therapy: bool,
}

/// How far a device has come with what it is directed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Work {
    pub(super) directive: Version,
    /// How often its image was asked for again.
    pub(super) retries: u32,
    /// Not before this time, seconds since 1970.
    pub(super) not_before: u64,
    /// Whether nothing more happens by itself under this directive.
    pub(super) ended: bool,
    /// Whether a person has confirmed it.
    pub(super) confirmed: bool,
    /// Why it waits, where it does.
    pub(super) postponed: Option<Postponed>,
    /// The revision that waits.
    #[serde(default)]
    pub(super) offered: Option<Revision>,
    /// What was told last, so that it is told once.
    pub(super) told: Option<String>,
    /// Whether the device has found its image damaged, so that it is looked at here.
    #[serde(default)]
    pub(super) is_suspect: bool,
}

impl Work {
    pub(super) const fn new(directive: Version) -> Self {
        Self {
            directive,
            retries: 0,
            not_before: 0,
            ended: false,
            confirmed: false,
            postponed: None,
            offered: None,
            told: None,
            is_suspect: false,
        }
    }
}

/// The store.
pub struct Store {
    database: Database,
    /// What the server is to be told since somebody has asked.
    told: Mutex<Vec<Notification>>,
}

impl Store {
    /// Opens the store in a file, or makes it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::prepared(super::database::open(path)?)
    }

    /// Opens the store on another medium than a file.
    pub fn on(backend: impl StorageBackend) -> Result<Self, StoreError> {
        Self::prepared(Database::builder().create_with_backend(backend)?)
    }

    fn prepared(database: Database) -> Result<Self, StoreError> {
        let write = database.begin_write()?;
        write.open_table(VALUES)?;
        write.open_table(OUTCOMES)?;
        write.open_table(WORK)?;
        write.open_table(PACKAGES)?;
        metadata::prepare(&write)?;
        records::prepare(&write)?;
        write.commit()?;
        Ok(Self { database, told: Mutex::default() })
    }

    pub(super) fn value<T: Value>(&self) -> Result<Option<T>, StoreError> {
        value_of(&self.database.begin_read()?.open_table(VALUES)?)
    }

    pub(super) fn set<T: Value>(&self, value: &T) -> Result<(), StoreError> {
        self.change(|change| change.set(value))
    }

    /// Changes several things at once: all of them, or none.
    pub(super) fn change<T>(
        &self,
        changes: impl FnOnce(&Change<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let write = self.database.begin_write()?;
        let change = Change { write: &write, told: RefCell::default() };
        let done = changes(&change)?;
        let told = change.told.into_inner();
        write.commit()?;
        if !told.is_empty() {
            self.told.lock().unwrap_or_else(PoisonError::into_inner).extend(told);
        }
        Ok(done)
    }

    /// What the server is to be told since this was asked last.
    pub(super) fn take_told(&self) -> Vec<Notification> {
        core::mem::take(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The counter of the next report: stored before it is used, and above what the server has seen. What may be an attack and was in no
    /// report before is in this one.
    pub(super) fn next_counter(&self, seen: Version) -> Result<Version, StoreError> {
        self.change(|change| {
            let Counter(last) = change.value()?.unwrap_or_default();
            let next = last.max(seen).saturating_add(1);
            change.set(&Counter(next))?;
            if let Some(Attack { seen: Some(seen) }) = change.value()? {
                let reported_in = Some(seen.reported_in.unwrap_or(next));
                change.set(&Attack { seen: Some(Seen { reported_in, ..seen }) })?;
            }
            Ok(next)
        })
    }

    /// How much the server does not know yet.
    pub(super) fn waiting(&self) -> Result<usize, StoreError> {
        let read = self.database.begin_read()?;
        let waiting = redb::ReadableTableMetadata::len(&read.open_table(OUTCOMES)?)?;
        Ok(usize::try_from(waiting).unwrap_or(usize::MAX))
    }

    /// What the server does not know yet, in order; so much of it at most.
    pub(super) fn outcomes(&self, most: usize) -> Result<Vec<(u64, ByteBuf)>, StoreError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(OUTCOMES)?;
        let mut outcomes = Vec::new();
        for entry in table.iter()?.take(most) {
            let (number, bytes) = entry?;
            outcomes.push((number.value(), ByteBuf::from(bytes.value().to_vec())));
        }
        Ok(outcomes)
    }

    /// The server knows it.
    pub(super) fn told(&self, number: u64) -> Result<(), StoreError> {
        self.change(|change| {
            change.write.open_table(OUTCOMES)?.remove(number)?;
            Ok(())
        })
    }

    /// How far a device has come with this directive.
    pub(super) fn work(&self, device: &Device, directive: Version) -> Result<Work, StoreError> {
        work_of(&self.database.begin_read()?.open_table(WORK)?, device, directive)
    }

    pub(super) fn has_package(&self, sha256: &Sha256) -> Result<bool, StoreError> {
        let read = self.database.begin_read()?;
        Ok(read.open_table(PACKAGES)?.get(sha256.0.as_slice())?.is_some())
    }

    /// The images that lie in the cache.
    pub(super) fn packages(&self) -> Result<Vec<Sha256>, StoreError> {
        let read = self.database.begin_read()?;
        let table = read.open_table(PACKAGES)?;
        let mut packages = Vec::new();
        for entry in table.iter()? {
            let (hash, _) = entry?;
            packages.push(Sha256(hash.value().try_into().map_err(|_| StoreError::Damaged("a package's hash"))?));
        }
        Ok(packages)
    }
}

/// Changes that happen together.
pub(super) struct Change<'a> {
    write: &'a redb::WriteTransaction,
    told: RefCell<Vec<Notification>>,
}

impl Change<'_> {
    pub(super) fn set<T: Value>(&self, value: &T) -> Result<(), StoreError> {
        self.write.open_table(VALUES)?.insert(T::NAME, pack(value, T::NAME)?.as_slice())?;
        Ok(())
    }

    /// What is stored now: nothing comes between it and the change.
    pub(super) fn value<T: Value>(&self) -> Result<Option<T>, StoreError> {
        value_of(&self.write.open_table(VALUES)?)
    }

    /// The same of a device's work under a directive.
    pub(super) fn work(&self, device: &Device, directive: Version) -> Result<Work, StoreError> {
        work_of(&self.write.open_table(WORK)?, device, directive)
    }

    pub(super) fn remove<T: Value>(&self) -> Result<(), StoreError> {
        self.write.open_table(VALUES)?.remove(T::NAME)?;
        Ok(())
    }

    /// Something that the server has to know.
    pub(super) fn tell(&self, notification: &Notification) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(notification).map_err(|_| StoreError::Damaged("a notification"))?;
        let mut table = self.write.open_table(OUTCOMES)?;
        let last = table.last()?.map(|(number, _)| number.value());
        table.insert(last.map_or(1, |last| last.saturating_add(1)), bytes.as_slice())?;
        self.told.borrow_mut().push(notification.clone());
        self.note_failure(notification)?;
        let over = usize::try_from(redb::ReadableTableMetadata::len(&table)?).unwrap_or(usize::MAX);
        if over > MAX_OUTCOMES
            && let Some(oldest) = oldest_of_busiest(&table)?
        {
            table.remove(oldest)?;
        }
        Ok(())
    }

    /// What has failed is shown until something is installed. A directive that is refused as a whole is nobody's failure.
    fn note_failure(&self, told: &Notification) -> Result<(), StoreError> {
        match &told.outcome {
            Outcome::Installed { .. } => self.set_failure(&told.device, None),
            Outcome::Failed { reason } | Outcome::Refused { reason, .. } if told.path.is_some() => {
                self.set_failure(&told.device, Some(reason.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Why the newest update of a device could not be installed; none where it could.
    pub(super) fn set_failure(&self, device: &Device, why: Option<String>) -> Result<(), StoreError> {
        let Failures(before) = self.value()?.unwrap_or_default();
        let mut failures = before.clone();
        match why {
            Some(why) => drop(failures.insert(device.clone(), why)),
            None => drop(failures.remove(device)),
        }
        if failures == before { Ok(()) } else { self.set(&Failures(failures)) }
    }

    pub(super) fn set_work(&self, device: &Device, work: &Work) -> Result<(), StoreError> {
        let bytes = pack(work, "a device's work")?;
        self.write.open_table(WORK)?.insert(device.to_string().as_str(), bytes.as_slice())?;
        Ok(())
    }

    pub(super) fn add_package(&self, sha256: &Sha256, length: u64) -> Result<(), StoreError> {
        self.write.open_table(PACKAGES)?.insert(sha256.0.as_slice(), length)?;
        Ok(())
    }

    pub(super) fn remove_package(&self, sha256: &Sha256) -> Result<(), StoreError> {
        self.write.open_table(PACKAGES)?.remove(sha256.0.as_slice())?;
        Ok(())
    }
}

/// The oldest notification of the device of which there are most, so that nobody pushes another's out. What cannot be read goes first.
fn oldest_of_busiest(table: &impl ReadableTable<u64, &'static [u8]>) -> Result<Option<u64>, StoreError> {
    let mut of_each = BTreeMap::<Option<Device>, (usize, u64)>::new();
    for entry in table.iter()? {
        let (number, bytes) = entry?;
        let told = serde_json::from_slice::<Notification>(bytes.value());
        let (count, _) = of_each.entry(told.ok().map(|told| told.device)).or_insert((0, number.value()));
        *count = count.saturating_add(1);
    }
    let unreadable = of_each.get(&None).map(|(_, oldest)| *oldest);
    let busiest = || of_each.values().max_by_key(|(count, _)| *count).map(|(_, oldest)| *oldest);
    Ok(unreadable.or_else(busiest))
}

fn value_of<T: Value>(table: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Option<T>, StoreError> {
    let Some(bytes) = table.get(T::NAME)? else { return Ok(None) };
    unpack(bytes.value(), T::NAME).map(Some)
}

fn work_of(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    device: &Device,
    directive: Version,
) -> Result<Work, StoreError> {
    let work = match table.get(device.to_string().as_str())? {
        Some(bytes) => Some(unpack::<Work>(bytes.value(), "a device's work")?),
        None => None,
    };
    Ok(work.filter(|work| work.directive == directive).unwrap_or_else(|| Work::new(directive)))
}

fn pack<T: Serialize>(value: &T, what: &'static str) -> Result<Vec<u8>, StoreError> {
    cbor::pack(value).map_err(|_| StoreError::Damaged(what))
}

fn unpack<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, StoreError> {
    cbor::unpack(bytes, MAX_VALUE_BYTES).map_err(|_| StoreError::Damaged(what))
}

#[cfg(test)]
mod tests;
