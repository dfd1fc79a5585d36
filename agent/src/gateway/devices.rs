//! The devices that a gateway speaks and installs for: passive ones, such as scales, which cannot verify for themselves
//! (design, section 5).
//!
//! Their list is a file of the hospital's. The reference device is a folder with two slots: what runs is named by its record, which
//! is replaced in one step, so that it runs the one image or the other, whatever happens meanwhile.

use crate::files::{if_there, put_for_group, read_file};
use crate::room;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256 as Hasher};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use wardlink_protocol::Device;
use wardlink_protocol::identity::Sha256;
use wardlink_update::inventory::Characteristics;
use wardlink_update::metadata::Target;
use wardlink_update::package::{
    AddedKind, HardwareId, MAX_ADDED_BYTES, Manufacturer, Model, ReleaseCounter, Revision, SerialNumber,
};
use wardlink_update::report::{Image, MAX_REPORTED_DEVICES, State};
use wardlink_update::uptane::Delivery;

const RECORD: &str = "record.json";
/// The longest record, in bytes.
const MAX_RECORD_BYTES: u64 = 64 * 1024;
const IMAGE: &str = "image.bin";
/// A file of this name in a device's folder says that this is no safe moment.
const BUSY: &str = "busy";

/// A line of the file: what the device is when it comes, and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configured {
    /// Class and identifier.
    pub device: Device,
    /// Who made it.
    pub manufacturer: Manufacturer,
    /// Its model.
    pub model: Model,
    /// Its serial number.
    pub serial_number: SerialNumber,
    /// The revision with which it comes.
    pub revision: Revision,
    /// Its hardware.
    pub hardware: HardwareId,
    /// Its release counter, where it comes with one.
    #[serde(default)]
    pub release_counter: Option<ReleaseCounter>,
    /// Its folder.
    pub directory: PathBuf,
}

/// At which step a reference device fails, for tests of what happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailAt {
    /// It cannot write the image.
    Prepare,
    /// It has no room for the image.
    Room,
    /// It does not start with it.
    Start,
}

impl core::str::FromStr for FailAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "prepare" => Ok(Self::Prepare),
            "room" => Ok(Self::Room),
            "start" => Ok(Self::Start),
            _ => Err("a device fails at prepare, at room or at start".to_owned()),
        }
    }
}

/// The record: what runs, and in which slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    state: State,
    slot: Slot,
    /// What ran before, until the change-over counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Box<Self>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Slot {
    A,
    B,
}

impl Slot {
    const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    const fn folder(self) -> &'static str {
        match self {
            Self::A => "slot-a",
            Self::B => "slot-b",
        }
    }
}

/// Why a device does not do it.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// Its folder.
    #[error("the device's folder: {0}")]
    Io(#[from] io::Error),
    /// Its folder is not there.
    #[error("the device's folder is not here: mount it, or connect the device")]
    Away,
    /// Its folder is there, without the record that it had.
    #[error(
        "the device had a record, and its folder has none now: mount it; another device has another serial number in --devices"
    )]
    Forgotten,
    /// Its disk has no room.
    #[error("there is no room for the image in the device's folder; it is written when there is")]
    NoRoom,
    /// What it has written is not what it was given.
    #[error("the image is damaged in the device")]
    Damaged,
    /// Its record is none.
    #[error("the device's record cannot be read: {0}")]
    Record(#[from] serde_json::Error),
    /// It did not start.
    #[error("the device did not start with the new image")]
    Start,
}

/// A passive device.
#[derive(Clone, Debug)]
pub struct Passive {
    configured: Configured,
    fail: Option<FailAt>,
    /// Whether its image is a program of this machine.
    is_program: bool,
}

/// Reads the file of devices.
pub fn read(path: &Path) -> Result<Vec<Configured>> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let devices: Vec<Configured> =
        serde_json::from_slice(&text).with_context(|| format!("{} is no list of devices", path.display()))?;
    ensure!(devices.len() <= MAX_REPORTED_DEVICES, "a gateway has at most {MAX_REPORTED_DEVICES} devices");
    let names: BTreeSet<_> = devices.iter().map(|configured| &configured.device).collect();
    let folders: BTreeSet<_> = devices.iter().map(|configured| &configured.directory).collect();
    ensure!(
        names.len() == devices.len() && folders.len() == devices.len(),
        "{}: a device, or a directory, stands there twice",
        path.display()
    );
    for configured in &devices {
        ensure!(
            !configured.device.is_gateway() && !configured.device.is_service(),
            "{} is no passive device",
            configured.device
        );
    }
    Ok(devices)
}

impl Passive {
    /// A device; it fails at that step, if one is given.
    pub const fn new(configured: Configured, fail: Option<FailAt>) -> Self {
        Self { configured, fail, is_program: false }
    }

    /// The gateway's own program, as a device.
    pub(super) const fn program(configured: Configured, fail: Option<FailAt>) -> Self {
        Self { configured, fail, is_program: true }
    }

    /// Whether it has changed over, and that does not count yet.
    pub fn is_on_trial(&self) -> Result<bool, DeviceError> {
        Ok(self.record()?.before.is_some())
    }

    /// Class and identifier.
    pub const fn device(&self) -> &Device {
        &self.configured.device
    }

    /// Its serial number, as it is configured.
    pub(super) const fn serial_number(&self) -> &SerialNumber {
        &self.configured.serial_number
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.configured.directory
    }

    /// What it runs.
    pub fn state(&self) -> Result<State, DeviceError> {
        Ok(self.look()?.0)
    }

    /// What it runs, and whether a record of its own says so: without one it is as it comes.
    pub(super) fn look(&self) -> Result<(State, bool), DeviceError> {
        let record = self.read_record()?;
        let has_record = record.is_some();
        Ok((record.unwrap_or_else(|| self.as_it_comes()).state, has_record))
    }

    /// Whether it says that it is busy: this is no safe moment, and may be a therapy.
    pub fn is_busy(&self) -> bool {
        self.configured.directory.join(BUSY).exists()
    }

    /// The image that it runs, where it has it as a file.
    pub fn image(&self) -> Result<PathBuf, DeviceError> {
        Ok(self.slot(self.record()?.slot).join(IMAGE))
    }

    /// Writes the image and what comes with it into the slot that does not run, and reads it again. Of the added data that it has, it keeps what the package
    /// accepts and nothing newer replaces.
    pub fn prepare(
        &self,
        image: &Path,
        target: &Target,
        added: &[(AddedKind, Vec<u8>)],
        accepts: &[AddedKind],
    ) -> Result<(), DeviceError> {
        self.try_to_prepare(image, target, added, accepts).map_err(|error| match error {
            DeviceError::Io(error) if room::is_lacking(&error) => DeviceError::NoRoom,
            other => other,
        })
    }

    fn try_to_prepare(
        &self,
        image: &Path,
        target: &Target,
        added: &[(AddedKind, Vec<u8>)],
        accepts: &[AddedKind],
    ) -> Result<(), DeviceError> {
        if self.fail == Some(FailAt::Prepare) {
            return Err(io::Error::other("it is told to fail").into());
        }
        self.need_folder()?;
        let record = self.record()?;
        if record.before.is_some() {
            // Nobody goes back to a slot that holds something else from now on.
            self.write(&Record { before: None, ..record.clone() })?;
        }
        let added = with_kept(&self.slot(record.slot), added, accepts)?;
        if self.holds(record.slot.other(), target, &added)? {
            // Another device of the transaction has held it up.
            return Ok(());
        }
        let slot = self.slot(record.slot.other());
        remove(&slot)?;
        let filled = self.fill(&slot, image, target, &added);
        // A part of it is of no use, and takes room.
        if filled.is_err()
            && let Err(error) = remove(&slot)
        {
            tracing::warn!(%error, slot = %slot.display(), "what was not written whole cannot be removed");
        }
        filled
    }

    /// Whether just this lies whole in a slot; then it is on the disk as well.
    fn holds(&self, slot: Slot, target: &Target, added: &[(AddedKind, Vec<u8>)]) -> Result<bool, DeviceError> {
        let Some(sha256) = target.sha256() else { return Ok(false) };
        if !self.lies_in(slot, &Image { length: target.length, sha256 })? {
            return Ok(false);
        }
        let folder = self.slot(slot);
        let mut files = vec![folder.join(IMAGE)];
        for kind in AddedKind::ALL {
            let file = folder.join(file_of(kind));
            let wanted = added.iter().find(|(one, _)| *one == kind).map(|(_, bytes)| bytes);
            if if_there(fs::read(&file))?.as_ref() != wanted {
                return Ok(false);
            }
            files.extend(wanted.is_some().then_some(file));
        }
        files.iter().try_for_each(|file| File::open(file)?.sync_all())?;
        synchronize(&folder)?;
        synchronize(&self.configured.directory)?;
        Ok(true)
    }

    fn fill(
        &self,
        slot: &Path,
        image: &Path,
        target: &Target,
        added: &[(AddedKind, Vec<u8>)],
    ) -> Result<(), DeviceError> {
        let length = added
            .iter()
            .fold(target.length, |sum, (_, bytes)| sum.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX)));
        if self.fail == Some(FailAt::Room) || !room::is_there(&self.configured.directory, length)? {
            return Err(DeviceError::NoRoom);
        }
        fs::create_dir(slot)?;
        let mut source = File::open(image)?;
        let mut written = File::create(slot.join(IMAGE))?;
        io::copy(&mut source, &mut written)?;
        if self.is_program {
            written.set_permissions(fs::Permissions::from_mode(0o755))?;
        }
        written.sync_all()?;
        for (kind, bytes) in added {
            let mut file = File::create(slot.join(file_of(*kind)))?;
            file.write_all(bytes)?;
            file.sync_all()?;
        }
        synchronize(slot)?;
        synchronize(&self.configured.directory)?;
        let mut delivery = Delivery::new(target);
        super::packages::read_through(&slot.join(IMAGE), |chunk| delivery.take(chunk).is_ok())?;
        delivery.finish().map_err(|_| DeviceError::Damaged)?;
        let are_whole =
            added.iter().all(|(kind, bytes)| fs::read(slot.join(file_of(*kind))).is_ok_and(|is| is == *bytes));
        if are_whole { Ok(()) } else { Err(DeviceError::Damaged) }
    }

    /// Changes over to the slot that was prepared, and starts with it. Done again, it changes nothing.
    pub fn change_over(&self, after: &State) -> Result<(), DeviceError> {
        let present = self.record()?;
        if present.state != *after {
            let slot = present.slot.other();
            // It may have been written long ago.
            if let Some(image) = &after.image
                && !self.lies_in(slot, image)?
            {
                return Err(DeviceError::Damaged);
            }
            self.write(&Record { state: after.clone(), slot, before: Some(Box::new(present)) })?;
        }
        if self.fail == Some(FailAt::Start) { Err(DeviceError::Start) } else { Ok(()) }
    }

    /// Whether just this image lies in a slot.
    fn lies_in(&self, slot: Slot, image: &Image) -> Result<bool, DeviceError> {
        let mut hash = Hasher::new();
        let read = super::packages::read_through(&self.slot(slot).join(IMAGE), |chunk| {
            hash.update(chunk);
            true
        });
        Ok(if_there(read)?.is_some() && Sha256(hash.finalize().into()) == image.sha256)
    }

    /// Goes back to what ran before, if it has changed over.
    pub fn go_back(&self) -> Result<(), DeviceError> {
        match self.record()?.before {
            Some(before) => self.write(&before),
            None => Ok(()),
        }
    }

    /// The change-over counts: what ran before is deleted.
    pub fn keep(&self) -> Result<(), DeviceError> {
        let record = self.record()?;
        if record.before.is_some() {
            self.write(&Record { before: None, ..record.clone() })?;
        }
        Ok(remove(&self.slot(record.slot.other()))?)
    }

    fn slot(&self, slot: Slot) -> PathBuf {
        self.configured.directory.join(slot.folder())
    }

    fn record(&self) -> Result<Record, DeviceError> {
        Ok(self.read_record()?.unwrap_or_else(|| self.as_it_comes()))
    }

    /// Its record; none where its folder is there and has none.
    fn read_record(&self) -> Result<Option<Record>, DeviceError> {
        let Some(bytes) = if_there(read_file(&self.configured.directory.join(RECORD), MAX_RECORD_BYTES))? else {
            let is_here = self.is_program || self.configured.directory.is_dir();
            return if is_here { Ok(None) } else { Err(DeviceError::Away) };
        };
        let bytes = bytes.ok_or_else(|| io::Error::other(format!("{RECORD} is no file")))?;
        Ok(Some(serde_json::from_slice(&bytes)?))
    }

    /// What it is as it comes from the factory.
    fn as_it_comes(&self) -> Record {
        let is = self.configured.clone();
        let characteristics = Characteristics {
            device: is.device,
            manufacturer: is.manufacturer,
            model: is.model,
            serial_number: is.serial_number,
            revision: is.revision,
            hardware: is.hardware,
        };
        let state = State { characteristics, image: None, release_counter: is.release_counter, attack: None };
        Record { state, slot: Slot::A, before: None }
    }

    fn write(&self, record: &Record) -> Result<(), DeviceError> {
        self.need_folder()?;
        // Under another user of the same group it is read again.
        Ok(put_for_group(&self.configured.directory.join(RECORD), &serde_json::to_vec(record)?)?)
    }

    /// A device's folder is the device: nobody else makes it. That of the gateway's own programs is the gateway's.
    fn need_folder(&self) -> Result<(), DeviceError> {
        let folder = &self.configured.directory;
        if self.is_program {
            fs::create_dir_all(folder)?;
        }
        if folder.is_dir() { Ok(()) } else { Err(DeviceError::Away) }
    }
}

/// The file of this kind of added data, beside the image.
const fn file_of(kind: AddedKind) -> &'static str {
    match kind {
        AddedKind::DrugLibrary => "drug-library.json",
        AddedKind::SiteSettings => "site-settings.json",
    }
}

/// What comes, and of what lies in a slot the kinds that are accepted and do not come.
fn with_kept(
    slot: &Path,
    newer: &[(AddedKind, Vec<u8>)],
    accepts: &[AddedKind],
) -> io::Result<Vec<(AddedKind, Vec<u8>)>> {
    let mut all = newer.to_vec();
    for kind in accepts.iter().copied().filter(|kind| newer.iter().all(|(newer, _)| newer != kind)) {
        let Some(bytes) = if_there(read_file(&slot.join(file_of(kind)), MAX_ADDED_BYTES))? else { continue };
        let fits = |bytes: &Vec<u8>| u64::try_from(bytes.len()).is_ok_and(|length| length <= MAX_ADDED_BYTES);
        let unusable = || io::Error::other(format!("{} is no file, or is too long", file_of(kind)));
        all.push((kind, bytes.filter(fits).ok_or_else(unusable)?));
    }
    Ok(all)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn synchronize(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
