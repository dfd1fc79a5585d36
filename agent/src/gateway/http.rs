//! Files over HTTP/1.1, by the gateway's own way to the site: the same TLS, the same proxy.

use super::timekeeping::Timekeeping;
use crate::clock;
use crate::link::{DialError, Endpoint, Identity};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AGE, AUTHORIZATION, CONTENT_RANGE, DATE, ETAG, HOST, IF_NONE_MATCH, RANGE, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};

/// How long a server may take to connect, to answer, and between two pieces of a file.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How fast a file has to come, at least, in bytes per second (a slow retrieval attack).
const LEAST_BYTES_PER_SECOND: u64 = 1_000;

/// Why a file does not come.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// There is no way to the server.
    #[error("{0}")]
    Dial(#[from] DialError),
    /// The connection, or what came over it.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// Our fault: no request.
    #[error("it cannot be asked for: {0}")]
    Request(#[from] hyper::http::Error),
    /// The server is too slow.
    #[error("the server does not answer, or too slowly")]
    Slow,
    /// The server has answered with something else.
    #[error("the server answered {0}")]
    Status(StatusCode),
}

/// What is asked for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Asked<'a> {
    /// Path and query.
    pub(crate) path: &'a str,
    /// What shows who asks.
    pub(crate) bearer: Option<&'a str>,
    /// What is there already: it is asked for the whole of something else.
    pub(crate) etag: Option<&'a str>,
    /// From which byte on. What came is compared with its hash at its end: it needs no validator.
    pub(crate) from: u64,
}

/// What came.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) etag: Option<String>,
    /// The server's time.
    pub(crate) date: Option<String>,
    /// From which byte on the file comes.
    pub(crate) from: u64,
    body: Incoming,
}

/// One server.
pub(crate) struct Http {
    endpoint: Arc<Endpoint>,
    identity: Arc<Identity>,
    kept: Mutex<Option<SendRequest<Empty<Bytes>>>>,
    /// Who compares the clock with this server's.
    time: Option<Arc<Timekeeping>>,
}

impl Http {
    pub(crate) fn new(endpoint: Arc<Endpoint>, identity: Arc<Identity>) -> Self {
        Self { endpoint, identity, kept: Mutex::new(None), time: None }
    }

    /// The same; with every answer the clock is compared with the server's.
    pub(super) fn keeping_time(self, time: Arc<Timekeeping>) -> Self {
        Self { time: Some(time), ..self }
    }

    /// Asks for a file. A connection that was kept is used again, unless the server has let go of it meanwhile.
    pub(crate) async fn get(&self, asked: Asked<'_>) -> Result<Answer, HttpError> {
        let mut kept = self.kept.lock().await;
        if let Some(mut sender) = kept.take()
            && timeout(TIMEOUT, sender.ready()).await.is_ok_and(|ready| ready.is_ok())
            && let Ok(Ok(answer)) = timeout(TIMEOUT, sender.send_request(self.request(asked)?)).await
        {
            *kept = Some(sender);
            return Ok(self.answer(answer));
        }
        let stream = timeout(TIMEOUT, self.endpoint.open(&self.identity)).await.map_err(|_| HttpError::Slow)??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
        });
        let answer =
            timeout(TIMEOUT, sender.send_request(self.request(asked)?)).await.map_err(|_| HttpError::Slow)??;
        *kept = Some(sender);
        Ok(self.answer(answer))
    }

    fn request(&self, asked: Asked<'_>) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
        let mut request = Request::get(asked.path)
            .header(HOST, self.endpoint.host())
            .header(USER_AGENT, concat!("wardlink/", env!("CARGO_PKG_VERSION")));
        if let Some(bearer) = asked.bearer {
            request = request.header(AUTHORIZATION, format!("Bearer {bearer}"));
        }
        if let Some(etag) = asked.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if asked.from > 0 {
            request = request.header(RANGE, format!("bytes={}-", asked.from));
        }
        request.body(Empty::new())
    }

    fn answer(&self, answer: hyper::Response<Incoming>) -> Answer {
        let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let range = text(CONTENT_RANGE);
        let from = range.as_deref().and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
        let from = if answer.status() == StatusCode::PARTIAL_CONTENT { from.unwrap_or(0) } else { 0 };
        let date = text(DATE);
        // What comes out of a cache may tell the time at which it went in.
        if let (Some(time), Some(date), None) = (&self.time, &date, answer.headers().get(AGE)) {
            time.dated(date, clock::now());
        }
        Answer { status: answer.status(), etag: text(ETAG), date, from, body: answer.into_body() }
    }
}

/// A file that comes, piece by piece.
pub(crate) struct Pieces {
    body: Incoming,
    left: u64,
    /// When all of it has to be there.
    ends: Instant,
}

impl Pieces {
    /// The next piece; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, HttpError> {
        while self.left > 0 {
            let soon = Instant::now() + TIMEOUT;
            let frame = timeout_at(soon.min(self.ends), self.body.frame()).await.map_err(|_| HttpError::Slow)?;
            let Some(frame) = frame else { break };
            let Ok(mut bytes) = frame?.into_data() else { continue };
            bytes.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left = self.left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            return Ok(Some(bytes));
        }
        Ok(None)
    }
}

impl Answer {
    /// Whether it says beforehand that it has fewer bytes than that.
    pub(crate) fn is_shorter_than(&self, bytes: u64) -> bool {
        self.body.size_hint().exact().is_some_and(|length| length < bytes)
    }

    /// The file, at most one byte more than it may have.
    pub(crate) fn pieces(self, max_bytes: u64) -> Pieces {
        let patience = TIMEOUT.saturating_add(Duration::from_secs(max_bytes.div_ceil(LEAST_BYTES_PER_SECOND)));
        let now = Instant::now();
        let ends = now.checked_add(patience).unwrap_or(now);
        Pieces { body: self.body, left: max_bytes.saturating_add(1), ends }
    }

    /// Reads the file, at most one byte more than it may have, piece by piece.
    pub(crate) async fn read<E: From<HttpError>>(
        self,
        max_bytes: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut pieces = self.pieces(max_bytes);
        while let Some(piece) = pieces.next().await? {
            take(&piece)?;
        }
        Ok(())
    }

    /// Reads a short file whole; up to one byte more than it may have.
    pub(crate) async fn bytes(self, max_bytes: u64) -> Result<Vec<u8>, HttpError> {
        let mut bytes = Vec::new();
        self.read(max_bytes, |piece| {
            bytes.extend_from_slice(piece);
            Ok::<_, HttpError>(())
        })
        .await?;
        Ok(bytes)
    }
}
