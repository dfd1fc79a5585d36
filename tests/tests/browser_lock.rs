//! The lock after inactivity. The browser's clock is put forward; nothing waits.

use anyhow::{Result, ensure};
use wardlink_protocol::pairing::Mode;
use wardlink_tests::api::{ADMINISTRATOR, PASSWORD};
use wardlink_tests::browser::{Browser, Screen, Target};
use wardlink_tests::scene;
use wardlink_tests::wait;
use wardlink_tests::ward::{NURSE, Ward};

fn sign_in(browser: &Browser, ward: &Ward<'_>, page: &str, name: &str) -> Result<()> {
    browser.sign_in(&format!("{}{page}", ward.worker.origin()), name)
}

/// Puts the page's clock forward.
fn let_pass(browser: &Browser, minutes: u32) -> Result<()> {
    browser.script(&format!("const now = Date.now; Date.now = () => now() + {minutes} * 60000;"))
}

/// Whether the document says a word anywhere, attributes and title included.
fn holds(browser: &Browser, word: &str) -> Result<bool> {
    let page: String = browser.script("return document.documentElement.outerHTML.toLowerCase()")?;
    Ok(page.contains(&word.to_lowercase()))
}

/// Notes what the page asks, and whether by itself; what it does every five seconds happens when the test says so, and whether it is in front,
/// too.
const BY_HAND: &str = "{
    window.asked = []; window.ticks = []; window.isHidden = false;
    const { fetch, setInterval } = window;
    window.fetch = (request, ...rest) => {
        const address = new URL(request.url ?? request, location);
        window.asked.push([address.pathname, request.headers?.has('wardlink-by-itself') ?? false]);
        return fetch.call(window, request, ...rest);
    };
    window.setInterval = (tick, pause, ...rest) =>
        pause === 5000 ? (window.ticks.push(tick), 0) : setInterval.call(window, tick, pause, ...rest);
    Object.defineProperty(document, 'visibilityState', { get: () => window.isHidden ? 'hidden' : 'visible' });
}";

/// How often the page has asked for the releases: by itself or not.
fn asked(browser: &Browser, by_itself: bool) -> Result<usize> {
    let asked: Vec<(String, bool)> = browser.script("return window.asked")?;
    Ok(asked.into_iter().filter(|asked| *asked == ("/api/v1/releases".to_owned(), by_itself)).count())
}

fn the_lock() -> Target {
    Target::id("lock-screen")
}

#[test]
fn a_phone_that_nobody_touches_hides_everything_and_comes_back_with_one_touch() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let (_pump, _, code) = ward.pump_with_code("ip-1", Mode::PairingCode)?;
        let phone = Browser::start(scene, Screen::Phone)?;
        sign_in(&phone, &ward, "/verify", NURSE)?;
        phone.fill(&Target::id("code"), &code[..4])?;
        ensure!(holds(&phone, "ip-1")?, "the pump is on the screen");

        let_pass(&phone, 4)?;
        ensure!(!phone.sees(&the_lock())?, "five minutes are not over");
        let_pass(&phone, 2)?;
        let said = phone.see(&the_lock())?;
        ensure!(said.contains(NURSE), "it says who goes on: {said}");
        ensure!(!holds(&phone, "ip-1")? && !holds(&phone, &code[..4])?, "nothing of the device is in the document");

        phone.open(&format!("{}/verify", ward.worker.origin()))?;
        phone.see(&the_lock())?;
        ensure!(!holds(&phone, "ip-1")?, "a page that is loaded anew stays locked");
        phone.click(&Target::id("continue"))?;
        phone.see(&Target::id("code"))?;

        phone.fill(&Target::id("code"), &code[..4])?;
        phone.click(&Target::id("lock-now"))?;
        phone.see(&the_lock())?;
        phone.click(&Target::id("continue"))?;
        let typed = phone.property(&Target::id("code"), "value")?.unwrap_or_default();
        assert_eq!(typed, code[..4], "what was typed is kept");
        assert_eq!(phone.complaints()?, Vec::<String>::new());
        Ok(())
    })
}

#[test]
fn a_desk_keeps_an_open_question_behind_the_lock_and_is_live_again_afterwards() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let _pump = ward.pump("ip-1")?;
        let desk = Browser::start(scene, Screen::Desk)?;
        // What is open is counted.
        desk.before_load(
            "window.sockets = []; window.WebSocket = class extends WebSocket { \
             constructor(...all) { super(...all); window.sockets.push(this); } };",
        )?;
        sign_in(&desk, &ward, "/#/requests", NURSE)?;
        desk.click(&Target::id("accept"))?;
        desk.fill(&Target::field("location"), "Room 3, bed 4")?;

        let_pass(&desk, 14)?;
        ensure!(!desk.sees(&the_lock())?, "a quarter of an hour is not over");
        let_pass(&desk, 2)?;
        desk.see(&the_lock())?;
        ensure!(!holds(&desk, "ip-1")? && !holds(&desk, "Room 3")?, "nothing of the device is in the document");
        wait::until("the live connection to be closed", || {
            desk.script::<bool>("return window.sockets.every(socket => socket.readyState >= 2)")
                .map(|closed| closed.then_some(()))
        })?;

        desk.click(&Target::id("continue"))?;
        let typed = desk.property(&Target::field("location"), "value")?;
        assert_eq!(typed.as_deref(), Some("Room 3, bed 4"), "what was typed is kept");
        let is_modal: bool = desk.script("return document.querySelector('dialog').matches(':modal')")?;
        ensure!(is_modal, "the question stands before everything else again");
        desk.click(&Target::id("confirm").inside(&Target::id("accept-form")))?;
        let _second = ward.pump("ip-2")?;
        desk.see(&Target::row("request", "infusion-pump/ip-2"))?;
        assert_eq!(desk.complaints()?, Vec::<String>::new());
        Ok(())
    })
}

#[test]
fn somebody_else_signs_in_behind_the_lock_and_finds_nothing_of_before() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        sign_in(&desk, &ward, "/#/policy", ADMINISTRATOR)?;
        desk.fill(&Target::field("request-minutes"), "44")?;
        desk.see(&Target::id("save-bar"))?;
        desk.click(&Target::id("lock-now"))?;
        desk.click(&Target::id("somebody-else"))?;
        desk.fill(&Target::field("username"), NURSE)?;
        desk.fill(&Target::field("password"), PASSWORD)?;
        desk.click(&Target::xpath("the main button", "//form//button[not(@type=\"button\")]"))?;
        let me = desk.see(&Target::id("me"))?;
        assert_eq!(me, NURSE);
        ensure!(!holds(&desk, "request-minutes")?, "the administrator's screen is gone");
        Ok(())
    })
}

#[test]
fn a_session_that_ended_behind_the_lock_asks_for_the_password() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        sign_in(&desk, &ward, "/#/requests", NURSE)?;
        desk.see(&Target::id("no-requests"))?;
        desk.click(&Target::id("lock-now"))?;
        desk.see(&the_lock())?;
        // The server ends it, as it does after its own time.
        let people: Vec<wardlink_protocol::api::Person> = ward.administrator.get("people")?;
        let nurse = people.iter().find(|person| person.name == NURSE).map(|person| person.id).unwrap_or_default();
        let change = wardlink_protocol::api::PersonChange {
            password: Some(PASSWORD.to_owned()),
            ..wardlink_protocol::api::PersonChange::default()
        };
        ward.administrator.change_person(nurse, &change)?;
        desk.click(&Target::id("continue"))?;
        desk.see(&Target::id("sign-in"))?;
        ensure!(!desk.sees(&the_lock())?, "the lock gives way to the password");
        Ok(())
    })
}

#[test]
fn a_person_chooses_how_long_it_waits_and_the_browser_remembers() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        sign_in(&desk, &ward, "/#/requests", NURSE)?;
        desk.click(&Target::xpath("one minute", "//select[@name=\"lock-after\"]/option[@value=\"1\"]"))?;
        desk.open("about:blank")?;
        desk.open(&ward.worker.origin())?;
        desk.see(&Target::id("no-requests"))?;
        assert_eq!(
            desk.property(&Target::xpath("the wait", "//select[@name=\"lock-after\"]"), "value")?.as_deref(),
            Some("1")
        );
        let_pass(&desk, 2)?;
        desk.see(&the_lock())?;
        Ok(())
    })
}

#[test]
fn a_screen_looks_again_only_while_somebody_may_see_it_and_keeps_no_session_alive_by_that() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        desk.before_load(BY_HAND)?;
        sign_in(&desk, &ward, "/#/updates", ADMINISTRATOR)?;
        desk.see(&Target::id("no-releases"))?;
        let (by_person, by_itself) = (asked(&desk, false)?, asked(&desk, true)?);
        ensure!(by_person > 0 && by_itself == 0, "who opens the screen asks: {by_person}, {by_itself}");
        let tick = || desk.script::<()>("window.ticks.forEach(tick => tick())");
        let wait_for = |times| wait::until("another look", || Ok((asked(&desk, true)? == times).then_some(())));
        tick()?;
        wait_for(1)?;

        desk.script::<()>("window.isHidden = true")?;
        tick()?;
        assert_eq!(asked(&desk, true)?, 1, "nobody sees it");
        desk.script::<()>(
            "window.isHidden = false; document.dispatchEvent(new Event('visibilitychange', { bubbles: true }))",
        )?;
        wait_for(2)?;

        desk.click(&Target::id("lock-now"))?;
        desk.see(&the_lock())?;
        tick()?;
        assert_eq!(asked(&desk, true)?, 2, "it is locked");
        desk.click(&Target::id("continue"))?;
        wait_for(3)?;
        assert_eq!(asked(&desk, false)?, by_person, "no person has asked again");
        assert_eq!(desk.complaints()?, Vec::<String>::new());
        Ok(())
    })
}
