//! Proves that nothing under `shared/` knows the platform: neither by a crate that it depends on, nor by a symbol that its
//! WebAssembly would import.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use wasmparser::{Parser, Payload};

use super::WASM;
use crate::shell;
use crate::workspace::Workspace;

/// Crates that bring a clock, a network, a random source, threads, or a platform.
const FORBIDDEN: [&str; 12] = [
    "chrono",
    "getrandom",
    "js-sys",
    "leptos",
    "mio",
    "rand",
    "socket2",
    "time",
    "tokio",
    "wasm-bindgen",
    "web-sys",
    "worker",
];

/// Checks each crate of `shared/`.
pub(super) fn check(workspace: &Workspace) -> Result<()> {
    let graph = Graph::read(workspace)?;
    let shared = graph.shared(workspace);
    ensure!(!shared.is_empty(), "no crate under shared/");
    for package in shared {
        let (name, reached) = (&package.name, graph.reached(package));
        let forbidden: Vec<&str> = FORBIDDEN.into_iter().filter(|name| reached.contains(name)).collect();
        if !forbidden.is_empty() {
            bail!("{name} depends on {}", forbidden.join(", "));
        }
        require_no_symbols(workspace, name)?;
    }
    Ok(())
}

/// Links the whole crate as WebAssembly, unused code included: a symbol of the host would show as an import.
fn require_no_symbols(workspace: &Workspace, package: &str) -> Result<()> {
    let mut cargo = shell::cargo(workspace.root());
    cargo.args(["rustc", "--quiet", "--package", package, "--lib", "--crate-type", "cdylib"]);
    cargo.args(["--profile", "fast", "--target", WASM, "--target-dir"]).arg(workspace.wasm_target());
    shell::run(cargo.args(["--", "-Clink-dead-code", "-Clink-arg=--no-gc-sections"]))?;
    let file = package.replace('-', "_");
    let module = workspace.wasm_target().join(WASM).join("fast").join(file).with_extension("wasm");
    let bytes = fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
    for payload in Parser::new(0).parse_all(&bytes) {
        let Payload::ImportSection(imports) = payload.context("the linked module cannot be read")? else { continue };
        if let Some(import) = imports.into_imports().next() {
            let import = import.context("an import cannot be read")?;
            bail!("{package} needs {}.{} of its host", import.module, import.name);
        }
    }
    Ok(())
}

/// Who depends on whom, as `cargo metadata` resolved it for WebAssembly.
#[derive(Deserialize)]
struct Graph {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    /// `dev`, `build`, or nothing for what is needed at run time.
    kind: Option<String>,
}

impl Graph {
    fn read(workspace: &Workspace) -> Result<Self> {
        let mut cargo = shell::cargo(workspace.root());
        cargo.args(["metadata", "--format-version", "1", "--filter-platform", WASM]);
        serde_json::from_str(&shell::output(&mut cargo)?).context("cargo metadata cannot be read")
    }

    /// The crates under `shared/`.
    fn shared(&self, workspace: &Workspace) -> Vec<&Package> {
        let folder = workspace.root().join("shared");
        self.packages.iter().filter(|package| package.manifest_path.starts_with(&folder)).collect()
    }

    /// The names of all crates that a package needs at run time.
    fn reached(&self, package: &Package) -> BTreeSet<&str> {
        let mut seen = BTreeSet::from([package.id.as_str()]);
        let mut waiting = vec![package.id.as_str()];
        while let Some(id) = waiting.pop() {
            let edges = self.resolve.nodes.iter().filter(|node| node.id == id).flat_map(|node| &node.deps);
            for edge in edges.filter(|edge| edge.dep_kinds.iter().any(|kind| kind.kind.is_none())) {
                if seen.insert(&edge.pkg) {
                    waiting.push(&edge.pkg);
                }
            }
        }
        let reached = self.packages.iter().filter(|package| seen.contains(package.id.as_str()));
        reached.map(|package| package.name.as_str()).collect()
    }
}
