//! Offers: which package, to whom, when, and with which data (figure 10, 214; figure 5B, 125).

use super::offered::{self, Counts};
use super::{DistributionObject, blob, repository, text};
use crate::gateway_object::ADDED;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256 as Hasher};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use wardlink_edge::files::Files;
use wardlink_edge::platform::{log, now};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, read_record, record};
use wardlink_protocol::api::{NewOffer, OfferDevices, OfferScope, OfferView, OfferWhen, Person, ProblemKind};
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_trust::audit::Act;
use wardlink_update::catalog::Releases;
use wardlink_update::director::{Added, When};
use wardlink_update::metadata::TargetPath;
use wardlink_update::package::{AddedKind, BoundFile, Package};

pub(super) use wardlink_protocol::api::OfferScope as Scope;

/// The most offers that count at once.
const MAX_OFFERS: u64 = 1_000;
/// The most devices of one offer.
const MAX_DEVICES: usize = 1_000;
/// The most offers that are shown.
const SHOWN: u64 = 1_000;
/// The devices of one page.
const PAGE: usize = 100;
/// The offers that were withdrawn and are kept, the newest ones.
const WITHDRAWN: u64 = 1_000;

/// An offer as it is stored.
#[derive(Clone, Serialize, Deserialize)]
struct Record {
    path: String,
    scope: OfferScope,
    when: OfferWhen,
    /// The file of each kind: its name, length and hash.
    added: Vec<(String, u64, Sha256)>,
    made_at: UnixMillis,
    made_by: String,
}

/// An offer that counts.
pub(super) struct Offer {
    pub(super) id: u64,
    record: Record,
}

/// Every offer that counts.
#[derive(Default)]
pub(super) struct Offers {
    ids: BTreeSet<u64>,
    /// By its package's path, the newest first.
    by_path: BTreeMap<String, Vec<Offer>>,
}

impl DistributionObject {
    /// Every offer that counts.
    pub(super) fn offers(&self) -> Result<Rc<Offers>, Failure> {
        if let Some(offers) = self.offers.borrow().as_ref() {
            return Ok(Rc::clone(offers));
        }
        let query = "SELECT id, record FROM offers WHERE withdrawn_at IS NULL ORDER BY id DESC";
        let mut offers = Offers::default();
        for mut row in self.database.open()?.rows(query, [])? {
            let (id, record): (u64, Record) = (row.take()?, row.take_record()?);
            offers.ids.insert(id);
            offers.by_path.entry(record.path.clone()).or_default().push(Offer { id, record });
        }
        let offers = Rc::new(offers);
        self.offers.replace(Some(Rc::clone(&offers)));
        Ok(offers)
    }
}

impl Offers {
    /// The newest offer of a package to a device.
    pub(super) fn of(&self, device: &Device, path: &TargetPath) -> Option<&Offer> {
        self.by_path.get(path.as_str())?.iter().find(|offer| match &offer.record.scope {
            OfferScope::Model => true,
            OfferScope::Class(client) => device.client == *client,
            OfferScope::Devices(devices) => devices.contains(device),
        })
    }

    /// Whether an offer counts.
    pub(super) fn has(&self, id: u64) -> bool {
        self.ids.contains(&id)
    }
}

impl Offer {
    /// When it can be installed no longer; none where no window is set.
    pub(super) fn window_ends(&self) -> Option<UnixMillis> {
        match self.record.when {
            OfferWhen::Window { until, .. } => Some(UnixMillis(until.saturating_mul(1_000))),
            OfferWhen::AtOnce | OfferWhen::NextSafeMoment | OfferWhen::OnConfirmation => None,
        }
    }

    /// When a device installs it, and what the server adds, as far as the package takes it.
    pub(super) fn terms(&self, package: &Package) -> (When, Vec<Added>) {
        let when = match self.record.when {
            OfferWhen::AtOnce => When::AtOnce,
            OfferWhen::NextSafeMoment => When::NextSafeMoment,
            OfferWhen::Window { from, until } => When::Window { from, until },
            OfferWhen::OnConfirmation => When::OnConfirmation,
        };
        let added = self.record.added.iter().filter_map(|(kind, length, sha256)| {
            let kind = kind_of(kind).filter(|kind| package.accepts.contains(kind))?;
            let path = TargetPath::try_from(format!("added/{sha256}.json")).ok()?;
            Some(Added { kind, file: BoundFile { path, length: *length, sha256: *sha256 } })
        });
        let mut added: Vec<Added> = added.collect();
        added.sort();
        (when, added)
    }
}

fn kind_of(name: &str) -> Option<AddedKind> {
    AddedKind::ALL.into_iter().find(|kind| kind.name() == name)
}

fn refused(step: &str, why: impl core::fmt::Display) -> Failure {
    Failure::with_detail(ProblemKind::RefusedStep, format!("Step {step}: {why}. Nothing was offered."))
}

/// Whether an offer may be made.
fn check(new: &NewOffer, releases: &Releases) -> Result<(), Failure> {
    let package = releases.packages().iter().find(|listed| listed.path.as_str() == new.path);
    let package = &package.ok_or_else(|| refused("package", "there is no such package"))?.release;
    if package.recalled.is_some() {
        return Err(refused("package", "it is recalled"));
    }
    match &new.scope {
        OfferScope::Class(client) if *client != package.device_type => {
            return Err(refused("scope", format!("the package is for {}", package.device_type)));
        }
        OfferScope::Devices(devices) if devices.is_empty() || devices.len() > MAX_DEVICES => {
            return Err(refused("scope", format!("name 1 to {MAX_DEVICES} devices")));
        }
        OfferScope::Model | OfferScope::Class(_) | OfferScope::Devices(_) => {}
    }
    if matches!(new.when, OfferWhen::Window { from, until } if from >= until || until <= now().as_secs()) {
        return Err(refused("when", "the window ends before it begins, or is over"));
    }
    for (index, data) in new.added.iter().enumerate() {
        let kind = kind_of(&data.kind).filter(|kind| package.accepts.contains(kind));
        let kind = kind.ok_or_else(|| refused("added data", format!("the package takes no {}", data.kind)))?;
        kind.check(data.text.as_bytes()).map_err(|error| refused("added data", error))?;
        if new.added.iter().take(index).any(|other| other.kind == data.kind) {
            return Err(refused("added data", format!("{} stands there twice", data.kind)));
        }
    }
    Ok(())
}

/// A person offers a package.
pub(super) async fn make(object: &DistributionObject, person: &Person, new: NewOffer) -> Result<OfferView, Failure> {
    let releases = object.releases().await?;
    check(&new, &releases)?;
    let mut files = Vec::new();
    for data in &new.added {
        let (bytes, length) = (data.text.clone().into_bytes(), u64::try_from(data.text.len()).unwrap_or(u64::MAX));
        let sha256 = Sha256(Hasher::digest(&bytes).into());
        repository::comes(object.database.open()?, ADDED, &sha256, length)?;
        Files::of(&object.env, ADDED)?.write(bytes).await?;
        files.push((data.kind.clone(), length, sha256));
    }
    // Meanwhile the package may have been recalled, or have gone. From here on nothing waits.
    let releases = object.releases().await?;
    check(&new, &releases)?;
    let database = object.database.open()?;
    let count: Option<u64> = database.one("SELECT count(*) FROM offers WHERE withdrawn_at IS NULL", [])?;
    if count.is_some_and(|count| count >= MAX_OFFERS) {
        return Err(refused("offers", format!("there are {MAX_OFFERS} at most; withdraw one first")));
    }
    let offer = Record {
        path: new.path,
        scope: new.scope,
        when: new.when,
        added: files,
        made_at: now(),
        made_by: person.name.clone(),
    };
    let id = database.step(|database| {
        let id: Option<u64> = database.one("INSERT INTO offers (record) VALUES (?) RETURNING id", [record(&offer)?])?;
        let id = id.ok_or_else(|| Failure::internal("an offer has no number"))?;
        for (_, _, sha256) in &offer.added {
            database
                .run("INSERT OR IGNORE INTO added (offer, sha256) VALUES (?, ?)", [id.into_value(), blob(sha256)])?;
        }
        DistributionObject::note(database, Some(person), Act::UpdateDecided, &offer.path, format!("offer {id}"))?;
        super::directives::offers_changed(database, &offer.scope)?;
        Ok(id)
    })?;
    object.offers.take();
    log!("distribution: person {} makes the offer {id}", person.id);
    view(database, id, offer, None)
}

/// A person withdraws an offer. Who has installed it keeps it.
pub(super) fn withdraw(object: &DistributionObject, person: &Person, id: u64) -> Result<OfferView, Failure> {
    let database = object.database.open()?;
    let offer = database.step(|database| take_back(database, person, id))?;
    object.offers.take();
    log!("distribution: person {} withdraws the offer {id}", person.id);
    view(database, id, offer, Some(now()))
}

/// Withdraws every offer of a manufacturer's packages. Whoever keeps the offers in mind forgets them after.
pub(super) fn withdraw_all_of(database: &Database, person: &Person, manufacturer: &str) -> Result<(), Failure> {
    let folder = format!("{manufacturer}/");
    for mut row in database.rows("SELECT id, record FROM offers WHERE withdrawn_at IS NULL", [])? {
        let (id, offer): (u64, Record) = (row.take()?, row.take_record()?);
        if offer.path.starts_with(&folder) {
            take_back(database, person, id)?;
        }
    }
    Ok(())
}

fn take_back(database: &Database, person: &Person, id: u64) -> Result<Record, Failure> {
    let query = "UPDATE offers SET withdrawn_at = ? WHERE id = ? AND withdrawn_at IS NULL RETURNING record";
    let stored: Option<Vec<u8>> = database.one(query, [now().into_value(), id.into_value()])?;
    let offer: Record = read_record(&stored.ok_or(ProblemKind::NotFound)?)?;
    // Who has begun with it ends with it: its files stay as long as those that have just come.
    database.run(
        "UPDATE files SET stored_at = ? WHERE manufacturer = ? AND sha256 IN (SELECT sha256 FROM added WHERE offer = ?)",
        [now().into_value(), text(ADDED), id.into_value()],
    )?;
    database.run("DELETE FROM added WHERE offer = ?", [id.into_value()])?;
    let forgotten = database.rows(
        "DELETE FROM offers WHERE withdrawn_at IS NOT NULL AND id <= (SELECT id FROM offers
             WHERE withdrawn_at IS NOT NULL ORDER BY id DESC LIMIT 1 OFFSET ?) RETURNING id",
        [WITHDRAWN.into_value()],
    )?;
    let forgotten = forgotten.into_iter().map(|mut row| row.take()).collect::<Result<Vec<u64>, _>>()?;
    offered::withdrawn(database, id)?;
    offered::forget(database, &forgotten)?;
    DistributionObject::note(database, Some(person), Act::UpdateDecided, &offer.path, format!("offer {id} withdrawn"))?;
    super::directives::offers_changed(database, &offer.scope)?;
    Ok(offer)
}

/// Every offer that counts, then the newest of those that were withdrawn.
pub(super) fn views(database: &Database) -> Result<Vec<OfferView>, Failure> {
    let query = "SELECT id, record, withdrawn_at FROM offers ORDER BY withdrawn_at IS NOT NULL, id DESC LIMIT ?";
    let rows = database.rows(query, [SHOWN.into_value()])?.into_iter();
    let counts = offered::counts(database, None)?;
    rows.map(|mut row| {
        let id = row.take()?;
        let counts = counts.get(&id).copied().unwrap_or_default();
        Ok(shown(id, row.take_record()?, row.take()?, counts))
    })
    .collect()
}

/// An offer, and the devices that it concerns after this one.
pub(super) fn devices(database: &Database, id: u64, after: Option<&Device>) -> Result<OfferDevices, Failure> {
    let query = "SELECT record, withdrawn_at FROM offers WHERE id = ?";
    let mut row = database.row(query, [id.into_value()])?.ok_or(ProblemKind::NotFound)?;
    let (offer, withdrawn_at): (Record, Option<UnixMillis>) = (row.take_record()?, row.take()?);
    let mut devices = match (&offer.scope, withdrawn_at) {
        // Those, too, of which nothing came yet.
        (OfferScope::Devices(named), None) => {
            let named: BTreeSet<&Device> =
                named.iter().filter(|device| after.is_none_or(|after| after < device)).collect();
            let page = named.into_iter().take(PAGE + 1);
            page.map(|device| offered::named(database, id, device)).collect::<Result<_, _>>()?
        }
        _ => offered::after(database, id, after, u64::try_from(PAGE + 1).unwrap_or(u64::MAX))?,
    };
    let more = devices.len() > PAGE;
    devices.truncate(PAGE);
    let next = devices.last().filter(|_| more).map(|last| last.device.clone());
    Ok(OfferDevices { offer: view(database, id, offer, withdrawn_at)?, devices, next })
}

fn view(database: &Database, id: u64, offer: Record, withdrawn_at: Option<UnixMillis>) -> Result<OfferView, Failure> {
    let counts = offered::counts(database, Some(id))?.remove(&id).unwrap_or_default();
    Ok(shown(id, offer, withdrawn_at, counts))
}

/// An offer as people see it. Of the devices that it names, those wait of which nothing else is known.
fn shown(id: u64, offer: Record, withdrawn_at: Option<UnixMillis>, counts: Counts) -> OfferView {
    let Record { path, scope, when, added, made_at, made_by } = offer;
    let silent = match (&scope, withdrawn_at) {
        (OfferScope::Devices(named), None) => {
            let named = named.iter().collect::<BTreeSet<_>>().len();
            u64::try_from(named).unwrap_or(u64::MAX).saturating_sub(counts.all())
        }
        _ => 0,
    };
    let Counts { directed, waiting, installed, failed } = counts;
    let waiting = waiting.saturating_add(silent);
    let added = added.into_iter().map(|(kind, ..)| kind).collect();
    OfferView { id, path, scope, when, added, made_at, made_by, withdrawn_at, directed, waiting, installed, failed }
}
