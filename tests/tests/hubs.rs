//! From the manufacturer's desk to devices behind gateways: the real tool, the real worker, real gateways (Distribution, figures 1, 10, 12).

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use wardlink_protocol::Device;
use wardlink_protocol::api::{
    AllowUpload, CatalogDevice, GatewayView, InventoryPreview, NewOffer, OfferScope, OfferView, OfferWhen, OutcomeView,
    PairingPhase,
};
use wardlink_protocol::pairing::Mode;
use wardlink_tests::manufacturer::Manufacturer;
use wardlink_tests::process::free_port;
use wardlink_tests::pump::Pump;
use wardlink_tests::ward::{Ward, device};
use wardlink_tests::{Scene, artifacts, scene, wait};

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
            let (kind, model, hardware) = if pump.starts_with("scale") { SCALE } else { PUMP };
            Ok(json!({
                "device": { "client": kind, "identifier": pump }, "manufacturer": "acme", "model": model,
                "serial_number": format!("SN-{pump}"), "revision": "1A", "hardware": hardware,
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

    /// Pairs the gateway north with a passive device, and the pump `pump-1` that has its updates there and verifies for itself.
    fn pump_at_gateway(&self, passive: &str) -> Result<(Pump<'s>, Pump<'s>)> {
        let (pump_1, administrator) = (device("pump-1")?, &self.ward.administrator);
        let address = format!("127.0.0.1:{}", free_port()?);
        let north = self.gateway("north", &[passive], &[&format!("--hub={address}"), "--collect-secs=1"])?;
        // The manufacturer has sold the pump, and its data may come through the gateway.
        let sold = json!([{ "characteristics": {
            "device": { "client": "infusion-pump", "identifier": "pump-1" }, "manufacturer": "acme", "model": "PM2",
            "serial_number": "SN-pump-1", "revision": "1A", "hardware": "PM2-B",
        } }]);
        let _: InventoryPreview = administrator.post("inventories", &self.acme.inventory(&sold)?)?;
        let allowed = AllowUpload { gateway: device_of("gateway/north")?, allowed: true };
        let _: CatalogDevice = administrator.post(&format!("catalog/{pump_1}/uploads"), &allowed)?;
        let path = |name: &str| self.acme.path(name).display().to_string();
        let (first, export, factory) = (self.image("1A", &[])?, path("export"), path("factory.json"));
        self.acme.release(&["export", &export])?;
        let of_model = ["--repository", &export, "--manufacturer", "acme", "--model", "PM2"];
        Self::agent(&[&["pump", "factory"], &of_model[..], &[&factory]].concat())?;
        let mut pump = Pump::start_with(
            self.scene,
            &self.ward.provisioning,
            "pump-1",
            &[
                "--identifier=pump-1",
                "--serial=SN-pump-1",
                &format!("--gateway=wss://{address}"),
                &format!("--factory={factory}"),
                &format!("--factory-image={}", first.display()),
            ],
        )?;
        let (pairing, code) = self.ward.accept(&mut pump, "pump-1", Mode::PairingCode)?;
        self.ward.type_code(&pairing, &code)?;
        pump.wait_for("paired")?;
        Ok((north, pump))
    }

    /// Waits until the server has heard such an outcome of a device.
    fn outcome(&self, device: &Device, outcome: &str) -> Result<OutcomeView> {
        wait::patiently(&format!("{device}: {outcome}"), || {
            let outcomes: Vec<OutcomeView> = self.ward.administrator.get("outcomes")?;
            Ok(outcomes.into_iter().find(|told| told.device == *device && told.outcome == outcome))
        })
    }

    /// How a gateway stands, for whoever has to find out why something did not happen.
    fn stands(&self, name: &str) -> String {
        fs::read_to_string(self.scene.path(&format!("{name}-state/status.json")))
            .unwrap_or_else(|error| error.to_string())
    }

    fn known(&self, name: &str) -> Result<Option<GatewayView>> {
        let known: Vec<GatewayView> = self.ward.administrator.get("gateways")?;
        Ok(known.into_iter().find(|known| known.gateway.identifier.as_str() == name))
    }

    fn release(&self, from: &str, revision: &str, more: &[&str]) -> Result<()> {
        self.acme.add(from, revision, program(revision).as_bytes(), more)?;
        self.acme.publish(&self.ward.worker.origin()).map(drop)
    }

    /// Makes an image of a pump; its file.
    fn image(&self, revision: &str, more: &[&str]) -> Result<PathBuf> {
        let file = self.acme.path(&format!("image-{revision}"));
        let made = file.display().to_string();
        Self::agent(&[&["pump", "image", &made, "--revision", revision], more].concat())?;
        Ok(file)
    }

    /// Runs `wardlink`, which has to succeed.
    fn agent(arguments: &[&str]) -> Result<()> {
        let output = Command::new(artifacts::agent()?).args(arguments).output().context("wardlink cannot be run")?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn offer(&self, revision: &str) -> Result<OfferView> {
        self.offer_program(self.acme.program(revision))
    }

    fn offer_program(&self, path: String) -> Result<OfferView> {
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

/// The type, model and hardware of devices.
const PUMP: (&str, &str, &str) = ("infusion-pump", "PM2", "PM2-B");
const SCALE: (&str, &str, &str) = ("scale", "S1", "B");

fn device_of(name: &str) -> Result<Device> {
    name.parse().context("a device")
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

#[test]
fn a_pump_that_verifies_for_itself_is_updated_through_its_gateway_and_the_server_hears_what_came_of_it() -> Result<()> {
    scene(|scene| {
        let hospital = Hospital::open(scene)?;
        let (pump_1, administrator) = (device("pump-1")?, &hospital.ward.administrator);
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        let (mut north, mut pump) = hospital.pump_at_gateway("n-1")?;

        // What it says at its gateway, the server knows: it is updated there from now on.
        let known = || administrator.get::<CatalogDevice>(&format!("catalog/{pump_1}"));
        wait::patiently("the pump's own report", || {
            let known = known()?;
            Ok((known.entry.gateway == Some(device_of("gateway/north")?)).then_some(()))
        })?;

        // A release reaches it as it reaches the passive one beside it, whoever dies on the way.
        let release = |from: &str, revision: &str, counter: &str, more: &[&str]| -> Result<()> {
            let more = [&["--release-counter", counter, "--program-bytes", "3000000"], more].concat();
            let bytes = fs::read(hospital.image(revision, &more)?).context("an image")?;
            hospital.acme.add(from, revision, &bytes, &["--during-therapy", "--release", counter])?;
            hospital.acme.publish(&hospital.ward.worker.origin()).map(drop)
        };
        release("1A", "1B", "2", &[])?;
        hospital.offer("1B")?;
        let incoming = scene.path("pump-1-state/gateway/.incoming");
        wait::until("a part of the image", || {
            let files = fs::read_dir(&incoming).into_iter().flatten().flatten();
            let longest = files.filter_map(|file| Some(file.metadata().ok()?.len())).max();
            Ok(longest.filter(|longest| *longest > 100_000))
        })
        .with_context(|| hospital.stands("north"))?;
        north.kill();
        pump.kill();
        north.restart()?;
        pump.restart()?;
        hospital.outcome(&pump_1, "installed")?;
        wait::patiently("the pump with 1B", || Ok((known()?.entry.revision == "1B").then_some(())))?;
        wait::patiently("n-1 with 1B", || Ok((hospital.revision("n-1")? == "1B").then_some(())))?;

        // What it runs already does not lie ready any longer, neither at the gateway nor in the pump.
        let ready = |of: &str| scene.path(of).join("targets/acme");
        let (at_gateway, in_pump) =
            (ready("north-state/hub/updates/infusion-pump/pump-1"), ready("pump-1-state/gateway"));
        wait::until("both folders to be empty", || Ok((!at_gateway.exists() && !in_pump.exists()).then_some(())))?;

        // One that does not start is taken back by the pump itself, and the server is told why.
        release("1B", "1C", "3", &["--self-test", "fails"])?;
        hospital.offer("1C")?;
        let failed = hospital.outcome(&pump_1, "failed")?;
        ensure!(known()?.entry.revision == "1B", "{failed:?}");
        let troubles: Vec<OutcomeView> = administrator.get("outcomes")?;
        ensure!(troubles.iter().all(|told| told.outcome != "refused"), "somebody has refused something: {troubles:?}");
        Ok(())
    })
}

#[test]
fn a_set_of_a_pump_that_verifies_for_itself_and_a_scale_is_installed_whole_or_not_at_all() -> Result<()> {
    scene(|scene| {
        let hospital = Hospital::open(scene)?;
        hospital.acme.delegate(&["infusion-pump/PM2", "scale/S1"])?;
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        let (mut north, mut pump) = hospital.pump_at_gateway("scale-1")?;
        let (pump_1, scale_1) = (device("pump-1")?, device_of("scale/scale-1")?);
        let revision = |device: &Device| -> Result<String> {
            let known: CatalogDevice = hospital.ward.administrator.get(&format!("catalog/{device}"))?;
            Ok(known.entry.revision)
        };
        let release = |from: &str, to: &str, counter: &str, more: &[&str]| -> Result<()> {
            let more = [&["--release-counter", counter], more].concat();
            let image = fs::read(hospital.image(to, &more)?).context("an image")?;
            let (of_pump, of_scale) = ("acme/infusion-pump/PM2/spring 2027", "acme/scale/S1/spring 2027");
            hospital.acme.add_for(
                PUMP,
                (from, to),
                &image,
                &["--during-therapy", "--release", counter, "--atomic", of_scale],
            )?;
            hospital.acme.add_for(SCALE, (from, to), program(to).as_bytes(), &["--atomic", of_pump])?;
            hospital.acme.sign()?;
            hospital.acme.publish(&hospital.ward.worker.origin())?;
            for program in [hospital.acme.program(to), format!("acme/scale/S1/{to}.bin")] {
                hospital.offer_program(program)?;
            }
            Ok(())
        };
        release("1A", "1B", "2", &[])?;
        // The power fails for both as it begins to come.
        pump.wait_for("updating").with_context(|| hospital.stands("north"))?;
        north.kill();
        pump.kill();
        north.restart()?;
        pump.restart()?;
        for device in [&pump_1, &scale_1] {
            hospital.outcome(device, "installed")?;
            wait::patiently("what runs", || Ok((revision(device)? == "1B").then_some(())))?;
        }
        ensure!(hospital.runs("scale-1")? == program("1B"), "the scale runs something else");

        // The pump's next one does not start: the scale keeps what it has.
        release("1B", "1C", "3", &["--self-test", "fails"])?;
        for device in [&pump_1, &scale_1] {
            let failed = hospital.outcome(device, "failed")?;
            ensure!(revision(device)? == "1B", "{failed:?}");
        }
        ensure!(hospital.runs("scale-1")? == program("1B"), "the scale has changed over alone");
        Ok(())
    })
}
