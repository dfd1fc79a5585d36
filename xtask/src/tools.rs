//! The tools that a build needs: found, checked, and installed by version where they are missing.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::progress::Step;
use crate::shell;
use crate::workspace::Workspace;

/// The oldest Node that wrangler and the build run on.
const NODE: (u32, u32) = (20, 3);
const WASM: &str = "wasm32-unknown-unknown";

/// Makes sure that Rust can compile for WebAssembly.
pub(crate) fn require_wasm_target() -> Result<()> {
    let libdir = shell::output(Command::new("rustc").args(["--print", "target-libdir", "--target", WASM]))
        .context("rustc does not know WebAssembly")?;
    if PathBuf::from(libdir).exists() {
        return Ok(());
    }
    let step = Step::start("Install the Rust target for WebAssembly");
    shell::run(Command::new("rustup").args(["target", "add", WASM]))
        .with_context(|| format!("the Rust target {WASM} is missing; install it with `rustup target add {WASM}`"))?;
    step.done();
    Ok(())
}

/// Makes sure that Node is there and that `node_modules` holds what `package-lock.json` says.
pub(crate) fn require_node_modules(workspace: &Workspace) -> Result<()> {
    let version = shell::output(Command::new("node").arg("--version"))
        .context("Node.js is missing: install version 20 or newer, with npm")?;
    if node_version(&version).is_none_or(|version| version < NODE) {
        bail!("Node.js {version} is too old: install {}.{} or newer", NODE.0, NODE.1);
    }
    let lock = fs::read(workspace.root().join("package-lock.json")).context("cannot read package-lock.json")?;
    let installed = workspace.root().join("node_modules/.wardlink-lock");
    if fs::read(&installed).is_ok_and(|found| found == lock) {
        return Ok(());
    }
    let step = Step::start("Install the npm packages (wrangler, esbuild, wasm-opt)");
    shell::run(Command::new("npm").args(["ci", "--loglevel=error"]).current_dir(workspace.root()))
        .context("npm could not install the packages of package-lock.json")?;
    fs::write(installed, lock).context("cannot mark node_modules as complete")?;
    step.done();
    Ok(())
}

/// A program of `node_modules`, to be run from the root of the checkout.
pub(crate) fn node_program(workspace: &Workspace, name: &str) -> Command {
    let mut command = Command::new(workspace.root().join("node_modules/.bin").join(name));
    command.current_dir(workspace.root());
    command
}

fn node_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
