//! `cargo xtask`: everything that builds, runs, checks and measures Wardlink.
//!
//! Each command installs by version what it lacks, once, into a cache outside `target/` (see [`tools`]), and says what is
//! missing where it cannot.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod build;
mod check;
mod deploy;
mod dev;
mod fuzz;
mod progress;
mod random;
mod shell;
mod size;
mod test;
mod tools;
mod workspace;

use build::{Part, Variant};
use workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Builds, runs, checks and measures Wardlink")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the web app into dist/ and the worker into build/.
    Build {
        /// Build what production runs: optimized for size (app) and speed (worker).
        #[arg(long)]
        release: bool,
        /// Build only this.
        part: Option<Part>,
    },
    /// Run everything on this machine: worker, web app and a simulated pump.
    Dev(dev::Options),
    /// Deploy to Cloudflare, or, with --dry-run, check what would be deployed.
    Deploy(deploy::Options),
    /// Run the tests: unit, properties, and end to end with worker, pumps and browser.
    Test(test::Options),
    /// Search for inputs that break a promise, guided by coverage.
    Fuzz(fuzz::Options),
    /// Check format, spelling, imports, licences, lints and documentation.
    Check,
    /// Measure speed on the real parts.
    Bench(bench::Options),
    /// Measure what a phone loads, and the size of the worker.
    Size {
        /// Print one flat JSON object.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let workspace = Workspace::locate()?;
    match command {
        Command::Build { release, part: None } => build::run(&workspace, Variant::from_flag(release)),
        Command::Build { release, part: Some(part) } => {
            build::publish(&workspace, Variant::from_flag(release), &[part])
        }
        Command::Dev(options) => dev::run(&workspace, &options),
        Command::Deploy(options) => deploy::run(&workspace, &options),
        Command::Test(options) => test::run(&workspace, &options),
        Command::Fuzz(options) => fuzz::run(&workspace, &options),
        Command::Check => check::run(&workspace),
        Command::Bench(options) => bench::run(&workspace, &options),
        Command::Size { json } => size::run(&workspace, json),
    }
}
