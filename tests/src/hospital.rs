//! A hospital's CA as the command line of OpenSSL makes it, and its EST server (RFC 7030): none of its formats is written by Wardlink.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, bail, ensure};
use wardlink_protocol::identity::Sha256;

use crate::Scene;
use crate::process::free_port;

/// What the server accepts as the site's name and password, as the deployment's secret says it.
pub const CREDENTIALS: &str = "wardlink:let me in";
/// The same as an Authorization field (RFC 7617).
const AUTHORIZATION: &str = "Basic d2FyZGxpbms6bGV0IG1lIGlu";
/// The longest request that is read, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// How the hospital's CA answers a request for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// With the certificate that was asked for.
    #[default]
    Issue,
    /// Somebody has to approve first: 202.
    AskSomebody,
    /// With a certificate for another key.
    ForAnotherKey,
    /// With a certificate that is no CA's.
    NoCa,
    /// With one that may have CAs below it.
    CasBelow,
    /// With one that has ended.
    Ended,
    /// With one by another root of the same name.
    ByAnotherRoot,
    /// With something that is no PKCS#7 message.
    Garbage,
    /// With a status that EST does not have.
    Broken,
}

/// A request that the server got.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The operation, such as `simpleenroll`.
    pub operation: String,
    /// The field Authorization.
    pub authorization: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// What a test and the server share.
#[derive(Debug, Default)]
struct Shared {
    manner: Manner,
    asked: Vec<Asked>,
    errors: VecDeque<String>,
}

/// The hospital's CA with its server, on a port of this machine.
#[derive(Debug)]
pub struct HospitalCa {
    openssl: Openssl,
    port: u16,
    shared: Arc<Mutex<Shared>>,
    running: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl HospitalCa {
    /// Makes a root, and one CA below it that certifies sites; the server does not run yet.
    pub fn make(scene: &Scene) -> Result<Self> {
        let folder = scene.path("hospital-ca");
        fs::create_dir_all(&folder).context("cannot make the CA's folder")?;
        let openssl = Openssl { folder };
        openssl.make()?;
        Ok(Self { openssl, port: free_port()?, shared: Arc::default(), running: None })
    }

    /// The same, with the server running.
    pub fn open(scene: &Scene) -> Result<Self> {
        let mut hospital = Self::make(scene)?;
        hospital.start()?;
        Ok(hospital)
    }

    /// What the deployment says of it.
    pub fn variables(&self) -> Result<Vec<(String, String)>> {
        Ok(vec![
            ("EST_URL".to_owned(), self.url()),
            ("EST_ROOT_SHA256".to_owned(), self.root()?.to_string()),
            ("EST_CREDENTIALS".to_owned(), CREDENTIALS.to_owned()),
        ])
    }

    /// Its address, with a label.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/wards", self.port)
    }

    /// The SHA-256 of its root.
    pub fn root(&self) -> Result<Sha256> {
        self.openssl.fingerprint("root")
    }

    /// Its root, PEM.
    pub fn root_file(&self) -> PathBuf {
        self.openssl.file("root.pem")
    }

    /// The SHA-256 of another root of the same name.
    pub fn other_root(&self) -> Result<Sha256> {
        self.openssl.fingerprint("other-root")
    }

    /// From now on it answers like this.
    pub fn answer(&self, manner: Manner) {
        self.lock().manner = manner;
    }

    /// What it was asked so far. Fails where OpenSSL failed.
    pub fn asked(&self) -> Result<Vec<Asked>> {
        let mut shared = self.lock();
        if let Some(error) = shared.errors.pop_front() {
            bail!("the hospital's CA has failed: {error}");
        }
        Ok(shared.asked.clone())
    }

    /// What a PKCS#10 request says, in OpenSSL's words.
    pub fn read_request(&self, body: &[u8]) -> Result<String> {
        self.openssl.store_request("read", body)?;
        self.openssl.run(&["req", "-in", "read.csr", "-noout", "-text", "-verify"])
    }

    /// Whether OpenSSL finds that a certificate, DER, leads to the root over these, DER.
    pub fn verifies(&self, certificate: &[u8], between: &[Vec<u8>]) -> Result<bool> {
        self.openssl.write_pem("checked", certificate)?;
        let names: Vec<String> = (0..between.len()).map(|index| format!("between-{index}")).collect();
        for (name, der) in names.iter().zip(between) {
            self.openssl.write_pem(name, der)?;
        }
        let mut arguments =
            vec!["verify".to_owned(), "-ignore_critical".to_owned(), "-CAfile".to_owned(), "root.pem".to_owned()];
        for name in names {
            arguments.extend(["-untrusted".to_owned(), format!("{name}.pem")]);
        }
        arguments.push("checked.pem".to_owned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Ok(self.openssl.run(&arguments).is_ok())
    }

    /// What a revocation list, DER, says in OpenSSL's words; fails where the CA, DER, did not sign it.
    pub fn read_list(&self, list: &[u8], issuer: &[u8]) -> Result<String> {
        self.openssl.write_pem("issuer", issuer)?;
        fs::write(self.openssl.file("list.der"), list).context("cannot write the list")?;
        let text = ["crl", "-inform", "DER", "-in", "list.der", "-noout", "-text", "-CAfile", "issuer.pem"];
        self.openssl.run(&text)
    }

    /// Begins to answer.
    pub fn start(&mut self) -> Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).context("cannot listen")?;
        let (stop, openssl, shared) =
            (Arc::new(AtomicBool::new(false)), self.openssl.clone(), Arc::clone(&self.shared));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            for client in listener.incoming() {
                if stopped.load(Ordering::Acquire) {
                    break;
                }
                let answered = client.context("cannot accept").and_then(|client| serve(client, &openssl, &shared));
                if let Err(error) = answered {
                    shared.lock().unwrap_or_else(PoisonError::into_inner).errors.push_back(format!("{error:#}"));
                }
            }
        });
        self.running = Some((stop, thread));
        Ok(())
    }

    /// Goes away.
    pub fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            stop.store(true, Ordering::Release);
            // It waits for a client; one that says nothing will do.
            drop(TcpStream::connect(("127.0.0.1", self.port)));
            let _ = thread.join();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HospitalCa {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Answers one request, and closes the connection.
fn serve(client: TcpStream, openssl: &Openssl, shared: &Mutex<Shared>) -> Result<()> {
    let mut reader = BufReader::new(client.try_clone().context("cannot read")?);
    let mut first = String::new();
    reader.read_line(&mut first).context("cannot read")?;
    let (mut authorization, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).context("cannot read")?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => authorization = Some(value.trim().to_owned()),
            "content-length" => length = value.trim().parse().context("a length")?,
            _ => {}
        }
    }
    ensure!(length <= MAX_BODY_BYTES, "the request is too long");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).context("cannot read a body")?;
    let path = first.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let operation = path.strip_prefix("/.well-known/est/wards/").unwrap_or_default().to_owned();
    let manner = {
        let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.asked.push(Asked {
            operation: operation.clone(),
            authorization: authorization.clone(),
            body: body.clone(),
        });
        shared.manner
    };
    let is_known = authorization.as_deref() == Some(AUTHORIZATION);
    match operation.as_str() {
        "cacerts" => answer(client, 200, &[], &openssl.certificates(&["root", "between"])?),
        "simpleenroll" | "simplereenroll" if !is_known => {
            answer(client, 401, &["WWW-Authenticate: Basic realm=\"est\""], "who are you?")
        }
        "simpleenroll" | "simplereenroll" => match manner {
            Manner::AskSomebody => answer(client, 202, &["Retry-After: 2"], ""),
            Manner::Garbage => answer(client, 200, &[], "bm90IGEgY2VydGlmaWNhdGU="),
            Manner::Broken => answer(client, 500, &[], "oh dear"),
            _ => {
                openssl.store_request("asked", &body)?;
                openssl.issue(manner)?;
                answer(client, 200, &[], &openssl.certificates(&["issued"])?)
            }
        },
        _ => answer(client, 404, &[], ""),
    }
}

fn answer(mut client: TcpStream, status: u16, fields: &[&str], body: &str) -> Result<()> {
    let fields: String = fields.iter().flat_map(|field| [*field, "\r\n"]).collect();
    let head = format!(
        "HTTP/1.1 {status} Answer\r\nContent-Type: application/pkcs7-mime; smime-type=certs-only\r\n\
         Content-Transfer-Encoding: base64\r\nContent-Length: {}\r\nConnection: close\r\n{fields}\r\n",
        body.len()
    );
    client.write_all(head.as_bytes()).and_then(|()| client.write_all(body.as_bytes())).context("cannot answer")
}

/// The command line in the CA's folder.
#[derive(Clone, Debug)]
struct Openssl {
    folder: PathBuf,
}

/// As `openssl ca` is configured; CAs of hospitals give extensions of their own, whatever is asked for.
const CONFIGURATION: &str = "
[ca]
default_ca = between
[between]
database = index.txt
serial = serial
new_certs_dir = .
certificate = between.pem
private_key = between.key
default_md = sha256
policy = any
unique_subject = no
[other]
database = index.txt
serial = serial
new_certs_dir = .
certificate = other-root.pem
private_key = other-root.key
default_md = sha256
policy = any
unique_subject = no
[any]
organizationName = optional
organizationalUnitName = optional
commonName = supplied
[site]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
crlDistributionPoints = URI:http://pki.example/wards.crl
[cas_below]
basicConstraints = critical, CA:TRUE, pathlen:1
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[no_ca]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[ca_between]
basicConstraints = critical, CA:TRUE
keyUsage = keyCertSign, cRLSign, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always, issuer:always
[req]
distinguished_name = nothing
[nothing]
";

impl Openssl {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("openssl");
        let output = command.args(arguments).current_dir(&self.folder).output().context("openssl is missing")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "openssl {}: {said}", arguments.join(" "));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn make(&self) -> Result<()> {
        fs::write(self.file("ca.cnf"), CONFIGURATION).context("cannot write the configuration")?;
        fs::write(self.file("index.txt"), "").context("cannot write the index")?;
        fs::write(self.file("serial"), "7F3A\n").context("cannot write the serial number")?;
        for key in ["root", "other-root", "between", "another"] {
            let out = format!("{key}.key");
            self.run(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &out])?;
        }
        let subject = "/O=St. Elsewhere/CN=St. Elsewhere root";
        for root in ["root", "other-root"] {
            let (key, out) = (format!("{root}.key"), format!("{root}.pem"));
            let usage = "keyUsage=critical,keyCertSign,cRLSign";
            let subject = ["-subj", subject, "-days", "3650", "-addext", usage];
            self.run(&[&["req", "-x509", "-new", "-key", &key, "-out", &out][..], &subject].concat())?;
        }
        let subject = "/O=St. Elsewhere/CN=St. Elsewhere wards";
        self.run(&["req", "-new", "-key", "between.key", "-subj", subject, "-out", "between.csr"])?;
        self.run(&[
            "x509",
            "-req",
            "-in",
            "between.csr",
            "-CA",
            "root.pem",
            "-CAkey",
            "root.key",
            "-CAcreateserial",
            "-days",
            "1825",
            "-extfile",
            "ca.cnf",
            "-extensions",
            "ca_between",
            "-sha256",
            "-out",
            "between.pem",
        ])?;
        self.run(&["req", "-new", "-key", "another.key", "-subj", "/CN=another", "-out", "another.csr"]).map(drop)
    }

    fn store_request(&self, name: &str, body: &[u8]) -> Result<()> {
        let text: String = String::from_utf8_lossy(body).split_whitespace().collect();
        let der = data_encoding::BASE64.decode(text.as_bytes()).context("a request is base64")?;
        fs::write(self.file("request.der"), der).context("cannot write a request")?;
        self.run(&["req", "-inform", "DER", "-in", "request.der", "-out", &format!("{name}.csr")]).map(drop)
    }

    fn issue(&self, manner: Manner) -> Result<()> {
        let request = if manner == Manner::ForAnotherKey { "another.csr" } else { "asked.csr" };
        let section = if manner == Manner::ByAnotherRoot { "other" } else { "between" };
        let extensions = match manner {
            Manner::NoCa => "no_ca",
            Manner::CasBelow => "cas_below",
            _ => "site",
        };
        let dates: &[&str] = match manner {
            Manner::Ended => &["-startdate", "20200101000000Z", "-enddate", "20210101000000Z"],
            _ => &["-days", "730"],
        };
        let arguments = [
            "ca",
            "-batch",
            "-notext",
            "-preserveDN",
            "-config",
            "ca.cnf",
            "-name",
            section,
            "-extensions",
            extensions,
            "-in",
            request,
            "-out",
            "issued.pem",
        ];
        self.run(&[&arguments, dates].concat()).map(drop)
    }

    /// Base64 of a PKCS#7 message that holds certificates only.
    fn certificates(&self, names: &[&str]) -> Result<String> {
        let files: Vec<String> = names.iter().map(|name| format!("{name}.pem")).collect();
        let mut arguments = vec!["crl2pkcs7", "-nocrl", "-outform", "DER", "-out", "answer.p7"];
        for file in &files {
            arguments.extend(["-certfile", file]);
        }
        self.run(&arguments)?;
        self.run(&["base64", "-in", "answer.p7"])
    }

    fn fingerprint(&self, name: &str) -> Result<Sha256> {
        let said = self.run(&["x509", "-in", &format!("{name}.pem"), "-noout", "-fingerprint", "-sha256"])?;
        let digits: String =
            said.rsplit('=').next().unwrap_or_default().chars().filter(char::is_ascii_hexdigit).collect();
        digits.to_lowercase().parse().context("a fingerprint")
    }

    fn write_pem(&self, name: &str, der: &[u8]) -> Result<()> {
        let der_file = format!("{name}.der");
        fs::write(self.file(&der_file), der).context("cannot write a certificate")?;
        self.run(&["x509", "-inform", "DER", "-in", &der_file, "-out", &format!("{name}.pem")]).map(drop)
    }
}
