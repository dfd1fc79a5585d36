//! A gateway between a server and its devices: whatever is wrong with the one, the other or the way between them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod depot;
#[path = "gateway/images.rs"]
mod images;
#[path = "gateway/installing.rs"]
mod installing;
#[path = "gateway/journal.rs"]
mod journal;
#[path = "gateway/own.rs"]
mod own;
#[path = "gateway/page.rs"]
mod page;
#[path = "gateway/power.rs"]
mod power;
#[path = "gateway/refusals.rs"]
mod refusals;

use depot::{Depot, Inner, image_of, pumps};
use std::time::Duration;
use wardlink_agent::gateway::Order;
use wardlink_protocol::distribution::{FromServer, Numbered};
use wardlink_test_repository::hospital::pump_package;
use wardlink_update::package::{Package, ReleaseCounter, RevisionRange};

/// The release after the first one.
fn next_package() -> Package {
    Package {
        pre_revision: RevisionRange::single("1B".parse().unwrap()),
        post_revision: "1C".parse().unwrap(),
        release_counter: ReleaseCounter::new(3).unwrap(),
        ..pump_package()
    }
}

#[tokio::test]
async fn the_server_pushes_over_the_open_session() {
    let depot = Depot::open().await;
    let mut gateway = depot.power(&[]);
    gateway.until("a session", |status| status.is_connected && status.directive_done > 0).await;
    depot.direct(&pump_package());
    depot.with(Inner::push_directive);
    depot.installed("infusion-pump/p1", "1B").await;
    depot.installed("infusion-pump/p2", "1B").await;
    depot.with(|inner| {
        assert_eq!((inner.sessions, inner.answers.len()), (1, 1));
        assert_eq!(inner.answers[0].refused, None);
    });
    // A later release: what it replaces is deleted, in the cache and in the devices.
    depot.direct(&next_package());
    depot.with(Inner::push_directive);
    depot.installed("infusion-pump/p1", "1C").await;
    depot.installed("infusion-pump/p2", "1C").await;
    gateway.until("the end of the round", |status| status.directive_done == status.directive_heard).await;
    assert_eq!(depot.cached().len(), 1);
    for pump in pumps() {
        assert_eq!(depot.runs(&pump.to_string()), Some(image_of(&next_package())));
        let slots = std::fs::read_dir(depot.device_folder(&pump.to_string())).unwrap();
        let slots = slots.filter(|entry| entry.as_ref().unwrap().path().is_dir());
        assert_eq!(slots.count(), 1);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_report_is_sent_when_the_server_wants_one() {
    let depot = Depot::open().await;
    let gateway = depot.power(&[]);
    depot.until("a report", |inner| inner.reports.last().map(drop)).await;
    depot.push(|number| FromServer::Report(Numbered { number, message: () }));
    let counters = depot.until("another one", |inner| {
        let counters: Vec<_> = inner.reports.iter().map(|report| report.counter).collect();
        (counters.len() > 1).then_some(counters)
    });
    assert!(counters.await.is_sorted());
    gateway.handle.orders.send(Order::Ask).await.unwrap();
    depot.until("the word to look for updates", |inner| (inner.asked == 1).then_some(())).await;
    // Stored data is asked for: it would be sent, and there is none.
    depot.push(|number| FromServer::Send(Numbered { number, message: None }));
    let answers = depot.until("an answer", |inner| (inner.answers.len() == 2).then(|| inner.answers.clone())).await;
    assert!(answers.iter().all(|answer| answer.refused.is_none()), "{answers:?}");
    depot.with(|inner| assert!(inner.archive.records.is_empty(), "nothing is made up"));
    gateway.stop().await;
}

#[tokio::test]
async fn what_a_device_runs_by_other_means_is_reported() {
    let depot = Depot::open().await;
    let gateway = depot.power(&["--collect-secs", "1"]);
    depot.until("a report", |inner| inner.reports.last().map(drop)).await;
    // Somebody has exchanged its program by hand.
    let name = "infusion-pump/p1";
    let is = depot.with(|inner| {
        let mut present = inner.hospital.bound.present.iter();
        present.find(|state| state.characteristics.device.to_string() == name).unwrap().clone()
    });
    let mut record = serde_json::json!({ "state": is, "slot": "a" });
    record["state"]["characteristics"]["revision"] = "9Z".into();
    std::fs::create_dir_all(depot.device_folder(name)).unwrap();
    std::fs::write(depot.device_folder(name).join("record.json"), serde_json::to_vec(&record).unwrap()).unwrap();
    depot
        .until("a report of it", |inner| {
            let last = inner.reports.last()?;
            let mut revisions = last.devices.iter().map(|(state, _)| state.characteristics.revision.to_string());
            revisions.any(|revision| revision == "9Z").then_some(())
        })
        .await;
    gateway.stop().await;
}

#[tokio::test]
async fn an_idle_poll_is_one_conditional_request() {
    let depot = Depot::open().await;
    let gateway = depot.power(&["--poll-only", "--poll-secs", "1"]);
    let is_poll = |request: &depot::Requested| request.path.ends_with("timestamp.json") && request.bearer;
    depot
        .until("polls with nothing new", |inner| {
            let unchanged = inner.requests.iter().filter(|request| is_poll(request) && request.status == 304);
            (unchanged.count() >= 2).then_some(())
        })
        .await;
    depot.with(|inner| {
        assert_eq!(inner.sessions, 1, "no session for nothing");
        let last = inner.requests.last_chunk::<2>().unwrap();
        assert!(last.iter().all(|request| is_poll(request) && request.conditional), "{last:?}");
    });
    // What a poll finds is installed, and a session is there to tell.
    depot.direct(&pump_package());
    depot.installed("infusion-pump/p1", "1B").await;
    depot.installed("infusion-pump/p2", "1B").await;
    depot.with(|inner| assert!(inner.sessions > 1));
    gateway.stop().await;
}

#[tokio::test]
async fn outcomes_are_repeated_until_they_are_answered() {
    let depot = Depot::open().await;
    depot.direct(&pump_package());
    depot.with(|inner| inner.loses_answers = true);
    let mut gateway = depot.power(&[]);
    depot.until("what became of it", |inner| (inner.outcomes.len() == 2).then_some(())).await;
    gateway.until("what waits", |status| status.outcomes_waiting == 2).await;
    gateway.cut().await;
    depot.with(|inner| {
        inner.loses_answers = false;
        inner.outcomes.clear();
    });
    let mut gateway = depot.power(&[]);
    depot.until("the same again", |inner| (inner.outcomes.len() == 2).then_some(())).await;
    gateway.until("an empty list", |status| status.outcomes_waiting == 0).await;
    gateway.stop().await;
}

#[tokio::test]
async fn the_server_may_be_away() {
    let depot = Depot::open().await;
    let mut gateway = depot.power(&[]);
    gateway.until("a session", |status| status.is_connected && status.directive_done > 0).await;
    depot.with(Inner::go_down);
    gateway.until("no session", |status| !status.is_connected && !status.troubles.is_empty()).await;
    depot.direct(&pump_package());
    depot.until("tries in vain", |inner| (inner.turned_away >= 3).then_some(())).await;
    depot.with(|inner| inner.is_down = false);
    depot.installed("infusion-pump/p1", "1B").await;
    gateway.until("no trouble", |status| status.troubles.is_empty()).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_ticket_that_ends_is_replaced_by_the_next_sessions() {
    let depot = Depot::open().await;
    depot.with(|inner| inner.ticket_lasts = Duration::from_millis(500));
    let gateway = depot.power(&[]);
    depot.until("another session", |inner| (inner.sessions > 1).then_some(())).await;
    depot.direct(&pump_package());
    depot.installed("infusion-pump/p1", "1B").await;
    // One that the server has forgotten is not shown for long.
    depot.with(|inner| {
        inner.ticket_lasts = Duration::from_hours(1);
        inner.ticket = [8; 32];
        inner.direct(&next_package());
        inner.push_directive();
    });
    depot.installed("infusion-pump/p1", "1C").await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_poll_that_ends_late_keeps_the_ticket_that_a_session_has_brought_meanwhile() {
    let depot = Depot::open().await;
    let gateway = depot.power(&["--poll-only", "--poll-secs", "1"]);
    let polls = |inner: &Inner, status: u16| {
        let is_poll = |request: &&depot::Requested| request.path.ends_with("timestamp.json") && request.conditional;
        inner.requests.iter().filter(is_poll).filter(|request| request.status == status).count()
    };
    depot.until("an idle poll", |inner| (polls(inner, 304) >= 1).then_some(())).await;
    depot.with(|inner| {
        inner.direct(&pump_package());
        inner.hold("timestamp.json", 0);
    });
    depot.holds().await;
    let sessions = depot.with(|inner| {
        inner.ticket = [8; 32];
        inner.sessions
    });
    gateway.handle.orders.send(Order::Ask).await.unwrap();
    depot.installed("infusion-pump/p1", "1B").await;
    depot.installed("infusion-pump/p2", "1B").await;
    let (before, asked) = depot.with(|inner| {
        assert!(inner.sessions > sessions);
        (polls(inner, 304), inner.requests.len())
    });
    depot.release();
    depot.until("idle polls", |inner| (polls(inner, 304) >= before + 2).then_some(())).await;
    // The new ticket is shown, and no other.
    depot.with(|inner| {
        let later = &inner.requests[asked..];
        assert!(later.iter().all(|request| request.status != 401), "{later:?}");
    });
    gateway.stop().await;
}

#[tokio::test]
async fn a_newer_directive_ends_the_download_of_an_older_one_at_once() {
    let depot = Depot::open().await;
    let mut gateway = depot.power(&[]);
    gateway.until("a session", |status| status.is_connected && status.directive_done > 0).await;
    depot.direct(&pump_package());
    depot.with(|inner| {
        inner.hold("/targets/", 10);
        inner.push_directive();
    });
    depot.holds().await;
    // Nothing is directed any more.
    let version = depot.with(|inner| {
        inner.hospital.direct(&[]);
        inner.push_directive();
        inner.hospital.version
    });
    gateway.until("the end of the second", |status| status.directive_done == version).await;
    depot.release();
    // What was recalled is not installed; what is directed again is.
    depot.with(|inner| assert_eq!(inner.outcomes, []));
    assert_eq!(pumps().map(|pump| depot.runs(&pump.to_string())), [None, None]);
    depot.direct_anew().await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_newer_directive_that_a_poll_finds_counts_before_an_older_one_changes_a_device() {
    let depot = Depot::open().await;
    let mut gateway = depot.power(&["--poll-only", "--poll-secs", "1"]);
    gateway.until("the end of a round", |status| status.directive_done > 0).await;
    depot.direct(&pump_package());
    depot.with(|inner| inner.hold("/targets/", 10));
    depot.holds().await;
    let version = depot.with(|inner| {
        inner.hospital.direct(&[]);
        inner.hospital.version
    });
    gateway.until("the end of the second", |status| status.directive_done == version).await;
    depot.release();
    depot.with(|inner| assert_eq!(inner.outcomes, []));
    assert_eq!(pumps().map(|pump| depot.runs(&pump.to_string())), [None, None]);
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_heard_during_a_round_is_not_forgotten_at_its_end() {
    let depot = Depot::open().await;
    let mut gateway = depot.power(&[]);
    gateway.until("a session", |status| status.is_connected && status.directive_done > 0).await;
    depot.direct(&pump_package());
    depot.with(|inner| {
        inner.hold("/targets/", 0);
        inner.push_directive();
    });
    depot.holds().await;
    let (first, second) = depot.with(|inner| {
        let first = inner.hospital.version;
        inner.direct_all();
        // The next round comes no further than to its first question.
        inner.hold("timestamp.json", 0);
        inner.push_directive();
        (first, inner.hospital.version)
    });
    depot.holds().await;
    let status = gateway.handle.status.borrow().clone();
    assert!(status.directive_done < first && status.directive_heard == second);
    depot.release();
    gateway.until("the end of the second", |status| status.directive_done == second).await;
    depot.with(|inner| assert!(inner.outcomes.iter().all(|told| told.directive == second)));
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_the_servers_word_is_shown_as_long_as_it_is_wrong() {
    let depot = Depot::open().await;
    depot.with(|inner| inner.names_nobody = true);
    let mut gateway = depot.power(&[]);
    gateway.trouble("a manufacturer that is none").await;
    // A round, and an answer of the server, change nothing about that.
    let rounds = |inner: &mut Inner| inner.requests.iter().filter(|of| of.path.ends_with("timestamp.json")).count();
    let before = depot.with(rounds);
    gateway.handle.orders.send(Order::Ask).await.unwrap();
    depot.until("the word to look for updates", |inner| (inner.asked == 1).then_some(())).await;
    depot.until("a round", |inner| (rounds(inner) > before).then_some(())).await;
    gateway.until("the end of the round", |status| status.directive_done > 0).await;
    gateway.trouble("a manufacturer that is none").await;
    depot.with(|inner| inner.names_nobody = false);
    depot.with(Inner::go_down);
    depot.with(|inner| inner.is_down = false);
    gateway.until("no trouble", |status| status.is_connected && status.troubles.is_empty()).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_trouble_that_lasts_is_shown_without_a_break_and_since_when_it_began() {
    let depot = Depot::open().await;
    depot.direct(&pump_package());
    depot.with(|inner| inner.has_no_images = true);
    let mut gateway = depot.power(&[]);
    gateway.trouble("nobody has").await;
    let mut status = gateway.handle.status.clone();
    let of = |status: &wardlink_agent::gateway::status::Status| {
        status.troubles.iter().find(|trouble| trouble.why.contains("nobody has")).map(|trouble| trouble.since)
    };
    let since = of(&status.borrow_and_update()).unwrap();
    let watching = tokio::spawn(async move {
        while status.changed().await.is_ok() {
            let shown = of(&status.borrow_and_update());
            if shown != Some(since) {
                return shown;
            }
        }
        Some(since)
    });
    for asked in 1..=3 {
        gateway.handle.orders.send(Order::Ask).await.unwrap();
        depot.until("the word to look for updates", |inner| (inner.asked == asked).then_some(())).await;
        let images = |inner: &mut Inner| inner.requests.iter().filter(|of| of.path.contains("/targets/")).count();
        depot.until("another try", |inner| (images(inner) > 2 * asked).then_some(())).await;
    }
    gateway.stop().await;
    assert_eq!(watching.await.unwrap(), Some(since));
}
