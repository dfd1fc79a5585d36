//! The lock after inactivity: a shared phone or desk shows nothing to whoever comes by, and comes back with one touch.
//!
//! While it is locked, the page is taken out of the document as it is: nothing of patients or devices is in it, the live connection is closed,
//! and what was typed waits. The lock is a curtain, not a door: whoever may go on is the server's to say, which ends a session that nobody
//! used for half an hour and every session after a shift; then the password is asked for.

use gloo_net::http::Method;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlDialogElement, HtmlElement};

use crate::api::Failure;
use crate::app::{App, Session, recall, remember, set_title, use_app, use_text};
use crate::clock::browser_millis;
use crate::session::Gate;
use crate::ui::{Trouble, focus, icon};

/// When this browser locks, in milliseconds since 1970; every page of it moves this moment on. Zero: it is locked.
const LOCKS_AT_KEY: &str = "wardlink.locks-at";
/// How long a person wants the page to wait, in minutes; the person's id follows.
const MINUTES_KEY: &str = "wardlink.lock-minutes";
/// How exactly the moment is stored, in milliseconds.
const PRECISION: u64 = 2_000;
/// A minute, in milliseconds.
const MINUTE: u64 = 60 * 1_000;
/// After how much use the server is told that somebody is there: a session that only looks would end.
const SIGN_OF_LIFE: u64 = 10 * MINUTE;

/// No person's id: ids begin at one.
const NOBODY: u64 = 0;

/// Who is signed in, once it is known.
fn signed_in(session: &Session) -> Option<u64> {
    match session {
        Session::In(person) => Some(person.id),
        Session::Out => Some(NOBODY),
        Session::Unknown | Session::Unreachable(_) => None,
    }
}

/// Where the page is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A phone, which is laid down anywhere.
    Hand,
    /// A desk.
    Desk,
}

impl Place {
    /// The waits that a person may choose, in minutes. The longest is well within the server's own limit of half an hour.
    pub(crate) const fn choices(self) -> &'static [u64] {
        match self {
            Self::Hand => &[1, 2, 5, 10],
            Self::Desk => &[1, 2, 5, 10, 15, 20],
        }
    }

    const fn default_minutes(self) -> u64 {
        match self {
            Self::Hand => 5,
            Self::Desk => 15,
        }
    }

    /// A remembered wait, unless it is none that may be chosen here.
    fn minutes(self, remembered: Option<&str>) -> u64 {
        let wanted = remembered.and_then(|text| text.parse().ok()).filter(|wanted| self.choices().contains(wanted));
        wanted.unwrap_or(self.default_minutes())
    }
}

/// The lock of a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lock {
    place: Place,
    is_on: RwSignal<bool>,
    /// For how long nobody has to touch it, in minutes.
    minutes: RwSignal<u64>,
    moments: StoredValue<Moments>,
}

/// Moments in milliseconds since 1970, and for whom they are.
#[derive(Clone, Copy, Debug)]
struct Moments {
    /// When it locks, as far as this page knows.
    locks_at: u64,
    /// The same, as it was stored last.
    stored: u64,
    /// When the server was told that somebody is there.
    told: u64,
    /// Who was signed in last; none before it is known.
    person: Option<u64>,
}

impl Lock {
    /// Begins as the browser was left: a page that is loaded anew stays locked.
    pub(crate) fn new(place: Place) -> Self {
        let left = recall(LOCKS_AT_KEY).and_then(|at| at.parse::<u64>().ok());
        Self {
            place,
            is_on: RwSignal::new(left.is_some_and(|at| at <= browser_millis())),
            minutes: RwSignal::new(place.default_minutes()),
            moments: StoredValue::new(Moments {
                locks_at: left.unwrap_or_default(),
                stored: 0,
                told: browser_millis(),
                person: None,
            }),
        }
    }

    /// Watches whether somebody is there. The listeners live as long as the page.
    pub(crate) fn start(self, app: App) {
        Effect::new(move |_| {
            // Once a second, and when somebody signs in or out.
            app.clock.now();
            match app.session.with(signed_in) {
                None => {}
                Some(person) => {
                    let last = self.moments.with_value(|moments| moments.person);
                    if last != Some(person) {
                        self.moments.update_value(|moments| moments.person = Some(person));
                        self.meet(person, last.is_none());
                    }
                    self.check(app);
                }
            }
        });
        for event in ["pointerdown", "pointermove", "keydown", "wheel"] {
            drop(window_event_listener_untyped(event, move |_| self.touch()));
        }
        drop(window_event_listener_untyped("visibilitychange", move |_| self.check(app)));
    }

    /// Who has just signed in is there, and so is who has just signed out; `first` is who was signed in before the page was loaded.
    fn meet(self, person: u64, first: bool) {
        let chosen = recall(&format!("{MINUTES_KEY}.{person}"));
        self.minutes.set(self.place.minutes(chosen.as_deref()));
        if !first || person == NOBODY || recall(LOCKS_AT_KEY).is_none() {
            self.open();
        }
    }

    /// Whether the page is locked.
    pub(crate) fn is_on(self) -> bool {
        self.is_on.get()
    }

    /// The same for whoever does not wait for a change.
    pub(crate) fn is_on_now(self) -> bool {
        self.is_on.get_untracked()
    }

    /// Locks now.
    pub(crate) fn lock(self) {
        remember(LOCKS_AT_KEY, "0");
        self.is_on.set(true);
    }

    /// Unlocks.
    fn open(self) {
        self.moments.update_value(|moments| moments.stored = 0);
        self.is_on.set(false);
        self.touch();
    }

    /// Somebody is there.
    fn touch(self) {
        if self.is_on.get_untracked() {
            return;
        }
        let at = browser_millis().saturating_add(self.minutes.get_untracked().saturating_mul(MINUTE));
        self.moments.update_value(|moments| {
            moments.locks_at = at;
            if at.abs_diff(moments.stored) >= PRECISION {
                moments.stored = at;
                remember(LOCKS_AT_KEY, &at.to_string());
            }
        });
    }

    /// Locks when it is time, unless another page of the browser is in use; tells the server that somebody is there.
    fn check(self, app: App) {
        let somebody = app.session.with_untracked(|session| matches!(session, Session::In(_)));
        if self.is_on.get_untracked() || !somebody {
            return;
        }
        let now = browser_millis();
        let Moments { locks_at, told, .. } = self.moments.get_value();
        if locks_at <= now {
            let elsewhere = recall(LOCKS_AT_KEY).and_then(|at| at.parse().ok()).unwrap_or_default();
            self.moments.update_value(|moments| moments.locks_at = elsewhere);
            if elsewhere <= now {
                return self.lock();
            }
        }
        if now.saturating_sub(told) >= SIGN_OF_LIFE {
            self.moments.update_value(|moments| moments.told = now);
            app.refresh_session();
        }
    }

    /// Chooses how long it waits, and remembers it for this person.
    fn choose(self, app: App, minutes: u64) {
        if let Session::In(person) = app.session.get_untracked() {
            remember(&format!("{MINUTES_KEY}.{}", person.id), &minutes.to_string());
        }
        self.minutes.set(minutes);
        self.moments.update_value(|moments| moments.stored = 0);
        self.touch();
    }
}

/// What the lock took away, and where one was in it.
struct Taken {
    page: Element,
    focused: Option<HtmlElement>,
    title: String,
}

impl Taken {
    /// Takes the page out of the document.
    fn take() -> Option<Self> {
        let page = document().query_selector(".whole").ok().flatten()?;
        let focused = document().active_element().and_then(|active| active.dyn_into().ok());
        page.remove();
        Some(Self { page, focused, title: document().title() })
    }

    /// Puts it back as it was.
    fn put_back(self) {
        if let Some(root) = document().get_element_by_id("app") {
            // The root is in the document, and the page in nothing.
            let _ = root.prepend_with_node_1(&self.page);
        }
        reopen_dialogs(&self.page);
        document().set_title(&self.title);
        if let Some(focused) = self.focused {
            // An element that is gone takes no focus, and needs none.
            let _ = focused.focus();
        }
    }
}

/// Shows the lock instead of the page, which is the element of the class `whole`.
#[component]
pub(crate) fn Curtain() -> impl IntoView {
    let app = use_app();
    let taken = StoredValue::new_local(None::<Taken>);
    move || {
        let name = app.session.with(|session| match session {
            Session::In(person) if app.lock.is_on() => Some(person.name.clone()),
            _ => None,
        });
        provide_context(app.language.get());
        taken.update_value(|taken| match (&name, taken.take()) {
            (Some(_), None) => *taken = Taken::take(),
            (None, Some(page)) => page.put_back(),
            (_, unchanged) => *taken = unchanged,
        });
        name.map(|name| view! { <LockScreen name=name/> })
    }
}

/// A dialog that was taken out of the document is no longer modal.
fn reopen_dialogs(page: &Element) {
    let Ok(dialogs) = page.query_selector_all("dialog[open]") else { return };
    for index in 0..dialogs.length() {
        if let Some(dialog) = dialogs.get(index).and_then(|node| node.dyn_into::<HtmlDialogElement>().ok()) {
            // A dialog that is closed and in the document can always be opened.
            let _ = dialog.remove_attribute("open");
            let _ = dialog.show_modal();
        }
    }
}

#[component]
fn LockScreen(name: String) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let failure = RwSignal::new(None::<Failure>);
    let busy = RwSignal::new(false);
    set_title(t.lock_title());
    request_animation_frame(|| focus("[data-testid=continue]"));
    let act = move |leaves: bool| {
        if busy.get_untracked() {
            return;
        }
        busy.set(true);
        failure.set(None);
        spawn_local(async move {
            let answer = if leaves {
                app.send(Method::DELETE, "/session", None).await.map(|_| app.session.set(Session::Out))
            } else {
                app.confirm_session().await
            };
            // The screen may be gone by now.
            let _ = busy.try_set(false);
            match answer {
                Ok(()) => app.lock.open(),
                Err(refused) => drop(failure.try_set(Some(refused))),
            }
        });
    };
    view! {
        <Gate>
            <section class="card pad stack" data-testid="lock-screen">
                <h1>{t.lock_title()}</h1>
                <p class="quiet">{t.lock_text()}</p>
                <Trouble failure=failure/>
                <button type="button" class="button large" data-testid="continue"
                    aria-disabled=move || busy.get().then_some("true") on:click=move |_| act(false)>
                    {t.lock_continue(&name)}
                </button>
                <button type="button" class="button quiet" data-testid="somebody-else" on:click=move |_| act(true)>{t.lock_somebody_else()}</button>
            </section>
        </Gate>
    }
}

/// Locks at once.
#[component]
pub(crate) fn LockNow() -> impl IntoView {
    let t = use_text();
    let app = use_app();
    view! {
        <button type="button" class="icon-button" data-testid="lock-now" aria-label=t.lock_now() title=t.lock_now()
            on:click=move |_| app.lock.lock()>{icon::lock()}</button>
    }
}

/// How long the page waits.
#[component]
pub(crate) fn LockAfter() -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let id = crate::ui::unique_id("lock");
    let options = app.lock.place.choices().iter().map(|&minutes| {
        let is_chosen = move || app.lock.minutes.get() == minutes;
        view! { <option value=minutes.to_string() selected=is_chosen>{t.minutes(minutes)}</option> }
    });
    view! {
        <div class="lock-after">
            <label for=id.clone()>{t.lock_after()}</label>
            <select id=id name="lock-after" prop:value=move || app.lock.minutes.get().to_string()
                on:change:target=move |event| if let Ok(minutes) = event.target().value().parse() {
                    app.lock.choose(app, minutes);
                }>{options.collect_view()}</select>
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remembered_wait_stays_within_the_bounds_of_its_place() {
        assert_eq!(Place::Hand.minutes(None), 5);
        assert_eq!(Place::Desk.minutes(None), 15);
        assert_eq!(Place::Hand.minutes(Some("10")), 10);
        assert_eq!(Place::Hand.minutes(Some("20")), 5, "a phone does not wait that long");
        assert_eq!(Place::Desk.minutes(Some("20")), 20);
        for nonsense in ["", "0", "-1", "999999", "ten"] {
            assert_eq!(Place::Desk.minutes(Some(nonsense)), 15, "{nonsense}");
        }
    }

    #[test]
    fn the_default_can_be_chosen_and_no_choice_outlasts_the_session() {
        for place in [Place::Hand, Place::Desk] {
            assert!(place.choices().contains(&place.default_minutes()));
            assert!(place.choices().iter().all(|minutes| *minutes < 30));
        }
    }
}
