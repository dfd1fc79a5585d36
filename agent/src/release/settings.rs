//! How long new metadata counts: a convenience of the folder, signed by nobody and trusted by nobody.

use super::work::Item;
use super::{ReleaseError, files};
use crate::clock;
use clap::Args;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use wardlink_update::metadata::Expires;

const DAY: u64 = 86_400;
/// The longest time that metadata may count, in days: 20 years.
const MAX_DAYS: u32 = 7_305;
const MAX_SETTINGS_BYTES: u64 = 4_096;

/// Days from its making until metadata ends, by role.
#[derive(Args, Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// Days that a root counts.
    #[arg(long = "root-days", value_name = "DAYS", default_value_t = 730, value_parser = days())]
    root: u32,
    /// Days that targets count.
    #[arg(long = "targets-days", value_name = "DAYS", default_value_t = 365, value_parser = days())]
    targets: u32,
    /// Days that a snapshot counts.
    #[arg(long = "snapshot-days", value_name = "DAYS", default_value_t = 90, value_parser = days())]
    snapshot: u32,
    /// Days that a timestamp counts: how long an attacker can hide a newer release.
    #[arg(long = "timestamp-days", value_name = "DAYS", default_value_t = 30, value_parser = days())]
    timestamp: u32,
}

fn days() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(MAX_DAYS))
}

impl Settings {
    /// Where they are in a repository's folder.
    pub(super) fn path(folder: &Path) -> PathBuf {
        folder.join("settings.json")
    }

    /// Reads them.
    pub(super) fn read(folder: &Path) -> Result<Self, ReleaseError> {
        let path = Self::path(folder);
        let bytes = files::read(&path, MAX_SETTINGS_BYTES)?;
        let settings: Self = serde_json::from_slice(&bytes)
            .map_err(|error| ReleaseError::usage(format!("{}: {error}", path.display())))?;
        let is_sound = |days: u32| (1..=MAX_DAYS).contains(&days);
        let Self { root, targets, snapshot, timestamp } = settings;
        if ![root, targets, snapshot, timestamp].into_iter().all(is_sound) {
            return Err(ReleaseError::usage(format!("{}: days are 1 to {MAX_DAYS}", path.display())));
        }
        Ok(settings)
    }

    /// Writes them.
    pub(super) fn write(&self, folder: &Path) -> Result<(), ReleaseError> {
        let bytes = serde_json::to_vec_pretty(self).map_err(|_| ReleaseError::Encoding("settings"))?;
        files::write(&Self::path(folder), &bytes)
    }

    /// When metadata of a role ends that is made now.
    pub(super) fn expires(&self, item: &Item) -> Expires {
        let days = match item {
            Item::Root => self.root,
            Item::Targets(_) | Item::Inventory(_) => self.targets,
            Item::Snapshot => self.snapshot,
            Item::Timestamp => self.timestamp,
        };
        Expires::at((clock::now().0 / 1_000).saturating_add(u64::from(days).saturating_mul(DAY)))
    }
}
