//! A pump without a gateway: it speaks with the distribution server itself (Distribution, figure 1 and paragraph 0055).

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use wardlink_agent::clock;
use wardlink_tests::fleet::Fleet;
use wardlink_tests::ward::device;
use wardlink_tests::{scene, wait};

/// What a pump has written so long after the server went was recorded after that: it records every 400 ms.
const RECORDED: Duration = Duration::from_secs(1);

#[test]
fn a_pump_without_a_gateway_gets_its_updates_and_hands_over_everything_whoever_dies_on_the_way() -> Result<()> {
    scene(|scene| {
        let mut hospital = Fleet::open(scene)?;
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        hospital.sell(&["pump-1"])?;
        let mut pump = hospital.pair_direct_pump("pump-1")?;
        let pump_1 = device("pump-1")?;
        hospital.wait_for_report(&pump_1, &pump_1)?;

        // Both die while it comes.
        hospital.release_for_pumps(("1A", "1B"), "2", &["--program-bytes", "5000000"], &[])?;
        hospital.publish()?;
        hospital.offer("1B")?;
        pump.wait_for("updating")?;
        hospital.ward.worker.kill();
        pump.kill();
        pump.restart()?;
        hospital.ward.worker.restart()?;
        hospital.wait_for_all(&[&pump_1], "1B")?;
        let installed = hospital.outcome(&pump_1, "installed")?;
        assert_eq!((installed.detail.as_str(), &installed.gateway), ("1B, release 2", &pump_1));

        // What it records while the server is away waits for that.
        hospital.ward.worker.kill();
        let (away, since) = (clock::now(), SystemTime::now());
        let stored = pump.state().join("records/stored");
        wait::until("what it stores meanwhile", || {
            let written = stored.metadata().and_then(|file| file.modified()).context("its records")?;
            Ok((written > since + RECORDED).then_some(()))
        })?;
        let back = clock::now();
        hospital.ward.worker.restart()?;

        // A release that does not start is taken back, and nothing of the data goes with it.
        hospital.release_for_pumps(("1B", "1C"), "3", &["--self-test", "fails"], &[])?;
        hospital.publish()?;
        hospital.offer("1C")?;
        let failed = hospital.outcome(&pump_1, "failed")?;
        ensure!(failed.detail.contains("self-test"), "{failed:?}");
        ensure!(hospital.runs_by_catalog(&pump_1)? == "1B", "{failed:?}");
        hospital.count_recorded(&pump_1)?;
        let values = hospital.ward.administrator.recorded_values(&pump_1)?;
        ensure!(values.iter().any(|value| (away..=back).contains(&value.at)), "nothing of that time has come");
        Ok(())
    })
}
