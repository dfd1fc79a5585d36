//! What has arrived through one gateway, in a line of the gateways' screen.

use leptos::prelude::*;
use wardlink_protocol::Device;
use wardlink_protocol::api::RecordsView;

use crate::app::{use_app, use_text};
use crate::fetched::Fetched;
use crate::format;

/// How much stored data has come through a gateway, and when the last.
#[component]
pub(crate) fn Arrived(gateway: Device, known: Fetched<RecordsView>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    move || {
        known.value.with(|view| {
            let view = view.as_ref()?;
            let through = view.devices.iter().filter(|one| one.gateway == gateway);
            let (devices, last) =
                through.fold((0_u64, None), |(count, last), one| (count + 1, last.max(Some(one.received_at))));
            let words = match last {
                Some(at) => t.data_arrived(devices, &format::age(app.clock.since(at), t)),
                None => t.data_not_arrived().to_owned(),
            };
            Some(view! { <span data-testid="arrived">{words}</span> })
        })
    }
}
