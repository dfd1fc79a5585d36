//! From the manufacturer's desk to devices behind gateways: the real tool, the real worker, real gateways (Distribution, figures 1, 10, 12).

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use wardlink_protocol::api::{
    CatalogDevice, GatewayView, NewOffer, OfferScope, OfferView, OfferWhen, OutcomeView, PairingPhase,
};
use wardlink_protocol::pairing::Mode;
use wardlink_tests::manufacturer::Manufacturer;
use wardlink_tests::pump::Pump;
use wardlink_tests::ward::{Ward, device};
use wardlink_tests::{Scene, scene, wait};

/// A ward with a manufacturer, and gateways for its passive pumps.
struct Hospital<'s> {
    scene: &'s Scene,
    ward: Ward<'s>,
    acme: Manufacturer<'s>,
}

impl<'s> Hospital<'s> {
    fn open(scene: &'s Scene) -> Result<Self> {
        let ward = Ward::open(scene)?;
        let acme = Manufacturer::found(scene, "acme")?;
        acme.onboard(&ward.administrator)?;
        Ok(Self { scene, ward, acme })
    }

    fn folder(&self, pump: &str) -> PathBuf {
        self.scene.path(&format!("passive-{pump}"))
    }

    /// Pairs a gateway that speaks for these passive pumps, all of revision 1A.
    fn gateway(&self, name: &str, pumps: &[&str], more: &[&str]) -> Result<Pump<'s>> {
        let entry = |pump: &&str| {
            fs::create_dir_all(self.folder(pump)).context("a folder")?;
            Ok(json!({
                "device": { "client": "infusion-pump", "identifier": pump }, "manufacturer": "acme", "model": "PM2",
                "serial_number": format!("SN-{pump}"), "revision": "1A", "hardware": "PM2-B",
                "directory": self.folder(pump),
            }))
        };
        let devices: Vec<Value> = pumps.iter().map(entry).collect::<Result<_>>()?;
        let file = self.scene.path(&format!("{name}-devices.json"));
        fs::write(&file, serde_json::to_vec(&devices)?).context("the file of devices")?;
        let provisioning = self.ward.administrator.provisioning_for("gateway")?;
        let mut gateway = Pump::start_gateway(self.scene, &provisioning, name, &file, more)?;
        let (pairing, code) = self.ward.accept(&mut gateway, name, Mode::PairingCode)?;
        self.ward.type_code(&pairing, &code)?;
        gateway.wait_for("paired")?;
        self.ward.nurse.wait_for_pairing(name, |pairing| pairing.phase == PairingPhase::Finished)?;
        wait::until("the gateway's report", || {
            Ok(self.known(name)?.filter(|known| known.devices == u64::try_from(pumps.len()).unwrap_or_default()))
        })?;
        Ok(gateway)
    }

    fn known(&self, name: &str) -> Result<Option<GatewayView>> {
        let known: Vec<GatewayView> = self.ward.administrator.get("gateways")?;
        Ok(known.into_iter().find(|known| known.gateway.identifier.as_str() == name))
    }

    fn release(&self, from: &str, revision: &str, more: &[&str]) -> Result<()> {
        self.acme.add(from, revision, program(revision).as_bytes(), more)?;
        self.acme.publish(&self.ward.worker.origin()).map(drop)
    }

    fn offer(&self, revision: &str) -> Result<OfferView> {
        let path = self.acme.program(revision);
        let offer = NewOffer { path, scope: OfferScope::Model, when: OfferWhen::NextSafeMoment, added: Vec::new() };
        self.ward.administrator.post("offers", &offer)
    }

    fn revision(&self, pump: &str) -> Result<String> {
        let known: CatalogDevice = self.ward.administrator.get(&format!("catalog/{}", device(pump)?))?;
        Ok(known.entry.revision)
    }

    /// Waits until the catalog knows that a pump runs a revision, and looks whether it does.
    fn wait_for(&self, pump: &str, revision: &str) -> Result<()> {
        wait::patiently(&format!("{pump} with {revision}"), || Ok((self.revision(pump)? == revision).then_some(())))?;
        ensure!(self.runs(pump)? == program(revision), "{pump} does not run what it says");
        Ok(())
    }

    /// What a pump's slot that counts holds.
    fn runs(&self, pump: &str) -> Result<String> {
        let record = fs::read(self.folder(pump).join("record.json")).context("the pump's record")?;
        let record: Value = serde_json::from_slice(&record).context("a record is JSON")?;
        let slot = record.get("slot").and_then(Value::as_str).context("a slot")?;
        let slot = self.folder(pump).join(format!("slot-{slot}"));
        let file = if slot.is_dir() {
            fs::read_dir(&slot).context("the slot")?.next().context("an image")??.path()
        } else {
            slot
        };
        fs::read_to_string(file).context("the image")
    }
}

fn program(revision: &str) -> String {
    format!("the program of {revision}")
}

#[test]
fn what_is_offered_reaches_the_devices_of_two_gateways_through_deaths_of_all() -> Result<()> {
    scene(|scene| {
        let mut hospital = Hospital::open(scene)?;
        let mut north = hospital.gateway("north", &["n-1", "n-2"], &[])?;
        let mut south = hospital.gateway("south", &["s-1"], &["--poll-only", "--poll-secs", "2"])?;

        // Nothing is installed that nobody offers.
        hospital.release("1A", "1B", &[])?;
        hospital.offer("1B")?;
        for pump in ["n-1", "n-2", "s-1"] {
            hospital.wait_for(pump, "1B")?;
        }
        let outcomes: Vec<OutcomeView> = hospital.ward.administrator.get("outcomes")?;
        ensure!(outcomes.iter().filter(|told| told.outcome == "installed").count() >= 3, "{outcomes:?}");

        // Everybody dies, and comes back to the next release.
        hospital.release("1B", "1C", &[])?;
        hospital.offer("1C")?;
        north.kill();
        hospital.ward.worker.kill();
        south.kill();
        hospital.ward.worker.restart()?;
        north.restart()?;
        south.restart()?;
        for pump in ["n-1", "n-2", "s-1"] {
            hospital.wait_for(pump, "1C")?;
        }

        // A recalled release goes to nobody.
        hospital.acme.add("1C", "1D", program("1D").as_bytes(), &[])?;
        hospital.acme.release(&["--yes", "recall", &hospital.acme.program("1D"), "--reason", "it drips"])?;
        hospital.acme.sign()?;
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        ensure!(hospital.offer("1D").is_err(), "a recalled release cannot be offered");

        // A revoked gateway is cut off, and its devices get nothing more through it.
        let cut = "gateway/north".parse().context("a device")?;
        hospital.ward.administrator.revoke(&[cut])?;
        ensure!(!hospital.known("north")?.context("north")?.online, "its session is open still");
        hospital.release("1C", "1E", &[])?;
        hospital.offer("1E")?;
        hospital.wait_for("s-1", "1E")?;
        ensure!(hospital.runs("n-1")? == program("1C"), "a revoked gateway has installed something");
        Ok(())
    })
}

#[test]
fn a_device_that_cannot_start_goes_back_and_the_server_is_told() -> Result<()> {
    scene(|scene| {
        let hospital = Hospital::open(scene)?;
        hospital.release("1A", "1B", &[])?;
        let _gateway = hospital.gateway("north", &["n-1", "n-2"], &["--fail", "infusion-pump/n-2=start"])?;
        hospital.offer("1B")?;
        hospital.wait_for("n-1", "1B")?;
        let failed = wait::patiently("the failure", || {
            let outcomes: Vec<OutcomeView> = hospital.ward.administrator.get("outcomes")?;
            Ok(outcomes.into_iter().find(|told| told.outcome == "failed"))
        })?;
        ensure!(failed.device == device("n-2")? && hospital.revision("n-2")? == "1A", "{failed:?}");
        Ok(())
    })
}
