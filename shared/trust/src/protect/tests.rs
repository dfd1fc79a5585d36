#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

use super::*;
use crate::testing::Counting;
use proptest::prelude::*;
use wardlink_protocol::channel::default_channels;

pub(super) struct Site {
    pub(super) rng: Counting,
    pub(super) key: ChannelKey,
    pub(super) device: PrivateKey,
    pub(super) topic: Topic,
}

pub(super) fn site(channel: &str) -> Site {
    let mut rng = Counting(7);
    let channel = default_channels().into_iter().find(|row| row.name.as_str() == channel).unwrap();
    let device = PrivateKey::make(&mut rng);
    let topic = format!("ais/data/{}/infusion-pump/p1", channel.name).parse().unwrap();
    let key = ChannelKey { channel, kid: KeyId([5; 8]), epoch: 3, key: [9; 32] };
    Site { rng, key, device, topic }
}

impl Site {
    pub(super) fn sender(&mut self, boot: u64) -> Sender {
        Sender::begin(&self.key, self.topic.clone(), boot, &mut self.rng).unwrap()
    }

    pub(super) fn open(&self, receiver: &mut Receiver, message: &[u8]) -> Result<Opened, OpenError> {
        receiver.open(core::slice::from_ref(&self.key), &self.topic, &self.device.public(), message)
    }
}

#[test]
fn every_channel_carries_a_message_once() {
    for row in default_channels() {
        let mut site = site(row.name.as_str());
        let mut sender = site.sender(1);
        let mut receiver = Receiver::default();
        for text in [b"first".as_slice(), b"", b"third"] {
            let message = sender.seal(text, &site.device).unwrap();
            let opened = site.open(&mut receiver, &message).unwrap();
            assert_eq!((opened.plaintext.as_slice(), opened.signed, opened.missing), (text, row.signed, 0));
            assert_eq!(site.open(&mut receiver, &message).err(), Some(ReplayError::Duplicate.into()));
        }
    }
}

#[test]
fn a_message_moved_to_another_topic_does_not_open() {
    for channel in ["alarm", "telemetry"] {
        let mut site = site(channel);
        let message = site.sender(1).seal(b"data", &site.device).unwrap();
        for other in ["ais/data/CH/infusion-pump/p2", "ais/ctl/CH/infusion-pump/p1", "ais/data/CH/scale/p1"] {
            let topic: Topic = other.replace("CH", channel).parse().unwrap();
            let refused =
                Receiver::default().open(core::slice::from_ref(&site.key), &topic, &site.device.public(), &message);
            assert_eq!(refused.err(), Some(EnvelopeError::Authentication.into()));
        }
        let topic: Topic = "ais/data/log/infusion-pump/p1".parse().unwrap();
        let refused =
            Receiver::default().open(core::slice::from_ref(&site.key), &topic, &site.device.public(), &message);
        assert_eq!(refused.err(), Some(OpenError::Topic));
    }
}

#[test]
fn a_holder_of_the_class_key_cannot_write_under_a_foreign_name() {
    let mut site = site("alarm");
    let other = PrivateKey::make(&mut site.rng);
    let forged = site.sender(1).seal(b"no alarm", &other).unwrap();
    assert_eq!(site.open(&mut Receiver::default(), &forged).err(), Some(OpenError::Unsigned));

    let mut unsigned = site.key.clone();
    unsigned.channel.signed = false;
    let message =
        Sender::begin(&unsigned, site.topic.clone(), 1, &mut site.rng).unwrap().seal(b"x", &site.device).unwrap();
    assert_eq!(site.open(&mut Receiver::default(), &message).err(), Some(OpenError::Unsigned));
}

#[test]
fn a_signed_message_wrapped_anew_by_a_holder_of_the_key_is_refused() {
    let mut site = site("alarm");
    let genuine = site.sender(1).seal(b"occlusion", &site.device).unwrap();
    // The attacker holds the network key: he opens the envelope and seals the signed content under an instance of his own.
    let envelope = Encrypted::parse(&genuine, MAX_CHANNEL_MESSAGE_BYTES).unwrap();
    let (boot, id) = split_instance(envelope.header().instance.as_ref().unwrap()).unwrap();
    let aad = site.topic.to_string();
    let inner =
        envelope.open(&content_key(&site.key, &site.topic, boot, id).unwrap().unwrap(), aad.as_bytes()).unwrap();
    let mut again = site.key.clone();
    again.channel.signed = false;
    let wrapped =
        Sender::begin(&again, site.topic.clone(), 2, &mut site.rng).unwrap().seal(&inner, &site.device).unwrap();
    assert_eq!(site.open(&mut Receiver::default(), &wrapped).err(), Some(OpenError::Unsigned));
}

#[test]
fn unknown_keys_and_other_epochs_are_refused() {
    let mut site = site("telemetry");
    let message = site.sender(1).seal(b"data", &site.device).unwrap();
    let mut receiver = Receiver::default();
    assert_eq!(receiver.open(&[], &site.topic, &site.device.public(), &message).err(), Some(OpenError::UnknownKey));
    site.key.epoch = 4;
    assert_eq!(site.open(&mut receiver, &message).err(), Some(OpenError::Epoch));
    site.key.epoch = 3;
    site.key.key = [8; 32];
    assert_eq!(site.open(&mut receiver, &message).err(), Some(EnvelopeError::Authentication.into()));
}

#[test]
fn two_instances_with_the_same_boot_number_never_share_a_key() {
    let mut site = site("telemetry");
    let (mut first, mut restored) = (site.sender(1), site.sender(1));
    let a = first.seal(b"same", &site.device).unwrap();
    let b = restored.seal(b"same", &site.device).unwrap();
    assert_ne!(a, b);
    let mut receiver = Receiver::default();
    assert!(site.open(&mut receiver, &a).is_ok());
    assert!(site.open(&mut receiver, &b).is_ok());
}

#[test]
fn several_who_write_on_one_topic_have_runs_of_their_own() {
    let mut site = site("update");
    let (first, second) = (site.device.clone(), PrivateKey::make(&mut site.rng));
    let mut receivers = Receivers::default();
    let open = |receivers: &mut Receivers, site: &Site, message: &[u8], signer: &PrivateKey| {
        let keys = core::slice::from_ref(&site.key);
        receivers.open_certified(keys, &site.topic, message, |_| Ok(signer.public())).map(|opened| opened.missing)
    };
    let early = site.sender(1).seal(b"x", &second).unwrap();
    let late = site.sender(7).seal(b"x", &first).unwrap();
    assert_eq!(open(&mut receivers, &site, &late, &first), Ok(0));
    // Another one whose run began before counts, too; each message once, and no earlier run of the same one.
    assert_eq!(open(&mut receivers, &site, &early, &second), Ok(0));
    for (message, signer) in [(&late, &first), (&early, &second)] {
        assert_eq!(open(&mut receivers, &site, message, signer), Err(ReplayError::Duplicate.into()));
    }
    let earlier_run = site.sender(6).seal(b"x", &first).unwrap();
    assert_eq!(open(&mut receivers, &site, &earlier_run, &first), Err(ReplayError::LowerBoot.into()));
    // Nobody counts under another's key.
    let next = site.sender(8).seal(b"x", &first).unwrap();
    assert_eq!(open(&mut receivers, &site, &next, &second), Err(OpenError::Unsigned));
    assert_eq!(open(&mut receivers, &site, &next, &first), Ok(0));
    // They are few.
    for _ in 0..=MAX_SENDERS {
        let other = PrivateKey::make(&mut site.rng);
        let message = site.sender(1).seal(b"x", &other).unwrap();
        assert_eq!(open(&mut receivers, &site, &message, &other), Ok(0));
    }
    assert_eq!(receivers.0.len(), MAX_SENDERS);
}

#[test]
fn a_refused_message_leaves_the_window_as_it_was() {
    let mut site = site("alarm");
    let mut sender = site.sender(1);
    let mut message = sender.seal(b"data", &site.device).unwrap();
    let mut receiver = Receiver::default();
    let last = message.len() - 1;
    message[last] ^= 1;
    assert!(site.open(&mut receiver, &message).is_err());
    assert_eq!(receiver, Receiver::default());
    message[last] ^= 1;
    assert!(site.open(&mut receiver, &message).is_ok());
}

#[test]
fn a_channel_that_asks_for_more_than_it_can_hold_says_so() {
    let mut site = site("alarm");
    let long = vec![0; MAX_CHANNEL_MESSAGE_BYTES];
    assert_eq!(site.sender(1).seal(&long, &site.device), Err(SealError::TooLong));
    let wrong: Topic = "ais/data/log/infusion-pump/p1".parse().unwrap();
    assert_eq!(Sender::begin(&site.key, wrong, 1, &mut site.rng).err(), Some(SealError::Topic));
    let mut sender = site.sender(1);
    sender.next = MAX_MESSAGES;
    assert_eq!(sender.seal(b"", &site.device), Err(SealError::UsedUp));
}

proptest! {
    #[test]
    fn hostile_bytes_never_open(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let site = site("telemetry");
        prop_assert!(site.open(&mut Receiver::default(), &bytes).is_err());
    }

    #[test]
    fn a_changed_byte_never_opens(position in any::<prop::sample::Index>(), change in 1_u8..) {
        let mut site = site("telemetry");
        let mut message = site.sender(1).seal(b"rate 5 ml/h", &site.device).unwrap();
        let position = position.index(message.len());
        message[position] ^= change;
        prop_assert!(site.open(&mut Receiver::default(), &message).is_err());
    }
}
