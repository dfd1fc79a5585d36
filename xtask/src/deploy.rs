//! `cargo xtask deploy`: Wardlink as a Cloudflare Worker, from the build to the one-time link.
//!
//! What `wrangler.toml` names under `[env.production]` comes to be with the upload itself: the worker, its assets, and, by
//! migrations, its Durable Objects. The secrets go up in the same step, so that there is never a worker without its key.

use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use tempfile::NamedTempFile;

use crate::build::{self, Part, Staged, Variant};
use crate::progress::Step;
use crate::shell;
use crate::size::Limits;
use crate::tools;
use crate::workspace::Workspace;

mod bundle;
mod secrets;
mod wrangler;

use secrets::{Made, Missing};
use wrangler::{Account, Call, ENVIRONMENT};

/// How a deployment goes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Build, put the upload together, check it, and say what would be done; needs neither account nor network.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before anything is changed.
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Also serve under this name, in a domain of the account, such as wardlink.hospital.example.
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    /// Keep a copy of the secrets that are made, in a new file that only you may read.
    #[arg(long, value_name = "FILE")]
    write_recovery: Option<PathBuf>,
    /// With --dry-run: check what the last build made, whatever it was.
    #[arg(long, requires = "dry_run")]
    no_build: bool,
}

/// Builds, checks, says what comes, asks, and deploys.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if !options.no_build {
        tools::require_node_modules(workspace)?;
    }
    // Whoever is not signed in hears of it before a long build.
    let account = if options.dry_run { None } else { Some(wrangler::whoami(workspace)?) };
    let staged = if options.no_build {
        Staged { dist: workspace.dist(), build: workspace.build() }
    } else {
        build::stage(workspace, Variant::Release, &[Part::App, Part::Worker])?
    };
    let step = Step::start("Put the upload together and check it");
    let limits = if options.no_build { Limits::PLATFORM } else { Limits::RELEASE };
    for finding in bundle::rehearse(workspace, &staged, limits)?.findings {
        eprintln!("    {finding}");
    }
    step.done();
    let Some(account) = account else {
        println!("{}", plan(&staged, options, None, Missing::Both));
        println!(
            "\nThis was a dry run of a first deployment: nothing has left this machine. A later one keeps the secrets."
        );
        return Ok(());
    };

    let present = wrangler::secret_names(Call::list_secrets().output(workspace))?;
    let missing = Missing::of(present.as_deref())?;
    println!("{}", plan(&staged, options, Some(&account), missing));
    if !options.yes && !confirmed()? {
        bail!("nothing was changed");
    }
    let made = missing.make()?;
    if let Some(path) = &options.write_recovery {
        made.write_recovery(path)?;
    }
    let origins = upload(workspace, &staged, options, &account, &made)?;
    println!("{}", farewell(&origins, made.bootstrap_token()));
    Ok(())
}

/// Uploads, and returns the origins under which the worker answers.
fn upload(
    workspace: &Workspace,
    staged: &Staged,
    options: &Options,
    account: &Account,
    made: &Made,
) -> Result<Vec<String>> {
    let step = Step::start("Deploy");
    let secrets = made.file()?;
    let report = NamedTempFile::new().context("cannot make a file for wrangler's report")?;
    let call = Call::deploy(staged, options.domain.as_deref(), secrets.as_ref().map(NamedTempFile::path));
    let mut command = call.command(workspace);
    command.env("CLOUDFLARE_ACCOUNT_ID", &account.id).env("WRANGLER_OUTPUT_FILE_PATH", report.path());
    shell::run(&mut command).context(match &options.write_recovery {
        Some(path) => format!("if the worker is not there, {} belongs to nothing: remove it", path.display()),
        None => "the worker was not deployed".to_owned(),
    })?;
    step.done();
    let report = fs::read_to_string(report.path()).context("cannot read wrangler's report")?;
    Ok(wrangler::origins(&report))
}

/// What is going to happen, in order.
fn plan(staged: &Staged, options: &Options, account: Option<&Account>, missing: Missing) -> String {
    let into =
        account.map_or_else(|| "your account".to_owned(), |account| format!("{} ({})", account.name, account.id));
    let mut steps = Vec::new();
    if missing != Missing::Neither {
        steps.push(format!("make secrets from this machine's random source: {}", missing.names().join(", ")));
    }
    match (&options.write_recovery, missing) {
        (Some(path), Missing::Both) => steps.push(format!("keep a copy of them in {}, for you only", path.display())),
        (None, Missing::Both) => steps.push(
            "keep NO copy of them. Cloudflare shows a secret to nobody: without a copy, a MASTER_KEY that is deleted there takes \
             the site's CA and keys with it. --write-recovery FILE keeps one"
                .to_owned(),
        ),
        _ => {}
    }
    if let Some(domain) = &options.domain {
        steps.push(format!("serve under https://{domain}, too (its DNS record and certificate come with it)"));
    }
    let secrets = (missing != Missing::Neither).then_some("FILE".as_ref());
    steps.push(format!(
        "upload worker and assets, apply the migrations of the Durable Objects{}:\n     {}",
        if secrets.is_some() { ", set the secrets, all in one step" } else { ", leave the secrets as they are" },
        Call::deploy(staged, options.domain.as_deref(), secrets).line()
    ));
    let steps: Vec<String> = (1..).zip(steps).map(|(number, step)| format!("  {number}. {step}")).collect();
    format!("\nA deployment into {into} will\n{}", steps.join("\n"))
}

/// Asks a person.
fn confirmed() -> Result<bool> {
    ensure!(io::stdin().is_terminal(), "nobody is there to ask: say --yes");
    print!("\nGo on? [y/N] ");
    io::stdout().flush().context("cannot write to the terminal")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Where it is, and what to do next.
fn farewell(origins: &[String], token: Option<&str>) -> String {
    // A name of one's own comes last, and is the one to keep.
    let origin = origins.last().map_or("https://<the worker's address>", String::as_str);
    let mut lines = vec![String::new(), "Wardlink is deployed.".to_owned(), String::new()];
    lines.extend(origins.iter().map(|origin| format!("  Control unit      {origin}")));
    if let Some(token) = token {
        lines.push(format!("  First sign-in     {origin}/#/welcome?token={token}"));
        lines.push(
            "                    (once: it makes the first administrator. Open it now; who has it first is it)"
                .to_owned(),
        );
    } else {
        lines.push("  First sign-in     the link of the first deployment. Lost, and nobody has signed in yet? Deploy again after".to_owned());
        lines.push(format!("                    `npx wrangler secret delete BOOTSTRAP_TOKEN --env {ENVIRONMENT}`"));
    }
    lines.push(format!(
        "\nNext: a second administrator under People; provisioning files under Provisioning, made at {origin}, the address\n\
         that the pumps will use. The log: `npx wrangler tail --env {ENVIRONMENT}`. docs/operations.md says the rest."
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Account, Missing, Options, Staged, farewell, plan};

    fn staged() -> Staged {
        Staged { dist: "dist".into(), build: "build".into() }
    }

    fn options(write_recovery: Option<&str>) -> Options {
        let write_recovery = write_recovery.map(|path| Path::new(path).to_owned());
        Options { dry_run: false, yes: false, domain: None, write_recovery, no_build: false }
    }

    #[test]
    fn the_plan_names_the_account_and_every_step() {
        let account = Account { name: "Ward".to_owned(), id: "17".to_owned() };
        let first = plan(&staged(), &options(Some("copy")), Some(&account), Missing::Both);
        for part in [
            "Ward (17)",
            "MASTER_KEY, BOOTSTRAP_TOKEN",
            "copy of them in copy",
            "wrangler deploy",
            "--secrets-file=FILE",
        ] {
            assert!(first.contains(part), "{part}: {first}");
        }
        assert!(plan(&staged(), &options(None), Some(&account), Missing::Both).contains("--write-recovery FILE"));
    }

    #[test]
    fn a_second_deployment_leaves_the_secrets_alone() {
        let again = plan(&staged(), &options(None), None, Missing::Neither);
        assert!(again.contains("leave the secrets as they are") && !again.contains("--secrets-file"), "{again}");
        let renewed = plan(&staged(), &options(None), None, Missing::Token);
        assert!(renewed.contains("BOOTSTRAP_TOKEN") && !renewed.contains("MASTER_KEY"), "{renewed}");
    }

    #[test]
    fn the_one_time_link_is_shown_once() {
        let origins = ["https://wardlink.ward.workers.dev".to_owned(), "https://wardlink.example".to_owned()];
        let first = farewell(&origins, Some("TOKEN"));
        assert!(first.contains("https://wardlink.example/#/welcome?token=TOKEN"), "{first}");
        assert_eq!(first.matches("TOKEN").count(), 1);
        assert!(!farewell(&origins, None).contains("#/welcome"));
    }
}
