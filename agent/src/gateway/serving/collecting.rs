//! How a gateway comes to its devices' stored data, and the server to it (Distribution, figure 13): it polls its devices, takes what they
//! bring by themselves, speaks for those that do not sign, and uploads. The server away, it goes on collecting.

use super::Serving;
use crate::clock;
use crate::device::handover::new_chain;
use crate::gateway::devices::Passive;
use crate::gateway::session::Sent;
use crate::gateway::settings::Settings;
use crate::gateway::speaking::{NotSpoken, Speaker};
use crate::gateway::store::{Associated, Devices, Issuers, StoreError};
use crate::gateway::stored::Receipted;
use crate::gateway::troubles::Source;
use crate::gateway::{GatewayError, Shared};
use crate::link::Identity;
use crate::mailbox::{Direction, MAX_LETTERS, Mailbox};
use rand::RngExt as _;
use serde_bytes::ByteBuf;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use wardlink_crypto::key::PublicKey;
use wardlink_protocol::Device;
use wardlink_protocol::distribution::SessionRefusal;
use wardlink_records::collector::{self, MAX_SAID_BYTES};
use wardlink_records::exchange::{Downward, MAX_UPWARD_BYTES, Upward};
use wardlink_records::queue::BatchKey;
use wardlink_records::sending::Trigger;

/// What troubles of stored data are called; those of one device have its name behind it.
const TROUBLE: &str = "stored data";
/// How often it looks whether a device has brought something.
const LOOKED_AT: Duration = Duration::from_millis(500);
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
    /// Somebody at the server asks for what the devices have.
    wanted: Option<Of>,
}

/// Whose data is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Of {
    One(Device),
    All,
}

impl Of {
    fn is_for(&self, device: &Device) -> bool {
        match self {
            Self::One(one) => one == device,
            Self::All => true,
        }
    }
}

impl Collecting {
    pub(super) fn new(settings: &Settings) -> Self {
        let mut tick = interval(LOOKED_AT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (now, upload_every) = (Instant::now(), settings.upload_every);
        Self { tick, every: settings.collect_every, poll_at: now, upload_every, again_at: now, wanted: None }
    }

    /// The next moment to look.
    pub(super) async fn tick(&mut self) {
        self.tick.tick().await;
    }
}

/// A device's port, as its gateway sees it.
struct Port<'a> {
    device: &'a Device,
    up: Mailbox,
    down: Mailbox,
    identity: &'a Identity,
    chain: &'a [ByteBuf],
}

impl<'a> Port<'a> {
    fn new(ports: &Path, device: &'a Device, identity: &'a Identity, chain: &'a [ByteBuf]) -> Self {
        let up = Mailbox::new(ports, device, Direction::Up, MAX_UPWARD_BYTES);
        let down = Mailbox::new(ports, device, Direction::Down, MAX_SAID_BYTES);
        Self { device, up, down, identity, chain }
    }

    /// Tells the device, signed; false where it has not read what was told before.
    fn tell(&self, message: &Downward) -> io::Result<bool> {
        let said = collector::sign(message, self.device, &self.identity.key, self.chain).map_err(io::Error::other)?;
        self.down.put(&said)
    }

    /// Takes what the device has brought. A batch is durable before the device is told so.
    fn collect(&self, shared: &Shared, key: &PublicKey) -> Result<io::Result<()>, StoreError> {
        let letters = match self.up.letters() {
            Ok(letters) => letters,
            Err(error) => return Ok(Err(error)),
        };
        for letter in letters {
            match self.down.count() {
                Ok(count) if count < MAX_LETTERS => {}
                // The device is away: what it brought stays, and it brings nothing more.
                Ok(_) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            }
            let answered = match Upward::decode(&letter.bytes) {
                Ok(Upward::Batch(batch)) => {
                    let answer = shared.stored().take(&shared.store, self.device, key, &batch, clock::now())?;
                    if let Downward::Refused(refused) = &answer {
                        tracing::warn!(device = %self.device, step = refused.step, reason = refused.reason, "stored data is refused");
                    }
                    self.tell(&answer).map(drop)
                }
                Ok(Upward::Nothing) => Ok(()),
                Err(error) => {
                    tracing::warn!(device = %self.device, %error, "a message at a port says nothing");
                    Ok(())
                }
            };
            if let Err(error) = answered.and_then(|()| self.up.remove(&letter)) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }
}

fn trouble_of(device: &Device) -> String {
    format!("{TROUBLE} of {device}")
}

impl Serving<'_> {
    /// Looks at the ports and, where it is time, polls the devices (272 to 274).
    pub(super) fn collect(&mut self) -> Result<(), GatewayError> {
        let Some(member) = self.member.clone() else { return Ok(()) };
        let shared = self.shared;
        let Devices(devices) = shared.store.value()?.unwrap_or_default();
        let now = Instant::now();
        let polls = self.collecting.poll_at <= now;
        if polls {
            self.collecting.poll_at = now + self.collecting.every;
        }
        let wanted = self.collecting.wanted.take();
        let trigger = |device: &Device| match &wanted {
            Some(of) if of.is_for(device) => Some(Trigger::Request),
            _ => polls.then_some(Trigger::Poll),
        };
        let Issuers(issuers) = shared.store.value()?.unwrap_or_default();
        let own = member.identity.certificate.clone().filter(|_| !issuers.is_empty());
        if let (Some(ports), Some(own)) = (&shared.settings.ports, own) {
            let chain: Vec<ByteBuf> = core::iter::once(ByteBuf::from(own)).chain(issuers).collect();
            for (device, key) in devices.iter().filter_map(|one| Some((&one.device, one.key.as_ref()?))) {
                let Ok(key) = PublicKey::from_spki(key) else { continue };
                let port = Port::new(ports, device, &member.identity, &chain);
                let mut went = port.collect(shared, &key)?;
                if let (Ok(()), Some(trigger)) = (&went, trigger(device)) {
                    went = ask(&port, trigger);
                }
                show(shared, device, went.err().map(|error| error.to_string()));
            }
            if polls {
                strangers(shared, ports, &devices);
            }
        }
        for device in devices.iter().filter(|one| !one.has_key).map(|one| &one.device) {
            if trigger(device).is_some() {
                self.speak_for(device, &member.identity)?;
            }
        }
        self.try_again(now);
        self.show_room();
        Ok(())
    }

    fn speak_for(&self, device: &Device, identity: &Identity) -> Result<(), GatewayError> {
        let shared = self.shared;
        let Some(passive) = shared.devices.iter().find(|passive| passive.device() == device) else { return Ok(()) };
        let speaker = Speaker { device, folder: passive.folder(), key: &identity.key, chain: new_chain() };
        let taken = loop {
            match speaker.take(&shared.store, &mut shared.stored(), clock::now()) {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        match taken {
            Err(NotSpoken::Store(error)) => return Err(error.into()),
            taken => show(shared, device, taken.err().map(|error| error.to_string())),
        }
        Ok(())
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
            let stored = self.shared.stored();
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

    /// The server asks for stored data (figure 9, 193): what is here goes at once, and the devices are asked.
    pub(super) fn records_wanted(&mut self, of: Option<Device>) {
        self.shared.stored().sending.ask(Trigger::Request);
        let of = of.map_or(Of::All, Of::One);
        let before = self.collecting.wanted.take();
        let differs = before.is_some_and(|before| before != of);
        // Two that ask for different devices ask for all.
        self.collecting.wanted = Some(if differs { Of::All } else { of });
        self.collecting.tick.reset_immediately();
    }

    /// A batch was refused: it is kept apart, and its device learns of it where it has to do something.
    pub(super) fn records_refused(
        &mut self,
        of: &(Device, BatchKey),
        refused: &SessionRefusal,
    ) -> Result<(), GatewayError> {
        let why = (refused.step.as_str(), refused.reason.as_str());
        let shared = self.shared;
        tracing::warn!(device = %of.0, step = why.0, reason = why.1, "the server refused stored data");
        let told = shared.stored().refused(&shared.store, of, why, clock::now(), rand::rng().random())?;
        let (Some(told), Some(member)) = (told, self.member.clone()) else { return Ok(()) };
        let Devices(devices) = shared.store.value()?.unwrap_or_default();
        if devices.iter().any(|one| one.device == of.0 && !one.has_key) {
            let folder = shared.devices.iter().find(|passive| *passive.device() == of.0).map(Passive::folder);
            let Some(folder) = folder else { return Ok(()) };
            let speaker = Speaker { device: &of.0, folder, key: &member.identity.key, chain: new_chain() };
            return match speaker.begin_anew(&shared.store, &mut shared.stored(), of.1, clock::now()) {
                Err(NotSpoken::Store(error)) => Err(error.into()),
                done => {
                    show(shared, &of.0, done.err().map(|error| error.to_string()));
                    Ok(())
                }
            };
        }
        self.tell_device(&of.0, &told)
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
        match received {
            Receipted::Deleted(device, batches) => {
                tracing::debug!(%device, batches, "the server has stored data");
                shared.troubles.works_again(Source::Stored, RECEIPT);
                self.tell_device(&device, &Downward::Receipt(receipt.clone()))
            }
            // It came twice, or for what another gateway has.
            Receipted::Nothing(step, why) if step.ends_with("batch") || step.ends_with("device") => {
                tracing::warn!(step, why, "a receipt deletes nothing");
                Ok(())
            }
            Receipted::Nothing(step, why) => {
                shared.troubles.find(Source::Stored, RECEIPT, format!("{step}: {why}; nothing is deleted"));
                Ok(())
            }
        }
    }

    /// Tells a device something at its port. What it misses it learns later: a receipt covers what was before.
    fn tell_device(&self, device: &Device, message: &Downward) -> Result<(), GatewayError> {
        let Issuers(issuers) = self.shared.store.value()?.unwrap_or_default();
        let (Some(ports), Some(member)) = (&self.shared.settings.ports, &self.member) else { return Ok(()) };
        let Some(own) = member.identity.certificate.clone() else { return Ok(()) };
        let chain: Vec<ByteBuf> = core::iter::once(ByteBuf::from(own)).chain(issuers).collect();
        if Mailbox::devices(ports).contains(device) {
            let told = Port::new(ports, device, &member.identity, &chain).tell(message);
            show(self.shared, device, told.err().map(|error| error.to_string()));
        }
        Ok(())
    }

    /// The server has said which devices there are: what was refused because of that is sent once more.
    pub(super) fn devices_changed(&self) -> Result<(), GatewayError> {
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

/// What refused batches are called.
const REFUSED: &str = "stored data: refused";
/// What a receipt that counts as nothing is called.
const RECEIPT: &str = "stored data: receipt";

/// Asks a device for what it has, unless it has yet to read something.
fn ask(port: &Port<'_>, trigger: Trigger) -> io::Result<()> {
    if port.down.count()? == 0 {
        port.tell(&Downward::Send(trigger))?;
    }
    Ok(())
}

/// Devices that bring something and are none of this gateway's: it stays where it is.
fn strangers(shared: &Shared, ports: &Path, devices: &[Associated]) {
    for device in Mailbox::devices(ports) {
        if devices.iter().any(|one| one.device == device && one.key.is_some()) {
            continue;
        }
        let why = "it brings stored data, and the server does not say that it is one of this gateway's devices; associate it in the web app";
        let brings = Mailbox::new(ports, &device, Direction::Up, MAX_UPWARD_BYTES).count().is_ok_and(|count| count > 0);
        show(shared, &device, brings.then(|| why.to_owned()));
    }
}

/// Shows what is wrong with a device's data, until it is not.
fn show(shared: &Shared, device: &Device, why: Option<String>) {
    let what = trouble_of(device);
    match why {
        Some(why) => shared.troubles.find(Source::Stored, what, why),
        None => shared.troubles.works_again(Source::Stored, &what),
    }
}
