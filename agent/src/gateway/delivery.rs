//! Bringing an image into the cache: from a folder, a mirror or the site, whole or by a delta, and never taken for what it is not
//! (Distribution, figure 12, 258 and 259; Uptane 5.4.3.4 step 7).

use super::http::{Answer, Asked, Http, HttpError};
use super::packages::{self, Partial};
use super::places;
use super::round::Round;
use super::store::StoreError;
use crate::files::read_file;
use crate::room;
use hyper::StatusCode;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use wardlink_crypto::package::{ContentCode, Decoder, EncodingError, Sealed, open_key};
use wardlink_delta::ApplyError;
use wardlink_protocol::identity::Sha256;
use wardlink_update::director::Added;
use wardlink_update::metadata::{Target, TargetPath};
use wardlink_update::package::{AddedKind, Encrypted, Manufacturer};
use wardlink_update::uptane::{Corrupt, Delivery, Install, Shortcut};

/// The step at which a file counts for nothing that is not the listed one (Uptane).
const DELIVERED: &str = "5.4.3.4 step 7";

/// Why an image is not there.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undelivered {
    /// It came, and is another than the listed one.
    #[error("refused at step {DELIVERED}: {0}")]
    Corrupt(String),
    /// It did not come.
    #[error("{0}")]
    Unreachable(String),
    /// It can never be installed so.
    #[error("{0}")]
    Unusable(String),
    /// There is no room for it. What else is stored here goes on.
    #[error("{}", StoreError::Full)]
    NoRoom,
    /// Our own disk.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for Undelivered {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Self::NoRoom,
            other => Self::Store(other),
        }
    }
}

impl From<Corrupt> for Undelivered {
    fn from(error: Corrupt) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl From<HttpError> for Undelivered {
    fn from(error: HttpError) -> Self {
        Self::Unreachable(error.to_string())
    }
}

/// What the server adds, by its kind.
pub(super) type AddedFiles = Vec<(AddedKind, Vec<u8>)>;

/// Whose file it is.
#[derive(Clone, Copy)]
pub(super) enum Origin<'a> {
    Manufacturer(&'a Manufacturer),
    Director,
}

impl Round<'_> {
    /// The image of an install, and what the server adds to it.
    pub(super) async fn bring(&self, install: &Install) -> Result<(PathBuf, AddedFiles), Undelivered> {
        let image = self.deliver(install).await?;
        Ok((image, self.added(&install.added).await?))
    }

    /// The image of an install, whole, in the cache.
    async fn deliver(&self, install: &Install) -> Result<PathBuf, Undelivered> {
        let unusable = || Undelivered::Unusable(format!("{} is listed without its SHA-256", install.path));
        let sha256 = install.target.sha256().ok_or_else(unusable)?;
        if let Some(path) = self.shared.packages.find(&self.shared.store, &sha256)? {
            return Ok(path);
        }
        let origin = Origin::Manufacturer(&install.package.manufacturer);
        if let Some(shortcut) = &install.shortcut {
            match self.by_delta(install, shortcut, &sha256).await {
                Ok(path) => return Ok(path),
                Err(Undelivered::Store(error)) => return Err(error.into()),
                // The full package is always there.
                Err(error) => tracing::info!(%error, path = %install.path, "a delta is of no use"),
            }
        }
        let mut first = None;
        if let Some(encrypted) = &install.encrypted {
            match self.decrypted(install, encrypted, &sha256).await {
                Ok(path) => return Ok(path),
                Err(Undelivered::Store(error)) => return Err(error.into()),
                Err(error) => first = Some(error),
            }
        }
        match (self.fetch(origin, &install.path, &install.target, &sha256).await, first) {
            // Where the manufacturer's own is not to be had, what counts is what was wrong with the encrypted one.
            (Err(Undelivered::Unreachable(_)), Some(error)) => Err(error),
            (fetched, _) => fetched,
        }
    }

    /// The variant that only this gateway can read (paragraph 0030): it is checked as it comes, and the package as it is decrypted.
    async fn decrypted(
        &self,
        install: &Install,
        encrypted: &Encrypted,
        sha256: &Sha256,
    ) -> Result<PathBuf, Undelivered> {
        let file = &encrypted.file;
        let path = self.fetch(Origin::Director, &file.path, &file.target(), &file.sha256).await?;
        let identity = &self.member.identity;
        let of = Sealed { gateway: &identity.device, path: install.path.as_str(), sha256: *sha256 };
        let opened = open_key(encrypted.key.as_bytes(), &identity.key, of);
        let code = opened.map_err(|error| Undelivered::Unusable(format!("its content key: {error}")))?;
        let work = move |partial: &mut Partial| decrypt(&path, code, partial);
        let made = self.made(sha256, &install.target, work).await;
        self.forget_source(&made, &file.sha256)?;
        made
    }

    async fn by_delta(&self, install: &Install, by: &Shortcut, sha256: &Sha256) -> Result<PathBuf, Undelivered> {
        let source = match self.shared.packages.find(&self.shared.store, &by.source.sha256)? {
            Some(path) => path,
            None => self
                .shared
                .device(&install.device)
                .and_then(|device| device.image().ok())
                .filter(|path| path.exists())
                .ok_or_else(|| Undelivered::Unusable("its source is not here".to_owned()))?,
        };
        let origin = Origin::Manufacturer(&install.package.manufacturer);
        let delta = self.fetch(origin, &by.file.path, &by.file.target(), &by.file.sha256).await?;
        let (source_target, length) = (by.source.target(), install.target.length);
        let work = move |partial: &mut Partial| apply(&source, &source_target, &delta, length, partial);
        let made = self.made(sha256, &install.target, work).await;
        self.forget_source(&made, &by.file.sha256)?;
        made
    }

    /// An image that is made here, of a delta or of what was encrypted. Where that fails, nothing is left of it, and what a download has brought
    /// of the image stays.
    async fn made(
        &self,
        sha256: &Sha256,
        target: &Target,
        work: impl FnOnce(&mut Partial) -> Result<(), Undelivered> + Send + 'static,
    ) -> Result<PathBuf, Undelivered> {
        let packages = &self.shared.packages;
        self.require_room(target.length)?;
        let mut partial = packages.make()?;
        let made = tokio::task::spawn_blocking(move || work(&mut partial).map(|()| partial)).await;
        let made = made.map_err(|error| Undelivered::Unusable(error.to_string())).flatten();
        let path = packages.finish(&self.shared.store, &made?, sha256, target)??;
        packages.forget_part(sha256)?;
        Ok(path)
    }

    /// What an image was made of is of no use any more when the image is there, or is another one than it should have become.
    fn forget_source(&self, made: &Result<PathBuf, Undelivered>, sha256: &Sha256) -> Result<(), StoreError> {
        match made {
            Ok(_) | Err(Undelivered::Corrupt(_)) => self.shared.packages.forget(&self.shared.store, sha256),
            Err(_) => Ok(()),
        }
    }

    /// A file of a repository, in the cache: from wherever it is the listed one.
    async fn fetch(
        &self,
        origin: Origin<'_>,
        path: &TargetPath,
        target: &Target,
        sha256: &Sha256,
    ) -> Result<PathBuf, Undelivered> {
        let store = &self.shared.store;
        if let Some(path) = self.shared.packages.find(store, sha256)? {
            return Ok(path);
        }
        let names = [target.file_name(path), path.to_string()];
        let mut last = Undelivered::Unreachable(format!("nobody has {path}"));
        // What was there, and is another than the listed one.
        let mut refused = Vec::new();
        if let Origin::Manufacturer(manufacturer) = origin {
            for (folder, name) in
                self.shared.settings.media.iter().flat_map(|folder| names.iter().map(move |name| (folder, name)))
            {
                // Names of files are not escaped, as the release tool exports them.
                let file = folder.join(manufacturer.as_str()).join("targets").join(name);
                match self.take_from_stick(&file, target, sha256) {
                    Ok(Some(path)) => return Ok(path),
                    Ok(None) => {}
                    Err(Undelivered::Corrupt(error)) => {
                        refused.push(format!("{}: {error}", file.display()));
                        last = Undelivered::Corrupt(error);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        for (http, base, bearer) in self.bases(origin) {
            for name in &names {
                let url = places::target(&base, name);
                match self.download(http, &url, bearer, target, sha256).await {
                    Ok(Some(path)) => return Ok(path),
                    Ok(None) => {}
                    Err(Undelivered::Store(error)) => return Err(error.into()),
                    Err(error) => {
                        if let Undelivered::Corrupt(error) = &error {
                            refused.push(format!("{url}: {error}"));
                        }
                        last = error;
                        break;
                    }
                }
            }
        }
        // Whoever has brought a stick, or looks after a mirror, does not see it otherwise.
        let refused = refused.join("; ");
        Err(match last {
            Undelivered::Corrupt(_) => Undelivered::Corrupt(refused),
            Undelivered::Unreachable(why) if !refused.is_empty() => {
                Undelivered::Unreachable(format!("{why}; refused at step {DELIVERED}: {refused}"))
            }
            last => last,
        })
    }

    /// Where the files of a repository are, the nearest first.
    fn bases<'b>(&'b self, origin: Origin<'_>) -> Vec<(&'b Http, String, Option<&'b str>)> {
        match origin {
            Origin::Director => vec![(&self.http, self.director(), self.bearer())],
            Origin::Manufacturer(manufacturer) => {
                let mirror = self.mirror.as_ref();
                let mirror = mirror.map(|(http, base)| (http, places::of_manufacturer(base, manufacturer), None));
                let site = (&self.http, places::images(manufacturer), None);
                mirror.into_iter().chain([site]).collect()
            }
        }
    }

    /// Takes a file from a stick when it is the listed one; none where it cannot be read. Another one leaves what a download has brought so far.
    fn take_from_stick(&self, file: &Path, target: &Target, sha256: &Sha256) -> Result<Option<PathBuf>, Undelivered> {
        let Ok(checked) = packages::check(file, target) else { return Ok(None) };
        checked?;
        self.require_room(target.length)?;
        let mut partial = self.shared.packages.partial(sha256)?;
        if !copy(file, target, &mut partial)? {
            return Ok(None);
        }
        Ok(Some(self.shared.packages.finish(&self.shared.store, &partial, sha256, target)??))
    }

    /// Downloads a file, and goes on where an earlier try was cut off; none where the server has none. What an earlier try has left may be of another
    /// source: where that does not become the listed file, all of it comes anew from this one.
    async fn download(
        &self,
        http: &Http,
        url: &str,
        bearer: Option<&str>,
        target: &Target,
        sha256: &Sha256,
    ) -> Result<Option<PathBuf>, Undelivered> {
        loop {
            let mut partial = self.shared.packages.partial(sha256)?;
            if partial.length >= target.length {
                partial.restart()?;
            }
            let from = partial.length;
            self.require_room(target.length.saturating_sub(from))?;
            let answer = http.get(Asked { path: url, bearer, etag: None, from }).await?;
            match answer.status {
                // Whatever it is: what has come so far is worth more.
                StatusCode::OK if answer.is_shorter_than(target.length) => {
                    return Err(Undelivered::Unreachable("what is there under its name is shorter".to_owned()));
                }
                StatusCode::OK => partial.restart()?,
                StatusCode::PARTIAL_CONTENT if answer.from == from => {}
                StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::GONE => return Ok(None),
                StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => {
                    partial.restart()?;
                    continue;
                }
                status => return Err(HttpError::Status(status).into()),
            }
            let goes_on = partial.length > 0;
            take(answer, target.length.saturating_sub(partial.length), &mut partial).await?;
            if partial.length < target.length {
                // Cut off, and without an error: what is there is kept.
                return Err(Undelivered::Unreachable("it was cut off".to_owned()));
            }
            match self.shared.packages.finish(&self.shared.store, &partial, sha256, target)? {
                Ok(path) => return Ok(Some(path)),
                Err(_) if goes_on => {}
                Err(corrupt) => return Err(corrupt.into()),
            }
        }
    }

    /// What devices have stored has its room first.
    fn require_room(&self, bytes: u64) -> Result<(), Undelivered> {
        if self.shared.packages.has_room(bytes)? { Ok(()) } else { Err(Undelivered::NoRoom) }
    }

    /// What the server adds, checked (figure 5B).
    async fn added(&self, added: &[Added]) -> Result<AddedFiles, Undelivered> {
        let mut files = Vec::new();
        for one in added {
            let file = self.fetch(Origin::Director, &one.file.path, &one.file.target(), &one.file.sha256).await?;
            let bytes = fs::read(&file).map_err(StoreError::of_file)?;
            one.check(&bytes).map_err(|error| Undelivered::Unusable(error.to_string()))?;
            files.push((one.kind, bytes));
        }
        Ok(files)
    }
}

async fn take(answer: Answer, left: u64, partial: &mut Partial) -> Result<(), Undelivered> {
    answer.read(left, |piece| Ok::<_, Undelivered>(partial.write(piece)?)).await
}

/// Copies a file, no more of it than is listed; whether it could be read.
fn copy(file: &Path, target: &Target, partial: &mut Partial) -> Result<bool, Undelivered> {
    partial.restart()?;
    let mut written = Ok(());
    let read = packages::read_through(file, |chunk| {
        written = partial.write(chunk);
        written.is_ok() && partial.length <= target.length
    });
    written?;
    Ok(read.is_ok())
}

fn decrypt(path: &Path, code: ContentCode, partial: &mut Partial) -> Result<(), Undelivered> {
    let unusable = |error: EncodingError| Undelivered::Unusable(format!("the encrypted package: {error}"));
    let mut decoder = Decoder::new(code);
    let mut done = Ok(());
    packages::read_through(path, |chunk| {
        done = decoder.push(chunk).map_err(unusable).and_then(|opened| Ok(partial.write(&opened)?));
        done.is_ok()
    })
    .map_err(StoreError::of_file)?;
    done?;
    Ok(partial.write(&decoder.finish().map_err(unusable)?)?)
}

fn apply(
    source: &Path,
    source_target: &Target,
    delta: &Path,
    length: u64,
    partial: &mut Partial,
) -> Result<(), Undelivered> {
    let old = read_file(source, source_target.length).map_err(StoreError::of_file)?;
    let old = old.ok_or_else(|| Undelivered::Unusable("its source is no file".to_owned()))?;
    let mut check = Delivery::new(source_target);
    check.take(&old)?;
    check.finish()?;
    let delta = fs::read(delta).map_err(StoreError::of_file)?;
    let applied = wardlink_delta::apply(&old, &delta, length, Into { partial });
    applied.map_err(|error| match error {
        ApplyError::Io(error) if room::is_lacking(&error) => Undelivered::NoRoom,
        error => Undelivered::Unusable(error.to_string()),
    })
}

/// An image on its way, as something that is written to.
struct Into<'a> {
    partial: &'a mut Partial,
}

impl Write for Into<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.partial.write(bytes).map_err(|error| match error {
            StoreError::Full => ErrorKind::StorageFull.into(),
            error => std::io::Error::other(error),
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
