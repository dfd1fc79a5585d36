//! What devices may not do at the bridge, tried by hand on a real one.

use anyhow::{Result, anyhow, ensure};
use wardlink_protocol::api::{PairingPhase, VerifyResult};
use wardlink_protocol::pairing::Mode;
use wardlink_tests::impostor::{Asker, steal, steal_bare_key};
use wardlink_tests::mqtt::{Answer, Credentials, Mqtt};
use wardlink_tests::ward::{Ward, device};
use wardlink_tests::{scene, wait};

/// Filters that reach beyond any single device.
const GREEDY: [&str; 9] =
    ["#", "+/#", "ais/#", "ais/+/+", "ais/infusion-pump/+", "ais/data/#", "ais/register/+", "ais/command/#", "$SYS/#"];

fn connect(ward: &Ward<'_>, credentials: &Credentials, client_id: &str) -> Result<Mqtt> {
    Mqtt::connect(&ward.worker.broker(), credentials, client_id)?.map_err(|answer| anyhow!("not connected: {answer:?}"))
}

/// Asks on a new connection each, as a bridge may end the one on which it was asked too much.
fn refuses_all(ward: &Ward<'_>, credentials: &Credentials, read: &[&str], write: &[&str]) -> Result<()> {
    for filter in read {
        let mut mqtt = connect(ward, credentials, "greedy")?;
        let answer = mqtt.subscribe(filter)?;
        ensure!(answer.is_refusal(), "subscribing to {filter} was granted: {answer:?}");
        ensure!(mqtt.messages()?.is_empty(), "{filter} brought messages");
    }
    for topic in write {
        let answer = connect(ward, credentials, "greedy")?.publish(topic, b"hello")?;
        ensure!(answer.is_refusal(), "publishing on {topic} was granted: {answer:?}");
    }
    Ok(())
}

#[test]
fn an_unknown_key_may_only_ask() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        // The victim is accepted, so that its T2 exists and holds a command.
        let (mut victim, pairing, code) = ward.pump_with_code("ip-1", Mode::PairingCode)?;
        let read =
            ["ais/infusion-pump/ip-1", "ais/infusion-pump/ip-2", "ais/meta/infusion-pump", "ais/command/infusion-pump"];
        let write = [
            "ais/command/infusion-pump",
            "ais/infusion-pump/ip-1",
            "ais/infusion-pump/ip-2",
            "ais/renew/infusion-pump",
            "ais/meta/infusion-pump",
            "ais/data/alarm/infusion-pump/ip-1",
            "ais/data/alarm/infusion-pump/ip-2",
            "ais/ctl/command/infusion-pump/ip-1",
            "ais/register/ventilator",
            "something/else",
        ];
        for claimed in ["infusion-pump/ip-1", "infusion-pump/ip-2"] {
            let stranger = Credentials::stranger(claimed)?;
            refuses_all(&ward, &stranger, &read, &write)?;
            refuses_all(&ward, &stranger, &GREEDY, &[])?;
        }
        ward.worker.wait_for_line("may not subscribe to what is not its own")?;
        ward.worker.wait_for_line("may not publish on ais/infusion-pump/ip-2")?;
        assert_eq!(ward.type_code(&pairing, &code)?.result, VerifyResult::Verified);
        victim.wait_for("paired")?;
        Ok(())
    })
}

#[test]
fn a_paired_device_neither_reads_nor_writes_for_another() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut thief = ward.paired_pump("ip-1")?;
        let (mut victim, pairing, code) = ward.pump_with_code("ip-2", Mode::PairingCode)?;
        thief.kill();
        let (certificate, bare) = steal(&thief, &device("ip-1")?)?;
        let read = [
            "ais/infusion-pump/ip-2",
            "ais/ctl/command/infusion-pump/ip-2",
            "ais/data/alarm/infusion-pump/ip-2",
            "ais/data/alarm/infusion-pump/ip-1",
            "ais/command/infusion-pump",
            "ais/register/infusion-pump",
            "ais/ctl/+/infusion-pump/+",
            "ais/meta/ventilator",
        ];
        let write = [
            "ais/infusion-pump/ip-1",
            "ais/infusion-pump/ip-2",
            "ais/data/alarm/infusion-pump/ip-2",
            "ais/ctl/command/infusion-pump/ip-1",
            "ais/meta/infusion-pump",
            "ais/command/ventilator",
            "ais/renew/ventilator",
            "ais/data/nothing/infusion-pump/ip-1",
        ];
        refuses_all(&ward, &certificate, &read, &write)?;
        refuses_all(&ward, &certificate, &GREEDY, &[])?;
        // The bare key of a paired device may ask to pair again, and nothing more.
        refuses_all(
            &ward,
            &bare,
            &["ais/infusion-pump/ip-1", "ais/meta/infusion-pump"],
            &["ais/command/infusion-pump"],
        )?;

        let mut own = connect(&ward, &certificate, "own")?;
        for filter in ["ais/infusion-pump/ip-1", "ais/meta/infusion-pump"] {
            let answer = own.subscribe(filter)?;
            ensure!(!answer.is_refusal(), "its own {filter} was refused: {answer:?}");
        }
        // What it writes for the control unit is garbage: it is taken, and changes nothing.
        for topic in ["ais/command/infusion-pump", "ais/data/alarm/infusion-pump/ip-1"] {
            let answer = own.publish(topic, b"\xa1\x00garbage")?;
            ensure!(!answer.is_refusal(), "its own {topic} was refused: {answer:?}");
        }
        assert_eq!(ward.type_code(&pairing, &code)?.result, VerifyResult::Verified);
        victim.wait_for("paired")?;
        let announced = wait::until("the announcement of the new device", || Ok(own.messages()?.pop()))?;
        assert_eq!(announced.0, "ais/meta/infusion-pump");
        Ok(())
    })
}

#[test]
fn the_confirmation_never_goes_to_the_bare_key() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let (mut pump, pairing, code) = ward.pump_with_code("ip-1", Mode::PairingCode)?;
        pump.kill();
        let bare = steal_bare_key(&pump, &device("ip-1")?)?;
        let mut thief = connect(&ward, &bare, "thief")?;
        let answer = thief.subscribe("ais/infusion-pump/ip-1")?;
        ensure!(!answer.is_refusal(), "until the confirmation a lost command can be fetched again: {answer:?}");
        wait::until("the command once more", || Ok((!thief.messages()?.is_empty()).then_some(())))?;

        assert_eq!(ward.type_code(&pairing, &code)?.result, VerifyResult::Verified);
        thief.wait_for_end()?;
        ensure!(thief.messages()?.is_empty(), "the confirmation was sent to the bare key");
        let again = Mqtt::connect(&ward.worker.broker(), &bare, "thief")?.err();
        ensure!(again.is_some_and(Answer::is_refusal), "a confirmed device's bare key was let in");
        pump.restart()?;
        pump.wait_for("paired")?;
        Ok(())
    })
}

#[test]
fn a_proof_counts_for_one_key_and_one_host() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let broker = ward.worker.broker();
        let mut pump = ward.paired_pump("ip-1")?;
        pump.kill();
        let (certificate, bare) = steal(&pump, &device("ip-1")?)?;
        let stranger = Credentials::stranger("infusion-pump/ip-1")?;
        for (what, credentials) in [
            ("a certificate with another key", certificate.clone().with_key_of(&stranger)),
            ("a bare key that is not its own", bare.with_key_of(&stranger)),
        ] {
            let refused = Mqtt::connect(&broker, &credentials, "liar")?.err();
            ensure!(refused.is_some_and(Answer::is_refusal), "{what} was let in");
        }
        let refused = Mqtt::connect_for(&broker, "other.example", &certificate, "relayed", true)?.err();
        ensure!(refused.is_some_and(Answer::is_refusal), "a proof for another host was let in");
        connect(&ward, &certificate, "honest").map(drop)
    })
}

#[test]
fn garbage_and_foreign_requests_wake_nobody() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let stranger = Credentials::stranger("infusion-pump/ip-1")?;
        let mut mqtt = connect(&ward, &stranger, "noise")?;
        let now = wardlink_protocol::UnixMillis(1);
        // Under the right secret, but for a device and key that are not the publisher's.
        let foreign = Asker::new(&ward.provisioning, &device("ip-2")?, now)?;
        let mut cut = foreign.request.clone();
        cut.truncate(cut.len() / 2);
        for payload in [b"".as_slice(), b"\xff\xff\xff", &[0; 4000], &cut, &foreign.request] {
            mqtt.publish("ais/register/infusion-pump", payload)?;
        }
        let mut pump = ward.pump("ip-3")?;
        pump.wait_for("requested")?;
        ward.nurse.wait_for_pairing("ip-3", |pairing| pairing.phase == PairingPhase::Waiting)?;
        assert_eq!(ward.nurse.pairings()?.len(), 1, "only the honest pump is seen");
        Ok(())
    })
}
