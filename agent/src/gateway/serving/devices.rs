//! The gateway's devices, as the server says which they are, and what the server is told of what they have recorded.

use super::{DEVICES_ASKED, Serving};
use crate::gateway::store::{Associated, Devices, StoreError};
use crate::gateway::troubles::Source;
use std::time::Duration;
use tokio::time::Instant;
use wardlink_protocol::Device;
use wardlink_protocol::api::Held;
use wardlink_protocol::channel::UPDATE_CHANNEL;
use wardlink_protocol::distribution::AssociatedDevice;
use wardlink_trust::associated;

/// How long it takes at least from one such question to the next, where somebody was turned away who may have been paired meanwhile.
const DEVICES_ASKED_AGAIN: Duration = Duration::from_secs(5);
/// How often the server is told what the gateway holds, while that changes.
const HOLDING_TOLD: Duration = Duration::from_mins(1);

/// What the server was told in this session of what the gateway holds.
#[derive(Default)]
pub(super) struct Holding(Option<(Held, Instant)>);

impl Holding {
    /// Whether this is to be told, and notes that it is. What changes from moment to moment is told once in a while, and the end of it at once.
    pub(super) fn is_news(&mut self, held: Held) -> bool {
        let now = Instant::now();
        let is_news = self.0.is_none_or(|(told, at)| {
            held != told && (held.records == 0 || now.saturating_duration_since(at) >= HOLDING_TOLD)
        });
        if is_news {
            self.0 = Some((held, now));
        }
        is_news
    }
}

impl Serving<'_> {
    /// The list of its devices, with their keys as this gateway alone can read them. Those that it cannot read come again: it goes on with those
    /// that it has.
    pub(super) fn listed(&self, devices: &[AssociatedDevice]) -> Result<Devices, StoreError> {
        let Devices(before) = self.shared.store.value()?.unwrap_or_default();
        let before = |device: &Device| before.iter().find(|one| one.device == *device).map(|one| one.keys.clone());
        let keys = |one: &AssociatedDevice| {
            let (sealed, member) = one.channel.as_ref().zip(self.member.as_ref())?;
            let (channel, gateway) = (UPDATE_CHANNEL.parse().ok()?, &member.identity.device);
            let opened = associated::open(sealed, &one.device, &channel, gateway, &member.keys.wrap);
            let (before, what) = (before(&one.device), format!("hub: keys of {}", one.device));
            match opened {
                // Epochs only rise: what somebody shows once more counts for nothing.
                Ok(opened) => before.filter(|before| before.newest() > opened.newest()).or(Some(opened)),
                Err(error) => {
                    self.shared.troubles.find(Source::Keys, what, error.to_string());
                    before
                }
            }
        };
        let associated = |one: &AssociatedDevice| Associated {
            device: one.device.clone(),
            has_key: one.key.is_some(),
            key: one.key.clone(),
            updates: one.updates,
            keys: keys(one).unwrap_or_default(),
        };
        let began = self.shared.troubles.begin();
        let listed = devices.iter().map(associated).collect();
        self.shared.troubles.end(Source::Keys, began);
        Ok(Devices(listed))
    }

    /// Whoever was turned away at the broker may be a device that was paired a moment ago, and who speaks under a key that is not known here may
    /// have been given it: the server is asked soon. Where no session is kept, that begins one, once in a while.
    pub(super) fn ask_for_strangers(&mut self) {
        let now = Instant::now();
        let is_away = self.connection.is_none();
        if is_away && now < self.times.strangers {
            return;
        }
        if !self.shared.broker.as_ref().is_some_and(|broker| broker.take_refused()) {
            return;
        }
        if is_away {
            self.times.strangers = now + DEVICES_ASKED;
            self.ask_due = true;
        } else if let Some(at) = self.times.devices {
            let asked = at.checked_sub(DEVICES_ASKED).unwrap_or(at);
            self.times.devices = Some(at.min(asked + DEVICES_ASKED_AGAIN));
        }
    }
}
