//! Steps 3 to 5 at the control unit: the device answers (S7), the pairing is confirmed (S9) and finished (S10).

use rand_core::CryptoRng;
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::{Encrypted, Header};
use wardlink_crypto::schedule::{self, KID_CONTROL, KID_DEVICE, Parties};
use wardlink_crypto::x509::{Certificate, Holder};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::channel::ChannelKey;
use wardlink_protocol::grant::{DeviceState, GrantedCertificate};
use wardlink_protocol::identity::{Sha256, TrustLevel};
use wardlink_protocol::limits::MAX_CHANNELS_PER_DEVICE;
use wardlink_protocol::pairing::{
    DevicePaired, Mode, PairingConfirmed, PairingFinished, PairingVerified, RefusalReason, Status,
};
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::topic::Topic;

use super::acceptance::granted;
use super::state::{Commanded, Confirmed, Finished, State, Verifying};
use super::{Action, ControlUnit, PairedDevice, Refusal, Session};
use crate::message::{self, MessageError};

impl Session {
    pub(super) fn receive_on_t3<R: CryptoRng>(
        &mut self,
        stamped: &StampedMessage,
        envelope: &Encrypted,
        control_unit: ControlUnit<'_>,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<Vec<Action>, Refusal> {
        match &self.state {
            State::Commanded(state) => {
                self.check_publisher(stamped, &state.provisional)?;
                // The publisher is this session's own device: what does not fit ends the pairing.
                let Ok(nonce) = self.open_verified(state, envelope) else {
                    return self.violated(control_unit, now, rng);
                };
                self.verified(nonce, schedule::message_hash(&stamped.payload), control_unit, now, rng)
            }
            State::Verifying(state) => {
                self.check_publisher(stamped, &state.commanded.provisional)?;
                if schedule::same(&schedule::message_hash(&stamped.payload), &state.verified_hash) {
                    return Ok(Vec::new());
                }
                self.violated(control_unit, now, rng)
            }
            State::Confirmed(state) => {
                self.check_publisher(stamped, &state.granted)?;
                self.open_finished(state, envelope)?;
                self.finished(control_unit, now)
            }
            // A repetition of what was taken already.
            State::Finished(_) => Ok(Vec::new()),
            State::Requested(_) | State::Ended(_) => Err(Refusal::OutOfPlace),
        }
    }

    /// The control unit requires the identity that belongs to the session: this key, with this certificate.
    fn check_publisher(&self, stamped: &StampedMessage, granted: &GrantedCertificate) -> Result<(), Refusal> {
        let expected = Publisher::Key {
            key: self.key,
            device: self.device.clone(),
            certificate: Some((granted.serial, granted.purpose)),
        };
        if stamped.publisher == expected { Ok(()) } else { Err(Refusal::Publisher) }
    }

    /// The session's own device said something that does not fit: the pairing ends.
    fn violated<R: CryptoRng>(
        &mut self,
        control_unit: ControlUnit<'_>,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<Vec<Action>, Refusal> {
        self.end(control_unit.signer, RefusalReason::ProtocolViolation, String::new(), now, rng)
    }

    /// Opens PAIRING_VERIFIED: mode, commitment and key confirmation have to fit. Returns Nd.
    fn open_verified(&self, state: &Commanded, envelope: &Encrypted) -> Result<Sha256, MessageError> {
        let topic = Topic::Command(self.device.client.clone());
        let header = Header::pairing(KID_DEVICE, self.id);
        let message: PairingVerified = message::open(envelope, &header, &state.keys.device()?, &topic)?;
        let parties = Parties {
            device: self.device.clone(),
            device_key: self.key,
            control_unit_key: state.signer,
            device_ephemeral: self.device_ephemeral.to_vec(),
            control_unit_ephemeral: state.ephemeral.to_vec(),
        };
        let mac = state.keys.device_confirmation(&parties, state.choice.mode)?;
        let commitment = schedule::derive_commitment(&self.id, &message.nonce)?;
        let said = message.status == Status::PairingVerified && message.mode == state.choice.mode;
        let bound = schedule::same(&commitment, &self.commitment);
        let confirmed = schedule::same(&mac, &message.mac);
        if said && bound && confirmed { Ok(message.nonce) } else { Err(MessageError::Contradiction) }
    }

    fn verified<R: CryptoRng>(
        &mut self,
        nonce: Sha256,
        verified_hash: Sha256,
        control_unit: ControlUnit<'_>,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<Vec<Action>, Refusal> {
        let State::Commanded(state) = &self.state else { return Err(Refusal::WrongState) };
        let commanded = (**state).clone();
        if commanded.choice.mode == Mode::PairingSimple {
            self.verifying_at = Some(now);
            return self.confirm(&commanded, &nonce, Mode::PairingSimple, control_unit, now, rng);
        }
        self.verifying_at = Some(now);
        self.state = State::Verifying(Box::new(Verifying { commanded, nonce, verified_hash }));
        Ok(Vec::new())
    }

    /// PAIRING_CONFIRMED: the final certificate and the keys. The bare key's rights to T2 end. `used` says by what the device was
    /// verified.
    pub(super) fn confirm<R: CryptoRng>(
        &mut self,
        commanded: &Commanded,
        nonce: &Sha256,
        used: Mode,
        control_unit: ControlUnit<'_>,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<Vec<Action>, Refusal> {
        let Commanded { choice, keys, provisional, .. } = commanded;
        let channels = channels_for(control_unit.channels, choice.trust())?;
        let lifetime = control_unit.policy.certificate_lifetime;
        let certificate = self.issue(&Holder::paired(self.device.clone()), control_unit, now, lifetime, rng)?;
        let confirmation = PairingConfirmed {
            status: Status::PairingConfirmed,
            certificate: certificate.to_bytes(),
            trust: choice.trust(),
            channels: channels.clone(),
        };
        let header = Header::pairing(KID_CONTROL, self.id);
        let key = keys.control().map_err(MessageError::from)?;
        let confirmation = message::seal(&header, &key, &self.t2(), &confirmation, rng)?;
        let answer = self.needs_answer.then(|| keys.answer(nonce)).transpose().map_err(MessageError::from)?;
        let final_certificate = granted(&certificate, self.device.purpose());
        let certificates = vec![provisional.clone(), final_certificate.clone()];
        let actions = vec![
            Action::Grant(self.grant(DeviceState::Confirmed, certificates, Vec::new())),
            self.publish_t2(&confirmation),
        ];
        self.confirmed_at = Some(now);
        self.expires_at = None;
        self.state = State::Confirmed(Box::new(Confirmed {
            choice: *choice,
            used: Some(used),
            confirmation: ByteBuf::from(confirmation),
            keys: keys.clone(),
            answer,
            certificate: certificate.to_bytes(),
            granted: final_certificate,
            channels,
        }));
        Ok(actions)
    }

    /// Opens PAIRING_FINISHED, under the network key of the first channel; its MAC covers the confirmation.
    fn open_finished(&self, state: &Confirmed, envelope: &Encrypted) -> Result<(), MessageError> {
        let first = state.channels.first().ok_or(MessageError::Contradiction)?;
        let key = schedule::derive_finish_key(first, &self.device, &self.id)?;
        let header = Header::pairing(first.kid.as_bytes(), self.id);
        let topic = Topic::Command(self.device.client.clone());
        let message: PairingFinished = message::open(envelope, &header, &key, &topic)?;
        let mac = state.keys.finish_mac(&state.confirmation)?;
        let said = message.status == Status::PairingFinished;
        if said && schedule::same(&mac, &message.mac) { Ok(()) } else { Err(MessageError::Contradiction) }
    }

    /// The device has its keys: it gets its channels, and everybody learns its certificate.
    fn finished(&mut self, control_unit: ControlUnit<'_>, now: UnixMillis) -> Result<Vec<Action>, Refusal> {
        let State::Confirmed(state) = &self.state else { return Err(Refusal::WrongState) };
        let trust = state.choice.trust();
        let certificate = Certificate::parse(&state.certificate)?;
        let channels: Vec<_> = state.channels.iter().map(|channel| channel.channel.name.clone()).collect();
        let announcement = DevicePaired {
            status: Status::DevicePaired,
            device: self.device.clone(),
            certificate: state.certificate.clone(),
            purpose: self.device.purpose(),
            trust,
        };
        let topic = Topic::Meta(self.device.client.clone());
        let payload = message::sign(control_unit.signer, None, &topic, &announcement)?;
        let paired = PairedDevice {
            device: self.device.clone(),
            information: self.information.clone(),
            key: self.key,
            certificate: state.certificate.clone(),
            serial: certificate.serial(),
            certificate_ends: certificate.validity().not_after,
            mode: state.used.unwrap_or(state.choice.mode),
            trust,
            channels: channels.clone(),
            location: self.location.clone(),
            paired_by: self.accepted_by.clone().unwrap_or_default(),
            paired_at: now,
            wrap_key: *state.keys.wrap().map_err(MessageError::from)?,
        };
        let actions = vec![
            Action::Grant(self.grant(DeviceState::Paired, vec![state.granted.clone()], channels)),
            Action::Publish { topic, payload },
            Action::Paired(Box::new(paired)),
        ];
        self.ended_at = Some(now);
        self.state = State::Finished(Box::new(Finished { choice: state.choice }));
        Ok(actions)
    }
}

/// What a device of this trust gets, by falling priority, then by name.
fn channels_for(channels: &[ChannelKey], trust: TrustLevel) -> Result<Vec<ChannelKey>, Refusal> {
    let mut channels: Vec<ChannelKey> = channels.iter().filter(|key| key.channel.trust <= trust).cloned().collect();
    channels.sort_by_cached_key(|key| (key.channel.priority, key.channel.name.clone()));
    if (1..=MAX_CHANNELS_PER_DEVICE).contains(&channels.len()) { Ok(channels) } else { Err(Refusal::NoChannels) }
}
