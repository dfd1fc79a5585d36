//! One certificate, read once and checked against the profile.

use const_oid::AssociatedOid;
use const_oid::db::rfc5912::ECDSA_WITH_SHA_256;
use der::{Decode, Encode};
use serde_bytes::ByteBuf;
use sha2::Digest;
use spki::AlgorithmIdentifierOwned;
use wardlink_protocol::identity::{CertificateSerial, KeyFingerprint, Purpose, Sha256};
use wardlink_protocol::limits::MAX_CERTIFICATE_BYTES;
use wardlink_protocol::{Device, UnixMillis};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::name::Name;

use super::names::{device_of, readable, text_of};
use super::profile::{KNOWN_EXTENSIONS, purpose_of};
use super::{ChainError, Validity, X509Error};
use crate::key::PublicKey;

/// Whom a certificate names, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A device that is being paired.
    Pairing(Device),
    /// A paired device.
    Device(Device),
    /// A gateway.
    Gateway(Device),
    /// The control unit, by the site's name.
    ControlUnit(String),
    /// A server application, by its name.
    Service(String),
}

impl Holder {
    /// Who is paired under this name: a gateway, or another device.
    pub fn paired(device: Device) -> Self {
        if device.is_gateway() { Self::Gateway(device) } else { Self::Device(device) }
    }

    /// What the certificate is for.
    pub const fn purpose(&self) -> Purpose {
        match self {
            Self::Pairing(_) => Purpose::Pairing,
            Self::Device(_) => Purpose::Device,
            Self::Gateway(_) => Purpose::Gateway,
            Self::ControlUnit(_) => Purpose::ControlUnit,
            Self::Service(_) => Purpose::Service,
        }
    }

    /// The device that it names, if it names one.
    pub const fn device(&self) -> Option<&Device> {
        match self {
            Self::Pairing(device) | Self::Device(device) | Self::Gateway(device) => Some(device),
            Self::ControlUnit(_) | Self::Service(_) => None,
        }
    }

    /// Under which name it comes to the bridge: a device's own, or a service's. None for a control unit.
    pub fn client(&self) -> Option<Device> {
        match self {
            Self::Pairing(device) | Self::Device(device) | Self::Gateway(device) => Some(device.clone()),
            Self::Service(name) => name.parse().ok().map(Device::service),
            Self::ControlUnit(_) => None,
        }
    }

    fn read(purpose: Purpose, subject: &Name) -> Option<Self> {
        Some(match purpose {
            Purpose::Pairing => Self::Pairing(device_of(subject)?),
            Purpose::Device => Self::Device(device_of(subject)?),
            Purpose::Gateway => Self::Gateway(device_of(subject)?),
            Purpose::ControlUnit => Self::ControlUnit(text_of(subject)?),
            Purpose::Service => Self::Service(text_of(subject)?),
        })
    }
}

/// What a certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A CA, with the most CAs that may stand below it.
    Authority {
        /// The most CAs that may stand below it. None: as many as a chain holds, which only a CA outside the site has.
        path_length: Option<u8>,
        /// Whether it may sign lists of revoked certificates.
        signs_lists: bool,
    },
    /// Anything else.
    Holder(Holder),
}

/// A certificate in the site's profile. Whether it is to be believed, [`super::Chain::verify`] or
/// [`Certificate::verify_issued_by`] says.
///
/// A CA may be one outside the site, which has habits of its own: serial numbers of another length, no path length, a key usage that is
/// not critical, a root that names no issuer's key. What RFC 5280 asks of a CA holds for it, too; a holder's certificate is always ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    signed: Vec<u8>,
    signature: Vec<u8>,
    issuer: Name,
    subject: Name,
    key: PublicKey,
    serial: CertificateSerial,
    validity: Validity,
    kind: Kind,
    key_identifier: Vec<u8>,
    authority_key_identifier: Vec<u8>,
}

impl Certificate {
    /// Reads DER, and checks everything that does not depend on another certificate or on the time.
    pub fn parse(der: &[u8]) -> Result<Self, X509Error> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(X509Error::Malformed);
        }
        let certificate = x509_cert::Certificate::from_der(der).map_err(|_| X509Error::Malformed)?;
        // One encoding only: the signature is checked over what we would write.
        if certificate.to_der().map_err(|_| X509Error::Malformed)? != der {
            return Err(X509Error::Malformed);
        }
        let tbs = certificate.tbs_certificate();
        let v3 = tbs.version() == x509_cert::certificate::Version::V3;
        let plain = tbs.issuer_unique_id().is_none() && tbs.subject_unique_id().is_none();
        if !v3 || !plain || !is_es256(certificate.signature_algorithm()) || !is_es256(tbs.signature()) {
            return Err(X509Error::Profile);
        }
        let extensions = Extensions::read(tbs.extensions().map_or(&[], Vec::as_slice))?;
        let spki = tbs.subject_public_key_info().to_der().map_err(|_| X509Error::Malformed)?;
        let kind = extensions.kind(tbs.subject())?;
        let serial = tbs.serial_number().as_bytes().try_into();
        let (key_identifier, authority_key_identifier) = extensions.key_identifiers(tbs.issuer() == tbs.subject())?;
        let time = |time: &x509_cert::time::Time| UnixMillis::from_secs(time.to_unix_duration().as_secs());
        Ok(Self {
            der: der.to_vec(),
            signed: tbs.to_der().map_err(|_| X509Error::Malformed)?,
            signature: certificate.signature().as_bytes().ok_or(X509Error::Malformed)?.to_vec(),
            issuer: tbs.issuer().clone(),
            subject: tbs.subject().clone(),
            key: PublicKey::from_spki(&spki).map_err(|_| X509Error::Profile)?,
            serial: match kind {
                Kind::Authority { .. } => serial.unwrap_or(CertificateSerial([0; CertificateSerial::LENGTH])),
                Kind::Holder(_) => serial.map_err(|_| X509Error::Profile)?,
            },
            validity: Validity {
                not_before: time(&tbs.validity().not_before),
                not_after: time(&tbs.validity().not_after),
            },
            kind,
            key_identifier,
            authority_key_identifier,
        })
    }

    /// The certificate as DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate as DER, as it stands in messages.
    pub fn to_bytes(&self) -> ByteBuf {
        ByteBuf::from(self.der.clone())
    }

    /// SHA-256 of the DER, by which a device knows CertCA.
    pub fn sha256(&self) -> Sha256 {
        Sha256(sha2::Sha256::digest(&self.der).into())
    }

    /// The certified key.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The certified key's fingerprint.
    pub fn fingerprint(&self) -> Result<KeyFingerprint, X509Error> {
        self.key.fingerprint().map_err(|_| X509Error::Encode)
    }

    /// The serial number; zeros for a CA whose number has another length than ours, as nothing looks a CA up by its number.
    pub const fn serial(&self) -> CertificateSerial {
        self.serial
    }

    /// From when to when it holds.
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// What it is.
    pub const fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Whom it names; none for a CA.
    pub const fn holder(&self) -> Option<&Holder> {
        match &self.kind {
            Kind::Holder(holder) => Some(holder),
            Kind::Authority { .. } => None,
        }
    }

    /// What it is for; none for a CA.
    pub fn purpose(&self) -> Option<Purpose> {
        self.holder().map(Holder::purpose)
    }

    /// The device that it names, if it names one.
    pub fn device(&self) -> Option<&Device> {
        self.holder().and_then(Holder::device)
    }

    /// Its name as a person reads it: organization, unit and common name, as far as it has them.
    pub fn name(&self) -> String {
        readable(&self.subject)
    }

    pub(super) const fn subject(&self) -> &Name {
        &self.subject
    }

    pub(super) const fn issuer(&self) -> &Name {
        &self.issuer
    }

    /// How certificates that it issued, and its revocation lists, name its key.
    pub fn key_identifier(&self) -> &[u8] {
        &self.key_identifier
    }

    pub(super) fn authority_key_identifier(&self) -> &[u8] {
        &self.authority_key_identifier
    }

    /// Whether it holds at this time.
    pub fn check_time(&self, now: UnixMillis) -> Result<(), ChainError> {
        if now < self.validity.not_before {
            return Err(ChainError::NotYetValid);
        }
        if now > self.validity.not_after {
            return Err(ChainError::Expired);
        }
        Ok(())
    }

    /// Verifies that `issuer`, which the caller trusts, issued it, and that both hold at this time. Does not look above `issuer`.
    pub fn verify_issued_by(&self, issuer: &Self, now: UnixMillis) -> Result<(), ChainError> {
        let Kind::Authority { path_length, .. } = issuer.kind else { return Err(ChainError::NotAnAuthority) };
        if matches!(self.kind, Kind::Authority { .. }) && path_length == Some(0) {
            return Err(ChainError::PathLength);
        }
        if self.issuer != issuer.subject || self.authority_key_identifier != issuer.key_identifier {
            return Err(ChainError::Issuer);
        }
        self.check_time(now)?;
        issuer.check_time(now)?;
        issuer.key.verify_der(&self.signed, &self.signature).map_err(|_| ChainError::Signature)
    }

    /// Verifies that one of `issuers`, which the caller trusts, issued it for `purpose`, and that it holds at this time.
    pub fn verify_holder(&self, issuers: &[Self], purpose: Purpose, now: UnixMillis) -> Result<&Holder, ChainError> {
        let holder = self.holder().ok_or(ChainError::Purpose)?;
        if holder.purpose() != purpose {
            return Err(ChainError::Purpose);
        }
        let issuer = issuers
            .iter()
            .find(|issuer| issuer.subject == self.issuer && issuer.key_identifier == self.authority_key_identifier)
            .ok_or(ChainError::Issuer)?;
        self.verify_issued_by(issuer, now)?;
        Ok(holder)
    }
}

pub(super) fn is_es256(algorithm: &AlgorithmIdentifierOwned) -> bool {
    algorithm.oid == ECDSA_WITH_SHA_256 && algorithm.parameters.is_none()
}

/// The extensions of the profile, as a certificate carries them.
#[derive(Default)]
struct Extensions {
    constraints: Option<BasicConstraints>,
    usage: Option<KeyUsage>,
    purpose: Option<ExtendedKeyUsage>,
    key_identifier: Vec<u8>,
    authority_key_identifier: Vec<u8>,
    /// Whether the key usage is not critical, as RFC 5280 allows.
    is_usage_lax: bool,
}

impl Extensions {
    fn read(extensions: &[Extension]) -> Result<Self, X509Error> {
        let mut read = Self::default();
        for (index, extension) in extensions.iter().enumerate() {
            let oid = extension.extn_id;
            let twice = extensions.iter().take(index).any(|earlier| earlier.extn_id == oid);
            let unknown = extension.critical && !KNOWN_EXTENSIONS.contains(&oid);
            // RFC 5280 lets a CA choose; this profile wants these to be critical, and of holders the key usage, too.
            let lax = [BasicConstraints::OID, ExtendedKeyUsage::OID].contains(&oid) && !extension.critical;
            if twice || unknown || lax {
                return Err(X509Error::Profile);
            }
            read.is_usage_lax |= oid == KeyUsage::OID && !extension.critical;
            read.take(extension)?;
        }
        Ok(read)
    }

    /// The holder's and the issuer's key. RFC 5280 section 4.2.1.1: only who issued itself may leave the issuer's out.
    fn key_identifiers(self, issued_itself: bool) -> Result<(Vec<u8>, Vec<u8>), X509Error> {
        let Self { key_identifier: own, authority_key_identifier: mut issuer, .. } = self;
        if issuer.is_empty() && issued_itself {
            issuer.clone_from(&own);
        }
        if own.is_empty() || issuer.is_empty() { Err(X509Error::Profile) } else { Ok((own, issuer)) }
    }

    fn take(&mut self, extension: &Extension) -> Result<(), X509Error> {
        let value = extension.extn_value.as_bytes();
        match extension.extn_id {
            BasicConstraints::OID => self.constraints = Some(decode(value)?),
            KeyUsage::OID => self.usage = Some(decode(value)?),
            ExtendedKeyUsage::OID => self.purpose = Some(decode(value)?),
            SubjectKeyIdentifier::OID => {
                self.key_identifier = decode::<SubjectKeyIdentifier>(value)?.0.as_bytes().to_vec();
            }
            AuthorityKeyIdentifier::OID => {
                let identifier = decode::<AuthorityKeyIdentifier>(value)?.key_identifier.ok_or(X509Error::Profile)?;
                self.authority_key_identifier = identifier.as_bytes().to_vec();
            }
            _ => {}
        }
        Ok(())
    }

    fn kind(&self, subject: &Name) -> Result<Kind, X509Error> {
        let usage = self.usage.ok_or(X509Error::Profile)?;
        let authority = self.constraints.as_ref().is_some_and(|constraints| constraints.ca);
        if authority {
            let path_length = self.constraints.as_ref().and_then(|constraints| constraints.path_len_constraint);
            let fits = usage.0.contains(KeyUsages::KeyCertSign) && self.purpose.is_none();
            let signs_lists = usage.0.contains(KeyUsages::CRLSign);
            return if fits { Ok(Kind::Authority { path_length, signs_lists }) } else { Err(X509Error::Profile) };
        }
        if self.is_usage_lax
            || usage.0.contains(KeyUsages::KeyCertSign)
            || !usage.0.contains(KeyUsages::DigitalSignature)
        {
            return Err(X509Error::Profile);
        }
        let purpose = self.purpose.as_ref().and_then(purpose_of).ok_or(X509Error::Profile)?;
        Holder::read(purpose, subject).map(Kind::Holder).ok_or(X509Error::Profile)
    }
}

pub(super) fn decode<'a, T: Decode<'a>>(value: &'a [u8]) -> Result<T, X509Error> {
    T::from_der(value).map_err(|_| X509Error::Malformed)
}
