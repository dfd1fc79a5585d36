//! What a publisher asks, over HTTP: which files are missing, their parts, and the commit.

use super::{DistributionObject, json, manufacturers, publication};
use data_encoding::BASE64URL_NOPAD;
use wardlink_edge::http::decoded;
use wardlink_edge::messages::{MAX_OBJECT_MESSAGE_BYTES, PERSON_HEADER};
use wardlink_edge::platform::streams;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::Database;
use wardlink_protocol::api::{NewPublication, Person, ProblemKind};
use wardlink_protocol::cbor;
use wardlink_protocol::identity::Sha256;
use worker::{Method, Request, Response};

/// Under which path publishers ask.
const PREFIX: &str = "/api/publish/";
/// The longest list of what a publisher has, in bytes of JSON.
const MAX_LIST_BYTES: usize = 2_000_000;

/// Whether a request is a publisher's.
pub(super) fn is_for(path: &str) -> bool {
    path.starts_with(PREFIX)
}

impl DistributionObject {
    /// Answers a publisher: who shows a token of this manufacturer, or is a person who may.
    pub(super) async fn publish(&self, mut request: Request) -> Result<Response, Failure> {
        let answered = self.answer_publisher(&mut request).await;
        if answered.is_err() {
            // Whoever uses the connection again must not find the rest of the body there.
            streams::drain(&request).await;
        }
        answered
    }

    async fn answer_publisher(&self, request: &mut Request) -> Result<Response, Failure> {
        let path = request.path();
        let segments: Vec<&str> = path.strip_prefix(PREFIX).unwrap_or_default().split('/').collect();
        let manufacturer = segments.first().and_then(|name| decoded(name)).ok_or(ProblemKind::NotFound)?;
        let manufacturer = manufacturer.as_str();
        let publisher = Publisher::of(request, self.database.open()?, manufacturer)?;
        let number = |text: &str| text.parse::<u64>().map_err(|_| Failure::from(ProblemKind::NotFound));
        match (request.method(), segments.as_slice()) {
            (Method::Post, [_]) => {
                let body = body(request, MAX_LIST_BYTES).await?;
                let new: NewPublication = serde_json::from_slice(&body)
                    .map_err(|error| Failure::with_detail(ProblemKind::BadRequest, format!("The body: {error}.")))?;
                let view = publication::begin(self, manufacturer, &new)?;
                Ok(json(&view)?.with_status(201))
            }
            (Method::Get, [_, id]) => json(&publication::view(self.database.open()?, manufacturer, number(id)?)?),
            (Method::Delete, [_, id]) => {
                publication::abandon(self, manufacturer, number(id)?).await?;
                Ok(Response::empty()?.with_status(204))
            }
            (Method::Put, [_, id, "files", sha256, part]) => {
                let sha256: Sha256 = sha256.parse().map_err(|_| ProblemKind::NotFound)?;
                let part = u32::try_from(number(part)?).map_err(|_| ProblemKind::NotFound)?;
                let upload = publication::Upload::find(self, manufacturer, number(id)?, sha256, part)?;
                let bytes = body(request, upload.part_bytes()).await?;
                upload.take(self, bytes).await?;
                Ok(Response::empty()?.with_status(204))
            }
            (Method::Post, [_, id, "commit"]) => json(&self.commit(manufacturer, number(id)?, &publisher).await?),
            (_, [_] | [_, _] | [_, _, "commit"] | [_, _, "files", _, _]) => Err(ProblemKind::MethodNotAllowed.into()),
            _ => Err(ProblemKind::NotFound.into()),
        }
    }
}

/// Who publishes.
pub(super) enum Publisher {
    /// Whoever has this token.
    Token(u64),
    /// A person whose session and right the web API has just looked at.
    Person(Person),
}

impl Publisher {
    fn of(request: &Request, database: &Database, manufacturer: &str) -> Result<Self, Failure> {
        let Some(person) = request.headers().get(PERSON_HEADER)? else {
            return Ok(Self::Token(manufacturers::check_token(database, manufacturer, &bearer(request)?)?));
        };
        manufacturers::known(database, manufacturer)?;
        let person = BASE64URL_NOPAD.decode(person.as_bytes()).map_err(Failure::internal)?;
        Ok(Self::Person(cbor::unpack(&person, MAX_OBJECT_MESSAGE_BYTES)?))
    }

    /// Whether it still may.
    pub(super) fn check(&self, database: &Database) -> Result<(), Failure> {
        match self {
            Self::Token(token) => manufacturers::check_is_valid(database, *token),
            Self::Person(_) => Ok(()),
        }
    }

    /// The person, for the audit log.
    pub(super) const fn person(&self) -> Option<&Person> {
        match self {
            Self::Token(_) => None,
            Self::Person(person) => Some(person),
        }
    }

    /// How it published, for the audit log.
    pub(super) fn way(&self) -> String {
        match self {
            Self::Token(token) => format!("by publishing token {token}"),
            Self::Person(_) => "in the web app".to_owned(),
        }
    }
}

/// The token that a request shows.
fn bearer(request: &Request) -> Result<String, Failure> {
    let header = request.headers().get("Authorization")?.unwrap_or_default();
    let token = header.strip_prefix("Bearer ").map(str::trim).filter(|token| !token.is_empty());
    Ok(token.ok_or_else(|| Failure::with_detail(ProblemKind::SignedOut, "Show a publishing token."))?.to_owned())
}

/// The body, of a bounded length that the request has to tell.
async fn body(request: &mut Request, max_bytes: usize) -> Result<Vec<u8>, Failure> {
    let refused = || {
        let detail = format!("Send a body of 1 to {max_bytes} bytes, with its length.");
        Failure::with_detail(ProblemKind::BadRequest, detail)
    };
    let length = request.headers().get("Content-Length")?.and_then(|length| length.parse::<usize>().ok());
    if length.is_none_or(|length| length == 0 || length > max_bytes) {
        return Err(refused());
    }
    let bytes = request.bytes().await?;
    if bytes.is_empty() || bytes.len() > max_bytes { Err(refused()) } else { Ok(bytes) }
}
