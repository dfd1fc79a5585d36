//! The site: control unit, CA, access secrets, pairings, network keys and devices.
//!
//! Each event is handled in one turn: state, outbox and timers are written together, then people and the bridge are told.

mod act;
mod associations;
mod audit;
mod authority;
mod channels;
mod classes;
mod data;
mod decommissioning;
mod delivery;
mod devices;
mod gateways;
mod gathering;
mod grants;
mod keys;
mod live;
mod locks;
mod moments;
mod orders;
mod outbox;
mod outside_ca;
mod pairings;
mod policy;
mod rekeying;
mod renewals;
mod revocation_list;
mod revocations;
mod schema;
mod secrets;
mod services;
mod timers;
mod turns;

use crate::desk_object;
use crate::est::EstServer;
use crate::tls::TlsAnchors;
use authority::Authority;
use core::cell::{Cell, OnceCell, RefCell};
use core::time::Duration;
use delivery::Delivery;
use gathering::Gathering;
use keys::SharedLines;
use live::Live;
use pairings::Counted;
use policy::Rules;
use rekeying::OnTheWay;
use serde_bytes::ByteBuf;
use std::rc::Rc;
use timers::Timer;
use turns::Turns;
use wardlink_bridge::Notice;
use wardlink_edge::alarm::Alarm;
use wardlink_edge::http::json;
use wardlink_edge::messages::{Act, Changed, Command, DeskRequest, SiteRequest, Taken};
use wardlink_edge::objects::{self, answer};
use wardlink_edge::platform::{log, now};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database};
use wardlink_edge::vault::Vault;
use wardlink_protocol::api::{LiveEvent, NewRevocation, Person, ProblemKind, Verify};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::{KeyFingerprint, SessionId};
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::{Device, UnixMillis};
use wardlink_trust::audit::{Act as Deed, Actor};
use wardlink_trust::epochs::Why;
use worker::{
    DurableObject, Env, Error, Request, Response, Result, State, WebSocket, WebSocketIncomingMessage, durable_object,
    wasm_bindgen,
};

/// How many devices the first live message holds; the others follow one by one, so that no message grows too long.
const DEVICES_IN_SNAPSHOT: usize = 100;

/// The Durable Object for one site.
#[durable_object]
pub struct SiteObject {
    state: State,
    env: Env,
    database: Database,
    keys: OnceCell<Keys>,
    /// Who signs, once it was read; another one where a CA outside has certified it anew.
    authority: RefCell<Option<Rc<Authority>>>,
    /// The rules in force, once they were read.
    rules: RefCell<Option<Rc<Rules>>>,
    live: Live,
    gathering: Gathering,
    delivery: Delivery,
    alarm: Alarm,
    /// Whether the bridge may have yet to cut off a device that was revoked.
    is_cutting: Cell<bool>,
    /// Whether the CA outside is to be asked.
    is_ca_due: Cell<bool>,
    /// Whether sessions of gateways that were revoked may be open still, or gateways have yet to hear of devices that were.
    is_closing: Cell<bool>,
    /// Who closes them.
    closing: Turns,
}

/// What is decrypted and read once for each start of the object.
struct Keys {
    vault: Vault,
    anchors: TlsAnchors,
    shared: SharedLines,
    on_the_way: OnTheWay,
    /// How long certificates of services hold.
    service_lifetime: Duration,
}

/// What an event is handled with.
struct Site<'a> {
    database: &'a Database,
    vault: &'a Vault,
    authority: Rc<Authority>,
    anchors: &'a TlsAnchors,
    shared: &'a SharedLines,
    on_the_way: &'a OnTheWay,
    service_lifetime: Duration,
    rules: Rc<Rules>,
    now: UnixMillis,
}

/// Whom an event's handling tells.
#[derive(Default)]
struct Outcome {
    bridge: outbox::Step,
    people: Vec<LiveEvent>,
    /// The rules that are in force from now on, where they changed.
    rules: Option<Rc<Rules>>,
    /// Who asked on T1 without knowing how.
    junk: Vec<KeyFingerprint>,
    /// What the audit log says of it.
    notes: audit::Notes,
    /// Whether devices are cut off with it.
    cuts: bool,
    /// Whether this is done only when the bridge has carried it out.
    must_arrive: bool,
}

impl DurableObject for SiteObject {
    fn new(state: State, env: Env) -> Self {
        let database = Database::new(&state, &schema::VERSIONS);
        let (keys, live, delivery) = (OnceCell::new(), Live::default(), Delivery::default());
        let rules = RefCell::new(None);
        Self {
            state,
            env,
            database,
            keys,
            authority: RefCell::new(None),
            rules,
            live,
            delivery,
            gathering: Gathering::default(),
            alarm: Alarm::default(),
            is_cutting: Cell::new(true),
            is_ca_due: Cell::new(false),
            is_closing: Cell::new(true),
            closing: Turns::default(),
        }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        match self.handle(request).await {
            Ok(response) => Ok(response),
            Err(failure) => failure.into_response(),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        self.alarm.rings();
        let mut worked = self.handle_timers().await;
        if worked.is_ok() && self.is_ca_due.take() {
            worked = self.go_on_with_ca().await;
        }
        match worked {
            Ok(()) => Response::empty(),
            // The platform tries again.
            Err(failure) => Err(Error::RustError(format!("{failure:?}"))),
        }
    }

    async fn websocket_message(&self, socket: WebSocket, _message: WebSocketIncomingMessage) -> Result<()> {
        // RFC 6455 section 7.4.1: data that is not accepted. The browser has nothing to say here.
        live::close(&socket, 1003, "nothing is expected here");
        Ok(())
    }

    async fn websocket_close(&self, socket: WebSocket, code: usize, _reason: String, _was_clean: bool) -> Result<()> {
        live::close(&socket, u16::try_from(code).unwrap_or(1000), "");
        Ok(())
    }

    async fn websocket_error(&self, _socket: WebSocket, _error: Error) -> Result<()> {
        Ok(())
    }
}

impl SiteObject {
    fn site(&self) -> Result<Site<'_>, Failure> {
        let (database, now) = (self.database.open()?, now());
        if self.keys.get().is_none() {
            let vault = Vault::open(&self.env)?;
            let anchors = TlsAnchors::open(&self.env)?;
            // Nothing else runs in between, so that nobody else has set it.
            let (shared, on_the_way) = (SharedLines::default(), OnTheWay::default());
            let service_lifetime = services::lifetime(&self.env);
            drop(self.keys.set(Keys { vault, anchors, shared, on_the_way, service_lifetime }));
        }
        let keys = self.keys.get().ok_or_else(|| Failure::internal("the site's keys are missing"))?;
        let rules = self.rules(database)?;
        let Keys { vault, anchors, shared, on_the_way, service_lifetime } = keys;
        let (authority, service_lifetime) = (self.authority(database, vault, now)?, *service_lifetime);
        Ok(Site { database, vault, authority, anchors, shared, on_the_way, service_lifetime, rules, now })
    }

    fn authority(&self, database: &Database, vault: &Vault, now: UnixMillis) -> Result<Rc<Authority>, Failure> {
        if let Some(authority) = self.authority.borrow().as_ref() {
            return Ok(Rc::clone(authority));
        }
        let authority = Rc::new(Authority::open(database, vault, EstServer::open(&self.env), now)?);
        self.authority.replace(Some(Rc::clone(&authority)));
        Ok(authority)
    }

    fn rules(&self, database: &Database) -> Result<Rc<Rules>, Failure> {
        if let Some(rules) = self.rules.borrow().as_ref() {
            return Ok(Rc::clone(rules));
        }
        let rules = Rc::new(Rules::open(database)?);
        self.rules.replace(Some(Rc::clone(&rules)));
        Ok(rules)
    }

    async fn handle(&self, mut request: Request) -> Result<Response, Failure> {
        // Reading the authority may have set the first timer; where it cannot be read, whoever needs it is told so.
        if self.authority.borrow().is_none()
            && let Ok(site) = self.site()
        {
            self.set_alarm(&site).await?;
        }
        if request.headers().has("Upgrade")? {
            return self.open_live(&request);
        }
        if desk_object::passed_on(&request) {
            return self.answer_desk(objects::receive(&mut request).await?).await;
        }
        match objects::receive(&mut request).await? {
            SiteRequest::FetchTable => {
                // The bridge waits with everything else until it has the table.
                let site = self.site()?;
                let (version, grants) = grants::table(site.database)?;
                answer(&site.authority.table(version, grants, classes::clients(site.database)?)?)
            }
            SiteRequest::RevocationList(issuer) => {
                revocation_list::answer(&self.site()?, issuer.as_ref().map(|key| key.as_slice()))
            }
            SiteRequest::Act(act) => self.act(*act).await,
            SiteRequest::EnrolService(request) => {
                cose(self.turn(|site, outcome| services::enrol(site, &request, outcome)).await?)
            }
            SiteRequest::ServiceKeys(question) => {
                cose(self.turn(|site, outcome| services::give_keys(site, &question, outcome)).await?)
            }
            SiteRequest::ServiceRecords(question) => {
                let feed = self.turn(|site, outcome| services::ask_for_records(site, &question, outcome)).await?;
                let records: ByteBuf = objects::call(&self.env, &feed).await?;
                cose(self.turn(|site, outcome| services::give_records(site, &question, &records, outcome)).await?)
            }
            SiteRequest::RenewService(request) => {
                cose(self.turn(|site, outcome| services::renew(site, &request, outcome)).await?)
            }
            SiteRequest::Messages(messages) => {
                let take = |site: &Site<'_>, outcome: &mut Outcome| {
                    messages.iter().try_for_each(|message| take_once(site, message, outcome))?;
                    Ok(core::mem::take(&mut outcome.junk))
                };
                answer(&Taken { junk: self.turn(take).await? })
            }
            request => {
                self.turn(|site, outcome| self.take(site, request, outcome)).await?;
                answer(&())
            }
        }
    }

    /// What other objects ask, the distribution server's among them.
    async fn answer_desk(&self, request: DeskRequest) -> Result<Response, Failure> {
        match request {
            DeskRequest::Notes(mut notes) => {
                notes.retain(audit::is_distributions);
                answer(&self.turn(|site, outcome| outcome.notes.take(site.database, notes)).await?)
            }
            DeskRequest::Admit(device) => answer(&gateways::admit(&self.site()?, &device)?),
            DeskRequest::Sign(device, opening) => answer(&gateways::sign_opening(&self.site()?, &device, opening)?),
            DeskRequest::Keys(devices) => answer(&gateways::keys(self.site()?.database, &devices)?),
            DeskRequest::Associate(gateway, devices) => {
                answer(&self.turn(|site, outcome| associations::associate(site, &gateway, &devices, outcome)).await?)
            }
            DeskRequest::Vouch(gateway, signer, devices) => {
                answer(&gateways::vouch(self.site()?.database, &gateway, signer, devices)?)
            }
            DeskRequest::Receipt(receipt) => answer(&gateways::sign_receipt(&self.site()?, receipt)?),
            DeskRequest::Changed(what) => {
                let event = match what {
                    Changed::Updates => LiveEvent::UpdatesChanged,
                    Changed::Records => LiveEvent::RecordsChanged,
                };
                live::broadcast(&self.state, &event)?;
                answer(&())
            }
            DeskRequest::Direct(device, root) => answer(&gateways::sign_director(&self.site()?, device, root)?),
        }
    }

    /// Handles an event in one turn. What was done before an error is done, and told.
    async fn turn<T>(&self, handle: impl FnOnce(&Site<'_>, &mut Outcome) -> Result<T, Failure>) -> Result<T, Failure> {
        self.gathering.join().await;
        let site = self.site()?;
        let mut outcome = Outcome::default();
        let result = handle(&site, &mut outcome);
        self.finish(outcome).await?;
        result
    }

    /// Takes what the bridge or the accounts tell.
    fn take(&self, site: &Site<'_>, request: SiteRequest, outcome: &mut Outcome) -> Result<(), Failure> {
        match request {
            SiteRequest::Data(messages) => messages.iter().try_for_each(|message| data::take(site, message, outcome)),
            SiteRequest::Notices(notices) => {
                notices.into_iter().try_for_each(|notice| take_notice(site, notice, outcome))
            }
            SiteRequest::Notes(notes) => outcome.notes.take(site.database, notes),
            SiteRequest::SessionsEnded(sessions) => {
                self.live.end_sessions(&self.state, &sessions);
                Ok(())
            }
            SiteRequest::FetchTable
            | SiteRequest::RevocationList(_)
            | SiteRequest::Messages(_)
            | SiteRequest::EnrolService(_)
            | SiteRequest::ServiceKeys(_)
            | SiteRequest::ServiceRecords(_)
            | SiteRequest::RenewService(_)
            | SiteRequest::Act(_) => Err(Failure::internal("this is answered elsewhere")),
        }
    }

    /// A person acts.
    async fn act(&self, act: Act) -> Result<Response, Failure> {
        let Act { person, origin, command } = act;
        match (person, command) {
            (Some(person), Command::Verify(session, verify)) => self.verify(&person, session, &verify.read()?).await,
            (Some(person), Command::Revoke(new)) => self.revoke(&person, new.read()?).await,
            (_, Command::Authority) => self.show_ca(),
            (person, command) => {
                let origin = origin.parse()?;
                self.turn(|site, outcome| act::perform(site, person.as_ref(), &origin, command, outcome)).await
            }
        }
    }

    /// Also where the deployment lets no CA be chosen, so that nothing else can be done.
    fn show_ca(&self) -> Result<Response, Failure> {
        match (self.site(), EstServer::open(&self.env)) {
            (Err(_), Err(wrong)) => json(&outside_ca::misconfigured(wrong)),
            (site, _) => json(&outside_ca::view(&site?)?),
        }
    }

    /// An attempt is counted, and the count is on disk, before it is compared.
    async fn verify(&self, person: &Person, session: SessionId, verify: &Verify) -> Result<Response, Failure> {
        let begun = self.turn(|site, _| pairings::begin_verification(site, person, session, verify));
        let answer = match begun.await? {
            Counted::Answered(answer) => *answer,
            Counted::Pending(pending) => {
                self.state.storage().sync().await?;
                self.turn(|site, outcome| pairings::decide_verification(site, person, session, pending, outcome))
                    .await?
            }
        };
        json(&answer)
    }

    /// The answer comes when the bridge has cut off every one of the devices.
    async fn revoke(&self, person: &Person, new: NewRevocation) -> Result<Response, Failure> {
        let revoked = self.turn(|site, outcome| revocations::revoke(site, person, new, outcome)).await?;
        let database = self.site()?.database;
        let views = revoked.iter().filter_map(|device| revocations::of(database, device).transpose());
        json(&views.collect::<Result<Vec<_>, _>>()?)
    }

    fn open_live(&self, request: &Request) -> Result<Response, Failure> {
        let site = self.site()?;
        let mut devices = devices::views(site.database)?;
        let rest = devices.split_off(devices.len().min(DEVICES_IN_SNAPSHOT));
        let (pairings, locks) = (pairings::views(&site)?, locks::all(site.database)?);
        let snapshot = LiveEvent::Snapshot { now: site.now, pairings, devices, locks };
        let keys = LiveEvent::Keys { jobs: rekeying::views(site.database)? };
        let rest = rest.into_iter().map(|device| LiveEvent::Device { device: Box::new(device) });
        let rest = core::iter::once(keys).chain(rest);
        self.live.open(&self.state, request, core::iter::once(snapshot).chain(rest))
    }

    async fn handle_timers(&self) -> Result<(), Failure> {
        self.turn(|site, outcome| {
            timers::due(site.database, site.now)?.into_iter().try_for_each(|timer| {
                match &timer {
                    Timer::Pairing(session) => pairings::handle_time(site, *session, outcome)?,
                    Timer::Certificate(device) => expire_certificate(site, device, outcome)?,
                    Timer::Rotation(channel) => rekeying::rotate(site, channel, Why::Schedule, outcome)?,
                    Timer::Rekeying => rekeying::go_on(site, outcome)?,
                    Timer::Erasure => keys::erase_ended(site)?,
                    // It takes more than this turn.
                    Timer::Authority => self.is_ca_due.set(true),
                    Timer::Orders => orders::expire(site, outcome)?,
                    // Every event ends with a delivery.
                    Timer::Outbox => {}
                }
                timers::done(site.database, &timer, site.now)
            })
        })
        .await
    }

    /// Stores what the bridge has to do, tells people, tells the bridge, and sets the alarm.
    async fn finish(&self, outcome: Outcome) -> Result<(), Failure> {
        let site = self.site()?;
        if let Some(rules) = outcome.rules {
            self.rules.replace(Some(rules));
        }
        outcome.notes.write(&site)?;
        let stored = outcome.bridge.store(site.database, self.delivery.delivered())?;
        if let Some(number) = stored.filter(|_| outcome.cuts) {
            revocations::note_step(site.database, number)?;
            self.is_cutting.set(true);
            self.is_closing.set(true);
        }
        for event in &outcome.people {
            live::broadcast(&self.state, event)?;
        }
        let has_arrived = self.deliver(&site, stored).await?;
        let are_closed = self.close_sessions(&site, outcome.must_arrive).await?;
        self.set_alarm(&site).await?;
        if outcome.must_arrive && !(has_arrived && are_closed) {
            let detail = "It is stored, and every part is told again until it has cut them off.";
            return Err(Failure::with_detail(ProblemKind::Unavailable, detail));
        }
        Ok(())
    }

    async fn set_alarm(&self, site: &Site<'_>) -> Result<(), Failure> {
        match timers::next(site.database)? {
            Some(due) => self.alarm.set(&self.state, due).await,
            None => Ok(()),
        }
    }

    /// Has the sessions of revoked gateways closed, and gateways told of devices that were revoked; false where one of them does not answer
    /// now. Then it is told later. One turn does it at a time, and only who has to know waits for it.
    async fn close_sessions(&self, site: &Site<'_>, has_to_know: bool) -> Result<bool, Failure> {
        while self.is_closing.get() {
            let Some(_turn) = self.closing.take() else {
                if !has_to_know {
                    return Ok(true);
                }
                self.closing.ended().await;
                continue;
            };
            if !gateways::close_revoked(&self.env, site.database).await? {
                timers::set_by(site.database, &Timer::Outbox, now().after(gateways::RETRY))?;
                return Ok(false);
            }
            self.is_closing.set(gateways::is_closing(site.database)?);
        }
        Ok(true)
    }

    /// Delivers the outbox up to the entry that was `stored`, or all of it; false where the bridge does not take it now. Then it is delivered
    /// later: it is stored.
    async fn deliver(&self, site: &Site<'_>, stored: Option<u64>) -> Result<bool, Failure> {
        while stored.is_none_or(|number| self.delivery.delivered() < number) {
            let Some(_turn) = self.delivery.take_turn() else {
                if stored.is_none() || !self.delivery.turn_ends().await {
                    return Ok(false);
                }
                continue;
            };
            gathering::let_others_go().await;
            let entries = outbox::oldest(site.database, self.delivery.delivered())?;
            if entries.is_empty() {
                return Ok(true);
            }
            match outbox::deliver(&self.env, entries).await {
                Ok(last) => {
                    self.note_cut(site, last)?;
                    self.delivery.note_success(last);
                }
                Err(failure) => {
                    let pause = self.delivery.note_failure();
                    log!("site: the bridge is told again in {} s: {failure:?}", pause.as_secs());
                    timers::set(site.database, &Timer::Outbox, now().after(pause))?;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The bridge has carried out the outbox up to `last`: people see whom it has cut off with that.
    fn note_cut(&self, site: &Site<'_>, last: u64) -> Result<(), Failure> {
        if !self.is_cutting.get() {
            return Ok(());
        }
        let mut outcome = Outcome::default();
        for device in revocations::note_cut(site.database, last, now())? {
            outcome.tell_of_device(site, &device)?;
        }
        for event in &outcome.people {
            live::broadcast(&self.state, event)?;
        }
        self.is_cutting.set(revocations::is_cutting(site.database)?);
        Ok(())
    }
}

impl Outcome {
    /// People see the device as it is now; one that was never paired is none.
    fn tell_of_device(&mut self, site: &Site<'_>, device: &Device) -> Result<(), Failure> {
        if devices::find(site.database, device)?.is_some() {
            let device = Box::new(devices::view_of(site.database, device)?);
            self.people.push(LiveEvent::Device { device });
        }
        Ok(())
    }

    /// Whoever published this does not know how to ask.
    fn blame(&mut self, message: &StampedMessage) {
        if let Publisher::Key { key, certificate: None, .. } = &message.publisher {
            self.junk.push(*key);
        }
    }
}

/// Answers with a COSE message (RFC 9052 section 10.1).
fn cose(message: Vec<u8>) -> Result<Response, Failure> {
    let response = Response::from_bytes(message)?;
    response.headers().set("Content-Type", "application/cose")?;
    Ok(response)
}

/// Takes what happened to a device at the bridge.
fn take_notice(site: &Site<'_>, notice: Notice, outcome: &mut Outcome) -> Result<(), Failure> {
    match notice {
        Notice::Subscribed { device, key } => {
            pairings::subscribed(site, &device, key, outcome)?;
            renewals::subscribed(site, &device, outcome)?;
            decommissioning::subscribed(site, &device, key, outcome)?;
            keys::send_missing(site, &device, key, outcome)
        }
        Notice::Listens { device, key } => orders::subscribed(site, &device, key, outcome),
        Notice::Presence { device, online } => {
            log!("site: {device} is {}", if online { "connected" } else { "gone" });
            site.on_the_way.note_presence(&device, online);
            devices::note_presence(site.database, &device, online, site.now)?;
            outcome.tell_of_device(site, &device)
        }
        Notice::Barred { device, count, last, .. } if device.is_service() => {
            services::note_attempts(site, &device, count, last, outcome)
        }
        Notice::Barred { device, count, last, .. } => revocations::note_attempts(site, &device, count, last, outcome),
    }
}

/// Deals with a message of the bridge's log, unless that was done before.
fn take_once(site: &Site<'_>, message: &StampedMessage, outcome: &mut Outcome) -> Result<(), Failure> {
    let topic = || message.topic.clone().into_value();
    let done: Option<u64> = site.database.one("SELECT sequence FROM inbox WHERE topic = ?", [topic()])?;
    if done.is_some_and(|done| message.sequence <= done) {
        return Ok(());
    }
    pairings::take(site, message, outcome)?;
    site.database
        .run("INSERT OR REPLACE INTO inbox (topic, sequence) VALUES (?, ?)", [topic(), message.sequence.into_value()])
}

/// A paired device's certificate has ended: it may renew, and nothing else.
fn expire_certificate(site: &Site<'_>, device: &Device, outcome: &mut Outcome) -> Result<(), Failure> {
    if device.is_service() {
        return services::expire(site, device, outcome);
    }
    let Some(known) = devices::find(site.database, device)? else { return Ok(()) };
    if known.state != DeviceState::Paired || known.certificate_ends > site.now {
        return Ok(());
    }
    let Some(grant) = grants::find(site.database, known.key)? else { return Ok(()) };
    log!("site: the certificate of {device} has ended");
    outcome.notes.add(Actor::System, Deed::CertificateExpired, device, "");
    devices::set_state(site.database, device, DeviceState::Expired)?;
    let expired =
        grants::put(site.database, grant.key, &grant.device, DeviceState::Expired, grant.certificates, grant.channels)?;
    outcome.bridge.grant(expired);
    outcome.tell_of_device(site, device)
}
