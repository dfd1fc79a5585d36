//! The web app: the phone's verification page and the control unit's face, client-side rendered.
//!
//! Two entries share this crate, each a WebAssembly module of its own: [`start_verify`] (small: the phone's whole route stays
//! under 200,000 bytes) and [`start_control_unit`]. What needs no browser (the catalogue of texts, routes, formats, the merging of live events,
//! the search for QR codes) is plain Rust and is tested natively.
//!
//! Threats considered: everything that arrives from a camera, a link or the server is parsed into a type before it is used; nothing is
//! ever written as HTML; the page runs under a policy without inline scripts and styles. A scanned code submits only to this page's own origin,
//! and a code that names another is refused.

#![allow(clippy::needless_pass_by_value, reason = "components own their properties")]
#![allow(unreachable_pub, reason = "the component macro writes `pub` into private modules")]

mod alarm;
mod alert;
mod api;
mod app;
mod audit;
mod authority;
mod channels;
mod classes;
mod clock;
mod code;
mod control_unit_page;
mod csv;
mod devices;
mod fetched;
mod format;
mod live;
mod lock;
mod pages;
mod pairing;
mod people;
mod policy;
mod provisioning;
mod qr;
mod records;
mod requests;
mod route;
mod scanner;
mod services;
mod session;
mod text;
mod ui;
mod updates;
mod verification;
mod verify_page;

pub use control_unit_page::start as start_control_unit;
pub use verify_page::start as start_verify;
