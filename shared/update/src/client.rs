//! The client's workflow (TUF section 5): from a trusted root to a verified target, one file at a time.
//!
//! [`Client::next`] says which file is wanted; [`Client::receive`] takes what the repository has, and says what to store. A file
//! counts as soon as it is stored, and what was trusted before stays trusted when the next one is refused.

mod refusal;
mod search;
mod top;

pub use refusal::{Refusal, Step, Why};

use crate::limits::{MAX_ROOT_BYTES, MAX_SNAPSHOT_BYTES, MAX_TARGETS_BYTES, MAX_TIMESTAMP_BYTES};
use crate::metadata::{
    Delegation, MetadataFile, Role, RoleName, Root, Signed, Snapshot, Target, TargetPath, Targets, Timestamp,
};
use search::Search;
use std::collections::BTreeMap;

/// What was stored of a repository by an earlier run, as it was received. Only root is trusted; all else is verified again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The trusted root.
    pub root: Vec<u8>,
    /// The newest timestamp.
    pub timestamp: Option<Vec<u8>>,
    /// The newest snapshot.
    pub snapshot: Option<Vec<u8>>,
    /// The targets metadata, by role: the top-level one and those that it delegates to.
    pub targets: BTreeMap<RoleName, Vec<u8>>,
}

/// A file that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which metadata it is.
    pub file: File,
    /// Its version in the repository's file name; none where the name has none.
    pub version: Option<u64>,
    /// The most bytes to read of it: whoever fetches stops there.
    pub max_bytes: u64,
    /// The step in which it is downloaded, for whoever has to say that it cannot be.
    pub step: Step,
}

impl Wanted {
    /// Its name in the repository, such as `3.targets.json`. That of a delegated role has to be quoted before it is part of a path.
    pub fn name(&self) -> String {
        let name = self.file.name();
        self.version.map_or_else(|| name.clone(), |version| format!("{version}.{name}"))
    }
}

/// A metadata file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum File {
    /// `root.json`.
    Root,
    /// `timestamp.json`.
    Timestamp,
    /// `snapshot.json`.
    Snapshot,
    /// `targets.json`, or that of a delegated role.
    Targets(RoleName),
}

impl File {
    /// Its name without a version, such as `targets.json`. That of a delegated role has to be quoted before it is part of a path.
    pub fn name(&self) -> String {
        match self {
            Self::Root => "root.json".to_owned(),
            Self::Timestamp => "timestamp.json".to_owned(),
            Self::Snapshot => "snapshot.json".to_owned(),
            Self::Targets(role) => role.file(),
        }
    }
}

/// What the repository has of a wanted file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The file. One that is longer than asked for is refused.
    Bytes(Vec<u8>),
    /// There is no such file.
    Missing,
}

/// What to do before the next file is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Store the file in place of the earlier one, durably.
    Store(File, Vec<u8>),
    /// Delete the stored file.
    Delete(File),
}

/// How it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This file is wanted.
    Fetch(Wanted),
    /// The top-level roles are up to date; a search can begin.
    Ready,
    /// The search has ended: the target, or nothing that anybody may call so.
    Found(Option<Target>),
}

/// What the client is about to do.
#[derive(Debug)]
enum Stage {
    Root { followed: u32 },
    Timestamp,
    Snapshot,
    Targets,
    Ready,
    Searching(Search),
}

/// A run of the workflow, at one fixed time.
#[derive(Debug)]
pub struct Client {
    /// The fixed update start time (section 5.1), seconds since 1970.
    now: u64,
    stage: Stage,
    /// The root of the beginning, by which rotated keys are known.
    first: Signed<Root>,
    root: Signed<Root>,
    timestamp: Option<Signed<Timestamp>>,
    snapshot: Option<Signed<Snapshot>>,
    targets: BTreeMap<RoleName, Signed<Targets>>,
    /// What an earlier run stored and this one has not yet verified.
    stored: Stored,
}

impl Client {
    /// Section 5.2: loads the trusted root. Section 5.1: `now`, in seconds since 1970, is the time of the whole run.
    pub fn start(stored: Stored, now: u64) -> Result<Self, Refusal> {
        let step = Step("5.2");
        let root: Signed<Root> = refusal::parse(&stored.root, step, &File::Root)?;
        if !root.is_signed_by(&root.role.roles.root, &root.role.keys) {
            return Err(Refusal::new(step, &File::Root, Why::Signatures));
        }
        let first = root.clone();
        let stage = Stage::Root { followed: 0 };
        Ok(Self { now, stage, first, root, timestamp: None, snapshot: None, targets: BTreeMap::new(), stored })
    }

    /// What is wanted next.
    pub fn next(&self) -> Next {
        let wanted =
            |file, version, max_bytes| Next::Fetch(Wanted { file, version, max_bytes, step: self.download_step() });
        let listed = |file, listed: &MetadataFile, most| {
            let version = self.root.role.consistent_snapshot.then_some(listed.version);
            wanted(file, version, listed.length.map_or(most, |length| length.min(most)))
        };
        match &self.stage {
            // 5.3.3: the next version of root, whether or not there is one.
            Stage::Root { .. } => wanted(File::Root, Some(self.root.role.version().saturating_add(1)), MAX_ROOT_BYTES),
            // 5.4.1
            Stage::Timestamp => wanted(File::Timestamp, None, MAX_TIMESTAMP_BYTES),
            // 5.5.1
            Stage::Snapshot => match &self.timestamp {
                Some(timestamp) => listed(File::Snapshot, timestamp.role.snapshot(), MAX_SNAPSHOT_BYTES),
                None => wanted(File::Timestamp, None, MAX_TIMESTAMP_BYTES),
            },
            // 5.6.1
            Stage::Targets => self.next_targets(&RoleName::targets(), &listed),
            Stage::Ready => Next::Ready,
            Stage::Searching(search) => match search.wanted() {
                Some(role) => self.next_targets(role, &listed),
                None => Next::Found(search.found().cloned()),
            },
        }
    }

    fn next_targets(&self, role: &RoleName, listed: &impl Fn(File, &MetadataFile, u64) -> Next) -> Next {
        let file = self.snapshot.as_ref().and_then(|snapshot| snapshot.role.file(role));
        match file {
            Some(file) => listed(File::Targets(role.clone()), file, MAX_TARGETS_BYTES),
            // A role that the snapshot does not list has no file.
            None => Next::Found(None),
        }
    }

    /// Takes what the repository has of the file that was wanted. After a refusal the run is over; what was stored before counts.
    pub fn receive(&mut self, fetched: Fetched) -> Result<Vec<Command>, Refusal> {
        let Next::Fetch(wanted) = self.next() else { return Ok(Vec::new()) };
        let bytes = match fetched {
            Fetched::Bytes(bytes) => Some(bytes),
            Fetched::Missing => None,
        };
        if bytes
            .as_ref()
            .is_some_and(|bytes| u64::try_from(bytes.len()).map_or(true, |length| length > wanted.max_bytes))
        {
            return Err(Refusal::new(wanted.step, &wanted.file, Why::TooLong { max_bytes: wanted.max_bytes }));
        }
        match (&self.stage, bytes) {
            (Stage::Root { followed }, bytes) => self.take_root(*followed, bytes),
            (_, None) => Err(Refusal::new(wanted.step, &wanted.file, Why::Missing)),
            (Stage::Timestamp, Some(bytes)) => self.take_timestamp(bytes),
            (Stage::Snapshot, Some(bytes)) => self.take_snapshot(bytes),
            (Stage::Targets, Some(bytes)) => self.take_targets(bytes),
            (Stage::Searching(_), Some(bytes)) => self.take_delegated(bytes),
            (Stage::Ready, Some(_)) => Ok(Vec::new()),
        }
    }

    /// The step in which the wanted file is downloaded.
    const fn download_step(&self) -> Step {
        match self.stage {
            Stage::Root { .. } => Step("5.3.3"),
            Stage::Timestamp => Step("5.4.1"),
            Stage::Snapshot => Step("5.5.1"),
            Stage::Targets | Stage::Ready => Step("5.6.1"),
            Stage::Searching(_) => Step("5.6.7.1"),
        }
    }

    /// Sections 5.6.7: begins the search for a target, from the top. [`Client::next`] says how it goes on.
    pub fn search(&mut self, path: TargetPath) -> Result<(), Refusal> {
        if !matches!(self.stage, Stage::Ready | Stage::Searching(_)) {
            return Err(Refusal::new(Step("5.6.7"), &File::Targets(RoleName::targets()), Why::Missing));
        }
        let mut search = Search::new(path);
        self.walk(&mut search)?;
        self.stage = Stage::Searching(search);
        Ok(())
    }

    /// The role that names the target which the search has found.
    pub fn found_in(&self) -> Option<&RoleName> {
        match &self.stage {
            Stage::Searching(search) => search.found_in(),
            _ => None,
        }
    }

    /// The trusted root.
    pub const fn root(&self) -> &Root {
        &self.root.role
    }

    /// The trusted metadata of a targets role as it was received, once it is there.
    pub fn received(&self, role: &RoleName) -> Option<&[u8]> {
        self.targets.get(role).and_then(|_| self.stored.targets.get(role)).map(Vec::as_slice)
    }

    /// Every delegation of the trusted targets roles, as far as they are there.
    pub fn delegations(&self) -> impl Iterator<Item = &Delegation> {
        self.targets.values().flat_map(|targets| targets.role.delegated())
    }

    /// The trusted top-level targets, once they are there.
    pub fn targets(&self) -> Option<&Targets> {
        self.targets.get(&RoleName::targets()).map(|targets| &targets.role)
    }
}
