#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use proptest::prelude::*;

fn topic(text: &str) -> Result<Topic, InvalidTopic> {
    text.parse()
}

#[test]
fn every_form_of_the_sites_topics_is_read() {
    let device: Device = "pump/p1".parse().unwrap();
    let class = device.client.clone();
    let channel: ChannelName = "alarm".parse().unwrap();
    let forms = [
        ("ais/register/pump", Topic::Register(class.clone())),
        ("ais/pump/p1", Topic::Device(device.clone())),
        ("ais/command/pump", Topic::Command(class.clone())),
        ("ais/meta/pump", Topic::Meta(class.clone())),
        ("ais/renew/pump", Topic::Renew(class)),
        ("ais/data/alarm/pump/p1", Topic::Data(channel.clone(), device.clone())),
        ("ais/ctl/alarm/pump/p1", Topic::Control(channel, device)),
    ];
    for (text, expected) in forms {
        assert_eq!(topic(text), Ok(expected.clone()));
        assert_eq!(expected.to_string(), text);
    }
}

#[test]
fn other_forms_are_no_topics_of_the_site() {
    for text in ["ais", "ais/pump", "ais/pump/p1/x", "other/pump/p1", "ais/data/alarm/pump", "ais/data/alarm/pump/p1/x"]
    {
        assert_eq!(topic(text), Err(InvalidTopic::Form), "{text}");
    }
    // What looks like T2 of a class with a reserved name is none.
    assert_eq!(topic("ais/data/pump"), Err(InvalidTopic::Name(InvalidName::Reserved)));
    assert!(topic("ais/register/#").is_err());
    assert!(topic("ais/+/p1").is_err());
    assert!(topic("/ais/pump/p1").is_err());
    assert_eq!(topic(""), Err(InvalidTopic::Length));
    assert_eq!(topic(&"a/".repeat(200)), Err(InvalidTopic::Length));
}

#[test]
fn filters_match_as_mqtt_says() {
    let matches = |filter: &str, topic: &str| filter.parse::<TopicFilter>().unwrap().matches(topic);
    // MQTT 5.0 sections 4.7.1.2, 4.7.1.3 and 4.7.2
    for (filter, topic) in [
        ("sport/tennis/player1/#", "sport/tennis/player1"),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
        ("sport/#", "sport"),
        ("#", "sport/tennis"),
        ("sport/tennis/+", "sport/tennis/player1"),
        ("sport/+", "sport/"),
        ("+/+", "/finance"),
        ("/+", "/finance"),
        ("+/tennis/#", "sport/tennis"),
        ("$SYS/#", "$SYS/broker"),
        ("$SYS/monitor/+", "$SYS/monitor/Clients"),
        ("a/b", "a/b"),
    ] {
        assert!(matches(filter, topic), "{filter} {topic}");
    }
    for (filter, topic) in [
        ("sport/tennis/+", "sport/tennis/player1/ranking"),
        ("sport/+", "sport"),
        ("+", "/finance"),
        ("#", "$SYS/broker"),
        ("+/monitor/Clients", "$SYS/monitor/Clients"),
        ("a/b", "a/b/c"),
        ("a/b", "a"),
        ("a/b", "A/B"),
        ("sport/tennis/player1/#", "sport/tennis/player2"),
    ] {
        assert!(!matches(filter, topic), "{filter} {topic}");
    }
}

#[test]
fn malformed_filters_are_refused() {
    for text in ["a/#/b", "a#", "a/b+", "+a", "#/a", "a\0b"] {
        assert_eq!(text.parse::<TopicFilter>(), Err(InvalidTopic::Filter), "{text:?}");
    }
    assert_eq!("".parse::<TopicFilter>(), Err(InvalidTopic::Length));
}

const NAME: &str = "[a-z0-9][a-z0-9-]{0,31}";

/// The rules of MQTT 5.0 section 4.7, level by level, written as directly as possible.
fn reference_matches(filter: &[&str], topic: &[&str]) -> bool {
    match (filter.split_first(), topic.split_first()) {
        (Some((&"#", _)), _) | (None, None) => true,
        (Some((&"+", filter)), Some((_, topic))) => reference_matches(filter, topic),
        (Some((a, filter)), Some((b, topic))) => a == b && reference_matches(filter, topic),
        _ => false,
    }
}

proptest! {
    #[test]
    fn every_topic_survives_its_text(form in 0usize..7, a in NAME, b in NAME, c in NAME) {
        let (Ok(client), Ok(identifier), Ok(channel)) = (a.parse(), b.parse(), c.parse()) else { return Ok(()) };
        let client: ClientClass = client;
        let device = Device { client: client.clone(), identifier };
        let topic = match form {
            0 => Topic::Register(client),
            1 => Topic::Device(device),
            2 => Topic::Command(client),
            3 => Topic::Meta(client),
            4 => Topic::Renew(client),
            5 => Topic::Data(channel, device),
            _ => Topic::Control(channel, device),
        };
        let text = topic.to_string();
        prop_assert!(text.parse::<Topic>() == Ok(topic.clone()));
        prop_assert!(TopicFilter::from(&topic).matches(&text));
        prop_assert!(!TopicFilter::from(&topic).has_wildcard());
    }

    #[test]
    fn filters_match_like_the_reference(
        filter in prop::collection::vec(prop_oneof!["[ab]{0,1}", Just("+".to_owned()), Just("#".to_owned())], 1..5),
        topic in prop::collection::vec("[ab]{0,1}", 1..5),
    ) {
        let (filter_text, topic_text) = (filter.join("/"), topic.join("/"));
        if let Ok(parsed) = filter_text.parse::<TopicFilter>() {
            let filter: Vec<&str> = filter.iter().map(String::as_str).collect();
            let topic: Vec<&str> = topic.iter().map(String::as_str).collect();
            prop_assert_eq!(parsed.matches(&topic_text), reference_matches(&filter, &topic));
        }
    }

    #[test]
    fn a_filter_covers_another_exactly_where_it_matches_all_that_the_other_matches(
        granted in prop::collection::vec(prop_oneof![Just("a"), Just(""), Just("$s"), Just("+"), Just("#")], 1..4),
        asked in prop::collection::vec(prop_oneof![Just("a"), Just(""), Just("$s"), Just("+"), Just("#")], 1..4),
    ) {
        let (Ok(granted), Ok(asked)) = (granted.join("/").parse::<TopicFilter>(), asked.join("/").parse::<TopicFilter>())
        else { return Ok(()) };
        // Every topic of up to five levels; no filter says "b", so that it stands for every other word.
        let words = ["a", "", "$s", "b"];
        let mut topics: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut longest = topics.clone();
        for _ in 0..4 {
            longest = longest.iter().flat_map(|topic| words.map(|word| format!("{topic}/{word}"))).collect();
            topics.extend(longest.iter().cloned());
        }
        let covers = topics.iter().all(|topic| !asked.matches(topic) || granted.matches(topic));
        prop_assert_eq!(granted.covers(&asked), covers, "{} and {}", granted, asked);
    }

    #[test]
    fn any_text_is_read_without_harm(text in "\\PC{0,80}") {
        if let Ok(topic) = text.parse::<Topic>() {
            prop_assert_eq!(topic.to_string(), text.clone());
        }
        let _ = text.parse::<TopicFilter>();
    }
}
