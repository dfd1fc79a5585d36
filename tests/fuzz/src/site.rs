//! A site, a device, and one pairing between them, stopped at every step.

use core::time::Duration;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Deserialize;
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use wardlink_crypto::cose::{ContentKey, Encrypted, Signed};
use wardlink_crypto::key::{PrivateKey, PublicKey};
use wardlink_crypto::schedule::{self, PairingKeys};
use wardlink_crypto::x509::{Certificate, Holder, IssuingCa, RootCa, Validity};
use wardlink_pairing::control_unit::{Acceptance, Action, Arrived, Begun, ControlUnit, Session, Signer};
use wardlink_pairing::device::{Credential, DevicePairing, Display, NetworkAccess, Provisioned};
use wardlink_pairing::policy::{Network, Policy};
use wardlink_protocol::api::VerificationProof;
use wardlink_protocol::cbor;
use wardlink_protocol::channel::{ChannelKey, Direction, default_channels};
use wardlink_protocol::identity::{KeyFingerprint, KeyId, SecretId, SessionId, Sha256};
use wardlink_protocol::limits::MAX_PAIRING_MESSAGE_BYTES;
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::pairing::{DeviceInformation, DisplayAbilities, Mode, PairingCommand};
use wardlink_protocol::provisioning::AccessSecret;
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::{Device, UnixMillis};

/// When everything happens.
pub(crate) const NOW: UnixMillis = UnixMillis::from_secs(1_800_000_000);

/// The same numbers each time.
pub(crate) fn rng() -> StdRng {
    StdRng::seed_from_u64(1)
}

/// The site, the device, and their pairing.
pub(crate) struct Site {
    pub(crate) ca: IssuingCa,
    pub(crate) signer: PrivateKey,
    pub(crate) chain: Vec<ByteBuf>,
    pub(crate) policy: Policy,
    network: NetworkAccess,
    pub(crate) channels: Vec<ChannelKey>,
    pub(crate) secret_id: SecretId,
    pub(crate) secret: AccessSecret,
    pub(crate) device: Device,
    /// The device's static key.
    pub(crate) key: PrivateKey,
    /// The certificates that the CA issued: provisional, final, the control unit's.
    pub(crate) issued: Vec<ByteBuf>,

    pub(crate) requesting: DevicePairing,
    pub(crate) answered: DevicePairing,
    pub(crate) paired: DevicePairing,
    pub(crate) requested: Session,
    pub(crate) commanded: Session,
    pub(crate) verifying: Session,
    pub(crate) confirmed: Session,
    pub(crate) finished: Session,

    pub(crate) request: Sealed,
    pub(crate) command: Sealed,
    /// What the control unit signed in the command.
    pub(crate) command_signed: Vec<u8>,
    pub(crate) verified: Sealed,
    pub(crate) confirmation: Sealed,
    pub(crate) finish: Sealed,
    /// The plaintext of DEVICE_PAIRED.
    pub(crate) announcement: Vec<u8>,
}

/// A message with its plaintext and its key.
pub(crate) struct Sealed {
    pub(crate) stamped: StampedMessage,
    pub(crate) plaintext: Vec<u8>,
    pub(crate) key: ContentKey,
}

impl Sealed {
    fn new(stamped: StampedMessage, key: ContentKey) -> Self {
        let envelope = Encrypted::parse(&stamped.payload, MAX_PAIRING_MESSAGE_BYTES).expect("an envelope");
        let plaintext = envelope.open(&key, stamped.topic.as_bytes()).expect("the right key").to_vec();
        Self { stamped, plaintext, key }
    }

    /// Another plaintext under the same header and the same key.
    pub(crate) fn with(&self, plaintext: &[u8]) -> StampedMessage {
        let envelope = Encrypted::parse(&self.stamped.payload, MAX_PAIRING_MESSAGE_BYTES).expect("an envelope");
        let aad = self.stamped.topic.as_bytes();
        let sealed = wardlink_crypto::cose::seal_with_iv(envelope.header(), &self.key, envelope.iv(), aad, plaintext);
        self.with_payload(&sealed.expect("an envelope"))
    }

    /// Another payload by the same publisher.
    pub(crate) fn with_payload(&self, payload: &[u8]) -> StampedMessage {
        StampedMessage { payload: ByteBuf::from(payload), ..self.stamped.clone() }
    }
}

static SITE: LazyLock<Site> = LazyLock::new(Site::make);

/// The one site.
pub(crate) fn site() -> &'static Site {
    &SITE
}

impl Site {
    pub(crate) fn control_unit(&self) -> ControlUnit<'_> {
        ControlUnit {
            signer: Signer { key: &self.signer, chain: &self.chain },
            ca: &self.ca,
            policy: &self.policy,
            network: &self.network,
            channels: &self.channels,
        }
    }

    pub(crate) fn provisioned(&self) -> Provisioned<'_> {
        Provisioned {
            device: &self.device,
            key: &self.key,
            secret_id: &self.secret_id,
            secret: &self.secret,
            cert_ca: Some(self.cert_ca()),
            simple_without_cert_ca: false,
        }
    }

    pub(crate) fn cert_ca(&self) -> Sha256 {
        self.ca.root().sha256()
    }

    pub(crate) fn fingerprint(&self) -> KeyFingerprint {
        self.key.public().fingerprint().expect("a key")
    }

    fn make() -> Self {
        let mut rng = rng();
        let (ca, signer, chain) = authority(&mut rng);
        let (network, channels) = (network(&ca), channels());
        let (policy, secret_id) = (Policy::default(), "hospital".parse().expect("an id"));
        let (secret, device) = (AccessSecret::new(vec![7; 16]).expect("a secret"), device());
        let key = PrivateKey::make(&mut rng);
        let provisioned = Provisioned {
            device: &device,
            key: &key,
            secret_id: &secret_id,
            secret: &secret,
            cert_ca: Some(ca.root().sha256()),
            simple_without_cert_ca: false,
        };
        let control_unit = ControlUnit {
            signer: Signer { key: &signer, chain: &chain },
            ca: &ca,
            policy: &policy,
            network: &network,
            channels: &channels,
        };

        let mut pump = DevicePairing::start(provisioned, information(), Vec::new(), NOW, &mut rng).expect("a request");
        let requesting = pump.clone();
        let request = published(&pump, &key);
        let arrived = Arrived::parse(&request).expect("a request");
        let mut session = arrived.open(&secret, Network::Untrusted, None, &policy).expect("a request");
        let requested = session.clone();
        let (mode, location, accepted_by) = (Some(Mode::PairingQrcode), "Bed 7".into(), "anna".into());
        let acceptance = Acceptance { mode, location, accepted_by };
        let command = on_t2(&session.accept(acceptance, control_unit, NOW, &mut rng).expect("an accepted request"));
        let commanded = session.clone();
        pump.receive(provisioned, &command.payload, NOW, &mut rng).expect("the command");
        let answered = pump.clone();
        let verified = published(&pump, &key);
        session.receive(&verified, control_unit, NOW, &mut rng).expect("the answer");
        let verifying = session.clone();
        let confirmation = on_t2(&verify(&mut session, &pump, control_unit, &mut rng));
        let confirmed = session.clone();
        pump.receive(provisioned, &confirmation.payload, NOW, &mut rng).expect("the confirmation");
        let paired = pump.clone();
        let finish = published(&pump, &key);
        let actions = session.receive(&finish, control_unit, NOW, &mut rng).expect("the end");
        let announcement = announced(&actions, &signer.public());

        let id = session.id();
        let access = |direction| {
            schedule::derive_access_key(&secret, direction, &secret_id, &device, &id).expect("an access key")
        };
        let command = Sealed::new(command, access(Direction::Down));
        let command_signed = command.plaintext.clone();
        let said = signed_payload(&command_signed, &signer.public(), &command.stamped.topic);
        let keys = pairing_keys(&requesting, &key, &said, &request.payload, &command.stamped.payload);
        let finish_key = schedule::derive_finish_key(&channels[0], &device, &id).expect("a finish key");
        let certificate = |pump: &DevicePairing| match pump.plan().credential {
            Credential::Certificate(der) => ByteBuf::from(der),
            Credential::BareKey => panic!("the device has no certificate"),
        };
        Self {
            issued: vec![certificate(&answered), certificate(&paired), chain[0].clone()],
            request: Sealed::new(request, access(Direction::Up)),
            command,
            command_signed,
            verified: Sealed::new(verified, keys.device().expect("K_device")),
            confirmation: Sealed::new(confirmation, keys.control().expect("K_control")),
            finish: Sealed::new(finish, finish_key),
            finished: session,
            announcement,
            requesting,
            answered,
            paired,
            requested,
            commanded,
            verifying,
            confirmed,
            ca,
            signer,
            chain,
            policy,
            network,
            channels,
            secret_id,
            secret,
            device,
            key,
        }
    }
}

/// The issuing CA, and the control unit's key with its chain.
fn authority(rng: &mut StdRng) -> (IssuingCa, PrivateKey, Vec<ByteBuf>) {
    let validity = Validity { not_before: UnixMillis(0), not_after: NOW.after(Duration::from_hours(24 * 3650)) };
    let root = RootCa::make("Test root", validity, rng).expect("a root");
    let ca = root.make_issuing_ca("Test issuing CA", validity, rng).expect("an issuing CA");
    let signer = PrivateKey::make(rng);
    let own = ca.issue(&Holder::ControlUnit("Test site".into()), &signer.public(), validity, rng);
    let chain = [vec![own.expect("a certificate").to_bytes()], ca.chain()].concat();
    (ca, signer, chain)
}

fn network(ca: &IssuingCa) -> NetworkAccess {
    NetworkAccess {
        broker_host: "localhost:8787".into(),
        tls_anchors: vec![ca.root().to_bytes()],
        web_pki: false,
        web_origin: "https://wardlink.example".into(),
        chain: Vec::new(),
    }
}

fn channels() -> Vec<ChannelKey> {
    default_channels()
        .into_iter()
        .zip(1_u8..)
        .map(|(channel, number)| ChannelKey { channel, kid: KeyId([number; 8]), epoch: 1, key: [number; 32] })
        .collect()
}

fn device() -> Device {
    "infusion-pump/pump-1".parse().expect("a device")
}

fn information() -> DeviceInformation {
    DeviceInformation {
        device_type: "Infusion pump".into(),
        family: "Ward".into(),
        model: "W1".into(),
        serial_number: "SN-0042".into(),
        firmware_version: "1.0.0".into(),
        hardware_id: "rev-b".into(),
        display: DisplayAbilities { code: true, qr: true, digit_entry: false },
    }
}

fn stamped(topic: &Topic, payload: &[u8], publisher: Publisher) -> StampedMessage {
    let payload = ByteBuf::from(payload);
    StampedMessage {
        topic: topic.to_string(),
        payload,
        publisher,
        accepted_at: NOW,
        sequence: 1,
        network: NetworkOrigin::default(),
    }
}

/// What the device publishes, as the bridge stamps it.
fn published(pump: &DevicePairing, key: &PrivateKey) -> StampedMessage {
    let plan = pump.plan();
    let (topic, payload) = plan.publish.expect("a message");
    let certificate = match plan.credential {
        Credential::BareKey => None,
        Credential::Certificate(der) => {
            let certificate = Certificate::parse(der).expect("a certificate");
            certificate.purpose().map(|purpose| (certificate.serial(), purpose))
        }
    };
    let key = key.public().fingerprint().expect("a key");
    stamped(&topic, payload, Publisher::Key { key, device: device(), certificate })
}

/// What the control unit publishes on T2.
fn on_t2(actions: &[Action]) -> StampedMessage {
    let t2 = Topic::Device(device());
    let payload = actions.iter().find_map(|action| match action {
        Action::Publish { topic, payload } if *topic == t2 => Some(payload),
        _ => None,
    });
    stamped(&t2, payload.expect("a message on T2"), Publisher::ControlUnit)
}

fn announced(actions: &[Action], signer: &PublicKey) -> Vec<u8> {
    let message = actions.iter().find_map(|action| match action {
        Action::Publish { topic: topic @ Topic::Meta(_), payload } => Some((topic.to_string(), payload)),
        _ => None,
    });
    let (topic, payload) = message.expect("an announcement");
    signed_payload(payload, signer, &topic)
}

fn signed_payload(bytes: &[u8], signer: &PublicKey, topic: &str) -> Vec<u8> {
    let envelope = Signed::parse(bytes, MAX_PAIRING_MESSAGE_BYTES).expect("a signed message");
    envelope.verify(signer, topic.as_bytes()).expect("the signer's message").to_vec()
}

/// A person types what the device shows.
fn verify(session: &mut Session, pump: &DevicePairing, control_unit: ControlUnit<'_>, rng: &mut StdRng) -> Vec<Action> {
    let Ok(Display::Verifying { code: Some(code), .. }) = pump.display() else { panic!("the device shows no code") };
    let proof = VerificationProof::Code(code.to_string());
    let Ok(Begun::Counted(attempt)) = session.begin_attempt(SessionId([1; 16]), &proof, None, NOW) else {
        panic!("the attempt is not taken")
    };
    session.decide(attempt, control_unit, NOW, rng).expect("a verified pairing").1
}

/// The keys as the device derives them; Ed stands in its snapshot.
fn pairing_keys(pump: &DevicePairing, key: &PrivateKey, command: &[u8], request: &[u8], sealed: &[u8]) -> PairingKeys {
    #[derive(Deserialize)]
    struct Snapshot {
        state: BTreeMap<String, Requesting>,
    }
    #[derive(Deserialize)]
    struct Requesting {
        ephemeral: ByteBuf,
    }
    let snapshot = pump.snapshot().expect("a snapshot");
    let snapshot: Snapshot = cbor::unpack(&snapshot, snapshot.len()).expect("a snapshot");
    let ephemeral = PrivateKey::from_pkcs8(&snapshot.state["Requesting"].ephemeral).expect("Ed");
    let command: PairingCommand = cbor::decode(command, MAX_PAIRING_MESSAGE_BYTES).expect("a command");
    let peer = PublicKey::from_point(&command.ephemeral).expect("E");
    PairingKeys::derive(&key.agree(&peer), &ephemeral.agree(&peer), request, sealed).expect("the keys")
}
