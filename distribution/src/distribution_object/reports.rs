//! Sessions of gateways, and their reports (figure 6; figure 10, 211 to 213).

use super::catalog::Known;
use super::{DistributionObject, catalog, directives, text};
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, BTreeSet};
use wardlink_edge::files::Files;
use wardlink_edge::messages::{
    AssociatedDevices, Dealt, DeskRequest, GatewayRequest, Joined, KeysOfAssociated, Orders,
};
use wardlink_edge::objects;
use wardlink_edge::platform::{log, now};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database};
use wardlink_protocol::Device;
use wardlink_protocol::api::GatewayView;
use wardlink_protocol::distribution::{AssociatedDevice, ManufacturerRoot, SessionRefusal};
use wardlink_update::key::Key;
use wardlink_update::metadata::{Signed, Version};
use wardlink_update::report::{Configuration, ConfigurationReport, MAX_REPORT_BYTES, Reported, State};

/// The step of the patent in which a report is checked.
const STEP: &str = "figure 10, 213";

/// The keys of who reports, and the counters of their newest reports.
struct Reporters {
    keys: BTreeMap<Device, Key>,
    counters: BTreeMap<Device, Version>,
}

impl wardlink_update::report::Known for Reporters {
    fn key(&self, device: &Device) -> Option<Key> {
        self.keys.get(device).cloned()
    }

    fn counter(&self, device: &Device) -> Version {
        self.counters.get(device).copied().unwrap_or_default()
    }
}

/// A refusal, as the gateway is told.
pub(super) fn refused(step: &str, reason: &dyn ToString) -> Dealt {
    let refused = SessionRefusal { step: step.to_owned(), reason: reason.to_string() };
    Dealt { refused: Some(refused), orders: Orders::default() }
}

impl DistributionObject {
    /// A gateway's session stands.
    pub(super) async fn join(&self, gateway: &Device, known: u64) -> Result<Joined, Failure> {
        let database = self.database.open()?;
        database.run(
            "INSERT INTO gateways (gateway, online, last_contact) VALUES (?, 1, ?)
             ON CONFLICT (gateway) DO UPDATE SET online = 1, last_contact = excluded.last_contact, lost_at = NULL",
            [text(gateway), now().into_value()],
        )?;
        let director_root = ByteBuf::from(self.director()?.root().to_vec());
        let query = "SELECT manufacturer, first_root FROM manufacturers WHERE ended_at IS NULL ORDER BY manufacturer";
        let mut manufacturers = Vec::new();
        for mut row in database.rows(query, [])? {
            let (manufacturer, root) = (row.take::<String>()?, super::manufacturers::take_hash(&mut row)?);
            let root = Files::of(&self.env, &manufacturer)?.read(&root).await?;
            let root = ByteBuf::from(root.ok_or_else(|| Failure::internal("a first root is missing"))?);
            manufacturers.push(ManufacturerRoot { manufacturer, root });
        }
        let reported = counter(database, gateway)?;
        let devices = Some(self.associated(gateway).await?);
        let directive = directives::newest(self, gateway, known).await?;
        Ok(Joined { director_root, manufacturers, reported, orders: Orders { directive, devices } })
    }

    /// A gateway's session has ended.
    pub(super) fn leave(&self, gateway: &Device) -> Result<(), Failure> {
        self.database.open()?.run("UPDATE gateways SET online = 0 WHERE gateway = ?", [text(gateway)])
    }

    /// A gateway's report: verified, stored, and answered with what follows from it.
    pub(super) async fn report(&self, gateway: &Device, bytes: &[u8]) -> Result<Dealt, Failure> {
        let (dealt, left_out) = self.take_report(gateway, bytes).await?;
        let database = self.database.open()?;
        let reason = dealt.refused.as_ref().map(|refused| format!("{}: {}", refused.step, refused.reason));
        let reason = reason.or_else(|| left_out.map(|why| format!("{STEP}: {why}")));
        if reason.is_some() {
            log!("distribution: a report of {gateway} is refused, or a part of it");
        }
        database.run("UPDATE gateways SET refused = ? WHERE gateway = ?", [reason.into_value(), text(gateway)])?;
        Ok(dealt)
    }

    /// What follows from a report, and why a part of it is left out.
    async fn take_report(&self, gateway: &Device, bytes: &[u8]) -> Result<(Dealt, Option<String>), Failure> {
        let refuse = |why: &dyn ToString| Ok((refused(STEP, why), None));
        let named = match named_devices(bytes) {
            Ok(named) => named,
            Err(error) => return refuse(&error),
        };
        let keys: Vec<Option<ByteBuf>> = objects::call(&self.env, &DeskRequest::Keys(named.clone())).await?;
        let database = self.database.open()?;
        match catalog::check_gateway(database, gateway) {
            // It has lost its rights meanwhile.
            Err(Failure::Problem(problem)) => return refuse(&problem.detail.unwrap_or_default()),
            checked => checked?,
        }
        let mut reporters = Reporters { keys: BTreeMap::new(), counters: BTreeMap::new() };
        for (device, key) in named.into_iter().zip(keys) {
            let counter =
                if device == *gateway { counter(database, gateway)? } else { catalog::counter(database, &device)? };
            reporters.counters.insert(device.clone(), counter);
            if let Some(key) = key.as_ref().and_then(|key| Key::of_spki(key)) {
                reporters.keys.insert(device, key);
            }
        }
        let mut configuration = match ConfigurationReport::verify(bytes, gateway, &reporters, now().as_secs()) {
            Ok(configuration) => configuration,
            Err(error) => return refuse(&error),
        };
        // For what a device has signed itself nobody else has to answer: it is left out.
        let mut left_out = configuration.left_out.first().map(ToString::to_string);
        for (state, counter) in core::mem::take(&mut configuration.devices) {
            match contradiction(database, &state)? {
                None => configuration.devices.push((state, counter)),
                Some(why) if counter.is_some() => left_out = Some(why),
                Some(why) => return refuse(&why),
            }
        }
        if let Some(why) = contradiction(database, &configuration.gateway)? {
            return refuse(&why);
        }
        database.step(|database| store(database, gateway, &configuration))?;
        let orders = self.orders(gateway, true).await?;
        Ok((Dealt { refused: None, orders }, left_out))
    }

    /// Tells gateways that have to do with devices whose rights have ended which devices are theirs, and by which keys; returns the devices
    /// of whom some gateway was not told. One gateway that cannot be told keeps nobody else waiting.
    pub(super) async fn tell_of_lost(&self, lost: Vec<Device>) -> Result<Vec<Device>, Failure> {
        let database = self.database.open()?;
        let mut gateways = BTreeMap::<Device, Vec<Device>>::new();
        for device in lost {
            // Whatever it is there for later begins anew.
            database.step(|database| {
                lost_its_rights(database, &device)?;
                catalog::assign(database, None, &device, None)
            })?;
            for gateway in catalog::gateways_of(database, &device)? {
                gateways.entry(gateway).or_default().push(device.clone());
            }
        }
        let mut untold = Vec::new();
        for (gateway, lost) in gateways {
            if let Err(failure) = self.tell_devices(&gateway).await {
                log!("distribution: {gateway} is to be told again of devices without rights: {failure:?}");
                untold.extend(lost);
            }
        }
        Ok(untold)
    }

    async fn tell_devices(&self, gateway: &Device) -> Result<(), Failure> {
        let devices = Some(self.associated(gateway).await?);
        let said = GatewayRequest::Say(Orders { directive: None, devices });
        objects::tell_gateway::<u64>(&self.env, gateway, &said).await.map(drop)
    }

    /// The devices that a gateway has to do with, with their keys.
    pub(super) async fn associated(&self, gateway: &Device) -> Result<AssociatedDevices, Failure> {
        let database = self.database.open()?;
        // Numbered before the keys are read: whoever reads them later knows more. The time keeps numbers rising over restarts.
        let number = now().0.max(self.lists.get().saturating_add(1));
        self.lists.set(number);
        let name = gateway.to_string();
        let query =
            "SELECT client, identifier, coalesce(gateway = ?, 0) AND conflict IS NULL FROM devices WHERE gateway = ?
                     UNION
                     SELECT devices.client, devices.identifier,
                         coalesce(devices.gateway = ?, 0) AND devices.conflict IS NULL
                     FROM uploads_allowed AS allowed
                     JOIN devices USING (client, identifier) WHERE allowed.gateway = ?
                     ORDER BY 1, 2";
        let mut devices = Vec::new();
        for mut row in database.rows(query, [&name, &name, &name, &name].map(text))? {
            devices.push((catalog::take_names(&mut row)?, row.take::<bool>()?));
        }
        devices.retain(|(device, _)| device != gateway);
        let named = devices.iter().map(|(device, _)| device.clone()).collect();
        let request = DeskRequest::Associate(gateway.clone(), named);
        let keys: Vec<Option<KeysOfAssociated>> = objects::call(&self.env, &request).await?;
        let with_keys = |((device, updates), keys): ((Device, bool), Option<KeysOfAssociated>)| {
            let (key, channel) = keys.map(|keys| (keys.key, keys.channel)).unzip();
            AssociatedDevice { device, key, updates, channel: channel.flatten() }
        };
        Ok(AssociatedDevices { number, devices: devices.into_iter().zip(keys).map(with_keys).collect() })
    }
}

fn counter(database: &Database, gateway: &Device) -> Result<u64, Failure> {
    let query = "SELECT counter FROM gateways WHERE gateway = ?";
    Ok(database.one(query, [text(gateway)])?.unwrap_or_default())
}

/// Who stands in a report that nobody has verified yet.
fn named_devices(bytes: &[u8]) -> Result<Vec<Device>, String> {
    if bytes.len() > MAX_REPORT_BYTES {
        return Err(format!("it is longer than {MAX_REPORT_BYTES} bytes"));
    }
    let signed: Signed<ConfigurationReport> = Signed::parse(bytes).map_err(|error| error.to_string())?;
    let mut named = vec![signed.role.gateway.characteristics.device.clone()];
    // What cannot be read is left out when it is verified.
    named.extend(signed.role.devices.iter().filter_map(|reported| match reported {
        Reported::Unsigned(state) => Some(state.characteristics.device.clone()),
        Reported::Signed(envelope) => {
            let device = envelope.pointer("/signed/state/characteristics/device");
            device.and_then(|device| serde_json::from_value(device.clone()).ok())
        }
    }));
    Ok(named)
}

/// What a device is does not change with what it runs.
fn contradiction(database: &Database, state: &State) -> Result<Option<String>, Failure> {
    let is = &state.characteristics;
    let contradicts = catalog::find(database, &is.device)?.is_some_and(|known| !known.is_same_device(is));
    Ok(contradicts
        .then(|| format!("the catalog has another manufacturer, model, serial number or hardware of {}", is.device)))
}

/// One step: what runs where, and what follows for the associations.
fn store(database: &Database, gateway: &Device, configuration: &Configuration) -> Result<(), Failure> {
    let name = || text(gateway);
    let mut left = reported_by(database, gateway)?;
    let own = catalog::find(database, gateway)?;
    catalog::put_state(database, own.as_ref(), &configuration.gateway, None)?;
    catalog::associate(database, own.as_ref(), gateway, gateway)?;
    for (state, counter) in &configuration.devices {
        let device = &state.characteristics.device;
        if !left.remove(device) {
            put_reported(database, gateway, device)?;
        }
        let known = catalog::find(database, device)?;
        let known = known.as_ref();
        let present = known.and_then(|known| known.gateway.as_ref()).filter(|present| *present != gateway);
        match present {
            // A person has decided between the two.
            Some(_) if counter.is_none() && catalog::is_decided_against(database, device, gateway)? => {}
            // It is reported by two, who speak for it: nothing that the second one says counts until a person decides, or the first one lets it go.
            Some(present) if counter.is_none() && reports(database, present, device)? => {
                let other = known.and_then(|known| known.conflict.as_ref());
                if other.is_none_or(|other| other == gateway) {
                    catalog::set_conflict(database, device, Some(gateway))?;
                }
                // What it was to be given by the first one it is given no more.
                if other.is_none() {
                    directives::is_due(database, present)?;
                }
            }
            // A conflict does not end by what one of the two says; that it still has the device, it may say.
            None if counter.is_none() && known.is_some_and(|known| known.conflict.is_some()) => {
                catalog::put_state(database, known, state, None)?;
            }
            // It has moved, or is new. What a device has signed after everything else says where it is: nobody else still has it.
            _ => {
                if counter.is_some() {
                    let others = known.into_iter().flat_map(|known| known.gateway.iter().chain(&known.conflict));
                    for other in others.filter(|other| *other != gateway) {
                        remove_reported(database, other, device)?;
                        directives::is_due(database, other)?;
                        catalog::forget_decision(database, device)?;
                    }
                }
                catalog::put_state(database, known, state, *counter)?;
                catalog::associate(database, known, device, gateway)?;
            }
        }
    }
    for device in &configuration.unchanged {
        // As it was: what the device signed for another gateway since would be newer.
        if !left.remove(device)
            && catalog::find(database, device)?.is_some_and(|known| known.gateway.as_ref() == Some(gateway))
        {
            put_reported(database, gateway, device)?;
        }
    }
    for device in left {
        gone(database, gateway, &device)?;
    }
    database.run(
        "UPDATE gateways SET counter = ?, reported_at = ?, last_contact = ? WHERE gateway = ?",
        [configuration.counter.into_value(), now().into_value(), now().into_value(), name()],
    )
}

/// A gateway has no rights any more: whoever reports its devices after it has them.
fn lost_its_rights(database: &Database, gateway: &Device) -> Result<(), Failure> {
    database.run(
        "UPDATE gateways SET online = 0, lost_at = coalesce(lost_at, ?) WHERE gateway = ?",
        [now().into_value(), text(gateway)],
    )?;
    for device in reported_by(database, gateway)? {
        gone(database, gateway, &device)?;
    }
    directives::is_due(database, gateway)
}

/// A device is no part of what a gateway reports any more.
fn gone(database: &Database, gateway: &Device, device: &Device) -> Result<(), Failure> {
    remove_reported(database, gateway, device)?;
    catalog::accept_decision(database, device, gateway)?;
    let Some(known) = catalog::find(database, device)? else { return Ok(()) };
    if known.gateway.as_ref() == Some(gateway) {
        catalog::forget_decision(database, device)?;
    }
    match &known.gateway {
        Some(present) if known.conflict.is_some() => let_go(database, gateway, &known, present),
        _ => Ok(()),
    }
}

/// The devices of a gateway's newest report.
fn reported_by(database: &Database, gateway: &Device) -> Result<BTreeSet<Device>, Failure> {
    let rows = database.rows("SELECT client, identifier FROM reported WHERE gateway = ?", [text(gateway)])?;
    rows.into_iter().map(|mut row| catalog::take_names(&mut row)).collect()
}

/// One of those who report a device has let it go: the conflict is over, where only one is left, who updates it from then on.
fn let_go(database: &Database, gateway: &Device, known: &Known, present: &Device) -> Result<(), Failure> {
    let device = &known.device;
    let present = match &known.conflict {
        Some(other) if present == gateway => {
            catalog::associate(database, Some(known), device, other)?;
            other
        }
        Some(other) if other == gateway => {
            catalog::set_conflict(database, device, None)?;
            present
        }
        _ => return Ok(()),
    };
    if let Some(other) = catalog::other_reporter(database, device, present)? {
        catalog::set_conflict(database, device, Some(&other))?;
    }
    directives::is_due(database, present)
}

/// A device stands in a gateway's newest report.
fn put_reported(database: &Database, gateway: &Device, device: &Device) -> Result<(), Failure> {
    let [client, identifier] = catalog::names(device);
    let statement = "INSERT INTO reported (gateway, client, identifier) VALUES (?, ?, ?)";
    database.run(statement, [text(gateway), client, identifier])
}

/// A device stands in a gateway's newest report no longer.
fn remove_reported(database: &Database, gateway: &Device, device: &Device) -> Result<(), Failure> {
    let [client, identifier] = catalog::names(device);
    let statement = "DELETE FROM reported WHERE gateway = ? AND client = ? AND identifier = ?";
    database.run(statement, [text(gateway), client, identifier])
}

/// Whether a device stands in a gateway's newest report.
fn reports(database: &Database, gateway: &Device, device: &Device) -> Result<bool, Failure> {
    let query = "SELECT EXISTS (SELECT 1 FROM reported WHERE gateway = ? AND client = ? AND identifier = ?)";
    let [client, identifier] = catalog::names(device);
    Ok(database.one(query, [text(gateway), client, identifier])?.unwrap_or_default())
}

/// Every gateway that was ever in a session.
pub(super) fn gateways(database: &Database) -> Result<Vec<GatewayView>, Failure> {
    let query = "SELECT gateway, online, lost_at, last_contact, reported_at,
                     (SELECT count(*) FROM reported WHERE reported.gateway = gateways.gateway),
                     directive, directed, directed_at, refused, held
                 FROM gateways ORDER BY gateway";
    let rows = database.rows(query, [])?.into_iter();
    rows.map(|mut row| {
        Ok(GatewayView {
            gateway: row.take::<String>()?.parse().map_err(Failure::internal)?,
            online: row.take()?,
            lost_at: row.take()?,
            last_contact: row.take()?,
            reported_at: row.take()?,
            devices: row.take()?,
            directive: row.take()?,
            directed: row.take()?,
            directed_at: row.take()?,
            refused: row.take()?,
            held: row.take::<Option<Vec<u8>>>()?.map(|held| serde_json::from_slice(&held)).transpose()?,
        })
    })
    .collect()
}
