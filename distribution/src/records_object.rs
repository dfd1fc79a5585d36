//! Stored data of devices (Distribution, figures 7, 9 and 13): verified, stored as it was signed, and only then receipted; what rules find in it.
//!
//! A batch, its records, the chains of its device and what the rules make of them change in one step; so does what a person decides, with its note
//! for the audit log.

mod asking;
mod devices;
mod flags;
mod gaps;
mod outlets;
mod rules;
mod schema;
mod series;
mod take;

use crate::hints::Hints;
use core::cell::{OnceCell, RefCell};
use core::time::Duration;
use std::rc::Rc;
use wardlink_edge::alarm::Alarm;
use wardlink_edge::http::json;
use wardlink_edge::messages::{Changed, DeskRequest, RecordsCommand, RecordsRequest};
use wardlink_edge::notes;
use wardlink_edge::objects::{self, answer};
use wardlink_edge::platform::{log, now};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Database, text};
use wardlink_protocol::api::{Person, RecordsView};
use wardlink_records::kind::Definitions;
use wardlink_records::rules::Rules;
use wardlink_trust::audit::Act;
use worker::{DurableObject, Env, Error, Request, Response, Result, State, durable_object, wasm_bindgen};

/// When the site is told again, and a round of asking is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The Durable Object of stored data.
#[durable_object]
pub struct RecordsObject {
    state: State,
    env: Env,
    database: Database,
    /// What can be measured and asked.
    definitions: OnceCell<Definitions>,
    /// The rules in force, once they were read.
    rules: RefCell<Option<Rc<Rules>>>,
    hints: Hints,
    alarm: Alarm,
}

impl DurableObject for RecordsObject {
    fn new(state: State, env: Env) -> Self {
        let database = Database::new(&state, &schema::VERSIONS);
        let (definitions, rules) = (OnceCell::new(), RefCell::default());
        let (hints, alarm) = (Hints::default(), Alarm::default());
        Self { state, env, database, definitions, rules, hints, alarm }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        self.handle(request).await.or_else(Failure::into_response)
    }

    async fn alarm(&self) -> Result<Response> {
        self.alarm.rings();
        let parts = [asking::ask_when_due(self).await, asking::tell_due(self).await];
        let again = parts.iter().any(core::result::Result::is_err);
        // What fails is done again, and keeps nothing else from being done.
        for failure in parts.into_iter().filter_map(core::result::Result::err) {
            log!("records: gateways are asked again: {failure:?}");
        }
        match self.settle(again).await {
            Ok(()) => Response::empty(),
            // The platform tries again.
            Err(failure) => Err(Error::RustError(format!("{failure:?}"))),
        }
    }
}

impl RecordsObject {
    async fn handle(&self, mut request: Request) -> core::result::Result<Response, Failure> {
        match objects::receive(&mut request).await? {
            RecordsRequest::Take(gateway, batch) => {
                let taken = self.take(&gateway, &batch).await;
                self.hints.tell(&self.env, self.database.open()?, Changed::Records).await;
                answer(&taken?)
            }
            RecordsRequest::Wanted(gateway) => answer(&asking::wanted(self.database.open()?, &gateway)?),
            RecordsRequest::Feed { service, after, classes } => {
                answer(&outlets::feed(self.database.open()?, &service, after, &classes)?)
            }
            RecordsRequest::Told(numbers) => answer(&asking::told(self.database.open()?, &numbers)?),
            RecordsRequest::Act(person, command) => {
                let only_shows = command.only_shows();
                let answered = self.act(&person, command).await;
                if !only_shows {
                    self.settle(false).await?;
                }
                answered
            }
        }
    }

    async fn act(&self, person: &Person, command: RecordsCommand) -> core::result::Result<Response, Failure> {
        let database = self.database.open()?;
        match command {
            RecordsCommand::Overview(after) => {
                let (devices, next) = devices::page(database, after.as_ref())?;
                let settings = asking::settings(database)?;
                let (gaps, gaps_in_all) = (Vec::new(), 0);
                let mut view = RecordsView {
                    devices,
                    next,
                    gaps,
                    gaps_in_all,
                    refused: Vec::new(),
                    outlets: Vec::new(),
                    settings,
                };
                if after.is_none() {
                    (view.gaps, view.gaps_in_all) = gaps::newest(database)?;
                    (view.refused, view.outlets) = (take::refused(database)?, outlets::all(database)?);
                }
                json(&view)
            }
            RecordsCommand::Gateways => json(&devices::gateways(database)?),
            RecordsCommand::SetSettings(settings) => {
                let settings = settings.read()?;
                json(&database.step(|database| asking::set_settings(database, person, settings))?)
            }
            RecordsCommand::AskDevice(device) => json(&asking::ask_device(self, person, &device).await?),
            RecordsCommand::AskGateway(gateway) => json(&asking::ask_gateway(self, person, &gateway).await?),
            RecordsCommand::Concede(device, gap) => {
                let gap = gap.read()?;
                database.step(|database| gaps::concede(database, person, &device, &gap))?;
                json(&gaps::of(database, &device)?)
            }
            RecordsCommand::Show(device) => json(&series::detail(database, self.definitions(), &device)?),
            RecordsCommand::Plot { device, series, from, until } => {
                json(&series::plot(database, self.definitions(), &device, &series, from..until).await?)
            }
            RecordsCommand::Values { device, series, after } => {
                json(&database.step(|database| series::values(database, person, &device, &series, after))?)
            }
            RecordsCommand::Rules => json(&rules::view(database, self.definitions())?),
            RecordsCommand::SetRules(change) => {
                let change = change.read()?;
                let view = database.step(|database| rules::change(database, self.definitions(), person, &change))?;
                self.rules.take();
                json(&view)
            }
            RecordsCommand::Flags { device, open, before } => {
                json(&flags::page(database, device.as_ref(), open, before)?)
            }
            RecordsCommand::Acknowledge(id) => {
                json(&database.step(|database| flags::acknowledge(database, person, id))?)
            }
        }
    }

    fn definitions(&self) -> &Definitions {
        self.definitions.get_or_init(Definitions::default)
    }

    /// The rules in force.
    fn rules(&self) -> core::result::Result<Rc<Rules>, Failure> {
        if let Some(rules) = self.rules.borrow().as_ref() {
            return Ok(Rc::clone(rules));
        }
        let rules = Rc::new(rules::in_force(self.database.open()?, self.definitions())?);
        self.rules.replace(Some(Rc::clone(&rules)));
        Ok(rules)
    }

    /// Tells the site what its audit log has to know, and sets the alarm; soon, where something has to be done `again`.
    async fn settle(&self, again: bool) -> core::result::Result<(), Failure> {
        let database = self.database.open()?;
        let told = notes::tell(&self.env, database, DeskRequest::Notes).await;
        if let Err(failure) = &told {
            log!("records: the audit log is told again: {failure:?}");
        }
        self.hints.tell(&self.env, database, Changed::Records).await;
        let retry = (again || told.is_err()).then(|| now().after(RETRY));
        // What has just failed is due already, and waits.
        let due = if again { retry } else { retry.into_iter().chain(asking::next(database)?).min() };
        match due {
            Some(due) => self.alarm.set(&self.state, due).await,
            None => Ok(()),
        }
    }
}

/// A person did something.
fn note(
    database: &Database,
    person: &Person,
    act: Act,
    subject: &str,
    detail: impl Into<String>,
) -> core::result::Result<(), Failure> {
    notes::add(database, Some(person), act, subject, detail)
}
