//! Who a client is: MQTT's enhanced authentication (MQTT 5.0 section 4.12), method `WARDLINK-ES256`.

use crate::rights::{Credential, Principal};
use serde_bytes::ByteBuf;
use wardlink_crypto::authentication::{AuthenticationError, ProvedIdentity, ServerAuthentication};
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::{Certificate, ChainError};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::identity::Purpose;

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

    /// Verifies the client's proof. A certificate that has ended still says who the client is: what it may do then, the rights
    /// decide (it may renew).
    pub(crate) fn identify(
        &self,
        exchange: &ServerAuthentication,
        proof: &[u8],
        now: UnixMillis,
    ) -> Result<Principal, AuthenticationError> {
        let authenticated = exchange.verify(proof)?;
        let key = authenticated.key;
        match &authenticated.identity {
            ProvedIdentity::BareKey(device) => {
                Ok(Principal { key, device: device.clone(), credential: Credential::BareKey })
            }
            ProvedIdentity::Certificate(certificate) => {
                let not_after = certificate.validity().not_after;
                authenticated.verify_certificate(&self.issuers, now.min(not_after))?;
                let purpose = certificate.purpose().filter(|purpose| is_client(*purpose)).ok_or(ChainError::Purpose)?;
                let device = certificate.device().ok_or(ChainError::Purpose)?.clone();
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

/// Whether certificates of this purpose come over MQTT: the control unit itself never does.
const fn is_client(purpose: Purpose) -> bool {
    matches!(purpose, Purpose::Pairing | Purpose::Device | Purpose::Gateway | Purpose::Service)
}
