//! Who may have a session with the distribution server, and the end of such sessions.

use super::{Site, devices, grants, locks};
use core::time::Duration;
use serde_bytes::ByteBuf;
use wardlink_crypto::director;
use wardlink_crypto::session::Opening;
use wardlink_crypto::x509::Certificate;
use wardlink_edge::messages::{Admission, DistributionRequest, GatewayRequest, Vouched};
use wardlink_edge::objects;
use wardlink_edge::platform::log;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database};
use wardlink_protocol::Device;
use wardlink_protocol::distribution::{DirectorRoot, SessionAnswer};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_records::receipt::Receipt;

/// When a gateway's object is told again.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// Of how many devices the distribution server is told at once.
const LOST_AT_ONCE: u64 = 500;

/// With what the session of a device is authenticated: one that is paired, not locked, and whose earlier session has not yet to be closed.
pub(super) fn admit(site: &Site<'_>, device: &Device) -> Result<Option<Admission>, Failure> {
    let database = site.database;
    let known = devices::find(database, device)?.filter(|known| known.state == DeviceState::Paired);
    let query = "SELECT closing FROM gateway_sessions WHERE client = ? AND identifier = ?";
    let is_closing = database.one::<bool, _>(query, devices::names(device))? == Some(true);
    let is_locked = locks::is_locked(database, device)?;
    let Some(known) = known.filter(|_| !is_closing && !is_locked) else {
        log!("site: a session of {device} with the distribution server is refused");
        return Ok(None);
    };
    database
        .run("INSERT OR IGNORE INTO gateway_sessions (client, identifier) VALUES (?, ?)", devices::names(device))?;
    let issuing = site.authority.issuers().map(|issuing| issuing.certificate().to_bytes()).collect();
    Ok(Some(Admission { holder: known.key, issuing }))
}

/// Signs what a session of a device begins with, where it shows its own certificate and may have one.
pub(super) fn sign_opening(
    site: &Site<'_>,
    device: &Device,
    opening: Opening,
) -> Result<Option<SessionAnswer>, Failure> {
    let Some(admission) = admit(site, device)? else { return Ok(None) };
    let shown = opening.certificate().ok().filter(|shown| shown.device() == Some(device));
    if shown.and_then(|shown| shown.fingerprint().ok()) != Some(admission.holder) {
        log!("site: whoever wants a session as {device} shows another certificate");
        return Ok(None);
    }
    let signed = opening.sign(site.authority.chain()?, site.authority.key()?).map_err(Failure::internal)?;
    Ok(Some(signed))
}

/// The keys of paired devices.
pub(super) fn keys(database: &Database, named: &[Device]) -> Result<Vec<Option<ByteBuf>>, Failure> {
    let key = |device: &Device| {
        let known = devices::find(database, device)?.filter(|known| known.state == DeviceState::Paired);
        known.as_ref().map(spki).transpose()
    };
    named.iter().map(key).collect()
}

/// A device's key, SubjectPublicKeyInfo, DER.
pub(super) fn spki(known: &devices::DeviceRecord) -> Result<ByteBuf, Failure> {
    let certificate = Certificate::parse(&known.certificate).map_err(Failure::internal)?;
    Ok(ByteBuf::from(certificate.key().to_spki().map_err(Failure::internal)?))
}

/// Whether a key that has signed stored data counts: that of a device whose data may come through this gateway, or the gateway's own, for
/// itself and for those of its devices that the site does not know, because they have no key. Both have to be paired, and not locked; what a device has
/// signed counts also when its certificate has ended since.
pub(super) fn vouch(
    database: &Database,
    gateway: &Device,
    signer: KeyFingerprint,
    mut allowed: Vec<Device>,
) -> Result<Vouched, Failure> {
    let trusted = |device: &Device| -> Result<Option<devices::DeviceRecord>, Failure> {
        let is_trusted = |state| matches!(state, DeviceState::Paired | DeviceState::Expired);
        let known = devices::find(database, device)?.filter(|known| is_trusted(known.state));
        Ok(if locks::is_locked(database, device)? { None } else { known })
    };
    let bringing = trusted(gateway)?.filter(|known| known.state == DeviceState::Paired);
    let Some(bringing) = bringing else { return Ok(Vouched::Ended(gateway.clone())) };
    if bringing.key == signer {
        let mut devices = vec![gateway.clone()];
        for device in allowed {
            if devices::find(database, &device)?.is_none() {
                devices.push(device);
            }
        }
        return Ok(Vouched::For { key: spki(&bringing)?, devices });
    }
    let Some(device) = grants::find(database, signer)?.map(|grant| grant.device) else {
        return Ok(Vouched::Unknown);
    };
    let Some(signing) = trusted(&device)?.filter(|known| known.key == signer) else {
        return Ok(Vouched::Ended(device));
    };
    allowed.retain(|named| *named == device);
    if allowed.is_empty() {
        return Ok(Vouched::Elsewhere(device));
    }
    Ok(Vouched::For { key: spki(&signing)?, devices: allowed })
}

/// Signs that stored data is stored.
pub(super) fn sign_receipt(site: &Site<'_>, receipt: Receipt) -> Result<ByteBuf, Failure> {
    let receipt = Receipt { signed_at: site.now, ..receipt };
    let signed = receipt.sign(site.authority.key()?, &site.authority.chain()?).map_err(Failure::internal)?;
    Ok(ByteBuf::from(signed))
}

/// The control unit's word for a device that this is the root of who directs it; none for a device that is not paired, or locked.
pub(super) fn sign_director(site: &Site<'_>, device: Device, root: ByteBuf) -> Result<Option<ByteBuf>, Failure> {
    let is_paired = devices::find(site.database, &device)?.is_some_and(|known| known.state == DeviceState::Paired);
    if !is_paired || locks::is_locked(site.database, &device)? {
        return Ok(None);
    }
    let root = DirectorRoot { device, issued_at: site.now, root };
    let signed = director::sign(&root, &site.authority.chain()?, site.authority.key()?).map_err(Failure::internal)?;
    Ok(Some(ByteBuf::from(signed)))
}

/// A device has lost its rights: its session has to be closed, if it may have one, and its gateways have to hear of it.
pub(super) fn close(database: &Database, device: &Device) -> Result<(), Failure> {
    let statement = "UPDATE gateway_sessions SET closing = 1 WHERE client = ? AND identifier = ?";
    database.run(statement, devices::names(device))?;
    database.run("INSERT INTO lost_devices (client, identifier) VALUES (?, ?)", devices::names(device))
}

/// Whether a session has yet to be closed, or a gateway to be told.
pub(super) fn is_closing(database: &Database) -> Result<bool, Failure> {
    let query =
        "SELECT EXISTS (SELECT 1 FROM gateway_sessions WHERE closing = 1) OR EXISTS (SELECT 1 FROM lost_devices)";
    Ok(database.one::<bool, 0>(query, [])?.unwrap_or_default())
}

/// Has gateways told of devices that have lost their rights: a gateway lets such a device in no longer, whatever it brings. False where one
/// of them was not told.
async fn tell_of_lost(env: &worker::Env, database: &Database) -> Result<bool, Failure> {
    let (mut after, mut all) = (0_u64, true);
    loop {
        let query = "SELECT number, client, identifier FROM lost_devices WHERE number > ? ORDER BY number LIMIT ?";
        let rows = database.rows(query, [after.into_value(), LOST_AT_ONCE.into_value()])?.into_iter();
        let lost = rows.map(|mut row| Ok((row.take::<u64>()?, devices::take_name(&mut row)?)));
        let lost = lost.collect::<Result<Vec<_>, Failure>>()?;
        let Some((number, _)) = lost.last() else { return Ok(all) };
        after = *number;
        let named = lost.iter().map(|(_, device)| device.clone()).collect();
        let untold: Vec<Device> = objects::call(env, &DistributionRequest::Lost(named)).await?;
        all &= untold.is_empty();
        for (number, _) in lost.iter().filter(|(_, device)| !untold.contains(device)) {
            database.run("DELETE FROM lost_devices WHERE number = ?", [number.into_value()])?;
        }
    }
}

/// Has the sessions closed that have to be, and gateways told; false where an object does not answer.
pub(super) async fn close_revoked(env: &worker::Env, database: &Database) -> Result<bool, Failure> {
    let rows = database.rows("SELECT client, identifier FROM gateway_sessions WHERE closing = 1", [])?;
    let mut all = tell_of_lost(env, database).await.unwrap_or_else(|failure| {
        log!("site: gateways are to be told again of devices without rights: {failure:?}");
        false
    });
    for mut row in rows {
        let device = devices::take_name(&mut row)?;
        match objects::tell_gateway::<()>(env, &device, &GatewayRequest::Close).await {
            Ok(()) => database.run(
                "DELETE FROM gateway_sessions WHERE client = ? AND identifier = ? AND closing = 1",
                devices::names(&device),
            )?,
            Err(failure) => {
                log!("site: the session of {device} is to be closed again: {failure:?}");
                all = false;
            }
        }
    }
    Ok(all)
}
