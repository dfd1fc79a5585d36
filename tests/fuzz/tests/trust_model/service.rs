//! A server application that asks for keys, and remembers everything that it was ever given.

use rand::Rng as _;
use rand::rngs::StdRng;
use serde_bytes::ByteBuf;
use wardlink_crypto::schedule::WrapKeys;
use wardlink_protocol::channel::{ChannelKey, ChannelName};
use wardlink_protocol::identity::KeyFingerprint;
use wardlink_protocol::service::{ChannelOfClass, KnownDevice, ServiceAccess};
use wardlink_protocol::{Device, UnixMillis};
use wardlink_trust::epochs::Line;
use wardlink_trust::services;
use wardlink_trust::wrap::WrapKey;

/// A service, and what the site knows of it.
pub(crate) struct Service {
    pub(crate) name: Device,
    keys: WrapKeys,
    pub(crate) access: ServiceAccess,
    pub(crate) revoked: bool,
    /// The key of its certificate, and when that ends.
    pub(crate) current: Option<(KeyFingerprint, UnixMillis)>,
    /// Every key that it was ever given.
    pub(crate) ever: Vec<ChannelKey>,
}

impl Service {
    pub(crate) fn enrolled(number: usize, channel: &ChannelName, client: &str, rng: &mut StdRng) -> Self {
        let name = Device::service(format!("s{number}").parse().unwrap());
        let mut wrap_key = [0; 32];
        rng.fill_bytes(&mut wrap_key);
        let reads = [ChannelOfClass { channel: channel.clone(), client: client.parse().unwrap() }].into();
        Self {
            keys: WrapKey::new(wrap_key).keys(&name).unwrap(),
            name,
            access: ServiceAccess { reads, ..ServiceAccess::default() },
            revoked: false,
            current: None,
            ever: Vec::new(),
        }
    }

    /// Asks the site, which has these lines, for the keys of a channel of a device, which has the channel or not. A revoked one is not answered.
    pub(crate) fn ask(
        &mut self,
        channel: &ChannelName,
        device: &Device,
        lines: (Vec<Line>, bool),
        now: UnixMillis,
        rng: &mut StdRng,
    ) {
        let question = services::ask(channel.clone(), device.clone(), &self.name, &self.keys, rng).unwrap();
        let asked = services::open_question(&question, &self.name, &self.keys).unwrap();
        if self.revoked || !self.access.has_keys(&asked.channel, &asked.device) {
            return;
        }
        let known = KnownDevice { certificate: ByteBuf::from(vec![1]), trusted: true };
        let answer = services::answer(&question, &asked, lines, Some(known), &self.name, &self.keys, rng).unwrap();
        let given = services::open_answer(&answer, &question, &self.name, &self.keys).unwrap();
        for line in &given.lines {
            self.ever.extend(line.epochs(now).map(|(epoch, _)| epoch.key.clone()));
        }
    }
}
