//! From the catalog to a signed directive (figure 10, 214 to 217), and on to the gateway.

use super::catalog::{self, Known, Progress};
use super::director::{self, Director};
use super::offers::{self, Offer};
use super::{DistributionObject, blob, text};
use super::{manufacturers, offered};
use core::time::Duration;
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256 as Hasher};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use wardlink_edge::messages::{DirectorFiles, GatewayRequest, Orders};
use wardlink_edge::objects;
use wardlink_edge::platform::{log, now};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database};
use wardlink_protocol::api::UpdateState;
use wardlink_protocol::api::words::{OUT_OF_DATE, WINDOW_IS_OVER};
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_update::catalog::{Associations, Pick, Picks};
use wardlink_update::director::{Directive, Order, When};
use wardlink_update::metadata::Expires;
use wardlink_update::package::AtomicMember;
use wardlink_update::report::Configuration;

/// When a gateway's object that did not answer is told again, and when it is asked whether what it was given has arrived.
const RETRY: Duration = Duration::from_secs(30);
/// How many gateways are matched before others get their turn.
const BATCH: u64 = 32;

/// The gateway has to be matched anew, and told which devices are its own. It is counted: what changes while that is done is done once more.
pub(super) fn is_due(database: &Database, gateway: &Device) -> Result<(), Failure> {
    database.run("UPDATE gateways SET is_due = is_due + 1 WHERE gateway = ?", [text(gateway)])
}

/// The gateway is given a new directive, whether or not it says anything new.
pub(super) fn is_renewed(database: &Database, gateway: &Device) -> Result<(), Failure> {
    let statement = "UPDATE gateways SET is_due = is_due + 1, renew_at = 0 WHERE gateway = ?";
    database.run(statement, [text(gateway)])
}

/// Every gateway has to be matched anew.
pub(super) fn all_are_due(database: &Database) -> Result<(), Failure> {
    database.run("UPDATE gateways SET is_due = is_due + 1 WHERE reported_at IS NOT NULL", [])
}

/// When the next gateway has to be matched; none where none has to.
pub(super) fn next_due(database: &Database) -> Result<Option<UnixMillis>, Failure> {
    let query = "SELECT min(min(CASE WHEN is_due THEN 0 ELSE renew_at END, coalesce(check_at, renew_at))) FROM gateways
                 WHERE reported_at IS NOT NULL";
    Ok(database.one::<Option<UnixMillis>, 0>(query, [])?.flatten())
}

/// The newest directive for a gateway whose object has the one of this version: none where it has the newest.
pub(super) async fn newest(
    object: &DistributionObject,
    gateway: &Device,
    known: u64,
) -> Result<Option<DirectorFiles>, Failure> {
    let query = "SELECT directive FROM gateways WHERE gateway = ? AND reported_at IS NOT NULL";
    let Some(signed) = object.database.open()?.one::<u64, _>(query, [text(gateway)])? else {
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
        let devices = if with_devices { Some(self.associated(gateway).await?) } else { None };
        let directive = self.match_anew(gateway, false).await?;
        Ok(Orders { directive, devices })
    }

    /// Matches one gateway's devices with the releases that they are offered; signs, where that says something else than before, or
    /// always.
    pub(super) async fn match_anew(&self, gateway: &Device, always: bool) -> Result<Option<DirectorFiles>, Failure> {
        let (releases, variants) = self.releases_for(gateway).await?;
        let director = self.director()?;
        let database = self.database.open()?;
        let name = || text(gateway);
        let Some(reported) = Matched::read(database, gateway)? else { return Ok(None) };
        let Matched { configuration, associations, known } = &reported;
        let offers = self.offers()?;
        let stopped: BTreeSet<&Device> =
            known.iter().filter(|known| known.is_stopped()).map(|known| &known.device).collect();
        let is_offered = |device: &Device, path: &_| !stopped.contains(device) && offers.of(device, path).is_some();
        let mut picks = releases.pick_offered(configuration, associations, is_offered);
        let begun = known.iter().filter(|known| known.progress.standing == UpdateState::Installing);
        let begun: BTreeMap<_, _> =
            begun.filter_map(|known| Some((&known.device, known.progress.path.as_deref()?))).collect();
        let mut waiting = BTreeMap::new();
        let published_until = manufacturers::published_until(database)?;
        loop {
            let mut wait = variants.wait_for(self, gateway, &picks.picks)?;
            wait.extend(held_back(&picks.picks, OUT_OF_DATE, |Pick { package, .. }| {
                published_until.get(package.release.manufacturer.as_str()).is_some_and(|until| *until <= now())
            }));
            wait.extend(held_back(&picks.picks, WINDOW_IS_OVER, |Pick { state, package, .. }| {
                let (device, path) = (&state.characteristics.device, &package.path);
                let is_over = offers.of(device, path).and_then(Offer::window_ends).is_some_and(|until| until <= now());
                // Who has it, or has begun, is not waited for.
                is_over && !package.release.is_installed_on(state) && begun.get(device) != Some(&path.as_str())
            }));
            if wait.is_empty() {
                break;
            }
            // A set of which a member waits, waits whole; what others are given instead may have to be encrypted, too.
            waiting.extend(wait);
            let is_ready = |device: &Device, path: &_| !waiting.contains_key(device) && is_offered(device, path);
            picks = releases.pick_offered(configuration, associations, is_ready);
        }
        let mut orders = Order::of(&picks.picks, |pick| {
            let device = &pick.state.characteristics.device;
            let offer = offers.of(device, &pick.package.path);
            offer.map_or_else(|| (When::AtOnce, Vec::new()), |offer| offer.terms(&pick.package.release))
        });
        for order in &mut orders {
            variants.put_into(order);
        }
        let waits = |device: &Device| waiting.get(device).copied();
        stand(database, known.iter().filter(|known| !stopped.contains(&known.device)), &picks, waits)?;
        offered::follow(database, (configuration, known), (&releases, &offers), &picks, waits)?;

        let made = |version, ends| Directive::new(version, ends, gateway, &orders, associations);
        let plain = made(1, Expires::at(0)).map_err(Failure::internal)?;
        let digest = Sha256(Hasher::digest(serde_json::to_vec(&plain)?).into());
        let query = "SELECT digest IS ? AND renew_at > ? FROM gateways WHERE gateway = ?";
        let is_same: Option<bool> = database.one(query, [blob(&digest), now().into_value(), name()])?;
        // It is renewed after a while, when the pause of a device that has failed or the window of an offer is over, and when what it names counts no longer.
        let pauses = known.iter().map(|known| known.progress.retry_at);
        let named =
            picks.picks.iter().filter_map(|pick| published_until.get(pick.package.release.manufacturer.as_str()));
        let windows = picks.picks.iter().filter_map(|Pick { state, package, .. }| {
            offers.of(&state.characteristics.device, &package.path).and_then(Offer::window_ends)
        });
        let changes = pauses.chain(named.copied()).chain(windows).filter(|at| *at > now());
        let renew_at = changes.fold(now().after(director::renewal(&self.env)), UnixMillis::min);
        if is_same == Some(true) && !always {
            database.run(
                "UPDATE gateways SET renew_at = ?1 WHERE gateway = ?2 AND renew_at > ?1",
                [renew_at.into_value(), name()],
            )?;
            return Ok(None);
        }
        let version = director::next_version(database)?;
        let directive = made(version, director::directive_ends()).map_err(Failure::internal)?;
        let files = director.publish(&directive)?;
        let directed = orders.iter().map(|order| order.assignments.len()).fold(0, usize::saturating_add);
        database.run(
            "UPDATE gateways SET directive = ?, digest = ?, directed = ?, directed_at = ?, renew_at = ?,
                 check_at = ?
             WHERE gateway = ?",
            [
                version.into_value(),
                blob(&digest),
                u64::try_from(directed).unwrap_or(u64::MAX).into_value(),
                now().into_value(),
                renew_at.into_value(),
                now().after(RETRY).into_value(),
                name(),
            ],
        )?;
        log!("distribution: directive {version} for {gateway}: {directed} devices");
        let [targets, snapshot, timestamp] = [files.targets, files.snapshot, files.timestamp].map(ByteBuf::from);
        Ok(Some(DirectorFiles { version, targets, snapshot, timestamp }))
    }

    /// Matches gateways that have to be, and tells them; as many as there are in one batch. Looks whether directives that were handed out
    /// with an answer have arrived.
    pub(super) async fn match_due(&self) -> Result<(), Failure> {
        let query = "SELECT gateway FROM gateways WHERE reported_at IS NOT NULL AND (is_due > 0 OR renew_at <= ?)
                     ORDER BY is_due DESC, renew_at LIMIT ?";
        let push = async |gateway: &Device| self.push(gateway, false).await;
        one_by_one(self.some_gateways(query)?, push, |gateway, failure| self.put_off(gateway, &failure)).await?;
        let query = "SELECT gateway FROM gateways WHERE check_at <= ? ORDER BY check_at LIMIT ?";
        let check = async |gateway: &Device| self.check(gateway).await;
        one_by_one(self.some_gateways(query)?, check, |gateway, failure| {
            log!("distribution: {gateway} is asked again: {failure:?}");
            Ok(())
        })
        .await
    }

    /// A gateway whose match fails is matched again later.
    fn put_off(&self, gateway: &Device, failure: &Failure) -> Result<(), Failure> {
        log!("distribution: {gateway} is matched later: {failure:?}");
        self.database.open()?.run(
            "UPDATE gateways SET is_due = 0, renew_at = ? WHERE gateway = ?",
            [now().after(RETRY).into_value(), text(gateway)],
        )
    }

    fn some_gateways(&self, query: &str) -> Result<Vec<Device>, Failure> {
        let rows = self.database.open()?.rows(query, [now().into_value(), BATCH.into_value()])?.into_iter();
        rows.map(|mut row| row.take::<String>()?.parse().map_err(Failure::internal)).collect()
    }

    /// Matches a gateway and tells it: what is new, or always. What does not arrive is told later.
    pub(super) async fn push(&self, gateway: &Device, always: bool) -> Result<(), Failure> {
        let database = self.database.open()?;
        let due: Option<u64> = database.one("SELECT is_due FROM gateways WHERE gateway = ?", [text(gateway)])?;
        // Asked first: nothing stands between a directive that counts as signed and the way to its gateway.
        let devices = Some(self.associated(gateway).await?);
        let directive = self.match_anew(gateway, always).await?;
        database.run(
            "UPDATE gateways SET is_due = max(is_due - ?, 0) WHERE gateway = ?",
            [due.unwrap_or_default().into_value(), text(gateway)],
        )?;
        if let Err(failure) = self.say(gateway, Orders { directive, devices }).await {
            log!("distribution: {gateway} is told later: {failure:?}");
            database.run(
                "UPDATE gateways SET renew_at = ? WHERE gateway = ?",
                [now().after(RETRY).into_value(), text(gateway)],
            )?;
        }
        Ok(())
    }

    /// Signs and pushes anew where the newest directive is not there: the answer that it went with, or what it met there, was lost.
    async fn check(&self, gateway: &Device) -> Result<(), Failure> {
        self.database.open()?.run(
            "UPDATE gateways SET check_at = ? WHERE gateway = ?",
            [now().after(RETRY).into_value(), text(gateway)],
        )?;
        if self.say(gateway, Orders::default()).await? {
            return Ok(());
        }
        log!("distribution: {gateway} has not its newest directive");
        self.push(gateway, true).await
    }

    /// Says something to a gateway's object; whether that has the newest directive then.
    async fn say(&self, gateway: &Device, orders: Orders) -> Result<bool, Failure> {
        let has: u64 = objects::tell_gateway(&self.env, gateway, &GatewayRequest::Say(orders)).await?;
        let statement = "UPDATE gateways SET check_at = NULL WHERE gateway = ? AND directive = ? RETURNING directive";
        let newest: Option<u64> = self.database.open()?.one(statement, [text(gateway), has.into_value()])?;
        Ok(newest.is_some())
    }
}

/// Does something for one after another. One for whom it fails is dealt with, and keeps nobody else waiting.
async fn one_by_one<T, E>(
    all: Vec<T>,
    work: impl AsyncFn(&T) -> Result<(), E>,
    fail: impl Fn(&T, E) -> Result<(), E>,
) -> Result<(), E> {
    for one in all {
        if let Err(error) = work(&one).await {
            fail(&one, error)?;
        }
    }
    Ok(())
}

/// What the catalog has of a gateway and of the devices that it reports, and through which gateway each is updated.
struct Matched {
    configuration: Configuration,
    associations: Associations,
    /// The same, gateway first, without their states.
    known: Vec<Known>,
}

impl Matched {
    fn read(database: &Database, gateway: &Device) -> Result<Option<Self>, Failure> {
        let Some(mut own) = catalog::find(database, gateway)? else { return Ok(None) };
        let Some(state) = own.state.take() else { return Ok(None) };
        let mut configuration = Configuration {
            counter: 0,
            gateway: state,
            devices: Vec::new(),
            unchanged: Vec::new(),
            left_out: Vec::new(),
        };
        let (mut associations, mut known) = (Associations::default(), vec![own]);
        for mut device in catalog::reported(database, gateway)? {
            let Some(state) = device.state.take() else { continue };
            if let Some(by) = device.gateway.clone().filter(|_| device.conflict.is_none()) {
                associations.associate(device.device.clone(), by);
            }
            configuration.devices.push((state, None));
            known.push(device);
        }
        Ok(Some(Self { configuration, associations, known }))
    }
}

/// The devices that are to be given what is held back, and why. A set of which a member is such a package waits whole.
fn held_back(picks: &[Pick], why: &'static str, is_held: impl Fn(&Pick) -> bool) -> Vec<(Device, &'static str)> {
    let of_set = |pick: &&Pick| !pick.package.release.atomic.is_empty() && is_held(pick);
    let sets: Vec<BTreeSet<AtomicMember>> =
        picks.iter().filter(of_set).map(|pick| pick.package.release.set()).collect();
    let waits = |pick: &&Pick| {
        let package = &pick.package.release;
        !package.is_installed_on(&pick.state) && (is_held(pick) || sets.contains(&package.set()))
    };
    picks.iter().filter(waits).map(|pick| (pick.state.characteristics.device.clone(), why)).collect()
}

/// How each device's update stands after a match. What the device itself told of the same package stays.
fn stand<'a>(
    database: &Database,
    devices: impl Iterator<Item = &'a Known>,
    picks: &Picks,
    waits: impl Fn(&Device) -> Option<&'static str>,
) -> Result<(), Failure> {
    let given = picks.picks.iter().filter(|pick| !pick.package.release.is_installed_on(&pick.state));
    let given: BTreeMap<_, _> =
        given.map(|pick| (&pick.state.characteristics.device, pick.package.path.as_str())).collect();
    let withheld: BTreeMap<_, _> = picks.withheld.iter().map(|(device, why)| (device, why)).collect();
    let recalled: BTreeMap<_, _> = picks.recalled.iter().map(|(device, recall)| (device, recall)).collect();
    for Known { device, progress: before, .. } in devices {
        let progress = if let Some(&path) = given.get(device) {
            if before.path.as_deref() == Some(path) {
                continue;
            }
            Progress::new(UpdateState::Directed, Some(path.to_owned()), Some(path.to_owned()))
        } else if let Some(why) = withheld.get(device) {
            Progress::new(UpdateState::Withheld, Some(why.to_string()), None)
        } else if let Some(recall) = recalled.get(device) {
            Progress::new(UpdateState::Recalled, Some(recall.reason.to_string()), None)
        } else if let Some(why) = waits(device) {
            Progress::new(UpdateState::Withheld, Some(why.to_owned()), None)
        } else {
            Progress::new(UpdateState::Current, None, None)
        };
        if progress != *before {
            catalog::set_progress(database, device, progress)?;
        }
    }
    Ok(())
}

/// The gateways whose devices an offer may concern: those that report a device of this class, or are of it themselves.
pub(super) fn of_class(database: &Database, client: &str) -> Result<Vec<Device>, Failure> {
    let query = "SELECT gateway FROM reported WHERE client = ?
                 UNION SELECT gateway FROM gateways WHERE reported_at IS NOT NULL AND instr(gateway, ?) = 1
                 ORDER BY 1";
    let rows = database.rows(query, [text(client), text(format!("{client}/"))])?.into_iter();
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

#[cfg(test)]
mod tests {
    use super::one_by_one;
    use core::cell::RefCell;
    use core::pin::pin;
    use core::task::{Context, Poll, Waker};

    #[test]
    fn one_gateway_that_fails_keeps_nobody_else_waiting() {
        let (told, failed) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let work = async |gateway: &u8| {
            told.borrow_mut().push(*gateway);
            if *gateway == 2 { Err("it cannot be matched") } else { Ok(()) }
        };
        let fail = |gateway: &u8, why| {
            failed.borrow_mut().push((*gateway, why));
            Ok(())
        };
        let done = pin!(one_by_one(vec![1, 2, 3], work, fail)).poll(&mut Context::from_waker(Waker::noop()));
        assert_eq!(done, Poll::Ready(Ok(())));
        assert_eq!(told.into_inner(), [1, 2, 3]);
        assert_eq!(failed.into_inner(), [(2, "it cannot be matched")]);
    }
}
