//! The X.509 profile of the site (RFC 5280): ECDSA with SHA-256 on P-256 throughout.
//!
//! Root (CertCA, path length 1) -> issuing CA (path length 0) -> certificates, each with one critical extended key usage that says its
//! [`Purpose`](wardlink_protocol::identity::Purpose). A certificate is accepted only in this profile, and in the encoding that the
//! builder writes. Where a CA outside certifies the issuing CA (EST, RFC 7030), the root is the outside one's, and one more CA may stand
//! between.

mod authority;
mod certificate;
mod chain;
mod crl;
mod enrolment;
mod names;
mod profile;
mod request;

pub use authority::{IssuingCa, RootCa};
pub use certificate::{Certificate, Holder, Kind};
pub use chain::{Chain, ChainError};
pub use crl::{CrlError, Revocation, RevocationList, RevocationReason};
pub use enrolment::{
    CertificatesError, EnrolmentError, certify, check_root, make_authority_request, make_renewal_request,
    read_certificates,
};
pub use request::CertificationRequest;

use core::time::Duration;
use wardlink_protocol::UnixMillis;

/// From when to when a certificate holds. Whole seconds: the rest is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: UnixMillis,
    /// The last moment.
    pub not_after: UnixMillis,
}

impl Validity {
    /// For `lifetime` from now on, and `skew` back, for whoever's clock is behind.
    pub fn from_now(now: UnixMillis, skew: Duration, lifetime: Duration) -> Self {
        let skew = u64::try_from(skew.as_millis()).unwrap_or(u64::MAX);
        Self { not_before: UnixMillis(now.0.saturating_sub(skew)), not_after: now.after(lifetime) }
    }
}

/// Why a certificate or a certification request is refused, or cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum X509Error {
    /// The peer's fault: too long, not DER, or not in the one encoding.
    #[error("this is not a certificate in DER")]
    Malformed,
    /// The peer's fault: an algorithm, extension or name that the profile does not have.
    #[error("this certificate does not follow the site's profile")]
    Profile,
    /// The peer's fault: the request is not signed by the key that it names.
    #[error("the certification request is not signed by its key")]
    Signature,
    /// Our fault: a certificate that cannot be made.
    #[error("the certificate cannot be made")]
    Encode,
}

#[cfg(test)]
mod tests;
