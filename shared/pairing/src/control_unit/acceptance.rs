//! Step 2 at the control unit: a person accepts (S4), the device gets its provisional certificate and the command (S5).

use core::time::Duration;
use rand_core::CryptoRng;
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::Header;
use wardlink_crypto::key::{PrivateKey, PublicKey};
use wardlink_crypto::schedule::{KID_ACCESS_DOWN, PairingKeys};
use wardlink_crypto::x509::{Certificate, Holder, Validity};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::grant::{DeviceState, GrantedCertificate};
use wardlink_protocol::identity::{Purpose, TrustLevel};
use wardlink_protocol::limits::MAX_NOTE_BYTES;
use wardlink_protocol::pairing::{Mode, PairingCommand};

use super::state::{Commanded, State};
use super::{Acceptance, Action, ControlUnit, Refusal, Session};
use crate::message::{self, MessageError};
use crate::policy::{self, Choice, Policy};
use crate::serial::SerialEnding;

/// How far a device's clock may be behind.
pub(crate) const CLOCK_SKEW: Duration = Duration::from_mins(5);

impl Session {
    /// A person accepts: makes E, issues the provisional certificate, and sends the command.
    pub fn accept<R: CryptoRng>(
        &mut self,
        acceptance: Acceptance,
        control_unit: ControlUnit<'_>,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<Vec<Action>, Refusal> {
        if self.is_due(now) {
            return Err(Refusal::WrongState);
        }
        let State::Requested(requested) = &self.state else { return Err(Refusal::WrongState) };
        let Acceptance { mode, location, accepted_by } = acceptance;
        if location.len() > MAX_NOTE_BYTES {
            return Err(Refusal::Text);
        }
        let choice = policy::choose_of(&self.candidates(control_unit.policy), mode)?;
        let lifetime = control_unit.policy.verification_lifetime;
        let expires_at = now.after(lifetime);
        let ephemeral = PrivateKey::make(rng);
        let certificate = self.issue(&Holder::Pairing(self.device.clone()), control_unit, now, lifetime, rng)?;
        let network = control_unit.network;
        let command = PairingCommand {
            status: choice.mode.into(),
            code_beside: choice.code_beside,
            ephemeral: ByteBuf::from(ephemeral.public().to_point()),
            request_hash: self.request_hash,
            certificate: certificate.to_bytes(),
            chain: control_unit.ca.chain_below_root(),
            cert_ca: control_unit.ca.root().to_bytes(),
            tls_anchors: network.tls_anchors.clone(),
            web_pki: network.web_pki,
            broker_host: network.broker_host.clone(),
            web_origin: network.web_origin.clone(),
            expires_at,
        };
        let header = Header::pairing(KID_ACCESS_DOWN, self.id);
        let down_key = self.down_key.to_content_key();
        let message = message::seal_signed(control_unit.signer, &header, &down_key, &self.t2(), &command, rng)?;
        let keys = self.derive_keys(&ephemeral, &requested.request, &message)?;
        let provisional = granted(&certificate, Purpose::Pairing);
        let actions = vec![
            Action::Grant(self.grant(DeviceState::Certified, vec![provisional.clone()], Vec::new())),
            self.publish_t2(&message),
        ];
        self.state = State::Commanded(Box::new(Commanded {
            choice,
            command: ByteBuf::from(message),
            signer: control_unit.signer.key.public().fingerprint().map_err(MessageError::from)?,
            ephemeral: command.ephemeral,
            keys,
            provisional,
            origin: command.web_origin,
        }));
        self.asks_serial = control_unit.policy.asks(self.network, choice);
        self.location = location;
        self.accepted_by = Some(accepted_by);
        self.accepted_at = Some(now);
        self.expires_at = Some(expires_at);
        Ok(actions)
    }

    /// Every mode that a person may choose, the proposed one first. A device without CertCA refuses simple pairing, unless it is set to
    /// take it because it can show nothing. One without a serial number cannot be asked for it, and so not be verified where it is.
    pub(super) fn candidates(&self, policy: &Policy) -> Vec<Choice> {
        let mut choices = policy.candidates(self.network, self.information.display);
        // Pairing again never lowers trust: whoever holds the access secret could take the place of a verified device.
        if self.replaces == Some(TrustLevel::Full) {
            choices.retain(|choice| choice.trust() == TrustLevel::Full);
        }
        if self.needs_answer && choices.len() > 1 {
            choices.retain(|choice| choice.mode != Mode::PairingSimple);
        }
        if SerialEnding::of(&self.information.serial_number).is_none() {
            choices.retain(|choice| !policy.asks(self.network, *choice));
        }
        choices
    }

    /// z = ECDH(static, E) || ECDH(Ed, E), and the keys. E is not needed after this.
    fn derive_keys(&self, ephemeral: &PrivateKey, request: &[u8], command: &[u8]) -> Result<PairingKeys, MessageError> {
        let static_key = PublicKey::from_point(&self.static_point)?;
        let device_ephemeral = PublicKey::from_point(&self.device_ephemeral)?;
        let (first, second) = (ephemeral.agree(&static_key), ephemeral.agree(&device_ephemeral));
        Ok(PairingKeys::derive(&first, &second, request, command)?)
    }

    pub(super) fn issue<R: CryptoRng>(
        &self,
        holder: &Holder,
        control_unit: ControlUnit<'_>,
        now: UnixMillis,
        lifetime: Duration,
        rng: &mut R,
    ) -> Result<Certificate, Refusal> {
        let key = PublicKey::from_point(&self.static_point).map_err(MessageError::from)?;
        Ok(control_unit.ca.issue(holder, &key, Validity::from_now(now, CLOCK_SKEW, lifetime), rng)?)
    }
}

pub(super) fn granted(certificate: &Certificate, purpose: Purpose) -> GrantedCertificate {
    GrantedCertificate { serial: certificate.serial(), purpose, not_after: certificate.validity().not_after }
}
