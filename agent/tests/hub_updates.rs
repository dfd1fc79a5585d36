//! An update of a pump over the network: what lies in a device's folder at its gateway reaches the pump piece by piece, which verifies and installs it as from a stick.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[allow(dead_code, reason = "each test file uses its part")]
#[path = "device/bedside.rs"]
mod bedside;
mod depot;
#[allow(dead_code, reason = "each test file uses its part")]
#[path = "release/desk.rs"]
mod desk;
mod site;

use bedside::{Bedside, NEW, OLD};
use depot::Depot;
use serde_bytes::ByteBuf;
use site::Site;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpListener;
use wardlink_agent::bundle;
use wardlink_agent::pump::{kept_channels, kept_membership};
use wardlink_agent::state::StateDirectory;
use wardlink_protocol::Device;
use wardlink_protocol::api::VerifyResult;
use wardlink_protocol::channel::UPDATE_CHANNEL;
use wardlink_protocol::provisioning::Provisioning;
use wardlink_update::uptane::{Notification, Outcome};

/// Puts what is on the stick into the device's folder at the gateway.
fn hand_over(stick: &Path, folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for entry in fs::read_dir(stick).unwrap() {
        let entry = entry.unwrap();
        let to = folder.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            hand_over(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// How much of a file is on its way.
fn under_way(pump: &Path) -> u64 {
    let entries = fs::read_dir(pump.join("gateway/.incoming")).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).max().unwrap_or(0)
}

async fn until(what: &str, mut fits: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if fits() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("waited in vain for {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_reaches_a_pump_over_the_network_through_deaths_of_both_and_its_outcome_comes_back() {
    let bedside = tokio::task::spawn_blocking(Bedside::during_therapy).await.unwrap();
    bedside.direct(|_| ());
    let site = Site::open().await;
    let (ca, chain, key) = site.authority().await;
    let depot = Depot::of(ca, chain, key).await;
    let device: Device = "infusion-pump/p1".parse().unwrap();
    let provisioning = Provisioning { identifier: Some(device.identifier.clone()), ..site.provisioning() };
    let file = depot.path("pump.json");
    fs::write(&file, serde_json::to_vec(&provisioning).unwrap()).unwrap();
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let power = || bedside.power_at_gateway(file.to_str().unwrap(), &format!("wss://{address}"));
    let ports = depot.path("state/hub");
    let (folder, state): (PathBuf, PathBuf) = (ports.join("updates/infusion-pump/p1"), bedside.desk.path("pump"));

    let mut pump = power();
    assert_eq!(pump.until("booted")["revision"], OLD);
    site.accept().await;
    let code = pump.until("code")["code"].as_str().unwrap().to_owned();
    assert_eq!(site.verify(&code).await, VerifyResult::Verified);
    pump.until("paired");
    let member = || kept_membership(&StateDirectory::to_look_at(&state), None).ok().flatten();
    until("a pairing", || member().is_some()).await;
    let public = member().unwrap().identity.key.public();
    let channels = kept_channels(&StateDirectory::to_look_at(&state)).unwrap();
    let channel = channels.into_iter().find(|key| key.channel.name.as_str() == UPDATE_CHANNEL).unwrap();
    depot.with(|inner| {
        inner.keys.insert(device.clone(), ByteBuf::from(public.to_spki().unwrap()));
        inner.channels.insert(device.clone(), channel);
    });
    hand_over(&bedside.desk.path("stick"), &folder);
    let line = ["--hub", &address.to_string()];
    let mut gateway = depot.power(&line);

    // Both die while the image is on its way.
    until("a part of the image", || under_way(&state) > 200_000).await;
    pump.kill();
    let before = under_way(&state);
    assert!(before < 2_000_000, "it came all at once");
    let mut pump = power();
    until("more of the image", || under_way(&state) > before).await;
    gateway.cut().await;
    gateway = depot.power(&line);
    let outcome = pump.until("update");
    assert_eq!(outcome["outcome"]["installed"]["revision"], NEW, "{outcome}");
    assert_eq!(bedside.slot_b(), bedside.image(NEW));

    // What it says of that is at the gateway.
    let installed = || {
        let told = bundle::told(&ports, &device)?;
        let last: Notification = serde_json::from_slice(told.outcomes.last()?).ok()?;
        let says = String::from_utf8(told.report.into_vec()).ok()?;
        Some(matches!(last.outcome, Outcome::Installed { .. }) && says.contains("\"revision\":\"1B\""))
    };
    until("the outcome", || installed() == Some(true)).await;
    pump.kill();
    gateway.stop().await;
}
