//! MQTT 3.1.1 beside 5.0, on the real worker: our packets byte by byte, and a client that shares no code with us.

use anyhow::{Context as _, Result, anyhow, ensure};
use data_encoding::BASE64;
use mqtt_protocol_core::mqtt::packet::{
    AuthenticationData, AuthenticationMethod, Properties, Property, SubEntry, SubOpts, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{AuthReasonCode, MqttError};
use rand_core::UnwrapErr;
use wardlink_crypto::authentication::ClientAuthentication;
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::api::{PairingPhase, VerifyResult};
use wardlink_protocol::authentication::METHOD;
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::pairing::Mode;
use wardlink_tests::independent::{Attempt, attempt};
use wardlink_tests::older::{self, Older, OlderPump};
use wardlink_tests::raw::{Raw, host_of};
use wardlink_tests::scene;
use wardlink_tests::ward::{Ward, device};

const BAD_USER_NAME_OR_PASSWORD: u8 = 4;
const NOT_AUTHORIZED: u8 = 5;
const T1: &str = "ais/register/infusion-pump";
const T2: &str = "ais/infusion-pump/ip-1";
const T3: &str = "ais/command/infusion-pump";
const T4: &str = "ais/meta/infusion-pump";
const ALARM: &str = "ais/data/alarm/infusion-pump/ip-1";

fn rng() -> UnwrapErr<getrandom::SysRng> {
    UnwrapErr(getrandom::SysRng)
}

/// Pairs a pump over MQTT 3.1.1 by its code.
fn paired<'w>(ward: &'w Ward<'_>, name: &str) -> Result<OlderPump<'w>> {
    let mut pump = OlderPump::new(ward.worker.broker(), &ward.provisioning, device(name)?)?;
    let link = pump.publish()?;
    let waiting = ward.nurse.wait_for_pairing(name, |pairing| pairing.phase == PairingPhase::Waiting)?;
    ward.nurse.accept(waiting.session, Mode::PairingCode)?;
    let code = pump.take_command(link)?;
    let link = pump.publish()?;
    let pairing = ward.nurse.wait_for_pairing(name, |pairing| pairing.phase == PairingPhase::Verifying)?;
    assert_eq!(ward.type_code(&pairing, &code)?.result, VerifyResult::Verified);
    pump.finish(link)?;
    ward.nurse.wait_for_finished_pairing(name)?;
    Ok(pump)
}

#[test]
fn a_pump_pairs_over_mqtt_3_1_1() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let pump = paired(&ward, "ip-1")?;
        let view = ward.nurse.wait_for_finished_pairing("ip-1")?;
        assert_eq!(ward.nurse.device(&device("ip-1")?)?.state, DeviceState::Paired);
        assert_eq!(view.key, pump.key.public().fingerprint()?);
        let (broker, own) = (ward.worker.broker(), device("ip-1")?);
        let connect = |certificate: Option<&[u8]>, client_id: &str| -> Result<Older> {
            let token = older::token(&broker, &own, &pump.key, certificate, client_id)?;
            Older::connect(&broker, client_id, &token)?.map_err(|code| anyhow!("refused with {code}"))
        };
        let certificate = pump.certificate().context("the pump is paired")?;
        let mut link = connect(Some(certificate), "second")?;
        for (filter, granted) in
            [(T2, true), (T4, true), ("ais/#", false), ("ais/infusion-pump/ip-2", false), (ALARM, false)]
        {
            assert_eq!(link.subscribe(filter)?, granted, "{filter}");
        }
        ensure!(link.publish(ALARM, b"\xa1\x00garbage")?, "its own channel is open");
        ensure!(!link.publish("ais/data/alarm/infusion-pump/ip-2", b"x")?, "another's is not");
        ensure!(!connect(None, "third")?.publish(T3, b"x")?, "the bare key of a paired device may only ask");
        Ok(())
    })
}

#[test]
fn a_token_counts_once_also_after_the_worker_was_killed() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::open(scene)?;
        let broker = ward.worker.broker();
        let (key, own) = (PrivateKey::make(&mut rng()), device("ip-1")?);
        let token = older::token(&broker, &own, &key, None, "once")?;
        let refused = |token: &str| Ok::<_, anyhow::Error>(Older::connect(&broker, "once", token)?.err());
        assert_eq!(refused(&token)?, None);
        assert_eq!(refused(&token)?, Some(NOT_AUTHORIZED));
        // A worker that is killed takes the lines along that it has not yet written.
        ward.worker.wait_for_lines("the token was used before", 1)?;
        ward.worker.kill();
        ward.worker.restart()?;
        assert_eq!(refused(&token)?, Some(NOT_AUTHORIZED), "it was stored before it counted");
        ward.worker.wait_for_lines("the token was used before", 2)?;
        assert_eq!(refused(&older::token(&broker, &own, &key, None, "once")?)?, None);
        let elsewhere = older::token("ws://elsewhere.example/mqtt", &own, &key, None, "once")?;
        assert_eq!(refused(&elsewhere)?, Some(NOT_AUTHORIZED));
        assert_eq!(refused("no token")?, Some(BAD_USER_NAME_OR_PASSWORD));
        Ok(())
    })
}

#[test]
fn an_independent_client_gets_what_its_rights_allow() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let broker = ward.worker.broker();
        let stranger = attempt(&Attempt {
            broker: &broker,
            device: "infusion-pump/ip-9",
            client_id: "mqtt-js",
            pkcs8: None,
            x5c: None,
            steps: &[("subscribe", T2, ""), ("publish", T1, "a request"), ("publish", T3, "x"), ("subscribe", "#", "")],
        })?;
        assert_eq!(stranger.answers, ["refused", "stored", "closed", "refused"]);
        assert_eq!(stranger.again, NOT_AUTHORIZED);

        let pump = paired(&ward, "ip-1")?;
        let known = attempt(&Attempt {
            broker: &broker,
            device: "infusion-pump/ip-1",
            client_id: "mqtt-js",
            pkcs8: Some(BASE64.encode(&pump.key.to_pkcs8()?)),
            x5c: Some(vec![BASE64.encode(pump.certificate().context("the pump is paired")?)]),
            steps: &[
                ("subscribe", T2, ""),
                ("subscribe", T4, ""),
                ("publish", ALARM, "garbage"),
                ("publish", T3, "garbage"),
                ("publish", "ais/data/alarm/infusion-pump/ip-9", "x"),
                ("subscribe", "ais/infusion-pump/ip-9", ""),
            ],
        })?;
        let answers: Vec<String> = known.answers.iter().map(ToString::to_string).collect();
        assert_eq!(answers, ["1", "1", "\"stored\"", "\"stored\"", "\"closed\"", "\"refused\""]);
        Ok(())
    })
}

fn malformed(error: MqttError) -> anyhow::Error {
    anyhow!("the test made a malformed packet: {error:?}")
}

fn authentication(data: Vec<u8>) -> Result<Properties> {
    let method = AuthenticationMethod::new(METHOD).map_err(malformed)?;
    Ok(vec![method.into(), AuthenticationData::new(data).map_err(malformed)?.into()])
}

/// Connects with MQTT 5.0 in frames of that many bytes.
fn connect_newer(broker: &str, key: &PrivateKey, length: usize) -> Result<Raw> {
    let identity = ClientAuthentication::bare_key(key, &device("ip-1")?)?;
    let (client, hello) = ClientAuthentication::start(identity, "pieces", host_of(broker), &mut rng())?;
    let mut raw = Raw::dial(broker)?;
    let connect = v5_0::Connect::builder().client_id("pieces").map_err(malformed)?;
    let connect = connect.clean_start(true).props(authentication(hello)?).build().map_err(malformed)?;
    raw.send_in_pieces(&connect.to_continuous_buffer(), length);
    let challenge = raw.next_packet()?.context("no AUTH")?;
    let (challenge, _) = v5_0::Auth::parse(challenge.data_as_slice()).map_err(malformed)?;
    let challenge = challenge.props().iter().flatten().find_map(|property| match property {
        Property::AuthenticationData(data) => Some(data.val().to_vec()),
        _ => None,
    });
    let (_, proof) = client.prove(&challenge.context("the challenge is data")?, key)?;
    let auth = v5_0::Auth::builder().reason_code(AuthReasonCode::ContinueAuthentication).props(authentication(proof)?);
    raw.send_in_pieces(&auth.build().map_err(malformed)?.to_continuous_buffer(), length);
    let connack = raw.next_packet()?.context("no CONNACK")?;
    ensure!(connack.packet_type() == 2 && connack.data_as_slice().get(1) == Some(&0), "CONNACK refuses");
    Ok(raw)
}

/// SUBSCRIBE that is refused, PUBLISH that is stored, PINGREQ.
fn talk_newer(payload: &[u8]) -> Result<Vec<u8>> {
    let entry = SubEntry::new("ais/#", SubOpts::new()).map_err(malformed)?;
    let subscribe = v5_0::Subscribe::builder().packet_id(1_u16).entries(vec![entry]).build().map_err(malformed)?;
    let publish = v5_0::Publish::builder().topic_name(T1).map_err(malformed)?.payload(payload);
    let publish = publish.qos(mqtt_protocol_core::mqtt::packet::Qos::AtLeastOnce).packet_id(2_u16);
    let publish = publish.build().map_err(malformed)?;
    Ok([subscribe.to_continuous_buffer(), publish.to_continuous_buffer(), vec![0xc0, 0]].concat())
}

fn answers(raw: &mut Raw, count: usize) -> Result<Vec<u8>> {
    (0..count).map(|_| Ok(raw.next_packet()?.context("the connection has ended")?.packet_type())).collect()
}

const SUBACK: u8 = 9;
const PUBACK: u8 = 4;
const PINGRESP: u8 = 13;

#[test]
fn packets_may_be_split_over_frames_and_several_may_share_one() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let (broker, own) = (ward.worker.broker(), device("ip-1")?);
        let payload = [7; 9_000];
        for length in [1, 7, usize::MAX] {
            let key = PrivateKey::make(&mut rng());
            let mut raw = connect_newer(&broker, &key, length)?;
            raw.send_in_pieces(&talk_newer(&payload)?, length);
            assert_eq!(answers(&mut raw, 3)?, [SUBACK, PUBACK, PINGRESP], "MQTT 5.0 by {length}");

            let key = PrivateKey::make(&mut rng());
            let token = older::token(&broker, &own, &key, None, "pieces")?;
            // MQTT 3.1.1 section 3.1.4: a client need not wait for CONNACK.
            let stream = [
                older::connect("pieces", &token)?,
                older::subscribe("ais/#", 1)?,
                older::publish(T1, &payload, 2)?,
                vec![0xc0, 0],
            ];
            let mut raw = Raw::dial(&broker)?;
            raw.send_in_pieces(&stream.concat(), length);
            assert_eq!(answers(&mut raw, 4)?, [2, SUBACK, PUBACK, PINGRESP], "MQTT 3.1.1 by {length}");
        }
        Ok(())
    })
}

#[test]
fn what_is_no_mqtt_ends_its_own_connection_with_a_line_in_the_log() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let (broker, own) = (ward.worker.broker(), device("ip-1")?);
        let key = PrivateKey::make(&mut rng());
        let mut witness = connect_newer(&broker, &key, usize::MAX)?;
        let older = || -> Result<Raw> {
            let key = PrivateKey::make(&mut rng());
            let token = older::token(&broker, &own, &key, None, "wrong")?;
            Older::connect(&broker, "wrong", &token)?.map(|link| link.raw).map_err(|code| anyhow!("refused: {code}"))
        };
        let newer = || connect_newer(&broker, &PrivateKey::make(&mut rng()), usize::MAX);
        let first = |bytes: &[u8]| -> Result<()> {
            let mut raw = Raw::dial(&broker)?;
            raw.send(bytes);
            while raw.next_packet()?.is_some() {}
            Ok(())
        };
        first(&[0x40, 2, 0, 1])?;
        first(&[0xc0, 0])?;
        ward.worker.wait_for_lines("it does not begin with CONNECT", 2)?;
        first(b"\x10\x10\x00\x04MQTT\x04\x01\x00\x3c\x00\x04pump")?;
        first(b"\x10\x11\x00\x04MQTT\x05\x01\x00\x3c\x00\x00\x04pump")?;
        ward.worker.wait_for_lines("CONNECT is refused: MalformedPacket", 2)?;
        let wrong: [&[u8]; 5] =
            [&[0x30, 0xff, 0xff, 0xff, 0xff], &[0x82, 2, 0, 0], &[0x62, 2, 0, 1], &[0xf0, 0], &[0x36, 3, 0, 1, b'a']];
        for bytes in wrong {
            for mut raw in [older()?, newer()?] {
                raw.send(bytes);
                while raw.next_packet()?.is_some() {}
            }
        }
        for mut raw in [older()?, newer()?] {
            raw.send_text("hello");
            while raw.next_packet()?.is_some() {}
        }
        ward.worker.wait_for_lines("it is disconnected", 2 * wrong.len() + 2)?;
        witness.send(&[0xc0, 0]);
        assert_eq!(answers(&mut witness, 1)?, [PINGRESP], "nobody else is harmed");
        Ok(())
    })
}
