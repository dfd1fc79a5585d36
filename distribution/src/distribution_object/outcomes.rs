//! What became of updates (figure 10, 218 to 220; figure 12): stored, shown, retried within limits.

use super::catalog::{self, Known, Progress};
use super::{DistributionObject, offered, reports, text};
use core::time::Duration;
use wardlink_edge::messages::{Dealt, Orders};
use wardlink_edge::platform::{log, now};
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, MAX_INTEGER};
use wardlink_protocol::Device;
use wardlink_protocol::api::words::DIRECTIVE_REFUSED;
use wardlink_protocol::api::{OUTCOMES_PAGE, OutcomeView, UpdateState};
use wardlink_update::uptane::{FIRST_RETRY, MAX_RETRIES, Notification, Outcome, Postponed};

/// A device that fails so often in a row is set aside until a person decides.
const MAX_FAILURES: u64 = 3;
/// Half of how long a device that has failed is given nothing, the first time; later times wait twice as long each.
const FIRST_PAUSE: Duration = Duration::from_mins(5);
/// How long a device goes on by itself when its image is corrupt; only then it is directed anew, after a pause as above.
const OWN_RETRIES: Duration = FIRST_RETRY.saturating_mul((1 << MAX_RETRIES) - 1);
/// The outcomes of a device that are kept, the newest ones.
const KEPT: u64 = 200;
/// The longest notification, in bytes.
const MAX_NOTIFICATION_BYTES: usize = 16 * 1024;
const STEP: &str = "figure 10, 218";

impl DistributionObject {
    /// A gateway tells what became of an update.
    pub(super) async fn outcome(&self, gateway: &Device, bytes: &[u8]) -> Result<Dealt, Failure> {
        if bytes.len() > MAX_NOTIFICATION_BYTES {
            return Ok(reports::refused(STEP, &"it is too long"));
        }
        let told: Notification = match serde_json::from_slice(bytes) {
            Ok(told) => told,
            Err(error) => return Ok(reports::refused(STEP, &error)),
        };
        if told.directive > MAX_INTEGER {
            return Ok(reports::refused(STEP, &"there is no such directive"));
        }
        let database = self.database.open()?;
        let Some(known) = catalog::find(database, &told.device)? else {
            return Ok(reports::refused(STEP, &format!("the catalog has no {}", told.device)));
        };
        // What it was given before a second one reported it too, it may have installed meanwhile.
        if known.gateway.as_ref() != Some(gateway) {
            return Ok(reports::refused(STEP, &format!("{} is not updated through {gateway}", told.device)));
        }
        let is_news = !was_told(database, &told)?;
        // What holds it up is news again where it has begun since then.
        let is_held_up = matches!(told.outcome, Outcome::Corrupt | Outcome::Postponed(_));
        if is_news || is_held_up && known.progress.standing == UpdateState::Installing {
            database.step(|database| {
                if is_news && told.outcome != Outcome::Begun {
                    store(database, gateway, &told)?;
                }
                match &told.outcome {
                    Outcome::Refused { .. } if told.path.is_none() && told.device == *gateway => {
                        hold_up(database, gateway, &told.outcome)
                    }
                    _ => take(database, &known, &told),
                }
            })?;
        }
        let directive = self.match_anew(gateway, false).await?;
        Ok(Dealt { refused: None, orders: Orders { directive, devices: None } })
    }
}

/// Whether it was told before: a gateway whose answer was lost tells it again. Why a device waits may come back, and is then news; but neither that nor that
/// it has begun is any once it has come to an end.
fn was_told(database: &Database, told: &Notification) -> Result<bool, Failure> {
    let query = "SELECT EXISTS (SELECT 1 FROM outcomes
                     WHERE client = ?1 AND identifier = ?2 AND directive = ?3 AND path IS ?4
                         AND (outcome = ?5 AND detail = ?6 AND (outcome <> 'postponed' OR id = (SELECT max(id) FROM outcomes
                                 WHERE client = ?1 AND identifier = ?2))
                             OR ?5 IN ('begun', 'postponed') AND outcome IN ('installed', 'failed')))";
    let (outcome, detail) = words(&told.outcome);
    let [client, identifier] = catalog::names(&told.device);
    let path = told.path.as_ref().map(ToString::to_string).into_value();
    let values = [client, identifier, told.directive.into_value(), path, text(outcome), text(&detail)];
    Ok(database.one(query, values)?.unwrap_or_default())
}

fn store(database: &Database, gateway: &Device, told: &Notification) -> Result<(), Failure> {
    let (outcome, detail) = words(&told.outcome);
    let [client, identifier] = catalog::names(&told.device);
    database.run(
        "INSERT INTO outcomes (at, gateway, client, identifier, directive, path, outcome, detail)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            now().into_value(),
            text(gateway),
            client.clone(),
            identifier.clone(),
            told.directive.into_value(),
            told.path.as_ref().map(ToString::to_string).into_value(),
            text(outcome),
            text(&detail),
        ],
    )?;
    database.run(
        "DELETE FROM outcomes WHERE client = ?1 AND identifier = ?2 AND id <= (SELECT id FROM outcomes
             WHERE client = ?1 AND identifier = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)",
        [client, identifier, KEPT.into_value()],
    )
}

fn words(outcome: &Outcome) -> (&'static str, String) {
    match outcome {
        Outcome::Begun => ("begun", String::new()),
        Outcome::Installed { revision, release_counter } => {
            ("installed", format!("{revision}, release {release_counter}"))
        }
        Outcome::Refused { step, reason } => ("refused", format!("{step}: {reason}")),
        Outcome::Failed { reason } => ("failed", reason.to_string()),
        Outcome::Corrupt => ("corrupt", String::new()),
        Outcome::Postponed(until) => ("postponed", word(*until).to_owned()),
    }
}

const fn word(until: Postponed) -> &'static str {
    match until {
        Postponed::Therapy => "therapy",
        Postponed::Unsafe => "unsafe",
        Postponed::Window => "window",
        Postponed::Confirmation => "confirmation",
    }
}

/// What follows for the device.
fn take(database: &Database, known: &Known, told: &Notification) -> Result<(), Failure> {
    let device = &told.device;
    let (outcome, detail) = words(&told.outcome);
    let before = &known.progress;
    let progress = match &told.outcome {
        Outcome::Installed { .. } => {
            let Some(mut state) = known.state.clone() else { return Ok(()) };
            told.outcome.apply(&mut state);
            catalog::put_state(database, Some(known), &state, None)?;
            Progress::new(UpdateState::Current, None, None)
        }
        // Only a person, or success, changes that.
        _ if before.standing == UpdateState::SetAside => return Ok(()),
        // What it was given before this says nothing of what it is given now.
        _ if before.path.as_ref().zip(told.path.as_ref()).is_some_and(|(now, of)| now != of.as_str()) => return Ok(()),
        Outcome::Begun => {
            let is_given =
                !matches!(before.standing, UpdateState::Current | UpdateState::Withheld | UpdateState::Recalled);
            if !is_given || before.path.is_none() {
                return Ok(());
            }
            Progress { standing: UpdateState::Installing, detail: None, ..before.clone() }
        }
        Outcome::Postponed(_) => Progress { standing: UpdateState::Postponed, detail: Some(detail), ..before.clone() },
        // It goes on by itself, and all of that counts once.
        Outcome::Corrupt | Outcome::Refused { .. } | Outcome::Failed { .. } if now() < before.retry_at => {
            Progress { standing: UpdateState::Retrying, detail: Some(detail), ..before.clone() }
        }
        Outcome::Corrupt | Outcome::Refused { .. } | Outcome::Failed { .. } => {
            catalog::note(database, device, outcome, None, Some(&detail))?;
            let failures = before.failures.saturating_add(1);
            let rests = told.outcome != Outcome::Corrupt;
            let pause = FIRST_PAUSE.saturating_mul(1 << u32::try_from(failures).unwrap_or(8).min(8));
            let pause = if rests { pause } else { pause.saturating_add(OWN_RETRIES) };
            let (detail, retry_at) = (Some(detail), now().after(pause));
            if failures < MAX_FAILURES {
                let (standing, path) = (UpdateState::Retrying, before.path.clone());
                Progress { standing, detail, path, failures, retry_at, rests }
            } else {
                log!("distribution: {device} is set aside after {failures} failures");
                catalog::note(database, device, "set aside", None, None)?;
                Progress { failures, ..Progress::new(UpdateState::SetAside, detail, None) }
            }
        }
    };
    let path = told.path.as_ref().map(ToString::to_string).or_else(|| before.path.clone());
    offered::told(database, device, path.as_deref(), &progress)?;
    catalog::set_progress(database, device, progress)
}

/// A gateway refuses its directive, with all that it directs: who is in it waits, and none of them has failed. The gateway verifies it
/// again by itself.
fn hold_up(database: &Database, gateway: &Device, outcome: &Outcome) -> Result<(), Failure> {
    let (word, why) = words(outcome);
    let detail = format!("{DIRECTIVE_REFUSED}{why}");
    for Known { device, progress: before, .. } in catalog::of_gateway(database, gateway)? {
        let is_held_up = before.detail.as_ref().is_some_and(|detail| detail.starts_with(DIRECTIVE_REFUSED));
        let is_directed = matches!(before.standing, UpdateState::Directed | UpdateState::Installing);
        if !is_directed && !is_held_up || before.detail.as_ref() == Some(&detail) {
            continue;
        }
        let progress = Progress { standing: UpdateState::Postponed, detail: Some(detail.clone()), ..before };
        catalog::note(database, &device, word, None, Some(&detail))?;
        offered::told(database, &device, progress.path.as_deref(), &progress)?;
        catalog::set_progress(database, &device, progress)?;
    }
    Ok(())
}

/// The newest outcomes, of one device or of all.
pub(super) fn page(
    database: &Database,
    device: Option<&Device>,
    before: Option<u64>,
) -> Result<Vec<OutcomeView>, Failure> {
    let query = "SELECT id, at, gateway, client, identifier, directive, outcome, detail FROM outcomes
                 WHERE id < ? AND (? = '' OR (client = ? AND identifier = ?)) ORDER BY id DESC LIMIT ?";
    let [client, identifier] = device.map_or_else(|| ["", ""].map(text), catalog::names);
    let before = before.unwrap_or(u64::MAX).into_value();
    let limit = u64::try_from(OUTCOMES_PAGE).unwrap_or(u64::MAX).into_value();
    let rows = database.rows(query, [before, client.clone(), client, identifier, limit])?.into_iter();
    rows.map(|mut row| {
        Ok(OutcomeView {
            id: row.take()?,
            at: row.take()?,
            gateway: row.take::<String>()?.parse().map_err(Failure::internal)?,
            device: catalog::take_names(&mut row)?,
            directive: row.take()?,
            outcome: row.take()?,
            detail: row.take()?,
        })
    })
    .collect()
}
