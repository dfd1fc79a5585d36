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

/// How large a build may be, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// What the phone loads, if that counts.
    phone: Option<u64>,
    worker: u64,
}

impl Limits {
    /// What production keeps to: quick on a phone, and far from what the platform takes.
    pub(crate) const RELEASE: Self = Self { phone: Some(200_000), worker: 1_000_000 };
    /// What the platform takes at all: 10 MB of worker, compressed.
    pub(crate) const PLATFORM: Self = Self { phone: None, worker: 10 * 1024 * 1024 };

    /// Fails when a build is too large, and says how large it is otherwise.
    pub(crate) fn check(self, staged: &Staged) -> Result<String> {
        let worker = worker_bytes(staged)?;
        ensure!(worker <= self.worker, "the worker has {worker} bytes (gzip); at most {} are allowed", self.worker);
        let Some(limit) = self.phone else { return Ok(format!("Size: the worker has {worker} bytes (gzip)")) };
        let phone = page_bytes(staged, "verify.html")?;
        ensure!(phone <= limit, "the phone loads {phone} bytes (brotli); at most {limit} are allowed");
        Ok(format!("Sizes: the worker has {worker} bytes (gzip), the phone loads {phone} bytes (brotli)"))
    }
}

/// Builds the release, measures it, and prints a table or one flat JSON object.
pub(crate) fn run(workspace: &Workspace, json: bool) -> Result<()> {
    let staged = build::stage(workspace, Variant::Release, &[Part::App, Part::Worker])?;
    let phone = loaded_by(&staged.dist, "verify.html")?;
    let phone_bytes = measure(&phone, Encoding::Brotli)?;
    let figures = [
        ("size.phone_bytes", phone_bytes.iter().sum()),
        ("size.control_unit_bytes", page_bytes(&staged, "index.html")?),
        ("size.worker_bytes", worker_bytes(&staged)?),
    ];
    if json {
        let object: Map<String, Value> =
            figures.into_iter().map(|(name, bytes)| (name.to_owned(), Value::from(bytes))).collect();
        println!("{}", Value::Object(object));
        return Ok(());
    }
    println!("The phone loads (brotli):");
    for (file, bytes) in phone.iter().zip(&phone_bytes) {
        println!("{bytes:>10}  /{}", file.strip_prefix(&staged.dist).unwrap_or(file).display());
    }
    for (name, bytes) in figures {
        println!("{bytes:>10}  {name}");
    }
    Ok(())
}

/// All that a page loads, with brotli.
fn page_bytes(staged: &Staged, page: &str) -> Result<u64> {
    Ok(measure(&loaded_by(&staged.dist, page)?, Encoding::Brotli)?.iter().sum())
}

/// The worker's script and module, with gzip.
fn worker_bytes(staged: &Staged) -> Result<u64> {
    let files = ["index.js", "index_bg.wasm"].map(|name| staged.build.join(name));
    Ok(measure(&files, Encoding::Gzip)?.iter().sum())
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Limits, Staged};

    #[test]
    fn a_build_that_is_too_large_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let staged = Staged { dist: folder.path().join("dist"), build: folder.path().join("build") };
        for (file, text) in [
            ("build/index.js", "export {};"),
            ("build/index_bg.wasm", "wasm"),
            ("dist/verify.html", "/a.js /b.css"),
            ("dist/a.js", "x"),
            ("dist/b.css", "y"),
        ] {
            let file = folder.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        assert!(Limits { phone: Some(100), worker: 100 }.check(&staged).is_ok());
        let refused = |phone, worker| Limits { phone, worker }.check(&staged).unwrap_err().to_string();
        assert!(refused(Some(100), 10).contains("the worker has"));
        assert!(refused(Some(10), 100).contains("the phone loads"));
    }
}
