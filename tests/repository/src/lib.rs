//! A TUF repository in memory, honest until a test changes it, and a client's disk: for the tests of `wardlink-update`, its attacks
//! and its fuzz targets. Its keys are numbers that everybody knows.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::new_without_default,
    clippy::missing_panics_doc,
    missing_docs,
    reason = "only tests use it; names say what fields are"
)]

pub mod attacks;
pub mod device_attacks;
pub mod frozen;
pub mod gateway_attacks;
pub mod hospital;

use p256::ecdsa::SigningKey;
use serde::Serialize;
use std::collections::BTreeMap;
use wardlink_update::catalog::Roles;
use wardlink_update::client::{Client, Command, Fetched, File, Next, Refusal, Stored, Wanted};
use wardlink_update::key::{Key, KeyId};
use wardlink_update::metadata::{
    DelegatedPaths, Delegation, Delegations, Draft, Expires, Hashes, MetadataFile, Role, RoleKeys, RoleName, Root,
    Snapshot, Target, TargetPath, Targets, Timestamp, TopLevel,
};

/// When every test's run begins, seconds since 1970.
pub const NOW: u64 = 1_800_000_000;
const DAY: u64 = 86_400;

pub fn key(number: u8) -> SigningKey {
    SigningKey::from_slice(&[number; 32]).unwrap()
}

pub fn public(number: u8) -> Key {
    Key::ecdsa_p256(key(number).verifying_key()).unwrap()
}

pub fn keys_of(numbers: &[u8], threshold: usize) -> RoleKeys {
    let keyids = numbers.iter().map(|number| public(*number).id()).collect();
    RoleKeys { keyids, threshold: threshold.try_into().unwrap() }
}

pub fn known(numbers: impl IntoIterator<Item = u8>) -> BTreeMap<KeyId, Key> {
    numbers.into_iter().map(|number| (public(number).id(), public(number))).collect()
}

pub fn signed<T: Role + Serialize>(role: &T, signers: &[u8]) -> Vec<u8> {
    let mut draft = Draft::new(role).unwrap();
    for signer in signers {
        draft.sign(public(*signer).id(), &key(*signer));
    }
    draft.to_bytes()
}

pub fn path(text: &str) -> TargetPath {
    text.to_owned().try_into().unwrap()
}

pub fn role(text: &str) -> RoleName {
    text.to_owned().try_into().unwrap()
}

/// A targets role in the making: its version, whom it trusts, and what it names.
#[derive(Clone)]
pub struct Author {
    pub version: u64,
    pub expires: Expires,
    pub signers: Vec<u8>,
    pub files: BTreeMap<TargetPath, Vec<u8>>,
    /// What it says of them.
    pub customs: BTreeMap<TargetPath, serde_json::Value>,
    pub delegations: Vec<(Delegation, Vec<u8>)>,
}

impl Author {
    fn new(signer: u8) -> Self {
        let expires = Expires::at(NOW + DAY);
        let (files, customs) = (BTreeMap::new(), BTreeMap::new());
        Self { version: 1, expires, signers: vec![signer], files, customs, delegations: Vec::new() }
    }

    /// What it names.
    pub fn targets(&self) -> BTreeMap<TargetPath, Target> {
        let target = |(path, bytes): (&TargetPath, &Vec<u8>)| {
            let custom = self.customs.get(path).cloned();
            (path.clone(), Target { length: bytes.len().try_into().unwrap(), hashes: Hashes::of(bytes), custom })
        };
        self.files.iter().map(target).collect()
    }

    /// What it says.
    pub fn says(&self) -> Targets {
        let targets = self.targets();
        let delegations = (!self.delegations.is_empty()).then(|| Delegations {
            keys: known(self.delegations.iter().flat_map(|(_, keys)| keys.clone())),
            roles: self.delegations.iter().map(|(delegation, _)| delegation.clone()).collect(),
        });
        Targets::new(self.version, self.expires, targets, delegations)
    }

    fn bytes(&self) -> Vec<u8> {
        signed(&self.says(), &self.signers)
    }
}

/// The repository: what its owner intends, and the files that come of it.
#[derive(Clone)]
pub struct Repository {
    pub root_version: u64,
    pub root_expires: Expires,
    pub roles: TopLevel,
    pub keys: Vec<u8>,
    pub root_signers: Vec<u8>,
    pub timestamp_version: u64,
    pub timestamp_expires: Expires,
    pub timestamp_signers: Vec<u8>,
    pub snapshot_version: u64,
    pub snapshot_expires: Expires,
    pub snapshot_signers: Vec<u8>,
    pub authors: BTreeMap<RoleName, Author>,
    /// The files as they are served, by name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What was asked for.
    pub asked: Vec<String>,
}

impl Repository {
    /// Root is signed by key 1, timestamp by 2, snapshot by 3, targets by 4.
    pub fn new() -> Self {
        Self::with_keys([1, 2, 3, 4])
    }

    /// The keys that sign root, timestamp, snapshot and targets.
    pub fn with_keys([root, timestamp, snapshot, targets]: [u8; 4]) -> Self {
        let later = Expires::at(NOW + DAY);
        let mut repository = Self {
            root_version: 1,
            root_expires: later,
            roles: TopLevel {
                root: keys_of(&[root], 1),
                timestamp: keys_of(&[timestamp], 1),
                snapshot: keys_of(&[snapshot], 1),
                targets: keys_of(&[targets], 1),
            },
            keys: vec![root, timestamp, snapshot, targets],
            root_signers: vec![root],
            timestamp_version: 1,
            timestamp_expires: later,
            timestamp_signers: vec![timestamp],
            snapshot_version: 1,
            snapshot_expires: later,
            snapshot_signers: vec![snapshot],
            authors: BTreeMap::from([(RoleName::targets(), Author::new(targets))]),
            files: BTreeMap::new(),
            asked: Vec::new(),
        };
        repository.publish_root();
        repository.publish();
        repository
    }

    pub fn root(&self) -> Vec<u8> {
        self.files.get("1.root.json").unwrap().clone()
    }

    pub fn publish_root(&mut self) {
        let root = Root::new(self.root_version, self.root_expires, known(self.keys.clone()), self.roles.clone());
        self.files.insert(format!("{}.root.json", self.root_version), signed(&root, &self.root_signers));
    }

    /// The next version of root.
    pub fn bump_root(&mut self) {
        self.root_version += 1;
        self.publish_root();
    }

    /// The next version of timestamp, snapshot and the top-level targets.
    pub fn bump(&mut self) {
        self.timestamp_version += 1;
        self.snapshot_version += 1;
        self.author("targets").version += 1;
        self.publish();
    }

    /// What all roles say.
    pub fn roles(&self) -> Roles {
        self.authors.iter().map(|(name, author)| (name.clone(), author.says())).collect()
    }

    pub fn author(&mut self, name: &str) -> &mut Author {
        self.authors.get_mut(&role(name)).unwrap()
    }

    /// `delegator` trusts `name`, which signs with `key`, for paths that fit the pattern.
    pub fn delegate(&mut self, delegator: &str, name: &str, key: u8, pattern: &str, terminating: bool) {
        self.delegate_all(delegator, name, key, &[pattern], terminating);
    }

    /// The same for several patterns.
    pub fn delegate_all(&mut self, delegator: &str, name: &str, key: u8, patterns: &[&str], terminating: bool) {
        let patterns = patterns.iter().map(|pattern| (*pattern).to_owned().try_into().unwrap());
        let paths = DelegatedPaths::matching(patterns.collect());
        let delegation = Delegation { name: role(name), keys: keys_of(&[key], 1), terminating, paths };
        self.author(delegator).delegations.push((delegation, vec![key]));
        self.authors.entry(role(name)).or_insert_with(|| Author::new(key));
    }

    /// The top-level role names these keys for a role that it delegates to already, and the role signs with them.
    pub fn redelegate(&mut self, name: &str, keys: &[u8], threshold: usize) {
        let delegations = &mut self.author("targets").delegations;
        let (delegation, known) = delegations.iter_mut().find(|(delegation, _)| delegation.name == role(name)).unwrap();
        (delegation.keys, *known) = (keys_of(keys, threshold), keys.to_vec());
        self.author(name).signers = keys.to_vec();
    }

    pub fn publish(&mut self) {
        let mut meta = BTreeMap::new();
        for (name, author) in &self.authors {
            let bytes = author.bytes();
            meta.insert(name.file(), MetadataFile::of(author.version, &bytes));
            self.files.insert(format!("{}.{}", author.version, name.file()), bytes);
        }
        let snapshot = Snapshot::new(self.snapshot_version, self.snapshot_expires, meta);
        self.publish_snapshot(&snapshot);
    }

    pub fn publish_snapshot(&mut self, snapshot: &Snapshot) {
        let bytes = signed(snapshot, &self.snapshot_signers);
        let listed = MetadataFile::of(self.snapshot_version, &bytes);
        self.files.insert(format!("{}.snapshot.json", self.snapshot_version), bytes);
        self.publish_timestamp(listed);
    }

    pub fn publish_timestamp(&mut self, snapshot: MetadataFile) {
        let timestamp = Timestamp::new(self.timestamp_version, self.timestamp_expires, snapshot);
        self.files.insert("timestamp.json".to_owned(), signed(&timestamp, &self.timestamp_signers));
    }

    /// What the repository answers.
    pub fn fetch(&mut self, wanted: &Wanted) -> Fetched {
        let name = wanted.name();
        self.asked.push(name.clone());
        self.files.get(&name).map_or(Fetched::Missing, |bytes| Fetched::Bytes(bytes.clone()))
    }
}

/// What a client has on its disk.
#[derive(Clone, Default)]
pub struct Disk(pub Stored);

impl Disk {
    pub fn new(root: Vec<u8>) -> Self {
        Self(Stored { root, ..Stored::default() })
    }

    pub(crate) fn carry_out(&mut self, command: Command) {
        let stored = &mut self.0;
        match command {
            Command::Store(File::Root, bytes) => stored.root = bytes,
            Command::Store(File::Timestamp, bytes) => stored.timestamp = Some(bytes),
            Command::Store(File::Snapshot, bytes) => stored.snapshot = Some(bytes),
            Command::Store(File::Targets(role), bytes) => drop(stored.targets.insert(role, bytes)),
            Command::Delete(File::Timestamp) => stored.timestamp = None,
            Command::Delete(File::Snapshot) => stored.snapshot = None,
            Command::Delete(file) => panic!("nothing else is deleted: {file:?}"),
        }
    }

    fn run(&mut self, client: &mut Client, repository: &mut Repository) -> Result<Next, Refusal> {
        loop {
            match client.next() {
                Next::Fetch(wanted) => {
                    let commands = client.receive(repository.fetch(&wanted))?;
                    for command in commands {
                        self.carry_out(command);
                    }
                }
                next => return Ok(next),
            }
        }
    }

    /// A whole run at a time: the top-level roles.
    pub fn refresh_at(&mut self, repository: &mut Repository, now: u64) -> Result<Client, Refusal> {
        repository.asked.clear();
        let mut client = Client::start(self.0.clone(), now)?;
        assert_eq!(self.run(&mut client, repository)?, Next::Ready);
        Ok(client)
    }

    pub fn refresh(&mut self, repository: &mut Repository) -> Result<Client, Refusal> {
        self.refresh_at(repository, NOW)
    }

    /// The same, and the search for a target.
    pub fn find(&mut self, repository: &mut Repository, target: &str) -> Result<Option<Target>, Refusal> {
        let mut client = self.refresh(repository)?;
        client.search(path(target))?;
        match self.run(&mut client, repository)? {
            Next::Found(found) => Ok(found),
            next => panic!("the search has not ended: {next:?}"),
        }
    }
}
