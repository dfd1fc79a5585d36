#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::chain::GAP;
use crate::testing::chain;
use wardlink_protocol::limits::MAX_CHANNEL_MESSAGE_BYTES;

const KEY: BatchKey = BatchKey { chain: chain(1), first: 3 };

#[test]
fn messages_are_read_as_they_are_written() {
    for message in [Upward::Batch(ByteBuf::new()), Upward::Batch(ByteBuf::from(vec![7; MAX_BATCH_BYTES]))] {
        let bytes = message.encode().unwrap();
        assert!(bytes.len() <= MAX_UPWARD_BYTES && bytes.len() + 1024 < MAX_CHANNEL_MESSAGE_BYTES);
        assert_eq!(Upward::decode(&bytes), Ok(message));
    }
    for message in [
        Downward::Send(Trigger::Poll),
        Downward::Kept(KeptBatch { key: KEY, hash: Sha256([1; 32]) }),
        Downward::Refused(RefusedBatch::new(Some(KEY), GAP, "records from number 1 on are missing")),
        Downward::Refused(RefusedBatch::new(None, "form", "it is no batch")),
        Downward::Receipt(ByteBuf::from(vec![7; MAX_RECEIPT_BYTES])),
    ] {
        let bytes = message.encode().unwrap();
        assert_eq!(Downward::decode(&bytes), Ok(message));
    }
}

#[test]
fn what_is_no_message_is_refused() {
    let encoded = |text: &str| cbor::encode(text).unwrap();
    for bytes in [vec![], encoded("something"), encoded("batch"), cbor::encode(&KEY).unwrap(), vec![0xff; 9]] {
        assert!(Upward::decode(&bytes).is_err() && Downward::decode(&bytes).is_err());
    }
    let long = Upward::Batch(ByteBuf::from(vec![0; MAX_UPWARD_BYTES])).encode().unwrap();
    assert_eq!(Upward::decode(&long), Err(CborError::TooLong));
    let long = Downward::Receipt(ByteBuf::from(vec![0; MAX_DOWNWARD_BYTES])).encode().unwrap();
    assert_eq!(Downward::decode(&long), Err(CborError::TooLong));
}

#[test]
fn a_refusal_has_a_bounded_reason_without_control_characters() {
    let refused = RefusedBatch::new(None, "form", &"\u{7}ü".repeat(MAX_REASON_BYTES));
    assert!(refused.reason.len() <= MAX_REASON_BYTES && refused.reason.starts_with(" ü"));
    assert_eq!(Downward::decode(&Downward::Refused(refused.clone()).encode().unwrap()), Ok(Downward::Refused(refused)));
    let long = RefusedBatch { key: None, step: "form".into(), reason: "x".repeat(MAX_REASON_BYTES + 1) };
    assert_eq!(Downward::decode(&Downward::Refused(long).encode().unwrap()), Err(CborError::TooLong));
}
