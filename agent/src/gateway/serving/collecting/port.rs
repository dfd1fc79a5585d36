//! A device's port, as its gateway sees it (Distribution, figure 13, 272 to 274).

use crate::gateway::store::{Store, StoreError};
use crate::gateway::stored::Holdings;
use crate::link::Identity;
use crate::mailbox::{Direction, MAX_LETTERS, Mailbox};
use serde_bytes::ByteBuf;
use std::io;
use std::path::Path;
use wardlink_crypto::key::PublicKey;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_records::collector::{self, MAX_SAID_BYTES};
use wardlink_records::exchange::{Downward, MAX_UPWARD_BYTES, RefusedBatch, Upward};
use wardlink_records::sending::Trigger;

/// The most refusals that a device is told again at once: there is room for more beside them.
const MAX_TOLD_AGAIN: usize = 4;

/// Why nothing goes on at a port.
#[derive(Debug, thiserror::Error)]
pub(super) enum PortFault {
    /// Our store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The port's folder.
    #[error("its port: {0}")]
    Folder(#[from] io::Error),
}

/// The port, and who speaks there.
pub(super) struct Port<'a> {
    device: &'a Device,
    up: Mailbox,
    down: Mailbox,
    identity: &'a Identity,
    /// The gateway's certificate and those above it.
    chain: &'a [ByteBuf],
}

impl<'a> Port<'a> {
    pub(super) fn new(ports: &Path, device: &'a Device, identity: &'a Identity, chain: &'a [ByteBuf]) -> Self {
        let up = Mailbox::new(ports, device, Direction::Up, MAX_UPWARD_BYTES);
        let down = Mailbox::new(ports, device, Direction::Down, MAX_SAID_BYTES);
        Self { device, up, down, identity, chain }
    }

    /// Tells the device, signed; false where it has not read what was told before.
    pub(super) fn tell(&self, message: &Downward) -> io::Result<bool> {
        let said = collector::sign(message, self.device, &self.identity.key, self.chain).map_err(io::Error::other)?;
        self.down.put(&said)
    }

    /// Asks the device for what it has; false where it has not been told. Who polls does not ask what has yet to read something. What it
    /// was told `before`, and may not have heard, it is told again.
    pub(super) fn ask(&self, trigger: Trigger, before: Vec<RefusedBatch>) -> io::Result<bool> {
        if trigger == Trigger::Poll && self.down.count()? > 0 {
            return Ok(false);
        }
        for refused in before.into_iter().take(MAX_TOLD_AGAIN) {
            self.tell(&Downward::Refused(refused))?;
        }
        self.tell(&Downward::Send(trigger))
    }

    /// Takes what the device has brought. A batch is durable before the device is told so. What cannot be read is `unreadable`, until
    /// something is kept: the device does not know which batch it was, and brings it again. No more is taken than is `left` to be.
    pub(super) fn collect(
        &self,
        store: &Store,
        stored: &mut Holdings,
        (key, unreadable): (&PublicKey, &mut Option<String>),
        now: UnixMillis,
        left: &mut usize,
    ) -> Result<(), PortFault> {
        // While the device reads nothing, what it brought stays, and it brings nothing more.
        let room = MAX_LETTERS.saturating_sub(self.down.count()?);
        for letter in self.up.letters(room.min(*left))? {
            *left = left.saturating_sub(1);
            match Upward::decode(&letter.bytes) {
                Ok(Upward::Batch(batch)) => {
                    let answer = stored.take(store, self.device, key, &batch, now)?;
                    match &answer {
                        Downward::Refused(refused) => {
                            let (step, reason) = (&refused.step, &refused.reason);
                            tracing::warn!(device = %self.device, step, reason, "stored data is refused");
                            if refused.key.is_none() {
                                *unreadable = Some(format!("what it brings is refused ({step}): {reason}"));
                            }
                        }
                        _ => *unreadable = None,
                    }
                    self.tell(&answer)?;
                }
                Err(error) => *unreadable = Some(format!("a message at its port says nothing: {error}")),
            }
            self.up.remove(&letter)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
