use super::*;
use crate::cbor;
use crate::limits::MAX_SESSION_MESSAGE_BYTES;

#[test]
fn messages_come_back_as_they_were_sent() {
    let report = FromGateway::Report(Numbered { number: 3, message: ByteBuf::from(b"{}".to_vec()) });
    let bytes = cbor::encode(&report).unwrap();
    assert_eq!(cbor::decode::<FromGateway>(&bytes, MAX_SESSION_MESSAGE_BYTES).unwrap(), report);

    let refusal = SessionRefusal { step: "figure 10, 213".into(), reason: "it was seen before".into() };
    let answer = FromServer::Answer(Answer { number: 3, refused: Some(refusal) });
    let bytes = cbor::encode(&answer).unwrap();
    assert!(cbor::decode::<FromServer>(&bytes, MAX_SESSION_MESSAGE_BYTES).unwrap() == answer);
}

#[test]
fn what_nobody_says_is_refused() {
    let bytes = cbor::encode(&("shutdown", 1)).unwrap();
    assert!(cbor::decode::<FromGateway>(&bytes, MAX_SESSION_MESSAGE_BYTES).is_err());
    assert!(cbor::decode::<FromServer>(&bytes, MAX_SESSION_MESSAGE_BYTES).is_err());
}

#[test]
fn a_ticket_is_read_from_its_text_only() {
    let ticket = PollTicket::new([7; POLL_TICKET_BYTES]);
    assert!(ticket.to_text().parse::<PollTicket>().unwrap() == ticket);
    for wrong in ["", "AAAA", "not base64url!", &"A".repeat(44), &"A".repeat(4000)] {
        assert!(wrong.parse::<PollTicket>().is_err(), "{wrong}");
    }
}
