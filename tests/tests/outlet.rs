//! Stored data on its way out: to a real PostgreSQL, each record once, whatever breaks off.

use anyhow::{Context as _, Result, ensure};
use wardlink_protocol::api::RecordsView;
use wardlink_tests::hub::Hub;
use wardlink_tests::postgres::Postgres;
use wardlink_tests::records::{Recorder, heart_rate, measured};
use wardlink_tests::service::{self, Service};
use wardlink_tests::ward::{Ward, device};
use wardlink_tests::{Scene, scene, wait};

const COUNT: &str = "SELECT count(*), count(DISTINCT sequence), coalesce(max(sequence), 0) FROM wardlink_records";

struct Stage<'s> {
    ward: Ward<'s>,
    hub: Hub,
    recorder: Recorder,
    database: Postgres<'s>,
}

impl<'s> Stage<'s> {
    fn open(scene: &'s Scene) -> Result<Self> {
        let ward = Ward::open(scene)?;
        let mut pump = ward.paired_pump("pump-1")?;
        pump.kill();
        let hub = Hub::of(&pump, &device("pump-1")?, &ward.worker.origin())?;
        let recorder = Recorder::of(&hub.device, hub.key(), 1);
        Ok(Self { ward, hub, recorder, database: Postgres::start(scene)? })
    }

    /// The pump hands over so many records.
    fn record(&mut self, count: usize) -> Result<()> {
        let mut talk = self.hub.connect()?;
        let batch = self.recorder.sign(vec![heart_rate("70.5", 60)?; count])?;
        let taken = talk.records(&batch)?;
        ensure!(taken.is_ok(), "it was refused: {taken:?}");
        Ok(())
    }

    fn outlet(&self, scene: &'s Scene, name: &str, reads: &[&str]) -> Result<Service<'s>> {
        let made = service::make(&self.ward.administrator, name, reads)?;
        let site = self.ward.worker.origin();
        Service::start_outlet(scene, &site, name, &made.enrolment, self.database.address())
    }

    /// Waits until the database has so many records, each once.
    fn wait_for(&self, count: u64) -> Result<()> {
        wait::until(&format!("{count} records in the database"), || {
            let found = self.database.ask(COUNT).ok().and_then(|lines| lines.first().cloned());
            Ok(found.filter(|found| *found == format!("{count}|{count}|{count}")).map(drop))
        })
    }
}

#[test]
fn what_counts_is_in_the_database_once_whoever_is_killed() -> Result<()> {
    scene(|scene| {
        let mut stage = Stage::open(scene)?;
        stage.record(512)?;
        stage.record(200)?;
        let mut outlet = stage.outlet(scene, "archive", &["update"])?;
        outlet.wait_for("enrolled")?;
        outlet.wait_for("forwarded")?;
        stage.wait_for(712)?;
        let rows =
            stage.database.ask("SELECT kind, value, unit, amount, device_identifier FROM wardlink_records LIMIT 1")?;
        assert_eq!(rows, ["heart-rate|70.5|/min|70.5|pump-1"]);

        // The service dies; and one that has forgotten how far it was would change nothing.
        outlet.kill();
        stage.record(100)?;
        stage.database.ask("UPDATE wardlink_outlet SET confirmed = 300")?;
        outlet.restart()?;
        stage.wait_for(812)?;

        // The database dies and comes back: the service says so, waits, and goes on; here it is started again meanwhile.
        stage.database.kill();
        stage.record(50)?;
        let gone = outlet.wait_for("disconnected")?;
        ensure!(gone["again_in_ms"].as_u64().is_some_and(|millis| (30_000..=60_000).contains(&millis)), "{gone}");
        stage.database.restart()?;
        outlet.kill();
        outlet.restart()?;
        stage.wait_for(862)?;

        // The worker dies.
        stage.ward.worker.kill();
        stage.ward.worker.restart()?;
        outlet.kill();
        outlet.restart()?;
        stage.record(38)?;
        stage.wait_for(900)?;
        let view: RecordsView = stage.ward.administrator.get("records")?;
        let known = view.outlets.first().context("the service is shown")?;
        assert_eq!((known.service.as_str(), view.outlets.len()), ("archive", 1));
        Ok(())
    })
}

#[test]
fn what_is_set_aside_or_not_granted_stays_here_and_a_revoked_service_gets_nothing() -> Result<()> {
    scene(|scene| {
        let mut stage = Stage::open(scene)?;
        let batch = stage.recorder.sign(vec![heart_rate("4000", 60)?, measured("heart-rate", "71", "/min", 50)?])?;
        ensure!(stage.hub.connect()?.records(&batch)?.is_ok(), "it is stored");
        // A service that reads alarms alone is given no stored data.
        let mut curious = stage.outlet(scene, "curious", &["alarm"])?;
        curious.wait_for_end()?;
        ensure!(curious.log()?.contains("does not let this service in"), "{}", curious.log()?);
        let mut outlet = stage.outlet(scene, "archive", &["update"])?;
        outlet.wait_for("forwarded")?;
        assert_eq!(stage.database.ask("SELECT sequence, value FROM wardlink_records")?, ["2|71"]);

        service::revoke(&stage.ward.administrator, "archive")?;
        outlet.wait_for_end()?;
        stage.record(3)?;
        outlet.restart()?;
        outlet.wait_for_end()?;
        assert_eq!(stage.database.ask("SELECT count(*) FROM wardlink_records")?, ["1"]);
        Ok(())
    })
}
