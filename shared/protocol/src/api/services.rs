//! Server applications.

use crate::identity::{CertificateSerial, DeviceIdentifier, KeyFingerprint};
use crate::service::ServiceAccess;
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// `POST /api/v1/services`: makes a service; [`MadeService`] is the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewService {
    /// Its name; that of a service that is revoked, or was never enrolled, can be given again.
    pub name: DeviceIdentifier,
    /// What it may read and write; it stays so for good.
    pub access: ServiceAccess,
}

/// How far a service has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceState {
    /// Its enrolment text waits to be used.
    Waiting,
    /// Its enrolment text was not used in time, or too many tried to guess it.
    Lapsed,
    /// It has its certificate.
    Active,
    /// Its certificate has ended.
    Expired,
    /// It is revoked.
    Revoked,
}

/// A service: a row of `GET /api/v1/services`, and the answer to `POST /api/v1/services/{name}/revoke`, which takes no body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: DeviceIdentifier,
    /// What it may read and write.
    pub access: ServiceAccess,
    /// How far it has come.
    pub state: ServiceState,
    /// When it was made.
    pub made_at: UnixMillis,
    /// Who made it.
    pub made_by: String,
    /// When its enrolment text ends, or ended.
    pub enrolment_ends: UnixMillis,
    /// Its key, once it is enrolled.
    pub key: Option<KeyFingerprint>,
    /// Its certificate's serial number.
    pub certificate: Option<CertificateSerial>,
    /// When its certificate ends.
    pub certificate_ends: Option<UnixMillis>,
    /// When it asked for keys last, to the minute.
    pub last_seen: Option<UnixMillis>,
    /// When it was revoked.
    pub revoked_at: Option<UnixMillis>,
    /// Who revoked it.
    pub revoked_by: Option<String>,
}

/// A service that was just made, with the text that enrols it. It is shown once.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct MadeService {
    /// The service.
    #[zeroize(skip)]
    pub service: ServiceView,
    /// What `wardlink listen --enrol` takes: a secret that counts once, for 15 minutes.
    pub enrolment: String,
}
