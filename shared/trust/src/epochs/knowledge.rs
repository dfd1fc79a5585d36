//! What one device has been given: what has to be replaced when it is trusted no longer.

use serde::{Deserialize, Serialize};
use wardlink_protocol::channel::ChannelName;
use wardlink_protocol::identity::KeyId;
use wardlink_protocol::keys::HeldKey;
use wardlink_protocol::limits::MAX_EPOCH_LEAD;
use wardlink_protocol::{Device, UnixMillis};

use super::{Action, Line, LineId, Why};

/// A line of which a device has been given keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// Which line.
    pub line: LineId,
    /// The id of the newest key that was given, whether or not it arrived.
    pub kid: KeyId,
    /// Its epoch.
    pub epoch: u64,
    /// Whether the device said that it stored it.
    pub stored: bool,
}

/// What a device's answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    /// It stored the newest key that it was given: news.
    Stored,
    /// Nothing new: said before, or an epoch that was replaced meanwhile.
    Old,
    /// It holds a lower epoch than it stored: it was restored from an earlier state. The key is to be wrapped for it again.
    Behind,
    /// It holds a higher epoch than it was given, or another key under the same number: this control unit was restored from an
    /// earlier state. The line gets an epoch above this one ([`Why::Restored`]).
    Ahead(u64),
    /// The device was never given the channel, or names an epoch that no restored state explains.
    Foreign,
}

/// Everything that one device has been given and could still know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Knowledge {
    device: Device,
    given: Vec<Given>,
}

impl Knowledge {
    /// A device that knows nothing.
    pub const fn new(device: Device) -> Self {
        Self { device, given: Vec::new() }
    }

    /// Which device.
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// The lines that it knows.
    pub fn given(&self) -> &[Given] {
        &self.given
    }

    /// What it was given of a channel.
    pub fn of_channel(&self, channel: &ChannelName) -> Option<&Given> {
        self.given.iter().find(|given| given.line.channel == *channel)
    }

    /// Notes that the line's current key is given to the device, before it is sent. Returns whether that is news.
    pub fn give(&mut self, line: &Line) -> bool {
        let Some(key) = line.current().filter(|_| line.id().covers(&self.device)) else { return false };
        let now = Given { line: line.id().clone(), kid: key.kid, epoch: key.epoch, stored: false };
        match self.given.iter_mut().find(|given| given.line == now.line) {
            Some(given) if given.kid == now.kid => false,
            Some(given) => {
                *given = now;
                true
            }
            None => {
                self.given.push(now);
                true
            }
        }
    }

    /// Takes the device's answer for one channel.
    pub fn acknowledge(&mut self, held: &HeldKey) -> Acknowledged {
        // After a change of scope a device has been given two lines of one channel: the newer one has the higher epochs.
        let newest = self.given.iter_mut().filter(|given| given.line.channel == held.channel).max_by_key(|g| g.epoch);
        let Some(given) = newest else { return Acknowledged::Foreign };
        if held.epoch > given.epoch.saturating_add(MAX_EPOCH_LEAD) {
            return Acknowledged::Foreign;
        }
        if held.epoch > given.epoch || (held.epoch == given.epoch && held.kid.is_some_and(|kid| kid != given.kid)) {
            return Acknowledged::Ahead(held.epoch);
        }
        if held.epoch == given.epoch && !given.stored && held.kid == Some(given.kid) {
            given.stored = true;
            return Acknowledged::Stored;
        }
        if held.epoch < given.epoch && given.stored {
            given.stored = false;
            return Acknowledged::Behind;
        }
        Acknowledged::Old
    }

    /// Whether the device still has to store the current key of this line.
    pub fn awaits(&self, line: &Line) -> bool {
        let current = line.current().map(|key| key.kid);
        let given = self.given.iter().find(|given| given.line == *line.id());
        line.id().covers(&self.device) && current.is_some() && given.is_none_or(|g| Some(g.kid) != current || !g.stored)
    }

    /// The device is trusted no longer: every key that it knew is replaced, those of its own end. Afterwards it knows nothing that
    /// counts.
    pub fn revoke(&mut self, cut: UnixMillis) -> Vec<Action> {
        self.given.drain(..).map(|given| replace(given, cut)).collect()
    }

    /// The device has one line no longer.
    pub fn forget(&mut self, line: &LineId) {
        self.given.retain(|given| given.line != *line);
    }
}

fn replace(given: Given, cut: UnixMillis) -> Action {
    if given.line.is_for_one_device() {
        Action::CloseLine { line: given.line, cut }
    } else {
        Action::MakeKey { line: given.line, why: Why::Cut(cut) }
    }
}
