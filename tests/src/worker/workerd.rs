//! The configuration of `workerd` alone: both workers, with their objects, files (R2) and database (D1), and without the pages.
//!
//! It says what `wrangler.toml` and `wrangler.distribution.toml` say. Files and database are Miniflare's, as under `xtask/host.mjs`, and lie
//! where they lie there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{OBJECTS, STORAGE};
use crate::artifacts;

/// Where Miniflare keeps the workers that stand for the platform's services.
const SERVICES: &str = "node_modules/miniflare/dist/src/workers";

/// A worker with the classes of its objects: name and class.
struct Script {
    /// Its service, and its folder in `build`.
    name: &'static str,
    /// What wrangler calls it: the folders of its objects begin with that.
    worker: &'static str,
    objects: &'static [(&'static str, &'static str)],
    /// The objects of the other one that it may ask.
    asks: &'static [&'static str],
    /// Its other bindings.
    more: &'static [&'static str],
}

const FILES: &str = r#"(name = "FILES", r2Bucket = "files"), "#;
const CATALOG: &str = r#"(name = "CATALOG", wrapped = (moduleName = "cloudflare-internal:d1-api", innerBindings = [(name = "fetcher", service = "catalog")])), "#;

const SCRIPTS: [Script; 2] = [
    Script {
        name: "worker",
        worker: "wardlink",
        objects: &[
            ("SITE", "SiteObject"),
            ("DESK", "DeskObject"),
            ("BRIDGE", "BridgeObject"),
            ("ACCOUNTS", "AccountsObject"),
        ],
        asks: &["DISTRIBUTION", "GATEWAY", "RECORDS"],
        more: &[FILES],
    },
    Script {
        name: "distribution",
        worker: "wardlink-distribution",
        objects: &[("DISTRIBUTION", "DistributionObject"), ("GATEWAY", "GatewayObject"), ("RECORDS", "RecordsObject")],
        asks: &["DESK"],
        more: &[FILES, CATALOG],
    },
];

/// A service of the platform that keeps something: one object with a folder of its own.
struct Store {
    /// Its service.
    name: &'static str,
    /// What is kept there, by the name in the configuration of wrangler.
    kept: &'static str,
    /// The script of its object in [`SERVICES`].
    script: &'static str,
    class: &'static str,
    /// Its folder in the storage.
    folder: &'static str,
}

const STORES: [Store; 2] = [
    Store {
        name: "files",
        kept: "wardlink-files",
        script: "r2/bucket.worker.js",
        class: "R2BucketObject",
        folder: "r2",
    },
    Store {
        name: "catalog",
        kept: "CATALOG",
        script: "d1/database.worker.js",
        class: "D1DatabaseObject",
        folder: "d1",
    },
];

/// Writes the configuration and makes the folders that it names; the arguments of `workerd`.
pub(super) fn prepare(folder: &Path, port: u16, variables: &[(String, String)]) -> Result<Vec<PathBuf>> {
    for kept in [OBJECTS.to_owned()].into_iter().chain(STORES.map(|store| store.path())) {
        fs::create_dir_all(folder.join(kept)).context("cannot make the storage's folders")?;
    }
    fs::write(folder.join("workerd.capnp"), configuration(port, variables)).context("cannot write a file")?;
    let mut import = PathBuf::from("--import-path=").into_os_string();
    import.push(artifacts::in_checkout(SERVICES)?);
    Ok(["serve".into(), "--experimental".into(), import.into(), "workerd.capnp".into()].into())
}

fn configuration(port: u16, variables: &[(String, String)]) -> String {
    let scripts = SCRIPTS.map(|Script { name, .. }| format!("(name = \"{name}\", worker = .{name}), ")).concat();
    let stores = STORES.map(|store| store.services()).concat();
    let texts: Vec<_> =
        variables.iter().map(|(name, value)| format!("(name = \"{name}\", text = {value:?}), ")).collect();
    let texts = texts.concat();
    let workers = SCRIPTS.map(|script| script.configuration(&texts)).concat();
    let objects = STORES.map(|store| store.configuration()).concat();
    format!(
        r#"using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    {scripts}{stores}
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true))),
    (name = "storage", disk = (path = "{OBJECTS}", writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:{port}", http = (), service = "worker")],
  extensions = [(modules = [
    (name = "miniflare:shared", esModule = embed "/shared/index.worker.js"),
    (name = "miniflare:zod", esModule = embed "/shared/zod.worker.js"),
  ])],
);
{workers}{objects}"#
    )
}

impl Script {
    fn configuration(&self, texts: &str) -> String {
        let Self { name, worker, objects, asks, more } = self;
        let bindings: Vec<_> = SCRIPTS
            .iter()
            .flat_map(|script| script.objects.iter().map(|(object, class)| (object, class, script.name)))
            .filter(|(object, _, service)| service == name || asks.contains(object))
            .map(|(object, class, service)| {
                format!(
                    "(name = \"{object}\", durableObjectNamespace = (className = \"{class}\", serviceName = \"{service}\")), "
                )
            })
            .collect();
        let namespaces: Vec<_> = objects
            .iter()
            .map(|(_, class)| {
                format!("(className = \"{class}\", uniqueKey = \"{worker}-{class}\", enableSql = true), ")
            })
            .collect();
        let (bindings, more, namespaces) = (bindings.concat(), more.concat(), namespaces.concat());
        format!(
            r#"const {name} :Workerd.Worker = (
  modules = [
    (name = "index.js", esModule = embed "build/{name}/index.js"),
    (name = "index_bg.wasm", wasm = embed "build/{name}/index_bg.wasm"),
  ],
  compatibilityDate = "2025-12-01",
  compatibilityFlags = ["nodejs_compat"],
  bindings = [{bindings}{more}{texts}],
  durableObjectNamespaces = [{namespaces}],
  durableObjectStorage = (localDisk = "storage"),
);
"#
        )
    }
}

impl Store {
    fn path(&self) -> String {
        format!("{STORAGE}/{}", self.folder)
    }

    /// What is asked, its object, and its folder.
    fn services(&self) -> String {
        let (name, path) = (self.name, self.path());
        format!(
            r#"(name = "{name}", worker = .{name}), (name = "{name}-object", worker = .{name}Object), (name = "{name}-folder", disk = (path = "{path}", writable = true)), "#
        )
    }

    fn configuration(&self) -> String {
        let Self { name, kept, script, class, .. } = self;
        format!(
            r#"const {name} :Workerd.Worker = (
  modules = [(name = "entry.js", esModule = embed "/shared/object-entry.worker.js")],
  compatibilityDate = "2023-07-24",
  bindings = [
    (name = "MINIFLARE_NAMESPACE", text = "{kept}"),
    (name = "MINIFLARE_OBJECT", durableObjectNamespace = (className = "{class}", serviceName = "{name}-object")),
  ],
);
const {name}Object :Workerd.Worker = (
  modules = [(name = "object.js", esModule = embed "/{script}")],
  compatibilityDate = "2023-07-24",
  compatibilityFlags = ["nodejs_compat", "experimental"],
  bindings = [(name = "MINIFLARE_BLOBS", service = "{name}-folder")],
  durableObjectNamespaces = [(className = "{class}", uniqueKey = "miniflare-{class}")],
  durableObjectStorage = (localDisk = "{name}-folder"),
);
"#
        )
    }
}
