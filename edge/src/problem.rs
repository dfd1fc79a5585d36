//! The one place where errors become answers: problem details of RFC 9457.

use crate::http::date;
use wardlink_protocol::api::{Problem, ProblemKind};
use wardlink_protocol::cbor::CborError;
use worker::{Headers, Response};

/// Why a request gets no answer.
#[derive(Debug)]
pub enum Failure {
    /// The caller's fault, or a state that the caller is told of.
    Problem(Box<Problem>),
    /// Our fault: the cause goes to the log, never to the caller.
    Internal(String),
}

impl Failure {
    /// A failure of our own, with its cause for the log.
    #[expect(clippy::needless_pass_by_value, reason = "errors are handed over as they come")]
    pub fn internal(cause: impl ToString) -> Self {
        Self::Internal(cause.to_string())
    }

    /// A problem that says what to do.
    pub fn with_detail(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self::Problem(Box::new(Problem { detail: Some(detail.into()), ..problem(kind) }))
    }

    /// Too many attempts; says when to try again.
    pub fn too_many(retry_after_secs: u64) -> Self {
        let retry_after_secs = Some(retry_after_secs.max(1));
        Self::Problem(Box::new(Problem { retry_after_secs, ..problem(ProblemKind::TooManyAttempts) }))
    }

    /// The problem that the caller is shown. Writes the cause of an internal one to the log.
    fn into_problem(self) -> Problem {
        match self {
            Self::Problem(problem) => *problem,
            Self::Internal(cause) => {
                worker::console_error!("internal error: {cause}");
                problem(ProblemKind::Internal)
            }
        }
    }

    /// The HTTP answer.
    pub fn into_response(self) -> worker::Result<Response> {
        let problem = self.into_problem();
        let headers = Headers::new();
        headers.set("Content-Type", "application/problem+json")?;
        date(&headers)?;
        if let Some(seconds) = problem.retry_after_secs {
            headers.set("Retry-After", &seconds.to_string())?;
        }
        let body = serde_json::to_vec(&problem)?;
        Ok(Response::from_bytes(body)?.with_status(problem.status).with_headers(headers))
    }
}

impl From<ProblemKind> for Failure {
    fn from(kind: ProblemKind) -> Self {
        Self::Problem(Box::new(problem(kind)))
    }
}

impl From<worker::Error> for Failure {
    fn from(error: worker::Error) -> Self {
        Self::internal(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::internal(error)
    }
}

impl From<CborError> for Failure {
    fn from(error: CborError) -> Self {
        Self::internal(error)
    }
}

/// The problem of a kind, without details.
fn problem(kind: ProblemKind) -> Problem {
    let (name, title) = describe(kind);
    Problem {
        r#type: format!("urn:wardlink:problem:{name}"),
        kind,
        title: title.to_owned(),
        status: kind.status(),
        detail: None,
        retry_after_secs: None,
    }
}

/// The kind's name, as serde writes it, and what happened.
const fn describe(kind: ProblemKind) -> (&'static str, &'static str) {
    match kind {
        ProblemKind::BadRequest => ("bad-request", "The request cannot be read"),
        ProblemKind::SignedOut => ("signed-out", "Nobody is signed in"),
        ProblemKind::WrongPassword => ("wrong-password", "Name or password is wrong"),
        ProblemKind::Forbidden => ("forbidden", "Your role does not allow this"),
        ProblemKind::ForeignOrigin => ("foreign-origin", "The request came from another website"),
        ProblemKind::WrongToken => ("wrong-token", "The one-time link is wrong or used up"),
        ProblemKind::NotFound => ("not-found", "There is no such thing here"),
        ProblemKind::MethodNotAllowed => ("method-not-allowed", "This cannot be done here"),
        ProblemKind::WrongState => ("wrong-state", "It has changed in the meantime"),
        ProblemKind::NameTaken => ("name-taken", "The name is taken"),
        ProblemKind::LastAdministrator => ("last-administrator", "The last active administrator has to stay"),
        ProblemKind::Conflict => ("conflict", "Two requests of one device conflict"),
        ProblemKind::ModeNotAllowed => ("mode-not-allowed", "This kind of verification is not allowed here"),
        ProblemKind::Outdated => ("outdated", "Somebody else has changed it meanwhile"),
        ProblemKind::InvalidPolicy => ("invalid-policy", "These rules do not fit together"),
        ProblemKind::SerialNeeded => ("serial-needed", "The last characters of the serial number are needed, too"),
        ProblemKind::WeakPassword => ("weak-password", "The password is too short or too long"),
        ProblemKind::RefusedStep => ("refused-step", "It is refused"),
        ProblemKind::TooManyAttempts => ("too-many-attempts", "Too many attempts"),
        ProblemKind::Internal => ("internal", "Something went wrong at the control unit"),
        ProblemKind::Unavailable => ("unavailable", "A part of the control unit does not answer"),
    }
}
