//! The distribution server: manufacturers, releases, the configuration catalog, gateways, offers and outcomes.
//!
//! Names of manufacturers, models and packages are texts here; `wardlink-update` says which of them are acceptable.

use crate::identity::{ClientClass, Device, KeyFingerprint, PatientReference, Sha256};
use crate::time::UnixMillis;
use core::ops::Range;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A manufacturer: a row of `GET /api/v1/manufacturers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManufacturerView {
    /// Its name, as its packages give it.
    pub manufacturer: String,
    /// The SHA-256 of the root that an administrator gave: compare it with what the manufacturer says.
    pub first_root: Sha256,
    /// The version of the root that is trusted now.
    pub root_version: u64,
    /// When it was made known.
    pub added_at: UnixMillis,
    /// Who made it known.
    pub added_by: String,
    /// When it was ended: nothing of it is accepted or offered since.
    pub ended_at: Option<UnixMillis>,
    /// The tokens under which it publishes.
    pub tokens: Vec<PublishingToken>,
    /// What it published last.
    pub published: Option<PublishedView>,
    /// The version of the inventory that was imported last; 0 before the first.
    pub inventory: u64,
    /// Whether its packages are confidential: each gateway is given them encrypted to its own key, and nobody gets them otherwise.
    pub confidential: bool,
}

/// What a manufacturer published last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedView {
    /// When it became visible.
    pub at: UnixMillis,
    /// The version of its timestamp.
    pub timestamp: u64,
    /// Until when all of its roles count; gateways take nothing new of this manufacturer afterwards.
    pub ends_at: UnixMillis,
    /// How many packages it has, recalled ones included.
    pub packages: u64,
}

/// `POST /api/v1/manufacturers`: makes a manufacturer known. The body may have 600,000 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewManufacturer {
    /// Its name, as its packages give it.
    pub manufacturer: String,
    /// Its first root, `1.root.json`, as text.
    pub root: String,
}

/// `POST /api/v1/manufacturers/{manufacturer}/confidential`: whether its packages are confidential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepConfidential {
    /// Whether they are, from now on.
    pub confidential: bool,
}

/// A publishing token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishingToken {
    /// Which.
    pub id: u64,
    /// When it was made.
    pub made_at: UnixMillis,
    /// Who made it.
    pub made_by: String,
    /// When it was used last, to the minute.
    pub used_at: Option<UnixMillis>,
    /// When it was revoked.
    pub revoked_at: Option<UnixMillis>,
}

/// The answer to `POST /api/v1/manufacturers/{manufacturer}/tokens`, which takes no body.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct MadePublishingToken {
    /// Which.
    pub id: u64,
    /// The secret: shown here, and never again.
    pub token: String,
}

/// A package: a row of `GET /api/v1/releases`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseView {
    /// Its path at the manufacturer's repository.
    pub path: String,
    /// Who made it.
    pub manufacturer: String,
    /// For which class.
    pub device_type: ClientClass,
    /// For which model.
    pub model: String,
    /// The lowest revision that it can be installed over.
    pub from: String,
    /// The highest one.
    pub to: String,
    /// The revision afterwards.
    pub revision: String,
    /// The hardware that it runs on.
    pub hardware: Vec<String>,
    /// Its place among the model's releases.
    pub release_counter: u64,
    /// The name of the release across models.
    pub feature_set: String,
    /// The models of the other members of its atomic set, as `manufacturer/type/model`.
    pub atomic: Vec<String>,
    /// The kinds of data that the server may add: `drug_library`, `site_settings`.
    pub accepts: Vec<String>,
    /// Whether it may be installed while a therapy runs.
    pub during_therapy: bool,
    /// Why it takes devices back, where it does.
    pub downgrade: Option<String>,
    /// Why it is recalled, where it is.
    pub recalled: Option<String>,
    /// Its length, in bytes.
    pub length: u64,
    /// Its SHA-256.
    pub sha256: Sha256,
    /// Its bill of materials, where it has one.
    pub sbom: Option<ReleaseDocument>,
    /// Its provenance, where it has one.
    pub provenance: Option<ReleaseDocument>,
    /// How many devices of the catalog could take it now.
    pub fitting: u64,
    /// How many devices of the catalog run it.
    pub running: u64,
}

/// A document that is bound to a package. Everybody may read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseDocument {
    /// Where it is at this server, percent-encoded: `/api/repositories/…`.
    pub address: String,
    /// Its length, in bytes.
    pub length: u64,
}

/// What a device or gateway runs, as the catalog has it (figure 2, 41 to 48).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogEntry {
    /// The device: its type and its identifier.
    pub device: Device,
    /// Who made it.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// Its serial number.
    pub serial_number: String,
    /// Its software revision.
    pub revision: String,
    /// Its hardware.
    pub hardware: String,
    /// The release counter of what it runs, where it is known.
    pub release_counter: Option<u64>,
    /// The gateway through which it is updated; a gateway's own is itself.
    pub gateway: Option<Device>,
    /// Every gateway through which its data may come.
    pub uploads: Vec<Device>,
    /// For whom it is there; none where nobody has said so.
    pub patient: Option<PatientReference>,
    /// The gateway that reports it, too, where two do: it gets nothing until a person decides.
    pub conflict: Option<Device>,
    /// When it was reported last; none where it is known from an inventory only.
    pub reported_at: Option<UnixMillis>,
    /// The key that the manufacturer gave it, where the inventory names one.
    pub factory_key: Option<KeyFingerprint>,
    /// An attack that it says that it has seen.
    pub attack: Option<String>,
    /// How its newest update stands.
    pub update: UpdateState,
    /// What of it went wrong or waits, for people.
    pub detail: Option<String>,
    /// How often in a row it has failed.
    pub failures: u64,
    /// When it is tried again, where it is.
    pub retry_at: Option<UnixMillis>,
}

/// How a device's newest update stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateState {
    /// Nothing is offered that it could take.
    Current,
    /// An offer was signed for its gateway.
    Directed,
    /// It is being installed.
    Installing,
    /// It is offered one, and is withheld: an atomic set is not whole, or its gateway is not the one.
    Withheld,
    /// It waits for its circumstances: a therapy, a window, a confirmation; or for its gateway, which refuses the directive.
    Postponed,
    /// It was corrupt, refused or failed, and is tried again.
    Retrying,
    /// It failed too often: a person has to decide.
    SetAside,
    /// It runs a release that was recalled.
    Recalled,
}

/// `GET /api/v1/catalog`: a part of the catalog, by class, then identifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogPage {
    /// The devices.
    pub devices: Vec<CatalogEntry>,
    /// How many there are in all that fit the question.
    pub total: u64,
    /// The device after which the next page begins (`after`); none at the end.
    pub next: Option<Device>,
}

/// `GET /api/v1/catalog/{client}/{identifier}`: a device, and what happened to it, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogDevice {
    /// What it is.
    pub entry: CatalogEntry,
    /// At most the last 100 changes.
    pub history: Vec<CatalogChange>,
}

/// A change of the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogChange {
    /// When.
    pub at: UnixMillis,
    /// What, such as `revision`, `gateway`, `inventory`, `conflict`.
    pub what: String,
    /// What it was before.
    pub from: Option<String>,
    /// What it is since then.
    pub to: Option<String>,
}

/// `POST /api/v1/catalog/{client}/{identifier}/gateway`: through which gateway a device is updated. It also decides a conflict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Associate {
    /// The gateway.
    pub gateway: Device,
}

/// `POST /api/v1/catalog/{client}/{identifier}/uploads`: whether a device's data may come through a gateway, too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowUpload {
    /// The gateway.
    pub gateway: Device,
    /// Whether it may.
    pub allowed: bool,
}

/// `POST /api/v1/catalog/{client}/{identifier}/patient`: for whom a device is there from now on. What it records from then on without a patient
/// of its own, counts as that patient's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignPatient {
    /// The patient; none from now on.
    pub patient: Option<PatientReference>,
}

/// What a gateway holds of stored data until the server has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// How many records.
    pub records: u64,
    /// How many bytes.
    pub bytes: u64,
    /// How many bytes fit.
    pub capacity: u64,
    /// When the oldest batch was signed; none where it holds nothing.
    pub oldest: Option<UnixMillis>,
    /// How many batches the server has refused.
    pub refused_batches: u64,
}

/// A gateway, or a device that speaks for itself: a row of `GET /api/v1/gateways`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayView {
    /// Which.
    pub gateway: Device,
    /// Whether its session is open.
    pub online: bool,
    /// Since when it has no rights at the site any more; none as long as it has.
    pub lost_at: Option<UnixMillis>,
    /// When it was heard last, in a session or by a poll; to a minute.
    pub last_contact: Option<UnixMillis>,
    /// When it reported last.
    pub reported_at: Option<UnixMillis>,
    /// How many devices it reports.
    pub devices: u64,
    /// The version of its newest directive; 0 before the first.
    pub directive: u64,
    /// How many devices that directive is for.
    pub directed: u64,
    /// When that was signed.
    pub directed_at: Option<UnixMillis>,
    /// Why its last report was refused, where it was.
    pub refused: Option<String>,
    /// What it holds of stored data until the server has it, as it said last.
    pub held: Option<Held>,
}

/// `POST /api/v1/gateways/push`: to all gateways of a class of devices (broadcast). One gateway: `POST
/// /api/v1/gateways/{client}/{identifier}/push`, without a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broadcast {
    /// The class of the devices.
    pub client: ClientClass,
}

/// What was pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// How many gateways were given a new directive or told of theirs again.
    pub gateways: u64,
}

/// When something that is offered is installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfferWhen {
    /// At once.
    AtOnce,
    /// At the next safe moment.
    NextSafeMoment,
    /// Within a maintenance window, in seconds since 1970.
    Window {
        /// From then on.
        from: u64,
        /// Before then.
        until: u64,
    },
    /// When a person says so at the device.
    OnConfirmation,
}

/// To which devices a package is offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfferScope {
    /// All of the package's model.
    Model,
    /// All of this class.
    Class(ClientClass),
    /// These devices, at most 1,000.
    Devices(Vec<Device>),
}

/// Data that the server adds to an update (figure 5B, 125).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferedData {
    /// `drug_library` or `site_settings`.
    pub kind: String,
    /// The file: JSON as text.
    pub text: String,
}

/// `POST /api/v1/offers`: offers a package. The body may have 1,100,000 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOffer {
    /// The package's path.
    pub path: String,
    /// To whom.
    pub scope: OfferScope,
    /// When it is installed.
    pub when: OfferWhen,
    /// What the server adds; each kind once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<OfferedData>,
}

/// An offer: a row of `GET /api/v1/offers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferView {
    /// Which.
    pub id: u64,
    /// The package's path.
    pub path: String,
    /// To whom.
    pub scope: OfferScope,
    /// When it is installed.
    pub when: OfferWhen,
    /// The kinds of data that the server adds.
    pub added: Vec<String>,
    /// When it was made.
    pub made_at: UnixMillis,
    /// Who made it.
    pub made_by: String,
    /// When it was withdrawn.
    pub withdrawn_at: Option<UnixMillis>,
    /// How many devices have it in their directive now, those included that are installing it, or are tried again.
    pub directed: u64,
    /// How many devices wait for something.
    pub waiting: u64,
    /// How many devices have installed it.
    pub installed: u64,
    /// How many devices failed, and are not tried again.
    pub failed: u64,
}

/// How far a device is with an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OfferStanding {
    /// It stands in its gateway's directive, and nothing was told of it since.
    Directed,
    /// It is being installed.
    Installing,
    /// It waits: for its circumstances, or because it cannot be given it now.
    Waiting,
    /// It was corrupt, refused or failed, and is tried again.
    Retrying,
    /// It was installed.
    Installed,
    /// It failed, and is not tried again.
    Failed,
}

/// A device that an offer concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferDevice {
    /// Which.
    pub device: Device,
    /// How far it is.
    pub standing: OfferStanding,
    /// What it waits for, or what went wrong.
    pub detail: Option<String>,
    /// Since when; none where it was never given the offer.
    pub since: Option<UnixMillis>,
    /// How often in a row it has failed.
    pub failures: u64,
    /// When it is tried again, where it is.
    pub retry_at: Option<UnixMillis>,
}

/// `GET /api/v1/offers/{id}/devices`: an offer, and a part of its devices, by class, then identifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferDevices {
    /// The offer.
    pub offer: OfferView,
    /// The devices.
    pub devices: Vec<OfferDevice>,
    /// The device after which the next page begins (`after`); none at the end.
    pub next: Option<Device>,
}

/// The outcomes of one page of `GET /api/v1/outcomes`. One that is not full is the last.
pub const OUTCOMES_PAGE: usize = 200;

/// What became of an update at a device: a row of `GET /api/v1/outcomes`, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeView {
    /// Which; `before` asks for older ones.
    pub id: u64,
    /// When it was told.
    pub at: UnixMillis,
    /// The gateway that told it.
    pub gateway: Device,
    /// The device.
    pub device: Device,
    /// The directive that it answers.
    pub directive: u64,
    /// `installed`, `corrupt`, `postponed`, `refused` or `failed`.
    pub outcome: String,
    /// What else was said: the revision, what is waited for, the step and the reason.
    pub detail: String,
}

/// `POST /api/v1/inventories/preview`, and `POST /api/v1/inventories`: what a signed inventory does. The body of both is the inventory
/// as the manufacturer signed it, at most 5,000,000 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryPreview {
    /// Whose it is.
    pub manufacturer: String,
    /// Its version.
    pub version: u64,
    /// How many devices it names.
    pub devices: u64,
    /// How many of them the catalog does not have yet.
    pub added: u64,
    /// How many the catalog has otherwise: their factory key is replaced, and nothing that was reported since.
    pub changed: u64,
    /// At most 20 of the added or changed ones.
    pub examples: Vec<Device>,
}

/// `POST /api/publish/{manufacturer}`: what a publisher has, under `Authorization: Bearer` and its publishing token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPublication {
    /// The metadata files by their names in the repository, such as `2.snapshot.json`.
    pub metadata: Vec<PublishedMetadata>,
    /// The files of all targets, each once.
    pub files: Vec<PublishedFile>,
}

/// A metadata file of a publication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedMetadata {
    /// Its name in the repository, not percent-encoded.
    pub name: String,
    /// The file.
    pub file: PublishedFile,
}

/// A file by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishedFile {
    /// Its SHA-256.
    pub sha256: Sha256,
    /// Its length, in bytes.
    pub length: u64,
}

impl PublishedFile {
    /// Which of its bytes a part has, counted from 0, where each part but the last has so many.
    pub fn part(&self, part_bytes: u64, part: u32) -> Range<u64> {
        let begin = u64::from(part).saturating_mul(part_bytes).min(self.length);
        begin..begin.saturating_add(part_bytes).min(self.length)
    }
}

/// A publication that is being uploaded: the answer to making one, and to `GET /api/publish/{manufacturer}/{publication}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicationView {
    /// Which.
    pub publication: u64,
    /// How long each part of a file is but the last, in bytes.
    pub part_bytes: u64,
    /// What is missing. A part is `PUT` to `/api/publish/{manufacturer}/{publication}/files/{sha256}/{part}`.
    pub missing: Vec<MissingFile>,
}

/// A file that is missing, or parts of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingFile {
    /// The file.
    pub file: PublishedFile,
    /// The parts that are there already, counted from 0.
    pub received: Vec<u32>,
}

impl MissingFile {
    /// The parts that are to be sent. Where all are there and the file is not, the last one makes the server put it together.
    pub fn parts_left(&self, part_bytes: u64) -> impl Iterator<Item = u32> + '_ {
        let count = u32::try_from(self.file.length.div_ceil(part_bytes.max(1))).unwrap_or(u32::MAX);
        let last = count.saturating_sub(1);
        let all = self.received.len() == usize::try_from(count).unwrap_or(usize::MAX);
        (0..count).filter(move |part| !self.received.contains(part) || (all && *part == last))
    }
}

/// The answer to `POST /api/publish/{manufacturer}/{publication}/commit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The version of the timestamp that is visible now.
    pub timestamp: u64,
    /// How many packages the repository has.
    pub packages: u64,
}

#[cfg(test)]
mod tests {
    use super::{MissingFile, PublishedFile};
    use crate::identity::Sha256;

    #[test]
    fn only_missing_parts_are_sent_and_the_last_one_again_where_all_are_there() {
        let file = PublishedFile { sha256: Sha256([0; 32]), length: 27 };
        let left =
            |received: &[u32]| MissingFile { file, received: received.to_vec() }.parts_left(10).collect::<Vec<_>>();
        assert_eq!(left(&[]), [0, 1, 2]);
        assert_eq!(left(&[0, 2]), [1]);
        assert_eq!(left(&[0, 1, 2]), [2]);
        assert_eq!([file.part(10, 0), file.part(10, 2), file.part(10, 3)], [0..10, 20..27, 27..27]);
    }
}
