//! The token that stands in for enhanced authentication where a client speaks MQTT 3.1.1: a JWT (RFC 7519) in JWS compact
//! serialization (RFC 7515), ES256 only, sent as CONNECT's password.
//!
//! It names the host that was dialled and the MQTT client id, holds for minutes, and counts once: whoever verifies it remembers
//! [`Verified::once`] until [`Verified::until`]. JSON is read strictly: an unknown member (`crit` and `b64` among them), a member
//! that stands twice, or a value of another type is refused. The JOSE libraries accept some of these, which is why there is none here.

use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use rand_core::CryptoRng;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_bytes::ByteBuf;
use sha2::Digest;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::cbor;
use wardlink_protocol::identity::{Device, Sha256};
use wardlink_protocol::limits::{MAX_AUTHENTICATION_BYTES, MAX_CHAIN_LENGTH};

use crate::authentication::{Authenticated, ProvedIdentity};
use crate::key::{KeyError, POINT_BYTES, PrivateKey, PublicKey};
use crate::x509::{Certificate, ChainError, X509Error};

/// How long a token may hold, from `iat` to `exp`.
pub const TOKEN_LIFE: Duration = Duration::from_mins(5);
/// How far the clocks of client and bridge may be apart.
pub const CLOCK_TOLERANCE: Duration = Duration::from_mins(5);
/// The longest `jti`, in bytes.
pub const MAX_TOKEN_ID_BYTES: usize = 64;
/// The length of a coordinate in a JWK, in bytes (RFC 7518 section 6.2.1.2).
const COORDINATE_BYTES: usize = 32;
/// The label of the hash by which a token is remembered.
const ONCE_LABEL: &str = "wardlink token";

/// Why a token is refused, or cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The peer's fault: too long, not three parts of base64url, or JSON that has other members than it should.
    #[error("the token is malformed")]
    Malformed,
    /// The peer's fault: the key or the signature is not acceptable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The peer's fault: a certificate of `x5c` is not acceptable.
    #[error(transparent)]
    Certificate(#[from] X509Error),
    /// The peer's fault: the certificates of `x5c` are no chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The peer's fault, or a relay between: the token is for another host.
    #[error("the token is for another host")]
    Audience,
    /// The peer's fault: the token is for another MQTT client id.
    #[error("the token is for another client id")]
    ClientId,
    /// The peer's fault: the subject is not the device that the certificate or the user name tells.
    #[error("the token is for another device")]
    Subject,
    /// The peer's fault, or a wrong clock: the token holds for too long, no longer, or not yet.
    #[error("the token does not hold at this time")]
    Time,
    /// Our fault: a token that cannot be made.
    #[error("the token cannot be made")]
    Encode,
}

/// The protected header (RFC 7515 section 4.1).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: Algorithm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    typ: Option<Type>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x5c: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jwk: Option<Object<Jwk>>,
}

#[derive(Serialize, Deserialize)]
enum Algorithm {
    #[serde(rename = "ES256")]
    Es256,
}

#[derive(Serialize, Deserialize)]
enum Type {
    #[serde(rename = "JWT")]
    Jwt,
}

/// A public key (RFC 7517, RFC 7518 section 6.2.1).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Jwk {
    kty: KeyType,
    crv: Curve,
    x: String,
    y: String,
}

#[derive(Serialize, Deserialize)]
enum KeyType {
    #[serde(rename = "EC")]
    Ec,
}

#[derive(Serialize, Deserialize)]
enum Curve {
    #[serde(rename = "P-256")]
    P256,
}

/// The claims (RFC 7519 section 4.1; `client_id`: RFC 8693 section 4.3). Times are whole seconds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    aud: String,
    sub: String,
    client_id: String,
    iat: u64,
    exp: u64,
    jti: String,
}

/// What a client shows with its token.
#[derive(Clone, Copy)]
pub enum Shown<'a> {
    /// Its bare key.
    BareKey,
    /// Its certificate, and the certificates above it, DER.
    Certificate(&'a [ByteBuf]),
}

/// What a token is for.
#[derive(Clone, Copy)]
pub struct Purpose<'a> {
    /// The host that the client dialled, as in HTTP's Host field.
    pub host: &'a str,
    /// The MQTT client id.
    pub client_id: &'a str,
    /// When it is made, or checked.
    pub now: UnixMillis,
}

/// A token that holds, if it did not count before. For a certificate, [`Authenticated::verify_certificate`] is still to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Who the client is.
    pub authenticated: Authenticated,
    /// By what the token is remembered: a hash of key and `jti`.
    pub once: Sha256,
    /// Until when it has to be remembered.
    pub until: UnixMillis,
}

/// Makes a token for `device`, signed by its key.
pub fn make<R: CryptoRng>(
    shown: Shown<'_>,
    device: &Device,
    purpose: Purpose<'_>,
    key: &PrivateKey,
    rng: &mut R,
) -> Result<String, TokenError> {
    let (x5c, jwk) = match shown {
        Shown::BareKey => (None, Some(Object(Jwk::of(&key.public())?))),
        Shown::Certificate(chain) => (Some(chain.iter().map(|der| BASE64.encode(der)).collect()), None),
    };
    let header = Header { alg: Algorithm::Es256, typ: Some(Type::Jwt), x5c, jwk };
    let mut id = [0; 16];
    rng.fill_bytes(&mut id);
    let issued_at = purpose.now.0 / 1_000;
    let claims = Claims {
        aud: audience(purpose.host),
        sub: device.to_string(),
        client_id: purpose.client_id.to_owned(),
        iat: issued_at,
        exp: issued_at + TOKEN_LIFE.as_secs(),
        jti: BASE64URL_NOPAD.encode(&id),
    };
    let signed = format!("{}.{}", encode(&header)?, encode(&claims)?);
    let signature = BASE64URL_NOPAD.encode(&key.sign(signed.as_bytes()));
    Ok(format!("{signed}.{signature}"))
}

/// Verifies a token: that it is for this purpose and time, and signed by the key that it shows.
pub fn verify(token: &[u8], purpose: Purpose<'_>) -> Result<Verified, TokenError> {
    let text = core::str::from_utf8(token).ok().filter(|text| text.len() <= MAX_AUTHENTICATION_BYTES);
    let (signed, signature) = text.and_then(|text| text.rsplit_once('.')).ok_or(TokenError::Malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
    let header: Header = decode(header)?;
    let claims: Claims = decode(claims)?;
    let until = claims.check(purpose)?;
    let device: Device = claims.sub.parse().map_err(|_| TokenError::Malformed)?;
    let (key, chain) = header.credential()?;
    key.verify(signed.as_bytes(), &base64url(signature)?)?;
    let identity = match chain {
        None => ProvedIdentity::BareKey(device),
        Some(chain) => ProvedIdentity::Certificate(Box::new(holder(chain, &device, purpose.now)?)),
    };
    let fingerprint = key.fingerprint()?;
    let once = cbor::encode(&(ONCE_LABEL, &fingerprint, &claims.jti)).map_err(|_| TokenError::Malformed)?;
    let authenticated = Authenticated { key: fingerprint, identity };
    Ok(Verified { authenticated, once: Sha256(sha2::Sha256::digest(&once).into()), until })
}

/// The claim `aud`: the bridge's endpoint at that host.
fn audience(host: &str) -> String {
    format!("wss://{host}/mqtt")
}

/// The certificate of the token's subject, in a chain that fits together as far as it goes. One that has ended still says who the
/// client is; what it may do then, its rights say.
fn holder(chain: Vec<Certificate>, device: &Device, now: UnixMillis) -> Result<Certificate, TokenError> {
    let end = chain.first().map(|first| first.validity().not_after).ok_or(TokenError::Malformed)?;
    for pair in chain.windows(2) {
        let [certificate, issuer] = pair else { return Err(TokenError::Malformed) };
        certificate.verify_issued_by(issuer, now.min(end))?;
    }
    let first = chain.into_iter().next().ok_or(TokenError::Malformed)?;
    if first.device() == Some(device) { Ok(first) } else { Err(TokenError::Subject) }
}

impl Header {
    /// The key that has to have signed, and the certificates that show it.
    fn credential(&self) -> Result<(PublicKey, Option<Vec<Certificate>>), TokenError> {
        match (&self.jwk, &self.x5c) {
            (Some(Object(jwk)), None) => Ok((jwk.key()?, None)),
            (None, Some(x5c)) if x5c.len() <= MAX_CHAIN_LENGTH => {
                let der = |text: &String| BASE64.decode(text.as_bytes()).map_err(|_| TokenError::Malformed);
                let certificate = |text: &String| Ok(Certificate::parse(&der(text)?)?);
                let chain = x5c.iter().map(certificate).collect::<Result<Vec<_>, TokenError>>()?;
                let key = *chain.first().ok_or(TokenError::Malformed)?.key();
                Ok((key, Some(chain)))
            }
            _ => Err(TokenError::Malformed),
        }
    }
}

impl Jwk {
    fn of(key: &PublicKey) -> Result<Self, TokenError> {
        let point = key.to_point();
        let (x, y) =
            point.get(1..).and_then(|both| both.split_at_checked(COORDINATE_BYTES)).ok_or(TokenError::Encode)?;
        let (x, y) = (BASE64URL_NOPAD.encode(x), BASE64URL_NOPAD.encode(y));
        Ok(Self { kty: KeyType::Ec, crv: Curve::P256, x, y })
    }

    fn key(&self) -> Result<PublicKey, TokenError> {
        let (x, y) = (base64url(&self.x)?, base64url(&self.y)?);
        if x.len() != COORDINATE_BYTES || y.len() != COORDINATE_BYTES {
            return Err(TokenError::Malformed);
        }
        let mut point = Vec::with_capacity(POINT_BYTES);
        // SEC1 section 2.3.3: an uncompressed point.
        point.push(0x04);
        point.extend(x);
        point.extend(y);
        Ok(PublicKey::from_point(&point)?)
    }
}

impl Claims {
    /// Checks whom, what for and when; returns until when the token could be shown again.
    fn check(&self, purpose: Purpose<'_>) -> Result<UnixMillis, TokenError> {
        if self.jti.is_empty() || self.jti.len() > MAX_TOKEN_ID_BYTES {
            return Err(TokenError::Malformed);
        }
        if !self.aud.eq_ignore_ascii_case(&audience(purpose.host)) {
            return Err(TokenError::Audience);
        }
        if self.client_id != purpose.client_id {
            return Err(TokenError::ClientId);
        }
        let life = self.exp.checked_sub(self.iat).filter(|life| (1..=TOKEN_LIFE.as_secs()).contains(life));
        let now = purpose.now.0 / 1_000;
        let tolerance = CLOCK_TOLERANCE.as_secs();
        if life.is_none() || self.iat > now.saturating_add(tolerance) || self.exp.saturating_add(tolerance) < now {
            return Err(TokenError::Time);
        }
        // The last second in which it holds is over.
        Ok(UnixMillis::from_secs(self.exp + tolerance + 1))
    }
}

fn base64url(text: &str) -> Result<Vec<u8>, TokenError> {
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| TokenError::Malformed)
}

fn encode<T: Serialize>(part: &T) -> Result<String, TokenError> {
    serde_json::to_vec(part).map(|json| BASE64URL_NOPAD.encode(&json)).map_err(|_| TokenError::Encode)
}

fn decode<T: DeserializeOwned>(part: &str) -> Result<T, TokenError> {
    serde_json::from_slice(&base64url(part)?).map(|Object(part)| part).map_err(|_| TokenError::Malformed)
}

/// A JSON object: serde would take an array of a struct's members, too.
#[derive(Serialize)]
#[serde(transparent)]
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
