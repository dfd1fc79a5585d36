//! Inventories: a manufacturer's signed initial records of devices (paragraph 0028), imported with a preview.

use super::publication::refused;
use super::{DistributionObject, catalog, manufacturers, text};
use wardlink_edge::files::Files;
use wardlink_edge::platform::now;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::Column;
use wardlink_protocol::api::{InventoryPreview, Person};
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
    let query = "SELECT sha256 FROM trusted WHERE manufacturer = ? AND file = 'targets.json'";
    let top = database.row(query, [text(name.as_str())])?.map(|mut row| manufacturers::take_hash(&mut row));
    let top = top.transpose()?.ok_or_else(|| refuse(format!("{name} has published nothing yet")))?;
    let top = Files::of(&object.env, name.as_str())?.read(&top).await?;
    let top = Signed::<Targets>::parse(&top.unwrap_or_default()).map_err(Failure::internal)?.role;
    let delegations = top.delegations.as_ref();
    let role = delegations.and_then(|all| all.roles.iter().find(|role| role.name.as_str() == name.as_str()));
    let (Some(role), Some(delegations)) = (role, delegations) else {
        return Err(refuse(format!("the repository trusts no {name}")));
    };
    let database = object.database.open()?;
    let query = "SELECT inventory FROM manufacturers WHERE manufacturer = ?";
    let least = database.one::<u64, _>(query, [text(name.as_str())])?.unwrap_or_default().saturating_add(1);
    let inventory = Inventory::verify(bytes, &name, &role.keys, &delegations.keys, least, now().as_secs());
    let inventory = inventory.map_err(|error| refuse(error.to_string()))?;
    let mut preview = InventoryPreview {
        manufacturer: name.to_string(),
        version: inventory.version(),
        devices: u64::try_from(inventory.devices.len()).unwrap_or(u64::MAX),
        added: 0,
        changed: 0,
        examples: Vec::new(),
    };
    for Record { characteristics, key } in &inventory.devices {
        let device = &characteristics.device;
        let known = catalog::find(database, device)?;
        let is_reported = known.as_ref().is_some_and(|known| known.state.is_some());
        let is_same = known.as_ref().is_some_and(|known| known.is_as(characteristics, *key));
        match &known {
            Some(known) if is_reported && !known.is_same_device(characteristics) => {
                return Err(refuse(format!("{device} reports another manufacturer, model, serial number or hardware")));
            }
            None => preview.added = preview.added.saturating_add(1),
            Some(_) if !is_same => preview.changed = preview.changed.saturating_add(1),
            Some(_) => {}
        }
        if !is_same && preview.examples.len() < EXAMPLES {
            preview.examples.push(device.clone());
        }
        if imports.is_some() && !is_same {
            if is_reported {
                catalog::set_factory_key(database, device, *key)?;
            } else {
                catalog::put(database, characteristics, *key)?;
            }
            catalog::note(database, device, "inventory", None, Some(&preview.version.to_string()))?;
        }
    }
    if let Some(person) = imports {
        database.run(
            "UPDATE manufacturers SET inventory = ? WHERE manufacturer = ?",
            [preview.version.into_value(), text(name.as_str())],
        )?;
        let detail = format!("version {}, {} devices", preview.version, preview.devices);
        DistributionObject::note(database, Some(person), Act::InventoryImported, name.as_str(), detail)?;
    }
    Ok(preview)
}
