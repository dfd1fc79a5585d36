//! Signing in, and the first administrator's welcome.

use gloo_net::http::Method;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wardlink_protocol::api::{Bootstrap, BootstrapState, Credentials, Person, Role};
use wardlink_protocol::limits::{MAX_PASSWORD_BYTES, MIN_PASSWORD_CHARS};

use crate::api::{self, Failure};
use crate::app::{Session, use_app, use_text};
use crate::text::Language;
use crate::ui::field::Field;
use crate::ui::preferences::Preferences;
use crate::ui::{Loading, ScreenTitle, Trouble, icon};

/// What stands before everything else: the frame of a screen for somebody who is not signed in.
#[component]
pub(crate) fn Gate(children: Children) -> impl IntoView {
    view! {
        <main class="gate">
            <div class="gate-brand">{icon::mark()}<span>"Wardlink"</span></div>
            {children()}
            <Preferences/>
        </main>
    }
}

/// The heading of a page that has nothing to say yet.
#[component]
fn NoTitle() -> impl IntoView {
    view! { <h1 class="visually-hidden">"Wardlink"</h1> }
}

/// Shows `page` to a person who is signed in, and the way in to everybody else.
#[component]
pub(crate) fn SignedIn(
    /// The page; it stays as it is while the same person is signed in.
    page: fn() -> AnyView,
) -> impl IntoView {
    let app = use_app();
    let stage = Memo::new(move |_| {
        app.session.with(|session| match session {
            Session::Unknown => Stage::Asking,
            Session::Unreachable(failure) => Stage::Failed(failure.clone()),
            Session::Out => Stage::Out,
            Session::In(person) => Stage::In(person.id, person.role),
        })
    });
    move || match stage.get() {
        Stage::Asking => view! { <Gate><NoTitle/><Loading/></Gate> }.into_any(),
        Stage::Failed(failure) => {
            let retry = Callback::new(move |()| app.refresh_session());
            view! { <Gate><NoTitle/><div class="card pad"><Trouble failure=Signal::stored(Some(failure)) retry=retry/></div></Gate> }.into_any()
        }
        Stage::Out => view! { <Gate><SignIn/></Gate> }.into_any(),
        Stage::In(..) => page(),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    Asking,
    Failed(Failure),
    Out,
    In(u64, Role),
}

/// The sign-in form.
#[component]
fn SignIn() -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let (name, password) = (RwSignal::new(String::new()), RwSignal::new(String::new()));
    let failure = RwSignal::new(None);
    let busy = RwSignal::new(false);
    let nobody_yet = RwSignal::new(false);
    spawn_local(async move {
        if let Ok(state) = app.get::<BootstrapState>("/bootstrap").await {
            // The form may be gone by now.
            let _ = nobody_yet.try_set(state.needed);
        }
    });
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        if busy.get_untracked() {
            return;
        }
        busy.set(true);
        failure.set(None);
        spawn_local(async move {
            let credentials =
                Credentials { name: name.get_untracked().trim().to_owned(), password: password.get_untracked() };
            let answer = app.post("/session", &credentials).await;
            match answer.and_then(|answer| answer.read::<Person>()) {
                Ok(person) => app.sign_in(person),
                Err(refused) => failure.set(Some(refused)),
            }
            busy.set(false);
        });
    };
    view! {
        <form class="card pad stack" data-testid="sign-in" on:submit=submit>
            <ScreenTitle text=t.sign_in_title()/>
            {move || nobody_yet.get().then(|| view! { <p class="hint">{t.nobody_yet()}</p> })}
            <Field label=t.person_name() value=name name="username" autocomplete="username" focus=true/>
            <Field label=t.password() value=password name="password" kind="password" autocomplete="current-password"/>
            <Trouble failure=failure/>
            <button class="button" aria-disabled=move || busy.get().then_some("true")>
                {move || if busy.get() { t.signing_in() } else { t.sign_in() }}
            </button>
        </form>
    }
}

/// What is wrong with a new password, before it is sent.
pub(crate) fn password_error(password: &str, t: Language) -> Option<String> {
    let chars = password.chars().count();
    if chars < MIN_PASSWORD_CHARS {
        Some(t.password_too_short(chars, MIN_PASSWORD_CHARS))
    } else if password.len() > MAX_PASSWORD_BYTES {
        Some(t.password_too_long(MAX_PASSWORD_BYTES))
    } else {
        None
    }
}

/// The first administrator, by the one-time link.
#[component]
pub(crate) fn Welcome(
    /// The token of the link.
    token: String,
    /// Called when the administrator exists and is signed in.
    done: Callback<()>,
) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let (name, password) = (RwSignal::new(String::new()), RwSignal::new(String::new()));
    let (name_error, word_error) = (RwSignal::new(None), RwSignal::new(None));
    let failure = RwSignal::new(None);
    let busy = RwSignal::new(false);
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let credentials =
            Credentials { name: name.get_untracked().trim().to_owned(), password: password.get_untracked() };
        name_error.set(credentials.name.is_empty().then(|| t.name_missing().to_owned()));
        word_error.set(password_error(&credentials.password, t));
        if busy.get_untracked()
            || name_error.with_untracked(Option::is_some)
            || word_error.with_untracked(Option::is_some)
        {
            return;
        }
        busy.set(true);
        failure.set(None);
        let bootstrap = Bootstrap { token: token.clone(), credentials };
        spawn_local(async move {
            let answer = app.send(Method::POST, "/bootstrap", api::json(&bootstrap)).await;
            match answer.and_then(|answer| answer.read::<Person>()) {
                Ok(person) => {
                    app.sign_in(person);
                    done.run(());
                }
                Err(refused) => failure.set(Some(refused)),
            }
            busy.set(false);
        });
    };
    view! {
        <Gate>
            <form class="card pad stack" data-testid="welcome" on:submit=submit>
                <ScreenTitle text=t.welcome_title()/>
                <p class="quiet">{t.welcome_text()}</p>
                <Field label=t.person_name() value=name name="username" autocomplete="username" error=name_error focus=true/>
                <Field
                    label=t.new_password()
                    value=password
                    name="password"
                    kind="password"
                    autocomplete="new-password"
                    hint=t.password_rule(MIN_PASSWORD_CHARS)
                    error=word_error
                />
                <Trouble failure=failure/>
                <button class="button" aria-disabled=move || busy.get().then_some("true")>{t.create_administrator()}</button>
            </form>
        </Gate>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_has_at_least_twelve_characters_of_any_kind() {
        let wrong = |password: &str| password_error(password, Language::English).is_some();
        assert!(wrong("elf zeichen"));
        assert!(!wrong("zwölf zeiche"));
        assert!(!wrong("ß€漢字ß€漢字ß€漢字"));
    }

    #[test]
    fn a_password_that_would_be_cut_is_refused() {
        assert!(password_error(&"a".repeat(257), Language::English).is_some());
        assert!(password_error(&"a".repeat(256), Language::English).is_none());
    }
}
