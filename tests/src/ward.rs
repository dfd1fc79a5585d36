//! A ward as most tests need it: a worker with its first administrator and a nurse.

use anyhow::{Context as _, Result};
use wardlink_protocol::Device;
use wardlink_protocol::api::{PairingPhase, PairingView, Role, VerificationProof, VerifyAnswer};
use wardlink_protocol::pairing::Mode;
use wardlink_protocol::provisioning::Provisioning;

use crate::Scene;
use crate::api::{ADMINISTRATOR, Api, PASSWORD};
use crate::hub::Hub;
use crate::pump::{Pump, text};
use crate::worker::{Host, Worker};

/// The nurse's sign-in name.
pub const NURSE: &str = "nina";

/// A worker with people.
pub struct Ward<'s> {
    scene: &'s Scene,
    /// The worker.
    pub worker: Worker<'s>,
    /// The first administrator, signed in.
    pub administrator: Api,
    /// A nurse, signed in.
    pub nurse: Api,
    /// What every pump is given.
    pub provisioning: Provisioning,
}

impl<'s> Ward<'s> {
    /// Starts a worker with empty storage.
    pub fn open(scene: &'s Scene) -> Result<Self> {
        Self::around(scene, Worker::start(scene)?)
    }

    /// The same with the pages of the web app.
    pub fn with_pages(scene: &'s Scene) -> Result<Self> {
        Self::around(scene, Worker::start_under(scene, Host::WithPages, &[])?)
    }

    /// Gives a worker with empty storage its people.
    pub fn around(scene: &'s Scene, worker: Worker<'s>) -> Result<Self> {
        let administrator = worker.api().bootstrap()?;
        let (_, nurse) = administrator.add_person(NURSE, Role::Nurse)?;
        let provisioning = administrator.provisioning()?;
        Ok(Self { scene, worker, administrator, nurse, provisioning })
    }

    /// Starts a worker that was away, so many days later: the administrator signs in again.
    pub fn comes_back_at(&mut self, days: i64) -> Result<()> {
        self.worker.restart_at(days)?;
        self.administrator = self.worker.api().sign_in(ADMINISTRATOR, PASSWORD)?;
        Ok(())
    }

    /// Starts a pump whose identifier is `name`.
    pub fn pump(&self, name: &str) -> Result<Pump<'s>> {
        Pump::start(self.scene, &self.provisioning, name)
    }

    /// Starts a pump and accepts its request; returns when the pump shows its code.
    pub fn pump_with_code(&self, name: &str, mode: Mode) -> Result<(Pump<'s>, PairingView, String)> {
        let mut pump = self.pump(name)?;
        let (pairing, code) = self.accept(&mut pump, name, mode)?;
        Ok((pump, pairing, code))
    }

    /// Accepts a pump's request; returns when the pump shows its code.
    pub fn accept(&self, pump: &mut Pump<'_>, name: &str, mode: Mode) -> Result<(PairingView, String)> {
        let waiting = self.nurse.wait_for_pairing(name, |pairing| pairing.phase == PairingPhase::Waiting)?;
        self.nurse.accept(waiting.session, mode)?;
        let event = pump.wait_for("code")?;
        let code = text(&event, "code").unwrap_or_default().to_owned();
        let pairing = self.nurse.wait_for_pairing(name, |pairing| pairing.phase == PairingPhase::Verifying)?;
        Ok((pairing, code))
    }

    /// Types a code for a pairing.
    pub fn type_code(&self, pairing: &PairingView, code: &str) -> Result<VerifyAnswer> {
        self.nurse.verify(pairing.session, VerificationProof::Code(code.to_owned()))
    }

    /// Starts a pump and pairs it by its code.
    pub fn paired_pump(&self, name: &str) -> Result<Pump<'s>> {
        let mut pump = self.pump(name)?;
        self.pair(&mut pump, name)?;
        Ok(pump)
    }

    /// Pairs a pump by its code.
    pub fn pair(&self, pump: &mut Pump<'_>, name: &str) -> Result<()> {
        let (pairing, code) = self.accept(pump, name, Mode::PairingCode)?;
        self.type_code(&pairing, &code)?;
        self.wait_until_paired(pump, name)
    }

    /// Waits until a pump is paired, and the control unit has heard that it is.
    pub fn wait_until_paired(&self, pump: &mut Pump<'_>, name: &str) -> Result<()> {
        pump.wait_for("paired")?;
        self.nurse.wait_for_finished_pairing(name).map(drop)
    }

    /// Pairs a pump that runs no more then: whoever is returned speaks for it with the distribution server.
    pub fn hub(&self, name: &str) -> Result<Hub> {
        let mut pump = self.paired_pump(name)?;
        pump.kill();
        Hub::of(&pump, &device(name)?, &self.worker.origin())
    }
}

/// The infusion pump of this identifier.
pub fn device(identifier: &str) -> Result<Device> {
    format!("infusion-pump/{identifier}").parse().context("a device")
}
