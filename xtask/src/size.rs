//! `cargo xtask size`: what a phone loads, and what the platform stores of each worker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use crate::build::{self, Part, Script, Staged, Variant};
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
    /// Each script of the platform.
    script: u64,
}

impl Limits {
    /// What production keeps to: quick on a phone, and far from what the platform takes.
    pub(crate) const RELEASE: Self = Self { phone: Some(200_000), script: 1_000_000 };
    /// What the platform takes at all: 10 MB for a script, compressed.
    pub(crate) const PLATFORM: Self = Self { phone: None, script: 10 * 1024 * 1024 };

    /// Fails when a build is too large, and says how large it is otherwise.
    pub(crate) fn check(self, staged: &Staged) -> Result<String> {
        let [worker, distribution] = Script::ALL.map(|script| script_bytes(staged, script));
        let (worker, distribution) = (worker?, distribution?);
        let largest = worker.max(distribution);
        let workers = format!("the worker has {worker} bytes (gzip), the distribution server's {distribution}");
        ensure!(largest <= self.script, "{workers}; at most {} are allowed for each", self.script);
        let Some(limit) = self.phone else { return Ok(format!("Size: {workers}")) };
        let phone = page_bytes(staged, "verify.html")?;
        ensure!(phone <= limit, "the phone loads {phone} bytes (brotli); at most {limit} are allowed");
        Ok(format!("Sizes: {workers}; the phone loads {phone} bytes (brotli)"))
    }
}

/// Builds the release, measures it, and prints a table or one flat JSON object. Fails when it is too large.
pub(crate) fn run(workspace: &Workspace, json: bool) -> Result<()> {
    let staged = build::stage(workspace, Variant::Release, &[Part::App, Part::Worker])?;
    let phone = loaded_by(&staged.dist, "verify.html")?;
    let phone_bytes = measure(&phone, Encoding::Brotli)?;
    let figures = [
        ("size.phone_bytes", phone_bytes.iter().sum()),
        ("size.control_unit_bytes", page_bytes(&staged, "index.html")?),
        ("size.worker_bytes", script_bytes(&staged, Script::ControlUnit)?),
        ("size.distribution_bytes", script_bytes(&staged, Script::Distribution)?),
    ];
    if json {
        let object: Map<String, Value> =
            figures.into_iter().map(|(name, bytes)| (name.to_owned(), Value::from(bytes))).collect();
        println!("{}", Value::Object(object));
    } else {
        println!("The phone loads (brotli):");
        for (file, bytes) in phone.iter().zip(&phone_bytes) {
            println!("{bytes:>10}  /{}", file.strip_prefix(&staged.dist).unwrap_or(file).display());
        }
        for (name, bytes) in figures {
            println!("{bytes:>10}  {name}");
        }
    }
    Limits::RELEASE.check(&staged).map(drop)
}

/// All that a page loads, with brotli.
fn page_bytes(staged: &Staged, page: &str) -> Result<u64> {
    Ok(measure(&loaded_by(&staged.dist, page)?, Encoding::Brotli)?.iter().sum())
}

/// A worker's script and module, with gzip.
fn script_bytes(staged: &Staged, script: Script) -> Result<u64> {
    let entry = staged.entry(script);
    let files = [entry.with_file_name("index_bg.wasm"), entry];
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

    use super::{Limits, Script, Staged};

    #[test]
    fn a_build_that_is_too_large_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let staged = Staged { dist: folder.path().join("dist"), build: folder.path().join("build") };
        for (file, text) in [
            ("build/worker/index.js", "export {};"),
            ("build/worker/index_bg.wasm", "wasm"),
            ("build/distribution/index.js", "export {};"),
            ("build/distribution/index_bg.wasm", "more wasm than the other"),
            ("dist/verify.html", "/a.js /b.css"),
            ("dist/a.js", "x"),
            ("dist/b.css", "y"),
        ] {
            let file = folder.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        assert!(Limits { phone: Some(100), script: 100 }.check(&staged).is_ok());
        let refused = |phone, script| Limits { phone, script }.check(&staged).unwrap_err().to_string();
        assert!(refused(Some(100), 10).contains("the worker has"));
        let between = Limits { phone: None, script: super::script_bytes(&staged, Script::ControlUnit).unwrap() };
        assert!(between.check(&staged).unwrap_err().to_string().contains("the distribution server's"));
        assert!(refused(Some(10), 100).contains("the phone loads"));
    }
}
