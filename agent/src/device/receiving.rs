//! From an offer to the switch.

use super::disk::{self, Disk, Name};
use super::image::{self, MAX_IMAGE_BYTES, SlotWriter};
use super::job::{AfterCorrupt, Hold, Job, JobStage};
use super::slots::{Installed, Trial};
use super::trusted::News;
use super::{Device, DeviceError, Software};
use std::io::{self, ErrorKind, Write as _};
use wardlink_delta::ApplyError;
use wardlink_protocol::identity::Sha256;
use wardlink_update::director::{Added, Directive};
use wardlink_update::metadata::{Expires, Role as _, Signed, TargetPath, Targets, Version};
use wardlink_update::package::{InvalidAdded, MAX_ADDED_BYTES, Note};
use wardlink_update::uptane::{
    Accepted, Cause, Circumstances, Corrupt, Delivery, Handed, Notification, Outcome, Postponed, Refused, Shortcut,
    Trust, partial,
};

/// Why an update fails that the device's disk has no room for.
const FULL: &str = "the device's storage is full";

/// What is handed on to a device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offer<'a> {
    /// What may have changed about keys.
    pub news: News<'a>,
    /// The update.
    pub handed: Handed<'a>,
}

/// What a device says to an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offered {
    /// There is nothing for it, or it has it already.
    Nothing,
    /// It goes on with it.
    Accepted,
    /// It has tried it already, and does not by itself a second time: a new directive has to come first.
    TriedBefore,
    /// It tries out another one, and looks at the next when that has ended.
    Busy,
    /// It was refused. That is an outcome, too.
    Refused(Refused),
}

/// What a device does about its update, and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Nothing.
    Idle,
    /// It waits for its moment.
    Postponed(Postponed),
    /// The image was corrupt, and is asked for again at this time, in seconds since 1970.
    RetryAt(u64),
    /// It wants the image's bytes from this position on.
    WantsImage {
        /// Where the image is.
        path: TargetPath,
        /// The first byte that is missing.
        position: u64,
        /// How many there are.
        length: u64,
    },
    /// It wants data that the server has added, whole.
    WantsAdded(Added),
    /// All of it lies there, verified; the set's other members are waited for ([`Device::commit`], [`Device::abort`]).
    Prepared,
    /// It has switched: it is to be restarted ([`Device::restart`]).
    Restart,
    /// The new image works; the set's other members are waited for ([`Device::settle`], [`Device::abort`]).
    WaitsForSet,
}

/// Why a delta is not taken. The whole image is asked for instead.
#[derive(Debug, thiserror::Error)]
pub enum DeltaRefused {
    /// It is not the listed file.
    #[error("the delta is not the listed one: {0}")]
    Corrupt(#[from] Corrupt),
    /// It leads from another image than the one that runs.
    #[error("the delta leads from another image")]
    Source,
    /// It cannot be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl<D: Disk> Device<D> {
    /// Verifies what was handed on, at this time in seconds since 1970. Keys that were rotated are stored before anything is verified
    /// by them, and versions that were seen before anything is installed.
    pub fn offer(&mut self, offer: &Offer<'_>, now: u64) -> Result<Offered, DeviceError> {
        if self.software.slots.trial.is_some() {
            return Ok(Offered::Busy);
        }
        let model = self.state().characteristics.models();
        let followed = match self.provisioned()?.follow(&offer.news, &model, now) {
            Ok(followed) => followed,
            Err(refused) => return self.refuse(refused, offer),
        };
        let mut next = self.software.clone();
        next.trusted = Some(followed.clone());
        self.store(next)?;
        match partial(&followed.provisioned, followed.seen, &self.state(), &offer.handed, now) {
            Ok(accepted) => self.accept(accepted, offer),
            Err(refused) => self.refuse(refused, offer),
        }
    }

    fn accept(&mut self, Accepted { install, seen }: Accepted, offer: &Offer<'_>) -> Result<Offered, DeviceError> {
        let mut next = self.software.clone();
        next.attack = None;
        let Some(trusted) = &mut next.trusted else { return Err(DeviceError::Unprovisioned) };
        trusted.seen = seen;
        let trust = trusted.provisioned.trust;
        let directive = if trust == Trust::Manufacturer { seen.manufacturer } else { seen.server };
        let ends = ends(trust, &offer.handed);
        let job = install.map(|install| Job::new(install, directive, ends, next.slots.inactive()));
        let (offered, job) = match job {
            None => (Offered::Nothing, None),
            Some(job) if next.has_tried(&job) => (Offered::TriedBefore, None),
            Some(job) => {
                let job = match next.job.take() {
                    Some(known) => known.directed_anew(job),
                    None => job,
                };
                (Offered::Accepted, Some(job))
            }
        };
        let is_same = |a: &Job, b: &Job| a.path == b.path && a.target == b.target && a.stage == b.stage;
        let goes_on = self.software.job.as_ref().zip(job.as_ref()).is_some_and(|(a, b)| is_same(a, b));
        next.job = job;
        self.store(next)?;
        if !goes_on {
            self.forget_progress();
            self.tidy()?;
        }
        Ok(offered)
    }

    /// Nothing is installed, and what was trusted stays (Uptane 5.4.4). A recall of what is on its way ends that.
    fn refuse(&mut self, refused: Refused, offer: &Offer<'_>) -> Result<Offered, DeviceError> {
        let mut next = self.software.clone();
        if refused.attack().is_some() {
            next.attack = Some(Note::cut(&refused.to_string()));
        }
        let (directive, path) = self.vouched_for(&offer.handed);
        let recalled = matches!(&*refused.cause, Cause::Recalled(path)
            if next.job.as_ref().is_some_and(|job| job.path == *path));
        let outcome = Outcome::refused(&refused);
        if recalled {
            next.end(&self.identity.device, outcome);
        } else {
            next.tell(Notification { device: self.identity.device.clone(), directive, path, outcome });
        }
        self.store(next)?;
        if recalled {
            self.forget_progress();
            self.tidy()?;
        }
        Ok(Offered::Refused(refused))
    }

    /// What was refused when both repositories were verified in full on the device's behalf: an outcome of the device.
    pub fn refused_in_full(&mut self, refused: Refused) -> Result<(), DeviceError> {
        self.refuse(refused, &Offer::default()).map(drop)
    }

    /// The directive's version, and the package that it has for this device: only where the trusted director has signed it.
    fn vouched_for(&self, handed: &Handed<'_>) -> (Version, Option<TargetPath>) {
        let server = self.software.trusted.as_ref().and_then(|trusted| trusted.provisioned.server.as_ref());
        let signed = handed.server.and_then(|bytes| Signed::<Directive>::parse(bytes).ok());
        let signed = signed.zip(server).filter(|(signed, server)| signed.is_signed_by(&server.role, &server.keys));
        let Some((signed, _)) = signed else { return (0, None) };
        let directed = signed.role.read().ok();
        let order = directed.as_ref().and_then(|directed| directed.order_for(&self.identity.device));
        (signed.role.version(), order.map(|(order, _)| order.path.clone()))
    }

    /// Goes on as far as it can, and says what it waits for. Asked after every change of the circumstances, and after whatever was
    /// taken.
    pub fn go_on(&mut self, at: &Circumstances) -> Result<Doing, DeviceError> {
        loop {
            let Some(job) = self.software.job.clone() else { return Ok(Doing::Idle) };
            if let Err(hold) = job.may_go_on(&self.identity.device, at) {
                return self.held_up(hold);
            }
            let job = self.no_longer_held_up(job)?;
            match job.stage {
                JobStage::Waiting => self.begin(job)?,
                JobStage::Receiving => {
                    if let Some(wanted) = self.wanted(&job)? {
                        return Ok(wanted);
                    }
                    self.prepare(job, at.now)?;
                }
                JobStage::Prepared { is_committed, .. } if job.is_of_a_set() && !is_committed => {
                    return Ok(Doing::Prepared);
                }
                JobStage::Prepared { ref image, .. } => {
                    let (length, sha256) = (image.length, image.sha256);
                    self.switch(job, length, sha256)?;
                }
                JobStage::OnTrial => {
                    if self.is_uncounted {
                        // What runs instead may have begun a therapy since. That it may be installed, was asked before.
                        if let Err(why @ (Postponed::Therapy | Postponed::Unsafe)) =
                            job.may_interrupt(&self.identity.device, at)
                        {
                            return Ok(Doing::Postponed(why));
                        }
                        self.can_count()?;
                        // Whatever it was before, it does not run now.
                        return Ok(Doing::Restart);
                    }
                    let passed = self.software.slots.trial.as_ref().is_some_and(|trial| trial.has_passed);
                    return Ok(if passed { Doing::WaitsForSet } else { Doing::Restart });
                }
            }
        }
    }

    fn held_up(&mut self, hold: Hold) -> Result<Doing, DeviceError> {
        match hold {
            Hold::Postponed(why) => {
                let mut next = self.software.clone();
                if let Some(job) = next.job.as_mut().filter(|job| job.postponed != Some(why)) {
                    job.postponed = Some(why);
                    let notification = job.notification(&self.identity.device, Outcome::Postponed(why));
                    next.tell(notification);
                    self.store(next)?;
                }
                Ok(Doing::Postponed(why))
            }
            Hold::Until(at) => Ok(Doing::RetryAt(at)),
            Hold::Over => {
                // Uptane 5.4.4.6 step 5: what was in time when it came is so no longer.
                let reason = Note::cut("the update's metadata ended before it could be installed");
                self.end(Outcome::Refused { step: Note::cut("5.4.4.6 step 5"), reason })?;
                Ok(Doing::Idle)
            }
        }
    }

    /// It goes on after it had to wait: told, where it had begun before.
    fn no_longer_held_up(&mut self, job: Job) -> Result<Job, DeviceError> {
        if job.postponed.is_none() {
            return Ok(job);
        }
        let job = Job { postponed: None, ..job };
        let mut next = self.software.clone();
        if job.stage != JobStage::Waiting {
            next.tell(job.notification(&self.identity.device, Outcome::Begun));
        }
        next.job = Some(job.clone());
        self.store(next)?;
        Ok(job)
    }

    /// An empty slot, and then the word that it is written, which is told.
    fn begin(&mut self, job: Job) -> Result<(), DeviceError> {
        if job.target.length > MAX_IMAGE_BYTES {
            return self.fail("the image is longer than the device's slots");
        }
        let cleared = image::clear(&mut self.disk, job.slot);
        if self.is_done(cleared)?.is_some() {
            let mut next = self.software.clone();
            next.tell(job.notification(&self.identity.device, Outcome::Begun));
            next.job = Some(Job { stage: JobStage::Receiving, retry_at: None, ..job });
            self.store(next)?;
            self.position = Some(0);
        }
        Ok(())
    }

    /// What is still missing; none where all is there, or where the update has just failed.
    fn wanted(&mut self, job: &Job) -> Result<Option<Doing>, DeviceError> {
        let position = if let Some(position) = self.position {
            position
        } else {
            let resumed = image::resume(&mut self.disk, job.slot);
            let Some(position) = self.is_done(resumed)? else { return Ok(Some(Doing::Idle)) };
            *self.position.insert(position)
        };
        if position < job.target.length {
            return Ok(Some(Doing::WantsImage { path: job.path.clone(), position, length: job.target.length }));
        }
        for added in &job.added {
            let hash = added.file.sha256;
            if self.found.contains(&hash) {
                continue;
            }
            let there = disk::read(&self.disk, Name::Added(hash), MAX_ADDED_BYTES)?;
            if there.is_none_or(|bytes| added.check(&bytes).is_err()) {
                return Ok(Some(Doing::WantsAdded(added.clone())));
            }
            self.found.insert(hash);
        }
        Ok(None)
    }

    /// Takes the image's next bytes; they are durable when this returns. Those beyond its end make it corrupt.
    pub fn take_image(&mut self, position: u64, bytes: &[u8], now: u64) -> Result<(), DeviceError> {
        let not_wanted = || DeviceError::NotWanted("these bytes of an image");
        let job = self.receiving().filter(|_| self.position == Some(position)).ok_or_else(not_wanted)?;
        let left = job.target.length.saturating_sub(position);
        if u64::try_from(bytes.len()).map_or(true, |length| length > left) {
            return self.corrupt(now);
        }
        let slot = job.slot;
        let appended = image::append(&mut self.disk, slot, position, bytes);
        if let Some(position) = self.is_done(appended)? {
            self.position = Some(position);
        }
        Ok(())
    }

    /// Makes the image by a delta from the one that runs. Whatever it makes is checked like an image that came whole.
    pub fn take_delta(&mut self, shortcut: &Shortcut, bytes: &[u8]) -> Result<Result<(), DeltaRefused>, DeviceError> {
        let job = self.receiving().ok_or(DeviceError::NotWanted("a delta"))?;
        let (slot, length) = (job.slot, job.target.length);
        let file = shortcut.file.target();
        let mut delivery = Delivery::new(&file);
        if let Err(corrupt) = delivery.take(bytes).and_then(|()| delivery.finish()) {
            return Ok(Err(corrupt.into()));
        }
        let active = &self.software.slots.active;
        if (shortcut.source.length, shortcut.source.sha256) != (active.length, active.sha256) {
            return Ok(Err(DeltaRefused::Source));
        }
        let cleared = image::clear(&mut self.disk, slot);
        if self.is_done(cleared)?.is_none() {
            return Ok(Ok(()));
        }
        let mut writer = SlotWriter::new(&mut self.disk, slot);
        let applied = wardlink_delta::apply(&self.image, bytes, length, &mut writer);
        let applied = applied.and_then(|()| Ok(writer.flush()?));
        match (writer.failed.take(), applied) {
            (Some(failed), _) => self.is_done::<()>(Err(failed)).map(|_| Ok(())),
            (None, Ok(())) => {
                self.position = Some(length);
                Ok(Ok(()))
            }
            (None, Err(error)) => {
                let cleared = image::clear(&mut self.disk, slot);
                self.is_done(cleared)?;
                self.position = Some(0);
                Ok(Err(error.into()))
            }
        }
    }

    /// Takes a file of added data, whole. One that is not the listed one is asked for again; one that cannot be used ends the update.
    pub fn take_added(&mut self, hash: Sha256, bytes: &[u8], now: u64) -> Result<(), DeviceError> {
        let not_wanted = || DeviceError::NotWanted("this data");
        let job = self.receiving().ok_or_else(not_wanted)?;
        let added = job.added.iter().find(|added| added.file.sha256 == hash).ok_or_else(not_wanted)?;
        match added.check(bytes) {
            Ok(()) => {
                let written = disk::write(&mut self.disk, Name::Added(hash), bytes);
                if self.is_done(written)?.is_some() {
                    self.found.insert(hash);
                }
                Ok(())
            }
            Err(InvalidAdded::Hash | InvalidAdded::Length) => self.corrupt(now),
            // Figure 5B, 125: the data is installed with the update, or neither is.
            Err(invalid @ InvalidAdded::Content(_)) => {
                let (step, reason) = (Note::cut("figure 5B, 125"), Note::cut(&invalid.to_string()));
                self.end(Outcome::Refused { step, reason })
            }
        }
    }

    /// What was to come of the image was damaged before it came here, such as a variant for this device alone that does not open: it is asked for
    /// again after a while, a few times, and then told.
    pub fn damaged(&mut self, now: u64) -> Result<(), DeviceError> {
        if self.receiving().is_some() { self.corrupt(now) } else { Ok(()) }
    }

    /// Verifies what lies there (Uptane 5.4.3.4 step 7; figure 12, 258 and 259).
    fn prepare(&mut self, job: Job, now: u64) -> Result<(), DeviceError> {
        let verified = image::verify(&self.disk, job.slot, &job.target);
        match self.is_done(verified)? {
            None => Ok(()),
            Some(Err(_)) => self.corrupt(now),
            Some(Ok(image)) => {
                self.disk.sync_names()?;
                let mut next = self.software.clone();
                next.job = Some(Job { stage: JobStage::Prepared { image, is_committed: false }, ..job });
                self.store(next)
            }
        }
    }

    /// The one step after which the device boots the new image, on trial (figure 12, 260).
    fn switch(&mut self, job: Job, length: u64, sha256: Sha256) -> Result<(), DeviceError> {
        let mut next = self.software.clone();
        let installed = Installed {
            slot: job.slot,
            length,
            sha256,
            revision: job.package.post_revision.clone(),
            release_counter: Some(job.package.release_counter),
            added: next.slots.active.added.clone(),
        };
        next.slots.try_out(installed.with_added(&job.added));
        next.job = Some(Job { stage: JobStage::OnTrial, ..job });
        self.store(next)
    }

    /// A person at the device has confirmed the update.
    pub fn confirmed_by_person(&mut self) -> Result<(), DeviceError> {
        self.change_job("a confirmation", |job| Some(Job { is_confirmed: true, ..job }))
    }

    /// Every member of the set is prepared: the device changes over.
    pub fn commit(&mut self) -> Result<(), DeviceError> {
        self.change_job("the word to change over", |job| match job.stage {
            JobStage::Prepared { image, .. } if !job.package.atomic.is_empty() => {
                Some(Job { stage: JobStage::Prepared { image, is_committed: true }, ..job })
            }
            _ => None,
        })
    }

    /// Every member of the set works: the new image is kept.
    pub fn settle(&mut self) -> Result<(), DeviceError> {
        match &self.software.slots.trial {
            Some(Trial { has_passed: true, .. }) => self.confirm(),
            _ => Err(DeviceError::NotWanted("the word that its set works")),
        }
    }

    /// A member of the set cannot: the device keeps, or takes back, what it ran before. Says whether it has to be restarted for that.
    pub fn abort(&mut self, reason: &str) -> Result<bool, DeviceError> {
        if !self.software.job.as_ref().is_some_and(Job::is_of_a_set) {
            return Err(DeviceError::NotWanted("the end of a set"));
        }
        let is_tried = self.software.slots.trial.is_some();
        self.roll_back(reason)?;
        self.forget_progress();
        Ok(is_tried)
    }

    pub(super) fn forget_progress(&mut self) {
        self.position = None;
        self.found.clear();
    }

    fn receiving(&self) -> Option<&Job> {
        self.software.job.as_ref().filter(|job| job.stage == JobStage::Receiving)
    }

    fn change_job(&mut self, what: &'static str, change: impl FnOnce(Job) -> Option<Job>) -> Result<(), DeviceError> {
        let mut next = self.software.clone();
        let changed = next.job.take().and_then(change).ok_or(DeviceError::NotWanted(what))?;
        next.job = Some(changed);
        self.store(next)
    }

    /// The image was not the listed one: it is thrown away, and asked for again after a while, a few times.
    fn corrupt(&mut self, now: u64) -> Result<(), DeviceError> {
        let mut next = self.software.clone();
        let Some(job) = next.job.clone() else { return Ok(()) };
        match job.after_corrupt(now) {
            AfterCorrupt::Again(job) => {
                next.tell(job.notification(&self.identity.device, Outcome::Corrupt));
                next.job = Some(*job);
                self.store(next)?;
                self.forget_progress();
                Ok(self.tidy()?)
            }
            AfterCorrupt::GivenUp => self.end(Outcome::Corrupt),
        }
    }

    /// What a step on the disk gave; none where it could not be done, which ends the update (figure 12, 265).
    fn is_done<T>(&mut self, result: io::Result<T>) -> Result<Option<T>, DeviceError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) => {
                let why = match error.kind() {
                    ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => FULL.to_owned(),
                    _ => format!("the device's storage failed: {error}"),
                };
                self.fail(&why).map(|()| None)
            }
        }
    }

    /// What is still missing of the update has no room on its way to the device: that ends it, as where there is no room in its slot.
    pub fn has_no_room(&mut self) -> Result<(), DeviceError> {
        if self.receiving().is_some() { self.fail(FULL) } else { Ok(()) }
    }

    fn fail(&mut self, reason: &str) -> Result<(), DeviceError> {
        // First of all the room that the update took, so that its end can be stored.
        let slot = self.software.slots.inactive();
        if self.software.slots.trial.is_none() {
            self.disk.remove(Name::Slot(slot))?;
        }
        self.end(Outcome::failed(reason))
    }

    fn end(&mut self, outcome: Outcome) -> Result<(), DeviceError> {
        let mut next = self.software.clone();
        next.end(&self.identity.device, outcome);
        self.store(next)?;
        self.forget_progress();
        Ok(self.tidy()?)
    }
}

impl Software {
    /// Whether this very update has ended without being installed.
    fn has_tried(&self, job: &Job) -> bool {
        self.ended.as_ref().is_some_and(|ended| {
            let of = &ended.notification;
            of.directive == job.directive
                && of.path.as_ref() == Some(&job.path)
                && !matches!(of.outcome, Outcome::Installed { .. })
        })
    }
}

/// The earliest end of what was verified; what nobody read says nothing.
fn ends(trust: Trust, handed: &Handed<'_>) -> Expires {
    let server = handed.server.filter(|_| trust != Trust::Manufacturer);
    let maker = handed.manufacturer.filter(|_| trust != Trust::Server);
    let server = server.map(|bytes| Signed::<Directive>::parse(bytes).ok().map(|signed| signed.role.expires()));
    let maker = maker.map(|bytes| Signed::<Targets>::parse(bytes).ok().map(|signed| signed.role.expires()));
    let ends = server.into_iter().chain(maker).map(|ends| ends.unwrap_or(Expires::at(0)));
    ends.min().unwrap_or(Expires::at(0))
}
