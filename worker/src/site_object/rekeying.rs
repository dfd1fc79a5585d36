//! New keys on their way to many devices: jobs that go on slice by slice, so that nobody waits for them.

use super::devices::{self, DeviceRecord};
use super::timers::{self, Timer};
use super::{Outcome, Site, associations, channels, grants, keys};
use core::cell::RefCell;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use wardlink_edge::platform::log;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, record};
use wardlink_protocol::api::{ChannelKeyState, KeyJob, KeyJobReason, LiveEvent};
use wardlink_protocol::channel::{Channel, ChannelName, KeyScope};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::identity::TrustLevel;
use wardlink_protocol::service::{ChannelOfClass, ServiceAccess};
use wardlink_protocol::{ClientClass, Device, UnixMillis};
use wardlink_trust::audit::{Act, Actor};
use wardlink_trust::epochs::{Action, Knowledge, LineId, Recipient, Rekeying, Target, Why};
use wardlink_trust::policy::Population;

/// The devices that one turn comes by: few, so that a revocation that comes meanwhile does not wait for long.
const SLICE: usize = 25;
/// The pause between two slices, in which others have their turn.
const PAUSE: Duration = Duration::from_millis(20);
/// How many devices may have yet to answer before the next slice is sent its keys: as many as bridge and devices deal with in a moment, so that
/// nobody else waits at the bridge.
const WINDOW: usize = 100;
/// The pause where so many have yet to answer.
const FULL_PAUSE: Duration = Duration::from_millis(50);
/// Who does not answer for so long is not waited for, until it is heard of again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who was sent something about keys and has yet to answer. It is known as long as this instance lives; another one begins with nobody.
#[derive(Default)]
pub(super) struct OnTheWay {
    sent: RefCell<BTreeMap<Device, UnixMillis>>,
    /// Who did not answer, without the bridge having said that it is away.
    silent: RefCell<BTreeSet<Device>>,
}

impl OnTheWay {
    /// Whether others can be sent their keys.
    fn has_room(&self, now: UnixMillis) -> bool {
        let mut sent = self.sent.borrow_mut();
        let late = sent.extract_if(.., |_, at| now >= at.after(PATIENCE)).map(|(device, _)| device);
        self.silent.borrow_mut().extend(late);
        sent.len() < WINDOW
    }

    fn send(&self, device: &Device, now: UnixMillis) {
        if !self.silent.borrow().contains(device) {
            self.sent.borrow_mut().insert(device.clone(), now);
        }
    }

    /// The device has said what it holds.
    pub(super) fn answered(&self, device: &Device) {
        self.note_presence(device, true);
        self.sent.borrow_mut().remove(device);
    }

    /// The device has come, or gone.
    pub(super) fn note_presence(&self, device: &Device, online: bool) {
        self.silent.borrow_mut().remove(device);
        if !online {
            self.sent.borrow_mut().remove(device);
        }
    }
}

/// How many paired devices there are of each class and trust.
pub(super) fn population(database: &Database) -> Result<Vec<Population>, Failure> {
    let mut counts: BTreeMap<(ClientClass, TrustLevel), u64> = BTreeMap::new();
    for mut row in database.rows("SELECT record FROM devices", [])? {
        let known: DeviceRecord = row.take_record()?;
        if has_keys(&known) {
            *counts.entry((known.device.client, known.trust)).or_default() += 1;
        }
    }
    Ok(counts.into_iter().map(|((client, trust), devices)| Population { client, trust, devices }).collect())
}

const fn has_keys(known: &DeviceRecord) -> bool {
    matches!(known.state, DeviceState::Paired | DeviceState::Expired)
}

/// Begins jobs: keys that whole classes share are made at once, the rest follows.
pub(super) fn begin_all(
    site: &Site<'_>,
    jobs: &[Rekeying],
    classes: &[ClientClass],
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    for job in jobs {
        keys::perform(site, job.first_actions(classes), outcome)?;
        for (number, _) in all(site.database)?.iter().filter(|(_, earlier)| job.supersedes(earlier)) {
            site.database.run("DELETE FROM rekeyings WHERE number = ?", [number.into_value()])?;
        }
        site.database.run("INSERT INTO rekeyings (record) VALUES (?)", [record(job)?])?;
    }
    if !jobs.is_empty() {
        timers::set(site.database, &Timer::Rekeying, site.now)?;
    }
    tell(site, outcome)
}

/// A channel's key has been used for as long as its row allows, or a person wants a new one.
pub(super) fn rotate(site: &Site<'_>, channel: &ChannelName, why: Why, outcome: &mut Outcome) -> Result<(), Failure> {
    let policy = channels::policy(site.database)?;
    let Some(row) = policy.row(channel) else { return Ok(()) };
    let classes = devices::counts(site.database)?;
    let devices = classes.values().sum();
    log!("site: new keys of the channel {channel} for {devices} devices");
    if why == Why::Schedule {
        outcome.notes.add(Actor::System, Act::KeyRotated, channel, "as scheduled");
    }
    let job = Rekeying::begin(why, None, vec![Target::standing(row.clone())], devices, site.now);
    let classes: Vec<ClientClass> = classes.into_keys().collect();
    timers::set(site.database, &Timer::Rotation(channel.clone()), site.now.after(rotation(row)))?;
    note_rotation(site, channel)?;
    begin_all(site, &[job], &classes, outcome)
}

/// The trust in these devices has ended: every key that they knew is replaced, for everybody else.
pub(super) fn cut(site: &Site<'_>, revoked: &[Device], outcome: &mut Outcome) -> Result<(), Failure> {
    let mut actions: Vec<Action> = Vec::new();
    for device in revoked {
        let mut knowledge = keys::knowledge(site, device)?;
        for action in knowledge.revoke(site.now) {
            // Several of them may have known the same key.
            if !actions.contains(&action) {
                actions.push(action);
            }
        }
        keys::put_knowledge(site.database, &knowledge)?;
        associations::end(site, device, outcome)?;
    }
    let mut shared: BTreeMap<ClientClass, Vec<ChannelName>> = BTreeMap::new();
    for action in &actions {
        if let Action::MakeKey { line, .. } = action {
            shared.entry(line.client.clone()).or_default().push(line.channel.clone());
        }
    }
    keys::perform(site, actions, outcome)?;
    let policy = channels::policy(site.database)?;
    let counts = devices::counts(site.database)?;
    let jobs = shared.into_iter().map(|(client, names)| {
        let rows = policy.rows().iter().filter(|row| names.contains(&row.name)).cloned().collect();
        let devices = counts.get(&client).copied().unwrap_or_default();
        Rekeying::deliver(client, rows, Why::Cut(site.now), devices, site.now)
    });
    let jobs: Vec<Rekeying> = jobs.collect();
    begin_all(site, &jobs, &[], outcome)
}

/// The trust in a service has ended: every key that it could have asked for is replaced, for everybody else.
pub(super) fn cut_service(site: &Site<'_>, access: &ServiceAccess, outcome: &mut Outcome) -> Result<(), Failure> {
    let policy = channels::policy(site.database)?;
    let counts = devices::counts(site.database)?;
    let cut = access.keys();
    // Keys that classes share no longer may still count for a while.
    let shared = |each: &&&ChannelOfClass| policy.row(&each.channel).is_some_and(|row| row.scope == KeyScope::Class);
    let ending = cut
        .iter()
        .filter(|each| !shared(each))
        .map(|each| Action::CloseLine { line: LineId::of_class(&each.channel, &each.client), cut: site.now });
    keys::perform(site, ending.collect(), outcome)?;
    let classes: Vec<ClientClass> = access.classes().into_iter().cloned().collect();
    let jobs = classes.iter().map(|client| {
        let concerned = |row: &&Channel| cut.iter().any(|each| each.client == *client && each.channel == row.name);
        let targets = policy.rows().iter().filter(concerned).cloned().map(Target::standing).collect();
        let devices = counts.get(client).copied().unwrap_or_default();
        Rekeying::begin(Why::Cut(site.now), Some(client.clone()), targets, devices, site.now)
    });
    let jobs: Vec<Rekeying> = jobs.collect();
    begin_all(site, &jobs, &classes, outcome)
}

/// A gateway has to do no longer with these devices: the keys of their channel are replaced, those that a whole class shares unless it has
/// others of the class still.
pub(super) fn cut_gateway(
    site: &Site<'_>,
    channel: &ChannelName,
    lost: &[Device],
    kept: &BTreeSet<&ClientClass>,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let policy = channels::policy(site.database)?;
    let Some(row) = policy.row(channel) else { return Ok(()) };
    let why = Why::Cut(site.now);
    if row.scope == KeyScope::Device {
        let mut actions = Vec::new();
        for device in lost {
            let line = LineId::of(row, device);
            // One that has ended already begins no new one.
            if keys::find(site, &line)?.is_some_and(|line| line.current().is_some()) {
                actions.push(Action::MakeKey { line: line.clone(), why });
                actions.push(Action::WrapFor { device: device.clone(), line });
            }
        }
        return keys::perform(site, actions, outcome);
    }
    let counts = devices::counts(site.database)?;
    let classes: BTreeSet<&ClientClass> = lost.iter().map(|device| &device.client).collect();
    let classes: Vec<ClientClass> = classes.difference(kept).map(|client| (*client).clone()).collect();
    let jobs = classes.iter().map(|client| {
        let devices = counts.get(client).copied().unwrap_or_default();
        Rekeying::begin(why, Some(client.clone()), vec![Target::standing(row.clone())], devices, site.now)
    });
    let jobs: Vec<Rekeying> = jobs.collect();
    begin_all(site, &jobs, &classes, outcome)
}

/// This site was restored from an earlier state, and a device is ahead of it: the channel goes above what the device holds.
pub(super) fn go_above(
    site: &Site<'_>,
    device: &Device,
    channel: &ChannelName,
    above: u64,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let policy = channels::policy(site.database)?;
    let Some(row) = policy.row(channel) else { return Ok(()) };
    let line = LineId::of(row, device);
    let why = Why::Restored { above };
    keys::perform(site, vec![Action::MakeKey { line: line.clone(), why }], outcome)?;
    if row.scope == KeyScope::Device {
        return keys::perform(site, vec![Action::WrapFor { device: device.clone(), line }], outcome);
    }
    let devices = devices::counts(site.database)?.get(&device.client).copied().unwrap_or_default();
    let job = Rekeying::deliver(device.client.clone(), vec![row.clone()], why, devices, site.now);
    begin_all(site, &[job], &[], outcome)
}

/// Something about keys is on its way to a device. Who is away is not waited for.
pub(super) fn note_sent(site: &Site<'_>, device: &Device) -> Result<(), Failure> {
    if !devices::is_away(site.database, device)? {
        site.on_the_way.send(device, site.now);
    }
    Ok(())
}

/// Goes on by one slice: with the oldest job that follows a revocation, or with the oldest.
pub(super) fn go_on(site: &Site<'_>, outcome: &mut Outcome) -> Result<(), Failure> {
    let oldest = all(site.database)?.into_iter().min_by_key(|(number, job)| (!job.is_urgent(), *number));
    let Some((number, mut job)) = oldest else { return Ok(()) };
    if !site.on_the_way.has_room(site.now) {
        return timers::set(site.database, &Timer::Rekeying, site.now.after(FULL_PAUSE));
    }
    let recipients = next(site, &job)?;
    for (known, _) in &recipients {
        regrant(site, known, outcome)?;
    }
    let slice = recipients.iter().map(|(known, knowledge)| Recipient { trust: known.trust, knowledge });
    let actions = job.slice(slice, SLICE);
    keys::perform(site, actions, outcome)?;
    if job.is_finished() {
        log!("site: new keys were sent to {} devices", job.progress().reached);
        let detail = format!("{} devices", job.progress().reached);
        outcome.notes.add(Actor::System, Act::RekeyingFinished, "network keys", detail);
        site.database.run("DELETE FROM rekeyings WHERE number = ?", [number.into_value()])?;
    } else {
        site.database.run("UPDATE rekeyings SET record = ? WHERE number = ?", [record(&job)?, number.into_value()])?;
    }
    if site.database.one::<bool, 0>("SELECT EXISTS (SELECT 1 FROM rekeyings)", [])?.unwrap_or_default() {
        timers::set(site.database, &Timer::Rekeying, site.now.after(PAUSE))?;
    }
    tell(site, outcome)
}

/// The next devices of a job that have keys, in order, with what they were given.
fn next(site: &Site<'_>, job: &Rekeying) -> Result<Vec<(DeviceRecord, Knowledge)>, Failure> {
    let mut after = job.after().cloned();
    let mut found = Vec::new();
    loop {
        let page = devices::page(site.database, after.as_ref(), SLICE)?;
        let Some(last) = page.last() else { return Ok(found) };
        after = Some(last.device.clone());
        for known in page {
            if has_keys(&known) && job.client().is_none_or(|client| *client == known.device.client) {
                let knowledge = keys::knowledge(site, &known.device)?;
                found.push((known, knowledge));
                if found.len() == SLICE {
                    return Ok(found);
                }
            }
        }
    }
}

/// A device has the channels that policy gives it: its rights follow where they differ.
fn regrant(site: &Site<'_>, known: &DeviceRecord, outcome: &mut Outcome) -> Result<(), Failure> {
    let policy = channels::policy(site.database)?;
    let wanted: Vec<ChannelName> = policy.rows_for(known.trust).map(|row| row.name.clone()).collect();
    if wanted == known.channels {
        return Ok(());
    }
    let Some(grant) = grants::find(site.database, known.key)? else { return Ok(()) };
    let granted =
        grants::put(site.database, known.key, &known.device, grant.state, grant.certificates, wanted.clone())?;
    outcome.bridge.grant(granted);
    devices::set_channels(site.database, &known.device, wanted)?;
    outcome.tell_of_device(site, &known.device)
}

/// A channel's next rotation is due as its row says, and not later than it already was.
pub(super) fn set_rotation(site: &Site<'_>, row: &Channel) -> Result<(), Failure> {
    let timer = Timer::Rotation(row.name.clone());
    let due = site.now.after(rotation(row));
    if timers::due_at(site.database, &timer)?.is_none() {
        note_rotation(site, &row.name)?;
    }
    timers::set_by(site.database, &timer, due)
}

fn note_rotation(site: &Site<'_>, channel: &ChannelName) -> Result<(), Failure> {
    site.database.run(
        "INSERT OR REPLACE INTO rotations (channel, rotated_at) VALUES (?, ?)",
        [channel.to_string().into_value(), site.now.into_value()],
    )
}

const fn rotation(row: &Channel) -> Duration {
    Duration::from_secs(row.rotation_secs)
}

/// How a channel's keys stand.
pub(super) fn state(site: &Site<'_>, row: &Channel) -> Result<ChannelKeyState, Failure> {
    let query = "SELECT rotated_at FROM rotations WHERE channel = ?";
    Ok(ChannelKeyState {
        channel: row.name.clone(),
        rotated_at: site.database.one(query, [row.name.to_string().into_value()])?,
        rotates_at: timers::due_at(site.database, &Timer::Rotation(row.name.clone()))?,
    })
}

/// The jobs that are not done, with their numbers, oldest first. They are few: a newer one supersedes those that it covers.
fn all(database: &Database) -> Result<Vec<(u64, Rekeying)>, Failure> {
    let rows = database.rows("SELECT number, record FROM rekeyings ORDER BY number", [])?;
    rows.into_iter().map(|mut row| Ok((row.take()?, row.take_record()?))).collect()
}

/// What people see of them.
pub(super) fn views(database: &Database) -> Result<Vec<KeyJob>, Failure> {
    let view = |(_, job): (u64, Rekeying)| {
        let progress = job.progress();
        KeyJob {
            reason: match job.why() {
                Why::Schedule => KeyJobReason::Schedule,
                Why::ByHand => KeyJobReason::ByHand,
                Why::Policy => KeyJobReason::Policy,
                Why::Cut(_) => KeyJobReason::Revocation,
                Why::Restored { .. } => KeyJobReason::Restored,
            },
            began_at: job.began_at(),
            devices: progress.devices,
            reached: progress.reached,
        }
    };
    Ok(all(database)?.into_iter().map(view).collect())
}

/// People see how far new keys are.
fn tell(site: &Site<'_>, outcome: &mut Outcome) -> Result<(), Failure> {
    outcome.people.push(LiveEvent::Keys { jobs: views(site.database)? });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{OnTheWay, PATIENCE, WINDOW};
    use core::time::Duration;
    use wardlink_protocol::{Device, UnixMillis};

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn pump(number: usize) -> Device {
        format!("infusion-pump/ip-{number}").parse().unwrap()
    }

    /// A window that is full.
    fn full() -> OnTheWay {
        let on_the_way = OnTheWay::default();
        (0..WINDOW).for_each(|number| on_the_way.send(&pump(number), NOW));
        assert!(!on_the_way.has_room(NOW));
        on_the_way
    }

    #[test]
    fn each_answer_makes_room_and_so_does_whoever_goes() {
        let on_the_way = full();
        on_the_way.answered(&pump(0));
        assert!(on_the_way.has_room(NOW));
        on_the_way.send(&pump(0), NOW);
        assert!(!on_the_way.has_room(NOW));
        on_the_way.note_presence(&pump(7), false);
        assert!(on_the_way.has_room(NOW));
    }

    #[test]
    fn who_is_silent_holds_up_nobody_until_it_is_heard_of_again() {
        let on_the_way = full();
        assert!(!on_the_way.has_room(NOW.after(PATIENCE.saturating_sub(Duration::from_millis(1)))));
        let later = NOW.after(PATIENCE);
        assert!(on_the_way.has_room(later));
        // All of them are silent: the next job does not wait for them.
        (0..WINDOW).for_each(|number| on_the_way.send(&pump(number), later));
        assert!(on_the_way.has_room(later));
        (0..WINDOW).for_each(|number| on_the_way.note_presence(&pump(number), true));
        (0..WINDOW).for_each(|number| on_the_way.send(&pump(number), later));
        assert!(!on_the_way.has_room(later));
    }
}
