//! What the service knows of the devices that it hears: asked for when it is needed, and forgotten when it may have changed.

use crate::clock;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use wardlink_crypto::key::PublicKey;
use wardlink_crypto::schedule::WrapKeys;
use wardlink_crypto::x509::Certificate;
use wardlink_pairing::enrolment::Enrolled;
use wardlink_protocol::channel::ChannelName;
use wardlink_protocol::{ClientClass, Device};
use wardlink_trust::epochs::Line;
use wardlink_trust::inbox::KnownSender;
use wardlink_trust::services::{self, ServiceKeys};
use wardlink_trust::wrap::{WrapError, WrapKey};
use zeroize::Zeroizing;

/// How long an answer is believed, where nothing on T4 says that it has changed.
const BELIEVED: Duration = Duration::from_mins(10);
/// How often one device may make the service ask again within [`AGAIN_PERIOD`].
const MAX_AGAIN: u32 = 10;
/// See [`MAX_AGAIN`].
const AGAIN_PERIOD: Duration = Duration::from_secs(10);

/// One answer of the site.
pub(crate) struct Known {
    lines: Vec<Line>,
    sender: Option<(PublicKey, bool)>,
    since: Instant,
}

impl Known {
    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    pub(crate) fn sender<'a>(&'a self, device: &'a Device) -> Option<KnownSender<'a>> {
        self.sender.as_ref().map(|(key, trusted)| KnownSender { device, key, trusted: *trusted })
    }
}

/// The service's wrapping keys, and what they brought.
pub(crate) struct Keys {
    service: Device,
    wrapping: WrapKeys,
    known: BTreeMap<(Device, ChannelName), Known>,
    /// How often a device's messages made the service ask again, since when.
    again: BTreeMap<Device, (Instant, u32)>,
}

impl Keys {
    pub(crate) fn new(enrolled: &Enrolled) -> Result<Self, WrapError> {
        let service = Device::service(enrolled.name.clone());
        let wrapping = WrapKey::new(enrolled.wrap_key).keys(&service)?;
        Ok(Self { service, wrapping, known: BTreeMap::new(), again: BTreeMap::new() })
    }

    pub(crate) fn knows(&self, channel: &ChannelName, device: &Device) -> bool {
        self.of(channel, device).is_some_and(|known| known.since.elapsed() < BELIEVED)
    }

    pub(crate) fn of(&self, channel: &ChannelName, device: &Device) -> Option<&Known> {
        self.known.get(&(device.clone(), channel.clone()))
    }

    pub(crate) fn ask(&self, channel: &ChannelName, device: &Device) -> Result<Vec<u8>, WrapError> {
        services::ask(channel.clone(), device.clone(), &self.service, &self.wrapping, &mut clock::rng())
    }

    pub(crate) fn learn(
        &mut self,
        channel: &ChannelName,
        device: &Device,
        question: &[u8],
        answer: &[u8],
    ) -> Result<(), WrapError> {
        let ServiceKeys { lines, device: sender, .. } =
            services::open_answer(answer, question, &self.service, &self.wrapping)?;
        let sender = sender.and_then(|sender| {
            let certificate = Certificate::parse(&sender.certificate).ok()?;
            let own = certificate.purpose() == Some(device.purpose()) && certificate.device() == Some(device);
            own.then(|| (*certificate.key(), sender.trusted))
        });
        self.known.insert((device.clone(), channel.clone()), Known { lines, sender, since: Instant::now() });
        Ok(())
    }

    /// A question for stored data after a position.
    pub(crate) fn ask_for_records(&self, after: u64) -> Result<Vec<u8>, WrapError> {
        services::ask_for_records(after, &self.service, &self.wrapping, &mut clock::rng())
    }

    /// Opens the answer to it.
    pub(crate) fn open_records(&self, answer: &[u8], question: &[u8]) -> Result<Zeroizing<Vec<u8>>, WrapError> {
        services::open_records(answer, question, &self.service, &self.wrapping)
    }

    pub(crate) fn forget(&mut self, client: &ClientClass) {
        self.known.retain(|(device, _), _| device.client != *client);
    }

    pub(crate) fn forget_one(&mut self, channel: &ChannelName, device: &Device) {
        self.known.remove(&(device.clone(), channel.clone()));
    }

    /// Whether what a device sends may make the service ask again: one that sends junk makes nobody wait for long.
    pub(crate) fn may_ask_again(&mut self, device: &Device) -> bool {
        let now = Instant::now();
        let (since, count) = self.again.entry(device.clone()).or_insert((now, 0));
        if since.elapsed() >= AGAIN_PERIOD {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= MAX_AGAIN
    }

    pub(crate) fn forget_all(&mut self) {
        self.known.clear();
    }
}
