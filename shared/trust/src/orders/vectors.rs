//! The frozen vectors of `tests/vectors/orders.json`: an order of the control unit and one of a service, and what a device says of them.
//!
//! `cargo test -p wardlink-trust --lib -- --ignored write_the_orders` writes the file anew, when the format changes on purpose.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

use super::tests::{World, Writer, world};
use super::*;
use crate::testing::{NOW, later};
use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use wardlink_protocol::order::{RefusedMessage, Task};
use wardlink_protocol::report::{Content, Report};

const FROZEN: &str = include_str!("../../../../tests/vectors/orders.json");
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/orders.json");

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn tasks() -> [Task; 4] {
    [
        Task::ShowMessage { text: "Call 2104".to_owned() },
        Task::ReportNow,
        Task::PauseAlarmTone,
        Task::SetInterval { seconds: 30 },
    ]
}

fn order(task: Task) -> Order {
    Order { id: OrderId([7; 16]), given_at: NOW, expires_at: later(600), task }
}

fn written(world: &mut World, writer: &mut Writer) -> Value {
    let plaintext = cbor::encode(&order(Task::ReportNow)).unwrap();
    let message = world.written(writer, &plaintext);
    json!({
        "stamp": writer.publisher.to_string(),
        "pkcs8": hex(&writer.key.to_pkcs8().unwrap()),
        "chain": writer.chain.iter().map(|der| hex(der)).collect::<Vec<_>>(),
        "plaintext": hex(&plaintext),
        "message": hex(&message),
    })
}

fn reports() -> Vec<Value> {
    let giver = [Giver::ControlUnit, Giver::Service(wardlink_protocol::identity::KeyFingerprint([9; 32]))];
    let results =
        [OrderResult::Taken, OrderResult::Done, OrderResult::Expired, OrderResult::Refused(OrderRefusal::NoAlarm)];
    let outcome = |(giver, result)| Content::Order(OrderOutcome { order: OrderId([7; 16]), giver, result });
    let outcomes = giver.into_iter().cycle().zip(results).map(outcome);
    let channel = "command".parse().unwrap();
    let refused = Content::RefusedMessage(RefusedMessage { channel, sequence: 5, reason: NotTaken::Replayed });
    let report = |content| Report { measured_at: NOW, content };
    outcomes
        .chain([refused])
        .map(|content| json!({ "said": content, "report": hex(&cbor::encode(&report(content.clone())).unwrap()) }))
        .collect()
}

fn generate() -> Value {
    let mut world = world();
    let (mut unit, mut service) = (world.control_unit(), world.service());
    let key = world.line.current().unwrap().clone();
    json!({
        "topic": world.topic().to_string(),
        "network_key": hex(&key.key),
        "kid": key.kid,
        "epoch": key.epoch,
        "root_sha256": world.root,
        "orders": tasks().map(|task| hex(&cbor::encode(&order(task)).unwrap())),
        "by_control_unit": written(&mut world, &mut unit),
        "by_service": written(&mut world, &mut service),
        "reports": reports(),
    })
}

#[test]
#[ignore = "writes tests/vectors/orders.json"]
#[expect(clippy::disallowed_methods, reason = "the generator of the vectors writes them")]
fn write_the_orders() {
    std::fs::write(PATH, serde_json::to_string_pretty(&generate()).unwrap() + "\n").unwrap();
}

#[test]
fn orders_and_reports_are_still_written_as_they_were_frozen() {
    let frozen: Value = serde_json::from_str(FROZEN).unwrap();
    assert_eq!(generate(), frozen);
}

#[test]
fn a_device_carries_the_frozen_orders_out() {
    let frozen: Value = serde_json::from_str(FROZEN).unwrap();
    let mut world = world();
    let (unit, service) = (world.control_unit(), world.service());
    for (name, writer) in [("by_control_unit", unit), ("by_service", service)] {
        let message = HEXLOWER.decode(frozen[name]["message"].as_str().unwrap().as_bytes()).unwrap();
        let message = world.stamped(&writer, message, 1);
        let expected = Received::CarryOut(writer.giver, order(Task::ReportNow));
        assert_eq!(world.receive(&message, 2), expected, "{name}");
    }
}
