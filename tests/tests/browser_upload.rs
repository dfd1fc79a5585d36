//! A manufacturer that does not publish by itself: a person uploads what it has handed over, from a folder, in the browser.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use wardlink_protocol::api::{ManufacturerView, Person, ReleaseView, Role};
use wardlink_protocol::cbor;
use wardlink_protocol::limits::PUBLISHED_PART_BYTES;
use wardlink_tests::api::{ADMINISTRATOR, Api};
use wardlink_tests::browser::{Browser, Screen, Target};
use wardlink_tests::manufacturer::Manufacturer;
use wardlink_tests::publisher::long_program;
use wardlink_tests::ward::Ward;
use wardlink_tests::{Scene, publisher, scene, wait};

const PROGRAM: &[u8] = b"a program that travels on a stick";
const BILL: &str = "{\"bomFormat\":\"CycloneDX\"}";

/// Notes which parts of files have arrived, over every page, and how many requests found no answer. A part whose number the test has named
/// waits until the test lets it go; pauses are short where the test is in a hurry.
const WATCH: &str = "{
    const { fetch, setTimeout } = window;
    window.lost = 0;
    window.fetch = async (request, ...rest) => {
        const part = /\\/files\\/(\\w+\\/(\\d+))$/.exec(request.url ?? request);
        if (part && part[2] === window.holds) {
            window.holds = undefined;
            await new Promise((go) => { window.letGo = go; });
        }
        let answer;
        try {
            answer = await fetch.call(window, request, ...rest);
        } catch (error) {
            window.lost += 1;
            throw error;
        }
        if (part && answer.ok) sessionStorage.arrived = `${sessionStorage.arrived ?? ''} ${part[1]}`.trim();
        return answer;
    };
    window.setTimeout = (act, pause, ...rest) => setTimeout.call(window, act, window.hurries ? pause / 50 : pause, ...rest);
}";

/// A manufacturer that is known, and what it has exported: nothing of it is published.
fn handed_over<'s>(scene: &'s Scene, ward: &Ward<'_>) -> Result<(Manufacturer<'s>, PathBuf)> {
    handed_over_with(scene, ward, PROGRAM)
}

fn handed_over_with<'s>(scene: &'s Scene, ward: &Ward<'_>, program: &[u8]) -> Result<(Manufacturer<'s>, PathBuf)> {
    let acme = Manufacturer::found(scene, "acme")?;
    acme.make_known(&ward.administrator)?;
    let bill = acme.path("1B.cdx.json");
    fs::write(&bill, BILL).context("cannot write a bill of materials")?;
    acme.add("1A", "1B", program, &["--sbom", bill.to_str().context("a path of text")?])?;
    let stick = acme.path("stick");
    acme.release(&["export", stick.to_str().context("a path of text")?])?;
    Ok((acme, stick))
}

fn open(browser: &Browser, ward: &Ward<'_>) -> Result<()> {
    browser.sign_in(&format!("{}/#/updates", ward.worker.origin()), ADMINISTRATOR)?;
    browser.click(&Target::id("upload"))
}

fn choose(browser: &Browser, folder: &Path) -> Result<()> {
    browser.choose(&Target::field("folder"), folder)
}

/// The file of a program on the stick.
fn program(stick: &Path, program: &[u8]) -> Result<PathBuf> {
    let folder = stick.join("targets/acme/infusion-pump/PM2");
    let mut files = fs::read_dir(folder).context("cannot look into a folder")?.flatten().map(|entry| entry.path());
    files.find(|file| fs::read(file).is_ok_and(|bytes| bytes == program)).context("there is the program")
}

/// Sends what is verified, until the part of this number of the program is on its way: it waits there.
fn send_until(desk: &Browser, part: u32) -> Result<()> {
    desk.see(&Target::id("upload-verified"))?;
    desk.script_with::<()>("window.letGo = undefined; window.holds = arguments[0]", vec![part.to_string().into()])?;
    desk.click(&Target::id("confirm"))?;
    is_on_its_way(desk)
}

fn is_on_its_way(desk: &Browser) -> Result<()> {
    let is_held = || Ok(desk.script::<bool>("return window.letGo !== undefined")?.then_some(()));
    wait::until("a part to be on its way", is_held)
}

/// Lets it go, and waits until so many requests have found no answer.
fn lose(desk: &Browser, requests: u32) -> Result<()> {
    desk.cut_off(true)?;
    desk.script::<()>("window.lost = 0; window.letGo()")?;
    wait::until("a request to be lost", || Ok((desk.script::<u32>("return window.lost")? >= requests).then_some(())))
}

/// The parts that have arrived, in their order.
fn arrived(desk: &Browser) -> Result<Vec<String>> {
    let arrived: String = desk.script("return sessionStorage.arrived ?? ''")?;
    Ok(arrived.split_whitespace().map(str::to_owned).collect())
}

/// Everything on the stick has arrived, each part once, and what the server has of the program is what the manufacturer has signed.
fn is_complete(desk: &Browser, stick: &Path, bytes: &[u8]) -> Result<()> {
    let file = program(stick, bytes)?;
    let (hash, parts) =
        (publisher::file(bytes).sha256.to_string(), bytes.len().div_ceil(usize::try_from(PUBLISHED_PART_BYTES)?));
    let all = arrived(desk)?;
    let unique: BTreeSet<&String> = all.iter().collect();
    ensure!(unique.len() == all.len(), "a part was sent twice: {all:?}");
    let of_program: Vec<&String> = all.iter().filter(|part| part.starts_with(&hash)).collect();
    assert_eq!(
        of_program,
        (0..parts).map(|part| format!("{hash}/{part}")).collect::<Vec<_>>().iter().collect::<Vec<_>>()
    );
    let name = file.strip_prefix(stick).context("a file on the stick")?.display().to_string();
    let stored: String = desk.script_with(
        "return fetch(arguments[0]).then(answer => answer.arrayBuffer()).then(bytes => crypto.subtle.digest('SHA-256', bytes))
            .then(hash => [...new Uint8Array(hash)].map(byte => byte.toString(16).padStart(2, '0')).join(''))",
        vec![format!("/api/repositories/acme/{name}").into()],
    )?;
    assert_eq!(stored, hash);
    Ok(())
}

#[test]
fn an_upload_that_loses_the_network_goes_on_where_it_was_by_itself_or_when_a_person_says_so() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let bytes = long_program(3);
        let (_acme, stick) = handed_over_with(scene, &ward, &bytes)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        desk.before_load(WATCH)?;
        open(&desk, &ward)?;
        choose(&desk, &stick)?;

        // A short while without network: it goes on by itself.
        send_until(&desk, 1)?;
        lose(&desk, 1)?;
        desk.see(&Target::id("upload-progress"))?;
        desk.script::<()>("window.letGo = undefined; window.holds = '2'")?;
        desk.cut_off(false)?;
        is_on_its_way(&desk)?;

        // A long one: it says so, keeps what was verified, and goes on when the person says so.
        desk.script::<()>("window.hurries = true")?;
        lose(&desk, 6)?;
        desk.see(&Target::id("problem").inside(&Target::id("upload-form")))?;
        desk.see(&Target::id("upload-verified"))?;
        let before = arrived(&desk)?;
        desk.cut_off(false)?;
        desk.click(&Target::id("confirm"))?;
        desk.see(&Target::id("release"))?;
        desk.see_vanish(&Target::id("upload-form"))?;
        ensure!(arrived(&desk)?.starts_with(&before), "it goes on where it was");
        is_complete(&desk, &stick, &bytes)
    })
}

#[test]
fn an_upload_whose_page_was_loaded_anew_goes_on_where_it_was() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::with_pages(scene)?;
        let bytes = long_program(3);
        let (acme, stick) = handed_over_with(scene, &ward, &bytes)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        desk.before_load(WATCH)?;
        open(&desk, &ward)?;
        choose(&desk, &stick)?;
        send_until(&desk, 2)?;
        desk.reload()?;
        desk.see(&Target::id("no-releases"))?;
        let hash = publisher::file(&bytes).sha256;
        let half = arrived(&desk)?;
        ensure!(half.contains(&format!("{hash}/1")) && !half.contains(&format!("{hash}/2")), "{half:?}");

        // The same folder again, in the same upload; and then the server is away for a moment.
        desk.click(&Target::id("upload"))?;
        choose(&desk, &stick)?;
        send_until(&desk, 3)?;
        assert_eq!(arrived(&desk)?, [half, vec![format!("{hash}/2")]].concat());
        ward.worker.kill();
        desk.script::<()>("window.lost = 0; window.letGo()")?;
        wait::until("a request to be lost", || Ok((desk.script::<u32>("return window.lost")? > 0).then_some(())))?;
        ward.worker.restart()?;
        desk.see(&Target::id("release"))?;
        let releases: Vec<ReleaseView> = ward.administrator.get("releases")?;
        assert_eq!(releases.iter().map(|release| release.path.clone()).collect::<Vec<_>>(), [acme.program("1B")]);
        is_complete(&desk, &stick, &bytes)
    })
}

#[test]
fn a_release_is_uploaded_from_a_folder_that_was_verified_in_the_browser() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let (acme, stick) = handed_over(scene, &ward)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        open(&desk, &ward)?;
        choose(&desk, &stick)?;
        desk.see(&Target::id("upload-verified"))?;
        let none: Vec<ReleaseView> = ward.administrator.get("releases")?;
        ensure!(none.is_empty(), "nothing was sent: {none:?}");
        desk.click(&Target::id("confirm"))?;
        desk.see(&Target::id("release"))?;
        let releases: Vec<ReleaseView> = ward.administrator.get("releases")?;
        assert_eq!(releases.iter().map(|release| release.path.clone()).collect::<Vec<_>>(), [acme.program("1B")]);
        // Its bill of materials is opened from its contents.
        desk.click(&Target::id("contents"))?;
        desk.see(&Target::id("release-contents"))?;
        let link = Target::xpath("the bill of materials", "//a[@data-document=\"sbom\"]");
        let address = desk.property(&link, "href")?.context("a link leads somewhere")?;
        let open = "return fetch(arguments[0]).then(answer => answer.ok ? answer.text() : answer.status)";
        let bill: Value = desk.script_with(open, vec![address.into()])?;
        assert_eq!(bill, BILL);
        desk.click(&Target::xpath("the way out", "//*[@data-testid=\"release-contents\"]/button"))?;
        desk.see_vanish(&Target::id("release-contents"))?;

        // The log says who, and that no token was used.
        let log: Value = ward.administrator.get("audit")?;
        let log = log.to_string();
        ensure!(log.contains("packages, in the web app"), "{log}");

        // The same again changes nothing, and what was published cannot be taken back by an older copy.
        let older = acme.path("older");
        fs::rename(&stick, &older).context("cannot move a folder")?;
        acme.add("1B", "1C", b"a later program", &[])?;
        acme.release(&["export", stick.to_str().context("a path of text")?])?;
        desk.click(&Target::id("upload"))?;
        choose(&desk, &stick)?;
        desk.see(&Target::id("upload-verified"))?;
        desk.click(&Target::id("confirm"))?;
        desk.see(&Target::xpath("the later release", "//*[@data-testid=\"release\"][contains(@data-path, \"1C\")]"))?;
        desk.click(&Target::id("upload"))?;
        choose(&desk, &older)?;
        desk.see(&Target::xpath("the refusal", "//*[@data-testid=\"upload-refused\"][contains(., \"step 5.4\")]"))?;
        let known: Vec<ManufacturerView> = ward.administrator.get("manufacturers")?;
        ensure!(known.iter().all(|maker| maker.tokens.is_empty()), "{known:?}");
        Ok(())
    })
}

#[test]
fn what_is_not_as_it_was_signed_never_leaves_the_browser() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let (_acme, stick) = handed_over(scene, &ward)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        open(&desk, &ward)?;
        let refused = |why: &str| {
            let target = format!("//*[@data-testid=\"upload-refused\"][contains(., {why:?})]");
            desk.see(&Target::xpath("the refusal", &target))?;
            desk.click(&Target::xpath("the way out", "//dialog//div[@class=\"answers\"]/button[@type=\"button\"]"))?;
            desk.see_vanish(&Target::id("upload-form"))?;
            desk.click(&Target::id("upload"))
        };

        choose(&desk, &stick.join("metadata"))?;
        refused("no repository in this folder")?;

        let program = program(&stick, PROGRAM)?;
        let mut changed = PROGRAM.to_vec();
        changed[3] ^= 1;
        fs::write(&program, &changed).context("cannot change a program")?;
        choose(&desk, &stick)?;
        refused("1B.bin")?;
        fs::remove_file(&program).context("cannot remove a program")?;
        choose(&desk, &stick)?;
        refused("1B.bin")?;
        fs::write(&program, PROGRAM).context("cannot put a program back")?;

        // Another house's repository, under the same name.
        let other = Manufacturer::found(scene, "globex")?;
        let root = other.repository().join("metadata/1.root.json");
        let own = stick.join("metadata/1.root.json");
        let kept = fs::read(&own).context("cannot read the root")?;
        fs::copy(root, &own).context("cannot put another root there")?;
        let timestamp = stick.join("metadata/timestamp.json");
        let good = fs::read(&timestamp).context("cannot read the timestamp")?;
        fs::copy(other.repository().join("metadata/timestamp.json"), &timestamp).context("cannot forge a timestamp")?;
        choose(&desk, &stick)?;
        refused("step 5.4")?;
        fs::write(&own, kept).context("cannot put the root back")?;
        fs::write(&timestamp, good).context("cannot put the timestamp back")?;

        let releases: Vec<ReleaseView> = ward.administrator.get("releases")?;
        ensure!(releases.is_empty(), "{releases:?}");
        choose(&desk, &stick)?;
        desk.see(&Target::id("upload-verified"))?;
        Ok(())
    })
}

#[test]
fn nobody_publishes_without_a_token_or_the_right() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        handed_over(scene, &ward)?;
        let list = r#"{"metadata":[],"files":[]}"#;
        // Whoever names a person itself is nobody.
        let nobody = Api::new(ward.worker.origin());
        let (name, role) = (ADMINISTRATOR.to_owned(), Role::Administrator);
        let person = Person { id: 1, name, role, active: true, last_signed_in: None };
        let person = BASE64URL_NOPAD.encode(&cbor::pack(&person)?);
        let forged = ("Wardlink-Person", person.as_str());
        let guess = ("Authorization", "Bearer a-guess");
        assert_eq!(nobody.publish("acme", &[forged], list)?, 401);
        assert_eq!(nobody.publish("acme", &[guess], list)?, 403);
        assert_eq!(nobody.publish("acme", &[guess, forged], list)?, 403, "the name is taken away");
        assert_eq!(ward.nurse.publish("acme", &[], list)?, 403);
        assert_eq!(ward.administrator.publish("nobody-knows", &[], list)?, 404);
        assert_eq!(ward.administrator.publish("acme", &[], list)?, 201);
        Ok(())
    })
}

#[test]
fn a_publishing_token_is_revoked_by_two_presses_and_counts_no_more() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let acme = Manufacturer::found(scene, "acme")?;
        acme.onboard(&ward.administrator)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        desk.sign_in(&format!("{}/#/updates/manufacturers", ward.worker.origin()), ADMINISTRATOR)?;
        desk.click(&Target::id("tokens"))?;
        let revoke = Target::id("revoke-token");
        desk.click(&revoke)?;
        desk.see(&Target::xpath("the question", "//*[@data-testid=\"revoke-token\"][.=\"Revoke for good\"]"))?;
        let counts = || -> Result<usize> {
            let known: Vec<ManufacturerView> = ward.administrator.get("manufacturers")?;
            Ok(known.iter().flat_map(|one| &one.tokens).filter(|token| token.revoked_at.is_none()).count())
        };
        assert_eq!(counts()?, 1, "one press has revoked it");
        wait::until("it is revoked", || {
            if counts()? == 1 {
                desk.click(&revoke)?;
            }
            Ok((counts()? == 0).then_some(()))
        })?;
        desk.see_vanish(&revoke)?;
        acme.add("1A", "1B", PROGRAM, &[])?;
        acme.publish_refused(&ward.worker.origin())?;
        assert_eq!(desk.complaints()?, Vec::<String>::new());
        Ok(())
    })
}
