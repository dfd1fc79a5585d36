//! The built-in CA: a root that can stay offline, and the issuing CA of the site, which a CA outside can certify instead.

use der::{DateTime, Decode, Encode};
use p256::ecdsa::DerSignature;
use rand_core::CryptoRng;
use serde_bytes::ByteBuf;
use spki::SubjectPublicKeyInfoOwned;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::identity::CertificateSerial;
use x509_cert::builder::{Builder, CertificateBuilder};
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::Time;

use super::certificate::{Certificate, Holder, Kind};
use super::names::{common_name, device_name};
use super::profile::{Shape, SiteProfile};
use super::{Validity, X509Error};
use crate::key::{PrivateKey, PublicKey};

/// CertCA, the root of the site. Its key is needed only to make issuing CAs.
pub struct RootCa {
    key: PrivateKey,
    certificate: Certificate,
}

impl RootCa {
    /// Makes a root with a new key; `name` has at most 64 characters.
    pub fn make<R: CryptoRng>(name: &str, validity: Validity, rng: &mut R) -> Result<Self, X509Error> {
        let key = PrivateKey::make(rng);
        let name = common_name(name)?;
        let shape = Shape::Authority { path_length: 1 };
        let profile = SiteProfile { issuer: name.clone(), issuer_key: None, subject: name, shape };
        let certificate = build(profile, &key.public(), &key, validity, rng)?;
        Ok(Self { key, certificate })
    }

    /// Takes a root that was stored.
    pub fn restore(key: PrivateKey, certificate: Certificate) -> Result<Self, X509Error> {
        check_pair(&key, &certificate)?;
        Ok(Self { key, certificate })
    }

    /// The root certificate, CertCA.
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The root's key.
    pub const fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Makes an issuing CA with a new key.
    pub fn make_issuing_ca<R: CryptoRng>(
        &self,
        name: &str,
        validity: Validity,
        rng: &mut R,
    ) -> Result<IssuingCa, X509Error> {
        let key = PrivateKey::make(rng);
        let profile = SiteProfile {
            issuer: self.certificate.subject().clone(),
            issuer_key: Some(self.certificate.key_identifier().to_vec()),
            subject: common_name(name)?,
            shape: Shape::Authority { path_length: 0 },
        };
        let validity = within(validity, self.certificate.validity());
        let certificate = build(profile, &key.public(), &self.key, validity, rng)?;
        Ok(IssuingCa { key, certificate, between: Vec::new(), root: self.certificate.clone() })
    }
}

/// The issuing CA: signs the certificates of devices, of the control unit, of gateways and services.
pub struct IssuingCa {
    key: PrivateKey,
    certificate: Certificate,
    /// The CAs between it and the root, the one that issued it first.
    between: Vec<Certificate>,
    root: Certificate,
}

impl IssuingCa {
    /// Takes an issuing CA that was stored, with the root that issued it.
    pub fn restore(key: PrivateKey, certificate: Certificate, root: Certificate) -> Result<Self, X509Error> {
        Self::restore_below(key, certificate, Vec::new(), root)
    }

    /// Takes an issuing CA that was stored, with the CAs between it and the root, the one that issued it first.
    pub fn restore_below(
        key: PrivateKey,
        certificate: Certificate,
        between: Vec<Certificate>,
        root: Certificate,
    ) -> Result<Self, X509Error> {
        check_pair(&key, &certificate)?;
        Ok(Self { key, certificate, between, root })
    }

    /// The CA's certificate.
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The root certificate, CertCA.
    pub const fn root(&self) -> &Certificate {
        &self.root
    }

    /// The CA's key.
    pub const fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// The chain above a certificate that it issued without the root, as it stands in messages: itself first.
    pub fn chain_below_root(&self) -> Vec<ByteBuf> {
        core::iter::once(&self.certificate).chain(&self.between).map(Certificate::to_bytes).collect()
    }

    /// The chain above a certificate that it issued: itself, and all up to and including the root.
    pub fn chain(&self) -> Vec<ByteBuf> {
        let whole = core::iter::once(&self.certificate).chain(&self.between).chain([&self.root]);
        whole.map(Certificate::to_bytes).collect()
    }

    /// Issues a certificate for `key`; it ends with this CA at the latest.
    pub fn issue<R: CryptoRng>(
        &self,
        holder: &Holder,
        key: &PublicKey,
        validity: Validity,
        rng: &mut R,
    ) -> Result<Certificate, X509Error> {
        let subject = match holder {
            Holder::Pairing(device) | Holder::Device(device) | Holder::Gateway(device) => device_name(device)?,
            Holder::ControlUnit(name) | Holder::Service(name) => common_name(name)?,
        };
        let profile = SiteProfile {
            issuer: self.certificate.subject().clone(),
            issuer_key: Some(self.certificate.key_identifier().to_vec()),
            subject,
            shape: Shape::Holder { purpose: holder.purpose() },
        };
        build(profile, key, &self.key, within(validity, self.certificate.validity()), rng)
    }
}

fn check_pair(key: &PrivateKey, certificate: &Certificate) -> Result<(), X509Error> {
    let authority = matches!(certificate.kind(), Kind::Authority { .. });
    if authority && key.public() == *certificate.key() { Ok(()) } else { Err(X509Error::Profile) }
}

fn within(asked: Validity, issuer: Validity) -> Validity {
    Validity { not_before: asked.not_before.max(issuer.not_before), not_after: asked.not_after.min(issuer.not_after) }
}

/// Draws a serial number: 16 bytes, positive, and never shorter in DER.
fn make_serial<R: CryptoRng>(rng: &mut R) -> CertificateSerial {
    let mut bytes = [0; CertificateSerial::LENGTH];
    rng.fill_bytes(&mut bytes);
    let [first, ..] = &mut bytes;
    *first = (*first & 0x7f) | 0x40;
    CertificateSerial(bytes)
}

fn build<R: CryptoRng>(
    profile: SiteProfile,
    key: &PublicKey,
    issuer: &PrivateKey,
    validity: Validity,
    rng: &mut R,
) -> Result<Certificate, X509Error> {
    let serial = SerialNumber::new(make_serial(rng).as_bytes()).map_err(|_| X509Error::Encode)?;
    let validity = x509_cert::time::Validity::new(time(validity.not_before)?, time(validity.not_after)?);
    let spki = key.to_spki().map_err(|_| X509Error::Encode)?;
    let spki = SubjectPublicKeyInfoOwned::from_der(&spki).map_err(|_| X509Error::Encode)?;
    let certificate = CertificateBuilder::new(profile, serial, validity, spki)
        .and_then(|builder| builder.build::<_, DerSignature>(issuer))
        .map_err(|_| X509Error::Encode)?;
    Certificate::parse(&certificate.to_der().map_err(|_| X509Error::Encode)?)
}

/// RFC 5280 section 4.1.2.5: UTCTime up to 2049, GeneralizedTime from then on.
pub(super) fn time(time: UnixMillis) -> Result<Time, X509Error> {
    let duration = core::time::Duration::from_secs(time.as_secs());
    DateTime::from_unix_duration(duration).map(Time::from).map_err(|_| X509Error::Encode)
}
