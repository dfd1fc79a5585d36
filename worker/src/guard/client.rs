//! Who stands before the worker, and what it says of the client: its address, its network, its TLS client certificate.

use super::is_behind_proxy;
use core::net::{IpAddr, SocketAddr};
use data_encoding::BASE64;
use percent_encoding::percent_decode_str;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use wardlink_edge::problem::Failure;
use wardlink_protocol::api::{ProblemKind, Trust};
use wardlink_protocol::limits::MAX_CERTIFICATE_BYTES;
use wardlink_protocol::network::NetworkOrigin;
use worker::js_sys::Reflect;
use worker::wasm_bindgen::JsValue;
use worker::{Env, Request};

/// The proxies on the way, of which only the last one is ours: the last entry is what it saw itself.
const FORWARDED_FOR: &str = "X-Forwarded-For";
/// The proxy's marker of the network over which the client came.
const NETWORK: &str = "Wardlink-Network";
/// The client's certificate, whose key the proxy has seen proved (RFC 9440 section 2.2).
const CLIENT_CERTIFICATE: &str = "Client-Cert";
/// The client's address at Cloudflare's edge.
const EDGE_ADDRESS: &str = "CF-Connecting-IP";

/// Who stands before the worker. What is not a known word means nobody.
pub(crate) fn trust(env: &Env) -> Trust {
    match env.var("TRUST").map(|value| value.to_string()).as_deref() {
        Ok("proxy") => Trust::Proxy,
        Ok("cloudflare") => Trust::Cloudflare,
        _ => Trust::None,
    }
}

/// Where the client is, as far as the deployment trusts somebody to tell it.
pub(crate) fn network(request: &Request, env: &Env) -> Result<NetworkOrigin, Failure> {
    let headers = request.headers();
    Ok(match trust(env) {
        Trust::Cloudflare => {
            NetworkOrigin { address: headers.get(EDGE_ADDRESS)?.as_deref().and_then(address), marker: None }
        }
        Trust::Proxy if is_behind_proxy(request, env)? => NetworkOrigin {
            address: headers.get(FORWARDED_FOR)?.as_deref().and_then(last_address),
            marker: headers.get(NETWORK)?.and_then(|marker| marker.parse().ok()),
        },
        Trust::Proxy | Trust::None => NetworkOrigin::default(),
    })
}

/// The certificate (DER) whose key the client has proved in TLS to whoever stands before the worker. Nothing else of it is proved:
/// whether it counts is for the bridge to verify, against the site's own CAs.
pub(crate) fn client_certificate(request: &Request, env: &Env) -> Result<Option<Vec<u8>>, Failure> {
    let field = match trust(env) {
        Trust::Cloudflare => certificate_at_edge(request),
        Trust::Proxy if is_behind_proxy(request, env)? => request.headers().get(CLIENT_CERTIFICATE)?,
        Trust::Proxy | Trust::None => None,
    };
    let Some(field) = field.filter(|field| !field.is_empty()) else { return Ok(None) };
    let read = certificate(&field).filter(|certificate| certificate.len() <= MAX_CERTIFICATE_BYTES);
    let unreadable = || Failure::with_detail(ProblemKind::BadRequest, "The TLS client certificate cannot be read.");
    read.map(Some).ok_or_else(unreadable)
}

/// The edge's own field, `request.cf.tlsClientAuth`. The certificate stands there whether or not the edge knows its CA.
fn certificate_at_edge(request: &Request) -> Option<String> {
    let field = |object: &JsValue, name: &str| Reflect::get(object, &name.into()).ok();
    let authentication = field(&field(request.inner(), "cf")?, "tlsClientAuth")?;
    let is_revoked = field(&authentication, "certRevoked")?.as_string().as_deref() == Some("1");
    field(&authentication, "certRFC9440")?.as_string().filter(|_| !is_revoked)
}

/// The last address of a list: the one before it is hearsay.
fn last_address(list: &str) -> Option<IpAddr> {
    list.rsplit(',').next().and_then(address)
}

/// An address, with or without port, and with or without brackets around one of IPv6 (RFC 7239 section 6).
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let alone = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let parsed = alone.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    parsed.ok().map(|address: IpAddr| address.to_canonical())
}

/// A certificate as RFC 9440 spells it (base64 between colons), or as nginx does in `$ssl_client_escaped_cert` (PEM, percent-encoded).
fn certificate(field: &str) -> Option<Vec<u8>> {
    if let Some(base64) = field.strip_prefix(':').and_then(|rest| rest.strip_suffix(':')) {
        return BASE64.decode(base64.as_bytes()).ok();
    }
    let pem: Vec<u8> = percent_decode_str(field).collect();
    let mut certificates = CertificateDer::pem_slice_iter(&pem);
    match (certificates.next(), certificates.next()) {
        (Some(Ok(only)), None) => Some(only.to_vec()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{address, certificate, last_address};

    #[test]
    fn an_address_is_read_in_every_spelling() {
        for text in ["192.0.2.7", " 192.0.2.7 ", "192.0.2.7:4711", "::ffff:192.0.2.7", "[::ffff:192.0.2.7]:4711"] {
            assert_eq!(address(text), Some("192.0.2.7".parse().unwrap()), "{text}");
        }
        for text in ["2001:db8::7", "[2001:db8::7]", "[2001:db8::7]:4711"] {
            assert_eq!(address(text), Some("2001:db8::7".parse().unwrap()), "{text}");
        }
        for text in ["", "unknown", "unix:", "192.0.2", "192.0.2.7/24", "[192.0.2.7", "2001:db8::7]:1"] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    #[test]
    fn only_what_the_last_proxy_saw_counts() {
        assert_eq!(last_address("10.20.0.1, 203.0.113.9"), Some("203.0.113.9".parse().unwrap()));
        assert_eq!(last_address("10.20.0.1, unknown"), None);
        assert_eq!(last_address("10.20.0.1,"), None);
    }

    #[test]
    fn a_certificate_is_read_as_rfc_9440_and_as_nginx_spell_it() {
        let nginx = "-----BEGIN%20CERTIFICATE-----%0AMAMCASo%3D%0A-----END%20CERTIFICATE-----%0A";
        assert_eq!(certificate(nginx).unwrap(), [0x30, 3, 2, 1, 0x2a]);
        assert_eq!(certificate(":MAMCASo=:").unwrap(), [0x30, 3, 2, 1, 0x2a]);
        for wrong in ["MAMCASo=", ":MAMCASo:", ":MAMCASo=", ":%:", &format!("{nginx}{nginx}"), "%FF", "-----BEGIN"] {
            assert_eq!(certificate(wrong), None, "{wrong}");
        }
    }
}
