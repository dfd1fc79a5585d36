//! An MQTT client that shares no code with ours: MQTT.js under Node, which makes its token itself.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::artifacts;

/// Who the client is, and what it tries.
#[derive(Serialize)]
pub struct Attempt<'a> {
    /// The bridge's address.
    pub broker: &'a str,
    /// `<client>/<identifier>`.
    pub device: &'a str,
    /// MQTT's client id.
    pub client_id: &'a str,
    /// The key, PKCS#8 in base64; none makes a new one.
    pub pkcs8: Option<String>,
    /// The certificate chain, base64; none shows the bare key.
    pub x5c: Option<Vec<String>>,
    /// What it tries, each on a new connection: `subscribe` or `publish`, a topic, a payload.
    pub steps: &'a [(&'a str, &'a str, &'a str)],
}

/// What happened.
#[derive(Debug, Deserialize)]
pub struct Happened {
    /// For each step: the QoS that was granted, `stored`, `refused`, `closed`, or CONNACK's code.
    pub answers: Vec<serde_json::Value>,
    /// CONNACK's code when it showed the same token twice.
    pub again: serde_json::Value,
}

/// Lets the client try.
pub fn attempt(attempt: &Attempt<'_>) -> Result<Happened> {
    let script = artifacts::root()?.join("tests/src/independent/client.cjs");
    let output = Command::new("node").arg(script).arg(serde_json::to_string(attempt)?).output();
    let output = output.context("Node.js does not run")?;
    ensure!(output.status.success(), "the client failed: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("the client says something else")
}
