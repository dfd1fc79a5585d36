//! The accounts: list, add, change.

use gloo_net::http::Method;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wardlink_protocol::api::{Credentials, NewPerson, Person, PersonChange, Role};
use wardlink_protocol::limits::MIN_PASSWORD_CHARS;

use crate::api::{self, Failure};
use crate::app::{use_app, use_text};
use crate::clock;
use crate::control_unit_page::role_name;
use crate::fetched::Fetched;
use crate::session::password_error;
use crate::ui::dialog::{CloseDialog, asking};
use crate::ui::field::{Choice, Field};
use crate::ui::{ScreenTitle, Trouble, icon, unique_id};

/// What is asked in a dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
    Add,
    Role(Person),
    Password(Person),
}

/// The accounts that are known.
type Accounts = Fetched<Vec<Person>>;

/// Changes an account and shows the answer in the list.
async fn change(accounts: Accounts, id: u64, change: PersonChange) -> Result<(), Failure> {
    let answer = accounts.app.send(Method::PATCH, &format!("/people/{id}"), api::json(&change)).await?;
    put(accounts, answer.read()?);
    Ok(())
}

fn put(accounts: Accounts, person: Person) {
    accounts.amend(|list| {
        match list.iter_mut().find(|known| known.id == person.id) {
            Some(known) => *known = person,
            None => list.push(person),
        }
        true
    });
}

/// The screen.
#[component]
pub(crate) fn People() -> impl IntoView {
    let t = use_text();
    let accounts = Accounts::start("/people");
    let ask = RwSignal::new(None);
    view! {
        <section class="list-pane wide">
            <div class="screen-head">
                <ScreenTitle text=t.people_title()/>
                <button type="button" class="button small" data-testid="add-person" on:click=move |_| ask.set(Some(Ask::Add))>
                    {icon::add()} {t.add_person()}
                </button>
            </div>
            {accounts.trouble()}
            {accounts.rows("people", |_| true, move |person| view! { <Row person=person accounts=accounts ask=ask/> })}
            {accounts.waiting()}
            <Asking ask=ask accounts=accounts/>
        </section>
    }
}

#[component]
fn Row(person: Person, accounts: Accounts, ask: RwSignal<Option<Ask>>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let last = match person.last_signed_in {
        Some(at) => t.last_signed_in(&clock::day_and_time(at, t)),
        None => t.never_signed_in().to_owned(),
    };
    let (id, active) = (person.id, person.active);
    let switch = move |_| {
        spawn_local(async move {
            let wanted = PersonChange { active: Some(!active), ..PersonChange::default() };
            if let Err(failure) = change(accounts, id, wanted).await {
                app.notices.failure(&failure, t);
            }
        });
    };
    let (for_role, for_password) = (person.clone(), person.clone());
    view! {
        <li class="row" class:inactive=!active data-testid="person" data-name=person.name.clone()>
            <div class="row-main">
                <h2>{person.name.clone()} <small>{role_name(person.role, t)}</small></h2>
                <p class="tiny">{last}</p>
            </div>
            <div class="acts">
                {(!active).then(|| view! { <span class="chip">{t.inactive()}</span> })}
                <button type="button" class="button small quiet" on:click=move |_| ask.set(Some(Ask::Role(for_role.clone())))>
                    {t.change_role()}<span class="visually-hidden">{format!(": {}", person.name)}</span>
                </button>
                <button type="button" class="button small quiet" on:click=move |_| ask.set(Some(Ask::Password(for_password.clone())))>
                    {t.new_password()}<span class="visually-hidden">{format!(": {}", person.name)}</span>
                </button>
                <button type="button" class="button small quiet" on:click=switch>
                    {if active { t.deactivate() } else { t.activate() }}<span class="visually-hidden">{format!(": {}", person.name)}</span>
                </button>
            </div>
        </li>
    }
}

#[component]
fn Asking(ask: RwSignal<Option<Ask>>, accounts: Accounts) -> impl IntoView {
    let t = use_text();
    let title = move |question: &Ask| match question {
        Ask::Add => t.add_person().to_owned(),
        Ask::Role(person) => t.change_role_of(&person.name),
        Ask::Password(person) => t.new_password_of(&person.name),
    };
    let content = move |question: Ask, close: CloseDialog| {
        view! { <AccountForm ask=question accounts=accounts close=close/> }.into_any()
    };
    asking(ask, title, content)
}

/// The form of a dialog: a new account, another role, or a new password.
#[component]
fn AccountForm(ask: Ask, accounts: Accounts, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let (name, password) = (RwSignal::new(String::new()), RwSignal::new(String::new()));
    let role = RwSignal::new(match &ask {
        Ask::Role(person) => person.role,
        Ask::Add | Ask::Password(_) => Role::Nurse,
    });
    let (name_error, word_error) = (RwSignal::new(None), RwSignal::new(None));
    let failure = RwSignal::new(None);
    let busy = RwSignal::new(false);
    let (asks_name, asks_password) = (ask == Ask::Add, !matches!(ask, Ask::Role(_)));
    let asks_role = !matches!(ask, Ask::Password(_));
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let (typed_name, typed_password) = (name.get_untracked().trim().to_owned(), password.get_untracked());
        name_error.set((asks_name && typed_name.is_empty()).then(|| t.name_missing().to_owned()));
        word_error.set(password_error(&typed_password, t).filter(|_| asks_password));
        if busy.get_untracked()
            || name_error.with_untracked(Option::is_some)
            || word_error.with_untracked(Option::is_some)
        {
            return;
        }
        busy.set(true);
        failure.set(None);
        let (ask, role) = (ask.clone(), role.get_untracked());
        spawn_local(async move {
            let answer = save(accounts, ask, typed_name, typed_password, role).await;
            // The dialog may have been closed meanwhile.
            let _ = busy.try_set(false);
            match answer {
                Ok(()) => close.run(),
                Err(refused) => drop(failure.try_set(Some(refused))),
            }
        });
    };
    view! {
        <form class="stack" data-testid="person-form" on:submit=submit novalidate>
            {asks_name.then(|| view! {
                <Field label=t.person_name() value=name name="new-name" hint=t.person_name_hint() error=name_error focus=true/>
            })}
            {asks_password.then(|| view! {
                <Field
                    label=t.new_password()
                    value=password
                    name="new-password"
                    kind="password"
                    autocomplete="new-password"
                    hint=t.password_rule(MIN_PASSWORD_CHARS)
                    error=word_error
                    focus=!asks_name
                />
            })}
            {asks_role.then(|| view! { <Roles role=role/> })}
            <Trouble failure=failure/>
            <div class="answers">
                <button type="button" class="button quiet" on:click=move |_| close.run()>{t.cancel()}</button>
                <button class="button" data-testid="confirm" aria-disabled=move || busy.get().then_some("true")>{t.save()}</button>
            </div>
        </form>
    }
}

async fn save(accounts: Accounts, ask: Ask, name: String, password: String, role: Role) -> Result<(), Failure> {
    match ask {
        Ask::Add => {
            let person = NewPerson { credentials: Credentials { name, password }, role };
            put(accounts, accounts.app.post("/people", &person).await?.read()?);
            Ok(())
        }
        Ask::Role(person) => {
            change(accounts, person.id, PersonChange { role: Some(role), ..PersonChange::default() }).await
        }
        Ask::Password(person) => {
            change(accounts, person.id, PersonChange { password: Some(password), ..PersonChange::default() }).await
        }
    }
}

#[component]
fn Roles(role: RwSignal<Role>) -> impl IntoView {
    let t = use_text();
    let group = unique_id("role");
    let choices = Role::ALL.map(|choice| {
        let hint = match choice {
            Role::Nurse => t.role_nurse_hint(),
            Role::BiomedicalEngineer => t.role_engineer_hint(),
            Role::Administrator => t.role_administrator_hint(),
            Role::Auditor => t.role_auditor_hint(),
        };
        view! {
            <Choice
                name=group.clone()
                label=role_name(choice, t)
                hint=hint
                value=format!("{choice:?}")
                chosen=Signal::derive(move || role.get() == choice)
                choose=Callback::new(move |()| role.set(choice))
            />
        }
    });
    view! { <fieldset class="choices"><legend>{t.role()}</legend>{choices.into_iter().collect_view()}</fieldset> }
}
