//! Short requests over HTTPS, to whoever a bridge's anchors stand for.

use super::TlsTrust;
use std::time::Duration;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// A client that follows no redirection, takes every status for an answer, and is done within this time. Without anchors the web's roots
/// count.
pub(crate) fn agent(trust: &TlsTrust, timeout: Duration) -> Agent {
    let anchors: Vec<_> = trust.anchors.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    let roots = if anchors.is_empty() { RootCerts::WebPki } else { RootCerts::new_with_certs(&anchors) };
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(timeout))
        .max_redirects(0)
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .user_agent(concat!("wardlink/", env!("CARGO_PKG_VERSION")))
        .build();
    config.new_agent()
}
