//! What is published, what is being made, and who has to sign it. Nothing here reads or writes a file.

use super::ReleaseError;
use super::keys::Signer;
use crate::tuf::quoted;
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use wardlink_update::inventory::Inventory;
use wardlink_update::key::{Fingerprint, Key, KeyId, Verifier};
use wardlink_update::metadata::{
    Draft, Expires, InvalidMetadata, MetadataFile, Role, RoleKeys, RoleName, Root, Signed, Snapshot, Targets,
    Timestamp, Version,
};

/// Something that is signed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Item {
    /// The root role.
    Root,
    /// The timestamp role.
    Timestamp,
    /// The snapshot role.
    Snapshot,
    /// A targets role.
    Targets(RoleName),
    /// The inventory of a manufacturer's role. No part of TUF's repository, signed by the same keys as the role's targets.
    Inventory(RoleName),
}

impl Item {
    /// The top-level targets.
    pub(super) fn targets() -> Self {
        Self::Targets(RoleName::targets())
    }

    /// Its name, such as `targets.json`.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Root => "root.json".to_owned(),
            Self::Timestamp => "timestamp.json".to_owned(),
            Self::Snapshot => "snapshot.json".to_owned(),
            Self::Targets(role) => role.file(),
            Self::Inventory(role) => format!("{INVENTORY}{}", role.file()),
        }
    }

    /// Its name as that of a file.
    pub(super) fn file_name(&self) -> String {
        match self {
            Self::Inventory(role) => format!("{INVENTORY}{}", quoted(&role.file())),
            _ => quoted(&self.name()),
        }
    }

    /// What has this file name.
    pub(super) fn of(file_name: &str) -> Option<Self> {
        let stem = file_name.strip_suffix(".json")?;
        let role = |text: &str| {
            let role = percent_decode_str(text).decode_utf8().ok()?;
            RoleName::try_from(role.into_owned()).ok()
        };
        Some(match stem {
            "root" => Self::Root,
            "timestamp" => Self::Timestamp,
            "snapshot" => Self::Snapshot,
            _ => match stem.strip_prefix(INVENTORY) {
                Some(stem) => Self::Inventory(role(stem)?),
                None => Self::Targets(role(stem)?),
            },
        })
    }

    /// Whether it is made only when everything else is complete.
    pub(super) const fn is_later(&self) -> bool {
        matches!(self, Self::Snapshot | Self::Timestamp)
    }

    /// Whether snapshot and timestamp are made of it.
    pub(super) const fn is_content(&self) -> bool {
        matches!(self, Self::Root | Self::Targets(_))
    }
}

/// How names of inventories begin. No quoted name of a role has this sign.
const INVENTORY: &str = "inventory@";

/// Signed files, as they are stored.
pub(super) type Files = BTreeMap<Item, Vec<u8>>;

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
    /// The drafts that were changed after somebody had signed them.
    pub(super) void: Vec<Item>,
}

/// Reads metadata that we stored.
pub(super) fn typed<T: Role>(item: &Item, bytes: &[u8]) -> Result<Signed<T>, ReleaseError> {
    Signed::parse(bytes).map_err(ReleaseError::metadata(item.name()))
}

/// The version of a metadata file.
pub(super) fn version(item: &Item, bytes: &[u8]) -> Result<Version, ReleaseError> {
    Ok(match item {
        Item::Root => typed::<Root>(item, bytes)?.role.version(),
        Item::Timestamp => typed::<Timestamp>(item, bytes)?.role.version(),
        Item::Snapshot => typed::<Snapshot>(item, bytes)?.role.version(),
        Item::Targets(_) => typed::<Targets>(item, bytes)?.role.version(),
        Item::Inventory(_) => typed::<Inventory>(item, bytes)?.role.version(),
    })
}

impl Work {
    /// The newest there is of a file: the draft, or what is published.
    fn newest(&self, item: &Item) -> Option<&Vec<u8>> {
        self.drafts.get(item).or_else(|| self.published.get(item))
    }

    /// The root that will count when the drafts are published.
    pub(super) fn root(&self) -> Result<Signed<Root>, ReleaseError> {
        let bytes = self
            .newest(&Item::Root)
            .ok_or_else(|| ReleaseError::usage("there is no root; begin with: wardlink release init"))?;
        typed(&Item::Root, bytes)
    }

    /// What a targets role will say when the drafts are published.
    pub(super) fn targets(&self, role: &RoleName) -> Result<Signed<Targets>, ReleaseError> {
        let item = Item::Targets(role.clone());
        let bytes = self.newest(&item).ok_or_else(|| ReleaseError::NoRole(role.clone()))?;
        typed(&item, bytes)
    }

    /// The targets roles that will be there when the drafts are published, the top-level one first.
    pub(super) fn targets_roles(&self) -> Result<Vec<RoleName>, ReleaseError> {
        let top = RoleName::targets();
        let delegations = self.targets(&top)?.role.delegations;
        let delegated = delegations.into_iter().flat_map(|delegations| delegations.roles).map(|role| role.name);
        Ok(std::iter::once(top).chain(delegated).collect())
    }

    /// The version that the next draft of a file has.
    pub(super) fn next_version(&self, item: &Item) -> Result<Version, ReleaseError> {
        let published = self.published.get(item).map(|bytes| version(item, bytes)).transpose()?;
        Ok(published.map_or(1, |version| version.saturating_add(1)))
    }

    /// Who has to sign a draft: every one of these. For root, the published root's keys and its own (TUF section 6.1).
    pub(super) fn authorities(&self, item: &Item) -> Result<Vec<Authority>, ReleaseError> {
        let of_root = |root: Signed<Root>, choose: fn(&Root) -> &RoleKeys| {
            let role = choose(&root.role).clone();
            Authority { role, keys: root.role.keys }
        };
        Ok(match item {
            Item::Root => {
                let mut authorities = vec![of_root(self.root()?, |root| &root.roles.root)];
                if let Some(published) = self.published.get(item) {
                    authorities.push(of_root(typed(item, published)?, |root| &root.roles.root));
                }
                authorities
            }
            Item::Timestamp => vec![of_root(self.root()?, |root| &root.roles.timestamp)],
            Item::Snapshot => vec![of_root(self.root()?, |root| &root.roles.snapshot)],
            Item::Targets(role) | Item::Inventory(role) if *role == RoleName::targets() => {
                vec![of_root(self.root()?, |root| &root.roles.targets)]
            }
            Item::Targets(role) | Item::Inventory(role) => {
                let no_role = || ReleaseError::NoRole(role.clone());
                let delegations = self.targets(&RoleName::targets())?.role.delegations.ok_or_else(no_role)?;
                let delegation = delegations.roles.into_iter().find(|delegation| delegation.name == *role);
                vec![Authority { role: delegation.ok_or_else(no_role)?.keys, keys: delegations.keys }]
            }
        })
    }

    /// Whether every authority's threshold has signed these bytes.
    pub(super) fn is_signed(&self, item: &Item, bytes: &[u8]) -> Result<bool, ReleaseError> {
        fn check<T: Role>(authorities: &[Authority], item: &Item, bytes: &[u8]) -> Result<bool, ReleaseError> {
            let signed = typed::<T>(item, bytes)?;
            Ok(authorities.iter().all(|authority| signed.is_signed_by(&authority.role, &authority.keys)))
        }
        let authorities = self.authorities(item)?;
        match item {
            Item::Root => check::<Root>(&authorities, item, bytes),
            Item::Timestamp => check::<Timestamp>(&authorities, item, bytes),
            Item::Snapshot => check::<Snapshot>(&authorities, item, bytes),
            Item::Targets(_) => check::<Targets>(&authorities, item, bytes),
            Item::Inventory(_) => check::<Inventory>(&authorities, item, bytes),
        }
    }

    /// Whether a draft has all of its signatures.
    pub(super) fn is_complete(&self, item: &Item) -> Result<bool, ReleaseError> {
        self.drafts.get(item).map_or(Ok(false), |bytes| self.is_signed(item, bytes))
    }

    /// Puts a draft in place of an earlier one. What was made of the earlier one is void: snapshot and timestamp list it.
    pub(super) fn put(&mut self, item: Item, bytes: Vec<u8>) {
        if item.is_content() || item == Item::Snapshot {
            self.drafts.remove(&Item::Timestamp);
        }
        if item.is_content() {
            self.drafts.remove(&Item::Snapshot);
        }
        self.drafts.insert(item, bytes);
    }

    /// Puts a draft that nobody has signed yet.
    pub(super) fn put_role<T: Role + serde::Serialize>(&mut self, item: Item, role: &T) -> Result<(), ReleaseError> {
        let draft = Draft::new(role).map_err(ReleaseError::metadata(item.name()))?;
        let before = self.drafts.get(&item).map(|bytes| parse(&item, bytes)).transpose()?;
        if before.is_some_and(|before| !before.signatures().is_empty()) {
            self.void.push(item.clone());
        }
        self.put(item, draft.to_bytes());
        Ok(())
    }

    /// Signs a draft that waits for this key. False where it does not: the key has signed, or the draft is complete.
    pub(super) fn sign(&mut self, item: &Item, signer: &Signer) -> Result<bool, ReleaseError> {
        let Some(bytes) = self.drafts.get(item) else { return Ok(false) };
        let Some(id) = self.id_for(item, signer.fingerprint)? else {
            return Err(ReleaseError::NotAllowed { key: signer.id.to_string(), what: item.name() });
        };
        let mut draft = parse(item, bytes)?;
        if self.is_complete(item)? || draft.signatures().iter().any(|signature| signature.keyid == id) {
            return Ok(false);
        }
        draft.sign(id, &signer.key);
        self.put(item.clone(), draft.to_bytes());
        Ok(true)
    }

    /// The id that a key has in the authorities of a draft, where it may sign it.
    pub(super) fn id_for(&self, item: &Item, fingerprint: Fingerprint) -> Result<Option<KeyId>, ReleaseError> {
        Ok(self.authorities(item)?.iter().find_map(|authority| authority.id_of(fingerprint)))
    }

    /// Takes the signatures that others made of a draft of ours; only those that count. Says how many were new.
    pub(super) fn merge(&mut self, item: &Item, other: &[u8]) -> Result<usize, ReleaseError> {
        let (Some(own), other) = (self.drafts.get(item), parse(item, other)?) else { return Ok(0) };
        let mut draft = parse(item, own)?;
        if draft.signed() != other.signed() {
            let text =
                format!("{} was changed after it was handed out; hand it out again with: sign --out", item.name());
            return Err(ReleaseError::Usage(text));
        }
        if self.is_complete(item)? {
            return Ok(0);
        }
        let authorities = self.authorities(item)?;
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
                return Err(ReleaseError::NotAllowed { key: signature.keyid.to_string(), what: item.name() });
            }
            draft.add(signature.clone());
            added = added.saturating_add(1);
        }
        if added > 0 {
            self.put(item.clone(), draft.to_bytes());
        }
        Ok(added)
    }

    /// Begins a new version of root, or goes on with its draft; signatures are void.
    pub(super) fn redraft_root(
        &mut self,
        expires: Expires,
        change: impl FnOnce(&mut Root),
    ) -> Result<(), ReleaseError> {
        let newest = self.root()?.role;
        let mut root = Root::new(self.next_version(&Item::Root)?, expires, newest.keys, newest.roles);
        change(&mut root);
        self.put_role(Item::Root, &root)
    }

    /// Begins a new version of a targets role, or goes on with its draft; signatures are void.
    pub(super) fn redraft_targets(
        &mut self,
        role: &RoleName,
        expires: Expires,
        change: impl FnOnce(&mut Targets) -> Result<(), ReleaseError>,
    ) -> Result<(), ReleaseError> {
        let newest = self.targets(role)?.role;
        let item = Item::Targets(role.clone());
        let mut targets = Targets::new(self.next_version(&item)?, expires, newest.targets, newest.delegations);
        change(&mut targets)?;
        self.put_role(item, &targets)
    }

    /// Signs with these keys whatever they may sign, and makes snapshot and timestamp as soon as what they list is complete.
    /// Gives what was signed, by which key.
    pub(super) fn advance(
        &mut self,
        signers: &[Signer],
        expires: impl Fn(&Item) -> Expires,
    ) -> Result<Vec<(Item, KeyId)>, ReleaseError> {
        let mut signed = Vec::new();
        for role in self.unsigned_roles()? {
            let item = Item::Targets(role.clone());
            self.redraft_targets(&role, expires(&item), |_| Ok(()))?;
        }
        let waiting: Vec<Item> = self.drafts.keys().filter(|item| !item.is_later()).cloned().collect();
        for item in &waiting {
            self.sign_with_all(item, signers, &mut signed)?;
        }
        let contents = self.contents();
        for item in &contents {
            if !self.is_complete(item)? {
                return Ok(signed);
            }
        }
        if !contents.is_empty() && !self.drafts.contains_key(&Item::Snapshot) {
            self.renew(&Item::Snapshot, expires(&Item::Snapshot))?;
        }
        self.sign_with_all(&Item::Snapshot, signers, &mut signed)?;
        if self.drafts.contains_key(&Item::Snapshot) {
            if !self.is_complete(&Item::Snapshot)? {
                return Ok(signed);
            }
            if !self.drafts.contains_key(&Item::Timestamp) {
                self.renew(&Item::Timestamp, expires(&Item::Timestamp))?;
            }
        }
        self.sign_with_all(&Item::Timestamp, signers, &mut signed)?;
        Ok(signed)
    }

    fn sign_with_all(
        &mut self,
        item: &Item,
        signers: &[Signer],
        signed: &mut Vec<(Item, KeyId)>,
    ) -> Result<(), ReleaseError> {
        for signer in signers {
            if self.drafts.contains_key(item)
                && self.id_for(item, signer.fingerprint)?.is_some()
                && self.sign(item, signer)?
            {
                signed.push((item.clone(), signer.id.clone()));
            }
        }
        Ok(())
    }

    /// Begins a new version that says the same for longer; or the first one of snapshot and timestamp.
    pub(super) fn renew(&mut self, item: &Item, expires: Expires) -> Result<(), ReleaseError> {
        let version = self.next_version(item)?;
        match item {
            Item::Root => self.redraft_root(expires, |_| {}),
            Item::Targets(role) => self.redraft_targets(role, expires, |_| Ok(())),
            Item::Snapshot => {
                let snapshot = Snapshot::new(version, expires, self.snapshot_entries()?);
                self.put_role(Item::Snapshot, &snapshot)
            }
            Item::Timestamp => {
                let timestamp = Timestamp::new(version, expires, self.timestamp_entry()?);
                self.put_role(Item::Timestamp, &timestamp)
            }
            Item::Inventory(_) => Err(ReleaseError::usage("an inventory is renewed with: inventory make")),
        }
    }

    /// Whether everything is there that the next state of the repository needs.
    pub(super) fn is_publishable(&self) -> Result<bool, ReleaseError> {
        let mut items = self.contents();
        if !items.is_empty() || self.drafts.contains_key(&Item::Snapshot) {
            items.push(Item::Snapshot);
        }
        items.push(Item::Timestamp);
        for item in &items {
            if !self.is_complete(item)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How many signatures of a draft count, and how many are needed, by authority.
    pub(super) fn signatures(&self, item: &Item) -> Result<Vec<(usize, usize)>, ReleaseError> {
        let Some(bytes) = self.drafts.get(item) else { return Ok(Vec::new()) };
        let draft = parse(item, bytes)?;
        let message = draft.signed().to_canonical();
        let count = |authority: Authority| {
            let counts = |id: &&KeyId| {
                let signature = draft.signatures().iter().find(|signature| signature.keyid == **id);
                let verifier = authority.keys.get(id).and_then(Key::verifier);
                signature.zip(verifier).is_some_and(|(signature, verifier)| verifier.verify(&message, &signature.sig))
            };
            (authority.role.keyids.iter().filter(counts).count(), authority.role.threshold.get())
        };
        Ok(self.authorities(item)?.into_iter().map(count).collect())
    }

    /// The drafts that snapshot and timestamp are made of.
    pub(super) fn contents(&self) -> Vec<Item> {
        self.drafts.keys().filter(|item| item.is_content()).cloned().collect()
    }

    /// What a snapshot of the newest targets files lists. What an earlier one listed stays (TUF section 5.5.5).
    pub(super) fn snapshot_entries(&self) -> Result<BTreeMap<String, MetadataFile>, ReleaseError> {
        let published = self.published.get(&Item::Snapshot).map(|bytes| typed::<Snapshot>(&Item::Snapshot, bytes));
        let mut entries = published.transpose()?.map(|snapshot| snapshot.role.meta).unwrap_or_default();
        for role in self.targets_roles()? {
            let item = Item::Targets(role.clone());
            let bytes = self.newest(&item).ok_or(ReleaseError::NoRole(role))?;
            entries.insert(item.name(), MetadataFile::of(version(&item, bytes)?, bytes));
        }
        Ok(entries)
    }

    /// The published targets roles that the drafts leave without enough signatures: their keys were rotated.
    pub(super) fn unsigned_roles(&self) -> Result<Vec<RoleName>, ReleaseError> {
        let mut unsigned = Vec::new();
        for role in self.targets_roles()? {
            let item = Item::Targets(role.clone());
            let Some(bytes) = self.published.get(&item).filter(|_| !self.drafts.contains_key(&item)) else { continue };
            if !self.is_signed(&item, bytes)? {
                unsigned.push(role);
            }
        }
        Ok(unsigned)
    }

    /// What a timestamp of the newest snapshot lists.
    pub(super) fn timestamp_entry(&self) -> Result<MetadataFile, ReleaseError> {
        let missing = || ReleaseError::usage("there is no snapshot yet");
        let bytes = self.newest(&Item::Snapshot).ok_or_else(missing)?;
        Ok(MetadataFile::of(version(&Item::Snapshot, bytes)?, bytes))
    }

    /// What is stored as the next state: every draft under its name in a repository.
    pub(super) fn publication(&self) -> Result<Vec<(String, Vec<u8>)>, ReleaseError> {
        let of_repository = |(item, _): &(&Item, &Vec<u8>)| !matches!(item, Item::Inventory(_));
        let drafts = self.drafts.iter().filter(of_repository);
        drafts.map(|(item, bytes)| Ok((published_name(item, bytes)?, bytes.clone()))).collect()
    }
}

/// The name of a metadata file in a repository with consistent snapshots.
pub(super) fn published_name(item: &Item, bytes: &[u8]) -> Result<String, ReleaseError> {
    let name = item.file_name();
    Ok(match item {
        Item::Timestamp => name,
        _ => format!("{}.{name}", version(item, bytes)?),
    })
}

/// A draft as it is stored.
pub(super) fn parse(item: &Item, bytes: &[u8]) -> Result<Draft, ReleaseError> {
    Draft::parse(bytes).map_err(|why: InvalidMetadata| ReleaseError::metadata(item.name())(why))
}
