//! What a gateway and the distribution server say to each other in a session (Distribution, figures 6, 9, 10, 12 and 13).
//!
//! A session is one WebSocket: [`SessionHello`], [`SessionAnswer`] and [`SessionProof`], then messages under the session's keys, each a
//! [`FromGateway`] or a [`FromServer`]. Whatever has to arrive is a [`Numbered`] message; its receiver answers [`Answer`] when it is stored.
//! The metadata and reports inside are those of `wardlink-update`, as bytes. A device that does without a gateway speaks the same.

use crate::api::Held;
use crate::identity::{Device, InvalidName};
use crate::limits::POLL_TICKET_BYTES;
use crate::time::UnixMillis;
use core::str::FromStr;
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The WebSocket subprotocol of a session.
pub const SESSION_PROTOCOL: &str = "wardlink-gateway.1";

/// A gateway begins: who it is, and its part of the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionHello {
    /// The gateway's certificate, DER; a device's, where a device speaks for itself.
    pub certificate: ByteBuf,
    /// Its ephemeral key: SEC1 uncompressed point, 65 bytes.
    pub ephemeral: ByteBuf,
    /// The host that it dialled, as in HTTP's Host field.
    pub host: String,
}

/// The server's part of the key, and its proof that it speaks for the control unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionAnswer {
    /// The control unit's certificate and the chain up to and including the root; DER.
    pub chain: Vec<ByteBuf>,
    /// Its ephemeral key: SEC1 uncompressed point, 65 bytes.
    pub ephemeral: ByteBuf,
    /// ECDSA P-256 with SHA-256, r and s, 64 bytes.
    pub signature: ByteBuf,
}

/// The gateway's proof that it holds the key of its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionProof {
    /// ECDSA P-256 with SHA-256, r and s, 64 bytes.
    pub signature: ByteBuf,
}

/// A message that has to arrive. It is sent again, with the same number, until it is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Numbered<T> {
    /// Chosen by the sender, unique within the session.
    pub number: u64,
    /// What is said.
    pub message: T,
}

/// What a gateway says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FromGateway {
    /// A signed configuration report, JSON (figure 6; figure 10, 213).
    Report(Numbered<ByteBuf>),
    /// What became of an update: a notification, JSON (figure 10, 218 to 220).
    Outcome(Numbered<ByteBuf>),
    /// Stored data of a device, signed by it (figure 13, 274).
    Records(Numbered<ByteBuf>),
    /// Somebody at the gateway asks to look for updates now. Answered like a message that has to arrive.
    Ask(Numbered<()>),
    /// What it holds of stored data: first of all, and whenever that has changed for a while.
    Holds(Held),
    /// The answer to a message of the server.
    Answer(Answer),
}

/// What the server says.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FromServer {
    /// The session stands; first of all.
    Welcome(Box<Welcome>),
    /// The devices changed: this is the whole list.
    Devices(Numbered<Vec<AssociatedDevice>>),
    /// There is a directive of this version: it is to be fetched and verified (figure 10, 217).
    Directive(Numbered<u64>),
    /// A report is wanted (figure 6, polled).
    Report(Numbered<()>),
    /// Stored data is wanted: of this device, or of all (figure 9, 193).
    Send(Numbered<Option<Device>>),
    /// The receipt for stored data that was taken: COSE, signed by the control unit.
    Receipt(ByteBuf),
    /// The answer to a message of the gateway.
    Answer(Answer),
}

/// What a gateway is told when its session begins.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Welcome {
    /// The newest directive's version; 0 where there is none.
    pub directive: u64,
    /// The counter of the newest report that the server has of this gateway.
    pub reported: u64,
    /// The first root of this gateway's director repository, JSON.
    pub director_root: ByteBuf,
    /// The first roots of the manufacturers' repositories of this site, JSON.
    pub manufacturers: Vec<ManufacturerRoot>,
    /// Its devices.
    pub devices: Vec<AssociatedDevice>,
    /// What an idle poll shows.
    pub ticket: PollTicket,
    /// Until when that counts.
    pub ticket_ends_at: UnixMillis,
}

/// The image repository of a manufacturer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManufacturerRoot {
    /// Its name, as its packages give it.
    pub manufacturer: String,
    /// Its first root, JSON. A gateway that trusts one already follows only that one.
    pub root: ByteBuf,
}

/// A device that a gateway has to do with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssociatedDevice {
    /// The device.
    pub device: Device,
    /// Its key, SubjectPublicKeyInfo, DER; none where it cannot sign, and the gateway speaks for it.
    pub key: Option<ByteBuf>,
    /// Whether it is updated through this gateway; otherwise it only hands over its stored data here.
    pub updates: bool,
    /// The keys of its channel `update`, under the gateway's `K_wrap`: [`AssociatedKeys`](crate::keys::AssociatedKeys), sealed by the control
    /// unit, so that nobody in between reads them. None where it has no such channel, or no key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<ByteBuf>,
}

/// The first root of the director's repository, as the site gives it to a device: the payload of a COSE_Sign1 of the control unit.
///
/// A device knows its manufacturer's keys from the factory, and those of the hospital that it comes to from here: CertCA, which it
/// has from its pairing, vouches for the control unit, and the control unit for whoever directs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectorRoot {
    /// The device that it is for.
    pub device: Device,
    /// When it was signed. A device takes none that is older than the one that it has.
    pub issued_at: UnixMillis,
    /// The root, JSON. The device follows later ones from it by itself.
    pub root: ByteBuf,
}

/// What shows that a poll comes from a gateway, given in a session. The server keeps its SHA-256 only.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct PollTicket(#[serde(with = "serde_bytes")] [u8; POLL_TICKET_BYTES]);

impl PollTicket {
    /// Takes random bytes.
    pub const fn new(bytes: [u8; POLL_TICKET_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes, to be hashed and compared.
    pub const fn as_bytes(&self) -> &[u8; POLL_TICKET_BYTES] {
        &self.0
    }

    /// As a poll shows it: base64url, without padding.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64URL_NOPAD.encode(&self.0))
    }
}

impl FromStr for PollTicket {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| InvalidName::Character)?);
        bytes.as_slice().try_into().map(Self).map_err(|_| InvalidName::Length)
    }
}

/// What became of a message that had to arrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The message's number.
    pub number: u64,
    /// Why it was refused; none where it was taken. What is refused is not sent again.
    pub refused: Option<SessionRefusal>,
}

/// Why something is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRefusal {
    /// The step that failed, such as `figure 10, 213`.
    pub step: String,
    /// What is wrong, for people.
    pub reason: String,
}

#[cfg(test)]
mod tests;
