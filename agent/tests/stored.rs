//! Stored data from devices through a gateway to a server: whatever is wrong with the one, the other or the way between them, each value
//! arrives once, and nothing is deleted before the server has signed that it has it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod depot;
mod process;
mod site;

use depot::fault::Medium;
use depot::records::{Archive, heart_rate};
use depot::{Depot, Inner, Running};
use process::Process;
use serde_bytes::ByteBuf;
use site::Site;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use wardlink_agent::clock;
use wardlink_agent::device::disk::Folder;
use wardlink_agent::device::handover::{Handover, Heard, PortWay, new_chain};
use wardlink_agent::device::records::{Recorded, Records, STORED_BYTES};
use wardlink_agent::gateway::Order;
use wardlink_agent::gateway::status::Status;
use wardlink_agent::gateway::store::Store;
use wardlink_crypto::key::PrivateKey;
use wardlink_protocol::Device;
use wardlink_protocol::api::VerifyResult;
use wardlink_protocol::distribution::{FromServer, Numbered};
use wardlink_protocol::identity::Sha256;
use wardlink_protocol::provisioning::Provisioning;
use wardlink_records::chain::FORK;
use wardlink_records::sending::{Plan, Trigger};

fn pump() -> Device {
    "infusion-pump/p1".parse().unwrap()
}

fn scale() -> Device {
    "infusion-pump/p2".parse().unwrap()
}

/// A pump's own part, at its port: the same as in the program, recording until it is told to stop.
struct Bedside {
    folder: PathBuf,
    port: PathBuf,
    key: PrivateKey,
    root: Sha256,
    made: Arc<AtomicU64>,
    heard: Arc<Mutex<Vec<Heard>>>,
    task: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl Bedside {
    /// A pump that the server knows.
    fn new(depot: &Depot) -> Self {
        let key = PrivateKey::make(&mut clock::rng());
        let root = depot.with(|inner| {
            let spki = ByteBuf::from(key.public().to_spki().unwrap());
            inner.keys.insert(pump(), spki);
            inner.archive.knows(&key.public(), &pump());
            inner.ca.root().sha256()
        });
        let (folder, port) = (depot.path("bedside"), depot.path("ports"));
        std::fs::create_dir_all(&port).unwrap();
        Self { folder, port, key, root, made: Arc::default(), heard: Arc::default(), task: None }
    }

    fn open(&self) -> Handover<Folder> {
        let disk = Folder::open(&self.folder).unwrap();
        let records = Records::open(disk, pump(), self.key.clone(), STORED_BYTES, new_chain()).unwrap();
        Handover::new(records, Plan { every_secs: None, at_batches: None }, clock::now())
    }

    /// Records a value each few milliseconds, and talks at the port.
    fn start(&mut self, every: Duration) {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut handover, mut way) = (self.open(), PortWay::new(&self.port, pump()));
        let (made, heard, root, stopped) =
            (Arc::clone(&self.made), Arc::clone(&self.heard), self.root, Arc::clone(&stop));
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let (now, number) = (clock::now(), made.load(Ordering::Relaxed));
                assert_eq!(handover.records.record(heart_rate(now, number % 200), now).unwrap(), Recorded::Kept);
                made.store(number + 1, Ordering::Relaxed);
                heard.lock().unwrap().extend(way.exchange(&mut handover, &root, now).unwrap());
                tokio::time::sleep(every).await;
            }
        });
        self.task = Some((stop, task));
    }

    /// Stops recording; what it has is handed over only when it talks again.
    async fn stop(&mut self) {
        let (stop, task) = self.task.take().unwrap();
        stop.store(true, Ordering::Relaxed);
        task.await.unwrap();
    }

    /// Talks until everything is handed over, or the server has it.
    async fn finish(&mut self, until_receipts: bool) {
        let (mut handover, mut way) = (self.open(), PortWay::new(&self.port, pump()));
        handover.ask(Trigger::OwnInitiative);
        for _ in 0..4_000 {
            let heard = way.exchange(&mut handover, &self.root, clock::now()).unwrap();
            self.heard.lock().unwrap().extend(heard);
            if handover.is_done() && (!until_receipts || handover.records.stored() == 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} values stay at the pump: {:?}", handover.records.stored(), self.heard.lock().unwrap());
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed).try_into().unwrap()
    }
}

/// A passive device, which writes its values into its folder.
fn weigh(depot: &Depot, number: u64) {
    let folder = depot.device_folder(&scale().to_string()).join("stored");
    std::fs::create_dir_all(&folder).unwrap();
    let value =
        serde_json::json!({"at": clock::now().0, "kind": "body-weight", "value": number.to_string(), "unit": "kg"});
    let unfinished = folder.join("unfinished");
    std::fs::write(&unfinished, serde_json::to_vec(&value).unwrap()).unwrap();
    std::fs::rename(unfinished, folder.join(format!("{number:020}.json"))).unwrap();
}

/// The server knows that the gateway speaks for its passive device.
fn speaks(depot: &Depot) {
    depot.with(|inner| {
        let key = inner.gateway_key.public();
        inner.archive.knows(&key, &scale());
    });
}

fn ports(depot: &Depot) -> Vec<String> {
    let ports = depot.path("ports").to_str().unwrap().to_owned();
    vec!["--ports".to_owned(), ports, "--collect-secs".to_owned(), "1".to_owned()]
}

fn power(depot: &Depot) -> Running {
    let line = ports(depot);
    depot.power(&line.iter().map(String::as_str).collect::<Vec<_>>())
}

fn ask(depot: &Depot) {
    depot.push(|number| FromServer::Send(Numbered { number, message: None }));
}

/// Asks until the gateway shows that it is so.
async fn ask_until(depot: &Depot, gateway: &mut Running, what: &str, fits: impl Fn(&Status) -> bool) {
    for _ in 0..500 {
        if fits(&gateway.handle.status.borrow()) {
            break;
        }
        ask(depot);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    gateway.until(what, fits).await;
}

/// Asks until the server has so many values of the device; none twice.
async fn arrived(depot: &Depot, device: &Device, count: usize) {
    for round in 0..2_000 {
        if depot.with(|inner| inner.archive.values(device).len() >= count) {
            break;
        }
        if round % 50 == 0 {
            ask(depot);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    depot.with(|inner| {
        assert_eq!(inner.archive.values(device).len(), count, "{device}: {:?}", inner.archive.refused);
        let mut numbers: Vec<_> =
            inner.archive.records.iter().filter(|(of, ..)| of == device).map(|(_, id, ..)| *id).collect();
        numbers.sort_unstable();
        assert!(numbers.iter().enumerate().all(|(place, id)| id.sequence == place as u64 + 1), "one chain, no gap");
    });
}

fn holds(status: &Status, records: u64) -> bool {
    status.stored.records == records && status.stored.refused_batches == 0
}

#[tokio::test]
async fn values_of_a_pump_and_a_scale_reach_the_server_once_and_go_with_its_receipts() {
    let depot = Depot::open().await;
    let mut bedside = Bedside::new(&depot);
    speaks(&depot);
    let mut gateway = power(&depot);
    bedside.start(Duration::from_millis(20));
    for number in 0..5 {
        weigh(&depot, number);
    }
    arrived(&depot, &scale(), 5).await;
    bedside.stop().await;
    bedside.finish(false).await;
    arrived(&depot, &pump(), bedside.made()).await;
    // The gateway hands on the receipts, and the pump deletes.
    bedside.finish(true).await;
    gateway.until("an empty store", |status| holds(status, 0) && status.stored.receipted_at.is_some()).await;
    let expected: Vec<String> = (0..bedside.made()).map(|number| (number % 200).to_string()).collect();
    depot.with(|inner| {
        assert_eq!(inner.archive.values(&pump()), expected);
        assert_eq!(inner.archive.values(&scale()), ["0", "1", "2", "3", "4"]);
        assert_eq!(inner.archive.refused, [""; 0]);
    });
    let heard = bedside.heard.lock().unwrap().clone();
    assert!(heard.contains(&Heard::Kept) && heard.iter().any(|heard| matches!(heard, Heard::Stored(_))));
    gateway.stop().await;
}

#[tokio::test]
async fn while_the_server_is_away_the_gateway_goes_on_collecting() {
    let depot = Depot::open().await;
    let mut bedside = Bedside::new(&depot);
    speaks(&depot);
    let mut gateway = power(&depot);
    gateway.until("a session", |status| status.is_connected).await;
    depot.with(Inner::go_down);
    gateway.until("no session", |status| !status.is_connected).await;
    bedside.start(Duration::from_millis(10));
    weigh(&depot, 7);
    gateway.until("what both have", |status| status.stored.devices.len() == 2 && status.stored.records > 10).await;
    bedside.stop().await;
    bedside.finish(false).await;
    let made = bedside.made();
    gateway.until("all of it", |status| holds(status, made as u64 + 1)).await;
    depot.with(|inner| assert!(inner.archive.records.is_empty()));
    // It is on the disk: another run has it, and the oldest is as old as it is.
    gateway.stop().await;
    depot.with(|inner| inner.is_down = false);
    let mut gateway = power(&depot);
    gateway.until("a session", |status| status.is_connected && status.stored.oldest.is_some()).await;
    arrived(&depot, &pump(), made).await;
    arrived(&depot, &scale(), 1).await;
    gateway.until("an empty store", |status| holds(status, 0)).await;
    // The server was told how much it was, and that it is over.
    let told = |inner: &mut Inner| {
        let records: Vec<u64> = inner.held.iter().map(|held| held.records).collect();
        (records.contains(&(made as u64 + 1)) && records.last() == Some(&0)).then_some(())
    };
    depot.until("word of what it holds", told).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_receipt_of_another_signer_deletes_nothing() {
    let depot = Depot::open().await;
    speaks(&depot);
    depot.with(|inner| {
        let mut forger = Archive::new(PrivateKey::make(&mut clock::rng()), inner.chain.clone());
        forger.knows(&inner.gateway_key.public(), &scale());
        inner.forger = Some(forger);
    });
    let mut gateway = power(&depot);
    weigh(&depot, 1);
    arrived(&depot, &scale(), 1).await;
    gateway.trouble("receipt: signature").await;
    gateway.until("the value here", |status| holds(status, 1)).await;
    // The server's own receipt comes with the next session.
    depot.with(|inner| {
        inner.forger = None;
        inner.go_down();
        inner.is_down = false;
    });
    gateway.until("another session", |status| status.is_connected).await;
    ask_until(&depot, &mut gateway, "an empty store", |status| holds(status, 0)).await;
    depot.with(|inner| assert_eq!(inner.archive.values(&scale()), ["1"]));
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_refused_is_shown_and_kept_until_a_person_decides() {
    let depot = Depot::open().await;
    let gateway_key = depot.with(|inner| inner.gateway_key.public());
    let mut gateway = power(&depot);
    weigh(&depot, 1);
    ask_until(&depot, &mut gateway, "the refusal", |status| status.stored.refused_batches == 1).await;
    let shown = gateway.handle.status.borrow().stored.refused[0].clone();
    assert_eq!((shown.device, shown.step.as_str(), shown.first), (scale(), "signature", 1));
    let status = wardlink_agent::gateway::status::read(&depot.path("state")).unwrap();
    let lines = wardlink_agent::gateway::status::lines(&status).join("\n");
    assert!(lines.contains("refused     1 batches") && lines.contains("signature"), "{lines}");
    depot.with(|inner| inner.archive.knows(&gateway_key, &scale()));
    gateway.handle.orders.send(Order::Retry).await.unwrap();
    arrived(&depot, &scale(), 1).await;
    gateway.until("an empty store", |status| holds(status, 0)).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_request_waits_until_the_device_can_be_told() {
    let depot = Depot::open().await;
    let bedside = Bedside::new(&depot);
    std::fs::remove_dir(&bedside.port).unwrap();
    let mut gateway = depot.power(&["--ports", bedside.port.to_str().unwrap(), "--collect-secs", "3600"]);
    gateway.until("a session", |status| status.is_connected && status.directive_done > 0).await;
    ask(&depot);
    gateway.trouble("No such file").await;
    std::fs::create_dir(&bedside.port).unwrap();
    let (mut handover, mut way) = (bedside.open(), PortWay::new(&bedside.port, pump()));
    for _ in 0..1_000 {
        let heard = way.exchange(&mut handover, &bedside.root, clock::now()).unwrap();
        if heard.contains(&Heard::Wanted) {
            gateway.stop().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody asks the pump");
}

#[tokio::test]
async fn a_pump_that_has_not_heard_of_a_fork_is_told_again() {
    let depot = Depot::open().await;
    let mut bedside = Bedside::new(&depot);
    // The server has what a copy of the pump has sent.
    drop(bedside.open());
    let disk = Folder::open(&depot.path("copy")).unwrap();
    std::fs::copy(bedside.folder.join("stored"), depot.path("copy").join("stored")).unwrap();
    let mut copy = Records::open(disk, pump(), bedside.key.clone(), STORED_BYTES, new_chain()).unwrap();
    copy.record(heart_rate(clock::now(), 199), clock::now()).unwrap();
    copy.close(clock::now()).unwrap();
    let next = copy.next_batch(new_chain()).unwrap().unwrap();
    depot.with(|inner| inner.archive.take(&next.bytes, clock::now()).unwrap());
    // One batch, which is refused once.
    bedside.start(Duration::from_millis(20));
    while bedside.made() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    bedside.stop().await;
    let mut gateway = power(&depot);
    bedside.finish(false).await;
    ask_until(&depot, &mut gateway, "the refusal", |status| status.stored.refused_batches > 0).await;
    // What the pump was told gets lost.
    for letter in std::fs::read_dir(bedside.port.join("records").join(pump().to_string()).join("down")).unwrap() {
        drop(std::fs::remove_file(letter.unwrap().path()));
    }
    let asks = async {
        loop {
            ask(&depot);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        () = bedside.finish(true) => {}
        () = asks => {}
    }
    depot.with(|inner| assert_eq!(inner.archive.values(&pump()).len(), bedside.made() + 1));
    assert!(
        bedside.heard.lock().unwrap().iter().any(|heard| matches!(heard, Heard::Refused { step, .. } if step == FORK))
    );
    gateway.stop().await;
}

#[tokio::test]
async fn what_got_no_receipt_in_a_session_that_is_not_kept_is_sent_again() {
    let depot = Depot::open().await;
    speaks(&depot);
    depot.with(|inner| inner.loses_receipts = true);
    let line = ports(&depot);
    let line: Vec<&str> = line.iter().map(String::as_str).chain(["--poll-only"]).collect();
    weigh(&depot, 1);
    let mut gateway = depot.power(&line);
    gateway.until("a session", |status| status.is_connected).await;
    ask(&depot);
    arrived(&depot, &scale(), 1).await;
    gateway.until("the session's end", |status| !status.is_connected).await;
    depot.with(|inner| inner.loses_receipts = false);
    gateway.handle.orders.send(Order::Retry).await.unwrap();
    gateway.until("an empty store", |status| holds(status, 0)).await;
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_device_goes_with_the_device() {
    let depot = Depot::open().await;
    let bedside = Bedside::new(&depot);
    std::fs::remove_dir(&bedside.port).unwrap();
    let mut gateway = power(&depot);
    gateway.trouble("its port").await;
    depot.with(|inner| {
        inner.hides.push(pump());
        inner.go_down();
        inner.is_down = false;
    });
    let is_over = |status: &Status| status.troubles.iter().all(|trouble| !trouble.why.contains("its port"));
    gateway.until("another session", |status| is_over(status) && status.is_connected).await;
    gateway.stop().await;
}

#[tokio::test]
async fn power_may_fail_at_any_write_of_the_store() {
    let mut runs = 0;
    for writes in (0..).step_by(37) {
        let depot = Depot::open().await;
        let mut bedside = Bedside::new(&depot);
        speaks(&depot);
        let line = ports(&depot);
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        let medium = Medium::default();
        medium.fails_after(writes);
        let before = medium.clone();
        weigh(&depot, 1);
        bedside.start(Duration::from_millis(50));
        let mut is_done = false;
        if let Some(gateway) = depot.power_with(&line, move || Store::on(before.plug())) {
            for round in 0..2_000 {
                is_done = depot.with(|inner| {
                    !inner.archive.values(&pump()).is_empty() && !inner.archive.values(&scale()).is_empty()
                });
                if is_done || medium.is_off() {
                    break;
                }
                if round % 50 == 0 {
                    ask(&depot);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            gateway.cut().await;
        }
        medium.comes_back(writes % 2 == 0);
        weigh(&depot, 2);
        let after = medium.clone();
        let mut gateway = depot.power_with(&line, move || Store::on(after.plug())).expect("the store is whole");
        bedside.stop().await;
        bedside.finish(false).await;
        arrived(&depot, &pump(), bedside.made()).await;
        arrived(&depot, &scale(), 2).await;
        gateway.until("an empty store", |status| holds(status, 0)).await;
        gateway.stop().await;
        runs += 1;
        if is_done {
            assert!(runs > 3, "the power never failed");
            return;
        }
    }
}

#[tokio::test]
async fn a_full_disk_keeps_the_data_where_it_is() {
    let depot = Depot::open().await;
    let mut bedside = Bedside::new(&depot);
    speaks(&depot);
    let line = ports(&depot);
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    let medium = Medium::default();
    let opened = medium.clone();
    let mut gateway = depot.power_with(&line, move || Store::on(opened.plug())).unwrap();
    gateway.until("a session", |status| status.is_connected && status.directive_done > 0).await;
    medium.set_full(true);
    bedside.start(Duration::from_millis(20));
    weigh(&depot, 1);
    gateway.trouble("the disk is full").await;
    bedside.stop().await;
    depot.with(|inner| assert!(inner.archive.records.is_empty()));
    assert!(!bedside.heard.lock().unwrap().contains(&Heard::Kept), "what is not stored is not said to be kept");
    medium.set_full(false);
    bedside.finish(false).await;
    arrived(&depot, &pump(), bedside.made()).await;
    arrived(&depot, &scale(), 1).await;
    gateway.stop().await;
}

fn run(folder: &Path) -> Process {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardlink"));
    command.args(["gateway", "run", "--json", "--provisioning", &path("site.json"), "--state", &path("state")]);
    command.args(["--devices", &path("devices.json"), "--ports", &path("ports"), "--collect-secs", "1"]);
    Process::start(&mut command)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_at_any_point_loses_nothing_and_sends_nothing_twice() {
    let site = Site::open().await;
    let (ca, chain, key) = site.authority().await;
    let depot = Depot::of(ca, chain, key).await;
    depot.with(|inner| inner.bridge = Some(site.host()));
    site.names_host(depot.address.clone()).await;
    let provisioning = Provisioning {
        client: "gateway".parse().unwrap(),
        identifier: Some("ward-3".parse().unwrap()),
        ..site.provisioning()
    };
    std::fs::write(depot.path("site.json"), serde_json::to_vec(&provisioning).unwrap()).unwrap();
    let mut bedside = Bedside::new(&depot);
    let folder = depot.path("");
    let mut process = run(&folder);
    site.accept().await;
    let shown = process.code().await;
    assert_eq!(site.verify(&shown).await, VerifyResult::Verified);
    depot
        .until("a session", |inner| {
            // Whoever it is now speaks for its passive device.
            let key = inner.shown_key()?;
            inner.archive.knows(&key, &scale());
            Some(())
        })
        .await;
    drop(process);
    bedside.start(Duration::from_millis(20));
    for life in 1..16 {
        let process = run(&folder);
        weigh(&depot, life);
        for _ in 0..life * 2 {
            ask(&depot);
            tokio::time::sleep(Duration::from_millis(31)).await;
        }
        drop(process);
    }
    bedside.stop().await;
    let _process = run(&folder);
    bedside.finish(false).await;
    arrived(&depot, &pump(), bedside.made()).await;
    arrived(&depot, &scale(), 15).await;
    let expected: Vec<String> = (1..16).map(|number: u64| number.to_string()).collect();
    depot.with(|inner| {
        assert_eq!(inner.archive.values(&scale()), expected);
        assert_eq!(inner.archive.refused, [""; 0]);
    });
}
