//! Certificate revocation lists (X.509 v2, RFC 5280 section 5): full lists, signed by the issuing CA.

use const_oid::AssociatedOid;
use der::asn1::{BitString, OctetString, Uint};
use der::{Decode, Encode};
use p256::ecdsa::DerSignature;
use p256::ecdsa::signature::Signer;
use serde::{Deserialize, Serialize};
use spki::{DynSignatureAlgorithmIdentifier, SignatureBitStringEncoding};
use std::collections::BTreeMap;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::identity::CertificateSerial;
use wardlink_protocol::limits::{MAX_CLOCK_SKEW, MAX_CRL_BYTES, MAX_CRL_ENTRIES};
use x509_cert::Version;
use x509_cert::crl::{CertificateList, RevokedCert, TbsCertList};
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, CrlNumber, CrlReason};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;

use super::authority::time;
use super::certificate::{decode, is_es256};
use super::{Certificate, ChainError, IssuingCa, Kind, X509Error};

/// Why a certificate was revoked (RFC 5280 section 5.3.1); the reasons that a site of ours has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationReason {
    /// No reason was given.
    Unspecified,
    /// Somebody else has the key, or may have: a device is lost or stolen.
    KeyCompromise,
    /// Another certificate took its place.
    Superseded,
    /// The device is out of service for good.
    CessationOfOperation,
    /// It may no longer do what the certificate is for.
    PrivilegeWithdrawn,
}

impl RevocationReason {
    /// What stands in a list; a reason that was not given is left out (RFC 5280 section 5.3.1).
    const fn to_code(self) -> Option<CrlReason> {
        match self {
            Self::Unspecified => None,
            Self::KeyCompromise => Some(CrlReason::KeyCompromise),
            Self::Superseded => Some(CrlReason::Superseded),
            Self::CessationOfOperation => Some(CrlReason::CessationOfOperation),
            Self::PrivilegeWithdrawn => Some(CrlReason::PrivilegeWithdrawn),
        }
    }

    const fn from_code(code: CrlReason) -> Option<Self> {
        match code {
            CrlReason::KeyCompromise => Some(Self::KeyCompromise),
            CrlReason::Superseded => Some(Self::Superseded),
            CrlReason::CessationOfOperation => Some(Self::CessationOfOperation),
            CrlReason::PrivilegeWithdrawn => Some(Self::PrivilegeWithdrawn),
            CrlReason::Unspecified
            | CrlReason::CaCompromise
            | CrlReason::AffiliationChanged
            | CrlReason::CertificateHold
            | CrlReason::RemoveFromCRL
            | CrlReason::AaCompromise => None,
        }
    }
}

/// A revoked certificate on a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// When it was revoked.
    pub revoked_at: UnixMillis,
    /// Why.
    pub reason: RevocationReason,
}

/// Why a certificate does not count by a list, or a list is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// The peer's fault: the list is of another issuer, or not signed by it.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The peer's fault, or a wrong clock: the list begins later.
    #[error("the revocation list is not valid yet")]
    NotYetValid,
    /// Nobody brought a newer list in time.
    #[error("the revocation list is out of date")]
    Stale,
    /// The peer's fault: a list that is older than the one that is known.
    #[error("the revocation list has a lower number than the one that is known")]
    NumberFalls,
    /// The certificate is revoked.
    #[error("the certificate is revoked")]
    Revoked(Revocation),
}

/// A list in the site's profile. Whether it is to be believed, [`RevocationList::verify`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationList {
    der: Vec<u8>,
    signed: Vec<u8>,
    signature: Vec<u8>,
    issuer: Name,
    authority_key_identifier: Vec<u8>,
    number: u64,
    this_update: UnixMillis,
    next_update: UnixMillis,
    revoked: BTreeMap<CertificateSerial, Revocation>,
}

impl IssuingCa {
    /// Signs a list of everything that is revoked and has not ended yet. `number` is higher than in every list before
    /// (RFC 5280 section 5.2.3); a newer list follows by `next_update`.
    pub fn issue_crl(
        &self,
        number: u64,
        revoked: &BTreeMap<CertificateSerial, Revocation>,
        this_update: UnixMillis,
        next_update: UnixMillis,
    ) -> Result<RevocationList, X509Error> {
        let issuer = self.certificate().subject().clone();
        let identifier = self.certificate().key_identifier().to_vec();
        let identifier = OctetString::new(identifier).map_err(|_| X509Error::Encode)?;
        let number = CrlNumber(Uint::try_from(number).map_err(|_| X509Error::Encode)?);
        let authority = AuthorityKeyIdentifier { key_identifier: Some(identifier), ..Default::default() };
        let extension = |encoded: der::Result<Extension>| encoded.map_err(|_| X509Error::Encode);
        let entries = revoked.iter().map(|(serial, revocation)| entry(*serial, revocation, &issuer));
        let entries: Vec<RevokedCert> = entries.collect::<Result<_, _>>()?;
        let list = TbsCertList {
            version: Version::V2,
            signature: self.key().signature_algorithm_identifier().map_err(|_| X509Error::Encode)?,
            this_update: time(this_update)?,
            next_update: Some(time(next_update)?),
            // RFC 5280 section 5.1.2.6: absent where nothing is revoked.
            revoked_certificates: (!entries.is_empty()).then_some(entries),
            crl_extensions: Some(vec![
                extension((false, &authority).to_extension(&issuer, &[]))?,
                extension((false, &number).to_extension(&issuer, &[]))?,
            ]),
            issuer,
        };
        let signed = list.to_der().map_err(|_| X509Error::Encode)?;
        let signature: DerSignature = self.key().try_sign(&signed).map_err(|_| X509Error::Encode)?;
        let list = CertificateList {
            signature_algorithm: list.signature.clone(),
            signature: signature.to_bitstring().map_err(|_| X509Error::Encode)?,
            tbs_cert_list: list,
        };
        RevocationList::parse(&list.to_der().map_err(|_| X509Error::Encode)?)
    }
}

fn entry(serial: CertificateSerial, revocation: &Revocation, issuer: &Name) -> Result<RevokedCert, X509Error> {
    let reason = revocation.reason.to_code();
    let extensions = reason.map(|reason| (false, &reason).to_extension(issuer, &[]).map(|extension| vec![extension]));
    Ok(RevokedCert {
        serial_number: SerialNumber::new(serial.as_bytes()).map_err(|_| X509Error::Encode)?,
        revocation_date: time(revocation.revoked_at)?,
        crl_entry_extensions: extensions.transpose().map_err(|_| X509Error::Encode)?,
    })
}

impl RevocationList {
    /// Reads DER, and checks everything that does not depend on a certificate or on the time.
    pub fn parse(der: &[u8]) -> Result<Self, X509Error> {
        if der.len() > MAX_CRL_BYTES {
            return Err(X509Error::Malformed);
        }
        let list =
            CertificateList::<x509_cert::certificate::Rfc5280>::from_der(der).map_err(|_| X509Error::Malformed)?;
        // One encoding only: the signature is checked over what we would write.
        if list.to_der().map_err(|_| X509Error::Malformed)? != der {
            return Err(X509Error::Malformed);
        }
        let tbs = &list.tbs_cert_list;
        if tbs.version != Version::V2 || !is_es256(&list.signature_algorithm) || !is_es256(&tbs.signature) {
            return Err(X509Error::Profile);
        }
        let (number, authority_key_identifier) = list_extensions(tbs.crl_extensions.as_deref().unwrap_or_default())?;
        let entries = tbs.revoked_certificates.as_deref().unwrap_or_default();
        let empty = tbs.revoked_certificates.is_some() && entries.is_empty();
        if empty || entries.len() > MAX_CRL_ENTRIES {
            return Err(X509Error::Profile);
        }
        let mut revoked = BTreeMap::new();
        for entry in entries {
            let (serial, revocation) = read_entry(entry)?;
            if revoked.insert(serial, revocation).is_some() {
                return Err(X509Error::Profile);
            }
        }
        let this_update = read_time(tbs.this_update);
        let next_update = tbs.next_update.map(read_time).ok_or(X509Error::Profile)?;
        if next_update <= this_update {
            return Err(X509Error::Profile);
        }
        Ok(Self {
            der: der.to_vec(),
            signed: tbs.to_der().map_err(|_| X509Error::Malformed)?,
            signature: BitString::as_bytes(&list.signature).ok_or(X509Error::Malformed)?.to_vec(),
            issuer: tbs.issuer.clone(),
            authority_key_identifier,
            number,
            this_update,
            next_update,
            revoked,
        })
    }

    /// The list as DER, media type `application/pkix-crl`.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its number: it only rises.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// When it was made.
    pub const fn this_update(&self) -> UnixMillis {
        self.this_update
    }

    /// By when a newer one follows.
    pub const fn next_update(&self) -> UnixMillis {
        self.next_update
    }

    /// What is revoked.
    pub const fn revoked(&self) -> &BTreeMap<CertificateSerial, Revocation> {
        &self.revoked
    }

    /// Verifies that `issuer`, which the caller trusts, signed the list, and that it is up to date. `known` is the number of the
    /// newest list that was seen.
    pub fn verify(&self, issuer: &Certificate, known: Option<u64>, now: UnixMillis) -> Result<(), CrlError> {
        // RFC 5280 section 6.3.3 (f).
        if !matches!(issuer.kind(), Kind::Authority { signs_lists: true, .. }) {
            return Err(ChainError::NotAnAuthority.into());
        }
        if self.issuer != *issuer.subject() || self.authority_key_identifier != issuer.key_identifier() {
            return Err(ChainError::Issuer.into());
        }
        issuer.check_time(now)?;
        issuer.key().verify_der(&self.signed, &self.signature).map_err(|_| ChainError::Signature)?;
        if self.this_update > now.after(MAX_CLOCK_SKEW) {
            return Err(CrlError::NotYetValid);
        }
        if now > self.next_update {
            return Err(CrlError::Stale);
        }
        if known.is_some_and(|known| self.number < known) {
            return Err(CrlError::NumberFalls);
        }
        Ok(())
    }

    /// Whether a certificate still counts by this list, which the caller has verified. A certificate of another issuer is not
    /// this list's matter, and is refused.
    pub fn check(&self, certificate: &Certificate) -> Result<(), CrlError> {
        let same = *certificate.issuer() == self.issuer
            && certificate.authority_key_identifier() == self.authority_key_identifier;
        if !same {
            return Err(ChainError::Issuer.into());
        }
        match self.revoked.get(&certificate.serial()) {
            Some(revocation) => Err(CrlError::Revoked(*revocation)),
            None => Ok(()),
        }
    }
}

/// Number and issuer's key: each once, not critical, and nothing else.
fn list_extensions(extensions: &[Extension]) -> Result<(u64, Vec<u8>), X509Error> {
    let (mut number, mut authority) = (None, None);
    for extension in extensions {
        let value = extension.extn_value.as_bytes();
        let again = match extension.extn_id {
            CrlNumber::OID => number.replace(decode::<CrlNumber>(value)?.0).is_some(),
            AuthorityKeyIdentifier::OID => {
                let identifier = decode::<AuthorityKeyIdentifier>(value)?.key_identifier.ok_or(X509Error::Profile)?;
                authority.replace(identifier.as_bytes().to_vec()).is_some()
            }
            _ => true,
        };
        if again || extension.critical {
            return Err(X509Error::Profile);
        }
    }
    let number = number.ok_or(X509Error::Profile)?;
    let bytes = number.as_bytes();
    let padded = 8_usize.checked_sub(bytes.len()).ok_or(X509Error::Profile)?;
    let number = core::iter::repeat_n(&0, padded).chain(bytes).fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
    Ok((number, authority.ok_or(X509Error::Profile)?))
}

fn read_entry(entry: &RevokedCert) -> Result<(CertificateSerial, Revocation), X509Error> {
    let serial = entry.serial_number.as_bytes().try_into().map_err(|_| X509Error::Profile)?;
    let reason = match entry.crl_entry_extensions.as_deref() {
        None => RevocationReason::Unspecified,
        Some([extension]) if extension.extn_id == CrlReason::OID && !extension.critical => {
            let code = decode::<CrlReason>(extension.extn_value.as_bytes())?;
            RevocationReason::from_code(code).ok_or(X509Error::Profile)?
        }
        Some(_) => return Err(X509Error::Profile),
    };
    Ok((serial, Revocation { revoked_at: read_time(entry.revocation_date), reason }))
}

fn read_time(time: x509_cert::time::Time) -> UnixMillis {
    UnixMillis::from_secs(time.to_unix_duration().as_secs())
}

#[cfg(test)]
mod tests;
