//! The control unit's web API, as far as a service needs it.

use super::Settings;
use crate::link::web;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;
use ureq::{Agent, Body};
use wardlink_protocol::api::Problem;
use wardlink_protocol::limits::{MAX_RECORDS_FED_BYTES, MAX_SERVICE_KEYS_BYTES};

/// How long the control unit may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Why the control unit gives no answer that counts.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The network, or the control unit is busy: it can be asked again.
    #[error("the control unit cannot be reached: {0}")]
    Unreachable(String),
    /// The control unit refuses.
    #[error("the control unit refuses: {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Why.
        detail: String,
    },
    /// The peer's fault: what answers is no control unit.
    #[error("the answer is not that of a control unit (status {0})")]
    Foreign(u16),
}

/// Where the control unit is.
pub(crate) struct Site {
    agent: Agent,
    origin: Arc<str>,
}

impl Site {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { agent: web::agent(&settings.tls, TIMEOUT), origin: Arc::from(settings.origin.as_str()) }
    }

    /// `POST /api/v1/services/enrol`.
    pub(crate) async fn enrol(&self, request: Vec<u8>) -> Result<Vec<u8>, SiteError> {
        self.post("enrol", request).await
    }

    /// `POST /api/v1/services/keys`.
    pub(crate) async fn keys(&self, question: Vec<u8>) -> Result<Vec<u8>, SiteError> {
        self.post("keys", question).await
    }

    /// `POST /api/v1/services/renew`.
    pub(crate) async fn renew(&self, request: Vec<u8>) -> Result<Vec<u8>, SiteError> {
        self.post("renew", request).await
    }

    /// `POST /api/v1/services/records`.
    pub(crate) async fn records(&self, question: Vec<u8>) -> Result<Vec<u8>, SiteError> {
        self.post("records", question).await
    }

    async fn post(&self, what: &'static str, body: Vec<u8>) -> Result<Vec<u8>, SiteError> {
        let url = format!("{}/api/v1/services/{what}", self.origin);
        let agent = self.agent.clone();
        let sent = tokio::task::spawn_blocking(move || post(&agent, &url, &body)).await;
        sent.map_err(|error| SiteError::Unreachable(error.to_string()))?
    }
}

fn post(agent: &Agent, url: &str, body: &[u8]) -> Result<Vec<u8>, SiteError> {
    let unreachable = |error: &dyn std::fmt::Display| SiteError::Unreachable(error.to_string());
    let sent = agent.post(url).header("Content-Type", "application/cose").send(body);
    let answer = sent.map_err(|error| unreachable(&error))?;
    let status = answer.status().as_u16();
    let longest = if url.ends_with("/records") { MAX_RECORDS_FED_BYTES } else { MAX_SERVICE_KEYS_BYTES };
    let limit = u64::try_from(longest).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    Body::into_reader(answer.into_body()).take(limit).read_to_end(&mut bytes).map_err(|error| unreachable(&error))?;
    match status {
        200 => Ok(bytes),
        // The control unit could not do it now: the same request counts again.
        500.. => Err(SiteError::Unreachable(format!("status {status}"))),
        _ => {
            let problem: Problem = serde_json::from_slice(&bytes).map_err(|_| SiteError::Foreign(status))?;
            Err(SiteError::Refused { status, detail: problem.detail.unwrap_or(problem.title) })
        }
    }
}
