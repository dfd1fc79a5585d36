//! What a device is given beforehand: the provisioning file or label, and each of its values also by flag or environment, which count
//! before the file's. Pumps and gateways are provisioned alike.

use crate::link::{Endpoint, Proxy, TlsTrust};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use wardlink_protocol::identity::{SecretId, Sha256};
use wardlink_protocol::provisioning::{AccessSecret, FALLBACK_BROKER, Provisioning};
use wardlink_protocol::{ClientClass, Device, DeviceIdentifier};

/// The flags that say what a device is given beforehand.
#[derive(Clone, clap::Args)]
pub struct ProvisionedArgs {
    /// The provisioning file (JSON), made in the web app or by the API.
    #[arg(long, env = "WARDLINK_PROVISIONING", value_name = "FILE")]
    pub(crate) provisioning: Option<PathBuf>,
    /// The printed provisioning label instead of the file: the text of its QR code. It holds the access secret, and a flag can be
    /// seen by others on this machine: better the environment.
    #[arg(
        long,
        env = "WARDLINK_LABEL",
        hide_env_values = true,
        value_name = "TEXT",
        conflicts_with = "provisioning",
        value_parser = Provisioning::from_label
    )]
    label: Option<Provisioning>,
    /// The device's identifier [default: the file's; without one pump-1 or gateway-1].
    #[arg(long, env = "WARDLINK_IDENTIFIER")]
    pub(crate) identifier: Option<DeviceIdentifier>,
    /// The device's class [default: the file's; without one infusion-pump or gateway].
    #[arg(long, env = "WARDLINK_CLIENT")]
    client: Option<ClientClass>,
    /// The broker's address: wss://HOST/mqtt, or ws:// on this machine [default: the file's, or wss://ais-broker/mqtt].
    #[arg(long, env = "WARDLINK_BROKER", value_name = "URL")]
    broker: Option<String>,
    /// The access secret's id.
    #[arg(long, env = "WARDLINK_SECRET_ID", value_name = "ID")]
    secret_id: Option<SecretId>,
    /// The access secret, base64url. A flag can be seen by others on this machine: better the file or the environment.
    #[arg(long, env = "WARDLINK_SECRET", hide_env_values = true)]
    secret: Option<AccessSecret>,
    /// The control unit's web origin, which QR codes name.
    #[arg(long, env = "WARDLINK_WEB_ORIGIN", value_name = "ORIGIN")]
    web_origin: Option<String>,
    /// SHA-256 of the site's root certificate (CertCA), in hexadecimal. Without it the device asks for the control unit's answer.
    #[arg(long, env = "WARDLINK_CERT_CA_SHA256", value_name = "HASH")]
    cert_ca_sha256: Option<Sha256>,
    /// Without CertCA: lets the control unit pair the device without verification, in a network that it calls secured.
    #[arg(long, env = "WARDLINK_ALLOW_SIMPLE_WITHOUT_CA")]
    allow_simple_without_ca: bool,
    /// A root certificate for TLS until the pairing names others (PEM file); can be given several times.
    #[arg(long, env = "WARDLINK_TLS_ANCHOR", value_name = "FILE", value_delimiter = ',')]
    tls_anchor: Vec<PathBuf>,
    /// A root certificate for TLS that counts for good, beside those that the pairing names (PEM file), such as that of a proxy that
    /// looks into TLS; can be given several times.
    #[arg(long, env = "WARDLINK_ROOT", value_name = "FILE", value_delimiter = ',')]
    root: Vec<PathBuf>,
    /// The HTTP proxy for connections with TLS, http://HOST:PORT.
    #[arg(long, env = "HTTPS_PROXY", value_name = "URL")]
    proxy: Option<String>,
    /// Hosts that are reached without the proxy; a name stands for its subdomains, too.
    #[arg(long, env = "NO_PROXY", value_name = "HOSTS", value_delimiter = ',')]
    no_proxy: Vec<String>,
}

/// What a device was given.
pub struct Provisioned {
    /// Class and identifier.
    pub device: Device,
    /// Whether the file is for just this device.
    pub is_for_one: bool,
    /// The access secret's id.
    pub secret_id: SecretId,
    /// The access secret.
    pub secret: AccessSecret,
    /// SHA-256 of the site's root certificate; none where the hospital could not give it.
    pub cert_ca: Option<Sha256>,
    /// Without it: whether the device lets itself be paired without verification.
    pub simple_without_cert_ca: bool,
    /// Where the bridge is, before the pairing command says it.
    pub endpoint: Endpoint,
    /// The control unit's web origin, where it was provisioned.
    pub web_origin: Option<String>,
}

impl ProvisionedArgs {
    /// Reads the file and puts everything together. `what` is how messages call the device; class and identifier are those that count
    /// where nothing else does.
    pub fn read(&self, what: &str, client: &str, identifier: &str) -> Result<Provisioned> {
        let file = self.provisioning.as_deref().map(read_provisioning).transpose()?;
        let file = file.as_ref().or(self.label.as_ref());
        let missing = |value: &str, flag: &str| {
            format!(
                "{what} was not given {value}: use a provisioning file (--provisioning), a label (--label) or {flag}"
            )
        };
        let fixed = file.and_then(|file| file.identifier.clone());
        let is_for_one = fixed.is_some();
        let identifier = match self.identifier.clone().or(fixed) {
            Some(identifier) => identifier,
            None => identifier.parse()?,
        };
        let client = match self.client.clone().or_else(|| file.map(|file| file.client.clone())) {
            Some(client) => client,
            None => client.parse()?,
        };
        let secret_id = self.secret_id.clone().or_else(|| file.map(|file| file.secret_id.clone()));
        let secret = self.secret.clone().or_else(|| file.map(|file| file.secret.clone()));
        let cert_ca = self.cert_ca_sha256.or_else(|| file.and_then(|file| file.cert_ca_sha256));
        Ok(Provisioned {
            device: Device { client, identifier },
            is_for_one,
            secret_id: secret_id.with_context(|| missing("the access secret's id", "--secret-id"))?,
            secret: secret.with_context(|| missing("the access secret", "WARDLINK_SECRET"))?,
            cert_ca,
            simple_without_cert_ca: self.allow_simple_without_ca,
            endpoint: self.endpoint(file, cert_ca.is_some())?,
            web_origin: self.web_origin.clone().or_else(|| file.map(|file| file.web_origin.clone())),
        })
    }

    /// Where nothing was given to check a server by, any server counts until the pairing command says whom to trust. So it is after
    /// a label that had no room for root certificates: there CertCA vouches for the bridge meanwhile.
    fn endpoint(&self, file: Option<&Provisioning>, knows_cert_ca: bool) -> Result<Endpoint> {
        let mut anchors = file.map(|file| file.tls_anchors.clone()).unwrap_or_default();
        for path in &self.tls_anchor {
            anchors.push(read(path)?);
        }
        let mut trust = TlsTrust::from_pem(&anchors, file.is_some_and(|file| file.web_pki))?;
        let is_deferred = self.label.as_ref().is_some_and(Provisioning::tls_is_deferred);
        trust.dangerous_any_server = (is_deferred || !knows_cert_ca) && trust.anchors.is_empty() && !trust.web_pki;
        let roots = self.root.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
        trust.roots = TlsTrust::from_pem(&roots, false)?.anchors;
        let broker = self.broker.as_deref().or_else(|| file.map(|file| file.broker.as_str()));
        let endpoint = Endpoint::new(broker.unwrap_or(FALLBACK_BROKER), &trust)?;
        let proxy = self.proxy.as_deref().filter(|proxy| !proxy.is_empty()).map(str::parse::<Proxy>);
        let proxy = proxy.transpose().context("HTTPS_PROXY (--proxy)")?;
        Ok(endpoint.through(proxy, &self.no_proxy))
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads a provisioning file.
pub(crate) fn read_provisioning(path: &Path) -> Result<Provisioning> {
    let text = read(path)?;
    let file: Provisioning = serde_json::from_str(&text)
        .with_context(|| format!("{} is no provisioning file; make a new one in the web app", path.display()))?;
    if file.version != 1 {
        bail!("{} has version {}, this program knows version 1", path.display(), file.version);
    }
    Ok(file)
}
