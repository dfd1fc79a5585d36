//! The Python reference implementation of TUF, for the tests.

use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const REQUIREMENTS: &str = include_str!("../tuf/requirements.txt");

pub(crate) fn succeeded(command: &mut Command, help: &str) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{help}: {error}"));
    assert!(output.status.success(), "{help}:\n{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The Python of an environment that has the reference implementation; made where it is missing.
fn python() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let cache = cache.unwrap_or_else(|| std::env::home_dir().unwrap().join(".cache")).join("wardlink/tools");
    let digest = Sha256::digest(REQUIREMENTS);
    let folder = cache.join(format!("python-tuf-{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2]));
    let python = folder.join("bin/python");
    if python.exists() {
        return python;
    }
    fs::create_dir_all(&cache).unwrap();
    let making = tempfile::tempdir_in(&cache).unwrap();
    let help = "python3 with its module venv is needed: install it (Debian: python3-venv)";
    succeeded(Command::new("python3").args(["-m", "venv"]).arg(making.path()), help);
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tuf/requirements.txt");
    let mut pip = Command::new(making.path().join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--requirement"]).arg(requirements);
    succeeded(&mut pip, "pip cannot install the reference implementation of TUF");
    // Another test may have been faster; then its environment is the one.
    let _ = fs::rename(making.path(), &folder);
    assert!(python.exists());
    python
}

pub(crate) fn reference(arguments: &[&str]) -> Command {
    let mut command = Command::new(python());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tuf/reference.py")).args(arguments);
    command.env("PYTHONIOENCODING", "utf-8").env("PYTHONUTF8", "1");
    command
}

/// A folder over HTTP.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(folder: &Path) -> Self {
        let mut command = Command::new(python());
        command.args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"]).arg(folder);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.split_whitespace().nth(5).and_then(|port| port.parse().ok()).unwrap();
        Self { child, url: format!("http://127.0.0.1:{port}") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
