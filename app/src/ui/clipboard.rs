//! The browser's clipboard.

use wasm_bindgen_futures::JsFuture;

/// Puts a text there; false where the browser does not let it.
pub(crate) async fn put(text: &str) -> bool {
    let promise = leptos::prelude::window().navigator().clipboard().write_text(text);
    JsFuture::from(promise).await.is_ok()
}
