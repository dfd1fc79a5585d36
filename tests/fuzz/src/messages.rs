//! CBOR messages: what is accepted has one encoding.

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;
use wardlink_protocol::authentication::{Acceptance, Challenge, Hello, Proof};
use wardlink_protocol::cbor;
use wardlink_protocol::identity::{CertificateSerial, KeyFingerprint};
use wardlink_protocol::keys::{AcceptedKey, AssociatedKeys, ChannelWithdrawn, HeldKey, KeyUpdate, KeysUpdated};
use wardlink_protocol::limits::MAX_PAIRING_MESSAGE_BYTES;
use wardlink_protocol::order::{
    Giver, NotTaken, Order, OrderId, OrderOutcome, OrderRefusal, OrderResult, RefusedMessage, Task,
};
use wardlink_protocol::pairing::{
    DevicePaired, PairingCommand, PairingConfirmed, PairingFinished, PairingRefused, PairingRequest, PairingVerified,
    RefusalReason, Status,
};
use wardlink_protocol::renewal::{
    CertificateRenewal, CertificateRenewed, Decommission, Decommissioned, RenewalFinished,
};
use wardlink_protocol::report::{Alarm, AlarmKind, AlarmPriority, Content, Report, Telemetry, Therapy, TherapyEvent};
use wardlink_protocol::service::{
    ChannelOfClass, DeviceRevoked, KeysAsked, KnownDevice, ServiceAccess, ServiceEnrolled, ServiceEnrolment,
    ServiceRenewal,
};
use wardlink_protocol::{UnixMillis, cbor::CborError};
use wardlink_trust::epochs::{Line, LineId};
use wardlink_trust::services::ServiceKeys;

use crate::vectors::Vectors;
use crate::{select, selected};

const LIMIT: usize = MAX_PAIRING_MESSAGE_BYTES;

fn read<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    match cbor::decode::<T>(bytes, LIMIT) {
        Ok(value) => assert_eq!(cbor::encode(&value).expect("what was read can be written"), bytes),
        Err(error) => assert!(error != CborError::Encode, "what was read can be written"),
    }
}

const READERS: [fn(&[u8]); 29] = [
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
    read::<ServiceEnrolment>,
    read::<ServiceEnrolled>,
    read::<KeysAsked>,
    read::<ServiceKeys>,
    read::<DeviceRevoked>,
    read::<Order>,
    read::<ServiceRenewal>,
    read::<AssociatedKeys>,
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
    seeds.extend(messages_of_members());
    seeds.extend(orders().iter().map(|order| select(26, &encoded(order))));
    seeds
}

/// An order of each kind.
fn orders() -> Vec<Order> {
    let given_at = UnixMillis(1_800_000_000_000);
    let tasks = [
        Task::ShowMessage { text: "Call 2104".into() },
        Task::ReportNow,
        Task::PauseAlarmTone,
        Task::SetInterval { seconds: 30 },
    ];
    let order = |task| Order { id: OrderId([7; 16]), given_at, expires_at: UnixMillis(1_800_000_600_000), task };
    tasks.into_iter().map(order).collect()
}

/// What services and gateways say and are told.
fn messages_of_members() -> Vec<Vec<u8>> {
    let site = crate::site::site();
    let (channel, device) = (site.channels[0].channel.name.clone(), site.device.clone());
    let alarms = ChannelOfClass { channel: channel.clone(), client: device.client.clone() };
    let access = ServiceAccess { reads: [alarms.clone()].into(), writes: [alarms].into() };
    let (bytes, now) = (ByteBuf::from(vec![4; 65]), UnixMillis(5));
    let line = LineId::of(&site.channels[0].channel, &device);
    let mut rng = StdRng::seed_from_u64(1);
    let line = Line::begin(line, site.channels[0].channel.clone(), 0, now, &mut rng).expect("a line");
    let known = KnownDevice { certificate: bytes.clone(), trusted: true };
    let enrolled = ServiceEnrolled {
        status: Status::ServiceEnrolled,
        request_hash: wardlink_protocol::identity::Sha256([5; 32]),
        certificate: bytes.clone(),
        chain: vec![bytes.clone()],
        ephemeral: bytes.clone(),
        access,
    };
    let renewal = ServiceRenewal {
        status: Status::ServiceRenewal,
        serial: CertificateSerial([0x40; 16]),
        csr: bytes.clone(),
        ephemeral: bytes.clone(),
    };
    let enrolment = ServiceEnrolment { status: Status::ServiceEnrolment, csr: bytes.clone(), ephemeral: bytes };
    let key = AcceptedKey { key: site.channels[0].clone(), until: Some(now) };
    let associated = AssociatedKeys { status: Status::AssociatedKeys, keys: vec![key] };
    let asked = KeysAsked { status: Status::KeysAsked, channel, device: device.clone() };
    vec![
        select(28, &encoded(&associated)),
        select(27, &encoded(&renewal)),
        select(21, &encoded(&enrolment)),
        select(22, &encoded(&enrolled)),
        select(23, &encoded(&asked)),
        select(24, &encoded(&ServiceKeys { status: Status::ServiceKeys, lines: vec![line], device: Some(known) })),
        select(25, &encoded(&DeviceRevoked { status: Status::DeviceRevoked, device, revoked_at: now })),
    ]
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

pub(crate) fn reports() -> [Content; 5] {
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
        Content::Order(OrderOutcome {
            order: OrderId([7; 16]),
            giver: Giver::Service(KeyFingerprint([8; 32])),
            result: OrderResult::Refused(OrderRefusal::NoAlarm),
        }),
        Content::RefusedMessage(RefusedMessage {
            channel: "command".parse().expect("a channel"),
            sequence: 7,
            reason: NotTaken::Replayed,
        }),
    ]
}

fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    cbor::encode(value).expect("a message")
}
