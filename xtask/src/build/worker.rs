//! The workers: `build/<script>/index.js` and `build/<script>/index_bg.wasm`, as workers-rs wants them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Optimize, Script, Variant, bindgen, compile, files, once, optimize};
use crate::workspace::Workspace;
use crate::{shell, tools};

/// Wraps the generated script: entry points, and classes that are built anew after a trap.
const SHIM: &str = include_str!("worker_shim.js");
const MODULE: &str = "index_bg.wasm";

/// Compiles the workers and bundles their scripts.
pub(super) fn build(workspace: &Workspace, variant: Variant, stage: &Path, build: &Path) -> Result<()> {
    let bundled = stage.join("workers");
    for script in Script::ALL {
        let name = script.folder();
        let modules = compile(workspace, &format!("wardlink-{name}"), variant, variant.edge_profile())?;
        let folder = stage.join(name);
        let wasm = modules.join(format!("wardlink_{name}.wasm"));
        let recipe = format!("{}\n{SHIM}", variant.name());
        once(&folder, &wasm, &recipe, || process(workspace, variant, &wasm, &folder))?;
        files::mirror(&folder.join("out"), &bundled.join(name))?;
    }
    files::mirror(&bundled, build)
}

fn process(workspace: &Workspace, variant: Variant, wasm: &Path, folder: &Path) -> Result<()> {
    bindgen::for_worker(wasm, folder, "index", variant)?;
    let module = folder.join(MODULE);
    if variant == Variant::Release {
        optimize(workspace, &module, Optimize::Balance)?;
    }

    let script = folder.join("index.js");
    // wrangler gives the compiled module for a plain import; it does not know source-phase imports yet.
    let generated = fs::read_to_string(&script).context("cannot read the generated script")?;
    let generated = generated.replace("import source ", "import ");
    fs::write(&script, &generated).context("cannot write the generated script")?;
    let shim = folder.join("shim.js");
    fs::write(&shim, with_classes(SHIM, &generated)).context("cannot write the shim")?;

    let out = folder.join("out");
    let mut esbuild = tools::node_program(workspace, "esbuild");
    esbuild.arg(&shim).arg(format!("--outfile={}", out.join("index.js").display()));
    esbuild.args(["--bundle", "--format=esm", "--target=es2022", "--log-level=warning"]);
    esbuild.args([&format!("--external:./{MODULE}"), "--external:cloudflare:*", "--external:node:*"]);
    if variant == Variant::Release {
        esbuild.arg("--minify");
    }
    shell::run(&mut esbuild)?;
    let module = fs::read(&module).context("cannot read the worker's module")?;
    files::write(&out.join(MODULE), &module)
}

/// Exports each class of the generated script (the Durable Objects) through the shim's hooks.
fn with_classes(shim: &str, generated: &str) -> String {
    let mut text = shim.to_owned();
    let classes = generated.lines().filter_map(|line| line.strip_prefix("export class "));
    for class in classes.filter_map(|rest| rest.split([' ', '{']).next()) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "export const {class} = new Proxy(exports.{class}, classProxyHooks);");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::with_classes;

    #[test]
    fn classes_of_the_script_are_exported_through_the_hooks() {
        let script = "class Internal {}\nexport class SiteObject {\n}\nexport function fetch() {}\n";
        let shim = with_classes("// shim\n", script);
        assert_eq!(shim, "// shim\nexport const SiteObject = new Proxy(exports.SiteObject, classProxyHooks);\n");
    }
}
