//! The control unit's face: navigation and screens.

use leptos::prelude::*;
use wardlink_protocol::api::{PairingPhase, Right, Role};
use wasm_bindgen::JsValue;

use crate::alert::Alerts;
use crate::app::{App, Session, mount, use_app, use_text};
use crate::audit::AuditScreen;
use crate::authority::{AuthorityScreen, NoCertificate};
use crate::channels::ChannelsScreen;
use crate::classes::ClassesScreen;
use crate::devices::{DeviceScreen, Devices};
use crate::live::{Link, Live};
use crate::lock::{LockAfter, LockNow, Place};
use crate::people::People;
use crate::policy::{Policy, Rules};
use crate::provisioning::Provisioning;
use crate::records::{FlagsScreen, RecordsDeviceScreen, RecordsScreen, RulesScreen};
use crate::requests::Requests;
use crate::route::Route;
use crate::services::ServicesScreen;
use crate::session::{SignedIn, Welcome};
use crate::text::Language;
use crate::ui::notice::NoticeArea;
use crate::ui::preferences::{FoldedPreferences, Preferences};
use crate::ui::{ScreenTitle, icon};
use crate::updates::{
    CatalogDeviceScreen, CatalogScreen, GatewaysScreen, ManufacturersScreen, OfferScreen, OutcomesScreen,
    ReleasesScreen,
};

/// Draws the control unit's page into `#app`.
pub fn start() {
    // A phone has the control unit in its hand, too.
    let is_coarse = window().match_media("(pointer: coarse)").ok().flatten().is_some_and(|query| query.matches());
    mount(if is_coarse { Place::Hand } else { Place::Desk }, prepare, page);
}

fn prepare(app: App) {
    let route = RwSignal::new(Route::Unknown);
    let follow = move || {
        let present = present_route();
        // The token is a secret: it stays in memory, not in the address and the history.
        if matches!(present, Route::Welcome(_)) {
            replace_address(&present);
        }
        route.set(present);
    };
    follow();
    let rules = Rules::start(app);
    Effect::new(move |last: Option<Route>| {
        let present = route.get();
        if last == Some(Route::Policy) && present != Route::Policy {
            rules.left();
        }
        present
    });
    provide_context(rules);
    // The listener lives as long as the page.
    drop(window_event_listener(leptos::ev::hashchange, move |_| follow()));
    provide_context(route);
    provide_context(Live::start(app));
}

fn page(app: App) -> impl IntoView {
    let t = use_text();
    let route: RwSignal<Route> = expect_context();
    let welcome = move || match route.get() {
        Route::Welcome(token) => Some(token),
        _ => None,
    };
    view! {
        {move || match welcome() {
            Some(token) => view! {
                <Welcome token=token done=Callback::new(move |()| {
                    replace_address(&Route::Requests(None));
                    route.set(Route::Requests(None));
                })/>
            }.into_any(),
            None => view! { <SignedIn page=|| view! { <Frame/> }.into_any()/> }.into_any(),
        }}
        <NoticeArea notices=app.notices close=t.close()/>
    }
}

fn present_route() -> Route {
    Route::parse(&window().location().hash().unwrap_or_default())
}

fn replace_address(route: &Route) {
    if let Ok(history) = window().history() {
        // A fragment of the same page is always a valid address.
        let _ = history.replace_state_with_url(&JsValue::NULL, "", Some(&route.to_string()));
    }
}

/// The name of a role.
pub(crate) fn role_name(role: Role, t: Language) -> &'static str {
    match role {
        Role::Nurse => t.role_nurse(),
        Role::BiomedicalEngineer => t.role_engineer(),
        Role::Administrator => t.role_administrator(),
        Role::Auditor => t.role_auditor(),
    }
}

/// Navigation, banner and screen.
#[component]
fn Frame() -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let route: RwSignal<Route> = expect_context();
    let live: Live = expect_context();
    let opened = Memo::new(move |_| match route.get() {
        Route::Requests(session) => session,
        _ => None,
    });
    let screen = Memo::new(move |_| match route.get() {
        // Opening a pairing does not change the screen: the list stays as it is.
        Route::Requests(_) => Route::Requests(None),
        other => other,
    });
    view! {
        <a class="skip" href="#main" on:click=move |event| {
            event.prevent_default();
            focus_main();
        }>{t.skip()}</a>
        <div class="frame">
            <Navigation live=live screen=screen/>
            <main id="main" tabindex="-1">
                <div role="status">
                    <Show when=move || live.link.get() == Link::Lost>
                        <p class="banner" data-testid="connection-lost">{icon::notice()} <span>{t.link_lost()}</span></p>
                    </Show>
                    <NoCertificate/>
                </div>
                <Alerts/>
                {move || match screen.get() {
                    Route::Requests(_) => view! { <Requests opened=opened/> }.into_any(),
                    Route::Devices => view! { <Devices/> }.into_any(),
                    Route::Device(device) => view! { <DeviceScreen device=device/> }.into_any(),
                    Route::Provisioning if app.may(Right::Provision) => view! { <Provisioning/> }.into_any(),
                    Route::People if app.may(Right::ManagePeople) => view! { <People/> }.into_any(),
                    Route::Policy if app.may(Right::SeePolicy) => view! { <Policy/> }.into_any(),
                    Route::Classes if app.may(Right::SeePolicy) => view! { <ClassesScreen/> }.into_any(),
                    Route::Audit if app.may(Right::SeeAudit) => view! { <AuditScreen/> }.into_any(),
                    Route::Channels if app.may(Right::SeePolicy) => view! { <ChannelsScreen/> }.into_any(),
                    Route::Services if app.may(Right::ManageServices) => view! { <ServicesScreen/> }.into_any(),
                    Route::Releases if app.may(Right::SeeUpdates) => view! { <ReleasesScreen/> }.into_any(),
                    Route::Offer(id) if app.may(Right::SeeUpdates) => view! { <OfferScreen id=id/> }.into_any(),
                    Route::Catalog if app.may(Right::SeeUpdates) => view! { <CatalogScreen/> }.into_any(),
                    Route::CatalogDevice(device) if app.may(Right::SeeUpdates) => view! { <CatalogDeviceScreen device=device/> }.into_any(),
                    Route::Gateways if app.may(Right::SeeUpdates) => view! { <GatewaysScreen/> }.into_any(),
                    Route::Outcomes if app.may(Right::SeeUpdates) => view! { <OutcomesScreen/> }.into_any(),
                    Route::Manufacturers if app.may(Right::SeeUpdates) => view! { <ManufacturersScreen/> }.into_any(),
                    Route::Records if app.may(Right::SeeRecords) => view! { <RecordsScreen/> }.into_any(),
                    Route::RecordsDevice(device) if app.may(Right::SeeRecords) => view! { <RecordsDeviceScreen device=device/> }.into_any(),
                    Route::Flags if app.may(Right::SeeRecords) => view! { <FlagsScreen/> }.into_any(),
                    Route::Rules if app.may(Right::SeeRecords) => view! { <RulesScreen/> }.into_any(),
                    Route::Authority if app.may(Right::SeePolicy) => view! { <AuthorityScreen/> }.into_any(),
                    Route::Releases | Route::Offer(_) | Route::Catalog | Route::CatalogDevice(_) | Route::Gateways | Route::Outcomes | Route::Manufacturers |
                    Route::Records | Route::RecordsDevice(_) | Route::Flags | Route::Rules |
                    Route::Welcome(_) | Route::Unknown | Route::Provisioning | Route::People | Route::Policy | Route::Classes | Route::Channels | Route::Services | Route::Authority | Route::Audit => {
                        view! { <Nowhere/> }.into_any()
                    }
                }}
                <div class="phone-preferences"><FoldedPreferences/><LockAfter/></div>
            </main>
        </div>
    }
}

fn focus_main() {
    use wasm_bindgen::JsCast as _;
    if let Some(main) =
        document().get_element_by_id("main").and_then(|main| main.dyn_into::<web_sys::HtmlElement>().ok())
    {
        // An element of the page can always take the focus.
        let _ = main.focus();
    }
}

/// Whether a screen is one of updates.
const fn is_about_updates(route: &Route) -> bool {
    matches!(
        route,
        Route::Releases
            | Route::Offer(_)
            | Route::Catalog
            | Route::CatalogDevice(_)
            | Route::Gateways
            | Route::Outcomes
            | Route::Manufacturers
    )
}

#[component]
fn Nowhere() -> impl IntoView {
    let t = use_text();
    view! {
        <section class="list-pane">
            <ScreenTitle text=t.nowhere_title()/>
            <p class="quiet">{t.nowhere_text()}</p>
            <p><a class="button" href=Route::Requests(None).to_string()>{t.requests_nav()}</a></p>
        </section>
    }
}

/// The screens that the person's role may see, and who she is.
#[component]
fn Navigation(live: Live, screen: Memo<Route>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let waiting = move || {
        let needs_person = |phase| matches!(phase, PairingPhase::Waiting | PairingPhase::Verifying);
        live.pairings
            .with(|pairings| pairings.values().filter(|pairing| pairing.with(|p| needs_person(p.phase))).count())
    };
    let fleet = move || live.devices.with(std::collections::BTreeMap::len);
    let person = move || {
        app.session.with(|session| match session {
            Session::In(person) => Some((person.name.clone(), role_name(person.role, t))),
            _ => None,
        })
    };
    let is = move |wanted: fn(&Route) -> bool| screen.with(wanted);
    view! {
        <header class="side">
            <a class="brand" href="#/requests">{icon::mark()} <b>"Wardlink"</b></a>
            <nav aria-label=t.navigation_label()>
                <NavLink to=Route::Requests(None) label=t.requests_nav() current=Signal::derive(move || is(|r| matches!(r, Route::Requests(_))))
                    count=Signal::derive(waiting) icon=icon::requests().into_any()/>
                <NavLink to=Route::Devices label=t.devices_nav() current=Signal::derive(move || is(|r| matches!(r, Route::Devices | Route::Device(_))))
                    count=Signal::derive(fleet) icon=icon::devices().into_any()/>
                {app.may(Right::SeeRecords).then(|| view! {
                    <NavLink to=Route::Records label=t.records_nav() current=Signal::derive(move || is(|r| matches!(r, Route::Records | Route::RecordsDevice(_) | Route::Flags | Route::Rules)))
                        count=Signal::stored(0) icon=icon::chart().into_any()/>
                })}
                {app.may(Right::Provision).then(|| view! {
                    <NavLink to=Route::Provisioning label=t.provisioning_nav() current=Signal::derive(move || is(|r| *r == Route::Provisioning))
                        count=Signal::stored(0) icon=icon::key().into_any()/>
                })}
                {app.may(Right::SeePolicy).then(|| view! {
                    <NavLink to=Route::Policy label=t.policy_nav() current=Signal::derive(move || is(|r| matches!(r, Route::Policy | Route::Classes | Route::Channels | Route::Services | Route::Authority)))
                        count=Signal::stored(0) icon=icon::rules().into_any()/>
                })}
                {app.may(Right::SeeUpdates).then(|| view! {
                    <NavLink to=Route::Releases label=t.updates_nav() current=Signal::derive(move || is(is_about_updates))
                        count=Signal::stored(0) icon=icon::package().into_any()/>
                })}
                {app.may(Right::SeeAudit).then(|| view! {
                    <NavLink to=Route::Audit label=t.audit_nav() current=Signal::derive(move || is(|r| *r == Route::Audit))
                        count=Signal::stored(0) icon=icon::log().into_any()/>
                })}
                {app.may(Right::ManagePeople).then(|| view! {
                    <NavLink to=Route::People label=t.people_nav() current=Signal::derive(move || is(|r| *r == Route::People))
                        count=Signal::stored(0) icon=icon::people().into_any()/>
                })}
            </nav>
            <div class="side-foot">
                <Preferences/>
                <LockAfter/>
                {move || person().map(|(name, role)| view! {
                    <div class="me">
                        <p><b data-testid="me">{name}</b><small>{role}</small></p>
                        <LockNow/>
                        <button type="button" class="icon-button" data-testid="sign-out" aria-label=t.sign_out() title=t.sign_out()
                            on:click=move |_| app.sign_out()>{icon::leave()}</button>
                    </div>
                })}
            </div>
        </header>
    }
}

#[component]
fn NavLink(
    to: Route,
    label: &'static str,
    current: Signal<bool>,
    count: Signal<usize>,
    icon: AnyView,
) -> impl IntoView {
    view! {
        <a href=to.to_string() aria-current=move || current.get().then_some("page")>
            {icon}
            <span>{label}</span>
            {move || (count.get() > 0).then(|| view! { <em>{count.get()}</em> })}
        </a>
    }
}
