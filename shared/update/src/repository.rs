//! A manufacturer's repository as a whole: every role that it has and every package that they name, read with the client of devices.
//!
//! Who publishes, who uploads and who takes it in all read it so: what one of them accepts, the next does not refuse. [`Reader::wanted`] says
//! which file is wanted, [`Reader::receive`] takes it, [`Reader::finish`] says what the repository holds.

use crate::catalog::{Releases, Roles};
use crate::client::{Client, Command, Fetched, File, Next, Refusal, Stored, Wanted};
use crate::metadata::{
    Expires, InvalidMetadata, Role, RoleName, Root, Signed, Snapshot, Target, TargetPath, Targets, Timestamp,
};
use crate::package::{InvalidPackage, Manufacturer, ModelFolder};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The metadata of a repository as a client keeps it, each file as it was received.
pub type Kept = BTreeMap<File, Vec<u8>>;

/// Why a repository is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum NotAccepted {
    /// The repository's fault: a client would refuse it.
    #[error(transparent)]
    Client(#[from] Refusal),
    /// The repository's fault: what a client may come to see is wrong, or nobody comes to see it.
    #[error("step {step}: {why}")]
    Step {
        /// The step that failed, such as `delegations`.
        step: &'static str,
        /// What is wrong.
        why: String,
    },
}

impl NotAccepted {
    fn at(step: &'static str, why: impl core::fmt::Display) -> Self {
        Self::Step { step, why: why.to_string() }
    }

    fn metadata(why: InvalidMetadata) -> Self {
        Self::at("5.6.7.1", why)
    }

    fn package(why: InvalidPackage) -> Self {
        Self::at("packages", why)
    }
}

/// What is read at present.
#[derive(Debug)]
enum Stage {
    /// The top-level roles.
    Top,
    /// The delegated roles, each by a search for what nobody names in one of its folders.
    Delegated(VecDeque<TargetPath>),
    /// What the roles name: each is where the client comes to it, and nobody else's before.
    Named { sought: (RoleName, TargetPath, Target), rest: VecDeque<(RoleName, TargetPath, Target)> },
    /// Nothing more.
    Done,
}

/// Reads a repository, at one fixed time.
#[derive(Debug)]
pub struct Reader {
    client: Client,
    manufacturer: Option<Manufacturer>,
    stage: Stage,
    kept: Kept,
    roots: Vec<(u64, Vec<u8>)>,
    roles: Roles,
    files: usize,
}

/// What an accepted repository holds.
#[derive(Debug)]
pub struct Repository {
    /// The client at its end.
    pub client: Client,
    /// Its metadata, as a client keeps it.
    pub kept: Kept,
    /// The roots that are new, oldest first, with their versions: a client follows them one by one.
    pub roots: Vec<(u64, Vec<u8>)>,
    /// What each role says.
    pub roles: Roles,
    /// The timestamp.
    pub timestamp: Timestamp,
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Its packages and deltas.
    pub releases: Releases,
    /// How many files of metadata were read.
    pub files: usize,
}

impl Repository {
    /// The root that counts now.
    pub const fn root(&self) -> &Root {
        self.client.root()
    }

    /// The name under which a file of its metadata is published, such as `3.targets.json`.
    pub fn published_name(&self, file: &File) -> String {
        let version = match file {
            File::Root => Some(self.root().version()),
            File::Timestamp => None,
            File::Snapshot => Some(self.snapshot.version()),
            File::Targets(role) => self.roles.get(role).map(Role::version),
        };
        let name = file.name();
        version.map_or_else(|| name.clone(), |version| format!("{version}.{name}"))
    }

    /// When the first of its roles ends, in seconds since 1970: a client that reads all of it takes nothing new from then on (TUF 5.3.10,
    /// 5.4.4, 5.5.6, 5.6.5).
    pub fn ends_at(&self) -> u64 {
        let always = [self.root().expires(), self.timestamp.expires(), self.snapshot.expires()];
        let targets = self.roles.values().map(Role::expires);
        always.into_iter().chain(targets).map(Expires::seconds).min().unwrap_or_default()
    }

    /// Everything that a role names.
    pub fn targets(&self) -> impl Iterator<Item = (&RoleName, &TargetPath, &Target)> {
        named(&self.roles)
    }
}

fn named(roles: &Roles) -> impl Iterator<Item = (&RoleName, &TargetPath, &Target)> {
    roles.iter().flat_map(|(role, targets)| targets.targets.iter().map(move |(path, target)| (role, path, target)))
}

impl Reader {
    /// Begins at what is trusted: a root at least. `manufacturer` is whose repository it has to be, where that is known; `now` is in
    /// seconds since 1970.
    pub fn start(trusted: Kept, manufacturer: Option<Manufacturer>, now: u64) -> Result<Self, NotAccepted> {
        let role_of = |file: &File| match file {
            File::Targets(role) => Some(role.clone()),
            File::Root | File::Timestamp | File::Snapshot => None,
        };
        let stored = Stored {
            root: trusted.get(&File::Root).cloned().unwrap_or_default(),
            timestamp: trusted.get(&File::Timestamp).cloned(),
            snapshot: trusted.get(&File::Snapshot).cloned(),
            targets: trusted.iter().filter_map(|(file, bytes)| Some((role_of(file)?, bytes.clone()))).collect(),
        };
        let client = Client::start(stored, now)?;
        let (roots, roles) = (Vec::new(), Roles::new());
        Ok(Self { client, manufacturer, stage: Stage::Top, kept: trusted, roots, roles, files: 0 })
    }

    /// Which file is wanted; none when everything was read.
    pub fn wanted(&mut self) -> Result<Option<Wanted>, NotAccepted> {
        loop {
            let found = match self.client.next() {
                Next::Fetch(wanted) => return Ok(Some(wanted)),
                Next::Ready => None,
                Next::Found(target) => target,
            };
            self.stage = match core::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Top => Stage::Delegated(self.folders()?),
                Stage::Delegated(mut folders) => {
                    if let Some(nobody) = folders.pop_front() {
                        self.client.search(nobody)?;
                        Stage::Delegated(folders)
                    } else {
                        self.roles = self.read_roles()?;
                        let all = named(&self.roles);
                        let all = all.map(|(role, path, target)| (role.clone(), path.clone(), target.clone()));
                        let all: VecDeque<_> = all.collect();
                        self.seek(all)?
                    }
                }
                Stage::Named { sought: (role, path, target), rest } => {
                    // 5.6.7: what a role says counts only where the client comes to it, and to nobody else before.
                    if found.as_ref() != Some(&target) {
                        let why = format!("{role} names {path}, but is not trusted for it");
                        return Err(NotAccepted::at("5.6.7", why));
                    }
                    self.seek(rest)?
                }
                Stage::Done => return Ok(None),
            };
        }
    }

    /// Takes what the repository has of the wanted file.
    pub fn receive(&mut self, fetched: Fetched) -> Result<(), NotAccepted> {
        self.files = self.files.saturating_add(usize::from(matches!(fetched, Fetched::Bytes(_))));
        for command in self.client.receive(fetched)? {
            match command {
                Command::Store(file, bytes) => {
                    if file == File::Root {
                        self.roots.push((self.client.root().version(), bytes.clone()));
                    }
                    self.kept.insert(file, bytes);
                }
                Command::Delete(file) => drop(self.kept.remove(&file)),
            }
        }
        Ok(())
    }

    /// What the repository holds, when everything was read. Packages have their documents, and deltas their packages.
    pub fn finish(self) -> Result<Repository, NotAccepted> {
        let Self { client, manufacturer, stage, mut kept, roots, roles, files } = self;
        if !matches!(stage, Stage::Done) {
            return Err(NotAccepted::at("files", "not all of it was read"));
        }
        let of_path = |path: &TargetPath| Some(ModelFolder::of(path).ok()?.manufacturer);
        let manufacturers: BTreeSet<Manufacturer> = match manufacturer {
            Some(manufacturer) => BTreeSet::from([manufacturer]),
            None => named(&roles).filter_map(|(_, path, _)| of_path(path)).collect(),
        };
        let releases = Releases::of(manufacturers.iter().map(|manufacturer| (manufacturer, &roles)));
        let releases = releases.map_err(NotAccepted::package)?;
        kept.retain(|file, _| if let File::Targets(role) = file { roles.contains_key(role) } else { true });
        let of = |file: File| kept.get(&file).map(Vec::as_slice).unwrap_or_default();
        let timestamp = Signed::<Timestamp>::parse(of(File::Timestamp)).map_err(NotAccepted::metadata)?.role;
        let snapshot = Signed::<Snapshot>::parse(of(File::Snapshot)).map_err(NotAccepted::metadata)?.role;
        Ok(Repository { client, kept, roots, roles, timestamp, snapshot, releases, files })
    }

    /// What nobody names, in every folder of every delegated role.
    fn folders(&self) -> Result<VecDeque<TargetPath>, NotAccepted> {
        if !self.client.root().consistent_snapshot {
            return Err(NotAccepted::at("5.3.12", "the repository has no consistent snapshots"));
        }
        let top = self.client.targets().ok_or_else(|| NotAccepted::at("5.6.1", "the repository has no targets"))?;
        let mut all = VecDeque::new();
        for delegation in top.delegated() {
            let folders = ModelFolder::of_delegation(delegation).map_err(|why| NotAccepted::at("delegations", why))?;
            if self.manufacturer.as_ref().is_some_and(|own| delegation.name.as_str() != own.as_str()) {
                return Err(NotAccepted::at("manufacturer", format!("it delegates to {}", delegation.name)));
            }
            for folder in folders {
                all.push_back(folder.path(".nobody names this").map_err(|why| NotAccepted::at("delegations", why))?);
            }
        }
        Ok(all)
    }

    /// What the roles say that the client came to.
    fn read_roles(&mut self) -> Result<Roles, NotAccepted> {
        let delegated = self.client.targets().into_iter().flat_map(Targets::delegated);
        let names: Vec<_> =
            core::iter::once(RoleName::targets()).chain(delegated.map(|one| one.name.clone())).collect();
        let mut roles = Roles::new();
        for role in names {
            let Some(bytes) = self.client.received(&role).map(<[u8]>::to_vec) else { continue };
            let parsed = Signed::<Targets>::parse(&bytes).map_err(NotAccepted::metadata)?.role;
            if role != RoleName::targets() && parsed.delegated().next().is_some() {
                return Err(NotAccepted::at("delegations", format!("{role} delegates further")));
            }
            self.kept.insert(File::Targets(role.clone()), bytes);
            roles.insert(role, parsed);
        }
        Ok(roles)
    }

    fn seek(&mut self, mut rest: VecDeque<(RoleName, TargetPath, Target)>) -> Result<Stage, NotAccepted> {
        let Some(sought) = rest.pop_front() else { return Ok(Stage::Done) };
        self.client.search(sought.1.clone())?;
        Ok(Stage::Named { sought, rest })
    }
}
