//! What a deployment would upload, looked at before it leaves the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::secrets::{BOOTSTRAP_TOKEN, MASTER_KEY};
use super::wrangler::{Call, ENVIRONMENT, FIRST_ENVIRONMENT};
use crate::build::{self, Script, Staged};
use crate::shell;
use crate::size::Limits;
use crate::workspace::Workspace;

/// Variables that are secrets, or for one machine only: an upload names none of them.
const NEVER_UPLOADED: [&str; 7] = [
    MASTER_KEY,
    BOOTSTRAP_TOKEN,
    "PROXY_SECRET",
    "TLS_ANCHORS",
    "EST_CREDENTIALS",
    "DIRECTOR_KEY",
    "DIRECTOR_ROOT_KEY",
];
/// What the web app cannot do without.
const ASSETS: [&str; 4] = ["_headers", "index.html", "verify.html", "manifest.webmanifest"];
/// The largest asset that the platform takes, in bytes.
const MAX_ASSET_BYTES: u64 = 25 * 1024 * 1024;

/// The part of a script's configuration that a check compares, as wrangler itself understands it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Configuration {
    name: String,
    #[serde(default)]
    vars: std::collections::BTreeMap<String, String>,
    durable_objects: Objects,
    migrations: Vec<Migration>,
    #[serde(default)]
    r2_buckets: Vec<Bucket>,
    #[serde(default)]
    d1_databases: Vec<Database>,
}

/// A deployment finds it by its name, or makes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Database {
    binding: String,
    database_name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Bucket {
    binding: String,
    bucket_name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Objects {
    bindings: Vec<Object>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Object {
    name: String,
    class_name: String,
    /// The worker that it belongs to, where it is another.
    script_name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Migration {
    tag: String,
    #[serde(default)]
    new_sqlite_classes: Vec<String>,
}

/// Puts the uploads together without sending them, and checks them; needs neither account nor network. Returns what was found, one line
/// each.
pub(super) fn rehearse(workspace: &Workspace, staged: &Staged, limits: Limits) -> Result<Vec<String>> {
    let folder = workspace.target().join("deploy");
    drop(fs::remove_dir_all(&folder));
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let secrets = secrets_of_development(workspace)?;
    let configurations = Script::ALL.map(|script| configuration(workspace, script, Some(ENVIRONMENT)));
    let configurations = configurations.into_iter().collect::<Result<Vec<_>>>()?;
    let (mut findings, mut uploads) = (Vec::new(), Vec::new());
    for (script, production) in Script::ALL.into_iter().zip(&configurations) {
        let upload = folder.join(format!("{}.upload", script.folder()));
        Call::rehearse(script, staged, &folder.join(script.folder()), &upload).output(workspace)?;
        let local = configuration(workspace, script, None)?;
        let text = fs::read_to_string(staged.entry(script)).context("cannot read a worker's script")?;
        let upload = fs::read(&upload).context("cannot read the upload")?;
        findings.push(check_configuration(&local, production, &configurations, &text)?);
        let metadata = metadata(&upload)?;
        findings.push(check_bindings(production, &metadata)?);
        ensure!(production.name == script.worker(), "{} names another worker", script.configuration());
        if script == Script::ControlUnit {
            check_address(production, &metadata)?;
            findings.push(check_assets(&staged.dist)?);
        } else {
            check_beginning(production, &configuration(workspace, script, Some(FIRST_ENVIRONMENT))?)?;
        }
        uploads.push(upload);
    }
    findings.push(check_secrets(&secrets, &uploads, &staged.dist)?);
    findings.push(limits.check(staged)?);
    Ok(findings)
}

/// Reads a script's configuration as wrangler does.
fn configuration(workspace: &Workspace, script: Script, environment: Option<&str>) -> Result<Configuration> {
    const READ: &str = "const { unstable_readConfig } = require('wrangler'); const [config, env] = process.argv.slice(1); \
                        console.log(JSON.stringify(unstable_readConfig({ config, env }, { hideWarnings: true })))";
    let mut node = Command::new("node");
    node.current_dir(workspace.root()).args(["--eval", READ, "--", script.configuration()]).args(environment);
    let read = serde_json::from_str(&shell::output(&mut node)?);
    read.with_context(|| format!("{} has another form", script.configuration()))
}

/// The description that the upload carries: the first part of its form.
fn metadata(upload: &[u8]) -> Result<Value> {
    let begin = upload.iter().position(|&byte| byte == b'{').context("the upload has no description")?;
    let text = upload.get(begin..).unwrap_or_default();
    let first = serde_json::Deserializer::from_slice(text).into_iter().next();
    first.context("the upload has no description")?.context("the upload's description is unreadable")
}

fn check_configuration(
    local: &Configuration,
    production: &Configuration,
    all: &[Configuration],
    script: &str,
) -> Result<String> {
    ensure!(
        (&local.durable_objects, &local.migrations, &local.r2_buckets, &local.d1_databases)
            == (&production.durable_objects, &production.migrations, &production.r2_buckets, &production.d1_databases),
        "[env.{ENVIRONMENT}] has other Durable Objects, migrations, buckets or databases than development, where they are tested"
    );
    let exports = script.rfind("export").and_then(|begin| script.get(begin..)).unwrap_or_default();
    let mut own = Vec::new();
    for Object { class_name, script_name, .. } in &production.durable_objects.bindings {
        let owner = match script_name {
            Some(name) => {
                all.iter().find(|other| other.name == *name).with_context(|| format!("no worker is {name}"))?
            }
            None => production,
        };
        let made = owner.migrations.iter().any(|migration| migration.new_sqlite_classes.contains(class_name));
        ensure!(made, "no migration makes {class_name}");
        if script_name.is_none() {
            ensure!(exports.contains(class_name.as_str()), "the worker's script does not export {class_name}");
            own.push(class_name.as_str());
        }
    }
    let tags: Vec<&str> = production.migrations.iter().map(|migration| migration.tag.as_str()).collect();
    Ok(format!("Durable Objects of {}: {} (migrations: {})", production.name, own.join(", "), tags.join(", ")))
}

/// What a first deployment begins with is the same without what is not there yet.
fn check_beginning(production: &Configuration, first: &Configuration) -> Result<()> {
    let mut expected = production.clone();
    expected.durable_objects.bindings.retain(|object| object.script_name.is_none());
    ensure!(
        *first == expected,
        "[env.{FIRST_ENVIRONMENT}] has to be [env.{ENVIRONMENT}] without the objects of other workers"
    );
    Ok(())
}

fn check_bindings(production: &Configuration, metadata: &Value) -> Result<String> {
    let bindings = metadata.get("bindings").and_then(Value::as_array).context("the upload has no bindings")?;
    let text = |binding: &Value, field: &str| binding.get(field).and_then(Value::as_str).map(str::to_owned);
    for object in &production.durable_objects.bindings {
        let bound = bindings.iter().any(|binding| {
            text(binding, "name").as_deref() == Some(&object.name)
                && text(binding, "class_name").as_deref() == Some(&object.class_name)
                && text(binding, "script_name") == object.script_name
        });
        ensure!(bound, "the upload does not bind {}", object.name);
    }
    for bucket in &production.r2_buckets {
        let bound = bindings.iter().any(|binding| {
            text(binding, "name").as_deref() == Some(&bucket.binding)
                && text(binding, "bucket_name").as_deref() == Some(&bucket.bucket_name)
        });
        ensure!(bound, "the upload does not bind the bucket {}", bucket.binding);
    }
    for Database { binding: name, database_name } in &production.d1_databases {
        // Its id is looked up, and where there is none it is made, only by a deployment: a rehearsal leaves it as the worker has it.
        let is_bound = |binding: &Value| {
            text(binding, "name").as_ref() == Some(name) && text(binding, "type").as_deref() == Some("inherit")
        };
        ensure!(bindings.iter().any(is_bound), "the upload does not bind the database {database_name}");
    }
    let names: Vec<String> = bindings.iter().filter_map(|binding| text(binding, "name")).collect();
    for name in NEVER_UPLOADED {
        ensure!(
            !names.iter().any(|found| found == name),
            "the upload says {name}, which belongs to one deployment only"
        );
    }
    Ok(format!("Bindings of {}: {}", production.name, names.join(", ")))
}

/// The worker that has an address serves the web app, and is told addresses by the platform.
fn check_address(production: &Configuration, metadata: &Value) -> Result<()> {
    ensure!(
        production.vars.get("TRUST").is_some_and(|trust| trust == "cloudflare"),
        "[env.{ENVIRONMENT}.vars] has to say TRUST = \"cloudflare\": the edge tells addresses"
    );
    let bindings = metadata.get("bindings").and_then(Value::as_array).context("the upload has no bindings")?;
    let has_assets = bindings.iter().any(|binding| binding.get("type").and_then(Value::as_str) == Some("assets"));
    ensure!(has_assets, "the upload has no assets");
    Ok(())
}

fn check_assets(dist: &Path) -> Result<String> {
    let files = build::list(dist)?;
    for asset in ASSETS {
        ensure!(files.contains(Path::new(asset)), "the web app has no {asset}");
    }
    let headers = fs::read_to_string(dist.join("_headers")).context("cannot read _headers")?;
    ensure!(
        headers.contains("Content-Security-Policy: default-src 'none'"),
        "_headers sets no Content Security Policy"
    );
    for file in &files {
        let name = file.to_string_lossy();
        let hidden = file.components().any(|part| part.as_os_str().to_string_lossy().starts_with('.'));
        let source = [".map", ".rs", ".toml"].iter().any(|ending| name.ends_with(ending));
        ensure!(!hidden && !source, "{name} does not belong among the assets");
        let bytes = fs::metadata(dist.join(file)).with_context(|| format!("cannot read {name}"))?.len();
        ensure!(bytes <= MAX_ASSET_BYTES, "{name} is larger than the platform takes: {bytes} bytes");
    }
    Ok(format!("Assets: {} files, with a Content Security Policy", files.len()))
}

/// The values in `.dev.vars`, if this machine has any.
fn secrets_of_development(workspace: &Workspace) -> Result<Vec<String>> {
    match fs::read_to_string(workspace.root().join(".dev.vars")) {
        Ok(text) => {
            let values = text.lines().filter_map(|line| Some(line.split_once('=')?.1.trim_matches('"').to_owned()));
            Ok(values.filter(|value| value.len() >= 16).collect())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => bail!("cannot read .dev.vars: {error}"),
    }
}

fn check_secrets(secrets: &[String], uploads: &[Vec<u8>], dist: &Path) -> Result<String> {
    // Secrets are ASCII: reading bytes as text loses none.
    let holds = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        secrets.iter().any(|secret| text.contains(secret.as_str()))
    };
    ensure!(!uploads.iter().any(|upload| holds(upload)), "the upload holds a secret of .dev.vars");
    let files: Vec<PathBuf> = build::list(dist)?.into_iter().collect();
    for file in &files {
        let bytes = fs::read(dist.join(file)).with_context(|| format!("cannot read {}", file.display()))?;
        ensure!(!holds(&bytes), "{} holds a secret of .dev.vars", file.display());
    }
    Ok(format!("Secrets: none of the {} in .dev.vars is in the upload", secrets.len()))
}

#[cfg(test)]
mod tests;
