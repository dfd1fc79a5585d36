//! `cargo xtask bench NAME`: measures on the real parts, with the program `bench-NAME` of the tests' package.

use std::process::Stdio;

use anyhow::{Context, Result};

use crate::build::{self, Variant};
use crate::shell;
use crate::tools::Browser;
use crate::workspace::Workspace;

const PACKAGE: &str = "wardlink-tests";
/// What the pumps and the benchmark itself are built with.
const PROFILE: &str = "measure";
/// What needs no browser.
const WITHOUT_BROWSER: [&str; 1] = ["updates"];

/// What is measured in WebAssembly, too.
const IN_WASM: [&str; 2] = ["trust", "updates"];

/// What is measured, and how it is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What to measure, such as `pairing`, `qr`, `trust` or `updates`.
    name: String,
    /// Print one flat JSON object.
    #[arg(long)]
    json: bool,
    /// Passed on to the benchmark.
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Builds the worker and the web app as production runs them, where they are measured, and starts the benchmark.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let program = format!("bench-{}", options.name);
    build::run(workspace, Variant::Release)?;
    let mut cargo = shell::cargo(workspace.root());
    cargo.args(["build", "--profile", PROFILE, "--package", "wardlink-agent", "--package", PACKAGE, "--bins"]);
    // Only figures go to stdout.
    shell::run(cargo.stdout(Stdio::null()))?;

    let programs = workspace.target().join(PROFILE);
    let bench = programs.join(&program);
    let mut command = std::process::Command::new(&bench);
    command.current_dir(workspace.root()).args(options.json.then_some("--json")).args(&options.arguments);
    command.env("WARDLINK_BIN", programs.join("wardlink")).env("WARDLINK_CHECKOUT", workspace.root());
    if IN_WASM.contains(&options.name.as_str()) {
        command.env("WARDLINK_MEASURE", build::measured(workspace)?);
    }
    if !WITHOUT_BROWSER.contains(&options.name.as_str()) {
        Browser::require()?.tell(&mut command);
    }
    shell::run(&mut command).with_context(|| format!("benchmark {}", options.name))
}
