#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::files::tests::put_no_files;
use crate::gateway::stored::{Receipted, STORED_BYTES};
use crate::testing::{NOW, Site, chain, later};
use serde_json::json;
use wardlink_records::chain::FORK;
use wardlink_records::queue::Standing;
use wardlink_records::sending::Plan;

/// A scale, its gateway and a server.
struct Bench {
    folder: tempfile::TempDir,
    store: Store,
    holdings: Holdings,
    site: Site,
    key: PrivateKey,
    device: Device,
    made: u64,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(FOLDER)).unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let holdings = Holdings::open(&store, STORED_BYTES, Plan::default(), NOW).unwrap();
        let (mut site, key, device) =
            (Site::open(), PrivateKey::make(&mut crate::clock::rng()), "scale/s1".parse::<Device>().unwrap());
        site.archive.knows(&key.public(), &device);
        Self { folder, store, holdings, site, key, device, made: 0 }
    }

    fn file(&self, number: u64) -> std::path::PathBuf {
        self.folder.path().join(FOLDER).join(format!("{number:020}{VALUE}"))
    }

    /// The scale weighs somebody.
    fn weigh(&mut self) -> (std::path::PathBuf, Vec<u8>) {
        let value = json!({"at": later(self.made).0, "kind": "body-weight", "value": format!("{}.5", 70 + self.made), "unit": "kg"});
        let (path, bytes) = (self.file(self.made), serde_json::to_vec(&value).unwrap());
        std::fs::write(&path, &bytes).unwrap();
        self.made += 1;
        (path, bytes)
    }

    fn take(&mut self, chain_number: u8) -> Result<usize, NotSpoken> {
        let chain = chain(chain_number);
        let speaker = Speaker { device: &self.device, folder: self.folder.path(), key: &self.key, chain };
        speaker.take(&self.store, &mut self.holdings, NOW)
    }

    fn speak(&mut self, chain_number: u8) -> Result<(), NotSpoken> {
        let chain = chain(chain_number);
        let speaker = Speaker { device: &self.device, folder: self.folder.path(), key: &self.key, chain };
        speaker.speak(&self.store, &mut self.holdings, NOW, &mut { 9 })
    }

    /// Uploads everything; says what was refused.
    fn upload(&mut self) -> Vec<(BatchKey, String)> {
        let mut refused = Vec::new();
        while let Some((device, key, bytes)) = self.holdings.next(&self.store).unwrap() {
            match self.site.archive.take(&bytes, NOW) {
                Ok(receipt) => {
                    let received = self.holdings.receipt(&self.store, &receipt, &self.site.root, NOW, |_, _| Ok(()));
                    assert!(matches!(received, Ok(Receipted::Deleted(..))));
                }
                Err((step, reason)) => {
                    self.holdings.refused(&self.store, &(device, key), (&step, &reason), NOW, 0).unwrap();
                    refused.push((key, step));
                }
            }
        }
        refused
    }

    fn values(&self) -> Vec<String> {
        self.site.archive.values(&self.device)
    }
}

#[test]
fn the_gateway_chains_and_signs_what_a_scale_writes_and_each_value_comes_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.take(1).unwrap(), 0);
    bench.weigh();
    bench.weigh();
    assert_eq!(bench.take(1).unwrap(), 2);
    assert!(!bench.file(0).exists() && !bench.file(1).exists());
    bench.weigh();
    assert_eq!((bench.take(2).unwrap(), bench.upload()), (1, vec![]));
    assert_eq!(bench.values(), ["70.5", "71.5", "72.5"]);
    let chains: Vec<_> = bench.site.archive.records.iter().map(|(_, id, ..)| (id.chain, id.sequence)).collect();
    assert_eq!(chains, [(chain(1), 1), (chain(1), 2), (chain(1), 3)], "one chain");
}

#[test]
fn a_file_that_comes_back_with_the_power_is_not_read_twice() {
    let mut bench = Bench::new();
    let (path, bytes) = bench.weigh();
    bench.take(1).unwrap();
    // It was deleted, and that was not durable.
    std::fs::write(&path, &bytes).unwrap();
    bench.weigh();
    assert_eq!(bench.take(1).unwrap(), 1);
    assert!(!path.exists());
    // A device that begins anew with its numbers has other values: nothing of it is lost.
    bench.made = 0;
    let other = json!({"at": later(9).0, "kind": "body-weight", "value": "99.5", "unit": "kg"});
    std::fs::write(&path, serde_json::to_vec(&other).unwrap()).unwrap();
    assert_eq!(bench.take(1).unwrap(), 1);
    bench.upload();
    assert_eq!(bench.values(), ["70.5", "71.5", "99.5"]);
}

#[test]
fn a_file_that_comes_back_behind_many_others_is_not_read_twice() {
    let mut bench = Bench::new();
    bench.made = 1_000;
    let (path, bytes) = bench.weigh();
    bench.take(1).unwrap();
    std::fs::write(&path, &bytes).unwrap();
    bench.made = 0;
    for _ in 0..MAX_AT_ONCE {
        bench.weigh();
    }
    while bench.take(1).unwrap() > 0 {}
    assert!(!path.exists());
    bench.upload();
    let values = bench.values();
    assert_eq!(values.iter().filter(|value| *value == "1070.5").count(), 1);
    assert_eq!(values.len(), MAX_AT_ONCE + 1);
}

#[test]
fn what_says_nothing_is_set_aside_and_holds_nothing_up() {
    let mut bench = Bench::new();
    let folder = bench.folder.path().join(FOLDER);
    for (name, text) in [
        ("0.json", "{"),
        ("1.json", r#"{"at":1,"kind":"body-weight","value":"7 kg","unit":"kg"}"#),
        ("2.json", r#"{"at":1,"kind":"body-weight","value":"7","unit":"kg","note":"?"}"#),
        ("3.json", r#"{"at":1,"instrument":"daily-wellbeing","question":"pain","number":"3","choice":"none"}"#),
        ("4.json", r#"{"at":1,"kind":"body-weight","value":"7"}"#),
        ("unfinished.tmp", "{}"),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    bench.weigh();
    assert_eq!(bench.take(1).unwrap(), 6);
    for _ in 0..2 {
        assert!(matches!(bench.speak(1), Err(NotSpoken::Unreadable(5))), "until somebody has looked at them");
    }
    std::fs::remove_file(folder.join("1.json.refused")).unwrap();
    assert!(matches!(bench.speak(1), Err(NotSpoken::Unreadable(4))));
    assert!(folder.join("0.json.refused").exists() && folder.join("unfinished.tmp").exists());
    bench.upload();
    assert_eq!(bench.values(), ["70.5"]);
}

#[test]
fn what_is_no_file_is_set_aside_and_not_waited_for() {
    let mut bench = Bench::new();
    let folder = bench.folder.path().join(FOLDER);
    let path = |name: &str| folder.join(name);
    put_no_files([&path("0.json"), &path("1.json"), &path("2.json")]);
    bench.weigh();
    assert!(matches!(bench.speak(1), Err(NotSpoken::Unreadable(3))));
    for name in ["0", "1", "2"] {
        assert!(std::fs::symlink_metadata(path(&format!("{name}.json.refused"))).is_ok(), "{name}");
    }
    // The same once more under the same names.
    put_no_files([&path("1.json"), &path("0.json"), &path("2.json")]);
    assert!(matches!(bench.speak(1), Err(NotSpoken::Unreadable(6))));
    bench.upload();
    assert_eq!(bench.values(), ["70.5"]);
}

#[test]
fn answers_are_taken_in_every_form() {
    let answers = [
        (r#"{"at":1,"instrument":"daily-wellbeing","question":"pain","number":"3"}"#, true),
        (r#"{"at":1,"instrument":"daily-wellbeing","question":"anxiety","choice":"none"}"#, true),
        (r#"{"at":1,"instrument":"daily-wellbeing","question":"remark","text":"Danke"}"#, true),
        (
            r#"{"at":1,"patient":"000102030405060708090a0b0c0d0e0f","kind":"body-weight","value":"70.10","unit":"kg"}"#,
            true,
        ),
        (r#"{"at":1,"instrument":"daily-wellbeing","question":"pain"}"#, false),
        (r#"{"at":1,"patient":"Mr. X","kind":"body-weight","value":"70.10","unit":"kg"}"#, false),
        (r#"{"kind":"body-weight","value":"70.10","unit":"kg"}"#, false),
    ];
    for (text, counts) in answers {
        assert_eq!(value(text.as_bytes()).is_some(), counts, "{text}");
    }
}

#[test]
fn a_gateway_without_room_leaves_the_values_where_they_are() {
    let mut bench = Bench::new();
    bench.holdings = Holdings::open(&bench.store, 10, Plan::default(), NOW).unwrap();
    let (path, _) = bench.weigh();
    assert!(matches!(bench.take(1), Err(NotSpoken::Full(_))));
    assert!(path.exists() && bench.store.spoken(&bench.device).unwrap().is_none());
    bench.holdings = Holdings::open(&bench.store, STORED_BYTES, Plan::default(), NOW).unwrap();
    bench.take(1).unwrap();
    bench.upload();
    assert_eq!(bench.values(), ["70.5"]);
}

#[test]
fn a_gateway_that_was_restored_signs_anew_what_the_server_does_not_have() {
    let mut bench = Bench::new();
    bench.weigh();
    bench.take(1).unwrap();
    bench.upload();
    // A copy of the gateway of then, while the first one goes on.
    let copy = bench.folder.path().join("copy");
    let image = bench.store.spoken(&bench.device).unwrap().unwrap();
    bench.weigh();
    bench.take(1).unwrap();
    bench.upload();
    bench.store = Store::open(&copy).unwrap();
    bench.store.change(|change| change.set_spoken(&bench.device, &image)).unwrap();
    bench.holdings = Holdings::open(&bench.store, STORED_BYTES, Plan::default(), NOW).unwrap();
    for _ in 0..2 {
        bench.weigh();
        bench.take(2).unwrap();
    }
    let refused = bench.upload();
    assert_eq!(refused.iter().map(|(_, step)| step.as_str()).collect::<Vec<_>>(), [FORK]);
    // Another start, before anything came of it.
    bench.holdings = Holdings::open(&bench.store, STORED_BYTES, Plan::default(), NOW).unwrap();
    bench.speak(3).unwrap();
    assert!(bench.store.held().unwrap().iter().all(|(_, row)| row.held.standing == Standing::Waiting));
    assert_eq!(bench.upload(), []);
    bench.weigh();
    bench.take(4).unwrap();
    assert_eq!(bench.upload(), []);
    assert_eq!(bench.values(), ["70.5", "71.5", "72.5", "73.5", "74.5"]);
    assert_eq!(bench.holdings.status().records, 0);
}

#[test]
fn a_full_gateway_signs_anew_all_the_same() {
    let mut bench = Bench::new();
    bench.weigh();
    bench.take(1).unwrap();
    bench.upload();
    bench.weigh();
    bench.take(1).unwrap();
    let (device, key, bytes) = bench.holdings.next(&bench.store).unwrap().unwrap();
    bench.holdings.refused(&bench.store, &(device, key), (FORK, "gone on elsewhere"), NOW, 0).unwrap();
    let room = u64::try_from(bytes.len()).unwrap();
    bench.holdings = Holdings::open(&bench.store, room, Plan::default(), NOW).unwrap();
    bench.speak(3).unwrap();
    assert!(bench.holdings.room().0 > room, "a chain's beginning is longer");
    bench.holdings = Holdings::open(&bench.store, room, Plan::default(), NOW).unwrap();
    assert_eq!((bench.upload(), bench.values()), (vec![], vec!["70.5".to_owned(), "71.5".to_owned()]));
}

#[test]
fn no_more_is_taken_at_once_than_may_be() {
    let mut bench = Bench::new();
    for _ in 0..=MAX_AT_ONCE {
        bench.weigh();
    }
    let speaker = Speaker { device: &bench.device, folder: bench.folder.path(), key: &bench.key, chain: chain(1) };
    for (mut may, left, stay) in [(1, 0, 1), (0, 0, 1), (2, 1, 0)] {
        speaker.speak(&bench.store, &mut bench.holdings, NOW, &mut may).unwrap();
        assert_eq!((may, names(&bench.folder.path().join(FOLDER), VALUE).unwrap().len()), (left, stay));
    }
}
