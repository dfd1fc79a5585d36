//! One identifier has one live key: locks, conflicting requests, and pairing again.

use anyhow::{Context as _, Result, ensure};
use wardlink_protocol::api::{LiveEvent, Lock, PairingPhase, PairingView, ProblemKind, VerifyResult};
use wardlink_protocol::pairing::{Mode, RefusalReason};
use wardlink_tests::api::refusal;
use wardlink_tests::live::Live;
use wardlink_tests::pump::{Pump, text, wrong};
use wardlink_tests::ward::{Ward, device};
use wardlink_tests::{Scene, scene, wait};

/// Starts a pump under an identifier that another one may have, too; `name` names its folder.
fn namesake<'s>(scene: &'s Scene, ward: &Ward<'s>, name: &str, identifier: &str) -> Result<Pump<'s>> {
    Pump::start_with(scene, &ward.provisioning, name, &["--identifier", identifier])
}

fn waiting(ward: &Ward<'_>, identifier: &str) -> Result<Vec<PairingView>> {
    let mut pairings = ward.nurse.pairings()?;
    pairings
        .retain(|pairing| pairing.device.identifier.as_str() == identifier && pairing.phase == PairingPhase::Waiting);
    Ok(pairings)
}

#[test]
fn five_failed_sessions_lock_an_identifier_until_an_administrator_lifts_it() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut live = Live::connect(&ward.nurse)?;
        for session in 1..=5 {
            let mut pump = namesake(scene, &ward, &format!("ip-20-{session}"), "ip-20")?;
            let (pairing, code) = ward.accept(&mut pump, "ip-20", Mode::PairingCode)?;
            for attempt in 1..=3 {
                let answer = ward.nurse.verify(pairing.session, wrong(&code, attempt))?;
                assert_eq!(answer.result, VerifyResult::Wrong);
            }
            assert_eq!(text(&pump.wait_for("refused")?, "reason")?, "wrong_code");
        }

        let alert = live.wait_for("the alert", |event| match event {
            LiveEvent::Locked { lock } => Some(lock),
            _ => None,
        })?;
        assert_eq!((alert.device.identifier.as_str(), alert.failures), ("ip-20", 5));
        assert_eq!(ward.nurse.get::<Vec<Lock>>("locks")?, [alert]);

        let mut locked = namesake(scene, &ward, "ip-20-locked", "ip-20")?;
        let ended = ward.nurse.wait_for_pairing("ip-20", |pairing| pairing.reason == Some(RefusalReason::Locked))?;
        assert_eq!(ended.phase, PairingPhase::Ended);
        assert_eq!(text(&locked.wait_for("refused")?, "reason")?, "locked");
        drop(locked);

        let device = device("ip-20")?;
        assert_eq!(refusal(ward.nurse.unlock(&device))?, ProblemKind::Forbidden);
        ward.administrator.unlock(&device)?;
        let lifted = |event| matches!(event, LiveEvent::Unlocked { device: unlocked } if unlocked == device);
        live.wait_for("the lock to go", |event| lifted(event).then_some(()))?;
        ensure!(ward.nurse.get::<Vec<Lock>>("locks")?.is_empty(), "nothing is locked");
        let mut pump = namesake(scene, &ward, "ip-20-again", "ip-20")?;
        let (pairing, code) = ward.accept(&mut pump, "ip-20", Mode::PairingCode)?;
        assert_eq!(ward.type_code(&pairing, &code)?.result, VerifyResult::Verified);
        pump.wait_for("paired")?;
        Ok(())
    })
}

#[test]
fn conflicting_requests_block_acceptance_until_a_person_decides() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut first = namesake(scene, &ward, "ip-21-first", "ip-21")?;
        let own = ward.nurse.wait_for_pairing("ip-21", |pairing| pairing.phase == PairingPhase::Waiting)?;
        let mut second = namesake(scene, &ward, "ip-21-second", "ip-21")?;
        let both = wait::until("two requests of ip-21", || {
            let both = waiting(&ward, "ip-21")?;
            Ok((both.len() == 2).then_some(both))
        })?;
        let other = both.iter().find(|pairing| pairing.session != own.session).context("the second request")?;
        for pairing in &both {
            assert_eq!(refusal(ward.nurse.accept(pairing.session, Mode::PairingCode))?, ProblemKind::Conflict);
        }

        ward.nurse.reject(other.session, "not at the bed")?;
        assert_eq!(text(&second.wait_for("refused")?, "note")?, "not at the bed");
        second.kill();
        ward.nurse.accept(own.session, Mode::PairingCode)?;
        let code = first.code()?;
        let pairing = wait::until("the first pump's answer", || {
            let pairing = ward.nurse.pairing(own.session)?;
            Ok((pairing.phase == PairingPhase::Verifying).then_some(pairing))
        })?;
        assert_eq!(ward.type_code(&pairing, &code)?.result, VerifyResult::Verified);
        first.wait_for("paired")?;
        Ok(())
    })
}

#[test]
fn a_pump_that_pairs_again_replaces_its_old_key() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut old = ward.paired_pump("ip-22")?;
        old.wait_for("sent")?;
        let before = ward.nurse.device(&device("ip-22")?)?;

        let mut new = namesake(scene, &ward, "ip-22-new", "ip-22")?;
        let (pairing, code) = ward.accept(&mut new, "ip-22", Mode::PairingCode)?;
        ensure!(pairing.replaces, "people are warned");
        assert_eq!(ward.nurse.device(&device("ip-22")?)?.key, before.key, "the old rights last until the end");
        assert_eq!(ward.type_code(&pairing, &code)?.result, VerifyResult::Verified);
        ward.wait_until_paired(&mut new, "ip-22")?;
        new.wait_for("sent")?;

        let after = ward.nurse.device(&device("ip-22")?)?;
        ensure!(after.key == pairing.key && after.key != before.key, "the new key counts");
        old.wait_for("disconnected")?;
        Ok(())
    })
}
