//! P-256 as the platform computes it (`node:crypto`): some twenty times faster than in WebAssembly.

use wardlink_crypto::key::SharedSecret;
use wardlink_crypto::provider::{self, Provider};
use worker::wasm_bindgen;
use worker::wasm_bindgen::prelude::*;
use zeroize::Zeroizing;

#[wasm_bindgen(module = "/src/platform/p256.js")]
extern "C" {
    #[wasm_bindgen(catch, js_name = signWith)]
    fn sign_with(key: &[u8], message: &[u8]) -> Result<Vec<u8>, JsValue>;
    #[wasm_bindgen(catch)]
    fn fits(key: &[u8], message: &[u8], signature: &[u8]) -> Result<bool, JsValue>;
    #[wasm_bindgen(catch)]
    fn agree(secret: &[u8], peer: &[u8], shared: &mut [u8]) -> Result<u32, JsValue>;
}

struct Platform;

impl Provider for Platform {
    fn sign(&self, key: &[u8], message: &[u8]) -> Option<Vec<u8>> {
        done(sign_with(key, message))
    }

    fn verify(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Option<bool> {
        done(fits(key, message, signature))
    }

    fn agree(&self, secret: &[u8; 32], peer: &[u8]) -> Option<SharedSecret> {
        let mut shared = Zeroizing::new([0; 32]);
        let length = done(agree(secret, peer, shared.as_mut()))?;
        (usize::try_from(length) == Ok(shared.len())).then_some(shared)
    }
}

/// Lets the platform compute P-256.
pub fn install() {
    provider::install(&Platform);
}

/// What the platform cannot do, the crate does; the log says so, as it is slow.
fn done<T>(answer: Result<T, JsValue>) -> Option<T> {
    answer.inspect_err(|error| worker::console_error!("the platform does not compute P-256: {error:?}")).ok()
}
