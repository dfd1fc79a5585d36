//! `cargo xtask size`: what a phone loads, and what the platform stores of the worker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use crate::build::{self, Part, Staged, Variant};
use crate::shell;
use crate::workspace::Workspace;

/// How a file is compressed on its way: Node's zlib, at the highest level.
#[derive(Debug, Clone, Copy)]
enum Encoding {
    Brotli,
    Gzip,
}

/// What was measured, in bytes.
#[derive(Debug)]
pub(crate) struct Figures {
    /// What the phone's page loads, each file after compression with brotli.
    phone: Vec<(PathBuf, u64)>,
    /// What the control unit's page loads, with brotli.
    control_unit: u64,
    /// The worker's script and module, with gzip.
    worker: u64,
}

impl Figures {
    /// Measures a build.
    pub(crate) fn of(staged: &Staged) -> Result<Self> {
        let phone = loaded_by(&staged.dist, "verify.html")?;
        let desktop = loaded_by(&staged.dist, "index.html")?;
        let worker = [staged.build.join("index.js"), staged.build.join("index_bg.wasm")];
        let phone_bytes = measure(&phone, Encoding::Brotli)?;
        let name = |file: PathBuf| file.strip_prefix(&staged.dist).map(Path::to_path_buf).unwrap_or(file);
        Ok(Self {
            phone: phone.into_iter().map(name).zip(phone_bytes).collect(),
            control_unit: measure(&desktop, Encoding::Brotli)?.iter().sum(),
            worker: measure(&worker, Encoding::Gzip)?.iter().sum(),
        })
    }

    fn phone_bytes(&self) -> u64 {
        self.phone.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// How large a build may be, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    phone: u64,
    worker: u64,
}

impl Limits {
    /// What production keeps to: quick on a phone, and far from what the platform takes.
    pub(crate) const RELEASE: Self = Self { phone: 200_000, worker: 1_000_000 };
    /// What the platform takes at all: 10 MB of worker, compressed.
    pub(crate) const PLATFORM: Self = Self { phone: u64::MAX, worker: 10 * 1024 * 1024 };

    /// Fails when a build is too large, and says how large it is otherwise.
    pub(crate) fn check(self, figures: &Figures) -> Result<String> {
        let (phone, worker) = (figures.phone_bytes(), figures.worker);
        ensure!(phone <= self.phone, "the phone loads {phone} bytes; at most {} are allowed", self.phone);
        ensure!(worker <= self.worker, "the worker has {worker} bytes; at most {} are allowed", self.worker);
        Ok(format!("Sizes: the phone loads {phone} bytes (brotli), the worker has {worker} bytes (gzip)"))
    }
}

/// Builds the release, measures it, and prints a table or one flat JSON object.
pub(crate) fn run(workspace: &Workspace, json: bool) -> Result<()> {
    let staged = build::stage(workspace, Variant::Release, &[Part::App, Part::Worker])?;
    let measured = Figures::of(&staged)?;
    let figures = [
        ("size.phone_bytes", measured.phone_bytes()),
        ("size.control_unit_bytes", measured.control_unit),
        ("size.worker_bytes", measured.worker),
    ];
    if json {
        let object: Map<String, Value> =
            figures.into_iter().map(|(name, bytes)| (name.to_owned(), Value::from(bytes))).collect();
        println!("{}", Value::Object(object));
        return Ok(());
    }
    println!("The phone loads (brotli):");
    for (file, bytes) in &measured.phone {
        println!("{bytes:>10}  /{}", file.display());
    }
    for (name, bytes) in figures {
        println!("{bytes:>10}  {name}");
    }
    Ok(())
}

/// A page and every file that it names, and that these name: all that a browser loads to show it.
fn loaded_by(dist: &Path, page: &str) -> Result<Vec<PathBuf>> {
    let files = build::list(dist)?;
    let mut loaded = vec![dist.join(page)];
    let mut next = 0;
    while let Some(file) = loaded.get(next).cloned() {
        next += 1;
        if file.extension().is_some_and(|extension| extension == "wasm") {
            continue;
        }
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let text = String::from_utf8_lossy(&text);
        for name in &files {
            let path = dist.join(name);
            let is_page = name.extension().is_some_and(|extension| extension == "html");
            if !is_page && !loaded.contains(&path) && text.contains(&format!("/{}", name.display())) {
                loaded.push(path);
            }
        }
    }
    ensure!(loaded.len() > 2, "{page} loads no script and no module");
    Ok(loaded)
}

/// The size of each file after compression.
fn measure(files: &[PathBuf], encoding: Encoding) -> Result<Vec<u64>> {
    let compress = match encoding {
        Encoding::Brotli => "zlib.brotliCompressSync(bytes)",
        Encoding::Gzip => "zlib.gzipSync(bytes, { level: 9 })",
    };
    let script = format!(
        "for (const file of process.argv.slice(1)) {{ const bytes = fs.readFileSync(file); console.log({compress}.length); }}"
    );
    let sizes = shell::output(Command::new("node").args(["--eval", &script, "--"]).args(files))?;
    sizes.lines().map(|line| line.parse().context("node printed no size")).collect()
}
