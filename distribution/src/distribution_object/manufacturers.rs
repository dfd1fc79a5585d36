//! Manufacturers: made known by an administrator with their first root, ended, and given tokens to publish under.

use super::{DistributionObject, blob, offers, text};
use data_encoding::BASE64URL_NOPAD;
use rand_core::Rng as _;
use sha2::{Digest, Sha256 as Hasher};
use std::collections::{BTreeMap, BTreeSet};
use subtle::ConstantTimeEq;
use wardlink_edge::files::Files;
use wardlink_edge::platform::{log, now, rng};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, Row};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::api::{
    MadePublishingToken, ManufacturerView, NewManufacturer, Person, ProblemKind, PublishedView, PublishingToken,
};
use wardlink_protocol::identity::Sha256;
use wardlink_trust::audit::Act;
use wardlink_update::limits::MAX_ROOT_BYTES;
use wardlink_update::metadata::{Role, Root, Signed};
use wardlink_update::package::Manufacturer;
use zeroize::Zeroizing;

/// The most manufacturers of a site.
const MAX_MANUFACTURERS: u64 = 200;
/// The most tokens of a manufacturer that are not revoked.
const MAX_TOKENS: u64 = 20;
/// The length of a token's secret, in bytes.
const TOKEN_BYTES: usize = 32;
/// A token's use is noted this often.
const NOTING_MILLIS: u64 = 60_000;

const COLUMNS: &str =
    "manufacturer, first_root, root_version, added_at, added_by, ended_at, published, inventory, confidential";

/// A manufacturer that counts.
pub(super) struct Known {
    /// How often it has published.
    pub(super) generation: u64,
}

/// Every manufacturer, by name.
pub(super) fn views(database: &Database) -> Result<Vec<ManufacturerView>, Failure> {
    let rows = database.rows(&format!("SELECT {COLUMNS} FROM manufacturers ORDER BY manufacturer"), [])?;
    rows.into_iter().map(|row| view(database, row)).collect()
}

fn view_of(database: &Database, name: &str) -> Result<ManufacturerView, Failure> {
    let query = format!("SELECT {COLUMNS} FROM manufacturers WHERE manufacturer = ?");
    let row = database.row(&query, [text(name)])?.ok_or(ProblemKind::NotFound)?;
    view(database, row)
}

fn view(database: &Database, mut row: Row) -> Result<ManufacturerView, Failure> {
    let manufacturer: String = row.take()?;
    let first_root = take_hash(&mut row)?;
    let query = "SELECT id, made_at, made_by, used_at, revoked_at FROM tokens WHERE manufacturer = ? ORDER BY id";
    let token = |mut row: Row| {
        Ok(PublishingToken {
            id: row.take()?,
            made_at: row.take()?,
            made_by: row.take()?,
            used_at: row.take()?,
            revoked_at: row.take()?,
        })
    };
    let tokens = database.rows(query, [text(&manufacturer)])?.into_iter().map(token);
    let tokens = tokens.collect::<Result<_, Failure>>()?;
    let (root_version, added_at, added_by, ended_at) = (row.take()?, row.take()?, row.take()?, row.take()?);
    let published: Option<Vec<u8>> = row.take()?;
    let published: Option<PublishedView> =
        published.map(|bytes| wardlink_edge::storage::read_record(&bytes)).transpose()?;
    let (inventory, confidential) = (row.take()?, row.take()?);
    Ok(ManufacturerView {
        manufacturer,
        first_root,
        root_version,
        added_at,
        added_by,
        ended_at,
        tokens,
        published,
        inventory,
        confidential,
    })
}

/// A hash in the next column.
pub(super) fn take_hash(row: &mut Row) -> Result<Sha256, Failure> {
    let bytes: Vec<u8> = row.take()?;
    bytes.try_into().map(Sha256).map_err(|_| Failure::internal("a stored hash has another length"))
}

/// Until when what each manufacturer has published last counts: until the first of its roles ends.
pub(super) fn published_until(database: &Database) -> Result<BTreeMap<String, UnixMillis>, Failure> {
    let query = "SELECT manufacturer, published FROM manufacturers WHERE ended_at IS NULL AND published IS NOT NULL";
    let until = |mut row: Row| Ok((row.take()?, row.take_record::<PublishedView>()?.ends_at));
    database.rows(query, [])?.into_iter().map(until).collect()
}

/// The manufacturer, as long as it counts.
pub(super) fn known(database: &Database, name: &str) -> Result<Known, Failure> {
    let query = "SELECT generation FROM manufacturers WHERE manufacturer = ? AND ended_at IS NULL";
    let generation = database.one(query, [text(name)])?.ok_or(ProblemKind::NotFound)?;
    Ok(Known { generation })
}

/// Makes a manufacturer known. Its first root has to be signed by its own keys, and to be good still. One that was ended comes back with the
/// root that it had: gateways follow no other one.
pub(super) async fn add(
    object: &DistributionObject,
    person: &Person,
    new: NewManufacturer,
) -> Result<ManufacturerView, Failure> {
    let refused = |step: &str, why: String| {
        Err(Failure::with_detail(ProblemKind::RefusedStep, format!("Step {step}: {why}. Nothing was changed.")))
    };
    let name: Manufacturer = match new.manufacturer.parse() {
        Ok(name) => name,
        Err(error) => return refused("name", format!("{error}")),
    };
    let bytes = new.root.into_bytes();
    if u64::try_from(bytes.len()).map_or(true, |length| length > MAX_ROOT_BYTES) {
        return refused("5.3.3", format!("the root is longer than {MAX_ROOT_BYTES} bytes"));
    }
    let root: Signed<Root> = match Signed::parse(&bytes) {
        Ok(root) => root,
        Err(error) => return refused("5.2", format!("the root: {error}")),
    };
    if !root.is_signed_by(&root.role.roles.root, &root.role.keys) {
        return refused("5.2", "the root is not signed by a threshold of its own keys".to_owned());
    }
    let sha256 = Sha256(Hasher::digest(&bytes).into());
    // From the root that it had, gateways follow to those that came after it, whether or not that one has ended.
    let comes_back = first_root(object.database.open()?, name.as_str())? == Some(sha256);
    if root.role.expires().is_over(now().as_secs()) && !comes_back {
        return refused("5.3.10", format!("the root ended at {}", root.role.expires()));
    }
    if !root.role.consistent_snapshot {
        return refused("5.2", "the repository has no consistent snapshots".to_owned());
    }
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    Files::of(&object.env, name.as_str())?.write(bytes).await?;
    object.database.step(|database| {
        put(database, person, name.as_str(), (sha256, length), root.role.version())?;
        super::directives::all_are_due(database)?;
        view_of(database, name.as_str())
    })
}

/// The root by which a manufacturer was made known; none where it never was.
fn first_root(database: &Database, name: &str) -> Result<Option<Sha256>, Failure> {
    let row = database.row("SELECT first_root FROM manufacturers WHERE manufacturer = ?", [text(name)])?;
    row.map(|mut row| take_hash(&mut row)).transpose()
}

/// One step: the manufacturer, its trusted root, and the root's public name.
fn put(
    database: &Database,
    person: &Person,
    name: &str,
    (sha256, length): (Sha256, u64),
    version: u64,
) -> Result<(), Failure> {
    let earlier =
        database.row("SELECT first_root, ended_at FROM manufacturers WHERE manufacturer = ?", [text(name)])?;
    if let Some(mut row) = earlier {
        let first = take_hash(&mut row)?;
        if row.take::<Option<UnixMillis>>()?.is_none() {
            return Err(ProblemKind::NameTaken.into());
        }
        if first != sha256 {
            let detail = "It was ended, and comes back with the root that it had only: gateways follow no other one.";
            return Err(Failure::with_detail(ProblemKind::WrongState, detail));
        }
        database.run("UPDATE manufacturers SET ended_at = NULL WHERE manufacturer = ?", [text(name)])?;
    } else {
        let count: Option<u64> = database.one("SELECT count(*) FROM manufacturers", [])?;
        if count.is_some_and(|count| count >= MAX_MANUFACTURERS) {
            let detail = format!("There are {MAX_MANUFACTURERS} manufacturers at most.");
            return Err(Failure::with_detail(ProblemKind::WrongState, detail));
        }
        database.run(
            "INSERT INTO manufacturers (manufacturer, first_root, root_version, added_at, added_by)
             VALUES (?, ?, ?, ?, ?)",
            [text(name), blob(&sha256), version.into_value(), now().into_value(), text(&person.name)],
        )?;
        database.run(
            "INSERT OR REPLACE INTO files (manufacturer, sha256, length, stored_at) VALUES (?, ?, ?, ?)",
            [text(name), blob(&sha256), length.into_value(), now().into_value()],
        )?;
        database.run(
            "INSERT INTO trusted (manufacturer, file, sha256) VALUES (?, 'root.json', ?)",
            [text(name), blob(&sha256)],
        )?;
        database.run(
            "INSERT INTO public_files (manufacturer, is_metadata, name, sha256, length) VALUES (?, 1, ?, ?, ?)",
            [text(name), text(format!("{version}.root.json")), blob(&sha256), length.into_value()],
        )?;
    }
    log!("distribution: person {} makes a manufacturer known, with the root {sha256}", person.id);
    DistributionObject::note(database, Some(person), Act::ManufacturerChanged, name, format!("known by root {sha256}"))
}

/// Ends a manufacturer: nothing of it is accepted, shown or offered any more, also when it comes back.
pub(super) fn end(database: &Database, person: &Person, name: &str) -> Result<ManufacturerView, Failure> {
    known(database, name)?;
    database.run("UPDATE manufacturers SET ended_at = ? WHERE manufacturer = ?", [now().into_value(), text(name)])?;
    database.run(
        "UPDATE tokens SET revoked_at = ? WHERE manufacturer = ? AND revoked_at IS NULL",
        [now().into_value(), text(name)],
    )?;
    offers::withdraw_all_of(database, person, name)?;
    log!("distribution: person {} ends a manufacturer", person.id);
    DistributionObject::note(database, Some(person), Act::ManufacturerChanged, name, "ended")?;
    view_of(database, name)
}

/// Whose packages are confidential.
pub(super) fn confidential(database: &Database) -> Result<BTreeSet<String>, Failure> {
    let rows = database.rows("SELECT manufacturer FROM manufacturers WHERE confidential", [])?;
    rows.into_iter().map(|mut row| row.take()).collect()
}

/// Keeps a manufacturer's packages confidential from now on, or public again: a gateway is given each encrypted to its own key, and nobody
/// gets them otherwise.
pub(super) fn keep_confidential(
    database: &Database,
    person: &Person,
    name: &str,
    confidential: bool,
) -> Result<ManufacturerView, Failure> {
    known(database, name)?;
    let statement = "UPDATE manufacturers SET confidential = ? WHERE manufacturer = ?";
    database.run(statement, [confidential.into_value(), text(name)])?;
    let what = if confidential { "packages are confidential" } else { "packages are public" };
    log!("distribution: person {} decides: a manufacturer's {what}", person.id);
    DistributionObject::note(database, Some(person), Act::ManufacturerChanged, name, what)?;
    view_of(database, name)
}

/// Makes a token, whose SHA-256 alone is kept.
pub(super) fn make_token(database: &Database, person: &Person, name: &str) -> Result<MadePublishingToken, Failure> {
    known(database, name)?;
    let query = "SELECT count(*) FROM tokens WHERE manufacturer = ? AND revoked_at IS NULL";
    if database.one::<u64, _>(query, [text(name)])?.is_some_and(|count| count >= MAX_TOKENS) {
        let detail = format!("A manufacturer has {MAX_TOKENS} tokens at most. Revoke one first.");
        return Err(Failure::with_detail(ProblemKind::WrongState, detail));
    }
    let mut secret = Zeroizing::new([0; TOKEN_BYTES]);
    rng().fill_bytes(secret.as_mut());
    let token = BASE64URL_NOPAD.encode(secret.as_ref());
    let sha256 = Sha256(Hasher::digest(token.as_bytes()).into());
    let query = "INSERT INTO tokens (manufacturer, sha256, made_at, made_by) VALUES (?, ?, ?, ?) RETURNING id";
    let values = [text(name), blob(&sha256), now().into_value(), text(&person.name)];
    let id = database.one(query, values)?.ok_or_else(|| Failure::internal("a token has no number"))?;
    log!("distribution: person {} makes the publishing token {id}", person.id);
    DistributionObject::note(database, Some(person), Act::ManufacturerChanged, name, format!("publishing token {id}"))?;
    Ok(MadePublishingToken { id, token })
}

/// Revokes a token. Whoever is uploading under it gets no further.
pub(super) fn revoke_token(
    database: &Database,
    person: &Person,
    name: &str,
    id: u64,
) -> Result<ManufacturerView, Failure> {
    let query =
        "UPDATE tokens SET revoked_at = ? WHERE manufacturer = ? AND id = ? AND revoked_at IS NULL RETURNING id";
    let revoked: Option<u64> = database.one(query, [now().into_value(), text(name), id.into_value()])?;
    revoked.ok_or(ProblemKind::NotFound)?;
    log!("distribution: person {} revokes the publishing token {id}", person.id);
    let detail = format!("publishing token {id} revoked");
    DistributionObject::note(database, Some(person), Act::ManufacturerChanged, name, detail)?;
    view_of(database, name)
}

fn wrong_token() -> Failure {
    let detail = "The publishing token is wrong, revoked, or another manufacturer's.";
    Failure::with_detail(ProblemKind::Forbidden, detail)
}

/// Whether a token that was shown has not been revoked since.
pub(super) fn check_is_valid(database: &Database, id: u64) -> Result<(), Failure> {
    let query = "SELECT id FROM tokens WHERE id = ? AND revoked_at IS NULL";
    database.one::<u64, _>(query, [id.into_value()])?.map(drop).ok_or_else(wrong_token)
}

/// Which token of this manufacturer a publisher shows; anything else is refused alike, whether or not the manufacturer is known.
pub(super) fn check_token(database: &Database, name: &str, token: &str) -> Result<u64, Failure> {
    let shown: [u8; 32] = Hasher::digest(token.as_bytes()).into();
    let query = "SELECT id, sha256, coalesce(used_at, 0) FROM tokens WHERE manufacturer = ? AND revoked_at IS NULL";
    let mut found = None;
    for mut row in database.rows(query, [text(name)])? {
        let (id, sha256, used_at) = (row.take::<u64>()?, take_hash(&mut row)?, row.take::<u64>()?);
        if bool::from(sha256.0.ct_eq(&shown)) {
            found = Some((id, used_at));
        }
    }
    let (id, used_at) = found.ok_or_else(wrong_token)?;
    known(database, name).map_err(|_| wrong_token())?;
    if now().0.saturating_sub(used_at) >= NOTING_MILLIS {
        database.run("UPDATE tokens SET used_at = ? WHERE id = ?", [now().into_value(), id.into_value()])?;
    }
    Ok(id)
}
