//! A pump's software from the manufacturer's desk into its slots: packages by the real `wardlink release`, a directive by the server's
//! code, and the real `wardlink pump`, which is killed at every line that it says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part")]
#[path = "device/bedside.rs"]
mod bedside;
#[allow(dead_code, reason = "each test file uses its part")]
#[path = "release/desk.rs"]
mod desk;

use bedside::{Bedside, NEW, OLD};
use wardlink_update::director::When;

#[test]
fn a_pump_installs_what_manufacturer_and_server_agree_on() {
    let bedside = Bedside::new();
    bedside.direct(|_| ());
    let mut pump = bedside.power();
    assert_eq!(pump.until("booted")["revision"], OLD);
    let outcome = pump.until("update");
    assert_eq!(outcome["outcome"]["installed"]["revision"], NEW);
    pump.kill();
    let mut pump = bedside.power();
    assert_eq!(pump.until("booted")["revision"], NEW);
    drop(pump);
    assert!(bedside.slots().contains(&"slot-b".to_owned()) && !bedside.slots().contains(&"slot-a".to_owned()));
}

#[test]
fn a_pump_that_is_killed_at_any_line_boots_one_image_whole_and_goes_on_to_the_end() {
    let bedside = Bedside::new();
    bedside.direct(|_| ());
    let (mut kills, mut was_new) = (0, false);
    loop {
        // Each life lasts one line longer than the one before.
        let mut pump = bedside.power();
        let booted = pump.until("booted");
        let revision = booted["revision"].as_str().unwrap().to_owned();
        assert!(revision == OLD || revision == NEW, "{revision}");
        assert!(!was_new || revision == NEW, "it went back by itself");
        was_new |= revision == NEW;
        let mut ended = revision == NEW;
        for _ in 0..kills {
            ended |= pump.next_line().is_some_and(|line| line["event"] == "update");
            if ended {
                break;
            }
        }
        pump.kill();
        if ended {
            break;
        }
        kills += 1;
        assert!(kills < 100, "it never comes to an end");
    }
    assert!(kills >= 4, "{kills}");
    let mut pump = bedside.power();
    assert_eq!(pump.until("booted")["revision"], NEW);
}

#[test]
fn a_pump_that_is_killed_while_it_writes_goes_on_where_it_was() {
    let bedside = Bedside::new();
    bedside.direct(|_| ());
    let image = bedside.image(NEW);
    let mut seen = Vec::new();
    // Killed as soon as more of the image lies in the slot than the last time.
    for _ in 0..4 {
        let pump = bedside.power();
        let before = seen.last().copied().unwrap_or(0);
        let now = bedside.until_slot_is_longer_than(before);
        pump.kill();
        seen.push(now);
        if now >= u64::try_from(image.len()).unwrap() {
            break;
        }
    }
    let mut pump = bedside.power();
    if pump.until("booted")["revision"] == OLD {
        assert_eq!(pump.until("update")["outcome"]["installed"]["revision"], NEW);
    }
    pump.kill();
    assert_eq!(bedside.slot_b(), image);
}

#[test]
fn a_release_that_fails_its_self_test_is_taken_back_and_shown() {
    let bedside = Bedside::with(&["--self-test", "fails"]);
    bedside.direct(|_| ());
    let mut pump = bedside.power();
    let outcome = pump.until("update");
    assert!(outcome["outcome"]["failed"]["reason"].as_str().unwrap().contains("self-test"), "{outcome}");
    let shown = pump.until("updating");
    assert_eq!(shown["update"]["stands"], "failed");
    pump.kill();
    assert_eq!(bedside.power().until("booted")["revision"], OLD);
}

#[test]
fn a_release_that_takes_the_pump_down_is_taken_back_after_a_few_starts() {
    let bedside = Bedside::with(&["--self-test", "crashes"]);
    bedside.direct(|_| ());
    let mut pump = bedside.power();
    pump.until("booted");
    let mut deaths = 0;
    while pump.ends() {
        deaths += 1;
        assert!(deaths <= 5, "it is started for ever");
        pump = bedside.power();
        if pump.next_line_of("booted").is_some_and(|line| line["revision"] == OLD) {
            break;
        }
    }
    assert_eq!(deaths, 3);
    let outcome = pump.until("update");
    assert!(outcome["outcome"]["failed"]["reason"].as_str().unwrap().contains("did not come up"), "{outcome}");
}

#[test]
fn an_image_that_was_altered_on_the_way_is_not_installed() {
    let bedside = Bedside::new();
    bedside.direct(|_| ());
    bedside.alter_image();
    let mut pump = bedside.power();
    assert_eq!(pump.until("update")["outcome"], "corrupt");
    pump.kill();
    assert_eq!(bedside.power().until("booted")["revision"], OLD);
}

#[test]
fn what_is_refused_is_refused_at_its_step() {
    let refused = |bedside: &Bedside, step: &str| {
        let mut pump = bedside.power();
        let outcome = pump.until("update");
        assert_eq!(outcome["outcome"]["refused"]["step"], step, "{outcome}");
        pump.kill();
        assert_eq!(bedside.power().until("booted")["revision"], OLD);
    };
    // Other hardware: the server believes it of the device, and the manufacturer has made the package for it.
    let bedside = Bedside::new();
    bedside.direct(|order| order.assignments[0].hardware = "PM2-A".parse().unwrap());
    refused(&bedside, "5.4.3.4 step 3");
    // A directive whose time is over.
    let bedside = Bedside::new();
    bedside.direct_until(bedside::now() - 1, |_| ());
    refused(&bedside, "5.4.4.6 step 5");
    // The server's key is stolen, and says that another image is the manufacturer's.
    let bedside = Bedside::new();
    bedside.direct(|order| order.target.hashes = wardlink_update::metadata::Hashes::of(b"an evil image"));
    refused(&bedside, "5.4.4.2 step 10.2.1");
    // Somebody else's key.
    let bedside = Bedside::new();
    bedside.direct_with_key(99);
    refused(&bedside, "5.4.4.6 step 3");
    // An older release: the pump has left the factory with a newer one.
    let bedside = Bedside::with_factory_counter(9);
    bedside.direct(|_| ());
    refused(&bedside, "5.4.3.4 step 5");
}

#[test]
fn what_waits_for_a_person_is_installed_when_the_button_is_pressed() {
    let bedside = Bedside::new();
    bedside.direct(|order| order.assignments[0].when = When::OnConfirmation);
    let mut pump = bedside.power_with_display();
    let shown = pump.until("updating");
    assert_eq!((&shown["update"]["stands"], &shown["update"]["why"]), (&"waits".into(), &"confirmation".into()));
    let view = pump.view();
    assert_eq!((&view["confirming"], &view["version"]), (&true.into(), &OLD.into()));
    assert!(view["update"].as_str().unwrap().contains("It is installed when you say so"), "{view}");
    assert_eq!(pump.press("install", false), 403, "only the page itself may press the button");
    assert_eq!(pump.press("install", true), 202);
    loop {
        let outcome = pump.until("update");
        if outcome["outcome"]["installed"]["revision"] == NEW {
            break;
        }
        assert_eq!(outcome["outcome"]["postponed"], "confirmation");
    }
    assert!(pump.view()["version"].as_str().unwrap().starts_with(NEW));
}

#[test]
fn a_confirmation_that_cannot_be_stored_is_told_and_the_pump_works_on() {
    let bedside = Bedside::new();
    bedside.direct(|order| order.assignments[0].when = When::OnConfirmation);
    let mut pump = bedside.power_with_display();
    assert_eq!(pump.until("updating")["update"]["why"], "confirmation");
    // Where the record is written to on its way, nothing can be written.
    let way = bedside.desk.path("pump/software/software.new");
    std::fs::create_dir(&way).unwrap();
    assert_eq!(pump.press("install", true), 202);
    let told = pump.until("error");
    assert!(told["message"].as_str().unwrap().contains("cannot be read or written"), "{told}");
    assert_eq!(pump.view()["version"], OLD, "it works on");
    std::fs::remove_dir(&way).unwrap();
    assert_eq!(pump.press("install", true), 202);
    loop {
        let outcome = pump.until("update");
        if outcome["outcome"]["installed"]["revision"] == NEW {
            break;
        }
        assert_eq!(outcome["outcome"]["postponed"], "confirmation");
    }
}

#[test]
fn images_and_factory_files_are_made_once_and_shown() {
    let bedside = Bedside::new();
    let image = bedside.desk.path("1B.bin");
    let shown = bedside::wardlink(&["pump", "image", image.to_str().unwrap()]);
    assert!(shown.status.success());
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!((&shown["revision"], &shown["self_test"]), (&NEW.into(), &"passes".into()));
    let again = bedside::wardlink(&["pump", "image", image.to_str().unwrap(), "--revision", "1Z"]);
    assert_eq!(again.status.code(), Some(1));
    let (export, file) = (bedside.desk.path("stick"), bedside.desk.path("other.json"));
    let factory = |model: &str| {
        let (export, file) = (export.to_str().unwrap(), file.to_str().unwrap());
        let line = ["pump", "factory", "--repository", export, "--manufacturer", "acme", "--model", model, file];
        bedside::wardlink(&line)
    };
    let refused = factory("PM9");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("trust no role acme"), "{refused:?}");
    assert!(factory("PM2").status.success());
    assert_eq!(factory("PM2").status.code(), Some(1), "an existing file is not replaced");
}
