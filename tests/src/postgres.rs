//! A real PostgreSQL of its own.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nix::unistd::{Uid, User};
use tempfile::TempDir;

use crate::process::{Process, free_port};
use crate::{Scene, wait};

/// Who runs it where the tests run as root, for whom PostgreSQL does not.
const ACCOUNT: &str = "postgres";

/// A running server with an empty database, for connections from this machine.
pub struct Postgres<'s> {
    scene: &'s Scene,
    folder: TempDir,
    programs: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl<'s> Postgres<'s> {
    /// Starts it, and returns when it answers.
    pub fn start(scene: &'s Scene) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("wardlink-db-").tempdir().context("cannot initdb a folder")?;
        let mut server = Self { scene, folder, programs: programs()?, port: free_port()?, process: None };
        if let Some(user) = account()? {
            chown(server.folder.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                .context("cannot give the folder away")?;
        }
        let mut initdb = server.program("initdb")?;
        initdb.arg("--pgdata").arg(server.data()).args(["--username", "wardlink", "--auth", "trust", "--no-sync"]);
        let made = initdb.output().context("cannot run initdb")?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        server.restart()?;
        Ok(server)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn program(&self, name: &str) -> Result<Command> {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir(self.folder.path()).env("LC_ALL", "C");
        if let Some(user) = account()? {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        Ok(command)
    }

    /// Starts it again on what it has stored.
    pub fn restart(&mut self) -> Result<()> {
        let mut command = self.program("postgres")?;
        command.arg("-D").arg(self.data()).args(["-p", &self.port.to_string(), "-h", "127.0.0.1"]);
        command.arg("-k").arg(self.folder.path());
        self.process = Some(Process::spawn(self.scene, "postgres", &mut command)?);
        wait::until("the database answers", || Ok(self.ask("SELECT 1").ok().map(drop)))
    }

    /// Ends it in the middle of whatever it does (SIGKILL).
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("postgresql://wardlink@127.0.0.1:{}/postgres", self.port)
    }

    /// What it answers to a question: a line for each row, its columns apart by a bar.
    pub fn ask(&self, question: &str) -> Result<Vec<String>> {
        let mut command = self.program("psql")?;
        command.args(["--no-psqlrc", "--tuples-only", "--no-align", "--command", question, &self.address()]);
        let answer = command.output().context("cannot run psql")?;
        ensure!(answer.status.success(), "psql: {}", String::from_utf8_lossy(&answer.stderr));
        Ok(String::from_utf8_lossy(&answer.stdout).lines().map(str::to_owned).collect())
    }
}

/// Who runs it; nobody else where the tests do not run as root.
fn account() -> Result<Option<User>> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    let user = User::from_name(ACCOUNT).context("cannot look up an account")?;
    user.map(Some).with_context(|| format!("there is no account {ACCOUNT}: install PostgreSQL"))
}

/// Where its programs are.
fn programs() -> Result<PathBuf> {
    std::env::var_os("POSTGRES")
        .map(PathBuf::from)
        .context("$POSTGRES does not say where PostgreSQL's programs are: run `cargo xtask test`")
}
