//! What every service is told.

use crate::link::{Endpoint, TlsTrust};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::sync::Arc;
use wardlink_protocol::service::EnrolmentTicket;

/// The flags of every service.
#[derive(Clone, clap::Args)]
pub struct ServiceArgs {
    /// The control unit's web origin: https, a host, and its port where that is not the usual one; http on this machine.
    #[arg(long, env = "WARDLINK_SITE", value_name = "URL")]
    site: String,
    /// The enrolment text of the web app, the first time. It holds a secret that counts once, and a flag can be seen by others on this
    /// machine: better the environment.
    #[arg(long, env = "WARDLINK_ENROL", hide_env_values = true, value_name = "TEXT")]
    enrol: Option<EnrolmentTicket>,
    /// The directory that the service keeps its key and its certificate in.
    #[arg(
        long,
        visible_alias = "state",
        env = "WARDLINK_DATA_DIR",
        value_name = "DIR",
        default_value = "wardlink-listen"
    )]
    data_dir: PathBuf,
    /// A root certificate for TLS (PEM file); can be given several times.
    #[arg(long, env = "WARDLINK_TLS_ANCHOR", value_name = "FILE", value_delimiter = ',')]
    tls_anchor: Vec<PathBuf>,
}

/// What a service needs to know.
pub struct Settings {
    /// The control unit's web origin.
    pub origin: String,
    /// Where its bridge is.
    pub endpoint: Arc<Endpoint>,
    /// Which certificates of servers count.
    pub tls: TlsTrust,
    /// The enrolment text.
    pub ticket: Option<EnrolmentTicket>,
    /// The directory.
    pub data: PathBuf,
}

impl ServiceArgs {
    /// Reads the files that the flags name, and checks the address.
    pub fn settings(&self) -> Result<Settings> {
        let origin = self.site.trim_end_matches('/').to_owned();
        let read =
            |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
        let anchors = self.tls_anchor.iter().map(read).collect::<Result<Vec<String>>>()?;
        let tls = TlsTrust::from_pem(&anchors, false)?;
        let broker = origin.strip_prefix("http").map(|rest| format!("ws{rest}/mqtt"));
        let broker =
            broker.with_context(|| format!("{origin} is no web origin; it looks like https://wardlink.example"))?;
        // It refuses plain http but on this machine.
        let endpoint = Arc::new(Endpoint::new(&broker, &tls)?);
        Ok(Settings { origin, endpoint, tls, ticket: self.enrol.clone(), data: self.data_dir.clone() })
    }
}
