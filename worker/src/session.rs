//! The browser session: its cookie, and who is signed in.

use core::time::Duration;
use wardlink_edge::messages::{AccountsRequest, Session, SessionToken};
use wardlink_edge::objects;
use wardlink_edge::platform::log;
use wardlink_edge::problem::Failure;
use wardlink_protocol::api::{BY_ITSELF_HEADER, ProblemKind, Right};
use worker::{Env, Request};

/// The prefix makes the browser refuse the cookie from anywhere but this host over TLS (RFC 6265bis section 4.1.3.2).
const COOKIE: &str = "__Host-wardlink";
const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Strict";
/// The longest secret that is looked up, in bytes.
const MAX_TOKEN_BYTES: usize = 64;

/// The `Set-Cookie` field for a new session.
pub(crate) fn cookie(token: &SessionToken, lifetime: Duration) -> String {
    format!("{COOKIE}={}; Max-Age={}; {ATTRIBUTES}", token.0, lifetime.as_secs())
}

/// The `Set-Cookie` field that takes the cookie away.
pub(crate) fn no_cookie() -> String {
    format!("{COOKIE}=; Max-Age=0; {ATTRIBUTES}")
}

/// The secret that the request carries.
pub(crate) fn token(request: &Request) -> Result<Option<SessionToken>, Failure> {
    Ok(request.headers().get("Cookie")?.and_then(|cookies| find(&cookies)))
}

fn find(cookies: &str) -> Option<SessionToken> {
    let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == COOKIE)?;
    (!value.is_empty() && value.len() <= MAX_TOKEN_BYTES).then(|| SessionToken(value.to_owned()))
}

/// Who is signed in, if anybody is.
pub(crate) async fn present(request: &Request, env: &Env) -> Result<Option<Session>, Failure> {
    match token(request)? {
        Some(token) => objects::call(env, &question(token, is_by_itself(request)?)).await,
        None => Ok(None),
    }
}

/// Whether the page asks by itself, and no person has done anything.
fn is_by_itself(request: &Request) -> Result<bool, Failure> {
    Ok(request.headers().get(BY_ITSELF_HEADER)?.is_some())
}

/// What a page asks by itself keeps no session alive: it ends when nobody has used it for long, whatever is on the screen.
const fn question(token: SessionToken, is_by_itself: bool) -> AccountsRequest {
    if is_by_itself { AccountsRequest::Watch(token) } else { AccountsRequest::Session(token) }
}

/// Who is signed in.
pub(crate) async fn current(request: &Request, env: &Env) -> Result<Session, Failure> {
    Ok(present(request, env).await?.ok_or(ProblemKind::SignedOut)?)
}

/// Who is signed in, if the role has this right.
pub(crate) async fn with_right(request: &Request, env: &Env, right: Right) -> Result<Session, Failure> {
    let session = current(request, env).await?;
    if session.person.role.may(right) {
        return Ok(session);
    }
    log!("web: person {} has not the right {right:?}", session.person.id);
    Err(ProblemKind::Forbidden.into())
}

#[cfg(test)]
mod tests {
    use super::{AccountsRequest, SessionToken, find, question};

    #[test]
    fn what_a_page_asks_by_itself_is_no_use_of_the_session() {
        let token = || SessionToken("secret".to_owned());
        assert!(matches!(question(token(), true), AccountsRequest::Watch(_)));
        assert!(matches!(question(token(), false), AccountsRequest::Session(_)));
    }

    #[test]
    fn the_cookie_is_found_by_its_whole_name() {
        let token = |cookies: &str| find(cookies).map(|token| token.0.clone());
        assert_eq!(token("a=b; __Host-wardlink=secret").as_deref(), Some("secret"));
        assert_eq!(token("x__Host-wardlink=secret"), None);
        assert_eq!(token("__Host-wardlink="), None);
        assert_eq!(token(&format!("__Host-wardlink={}", "a".repeat(65))), None);
    }
}
