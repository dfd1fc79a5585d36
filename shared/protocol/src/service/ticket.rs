//! The enrolment text: what a person carries from the web app to the machine on which a service runs.

use crate::cbor;
use crate::identity::{DeviceIdentifier, SessionId, Sha256};
use crate::limits::MAX_TICKET_BYTES;
use core::str::FromStr;
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// What the text begins with: the format and its version.
const PREFIX: &str = "WARDLINK-SERVICE:1:";

/// What an enrolment text says. It holds a secret, that counts once and for a short time.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct EnrolmentTicket {
    /// The service's name.
    #[zeroize(skip)]
    pub name: DeviceIdentifier,
    /// Which enrolment.
    #[zeroize(skip)]
    pub id: SessionId,
    /// What the enrolment's key is derived from.
    pub secret: [u8; 32],
    /// SHA-256 of the site's root certificate.
    #[zeroize(skip)]
    pub root: Sha256,
}

/// Why a text is no enrolment text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// The peer's fault: it is cut short, changed, or something else.
    #[error("this is no enrolment text of a Wardlink control unit; copy the whole of it")]
    Form,
}

/// What stands in the text, in this order.
#[derive(Serialize, Deserialize)]
struct Content(DeviceIdentifier, SessionId, ByteBuf, Sha256);

impl Drop for Content {
    fn drop(&mut self) {
        self.2.zeroize();
    }
}

impl EnrolmentTicket {
    /// The text. It is a secret.
    pub fn to_text(&self) -> Result<Zeroizing<String>, TicketError> {
        let content = Content(self.name.clone(), self.id, ByteBuf::from(self.secret), self.root);
        let bytes = Zeroizing::new(cbor::encode(&content).map_err(|_| TicketError::Form)?);
        let mut text = Zeroizing::new(String::from(PREFIX));
        BASE64URL_NOPAD.encode_append(&bytes, &mut text);
        Ok(text)
    }
}

impl FromStr for EnrolmentTicket {
    type Err = TicketError;
    fn from_str(text: &str) -> Result<Self, TicketError> {
        let encoded = text.trim().strip_prefix(PREFIX).filter(|rest| rest.len() <= MAX_TICKET_BYTES);
        let bytes = encoded.and_then(|encoded| BASE64URL_NOPAD.decode(encoded.as_bytes()).ok());
        let bytes = Zeroizing::new(bytes.ok_or(TicketError::Form)?);
        let content: Content = cbor::decode(&bytes, MAX_TICKET_BYTES).map_err(|_| TicketError::Form)?;
        let secret = content.2.as_slice().try_into().map_err(|_| TicketError::Form)?;
        Ok(Self { name: content.0.clone(), id: content.1, secret, root: content.3 })
    }
}
