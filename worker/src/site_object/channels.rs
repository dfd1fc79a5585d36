//! The site's channel policy: its rows, a look at what a change would do, and the change.

use super::{Outcome, Site, rekeying};
use wardlink_edge::platform::log;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, record};
use wardlink_protocol::api::{ChannelsChange, ChannelsView, Person, ProblemKind};
use wardlink_protocol::channel::{Channel, ChannelName};
use wardlink_trust::audit::Act;
use wardlink_trust::policy::{ChannelPolicy, Preview};

/// The rows in force.
pub(super) fn policy(database: &Database) -> Result<ChannelPolicy, Failure> {
    let row = database.row("SELECT record FROM channels", [])?;
    row.map_or_else(|| Ok(ChannelPolicy::default()), |mut row| row.take_record())
}

/// The rows as people see them, with how far new keys are on their way.
pub(super) fn view(site: &Site<'_>) -> Result<ChannelsView, Failure> {
    let database = site.database;
    let channels: Vec<Channel> = policy(database)?.into();
    let keys = channels.iter().map(|row| rekeying::state(site, row)).collect::<Result<_, _>>()?;
    let jobs = rekeying::views(database)?;
    let Some(mut row) = database.row("SELECT version, changed_at, changed_by FROM channels", [])? else {
        return Ok(ChannelsView { version: 0, channels, changed_at: None, changed_by: None, keys, jobs });
    };
    let (version, changed_at, changed_by) = (row.take()?, Some(row.take()?), Some(row.take()?));
    Ok(ChannelsView { version, channels, changed_at, changed_by, keys, jobs })
}

/// What it would do to put these rows in force.
pub(super) fn preview(site: &Site<'_>, change: ChannelsChange) -> Result<Preview, Failure> {
    let next = checked(site, change)?;
    Ok(policy(site.database)?.preview(&next, &rekeying::population(site.database)?))
}

/// A person puts rows in force: rights and keys follow, device by device.
pub(super) fn set(
    site: &Site<'_>,
    person: &Person,
    change: ChannelsChange,
    outcome: &mut Outcome,
) -> Result<ChannelsView, Failure> {
    let version = change.version;
    let next = checked(site, change)?;
    let before = policy(site.database)?;
    let population = rekeying::population(site.database)?;
    let preview = before.preview(&next, &population);
    if !preview.is_empty() {
        log!("site: person {} changes the channels; devices that get a key: {}", person.id, preview.rekeyed);
        let names: Vec<&str> = preview.changes.iter().map(|change| change.channel.as_str()).collect();
        outcome.notes.by(
            Some(person),
            Act::ChannelsChanged,
            &names.join(", "),
            format!("version {}", version.saturating_add(1)),
        );
        let values = [
            record(&next)?,
            version.saturating_add(1).into_value(),
            site.now.into_value(),
            person.name.clone().into_value(),
        ];
        site.database.run(
            "INSERT OR REPLACE INTO channels (one, record, version, changed_at, changed_by) VALUES (1, ?, ?, ?, ?)",
            values,
        )?;
        for row in next.rows() {
            rekeying::set_rotation(site, row)?;
        }
        rekeying::begin_all(site, &preview.jobs(&population, site.now), &Preview::classes(&population), outcome)?;
    }
    view(site)
}

/// The rows of a change, if they hold together and nobody else was faster.
fn checked(site: &Site<'_>, change: ChannelsChange) -> Result<ChannelPolicy, Failure> {
    let version: Option<u64> = site.database.one("SELECT version FROM channels", [])?;
    if version.unwrap_or_default() != change.version {
        return Err(ProblemKind::Outdated.into());
    }
    ChannelPolicy::new(change.channels)
        .map_err(|error| Failure::with_detail(ProblemKind::InvalidPolicy, format!("{error}.")))
}

/// The row of a channel that a person named.
pub(super) fn row(database: &Database, name: &ChannelName) -> Result<Channel, Failure> {
    Ok(policy(database)?.row(name).cloned().ok_or(ProblemKind::NotFound)?)
}
