//! A program that runs beside this one, writes to a log, and ends with it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How long a program may take to end in good order.
const GRACE: Duration = Duration::from_secs(5);
const LINES: usize = 20;

/// A running program and all its descendants: a process group of its own, so that Ctrl-C reaches it through us only.
#[derive(Debug)]
pub(super) struct Child {
    name: &'static str,
    process: process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts a program whose output goes to a log that begins anew.
    pub(super) fn spawn(name: &'static str, command: &mut Command, log: PathBuf) -> Result<Self> {
        let file = File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let errors = file.try_clone().with_context(|| format!("cannot share {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors).process_group(0);
        let process = command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Self { name, process, log })
    }

    /// Fails, with the end of the log, when the program has ended.
    pub(super) fn require_running(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended ({status}). {}", self.name, self.last_lines()),
        }
    }

    /// The end of the log, introduced by its name.
    pub(super) fn last_lines(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default();
        format!("The last lines of {}:\n{}", self.log.display(), last.join("\n"))
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.process.try_wait().with_context(|| format!("cannot watch {}", self.name))
    }

    fn signal(&self, signal: Signal) {
        if let Ok(id) = i32::try_from(self.process.id()) {
            // The group is gone when all its programs have ended: that is what we want.
            let _ = killpg(Pid::from_raw(id), signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::SIGTERM);
        let asked = Instant::now();
        while asked.elapsed() < GRACE && matches!(self.ended(), Ok(None)) {
            thread::sleep(Duration::from_millis(50));
        }
        self.signal(Signal::SIGKILL);
        let _ = self.process.wait();
    }
}
