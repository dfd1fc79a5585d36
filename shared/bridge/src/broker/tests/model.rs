//! QoS 1 towards a subscriber against a reference model: every message arrives, in order, at least once, and more than once only
//! where a connection was lost; whatever is lost, acknowledged late, or rebuilt in between.

use super::world::{Options, puback};
use super::{Received, World};
use crate::storage::Table;
use proptest::prelude::*;

const PUMP: &str = "infusion-pump/pump-1";
const T2: &str = "ais/infusion-pump/pump-1";

#[derive(Clone, Copy, Debug)]
enum Operation {
    /// The control unit publishes.
    Publish,
    /// The client acknowledges the oldest message that it has not acknowledged.
    Acknowledge,
    /// The client acknowledges the newest one.
    AcknowledgeNewest,
    /// The connection is lost, and the client connects again.
    Reconnect,
    /// The connection is lost.
    Lose,
    /// The object is rebuilt around its connections.
    Rebuild,
    /// The machine is switched off and on.
    Crash,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => Just(Operation::Publish),
        5 => Just(Operation::Acknowledge),
        2 => Just(Operation::AcknowledgeNewest),
        2 => Just(Operation::Reconnect),
        1 => Just(Operation::Lose),
        2 => Just(Operation::Rebuild),
        1 => Just(Operation::Crash),
    ]
}

/// What the client knows.
#[derive(Default)]
struct Client {
    connection: Option<crate::ConnectionId>,
    /// Payloads in the order of their first arrival.
    first: Vec<u32>,
    /// Received on this connection and not acknowledged.
    open: Vec<(u16, u32)>,
    /// Received on any connection and not acknowledged: these may come again.
    unacknowledged: Vec<u32>,
}

impl Client {
    fn read(&mut self, world: &mut World, window: usize) -> Result<(), TestCaseError> {
        let Some(connection) = self.connection else { return Ok(()) };
        for packet in world.take(connection) {
            let Received::Publish { payload, id: Some(id), again, .. } = packet else { continue };
            let number = u32::from_be_bytes(payload.as_slice().try_into().unwrap());
            if again {
                prop_assert!(self.first.contains(&number), "marked as a repetition, but new");
            }
            if self.first.contains(&number) {
                prop_assert!(self.unacknowledged.contains(&number), "{} came again though acknowledged", number);
                prop_assert!(again, "a repetition is marked");
            } else {
                prop_assert_eq!(self.first.last().map_or(0, |last| last + 1), number, "in order, none missing");
                self.first.push(number);
                self.unacknowledged.push(number);
            }
            prop_assert!(self.open.iter().all(|(other, _)| *other != id), "the packet id is in use");
            self.open.push((id, number));
            prop_assert!(self.open.len() <= window, "more than the window");
        }
        Ok(())
    }

    fn acknowledge(&mut self, world: &mut World, position: usize) {
        if let (Some(connection), true) = (self.connection, position < self.open.len()) {
            let (id, number) = self.open.remove(position);
            self.unacknowledged.retain(|other| *other != number);
            world.send(connection, &puback(id));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn qos_1_delivers_everything_in_order(
        operations in prop::collection::vec(operation(), 1..80),
        window in 1_u16..5,
    ) {
        let mut world = World::new();
        let (shown, connection) = world.paired(1, PUMP);
        let options = Options { receive_maximum: Some(window), ..Options::default() };
        world.lose(connection);
        let (connection, _) = world.connect(&shown, &options);
        world.subscribe(connection, T2);
        let mut client = Client { connection: Some(connection), ..Client::default() };
        let mut published = 0_u32;
        for operation in operations.into_iter().chain([Operation::Reconnect]) {
            match operation {
                Operation::Publish => {
                    let payload = published.to_be_bytes();
                    world.apply(&[], &[(T2, payload.as_slice())], &[]);
                    published += 1;
                }
                Operation::Acknowledge => client.acknowledge(&mut world, 0),
                Operation::AcknowledgeNewest => {
                    let newest = client.open.len().wrapping_sub(1);
                    client.acknowledge(&mut world, newest);
                }
                Operation::Lose | Operation::Reconnect => {
                    if let Some(connection) = client.connection.take() {
                        world.lose(connection);
                    }
                    client.open.clear();
                    if matches!(operation, Operation::Reconnect) {
                        let (connection, answer) = world.connect(&shown, &options);
                        let present = matches!(answer, Received::Connack { present: true, .. });
                        prop_assert!(present, "the session outlives everything here");
                        client.connection = Some(connection);
                    }
                }
                Operation::Rebuild => world.rebuild(),
                Operation::Crash => {
                    world.crash();
                    client.connection = None;
                    client.open.clear();
                }
            }
            client.read(&mut world, usize::from(window))?;
        }
        while !client.open.is_empty() {
            client.acknowledge(&mut world, 0);
            client.read(&mut world, usize::from(window))?;
        }
        prop_assert_eq!(client.first, (0..published).collect::<Vec<_>>());
        prop_assert!(world.records.keys().all(|key| key.table != Table::Queue && key.table != Table::Message));
    }
}
