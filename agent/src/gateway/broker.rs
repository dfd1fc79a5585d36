//! The gateway as the hub of its devices, which come and go: their local broker, over WebSocket with TLS (design, section 5).
//!
//! `shared/bridge` runs here natively (`hub`), behind a listener (`listener`), with its records in a file of its own (`records`). Both sides prove themselves by
//! certificates of the site (MQTT 5.0 section 4.12): the devices that the server associates with this gateway, and the gateway itself, whose certificate is the one
//! that TLS shows, too. Association gives a device its own two topics of the channel `update`, and nothing else, and the gateway the keys of that channel (`protection`). It goes
//! on while the server is away, for a time that is a setting, with what was said last; then everything is denied.
//!
//! What devices publish becomes letters at the gateway's port, and letters to them are published ([`crate::mailbox`]): whoever collects there does not know how they came.

mod hub;
mod known;
mod listener;
mod outgoing;
mod protection;
mod records;

pub(super) use listener::run;

use super::Shared;
use super::settings::Settings;
use super::store::{Contact, Devices, Issuers, Issuing, StoreError};
use super::troubles::Source;
use crate::clock;
use crate::pump::Membership;
use hub::{Hub, Knowledge};
use known::{Heard, Told};
use outgoing::Outgoing;
use records::Records;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use wardlink_bridge::{ConnectionId, Origin};
use wardlink_protocol::channel::UPDATE_CHANNEL;
use wardlink_protocol::{Device, UnixMillis};

/// How long the hub goes on without the server, unless it is told otherwise.
pub const OFFLINE: Duration = Duration::from_hours(24);
/// The file of its records, in the gateway's directory.
pub(super) const FILE: &str = "broker.redb";
/// Where its letters lie in the gateway's directory, where no port is named.
pub(super) const PORT: &str = "hub";
/// Where messages of devices lie whose keys are on their way here.
pub(super) const SEALED: &str = "hub-sealed";

/// What the troubles of the hub are called.
const RIGHTS: &str = "hub: rights";
const RECORDS: &str = "hub: records";
const LETTERS: &str = "hub: letters";
const KEYS: &str = "hub: keys";

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

/// What the hub goes by at this moment.
struct Known {
    heard: Heard,
    /// What the hub was told; none where it has to be told anew.
    told: Option<Told>,
}

/// The broker of a gateway, as its parts share it.
pub(super) struct LocalBroker {
    hub: Mutex<Hub>,
    /// What TLS shows.
    certified: Mutex<Option<(Vec<u8>, Arc<CertifiedKey>)>>,
    /// Held from reading the store until that counts: what was read before never follows what was read after.
    known: Mutex<Known>,
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
        let file = settings.directory.join(FILE);
        Some(Arc::new(Self {
            hub: Mutex::new(Hub::new(move || Records::open(&file), ports.clone(), settings.directory.join(SEALED))),
            certified: Mutex::new(None),
            known: Mutex::new(Known { heard: Heard::never(Instant::now()), told: None }),
            status: Mutex::default(),
            offline: hub.offline,
        }))
    }

    /// How it stands.
    pub(super) fn status(&self) -> HubStatus {
        locked(&self.status).clone()
    }

    /// Whether somebody without rights was turned away, or spoke under a later key than there is here, since this was asked last: the server may
    /// know better.
    pub(super) fn take_refused(&self) -> bool {
        locked(&self.hub).take_refused()
    }

    /// The server was heard: it goes on for so long.
    pub(super) fn heard(&self, at: UnixMillis) {
        locked(&self.known).heard.learn(Some(at), Instant::now());
    }

    /// Makes what the gateway's store says count, before this returns: a device that is not on the list any more is cut.
    pub(super) fn know(&self, shared: &Shared, member: Option<&Membership>) -> Result<(), StoreError> {
        self.read(shared, member, &mut locked(&self.known))
    }

    /// The same, where time or a new membership make something else of what was read: the gateway says of everything else that it has changed.
    fn look(&self, shared: &Shared, member: Option<&Membership>) -> Result<(), StoreError> {
        let mut known = locked(&self.known);
        let (now, instant) = (clock::now(), Instant::now());
        let counts = known.heard.is_in_time(self.offline, now, instant);
        let identity = member.map(|member| &*member.identity);
        let is_so = |told: &Told| {
            told.is_still_so(identity, counts, now, instant) && (told.holds.is_none() || locked(&self.hub).speaks())
        };
        if known.told.as_ref().is_some_and(is_so) {
            return Ok(());
        }
        self.read(shared, member, &mut known)
    }

    fn read(&self, shared: &Shared, member: Option<&Membership>, known: &mut Known) -> Result<(), StoreError> {
        let (now, instant) = (clock::now(), Instant::now());
        known.told = None;
        let Devices(devices) = shared.store.value()?.unwrap_or_default();
        let Issuers(issuers) = shared.store.value()?.unwrap_or_default();
        let Issuing(issuing) = shared.store.value()?.unwrap_or_default();
        known.heard.learn(shared.store.value::<Contact>()?.map(|Contact(at)| at), instant);
        let counts = known.heard.is_in_time(self.offline, now, instant);
        let identity = member.map(|member| Arc::clone(&member.identity));
        let knowledge = identity.clone().map(|identity| Knowledge { identity, issuers, issuing, devices, counts });
        self.certify(knowledge.as_ref());
        let told = locked(&self.hub).know(knowledge.as_ref(), now);
        if let Ok(told) = &told {
            known.told = Some(Told { identity, counts, holds: told.as_ref().ok().copied(), at: instant });
        }
        let is_overdue = !counts && known.heard.is_some();
        locked(&self.status).is_overdue = is_overdue;
        let troubles = &shared.troubles;
        match noted(shared, told) {
            None => {}
            Some(Err(why)) => troubles.find(Source::Hub, RIGHTS, why.to_string()),
            Some(Ok(_)) if is_overdue => {
                let hours = self.offline.as_secs() / 3_600;
                let why = format!(
                    "the server was not heard for {hours} h: no device is let in; let the gateway reach the server, or allow more with --offline-hours"
                );
                troubles.find(Source::Hub, RIGHTS, why);
            }
            Some(Ok(_)) => troubles.works_again(Source::Hub, RIGHTS),
        }
        Ok(())
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
        let (ticked, listening, without_key, strangers) = {
            let mut hub = locked(&self.hub);
            let (ticked, listening) = (hub.tick(now), hub.listening(now));
            let without_key = listening.iter().find(|device| !hub.has_key(device)).cloned();
            (ticked, listening, without_key, hub.strangers(now))
        };
        locked(&self.status).listening = listening;
        match without_key {
            Some(device) => {
                let why = format!(
                    "the site has given no keys of the channel \"{UPDATE_CHANNEL}\" of {device}: nothing is exchanged with it; see that policy gives it the channel, that neither it nor the gateway is locked, and that the gateway reaches the server"
                );
                shared.troubles.find(Source::Hub, KEYS, why);
            }
            None => shared.troubles.works_again(Source::Hub, KEYS),
        }
        let began = shared.troubles.begin();
        for device in strangers {
            let why = "it is turned away: the site does not name it among the devices of this gateway; pair it, or assign it to this gateway in the catalog";
            shared.troubles.find(Source::Strangers, format!("hub: {device}"), why);
        }
        shared.troubles.end(Source::Strangers, began);
        match noted(shared, ticked) {
            Some(Err(error)) => shared.troubles.find(Source::Hub, LETTERS, format!("the port cannot be used: {error}")),
            Some(Ok(())) => shared.troubles.works_again(Source::Hub, LETTERS),
            None => {}
        }
    }

    /// A WebSocket was accepted.
    fn open(&self, origin: Origin) -> Option<(ConnectionId, Outgoing)> {
        logged(locked(&self.hub).open(origin, clock::now()))
    }

    /// A frame arrived; none: a text.
    fn received(&self, id: ConnectionId, frame: Option<&[u8]>) {
        logged(locked(&self.hub).received(id, frame, clock::now()));
    }

    /// Whether the device at the other end has proved who it is.
    fn is_live(&self, id: ConnectionId) -> bool {
        locked(&self.hub).is_live(id)
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
