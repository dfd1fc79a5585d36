//! What a gateway brings (figure 9, 194 to 196; figure 13, 274): judged, stored whole or not at all, and receipted.

use super::{RecordsObject, devices, flags, gaps, rules, series, text};
use core::time::Duration;
use serde_bytes::ByteBuf;
use wardlink_crypto::key::PublicKey;
use wardlink_edge::messages::{Assigned, Deposited, DeskRequest, DistributionRequest, Vouched};
use wardlink_edge::objects;
use wardlink_edge::platform::{log, now};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, MAX_INTEGER, Row, record};
use wardlink_protocol::api::RefusedRecords;
use wardlink_protocol::api::words::UNKNOWN_SIGNER;
use wardlink_protocol::distribution::SessionRefusal;
use wardlink_protocol::identity::PatientReference;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_records::batch::{BatchError, Beginning, Link, Reason, Sealed, Signer, Verified};
use wardlink_records::chain::{Chains, Continuity, Refused, StoredBatch, Taken};
use wardlink_records::check::{Counted, SetAside, check};
use wardlink_records::receipt::Receipt;
use wardlink_records::record::{Record, RecordId};
use wardlink_records::rules::Seen;

/// How many refusals are remembered.
const REFUSALS: u64 = 50;

/// How far a device's clock may be from the time at which it was assigned to somebody else.
const CLOCK_MARGIN: Duration = Duration::from_mins(10);

/// Why a batch is refused.
struct Refusal {
    device: Option<Device>,
    step: &'static str,
    reason: String,
    /// Whether it is remembered among what waits, so that it need not stand among what was refused.
    waits: bool,
}

/// What of a batch was judged: each record with its number, and whether it counts.
type Judged<'a> = Vec<(RecordId, &'a Record, Result<Counted<'a>, SetAside>)>;

impl Refusal {
    fn form(device: Option<Device>, error: BatchError) -> Self {
        Self { device, step: error.step(), reason: error.to_string(), waits: false }
    }
}

impl RecordsObject {
    /// Takes a batch: verified, judged, stored, and only then receipted.
    pub(super) async fn take(&self, gateway: &Device, bytes: &ByteBuf) -> Result<Deposited, Failure> {
        let stored = match self.open(gateway, bytes).await? {
            Ok(batch) => {
                let assigned = self.assigned(&batch).await?;
                self.store(gateway, bytes, &batch, &assigned)?.map(|stored| (batch, stored))
            }
            Err(refusal) => Err(refusal),
        };
        let (batch, stored) = match stored {
            Ok(stored) => stored,
            Err(refusal) => return self.refuse(gateway, refusal),
        };
        // It leaves for the site when everything above is on disk.
        let receipt = Receipt::of(batch.batch().device().clone(), &stored, now());
        Ok(Deposited::Stored(objects::call(&self.env, &DeskRequest::Receipt(receipt)).await?))
    }

    /// Verifies who has signed, and whether it may come this way.
    async fn open(&self, gateway: &Device, bytes: &[u8]) -> Result<Result<Verified, Refusal>, Failure> {
        let sealed = match Sealed::parse(bytes) {
            Ok(sealed) => sealed,
            Err(error) => return Ok(Err(Refusal::form(None, error))),
        };
        let mut allowed: Vec<Device> = objects::call(&self.env, &DistributionRequest::Uploads(gateway.clone())).await?;
        if !allowed.contains(gateway) {
            // Whoever it is: its own data comes from itself.
            allowed.push(gateway.clone());
        }
        let refusal = |device: Option<Device>, step, reason: &str| {
            let reason = reason.to_owned();
            Refusal { device, step, reason, waits: false }
        };
        let vouched = objects::call(&self.env, &DeskRequest::Vouch(gateway.clone(), sealed.signer(), allowed)).await?;
        Ok(match vouched {
            Vouched::For { key, devices } => {
                let key = PublicKey::from_spki(&key).map_err(Failure::internal)?;
                let only = devices.first().filter(|_| devices.len() == 1).cloned();
                sealed.open(Signer { key: &key, devices: &devices }).map_err(|error| Refusal::form(only, error))
            }
            Vouched::Unknown => Err(refusal(None, "signature", UNKNOWN_SIGNER)),
            Vouched::Elsewhere(device) => {
                Err(refusal(Some(device), "association", "this device's data may not come through this gateway"))
            }
            Vouched::Ended(device) => {
                Err(refusal(Some(device), "rights", "the device or its gateway is revoked, locked or not paired"))
            }
        })
    }

    /// For whom the device was there, where it does not say so itself of each record.
    async fn assigned(&self, batch: &Verified) -> Result<Vec<Assigned>, Failure> {
        let found = batch.batch();
        if found.records().all(|(_, record)| record.patient.is_some()) {
            return Ok(Vec::new());
        }
        objects::call(&self.env, &DistributionRequest::Patients(found.device().clone())).await
    }

    /// One step, without a wait: a batch, its records, its device's chains, and what the rules say.
    fn store(
        &self,
        gateway: &Device,
        bytes: &[u8],
        batch: &Verified,
        assigned: &[Assigned],
    ) -> Result<Result<StoredBatch, Refusal>, Failure> {
        let (database, now) = (self.database.open()?, now());
        let found = batch.batch();
        let device = found.device();
        // What the device says of the chain before is shown to people as well.
        let end = match found.link() {
            Link::Begins(Beginning { before: Some(end), .. }) => end.last,
            _ => 0,
        };
        if found.last().max(end) > MAX_INTEGER {
            let reason = "the numbers of the records cannot be".to_owned();
            return Ok(Err(Refusal { device: Some(device.clone()), step: "form", reason, waits: false }));
        }
        let mut chains: Chains = devices::chains(database, device)?;
        let records: Vec<_> = found.records().map(|(id, record)| (id, of_patient(record, assigned))).collect();
        let judged: Judged<'_> =
            records.iter().map(|(id, record)| (*id, record, check(record, self.definitions(), now))).collect();
        let set_aside = judged.iter().filter(|(.., judged)| judged.is_err()).count();
        let set_aside = u64::try_from(set_aside).unwrap_or(u64::MAX);
        let known = stored_batch(database, batch)?;
        let mut taken = chains.take(batch, set_aside, known);
        if let Err(Refused::Gap { expected, found: came }) = taken
            && gaps::is_conceded(database, device, found.chain(), (expected, came))?
        {
            taken = chains.concede(batch, set_aside);
        }
        let (stored, continuity) = match taken {
            Ok(Taken::New(stored, continuity)) => (stored, continuity),
            Ok(Taken::Again(stored)) => return Ok(Ok(stored)),
            Err(refused) => {
                let (chain, mut reason, mut waits) = (found.chain(), refused.to_string(), false);
                if let Refused::Gap { expected, found: came } = refused {
                    waits = database
                        .step(|database| gaps::note(database, device, chain, (expected, came), gateway, now))?;
                    if !waits {
                        reason = format!("{reason}, in chain {chain}; {} others wait", gaps::MAX_GAPS);
                    }
                }
                return Ok(Err(Refusal { device: Some(device.clone()), step: refused.step(), reason, waits }));
            }
        };
        let rules = self.rules()?;
        let counted = judged.iter().filter(|(.., judged)| judged.is_ok()).map(|(_, record, _)| *record);
        let mut evaluation = rules::evaluation(database, device, &rules, counted)?;
        let seen = judged.iter().filter_map(|(id, record, judged)| {
            let counted = *judged.as_ref().ok()?;
            Some(Seen { id: *id, record, counted })
        });
        let changes = evaluation.feed(&rules, seen);
        // A batch that is there is receipted when it comes again: all of it is there, or none.
        database.step(|database| {
            put_batch(database, bytes, batch, &stored, continuity, gateway, now)?;
            devices::put(database, device, (&chains, evaluation.late()), gateway, now)?;
            gaps::closed(database, device, found.chain(), found.last())?;
            put_records(database, device, &judged, now)?;
            rules::put_evaluation(database, device, &evaluation)?;
            flags::apply(database, device, &rules, changes, now)
        })?;
        Ok(Ok(stored))
    }

    /// Nothing is stored of what is refused but that it was.
    fn refuse(&self, gateway: &Device, refusal: Refusal) -> Result<Deposited, Failure> {
        let Refusal { device, step, reason, waits } = refusal;
        log!("records: a batch that {gateway} brought is refused: {step}");
        if !waits {
            let database = self.database.open()?;
            let named = device.as_ref().map(ToString::to_string);
            database.run(
                "INSERT INTO refused (at, gateway, device, step, reason) VALUES (?, ?, ?, ?, ?)",
                [now().into_value(), text(gateway), named.into_value(), text(step), text(&reason)],
            )?;
            let last = "DELETE FROM refused WHERE id <= (SELECT max(id) FROM refused) - ?";
            database.run(last, [REFUSALS.into_value()])?;
        }
        Ok(Deposited::Refused(SessionRefusal { step: step.to_owned(), reason }))
    }
}

/// A record as it is stored: whose it is says the device, or else the catalog by the time that the record bears. Where that was another's device
/// shortly before or after, nobody can tell by the clock of a device, and it is nobody's.
fn of_patient(record: &Record, assigned: &[Assigned]) -> Record {
    let margin = u64::try_from(CLOCK_MARGIN.as_millis()).unwrap_or(u64::MAX);
    let (earliest, latest) = (UnixMillis(record.at.0.saturating_sub(margin)), record.at.after(CLOCK_MARGIN));
    let ends = assigned.iter().skip(1).map(|next| next.since).chain([UnixMillis(u64::MAX)]);
    let around = assigned.iter().zip(ends).filter(|(one, end)| one.since <= latest && *end > earliest);
    let then = || assigned.iter().rev().find(|assigned| assigned.since <= record.at)?.patient;
    let is_sure =
        |patient: &PatientReference| around.clone().filter_map(|(one, _)| one.patient).all(|one| one == *patient);
    Record { patient: record.patient.or_else(|| then().filter(is_sure)), ..record.clone() }
}

/// The batch that is stored under these numbers.
fn stored_batch(database: &Database, batch: &Verified) -> Result<Option<StoredBatch>, Failure> {
    let found = batch.batch();
    let query = "SELECT stored FROM batches WHERE device = ? AND chain = ? AND first = ?";
    let row = database.row(query, [text(found.device()), text(found.chain()), found.first().into_value()])?;
    row.map(|mut row| row.take_record()).transpose()
}

fn put_batch(
    database: &Database,
    bytes: &[u8],
    batch: &Verified,
    stored: &StoredBatch,
    continuity: Continuity,
    gateway: &Device,
    now: UnixMillis,
) -> Result<(), Failure> {
    let found = batch.batch();
    let (standing, reason) = match continuity {
        Continuity::Whole => (None, None),
        Continuity::Begun(reason) => (Some("begun"), Some(reason)),
        Continuity::Outstanding(reason, _) => (Some("outstanding"), Some(reason)),
        Continuity::Unsure(reason) => (Some("unsure"), Some(reason)),
        Continuity::Filled => (Some("filled"), None),
        Continuity::Conceded(_) => (Some("conceded"), None),
    };
    let reason = reason.map(|reason| match reason {
        Reason::First => "first",
        Reason::PairedAgain => "paired_again",
        Reason::StoreLost => "store_lost",
        Reason::Restored => "restored",
    });
    let word = |word: Option<&str>| word.map(str::to_owned).into_value();
    database.run(
        "INSERT INTO batches (device, chain, first, stored, bytes, gateway, received_at, standing, reason)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            text(found.device()),
            text(found.chain()),
            found.first().into_value(),
            record(stored)?,
            bytes.to_vec().into_value(),
            text(gateway),
            now.into_value(),
            word(standing),
            word(reason),
        ],
    )
}

fn put_records(database: &Database, device: &Device, judged: &Judged<'_>, now: UnixMillis) -> Result<(), Failure> {
    let last: Option<Option<u64>> = database.one("SELECT max(position) FROM records", [])?;
    let mut position = last.flatten().unwrap_or_default();
    for (id, found, judged) in judged {
        let [chain, sequence] = [text(id.chain), id.sequence.into_value()];
        let counted = match judged {
            Err(why) => {
                database.run(
                    "INSERT INTO set_aside (device, chain, sequence, received_at, step, record) VALUES (?, ?, ?, ?, ?, ?)",
                    [text(device), chain, sequence, now.into_value(), text(why.step()), record(found)?],
                )?;
                continue;
            }
            Ok(counted) => counted,
        };
        let amount = match counted {
            Counted::Number(number) => Some(number.count().to_string()),
            Counted::Response(_) | Counted::Unrecorded => None,
        };
        position = position.saturating_add(1);
        let (name, at) = (series::name(found), found.at.into_value());
        series::count(database, device, &name, found.at, amount.is_some())?;
        database.run(
            "INSERT INTO records (position, device, chain, sequence, at, received_at, series, amount, record)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                position.into_value(),
                text(device),
                chain,
                sequence,
                at,
                now.into_value(),
                text(name),
                amount.into_value(),
                record(found)?,
            ],
        )?;
    }
    Ok(())
}

/// What was refused last.
pub(super) fn refused(database: &Database) -> Result<Vec<RefusedRecords>, Failure> {
    let query = "SELECT at, gateway, device, step, reason FROM refused ORDER BY id DESC";
    let view = |mut row: Row| {
        Ok(RefusedRecords {
            at: row.take()?,
            gateway: devices::take_name(&mut row)?,
            device: row.take::<Option<String>>()?.map(|name| name.parse()).transpose().map_err(Failure::internal)?,
            step: row.take()?,
            reason: row.take()?,
        })
    };
    database.rows(query, [])?.into_iter().map(view).collect()
}

#[cfg(test)]
mod tests {
    use super::{CLOCK_MARGIN, of_patient};
    use core::time::Duration;
    use wardlink_edge::messages::Assigned;
    use wardlink_protocol::UnixMillis;
    use wardlink_protocol::identity::PatientReference;
    use wardlink_records::record::{Content, Measure, Record};

    const BEGINS: UnixMillis = UnixMillis(1_800_000_000_000);
    const HER: PatientReference = PatientReference([1; 16]);
    const HIM: PatientReference = PatientReference([2; 16]);

    fn whose(
        at: UnixMillis,
        says: Option<PatientReference>,
        assigned: &[(u64, Option<PatientReference>)],
    ) -> Option<PatientReference> {
        let (kind, value, unit) = ("heart-rate".parse().unwrap(), "70".parse().unwrap(), "/min".parse().unwrap());
        let record = Record { at, patient: says, content: Content::Measure(Measure { kind, value, unit }) };
        let since = |minutes: u64| BEGINS.after(Duration::from_mins(minutes));
        let assigned: Vec<_> =
            assigned.iter().map(|(minutes, patient)| Assigned { since: since(*minutes), patient: *patient }).collect();
        of_patient(&record, &assigned).patient
    }

    #[test]
    fn a_record_is_of_whoever_the_device_was_there_for_by_its_time() {
        let at = |minutes| BEGINS.after(Duration::from_mins(minutes));
        let assigned = [(60, Some(HER)), (120, None), (240, Some(HIM))];
        for (minutes, patient) in
            [(59, None), (60, Some(HER)), (119, Some(HER)), (120, None), (240, Some(HIM)), (999, Some(HIM))]
        {
            assert_eq!(whose(at(minutes), None, &assigned), patient, "{minutes}");
        }
        assert_eq!((whose(at(61), Some(HIM), &assigned), whose(at(61), None, &[])), (Some(HIM), None));
    }

    #[test]
    fn what_may_be_of_two_is_of_nobody() {
        let at = |minutes| BEGINS.after(Duration::from_mins(minutes));
        let margin = CLOCK_MARGIN.as_secs() / 60;
        let assigned = [(60, Some(HER)), (120, Some(HIM))];
        for (minutes, patient) in [
            (120 - margin - 1, Some(HER)),
            (120 - margin, None),
            (120, None),
            (120 + margin - 1, None),
            (120 + margin, Some(HIM)),
        ] {
            assert_eq!(whose(at(minutes), None, &assigned), patient, "{minutes}");
        }
        // In between it was nobody's for longer than clocks differ.
        let apart = [(60, Some(HER)), (100, None), (100 + margin + 1, Some(HIM))];
        assert_eq!(whose(at(99), None, &apart), Some(HER));
    }
}
