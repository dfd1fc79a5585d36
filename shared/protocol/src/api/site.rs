//! What people set for the whole site: pairing policy, device classes, access secrets, locks.

use crate::identity::{ClientClass, Device, SecretId};
use crate::network::{Network, NetworkOrigin, SecuredNetwork};
use crate::pairing::Mode;
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// When a person has to give the last characters of the serial number on the casing, beside the code or the scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SerialQuestion {
    /// Never.
    #[default]
    Never,
    /// For requests over an untrusted network.
    Untrusted,
    /// For every request that a person verifies.
    Always,
}

/// A rule by which requests are accepted without a person. It never spares a device its verification on an untrusted network.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptanceRule {
    /// What people call it, and what stands where else the person's name does; at most [`crate::limits::MAX_TEXT_BYTES`].
    pub name: String,
    /// The class that it is for; none is every class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientClass>,
    /// The kind of network that it is for; none is every network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Whether only devices count that were given an access secret of their own.
    pub own_secret: bool,
    /// The bed or location that is recorded.
    pub location: String,
}

/// The site's rules for pairings: the body of `PUT /api/v1/policy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairingPolicy {
    /// Rises with every change. A change names the version that it was made from; otherwise it is refused as outdated.
    pub version: u64,
    /// The networks that count as secured.
    pub secured_networks: Vec<SecuredNetwork>,
    /// The weakest mode on a secured network.
    pub least_on_secured: Mode,
    /// The weakest mode on an untrusted network; never simple.
    pub least_on_untrusted: Mode,
    /// When the serial number is asked for.
    pub serial_question: SerialQuestion,
    /// How long a request waits for a person, in minutes.
    pub request_minutes: u32,
    /// How long an accepted pairing waits for its verification, in minutes.
    pub verification_minutes: u32,
    /// The rules of acceptance without a person; the first that fits counts.
    pub acceptance: Vec<AcceptanceRule>,
}

/// Who stands before the worker, and so whose word counts for addresses, markers and client certificates (`TRUST`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// Nobody: no address counts, and no network is secured.
    None,
    /// A reverse proxy that proves itself by a secret.
    Proxy,
    /// Cloudflare's edge.
    Cloudflare,
}

/// `GET /api/v1/policy`, and the answer to a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyView {
    /// The rules.
    pub policy: PairingPolicy,
    /// When they were changed last; none: they are those of a new site.
    pub changed_at: Option<UnixMillis>,
    /// Who changed them.
    pub changed_by: Option<String>,
    /// Who stands before the worker.
    pub trust: Trust,
    /// Where the asking person's own connection comes from.
    pub here: NetworkOrigin,
}

/// Whether a device does something by itself (Distribution, figure 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    /// It runs software and talks for itself.
    Active,
    /// A gateway or a repeater talks for it.
    Passive,
}

/// Where a device works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// In the patient.
    Implanted,
    /// Outside.
    External,
}

/// A device class: a row of `GET /api/v1/classes`, and the body of `PUT /api/v1/classes/{client}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceClass {
    /// The patent's "client", as it stands in topics.
    pub client: ClientClass,
    /// What people call it, in English.
    pub name: String,
    /// What people call it, in German.
    pub name_de: String,
    /// Whether it is active or passive.
    pub activity: Activity,
    /// Where it works.
    pub placement: Placement,
    /// Whether devices of the class may ask to join. Paired ones go on.
    pub enabled: bool,
}

/// How an access secret stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretState {
    /// Devices may ask under it.
    Active,
    /// Its time is over.
    Expired,
    /// A person ended it.
    Ended,
}

/// A row of `GET /api/v1/secrets`: an access secret, without the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretView {
    /// Its id.
    pub id: SecretId,
    /// What people call it; may be empty.
    pub name: String,
    /// The one device that it is for; none is hospital-wide.
    pub device: Option<Device>,
    /// How it stands.
    pub state: SecretState,
    /// When it was made.
    pub made_at: UnixMillis,
    /// Who made it; none is the site itself.
    pub made_by: Option<String>,
    /// When it ends.
    pub expires_at: Option<UnixMillis>,
    /// When a person ended it.
    pub ended_at: Option<UnixMillis>,
    /// When a device asked under it last.
    pub used_at: Option<UnixMillis>,
}

/// `POST /api/v1/secrets`: makes another hospital-wide access secret. The answer is its [`SecretView`]; the secret itself is
/// given out in provisioning files only. `POST /api/v1/secrets/{id}/end` takes no body and ends one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSecret {
    /// What people call it; may be empty.
    pub name: String,
    /// How long devices may ask under it, in days.
    pub lifetime_days: u32,
}

/// An identifier that is locked after too many failed pairings: a row of `GET /api/v1/locks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Which identifier.
    pub device: Device,
    /// Since when.
    pub locked_at: UnixMillis,
    /// How many pairings failed within a day.
    pub failures: u32,
}
