//! What a gateway says of itself to other programs.

use crate::depot::{Depot, pumps};
use std::time::Duration;
use wardlink_agent::gateway::Gateway;
use wardlink_agent::gateway::journal::Event;
use wardlink_test_repository::hospital::pump_package;
use wardlink_update::uptane::Outcome;

#[tokio::test]
async fn a_program_can_follow_the_session_a_directive_and_its_updates() {
    let depot = Depot::open().await;
    depot.direct(&pump_package());
    let (gateway, handle) = Gateway::open(depot.settings(&[])).unwrap();
    let mut entries = gateway.journal();
    let gateway = depot.run(gateway, handle);
    let version = depot.with(|inner| inner.hospital.version);
    let mut said = Vec::new();
    while !matches!(said.last(), Some(Event::DirectiveDone { directive }) if *directive == version) {
        let entry = tokio::time::timeout(Duration::from_secs(20), entries.recv()).await;
        let entry = entry.unwrap_or_else(|_| panic!("waited in vain after {said:?}")).unwrap();
        assert_eq!(entry.device.to_string(), "gateway/ward-3");
        said.push(entry.event);
    }
    assert!(said.contains(&Event::SessionBegun), "{said:?}");
    assert!(said.contains(&Event::DirectiveHeard { directive: version }), "{said:?}");
    for pump in pumps() {
        let begun = |one: &Event| matches!(one, Event::UpdateBegun { of, revision, .. } if *of == pump && revision.as_str() == "1B");
        let installed = |one: &Event| {
            matches!(one, Event::Update { of, revision: Some(revision), outcome: Outcome::Installed { .. }, .. }
                if *of == pump && revision.as_str() == "1B")
        };
        let (begun, installed) = (said.iter().position(begun), said.iter().position(installed));
        assert!(begun.is_some() && begun < installed, "{said:?}");
    }
    gateway.stop().await;
    let left: Vec<_> = std::iter::from_fn(|| entries.try_recv().ok()).map(|entry| entry.event).collect();
    assert!(!left.iter().any(|one| matches!(one, Event::Update { .. })), "each is said once: {left:?}");
}
