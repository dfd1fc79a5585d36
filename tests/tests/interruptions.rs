//! Every message of every pairing, with pump, worker or both killed (SIGKILL) before, at and after it.

use std::time::Duration;

use anyhow::Result;
use wardlink_tests::interruption::{Bedside, Interruption, Scenario, Victim};
use wardlink_tests::scene;
use wardlink_tests::ward::Ward;
use wardlink_tests::wire::Moment;
use wardlink_tests::worker::{Host, Worker};

const MOMENTS: [Moment; 3] = [Moment::Before, Moment::At(Duration::ZERO), Moment::After];

/// Every place of a scenario at every moment, with every victim.
fn survive_all(scenario: Scenario) -> Result<()> {
    scene(|scene| {
        let mut bedside = Bedside::open(scene, Ward::around(scene, Worker::start_under(scene, Host::Workerd)?)?)?;
        for place in scenario.places() {
            for moment in MOMENTS {
                for victim in Victim::ALL {
                    let interruption = Interruption { scenario, place, moment, victim };
                    let started = std::time::Instant::now();
                    bedside.survive(interruption)?;
                    eprintln!("{interruption}: {} ms", started.elapsed().as_millis());
                }
            }
        }
        Ok(())
    })
}

#[test]
fn a_pairing_by_code_survives_every_death() -> Result<()> {
    survive_all(Scenario::Code)
}

#[test]
fn a_pairing_by_qr_code_survives_every_death() -> Result<()> {
    survive_all(Scenario::Qr)
}

#[test]
fn a_pairing_by_the_code_beside_the_qr_code_survives_every_death() -> Result<()> {
    survive_all(Scenario::CodeBeside)
}

#[test]
fn a_pairing_without_cert_ca_survives_every_death() -> Result<()> {
    survive_all(Scenario::Answer)
}

#[test]
fn a_pairing_that_replaces_a_key_survives_every_death() -> Result<()> {
    survive_all(Scenario::Again)
}

#[test]
fn a_rejection_survives_every_death() -> Result<()> {
    survive_all(Scenario::Rejected)
}

#[test]
fn a_cancellation_survives_every_death() -> Result<()> {
    survive_all(Scenario::Cancelled)
}

#[test]
fn the_end_by_a_wrong_code_survives_every_death() -> Result<()> {
    survive_all(Scenario::WrongCode)
}
