//! `wardlink release inventory`: signed initial records of a manufacturer's devices.

use super::repository::Repository;
use super::sign::role_of;
use super::work::Item;
use super::{ReleaseError, files, summary};
use clap::Args;
use std::path::{Path, PathBuf};
use wardlink_update::inventory::{Inventory, MAX_INVENTORY_BYTES, Record};
use wardlink_update::package::Manufacturer;

/// The devices to vouch for.
#[derive(Args, Debug)]
pub(super) struct InventoryArgs {
    /// Who made them; its role signs.
    manufacturer: Manufacturer,
    /// A JSON array of records, each with its characteristics and, where it has one, its key. All devices that are known: it
    /// replaces earlier inventories.
    #[arg(long, value_name = "FILE")]
    devices: PathBuf,
}

/// Makes the draft of an inventory.
pub(super) fn run(folder: &Path, args: &InventoryArgs) -> Result<(), ReleaseError> {
    let mut repository = Repository::open(folder)?;
    let item = Item::Inventory(role_of(args.manufacturer.as_str())?);
    // Only a manufacturer's role can vouch for devices.
    repository.work.authorities(&item)?;
    let most = u64::try_from(MAX_INVENTORY_BYTES).unwrap_or(u64::MAX);
    let bytes = files::read(&args.devices, most)?;
    let mut devices: Vec<Record> = serde_json::from_slice(&bytes)
        .map_err(|error| ReleaseError::usage(format!("{}: {error}", args.devices.display())))?;
    devices.sort_by(|one, other| one.characteristics.device.cmp(&other.characteristics.device));
    let version = repository.work.next_version(&item)?;
    let expires = repository.settings.expires(&item);
    let inventory = Inventory::new(version, expires, args.manufacturer.clone(), devices);
    repository.work.put_role(item.clone(), &inventory)?;
    if repository.work.drafts.get(&item).is_some_and(|bytes| bytes.len() > MAX_INVENTORY_BYTES) {
        return Err(ReleaseError::usage(format!("the inventory is longer than {MAX_INVENTORY_BYTES} bytes")));
    }
    repository.save()?;
    print!("{}", summary::of_drafts(&repository.work)?);
    println!("Not signed yet; next: wardlink release sign --key FILE");
    Ok(())
}
