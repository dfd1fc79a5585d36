//! The keyring of a site: which network keys there are, who knows them, and until when each counts.
//!
//! A [`Line`] is the keys of one channel for one class or for one device, epoch after epoch; it is small, so that a shell stores
//! each as a row of its own. [`Knowledge`] is what one device has been given: what has to be replaced when the device is trusted
//! no longer. [`Rekeying`] brings new epochs to many devices, slice by slice, so that ten thousand of them stall nobody. Nothing
//! here acts: an [`Action`] says what the shell is to do, after it stored the values that it got.
//!
//! An epoch is accepted by the time at which the *bridge* stamped a message: a message that waits in a log is judged like one that
//! was read at once. After a rotation the epoch before counts for [`KEY_OVERLAP`] more; after a revocation only for what was
//! stamped before the cut, from senders who are still trusted.

use core::fmt;
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use wardlink_protocol::channel::{Channel, ChannelKey, ChannelName, KeyScope};
use wardlink_protocol::identity::KeyId;
use wardlink_protocol::limits::{
    KEY_OVERLAP, KEY_RETENTION, MAX_CLOCK_SKEW, MAX_EPOCH_LEAD, MAX_READABLE_EPOCHS, MAX_RETIRED_EPOCHS,
};
use wardlink_protocol::{ClientClass, Device, DeviceIdentifier, UnixMillis};
use zeroize::Zeroize;

mod knowledge;
mod rekeying;

pub use knowledge::{Acknowledged, Given, Knowledge};
pub use rekeying::{Progress, Recipient, Rekeying, Target};

/// Whose keys a line holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineId {
    /// The channel.
    pub channel: ChannelName,
    /// The class.
    pub client: ClientClass,
    /// The one device; none where the whole class shares the key.
    pub identifier: Option<DeviceIdentifier>,
}

impl LineId {
    /// The line that gives `device` its key of this channel.
    pub fn of(channel: &Channel, device: &Device) -> Self {
        let identifier = match channel.scope {
            KeyScope::Class => None,
            KeyScope::Device => Some(device.identifier.clone()),
        };
        Self { channel: channel.name.clone(), client: device.client.clone(), identifier }
    }

    /// The line of a whole class.
    pub fn of_class(channel: &ChannelName, client: &ClientClass) -> Self {
        Self { channel: channel.clone(), client: client.clone(), identifier: None }
    }

    /// Whether the key is for one device only.
    pub const fn is_for_one_device(&self) -> bool {
        self.identifier.is_some()
    }

    /// Whether the key can be given to this device.
    pub fn covers(&self, device: &Device) -> bool {
        self.client == device.client && self.identifier.as_ref().is_none_or(|own| *own == device.identifier)
    }
}

impl fmt::Display for LineId {
    /// `<channel> of <client>`, or `<channel> of <client>/<identifier>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.identifier {
            None => write!(f, "{} of {}", self.channel, self.client),
            Some(identifier) => write!(f, "{} of {}/{identifier}", self.channel, self.client),
        }
    }
}

/// Why a line gets a new epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The channel's rotation is due.
    Schedule,
    /// A person asked for it.
    ByHand,
    /// The row of policy has changed.
    Policy,
    /// A device that knew the key was revoked, or lost the channel with its trust. Nothing stamped from then on counts under an
    /// earlier epoch.
    Cut(UnixMillis),
    /// A device holds a higher epoch than the site, which was restored from an earlier state: the next one is above both.
    Restored {
        /// What the device holds.
        above: u64,
    },
}

/// What the shell is to do. Doing it twice does no harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Give the line a new epoch with [`Line::replace`], and store it; where there is no such line, [`Line::begin`].
    MakeKey {
        /// Which line.
        line: LineId,
        /// Why.
        why: Why,
    },
    /// End the line with [`Line::close`].
    CloseLine {
        /// Which line.
        line: LineId,
        /// From when on nothing counts under it.
        cut: UnixMillis,
    },
    /// Note the line's current key as given ([`Knowledge::give`]), store that, and publish it to the device
    /// ([`crate::wrap::wrap`]).
    WrapFor {
        /// The device.
        device: Device,
        /// Which line.
        line: LineId,
    },
    /// Tell the device that it has the channel no longer ([`crate::wrap::withdraw`]), and take it from its rights before.
    Withdraw {
        /// The device.
        device: Device,
        /// The channel.
        channel: ChannelName,
    },
}

/// One epoch of a line.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// The key, and the row of policy that it was made for.
    pub key: ChannelKey,
    /// When it was made.
    pub made_at: UnixMillis,
    /// The first moment whose messages no longer count; none for the current epoch.
    pub accepted_until: Option<UnixMillis>,
}

/// An epoch that has ended and whose key is erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retired {
    /// The id of its key.
    pub kid: KeyId,
    /// Its number.
    pub epoch: u64,
}

/// How an epoch stands at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Everybody uses it.
    Current,
    /// The epoch before: accepted until then.
    Overlap(UnixMillis),
    /// Kept to read what was stamped until then.
    Ended(UnixMillis),
}

/// Why a line cannot be changed so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The caller's fault: a row of another channel, or of another key scope.
    #[error("the row of policy belongs to another line of keys")]
    ForeignRow,
    /// Our fault: as many epochs as can be counted.
    #[error("the line of keys has no epoch left")]
    UsedUp,
}

/// Why a message does not count under its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    /// The peer's fault: under a network key that was never one of this line.
    #[error("the message is under an unknown network key")]
    Unknown,
    /// The peer's fault, or a sender that was away too long: the epoch has ended.
    #[error("the message is under a network key that is retired")]
    Retired,
    /// The peer's fault: the sender is trusted no longer, whenever it wrote.
    #[error("the sender is trusted no longer")]
    Sender,
    /// The bridge's fault: stamped before its key was made, or in the future.
    #[error("the message's stamp contradicts the time")]
    Stamp,
}

/// The keys of one channel for one class or one device. It holds secrets: the shell seals it before it stores it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    id: LineId,
    /// The highest epoch that ever was.
    highest: u64,
    /// Newest first.
    epochs: Vec<Epoch>,
    /// Newest first.
    retired: Vec<Retired>,
}

impl Line {
    /// Begins a line with its first epoch, above `above`: the highest epoch that this channel ever had in this class, in whatever
    /// scope; 0 for none.
    pub fn begin<R: CryptoRng>(
        id: LineId,
        channel: Channel,
        above: u64,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<Self, LineError> {
        let mut line = Self { id, highest: above, epochs: Vec::new(), retired: Vec::new() };
        line.check_row(&channel)?;
        line.push(channel, now, rng)?;
        Ok(line)
    }

    /// Whose keys they are.
    pub const fn id(&self) -> &LineId {
        &self.id
    }

    /// The highest epoch that ever was.
    pub const fn highest(&self) -> u64 {
        self.highest
    }

    /// The key in force; none where the line was closed.
    pub fn current(&self) -> Option<&ChannelKey> {
        self.epochs.first().filter(|epoch| epoch.accepted_until.is_none()).map(|epoch| &epoch.key)
    }

    /// Until when the epoch before the current one is accepted; the beginning of time where there is none.
    pub fn previous_until(&self) -> UnixMillis {
        self.epochs.get(1).and_then(|epoch| epoch.accepted_until).unwrap_or_default()
    }

    /// The epochs whose keys are still kept, with their standing at this time, newest first.
    pub fn epochs(&self, now: UnixMillis) -> impl Iterator<Item = (&Epoch, Standing)> {
        self.epochs.iter().map(move |epoch| {
            let standing = match epoch.accepted_until {
                None => Standing::Current,
                Some(until) if now < until => Standing::Overlap(until),
                Some(until) => Standing::Ended(until),
            };
            (epoch, standing)
        })
    }

    /// Gives the line a new epoch, for the row of policy as it is now. The time is the control unit's.
    pub fn rotate<R: CryptoRng>(
        &mut self,
        channel: Channel,
        why: Why,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<(), LineError> {
        self.check_row(&channel)?;
        if let Why::Restored { above } = why {
            self.highest = self.highest.max(above.min(self.highest.saturating_add(MAX_EPOCH_LEAD)));
        }
        if self.highest == u64::MAX {
            return Err(LineError::UsedUp);
        }
        match why {
            Why::Cut(cut) => self.end_all(cut),
            Why::Schedule | Why::ByHand | Why::Policy | Why::Restored { .. } => {
                for epoch in self.epochs.iter_mut().filter(|epoch| epoch.accepted_until.is_none()) {
                    epoch.accepted_until = Some(now.after(KEY_OVERLAP));
                }
            }
        }
        self.push(channel, now, rng)
    }

    /// Gives the line a new epoch where policy has a row for it, and ends it where it has none any more, or one of another scope.
    pub fn replace<R: CryptoRng>(
        &mut self,
        channel: Option<&Channel>,
        why: Why,
        now: UnixMillis,
        rng: &mut R,
    ) -> Result<(), LineError> {
        if let Some(channel) = channel.filter(|channel| self.check_row(channel).is_ok()) {
            return self.rotate(channel.clone(), why, now, rng);
        }
        self.close(match why {
            Why::Cut(cut) => cut,
            _ => now.after(KEY_OVERLAP),
        });
        Ok(())
    }

    /// Ends the line: nothing that is stamped from `cut` on counts under it.
    pub fn close(&mut self, cut: UnixMillis) {
        self.end_all(cut);
    }

    /// When the key in force has been used as long as its row allows; none where the line was closed.
    pub fn due_at(&self) -> Option<UnixMillis> {
        let epoch = self.epochs.first().filter(|epoch| epoch.accepted_until.is_none())?;
        let used = core::time::Duration::from_secs(epoch.key.channel.rotation_secs);
        Some(epoch.made_at.after(used))
    }

    /// When [`Line::tick`] has something to erase.
    pub fn erases_at(&self) -> Option<UnixMillis> {
        self.epochs.iter().filter_map(|epoch| epoch.accepted_until).map(|until| until.after(KEY_RETENTION)).min()
    }

    /// Erases what nobody reads any more. Returns whether something changed.
    pub fn tick(&mut self, now: UnixMillis) -> bool {
        let before = self.epochs.len();
        let over = |epoch: &Epoch| epoch.accepted_until.is_some_and(|until| now >= until.after(KEY_RETENTION));
        let (ended, kept) = core::mem::take(&mut self.epochs).into_iter().partition(over);
        self.epochs = kept;
        self.retire(ended);
        self.epochs.len() != before
    }

    /// The key under which a message counts that the bridge stamped at `stamped_at`, by its kid. `trusted` says whether its sender
    /// is trusted now.
    pub fn admit(
        &self,
        kid: &[u8],
        stamped_at: UnixMillis,
        trusted: bool,
        now: UnixMillis,
    ) -> Result<&ChannelKey, KeyRefusal> {
        let Some(epoch) = self.epochs.iter().find(|epoch| epoch.key.kid.as_bytes() == kid) else {
            let retired = self.retired.iter().any(|retired| retired.kid.as_bytes() == kid);
            return Err(if retired { KeyRefusal::Retired } else { KeyRefusal::Unknown });
        };
        if !trusted {
            return Err(KeyRefusal::Sender);
        }
        if stamped_at.after(MAX_CLOCK_SKEW) < epoch.made_at || stamped_at > now.after(MAX_CLOCK_SKEW) {
            return Err(KeyRefusal::Stamp);
        }
        match epoch.accepted_until {
            Some(until) if stamped_at >= until => Err(KeyRefusal::Retired),
            _ => Ok(&epoch.key),
        }
    }

    fn check_row(&self, channel: &Channel) -> Result<(), LineError> {
        let for_one_device = channel.scope == KeyScope::Device;
        let fits = channel.name == self.id.channel && for_one_device == self.id.is_for_one_device();
        if fits { Ok(()) } else { Err(LineError::ForeignRow) }
    }

    /// Every epoch ends at `cut`, where it did not end before.
    fn end_all(&mut self, cut: UnixMillis) {
        for epoch in &mut self.epochs {
            epoch.accepted_until = Some(epoch.accepted_until.map_or(cut, |until| until.min(cut)));
        }
    }

    fn push<R: CryptoRng>(&mut self, channel: Channel, now: UnixMillis, rng: &mut R) -> Result<(), LineError> {
        let number = self.highest.checked_add(1).ok_or(LineError::UsedUp)?;
        let mut kid = [0; KeyId::LENGTH];
        rng.fill_bytes(&mut kid);
        let mut key = ChannelKey { channel, kid: KeyId(kid), epoch: number, key: [0; 32] };
        rng.fill_bytes(&mut key.key);
        self.highest = number;
        self.epochs.insert(0, Epoch { key, made_at: now, accepted_until: None });
        let oldest = self.epochs.split_off(self.epochs.len().min(MAX_READABLE_EPOCHS));
        self.retire(oldest);
        Ok(())
    }

    /// Erases the keys of ended epochs, newest first, and remembers their ids.
    fn retire(&mut self, ended: Vec<Epoch>) {
        let retired = ended.into_iter().map(|mut epoch| {
            epoch.key.key.zeroize();
            Retired { kid: epoch.key.kid, epoch: epoch.key.epoch }
        });
        self.retired.splice(0..0, retired);
        self.retired.truncate(MAX_RETIRED_EPOCHS);
    }
}

#[cfg(test)]
mod tests;
