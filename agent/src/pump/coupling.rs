//! The pump's way through the pairing: it stores each state, then follows its plan.

use super::journal::Event;
use super::{Outcome, Pump, PumpError};
use crate::clock;
use crate::display::Phase;
use crate::link::{Endpoint, Identity, Link, LinkOptions, SESSION, Stamp, Ticket, TlsTrust};
use crate::state::Record;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use wardlink_crypto::key::PrivateKey;
use wardlink_pairing::device::{AnswerResult, Credential, DevicePairing, Display, NetworkAccess, Provisioned, Refusal};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::channel::Qos;
use wardlink_protocol::identity::{SessionId, Sha256};
use wardlink_protocol::topic::Topic;
use wardlink_protocol::verification::Answer;

/// How long the pump tries one credential before the bridge's refusal makes it try the other one again.
const TURN_PAUSE: Duration = Duration::from_secs(2);
/// How long it listens as a bare key where the bridge lets it.
const LISTEN_AS_BARE_KEY: Duration = Duration::from_secs(5);
/// The pause before a message that the bridge refused is published again.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// The pause between looks at a deadline that has passed.
const DEADLINE_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause before a new request.
const LONGEST_PAUSE: Duration = Duration::from_mins(10);

/// As whom, and where, the link is now.
#[derive(Default)]
pub(super) struct Access {
    certificate: Option<Vec<u8>>,
    network: Option<NetworkAccess>,
    /// The static key is another one since the last connection.
    renewed: bool,
    /// For which session T2 was subscribed.
    subscribed: Option<SessionId>,
    /// When the other credential was tried last.
    turned_at: Option<Instant>,
}

/// The message of the present step, on its way or delivered.
pub(super) struct Published {
    pub(super) ticket: Ticket,
    topic: Topic,
    payload: Vec<u8>,
    delivered: bool,
}

impl Pump {
    fn provisioned(&self) -> Provisioned<'_> {
        Provisioned {
            device: &self.settings.device,
            key: &self.key,
            secret_id: &self.settings.secret_id,
            secret: &self.settings.secret,
            cert_ca: self.settings.cert_ca,
            simple_without_cert_ca: self.settings.simple_without_cert_ca,
        }
    }

    /// Begins a new pairing (S1, S2).
    pub(super) fn ask(&mut self) -> Result<(), PumpError> {
        self.times.ask = None;
        if self.pairing.is_some() {
            self.renew_key()?;
        }
        let information = self.settings.information.clone();
        let pairing =
            DevicePairing::start(self.provisioned(), information, Vec::new(), clock::now(), &mut clock::rng())?;
        self.pairing = Some(pairing);
        self.changed()
    }

    /// Each pairing has its own static key: what the control unit decided about the last one does not stand in the way.
    fn renew_key(&mut self) -> Result<(), PumpError> {
        let key = PrivateKey::make(&mut clock::rng());
        self.state.write(Record::StaticKey, &key.to_pkcs8()?)?;
        self.sign_with(key);
        self.access.renewed = true;
        Ok(())
    }

    /// Whatever the device signs from now on, it signs with this key.
    pub(super) fn sign_with(&mut self, key: PrivateKey) {
        if let Some(handover) = self.software.as_mut().and_then(|software| software.driven.handover.as_mut()) {
            handover.records.sign_with(key.clone());
        }
        self.key = key;
    }

    /// A person entered the control unit's answer: it is counted for good, then compared.
    pub(super) fn enter(&mut self, answer: Answer) -> Result<(), PumpError> {
        let Some(pairing) = &mut self.pairing else { return Ok(()) };
        // Nobody asked for it.
        let Ok(counted) = pairing.begin_answer(answer) else { return Ok(()) };
        self.store()?;
        if let Some(pairing) = &mut self.pairing
            && pairing.decide_answer(counted)? == AnswerResult::Wrong
        {
            tracing::warn!("a wrong answer was entered");
        }
        self.changed()
    }

    /// Takes a message that arrived on T2, or down a second channel. When this returns, it is dealt with for good.
    pub(super) fn receive(&mut self, topic: &str, payload: Vec<u8>, stamp: Option<Stamp>) -> Result<(), PumpError> {
        if self.leaving.is_some() {
            return Ok(());
        }
        if let Ok(Topic::Control(channel, _)) = topic.parse() {
            return self.receive_order(channel, topic, payload, stamp);
        }
        let Some(mut pairing) = self.pairing.clone() else { return Ok(()) };
        if topic != Topic::Device(self.settings.device.clone()).to_string() {
            tracing::warn!(topic, "a message on a topic that was not subscribed");
            return Ok(());
        }
        if self.trust.is_some() && self.receive_about_trust(&payload)? {
            return Ok(());
        }
        match pairing.receive(self.provisioned(), &payload, clock::now(), &mut clock::rng()) {
            Ok(()) => {
                self.pairing = Some(pairing);
                self.changed()
            }
            // What is left of an earlier session, and what came twice.
            Err(Refusal::OutOfPlace) => {
                tracing::debug!("a message that has no meaning now");
                Ok(())
            }
            Err(error) => {
                self.tell(Event::Error { message: format!("a message of the control unit was refused: {error}") });
                Ok(())
            }
        }
    }

    /// Stores the pairing's state, shows it, and follows its plan, in this order.
    pub(super) fn changed(&mut self) -> Result<(), PumpError> {
        self.store()?;
        self.begin_trust()?;
        self.erase_paired_keys()?;
        let Some(pairing) = &self.pairing else { return Ok(()) };
        let (display, session) = (pairing.display()?, pairing.session());
        self.times.check = match &display {
            Display::Verifying { expires_at, .. } => {
                let asks_at = expires_at.after(DEADLINE_PAUSE);
                Some(pairing.deadline().map_or(asks_at, |deadline| deadline.min(asks_at)))
            }
            _ => pairing.deadline(),
        };
        self.show(display, session);
        self.follow()?;
        self.begin_orders()?;
        self.tell_membership();
        let reports = self.settings.reports && self.pairing.as_ref().is_some_and(DevicePairing::is_paired);
        if reports && self.reporter.is_none() {
            self.prepare_reporting()?;
            if self.online {
                self.begin_reporting()?;
            }
        }
        Ok(())
    }

    /// Stores the pairing's state: when this returns, it survives a power loss.
    pub(super) fn store(&mut self) -> Result<(), PumpError> {
        let Some(pairing) = &self.pairing else { return Ok(()) };
        let snapshot = pairing.snapshot()?;
        if snapshot != self.stored {
            self.state.write(Record::Pairing, &snapshot)?;
            self.stored = snapshot;
        }
        Ok(())
    }

    /// Brings the pairing's display to the screen, and its changes into the journal.
    fn show(&mut self, display: Display, session: SessionId) {
        if let Display::Refused { reason, .. } = display {
            if self.settings.once {
                self.outcome = Some(Outcome::Refused(reason));
            } else if self.times.ask.is_none() {
                self.times.ask = Some(clock::now().after(self.times.pause));
                self.times.pause = (self.times.pause * 2).min(LONGEST_PAUSE);
            }
        }
        let phase = phase_of(display, self.times.ask);
        if self.told.as_ref() == Some(&phase) {
            return;
        }
        self.told = Some(phase.clone());
        self.screen.send_modify(|screen| screen.phase = phase.clone());
        match phase {
            Phase::Verifying { code, link } => {
                self.compare_origin();
                self.tell(Event::Accepted { session });
                self.tell(Event::Code { code, link });
            }
            Phase::Answering { tries_left } => self.tell(Event::Answer { tries_left }),
            Phase::Finishing => self.tell(Event::Confirmed),
            Phase::Paired => {
                self.times.pause = self.settings.retry_pause;
                let channels = self.channels().iter().map(|key| key.channel.name.clone()).collect();
                self.tell(Event::Paired { channels });
            }
            Phase::Refused { reason, note, .. } => self.tell(Event::Refused { reason, note }),
            Phase::Idle | Phase::Requesting | Phase::Fault { .. } => {}
        }
    }

    /// The control unit's signature decides; but a code that names another page than the provisioned one is worth a word.
    fn compare_origin(&self) {
        let network = self.pairing.as_ref().and_then(|pairing| pairing.plan().network);
        if let (Some(expected), Some(network)) = (&self.settings.web_origin, network)
            && *expected != network.web_origin
        {
            tracing::warn!(%expected, named = %network.web_origin, "the command names another web origin than the provisioning");
        }
    }

    /// Connects as the plan says, subscribes, and publishes.
    pub(super) fn follow(&mut self) -> Result<(), PumpError> {
        let Some(pairing) = &self.pairing else { return Ok(()) };
        let plan = pairing.plan();
        let certificate = match plan.credential {
            Credential::Certificate(certificate) => self.renewed_certificate().or_else(|| Some(certificate.to_vec())),
            Credential::BareKey => None,
        };
        let (network, root) = (plan.network.cloned(), plan.root);
        let subscribe = plan.subscribe.map(|topic| (pairing.session(), topic));
        let moved = certificate != self.access.certificate || network != self.access.network || self.access.renewed;
        if self.link.is_none() || moved {
            self.connect(certificate, network, root)?;
        } else if self.online {
            self.publish();
        }
        if let (Some((session, topic)), Some((link, _))) = (subscribe, &self.link)
            && self.access.subscribed != Some(session)
        {
            self.access.subscribed = Some(session);
            link.subscribe(topic);
        }
        Ok(())
    }

    pub(super) fn connect(
        &mut self,
        certificate: Option<Vec<u8>>,
        network: Option<NetworkAccess>,
        root: Option<Sha256>,
    ) -> Result<(), PumpError> {
        let endpoint = match &network {
            None => Arc::clone(&self.settings.endpoint),
            Some(network) => Arc::new(self.endpoint_of(network)?),
        };
        let identity = Arc::new(Identity {
            key: self.key.clone(),
            device: self.settings.device.clone(),
            certificate: certificate.clone(),
            root,
        });
        // Another key is another client for the bridge.
        let there = network == self.access.network && !core::mem::take(&mut self.access.renewed);
        self.access.certificate = certificate;
        self.access.network = network;
        if let Some((link, _)) = &self.link {
            if there && self.online {
                link.identify(identity);
                return Ok(());
            }
            self.online = false;
            link.reconnect(endpoint, identity);
        } else {
            let client_id = self.settings.device.to_string();
            self.link = Some(Link::start(LinkOptions { endpoint, identity, client_id, session: SESSION }));
        }
        Ok(())
    }

    pub(super) fn endpoint_of(&self, network: &NetworkAccess) -> Result<Endpoint, PumpError> {
        let anchors = network.tls_anchors.iter().map(|anchor| anchor.to_vec()).collect();
        let trust = TlsTrust { anchors, web_pki: network.web_pki, ..TlsTrust::default() };
        Ok(self.settings.endpoint.at_host(&network.broker_host, &trust)?)
    }

    /// After a new connection: what the plan says is published once more, unless it is on its way already.
    pub(super) fn publish_again(&mut self) {
        if self.published.as_ref().is_some_and(|published| published.delivered) {
            self.published = None;
        }
        self.publish();
    }

    fn publish(&mut self) {
        let Some(pairing) = &self.pairing else { return };
        let Some((topic, payload)) = pairing.plan().publish else { return };
        if self.published.as_ref().is_some_and(|published| published.payload == payload) {
            return;
        }
        if let Some((link, _)) = &mut self.link {
            let (payload, topic) = (payload.to_vec(), topic.clone());
            let ticket = link.publish(topic.clone(), payload.clone(), Qos::AtLeastOnce);
            self.published = Some(Published { ticket, topic, payload, delivered: false });
        }
    }

    /// The bridge has stored the message of the present step.
    pub(super) fn step_delivered(&mut self) -> Result<(), PumpError> {
        let (Some(published), Some(pairing)) = (&mut self.published, &mut self.pairing) else { return Ok(()) };
        published.delivered = true;
        let current = pairing.plan().publish.is_some_and(|(_, payload)| payload == published.payload);
        let session = pairing.session();
        pairing.delivered(&published.topic, &published.payload);
        if current {
            match self.screen.borrow().phase {
                Phase::Requesting => self.tell(Event::Requested { session }),
                Phase::Verifying { .. } => self.tell(Event::Verified),
                _ => {}
            }
        }
        self.changed()
    }

    /// The bridge has refused it: the limit of requests is reached, or the session has ended.
    pub(super) fn step_refused(&mut self) -> Result<(), PumpError> {
        self.published = None;
        self.times.publish = Some(Instant::now() + REFUSED_PAUSE);
        self.turned_away()
    }

    /// The bridge does not let the pump in as whom it comes, or not read T2. While a person verifies the pump, that is how an abort
    /// begins: the reason lies on T2, readable to the bare key for a minute.
    pub(super) fn turned_away(&mut self) -> Result<(), PumpError> {
        if !self.is_verifying() || self.times.turn.is_some() {
            return Ok(());
        }
        let earliest = self.access.turned_at.map_or_else(Instant::now, |at| at + TURN_PAUSE);
        if earliest <= Instant::now() {
            return self.turn();
        }
        self.times.turn = Some(earliest);
        Ok(())
    }

    /// The bridge lets the pump read T2.
    pub(super) fn let_in(&mut self) {
        let listening = self.is_verifying() && self.access.certificate.is_none();
        self.times.turn = listening.then(|| Instant::now() + LISTEN_AS_BARE_KEY);
    }

    /// Tries the other credential.
    pub(super) fn turn(&mut self) -> Result<(), PumpError> {
        self.times.turn = None;
        self.access.turned_at = Some(Instant::now());
        if let Some(pairing) = &mut self.pairing {
            pairing.refused_by_broker(clock::now());
        }
        self.changed()
    }

    fn is_verifying(&self) -> bool {
        matches!(self.screen.borrow().phase, Phase::Verifying { .. })
    }

    /// A deadline has passed: a request that nobody answered is given up; a pump that is being verified asks for T2 once more, to learn
    /// whether anything can still come.
    pub(super) fn check_deadline(&mut self) -> Result<(), PumpError> {
        self.times.check = None;
        let Some(pairing) = &mut self.pairing else { return Ok(()) };
        if pairing.expire(clock::now()) {
            return self.changed();
        }
        if self.is_verifying() {
            self.times.check = Some(clock::now().after(DEADLINE_PAUSE));
            if let Some((link, _)) = &self.link {
                link.subscribe(Topic::Device(self.settings.device.clone()));
            }
        }
        Ok(())
    }
}

/// What the screen shows of a pairing.
pub(super) fn phase_of(display: Display, again_at: Option<UnixMillis>) -> Phase {
    match display {
        Display::Requesting => Phase::Requesting,
        Display::Verifying { code, link, .. } => {
            Phase::Verifying { code: code.map(|code| code.to_string()), link: link.map(|link| link.to_string()) }
        }
        Display::Answering { tries_left, .. } => Phase::Answering { tries_left },
        Display::Confirmed => Phase::Finishing,
        Display::Paired => Phase::Paired,
        Display::Refused { reason, note } => Phase::Refused { reason, note, again_at },
    }
}
