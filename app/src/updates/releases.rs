//! What the manufacturers have released, and what of it is offered.

use leptos::prelude::*;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::api::{OfferScope, OfferView, OfferWhen, ReleaseDocument, ReleaseView, Right};

use super::offer::OfferForm;
use super::upload::UploadForm;
use super::{Tabs, added_words, name_of_path, release_name};
use crate::app::{use_app, use_text};
use crate::clock;
use crate::fetched::Fetched;
use crate::format;
use crate::route::Route;
use crate::text::Language;
use crate::ui::dialog::{CloseDialog, asking};
use crate::ui::form::{Answers, Sender};
use crate::ui::tabs::Empty;
use crate::ui::{Fact, ScreenTitle, icon};

/// What is asked in a dialog.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ask {
    /// A repository that a person brings.
    Upload,
    /// To whom a release is offered, and when it is installed.
    Offer(Box<ReleaseView>),
    /// Whether an offer ends.
    Withdraw(Box<OfferView>),
    /// What a release consists of.
    Contents(Box<ReleaseView>),
}

/// What the screen knows.
#[derive(Clone, Copy)]
struct Known {
    releases: Fetched<Vec<ReleaseView>>,
    offers: Fetched<Vec<OfferView>>,
}

/// Whether a search finds a release: every word of it occurs somewhere in what describes it.
fn matches(release: &ReleaseView, search: &str) -> bool {
    let text = [
        release.manufacturer.as_str(),
        release.device_type.as_str(),
        &release.model,
        &release.revision,
        &release.from,
        &release.to,
        &release.feature_set,
    ]
    .join("\n")
    .to_lowercase();
    search.to_lowercase().split_whitespace().all(|word| text.contains(word))
}

/// The screen.
#[component]
pub(crate) fn ReleasesScreen() -> impl IntoView {
    let t = use_text();
    let known = Known { releases: Fetched::follow("/releases"), offers: Fetched::follow("/offers") };
    let may_offer = use_app().may(Right::ManageUpdates);
    let ask = RwSignal::new(None);
    let search = RwSignal::new(String::new());
    let is_open = |offer: &OfferView| offer.withdrawn_at.is_none();
    let offered = move || known.offers.value.with(|offers| offers.iter().flatten().any(is_open));
    let found = RwSignal::new(String::new());
    Effect::new(move |_| found.set(search.get()));
    view! {
        <section class="list-pane wide">
            <div class="screen-head">
                <ScreenTitle text=t.releases_title()/>
                {may_offer.then(|| view! {
                    <button type="button" class="button small" data-testid="upload" on:click=move |_| ask.set(Some(Ask::Upload))>{t.upload_release()}</button>
                })}
            </div>
            <Tabs/>
            <p class="quiet">{t.releases_text()}</p>
            {known.releases.trouble()}
            <Show when=offered><h2 class="part">{t.offers_title()}</h2></Show>
            {known.offers.rows("offers", is_open, move |offer| view! { <Offered offer=offer ask=ask may_offer=may_offer/> })}
            <Show when=move || !known.releases.is_empty()>
                <label class="search">
                    {icon::search()}
                    <span class="visually-hidden">{t.release_find()}</span>
                    <input type="search" data-testid="release-find" placeholder=t.release_find_hint() prop:value=search
                        on:input:target=move |event| search.set(event.target().value())/>
                </label>
            </Show>
            <Show when=move || known.releases.is_empty()>
                <Empty name="no-releases" what=t.no_releases() advice=t.no_releases_text()/>
            </Show>
            {known.releases.rows(
                "releases",
                move |release| found.with(|search| matches(release, search)),
                move |release| view! { <Row release=release ask=ask may_offer=may_offer/> },
            )}
            {known.releases.waiting()}
            <Asking ask=ask known=known/>
        </section>
    }
}

fn way(release: &ReleaseView, t: Language) -> String {
    if release.from == release.to {
        t.release_way_one(&release.from, &release.revision)
    } else {
        t.release_way(&release.from, &release.to, &release.revision)
    }
}

#[component]
fn Row(release: ReleaseView, ask: RwSignal<Option<Ask>>, may_offer: bool) -> impl IntoView {
    let t = use_text();
    let name = release_name(&release);
    let is_recalled = release.recalled.is_some();
    let warning = release
        .recalled
        .as_ref()
        .map(|reason| t.release_recalled_why(reason))
        .or_else(|| release.downgrade.as_ref().map(|reason| t.release_back(reason)));
    let set = (!release.atomic.is_empty()).then(|| t.release_set(&release.atomic.join(", ")));
    let (contents, offers) = (release.clone(), release.clone());
    view! {
        <li class="row" class:inactive=is_recalled data-testid="release" data-path=release.path.clone()>
            <div class="row-main">
                <h2>{name.clone()} <small>{release.feature_set.clone()}</small></h2>
                <p class="tiny facts">
                    <span>{release.manufacturer.clone()}</span>
                    <span>{way(&release, t)}</span>
                    <span>{format::bytes(release.length, t)}</span>
                    <span>{t.release_fitting(release.fitting)}</span>
                    <span>{t.release_running(release.running)}</span>
                </p>
                {warning.map(|text| view! { <p class="tiny strong">{text}</p> })}
                {set.map(|text| view! { <p class="tiny">{text}</p> })}
            </div>
            <div class="acts">
                {is_recalled.then(|| view! { <span class="chip">{t.release_recalled()}</span> })}
                <button type="button" class="button small quiet" data-testid="contents" aria-label=t.release_contents_of(&name)
                    on:click=move |_| ask.set(Some(Ask::Contents(Box::new(contents.clone()))))>{t.release_contents()}</button>
                {(may_offer && !is_recalled).then(|| view! {
                    <button type="button" class="button small" data-testid="offer" aria-label=t.offer_release_of(&name)
                        on:click=move |_| ask.set(Some(Ask::Offer(Box::new(offers.clone()))))>{t.offer_release()}</button>
                })}
            </div>
        </li>
    }
}

/// To whom something is offered.
pub(super) fn scope_words(scope: &OfferScope, t: Language) -> String {
    match scope {
        OfferScope::Model => t.offer_to_model().to_owned(),
        OfferScope::Class(class) => t.offer_to_class(class.as_str()),
        OfferScope::Devices(devices) => match devices.as_slice() {
            [one] => one.to_string(),
            several => t.offer_to_devices(several.len()),
        },
    }
}

/// When something that is offered is installed.
pub(super) fn when_words(when: OfferWhen, t: Language) -> String {
    let at = |seconds| clock::day_and_time(UnixMillis::from_secs(seconds), t);
    match when {
        OfferWhen::AtOnce => t.offer_at_once().to_owned(),
        OfferWhen::NextSafeMoment => t.offer_safe().to_owned(),
        OfferWhen::Window { from, until } => t.offer_in_window(&at(from), &at(until)),
        OfferWhen::OnConfirmation => t.offer_confirmed().to_owned(),
    }
}

/// What is offered, and how far it is.
#[component]
fn Offered(offer: OfferView, ask: RwSignal<Option<Ask>>, may_offer: bool) -> impl IntoView {
    let t = use_text();
    let name = name_of_path(&offer.path);
    let counts = [offer.installed, offer.directed, offer.waiting, offer.failed];
    let total = counts.into_iter().fold(0, u64::saturating_add);
    let with = (!offer.added.is_empty()).then(|| t.offer_with(&added_words(&offer.added, t)));
    let failed = (offer.failed > 0).then(|| view! { <span class="chip">{t.offer_failed(offer.failed)}</span> });
    let (label, withdraws) = (t.withdraw_offer_of(&name), offer.clone());
    let progress = t.offer_progress(offer.installed, offer.directed, offer.waiting);
    let route = Route::Offer(offer.id);
    view! {
        <li class="row" data-testid="offered" data-path=offer.path.clone()>
            <div class="row-main">
                <h2><a class="row-link" href=route.to_string()>{name}</a> <small>{scope_words(&offer.scope, t)}</small></h2>
                <p class="tiny facts">
                    <span>{when_words(offer.when, t)}</span>
                    {with.map(|text| view! { <span>{text}</span> })}
                    <span>{t.offered_at_by(&clock::day_and_time(offer.made_at, t), &offer.made_by)}</span>
                </p>
                <p class="progress-line">
                    <progress max=total.max(1).to_string() value=offer.installed.to_string() aria-label=progress.clone()></progress>
                    <span class="tiny">{progress.clone()}</span>
                </p>
            </div>
            <div class="acts">
                {failed}
                {may_offer.then(|| view! {
                    <button type="button" class="button small quiet" data-testid="withdraw" aria-label=label
                        on:click=move |_| ask.set(Some(Ask::Withdraw(Box::new(withdraws.clone()))))>{t.withdraw_offer()}</button>
                })}
            </div>
        </li>
    }
}

#[component]
fn Asking(ask: RwSignal<Option<Ask>>, known: Known) -> impl IntoView {
    let t = use_text();
    let title = move |question: &Ask| match question {
        Ask::Upload => t.upload_release().to_owned(),
        Ask::Offer(release) => t.offer_title(&release_name(release)),
        Ask::Withdraw(offer) => t.withdraw_title(&name_of_path(&offer.path)),
        Ask::Contents(release) => t.release_contents_of(&release_name(release)),
    };
    let content = move |question: Ask, close: CloseDialog| match question {
        Ask::Upload => {
            let done = Callback::new(move |()| known.releases.load());
            view! { <UploadForm close=close done=done/> }.into_any()
        }
        Ask::Offer(release) => {
            let done = Callback::new(move |()| known.offers.load());
            view! { <OfferForm release=*release close=close done=done/> }.into_any()
        }
        Ask::Withdraw(offer) => view! { <WithdrawForm offer=*offer known=known close=close/> }.into_any(),
        Ask::Contents(release) => view! { <Contents release=*release close=close/> }.into_any(),
    };
    asking(ask, title, content)
}

#[component]
fn WithdrawForm(offer: OfferView, known: Known, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let sender = Sender::new();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        sender.send(app, format!("/offers/{}/withdraw", offer.id), None, move |_| {
            app.notices.say(t.withdrawn());
            known.offers.load();
            close.run();
        });
    };
    view! {
        <form class="stack" data-testid="withdraw-form" on:submit=submit>
            <p>{t.withdraw_text()}</p>
            <Answers close=close sender=sender go=t.withdraw_offer() keep=t.cancel()/>
        </form>
    }
}

/// What a release consists of, and the documents that are bound to it.
#[component]
fn Contents(release: ReleaseView, close: CloseDialog) -> impl IntoView {
    let t = use_text();
    let (sbom, provenance) = (release.sbom.clone(), release.provenance.clone());
    view! {
        <div class="stack" data-testid="release-contents">
            <dl class="facts-list">
                <Fact name=t.catalog_manufacturer() value=release.manufacturer.clone()/>
                <Fact name=t.catalog_model() value=format!("{} ({})", release.model, release.device_type)/>
                <Fact name=t.catalog_revision() value=way(&release, t)/>
                <Fact name=t.catalog_counter() value=release.release_counter.to_string()/>
                <Fact name=t.catalog_hardware() value=release.hardware.join(", ")/>
                <Fact name=t.release_length() value=format::bytes(release.length, t)/>
                <Fact name="SHA-256" value=release.sha256.to_string() mono=true/>
                <Fact name=t.release_path() value=release.path.clone() mono=true/>
                <Document name=t.release_sbom() kind="sbom" document=sbom/>
                <Document name=t.release_provenance() kind="provenance" document=provenance/>
            </dl>
            {release.during_therapy.then(|| view! { <p class="quiet">{t.release_during_therapy()}</p> })}
            <button type="button" class="button" on:click=move |_| close.run()>{t.close()}</button>
        </div>
    }
}

/// A document that is bound to a release, to open.
#[component]
fn Document(
    /// What it is.
    name: &'static str,
    /// The same, for tests.
    kind: &'static str,
    /// Where it is; none where the release has none.
    document: Option<ReleaseDocument>,
) -> impl IntoView {
    let t = use_text();
    let Some(ReleaseDocument { address, length }) = document else {
        return view! { <Fact name=name value=t.release_none().to_owned()/> }.into_any();
    };
    let length = format::bytes(length, t);
    view! {
        <div class="fact">
            <dt>{name}</dt>
            <dd><a href=address target="_blank" rel="noopener" data-testid="document" data-document=kind
                aria-label=t.release_open_file_of(name, &length)>{t.release_open_file(&length)}</a></dd>
        </div>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use wardlink_protocol::identity::Sha256;

    #[test]
    fn a_search_finds_a_release_by_every_word() {
        let release = ReleaseView {
            path: "acme/infusion-pump/PM2/1C.bin".to_owned(),
            manufacturer: "acme".to_owned(),
            device_type: "infusion-pump".parse().unwrap(),
            model: "PM2".to_owned(),
            from: "1A".to_owned(),
            to: "1B".to_owned(),
            revision: "1C".to_owned(),
            hardware: vec!["PM2-A".to_owned()],
            release_counter: 3,
            feature_set: "spring 2027".to_owned(),
            atomic: Vec::new(),
            accepts: Vec::new(),
            during_therapy: false,
            downgrade: None,
            recalled: None,
            length: 1,
            sha256: Sha256([0; 32]),
            sbom: None,
            provenance: None,
            fitting: 0,
            running: 0,
        };
        for search in ["", "spring", "PM2 1c", "ACME pump"] {
            assert!(matches(&release, search), "{search}");
        }
        assert!(!matches(&release, "PM3"));
        assert_eq!(way(&release, Language::English), "1A to 1B → 1C");
    }
}
