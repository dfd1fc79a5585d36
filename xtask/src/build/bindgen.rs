//! wasm-bindgen as a library: always the version of the `wasm-bindgen` in Cargo.lock, nothing to install.

use std::path::Path;

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

use super::Variant;

/// Generates `<name>.js` and `<name>_bg.wasm` for a page: the script's default export starts the module.
pub(super) fn for_page(wasm: &Path, folder: &Path, name: &str, variant: Variant) -> Result<()> {
    let mut bindgen = generator(wasm, name, variant);
    bindgen.web(true)?.omit_default_module_path(true);
    bindgen.generate(folder).with_context(|| format!("wasm-bindgen failed on {}", wasm.display()))
}

/// Generates `<name>.js` and `<name>_bg.wasm` for the worker: a script that imports the module, with the functions by which
/// the shim starts a broken instance anew.
pub(super) fn for_worker(wasm: &Path, folder: &Path, name: &str, variant: Variant) -> Result<()> {
    let mut bindgen = generator(wasm, name, variant);
    bindgen.module(true)?.reset_state_function(true).force_enable_abort_handler(true).omit_default_module_path(false);
    bindgen.generate(folder).with_context(|| format!("wasm-bindgen failed on {}", wasm.display()))
}

/// Generates `<name>.js` and `<name>_bg.wasm` for Node.
pub(super) fn for_node(wasm: &Path, folder: &Path, name: &str, variant: Variant) -> Result<()> {
    let mut bindgen = generator(wasm, name, variant);
    bindgen.nodejs(true)?.omit_default_module_path(true);
    bindgen.generate(folder).with_context(|| format!("wasm-bindgen failed on {}", wasm.display()))
}

fn generator(wasm: &Path, name: &str, variant: Variant) -> Bindgen {
    let release = variant == Variant::Release;
    let mut bindgen = Bindgen::new();
    bindgen.input_path(wasm).out_name(name).typescript(false);
    bindgen.remove_name_section(release).remove_producers_section(release);
    bindgen
}
