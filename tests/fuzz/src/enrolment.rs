//! What a CA outside answers (EST): only its one right answer makes the site a CA.

use data_encoding::BASE64;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::{Certificate, certify, read_certificates};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::limits::{MAX_CERTIFICATES, MAX_CHAIN_LENGTH};

use crate::{select, selected};

/// OpenSSL made what lies there: `tests/vectors/est/make.sh`.
macro_rules! vector {
    ($name:literal) => {
        include_str!(concat!("../../vectors/est/", $name))
    };
}

const NOW: UnixMillis = UnixMillis::from_secs(1_900_000_000);
const ANSWERS: [&str; 7] = [
    vector!("site"),
    vector!("cacerts"),
    vector!("site-below"),
    vector!("rsa"),
    vector!("p384"),
    vector!("constrained"),
    vector!("signed"),
];

fn message(text: &str) -> Vec<u8> {
    let lines: String = text.split_whitespace().collect();
    BASE64.decode(lines.as_bytes()).expect("base64")
}

pub(crate) fn run(input: &[u8]) {
    let Some((selector, bytes)) = selected(input) else { return };
    let read = match selector % 2 {
        0 => read_certificates(BASE64.encode(bytes).as_bytes()),
        _ => read_certificates(bytes),
    };
    let Ok(given) = read else { return };
    assert!((1..=MAX_CERTIFICATES).contains(&given.len()));
    let key = PrivateKey::from_pkcs8(&message(vector!("site.pkcs8"))).expect("a key").public();
    let root: Sha256 = vector!("root.sha256").trim().parse().expect("a hash");
    let known = read_certificates(vector!("cacerts").as_bytes()).expect("the CA's certificates");
    if let Ok(chain) = certify(&given, &known, &key, &root, NOW) {
        assert!((2..MAX_CHAIN_LENGTH).contains(&chain.len()));
        let right = read_certificates(vector!("site").as_bytes()).expect("the right answer");
        let first = chain.first().map(Certificate::der);
        assert!(right.iter().any(|der| Some(der.as_slice()) == first), "a forged certificate makes a CA");
        assert_eq!(chain.last().map(Certificate::sha256), Some(root));
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let encoded = ANSWERS.iter().map(|answer| select(1, answer.as_bytes()));
    ANSWERS.iter().map(|answer| select(0, &message(answer))).chain(encoded).collect()
}
