//! The audit log as people read it.

use super::Role;
use crate::identity::Sha256;
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// How an act went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuditOutcome {
    /// It was done.
    Done,
    /// It was begun, and another entry says how it ended.
    Begun,
    /// It was refused.
    Refused,
    /// It failed.
    Failed,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its number, from 1, without gaps.
    pub sequence: u64,
    /// When it was written.
    pub at: UnixMillis,
    /// Who acted: a person's, rule's or device's name, or the control unit.
    pub actor: String,
    /// What the person was at the site then; none: it was no person.
    pub role: Option<Role>,
    /// What was done, in the log's word for it, such as `device-revoked`.
    pub act: String,
    /// To whom or to what.
    pub subject: String,
    /// What else is to be known.
    pub detail: String,
    /// How it went.
    pub outcome: AuditOutcome,
    /// The SHA-256 that chains it to the entry before.
    pub hash: Sha256,
}

/// `GET /api/v1/audit?before=<sequence>&act=<word>&find=<text>`: the newest entries first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// Whether there are older ones.
    pub more: bool,
}
