#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::identity::SessionId;

fn of_class(channel: &str, client: &str) -> ChannelOfClass {
    ChannelOfClass { channel: channel.parse().unwrap(), client: client.parse().unwrap() }
}

fn access() -> ServiceAccess {
    ServiceAccess {
        reads: [of_class("alarm", "infusion-pump"), of_class("therapy", "infusion-pump")].into(),
        writes: [of_class("command", "scale")].into(),
    }
}

fn topic(text: &str) -> Topic {
    text.parse().unwrap()
}

#[test]
fn a_service_reads_and_writes_what_it_is_granted_and_nothing_else() {
    let access = access();
    let readable = ["ais/data/alarm/infusion-pump/p-1", "ais/data/therapy/infusion-pump/p-2", "ais/meta/infusion-pump"];
    for text in readable.into_iter().chain(["ais/meta/scale"]) {
        assert!(access.may_read(&topic(text)), "{text}");
        assert!(access.may_subscribe(&text.parse().unwrap()), "{text}");
        assert!(!access.may_publish(&topic(text)), "{text}");
    }
    assert!(access.may_publish(&topic("ais/ctl/command/scale/s-1")));
    let foreign = [
        "ais/register/infusion-pump",
        "ais/infusion-pump/p-1",
        "ais/command/infusion-pump",
        "ais/renew/infusion-pump",
        "ais/data/log/infusion-pump/p-1",
        "ais/data/alarm/scale/s-1",
        "ais/data/command/scale/s-1",
        "ais/ctl/alarm/infusion-pump/p-1",
        "ais/ctl/command/infusion-pump/p-1",
        "ais/meta/pacemaker",
    ];
    for text in foreign {
        assert!(!access.may_read(&topic(text)), "{text}");
        assert!(!access.may_subscribe(&text.parse().unwrap()), "{text}");
        assert!(!access.may_publish(&topic(text)), "{text}");
    }
    assert!(!access.may_read(&topic("ais/ctl/command/scale/s-1")));
}

#[test]
fn a_filter_is_allowed_where_a_granted_one_covers_it() {
    let access = access();
    assert!(access.may_subscribe(&"ais/data/alarm/infusion-pump/+".parse().unwrap()));
    for wider in ["#", "ais/#", "ais/data/#", "ais/data/alarm/infusion-pump/#", "ais/data/+/infusion-pump/+", "ais/+/+"]
    {
        assert!(!access.may_subscribe(&wider.parse().unwrap()), "{wider}");
    }
}

#[test]
fn nothing_and_too_much_are_not_granted() {
    assert!(!ServiceAccess::default().is_reasonable());
    assert!(access().is_reasonable());
    let reads = (0..=MAX_SERVICE_CHANNELS).map(|number| of_class("alarm", &format!("class-{number}"))).collect();
    assert!(!ServiceAccess { reads, writes: BTreeSet::new() }.is_reasonable());
}

#[test]
fn an_enrolment_text_has_one_form() {
    let ticket = EnrolmentTicket {
        name: "ward-monitor".parse().unwrap(),
        id: SessionId([1; 16]),
        secret: [2; 32],
        root: Sha256([3; 32]),
    };
    let text = ticket.to_text().unwrap();
    assert_eq!(
        text.as_str(),
        "WARDLINK-SERVICE:1:hGx3YXJkLW1vbml0b3JQAQEBAQEBAQEBAQEBAQEBAVggAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgJYIAMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMD"
    );
    assert!(format!(" {}\n", *text).parse::<EnrolmentTicket>().unwrap() == ticket);
    let cut = text.get(..text.len() - 1).unwrap();
    for other in ["", "WARDLINK-SERVICE:1:", "WARDLINK:1:ABC", cut, &text.to_lowercase(), &format!("{}A", *text)] {
        assert!(other.parse::<EnrolmentTicket>().is_err(), "{other}");
    }
}
