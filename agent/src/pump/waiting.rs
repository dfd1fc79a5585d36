//! What a pump does while its disk takes nothing, such as for lack of room. The therapy goes on, and is reported; nothing is taken or
//! acknowledged that cannot be stored. Once the disk takes something again, the pump goes on with what is stored, as after a power loss.

use super::coupling::Access;
use super::journal::Event;
use super::{Pump, PumpError, Stored};
use crate::link::LinkEvent;
use std::time::Duration;
use tokio::time::Instant;

/// The pause before a disk that took nothing is tried again.
const DISK_PAUSE: Duration = Duration::from_secs(5);

impl Pump {
    /// Whether the disk took nothing when it was tried last.
    pub(super) const fn waits_for_disk(&self) -> bool {
        self.times.disk.is_some()
    }

    /// A step could not be stored, and so counts as not done: that is said once. Whatever else is wrong ends the pump.
    pub(super) fn wait_for_disk(&mut self, error: PumpError) -> Result<(), PumpError> {
        if !error.is_of_disk() {
            return Err(error);
        }
        if self.times.disk.replace(Instant::now() + DISK_PAUSE).is_none() {
            let message = error.to_string();
            self.screen.send_modify(|screen| screen.trouble = Some(message.clone()));
            self.tell(Event::Error { message });
        }
        Ok(())
    }

    /// Reports go on. Nothing is taken: it comes again on the next connection, which begins with [`Pump::begin_anew`].
    pub(super) fn on_link_meanwhile(&mut self, event: &LinkEvent) -> Result<(), PumpError> {
        match event {
            LinkEvent::Connected | LinkEvent::Disconnected { .. } => {
                self.online = matches!(event, LinkEvent::Connected);
                let online = self.online;
                self.screen.send_modify(|screen| screen.online = online);
                if online {
                    self.send_waiting();
                }
                Ok(())
            }
            LinkEvent::Delivered { ticket, .. } => self.report_delivered(*ticket),
            LinkEvent::Refused { ticket, .. } => {
                self.report_refused(*ticket);
                Ok(())
            }
            LinkEvent::Message { .. } | LinkEvent::Subscribed { .. } | LinkEvent::SubscriptionRefused { .. } => Ok(()),
        }
    }

    /// Goes on with what is stored, on a connection of its own, once the disk takes something again.
    pub(super) fn begin_anew(&mut self) -> Result<(), PumpError> {
        self.state.next_boot()?;
        self.store_kept()?;
        let Stored { key, pairing, snapshot, leaving, is_gone } = Stored::read(&self.state)?;
        self.sign_with(key);
        (self.pairing, self.stored, self.leaving, self.is_gone) = (pairing, snapshot, leaving, is_gone);
        (self.trust, self.renewing, self.ordered) = (None, None, None);
        (self.link, self.published, self.access, self.online) = (None, None, Access::default(), false);
        (self.times.publish, self.times.turn) = (None, None);
        self.take_reports_back();
        self.begin()?;
        self.times.disk = None;
        Ok(())
    }
}
