//! Requests to the control unit's API, and what can go wrong with them.

use gloo_net::http::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::api::{BY_ITSELF_HEADER, Problem, ProblemKind};
use wasm_bindgen::JsValue;
use web_sys::AbortSignal;

use crate::clock::parse_http_date;
use crate::text::Language;

/// After how many milliseconds a request counts as lost.
const TIMEOUT_MS: u32 = 15_000;
/// The same where much is sent, or much is to be verified before the answer comes.
const LONG_TIMEOUT_MS: u32 = 300_000;

/// Why a request had no success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server refused it and said why.
    Problem(Box<Problem>),
    /// No answer came: the connection is lost, or the server is.
    Unreachable,
    /// An answer came that is none of ours, with this status code.
    Unreadable(u16),
}

/// A failure as a person reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Explained {
    /// What happened.
    pub(crate) what: &'static str,
    /// What to do.
    pub(crate) advice: String,
}

impl Failure {
    /// The kind of the server's problem.
    pub(crate) fn kind(&self) -> Option<ProblemKind> {
        match self {
            Self::Problem(problem) => Some(problem.kind),
            Self::Unreachable | Self::Unreadable(_) => None,
        }
    }

    /// Whether the same request may be sent again by itself.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable) || self.kind() == Some(ProblemKind::Unavailable)
    }

    /// Says what happened and what to do.
    pub(crate) fn explain(&self, t: Language) -> Explained {
        let explained = |what, advice: &str| Explained { what, advice: advice.to_owned() };
        let problem = match self {
            Self::Problem(problem) => problem,
            Self::Unreachable => return explained(t.unreachable(), t.unreachable_advice()),
            Self::Unreadable(status) => {
                return Explained { what: t.unreadable(), advice: t.unreadable_advice(*status) };
            }
        };
        match problem.kind {
            ProblemKind::BadRequest => explained(t.bad_request(), t.bad_request_advice()),
            ProblemKind::SignedOut => explained(t.signed_out(), t.signed_out_advice()),
            ProblemKind::WrongPassword => explained(t.wrong_password(), t.wrong_password_advice()),
            ProblemKind::Forbidden => explained(t.forbidden(), t.forbidden_advice()),
            ProblemKind::ForeignOrigin => explained(t.foreign_origin(), t.foreign_origin_advice()),
            ProblemKind::WrongToken => explained(t.wrong_token(), t.wrong_token_advice()),
            ProblemKind::NotFound => explained(t.not_found(), t.not_found_advice()),
            ProblemKind::MethodNotAllowed => explained(t.method_not_allowed(), t.method_not_allowed_advice()),
            ProblemKind::WrongState => explained(t.wrong_state(), t.wrong_state_advice()),
            ProblemKind::NameTaken => explained(t.name_taken(), t.name_taken_advice()),
            ProblemKind::LastAdministrator => explained(t.last_administrator(), t.last_administrator_advice()),
            ProblemKind::Conflict => explained(t.conflict(), t.conflict_advice()),
            ProblemKind::ModeNotAllowed => explained(t.mode_not_allowed(), t.mode_not_allowed_advice()),
            ProblemKind::Outdated => explained(t.outdated(), t.outdated_advice()),
            ProblemKind::InvalidPolicy => Explained {
                what: t.invalid_policy(),
                advice: problem.detail.clone().unwrap_or_else(|| t.invalid_policy_advice().to_owned()),
            },
            ProblemKind::SerialNeeded => explained(t.serial_needed(), t.serial_needed_advice()),
            ProblemKind::WeakPassword => explained(t.weak_password(), t.weak_password_advice()),
            ProblemKind::TooManyAttempts => Explained {
                what: t.too_many_attempts(),
                advice: match problem.retry_after_secs {
                    Some(seconds) => t.too_many_attempts_advice(seconds),
                    None => t.too_many_attempts_soon().to_owned(),
                },
            },
            ProblemKind::RefusedStep => Explained {
                what: t.refused_step(),
                advice: problem.detail.clone().unwrap_or_else(|| t.refused_step_advice().to_owned()),
            },
            ProblemKind::Internal => explained(t.internal(), t.internal_advice()),
            ProblemKind::Unavailable => explained(t.unavailable(), t.unavailable_advice()),
        }
    }
}

/// What the server answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The body.
    pub(crate) body: String,
    /// The server's time, where it says so.
    pub(crate) date: Option<UnixMillis>,
}

impl Answer {
    /// Reads the body.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(&self.body).map_err(|_| Failure::Unreadable(200))
    }

    /// Reads the body of an answer that may be nothing (204).
    pub(crate) fn read_unless_empty<T: DeserializeOwned>(&self) -> Result<Option<T>, Failure> {
        if self.body.is_empty() { Ok(None) } else { self.read().map(Some) }
    }
}

/// Sends a request to `/api/v1<path>`.
pub(crate) async fn send(method: Method, path: &str, body: Option<String>) -> Result<Answer, Failure> {
    finish(RequestBuilder::new(&address(path)).method(method), body).await
}

/// Gets `/api/v1<path>` by itself, again: no person has done anything.
pub(crate) async fn look(path: &str) -> Result<Answer, Failure> {
    finish(RequestBuilder::new(&address(path)).header(BY_ITSELF_HEADER, "1"), None).await
}

/// Sends a publisher's request to `/api/publish<path>`: a list, a part of a file, or nothing.
pub(crate) async fn publish(method: Method, path: &str, body: &JsValue) -> Result<Answer, Failure> {
    let kind = if body.is_string() { "application/json" } else { "application/octet-stream" };
    let body = (!body.is_undefined()).then(|| (kind, body.clone()));
    deliver(RequestBuilder::new(&format!("/api/publish{path}")).method(method), LONG_TIMEOUT_MS, body).await
}

/// A file of a manufacturer's public metadata.
pub(crate) fn public_metadata(manufacturer: &str, name: &str) -> String {
    format!("/api/repositories/{}/metadata/{}", encoded(manufacturer), encoded(name))
}

/// A name as a part of a path.
pub(crate) fn encoded(name: &str) -> String {
    js_sys::encode_uri_component(name).into()
}

/// Fetches a file that everybody may read.
pub(crate) async fn fetch(path: &str) -> Result<Vec<u8>, Failure> {
    let signal = AbortSignal::timeout_with_u32(TIMEOUT_MS);
    let request = RequestBuilder::new(path).abort_signal(Some(&signal)).build().map_err(|_| Failure::Unreachable)?;
    let response = request.send().await.map_err(|_| Failure::Unreachable)?;
    if response.ok() {
        return response.binary().await.map_err(|_| Failure::Unreachable);
    }
    let body = response.text().await.map_err(|_| Failure::Unreachable)?;
    Err(refusal(response.status(), &body))
}

fn address(path: &str) -> String {
    format!("/api/v1{path}")
}

async fn finish(builder: RequestBuilder, body: Option<String>) -> Result<Answer, Failure> {
    deliver(builder, TIMEOUT_MS, body.map(|body| ("application/json", JsValue::from_str(&body)))).await
}

async fn deliver(
    builder: RequestBuilder,
    timeout_ms: u32,
    body: Option<(&'static str, JsValue)>,
) -> Result<Answer, Failure> {
    let signal = AbortSignal::timeout_with_u32(timeout_ms);
    let builder = builder.header("accept", "application/json").abort_signal(Some(&signal));
    let request = match body {
        Some((kind, body)) => builder.header("content-type", kind).body(body),
        None => builder.build(),
    };
    let response = request.map_err(|_| Failure::Unreachable)?.send().await.map_err(|_| Failure::Unreachable)?;
    let body = response.text().await.map_err(|_| Failure::Unreachable)?;
    if response.ok() { Ok(Answer { body, date: date(&response) }) } else { Err(refusal(response.status(), &body)) }
}

/// Writes a body.
pub(crate) fn json(body: &impl Serialize) -> Option<String> {
    serde_json::to_string(body).ok()
}

fn date(response: &Response) -> Option<UnixMillis> {
    parse_http_date(&response.headers().get("date")?)
}

/// A proxy in front of a stopped server answers by itself: that, too, is no answer of ours, but it passes.
fn refusal(status: u16, body: &str) -> Failure {
    match serde_json::from_str(body) {
        Ok(problem) => Failure::Problem(problem),
        Err(_) if matches!(status, 502..=504) => Failure::Unreachable,
        Err(_) => Failure::Unreadable(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: ProblemKind, retry_after_secs: Option<u64>) -> Failure {
        Failure::Problem(Box::new(Problem {
            r#type: String::new(),
            kind,
            title: String::new(),
            status: kind.status(),
            detail: None,
            retry_after_secs,
        }))
    }

    #[test]
    fn a_problem_is_read_from_the_body_and_the_page_of_a_proxy_is_not() {
        let body = r#"{"type":"urn:wardlink:problem:name-taken","kind":"name-taken","title":"Taken","status":409}"#;
        assert_eq!(refusal(409, body).kind(), Some(ProblemKind::NameTaken));
        assert_eq!(refusal(404, "<h1>Not Found</h1>"), Failure::Unreadable(404));
        assert_eq!(refusal(502, "<h1>Bad Gateway</h1>"), Failure::Unreachable);
    }

    #[test]
    fn only_passing_failures_are_tried_again() {
        assert!(Failure::Unreachable.is_passing());
        assert!(problem(ProblemKind::Unavailable, None).is_passing());
        assert!(!problem(ProblemKind::WrongState, None).is_passing());
        assert!(!Failure::Unreadable(500).is_passing());
    }

    #[test]
    fn a_rate_limit_says_when_to_try_again() {
        let advice = problem(ProblemKind::TooManyAttempts, Some(30)).explain(Language::English).advice;
        assert!(advice.contains("30"), "{advice}");
    }
}
