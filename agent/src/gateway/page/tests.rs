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
    assert!(content(&status, Language::German, UnixMillis(0)).contains("Software dieses Gateways"));
    assert!(crate::gateway::status::lines(&status).contains(&"program     gateway/ward-3 S1 revision 0.7".to_owned()));
}

#[test]
fn why_a_devices_update_could_not_be_installed_is_shown_in_both_languages() {
    let mut status = status();
    status.devices[0].failed = Some("<b>no room</b>".to_owned());
    let page = |language| content(&status, language, UnixMillis(0));
    assert!(
        page(Language::English).contains("could not be installed: &lt;b&gt;no room"),
        "{}",
        page(Language::English)
    );
    assert!(page(Language::German).contains("nicht installieren: &lt;b&gt;no room"), "{}", page(Language::German));
    let lines = crate::gateway::status::lines(&status).join("\n");
    assert!(lines.contains("revision 1A, its last update could not be installed: <b>no room</b>"), "{lines}");
}

#[test]
fn devices_with_keys_and_their_broker_are_shown_in_both_languages() {
    let mut status = status();
    let state = status.devices.remove(0).state;
    status.verifying = serde_json::from_value(serde_json::json!([
        {"device": {"client": "scale", "identifier": "s1"}, "state": state, "is_updated_here": true, "is_listening": true,
            "offered": "1B", "postponed": "therapy", "failed": "<b>no room</b>"},
        {"device": {"client": "infusion-pump", "identifier": "p2"}, "is_updated_here": false, "is_listening": false},
    ]))
    .unwrap();
    status.hub = serde_json::from_value(serde_json::json!({
        "address": "10.0.0.7:8884", "listening": [{"client": "scale", "identifier": "s1"}], "is_overdue": true,
    }))
    .unwrap();
    let english = content(&status, Language::English, UnixMillis(0));
    for said in [
        "scale/s1</strong> S1, revision 1A <small>connected",
        "revision 1B lies ready for it: waits for the end of the therapy",
        "could not be installed: &lt;b&gt;no room",
        "infusion-pump/p2</strong> has not said yet what it runs <small>not connected",
        "10.0.0.7:8884",
        "<dd>1</dd>",
        "nobody is let in",
    ] {
        assert!(english.contains(said), "{said}: {english}");
    }
    assert!(!english.contains("/confirm/") && !english.contains("<li>none</li>"), "{english}");
    let german = content(&status, Language::German, UnixMillis(0));
    for said in ["Broker der Geräte", "Revision 1B liegt bereit", "hat noch nicht gesagt", "niemand wird eingelassen"]
    {
        assert!(german.contains(said), "{said}: {german}");
    }
    let lines = crate::gateway::status::lines(&status).join("\n");
    for said in [
        "device      scale/s1 S1 revision 1A, connected, revision 1B lies ready for it (it waits for the end of the therapy)",
        "infusion-pump/p2, has not said yet what it runs, not connected, not updated through this gateway",
        "hub         at 10.0.0.7:8884, denies everything",
    ] {
        assert!(lines.contains(said), "{said}: {lines}");
    }
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

#[test]
fn refused_data_is_shown_with_what_a_person_can_do() {
    let mut status = status();
    assert!(!content(&status, Language::English, UnixMillis(0)).contains("/stored/"));
    status.stored = serde_json::from_value(serde_json::json!({
        "records": 12, "bytes": 90, "capacity": 100, "oldest": 60_000, "receipted_at": null, "devices": [], "refused_batches": 1,
        "refused": [{"device": {"client": "scale", "identifier": "s1"}, "chain": "01010101010101010101010101010101", "first": 3, "last": 4,
            "step": "signature", "reason": "<b>forged</b>"}]
    }))
    .unwrap();
    let page = content(&status, Language::German, UnixMillis(60_000));
    for said in ["12 Werte", "90 %", "signature", "&lt;b&gt;", "data-order=\"/stored/retry\""] {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert!(page.contains("data-order=\"/stored/discard/scale/s1/01010101010101010101010101010101/3\""));
}
