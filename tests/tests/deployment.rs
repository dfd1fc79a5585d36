//! `cargo xtask deploy --dry-run` on the build that the other tests run: no account, nothing sent.

use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use wardlink_tests::{artifacts, scene};

/// Runs `cargo xtask deploy`, signed in nowhere.
fn deploy(home: &std::path::Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(artifacts::xtask()?);
    command.arg("deploy").args(arguments).env("HOME", home).env("XDG_CONFIG_HOME", home);
    for name in ["CLOUDFLARE_API_TOKEN", "CLOUDFLARE_API_KEY", "CLOUDFLARE_ACCOUNT_ID", "CI"] {
        command.env_remove(name);
    }
    command.output().context("cannot start cargo xtask deploy")
}

#[test]
fn a_dry_run_puts_the_production_upload_together_and_sends_nothing() -> Result<()> {
    scene(|scene| {
        let run = deploy(scene.folder(), &["--dry-run", "--no-build"])?;
        let (plan, checks) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        ensure!(run.status.success(), "{plan}\n{checks}");
        for found in [
            "Durable Objects of wardlink: SiteObject, DeskObject, BridgeObject, AccountsObject (migrations: v1)",
            "Bindings of wardlink: TRUST, SITE, DESK, BRIDGE, ACCOUNTS, DISTRIBUTION, GATEWAY, RECORDS, FILES, ASSETS",
            "Durable Objects of wardlink-distribution: DistributionObject, GatewayObject, RecordsObject (migrations: v1)",
            "Bindings of wardlink-distribution: DISTRIBUTION, GATEWAY, RECORDS, DESK, FILES, CATALOG",
            "gzip",
        ] {
            ensure!(checks.contains(found), "`{found}` is not among what was checked: {checks}");
        }
        for script in ["wrangler.toml", "wrangler.distribution.toml"] {
            let call = format!("wrangler deploy --no-bundle --config {script} --env production");
            ensure!(plan.contains(&call), "it says what it would do: {plan}");
        }
        ensure!(
            plan.contains("MASTER_KEY, BOOTSTRAP_TOKEN, DISTRIBUTION_MASTER_KEY")
                && plan.contains("--secrets-file=FILE"),
            "{plan}"
        );
        ensure!(plan.contains("nothing has left this machine"), "{plan}");
        Ok(())
    })
}

#[test]
fn who_is_signed_in_nowhere_is_told_what_to_do_and_nothing_is_built() -> Result<()> {
    scene(|scene| {
        let run = deploy(scene.folder(), &["--yes"])?;
        let said = String::from_utf8_lossy(&run.stderr);
        ensure!(!run.status.success(), "it went on without an account");
        ensure!(said.contains("npx wrangler login") && said.contains("CLOUDFLARE_API_TOKEN"), "{said}");
        ensure!(!said.contains("Compile"), "the build can wait: {said}");
        Ok(())
    })
}
