//! The gateway's status as a page for its touch screen and for phones: `GET /`, `/status.json`, `/events`, and its buttons
//! (`POST /ask`, `/confirm/<class>/<identifier>/<directive>`: what was shown is confirmed, and nothing else;
//! `/stored/retry`, `/stored/discard/<class>/<identifier>/<chain>/<number>`). While it couples, its codes are at `/coupling`.
//!
//! It keeps to the pump's display's rules ([`crate::display::web`]): on loopback it answers to loopback's names only, and only the page
//! itself presses its buttons.

use super::broker::HubStatus;
use super::status::{DeviceStatus, Status, VerifyingStatus, Waits};
use super::stored::StoredStatus;
use super::{Handle, Order};
use crate::clock;
use crate::display::texts::Language;
use crate::display::web::{self, Asked, escaped};
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, Json};
use axum::routing::{get, post};
use core::fmt::Write as _;
use futures_util::stream::{self, Stream};
use std::convert::Infallible;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use wardlink_protocol::identity::RecordChain;
use wardlink_protocol::{ClientClass, Device, DeviceIdentifier, UnixMillis};
use wardlink_records::queue::BatchKey;
use wardlink_update::metadata::Version;
use wardlink_update::uptane::Postponed;

const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// The words of the page.
struct Texts {
    title: &'static str,
    paired: [&'static str; 2],
    couple: &'static str,
    server: &'static str,
    connected: &'static str,
    not_connected: &'static str,
    last_contact: &'static str,
    never: &'static str,
    updates: &'static str,
    up_to_date: &'static str,
    under_way: &'static str,
    to_tell: &'static str,
    manufacturers: &'static str,
    program: &'static str,
    devices: &'static str,
    none: &'static str,
    revision: &'static str,
    elsewhere: &'static str,
    /// Of a device with a key: connected, not connected, silent yet, what lies ready, what has failed.
    verifying: [&'static str; 5],
    confirmed_there: &'static str,
    /// The hub: its title, its address, no address, who is connected, and nobody let in.
    hub: [&'static str; 5],
    troubles: &'static str,
    stored: [&'static str; 6],
    ask: &'static str,
    confirm: &'static str,
    waits: [&'static str; 4],
    ago: [&'static str; 4],
}

const ENGLISH: Texts = Texts {
    title: "Gateway",
    paired: ["Paired with the hospital", "Not paired yet"],
    couple: "Show the pairing code",
    server: "Server",
    connected: "connected",
    not_connected: "not connected",
    last_contact: "Last contact",
    never: "never",
    updates: "Updates",
    up_to_date: "nothing to do",
    under_way: "under way",
    to_tell: "Still to be told to the server",
    manufacturers: "Trusted manufacturers",
    program: "This gateway's program",
    devices: "Devices",
    none: "none",
    revision: "revision",
    elsewhere: "not updated through this gateway",
    verifying: [
        "connected",
        "not connected",
        "has not said yet what it runs",
        "lies ready for it",
        "Its last update could not be installed",
    ],
    confirmed_there: "waits for a confirmation at the device",
    hub: [
        "Broker of the devices",
        "Address",
        "not listening",
        "Connected devices",
        "nobody is let in: the server was silent for too long",
    ],
    troubles: "What does not work",
    stored: ["Stored data", "records for the server", "Oldest", "Refused by the server", "Send once more", "Discard"],
    ask: "Look for updates now",
    confirm: "Install the update now",
    waits: [
        "waits for the end of the therapy",
        "waits for a safe moment",
        "waits for its time",
        "waits for your confirmation",
    ],
    ago: ["just now", "min ago", "h ago", "d ago"],
};

const GERMAN: Texts = Texts {
    title: "Gateway",
    paired: ["Mit dem Krankenhaus gekoppelt", "Noch nicht gekoppelt"],
    couple: "Kopplungscode zeigen",
    server: "Server",
    connected: "verbunden",
    not_connected: "nicht verbunden",
    last_contact: "Letzter Kontakt",
    never: "nie",
    updates: "Aktualisierungen",
    up_to_date: "nichts zu tun",
    under_way: "im Gange",
    to_tell: "Dem Server noch zu melden",
    manufacturers: "Hersteller, denen vertraut wird",
    program: "Software dieses Gateways",
    devices: "Geräte",
    none: "keine",
    revision: "Revision",
    elsewhere: "wird nicht über dieses Gateway aktualisiert",
    verifying: [
        "verbunden",
        "nicht verbunden",
        "hat noch nicht gesagt, was darauf läuft",
        "liegt bereit",
        "Die letzte Aktualisierung ließ sich nicht installieren",
    ],
    confirmed_there: "wartet auf eine Bestätigung am Gerät",
    hub: [
        "Broker der Geräte",
        "Adresse",
        "nimmt keine Verbindungen an",
        "Verbundene Geräte",
        "niemand wird eingelassen: der Server hat zu lange geschwiegen",
    ],
    troubles: "Was nicht geht",
    stored: [
        "Gespeicherte Daten",
        "Werte für den Server",
        "Ältester",
        "Vom Server abgelehnt",
        "Noch einmal senden",
        "Verwerfen",
    ],
    ask: "Jetzt nach Aktualisierungen sehen",
    confirm: "Aktualisierung jetzt installieren",
    waits: [
        "wartet, solange die Therapie läuft",
        "wartet auf einen sicheren Moment",
        "wartet auf die vorgesehene Zeit",
        "wartet auf Ihre Bestätigung",
    ],
    ago: ["gerade eben", "min her", "h her", "d her"],
};

const fn texts(language: Language) -> &'static Texts {
    match language {
        Language::English => &ENGLISH,
        Language::German => &GERMAN,
    }
}

/// Serves the page on `listener` until the future is dropped; `coupling` is the gateway's way through its pairing.
pub async fn serve(listener: TcpListener, gateway: Handle, coupling: &crate::pump::Handle) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    axum::serve(listener, router(address, gateway, coupling)).await
}

/// The page's routes.
fn router(address: SocketAddr, gateway: Handle, coupling: &crate::pump::Handle) -> Router {
    let router = Router::new()
        .route("/", get(page))
        .route("/main", get(main))
        .route("/status.json", get(status))
        .route("/events", get(events))
        .route("/ask", post(ask))
        .route("/confirm/{client}/{identifier}/{directive}", post(confirm))
        .route("/stored/retry", post(retry))
        .route("/stored/discard/{client}/{identifier}/{chain}/{first}", post(discard))
        .route("/page.css", get(async || ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)))
        .route("/page.js", get(async || ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT)))
        .route("/favicon.ico", get(async || StatusCode::NO_CONTENT))
        .with_state(gateway);
    web::guarded(router.merge(web::coupling("/coupling", coupling)), address)
}

async fn page(State(gateway): State<Handle>, Query(asked): Query<Asked>, headers: HeaderMap) -> Html<String> {
    let language = asked.language(&headers);
    let status = gateway.status.borrow().clone();
    Html(format!(
        "<!doctype html><html lang=\"{}\"><head><meta charset=\"utf-8\"><title>{}</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <link rel=\"stylesheet\" href=\"/page.css\"><script src=\"/page.js\" defer></script>\
         <noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript></head><body><main>{}</main></body></html>",
        language.tag(),
        escaped(&status.gateway.to_string()),
        content(&status, language, clock::now())
    ))
}

async fn main(State(gateway): State<Handle>, Query(asked): Query<Asked>, headers: HeaderMap) -> Html<String> {
    let status = gateway.status.borrow().clone();
    Html(content(&status, asked.language(&headers), clock::now()))
}

async fn status(State(gateway): State<Handle>) -> Json<Status> {
    Json(gateway.status.borrow().clone())
}

/// A word at every change; what has changed, the page asks for.
async fn events(State(gateway): State<Handle>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let changes = stream::unfold(gateway.status, |mut status| async move {
        status.changed().await.ok()?;
        status.mark_unchanged();
        Some((Ok(Event::default().data("changed")), status))
    });
    Sse::new(changes).keep_alive(KeepAlive::default())
}

async fn ask(State(gateway): State<Handle>, headers: HeaderMap) -> StatusCode {
    order(&gateway, &headers, Order::Ask)
}

async fn confirm(
    State(gateway): State<Handle>,
    Path((client, identifier, directive)): Path<(ClientClass, DeviceIdentifier, Version)>,
    headers: HeaderMap,
) -> StatusCode {
    order(&gateway, &headers, Order::Confirm { device: Device { client, identifier }, directive })
}

async fn retry(State(gateway): State<Handle>, headers: HeaderMap) -> StatusCode {
    order(&gateway, &headers, Order::Retry)
}

async fn discard(
    State(gateway): State<Handle>,
    Path((client, identifier, chain, first)): Path<(ClientClass, DeviceIdentifier, RecordChain, u64)>,
    headers: HeaderMap,
) -> StatusCode {
    order(&gateway, &headers, Order::Discard(Device { client, identifier }, BatchKey { chain, first }))
}

fn order(gateway: &Handle, headers: &HeaderMap, order: Order) -> StatusCode {
    if !web::is_own_page(headers) {
        return StatusCode::FORBIDDEN;
    }
    match gateway.orders.try_send(order) {
        Ok(()) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// What stands in the middle of the page.
fn content(status: &Status, language: Language, now: UnixMillis) -> String {
    let texts = texts(language);
    let mut out = format!("<h1>{} {}</h1>", texts.title, escaped(&status.gateway.to_string()));
    let [paired, unpaired] = texts.paired;
    let coupling = if status.is_paired {
        format!("<p>{paired}</p>")
    } else {
        format!("<p>{unpaired}</p><a class=\"button\" id=\"couple\" href=\"/coupling\">{}</a>", texts.couple)
    };
    let connected = if status.is_connected { texts.connected } else { texts.not_connected };
    let contact = status.last_contact.map_or_else(|| texts.never.to_owned(), |at| ago(at, now, texts));
    let updates = if status.directive_done == status.directive_heard { texts.up_to_date } else { texts.under_way };
    let manufacturers = match status.manufacturers.as_slice() {
        [] => texts.none.to_owned(),
        names => escaped(&names.join(", ")),
    };
    let _ = write!(
        out,
        "<section aria-live=\"polite\">{coupling}<dl><dt>{}</dt><dd>{connected}</dd><dt>{}</dt><dd>{contact}</dd>\
         <dt>{}</dt><dd>{updates}</dd><dt>{}</dt><dd>{}</dd><dt>{}</dt><dd>{manufacturers}</dd></dl>\
         <button id=\"ask\" type=\"button\" data-order=\"/ask\">{}</button></section>",
        texts.server,
        texts.last_contact,
        texts.updates,
        texts.to_tell,
        status.outcomes_waiting,
        texts.manufacturers,
        texts.ask
    );
    if !status.troubles.is_empty() {
        let _ = write!(out, "<section class=\"trouble\" role=\"status\"><h2>{}</h2><ul>", texts.troubles);
        for trouble in &status.troubles {
            let (what, why) = (escaped(&trouble.what), escaped(&trouble.why));
            let _ =
                write!(out, "<li><strong>{what}</strong> {why} <small>{}</small></li>", ago(trouble.since, now, texts));
        }
        out.push_str("</ul></section>");
    }
    if let Some(own) = &status.own {
        let _ = write!(out, "<section><h2>{}</h2><ul>{}</ul></section>", texts.program, line(own, texts));
    }
    out.push_str(&stored(&status.stored, texts, now));
    if let Some(of) = &status.hub {
        out.push_str(&hub(of, texts));
    }
    let _ = write!(out, "<section><h2>{}</h2><ul>", texts.devices);
    for device in &status.devices {
        out.push_str(&line(device, texts));
    }
    for device in &status.verifying {
        out.push_str(&verifying(device, texts));
    }
    if status.devices.is_empty() && status.verifying.is_empty() {
        let _ = write!(out, "<li>{}</li>", texts.none);
    }
    out + "</ul></section>"
}

/// The broker of the devices.
fn hub(hub: &HubStatus, texts: &Texts) -> String {
    let [title, address, not_listening, connected, overdue] = texts.hub;
    let at = hub.address.map_or_else(|| not_listening.to_owned(), |at| at.to_string());
    let mut out = format!(
        "<section id=\"hub\"><h2>{title}</h2><dl><dt>{address}</dt><dd>{at}</dd><dt>{connected}</dt><dd>{}</dd></dl>",
        hub.listening.len()
    );
    if hub.is_overdue {
        let _ = write!(out, "<p>{overdue}</p>");
    }
    out + "</section>"
}

/// A device with a key. What waits for a person is confirmed at the device itself.
fn verifying(of: &VerifyingStatus, texts: &Texts) -> String {
    let [connected, not_connected, silent, ready, failed] = texts.verifying;
    let mut line = format!("<li><strong>{}</strong> ", escaped(&of.device.to_string()));
    match of.state.as_ref().map(|state| &state.characteristics) {
        Some(is) => {
            let (model, revision) = (escaped(&is.model.to_string()), escaped(is.revision.as_str()));
            let _ = write!(line, "{model}, {} {revision}", texts.revision);
        }
        None => line.push_str(silent),
    }
    if let Some(is_listening) = of.is_listening {
        let _ = write!(line, " <small>{}</small>", if is_listening { connected } else { not_connected });
    }
    if !of.is_updated_here {
        let _ = write!(line, " <small>{}</small>", texts.elsewhere);
    }
    if let Some(offered) = &of.offered {
        let _ = write!(line, "<br>{} {} {ready}", texts.revision, escaped(offered.as_str()));
        if let Some(why) = of.postponed {
            let why = if why == Postponed::Confirmation { texts.confirmed_there } else { waits_for(why, texts) };
            let _ = write!(line, ": {why}");
        }
    }
    if let Some(why) = &of.failed {
        let _ = write!(line, "<br>{failed}: {}", escaped(why));
    }
    line + "</li>"
}

fn waits_for(why: Postponed, texts: &Texts) -> &'static str {
    let [therapy, moment, time, confirmation] = texts.waits;
    match why {
        Postponed::Therapy => therapy,
        Postponed::Unsafe => moment,
        Postponed::Window => time,
        Postponed::Confirmation => confirmation,
    }
}

fn line(DeviceStatus { state, is_updated_here, waits, failed }: &DeviceStatus, texts: &Texts) -> String {
    let is = &state.characteristics;
    let (device, model) = (escaped(&is.device.to_string()), escaped(&is.model.to_string()));
    let mut line =
        format!("<li><strong>{device}</strong> {model}, {} {}", texts.revision, escaped(&is.revision.to_string()));
    if !is_updated_here {
        let _ = write!(line, " <small>{}</small>", texts.elsewhere);
    }
    if let Some(Waits { why, directive, revision }) = waits {
        let waits = waits_for(*why, texts);
        let _ = write!(line, "<br>{} {}: {waits}", texts.revision, escaped(revision.as_str()));
        if *why == Postponed::Confirmation {
            let id = device.replace('/', "-");
            let _ = write!(
                line,
                "<br><button id=\"confirm-{id}\" type=\"button\" data-order=\"/confirm/{device}/{directive}\">{}</button>",
                texts.confirm
            );
        }
    }
    if let Some(why) = failed {
        let [.., failed] = texts.verifying;
        let _ = write!(line, "<br>{failed}: {}", escaped(why));
    }
    line + "</li>"
}

/// The stored data of the devices, and what the server has refused of it.
fn stored(stored: &StoredStatus, texts: &Texts, now: UnixMillis) -> String {
    let [title, records, oldest, refused, retry, discard] = texts.stored;
    let age = stored.oldest.map_or_else(|| texts.none.to_owned(), |at| ago(at, now, texts));
    let percent = stored.bytes.saturating_mul(100).checked_div(stored.capacity).unwrap_or(0);
    let mut out = format!(
        "<section id=\"stored\"><h2>{title}</h2><dl><dt>{title}</dt><dd>{} {records} ({percent} %)</dd><dt>{oldest}</dt><dd>{age}</dd></dl>",
        stored.records
    );
    if stored.refused_batches > 0 {
        let _ = write!(
            out,
            "<h3>{refused}: {}</h3><button id=\"retry\" type=\"button\" data-order=\"/stored/retry\">{retry}</button><ul>",
            stored.refused_batches
        );
        for of in &stored.refused {
            let (device, step, reason) = (escaped(&of.device.to_string()), escaped(&of.step), escaped(&of.reason));
            let (chain, first) = (of.chain, of.first);
            let _ = write!(
                out,
                "<li><strong>{device}</strong> {first}–{}: {step}: {reason}<br><button id=\"discard-{chain}-{first}\" type=\"button\" \
                 data-order=\"/stored/discard/{device}/{chain}/{first}\">{discard}</button></li>",
                of.last
            );
        }
        out.push_str("</ul>");
    }
    out + "</section>"
}

fn ago(at: UnixMillis, now: UnixMillis, texts: &Texts) -> String {
    let [just_now, minutes, hours, days] = texts.ago;
    match now.since(at).as_secs() / 60 {
        0 => just_now.to_owned(),
        count if count < 120 => format!("{count} {minutes}"),
        count if count < 48 * 60 => format!("{} {hours}", count / 60),
        count => format!("{} {days}", count / (24 * 60)),
    }
}

#[cfg(test)]
mod tests;
