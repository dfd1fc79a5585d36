//! What a person is asked: yes or no, and passphrases; and what is shown while they wait.

use super::{ReleaseError, files};
use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// The fewest characters of a passphrase for a new key.
pub(super) const MIN_PASSPHRASE_CHARACTERS: usize = 12;
/// The longest passphrase, in bytes.
const MAX_PASSPHRASE_BYTES: u64 = 1024;
/// Where scripts put the passphrase.
const PASSPHRASE_VARIABLE: &str = "WARDLINK_PASSPHRASE";
/// What is faster than this shows no progress.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often it is shown how long a step has taken that cannot say how far it has come.
const TICK: Duration = Duration::from_secs(1);

/// Whether a dangerous step may be done.
pub(super) fn confirm(yes: bool, step: &str) -> Result<(), ReleaseError> {
    if yes {
        return Ok(());
    }
    let refused = || ReleaseError::NotConfirmed(step.to_owned());
    if !io::stdin().is_terminal() {
        return Err(refused());
    }
    eprint!("{step}. Go on? Type yes: ");
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|_| refused())?;
    if line.trim() == "yes" { Ok(()) } else { Err(refused()) }
}

/// Where passphrases come from.
#[derive(Args, Debug)]
pub(super) struct PassphraseArgs {
    /// A file whose first line is the passphrase; only its owner may be able to read it. Otherwise WARDLINK_PASSPHRASE
    /// is taken, or the terminal is asked.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// Text that nobody shall find later.
pub(super) type Passphrase = Zeroizing<String>;

impl PassphraseArgs {
    /// Takes passphrases from a file, where one is named.
    pub(super) const fn from_file(passphrase_file: Option<PathBuf>) -> Self {
        Self { passphrase_file }
    }

    /// The passphrase of an existing key.
    pub(super) fn open(&self, key: &Path) -> Result<Passphrase, ReleaseError> {
        match self.given()? {
            Some(passphrase) => Ok(passphrase),
            None => prompt(&format!("Passphrase of {}: ", key.display())),
        }
    }

    /// The passphrase of a new key, asked for twice at a terminal.
    pub(super) fn choose(&self, key: &Path) -> Result<Passphrase, ReleaseError> {
        let passphrase = if let Some(passphrase) = self.given()? {
            passphrase
        } else {
            let first = prompt(&format!("Passphrase for {}: ", key.display()))?;
            if *first != *prompt("The same again: ")? {
                return Err(ReleaseError::PassphraseTwice);
            }
            first
        };
        if passphrase.chars().count() < MIN_PASSPHRASE_CHARACTERS {
            return Err(ReleaseError::WeakPassphrase(MIN_PASSPHRASE_CHARACTERS));
        }
        Ok(passphrase)
    }

    fn given(&self) -> Result<Option<Passphrase>, ReleaseError> {
        let Some(path) = &self.passphrase_file else {
            return Ok(std::env::var(PASSPHRASE_VARIABLE).ok().map(Zeroizing::new));
        };
        if files::is_readable_by_others(path)? {
            return Err(ReleaseError::Readable(path.clone()));
        }
        let bytes = Zeroizing::new(files::read(path, MAX_PASSPHRASE_BYTES)?);
        let text = std::str::from_utf8(&bytes).map_err(|_| ReleaseError::usage("the passphrase file is no text"))?;
        Ok(Some(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())))
    }
}

/// Asks without showing what is typed.
fn prompt(question: &str) -> Result<Passphrase, ReleaseError> {
    if !io::stdin().is_terminal() {
        return Err(ReleaseError::NoPassphrase);
    }
    let asked = || {
        let _unseen = Unseen::begin()?;
        rpassword::prompt_password(question)
    };
    asked().map(Zeroizing::new).map_err(|_| ReleaseError::NoPassphrase)
}

/// The process's terminal while it shows nothing of what is typed. `rpassword` hides it only once the question stands there, and somebody
/// may answer sooner.
struct Unseen {
    terminal: File,
    before: Termios,
}

impl Unseen {
    fn begin() -> io::Result<Self> {
        let terminal = File::open("/dev/tty")?;
        let before = tcgetattr(&terminal)?;
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
        tcsetattr(&terminal, OptionalActions::Now, &unseen)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        // A terminal that is gone shows nothing.
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// How far a long step has come; shown at a terminal only, and only when it takes long.
pub(super) struct Progress {
    what: String,
    total: u64,
    done: u64,
    begun: Instant,
    shown: Option<u64>,
    is_shown: bool,
}

impl Progress {
    /// Begins with nothing of `total` bytes.
    pub(super) fn new(what: impl Display, total: u64) -> Self {
        let is_shown = io::stderr().is_terminal();
        Self { what: what.to_string(), total, done: 0, begun: Instant::now(), shown: None, is_shown }
    }

    /// Adds bytes.
    pub(super) fn add(&mut self, bytes: usize) {
        if let Some(percent) = self.count(bytes, self.begun.elapsed()) {
            eprint!("\r{}: {percent} %", self.what);
            // Whoever watches misses nothing but this.
            drop(io::stderr().flush());
        }
    }

    /// Counts bytes, after so long; the percentage, where it is to be shown now.
    fn count(&mut self, bytes: usize, elapsed: Duration) -> Option<u64> {
        self.done = self.done.saturating_add(u64::try_from(bytes).unwrap_or(0));
        let percent = self.done.saturating_mul(100).checked_div(self.total).unwrap_or(100).min(100);
        if !self.is_shown || self.shown == Some(percent) || elapsed <= PATIENCE {
            return None;
        }
        self.shown = Some(percent);
        self.shown
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            eprintln!();
        }
    }
}

/// Does what cannot say how far it has come, and shows how long it has taken; at a terminal only.
pub(super) fn waiting<T>(what: &str, work: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }
    thread::scope(|scope| {
        let (working, end) = mpsc::channel::<()>();
        scope.spawn(move || {
            let begun = Instant::now();
            while end.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                eprint!("\r{what}: {} s", begun.elapsed().as_secs());
                drop(io::stderr().flush());
            }
            if begun.elapsed() >= TICK {
                eprintln!();
            }
        });
        let result = work();
        drop(working);
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(total: u64, is_shown: bool) -> Progress {
        Progress { what: "Reading".to_owned(), total, done: 0, begun: Instant::now(), shown: None, is_shown }
    }

    #[test]
    fn progress_is_shown_at_a_terminal_when_it_takes_long_and_each_percent_once() {
        let long = PATIENCE + Duration::from_millis(1);
        let mut large = progress(400_000_000, true);
        assert_eq!(large.count(4_000_000, PATIENCE), None);
        assert_eq!(large.count(4_000_000, long), Some(2));
        assert_eq!(large.count(1_000, long), None);
        assert_eq!(large.count(392_000_000, long), Some(100));
        // A file that grows while it is read.
        assert_eq!(large.count(usize::MAX, long), None);
        assert_eq!(progress(0, true).count(0, long), Some(100));
        assert_eq!(progress(400, false).count(400, long), None);
    }
}
