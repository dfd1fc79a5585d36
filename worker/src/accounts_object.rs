//! The people of a site and their browser sessions.

mod password;
mod people;
mod sessions;
mod throttle;

use password::Hashing;
use serde::Serialize;
use throttle::Subject;
use wardlink_edge::messages::{AccountsRequest, Session, SignedIn, SiteRequest};
use wardlink_edge::notes;
use wardlink_edge::objects::{self, answer};
use wardlink_edge::platform::{log, now, rng};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::Database;
use wardlink_protocol::api::{BootstrapState, Credentials, NewPerson, Person, PersonChange, ProblemKind, Role};
use wardlink_trust::audit::Act;
use worker::{DurableObject, Env, Request, Response, Result, ScheduledTime, State, durable_object, wasm_bindgen};

/// The schema, version by version.
const SCHEMA: [&str; 2] = [FIRST, SECOND];

const FIRST: &str = "
    CREATE TABLE people (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        folded_name TEXT NOT NULL UNIQUE,
        role BLOB NOT NULL,
        active INTEGER NOT NULL,
        password TEXT NOT NULL,
        last_signed_in INTEGER
    );
    CREATE TABLE sessions (
        id BLOB PRIMARY KEY,
        person INTEGER NOT NULL REFERENCES people (id),
        used_at INTEGER NOT NULL,
        ends_at INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX sessions_of_person ON sessions (person);
    -- Sessions that ended, until the site has closed their live connections.
    CREATE TABLE ended_sessions (id BLOB PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE attempts (
        subject TEXT PRIMARY KEY,
        failures INTEGER NOT NULL,
        last_at INTEGER NOT NULL
    ) WITHOUT ROWID;
";

const SECOND: &str = "
    -- Acts that the site has not written into its audit log.
    CREATE TABLE notes (number INTEGER PRIMARY KEY AUTOINCREMENT, record BLOB NOT NULL);
";

/// The Durable Object for people and sessions.
#[durable_object]
pub struct AccountsObject {
    state: State,
    env: Env,
    database: Database,
    hashing: Hashing,
}

impl DurableObject for AccountsObject {
    fn new(state: State, env: Env) -> Self {
        let database = Database::new(&state, &SCHEMA);
        Self { state, env, database, hashing: Hashing::default() }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        match self.handle(&mut request).await {
            Ok(response) => Ok(response),
            Err(failure) => failure.into_response(),
        }
    }

    /// Ends the sessions whose time has come, and tells the site.
    async fn alarm(&self) -> Result<Response> {
        match self.settled(&()).await {
            Ok(response) => Ok(response),
            Err(failure) => failure.into_response(),
        }
    }
}

impl AccountsObject {
    async fn handle(&self, request: &mut Request) -> Result<Response, Failure> {
        let request = objects::receive(request).await?;
        let database = self.database.open()?;
        match request {
            AccountsRequest::BootstrapState => {
                answer(&BootstrapState { needed: !people::is_any_administrator(database)? })
            }
            AccountsRequest::Bootstrap(credentials) => self.bootstrap(&credentials).await,
            AccountsRequest::SignIn { credentials, address } => self.sign_in(&credentials, address).await,
            AccountsRequest::Session(token) => answer(&sessions::find(database, &token, now())?),
            AccountsRequest::Watch(token) => answer(&sessions::look(database, &token, now())?),
            AccountsRequest::SignOut(token) => {
                if let Some(Session { id, person, .. }) = sessions::find(database, &token, now())? {
                    sessions::end(database, id)?;
                    self.note(Some(&person), Act::SignedOut, &person.name, "")?;
                }
                self.settled(&()).await
            }
            AccountsRequest::People => answer(&people::all(database)?),
            AccountsRequest::AddPerson { by, new } => {
                let person = self.add(&by, &new)?;
                self.settled(&person).await
            }
            AccountsRequest::ChangePerson { by, id, change } => {
                let person = self.change(&by, id, &change)?;
                self.settled(&person).await
            }
        }
    }

    /// Makes the first administrator. The route has checked the token.
    async fn bootstrap(&self, credentials: &Credentials) -> Result<Response, Failure> {
        let database = self.database.open()?;
        if people::is_any_administrator(database)? {
            return Err(ProblemKind::WrongToken.into());
        }
        let name = people::Name::new(&credentials.name)?;
        let password = self.hashing.hash(&credentials.password)?;
        let person = people::add(database, &name, Role::Administrator, &password)?;
        log!("accounts: person {} is the first administrator", person.id);
        self.note(Some(&person), Act::PersonAdded, &person.name, "first administrator")?;
        let begun = self.begin_session(person)?;
        self.settled(&begun).await
    }

    /// Signs in. An attempt counts, durably, before the password is compared.
    async fn sign_in(&self, credentials: &Credentials, address: Option<String>) -> Result<Response, Failure> {
        let database = self.database.open()?;
        let Ok(name) = people::Name::new(&credentials.name) else {
            return Err(ProblemKind::WrongPassword.into());
        };
        let subjects: Vec<Subject> =
            core::iter::once(Subject::Name(name.folded())).chain(address.map(Subject::Address)).collect();
        self.hashing.admit(now())?;
        throttle::count(database, &subjects, now())?;

        let known = people::find_by_name(database, &name)?;
        let stored = known.as_ref().map(|(_, password)| password.as_str());
        let matches = self.hashing.verify(&credentials.password, stored)?;
        match known {
            Some((person, _)) if matches && person.active => {
                throttle::forgive(database, &subjects)?;
                log!("accounts: person {} signed in", person.id);
                self.note(Some(&person), Act::SignedIn, &person.name, "")?;
                let begun = self.begin_session(person)?;
                self.settled(&begun).await
            }
            known => {
                match known {
                    Some((person, _)) => log!("accounts: person {} failed to sign in", person.id),
                    None => log!("accounts: an unknown name failed to sign in"),
                }
                self.note(None, Act::SignInRefused, &credentials.name, "")?;
                if let Err(failure) = self.settled(&()).await {
                    log!("accounts: what has ended is told again: {failure:?}");
                }
                Err(ProblemKind::WrongPassword.into())
            }
        }
    }

    fn begin_session(&self, person: Person) -> Result<SignedIn, Failure> {
        let database = self.database.open()?;
        let person = people::note_signed_in(database, person, now())?;
        let (token, ends_at) = sessions::begin(database, person.id, now(), &mut rng())?;
        Ok(SignedIn { person, token, ends_at })
    }

    /// Something for the audit log, in the turn of the act.
    fn note(&self, person: Option<&Person>, act: Act, subject: &str, detail: impl Into<String>) -> Result<(), Failure> {
        notes::add(self.database.open()?, person, act, subject, detail)
    }

    fn add(&self, by: &Person, new: &NewPerson) -> Result<Person, Failure> {
        let database = self.database.open()?;
        let name = people::Name::new(&new.credentials.name)?;
        if people::find_by_name(database, &name)?.is_some() {
            return Err(ProblemKind::NameTaken.into());
        }
        let password = self.hashing.hash(&new.credentials.password)?;
        let person = people::add(database, &name, new.role, &password)?;
        log!("accounts: person {} made the account {}, {:?}", by.id, person.id, person.role);
        self.note(Some(by), Act::PersonAdded, &person.name, format!("{:?}", person.role))?;
        Ok(person)
    }

    /// Changes an account; whatever weakens or moves its rights ends its sessions at once.
    fn change(&self, by: &Person, id: u64, change: &PersonChange) -> Result<Person, Failure> {
        let database = self.database.open()?;
        let before = people::find(database, id)?.ok_or(ProblemKind::NotFound)?;
        let password = change.password.as_deref().map(|password| self.hashing.hash(password)).transpose()?;
        let after = Person {
            role: change.role.unwrap_or(before.role),
            active: change.active.unwrap_or(before.active),
            ..before.clone()
        };
        let is_administrator = |person: &Person| person.active && person.role == Role::Administrator;
        if is_administrator(&before) && !is_administrator(&after) && !people::is_other_administrator(database, id)? {
            return Err(ProblemKind::LastAdministrator.into());
        }
        people::store(database, &after, password.as_deref())?;
        if after.role != before.role || !after.active || password.is_some() {
            sessions::end_all(database, id)?;
        }
        let active = if after.active { "active" } else { "inactive" };
        let with = if password.is_some() { ", with a new password" } else { "" };
        log!("accounts: person {} changed {id}: {:?}, {active}{with}", by.id, after.role);
        self.note(Some(by), Act::PersonChanged, &after.name, format!("{:?}, {active}{with}", after.role))?;
        Ok(after)
    }

    /// Answers once the site has closed what the step ended. What the site does not take now, the alarm repeats; notes for the
    /// audit log are stored, and nobody fails for them.
    async fn settled<A: Serialize>(&self, value: &A) -> Result<Response, Failure> {
        let (ended, told) =
            (self.settle().await, notes::tell(&self.env, self.database.open()?, SiteRequest::Notes).await);
        if ended.is_err() || told.is_err() {
            self.state.storage().set_alarm(ScheduledTime::from(RETRY)).await?;
        }
        if let Err(failure) = told {
            log!("accounts: the audit log is told again: {failure:?}");
        }
        ended?;
        answer(value)
    }

    /// Ends expired sessions, has the site close the connections of all ended ones, and sets the alarm for the next.
    async fn settle(&self) -> Result<(), Failure> {
        let database = self.database.open()?;
        sessions::end_expired(database, now())?;
        throttle::forget_old(database, now())?;
        let ended = sessions::ended(database)?;
        if !ended.is_empty() {
            let () = objects::call(&self.env, &SiteRequest::SessionsEnded(ended.clone())).await?;
            sessions::forget_ended(database, &ended)?;
        }
        if let Some(next) = sessions::next_end(database)? {
            self.state.storage().set_alarm(ScheduledTime::from(next.since(now()))).await?;
        }
        Ok(())
    }
}

/// When the site is told again, in milliseconds from now.
const RETRY: i64 = 1000;
