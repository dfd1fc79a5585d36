//! The gateway's own program (Distribution, paragraphs 0048 and 0050: as well as the patient management device itself).
//!
//! The installed program is a launcher: it starts what lies in the folder of programs, two slots like a passive device's. A new program is
//! written beside the present one, switched to, and started on trial. It counts when it has reached the server; one that does not
//! start three times, or does not reach the server in time, is taken back by the launcher, which no update replaces. One that hangs cannot take itself
//! back: the system ends it, and it has started in vain.

use super::devices::{Configured, DeviceError, Passive};
use super::settings::Settings;
use crate::files::put;
use nix::unistd::alarm;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use wardlink_update::report::State;

/// How often a program on trial is started.
pub const MAX_STARTS: u32 = 3;
/// A program on trial that has neither proved nor ended itself is ended after so many times its time.
const PATIENCE: u32 = 2;
/// The pause before a program on trial is started again that could not be.
const START_AGAIN: Duration = Duration::from_secs(1);
/// Names the launcher to the program that it has started.
const LAUNCHER: &str = "WARDLINK_LAUNCHER";
/// The file that counts the starts on trial.
const STARTS: &str = "starts";

/// The gateway's own program as a device of the gateway; none where it is updated by other means.
pub(super) fn device(settings: &Settings) -> Option<Passive> {
    let directory = settings.programs.clone()?;
    let is = settings.state.characteristics.clone();
    let configured = Configured {
        device: is.device,
        manufacturer: is.manufacturer,
        model: is.model,
        serial_number: is.serial_number,
        revision: is.revision,
        hardware: is.hardware,
        release_counter: None,
        directory,
    };
    let fail = settings.fail.iter().find(|(device, _)| *device == configured.device).map(|(_, step)| *step);
    Some(Passive::program(configured, fail))
}

/// Which program is to be started; none: this one. A start on trial is counted first, as far as the disk has room, and one too many takes the program back.
pub fn choose(settings: &Settings) -> Result<Option<PathBuf>, DeviceError> {
    let Some(own) = device(settings) else { return Ok(None) };
    let folder = settings.programs.as_deref().unwrap_or(Path::new("."));
    if own.is_on_trial()? {
        let count = fs::read_to_string(folder.join(STARTS)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        if count >= MAX_STARTS {
            own.go_back()?;
            remove(&folder.join(STARTS))?;
        } else if let Err(error) = write(folder, count.saturating_add(1)) {
            // On a full disk, too, a gateway is better than none; one that hangs is ended all the same.
            tracing::error!(%error, "a start on trial cannot be counted");
        }
    } else {
        remove(&folder.join(STARTS))?;
    }
    Ok(Some(own.image()?).filter(|image| image.exists()))
}

/// Changes over to a new program, which is on trial from now on. What was counted of an earlier trial does not count against it.
pub(super) fn begin_trial(own: &Passive, after: &State) -> Result<(), DeviceError> {
    remove(&own.folder().join(STARTS))?;
    own.change_over(after)
}

/// The program has proved itself: it may run as long as it wants to.
pub(super) fn end_watch() {
    alarm::cancel();
}

/// The system ends this process (SIGALRM) when it is on trial for too long, whatever it does. The alarm outlives `execve`.
fn begin_watch(settings: &Settings) {
    let seconds = settings.trial.saturating_mul(PATIENCE).as_secs();
    alarm::set(u32::try_from(seconds).unwrap_or(u32::MAX).max(1));
}

/// Starts the program that is to run in the place of this one. Returns where this one is to go on.
pub fn launch(settings: &Settings) -> Result<(), DeviceError> {
    if std::env::var_os(LAUNCHER).is_some() {
        return Ok(());
    }
    let own = device(settings);
    let is_on_trial = || own.as_ref().map(Passive::is_on_trial).transpose().map(Option::unwrap_or_default);
    while let Some(program) = choose(settings)? {
        if is_on_trial()? {
            begin_watch(settings);
        }
        let launcher = std::env::current_exe()?;
        let failed = Command::new(&program).args(std::env::args_os().skip(1)).env(LAUNCHER, launcher).exec();
        tracing::error!(program = %program.display(), error = %failed, "the gateway's program does not start");
        end_watch();
        if !is_on_trial()? {
            // What had proved itself is damaged: better the factory's than none.
            return Ok(());
        }
        std::thread::sleep(START_AGAIN);
    }
    Ok(())
}

/// Begins anew, with the program that is to run now.
pub fn restart() -> io::Error {
    end_watch();
    let program = std::env::var_os(LAUNCHER).map_or_else(std::env::current_exe, |path| Ok(path.into()));
    match program {
        Ok(program) => Command::new(program).args(std::env::args_os().skip(1)).env_remove(LAUNCHER).exec(),
        Err(error) => error,
    }
}

fn write(folder: &Path, count: u32) -> Result<(), DeviceError> {
    Ok(put(&folder.join(STARTS), count.to_string().as_bytes())?)
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
