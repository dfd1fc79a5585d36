//! What a person carries from the device to the control unit, and how it is compared.

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use wardlink_crypto::schedule::{DerivationError, PairingKeys};
use wardlink_protocol::Device;
use wardlink_protocol::api::VerificationProof;
use wardlink_protocol::identity::{SessionId, Sha256};
use wardlink_protocol::pairing::Mode;
use wardlink_protocol::verification::{Answer, InvalidCode, QrTag, VerificationCode, VerificationLink};

use crate::policy::Choice;

/// What a code, a tag or an answer is derived from: the same on both sides if nobody stands between.
pub struct Check<'a> {
    /// The keys of the pairing.
    pub keys: &'a PairingKeys,
    /// Nd, the device's nonce.
    pub nonce: &'a Sha256,
    /// The session.
    pub session: SessionId,
    /// The device.
    pub device: &'a Device,
    /// The chosen mode.
    pub choice: Choice,
    /// The control unit's web origin.
    pub origin: &'a str,
}

impl Check<'_> {
    /// The eight digits that the device shows; none where the mode has no code.
    pub fn code(&self) -> Result<Option<VerificationCode>, DerivationError> {
        if self.choice.shows_code() { self.keys.code(self.nonce, self.choice.mode).map(Some) } else { Ok(None) }
    }

    /// What the QR code says that the device shows; none where the mode has no QR code.
    pub fn link(&self) -> Result<Option<VerificationLink>, DerivationError> {
        if !self.choice.shows_qr() {
            return Ok(None);
        }
        Ok(Some(VerificationLink {
            origin: self.origin.to_owned(),
            session: self.session,
            tag: self.tag()?,
            identifier: self.device.identifier.clone(),
        }))
    }

    /// The four digits that the control unit shows, for a device that was given no CertCA.
    pub fn answer(&self) -> Result<Answer, DerivationError> {
        self.keys.answer(self.nonce)
    }

    fn tag(&self) -> Result<QrTag, DerivationError> {
        self.keys.tag(self.nonce, &self.session, self.device, self.origin)
    }

    /// Compares in constant time. What the mode does not show never matches.
    pub(crate) fn matches(&self, proof: &Proof) -> Result<bool, DerivationError> {
        match proof {
            Proof::Code(digits) => {
                let expected = self.code()?.map(|code| code.to_ascii());
                Ok(expected.is_some_and(|expected| expected.ct_eq(digits).into()))
            }
            Proof::Tag(tag) if self.choice.shows_qr() => Ok(self.tag()?.as_bytes().ct_eq(tag.as_bytes()).into()),
            Proof::Tag(_) => Ok(false),
        }
    }
}

/// What a person brought, once it has the form of a code or a tag.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Proof {
    /// The eight digits, ASCII.
    Code([u8; 8]),
    /// The tag of the QR code.
    Tag(QrTag),
}

impl Proof {
    /// Reads what a person brought. A text that is no code is mistyped, and counts as no attempt.
    pub(crate) fn parse(proof: &VerificationProof) -> Result<Self, InvalidCode> {
        match proof {
            VerificationProof::Code(text) => Ok(Self::Code(text.parse::<VerificationCode>()?.to_ascii())),
            VerificationProof::Tag(tag) => Ok(Self::Tag(*tag)),
        }
    }

    /// By what the person verified.
    pub(crate) const fn mode(&self) -> Mode {
        match self {
            Self::Code(_) => Mode::PairingCode,
            Self::Tag(_) => Mode::PairingQrcode,
        }
    }

    /// Whether the device shows what this claims to have read.
    pub(crate) const fn is_shown_by(&self, choice: Choice) -> bool {
        match self {
            Self::Code(_) => choice.shows_code(),
            Self::Tag(_) => choice.shows_qr(),
        }
    }
}
