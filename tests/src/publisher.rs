//! A publisher that says to the distribution server whatever a test wants: the wire of `/api/publish`.

use anyhow::{Context as _, Result};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256 as Hasher};
use ureq::Agent;
use ureq::http::{Method, Request, Response};
use wardlink_protocol::api::{NewPublication, PublicationView, Published, PublishedFile, PublishedMetadata};
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::limits::PUBLISHED_PART_BYTES;

use crate::api::problem;
use crate::wait;

/// Somebody with a token.
#[derive(Clone, Debug)]
pub struct Publisher {
    agent: Agent,
    base: String,
    token: String,
}

impl Publisher {
    /// Speaks for a manufacturer to the worker at `origin`.
    pub fn new(origin: &str, manufacturer: &str, token: &str) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(wait::LIMIT)).build();
        let base = format!("{origin}/api/publish/{manufacturer}");
        Self { agent: config.into(), base, token: token.to_owned() }
    }

    /// Says what there is.
    pub fn begin(&self, new: &NewPublication) -> Result<PublicationView> {
        let body = serde_json::to_vec(new).context("cannot write JSON")?;
        self.json(Method::POST, "", body)
    }

    /// What is missing.
    pub fn view(&self, publication: u64) -> Result<PublicationView> {
        self.json(Method::GET, &format!("/{publication}"), Vec::new())
    }

    /// Sends a part of a file.
    pub fn put(&self, publication: u64, file: &PublishedFile, part: u32, bytes: &[u8]) -> Result<()> {
        let path = format!("/{publication}/files/{}/{part}", file.sha256);
        self.answered(Method::PUT, &path, bytes.to_vec()).map(drop)
    }

    /// Makes it visible.
    pub fn commit(&self, publication: u64) -> Result<Published> {
        self.json(Method::POST, &format!("/{publication}/commit"), Vec::new())
    }

    /// Gives it up.
    pub fn abandon(&self, publication: u64) -> Result<()> {
        self.answered(Method::DELETE, &format!("/{publication}"), Vec::new()).map(drop)
    }

    fn json<T: DeserializeOwned>(&self, method: Method, path: &str, body: Vec<u8>) -> Result<T> {
        let mut answer = self.answered(method, path, body)?;
        answer.body_mut().read_json().context("the answer has another form")
    }

    fn answered(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Response<ureq::Body>> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("Authorization", format!("Bearer {}", self.token))
            .body(body)
            .context("a malformed request")?;
        let answer = self.agent.run(request).context("the worker does not answer")?;
        if answer.status().is_success() { Ok(answer) } else { Err(problem(answer)?.into()) }
    }
}

/// A file by its content.
pub fn file(bytes: &[u8]) -> PublishedFile {
    PublishedFile {
        sha256: Sha256(Hasher::digest(bytes).into()),
        length: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
    }
}

/// Metadata by its name and content.
pub fn metadata(name: &str, bytes: &[u8]) -> PublishedMetadata {
    PublishedMetadata { name: name.to_owned(), file: file(bytes) }
}

/// Bytes that don't repeat: so many whole parts, and one that is not whole.
pub fn long_program(parts: u64) -> Vec<u8> {
    let length = usize::try_from(parts * PUBLISHED_PART_BYTES).unwrap_or_default() + 1_000;
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}
