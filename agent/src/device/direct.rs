//! A device that does without a gateway: the session with the distribution server that a gateway has, with itself as its only device
//! (`wardlink pump --direct`).
//!
//! It verifies both repositories in full, as a gateway does ([`wardlink_update::uptane::Full`]), and hands on to the device what came of
//! it, which verifies its part once more and remembers ([`Device::offer`]). The trusted metadata of a run is kept in memory: after a
//! restart it begins at the roots that the device has stored, and the versions that the device has seen keep older metadata from coming
//! back. Images go to the device piece by piece, and the session answers meanwhile (`errand`).
//!
//! Its stored data it sends to the server itself (`records`), and deletes on the server's receipt.
//!
//! Whoever has the device lends it for one step at a time ([`Work`]), and calls [`Device::go_on`] by itself.

mod errand;
mod records;

use super::disk::Folder;
use super::handover::Handover;
use super::{Device, DeviceError, Doing};
use crate::clock;
use crate::gateway::http::{Http, HttpError};
use crate::gateway::report::{Unmade, signed};
use crate::gateway::session::{Connection, Ended, GOOD_SESSION, PING_EVERY, Sent};
use crate::gateway::settings::RECONNECT;
use crate::link::Backoff;
use crate::pump::Membership;
use errand::{Done, Known};
use serde_bytes::ByteBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::distribution::{Answer, DirectorRoot, FromServer, Welcome};
use wardlink_update::metadata::Version;
use zeroize::Zeroizing;

/// How often it looks what the device wants.
const LOOKED_AT: Duration = Duration::from_millis(200);

/// When a directive that was refused is verified again: its repositories may have been put right.
const REFUSED_AGAIN: Duration = Duration::from_hours(1);
/// A clock that was set differs by more than it drifts meanwhile.
const CLOCK_CHANGED: Duration = Duration::from_mins(1);

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
    /// Our fault: no report can be made.
    #[error(transparent)]
    Report(#[from] Unmade),
    /// Our fault: no notification can be made.
    #[error("nothing can be told: {0}")]
    Unsaid(#[from] serde_json::Error),
    /// Our fault: what was done beside the session broke.
    #[error("an errand broke: {0}")]
    Broke(#[from] JoinError),
}

/// What a session and its errands have in common.
#[derive(Clone)]
struct Direct {
    works: mpsc::Sender<Work>,
    member: Membership,
    http: Arc<Http>,
    ticket: Arc<Zeroizing<String>>,
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
            ended = session(&works, member.clone()) => ended,
            changed = member.ends(&mut membership) => match changed {
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

/// Whether what was refused so long ago, when the clock said `then`, is verified once more: an hour has passed, or the clock was set since.
fn is_to_be_verified_again(passed: Duration, then: UnixMillis, now: UnixMillis) -> bool {
    let expected = then.after(passed);
    passed >= REFUSED_AGAIN || expected.since(now).max(now.since(expected)) >= CLOCK_CHANGED
}

/// One session, until it is over.
async fn session(works: &mpsc::Sender<Work>, member: Membership) -> Over {
    let (connection, welcome) = match Connection::begin(&member).await {
        Ok(begun) => begun,
        Err(ended) => return ended.into(),
    };
    let http = Arc::new(Http::new(Arc::clone(&member.endpoint), Arc::clone(&member.identity)));
    let ticket = Arc::new(welcome.ticket.to_text());
    let direct = Direct { works: works.clone(), member, http, ticket };
    match direct.talk(*connection, &welcome).await {
        Err(over) => over,
        Ok(never) => match never {},
    }
}

impl Direct {
    /// One step with the device.
    async fn with<T: Send + 'static>(&self, act: impl FnOnce(&mut Driven) -> T + Send + 'static) -> Result<T, Over> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |driven| drop(answer.send(act(driven))));
        self.works.send(work).await.map_err(|_| Over::Gone)?;
        answered.await.map_err(|_| Over::Gone)
    }

    async fn talk(self, mut connection: Connection, welcome: &Welcome) -> Result<core::convert::Infallible, Over> {
        self.introduce(welcome).await?;
        self.with(|driven| driven.handover.as_mut().map(|handover| handover.records.interrupted())).await?;
        let (mut seen, mut report_due, mut round_due) = (welcome.reported, true, welcome.directive > 0);
        let mut look = interval(LOOKED_AT);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ping = Instant::now() + PING_EVERY;
        // At most one at a time; it ends with the session.
        let mut errands: JoinSet<Result<Done, Over>> = JoinSet::new();
        let mut known = Known::default();
        let (mut telling, mut refused_at) = (None, None::<(Instant, UnixMillis)>);
        loop {
            if report_due && !connection.waits_for(|sent| matches!(sent, Sent::Report(_))) {
                report_due = false;
                let (counter, report) = self.report(seen).await?;
                connection.report(counter, report).await?;
            }
            if !connection.waits_for(|sent| matches!(sent, Sent::Outcome(_))) {
                let first = self.with(|driven| driven.device.outcomes().first().cloned()).await?;
                if let Some(first) = first {
                    connection.outcome(0, ByteBuf::from(serde_json::to_vec(&first)?)).await?;
                    telling = Some(first);
                }
            }
            self.send_records(&mut connection).await?;
            let message = tokio::select! {
                message = connection.receive() => Some(message?),
                Some(done) = errands.join_next() => {
                    if let Done::Verified(verified) = done?? {
                        known = *verified;
                        refused_at = known.was_refused().then_some((Instant::now(), clock::now()));
                    }
                    continue;
                }
                _ = look.tick() => None,
            };
            match message {
                Some(FromServer::Receipt(receipt)) => self.receipt(receipt).await?,
                Some(FromServer::Answer(answer)) => match (connection.answered(answer.number), answer.refused) {
                    (Some(Sent::Records(of)), Some(refused)) => self.records_refused(of.1, refused).await?,
                    (Some(Sent::Outcome(_)), _) => {
                        if let Some(told) = telling.take() {
                            self.with(move |driven| driven.device.told(&told)).await??;
                        }
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
                    if errands.is_empty() {
                        round_due |= refused_at
                            .take_if(|(at, then)| is_to_be_verified_again(at.elapsed(), *then, clock::now()))
                            .is_some();
                        self.begin_errand(&mut errands, &mut known, &mut round_due).await?;
                    }
                    if ping <= Instant::now() {
                        ping = Instant::now() + PING_EVERY;
                        connection.ping().await?;
                    }
                }
            }
        }
    }

    /// A round where one is due, or else what the device wants.
    async fn begin_errand(
        &self,
        errands: &mut JoinSet<Result<Done, Over>>,
        known: &mut Known,
        round_due: &mut bool,
    ) -> Result<(), Over> {
        let direct = self.clone();
        if core::mem::take(round_due) {
            let known = core::mem::take(known);
            errands.spawn(async move { direct.round(known).await.map(|known| Done::Verified(Box::new(known))) });
            return Ok(());
        }
        match self.with(|driven| driven.doing.clone()).await? {
            Doing::WantsImage { position, .. } => {
                let (shortcut, encrypted) = (known.shortcut.take(), known.encrypted.clone());
                let bring = async move { direct.bring_image(position, shortcut, encrypted).await };
                errands.spawn(async move { bring.await.map(|()| Done::Brought) });
            }
            Doing::WantsAdded(added) => {
                errands.spawn(async move { direct.bring_added(&added).await.map(|()| Done::Brought) });
            }
            _ => {}
        }
        Ok(())
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
        let (counter, state) = self
            .with(move |driven| driven.device.count_report(seen).map(|counter| (counter, driven.device.state())))
            .await??;
        Ok((counter, signed(counter, state, Vec::new(), &self.member.identity.key)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_verified_again_after_an_hour_and_when_the_clock_was_set() {
        let (then, minutes) = (UnixMillis::from_secs(1_800_000_000), Duration::from_mins);
        for (passed, shown, is_due) in [
            (0, 0, false),
            (59, 59, false),
            (60, 60, true),
            // It was ahead, or behind.
            (5, 6, true),
            (5, 4, true),
            (5, 40 * 24 * 60, true),
        ] {
            let now = then.after(minutes(shown));
            assert_eq!(is_to_be_verified_again(minutes(passed), then, now), is_due, "{passed} {shown}");
        }
        assert!(is_to_be_verified_again(minutes(5), then, UnixMillis(0)));
    }
}
