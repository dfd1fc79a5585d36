//! An image on its way into the inactive slot.

use super::disk::{Disk, Name};
use super::slots::{Installed, Slot};
use sha2::Digest as _;
use std::io::{self, ErrorKind, Write};
use wardlink_protocol::identity::Sha256;
use wardlink_update::metadata::Target;
use wardlink_update::report::Image;
use wardlink_update::uptane::{Corrupt, Delivery};

/// The longest image that fits into a slot, in bytes.
pub const MAX_IMAGE_BYTES: u64 = 64 << 20;
/// How much is written at once, in bytes: so much may have to come again after a power loss.
pub const MAX_CHUNK_BYTES: usize = 64 * 1024;

/// Empties a slot.
pub(super) fn clear(disk: &mut impl Disk, slot: Slot) -> io::Result<()> {
    disk.set_length(Name::Slot(slot), 0)?;
    disk.sync(Name::Slot(slot))?;
    disk.sync_names()
}

/// How much of an image lies in the slot for certain. Each chunk was made durable before the next: only the last one may be anything
/// after a power loss, and it is cut off.
pub(super) fn resume(disk: &mut impl Disk, slot: Slot) -> io::Result<u64> {
    let length = disk.length(Name::Slot(slot))?.unwrap_or(0);
    let kept = length.saturating_sub(u64::try_from(MAX_CHUNK_BYTES).unwrap_or(u64::MAX));
    disk.set_length(Name::Slot(slot), kept)?;
    disk.sync(Name::Slot(slot))?;
    Ok(kept)
}

/// Writes the next bytes of an image; gives the place after them.
pub(super) fn append(disk: &mut impl Disk, slot: Slot, position: u64, bytes: &[u8]) -> io::Result<u64> {
    let mut at = position;
    for chunk in bytes.chunks(MAX_CHUNK_BYTES) {
        disk.write_at(Name::Slot(slot), at, chunk)?;
        disk.sync(Name::Slot(slot))?;
        at =
            u64::try_from(chunk.len()).ok().and_then(|length| at.checked_add(length)).ok_or(ErrorKind::FileTooLarge)?;
    }
    Ok(at)
}

/// Gives the bytes of a slot's file, in chunks, up to so many.
fn read_through(disk: &impl Disk, slot: Slot, limit: u64, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; MAX_CHUNK_BYTES];
    let mut at = 0_u64;
    while at <= limit {
        let count = disk.read_at(Name::Slot(slot), at, &mut buffer)?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        take(bytes);
        at = at.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }
    Ok(())
}

/// Whether what lies in the slot, read back from the disk, is the listed image (Uptane 5.4.3.4 step 7). What arrived is not asked.
pub(super) fn verify(disk: &impl Disk, slot: Slot, target: &Target) -> io::Result<Result<Image, Corrupt>> {
    let (mut delivery, mut hash) = (Delivery::new(target), sha2::Sha256::new());
    let mut taken = Ok(());
    read_through(disk, slot, target.length, |bytes| {
        hash.update(bytes);
        taken = taken.and_then(|()| delivery.take(bytes));
    })?;
    let image = Image { length: target.length, sha256: Sha256(hash.finalize().into()) };
    Ok(taken.and_then(|()| delivery.finish()).map(|()| image))
}

/// The bytes of an installed image; none where they are not what was installed.
pub(super) fn read_installed(disk: &impl Disk, installed: &Installed) -> io::Result<Option<Vec<u8>>> {
    let bytes = super::disk::read(disk, Name::Slot(installed.slot), MAX_IMAGE_BYTES)?;
    Ok(bytes.filter(|bytes| {
        u64::try_from(bytes.len()) == Ok(installed.length) && super::store::sha256(bytes) == installed.sha256
    }))
}

/// Writes what a delta makes into a slot, from its beginning.
pub(super) struct SlotWriter<'a, D> {
    disk: &'a mut D,
    slot: Slot,
    position: u64,
    buffer: Vec<u8>,
    /// Why the disk refused: that is no fault of the delta.
    pub(super) failed: Option<io::Error>,
}

impl<'a, D: Disk> SlotWriter<'a, D> {
    pub(super) fn new(disk: &'a mut D, slot: Slot) -> Self {
        Self { disk, slot, position: 0, buffer: Vec::with_capacity(MAX_CHUNK_BYTES), failed: None }
    }

    fn write_out(&mut self) -> io::Result<()> {
        match append(self.disk, self.slot, self.position, &self.buffer) {
            Ok(position) => {
                self.position = position;
                self.buffer.clear();
                Ok(())
            }
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                Err(kind.into())
            }
        }
    }
}

impl<D: Disk> Write for SlotWriter<'_, D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = MAX_CHUNK_BYTES.saturating_sub(self.buffer.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.buffer.extend_from_slice(taken);
        if self.buffer.len() >= MAX_CHUNK_BYTES {
            self.write_out()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_out()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::super::disk::model::{Loss, Model};
    use super::*;
    use wardlink_update::metadata::Hashes;

    fn picture(length: usize) -> Vec<u8> {
        (0_u32..).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).take(length).collect()
    }

    fn target(bytes: &[u8]) -> Target {
        Target { length: bytes.len().try_into().unwrap(), hashes: Hashes::of(bytes), custom: None }
    }

    #[test]
    fn what_was_cut_off_by_a_power_loss_is_resumed_to_the_whole_image() {
        let image = picture(3 * MAX_CHUNK_BYTES + 100);
        let mut empty = Model::default();
        clear(&mut empty, Slot::B).unwrap();
        let mut whole = empty.clone();
        append(&mut whole, Slot::B, 0, &image).unwrap();
        for steps in 0..=whole.steps - empty.steps {
            let mut disk = empty.powered_for(steps);
            let _ = append(&mut disk, Slot::B, 0, &image);
            for loss in Loss::all() {
                let mut after = disk.after(loss);
                let position = resume(&mut after, Slot::B).unwrap();
                let kept = usize::try_from(position).unwrap();
                assert_eq!(after.bytes(Name::Slot(Slot::B)).unwrap(), &image[..kept], "step {steps}, {loss:?}");
                append(&mut after, Slot::B, position, &image[kept..]).unwrap();
                verify(&after, Slot::B, &target(&image)).unwrap().unwrap();
            }
        }
    }

    #[test]
    fn what_lies_in_the_slot_counts_and_nothing_else() {
        let image = picture(MAX_CHUNK_BYTES + 5);
        let mut disk = Model::default();
        append(&mut disk, Slot::B, 0, &image).unwrap();
        let target = target(&image);
        verify(&disk, Slot::B, &target).unwrap().unwrap();
        let mut longer = disk.clone();
        longer.spoil(Name::Slot(Slot::B), |bytes| bytes.push(0));
        assert_eq!(verify(&longer, Slot::B, &target).unwrap(), Err(Corrupt::TooLong));
        let mut shorter = disk.clone();
        shorter.spoil(Name::Slot(Slot::B), |bytes| bytes.truncate(MAX_CHUNK_BYTES));
        assert_eq!(verify(&shorter, Slot::B, &target).unwrap(), Err(Corrupt::TooShort));
        disk.spoil(Name::Slot(Slot::B), |bytes| bytes[MAX_CHUNK_BYTES] ^= 1);
        assert_eq!(verify(&disk, Slot::B, &target).unwrap(), Err(Corrupt::Hash));
    }
}
