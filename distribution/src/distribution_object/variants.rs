//! Packages of manufacturers that keep them confidential: each gateway is given a variant that it alone can read (Distribution, paragraphs
//! 0030 and 0032). Here stands of which package, for which gateway and key; the file itself is made whenever it is asked for.

use super::directives;
use super::{DistributionObject, blob, manufacturers, text};
use crate::variant::Content;
use core::pin::pin;
use core::time::Duration;
use futures_util::TryStreamExt as _;
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256 as Hasher};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use wardlink_crypto::key::PublicKey;
use wardlink_crypto::package::{Sealed, encrypted_bytes, seal_key};
use wardlink_edge::files::Files;
use wardlink_edge::messages::{DeskRequest, Variant};
use wardlink_edge::objects;
use wardlink_edge::platform::{log, now, rng};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database};
use wardlink_protocol::api::words::{BEING_ENCRYPTED, NO_KEY, NOT_ENCRYPTED};
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_update::catalog::{Pick, Releases};
use wardlink_update::director::Order;
use wardlink_update::metadata::{Target, TargetPath};
use wardlink_update::package::{BoundFile, Encrypted, Encryption, ModelFolder, SealedKey};
use worker::Env;

/// When a variant that could not be made is tried again.
const AGAIN: Duration = Duration::from_mins(5);
/// What one gateway can be given of confidential manufacturers.
pub(super) struct Variants {
    /// Whose packages it is given encrypted.
    confidential: BTreeSet<String>,
    /// Its key, SubjectPublicKeyInfo, DER; none where it has none at the site, or needs none.
    key: Option<Vec<u8>>,
    /// What is made for this key, by the package's path and hash.
    made: BTreeMap<(String, Sha256), Encrypted>,
    /// What could not be made when it was tried last.
    failed: BTreeSet<(String, Sha256)>,
}

impl DistributionObject {
    /// Every release that is public, and what a gateway can be given of confidential ones. After the last wait everything is read that can change
    /// meanwhile.
    pub(super) async fn releases_for(&self, gateway: &Device) -> Result<(Rc<Releases>, Variants), Failure> {
        let mut key = None;
        loop {
            let releases = self.releases().await?;
            let database = self.database.open()?;
            let confidential = manufacturers::confidential(database)?;
            if key.is_some() || confidential.is_empty() {
                return Ok((releases, Variants::read(database, gateway, confidential, key.flatten())?));
            }
            let mut keys: Vec<Option<ByteBuf>> =
                objects::call(&self.env, &DeskRequest::Keys(vec![gateway.clone()])).await?;
            key = Some(keys.pop().flatten().map(ByteBuf::into_vec));
        }
    }

    /// Makes the variant that is due, if one is: one at a time, so that others get their turn. Its gateway is matched anew then.
    pub(super) async fn make_variant(&self) -> Result<(), Failure> {
        let database = self.database.open()?;
        let query = "SELECT gateway, path, sha256, content, spki, manufacturer, length FROM variants
                     WHERE due_at <= ? ORDER BY due_at LIMIT 1";
        let Some(mut row) = database.row(query, [now().into_value()])? else { return Ok(()) };
        let (gateway, path): (String, String) = (row.take()?, row.take()?);
        let (sha256, content) = (row.take::<Vec<u8>>()?, row.take::<Vec<u8>>()?);
        let its = [text(&gateway), text(&path), sha256.clone().into_value(), content.clone().into_value()];
        // Whatever ends it, it is tried again, and not at once.
        let [one, two, three, four] = its.clone();
        let due_at = now().after(AGAIN).into_value();
        database.run(&format!("UPDATE variants SET due_at = ? WHERE {ITS}"), [due_at, one, two, three, four])?;
        let due = Due {
            gateway: gateway.parse().map_err(Failure::internal)?,
            path: path.try_into().map_err(Failure::internal)?,
            sha256: sha256.try_into().map(Sha256).map_err(|_| Failure::internal("a hash has another length"))?,
            content,
            spki: row.take()?,
            manufacturer: row.take()?,
            length: row.take()?,
        };
        let made = due.make(&self.env).await;
        self.database.step(|database| {
            let [one, two, three, four] = its;
            let encrypted = match &made {
                Ok(encrypted) => encrypted,
                Err(failure) => {
                    log!("distribution: {} cannot be encrypted for {}: {failure:?}", due.path, due.gateway);
                    let statement =
                        format!("UPDATE variants SET has_failed = 1 WHERE {ITS} AND has_failed = 0 RETURNING 1");
                    let is_news = database.one::<u64, _>(&statement, [one, two, three, four])?.is_some();
                    // Its devices say so then.
                    return if is_news { directives::is_due(database, &due.gateway) } else { Ok(()) };
                }
            };
            let statement =
                format!("UPDATE variants SET encrypted = ?, file = ?, due_at = NULL, has_failed = 0 WHERE {ITS}");
            let described = serde_json::to_vec(encrypted)?.into_value();
            database.run(&statement, [described, blob(&encrypted.file.sha256), one, two, three, four])?;
            directives::is_due(database, &due.gateway)
        })
    }
}

/// One variant that is being made.
const ITS: &str = "gateway = ? AND path = ? AND sha256 = ? AND content = ? AND due_at IS NOT NULL";

/// A variant that is to be made.
struct Due {
    gateway: Device,
    path: TargetPath,
    sha256: Sha256,
    content: Vec<u8>,
    spki: Vec<u8>,
    manufacturer: String,
    length: u64,
}

impl Due {
    /// Encrypts the package once, to know the file's hash, and seals the content key to the gateway's key.
    async fn make(&self, env: &Env) -> Result<Encrypted, Failure> {
        let content = Content::open(env, &self.content)?;
        let files = Files::of(env, &self.manufacturer)?;
        let mut passing = pin!(content.encrypt(&files, &self.sha256, 0, u64::MAX).await?);
        let (mut hasher, mut length) = (Hasher::new(), 0_u64);
        while let Some(piece) = passing.try_next().await? {
            hasher.update(&piece);
            length = length.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        }
        if length != encrypted_bytes(self.length) {
            return Err(Failure::internal("a package has another length than its manufacturer says"));
        }
        let sha256 = Sha256(hasher.finalize().into());
        let folder = ModelFolder::of(&self.path).map_err(Failure::internal)?;
        let path = folder.path(&format!("{}.encrypted", self.sha256)).map_err(Failure::internal)?;
        let recipient = PublicKey::from_spki(&self.spki).map_err(Failure::internal)?;
        let of = Sealed { gateway: &self.gateway, path: self.path.as_str(), sha256: self.sha256 };
        let key = seal_key(&content.code, &recipient, of, &mut rng()).map_err(Failure::internal)?;
        Ok(Encrypted {
            gateway: self.gateway.clone(),
            recipient: recipient.fingerprint().map_err(Failure::internal)?,
            method: Encryption::Aes128Gcm,
            file: BoundFile { path, length, sha256 },
            key: SealedKey::new(key).map_err(Failure::internal)?,
        })
    }
}

impl Variants {
    fn read(
        database: &Database,
        gateway: &Device,
        confidential: BTreeSet<String>,
        key: Option<Vec<u8>>,
    ) -> Result<Self, Failure> {
        let query = "SELECT path, sha256, encrypted, has_failed FROM variants
                     WHERE gateway = ? AND spki = ? AND (due_at IS NULL OR has_failed)";
        let (mut made, mut failed) = (BTreeMap::new(), BTreeSet::new());
        if let Some(key) = &key {
            for mut row in database.rows(query, [text(gateway), key.clone().into_value()])? {
                let of = (row.take::<String>()?, manufacturers::take_hash(&mut row)?);
                match row.take::<Option<Vec<u8>>>()? {
                    Some(encrypted) => drop(made.insert(of, serde_json::from_slice(&encrypted)?)),
                    None => drop(failed.insert(of)),
                }
            }
        }
        Ok(Self { confidential, key, made, failed })
    }

    /// Why a device waits that is to be given this package.
    fn why_waiting(&self, path: &TargetPath, target: &Target) -> &'static str {
        let has_failed =
            target.sha256().is_some_and(|sha256| self.failed.contains(&(path.as_str().to_owned(), sha256)));
        match &self.key {
            None => NO_KEY,
            Some(_) if has_failed => NOT_ENCRYPTED,
            Some(_) => BEING_ENCRYPTED,
        }
    }

    fn of(&self, path: &TargetPath, target: &Target) -> Option<&Encrypted> {
        self.made.get(&(path.as_str().to_owned(), target.sha256()?))
    }

    fn is_confidential(&self, manufacturer: &str) -> bool {
        self.confidential.contains(manufacturer)
    }

    /// The devices that wait until their package is encrypted, which is then due, and why.
    pub(super) fn wait_for(
        &self,
        object: &DistributionObject,
        gateway: &Device,
        picks: &[Pick],
    ) -> Result<BTreeMap<Device, &'static str>, Failure> {
        let database = object.database.open()?;
        let mut waiting = BTreeMap::new();
        for Pick { state, package, .. } in picks {
            let manufacturer = package.release.manufacturer.as_str();
            let is_ready = package.release.is_installed_on(state) || self.of(&package.path, &package.target).is_some();
            if is_ready || !self.is_confidential(manufacturer) {
                continue;
            }
            let why = self.why_waiting(&package.path, &package.target);
            waiting.insert(state.characteristics.device.clone(), why);
            let (Some(key), Some(sha256)) = (&self.key, package.target.sha256()) else { continue };
            // One that is being made goes on.
            database.run(
                "INSERT INTO variants (gateway, path, sha256, manufacturer, length, spki, content, due_at)
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (gateway, path, sha256) DO UPDATE SET spki = excluded.spki, content = excluded.content,
                     length = excluded.length, encrypted = NULL, file = NULL, due_at = excluded.due_at, has_failed = 0
                 WHERE spki IS NOT excluded.spki",
                [
                    text(gateway),
                    text(package.path.as_str()),
                    blob(&sha256),
                    text(manufacturer),
                    package.target.length.into_value(),
                    key.clone().into_value(),
                    Content::draw(&object.env)?.into_value(),
                    now().into_value(),
                ],
            )?;
        }
        Ok(waiting)
    }

    /// Names in an order the variant that is made of its package. Deltas nobody is given then.
    pub(super) fn put_into(&self, order: &mut Order) {
        if self.is_confidential(order.package.manufacturer.as_str()) {
            order.encrypted = self.of(&order.path, &order.target).cloned();
            order.assignments.iter_mut().for_each(|assignment| assignment.delta = None);
        }
    }
}

/// The variant whose file has this hash; none of a manufacturer that was ended.
pub(super) fn find(database: &Database, gateway: &Device, file: &Sha256) -> Result<Option<Variant>, Failure> {
    let query = "SELECT variants.manufacturer, variants.sha256, variants.content, variants.length FROM variants
                 JOIN manufacturers USING (manufacturer)
                 WHERE variants.gateway = ? AND variants.file = ? AND manufacturers.ended_at IS NULL";
    let Some(mut row) = database.row(query, [text(gateway), blob(file)])? else { return Ok(None) };
    let (manufacturer, package) = (row.take()?, manufacturers::take_hash(&mut row)?);
    let content: Vec<u8> = row.take()?;
    Ok(Some(Variant { manufacturer, package, content: ByteBuf::from(content), length: row.take()? }))
}

/// When the next variant is to be made; none where none is.
pub(super) fn next_due(database: &Database) -> Result<Option<UnixMillis>, Failure> {
    let query = "SELECT min(due_at) FROM variants WHERE due_at IS NOT NULL";
    Ok(database.one::<Option<UnixMillis>, 0>(query, [])?.flatten())
}

/// Forgets variants that nobody is given any more.
pub(super) fn forget(database: &Database) -> Result<(), Failure> {
    database.run(
        "DELETE FROM variants WHERE NOT EXISTS (SELECT 1 FROM public_files AS public
             JOIN manufacturers USING (manufacturer)
             WHERE public.manufacturer = variants.manufacturer AND public.sha256 = variants.sha256
                 AND manufacturers.confidential)",
        [],
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn people_are_told_why_a_device_waits() {
        let path: TargetPath = "acme/infusion-pump/PM2/1B.bin".to_owned().try_into().unwrap();
        let hashes = serde_json::json!({ "length": 9, "hashes": { "sha256": Sha256([7; 32]).to_string() } });
        let target: Target = serde_json::from_value(hashes).unwrap();
        let variants = |key: Option<Vec<u8>>, failed: &[Sha256]| Variants {
            confidential: BTreeSet::new(),
            key,
            made: BTreeMap::new(),
            failed: failed.iter().map(|sha256| (path.as_str().to_owned(), *sha256)).collect(),
        };
        let sha256 = target.sha256().unwrap();
        for (key, failed, why) in [
            (None, &[][..], NO_KEY),
            (Some(vec![4]), &[], BEING_ENCRYPTED),
            (Some(vec![4]), &[Sha256([1; 32])], BEING_ENCRYPTED),
            (Some(vec![4]), &[sha256], NOT_ENCRYPTED),
        ] {
            assert_eq!(variants(key, failed).why_waiting(&path, &target), why);
        }
    }
}
