//! Who a client is: MQTT's enhanced authentication (MQTT 5.0 section 4.12), method `WARDLINK-ES256`; a token as password in MQTT
//! 3.1.1; or a client certificate whose key was proved in TLS. All three lead to the same [`Principal`].

use crate::rights::{Credential, Principal};
use mqtt_protocol_core::mqtt::result_code::ConnectReasonCode;
use serde_bytes::ByteBuf;
use wardlink_crypto::authentication::{Authenticated, AuthenticationError, ProvedIdentity, ServerAuthentication};
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::token::{self, TokenError, Verified};
use wardlink_crypto::x509::Certificate;
use wardlink_protocol::UnixMillis;

/// Why what a client shows as its identity does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The client's fault: its proof, or its certificate.
    #[error(transparent)]
    Authentication(#[from] AuthenticationError),
    /// The client's fault: its token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The client's fault, or somebody who listened: the token has counted before.
    #[error("the token was used before")]
    Replayed,
    /// The client's fault: the certificate is for somebody who does not come over MQTT.
    #[error("the certificate is for another purpose")]
    NotAClient,
    /// The client's fault: neither token nor client certificate.
    #[error("no token and no client certificate")]
    Missing,
    /// The client's fault: two of user name, token, proof and TLS client certificate name different keys or devices.
    #[error("the credentials contradict one another")]
    Contradiction,
    /// Somebody makes more tokens than the bridge remembers.
    #[error("too many tokens are remembered")]
    TooManyTokens,
}

impl CredentialError {
    /// How CONNACK tells it.
    pub(crate) const fn reason(self) -> ConnectReasonCode {
        match self {
            Self::Token(TokenError::Malformed) | Self::Missing => ConnectReasonCode::BadUserNameOrPassword,
            Self::TooManyTokens => ConnectReasonCode::QuotaExceeded,
            _ => ConnectReasonCode::NotAuthorized,
        }
    }
}

/// The control unit, as the bridge speaks for it: its certificate chain and key, and the CAs whose certificates count.
#[derive(Clone)]
pub struct ControlUnit {
    chain: Vec<ByteBuf>,
    key: PrivateKey,
    issuers: Vec<Certificate>,
}

impl ControlUnit {
    /// Reads the control unit's chain (DER, its own certificate first), its key (PKCS#8) and the issuing CAs (DER).
    pub fn new(chain: Vec<ByteBuf>, key: &[u8], issuers: &[ByteBuf]) -> Result<Self, AuthenticationError> {
        let issuers = issuers.iter().map(|der| Certificate::parse(der)).collect::<Result<_, _>>()?;
        Ok(Self { chain, key: PrivateKey::from_pkcs8(key)?, issuers })
    }

    /// Verifies the proof of an enhanced authentication.
    pub(crate) fn identify(
        &self,
        exchange: &ServerAuthentication,
        proof: &[u8],
        now: UnixMillis,
    ) -> Result<Principal, CredentialError> {
        self.principal(&exchange.verify(proof)?, now)
    }

    /// Verifies a token; it must not have counted before.
    pub(crate) fn identify_by_token(
        &self,
        token: &[u8],
        purpose: token::Purpose<'_>,
    ) -> Result<(Principal, Verified), CredentialError> {
        let verified = token::verify(token, purpose)?;
        Ok((self.principal(&verified.authenticated, purpose.now)?, verified))
    }

    /// Verifies the certificate (DER) whose key the client has proved in TLS.
    pub(crate) fn identify_by_certificate(&self, der: &[u8], now: UnixMillis) -> Result<Principal, CredentialError> {
        let certificate = Certificate::parse(der).map_err(AuthenticationError::from)?;
        let key = certificate.fingerprint().map_err(AuthenticationError::from)?;
        self.principal(&Authenticated { key, identity: ProvedIdentity::Certificate(Box::new(certificate)) }, now)
    }

    /// Who a client is that has proved its key. A certificate that has ended still says it: what it may do then, the rights decide
    /// (it may renew).
    fn principal(&self, authenticated: &Authenticated, now: UnixMillis) -> Result<Principal, CredentialError> {
        let key = authenticated.key;
        match &authenticated.identity {
            ProvedIdentity::BareKey(device) => {
                Ok(Principal { key, device: device.clone(), credential: Credential::BareKey })
            }
            ProvedIdentity::Certificate(certificate) => {
                let not_after = certificate.validity().not_after;
                authenticated
                    .verify_certificate(&self.issuers, now.min(not_after))
                    .map_err(AuthenticationError::from)?;
                let holder = certificate.holder().ok_or(CredentialError::NotAClient)?;
                let device = holder.client().ok_or(CredentialError::NotAClient)?;
                let purpose = holder.purpose();
                let credential = Credential::Certificate { serial: certificate.serial(), purpose, not_after };
                Ok(Principal { key, device, credential })
            }
        }
    }

    /// The bridge's own proof, for CONNACK or AUTH.
    pub(crate) fn accept(&self, exchange: &ServerAuthentication) -> Result<Vec<u8>, AuthenticationError> {
        exchange.accept(&self.chain, &self.key)
    }
}
