//! How far each device is with an offer: what a match gives it, and what it tells of that.
//!
//! A device stands once with each offer, whatever happens to it: one that is tried again is one, and one that has failed and later installs has
//! installed.

use super::catalog::{self, Known, Progress};
use super::offers::Offers;
use super::text;
use std::collections::{BTreeMap, BTreeSet};
use wardlink_edge::platform::now;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, Row};
use wardlink_protocol::api::{OfferDevice, OfferStanding, UpdateState, words};
use wardlink_protocol::{Device, UnixMillis};
use wardlink_update::catalog::{Picks, Releases};
use wardlink_update::report::Configuration;

/// Where it is given no more, and has said nothing of it.
const ENDED: &str = "ended";
/// A device of an offer, and what the catalog says of its retries.
const COLUMNS: &str = "offered.client, offered.identifier, offered.standing, offered.detail, offered.since, \
                       devices.standing, devices.failures, devices.retry_at";
const FROM: &str = "offered LEFT JOIN devices USING (client, identifier)";

/// How many devices of an offer stand how.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) directed: u64,
    pub(super) waiting: u64,
    pub(super) installed: u64,
    pub(super) failed: u64,
}

impl Counts {
    fn add(&mut self, standing: OfferStanding, devices: u64) {
        let count = match standing {
            OfferStanding::Directed | OfferStanding::Installing | OfferStanding::Retrying => &mut self.directed,
            OfferStanding::Waiting => &mut self.waiting,
            OfferStanding::Installed => &mut self.installed,
            OfferStanding::Failed => &mut self.failed,
        };
        *count = count.saturating_add(devices);
    }

    /// All of them.
    pub(super) fn all(self) -> u64 {
        [self.directed, self.waiting, self.installed, self.failed].into_iter().fold(0, u64::saturating_add)
    }
}

/// How a device stands with an offer, and why.
type Stand = (OfferStanding, Option<String>);

fn word(standing: OfferStanding) -> Result<String, Failure> {
    match serde_json::to_value(standing)? {
        serde_json::Value::String(word) => Ok(word),
        _ => Err(Failure::internal("a standing is no word")),
    }
}

fn standing_of(word: String) -> Result<OfferStanding, Failure> {
    Ok(serde_json::from_value(word.into())?)
}

/// How many devices of every offer stand how, or of one.
pub(super) fn counts(database: &Database, of: Option<u64>) -> Result<BTreeMap<u64, Counts>, Failure> {
    let condition = if of.is_some() { "offer = ?1" } else { "?1 IS NULL" };
    let query = format!(
        "SELECT offer, standing, count(*) FROM offered WHERE {condition} AND standing <> 'ended' GROUP BY offer, standing"
    );
    let mut counts: BTreeMap<u64, Counts> = BTreeMap::new();
    for mut row in database.rows(&query, [of.into_value()])? {
        let (offer, standing) = (row.take()?, standing_of(row.take()?)?);
        counts.entry(offer).or_default().add(standing, row.take()?);
    }
    Ok(counts)
}

/// The devices of an offer after this one, as many as these.
pub(super) fn after(
    database: &Database,
    offer: u64,
    after: Option<&Device>,
    limit: u64,
) -> Result<Vec<OfferDevice>, Failure> {
    let query = format!(
        "SELECT {COLUMNS} FROM {FROM}
         WHERE offered.offer = ? AND offered.standing <> 'ended' AND (offered.client, offered.identifier) > (?, ?)
         ORDER BY offered.client, offered.identifier LIMIT ?"
    );
    let [client, identifier] = after.map_or_else(|| ["", ""].map(text), catalog::names);
    let rows = database.rows(&query, [offer.into_value(), client, identifier, limit.into_value()])?;
    rows.into_iter().map(read).collect()
}

/// A device that an open offer names: it waits, where nothing else is known of it.
pub(super) fn named(database: &Database, offer: u64, device: &Device) -> Result<OfferDevice, Failure> {
    let query = format!(
        "SELECT {COLUMNS} FROM {FROM} WHERE offered.offer = ? AND offered.client = ? AND offered.identifier = ?
             AND offered.standing <> 'ended'"
    );
    let [client, identifier] = catalog::names(device);
    if let Some(row) = database.row(&query, [offer.into_value(), client, identifier])? {
        return read(row);
    }
    let why = match catalog::find(database, device)? {
        None => words::NOT_KNOWN,
        Some(known) if known.state.is_none() => words::NOT_REPORTED,
        Some(_) => words::NOT_FITTING,
    };
    let (standing, detail) = (OfferStanding::Waiting, Some(why.to_owned()));
    Ok(OfferDevice { device: device.clone(), standing, detail, since: None, failures: 0, retry_at: None })
}

fn read(mut row: Row) -> Result<OfferDevice, Failure> {
    let device = catalog::take_names(&mut row)?;
    let (standing, detail, since) = (standing_of(row.take()?)?, row.take()?, Some(row.take()?));
    let update: Option<String> = row.take()?;
    let update: Option<UpdateState> = update.map(|word| serde_json::from_value(word.into())).transpose()?;
    let (failures, retry_at) = (row.take::<Option<u64>>()?, row.take::<Option<UnixMillis>>()?);
    // What the catalog counts belongs to this offer as long as the device stands alike in both.
    let (failures, retry_at) = match (standing, update) {
        (OfferStanding::Retrying, Some(UpdateState::Retrying)) => (failures, retry_at.filter(|at| *at > UnixMillis(0))),
        (OfferStanding::Failed, Some(UpdateState::SetAside)) => (failures, None),
        _ => (None, None),
    };
    let failures = failures.unwrap_or_default();
    Ok(OfferDevice { device, standing, detail, since, failures, retry_at })
}

/// Writes down what a match has made of a gateway's own devices.
pub(super) fn follow(
    database: &Database,
    (configuration, known): (&Configuration, &[Known]),
    (releases, offers): (&Releases, &Offers),
    picks: &Picks,
    waits: impl Fn(&Device) -> Option<&'static str>,
) -> Result<(), Failure> {
    let gateway = &configuration.gateway.characteristics.device;
    let given = picks.picks.iter().map(|pick| (&pick.state.characteristics.device, pick.package.path.as_str()));
    let given: BTreeMap<_, _> = given.collect();
    let withheld: BTreeMap<_, _> = picks.withheld.iter().map(|(device, why)| (device, why)).collect();
    let mut open = open(database, gateway)?;
    let own = known.iter().zip(configuration.states()).filter(|(known, _)| known.gateway.as_ref() == Some(gateway));
    let mut reported = BTreeSet::new();
    for (known, state) in own {
        let device = &known.device;
        reported.insert(device.clone());
        let best = releases.best(state, &|device, path| offers.of(device, path).is_some());
        let Some((path, offer)) = best.and_then(|best| Some((&best.path, offers.of(device, &best.path)?))) else {
            continue;
        };
        let path = path.as_str();
        let waiting = |why: String| (OfferStanding::Waiting, Some(why));
        let is_set_aside = known.progress.standing == UpdateState::SetAside;
        let stand = if given.get(device) == Some(&path) {
            stand(known, path)
        } else if known.conflict.is_some() {
            waiting(words::IN_CONFLICT.to_owned())
        } else if is_set_aside {
            waiting(words::IS_SET_ASIDE.to_owned())
        } else if let Some(why) = withheld.get(device) {
            waiting(why.to_string())
        } else if let Some(why) = waits(device) {
            waiting(why.to_owned())
        } else if known.progress.path.as_deref() == Some(path) {
            stand(known, path)
        } else {
            waiting(words::RESTS.to_owned())
        };
        let before = open.remove(&(offer.id, device.clone()));
        // It may have failed with this one.
        let only_if_over = is_set_aside && before.is_none();
        if before.as_ref() != Some(&stand) {
            put(database, device, (offer.id, path), stand, only_if_over)?;
        }
    }
    for ((offer, device), before) in open {
        let is_waited_for = offers.has(offer) && !reported.contains(&device);
        end(database, offer, &device, is_waited_for, before)?;
    }
    Ok(())
}

/// How a device stands that is given this package: as it has told, where it has.
fn stand(Known { progress, .. }: &Known, path: &str) -> Stand {
    match progress.standing {
        _ if progress.path.as_deref() != Some(path) => (OfferStanding::Directed, None),
        UpdateState::Installing => (OfferStanding::Installing, None),
        UpdateState::Postponed => (OfferStanding::Waiting, progress.detail.clone()),
        UpdateState::Retrying => (OfferStanding::Retrying, progress.detail.clone()),
        _ => (OfferStanding::Directed, None),
    }
}

/// The devices of a gateway with offers that are not over for them.
fn open(database: &Database, gateway: &Device) -> Result<BTreeMap<(u64, Device), Stand>, Failure> {
    let query = "SELECT offer, client, identifier, standing, detail FROM offered
                 WHERE (client, identifier) IN (SELECT client, identifier FROM devices WHERE gateway = ?)
                     AND standing IN ('directed', 'installing', 'waiting', 'retrying')";
    let rows = database.rows(query, [text(gateway)])?.into_iter();
    rows.map(|mut row| {
        let (offer, device) = (row.take()?, catalog::take_names(&mut row)?);
        Ok(((offer, device), (standing_of(row.take()?)?, row.take()?)))
    })
    .collect()
}

/// A device stands so with the offer of a package from now on; or only where that was over for it.
fn put(
    database: &Database,
    device: &Device,
    (offer, path): (u64, &str),
    (standing, detail): Stand,
    only_if_over: bool,
) -> Result<(), Failure> {
    let [client, identifier] = catalog::names(device);
    database.run(
        "INSERT INTO offered (offer, client, identifier, path, standing, detail, since) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (offer, client, identifier) DO UPDATE
             SET standing = excluded.standing, detail = excluded.detail, since = excluded.since
             WHERE NOT ?8 OR standing = 'ended'",
        [
            offer.into_value(),
            client,
            identifier,
            text(path),
            text(word(standing)?),
            detail.into_value(),
            now().into_value(),
            only_if_over.into_value(),
        ],
    )
}

/// A device is given an offer no more: one that is only not reported now waits for that.
fn end(
    database: &Database,
    offer: u64,
    device: &Device,
    is_waited_for: bool,
    (before, detail): Stand,
) -> Result<(), Failure> {
    let (after, why) = match before {
        OfferStanding::Retrying => (word(OfferStanding::Failed)?, detail.clone()),
        _ if is_waited_for => (word(OfferStanding::Waiting)?, Some(words::NOT_REPORTED.to_owned())),
        _ => (ENDED.to_owned(), None),
    };
    if before == OfferStanding::Waiting && is_waited_for && why == detail {
        return Ok(());
    }
    let [client, identifier] = catalog::names(device);
    database.run(
        "UPDATE offered SET standing = ?, detail = ?, since = ? WHERE offer = ? AND client = ? AND identifier = ?",
        [text(after), why.into_value(), now().into_value(), offer.into_value(), client, identifier],
    )
}

/// A device has told of a package: it stands so with the newest offer of it that it was given.
pub(super) fn told(
    database: &Database,
    device: &Device,
    path: Option<&str>,
    progress: &Progress,
) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let standing = match progress.standing {
        UpdateState::Current => OfferStanding::Installed,
        UpdateState::Installing => OfferStanding::Installing,
        UpdateState::Postponed => OfferStanding::Waiting,
        UpdateState::Retrying => OfferStanding::Retrying,
        UpdateState::SetAside => OfferStanding::Failed,
        UpdateState::Directed | UpdateState::Withheld | UpdateState::Recalled => return Ok(()),
    };
    let [client, identifier] = catalog::names(device);
    database.run(
        "UPDATE offered SET standing = ?1, detail = ?2, since = ?3 WHERE client = ?4 AND identifier = ?5
             AND offer = (SELECT max(offer) FROM offered WHERE client = ?4 AND identifier = ?5 AND path = ?6)",
        [
            text(word(standing)?),
            progress.detail.clone().into_value(),
            now().into_value(),
            client,
            identifier,
            text(path),
        ],
    )
}

/// An offer is withdrawn: who has failed with it is tried no more, and nobody waits for it.
pub(super) fn withdrawn(database: &Database, offer: u64) -> Result<(), Failure> {
    database.run(
        "UPDATE offered SET standing = CASE standing WHEN 'retrying' THEN 'failed' ELSE 'ended' END, since = ?
         WHERE offer = ? AND standing IN ('directed', 'installing', 'waiting', 'retrying')",
        [now().into_value(), offer.into_value()],
    )
}

/// Nothing is known of these offers any more.
pub(super) fn forget(database: &Database, offers: &[u64]) -> Result<(), Failure> {
    offers.iter().try_for_each(|offer| database.run("DELETE FROM offered WHERE offer = ?", [offer.into_value()]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_device_that_installs_or_is_tried_again_is_one_of_those_that_are_directed() {
        let mut counts = Counts::default();
        for (standing, devices) in [
            (OfferStanding::Directed, 2),
            (OfferStanding::Installing, 7),
            (OfferStanding::Retrying, 3),
            (OfferStanding::Waiting, 4),
            (OfferStanding::Installed, 5),
            (OfferStanding::Failed, 1),
        ] {
            counts.add(standing, devices);
        }
        assert_eq!((counts.directed, counts.waiting, counts.installed, counts.failed), (12, 4, 5, 1));
        assert_eq!(counts.all(), 22);
    }

    #[test]
    fn every_standing_comes_back_from_its_word() {
        for standing in [
            OfferStanding::Directed,
            OfferStanding::Installing,
            OfferStanding::Waiting,
            OfferStanding::Retrying,
            OfferStanding::Installed,
            OfferStanding::Failed,
        ] {
            let word = word(standing).unwrap();
            assert_ne!(word, ENDED);
            assert_eq!(standing_of(word).unwrap(), standing);
        }
    }
}
