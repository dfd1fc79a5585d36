//! Where a run is reached: on loopback by http, or on the network by https.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Result;

use super::authority::{Authority, ServerFiles};
use super::network::{Names, origin};

/// Where the control unit listens, and what people call it.
#[derive(Debug)]
pub(super) struct Place {
    address: SocketAddr,
    /// The origins under which people reach it, the usual one first.
    origins: Vec<String>,
    tls: Option<Tls>,
}

/// What https needs.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) authority: Authority,
    pub(super) names: Names,
    files: ServerFiles,
}

impl Place {
    /// This machine only.
    pub(super) fn on_loopback(port: u16) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self { address, origins: vec![origin("http", "localhost", port)], tls: None }
    }

    /// The network, with a certificate for this machine's names; the authority is kept in `folder`.
    pub(super) fn on_network(address: IpAddr, port: u16, folder: &Path) -> Result<Self> {
        let names = Names::of(address)?;
        let authority = Authority::open(folder, &names)?;
        let files = authority.issue(&names)?;
        let origins = names.origins("https", port);
        Ok(Self { address: SocketAddr::new(address, port), origins, tls: Some(Tls { authority, names, files }) })
    }

    /// All origins, the usual one first.
    pub(super) fn origins(&self) -> &[String] {
        &self.origins
    }

    /// The origin that the tooling and the pump use.
    pub(super) fn origin(&self) -> &str {
        self.origins.first().map_or("", String::as_str)
    }

    /// The bridge's address.
    pub(super) fn broker(&self) -> String {
        // ws and wss differ from http and https in nothing else (RFC 6455 section 3).
        format!("{}/mqtt", self.origin().replacen("http", "ws", 1))
    }

    /// What https needs, where there is https.
    pub(super) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// The root certificates by which devices check the bridge, PEM.
    pub(super) fn anchors(&self) -> Vec<String> {
        self.tls.iter().map(|tls| tls.authority.pem().to_owned()).collect()
    }

    /// The arguments by which the workers' host listens here.
    pub(super) fn arguments(&self) -> Vec<String> {
        let (ip, port) = (self.address.ip().to_string(), self.address.port().to_string());
        let mut arguments = ["--ip", &ip, "--port", &port].map(str::to_owned).to_vec();
        if let Some(tls) = &self.tls {
            let (key, certificate) = (tls.files.key.display(), tls.files.certificate.display());
            arguments.extend([format!("--https-key-path={key}"), format!("--https-cert-path={certificate}")]);
            arguments.push(format!("--var=TLS_ANCHORS:{}", tls.authority.pem()));
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn loopback_is_http_and_everything_else_https() {
        let local = Place::on_loopback(8787);
        assert_eq!((local.origin(), local.broker().as_str()), ("http://localhost:8787", "ws://localhost:8787/mqtt"));
        assert!(local.anchors().is_empty());
        assert_eq!(local.arguments(), ["--ip", "127.0.0.1", "--port", "8787"]);

        let folder = tempfile::tempdir().unwrap();
        let network = Place::on_network("192.168.1.20".parse().unwrap(), 8787, folder.path()).unwrap();
        assert_eq!(network.origin(), "https://192.168.1.20:8787");
        assert_eq!(network.broker(), "wss://192.168.1.20:8787/mqtt");
        assert_eq!(network.anchors().len(), 1);
        let arguments = network.arguments();
        for argument in ["--ip", "192.168.1.20", "--https-key-path=", "--https-cert-path="] {
            assert!(arguments.iter().any(|found| found.starts_with(argument)), "{argument}: {arguments:?}");
        }
        assert!(arguments.iter().any(|argument| argument.starts_with("--var=TLS_ANCHORS:-----BEGIN CERTIFICATE")));
        assert!(!arguments.iter().any(|argument| argument.contains("PRIVATE")), "the key is named, not shown");
    }
}
