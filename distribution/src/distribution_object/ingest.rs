//! The checker and verifier (figure 4, 71): a staged repository is followed with the client of devices, from the trusted root on, and
//! becomes visible in one step when everything about it is right.

use super::publication::{self, refused};
use super::publish::Publisher;
use super::repository::{self, Public};
use super::{DistributionObject, blob, manufacturers, text};
use data_encoding::HEXLOWER_PERMISSIVE;
use sha2::{Digest, Sha256 as Hasher};
use std::collections::{BTreeMap, BTreeSet};
use wardlink_edge::files::Files;
use wardlink_edge::messages::PublicFile;
use wardlink_edge::platform::streams::Algorithm;
use wardlink_edge::platform::{log, now};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, record};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::api::{NewPublication, ProblemKind, Published, PublishedView};
use wardlink_protocol::identity::Sha256;
use wardlink_trust::audit::Act;
use wardlink_update::client::{Fetched, File, Refusal};
use wardlink_update::metadata::{Role as _, RoleName, TargetPath};
use wardlink_update::package::{Manufacturer, ModelFolder};
use wardlink_update::repository::{Kept, NotAccepted, Reader, Repository};

impl DistributionObject {
    /// Verifies a publication and makes it visible. A repeated commit has the same answer.
    pub(super) async fn commit(&self, manufacturer: &str, id: u64, by: &Publisher) -> Result<Published, Failure> {
        let database = self.database.open()?;
        let (new, generation) = match waiting(database, manufacturer, id, by)? {
            Waiting::Committed(published) => return Ok(published),
            Waiting::Ready { new, generation } => (new, generation),
        };
        let name: Manufacturer = manufacturer.parse().map_err(Failure::internal)?;
        let files = Files::of(&self.env, manufacturer)?;
        let trusted = trusted(database, &files, manufacturer).await?;
        let checked = async {
            let verified = verify(&name, trusted.clone(), &new, &files).await?;
            let targets = targets(database, &name, &verified, &new, &files).await?;
            Ok::<_, Failure>((verified, targets))
        };
        let (verified, targets) = match checked.await {
            // It is refused each time, and takes nobody's place.
            Err(failure) if matches!(&failure, Failure::Problem(of) if of.kind == ProblemKind::RefusedStep) => {
                publication::forget(self.database.open()?, id)?;
                return Err(failure);
            }
            checked => checked?,
        };
        let timestamp = verified.timestamp.version();
        let published = Published { timestamp, packages: packages(&verified) };

        // From here on nothing waits: one step. Meanwhile the token may have been revoked, the publication given up or committed.
        let database = self.database.open()?;
        match waiting(database, manufacturer, id, by)? {
            Waiting::Committed(published) => return Ok(published),
            Waiting::Ready { generation: now, .. } if now != generation => {
                return Err(refused("versions", "something else was published meanwhile; commit again"));
            }
            Waiting::Ready { .. } => {}
        }
        if trusted == verified.kept {
            database.step(|database| finish(database, id, &published))?;
            return Ok(published);
        }
        let detail = format!("version {timestamp}, {} packages, {}", published.packages, by.way());
        database.step(|database| {
            make_visible(database, manufacturer, generation, &verified, targets)?;
            finish(database, id, &published)?;
            super::directives::all_are_due(database)?;
            Self::note(database, by.person(), Act::ReleasesPublished, manufacturer, detail)
        })?;
        self.releases.take();
        log!("distribution: a manufacturer publishes version {timestamp}, {} packages", published.packages);
        Ok(published)
    }
}

/// How a publication stands that is to be committed.
enum Waiting {
    /// It was committed.
    Committed(Published),
    /// All of it is there.
    Ready {
        new: NewPublication,
        /// How often its manufacturer has published.
        generation: u64,
    },
}

/// Looks whether a publication may be committed by this publisher.
fn waiting(database: &Database, manufacturer: &str, id: u64, by: &Publisher) -> Result<Waiting, Failure> {
    by.check(database)?;
    let generation = manufacturers::known(database, manufacturer)?.generation;
    let (new, done) = publication::record_of(database, manufacturer, id)?;
    if let Some(done) = done {
        return Ok(Waiting::Committed(wardlink_edge::storage::read_record(&done)?));
    }
    if let Some(missing) = publication::view(database, manufacturer, id)?.missing.first() {
        return Err(refused("files", format!("the file {} is not there", missing.file.sha256)));
    }
    Ok(Waiting::Ready { new, generation })
}

/// What is trusted of a repository, as it was received.
async fn trusted(database: &Database, files: &Files, manufacturer: &str) -> Result<Kept, Failure> {
    let mut kept = Kept::new();
    let rows = database.rows("SELECT file, sha256 FROM trusted WHERE manufacturer = ?", [text(manufacturer)])?;
    for mut row in rows {
        let (file, sha256) = (file_of(&row.take::<String>()?)?, manufacturers::take_hash(&mut row)?);
        let bytes = files.read(&sha256).await?;
        kept.insert(file, bytes.ok_or_else(|| Failure::internal("trusted metadata is missing"))?);
    }
    Ok(kept)
}

/// The metadata file of a name.
pub(super) fn file_of(name: &str) -> Result<File, Failure> {
    Ok(match name {
        "root.json" => File::Root,
        "timestamp.json" => File::Timestamp,
        "snapshot.json" => File::Snapshot,
        _ => {
            let role = name.strip_suffix(".json").unwrap_or(name).to_owned();
            File::Targets(RoleName::try_from(role).map_err(Failure::internal)?)
        }
    })
}

/// Reads the staged repository (TUF section 5): every role that it has, and each target held to the client's search.
async fn verify(
    manufacturer: &Manufacturer,
    trusted: Kept,
    new: &NewPublication,
    files: &Files,
) -> Result<Repository, Failure> {
    let mut reader = Reader::start(trusted, Some(manufacturer.clone()), now().as_secs()).map_err(not_accepted)?;
    let listed: BTreeMap<_, _> = new.metadata.iter().map(|listed| (listed.name.as_str(), listed.file)).collect();
    while let Some(wanted) = reader.wanted().map_err(not_accepted)? {
        let bytes = match listed.get(wanted.name().as_str()) {
            // One that is longer than asked for is not read, and refused for its length.
            Some(file) if file.length > wanted.max_bytes => {
                Some(vec![0; usize::try_from(wanted.max_bytes).unwrap_or_default().saturating_add(1)])
            }
            Some(file) => files.read(&file.sha256).await?,
            None => None,
        };
        reader.receive(bytes.map_or(Fetched::Missing, Fetched::Bytes)).map_err(not_accepted)?;
    }
    reader.finish().map_err(not_accepted)
}

fn not_accepted(why: NotAccepted) -> Failure {
    match why {
        NotAccepted::Client(refusal) => refused_by_client(&refusal),
        NotAccepted::Step { step, why } => refused(step, why),
    }
}

fn refused_by_client(refusal: &Refusal) -> Failure {
    // The refusal names its step itself.
    let detail = format!("S{}. Nothing was published.", refusal.to_string().trim_start_matches('s'));
    Failure::with_detail(ProblemKind::RefusedStep, detail)
}

/// Each target is the manufacturer's own, and its file is there with every hash that is listed. Their public names.
async fn targets(
    database: &Database,
    manufacturer: &Manufacturer,
    repository: &Repository,
    new: &NewPublication,
    files: &Files,
) -> Result<Vec<Public>, Failure> {
    let there: BTreeMap<Sha256, u64> = new.files.iter().map(|file| (file.sha256, file.length)).collect();
    let packages = repository.releases.packages().iter().map(|listed| &listed.release);
    let documents: BTreeSet<&TargetPath> =
        packages.flat_map(|package| package.sbom.iter().chain(&package.provenance)).map(|file| &file.path).collect();
    let mut public = Vec::new();
    for (_, path, target) in repository.targets() {
        let folder = ModelFolder::of(path).map_err(|error| refused("targets", error))?;
        if folder.manufacturer != *manufacturer {
            return Err(refused("manufacturer", format!("{path} is another manufacturer's")));
        }
        let hash = |algorithm: &str| {
            let text = target.hashes.0.get(algorithm)?;
            HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()
        };
        let sha256 = hash("sha256").and_then(|bytes| bytes.try_into().ok()).map(Sha256);
        let sha256 = sha256.ok_or_else(|| refused("targets", format!("{path} has no SHA-256")))?;
        if there.get(&sha256) != Some(&target.length) {
            return Err(refused("targets", format!("the file of {path} is not there with its length and hash")));
        }
        if target.hashes.0.contains_key("sha512") {
            let found = sha512(database, manufacturer, files, &sha256).await?;
            if found.is_none() || found != hash("sha512") {
                return Err(refused("targets", format!("the file of {path} has another SHA-512")));
            }
        }
        let file = PublicFile { sha256, length: target.length };
        let is_program = !documents.contains(path);
        for hash in target.hashes.0.values() {
            public.push(Public { is_metadata: false, is_program, name: path.with_hash(hash), file, stays: false });
        }
    }
    Ok(public)
}

/// The SHA-512 of a file that is there. It is computed once: what lies under a SHA-256 does not change.
async fn sha512(
    database: &Database,
    manufacturer: &Manufacturer,
    files: &Files,
    sha256: &Sha256,
) -> Result<Option<Vec<u8>>, Failure> {
    let place = || [text(manufacturer.as_str()), blob(sha256)];
    let query = "SELECT sha512 FROM files WHERE manufacturer = ? AND sha256 = ?";
    if let Some(known) = database.one::<Option<Vec<u8>>, _>(query, place())?.flatten() {
        return Ok(Some(known));
    }
    let Some((found, _)) = files.hash(sha256, Algorithm::Sha512).await? else { return Ok(None) };
    let [manufacturer, sha256] = place();
    database.run(
        "UPDATE files SET sha512 = ? WHERE manufacturer = ? AND sha256 = ?",
        [found.clone().into_value(), manufacturer, sha256],
    )?;
    Ok(Some(found))
}

fn packages(verified: &Repository) -> u64 {
    u64::try_from(verified.releases.packages().len()).unwrap_or(u64::MAX)
}

/// What was verified is trusted from now on, and what it names is public.
fn make_visible(
    database: &Database,
    manufacturer: &str,
    generation: u64,
    verified: &Repository,
    targets: Vec<Public>,
) -> Result<(), Failure> {
    let generation = generation.saturating_add(1);
    database.run("DELETE FROM trusted WHERE manufacturer = ?", [text(manufacturer)])?;
    let mut public = targets;
    public.extend(verified.roots.iter().map(|(version, bytes)| metadata(format!("{version}.root.json"), bytes, true)));
    for (file, bytes) in &verified.kept {
        let sha256 = Sha256(Hasher::digest(bytes).into());
        database.run(
            "INSERT INTO trusted (manufacturer, file, sha256) VALUES (?, ?, ?)",
            [text(manufacturer), text(file.name()), blob(&sha256)],
        )?;
        // A root is public already, or one of the new ones.
        if *file != File::Root {
            public.push(metadata(verified.published_name(file), bytes, false));
        }
    }
    repository::put(database, manufacturer, generation, public)?;
    let view = PublishedView {
        at: now(),
        timestamp: verified.timestamp.version(),
        ends_at: UnixMillis::from_secs(verified.ends_at()),
        packages: packages(verified),
    };
    database.run(
        "UPDATE manufacturers SET generation = ?, root_version = ?, published = ? WHERE manufacturer = ?",
        [generation.into_value(), verified.root().version().into_value(), record(&view)?, text(manufacturer)],
    )
}

/// A metadata file under its public name.
fn metadata(name: String, bytes: &[u8], stays: bool) -> Public {
    let sha256 = Sha256(Hasher::digest(bytes).into());
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    Public { is_metadata: true, is_program: false, name, file: PublicFile { sha256, length }, stays }
}

/// The publication is done; its answer is kept for whoever asks again.
fn finish(database: &Database, id: u64, published: &Published) -> Result<(), Failure> {
    database.run("DELETE FROM publication_files WHERE publication = ?", [id.into_value()])?;
    database.run("UPDATE publications SET done = ? WHERE id = ?", [record(published)?, id.into_value()])
}
