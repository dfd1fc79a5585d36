//! Secrets from the system's random source.

use anyhow::{Result, anyhow};
use data_encoding::BASE64URL_NOPAD;

/// 32 random bytes in base64url, as the worker expects its secrets.
pub(crate) fn token() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow!("no randomness: {error}"))?;
    Ok(BASE64URL_NOPAD.encode(&bytes))
}
