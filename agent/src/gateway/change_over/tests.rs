#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::gateway::devices::Configured;
use crate::gateway::journal::Events;
use crate::gateway::packages::Packages;
use crate::gateway::settings::Settings;
use crate::gateway::store::Store;
use crate::gateway::stored::Holdings;
use crate::gateway::timekeeping::Timekeeping;
use crate::gateway::troubles::Troubles;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use wardlink_records::sending::Plan;
use wardlink_update::package::ReleaseCounter;
use wardlink_update::report::State;

fn configured(name: &str, folder: &Path) -> Configured {
    std::fs::create_dir(folder.join(name)).unwrap();
    let line = serde_json::json!({
        "device": {"client": "scale", "identifier": name}, "manufacturer": "acme", "model": "S1", "serial_number": "7",
        "revision": "1A", "hardware": "B", "directory": folder.join(name),
    });
    serde_json::from_value(line).unwrap()
}

/// A gateway with two scales.
pub(in crate::gateway) fn shared(folder: &Path) -> Shared {
    let devices = vec![configured("s1", folder), configured("s2", folder)];
    let state = Passive::new(devices[0].clone(), None).state().unwrap();
    let settings = Settings {
        directory: folder.to_owned(),
        state,
        devices,
        fail: Vec::new(),
        programs: None,
        roots: Vec::new(),
        mirror: None,
        media: Vec::new(),
        poll_every: Duration::from_secs(1),
        keep_session: true,
        ports: Some(folder.join("ports")),
        hub: None,
        collect_every: Duration::from_mins(1),
        upload_every: Duration::from_mins(1),
        stored_bytes: 0,
        reconnect: (Duration::from_secs(1), Duration::from_secs(1)),
        trial: Duration::from_mins(1),
    };
    let store = Store::open(&folder.join("store")).unwrap();
    let troubles = Arc::<Troubles>::default();
    Shared {
        broker: None,
        events: Arc::new(Events::new("gateway/ward-3".parse().unwrap())),
        time: Arc::new(Timekeeping::new(Arc::clone(&troubles))),
        stored: Mutex::new(Holdings::open(&store, 0, Plan::default(), crate::clock::now()).unwrap()),
        store,
        packages: Packages::open(folder.join("packages")).unwrap(),
        devices: settings.passive(),
        own: None,
        settings,
        troubles,
        has_reached: AtomicBool::new(false),
        begun: Instant::now(),
    }
}

pub(in crate::gateway) fn part(shared: &Shared, number: usize) -> Part {
    let before = shared.devices[number].state().unwrap();
    let mut after = before.clone();
    after.characteristics.revision = "1B".parse().unwrap();
    after.release_counter = ReleaseCounter::new(2);
    Part { path: "acme/scale/S1/1B.bin".to_owned().try_into().unwrap(), before, after, during_therapy: false }
}

pub(in crate::gateway) fn revisions(shared: &Shared) -> Vec<String> {
    let states = shared.devices.iter().map(|device| device.state().unwrap());
    states.map(|state: State| state.characteristics.revision.to_string()).collect()
}

pub(in crate::gateway) fn told(shared: &Shared) -> Vec<Outcome> {
    let outcomes = shared.store.outcomes(usize::MAX).unwrap();
    outcomes.iter().map(|(_, bytes)| serde_json::from_slice::<Notification>(bytes).unwrap().outcome).collect()
}

fn begin(shared: &Shared, phase: ChangeOverPhase) {
    let parts = vec![part(shared, 0), part(shared, 1)];
    shared.store.set(&Journal { directive: 3, phase, reason: "one failed".to_owned(), parts }).unwrap();
}

#[test]
fn what_a_power_loss_has_interrupted_is_followed_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let shared = shared(folder.path());
    assert_eq!(shared.change_over().unwrap(), Changed::Nothing);
    begin(&shared, ChangeOverPhase::Commit);
    // The first had changed over already.
    shared.devices[0].change_over(&part(&shared, 0).after).unwrap();
    assert_eq!(shared.change_over().unwrap(), Changed::Ended);
    assert_eq!(revisions(&shared), ["1B", "1B"]);
    assert!(told(&shared).iter().all(|outcome| matches!(outcome, Outcome::Installed { .. })));
    assert_eq!(shared.change_over().unwrap(), Changed::Nothing, "and only once");
    assert_eq!(told(&shared).len(), 2);
}

#[test]
fn going_back_is_followed_to_its_end_too() {
    let folder = tempfile::tempdir().unwrap();
    let shared = shared(folder.path());
    begin(&shared, ChangeOverPhase::Undo);
    shared.devices[0].change_over(&part(&shared, 0).after).unwrap();
    assert_eq!(shared.change_over().unwrap(), Changed::Ended);
    assert_eq!(revisions(&shared), ["1A", "1A"]);
    assert_eq!(told(&shared), vec![Outcome::failed("one failed"); 2]);
}

#[test]
fn a_device_that_can_neither_go_on_nor_back_keeps_the_set_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let shared = shared(folder.path());
    begin(&shared, ChangeOverPhase::Commit);
    shared.devices[1].change_over(&part(&shared, 1).after).unwrap();
    // The first one in the list: the other one does not wait for it.
    let record = folder.path().join("s1/record.json");
    std::fs::write(&record, b"{").unwrap();
    assert_eq!(shared.change_over().unwrap(), Changed::Stuck);
    assert_eq!(shared.troubles.all().len(), 1);
    assert_eq!(shared.devices[1].state().unwrap().characteristics.revision.as_str(), "1A");
    assert_eq!(told(&shared), []);
    std::fs::remove_file(&record).unwrap();
    assert_eq!(shared.change_over().unwrap(), Changed::Ended);
    assert_eq!(revisions(&shared), ["1A", "1A"], "all of them keep what they ran");
}
