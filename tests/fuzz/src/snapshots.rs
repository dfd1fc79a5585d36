//! What was stored and comes back damaged: it is refused, or it is a state like every other.

use wardlink_pairing::control_unit::Session;
use wardlink_pairing::device::DevicePairing;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::cbor;
use wardlink_trust::Receiver;

use crate::site::{NOW, rng, site};
use crate::{broker, select, selected};

pub(crate) fn run(input: &[u8]) {
    let Some((selector, bytes)) = selected(input) else { return };
    match selector % 4 {
        0 => device(bytes),
        1 => session(bytes),
        2 => receiver(bytes),
        _ => broker::damaged(bytes),
    }
}

fn device(bytes: &[u8]) {
    let Ok(mut pump) = DevicePairing::restore(bytes) else { return };
    let site = site();
    let stored = pump.snapshot().expect("a snapshot");
    assert!(stored.len() <= bytes.len() + 64, "what is stored does not grow");
    drop(pump.display());
    let _ = pump.receive(site.provisioned(), &site.command.stamped.payload, NOW, &mut rng());
    let _ = pump.receive(site.provisioned(), &site.confirmation.stamped.payload, NOW, &mut rng());
    if let Some((topic, payload)) = pump.plan().publish.map(|(topic, payload)| (topic, payload.to_vec())) {
        pump.delivered(&topic, &payload);
    }
    assert!(DevicePairing::restore(&pump.snapshot().expect("a snapshot")).is_ok());
}

fn session(bytes: &[u8]) {
    let Ok(mut session) = Session::restore(bytes) else { return };
    let site = site();
    assert!(session.snapshot().expect("a snapshot").len() <= bytes.len() + 64, "what is stored does not grow");
    drop(session.view(&site.policy));
    drop(session.device_subscribed(session.key()));
    for message in [&site.verified, &site.finish] {
        drop(session.receive(&message.stamped, site.control_unit(), NOW, &mut rng()));
    }
    drop(session.tick(site.control_unit(), UnixMillis(u64::MAX), &mut rng()));
    drop(session.view(&site.policy));
    assert!(Session::restore(&session.snapshot().expect("a snapshot")).is_ok());
}

fn receiver(bytes: &[u8]) {
    let Ok(mut receiver) = cbor::decode::<Receiver>(bytes, bytes.len()) else { return };
    let site = site();
    let topic = "ais/data/alarm/infusion-pump/pump-1".parse().expect("a topic");
    drop(receiver.open(&site.channels, &topic, &site.key.public(), &message()));
    assert!(cbor::encode(&receiver).is_ok_and(|stored| stored.len() <= bytes.len() + 256));
}

/// The message that a stored receiver gets.
fn message() -> Vec<u8> {
    let site = site();
    let topic = "ais/data/alarm/infusion-pump/pump-1".parse().expect("a topic");
    let alarm = site.channels.iter().find(|key| key.channel.name.as_str() == "alarm").expect("a channel");
    let mut sender = wardlink_trust::Sender::begin(alarm, topic, 7, &mut rng()).expect("a sender");
    drop(sender.seal(b"first", &site.key));
    sender.seal(b"second", &site.key).expect("a message")
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let site = site();
    let mut receiver = Receiver::default();
    let topic = "ais/data/alarm/infusion-pump/pump-1".parse().expect("a topic");
    receiver.open(&site.channels, &topic, &site.key.public(), &message()).expect("a message");
    let pumps = [&site.requesting, &site.answered, &site.paired];
    let sessions = [&site.requested, &site.commanded, &site.verifying, &site.confirmed, &site.finished];
    let mut seeds: Vec<Vec<u8>> = pumps.iter().map(|pump| select(0, &pump.snapshot().expect("a snapshot"))).collect();
    seeds.extend(sessions.iter().map(|session| select(1, &session.snapshot().expect("a snapshot"))));
    seeds.push(select(2, &cbor::encode(&receiver).expect("a receiver")));
    seeds.push(select(2, &cbor::encode(&Receiver::default()).expect("a receiver")));
    seeds.extend(broker::stored().iter().map(|record| select(3, record)));
    seeds
}
