//! The distribution server (Distribution, figure 4): what manufacturers publish, verified before it is seen; the configuration catalog;
//! offers, and directives for each gateway.
//!
//! Everything that decides lies in this object's database, so that what belongs together changes in one step; files lie in R2, and people read
//! catalog and releases in D1 ([`shown`]).

mod catalog;
mod directives;
mod director;
mod ingest;
mod inventories;
mod manufacturers;
mod offered;
mod offers;
mod outcomes;
mod presence;
mod publication;
mod publish;
mod releases;
mod reports;
mod repository;
mod schema;
mod shown;
mod variants;

use crate::hints::Hints;
use core::cell::{Cell, RefCell};
use core::time::Duration;
use director::Director;
use offers::Offers;
use shown::{Question, Shown};
use std::collections::BTreeSet;
use std::rc::Rc;
use wardlink_edge::alarm::Alarm;
use wardlink_edge::http::json;
use wardlink_edge::messages::{Changed, Dealt, DeskRequest, DistributionCommand, DistributionRequest};
use wardlink_edge::notes;
use wardlink_edge::objects::{self, answer};
use wardlink_edge::platform::{log, now};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Database, blob, text};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::api::{
    AllowUpload, AssignPatient, Associate, Broadcast, KeepConfidential, Person, ProblemKind, Pushed,
};
use wardlink_protocol::identity::Sha256;
use wardlink_trust::audit::Act;
use wardlink_update::catalog::Releases;
use worker::{DurableObject, Env, Error, Request, Response, Result, State, durable_object, wasm_bindgen};

/// How often it looks for what is over.
const ROUND: Duration = Duration::from_hours(1);
/// The same after it could not.
const TIDY_RETRY: Duration = Duration::from_mins(1);
/// When the site is told again.
const RETRY: Duration = Duration::from_secs(1);

/// The Durable Object of the distribution server.
#[durable_object]
pub struct DistributionObject {
    state: State,
    env: Env,
    database: Database,
    /// Every release that is public, once they were read.
    releases: RefCell<Option<Rc<Releases>>>,
    /// Every offer that counts, once they were read.
    offers: RefCell<Option<Rc<Offers>>>,
    /// The director's keys, once they were read.
    director: RefCell<Option<Rc<Director>>>,
    /// Files whose parts are being put together.
    assembling: RefCell<BTreeSet<(String, Sha256)>>,
    /// The number of the newest list of some gateway's devices.
    lists: Cell<u64>,
    /// Where people read catalog and releases.
    shown: Shown,
    hints: Hints,
    /// When it looks next for what is over.
    tidies_at: Cell<UnixMillis>,
    alarm: Alarm,
}

impl DurableObject for DistributionObject {
    fn new(state: State, env: Env) -> Self {
        let database = Database::new(&state, &schema::VERSIONS);
        let (releases, offers, director) = (RefCell::default(), RefCell::default(), RefCell::default());
        let (assembling, lists, tidies_at) = (RefCell::default(), Cell::default(), Cell::new(UnixMillis(0)));
        let (shown, hints, alarm) = (Shown::default(), Hints::default(), Alarm::default());
        Self { state, env, database, releases, offers, director, assembling, lists, shown, hints, tidies_at, alarm }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        match self.handle(request).await {
            Ok(response) => Ok(response),
            Err(failure) => failure.into_response(),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        self.alarm.rings();
        match self.round().await {
            Ok(()) => Response::empty(),
            // The platform tries again.
            Err(failure) => Err(Error::RustError(format!("{failure:?}"))),
        }
    }
}

impl DistributionObject {
    async fn handle(&self, mut request: Request) -> core::result::Result<Response, Failure> {
        if publish::is_for(&request.path()) {
            let answered = self.publish(request).await;
            self.settle().await?;
            return answered;
        }
        match objects::receive(&mut request).await? {
            DistributionRequest::Find(name) => answer(&repository::find(self.database.open()?, &name)?),
            DistributionRequest::Act(person, command) => {
                let answered = self.act(&person, command).await;
                self.settle().await?;
                answered
            }
            DistributionRequest::Join(gateway, known) => {
                let joined = self.join(&gateway, known).await;
                self.settle().await?;
                answer(&joined?)
            }
            DistributionRequest::Leave(gateway) => answer(&self.leave(&gateway)?),
            // That somebody was heard, and how much it holds, changes all the time.
            DistributionRequest::Heard { gateway, in_session } => answer(
                &self
                    .hints
                    .quietly(self.database.open()?, |database| presence::heard(database, &gateway, in_session))?,
            ),
            DistributionRequest::Holds(gateway, held) => answer(
                &self.hints.quietly(self.database.open()?, |database| presence::holds(database, &gateway, held))?,
            ),
            DistributionRequest::Report(gateway, report) => {
                let dealt = self.report(&gateway, &report).await;
                self.settle().await?;
                answer(&dealt?)
            }
            DistributionRequest::Outcome(gateway, told) => {
                let dealt = self.outcome(&gateway, &told).await;
                self.settle().await?;
                answer(&dealt?)
            }
            DistributionRequest::Lost(devices) => {
                let untold = self.tell_of_lost(devices).await;
                self.settle().await?;
                answer(&untold?)
            }
            DistributionRequest::Patients(device) => answer(&catalog::patients(self.database.open()?, &device)?),
            DistributionRequest::Variant(gateway, file) => {
                answer(&variants::find(self.database.open()?, &gateway, &file)?)
            }
            DistributionRequest::Uploads(gateway) => answer(&catalog::uploads(self.database.open()?, &gateway)?),
            DistributionRequest::Uploaders(of) => answer(&catalog::uploaders(self.database.open()?, of.as_ref())?),
            DistributionRequest::Ask(gateway) => {
                let orders = self.orders(&gateway, true).await;
                self.settle().await?;
                answer(&Dealt { refused: None, orders: orders? })
            }
        }
    }

    async fn act(&self, person: &Person, command: DistributionCommand) -> core::result::Result<Response, Failure> {
        let database = self.database.open()?;
        match command {
            DistributionCommand::Manufacturers => json(&manufacturers::views(database)?),
            DistributionCommand::AddManufacturer(new) => {
                let view = manufacturers::add(self, person, new.read()?).await?;
                self.releases.take();
                Ok(json(&view)?.with_status(201))
            }
            DistributionCommand::EndManufacturer(name) => {
                let view = database.step(|database| {
                    directives::all_are_due(database)?;
                    manufacturers::end(database, person, &name)
                })?;
                self.releases.take();
                self.offers.take();
                json(&view)
            }
            DistributionCommand::KeepConfidential(name, body) => {
                let KeepConfidential { confidential } = body.read()?;
                json(&database.step(|database| {
                    directives::all_are_due(database)?;
                    manufacturers::keep_confidential(database, person, &name, confidential)
                })?)
            }
            DistributionCommand::MakeToken(name) => {
                let made = database.step(|database| manufacturers::make_token(database, person, &name))?;
                Ok(json(&made)?.with_status(201))
            }
            DistributionCommand::RevokeToken(name, id) => {
                json(&database.step(|database| manufacturers::revoke_token(database, person, &name, id))?)
            }
            DistributionCommand::Releases(manufacturer) => json(&shown::releases(self, manufacturer.as_deref()).await?),
            DistributionCommand::Catalog { find, client, gateway, standing, after } => {
                let (find, client, gateway, standing) =
                    (find.as_str(), client.as_str(), gateway.as_str(), standing.as_str());
                json(&shown::page(self, &Question { find, client, gateway, standing, after: after.as_ref() }).await?)
            }
            DistributionCommand::CatalogDevice(device) => json(&catalog::device(database, &device)?),
            DistributionCommand::Gateways => {
                director::check(&self.env, database)?;
                json(&reports::gateways(database)?)
            }
            DistributionCommand::Offers => {
                director::check(&self.env, database)?;
                json(&offers::views(database)?)
            }
            DistributionCommand::OfferDevices(id, after) => json(&offers::devices(database, id, after.as_ref())?),
            DistributionCommand::Outcomes(device, before) => json(&outcomes::page(database, device.as_ref(), before)?),
            command => self.decide(person, command).await,
        }
    }

    /// What a person decides about updates; gateways that it concerns are told.
    async fn decide(&self, person: &Person, command: DistributionCommand) -> core::result::Result<Response, Failure> {
        let database = self.database.open()?;
        match command {
            DistributionCommand::Associate(device, body) => {
                let Associate { gateway } = body.read()?;
                json(&database.step(|database| {
                    for concerned in catalog::decide(database, person, &device, &gateway)? {
                        directives::is_due(database, &concerned)?;
                    }
                    catalog::device(database, &device)
                })?)
            }
            DistributionCommand::AssignPatient(device, body) => {
                let AssignPatient { patient } = body.read()?;
                json(&database.step(|database| {
                    catalog::assign(database, Some(person), &device, patient)?;
                    catalog::device(database, &device)
                })?)
            }
            DistributionCommand::AllowUpload(device, body) => {
                let AllowUpload { gateway, allowed } = body.read()?;
                catalog::find(database, &device)?.ok_or(ProblemKind::NotFound)?;
                if allowed {
                    catalog::check_gateway(database, &gateway)?;
                    catalog::check_room(database, &device, &gateway)?;
                }
                let what = if allowed { "data may come" } else { "data may not come" };
                let detail = format!("{what} through {gateway}");
                json(&database.step(|database| {
                    catalog::allow_upload(database, &device, &gateway, allowed)?;
                    Self::note(database, Some(person), Act::GatewayChanged, &device.to_string(), detail)?;
                    directives::is_due(database, &gateway)?;
                    catalog::device(database, &device)
                })?)
            }
            DistributionCommand::Resume(device) => json(&database.step(|database| {
                if let Some(gateway) = catalog::resume(database, person, &device)? {
                    directives::is_due(database, &gateway)?;
                }
                catalog::device(database, &device)
            })?),
            DistributionCommand::Push(gateway) => {
                catalog::check_gateway(database, &gateway)?;
                Self::note(database, Some(person), Act::UpdateDecided, &gateway.to_string(), "pushed")?;
                catalog::end_pauses(database, &gateway)?;
                self.push(&gateway, true).await?;
                // What it runs it says anew (figure 8, 176); where it is not there, it does so with its next session.
                if let Err(failure) = self.inquire(&gateway).await {
                    log!("distribution: {gateway} is not asked what it runs: {failure:?}");
                }
                json(&Pushed { gateways: 1 })
            }
            DistributionCommand::Broadcast(body) => {
                let Broadcast { client } = body.read()?;
                let gateways = directives::of_class(database, client.as_str())?;
                let detail = format!("broadcast to {} gateways", gateways.len());
                Self::note(database, Some(person), Act::UpdateDecided, client.as_str(), detail)?;
                database.step(|database| {
                    gateways.iter().try_for_each(|gateway| {
                        // As with a push to each of them.
                        catalog::end_pauses(database, gateway)?;
                        directives::is_renewed(database, gateway)
                    })
                })?;
                json(&Pushed { gateways: u64::try_from(gateways.len()).unwrap_or(u64::MAX) })
            }
            DistributionCommand::MakeOffer(new) => {
                director::check(&self.env, database)?;
                Ok(json(&offers::make(self, person, new.read()?).await?)?.with_status(201))
            }
            DistributionCommand::WithdrawOffer(id) => json(&offers::withdraw(self, person, id)?),
            DistributionCommand::Inventory { text, imports } => {
                let imports = imports.then_some(person);
                json(&inventories::take(self, imports, text.as_bytes()).await?)
            }
            _ => Err(Failure::internal("this is answered elsewhere")),
        }
    }

    /// Tells the site what its audit log has to know, and sees to it that there is a next round.
    async fn settle(&self) -> core::result::Result<(), Failure> {
        let told = notes::tell(&self.env, self.database.open()?, DeskRequest::Notes).await;
        if let Err(failure) = &told {
            log!("distribution: the audit log is told again: {failure:?}");
        }
        self.hints.tell(&self.env, self.database.open()?, Changed::Updates).await;
        let due = self.tidies_at.get().max(now()).min(now().after(if told.is_ok() { ROUND } else { RETRY }));
        let database = self.database.open()?;
        let next = [
            directives::next_due(database)?,
            variants::next_due(database)?,
            presence::next_due(database)?,
            self.shown_due()?,
        ];
        let due = next.into_iter().flatten().fold(due, UnixMillis::min);
        self.alarm.set(&self.state, due).await
    }

    /// Matches gateways that have to be, encrypts what waits for it, looks after gateways that were silent, brings D1 up to date, and tidies up.
    async fn round(&self) -> core::result::Result<(), Failure> {
        let mut parts =
            vec![self.match_due().await, self.make_variant().await, self.look_after().await, self.show_changes().await];
        if self.tidies_at.get() <= now() {
            let tidied = self.tidy().await;
            let pause = if tidied.iter().all(core::result::Result::is_ok) { ROUND } else { TIDY_RETRY };
            self.tidies_at.set(now().after(pause));
            parts.extend(tidied);
        }
        // What fails is done in the next round, and keeps nothing else from being done in this one.
        for failure in parts.into_iter().filter_map(core::result::Result::err) {
            log!("distribution: a part of the round is done later: {failure:?}");
        }
        self.settle().await
    }

    /// Forgets what is over: publications that nobody goes on with, files and variants that nothing names.
    async fn tidy(&self) -> [core::result::Result<(), Failure>; 3] {
        [
            self.database.open().and_then(variants::forget),
            publication::forget_abandoned(self).await,
            repository::remove_unnamed(self).await,
        ]
    }

    /// A person, or the server by itself, did something.
    fn note(
        database: &Database,
        person: Option<&Person>,
        act: Act,
        subject: &str,
        detail: impl Into<String>,
    ) -> core::result::Result<(), Failure> {
        notes::add(database, person, act, subject, detail)
    }
}
