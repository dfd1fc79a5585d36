//! From the catalog to a signed directive (figure 10, 214 to 217), and on to the gateway.

use super::director::{self, Director};
use super::offers::{self, Offers};
use super::{DistributionObject, blob, catalog, text};
use core::time::Duration;
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256 as Hasher};
use std::rc::Rc;
use wardlink_edge::messages::{DirectorFiles, GatewayRequest, Orders};
use wardlink_edge::objects;
use wardlink_edge::platform::{log, now};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database};
use wardlink_protocol::Device;
use wardlink_protocol::api::UpdateState;
use wardlink_protocol::identity::Sha256;
use wardlink_update::catalog::{Associations, Picks};
use wardlink_update::director::{Directive, Order, When};
use wardlink_update::metadata::Expires;
use wardlink_update::report::{Configuration, State};

/// When a gateway's object that did not answer is told again.
const RETRY: Duration = Duration::from_secs(30);
/// How many gateways are matched before others get their turn.
const BATCH: u64 = 32;

/// The gateway has to be matched anew.
pub(super) fn is_due(database: &Database, gateway: &Device) -> Result<(), Failure> {
    database.run("UPDATE gateways SET is_due = 1 WHERE gateway = ?", [text(&gateway.to_string())])
}

/// The gateway is given a new directive, whether or not it says anything new.
pub(super) fn is_renewed(database: &Database, gateway: &Device) -> Result<(), Failure> {
    let statement = "UPDATE gateways SET is_due = 1, renew_at = 0 WHERE gateway = ?";
    database.run(statement, [text(&gateway.to_string())])
}

/// Every gateway has to be matched anew.
pub(super) fn all_are_due(database: &Database) -> Result<(), Failure> {
    database.run("UPDATE gateways SET is_due = 1 WHERE reported_at IS NOT NULL", [])
}

/// When the next gateway has to be matched; none where none has to.
pub(super) fn next_due(database: &Database) -> Result<Option<wardlink_protocol::UnixMillis>, Failure> {
    let query = "SELECT min(CASE WHEN is_due THEN 0 ELSE renew_at END) FROM gateways WHERE reported_at IS NOT NULL";
    Ok(database.one::<Option<wardlink_protocol::UnixMillis>, 0>(query, [])?.flatten())
}

/// The newest directive for a gateway whose object has the one of this version: none where it has the newest.
pub(super) async fn newest(
    object: &DistributionObject,
    gateway: &Device,
    known: u64,
) -> Result<Option<DirectorFiles>, Failure> {
    let query = "SELECT directive FROM gateways WHERE gateway = ? AND reported_at IS NOT NULL";
    let Some(signed) = object.database.open()?.one::<u64, _>(query, [text(&gateway.to_string())])? else {
        return Ok(None);
    };
    object.match_anew(gateway, signed != known).await
}

impl DistributionObject {
    /// The director's keys.
    pub(super) fn director(&self) -> Result<Rc<Director>, Failure> {
        if let Some(director) = self.director.borrow().as_ref() {
            return Ok(Rc::clone(director));
        }
        let director = Rc::new(Director::open(&self.env, self.database.open()?)?);
        self.director.replace(Some(Rc::clone(&director)));
        Ok(director)
    }

    /// What is said to a gateway now: its directive, where it changes, and its devices.
    pub(super) async fn orders(&self, gateway: &Device, with_devices: bool) -> Result<Orders, Failure> {
        let directive = self.match_anew(gateway, false).await?;
        let devices = if with_devices { Some(self.associated(gateway).await?) } else { None };
        Ok(Orders { directive, devices })
    }

    /// Matches one gateway's devices with the releases that they are offered; signs, where that says something else than before, or
    /// always.
    pub(super) async fn match_anew(&self, gateway: &Device, always: bool) -> Result<Option<DirectorFiles>, Failure> {
        let releases = self.releases().await?;
        let director = self.director()?;
        let database = self.database.open()?;
        let name = || text(&gateway.to_string());
        database.run("UPDATE gateways SET is_due = 0 WHERE gateway = ?", [name()])?;
        let Some((configuration, associations)) = configuration(database, gateway)? else { return Ok(None) };
        let offers = Offers::open(database)?;
        let stopped = stopped(database, &configuration)?;
        let is_offered = |device: &Device, path: &_| !stopped.contains(device) && offers.of(device, path).is_some();
        let picks = releases.pick_offered(&configuration, &associations, is_offered);
        let orders = Order::of(&picks.picks, |pick| {
            let device = &pick.state.characteristics.device;
            let offer = offers.of(device, &pick.package.path);
            offer.map_or_else(|| (When::AtOnce, Vec::new()), |offer| offer.terms(&pick.package.release))
        });
        stand(database, &configuration, &picks, &stopped)?;

        let made = |version, ends| Directive::new(version, ends, gateway, &orders, &associations);
        let plain = made(1, Expires::at(0)).map_err(Failure::internal)?;
        let digest = Sha256(Hasher::digest(serde_json::to_vec(&plain)?).into());
        let query = "SELECT digest IS ? AND renew_at > ? FROM gateways WHERE gateway = ?";
        let is_same: Option<bool> = database.one(query, [blob(&digest), now().into_value(), name()])?;
        if is_same == Some(true) && !always {
            return Ok(None);
        }
        let version = director::next_version(database)?;
        let directive = made(version, director::directive_ends()).map_err(Failure::internal)?;
        let files = director.publish(&directive)?;
        let directed = orders.iter().map(|order| order.assignments.len()).fold(0, usize::saturating_add);
        database.run(
            "UPDATE gateways SET directive = ?, digest = ?, directed = ?, directed_at = ?, renew_at = ? WHERE gateway = ?",
            [
                version.into_value(),
                blob(&digest),
                u64::try_from(directed).unwrap_or(u64::MAX).into_value(),
                now().into_value(),
                now().after(director::RENEWAL).into_value(),
                name(),
            ],
        )?;
        log!("distribution: directive {version} for {gateway}: {directed} devices");
        let [targets, snapshot, timestamp] = [files.targets, files.snapshot, files.timestamp].map(ByteBuf::from);
        Ok(Some(DirectorFiles { version, targets, snapshot, timestamp }))
    }

    /// Matches gateways that have to be, and tells them; as many as there are in one batch.
    pub(super) async fn match_due(&self) -> Result<(), Failure> {
        let query = "SELECT gateway FROM gateways WHERE reported_at IS NOT NULL AND (is_due = 1 OR renew_at <= ?)
                     ORDER BY is_due DESC, renew_at LIMIT ?";
        let rows = self.database.open()?.rows(query, [now().into_value(), BATCH.into_value()])?;
        for mut row in rows {
            let gateway: Device = row.take::<String>()?.parse().map_err(Failure::internal)?;
            self.push(&gateway, false).await?;
        }
        Ok(())
    }

    /// Matches a gateway and tells it: what is new, or always. What does not arrive, its next session begins with.
    pub(super) async fn push(&self, gateway: &Device, always: bool) -> Result<(), Failure> {
        let directive = self.match_anew(gateway, always).await?;
        let devices = Some(self.associated(gateway).await?);
        let orders = GatewayRequest::Say(Orders { directive, devices });
        if let Err(failure) = objects::tell_gateway(&self.env, gateway, &orders).await {
            log!("distribution: {gateway} is told later: {failure:?}");
            // Nothing is counted as said that did not arrive.
            self.database.open()?.run(
                "UPDATE gateways SET digest = NULL, renew_at = ? WHERE gateway = ?",
                [now().after(RETRY).into_value(), text(&gateway.to_string())],
            )?;
        }
        Ok(())
    }
}

/// What the catalog has of a gateway and of the devices that it reports, and through which gateway each is updated.
fn configuration(database: &Database, gateway: &Device) -> Result<Option<(Configuration, Associations)>, Failure> {
    let Some(own) = catalog::find(database, gateway)?.and_then(|known| known.state) else { return Ok(None) };
    let mut associations = Associations::default();
    let mut devices: Vec<(State, Option<u64>)> = Vec::new();
    let query = "SELECT client, identifier FROM reported WHERE gateway = ? ORDER BY client, identifier";
    for mut row in database.rows(query, [text(&gateway.to_string())])? {
        let Some(known) = catalog::find(database, &catalog::take_names(&mut row)?)? else { continue };
        if let Some(by) = known.gateway.filter(|_| known.conflict.is_none()) {
            associations.associate(known.device, by);
        }
        devices.extend(known.state.map(|state| (state, None)));
    }
    Ok(Some((Configuration { counter: 0, gateway: own, devices }, associations)))
}

fn states(configuration: &Configuration) -> impl Iterator<Item = &State> {
    core::iter::once(&configuration.gateway).chain(configuration.devices.iter().map(|(state, _)| state))
}

/// Devices that are given nothing until a person decides.
fn stopped(database: &Database, configuration: &Configuration) -> Result<Vec<Device>, Failure> {
    let mut stopped = Vec::new();
    for state in states(configuration) {
        let device = &state.characteristics.device;
        let Some(known) = catalog::find(database, device)? else { continue };
        if known.standing == UpdateState::SetAside || known.conflict.is_some() {
            stopped.push(device.clone());
        }
    }
    Ok(stopped)
}

/// How each device's update stands after a match. What the device itself told of the same package stays.
fn stand(database: &Database, configuration: &Configuration, picks: &Picks, stopped: &[Device]) -> Result<(), Failure> {
    for state in states(configuration) {
        let device = &state.characteristics.device;
        if stopped.contains(device) {
            continue;
        }
        let pick = picks.picks.iter().find(|pick| pick.state.characteristics.device == *device);
        let pick = pick.filter(|pick| !pick.package.release.is_installed_on(&pick.state));
        let path = pick.map(|pick| pick.package.path.to_string());
        let was = catalog::path(database, device)?;
        catalog::set_path(database, device, path.as_deref())?;
        let withheld = picks.withheld.iter().find(|(other, _)| other == device).map(|(_, why)| why.to_string());
        let recalled = picks.recalled.iter().find(|(other, _)| other == device);
        let (standing, detail) = match (&path, withheld, recalled) {
            (Some(path), ..) if was.as_ref() == Some(path) => continue,
            (Some(path), ..) => (UpdateState::Directed, Some(path.clone())),
            (None, Some(why), _) => (UpdateState::Withheld, Some(why)),
            (None, None, Some((_, recall))) => (UpdateState::Recalled, Some(recall.reason.to_string())),
            (None, None, None) => (UpdateState::Current, None),
        };
        catalog::set_failures(database, device, 0)?;
        catalog::set_standing(database, device, standing, detail.as_deref())?;
    }
    Ok(())
}

/// The gateways whose devices an offer may concern: those that report a device of this class, or are of it themselves.
pub(super) fn of_class(database: &Database, client: &str) -> Result<Vec<Device>, Failure> {
    let query = "SELECT gateway FROM reported WHERE client = ?
                 UNION SELECT gateway FROM gateways WHERE reported_at IS NOT NULL AND instr(gateway, ?) = 1
                 ORDER BY 1";
    let rows = database.rows(query, [text(client), text(&format!("{client}/"))])?.into_iter();
    rows.map(|mut row| row.take::<String>()?.parse().map_err(Failure::internal)).collect()
}

/// Offers changed: what they may concern is matched anew.
pub(super) fn offers_changed(database: &Database, scope: &offers::Scope) -> Result<(), Failure> {
    match scope {
        offers::Scope::Model => all_are_due(database),
        offers::Scope::Class(client) => {
            of_class(database, client.as_str())?.iter().try_for_each(|gateway| is_due(database, gateway))
        }
        offers::Scope::Devices(devices) => devices.iter().try_for_each(|device| {
            let gateway = catalog::find(database, device)?.and_then(|known| known.gateway);
            gateway.map_or(Ok(()), |gateway| is_due(database, &gateway))
        }),
    }
}
