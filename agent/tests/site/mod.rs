//! A hospital in one process: the real broker, the real control unit and real WebSockets; only storage and people are missing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(dead_code, reason = "each test file uses its part")]

mod shell;
mod trust;

use serde_bytes::ByteBuf;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use trust::Paired;
use wardlink_agent::clock;
use wardlink_bridge::auth::ControlUnit as BridgeControlUnit;
use wardlink_bridge::{Broker, Clients, ConnectionId, ControlMessage, Notice, Output, SiteTable, Step, Stream};
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::{Holder, IssuingCa, RootCa, Validity};
use wardlink_pairing::control_unit::{Acceptance, Action, Arrived, Begun, ControlUnit, Session, Signer, session_of};
use wardlink_pairing::device::NetworkAccess;
use wardlink_pairing::policy::{Network, Policy};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::api::{PairingPhase, VerificationProof, VerifyResult};
use wardlink_protocol::cbor;
use wardlink_protocol::channel::Qos;
use wardlink_protocol::identity::{SessionId, Sha256};
use wardlink_protocol::limits::MAX_CHANNEL_MESSAGE_BYTES;
use wardlink_protocol::pairing::Mode;
use wardlink_protocol::provisioning::{AccessSecret, Provisioning};
use wardlink_protocol::report::Report;
use wardlink_protocol::stamp::StampedMessage;
use wardlink_protocol::topic::Topic;
use wardlink_trust::epochs::{KeyRefusal, Line, LineId};
use wardlink_trust::inbox::Refused;
use wardlink_trust::replay::ReplayError;
use wardlink_trust::{OpenError, Receiver};

type Work = Box<dyn FnOnce(&mut Hospital) + Send>;

/// A running hospital.
pub(crate) struct Site {
    works: mpsc::UnboundedSender<Input>,
    address: String,
    root: Sha256,
    secret: AccessSecret,
}

enum Input {
    /// With the host that was dialled.
    Open(ConnectionId, mpsc::UnboundedSender<Vec<u8>>, String),
    Bytes(ConnectionId, Vec<u8>),
    Closed(ConnectionId),
    Do(Work),
}

/// Bridge and control unit behind the sockets.
struct Hospital {
    broker: Broker,
    sockets: BTreeMap<ConnectionId, mpsc::UnboundedSender<Vec<u8>>>,
    host: String,
    secret: AccessSecret,
    ca: Arc<IssuingCa>,
    key: PrivateKey,
    chain: Vec<ByteBuf>,
    policy: Policy,
    /// Whether requests for a new certificate are answered.
    renews: bool,
    lines: BTreeMap<LineId, Line>,
    sessions: Vec<Session>,
    versions: u64,
    paired: Vec<Paired>,
    receivers: BTreeMap<String, Receiver>,
    reports: Vec<(String, Report)>,
    /// What was ordered, and what was sent down last.
    orders: Vec<wardlink_protocol::order::Order>,
    sent_down: Option<(Topic, Vec<u8>)>,
    /// Whether the last device listens for orders.
    listens: bool,
    /// Messages under an epoch that had ended.
    retired: usize,
    /// Messages that did not open, and why.
    broken: Vec<String>,
}

fn validity() -> Validity {
    let now = clock::now();
    Validity { not_before: UnixMillis(now.0 - 60_000), not_after: UnixMillis(now.0 + 3_600_000) }
}

impl Site {
    /// A provisioning file for any device.
    pub(crate) fn provisioning(&self) -> Provisioning {
        Provisioning {
            version: 1,
            client: "infusion-pump".parse().unwrap(),
            identifier: None,
            broker: self.address.clone(),
            secret_id: "hospital".parse().unwrap(),
            secret: self.secret.clone(),
            web_origin: "https://wardlink.example".into(),
            cert_ca_sha256: Some(self.root),
            tls_anchors: Vec::new(),
            web_pki: false,
        }
    }

    /// A provisioning file of a hospital that could not give CertCA.
    pub(crate) fn provisioning_without_cert_ca(&self) -> Provisioning {
        Provisioning { cert_ca_sha256: None, ..self.provisioning() }
    }

    /// What the control unit shows to be entered at a pump without CertCA.
    pub(crate) async fn answer(&self) -> String {
        self.until("an answer", |hospital| {
            hospital.sessions.iter().rev().find_map(|session| session.view(&hospital.policy).answer)
        })
        .await
    }

    /// Does something with the hospital and waits for its answer.
    async fn ask<T: Send + 'static>(&self, work: impl FnOnce(&mut Hospital) -> T + Send + 'static) -> T {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |hospital| drop(answer.send(work(hospital))));
        assert!(self.works.send(Input::Do(work)).is_ok(), "the hospital broke");
        answered.await.expect("the hospital broke")
    }

    /// Waits until it is so.
    async fn until<T: Send + 'static>(&self, what: &str, look: fn(&mut Hospital) -> Option<T>) -> T {
        for _ in 0..2_000 {
            if let Some(found) = self.ask(look).await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("waited in vain for {what}");
    }

    /// Accepts the request that waits, as soon as one does.
    pub(crate) async fn accept(&self) {
        self.until("a request", Hospital::accept).await;
    }

    /// Rejects the request that waits, as soon as one does.
    pub(crate) async fn reject(&self, note: &'static str) {
        self.until("a request", |hospital| hospital.phase(PairingPhase::Waiting).map(drop)).await;
        self.ask(move |hospital| hospital.reject(note)).await;
    }

    /// Types a code as soon as one is awaited.
    pub(crate) async fn verify(&self, code: &str) -> VerifyResult {
        self.until("a verification", |hospital| hospital.phase(PairingPhase::Verifying).map(drop)).await;
        let proof = VerificationProof::Code(code.to_owned());
        self.ask(move |hospital| hospital.verify(&proof)).await
    }

    /// How many devices are paired.
    pub(crate) async fn paired(&self) -> usize {
        self.ask(|hospital| hospital.paired.len()).await
    }

    /// Every report that opened, with its channel; nothing may have failed to open.
    pub(crate) async fn reports(&self) -> Vec<(String, Report)> {
        let (reports, broken) = self.ask(|hospital| (hospital.reports.clone(), hospital.broken.clone())).await;
        assert!(broken.is_empty(), "{broken:?}");
        reports
    }

    /// Who vouches for its devices: the CA, the control unit's chain and its key.
    pub(crate) async fn authority(&self) -> (Arc<IssuingCa>, Vec<ByteBuf>, PrivateKey) {
        self.ask(|hospital| (Arc::clone(&hospital.ca), hospital.chain.clone(), hospital.key.clone())).await
    }

    /// From now on the pairing command names this host.
    pub(crate) async fn names_host(&self, host: String) {
        self.ask(move |hospital| hospital.host = host).await;
    }

    /// Where it listens.
    pub(crate) fn host(&self) -> String {
        self.address.trim_start_matches("ws://").trim_end_matches("/mqtt").to_owned()
    }

    /// Cuts every connection, as when a cable is pulled.
    pub(crate) async fn cut(&self) {
        self.ask(|hospital| hospital.sockets.clear()).await;
    }
}

impl Hospital {
    fn make(host: String, secret: AccessSecret) -> Self {
        let mut rng = clock::rng();
        let root = RootCa::make("Test root", validity(), &mut rng).unwrap();
        let ca = root.make_issuing_ca("Test CA", validity(), &mut rng).unwrap();
        let key = PrivateKey::make(&mut rng);
        let holder = Holder::ControlUnit("Test hospital".into());
        let certificate = ca.issue(&holder, &key.public(), validity(), &mut rng).unwrap();
        let chain = [vec![certificate.to_bytes()], ca.chain()].concat();
        let mut broker = Broker::default();
        let control_unit =
            BridgeControlUnit::new(chain.clone(), &key.to_pkcs8().unwrap(), &[ca.certificate().to_bytes()]).unwrap();
        let clients =
            Clients { version: 1, names: ["infusion-pump", "gateway"].map(|name| name.parse().unwrap()).into() };
        broker.set_table(SiteTable { grants: Vec::new(), clients, control_unit }, clock::now());
        Self {
            broker,
            sockets: BTreeMap::new(),
            host,
            secret,
            ca: Arc::new(ca),
            key,
            chain,
            policy: Policy::default(),
            renews: true,
            lines: BTreeMap::new(),
            sessions: Vec::new(),
            versions: 0,
            paired: Vec::new(),
            receivers: BTreeMap::new(),
            reports: Vec::new(),
            orders: Vec::new(),
            sent_down: None,
            listens: false,
            retired: 0,
            broken: Vec::new(),
        }
    }

    fn root(&self) -> Sha256 {
        self.ca.root().sha256()
    }

    fn network(&self) -> NetworkAccess {
        NetworkAccess {
            broker_host: self.host.clone(),
            tls_anchors: Vec::new(),
            web_pki: false,
            web_origin: "https://wardlink.example".into(),
            chain: Vec::new(),
        }
    }

    fn phase(&mut self, phase: PairingPhase) -> Option<usize> {
        let policy = &self.policy;
        self.sessions.iter().position(|session| session.view(policy).phase == phase)
    }

    /// Lets one session act, and carries out what it says.
    fn act<T>(&mut self, index: usize, act: impl FnOnce(&mut Session, ControlUnit<'_>) -> (T, Vec<Action>)) -> T {
        let network = self.network();
        let channels = self.channels_of(&self.sessions[index].device().clone());
        let control_unit = ControlUnit {
            signer: Signer { key: &self.key, chain: &self.chain },
            ca: &self.ca,
            policy: &self.policy,
            network: &network,
            channels: &channels,
        };
        let (answer, actions) = act(&mut self.sessions[index], control_unit);
        self.perform(actions);
        answer
    }

    fn perform(&mut self, actions: Vec<Action>) {
        self.versions += 1;
        let mut step = Step { number: self.versions, ..Step::default() };
        for action in actions {
            match action {
                Action::Grant(grant) => step.grants.push(grant.at_version(self.versions)),
                Action::Publish { topic, payload } => {
                    step.publish.push(ControlMessage { topic, payload: ByteBuf::from(payload), qos: Qos::AtLeastOnce });
                }
                Action::RemoveTopic(topic) => step.remove_topics.push(topic),
                Action::Paired(device) => {
                    self.paired_with(&device);
                }
            }
        }
        self.broker.apply(step, clock::now());
    }

    fn accept(&mut self) -> Option<()> {
        let index = self.phase(PairingPhase::Waiting)?;
        self.act(index, |session, control_unit| {
            let acceptance =
                Acceptance { mode: Some(Mode::PairingQrcode), location: "Bed 1".into(), accepted_by: "nurse".into() };
            ((), session.accept(acceptance, control_unit, clock::now(), &mut clock::rng()).unwrap())
        });
        Some(())
    }

    fn reject(&mut self, note: &str) {
        let index = self.phase(PairingPhase::Waiting).unwrap();
        self.act(index, |session, control_unit| {
            let note = note.to_owned();
            ((), session.reject(control_unit, note, clock::now(), &mut clock::rng()).unwrap())
        });
    }

    fn verify(&mut self, proof: &VerificationProof) -> VerifyResult {
        let index = self.phase(PairingPhase::Verifying).unwrap();
        let attempt = SessionId(rand::random_id());
        self.act(index, |session, control_unit| {
            match session.begin_attempt(attempt, proof, None, clock::now()).unwrap() {
                Begun::Counted(pending) => {
                    session.decide(pending, control_unit, clock::now(), &mut clock::rng()).unwrap()
                }
                Begun::Repeated(result) => (result, Vec::new()),
                Begun::Mistyped => (VerifyResult::Mistyped, Vec::new()),
            }
        })
    }

    /// What the control unit is told by the bridge.
    fn hear(&mut self) -> bool {
        let mut heard = false;
        for stream in [Stream::Request, Stream::Pairing] {
            while let Some((last, messages)) = self.broker.for_site(stream) {
                for message in &messages {
                    self.arrived(message);
                }
                self.broker.site_has(stream, last);
                heard = true;
            }
        }
        while let Some((last, messages)) = self.broker.for_site(Stream::Data) {
            for message in &messages {
                self.data(message);
            }
            self.broker.site_has(Stream::Data, last);
            heard = true;
        }
        let notices: Vec<(u64, Notice)> =
            self.broker.notices().map(|(number, notice)| (number, notice.clone())).collect();
        for (number, notice) in notices {
            self.broker.site_knows(number);
            heard = true;
            self.listens |= matches!(notice, Notice::Listens { .. });
            if let Notice::Subscribed { key, .. } = notice {
                self.catch_up(key);
                let actions = self.sessions.iter().flat_map(|session| session.device_subscribed(key)).collect();
                self.perform(actions);
            }
        }
        heard
    }

    fn arrived(&mut self, stamped: &StampedMessage) {
        if self.about_trust(stamped) {
            return;
        }
        let id = session_of(&stamped.payload).unwrap();
        let Some(index) = self.sessions.iter().position(|session| session.id() == id) else {
            let arrived = Arrived::parse(stamped).unwrap();
            self.sessions.push(arrived.open(&self.secret, Network::Untrusted, None, &self.policy).unwrap());
            return;
        };
        self.act(index, |session, control_unit| {
            ((), session.receive(stamped, control_unit, clock::now(), &mut clock::rng()).unwrap_or_default())
        });
    }

    fn data(&mut self, stamped: &StampedMessage) {
        let topic: Topic = stamped.topic.parse().unwrap();
        let Topic::Data(channel, device) = &topic else { panic!("{topic} is no data") };
        let opened = self.open(device, stamped);
        match opened {
            Ok(opened) => {
                let report = cbor::decode(&opened.plaintext, MAX_CHANNEL_MESSAGE_BYTES).unwrap();
                self.reports.push((channel.to_string(), report));
            }
            // A message that was resent counts once, also where a later run has spoken meanwhile.
            Err(Refused::Open(OpenError::Replay(ReplayError::Duplicate | ReplayError::LowerBoot))) => {}
            // What was on its way under an epoch that was cut off comes again under the new one.
            Err(Refused::Key(KeyRefusal::Retired)) => self.retired += 1,
            Err(error) => self.broken.push(format!("{topic}: {error}")),
        }
    }

    /// Sends what is to be sent, and hears what is to be heard, until nothing is left.
    fn settle(&mut self) {
        loop {
            for output in self.broker.flush(clock::now()).outputs {
                match output {
                    Output::Frame { connection, bytes } => {
                        if let Some(socket) = self.sockets.get(&connection) {
                            drop(socket.send(bytes));
                        }
                    }
                    Output::Attachment { .. } => {}
                    Output::Close { connection, .. } => drop(self.sockets.remove(&connection)),
                }
            }
            if !self.hear() {
                return;
            }
        }
    }
}

mod rand {
    use rand_core::Rng;

    pub(super) fn random_id() -> [u8; 16] {
        let mut id = [0; 16];
        wardlink_agent::clock::rng().fill_bytes(&mut id);
        id
    }
}
