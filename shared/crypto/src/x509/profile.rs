//! The extensions that each kind of certificate carries.

use const_oid::AssociatedOid;
use der::asn1::OctetString;
use der::oid::ObjectIdentifier;
use sha2::{Digest, Sha256};
use spki::SubjectPublicKeyInfoRef;
use wardlink_protocol::identity::Purpose;
use x509_cert::TbsCertificate;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Error, Result};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name;

/// The arc of the extended key usages: 054f70d5-7de1-43ad-8ba4-03e35fc06ffd, a UUID split as in Microsoft's published
/// scheme for self-assigned OIDs. (ITU-T X.667's `2.25.<UUID>` has an arc of 128 bits, which many parsers refuse.)
const fn purpose_oid(purpose: Purpose) -> ObjectIdentifier {
    let text = match purpose {
        Purpose::Pairing => "1.2.840.113556.1.8000.2554.1359.28885.32225.17325.35748.254815.12611581.1",
        Purpose::Device => "1.2.840.113556.1.8000.2554.1359.28885.32225.17325.35748.254815.12611581.2",
        Purpose::ControlUnit => "1.2.840.113556.1.8000.2554.1359.28885.32225.17325.35748.254815.12611581.3",
        Purpose::Gateway => "1.2.840.113556.1.8000.2554.1359.28885.32225.17325.35748.254815.12611581.4",
        Purpose::Service => "1.2.840.113556.1.8000.2554.1359.28885.32225.17325.35748.254815.12611581.5",
    };
    ObjectIdentifier::new_unwrap(text)
}

const PURPOSES: [Purpose; 5] =
    [Purpose::Pairing, Purpose::Device, Purpose::ControlUnit, Purpose::Gateway, Purpose::Service];

/// The purpose that an extended key usage means.
pub(super) fn purpose_of(usage: &ExtendedKeyUsage) -> Option<Purpose> {
    match usage.0.as_slice() {
        [oid] => PURPOSES.into_iter().find(|purpose| purpose_oid(*purpose) == *oid),
        _ => None,
    }
}

/// What a certificate is.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// A CA, with the most CAs that may stand below it.
    Authority { path_length: u8 },
    /// Anything else.
    Holder { purpose: Purpose },
}

/// A certificate to be built.
pub(super) struct SiteProfile {
    pub(super) issuer: Name,
    /// How the issuer's certificate names its key; none where it is its own. A CA outside names keys in its own way.
    pub(super) issuer_key: Option<Vec<u8>>,
    pub(super) subject: Name,
    pub(super) shape: Shape,
}

/// The key identifier: the leftmost 160 bits of SHA-256 over the key's bit string (RFC 7093 section 2, method 1).
fn key_identifier(key: &SubjectPublicKeyInfoRef<'_>) -> Result<OctetString> {
    let hash = Sha256::digest(key.subject_public_key.raw_bytes());
    OctetString::new(hash.iter().copied().take(20).collect::<Vec<u8>>()).map_err(Error::Asn1)
}

impl BuilderProfile for SiteProfile {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        key: SubjectPublicKeyInfoRef<'_>,
        _issuer_key: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> Result<Vec<Extension>> {
        let none = &[];
        let subject = tbs.subject();
        let constraints = match self.shape {
            Shape::Authority { path_length } => BasicConstraints { ca: true, path_len_constraint: Some(path_length) },
            Shape::Holder { .. } => BasicConstraints { ca: false, path_len_constraint: None },
        };
        let usage = match self.shape {
            Shape::Authority { .. } => KeyUsages::KeyCertSign | KeyUsages::CRLSign,
            Shape::Holder { .. } => KeyUsages::DigitalSignature | KeyUsages::KeyAgreement,
        };
        let issuer_key = match &self.issuer_key {
            Some(identifier) => OctetString::new(identifier.as_slice()).map_err(Error::Asn1)?,
            None => key_identifier(&key)?,
        };
        let authority = AuthorityKeyIdentifier { key_identifier: Some(issuer_key), ..Default::default() };
        let mut extensions = vec![
            (true, &constraints).to_extension(subject, none)?,
            (true, &KeyUsage(usage)).to_extension(subject, none)?,
            (false, &SubjectKeyIdentifier(key_identifier(&key)?)).to_extension(subject, none)?,
            (false, &authority).to_extension(subject, none)?,
        ];
        if let Shape::Holder { purpose } = self.shape {
            let usage = ExtendedKeyUsage(vec![purpose_oid(purpose)]);
            extensions.push((true, &usage).to_extension(subject, none)?);
        }
        Ok(extensions)
    }
}

/// The extensions that the profile knows. Another critical one is refused (RFC 5280 section 4.2).
pub(super) const KNOWN_EXTENSIONS: [ObjectIdentifier; 5] = [
    BasicConstraints::OID,
    KeyUsage::OID,
    ExtendedKeyUsage::OID,
    SubjectKeyIdentifier::OID,
    AuthorityKeyIdentifier::OID,
];
