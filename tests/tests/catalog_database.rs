//! People read catalog and releases in a database (D1) that the distribution server brings up to date: whatever happens to it, they read what is so.

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};
use wardlink_protocol::api::{CatalogPage, InventoryPreview, LiveEvent, ProblemKind, RecordsSettings, ReleaseView};
use wardlink_tests::api::refusal;
use wardlink_tests::live::Live;
use wardlink_tests::scene;
use wardlink_tests::stage::Stage;

/// Where the databases, and where the objects lie in the worker's storage.
const DATABASES: &str = "d1";
const OBJECTS: &str = "do";

/// What people read.
#[derive(Debug, PartialEq)]
struct Read {
    catalog: CatalogPage,
    releases: Vec<ReleaseView>,
}

/// The manufacturer names its devices, which nobody has reported, and a person imports what it says.
fn import(stage: &Stage<'_>, names: &[&str]) -> Result<()> {
    let record = |name: &&str| {
        let device = json!({ "client": "infusion-pump", "identifier": name });
        json!({ "characteristics": { "device": device, "manufacturer": "acme", "model": "PM2",
            "serial_number": format!("N-{name}"), "revision": "1A", "hardware": "PM2-B" } })
    };
    let inventory = stage.acme.inventory(&names.iter().map(record).collect::<Value>())?;
    let imported: InventoryPreview = stage.ward.administrator.post("inventories", &inventory)?;
    ensure!(imported.added == u64::try_from(names.len())?, "{imported:?}");
    Ok(())
}

fn read(stage: &Stage<'_>) -> Result<Read> {
    let api = &stage.ward.administrator;
    Ok(Read { catalog: api.get("catalog")?, releases: api.get("releases")? })
}

#[test]
fn the_catalog_is_read_as_it_is_after_its_database_was_lost_or_it_or_the_server_was_restored() -> Result<()> {
    scene(|scene| {
        let mut stage = Stage::open(scene)?;
        import(&stage, &["stored-1", "stored-2"])?;
        let first = read(&stage)?;
        assert_eq!((first.catalog.total, first.catalog.devices.len(), first.releases.len()), (2, 2, 1));

        // Lost.
        stage.ward.worker.kill();
        let earlier = stage.ward.worker.keep(DATABASES)?;
        stage.ward.worker.lose(DATABASES)?;
        stage.ward.worker.restart()?;
        let mut live = Live::connect(&stage.ward.administrator)?;
        assert_eq!(read(&stage)?, first);
        let often = RecordsSettings { every_minutes: Some(60) };
        let _: RecordsSettings = stage.ward.administrator.put("records/settings", &often)?;
        live.wait_for("another change", |event| match event {
            LiveEvent::UpdatesChanged => Some(Err(anyhow!("who reads has changed nothing"))),
            LiveEvent::RecordsChanged => Some(Ok(())),
            _ => None,
        })??;

        // Restored from an earlier state.
        import(&stage, &["stored-3"])?;
        stage.acme.add("1A", "1C", b"the second program", &[])?;
        stage.acme.publish(&stage.ward.worker.origin())?;
        let second = read(&stage)?;
        assert_eq!((second.catalog.total, second.releases.len()), (3, 2));
        stage.ward.worker.kill();
        stage.ward.worker.put_back(DATABASES, &earlier)?;
        stage.ward.worker.restart()?;
        assert_eq!(read(&stage)?, second);

        // The server was restored, and more was done since than was lost.
        stage.ward.worker.kill();
        let earlier = stage.ward.worker.keep(OBJECTS)?;
        stage.ward.worker.restart()?;
        import(&stage, &["lost-1"])?;
        assert_eq!(read(&stage)?.catalog.total, 4);
        stage.ward.worker.kill();
        stage.ward.worker.put_back(OBJECTS, &earlier)?;
        stage.ward.worker.restart()?;
        import(&stage, &["stored-4", "stored-5", "stored-6"])?;
        let third = read(&stage)?;
        let names: Vec<_> = third.catalog.devices.iter().map(|entry| entry.device.identifier.as_str()).collect();
        assert_eq!(names, ["stored-1", "stored-2", "stored-3", "stored-4", "stored-5", "stored-6"]);
        assert_eq!(third.releases, second.releases);
        Ok(())
    })
}

#[test]
fn a_database_that_is_emptied_or_restored_behind_the_running_server_is_written_anew() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        import(&stage, &["stored-1", "stored-2"])?;
        let whole = read(&stage)?;
        for done in [
            "DROP TABLE devices",
            "DROP TABLE releases",
            "DROP TABLE devices; DROP TABLE releases; DROP TABLE stand",
            "DELETE FROM devices; DELETE FROM releases; UPDATE stand SET mark = 'an earlier one'",
        ] {
            stage.ward.worker.tamper_database(done)?;
            assert_eq!(read(&stage)?, whole, "{done}");
        }
        Ok(())
    })
}

#[test]
fn a_database_that_does_not_answer_is_told_and_updates_go_on() -> Result<()> {
    scene(|scene| {
        let mut stage = Stage::open(scene)?;
        import(&stage, &["stored-1"])?;
        let first = read(&stage)?;
        stage.ward.worker.kill();
        stage.ward.worker.tamper_database(
            "CREATE TRIGGER broken BEFORE INSERT ON devices BEGIN SELECT RAISE(ABORT, 'broken'); END",
        )?;
        stage.ward.worker.restart()?;
        // Who updates goes on, and a device is found by its name.
        let mut hub = stage.hub("pump-1")?;
        hub.connect()?.report(hub.report("1A", None, &[])?)?;
        let known = stage.catalog(&hub.device)?;
        assert_eq!(known.entry.revision, "1A");
        let refused = refusal(stage.ward.administrator.get::<CatalogPage>("catalog"))?;
        assert_eq!(refused, ProblemKind::Unavailable);

        stage.ward.worker.kill();
        stage.ward.worker.tamper_database("DROP TRIGGER broken")?;
        stage.ward.worker.restart()?;
        let second = read(&stage)?;
        assert_eq!((first.catalog.total, second.catalog.total), (1, 2));
        let found = second.catalog.devices.iter().find(|entry| entry.device == known.entry.device);
        assert_eq!(*found.context("the pump")?, known.entry);
        Ok(())
    })
}
