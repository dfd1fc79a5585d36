//! How a gateway comes to its devices' stored data, and the server to it (Distribution, figure 13): it polls its devices, takes what they
//! bring by themselves, speaks for those that do not sign, and uploads. The server away, it goes on collecting.

mod port;

use super::Serving;
use crate::bundle;
use crate::clock;
use crate::device::handover::new_chain;
use crate::gateway::journal::Event;
use crate::gateway::session::Sent;
use crate::gateway::settings::Settings;
use crate::gateway::speaking::{NotSpoken, Speaker};
use crate::gateway::store::{Associated, Devices, Issuers, Store, StoreError};
use crate::gateway::stored::Receipted;
use crate::gateway::troubles::{Source, Turn};
use crate::gateway::{GatewayError, Shared};
use crate::link::Identity;
use crate::mailbox::{Direction, Mailbox};
use crate::pump::Membership;
use port::{Port, PortFault};
use rand::RngExt as _;
use serde_bytes::ByteBuf;
use std::path::Path;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use wardlink_crypto::key::PublicKey;
use wardlink_protocol::Device;
use wardlink_protocol::distribution::SessionRefusal;
use wardlink_records::exchange::{Downward, MAX_UPWARD_BYTES};
use wardlink_records::queue::BatchKey;
use wardlink_records::sending::Trigger;

/// What troubles of stored data are called; those of one device have its name behind it.
const TROUBLE: &str = "stored data";
/// What refused batches are called.
const REFUSED: &str = "stored data: refused";
/// What a receipt that counts as nothing is called.
const RECEIPT: &str = "stored data: receipt";
/// How often it looks whether a device has brought something.
const LOOKED_AT: Duration = Duration::from_millis(500);
/// After so long a device is heard again of its software: each word is a report, and may be a round.
const HEARD_AGAIN: Duration = Duration::from_secs(2);
/// How many batches are taken before the gateway looks what else there is to do: each is a write that has to be durable.
const AT_A_TICK: usize = 8;
/// How many batches are on their way to the server at once.
const AT_ONCE: usize = 8;
/// What was refused at these steps is sent again when the server says that the devices have changed.
const BY_ASSOCIATION: [&str; 3] = ["association", "rights", "signature"];

/// When it collects.
pub(super) struct Collecting {
    tick: Interval,
    every: Duration,
    poll_at: Instant,
    upload_every: Duration,
    again_at: Instant,
    /// Whose data is collected; whose turn it is comes first.
    devices: Vec<Collected>,
    /// When the poll began that has not come to all of them yet.
    began: Option<Turn>,
    /// The gateway's certificate and those above it; empty while it knows none to speak with.
    chain: Vec<ByteBuf>,
}

/// A device whose data is collected.
struct Collected {
    device: Device,
    way: Way,
    /// Why it is still to be asked for what it has.
    asked: Option<Trigger>,
    /// What is wrong with what it brought last, until something is kept.
    unreadable: Option<String>,
    /// When it said last what it runs.
    told_at: Option<SystemTime>,
    /// When that was heard.
    heard_at: Option<Instant>,
}

/// How a device's data comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It signs with this key.
    Signs(PublicKey),
    /// The key that the server names for it is none.
    NoKey,
    /// The gateway signs for it.
    Passive,
}

impl Collected {
    /// None of one that signs with a key that the server does not name.
    fn new(one: Associated) -> Option<Self> {
        let way = match one.key {
            Some(key) => PublicKey::from_spki(&key).map_or(Way::NoKey, Way::Signs),
            None if one.has_key => return None,
            None => Way::Passive,
        };
        Some(Self { device: one.device, way, asked: None, unreadable: None, told_at: None, heard_at: None })
    }
}

impl Collecting {
    pub(super) fn new(settings: &Settings) -> Self {
        let mut tick = interval(LOOKED_AT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (now, upload_every) = (Instant::now(), settings.upload_every);
        Self {
            tick,
            every: settings.collect_every,
            poll_at: now,
            upload_every,
            again_at: now,
            devices: Vec::new(),
            began: None,
            chain: Vec::new(),
        }
    }

    /// Reads whose data is collected, and with which certificates the gateway speaks: they may have changed.
    fn refresh(&mut self, store: &Store, member: Option<&Membership>) -> Result<(), StoreError> {
        let Devices(devices) = store.value()?.unwrap_or_default();
        let before = core::mem::take(&mut self.devices);
        self.devices = devices.into_iter().filter_map(Collected::new).collect();
        for known in before {
            if let Some(one) = self.devices.iter_mut().find(|one| (&one.device, one.way) == (&known.device, known.way))
            {
                (one.asked, one.unreadable) = (known.asked, known.unreadable);
                (one.told_at, one.heard_at) = (known.told_at, known.heard_at);
            }
        }
        let Issuers(issuers) = store.value()?.unwrap_or_default();
        let own = member.and_then(|member| member.identity.certificate.clone());
        self.chain = match own {
            Some(own) if !issuers.is_empty() => core::iter::once(ByteBuf::from(own)).chain(issuers).collect(),
            _ => Vec::new(),
        };
        Ok(())
    }

    /// The next moment to look.
    pub(super) async fn tick(&mut self) {
        self.tick.tick().await;
    }
}

fn trouble_of(device: &Device) -> String {
    format!("{TROUBLE} of {device}")
}

impl Serving<'_> {
    /// Reads anew whose data is collected, and who speaks.
    pub(super) fn refresh_collected(&mut self) -> Result<(), StoreError> {
        self.collecting.refresh(&self.shared.store, self.member.as_ref())
    }

    /// Looks at the ports and, where it is time, polls the devices (272 to 274). Where there is more to do than may hold up everything
    /// else, it goes on at the next tick, which comes at once.
    pub(super) fn collect(&mut self) -> Result<(), GatewayError> {
        let Some(member) = self.member.clone() else { return Ok(()) };
        let (shared, now) = (self.shared, Instant::now());
        if self.collecting.poll_at <= now {
            self.collecting.poll_at = now + self.collecting.every;
            self.collecting.began = Some(shared.troubles.begin());
            for one in &mut self.collecting.devices {
                one.asked = one.asked.or(Some(Trigger::Poll));
            }
            if let Some(ports) = &shared.settings.ports {
                self.strangers(ports);
            }
        }
        self.hear_of_software()?;
        let chain = &self.collecting.chain;
        let (mut left, mut looked) = (AT_A_TICK, 0_usize);
        for one in &mut self.collecting.devices {
            if left == 0 {
                break;
            }
            looked = looked.saturating_add(1);
            match one.way {
                Way::Signs(key) => look_at(shared, one, &key, (&member.identity, chain), &mut left)?,
                Way::NoKey => {
                    one.asked = None;
                    let why = "the key that the server names for it is none: it has to be paired again";
                    show(shared, &one.device, Some(why.to_owned()));
                }
                Way::Passive if one.asked.is_some() => {
                    speak_for(shared, &one.device, &member.identity, &mut left)?;
                    one.asked = one.asked.filter(|_| left == 0);
                }
                Way::Passive => {}
            }
        }
        // Nobody waits behind whoever brings without end.
        self.collecting.devices.rotate_left(looked);
        if left == 0 {
            self.collecting.tick.reset_immediately();
        } else if let Some(began) = self.collecting.began.take() {
            // Everything was looked at: what is wrong with nobody any more is over.
            shared.troubles.end(Source::Collected, began);
        }
        self.try_again(now);
        self.show_room();
        Ok(())
    }

    /// Takes what devices have said of their software since: the server hears of it, and what lies ready for them may be over.
    fn hear_of_software(&mut self) -> Result<(), StoreError> {
        let Some(ports) = &self.shared.settings.ports else { return Ok(()) };
        let (mut is_said, mut is_news, now) = (false, false, Instant::now());
        for one in self.collecting.devices.iter_mut().filter(|one| matches!(one.way, Way::Signs(_))) {
            let told_at = bundle::told_at(ports, &one.device);
            if told_at.is_none() || told_at == one.told_at || one.heard_at.is_some_and(|at| now < at + HEARD_AGAIN) {
                continue;
            }
            (one.told_at, one.heard_at) = (told_at, Some(now));
            let heard = self.shared.hear_of_software(&one.device)?;
            is_said |= heard.is_some();
            is_news |= heard == Some(true);
        }
        if is_said {
            self.report_due = true;
            self.times.session.get_or_insert(now);
        }
        if is_news {
            self.times.round = Some(now);
        }
        Ok(())
    }

    /// Devices that bring something and are none of this gateway's: it stays where it is.
    fn strangers(&self, ports: &Path) {
        for device in Mailbox::devices(ports) {
            if self.collecting.devices.iter().any(|one| one.device == device && one.way != Way::Passive) {
                continue;
            }
            let why = "it brings stored data, and the server does not say that it is one of this gateway's devices; associate it in the web app";
            let up = Mailbox::new(ports, &device, Direction::Up, MAX_UPWARD_BYTES);
            if up.count().is_ok_and(|count| count > 0) {
                show(self.shared, &device, Some(why.to_owned()));
            }
        }
    }

    /// Now and then: what waits for earlier batches, which may have come through another gateway, and what got no receipt.
    fn try_again(&mut self, now: Instant) {
        let answered = |connection: &super::Connection| !connection.waits_for(|sent| matches!(sent, Sent::Records(_)));
        if self.collecting.again_at <= now && self.connection.as_ref().is_some_and(answered) {
            self.collecting.again_at = now + self.collecting.upload_every;
            self.shared.stored().try_again();
        }
    }

    /// Says when there is little room or none, and when something was refused.
    fn show_room(&self) {
        let (is_full, (bytes, capacity), refused) = {
            let mut stored = self.shared.stored();
            if !stored.take_changed() {
                return;
            }
            (stored.is_full(), stored.room(), stored.refused_batches())
        };
        if refused > 0 {
            let why = format!(
                "the server has refused {refused} batches: look at them below, and have them sent once more when the cause is gone"
            );
            self.shared.troubles.find(Source::Stored, REFUSED, why);
        } else {
            self.shared.troubles.works_again(Source::Stored, REFUSED);
        }
        let (used, all) = (bytes / 1_000_000, capacity / 1_000_000);
        if is_full {
            let why = format!(
                "the store is full ({used} of {all} MB): devices keep what they have; let the gateway reach the server"
            );
            self.shared.troubles.find(Source::Stored, TROUBLE, why);
        } else if crate::gateway::stored::is_nearly_full(bytes, capacity) {
            let why = format!("the store is nearly full ({used} of {all} MB): let the gateway reach the server");
            self.shared.troubles.find(Source::Stored, TROUBLE, why);
        } else {
            self.shared.troubles.works_again(Source::Stored, TROUBLE);
        }
    }

    /// Uploads what it is time for (figure 9, 194): stored before, and kept until the receipt.
    pub(super) async fn send_records(&mut self) -> Result<(), GatewayError> {
        loop {
            let Some(connection) = &mut self.connection else { return Ok(()) };
            if connection.count(|sent| matches!(sent, Sent::Records(_))) >= AT_ONCE || !connection.has_room() {
                return Ok(());
            }
            let next = {
                let mut stored = self.shared.stored();
                if stored.due(clock::now()).is_none() {
                    return Ok(());
                }
                stored.next(&self.shared.store)?
            };
            let Some((device, key, bytes)) = next else { return Ok(()) };
            if let Err(ended) = connection.records(device, key, bytes).await {
                self.lost(&ended);
                return Ok(());
            }
        }
    }

    /// The session is over, however it ended: what has got no receipt is sent again in another one.
    pub(super) fn records_interrupted(&self) {
        self.shared.stored().interrupted(clock::now(), rand::rng().random());
    }

    /// The server asks for stored data (figure 9, 193): what is here goes at once, and the devices are asked.
    pub(super) fn records_wanted(&mut self, of: Option<&Device>) {
        self.shared.stored().sending.ask(Trigger::Request);
        for one in &mut self.collecting.devices {
            if of.is_none_or(|of| *of == one.device) {
                one.asked = Some(Trigger::Request);
            }
        }
        self.collecting.tick.reset_immediately();
    }

    /// A batch was refused: it is kept apart, and its device learns of it where it has to do something; at each poll again, in case it has not
    /// heard of it.
    pub(super) fn records_refused(
        &mut self,
        of: &(Device, BatchKey),
        refused: &SessionRefusal,
    ) -> Result<(), GatewayError> {
        let why = (refused.step.as_str(), refused.reason.as_str());
        let shared = self.shared;
        tracing::warn!(device = %of.0, step = why.0, reason = why.1, "the server refused stored data");
        let told = shared.stored().refused(&shared.store, of, why, clock::now(), rand::rng().random())?;
        let (Some(told), Some(member)) = (told, &self.member) else { return Ok(()) };
        if self.collecting.devices.iter().any(|one| one.device == of.0 && one.way == Way::Passive) {
            return speak_for(shared, &of.0, &member.identity, &mut { AT_A_TICK });
        }
        self.tell_device(&of.0, &told);
        Ok(())
    }

    /// A receipt: exactly what it is for is deleted (figure 9, 196), and the device learns of it.
    pub(super) fn receipt(&mut self, receipt: &ByteBuf) -> Result<(), GatewayError> {
        let shared = self.shared;
        let Some(root) = self.member.as_ref().and_then(|member| member.identity.root) else { return Ok(()) };
        let received = shared.stored().receipt(&shared.store, receipt, &root, clock::now(), |change, receipt| {
            // A device that does not sign has its chain here.
            let Some(mut spoken) = shared.store.spoken(&receipt.device)? else { return Ok(()) };
            match spoken.outbox.receive(receipt) {
                Ok(_) => change.set_spoken(&receipt.device, &spoken),
                Err(_) => Ok(()),
            }
        })?;
        if let Some(why) = received.trouble() {
            shared.troubles.find(Source::Stored, RECEIPT, why);
        }
        match received {
            Receipted::Deleted(device, batches) => {
                tracing::debug!(%device, batches, "the server has stored data");
                shared.troubles.works_again(Source::Stored, RECEIPT);
                self.tell_device(&device, &Downward::Receipt(receipt.clone()));
                shared.events.say(Event::Uploaded { of: device, batches });
            }
            Receipted::NotHeld(why) => tracing::warn!(%why, "a receipt deletes nothing"),
            Receipted::Refused(_) => {}
        }
        Ok(())
    }

    /// Tells a device something at its port. What it misses it learns later: a receipt covers what was before.
    fn tell_device(&self, device: &Device, message: &Downward) {
        let (Some(ports), Some(member)) = (&self.shared.settings.ports, &self.member) else { return };
        if !self.collecting.chain.is_empty() && Mailbox::is_used(ports, device) {
            let told = Port::new(ports, device, &member.identity, &self.collecting.chain).tell(message);
            if let Err(error) = told {
                show(self.shared, device, Some(error.to_string()));
            }
        }
    }

    /// The server has said which devices there are: what was refused because of that is sent once more.
    pub(super) fn devices_changed(&mut self) -> Result<(), GatewayError> {
        self.refresh_collected()?;
        self.shared.stored().retry(&self.shared.store, Some(&BY_ASSOCIATION))?;
        Ok(())
    }

    /// A person has what was refused sent once more, by the gateway and by the devices.
    pub(super) fn retry_records(&mut self) -> Result<(), GatewayError> {
        self.shared.stored().retry(&self.shared.store, None)?;
        self.records_wanted(None);
        Ok(())
    }

    /// A person discards a refused batch.
    pub(super) fn discard_records(&mut self, device: &Device, key: BatchKey) -> Result<(), GatewayError> {
        if self.shared.stored().discard(&self.shared.store, device, key)? {
            tracing::warn!(%device, chain = %key.chain, first = key.first, "a person has discarded refused data");
        }
        Ok(())
    }
}

/// Takes what a device has brought to its port, and asks it for more where there is a reason.
fn look_at(
    shared: &Shared,
    one: &mut Collected,
    key: &PublicKey,
    (identity, chain): (&Identity, &[ByteBuf]),
    left: &mut usize,
) -> Result<(), GatewayError> {
    let Some(ports) = shared.settings.ports.as_ref().filter(|_| !chain.is_empty()) else { return Ok(()) };
    let port = Port::new(ports, &one.device, identity, chain);
    let signs = (key, &mut one.unreadable);
    let collected = port.collect(&shared.store, &mut shared.stored(), signs, clock::now(), left);
    let went = match (collected, one.asked) {
        (Ok(()), Some(trigger)) => {
            let stored = shared.stored();
            let again = [stored.forked(&one.device), stored.lacking(&one.device)].concat();
            drop(stored);
            port.ask(trigger, again).map_err(PortFault::from)
        }
        (Ok(()), None) => Ok(true),
        (Err(error), _) => Err(error),
    };
    one.asked = one.asked.filter(|trigger| match &went {
        // Whoever polls polls again; what somebody asks for is asked for until the device has been told.
        Ok(is_told) => *trigger == Trigger::Request && !is_told,
        Err(_) => true,
    });
    match went {
        Err(PortFault::Store(error)) => Err(error.into()),
        went => {
            show(shared, &one.device, went.err().map(|error| error.to_string()).or_else(|| one.unreadable.clone()));
            Ok(())
        }
    }
}

/// Takes what a device has written that does not sign, and begins its chain anew where the server has other records.
fn speak_for(shared: &Shared, device: &Device, identity: &Identity, left: &mut usize) -> Result<(), GatewayError> {
    let Some(passive) = shared.devices.iter().find(|passive| passive.device() == device) else { return Ok(()) };
    let speaker = Speaker { device, folder: passive.folder(), key: &identity.key, chain: new_chain() };
    let spoken = speaker.speak(&shared.store, &mut shared.stored(), clock::now(), left);
    match spoken {
        Err(NotSpoken::Store(error)) => Err(error.into()),
        Err(error) => {
            show(shared, device, Some(error.to_string()));
            Ok(())
        }
        // What was wrong is over when the poll has come to its end, at which nobody has found it again.
        Ok(()) => Ok(()),
    }
}

/// Shows what is wrong with a device's data, until it is not.
fn show(shared: &Shared, device: &Device, why: Option<String>) {
    let what = trouble_of(device);
    match why {
        Some(why) => shared.troubles.find(Source::Collected, what, why),
        None => shared.troubles.works_again(Source::Collected, &what),
    }
}
