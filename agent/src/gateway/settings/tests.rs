#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use clap::Parser;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    gateway: GatewayArgs,
}

fn settings(more: &[&str]) -> Result<(pump::Settings, Settings)> {
    let line = ["gateway", "--secret-id", "hospital", "--secret", "AAECAwQFBgcICQoLDA0ODw"];
    Line::try_parse_from([&line[..], more].concat()).unwrap().gateway.settings()
}

#[test]
fn a_gateway_has_its_class_and_says_what_it_is() {
    let (coupling, gateway) = settings(&["--serial", "G-7"]).unwrap();
    assert_eq!(coupling.device.to_string(), "gateway/gateway-1");
    assert!(!coupling.reports && gateway.keep_session);
    let is = &gateway.state.characteristics;
    assert_eq!((is.device.clone(), is.serial_number.to_string()), (coupling.device, "G-7".to_owned()));
    assert_eq!(is.revision.to_string(), env!("CARGO_PKG_VERSION"));
    assert!(settings(&["--client", "infusion-pump"]).is_err());
}

#[test]
fn a_mirror_is_elsewhere_and_over_tls() {
    let (_, gateway) = settings(&["--mirror", "https://mirror.example/packages/"]).unwrap();
    let mirror = gateway.mirror.unwrap();
    assert_eq!((mirror.endpoint.host(), mirror.path.as_str()), ("mirror.example", "/packages"));
    assert!(settings(&["--mirror", "http://mirror.example/"]).is_err());
    assert!(settings(&["--mirror", "ftp://mirror.example/"]).is_err());
}

#[test]
fn what_is_misspelled_is_refused() {
    for wrong in [
        &["--manufacturer", "acme"][..],
        &["--manufacturer", "acme=/nowhere"],
        &["--devices", "/nowhere"],
        &["--fail", "scale/s1=explode"],
        &["--proxy", "socks5://proxy"],
    ] {
        assert!(settings(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_hub_is_off_unless_it_is_asked_for_and_has_names() {
    assert!(settings(&[]).unwrap().1.hub.is_none());
    let (_, gateway) = settings(&["--hub", "127.0.0.1:8884", "--state", "there"]).unwrap();
    let hub = gateway.hub.unwrap();
    assert_eq!((hub.offline, hub.names.len()), (Duration::from_hours(24), 0));
    assert_eq!(gateway.ports.unwrap(), PathBuf::from("there/hub"));
    let line =
        ["--hub", "0.0.0.0:8884", "--hub-name", "gateway.ward.example", "--offline-hours", "2", "--ports", "here"];
    let (_, gateway) = settings(&line).unwrap();
    assert_eq!(gateway.ports.unwrap(), PathBuf::from("here"));
    assert_eq!(gateway.hub.unwrap().offline, Duration::from_hours(2));
    assert!(settings(&["--hub", "0.0.0.0:8884"]).is_err(), "nobody dials that");
}
