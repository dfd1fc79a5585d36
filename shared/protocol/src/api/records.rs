//! Stored data: what devices have handed over, the rules that look at it, and the flags that they raise.
//!
//! Numbers are texts with their decimal point, exact. A series is `kind/<kind>`, `question/<instrument>/<question>`, or `unrecorded`: records that a
//! device could not keep.

use crate::identity::{Device, DeviceIdentifier, PatientReference, RecordChain};
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// `GET /api/v1/records`: what has arrived of whom, and what was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsView {
    /// Devices that have handed over something, by name: at most 200.
    pub devices: Vec<RecordsDevice>,
    /// The device after which the next page begins (`after`); none at the end.
    pub next: Option<Device>,
    /// What waits because records before it are missing: at most 256, first what nobody has conceded, and of that what was tried last.
    pub gaps: Vec<RecordsGap>,
    /// How many of these there are in all, at most 64 for each device. What is beyond stands in `refused`.
    pub gaps_in_all: u64,
    /// What was refused: at most the last 50, the newest first.
    pub refused: Vec<RefusedRecords>,
    /// The services that send it on to outside databases, those that have asked within 30 days.
    pub outlets: Vec<RecordsOutlet>,
    /// When the server asks by itself.
    pub settings: RecordsSettings,
}

/// What has come through one gateway: a row of `GET /api/v1/records/gateways`, at most 500, those with the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsGateway {
    /// The gateway; a device that does without one.
    pub gateway: Device,
    /// Of how many devices it brought the last data.
    pub devices: u64,
    /// When the last came.
    pub received_at: UnixMillis,
}

/// What a device has handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsDevice {
    /// The device.
    pub device: Device,
    /// How many records are stored.
    pub records: u64,
    /// How many of them are set aside, because they cannot be: they are in no plot, rule or export.
    pub set_aside: u64,
    /// When the last ones came.
    pub received_at: UnixMillis,
    /// Through which gateway; the device itself where it does without one.
    pub gateway: Device,
    /// What is known to be missing: at most 64 parts of its chains.
    pub missing: Vec<MissingRecords>,
    /// How many parts are missing in all.
    pub missing_in_all: u64,
    /// How many flags nobody has acknowledged, and no late record has disproved.
    pub flags: u64,
}

/// Records that the server knows of and does not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissingRecords {
    /// The chain.
    pub chain: RecordChain,
    /// The number of the first.
    pub from: u64,
    /// The number of the last.
    pub through: u64,
}

/// Records wait at their gateway, because others before them are missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsGap {
    /// The device.
    pub device: Device,
    /// The chain.
    pub chain: RecordChain,
    /// The number that should follow.
    pub expected: u64,
    /// The number that came.
    pub found: u64,
    /// Who brought it.
    pub gateway: Device,
    /// When it was tried last.
    pub at: UnixMillis,
    /// Who has said that what is missing does not come.
    pub conceded_by: Option<String>,
}

/// Stored data that was refused. It stays with its holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRecords {
    /// When.
    pub at: UnixMillis,
    /// Who brought it.
    pub gateway: Device,
    /// Whose it is, where that is known.
    pub device: Option<Device>,
    /// The step that failed, such as `signature` or `chain: fork`.
    pub step: String,
    /// What was wrong.
    pub reason: String,
}

/// A service that sends stored data on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsOutlet {
    /// Its name.
    pub service: DeviceIdentifier,
    /// How many records it has yet to send.
    pub behind: u64,
    /// When it asked last.
    pub asked_at: UnixMillis,
}

/// `PUT /api/v1/records/settings`: when the server asks for stored data by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordsSettings {
    /// So often every connected gateway is asked, from 1 to 10,080 minutes. None: never.
    pub every_minutes: Option<u32>,
}

/// `GET /api/v1/records/{client}/{identifier}`: what of a device is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsDetail {
    /// The device.
    pub device: RecordsDevice,
    /// What it has measured and asked.
    pub series: Vec<RecordsSeries>,
    /// How its chains began: at most the last 50, the newest first.
    pub beginnings: Vec<RecordsBeginning>,
    /// What was set aside: at most the last 50, the newest first.
    pub set_aside: Vec<SetAsideRecord>,
}

/// One series of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsSeries {
    /// Its name.
    pub series: String,
    /// What people call it, in English.
    pub english: String,
    /// What people call it, in German.
    pub german: String,
    /// The unit in which it is shown; none for answers.
    pub unit: Option<String>,
    /// How many values count.
    pub count: u64,
    /// How many of them are numbers, and stand in a plot.
    pub numbers: u64,
    /// The time of the first value, by the device's clock.
    pub first_at: UnixMillis,
    /// The time of the last one.
    pub last_at: UnixMillis,
}

/// A chain of a device's records began, or a gap in one was conceded or filled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsBeginning {
    /// When the server learnt of it.
    pub at: UnixMillis,
    /// The chain.
    pub chain: RecordChain,
    /// `begun`, `outstanding`, `unsure`, `conceded` or `filled`.
    pub standing: String,
    /// Why the device began it: `first`, `paired_again`, `store_lost` or `restored`.
    pub reason: Option<String>,
}

/// A record that is stored and does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAsideRecord {
    /// When it came.
    pub received_at: UnixMillis,
    /// When it was recorded, by the device's clock.
    pub at: UnixMillis,
    /// Its series.
    pub series: String,
    /// What it says.
    pub value: String,
    /// In which unit.
    pub unit: Option<String>,
    /// The step that failed, such as `range`.
    pub step: String,
}

/// `GET /api/v1/records/{client}/{identifier}/plot`: one series over a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsPlot {
    /// The unit of its numbers; none for answers.
    pub unit: Option<String>,
    /// The parts of the time that have numbers, in their order.
    pub buckets: Vec<PlotBucket>,
    /// What is no number: at most the last 50 answers, the newest first.
    pub answers: Vec<RecordedAnswer>,
}

/// An answer that is no number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedAnswer {
    /// When it was given, by the device's clock.
    pub at: UnixMillis,
    /// The answer.
    pub answer: String,
}

/// The values of one part of a plot's time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlotBucket {
    /// Where it begins.
    pub from: UnixMillis,
    /// How many values it has.
    pub count: u64,
    /// The least one.
    pub least: String,
    /// The greatest one.
    pub greatest: String,
    /// The mean.
    pub mean: String,
}

/// `GET /api/v1/records/{client}/{identifier}/values`: what counts, in the order in which it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordsPage {
    /// At most 1,000 records.
    pub values: Vec<RecordedValue>,
    /// The position after which the next page begins (`after`); none at the end.
    pub next: Option<u64>,
}

/// One record that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedValue {
    /// Its place in everything that the server has received.
    pub position: u64,
    /// When it was recorded, by the device's clock.
    pub at: UnixMillis,
    /// When it came.
    pub received_at: UnixMillis,
    /// Its chain.
    pub chain: RecordChain,
    /// Its number in the chain.
    pub sequence: u64,
    /// Whose it is, where the device or the catalog knows.
    pub patient: Option<PatientReference>,
    /// Its series.
    pub series: String,
    /// What was measured or answered.
    pub value: String,
    /// The unit in which it was measured.
    pub unit: Option<String>,
}

/// `POST /api/v1/records/{client}/{identifier}/concede`: a person says that missing records do not come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConcedeGap {
    /// The chain.
    pub chain: RecordChain,
    /// The number that should follow.
    pub expected: u64,
    /// The number that came, as the person has seen it: where more is missing now, nothing is conceded.
    pub found: u64,
}

/// The answer to `POST /api/v1/records/{client}/{identifier}/ask` (a device's data) and `POST /api/v1/gateways/{client}/{identifier}/ask` (all that a
/// gateway holds), which take no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedRecords {
    /// How many gateways may bring it.
    pub gateways: u64,
    /// How many of them are connected, and were told. The others are told when they connect, within a day.
    pub told: u64,
}

/// `GET /api/v1/rules`: the rules in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesView {
    /// Counts the changes; 0 before the first.
    pub version: u64,
    /// The rules as they were written, JSON.
    pub text: String,
    /// The rules, in their order.
    pub rules: Vec<RuleView>,
    /// When they were changed.
    pub changed_at: Option<UnixMillis>,
    /// Who changed them.
    pub changed_by: Option<String>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleView {
    /// Its name.
    pub rule: String,
    /// Its version.
    pub version: u32,
    /// How urgent its flags are.
    pub severity: FlagSeverity,
    /// What it looks at.
    pub series: String,
    /// What it means, in English.
    pub english: String,
    /// What it means, in German.
    pub german: String,
}

/// `PUT /api/v1/rules`: puts rules in force, all of them or none. The body may have 1,100,000 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesChange {
    /// The version that was changed: nothing happens when somebody else has changed it meanwhile.
    pub version: u64,
    /// The rules, JSON.
    pub text: String,
}

/// How urgent it is to look at a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlagSeverity {
    /// Good to know.
    Information,
    /// To be looked at.
    Warning,
    /// To be looked at now.
    Critical,
}

/// The flags of one page of `GET /api/v1/flags`. One that is not full is the last.
pub const FLAGS_PAGE: usize = 100;

/// A condition that a rule has found: a row of `GET /api/v1/flags`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlagView {
    /// Which; `before` asks for older ones.
    pub id: u64,
    /// In whose records.
    pub device: Device,
    /// The patient, where the device or the catalog knows.
    pub patient: Option<PatientReference>,
    /// The rule.
    pub rule: String,
    /// Its version.
    pub version: u32,
    /// What it looks at.
    pub series: String,
    /// How urgent it is.
    pub severity: FlagSeverity,
    /// What it means, in English.
    pub english: String,
    /// What it means, in German.
    pub german: String,
    /// The time of the first record for which the condition held.
    pub from: UnixMillis,
    /// The time of the last one so far.
    pub until: UnixMillis,
    /// For how many records it held.
    pub count: u64,
    /// When it was raised.
    pub raised_at: UnixMillis,
    /// When it was acknowledged.
    pub acknowledged_at: Option<UnixMillis>,
    /// By whom.
    pub acknowledged_by: Option<String>,
    /// When records that came later have shown that the condition did not hold.
    pub withdrawn_at: Option<UnixMillis>,
}
