//! The issuing CA of the site, certified by a CA outside: what EST (RFC 7030) carries, and what is believed of it.
//!
//! Nothing of what the server says is trusted for its own sake. The deployment names the SHA-256 of the root; a certificate counts that
//! leads to it, is for the key that the site made, and makes of it a CA with no CA below.

use cms::cert::CertificateChoices;
use cms::content_info::ContentInfo;
use cms::signed_data::SignedData;
use const_oid::db::rfc5911::ID_SIGNED_DATA;
use const_oid::db::rfc5912::{ECDSA_WITH_SHA_256, ID_EC_PUBLIC_KEY, SECP_256_R_1};
use data_encoding::BASE64;
use der::oid::ObjectIdentifier;
use der::{Decode, Encode, EncodingRules};
use p256::ecdsa::DerSignature;
use sha2::Digest;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::limits::{MAX_CERTIFICATES, MAX_CERTIFICATES_BYTES, MAX_CHAIN_LENGTH, MAX_ISSUERS_BYTES};
use x509_cert::builder::Builder;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::name::Name;
use x509_cert::request::RequestBuilder;

use super::names::common_name;
use super::{Certificate, ChainError, Kind, X509Error};
use crate::key::{PrivateKey, PublicKey};

/// The most CAs above the issuing CA, the root counted: a holder's certificate and the issuing CA come before them.
const MAX_ABOVE: usize = MAX_CHAIN_LENGTH - 2;

/// Why an answer with certificates cannot be read: the server's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificatesError {
    /// Longer than [`MAX_CERTIFICATES_BYTES`], or more than [`MAX_CERTIFICATES`].
    #[error("the answer is too long")]
    TooLong,
    /// Not base64 (RFC 8951 section 3.1).
    #[error("the answer is not base64")]
    Base64,
    /// Not a PKCS#7 message.
    #[error("the answer is no PKCS#7 message")]
    Malformed,
    /// A message with something else in it (RFC 5652 section 5: content or signers), or without certificates.
    #[error("the answer is a PKCS#7 message, but not one that holds certificates only")]
    NotCertificates,
}

/// Why the certificate that a CA outside gave does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnrolmentError {
    /// The server's fault, or the deployment's: no certificate has the hash that the deployment names.
    #[error("none of the CA's certificates has the SHA-256 that the deployment names as the root")]
    Root,
    /// The server's fault: none of the certificates is for the key.
    #[error("the answer holds no certificate for the site's key")]
    NoCertificate,
    /// The hospital's CA is not one that devices can check.
    #[error(
        "a certificate is not of ECDSA with SHA-256 on P-256: every CA from the root down to the site has to have a P-256 key and to sign \
         with SHA-256, as devices check nothing else"
    )]
    Algorithm,
    /// A certificate has other extensions than a CA of a site may have.
    #[error(
        "a certificate has extensions that devices do not know and that are critical, or lacks those of a CA (RFC 5280: basic constraints, \
         certificate signing, key identifiers)"
    )]
    Profile,
    /// The server's fault: the certificate is no CA's.
    #[error("the certificate that was given is not for a CA")]
    NotAnAuthority,
    /// The server's fault: the path length is not 0.
    #[error("the certificate that was given allows CAs below the site: its path length has to be 0")]
    PathLength,
    /// The server's fault: the CA may not sign lists of revoked certificates.
    #[error("the certificate that was given does not allow to sign revocation lists (key usage cRLSign)")]
    Usage,
    /// The server's fault: no certificate leads further up.
    #[error("no certificates lead from the one that was given up to the root")]
    NoPath,
    /// The server's fault: more than one CA between the site and the root, or certificates that are too long.
    #[error(
        "the way up to the root is too long: at most one CA may stand between, and all certificates together have at most 4 KiB"
    )]
    TooLong,
    /// The server's fault, or a wrong clock: a certificate that does not verify now.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// Makes the request (PKCS#10, DER) for an issuing CA of this name: a CA with path length 0.
pub fn make_authority_request(name: &str, key: &PrivateKey) -> Result<Vec<u8>, X509Error> {
    request(common_name(name)?, key)
}

/// Makes the request for the CA that follows `current`: with a new key, and the name that the CA outside gave it (RFC 7030 section 4.2.2).
pub fn make_renewal_request(current: &Certificate, key: &PrivateKey) -> Result<Vec<u8>, X509Error> {
    request(current.subject().clone(), key)
}

fn request(subject: Name, key: &PrivateKey) -> Result<Vec<u8>, X509Error> {
    let mut builder = RequestBuilder::new(subject).map_err(|_| X509Error::Encode)?;
    let constraints = BasicConstraints { ca: true, path_len_constraint: Some(0) };
    builder.add_extension(&constraints).map_err(|_| X509Error::Encode)?;
    let usage = KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign);
    builder.add_extension(&usage).map_err(|_| X509Error::Encode)?;
    let request = builder.build::<_, DerSignature>(key).map_err(|_| X509Error::Encode)?;
    request.to_der().map_err(|_| X509Error::Encode)
}

/// Reads the body of `/cacerts` or `/simpleenroll` (RFC 7030 sections 4.1.3 and 4.2.3): base64 of a PKCS#7 message that holds certificates
/// only, in DER or, as some servers write it, BER. Returns the certificates, each DER; what they are worth, [`certify`] says.
pub fn read_certificates(body: &[u8]) -> Result<Vec<Vec<u8>>, CertificatesError> {
    if body.len() > MAX_CERTIFICATES_BYTES {
        return Err(CertificatesError::TooLong);
    }
    // RFC 8951 section 3.1: lines may be broken, and need not.
    let text: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let message = BASE64.decode(&text).map_err(|_| CertificatesError::Base64)?;
    let info = ContentInfo::from_ber(&message).map_err(|_| CertificatesError::Malformed)?;
    if info.content_type != ID_SIGNED_DATA {
        return Err(CertificatesError::NotCertificates);
    }
    let data: SignedData =
        info.content.decode_as_encoding(EncodingRules::Ber).map_err(|_| CertificatesError::Malformed)?;
    let certificates = data.certificates.map(|set| set.0.into_vec()).unwrap_or_default();
    let has_more = !data.signer_infos.0.is_empty() || data.encap_content_info.econtent.is_some();
    if has_more || certificates.is_empty() {
        return Err(CertificatesError::NotCertificates);
    }
    if certificates.len() > MAX_CERTIFICATES {
        return Err(CertificatesError::TooLong);
    }
    let der = certificates.iter().map(|certificate| match certificate {
        CertificateChoices::Certificate(certificate) => certificate.to_der().map_err(|_| CertificatesError::Malformed),
        CertificateChoices::Other(_) => Err(CertificatesError::NotCertificates),
    });
    der.collect()
}

/// Says whether the root with this SHA-256 is among the certificates of `/cacerts`, in a form that devices can check: before anything is
/// sent there.
pub fn check_root(known: &[Vec<u8>], root: &Sha256) -> Result<(), EnrolmentError> {
    find_root(known.iter(), root).map(drop)
}

/// Verifies what a CA outside gave for `key`: the certificate among `given`, and the way from it to the root with this SHA-256, among
/// `given` and `known` (what `/cacerts` said). Returns the issuing CA's certificate and all above it, the root last.
pub fn certify(
    given: &[Vec<u8>],
    known: &[Vec<u8>],
    key: &PublicKey,
    root: &Sha256,
    now: UnixMillis,
) -> Result<Vec<Certificate>, EnrolmentError> {
    let pool: Vec<Foreign<'_>> = given.iter().chain(known).filter_map(|der| Foreign::read(der)).collect();
    let root = find_root(known.iter().chain(given), root)?;
    let spki = key.to_spki().map_err(|_| EnrolmentError::NoCertificate)?;
    let ours = pool.iter().find(|foreign| foreign.spki == spki).ok_or(EnrolmentError::NoCertificate)?;
    if !ours.is_ca {
        return Err(EnrolmentError::NotAnAuthority);
    }
    let ours = ours.certificate()?;
    match ours.kind() {
        Kind::Authority { path_length: Some(0), signs_lists: true } => {}
        Kind::Authority { path_length: Some(0), signs_lists: false } => return Err(EnrolmentError::Usage),
        Kind::Authority { .. } => return Err(EnrolmentError::PathLength),
        Kind::Holder(_) => return Err(EnrolmentError::NotAnAuthority),
    }
    root.verify_issued_by(&root, now)?;
    let mut chain = vec![ours];
    for below in 1..=MAX_ABOVE {
        let Some(last) = chain.last() else { break };
        if last.issuer() == root.subject() && last.authority_key_identifier() == root.key_identifier() {
            check_step(last, &root, below, now)?;
            chain.push(root);
            let length: usize = chain.iter().map(|certificate| certificate.der().len()).sum();
            return if length > MAX_ISSUERS_BYTES { Err(EnrolmentError::TooLong) } else { Ok(chain) };
        }
        let issuer = issuer_of(last, &pool)?;
        check_step(last, &issuer, below, now)?;
        chain.push(issuer);
    }
    Err(EnrolmentError::TooLong)
}

/// `below`: how many CAs stand below `issuer`. RFC 5280 section 6.1.4 (l), (m).
fn check_step(
    certificate: &Certificate,
    issuer: &Certificate,
    below: usize,
    now: UnixMillis,
) -> Result<(), EnrolmentError> {
    certificate.verify_issued_by(issuer, now)?;
    match issuer.kind() {
        Kind::Authority { path_length, .. } if path_length.is_none_or(|most| usize::from(most) >= below) => Ok(()),
        _ => Err(ChainError::PathLength.into()),
    }
}

/// The root with this hash, in a form that devices can check.
fn find_root<'a>(mut all: impl Iterator<Item = &'a Vec<u8>>, root: &Sha256) -> Result<Certificate, EnrolmentError> {
    let der = all.find(|der| <[u8; 32]>::from(sha2::Sha256::digest(der)) == root.0).ok_or(EnrolmentError::Root)?;
    Foreign::read(der).ok_or(EnrolmentError::Profile)?.certificate()
}

/// The CA that issued a certificate, by name and key.
fn issuer_of(certificate: &Certificate, pool: &[Foreign<'_>]) -> Result<Certificate, EnrolmentError> {
    let mut why = EnrolmentError::NoPath;
    for foreign in pool.iter().filter(|foreign| foreign.subject == *certificate.issuer()) {
        match foreign.certificate() {
            Ok(issuer) if issuer.key_identifier() == certificate.authority_key_identifier() => return Ok(issuer),
            Ok(_) => {}
            Err(error) => why = error,
        }
    }
    Err(why)
}

/// A certificate that may have any algorithm and any extension: enough of it is read to say what is wrong.
struct Foreign<'a> {
    der: &'a [u8],
    subject: Name,
    spki: Vec<u8>,
    is_p256: bool,
    is_ca: bool,
}

impl<'a> Foreign<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        let certificate = x509_cert::Certificate::from_der(der).ok()?;
        let tbs = certificate.tbs_certificate();
        let key = tbs.subject_public_key_info();
        let curve = key.algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
        let is_p256 = key.algorithm.oid == ID_EC_PUBLIC_KEY && curve == Some(SECP_256_R_1);
        Some(Self {
            der,
            subject: tbs.subject().clone(),
            spki: key.to_der().ok()?,
            is_p256: is_p256 && certificate.signature_algorithm().oid == ECDSA_WITH_SHA_256,
            is_ca: tbs.get_extension::<BasicConstraints>().ok()?.is_some_and(|(_, constraints)| constraints.ca),
        })
    }

    fn certificate(&self) -> Result<Certificate, EnrolmentError> {
        if !self.is_p256 {
            return Err(EnrolmentError::Algorithm);
        }
        Certificate::parse(self.der).map_err(|_| EnrolmentError::Profile)
    }
}

#[cfg(test)]
mod tests;
