//! `cargo xtask dev`: the whole of Wardlink on this machine: the worker under wrangler, and a simulated pump.
//!
//! Everything that a run stores lies in `.wardlink/` and `.dev.vars`; the next run goes on with it.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::build::{self, Variant};
use crate::progress::Step;
use crate::tools;
use crate::workspace::Workspace;

mod api;
mod child;
mod secrets;

use api::Api;
use child::Child;
use secrets::Secrets;

/// How long wrangler may take until the worker answers.
const START_TIMEOUT: Duration = Duration::from_secs(90);
const PROVISIONING: &str = "provisioning.json";

/// What a development run looks like.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Port of the control unit.
    #[arg(long, default_value_t = 8787)]
    port: u16,
    /// Number of simulated pumps; 0 starts none.
    #[arg(long, default_value_t = 1)]
    pumps: u16,
    /// Address of the pumps' display page.
    #[arg(long, default_value = "127.0.0.1:8790")]
    display: SocketAddr,
}

/// Builds, starts everything, and stays until Ctrl-C.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    require_free(SocketAddr::from(([127, 0, 0, 1], options.port)), "--port")?;
    if options.pumps > 0 {
        require_free(options.display, "--display")?;
    }
    build::run(workspace, Variant::Fast)?;
    let agent = build::agent(workspace, &["--package", "wardlink-agent"])?;

    let state = workspace.state();
    fs::create_dir_all(&state).with_context(|| format!("cannot create {}", state.display()))?;
    let secrets = prepare_state(workspace)?;
    let interrupted = interrupts()?;

    let step = Step::start("Start the worker");
    let mut worker = start_worker(workspace, options)?;
    let api = Api::new(format!("http://localhost:{}", options.port));
    wait_for_health(&api, &mut worker, &interrupted)?;
    step.done();

    let pump = if options.pumps > 0 { start_pump(&api, &secrets, &agent, &state, options)? } else { None };
    print_addresses(&api, &secrets, pump.as_ref().map(|_| options.display))?;
    stay(worker, pump, &interrupted)
}

/// Makes the secrets, and sees to it that they, the worker's storage and the pump's state belong together.
fn prepare_state(workspace: &Workspace) -> Result<Secrets> {
    let state = workspace.state();
    let storage = state.join("worker");
    let (secrets, new) = Secrets::load_or_make(&workspace.root().join(".dev.vars"))?;
    ensure!(
        !(new && storage.exists()),
        "the worker's storage in {} was encrypted under a .dev.vars that is gone; remove that folder to begin anew",
        storage.display()
    );
    if !storage.exists() && state.join(PROVISIONING).exists() {
        eprintln!("    The worker's storage is gone: the pump begins anew too.");
        fs::remove_file(state.join(PROVISIONING)).context("cannot remove the old provisioning file")?;
        if state.join("pump").exists() {
            fs::remove_dir_all(state.join("pump")).context("cannot remove the old state of the pump")?;
        }
    }
    Ok(secrets)
}

fn require_free(address: SocketAddr, flag: &str) -> Result<()> {
    TcpListener::bind(address)
        .map(drop)
        .with_context(|| format!("cannot listen on {address}; stop what uses it, or choose another with {flag}"))
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

fn start_worker(workspace: &Workspace, options: &Options) -> Result<Child> {
    let mut wrangler = tools::node_program(workspace, "wrangler");
    wrangler.args(["dev", "--local", "--ip", "127.0.0.1", "--port", &options.port.to_string()]);
    wrangler.args(["--show-interactive-dev-session", "false"]);
    wrangler.arg("--persist-to").arg(workspace.state().join("worker"));
    wrangler.env("CLOUDFLARE_CF_FETCH_ENABLED", "false").env("WRANGLER_SEND_METRICS", "false").env("NO_COLOR", "1");
    Child::spawn("The worker", &mut wrangler, workspace.state().join("worker.log"))
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
fn start_pump(api: &Api, secrets: &Secrets, agent: &Path, state: &Path, options: &Options) -> Result<Option<Child>> {
    let provisioning = state.join(PROVISIONING);
    if !provisioning.exists() {
        let Some(file) = api.provision("infusion-pump", &secrets.bootstrap_token)? else {
            eprintln!("    No pump: make a provisioning file in the web app, save it as {}.", provisioning.display());
            return Ok(None);
        };
        secrets::write_private(&provisioning, file.as_bytes())?;
    }
    let step = Step::start("Start the pump");
    let mut command = Command::new(agent);
    command.arg("pump").arg("--state").arg(state.join("pump")).arg("--provisioning").arg(provisioning);
    command.arg("--display").arg(options.display.to_string());
    if options.pumps > 1 {
        command.arg("--count").arg(options.pumps.to_string());
    }
    let pump = Child::spawn("The pump", &mut command, state.join("pump.log"))?;
    step.done();
    Ok(Some(pump))
}

fn print_addresses(api: &Api, secrets: &Secrets, display: Option<SocketAddr>) -> Result<()> {
    let origin = api.origin();
    println!("\nWardlink is running. Ctrl-C stops it.\n");
    println!("  Control unit      {origin}");
    if api.is_bootstrap_needed()? {
        println!("  First sign-in     {origin}/#/welcome?token={}", secrets.bootstrap_token);
        println!("                    (once: it makes the first administrator)");
    }
    if let Some(display) = display {
        println!("  Pump's display    http://{display}");
    }
    println!("  Logs and storage  .wardlink/\n");
    Ok(())
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
