//! What devices are given beforehand: provisioning files and labels, and the access secrets that are in use.

use leptos::prelude::*;
use leptos::task::spawn_local;
use wardlink_protocol::api::{DeviceClass, SecretView};

use crate::api::Failure;
use crate::app::{App, use_app, use_text};
use crate::ui::ScreenTitle;

mod label;
mod make;
mod secrets;

/// What the screen knows; the secrets themselves are not among it.
#[derive(Clone, Copy)]
struct Known {
    app: App,
    secrets: RwSignal<Option<Vec<SecretView>>>,
    classes: RwSignal<Option<Vec<DeviceClass>>>,
    failure: RwSignal<Option<Failure>>,
}

impl Known {
    fn load(self) {
        self.failure.set(None);
        spawn_local(async move {
            // The screen may be gone by now.
            match self.app.get("/secrets").await {
                Ok(list) => drop(self.secrets.try_set(Some(list))),
                Err(refused) => drop(self.failure.try_set(Some(refused))),
            }
            if self.classes.try_with_untracked(Option::is_some) == Some(false) {
                match self.app.get("/classes").await {
                    Ok(list) => drop(self.classes.try_set(Some(list))),
                    Err(refused) => drop(self.failure.try_set(Some(refused))),
                }
            }
        });
    }
}

/// The screen.
#[component]
pub(crate) fn Provisioning() -> impl IntoView {
    let t = use_text();
    let known = Known {
        app: use_app(),
        secrets: RwSignal::new(None),
        classes: RwSignal::new(None),
        failure: RwSignal::new(None),
    };
    known.load();
    view! {
        <section class="list-pane wide">
            <ScreenTitle text=t.provisioning_title()/>
            <p class="quiet">{t.provisioning_text()}</p>
            <div class="two">
                <make::Make known=known/>
                <secrets::Secrets known=known/>
            </div>
        </section>
    }
}
