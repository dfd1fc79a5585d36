//! Inventories: a manufacturer's signed initial records of devices (paragraph 0028), imported with a preview.

use super::publication::refused;
use super::{DistributionObject, catalog, manufacturers, text};
use wardlink_edge::files::Files;
use wardlink_edge::platform::now;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database};
use wardlink_protocol::api::{InventoryPreview, Person};
use wardlink_protocol::identity::Sha256;
use wardlink_trust::audit::Act;
use wardlink_update::inventory::{Inventory, Record};
use wardlink_update::metadata::{Role, Signed, Targets};
use wardlink_update::package::Manufacturer;

/// How many devices a preview names.
const EXAMPLES: usize = 20;

/// Verifies an inventory by the keys that its manufacturer's published repository trusts, and says what it does; does it, where a person
/// `imports` it.
pub(super) async fn take(
    object: &DistributionObject,
    imports: Option<&Person>,
    bytes: &[u8],
) -> Result<InventoryPreview, Failure> {
    let refuse = |why: String| refused("inventory", why);
    let read: Signed<Inventory> = Signed::parse(bytes).map_err(|error| refuse(error.to_string()))?;
    let name: Manufacturer = read.role.manufacturer.clone();
    let database = object.database.open()?;
    manufacturers::known(database, name.as_str()).map_err(|_| refuse(format!("{name} is not known")))?;
    let trusted = trusted_targets(database, &name)?;
    let sha256 = trusted.ok_or_else(|| refuse(format!("{name} has published nothing yet")))?;
    let top = Files::of(&object.env, name.as_str())?.read(&sha256).await?;
    let top = Signed::<Targets>::parse(&top.unwrap_or_default()).map_err(Failure::internal)?.role;
    let delegations = top.delegations.as_ref();
    let role = delegations.and_then(|all| all.roles.iter().find(|role| role.name.as_str() == name.as_str()));
    let (Some(role), Some(delegations)) = (role, delegations) else {
        return Err(refuse(format!("the repository trusts no {name}")));
    };
    // From here on nothing waits. Meanwhile its keys may have changed, or it may have been ended.
    let database = object.database.open()?;
    manufacturers::known(database, name.as_str()).map_err(|_| refuse(format!("{name} is not known")))?;
    if trusted_targets(database, &name)? != trusted {
        return Err(refuse(format!("{name} has published meanwhile; try again")));
    }
    let query = "SELECT inventory FROM manufacturers WHERE manufacturer = ?";
    let least = database.one::<u64, _>(query, [text(name.as_str())])?.unwrap_or_default().saturating_add(1);
    let inventory = Inventory::verify(bytes, &name, &role.keys, &delegations.keys, least, now().as_secs());
    let inventory = inventory.map_err(|error| refuse(error.to_string()))?;
    let (preview, news) = look(database, &inventory)?;
    if let Some(person) = imports {
        database.step(|database| {
            for record in news {
                put(database, record, preview.version)?;
            }
            database.run(
                "UPDATE manufacturers SET inventory = ? WHERE manufacturer = ?",
                [preview.version.into_value(), text(name.as_str())],
            )?;
            let detail = format!("version {}, {} devices", preview.version, preview.devices);
            DistributionObject::note(database, Some(person), Act::InventoryImported, name.as_str(), detail)
        })?;
    }
    Ok(preview)
}

/// The top-level targets metadata that is trusted of a manufacturer; none before it has published.
fn trusted_targets(database: &Database, name: &Manufacturer) -> Result<Option<Sha256>, Failure> {
    let query = "SELECT sha256 FROM trusted WHERE manufacturer = ? AND file = 'targets.json'";
    database.row(query, [text(name.as_str())])?.map(|mut row| manufacturers::take_hash(&mut row)).transpose()
}

/// Looks at every record before one of them counts: what an inventory does, and which of its records say something new. One that another
/// manufacturer's device stands in, or that contradicts what a device has reported, is refused as a whole.
fn look<'a>(database: &Database, inventory: &'a Inventory) -> Result<(InventoryPreview, Vec<&'a Record>), Failure> {
    let mut preview = InventoryPreview {
        manufacturer: inventory.manufacturer.to_string(),
        version: inventory.version(),
        devices: u64::try_from(inventory.devices.len()).unwrap_or(u64::MAX),
        added: 0,
        changed: 0,
        examples: Vec::new(),
    };
    let mut news = Vec::new();
    for record in &inventory.devices {
        let Record { characteristics: is, key } = record;
        match catalog::find(database, &is.device)? {
            Some(known) if known.characteristics.manufacturer != is.manufacturer => {
                return Err(refused("inventory", format!("{} is another manufacturer's", is.device)));
            }
            Some(known) if known.state.is_some() && !known.is_same_device(is) => {
                let why = format!("{} reports another model, serial number or hardware", is.device);
                return Err(refused("inventory", why));
            }
            Some(known) if known.is_as(is, *key) => continue,
            Some(_) => preview.changed = preview.changed.saturating_add(1),
            None => preview.added = preview.added.saturating_add(1),
        }
        if preview.examples.len() < EXAMPLES {
            preview.examples.push(is.device.clone());
        }
        news.push(record);
    }
    Ok((preview, news))
}

/// Stores a record. What a device has reported of itself stays.
fn put(database: &Database, Record { characteristics, key }: &Record, version: u64) -> Result<(), Failure> {
    let device = &characteristics.device;
    if catalog::find(database, device)?.is_some_and(|known| known.state.is_some()) {
        catalog::set_factory_key(database, device, *key)?;
    } else {
        catalog::put(database, characteristics, *key)?;
    }
    catalog::note(database, device, "inventory", None, Some(&version.to_string()))
}
