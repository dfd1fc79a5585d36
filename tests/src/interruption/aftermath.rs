//! What has to be true afterwards: pump, site and bridge agree, and nothing is left of what was given up.

use anyhow::{Context as _, Result, ensure};
use wardlink_crypto::x509::Certificate;
use wardlink_protocol::api::{DeviceView, PairingPhase, PairingView};
use wardlink_protocol::grant::DeviceState;

use super::{Run, Scenario};
use crate::impostor::Stolen;
use crate::mqtt::{Credentials, Mqtt};
use crate::wait;

impl Run<'_, '_> {
    /// Checks everything. `before` is what the pump had that was paired first under this identifier.
    pub(super) fn check(mut self, before: Option<Stolen>) -> Result<()> {
        let finished = self.check_pairings(before.as_ref())?;
        self.pump.kill();
        let view = self.check_device(&finished)?;
        let kept = Stolen::from(&self.pump.state(), &self.device)?;
        check_agreement(&view, &kept)?;
        self.check_rights(&kept, before)?;
        let certificate = kept.pairing.context("the pump is paired")?.certificate.clone();
        wait::until("the announcement of its certificate", || {
            Ok(self.bedside.reader.has_heard(&certificate).then_some(()))
        })
    }

    /// No pairing but the expected ones, each of them over.
    fn check_pairings(&self, before: Option<&Stolen>) -> Result<PairingView> {
        let mut pairings = self.bedside.ward.nurse.pairings()?;
        pairings.retain(|pairing| pairing.device == self.device);
        let (mut finished, ended): (Vec<_>, Vec<_>) =
            pairings.into_iter().partition(|pairing| pairing.phase == PairingPhase::Finished);
        ensure!(ended.iter().all(|pairing| pairing.phase == PairingPhase::Ended), "a pairing is left over: {ended:?}");
        let expected = 1 + usize::from(before.is_some());
        ensure!(finished.len() == expected, "{} pairings were finished, not {expected}", finished.len());
        ensure!(ended.len() == self.interruption.scenario.sessions() - 1, "other pairings were given up: {ended:?}");
        let last = finished.iter().max_by_key(|pairing| pairing.requested_at).cloned().context("it is finished")?;
        if self.interruption.scenario.sessions() == 1 {
            ensure!(Some(last.session) == self.session, "another session was finished than was interrupted");
        } else {
            let reason = ended.iter().find_map(|pairing| pairing.reason).context("the first pairing has a reason")?;
            let reason = serde_json::to_value(reason)?;
            ensure!(
                self.person.refused.iter().all(|shown| reason == shown.as_str()) && !self.person.refused.is_empty(),
                "the pump shows {:?}, the control unit {reason}",
                self.person.refused
            );
        }
        finished.retain(|pairing| pairing.session == last.session);
        Ok(last)
    }

    /// The device is there once, under the key of the pairing that was finished.
    fn check_device(&self, finished: &PairingView) -> Result<DeviceView> {
        let devices = self.bedside.ward.nurse.devices()?;
        let found = devices.iter().filter(|view| view.device == self.device).count();
        ensure!(found == 1, "the device is there {found} times");
        let view = self.bedside.ward.nurse.device(&self.device)?;
        ensure!(view.state == DeviceState::Paired && view.key == finished.key, "another key counts: {view:?}");
        Ok(view)
    }

    /// Only the final certificate reads T2; what counted before counts no more.
    fn check_rights(&self, kept: &Stolen, before: Option<Stolen>) -> Result<()> {
        let certificate = kept.certificate.clone().context("a paired pump has a certificate")?;
        ensure!(self.reads_t2(&certificate)?, "the final certificate does not read T2");
        ensure!(!self.reads_t2(&kept.bare_key)?, "the bare key reads T2 still");
        let provisional = self.provisional.as_ref().and_then(|stolen| stolen.certificate.clone());
        if !matches!(self.interruption.scenario, Scenario::Rejected | Scenario::Simple) {
            ensure!(provisional.is_some(), "a provisional certificate was stolen");
        }
        if let Some(provisional) = provisional {
            ensure!(!self.reads_t2(&provisional)?, "the provisional certificate reads T2 still");
        }
        if let Some(before) = before {
            ensure!(!self.reads_t2(&before.bare_key)?, "the replaced bare key reads T2 still");
            let replaced = before.certificate.context("the first pump was paired")?;
            ensure!(!self.reads_t2(&replaced)?, "the replaced certificate reads T2 still");
        }
        Ok(())
    }

    fn reads_t2(&self, credentials: &Credentials) -> Result<bool> {
        let broker = self.bedside.ward.worker.broker();
        match Mqtt::connect(&broker, credentials, "thief")? {
            Err(_) => Ok(false),
            Ok(mut mqtt) => Ok(!mqtt.subscribe(&format!("ais/{}", self.device))?.is_refusal()),
        }
    }
}

/// Pump and site have the same key, certificate, trust and channels.
fn check_agreement(view: &DeviceView, kept: &Stolen) -> Result<()> {
    let pairing = kept.pairing.as_ref().context("the pump is paired")?;
    let certificate = Certificate::parse(&pairing.certificate)?;
    ensure!(kept.fingerprint == view.key, "pump and site have different keys");
    ensure!(certificate.serial() == view.certificate, "pump and site have different certificates");
    ensure!(certificate.purpose() == Some(view.device.purpose()), "the pump keeps a provisional certificate");
    ensure!(kept.channels == view.channels, "pump and site have different channels");
    ensure!(pairing.trust == view.trust, "pump and site have different trust");
    Ok(())
}
