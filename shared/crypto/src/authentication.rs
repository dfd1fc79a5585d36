//! MQTT's enhanced authentication, method `WARDLINK-ES256`: both sides sign identity, both nonces, client id and host.
//!
//! A signature holds for one connection to one host: a bridge cannot carry it on to another, and a recorded one is
//! worth nothing, as each side draws its own nonce.

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::authentication::{Acceptance, Challenge, Hello, Identity, Proof};
use wardlink_protocol::cbor::{self, CborError};
use wardlink_protocol::identity::{Device, KeyFingerprint, Purpose, Sha256};
use wardlink_protocol::limits::MAX_AUTHENTICATION_BYTES;

use crate::key::{KeyError, PrivateKey, PublicKey};
use crate::x509::{Certificate, Chain, ChainError, X509Error};

/// The label of the client's signature.
const CLIENT_LABEL: &str = "WARDLINK-ES256 client";
/// The label of the bridge's signature.
const SERVER_LABEL: &str = "WARDLINK-ES256 server";

/// Why an authentication fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationError {
    /// The peer's fault: data that is not what the method sends here.
    #[error("the authentication data is malformed: {0}")]
    Malformed(#[from] CborError),
    /// The peer's fault: the key or its signature is not acceptable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The peer's fault: the certificate is not acceptable.
    #[error(transparent)]
    Certificate(#[from] X509Error),
    /// The peer's fault: the chain is not to be believed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The peer's fault, or a relay between: the client dialled another host.
    #[error("the client dialled another host")]
    Host,
}

/// What both signatures cover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    hello: Hello,
    server_nonce: Sha256,
    client_id: String,
}

impl Exchange {
    fn signed_bytes(&self, label: &str) -> Result<Vec<u8>, CborError> {
        let Hello { identity, nonce, host } = &self.hello;
        cbor::encode(&(label, identity, nonce, &self.server_nonce, &self.client_id, host))
    }
}

fn make_nonce<R: CryptoRng>(rng: &mut R) -> Sha256 {
    let mut nonce = [0; Sha256::LENGTH];
    rng.fill_bytes(&mut nonce);
    Sha256(nonce)
}

/// The client's side, after it made its [`Hello`].
pub struct ClientAuthentication {
    hello: Hello,
    client_id: String,
}

/// The client's side, after it proved its key: what is left is the bridge's proof.
pub struct ProvedClient(Exchange);

impl ClientAuthentication {
    /// Begins: `host` is the host that the client dialled, as in HTTP's Host field. Returns the data for CONNECT or AUTH.
    pub fn start<R: CryptoRng>(
        identity: Identity,
        client_id: &str,
        host: &str,
        rng: &mut R,
    ) -> Result<(Self, Vec<u8>), AuthenticationError> {
        let hello = Hello { identity, nonce: make_nonce(rng), host: host.to_owned() };
        let data = cbor::encode(&hello)?;
        Ok((Self { hello, client_id: client_id.to_owned() }, data))
    }

    /// The identity of a bare key that claims to be `device`.
    pub fn bare_key(key: &PrivateKey, device: &Device) -> Result<Identity, AuthenticationError> {
        Ok(Identity::BareKey { spki: ByteBuf::from(key.public().to_spki()?), device: device.clone() })
    }

    /// Answers the bridge's challenge. Returns the data for AUTH.
    pub fn prove(self, challenge: &[u8], key: &PrivateKey) -> Result<(ProvedClient, Vec<u8>), AuthenticationError> {
        let challenge: Challenge = cbor::decode(challenge, MAX_AUTHENTICATION_BYTES)?;
        let exchange = Exchange { hello: self.hello, server_nonce: challenge.nonce, client_id: self.client_id };
        let signature = ByteBuf::from(key.sign(&exchange.signed_bytes(CLIENT_LABEL)?).to_vec());
        let data = cbor::encode(&Proof { signature })?;
        Ok((ProvedClient(exchange), data))
    }
}

impl ProvedClient {
    /// Verifies that the bridge speaks for the control unit of the site whose root has this hash; returns the control unit's certificate.
    pub fn finish(
        &self,
        acceptance: &[u8],
        root: &Sha256,
        now: UnixMillis,
    ) -> Result<Certificate, AuthenticationError> {
        self.finish_by(acceptance, |chain| chain.verify(root, Purpose::ControlUnit, now))
    }

    /// Verifies that the broker is that of a gateway of the site whose root has this hash; returns the gateway's certificate. A control
    /// unit is none, and a gateway is no control unit.
    pub fn finish_at_gateway(
        &self,
        acceptance: &[u8],
        root: &Sha256,
        now: UnixMillis,
    ) -> Result<Certificate, AuthenticationError> {
        self.finish_by(acceptance, |chain| chain.verify(root, Purpose::Gateway, now))
    }

    /// Verifies that the bridge speaks for some control unit, of whatever site: that its chain fits together, and that it holds the
    /// key. Only a device that was given no CertCA uses it, while it pairs.
    pub fn dangerous_finish_any_root(
        &self,
        acceptance: &[u8],
        now: UnixMillis,
    ) -> Result<Certificate, AuthenticationError> {
        self.finish_by(acceptance, |chain| {
            chain.dangerous_verify_any_root(Purpose::ControlUnit, now).map(|(certificate, _)| certificate)
        })
    }

    fn finish_by(
        &self,
        acceptance: &[u8],
        verify: impl Fn(&Chain) -> Result<&Certificate, ChainError>,
    ) -> Result<Certificate, AuthenticationError> {
        let acceptance: Acceptance = cbor::decode(acceptance, MAX_AUTHENTICATION_BYTES)?;
        let chain = Chain::parse(&acceptance.chain)?;
        let certificate = verify(&chain)?;
        certificate.key().verify(&self.0.signed_bytes(SERVER_LABEL)?, &acceptance.signature)?;
        Ok(certificate.clone())
    }
}

/// The bridge's side, between its challenge and the client's proof. It can be stored with the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ServerAuthentication(Exchange);

/// A client that has proved its key. For a certificate, [`Authenticated::verify_certificate`] is still to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// The key's fingerprint.
    pub key: KeyFingerprint,
    /// Who the client says that it is.
    pub identity: ProvedIdentity,
}

/// Who a client is, once it has proved its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProvedIdentity {
    /// A bare key; the device is only what it claims to be.
    BareKey(Device),
    /// A certificate; it is to be believed only after [`Authenticated::verify_certificate`].
    Certificate(Box<Certificate>),
}

impl ServerAuthentication {
    /// Begins, for a connection to `host` (HTTP's Host field). Returns the data for AUTH.
    pub fn start<R: CryptoRng>(
        hello: &[u8],
        client_id: &str,
        host: &str,
        rng: &mut R,
    ) -> Result<(Self, Vec<u8>), AuthenticationError> {
        let hello: Hello = cbor::decode(hello, MAX_AUTHENTICATION_BYTES)?;
        if !hello.host.eq_ignore_ascii_case(host) {
            return Err(AuthenticationError::Host);
        }
        let server_nonce = make_nonce(rng);
        let data = cbor::encode(&Challenge { nonce: server_nonce })?;
        Ok((Self(Exchange { hello, server_nonce, client_id: client_id.to_owned() }), data))
    }

    /// Verifies that the client holds the key that it showed.
    pub fn verify(&self, proof: &[u8]) -> Result<Authenticated, AuthenticationError> {
        let proof: Proof = cbor::decode(proof, MAX_AUTHENTICATION_BYTES)?;
        let (key, identity) = match &self.0.hello.identity {
            Identity::BareKey { spki, device } => {
                (PublicKey::from_spki(spki)?, ProvedIdentity::BareKey(device.clone()))
            }
            Identity::Certificate { certificate } => {
                let certificate = Certificate::parse(certificate)?;
                (*certificate.key(), ProvedIdentity::Certificate(Box::new(certificate)))
            }
        };
        key.verify(&self.0.signed_bytes(CLIENT_LABEL)?, &proof.signature)?;
        Ok(Authenticated { key: key.fingerprint()?, identity })
    }

    /// Proves that the bridge speaks for the control unit. `chain` is the control unit's certificate up to and including the root.
    /// Returns the data for CONNACK or AUTH.
    pub fn accept(&self, chain: &[ByteBuf], key: &PrivateKey) -> Result<Vec<u8>, AuthenticationError> {
        let signature = ByteBuf::from(key.sign(&self.0.signed_bytes(SERVER_LABEL)?).to_vec());
        Ok(cbor::encode(&Acceptance { chain: chain.to_vec(), signature })?)
    }
}

impl Authenticated {
    /// Verifies the certificate against the site's issuing CAs, at this time. For a bare key it does nothing.
    pub fn verify_certificate(&self, issuers: &[Certificate], now: UnixMillis) -> Result<(), ChainError> {
        match &self.identity {
            ProvedIdentity::BareKey(_) => Ok(()),
            ProvedIdentity::Certificate(certificate) => {
                let purpose = certificate.purpose().ok_or(ChainError::Purpose)?;
                certificate.verify_holder(issuers, purpose, now).map(drop)
            }
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
