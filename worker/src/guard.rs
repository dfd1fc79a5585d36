//! What a request may come from: its origin, its page, its network.
//!
//! `TRUST` says who stands before the worker. `none`, the default: nobody, and neither address nor certificate counts.
//! `cloudflare`: the edge, whose own fields give both. `proxy`: a reverse proxy that shows the secret `PROXY_SECRET` in the field
//! `Wardlink-Proxy`; beside it the last entry in `X-Forwarded-For` gives the address, `X-Forwarded-Proto` the scheme,
//! `Wardlink-Network` a marker of the network, and `Client-Cert` the certificate whose key the client has proved in TLS. Inbound
//! copies of these fields count for nothing otherwise.

mod client;

use http::Uri;
use http::uri::Scheme;
use wardlink_edge::http::address;
use wardlink_edge::platform::{is_secret, log};
use wardlink_edge::problem::Failure;
use wardlink_protocol::api::{ProblemKind, Trust};
use worker::{Env, Method, Request};

pub(crate) use client::{client_certificate, network, trust};

/// The ports that an origin does not name (RFC 9110 section 4.2).
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// The origin under which a request reached the worker.
pub(crate) struct Origin {
    scheme: Scheme,
    host: String,
}

impl Origin {
    /// Takes it from the request; plain http counts on loopback only.
    pub(crate) fn of(request: &Request, env: &Env) -> Result<Self, Failure> {
        let address = address(request)?;
        let ended_tls = is_behind_proxy(request, env)?
            && request.headers().get("X-Forwarded-Proto")?.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
        Self::new(&address, if ended_tls { Some(&Scheme::HTTPS) } else { address.scheme() })
    }

    fn new(address: &Uri, scheme: Option<&Scheme>) -> Result<Self, Failure> {
        let (host, scheme) = address.host().zip(scheme).ok_or(ProblemKind::BadRequest)?;
        let is_secure = *scheme == Scheme::HTTPS;
        let is_loopback = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
        if !is_secure && !is_loopback {
            return Err(Failure::with_detail(ProblemKind::ForeignOrigin, "Use https to reach the control unit."));
        }
        let usual_port = if is_secure { HTTPS_PORT } else { HTTP_PORT };
        let port = address.port_u16().filter(|port| *port != usual_port);
        let host = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        Ok(Self { scheme: scheme.clone(), host })
    }

    /// Host, with the port where it is not the usual one.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Whether the connection is protected by TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// The broker's address under this origin.
    pub(crate) fn broker(&self) -> String {
        format!("{}://{}/mqtt", if self.is_secure() { "wss" } else { "ws" }, self.host)
    }
}

impl core::fmt::Display for Origin {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)
    }
}

impl core::str::FromStr for Origin {
    type Err = Failure;
    fn from_str(text: &str) -> Result<Self, Failure> {
        let address: Uri = text.parse().map_err(Failure::internal)?;
        Self::new(&address, address.scheme())
    }
}

/// What a browser says of the page that a request comes from (Fetch Metadata, RFC 6454).
struct Page {
    origin: Option<String>,
    fetch_site: Option<String>,
}

impl Page {
    /// Whether the request may read: from a page of our own, from the address line, or from no browser.
    fn may_read(&self, own: &Origin) -> bool {
        let is_site_own = self.fetch_site.as_deref().is_none_or(|site| matches!(site, "same-origin" | "none"));
        is_site_own && self.origin.as_deref().is_none_or(|origin| origin == own.to_string())
    }

    /// Whether the request may change something: the browser has to say that it comes from a page of our own.
    fn may_change(&self, own: &Origin) -> bool {
        let says = self.origin.is_some() || self.fetch_site.as_deref() == Some("same-origin");
        says && self.may_read(own)
    }
}

/// Refuses a request that comes from a foreign page. One that `proves_itself` needs no page at all.
pub(crate) fn check_page(request: &Request, own: &Origin, proves_itself: bool) -> Result<(), Failure> {
    let headers = request.headers();
    let page = Page { origin: headers.get("Origin")?, fetch_site: headers.get("Sec-Fetch-Site")? };
    let is_reading = matches!(request.method(), Method::Get | Method::Head);
    // A WebSocket is opened by GET, and always says its page; scripts without a browser prove themselves by a bearer token.
    let is_socket = headers.has("Upgrade")?;
    let allowed = if is_reading && !is_socket || proves_itself || headers.has("Authorization")? {
        page.may_read(own)
    } else {
        page.may_change(own)
    };
    if allowed {
        return Ok(());
    }
    log!("web: a request from another website is refused");
    Err(ProblemKind::ForeignOrigin.into())
}

/// Whether the request comes from the reverse proxy, which has proved itself.
fn is_behind_proxy(request: &Request, env: &Env) -> Result<bool, Failure> {
    if trust(env) != Trust::Proxy {
        return Ok(false);
    }
    let proof = request.headers().get("Wardlink-Proxy")?.unwrap_or_default();
    Ok(is_secret(env, "PROXY_SECRET", &proof))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{Origin, Page};

    fn page(origin: Option<&str>, fetch_site: Option<&str>) -> Page {
        Page { origin: origin.map(str::to_owned), fetch_site: fetch_site.map(str::to_owned) }
    }

    #[test]
    fn plain_http_counts_on_loopback_only() {
        assert!("http://localhost:8787/".parse::<Origin>().is_ok());
        assert!("http://[::1]:8787/".parse::<Origin>().is_ok());
        assert!("https://wardlink.example/".parse::<Origin>().is_ok());
        assert!("http://wardlink.example/".parse::<Origin>().is_err());
        assert!("http://192.168.1.20:8787/".parse::<Origin>().is_err());
    }

    #[test]
    fn broker_follows_the_origin() {
        let local: Origin = "http://127.0.0.1:8787/x?y".parse().unwrap();
        assert_eq!(
            (local.to_string().as_str(), local.broker().as_str()),
            ("http://127.0.0.1:8787", "ws://127.0.0.1:8787/mqtt")
        );
        let edge: Origin = "https://wardlink.example:443/".parse().unwrap();
        assert_eq!(edge.broker(), "wss://wardlink.example/mqtt");
    }

    #[test]
    fn only_a_page_of_our_own_changes_anything() {
        let own: Origin = "https://wardlink.example".parse().unwrap();
        assert!(page(Some("https://wardlink.example"), Some("same-origin")).may_change(&own));
        assert!(page(Some("https://wardlink.example"), None).may_change(&own));
        assert!(!page(None, None).may_change(&own));
        assert!(!page(None, Some("none")).may_change(&own));
        assert!(!page(Some("null"), None).may_change(&own));
        assert!(!page(Some("https://other.example"), Some("same-origin")).may_change(&own));
        assert!(!page(Some("https://wardlink.example"), Some("same-site")).may_change(&own));
    }

    #[test]
    fn a_foreign_page_reads_nothing() {
        let own: Origin = "https://wardlink.example".parse().unwrap();
        assert!(page(None, None).may_read(&own));
        assert!(page(None, Some("none")).may_read(&own));
        assert!(!page(None, Some("cross-site")).may_read(&own));
        assert!(!page(None, Some("same-site")).may_read(&own));
        assert!(!page(Some("http://wardlink.example"), None).may_read(&own));
    }
}
