//! The image of the reference pump: what `wardlink pump` runs. A small file that says how the pump behaves, and the bytes of a program.
//!
//! It stands for a real pump's firmware in everything that matters to its distribution: it has a revision, it runs on some hardware
//! only, one release may be broken, and there is more of it than fits into one message. The format: a first line `wardlink-pump-image 1`,
//! a second line of canonical JSON ([`Firmware`]), and as many bytes as it says. There is one spelling of each.

mod command;

pub(crate) use command::versions;
pub use command::{FirmwareArgs, FirmwareError};

use crate::device::slots::Installed;
use crate::device::{FactoryImage, Tested};
use serde::{Deserialize, Serialize};
use wardlink_protocol::identity::Sha256;
use wardlink_update::json::Json;
use wardlink_update::package::{HardwareId, MAX_HARDWARE_IDS, Note, ReleaseCounter, Revision};

/// The first line.
const MAGIC: &[u8] = b"wardlink-pump-image 1\n";
/// The longest second line, in bytes.
const MAX_HEADER_BYTES: usize = 4_096;
/// The shortest pause between two measurements, in milliseconds.
pub const MIN_TELEMETRY_MS: u64 = 10;
/// The longest pause between two measurements, in milliseconds: an hour.
pub const MAX_TELEMETRY_MS: u64 = 3_600_000;

/// How the pump's test of itself ends with this image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum SelfTest {
    /// The image works.
    #[default]
    Passes,
    /// The pump finds that something does not work.
    Fails,
    /// The pump ends before it can say so.
    Crashes,
}

/// What an image says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// Its revision.
    pub revision: Revision,
    /// Its place among the releases for the model.
    pub release_counter: ReleaseCounter,
    /// The hardware that it runs on, in ascending order.
    pub hardware: Vec<HardwareId>,
    /// What the display says beside the revision, where it says something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub greeting: Option<Note>,
    /// The pause between two measurements, in milliseconds.
    pub telemetry_ms: u64,
    /// How the test of it ends.
    pub self_test: SelfTest,
    /// The length and SHA-256 of the bytes that follow.
    pub program: Program,
}

/// The bytes after the second line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// How many there are.
    pub length: u64,
    /// Their SHA-256.
    pub sha256: Sha256,
}

/// Why bytes are no image of the pump.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFirmware {
    /// It does not begin as an image does.
    #[error("it does not begin with the line of a pump's image")]
    Magic,
    /// The second line is missing or too long.
    #[error("its second line does not end within {MAX_HEADER_BYTES} bytes")]
    Header,
    /// The second line is not the JSON of an image, or is spelled otherwise.
    #[error("its second line is not what an image says of itself: {0}")]
    Json(String),
    /// It says something that cannot be.
    #[error("it says something that cannot be: {0}")]
    Contradiction(&'static str),
    /// The bytes that follow are others than it says.
    #[error("the bytes that follow are not those that it names")]
    Program,
}

impl Program {
    /// What is to be said of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Self { length, sha256: Sha256(sha2::Sha256::digest(bytes).into()) }
    }
}

impl Firmware {
    /// Reads an image.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidFirmware> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(InvalidFirmware::Magic)?;
        let end = rest.iter().take(MAX_HEADER_BYTES).position(|byte| *byte == b'\n').ok_or(InvalidFirmware::Header)?;
        let (header, program) = rest.split_at_checked(end).ok_or(InvalidFirmware::Header)?;
        let program = program.strip_prefix(b"\n").ok_or(InvalidFirmware::Header)?;
        let json = Json::parse(header).map_err(|error| InvalidFirmware::Json(error.to_string()))?;
        let firmware: Self =
            serde_json::from_slice(header).map_err(|error| InvalidFirmware::Json(error.to_string()))?;
        if json.to_canonical() != header || firmware.header()? != header {
            return Err(InvalidFirmware::Json("it is spelled otherwise".to_owned()));
        }
        if firmware.program == Program::of(program) { Ok(firmware) } else { Err(InvalidFirmware::Program) }
    }

    /// The image, with a program that is the one it names.
    pub fn to_bytes(&self, program: &[u8]) -> Result<Vec<u8>, InvalidFirmware> {
        if self.program != Program::of(program) {
            return Err(InvalidFirmware::Program);
        }
        Ok([MAGIC, &self.header()?, b"\n", program].concat())
    }

    fn header(&self) -> Result<Vec<u8>, InvalidFirmware> {
        let is_ascending = self.hardware.iter().zip(self.hardware.iter().skip(1)).all(|(one, next)| one < next);
        if !(1..=MAX_HARDWARE_IDS).contains(&self.hardware.len()) || !is_ascending {
            return Err(InvalidFirmware::Contradiction("its hardware is not in ascending order, each once"));
        }
        if !(MIN_TELEMETRY_MS..=MAX_TELEMETRY_MS).contains(&self.telemetry_ms) {
            return Err(InvalidFirmware::Contradiction("a pause between measurements is 10 ms to an hour"));
        }
        let json = serde_json::to_vec(self).map_err(|error| InvalidFirmware::Json(error.to_string()))?;
        let json = Json::parse(&json).map_err(|error| InvalidFirmware::Json(error.to_string()))?.to_canonical();
        if json.len() < MAX_HEADER_BYTES { Ok(json) } else { Err(InvalidFirmware::Header) }
    }

    /// The image that a pump has which was given none: revision 1.4.2.
    pub fn built_in() -> Result<(Self, FactoryImage), InvalidFirmware> {
        let unusable = |_| InvalidFirmware::Contradiction("the built-in image");
        let firmware = Self {
            revision: "1.4.2".parse().map_err(|_| InvalidFirmware::Contradiction("the built-in revision"))?,
            release_counter: ReleaseCounter::new(1).ok_or(InvalidFirmware::Contradiction("the built-in counter"))?,
            hardware: vec!["PM2-B".parse().map_err(unusable)?],
            greeting: None,
            telemetry_ms: 1_000,
            self_test: SelfTest::Passes,
            program: Program::of(b""),
        };
        let image = firmware.factory_image(firmware.to_bytes(b"")?);
        Ok((firmware, image))
    }

    /// The image as a pump leaves the factory with it.
    pub fn factory_image(&self, bytes: Vec<u8>) -> FactoryImage {
        FactoryImage { bytes, revision: self.revision.clone(), release_counter: Some(self.release_counter) }
    }
}

/// The pump's test of itself with an image that is on trial: whether it is one, the one that was announced, for this hardware, and
/// whether it says that it works.
pub fn self_test(bytes: &[u8], announced: &Installed, hardware: &HardwareId) -> Tested {
    let failed = |reason: &str| Tested::Failed(reason.to_owned());
    let firmware = match Firmware::parse(bytes) {
        Ok(firmware) => firmware,
        Err(invalid) => return Tested::Failed(format!("it is no image of this pump: {invalid}")),
    };
    if firmware.revision != announced.revision || Some(firmware.release_counter) != announced.release_counter {
        let counter = announced.release_counter.map_or(0, ReleaseCounter::number);
        return Tested::Failed(format!(
            "it is revision {}, release {}, and not revision {}, release {counter}, as announced",
            firmware.revision, firmware.release_counter, announced.revision
        ));
    }
    if !firmware.hardware.contains(hardware) {
        return failed("it does not run on this hardware");
    }
    match firmware.self_test {
        SelfTest::Passes => Tested::Passed,
        SelfTest::Fails => failed("its self-test failed"),
        SelfTest::Crashes => Tested::Crashed,
    }
}

#[cfg(test)]
mod tests;
