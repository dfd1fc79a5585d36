#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::authentication::ProvedIdentity;
use crate::x509::{Holder, IssuingCa, RootCa, Validity};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};

pub(super) const NOW: UnixMillis = UnixMillis::from_secs(1_800_000_000);
pub(super) const HOST: &str = "wardlink.example:8443";
pub(super) const CLIENT: &str = "pump-1-mqtt";
pub(super) const PURPOSE: Purpose<'_> = Purpose { host: HOST, client_id: CLIENT, now: NOW };

pub(super) struct Certified {
    pub(super) key: PrivateKey,
    issuing: IssuingCa,
    /// Leaf, issuing CA, root.
    pub(super) chain: Vec<ByteBuf>,
    pub(super) rng: StdRng,
}

pub(super) fn pump() -> Device {
    "infusion-pump/pump-1".parse().unwrap()
}

fn device_until(not_after: UnixMillis) -> Certified {
    let mut rng = StdRng::seed_from_u64(11);
    let validity = Validity { not_before: UnixMillis(0), not_after: UnixMillis::from_secs(1_900_000_000) };
    let root = RootCa::make("Root", validity, &mut rng).unwrap();
    let issuing = root.make_issuing_ca("Issuing", validity, &mut rng).unwrap();
    let key = PrivateKey::make(&mut rng);
    let own = Validity { not_before: UnixMillis(0), not_after };
    let leaf = issuing.issue(&Holder::Device(pump()), &key.public(), own, &mut rng).unwrap();
    let chain = [vec![leaf.to_bytes()], issuing.chain()].concat();
    Certified { key, issuing, chain, rng }
}

pub(super) fn certified_device() -> Certified {
    device_until(UnixMillis::from_secs(1_900_000_000))
}

impl Certified {
    fn bare(&mut self) -> String {
        make(Shown::BareKey, &pump(), PURPOSE, &self.key, &mut self.rng).unwrap()
    }

    fn certified(&mut self) -> String {
        make(Shown::Certificate(&self.chain[..2]), &pump(), PURPOSE, &self.key, &mut self.rng).unwrap()
    }

    /// A token of any JSON, signed rightly.
    fn signed(&self, header: &str, claims: &str) -> String {
        let text =
            format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(claims.as_bytes()));
        let signature = BASE64URL_NOPAD.encode(&self.key.sign(text.as_bytes()));
        format!("{text}.{signature}")
    }

    fn header(&self) -> Value {
        serde_json::to_value(Header {
            alg: Algorithm::Es256,
            typ: None,
            x5c: None,
            jwk: Some(Object(Jwk::of(&self.key.public()).unwrap())),
        })
        .unwrap()
    }
}

fn claims() -> Value {
    json!({
        "aud": "wss://wardlink.example:8443/mqtt", "sub": "infusion-pump/pump-1", "client_id": CLIENT,
        "iat": 1_800_000_000, "exp": 1_800_000_300, "jti": "1",
    })
}

fn check(token: &str) -> Result<Verified, TokenError> {
    verify(token.as_bytes(), PURPOSE)
}

#[test]
fn a_bare_key_and_a_certificate_are_proved() {
    let mut device = certified_device();
    let fingerprint = device.key.public().fingerprint().unwrap();
    let bare = check(&device.bare()).unwrap();
    assert_eq!(bare.authenticated.key, fingerprint);
    assert_eq!(bare.authenticated.identity, ProvedIdentity::BareKey(pump()));

    let certified = check(&device.certified()).unwrap();
    assert_eq!(certified.authenticated.key, fingerprint);
    let leaf = Certificate::parse(&device.chain[0]).unwrap();
    assert_eq!(certified.authenticated.identity, ProvedIdentity::Certificate(Box::new(leaf)));
    let issuers = [device.issuing.certificate().clone()];
    assert_eq!(certified.authenticated.verify_certificate(&issuers, NOW), Ok(()));
    assert_eq!(certified.authenticated.verify_certificate(&[], NOW), Err(ChainError::Issuer));

    for length in [1, 3] {
        let token = make(Shown::Certificate(&device.chain[..length]), &pump(), PURPOSE, &device.key, &mut device.rng);
        assert!(check(&token.unwrap()).is_ok(), "{length} certificates");
    }
}

#[test]
fn every_token_is_remembered_by_its_own_name_for_as_long_as_it_holds() {
    let mut device = certified_device();
    let (first, second) = (device.bare(), device.bare());
    let (first_once, second_once) = (check(&first).unwrap(), check(&second).unwrap());
    assert_ne!(first_once.once, second_once.once);
    assert_eq!(check(&first).unwrap().once, first_once.once);
    assert_eq!(first_once.until, NOW.after(TOKEN_LIFE).after(CLOCK_TOLERANCE).after(Duration::from_secs(1)));
    let last = Purpose { now: UnixMillis(first_once.until.0 - 1), ..PURPOSE };
    assert!(verify(first.as_bytes(), last).is_ok());
    assert_eq!(verify(first.as_bytes(), Purpose { now: first_once.until, ..PURPOSE }), Err(TokenError::Time));
    let early = UnixMillis(NOW.0 - u64::try_from(CLOCK_TOLERANCE.as_millis()).unwrap());
    assert!(verify(first.as_bytes(), Purpose { now: early, ..PURPOSE }).is_ok());
    let earlier = UnixMillis(early.0 - 1);
    assert_eq!(verify(first.as_bytes(), Purpose { now: earlier, ..PURPOSE }), Err(TokenError::Time));
}

#[test]
fn another_host_client_id_device_or_key_is_refused() {
    let mut device = certified_device();
    let token = device.certified();
    let elsewhere = Purpose { host: "wardlink.example", ..PURPOSE };
    assert_eq!(verify(token.as_bytes(), elsewhere), Err(TokenError::Audience));
    let other = Purpose { client_id: "pump-2-mqtt", ..PURPOSE };
    assert_eq!(verify(token.as_bytes(), other), Err(TokenError::ClientId));
    let upper = Purpose { host: "WARDLINK.example:8443", ..PURPOSE };
    assert!(verify(token.as_bytes(), upper).is_ok(), "host names know no case");

    let neighbour: Device = "infusion-pump/pump-2".parse().unwrap();
    let shown = Shown::Certificate(&device.chain[..1]);
    let token = make(shown, &neighbour, PURPOSE, &device.key, &mut device.rng).unwrap();
    assert_eq!(check(&token), Err(TokenError::Subject));

    let thief = PrivateKey::make(&mut device.rng);
    let token = make(Shown::Certificate(&device.chain[..1]), &pump(), PURPOSE, &thief, &mut device.rng).unwrap();
    assert_eq!(check(&token), Err(TokenError::Key(KeyError::BadSignature)));
}

#[test]
fn certificates_that_are_no_chain_are_refused() {
    let mut device = certified_device();
    let swapped = [device.chain[0].clone(), device.chain[2].clone()];
    let token = make(Shown::Certificate(&swapped), &pump(), PURPOSE, &device.key, &mut device.rng).unwrap();
    assert_eq!(check(&token), Err(TokenError::Chain(ChainError::Issuer)));
    let token = make(Shown::Certificate(&[]), &pump(), PURPOSE, &device.key, &mut device.rng).unwrap();
    assert_eq!(check(&token), Err(TokenError::Malformed));
    let many = vec![device.chain[0].clone(); 5];
    let token = make(Shown::Certificate(&many), &pump(), PURPOSE, &device.key, &mut device.rng).unwrap();
    assert_eq!(check(&token), Err(TokenError::Malformed));
}

#[test]
fn a_certificate_that_has_ended_still_says_who_the_client_is() {
    let mut device = device_until(UnixMillis::from_secs(1_700_000_000));
    let token = device.certified();
    assert!(check(&token).is_ok(), "what it may do then, its rights say");
}

#[test]
fn every_changed_byte_is_noticed() {
    let mut device = certified_device();
    let token = device.bare();
    for position in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
        assert!(verify(&changed, PURPOSE).is_err(), "byte {position}");
    }
    assert!(check(&format!("{token}.")).is_err());
    assert!(check(&format!("{token}=")).is_err());
    assert!(check(&token[..token.len() - 1]).is_err());
    assert!(check("").is_err());
    assert!(check("..").is_err());
    assert!(verify(&vec![b'a'; MAX_AUTHENTICATION_BYTES + 1], PURPOSE).is_err());
}

#[test]
fn headers_that_ask_for_something_else_are_refused() {
    let device = certified_device();
    let good = device.header();
    let claims = claims().to_string();
    assert!(check(&device.signed(&good.to_string(), &claims)).is_ok());
    let mut wrong = Vec::new();
    for (name, value) in [
        ("alg", json!("none")),
        ("alg", json!("HS256")),
        ("alg", json!("es256")),
        ("alg", json!(["ES256"])),
        ("typ", json!("JOSE")),
        ("crit", json!(["b64"])),
        ("b64", json!(false)),
        ("kid", json!("1")),
        ("jku", json!("https://elsewhere.example/keys")),
        ("x5c", json!([BASE64.encode(&device.chain[0])])),
        ("x5c", json!("MII=")),
        ("jwk", Value::Null),
        ("jwk", json!(["EC", "P-256", "AA", "AA"])),
    ] {
        let mut header = good.clone();
        header[name] = value;
        wrong.push(header.to_string());
    }
    for (name, value) in [("kty", "RSA"), ("crv", "P-384"), ("x", ""), ("y", "AAAA"), ("d", "AAAA"), ("use", "sig")] {
        let mut header = good.clone();
        header["jwk"][name] = json!(value);
        wrong.push(header.to_string());
    }
    let text = good.to_string();
    wrong.push(text.replacen('{', r#"{"alg":"ES256","#, 1));
    wrong.push(text.replacen(r#""jwk":{"#, r#""jwk":{"kty":"EC","#, 1));
    wrong.push(format!("{text}{{}}"));
    wrong.push(json!(["ES256", "JWT", null, good["jwk"]]).to_string());
    wrong.push(json!({"alg": "ES256"}).to_string());
    wrong.push("null".to_owned());
    for header in wrong {
        assert!(check(&device.signed(&header, &claims)).is_err(), "{header}");
    }
}

#[test]
fn claims_that_are_not_these_are_refused() {
    let device = certified_device();
    let header = device.header().to_string();
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        check(&device.signed(&header, &claims.to_string()))
    };
    assert!(with("jti", json!("x".repeat(MAX_TOKEN_ID_BYTES))).is_ok());
    for (name, value) in [
        ("aud", json!(["wss://wardlink.example:8443/mqtt"])),
        ("sub", json!("infusion-pump")),
        ("sub", json!("infusion-pump/Pump-1")),
        ("sub", json!("infusion-pump/pump-1/x")),
        ("client_id", json!(7)),
        ("iat", json!("1800000000")),
        ("iat", json!(1_800_000_000.5)),
        ("exp", json!(-1)),
        ("exp", Value::Null),
        ("jti", json!("")),
        ("jti", json!("x".repeat(MAX_TOKEN_ID_BYTES + 1))),
        ("nbf", json!(0)),
        ("admin", json!(true)),
    ] {
        assert_eq!(with(name, value.clone()), Err(TokenError::Malformed), "{name}: {value}");
    }
    assert_eq!(with("aud", json!("ws://wardlink.example:8443/mqtt")), Err(TokenError::Audience));
    for (name, value) in [
        ("exp", 1_800_000_301_u64),
        ("exp", 1_800_000_000),
        ("exp", u64::MAX),
        ("iat", 1_799_999_999),
        ("iat", 0),
        ("iat", u64::MAX),
    ] {
        assert_eq!(with(name, json!(value)), Err(TokenError::Time), "{name}: {value}");
    }
    let twice = claims().to_string().replacen('{', r#"{"sub":"infusion-pump/pump-2","#, 1);
    assert_eq!(check(&device.signed(&header, &twice)), Err(TokenError::Malformed));
}
