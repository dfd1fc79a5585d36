//! Certification requests (PKCS#10, RFC 2986): a device's static key, and its proof that it holds it.

use const_oid::db::rfc5912::ECDSA_WITH_SHA_256;
use der::{Decode, Encode};
use p256::ecdsa::DerSignature;
use wardlink_protocol::Device;
use wardlink_protocol::limits::MAX_CERTIFICATE_BYTES;
use x509_cert::builder::Builder;
use x509_cert::ext::pkix::{KeyUsage, KeyUsages};
use x509_cert::request::{CertReq, RequestBuilder};

use super::X509Error;
use super::names::{device_name, device_of};
use crate::key::{PrivateKey, PublicKey};

/// A certification request whose signature fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificationRequest {
    device: Device,
    key: PublicKey,
}

impl CertificationRequest {
    /// Makes a request for `device`, DER.
    pub fn make(device: &Device, key: &PrivateKey) -> Result<Vec<u8>, X509Error> {
        let mut builder = RequestBuilder::new(device_name(device)?).map_err(|_| X509Error::Encode)?;
        let usage = KeyUsage(KeyUsages::DigitalSignature | KeyUsages::KeyAgreement);
        builder.add_extension(&usage).map_err(|_| X509Error::Encode)?;
        let request = builder.build::<_, DerSignature>(key).map_err(|_| X509Error::Encode)?;
        request.to_der().map_err(|_| X509Error::Encode)
    }

    /// Reads a request and verifies that its key signed it. What it asks for beside name and key has no effect.
    pub fn parse(der: &[u8]) -> Result<Self, X509Error> {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(X509Error::Malformed);
        }
        let request = CertReq::from_der(der).map_err(|_| X509Error::Malformed)?;
        if request.to_der().map_err(|_| X509Error::Malformed)? != der {
            return Err(X509Error::Malformed);
        }
        if request.algorithm.oid != ECDSA_WITH_SHA_256 || request.algorithm.parameters.is_some() {
            return Err(X509Error::Profile);
        }
        let spki = request.info.public_key.to_der().map_err(|_| X509Error::Malformed)?;
        let key = PublicKey::from_spki(&spki).map_err(|_| X509Error::Profile)?;
        let signed = request.info.to_der().map_err(|_| X509Error::Malformed)?;
        let signature = request.signature.as_bytes().ok_or(X509Error::Malformed)?;
        key.verify_der(&signed, signature).map_err(|_| X509Error::Signature)?;
        let device = device_of(&request.info.subject).ok_or(X509Error::Profile)?;
        Ok(Self { device, key })
    }

    /// The device that the request is for.
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// The key that signed it.
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }
}
