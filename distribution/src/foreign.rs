//! Ed25519 and RSA-PSS as the platform verifies them (`node:crypto`): manufacturers may sign with them, and their code would be large.

use wardlink_update::key::{self, Platform};
use worker::wasm_bindgen;
use worker::wasm_bindgen::prelude::*;

#[wasm_bindgen(module = "/src/foreign.js")]
extern "C" {
    #[wasm_bindgen(catch, js_name = fitsEd25519)]
    fn fits_ed25519(key: &[u8], message: &[u8], signature: &[u8]) -> Result<bool, JsValue>;
    #[wasm_bindgen(catch, js_name = fitsRsaPss)]
    fn fits_rsa_pss(key: &[u8], message: &[u8], signature: &[u8]) -> Result<bool, JsValue>;
}

struct NodeCrypto;

impl Platform for NodeCrypto {
    fn verify_ed25519(&self, key: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
        fits_ed25519(key, message, signature).unwrap_or(false)
    }

    fn verify_rsa_pss(&self, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        fits_rsa_pss(key, message, signature).unwrap_or(false)
    }
}

/// Lets the platform verify.
pub(crate) fn install() {
    key::install(&NodeCrypto);
}
