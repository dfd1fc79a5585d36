//! The clock, the random source and the deployment's secrets, in one place; P-256 in [`p256`].

pub mod p256;
pub mod streams;

use crate::problem::Failure;
use data_encoding::BASE64URL_NOPAD;
use getrandom::SysRng;
use rand_core::UnwrapErr;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use wardlink_protocol::UnixMillis;
use worker::Env;
use zeroize::Zeroizing;

/// The time. Under workerd it stands still between two waits.
pub fn now() -> UnixMillis {
    UnixMillis(worker::Date::now().as_millis())
}

/// The random source of the platform (`crypto.getRandomValues`), which does not fail.
pub fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

/// The key under which a site's keys are encrypted at rest: the secret `MASTER_KEY`, 32 bytes in base64url.
pub fn master_key(env: &Env) -> Result<Zeroizing<[u8; 32]>, Failure> {
    let text = Zeroizing::new(env.secret("MASTER_KEY")?.to_string());
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map(Zeroizing::new);
    let key = bytes.ok().and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
    key.map(Zeroizing::new).ok_or_else(|| Failure::internal("MASTER_KEY is not 32 bytes in base64url"))
}

/// Whether `token` is the secret `BOOTSTRAP_TOKEN`. A deployment without that secret accepts none.
pub fn is_bootstrap_token(env: &Env, token: &str) -> bool {
    is_secret(env, "BOOTSTRAP_TOKEN", token)
}

/// Compares with a secret of the deployment in constant time; a missing or empty secret equals nothing.
pub fn is_secret(env: &Env, name: &str, candidate: &str) -> bool {
    let Ok(secret) = env.secret(name) else { return false };
    let secret = Zeroizing::new(secret.to_string());
    // The digests have one length, so that the comparison tells nothing of the secret's.
    !secret.is_empty() && bool::from(Sha256::digest(secret.as_bytes()).ct_eq(&Sha256::digest(candidate.as_bytes())))
}

/// Writes one line of the log. Nothing secret and no text that a peer chose freely goes in.
#[macro_export]
macro_rules! log {
    ($($argument:tt)*) => { worker::console_log!($($argument)*) };
}
pub use log;
