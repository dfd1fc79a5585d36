//! A device's own part of software distribution (Distribution, figures 5A, 5B and 12; Uptane 5.4): it verifies what it is offered, writes
//! it beside what runs, switches, tests itself, and keeps the new image or goes back.
//!
//! [`Device`] is the shell around values that do no input or output: [`slots`] (which image is started), [`job`] (how far an update is),
//! [`trusted`] (whose signatures count). All of them stand in one record, which is replaced in one atomic step; so a power
//! loss at whatever moment leaves the old state or the new one, and the device boots the old image or the new one, each whole.
//! Whoever brings the bytes, a gateway, a stick or the device's own session, drives it:
//!
//! 1. [`Device::open`] boots: it checks the image's hash, counts the starts of an image on trial, and has it tested.
//! 2. [`Device::offer`] takes what was handed on, and follows rotated keys before it verifies.
//! 3. [`Device::go_on`] says what is wanted next; [`Device::take_image`], [`Device::take_delta`], [`Device::take_added`] take it.
//! 4. [`Device::restart`] boots the new image. [`Device::outcomes`] tells what came of it, until [`Device::told`].
//!
//! Threats considered: whoever brings the bytes may be an attacker and may hold some of the keys; everything is verified here again. A
//! release that does not come up is taken back by itself. Nothing is ever written over the image that runs.

pub mod direct;
pub mod disk;
mod error;
pub mod factory;
pub mod handover;
pub mod hub;
pub mod image;
pub mod job;
mod receiving;
pub mod records;
pub mod slots;
mod store;
pub mod trusted;

pub use error::DeviceError;
pub use receiving::{DeltaRefused, Doing, Offer, Offered};
pub use store::StoreError;

use disk::{Disk, Name};
use factory::Factory;
use job::{Job, JobStage};
use p256::ecdsa::SigningKey;
use serde::{Deserialize, Serialize};
use slots::{Installed, Slot, Slots, Start};
use std::collections::BTreeSet;
use trusted::Trusted;
use wardlink_protocol::Device as DeviceName;
use wardlink_protocol::distribution::DirectorRoot;
use wardlink_protocol::identity::Sha256;
use wardlink_update::inventory::Characteristics;
use wardlink_update::key::Key;
use wardlink_update::metadata::{Draft, Expires, InvalidMetadata, Version};
use wardlink_update::package::{
    AddedKind, HardwareId, MAX_ADDED_BYTES, Manufacturer, Model, Note, ReleaseCounter, Revision, SerialNumber,
};
use wardlink_update::report::{DeviceReport, State};
use wardlink_update::uptane::{Notification, Outcome};

/// How long a report counts, in seconds: a day.
const REPORT_SECS: u64 = 24 * 60 * 60;
/// The most outcomes that wait to be told. What was refused or postponed, or has only begun, goes first: nobody drives out the word of what was installed.
pub(crate) const MAX_UNTOLD: usize = 64;

/// Which device this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its class and identifier.
    pub device: DeviceName,
    /// Who made it.
    pub manufacturer: Manufacturer,
    /// Its model.
    pub model: Model,
    /// The serial number on its casing.
    pub serial_number: SerialNumber,
    /// Its hardware.
    pub hardware: HardwareId,
}

/// The image that a device leaves the factory with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactoryImage {
    /// The image.
    pub bytes: Vec<u8>,
    /// Its revision.
    pub revision: Revision,
    /// Its release counter, where it has one.
    pub release_counter: Option<ReleaseCounter>,
}

/// What a device's self-test says of an image that is on trial, before anything else is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tested {
    /// It works.
    Passed,
    /// It does not: the device goes back.
    Failed(String),
    /// It never came so far as to say something. The start counts, and the device ends.
    Crashed,
}

/// How the last update ended, for the display.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// Its revision.
    pub revision: Revision,
    /// What came of it, and of which directive.
    pub notification: Notification,
}

/// Everything that a device knows of its software.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Software {
    slots: Slots,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trusted: Option<Trusted>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    job: Option<Job>,
    /// How the last update ended; one that failed is not begun again by the same directive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<Ended>,
    /// What has yet to be told.
    untold: Vec<Notification>,
    /// The counter of the newest report.
    reported: Version,
    /// An attack that was seen, until something is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attack: Option<Note>,
}

impl Software {
    /// Tells an outcome; the same twice in a row is told once.
    fn tell(&mut self, notification: Notification) {
        if self.untold.last() != Some(&notification) {
            self.untold.push(notification);
        }
        while self.untold.len() > MAX_UNTOLD {
            let is_idle = |of: &Notification| {
                matches!(of.outcome, Outcome::Begun | Outcome::Refused { .. } | Outcome::Postponed(_))
            };
            self.untold.remove(self.untold.iter().position(is_idle).unwrap_or(0));
        }
    }

    /// Ends the update with an outcome.
    fn end(&mut self, device: &DeviceName, outcome: Outcome) {
        if let Some(job) = self.job.take() {
            let notification = job.notification(device, outcome);
            self.ended = Some(Ended { revision: job.package.post_revision, notification: notification.clone() });
            self.tell(notification);
        }
    }
}

/// A device with its software.
pub struct Device<D> {
    disk: D,
    identity: Identity,
    software: Software,
    /// The image that runs.
    image: Vec<u8>,
    /// Whether the image that has proved itself runs, because the disk took no count of a trial's start.
    is_uncounted: bool,
    /// How much of the image on its way lies in its slot; none before that was looked at.
    position: Option<u64>,
    /// The added data that was found to lie there whole.
    found: BTreeSet<Sha256>,
    /// How many outcomes were taken since the device was opened.
    taken: usize,
}

impl<D: Disk> Device<D> {
    /// Boots. At the first start the factory's image is put into slot A. `test` is asked about an image on trial.
    ///
    /// Without a factory file nothing is trusted, and nothing can be offered; a device that was started without takes it later.
    pub fn open(
        mut disk: D,
        identity: Identity,
        factory: Option<&Factory>,
        image: FactoryImage,
        test: impl FnMut(&[u8], &Installed) -> Tested,
    ) -> Result<Self, DeviceError> {
        let trusted = factory.map(Factory::trusted).transpose()?;
        let mut software = match store::load::<Software>(&disk)? {
            Some(software) => software,
            None => first_start(&mut disk, image)?,
        };
        match (&software.trusted, trusted) {
            (None, Some(trusted)) => {
                software.trusted = Some(trusted);
                store::store(&mut disk, &software)?;
            }
            (Some(known), Some(given))
                if known.provisioned.manufacturer != given.provisioned.manufacturer
                    || known.provisioned.trust != given.provisioned.trust =>
            {
                return Err(DeviceError::OtherFactory);
            }
            _ => {}
        }
        let (image, found) = (Vec::new(), BTreeSet::new());
        let mut device = Self { disk, identity, software, image, is_uncounted: false, position: None, found, taken: 0 };
        device.restart(test)?;
        Ok(device)
    }

    /// Boots anew, as after a switch. Only what was stored counts. Where the disk takes nothing, such as the count of a trial's starts, the
    /// image that has proved itself runs, and [`Device::go_on`] asks for another start when the disk has room.
    pub fn restart(&mut self, test: impl FnMut(&[u8], &Installed) -> Tested) -> Result<(), DeviceError> {
        self.forget_progress();
        let started = self.start(test);
        self.is_uncounted = started.as_ref().is_err_and(DeviceError::is_of_disk);
        if self.is_uncounted { self.run_active() } else { started }
    }

    fn start(&mut self, mut test: impl FnMut(&[u8], &Installed) -> Tested) -> Result<(), DeviceError> {
        loop {
            let mut next = self.software.clone();
            match next.slots.start() {
                Start::Active => {
                    self.run_active()?;
                    return Ok(self.tidy()?);
                }
                Start::Exhausted => self.roll_back("it did not come up")?,
                Start::Trial => {
                    // Counted before it runs: one that takes the device down with it is not started for ever.
                    self.store(next)?;
                    let Some(trial) = self.software.slots.trial.clone() else { continue };
                    let Some(image) = image::read_installed(&self.disk, &trial.installed)? else {
                        self.roll_back("what lies in its slot is not what was written")?;
                        continue;
                    };
                    match test(&image, &trial.installed) {
                        Tested::Passed => {
                            self.image = image;
                            return self.passed();
                        }
                        Tested::Failed(reason) => self.roll_back(&reason)?,
                        Tested::Crashed => return Err(DeviceError::Crashed),
                    }
                }
            }
        }
    }

    fn run_active(&mut self) -> Result<(), DeviceError> {
        let image = image::read_installed(&self.disk, &self.software.slots.active)?;
        self.image = image.ok_or(DeviceError::ImageDamaged)?;
        Ok(())
    }

    /// The disk has room for the count of a trial's starts.
    fn can_count(&mut self) -> Result<(), DeviceError> {
        store::store(&mut self.disk, &self.software)?;
        self.is_uncounted = false;
        Ok(())
    }

    /// The image on trial works: it is kept, or, as a member of a set, waits for the others.
    fn passed(&mut self) -> Result<(), DeviceError> {
        if self.software.job.as_ref().is_some_and(Job::is_of_a_set) {
            let mut next = self.software.clone();
            if let Some(trial) = &mut next.slots.trial {
                trial.has_passed = true;
            }
            return self.store(next);
        }
        self.confirm()
    }

    /// The image on trial is kept, in one step with its outcome; the replaced one goes (figure 12, 262 to 264).
    fn confirm(&mut self) -> Result<(), DeviceError> {
        let mut next = self.software.clone();
        next.slots.confirm();
        if let Some(job) = &next.job {
            let outcome = job.install(&self.identity.device).installed();
            next.end(&self.identity.device, outcome);
        }
        self.store(next)?;
        Ok(self.tidy()?)
    }

    /// The image on trial is taken back, in one step with its outcome (figure 12, 265).
    fn roll_back(&mut self, reason: &str) -> Result<(), DeviceError> {
        let mut next = self.software.clone();
        next.slots.roll_back();
        next.end(&self.identity.device, Outcome::failed(reason));
        self.store(next)?;
        Ok(self.tidy()?)
    }

    /// Removes what belongs to nothing any more. A power loss in between leaves something for the next time.
    fn tidy(&mut self) -> Result<(), StoreError> {
        let Software { slots, job, .. } = &self.software;
        let is_written = slots.trial.is_some() || job.as_ref().is_some_and(|job| job.stage != JobStage::Waiting);
        let mut kept: Vec<Name> = vec![Name::Record, Name::Slot(slots.active.slot)];
        let trial = slots.trial.iter().map(|trial| &trial.installed);
        let added = [&slots.active].into_iter().chain(trial).flat_map(|installed| &installed.added);
        let wanted = job.iter().flat_map(|job| &job.added);
        kept.extend(added.chain(wanted).map(|added| Name::Added(added.file.sha256)));
        if is_written {
            kept.push(Name::Slot(slots.inactive()));
        }
        let gone: Vec<_> = self.disk.names()?.into_iter().filter(|name| !kept.contains(name)).collect();
        for name in &gone {
            self.disk.remove(*name)?;
        }
        if !gone.is_empty() {
            self.disk.sync_names()?;
        }
        Ok(())
    }

    /// Stores what the device knows from now on; until it is stored, it does not know it.
    fn store(&mut self, next: Software) -> Result<(), DeviceError> {
        if next != self.software {
            store::store(&mut self.disk, &next)?;
            self.software = next;
        }
        Ok(())
    }

    /// The image that runs.
    pub fn image(&self) -> &[u8] {
        &self.image
    }

    /// Which device this is.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The image that runs, or is tried out.
    pub fn runs(&self) -> &Installed {
        let slots = &self.software.slots;
        let trial = slots.trial.as_ref().filter(|_| !self.is_uncounted);
        trial.map_or(&slots.active, |trial| &trial.installed)
    }

    /// The update on its way.
    pub const fn job(&self) -> Option<&Job> {
        self.software.job.as_ref()
    }

    /// How the last update ended.
    pub const fn ended(&self) -> Option<&Ended> {
        self.software.ended.as_ref()
    }

    /// Whom it trusts; none without a factory file.
    pub const fn trusted(&self) -> Option<&Trusted> {
        self.software.trusted.as_ref()
    }

    /// What it runs, as it reports it: what has proved itself (figure 12, 253).
    pub fn state(&self) -> State {
        let (identity, active) = (&self.identity, &self.software.slots.active);
        State {
            characteristics: Characteristics {
                device: identity.device.clone(),
                manufacturer: identity.manufacturer.clone(),
                model: identity.model.clone(),
                serial_number: identity.serial_number.clone(),
                revision: active.revision.clone(),
                hardware: identity.hardware.clone(),
            },
            image: Some(active.image()),
            release_counter: active.release_counter,
            attack: self.software.attack.clone(),
        }
    }

    /// The signed report. Its counter is stored before it is given out, and lies above `seen`, which the server may have from a life of
    /// this device before.
    pub fn report(&mut self, key: &SigningKey, seen: Version, now: u64) -> Result<Vec<u8>, DeviceError> {
        let counter = self.count_report(seen)?;
        let expires = Expires::at(now.saturating_add(REPORT_SECS));
        let mut draft = Draft::new(&DeviceReport::new(counter, expires, self.state()))?;
        let id = Key::ecdsa_p256(key.verifying_key()).map_err(|_| unusable_key())?.id();
        draft.sign(id, key);
        Ok(draft.to_bytes())
    }

    /// The counter of the next report: stored before it is given out, and above `seen`.
    pub fn count_report(&mut self, seen: Version) -> Result<Version, DeviceError> {
        let mut next = self.software.clone();
        next.reported = next.reported.max(seen).saturating_add(1);
        self.store(next)?;
        Ok(self.software.reported)
    }

    /// What came of updates, and was not told yet.
    pub fn outcomes(&self) -> &[Notification] {
        &self.software.untold
    }

    /// One of them was told, and is stored where it belongs: the first of those that say this.
    pub fn told(&mut self, told: &Notification) -> Result<(), DeviceError> {
        let mut next = self.software.clone();
        if let Some(place) = next.untold.iter().position(|untold| untold == told) {
            next.untold.remove(place);
            self.store(next)?;
            self.taken = self.taken.saturating_add(1);
        }
        Ok(())
    }

    /// How many outcomes were taken since the device was opened.
    pub const fn taken(&self) -> usize {
        self.taken
    }

    /// Data that the server has added to the image that runs; none where there is none of the kind, or where it is not what was
    /// installed.
    pub fn added(&self, kind: AddedKind) -> Result<Option<Vec<u8>>, DeviceError> {
        let Some(added) = self.runs().added.iter().find(|added| added.kind == kind) else { return Ok(None) };
        let bytes = disk::read(&self.disk, Name::Added(added.file.sha256), MAX_ADDED_BYTES)?;
        Ok(bytes.filter(|bytes| added.check(bytes).is_ok()))
    }

    /// Takes the site's director, as its control unit has signed it ([`wardlink_crypto::director::verify`]).
    pub fn directed_by(&mut self, given: &DirectorRoot) -> Result<(), DeviceError> {
        let mut next = self.software.clone();
        next.trusted = Some(self.provisioned()?.directed_by(given)?);
        self.store(next)
    }

    /// Forgets the site: its director, the data that it has added, and an update that it has begun. The image that runs stays, and what
    /// the manufacturer said.
    pub fn leave_site(&mut self) -> Result<(), DeviceError> {
        let mut next = self.software.clone();
        next.trusted = next.trusted.map(|trusted| trusted.without_site());
        // What waits for its set has passed its own test, and there is no set any more. What has yet to be tested counts for nothing.
        if next.slots.trial.as_ref().is_some_and(|trial| trial.has_passed) {
            next.slots.confirm();
        } else {
            next.slots.roll_back();
        }
        next.slots.active.added.clear();
        (next.job, next.ended) = (None, None);
        next.untold.clear();
        self.store(next)?;
        Ok(self.tidy()?)
    }

    fn provisioned(&self) -> Result<&Trusted, DeviceError> {
        self.software.trusted.as_ref().ok_or(DeviceError::Unprovisioned)
    }
}

/// The factory's image in slot A, and a record that says so. A power loss in between: it is done again.
fn first_start(disk: &mut impl Disk, image: FactoryImage) -> Result<Software, DeviceError> {
    let FactoryImage { bytes, revision, release_counter } = image;
    disk::write(disk, Name::Slot(Slot::A), &bytes)?;
    let length = u64::try_from(bytes.len()).map_err(|_| DeviceError::ImageDamaged)?;
    let sha256 = store::sha256(&bytes);
    let active = Installed { slot: Slot::A, length, sha256, revision, release_counter, added: Vec::new() };
    let software = Software {
        slots: Slots::new(active),
        trusted: None,
        job: None,
        ended: None,
        untold: Vec::new(),
        reported: 0,
        attack: None,
    };
    store::store(disk, &software)?;
    Ok(software)
}

fn unusable_key() -> InvalidMetadata {
    InvalidMetadata::Contradiction("the device's key cannot be written")
}

#[cfg(test)]
mod tests;
