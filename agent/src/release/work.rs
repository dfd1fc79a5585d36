//! What is published, what is being made, and who has to sign it. Nothing here reads or writes a file.

use super::ReleaseError;
use super::keys::Signer;
use std::collections::BTreeMap;
use wardlink_update::client::File;
use wardlink_update::key::{Fingerprint, Key, KeyId, Verifier};
use wardlink_update::metadata::{
    Draft, InvalidMetadata, MetadataFile, Role, RoleKeys, RoleName, Root, Signed, Snapshot, Targets, Timestamp, Version,
};

/// Metadata files by role, as they are stored.
pub(super) type Files = BTreeMap<File, Vec<u8>>;

/// The keys that have to sign something, and how many of them.
pub(super) struct Authority {
    pub(super) role: RoleKeys,
    pub(super) keys: BTreeMap<KeyId, Key>,
}

impl Authority {
    /// The id that the authority has for a key, where the key is one of its own.
    fn id_of(&self, fingerprint: Fingerprint) -> Option<KeyId> {
        let is_key = |id: &&KeyId| {
            let verifier = self.keys.get(id).and_then(Key::verifier);
            verifier.as_ref().map(Verifier::fingerprint) == Some(fingerprint)
        };
        self.role.keyids.iter().find(is_key).cloned()
    }
}

/// A repository's metadata at work.
#[derive(Clone, Debug, Default)]
pub(super) struct Work {
    /// Every published root, the oldest first.
    pub(super) roots: Vec<Vec<u8>>,
    /// What is published, the newest root included.
    pub(super) published: Files,
    /// What is being made.
    pub(super) drafts: Files,
}

/// Reads metadata that we stored.
pub(super) fn typed<T: Role>(file: &File, bytes: &[u8]) -> Result<Signed<T>, ReleaseError> {
    Signed::parse(bytes).map_err(ReleaseError::metadata(file.name()))
}

/// The version of a metadata file.
pub(super) fn version(file: &File, bytes: &[u8]) -> Result<Version, ReleaseError> {
    Ok(match file {
        File::Root => typed::<Root>(file, bytes)?.role.version(),
        File::Timestamp => typed::<Timestamp>(file, bytes)?.role.version(),
        File::Snapshot => typed::<Snapshot>(file, bytes)?.role.version(),
        File::Targets(_) => typed::<Targets>(file, bytes)?.role.version(),
    })
}

impl Work {
    /// The newest there is of a file: the draft, or what is published.
    fn newest(&self, file: &File) -> Option<&Vec<u8>> {
        self.drafts.get(file).or_else(|| self.published.get(file))
    }

    /// The root that will count when the drafts are published.
    pub(super) fn root(&self) -> Result<Signed<Root>, ReleaseError> {
        let bytes = self.newest(&File::Root).ok_or_else(|| {
            ReleaseError::usage("there is no root; begin with: wardlink release init")
        })?;
        typed(&File::Root, bytes)
    }

    /// What a targets role will say when the drafts are published.
    pub(super) fn targets(&self, role: &RoleName) -> Result<Signed<Targets>, ReleaseError> {
        let file = File::Targets(role.clone());
        let bytes = self.newest(&file).ok_or_else(|| ReleaseError::NoRole(role.clone()))?;
        typed(&file, bytes)
    }

    /// The targets roles that will be there when the drafts are published, the top-level one first.
    pub(super) fn targets_roles(&self) -> Result<Vec<RoleName>, ReleaseError> {
        let top = RoleName::targets();
        let delegations = self.targets(&top)?.role.delegations;
        let delegated = delegations.into_iter().flat_map(|delegations| delegations.roles).map(|role| role.name);
        Ok(std::iter::once(top).chain(delegated).collect())
    }

    /// The version that the next draft of a file has.
    pub(super) fn next_version(&self, file: &File) -> Result<Version, ReleaseError> {
        let published = self.published.get(file).map(|bytes| version(file, bytes)).transpose()?;
        Ok(published.map_or(1, |version| version.saturating_add(1)))
    }

    /// Who has to sign a draft: every one of these. For root, the published root's keys and its own (TUF section 6.1).
    pub(super) fn authorities(&self, file: &File) -> Result<Vec<Authority>, ReleaseError> {
        let of_root = |root: Signed<Root>, choose: fn(&Root) -> &RoleKeys| {
            let role = choose(&root.role).clone();
            Authority { role, keys: root.role.keys }
        };
        Ok(match file {
            File::Root => {
                let mut authorities = vec![of_root(self.root()?, |root| &root.roles.root)];
                if let Some(published) = self.published.get(file) {
                    authorities.push(of_root(typed(file, published)?, |root| &root.roles.root));
                }
                authorities
            }
            File::Timestamp => vec![of_root(self.root()?, |root| &root.roles.timestamp)],
            File::Snapshot => vec![of_root(self.root()?, |root| &root.roles.snapshot)],
            File::Targets(role) if *role == RoleName::targets() => vec![of_root(self.root()?, |root| &root.roles.targets)],
            File::Targets(role) => {
                let no_role = || ReleaseError::NoRole(role.clone());
                let delegations = self.targets(&RoleName::targets())?.role.delegations.ok_or_else(no_role)?;
                let delegation = delegations.roles.into_iter().find(|delegation| delegation.name == *role);
                vec![Authority { role: delegation.ok_or_else(no_role)?.keys, keys: delegations.keys }]
            }
        })
    }

    /// Whether every authority's threshold has signed these bytes.
    pub(super) fn is_signed(&self, file: &File, bytes: &[u8]) -> Result<bool, ReleaseError> {
        fn check<T: Role>(authorities: &[Authority], file: &File, bytes: &[u8]) -> Result<bool, ReleaseError> {
            let signed = typed::<T>(file, bytes)?;
            Ok(authorities.iter().all(|authority| signed.is_signed_by(&authority.role, &authority.keys)))
        }
        let authorities = self.authorities(file)?;
        match file {
            File::Root => check::<Root>(&authorities, file, bytes),
            File::Timestamp => check::<Timestamp>(&authorities, file, bytes),
            File::Snapshot => check::<Snapshot>(&authorities, file, bytes),
            File::Targets(_) => check::<Targets>(&authorities, file, bytes),
        }
    }

    /// Whether a draft has all of its signatures.
    pub(super) fn is_complete(&self, file: &File) -> Result<bool, ReleaseError> {
        self.drafts.get(file).map_or(Ok(false), |bytes| self.is_signed(file, bytes))
    }

    /// Puts a draft in place of an earlier one. What was made of the earlier one is void: snapshot and timestamp list it.
    pub(super) fn put(&mut self, file: File, bytes: Vec<u8>) {
        if !matches!(file, File::Timestamp) {
            self.drafts.remove(&File::Timestamp);
        }
        if !matches!(file, File::Timestamp | File::Snapshot) {
            self.drafts.remove(&File::Snapshot);
        }
        self.drafts.insert(file, bytes);
    }

    /// Puts a draft that nobody has signed yet.
    pub(super) fn put_role<T: Role + serde::Serialize>(&mut self, file: File, role: &T) -> Result<(), ReleaseError> {
        let draft = Draft::new(role).map_err(ReleaseError::metadata(file.name()))?;
        self.put(file, draft.to_bytes());
        Ok(())
    }

    /// Signs a draft that waits for this key. False where it does not: the key has signed, or the draft is complete.
    pub(super) fn sign(&mut self, file: &File, signer: &Signer) -> Result<bool, ReleaseError> {
        let Some(bytes) = self.drafts.get(file) else { return Ok(false) };
        let Some(id) = self.id_for(file, signer.fingerprint)? else {
            return Err(ReleaseError::NotAllowed { key: signer.id.to_string(), what: file.name() });
        };
        let mut draft = parse(file, bytes)?;
        if self.is_complete(file)? || draft.signatures().iter().any(|signature| signature.keyid == id) {
            return Ok(false);
        }
        draft.sign(id, &signer.key);
        self.put(file.clone(), draft.to_bytes());
        Ok(true)
    }

    /// The id that a key has in the authorities of a draft, where it may sign it.
    pub(super) fn id_for(&self, file: &File, fingerprint: Fingerprint) -> Result<Option<KeyId>, ReleaseError> {
        Ok(self.authorities(file)?.iter().find_map(|authority| authority.id_of(fingerprint)))
    }

    /// Takes the signatures that others made of a draft of ours; only those that count. Says how many were new.
    pub(super) fn merge(&mut self, file: &File, other: &[u8]) -> Result<usize, ReleaseError> {
        let (Some(own), other) = (self.drafts.get(file), parse(file, other)?) else { return Ok(0) };
        let mut draft = parse(file, own)?;
        if draft.signed() != other.signed() {
            let text = format!("{} was changed after it was handed out; hand it out again with: sign --out", file.name());
            return Err(ReleaseError::Usage(text));
        }
        if self.is_complete(file)? {
            return Ok(0);
        }
        let authorities = self.authorities(file)?;
        let message = draft.signed().to_canonical();
        let counts = |keyid: &KeyId, sig: &str| {
            authorities.iter().any(|authority| {
                let verifier = authority.keys.get(keyid).filter(|_| authority.role.keyids.contains(keyid));
                verifier.and_then(Key::verifier).is_some_and(|verifier| verifier.verify(&message, sig))
            })
        };
        let mut added = 0_usize;
        for signature in other.signatures() {
            let is_known = draft.signatures().iter().any(|known| known.keyid == signature.keyid);
            if is_known || signature.sig.is_empty() {
                continue;
            }
            if !counts(&signature.keyid, &signature.sig) {
                return Err(ReleaseError::NotAllowed { key: signature.keyid.to_string(), what: file.name() });
            }
            draft.add(signature.clone());
            added = added.saturating_add(1);
        }
        if added > 0 {
            self.put(file.clone(), draft.to_bytes());
        }
        Ok(added)
    }

    /// The drafts that others can work on: all but what is made of them later.
    pub(super) fn contents(&self) -> Vec<File> {
        let is_content = |file: &&File| !matches!(file, File::Snapshot | File::Timestamp);
        self.drafts.keys().filter(is_content).cloned().collect()
    }

    /// What a snapshot of the newest targets files lists. What an earlier one listed stays (TUF section 5.5.5).
    pub(super) fn snapshot_entries(&self) -> Result<BTreeMap<String, MetadataFile>, ReleaseError> {
        let published = self.published.get(&File::Snapshot).map(|bytes| typed::<Snapshot>(&File::Snapshot, bytes));
        let mut entries = published.transpose()?.map(|snapshot| snapshot.role.meta).unwrap_or_default();
        for role in self.targets_roles()? {
            let file = File::Targets(role.clone());
            let bytes = self.newest(&file).ok_or(ReleaseError::NoRole(role))?;
            entries.insert(file.name(), MetadataFile::of(version(&file, bytes)?, bytes));
        }
        Ok(entries)
    }

    /// The published targets roles that the drafts leave without enough signatures: their keys were rotated.
    pub(super) fn unsigned_roles(&self) -> Result<Vec<RoleName>, ReleaseError> {
        let mut unsigned = Vec::new();
        for role in self.targets_roles()? {
            let file = File::Targets(role.clone());
            let Some(bytes) = self.published.get(&file).filter(|_| !self.drafts.contains_key(&file)) else { continue };
            if !self.is_signed(&file, bytes)? {
                unsigned.push(role);
            }
        }
        Ok(unsigned)
    }

    /// What a timestamp of the newest snapshot lists.
    pub(super) fn timestamp_entry(&self) -> Result<MetadataFile, ReleaseError> {
        let missing = || ReleaseError::usage("there is no snapshot yet");
        let bytes = self.newest(&File::Snapshot).ok_or_else(missing)?;
        Ok(MetadataFile::of(version(&File::Snapshot, bytes)?, bytes))
    }

    /// What is stored as the next state: every draft under its name in a repository.
    pub(super) fn publication(&self) -> Result<Vec<(String, Vec<u8>)>, ReleaseError> {
        self.drafts.iter().map(|(file, bytes)| Ok((file_name(file, bytes)?, bytes.clone()))).collect()
    }
}

/// The name of a metadata file in a repository with consistent snapshots.
pub(super) fn file_name(file: &File, bytes: &[u8]) -> Result<String, ReleaseError> {
    let name = crate::tuf::quoted(&file.name());
    Ok(match file {
        File::Timestamp => name,
        _ => format!("{}.{name}", version(file, bytes)?),
    })
}

/// A draft as it is stored.
pub(super) fn parse(file: &File, bytes: &[u8]) -> Result<Draft, ReleaseError> {
    Draft::parse(bytes).map_err(|why: InvalidMetadata| ReleaseError::metadata(file.name())(why))
}
