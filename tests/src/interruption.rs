//! Pairings in the middle of which somebody dies (SIGKILL), and what has to be true afterwards.
//!
//! An [`Interruption`] is a [`Scenario`], a place in it, a moment and a victim. A [`Bedside`] carries it out: a pump pairs through a
//! [`Wire`], the wire kills, what was killed is started again, and a person goes on with what the screens show. In the end
//! pump, site and bridge must agree, by what each of them does and not by what it says.

mod aftermath;
mod person;
mod reader;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use wardlink_agent::clock;
use wardlink_protocol::api::PolicyView;
use wardlink_protocol::identity::SessionId;
use wardlink_protocol::network::{NetworkMatch, SecuredNetwork};
use wardlink_protocol::pairing::Mode;
use wardlink_protocol::provisioning::Provisioning;
use wardlink_protocol::{Device, UnixMillis};

use crate::Scene;
use crate::api::Api;
use crate::impostor::{Stolen, copy_of};
use crate::process::Killer;
use crate::pump::Pump;
use crate::wait;
use crate::ward::{Ward, device};
use crate::wire::{Message, Moment, Trap, Wire};
use crate::worker::Worker;
use person::Person;
use reader::Reader;

/// What the wire proves itself with to the worker.
const PROXY_SECRET: &str = "d2lyZS1hbmQtd29ya2VyLWtub3ctaXQ";
/// What the wire calls its network.
const MARKER: &str = "ward";

/// How a pairing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scenario {
    /// A person types the code.
    Code,
    /// A person scans the QR code.
    Qr,
    /// The QR code is shown, and a person types the code beside it.
    CodeBeside,
    /// On a secured network, without verification.
    Simple,
    /// The pump was given no CertCA: a person types the code, and enters the control unit's answer.
    Answer,
    /// The pump's identifier is paired already, under another key.
    Again,
    /// A person rejects the first request, and accepts the next one.
    Rejected,
    /// A person cancels the first pairing while it is verified.
    Cancelled,
    /// A person brings three wrong codes, and pairs the pump when it asks again.
    WrongCode,
}

/// Where a pairing is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// At a message between pump, person and worker.
    Wire(Message),
    /// When a person enters the control unit's answer at the pump.
    Keypad,
}

/// Who dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Victim {
    /// The pump.
    Pump,
    /// The worker.
    Worker,
    /// Pump and worker at the same moment.
    Both,
}

/// One interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interruption {
    /// Of which pairing.
    pub scenario: Scenario,
    /// Where.
    pub place: Place,
    /// When.
    pub moment: Moment,
    /// Of whom.
    pub victim: Victim,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Code,
        Self::Qr,
        Self::CodeBeside,
        Self::Simple,
        Self::Answer,
        Self::Again,
        Self::Rejected,
        Self::Cancelled,
        Self::WrongCode,
    ];

    /// Every place where it can be interrupted, in the order in which it comes there.
    pub fn places(self) -> Vec<Place> {
        use Message::{
            Accept, Announcement, Attempt, Cancel, Command, Data, Finished, Hello, Reject, Renewal, Request, Return,
            Verdict, Verified,
        };
        let messages: &[Message] = match self {
            Self::Rejected => &[Reject, Command],
            Self::Cancelled => &[Cancel, Verdict],
            Self::WrongCode => &[Attempt, Verdict],
            _ => &[
                Hello,
                Request,
                Accept,
                Command,
                Return,
                Verified,
                Attempt,
                Verdict,
                Renewal,
                Finished,
                Announcement,
                Data,
            ],
        };
        let mut places: Vec<Place> = messages.iter().copied().map(Place::Wire).collect();
        if self == Self::Simple {
            places.retain(|place| *place != Place::Wire(Attempt));
        }
        if self == Self::Answer {
            let verdict = places.iter().position(|place| *place == Place::Wire(Verdict));
            places.insert(verdict.map_or(0, |at| at + 1), Place::Keypad);
        }
        places
    }

    /// Whether its whole way is interrupted, and not only its end.
    pub fn begins_with_hello(self) -> bool {
        self.places().first() == Some(&Place::Wire(Message::Hello))
    }

    /// How many pairings of the pump it takes.
    const fn sessions(self) -> usize {
        match self {
            Self::Rejected | Self::Cancelled | Self::WrongCode => 2,
            _ => 1,
        }
    }
}

impl Victim {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pump, Self::Worker, Self::Both];

    const fn is_pump(self) -> bool {
        matches!(self, Self::Pump | Self::Both)
    }

    const fn is_worker(self) -> bool {
        matches!(self, Self::Worker | Self::Both)
    }
}

impl fmt::Display for Interruption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, place, moment, victim } = self;
        write!(formatter, "{scenario:?}: {victim:?} killed {moment:?} {place:?}")
    }
}

/// A ward behind a wire, for one interruption after another.
pub struct Bedside<'s> {
    scene: &'s Scene,
    ward: Ward<'s>,
    wire: Wire,
    nurse: Api,
    reader: Reader,
    count: usize,
}

/// Whoever can be killed while the wire stands still.
type Killers = Arc<Mutex<Vec<Killer>>>;

impl<'s> Bedside<'s> {
    /// Puts a wire before a ward: the reverse proxy of a network that counts as secured. Pairs a pump whose certificate reads the
    /// announcements.
    pub fn open(scene: &'s Scene) -> Result<Self> {
        let variables = [("TRUST", "proxy"), ("PROXY_SECRET", PROXY_SECRET)];
        let ward = Ward::around(scene, Worker::start_with(scene, &variables)?)?;
        let PolicyView { mut policy, .. } = ward.administrator.policy()?;
        policy.secured_networks =
            vec![SecuredNetwork { name: "Ward".to_owned(), by: NetworkMatch::Marker(MARKER.parse()?) }];
        policy.least_on_secured = Mode::PairingSimple;
        ward.administrator.set_policy(&policy)?;
        let wire = Wire::with_fields(
            ward.worker.port(),
            vec![("wardlink-proxy", PROXY_SECRET.to_owned()), ("wardlink-network", MARKER.to_owned())],
        )?;
        let nurse = wire.api(&ward.nurse);
        let mut listening = ward.paired_pump("ip-reader")?;
        listening.kill();
        let stolen = Stolen::from(&listening.state(), &device("ip-reader")?)?;
        let certificate = stolen.certificate.context("a paired pump has a certificate")?;
        let reader = Reader::start(wire.broker(), certificate);
        Ok(Self { scene, ward, wire, nurse, reader, count: 0 })
    }

    /// Carries out one interruption, and checks what is left.
    pub fn survive(&mut self, interruption: Interruption) -> Result<()> {
        self.count += 1;
        let name = format!("ip-{}", self.count);
        self.interrupt(interruption, &name).with_context(|| format!("{interruption} ({name})"))
    }

    fn interrupt(&mut self, interruption: Interruption, name: &str) -> Result<()> {
        let device = device(name)?;
        let before = if interruption.scenario == Scenario::Again { Some(self.pair_first(name)?) } else { None };
        let earlier = before.as_ref().and_then(|stolen| stolen.session);
        let killers = Killers::default();
        if let Place::Wire(message) = interruption.place {
            let action = kill_all(Arc::clone(&killers), interruption.victim);
            let trap = Trap { client: device.to_string(), message, moment: interruption.moment, action };
            self.wire.set(trap);
        }
        let pump = Pump::start_with(
            self.scene,
            &self.provisioning(interruption.scenario),
            &format!("{name}-pump"),
            &["--identifier", name, "--retry-secs", "1", "--telemetry-ms", "100"],
        )?;
        self.arm(&killers, interruption.victim, &pump)?;
        let mut run = Run {
            bedside: self,
            interruption,
            device,
            pump,
            killers,
            person: Person::new(interruption.scenario),
            struck: false,
            revived_at: None,
            earlier,
            session: None,
            provisional: None,
        };
        run.go_on()?;
        run.check(before)
    }

    /// What the pump is given: it knows the worker by the wire's address only.
    fn provisioning(&self, scenario: Scenario) -> Provisioning {
        let mut provisioning = self.ward.provisioning.clone();
        provisioning.broker = self.wire.broker();
        provisioning.web_origin = self.wire.origin();
        if scenario == Scenario::Answer {
            provisioning.cert_ca_sha256 = None;
        }
        provisioning
    }

    /// Pairs a pump under the identifier, and leaves what a thief would have of it.
    fn pair_first(&mut self, name: &str) -> Result<Stolen> {
        let mut first = self.ward.paired_pump(name)?;
        first.kill();
        let stolen = Stolen::from(&first.state(), &device(name)?)?;
        // Its announcement has passed the wire before that of the second pump is waited for.
        let certificate = &stolen.pairing.as_ref().context("the first pump is paired")?.certificate;
        wait::until("its announcement", || Ok(self.reader.has_heard(certificate).then_some(())))?;
        Ok(stolen)
    }

    fn arm(&self, killers: &Killers, victim: Victim, pump: &Pump<'_>) -> Result<()> {
        let mut armed = Vec::new();
        if victim.is_pump() {
            armed.push(pump.killer()?);
        }
        if victim.is_worker() {
            armed.push(self.ward.worker.killer()?);
        }
        *killers.lock().unwrap_or_else(PoisonError::into_inner) = armed;
        Ok(())
    }
}

/// Kills everybody who is to die, as soon as it is known who that is.
fn kill_all(killers: Killers, victim: Victim) -> Box<dyn FnOnce() + Send> {
    let expected = usize::from(victim.is_pump()) + usize::from(victim.is_worker());
    Box::new(move || {
        loop {
            let known = killers.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() == expected {
                known.iter().for_each(Killer::kill);
                return;
            }
            drop(known);
            thread::sleep(Duration::from_millis(1));
        }
    })
}

/// One interruption that is being carried out.
struct Run<'r, 's> {
    bedside: &'r mut Bedside<'s>,
    interruption: Interruption,
    device: Device,
    pump: Pump<'s>,
    killers: Killers,
    person: Person,
    /// Whether the victims have died and live again.
    struck: bool,
    /// When they live again.
    revived_at: Option<UnixMillis>,
    /// The pairing that was there before.
    earlier: Option<SessionId>,
    /// The session of the pairing that is interrupted.
    session: Option<SessionId>,
    /// What a thief takes while the first pairing is verified.
    provisional: Option<Stolen>,
}

impl Run<'_, '_> {
    /// Lets the person do what there is to do, until the pump is paired and heard.
    fn go_on(&mut self) -> Result<()> {
        let started = Instant::now();
        let mut trouble = None;
        while started.elapsed() < wait::LIMIT {
            if !self.struck && self.interruption.place != Place::Keypad && self.bedside.wire.is_sprung() {
                self.revive()?;
            }
            while let Some(event) = self.pump.poll()? {
                self.person.see(&event);
            }
            if self.provisional.is_none() && self.person.is_accepted {
                let stolen = Stolen::from(copy_of(&self.pump.state())?.path(), &self.device)?;
                // Without verification it may be confirmed by now.
                self.provisional = Some(stolen).filter(|stolen| stolen.pairing.is_none());
            }
            match self.step() {
                Ok(true) if self.struck => return Ok(()),
                // Somebody is dead at this moment, or was when it was asked.
                Err(error) => trouble = Some(error),
                Ok(_) => {}
            }
            thread::sleep(Duration::from_millis(5));
        }
        let seen = self.pump.seen();
        match trouble {
            _ if !self.struck => bail!("the wire saw no such message; the pump said {seen:?}"),
            Some(error) => Err(error.context(format!("it was never completed; the pump said {seen:?}"))),
            None => bail!("it was never completed; the pump said {seen:?}"),
        }
    }

    /// Starts again who was killed.
    fn revive(&mut self) -> Result<()> {
        let victim = self.interruption.victim;
        if victim.is_pump() {
            self.pump.kill();
            self.note_session(Stolen::from(&self.pump.state(), &self.device)?.session)?;
        }
        if victim.is_worker() {
            self.bedside.ward.worker.kill();
            self.bedside.ward.worker.restart()?;
        }
        if victim.is_pump() {
            self.pump.restart()?;
        }
        self.struck = true;
        self.revived_at = Some(clock::now());
        Ok(())
    }

    /// Kills the victims where no wire does it.
    fn kill_by_hand(&self) {
        self.killers.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(Killer::kill);
    }

    /// The first session that anybody names is the one that has to go on.
    fn note_session(&mut self, session: Option<SessionId>) -> Result<()> {
        match (self.session, session) {
            (None, found) => self.session = found,
            (Some(first), Some(found)) if self.interruption.scenario.sessions() == 1 => {
                ensure!(first == found, "the pump gave up the session {first} and began {found}");
            }
            _ => {}
        }
        Ok(())
    }
}
