//! People read catalog and releases in a database (D1) that the distribution server brings up to date: whatever happens to it, they read what is so.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use wardlink_protocol::api::{CatalogDevice, CatalogPage, InventoryPreview, ProblemKind, ReleaseView};
use wardlink_tests::api::{Api, refusal};
use wardlink_tests::manufacturer::Manufacturer;
use wardlink_tests::scene;
use wardlink_tests::ward::Ward;

/// Where the databases, and where the objects lie in the worker's storage.
const DATABASES: &str = "d1";
const OBJECTS: &str = "do";

struct Hospital<'s> {
    ward: Ward<'s>,
    acme: Manufacturer<'s>,
}

/// What people read.
#[derive(Debug, PartialEq)]
struct Read {
    catalog: CatalogPage,
    releases: Vec<ReleaseView>,
}

impl Hospital<'_> {
    fn import(&self, names: &[&str]) -> Result<()> {
        let record = |name: &&str| {
            let device = json!({ "client": "infusion-pump", "identifier": name });
            json!({ "characteristics": { "device": device, "manufacturer": "acme", "model": "PM2",
                "serial_number": format!("N-{name}"), "revision": "1A", "hardware": "PM2-B" } })
        };
        let inventory = self.acme.inventory(&names.iter().map(record).collect::<Value>())?;
        let imported: InventoryPreview = self.api().post("inventories", &inventory)?;
        ensure!(imported.added == u64::try_from(names.len())?, "{imported:?}");
        Ok(())
    }

    fn publish(&self, revision: &str) -> Result<()> {
        self.acme.add("1A", revision, format!("the program {revision}").as_bytes(), &[])?;
        self.acme.publish(&self.ward.worker.origin()).map(drop)
    }

    fn read(&self) -> Result<Read> {
        Ok(Read { catalog: self.api().get("catalog")?, releases: self.api().get("releases")? })
    }

    fn api(&self) -> &Api {
        &self.ward.administrator
    }
}

#[test]
fn the_catalog_is_read_as_it_is_after_its_database_was_lost_or_it_or_the_server_was_restored() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let acme = Manufacturer::found(scene, "acme")?;
        acme.onboard(&ward.administrator)?;
        let mut hospital = Hospital { ward, acme };
        hospital.publish("1B")?;
        hospital.import(&["stored-1", "stored-2"])?;
        let first = hospital.read()?;
        assert_eq!((first.catalog.total, first.catalog.devices.len(), first.releases.len()), (2, 2, 1));

        // Lost.
        hospital.ward.worker.kill();
        let earlier = hospital.ward.worker.keep(DATABASES)?;
        hospital.ward.worker.lose(DATABASES)?;
        hospital.ward.worker.restart()?;
        assert_eq!(hospital.read()?, first);

        // Restored from an earlier state.
        hospital.import(&["stored-3"])?;
        hospital.publish("1C")?;
        let second = hospital.read()?;
        assert_eq!((second.catalog.total, second.releases.len()), (3, 2));
        hospital.ward.worker.kill();
        hospital.ward.worker.put_back(DATABASES, &earlier)?;
        hospital.ward.worker.restart()?;
        assert_eq!(hospital.read()?, second);

        // The server was restored, and more was done since than was lost.
        hospital.ward.worker.kill();
        let earlier = hospital.ward.worker.keep(OBJECTS)?;
        hospital.ward.worker.restart()?;
        hospital.import(&["lost-1"])?;
        assert_eq!(hospital.read()?.catalog.total, 4);
        hospital.ward.worker.kill();
        hospital.ward.worker.put_back(OBJECTS, &earlier)?;
        hospital.ward.worker.restart()?;
        hospital.import(&["stored-4", "stored-5", "stored-6"])?;
        let third = hospital.read()?;
        let names: Vec<_> = third.catalog.devices.iter().map(|entry| entry.device.identifier.as_str()).collect();
        assert_eq!(names, ["stored-1", "stored-2", "stored-3", "stored-4", "stored-5", "stored-6"]);
        assert_eq!(third.releases, second.releases);
        Ok(())
    })
}

#[test]
fn a_database_that_is_emptied_or_restored_behind_the_running_server_is_written_anew() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let acme = Manufacturer::found(scene, "acme")?;
        acme.onboard(&ward.administrator)?;
        let hospital = Hospital { ward, acme };
        hospital.publish("1B")?;
        hospital.import(&["stored-1", "stored-2"])?;
        let whole = hospital.read()?;
        for done in [
            "DROP TABLE devices",
            "DROP TABLE releases",
            "DROP TABLE devices; DROP TABLE releases; DROP TABLE stand",
            "DELETE FROM devices; DELETE FROM releases; UPDATE stand SET mark = 'an earlier one'",
        ] {
            hospital.ward.worker.tamper_database(done)?;
            assert_eq!(hospital.read()?, whole, "{done}");
        }
        Ok(())
    })
}

#[test]
fn a_database_that_does_not_answer_is_told_and_updates_go_on() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let acme = Manufacturer::found(scene, "acme")?;
        acme.onboard(&ward.administrator)?;
        let mut hospital = Hospital { ward, acme };
        hospital.publish("1B")?;
        hospital.import(&["stored-1"])?;
        let first = hospital.read()?;
        hospital.ward.worker.kill();
        hospital.ward.worker.tamper_database(
            "CREATE TRIGGER broken BEFORE INSERT ON devices BEGIN SELECT RAISE(ABORT, 'broken'); END",
        )?;
        hospital.ward.worker.restart()?;
        // Who updates goes on, and a device is found by its name.
        let mut hub = hospital.ward.hub("pump-1")?;
        hub.connect()?.report(hub.report("1A", None, &[])?)?;
        let known: CatalogDevice = hospital.api().get("catalog/infusion-pump/pump-1")?;
        assert_eq!(known.entry.revision, "1A");
        let refused = refusal(hospital.api().get::<CatalogPage>("catalog"))?;
        assert_eq!(refused, ProblemKind::Unavailable);

        hospital.ward.worker.kill();
        hospital.ward.worker.tamper_database("DROP TRIGGER broken")?;
        hospital.ward.worker.restart()?;
        let second = hospital.read()?;
        assert_eq!((first.catalog.total, second.catalog.total), (1, 2));
        let found = second.catalog.devices.iter().find(|entry| entry.device == known.entry.device);
        assert_eq!(*found.context("the pump")?, known.entry);
        Ok(())
    })
}
