//! `cargo xtask check`: everything that needs no run: format, spelling, imports, licences, lints, documentation.

use std::process::Command;

use anyhow::{Result, bail};

use crate::progress::Step;
use crate::shell;
use crate::tools;
use crate::workspace::Workspace;

mod imports;

const WASM: &str = "wasm32-unknown-unknown";
/// The shells that exist as WebAssembly only.
const WASM_SHELLS: [&str; 4] = ["wardlink-app", "wardlink-edge", "wardlink-worker", "wardlink-distribution"];

/// A check: its name, and what it does.
type Check = (&'static str, fn(&Workspace) -> Result<()>);

const CHECKS: [Check; 8] = [
    ("Format", format),
    ("Spelling", spelling),
    ("Licences, sources and imports between crates", dependencies),
    ("Nothing of the platform under shared/", imports::check),
    ("Lints (native)", lints_native),
    ("Lints (WebAssembly)", lints_wasm),
    ("Documentation", documentation),
    ("Known vulnerabilities", advisories),
];

/// Runs all checks, also after one failed, and fails if any did.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    tools::require_wasm_target()?;
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        let step = Step::start(name);
        if let Err(error) = check(workspace) {
            eprintln!("    failed: {error:#}");
            failed.push(name);
        }
        step.done();
    }
    if !failed.is_empty() {
        bail!("{} of {} checks failed: {}", failed.len(), CHECKS.len(), failed.join("; "));
    }
    eprintln!("==> All {} checks passed", CHECKS.len());
    Ok(())
}

fn format(workspace: &Workspace) -> Result<()> {
    shell::run(shell::cargo(workspace.root()).args(["fmt", "--all", "--check"]))
}

fn spelling(workspace: &Workspace) -> Result<()> {
    let typos = tools::TYPOS.require(workspace)?;
    shell::run(Command::new(typos).current_dir(workspace.root()))
}

fn dependencies(workspace: &Workspace) -> Result<()> {
    let deny = tools::CARGO_DENY.require(workspace)?;
    let mut command = Command::new(deny);
    command.current_dir(workspace.root()).args(["--log-level", "warn", "check", "licenses", "bans", "sources"]);
    // The import rules name every crate that may import another, also one that does not do so yet.
    shell::run(command.args(["--allow", "unused-wrapper"]))
}

fn lints_native(workspace: &Workspace) -> Result<()> {
    let mut clippy = shell::cargo(workspace.root());
    shell::run(native(clippy.args(["clippy", "--all-targets"])).args(["--", "--deny", "warnings"]))
}

fn lints_wasm(workspace: &Workspace) -> Result<()> {
    let mut clippy = shell::cargo(workspace.root());
    shell::run(wasm(workspace, clippy.args(["clippy", "--all-targets"])).args(["--", "--deny", "warnings"]))
}

fn documentation(workspace: &Workspace) -> Result<()> {
    let doc = || {
        let mut doc = shell::cargo(workspace.root());
        doc.args(["doc", "--no-deps", "--document-private-items"]);
        // The documentation is for who works here: it shows private items, and links to them.
        doc.env("RUSTDOCFLAGS", "--deny warnings --allow rustdoc::private_intra_doc_links");
        doc
    };
    shell::run(native(&mut doc()))?;
    shell::run(wasm(workspace, &mut doc()))
}

/// Everything but the shells that exist as WebAssembly only.
fn native(cargo: &mut Command) -> &mut Command {
    cargo.arg("--workspace").args(WASM_SHELLS.iter().flat_map(|shell| ["--exclude", shell]))
}

/// Those shells.
fn wasm<'c>(workspace: &Workspace, cargo: &'c mut Command) -> &'c mut Command {
    cargo.args(["--target", WASM, "--target-dir"]).arg(workspace.wasm_target());
    cargo.args(WASM_SHELLS.iter().flat_map(|shell| ["--package", shell]))
}

/// Needs the advisory database: where that cannot be reached, the check is skipped, and says so.
fn advisories(workspace: &Workspace) -> Result<()> {
    let deny = tools::CARGO_DENY.require(workspace)?;
    let deny = || {
        let mut command = Command::new(&deny);
        command.current_dir(workspace.root()).args(["--log-level", "error"]);
        command
    };
    if shell::output(deny().args(["fetch", "db"])).is_err() {
        eprintln!("    skipped: the database of advisories cannot be reached");
        return Ok(());
    }
    shell::run(deny().args(["check", "--disable-fetch", "advisories"]))
}
