//! Whether a repository is what its manufacturer has signed: from the root that this site trusts to every byte of every file.

use std::collections::BTreeMap;

use wardlink_crypto::schedule::message_hash;
use wardlink_protocol::api::{ManufacturerView, NewPublication, PublishedFile, PublishedMetadata};
use wardlink_protocol::identity::Sha256;
use wardlink_update::client::{Fetched, File};
use wardlink_update::metadata::{Target, TargetCheck, TargetPath};
use wardlink_update::repository::{Kept, NotAccepted, Reader, Repository};
use web_sys::Blob;

use super::Progress;
use super::folder::{self, Folder};
use crate::api::{self, Failure};
use crate::app::App;
use crate::text::Language;

/// How much of a file is read at a time, in bytes.
const CHUNK: u64 = 4 * 1024 * 1024;
/// What the names of roots end with.
const ROOT: &str = ".root.json";

/// Why it is not sent.
#[derive(Debug)]
pub(super) enum Refused {
    /// There is no repository in the folder.
    NoRepository,
    /// What this site knows of the manufacturer cannot be fetched.
    Site(Failure),
    /// It is not what the manufacturer has signed, or not what a server takes.
    NotAccepted(NotAccepted),
    /// A file is missing, or is not the one that was signed.
    WrongFile(String),
    /// A file cannot be read any more.
    Unreadable(String),
    /// Nobody waits for it any more.
    Closed,
}

impl From<NotAccepted> for Refused {
    fn from(why: NotAccepted) -> Self {
        Self::NotAccepted(why)
    }
}

impl Refused {
    /// What happened, and what to do.
    pub(super) fn explain(&self, t: Language) -> String {
        match self {
            Self::NoRepository => t.upload_no_repository().to_owned(),
            Self::Site(failure) => {
                let explained = failure.explain(t);
                format!("{} {}", explained.what, explained.advice)
            }
            Self::NotAccepted(why) => t.upload_not_accepted(&why.to_string()),
            Self::WrongFile(path) => t.upload_wrong_file(path),
            Self::Unreadable(name) => t.upload_unreadable(name),
            Self::Closed => String::new(),
        }
    }
}

/// What was verified, and is sent.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    /// Whose it is.
    pub(super) manufacturer: String,
    /// The list of it.
    pub(super) list: NewPublication,
    /// The files by their content.
    pub(super) files: BTreeMap<Sha256, Blob>,
    /// Its packages in words.
    pub(super) packages: Vec<String>,
}

impl Verified {
    fn listed(&self) -> impl Iterator<Item = &PublishedFile> {
        self.list.metadata.iter().map(|listed| &listed.file).chain(&self.list.files)
    }

    /// How many files.
    pub(super) fn files(&self) -> usize {
        self.files.len()
    }

    /// How long they are together, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let lengths: BTreeMap<_, _> = self.listed().map(|file| (file.sha256, file.length)).collect();
        lengths.values().fold(0, |sum, length| sum.saturating_add(*length))
    }
}

/// Verifies it. `tell` hears how far it is, and says whether anybody still waits.
pub(super) async fn verify(
    app: App,
    maker: &ManufacturerView,
    folder: Folder,
    tell: impl Fn(Progress) -> bool,
) -> Result<Verified, Refused> {
    if folder.metadata.is_empty() {
        return Err(Refused::NoRepository);
    }
    let repository = read(app, maker, &folder).await?;
    let mut verified = Verified {
        manufacturer: maker.manufacturer.clone(),
        list: NewPublication { metadata: metadata(&folder, &repository).await?, files: Vec::new() },
        files: BTreeMap::new(),
        packages: packages(&repository),
    };
    for PublishedMetadata { name, file } in &verified.list.metadata {
        let blob = folder.metadata.get(name).ok_or_else(|| Refused::WrongFile(name.clone()))?;
        verified.files.insert(file.sha256, Blob::from(blob.clone()));
    }
    let total = repository.targets().fold(0_u64, |sum, (_, _, target)| sum.saturating_add(target.length));
    let mut progress = Progress { done: 0, total };
    for (_, path, target) in repository.targets() {
        let (file, blob) = check(&folder, path, target, &mut progress, &tell).await?;
        if verified.files.insert(file.sha256, blob).is_none() {
            verified.list.files.push(file);
        }
    }
    Ok(verified)
}

/// Reads it from what this site trusts of the manufacturer, so that nothing older is taken either.
async fn read(app: App, maker: &ManufacturerView, folder: &Folder) -> Result<Repository, Refused> {
    let public = |name: &str| api::public_metadata(&maker.manufacturer, name);
    let mut trusted = Kept::new();
    let root = api::fetch(&public(&format!("{}{ROOT}", maker.root_version))).await.map_err(Refused::Site)?;
    trusted.insert(File::Root, root);
    if maker.published.is_some() {
        let timestamp = api::fetch(&public(&File::Timestamp.name())).await.map_err(Refused::Site)?;
        trusted.insert(File::Timestamp, timestamp);
    }
    let manufacturer = maker.manufacturer.parse().map_err(|_| Refused::NoRepository)?;
    let mut reader = Reader::start(trusted, Some(manufacturer), app.clock.now_untracked().as_secs())?;
    while let Some(wanted) = reader.wanted()? {
        let name = wanted.name();
        let fetched = match folder.metadata.get(&name) {
            None => Fetched::Missing,
            // One that is longer than asked for is refused for its length: one byte too many is enough.
            Some(file) => {
                let most = wanted.max_bytes.saturating_add(1);
                Fetched::Bytes(part(file, 0, most, &name).await?)
            }
        };
        reader.receive(fetched)?;
    }
    Ok(reader.finish()?)
}

/// What of the metadata is sent: every root, and what a client reads.
async fn metadata(folder: &Folder, repository: &Repository) -> Result<Vec<PublishedMetadata>, Refused> {
    let published = |name: String, bytes: &[u8]| {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        PublishedMetadata { name, file: PublishedFile { sha256: message_hash(bytes), length } }
    };
    let mut all = Vec::new();
    for (name, file) in folder.metadata.iter().filter(|(name, _)| name.ends_with(ROOT)) {
        all.push(published(name.clone(), &part(file, 0, folder::length(file), name).await?));
    }
    for (file, bytes) in repository.kept.iter().filter(|(file, _)| **file != File::Root) {
        all.push(published(repository.published_name(file), bytes));
    }
    Ok(all)
}

/// Reads a target's file, and holds it to its length and hashes.
async fn check(
    folder: &Folder,
    path: &TargetPath,
    target: &Target,
    progress: &mut Progress,
    tell: &impl Fn(Progress) -> bool,
) -> Result<(PublishedFile, Blob), Refused> {
    let wrong = || Refused::WrongFile(path.to_string());
    let file = folder.targets.get(&target.file_name(path)).ok_or_else(wrong)?;
    if folder::length(file) != target.length {
        return Err(wrong());
    }
    let (mut check, mut begin) = (TargetCheck::new(target), 0_u64);
    while begin < target.length {
        let end = begin.saturating_add(CHUNK).min(target.length);
        let bytes = part(file, begin, end, path.as_str()).await?;
        check.update(&bytes);
        progress.add(end.saturating_sub(begin));
        if !tell(*progress) {
            return Err(Refused::Closed);
        }
        begin = end;
    }
    let sha256 = target.hashes.0.get("sha256").and_then(|text| text.parse().ok()).filter(|_| check.finish());
    let sha256 = sha256.ok_or_else(wrong)?;
    Ok((PublishedFile { sha256, length: target.length }, Blob::from(file.clone())))
}

async fn part(file: &Blob, begin: u64, end: u64, name: &str) -> Result<Vec<u8>, Refused> {
    let unreadable = || Refused::Unreadable(name.to_owned());
    folder::bytes(&folder::slice(file, begin, end).ok_or_else(unreadable)?).await.ok_or_else(unreadable)
}

/// Its packages in words, the newest last.
fn packages(repository: &Repository) -> Vec<String> {
    let mut packages: Vec<_> = repository.releases.packages().iter().map(|listed| &listed.release).collect();
    packages.sort_by_key(|package| (package.model.to_string(), package.release_counter));
    let words = |package: &&wardlink_update::package::Package| {
        format!("{} {} · {}", package.model, package.post_revision, package.feature_set)
    };
    packages.iter().map(words).collect()
}
