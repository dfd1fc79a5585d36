//! What a gateway says of itself to other programs: with `--json` one line for each event, beside those of its coupling ([`crate::pump::journal`]).

use super::status::{Status, Trouble};
use crate::clock;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use wardlink_protocol::{Device, UnixMillis};
use wardlink_update::metadata::{TargetPath, Version};
use wardlink_update::package::Revision;
use wardlink_update::uptane::{Install, Notification, Outcome};

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
    /// When.
    pub at: UnixMillis,
    /// To which gateway.
    #[serde(serialize_with = "as_text")]
    pub device: Device,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Its session with the server stands.
    SessionBegun,
    /// It stands no more.
    SessionEnded,
    /// It has heard of a newer directive.
    DirectiveHeard {
        /// The directive's version.
        directive: Version,
    },
    /// With this directive there is nothing left to do.
    DirectiveDone {
        /// The directive's version.
        directive: Version,
    },
    /// It brings an image for a device, to install it or to hand it on.
    UpdateBegun {
        /// The device.
        #[serde(serialize_with = "as_text")]
        of: Device,
        /// The directive's version.
        directive: Version,
        /// The package.
        path: TargetPath,
        /// The revision that the device has then.
        revision: Revision,
    },
    /// Something has come of an update: it is installed, failed, refused, corrupt, or waits. The server is told the same.
    Update {
        /// The device.
        #[serde(serialize_with = "as_text")]
        of: Device,
        /// The directive's version.
        directive: Version,
        /// The package, where one was found.
        path: Option<TargetPath>,
        /// Its revision, as far as this run of the gateway knows it.
        revision: Option<Revision>,
        /// What.
        outcome: Outcome,
    },
    /// The server has stored data of a device, and it is deleted here.
    Uploaded {
        /// The device.
        #[serde(serialize_with = "as_text")]
        of: Device,
        /// How many batches.
        batches: usize,
    },
    /// Something does not work.
    Trouble {
        /// What.
        what: String,
        /// Why, and what to do.
        why: String,
    },
    /// It works again.
    TroubleOver {
        /// What.
        what: String,
    },
}

fn as_text<S: serde::Serializer>(device: &Device, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(device)
}

/// The update of a device that was begun last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Begun {
    directive: Version,
    path: TargetPath,
    revision: Revision,
}

/// Says what happens to whoever follows it.
pub(super) struct Events {
    gateway: Device,
    follower: Mutex<Option<mpsc::UnboundedSender<Entry>>>,
    begun: Mutex<BTreeMap<Device, Begun>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Events {
    pub(super) fn new(gateway: Device) -> Self {
        Self { gateway, follower: Mutex::default(), begun: Mutex::default() }
    }

    /// What happens from now on. Whoever followed before hears no more.
    pub(super) fn follow(&self) -> mpsc::UnboundedReceiver<Entry> {
        let (sender, entries) = mpsc::unbounded_channel();
        *locked(&self.follower) = Some(sender);
        entries
    }

    /// Says it; where nobody follows any more, nothing happens.
    pub(super) fn say(&self, event: Event) {
        let mut follower = locked(&self.follower);
        let entry = Entry { event, at: clock::now(), device: self.gateway.clone() };
        if follower.as_ref().is_some_and(|follower| follower.send(entry).is_err()) {
            *follower = None;
        }
    }

    /// An update is begun: said once for each directive.
    pub(super) fn begins(&self, install: &Install, directive: Version) {
        let (path, revision) = (install.path.clone(), install.package.post_revision.clone());
        let begun = Begun { directive, path: path.clone(), revision: revision.clone() };
        if locked(&self.begun).insert(install.device.clone(), begun.clone()).is_none_or(|before| before != begun) {
            self.say(Event::UpdateBegun { of: install.device.clone(), directive, path, revision });
        }
    }

    /// Something has come of an update.
    pub(super) fn told(&self, told: Notification) {
        let Notification { device: of, directive, path, outcome } = told;
        if outcome == Outcome::Begun {
            return;
        }
        let begun = locked(&self.begun).get(&of).filter(|begun| Some(&begun.path) == path.as_ref()).cloned();
        let revision = match &outcome {
            Outcome::Installed { revision, .. } => Some(revision.clone()),
            _ => begun.map(|begun| begun.revision),
        };
        self.say(Event::Update { of, directive, path, revision, outcome });
    }

    /// The gateway stands otherwise than before.
    pub(super) fn changed(&self, before: &Status, now: &Status) {
        if before.is_connected != now.is_connected {
            self.say(if now.is_connected { Event::SessionBegun } else { Event::SessionEnded });
        }
        // What is shown first was so before this run.
        let was_shown = before.own.is_some();
        if was_shown && now.directive_heard > before.directive_heard {
            self.say(Event::DirectiveHeard { directive: now.directive_heard });
        }
        if was_shown && now.directive_done > before.directive_done {
            self.say(Event::DirectiveDone { directive: now.directive_done });
        }
        let is_same = |one: &Trouble, other: &Trouble| (&one.what, &one.why) == (&other.what, &other.why);
        for found in now.troubles.iter().filter(|found| !before.troubles.iter().any(|other| is_same(found, other))) {
            self.say(Event::Trouble { what: found.what.clone(), why: found.why.clone() });
        }
        for over in &before.troubles {
            if now.troubles.iter().all(|found| found.what != over.what) {
                self.say(Event::TroubleOver { what: over.what.clone() });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn status(change: impl FnOnce(&mut Status)) -> Status {
        let mut status = serde_json::from_value(serde_json::json!({
            "version": "1", "gateway": {"client": "gateway", "identifier": "ward-3"}, "is_paired": true, "is_connected": false,
            "last_contact": null, "directive_heard": 3, "directive_done": 3, "manufacturers": [], "outcomes_waiting": 0, "devices": [],
            "own": {"is_updated_here": true, "state": {"characteristics": {
                "device": {"client": "gateway", "identifier": "ward-3"}, "manufacturer": "acme", "model": "G1", "serial_number": "1",
                "revision": "1A", "hardware": "B"}}},
            "troubles": []
        }))
        .unwrap();
        change(&mut status);
        status
    }

    fn said(entries: &mut mpsc::UnboundedReceiver<Entry>) -> Vec<Event> {
        std::iter::from_fn(|| entries.try_recv().ok()).map(|entry| entry.event).collect()
    }

    #[test]
    fn a_line_says_what_when_and_to_which_gateway() {
        let event = Event::Uploaded { of: "scale/s1".parse().unwrap(), batches: 2 };
        let entry = Entry { event, at: UnixMillis(5), device: "gateway/ward-3".parse().unwrap() };
        assert_eq!(
            serde_json::to_string(&entry).unwrap(),
            r#"{"event":"uploaded","of":"scale/s1","batches":2,"at":5,"device":"gateway/ward-3"}"#
        );
    }

    #[test]
    fn whatever_changes_is_said_once() {
        let events = Events::new("gateway/ward-3".parse().unwrap());
        let mut entries = events.follow();
        let trouble = |why: &str| Trouble { what: "server".to_owned(), why: why.to_owned(), since: UnixMillis(0) };
        let first = status(|status| status.own = None);
        let second = status(|status| (status.is_connected, status.directive_heard) = (true, 4));
        events.changed(&first, &second);
        assert_eq!(said(&mut entries), [Event::SessionBegun], "the directive was there before");
        let third = status(|status| {
            (status.directive_heard, status.directive_done) = (5, 5);
            status.troubles.push(trouble("silence"));
        });
        events.changed(&second, &third);
        let (what, why) = ("server".to_owned(), "silence".to_owned());
        assert_eq!(
            said(&mut entries),
            [
                Event::SessionEnded,
                Event::DirectiveHeard { directive: 5 },
                Event::DirectiveDone { directive: 5 },
                Event::Trouble { what: what.clone(), why },
            ]
        );
        let fourth = Status { troubles: vec![trouble("a certificate")], ..third.clone() };
        events.changed(&third, &fourth);
        let why = "a certificate".to_owned();
        assert_eq!(said(&mut entries), [Event::Trouble { what: what.clone(), why }], "it is another one, and not over");
        events.changed(&fourth, &Status { troubles: Vec::new(), ..fourth.clone() });
        assert_eq!(said(&mut entries), [Event::TroubleOver { what }]);
    }
}
