//! What takes its time beside a session: rounds of verification, and bringing what the device wants.

use super::{Direct, Over};
use crate::clock;
use crate::device::image::MAX_CHUNK_BYTES;
use crate::device::job::Job;
use crate::device::trusted::News;
use crate::device::{DeviceError, Doing, Offer, Offered};
use crate::gateway::http::{Asked, HttpError};
use crate::gateway::places;
use hyper::StatusCode;
use wardlink_crypto::package::{Decoder, Sealed, open_key};
use wardlink_update::client::{Command, File, Stored};
use wardlink_update::director::{Added, Directive};
use wardlink_update::metadata::RoleName;
use wardlink_update::package::{Encrypted, Manufacturer};
use wardlink_update::uptane::{Bound, Full, Handed, HandedOn, Install, Next, Refused, Repository, Shortcut};
use zeroize::Zeroizing;

/// What came of an errand.
pub(super) enum Done {
    /// A round.
    Verified(Box<Known>),
    /// The device has got what it wanted, or wants it no more.
    Brought,
}

/// What a round leaves for what comes after it.
#[derive(Default)]
pub(super) struct Known {
    kept: Option<Kept>,
    /// The shorter way to the image that the device wants.
    pub(super) shortcut: Option<Shortcut>,
    /// The variant of it that this device alone can read.
    pub(super) encrypted: Option<Encrypted>,
}

impl Known {
    /// Whether nothing of what was verified counts: it was refused.
    pub(super) const fn was_refused(&self) -> bool {
        self.kept.is_none()
    }
}

/// Where an image is.
struct Source<'a> {
    path: String,
    /// The file's length, in bytes.
    length: u64,
    bearer: Option<&'a str>,
    /// Decrypts it; none where it is the image itself.
    decoder: Option<Decoder>,
}

/// Bytes of an image on their way to the device.
struct Giving {
    /// So many of those that come next it has already.
    skip: usize,
    /// The place of the next chunk.
    at: u64,
    chunk: Vec<u8>,
}

/// The metadata of this run.
struct Kept {
    manufacturer: Manufacturer,
    director: Stored,
    images: Stored,
    /// Newer roots than the device's: the director's, the manufacturer's.
    newer: (Vec<Vec<u8>>, Vec<Vec<u8>>),
}

impl Direct {
    /// Verifies both repositories in full, and hands on what came of it.
    pub(super) async fn round(&self, known: Known) -> Result<Known, Over> {
        let (state, fresh) = self
            .with(|driven| {
                (
                    driven.device.state(),
                    driven.device.trusted().and_then(|trusted| {
                        let (images, director) = trusted.roots();
                        let stored = |root: &str| Stored { root: root.as_bytes().to_vec(), ..Stored::default() };
                        let manufacturer = trusted.provisioned.manufacturer.clone();
                        Some((manufacturer, stored(director?), stored(images?)))
                    }),
                )
            })
            .await?;
        let Some((manufacturer, director, images)) = fresh else { return Ok(known) };
        let newer = (Vec::new(), Vec::new());
        let mut kept = known.kept.unwrap_or(Kept { manufacturer, director, images, newer });
        let device = self.member.identity.device.clone();
        let key = self.member.identity.key.public().fingerprint().ok();
        let bound = Bound { gateway: device.clone(), key, present: vec![state] };
        let known = [(kept.manufacturer.clone(), kept.images.clone())].into();
        let full = match Full::start(bound, kept.director.clone(), known, clock::now().as_secs()) {
            Ok(full) => full,
            Err(refused) => return self.refused(refused).await.map(|()| Known::default()),
        };
        let verified = self.verify(full, &mut kept).await?;
        let (full, installs) = match verified {
            Ok(verified) => verified,
            Err(refused) => return self.refused(refused).await.map(|()| Known::default()),
        };
        let install = installs.iter().find(|install| install.device == device);
        let handed = match install.map(|install| full.handed_on(install)) {
            Some(Some(HandedOn { server, manufacturer, delegator })) => {
                Some((server.to_vec(), Some(manufacturer.to_vec()), Some(delegator.to_vec())))
            }
            Some(None) => None,
            None => {
                let directive = kept.director.targets.get(&RoleName::targets());
                let is_for_us = |bytes: &&Vec<u8>| {
                    let directed = Directive::parse(bytes).ok();
                    directed.is_some_and(|(_, directed)| directed.order_for(&device).is_some())
                };
                // What is directed and installed already has nothing more to say.
                directive.filter(|bytes| !is_for_us(bytes)).map(|bytes| (bytes.clone(), None, None))
            }
        };
        let shortcut = install.and_then(|install| install.shortcut.clone());
        let encrypted = install.and_then(|install| install.encrypted.clone());
        let Some((server, manufacturer, delegator)) = handed else {
            return Ok(Known { kept: Some(kept), shortcut, encrypted });
        };
        let (director_roots, image_roots) = kept.newer.clone();
        let offered = self
            .with(move |driven| {
                let news = News {
                    director_roots: &director_roots,
                    image_roots: &image_roots,
                    delegator: delegator.as_deref(),
                };
                let handed = Handed { server: Some(&server), manufacturer: manufacturer.as_deref(), path: None };
                driven.device.offer(&Offer { news, handed }, clock::now().as_secs())
            })
            .await??;
        // After a refusal, the next round begins at what the device has stored.
        if matches!(offered, Offered::Refused(_)) {
            return Ok(Known { kept: None, shortcut, encrypted });
        }
        kept.newer = (Vec::new(), Vec::new());
        Ok(Known { kept: Some(kept), shortcut, encrypted })
    }

    async fn verify(&self, mut full: Full, kept: &mut Kept) -> Result<Result<(Full, Vec<Install>), Refused>, Over> {
        loop {
            match full.next() {
                Next::Fetch(repository, wanted) => {
                    let (gateway, ticket) = (&self.member.identity.device, Some(self.ticket.as_str()));
                    let fetched = places::metadata(&self.http, gateway, ticket, &repository, &wanted).await?;
                    match full.receive(fetched) {
                        Ok((repository, commands)) => kept.carry_out(&repository, commands),
                        Err(refused) => return Ok(Err(refused)),
                    }
                }
                Next::Verified(transactions) => {
                    let installs = transactions.into_iter().flat_map(|transaction| transaction.installs).collect();
                    return Ok(Ok((full, installs)));
                }
                Next::Refused => return Err(Over::Missing("metadata that goes on".to_owned())),
            }
        }
    }

    /// A refusal is an outcome of the device.
    async fn refused(&self, refused: Refused) -> Result<(), Over> {
        tracing::warn!(%refused, "an update is refused");
        self.with(move |driven| driven.device.refused_in_full(refused)).await??;
        Ok(())
    }

    /// A short file whole.
    async fn file(&self, path: &str, bearer: Option<&str>, max_bytes: u64) -> Result<Vec<u8>, Over> {
        let answer = self.http.get(Asked { path, bearer, etag: None, from: 0 }).await?;
        match answer.status {
            StatusCode::OK => Ok(answer.bytes(max_bytes).await?),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(Over::Missing(path.to_owned())),
            status => Err(HttpError::Status(status).into()),
        }
    }

    /// Brings the image from this place on, by the shorter way where there is one. The device takes it as it comes; what came counts, also
    /// where the rest is cut off.
    pub(super) async fn bring_image(
        &self,
        position: u64,
        shortcut: Option<Shortcut>,
        encrypted: Option<Encrypted>,
    ) -> Result<(), Over> {
        let job = self.with(|driven| driven.device.job().cloned()).await?;
        let Some(job) = job else { return Ok(()) };
        let base = places::images(&job.package.manufacturer);
        if let Some(shortcut) = shortcut.filter(|_| position == 0)
            && self.bring_delta(&base, shortcut).await?
        {
            return Ok(());
        }
        let decrypted = encrypted.as_ref().map(|encrypted| self.decrypted(&job, encrypted));
        let does_not_open = matches!(decrypted, Some(None));
        if let Some(source) = decrypted.flatten() {
            match self.bring(source, position).await {
                Err(Over::Missing(_)) => {}
                brought => return brought,
            }
        }
        let path = places::target(&base, &job.target.file_name(&job.path));
        let plain = Source { path, length: job.target.length, bearer: None, decoder: None };
        match self.bring(plain, position).await {
            // What this device alone was to read does not open, and there is nothing else.
            Err(Over::Missing(_)) if does_not_open => self.damaged().await,
            brought => brought,
        }
    }

    /// What came is not what was directed: the device asks again after a while, a few times, and the server hears of it.
    async fn damaged(&self) -> Result<(), Over> {
        let now = clock::now().as_secs();
        let told = self.with(move |driven| {
            driven.doing = Doing::Idle;
            driven.device.damaged(now)
        });
        Ok(told.await??)
    }

    /// The variant that this device alone can read (paragraph 0030), where it is one of this image.
    fn decrypted(&self, job: &Job, encrypted: &Encrypted) -> Option<Source<'_>> {
        let identity = &self.member.identity;
        let of = Sealed { gateway: &identity.device, path: job.path.as_str(), sha256: job.target.sha256()? };
        let code = open_key(encrypted.key.as_bytes(), &identity.key, of);
        let code = code.inspect_err(|error| tracing::info!(%error, "a content key does not open")).ok()?;
        let name = encrypted.file.target().file_name(&encrypted.file.path);
        let path = places::target(&places::director(&identity.device), &name);
        let (bearer, decoder) = (Some(self.ticket.as_str()), Some(Decoder::new(code)));
        Some(Source { path, length: encrypted.file.length, bearer, decoder })
    }

    /// Brings what the device does not have yet. An encrypted file is read from its beginning.
    async fn bring(&self, source: Source<'_>, position: u64) -> Result<(), Over> {
        let Source { path, length, bearer, mut decoder } = source;
        let from = if decoder.is_some() { 0 } else { position };
        let answer = self.http.get(Asked { path: &path, bearer, etag: None, from }).await?;
        let from = match answer.status {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT => answer.from,
            StatusCode::NOT_FOUND | StatusCode::GONE => return Err(Over::Missing(path)),
            status => return Err(HttpError::Status(status).into()),
        };
        let mut pieces = answer.pieces(length.saturating_sub(from));
        let skip = usize::try_from(position.saturating_sub(from)).unwrap_or(usize::MAX);
        let mut giving = Giving { skip, at: position, chunk: Vec::with_capacity(MAX_CHUNK_BYTES) };
        let ended = loop {
            let piece = match pieces.next().await {
                Ok(Some(piece)) => piece,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            let decoded = match &mut decoder {
                Some(decoder) => decoder.push(&piece),
                None => Ok(Zeroizing::new(piece.to_vec())),
            };
            let Ok(decoded) = decoded.inspect_err(|error| tracing::warn!(%error, "an encrypted package")) else {
                return self.damaged().await;
            };
            if !self.pass(&mut giving, &decoded).await? {
                return Ok(());
            }
        };
        let last = match decoder.filter(|_| ended.is_ok()) {
            Some(decoder) => decoder.finish(),
            None => Ok(Zeroizing::default()),
        };
        let Ok(last) = last.inspect_err(|error| tracing::warn!(%error, "an encrypted package")) else {
            return self.damaged().await;
        };
        if !self.pass(&mut giving, &last).await? {
            return Ok(());
        }
        if !giving.chunk.is_empty() && !self.give(&mut giving).await? {
            return Ok(());
        }
        self.with(|driven| driven.doing = Doing::Idle).await?;
        Ok(ended?)
    }

    /// Gives the device what has come of an image, chunk by chunk. Whether it wants more.
    async fn pass(&self, giving: &mut Giving, piece: &[u8]) -> Result<bool, Over> {
        let skipped = giving.skip.min(piece.len());
        giving.skip = giving.skip.saturating_sub(skipped);
        let mut left = piece.get(skipped..).unwrap_or_default();
        while !left.is_empty() {
            let room = MAX_CHUNK_BYTES.saturating_sub(giving.chunk.len()).min(left.len());
            let (now, later) = left.split_at_checked(room).unwrap_or((left, &[]));
            giving.chunk.extend_from_slice(now);
            left = later;
            if giving.chunk.len() >= MAX_CHUNK_BYTES && !self.give(giving).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the device has taken a delta. Where it has not, the full package is always there.
    async fn bring_delta(&self, base: &str, shortcut: Shortcut) -> Result<bool, Over> {
        let path = places::target(base, &shortcut.file.target().file_name(&shortcut.file.path));
        let delta = match self.file(&path, None, shortcut.file.length).await {
            Err(Over::Missing(_)) => return Ok(false),
            delta => delta?,
        };
        let taken = self
            .with(move |driven| {
                let taken = driven.device.take_delta(&shortcut, &delta);
                if !matches!(taken, Ok(Err(_))) {
                    driven.doing = Doing::Idle;
                }
                taken
            })
            .await??;
        Ok(taken.inspect_err(|error| tracing::info!(%error, "a delta is of no use")).is_ok())
    }

    /// Gives the device the next bytes of an image, and goes to the place behind them. Whether it wants more.
    async fn give(&self, giving: &mut Giving) -> Result<bool, Over> {
        let (position, bytes) = (giving.at, core::mem::take(&mut giving.chunk));
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let taken = self
            .with(move |driven| {
                // Held up meanwhile, such as by a therapy: the rest comes later.
                if !matches!(driven.doing, Doing::WantsImage { .. }) {
                    return Err(DeviceError::NotWanted("more of an image"));
                }
                driven.device.take_image(position, &bytes, clock::now().as_secs())
            })
            .await?;
        match taken {
            Ok(()) => {
                giving.at = giving.at.saturating_add(length);
                Ok(true)
            }
            Err(DeviceError::NotWanted(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Brings a file that the server has added.
    pub(super) async fn bring_added(&self, added: &Added) -> Result<(), Over> {
        let name = added.file.target().file_name(&added.file.path);
        let path = places::target(&places::director(&self.member.identity.device), &name);
        let bytes = self.file(&path, Some(self.ticket.as_str()), added.file.length).await?;
        let hash = added.file.sha256;
        self.with(move |driven| {
            driven.doing = Doing::Idle;
            driven.device.take_added(hash, &bytes, clock::now().as_secs())
        })
        .await??;
        Ok(())
    }
}

impl Kept {
    fn carry_out(&mut self, repository: &Repository, commands: Vec<Command>) {
        let (stored, newer) = match repository {
            Repository::Director => (&mut self.director, &mut self.newer.0),
            Repository::Image(_) => (&mut self.images, &mut self.newer.1),
        };
        for command in commands {
            match command {
                Command::Store(File::Root, bytes) => {
                    newer.push(bytes.clone());
                    stored.root = bytes;
                }
                Command::Store(File::Timestamp, bytes) => stored.timestamp = Some(bytes),
                Command::Store(File::Snapshot, bytes) => stored.snapshot = Some(bytes),
                Command::Store(File::Targets(role), bytes) => drop(stored.targets.insert(role, bytes)),
                Command::Delete(File::Timestamp) => stored.timestamp = None,
                Command::Delete(File::Snapshot) => stored.snapshot = None,
                Command::Delete(File::Targets(role)) => drop(stored.targets.remove(&role)),
                // A root is never deleted.
                Command::Delete(File::Root) => {}
            }
        }
    }
}
