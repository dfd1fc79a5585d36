#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::provisioned::read_provisioning;
use clap::Parser;
use std::io::Write;
use std::path::Path;
use wardlink_protocol::provisioning::{FALLBACK_BROKER, Provisioning};

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    pump: PumpArgs,
}

const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const SECRET: &str = "AAECAwQFBgcICQoLDA0ODw";

fn args(line: &[&str]) -> PumpArgs {
    Line::try_parse_from([&["pump"], line].concat()).unwrap().pump
}

fn file(identifier: Option<&str>) -> tempfile::NamedTempFile {
    let identifier = identifier.map(|name| format!("\"identifier\":\"{name}\",")).unwrap_or_default();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(
        file,
        "{{\"version\":1,\"client\":\"infusion-pump\",{identifier}\"broker\":\"ws://127.0.0.1:8787/mqtt\",\
         \"secret_id\":\"hospital\",\"secret\":\"{SECRET}\",\"web_origin\":\"http://127.0.0.1:8787\",\
         \"cert_ca_sha256\":\"{HASH}\",\"tls_anchors\":[],\"web_pki\":false}}"
    )
    .unwrap();
    file
}

fn path(file: &tempfile::NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

#[test]
fn a_provisioning_file_is_enough() {
    let file = file(None);
    let settings = args(&["--provisioning", path(&file)]).settings().unwrap();
    let [pump] = settings.as_slice() else { panic!("one pump") };
    assert_eq!(pump.device.to_string(), "infusion-pump/pump-1");
    assert_eq!(pump.endpoint.address(), "ws://127.0.0.1:8787/mqtt");
    assert_eq!(pump.cert_ca.unwrap().to_string(), HASH);
    assert_eq!(pump.secret.as_bytes().len(), 16);
    assert_eq!(pump.information.serial_number.len(), 6);
}

#[test]
fn a_label_is_enough_and_leaves_tls_to_the_command_where_it_had_no_room() {
    let file = file(Some("bed-3"));
    let mut provisioning = read_provisioning(file.path()).unwrap();
    provisioning.broker = "wss://b.example/mqtt".to_owned();
    provisioning.web_origin = "https://b.example".to_owned();
    provisioning.web_pki = true;
    let pump = |provisioning: &Provisioning, more: &[&str]| {
        let label = provisioning.to_label().unwrap();
        args(&[&["--label", label.as_str()], more].concat()).settings().unwrap().remove(0)
    };
    let verified = pump(&provisioning, &[]);
    assert_eq!(verified.device.to_string(), "infusion-pump/bed-3");
    assert_eq!(verified.endpoint.address(), "wss://b.example/mqtt");
    assert_eq!(verified.secret.as_bytes(), provisioning.secret.as_bytes());
    assert_eq!(verified.cert_ca, provisioning.cert_ca_sha256);
    assert!(!verified.endpoint.takes_any_server());

    provisioning.web_pki = false;
    assert!(pump(&provisioning, &[]).endpoint.takes_any_server());
    let key = rcgen::generate_simple_self_signed(["b.example".to_owned()]).unwrap();
    let mut anchor = tempfile::NamedTempFile::new().unwrap();
    anchor.write_all(key.cert.pem().as_bytes()).unwrap();
    assert!(!pump(&provisioning, &["--tls-anchor", path(&anchor)]).endpoint.takes_any_server());

    assert!(Line::try_parse_from(["pump", "--label", "WARDLINK:1:AAAA"]).is_err());
    let both = ["pump", "--label", &provisioning.to_label().unwrap(), "--provisioning", path(&file)];
    assert!(Line::try_parse_from(both).is_err());
}

#[test]
fn a_device_of_another_class_says_so() {
    let file = file(None);
    let settings = args(&["--provisioning", path(&file), "--client", "blood-pressure-monitor"]).settings().unwrap();
    assert_eq!(settings[0].device.to_string(), "blood-pressure-monitor/pump-1");
    assert_eq!(settings[0].information.device_type, "Blood pressure monitor");
}

#[test]
fn flags_are_enough_and_the_broker_has_a_usual_name() {
    let line = ["--secret-id", "x", "--secret", SECRET, "--cert-ca-sha256", HASH, "--identifier", "icu-7"];
    let settings = args(&line).settings().unwrap();
    assert_eq!(settings[0].endpoint.address(), FALLBACK_BROKER);
    assert_eq!(settings[0].device.to_string(), "infusion-pump/icu-7");
}

#[test]
fn a_flag_counts_before_the_file() {
    let file = file(Some("bed-3"));
    let line =
        ["--provisioning", path(&file), "--identifier", "bed-4", "--broker", "wss://b.example/mqtt", "--serial", "77"];
    let settings = args(&line).settings().unwrap();
    assert_eq!(settings[0].device.identifier.as_str(), "bed-4");
    assert_eq!(settings[0].endpoint.host(), "b.example");
    assert_eq!(settings[0].information.serial_number, "77");
    assert_eq!(args(&line[..2]).settings().unwrap()[0].device.identifier.as_str(), "bed-3");
}

#[test]
fn several_pumps_share_nothing_but_the_provisioning() {
    let file = file(None);
    let line = ["--provisioning", path(&file), "--state", "dir", "--count", "3"];
    let settings = args(&line).settings().unwrap();
    let names: Vec<_> = settings.iter().map(|pump| pump.device.identifier.as_str().to_owned()).collect();
    assert_eq!(names, ["pump-1", "pump-2", "pump-3"]);
    assert_eq!(settings[2].state, Path::new("dir/3"));
    assert_ne!(settings[0].information.serial_number, settings[1].information.serial_number);

    let own = [line.as_slice(), &["--identifier", "icu", "--serial", "9"]].concat();
    let settings = args(&own).settings().unwrap();
    assert_eq!(settings[1].device.identifier.as_str(), "icu-2");
    assert_eq!(settings[1].information.serial_number, "9-2");
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let complain = |line: &[&str]| format!("{:#}", args(line).settings().err().unwrap());
    assert!(complain(&[]).contains("--secret-id"));
    assert!(complain(&["--secret-id", "x"]).contains("WARDLINK_SECRET"));
    assert!(complain(&["--provisioning", "/nowhere"]).contains("cannot read /nowhere"));
    let mut broken = tempfile::NamedTempFile::new().unwrap();
    broken.write_all(b"{}").unwrap();
    assert!(complain(&["--provisioning", path(&broken)]).contains("is no provisioning file"));
    let one = file(Some("bed-3"));
    assert!(complain(&["--provisioning", path(&one), "--count", "2"]).contains("for one device"));
    let several = file(None);
    let line = ["--provisioning", path(&several), "--broker", "ws://ais-broker/mqtt"];
    assert!(complain(&line).contains("without TLS"));
    assert!(Line::try_parse_from(["pump", "--secret", "short"]).is_err());
    assert!(Line::try_parse_from(["pump", "--identifier", "Register"]).is_err());
}

#[test]
fn any_server_counts_only_where_nothing_was_given_to_check_one_by() {
    let line = ["--secret-id", "x", "--secret", SECRET];
    let any = |line: &[&str]| args(line).settings().unwrap()[0].endpoint.takes_any_server();
    assert!(any(&line));
    assert!(!any(&[&line[..], &["--cert-ca-sha256", HASH]].concat()));
    let file = file(None);
    assert!(!any(&["--provisioning", path(&file), "--broker", "wss://b.example/mqtt"]));
    let mut anchored = tempfile::NamedTempFile::new().unwrap();
    let key = rcgen::generate_simple_self_signed(["b.example".to_owned()]).unwrap();
    anchored.write_all(key.cert.pem().as_bytes()).unwrap();
    assert!(!any(&[&line[..], &["--tls-anchor", path(&anchored)]].concat()));
}
