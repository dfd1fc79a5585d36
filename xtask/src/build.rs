//! Builds the web app and the worker: cargo, wasm-bindgen, wasm-opt and esbuild, in this order.
//!
//! Each WebAssembly module is processed in a stage folder under `target/`, and again only when its bytes changed. What
//! wrangler serves (`dist/`, `build/`) is then brought in line with the stage, file by file.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum as _;
use sha2::{Digest, Sha256};

use crate::progress::Step;
use crate::workspace::Workspace;
use crate::{shell, tools};

mod app;
mod bindgen;
mod files;
mod worker;

pub(crate) use files::list;

const WASM: &str = "wasm32-unknown-unknown";

/// How much work goes into the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    /// Quick to build: development and tests.
    Fast,
    /// What production runs.
    Release,
}

impl Variant {
    /// Reads the `--release` flag.
    pub(crate) fn from_flag(release: bool) -> Self {
        if release { Self::Release } else { Self::Fast }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Release => "release",
        }
    }

    /// The cargo profile of what runs on the platform.
    fn edge_profile(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Release => "edge",
        }
    }
}

/// What is built for the browser and the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// The web app.
    App,
    /// The workers: the control unit and the distribution server.
    Worker,
}

/// A worker of the platform: a script of its own, with its Durable Objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// The control unit, the MQTT bridge and the accounts: what has an address.
    ControlUnit,
    /// The distribution server.
    Distribution,
}

impl Script {
    /// All of them; the first is the one that has an address.
    pub(crate) const ALL: [Self; 2] = [Self::ControlUnit, Self::Distribution];

    /// The folder of its crate and of its build.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::ControlUnit => "worker",
            Self::Distribution => "distribution",
        }
    }

    /// Its worker's name at the platform.
    pub(crate) fn worker(self) -> &'static str {
        match self {
            Self::ControlUnit => "wardlink",
            Self::Distribution => "wardlink-distribution",
        }
    }

    /// Its configuration, in the root of the checkout.
    pub(crate) fn configuration(self) -> &'static str {
        match self {
            Self::ControlUnit => "wrangler.toml",
            Self::Distribution => "wrangler.distribution.toml",
        }
    }
}

/// Where a build lies before it is published: `dist` and `build` inside a folder of its own.
#[derive(Debug, Clone)]
pub(crate) struct Staged {
    /// The static assets.
    pub(crate) dist: PathBuf,
    /// The workers: a folder for each [`Script`], with its script and module.
    pub(crate) build: PathBuf,
}

impl Staged {
    /// The entry of a script.
    pub(crate) fn entry(&self, script: Script) -> PathBuf {
        self.build.join(script.folder()).join("index.js")
    }
}

/// Builds both parts and publishes them to `dist/` and `build/`.
pub(crate) fn run(workspace: &Workspace, variant: Variant) -> Result<()> {
    publish(workspace, variant, Part::value_variants())
}

/// Builds some parts and publishes them to `dist/` and `build/`.
pub(crate) fn publish(workspace: &Workspace, variant: Variant, parts: &[Part]) -> Result<()> {
    let staged = stage(workspace, variant, parts)?;
    for part in parts {
        match part {
            Part::App => files::mirror(&staged.dist, &workspace.dist())?,
            Part::Worker => files::mirror(&staged.build, &workspace.build())?,
        }
    }
    Ok(())
}

/// Builds some parts into the stage folder only.
pub(crate) fn stage(workspace: &Workspace, variant: Variant, parts: &[Part]) -> Result<Staged> {
    tools::require_wasm_target()?;
    tools::require_node_modules(workspace)?;
    let stage = workspace.wasm_target().join("stage").join(variant.name());
    fs::create_dir_all(&stage).with_context(|| format!("cannot create {}", stage.display()))?;
    let lock = File::create(stage.join(".lock")).context("cannot create the lock of the build")?;
    lock.lock().context("cannot lock the build")?;

    let staged = Staged { dist: stage.join("dist"), build: stage.join("build") };
    for part in parts {
        match part {
            Part::App => app::build(workspace, variant, &stage, &staged.dist)?,
            Part::Worker => worker::build(workspace, variant, &stage, &staged.build)?,
        }
    }
    Ok(staged)
}

/// Compiles what is measured in WebAssembly as the worker is, for Node, and returns its script.
pub(crate) fn measured(workspace: &Workspace) -> Result<PathBuf> {
    const NAME: &str = "wardlink_measure";
    tools::require_wasm_target()?;
    tools::require_node_modules(workspace)?;
    let variant = Variant::Release;
    let wasm =
        compile(workspace, "wardlink-measure", variant, variant.edge_profile())?.join(NAME).with_extension("wasm");
    let folder = workspace.wasm_target().join("stage").join("measure");
    once(&folder, &wasm, "node", || {
        bindgen::for_node(&wasm, &folder, NAME, variant)?;
        optimize(workspace, &folder.join(format!("{NAME}_bg.wasm")), Optimize::Balance)
    })?;
    Ok(folder.join(NAME).with_extension("js"))
}

/// Compiles the native command `wardlink` with the features that a selection of packages asks for, and returns where it is.
pub(crate) fn agent(workspace: &Workspace, selection: &[&str]) -> Result<PathBuf> {
    let step = Step::start("Compile wardlink-agent");
    shell::run(shell::cargo(workspace.root()).args(["build", "--bin", "wardlink"]).args(selection))?;
    step.done();
    Ok(workspace.target().join("debug").join("wardlink"))
}

/// The native command `wardlink` of the last build.
pub(crate) fn built_agent(workspace: &Workspace) -> Result<PathBuf> {
    let agent = workspace.target().join("debug").join("wardlink");
    ensure!(agent.exists(), "{} is missing: build it first", agent.display());
    Ok(agent)
}

/// Compiles a package for WebAssembly with a cargo profile and returns the folder of its modules.
fn compile(workspace: &Workspace, package: &str, variant: Variant, profile: &str) -> Result<PathBuf> {
    let step = Step::start(&format!("Compile {package} (profile {profile})"));
    let target = workspace.wasm_target();
    let mut cargo = shell::cargo(workspace.root());
    cargo.args(["build", "--package", package, "--target", WASM, "--profile", profile]);
    if variant == Variant::Release {
        cargo.env("CARGO_ENCODED_RUSTFLAGS", release_flags(workspace)?.join("\x1f"));
    }
    shell::run(cargo.arg("--target-dir").arg(&target))?;
    step.done();
    Ok(target.join(WASM).join(profile))
}

/// Flags of rustc that make a release smaller and the same on every machine.
fn release_flags(workspace: &Workspace) -> Result<Vec<String>> {
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let crates = cargo_home.context("neither CARGO_HOME nor a home directory is set")?.join("registry/src");
    Ok(vec![
        // Leptos then compiles one view type instead of one for each combination.
        "--cfg=erase_components".to_owned(),
        // Panics name their source file: without the folders of this machine.
        format!("--remap-path-prefix={}=", crates.display()),
        format!("--remap-path-prefix={}=", workspace.root().display()),
    ])
}

/// Processes one module in `folder` unless that was already done for the same bytes, and returns whether it was.
fn once(folder: &Path, wasm: &Path, recipe: &str, process: impl FnOnce() -> Result<()>) -> Result<()> {
    let bytes = fs::read(wasm).with_context(|| format!("cannot read {}", wasm.display()))?;
    let mut hasher = Sha256::new_with_prefix(env!("CARGO_PKG_VERSION"));
    hasher.update(recipe);
    hasher.update(&bytes);
    let key = data_encoding::HEXLOWER.encode(&hasher.finalize());
    let stamp = folder.join(".key");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == key) {
        return Ok(());
    }
    files::recreate(folder)?;
    process()?;
    fs::write(&stamp, key).with_context(|| format!("cannot write {}", stamp.display()))
}

/// The settings of wasm-opt.
#[derive(Debug, Clone, Copy)]
enum Optimize {
    /// As small as it gets.
    Size,
    /// Quick, and small once compressed: `-O3` makes more copies of functions, `-Os` and `-Oz` leave less that repeats.
    Balance,
}

/// Optimizes a module in place. The features are rustc's defaults and exceptions: engines refuse what `--all-features`
/// would write.
fn optimize(workspace: &Workspace, wasm: &Path, goal: Optimize) -> Result<()> {
    let level = match goal {
        Optimize::Size => "-Oz",
        Optimize::Balance => "-O2",
    };
    let step = Step::start(&format!("Optimize {} ({level})", files::name(wasm)?));
    let mut command = tools::node_program(workspace, "wasm-opt");
    command.arg(wasm).arg("-o").arg(wasm).args([level, "--mvp-features"]);
    for feature in [
        "bulk-memory",
        "exception-handling",
        "multivalue",
        "mutable-globals",
        "nontrapping-float-to-int",
        "reference-types",
        "sign-ext",
    ] {
        command.arg(format!("--enable-{feature}"));
    }
    shell::run(&mut command)?;
    step.done();
    Ok(())
}
