//! Each call of wrangler that a deployment makes, as a value, and what its answers mean.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::build::{Script, Staged};
use crate::shell;
use crate::tools;
use crate::workspace::Workspace;

/// The environment of `wrangler.toml` that is deployed.
pub(super) const ENVIRONMENT: &str = "production";
/// The one by which the distribution server comes to be, before the control unit that it asks is there.
pub(super) const FIRST_ENVIRONMENT: &str = "first";
/// What nobody who is not signed in gets around.
const SIGN_IN: &str = "nobody is signed in to Cloudflare here. At a desk: `npx wrangler login`. In a script: set \
                       CLOUDFLARE_API_TOKEN to a token with the permission \"Edit Cloudflare Workers\", and CLOUDFLARE_ACCOUNT_ID";

/// One call: the arguments after `wrangler`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call(Vec<String>);

impl Call {
    /// Who is signed in.
    pub(super) fn whoami() -> Self {
        Self(words(&["whoami", "--json"]))
    }

    /// The names of the secrets that a script's worker has.
    pub(super) fn list_secrets(script: Script) -> Self {
        Self(words(&["secret", "list", "--format", "json", "--config", script.configuration(), "--env", ENVIRONMENT]))
    }

    /// Puts the upload together as a real deployment does, and sends nothing. `upload` gets all of it, in one file.
    pub(super) fn rehearse(script: Script, staged: &Staged, folder: &Path, upload: &Path) -> Self {
        let mut call = Self::upload(script, ENVIRONMENT, staged);
        call.0.extend(words(&["--dry-run"]));
        call.0.extend([format!("--outdir={}", folder.display()), format!("--outfile={}", upload.display())]);
        call
    }

    /// Uploads a worker and its assets, applies the migrations of Durable Objects, and, in the same step, sets the secrets in a file.
    pub(super) fn deploy(
        script: Script,
        environment: &str,
        staged: &Staged,
        domain: Option<&str>,
        secrets: Option<&Path>,
    ) -> Self {
        let mut call = Self::upload(script, environment, staged);
        call.0.extend(domain.map(|domain| format!("--domain={domain}")));
        call.0.extend(secrets.map(|secrets| format!("--secrets-file={}", secrets.display())));
        call
    }

    /// What is uploaded is what was built and measured: wrangler does not bundle it again.
    fn upload(script: Script, environment: &str, staged: &Staged) -> Self {
        let mut call =
            Self(words(&["deploy", "--no-bundle", "--config", script.configuration(), "--env", environment]));
        if script == Script::ControlUnit {
            call.0.push(format!("--assets={}", staged.dist.display()));
        }
        call.0.push(staged.entry(script).display().to_string());
        call
    }

    /// As a person types it.
    pub(super) fn line(&self) -> String {
        format!("wrangler {}", self.0.join(" "))
    }

    /// As a command, to be run from the root of the checkout.
    pub(super) fn command(&self, workspace: &Workspace) -> Command {
        let mut command = tools::node_program(workspace, "wrangler");
        command.args(&self.0).env("WRANGLER_SEND_METRICS", "false");
        command
    }

    /// Runs it for what it writes; it is asked nothing.
    pub(super) fn output(&self, workspace: &Workspace) -> Result<String> {
        shell::output(
            self.command(workspace).env("NO_COLOR", "1").env("WRANGLER_HIDE_BANNER", "true").stdin(Stdio::null()),
        )
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// What `whoami` says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Whoami {
    logged_in: bool,
    #[serde(default)]
    accounts: Vec<Account>,
}

/// An account at Cloudflare.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) id: String,
}

/// The account that is deployed to: the chosen one, or the only one.
pub(super) fn account(whoami: &str, chosen: Option<&str>) -> Result<Account> {
    // Where nobody is signed in, older versions say so in words.
    let Ok(Whoami { logged_in: true, accounts }) = serde_json::from_str(whoami) else { bail!(SIGN_IN) };
    match (chosen, accounts.as_slice()) {
        (Some(id), accounts) => accounts.iter().find(|account| account.id == id).cloned().with_context(|| {
            format!("CLOUDFLARE_ACCOUNT_ID is {id}, and who is signed in has no such account: {}", list(accounts))
        }),
        (None, [account]) => Ok(account.clone()),
        (None, []) => bail!("who is signed in has no account at Cloudflare"),
        (None, accounts) => bail!("several accounts: choose one by CLOUDFLARE_ACCOUNT_ID: {}", list(accounts)),
    }
}

fn list(accounts: &[Account]) -> String {
    let accounts: Vec<String> = accounts.iter().map(|Account { name, id }| format!("{name} ({id})")).collect();
    accounts.join(", ")
}

/// Asks who is signed in.
pub(super) fn whoami(workspace: &Workspace) -> Result<Account> {
    // It fails where nobody is signed in, and then, too, its output says so.
    let said = Call::whoami().command(workspace).stdin(Stdio::null()).output().context("cannot start wrangler")?;
    account(&String::from_utf8_lossy(&said.stdout), std::env::var("CLOUDFLARE_ACCOUNT_ID").ok().as_deref())
}

/// The names of the worker's secrets; none where there is no worker yet.
pub(super) fn secret_names(answer: Result<String>) -> Result<Option<Vec<String>>> {
    #[derive(Deserialize)]
    struct Secret {
        name: String,
    }
    match answer {
        Ok(text) => {
            let secrets: Vec<Secret> =
                serde_json::from_str(&text).context("wrangler's list of secrets is unreadable")?;
            Ok(Some(secrets.into_iter().map(|secret| secret.name).collect()))
        }
        Err(error) if is_no_worker(&error.to_string()) => Ok(None),
        Err(error) => Err(error.context("cannot tell which secrets the worker has")),
    }
}

fn is_no_worker(error: &str) -> bool {
    error.lines().any(|line| line.contains("Worker \"") && line.trim_end().ends_with("not found."))
}

/// The origins of a deployment, from the file that `WRANGLER_OUTPUT_FILE_PATH` names: one JSON object to a line.
pub(super) fn origins(report: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct Entry {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        targets: Vec<String>,
    }
    let entries = report.lines().filter_map(|line| serde_json::from_str::<Entry>(line).ok());
    let targets = entries.filter(|entry| entry.kind == "deploy").flat_map(|entry| entry.targets);
    // A domain comes as `name (custom domain)`.
    let hosts = targets.filter_map(|target| target.split_whitespace().next().map(str::to_owned));
    hosts.map(|host| if host.contains("://") { host } else { format!("https://{host}") }).collect()
}

#[cfg(test)]
mod tests;
