//! New keys for many devices: a job that a shell does in slices, and goes on with after a restart.

use serde::{Deserialize, Serialize};
use wardlink_protocol::channel::{Channel, ChannelName, KeyScope};
use wardlink_protocol::identity::TrustLevel;
use wardlink_protocol::limits::KEY_OVERLAP;
use wardlink_protocol::{ClientClass, Device, UnixMillis};

use super::{Action, Knowledge, LineId, Why};

/// What a job does with one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// The channel.
    pub channel: ChannelName,
    /// Its row of policy; none where it was removed.
    pub row: Option<Channel>,
    /// Its key scope before; none where it is new.
    pub scope_before: Option<KeyScope>,
}

impl Target {
    /// A channel whose row stands.
    pub fn standing(row: Channel) -> Self {
        Self { channel: row.name.clone(), scope_before: Some(row.scope), row: Some(row) }
    }

    /// Whether keys that classes share end with this job.
    fn ends_shared_keys(&self) -> bool {
        let shared = Some(KeyScope::Class);
        self.scope_before == shared && self.row.as_ref().map(|row| row.scope) != shared
    }
}

/// A device that a slice comes by.
#[derive(Clone, Copy, Debug)]
pub struct Recipient<'a> {
    /// How far it is trusted.
    pub trust: TrustLevel,
    /// What it has been given.
    pub knowledge: &'a Knowledge,
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The devices that the job is for, as counted when it began.
    pub devices: u64,
    /// The devices that it has come by. How many of them stored their keys, [`Knowledge`] says.
    pub reached: u64,
}

/// New epochs on their way to many devices. The shell stores it with what each slice did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rekeying {
    why: Why,
    began_at: UnixMillis,
    /// The one class; none for all.
    client: Option<ClientClass>,
    targets: Vec<Target>,
    /// Whether keys are made, or only brought.
    makes_keys: bool,
    /// The last device that a slice came by.
    after: Option<Device>,
    progress: Progress,
    finished: bool,
}

impl Rekeying {
    /// Begins a job for the devices of one class, or of all. `devices` is how many there are.
    pub const fn begin(
        why: Why,
        client: Option<ClientClass>,
        targets: Vec<Target>,
        devices: u64,
        now: UnixMillis,
    ) -> Self {
        let progress = Progress { devices, reached: 0 };
        Self { why, began_at: now, client, targets, makes_keys: true, after: None, progress, finished: false }
    }

    /// Brings the current epochs of these channels to everybody who has not stored them: no key is made. For the lines of which
    /// [`Action::MakeKey`] made a key already, such as after a revocation.
    pub fn deliver(client: ClientClass, rows: Vec<Channel>, why: Why, devices: u64, now: UnixMillis) -> Self {
        let targets = rows.into_iter().map(Target::standing).collect();
        Self { makes_keys: false, ..Self::begin(why, Some(client), targets, devices, now) }
    }

    /// Why.
    pub const fn why(&self) -> Why {
        self.why
    }

    /// When it began.
    pub const fn began_at(&self) -> UnixMillis {
        self.began_at
    }

    /// The one class that it is for; none for all.
    pub const fn client(&self) -> Option<&ClientClass> {
        self.client.as_ref()
    }

    /// How far it has come.
    pub const fn progress(&self) -> Progress {
        self.progress
    }

    /// Whether every device was reached.
    pub const fn is_finished(&self) -> bool {
        self.finished
    }

    /// The device after which the next slice begins, in the order of class, then identifier; none at the beginning.
    pub const fn after(&self) -> Option<&Device> {
        self.after.as_ref()
    }

    /// Whether an earlier job that has not begun is done by this one, so that it can go: this one comes by all of its devices as
    /// soon, with keys that are as new. What is under way goes on, so that the last devices are reached however often somebody asks.
    pub fn supersedes(&self, earlier: &Self) -> bool {
        let all_devices = self.client.is_none() || self.client == earlier.client;
        // A change of policy also withdraws and ends what this job knows nothing of.
        let only_brings = earlier.why != Why::Policy && (self.makes_keys || !earlier.makes_keys);
        let in_time = self.is_urgent() || !earlier.is_urgent();
        all_devices
            && only_brings
            && in_time
            && earlier.after.is_none()
            && earlier.targets.iter().all(|target| self.targets.contains(target))
    }

    /// Whether it follows a revocation: nobody should wait for it behind others.
    pub const fn is_urgent(&self) -> bool {
        matches!(self.why, Why::Cut(_))
    }

    /// What is to be done before the first slice: keys that whole classes share are made once. `classes` are all of the site.
    pub fn first_actions(&self, classes: &[ClientClass]) -> Vec<Action> {
        let concerned = |class: &&ClientClass| self.client.as_ref().is_none_or(|client| client == *class);
        let mut actions = Vec::new();
        for class in classes.iter().filter(concerned) {
            for target in &self.targets {
                let line = LineId::of_class(&target.channel, class);
                if target.ends_shared_keys() {
                    actions.push(Action::CloseLine { line: line.clone(), cut: self.cut() });
                }
                if self.makes_keys && target.row.as_ref().is_some_and(|row| row.scope == KeyScope::Class) {
                    actions.push(Action::MakeKey { line, why: self.why });
                }
            }
        }
        actions
    }

    /// Takes the next devices, in order: paired ones of the job's class after [`Rekeying::after`], none left out. A slice that is
    /// shorter than `asked` is the last one.
    pub fn slice<'a>(&mut self, devices: impl IntoIterator<Item = Recipient<'a>>, asked: usize) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut taken = 0_usize;
        for recipient in devices.into_iter().take(asked) {
            let device = recipient.knowledge.device();
            taken = taken.saturating_add(1);
            let passed = self.after.as_ref().is_some_and(|after| device <= after);
            let foreign = self.client.as_ref().is_some_and(|client| *client != device.client);
            if passed || foreign {
                continue;
            }
            for target in &self.targets {
                self.serve(target, recipient, &mut actions);
            }
            self.after = Some(device.clone());
            self.progress.reached = self.progress.reached.saturating_add(1);
        }
        self.finished = taken < asked;
        actions
    }

    fn serve(&self, target: &Target, recipient: Recipient<'_>, actions: &mut Vec<Action>) {
        let (device, knowledge) = (recipient.knowledge.device(), recipient.knowledge);
        let known = || knowledge.given().iter().filter(|given| given.line.channel == target.channel);
        let row = target.row.as_ref().filter(|row| row.trust <= recipient.trust);
        // Keys of its own end with the channel, and with the scope.
        if row.is_none_or(|row| row.scope == KeyScope::Class) {
            let own = known().filter(|given| given.line.is_for_one_device());
            actions.extend(own.map(|given| Action::CloseLine { line: given.line.clone(), cut: self.cut() }));
        }
        let Some(row) = row else {
            if known().next().is_some() {
                actions.push(Action::Withdraw { device: device.clone(), channel: target.channel.clone() });
            }
            return;
        };
        let line = LineId::of(row, device);
        if self.makes_keys && row.scope == KeyScope::Device {
            actions.push(Action::MakeKey { line: line.clone(), why: self.why });
        }
        actions.push(Action::WrapFor { device: device.clone(), line });
    }

    /// From when on nothing counts under a line that ends: a revocation's cut, or, where the policy changed, after the overlap.
    fn cut(&self) -> UnixMillis {
        match self.why {
            Why::Cut(cut) => cut,
            _ => self.began_at.after(KEY_OVERLAP),
        }
    }
}
