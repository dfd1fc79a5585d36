//! What was begun is completed, whoever is killed (SIGKILL) in the middle.

use anyhow::{Result, anyhow, ensure};
use wardlink_agent::clock;
use wardlink_protocol::api::{PairingPhase, VerifyResult};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::pairing::Mode;
use wardlink_tests::api::new_attempt;
use wardlink_tests::impostor::Asker;
use wardlink_tests::mqtt::Mqtt;
use wardlink_tests::pump::wrong;
use wardlink_tests::ward::{Ward, device};
use wardlink_tests::{scene, wait};

#[test]
fn a_worker_that_dies_before_the_verification_goes_on_with_it() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::open(scene)?;
        let (mut pump, pairing, code) = ward.pump_with_code("ip-1", Mode::PairingCode)?;
        ward.worker.kill();
        ward.worker.restart()?;
        assert_eq!(ward.nurse.pairing(pairing.session)?.phase, PairingPhase::Verifying, "people stay signed in, too");
        assert_eq!(ward.type_code(&pairing, &code)?.result, VerifyResult::Verified);
        pump.wait_for("paired")?;
        Ok(())
    })
}

#[test]
fn a_worker_that_dies_at_each_step_completes_the_pairing() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::open(scene)?;
        let mut pump = ward.pump("ip-1")?;
        let waiting = ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Waiting)?;
        ward.worker.kill();
        ward.worker.restart()?;
        ward.nurse.accept(waiting.session, Mode::PairingCode)?;
        ward.worker.kill();
        ward.worker.restart()?;
        let code = pump.code()?;
        let pairing = ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Verifying)?;
        assert_eq!(ward.type_code(&pairing, &code)?.result, VerifyResult::Verified);
        ward.worker.kill();
        ward.worker.restart()?;
        pump.wait_for("paired")?;
        wait::until("its data", || Ok(ward.nurse.device(&device("ip-1")?)?.last_seen))?;
        Ok(())
    })
}

#[test]
fn wrong_attempts_are_remembered_by_a_worker_that_dies() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::open(scene)?;
        let (_pump, pairing, code) = ward.pump_with_code("ip-1", Mode::PairingCode)?;
        let attempt = new_attempt()?;
        let answer = ward.nurse.verify_again(pairing.session, attempt, wrong(&code, 1))?;
        assert_eq!((answer.result, answer.pairing.attempts_left), (VerifyResult::Wrong, 2));
        ward.worker.kill();
        ward.worker.restart()?;
        let repeated = ward.nurse.verify_again(pairing.session, attempt, wrong(&code, 1))?;
        assert_eq!((repeated.result, repeated.pairing.attempts_left), (VerifyResult::Wrong, 2));
        let answer = ward.nurse.verify(pairing.session, wrong(&code, 2))?;
        assert_eq!((answer.result, answer.pairing.attempts_left), (VerifyResult::Wrong, 1));
        Ok(())
    })
}

#[test]
fn a_pump_that_loses_power_goes_on_with_the_same_code() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let (mut pump, pairing, code) = ward.pump_with_code("ip-1", Mode::PairingCode)?;
        pump.kill();
        pump.restart()?;
        assert_eq!(pump.code()?, code);
        pump.kill();
        assert_eq!(ward.type_code(&pairing, &code)?.result, VerifyResult::Verified);
        pump.restart()?;
        pump.wait_for("paired")?;
        wait::until("the pairing is finished", || {
            Ok((ward.nurse.pairing(pairing.session)?.phase == PairingPhase::Finished).then_some(()))
        })?;
        assert_eq!(ward.nurse.pairings()?.len(), 1, "it did not ask again");
        Ok(())
    })
}

#[test]
fn a_pump_that_was_off_when_it_was_accepted_gets_its_command() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::open(scene)?;
        let mut pump = ward.pump("ip-1")?;
        let waiting = ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Waiting)?;
        pump.kill();
        ward.nurse.accept(waiting.session, Mode::PairingCode)?;
        ward.worker.kill();
        ward.worker.restart()?;
        pump.restart()?;
        let code = pump.code()?;
        let pairing = ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Verifying)?;
        assert_eq!(ward.type_code(&pairing, &code)?.result, VerifyResult::Verified);
        pump.wait_for("paired")?;
        Ok(())
    })
}

#[test]
fn a_paired_pump_and_its_worker_find_each_other_again() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::open(scene)?;
        let mut pump = ward.paired_pump("ip-1")?;
        let before = wait::until("its data", || Ok(ward.nurse.device(&device("ip-1")?)?.last_seen))?;
        pump.kill();
        ward.worker.kill();
        ward.worker.restart()?;
        pump.restart()?;
        wait::until("newer data", || {
            let view = ward.nurse.device(&device("ip-1")?)?;
            ensure!(view.state == DeviceState::Paired, "it is paired still");
            Ok(view.last_seen.filter(|last| *last > before))
        })?;
        assert_eq!(ward.nurse.pairings()?.len(), 1, "it did not ask again");
        Ok(())
    })
}

#[test]
fn an_acknowledged_message_survives_the_death_of_the_bridge() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::open(scene)?;
        for round in 0..5 {
            let identifier = format!("ip-{round}");
            let device = device(&identifier)?;
            let asker = Asker::new(&ward.provisioning, &device, clock::now())?;
            let mut mqtt = Mqtt::connect(&ward.worker.broker(), &asker.credentials, &identifier)?
                .map_err(|answer| anyhow!("not connected: {answer:?}"))?;
            let answer = mqtt.publish(&asker.topic, &asker.request)?;
            ward.worker.kill();
            ensure!(!answer.is_refusal(), "the request was refused: {answer:?}");
            ward.worker.restart()?;
            ward.nurse.wait_for_pairing(&identifier, |pairing| pairing.phase == PairingPhase::Waiting)?;
        }
        Ok(())
    })
}
