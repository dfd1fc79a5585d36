//! Taking a device out of service for good: it is told to erase itself, answers with a signed receipt, and is revoked.

use super::{Outcome, Site, audit, devices, revocations};
use serde::{Deserialize, Serialize};
use wardlink_crypto::x509::Certificate;
use wardlink_edge::platform::{log, rng};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Database, record};
use wardlink_pairing::control_unit::Signer;
use wardlink_pairing::decommission::{Order, Receipt, is_receipt};
use wardlink_protocol::api::{Decommissioning, Person, ProblemKind};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_trust::audit::Act;
use worker::Response;

/// An order, and what came of it.
#[derive(Serialize, Deserialize)]
struct Record {
    order: Order,
    ordered_by: String,
    receipt: Option<Receipt>,
    received_at: Option<UnixMillis>,
}

/// A person orders a device to erase itself. Until its receipt has come, it works on.
pub(super) fn order(site: &Site<'_>, person: &Person, device: &Device, outcome: &mut Outcome) -> Result<(), Failure> {
    let known = devices::find(site.database, device)?.ok_or(ProblemKind::NotFound)?;
    if !matches!(known.state, DeviceState::Paired | DeviceState::Expired) {
        let detail = format!("{device} is not paired. Nothing was changed.");
        return Err(Failure::with_detail(ProblemKind::WrongState, detail));
    }
    let is_open = |known: &Record| known.receipt.is_none();
    // The same order once more, for a device that may have missed it.
    let open = find(site.database, device)?.filter(is_open).filter(|open| open.order.key == known.key);
    let detail = if open.is_some() { "sent again" } else { "" };
    let record = open.map_or_else(|| give(site, person, device, known.key), Ok)?;
    log!("site: person {} orders {device} to erase itself", person.id);
    outcome.notes.by(Some(person), Act::DecommissionOrdered, device, detail);
    put(site.database, &record)?;
    outcome.bridge.publish(Topic::Device(device.clone()), record.order.payload.to_vec());
    outcome.tell_of_device(site, device)
}

fn give(site: &Site<'_>, person: &Person, device: &Device, key: KeyFingerprint) -> Result<Record, Failure> {
    let chain = site.authority.chain()?;
    let signer = Signer { key: site.authority.key()?, chain: &chain };
    let order = Order::give(device.clone(), key, signer, site.now, &mut rng()).map_err(Failure::internal)?;
    Ok(Record { order, ordered_by: person.name.clone(), receipt: None, received_at: None })
}

/// A device listens on its T2: an order stands there until its receipt has come.
pub(super) fn subscribed(
    site: &Site<'_>,
    device: &Device,
    key: KeyFingerprint,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let open = find(site.database, device)?.filter(|known| known.receipt.is_none() && known.order.key == key);
    if let Some(open) = open {
        outcome.bridge.publish(Topic::Device(device.clone()), open.order.payload.to_vec());
    }
    Ok(())
}

/// A device says on T3 that it has erased itself. False where the message is none of this kind.
pub(super) fn take_receipt(site: &Site<'_>, message: &StampedMessage, outcome: &mut Outcome) -> Result<bool, Failure> {
    if !is_receipt(&message.payload) {
        return Ok(false);
    }
    let Publisher::Key { device, .. } = &message.publisher else { return Ok(true) };
    let (Some(known), Some(open)) = (devices::find(site.database, device)?, find(site.database, device)?) else {
        return Ok(true);
    };
    let certificate = Certificate::parse(&known.certificate).map_err(Failure::internal)?;
    match open.order.receipt(message, &certificate) {
        Ok(receipt) if open.receipt.is_none() => {
            log!("site: {device} has erased itself");
            let detail = format!("ordered by {}", open.ordered_by);
            outcome.notes.add(audit::device(device, known.key), Act::DeviceDecommissioned, device, detail);
            let ordered_by = open.ordered_by.clone();
            put(site.database, &Record { receipt: Some(receipt), received_at: Some(site.now), ..open })?;
            revocations::retire(site, device, &ordered_by, outcome)?;
        }
        Ok(_) => {}
        Err(refusal) => log!("site: the receipt of {device} does not count: {refusal}"),
    }
    Ok(true)
}

/// How far a device is with it; none where nobody ordered it.
pub(super) fn view(database: &Database, device: &Device) -> Result<Option<Decommissioning>, Failure> {
    Ok(find(database, device)?.map(|known| Decommissioning {
        ordered_at: known.order.ordered_at,
        ordered_by: known.ordered_by,
        erased_at: known.receipt.map(|receipt| receipt.wiped_at),
        received_at: known.received_at,
    }))
}

/// The signed receipt, as it was received: COSE_Sign1 by the device's static key.
pub(super) fn receipt(database: &Database, device: &Device) -> Result<Response, Failure> {
    let receipt = find(database, device)?.and_then(|known| known.receipt).ok_or(ProblemKind::NotFound)?;
    let response = Response::from_bytes(receipt.payload.to_vec())?;
    response.headers().set("Content-Type", "application/cose")?;
    Ok(response)
}

/// The device pairs anew: what was ordered before is history.
pub(super) fn forget(database: &Database, device: &Device) -> Result<(), Failure> {
    database.run("DELETE FROM decommissions WHERE client = ? AND identifier = ?", devices::names(device))
}

fn find(database: &Database, device: &Device) -> Result<Option<Record>, Failure> {
    let query = "SELECT record FROM decommissions WHERE client = ? AND identifier = ?";
    let row = database.row(query, devices::names(device))?;
    row.map(|mut row| row.take_record()).transpose()
}

fn put(database: &Database, known: &Record) -> Result<(), Failure> {
    let [client, identifier] = devices::names(&known.order.device);
    database.run(
        "INSERT OR REPLACE INTO decommissions (client, identifier, record) VALUES (?, ?, ?)",
        [client, identifier, record(known)?],
    )
}
