//! CBOR messages: what is accepted has one encoding.

use serde::Serialize;
use serde::de::DeserializeOwned;
use wardlink_protocol::authentication::{Acceptance, Challenge, Hello, Proof};
use wardlink_protocol::cbor;
use wardlink_protocol::keys::{ChannelWithdrawn, HeldKey, KeyUpdate, KeysUpdated};
use wardlink_protocol::limits::MAX_PAIRING_MESSAGE_BYTES;
use wardlink_protocol::pairing::{
    DevicePaired, PairingCommand, PairingConfirmed, PairingFinished, PairingRefused, PairingRequest, PairingVerified,
    RefusalReason, Status,
};
use wardlink_protocol::renewal::{
    CertificateRenewal, CertificateRenewed, Decommission, Decommissioned, RenewalFinished,
};
use wardlink_protocol::report::{Alarm, AlarmKind, AlarmPriority, Content, Report, Telemetry, Therapy, TherapyEvent};
use wardlink_protocol::{UnixMillis, cbor::CborError};

use crate::vectors::Vectors;
use crate::{select, selected};

const LIMIT: usize = MAX_PAIRING_MESSAGE_BYTES;

fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    match cbor::decode::<T>(bytes, LIMIT) {
        Ok(value) => assert_eq!(cbor::encode(&value).expect("what was read can be written"), bytes),
        Err(error) => assert!(error != CborError::Encode, "what was read can be written"),
    }
}

const READERS: [fn(&[u8]); 21] = [
    read::<PairingRequest>,
    read::<PairingCommand>,
    read::<PairingVerified>,
    read::<PairingConfirmed>,
    read::<PairingFinished>,
    read::<PairingRefused>,
    read::<DevicePaired>,
    read::<Hello>,
    read::<Challenge>,
    read::<Proof>,
    read::<Acceptance>,
    read::<Report>,
    read::<ciborium::Value>,
    read::<KeyUpdate>,
    read::<ChannelWithdrawn>,
    read::<KeysUpdated>,
    read::<CertificateRenewal>,
    read::<CertificateRenewed>,
    read::<RenewalFinished>,
    read::<Decommission>,
    read::<Decommissioned>,
];

pub(crate) fn run(input: &[u8]) {
    let Some((selector, bytes)) = selected(input) else { return };
    if let Some(reader) = READERS.get(usize::from(selector) % READERS.len()) {
        reader(bytes);
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let (pairing, authentication) = (Vectors::pairing(), Vectors::authentication());
    let plaintexts =
        ["pairing_request", "pairing_command", "pairing_verified", "pairing_confirmed", "pairing_finished"];
    let mut seeds: Vec<Vec<u8>> = plaintexts
        .iter()
        .enumerate()
        .map(|(number, name)| select(number, &pairing.bytes(&format!("/derived/plaintexts/{name}"))))
        .collect();
    let session = pairing.text("/session").parse().expect("a session");
    let (status, reason) = (Status::PairingRefused, RefusalReason::Rejected);
    seeds.push(select(5, &encoded(&PairingRefused { status, session, reason, note: "Not ours".into() })));
    seeds.push(select(6, &crate::site::site().announcement));
    for (number, name) in (7..).zip(["hello", "challenge", "proof", "acceptance"]) {
        for identity in ["by_bare_key", "by_certificate"] {
            seeds.push(select(number, &authentication.bytes(&format!("/{identity}/{name}"))));
        }
    }
    seeds.extend(
        reports()
            .into_iter()
            .map(|content| select(11, &encoded(&Report { measured_at: UnixMillis(1_800_000_000_000), content }))),
    );
    seeds.push(select(12, &pairing.bytes("/messages/pairing_verified/message")));
    seeds.extend(later_messages());
    seeds
}

/// What follows a pairing.
fn later_messages() -> Vec<Vec<u8>> {
    let key = crate::site::site().channels[0].clone();
    let channel = key.channel.name.clone();
    let held = HeldKey { channel: channel.clone(), kid: Some(key.kid), epoch: 1 };
    let gone = HeldKey { kid: None, ..held.clone() };
    let signed = |name: &str| {
        let message = Vectors::renewal().bytes(&format!("/{name}"));
        // Tag, array, headers, payload: the payload is the third item.
        let Ok(ciborium::Value::Tag(_, envelope)) = ciborium::from_reader::<ciborium::Value, _>(message.as_slice())
        else {
            panic!("no envelope")
        };
        envelope.as_array().and_then(|items| items[2].as_bytes().cloned()).expect("a payload")
    };
    vec![
        select(13, &encoded(&KeyUpdate { status: Status::KeyUpdate, key, previous_until: UnixMillis(5) })),
        select(14, &encoded(&ChannelWithdrawn { status: Status::ChannelWithdrawn, channel, epoch: 1 })),
        select(15, &encoded(&KeysUpdated { status: Status::KeysUpdated, keys: vec![held, gone] })),
        select(16, &signed("certificate_renewal")),
        select(17, &signed("certificate_renewed")),
        select(
            18,
            &encoded(&RenewalFinished {
                status: Status::RenewalFinished,
                mac: wardlink_protocol::identity::Sha256([5; 32]),
            }),
        ),
        select(19, &signed("decommission")),
        select(20, &signed("decommissioned")),
    ]
}

pub(crate) fn reports() -> [Content; 3] {
    [
        Content::Telemetry(Telemetry {
            rate_ul_per_h: 5_000,
            infused_ul: 12,
            remaining_ul: 49_988,
            pressure_mmhg: 80,
            battery_percent: 97,
        }),
        Content::Therapy(Therapy {
            event: TherapyEvent::RateChanged,
            drug: "Saline".into(),
            rate_ul_per_h: 5_000,
            volume_ul: 50_000,
        }),
        Content::Alarm(Alarm { kind: AlarmKind::AirInLine, priority: AlarmPriority::High, active: true }),
    ]
}

fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    cbor::encode(value).expect("a message")
}
