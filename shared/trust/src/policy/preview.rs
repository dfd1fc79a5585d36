//! What a change of policy does to which devices: shown before it is confirmed, and carried out as it was shown.

use serde::{Deserialize, Serialize};
use wardlink_protocol::channel::{Channel, ChannelName};
use wardlink_protocol::identity::TrustLevel;
use wardlink_protocol::{ClientClass, UnixMillis};

use super::{ChannelPolicy, classes_of};
use crate::epochs::{Rekeying, Target, Why};

/// How many paired devices there are of one class and one trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Population {
    /// The class.
    pub client: ClientClass,
    /// The trust.
    pub trust: TrustLevel,
    /// How many.
    pub devices: u64,
}

/// A column of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// Its priority.
    Priority,
    /// The kinds of data.
    DataTypes,
    /// MQTT's quality of service.
    Qos,
    /// The content's algorithm.
    Algorithm,
    /// Whether messages are signed.
    Signed,
    /// Who shares the key.
    Scope,
    /// Whether the bridge keeps a log.
    Durable,
    /// How long a key is used.
    Rotation,
    /// The least trust.
    Trust,
}

/// What happens to the devices of one group on one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// They get the channel: a right, and a key.
    Gains,
    /// They lose it: the right at once, and its key no longer counts.
    Loses,
    /// They keep it and get a new key with the new row.
    Rekeyed,
}

/// One group of devices that a change touches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Affected {
    /// The class.
    pub client: ClientClass,
    /// The trust.
    pub trust: TrustLevel,
    /// How many devices.
    pub devices: u64,
    /// What happens to them.
    pub effect: Effect,
}

/// What a change does to one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelChange {
    /// The channel.
    pub channel: ChannelName,
    /// Its row before; none: it is added.
    pub before: Option<Channel>,
    /// Its row afterwards; none: it is removed.
    pub after: Option<Channel>,
    /// The columns that change, where it was there and stays.
    pub fields: Vec<Field>,
    /// Whether keys are made anew. A key belongs to the row for which it was made, so that every change of what a device is told
    /// makes one; how long a key is used, and what the bridge keeps, change without.
    pub rekey: bool,
    /// Whether somebody who knows the key loses the channel: then nothing under it counts from the change on.
    pub cut: bool,
    /// The groups of devices that it touches, by class, then by trust.
    pub affected: Vec<Affected>,
}

/// What a change of policy does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preview {
    /// The channels that change: those of the new policy in its order, then those that are removed.
    pub changes: Vec<ChannelChange>,
    /// How many devices get or lose a right.
    pub regranted: u64,
    /// How many devices get a key.
    pub rekeyed: u64,
}

impl ChannelPolicy {
    /// What it would do to put `next` in this policy's place.
    pub fn preview(&self, next: &Self, population: &[Population]) -> Preview {
        let stays = next.rows().iter().map(|row| (self.row(&row.name), Some(row)));
        let removed = self.rows().iter().filter(|row| next.row(&row.name).is_none()).map(|row| (Some(row), None));
        let changes: Vec<_> =
            stays.chain(removed).filter_map(|(before, after)| change(before, after, population)).collect();
        let count = |counts: fn(Effect) -> bool| {
            let touched = |group: &&Population| {
                let same =
                    |one: &Affected| one.client == group.client && one.trust == group.trust && counts(one.effect);
                changes.iter().any(|change| change.affected.iter().any(same))
            };
            population.iter().filter(touched).map(|group| group.devices).sum()
        };
        let regranted = count(|effect| matches!(effect, Effect::Gains | Effect::Loses));
        let rekeyed = count(|effect| matches!(effect, Effect::Gains | Effect::Rekeyed));
        Preview { changes, regranted, rekeyed }
    }
}

impl Preview {
    /// Whether nothing changes.
    pub const fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The jobs that carry it out: one for the channels whose old keys still count for the overlap, one for those whose keys are
    /// cut off. Rights are granted and taken before.
    pub fn jobs(&self, population: &[Population], now: UnixMillis) -> Vec<Rekeying> {
        let devices = population.iter().map(|group| group.devices).sum();
        let target = |change: &ChannelChange| Target {
            channel: change.channel.clone(),
            row: change.after.clone(),
            scope_before: change.before.as_ref().map(|row| row.scope),
        };
        [(false, Why::Policy), (true, Why::Cut(now))]
            .into_iter()
            .map(|(cut, why)| {
                let of_kind = self.changes.iter().filter(|change| change.rekey && change.cut == cut);
                (why, of_kind.map(target).collect::<Vec<_>>())
            })
            .filter(|(_, targets)| !targets.is_empty())
            .map(|(why, targets)| Rekeying::begin(why, None, targets, devices, now))
            .collect()
    }

    /// The classes that have devices.
    pub fn classes(population: &[Population]) -> Vec<ClientClass> {
        classes_of(population).into_iter().collect()
    }
}

fn change(before: Option<&Channel>, after: Option<&Channel>, population: &[Population]) -> Option<ChannelChange> {
    let channel = after.or(before)?.name.clone();
    let fields = match (before, after) {
        (Some(before), Some(after)) => differences(before, after),
        _ => Vec::new(),
    };
    if before.is_some() && after.is_some() && fields.is_empty() {
        return None;
    }
    let told = |field: &Field| !matches!(field, Field::Durable | Field::Rotation);
    let rekey = before.is_none() || after.is_none() || fields.iter().any(told);
    let has = |row: Option<&Channel>, trust| row.is_some_and(|row| row.trust <= trust);
    let mut affected: Vec<Affected> = population
        .iter()
        .filter_map(|group| {
            let effect = match (has(before, group.trust), has(after, group.trust)) {
                (false, true) => Effect::Gains,
                (true, false) => Effect::Loses,
                (true, true) if rekey => Effect::Rekeyed,
                _ => return None,
            };
            Some(Affected { client: group.client.clone(), trust: group.trust, devices: group.devices, effect })
        })
        .collect();
    affected.sort_by(|a, b| (&a.client, a.trust).cmp(&(&b.client, b.trust)));
    // Whoever loses a channel that others keep must not read what they say next.
    let cut = before.is_some_and(|before| after.is_none_or(|after| after.trust > before.trust));
    Some(ChannelChange { channel, before: before.cloned(), after: after.cloned(), fields, rekey, cut, affected })
}

fn differences(before: &Channel, after: &Channel) -> Vec<Field> {
    let Channel { name: _, priority, data_types, qos, algorithm, signed, scope, durable, rotation_secs, trust } =
        before;
    [
        (Field::Priority, *priority != after.priority),
        (Field::DataTypes, *data_types != after.data_types),
        (Field::Qos, *qos != after.qos),
        (Field::Algorithm, *algorithm != after.algorithm),
        (Field::Signed, *signed != after.signed),
        (Field::Scope, *scope != after.scope),
        (Field::Durable, *durable != after.durable),
        (Field::Rotation, *rotation_secs != after.rotation_secs),
        (Field::Trust, *trust != after.trust),
    ]
    .into_iter()
    .filter_map(|(field, differs)| differs.then_some(field))
    .collect()
}
