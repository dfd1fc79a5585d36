//! A real nginx before the worker, under the configuration that `docs/nginx.conf` gives to hospitals.

mod relay;

pub use relay::Relay;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore};
use wardlink_crypto::key::PrivateKey;

use crate::api::Api;
use crate::process::{Process, free_port};
use crate::worker::{Host, Worker};
use crate::{Scene, artifacts, wait};

/// The marker of the network behind the second address.
pub const MARKER: &str = "ward-lan";
/// What nginx and the worker share.
pub const PROXY_SECRET: &str = "bmdpbngtYW5kLXRoZS13b3JrZXIta25vdy1pdA";
/// Where everybody else arrives.
const USUAL_ADDRESS: &str = "127.0.0.1";
/// Where the ward's network arrives: another address of this machine.
const WARD_ADDRESS: &str = "127.0.0.2";

/// A worker that listens to its reverse proxy, and that proxy.
pub struct Proxied<'s> {
    /// The worker.
    pub worker: Worker<'s>,
    /// The proxy before it.
    pub nginx: Nginx,
}

impl<'s> Proxied<'s> {
    /// Starts a worker with empty storage and this `TRUST`, and nginx before it.
    pub fn start(scene: &'s Scene, trust: &str) -> Result<Self> {
        Self::start_under(scene, Host::Workerd, trust)
    }

    /// The same, with the worker under this host.
    pub fn start_under(scene: &'s Scene, host: Host, trust: &str) -> Result<Self> {
        let tls = Certificates::make()?;
        let variables = [("TRUST", trust), ("PROXY_SECRET", PROXY_SECRET), ("TLS_ANCHORS", &tls.root_pem)];
        let worker = Worker::start_under(scene, host, &variables)?;
        let nginx = Nginx::start(scene, tls, worker.port())?;
        Ok(Self { worker, nginx })
    }
}

/// A running nginx.
pub struct Nginx {
    folder: PathBuf,
    port: u16,
    tls: Certificates,
    process: Option<Process>,
}

impl Nginx {
    /// Starts nginx before the worker on this port, and returns when the worker answers through it.
    fn start(scene: &Scene, tls: Certificates, worker: u16) -> Result<Self> {
        let folder = scene.path("nginx");
        fs::create_dir(&folder).context("cannot make nginx's folder")?;
        let mut nginx = Self { folder, port: free_port()?, tls, process: None };
        nginx.configure(worker)?;
        let mut command = Command::new(artifacts::nginx()?);
        command.arg("-p").arg(&nginx.folder).args(["-e", "stderr", "-c", "main.conf"]);
        let mut process = Process::spawn(scene, "nginx", &mut command)?;
        let api = nginx.api();
        wait::until("the worker answers through nginx", || {
            process.require_running()?;
            let health = api.page("/api/v1/health", "none");
            Ok(health.is_ok_and(|answer| answer.status().is_success()).then_some(()))
        })?;
        nginx.process = Some(process);
        Ok(nginx)
    }

    /// Writes `docs/nginx.conf` with a test's addresses, names and secret, and around it what Debian's `nginx.conf` says elsewhere.
    fn configure(&self, worker: u16) -> Result<()> {
        let written = fs::read_to_string(artifacts::root()?.join("docs/nginx.conf")).context("cannot read the file")?;
        let (usual, ward) = (self.listen(USUAL_ADDRESS), self.listen(WARD_ADDRESS));
        let changes = [
            ("listen 443 ssl;", format!("{usual} {ward}")),
            ("10.20.0.5 ward-lan;", format!("{WARD_ADDRESS} {MARKER};")),
            ("127.0.0.1:8787", format!("127.0.0.1:{worker}")),
            ("/etc/wardlink/", format!("{}/", self.folder.display())),
            ("the secret PROXY_SECRET", PROXY_SECRET.to_owned()),
        ];
        let mut site = written;
        for (from, to) in changes {
            ensure!(site.contains(from), "docs/nginx.conf no longer says `{from}`");
            site = site.replace(from, &to);
        }
        // One process, which runs as whoever runs the test.
        let main = "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr info;\nevents {}\nhttp {\n\
            log_format seen '$request_uri [$ssl_client_s_dn] $status';\naccess_log access.log seen;\n\
            client_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\nuwsgi_temp_path uwsgi;\n\
            scgi_temp_path scgi;\ninclude site.conf;\n}\n";
        let files = [
            ("site.conf", site.as_str()),
            ("main.conf", main),
            ("tls.pem", &self.tls.certificate_pem),
            ("tls.key", &self.tls.key_pem),
        ];
        for (name, text) in files {
            fs::write(self.folder.join(name), text).with_context(|| format!("cannot write {name}"))?;
        }
        Ok(())
    }

    fn listen(&self, address: &str) -> String {
        format!("listen {address}:{} ssl;", self.port)
    }

    /// The control unit's web origin, as the rest of the hospital reaches it.
    pub fn origin(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The web interface, with nobody signed in.
    pub fn api(&self) -> Api {
        Api::trusting(self.origin(), &self.tls.root)
    }

    /// The same as the ward reaches it, over its own network.
    pub fn ward_api(&self) -> Api {
        Api::trusting(format!("https://{WARD_ADDRESS}:{}", self.port), &self.tls.root)
    }

    /// The MQTT bridge's address.
    pub fn broker(&self) -> String {
        format!("wss://localhost:{}/mqtt", self.port)
    }

    /// The MQTT bridge's address as the ward reaches it.
    pub fn ward_broker(&self) -> String {
        format!("wss://{WARD_ADDRESS}:{}/mqtt", self.port)
    }

    /// Somebody who reaches nginx by TLS, shows a certificate (DER) with its key, and claims with header fields of his own what only
    /// nginx may say.
    pub fn relay(&self, certificate: Option<(&[u8], &PrivateKey)>, fields: &[(&str, &str)]) -> Result<Relay> {
        Relay::open(self.port, Some(self.tls.client(certificate)?), fields)
    }

    /// Whether a connection has ended at which nginx was shown a certificate of this subject.
    pub fn has_seen(&self, subject: &str) -> Result<bool> {
        let log = fs::read_to_string(self.folder.join("access.log")).context("cannot read nginx's log")?;
        Ok(log.contains(&format!("/mqtt [{subject}]")))
    }
}

/// A CA that stands for the hospital's own, and nginx's certificate from it.
struct Certificates {
    root: CertificateDer<'static>,
    root_pem: String,
    certificate_pem: String,
    key_pem: String,
}

impl Certificates {
    fn make() -> Result<Self> {
        let authority = KeyPair::generate()?;
        let mut of_root = CertificateParams::default();
        of_root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = of_root.self_signed(&authority)?;
        let key = KeyPair::generate()?;
        let names = ["localhost", USUAL_ADDRESS, WARD_ADDRESS].map(str::to_owned);
        let certificate = CertificateParams::new(names)?.signed_by(&key, &Issuer::new(of_root, authority))?;
        Ok(Self {
            root: root.der().clone(),
            root_pem: root.pem(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }

    fn client(&self, certificate: Option<(&[u8], &PrivateKey)>) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        Ok(Arc::new(match certificate {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivatePkcs8KeyDer::from(key.to_pkcs8()?.to_vec());
                let chain = vec![CertificateDer::from(certificate.to_vec())];
                builder.with_client_auth_cert(chain, PrivateKeyDer::Pkcs8(key))?
            }
        }))
    }
}
