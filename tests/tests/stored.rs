//! Stored data all the way: a pump and a passive device, two gateways, the real worker; each of them dies again and again, and in the end every
//! value is there once (Distribution, figures 7, 9 and 13).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use wardlink_agent::clock;
use wardlink_agent::device::disk::Folder;
use wardlink_agent::device::records::{Records, STORED_BYTES};
use wardlink_protocol::Device;
use wardlink_protocol::api::{AllowUpload, CatalogDevice, GatewayView, RecordsView};
use wardlink_protocol::identity::RecordChain;
use wardlink_tests::hub::Hub;
use wardlink_tests::process::free_port;
use wardlink_tests::pump::Pump;
use wardlink_tests::ward::{Ward, device};
use wardlink_tests::{Scene, scene, wait};

/// How often somebody dies.
const DEATHS: u64 = 8;

/// A ward with two gateways; the pump's line leads to one of them.
struct Hospital<'s> {
    scene: &'s Scene,
    ward: Ward<'s>,
    weighed: u64,
}

impl<'s> Hospital<'s> {
    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.scene.path(name);
        fs::create_dir_all(&folder).context("a folder")?;
        Ok(folder)
    }

    /// Pairs a gateway that speaks for these scales, and has its ports in `<name>-ports`.
    fn gateway(&self, name: &str, scales: &[&str], further: &[&str]) -> Result<Pump<'s>> {
        let entry = |scale: &&str| {
            Ok(json!({
                "device": { "client": "scale", "identifier": scale }, "manufacturer": "acme", "model": "S1",
                "serial_number": format!("SN-{scale}"), "revision": "1A", "hardware": "B", "directory": self.folder(scale)?,
            }))
        };
        let devices: Vec<Value> = scales.iter().map(entry).collect::<Result<_>>()?;
        let file = self.scene.path(&format!("{name}-devices.json"));
        fs::write(&file, serde_json::to_vec(&devices)?).context("the file of devices")?;
        let ports = format!("--ports={}", self.folder(&format!("{name}-ports"))?.display());
        let provisioning = self.ward.administrator.provisioning_for("gateway")?;
        let more = [&[ports.as_str(), "--collect-secs=1"], further].concat();
        let mut gateway = Pump::start_gateway(self.scene, &provisioning, name, &file, &more)?;
        self.ward.pair(&mut gateway, name)?;
        wait::until("the gateway's report", || {
            let known: Vec<GatewayView> = self.ward.administrator.get("gateways")?;
            Ok(known.into_iter().find(|known| known.gateway.identifier.as_str() == name && known.reported_at.is_some()))
        })?;
        Ok(gateway)
    }

    /// A pump comes to stand in the catalog, and a person lets its data come through these gateways.
    fn enter(&self, pump: &mut Pump<'_>, bed: &Device, through: &[&str]) -> Result<()> {
        pump.kill();
        let mut hub = Hub::of(pump, bed, &self.ward.worker.origin())?;
        let mut talk = hub.connect()?;
        ensure!(talk.report(hub.report("1A", None, &[])?)?.is_none(), "its report is taken");
        talk.leave()?;
        drop(hub);
        pump.restart()?;
        for gateway in through {
            let allowed = AllowUpload { gateway: gateway.parse()?, allowed: true };
            let _: CatalogDevice = self.ward.administrator.post(&format!("catalog/{bed}/uploads"), &allowed)?;
        }
        Ok(())
    }

    /// The pump's line is put into this gateway's port.
    fn plug(&self, gateway: &str) -> Result<()> {
        let (line, next) = (self.scene.path("line"), self.scene.path("line-next"));
        symlink(self.folder(&format!("{gateway}-ports"))?, &next).context("a line")?;
        fs::rename(next, line).context("a line")
    }

    /// The scale weighs somebody.
    fn weigh(&mut self) -> Result<()> {
        self.weighed += 1;
        let folder = self.folder("scale-1/stored")?;
        let value =
            json!({"at": clock::now().0, "kind": "body-weight", "value": self.weighed.to_string(), "unit": "kg"});
        let unfinished = folder.join("unfinished");
        fs::write(&unfinished, serde_json::to_vec(&value)?).context("a value")?;
        fs::rename(unfinished, folder.join(format!("{:020}.json", self.weighed))).context("a value")
    }

    fn stored(&self, device: &Device) -> Result<u64> {
        let view: RecordsView = self.ward.administrator.get("records")?;
        Ok(view.devices.iter().find(|known| known.device == *device).map_or(0, |known| known.records))
    }
}

#[test]
fn every_value_arrives_once_however_often_gateway_pump_and_server_die() -> Result<()> {
    scene(|scene| {
        let mut hospital = Hospital { scene, ward: Ward::open(scene)?, weighed: 0 };
        let (bed, scale): (Device, Device) = (device("pump-1")?, "scale/scale-1".parse()?);
        let mut north = hospital.gateway("north", &["scale-1"], &[])?;
        let mut south = hospital.gateway("south", &[], &[])?;
        hospital.plug("north")?;
        let line = format!("--service-port={}", scene.path("line").display());
        let arguments = ["--identifier=pump-1", &line, "--record-ms=150"];
        let mut pump = Pump::start_with(scene, &hospital.ward.provisioning, "pump-1", &arguments)?;
        hospital.ward.pair(&mut pump, "pump-1")?;
        hospital.enter(&mut pump, &bed, &["gateway/north", "gateway/south"])?;
        pump.wait_for("handed")?;

        let mut chance = StdRng::seed_from_u64(13);
        for death in 0..DEATHS {
            let (had, weighed) = (hospital.stored(&bed)?, hospital.weighed);
            let wanted = had + chance.random_range(1..60);
            hospital.weigh()?;
            wait::patiently("more of the pump's values", || {
                hospital.ward.administrator.ask_for_records(&bed)?;
                hospital.ward.administrator.ask_for_records(&scale)?;
                Ok((hospital.stored(&bed)? >= wanted).then_some(()))
            })?;
            ensure!(hospital.weighed == weighed + 1, "it was weighed once");
            match death % 4 {
                0 => {
                    north.kill();
                    hospital.weigh()?;
                    north.restart()?;
                }
                1 => {
                    hospital.ward.worker.kill();
                    hospital.weigh()?;
                    hospital.ward.worker.restart()?;
                }
                2 => {
                    pump.kill();
                    pump.restart()?;
                    pump.wait_for("starting")?;
                }
                // The pump is carried to the other gateway while both die.
                _ => {
                    south.kill();
                    north.kill();
                    hospital.plug(if death % 8 == 3 { "south" } else { "north" })?;
                    south.restart()?;
                    north.restart()?;
                }
            }
        }

        // Everybody lives, until all that waits has arrived.
        pump.kill();
        let opened = || -> Result<Records<Folder>> {
            let disk = Folder::open(&pump.state().join("records")).context("the pump's store")?;
            let chain = RecordChain([0; 16]);
            Records::open(disk, bed.clone(), wardlink_tests::service::new_key(), STORED_BYTES, chain)
                .context("the pump's store")
        };
        ensure!(opened()?.unrecorded().is_none(), "the pump had room for everything");
        let weighed = hospital.weighed;
        let made = wait::patiently("everything that was signed and handed over", || {
            hospital.ward.administrator.ask_for_records(&bed)?;
            hospital.ward.administrator.ask_for_records(&scale)?;
            let held = opened()?;
            let handed = held.queue().iter().filter(|held| held.standing == wardlink_records::queue::Standing::Handed);
            let handed = handed.map(|held| held.last).max().unwrap_or_default();
            let stored = hospital.stored(&bed)?;
            Ok((stored >= handed && hospital.stored(&scale)? == weighed).then_some(stored))
        })?;

        let values = hospital.ward.administrator.recorded_values(&bed)?;
        let chains: BTreeSet<_> = values.iter().map(|value| value.chain.0).collect();
        assert_eq!(chains.len(), 1, "one chain, through all deaths");
        let mut numbers: Vec<u64> = values.iter().map(|value| value.sequence).collect();
        numbers.sort_unstable();
        ensure!(numbers.iter().copied().eq(1..=made), "a value is missing, or came twice: {} of {made}", numbers.len());
        let series: BTreeSet<_> = values.iter().map(|value| (value.at.0, value.series.clone())).collect();
        assert_eq!(series.len(), values.len(), "each measurement is another one");
        // What is still at the pump goes on where the server's end: nothing is lost between the two.
        let mut next = made + 1;
        for held in opened()?.queue().iter().filter(|held| held.last > made) {
            assert_eq!(held.key.first, next, "a batch is missing");
            next = held.last + 1;
        }
        let mut kilograms: Vec<u64> = hospital
            .ward
            .administrator
            .recorded_values(&scale)?
            .iter()
            .map(|value| value.value.parse().context("kilograms"))
            .collect::<Result<_>>()?;
        kilograms.sort_unstable();
        ensure!(kilograms.iter().copied().eq(1..=weighed), "of {weighed} weights there are {kilograms:?}");
        let view: RecordsView = hospital.ward.administrator.get("records")?;
        ensure!(view.refused.is_empty(), "something was refused: {:?}", view.refused);
        Ok(())
    })
}

#[test]
fn a_pump_hands_over_at_its_gateways_broker_while_the_server_is_away_and_not_once_it_is_revoked() -> Result<()> {
    scene(|scene| {
        let mut hospital = Hospital { scene, ward: Ward::open(scene)?, weighed: 0 };
        let (bed, scale): (Device, Device) = (device("pump-1")?, "scale/scale-1".parse()?);
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut north = hospital.gateway("north", &["scale-1"], &[&format!("--hub={address}")])?;
        let arguments = ["--identifier=pump-1", &format!("--gateway=wss://{address}"), "--record-ms=150"];
        let mut pump = Pump::start_with(scene, &hospital.ward.provisioning, "pump-1", &arguments)?;
        hospital.ward.pair(&mut pump, "pump-1")?;
        hospital.enter(&mut pump, &bed, &["gateway/north"])?;
        let arrives = |hospital: &Hospital<'_>, wanted: u64| {
            wait::patiently("the pump's values", || {
                hospital.ward.administrator.ask_for_records(&bed)?;
                Ok((hospital.stored(&bed)? >= wanted).then_some(()))
            })
        };
        arrives(&hospital, 20)?;

        // The server is away: the gateway takes what the pump has, also after both have died.
        hospital.ward.worker.kill();
        north.kill();
        north.restart()?;
        pump.kill();
        pump.restart()?;
        pump.wait_for("handed")?;
        hospital.ward.worker.restart()?;
        let had = hospital.stored(&bed)?;
        arrives(&hospital, had + 20)?;

        // The stolen pump is not let in any more, at the gateway as little as at the site.
        hospital.ward.administrator.revoke(std::slice::from_ref(&bed))?;
        let had = hospital.stored(&bed)?;
        hospital.weigh()?;
        wait::patiently("what was weighed afterwards", || {
            hospital.ward.administrator.ask_for_records(&bed)?;
            hospital.ward.administrator.ask_for_records(&scale)?;
            Ok((hospital.stored(&scale)? > 0).then_some(()))
        })?;
        assert_eq!(hospital.stored(&bed)?, had, "nothing came after the answer");
        Ok(())
    })
}
