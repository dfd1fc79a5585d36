//! `wardlink pump image` and `wardlink pump factory`: what a manufacturer of pumps needs in its first hour.

use super::{Firmware, InvalidFirmware, MAX_TELEMETRY_MS, MIN_TELEMETRY_MS, Program, SelfTest};
use crate::device::factory::{FACTORY_VERSION, Factory, InvalidFactory};
use crate::device::image::MAX_IMAGE_BYTES;
use serde_json::Value;
use std::fs;
use std::io::{self, Read as _};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use wardlink_protocol::ClientClass;
use wardlink_update::package::{HardwareId, Manufacturer, Model, Note, ReleaseCounter, Revision};
use wardlink_update::uptane::Trust;

/// The most bytes of a program that are made up.
const MAX_MADE_BYTES: u64 = 16_000_000;

/// What is made or shown.
#[derive(Clone, clap::Subcommand)]
pub enum FirmwareArgs {
    /// Makes an image of the reference pump, or shows what one says.
    Image {
        /// The image. It is shown where no revision is given, and made where one is; an existing file is not replaced.
        file: PathBuf,
        /// Its revision, such as 1C.
        #[arg(long)]
        revision: Option<Revision>,
        /// Its place among the releases for the model.
        #[arg(long, default_value = "1", value_name = "NUMBER")]
        release_counter: NonZeroU32,
        /// The hardware that it runs on; can be given several times.
        #[arg(long, default_value = "PM2-B", value_name = "ID")]
        hardware: Vec<HardwareId>,
        /// What the display says beside the revision.
        #[arg(long)]
        greeting: Option<Note>,
        /// Milliseconds between two measurements.
        #[arg(long, default_value_t = 1_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(MIN_TELEMETRY_MS..=MAX_TELEMETRY_MS))]
        telemetry_ms: u64,
        /// How the pump's test of itself ends with it.
        #[arg(long, value_enum, default_value_t)]
        self_test: SelfTest,
        /// The length of its program, which is made up.
        #[arg(long, default_value_t = 100_000, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(..=MAX_MADE_BYTES))]
        program_bytes: u64,
    },
    /// Makes the factory file of a model: whom its devices trust.
    Factory {
        /// The manufacturer's repository, as `wardlink release export` writes it.
        #[arg(long, value_name = "FOLDER")]
        repository: PathBuf,
        /// The manufacturer.
        #[arg(long)]
        manufacturer: Manufacturer,
        /// The class under which the model's devices pair.
        #[arg(long = "type", default_value = "infusion-pump", value_name = "CLASS")]
        device_type: ClientClass,
        /// The model.
        #[arg(long, default_value = "PM2")]
        model: Model,
        /// Which sources have to agree before something is installed.
        #[arg(long, value_enum, default_value_t)]
        trust: TrustArg,
        /// The factory file. An existing one is not replaced.
        file: PathBuf,
    },
}

/// [`Trust`] on the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TrustArg {
    /// The server directs, and the manufacturer has signed.
    #[default]
    Both,
    /// The manufacturer alone.
    Manufacturer,
    /// The server alone.
    Server,
}

/// Why nothing was made or shown.
#[derive(Debug, thiserror::Error)]
pub enum FirmwareError {
    /// A file.
    #[error("{0}: {1}", path.display(), why)]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// It is no image, or cannot be one.
    #[error("{0}: {1}", path.display(), why)]
    Firmware {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: InvalidFirmware,
    },
    /// It would be of no use to a device.
    #[error("no factory file comes of this repository: {0}")]
    Factory(#[from] InvalidFactory),
    /// A file that has to be there.
    #[error("{0} has no {1}; give the folder that `wardlink release export` has written", path.display(), what)]
    Missing {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
}

impl FirmwareArgs {
    /// Does what was asked; gives what is to be said.
    pub fn run(&self) -> Result<String, FirmwareError> {
        match self {
            Self::Image { file, revision: None, .. } => {
                let firmware = Firmware::parse(&read(file)?).map_err(refused(file))?;
                serde_json::to_string_pretty(&firmware)
                    .map_err(|error| refused(file)(InvalidFirmware::Json(error.to_string())))
            }
            Self::Image {
                file,
                revision: Some(revision),
                release_counter,
                hardware,
                greeting,
                telemetry_ms,
                self_test,
                program_bytes,
            } => {
                let program = made_up(revision, *program_bytes);
                let mut hardware = hardware.clone();
                hardware.sort();
                let counter = ReleaseCounter::new(release_counter.get());
                let firmware = Firmware {
                    revision: revision.clone(),
                    release_counter: counter
                        .ok_or_else(|| refused(file)(InvalidFirmware::Contradiction("releases are counted from 1")))?,
                    hardware,
                    greeting: greeting.clone(),
                    telemetry_ms: *telemetry_ms,
                    self_test: *self_test,
                    program: Program::of(&program),
                };
                write_new(file, &firmware.to_bytes(&program).map_err(refused(file))?)?;
                Ok(format!("{} is revision {revision}, release {release_counter}.", file.display()))
            }
            Self::Factory { repository, manufacturer, device_type, model, trust, file } => {
                let metadata = repository.join("metadata");
                let missing = |what| FirmwareError::Missing { path: repository.clone(), what };
                let newest = |of: &'static str| -> Result<Value, FirmwareError> {
                    let (_, path) = versions(&metadata, of).pop().ok_or_else(|| missing(of))?;
                    serde_json::from_slice(&read(&path)?).map_err(|error| FirmwareError::Factory(error.into()))
                };
                let factory = Factory {
                    version: FACTORY_VERSION,
                    trust: (*trust).into(),
                    manufacturer: manufacturer.clone(),
                    device_type: device_type.clone(),
                    model: model.clone(),
                    root: Some(newest("root.json")?),
                    targets: Some(newest("targets.json")?),
                };
                let bytes = serde_json::to_vec(&factory).map_err(|error| FirmwareError::Factory(error.into()))?;
                Factory::parse(&bytes)?;
                write_new(file, &bytes)?;
                Ok(format!("{} is what {manufacturer}'s {model} trust.", file.display()))
            }
        }
    }
}

impl From<TrustArg> for Trust {
    fn from(trust: TrustArg) -> Self {
        match trust {
            TrustArg::Both => Self::Both,
            TrustArg::Manufacturer => Self::Manufacturer,
            TrustArg::Server => Self::Server,
        }
    }
}

/// The versions of a metadata file in a folder, such as `3.root.json`, the newest last.
pub(crate) fn versions(folder: &Path, of: &str) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let version = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let (version, rest) = name.to_str()?.split_once('.')?;
        (rest == of).then(|| Some((version.parse().ok()?, entry.path())))?
    };
    let mut found: Vec<_> = entries.filter_map(version).collect();
    found.sort();
    found
}

/// Bytes that are the same for a revision, and mostly the same for all of them: a delta between two is small.
fn made_up(revision: &Revision, length: u64) -> Vec<u8> {
    let mut state = 1_u64;
    let mut bytes: Vec<u8> = (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes().first().copied().unwrap_or_default()
        })
        .collect();
    for (place, letter) in bytes.iter_mut().zip(revision.as_str().bytes()) {
        *place = letter;
    }
    bytes
}

fn read(path: &Path) -> Result<Vec<u8>, FirmwareError> {
    let mut bytes = Vec::new();
    let file = |why| FirmwareError::File { path: path.to_owned(), why };
    fs::File::open(path)
        .map_err(file)?
        .take(MAX_IMAGE_BYTES.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(file)?;
    Ok(bytes)
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), FirmwareError> {
    use std::io::Write as _;
    let file = |why| FirmwareError::File { path: path.to_owned(), why };
    fs::File::create_new(path).map_err(file)?.write_all(bytes).map_err(file)
}

fn refused(path: &Path) -> impl FnOnce(InvalidFirmware) -> FirmwareError + '_ {
    move |why| FirmwareError::Firmware { path: path.to_owned(), why }
}
