//! What has arrived through one gateway, in a line of the gateways' screen.

use leptos::prelude::*;
use wardlink_protocol::Device;
use wardlink_protocol::api::RecordsGateway;

use crate::app::{use_app, use_text};
use crate::fetched::Fetched;
use crate::format;

/// How much stored data has come through a gateway, and when the last.
#[component]
pub(crate) fn Arrived(gateway: Device, known: Fetched<Vec<RecordsGateway>>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    move || {
        known.value.with(|view| {
            let words = match view.as_ref()?.iter().find(|one| one.gateway == gateway) {
                Some(one) => t.data_arrived(one.devices, &format::age(app.clock.since(one.received_at), t)),
                None => t.data_not_arrived().to_owned(),
            };
            Some(view! { <span data-testid="arrived">{words}</span> })
        })
    }
}
