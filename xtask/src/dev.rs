//! `cargo xtask dev`: the whole of Wardlink on this machine: the workers, and a simulated pump.
//!
//! Everything that a run stores lies in `.wardlink/` and `.dev.vars`; the next run goes on with it. On loopback it speaks http;
//! with `--host` phones reach it, by https under a certification authority of its own (see [`authority`]).

use std::fs;
use std::io::{ErrorKind, IsTerminal as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::build::{self, Variant};
use crate::progress::Step;
use crate::workspace::Workspace;

mod api;
mod authority;
mod child;
mod greeting;
mod network;
mod place;
mod provisioning;
mod secrets;
mod trust_page;

use api::Api;
use child::Child;
use greeting::Running;
use place::Place;
use provisioning::PumpFile;
use secrets::Secrets;
use trust_page::TrustPage;

/// How long the worker may take until it answers.
const START_TIMEOUT: Duration = Duration::from_secs(90);

/// What a development run looks like.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Let phones in: listen on this address of the network, or on 0.0.0.0 for all, by https.
    #[arg(long, value_name = "ADDRESS")]
    host: Option<IpAddr>,
    /// Port of the control unit.
    #[arg(long, default_value_t = 8787)]
    port: u16,
    /// With --host: port of the page that helps to trust this machine's certificate, by http.
    #[arg(long, default_value_t = 8788, value_name = "PORT")]
    trust_port: u16,
    /// Number of simulated pumps; 0 starts none.
    #[arg(long, default_value_t = 1)]
    pumps: u16,
    /// Address of the pumps' display page.
    #[arg(long, default_value = "127.0.0.1:8790")]
    display: SocketAddr,
    /// Keep everything that the run stores in this folder [default: .wardlink/, secrets in .dev.vars].
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Start what the last build made.
    #[arg(long)]
    no_build: bool,
}

/// Where a run keeps what it stores.
#[derive(Debug)]
struct State {
    folder: PathBuf,
    secrets: PathBuf,
}

impl State {
    fn of(workspace: &Workspace, options: &Options) -> Result<Self> {
        let state = match &options.state {
            None => Self { folder: workspace.state(), secrets: workspace.root().join(".dev.vars") },
            Some(folder) => {
                let folder = std::path::absolute(folder).context("--state names no folder")?;
                Self { secrets: folder.join("dev.vars"), folder }
            }
        };
        fs::create_dir_all(&state.folder).with_context(|| format!("cannot create {}", state.folder.display()))?;
        Ok(state)
    }

    fn worker(&self) -> PathBuf {
        self.folder.join("worker")
    }

    fn pump(&self) -> PathBuf {
        self.folder.join("pump")
    }

    fn forget_pump(&self) -> Result<()> {
        let folder = self.pump();
        if folder.exists() {
            fs::remove_dir_all(folder).context("cannot remove the old state of the pump")
        } else {
            Ok(())
        }
    }
}

/// Builds, starts everything, and stays until Ctrl-C.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    require_free_addresses(options)?;
    let agent = if options.no_build {
        build::built_agent(workspace)?
    } else {
        build::run(workspace, Variant::Fast)?;
        build::agent(workspace, &["--package", "wardlink-agent"])?
    };

    let state = State::of(workspace, options)?;
    let secrets = prepare_state(&state)?;
    let place = match options.host {
        None => Place::on_loopback(options.port),
        Some(address) => Place::on_network(address, options.port, &state.folder.join("tls"))?,
    };
    if let (Some(tls), Some(host)) = (place.tls(), options.host) {
        TrustPage::new(&tls.authority, place.origins()).serve(SocketAddr::new(host, options.trust_port))?;
    }
    let interrupted = interrupts()?;

    let step = Step::start("Start the worker");
    let mut worker = start_worker(workspace, &state, &place)?;
    let api = Api::new(&place);
    wait_for_health(&api, &mut worker, &interrupted)?;
    step.done();

    let pump = if options.pumps > 0 { start_pump(&api, &place, &secrets, &agent, &state, options)? } else { None };
    let token = api.is_bootstrap_needed()?.then_some(secrets.bootstrap_token.as_str());
    let display = pump.as_ref().map(|_| options.display);
    let folder = state.folder.strip_prefix(workspace.root()).unwrap_or(&state.folder);
    let colours = std::io::stdout().is_terminal();
    let running = Running { place: &place, trust_port: options.trust_port, token, display, folder, colours };
    print!("{}", greeting::text(&running)?);
    stay(worker, pump, &interrupted)
}

/// Makes the secrets, and sees to it that they, the worker's storage and the pump's state belong together.
fn prepare_state(state: &State) -> Result<Secrets> {
    let (secrets, new) = Secrets::load_or_make(&state.secrets)?;
    let storage = state.worker();
    ensure!(
        !(new && storage.exists()),
        "the worker's storage in {} was encrypted under {}, which is gone; remove that folder to begin anew",
        storage.display(),
        state.secrets.display()
    );
    let file = PumpFile::of(&state.folder);
    if !storage.exists() && file.exists() {
        eprintln!("    The worker's storage is gone: the pump begins anew too.");
        file.remove()?;
        state.forget_pump()?;
    }
    Ok(secrets)
}

fn require_free_addresses(options: &Options) -> Result<()> {
    let ip = options.host.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    require_free(SocketAddr::new(ip, options.port), "--port")?;
    if options.host.is_some() {
        require_free(SocketAddr::new(ip, options.trust_port), "--trust-port")?;
    }
    if options.pumps > 0 {
        require_free(options.display, "--display")?;
    }
    Ok(())
}

fn require_free(address: SocketAddr, flag: &str) -> Result<()> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
            bail!("{} is no address of this machine", address.ip())
        }
        Err(error) => Err(error)
            .with_context(|| format!("cannot listen on {address}; stop what uses it, or choose another with {flag}")),
    }
}

/// Turns Ctrl-C and SIGTERM into messages.
fn interrupts() -> Result<Receiver<()>> {
    let (sender, receiver) = mpsc::channel();
    ctrlc::set_handler(move || {
        // Nobody listens any more only when the program already ends.
        let _ = sender.send(());
    })
    .context("cannot catch Ctrl-C")?;
    Ok(receiver)
}

fn start_worker(workspace: &Workspace, state: &State, place: &Place) -> Result<Child> {
    let mut host = Command::new("node");
    host.arg("xtask/host.mjs").args(place.arguments()).current_dir(workspace.root());
    host.arg("--env-file").arg(&state.secrets).arg("--persist-to").arg(state.worker());
    Child::spawn("The worker", &mut host, state.folder.join("worker.log"))
}

fn wait_for_health(api: &Api, worker: &mut Child, interrupted: &Receiver<()>) -> Result<()> {
    let started = Instant::now();
    while !api.is_healthy() {
        worker.require_running()?;
        if started.elapsed() > START_TIMEOUT {
            bail!("the worker does not answer at {}\n{}", api.origin(), worker.last_lines());
        }
        if interrupted.recv_timeout(Duration::from_millis(100)).is_ok() {
            bail!("interrupted");
        }
    }
    Ok(())
}

/// Starts the pump with the provisioning file of an earlier run, or with a new one while nobody has signed up yet.
fn start_pump(
    api: &Api,
    place: &Place,
    secrets: &Secrets,
    agent: &Path,
    state: &State,
    options: &Options,
) -> Result<Option<Child>> {
    let file = PumpFile::of(&state.folder);
    if !file.exists() && !file.make(api, secrets)? {
        eprintln!("    No pump: make a provisioning file in the web app, save it as {}.", file.path().display());
        return Ok(None);
    }
    if file.follow(place)? && state.pump().exists() {
        eprintln!(
            "    The control unit has moved to {}: the pump begins anew, and asks to pair again.",
            place.origin()
        );
        state.forget_pump()?;
    }
    let step = Step::start("Start the pump");
    let mut command = Command::new(agent);
    command.arg("pump").arg("--state").arg(state.pump()).arg("--provisioning").arg(file.path());
    command.arg("--display").arg(options.display.to_string());
    if options.pumps > 1 {
        command.arg("--count").arg(options.pumps.to_string());
    }
    let pump = Child::spawn("The pump", &mut command, state.folder.join("pump.log"))?;
    step.done();
    Ok(Some(pump))
}

/// Waits for Ctrl-C. The end of the worker is an error; a pump may end before.
fn stay(mut worker: Child, mut pump: Option<Child>, interrupted: &Receiver<()>) -> Result<()> {
    while interrupted.recv_timeout(Duration::from_millis(250)).is_err() {
        worker.require_running()?;
        if let Some(error) = pump.as_mut().and_then(|pump| pump.require_running().err()) {
            eprintln!("{error:#}");
            pump = None;
        }
    }
    eprintln!("\n==> Stop");
    drop(pump);
    drop(worker);
    Ok(())
}
