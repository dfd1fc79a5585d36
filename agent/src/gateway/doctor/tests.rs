#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use clap::Parser;
use std::fs::Permissions;
use wardlink_crypto::x509::{Holder, RootCa, Validity};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    doctor: DoctorArgs,
}

fn verdict(checks: &[Check], what: &str) -> Verdict {
    checks.iter().find(|check| check.what == what).unwrap().verdict
}

#[tokio::test]
async fn a_gateway_that_was_never_started_is_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let line = Line::try_parse_from(["doctor", "--state", state.to_str().unwrap()]).unwrap();
    let checks = examine(&line.doctor).await;
    for what in ["state", "pairing", "address", "contact"] {
        assert_eq!(verdict(&checks, what), Verdict::Bad, "{checks:?}");
    }
    assert!(checks.iter().all(|check| (check.verdict == Verdict::Good) == check.advice.is_none()), "{checks:?}");
    assert_eq!(lines(&checks).len(), checks.len());
}

#[tokio::test]
async fn a_server_that_is_not_there_is_noticed_and_one_that_is_tells_the_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let doctor = |port: u16| {
        let broker = format!("ws://127.0.0.1:{port}/mqtt");
        let line = ["doctor", "--broker", &broker, "--secret-id", "a", "--secret", "AAECAwQFBgcICQoLDA0ODw"];
        Line::try_parse_from(line).unwrap().doctor
    };
    let server = tokio::spawn(async move {
        axum::serve(listener, axum::Router::new()).await.unwrap();
    });
    let checks = examine(&doctor(address.port())).await;
    for what in ["address", "connection"] {
        assert_eq!(verdict(&checks, what), Verdict::Good, "{checks:?}");
    }
    assert_eq!(verdict(&checks, "clock"), Verdict::Good, "{checks:?}");
    server.abort();
    assert!(server.await.is_err());
    assert_eq!(verdict(&examine(&doctor(address.port())).await, "connection"), Verdict::Bad);
}

#[test]
fn a_directory_is_to_be_the_gateways_own() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
    assert_eq!(rights(folder.path()).verdict, Verdict::Good);
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    assert_eq!(rights(folder.path()).verdict, Verdict::Bad);
}

#[test]
fn a_certificate_is_judged_by_its_end() {
    let mut rng = clock::rng();
    let day = 24 * 60 * 60;
    let at = |days: u64| UnixMillis::from_secs(1_800_000_000 + days * day);
    let validity = Validity { not_before: at(0), not_after: at(100) };
    let ca = RootCa::make("Root", validity, &mut rng).unwrap().make_issuing_ca("CA", validity, &mut rng).unwrap();
    let holder = Holder::Gateway("gateway/ward-3".parse().unwrap());
    let key = PrivateKey::make(&mut rng);
    let validity = Validity { not_before: at(1), not_after: at(90) };
    let certificate = ca.issue(&holder, &key.public(), validity, &mut rng).unwrap();
    let judged = |days| certificate_end(certificate.der(), at(days)).verdict;
    assert_eq!([0, 2, 85, 91].map(judged), [Verdict::Bad, Verdict::Good, Verdict::Doubtful, Verdict::Bad]);
    assert_eq!(certificate_end(b"none", at(2)).verdict, Verdict::Bad);
}

#[test]
fn a_clock_is_compared_with_the_servers() {
    let now = UnixMillis::from_secs(784_111_777);
    assert_eq!(clock_of(Some("Sun, 06 Nov 1994 08:49:37 GMT"), now).verdict, Verdict::Good);
    assert_eq!(clock_of(Some("Sun, 06 Nov 1994 08:39:37 GMT"), now).verdict, Verdict::Bad);
    assert_eq!(clock_of(Some("Sun, 06 Nov 1994 08:59:37 GMT"), now).verdict, Verdict::Bad);
    assert_eq!(clock_of(None, now).verdict, Verdict::Doubtful);
}

#[test]
fn stored_data_is_judged_by_room_age_and_refusals() {
    let now = UnixMillis::from_secs(1_800_000_000);
    let is = StoredStatus { capacity: 100, ..StoredStatus::default() };
    assert_eq!(stored(&is, now).verdict, Verdict::Good);
    let old = StoredStatus { oldest: Some(UnixMillis::from_secs(1_800_000_000 - 25 * 3_600)), ..is.clone() };
    assert_eq!(stored(&old, now).verdict, Verdict::Doubtful);
    assert_eq!(stored(&StoredStatus { bytes: 80, ..is.clone() }, now).verdict, Verdict::Bad);
    let refused = stored(&StoredStatus { refused_batches: 2, ..is }, now);
    assert!(refused.verdict == Verdict::Bad && refused.found.contains("refused 2 batches"));
}
