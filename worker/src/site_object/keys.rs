//! The network keys of the second channels: their lines of epochs, and who was given what (`wardlink_trust::epochs`).

use super::devices::{self, DeviceRecord};
use super::timers::{self, Timer};
use super::{Outcome, Site, channels, orders, rekeying};
use core::cell::RefCell;
use std::collections::BTreeMap;
use wardlink_edge::platform::{log, rng};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, Row, record};
use wardlink_edge::vault::Vault;
use wardlink_protocol::channel::{Channel, ChannelKey, ChannelName};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::{KeyFingerprint, TrustLevel};
use wardlink_protocol::keys::{HeldKey, WrappedFor};
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{ClientClass, Device, UnixMillis, cbor};
use wardlink_trust::epochs::{Acknowledged, Action, Knowledge, Line, LineId, Why};
use wardlink_trust::wrap::{self, WrapKey};
use zeroize::Zeroizing;

/// The lines that whole classes share, once they were read: every pairing and every message needs them.
pub(super) type SharedLines = RefCell<BTreeMap<LineId, Line>>;

/// The longest stored line, in bytes.
const MAX_LINE_BYTES: usize = 256 * 1024;

/// The channels that a device of this trust gets, with the keys in force, by falling priority, then by name.
pub(super) fn given(site: &Site<'_>, device: &Device, trust: TrustLevel) -> Result<Vec<ChannelKey>, Failure> {
    let policy = channels::policy(site.database)?;
    let keys = policy.rows_for(trust).map(|row| {
        let line = line_of(site, row, device)?;
        line.current().cloned().ok_or_else(|| Failure::internal(format!("{} has no key", line.id())))
    });
    keys.collect()
}

/// The device was given the current keys of these channels, or may have been.
pub(super) fn note_given(
    site: &Site<'_>,
    device: &Device,
    given: impl Fn(&Channel) -> bool,
    has_stored: bool,
) -> Result<(), Failure> {
    let policy = channels::policy(site.database)?;
    let mut knowledge = stored_knowledge(site.database, device)?.unwrap_or_else(|| Knowledge::new(device.clone()));
    for row in policy.rows().iter().filter(|row| given(row)) {
        let line = line_of(site, row, device)?;
        knowledge.give(&line);
        if let Some(key) = line.current().filter(|_| has_stored) {
            let held = HeldKey { channel: row.name.clone(), kid: Some(key.kid), epoch: key.epoch };
            knowledge.acknowledge(&held);
        }
    }
    put_knowledge(site.database, &knowledge)
}

/// The lines under which a device's messages on a channel may be: its class's, and its own.
pub(super) fn lines(site: &Site<'_>, channel: &ChannelName, device: &Device) -> Result<Vec<Line>, Failure> {
    let own =
        LineId { channel: channel.clone(), client: device.client.clone(), identifier: Some(device.identifier.clone()) };
    let ids = [LineId::of_class(channel, &device.client), own];
    ids.iter().filter_map(|id| find(site, id).transpose()).collect()
}

/// Carries out what the keys need. Doing it twice does no harm.
pub(super) fn perform(site: &Site<'_>, actions: Vec<Action>, outcome: &mut Outcome) -> Result<(), Failure> {
    for action in actions {
        match action {
            Action::MakeKey { line, why } => make_key(site, line, why)?,
            Action::CloseLine { line, cut } => {
                if let Some(mut line) = find(site, &line)? {
                    line.close(cut);
                    put(site, &line)?;
                }
            }
            Action::WrapFor { device, line } => wrap_for(site, &device, &line, outcome)?,
            Action::Withdraw { device, channel } => withdraw(site, &device, &channel, outcome)?,
        }
    }
    Ok(())
}

fn make_key(site: &Site<'_>, id: LineId, why: Why) -> Result<(), Failure> {
    let policy = channels::policy(site.database)?;
    let row = policy.row(&id.channel);
    match (find(site, &id)?, row) {
        (Some(mut line), row) => {
            line.replace(row, why, site.now, &mut rng()).map_err(Failure::internal)?;
            log!("site: {} is at epoch {}", line.id(), line.highest());
            put(site, &line)
        }
        (None, Some(row)) => begin(site, id, row).map(drop),
        (None, None) => Ok(()),
    }
}

/// The line that gives a device its key of a channel; it begins where there is none, and begins anew where it was closed.
fn line_of(site: &Site<'_>, row: &Channel, device: &Device) -> Result<Line, Failure> {
    let id = LineId::of(row, device);
    match find(site, &id)? {
        Some(line) if line.current().is_some() => Ok(line),
        Some(mut line) => {
            line.rotate(row.clone(), Why::Policy, site.now, &mut rng()).map_err(Failure::internal)?;
            put(site, &line)?;
            Ok(line)
        }
        None => begin(site, id, row),
    }
}

fn begin(site: &Site<'_>, id: LineId, row: &Channel) -> Result<Line, Failure> {
    let query = "SELECT coalesce(max(highest), 0) FROM key_lines WHERE channel = ? AND client = ?";
    let above = site.database.one(query, [id.channel.to_string().into_value(), id.client.to_string().into_value()])?;
    let line = Line::begin(id, row.clone(), above.unwrap_or_default(), site.now, &mut rng());
    let line = line.map_err(Failure::internal)?;
    log!("site: made the first network key of {}", line.id());
    put(site, &line)?;
    rekeying::set_rotation(site, row)?;
    Ok(line)
}

/// Wraps the line's key for a device, and publishes it there.
fn wrap_for(site: &Site<'_>, device: &Device, id: &LineId, outcome: &mut Outcome) -> Result<(), Failure> {
    let policy = channels::policy(site.database)?;
    let Some(row) = policy.row(&id.channel) else { return Ok(()) };
    let line = line_of(site, row, device)?;
    let Some(keys) = wrap_keys(site, device)? else { return Ok(()) };
    let mut knowledge = knowledge(site, device)?;
    if knowledge.give(&line) {
        put_knowledge(site.database, &knowledge)?;
    }
    let update = wrap::wrap(&line, device, &keys, &mut rng()).map_err(Failure::internal)?;
    outcome.bridge.publish(Topic::Device(device.clone()), update);
    rekeying::note_sent(site, device)
}

fn withdraw(site: &Site<'_>, device: &Device, channel: &ChannelName, outcome: &mut Outcome) -> Result<(), Failure> {
    let mut knowledge = knowledge(site, device)?;
    let Some(given) = knowledge.of_channel(channel).cloned() else { return Ok(()) };
    let line = find(site, &given.line)?;
    if let (Some(line), Some(keys)) = (line, wrap_keys(site, device)?)
        && let Some((epoch, _)) = line.epochs(site.now).next()
    {
        let algorithm = epoch.key.channel.algorithm;
        let last = WrappedFor { channel: channel.clone(), kid: given.kid, algorithm };
        let word = wrap::withdraw(&last, line.highest(), device, &keys, &mut rng()).map_err(Failure::internal)?;
        outcome.bridge.publish(Topic::Device(device.clone()), word);
        rekeying::note_sent(site, device)?;
    }
    knowledge.forget(&given.line);
    put_knowledge(site.database, &knowledge)
}

/// A device listens on its T2: it is sent every key that it has yet to store.
pub(super) fn send_missing(
    site: &Site<'_>,
    device: &Device,
    key: KeyFingerprint,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let Some(known) = working(site, device)?.filter(|known| known.key == key) else { return Ok(()) };
    let policy = channels::policy(site.database)?;
    let knowledge = knowledge(site, device)?;
    for row in policy.rows_for(known.trust).filter(|row| known.channels.contains(&row.name)) {
        let line = line_of(site, row, device)?;
        if knowledge.awaits(&line) {
            wrap_for(site, device, line.id(), outcome)?;
        }
    }
    Ok(())
}

/// A device says on T3 what it holds. False where the message is none of this kind.
pub(super) fn take_answer(site: &Site<'_>, message: &StampedMessage, outcome: &mut Outcome) -> Result<bool, Failure> {
    if !wrap::is_answer(&message.payload) {
        return Ok(false);
    }
    let Publisher::Key { device, .. } = &message.publisher else { return Ok(true) };
    let (Some(known), Some(keys)) = (working(site, device)?, wrap_keys(site, device)?) else { return Ok(true) };
    let held = match wrap::open_answer(message, device, known.key, &keys) {
        Ok(held) => held,
        Err(refusal) => {
            log!("site: message {} on {} does not count: {refusal}", message.sequence, message.topic);
            return Ok(true);
        }
    };
    site.on_the_way.answered(device);
    let mut knowledge = knowledge(site, device)?;
    let answers: Vec<_> = held.into_iter().map(|held| (knowledge.acknowledge(&held), held)).collect();
    put_knowledge(site.database, &knowledge)?;
    for (meaning, HeldKey { channel, epoch, kid }) in answers {
        match meaning {
            Acknowledged::Stored => {
                log!("site: {device} has epoch {epoch} of {channel}");
                orders::key_stored(site, device, &channel, kid, outcome)?;
            }
            Acknowledged::Old => {}
            Acknowledged::Foreign => log!("site: {device} names a key of {channel} that nobody gave it"),
            Acknowledged::Behind => {
                log!("site: {device} has only epoch {epoch} of {channel}, and is given it again");
                if let Some(given) = knowledge.of_channel(&channel) {
                    wrap_for(site, device, &given.line, outcome)?;
                }
            }
            Acknowledged::Ahead(above) => {
                log!("site: {device} is ahead of this site on {channel}: epoch {above}");
                rekeying::go_above(site, device, &channel, above, outcome)?;
            }
        }
    }
    Ok(true)
}

/// A device that has keys and may use them.
fn working(site: &Site<'_>, device: &Device) -> Result<Option<DeviceRecord>, Failure> {
    let known = devices::find(site.database, device)?;
    Ok(known.filter(|known| matches!(known.state, DeviceState::Paired | DeviceState::Expired)))
}

/// What is sealed for a device is under these; none where it has no rights.
pub(super) fn wrap_keys(
    site: &Site<'_>,
    device: &Device,
) -> Result<Option<wardlink_crypto::schedule::WrapKeys>, Failure> {
    let Some(key) = devices::wrapping_key(site.database, site.vault, device)? else { return Ok(None) };
    WrapKey::new(key).keys(device).map(Some).map_err(Failure::internal)
}

/// What a device was given. One that was paired before this was noted has the keys of its channels.
pub(super) fn knowledge(site: &Site<'_>, device: &Device) -> Result<Knowledge, Failure> {
    if let Some(known) = stored_knowledge(site.database, device)? {
        return Ok(known);
    }
    if let Some(known) = working(site, device)? {
        note_given(site, device, |row| known.channels.contains(&row.name), true)?;
    }
    Ok(stored_knowledge(site.database, device)?.unwrap_or_else(|| Knowledge::new(device.clone())))
}

fn stored_knowledge(database: &Database, device: &Device) -> Result<Option<Knowledge>, Failure> {
    let row =
        database.row("SELECT record FROM knowledge WHERE client = ? AND identifier = ?", devices::names(device))?;
    row.map(|mut row| row.take_record()).transpose()
}

/// Stores what a device was given.
pub(super) fn put_knowledge(database: &Database, knowledge: &Knowledge) -> Result<(), Failure> {
    let [client, identifier] = devices::names(knowledge.device());
    database.run(
        "INSERT OR REPLACE INTO knowledge (client, identifier, record) VALUES (?, ?, ?)",
        [client, identifier, record(knowledge)?],
    )
}

/// A line; none where it never began.
pub(super) fn find(site: &Site<'_>, id: &LineId) -> Result<Option<Line>, Failure> {
    if let Some(line) = site.shared.borrow().get(id) {
        return Ok(Some(line.clone()));
    }
    let query = "SELECT state FROM key_lines WHERE channel = ? AND client = ? AND identifier = ?";
    let Some(mut row) = site.database.row(query, columns(id))? else { return Ok(None) };
    let line = open(site.vault, id, &row.take::<Vec<u8>>()?)?;
    remember(site, &line);
    Ok(Some(line))
}

fn remember(site: &Site<'_>, line: &Line) {
    if !line.id().is_for_one_device() {
        site.shared.borrow_mut().insert(line.id().clone(), line.clone());
    }
}

fn open(vault: &Vault, id: &LineId, sealed: &[u8]) -> Result<Line, Failure> {
    Ok(cbor::unpack(&vault.unseal(&place(id), sealed)?, MAX_LINE_BYTES)?)
}

fn put(site: &Site<'_>, line: &Line) -> Result<(), Failure> {
    let [channel, client, identifier] = columns(line.id());
    let state = Zeroizing::new(cbor::pack(line)?);
    let sealed = site.vault.seal(&place(line.id()), &state)?;
    site.database.run(
        "INSERT OR REPLACE INTO key_lines (channel, client, identifier, highest, erases_at, state)
         VALUES (?, ?, ?, ?, ?, ?)",
        [channel, client, identifier, line.highest().into_value(), line.erases_at().into_value(), sealed.into_value()],
    )?;
    remember(site, line);
    line.erases_at().map_or(Ok(()), |due| timers::set_by(site.database, &Timer::Erasure, due))
}

/// Erases keys under which nobody reads any more, as soon as they are due.
pub(super) fn erase_ended(site: &Site<'_>) -> Result<(), Failure> {
    let query = "SELECT channel, client, identifier FROM key_lines WHERE erases_at <= ?";
    for row in site.database.rows(query, [site.now.into_value()])? {
        if let Some(mut line) = find(site, &take_id(row)?)?
            && line.tick(site.now)
        {
            put(site, &line)?;
        }
    }
    let next = site.database.one::<Option<UnixMillis>, 0>("SELECT min(erases_at) FROM key_lines", [])?.flatten();
    next.map_or(Ok(()), |due| timers::set(site.database, &Timer::Erasure, due))
}

fn take_id(mut row: Row) -> Result<LineId, Failure> {
    let channel = row.take::<String>()?.parse().map_err(Failure::internal)?;
    let client: ClientClass = row.take::<String>()?.parse().map_err(Failure::internal)?;
    let identifier = row.take::<String>()?;
    let identifier = (!identifier.is_empty()).then(|| identifier.parse()).transpose().map_err(Failure::internal)?;
    Ok(LineId { channel, client, identifier })
}

/// A line's columns; one of a class has an empty identifier.
fn columns(id: &LineId) -> [worker::SqlStorageValue; 3] {
    let identifier = id.identifier.as_ref().map(ToString::to_string).unwrap_or_default();
    [id.channel.to_string().into_value(), id.client.to_string().into_value(), identifier.into_value()]
}

fn place(id: &LineId) -> String {
    format!("network keys of {id}")
}
