//! `wardlink release verify`: a repository as a client would see it, offline.

use super::ask::Progress;
use super::work::Item;
use super::{ReleaseError, files};
use crate::clock;
use crate::tuf::quoted;
use std::fs::{self, File as Handle};
use std::io::Read;
use std::path::{Path, PathBuf};
use wardlink_update::client::{Client, Fetched, File};
use wardlink_update::inventory::{Inventory, MAX_INVENTORY_BYTES};
use wardlink_update::limits::MAX_ROOT_BYTES;
use wardlink_update::metadata::{Delegation, Target, TargetCheck};
use wardlink_update::repository::{Kept, Reader};

/// What a verified repository has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Verified {
    /// Metadata files that a client reads, roots after the trusted one included.
    pub(super) metadata: usize,
    /// Files of targets.
    pub(super) targets: usize,
    /// Inventories.
    pub(super) inventories: usize,
}

/// The parts of a repository's folder.
pub(super) struct Places {
    /// Where metadata is; what is in an earlier folder counts before what is in a later one.
    pub(super) metadata: Vec<PathBuf>,
    pub(super) targets: PathBuf,
    pub(super) inventories: PathBuf,
}

impl Places {
    /// Those of an exported folder.
    pub(super) fn of(folder: &Path) -> Self {
        let [metadata, targets, inventories] = ["metadata", "targets", "inventory"].map(|name| folder.join(name));
        Self { metadata: vec![metadata], targets, inventories }
    }

    fn metadata(&self, name: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, ReleaseError> {
        for folder in &self.metadata {
            if let Some(bytes) = files::read_if_there(&folder.join(name), max_bytes)? {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

/// Follows the repository from a trusted root, or from its first one, with the client of devices, and reads every file that it names.
pub(super) fn verify(places: &Places, root: Option<&Path>) -> Result<Verified, ReleaseError> {
    let now = clock::now().0 / 1_000;
    let root = if let Some(root) = root {
        files::read(root, MAX_ROOT_BYTES)?
    } else {
        let first = places.metadata("1.root.json", MAX_ROOT_BYTES)?;
        first.ok_or_else(|| ReleaseError::usage("there is no 1.root.json: nothing is published there"))?
    };
    let mut reader = Reader::start(Kept::from([(File::Root, root)]), None, now)?;
    while let Some(wanted) = reader.wanted()? {
        let bytes = places.metadata(&quoted(&wanted.name()), wanted.max_bytes)?;
        reader.receive(bytes.map_or(Fetched::Missing, Fetched::Bytes))?;
    }
    let repository = reader.finish()?;
    let mut verified = Verified { metadata: repository.files, ..Verified::default() };
    for delegation in repository.client.delegations() {
        inventory(&repository.client, places, delegation, now, &mut verified)?;
    }
    let total = repository.targets().fold(0_u64, |total, (_, _, target)| total.saturating_add(target.length));
    let mut progress = Progress::new("Verifying", total);
    for (_, path, target) in repository.targets() {
        check_file(&places.targets.join(target.file_name(path)), target, &mut progress)?;
        verified.targets = verified.targets.saturating_add(1);
    }
    Ok(verified)
}

/// The inventory of a manufacturer, where there is one.
fn inventory(
    client: &Client,
    places: &Places,
    delegation: &Delegation,
    now: u64,
    verified: &mut Verified,
) -> Result<(), ReleaseError> {
    let item = Item::Inventory(delegation.name.clone());
    let path = places.inventories.join(item.file_name());
    let most = u64::try_from(MAX_INVENTORY_BYTES).unwrap_or(u64::MAX);
    let Some(bytes) = files::read_if_there(&path, most)? else { return Ok(()) };
    let keys = client.targets().and_then(|targets| targets.delegations.as_ref()).map(|delegations| &delegations.keys);
    let manufacturer = delegation.name.as_str().parse();
    let (Some(keys), Ok(manufacturer)) = (keys, manufacturer) else { return Ok(()) };
    Inventory::verify(&bytes, &manufacturer, &delegation.keys, keys, 1, now)
        .map_err(|error| ReleaseError::usage(format!("{}: {error}", path.display())))?;
    verified.inventories = verified.inventories.saturating_add(1);
    Ok(())
}

/// Section 5.7.3, of a file.
fn check_file(place: &Path, target: &Target, progress: &mut Progress) -> Result<(), ReleaseError> {
    let wrong = || ReleaseError::WrongFile { path: place.to_owned() };
    let metadata = fs::symlink_metadata(place).map_err(|_| wrong())?;
    if !metadata.is_file() {
        return Err(wrong());
    }
    let file = Handle::open(place).map_err(ReleaseError::file(place))?;
    let mut file = file.take(target.length.saturating_add(1));
    let mut check = TargetCheck::new(target);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = file.read(&mut buffer).map_err(ReleaseError::file(place))?;
        let Some(chunk) = buffer.get(..count).filter(|chunk| !chunk.is_empty()) else { break };
        check.update(chunk);
        progress.add(count);
    }
    if check.finish() { Ok(()) } else { Err(wrong()) }
}
