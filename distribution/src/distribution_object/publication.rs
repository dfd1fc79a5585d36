//! A publication on its way: what it names, which files are missing, and their parts. Nothing of it is visible.

use super::{DistributionObject, blob, manufacturers, text};
use core::time::Duration;
use sha2::{Digest, Sha256 as Hasher};
use std::collections::BTreeMap;
use wardlink_edge::files::Files;
use wardlink_edge::platform::now;
use wardlink_edge::platform::streams::Algorithm;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, record};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::api::{MissingFile, NewPublication, ProblemKind, PublicationView, PublishedFile};
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::limits::{MAX_PUBLISHED_BYTES, MAX_PUBLISHED_FILES, PUBLISHED_PART_BYTES};
use wardlink_update::limits::MAX_TARGETS_BYTES;
use worker::UploadedPart;

/// The most publications of one manufacturer that are on their way at once.
const MAX_OPEN: u64 = 4;
/// One that nobody has gone on with for so long makes room for another.
const RESTS: Duration = Duration::from_mins(15);
/// A publication that nobody goes on with for so long is forgotten.
const PATIENCE: Duration = Duration::from_hours(24);
/// The longest name of a metadata file, in bytes.
const MAX_METADATA_NAME_BYTES: usize = 300;

/// A refusal that names its step.
pub(super) fn refused(step: &str, why: impl core::fmt::Display) -> Failure {
    Failure::with_detail(ProblemKind::RefusedStep, format!("Step {step}: {why}. Nothing was published."))
}

/// Begins a publication; the same list again goes on with the one that was begun.
pub(super) fn begin(
    object: &DistributionObject,
    manufacturer: &str,
    new: &NewPublication,
) -> Result<PublicationView, Failure> {
    let files = named_files(new)?;
    let database = object.database.open()?;
    let packed = wardlink_protocol::cbor::pack(new)?;
    let sha256 = Sha256(Hasher::digest(&packed).into());
    let query = "SELECT id FROM publications WHERE manufacturer = ? AND sha256 = ? AND done IS NULL";
    if let Some(id) = database.one::<u64, _>(query, [text(manufacturer), blob(&sha256)])? {
        touch(database, id)?;
        return view(database, manufacturer, id);
    }
    make_room(database, manufacturer)?;
    let id = database.one::<u64, _>(
        "INSERT INTO publications (manufacturer, sha256, record, touched_at) VALUES (?, ?, ?, ?) RETURNING id",
        [text(manufacturer), blob(&sha256), record(new)?, now().into_value()],
    )?;
    let id = id.ok_or_else(|| Failure::internal("a publication has no number"))?;
    for (sha256, length) in files {
        database.run(
            "INSERT INTO publication_files (publication, manufacturer, sha256, length) VALUES (?, ?, ?, ?)",
            [id.into_value(), text(manufacturer), blob(&sha256), length.into_value()],
        )?;
    }
    view(database, manufacturer, id)
}

/// Makes room for another publication: of those on their way, the one that has rested longest is given up.
fn make_room(database: &Database, manufacturer: &str) -> Result<(), Failure> {
    let query = "SELECT id, touched_at FROM publications WHERE manufacturer = ? AND done IS NULL
                 ORDER BY touched_at DESC LIMIT 1 OFFSET ?";
    let oldest = database.row(query, [text(manufacturer), (MAX_OPEN - 1).into_value()])?;
    let Some(mut oldest) = oldest else { return Ok(()) };
    let (id, touched_at): (u64, UnixMillis) = (oldest.take()?, oldest.take()?);
    if now() < touched_at.after(RESTS) {
        let minutes = RESTS.as_secs() / 60;
        let detail = format!(
            "{MAX_OPEN} publications are on their way already. Wait until one of them is done, or has rested for {minutes} minutes."
        );
        return Err(Failure::with_detail(ProblemKind::WrongState, detail));
    }
    forget(database, id)
}

/// The files of a publication, each once.
fn named_files(new: &NewPublication) -> Result<BTreeMap<Sha256, u64>, Failure> {
    let listed = || new.metadata.iter().map(|listed| &listed.file).chain(&new.files);
    if listed().count() > MAX_PUBLISHED_FILES {
        return Err(refused("list", format!("it has more than {MAX_PUBLISHED_FILES} files")));
    }
    let mut files = BTreeMap::new();
    for PublishedFile { sha256, length } in listed() {
        if *length == 0 || *length > MAX_PUBLISHED_BYTES {
            return Err(refused("list", format!("a file has 1 to {MAX_PUBLISHED_BYTES} bytes")));
        }
        if files.insert(*sha256, *length).is_some_and(|other| other != *length) {
            return Err(refused("list", "one file has two lengths"));
        }
    }
    let mut titles: Vec<&str> = new.metadata.iter().map(|listed| listed.name.as_str()).collect();
    titles.sort_unstable();
    let is_name =
        |name: &&str| !name.is_empty() && name.len() <= MAX_METADATA_NAME_BYTES && name.strip_suffix(".json").is_some();
    if !titles.iter().all(is_name) || titles.iter().zip(titles.iter().skip(1)).any(|(one, next)| one == next) {
        return Err(refused("list", "a metadata file has no name, or a name has two files"));
    }
    if new.metadata.iter().any(|listed| listed.file.length > MAX_TARGETS_BYTES) {
        return Err(refused("list", format!("a metadata file is longer than {MAX_TARGETS_BYTES} bytes")));
    }
    Ok(files)
}

fn touch(database: &Database, id: u64) -> Result<(), Failure> {
    database.run("UPDATE publications SET touched_at = ? WHERE id = ?", [now().into_value(), id.into_value()])
}

/// What is missing of a publication.
pub(super) fn view(database: &Database, manufacturer: &str, id: u64) -> Result<PublicationView, Failure> {
    let query = "SELECT id FROM publications WHERE id = ? AND manufacturer = ?";
    database.one::<u64, _>(query, [id.into_value(), text(manufacturer)])?.ok_or(ProblemKind::NotFound)?;
    let query = "SELECT named.sha256, named.length FROM publication_files AS named
                 LEFT JOIN files ON files.manufacturer = named.manufacturer AND files.sha256 = named.sha256
                     AND files.is_going = 0
                 WHERE named.publication = ? AND files.sha256 IS NULL ORDER BY named.sha256";
    let mut missing = Vec::new();
    for mut row in database.rows(query, [id.into_value()])? {
        let file = PublishedFile { sha256: manufacturers::take_hash(&mut row)?, length: row.take()? };
        missing.push(MissingFile { file, received: received(database, manufacturer, &file.sha256)? });
    }
    Ok(PublicationView { publication: id, part_bytes: PUBLISHED_PART_BYTES, missing })
}

fn received(database: &Database, manufacturer: &str, sha256: &Sha256) -> Result<Vec<u32>, Failure> {
    let query = "SELECT part FROM parts WHERE manufacturer = ? AND sha256 = ? ORDER BY part";
    let rows = database.rows(query, [text(manufacturer), blob(sha256)])?;
    rows.into_iter().map(|mut row| Ok(u32::try_from(row.take::<u64>()?).unwrap_or(u32::MAX))).collect()
}

/// The files of an open publication that are not there.
pub(super) fn record_of(
    database: &Database,
    manufacturer: &str,
    id: u64,
) -> Result<(NewPublication, Option<Vec<u8>>), Failure> {
    let query = "SELECT record, done FROM publications WHERE id = ? AND manufacturer = ?";
    let row = database.row(query, [id.into_value(), text(manufacturer)])?;
    let mut row = row.ok_or(ProblemKind::NotFound)?;
    Ok((row.take_record()?, row.take()?))
}

/// One part of a file that is missing.
pub(super) struct Upload {
    manufacturer: String,
    sha256: Sha256,
    length: u64,
    part: u32,
}

impl Upload {
    /// The part, where a publication names the file.
    pub(super) fn find(
        object: &DistributionObject,
        manufacturer: &str,
        id: u64,
        sha256: Sha256,
        part: u32,
    ) -> Result<Self, Failure> {
        let database = object.database.open()?;
        let query = "SELECT named.length FROM publication_files AS named
                     JOIN publications ON publications.id = named.publication
                     WHERE named.publication = ? AND named.manufacturer = ? AND named.sha256 = ?
                         AND publications.done IS NULL";
        let length = database.one(query, [id.into_value(), text(manufacturer), blob(&sha256)])?;
        let upload =
            Self { manufacturer: manufacturer.to_owned(), sha256, length: length.ok_or(ProblemKind::NotFound)?, part };
        if u64::from(part) >= upload.parts() {
            return Err(ProblemKind::NotFound.into());
        }
        touch(database, id)?;
        Ok(upload)
    }

    fn parts(&self) -> u64 {
        self.length.div_ceil(PUBLISHED_PART_BYTES)
    }

    /// How long this part is.
    pub(super) fn part_bytes(&self) -> usize {
        let before = u64::from(self.part).saturating_mul(PUBLISHED_PART_BYTES);
        usize::try_from(self.length.saturating_sub(before).min(PUBLISHED_PART_BYTES)).unwrap_or_default()
    }

    /// Takes the part, and puts the file together when it is the last one.
    pub(super) async fn take(self, object: &DistributionObject, bytes: Vec<u8>) -> Result<(), Failure> {
        if bytes.len() != self.part_bytes() {
            return Err(refused("parts", format!("part {} has {} bytes", self.part, self.part_bytes())));
        }
        if self.is_there(object.database.open()?)? {
            return Ok(());
        }
        let files = Files::of(&object.env, &self.manufacturer)?;
        if self.parts() == 1 {
            if Sha256(Hasher::digest(&bytes).into()) != self.sha256 {
                return Err(self.wrong());
            }
            files.write(bytes).await?;
            return self.store(object.database.open()?);
        }
        let place = (self.manufacturer.clone(), self.sha256);
        if object.assembling.borrow().contains(&place) {
            return Err(ProblemKind::Unavailable.into());
        }
        self.take_part(object, &files, bytes).await?;
        if received(object.database.open()?, &self.manufacturer, &self.sha256)?.len()
            != usize::try_from(self.parts()).unwrap_or(usize::MAX)
            || !object.assembling.borrow_mut().insert(place.clone())
        {
            return Ok(());
        }
        let assembled = self.assemble(object, &files).await;
        object.assembling.borrow_mut().remove(&place);
        assembled
    }

    async fn take_part(&self, object: &DistributionObject, files: &Files, bytes: Vec<u8>) -> Result<(), Failure> {
        let database = object.database.open()?;
        if received(database, &self.manufacturer, &self.sha256)?.contains(&self.part) {
            return Ok(());
        }
        let key = files.key(&self.sha256);
        let upload = if let Some(upload) = self.upload(database)? {
            upload
        } else {
            let made = files.bucket().create_multipart_upload(key.clone()).execute().await?;
            // Two parts that come at once begin one upload.
            if let Some(upload) = self.upload(database)? {
                made.abort().await?;
                upload
            } else {
                let upload = made.upload_id().await;
                database.run(
                    "INSERT INTO uploads (manufacturer, sha256, upload) VALUES (?, ?, ?)",
                    [text(&self.manufacturer), blob(&self.sha256), text(&upload)],
                )?;
                upload
            }
        };
        let number = u16::try_from(self.part.saturating_add(1)).map_err(Failure::internal)?;
        let taken = files.bucket().resume_multipart_upload(key, upload.clone())?.upload_part(number, bytes).await?;
        if self.upload(database)?.as_ref() != Some(&upload) {
            return Err(ProblemKind::Unavailable.into());
        }
        database.run(
            "INSERT OR REPLACE INTO parts (manufacturer, sha256, part, etag) VALUES (?, ?, ?, ?)",
            [text(&self.manufacturer), blob(&self.sha256), u64::from(self.part).into_value(), text(taken.etag())],
        )
    }

    /// Puts the parts together. What comes of it counts when its hash is the one that was said; otherwise all of it goes.
    async fn assemble(&self, object: &DistributionObject, files: &Files) -> Result<(), Failure> {
        let database = object.database.open()?;
        let Some(upload) = self.upload(database)? else { return Err(ProblemKind::Unavailable.into()) };
        let query = "SELECT part, etag FROM parts WHERE manufacturer = ? AND sha256 = ? ORDER BY part";
        let mut parts = Vec::new();
        for mut row in database.rows(query, [text(&self.manufacturer), blob(&self.sha256)])? {
            let number = u16::try_from(row.take::<u64>()?.saturating_add(1)).map_err(Failure::internal)?;
            parts.push(UploadedPart::new(number, row.take()?));
        }
        let whole = files.bucket().resume_multipart_upload(files.key(&self.sha256), upload)?;
        if let Err(error) = whole.complete(parts).await {
            // It may have been put together before, by an instance that ended then.
            wardlink_edge::platform::log!("distribution: parts are not put together: {error}");
            if files.head(&self.sha256).await?.is_none() {
                self.forget(object.database.open()?)?;
                return Err(refused("parts", "the parts have gone; send them again"));
            }
        }
        let found = files.hash(&self.sha256, Algorithm::Sha256).await?;
        let fits = found.is_some_and(|(hash, length)| hash == self.sha256.0 && length == self.length);
        if !fits {
            files.remove(&self.sha256).await?;
            self.forget(object.database.open()?)?;
            return Err(self.wrong());
        }
        let database = object.database.open()?;
        self.store(database)?;
        self.forget(database)
    }

    fn wrong(&self) -> Failure {
        refused("hash", format!("what was sent is not the file {}", self.sha256))
    }

    fn upload(&self, database: &Database) -> Result<Option<String>, Failure> {
        let query = "SELECT upload FROM uploads WHERE manufacturer = ? AND sha256 = ?";
        database.one(query, [text(&self.manufacturer), blob(&self.sha256)])
    }

    fn is_there(&self, database: &Database) -> Result<bool, Failure> {
        let query = "SELECT is_going FROM files WHERE manufacturer = ? AND sha256 = ?";
        match database.one::<bool, _>(query, [text(&self.manufacturer), blob(&self.sha256)])? {
            Some(true) => Err(ProblemKind::Unavailable.into()),
            known => Ok(known.is_some()),
        }
    }

    fn store(&self, database: &Database) -> Result<(), Failure> {
        database.run(
            "INSERT OR REPLACE INTO files (manufacturer, sha256, length, stored_at) VALUES (?, ?, ?, ?)",
            [text(&self.manufacturer), blob(&self.sha256), self.length.into_value(), now().into_value()],
        )
    }

    fn forget(&self, database: &Database) -> Result<(), Failure> {
        forget_parts(database, &self.manufacturer, &self.sha256)
    }
}

fn forget_parts(database: &Database, manufacturer: &str, sha256: &Sha256) -> Result<(), Failure> {
    let place = || [text(manufacturer), blob(sha256)];
    database.run("DELETE FROM parts WHERE manufacturer = ? AND sha256 = ?", place())?;
    database.run("DELETE FROM uploads WHERE manufacturer = ? AND sha256 = ?", place())
}

/// Ends a publication that is not done. Its files go with the next round, where nothing else names them.
pub(super) async fn abandon(object: &DistributionObject, manufacturer: &str, id: u64) -> Result<(), Failure> {
    let database = object.database.open()?;
    if record_of(database, manufacturer, id)?.1.is_some() {
        return Err(ProblemKind::WrongState.into());
    }
    forget(database, id)?;
    forget_uploads(object).await
}

/// Forgets a publication, done or not.
pub(super) fn forget(database: &Database, id: u64) -> Result<(), Failure> {
    database.run("DELETE FROM publication_files WHERE publication = ?", [id.into_value()])?;
    database.run("DELETE FROM publications WHERE id = ?", [id.into_value()])
}

/// Forgets publications that nobody goes on with, and the parts that nothing names then.
pub(super) async fn forget_abandoned(object: &DistributionObject) -> Result<(), Failure> {
    let database = object.database.open()?;
    let before = now().0.saturating_sub(u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX));
    for mut row in database.rows("SELECT id FROM publications WHERE touched_at < ?", [before.into_value()])? {
        forget(database, row.take()?)?;
    }
    forget_uploads(object).await
}

async fn forget_uploads(object: &DistributionObject) -> Result<(), Failure> {
    let database = object.database.open()?;
    let query = "SELECT uploads.manufacturer, uploads.sha256, uploads.upload FROM uploads
                 LEFT JOIN publication_files AS named
                     ON named.manufacturer = uploads.manufacturer AND named.sha256 = uploads.sha256
                 WHERE named.sha256 IS NULL";
    for mut row in database.rows(query, [])? {
        let (manufacturer, sha256, upload) =
            (row.take::<String>()?, manufacturers::take_hash(&mut row)?, row.take::<String>()?);
        forget_parts(database, &manufacturer, &sha256)?;
        let files = Files::of(&object.env, &manufacturer)?;
        let upload = files.bucket().resume_multipart_upload(files.key(&sha256), upload)?;
        if let Err(error) = upload.abort().await {
            // R2 itself ends uploads that are not completed within a week.
            wardlink_edge::platform::log!("distribution: parts that nobody needs stay for now: {error}");
        }
    }
    Ok(())
}
