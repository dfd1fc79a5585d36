//! A ward in which something of everything has happened.

use std::cell::{Cell, RefCell};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use wardlink_protocol::api::{PairingPhase, PairingPolicy, PairingView, SerialQuestion};
use wardlink_protocol::identity::SessionId;
use wardlink_protocol::limits::{MAX_FAILED_SESSIONS, MAX_VERIFICATION_MINUTES};
use wardlink_protocol::pairing::Mode;
use wardlink_protocol::provisioning::Provisioning;
use wardlink_tests::Scene;
use wardlink_tests::pump::{Pump, another};
use wardlink_tests::ward::{Ward, device};

use crate::stage::World;

/// A pump that shows its code is looked at only while this much time is left to verify it.
const TIME_TO_LOOK: Duration = Duration::from_mins(1);

/// A pump that shows its code.
struct Verifying<'s> {
    pump: Pump<'s>,
    pairing: PairingView,
    code: String,
}

/// The ward and its pumps.
pub(crate) struct Scenery<'s> {
    pub(crate) ward: Ward<'s>,
    /// A request that nobody has answered.
    pub(crate) waiting: SessionId,
    /// A pairing that was rejected.
    pub(crate) ended: SessionId,
    /// A pairing that is done.
    pub(crate) finished: SessionId,
    verifying: RefCell<Option<Verifying<'s>>>,
    /// A pump without CertCA, whose answer the control unit shows.
    answering: RefCell<Option<(Pump<'s>, SessionId)>>,
    locked: Cell<bool>,
    revoked: Cell<bool>,
    scene: &'s Scene,
    _pumps: Vec<Pump<'s>>,
}

/// A ward that is busy.
pub(crate) struct Busy;

impl World for Busy {
    type In<'s> = Scenery<'s>;
}

impl<'s> Scenery<'s> {
    /// Lets pumps come and go: one paired, one that asks to replace it, one rejected, one waiting, two under one name.
    pub(crate) fn build(scene: &'s Scene, ward: Ward<'s>) -> Result<Self> {
        // Looking at every screen takes longer than a person has to verify, unless the rules give more.
        let policy = ward.administrator.policy()?.policy;
        ward.administrator.set_policy(&PairingPolicy { verification_minutes: MAX_VERIFICATION_MINUTES, ..policy })?;
        let mut paired = ward.paired_pump("ip-1")?;
        paired.wait_for("sent")?;
        let rejected = ward.pump("ip-3")?;
        let ended = ward.nurse.wait_for_pairing("ip-3", is_waiting)?.session;
        ward.nurse.reject(ended, "Belongs to ward 7")?;
        drop(rejected);
        let waiting_pump = ward.pump("ip-2")?;
        let waiting = ward.nurse.wait_for_pairing("ip-2", is_waiting)?.session;
        let again =
            |folder: &str, name: &str| Pump::start_with(scene, &ward.provisioning, folder, &["--identifier", name]);
        let replacing = again("ip-1-again", "ip-1")?;
        let twins = [again("ip-4", "ip-4")?, again("ip-4-twin", "ip-4")?];
        let finished = ward.nurse.wait_for_pairing("ip-1", is_waiting).and_then(|_| {
            let pairings = ward.nurse.pairings()?;
            let done = pairings.into_iter().find(|pairing| pairing.phase == PairingPhase::Finished);
            Ok(done.context("a finished pairing")?.session)
        })?;
        let mut pumps = vec![paired, waiting_pump, replacing];
        pumps.extend(twins);
        Ok(Self {
            ward,
            waiting,
            ended,
            finished,
            verifying: RefCell::default(),
            answering: RefCell::default(),
            locked: Cell::new(false),
            revoked: Cell::new(false),
            scene,
            _pumps: pumps,
        })
    }

    /// Sets when the rules ask for the end of the serial number, and the weakest mode; what is verified next begins under them.
    pub(crate) fn rule(&self, serial_question: SerialQuestion, least: Mode) -> Result<()> {
        let policy = self.ward.administrator.policy()?.policy;
        let policy = PairingPolicy { serial_question, least_on_untrusted: least, ..policy };
        self.ward.administrator.set_policy(&policy)?;
        if let Some(shown) = self.verifying.take() {
            self.ward.nurse.act(shown.pairing.session, "cancel")?;
        }
        Ok(())
    }

    /// Locks an identifier: five sessions under it end with wrong codes.
    pub(crate) fn lock(&self) -> Result<()> {
        if !self.locked.replace(true) {
            for number in 0..MAX_FAILED_SESSIONS {
                let folder = format!("ip-7-{number}");
                let mut pump =
                    Pump::start_with(self.scene, &self.ward.provisioning, &folder, &["--identifier", "ip-7"])?;
                let (pairing, code) = self.ward.accept(&mut pump, "ip-7", Mode::PairingCode)?;
                for attempt in 1..=pairing.attempts_left {
                    self.ward.type_code(&pairing, &another(&code, attempt.into()))?;
                }
            }
        }
        Ok(())
    }

    /// Revokes a pump, which tries to come back.
    pub(crate) fn revoke(&self) -> Result<()> {
        if !self.revoked.replace(true) {
            let mut pump = self.ward.paired_pump("ip-9")?;
            self.ward.administrator.revoke(&[device("ip-9")?])?;
            pump.wait_for("disconnected")?;
        }
        Ok(())
    }

    /// A pairing whose answer is to be entered at the pump.
    pub(crate) fn answering(&self) -> Result<SessionId> {
        let mut present = self.answering.borrow_mut();
        if let Some((_, session)) = present.as_ref() {
            return Ok(*session);
        }
        let provisioning = Provisioning { cert_ca_sha256: None, ..self.ward.provisioning.clone() };
        let mut pump = Pump::start(self.scene, &provisioning, "ip-6")?;
        let (pairing, code) = self.ward.accept(&mut pump, "ip-6", Mode::PairingCode)?;
        self.ward.type_code(&pairing, &code)?;
        pump.wait_for("answer")?;
        *present = Some((pump, pairing.session));
        Ok(pairing.session)
    }

    /// A pump that shows its code: its pairing and its code. It is the same one as long as there is time.
    pub(crate) fn verifying(&self) -> Result<(SessionId, String)> {
        let mut present = self.verifying.borrow_mut();
        if let Some(shown) = present.as_ref() {
            let now = self.ward.nurse.pairing(shown.pairing.session)?;
            let end = now.expires_at.map_or(UNIX_EPOCH, |end| UNIX_EPOCH + Duration::from_millis(end.0));
            let left = end.duration_since(SystemTime::now()).unwrap_or_default();
            if now.phase == PairingPhase::Verifying && left > TIME_TO_LOOK && now.attempts_left > 1 {
                return Ok((shown.pairing.session, shown.code.clone()));
            }
            if now.phase == PairingPhase::Verifying {
                self.ward.nurse.act(now.session, "cancel")?;
            }
        }
        let name = format!("ip-5{}", self.ward.nurse.pairings()?.len());
        let (pump, pairing, code) = self.ward.pump_with_code(&name, Mode::PairingQrcode)?;
        let found = (pairing.session, code.clone());
        *present = Some(Verifying { pump, pairing, code });
        Ok(found)
    }

    /// What the QR code of the pump that shows one says, as the path of a page.
    pub(crate) fn link(&self) -> Result<String> {
        self.verifying()?;
        let mut present = self.verifying.borrow_mut();
        let shown = present.as_mut().context("a pump that shows its code")?;
        let event = shown.pump.seen().iter().rev().find(|event| event.get("link").is_some());
        let link = event.and_then(|event| event["link"].as_str()).context("the pump said its link")?;
        let (_, token) = link.split_once("/V/").context("a link")?;
        Ok(format!("/V/{token}"))
    }
}

fn is_waiting(pairing: &PairingView) -> bool {
    pairing.phase == PairingPhase::Waiting
}
