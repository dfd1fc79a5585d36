//! The data of MQTT 5.0's enhanced authentication (MQTT 5.0 section 4.12), method [`METHOD`].
//!
//! CONNECT or AUTH carries [`Hello`], the bridge's AUTH [`Challenge`], the client's AUTH [`Proof`], and the bridge's CONNACK or
//! AUTH [`Acceptance`].

use crate::identity::{Device, Sha256};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// The authentication method's name.
pub const METHOD: &str = "WARDLINK-ES256";

/// Who a client says that it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Identity {
    /// A bare key, with the device that it claims to be.
    BareKey {
        /// The SubjectPublicKeyInfo, DER.
        spki: ByteBuf,
        /// The claimed class and identifier.
        device: Device,
    },
    /// A certificate of the site, DER.
    Certificate {
        /// The certificate, DER.
        certificate: ByteBuf,
    },
}

/// What a client sends first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// Who it says that it is.
    pub identity: Identity,
    /// The client's nonce, 32 random bytes.
    pub nonce: Sha256,
    /// The host that the client dialled, as in HTTP's Host field.
    pub host: String,
}

/// What the bridge answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// The bridge's nonce, 32 random bytes.
    pub nonce: Sha256,
}

/// The client's proof that it holds the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// ECDSA P-256 with SHA-256, r and s, 64 bytes (RFC 9053 section 2.1).
    pub signature: ByteBuf,
}

/// The bridge's proof that it speaks for the control unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// The control unit's certificate and the chain up to and including the root; DER. With the root, a client
    /// that was given only its hash can check it.
    pub chain: Vec<ByteBuf>,
    /// ECDSA P-256 with SHA-256, r and s, 64 bytes.
    pub signature: ByteBuf,
}
