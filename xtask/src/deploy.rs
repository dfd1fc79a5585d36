//! `cargo xtask deploy`: Wardlink as a Cloudflare Worker, from the build to the one-time link.
//!
//! What `wrangler.toml` and `wrangler.distribution.toml` name under `[env.production]` comes to be with the uploads themselves: the
//! workers, the assets, and, by migrations, the Durable Objects. A worker's secrets go up in the same step, so that there is never one
//! without its key.

use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tempfile::NamedTempFile;

use crate::build::{self, Part, Script, Staged, Variant};
use crate::progress::Step;
use crate::shell;
use crate::size::Limits;
use crate::tools;
use crate::workspace::Workspace;

mod bundle;
mod secrets;
mod wrangler;

use secrets::{Made, Missing};
use wrangler::{Account, Call, ENVIRONMENT, FIRST_ENVIRONMENT};

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
    for finding in bundle::rehearse(workspace, &staged, limits)? {
        eprintln!("    {finding}");
    }
    step.done();
    let Some(account) = account else {
        let missing = Script::ALL.map(|script| Missing::of(script, None)).into_iter().collect::<Result<Vec<_>>>()?;
        println!("{}", plan(&staged, options, None, &missing));
        println!(
            "\nThis was a dry run of a first deployment: nothing has left this machine. A later one keeps the secrets."
        );
        return Ok(());
    };

    let missing = Script::ALL.map(|script| {
        Missing::of(script, wrangler::secret_names(Call::list_secrets(script).output(workspace))?.as_deref())
    });
    let missing = missing.into_iter().collect::<Result<Vec<_>>>()?;
    println!("{}", plan(&staged, options, Some(&account), &missing));
    if !options.yes && !confirmed()? {
        bail!("nothing was changed");
    }
    let made = missing.iter().map(Missing::make).collect::<Result<Vec<_>>>()?;
    if let Some(path) = &options.write_recovery {
        secrets::write_recovery(&made, path)?;
    }
    let token = made.iter().find_map(Made::bootstrap_token);
    let (said, went) = deliver(&uploads(&missing), token, options.write_recovery.as_deref(), |upload| {
        let secrets = made.iter().find(|made| upload.sets_secrets && made.script() == upload.script);
        send(workspace, &staged, options, &account, upload, secrets)
    });
    println!("{}", said.unwrap_or_default());
    went
}

/// Sends the uploads up to the first that fails, and returns what people are told, which is something once the control unit is there: the
/// one-time link is shown once, also where what came after the control unit failed.
fn deliver(
    uploads: &[Upload],
    token: Option<&str>,
    recovery: Option<&Path>,
    mut send: impl FnMut(Upload) -> Result<Vec<String>>,
) -> (Option<String>, Result<()>) {
    let (mut origins, mut delivered, mut went) = (Vec::new(), Vec::new(), Ok(()));
    for upload in uploads {
        match send(*upload) {
            Ok(found) => origins.extend(found),
            Err(error) => {
                went = Err(error.context(stopped(upload.script, &delivered, recovery)));
                break;
            }
        }
        delivered.push(upload.script);
    }
    (delivered.contains(&Script::ControlUnit).then(|| farewell(went.is_ok(), &origins, token)), went)
}

/// What to do when an upload failed after these.
fn stopped(failed: Script, sent: &[Script], recovery: Option<&Path>) -> String {
    let again = format!("{} was not deployed: deploy again, which goes on from here", failed.worker());
    let Some(recovery) = recovery.filter(|_| !sent.contains(&failed)) else { return again };
    let kept: Vec<&str> =
        Script::ALL.iter().filter(|script| sent.contains(script)).map(|script| script.worker()).collect();
    let kept = if kept.is_empty() { "nothing yet".to_owned() } else { kept.join(", ") };
    format!(
        "{again}. Of the secrets in {} those of {kept} count; name another file then, for the others, and keep both",
        recovery.display()
    )
}

/// One upload of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Upload {
    script: Script,
    environment: &'static str,
    /// Whether the secrets that were made go with it.
    sets_secrets: bool,
}

/// The uploads, in their order. Each worker names Durable Objects of the other, which have to be there: where one is new, the distribution
/// server begins without the control unit's. What it asks comes before what asks.
fn uploads(missing: &[Missing]) -> Vec<Upload> {
    let is_new = missing.iter().any(Missing::is_everything);
    let upload = |script, environment, sets_secrets| Upload { script, environment, sets_secrets };
    let first = is_new.then(|| upload(Script::Distribution, FIRST_ENVIRONMENT, true));
    let then =
        [upload(Script::ControlUnit, ENVIRONMENT, true), upload(Script::Distribution, ENVIRONMENT, first.is_none())];
    first.into_iter().chain(then).collect()
}

/// Sends an upload, and returns the origins under which its worker answers.
fn send(
    workspace: &Workspace,
    staged: &Staged,
    options: &Options,
    account: &Account,
    upload: Upload,
    made: Option<&Made>,
) -> Result<Vec<String>> {
    let step = Step::start(&format!("Deploy {} ({})", upload.script.configuration(), upload.environment));
    let secrets = made.map(Made::file).transpose()?.flatten();
    let report = NamedTempFile::new().context("cannot make a file for wrangler's report")?;
    let mut command = upload.call(staged, options, secrets.as_ref().map(NamedTempFile::path)).command(workspace);
    command.env("CLOUDFLARE_ACCOUNT_ID", &account.id).env("WRANGLER_OUTPUT_FILE_PATH", report.path());
    shell::run(&mut command)?;
    step.done();
    let report = fs::read_to_string(report.path()).context("cannot read wrangler's report")?;
    Ok(wrangler::origins(&report))
}

impl Upload {
    fn call(self, staged: &Staged, options: &Options, secrets: Option<&Path>) -> Call {
        let domain = options.domain.as_deref().filter(|_| self.script == Script::ControlUnit);
        Call::deploy(self.script, self.environment, staged, domain, secrets)
    }
}

/// What is going to happen, in order.
fn plan(staged: &Staged, options: &Options, account: Option<&Account>, missing: &[Missing]) -> String {
    let into =
        account.map_or_else(|| "your account".to_owned(), |account| format!("{} ({})", account.name, account.id));
    let mut steps = Vec::new();
    let names: Vec<String> = missing.iter().flat_map(Missing::names).collect();
    if !names.is_empty() {
        steps.push(format!("make secrets from this machine's random source: {}", names.join(", ")));
    }
    if missing.iter().any(Missing::is_everything) {
        steps.push(match &options.write_recovery {
            Some(path) => format!("keep a copy of them in {}, for you only", path.display()),
            None => "keep NO copy of them. Cloudflare shows a secret to nobody: without a copy, a MASTER_KEY that is deleted there \
                     takes the site's CA and keys with it. --write-recovery FILE keeps one"
                .to_owned(),
        });
    }
    if let Some(domain) = &options.domain {
        steps.push(format!("serve under https://{domain}, too (its DNS record and certificate come with it)"));
    }
    for upload in uploads(missing) {
        let is_made = |missing: &Missing| missing.script() == upload.script && !missing.is_nothing();
        let secrets = (upload.sets_secrets && missing.iter().any(is_made)).then_some("FILE".as_ref());
        steps.push(format!(
            "upload {}, apply the migrations of its Durable Objects{}:\n     {}",
            match (upload.script, upload.environment) {
                (Script::ControlUnit, _) => "the control unit and the web app",
                (Script::Distribution, FIRST_ENVIRONMENT) => "the distribution server, as yet without the control unit",
                (Script::Distribution, _) => "the distribution server",
            },
            if secrets.is_some() { ", set its secrets, all in one step" } else { ", leave its secrets as they are" },
            upload.call(staged, options, secrets).line()
        ));
    }
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
fn farewell(is_whole: bool, origins: &[String], token: Option<&str>) -> String {
    // A name of one's own comes last, and is the one to keep.
    let origin = origins.last().map_or("https://<the worker's address>", String::as_str);
    let what = if is_whole {
        "Wardlink is deployed."
    } else {
        "The control unit is deployed, and the distribution server is not."
    };
    let mut lines = vec![String::new(), what.to_owned(), String::new()];
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

    use super::{Account, Missing, Options, Script, Staged, deliver, farewell, plan, uploads};

    fn staged() -> Staged {
        Staged { dist: "dist".into(), build: "build".into() }
    }

    fn options(write_recovery: Option<&str>) -> Options {
        let write_recovery = write_recovery.map(|path| Path::new(path).to_owned());
        Options { dry_run: false, yes: false, domain: None, write_recovery, no_build: false }
    }

    /// What is missing where the control unit and the distribution server have these secrets, or are not there.
    fn missing(present: [Option<&[&str]>; 2]) -> Vec<Missing> {
        let present =
            present.map(|names| names.map(|names| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()));
        Script::ALL
            .into_iter()
            .zip(present)
            .map(|(script, names)| Missing::of(script, names.as_deref()).unwrap())
            .collect()
    }

    const BOTH: &[&str] = &["MASTER_KEY", "BOOTSTRAP_TOKEN"];

    #[test]
    fn the_plan_names_the_account_and_every_step() {
        let account = Account { name: "Ward".to_owned(), id: "17".to_owned() };
        let nothing = missing([None, None]);
        let first = plan(&staged(), &options(Some("copy")), Some(&account), &nothing);
        for part in [
            "Ward (17)",
            "MASTER_KEY, BOOTSTRAP_TOKEN, DISTRIBUTION_MASTER_KEY",
            "copy of them in copy",
            "--env first build/distribution/index.js --secrets-file=FILE",
            "build/worker/index.js --secrets-file=FILE",
        ] {
            assert!(first.contains(part), "{part}: {first}");
        }
        assert!(first.ends_with("--env production build/distribution/index.js"), "{first}");
        assert!(plan(&staged(), &options(None), Some(&account), &nothing).contains("--write-recovery FILE"));
    }

    #[test]
    fn a_second_deployment_leaves_the_secrets_alone() {
        let again = plan(&staged(), &options(None), None, &missing([Some(BOTH), Some(&["MASTER_KEY"])]));
        assert!(again.contains("leave its secrets as they are") && !again.contains("--secrets-file"), "{again}");
        assert!(!again.contains("--env first"), "{again}");
        let renewed = plan(&staged(), &options(None), None, &missing([Some(&["MASTER_KEY"]), Some(&["MASTER_KEY"])]));
        assert!(renewed.contains("BOOTSTRAP_TOKEN") && !renewed.contains("MASTER_KEY"), "{renewed}");
    }

    #[test]
    fn a_deployment_that_stopped_goes_on() {
        for present in [[None, Some(&["MASTER_KEY"][..])], [Some(BOTH), None]] {
            let uploads = uploads(&missing(present));
            let environments: Vec<_> = uploads.iter().map(|upload| (upload.script, upload.environment)).collect();
            let [first, unit, last] = environments[..] else { panic!("{environments:?}") };
            assert_eq!(first, (Script::Distribution, "first"));
            assert_eq!(unit, (Script::ControlUnit, "production"));
            assert_eq!(last, (Script::Distribution, "production"));
        }
    }

    #[test]
    fn the_one_time_link_is_shown_where_what_comes_after_the_control_unit_fails() {
        let uploads = uploads(&missing([None, None]));
        let until = |failing: usize| {
            let mut number = 0;
            deliver(&uploads, Some("TOKEN"), Some(Path::new("copy")), |upload| {
                number += 1;
                anyhow::ensure!(number != failing, "refused");
                Ok(if upload.script == Script::ControlUnit {
                    vec!["https://wardlink.example".to_owned()]
                } else {
                    Vec::new()
                })
            })
        };
        let (said, went) = until(3);
        let said = said.unwrap();
        assert!(said.contains("#/welcome?token=TOKEN") && said.contains("the distribution server is not"), "{said}");
        assert!(went.unwrap_err().to_string().contains("wardlink-distribution was not deployed: deploy again"));
        let (said, went) = until(2);
        assert_eq!(said, None, "there is nothing to sign in to");
        assert!(
            went.unwrap_err().to_string().contains("in copy those of wardlink-distribution count; name another file")
        );
        let (said, went) = until(0);
        assert!(said.unwrap().contains("Wardlink is deployed.") && went.is_ok());
    }

    #[test]
    fn the_one_time_link_is_shown_once() {
        let origins = ["https://wardlink.ward.workers.dev".to_owned(), "https://wardlink.example".to_owned()];
        let first = farewell(true, &origins, Some("TOKEN"));
        assert!(first.contains("https://wardlink.example/#/welcome?token=TOKEN"), "{first}");
        assert_eq!(first.matches("TOKEN").count(), 1);
        assert!(!farewell(true, &origins, None).contains("#/welcome"));
    }
}
