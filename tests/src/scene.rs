//! The frame of one test: a folder, the logs in it, and their printing on failure.

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// How much of each log is printed.
const LINES: usize = 80;

/// A folder for everything that one test starts.
#[derive(Debug)]
pub struct Scene {
    folder: TempDir,
}

/// Runs a test in a folder of its own. When it fails, the logs of everything that it started are printed.
pub fn scene(test: impl FnOnce(&Scene) -> Result<()>) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("wardlink-").tempdir().context("cannot make a folder for the test")?;
    let scene = Scene { folder };
    fs::create_dir(scene.logs()).context("cannot make the folder of the logs")?;
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| test(&scene)));
    if !matches!(outcome, Ok(Ok(()))) {
        scene.print_logs();
    }
    outcome.unwrap_or_else(|panic| panic::resume_unwind(panic))
}

impl Scene {
    /// The folder, which ends with the test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file or folder in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Where the program `name` writes its log.
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs().join(name).with_extension("log")
    }

    fn logs(&self) -> PathBuf {
        self.path("logs")
    }

    fn print_logs(&self) {
        let mut logs: Vec<PathBuf> =
            fs::read_dir(self.logs()).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        logs.sort();
        for log in logs {
            let bytes = fs::read(&log).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
            let name = log.file_name().unwrap_or_default().display();
            eprintln!("\n--- {name}: the last {} of {} lines ---\n{}", last.len(), lines.len(), last.join("\n"));
        }
    }
}
