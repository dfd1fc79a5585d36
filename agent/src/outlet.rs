//! `wardlink outlet`: a small server application that sends stored data on to PostgreSQL (Distribution, figure 4, 78; paragraph 0033).
//!
//! It uses the enrolment of a service that reads the `update` channel of device classes. The database itself keeps how far it has come, in the
//! transaction that writes the rows: whatever breaks off, each record is there once.

use crate::clock;
use crate::link::{EndpointError, TlsTrust};
use crate::service::{Event, Format, Printer, Service, ServiceArgs, ServiceError, Settings, SiteError};
use anyhow::Context;
use rand_core::Rng;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;
use wardlink_records::outlet::{self, Fed, Outlet, Portion};

/// How long connecting to the database may take, until it has said how far it is.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the database may take for the rows of one portion: a connection of which only this half is left does not end by itself.
const PORTION_TIMEOUT: Duration = Duration::from_mins(2);
/// A service goes on from an earlier position: the parameters are those of [`outlet::UPDATE_POSITION`].
const SET_BACK: &str =
    "UPDATE wardlink_outlet SET confirmed = $2::numeric WHERE service = $1 AND confirmed > $2::numeric";

/// Whether there is a table of this name where the account's tables are.
const HAS_TABLE: &str = "SELECT to_regclass($1::text) IS NOT NULL";
/// The tables, by name.
const TABLES: [(&str, &str); 2] = [("wardlink_records", outlet::TABLE), ("wardlink_outlet", outlet::POSITIONS)];

/// The flags of `wardlink outlet`.
#[derive(Clone, clap::Args)]
pub struct OutletArgs {
    #[command(flatten)]
    service: ServiceArgs,
    /// The database, such as postgresql://wardlink@db.example/ward?sslmode=require. It may hold a password, and a flag can be seen by
    /// others on this machine: better the environment.
    #[arg(long, env = "WARDLINK_DATABASE", hide_env_values = true, value_name = "URL")]
    database: String,
    /// A root certificate for the database's TLS (PEM file); can be given several times. Without: the public web PKI.
    #[arg(long, env = "WARDLINK_DATABASE_ANCHOR", value_name = "FILE", value_delimiter = ',')]
    database_anchor: Vec<std::path::PathBuf>,
    /// How often the server is asked for more, in seconds.
    #[arg(long, env = "WARDLINK_EVERY", value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    every: u64,
    /// How events are printed: for people, or as one JSON object per line.
    #[arg(long, env = "WARDLINK_FORMAT", value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// Where rows go.
pub struct Target {
    config: Config,
    tls: MakeRustlsConnect,
    every: Duration,
}

/// A connection to the database; what moves its bytes ends with it.
struct Database {
    client: Client,
    _moving: JoinSet<()>,
}

/// What the server's answer leads to.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// There is nothing new.
    Wait,
    /// There are rows to write.
    Write,
    /// The server was restored from an older state: positions after its last one are given anew.
    SetBack,
}

/// Why rows cannot be sent on.
#[derive(Debug, thiserror::Error)]
pub enum OutletError {
    /// The service.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The database does not answer, or does not take the rows: they are sent again.
    #[error("the database does not take the rows: {0}")]
    Database(String),
    /// The peer's fault: the server gives something else than it was asked for.
    #[error("the server gave records that nobody asked for")]
    Unasked,
}

impl From<tokio_postgres::Error> for OutletError {
    fn from(error: tokio_postgres::Error) -> Self {
        let why = error.as_db_error().map_or_else(|| error.to_string(), |why| why.message().to_owned());
        Self::Database(why)
    }
}

impl OutletError {
    /// Whether it is worth trying again.
    const fn may_pass(&self) -> bool {
        matches!(self, Self::Database(_) | Self::Service(ServiceError::Site(SiteError::Unreachable(_))))
    }
}

impl OutletArgs {
    /// Reads the files that the flags name, and checks the addresses.
    pub fn settings(&self) -> anyhow::Result<(Settings, Target)> {
        let config: Config =
            self.database.parse().map_err(|_| anyhow::anyhow!("--database is no address of PostgreSQL"))?;
        anyhow::ensure!(
            is_safe(&config),
            "the database is not on this machine: its address has to say sslmode=require, so that what is sent is encrypted"
        );
        let read = |path: &std::path::PathBuf| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let anchors = self.database_anchor.iter().map(read).collect::<anyhow::Result<Vec<String>>>()?;
        let tls = MakeRustlsConnect::new(tls(&anchors)?);
        let every = Duration::from_secs(self.every);
        Ok((self.service.settings()?, Target { config, tls, every }))
    }
}

fn tls(anchors: &[String]) -> Result<rustls::ClientConfig, EndpointError> {
    TlsTrust::from_pem(anchors, false)?.client_config()
}

/// Whether nothing leaves this machine unencrypted.
fn is_safe(config: &Config) -> bool {
    let is_local = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
    };
    let is_encrypted = config.get_ssl_mode() == SslMode::Require;
    is_encrypted
        || (config.get_hosts().iter().all(is_local) && config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback))
}

/// Sends on what there is, and what comes, until it is stopped.
pub async fn run(
    settings: Settings,
    target: Target,
    mut printer: Printer,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), OutletError> {
    tokio::select! {
        ended = forward(settings, &target, &mut printer) => ended,
        _ = stopped.wait_for(|stopped| *stopped) => Ok(()),
    }
}

async fn forward(settings: Settings, target: &Target, printer: &mut Printer) -> Result<(), OutletError> {
    let mut service = Service::open(settings, printer).await?;
    let name = service.device().identifier.to_string();
    let mut outlet = Outlet::default();
    let mut database = None;
    loop {
        service.renew(printer).await?;
        match send_on(&service, &name, target, &mut database, &mut outlet, printer).await {
            Ok(true) => {}
            Ok(false) => sleep(target.every).await,
            Err(error) if error.may_pass() => {
                database = None;
                let now = clock::now();
                outlet.failed(now, clock::rng().next_u64());
                let wait = outlet.waits_until(now).map_or(target.every, |until| until.since(now));
                let again_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                printer.print(&Event::Disconnected { reason: error.to_string(), again_in_ms });
                sleep(wait).await;
            }
            Err(error) => return Err(error),
        }
        if !printer.is_open() {
            return Err(ServiceError::Unread.into());
        }
    }
}

/// Sends one portion on; whether there is more.
async fn send_on(
    service: &Service,
    name: &str,
    target: &Target,
    database: &mut Option<Database>,
    outlet: &mut Outlet,
    printer: &mut Printer,
) -> Result<bool, OutletError> {
    let database = if let Some(database) = database {
        database
    } else {
        let (connected, confirmed) = in_time(CONNECT_TIMEOUT, connect(target, name)).await?;
        outlet.resume(confirmed);
        database.insert(connected)
    };
    let Some(portion) = outlet.due(clock::now(), u64::MAX) else { return Ok(false) };
    let after = portion.from.saturating_sub(1);
    let fed = service.records(after).await?;
    match next(portion, &fed)? {
        Next::Wait => Ok(false),
        Next::SetBack => {
            in_time(PORTION_TIMEOUT, set_back(&database.client, name, fed.last)).await?;
            outlet.resume(fed.last);
            printer.print(&Event::SetBack { from: after, to: fed.last });
            Ok(false)
        }
        Next::Write => {
            in_time(PORTION_TIMEOUT, write(&mut database.client, name, &fed)).await?;
            if !outlet.confirmed(Portion { from: portion.from, through: fed.through }) {
                return Err(OutletError::Unasked);
            }
            let behind = outlet.behind(fed.last);
            printer.print(&Event::Forwarded { records: fed.records.len(), through: fed.through, behind });
            Ok(behind > 0)
        }
    }
}

/// What to do with what the server gave for a portion.
const fn next(portion: Portion, fed: &Fed) -> Result<Next, OutletError> {
    let after = portion.from.saturating_sub(1);
    if fed.last < after {
        return Ok(Next::SetBack);
    }
    if fed.through <= after {
        return Ok(Next::Wait);
    }
    if fed.through > portion.through || fed.through > fed.last {
        return Err(OutletError::Unasked);
    }
    Ok(Next::Write)
}

/// The database's part of something; one that does not answer is as one that is away.
async fn in_time<T>(limit: Duration, part: impl Future<Output = Result<T, OutletError>>) -> Result<T, OutletError> {
    let done = timeout(limit, part).await;
    done.unwrap_or_else(|_| Err(OutletError::Database("it does not answer".to_owned())))
}

/// Writes rows and the position that they lead to, all or nothing.
async fn write(client: &mut Client, name: &str, fed: &Fed) -> Result<(), OutletError> {
    let transaction = client.transaction().await?;
    let insert = transaction.prepare_typed(outlet::INSERT, &[Type::TEXT; outlet::COLUMNS]).await?;
    for record in &fed.records {
        let row = record.row();
        let row: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
            row.iter().map(|column| column as &(dyn tokio_postgres::types::ToSql + Sync)).collect();
        transaction.execute(&insert, &row).await?;
    }
    let position = transaction.prepare_typed(outlet::UPDATE_POSITION, &[Type::TEXT; 2]).await?;
    transaction.execute(&position, &[&name, &fed.through.to_string()]).await?;
    Ok(transaction.commit().await?)
}

/// Has the service go on after an earlier position.
async fn set_back(client: &Client, name: &str, last: u64) -> Result<(), OutletError> {
    let position = client.prepare_typed(SET_BACK, &[Type::TEXT; 2]).await?;
    client.execute(&position, &[&name, &last.to_string()]).await?;
    Ok(())
}

/// Connects, makes the tables that are missing, and asks how far the database has come.
async fn connect(target: &Target, name: &str) -> Result<(Database, u64), OutletError> {
    let (client, connection) = target.config.connect(target.tls.clone()).await?;
    let mut moving = JoinSet::new();
    moving.spawn(async move {
        if let Err(error) = connection.await {
            tracing::warn!(%error, "the connection to the database ended");
        }
    });
    for (name, table) in TABLES {
        // Even where there is one, making it asks for the right to make tables.
        let has_table: bool = client.query_one(HAS_TABLE, &[&name]).await?.try_get(0)?;
        if !has_table {
            client.batch_execute(&table.replacen("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1)).await?;
        }
    }
    let known = client.query_opt(outlet::SELECT_POSITION, &[&name]).await?;
    let known: Option<String> = known.map(|row| row.try_get(0)).transpose()?;
    let confirmed = known.map_or(Ok(0), |confirmed| confirmed.parse());
    let confirmed = confirmed.map_err(|_| OutletError::Database("its position is no number".to_owned()))?;
    Ok((Database { client, _moving: moving }, confirmed))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn after_a_server_that_was_restored_it_goes_on_from_where_that_one_is() {
        let portion = Portion { from: 301, through: 800 };
        let next = |through, last| next(portion, &Fed { records: Vec::new(), through, last }).ok();
        assert_eq!(next(200, 200), Some(Next::SetBack), "what it gives next has positions from 201");
        assert_eq!(next(0, 0), Some(Next::SetBack));
        assert_eq!((next(300, 300), next(300, 301)), (Some(Next::Wait), Some(Next::Wait)));
        assert_eq!((next(301, 301), next(800, 900)), (Some(Next::Write), Some(Next::Write)));
        for unasked in [next(801, 900), next(400, 399)] {
            assert_eq!(unasked, None);
        }
    }

    #[tokio::test]
    async fn a_database_that_does_not_answer_is_waited_for_as_one_that_is_away() {
        let silent = core::future::pending::<Result<(), OutletError>>();
        let error = in_time(Duration::from_millis(1), silent).await.unwrap_err();
        assert!(error.may_pass(), "{error}");
        assert_eq!(in_time(PORTION_TIMEOUT, async { Ok(7) }).await.unwrap(), 7);
    }

    #[test]
    fn the_tables_are_called_as_they_are_made() {
        for (name, table) in TABLES {
            assert!(table.starts_with(&format!("CREATE TABLE {name} (")), "{name}");
        }
    }

    #[test]
    fn what_leaves_this_machine_is_encrypted() {
        let safe = |address: &str| is_safe(&address.parse().unwrap());
        for local in
            ["postgresql://w@localhost/ward", "postgresql://w@127.0.0.1:5433/ward", "host=/run/postgresql user=w"]
        {
            assert!(safe(local), "{local}");
        }
        assert!(safe("postgresql://w@db.example/ward?sslmode=require"));
        for open in [
            "postgresql://w@db.example/ward",
            "postgresql://w@db.example/ward?sslmode=prefer",
            "postgresql://w@localhost,db.example/ward",
        ] {
            assert!(!safe(open), "{open}");
        }
    }
}
