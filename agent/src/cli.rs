//! The command line: what is asked for, where it is shown, and how it ends.

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use wardlink_agent::display::texts::Language;
use wardlink_agent::display::{terminal, web};
use wardlink_agent::gateway::doctor::{self, DoctorArgs, Verdict};
use wardlink_agent::gateway::settings::GatewayArgs;
use wardlink_agent::gateway::unit::{self, UnitArgs};
use wardlink_agent::gateway::{self, Gateway, GatewayError, own, page, status};
use wardlink_agent::listen;
use wardlink_agent::outlet::{self, OutletArgs, OutletError};
use wardlink_agent::printable::printable;
use wardlink_agent::pump::settings::PumpArgs;
use wardlink_agent::pump::{Handle, Outcome, Pump, PumpError};
use wardlink_agent::release::{self, ReleaseArgs};
use wardlink_agent::send::{self, Ending, SendArgs};
use wardlink_agent::service::{Format, Printer, ServiceArgs, ServiceError};
use wardlink_agent::tuf::{self, TufArgs};
use wardlink_protocol::order::OrderResult;

/// The control unit refused, and the pump was to ask only once.
const REFUSED: u8 = 3;

/// Wardlink on devices: couples them with a hospital's network.
#[derive(Parser)]
#[command(name = "wardlink", version, propagate_version = true)]
struct Cli {
    /// What is logged to standard error: a level, or target=level pairs.
    #[arg(long, env = "WARDLINK_LOG", global = true, default_value = "warn", value_name = "FILTER")]
    log: Targets,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a simulated infusion pump: couples by itself, then sends what an infusion would.
    ///
    /// Exit codes: 0 stopped; 1 it could not go on; 2 wrong usage; 3 refused, with --once.
    Pump(Box<PumpArgs>),
    /// Runs a gateway: fetches, verifies and installs the software of a ward's devices.
    #[command(subcommand)]
    Gateway(GatewayCommand),
    /// Listens as a server application: decrypts the channels that it is granted, and prints every message.
    ///
    /// Exit codes: 0 stopped; 1 it could not go on; 2 wrong usage; 3 the control unit does not let it in any more.
    Listen(Box<ListenArgs>),
    /// Sends stored data on to PostgreSQL as a server application that reads the update channel.
    ///
    /// Exit codes: 0 stopped; 1 it could not go on; 2 wrong usage; 3 the control unit does not let it in any more.
    Outlet(Box<OutletArgs>),
    /// Sends a device an order as a server application, and waits for its outcome. It uses the enrolment of `wardlink listen`.
    ///
    /// Exit codes: 0 done, or sent where the service may not read the outcome; 1 it could not go on, or no outcome came in time; 2 wrong usage; 3
    /// refused or expired, or the service may not send it.
    Send(Box<SendArgs>),
    /// Follows a TUF repository: keeps its metadata up to date, and downloads what it vouches for.
    ///
    /// Exit codes: 0 done; 1 refused, with the step of the specification that failed; 2 wrong usage.
    Tuf(TufArgs),
    /// The manufacturer's tool: makes keys and a repository of signed software, signs it, and exports it. Works offline.
    ///
    /// Exit codes: 0 done; 1 refused or failed, with what to do; 2 wrong usage.
    Release(Box<ReleaseArgs>),
}

#[derive(Subcommand)]
enum GatewayCommand {
    /// Couples by itself, then keeps its session with the server and updates its devices.
    ///
    /// Exit codes: 0 stopped; 1 it could not go on; 2 wrong usage.
    Run(Box<GatewayArgs>),
    /// Shows how the gateway stands that keeps its state there.
    ///
    /// Exit codes: 0 all is well; 1 something does not work, or there is no gateway.
    Status {
        /// The gateway's state directory.
        #[arg(long, env = "WARDLINK_STATE", value_name = "DIR", default_value = "wardlink-gateway")]
        state: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Looks at everything that a gateway needs, and says what to do about what is missing.
    ///
    /// Exit codes: 0 nothing is bad; 1 something is; 2 wrong usage.
    Doctor(Box<DoctorArgs>),
    /// Prints a hardened unit for systemd.
    Unit(UnitArgs),
}

/// The flags of `wardlink listen`.
#[derive(Clone, clap::Args)]
struct ListenArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// How messages are printed: for people, or as one JSON object per line.
    #[arg(long, env = "WARDLINK_FORMAT", value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Runs the command.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    tracing_subscriber::registry().with(layer).with(cli.log.clone()).with(LevelFilter::TRACE).init();
    let result = match &cli.command {
        Command::Tuf(args) => tuf::run(args).map(|()| ExitCode::SUCCESS).map_err(Into::into),
        Command::Release(args) => release::run(args).map(|()| ExitCode::SUCCESS).map_err(Into::into),
        Command::Pump(args) => block_on(pumps(args)),
        Command::Listen(args) => block_on(listens(args)),
        Command::Outlet(args) => block_on(sends_on(args)),
        Command::Gateway(GatewayCommand::Run(args)) => block_on(run_gateway(args)),
        Command::Gateway(GatewayCommand::Doctor(args)) => block_on(gateway_doctor(args)),
        Command::Gateway(GatewayCommand::Unit(args)) => gateway_unit(args),
        Command::Gateway(GatewayCommand::Status { state, json }) => gateway_status(state, *json),
        Command::Send(args) => block_on(sends(args)),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("wardlink: {}", printable(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn block_on(work: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    tokio::runtime::Runtime::new().context("cannot start").and_then(|runtime| runtime.block_on(work))
}

/// Listens until the person ends it, or the control unit does.
async fn listens(args: &ListenArgs) -> Result<ExitCode> {
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        if interrupted().await.is_ok() {
            stop.send_replace(true);
        }
    });
    let ended = listen::run(args.service.settings()?, Printer::new(args.format), stopped).await;
    match ended {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error @ ServiceError::Ended) => {
            eprintln!("wardlink: {error}");
            Ok(ExitCode::from(REFUSED))
        }
        Err(error) => Err(error.into()),
    }
}

/// Sends stored data on until the person ends it, or the control unit does.
async fn sends_on(args: &OutletArgs) -> Result<ExitCode> {
    let (settings, target) = args.settings()?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        if interrupted().await.is_ok() {
            stop.send_replace(true);
        }
    });
    match outlet::run(settings, target, Printer::new(args.format), stopped).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(OutletError::Service(error @ ServiceError::Ended)) => {
            eprintln!("wardlink: {error}");
            Ok(ExitCode::from(REFUSED))
        }
        Err(error) => Err(error.into()),
    }
}

/// Sends an order, and says how it went.
async fn sends(args: &SendArgs) -> Result<ExitCode> {
    let (settings, errand) = args.settings()?;
    let printer = Printer::new(if args.json { Format::Json } else { Format::Text });
    let refused = |words: &str| {
        eprintln!("wardlink: {words}");
        Ok(ExitCode::from(REFUSED))
    };
    match send::run(settings, errand, printer).await {
        Ok(Ending::Outcome(OrderResult::Done)) => Ok(ExitCode::SUCCESS),
        Ok(Ending::Outcome(_)) => Ok(ExitCode::from(REFUSED)),
        Ok(Ending::Unread) => {
            eprintln!("wardlink: it is sent; this service does not read the channel, and so learns no outcome");
            Ok(ExitCode::SUCCESS)
        }
        Ok(Ending::NotLetIn) => refused("the bridge does not let this service send it"),
        Ok(Ending::Silence) => {
            anyhow::bail!("no outcome came in time; until its end the order may still be carried out")
        }
        Err(error @ (ServiceError::Ended | ServiceError::NotGranted { .. } | ServiceError::NoDevice(_))) => {
            refused(&error.to_string())
        }
        Err(error) => Err(error.into()),
    }
}

/// Runs the pumps until they end, or the person ends them.
async fn pumps(args: &PumpArgs) -> Result<ExitCode> {
    if let Some(command) = &args.command {
        for line in command.run()?.lines() {
            println!("{}", printable(line));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (journal, entries) = mpsc::unbounded_channel();
    let mut pumps = Vec::new();
    let mut handles = Vec::new();
    for settings in args.settings()? {
        let (pump, handle) = Pump::open(settings, journal.clone())?;
        pumps.push(pump);
        handles.push(handle);
    }
    drop(journal);
    let printing = tokio::spawn(print(entries, args.json));
    let mut showing = JoinSet::new();
    show(args, handles, &mut showing).await?;

    let (stop, stopped) = watch::channel(false);
    let mut running = JoinSet::new();
    for pump in pumps {
        let stopped = stopped.clone();
        running.spawn(async move { (pump.device().to_string(), pump.run(stopped).await) });
    }
    tokio::spawn(async move {
        if interrupted().await.is_ok() {
            stop.send_replace(true);
        }
    });
    let code = finish(running).await?;
    showing.shutdown().await;
    printing.await.context("the journal broke")?;
    Ok(code)
}

/// Runs a gateway until the person ends it.
async fn run_gateway(args: &GatewayArgs) -> Result<ExitCode> {
    let (coupling, settings) = args.settings()?;
    own::launch(&settings).context("the gateway's own programs")?;
    let (journal, entries) = mpsc::unbounded_channel();
    let (pump, handle) = Pump::open(coupling, journal)?;
    // The state directory is held from here on; the old site's store is erased before anybody opens it.
    gateway::wipe_unless_paired(&settings)?;
    let printing = tokio::spawn(print(entries, args.json));
    let mut showing = JoinSet::new();
    if !args.json {
        let style = if io::stdout().is_terminal() { terminal::Style::Block } else { terminal::Style::Lines };
        let (screen, orders) = (handle.screen.clone(), Some(handle.orders.clone()));
        showing.spawn(terminal::run(screen, Language::default(), style, orders));
    }
    let (gateway, watched) = Gateway::open(settings.clone())?;
    let telling = args.json.then(|| tokio::spawn(print(gateway.journal(), true)));
    let membership = handle.membership.clone();
    if let Some(address) = args.page {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot show the status at {address}; choose another --status address"))?;
        showing.spawn(async move {
            if let Err(error) = page::serve(listener, watched, &handle).await {
                tracing::error!(%error, "the status page ended");
            }
        });
    }
    let (stop, stopped) = watch::channel(false);
    let stop_coupling = stop.clone();
    tokio::spawn(async move {
        if interrupted().await.is_ok() {
            stop.send_replace(true);
        }
    });
    let (ends, ended) = watch::channel(false);
    let mut stopping = stopped.clone();
    let mut serving = tokio::spawn(gateway.run(membership, ended));
    let mut coupling = tokio::spawn(pump.run(stopped));
    let (mut coupled, mut served) = (None, None);
    tokio::select! {
        ended = &mut coupling => coupled = Some(ended),
        ended = &mut serving => served = Some(ended),
        _ = stopping.changed() => {}
    }
    ends.send_replace(true);
    let served = match served {
        Some(ended) => ended,
        None => serving.await,
    };
    let served = served.context("the gateway broke")?;
    if let Some(telling) = telling {
        // The gateway says nothing any more.
        telling.await.context("the gateway's journal broke")?;
    }
    if served.is_err() {
        // A coupling without a gateway serves nobody, whether it ends or begins anew.
        stop_coupling.send_replace(true);
    }
    let coupled = match coupled {
        Some(ended) => ended,
        None => coupling.await,
    };
    if matches!(served, Err(GatewayError::Restart)) {
        // Returns only where it fails.
        return Err(own::restart()).context("the gateway has another program, and cannot start it");
    }
    served?;
    let code = match coupled.context("the coupling broke")?? {
        Outcome::Refused(_) => ExitCode::from(REFUSED),
        Outcome::Stopped => ExitCode::SUCCESS,
        Outcome::Decommissioned => {
            // Nothing is left that another site could take for its own.
            gateway::wipe(&settings)?;
            ExitCode::SUCCESS
        }
    };
    showing.shutdown().await;
    printing.await.context("the journal broke")?;
    Ok(code)
}

/// Looks at what a gateway needs.
async fn gateway_doctor(args: &DoctorArgs) -> Result<ExitCode> {
    let checks = doctor::examine(args).await;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&checks)?)?;
    } else {
        for line in doctor::lines(&checks).iter().flat_map(|line| line.lines()) {
            writeln!(out, "{}", printable(line))?;
        }
    }
    let is_bad = checks.iter().any(|check| check.verdict == Verdict::Bad);
    Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn gateway_unit(args: &UnitArgs) -> Result<ExitCode> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    write!(io::stdout().lock(), "{}", unit::text(args, &program))?;
    Ok(ExitCode::SUCCESS)
}

/// Shows how a gateway stands.
fn gateway_status(state: &Path, json: bool) -> Result<ExitCode> {
    let status = status::read(state)
        .with_context(|| format!("no gateway has kept its status in {}; is it the right --state?", state.display()))?;
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(&status)?)?;
    } else {
        for line in status::lines(&status) {
            writeln!(out, "{}", printable(&line))?;
        }
    }
    Ok(if status.troubles.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits for all pumps; the worst end decides.
async fn finish(mut running: JoinSet<(String, Result<Outcome, PumpError>)>) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut failed = false;
    while let Some(ended) = running.join_next().await {
        match ended.context("a pump broke")? {
            (_, Ok(Outcome::Refused(_))) if !failed => code = ExitCode::from(REFUSED),
            (_, Ok(_)) => {}
            (device, Err(error)) => {
                eprintln!("wardlink: {device}: {error}");
                failed = true;
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Ctrl-C, or the service manager's word.
async fn interrupted() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}

/// Puts the screens where they are wanted.
async fn show(args: &PumpArgs, handles: Vec<Handle>, showing: &mut JoinSet<()>) -> Result<()> {
    if !args.json {
        let system = ["LC_ALL", "LC_MESSAGES", "LANG"].iter().find_map(|name| std::env::var(name).ok());
        let language = args.language.or_else(|| system.as_deref().and_then(Language::preferred)).unwrap_or_default();
        let style = if io::stdout().is_terminal() && handles.len() == 1 {
            terminal::Style::Block
        } else {
            terminal::Style::Lines
        };
        for handle in &handles {
            // Only one pump can be meant by what is typed.
            let orders = (handles.len() == 1).then(|| handle.orders.clone());
            showing.spawn(terminal::run(handle.screen.clone(), language, style, orders));
        }
    }
    if let Some(address) = args.display {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot show the display at {address}; choose another --display address"))?;
        let handles = Arc::from(handles);
        showing.spawn(async move {
            if let Err(error) = web::serve(listener, handles).await {
                tracing::error!(%error, "the display page ended");
            }
        });
    }
    Ok(())
}

/// Prints a journal, one event per line; a closed pipe ends the printing, and nothing else.
async fn print<E: Serialize>(mut entries: mpsc::UnboundedReceiver<E>, json: bool) {
    while let Some(entry) = entries.recv().await {
        if !json {
            continue;
        }
        let line = match serde_json::to_string(&entry) {
            Ok(line) => line,
            Err(error) => {
                tracing::error!(%error, "an event cannot be printed");
                continue;
            }
        };
        let mut out = io::stdout().lock();
        if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}
