//! What the Durable Objects ask of one another: one enum per object, CBOR over an internal fetch.
//!
//! Requests are made at least once and are idempotent. An answer with a status other than 200 is a problem; the caller of an
//! act passes it on, an object tries again later.

mod records;

pub use records::{Deposited, RecordsCommand, RecordsRequest, Wanted};

use crate::body::Body;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wardlink_bridge::Notice;
use wardlink_crypto::session::Opening;
use wardlink_protocol::api::{
    Accept, AllowUpload, AssignPatient, Associate, Broadcast, ChannelsChange, Credentials, DeviceClass, Held,
    KeepConfidential, NewManufacturer, NewOffer, NewOrder, NewPerson, NewProvisioning, NewRevocation, NewSecret,
    NewService, PairingPolicy, Person, PersonChange, Reject, Trust, Verify,
};
use wardlink_protocol::channel::{ChannelName, Qos};
use wardlink_protocol::distribution::{AssociatedDevice, ManufacturerRoot, SessionRefusal};
use wardlink_protocol::grant::Grant;
use wardlink_protocol::identity::{KeyFingerprint, PatientReference, SecretId, SessionId, Sha256};
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::stamp::StampedMessage;
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{ClientClass, Device, DeviceIdentifier, UnixMillis};
use wardlink_records::receipt::Receipt;
use wardlink_trust::audit::Act as AuditAct;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The longest request or answer between objects, in bytes: a whole table of 20,000 devices fits.
pub const MAX_OBJECT_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// The field of an internal request that opens a WebSocket at the bridge: the client's address, where one counts.
pub const ADDRESS_HEADER: &str = "Wardlink-Address";
/// The same: the marker of the client's network, where one counts.
pub const NETWORK_HEADER: &str = "Wardlink-Network";
/// The same: the certificate whose key the client has proved in TLS, DER in base64url. The bridge has to verify it.
pub const CLIENT_CERTIFICATE_HEADER: &str = "Wardlink-Client-Certificate";
/// The field of an internal request that opens a WebSocket at the site: the [`Session`], CBOR in base64url.
pub const SESSION_HEADER: &str = "Wardlink-Session";
/// Names the person who publishes, as CBOR in base64url.
pub const PERSON_HEADER: &str = "Wardlink-Person";

/// What is asked of the bridge.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BridgeRequest {
    /// Replaces everything that the bridge knows of the site. Answer: nothing.
    Table(Box<BridgeTable>),
    /// Carries out steps of the site, in their order. Answer: [`Applied`] of the last one, given only when live connections have
    /// been cut or updated and the messages are stored.
    Apply(Vec<Apply>),
}

/// One entry of the site's outbox.
#[derive(Clone, Serialize, Deserialize)]
pub struct Apply {
    /// Rises by one from entry to entry; the bridge answers a repeated number without doing anything.
    pub number: u64,
    /// New grants; a grant with a lower version than the known one of that key is out of date.
    pub grants: Vec<Grant>,
    /// What the control unit publishes, after the grants count.
    pub publish: Vec<ControlMessage>,
    /// The classes whose devices may ask from now on; none where that stays.
    #[serde(default)]
    pub clients: Option<Clients>,
    /// Topics that cease to exist, with their queued messages, before anything is published.
    pub remove_topics: Vec<Topic>,
}

/// The answer to [`BridgeRequest::Apply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The number of the entry.
    pub number: u64,
}

/// Something that the control unit publishes.
#[derive(Clone, Serialize, Deserialize)]
pub struct ControlMessage {
    /// Where.
    pub topic: Topic,
    /// What.
    pub payload: ByteBuf,
    /// How.
    pub qos: Qos,
}

/// The device classes whose devices may ask.
#[derive(Clone, Serialize, Deserialize)]
pub struct Clients {
    /// Rises with every change, so that an older list that arrives later is known as such.
    pub version: u64,
    /// The classes.
    pub names: Vec<ClientClass>,
}

/// Everything that the bridge has to know of the site.
#[derive(Clone, Serialize, Deserialize, ZeroizeOnDrop)]
pub struct BridgeTable {
    /// The version of the newest grant.
    #[zeroize(skip)]
    pub version: u64,
    /// What every known key may do; a key that is absent is unknown.
    #[zeroize(skip)]
    pub grants: Vec<Grant>,
    /// The issuing CAs whose certificates count, DER.
    #[zeroize(skip)]
    pub issuing: Vec<ByteBuf>,
    /// The control unit's certificate and the chain up to and including the root, DER.
    #[zeroize(skip)]
    pub control_unit_chain: Vec<ByteBuf>,
    /// The control unit's key, PKCS#8 DER: kept in memory only.
    #[serde(with = "serde_bytes")]
    pub control_unit_key: Vec<u8>,
    /// The classes whose devices may ask.
    #[zeroize(skip)]
    pub clients: Clients,
}

/// What is asked of the site.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteRequest {
    /// The bridge begins anew. Answer: [`BridgeTable`].
    FetchTable,
    /// Messages on T1, T3 and renewal, from the bridge's log: at least once, idempotent by topic and sequence number.
    /// Answer: [`Taken`], given when they are dealt with.
    Messages(Vec<StampedMessage>),
    /// Messages of the second channels, of devices and of services to devices. Answer: nothing.
    Data(Vec<StampedMessage>),
    /// What happened to devices at the bridge, in this order. Answer: nothing.
    Notices(Vec<Notice>),
    /// The list of revoked certificates of the issuing CA with this key identifier; none is the one that issues now. Answer: DER.
    RevocationList(Option<ByteBuf>),
    /// A service asks to be enrolled. Answer: COSE, as the web API gives it.
    EnrolService(ByteBuf),
    /// A service asks for keys. Answer: COSE, as the web API gives it.
    ServiceKeys(ByteBuf),
    /// A service asks for stored data. Answer: COSE, as the web API gives it.
    ServiceRecords(ByteBuf),
    /// A service asks for a new certificate. Answer: COSE, as the web API gives it.
    RenewService(ByteBuf),
    /// A person acts. Answer: JSON as the web API gives it.
    Act(Box<Act>),
    /// Sessions of people ended: their live connections are closed. Answer: nothing.
    SessionsEnded(Vec<Sha256>),
    /// What was done at the accounts, for the audit log, oldest first. Answer: nothing, when it is written.
    Notes(Vec<Note>),
}

/// What is asked of the site by objects that are not the control unit's: no act of people and nothing of the bridge is among it. What was
/// done there, and by whom, the site is told.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeskRequest {
    /// What was done at the distribution server, for the audit log, oldest first. What nobody does there is not written. Answer: nothing,
    /// when it is written.
    Notes(Vec<Note>),
    /// Somebody who calls itself this device wants a session with the distribution server. Answer: an optional [`Admission`].
    Admit(Device),
    /// A session of this device begins. Answer: an optional signed [`SessionAnswer`](wardlink_protocol::distribution::SessionAnswer);
    /// none where the device has no rights, or shows a certificate that is not its own.
    Sign(Device, Opening),
    /// The keys of paired devices. Answer: for each of them an optional SubjectPublicKeyInfo, DER.
    Keys(Vec<Device>),
    /// These are all devices that a gateway has to do with: it is given the keys of their channel `update`, and has those of others no longer.
    /// Answer: for each of them an optional [`KeysOfAssociated`].
    Associate(Device, Vec<Device>),
    /// A gateway brings stored data that this key has signed; of these devices it may. Answer: [`Vouched`].
    Vouch(Device, KeyFingerprint, Vec<Device>),
    /// Stored data is on disk. Answer: the receipt, signed now.
    Receipt(Receipt),
    /// Something of updates, or of stored data, is otherwise than before: whoever looks at it looks again. Answer: nothing.
    Changed(Changed),
    /// A device is to follow this director: the first root of its repository, JSON. Answer: optionally the control unit's word for it, signed now
    /// (`wardlink_crypto::director`); none where the device has no rights.
    Direct(Device, ByteBuf),
}

/// What people look at, and hear of as it changes.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// Catalog, releases, offers, outcomes, gateways.
    Updates,
    /// Stored data, rules, flags.
    Records,
}

/// Whether a key that has signed stored data counts.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vouched {
    /// It does, for these devices.
    For {
        /// The key, SubjectPublicKeyInfo, DER.
        key: ByteBuf,
        /// Whose data it signs.
        devices: Vec<Device>,
    },
    /// No paired device has this key.
    Unknown,
    /// It is that of this device, whose data may not come through this gateway.
    Elsewhere(Device),
    /// It is that of this device, which has no rights any more; or the gateway has none.
    Ended(Device),
}

/// The keys of a paired device, for a gateway.
#[derive(Serialize, Deserialize)]
pub struct KeysOfAssociated {
    /// Its own, SubjectPublicKeyInfo, DER.
    pub key: ByteBuf,
    /// Those of its channel `update`, sealed for the gateway (`wardlink_trust::associated`).
    pub channel: Option<ByteBuf>,
}

/// With what a session of a device that may have one is authenticated.
#[derive(Serialize, Deserialize)]
pub struct Admission {
    /// The device's key.
    pub holder: KeyFingerprint,
    /// The issuing CAs whose certificates count, DER.
    pub issuing: Vec<ByteBuf>,
}

/// An act that belongs into the audit log.
#[derive(Serialize, Deserialize)]
pub struct Note {
    /// Tells notes apart: the same one may be told again.
    pub id: u64,
    /// Who acted, if somebody was signed in.
    pub person: Option<Person>,
    /// What was done.
    pub act: AuditAct,
    /// To whom or to what.
    pub subject: String,
    /// What else is to be known.
    pub detail: String,
    /// Whether it was refused.
    pub refused: bool,
}

/// What of the audit log is asked for.
#[derive(Default, Serialize, Deserialize)]
pub struct AuditQuery {
    /// Only entries before this number.
    pub before: Option<u64>,
    /// Only this act.
    pub act: Option<AuditAct>,
    /// Only entries with this text.
    pub find: Option<String>,
}

/// The answer to [`SiteRequest::Messages`].
#[derive(Serialize, Deserialize)]
pub struct Taken {
    /// The keys that asked on T1 without knowing how, such as under no access secret of the site.
    pub junk: Vec<KeyFingerprint>,
}

/// What a person does, and who that person is.
#[derive(Serialize, Deserialize)]
pub struct Act {
    /// Who; none is `cargo xtask dev`, which proved itself with the bootstrap token.
    pub person: Option<Person>,
    /// The origin under which the person reached the control unit, such as `https://wardlink.example`.
    pub origin: String,
    /// What.
    pub command: Command,
}

/// What a person asks of the site.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Lists pairings.
    Pairings,
    /// Shows one pairing.
    Pairing(SessionId),
    /// Accepts a request.
    Accept(SessionId, Body<Accept>),
    /// Rejects a request.
    Reject(SessionId, Body<Reject>),
    /// Takes an ended pairing, or a request that nobody wants to answer, out of sight.
    Dismiss(SessionId),
    /// Ends an accepted pairing.
    Cancel(SessionId),
    /// Verifies a device.
    Verify(SessionId, Body<Verify>),
    /// Lists devices, after this one.
    Devices(Option<Device>),
    /// Shows one device.
    Device(Device),
    /// Lifts the lock of an identifier.
    Unlock(Device),
    /// Lists locked identifiers.
    Locks,
    /// Ends the trust in devices.
    Revoke(Body<NewRevocation>),
    /// Orders a device to erase itself.
    Decommission(Device),
    /// Shows the receipt of a device that has erased itself.
    Receipt(Device),
    /// Lets a revoked device ask to pair again.
    Reinstate(Device),
    /// Lists the orders of a device.
    Orders(Device),
    /// Gives a device an order.
    GiveOrder(Device, Body<NewOrder>),
    /// Lists revoked devices.
    Revocations,
    /// Shows the pairing policy.
    Policy(Vantage),
    /// Changes the pairing policy.
    SetPolicy(Body<PairingPolicy>, Vantage),
    /// Shows the CA.
    Authority,
    /// Asks the CA outside now.
    AskAuthority,
    /// Shows the channel policy.
    Channels,
    /// Says what a change of the channel policy would do.
    PreviewChannels(Body<ChannelsChange>),
    /// Changes the channel policy.
    SetChannels(Body<ChannelsChange>),
    /// Makes new keys of a channel.
    RotateKeys(ChannelName),
    /// Shows a page of the audit log.
    Audit(AuditQuery),
    /// Exports the audit log from the entry after this number on.
    ExportAudit(u64),
    /// Lists device classes.
    Classes,
    /// Makes or changes a device class, which has this name.
    SetClass(String, Body<DeviceClass>),
    /// Lists access secrets.
    Secrets,
    /// Makes a hospital-wide access secret.
    MakeSecret(Body<NewSecret>),
    /// Ends an access secret.
    EndSecret(SecretId),
    /// Makes a provisioning file.
    Provision(Body<NewProvisioning>),
    /// Lists services.
    Services,
    /// Makes a service.
    MakeService(Body<NewService>),
    /// Revokes a service.
    RevokeService(DeviceIdentifier),
}

/// From where a person looks at the policy.
#[derive(Serialize, Deserialize)]
pub struct Vantage {
    /// Who stands before the worker.
    pub trust: Trust,
    /// Where the person's connection comes from.
    pub here: NetworkOrigin,
}

/// What is asked of the accounts.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountsRequest {
    /// Whether the first administrator is missing. Answer: `BootstrapState`.
    BootstrapState,
    /// Makes the first administrator, whose token the route has checked, and signs in. Answer: [`SignedIn`].
    Bootstrap(Credentials),
    /// Signs in. Answer: [`SignedIn`].
    SignIn {
        /// Name and password.
        credentials: Credentials,
        /// Where the attempt comes from, where the deployment trusts addresses.
        address: Option<String>,
    },
    /// Asks whose session this is, and keeps it alive. Answer: an optional [`Session`].
    Session(SessionToken),
    /// Asks whose session this is, for a page that looks by itself: it ends no later for that. Answer: an optional [`Session`].
    Watch(SessionToken),
    /// Signs out. Answer: nothing.
    SignOut(SessionToken),
    /// Lists people. Answer: a list of `Person`.
    People,
    /// Makes an account. Answer: `Person`.
    AddPerson {
        /// Who makes it.
        by: Person,
        /// The account.
        new: NewPerson,
    },
    /// Changes an account. Answer: `Person`.
    ChangePerson {
        /// Who changes it.
        by: Person,
        /// Which account.
        id: u64,
        /// What changes.
        change: PersonChange,
    },
}

/// The secret of a browser session, as the cookie carries it.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct SessionToken(pub String);

/// Somebody has signed in.
#[derive(Serialize, Deserialize)]
pub struct SignedIn {
    /// Who.
    pub person: Person,
    /// The new session's secret.
    pub token: SessionToken,
    /// When the session ends at the latest.
    pub ends_at: UnixMillis,
}

/// A session that counts.
#[derive(Clone, Serialize, Deserialize)]
pub struct Session {
    /// The SHA-256 of its secret, by which it is known.
    pub id: Sha256,
    /// Whose it is.
    pub person: Person,
    /// When it ends at the latest.
    pub ends_at: UnixMillis,
}

/// What is asked of the distribution server.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DistributionRequest {
    /// A person acts. Answer: JSON as the web API gives it.
    Act(Person, DistributionCommand),
    /// Which file lies under a public name. Answer: an optional [`PublicFile`].
    Find(PublicName),
    /// A gateway's session stands; its object has the directive of this version. Answer: [`Joined`].
    Join(Device, u64),
    /// A gateway's session has ended. Answer: nothing.
    Leave(Device),
    /// A gateway has polled, or has said something in its session. Answer: nothing.
    Heard {
        /// Who was heard.
        gateway: Device,
        /// Whether its session stands.
        in_session: bool,
    },
    /// What a gateway holds of stored data. Answer: nothing.
    Holds(Device, Held),
    /// A gateway's configuration report. Answer: [`Dealt`].
    Report(Device, ByteBuf),
    /// What became of an update. Answer: [`Dealt`].
    Outcome(Device, ByteBuf),
    /// Somebody at the gateway asks to look for updates now. Answer: [`Dealt`].
    Ask(Device),
    /// These devices have lost their rights at the site. Answer: a list of those of whom some gateway could not be told now.
    Lost(Vec<Device>),
    /// The variant of a package that a gateway alone can read, by its file's hash. Answer: an optional [`Variant`].
    Variant(Device, Sha256),
    /// Of which devices stored data may come through a gateway. Answer: a list of devices.
    Uploads(Device),
    /// For whom a device was there, and from when on, the oldest first. Answer: a list of [`Assigned`].
    Patients(Device),
    /// Through which gateways stored data of a device may come; none: the gateways whose session is open. Answer: a list of devices.
    Uploaders(Option<Device>),
}

/// What a gateway's object knows when its session begins.
#[derive(Serialize, Deserialize)]
pub struct Joined {
    /// The first root of the director's repositories.
    pub director_root: ByteBuf,
    /// The first roots of the manufacturers that count.
    pub manufacturers: Vec<ManufacturerRoot>,
    /// The counter of its newest report.
    pub reported: u64,
    /// What is said to it.
    pub orders: Orders,
}

/// What is said to a gateway.
#[derive(Default, Serialize, Deserialize)]
pub struct Orders {
    /// Its newest directive; none where that has not changed, or where there is none.
    pub directive: Option<DirectorFiles>,
    /// Its devices; none where they have not changed.
    pub devices: Option<AssociatedDevices>,
}

/// The devices of a gateway, as they were at one moment.
#[derive(Default, Serialize, Deserialize)]
pub struct AssociatedDevices {
    /// Rises with the moment: an earlier list does not follow a later one.
    pub number: u64,
    /// They, with their keys.
    pub devices: Vec<AssociatedDevice>,
}

/// One version of a gateway's director repository.
#[derive(Clone, Serialize, Deserialize)]
pub struct DirectorFiles {
    /// The version of all three.
    pub version: u64,
    /// The directive.
    pub targets: ByteBuf,
    /// The snapshot.
    pub snapshot: ByteBuf,
    /// The timestamp.
    pub timestamp: ByteBuf,
}

/// How a message of a gateway was dealt with.
#[derive(Serialize, Deserialize)]
pub struct Dealt {
    /// Why it was refused; none where it was taken.
    pub refused: Option<SessionRefusal>,
    /// What is said to the gateway then.
    pub orders: Orders,
}

/// What is asked of a gateway's object.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayRequest {
    /// Something is said to the gateway: stored, and told over its session, if that is open. Answer: the version of the directive that it
    /// has then; 0 before the first.
    Say(Orders),
    /// The device has no rights any more: its session and its ticket end. Answer: nothing, when they have ended.
    Close,
    /// Stored data is wanted: of this device, or of all. Answer: whether a session is open, so that it was told.
    Send(Option<Device>),
    /// A report is wanted. Answer: whether a session is open, so that it was told.
    Inquire,
    /// Whoever has the session does not answer any more: it is ended. Answer: nothing.
    Silent,
}

/// What a person asks of the distribution server.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DistributionCommand {
    /// Lists manufacturers.
    Manufacturers,
    /// Makes a manufacturer known.
    AddManufacturer(Body<NewManufacturer>),
    /// Ends a manufacturer.
    EndManufacturer(String),
    /// Says whether a manufacturer's packages are confidential.
    KeepConfidential(String, Body<KeepConfidential>),
    /// Makes a publishing token for a manufacturer.
    MakeToken(String),
    /// Revokes a publishing token of a manufacturer.
    RevokeToken(String, u64),
    /// Lists the packages of a manufacturer, or of all.
    Releases(Option<String>),
    /// Shows a part of the catalog; an empty text asks for all.
    Catalog {
        /// Only devices with this text.
        find: String,
        /// Only of this class.
        client: String,
        /// Only of this gateway.
        gateway: String,
        /// Only those whose update stands so; `conflict`: those that two gateways report.
        standing: String,
        /// Only those after this one.
        after: Option<Device>,
    },
    /// Shows one device of the catalog.
    CatalogDevice(Device),
    /// Says through which gateway a device is updated.
    Associate(Device, Body<Associate>),
    /// Says for whom a device is there.
    AssignPatient(Device, Body<AssignPatient>),
    /// Says through which gateways a device's data may come.
    AllowUpload(Device, Body<AllowUpload>),
    /// Tries a device again that was set aside.
    Resume(Device),
    /// Lists gateways.
    Gateways,
    /// Pushes to one gateway now.
    Push(Device),
    /// Pushes to all gateways of a class of devices.
    Broadcast(Body<Broadcast>),
    /// Lists offers.
    Offers,
    /// Offers a package.
    MakeOffer(Body<NewOffer>),
    /// Shows how far the devices of an offer are, those after this one.
    OfferDevices(u64, Option<Device>),
    /// Withdraws an offer.
    WithdrawOffer(u64),
    /// Shows outcomes: of one device, before one of them.
    Outcomes(Option<Device>, Option<u64>),
    /// Says what an inventory does, or imports it.
    Inventory {
        /// The inventory as it was signed.
        text: String,
        /// Whether it is imported.
        imports: bool,
    },
}

/// Under which name a file is asked for.
#[derive(Serialize, Deserialize)]
pub struct PublicName {
    /// Whose repository.
    pub manufacturer: String,
    /// Metadata or a target.
    pub is_metadata: bool,
    /// The name in the repository, not percent-encoded.
    pub name: String,
}

/// For whom a device is there, from this moment to the next.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Assigned {
    /// From when on.
    pub since: UnixMillis,
    /// The patient; none where nobody is named.
    pub patient: Option<PatientReference>,
}

/// A package as one gateway alone can read it.
#[derive(Serialize, Deserialize)]
pub struct Variant {
    /// Whose package.
    pub manufacturer: String,
    /// Its SHA-256.
    pub package: Sha256,
    /// Its length, in bytes.
    pub length: u64,
    /// The variant's content key and salt, sealed under the master key.
    pub content: ByteBuf,
}

/// A file that is public.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct PublicFile {
    /// Its SHA-256.
    pub sha256: Sha256,
    /// Its length, in bytes.
    pub length: u64,
}
