//! The session of a gateway with the distribution server: mutual authentication, a key, and messages under it.
//!
//! A signed Diffie-Hellman exchange of ephemeral keys. Both sides sign everything that both have sent, each with a label of its own, so
//! that neither signature can be carried to another connection, and the keys are forgotten with the session. Each direction has its
//! key; its nonce is the count of its messages, so that a message that is missing, repeated or moved does not open.

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::cbor::{self, CborError};
use wardlink_protocol::channel::Direction;
use wardlink_protocol::distribution::{SessionAnswer, SessionHello, SessionProof};
use wardlink_protocol::identity::{Purpose, Sha256};
use wardlink_protocol::limits::{MAX_HANDSHAKE_BYTES, MAX_SESSION_FRAME_BYTES};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::cose::{ContentKey, Encrypted, EnvelopeError, Header, IV_BYTES, seal_with_iv};
use crate::key::{KeyError, PrivateKey, PublicKey, SharedSecret};
use crate::schedule::{self, DerivationError};
use crate::x509::{Certificate, Chain, ChainError, X509Error};

const SERVER_LABEL: &str = "wardlink session server";
const GATEWAY_LABEL: &str = "wardlink session gateway";
/// What every message of a session is bound to.
const SESSION_AAD: &[u8] = b"wardlink session";

/// Why a session does not come about, or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The peer's fault: a message that is not what comes here.
    #[error("the message is malformed: {0}")]
    Malformed(#[from] CborError),
    /// The peer's fault: the key or its signature is not acceptable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The peer's fault: the certificate is not acceptable.
    #[error(transparent)]
    Certificate(#[from] X509Error),
    /// The peer's fault: the certificate is not to be believed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The peer's fault, or a relay between: the gateway dialled another host.
    #[error("the gateway dialled another host")]
    Host,
    /// Our fault: a key that cannot be derived.
    #[error(transparent)]
    Derivation(#[from] DerivationError),
    /// The peer's fault, or somebody between: a message that is missing, repeated, changed or moved.
    #[error("a message does not open here: {0}")]
    Envelope(#[from] EnvelopeError),
}

/// What both sides sign: all that was sent before. Its hash is in the keys.
struct Transcript<'a> {
    hello: &'a SessionHello,
    chain: &'a [ByteBuf],
    server_ephemeral: &'a [u8],
}

impl Transcript<'_> {
    fn to_bytes(&self, label: &str) -> Result<Vec<u8>, CborError> {
        cbor::encode(&(label, self.hello, self.chain, serde_bytes::Bytes::new(self.server_ephemeral)))
    }

    fn keys(&self, own: &PrivateKey, peer: &PublicKey) -> Result<SessionKeys, SessionError> {
        let transcript = schedule::message_hash(&self.to_bytes(SERVER_LABEL)?);
        Ok(SessionKeys::derive(&own.agree(peer), &transcript)?)
    }
}

/// The gateway's side, after its hello.
pub struct GatewayHandshake {
    hello: SessionHello,
    ephemeral: PrivateKey,
}

impl GatewayHandshake {
    /// Begins; `host` is the host that the gateway dialled, as in HTTP's Host field. Returns the first message.
    pub fn start<R: CryptoRng>(
        certificate: &Certificate,
        host: &str,
        rng: &mut R,
    ) -> Result<(Self, Vec<u8>), SessionError> {
        let ephemeral = PrivateKey::make(rng);
        let hello = SessionHello {
            certificate: certificate.to_bytes(),
            ephemeral: ByteBuf::from(ephemeral.public().to_point()),
            host: host.to_owned(),
        };
        let message = cbor::encode(&hello)?;
        Ok((Self { hello, ephemeral }, message))
    }

    /// Verifies that the server speaks for the control unit of the site whose root has this hash, and proves the gateway's key. Returns
    /// the session, and the last message of the handshake.
    pub fn finish(
        self,
        answer: &[u8],
        key: &PrivateKey,
        root: &Sha256,
        now: UnixMillis,
    ) -> Result<(Session, Vec<u8>), SessionError> {
        let answer: SessionAnswer = cbor::decode(answer, MAX_HANDSHAKE_BYTES)?;
        let chain = Chain::parse(&answer.chain)?;
        let server = chain.verify(root, Purpose::ControlUnit, now)?;
        let transcript = Transcript { hello: &self.hello, chain: &answer.chain, server_ephemeral: &answer.ephemeral };
        server.key().verify(&transcript.to_bytes(SERVER_LABEL)?, &answer.signature)?;
        let signature = ByteBuf::from(key.sign(&transcript.to_bytes(GATEWAY_LABEL)?).to_vec());
        let keys = transcript.keys(&self.ephemeral, &PublicKey::from_point(&answer.ephemeral)?)?;
        Ok((Session::new(keys, Side::Gateway), cbor::encode(&SessionProof { signature })?))
    }
}

/// What a session begins with, for the control unit to sign: whoever speaks to gateways for it needs no key of its.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    hello: SessionHello,
    server_ephemeral: ByteBuf,
}

impl Opening {
    /// The certificate that the gateway shows. It has proved nothing yet.
    pub fn certificate(&self) -> Result<Certificate, X509Error> {
        Certificate::parse(&self.hello.certificate)
    }

    /// Signs it. `chain` is the control unit's certificate up to and including the root, `key` its key.
    pub fn sign(self, chain: Vec<ByteBuf>, key: &PrivateKey) -> Result<SessionAnswer, SessionError> {
        let Self { hello, server_ephemeral } = self;
        let transcript = Transcript { hello: &hello, chain: &chain, server_ephemeral: &server_ephemeral };
        let signature = ByteBuf::from(key.sign(&transcript.to_bytes(SERVER_LABEL)?).to_vec());
        Ok(SessionAnswer { chain, ephemeral: server_ephemeral, signature })
    }
}

/// The server's side, until the control unit has signed.
pub struct Unanswered {
    opening: Opening,
    ephemeral: PrivateKey,
    peer: PublicKey,
}

impl Unanswered {
    /// Takes a hello that came over a connection to `host` (HTTP's Host field).
    pub fn start<R: CryptoRng>(hello: &[u8], host: &str, rng: &mut R) -> Result<Self, SessionError> {
        let hello: SessionHello = cbor::decode(hello, MAX_HANDSHAKE_BYTES)?;
        if !hello.host.eq_ignore_ascii_case(host) {
            return Err(SessionError::Host);
        }
        let peer = PublicKey::from_point(&hello.ephemeral)?;
        let ephemeral = PrivateKey::make(rng);
        let opening = Opening { hello, server_ephemeral: ByteBuf::from(ephemeral.public().to_point()) };
        Ok(Self { opening, ephemeral, peer })
    }

    /// What is to be signed.
    pub const fn opening(&self) -> &Opening {
        &self.opening
    }

    /// Goes on with what the control unit has signed. Returns the message to the gateway, whose certificate is not believed yet.
    pub fn answer(self, signed: &SessionAnswer) -> Result<(ServerHandshake, Vec<u8>), SessionError> {
        let Opening { hello, server_ephemeral } = &self.opening;
        let transcript = Transcript { hello, chain: &signed.chain, server_ephemeral };
        let keys = transcript.keys(&self.ephemeral, &self.peer)?;
        let signed_by_gateway = ByteBuf::from(transcript.to_bytes(GATEWAY_LABEL)?);
        let handshake = ServerHandshake { certificate: hello.certificate.clone(), signed: signed_by_gateway, keys };
        Ok((handshake, cbor::encode(signed)?))
    }
}

/// The server's side, between its answer and the gateway's proof. It can be stored with the connection; it holds the session's keys.
#[derive(Serialize, Deserialize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct ServerHandshake {
    #[zeroize(skip)]
    certificate: ByteBuf,
    #[zeroize(skip)]
    signed: ByteBuf,
    keys: SessionKeys,
}

impl ServerHandshake {
    /// Verifies that the gateway holds the key of its certificate, and that the certificate is one of the site's for this purpose, at
    /// this time. Whether it is revoked, the caller has to see. Returns the session and the certificate.
    pub fn finish(
        &self,
        proof: &[u8],
        issuers: &[Certificate],
        purpose: Purpose,
        now: UnixMillis,
    ) -> Result<(Session, Certificate), SessionError> {
        let proof: SessionProof = cbor::decode(proof, MAX_HANDSHAKE_BYTES)?;
        let certificate = Certificate::parse(&self.certificate)?;
        certificate.verify_holder(issuers, purpose, now)?;
        certificate.key().verify(&self.signed, &proof.signature)?;
        Ok((Session::new(self.keys.clone(), Side::Server), certificate))
    }
}

/// The keys of both directions.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct SessionKeys {
    #[serde(with = "serde_bytes")]
    up: [u8; 32],
    #[serde(with = "serde_bytes")]
    down: [u8; 32],
}

impl SessionKeys {
    fn derive(secret: &SharedSecret, transcript: &Sha256) -> Result<Self, DerivationError> {
        let key = |direction| schedule::derive_session(secret, transcript, direction);
        Ok(Self { up: *key(Direction::Up)?, down: *key(Direction::Down)? })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Side {
    Gateway,
    Server,
}

/// A session that stands. It can be stored with the connection, after every message that was sealed or opened.
#[derive(Serialize, Deserialize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub struct Session {
    keys: SessionKeys,
    #[zeroize(skip)]
    side: Side,
    #[zeroize(skip)]
    sent: u64,
    #[zeroize(skip)]
    received: u64,
}

impl Session {
    const fn new(keys: SessionKeys, side: Side) -> Self {
        Self { keys, side, sent: 0, received: 0 }
    }

    /// Protects the next message to the peer.
    pub fn seal(&mut self, message: &[u8]) -> Result<Vec<u8>, SessionError> {
        let (kid, key) = self.direction(self.side);
        let frame = seal_with_iv(&header(kid), &key, &nonce(self.sent), SESSION_AAD, message)?;
        self.sent = self.sent.checked_add(1).ok_or(EnvelopeError::Encode)?;
        Ok(frame)
    }

    /// Opens the next message of the peer. After a failure the session is over.
    pub fn open(&mut self, frame: &[u8]) -> Result<Zeroizing<Vec<u8>>, SessionError> {
        let peer = match self.side {
            Side::Gateway => Side::Server,
            Side::Server => Side::Gateway,
        };
        let (kid, key) = self.direction(peer);
        let encrypted = Encrypted::parse(frame, MAX_SESSION_FRAME_BYTES)?;
        if *encrypted.header() != header(kid) || *encrypted.iv() != nonce(self.received) {
            return Err(EnvelopeError::Authentication.into());
        }
        let message = encrypted.open(&key, SESSION_AAD)?;
        self.received = self.received.checked_add(1).ok_or(EnvelopeError::Authentication)?;
        Ok(message)
    }

    fn direction(&self, from: Side) -> (&'static [u8], ContentKey) {
        match from {
            Side::Gateway => (b"session-up", ContentKey::A256(self.keys.up.into())),
            Side::Server => (b"session-down", ContentKey::A256(self.keys.down.into())),
        }
    }
}

fn header(kid: &[u8]) -> Header {
    Header { kid: kid.to_vec(), ..Header::default() }
}

fn nonce(count: u64) -> [u8; IV_BYTES] {
    let mut nonce = [0; IV_BYTES];
    if let Some(end) = nonce.last_chunk_mut() {
        *end = count.to_be_bytes();
    }
    nonce
}

#[cfg(test)]
mod tests;
