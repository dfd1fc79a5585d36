//! The world of the model: one device, one control unit, a network, a person.

use core::time::Duration;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::api::{PairingPhase, SerialQuestion, VerificationProof, VerifyResult};
use wardlink_protocol::identity::{SessionId, Sha256};
use wardlink_protocol::pairing::{Mode, RefusalReason};
use wardlink_protocol::stamp::StampedMessage;
use wardlink_protocol::topic::Topic;
use wardlink_protocol::verification::{Answer, VerificationCode, VerificationLink};
use wardlink_protocol::{Device, UnixMillis};

use super::Operation;
use super::attacker::Attacker;
use crate::control_unit::{Acceptance, Action, Arrived, Begun, PairedDevice, Session, session_of};
use crate::device::{AnswerResult, DevicePairing, Display};
use crate::policy::Network;
use crate::tests::site::{BOTH, START, Site, fingerprint, information, stamped};

pub(super) struct World {
    pub(super) site: Site,
    pub(super) name: Device,
    pub(super) key: PrivateKey,
    /// What the device was given beforehand.
    cert_ca: Option<Sha256>,
    pub(super) device: DevicePairing,
    /// What the control unit has stored.
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) to_control_unit: Vec<StampedMessage>,
    pub(super) to_device: Vec<Vec<u8>>,
    /// Everything that ever went to the control unit, and to the device: the attacker reads along.
    pub(super) seen_up: Vec<StampedMessage>,
    pub(super) seen_down: Vec<Vec<u8>>,
    pub(super) attacker: Attacker,
    pub(super) now: UnixMillis,
    pub(super) rng: StdRng,
    /// Sessions whose verification succeeded while the device showed that session's code.
    verified: BTreeSet<SessionId>,
    paired: Vec<PairedDevice>,
    /// Sessions whose answer the person entered at the device.
    answered: BTreeSet<SessionId>,
    attempts: u64,
}

fn pick<T>(items: &[T], which: usize) -> Option<usize> {
    (!items.is_empty()).then(|| which % items.len())
}

impl World {
    /// `knows_cert_ca` says whether the device was given the root's hash beforehand, `asks_serial` whether the site asks for the
    /// end of the serial number.
    pub(super) fn new(seed: u64, knows_cert_ca: bool, asks_serial: bool) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut site = Site::new(&mut rng);
        site.policy.serial_question = if asks_serial { SerialQuestion::Always } else { SerialQuestion::Never };
        let name: Device = "infusion-pump/pump-1".parse().unwrap();
        let cert_ca = knows_cert_ca.then(|| site.cert_ca());
        let (key, device) = start(&site, &name, cert_ca, START, &mut rng);
        Self {
            attacker: Attacker::new(&mut rng),
            site,
            name,
            key,
            cert_ca,
            device,
            sessions: BTreeMap::new(),
            to_control_unit: Vec::new(),
            to_device: Vec::new(),
            seen_up: Vec::new(),
            seen_down: Vec::new(),
            now: START,
            rng,
            verified: BTreeSet::new(),
            paired: Vec::new(),
            answered: BTreeSet::new(),
            attempts: 0,
        }
    }

    pub(super) fn apply(&mut self, operation: Operation) {
        use Operation as O;
        match operation {
            O::DevicePublishes => self.device_publishes(),
            O::DeviceSubscribes => self.device_subscribes(),
            O::DeviceLosesPower => self.device = DevicePairing::restore(&self.device.snapshot().unwrap()).unwrap(),
            O::DeviceStartsAgain => self.start_again(),
            O::BrokerRefusesDevice => self.device.refused_by_broker(self.now),
            O::ArrivesAtControlUnit { which, again } => {
                let Some(index) = pick(&self.to_control_unit, which) else { return };
                let message = self.to_control_unit[index].clone();
                if !again {
                    self.to_control_unit.remove(index);
                }
                self.arrive_at_control_unit(&message);
            }
            O::ArrivesAtDevice { which, again } => {
                let Some(index) = pick(&self.to_device, which) else { return };
                let payload = self.to_device[index].clone();
                if !again {
                    self.to_device.remove(index);
                }
                self.arrive_at_device(&payload);
            }
            O::LostToControlUnit { which } => {
                if let Some(index) = pick(&self.to_control_unit, which) {
                    self.to_control_unit.remove(index);
                }
            }
            O::LostToDevice { which } => {
                if let Some(index) = pick(&self.to_device, which) {
                    self.to_device.remove(index);
                }
            }
            O::ControlUnitLosesPower => {
                for session in self.sessions.values_mut() {
                    *session = Session::restore(&session.snapshot().unwrap()).unwrap();
                }
            }
            O::ArrivesButPowerFails { which } => self.arrive_but_power_fails(which),
            O::PersonAccepts { which, mode } => self.accept(which, [None, CODE, QR][mode]),
            O::PersonRejects { which } => self.on_session(which, |session, site, now, rng| {
                session.reject(site.control_unit(), String::new(), now, rng).unwrap_or_default()
            }),
            O::PersonCancels { which } => self.on_session(which, |session, site, now, rng| {
                session.cancel(site.control_unit(), now, rng).unwrap_or_default()
            }),
            O::PersonTypesCode { which, power_fails } => self.type_code(which, power_fails),
            O::PersonMistypes { which, number } => {
                let code = VerificationCode::from_number(number).to_string();
                let shown = self.shown().0;
                if shown.as_ref() != Some(&code) {
                    let chosen = self.chosen(which);
                    self.verify(chosen, &VerificationProof::Code(code), false);
                }
            }
            O::PersonMisreadsSerial { which } => {
                if let Some(code) = self.shown().0 {
                    let chosen = self.chosen(which);
                    self.verify_with(chosen, &VerificationProof::Code(code), MISREAD, false);
                }
            }
            O::PersonAnswers { which, power_fails } => self.answer(which, power_fails),
            O::PersonAnswersWrongly { number } => {
                let answer = Answer::from_number(number).to_string();
                if !self.known_answers().contains(&answer) && !self.attacker.answers().contains(&answer) {
                    self.enter(&answer, false);
                }
            }
            O::PersonScans { power_fails } => self.scan(power_fails),
            O::TimePasses { seconds } => self.wait(Duration::from_secs(seconds)),
            attack => self.attack(attack),
        }
    }

    /// What must never be otherwise.
    pub(super) fn check(&self) {
        let own = fingerprint(&self.key);
        for (id, session) in &self.sessions {
            let view = session.view(&self.site.policy);
            if view.reason == Some(RefusalReason::WrongCode) {
                assert_eq!(view.attempts_left, 0, "a session was ended before its attempts were used up");
            }
            let verified = matches!(view.phase, PairingPhase::Confirmed | PairingPhase::Finished);
            let hides = view.information.serial_number.ends_with('\u{2022}');
            assert_eq!(
                hides,
                view.asks_serial && !verified,
                "the end of the serial number is seen too early, or never"
            );
            if verified {
                assert!(view.attempts_left > 0, "a session was confirmed by an attempt too many");
                assert!(self.verified.contains(id), "a session was confirmed that nobody verified");
            }
        }
        for paired in &self.paired {
            assert_ne!(paired.key, self.attacker.fingerprint(), "the attacker was paired");
        }
        let session = self.sessions.get(&self.device.session());
        // Without CertCA the device follows whomever it meets first; but it commits nothing.
        let follows = match self.device.display().unwrap() {
            Display::Verifying { .. } | Display::Answering { .. } => self.cert_ca.is_some(),
            Display::Confirmed | Display::Paired => true,
            Display::Requesting | Display::Refused { .. } => false,
        };
        if follows {
            let session = session.expect("the device followed a command for a session that does not exist");
            assert_eq!(session.key(), own, "the device followed a command for another key");
            let accepted = session.view(&self.site.policy).accepted_at;
            assert!(accepted.is_some(), "the device followed a command that nobody gave");
        }
        if let Some(pairing) = self.device.pairing() {
            assert!(self.verified.contains(&self.device.session()), "the device was paired without verification");
            assert_eq!(pairing.cert_ca, self.site.cert_ca());
            assert!(
                self.cert_ca.is_some() || self.answered.contains(&self.device.session()),
                "nobody entered the answer"
            );
            assert!(pairing.channels == self.site.channels);
        }
        assert!(self.attacker.got_nothing(), "the attacker was given keys");
    }

    fn device_publishes(&mut self) {
        if self.device.plan().publish.is_some() {
            let message = stamped(&self.device, &self.name, &self.key, self.now);
            self.publish_up(message);
        }
    }

    pub(super) fn publish_up(&mut self, message: StampedMessage) {
        self.seen_up.push(message.clone());
        self.to_control_unit.push(message);
    }

    fn device_subscribes(&mut self) {
        let key = fingerprint(&self.key);
        let actions: Vec<Action> = self.sessions.values().flat_map(|session| session.device_subscribed(key)).collect();
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Publish { topic: Topic::Device(device), payload } if device == self.name => {
                    self.seen_down.push(payload.clone());
                    self.to_device.push(payload);
                }
                Action::Paired(paired) => self.paired.push(*paired),
                _ => {}
            }
        }
    }

    pub(super) fn arrive_at_control_unit(&mut self, message: &StampedMessage) {
        // The bridge's log delivers to the control unit at least once, with the stamp of when it was accepted.
        let Ok(id) = session_of(&message.payload) else { return };
        if let Some(session) = self.sessions.get_mut(&id) {
            let done = session.receive(message, self.site.control_unit(), self.now, &mut self.rng);
            self.perform(done.unwrap_or_default());
        } else if let Ok(arrived) = Arrived::parse(message) {
            let opened = arrived.open(&self.site.secret, Network::Untrusted, None, &self.site.policy);
            self.sessions.extend(opened.ok().map(|session| (id, session)));
        }
    }

    /// The machine has worked, but nothing was stored, so that nothing was sent: as if it had not happened.
    fn arrive_but_power_fails(&mut self, which: usize) {
        let Some(index) = pick(&self.to_control_unit, which) else { return };
        let message = self.to_control_unit[index].clone();
        if let Some(session) = session_of(&message.payload).ok().and_then(|id| self.sessions.get(&id)) {
            let mut lost = session.clone();
            let _ = lost.receive(&message, self.site.control_unit(), self.now, &mut self.rng);
        }
    }

    pub(super) fn arrive_at_device(&mut self, payload: &[u8]) {
        let Self { site, name, key, cert_ca, device, now, rng, .. } = self;
        let provisioned = site.provisioned(name, key, *cert_ca);
        let _ = device.receive(provisioned, payload, *now, rng);
    }

    fn chosen(&self, which: usize) -> Option<SessionId> {
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        pick(&ids, which).map(|index| ids[index])
    }

    fn on_session(
        &mut self,
        which: usize,
        act: impl FnOnce(&mut Session, &Site, UnixMillis, &mut StdRng) -> Vec<Action>,
    ) {
        let Some(session) = self.chosen(which).and_then(|id| self.sessions.get_mut(&id)) else { return };
        let actions = act(session, &self.site, self.now, &mut self.rng);
        self.perform(actions);
    }

    /// The person cannot tell a request of the attacker from one of the device.
    fn accept(&mut self, which: usize, mode: Option<Mode>) {
        self.on_session(which, |session, site, now, rng| {
            let acceptance = Acceptance { mode, location: "Bed 7".into(), accepted_by: "nurse".into() };
            session.accept(acceptance, site.control_unit(), now, rng).unwrap_or_default()
        });
    }

    /// What the device's display shows.
    fn shown(&self) -> (Option<String>, Option<VerificationLink>) {
        match self.device.display().unwrap() {
            Display::Verifying { code, link, .. } => (code.map(|code| code.to_string()), link),
            _ => (None, None),
        }
    }

    /// The person types the code, perhaps at the wrong one of several requests.
    fn type_code(&mut self, which: usize, power_fails: bool) {
        if let Some(code) = self.shown().0 {
            let chosen = self.chosen(which);
            self.verify(chosen, &VerificationProof::Code(code), power_fails);
        }
    }

    fn scan(&mut self, power_fails: bool) {
        if let Some(link) = self.shown().1 {
            assert_eq!(link.origin, self.site.network.web_origin, "the phone would refuse a foreign origin");
            self.verify(Some(link.session), &VerificationProof::Tag(link.tag), power_fails);
        }
    }

    /// What the control unit shows, for whichever pairing.
    fn known_answers(&self) -> Vec<String> {
        self.sessions.values().filter_map(|session| session.view(&self.site.policy).answer).collect()
    }

    /// The person enters the answer of one of the verified pairings, perhaps not this device's.
    fn answer(&mut self, which: usize, power_fails: bool) {
        let shown: Vec<(SessionId, String)> = self
            .sessions
            .iter()
            .filter_map(|(id, session)| Some((*id, session.view(&self.site.policy).answer?)))
            .collect();
        let Some(index) = pick(&shown, which) else { return };
        let (id, answer) = &shown[index];
        // One in ten thousand of his answers is the right one by chance: that is the strength of four digits.
        if self.attacker.answers().contains(answer) {
            return;
        }
        // So is one in ten thousand of another pairing's.
        let own = self.device.session();
        if *id != own && shown.iter().any(|(shown, same)| *shown == own && same == answer) {
            return;
        }
        if self.enter(answer, power_fails) == Some(AnswerResult::Right) {
            assert_eq!(*id, self.device.session(), "the answer fitted another session");
            self.answered.insert(*id);
        }
    }

    fn enter(&mut self, answer: &str, power_fails: bool) -> Option<AnswerResult> {
        let counted = self.device.begin_answer(answer.parse().unwrap()).ok()?;
        if power_fails {
            self.device = DevicePairing::restore(&self.device.snapshot().unwrap()).unwrap();
            return None;
        }
        Some(self.device.decide_answer(counted).unwrap())
    }

    fn verify(&mut self, chosen: Option<SessionId>, proof: &VerificationProof, power_fails: bool) {
        self.verify_with(chosen, proof, ON_CASING, power_fails);
    }

    fn verify_with(&mut self, chosen: Option<SessionId>, proof: &VerificationProof, ending: &str, power_fails: bool) {
        let Some((id, session)) = chosen.and_then(|id| Some((id, self.sessions.get_mut(&id)?))) else { return };
        self.attempts += 1;
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.attempts.to_be_bytes());
        let begin = |session: &mut Session, now| session.begin_attempt(SessionId(key), proof, Some(ending), now);
        let Ok(Begun::Counted(mut pending)) = begin(session, self.now) else { return };
        if power_fails {
            *session = Session::restore(&session.snapshot().unwrap()).unwrap();
            // The phone tries again, with the same idempotency key.
            let Ok(Begun::Counted(again)) = begin(session, self.now) else { panic!("counted before") };
            pending = again;
        }
        let decided = session.decide(pending, self.site.control_unit(), self.now, &mut self.rng);
        if let Ok((result, actions)) = decided {
            if result == VerifyResult::Verified {
                let asks = session.view(&self.site.policy).asks_serial;
                assert!(!asks || ending == ON_CASING, "a misread serial number was taken");
                assert_eq!(id, self.device.session(), "the code fitted another session");
                assert_eq!(session.key(), fingerprint(&self.key), "the code fitted another key");
                self.verified.insert(id);
            }
            self.perform(actions);
        }
    }

    fn wait(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
        let ids: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in ids {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let actions = session.tick(self.site.control_unit(), self.now, &mut self.rng).unwrap();
            self.perform(actions);
        }
        self.device.expire(self.now);
    }

    /// A person presses the button on the device: a new pairing, with a new static key.
    fn start_again(&mut self) {
        (self.key, self.device) = start(&self.site, &self.name, self.cert_ca, self.now, &mut self.rng);
    }

    /// From now on everything arrives, the attacker is silent, and the person does what the screens say.
    pub(super) fn become_fair(&mut self) {
        self.to_control_unit.clear();
        self.to_device.clear();
        self.go_on_fairly(40);
        assert!(self.device.is_paired(), "the network is fair, and the device is not paired");
    }

    /// So many rounds without an attacker, until the device is paired.
    pub(super) fn go_on_fairly(&mut self, rounds: usize) {
        for _ in 0..rounds {
            if self.device.is_paired() {
                return;
            }
            self.fair_round();
            self.check();
        }
    }

    fn fair_round(&mut self) {
        if let Display::Refused { .. } = self.device.display().unwrap() {
            self.start_again();
        }
        self.device_publishes();
        self.device_subscribes();
        for message in core::mem::take(&mut self.to_control_unit) {
            self.arrive_at_control_unit(&message);
        }
        for payload in core::mem::take(&mut self.to_device) {
            self.arrive_at_device(&payload);
        }
        let id = self.device.session();
        // Where the attacker came first with the device's session, the device's own request was refused: it has to start again.
        let own = fingerprint(&self.key);
        let session = self.sessions.get(&id).filter(|session| session.key() == own);
        let phase = session.map(|session| session.view(&self.site.policy).phase);
        match phase {
            Some(PairingPhase::Waiting) => {
                let which = self.sessions.keys().position(|other| *other == id).unwrap();
                self.accept(which, None);
            }
            Some(PairingPhase::Verifying) => {
                let code = self.shown().0;
                if let Some(code) = code {
                    self.verify(Some(id), &VerificationProof::Code(code), false);
                }
            }
            Some(PairingPhase::Confirmed) => {
                if let Some(answer) = session.and_then(|session| session.view(&self.site.policy).answer)
                    && self.enter(&answer, false) == Some(AnswerResult::Right)
                {
                    self.answered.insert(id);
                }
            }
            Some(PairingPhase::Finished) => self.deliver_finished(),
            _ => {}
        }
        let astray = self.device.plan().root == Some(self.attacker.root());
        let gone = astray || phase.is_none_or(|phase| phase == PairingPhase::Ended);
        self.wait(if gone { Duration::from_mins(10) } else { Duration::from_secs(1) });
        if gone {
            self.device.refused_by_broker(self.now);
        }
    }

    /// The broker acknowledges PAIRING_FINISHED.
    fn deliver_finished(&mut self) {
        let published = self.device.plan().publish.map(|(topic, payload)| (topic, payload.to_vec()));
        if let Some((topic, payload)) = published {
            self.device.delivered(&topic, &payload);
        }
    }
}

/// The end of the serial number, as the casing says it, and as a person misreads it.
const ON_CASING: &str = "0042";
const MISREAD: &str = "0O42";

const CODE: Option<Mode> = Some(Mode::PairingCode);
const QR: Option<Mode> = Some(Mode::PairingQrcode);

fn start(
    site: &Site,
    name: &Device,
    cert_ca: Option<Sha256>,
    now: UnixMillis,
    rng: &mut StdRng,
) -> (PrivateKey, DevicePairing) {
    let key = PrivateKey::make(rng);
    let provisioned = site.provisioned(name, &key, cert_ca);
    let device = DevicePairing::start(provisioned, information(BOTH), Vec::new(), now, rng).unwrap();
    (key, device)
}
