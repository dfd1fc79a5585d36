//! What is too long to be held, as it passes: its SHA-2, computed by the platform, or nothing.

use crate::problem::Failure;
use worker::js_sys::{Promise, Uint8Array};
use worker::wasm_bindgen;
use worker::wasm_bindgen::prelude::*;
use worker::wasm_bindgen_futures::JsFuture;
use worker::{Request, ResponseBody};

#[wasm_bindgen(module = "/src/platform/streams.js")]
extern "C" {
    #[wasm_bindgen(catch)]
    fn digest(algorithm: &str, stream: JsValue) -> Result<Promise, JsValue>;
    #[wasm_bindgen(catch, js_name = drain)]
    fn pass(stream: JsValue) -> Result<Promise, JsValue>;
}

/// Which hash.
#[derive(Clone, Copy)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// The hash of a body that is read to its end.
pub async fn hash(algorithm: Algorithm, body: ResponseBody) -> Result<Vec<u8>, Failure> {
    let name = match algorithm {
        Algorithm::Sha256 => "SHA-256",
        Algorithm::Sha512 => "SHA-512",
    };
    let ResponseBody::Stream(stream) = body else { return Err(Failure::internal("a file is no stream")) };
    let failed = |error: JsValue| Failure::internal(format!("there is no hash: {error:?}"));
    let hash = JsFuture::from(digest(name, stream.into()).map_err(failed)?).await.map_err(failed)?;
    Ok(Uint8Array::new(&hash).to_vec())
}

/// Reads the rest of a request's body, and forgets it. One that was read is left alone.
pub async fn drain(request: &Request) {
    let Some(body) = request.inner().body() else { return };
    if let Ok(passing) = pass(body.into()) {
        // A connection that ends meanwhile has no rest.
        drop(JsFuture::from(passing).await);
    }
}
