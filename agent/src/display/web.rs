//! The screen as a small web page that looks like a pump: `GET /`, `/state`, `/events`, `/qr.svg`, `/qr.png` and the button
//! (`POST /couple`), the one that lets an update be installed (`POST /install`), and the keys (`POST /answer`); of several
//! pumps each under its number, such as `/1/state`.
//!
//! Whoever reaches the page sees what whoever stands before the pump sees, the code included. So the page belongs on loopback;
//! there it answers only to loopback's names, which keeps foreign web pages out (DNS rebinding).

use super::qr::{Qr, QrError};
use super::texts::Language;
use super::{Screen, View};
use crate::pump::{Handle, Order};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::{get, post};
use core::fmt::Write as _;
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("display.css");
const SCRIPT: &str = include_str!("display.js");
/// The longest text that is read as an answer.
const MAX_ANSWER_BYTES: usize = 16;
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One pump's part of the site.
#[derive(Clone)]
struct Pump {
    /// `""`, or `/1` and so on.
    base: Arc<str>,
    screen: watch::Receiver<Screen>,
    orders: mpsc::Sender<Order>,
}

/// Serves the screens on `listener` until the future is dropped.
pub async fn serve(listener: TcpListener, pumps: Arc<[Handle]>) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    axum::serve(listener, router(address, pumps)).await
}

/// The site: one pump stands at the root, several under their numbers.
pub fn router(address: SocketAddr, pumps: Arc<[Handle]>) -> Router {
    let mut router = Router::new()
        .route("/favicon.ico", get(async || StatusCode::NO_CONTENT))
        .route("/display.css", get(async || ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)))
        .route("/display.js", get(async || ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT)));
    if let [pump] = pumps.as_ref() {
        router = router.merge(pump_routes("", pump));
    } else {
        for (number, pump) in (1..).zip(pumps.iter()) {
            router = router.merge(pump_routes(&format!("/{number}"), pump));
        }
        router = router.merge(Router::new().route("/", get(index)).with_state(pumps));
    }
    guarded(router, address)
}

/// A page's routes with what keeps foreign pages away from them.
pub(crate) fn guarded(router: Router, address: SocketAddr) -> Router {
    router.layer(middleware::from_fn(security_headers)).layer(middleware::from_fn_with_state(address, own_names_only))
}

/// The screen of a device that couples, at a path of another page.
pub(crate) fn coupling(base: &str, device: &Handle) -> Router {
    Router::new()
        .route("/display.css", get(async || ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)))
        .route("/display.js", get(async || ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT)))
        .merge(pump_routes(base, device))
}

fn pump_routes(base: &str, pump: &Handle) -> Router {
    let root = if base.is_empty() { "/" } else { base };
    Router::new()
        .route(root, get(page))
        .route(&format!("{base}/state"), get(state))
        .route(&format!("{base}/events"), get(events))
        .route(&format!("{base}/qr.svg"), get(qr_svg))
        .route(&format!("{base}/qr.png"), get(qr_png))
        .route(&format!("{base}/couple"), post(couple))
        .route(&format!("{base}/install"), post(install))
        .route(&format!("{base}/answer"), post(answer).layer(DefaultBodyLimit::max(MAX_ANSWER_BYTES)))
        .with_state(Pump { base: base.into(), screen: pump.screen.clone(), orders: pump.orders.clone() })
}

/// What a page is asked for.
#[derive(Deserialize)]
pub(crate) struct Asked {
    lang: Option<String>,
}

impl Asked {
    /// `?lang=` before Accept-Language before English.
    pub(crate) fn language(&self, headers: &HeaderMap) -> Language {
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let asked = self.lang.as_deref().and_then(Language::preferred);
        asked.or_else(|| accepted.and_then(Language::preferred)).unwrap_or_default()
    }
}

async fn page(State(pump): State<Pump>, Query(asked): Query<Asked>, headers: HeaderMap) -> Html<String> {
    let language = asked.language(&headers);
    let view = pump.screen.borrow().view(language);
    Html(fill(PAGE, &page_values(&pump.base, &view, language)))
}

async fn state(State(pump): State<Pump>, Query(asked): Query<Asked>, headers: HeaderMap) -> Json<View> {
    Json(pump.screen.borrow().view(asked.language(&headers)))
}

/// Every change of the screen as a server-sent event, the present state first.
async fn events(
    State(pump): State<Pump>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let language = asked.language(&headers);
    let mut screen = pump.screen;
    screen.mark_changed();
    let changes = stream::unfold(screen, move |mut screen| async move {
        screen.changed().await.ok()?;
        let view = screen.borrow_and_update().view(language);
        // A view is plain text and numbers, which JSON can always carry; an empty event would say nothing.
        let event = Event::default().json_data(&view).unwrap_or_default();
        Some((Ok(event), screen))
    });
    Sse::new(changes).keep_alive(KeepAlive::default())
}

async fn qr_svg(State(pump): State<Pump>) -> Response {
    qr(&pump, "image/svg+xml", |qr| Ok(qr.svg().into_bytes()))
}

async fn qr_png(State(pump): State<Pump>) -> Response {
    qr(&pump, "image/png", Qr::png)
}

/// The picture of the code that the screen shows now; 404 while it shows none.
fn qr(pump: &Pump, kind: &'static str, draw: impl FnOnce(&Qr) -> Result<Vec<u8>, QrError>) -> Response {
    let Some(link) = pump.screen.borrow().view(Language::English).link else {
        return (StatusCode::NOT_FOUND, "The pump shows no QR code now.").into_response();
    };
    match Qr::new(&link).and_then(|qr| draw(&qr)) {
        Ok(bytes) => ([(header::CONTENT_TYPE, kind)], bytes).into_response(),
        Err(error) => {
            tracing::error!(%error, "the QR code cannot be drawn");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The button on the device: couple now. Only the page itself may press it.
async fn couple(State(pump): State<Pump>, headers: HeaderMap) -> StatusCode {
    order(&pump, &headers, Order::Couple)
}

/// The button on the device: the update that waits may be installed. Only the page itself may press it.
async fn install(State(pump): State<Pump>, headers: HeaderMap) -> StatusCode {
    order(&pump, &headers, Order::Install)
}

/// The keys on the device: the control unit's answer, as text.
async fn answer(State(pump): State<Pump>, headers: HeaderMap, typed: String) -> StatusCode {
    match typed.parse() {
        Ok(answer) => order(&pump, &headers, Order::Answer(answer)),
        Err(_) => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// Whether the page itself asks.
pub(crate) fn is_own_page(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin")
}

fn order(pump: &Pump, headers: &HeaderMap, order: Order) -> StatusCode {
    if !is_own_page(headers) {
        return StatusCode::FORBIDDEN;
    }
    match pump.orders.try_send(order) {
        Ok(()) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The list of several pumps.
async fn index(State(pumps): State<Arc<[Handle]>>, Query(asked): Query<Asked>, headers: HeaderMap) -> Html<String> {
    let language = asked.language(&headers);
    let mut rows = String::new();
    for (number, pump) in (1..).zip(pumps.iter()) {
        let view = pump.screen.borrow().view(language);
        let (device, title) = (escaped(&view.device), escaped(&view.title));
        let _ = write!(rows, "<li><a href=\"/{number}\">{device}</a> <span>{title}</span></li>");
    }
    let (tag, heading) = (language.tag(), language.texts().pumps);
    Html(format!(
        "<!doctype html><html lang=\"{tag}\"><head><meta charset=\"utf-8\"><title>{heading}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><link rel=\"stylesheet\" href=\"/display.css\"></head>\
         <body><main class=\"list\"><h1>{heading}</h1><ul>{rows}</ul></main></body></html>"
    ))
}

/// What stands in the page's places when it is delivered; the script keeps it up to date.
fn page_values(base: &str, view: &View, language: Language) -> Vec<(&'static str, String)> {
    let texts = language.texts();
    let infusion = view.infusion.as_ref();
    let text = |value: Option<&String>| value.map(|value| escaped(value)).unwrap_or_default();
    let hidden = |shown: bool| if shown { String::new() } else { "hidden".to_owned() };
    vec![
        ("language", view.language.to_owned()),
        ("base", base.to_owned()),
        ("device", escaped(&view.device)),
        ("model", escaped(&view.model)),
        ("serial", escaped(&view.serial)),
        ("phase", view.phase.to_owned()),
        ("title", escaped(&view.title)),
        ("detail", escaped(&view.detail)),
        ("connection", escaped(&view.connection)),
        ("online", view.online.to_string()),
        ("lost", escaped(texts.lost)),
        ("button", texts.button.to_owned()),
        ("button_hidden", hidden(view.button)),
        ("version_label", texts.version.to_owned()),
        ("version_hidden", hidden(view.version.is_some())),
        ("version", text(view.version.as_ref())),
        ("update_hidden", hidden(view.update.is_some())),
        ("update", text(view.update.as_ref())),
        ("install", texts.install.to_owned()),
        ("install_hidden", hidden(view.confirming)),
        ("answer_hidden", hidden(view.answering)),
        ("answer_label", texts.answer.to_owned()),
        ("delete", texts.delete.to_owned()),
        ("enter", texts.enter.to_owned()),
        ("code_hidden", hidden(view.code.is_some())),
        ("code_label", escaped(texts.code)),
        ("code", text(view.code.as_ref())),
        ("qr_hidden", hidden(view.link.is_some())),
        ("qr_source", if view.link.is_some() { format!("src=\"{base}/qr.svg\"") } else { String::new() }),
        ("qr_label", escaped(texts.qr)),
        ("tone_hidden", hidden(view.tone.is_some())),
        ("tone", escaped(view.tone.unwrap_or_default())),
        ("message_hidden", hidden(view.message.is_some())),
        ("message_label", escaped(texts.message)),
        ("message", text(view.message.as_ref())),
        ("infusion_hidden", hidden(infusion.is_some())),
        ("drug", text(infusion.map(|infusion| &infusion.drug))),
        ("rate", text(infusion.map(|infusion| &infusion.rate))),
        ("rate_unit", texts.rate_unit.to_owned()),
        ("infused_label", texts.infused.to_owned()),
        ("remaining_label", texts.remaining.to_owned()),
        ("pressure_label", texts.pressure.to_owned()),
        ("battery_label", texts.battery.to_owned()),
        ("alarms_label", texts.alarms.to_owned()),
        ("infused", text(infusion.map(|infusion| &infusion.infused))),
        ("remaining", text(infusion.map(|infusion| &infusion.remaining))),
        ("pressure", text(infusion.map(|infusion| &infusion.pressure))),
        ("progress", infusion.map_or(0, |infusion| infusion.progress).to_string()),
        ("battery", infusion.map_or_else(String::new, |infusion| format!("{} %", infusion.battery))),
    ]
}

/// Puts values, escaped already, into the `{{places}}` of a page.
fn fill(page: &str, values: &[(&'static str, String)]) -> String {
    let mut filled = String::with_capacity(page.len() + 1024);
    let mut rest = page;
    while let Some((before, (place, after))) =
        rest.split_once("{{").and_then(|(before, tail)| Some((before, tail.split_once("}}")?)))
    {
        filled.push_str(before);
        filled.push_str(values.iter().find(|(name, _)| *name == place).map_or("", |(_, value)| value));
        rest = after;
    }
    filled + rest
}

/// Text as it stands in HTML.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// On loopback only loopback's own names are answered.
async fn own_names_only(State(address): State<SocketAddr>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if address.ip().is_loopback() && !names_loopback(host) {
        return (StatusCode::MISDIRECTED_REQUEST, "This display answers on loopback only.").into_response();
    }
    next.run(request).await
}

fn names_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
