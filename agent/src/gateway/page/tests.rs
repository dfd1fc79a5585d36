#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::gateway::status::Trouble;

fn status() -> Status {
    serde_json::from_value(serde_json::json!({
        "version": "1", "gateway": {"client": "gateway", "identifier": "ward-3"}, "is_paired": true, "is_connected": false,
        "last_contact": 60_000, "directive_heard": 3, "directive_done": 2, "manufacturers": ["acme"], "outcomes_waiting": 4,
        "devices": [{"is_updated_here": true, "waits": {"why": "confirmation", "directive": 3, "revision": "1B"}, "state": {"characteristics": {
            "device": {"client": "scale", "identifier": "s1"}, "manufacturer": "acme", "model": "S1", "serial_number": "1",
            "revision": "1A", "hardware": "B"}}}],
        "troubles": []
    }))
    .unwrap()
}

#[test]
fn the_page_says_how_things_stand_in_both_languages() {
    let now = UnixMillis(60_000 + 3 * 3_600_000);
    let english = content(&status(), Language::English, now);
    for said in ["gateway/ward-3", "not connected", "3 h ago", "under way", "acme", "scale/s1", "1A"] {
        assert!(english.contains(said), "{said}: {english}");
    }
    assert!(english.contains("data-order=\"/confirm/scale/s1/3\""));
    assert!(english.contains("revision 1B: waits for your confirmation"));
    assert!(!english.contains(ENGLISH.troubles) && !english.contains(ENGLISH.program));
    assert!(content(&status(), Language::German, now).contains("wartet auf Ihre Bestätigung"));
}

#[test]
fn the_gateways_own_program_is_shown_and_confirmed_like_a_devices() {
    let mut status = status();
    let mut own = status.devices[0].clone();
    own.state.characteristics.device = status.gateway.clone();
    own.state.characteristics.revision = "0.7".parse().unwrap();
    own.waits.as_mut().unwrap().directive = 4;
    status.own = Some(own);
    let page = content(&status, Language::English, UnixMillis(0));
    for said in [ENGLISH.program, "gateway/ward-3</strong> S1, revision 0.7", "/confirm/gateway/ward-3/4"] {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert!(content(&status, Language::German, UnixMillis(0)).contains("Programm dieses Gateways"));
    assert!(crate::gateway::status::lines(&status).contains(&"program     gateway/ward-3 S1 revision 0.7".to_owned()));
}

#[test]
fn what_others_write_stays_text() {
    let why = "<script>alert(1)</script>".to_owned();
    let troubles = vec![Trouble { what: "server".to_owned(), why, since: UnixMillis(0) }];
    let page = content(&Status { troubles, ..status() }, Language::English, UnixMillis(0));
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"));
}

#[test]
fn only_what_waits_for_a_person_has_a_button() {
    let mut status = status();
    status.devices[0].waits.as_mut().unwrap().why = Postponed::Unsafe;
    let page = content(&status, Language::English, UnixMillis(0));
    assert!(page.contains("waits for a safe moment") && !page.contains("/confirm/"));
}
