//! What bad requests get: a refusal, a line in the log, and nobody's pairing is disturbed.

use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use wardlink_agent::clock;
use wardlink_protocol::api::{PairingPhase, ProblemKind, Role, VerificationProof, VerifyResult};
use wardlink_protocol::pairing::{Mode, RefusalReason};
use wardlink_protocol::provisioning::{AccessSecret, Provisioning};
use wardlink_protocol::verification::VerificationLink;
use wardlink_tests::api::{Api, refusal};
use wardlink_tests::impostor::{Asker, Stolen, Twin, copy_of, hello_of};
use wardlink_tests::mqtt::{Answer, Credentials, Mqtt};
use wardlink_tests::pump::{Pump, is, text, wrong};
use wardlink_tests::scene;
use wardlink_tests::ward::{Ward, device};
use wardlink_tests::wire::Wire;
use wardlink_tests::wire::usurper::Usurper;
use wardlink_tests::{Scene, wait};

fn open(scene: &Scene) -> Result<Ward<'_>> {
    Ward::open(scene)
}

fn connect(ward: &Ward<'_>, credentials: &Credentials, client_id: &str) -> Result<Mqtt> {
    Mqtt::connect(&ward.worker.broker(), credentials, client_id)?.map_err(|answer| anyhow!("not connected: {answer:?}"))
}

/// A device that asks as itself; its request is stored by the bridge.
fn ask(ward: &Ward<'_>, provisioning: &Provisioning, identifier: &str) -> Result<(Asker, Mqtt)> {
    let asker = Asker::new(provisioning, &device(identifier)?, clock::now())?;
    let mut mqtt = connect(ward, &asker.credentials, identifier)?;
    let answer = mqtt.publish(&asker.topic, &asker.request)?;
    ensure!(!answer.is_refusal(), "the bridge did not take the request: {answer:?}");
    Ok((asker, mqtt))
}

/// Whatever was asked before, an honest pump is paired, and nobody else is to be seen.
fn only_the_honest_pump_is_paired(ward: &Ward<'_>, identifier: &str) -> Result<()> {
    ward.paired_pump(identifier)?;
    let pairings = ward.nurse.pairings()?;
    ensure!(pairings.len() == 1 && ward.nurse.devices()?.len() == 1, "somebody else was taken in: {pairings:?}");
    Ok(())
}

#[test]
fn a_request_under_a_wrong_access_secret_is_refused_and_logged() -> Result<()> {
    scene(|scene| {
        let ward = open(scene)?;
        let mut guessed = ward.provisioning.clone();
        guessed.secret = AccessSecret::new(vec![7; 32])?;
        ask(&ward, &guessed, "ip-1")?;
        ward.worker.wait_for_line("on ais/register/infusion-pump does not count: ")?;
        let mut unknown = ward.provisioning.clone();
        unknown.secret_id = "hospital-0".parse()?;
        ask(&ward, &unknown, "ip-2")?;
        ward.worker.wait_for_line("ip-2 asks under the access secret hospital-0, which does not count for it")?;
        only_the_honest_pump_is_paired(&ward, "ip-3")
    })
}

#[test]
fn a_secret_of_one_device_is_no_secret_of_another() -> Result<()> {
    scene(|scene| {
        let ward = open(scene)?;
        let own = ward.administrator.provisioning_of("ip-1")?;
        ask(&ward, &own, "ip-2")?;
        ward.worker.wait_for_line("ip-2 asks under the access secret")?;
        let (_, _mqtt) = ask(&ward, &own, "ip-1")?;
        ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Waiting)?;
        assert_eq!(ward.nurse.pairings()?.len(), 1);
        Ok(())
    })
}

#[test]
fn a_request_that_is_replayed_or_cut_short_changes_nothing() -> Result<()> {
    scene(|scene| {
        let ward = open(scene)?;
        let (asker, mut mqtt) = ask(&ward, &ward.provisioning, "ip-1")?;
        let before = ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Waiting)?;
        // By the device itself: the same bytes are the same request.
        mqtt.publish(&asker.topic, &asker.request)?;
        // By somebody who listened: the bridge's stamp names another key.
        let mut thief = connect(&ward, &Credentials::stranger("infusion-pump/ip-1")?, "thief")?;
        thief.publish(&asker.topic, &asker.request)?;
        ward.worker.wait_for_line("does not count: the publisher does not belong to the session")?;
        for length in [0, 1, asker.request.len() / 2, asker.request.len() - 1] {
            // A key that has sent junk is not heard for a while: each part comes from another one.
            let mut other = connect(&ward, &Credentials::stranger("infusion-pump/ip-1")?, "other")?;
            other.publish(&asker.topic, asker.request.get(..length).context("a part of the request")?)?;
        }
        ward.worker.wait_for_lines("on ais/register/infusion-pump does not count: ", 5)?;
        let pairings = ward.nurse.pairings()?;
        assert_eq!(pairings.len(), 1, "one request is one pairing");
        assert_eq!(pairings.first(), Some(&before), "it stands as it stood");
        Ok(())
    })
}

#[test]
fn a_request_with_a_foreign_certification_request_is_refused() -> Result<()> {
    scene(|scene| {
        let ward = open(scene)?;
        // The thief's own key proves itself to the bridge; the request inside was signed by another one.
        let foreign = Asker::new(&ward.provisioning, &device("ip-1")?, clock::now())?;
        let mut thief = connect(&ward, &Credentials::stranger("infusion-pump/ip-1")?, "thief")?;
        thief.publish(&foreign.topic, &foreign.request)?;
        ward.worker.wait_for_line("does not count: the publisher does not belong to the session")?;
        // Its own key, but another device's name.
        let other = Asker::new(&ward.provisioning, &device("ip-2")?, clock::now())?;
        let mut liar = connect(&ward, &Credentials::stranger("infusion-pump/ip-1")?, "liar")?;
        liar.publish(&other.topic, &other.request)?;
        ward.worker.wait_for_lines("does not count: the publisher does not belong to the session", 2)?;
        only_the_honest_pump_is_paired(&ward, "ip-1")
    })
}

#[test]
fn a_second_different_request_in_a_session_ends_it() -> Result<()> {
    scene(|scene| {
        let ward = open(scene)?;
        let Twin { credentials, topic, first, second } = Twin::new(&ward.provisioning, &device("ip-1")?, clock::now())?;
        let mut mqtt = connect(&ward, &credentials, "twin")?;
        mqtt.publish(&topic, &first)?;
        let waiting = ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Waiting)?;
        mqtt.publish(&topic, &second)?;
        let ended = ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Ended)?;
        assert_eq!((ended.session, ended.reason), (waiting.session, Some(RefusalReason::ProtocolViolation)));
        ward.worker.wait_for_line("of infusion-pump/ip-1: Ended")?;
        ensure!(ward.nurse.accept(ended.session, Mode::PairingCode).is_err(), "it cannot be accepted any more");
        Ok(())
    })
}

#[test]
fn names_that_are_parts_of_other_topics_are_refused() -> Result<()> {
    scene(|scene| {
        let ward = open(scene)?;
        let broker = ward.worker.broker();
        let host = broker.trim_start_matches("ws://").trim_end_matches("/mqtt").to_owned();
        let honest = Mqtt::refusal_of_hello(&broker, &hello_of("infusion-pump", "ip-1", &host)?)?;
        ensure!(honest.is_none(), "a name of the right form was refused: {honest:?}");
        for name in [
            "register/ip-1",
            "command/infusion-pump",
            "infusion-pump/register",
            "meta/infusion-pump",
            "data/alarm",
            "ctl/command",
            "renew/infusion-pump",
            "infusion-pump/+",
            "#/ip-1",
            "infusion-pump/ip-1/x",
            "/ip-1",
            "infusion-pump/",
            "Infusion-Pump/ip-1",
        ] {
            let (client, identifier) = name.split_once('/').context("two parts")?;
            let refused = Mqtt::refusal_of_hello(&broker, &hello_of(client, identifier, &host)?)?;
            ensure!(refused.is_some_and(Answer::is_refusal), "a device called {name} was let in");
        }
        // A device of the right form asks on topics that are no class's.
        let (asker, _mqtt) = ask(&ward, &ward.provisioning, "ip-1")?;
        for topic in ["ais/register/command", "ais/register/meta", "ais/register/infusion-pump/ip-1", "ais/register/"] {
            let answer = connect(&ward, &asker.credentials, "misled")?.publish(topic, &asker.request)?;
            ensure!(answer.is_refusal(), "a request on {topic} was taken: {answer:?}");
        }
        assert_eq!(ward.nurse.pairings()?.len(), 1);
        Ok(())
    })
}

#[test]
fn a_stolen_device_certificate_does_nothing_for_a_pairing_of_another() -> Result<()> {
    scene(|scene| {
        let ward = open(scene)?;
        let mut paired = ward.paired_pump("ip-1")?;
        paired.kill();
        let (certificate, _) = wardlink_tests::impostor::steal(&paired, &device("ip-1")?)?;
        let (mut victim, pairing, code) = ward.pump_with_code("ip-2", Mode::PairingCode)?;
        // Made for data, not for asking: the wrong purpose for T1, and the wrong key for ip-2's session on T3.
        let asker = Asker::new(&ward.provisioning, &device("ip-1")?, clock::now())?;
        let mut thief = connect(&ward, &certificate, "thief")?;
        let answer = thief.publish(&asker.topic, &asker.request)?;
        ensure!(answer.is_refusal(), "a certificate asked on T1: {answer:?}");
        thief.publish("ais/command/infusion-pump", &asker.request)?;
        ward.worker.wait_for_line("on ais/command/infusion-pump does not count: ")?;
        ward.type_code(&pairing, &code)?;
        victim.wait_for("paired")?;
        Ok(())
    })
}

#[test]
fn a_command_of_somebody_without_the_control_units_key_is_refused() -> Result<()> {
    scene(|scene| {
        let mut ward = open(scene)?;
        let wire = Wire::open(ward.worker.port())?;
        (ward.provisioning.broker, ward.provisioning.web_origin) = (wire.broker(), wire.origin());
        let mut pump = ward.pump("ip-1")?;
        pump.wait_for("requested")?;
        let key = Stolen::from(copy_of(&pump.state())?.path(), &device("ip-1")?)?.fingerprint;
        let (secret, origin) = (ward.provisioning.secret.clone(), wire.origin());
        let usurper = Usurper { secret, device: device("ip-1")?, key, origin, now: clock::now() };
        // The request has passed: it comes again on the next connection, and is the same.
        wire.forge_command(move |request| usurper.command(request));
        wire.cut();
        pump.wait_for("requested")?;
        let waiting = ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Waiting)?;
        wire.api(&ward.nurse).accept(waiting.session, Mode::PairingCode)?;
        let refused = pump.wait_until("the refusal", |event| is(event, "error") || is(event, "code"))?;
        let message = text(&refused, "message")?;
        ensure!(message.contains("a message of the control unit was refused"), "the pump says {message}");
        assert_eq!(ward.nurse.pairing(waiting.session)?.phase, PairingPhase::Accepted, "it answered nobody");

        // The control unit's own command still counts.
        wire.cut();
        let code = pump.code()?;
        let pairing = ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Verifying)?;
        assert_eq!(ward.type_code(&pairing, &code)?.result, VerifyResult::Verified);
        pump.wait_for("paired")?;
        Ok(())
    })
}

#[test]
fn the_qr_code_of_another_pump_or_of_an_old_session_counts_for_nothing() -> Result<()> {
    scene(|scene| {
        let ward = open(scene)?;
        let shown = |name: &str, session| -> Result<VerificationLink> {
            let mut pump =
                Pump::start_with(scene, &ward.provisioning, &format!("{name}-{session}"), &["--identifier", name])?;
            let waiting = ward.nurse.wait_for_pairing(name, |pairing| pairing.phase == PairingPhase::Waiting)?;
            ward.nurse.accept(waiting.session, Mode::PairingQrcode)?;
            let link = pump.link()?;
            ward.nurse.wait_for_pairing(name, |pairing| pairing.phase == PairingPhase::Verifying)?;
            Ok(link)
        };
        let (other, old) = (shown("ip-1", 1)?, shown("ip-2", 1)?);
        ward.nurse.act(old.session, "cancel")?;
        let present = shown("ip-2", 2)?;
        ensure!(present.session != old.session && present.tag != old.tag, "a new session has another code");
        for (left, link) in [(2, &other), (1, &old)] {
            let answer = ward.nurse.verify(present.session, VerificationProof::Tag(link.tag))?;
            assert_eq!((answer.result, answer.pairing.attempts_left), (VerifyResult::Wrong, left));
        }
        let late = ward.nurse.verify(old.session, VerificationProof::Tag(old.tag));
        assert_eq!(refusal(late)?, ProblemKind::WrongState);
        ward.worker.wait_for_lines(&format!("pairing {}: Wrong", present.session), 2)?;
        let answer = ward.nurse.verify(present.session, VerificationProof::Tag(present.tag))?;
        assert_eq!(answer.result, VerifyResult::Verified, "its own code still counts");
        Ok(())
    })
}

#[test]
fn two_nurses_at_one_pump_pair_it_once() -> Result<()> {
    scene(|scene| {
        let ward = open(scene)?;
        let (_, other) = ward.administrator.add_person("noor", Role::Nurse)?;
        let both = [&ward.nurse, &other];
        let mut pump = ward.pump("ip-1")?;
        let waiting = ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Waiting)?;
        let accepted = at_once(both, |nurse| nurse.accept(waiting.session, Mode::PairingCode))?;
        assert_eq!(accepted.iter().filter(|outcome| outcome.is_ok()).count(), 1, "one of them accepts");
        for late in accepted.into_iter().filter(Result::is_err) {
            assert_eq!(refusal(late)?, ProblemKind::WrongState);
        }
        let code = pump.code()?;
        let pairing = ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Verifying)?;
        assert_eq!(other.verify(pairing.session, wrong(&code, 1))?.pairing.attempts_left, 2);
        assert_eq!(ward.nurse.pairing(pairing.session)?.attempts_left, 2, "they share the attempts");
        let typed = at_once(both, |nurse| nurse.verify(pairing.session, VerificationProof::Code(code.clone())))?;
        let mut verified = 0;
        for outcome in typed {
            match outcome {
                Ok(answer) => {
                    assert_eq!(answer.result, VerifyResult::Verified, "nobody is told that the right code is wrong");
                    verified += 1;
                }
                late => assert_eq!(refusal(late)?, ProblemKind::WrongState),
            }
        }
        ensure!(verified > 0, "nobody verified it");
        ward.wait_until_paired(&mut pump, "ip-1")?;
        assert_eq!((ward.nurse.devices()?.len(), ward.nurse.pairings()?.len()), (1, 1));
        ward.worker.wait_for_line("infusion-pump/ip-1 is paired, certificate ")
    })
}

/// Two people do the same at the same time.
fn at_once<T: Send>(people: [&Api; 2], act: impl Fn(&Api) -> Result<T> + Sync) -> Result<Vec<Result<T>>> {
    thread::scope(|scope| {
        let acts = people.map(|person| {
            let act = &act;
            scope.spawn(move || act(person))
        });
        acts.into_iter().map(|act| act.join().map_err(|_| anyhow!("somebody panicked"))).collect()
    })
}

#[test]
fn each_wrong_code_stands_in_the_log() -> Result<()> {
    scene(|scene| {
        let ward = open(scene)?;
        let (mut pump, pairing, code) = ward.pump_with_code("ip-1", Mode::PairingCode)?;
        for attempt in 1..=3 {
            ward.nurse.verify(pairing.session, wrong(&code, attempt))?;
        }
        assert_eq!(text(&pump.wait_for("refused")?, "reason")?, "wrong_code");
        ward.worker.wait_for_lines(&format!("pairing {}: Wrong", pairing.session), 3)?;
        wait::until("the pairing's end", || {
            Ok((ward.nurse.pairing(pairing.session)?.phase == PairingPhase::Ended).then_some(()))
        })
    })
}
