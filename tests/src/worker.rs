//! The real worker, with its storage in the scene's folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, bail, ensure};

use crate::api::Api;
use crate::process::{self, Killer, Process, free_port};
use crate::{Scene, artifacts, wait};

mod workerd;

/// What opens the one-time link of a test's worker.
pub const BOOTSTRAP_TOKEN: &str = "dGhlLWZpcnN0LWFkbWluaXN0cmF0b3ItY29tZXMtaW4";
const MASTER_KEY: &str = "b25seS1mb3ItdGVzdHMtMzItYnl0ZXMtb2Yta2V5ISE";

/// The files that describe the workers; the first one is reached from outside.
const CONFIGURATIONS: [&str; 2] = ["wrangler.toml", "wrangler.distribution.toml"];
/// Where everything lies that the worker stores, in its folder and under either host.
const STORAGE: &str = "storage/v3";
/// Where its objects lie.
const OBJECTS: &str = "storage/v3/do";
/// The digits of an object's identifier, which is the name of its file.
const OBJECT_ID_DIGITS: usize = 64;

/// What the worker runs under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// `workerd` alone, with nothing in front: everything but the pages.
    Workerd,
    /// With the pages, as in development (`xtask/host.mjs`), on the same storage. It takes two seconds of a core to start.
    WithPages,
}

/// A worker that a test started, and can kill and start again on the same storage and port.
#[derive(Debug)]
pub struct Worker<'s> {
    scene: &'s Scene,
    host: Host,
    folder: PathBuf,
    port: u16,
    variables: Vec<(String, String)>,
    process: Option<Process>,
}

impl<'s> Worker<'s> {
    /// Starts a worker with empty storage and no pages, and returns when it answers.
    pub fn start(scene: &'s Scene) -> Result<Self> {
        Self::start_with(scene, &[])
    }

    /// The same with these variables of the deployment.
    pub fn start_with(scene: &'s Scene, variables: &[(&str, &str)]) -> Result<Self> {
        Self::start_under(scene, Host::Workerd, variables)
    }

    /// Starts a worker with empty storage and these variables of the deployment, and returns when it answers.
    pub fn start_under(scene: &'s Scene, host: Host, variables: &[(&str, &str)]) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = scene.path(&format!("worker-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let variables = with_usual(variables.iter().map(owned).collect());
        prepare(&folder, &variables)?;
        let mut worker = Self { scene, host, folder, port: free_port()?, variables, process: None };
        worker.restart()?;
        Ok(worker)
    }

    /// The control unit's web origin.
    pub fn origin(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// The TCP port on which it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What ends it from elsewhere.
    pub fn killer(&self) -> Result<Killer> {
        self.process.as_ref().context("the worker does not run")?.killer()
    }

    /// The MQTT bridge's address.
    pub fn broker(&self) -> String {
        format!("ws://localhost:{}/mqtt", self.port)
    }

    /// The web interface, with nobody signed in.
    pub fn api(&self) -> Api {
        Api::new(self.origin())
    }

    /// The memory that it holds now, in bytes; of the worker alone only under [`Host::Workerd`].
    pub fn memory(&self) -> Result<u64> {
        self.process.as_ref().context("the worker does not run")?.memory()
    }

    /// What it has stored by now, in bytes.
    pub fn stored(&self) -> Result<u64> {
        size_of(&self.folder.join("storage"))
    }

    /// The folder in which the objects of a class lie.
    pub fn objects(&self, class: &str) -> Result<PathBuf> {
        let inside = |folder: &Path, part: &str| -> Result<Option<PathBuf>> {
            let entries = fs::read_dir(folder).context("cannot look into the storage")?;
            let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
            Ok(paths.into_iter().find(|path| path.to_string_lossy().ends_with(part)))
        };
        inside(&self.folder.join(OBJECTS), class)?.with_context(|| format!("no {class} has stored anything"))
    }

    /// Changes what the only object of a class has stored, while the worker does not run.
    pub fn tamper(&self, class: &str, statements: &str) -> Result<()> {
        ensure!(self.process.is_none(), "the worker runs");
        execute(&self.objects(class)?, statements)
    }

    /// Takes a file of this content out of the store of files.
    pub fn lose_file(&self, content: &[u8]) -> Result<()> {
        fs::remove_file(self.stored_file(content)?).context("cannot remove a file")
    }

    /// Puts something else of the same length in the place of such a file.
    pub fn alter_file(&self, content: &[u8], altered: &[u8]) -> Result<()> {
        ensure!(content.len() == altered.len(), "its length would tell");
        fs::write(self.stored_file(content)?, altered).context("cannot write a file")
    }

    fn stored_file(&self, content: &[u8]) -> Result<PathBuf> {
        let mut folders = vec![self.folder.join(STORAGE).join("r2")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).context("cannot look into the storage")? {
                let path = entry.context("cannot look into the storage")?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if fs::read(&path).is_ok_and(|found| found == content) {
                    return Ok(path);
                }
            }
        }
        bail!("there is no such file")
    }

    /// Copies a part of what it has stored, while it does not run: `do`, its objects, or `d1`, its databases.
    pub fn keep(&self, part: &str) -> Result<PathBuf> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let kept = self.scene.path(&format!("kept-{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        copy(&self.part(part)?, &kept)?;
        Ok(kept)
    }

    /// Takes such a part away, while the worker does not run.
    pub fn lose(&self, part: &str) -> Result<()> {
        fs::remove_dir_all(self.part(part)?).context("cannot remove a folder")
    }

    /// Puts such a part back as it was kept, while the worker does not run.
    pub fn put_back(&self, part: &str, kept: &Path) -> Result<()> {
        self.lose(part)?;
        copy(kept, &self.part(part)?)
    }

    /// Changes what its only database (D1) holds, whether or not the worker runs.
    pub fn tamper_database(&self, statements: &str) -> Result<()> {
        execute(&self.folder.join(STORAGE).join("d1/miniflare-D1DatabaseObject"), statements)
    }

    fn part(&self, part: &str) -> Result<PathBuf> {
        ensure!(self.process.is_none(), "the worker runs");
        Ok(self.folder.join(STORAGE).join(part))
    }

    /// Waits until a line of its log holds this.
    pub fn wait_for_line(&self, part: &str) -> Result<()> {
        self.wait_for_lines(part, 1)
    }

    /// Everything that it has written to its log by now.
    pub fn log(&self) -> Result<String> {
        let text = fs::read(self.scene.log("worker")).context("the worker writes a log")?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Waits until so many lines of its log hold this.
    pub fn wait_for_lines(&self, part: &str, count: usize) -> Result<()> {
        wait::until(&format!("{count} lines with \"{part}\" in the worker's log"), || {
            let found = self.log()?.lines().filter(|line| line.contains(part)).count();
            Ok((found >= count).then_some(()))
        })
    }

    /// Ends the worker in the middle of whatever it does (SIGKILL).
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts the worker again on what it has stored, and returns when it answers.
    pub fn restart(&mut self) -> Result<()> {
        let command = self.command()?;
        self.start_by(command)
    }

    /// The same, so many days later.
    pub fn restart_at(&mut self, days: i64) -> Result<()> {
        let mut command = self.command()?;
        process::set_clock(self.scene, &mut command, days)?;
        self.start_by(command)
    }

    fn command(&self) -> Result<Command> {
        match self.host {
            Host::WithPages => self.with_pages(),
            Host::Workerd => self.workerd(),
        }
    }

    fn start_by(&mut self, mut command: Command) -> Result<()> {
        let mut process = Process::spawn(self.scene, "worker", command.current_dir(&self.folder))?;
        let api = self.api();
        wait::until("the worker answers", || {
            process.require_running()?;
            Ok(api.is_healthy().then_some(()))
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends the worker, and starts it again on what it has stored, with these variables instead of those that it had.
    pub fn restart_with(&mut self, variables: &[(String, String)]) -> Result<()> {
        self.kill();
        self.variables = with_usual(variables.to_vec());
        write_variables(&self.folder, &self.variables)?;
        self.restart()
    }

    fn with_pages(&self) -> Result<Command> {
        let mut command = Command::new("node");
        command.arg(artifacts::in_checkout("xtask/host.mjs")?);
        command.args(["--port", &self.port.to_string(), "--persist-to", "storage"]);
        Ok(command)
    }

    fn workerd(&self) -> Result<Command> {
        let mut command = Command::new(artifacts::in_checkout("node_modules/workerd/bin/workerd")?);
        command.args(workerd::prepare(&self.folder, self.port, &self.variables)?);
        Ok(command)
    }
}

/// The variables that every worker has, unless they are given, and the given ones.
fn with_usual(given: Vec<(String, String)>) -> Vec<(String, String)> {
    let usual = [("TRUST", "none"), ("MASTER_KEY", MASTER_KEY), ("BOOTSTRAP_TOKEN", BOOTSTRAP_TOKEN)];
    let usual = usual.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let missing: Vec<_> = usual.into_iter().filter(|(name, _)| given.iter().all(|(other, _)| other != name)).collect();
    [missing, given].concat()
}

/// Copies what is served, so that a build in the checkout does not disturb a running test.
fn prepare(folder: &Path, variables: &[(String, String)]) -> Result<()> {
    for built in ["build", "dist"] {
        copy(&artifacts::in_checkout(built)?, &folder.join(built))?;
    }
    for configuration in CONFIGURATIONS {
        copy(&artifacts::in_checkout(configuration)?, &folder.join(configuration))?;
    }
    write_variables(folder, variables)
}

fn write_variables(folder: &Path, variables: &[(String, String)]) -> Result<()> {
    let lines: Vec<String> = variables.iter().map(|(name, value)| format!("{name}={value:?}\n")).collect();
    fs::write(folder.join(".dev.vars"), lines.concat()).context("cannot write the worker's secrets")
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let context = || format!("cannot copy {}", from.display());
    if !from.is_dir() {
        return fs::copy(from, to).map(drop).with_context(context);
    }
    fs::create_dir_all(to).with_context(context)?;
    for entry in fs::read_dir(from).with_context(context)? {
        let entry = entry.with_context(context)?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Runs statements in the database of the only object in a folder.
fn execute(folder: &Path, statements: &str) -> Result<()> {
    let is_object = |path: &PathBuf| {
        let is_id = path.file_stem().is_some_and(|name| name.len() == OBJECT_ID_DIGITS);
        is_id && path.extension().is_some_and(|kind| kind == "sqlite")
    };
    let entries = fs::read_dir(folder).context("cannot look into the storage")?;
    let path = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).find(is_object);
    let database = rusqlite::Connection::open(path.context("the object has stored nothing")?)?;
    database.execute_batch(statements).context("the statements do not run")
}

/// The bytes in a folder. A file that goes meanwhile counts as none.
fn size_of(folder: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(folder).context("cannot look into the storage")? {
        let entry = entry.context("cannot look into the storage")?;
        let path = entry.path();
        size += if path.is_dir() { size_of(&path)? } else { entry.metadata().map_or(0, |file| file.len()) };
    }
    Ok(size)
}
