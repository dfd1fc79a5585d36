//! Outcomes, retries, and when an update begins.

use core::time::Duration;
use wardlink_test_repository::gateway_attacks::GATEWAY_ATTACKS;
use wardlink_test_repository::hospital::{Hospital, atomic_pair};
use wardlink_update::director::When;
use wardlink_update::package::ReleaseCounter;
use wardlink_update::uptane::{
    Circumstances, Decision, FIRST_RETRY, Install, MAX_RETRIES, Notification, Outcome, Postponed, Then, rests,
};

fn install(when: When, during_therapy: bool) -> Install {
    let mut hospital = Hospital::new();
    let orders = hospital.orders();
    hospital.direct(&orders);
    let mut install = hospital.run().unwrap()[0].installs[0].clone();
    install.package.during_therapy = during_therapy;
    install.when = when;
    install
}

const CALM: Circumstances = Circumstances { now: 100, therapy_runs: false, is_safe: true, is_confirmed: false };

#[test]
fn an_update_begins_when_the_offer_says_so() {
    let window = When::Window { from: 100, until: 200 };
    let cases = [
        (When::AtOnce, Circumstances { is_safe: false, ..CALM }, Ok(())),
        (When::NextSafeMoment, CALM, Ok(())),
        (When::NextSafeMoment, Circumstances { is_safe: false, ..CALM }, Err(Postponed::Unsafe)),
        (window, Circumstances { now: 99, ..CALM }, Err(Postponed::Window)),
        (window, CALM, Ok(())),
        (window, Circumstances { now: 199, ..CALM }, Ok(())),
        (window, Circumstances { now: 200, ..CALM }, Err(Postponed::Window)),
        (When::OnConfirmation, CALM, Err(Postponed::Confirmation)),
        (When::OnConfirmation, Circumstances { is_confirmed: true, ..CALM }, Ok(())),
    ];
    for (when, at, expected) in cases {
        assert_eq!(install(when, false).may_begin(&at), expected, "{when:?} {at:?}");
    }
}

#[test]
fn no_offer_interrupts_a_therapy_that_the_manufacturer_does_not_allow_for() {
    let infusing = Circumstances { therapy_runs: true, is_confirmed: true, ..CALM };
    for when in [When::AtOnce, When::NextSafeMoment, When::Window { from: 0, until: 1_000 }, When::OnConfirmation] {
        assert_eq!(install(when, false).may_begin(&infusing), Err(Postponed::Therapy));
        assert_eq!(install(when, true).may_begin(&infusing), Ok(()));
    }
}

#[test]
fn an_atomic_set_changes_over_when_all_are_ready_and_never_in_part() {
    let mut hospital = Hospital::new();
    for package in atomic_pair() {
        hospital.release(&package);
    }
    hospital.images.bump();
    let orders = hospital.orders();
    hospital.direct(&orders);
    let transaction = hospital.run().unwrap().remove(0);
    let answers = |of_p1: Option<bool>, others: Option<bool>| {
        transaction.decide(|device| if device.identifier.as_str() == "p1" { of_p1 } else { others })
    };
    let pump = transaction.installs[1].device.clone();
    assert_eq!(answers(Some(true), Some(true)), Decision::Commit);
    assert_eq!(answers(None, Some(true)), Decision::Wait);
    assert_eq!(answers(None, None), Decision::Wait);
    for others in [None, Some(true)] {
        assert_eq!(answers(Some(false), others), Decision::Abort(pump.clone()));
    }
    let infusing = Circumstances { therapy_runs: true, ..CALM };
    assert_eq!(transaction.may_begin(|_| CALM), Ok(()));
    let begin = transaction.may_begin(|device| if *device == pump { infusing } else { CALM });
    assert_eq!(begin, Err((pump.clone(), Postponed::Therapy)));
}

#[test]
fn a_corrupt_image_is_asked_for_again_ever_more_slowly_and_then_no_more() {
    let waits: Vec<_> = (0..=MAX_RETRIES).map(|retries| Outcome::Corrupt.then(retries)).collect();
    let minutes = |count| Then::Retry { after: FIRST_RETRY * count };
    assert_eq!(waits, [minutes(1), minutes(2), minutes(4), minutes(8), minutes(16), Then::Stop]);
    assert_eq!(FIRST_RETRY, Duration::from_mins(1));
}

#[test]
fn a_retry_that_a_wrong_clock_has_put_far_away_is_due() {
    let now = 1_800_000_000;
    assert!(rests(now + 1, now) && rests(now + 16 * 60, now));
    assert!(!rests(now, now) && !rests(now - 1, now) && !rests(now + 16 * 60 + 1, now) && !rests(u64::MAX, 0));
}

#[test]
fn what_else_becomes_of_an_update_is_not_tried_again_by_itself() {
    let failed = Outcome::Failed { reason: "no space is left".parse().unwrap() };
    let refused = Outcome::refused(&GATEWAY_ATTACKS[0].make().run().unwrap_err());
    assert_eq!((failed.then(0), refused.then(0)), (Then::Stop, Then::Stop));
    assert_eq!((Outcome::Begun.then(99), Outcome::Postponed(Postponed::Therapy).then(99)), (Then::Wait, Then::Wait));
    assert_eq!(install(When::AtOnce, false).installed().then(0), Then::Done);
}

#[test]
fn only_success_changes_the_catalog() {
    let hospital = Hospital::new();
    let before = hospital.pump().clone();
    let failed = Outcome::Failed { reason: "no space is left".parse().unwrap() };
    for outcome in [Outcome::Begun, failed, Outcome::Corrupt, Outcome::Postponed(Postponed::Window)] {
        let mut state = before.clone();
        outcome.apply(&mut state);
        assert_eq!(state, before);
    }
    let mut state = before;
    install(When::AtOnce, false).installed().apply(&mut state);
    assert_eq!((state.characteristics.revision.as_str(), state.release_counter), ("1B", ReleaseCounter::new(2)));
    assert_eq!(state.image, None);
}

#[test]
fn a_notification_is_spelled_as_the_documentation_says() {
    let install = install(When::AtOnce, false);
    let device = install.device.clone();
    let notify = |outcome| {
        let notification =
            Notification { device: device.clone(), directive: 3, path: Some(install.path.clone()), outcome };
        let json = serde_json::to_value(&notification).unwrap();
        assert_eq!(serde_json::from_value::<Notification>(json.clone()).unwrap(), notification);
        json["outcome"].clone()
    };
    let refused = GATEWAY_ATTACKS.iter().find(|attack| attack.name == "gateway-release-that-is-older").unwrap();
    let refused = Outcome::refused(&refused.make().run().unwrap_err());
    let spelled = [
        (Outcome::Begun, serde_json::json!("begun")),
        (install.installed(), serde_json::json!({"installed": {"revision": "1B", "release_counter": 2}})),
        (
            refused,
            serde_json::json!({"refused": {
                "step": "5.4.3.4 step 5",
                "reason": "Uptane 5.4.3.4 step 5, director: infusion-pump/p1 has release 3, and 2 is older",
            }}),
        ),
        (Outcome::Failed { reason: "x".parse().unwrap() }, serde_json::json!({"failed": {"reason": "x"}})),
        (Outcome::Corrupt, serde_json::json!("corrupt")),
        (Outcome::Postponed(Postponed::Therapy), serde_json::json!({"postponed": "therapy"})),
    ];
    for (outcome, json) in spelled {
        assert_eq!(notify(outcome), json);
    }
}
