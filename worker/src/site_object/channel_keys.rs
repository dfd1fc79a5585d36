//! The network keys of the second channels.

use super::vault::Vault;
use crate::platform::{log, rng};
use crate::problem::Failure;
use crate::storage::{Column, Database, Row};
use rand_core::Rng;
use wardlink_protocol::channel::{Channel, ChannelKey, ChannelName, KeyScope, default_channels};
use wardlink_protocol::identity::{KeyId, TrustLevel};
use wardlink_protocol::{Device, UnixMillis};
use zeroize::Zeroizing;

/// A site's first epoch of every key.
const FIRST_EPOCH: u64 = 1;

/// The channels that a device of this trust gets, with the keys in force, by falling priority, then by name.
pub(super) fn given(
    database: &Database,
    vault: &Vault,
    device: &Device,
    trust: TrustLevel,
    now: UnixMillis,
) -> Result<Vec<ChannelKey>, Failure> {
    let mut channels: Vec<Channel> = default_channels();
    channels.retain(|channel| channel.trust <= trust);
    channels.sort_by(|a, b| (a.priority, a.name.as_str()).cmp(&(b.priority, b.name.as_str())));
    channels.into_iter().map(|channel| in_force(database, vault, channel, device, now)).collect()
}

/// Every key under which messages of this device on this channel may be, the newest first.
pub(super) fn accepted(
    database: &Database,
    vault: &Vault,
    channel: &ChannelName,
    device: &Device,
) -> Result<Vec<ChannelKey>, Failure> {
    match default_channels().into_iter().find(|row| row.name == *channel) {
        Some(channel) => stored(database, vault, &channel, device),
        None => Ok(Vec::new()),
    }
}

/// The newest key; makes the first one where there is none.
fn in_force(
    database: &Database,
    vault: &Vault,
    channel: Channel,
    device: &Device,
    now: UnixMillis,
) -> Result<ChannelKey, Failure> {
    if let Some(key) = stored(database, vault, &channel, device)?.into_iter().next() {
        return Ok(key);
    }
    let (mut kid, mut key) = ([0; KeyId::LENGTH], Zeroizing::new([0; 32]));
    rng().fill_bytes(&mut kid);
    rng().fill_bytes(key.as_mut());
    let kid = KeyId(kid);
    database.run(
        "INSERT INTO network_keys (kid, channel, client, identifier, epoch, made_at, key) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            kid.as_bytes().to_vec().into_value(),
            channel.name.to_string().into_value(),
            device.client.to_string().into_value(),
            holder(&channel, device).into_value(),
            FIRST_EPOCH.into_value(),
            now.into_value(),
            vault.seal(&place(kid), key.as_ref())?.into_value(),
        ],
    )?;
    log!("site: made the network key {kid} of the channel {}", channel.name);
    Ok(ChannelKey { channel, kid, epoch: FIRST_EPOCH, key: *key })
}

fn stored(database: &Database, vault: &Vault, channel: &Channel, device: &Device) -> Result<Vec<ChannelKey>, Failure> {
    let rows = database.rows(
        "SELECT kid, epoch, key FROM network_keys WHERE channel = ? AND client = ? AND identifier = ?
         ORDER BY epoch DESC",
        [
            channel.name.to_string().into_value(),
            device.client.to_string().into_value(),
            holder(channel, device).into_value(),
        ],
    )?;
    let key = |mut row: Row| {
        let kid = KeyId::try_from(row.take::<Vec<u8>>()?.as_slice()).map_err(Failure::internal)?;
        let epoch = row.take()?;
        let key = vault.unseal(&place(kid), &row.take::<Vec<u8>>()?)?;
        let key = key.as_slice().try_into().map_err(Failure::internal)?;
        Ok(ChannelKey { channel: channel.clone(), kid, epoch, key })
    };
    rows.into_iter().map(key).collect()
}

/// Whose the key is: one device's, or, written as nothing, all of the class.
fn holder(channel: &Channel, device: &Device) -> String {
    match channel.scope {
        KeyScope::Class => String::new(),
        KeyScope::Device => device.identifier.to_string(),
    }
}

fn place(kid: KeyId) -> String {
    format!("network key {kid}")
}
