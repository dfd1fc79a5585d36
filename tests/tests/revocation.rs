//! The end of trust: at once, whole, and seen.

use anyhow::{Result, anyhow, ensure};
use wardlink_protocol::Device;
use wardlink_protocol::api::{
    LiveEvent, NewRevocation, PairingPhase, ProblemKind, Revocation, RevocationReason, Role, VerifyResult,
};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::pairing::Mode;
use wardlink_tests::api::refusal;
use wardlink_tests::impostor::{Asker, steal, steal_bare_key};
use wardlink_tests::live::Live;
use wardlink_tests::mqtt::{Answer, Credentials, Mqtt};
use wardlink_tests::pump::{Pump, is};
use wardlink_tests::ward::{Ward, device};
use wardlink_tests::{scene, wait};

fn connect(ward: &Ward<'_>, credentials: &Credentials, client_id: &str) -> Result<Mqtt> {
    Mqtt::connect(&ward.worker.broker(), credentials, client_id)?.map_err(|answer| anyhow!("not connected: {answer:?}"))
}

fn is_refused(ward: &Ward<'_>, credentials: &Credentials) -> Result<bool> {
    Ok(Mqtt::connect(&ward.worker.broker(), credentials, "again")?.err().is_some_and(Answer::is_refusal))
}

fn only(revocations: Vec<Revocation>) -> Result<Revocation> {
    let [revocation] = <[_; 1]>::try_from(revocations).map_err(|found| anyhow!("one revocation, not {found:?}"))?;
    Ok(revocation)
}

#[test]
fn a_revoked_pump_is_cut_off_before_the_answer_and_stays_out_whatever_it_shows() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut pump = ward.paired_pump("ip-1")?;
        let mut other = ward.paired_pump("ip-2")?;
        pump.kill();
        let device = device("ip-1")?;
        let (certificate, bare) = steal(&pump, &device)?;
        let mut session = connect(&ward, &certificate, "own")?;
        for topic in ["ais/infusion-pump/ip-1", "ais/meta/infusion-pump"] {
            ensure!(!session.subscribe(topic)?.is_refusal(), "{topic}");
        }
        let before = ward.administrator.device(&device)?;

        let revoked = only(ward.administrator.revoke(std::slice::from_ref(&device))?)?;
        ensure!(
            revoked.cut_at.is_some_and(|at| at >= revoked.revoked_at),
            "the answer came before the cut: {revoked:?}"
        );
        assert_eq!((revoked.certificate, revoked.attempts), (Some(before.certificate), 0));
        session.wait_for_end()?;
        ensure!(session.messages()?.is_empty(), "something was delivered after the answer");

        for shown in [&certificate, &bare] {
            ensure!(is_refused(&ward, shown)?, "a revoked device was let in");
        }
        // With a new key it may connect, as anybody may who wants to ask; it is not heard.
        let stranger = Asker::new(&ward.provisioning, &device, revoked.revoked_at)?;
        let mut mqtt = connect(&ward, &stranger.credentials, "new")?;
        mqtt.publish(&stranger.topic, &stranger.request)?;
        let attempts = wait::until("every attempt is counted", || {
            let view = ward.administrator.device(&device)?;
            let attempts = view.revocation.map(|revocation| (revocation.attempts, revocation.last_attempt));
            Ok(attempts.filter(|(attempts, _)| *attempts >= 2))
        })?;
        ensure!(attempts.1.is_some_and(|at| at >= revoked.revoked_at), "{attempts:?}");
        ward.worker.wait_for_line("ip-1 is revoked and tries to come back")?;
        ensure!(ward.nurse.pairings()?.iter().all(|pairing| pairing.phase != PairingPhase::Waiting), "it was heard");
        assert_eq!(ward.administrator.device(&device)?.state, DeviceState::Revoked);
        // The others go on.
        let seen = other.seen().iter().filter(|event| is(event, "sent")).count();
        wait::until("the other pump goes on", || {
            other.poll()?;
            Ok((other.seen().iter().filter(|event| is(event, "sent")).count() > seen).then_some(()))
        })
    })
}

#[test]
fn a_revocation_outlives_the_worker_and_a_revoked_pump_pairs_again_only_when_an_administrator_says_so() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::open(scene)?;
        let mut pump = ward.paired_pump("ip-1")?;
        let device = device("ip-1")?;
        let before = ward.administrator.device(&device)?;
        ward.administrator.revoke(std::slice::from_ref(&device))?;
        pump.kill();
        let (certificate, _) = steal(&pump, &device)?;
        ward.worker.kill();
        ward.worker.restart()?;
        ensure!(is_refused(&ward, &certificate)?, "the restart forgot a revocation");
        assert_eq!(only(ward.administrator.get("revocations")?)?.device, device);

        let again = refusal(ward.administrator.revoke(std::slice::from_ref(&device)))?;
        assert_eq!(again, ProblemKind::WrongState, "a second revocation");
        assert_eq!(ward.administrator.reinstate(&device)?.state, DeviceState::Unknown);
        assert_eq!(
            refusal(ward.administrator.reinstate(&device))?,
            ProblemKind::WrongState,
            "there is nothing to lift"
        );
        ensure!(is_refused(&ward, &certificate)?, "the old certificate counts again");
        assert_eq!(ward.administrator.get::<Vec<Revocation>>("revocations")?, []);

        let mut fresh = Pump::start_with(scene, &ward.provisioning, "fresh", &["--identifier", "ip-1"])?;
        let (pairing, code) = ward.accept(&mut fresh, "ip-1", Mode::PairingCode)?;
        ensure!(!pairing.replaces, "a revoked device has nothing that could be replaced");
        assert_eq!(ward.type_code(&pairing, &code)?.result, VerifyResult::Verified);
        ward.wait_until_paired(&mut fresh, "ip-1")?;
        let after = ward.administrator.device(&device)?;
        assert_eq!((after.state, after.revocation), (DeviceState::Paired, None));
        ensure!(after.key != before.key && after.certificate != before.certificate, "the old identity is back");
        Ok(())
    })
}

#[test]
fn a_pump_that_was_given_its_keys_and_did_not_finish_can_be_revoked() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let (mut pump, pairing, code) = ward.pump_with_code("ip-1", Mode::PairingCode)?;
        pump.kill();
        let device = device("ip-1")?;
        let bare = steal_bare_key(&pump, &device)?;
        ward.type_code(&pairing, &code)?;
        ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Confirmed)?;
        ensure!(ward.administrator.devices()?.is_empty(), "it is not paired yet");
        let revoked = only(ward.administrator.revoke(std::slice::from_ref(&device))?)?;
        ensure!(revoked.certificate.is_some(), "the certificate that it was given is revoked: {revoked:?}");
        ensure!(is_refused(&ward, &bare)?, "its key still counts");
        assert_eq!(ward.administrator.device(&device)?.state, DeviceState::Revoked, "it is seen");
        ensure!(ward.nurse.pairings()?.is_empty(), "its pairing is out of sight");
        Ok(())
    })
}

#[test]
fn only_an_administrator_revokes_and_all_or_nothing() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let _pumps = [ward.paired_pump("ip-1")?, ward.paired_pump("ip-2")?];
        let devices = [device("ip-1")?, device("ip-2")?];
        let (_, engineer) = ward.administrator.add_person("emil", Role::BiomedicalEngineer)?;
        let (_, auditor) = ward.administrator.add_person("otto", Role::Auditor)?;
        for person in [&ward.nurse, &engineer, &auditor] {
            assert_eq!(refusal(person.revoke(&devices))?, ProblemKind::Forbidden);
            assert_eq!(refusal(person.reinstate(&devices[0]))?, ProblemKind::Forbidden);
            assert_eq!(person.get::<Vec<Revocation>>("revocations")?, []);
        }
        let with_unknown: Vec<Device> = devices.iter().cloned().chain([device("ip-9")?]).collect();
        assert_eq!(refusal(ward.administrator.revoke(&with_unknown))?, ProblemKind::NotFound);
        assert_eq!(refusal(ward.administrator.revoke(&[]))?, ProblemKind::BadRequest);
        let silent = NewRevocation { devices: devices.to_vec(), reason: RevocationReason::Other, note: " ".to_owned() };
        let refused = refusal(ward.administrator.post::<Vec<Revocation>>("revocations", &silent))?;
        assert_eq!(refused, ProblemKind::BadRequest, "another reason needs a word");
        for device in &devices {
            assert_eq!(ward.administrator.device(device)?.state, DeviceState::Paired, "nothing has changed");
        }
        let mut live = Live::connect(&ward.nurse)?;
        assert_eq!(ward.administrator.revoke(&devices)?.len(), 2);
        for wanted in &devices {
            live.wait_for("the revocation, told live", |event| match event {
                LiveEvent::Device { device } => {
                    let cut = device.revocation.as_ref().is_some_and(|revocation| revocation.cut_at.is_some());
                    (device.device == *wanted && cut).then_some(())
                }
                _ => None,
            })?;
        }
        Ok(())
    })
}

/// How often a revocation races with a message.
const TRIALS: u32 = 4;

#[test]
fn nothing_that_happens_after_the_answer_reaches_a_revoked_device() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        for trial in 0..TRIALS {
            let name = format!("ip-{trial}");
            let mut pump = ward.paired_pump(&name)?;
            pump.kill();
            let device = device(&name)?;
            let (certificate, _) = steal(&pump, &device)?;
            let mut thief = connect(&ward, &certificate, "thief")?;
            ensure!(!thief.subscribe("ais/meta/infusion-pump")?.is_refusal(), "T4");
            // The pairing of one pump is announced in the same moment, that of another one after the answer.
            let (mut first, its_pairing, its_code) =
                ward.pump_with_code(&format!("{name}-first"), Mode::PairingCode)?;
            let (mut second, pairing, code) = ward.pump_with_code(&format!("{name}-second"), Mode::PairingCode)?;
            let administrator = ward.administrator.clone();
            let revoking = std::thread::spawn(move || administrator.revoke(&[device]));
            ward.type_code(&its_pairing, &its_code)?;
            revoking.join().map_err(|_| anyhow!("a thread panicked"))??;
            ward.type_code(&pairing, &code)?;
            first.wait_for("paired")?;
            second.wait_for("paired")?;
            thief.wait_for_end()?;
            let messages = thief.messages()?;
            ensure!(messages.len() <= 1, "trial {trial}: the second announcement was delivered after the answer");
        }
        Ok(())
    })
}
