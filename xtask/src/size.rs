//! `cargo xtask size`: what a phone loads, and what the platform stores of the worker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use crate::build::{self, Part, Variant};
use crate::shell;
use crate::workspace::Workspace;

/// How a file is compressed on its way: Node's zlib, at the highest level.
#[derive(Debug, Clone, Copy)]
enum Encoding {
    Brotli,
    Gzip,
}

/// Builds the release, measures it, and prints a table or one flat JSON object.
pub(crate) fn run(workspace: &Workspace, json: bool) -> Result<()> {
    let staged = build::stage(workspace, Variant::Release, &[Part::App, Part::Worker])?;
    let phone = loaded_by(&staged.dist, "verify.html")?;
    let desktop = loaded_by(&staged.dist, "index.html")?;
    let worker = [staged.build.join("index.js"), staged.build.join("index_bg.wasm")];

    let phone_bytes = measure(&phone, Encoding::Brotli)?;
    let figures = [
        ("size.phone_bytes", phone_bytes.iter().sum()),
        ("size.control_unit_bytes", measure(&desktop, Encoding::Brotli)?.iter().sum()),
        ("size.worker_bytes", measure(&worker, Encoding::Gzip)?.iter().sum::<u64>()),
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
