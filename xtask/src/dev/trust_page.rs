//! The page that helps people to trust the development CA: plain http, because nobody trusts it yet.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;

use super::authority::Authority;

const PAGE: &str = include_str!("trust_page/page.html");
const ENGLISH: &str = include_str!("trust_page/en.html");
const GERMAN: &str = include_str!("trust_page/de.html");
const STYLE: &str = include_str!("trust_page/trust.css");
const TOKENS: &str = include_str!("../../../public/styles/base.css");
const ICON: &str = include_str!("../../../public/icons/icon.svg");
/// Sent with every answer.
const FIELDS: [(HeaderName, HeaderValue); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    // Another authority can have another certificate at the same address.
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];
/// What a browser calls the systems of the page's sections. Those that name another one, too, come first.
const SYSTEMS: [(&str, &str); 6] = [
    ("iphone", "ios"),
    ("ipad", "ios"),
    ("android", "android"),
    ("windows", "windows"),
    ("macintosh", "macos"),
    ("linux", "linux"),
];

/// What the page says of this run.
#[derive(Debug)]
pub(super) struct TrustPage {
    name: String,
    fingerprint: String,
    certificate: Vec<u8>,
    /// The control unit's origins, the usual one first.
    origins: Vec<String>,
}

impl TrustPage {
    /// The page for an authority, and for a control unit with these origins.
    pub(super) fn new(authority: &Authority, origins: &[String]) -> Self {
        Self {
            name: authority.name(),
            fingerprint: authority.fingerprint(),
            certificate: authority.der().to_vec(),
            origins: origins.to_vec(),
        }
    }

    /// Serves the page until the program ends.
    pub(super) fn serve(self, address: SocketAddr) -> Result<()> {
        let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        listener.set_nonblocking(true).context("cannot listen without blocking")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
        thread::spawn(move || {
            let served = runtime
                .block_on(async { axum::serve(tokio::net::TcpListener::from_std(listener)?, self.router()).await });
            if let Err(error) = served {
                eprintln!("The page that helps to trust the certificate has ended: {error}");
            }
        });
        Ok(())
    }

    fn router(self) -> Router {
        let text = |kind, text: &'static str| get(async move || ([(header::CONTENT_TYPE, kind)], text));
        Router::new()
            .route("/", get(page))
            .route("/wardlink-development-ca.crt", get(certificate))
            .route("/base.css", text("text/css; charset=utf-8", TOKENS))
            .route("/trust.css", text("text/css; charset=utf-8", STYLE))
            .route("/icon.svg", text("image/svg+xml", ICON))
            .with_state(Arc::new(self))
            .layer(middleware::from_fn(with_fields))
    }

    /// The page in a language, for a browser on a system, that reached this machine as `host`.
    fn render(&self, german: bool, system: Option<&str>, host: Option<&str>) -> String {
        let (lang, title, languages) =
            if german { ("de", "Zertifikat", "Sprache") } else { ("en", "Certificate", "Language") };
        let named = host.and_then(|host| self.origins.iter().find(|origin| host_of(origin) == host_of(host)));
        let origin = named.or(self.origins.first()).map_or("", String::as_str);
        let current = |here: bool| if here { " aria-current=\"true\"" } else { "" };
        let mut page = PAGE.replace("{{body}}", if german { GERMAN } else { ENGLISH });
        for (_, section) in SYSTEMS {
            let open = if system == Some(section) { " open" } else { "" };
            page = page.replace(&format!("{{{{{section}}}}}"), open);
        }
        // None of the values holds a character that means something in HTML: names are DNS's, the rest is ours.
        let values = [
            ("{{lang}}", lang),
            ("{{title}}", title),
            ("{{languages}}", languages),
            ("{{en}}", current(!german)),
            ("{{de}}", current(german)),
            ("{{name}}", &self.name),
            // A line may end after each pair.
            ("{{fingerprint}}", &self.fingerprint.replace(':', ":<wbr>")),
            ("{{origin}}", origin),
        ];
        values.iter().fold(page, |page, (name, value)| page.replace(name, value))
    }
}

#[derive(Deserialize)]
struct Asked {
    lang: Option<String>,
}

async fn page(State(page): State<Arc<TrustPage>>, Query(asked): Query<Asked>, headers: HeaderMap) -> Html<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let wanted = asked.lang.as_deref().unwrap_or(text(header::ACCEPT_LANGUAGE));
    let host = Some(text(header::HOST)).filter(|host| !host.is_empty());
    Html(page.render(prefers_german(wanted), system_of(text(header::USER_AGENT)), host))
}

async fn certificate(State(page): State<Arc<TrustPage>>) -> impl IntoResponse {
    // The type by which iOS and Android offer to install it.
    ([(header::CONTENT_TYPE, "application/x-x509-ca-cert")], page.certificate.clone())
}

async fn with_fields(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().extend(FIELDS);
    response
}

/// Browsers list languages by preference (RFC 9110 section 12.5.4).
fn prefers_german(languages: &str) -> bool {
    let known = languages.split(',').map(|tag| tag.trim().to_ascii_lowercase());
    known
        .into_iter()
        .find(|tag| tag.starts_with("de") || tag.starts_with("en"))
        .is_some_and(|tag| tag.starts_with("de"))
}

fn system_of(user_agent: &str) -> Option<&'static str> {
    let user_agent = user_agent.to_ascii_lowercase();
    SYSTEMS.iter().find(|(word, _)| user_agent.contains(word)).map(|(_, section)| *section)
}

/// The host of an origin or of a Host field, without the port.
fn host_of(text: &str) -> &str {
    let authority = text.rsplit("//").next().unwrap_or(text);
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests;
