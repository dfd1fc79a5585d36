//! The certification authority of development: made once, kept for its owner's eyes only, and good for this machine only.
//!
//! Phones are asked to trust it, so it is bound by name constraints (RFC 5280 section 4.2.1.10): whoever steals its key can pose
//! as this machine and as addresses of private networks, and as nobody on the internet.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

use super::network::Names;
use super::secrets::write_private;

/// How long phones can trust it.
const AUTHORITY_LIFETIME: Duration = Duration::days(3650);
/// A server's certificate is made at each start; iOS and Android take none that is good for longer than 397 days.
const SERVER_LIFETIME: Duration = Duration::days(365);
/// Clocks differ.
const BACKDATED: Duration = Duration::hours(1);
/// The networks that every such authority may speak for: loopback, private, link-local (RFC 1918, 3927, 4193, 4291).
const NETWORKS: [(&str, u8); 8] = [
    ("127.0.0.0", 8),
    ("10.0.0.0", 8),
    ("172.16.0.0", 12),
    ("192.168.0.0", 16),
    ("169.254.0.0", 16),
    ("::1", 128),
    ("fc00::", 7),
    ("fe80::", 10),
];

/// An authority that people can trust on their devices.
#[derive(Debug)]
pub(super) struct Authority {
    folder: PathBuf,
    scope: Scope,
    pem: String,
    der: CertificateDer<'static>,
    key: KeyPair,
    is_new: bool,
}

/// What the authority speaks for beyond [`NETWORKS`], and since when. Its certificate follows from this.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Scope {
    host: Option<String>,
    addresses: BTreeSet<IpAddr>,
    made_at: i64,
}

/// Where a server's key and certificate lie.
#[derive(Debug)]
pub(super) struct ServerFiles {
    pub(super) key: PathBuf,
    pub(super) certificate: PathBuf,
}

impl Authority {
    /// Opens the authority in `folder`, or makes it: the first time, and when it does not cover these names or is near its end.
    pub(super) fn open(folder: &Path, names: &Names) -> Result<Self> {
        let context = || format!("cannot create {}", folder.display());
        DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(context)?;
        let now = OffsetDateTime::now_utc();
        match Self::load(folder)? {
            Some(kept) if kept.scope.covers(names, now) => Ok(kept),
            _ => Self::make(folder, Scope::of(names, now)),
        }
    }

    fn load(folder: &Path) -> Result<Option<Self>> {
        let read = |name: &str| fs::read_to_string(folder.join(name));
        let (Ok(scope), Ok(pem), Ok(key)) = (read("authority.json"), read("authority.pem"), read("authority.key"))
        else {
            return Ok(None);
        };
        let context = || format!("the development CA in {} is broken; remove that folder", folder.display());
        let scope = serde_json::from_str(&scope).with_context(context)?;
        let key = KeyPair::from_pem(&key).with_context(context)?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).with_context(context)?;
        Ok(Some(Self { folder: folder.to_owned(), scope, pem, der, key, is_new: false }))
    }

    fn make(folder: &Path, scope: Scope) -> Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("cannot make a key")?;
        let certificate = scope.authority()?.self_signed(&key).context("cannot make the development CA")?;
        let pem = certificate.pem();
        write_private(&folder.join("authority.key"), key.serialize_pem().as_bytes())?;
        write_private(&folder.join("authority.pem"), pem.as_bytes())?;
        write_private(&folder.join("authority.json"), &serde_json::to_vec(&scope)?)?;
        let der = certificate.der().clone();
        Ok(Self { folder: folder.to_owned(), scope, pem, der, key, is_new: true })
    }

    /// Makes a key and a certificate for a server under these names.
    pub(super) fn issue(&self, names: &Names) -> Result<ServerFiles> {
        let mut sans = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        sans.extend(names.host.iter().flat_map(|host| [host.clone(), local_name(host)]));
        sans.extend(names.addresses.iter().map(IpAddr::to_string));
        sans.dedup();
        let mut server = CertificateParams::new(sans).context("a name that no certificate carries")?;
        server.distinguished_name.push(DnType::CommonName, "Wardlink development server");
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.use_authority_key_identifier_extension = true;
        let now = OffsetDateTime::now_utc();
        (server.not_before, server.not_after) = (now - BACKDATED, now + SERVER_LIFETIME);

        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("cannot make a key")?;
        let issuer = Issuer::new(self.scope.authority()?, &self.key);
        let certificate = server.signed_by(&key, &issuer).context("cannot make the server's certificate")?;
        let files = ServerFiles { key: self.folder.join("server.key"), certificate: self.folder.join("server.pem") };
        write_private(&files.key, key.serialize_pem().as_bytes())?;
        write_private(&files.certificate, certificate.pem().as_bytes())?;
        Ok(files)
    }

    /// Whether nobody can have trusted it yet.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// What devices call it in their lists.
    pub(super) fn name(&self) -> String {
        self.scope.name()
    }

    /// The certificate, PEM.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// The certificate, DER.
    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 of the certificate, as devices show it: pairs of hexadecimal digits.
    pub(super) fn fingerprint(&self) -> String {
        let digest = Sha256::digest(&self.der);
        let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        pairs.join(":")
    }
}

impl Scope {
    fn of(names: &Names, now: OffsetDateTime) -> Self {
        let addresses = names.addresses.iter().copied().filter(|address| !is_private(*address)).collect();
        // To the second, as a certificate has it.
        Self { host: names.host.clone(), addresses, made_at: now.unix_timestamp() }
    }

    /// Whether a server's certificate under these names would count, to its end.
    fn covers(&self, names: &Names, now: OffsetDateTime) -> bool {
        let lasts = self.not_after().is_ok_and(|end| end > now + SERVER_LIFETIME);
        let addresses = Self::of(names, now).addresses;
        lasts && (names.host.is_none() || names.host == self.host) && addresses.is_subset(&self.addresses)
    }

    fn not_after(&self) -> Result<OffsetDateTime> {
        Ok(OffsetDateTime::from_unix_timestamp(self.made_at).context("a time that is none")? + AUTHORITY_LIFETIME)
    }

    fn name(&self) -> String {
        match &self.host {
            Some(host) => format!("Wardlink development ({host})"),
            None => "Wardlink development".to_owned(),
        }
    }

    fn authority(&self) -> Result<CertificateParams> {
        let mut params = CertificateParams::default();
        params.distinguished_name.remove(DnType::CommonName);
        params.distinguished_name.push(DnType::CommonName, self.name());
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_after = self.not_after()?;
        params.not_before = params.not_after - AUTHORITY_LIFETIME - BACKDATED;

        let networks = NETWORKS.iter().filter_map(|&(network, prefix)| Some((network.parse().ok()?, prefix)));
        let alone = self.addresses.iter().map(|&address| (address, if address.is_ipv4() { 32 } else { 128 }));
        let subnets = networks.chain(alone).map(|(address, prefix)| CidrSubnet::from_addr_prefix(address, prefix));
        // A name permits what is below it, too.
        let names = ["localhost".to_owned(), "local".to_owned()].into_iter().chain(self.host.clone());
        let permitted = names.map(GeneralSubtree::DnsName).chain(subnets.map(GeneralSubtree::IpAddress)).collect();
        params.name_constraints =
            Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: Vec::new() });
        Ok(params)
    }
}

/// The machine's name in multicast DNS (RFC 6762).
fn local_name(host: &str) -> String {
    format!("{}.local", host.split('.').next().unwrap_or(host))
}

/// Whether an address is in one of [`NETWORKS`].
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
