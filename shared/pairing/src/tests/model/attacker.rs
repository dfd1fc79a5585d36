//! The attacker: he holds the access secret, a key of his own, and a site of his own.

use rand::rngs::StdRng;
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::{self, Encrypted, Header};
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::schedule::{self, KID_ACCESS_DOWN};
use wardlink_crypto::x509::CertificationRequest;
use wardlink_protocol::api::VerificationProof;
use wardlink_protocol::channel::Direction;
use wardlink_protocol::identity::{KeyFingerprint, SessionId, Sha256};
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::pairing::PairingRequest;
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::Topic;

use super::Operation;
use super::world::World;
use crate::control_unit::{Acceptance, Action, Arrived, Begun, Session};
use crate::device::{Credential, DevicePairing, Display, Provisioned};
use crate::message;
use crate::policy::Network;
use crate::tests::site::{BOTH, Site, attempt, fingerprint, information, stamped};

const LIMIT: usize = 64 * 1024;

pub(super) struct Attacker {
    key: PrivateKey,
    /// A control unit of his own, under a root of his own.
    site: Site,
    /// The pairings that he runs as if he were the device.
    pairings: Vec<DevicePairing>,
    /// The pairings that he runs as if he were the control unit.
    sessions: Vec<Session>,
}

impl Attacker {
    pub(super) fn new(rng: &mut StdRng) -> Self {
        Self { key: PrivateKey::make(rng), site: Site::new(rng), pairings: Vec::new(), sessions: Vec::new() }
    }

    pub(super) fn fingerprint(&self) -> KeyFingerprint {
        fingerprint(&self.key)
    }

    /// The root of his own site.
    pub(super) fn root(&self) -> Sha256 {
        self.site.cert_ca()
    }

    /// The answers that his own control unit would show.
    pub(super) fn answers(&self) -> Vec<String> {
        self.sessions.iter().filter_map(|session| session.view(&self.site.policy).answer).collect()
    }

    /// None of his pairings was ever confirmed.
    pub(super) fn got_nothing(&self) -> bool {
        self.pairings.iter().all(|pairing| pairing.pairing().is_none())
    }
}

impl World {
    pub(super) fn attack(&mut self, operation: Operation) {
        use Operation as O;
        match operation {
            O::AttackerRequests { same_session } => self.request_as_the_device(same_session),
            O::AttackerRewritesRequest { part } => self.rewrite_request(part),
            O::AttackerPublishes => {
                let plans: Vec<StampedMessage> =
                    self.attacker.pairings.iter().filter_map(|p| self.as_attacker(p)).collect();
                for message in plans {
                    self.publish_up(message);
                }
            }
            O::AttackerReads { which } => self.read_down(which),
            O::AttackerCommandsDevice { which } => self.command_device(which),
            O::AttackerConfirmsDevice => self.confirm_device(),
            O::AttackerSealsAgain { which } => self.seal_again(which),
            O::AttackerRepeats { which, to_device } => self.repeat(which, to_device, |_| {}),
            O::AttackerChanges { which, byte, to_device } => self.repeat(which, to_device, |payload| {
                let index = byte % payload.len();
                payload[index] ^= 1 << (byte % 8);
            }),
            _ => unreachable!("not an attack"),
        }
    }

    /// What one of his pairings publishes, as the bridge stamps it: with his own key.
    fn as_attacker(&self, pairing: &DevicePairing) -> Option<StampedMessage> {
        pairing.plan().publish.as_ref()?;
        Some(stamped(pairing, &self.name, &self.attacker.key, self.now))
    }

    fn attackers_provision(&self) -> Provisioned<'_> {
        self.site.provisioned(&self.name, &self.attacker.key, Some(self.site.cert_ca()))
    }

    /// He asks under the device's name, perhaps in the device's own session.
    fn request_as_the_device(&mut self, same_session: bool) {
        let mut rng = core::mem::replace(&mut self.rng, rand::SeedableRng::seed_from_u64(0));
        let started =
            DevicePairing::start(self.attackers_provision(), information(BOTH), Vec::new(), self.now, &mut rng);
        self.rng = rng;
        let pairing = started.unwrap();
        if same_session {
            self.rewrite_request(0);
        } else {
            let message = self.as_attacker(&pairing);
            if let Some(message) = message {
                self.publish_up(message);
            }
            self.attacker.pairings.push(pairing);
        }
    }

    /// He opens the device's request, puts his own parts in, and seals it again, in the same session.
    fn rewrite_request(&mut self, part: usize) {
        let Some((Topic::Register(_), payload)) = self.device.plan().publish else { return };
        let envelope = Encrypted::parse(payload, LIMIT).unwrap();
        let session = self.device.session();
        let key = self.access_key(Direction::Up, &session);
        let topic = Topic::Register(self.name.client.clone());
        let mut request: PairingRequest = message::open(&envelope, envelope.header(), &key, &topic).unwrap();
        let nonce = Sha256([5; 32]);
        let own = ByteBuf::from(self.attacker.key.public().to_point());
        if part == 0 || part == 1 {
            request.csr = ByteBuf::from(CertificationRequest::make(&self.name, &self.attacker.key).unwrap());
        }
        if part == 0 || part == 2 {
            request.ephemeral = own;
        }
        if part == 0 || part == 3 {
            request.commitment = schedule::derive_commitment(&session, &nonce).unwrap();
        }
        let sealed = message::seal(envelope.header(), &key, &topic, &request, &mut self.rng).unwrap();
        let message = StampedMessage {
            topic: topic.to_string(),
            payload: ByteBuf::from(sealed),
            publisher: self.attackers_publisher(),
            accepted_at: self.now,
            sequence: 1,
            network: NetworkOrigin::default(),
        };
        self.publish_up(message);
    }

    fn attackers_publisher(&self) -> Publisher {
        Publisher::Key { key: self.attacker.fingerprint(), device: self.name.clone(), certificate: None }
    }

    fn access_key(&self, direction: Direction, session: &SessionId) -> wardlink_crypto::cose::ContentKey {
        schedule::derive_access_key(&self.site.secret, direction, &self.site.secret_id, &self.name, session).unwrap()
    }

    /// He reads what stands on T2 with his own pairings: those of his sessions that were accepted go on.
    fn read_down(&mut self, which: usize) {
        if self.seen_down.is_empty() {
            return;
        }
        let payload = self.seen_down[which % self.seen_down.len()].clone();
        let mut pairings = core::mem::take(&mut self.attacker.pairings);
        let mut rng = core::mem::replace(&mut self.rng, rand::SeedableRng::seed_from_u64(0));
        for pairing in &mut pairings {
            let _ = pairing.receive(self.attackers_provision(), &payload, self.now, &mut rng);
        }
        self.rng = rng;
        self.attacker.pairings = pairings;
    }

    /// He answers the device's request with the command of his own site, as good as he can make it.
    fn command_device(&mut self, which: usize) {
        let requests: Vec<&StampedMessage> =
            self.seen_up.iter().filter(|message| message.topic.starts_with("ais/register/")).collect();
        if requests.is_empty() {
            return;
        }
        let stamped = requests[which % requests.len()].clone();
        let Ok(arrived) = Arrived::parse(&stamped) else { return };
        let site = &self.attacker.site;
        let Ok(mut session) = arrived.open(&site.secret, Network::Untrusted, None, &site.policy) else { return };
        let acceptance = Acceptance { mode: None, location: String::new(), accepted_by: String::new() };
        // He does not let the request expire.
        let now = stamped.accepted_at;
        let actions = session.accept(acceptance, site.control_unit(), now, &mut self.rng).unwrap();
        self.attacker.sessions.push(session);
        self.put_before_device(actions);
    }

    fn put_before_device(&mut self, actions: Vec<Action>) {
        for action in actions {
            if let Action::Publish { topic: Topic::Device(_), payload } = action {
                self.to_device.push(payload);
            }
        }
    }

    /// Where the device followed his command, he takes its answer, verifies it himself, as he has its keys, and confirms.
    fn confirm_device(&mut self) {
        let Display::Verifying { code: Some(code), .. } = self.device.display().unwrap() else { return };
        if self.device.plan().publish.is_none() {
            return;
        }
        let answered = stamped(&self.device, &self.name, &self.key, self.now);
        let proof = VerificationProof::Code(code.to_string());
        let mut done = Vec::new();
        let Attacker { site, sessions, .. } = &mut self.attacker;
        for session in sessions.iter_mut().filter(|session| session.id() == self.device.session()) {
            // His clock stands still, so that nothing of his expires.
            let now = session.view(&site.policy).requested_at;
            let rng = &mut self.rng;
            done.extend(session.receive(&answered, site.control_unit(), now, rng).unwrap_or_default());
            if let Ok(Begun::Counted(pending)) = session.begin_attempt(attempt(1), &proof, None, now) {
                done.extend(session.decide(pending, site.control_unit(), now, rng).unwrap().1);
            }
        }
        self.put_before_device(done);
    }

    /// He opens what the control unit signed and seals it anew: the signature holds, the bytes are others.
    fn seal_again(&mut self, which: usize) {
        if self.seen_down.is_empty() {
            return;
        }
        let envelope = Encrypted::parse(&self.seen_down[which % self.seen_down.len()], LIMIT).unwrap();
        let Some(session) = envelope.header().session else { return };
        let topic = Topic::Device(self.name.clone());
        let key = self.access_key(Direction::Down, &session);
        let Ok(signed) = envelope.open(&key, topic.to_string().as_bytes()) else { return };
        let header = Header::pairing(KID_ACCESS_DOWN, session);
        let sealed = cose::seal(&header, &key, topic.to_string().as_bytes(), &signed, &mut self.rng).unwrap();
        self.to_device.push(sealed);
    }

    /// He repeats something that he saw, changed or not, in either direction.
    fn repeat(&mut self, which: usize, to_device: bool, change: impl FnOnce(&mut [u8])) {
        let (up, down) = (self.seen_up.len(), self.seen_down.len());
        if up + down == 0 {
            return;
        }
        let index = which % (up + down);
        let mut payload =
            if index < up { self.seen_up[index].payload.to_vec() } else { self.seen_down[index - up].clone() };
        change(&mut payload);
        if to_device {
            self.to_device.push(payload);
            return;
        }
        let command = which.is_multiple_of(2);
        let client = self.name.client.clone();
        let topic = if command { Topic::Command(client) } else { Topic::Register(client) };
        let certificate = self.attacker.pairings.iter().find_map(|pairing| match pairing.plan().credential {
            Credential::Certificate(_) => self.as_attacker(pairing).map(|message| message.publisher),
            Credential::BareKey => None,
        });
        let publisher = certificate.unwrap_or_else(|| self.attackers_publisher());
        let payload = ByteBuf::from(payload);
        let message = StampedMessage {
            topic: topic.to_string(),
            payload,
            publisher,
            accepted_at: self.now,
            sequence: 1,
            network: NetworkOrigin::default(),
        };
        self.publish_up(message);
    }
}
