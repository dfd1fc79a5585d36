//! Why a device cannot go on.

use super::factory::InvalidFactory;
use super::store::StoreError;
use super::trusted::DirectorRefused;
use std::io;
use wardlink_update::metadata::InvalidMetadata;

/// Why a device's software cannot be started, or an update not be gone on with. What is wrong with an update itself is an outcome.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The disk's fault: the record.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk's fault: an image.
    #[error("the device's software cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// The disk's fault: the image that has proved itself is not what it was.
    #[error("the device's software is damaged; the device has to go to its manufacturer's service")]
    ImageDamaged,
    /// The image's fault: it did not survive its start. It is started again a few times, and then taken back.
    #[error("the new software did not come up; start the device again")]
    Crashed,
    /// The manufacturer's fault.
    #[error("the factory file cannot be used: {0}")]
    Factory(#[from] InvalidFactory),
    /// The caller's fault: the device was started with the factory file of another manufacturer, or of another trust.
    #[error("the device was made by another factory file than the one that is given; give it its own")]
    OtherFactory,
    /// The caller's fault: the device was given no factory file.
    #[error("the device was given no factory file, so that it trusts nobody's software")]
    Unprovisioned,
    /// The site's director is not taken.
    #[error("the site's director is refused: {0}")]
    Director(#[from] DirectorRefused),
    /// The caller's fault: nothing like this is wanted now.
    #[error("the device does not wait for {0} now")]
    NotWanted(&'static str),
    /// Our fault: a report that cannot be made.
    #[error("the report cannot be made: {0}")]
    Report(#[from] InvalidMetadata),
}

impl DeviceError {
    /// Whether the disk is at fault, which may take later what it does not take now.
    pub(crate) const fn is_of_disk(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Store(StoreError::Io(_)))
    }
}
