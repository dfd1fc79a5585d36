//! Fetching from a repository over HTTP or HTTPS.

use super::TufError;
use std::io::Read;
use std::time::Duration;
use ureq::http::StatusCode;
use ureq::{Agent, Body};
use wardlink_update::client::{Step, Wanted};

/// How long a repository may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How fast it has to send a file after that, at least: whoever is slower holds the client up (a slow retrieval attack).
const LEAST_BYTES_PER_SECOND: u64 = 1_000;

/// A repository's metadata, and a connection to it.
pub(super) struct Repository {
    agent: Agent,
    metadata: String,
}

impl Repository {
    pub(super) fn new(metadata: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(TIMEOUT))
            .timeout_recv_response(Some(TIMEOUT))
            .user_agent(concat!("wardlink/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.new_agent(), metadata: metadata.trim_end_matches('/').to_owned() }
    }

    /// A metadata file, up to one byte more than it may have; none where the repository has no such file.
    pub(super) fn metadata(&self, name: &str, wanted: &Wanted) -> Result<Option<Vec<u8>>, TufError> {
        let url = format!("{}/{name}", self.metadata);
        let Some(body) = self.body(&url, wanted.max_bytes, wanted.step)? else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = body.take(wanted.max_bytes.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|why| TufError::Fetch { step: wanted.step, url, why: why.to_string() })?;
        Ok(Some(bytes))
    }

    /// What is at a URL, of which at most so many bytes will be read in this step; none where nothing is.
    pub(super) fn body(&self, url: &str, max_bytes: u64, step: Step) -> Result<Option<impl Read + use<>>, TufError> {
        let failed = |why: String| TufError::Fetch { step, url: url.to_owned(), why };
        let patience = TIMEOUT.saturating_add(Duration::from_secs(max_bytes.div_ceil(LEAST_BYTES_PER_SECOND)));
        let request = self.agent.get(url).config().timeout_recv_body(Some(patience)).build();
        let answer = request.call().map_err(|error| failed(error.to_string()))?;
        match answer.status() {
            StatusCode::OK => Ok(Some(Body::into_reader(answer.into_body()))),
            // Stores of files that may not be listed say "forbidden" where there is nothing.
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::GONE => Ok(None),
            status => Err(failed(format!("the repository answered {status}"))),
        }
    }
}
