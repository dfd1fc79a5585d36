//! A CA outside, over EST (RFC 7030): where it is, and what it is asked over HTTP. What its answers are worth, `wardlink_crypto` says.

use core::time::Duration;
use data_encoding::BASE64;
use futures_util::StreamExt as _;
use http::Uri;
use http::uri::Scheme;
use std::net::Ipv4Addr;
use wardlink_crypto::x509::{CertificatesError, read_certificates};
use wardlink_edge::platform::now;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::limits::MAX_CERTIFICATES_BYTES;
use worker::{
    AbortSignal, Date, DateInit, Env, Fetch, Headers, Method, Request, RequestInit, RequestRedirect, Response, web_sys,
};
use zeroize::Zeroizing;

/// After how many milliseconds an answer counts as lost.
const TIMEOUT_MS: u32 = 30_000;
/// RFC 7030 section 3.2.2.
const WELL_KNOWN: &str = "/.well-known/est";
/// The shortest wait that a server can ask for with Retry-After, and the one where it says nothing.
const SHORTEST_WAIT: Duration = Duration::from_secs(2);
const USUAL_WAIT: Duration = Duration::from_mins(5);
/// The longest: then it is asked again in any case.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// Where the CA is, how the site proves itself there, and what is believed of it.
pub(crate) struct EstServer {
    base: String,
    root: Sha256,
    authorization: Option<Zeroizing<String>>,
}

/// Why the deployment's variables do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misconfigured {
    #[error("EST_URL is not https://host[:port][/label]; http is for loopback only")]
    Address,
    #[error(
        "EST_ROOT_SHA256 is not the SHA-256 of the hospital's root certificate, 64 hexadecimal digits: without it nothing is trusted"
    )]
    Root,
    #[error("EST_CREDENTIALS is neither \"name:password\" nor \"Bearer token\"")]
    Credentials,
}

/// Why the server gave nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum EstError {
    #[error("the server does not answer: {0}")]
    Unreachable(String),
    #[error("the server refuses the credentials with status {0}")]
    Credentials(u16),
    #[error(
        "the server wants to be asked elsewhere (status {0}), which is not followed: EST_URL has to name the right address"
    )]
    Redirected(u16),
    #[error("the server answers with status {0}")]
    Status(u16),
    #[error("the server answers with the media type {0:?} instead of application/pkcs7-mime")]
    MediaType(String),
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
}

/// What the server says to a request for a certificate.
pub(crate) enum Enrolled {
    /// Certificates.
    Given(Vec<Vec<u8>>),
    /// Somebody has to approve; ask again after this time (RFC 7030 section 4.2.3).
    Later(Duration),
}

impl EstServer {
    /// Reads the deployment's variables `EST_URL` and `EST_ROOT_SHA256` and its secret `EST_CREDENTIALS`; none where no URL is given.
    pub(crate) fn open(env: &Env) -> Result<Option<Self>, Misconfigured> {
        let variable = |name| env.var(name).ok().map(|value| value.to_string());
        let credentials = env.secret("EST_CREDENTIALS").ok().map(|secret| Zeroizing::new(secret.to_string()));
        Self::parse(variable("EST_URL"), variable("EST_ROOT_SHA256"), credentials)
    }

    fn parse(
        url: Option<String>,
        root: Option<String>,
        credentials: Option<Zeroizing<String>>,
    ) -> Result<Option<Self>, Misconfigured> {
        let Some(url) = url.filter(|url| !url.trim().is_empty()) else { return Ok(None) };
        let base = base(&url).ok_or(Misconfigured::Address)?;
        let root = root.and_then(|root| root.trim().to_ascii_lowercase().parse().ok()).ok_or(Misconfigured::Root)?;
        let credentials = credentials.filter(|credentials| !credentials.trim().is_empty());
        let authorization = credentials.map(|credentials| authorization(&credentials)).transpose()?;
        Ok(Some(Self { base, root, authorization }))
    }

    /// The SHA-256 of the root that certificates have to lead to.
    pub(crate) const fn root(&self) -> Sha256 {
        self.root
    }

    /// Its address, for people.
    pub(crate) fn address(&self) -> &str {
        &self.base
    }

    /// The CA's certificates (RFC 7030 section 4.1). Nothing secret is sent.
    pub(crate) async fn certificates(&self) -> Result<Vec<Vec<u8>>, EstError> {
        let mut init = RequestInit::new();
        init.with_method(Method::Get);
        let response = self.send("cacerts", init, None).await?;
        match response.status_code() {
            200 => read(response).await,
            status => Err(refusal(status)),
        }
    }

    /// Asks for a certificate: for the first one (RFC 7030 section 4.2.1), or for one that follows another (section 4.2.2).
    pub(crate) async fn enrol(&self, request: &[u8], is_renewal: bool) -> Result<Enrolled, EstError> {
        let mut init = RequestInit::new();
        init.with_method(Method::Post).with_body(Some(BASE64.encode(request).into()));
        let operation = if is_renewal { "simplereenroll" } else { "simpleenroll" };
        let response = self.send(operation, init, Some("application/pkcs10")).await?;
        match response.status_code() {
            200 => Ok(Enrolled::Given(read(response).await?)),
            202 => {
                let field = response.headers().get("Retry-After").ok().flatten();
                Ok(Enrolled::Later(wait(field.as_deref())))
            }
            status => Err(refusal(status)),
        }
    }

    /// `content_type`: of a body, which only goes where the credentials go.
    async fn send(
        &self,
        operation: &str,
        mut init: RequestInit,
        content_type: Option<&str>,
    ) -> Result<Response, EstError> {
        let unreachable = |error: worker::Error| EstError::Unreachable(error.to_string());
        let headers = Headers::new();
        headers.set("Accept", "application/pkcs7-mime").map_err(unreachable)?;
        if let Some(content_type) = content_type {
            headers.set("Content-Type", content_type).map_err(unreachable)?;
            // RFC 7030 section 4.2.1; RFC 8951 says that it has no effect, and servers still look for it.
            headers.set("Content-Transfer-Encoding", "base64").map_err(unreachable)?;
            if let Some(authorization) = &self.authorization {
                headers.set("Authorization", authorization).map_err(unreachable)?;
            }
        }
        init.with_headers(headers).with_redirect(RequestRedirect::Manual);
        let request = Request::new_with_init(&format!("{}/{operation}", self.base), &init).map_err(unreachable)?;
        let signal = AbortSignal::from(web_sys::AbortSignal::timeout_with_u32(TIMEOUT_MS));
        Fetch::Request(request).send_with_signal(&signal).await.map_err(unreachable)
    }
}

const fn refusal(status: u16) -> EstError {
    match status {
        401 | 403 | 407 => EstError::Credentials(status),
        300..=399 => EstError::Redirected(status),
        _ => EstError::Status(status),
    }
}

/// Reads certificates, and no more bytes than they may have.
async fn read(mut response: Response) -> Result<Vec<Vec<u8>>, EstError> {
    let unreachable = |error: worker::Error| EstError::Unreachable(error.to_string());
    let media_type = response.headers().get("Content-Type").map_err(unreachable)?.unwrap_or_default();
    if !media_type.trim_start().to_ascii_lowercase().starts_with("application/pkcs7-mime") {
        return Err(EstError::MediaType(media_type.chars().take(64).collect()));
    }
    let mut body = Vec::new();
    let mut stream = response.stream().map_err(unreachable)?;
    while let Some(chunk) = stream.next().await {
        body.extend(chunk.map_err(unreachable)?);
        if body.len() > MAX_CERTIFICATES_BYTES {
            return Err(CertificatesError::TooLong.into());
        }
    }
    Ok(read_certificates(&body)?)
}

/// The wait that Retry-After asks for: seconds, or a date (RFC 9110 section 10.2.3).
fn wait(field: Option<&str>) -> Duration {
    let Some(field) = field else { return USUAL_WAIT };
    let asked = field.trim().parse().map_or_else(|_| until(field), Duration::from_secs);
    asked.clamp(SHORTEST_WAIT, LONGEST_WAIT)
}

fn until(date: &str) -> Duration {
    UnixMillis(Date::from(DateInit::String(date.to_owned())).as_millis()).since(now())
}

/// The address of the operations, without a slash at the end.
fn base(url: &str) -> Option<String> {
    let text = url.trim();
    let url: Uri = text.parse().ok()?;
    let (scheme, host) = (url.scheme()?, url.host()?);
    let is_loopback =
        matches!(host, "localhost" | "[::1]") || host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback());
    let is_safe = *scheme == Scheme::HTTPS || (*scheme == Scheme::HTTP && is_loopback);
    let is_plain = !url.authority()?.as_str().contains('@') && !text.contains(['?', '#']);
    if !is_safe || !is_plain {
        return None;
    }
    let path = url.path().trim_end_matches('/');
    let label = path.strip_prefix(WELL_KNOWN).unwrap_or(path);
    // RFC 7030 section 3.2.2: one segment, if any.
    if label.matches('/').count() != usize::from(!label.is_empty()) {
        return None;
    }
    let port = url.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{scheme}://{host}{port}{WELL_KNOWN}{label}"))
}

/// RFC 7617, RFC 6750.
fn authorization(credentials: &str) -> Result<Zeroizing<String>, Misconfigured> {
    let credentials = credentials.trim();
    let is_field = credentials.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    match credentials.strip_prefix("Bearer ") {
        Some(token) if is_field && !token.trim().is_empty() => Ok(Zeroizing::new(credentials.to_owned())),
        None if credentials.contains(':') => {
            let encoded = Zeroizing::new(BASE64.encode(credentials.as_bytes()));
            Ok(Zeroizing::new(format!("Basic {}", encoded.as_str())))
        }
        _ => Err(Misconfigured::Credentials),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const ROOT: &str = "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff";

    fn parse(url: &str, root: Option<&str>, credentials: &str) -> Result<Option<EstServer>, Misconfigured> {
        EstServer::parse(Some(url.to_owned()), root.map(str::to_owned), Some(Zeroizing::new(credentials.to_owned())))
    }

    #[test]
    fn the_address_is_https_or_loopback_and_may_have_a_label() {
        for (url, address) in [
            ("https://pki.example", "https://pki.example/.well-known/est"),
            ("https://pki.example:8443/", "https://pki.example:8443/.well-known/est"),
            ("https://pki.example/devices", "https://pki.example/.well-known/est/devices"),
            ("https://pki.example/.well-known/est/devices", "https://pki.example/.well-known/est/devices"),
            ("http://localhost:8080", "http://localhost:8080/.well-known/est"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/.well-known/est"),
            ("http://[::1]:8080", "http://[::1]:8080/.well-known/est"),
        ] {
            assert_eq!(parse(url, Some(ROOT), "").unwrap().unwrap().address(), address);
        }
        for url in [
            "http://pki.example",
            "http://10.0.0.1",
            "ftp://localhost",
            "pki.example",
            "https://ada:secret@pki.example",
            "https://pki.example/a/b",
            "https://pki.example/?a",
            "https://pki.example/#a",
        ] {
            assert_eq!(parse(url, Some(ROOT), "").err(), Some(Misconfigured::Address), "{url}");
        }
        assert!(EstServer::parse(None, None, None).unwrap().is_none());
        assert!(parse(" ", None, "").unwrap().is_none());
    }

    #[test]
    fn without_the_hash_of_the_root_nothing_is_trusted() {
        for root in [None, Some(""), Some("00"), Some(&ROOT[1..])] {
            assert_eq!(parse("https://pki.example", root, "").err(), Some(Misconfigured::Root));
        }
    }

    #[test]
    fn credentials_are_a_password_or_a_token() {
        let field = |credentials| {
            let server = parse("https://pki.example", Some(ROOT), credentials);
            server.map(|server| server.unwrap().authorization.map(|field| field.to_string()))
        };
        assert_eq!(field("site:geheim:ü"), Ok(Some("Basic c2l0ZTpnZWhlaW06w7w=".to_owned())));
        assert_eq!(field("Bearer abc.def"), Ok(Some("Bearer abc.def".to_owned())));
        assert_eq!(field(""), Ok(None));
        for wrong in ["token", "Bearer ", "Bearer a\u{7}", "Bearer ä"] {
            assert_eq!(field(wrong).err(), Some(Misconfigured::Credentials), "{wrong}");
        }
    }

    #[test]
    fn a_server_is_waited_for_as_long_as_it_asks_within_bounds() {
        assert_eq!(wait(None), USUAL_WAIT);
        assert_eq!(wait(Some(" 90 ")), Duration::from_secs(90));
        assert_eq!(wait(Some("0")), SHORTEST_WAIT);
        assert_eq!(wait(Some("999999999")), LONGEST_WAIT);
    }
}
