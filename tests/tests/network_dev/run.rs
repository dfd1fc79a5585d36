//! A running `cargo xtask dev --host`, and what its terminal says.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::Receiver;

use anyhow::{Context as _, Result};
use data_encoding::BASE64;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use wardlink_protocol::verification::VerificationLink;
use wardlink_tests::process::{Process, free_port};
use wardlink_tests::{Scene, artifacts, wait};
use x509_cert::Certificate;
use x509_cert::der::{DecodePem as _, Encode as _};

/// The run, which ends in good order: it has children of its own.
pub(crate) struct Run<'s> {
    scene: &'s Scene,
    arguments: Vec<String>,
    state: PathBuf,
    display: u16,
    running: Option<Process>,
    said: Vec<String>,
}

impl<'s> Run<'s> {
    /// Starts the run on this machine's address in the network, and returns when it says that it runs.
    pub(crate) fn start(scene: &'s Scene) -> Result<Self> {
        let state = scene.path("dev");
        let display = free_port()?;
        let arguments = vec![
            "dev".to_owned(),
            "--no-build".to_owned(),
            format!("--host={}", network_address()),
            format!("--port={}", free_port()?),
            format!("--trust-port={}", free_port()?),
            format!("--display=127.0.0.1:{display}"),
            format!("--state={}", state.display()),
        ];
        let mut run = Self { scene, arguments, state, display, running: None, said: Vec::new() };
        run.restart()?;
        Ok(run)
    }

    /// Stops the run if it runs, and starts it on what it has stored.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.stop()?;
        let mut command = Command::new(artifacts::xtask()?);
        let (process, lines) = Process::spawn_reading(self.scene, "dev", command.args(&self.arguments))?;
        self.running = Some(process);
        self.said = all_said(&lines)?;
        Ok(())
    }

    /// Stops the run as Ctrl-C does.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.running.take().map_or(Ok(()), |mut process| process.stop())
    }

    /// What the terminal says under a name.
    pub(crate) fn said(&self, name: &str) -> Result<String> {
        self.value_below(name, 0)
    }

    /// What the terminal says in the line below.
    pub(crate) fn said_below(&self, name: &str) -> Result<String> {
        self.value_below(name, 1)
    }

    fn value_below(&self, name: &str, below: usize) -> Result<String> {
        let missing = || format!("the terminal does not say `{name}`: {:?}", self.said);
        let line = self.said.iter().position(|line| line.trim_start().starts_with(name)).with_context(missing)?;
        let value = self.said.get(line + below).and_then(|line| line.split_whitespace().last());
        value.map(str::to_owned).with_context(missing)
    }

    /// The certificate of the authority, DER.
    pub(crate) fn authority(&self) -> Result<Vec<u8>> {
        Ok(self.certificate("authority.pem")?.to_der()?)
    }

    /// SHA-256 of the server's public key, base64.
    pub(crate) fn server_key(&self) -> Result<String> {
        let server = self.certificate("server.pem")?;
        let key = server.tbs_certificate().subject_public_key_info().to_der()?;
        Ok(BASE64.encode(&Sha256::digest(&key)))
    }

    fn certificate(&self, name: &str) -> Result<Certificate> {
        let pem = fs::read(self.state.join("tls").join(name)).with_context(|| format!("cannot read {name}"))?;
        Ok(Certificate::from_pem(pem)?)
    }

    /// What the QR code on the pump's display says, once there is one.
    pub(crate) fn pump_link(&self) -> Result<VerificationLink> {
        let address = format!("http://127.0.0.1:{}/state", self.display);
        wait::until("the pump shows its QR code", || {
            let state: Value = ureq::get(&address).call()?.body_mut().read_json()?;
            let link = state.get("link").and_then(Value::as_str);
            link.map(|link| link.parse().context("a verification link")).transpose()
        })
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        // A test that failed before must not leave a worker behind.
        let _ = self.stop();
    }
}

/// The lines of the greeting, to its end.
fn all_said(lines: &Receiver<String>) -> Result<Vec<String>> {
    let mut said = Vec::new();
    // The QR code comes last, after an empty line.
    while !said.iter().any(|line: &String| line.contains('█')) {
        said.push(lines.recv_timeout(wait::LIMIT).with_context(|| format!("the run says nothing more: {said:?}"))?);
    }
    Ok(said)
}

/// This machine's address in its network; where there is none, one that counts as none of loopback's usual ones.
fn network_address() -> IpAddr {
    let asked = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        // Asking for the route sends nothing; the address belongs to nobody (RFC 5737).
        socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9))?;
        Ok(socket.local_addr()?.ip())
    });
    asked.unwrap_or(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)))
}
