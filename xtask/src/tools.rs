//! The tools that the other commands need: found, checked, and installed by version where they are missing.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

use crate::progress::Step;
use crate::shell;
use crate::workspace::Workspace;

/// The oldest Node that wrangler and the build run on.
const NODE: (u32, u32) = (20, 3);
const WASM: &str = "wasm32-unknown-unknown";
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// The program by which PostgreSQL is known.
const INITDB: &str = "initdb";
/// Where Debian has a folder for each version of it.
const DEBIAN_POSTGRES: &str = "/usr/lib/postgresql";

/// A program that comes from a crate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CrateTool {
    package: &'static str,
    version: &'static str,
    program: &'static str,
}

/// Checks licences, sources and the rules of who imports whom.
pub(crate) const CARGO_DENY: CrateTool = CrateTool { package: "cargo-deny", version: "0.20.2", program: "cargo-deny" };

/// Finds spelling mistakes.
pub(crate) const TYPOS: CrateTool = CrateTool { package: "typos-cli", version: "1.52.0", program: "typos" };

impl CrateTool {
    /// Finds the program in the right version on `PATH` or in the cache, or installs it there.
    pub(crate) fn require(self, workspace: &Workspace) -> Result<PathBuf> {
        if let Some(found) = on_path(self.program).filter(|program| self.is_right(program)) {
            return Ok(found);
        }
        let folder = workspace.cache().join("tools").join(format!("{}-{}", self.package, self.version));
        let installed = folder.join("bin").join(self.program);
        if installed.exists() {
            return Ok(installed);
        }
        let step = Step::start(&format!("Install {} {} into {}", self.package, self.version, folder.display()));
        let mut cargo = shell::cargo(workspace.root());
        cargo
            .args(["install", "--quiet", "--locked", "--version", self.version, self.package])
            .arg("--root")
            .arg(&folder);
        // It looks at a few thousand files: what a slow program takes is less than what a slow build takes.
        for (setting, value) in [("LTO", "off"), ("CODEGEN_UNITS", "16"), ("OPT_LEVEL", "1")] {
            cargo.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
        }
        // Without a target directory cargo builds in a temporary one, which it removes.
        shell::run(cargo.env_remove("CARGO_TARGET_DIR"))
            .with_context(|| format!("{} {} is missing and cannot be installed", self.package, self.version))?;
        step.done();
        Ok(installed)
    }

    fn is_right(self, program: &Path) -> bool {
        shell::output(Command::new(program).arg("--version")).is_ok_and(|line| line.ends_with(self.version))
    }
}

/// Makes sure that Rust can compile for WebAssembly.
pub(crate) fn require_wasm_target() -> Result<()> {
    let libdir = shell::output(Command::new("rustc").args(["--print", "target-libdir", "--target", WASM]))
        .context("rustc does not know WebAssembly")?;
    if PathBuf::from(libdir).exists() {
        return Ok(());
    }
    let step = Step::start("Install the Rust target for WebAssembly");
    shell::run(Command::new("rustup").args(["target", "add", WASM]))
        .with_context(|| format!("the Rust target {WASM} is missing; install it with `rustup target add {WASM}`"))?;
    step.done();
    Ok(())
}

/// Makes sure that Node is there and that `node_modules` holds what `package-lock.json` says.
pub(crate) fn require_node_modules(workspace: &Workspace) -> Result<()> {
    let version = shell::output(Command::new("node").arg("--version"))
        .with_context(|| format!("Node.js is missing: install version {}.{} or newer, with npm", NODE.0, NODE.1))?;
    if node_version(&version).is_none_or(|version| version < NODE) {
        bail!("Node.js {version} is too old: install version {}.{} or newer", NODE.0, NODE.1);
    }
    let lock = fs::read(workspace.root().join("package-lock.json")).context("cannot read package-lock.json")?;
    let installed = workspace.root().join("node_modules/.wardlink-lock");
    let is_complete = || fs::read(&installed).is_ok_and(|found| found == lock);
    if is_complete() {
        return Ok(());
    }
    // npm empties the folder first: two at a time leave nothing that works.
    fs::create_dir_all(workspace.target()).context("cannot create the target folder")?;
    let one_at_a_time = File::create(workspace.target().join(".npm-lock")).context("cannot create the lock of npm")?;
    one_at_a_time.lock().context("cannot lock the installation of npm packages")?;
    if is_complete() {
        return Ok(());
    }
    if on_path("npm").is_none() {
        bail!("npm is missing: install it (it comes with Node.js, or as a package of its own)");
    }
    let step = Step::start("Install the npm packages (workerd, wrangler, esbuild, wasm-opt)");
    // What it says is for people: the output may be figures.
    let npm = &mut Command::new("npm");
    shell::run(npm.args(["ci", "--loglevel=error"]).stdout(std::io::stderr()).current_dir(workspace.root()))
        .context("npm could not install the packages of package-lock.json")?;
    fs::write(&installed, &lock).context("cannot mark node_modules as complete")?;
    step.done();
    Ok(())
}

/// A program of `node_modules`, to be run from the root of the checkout.
pub(crate) fn node_program(workspace: &Workspace, name: &str) -> Command {
    let mut command = Command::new(workspace.root().join("node_modules/.bin").join(name));
    command.current_dir(workspace.root());
    command
}

/// What drives a page in the tests.
#[derive(Debug)]
pub(crate) struct Browser {
    chromium: PathBuf,
    driver: PathBuf,
}

impl Browser {
    /// Finds Chromium and its driver by `$CHROMIUM` and `$CHROMEDRIVER`, then on `PATH`; installs them where apt can.
    pub(crate) fn require() -> Result<Self> {
        if let Some(found) = Self::find()? {
            return Ok(found);
        }
        if geteuid().is_root() && on_path("apt-get").is_some() {
            let step = Step::start("Install Chromium");
            apt(&["update"])?;
            apt(&["install", "--yes", "--no-install-recommends", "chromium", "chromium-driver", "fonts-dejavu-core"])?;
            step.done();
        }
        Self::find()?.with_context(|| {
            let names = BROWSERS.join(", ");
            format!(
                "no browser: install Chromium ({names}) and chromedriver, or name them in $CHROMIUM and $CHROMEDRIVER"
            )
        })
    }

    /// Says in the environment of a command where the browser is.
    pub(crate) fn tell(&self, command: &mut Command) {
        command.env("CHROMIUM", &self.chromium).env("CHROMEDRIVER", &self.driver);
    }

    fn find() -> Result<Option<Self>> {
        let chromium = chosen_or_found("CHROMIUM", &BROWSERS)?;
        let driver = chosen_or_found("CHROMEDRIVER", &["chromedriver"])?;
        Ok(chromium.zip(driver).map(|(chromium, driver)| Self { chromium, driver }))
    }
}

/// Finds nginx, the reverse proxy of the tests, by `$NGINX`, then on `PATH` and where Debian puts it; installs it where apt can.
pub(crate) fn require_nginx() -> Result<PathBuf> {
    let find = || chosen_or_found("NGINX", &["nginx", "/usr/sbin/nginx"]);
    found_or_installed("nginx", find)?.context("no reverse proxy for the tests: install nginx, or name it in $NGINX")
}

/// Makes sure that OpenSSL's command line is on `PATH`: the hospital's CA of the tests. Installs it where apt can.
pub(crate) fn require_openssl() -> Result<()> {
    let found = found_or_installed("openssl", || Ok(on_path("openssl")))?;
    found.map(drop).context("no hospital's CA for the tests: install openssl")
}

/// Finds the programs of PostgreSQL, the outside database of the tests, in the folder `$POSTGRES`, then on `PATH` and where Debian puts them;
/// installs them where apt can.
pub(crate) fn require_postgres() -> Result<PathBuf> {
    let find = || {
        let chosen = chosen_or_found("POSTGRES", &[])?;
        // What is on the path may be a link to one of several programs that belong together.
        let on_path = || Some(fs::canonicalize(on_path(INITDB)?).ok()?.parent()?.to_path_buf());
        Ok(chosen.or_else(on_path).or_else(|| newest_postgres(Path::new(DEBIAN_POSTGRES))))
    };
    found_or_installed("postgresql", find)?
        .context("no database for the tests: install PostgreSQL, or name the folder of its programs in $POSTGRES")
}

/// The programs of the newest version in a folder that has one folder for each.
fn newest_postgres(versions: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(versions).ok()?.flatten().filter_map(|version| {
        let number: u32 = version.file_name().to_str()?.parse().ok()?;
        let programs = version.path().join("bin");
        programs.join(INITDB).is_file().then_some((number, programs))
    });
    versions.max().map(|(_, programs)| programs)
}

fn found_or_installed(package: &str, find: impl Fn() -> Result<Option<PathBuf>>) -> Result<Option<PathBuf>> {
    if let Some(found) = find()? {
        return Ok(Some(found));
    }
    if geteuid().is_root() && on_path("apt-get").is_some() {
        let step = Step::start(&format!("Install {package}"));
        apt(&["update"])?;
        apt(&["install", "--yes", "--no-install-recommends", package])?;
        step.done();
    }
    find()
}

fn chosen_or_found(variable: &str, names: &[&str]) -> Result<Option<PathBuf>> {
    match env::var_os(variable).map(PathBuf::from) {
        Some(chosen) if chosen.exists() => Ok(Some(chosen)),
        Some(chosen) => bail!("${variable} names {}, which does not exist", chosen.display()),
        None => Ok(names.iter().find_map(|name| on_path(name))),
    }
}

fn apt(arguments: &[&str]) -> Result<()> {
    shell::run(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").arg("-qq").args(arguments))
}

/// Looks a program up as a shell does.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

fn node_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{NODE, newest_postgres, node_version};
    use std::fs;

    #[test]
    fn the_newest_postgres_counts_that_has_its_programs() {
        let versions = tempfile::tempdir().unwrap();
        for version in ["9", "15", "16", "common"] {
            fs::create_dir_all(versions.path().join(version).join("bin")).unwrap();
        }
        for version in ["9", "15", "common"] {
            fs::write(versions.path().join(version).join("bin/initdb"), "").unwrap();
        }
        assert_eq!(newest_postgres(versions.path()), Some(versions.path().join("15/bin")));
        assert_eq!(newest_postgres(&versions.path().join("none")), None);
    }

    #[test]
    fn old_and_unreadable_versions_of_node_are_told_from_new_ones() {
        assert!(node_version("v20.20.2\n").is_some_and(|version| version >= NODE));
        assert!(node_version("v22.1.0").is_some_and(|version| version >= NODE));
        assert!(node_version("v18.19.0").is_some_and(|version| version < NODE));
        assert_eq!(node_version("node"), None);
    }
}
