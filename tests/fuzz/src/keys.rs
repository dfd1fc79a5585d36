//! Later epochs of network keys: wraps, withdrawals and answers that were changed outside and inside the encryption; and the
//! keyring's stored values, damaged.

use serde::Serialize;
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::{self, ContentKey, Header, IV_BYTES};
use wardlink_crypto::schedule::WrapKeys;
use wardlink_protocol::channel::ContentAlgorithm;
use wardlink_protocol::identity::{CertificateSerial, KeyFingerprint, KeyId, Purpose};
use wardlink_protocol::keys::WrappedFor;
use wardlink_protocol::limits::MAX_CHANNELS_PER_DEVICE;
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::{Device, UnixMillis, cbor};
use wardlink_trust::epochs::{Knowledge, Line, LineId, Rekeying, Target, Why};
use wardlink_trust::policy::ChannelPolicy;
use wardlink_trust::wrap::{self, Keychain, Taken, WrapKey};

use crate::site::{NOW, rng, site};
use crate::vectors::Vectors;
use crate::{select, selected};

const FINGERPRINT: KeyFingerprint = KeyFingerprint([7; 32]);
const EPOCH: u64 = 2;

/// The frozen wraps of the channel for alarms.
struct Frozen {
    device: Device,
    wrap_key: WrapKey,
    keys: WrapKeys,
    wrapped: WrappedFor,
    update: Vec<u8>,
    withdrawn: Vec<u8>,
    answer: Vec<u8>,
}

impl Frozen {
    fn read() -> Self {
        let vectors = Vectors::trust();
        let device: Device = vectors.text("/wrap/alarm/device").parse().expect("a device");
        let wrap_key = WrapKey::new(vectors.bytes("/wrap/alarm/wrap_key").try_into().expect("a key"));
        let kid: KeyId = vectors.text("/wrap/alarm/new/kid").parse().expect("a kid");
        let keys = wrap_key.keys(&device).expect("keys");
        let channel = "alarm".parse().expect("a channel");
        let wrapped = WrappedFor { channel, kid, algorithm: ContentAlgorithm::A256GCM };
        let message = |name: &str| vectors.bytes(&format!("/wrap/alarm/{name}"));
        Self {
            update: message("key_update"),
            withdrawn: message("channel_withdrawn"),
            answer: message("keys_updated"),
            device,
            wrap_key,
            keys,
            wrapped,
        }
    }

    /// Seals `plaintext` as docs/protocol.md says, as the control unit's or as the device's.
    fn seal(&self, key: &ContentKey, header: Header, aad: &impl Serialize, plaintext: &[u8]) -> Vec<u8> {
        let header = Header { kid: self.keys.id().as_bytes().to_vec(), ..header };
        let aad = cbor::encode(aad).expect("an AAD");
        cose::seal_with_iv(&header, key, &[1; IV_BYTES], &aad, plaintext).expect("an envelope")
    }

    fn down(&self, plaintext: &[u8]) -> Vec<u8> {
        let header = Header { epoch: Some(EPOCH), wrapped: Some(self.wrapped.clone()), ..Header::default() };
        let (topic, Device { client, identifier }) = (format!("ais/{}", self.device), &self.device);
        let WrappedFor { channel, kid, algorithm } = &self.wrapped;
        let aad = ("wardlink key update", topic, client, identifier, channel, kid, algorithm, EPOCH);
        self.seal(self.keys.down(), header, &aad, plaintext)
    }

    fn up(&self, plaintext: &[u8]) -> Vec<u8> {
        let (topic, Device { client, identifier }) = (format!("ais/command/{}", self.device.client), &self.device);
        let aad = ("wardlink keys updated", topic, client, identifier);
        self.seal(self.keys.up(), Header::default(), &aad, plaintext)
    }

    /// The device takes a message in; what it refuses leaves no trace.
    fn receive(&self, message: &[u8]) -> Option<Taken> {
        let mut keychain = Keychain::default();
        let taken = keychain.receive(&self.device, core::slice::from_ref(&self.wrap_key), message, NOW);
        let stored = cbor::encode(&keychain).expect("a keychain");
        assert!(cbor::decode::<Keychain>(&stored, stored.len()).is_ok_and(|again| again == keychain));
        let Ok(taken) = taken else {
            assert!(keychain == Keychain::default(), "a refused message left a trace");
            return None;
        };
        assert!(wrap::is_update(message) && !wrap::is_answer(message));
        assert_eq!(*taken.channel(), self.wrapped.channel);
        if let Taken::Installed { .. } = &taken {
            let held = keychain.held(taken.channel()).expect("the channel");
            assert_eq!((held.kid, held.epoch), (Some(self.wrapped.kid), EPOCH));
        }
        Some(taken)
    }

    fn answered(&self, message: &[u8]) -> bool {
        let certificate = Some((CertificateSerial([0x40; 16]), Purpose::Device));
        let stamped = StampedMessage {
            topic: format!("ais/command/{}", self.device.client),
            payload: ByteBuf::from(message),
            publisher: Publisher::Key { key: FINGERPRINT, device: self.device.clone(), certificate },
            accepted_at: NOW,
            sequence: 1,
            network: NetworkOrigin::default(),
        };
        let opened = wrap::open_answer(&stamped, &self.device, FINGERPRINT, &self.keys);
        let mut knowledge = Knowledge::new(self.device.clone());
        let held = opened.unwrap_or_default();
        assert!(held.len() <= MAX_CHANNELS_PER_DEVICE);
        for key in &held {
            knowledge.acknowledge(key);
        }
        assert!(knowledge.given().is_empty(), "a device knows only what it was given");
        !held.is_empty()
    }
}

pub(crate) fn run(input: &[u8]) {
    let Some((selector, bytes)) = selected(input) else { return };
    match selector % 9 {
        0 => {
            let frozen = Frozen::read();
            let known = bytes == frozen.update || bytes == frozen.withdrawn;
            assert!(frozen.receive(bytes).is_none() || known, "a foreign key update counts");
        }
        1 => drop(Frozen::read().receive(&Frozen::read().down(bytes))),
        2 => {
            let frozen = Frozen::read();
            assert!(!frozen.answered(bytes) || bytes == frozen.answer, "a foreign answer counts");
        }
        3 => {
            let frozen = Frozen::read();
            let _ = frozen.answered(&frozen.up(bytes));
        }
        4 => line(bytes),
        5 => {
            let Ok(mut knowledge) = cbor::decode::<Knowledge>(bytes, bytes.len()) else { return };
            assert!(knowledge.revoke(NOW).len() <= bytes.len());
            assert!(knowledge.given().is_empty());
        }
        6 => {
            let Ok(mut job) = cbor::decode::<Rekeying>(bytes, bytes.len()) else { return };
            drop(job.first_actions(&[site().device.client.clone()]));
            assert!(job.slice([], 5).is_empty() && job.is_finished());
        }
        7 => {
            let Ok(mut keychain) = cbor::decode::<Keychain>(bytes, bytes.len()) else { return };
            let frozen = Frozen::read();
            let _ = keychain.receive(&frozen.device, &[frozen.wrap_key], &frozen.update, NOW);
            keychain.tick(UnixMillis(u64::MAX));
            assert!(keychain.erases_at().is_none());
        }
        _ => policy(bytes),
    }
}

fn line(bytes: &[u8]) {
    let Ok(mut line) = cbor::decode::<Line>(bytes, bytes.len()) else { return };
    let highest = line.highest();
    let row = line.current().map(|key| key.channel.clone());
    let _ = line.admit(&[1; 8], NOW, true, NOW);
    let rotated = line.replace(row.as_ref(), Why::Cut(NOW), NOW, &mut rng());
    assert!(rotated.is_err() || row.is_none() || line.highest() >= highest);
    line.tick(UnixMillis(u64::MAX));
    assert!(line.due_at().is_none() || line.current().is_some());
}

fn policy(json: &[u8]) {
    let Ok(policy) = serde_json::from_slice::<ChannelPolicy>(json) else { return };
    assert!(ChannelPolicy::new(policy.rows().to_vec()).as_ref() == Ok(&policy));
    assert!(policy.preview(&policy, &[]).is_empty());
    drop(ChannelPolicy::default().preview(&policy, &[]).jobs(&[], NOW));
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let frozen = Frozen::read();
    let wrap_keys = core::slice::from_ref(&frozen.wrap_key);
    let mut keychain = Keychain::default();
    keychain.receive(&frozen.device, wrap_keys, &frozen.update, NOW).expect("a key update");
    let row = site().channels[0].channel.clone();
    let id = LineId::of(&row, &frozen.device);
    let mut line = Line::begin(id, row.clone(), 0, NOW, &mut rng()).expect("a line");
    let mut knowledge = Knowledge::new(frozen.device.clone());
    knowledge.give(&line);
    line.rotate(row.clone(), Why::Schedule, NOW, &mut rng()).expect("an epoch");
    let job = Rekeying::begin(Why::Policy, None, vec![Target::standing(row)], 1, NOW);
    let envelope = |message: &[u8], key, aad: &[u8]| {
        let envelope = cose::Encrypted::parse(message, message.len()).expect("an envelope");
        envelope.open(key, aad).expect("the right key").to_vec()
    };
    let Device { client, identifier } = &frozen.device;
    let WrappedFor { channel, kid, algorithm } = &frozen.wrapped;
    let down =
        ("wardlink key update", format!("ais/{}", frozen.device), client, identifier, channel, kid, algorithm, EPOCH);
    let down = cbor::encode(&down).expect("an AAD");
    let up =
        cbor::encode(&("wardlink keys updated", format!("ais/command/{client}"), client, identifier)).expect("an AAD");
    vec![
        select(0, &frozen.update),
        select(0, &frozen.withdrawn),
        select(1, &envelope(&frozen.update, frozen.keys.down(), &down)),
        select(1, &envelope(&frozen.withdrawn, frozen.keys.down(), &down)),
        select(2, &frozen.answer),
        select(3, &envelope(&frozen.answer, frozen.keys.up(), &up)),
        select(4, &encoded(&line)),
        select(5, &encoded(&knowledge)),
        select(6, &encoded(&job)),
        select(7, &encoded(&keychain)),
        select(8, &serde_json::to_vec(&ChannelPolicy::default()).expect("a policy")),
    ]
}

/// A value as the shell stores it.
fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    cbor::encode(value).expect("a stored value")
}
