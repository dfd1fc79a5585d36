//! Devices behind a real reverse proxy: which network they come over, and the certificate that they show in TLS.

use anyhow::{Context as _, Result, ensure};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use mqtt_protocol_core::mqtt::packet::{v3_1_1, v5_0};
use wardlink_agent::clock;
use wardlink_agent::state::{Record, StateDirectory};
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::{Holder, RootCa, Validity};
use wardlink_pairing::device::{Credential, DevicePairing};
use wardlink_protocol::api::{PairingPhase, PairingView, ProblemKind, VerificationProof};
use wardlink_protocol::identity::TrustLevel;
use wardlink_protocol::network::{Network, NetworkMatch, SecuredNetwork};
use wardlink_protocol::pairing::Mode;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_tests::api::{Api, refusal};
use wardlink_tests::impostor::copy_of;
use wardlink_tests::nginx::{MARKER, PROXY_SECRET, Proxied, Relay};
use wardlink_tests::older::subscribe;
use wardlink_tests::pump::Pump;
use wardlink_tests::raw::Raw;
use wardlink_tests::ward::device;
use wardlink_tests::worker::Host;
use wardlink_tests::{scene, wait};

/// CONNACK of MQTT 3.1.1 (section 3.2.2.3) and 5.0 (section 3.2.2.2).
const BAD_USER_NAME_OR_PASSWORD: u8 = 4;
const NOT_AUTHORIZED: u8 = 5;
const NOT_AUTHORIZED_5: u8 = 0x87;
const BAD_AUTHENTICATION_METHOD_5: u8 = 0x8C;
/// The ward's range, and an address in it, from which nobody comes.
const WARD_RANGE: &str = "10.20.0.0/16";
const WARD_ADDRESS: &str = "10.20.0.9";

/// Calls the ward's network secured: by its marker, and by a range of addresses.
fn secure(administrator: &Api, range: &str) -> Result<()> {
    let network = |name: &str, by| SecuredNetwork { name: name.to_owned(), by };
    let networks = vec![
        network("Ward, by range", NetworkMatch::Range(range.parse()?)),
        network("Ward, by marker", NetworkMatch::Marker(MARKER.parse()?)),
    ];
    administrator.change_policy(|policy| policy.secured_networks = networks)?;
    Ok(())
}

fn waiting(api: &Api, identifier: &str) -> Result<PairingView> {
    api.wait_for_pairing(identifier, |pairing| pairing.phase == PairingPhase::Waiting)
}

/// Nobody pairs this request without verification.
fn refuses_simple(api: &Api, pairing: &PairingView) -> Result<()> {
    assert_eq!(pairing.network, Network::Untrusted);
    assert!(!pairing.modes.contains(&Mode::PairingSimple), "{:?}", pairing.modes);
    assert_eq!(refusal(api.accept(pairing.session, Mode::PairingSimple))?, ProblemKind::ModeNotAllowed);
    Ok(())
}

/// Pairs a pump that asks by its code.
fn pair_by_code(api: &Api, pump: &mut Pump<'_>, identifier: &str) -> Result<()> {
    let session = waiting(api, identifier)?.session;
    api.accept(session, Mode::PairingCode)?;
    let code = pump.code()?;
    api.wait_for_pairing(identifier, |pairing| pairing.phase == PairingPhase::Verifying)?;
    api.verify(session, VerificationProof::Code(code))?;
    pump.wait_for("paired")?;
    api.wait_for_finished_pairing(identifier).map(drop)
}

/// The certificate that a pump would show now, with its key.
fn certificate_of(pump: &Pump<'_>, device: &Device) -> Result<(Vec<u8>, PrivateKey)> {
    let copy = copy_of(&pump.state())?;
    let state = StateDirectory::open(copy.path(), device)?;
    let key = PrivateKey::from_pkcs8(&state.read(Record::StaticKey)?.context("the pump has a key")?)?;
    let pairing = DevicePairing::restore(&state.read(Record::Pairing)?.context("the pump pairs")?)?;
    match pairing.plan().credential {
        Credential::Certificate(certificate) => Ok((certificate.to_vec(), key)),
        Credential::BareKey => anyhow::bail!("the pump has no certificate"),
    }
}

/// Connects as a client that shows nothing in MQTT itself; returns CONNACK's code, too.
fn connect(broker: &str, packet: &[u8]) -> Result<(Raw, u8)> {
    let mut raw = Raw::dial(broker)?;
    raw.send(packet);
    let connack = raw.next_packet()?.context("the bridge closed the connection without a word")?;
    ensure!(connack.packet_type() == 2, "no CONNACK but a packet of type {}", connack.packet_type());
    let code = *connack.data_as_slice().get(1).context("CONNACK has a code")?;
    Ok((raw, code))
}

fn older_connect() -> Vec<u8> {
    let builder = v3_1_1::Connect::builder().client_id("monitor").unwrap_or_default();
    builder.clean_session(true).keep_alive(60).build().map(|packet| packet.to_continuous_buffer()).unwrap_or_default()
}

fn newer_connect() -> Vec<u8> {
    let builder = v5_0::Connect::builder().client_id("monitor").unwrap_or_default();
    builder.clean_start(true).keep_alive(60).build().map(|packet| packet.to_continuous_buffer()).unwrap_or_default()
}

/// What both versions of MQTT answer to a client that shows nothing in MQTT itself.
fn answers(relay: &Relay) -> Result<(u8, u8)> {
    Ok((connect(&relay.broker(), &older_connect())?.1, connect(&relay.broker(), &newer_connect())?.1))
}

/// Whether a client of MQTT 3.1.1 may subscribe there.
fn reads(raw: &mut Raw, topic: &str) -> Result<bool> {
    raw.send(&subscribe(topic, 7)?);
    while let Some(packet) = raw.next_packet()? {
        if packet.packet_type() == 9 {
            return Ok(packet.data_as_slice().last().is_some_and(|code| *code < 0x80));
        }
    }
    Ok(false)
}

#[test]
fn a_pump_pairs_through_nginx_and_shows_its_certificate_in_tls() -> Result<()> {
    scene(|scene| {
        // As on one machine: everything, the web app too, comes through nginx.
        let proxied = Proxied::start_under(scene, Host::WithPages, "proxy")?;
        let page = proxied.nginx.api().page("/", "none")?;
        assert_eq!(page.headers().get("content-type").context("a page says its type")?, "text/html; charset=utf-8");
        let administrator = proxied.nginx.api().bootstrap()?;
        let mut pump = Pump::start(scene, &administrator.provisioning()?, "ip-1")?;
        assert_eq!(waiting(&administrator, "ip-1")?.address, Some("127.0.0.1".parse()?));
        pair_by_code(&administrator, &mut pump, "ip-1")?;
        pump.wait_for("sent")?;

        pump.kill();
        let subject = "CN=ip-1,OU=infusion-pump";
        wait::until("nginx has seen the certificate", || Ok(proxied.nginx.has_seen(subject)?.then_some(())))
            .context("the pump showed none in TLS")
    })
}

#[test]
fn only_over_the_marked_network_a_pump_pairs_by_simple() -> Result<()> {
    scene(|scene| {
        let proxied = Proxied::start(scene, "proxy")?;
        let administrator = proxied.nginx.ward_api().bootstrap()?;
        secure(&administrator, WARD_RANGE)?;
        let provisioning = administrator.provisioning()?;
        assert_eq!(provisioning.broker, proxied.nginx.ward_broker());

        let mut pump = Pump::start(scene, &provisioning, "ip-1")?;
        let request = waiting(&administrator, "ip-1")?;
        assert_eq!((request.network, request.modes.first()), (Network::Secured, Some(&Mode::PairingSimple)));
        administrator.accept(request.session, Mode::PairingSimple)?;
        pump.wait_for("paired")?;
        administrator.wait_for_finished_pairing("ip-1")?;
        let simple = administrator.device(&device("ip-1")?)?;
        assert_eq!((simple.trust, simple.mode), (TrustLevel::Reduced, Mode::PairingSimple));
        assert!(simple.channels.iter().all(|channel| channel.as_str() != "command"), "{:?}", simple.channels);

        // The same hospital, but from elsewhere.
        let mut provisioning = provisioning;
        provisioning.broker = proxied.nginx.broker();
        let _stranger = Pump::start(scene, &provisioning, "ip-2")?;
        refuses_simple(&administrator, &waiting(&administrator, "ip-2")?)
    })
}

#[test]
fn forged_header_fields_make_no_network_secured() -> Result<()> {
    scene(|scene| {
        let proxied = Proxied::start(scene, "proxy")?;
        let administrator = proxied.nginx.api().bootstrap()?;
        secure(&administrator, WARD_RANGE)?;
        let forged = [
            ("X-Forwarded-For", WARD_ADDRESS),
            ("X-Real-IP", WARD_ADDRESS),
            ("Forwarded", "for=10.20.0.9"),
            ("CF-Connecting-IP", WARD_ADDRESS),
            ("Wardlink-Address", WARD_ADDRESS),
            ("Wardlink-Network", MARKER),
            ("Wardlink-Proxy", "a guess"),
        ];
        let mut provisioning = administrator.provisioning()?;
        let through_nginx = proxied.nginx.relay(None, &forged)?;
        provisioning.broker = through_nginx.broker();
        let _one = Pump::start(scene, &provisioning, "ip-1")?;
        let request = waiting(&administrator, "ip-1")?;
        assert_eq!(request.address, Some("127.0.0.1".parse()?));
        refuses_simple(&administrator, &request)?;

        let past_nginx = Relay::before(proxied.worker.port(), &forged)?;
        provisioning.broker = past_nginx.broker();
        let _two = Pump::start(scene, &provisioning, "ip-2")?;
        let request = waiting(&administrator, "ip-2")?;
        assert_eq!(request.address, None);
        refuses_simple(&administrator, &request)?;

        // The secret alone makes the difference.
        let fields = [("Wardlink-Proxy", PROXY_SECRET), ("X-Forwarded-For", WARD_ADDRESS)];
        let proved = Relay::before(proxied.worker.port(), &fields)?;
        provisioning.broker = proved.broker();
        let _three = Pump::start(scene, &provisioning, "ip-3")?;
        let request = waiting(&administrator, "ip-3")?;
        assert_eq!((request.address, request.network), (Some(WARD_ADDRESS.parse()?), Network::Secured));
        Ok(())
    })
}

#[test]
fn without_trust_nobody_tells_a_network_or_a_certificate() -> Result<()> {
    scene(|scene| {
        let proxied = Proxied::start(scene, "none")?;
        let administrator = proxied.worker.api().bootstrap()?;
        secure(&administrator, "127.0.0.0/8")?;
        // Even who knows the proxy's secret is not listened to.
        let fields = [("Wardlink-Proxy", PROXY_SECRET), ("X-Forwarded-For", "127.0.0.1"), ("Wardlink-Network", MARKER)];
        let relay = Relay::before(proxied.worker.port(), &fields)?;
        let mut provisioning = administrator.provisioning()?;
        provisioning.broker = relay.broker();
        let _pump = Pump::start(scene, &provisioning, "ip-1")?;
        let request = waiting(&administrator, "ip-1")?;
        assert_eq!(request.address, None);
        refuses_simple(&administrator, &request)?;

        let mut paired = Pump::start(scene, &administrator.provisioning()?, "ip-2")?;
        pair_by_code(&administrator, &mut paired, "ip-2")?;
        let (certificate, key) = certificate_of(&paired, &device("ip-2")?)?;
        let relay = proxied.nginx.relay(Some((&certificate, &key)), &[])?;
        assert_eq!(answers(&relay)?, (BAD_USER_NAME_OR_PASSWORD, BAD_AUTHENTICATION_METHOD_5));
        Ok(())
    })
}

#[test]
fn a_client_is_known_by_its_certificate_in_tls_and_may_do_what_the_certificate_may() -> Result<()> {
    scene(|scene| {
        let proxied = Proxied::start(scene, "proxy")?;
        let administrator = proxied.nginx.api().bootstrap()?;
        let mut pump = Pump::start(scene, &administrator.provisioning()?, "ip-1")?;
        let session = waiting(&administrator, "ip-1")?.session;
        administrator.accept(session, Mode::PairingCode)?;
        let code = pump.code()?;
        administrator.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Verifying)?;
        let (provisional, key) = certificate_of(&pump, &device("ip-1")?)?;
        administrator.verify(session, VerificationProof::Code(code))?;
        pump.wait_for("paired")?;
        administrator.wait_for_finished_pairing("ip-1")?;
        let (certificate, _) = certificate_of(&pump, &device("ip-1")?)?;

        let relay = proxied.nginx.relay(Some((&certificate, &key)), &[])?;
        assert_eq!(answers(&relay)?, (0, 0));
        let (mut raw, _) = connect(&relay.broker(), &older_connect())?;
        assert!(reads(&mut raw, "ais/ctl/command/infusion-pump/ip-1")?);
        assert!(!reads(&mut raw, "ais/ctl/command/infusion-pump/ip-2")?);
        // Its purpose was the pairing, which is over.
        let relay = proxied.nginx.relay(Some((&provisional, &key)), &[])?;
        assert_eq!(answers(&relay)?, (NOT_AUTHORIZED, NOT_AUTHORIZED_5));
        let relay = proxied.nginx.relay(None, &[])?;
        assert_eq!(answers(&relay)?, (BAD_USER_NAME_OR_PASSWORD, BAD_AUTHENTICATION_METHOD_5));

        // What a client writes into a field, nobody has proved.
        let (rfc_9440, internal) = (format!(":{}:", BASE64.encode(&certificate)), BASE64URL_NOPAD.encode(&certificate));
        let forged = [("Client-Cert", rfc_9440.as_str()), ("Wardlink-Client-Certificate", internal.as_str())];
        for relay in [proxied.nginx.relay(None, &forged)?, Relay::before(proxied.worker.port(), &forged)?] {
            assert_eq!(answers(&relay)?, (BAD_USER_NAME_OR_PASSWORD, BAD_AUTHENTICATION_METHOD_5));
        }
        Ok(())
    })
}

#[test]
fn a_certificate_of_a_foreign_ca_is_nobodys() -> Result<()> {
    scene(|scene| {
        let proxied = Proxied::start(scene, "proxy")?;
        let administrator = proxied.nginx.api().bootstrap()?;
        let mut pump = Pump::start(scene, &administrator.provisioning()?, "ip-1")?;
        pair_by_code(&administrator, &mut pump, "ip-1")?;
        let (_, key) = certificate_of(&pump, &device("ip-1")?)?;

        let now = clock::now();
        let validity = Validity { not_before: UnixMillis(now.0 - 60_000), not_after: UnixMillis(now.0 + 3_600_000) };
        let mut rng = clock::rng();
        let root = RootCa::make("Another hospital", validity, &mut rng)?;
        let issuing = root.make_issuing_ca("Another hospital", validity, &mut rng)?;
        let foreign = issuing.issue(&Holder::Device(device("ip-1")?), &key.public(), validity, &mut rng)?;
        let relay = proxied.nginx.relay(Some((foreign.der(), &key)), &[])?;
        assert_eq!(answers(&relay)?, (NOT_AUTHORIZED, NOT_AUTHORIZED_5));
        Ok(())
    })
}
