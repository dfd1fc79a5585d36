//! A control unit that nobody made one: it knows the access secret, stands on the wire, and signs with a CA of its own.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_bytes::ByteBuf;
use wardlink_crypto::key::PrivateKey;
use wardlink_crypto::x509::{Holder, RootCa, Validity};
use wardlink_pairing::control_unit::{Acceptance, Action, Arrived, ControlUnit, Signer};
use wardlink_pairing::device::NetworkAccess;
use wardlink_pairing::policy::Policy;
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_protocol::network::{Network, NetworkOrigin};
use wardlink_protocol::pairing::Mode;
use wardlink_protocol::provisioning::AccessSecret;
use wardlink_protocol::stamp::{Publisher, StampedMessage};
use wardlink_protocol::{Device, UnixMillis};

use crate::mqtt::rng;

/// Whom a usurper answers, and with what.
pub struct Usurper {
    /// The hospital's access secret.
    pub secret: AccessSecret,
    /// The device that asks.
    pub device: Device,
    /// Its key, which stands in its request.
    pub key: KeyFingerprint,
    /// Where it is to send people.
    pub origin: String,
    /// What time it is.
    pub now: UnixMillis,
}

impl Usurper {
    /// A command that answers this request, whole, as it would stand on T2.
    pub fn command(&self, request: &[u8]) -> Result<Vec<u8>> {
        let day = Duration::from_hours(24);
        let validity = Validity { not_before: UnixMillis(self.now.0 - 1000), not_after: self.now.after(day) };
        let root = RootCa::make("Usurper", validity, &mut rng())?;
        let ca = root.make_issuing_ca("Usurper's CA", validity, &mut rng())?;
        let key = PrivateKey::make(&mut rng());
        let own = ca.issue(&Holder::ControlUnit("Usurper".to_owned()), &key.public(), validity, &mut rng())?;
        let chain = [vec![own.to_bytes()], ca.chain()].concat();
        let host = self.origin.trim_start_matches("http://").to_owned();
        let network = NetworkAccess {
            broker_host: host,
            tls_anchors: Vec::new(),
            web_pki: true,
            web_origin: self.origin.clone(),
            chain: Vec::new(),
        };
        let policy = Policy::default();
        let control_unit = ControlUnit {
            signer: Signer { key: &key, chain: &chain },
            ca: &ca,
            policy: &policy,
            network: &network,
            channels: &[],
        };
        let stamped = StampedMessage {
            topic: format!("ais/register/{}", self.device.client),
            payload: ByteBuf::from(request),
            publisher: Publisher::Key { key: self.key, device: self.device.clone(), certificate: None },
            accepted_at: self.now,
            sequence: 1,
            network: NetworkOrigin::default(),
        };
        let mut session = Arrived::parse(&stamped)?.open(&self.secret, Network::Untrusted, None, &policy)?;
        let acceptance =
            Acceptance { mode: Some(Mode::PairingCode), location: String::new(), accepted_by: String::new() };
        let actions = session.accept(acceptance, control_unit, self.now, &mut rng())?;
        let command = actions.into_iter().find_map(|action| match action {
            Action::Publish { payload, .. } => Some(payload),
            _ => None,
        });
        command.context("an acceptance publishes the command")
    }
}
