#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::gateway::change_over::tests::{part, revisions, shared, told};
use sha2::{Digest as _, Sha256 as Hasher};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::identity::Sha256;
use wardlink_update::metadata::TargetPath;
use wardlink_update::report::Image;

const DIRECTIVE: Version = 3;
const NEW: Sha256 = Sha256([7; 32]);

fn pump(name: &str) -> Device {
    format!("infusion-pump/{name}").parse().unwrap()
}

fn package() -> TargetPath {
    "acme/infusion-pump/PM2/1B.bin".to_owned().try_into().unwrap()
}

/// Two pumps and a scale, all of them prepared.
fn begin(shared: &Shared, since: UnixMillis) {
    let members = ["p1", "p2"].map(|name| (pump(name), package(), NEW)).into();
    let (phase, parts) = (SetPhase::Commit, vec![(part(shared, 0), When::NextSafeMoment)]);
    let set = SetUnderWay { directive: DIRECTIVE, phase, reason: String::new(), members, parts, since };
    shared.store.change(|change| put(change, &set)).unwrap();
    says(shared, "p1", Some(Step::Prepared), None);
    says(shared, "p2", Some(Step::Prepared), None);
}

/// The same, and both pumps work.
fn begin_working(shared: &Shared) {
    begin(shared, clock::now());
    says(shared, "p1", Some(Step::Works), None);
    says(shared, "p2", Some(Step::Works), None);
}

/// A pump says how it stands, what it runs where that is the new image, or why it could not.
fn says(shared: &Shared, name: &str, step: Option<Step>, ended: Option<Result<(), &str>>) {
    let mut state = shared.devices[0].state().unwrap();
    state.characteristics.device = pump(name);
    if ended == Some(Ok(())) {
        state.image = Some(Image { length: 1, sha256: NEW });
    }
    let failed = ended.and_then(Result::err).map(str::to_owned);
    let standing = step.map(|step| Standing { path: package(), directive: DIRECTIVE, step });
    shared
        .store
        .change(|change| {
            let mut known: Verifying = change.value()?.unwrap_or_default();
            let (outcomes, offered, postponed) = (Vec::new(), None, None);
            known.put(OfDevice { state, outcomes, is_handed: true, standing, failed, offered, postponed });
            change.set(&known)
        })
        .unwrap();
}

/// Goes on; what is said to both pumps then.
fn go_on(shared: &Shared) -> [Option<Say>; 2] {
    shared.go_on_with_sets(&mut RoundEnd::default()).unwrap();
    let ports = shared.settings.ports.as_ref().unwrap();
    ["p1", "p2"].map(|name| bundle::word(&bundle::folder(ports, &pump(name))).map(|word| word.say))
}

fn under_way(shared: &Shared) -> Option<SetPhase> {
    let Sets(sets) = shared.store.value().unwrap().unwrap_or_default();
    sets.first().map(|set| set.phase)
}

#[test]
fn all_change_over_and_none_forgets_what_it_ran_before_all_of_them_work() {
    let folder = tempfile::tempdir().unwrap();
    let shared = shared(folder.path());
    begin(&shared, clock::now());
    assert_eq!(go_on(&shared), [const { Some(Say::Commit) }; 2]);
    says(&shared, "p1", Some(Step::Works), None);
    says(&shared, "p2", Some(Step::Tries), None);
    assert_eq!(go_on(&shared), [const { Some(Say::Commit) }; 2]);
    assert_eq!(revisions(&shared), ["1A", "1A"], "those that the gateway installs come last");
    says(&shared, "p2", Some(Step::Works), None);
    assert_eq!(go_on(&shared), [const { Some(Say::Settle) }; 2]);
    assert_eq!(revisions(&shared), ["1B", "1A"]);
    assert!(matches!(told(&shared)[..], [Outcome::Installed { .. }]));
    // One has heard it, the other one has not.
    says(&shared, "p1", None, Some(Ok(())));
    assert_eq!(go_on(&shared), [None, Some(Say::Settle)]);
    assert_eq!(under_way(&shared), Some(SetPhase::Settle));
    says(&shared, "p2", None, Some(Ok(())));
    assert_eq!((go_on(&shared), under_way(&shared)), ([None, None], None));
}

#[test]
fn where_one_cannot_all_go_back() {
    let folder = tempfile::tempdir().unwrap();
    let shared = shared(folder.path());
    begin(&shared, clock::now());
    says(&shared, "p1", Some(Step::Works), None);
    says(&shared, "p2", None, Some(Err("it does not start")));
    let why = "infusion-pump/p2: it does not start";
    assert_eq!(go_on(&shared), [Some(Say::Abort(Note::cut(why))), None]);
    assert_eq!((revisions(&shared), told(&shared)), (vec!["1A".to_owned(); 2], vec![Outcome::failed(why)]));
    // Said until it has been heard, and the server is told once.
    assert_eq!((go_on(&shared)[0].is_some(), told(&shared).len()), (true, 1));
    says(&shared, "p1", None, Some(Err("the set")));
    assert_eq!((go_on(&shared), under_way(&shared)), ([None, None], None));
}

#[test]
fn a_member_that_proves_nothing_is_not_waited_for_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let shared = shared(folder.path());
    begin(&shared, UnixMillis(clock::now().0 - 3_600_001));
    says(&shared, "p1", Some(Step::Works), None);
    says(&shared, "p2", Some(Step::Tries), None);
    let said = go_on(&shared);
    assert!(said.iter().all(|say| matches!(say, Some(Say::Abort(_)))), "{said:?}");
    // It comes back some day, and hears it then.
    says(&shared, "p1", None, Some(Err("the set")));
    assert!(matches!(go_on(&shared), [None, Some(Say::Abort(_))]));
    let Sets(sets) = shared.store.value().unwrap().unwrap_or_default();
    let known: Verifying = shared.store.value().unwrap().unwrap();
    assert!(sets[0].holds(&pump("p2"), &known) && !sets[0].holds(&pump("p1"), &known), "nobody waits for it");
}

#[test]
fn a_power_loss_while_the_others_change_over_ends_for_all_alike() {
    for is_changed in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(folder.path());
        begin_working(&shared);
        let Sets(mut sets) = shared.store.value().unwrap().unwrap();
        sets[0].phase = SetPhase::Passive;
        shared.store.set(&Sets(sets.clone())).unwrap();
        // The journal has come to its end, and the gateway has not noted that.
        if is_changed {
            shared.devices[0].change_over(&sets[0].parts[0].0.after).unwrap();
        }
        let said = go_on(&shared);
        let fits = |say: &Option<Say>| match say {
            Some(Say::Settle) => is_changed,
            Some(Say::Abort(_)) => !is_changed,
            _ => false,
        };
        assert!(said.iter().all(fits), "{is_changed} {said:?}");
    }
}

#[test]
fn what_was_prepared_for_a_set_stays_while_others_prove_themselves_and_is_looked_at_again() {
    for is_whole in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(folder.path());
        begin(&shared, clock::now());
        // What the scale was given lies beside what it runs.
        let slot = folder.path().join("s1/slot-b");
        std::fs::create_dir_all(&slot).unwrap();
        std::fs::write(slot.join("image.bin"), "an image").unwrap();
        let Sets(mut sets) = shared.store.value().unwrap().unwrap();
        let sha256 = if is_whole { Sha256(Hasher::digest("an image").into()) } else { NEW };
        sets[0].parts[0].0.after.image = Some(Image { length: 8, sha256 });
        shared.store.set(&Sets(sets)).unwrap();
        // Neither a restart nor another change-over takes it away.
        shared.begin().unwrap();
        assert!(slot.join("image.bin").exists());
        says(&shared, "p1", Some(Step::Works), None);
        says(&shared, "p2", Some(Step::Works), None);
        let said = go_on(&shared);
        let all = |fits: fn(&Option<Say>) -> bool| said.iter().all(fits);
        assert!(if is_whole {
            all(|say| *say == Some(Say::Settle))
        } else {
            all(|say| matches!(say, Some(Say::Abort(_))))
        });
        assert_eq!(revisions(&shared)[0], if is_whole { "1B" } else { "1A" });
    }
}

#[test]
fn a_scale_that_is_busy_by_then_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let shared = shared(folder.path());
    begin_working(&shared);
    std::fs::create_dir_all(folder.path().join("s1")).unwrap();
    std::fs::write(folder.path().join("s1/busy"), "").unwrap();
    assert_eq!(go_on(&shared), [const { Some(Say::Commit) }; 2]);
    assert_eq!((revisions(&shared)[0].as_str(), under_way(&shared)), ("1A", Some(SetPhase::Commit)));
    std::fs::remove_file(folder.path().join("s1/busy")).unwrap();
    assert_eq!(go_on(&shared), [const { Some(Say::Settle) }; 2]);
}

#[test]
fn no_offer_changes_over_a_scale_that_is_busy_unless_its_manufacturer_allows_it() {
    let window = When::Window { from: 0, until: u64::MAX };
    for (when, during_therapy, revision) in [
        (When::AtOnce, false, "1A"),
        (When::OnConfirmation, false, "1A"),
        (window, false, "1A"),
        (When::NextSafeMoment, true, "1A"),
        (When::AtOnce, true, "1B"),
        (window, true, "1B"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(folder.path());
        begin_working(&shared);
        let Sets(mut sets) = shared.store.value().unwrap().unwrap();
        sets[0].parts = vec![(Part { during_therapy, ..part(&shared, 0) }, when)];
        shared.store.set(&Sets(sets)).unwrap();
        std::fs::create_dir_all(folder.path().join("s1")).unwrap();
        std::fs::write(folder.path().join("s1/busy"), "").unwrap();
        go_on(&shared);
        assert_eq!(revisions(&shared)[0], revision, "{when:?}, {during_therapy}");
    }
}

#[test]
fn whoever_waits_for_a_set_that_is_not_known_here_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let shared = shared(folder.path());
    says(&shared, "p1", Some(Step::Works), None);
    says(&shared, "p2", Some(Step::Prepared), None);
    assert!(matches!(go_on(&shared), [Some(Say::Abort(_)), None]));
    says(&shared, "p1", None, Some(Err("the set")));
    assert_eq!(go_on(&shared), [None, None]);
}
