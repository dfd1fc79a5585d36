//! What devices check the broker's TLS certificate by.

use crate::problem::Failure;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_bytes::ByteBuf;
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
