//! A program that a test started: its log, its end.

use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::ops::Range;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use rand::RngExt as _;

use crate::mqtt::rng;
use crate::{Scene, wait};

/// The source of a program's other clock.
const CLOCK: &str = include_str!("clock.c");
const DAY_SECS: i64 = 24 * 60 * 60;

/// Gives a program a clock that is ahead by so many days, or behind (negative). The time that passes is right.
pub fn set_clock(scene: &Scene, command: &mut Command, days: i64) -> Result<()> {
    let (source, library) = (scene.path("clock.c"), scene.path("clock.so"));
    if !library.exists() {
        fs::write(&source, CLOCK).context("cannot write a file")?;
        let run = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).output();
        let compiled = run.context("cc cannot be run: install a C compiler")?;
        ensure!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    }
    command.env("LD_PRELOAD", library).env("CLOCK_SHIFT", (days * DAY_SECS).to_string());
    Ok(())
}

/// A running program and its descendants, as a process group of its own.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts a program that writes to the scene's log of this name, after what an earlier run wrote there.
    pub fn spawn(scene: &Scene, name: &str, command: &mut Command) -> Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(scene.log(name)).context("cannot open a log")?;
        let errors = log.try_clone().context("cannot share a log")?;
        Self::start(name, command.stdout(log).stderr(errors))
    }

    /// Starts a program, and also passes on each line that it writes to its standard output.
    pub fn spawn_reading(scene: &Scene, name: &str, command: &mut Command) -> Result<(Self, Receiver<String>)> {
        let log = OpenOptions::new().create(true).append(true).open(scene.log(name)).context("cannot open a log")?;
        let mut copy = log.try_clone().context("cannot share a log")?;
        let mut process = Self::start(name, command.stdout(Stdio::piped()).stderr(log))?;
        let output = process.child.stdout.take().context("the program's output is piped")?;
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // The log is for people only, and a test that has ended listens no more.
                let _ = writeln!(copy, "{line}");
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok((process, receiver))
    }

    fn start(name: &str, command: &mut Command) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", command.get_program().display()))?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// Fails when the program has ended by itself.
    pub fn require_running(&mut self) -> Result<()> {
        match self.child.try_wait().with_context(|| format!("cannot watch {}", self.name))? {
            None => Ok(()),
            Some(status) => bail!("{} has ended: {status}", self.name),
        }
    }

    /// Whether the program has ended by itself.
    pub fn has_ended(&mut self) -> Result<bool> {
        let status = self.child.try_wait().with_context(|| format!("cannot watch {}", self.name))?;
        Ok(status.is_some())
    }

    /// The memory that the program itself holds now, in bytes.
    pub fn memory(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).context("cannot look at it")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("its memory is told")?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().context("a number of kilobytes")?;
        Ok(kilobytes * 1024)
    }

    /// What ends the program and its descendants from elsewhere.
    pub fn killer(&self) -> Result<Killer> {
        Ok(Killer(Pid::from_raw(i32::try_from(self.child.id()).context("the program's number")?)))
    }

    /// Asks the program to end (SIGTERM), and returns when it has.
    pub fn stop(&mut self) -> Result<()> {
        let id = i32::try_from(self.child.id()).context("a process has an id")?;
        kill(Pid::from_raw(id), Signal::SIGTERM).with_context(|| format!("cannot stop {}", self.name))?;
        let name = format!("{} ends", self.name);
        wait::until(&name, || Ok(self.child.try_wait().context("cannot watch a program")?.map(drop)))
    }

    /// Ends the program and its descendants without warning (SIGKILL), and returns when it is gone.
    pub fn kill(&mut self) {
        if let Ok(group) = i32::try_from(self.child.id()) {
            // A group that is gone already is what is wanted.
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// Ends a program and its descendants without warning (SIGKILL), at the moment when it is asked to.
#[derive(Clone, Copy, Debug)]
pub struct Killer(Pid);

impl Killer {
    /// Sends the signal, and does not wait for the end.
    pub fn kill(&self) {
        // A group that is gone already is what is wanted.
        let _ = killpg(self.0, Signal::SIGKILL);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where [`free_port`] looks: below the ports that Linux and macOS give to outgoing connections, any of which could take the port
/// before it is listened on, or while its process is started again.
const PORTS: Range<u16> = 10_240..32_768;

/// How many ports [`free_port`] tries.
const PORT_TRIALS: usize = 100;

/// A TCP port on loopback that nothing listens on now.
pub fn free_port() -> Result<u16> {
    let mut random = rng();
    let mut ports = (0..PORT_TRIALS).map(|_| random.random_range(PORTS));
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).context("cannot find a free port")
}
