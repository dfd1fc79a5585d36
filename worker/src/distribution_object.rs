//! The distribution server (Distribution, figure 4): manufacturers and what they publish, verified before it is seen.
//!
//! Everything that decides lies in this object's database, so that what belongs together changes in one step; files lie in R2.

mod ingest;
mod manufacturers;
mod publication;
mod publish;
mod releases;
mod repository;
mod schema;

use crate::messages::{DistributionCommand, DistributionRequest, SiteRequest};
use crate::notes;
use crate::objects::{self, answer};
use crate::platform::{log, now, rng};
use crate::problem::Failure;
use crate::storage::{Column, Database};
use core::cell::{Cell, RefCell};
use core::time::Duration;
use serde::Serialize;
use std::collections::BTreeSet;
use std::rc::Rc;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::api::Person;
use wardlink_protocol::identity::Sha256;
use wardlink_trust::audit::Act;
use wardlink_update::catalog::Releases;
use worker::{
    DurableObject, Env, Error, Request, Response, Result, ScheduledTime, State, durable_object, wasm_bindgen,
};

/// How often it looks for what is over.
const ROUND: Duration = Duration::from_hours(1);
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
    /// Files whose parts are being put together.
    assembling: RefCell<BTreeSet<(String, Sha256)>>,
    /// For when the alarm is set, as far as this instance knows.
    alarm_at: Cell<Option<UnixMillis>>,
}

impl DurableObject for DistributionObject {
    fn new(state: State, env: Env) -> Self {
        let database = Database::new(&state, &schema::VERSIONS);
        let (releases, assembling, alarm_at) = (RefCell::default(), RefCell::default(), Cell::default());
        Self { state, env, database, releases, assembling, alarm_at }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        match self.handle(request).await {
            Ok(response) => Ok(response),
            Err(failure) => failure.into_response(),
        }
    }

    async fn alarm(&self) -> Result<Response> {
        self.alarm_at.set(None);
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
        }
    }

    async fn act(&self, person: &Person, command: DistributionCommand) -> core::result::Result<Response, Failure> {
        let database = self.database.open()?;
        match command {
            DistributionCommand::Manufacturers => json(&manufacturers::views(database)?),
            DistributionCommand::AddManufacturer(new) => {
                let view = manufacturers::add(self, person, new).await?;
                Ok(json(&view)?.with_status(201))
            }
            DistributionCommand::EndManufacturer(name) => {
                let view = manufacturers::end(database, person, &name)?;
                self.releases.take();
                json(&view)
            }
            DistributionCommand::MakeToken(name) => {
                Ok(json(&manufacturers::make_token(database, person, &name)?)?.with_status(201))
            }
            DistributionCommand::RevokeToken(name, id) => {
                json(&manufacturers::revoke_token(database, person, &name, id)?)
            }
            DistributionCommand::Releases(manufacturer) => {
                let releases = self.releases().await?;
                json(&releases::views(&releases, manufacturer.as_deref()))
            }
        }
    }

    /// Tells the site what its audit log has to know, and sees to it that there is a next round.
    async fn settle(&self) -> core::result::Result<(), Failure> {
        let told = self.tell().await;
        if let Err(failure) = &told {
            log!("distribution: the audit log is told again: {failure:?}");
        }
        let due = now().after(if told.is_ok() { ROUND } else { RETRY });
        if self.alarm_at.get().is_none_or(|set| due < set) {
            self.alarm_at.set(Some(due));
            self.state.storage().set_alarm(ScheduledTime::from(due.since(now()))).await?;
        }
        Ok(())
    }

    async fn tell(&self) -> core::result::Result<(), Failure> {
        let database = self.database.open()?;
        loop {
            let (notes, last) = notes::waiting(database)?;
            if notes.is_empty() {
                return Ok(());
            }
            let () = objects::call(&self.env, &SiteRequest::Notes(notes)).await?;
            notes::forget(database, last)?;
        }
    }

    /// Forgets what is over: publications that nobody goes on with, and files that nothing names.
    async fn round(&self) -> core::result::Result<(), Failure> {
        publication::forget_abandoned(self).await?;
        repository::remove_unnamed(self).await?;
        self.settle().await
    }

    /// A person, or the server by itself, did something.
    fn note(
        database: &Database,
        person: Option<&Person>,
        act: Act,
        subject: &str,
        detail: impl Into<String>,
    ) -> core::result::Result<(), Failure> {
        notes::add(database, person, act, subject, detail.into(), &mut rng())
    }
}

/// Answers with JSON.
fn json<T: Serialize>(value: &T) -> core::result::Result<Response, Failure> {
    Ok(Response::from_json(value)?)
}

/// A text as a column holds it.
fn text(value: &str) -> worker::SqlStorageValue {
    value.to_owned().into_value()
}

/// A hash as a column holds it.
fn blob(hash: &Sha256) -> worker::SqlStorageValue {
    hash.0.to_vec().into_value()
}
