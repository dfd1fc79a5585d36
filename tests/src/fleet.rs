//! A ward with gateways and devices behind them, a manufacturer that publishes for them, and what the server says of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use wardlink_agent::clock;
use wardlink_protocol::Device;
use wardlink_protocol::api::{
    AllowUpload, CatalogDevice, GatewayView, InventoryPreview, NewOffer, OfferScope, OfferView, OfferWhen, OfferedData,
    OutcomeView, ProblemKind, RecordedValue, RecordsView,
};

use crate::api::refusal;
use crate::manufacturer::Manufacturer;
use crate::process::free_port;
use crate::pump::Pump;
use crate::ward::{Ward, device};
use crate::{Scene, artifacts, wait};

/// A release that takes data of the site.
pub const TAKES_DATA: [&str; 4] = ["--accepts", "drug_library", "--accepts", "site_settings"];

/// Settings for a ward, as a person adds them to an offer.
pub fn settings(ward: &str) -> OfferedData {
    let settings = json!({
        "version": 3, "language": "de", "time_zone": "Europe/Berlin", "ward": ward, "alarm_volume_percent": 70,
    });
    OfferedData { kind: "site_settings".to_owned(), text: settings.to_string() }
}

/// A drug library of one drug.
pub fn library(drug: &str) -> OfferedData {
    let drug = json!({
        "name": drug, "concentration_ug_per_ml": 60, "least_rate_ul_per_h": 100, "most_rate_ul_per_h": 90_000,
        "most_volume_ul": 50_000,
    });
    OfferedData { kind: "drug_library".to_owned(), text: json!({ "version": 1, "drugs": [drug] }).to_string() }
}

/// A ward with a manufacturer, gateways, and devices of two models behind them.
pub struct Fleet<'s> {
    scene: &'s Scene,
    /// The ward.
    pub ward: Ward<'s>,
    /// The manufacturer.
    pub acme: Manufacturer<'s>,
}

impl<'s> Fleet<'s> {
    /// A worker whose administrator has made the manufacturer known.
    pub fn open(scene: &'s Scene) -> Result<Self> {
        Self::around(scene, Ward::open(scene)?)
    }

    /// The same with the pages of the web app.
    pub fn with_pages(scene: &'s Scene) -> Result<Self> {
        Self::around(scene, Ward::with_pages(scene)?)
    }

    fn around(scene: &'s Scene, ward: Ward<'s>) -> Result<Self> {
        let acme = Manufacturer::found(scene, "acme")?;
        acme.onboard(&ward.administrator)?;
        Ok(Self { scene, ward, acme })
    }

    fn folder(&self, pump: &str) -> PathBuf {
        self.scene.path(&format!("passive-{pump}"))
    }

    /// Pairs a gateway that speaks for these passive pumps, all of revision 1A.
    pub fn gateway(&self, name: &str, pumps: &[&str], more: &[&str]) -> Result<Pump<'s>> {
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
        self.ward.pair(&mut gateway, name)?;
        wait::until("the gateway's report", || {
            Ok(self.known(name)?.filter(|known| known.devices == u64::try_from(pumps.len()).unwrap_or_default()))
        })?;
        Ok(gateway)
    }

    /// The manufacturer has sold these pumps: they stand in the catalog.
    pub fn sell(&self, pumps: &[&str]) -> Result<()> {
        let record = |pump: &&str| {
            json!({ "characteristics": {
                "device": { "client": "infusion-pump", "identifier": pump }, "manufacturer": "acme", "model": "PM2",
                "serial_number": format!("SN-{pump}"), "revision": "1A", "hardware": "PM2-B",
            } })
        };
        let sold = self.acme.inventory(&pumps.iter().map(record).collect())?;
        let _: InventoryPreview = self.ward.administrator.post("inventories", &sold)?;
        let path = |name: &str| self.acme.path(name).display().to_string();
        let (export, factory) = (path("export"), path("factory.json"));
        self.image("1A", &[])?;
        self.acme.release(&["export", &export])?;
        let of_model = ["--repository", &export, "--manufacturer", "acme", "--model", "PM2"];
        Self::agent(&[&["pump", "factory"], &of_model[..], &[&factory]].concat())
    }

    /// A person lets a device's data come through a gateway, so that it is let in there.
    pub fn allow(&self, device: &Device, gateway: &str) -> Result<()> {
        let allowed = AllowUpload { gateway: device_of(gateway)?, allowed: true };
        let _: CatalogDevice = self.ward.administrator.post(&format!("catalog/{device}/uploads"), &allowed)?;
        Ok(())
    }

    /// Starts a pump that verifies for itself, and has its updates from the gateway at this address.
    pub fn start_pump(&self, name: &str, address: &str) -> Result<Pump<'s>> {
        self.start_pump_with(name, &[&format!("--gateway=wss://{address}"), "--record-ms=400"])
    }

    fn start_pump_with(&self, name: &str, more: &[&str]) -> Result<Pump<'s>> {
        let [factory, image] = ["factory.json", "image-1A"].map(|file| self.acme.path(file).display().to_string());
        let arguments = [
            format!("--identifier={name}"),
            format!("--serial=SN-{name}"),
            format!("--factory={factory}"),
            format!("--factory-image={image}"),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
        Pump::start_with(self.scene, &self.ward.provisioning, name, &arguments)
    }

    /// Starts and pairs a pump that does without a gateway.
    pub fn pair_direct_pump(&self, name: &str) -> Result<Pump<'s>> {
        let mut pump = self.start_pump_with(name, &["--direct", "--record-ms=400"])?;
        self.ward.pair(&mut pump, name)?;
        Ok(pump)
    }

    /// Starts and pairs it.
    pub fn pair_pump(&self, name: &str, gateway: &str, address: &str) -> Result<Pump<'s>> {
        self.allow(&device(name)?, gateway)?;
        let mut pump = self.start_pump(name, address)?;
        self.ward.pair(&mut pump, name)?;
        Ok(pump)
    }

    /// Pairs the gateway north with a passive device, and the pump `pump-1` that has its updates there and verifies for itself.
    pub fn pump_at_gateway(&self, passive: &str) -> Result<(Pump<'s>, Pump<'s>)> {
        self.pumps_at_gateway(&[passive])
    }

    /// The same with several passive devices.
    pub fn pumps_at_gateway(&self, passive: &[&str]) -> Result<(Pump<'s>, Pump<'s>)> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let north = self.gateway("north", passive, &[&format!("--hub={address}"), "--collect-secs=1"])?;
        self.sell(&["pump-1"])?;
        let pump = self.pair_pump("pump-1", "gateway/north", &address)?;
        Ok((north, pump))
    }

    /// Waits until the server knows what a pump says at its gateway, which it may be itself: it is updated there from now on.
    pub fn wait_for_report(&self, pump: &Device, gateway: &Device) -> Result<()> {
        wait::patiently("the pump's own report", || {
            let known: CatalogDevice = self.ward.administrator.get(&format!("catalog/{pump}"))?;
            Ok((known.entry.gateway.as_ref() == Some(gateway)).then_some(()))
        })
    }

    /// Releases a program for pumps, from one revision to another, under a counter.
    pub fn release_for_pumps(
        &self,
        (from, to): (&str, &str),
        counter: &str,
        of_image: &[&str],
        more: &[&str],
    ) -> Result<()> {
        self.release_for_idle_pumps((from, to), counter, of_image, &[&["--during-therapy"], more].concat())
    }

    /// The same, for pumps that treat nobody.
    pub fn release_for_idle_pumps(
        &self,
        (from, to): (&str, &str),
        counter: &str,
        of_image: &[&str],
        more: &[&str],
    ) -> Result<()> {
        let image =
            fs::read(self.image(to, &[&["--release-counter", counter], of_image].concat())?).context("an image")?;
        self.acme.add_for(PUMP, (from, to), &image, &[&["--release", counter], more].concat())
    }

    /// Signs and publishes what was released.
    pub fn publish(&self) -> Result<()> {
        self.acme.sign()?;
        self.acme.publish(&self.ward.worker.origin()).map(drop)
    }

    /// What the catalog says that a device runs.
    pub fn runs_by_catalog(&self, device: &Device) -> Result<String> {
        let known: CatalogDevice = self.ward.administrator.get(&format!("catalog/{device}"))?;
        Ok(known.entry.revision)
    }

    /// Waits until the catalog knows that all of them run a revision.
    pub fn wait_for_all(&self, devices: &[&Device], revision: &str) -> Result<()> {
        for device in devices {
            wait::patiently(&format!("{device} with {revision}"), || {
                Ok((self.runs_by_catalog(device)? == revision).then_some(()))
            })
            .with_context(|| format!("{}\n{}", self.stands("north"), self.stands("south")))?;
        }
        Ok(())
    }

    /// A scale weighs somebody.
    pub fn weigh(&self, scale: &str, number: u64) -> Result<()> {
        let folder = self.folder(scale).join("stored");
        fs::create_dir_all(&folder).context("a folder")?;
        let value = json!({"at": clock::now().0, "kind": "body-weight", "value": number.to_string(), "unit": "kg"});
        let unfinished = folder.join("unfinished");
        fs::write(&unfinished, serde_json::to_vec(&value)?).context("a value")?;
        fs::rename(unfinished, folder.join(format!("{number:020}.json"))).context("a value")
    }

    /// From now on a passive device says that it is busy, or no more.
    pub fn keep_busy(&self, device: &str, is_busy: bool) -> Result<()> {
        let file = self.folder(device).join("busy");
        if is_busy { fs::write(file, "") } else { fs::remove_file(file) }.context("a device's file")
    }

    /// Releases a set: for pumps from one revision to another, and for scales that run 1A to the same.
    pub fn release_set(&self, (from, to): (&str, &str), counter: &str) -> Result<()> {
        let (of_pump, of_scale) = ("acme/infusion-pump/PM2/spring 2027", "acme/scale/S1/spring 2027");
        self.release_for_pumps((from, to), counter, &[], &["--atomic", of_scale])?;
        self.acme.add_for(SCALE, ("1A", to), program(to).as_bytes(), &["--atomic", of_pump])?;
        self.publish()?;
        for program in [self.acme.program(to), format!("acme/scale/S1/{to}.bin")] {
            self.offer_program(program)?;
        }
        Ok(())
    }

    /// Every value is at the server, once: so many weights of each scale, and everything that the pumps have recorded up to the newest.
    pub fn count(&self, scales: &[&Device], weighed: u64, pumps: &[&Device]) -> Result<()> {
        for scale in scales {
            wait::patiently("every weight", || {
                let mut kilograms: Vec<u64> = Vec::new();
                for value in self.asked_for(scale)? {
                    kilograms.push(value.value.parse().context("kilograms")?);
                }
                kilograms.sort_unstable();
                ensure!(kilograms.len() <= usize::try_from(weighed)?, "a weight came twice: {kilograms:?}");
                Ok(kilograms.iter().copied().eq(1..=weighed).then_some(()))
            })?;
        }
        for pump in pumps {
            self.count_recorded(pump)?;
        }
        self.nothing_was_refused()
    }

    /// Everything that a pump has recorded up to the newest is at the server, once.
    pub fn count_recorded(&self, pump: &Device) -> Result<()> {
        // What one gateway still holds may come after what another one has sent already.
        wait::patiently("every value up to the newest", || {
            let values = self.asked_for(pump)?;
            let chains: BTreeSet<_> = values.iter().map(|value| value.chain.0).collect();
            let mut numbers: Vec<u64> = values.iter().map(|value| value.sequence).collect();
            numbers.sort_unstable();
            let count = u64::try_from(numbers.len())?;
            let is_each_once = numbers.is_sorted_by(|one, other| one < other) && chains.len() <= 1;
            ensure!(is_each_once, "{pump}: a value came twice, or a chain was begun anew");
            Ok((count > 20 && numbers.iter().copied().eq(1..=count)).then_some(()))
        })?;
        self.nothing_was_refused()
    }

    /// Every value that the server has of a device, which is asked for more; before the first ones it does not know it there.
    fn asked_for(&self, device: &Device) -> Result<Vec<RecordedValue>> {
        let administrator = &self.ward.administrator;
        match administrator.ask_for_records(device).and_then(|_| administrator.recorded_values(device)) {
            Err(error) => {
                ensure!(refusal::<()>(Err(error))? == ProblemKind::NotFound, "another refusal");
                Ok(Vec::new())
            }
            known => known,
        }
    }

    /// The server has refused nothing of what was stored.
    fn nothing_was_refused(&self) -> Result<()> {
        let view: RecordsView = self.ward.administrator.get("records")?;
        ensure!(view.refused.is_empty(), "something was refused: {:?}", view.refused);
        Ok(())
    }

    /// Waits until the server has heard such an outcome of a device.
    pub fn outcome(&self, device: &Device, outcome: &str) -> Result<OutcomeView> {
        wait::patiently(&format!("{device}: {outcome}"), || {
            let outcomes: Vec<OutcomeView> = self.ward.administrator.get("outcomes")?;
            Ok(outcomes.into_iter().find(|told| told.device == *device && told.outcome == outcome))
        })
    }

    /// How a gateway stands, for whoever has to find out why something did not happen.
    pub fn stands(&self, name: &str) -> String {
        fs::read_to_string(self.scene.path(&format!("{name}-state/status.json")))
            .unwrap_or_else(|error| error.to_string())
    }

    /// What does not work at a gateway, by what it says, and why; none where it says nothing at this moment.
    pub fn troubles(&self, name: &str) -> Option<Vec<(String, String)>> {
        let status: Value = serde_json::from_str(&self.stands(name)).ok()?;
        let word = |trouble: &Value, key: &str| Some(trouble.get(key)?.as_str()?.to_owned());
        status.get("troubles")?.as_array()?.iter().map(|of| Some((word(of, "what")?, word(of, "why")?))).collect()
    }

    /// Whether a gateway has taken in everything that a passive device has written.
    pub fn has_handed_over(&self, device: &str) -> Result<bool> {
        Ok(fs::read_dir(self.folder(device).join("stored")).context("a folder")?.next().is_none())
    }

    /// The newest directive of which a gateway has heard, where it says so.
    pub fn heard(&self, name: &str) -> Option<u64> {
        self.says(name, "directive_heard")
    }

    /// A number of a gateway's status, by its place (`stored/records`); none while that is being written.
    pub fn says(&self, name: &str, number: &str) -> Option<u64> {
        serde_json::from_str::<Value>(&self.stands(name)).ok()?.pointer(&format!("/{number}"))?.as_u64()
    }

    /// Waits until a gateway has done and told everything, and nothing more is wanted of it; the version of its directive.
    pub fn wait_for_rest(&self, name: &str) -> Result<u64> {
        wait::patiently(&format!("{name} to rest"), || {
            let known = self.known(name)?.context("the gateway")?;
            let newest = Some(known.directive);
            let has_done = self.heard(name) == newest && self.says(name, "directive_done") == newest;
            let rests = has_done && known.directed == 0 && self.says(name, "outcomes_waiting") == Some(0);
            Ok(rests.then_some(known.directive))
        })
        .with_context(|| self.stands(name))
    }

    /// What the server knows of a gateway.
    pub fn known(&self, name: &str) -> Result<Option<GatewayView>> {
        let known: Vec<GatewayView> = self.ward.administrator.get("gateways")?;
        Ok(known.into_iter().find(|known| known.gateway.identifier.as_str() == name))
    }

    /// Releases a program for pumps that do not verify for themselves, and publishes it.
    pub fn release(&self, from: &str, revision: &str, more: &[&str]) -> Result<()> {
        self.acme.add(from, revision, program(revision).as_bytes(), more)?;
        self.acme.publish(&self.ward.worker.origin()).map(drop)
    }

    /// Makes an image of a pump; its file.
    pub fn image(&self, revision: &str, more: &[&str]) -> Result<PathBuf> {
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

    /// Offers a program for pumps to everything that it fits.
    pub fn offer(&self, revision: &str) -> Result<OfferView> {
        self.offer_program(self.acme.program(revision))
    }

    /// Offers a program by its path.
    pub fn offer_program(&self, path: String) -> Result<OfferView> {
        let offer = NewOffer { path, scope: OfferScope::Model, when: OfferWhen::NextSafeMoment, added: Vec::new() };
        self.ward.administrator.post("offers", &offer)
    }

    /// What the catalog says that a pump runs.
    pub fn revision(&self, pump: &str) -> Result<String> {
        let known: CatalogDevice = self.ward.administrator.get(&format!("catalog/{}", device(pump)?))?;
        Ok(known.entry.revision)
    }

    /// Waits until the catalog knows that a pump runs a revision, and looks whether it does.
    pub fn wait_for(&self, pump: &str, revision: &str) -> Result<()> {
        wait::patiently(&format!("{pump} with {revision}"), || Ok((self.revision(pump)? == revision).then_some(())))?;
        ensure!(self.runs(pump)? == program(revision), "{pump} does not run what it says");
        Ok(())
    }

    /// The slot of a passive pump that counts.
    pub fn slot(&self, pump: &str) -> Result<PathBuf> {
        let record = fs::read(self.folder(pump).join("record.json")).context("the pump's record")?;
        let record: Value = serde_json::from_slice(&record).context("a record is JSON")?;
        let slot = record.get("slot").and_then(Value::as_str).context("a slot")?;
        Ok(self.folder(pump).join(format!("slot-{slot}")))
    }

    /// What that slot holds.
    pub fn runs(&self, pump: &str) -> Result<String> {
        let slot = self.slot(pump)?;
        let file = if slot.is_dir() { slot.join("image.bin") } else { slot };
        fs::read_to_string(file).context("the image")
    }
}

/// The type, model and hardware of pumps.
pub const PUMP: (&str, &str, &str) = ("infusion-pump", "PM2", "PM2-B");
/// The same of scales.
pub const SCALE: (&str, &str, &str) = ("scale", "S1", "B");

/// A device of another class than a pump.
pub fn device_of(name: &str) -> Result<Device> {
    name.parse().context("a device")
}

/// What a revision for passive devices consists of.
pub fn program(revision: &str) -> String {
    format!("the program of {revision}")
}
