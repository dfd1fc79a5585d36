//! The gateway as the hub of its devices, which come and go: their local broker, over WebSocket with TLS (design, section 5).
//!
//! `shared/bridge` runs here natively (`hub`), behind a listener (`listener`), with its records in a file of its own (`records`). Both sides prove themselves by
//! certificates of the site (MQTT 5.0 section 4.12): the devices that the server associates with this gateway, and the gateway itself, whose certificate is the one
//! that TLS shows, too. Association gives a device its own two topics of the channel `update`, and nothing else. It goes on while the server is away, for a time that is a
//! setting, with what was said last; then everything is denied.
//!
//! What devices publish becomes letters at the gateway's port, and letters to them are published ([`crate::mailbox`]): whoever collects there does not know how they came.

mod hub;
mod listener;
mod records;

pub(crate) use hub::UPDATE_CHANNEL;
pub(super) use listener::run;

use super::Shared;
use super::settings::Settings;
use super::store::{Contact, Devices, Issuers, Issuing, StoreError};
use super::troubles::Source;
use crate::clock;
use crate::pump::Membership;
use hub::{Hub, Knowledge, Out};
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use wardlink_bridge::{ConnectionId, Origin};
use wardlink_protocol::{Device, UnixMillis};

/// How long the hub goes on without the server, unless it is told otherwise.
pub const OFFLINE: Duration = Duration::from_hours(24);
/// The file of its records, in the gateway's directory.
pub(super) const FILE: &str = "broker.redb";
/// Where its letters lie in the gateway's directory, where no port is named.
pub(super) const PORT: &str = "hub";

/// What the troubles of the hub are called.
const RIGHTS: &str = "hub: rights";
const RECORDS: &str = "hub: records";
const LETTERS: &str = "hub: letters";

/// How the hub stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubStatus {
    /// Where it listens; none where it cannot.
    pub address: Option<SocketAddr>,
    /// The devices that are connected and listen.
    pub listening: Vec<Device>,
    /// Whether it denies everything, because the server was silent for too long.
    pub is_overdue: bool,
}

/// When the server was heard last, by the wall's clock and by one that nobody sets.
struct Heard {
    at: Option<UnixMillis>,
    noticed: Instant,
}

/// The broker of a gateway, as its parts share it.
pub(super) struct LocalBroker {
    hub: Mutex<Hub>,
    /// What TLS shows.
    certified: Mutex<Option<(Vec<u8>, Arc<CertifiedKey>)>>,
    heard: Mutex<Heard>,
    status: Mutex<HubStatus>,
    offline: Duration,
}

impl core::fmt::Debug for LocalBroker {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("LocalBroker")
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LocalBroker {
    /// The broker, where the gateway is told to be one.
    pub(super) fn of(settings: &Settings) -> Option<Arc<Self>> {
        let (hub, ports) = (settings.hub.as_ref()?, settings.ports.as_ref()?);
        Some(Arc::new(Self {
            hub: Mutex::new(Hub::new(settings.directory.join(FILE), ports.clone())),
            certified: Mutex::new(None),
            heard: Mutex::new(Heard { at: None, noticed: Instant::now() }),
            status: Mutex::default(),
            offline: hub.offline,
        }))
    }

    /// How it stands.
    pub(super) fn status(&self) -> HubStatus {
        locked(&self.status).clone()
    }

    /// Makes what the gateway's store says count, before this returns: a device that is not on the list any more is cut.
    pub(super) fn know(&self, shared: &Shared, member: Option<&Membership>) -> Result<(), StoreError> {
        let now = clock::now();
        let Devices(devices) = shared.store.value()?.unwrap_or_default();
        let Issuers(issuers) = shared.store.value()?.unwrap_or_default();
        let Issuing(issuing) = shared.store.value()?.unwrap_or_default();
        let heard = shared.store.value::<Contact>()?.map(|Contact(at)| at);
        let counts = self.is_in_time(heard, now);
        let identity = member.map(|member| Arc::clone(&member.identity));
        let known = identity.map(|identity| Knowledge { identity, issuers, issuing, devices, counts });
        self.certify(known.as_ref());
        let told = locked(&self.hub).know(known.as_ref(), now);
        let is_overdue = !counts && heard.is_some();
        locked(&self.status).is_overdue = is_overdue;
        let troubles = &shared.troubles;
        match noted(shared, told) {
            None => {}
            Some(Err(why)) => troubles.find(Source::Hub, RIGHTS, why.to_string()),
            Some(Ok(())) if is_overdue => {
                let hours = self.offline.as_secs() / 3_600;
                let why = format!(
                    "the server was not heard for {hours} h: no device is let in; let the gateway reach the server, or allow more with --offline-hours"
                );
                troubles.find(Source::Hub, RIGHTS, why);
            }
            Some(Ok(())) => troubles.works_again(Source::Hub, RIGHTS),
        }
        Ok(())
    }

    /// Whether the server was heard in time. A clock that is set back makes no day longer.
    fn is_in_time(&self, at: Option<UnixMillis>, now: UnixMillis) -> bool {
        let mut heard = locked(&self.heard);
        if heard.at != at {
            *heard = Heard { at, noticed: Instant::now() };
        }
        at.is_some_and(|at| now.since(at) <= self.offline) && heard.noticed.elapsed() <= self.offline
    }

    /// Shows the gateway's certificate in TLS from now on.
    fn certify(&self, known: Option<&Knowledge>) {
        let mut certified = locked(&self.certified);
        let wanted = known.and_then(|known| Some((known, known.chain()?)));
        let Some((known, chain)) = wanted else {
            *certified = None;
            return;
        };
        let shown: Vec<u8> = chain.iter().flat_map(|der| der.iter().copied()).collect();
        if certified.as_ref().is_some_and(|(before, _)| *before == shown) {
            return;
        }
        let key = known.identity.key.to_pkcs8().ok();
        let key = key
            .and_then(|key| any_supported_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.as_slice()))).ok());
        let chain = chain.into_iter().map(|der| CertificateDer::from(der.into_vec())).collect();
        *certified = key.map(|key| (shown, Arc::new(CertifiedKey::new(chain, key))));
    }

    /// Lets time pass: deadlines, and letters.
    fn tick(&self, shared: &Shared) {
        let now = clock::now();
        let (ticked, listening) = {
            let mut hub = locked(&self.hub);
            (hub.tick(now), hub.listening(now))
        };
        locked(&self.status).listening = listening;
        match noted(shared, ticked) {
            Some(Err(error)) => shared.troubles.find(Source::Hub, LETTERS, format!("the port cannot be used: {error}")),
            Some(Ok(())) => shared.troubles.works_again(Source::Hub, LETTERS),
            None => {}
        }
    }

    /// A WebSocket was accepted.
    fn open(&self, origin: Origin) -> Option<(ConnectionId, mpsc::Receiver<Out>)> {
        logged(locked(&self.hub).open(origin, clock::now()))
    }

    /// A frame arrived; none: a text.
    fn received(&self, id: ConnectionId, frame: Option<&[u8]>) {
        logged(locked(&self.hub).received(id, frame, clock::now()));
    }

    fn closed(&self, id: ConnectionId) {
        logged(locked(&self.hub).closed(id, clock::now()));
    }
}

/// Shows what is wrong with the records, until it is not.
fn noted<T>(shared: &Shared, done: Result<T, StoreError>) -> Option<T> {
    match done {
        Ok(done) => {
            shared.troubles.works_again(Source::Hub, RECORDS);
            Some(done)
        }
        Err(error) => {
            shared.troubles.find(Source::Hub, RECORDS, error.to_string());
            None
        }
    }
}

/// The records have failed: all connections end, and the next tick tells it.
fn logged<T>(done: Result<T, StoreError>) -> Option<T> {
    done.inspect_err(|error| tracing::error!(%error, "the broker begins anew")).ok()
}

impl ResolvesServerCert for LocalBroker {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        locked(&self.certified).as_ref().map(|(_, certified)| Arc::clone(certified))
    }
}

#[cfg(test)]
mod tests;
