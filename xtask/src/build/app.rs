//! The web app: one module, one script and one page for each entry.
//!
//! A page names its script and module as `/app/<entry>.js` and `/app/<entry>.wasm`. Both are written under the hash of
//! their content, and the names in the page are replaced, so that browsers may keep them for ever. Nothing is inline: the
//! policy of the pages allows scripts from files only.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::{Optimize, Variant, bindgen, compile, files, once, optimize};
use crate::workspace::Workspace;
use crate::{shell, tools};

/// Each entry (a binary of the app) and its page.
const ENTRIES: [(&str, &str); 2] = [("control-unit", "index.html"), ("verify", "verify.html")];

/// Compiles the entries and assembles the static assets.
pub(super) fn build(workspace: &Workspace, variant: Variant, stage: &Path, dist: &Path) -> Result<()> {
    let profile = match variant {
        Variant::Fast => "fast",
        Variant::Release => "web",
    };
    let modules = compile(workspace, "wardlink-app", variant, profile)?;
    files::recreate(dist)?;
    files::mirror(&workspace.root().join("public"), dist)?;
    for (entry, page) in ENTRIES {
        let folder = stage.join(entry);
        let wasm = modules.join(entry).with_extension("wasm");
        once(&folder, &wasm, variant.name(), || process(workspace, variant, entry, &wasm, &folder))?;
        files::add(&folder.join("app"), &dist.join("app"))?;
        link(&dist.join(page), entry, &folder.join("app"))?;
    }
    Ok(())
}

/// Turns one module into `app/<entry>-<hash>.wasm` and `app/<entry>-<hash>.js`.
fn process(workspace: &Workspace, variant: Variant, entry: &str, wasm: &Path, folder: &Path) -> Result<()> {
    bindgen::for_page(wasm, folder, entry, variant)?;
    let module = folder.join(format!("{entry}_bg.wasm"));
    if variant == Variant::Release {
        optimize(workspace, &module, Optimize::Size)?;
    }
    let app = folder.join("app");
    let module = publish(&module, &app, entry)?;

    let loader = folder.join("loader.js");
    let source = format!(
        "import init from \"./{entry}.js\";\nawait init({{ module_or_path: \"/app/{}\" }});\n",
        files::name(&module)?
    );
    fs::write(&loader, source).context("cannot write the loader")?;
    let bundle = folder.join("bundle.js");
    let mut esbuild = tools::node_program(workspace, "esbuild");
    esbuild.arg(&loader).arg(format!("--outfile={}", bundle.display()));
    esbuild.args(["--bundle", "--minify", "--format=esm", "--target=es2022", "--log-level=warning"]);
    shell::run(&mut esbuild)?;
    publish(&bundle, &app, entry)?;
    Ok(())
}

/// Copies a file to `<folder>/<entry>-<hash>.<extension>`.
fn publish(file: &Path, folder: &Path, entry: &str) -> Result<PathBuf> {
    let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let hash = data_encoding::HEXLOWER.encode(Sha256::digest(&content).get(..8).unwrap_or_default());
    let path = folder.join(format!("{entry}-{hash}")).with_extension(file.extension().unwrap_or_default());
    files::write(&path, &content)?;
    Ok(path)
}

/// Replaces the plain names in a page by those with a hash.
fn link(page: &Path, entry: &str, published: &Path) -> Result<()> {
    let mut html = fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    ensure!(html.contains(&format!("\"/app/{entry}.js\"")), "{} does not load /app/{entry}.js", page.display());
    for file in files::list(published)? {
        let extension = file.extension().unwrap_or_default().to_string_lossy().into_owned();
        html = html.replace(&format!("\"/app/{entry}.{extension}\""), &format!("\"/app/{}\"", file.display()));
    }
    fs::write(page, html).with_context(|| format!("cannot write {}", page.display()))
}
