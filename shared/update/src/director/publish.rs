//! A gateway's director repository: targets, snapshot and timestamp of one version, signed by the server's key.

use super::{Directive, InvalidDirective};
use crate::key::{Key, KeyId};
use crate::metadata::{Draft, Expires, MetadataFile, Role, RoleName, Snapshot, Timestamp};
use p256::ecdsa::SigningKey;
use serde::Serialize;

/// Until when the files around a directive count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The snapshot.
    pub snapshot: Expires,
    /// The timestamp.
    pub timestamp: Expires,
}

/// The files of one version, as they are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// `<version>.targets.json`: the directive.
    pub targets: Vec<u8>,
    /// `<version>.snapshot.json`.
    pub snapshot: Vec<u8>,
    /// `timestamp.json`.
    pub timestamp: Vec<u8>,
}

/// Signs a directive and the files around it, all of its version, with the server's key: the one that the director's root names for
/// targets, snapshot and timestamp.
pub fn publish(directive: &Directive, ends: Ends, key: &SigningKey) -> Result<Files, InvalidDirective> {
    let id = key_id(key)?;
    let version = directive.version();
    let targets = signed(directive, &id, key)?;
    let meta = [(RoleName::targets().file(), MetadataFile::of(version, &targets))].into();
    let snapshot = signed(&Snapshot::new(version, ends.snapshot, meta), &id, key)?;
    let listed = MetadataFile::of(version, &snapshot);
    let timestamp = signed(&Timestamp::new(version, ends.timestamp, listed), &id, key)?;
    Ok(Files { targets, snapshot, timestamp })
}

fn key_id(key: &SigningKey) -> Result<KeyId, InvalidDirective> {
    let unusable = |_| crate::metadata::InvalidMetadata::Contradiction("the server's key cannot be written");
    Ok(Key::ecdsa_p256(key.verifying_key()).map_err(unusable)?.id())
}

fn signed<T: Role + Serialize>(role: &T, id: &KeyId, key: &SigningKey) -> Result<Vec<u8>, InvalidDirective> {
    let mut draft = Draft::new(role)?;
    draft.sign(id.clone(), key);
    Ok(draft.to_bytes())
}
