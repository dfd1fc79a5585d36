//! Several devices of the fleet, chosen for one act.

use std::collections::BTreeSet;

use leptos::prelude::*;
use wardlink_protocol::Device;
use wardlink_protocol::api::Right;
use wardlink_protocol::grant::DeviceState;

use super::revoke::Ask;
use crate::app::{use_app, use_text};
use crate::live::Live;

/// The chosen devices; none while nothing is being chosen.
#[derive(Clone, Copy)]
pub(super) struct Selection(RwSignal<Option<BTreeSet<Device>>>);

impl Selection {
    /// Nothing is being chosen.
    pub(super) fn new() -> Self {
        Self(RwSignal::new(None))
    }

    /// Whether devices are being chosen.
    pub(super) fn is_on(self) -> bool {
        self.0.with(Option::is_some)
    }

    /// Whether a device is chosen.
    pub(super) fn holds(self, device: &Device) -> bool {
        self.0.with(|chosen| chosen.as_ref().is_some_and(|chosen| chosen.contains(device)))
    }

    /// Chooses a device, or no longer.
    pub(super) fn set(self, device: Device, is_chosen: bool) {
        self.0.update(|chosen| {
            if let Some(chosen) = chosen {
                let _ = if is_chosen { chosen.insert(device) } else { chosen.remove(&device) };
            }
        });
    }

    /// Nothing is chosen any more.
    pub(super) fn end(self) {
        self.0.set(None);
    }

    fn begin(self) {
        self.0.set(Some(BTreeSet::new()));
    }
}

/// Whether the trust in a device can be ended.
pub(super) const fn is_revocable(state: DeviceState) -> bool {
    matches!(state, DeviceState::Paired | DeviceState::Expired)
}

/// Begins a choice, and says what is done with the chosen devices. For administrators.
#[component]
pub(super) fn SelectionBar(
    selection: Selection,
    found: Memo<Vec<Device>>,
    ask: RwSignal<Option<Ask>>,
) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let live: Live = expect_context();
    // What is shown and can be revoked; a search narrows it.
    let choosable = Memo::new(move |_| {
        let found = found.get();
        live.devices.with(|devices| {
            let fits = |device: &Device| devices.get(device).is_some_and(|known| is_revocable(known.state.get()));
            found.into_iter().filter(fits).collect::<BTreeSet<_>>()
        })
    });
    let chosen = Memo::new(move |_| selection.0.get().unwrap_or_default());
    let bar = move || {
        view! {
            <div class="selection card" data-testid="selection">
                <p role="status">{move || t.selected(chosen.with(BTreeSet::len))}</p>
                <div class="acts">
                    <button type="button" class="button small quiet" data-testid="select-all"
                        on:click=move |_| selection.0.set(Some(choosable.get_untracked()))>
                        {move || t.select_found(choosable.with(BTreeSet::len))}
                    </button>
                    <button type="button" class="button small quiet" data-testid="select-end" on:click=move |_| selection.end()>{t.select_end()}</button>
                    <button type="button" class="button small" data-testid="revoke-selected"
                        aria-disabled=move || chosen.with(BTreeSet::is_empty).then_some("true")
                        on:click=move |_| {
                            let chosen: Vec<Device> = chosen.get_untracked().into_iter().collect();
                            if !chosen.is_empty() {
                                ask.set(Some(Ask::Revoke(chosen)));
                            }
                        }>
                        {move || t.revoke_chosen(chosen.with(BTreeSet::len))}
                    </button>
                </div>
            </div>
        }
    };
    move || {
        app.may(Right::Revoke).then(|| {
            if selection.is_on() {
                return bar().into_any();
            }
            view! {
                <button type="button" class="button small quiet select" data-testid="select" on:click=move |_| selection.begin()>{t.select_devices()}</button>
            }
            .into_any()
        })
    }
}
