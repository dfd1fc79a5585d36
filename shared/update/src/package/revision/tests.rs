#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use proptest::prelude::*;

fn revision(text: &str) -> Revision {
    text.parse().unwrap()
}

#[test]
fn revisions_are_ordered_part_by_part() {
    let rising = [
        "0", "1", "1.0", "1.9", "1.10", "1.10.1", "1.10A", "1A", "1A1", "1A1B", "1B", "1Z", "1AA", "2", "10", "A", "B2",
    ];
    for (index, lesser) in rising.iter().enumerate() {
        assert_eq!(revision(lesser), revision(lesser));
        for greater in rising.iter().skip(index + 1) {
            assert!(revision(lesser) < revision(greater), "{lesser} < {greater}");
        }
    }
}

#[test]
fn what_could_be_ordered_otherwise_is_no_revision() {
    let refused = [
        "",
        ".",
        "1.",
        ".1",
        "1..2",
        "01",
        "1.00",
        "1a",
        "v1",
        "1.0-RC1",
        "1 0",
        "1,0",
        "ä",
        "1.0+5",
        "1234567890",
        "1ABCDE",
        "111111111.111111111.111111111.111",
    ];
    for text in refused {
        assert!(text.parse::<Revision>().is_err(), "{text}");
    }
    assert!("123456789.ABCD.0".parse::<Revision>().is_ok());
}

#[test]
fn a_range_has_both_its_ends() {
    let range = RevisionRange::new(revision("1A"), revision("1C")).unwrap();
    for (text, is_in) in [("1", false), ("1A", true), ("1B", true), ("1C", true), ("1C1", false), ("1D", false)] {
        assert_eq!(range.contains(&revision(text)), is_in, "{text}");
    }
    let single = RevisionRange::single(revision("1B"));
    assert!(single.contains(&revision("1B")) && !single.contains(&revision("1A")));
    assert_eq!(RevisionRange::new(revision("1B"), revision("1A")), Err(EmptyRange));
    assert!(serde_json::from_str::<RevisionRange>(r#"{"from":"1B","to":"1A"}"#).is_err());
    assert!(serde_json::from_str::<RevisionRange>(r#"{"from":"1A"}"#).is_err());
}

fn any_revision() -> impl Strategy<Value = Revision> {
    let run = prop_oneof![(0_u32..1_000).prop_map(|number| number.to_string()), "[A-Z]{1,3}"];
    let part = prop::collection::vec(run, 1..3).prop_map(|runs| runs.concat());
    prop::collection::vec(part, 1..4).prop_filter_map("a revision", |parts| parts.join(".").parse().ok())
}

proptest! {
    #[test]
    fn the_order_is_total_and_agrees_with_equality(mut some in prop::collection::vec(any_revision(), 2..8)) {
        some.sort();
        for pair in some.windows(2) {
            if let [lesser, greater] = pair {
                prop_assert_eq!(lesser == greater, lesser.as_str() == greater.as_str());
                prop_assert!(lesser <= greater);
                prop_assert_eq!(lesser.cmp(greater), greater.cmp(lesser).reverse());
            }
        }
        if let (Some(first), Some(last)) = (some.first(), some.last()) {
            prop_assert!(first <= last);
        }
    }

    #[test]
    fn a_revision_is_read_as_it_is_written(one in any_revision()) {
        prop_assert_eq!(one.to_string().parse::<Revision>(), Ok(one));
    }

    #[test]
    fn no_text_makes_the_reader_fail(text in "[0-9A-Za-z. -]{0,40}") {
        drop(text.parse::<Revision>());
    }
}
