//! What must have been built or installed before: found, or missed with the words that help.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// The checkout.
pub fn root() -> Result<PathBuf> {
    if let Some(root) = env::var_os("WARDLINK_CHECKOUT") {
        return Ok(PathBuf::from(root));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests lie in the checkout")?;
    Ok(root.to_owned())
}

/// The command `wardlink`.
pub fn agent() -> Result<PathBuf> {
    let agent = match env::var_os("WARDLINK_BIN") {
        Some(path) => PathBuf::from(path),
        None => env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| Ok(root()?.join("target")), |target| anyhow::Ok(root()?.join(target)))?
            .join("debug/wardlink"),
    };
    built(agent)
}

/// The command `cargo xtask` itself.
pub fn xtask() -> Result<PathBuf> {
    match env::var_os("WARDLINK_XTASK") {
        Some(path) => built(PathBuf::from(path)),
        None => Ok(agent()?.with_file_name("xtask")).and_then(built),
    }
}

/// A file or folder of the checkout that the build makes.
pub fn in_checkout(path: &str) -> Result<PathBuf> {
    built(root()?.join(path))
}

/// Chromium.
pub fn chromium() -> Result<PathBuf> {
    installed("CHROMIUM", &["chromium", "chromium-browser", "google-chrome"])
}

/// The WebDriver server of Chromium.
pub fn chromedriver() -> Result<PathBuf> {
    installed("CHROMEDRIVER", &["chromedriver"])
}

/// nginx. It is a server's program: Debian's `PATH` of people who are not root does not name its folder.
pub fn nginx() -> Result<PathBuf> {
    installed("NGINX", &["nginx", "/usr/sbin/nginx"])
}

fn built(path: PathBuf) -> Result<PathBuf> {
    ensure!(path.exists(), "{} is missing: run `cargo xtask test`, which builds what the tests run", path.display());
    Ok(path)
}

fn installed(variable: &str, names: &[&str]) -> Result<PathBuf> {
    if let Some(path) = env::var_os(variable).map(PathBuf::from) {
        ensure!(path.exists(), "{variable} names {}, which does not exist", path.display());
        return Ok(path);
    }
    let folders: Vec<PathBuf> = env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    let mut candidates = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    candidates.find(|path| path.is_file()).with_context(|| {
        format!("{} is not installed: run `cargo xtask test`, which says how, or set {variable}", names.join(" or "))
    })
}
