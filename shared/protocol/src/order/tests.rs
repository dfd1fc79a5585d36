#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::cbor;
use data_encoding::HEXLOWER;

fn order(task: Task) -> Order {
    let given_at = UnixMillis::from_secs(1_800_000_000);
    Order { id: OrderId([7; 16]), given_at, expires_at: given_at.after(MAX_ORDER_LIFETIME), task }
}

#[test]
fn an_order_keeps_its_limits() {
    let show = |text: String| order(Task::ShowMessage { text });
    for good in [
        show("a".to_owned()),
        show("ä".repeat(MAX_NOTE_BYTES / 2)),
        order(Task::ReportNow),
        order(Task::PauseAlarmTone),
        order(Task::SetInterval { seconds: MIN_INTERVAL_SECS }),
        order(Task::SetInterval { seconds: MAX_INTERVAL_SECS }),
    ] {
        assert_eq!(good.check(), Ok(()), "{good:?}");
    }
    for (bad, error) in [
        (show(String::new()), InvalidOrder::Text),
        (show("a".repeat(MAX_NOTE_BYTES + 1)), InvalidOrder::Text),
        (show("a\nb".to_owned()), InvalidOrder::Text),
        (order(Task::SetInterval { seconds: MIN_INTERVAL_SECS - 1 }), InvalidOrder::Interval),
        (order(Task::SetInterval { seconds: MAX_INTERVAL_SECS + 1 }), InvalidOrder::Interval),
    ] {
        assert_eq!(bad.check(), Err(error), "{bad:?}");
    }
    let given = order(Task::ReportNow);
    let at = |expires_at| Order { expires_at, ..given.clone() }.check();
    assert_eq!(at(given.given_at), Err(InvalidOrder::Lifetime));
    assert_eq!(at(UnixMillis(given.expires_at.0 + 1)), Err(InvalidOrder::Lifetime));
    assert_eq!(at(UnixMillis(given.given_at.0 + 1)), Ok(()));
}

#[test]
fn an_order_is_read_as_it_is_written_and_nothing_more() {
    let tasks = [
        Task::ShowMessage { text: "Call 2104".to_owned() },
        Task::ReportNow,
        Task::PauseAlarmTone,
        Task::SetInterval { seconds: 30 },
    ];
    for task in tasks {
        let order = order(task);
        let bytes = cbor::encode(&order).unwrap();
        assert_eq!(cbor::decode::<Order>(&bytes, 1024), Ok(order));
    }
    // An unknown task, a missing field, one too many.
    for hex in [
        "a46269645007070707070707070707070707070707647461736b6a73746f705f7468696e676867697665 6e5f6174006a657870697265735f617401",
        "a1626964500707070707070707070707070707070707",
    ] {
        let bytes = HEXLOWER.decode(hex.replace(' ', "").as_bytes()).unwrap();
        assert!(cbor::decode::<Order>(&bytes, 1024).is_err(), "{hex}");
    }
}
