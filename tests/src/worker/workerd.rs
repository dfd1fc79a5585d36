//! The configuration of `workerd` alone: all workers that wrangler's files describe, with their objects, files (R2) and databases (D1), and
//! without the pages.
//!
//! Files and databases are Miniflare's, as under `xtask/host.mjs`, and lie where they lie there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{CONFIGURATIONS, OBJECTS, STORAGE};
use crate::artifacts;

/// Where Miniflare keeps the workers that stand for the platform's services.
const SERVICES: &str = "node_modules/miniflare/dist/src/workers";

/// A worker, as wrangler's file describes it.
#[derive(Deserialize)]
struct Script {
    name: String,
    main: String,
    compatibility_date: String,
    compatibility_flags: Vec<String>,
    #[serde(default)]
    vars: BTreeMap<String, String>,
    durable_objects: Objects,
    #[serde(default)]
    r2_buckets: Vec<Bucket>,
    #[serde(default)]
    d1_databases: Vec<Database>,
}

#[derive(Deserialize)]
struct Objects {
    bindings: Vec<Object>,
}

/// Objects of a class of this worker or of another one.
#[derive(Deserialize)]
struct Object {
    name: String,
    class_name: String,
    script_name: Option<String>,
}

#[derive(Deserialize)]
struct Bucket {
    binding: String,
    bucket_name: String,
}

#[derive(Deserialize)]
struct Database {
    binding: String,
}

/// A service of the platform that keeps something: one object for each thing that is kept, in a folder of its own.
struct Store {
    /// Its folder in the storage, and what its services are called.
    folder: &'static str,
    /// The script of its objects in [`SERVICES`].
    script: &'static str,
    class: &'static str,
}

const FILES: Store = Store { folder: "r2", script: "r2/bucket.worker.js", class: "R2BucketObject" };
const DATABASES: Store = Store { folder: "d1", script: "d1/database.worker.js", class: "D1DatabaseObject" };

/// Writes the configuration and makes the folders that it names; the arguments of `workerd`.
pub(super) fn prepare(folder: &Path, port: u16, variables: &[(String, String)]) -> Result<Vec<PathBuf>> {
    for kept in [OBJECTS.to_owned(), FILES.path(), DATABASES.path()] {
        fs::create_dir_all(folder.join(kept)).context("cannot make the storage's folders")?;
    }
    let scripts = CONFIGURATIONS.map(|file| {
        let text = fs::read_to_string(folder.join(file)).with_context(|| format!("cannot read {file}"))?;
        toml::from_str(&text).with_context(|| format!("cannot understand {file}"))
    });
    let scripts = scripts.into_iter().collect::<Result<Vec<_>>>()?;
    fs::write(folder.join("workerd.capnp"), configuration(&scripts, port, variables)?)
        .context("cannot write a file")?;
    let mut import = PathBuf::from("--import-path=").into_os_string();
    import.push(artifacts::in_checkout(SERVICES)?);
    Ok(["serve".into(), "--experimental".into(), import.into(), "workerd.capnp".into()].into())
}

fn configuration(scripts: &[Script], port: u16, variables: &[(String, String)]) -> Result<String> {
    let first = &scripts.first().context("there is a worker")?.name;
    let mut services: Vec<String> = Vec::new();
    for script in scripts {
        services.push(format!("(name = \"{}\", worker = {})", script.name, script.worker(variables)?));
    }
    let buckets = scripts.iter().flat_map(|script| &script.r2_buckets).map(|bucket| bucket.bucket_name.as_str());
    let databases = scripts.iter().flat_map(|script| &script.d1_databases).map(|database| database.binding.as_str());
    services.extend(FILES.services(buckets));
    services.extend(DATABASES.services(databases));
    Ok(format!(
        r#"using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    {},
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true))),
    (name = "objects", disk = (path = "{OBJECTS}", writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:{port}", http = (), service = "{first}")],
  extensions = [(modules = [
    (name = "miniflare:shared", esModule = embed "/shared/index.worker.js"),
    (name = "miniflare:zod", esModule = embed "/shared/zod.worker.js"),
  ])],
);
"#,
        services.join(",\n    ")
    ))
}

impl Script {
    fn worker(&self, variables: &[(String, String)]) -> Result<String> {
        let Self { name, main, compatibility_date, compatibility_flags, .. } = self;
        let folder = Path::new(main).parent().and_then(Path::to_str).context("the script lies in a folder")?;
        let mut bindings = String::new();
        let mut own = String::new();
        for Object { name: binding, class_name, script_name } in &self.durable_objects.bindings {
            let service = script_name.as_ref().unwrap_or(name);
            write!(
                bindings,
                "(name = \"{binding}\", durableObjectNamespace = (className = \"{class_name}\", serviceName = \"{service}\")), "
            )?;
            if script_name.is_none() {
                write!(own, "(className = \"{class_name}\", uniqueKey = \"{name}-{class_name}\", enableSql = true), ")?;
            }
        }
        for Bucket { binding, bucket_name } in &self.r2_buckets {
            write!(bindings, "(name = \"{binding}\", r2Bucket = \"{}\"), ", FILES.service(bucket_name))?;
        }
        for Database { binding } in &self.d1_databases {
            let fetcher = format!("(name = \"fetcher\", service = \"{}\")", DATABASES.service(binding));
            let module = "cloudflare-internal:d1-api";
            write!(
                bindings,
                "(name = \"{binding}\", wrapped = (moduleName = \"{module}\", innerBindings = [{fetcher}])), "
            )?;
        }
        // What is given takes the place of what stands in the file.
        let mut texts = self.vars.clone();
        texts.extend(variables.iter().cloned());
        for (name, value) in texts {
            write!(bindings, "(name = \"{name}\", text = {value:?}), ")?;
        }
        Ok(format!(
            r#"(
      modules = [(name = "index.js", esModule = embed "{main}"), (name = "index_bg.wasm", wasm = embed "{folder}/index_bg.wasm")],
      compatibilityDate = "{compatibility_date}",
      compatibilityFlags = {compatibility_flags:?},
      bindings = [{bindings}],
      durableObjectNamespaces = [{own}],
      durableObjectStorage = (localDisk = "objects"),
    )"#
        ))
    }
}

impl Store {
    fn path(&self) -> String {
        format!("{STORAGE}/{}", self.folder)
    }

    /// The service for one thing that is kept.
    fn service(&self, kept: &str) -> String {
        format!("{}:{kept}", self.folder)
    }

    /// What is asked for each thing, their objects, and the folder.
    fn services<'a>(&self, kept: impl Iterator<Item = &'a str>) -> Vec<String> {
        let Self { folder, script, class } = self;
        // What several workers use is one thing.
        let kept: BTreeSet<&str> = kept.collect();
        let asked = kept.into_iter().map(|kept| {
            format!(
                r#"(name = "{}", worker = (
      modules = [(name = "entry.js", esModule = embed "/shared/object-entry.worker.js")],
      compatibilityDate = "2023-07-24",
      bindings = [
        (name = "MINIFLARE_NAMESPACE", text = "{kept}"),
        (name = "MINIFLARE_OBJECT", durableObjectNamespace = (className = "{class}", serviceName = "{folder}")),
      ],
    ))"#,
                self.service(kept)
            )
        });
        let mut services: Vec<String> = asked.collect();
        services.push(format!(
            r#"(name = "{folder}", worker = (
      modules = [(name = "object.js", esModule = embed "/{script}")],
      compatibilityDate = "2023-07-24",
      compatibilityFlags = ["nodejs_compat", "experimental"],
      bindings = [(name = "MINIFLARE_BLOBS", service = "{folder}:folder")],
      durableObjectNamespaces = [(className = "{class}", uniqueKey = "miniflare-{class}")],
      durableObjectStorage = (localDisk = "{folder}:folder"),
    ))"#
        ));
        services.push(format!(r#"(name = "{folder}:folder", disk = (path = "{}", writable = true))"#, self.path()));
        services
    }
}
