//! The web API under `/api/v1`, as worker and web app share it. JSON; times in milliseconds since 1970.

mod audit;
mod authority;
mod channels;
mod distribution;
mod orders;
mod records;
mod revocation;
mod services;
mod site;
pub mod words;

pub use audit::{AuditEntry, AuditOutcome, AuditPage};
pub use authority::{AuthorityKind, AuthorityState, AuthorityTrouble, AuthorityView};
pub use channels::{ChannelKeyState, ChannelsChange, ChannelsView, KeyJob, KeyJobReason};
pub use distribution::{
    AllowUpload, AssignPatient, Associate, Broadcast, CatalogChange, CatalogDevice, CatalogEntry, CatalogPage,
    GatewayView, Held, InventoryPreview, KeepConfidential, MadePublishingToken, ManufacturerView, MissingFile,
    NewManufacturer, NewOffer, NewPublication, OUTCOMES_PAGE, OfferDevice, OfferDevices, OfferScope, OfferStanding,
    OfferView, OfferWhen, OfferedData, OutcomeView, PublicationView, Published, PublishedFile, PublishedMetadata,
    PublishedView, PublishingToken, Pushed, ReleaseDocument, ReleaseView, UpdateState,
};
pub use orders::{NewOrder, OrderState, OrderView};
pub use records::{
    AskedRecords, ConcedeGap, FLAGS_PAGE, FlagSeverity, FlagView, MissingRecords, PlotBucket, RecordedAnswer,
    RecordedValue, RecordsBeginning, RecordsDetail, RecordsDevice, RecordsGap, RecordsGateway, RecordsOutlet,
    RecordsPage, RecordsPlot, RecordsSeries, RecordsSettings, RecordsView, RefusedRecords, RuleView, RulesChange,
    RulesView, SetAsideRecord,
};
pub use revocation::{Decommissioning, NewRevocation, Revocation, RevocationReason};
pub use services::{MadeService, NewService, ServiceState, ServiceView};
pub use site::{
    AcceptanceRule, Activity, DeviceClass, Lock, NewSecret, PairingPolicy, Placement, PolicyView, SecretState,
    SecretView, SerialQuestion, Trust,
};

use crate::channel::ChannelName;
use crate::grant::DeviceState;
use crate::identity::{
    CertificateSerial, ClientClass, Device, DeviceIdentifier, KeyFingerprint, SecretId, SessionId, TrustLevel,
};
use crate::network::Network;
use crate::pairing::{DeviceInformation, Mode, RefusalReason};
use crate::report::Report;
use crate::time::UnixMillis;
use crate::verification::QrTag;
use core::fmt;
use core::net::IpAddr;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// What a person is at this site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Sees requests, accepts, rejects, verifies.
    Nurse,
    /// Also devices, channels, gateways, updates.
    BiomedicalEngineer,
    /// Also policy, revocation, PKI, accounts.
    Administrator,
    /// Reads and exports.
    Auditor,
}

/// Something that a person may or may not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Right {
    /// See requests of devices.
    SeeRequests,
    /// Accept, reject, dismiss, cancel and verify.
    Pair,
    /// See the fleet and its live data.
    SeeDevices,
    /// Make provisioning files.
    Provision,
    /// Manage people.
    ManagePeople,
    /// Lift the lock of an identifier.
    Unlock,
    /// See the pairing policy.
    SeePolicy,
    /// Change the pairing policy.
    ChangePolicy,
    /// Change device classes.
    ChangeClasses,
    /// Read and export the audit log.
    SeeAudit,
    /// Change the channels and make new keys.
    ChangeChannels,
    /// End the trust in a device, and let a revoked one ask to pair again.
    Revoke,
    /// List, make and revoke services.
    ManageServices,
    /// See the catalog, releases, gateways, offers and outcomes.
    SeeUpdates,
    /// Offer releases, push them, decide about devices and gateways, import inventories.
    ManageUpdates,
    /// Make manufacturers known, give them publishing tokens, end them.
    ManageManufacturers,
    /// Give orders to devices.
    Order,
    /// See and export stored data, its rules and flags.
    SeeRecords,
    /// Acknowledge flags.
    AcknowledgeFlags,
    /// Change the rules that flag conditions in stored data.
    ChangeRules,
}

impl Role {
    /// All roles, in the order that a form shows them.
    pub const ALL: [Self; 4] = [Self::Nurse, Self::BiomedicalEngineer, Self::Administrator, Self::Auditor];

    /// Whether a person of this role may do it.
    pub const fn may(self, right: Right) -> bool {
        match right {
            Right::SeeRequests | Right::SeeDevices | Right::SeeRecords => true,
            Right::Pair | Right::AcknowledgeFlags => !matches!(self, Self::Auditor),
            Right::SeeAudit => matches!(self, Self::Administrator | Self::Auditor),
            Right::SeePolicy | Right::SeeUpdates => !matches!(self, Self::Nurse),
            Right::Provision | Right::ChangeClasses | Right::ChangeChannels | Right::ManageUpdates | Right::Order => {
                matches!(self, Self::BiomedicalEngineer | Self::Administrator)
            }
            Right::ManagePeople
            | Right::Unlock
            | Right::ChangePolicy
            | Right::Revoke
            | Right::ManageServices
            | Right::ManageManufacturers
            | Right::ChangeRules => matches!(self, Self::Administrator),
        }
    }
}

/// `GET /api/v1/bootstrap`: whether the first administrator is still missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapState {
    /// True until the first administrator exists.
    pub needed: bool,
}

/// `POST /api/v1/bootstrap`: makes the first administrator and signs in.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// The token of the one-time link.
    pub token: String,
    /// The administrator.
    pub credentials: Credentials,
}

/// `POST /api/v1/session`: signs in.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The sign-in name; case does not matter.
    pub name: String,
    /// The password.
    pub password: String,
}

/// Who is signed in: the answer to signing in and to `GET /api/v1/session` (204 where nobody is); also a row of
/// `GET /api/v1/people`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Stable id.
    pub id: u64,
    /// The sign-in name.
    pub name: String,
    /// What the person is.
    pub role: Role,
    /// Whether the person may sign in.
    pub active: bool,
    /// The last time that the person signed in.
    pub last_signed_in: Option<UnixMillis>,
}

/// `POST /api/v1/people`: makes an account.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct NewPerson {
    /// Name and first password.
    pub credentials: Credentials,
    /// What the person is.
    #[zeroize(skip)]
    pub role: Role,
}

/// `PATCH /api/v1/people/{id}`: changes an account; what is absent stays.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonChange {
    /// The new role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Whether the person may sign in; false ends every session at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// A new password; ends every session at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// `POST /api/v1/provisioning`: makes a provisioning file ([`crate::provisioning::Provisioning`] is the answer).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewProvisioning {
    /// The class that the file is for.
    pub client: ClientClass,
    /// The one device that the file is for; then the secret is its own. None: a hospital-wide secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<DeviceIdentifier>,
    /// Which hospital-wide secret; none takes the newest. Not together with an identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretId>,
}

/// How far a pairing has come, as a person sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairingPhase {
    /// The request waits for a person.
    Waiting,
    /// Accepted; the device was sent its command.
    Accepted,
    /// The device answered: the code or the scan is awaited.
    Verifying,
    /// Verified: keys are being delivered.
    Confirmed,
    /// Done.
    Finished,
    /// Ended without success.
    Ended,
}

/// A pairing: a row of `GET /api/v1/pairings` and `GET /api/v1/pairings/{session}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingView {
    /// The session.
    pub session: SessionId,
    /// The device that asks.
    pub device: Device,
    /// What it says of itself.
    pub information: DeviceInformation,
    /// Its key.
    pub key: KeyFingerprint,
    /// The address that it asked from, where the deployment trusts addresses.
    pub address: Option<IpAddr>,
    /// What kind of network it asked over.
    pub network: Network,
    /// Whether its verification asks for the last characters of the serial number too; until then the view hides them.
    pub asks_serial: bool,
    /// How far it has come.
    pub phase: PairingPhase,
    /// The modes that a person may choose here, the proposed one first.
    pub modes: Vec<Mode>,
    /// The chosen mode.
    pub mode: Option<Mode>,
    /// In QR mode: whether the device also shows the code.
    pub code_beside: bool,
    /// Bed or location, as recorded on acceptance.
    pub location: String,
    /// Who accepted.
    pub accepted_by: Option<String>,
    /// Wrong attempts that are left.
    pub attempts_left: u32,
    /// The four digits that a person enters at a device that was given no CertCA: from the verification until it is finished.
    pub answer: Option<String>,
    /// Whether the device is paired already, so that this pairing replaces its key.
    pub replaces: bool,
    /// When the device asked.
    pub requested_at: UnixMillis,
    /// When a person accepted.
    pub accepted_at: Option<UnixMillis>,
    /// When the device answered.
    pub verifying_at: Option<UnixMillis>,
    /// When a person verified.
    pub confirmed_at: Option<UnixMillis>,
    /// When the pairing was finished or ended.
    pub ended_at: Option<UnixMillis>,
    /// When the present phase ends by itself.
    pub expires_at: Option<UnixMillis>,
    /// Why it ended without success.
    pub reason: Option<RefusalReason>,
    /// What the person wrote on rejection.
    pub note: String,
}

/// `POST /api/v1/pairings/{session}/accept`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accept {
    /// The chosen mode; none takes the proposed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Bed or location.
    pub location: String,
}

/// `POST /api/v1/pairings/{session}/reject`. (`/dismiss` and `/cancel` take no body.)
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reject {
    /// What the device shows as the reason; may be empty.
    pub note: String,
}

/// What a person brings from the device.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerificationProof {
    /// The eight digits, as typed.
    Code(String),
    /// The tag of the scanned QR code.
    Tag(QrTag),
}

/// `POST /api/v1/pairings/{session}/verify`. A repetition with the same key has the same answer and counts once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// The idempotency key: drawn anew for each attempt.
    pub attempt: SessionId,
    /// What the person brings.
    pub proof: VerificationProof,
    /// The last [`crate::limits::SERIAL_ENDING_CHARS`] characters of the serial number on the casing, where they are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_ending: Option<String>,
}

/// The answer to [`Verify`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyAnswer {
    /// How the attempt went.
    pub result: VerifyResult,
    /// The pairing after it.
    pub pairing: PairingView,
}

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerifyResult {
    /// It matched.
    Verified,
    /// It did not match, and was counted.
    Wrong,
    /// The check digit does not fit: a digit is mistyped. Not counted.
    Mistyped,
}

/// `GET /api/v1/devices`: a part of the devices, by class, then identifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevicesPage {
    /// The devices, at most 1,000.
    pub devices: Vec<DeviceView>,
    /// The device after which the next page begins (`after`); none at the end.
    pub next: Option<Device>,
}

/// A device: a row of `GET /api/v1/devices` and `GET /api/v1/devices/{client}/{identifier}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceView {
    /// Which device.
    pub device: Device,
    /// What it said of itself when it was paired.
    pub information: DeviceInformation,
    /// Its key.
    pub key: KeyFingerprint,
    /// How far it has come.
    pub state: DeviceState,
    /// How far it is trusted.
    pub trust: TrustLevel,
    /// How it was verified: what the person used, code or QR code, or simple.
    pub mode: Mode,
    /// Bed or location.
    pub location: String,
    /// Its certificate's serial number.
    pub certificate: CertificateSerial,
    /// When the certificate ends.
    pub certificate_ends: UnixMillis,
    /// When it was paired.
    pub paired_at: UnixMillis,
    /// Who paired it.
    pub paired_by: String,
    /// Its channels, by falling priority.
    pub channels: Vec<ChannelName>,
    /// Its last message.
    pub last_seen: Option<UnixMillis>,
    /// Its newest reports, newest first, at most one of each kind.
    pub latest: Vec<LiveData>,
    /// How far it is with erasing itself, where that was ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decommissioning: Option<Decommissioning>,
    /// How it was revoked, as long as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<Box<Revocation>>,
}

/// A report as it arrived, decrypted for people who may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveData {
    /// Who sent it.
    pub device: Device,
    /// On which channel.
    pub channel: ChannelName,
    /// What it says.
    pub report: Report,
    /// When the bridge accepted it.
    pub accepted_at: UnixMillis,
    /// Its number within the topic.
    pub sequence: u64,
    /// Whether the device signed it; otherwise only the bridge's stamp says who sent it.
    pub signed: bool,
}

/// What `GET /api/v1/live` (WebSocket) sends, one JSON text a frame. The browser sends nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum LiveEvent {
    /// The state when the connection began; replaces everything known.
    Snapshot {
        /// The server's time, by which ages and ends are shown.
        now: UnixMillis,
        /// Every pairing that is not dismissed.
        pairings: Vec<PairingView>,
        /// Every device.
        devices: Vec<DeviceView>,
        /// Every lock.
        locks: Vec<Lock>,
    },
    /// A pairing is new or has changed.
    Pairing {
        /// The pairing.
        pairing: Box<PairingView>,
    },
    /// A pairing was dismissed.
    PairingGone {
        /// Its session.
        session: SessionId,
    },
    /// A device is new or has changed.
    Device {
        /// The device.
        device: Box<DeviceView>,
    },
    /// An identifier was locked after too many failed pairings: an alert.
    Locked {
        /// The lock.
        lock: Lock,
    },
    /// A lock was lifted.
    Unlocked {
        /// The identifier.
        device: Device,
    },
    /// How far new keys are on their way to devices.
    Keys {
        /// The jobs that are not done.
        jobs: Vec<KeyJob>,
    },
    /// An order is new or has changed.
    Order {
        /// The order.
        order: Box<OrderView>,
    },
    /// A report arrived.
    Data {
        /// The report.
        data: Box<LiveData>,
    },
    /// Something of updates is otherwise than before: ask again for what is shown, and once more a second later. Told at most once a second.
    UpdatesChanged,
    /// The same of stored data.
    RecordsChanged,
}

/// What went wrong, as a machine reads it; the last part of a problem's type (RFC 9457).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// 400: the body is not what the route takes.
    BadRequest,
    /// 401: nobody is signed in.
    SignedOut,
    /// 401: name or password is wrong.
    WrongPassword,
    /// 403: the role does not have this right.
    Forbidden,
    /// 403: the request came from a foreign page.
    ForeignOrigin,
    /// 403: the one-time link is wrong or used up.
    WrongToken,
    /// 404: there is no such thing.
    NotFound,
    /// 405: the route does not take this method.
    MethodNotAllowed,
    /// 409: it is no longer in a state in which this can be done.
    WrongState,
    /// 409: the name is taken.
    NameTaken,
    /// 409: the last active administrator has to stay.
    LastAdministrator,
    /// 409: two requests of one identifier conflict.
    Conflict,
    /// 422: the mode is weaker than policy asks, or the device cannot show it.
    ModeNotAllowed,
    /// 409: somebody else has changed it meanwhile.
    Outdated,
    /// 422: the rules contradict themselves or the design; the detail says where.
    InvalidPolicy,
    /// 422: the site's rules ask for the last characters of the serial number, too.
    SerialNeeded,
    /// 422: the password is too short or too long.
    WeakPassword,
    /// 422: what was published, imported or offered is refused; the detail names the step that failed.
    RefusedStep,
    /// 429: too many attempts; `retry_after_secs` says when to try again.
    TooManyAttempts,
    /// 500: our fault.
    Internal,
    /// 503: a part is not reachable right now.
    Unavailable,
}

impl ProblemKind {
    /// The HTTP status code.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::SignedOut | Self::WrongPassword => 401,
            Self::Forbidden | Self::ForeignOrigin | Self::WrongToken => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::WrongState | Self::NameTaken | Self::LastAdministrator | Self::Conflict | Self::Outdated => 409,
            Self::ModeNotAllowed
            | Self::WeakPassword
            | Self::InvalidPolicy
            | Self::SerialNeeded
            | Self::RefusedStep => 422,
            Self::TooManyAttempts => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }
}

/// The header of a request that a page sends by itself, again and again, without a person who does something: it keeps no session alive.
pub const BY_ITSELF_HEADER: &str = "Wardlink-By-Itself";

/// A problem (RFC 9457, `application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:wardlink:problem:<kind>`.
    pub r#type: String,
    /// The kind once more, for the app.
    pub kind: ProblemKind,
    /// What happened, in one line of English.
    pub title: String,
    /// The HTTP status code.
    pub status: u16,
    /// What to do, in English.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When to try again, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_secs: Option<u64>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)?;
        if let Some(detail) = &self.detail {
            write!(f, ". {detail}")?;
        }
        Ok(())
    }
}
