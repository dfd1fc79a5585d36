//! What every screen of a page shares: language, theme, who is signed in, the server's time, notices.

use gloo_net::http::Method;
use leptos::prelude::*;
use leptos::task::spawn_local;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wardlink_protocol::api::{Person, ProblemKind, Right};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::VisibilityState;

use crate::api::{self, Answer, Failure};
use crate::clock::Clock;
use crate::lock::{Curtain, Lock, Place};
use crate::text::Language;
use crate::ui::notice::Notices;

/// Where the chosen language and theme are remembered.
const LANGUAGE_KEY: &str = "wardlink.language";
const THEME_KEY: &str = "wardlink.theme";

/// Light or dark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Theme {
    /// As the system is.
    #[default]
    System,
    /// Light, whatever the system is.
    Light,
    /// Dark, whatever the system is.
    Dark,
}

impl Theme {
    /// All themes, in the order of the switch.
    pub(crate) const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    /// The word in storage and in `data-theme`.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

/// Who is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    /// Not known yet.
    Unknown,
    /// The server could not be asked.
    Unreachable(Failure),
    /// Nobody.
    Out,
    /// This person.
    In(Person),
}

/// What every screen shares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct App {
    /// The language of the page.
    pub(crate) language: RwSignal<Language>,
    /// Light or dark.
    pub(crate) theme: RwSignal<Theme>,
    /// Who is signed in.
    pub(crate) session: RwSignal<Session>,
    /// The server's time.
    pub(crate) clock: Clock,
    /// Short messages.
    pub(crate) notices: Notices,
    /// The lock after inactivity.
    pub(crate) lock: Lock,
}

impl App {
    /// Begins with what is remembered, and asks the server who is signed in.
    pub(crate) fn start(place: Place) -> Self {
        let app = Self {
            language: RwSignal::new(remembered_language()),
            theme: RwSignal::new(remembered_theme()),
            session: RwSignal::new(Session::Unknown),
            clock: Clock::start(),
            notices: Notices::default(),
            lock: Lock::new(place),
        };
        app.lock.start(app);
        Effect::new(move |_| apply_language(app.language.get()));
        Effect::new(move |_| apply_theme(app.theme.get()));
        app.refresh_session();
        app
    }

    /// Chooses a language and remembers it.
    pub(crate) fn choose_language(self, language: Language) {
        remember(LANGUAGE_KEY, language.tag());
        self.language.set(language);
    }

    /// Chooses a theme and remembers it.
    pub(crate) fn choose_theme(self, theme: Theme) {
        remember(THEME_KEY, theme.word());
        self.theme.set(theme);
    }

    /// Asks the server who is signed in.
    pub(crate) fn refresh_session(self) {
        spawn_local(self.ask_session());
    }

    /// Asks the server who is signed in, and waits for the answer.
    pub(crate) async fn ask_session(self) {
        if let Err(failure) = self.confirm_session().await
            && !matches!(self.session.get_untracked(), Session::In(_))
        {
            self.session.set(Session::Unreachable(failure));
        }
    }

    /// Learns from the server who is signed in, or why it cannot be known.
    pub(crate) async fn confirm_session(self) -> Result<(), Failure> {
        let answer = self.send(Method::GET, "/session", None).await?;
        match answer.read_unless_empty::<Person>()? {
            Some(person) => self.sign_in(person),
            None => self.session.set(Session::Out),
        }
        Ok(())
    }

    /// A person has signed in; the same person again changes nothing on the screen.
    pub(crate) fn sign_in(self, person: Person) {
        let session = Session::In(person);
        if self.session.with_untracked(|present| *present != session) {
            self.session.set(session);
        }
    }

    /// Signs out, and shows it only when the server has ended the session.
    pub(crate) fn sign_out(self) {
        spawn_local(async move {
            match self.send(Method::DELETE, "/session", None).await {
                Ok(_) => self.session.set(Session::Out),
                Err(failure) => self.notices.failure(&failure, self.language.get_untracked()),
            }
        });
    }

    /// Whether the person who is signed in may do something. Another person or role draws the page anew.
    pub(crate) fn may(self, right: Right) -> bool {
        self.session.with_untracked(|session| matches!(session, Session::In(person) if person.role.may(right)))
    }

    /// Gets a value.
    pub(crate) async fn get<T: DeserializeOwned>(self, path: &str) -> Result<T, Failure> {
        self.send(Method::GET, path, None).await?.read()
    }

    /// Gets a value by itself, again: that keeps no session alive.
    pub(crate) async fn look<T: DeserializeOwned>(self, path: &str) -> Result<T, Failure> {
        self.learn(api::look(path).await)?.read()
    }

    /// Whether somebody may see the page: it is in front, and not locked. While it is not, it asks for nothing by itself.
    pub(crate) fn is_watched(self) -> bool {
        !self.lock.is_on_now() && document().visibility_state() == VisibilityState::Visible
    }

    /// Posts a value.
    pub(crate) async fn post(self, path: &str, body: &impl Serialize) -> Result<Answer, Failure> {
        self.send(Method::POST, path, api::json(body)).await
    }

    /// Sends a request, and learns from the answer the server's time and whether the session has ended.
    pub(crate) async fn send(self, method: Method, path: &str, body: Option<String>) -> Result<Answer, Failure> {
        self.learn(api::send(method, path, body).await)
    }

    /// Sends a publisher's request, as this person.
    pub(crate) async fn publish(self, method: Method, path: &str, body: &JsValue) -> Result<Answer, Failure> {
        self.learn(api::publish(method, path, body).await)
    }

    fn learn(self, answer: Result<Answer, Failure>) -> Result<Answer, Failure> {
        match &answer {
            Ok(Answer { date: Some(date), .. }) => self.clock.learn(*date),
            Err(failure) if failure.kind() == Some(ProblemKind::SignedOut) => self.session.set(Session::Out),
            _ => {}
        }
        answer
    }
}

/// What every screen shares.
pub(crate) fn use_app() -> App {
    expect_context()
}

/// The language in which the screen is drawn; choosing another draws it anew.
pub(crate) fn use_text() -> Language {
    expect_context()
}

/// Puts a page into `#app`. `prepare` provides once what outlives a change of language; the page is drawn anew for each.
pub(crate) fn mount<V: IntoView + 'static>(place: Place, prepare: fn(App), page: fn(App) -> V) {
    let Some(root) = document().get_element_by_id("app") else { return };
    root.set_inner_html("");
    let Ok(root) = root.dyn_into() else { return };
    leptos::mount::mount_to(root, move || {
        let app = App::start(place);
        provide_context(app);
        prepare(app);
        view! {
            <div class="whole">
                {move || {
                    provide_context(app.language.get());
                    page(app)
                }}
            </div>
            <Curtain/>
        }
    })
    .forget();
}

/// Leaves the document's title at the name of the screen.
pub(crate) fn set_title(title: &str) {
    document().set_title(&format!("{title} · Wardlink"));
}

fn apply_language(language: Language) {
    if let Some(root) = document().document_element() {
        // Attributes of these names are always valid.
        let _ = root.set_attribute("lang", language.tag());
    }
}

fn apply_theme(theme: Theme) {
    if let Some(root) = document().document_element() {
        let _ = match theme {
            Theme::System => root.remove_attribute("data-theme"),
            Theme::Light | Theme::Dark => root.set_attribute("data-theme", theme.word()),
        };
    }
}

fn remembered_language() -> Language {
    let preferred = || window().navigator().languages().iter().find_map(|tag| Language::from_tag(&tag.as_string()?));
    recall(LANGUAGE_KEY).and_then(|tag| Language::from_tag(&tag)).or_else(preferred).unwrap_or_default()
}

fn remembered_theme() -> Theme {
    let word = recall(THEME_KEY).unwrap_or_default();
    Theme::ALL.into_iter().find(|theme| theme.word() == word).unwrap_or_default()
}

/// Remembers a value in this browser. Storage may be switched off: then nothing is remembered.
pub(crate) fn remember(key: &str, value: &str) {
    if let Ok(Some(storage)) = window().local_storage() {
        let _ = storage.set_item(key, value);
    }
}

/// What was remembered.
pub(crate) fn recall(key: &str) -> Option<String> {
    window().local_storage().ok()??.get_item(key).ok()?
}
