//! Pairing with real pumps through the web interface.

use anyhow::{Context as _, Result, ensure};
use wardlink_protocol::api::{
    DeviceView, DevicesPage, LiveEvent, PairingPhase, ProblemKind, VerificationProof, VerifyResult,
};
use wardlink_protocol::channel::DataType;
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::TrustLevel;
use wardlink_protocol::pairing::{Mode, RefusalReason};
use wardlink_tests::api::{new_attempt, refusal};
use wardlink_tests::live::Live;
use wardlink_tests::pump::{Event, Pump, is, mistyped, text, wrong};
use wardlink_tests::ward::{Ward, device};
use wardlink_tests::{scene, wait};

#[test]
fn a_pump_is_paired_by_its_code_and_its_data_arrives() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let (mut pump, pairing, code) = ward.pump_with_code("ip-1", Mode::PairingCode)?;
        assert_eq!(pairing.mode, Some(Mode::PairingCode));
        assert_eq!((pairing.location.as_str(), pairing.accepted_by.as_deref()), ("Bed 4", Some("nina")));
        let answer = ward.type_code(&pairing, &code)?;
        assert_eq!(answer.result, VerifyResult::Verified);
        pump.wait_for("paired")?;
        pump.wait_for("sent")?;
        let seen = wait::until("data of all three kinds", || {
            let view = ward.nurse.device(&device("ip-1")?)?;
            let has = |kind| view.latest.iter().any(|data| data.report.content.data_type() == kind);
            Ok([DataType::Telemetry, DataType::Therapy].into_iter().all(has).then_some(view))
        })?;
        assert_eq!((seen.state, seen.trust, seen.mode), (DeviceState::Paired, TrustLevel::Full, Mode::PairingCode));
        assert_eq!((seen.location.as_str(), seen.paired_by.as_str()), ("Bed 4", "nina"));
        assert_eq!(seen.key, pairing.key);
        let therapy = seen.latest.iter().find(|data| data.report.content.data_type() == DataType::Therapy);
        ensure!(therapy.is_some_and(|data| data.signed), "therapy events are signed by the device");
        assert_eq!(ward.nurse.pairing(pairing.session)?.phase, PairingPhase::Finished);
        Ok(())
    })
}

#[test]
fn a_pump_is_paired_by_the_tag_of_its_qr_code_once() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut pump = ward.pump("ip-2")?;
        let waiting = ward.nurse.wait_for_pairing("ip-2", |pairing| pairing.phase == PairingPhase::Waiting)?;
        ward.nurse.accept(waiting.session, Mode::PairingQrcode)?;
        let link = pump.link()?;
        assert_eq!(link.session, waiting.session);
        assert_eq!(link.origin, ward.worker.origin());
        assert_eq!(link.identifier.as_str(), "ip-2");
        ward.nurse.wait_for_pairing("ip-2", |pairing| pairing.phase == PairingPhase::Verifying)?;
        let answer = ward.nurse.verify(link.session, VerificationProof::Tag(link.tag))?;
        assert_eq!(answer.result, VerifyResult::Verified);
        pump.wait_for("paired")?;
        let again = ward.nurse.verify(link.session, VerificationProof::Tag(link.tag));
        assert_eq!(refusal(again)?, ProblemKind::WrongState);
        Ok(())
    })
}

#[test]
fn in_qr_mode_the_code_beside_counts_too() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let (mut pump, pairing, code) = ward.pump_with_code("ip-3", Mode::PairingQrcode)?;
        ensure!(pairing.code_beside, "the policy that a site begins with allows the code");
        assert_eq!(ward.type_code(&pairing, &code)?.result, VerifyResult::Verified);
        pump.wait_for("paired")?;
        Ok(())
    })
}

#[test]
fn the_third_wrong_code_ends_the_pairing_and_the_pump_says_why() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let (mut pump, pairing, code) = ward.pump_with_code("ip-4", Mode::PairingCode)?;
        assert_eq!(pairing.attempts_left, 3);

        let answer = ward.type_code(&pairing, &mistyped(&code))?;
        assert_eq!((answer.result, answer.pairing.attempts_left), (VerifyResult::Mistyped, 3));

        let attempt = new_attempt()?;
        for _ in 0..2 {
            let answer = ward.nurse.verify_again(pairing.session, attempt, wrong(&code, 1))?;
            assert_eq!(
                (answer.result, answer.pairing.attempts_left),
                (VerifyResult::Wrong, 2),
                "a repetition counts once"
            );
        }
        let answer = ward.nurse.verify(pairing.session, wrong(&code, 2))?;
        assert_eq!((answer.result, answer.pairing.attempts_left), (VerifyResult::Wrong, 1));
        let answer = ward.nurse.verify(pairing.session, wrong(&code, 3))?;
        assert_eq!(answer.result, VerifyResult::Wrong);
        assert_eq!(
            (answer.pairing.phase, answer.pairing.reason),
            (PairingPhase::Ended, Some(RefusalReason::WrongCode))
        );

        let refused = pump.wait_for("refused")?;
        assert_eq!(text(&refused, "reason")?, "wrong_code");
        let late = ward.type_code(&pairing, &code);
        assert_eq!(refusal(late)?, ProblemKind::WrongState, "the right code comes too late");
        ensure!(ward.nurse.devices()?.is_empty(), "nothing was paired");
        Ok(())
    })
}

#[test]
fn a_rejected_pump_shows_the_reason_and_a_dismissed_one_is_out_of_sight() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut live = Live::connect(&ward.nurse)?;
        let mut rejected = ward.pump("ip-5")?;
        let request = ward.nurse.wait_for_pairing("ip-5", |pairing| pairing.phase == PairingPhase::Waiting)?;
        ward.nurse.reject(request.session, "Not one of ours")?;
        let refused = rejected.wait_for("refused")?;
        assert_eq!(text(&refused, "reason")?, "rejected");
        ensure!(refused.to_string().contains("Not one of ours"), "the pump shows what the nurse wrote: {refused}");
        let view = ward.nurse.pairing(request.session)?;
        assert_eq!((view.phase, view.reason), (PairingPhase::Ended, Some(RefusalReason::Rejected)));
        assert_eq!(refusal(ward.nurse.accept(request.session, Mode::PairingCode))?, ProblemKind::WrongState);

        let _dismissed = ward.pump("ip-6")?;
        let request = ward.nurse.wait_for_pairing("ip-6", |pairing| pairing.phase == PairingPhase::Waiting)?;
        ward.nurse.act(request.session, "dismiss")?;
        let gone = |event| matches!(event, LiveEvent::PairingGone { session } if session == request.session);
        live.wait_for("the dismissed request to go", |event| gone(event).then_some(()))?;
        ensure!(ward.nurse.pairings()?.iter().all(|pairing| pairing.session != request.session), "it is out of sight");
        Ok(())
    })
}

#[test]
fn a_cancelled_pairing_leaves_no_rights() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let (mut pump, pairing, code) = ward.pump_with_code("ip-8", Mode::PairingCode)?;
        ward.nurse.act(pairing.session, "cancel")?;
        let refused = pump.wait_for("refused")?;
        assert_eq!(text(&refused, "reason")?, "cancelled");
        assert_eq!(refusal(ward.type_code(&pairing, &code))?, ProblemKind::WrongState);
        ensure!(ward.nurse.devices()?.is_empty(), "nothing was paired");
        Ok(())
    })
}

#[test]
fn two_pumps_are_paired_side_by_side() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let (mut first, first_pairing, first_code) = ward.pump_with_code("ip-a", Mode::PairingCode)?;
        let (mut second, second_pairing, second_code) = ward.pump_with_code("ip-b", Mode::PairingCode)?;
        ensure!(first_code != second_code, "each pump has its own code");

        let crossed = ward.type_code(&first_pairing, &second_code)?;
        assert_eq!(crossed.result, VerifyResult::Wrong, "a code counts for its own pump only");
        assert_eq!(ward.type_code(&second_pairing, &second_code)?.result, VerifyResult::Verified);
        ward.wait_until_paired(&mut second, "ip-b")?;
        assert_eq!(ward.type_code(&first_pairing, &first_code)?.result, VerifyResult::Verified);
        ward.wait_until_paired(&mut first, "ip-a")?;
        let named = |devices: &[DeviceView]| devices.iter().map(|view| view.device.to_string()).collect::<Vec<_>>();
        assert_eq!(named(&ward.nurse.devices()?), ["infusion-pump/ip-a", "infusion-pump/ip-b"]);
        let later: DevicesPage = ward.nurse.get("devices?after=infusion-pump/ip-a")?;
        assert_eq!((named(&later.devices), later.next), (vec!["infusion-pump/ip-b".to_owned()], None));
        assert_eq!(refusal(ward.nurse.get::<DevicesPage>("devices?after=nobody"))?, ProblemKind::BadRequest);
        Ok(())
    })
}

#[test]
fn ten_pumps_of_one_process_are_paired() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut pumps = Pump::start_with(scene, &ward.provisioning, "ward", &["--count=10"])?;
        let sessions = wait::until("ten requests", || {
            let pairings = ward.nurse.pairings()?;
            Ok((pairings.len() == 10).then(|| pairings.iter().map(|pairing| pairing.session).collect::<Vec<_>>()))
        })?;
        for session in sessions {
            ward.nurse.accept(session, Mode::PairingQrcode)?;
        }
        let mut paired = 0;
        while paired < 10 {
            let event = pumps.wait_until("code or paired", |event| is(event, "code") || is(event, "paired"))?;
            if is(&event, "paired") {
                paired += 1;
                continue;
            }
            let link: wardlink_protocol::verification::VerificationLink =
                text(&event, "link")?.parse().context("a link")?;
            wait::until("the control unit awaits the scan", || {
                Ok((ward.nurse.pairing(link.session)?.phase == PairingPhase::Verifying).then_some(()))
            })?;
            let answer = ward.nurse.verify(link.session, VerificationProof::Tag(link.tag))?;
            assert_eq!(answer.result, VerifyResult::Verified);
        }
        wait::until("every device is paired", || {
            let devices = ward.nurse.devices()?;
            Ok((devices.iter().filter(|device| device.state == DeviceState::Paired).count() == 10).then_some(()))
        })
    })
}

#[test]
fn what_changes_is_told_live() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut live = Live::connect(&ward.nurse)?;
        match live.next_event()? {
            LiveEvent::Snapshot { pairings, devices, .. } => ensure!(pairings.is_empty() && devices.is_empty()),
            other => anyhow::bail!("a live connection begins with a snapshot: {other:?}"),
        }
        let mut pump = ward.pump("ip-9")?;
        let mut phase = |wanted: PairingPhase| {
            live.wait_for(&format!("{wanted:?}"), |event| match event {
                LiveEvent::Pairing { pairing } if pairing.phase == wanted => Some(*pairing),
                _ => None,
            })
        };
        let pairing = phase(PairingPhase::Waiting)?;
        assert_eq!(pairing.device.identifier.as_str(), "ip-9");
        ward.nurse.accept(pairing.session, Mode::PairingCode)?;
        phase(PairingPhase::Accepted)?;
        let code = pump.code()?;
        let pairing = phase(PairingPhase::Verifying)?;
        ward.type_code(&pairing, &code)?;
        phase(PairingPhase::Confirmed)?;
        phase(PairingPhase::Finished)?;
        live.wait_for("a report", |event| match event {
            LiveEvent::Data { data } if data.device == pairing.device => Some(()),
            _ => None,
        })?;

        let mut late = Live::connect(&ward.administrator)?;
        match late.next_event()? {
            LiveEvent::Snapshot { devices, .. } => assert_eq!(devices.len(), 1),
            other => anyhow::bail!("a live connection begins with a snapshot: {other:?}"),
        }
        Ok(())
    })
}

#[test]
fn a_pump_without_cert_ca_is_paired_once_the_answer_is_entered_at_it() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::open(scene)?;
        ward.provisioning.cert_ca_sha256 = None;
        let (mut pump, pairing, code) = ward.pump_with_code("ip-9", Mode::PairingCode)?;
        assert_eq!(pairing.answer, None, "nobody has verified yet");
        let verified = ward.type_code(&pairing, &code)?.pairing;
        let answer = verified.answer.context("the control unit shows an answer")?;
        pump.wait_for("answer")?;
        let wrong = if answer == "0000" { "0001" } else { "0000" };
        pump.enter(wrong)?;
        let two_left = |event: &Event| is(event, "answer") && event.get("tries_left").is_some_and(|left| *left == 2);
        pump.wait_until("a try less", two_left)?;
        assert_eq!(ward.nurse.pairing(pairing.session)?.phase, PairingPhase::Confirmed);
        pump.kill();
        pump.restart()?;
        pump.wait_until("the tries that are left", two_left)?;
        pump.enter(&answer)?;
        pump.wait_for("paired")?;
        pump.wait_for("sent")?;
        let finished = wait::until("the end of the pairing", || {
            let view = ward.nurse.pairing(pairing.session)?;
            Ok((view.phase == PairingPhase::Finished).then_some(view))
        })?;
        assert_eq!(finished.answer, None);
        Ok(())
    })
}
