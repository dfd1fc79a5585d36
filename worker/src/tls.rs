//! What devices check the broker's TLS certificate by.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_bytes::ByteBuf;
use wardlink_edge::problem::Failure;
use worker::Env;

/// The root certificates of the variable `TLS_ANCHORS` (PEM, one after another). Where there is none, the worker's certificate
/// is a public one: the web PKI counts.
pub(crate) struct TlsAnchors {
    pem: Option<String>,
    der: Vec<ByteBuf>,
}

impl TlsAnchors {
    /// Reads the deployment's variable.
    pub(crate) fn open(env: &Env) -> Result<Self, Failure> {
        Self::parse(env.var("TLS_ANCHORS").ok().map(|pem| pem.to_string()))
    }

    fn parse(pem: Option<String>) -> Result<Self, Failure> {
        let Some(pem) = pem.filter(|pem| !pem.trim().is_empty()) else {
            return Ok(Self { pem: None, der: Vec::new() });
        };
        let certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
        let der: Result<Vec<_>, _> = certificates.map(|der| der.map(|der| ByteBuf::from(der.to_vec()))).collect();
        match der {
            Ok(der) if !der.is_empty() => Ok(Self { pem: Some(pem), der }),
            _ => Err(Failure::internal("TLS_ANCHORS holds no certificates in PEM")),
        }
    }

    /// For the provisioning file.
    pub(crate) fn pem(&self) -> Vec<String> {
        self.pem.iter().cloned().collect()
    }

    /// For the pairing command.
    pub(crate) fn der(&self) -> Vec<ByteBuf> {
        self.der.clone()
    }

    /// Whether a certificate of the public web PKI counts.
    pub(crate) fn web_pki(&self) -> bool {
        self.der.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::TlsAnchors;

    const ROOT: &str = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";

    #[test]
    fn without_anchors_the_public_web_pki_counts() {
        for nothing in [None, Some(String::new()), Some("\n".to_owned())] {
            let anchors = TlsAnchors::parse(nothing).unwrap();
            assert!(anchors.web_pki() && anchors.pem().is_empty() && anchors.der().is_empty());
        }
    }

    #[test]
    fn with_anchors_nothing_else_counts() {
        let anchors = TlsAnchors::parse(Some(ROOT.repeat(2))).unwrap();
        assert!(!anchors.web_pki());
        assert_eq!(anchors.pem(), [ROOT.repeat(2)]);
        assert_eq!(anchors.der(), [[1, 2, 3], [1, 2, 3]]);
    }

    #[test]
    fn what_is_no_certificate_is_refused_and_not_passed_over() {
        for broken in [
            "certificate",
            "-----BEGIN CERTIFICATE-----\nAQID\n",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        ] {
            assert!(TlsAnchors::parse(Some(broken.to_owned())).is_err(), "{broken}");
        }
    }
}
