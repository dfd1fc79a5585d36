#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::limits::FIRST_WAIT;
use crate::record::{Answer, Unrecorded};
use crate::testing::{NOW, chain, heart_rate, later, pump};

const ID: RecordId = RecordId { chain: chain(1), sequence: 7 };

fn told(columns: &[Option<String>]) -> Vec<&str> {
    columns.iter().map(|column| column.as_deref().unwrap_or("-")).collect()
}

#[test]
fn a_record_becomes_a_row_with_its_own_key() {
    let key = ["infusion-pump", "p-00001", "01010101010101010101010101010101", "7", "1800000000000", "1800000005000"];
    let patient = "01010101010101010101010101010101";
    let record = heart_rate(0, "70.50");
    let Content::Measure(measure) = &record.content else { unreachable!() };
    let amount = Some(measure.value.billionths());
    let columns = row(&pump(1), ID, &record, amount, later(5));
    assert_eq!(told(&columns[..6]), key);
    assert_eq!(told(&columns[6..]), [patient, "heart-rate", "70.50", "/min", "70.5", "-", "-", "-", "-", "-", "-"]);
    let answer = |response| {
        let answer = Answer { instrument: "form".parse().unwrap(), question: "q1".parse().unwrap(), response };
        row(&pump(1), ID, &Record { patient: None, content: Content::Answer(answer), ..record.clone() }, None, later(5))
    };
    let empty = ["-"; 5];
    for (response, rest) in [
        (Response::Choice("yes".parse().unwrap()), ["form", "q1", "yes", "-", "-", "-"]),
        (Response::Number("4.0".parse().unwrap()), ["form", "q1", "-", "4.0", "-", "-"]),
        (Response::Text("it's; --".parse().unwrap()), ["form", "q1", "-", "-", "it's; --", "-"]),
    ] {
        let columns = answer(response);
        assert_eq!((told(&columns[6..11]), told(&columns[11..])), (empty.to_vec(), rest.to_vec()));
    }
    let lost = Content::Unrecorded(Unrecorded { count: 3, from: NOW, until: NOW });
    let columns = row(&pump(1), ID, &Record { content: lost, ..record }, None, later(5));
    assert_eq!(told(&columns[7..]), ["-", "-", "-", "-", "-", "-", "-", "-", "-", "3"]);
}

#[test]
fn the_statement_has_a_place_for_every_column() {
    let columns = INSERT.split_once('(').unwrap().1.split_once(')').unwrap().0.split(", ").count();
    assert_eq!((columns, INSERT.matches('$').count()), (COLUMNS, COLUMNS));
    for column in INSERT.split_once('(').unwrap().1.split_once(')').unwrap().0.split(", ") {
        assert!(TABLE.contains(&format!("\n  {column} ")), "{column}");
    }
}

#[test]
fn rows_go_in_portions_and_again_until_they_are_confirmed() {
    let mut outlet = Outlet::default();
    assert_eq!(outlet.due(NOW, 0), None);
    let first = outlet.due(NOW, 1200).unwrap();
    assert_eq!(first, Portion { from: 1, through: MAX_OUTLET_ROWS });
    assert_eq!(outlet.due(NOW, 1200), Some(first), "it was not confirmed");
    assert!(outlet.confirmed(first));
    assert!(!outlet.confirmed(first), "an old confirmation");
    assert!(!outlet.confirmed(Portion { from: 900, through: 999 }), "one for what was not sent");
    assert!(!outlet.confirmed(Portion { from: first.through + 1, through: first.through }));
    let mut portions = 1;
    while let Some(portion) = outlet.due(NOW, 1200) {
        assert!(outlet.confirmed(portion));
        portions += 1;
    }
    assert_eq!((portions, outlet.behind(1200), outlet.behind(1203)), (3, 0, 3));
}

#[test]
fn a_database_that_is_away_is_tried_again_later() {
    let mut outlet = Outlet::default();
    outlet.failed(NOW, 0);
    assert_eq!((outlet.due(NOW, 5), outlet.failures()), (None, 1));
    let again = outlet.waits_until(NOW).unwrap();
    assert_eq!(again, NOW.after(FIRST_WAIT));
    let portion = outlet.due(again, 5).unwrap();
    assert!(outlet.confirmed(portion));
    assert_eq!((outlet.failures(), outlet.waits_until(NOW)), (0, None));
}

#[test]
fn an_outlet_goes_on_where_the_database_stands() {
    let mut outlet = Outlet::default();
    outlet.resume(700);
    assert_eq!(outlet.due(NOW, 701), Some(Portion { from: 701, through: 701 }));
    assert_eq!(outlet.behind(720), 20);
}

#[test]
fn what_the_server_gives_is_a_row_after_it_was_carried() {
    let record = heart_rate(0, "70.50");
    let fed = FedRecord { device: pump(1), id: ID, record, amount: None, received_at: later(5) };
    let bytes = wardlink_protocol::cbor::encode(&Fed { records: vec![fed.clone()], through: 7, last: 9 }).unwrap();
    let carried: Fed = wardlink_protocol::cbor::decode(&bytes, bytes.len()).unwrap();
    assert_eq!(carried.records.first().unwrap().row(), row(&pump(1), ID, &fed.record, None, later(5)));
}
