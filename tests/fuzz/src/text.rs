//! Texts: topics, filters and names; what a person types or scans; labels.

use data_encoding::BASE32_NOPAD;
use wardlink_protocol::Device;
use wardlink_protocol::identity::ClientClass;
use wardlink_protocol::limits::{MAX_LABEL_BYTES, MAX_NAME_BYTES, MAX_TOPIC_BYTES};
use wardlink_protocol::provisioning::Provisioning;
use wardlink_protocol::service::EnrolmentTicket;
use wardlink_protocol::topic::{Topic, TopicFilter};
use wardlink_protocol::verification::{VerificationCode, VerificationLink};

use crate::vectors::Vectors;
use crate::{select, selected};

/// A filter and a topic, one a line.
pub(crate) fn topics(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (filter, topic) = text.split_once('\n').unwrap_or((text, text));
    if let Ok(parsed) = topic.parse::<Topic>() {
        assert_eq!(parsed.to_string(), topic);
        let own = TopicFilter::from(&parsed);
        assert!(topic.len() <= MAX_TOPIC_BYTES && own.matches(topic) && !own.has_wildcard());
        assert_eq!(topic.parse().as_ref(), Ok(&own));
    }
    if let Ok(parsed) = filter.parse::<TopicFilter>() {
        assert_eq!(parsed.as_str(), filter);
        let levels: Vec<&str> = filter.split('/').collect();
        let reference = (filter.starts_with('$') || !topic.starts_with('$'))
            && matches(&levels, &topic.split('/').collect::<Vec<_>>());
        assert_eq!(parsed.matches(topic), reference, "{filter:?} and {topic:?}");
        assert!(parsed.has_wildcard() || reference == (filter == topic));
        if let Ok(one) = topic.parse::<Topic>() {
            assert_eq!(parsed.covers(&TopicFilter::from(&one)), reference, "{filter:?} and {topic:?}");
        }
    }
    if let Ok(device) = text.parse::<Device>() {
        assert_eq!(device.to_string(), text);
    }
    if let Ok(client) = text.parse::<ClientClass>() {
        assert!(client.as_str() == text && text.len() <= MAX_NAME_BYTES);
        assert!(Topic::Register(client).to_string().parse::<Topic>().is_ok());
    }
}

/// MQTT 5.0 section 4.7, as it reads.
fn matches(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) => true,
        (["+", filter @ ..], [_, topic @ ..]) => matches(filter, topic),
        ([part, filter @ ..], [level, topic @ ..]) => part == level && matches(filter, topic),
        (filter, topic) => filter.is_empty() && topic.is_empty(),
    }
}

pub(crate) fn topic_seeds() -> Vec<Vec<u8>> {
    [
        "ais/register/infusion-pump\nais/register/infusion-pump",
        "ais/+/pump-1\nais/infusion-pump/pump-1",
        "ais/#\nais/command/infusion-pump",
        "#\n$SYS/x",
        "ais/meta/scale",
        "ais/renew/scale",
        "ais/data/alarm/infusion-pump/pump-1",
        "ais/ctl/command/infusion-pump/pump-1",
        "infusion-pump/pump-1",
        "infusion-pump",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

pub(crate) fn verification(input: &[u8]) {
    let Some((selector, rest)) = selected(input) else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match selector % 4 {
        0 => {
            let Ok(code) = text.parse::<VerificationCode>() else { return };
            let digits = code.to_ascii();
            assert!(digits.iter().all(u8::is_ascii_digit));
            assert!(code.to_string().parse() == Ok(code));
            let number = std::str::from_utf8(&digits[..7]).expect("digits").parse().expect("a number");
            assert!(VerificationCode::from_number(number) == code, "a code has one check digit");
        }
        3 => {
            let Ok(ticket) = text.parse::<EnrolmentTicket>() else { return };
            assert_eq!(ticket.to_text().expect("a text").as_str(), text.trim(), "a ticket has one text");
        }
        1 => {
            let Ok(link) = text.parse::<VerificationLink>() else { return };
            assert_eq!(link.to_string(), text.to_ascii_uppercase());
            assert!(link.to_string().parse() == Ok(link), "a link means one thing");
        }
        _ => {
            let Ok(link) = VerificationLink::from_token("https://wardlink.example", text) else { return };
            assert_eq!(link.token(), text);
        }
    }
}

pub(crate) fn verification_seeds() -> Vec<Vec<u8>> {
    let vectors = Vectors::pairing();
    let link = vectors.text("/shown/link");
    let token = link.rsplit('/').next().expect("a token");
    vec![
        select(0, vectors.text("/shown/code").as_bytes()),
        select(0, b"6019-2781"),
        select(1, link.as_bytes()),
        select(1, format!("http://localhost:8787/V/{token}").as_bytes()),
        select(2, token.as_bytes()),
        select(3, Vectors::enrolment().text("/ticket").as_bytes()),
    ]
}

/// The content of a label, or a whole label.
pub(crate) fn label(input: &[u8]) {
    let Some((selector, rest)) = selected(input) else { return };
    let text = match selector % 2 {
        0 => format!("WARDLINK:1:{}", BASE32_NOPAD.encode(rest)),
        _ => String::from_utf8_lossy(rest).into_owned(),
    };
    let Ok(file) = Provisioning::from_label(&text) else { return };
    assert!(file.to_label().is_ok_and(|label| label == text), "one file has one label");
    assert!(text.len() <= 11 + BASE32_NOPAD.encode_len(MAX_LABEL_BYTES) && file.tls_anchors.is_empty());
}

pub(crate) fn label_seeds() -> Vec<Vec<u8>> {
    let labels = crate::json::provisioning_files().into_iter().filter_map(|file| file.to_label().ok());
    labels
        .flat_map(|label| {
            let content = label.strip_prefix("WARDLINK:1:").expect("a label");
            let content = BASE32_NOPAD.decode(content.as_bytes()).expect("base32");
            [select(0, &content), select(1, label.as_bytes())]
        })
        .collect()
}
