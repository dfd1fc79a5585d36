//! The rules as the server has them, and as a person has changed them.

use gloo_net::http::Method;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::api::{DeviceClass, PairingPolicy, PolicyView, ProblemKind, Trust};
use wasm_bindgen::JsValue;

use super::draft::{Part, changes, meet, weaker};
use crate::api::{self, Failure};
use crate::app::{App, Session};
use crate::route::Route;

/// Somebody else's change that met one of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meeting {
    /// Who changed the rules.
    pub(super) by: Option<String>,
    /// When.
    pub(super) at: Option<UnixMillis>,
    /// What both changed.
    pub(super) both: Vec<Part>,
}

/// The rules; they outlive the screen, so that nothing unsaved is lost by leaving it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    app: StoredValue<App>,
    /// As the server has them.
    pub(super) view: RwSignal<Option<PolicyView>>,
    /// As they are changed.
    pub(super) draft: RwSignal<Option<PairingPolicy>>,
    /// Somebody else's change that met ours.
    pub(super) met: RwSignal<Option<Meeting>>,
    /// Fields that hold no number; what is typed stays until it is one.
    pub(super) request_text: RwSignal<Option<String>>,
    pub(super) verification_text: RwSignal<Option<String>>,
    pub(super) classes: RwSignal<Vec<DeviceClass>>,
    pub(super) failure: RwSignal<Option<Failure>>,
    pub(super) refused: RwSignal<Option<Failure>>,
    pub(super) busy: RwSignal<bool>,
}

impl Rules {
    /// Knows nothing yet, and forgets everything when another person signs in. The browser asks before it throws a change away.
    pub(crate) fn start(app: App) -> Self {
        let rules = Self {
            app: StoredValue::new(app),
            view: RwSignal::new(None),
            draft: RwSignal::new(None),
            met: RwSignal::new(None),
            request_text: RwSignal::new(None),
            verification_text: RwSignal::new(None),
            classes: RwSignal::new(Vec::new()),
            failure: RwSignal::new(None),
            refused: RwSignal::new(None),
            busy: RwSignal::new(false),
        };
        let person = Memo::new(move |_| {
            app.session.with(|session| match session {
                Session::In(person) => Some((person.id, person.role)),
                _ => None,
            })
        });
        Effect::new(move |last: Option<Option<_>>| {
            let (last, present) = (last.flatten(), person.get());
            // Who signs in again finds the change as it was.
            if present.is_some() && last.is_some() && last != present {
                rules.forget();
            }
            present.or(last)
        });
        // The listener lives as long as the page.
        drop(window_event_listener(leptos::ev::beforeunload, move |event| {
            if rules.is_changed_untracked() {
                event.prevent_default();
                // Some browsers ask only then.
                let _ = js_sys::Reflect::set(&event, &"returnValue".into(), &JsValue::from_str("."));
            }
        }));
        rules
    }

    fn app(self) -> App {
        self.app.get_value()
    }

    fn forget(self) {
        self.view.set(None);
        self.draft.set(None);
        self.met.set(None);
        self.refused.set(None);
        self.forget_typed();
    }

    fn forget_typed(self) {
        self.request_text.set(None);
        self.verification_text.set(None);
    }

    /// Asks the server for the rules and the classes. A change that is not saved stays.
    pub(super) fn load(self) {
        self.failure.set(None);
        spawn_local(async move {
            match self.app().get::<PolicyView>("/policy").await {
                Ok(view) => self.learn(view),
                Err(failure) => self.failure.set(Some(failure)),
            }
            // Without names, the classes stand there as they do in topics.
            if let Ok(classes) = self.app().get("/classes").await {
                self.classes.set(classes);
            }
        });
    }

    /// Takes the server's rules over; what is changed here is made again from them.
    fn learn(self, view: PolicyView) {
        let base = self.view.with_untracked(|known| known.as_ref().map(|known| known.policy.clone()));
        let mine = self.draft.get_untracked();
        match (base, mine) {
            (Some(base), Some(mine)) if base != mine => {
                if base.version != view.policy.version {
                    let (met, both) = meet(&base, &mine, &view.policy);
                    self.draft.set(Some(met));
                    self.met.set(Some(Meeting { by: view.changed_by.clone(), at: view.changed_at, both }));
                }
            }
            _ => self.draft.set(Some(view.policy.clone())),
        }
        self.view.set(Some(view));
    }

    /// Who tells this site where connections come from.
    pub(super) fn trust(self) -> Trust {
        self.view.with(|view| view.as_ref().map_or(Trust::None, |view| view.trust))
    }

    /// Reads the changed rules.
    pub(super) fn part<T: Default>(self, read: impl Fn(&PairingPolicy) -> T) -> T {
        self.draft.with(|draft| draft.as_ref().map(read).unwrap_or_default())
    }

    /// Changes the rules; nothing is sent.
    pub(super) fn change(self, change: impl FnOnce(&mut PairingPolicy)) {
        self.refused.set(None);
        self.draft.update(|draft| {
            if let Some(draft) = draft {
                change(draft);
            }
        });
    }

    /// Whether something is changed that is not saved.
    pub(crate) fn is_changed(self) -> bool {
        let typed = self.request_text.with(Option::is_some) || self.verification_text.with(Option::is_some);
        typed || self.compare(|base, draft| !changes(base, draft).is_empty())
    }

    fn is_changed_untracked(self) -> bool {
        untrack(|| self.is_changed())
    }

    /// What the change weakens.
    pub(super) fn weaker(self) -> Vec<Part> {
        self.compare(weaker)
    }

    /// Compares the rules as the server has them with the changed ones.
    pub(super) fn compare<T: Default>(self, compare: impl Fn(&PairingPolicy, &PairingPolicy) -> T) -> T {
        self.view.with(|view| {
            self.draft.with(|draft| match (view, draft) {
                (Some(view), Some(draft)) => compare(&view.policy, draft),
                _ => T::default(),
            })
        })
    }

    /// Throws the change away; for some seconds it can be brought back.
    pub(super) fn discard(self) {
        let t = self.app().language.get_untracked();
        let thrown = self.draft.get_untracked();
        self.draft.set(self.view.with_untracked(|view| view.as_ref().map(|view| view.policy.clone())));
        self.met.set(None);
        self.refused.set(None);
        self.forget_typed();
        spawn_local(async move {
            let bring_back = Callback::new(move |()| self.draft.set(thrown.clone()));
            self.app().notices.offer_undo(t.policy_discarded().to_owned(), t.undo(), bring_back).await;
        });
    }

    /// Sends the change. Rules that somebody else has changed meanwhile are fetched, and the change waits on top of them.
    pub(super) async fn save(self) -> Result<(), Failure> {
        let Some(draft) = self.draft.get_untracked() else { return Ok(()) };
        let before = self.view.with_untracked(|view| view.as_ref().map(|view| view.policy.clone()));
        self.busy.set(true);
        self.refused.set(None);
        let answer = self.put(&draft).await;
        self.busy.set(false);
        match answer {
            Ok(view) => {
                self.met.set(None);
                self.take(view);
                if let Some(before) = before {
                    self.offer_return(before);
                }
                Ok(())
            }
            Err(failure) if failure.kind() == Some(ProblemKind::Outdated) => {
                let present = self.app().get::<PolicyView>("/policy").await;
                present.map(|view| self.learn(view))
            }
            Err(failure) => Err(failure),
        }
    }

    async fn put(self, policy: &PairingPolicy) -> Result<PolicyView, Failure> {
        self.app().send(Method::PUT, "/policy", api::json(policy)).await?.read()
    }

    fn take(self, view: PolicyView) {
        self.draft.set(Some(view.policy.clone()));
        self.view.set(Some(view));
    }

    /// For some seconds, the rules from before can be had again.
    fn offer_return(self, before: PairingPolicy) {
        let t = self.app().language.get_untracked();
        let present = self.view.with_untracked(|view| view.as_ref().map(|view| view.policy.version));
        let back = PairingPolicy { version: present.unwrap_or(before.version), ..before };
        let undo = Callback::new(move |()| {
            let back = back.clone();
            spawn_local(async move {
                match self.put(&back).await {
                    Ok(view) => self.take(view),
                    Err(failure) => self.app().notices.failure(&failure, t),
                }
            });
        });
        spawn_local(async move {
            self.app().notices.offer_undo(t.policy_saved().to_owned(), t.undo(), undo).await;
        });
    }

    /// Says, when the screen is left, that the change is kept.
    pub(crate) fn left(self) {
        if !self.is_changed_untracked() {
            return;
        }
        let t = self.app().language.get_untracked();
        let back = Callback::new(|()| {
            // A fragment of the same page is always a valid address.
            let _ = window().location().set_hash(&Route::Policy.to_string());
        });
        spawn_local(async move {
            self.app().notices.offer_undo(t.policy_kept().to_owned(), t.policy_back(), back).await;
        });
    }
}
