//! The secured networks: list, and the form of one.

use leptos::prelude::*;
use wardlink_protocol::limits::{MAX_SECURED_NETWORKS, MAX_TEXT_BYTES};
use wardlink_protocol::network::{AddressRange, NetworkMatch, NetworkOrigin, SecuredNetwork};

use super::draft::is_broad;
use super::{Ask, PartHead, Rules, tells_origins};
use crate::app::{use_app, use_text};
use crate::text::Language;
use crate::ui::dialog::CloseDialog;
use crate::ui::field::{Choice, Field};
use crate::ui::{icon, unique_id};

/// The list.
#[component]
pub(super) fn Networks(rules: Rules, ask: RwSignal<Option<Ask>>, may_change: bool) -> impl IntoView {
    let t = use_text();
    let list = Memo::new(move |_| rules.part(|policy| policy.secured_networks.clone()));
    let has_room = Memo::new(move |_| list.with(Vec::len) < MAX_SECURED_NETWORKS);
    let rows = move || {
        let rows = list.get().into_iter().enumerate();
        rows.map(
            |(index, network)| view! { <Row index=index network=network rules=rules ask=ask may_change=may_change/> },
        )
        .collect_view()
    };
    view! {
        <div class="card">
            <div class="pad stack">
                <PartHead title=t.policy_networks() text=t.policy_networks_text()/>
                <Here rules=rules ask=ask may_change=may_change/>
                <Show when=move || list.with(Vec::is_empty)>
                    <p data-testid="no-networks">{t.policy_no_networks()}</p>
                </Show>
            </div>
            <ul class="rows" data-testid="networks">{rows}</ul>
            {may_change.then(|| view! {
                <Show when=move || has_room.get()>
                    <div class="list-foot">
                        <button type="button" class="button small quiet" data-testid="add-network"
                            on:click=move |_| ask.set(Some(Ask::Network(None, None)))>{icon::add()} {t.policy_add_network()}</button>
                    </div>
                </Show>
            })}
        </div>
    }
}

/// Where the person's own connection comes from: the network that is most easily added, and a test of those that are there.
#[component]
fn Here(rules: Rules, ask: RwSignal<Option<Ask>>, may_change: bool) -> impl IntoView {
    let t = use_text();
    let here = Memo::new(move |_| {
        rules.view.with(|view| view.as_ref().filter(|view| tells_origins(view)).map(|view| view.here.clone()))
    });
    let covered = Memo::new(move |_| {
        let here = here.get()?;
        let mut networks = rules.part(|policy| policy.secured_networks.clone()).into_iter();
        networks.find(|network| network.covers(&here)).map(|network| network.name)
    });
    move || {
        let here = here.get()?;
        let words = words(&here, t)?;
        let suggestion = suggestion(&here);
        Some(view! {
            <div class="here" data-testid="here">
                <p>
                    {t.policy_here(&words)} " "
                    {move || covered.get().map(|name| t.policy_here_covered(&name))}
                </p>
                <Show when=move || may_change && covered.with(Option::is_none)>
                    {suggestion.clone().map(|network| view! {
                        <button type="button" class="button small quiet" data-testid="add-here"
                            on:click=move |_| ask.set(Some(Ask::Network(None, Some(network.clone()))))>{t.policy_add_here()}</button>
                    })}
                </Show>
            </div>
        })
    }
}

fn words(here: &NetworkOrigin, t: Language) -> Option<String> {
    match (here.address, &here.marker) {
        (Some(address), Some(marker)) => Some(t.policy_here_marker(&address.to_string(), marker.as_str())),
        (Some(address), None) => Some(address.to_string()),
        (None, Some(marker)) => Some(t.network_marked(marker.as_str())),
        (None, None) => None,
    }
}

/// The network that an origin most likely belongs to: what the proxy says, else the usual size of a segment.
fn suggestion(here: &NetworkOrigin) -> Option<SecuredNetwork> {
    let by = match (&here.marker, here.address) {
        (Some(marker), _) => NetworkMatch::Marker(marker.clone()),
        (None, Some(address)) => {
            let length = if address.to_canonical().is_ipv4() { 24 } else { 64 };
            NetworkMatch::Range(format!("{}/{length}", address.to_canonical()).parse().ok()?)
        }
        (None, None) => return None,
    };
    Some(SecuredNetwork { name: String::new(), by })
}

/// Why a range is more than it should be.
fn warning(by: &NetworkMatch, t: Language) -> Option<&'static str> {
    match by {
        NetworkMatch::Range(range) if range.prefix_length() == 0 => Some(t.network_everything()),
        NetworkMatch::Range(range) if is_broad(range) => Some(t.network_broad()),
        NetworkMatch::Range(_) | NetworkMatch::Marker(_) => None,
    }
}

#[component]
fn Row(
    index: usize,
    network: SecuredNetwork,
    rules: Rules,
    ask: RwSignal<Option<Ask>>,
    may_change: bool,
) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let known_by = match &network.by {
        NetworkMatch::Range(range) => range.to_string(),
        NetworkMatch::Marker(marker) => t.network_marked(marker.as_str()),
    };
    let name = network.name.clone();
    let remove = move |_| {
        rules.change(|policy| {
            if index < policy.secured_networks.len() {
                policy.secured_networks.remove(index);
            }
        });
        app.notices.say(t.removed(&name));
    };
    view! {
        <li class="row" data-testid="network">
            <div class="row-main">
                <h3>{network.name.clone()} <small class="mono">{known_by}</small></h3>
                {warning(&network.by, t).map(|text| view! { <p class="tiny warn">{text}</p> })}
            </div>
            {may_change.then(|| view! {
                <div class="acts">
                    <button type="button" class="button small quiet" aria-label=t.change_named(&network.name)
                        on:click=move |_| ask.set(Some(Ask::Network(Some(index), None)))>{t.change_entry()}</button>
                    <button type="button" class="icon-button" data-testid="remove" aria-label=t.remove_named(&network.name)
                        title=t.remove_named(&network.name) on:click=remove>{icon::close()}</button>
                </div>
            })}
        </li>
    }
}

/// The form of one network.
#[component]
pub(super) fn NetworkForm(
    /// Which one is changed; none is a new one.
    index: Option<usize>,
    /// What a new one begins with.
    begin: Option<SecuredNetwork>,
    rules: Rules,
    close: CloseDialog,
) -> impl IntoView {
    let t = use_text();
    let known = index.and_then(|index| untrack(|| rules.part(|policy| policy.secured_networks.get(index).cloned())));
    let known = known.or(begin);
    let by_marker = RwSignal::new(matches!(&known, Some(SecuredNetwork { by: NetworkMatch::Marker(_), .. })));
    let (range_text, marker_text) = match known.as_ref().map(|network| &network.by) {
        Some(NetworkMatch::Range(range)) => (range.to_string(), String::new()),
        Some(NetworkMatch::Marker(marker)) => (String::new(), marker.to_string()),
        None => (String::new(), String::new()),
    };
    let name = RwSignal::new(known.map(|network| network.name).unwrap_or_default());
    let (range, marker) = (RwSignal::new(range_text), RwSignal::new(marker_text));
    let (name_error, by_error) = (RwSignal::new(None), RwSignal::new(None));
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let typed = name.get_untracked().trim().to_owned();
        name_error.set(name_complaint(&typed, t));
        let by = if by_marker.get_untracked() {
            marker.get_untracked().trim().parse().map(NetworkMatch::Marker).map_err(|_| t.invalid_name())
        } else {
            range.get_untracked().trim().parse().map(NetworkMatch::Range).map_err(|_| t.network_range_invalid())
        };
        by_error.set(by.as_ref().err().map(|complaint| (*complaint).to_owned()));
        let (Ok(by), None) = (by, name_error.get_untracked()) else { return };
        rules.change(|policy| {
            let network = SecuredNetwork { name: typed, by };
            match index.and_then(|index| policy.secured_networks.get_mut(index)) {
                Some(known) => *known = network,
                None => policy.secured_networks.push(network),
            }
        });
        close.run();
    };
    let group = unique_id("by");
    let ways = [
        (false, t.network_by_range(), t.network_by_range_hint()),
        (true, t.network_by_marker(), t.network_by_marker_hint()),
    ];
    let ways = ways.map(|(marker, label, hint)| {
        view! {
            <Choice
                name=group.clone()
                label=label
                hint=hint
                value=if marker { "marker".to_owned() } else { "range".to_owned() }
                chosen=Signal::derive(move || by_marker.get() == marker)
                choose=Callback::new(move |()| {
                    by_error.set(None);
                    by_marker.set(marker);
                })
            />
        }
    });
    let broad = move || {
        let range: AddressRange = range.with(|text| text.trim().parse().ok())?;
        warning(&NetworkMatch::Range(range), t)
    };
    view! {
        <form class="stack" data-testid="network-form" on:submit=submit novalidate>
            <Field label=t.network_name() value=name name="network-name" hint=t.network_name_hint() error=name_error focus=true/>
            <fieldset class="choices"><legend>{t.network_by()}</legend>{ways.into_iter().collect_view()}</fieldset>
            {move || if by_marker.get() {
                view! { <Field label=t.network_marker() value=marker name="marker" hint=t.network_marker_hint() error=by_error/> }.into_any()
            } else {
                view! { <Field label=t.network_range() value=range name="range" hint=t.network_range_hint() error=by_error/> }.into_any()
            }}
            <p class="warn" role="status" data-testid="broad">{move || broad().filter(|_| !by_marker.get())}</p>
            <FormAnswers close=close is_new=index.is_none()/>
        </form>
    }
}

/// What is wrong with the name of a network or a rule.
pub(super) fn name_complaint(name: &str, t: Language) -> Option<String> {
    if name.is_empty() {
        Some(t.network_name_missing().to_owned())
    } else {
        (name.len() > MAX_TEXT_BYTES).then(|| t.note_too_long(MAX_TEXT_BYTES))
    }
}

/// The two buttons of a form that changes the draft only.
#[component]
pub(super) fn FormAnswers(close: CloseDialog, is_new: bool) -> impl IntoView {
    let t = use_text();
    view! {
        <div class="answers">
            <button type="button" class="button quiet" on:click=move |_| close.run()>{t.cancel()}</button>
            <button class="button" data-testid="confirm">{if is_new { t.add_entry() } else { t.take_over() }}</button>
        </div>
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn origin(address: Option<&str>, marker: Option<&str>) -> NetworkOrigin {
        NetworkOrigin {
            address: address.map(|address| address.parse().unwrap()),
            marker: marker.map(|marker| marker.parse().unwrap()),
        }
    }

    #[test]
    fn the_suggested_network_covers_where_one_is_and_little_more() {
        let by = |origin| suggestion(&origin).map(|network| network.by);
        let range = |text: &str| Some(NetworkMatch::Range(text.parse().unwrap()));
        assert_eq!(by(origin(Some("10.20.3.4"), None)), range("10.20.3.0/24"));
        assert_eq!(by(origin(Some("::ffff:10.20.3.4"), None)), range("10.20.3.0/24"));
        assert_eq!(by(origin(Some("2001:db8::7"), None)), range("2001:db8::/64"));
        let marked = origin(Some("10.20.3.4"), Some("ward-lan"));
        assert!(suggestion(&marked).unwrap().covers(&marked));
        assert_eq!(by(marked), Some(NetworkMatch::Marker("ward-lan".parse().unwrap())));
        assert_eq!(by(origin(None, None)), None);
    }

    #[test]
    fn every_address_there_is_gets_a_warning_of_its_own() {
        let t = Language::English;
        let said = |range: &str| warning(&NetworkMatch::Range(range.parse().unwrap()), t);
        assert_eq!(said("0.0.0.0/0"), Some(t.network_everything()));
        assert_eq!(said("10.0.0.0/8"), Some(t.network_broad()));
        assert_eq!(said("10.20.0.0/16"), None);
    }
}
