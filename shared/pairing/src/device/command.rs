//! Step 2 and 3 at the device: the command is checked, the keys are derived, the answer is made.

use rand_core::CryptoRng;
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::{Encrypted, Header};
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::schedule::{self, KID_ACCESS_DOWN, KID_DEVICE, PairingKeys, Parties};
use wardlink_crypto::x509::Chain;
use wardlink_protocol::UnixMillis;
use wardlink_protocol::channel::Direction;
use wardlink_protocol::identity::{Purpose, Sha256};
use wardlink_protocol::limits::{ANSWER_LIFETIME, MAX_NOTE_BYTES, MAX_TEXT_BYTES};
use wardlink_protocol::pairing::{Mode, PairingCommand, PairingRefused, PairingVerified, RefusalReason, Status};
use wardlink_protocol::topic::Topic;

use super::{Answered, DevicePairing, NetworkAccess, Provisioned, Refusal, Requesting, State, access_key, point};
use crate::message::{self, MessageError};
use crate::policy::Choice;

/// What the control unit can say under the access key.
enum Down {
    Command(Box<PairingCommand>, Box<message::Verified>),
    Refused(PairingRefused),
}

impl DevicePairing {
    /// The first command or refusal. A command that does not fit is refused and changes nothing: only its hash pins it.
    pub(super) fn receive_command<R: CryptoRng>(
        &self,
        state: &Requesting,
        provisioned: Provisioned<'_>,
        envelope: &Encrypted,
        payload: &[u8],
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<Option<State>, Refusal> {
        let root = self.known_root(provisioned);
        let (command, signer) = match self.open_down(provisioned, root, envelope, now)? {
            Down::Refused(refused) => return Ok(Some(refused_state(refused))),
            Down::Command(command, signer) => (*command, *signer),
        };
        let answered = self.answer(state, provisioned, payload, command, &signer, now, rng)?;
        Ok(Some(State::Answered(Box::new(answered))))
    }

    /// After the answer: the same command again, a refusal, or another command, which aborts.
    pub(super) fn receive_again(
        &self,
        state: &Answered,
        provisioned: Provisioned<'_>,
        envelope: &Encrypted,
        payload: &[u8],
        now: UnixMillis,
    ) -> Result<Option<State>, Refusal> {
        if schedule::same(&schedule::message_hash(payload), &state.command_hash) {
            return Ok(None);
        }
        Ok(Some(match self.open_down(provisioned, Some(state.root), envelope, now)? {
            Down::Refused(refused) => refused_state(refused),
            // Pinned by its hash: whatever else the control unit's key signed for this session, two commands are one too many.
            Down::Command(..) => State::Refused { reason: RefusalReason::ProtocolViolation, note: String::new() },
        }))
    }

    /// CertCA, where the device knows it from whichever start; none: the first valid command pins it for this session.
    pub(super) fn known_root(&self, provisioned: Provisioned<'_>) -> Option<Sha256> {
        provisioned.cert_ca.or(self.cert_ca)
    }

    /// Opens a message under the access key and verifies the control unit's signature.
    fn open_down(
        &self,
        provisioned: Provisioned<'_>,
        root: Option<Sha256>,
        envelope: &Encrypted,
        now: UnixMillis,
    ) -> Result<Down, MessageError> {
        let topic = Topic::Device(self.device.clone());
        let session = Some(self.session);
        let key = access_key(provisioned, Direction::Down, &self.session)?;
        let header = Header::pairing(KID_ACCESS_DOWN, self.session);
        let signed = message::open_signed(envelope, &header, &key, &topic)?;
        let verified = message::verify(&signed, session, &topic, root.as_ref(), now)?;
        if verified.status()? != Status::PairingRefused {
            return Ok(Down::Command(Box::new(verified.decode()?), Box::new(verified)));
        }
        let refused: PairingRefused = verified.decode()?;
        let fits = refused.session == self.session && refused.note.len() <= MAX_NOTE_BYTES;
        if fits { Ok(Down::Refused(refused)) } else { Err(MessageError::Contradiction) }
    }

    /// Checks the command, derives the keys (S6), and makes PAIRING_VERIFIED (S7).
    #[expect(clippy::too_many_arguments, reason = "the whole of step 3 comes together here")]
    fn answer<R: CryptoRng>(
        &self,
        state: &Requesting,
        provisioned: Provisioned<'_>,
        payload: &[u8],
        command: PairingCommand,
        by: &message::Verified,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<Answered, MessageError> {
        let choice = self.check_command(state, provisioned, &command, by.root, now)?;
        let control_unit_ephemeral = point(&command.ephemeral)?;
        let ephemeral = PrivateKey::from_pkcs8(&state.ephemeral)?;
        // z = ECDH(static, E) || ECDH(Ed, E)
        let keys = PairingKeys::derive(
            &provisioned.key.agree(&control_unit_ephemeral),
            &ephemeral.agree(&control_unit_ephemeral),
            &state.request,
            payload,
        )?;
        let parties = Parties {
            device: self.device.clone(),
            device_key: provisioned.key.public().fingerprint()?,
            control_unit_key: by.signer.fingerprint()?,
            device_ephemeral: ephemeral.public().to_point(),
            control_unit_ephemeral: command.ephemeral.to_vec(),
        };
        let verified = PairingVerified {
            status: Status::PairingVerified,
            mode: choice.mode,
            nonce: state.nonce,
            mac: keys.device_confirmation(&parties, choice.mode)?,
        };
        let header = Header::pairing(KID_DEVICE, self.session);
        let topic = Topic::Command(self.device.client.clone());
        let verified = message::seal(&header, &keys.device()?, &topic, &verified, rng)?;
        let mut chain = command.chain;
        chain.push(command.cert_ca);
        Ok(Answered {
            command_hash: schedule::message_hash(payload),
            root: by.root,
            gives_up_at: self.cert_ca.is_none().then(|| now.after(ANSWER_LIFETIME)),
            keys,
            nonce: state.nonce,
            choice,
            certificate: command.certificate,
            network: NetworkAccess {
                broker_host: command.broker_host,
                tls_anchors: command.tls_anchors,
                web_pki: command.web_pki,
                web_origin: command.web_origin,
                chain,
            },
            expires_at: command.expires_at,
            verified: ByteBuf::from(verified),
        })
    }

    /// Whether the command answers this request, for this key and this device, in a mode that can be followed.
    fn check_command(
        &self,
        state: &Requesting,
        provisioned: Provisioned<'_>,
        command: &PairingCommand,
        root: Sha256,
        now: UnixMillis,
    ) -> Result<Choice, MessageError> {
        if !schedule::same(&command.request_hash, &schedule::message_hash(&state.request)) {
            return Err(MessageError::Contradiction);
        }
        let mut chain = vec![command.certificate.clone()];
        chain.extend(command.chain.iter().cloned());
        chain.push(command.cert_ca.clone());
        let chain = Chain::parse(&chain)?;
        let certificate = chain.verify(&root, Purpose::Pairing, now)?;
        if certificate.device() != Some(&self.device) || *certificate.key() != provisioned.key.public() {
            return Err(MessageError::Contradiction);
        }
        let mode = match command.status {
            Status::PairingSimple => Mode::PairingSimple,
            Status::PairingCode => Mode::PairingCode,
            Status::PairingQrcode => Mode::PairingQrcode,
            _ => return Err(MessageError::Contradiction),
        };
        let unknown = self.known_root(provisioned).is_none();
        if unknown && mode == Mode::PairingSimple && !provisioned.simple_without_cert_ca {
            return Err(MessageError::SimpleWithoutCertCa);
        }
        let choice = Choice { mode, code_beside: command.code_beside };
        let display = state.display;
        let can_show = (!choice.shows_code() || display.code) && (!choice.shows_qr() || display.qr);
        let beside = !command.code_beside || mode == Mode::PairingQrcode;
        let texts = [&command.broker_host, &command.web_origin];
        let named = texts.iter().all(|text| !text.is_empty() && text.len() <= MAX_TEXT_BYTES);
        if can_show && beside && named { Ok(choice) } else { Err(MessageError::Contradiction) }
    }
}

fn refused_state(refused: PairingRefused) -> State {
    State::Refused { reason: refused.reason, note: refused.note }
}
