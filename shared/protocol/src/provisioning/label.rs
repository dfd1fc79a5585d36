//! The printed label: the provisioning file as a short text, for a QR code in alphanumeric mode.

use super::{AccessSecret, FILE_VERSION, Provisioning};
use crate::cbor;
use crate::identity::{ClientClass, DeviceIdentifier, SecretId, Sha256};
use crate::limits::MAX_LABEL_BYTES;
use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use zeroize::{Zeroize as _, Zeroizing};

/// What a label begins with: the format and its version.
const PREFIX: &str = "WARDLINK:1:";

/// Why a provisioning file has no label, or a text is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// The caller's fault: the file names root certificates for TLS, which are too long for a label, and no CertCA that could
    /// vouch for them later. Hand over the file instead.
    #[error("a label cannot carry root certificates, and there is no CertCA that vouches for them")]
    Anchors,
    /// The caller's fault: addresses or names are so long that nobody could scan the label. Hand over the file instead.
    #[error("it is too long for a label")]
    TooLong,
    /// The caller's fault: a file of another version.
    #[error("a file of this version has no label")]
    Version,
    /// The peer's fault: the text is no label, or it is cut short or changed.
    #[error("this is no label of a Wardlink control unit")]
    Form,
}

/// What stands in a label, in this order.
#[derive(Serialize, Deserialize)]
struct Content(
    ClientClass,
    Option<DeviceIdentifier>,
    /// The broker's address; none where it follows from the web origin.
    Option<String>,
    SecretId,
    ByteBuf,
    /// The web origin.
    String,
    /// CertCA.
    Option<Sha256>,
    /// Whether the public web PKI counts.
    bool,
);

impl Drop for Content {
    fn drop(&mut self) {
        self.4.zeroize();
    }
}

impl Provisioning {
    /// The label's text. It holds the access secret.
    ///
    /// Root certificates for TLS don't fit. Where the file has some, the label leaves them out if it carries CertCA's hash: its
    /// device takes the server's TLS certificate as it comes until the control unit's command, whose signature CertCA covers, names
    /// them ([`Self::tls_is_deferred`]). Without that hash there is no label.
    pub fn to_label(&self) -> Result<String, LabelError> {
        if self.version != FILE_VERSION {
            return Err(LabelError::Version);
        }
        if !self.tls_anchors.is_empty() && self.cert_ca_sha256.is_none() {
            return Err(LabelError::Anchors);
        }
        let broker = (Some(&self.broker) != broker_of(&self.web_origin).as_ref()).then(|| self.broker.clone());
        let content = Content(
            self.client.clone(),
            self.identifier.clone(),
            broker,
            self.secret_id.clone(),
            ByteBuf::from(self.secret.as_bytes()),
            self.web_origin.clone(),
            self.cert_ca_sha256,
            self.web_pki,
        );
        let bytes = Zeroizing::new(cbor::encode(&content).map_err(|_| LabelError::TooLong)?);
        if bytes.len() > MAX_LABEL_BYTES {
            return Err(LabelError::TooLong);
        }
        Ok(format!("{PREFIX}{}", BASE32_NOPAD.encode(&bytes)))
    }

    /// Reads a label. One file has one label: any other text for it is refused.
    pub fn from_label(label: &str) -> Result<Self, LabelError> {
        let text = label.strip_prefix(PREFIX).ok_or(LabelError::Form)?;
        if text.len() > BASE32_NOPAD.encode_len(MAX_LABEL_BYTES) {
            return Err(LabelError::Form);
        }
        let bytes = Zeroizing::new(BASE32_NOPAD.decode(text.as_bytes()).map_err(|_| LabelError::Form)?);
        let content: Content = cbor::decode(&bytes, MAX_LABEL_BYTES).map_err(|_| LabelError::Form)?;
        let implied = broker_of(&content.5);
        if content.2.is_some() && content.2 == implied {
            return Err(LabelError::Form);
        }
        Ok(Self {
            version: FILE_VERSION,
            client: content.0.clone(),
            identifier: content.1.clone(),
            broker: content.2.clone().or(implied).ok_or(LabelError::Form)?,
            secret_id: content.3.clone(),
            secret: AccessSecret::new(content.4.to_vec()).map_err(|_| LabelError::Form)?,
            web_origin: content.5.clone(),
            cert_ca_sha256: content.6,
            tls_anchors: Vec::new(),
            web_pki: content.7,
        })
    }

    /// Whether the device learns only from PAIRING_COMMAND by what to check the server's TLS certificate, although it can check the
    /// control unit's signature from the first byte: it knows CertCA, and nothing for TLS. So it is after a label whose file names
    /// root certificates.
    pub fn tls_is_deferred(&self) -> bool {
        self.cert_ca_sha256.is_some() && self.tls_anchors.is_empty() && !self.web_pki
    }
}

/// The broker's address where the control unit serves both under one origin.
fn broker_of(web_origin: &str) -> Option<String> {
    let (scheme, host) = web_origin.split_once("://")?;
    let scheme = match scheme {
        "https" => "wss",
        "http" => "ws",
        _ => return None,
    };
    Some(format!("{scheme}://{host}/mqtt"))
}

#[cfg(test)]
mod tests;
