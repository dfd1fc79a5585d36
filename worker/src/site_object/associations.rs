//! The keys that a gateway is given with its devices: those of their channel `update` (design, section 5).
//!
//! The distribution server names all devices of a gateway; what is sealed here only the gateway can read. For which devices it was given
//! keys is noted before they leave: they are replaced when a device is named no longer, or when the gateway loses its rights.

use super::{Outcome, Site, devices, gateways, keys, locks, rekeying};
use std::collections::BTreeSet;
use wardlink_crypto::schedule::WrapKeys;
use wardlink_edge::messages::KeysOfAssociated;
use wardlink_edge::platform::{log, rng};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::Database;
use wardlink_protocol::channel::{ChannelName, UPDATE_CHANNEL};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::{ClientClass, Device};
use wardlink_trust::associated;
use worker::SqlStorageValue;

/// The devices of a gateway, all of them: gives it their keys, and replaces those of devices that it had before.
pub(super) fn associate(
    site: &Site<'_>,
    gateway: &Device,
    named: &[Device],
    outcome: &mut Outcome,
) -> Result<Vec<Option<KeysOfAssociated>>, Failure> {
    let channel = channel()?;
    let wrap_keys = wrap_keys(site, gateway)?;
    let (mut given, mut all) = (BTreeSet::new(), Vec::new());
    for device in named {
        let Some(known) = devices::find(site.database, device)?.filter(|known| known.state == DeviceState::Paired)
        else {
            all.push(None);
            continue;
        };
        let has_channel = known.channels.contains(&channel) && !locks::is_locked(site.database, device)?;
        let sealed = match &wrap_keys {
            Some(wrap_keys) if has_channel => {
                let lines = keys::lines(site, &channel, device)?;
                let sealed = associated::seal(&lines, device, &channel, gateway, wrap_keys, site.now, &mut rng());
                sealed.map_err(Failure::internal)?
            }
            _ => None,
        };
        if sealed.is_some() {
            given.insert(device.clone());
        }
        let keys = KeysOfAssociated { key: gateways::spki(&known)?, channel: sealed.map(Into::into) };
        all.push(Some(keys));
    }
    let before = given_to(site.database, gateway)?;
    for device in given.difference(&before) {
        site.database.run(
            "INSERT INTO given_keys (gateway_client, gateway_identifier, client, identifier) VALUES (?, ?, ?, ?)",
            columns(gateway, device),
        )?;
    }
    let lost: Vec<Device> = before.difference(&given).cloned().collect();
    take_back(site, gateway, &lost, &given, outcome)?;
    Ok(all)
}

/// A gateway has lost its rights: every key that it was given is replaced.
pub(super) fn end(site: &Site<'_>, gateway: &Device, outcome: &mut Outcome) -> Result<(), Failure> {
    let lost: Vec<Device> = given_to(site.database, gateway)?.into_iter().collect();
    take_back(site, gateway, &lost, &BTreeSet::new(), outcome)
}

fn take_back(
    site: &Site<'_>,
    gateway: &Device,
    lost: &[Device],
    kept: &BTreeSet<Device>,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    if lost.is_empty() {
        return Ok(());
    }
    log!("site: {gateway} was given keys of devices that are its own no longer: {}", lost.len());
    for device in lost {
        site.database.run(
            "DELETE FROM given_keys WHERE gateway_client = ? AND gateway_identifier = ? AND client = ? AND identifier = ?",
            columns(gateway, device),
        )?;
    }
    let kept: BTreeSet<&ClientClass> = kept.iter().map(|device| &device.client).collect();
    rekeying::cut_gateway(site, &channel()?, lost, &kept, outcome)
}

/// The devices whose keys a gateway was given.
fn given_to(database: &Database, gateway: &Device) -> Result<BTreeSet<Device>, Failure> {
    let query = "SELECT client, identifier FROM given_keys WHERE gateway_client = ? AND gateway_identifier = ?";
    database.rows(query, devices::names(gateway))?.into_iter().map(|mut row| devices::take_name(&mut row)).collect()
}

/// What a gateway's keys are sealed under; none for whoever is none, or has no rights.
fn wrap_keys(site: &Site<'_>, gateway: &Device) -> Result<Option<WrapKeys>, Failure> {
    let known = devices::find(site.database, gateway)?;
    let is_trusted = known.is_some_and(|known| known.state == DeviceState::Paired);
    if !gateway.is_gateway() || !is_trusted || locks::is_locked(site.database, gateway)? {
        return Ok(None);
    }
    keys::wrap_keys(site, gateway)
}

fn channel() -> Result<ChannelName, Failure> {
    UPDATE_CHANNEL.parse().map_err(Failure::internal)
}

fn columns(gateway: &Device, device: &Device) -> [SqlStorageValue; 4] {
    let ([of, by], [client, identifier]) = (devices::names(gateway), devices::names(device));
    [of, by, client, identifier]
}
