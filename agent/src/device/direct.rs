//! A device that does without a gateway: the session with the distribution server that a gateway has, with itself as its only device
//! (`wardlink pump --direct`).
//!
//! It verifies both repositories in full, as a gateway does ([`Full`]), and hands on to the device what came of it, which verifies its
//! part once more and remembers ([`Device::offer`]). The trusted metadata of a run is kept in memory: after a restart it begins at the
//! roots that the device has stored, and the versions that the device has seen keep older metadata from coming back.
//!
//! Its stored data it sends to the server itself (`records`), and deletes on the server's receipt.
//!
//! Whoever has the device lends it for one step at a time ([`Work`]), and calls [`Device::go_on`] by itself.

mod records;

use super::disk::Folder;
use super::handover::Handover;
use super::image::MAX_CHUNK_BYTES;
use super::records::RecordsError;
use super::trusted::News;
use super::{Device, DeviceError, Doing, Offer, Offered};
use crate::clock;
use crate::gateway::http::{Asked, Http, HttpError};
use crate::gateway::session::{Connection, Ended, PING_EVERY, Sent};
use crate::link::Backoff;
use crate::pump::Membership;
use crate::tuf::{quoted, quoted_path};
use hyper::StatusCode;
use p256::ecdsa::SigningKey;
use p256::pkcs8::DecodePrivateKey as _;
use serde_bytes::ByteBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use wardlink_protocol::distribution::{Answer, DirectorRoot, FromServer, Welcome};
use wardlink_update::client::{Command, Fetched, File, Stored, Wanted};
use wardlink_update::director::{Added, Directive};
use wardlink_update::key::Key;
use wardlink_update::metadata::{Draft, Expires, RoleName, Version};
use wardlink_update::package::Manufacturer;
use wardlink_update::report::ConfigurationReport;
use wardlink_update::uptane::{Bound, Full, Handed, HandedOn, Next, Refused, Repository, Shortcut};
use zeroize::Zeroizing;

/// How often it looks what the device wants.
const LOOKED_AT: Duration = Duration::from_millis(200);
/// The first and the longest pause before a new session.
const RECONNECT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(2));
/// How long a session lasts at least that the pauses begin anew after.
const GOOD_SESSION: Duration = Duration::from_mins(1);
/// How long a report counts, in seconds.
const REPORT_SECS: u64 = 24 * 60 * 60;

/// A device that somebody drives, and what it wants at the moment.
pub struct Driven {
    /// The device.
    pub device: Device<Folder>,
    /// What [`Device::go_on`] has said last.
    pub doing: Doing,
    /// The device's stored data; none where it stores nothing.
    pub handover: Option<Handover<Folder>>,
}

/// One step with the device.
pub type Work = Box<dyn FnOnce(&mut Driven) + Send>;

/// Why a session does not come about, or ends.
#[derive(Debug, thiserror::Error)]
enum Over {
    /// Whoever has the device has gone.
    #[error("the device is gone")]
    Gone,
    /// The session.
    #[error(transparent)]
    Session(#[from] Ended),
    /// A file of the server.
    #[error("the server: {0}")]
    Http(#[from] HttpError),
    /// The server lacks what it directs.
    #[error("the server has no {0}")]
    Missing(String),
    /// The device's own part.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The device's stored data.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// Our fault: no report or notification can be made.
    #[error("nothing can be told: {0}")]
    Unsaid(String),
}

/// The metadata of this run.
struct Kept {
    manufacturer: Manufacturer,
    director: Stored,
    images: Stored,
    /// Newer roots than the device's: the director's, the manufacturer's.
    newer: (Vec<Vec<u8>>, Vec<Vec<u8>>),
}

struct Direct<'a> {
    works: &'a mpsc::Sender<Work>,
    member: Membership,
    http: Http,
    ticket: Zeroizing<String>,
    kept: Option<Kept>,
    /// The shorter way to the image that the device wants.
    shortcut: Option<Shortcut>,
}

/// Keeps a session with the server as long as the device is paired, until nobody takes its work any more.
pub async fn run(works: mpsc::Sender<Work>, mut membership: watch::Receiver<Option<Membership>>) {
    let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
    loop {
        let member = membership.borrow_and_update().clone();
        let Some(member) = member else {
            if membership.changed().await.is_err() {
                return;
            }
            continue;
        };
        let begun = Instant::now();
        let ended = tokio::select! {
            ended = session(&works, member) => ended,
            changed = membership.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        match ended {
            Over::Gone => return,
            error => tracing::warn!(%error, "the session with the distribution server ended"),
        }
        if begun.elapsed() >= GOOD_SESSION {
            backoff.reset();
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}

/// One session, until it is over.
async fn session(works: &mpsc::Sender<Work>, member: Membership) -> Over {
    let (connection, welcome) = match Connection::begin(&member).await {
        Ok(begun) => begun,
        Err(ended) => return ended.into(),
    };
    let http = Http::new(Arc::clone(&member.endpoint), Arc::clone(&member.identity));
    let ticket = welcome.ticket.to_text();
    let direct = Direct { works, member, http, ticket, kept: None, shortcut: None };
    match direct.talk(*connection, &welcome).await {
        Err(over) => over,
        Ok(never) => match never {},
    }
}

impl Direct<'_> {
    /// One step with the device.
    async fn with<T: Send + 'static>(&self, act: impl FnOnce(&mut Driven) -> T + Send + 'static) -> Result<T, Over> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |driven| drop(answer.send(act(driven))));
        self.works.send(work).await.map_err(|_| Over::Gone)?;
        answered.await.map_err(|_| Over::Gone)
    }

    async fn talk(mut self, mut connection: Connection, welcome: &Welcome) -> Result<core::convert::Infallible, Over> {
        self.introduce(welcome).await?;
        self.with(|driven| driven.handover.as_mut().map(|handover| handover.records.interrupted())).await?;
        let (mut seen, mut report_due, mut round_due) = (welcome.reported, true, welcome.directive > 0);
        let mut look = interval(LOOKED_AT);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ping = Instant::now() + PING_EVERY;
        loop {
            if report_due && !connection.waits_for(|sent| matches!(sent, Sent::Report(_))) {
                report_due = false;
                let (counter, report) = self.report(seen).await?;
                connection.report(counter, report).await?;
            }
            if !connection.waits_for(|sent| matches!(sent, Sent::Outcome(_))) {
                let first = self.with(|driven| driven.device.outcomes().first().cloned()).await?;
                if let Some(first) = first {
                    let json = serde_json::to_vec(&first).map_err(|error| Over::Unsaid(error.to_string()))?;
                    connection.outcome(0, ByteBuf::from(json)).await?;
                }
            }
            self.send_records(&mut connection).await?;
            let message = tokio::select! {
                message = connection.receive() => Some(message?),
                _ = look.tick() => None,
            };
            match message {
                Some(FromServer::Receipt(receipt)) => self.receipt(receipt).await?,
                Some(FromServer::Answer(answer)) => match (connection.answered(answer.number), answer.refused) {
                    (Some(Sent::Records(of)), Some(refused)) => self.records_refused(of.1, refused).await?,
                    (Some(Sent::Outcome(_)), _) => {
                        self.with(|driven| driven.device.told(1)).await??;
                        report_due = true;
                    }
                    (Some(Sent::Report(counter)), None) => seen = counter,
                    (Some(Sent::Report(_)), Some(refused)) => {
                        tracing::warn!(step = refused.step, reason = refused.reason, "the server refused a report");
                    }
                    _ => {}
                },
                Some(message) => {
                    let (number, refused) = match message {
                        FromServer::Directive(heard) => {
                            round_due = true;
                            (heard.number, None)
                        }
                        FromServer::Report(wanted) => {
                            report_due = true;
                            (wanted.number, None)
                        }
                        FromServer::Devices(listed) => (listed.number, None),
                        FromServer::Send(wanted) => (wanted.number, self.records_wanted(wanted.message).await?),
                        FromServer::Answer(_) | FromServer::Welcome(_) | FromServer::Receipt(_) => continue,
                    };
                    connection.answer(Answer { number, refused }).await?;
                }
                None => {
                    if core::mem::take(&mut round_due) {
                        self.round().await?;
                    }
                    self.bring().await?;
                    if ping <= Instant::now() {
                        ping = Instant::now() + PING_EVERY;
                        connection.ping().await?;
                    }
                }
            }
        }
    }

    /// The first session of a site: the server has proved that it speaks for the control unit, and says whose root directs. A device
    /// that knows one already follows only that one.
    async fn introduce(&self, welcome: &Welcome) -> Result<(), Over> {
        let (device, root) = (self.member.identity.device.clone(), welcome.director_root.clone());
        let given = DirectorRoot { device, issued_at: clock::now(), root };
        self.with(move |driven| match driven.device.trusted().map(|trusted| trusted.roots().1.is_some()) {
            Some(false) => match driven.device.directed_by(&given) {
                Err(DeviceError::Director(refused)) => {
                    tracing::warn!(%refused, "the site's director is not taken");
                    Ok(())
                }
                other => other,
            },
            _ => Ok(()),
        })
        .await??;
        Ok(())
    }

    /// The report of a device that is its own gateway; its counter is stored before.
    async fn report(&self, seen: Version) -> Result<(Version, Vec<u8>), Over> {
        let unsaid = |what: &dyn core::fmt::Display| Over::Unsaid(what.to_string());
        let (counter, state) = self
            .with(move |driven| driven.device.count_report(seen).map(|counter| (counter, driven.device.state())))
            .await??;
        let expires = Expires::at(clock::now().as_secs().saturating_add(REPORT_SECS));
        let report = ConfigurationReport::new(counter, expires, state, Vec::new());
        let key = self.member.identity.key.to_pkcs8().map_err(|error| unsaid(&error))?;
        let key = SigningKey::from_pkcs8_der(&key).map_err(|error| unsaid(&error))?;
        let id = Key::ecdsa_p256(key.verifying_key()).map_err(|error| unsaid(&error))?.id();
        let mut draft = Draft::new(&report).map_err(|error| unsaid(&error))?;
        draft.sign(id, &key);
        Ok((counter, draft.to_bytes()))
    }

    /// Verifies both repositories in full, and hands on what came of it.
    async fn round(&mut self) -> Result<(), Over> {
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
        let Some((manufacturer, director, images)) = fresh else { return Ok(()) };
        let newer = (Vec::new(), Vec::new());
        let mut kept = self.kept.take().unwrap_or(Kept { manufacturer, director, images, newer });
        let device = self.member.identity.device.clone();
        let key = self.member.identity.key.public().fingerprint().ok();
        let bound = Bound { gateway: device.clone(), key, present: vec![state] };
        let known = [(kept.manufacturer.clone(), kept.images.clone())].into();
        let full = match Full::start(bound, kept.director.clone(), known, clock::now().as_secs()) {
            Ok(full) => full,
            Err(refused) => return self.refused(refused).await,
        };
        let verified = self.verify(full, &mut kept).await?;
        let (full, installs) = match verified {
            Ok(verified) => verified,
            Err(refused) => return self.refused(refused).await,
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
        self.shortcut = install.and_then(|install| install.shortcut.clone());
        let Some((server, manufacturer, delegator)) = handed else {
            self.kept = Some(kept);
            return Ok(());
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
        if !matches!(offered, Offered::Refused(_)) {
            kept.newer = (Vec::new(), Vec::new());
            self.kept = Some(kept);
        }
        Ok(())
    }

    async fn verify(
        &self,
        mut full: Full,
        kept: &mut Kept,
    ) -> Result<Result<(Full, Vec<wardlink_update::uptane::Install>), Refused>, Over> {
        loop {
            match full.next() {
                Next::Fetch(repository, wanted) => {
                    let fetched = self.metadata(&repository, &wanted).await?;
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

    fn director(&self) -> String {
        let device = &self.member.identity.device;
        format!("/api/gateways/{}/{}/director", device.client, device.identifier)
    }

    async fn metadata(&self, repository: &Repository, wanted: &Wanted) -> Result<Fetched, Over> {
        let (base, bearer) = match repository {
            Repository::Director => (self.director(), Some(self.ticket.as_str())),
            Repository::Image(manufacturer) => (format!("/api/repositories/{manufacturer}"), None),
        };
        let version = wanted.version.map(|version| format!("{version}.")).unwrap_or_default();
        let path = format!("{base}/metadata/{version}{}", quoted(&wanted.file.name()));
        match self.file(&path, bearer, wanted.max_bytes).await {
            Ok(bytes) => Ok(Fetched::Bytes(bytes)),
            Err(Over::Missing(_)) => Ok(Fetched::Missing),
            Err(over) => Err(over),
        }
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

    /// Brings what the device wants.
    async fn bring(&mut self) -> Result<(), Over> {
        match self.with(|driven| driven.doing.clone()).await? {
            Doing::WantsImage { position, .. } => self.bring_image(position).await,
            Doing::WantsAdded(added) => self.bring_added(&added).await,
            _ => Ok(()),
        }
    }

    async fn bring_image(&mut self, position: u64) -> Result<(), Over> {
        let job = self.with(|driven| driven.device.job().cloned()).await?;
        let Some(job) = job else { return Ok(()) };
        let base = format!("/api/repositories/{}/targets", job.package.manufacturer);
        if let Some(shortcut) = self.shortcut.take().filter(|_| position == 0) {
            let name = shortcut.file.target().file_name(&shortcut.file.path);
            let path = format!("{base}/{}", quoted_path(&name));
            let delta = self.file(&path, None, shortcut.file.length).await?;
            let taken = self
                .with(move |driven| {
                    driven.doing = Doing::Idle;
                    driven.device.take_delta(&shortcut, &delta)
                })
                .await??;
            // The full package is always there.
            match taken {
                Ok(()) => return Ok(()),
                Err(error) => tracing::info!(%error, "a delta is of no use"),
            }
        }
        let path = format!("{base}/{}", quoted_path(&job.target.file_name(&job.path)));
        let answer = self.http.get(Asked { path: &path, bearer: None, etag: None, from: position }).await?;
        let from = match answer.status {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT => answer.from,
            StatusCode::NOT_FOUND | StatusCode::GONE => return Err(Over::Missing(job.path.to_string())),
            status => return Err(HttpError::Status(status).into()),
        };
        let mut came = Vec::new();
        let read = answer
            .read(job.target.length.saturating_sub(from), |piece| {
                came.extend_from_slice(piece);
                Ok::<_, HttpError>(())
            })
            .await;
        // What came counts, also where the rest was cut off.
        let skipped = usize::try_from(position.saturating_sub(from)).unwrap_or(usize::MAX);
        let mut at = position;
        for chunk in came.get(skipped..).unwrap_or_default().chunks(MAX_CHUNK_BYTES) {
            let (bytes, length) = (chunk.to_vec(), u64::try_from(chunk.len()).unwrap_or(0));
            let taken = self
                .with(move |driven| {
                    // Held up meanwhile, such as by a therapy: the rest comes later.
                    if !matches!(driven.doing, Doing::WantsImage { .. }) {
                        return Err(DeviceError::NotWanted("more of an image"));
                    }
                    driven.device.take_image(at, &bytes, clock::now().as_secs())
                })
                .await?;
            match taken {
                Ok(()) => at = at.saturating_add(length),
                Err(DeviceError::NotWanted(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.with(|driven| driven.doing = Doing::Idle).await?;
        Ok(read?)
    }

    async fn bring_added(&self, added: &Added) -> Result<(), Over> {
        let name = added.file.target().file_name(&added.file.path);
        let path = format!("{}/targets/{}", self.director(), quoted_path(&name));
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
