//! `cargo xtask test`: unit tests, properties, and the end-to-end tests on the real parts.

use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result};

use crate::build::{self, Variant};
use crate::progress::Step;
use crate::shell;
use crate::tools::{self, Browser};
use crate::workspace::Workspace;

/// The package of the end-to-end tests: they start the worker, pumps and a browser.
const END_TO_END: &str = "wardlink-tests";

/// How many tests run at a time where there are fewer cores: many of them wait more than they compute. As many end-to-end tests run at most (`.config/nextest.toml`).
const LEAST_AT_A_TIME: usize = 3;

/// Which tests run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only the tests that need neither worker nor browser.
    #[arg(long, conflicts_with = "e2e")]
    unit: bool,
    /// Only the end-to-end tests.
    #[arg(long)]
    e2e: bool,
    /// Test what production runs, not the quick build.
    #[arg(long, conflicts_with = "unit")]
    release: bool,
    /// Run only the random interruptions (SIGKILL of pump, worker or both in a pairing), so many of them.
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["unit", "filter"])]
    interruptions: Option<u64>,
    /// Run only the revocations of pumps to which much is on its way, so many of them.
    #[arg(long, value_name = "COUNT", conflicts_with_all = ["unit", "filter", "interruptions"])]
    revocations: Option<u64>,
    /// Run the tests whose name contains this.
    filter: Option<String>,
}

impl Options {
    /// Whether only the end-to-end tests run.
    const fn is_end_to_end(&self) -> bool {
        self.e2e || self.interruptions.is_some() || self.revocations.is_some()
    }
}

/// Builds what the tests need, and runs them.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let nextest = has_nextest(workspace.root());
    let mut tests = if nextest { nextest_command(workspace) } else { cargo_test_command(workspace) };
    if options.is_end_to_end() {
        tests.args(["--package", END_TO_END]);
    } else {
        tests.arg("--workspace");
    }
    if options.unit {
        tests.args(["--exclude", END_TO_END]);
    } else {
        prepare_end_to_end(workspace, &mut tests, options)?;
    }
    tests.args(&options.filter);
    if let Some(count) = options.interruptions {
        let name = "random_deaths_are_survived";
        run_long(tests.env("WARDLINK_INTERRUPTIONS", count.to_string()), "interruptions", name, nextest);
    }
    if let Some(count) = options.revocations {
        let name = "a_revoked_pump_gets_nothing_after_the_answer";
        run_long(tests.env("WARDLINK_REVOCATIONS", count.to_string()), "revocation_trials", name, nextest);
    }
    let step = Step::start("Test");
    shell::run(&mut tests)?;
    step.done();
    Ok(())
}

/// One test in its long form takes longer than a test may otherwise, and says how far it is while it runs.
fn run_long(tests: &mut Command, binary: &str, name: &str, nextest: bool) {
    tests.args(["--test", binary, name]);
    if nextest {
        tests.args(["--profile", "long", "--no-capture"]);
    } else {
        tests.args(["--", "--nocapture"]);
    }
}

/// Builds the worker, the web app and the agent, finds a browser, nginx and PostgreSQL, and says in the environment where they are.
fn prepare_end_to_end(workspace: &Workspace, tests: &mut Command, options: &Options) -> Result<()> {
    let browser = Browser::require()?;
    let nginx = tools::require_nginx()?;
    tools::require_openssl()?;
    let postgres = tools::require_postgres()?;
    build::run(workspace, Variant::from_flag(options.release))?;
    // The agent with the features that the tests are built with: nothing is compiled twice.
    let agent = if options.is_end_to_end() {
        build::agent(workspace, &["--package", "wardlink-agent", "--package", END_TO_END])?
    } else {
        build::agent(workspace, &["--workspace"])?
    };
    browser.tell(tests);
    tests.env("NGINX", nginx).env("POSTGRES", postgres);
    tests.env("WARDLINK_BIN", agent).env("WARDLINK_CHECKOUT", workspace.root());
    tests.env("WARDLINK_XTASK", std::env::current_exe().context("this program has no path")?);
    Ok(())
}

fn has_nextest(root: &Path) -> bool {
    shell::output(shell::cargo(root).args(["nextest", "--version"])).is_ok()
}

fn nextest_command(workspace: &Workspace) -> Command {
    let mut cargo = shell::cargo(workspace.root());
    cargo.args(["nextest", "run", "--no-fail-fast"]);
    let threads = thread::available_parallelism().map_or(LEAST_AT_A_TIME, |cores| LEAST_AT_A_TIME.max(cores.get()));
    cargo.arg("--test-threads").arg(threads.to_string());
    cargo
}

fn cargo_test_command(workspace: &Workspace) -> Command {
    let mut cargo = shell::cargo(workspace.root());
    cargo.args(["test", "--no-fail-fast"]);
    cargo
}
