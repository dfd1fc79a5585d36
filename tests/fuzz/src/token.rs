//! The token of MQTT 3.1.1: the reader, before and behind the signature.

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use wardlink_crypto::authentication::ProvedIdentity;
use wardlink_crypto::token::{self, Purpose, Shown, Verified};
use wardlink_protocol::limits::MAX_AUTHENTICATION_BYTES;

use crate::site::{NOW, rng, site};
use crate::{select, selected};

const HOST: &str = "wardlink.example";
const CLIENT: &str = "pump-1-mqtt";
const PURPOSE: Purpose<'_> = Purpose { host: HOST, client_id: CLIENT, now: NOW };

/// The first byte says whether the rest is a token as it came, or header and claims, line by line, that the device signs.
pub(crate) fn run(input: &[u8]) {
    let Some((selector, bytes)) = selected(input) else { return };
    if selector % 2 == 0 {
        if let Ok(verified) = token::verify(bytes, PURPOSE) {
            check(bytes, &verified);
        }
        return;
    }
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let (Some(header), Some(claims)) = (parts.next(), parts.next()) else { return };
    let token = signed(header, claims);
    if let Ok(verified) = token::verify(token.as_bytes(), PURPOSE) {
        check(token.as_bytes(), &verified);
    }
}

fn signed(header: &[u8], claims: &[u8]) -> String {
    let text = format!("{}.{}", BASE64URL_NOPAD.encode(header), BASE64URL_NOPAD.encode(claims));
    format!("{text}.{}", BASE64URL_NOPAD.encode(&site().key.sign(text.as_bytes())))
}

/// What counts says what any other reader of JSON would find, is the device's own, and is remembered for its whole life.
fn check(token: &[u8], verified: &Verified) {
    assert!(token.len() <= MAX_AUTHENTICATION_BYTES);
    assert_eq!(verified.authenticated.key, site().fingerprint(), "nobody else has signed anything here");
    let mut parts = token.split(|byte| *byte == b'.').map(|part| BASE64URL_NOPAD.decode(part));
    let mut json =
        || -> Value { serde_json::from_slice(&parts.next().expect("a part").expect("base64url")).expect("JSON") };
    let (header, claims) = (json(), json());
    assert_eq!(header["alg"], "ES256");
    assert!(header.get("crit").is_none() && header.get("b64").is_none() && header.get("kid").is_none());
    assert!(header.get("x5c").is_some() != header.get("jwk").is_some());
    assert_eq!(
        (claims["aud"].as_str().map(str::to_lowercase).as_deref(), &claims["client_id"]),
        (Some("wss://wardlink.example/mqtt"), &CLIENT.into())
    );
    let device = match &verified.authenticated.identity {
        ProvedIdentity::BareKey(device) => device.clone(),
        ProvedIdentity::Certificate(certificate) => certificate.device().expect("a device").clone(),
    };
    assert_eq!(claims["sub"], device.to_string());
    let (issued, ends) = (claims["iat"].as_u64().expect("a time"), claims["exp"].as_u64().expect("a time"));
    assert!(ends > issued && ends - issued <= token::TOKEN_LIFE.as_secs());
    assert!(verified.until > NOW);
    let late = Purpose { now: verified.until, ..PURPOSE };
    assert!(token::verify(token, late).is_err(), "it is forgotten only when it is worth nothing");
    let elsewhere = Purpose { host: "elsewhere.example", ..PURPOSE };
    assert!(token::verify(token, elsewhere).is_err());
}

fn valid(shown: Shown<'_>) -> String {
    let site = site();
    token::make(shown, &site.device, PURPOSE, &site.key, &mut rng()).expect("a token")
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let site = site();
    let chain = [site.issued[1].clone(), site.ca.certificate().to_bytes()];
    let tokens = [valid(Shown::BareKey), valid(Shown::Certificate(&chain[..1])), valid(Shown::Certificate(&chain))];
    let lines = |token: &String| {
        let parts: Vec<Vec<u8>> =
            token.split('.').take(2).map(|part| BASE64URL_NOPAD.decode(part.as_bytes()).expect("a part")).collect();
        select(1, &parts.join(&b'\n'))
    };
    let whole = tokens.iter().map(|token| select(0, token.as_bytes()));
    whole.chain(tokens.iter().map(lines)).collect()
}
