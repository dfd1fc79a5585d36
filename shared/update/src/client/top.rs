//! The top-level roles (TUF sections 5.3 to 5.6).

use super::refusal::parse;
use super::{Client, Command, File, Refusal, Stage, Step, Why};
use crate::key::{Key, KeyId};
use crate::limits::MAX_ROOT_ROTATIONS;
use crate::metadata::{MetadataFile, Role, RoleKeys, RoleName, Root, Signed, Snapshot, Targets, Timestamp, Version};
use std::collections::BTreeMap;

impl Client {
    /// Section 5.3: updates the root role.
    pub(super) fn take_root(&mut self, followed: u32, bytes: Option<Vec<u8>>) -> Result<Vec<Command>, Refusal> {
        let file = File::Root;
        // 5.3.3: there is no newer one, or we follow no more of them.
        let Some(bytes) = bytes.filter(|_| followed < MAX_ROOT_ROTATIONS) else { return self.end_root() };
        // 5.3.4: signed by a threshold of the trusted root's keys, and of its own.
        let step = Step("5.3.4");
        let newer: Signed<Root> = parse(&bytes, step, &file)?;
        let is_signed = |by: &Signed<Root>| newer.is_signed_by(&by.role.roles.root, &by.role.keys);
        if !is_signed(&self.root) || !is_signed(&newer) {
            return Err(Refusal::new(step, &file, Why::Signatures));
        }
        // 5.3.5: exactly the next version.
        let expected = self.root.role.version().saturating_add(1);
        if newer.role.version() != expected {
            let why = Why::Rollback { least: expected, found: newer.role.version() };
            return Err(Refusal::new(Step("5.3.5"), &file, why));
        }
        // 5.3.6: whether it has expired does not matter yet.
        // 5.3.7, 5.3.8: it is trusted, and stored.
        self.root = newer;
        // 5.3.9
        self.stage = Stage::Root { followed: followed.saturating_add(1) };
        Ok(vec![Command::Store(file, bytes)])
    }

    /// Sections 5.3.10 to 5.3.12.
    fn end_root(&mut self) -> Result<Vec<Command>, Refusal> {
        // 5.3.10
        check_expiry(&self.root, self.now, Step("5.3.10"), &File::Root)?;
        let mut commands = Vec::new();
        // 5.3.11: what was signed by keys that count no longer is not even a measure of age.
        let (old, new) = (&self.first.role, &self.root.role);
        let has_lost = |old_keys: &RoleKeys, new_keys| old_keys.has_lost_a_key(&old.keys, new_keys, &new.keys);
        if has_lost(&old.roles.timestamp, &new.roles.timestamp) || has_lost(&old.roles.snapshot, &new.roles.snapshot) {
            for (file, stored) in
                [(File::Timestamp, self.stored.timestamp.take()), (File::Snapshot, self.stored.snapshot.take())]
            {
                commands.extend(stored.map(|_| Command::Delete(file)));
            }
        }
        // 5.3.12: `next` reads consistent_snapshot from the trusted root.
        self.load_timestamp();
        self.stage = Stage::Timestamp;
        Ok(commands)
    }

    /// What an earlier run stored is a measure of age, even after its end, as long as its signatures count.
    fn load_timestamp(&mut self) {
        let root = &self.root.role;
        let stored = self.stored.timestamp.as_deref().and_then(|bytes| Signed::<Timestamp>::parse(bytes).ok());
        self.timestamp = stored.filter(|stored| stored.is_signed_by(&root.roles.timestamp, &root.keys));
    }

    /// Section 5.4: updates the timestamp role.
    pub(super) fn take_timestamp(&mut self, bytes: Vec<u8>) -> Result<Vec<Command>, Refusal> {
        let file = File::Timestamp;
        // 5.4.2
        let newer: Signed<Timestamp> = parse(&bytes, Step("5.4.2"), &file)?;
        self.check_signatures(&newer, &self.root.role.roles.timestamp, Step("5.4.2"), &file)?;
        if let Some(trusted) = &self.timestamp {
            // 5.4.3.1
            check_rollback(trusted.role.version(), newer.role.version(), Step("5.4.3.1"), &file)?;
            if trusted.role.version() == newer.role.version() {
                // Nothing is new. What is stored still has to be whole, and to count at this time.
                check_expiry(trusted, self.now, Step("5.4.4"), &file)?;
                self.load_snapshot();
                return Ok(Vec::new());
            }
            // 5.4.3.2
            let versions = (trusted.role.snapshot().version, newer.role.snapshot().version);
            check_rollback(versions.0, versions.1, Step("5.4.3.2"), &file)?;
        }
        // 5.4.4
        check_expiry(&newer, self.now, Step("5.4.4"), &file)?;
        // 5.4.5
        self.timestamp = Some(newer);
        self.load_snapshot();
        Ok(vec![Command::Store(file, bytes)])
    }

    /// The stored snapshot counts when it is the one that the timestamp lists, and its time is not over; otherwise it is a
    /// measure of age.
    fn load_snapshot(&mut self) {
        let root = &self.root.role;
        let stored = self.stored.snapshot.as_deref().and_then(|bytes| Signed::<Snapshot>::parse(bytes).ok());
        self.snapshot = stored.filter(|stored| stored.is_signed_by(&root.roles.snapshot, &root.keys));
        let listed = self.timestamp.as_ref().map(|timestamp| timestamp.role.snapshot());
        let counts = match (&self.snapshot, listed, &self.stored.snapshot) {
            (Some(snapshot), Some(listed), Some(bytes)) => {
                snapshot.role.file(&RoleName::targets()).is_some()
                    && snapshot.role.version() == listed.version
                    && is_listed(bytes, listed)
                    && !snapshot.role.expires().is_over(self.now)
            }
            _ => false,
        };
        if counts {
            self.load_targets();
        } else {
            self.stage = Stage::Snapshot;
        }
    }

    /// Section 5.5: updates the snapshot role.
    pub(super) fn take_snapshot(&mut self, bytes: Vec<u8>) -> Result<Vec<Command>, Refusal> {
        let file = File::Snapshot;
        let missing = Refusal::new(Step("5.5.1"), &file, Why::Missing);
        let listed = self.timestamp.as_ref().map(|timestamp| timestamp.role.snapshot()).ok_or(missing)?;
        // 5.5.2
        check_listed(&bytes, listed, Step("5.5.2"), &file)?;
        // 5.5.3
        let newer: Signed<Snapshot> = parse(&bytes, Step("5.5.3"), &file)?;
        self.check_signatures(&newer, &self.root.role.roles.snapshot, Step("5.5.3"), &file)?;
        // 5.5.4
        check_version(&newer, listed, Step("5.5.4"), &file)?;
        // 5.5.5
        for (name, trusted) in self.snapshot.iter().flat_map(|trusted| &trusted.role.meta) {
            let Some(now_listed) = newer.role.meta.get(name) else {
                return Err(Refusal::new(Step("5.5.5"), &file, Why::Unlisted(name.clone())));
            };
            check_rollback(trusted.version, now_listed.version, Step("5.5.5"), &file)?;
        }
        // The top-level targets are always there (section 4.4), also where no earlier snapshot says so.
        if newer.role.file(&RoleName::targets()).is_none() {
            return Err(Refusal::new(Step("5.5.5"), &file, Why::Unlisted(RoleName::targets().file())));
        }
        // 5.5.6
        check_expiry(&newer, self.now, Step("5.5.6"), &file)?;
        // 5.5.7
        self.snapshot = Some(newer);
        self.load_targets();
        Ok(vec![Command::Store(file, bytes)])
    }

    fn load_targets(&mut self) {
        let role = RoleName::targets();
        let keys = (self.root.role.roles.targets.clone(), self.root.role.keys.clone());
        self.stage = if self.load_stored(&role, &keys.0, &keys.1) { Stage::Ready } else { Stage::Targets };
    }

    /// Section 5.6: updates the top-level targets role.
    pub(super) fn take_targets(&mut self, bytes: Vec<u8>) -> Result<Vec<Command>, Refusal> {
        let role = RoleName::targets();
        let keys = (self.root.role.roles.targets.clone(), self.root.role.keys.clone());
        let steps = TargetsSteps { hash: "5.6.2", signatures: "5.6.3", version: "5.6.4", expiry: "5.6.5" };
        let command = self.take_targets_role(&role, bytes, &keys.0, &keys.1, &steps)?;
        self.stage = Stage::Ready;
        Ok(vec![command])
    }

    /// Whether the stored metadata of a targets role is the one that the snapshot lists and counts; it is trusted then.
    pub(super) fn load_stored(&mut self, role: &RoleName, keys: &RoleKeys, known: &BTreeMap<KeyId, Key>) -> bool {
        let Some(bytes) = self.stored.targets.get(role) else { return false };
        let Some(listed) = self.snapshot.as_ref().and_then(|snapshot| snapshot.role.file(role)) else { return false };
        let Ok(stored) = Signed::<Targets>::parse(bytes) else { return false };
        let counts = is_listed(bytes, listed)
            && stored.role.version() == listed.version
            && stored.is_signed_by(keys, known)
            && !stored.role.expires().is_over(self.now);
        if counts {
            self.targets.insert(role.clone(), stored);
        }
        counts
    }

    /// Sections 5.6.2 to 5.6.6, for the top-level role and for delegated ones.
    pub(super) fn take_targets_role(
        &mut self,
        role: &RoleName,
        bytes: Vec<u8>,
        keys: &RoleKeys,
        known: &BTreeMap<KeyId, Key>,
        steps: &TargetsSteps,
    ) -> Result<Command, Refusal> {
        let file = File::Targets(role.clone());
        let missing = Refusal::new(Step(steps.hash), &file, Why::Missing);
        let listed = self.snapshot.as_ref().and_then(|snapshot| snapshot.role.file(role)).ok_or(missing)?;
        check_listed(&bytes, listed, Step(steps.hash), &file)?;
        let newer: Signed<Targets> = parse(&bytes, Step(steps.signatures), &file)?;
        if !newer.is_signed_by(keys, known) {
            return Err(Refusal::new(Step(steps.signatures), &file, Why::Signatures));
        }
        check_version(&newer, listed, Step(steps.version), &file)?;
        check_expiry(&newer, self.now, Step(steps.expiry), &file)?;
        self.targets.insert(role.clone(), newer);
        self.stored.targets.insert(role.clone(), bytes.clone());
        Ok(Command::Store(file, bytes))
    }

    fn check_signatures<T: Role>(
        &self,
        signed: &Signed<T>,
        keys: &RoleKeys,
        step: Step,
        file: &File,
    ) -> Result<(), Refusal> {
        if signed.is_signed_by(keys, &self.root.role.keys) {
            Ok(())
        } else {
            Err(Refusal::new(step, file, Why::Signatures))
        }
    }
}

/// The numbers of the steps by which targets metadata is checked.
pub(super) struct TargetsSteps {
    pub(super) hash: &'static str,
    pub(super) signatures: &'static str,
    pub(super) version: &'static str,
    pub(super) expiry: &'static str,
}

fn is_listed(bytes: &[u8], listed: &MetadataFile) -> bool {
    let has_length = |length: u64| u64::try_from(bytes.len()).is_ok_and(|actual| actual == length);
    listed.length.is_none_or(has_length) && listed.hashes.as_ref().is_none_or(|hashes| hashes.fit(bytes))
}

fn check_listed(bytes: &[u8], listed: &MetadataFile, step: Step, file: &File) -> Result<(), Refusal> {
    if is_listed(bytes, listed) { Ok(()) } else { Err(Refusal::new(step, file, Why::Hash)) }
}

fn check_version<T: Role>(signed: &Signed<T>, listed: &MetadataFile, step: Step, file: &File) -> Result<(), Refusal> {
    let (listed, found) = (listed.version, signed.role.version());
    if listed == found { Ok(()) } else { Err(Refusal::new(step, file, Why::Version { listed, found })) }
}

fn check_rollback(least: Version, found: Version, step: Step, file: &File) -> Result<(), Refusal> {
    if found >= least { Ok(()) } else { Err(Refusal::new(step, file, Why::Rollback { least, found })) }
}

fn check_expiry<T: Role>(signed: &Signed<T>, now: u64, step: Step, file: &File) -> Result<(), Refusal> {
    let expires = signed.role.expires();
    if expires.is_over(now) { Err(Refusal::new(step, file, Why::Expired(expires))) } else { Ok(()) }
}
