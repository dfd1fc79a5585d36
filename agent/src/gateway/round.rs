//! One round of updates: the directive and the manufacturers' metadata are verified in full, images are brought, and what may be
//! installed is installed (Distribution, figure 12).
//!
//! Where the server is away, the round goes by what is stored, as long as it counts.

use super::change_over::Changed;
use super::delivery::{AddedFiles, Undelivered};
use super::devices::Passive;
use super::http::{Asked, Http, HttpError};
use super::newer::Heard;
use super::preparing::Unprepared;
use super::store::{Attack, ChangeOverPhase, Directives, Journal, Poll, Seen, StoreError, Work};
use super::troubles::Source;
use super::{GatewayError, Shared, places};
use crate::clock;
use crate::pump::Membership;
use hyper::StatusCode;
use rand::RngExt as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use wardlink_protocol::Device;
use wardlink_protocol::identity::Sha256;
use wardlink_update::client::{Fetched, File, Stored};
use wardlink_update::director::{Directive, When};
use wardlink_update::metadata::{RoleName, Version};
use wardlink_update::package::Note;
use wardlink_update::uptane::{
    Attack as AttackKind, Bound, Circumstances, Full, Install, Next, Notification, Outcome, Postponed, Refused,
    Repository, Then, Transaction, rests,
};
use zeroize::Zeroizing;

/// When it is looked again whether a device that waits may begin.
pub(super) const LOOK_AGAIN_SECS: u64 = 30;
/// When a file is asked for again that could not be had, on average.
const UNREACHABLE_SECS: u64 = 60;
/// When a directive that was refused is verified again: its repositories may have been put right.
const REFUSED_SECS: u64 = 60 * 60;

/// An install whose image is in the cache, with what the server adds to it.
pub(super) type Ready<'a> = (&'a Install, PathBuf, AddedFiles);

/// What was verified, and what may be installed of it.
type Verified = (Box<Full>, Vec<Transaction>);

/// How a round has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RoundEnd {
    /// When to look again, seconds since 1970; none: nothing waits.
    pub(super) again_at: Option<u64>,
    /// Whether the server does not take the ticket any more.
    pub(super) is_denied: bool,
}

impl RoundEnd {
    pub(super) fn again(&mut self, at: u64) {
        self.again_at = Some(self.again_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// What an idle poll has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Polled {
    /// The timestamp is the one that was seen.
    Nothing,
    /// There is another one.
    New,
    /// The ticket does not count any more.
    Denied,
}

/// A round under way.
pub(super) struct Round<'a> {
    pub(super) shared: &'a Shared,
    pub(super) http: Http,
    pub(super) mirror: Option<(Http, String)>,
    pub(super) member: Membership,
    ticket: Option<Zeroizing<String>>,
    /// When the round began: what is verified is verified as of then (TUF section 5.1), and nothing else.
    begun: u64,
    /// What was heard of when it began.
    pub(super) known: Heard,
}

/// Now, in seconds since 1970: a round may take its time.
pub(super) fn now() -> u64 {
    clock::now().as_secs()
}

/// When it is tried again what could not be done, in seconds since 1970: after half the time to one and a half, so that a thousand gateways don't
/// come at once.
pub(super) fn try_again_at() -> u64 {
    let pause = rand::rng().random_range(UNREACHABLE_SECS / 2..=UNREACHABLE_SECS + UNREACHABLE_SECS / 2);
    now().saturating_add(pause)
}

impl<'a> Round<'a> {
    pub(super) fn new(shared: &'a Shared, member: &Membership) -> Result<Self, GatewayError> {
        let http = |endpoint| Http::new(endpoint, Arc::clone(&member.identity));
        let mirror = shared.settings.mirror.as_ref();
        let mirror = mirror.map(|mirror| (http(Arc::clone(&mirror.endpoint)), mirror.path.clone()));
        let poll = shared.store.value::<Poll>()?;
        Ok(Self {
            shared,
            http: http(Arc::clone(&member.endpoint)).keeping_time(Arc::clone(&shared.time)),
            mirror,
            member: member.clone(),
            ticket: poll.map(|poll| poll.ticket.to_text()),
            begun: clock::now().as_secs(),
            known: Heard::now(&shared.store)?,
        })
    }

    /// What shows who asks. Whether it counts still, the server says, whose clock is right.
    pub(super) fn bearer(&self) -> Option<&str> {
        self.ticket.as_ref().map(|ticket| ticket.as_str())
    }

    /// Where this gateway's director repository is.
    pub(super) fn director(&self) -> String {
        places::director(&self.member.identity.device)
    }

    /// An idle poll: whether there is a newer timestamp than the one that was seen last.
    pub(super) async fn poll(&self) -> Result<Polled, GatewayError> {
        // Without a ticket yet, it hears that it needs one, and the server's time.
        let etag = self.shared.store.value::<Poll>()?.and_then(|poll| poll.etag);
        let url = format!("{}/metadata/timestamp.json", self.director());
        let asked = Asked { path: &url, bearer: self.bearer(), etag: etag.as_deref(), from: 0 };
        let answer = self.http.get(asked).await.map_err(|error| GatewayError::Server(error.to_string()))?;
        match answer.status {
            StatusCode::NOT_MODIFIED => Ok(Polled::Nothing),
            StatusCode::OK => {
                let is_new = answer.etag.is_none() || answer.etag != etag;
                // A session may have brought another ticket meanwhile: that one stays.
                self.shared.store.change(|change| match change.value::<Poll>()? {
                    Some(poll) => change.set(&Poll { etag: answer.etag, ..poll }),
                    None => Ok(()),
                })?;
                Ok(if is_new { Polled::New } else { Polled::Nothing })
            }
            // A ticket that does not count any more: a session brings another one.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Ok(Polled::Denied),
            status => Err(GatewayError::Server(HttpError::Status(status).to_string())),
        }
    }

    /// The whole round. What it does not find again of what did not work before works.
    pub(super) async fn run(&self) -> Result<RoundEnd, GatewayError> {
        let began = self.shared.troubles.begin();
        let end = self.work().await?;
        self.shared.troubles.end(Source::Round, began);
        Ok(end)
    }

    async fn work(&self) -> Result<RoundEnd, GatewayError> {
        let mut end = RoundEnd::default();
        match self.shared.change_over()? {
            Changed::Stuck => {
                end.again(try_again_at());
                return Ok(end);
            }
            Changed::Restart => return Err(GatewayError::Restart),
            Changed::Nothing | Changed::Ended => {}
        }
        self.shared.go_on_with_sets(&mut end)?;
        self.shared.remember_devices()?;
        let directives: Directives = self.shared.store.value()?.unwrap_or_default();
        let verified = self.verify(directives.heard, &mut end).await?;
        if end.is_denied && self.has_newer_ticket()? {
            // A session has brought another one meanwhile.
            return Ok(RoundEnd { again_at: Some(now()), is_denied: false });
        }
        let Some((full, transactions)) = verified else { return Ok(end) };
        let Some(version) = self.verified_version()? else { return Ok(end) };
        self.change_directives(|known| Directives {
            heard: known.heard.max(version),
            verified: known.verified.max(version),
            ..known
        })?;
        let mut waits = false;
        for transaction in &transactions {
            waits |= self.install(&full, transaction, version, &mut end).await?;
        }
        self.take_back(&transactions, &mut end).await?;
        if waits {
            self.delete_replaced(&transactions)?;
        } else {
            self.change_directives(|known| Directives { done: known.done.max(version), ..known })?;
            self.delete_replaced(&[])?;
        }
        Ok(end)
    }

    /// What was heard of while something was waited for stays heard of.
    fn change_directives(&self, change: impl FnOnce(Directives) -> Directives) -> Result<(), StoreError> {
        self.shared.store.change(|stored| stored.set(&change(stored.value()?.unwrap_or_default())))
    }

    /// Verifies both repositories in full (256 and 257); none where it was refused, or is to be tried later.
    async fn verify(&self, heard: Version, end: &mut RoundEnd) -> Result<Option<Verified>, GatewayError> {
        let store = &self.shared.store;
        let Some(director) = store.stored(&Repository::Director)? else { return Ok(None) };
        let mut stored = BTreeMap::from([(Repository::Director, director.clone())]);
        let mut images = BTreeMap::new();
        for manufacturer in store.manufacturers()? {
            let repository = Repository::Image(manufacturer.clone());
            if let Some(of) = store.stored(&repository)? {
                images.insert(manufacturer, of.clone());
                stored.insert(repository, of);
            }
        }
        let key = self.member.identity.key.public().fingerprint().ok();
        let gateway = self.member.identity.device.clone();
        let bound = Bound { gateway, key, present: self.shared.present()? };
        let mut full = match Full::start(bound, director, images, self.begun) {
            Ok(full) => full,
            Err(refused) => return self.refused(&refused, heard, end).map(|()| None),
        };
        let (ticket, mut is_offline) = (self.bearer(), false);
        loop {
            match full.next() {
                Next::Fetch(repository, wanted) => {
                    let from_store = || stored.get(&repository).map_or(Fetched::Missing, |of| kept(of, &wanted.file));
                    let fetched = if is_offline {
                        None
                    } else {
                        let gateway = &self.member.identity.device;
                        Some(places::metadata(&self.http, gateway, ticket, &repository, &wanted).await)
                    };
                    let fetched = match fetched {
                        Some(Ok(fetched)) => fetched,
                        Some(Err(error)) => {
                            self.shared.troubles.find(Source::Round, "files", error.to_string());
                            is_offline = true;
                            let denials = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
                            end.is_denied |= matches!(error, HttpError::Status(status) if denials.contains(&status));
                            end.again(try_again_at());
                            // What is stored belongs together; to what has come of a repository meanwhile it does not.
                            if wanted.file != File::Root {
                                return Ok(None);
                            }
                            from_store()
                        }
                        None => from_store(),
                    };
                    if fetched == Fetched::Missing && is_offline && wanted.file != File::Root {
                        // Not what a repository lacks, but what is not here yet.
                        return Ok(None);
                    }
                    match full.receive(fetched) {
                        Ok((repository, commands)) => store.carry_out(&repository, &commands)?,
                        // What is stored of one repository may be older than what is stored of another: that is nobody's fault.
                        Err(_) if is_offline => return Ok(None),
                        Err(refused) => return self.refused(&refused, heard, end).map(|()| None),
                    }
                }
                Next::Verified(transactions) => return Ok(Some((Box::new(full), transactions))),
                Next::Refused => return Ok(None),
            }
        }
    }

    /// A refusal is told once, and noted as what may be an attack.
    fn refused(&self, refused: &Refused, directive: Version, end: &mut RoundEnd) -> Result<(), GatewayError> {
        tracing::warn!(%refused, "an update is refused");
        self.shared.troubles.find(Source::Round, "updates", refused.to_string());
        end.again(now().saturating_add(REFUSED_SECS));
        let outcome = Outcome::refused(refused);
        let gateway = &self.member.identity.device;
        // At a wrong time, what counts seems to have ended.
        let seems_so = refused.attack() == Some(AttackKind::Freeze) && self.shared.time.is_in_doubt();
        if refused.attack().is_some()
            && !seems_so
            && let Outcome::Refused { reason, .. } = &outcome
        {
            self.note_attack(reason)?;
        }
        self.tell(gateway, directive, None, outcome)
    }

    /// The same one again is no news; another one has yet to be reported.
    fn note_attack(&self, note: &Note) -> Result<(), StoreError> {
        self.shared.store.change(|change| match change.value::<Attack>()?.unwrap_or_default().seen {
            Some(seen) if seen.note == *note => Ok(()),
            _ => {
                let seen = Seen { note: note.clone(), since: clock::now(), reported_in: None };
                change.set(&Attack { seen: Some(seen) })
            }
        })
    }

    /// Tells the server what became of something, unless that is what it was told last. Only what is postponed waits from now on.
    pub(super) fn tell(
        &self,
        device: &Device,
        directive: Version,
        install: Option<&Install>,
        outcome: Outcome,
    ) -> Result<(), GatewayError> {
        let path = install.map(|install| &install.path);
        self.shared.store.change(|change| {
            let work = change.work(device, directive)?;
            let said = format!("{outcome:?} {path:?} {}", work.retries);
            let is_new = work.told.as_ref() != Some(&said);
            let postponed = match &outcome {
                Outcome::Postponed(why) => Some(*why),
                _ => None,
            };
            let offered = install.filter(|_| postponed.is_some()).map(|install| install.package.post_revision.clone());
            let next = Work { told: Some(said), postponed, offered, ..work.clone() };
            if next != work {
                change.set_work(device, &next)?;
            }
            if is_new {
                let path = path.cloned();
                change.tell(&Notification { device: device.clone(), directive, path, outcome })?;
            }
            Ok(())
        })?;
        Ok(())
    }

    fn has_newer_ticket(&self) -> Result<bool, GatewayError> {
        let newest = self.shared.store.value::<Poll>()?.map(|poll| poll.ticket.to_text());
        Ok(newest != self.ticket)
    }

    /// The version of the directive that is stored, and so verified.
    fn verified_version(&self) -> Result<Option<Version>, GatewayError> {
        let stored = self.shared.store.stored(&Repository::Director)?.unwrap_or_default();
        let directive = stored.targets.get(&RoleName::targets());
        Ok(directive.and_then(|bytes| Directive::parse(bytes).ok()).map(|(_, directed)| directed.version))
    }

    /// Brings and installs one transaction. Returns whether something of it still waits.
    async fn install(
        &self,
        full: &Full,
        transaction: &Transaction,
        version: Version,
        end: &mut RoundEnd,
    ) -> Result<bool, GatewayError> {
        let store = &self.shared.store;
        if self.is_held(transaction)? {
            return Ok(true);
        }
        let verifying = self.verifying(transaction)?;
        for install in &transaction.installs {
            let work = store.work(&install.device, version)?;
            if work.ended && !verifying.is_empty() && is_of_a_set(transaction) {
                return self.end_set_of(transaction, &verifying, version, end);
            }
            if work.ended {
                return Ok(false);
            }
            if rests(work.not_before, now()) {
                end.again(work.not_before);
                return Ok(true);
            }
        }
        for install in transaction.installs.iter().filter(|install| verifying.contains(&install.device)) {
            self.ask_ahead(install).await;
            self.look_at_suspect(install, version).await?;
        }
        let mut ready = Vec::new();
        for install in &transaction.installs {
            self.shared.events.begins(install, version);
            let delivered = tokio::select! {
                delivered = self.bring(install) => delivered,
                overtaken = self.overtaken(version) => {
                    overtaken?;
                    return self.gives_way(end);
                }
            };
            match delivered {
                Ok((image, added)) => ready.push((install, image, added)),
                Err(error) => return self.undelivered(transaction, install, version, error, end),
            }
        }
        // What comes next changes devices: a recall that was heard of meanwhile counts before.
        if self.is_overtaken(version)? {
            return self.gives_way(end);
        }
        self.shared.learn_directed(&ready)?;
        if let ([one], [_], false) = (&ready[..], &verifying[..], is_of_a_set(transaction)) {
            return match self.hand_on(full, one, end).await? {
                Ok(()) => Ok(true),
                Err(why) => self.failed(transaction, version, &why).map(|()| false),
            };
        }
        if !verifying.is_empty() {
            return self.install_set(full, (transaction, &verifying, &ready), version, end).await;
        }
        if let Err((device, why)) = self.may_begin(transaction, version)? {
            return self.postponed(transaction, &device, why, version, end);
        }
        if store.value::<Journal>()?.is_some() {
            // One that is stuck comes to its end first.
            end.again(try_again_at());
            return Ok(true);
        }
        match self.prepare(transaction, &ready) {
            Ok(parts) => {
                // To write the images takes its time, too: what counts is how things stand when the devices change over.
                if let Err((device, why)) = self.may_begin(transaction, version)? {
                    return self.postponed(transaction, &device, why, version, end);
                }
                let reason = String::new();
                store.set(&Journal { directive: version, phase: ChangeOverPhase::Commit, reason, parts })?;
                match self.shared.change_over()? {
                    Changed::Stuck => {
                        end.again(try_again_at());
                        return Ok(true);
                    }
                    Changed::Restart => return Err(GatewayError::Restart),
                    Changed::Nothing | Changed::Ended => {}
                }
            }
            Err(Unprepared::NotNow(device, why)) => return self.not_now(transaction, (&device, &why), version, end),
            Err(Unprepared::Failed(reason)) => self.failed(transaction, version, &reason)?,
        }
        Ok(false)
    }

    /// Whether an installation may begin now, or which device holds it up.
    pub(super) fn may_begin(
        &self,
        transaction: &Transaction,
        version: Version,
    ) -> Result<Result<(), (Device, Postponed)>, StoreError> {
        let mut confirmed = BTreeSet::new();
        for install in &transaction.installs {
            if self.shared.store.work(&install.device, version)?.confirmed {
                confirmed.insert(&install.device);
            }
        }
        let now = now();
        Ok(transaction.may_begin(|device| {
            // It says no more than that: what may be a therapy is taken for one.
            let is_busy = self.shared.device(device).is_some_and(Passive::is_busy);
            let is_confirmed = confirmed.contains(device);
            Circumstances { now, therapy_runs: is_busy, is_safe: !is_busy, is_confirmed }
        }))
    }

    pub(super) fn postponed(
        &self,
        transaction: &Transaction,
        device: &Device,
        why: Postponed,
        version: Version,
        end: &mut RoundEnd,
    ) -> Result<bool, GatewayError> {
        let (install, now) = (transaction.installs.iter().find(|install| install.device == *device), now());
        let again_at = match install.map(|install| install.when) {
            Some(When::Window { from, until: _ }) if from > now => from,
            Some(When::Window { until, .. }) if until <= now => now.saturating_add(REFUSED_SECS),
            _ => now.saturating_add(LOOK_AGAIN_SECS),
        };
        end.again(again_at);
        self.tell(device, version, install, Outcome::Postponed(why))?;
        for other in transaction.installs.iter().filter(|install| install.device != *device) {
            self.waits_no_more(&other.device, version)?;
        }
        Ok(true)
    }

    /// Whatever the device waited for, it is not that any more.
    fn waits_no_more(&self, device: &Device, version: Version) -> Result<(), StoreError> {
        let work = self.shared.store.work(device, version)?;
        if work.postponed.is_none() {
            return Ok(());
        }
        self.shared.store.change(|change| {
            let work = change.work(device, version)?;
            change.set_work(device, &Work { postponed: None, offered: None, ..work })
        })
    }

    fn undelivered(
        &self,
        transaction: &Transaction,
        install: &Install,
        version: Version,
        error: Undelivered,
        end: &mut RoundEnd,
    ) -> Result<bool, GatewayError> {
        let device = &install.device;
        match error {
            // What else is stored here goes on: the part of it that is there gives its room back.
            full @ Undelivered::NoRoom => {
                for sha256 in transaction.installs.iter().flat_map(files_of) {
                    self.shared.packages.forget_part(&sha256)?;
                }
                self.undelivered(transaction, install, version, Undelivered::Unreachable(full.to_string()), end)
            }
            Undelivered::Store(error) => Err(error.into()),
            Undelivered::Unreachable(why) => self.waits_for(transaction, install.path.to_string(), why, version, end),
            Undelivered::Unusable(why) => {
                self.failed(transaction, version, &format!("{device}: {why}")).map(|()| false)
            }
            // 261: thrown away, and asked for again.
            error @ Undelivered::Corrupt(_) => {
                self.shared.troubles.find(Source::Round, install.path.to_string(), error.to_string());
                self.tell(device, version, Some(install), Outcome::Corrupt)?;
                let work = self.shared.store.change(|change| {
                    let mut work = change.work(device, version)?;
                    match Outcome::Corrupt.then(work.retries) {
                        Then::Retry { after } => {
                            work.retries = work.retries.saturating_add(1);
                            work.not_before = now().saturating_add(after.as_secs());
                        }
                        Then::Done | Then::Wait | Then::Stop => {
                            work.ended = true;
                            change.set_failure(device, Some("the image is corrupt".to_owned()))?;
                        }
                    }
                    change.set_work(device, &work)?;
                    Ok(work)
                })?;
                if !work.ended {
                    end.again(work.not_before);
                }
                if work.ended && transaction.installs.len() > 1 {
                    let why = format!("{device}: the image is corrupt");
                    self.failed(transaction, version, &why)?;
                }
                Ok(!work.ended)
            }
        }
    }

    /// Something is missing that nobody has to look at again: it is tried again by itself.
    pub(super) fn waits_for(
        &self,
        transaction: &Transaction,
        what: String,
        why: String,
        version: Version,
        end: &mut RoundEnd,
    ) -> Result<bool, GatewayError> {
        self.shared.troubles.find(Source::Round, what, why);
        end.again(try_again_at());
        for install in &transaction.installs {
            self.waits_no_more(&install.device, version)?;
        }
        Ok(true)
    }

    /// It could not be installed: told for every device of the transaction, and over until somebody directs anew.
    pub(super) fn failed(&self, transaction: &Transaction, version: Version, reason: &str) -> Result<(), GatewayError> {
        self.shared.store.change(|change| {
            for install in &transaction.installs {
                change.set_work(&install.device, &Work { ended: true, ..Work::new(version) })?;
                let (device, path) = (install.device.clone(), Some(install.path.clone()));
                change.tell(&Notification { device, directive: version, path, outcome: Outcome::failed(reason) })?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Deletes images that no device runs, no transaction needs, and no other device of a model is likely to need (264).
    fn delete_replaced(&self, waiting: &[Transaction]) -> Result<(), GatewayError> {
        let mut needed: BTreeSet<_> = self
            .shared
            .device_states()?
            .into_iter()
            .filter_map(|state| state.image)
            .map(|image| image.sha256)
            .collect();
        needed.extend(waiting.iter().flat_map(|transaction| &transaction.installs).flat_map(files_of));
        let kept = self.shared.kept_for_classes(&needed)?;
        needed.extend(kept);
        Ok(self.shared.packages.keep_only(&self.shared.store, &needed)?)
    }
}

/// The files that an install may need.
fn files_of(install: &Install) -> impl Iterator<Item = Sha256> {
    let shortcut = install.shortcut.iter().map(|shortcut| shortcut.file.sha256);
    let encrypted = install.encrypted.iter().map(|encrypted| encrypted.file.sha256);
    install
        .target
        .sha256()
        .into_iter()
        .chain(shortcut)
        .chain(encrypted)
        .chain(install.added.iter().map(|added| added.file.sha256))
}

/// Whether a transaction is what is left of a set to be installed: one member at least.
fn is_of_a_set(transaction: &Transaction) -> bool {
    transaction.installs.iter().any(|install| !install.package.atomic.is_empty())
}

/// What was stored of a file, in the place of what a repository would answer.
fn kept(stored: &Stored, file: &File) -> Fetched {
    let bytes = match file {
        // There is no newer one here.
        File::Root => None,
        File::Timestamp => stored.timestamp.clone(),
        File::Snapshot => stored.snapshot.clone(),
        File::Targets(role) => stored.targets.get(role).cloned(),
    };
    bytes.map_or(Fetched::Missing, Fetched::Bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_that_reached_nobody_do_not_come_again_all_at_once() {
        let begun = now();
        let pauses: BTreeSet<u64> = (0..200).map(|_| try_again_at().saturating_sub(begun)).collect();
        assert!(pauses.len() > 10, "{pauses:?}");
        assert!(pauses.iter().all(|pause| (30..=91).contains(pause)), "{pauses:?}");
    }
}
