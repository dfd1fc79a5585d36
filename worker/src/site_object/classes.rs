//! The device classes: which there are, and whose devices may ask.

use super::{Outcome, Site};
use wardlink_edge::messages::Clients;
use wardlink_edge::platform::log;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, Row};
use wardlink_protocol::ClientClass;
use wardlink_protocol::api::{Activity, DeviceClass, Person, Placement, ProblemKind};
use wardlink_protocol::limits::{MAX_CLASSES, MAX_TEXT_BYTES};

/// All of them, by their word in topics.
pub(super) fn all(database: &Database) -> Result<Vec<DeviceClass>, Failure> {
    let query = "SELECT client, name, name_de, active, implanted, enabled FROM device_classes ORDER BY client";
    database.rows(query, [])?.into_iter().map(class).collect()
}

fn class(mut row: Row) -> Result<DeviceClass, Failure> {
    Ok(DeviceClass {
        client: row.take::<String>()?.parse().map_err(Failure::internal)?,
        name: row.take()?,
        name_de: row.take()?,
        activity: if row.take()? { Activity::Active } else { Activity::Passive },
        placement: if row.take()? { Placement::Implanted } else { Placement::External },
        enabled: row.take()?,
    })
}

/// Whether devices of the class may ask.
pub(super) fn is_enabled(database: &Database, client: &ClientClass) -> Result<bool, Failure> {
    let query = "SELECT enabled FROM device_classes WHERE client = ?";
    Ok(database.one(query, [client.to_string().into_value()])?.unwrap_or_default())
}

/// What the bridge has to know.
pub(super) fn clients(database: &Database) -> Result<Clients, Failure> {
    let version = database.one("SELECT classes FROM versions", [])?.unwrap_or_default();
    let names = all(database)?.into_iter().filter(|class| class.enabled).map(|class| class.client).collect();
    Ok(Clients { version, names })
}

/// A person makes or changes the class of this name. Paired devices of one that is switched off go on.
pub(super) fn set(
    site: &Site<'_>,
    person: &Person,
    client: &str,
    class: DeviceClass,
    outcome: &mut Outcome,
) -> Result<DeviceClass, Failure> {
    if class.client.as_str() != client {
        let detail = "The class in the body is not the one in the address.";
        return Err(Failure::with_detail(ProblemKind::BadRequest, detail));
    }
    let fits =
        |text: &str| !text.trim().is_empty() && text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control);
    if !fits(&class.name) || !fits(&class.name_de) {
        let detail = format!("Each name has 1 to {MAX_TEXT_BYTES} bytes, without control characters.");
        return Err(Failure::with_detail(ProblemKind::BadRequest, detail));
    }
    if class.client.is_of_services() {
        return Err(Failure::with_detail(ProblemKind::BadRequest, "Services stand under this name."));
    }
    let known = all(site.database)?;
    let is_new = known.iter().all(|other| other.client != class.client);
    if is_new && known.len() >= MAX_CLASSES {
        let detail = format!("A site has at most {MAX_CLASSES} device classes.");
        return Err(Failure::with_detail(ProblemKind::BadRequest, detail));
    }
    site.database.run(
        "INSERT OR REPLACE INTO device_classes (client, name, name_de, active, implanted, enabled)
         VALUES (?, ?, ?, ?, ?, ?)",
        [
            class.client.to_string().into_value(),
            class.name.clone().into_value(),
            class.name_de.clone().into_value(),
            (class.activity == Activity::Active).into_value(),
            (class.placement == Placement::Implanted).into_value(),
            class.enabled.into_value(),
        ],
    )?;
    site.database.run("UPDATE versions SET classes = classes + 1", [])?;
    let verb = if is_new { "makes" } else { "changes" };
    log!("site: person {} {verb} the device class {}, enabled: {}", person.id, class.client, class.enabled);
    outcome.bridge.let_ask(clients(site.database)?);
    Ok(class)
}
