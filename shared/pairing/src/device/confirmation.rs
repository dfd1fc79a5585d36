//! Step 4 and 5 at the device: the confirmation is checked and committed, PAIRING_FINISHED is made.

use rand_core::CryptoRng;
use serde_bytes::ByteBuf;
use std::collections::BTreeSet;
use wardlink_crypto::cose::{Encrypted, Header};
use wardlink_crypto::schedule::{self, KID_CONTROL};
use wardlink_crypto::x509::Chain;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::channel::ChannelKey;
use wardlink_protocol::limits::MAX_CHANNELS_PER_DEVICE;
use wardlink_protocol::pairing::{PairingConfirmed, PairingFinished, Status};
use wardlink_protocol::topic::Topic;

use super::{Answered, Confirmed, DevicePairing, Pairing, Provisioned, Refusal, State, Unanswered};
use crate::message::{self, MessageError};

impl DevicePairing {
    /// PAIRING_CONFIRMED (S9): from here on the pairing counts, unless a person has to enter the answer first.
    pub(super) fn receive_confirmation<R: CryptoRng>(
        &self,
        state: &Answered,
        provisioned: Provisioned<'_>,
        envelope: &Encrypted,
        payload: &[u8],
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<State, Refusal> {
        let topic = Topic::Device(self.device.clone());
        let key = state.keys.control().map_err(MessageError::from)?;
        let header = Header::pairing(KID_CONTROL, self.session);
        let confirmation: PairingConfirmed = message::open(envelope, &header, &key, &topic)?;
        self.check_confirmation(state, provisioned, &confirmation, now)?;
        let finished = self.finish(state, &confirmation.channels, payload, rng)?;
        let pairing = Pairing {
            certificate: confirmation.certificate.clone(),
            network: state.network.clone(),
            cert_ca: state.root,
            trust: confirmation.trust,
            channels: confirmation.channels.clone(),
            wrap_key: *state.keys.wrap().map_err(MessageError::from)?,
        };
        let finished = ByteBuf::from(finished);
        let confirmed = Confirmed { pairing, finished, delivered: false };
        let Some(gives_up_at) = state.gives_up_at else { return Ok(State::Confirmed(Box::new(confirmed))) };
        let answer = state.check(self.session, &self.device).answer().map_err(MessageError::from)?;
        Ok(State::Unanswered(Box::new(Unanswered { confirmed, answer, counted: 0, gives_up_at })))
    }

    fn check_confirmation(
        &self,
        state: &Answered,
        provisioned: Provisioned<'_>,
        confirmation: &PairingConfirmed,
        now: UnixMillis,
    ) -> Result<(), MessageError> {
        let mut chain = vec![confirmation.certificate.clone()];
        chain.extend(state.network.chain.iter().cloned());
        let chain = Chain::parse(&chain)?;
        // A hash that was provisioned meanwhile counts before the pinned one.
        let root = self.known_root(provisioned).unwrap_or(state.root);
        let certificate = chain.verify(&root, self.device.purpose(), now)?;
        let own = certificate.device() == Some(&self.device) && *certificate.key() == provisioned.key.public();
        let said = confirmation.status == Status::PairingConfirmed && confirmation.trust == state.choice.trust();
        if own && said && are_in_order(&confirmation.channels) { Ok(()) } else { Err(MessageError::Contradiction) }
    }

    /// PAIRING_FINISHED (S10), under the network key of the first channel.
    fn finish<R: CryptoRng>(
        &self,
        state: &Answered,
        channels: &[ChannelKey],
        confirmation: &[u8],
        rng: &mut R,
    ) -> Result<Vec<u8>, MessageError> {
        let first = channels.first().ok_or(MessageError::Contradiction)?;
        let finished = PairingFinished { status: Status::PairingFinished, mac: state.keys.finish_mac(confirmation)? };
        let key = schedule::derive_finish_key(first, &self.device, &self.session)?;
        let header = Header::pairing(first.kid.as_bytes(), self.session);
        message::seal(&header, &key, &Topic::Command(self.device.client.clone()), &finished, rng)
    }
}

/// At least one channel, not too many, by falling priority, then by name; no name and no key id twice.
fn are_in_order(channels: &[ChannelKey]) -> bool {
    let rank = |channel: &ChannelKey| (channel.channel.priority, channel.channel.name.clone());
    let sorted = channels.windows(2).all(|pair| matches!(pair, [a, b] if rank(a) < rank(b)));
    let names: BTreeSet<_> = channels.iter().map(|channel| &channel.channel.name).collect();
    let kids: BTreeSet<_> = channels.iter().map(|channel| channel.kid).collect();
    let once = names.len() == channels.len() && kids.len() == channels.len();
    (1..=MAX_CHANNELS_PER_DEVICE).contains(&channels.len()) && sorted && once
}
