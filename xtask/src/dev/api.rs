//! The few calls that a development run makes to the control unit.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::StatusCode;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::place::Place;

/// The control unit's HTTP interface.
#[derive(Debug)]
pub(super) struct Api {
    agent: Agent,
    origin: String,
}

impl Api {
    /// Speaks to the control unit of this run, and takes no certificate but one of its own authority.
    pub(super) fn new(place: &Place) -> Self {
        let anchors = place.tls().map(|tls| Certificate::from_der(tls.authority.der()).to_owned());
        let roots = RootCerts::Specific(Arc::new(anchors.into_iter().collect()));
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(10)));
        // A proxy of the environment is for the outside, not for this machine.
        let config = config.proxy(None).tls_config(TlsConfig::builder().root_certs(roots).build());
        Self { agent: config.build().into(), origin: place.origin().to_owned() }
    }

    /// Where the web app is.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether the worker answers.
    pub(super) fn is_healthy(&self) -> bool {
        self.agent.get(self.url("health")).call().is_ok_and(|response| response.status().is_success())
    }

    /// Whether the first administrator is still to come.
    pub(super) fn is_bootstrap_needed(&self) -> Result<bool> {
        let mut response = self.agent.get(self.url("bootstrap")).call().context("the worker does not answer")?;
        let body: Value = response.body_mut().read_json().context("the worker's answer cannot be read")?;
        body.get("needed").and_then(Value::as_bool).with_context(|| format!("unexpected answer of the worker: {body}"))
    }

    /// Asks for a provisioning file. Once there is an administrator only people get one: then this returns none.
    pub(super) fn provision(&self, client: &str, bootstrap_token: &str) -> Result<Option<String>> {
        let request = self.agent.post(self.url("provisioning"));
        let request = request.header("Authorization", format!("Bearer {bootstrap_token}"));
        let mut response = request.send_json(json!({ "client": client })).context("the worker does not answer")?;
        let body = response.body_mut().read_to_string().context("the worker's answer cannot be read")?;
        match response.status() {
            status if status.is_success() => Ok(Some(body)),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(None),
            status => bail!("the worker made no provisioning file: {status}\n{body}"),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.origin)
    }
}
