//! How a gateway stands: shown on its page, and kept in a file for whoever asks from outside.

use super::broker::HubStatus;
use super::settings::Settings;
use super::store::{Associated, Attack, Contact, Devices, Directives, Failures, StoreError, Verifying};
use super::stored::StoredStatus;
use super::{GatewayError, Shared};
use crate::clock;
use core::fmt::Write as _;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use wardlink_protocol::{Device, UnixMillis};
use wardlink_update::metadata::Version;
use wardlink_update::package::Revision;
use wardlink_update::report::State;
use wardlink_update::uptane::Postponed;

const FILE: &str = "status.json";

/// Something that does not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What.
    pub what: String,
    /// Why, and what to do.
    pub why: String,
    /// Since when.
    pub since: UnixMillis,
}

/// An update that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// For what.
    pub why: Postponed,
    /// The version of the directive that offers it.
    pub directive: Version,
    /// Its revision.
    pub revision: Revision,
}

/// A device for which the gateway speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// What it runs.
    pub state: State,
    /// Whether the server updates it through this gateway.
    pub is_updated_here: bool,
    /// The update of it that waits.
    #[serde(default)]
    pub waits: Option<Waits>,
    /// Why its newest update could not be installed; none where it could.
    #[serde(default)]
    pub failed: Option<String>,
}

/// A device with a key: it verifies for itself, and speaks for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyingStatus {
    /// Which.
    pub device: Device,
    /// What it has said that it runs; none: it has said nothing here yet.
    #[serde(default)]
    pub state: Option<State>,
    /// Whether the server updates it through this gateway.
    pub is_updated_here: bool,
    /// Whether it is connected, and listens; none: this gateway is no broker.
    #[serde(default)]
    pub is_listening: Option<bool>,
    /// The revision that lies ready for it.
    #[serde(default)]
    pub offered: Option<Revision>,
    /// Why it does not install that yet, as it said last.
    #[serde(default)]
    pub postponed: Option<Postponed>,
    /// Why its newest update could not be installed; none where it could.
    #[serde(default)]
    pub failed: Option<String>,
}

/// How a gateway stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// Which gateway.
    pub gateway: Device,
    /// Whether it is paired.
    pub is_paired: bool,
    /// Whether its session stands.
    pub is_connected: bool,
    /// When the server was heard last.
    pub last_contact: Option<UnixMillis>,
    /// The newest directive that it has heard of.
    pub directive_heard: u64,
    /// The newest with which there is nothing left to do.
    pub directive_done: u64,
    /// The gateway's own program.
    #[serde(default)]
    pub own: Option<DeviceStatus>,
    /// The devices for which it speaks.
    pub devices: Vec<DeviceStatus>,
    /// Its devices with keys.
    #[serde(default)]
    pub verifying: Vec<VerifyingStatus>,
    /// Whose packages it trusts.
    pub manufacturers: Vec<String>,
    /// What the server does not know yet.
    pub outcomes_waiting: usize,
    /// The stored data of its devices.
    #[serde(default)]
    pub stored: StoredStatus,
    /// The broker of its devices, where it is one.
    #[serde(default)]
    pub hub: Option<HubStatus>,
    /// What does not work.
    pub troubles: Vec<Trouble>,
}

impl Status {
    /// A gateway that has just been switched on.
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            gateway: settings.state.characteristics.device.clone(),
            is_paired: false,
            is_connected: false,
            last_contact: None,
            directive_heard: 0,
            directive_done: 0,
            own: None,
            devices: Vec::new(),
            verifying: Vec::new(),
            manufacturers: Vec::new(),
            outcomes_waiting: 0,
            stored: StoredStatus::default(),
            hub: None,
            troubles: Vec::new(),
        }
    }

    pub(super) fn of(shared: &Shared, is_paired: bool, is_connected: bool) -> Result<Self, GatewayError> {
        let store = &shared.store;
        let Directives { heard, done, verified } = store.value()?.unwrap_or_default();
        let Devices(listed) = store.value()?.unwrap_or_default();
        let is_updated_here =
            |state: &State| listed.iter().any(|one| one.device == state.characteristics.device && one.updates);
        let waits = |state: &State| -> Result<Option<Waits>, StoreError> {
            let work = store.work(&state.characteristics.device, verified)?;
            let waits = work.postponed.zip(work.offered);
            Ok(waits.map(|(why, revision)| Waits { why, directive: verified, revision }))
        };
        let Failures(mut failures) = store.value()?.unwrap_or_default();
        let mut of = |is_updated_here, state: State| -> Result<_, StoreError> {
            let failed = failures.remove(&state.characteristics.device).filter(|_| is_updated_here);
            Ok(DeviceStatus { is_updated_here, waits: waits(&state)?, failed, state })
        };
        let own = of(shared.own.is_some(), shared.own_state()?)?;
        let mut devices = Vec::new();
        for state in shared.device_states()? {
            devices.push(of(is_updated_here(&state), state)?);
        }
        let hub = shared.broker.as_ref().map(|broker| broker.status());
        let verifying = verifying(shared, hub.as_ref())?;
        let mut troubles = shared.troubles.all();
        // What may be an attack is shown until the server knows it.
        let attack = store.value::<Attack>()?.and_then(|attack| attack.seen);
        if let Some(seen) = attack.filter(|seen| troubles.iter().all(|other| other.why != seen.note.as_str())) {
            troubles.push(Trouble { what: "attack".to_owned(), why: seen.note.to_string(), since: seen.since });
        }
        Ok(Self {
            is_paired,
            is_connected,
            last_contact: store.value::<Contact>()?.map(|Contact(at)| at),
            directive_heard: heard,
            directive_done: done,
            own: Some(own),
            devices,
            verifying,
            manufacturers: store.manufacturers()?.iter().map(ToString::to_string).collect(),
            outcomes_waiting: store.waiting()?,
            stored: shared.stored().status(),
            hub,
            troubles,
            ..Self::new(&shared.settings)
        })
    }

    /// The gateway itself cannot go on for now.
    pub(super) fn fault(&mut self, troubles: Vec<Trouble>) {
        (self.is_connected, self.troubles) = (false, troubles);
    }
}

/// The devices with keys, as the server names them, with what they have said.
fn verifying(shared: &Shared, hub: Option<&HubStatus>) -> Result<Vec<VerifyingStatus>, StoreError> {
    let known: Verifying = shared.store.value()?.unwrap_or_default();
    let status = |one: Associated| {
        let said = known.of(&one.device);
        let runs = said.map(|said| &said.state.characteristics.revision);
        let offered = said.and_then(|said| said.offered.clone()).filter(|offered| Some(offered) != runs);
        VerifyingStatus {
            state: said.map(|said| said.state.clone()),
            is_updated_here: one.updates,
            is_listening: hub.map(|hub| hub.listening.contains(&one.device)),
            postponed: said.and_then(|said| said.postponed).filter(|_| offered.is_some()),
            offered,
            failed: said.and_then(|said| said.failed.clone()),
            device: one.device,
        }
    };
    Ok(shared.with_key()?.into_iter().map(status).collect())
}

/// Where the status lies.
pub fn file(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

/// Keeps the status for whoever asks; where that fails, the page still shows it.
pub(super) fn write(directory: &Path, status: &Status) {
    let put = || {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&serde_json::to_vec_pretty(status)?)?;
        file.persist(self::file(directory)).map_err(|error| error.error)?;
        std::io::Result::Ok(())
    };
    if let Err(error) = put() {
        tracing::warn!(error = %StoreError::of_file(error), "the status cannot be kept");
    }
}

/// Reads the status of a gateway that keeps its state there.
pub fn read(directory: &Path) -> std::io::Result<Status> {
    Ok(serde_json::from_slice(&fs::read(file(directory))?)?)
}

/// The status for people, in lines.
pub fn lines(status: &Status) -> Vec<String> {
    let now = clock::now();
    let ago = |at: UnixMillis| format!("{} s ago", now.since(at).as_secs());
    let mut lines = vec![
        format!("{}  wardlink {}", status.gateway, status.version),
        format!("paired      {}", if status.is_paired { "yes" } else { "no" }),
        format!(
            "server      {}",
            match (status.is_connected, status.last_contact) {
                (true, _) => "connected".to_owned(),
                (false, Some(at)) => format!("not connected, heard {}", ago(at)),
                (false, None) => "never heard".to_owned(),
            }
        ),
        format!("directive   {} done, {} heard", status.directive_done, status.directive_heard),
        format!("trusts      {}", status.manufacturers.join(", ")),
        format!("to tell     {}", status.outcomes_waiting),
    ];
    let own = status.own.iter().map(|own| ("program", own));
    for (what, DeviceStatus { state, is_updated_here, failed, .. }) in
        own.chain(status.devices.iter().map(|of| ("device", of)))
    {
        let is = &state.characteristics;
        let counter = state.release_counter.map(|counter| format!(", release {counter}")).unwrap_or_default();
        let elsewhere = if *is_updated_here { "" } else { ", not updated through this gateway" };
        let failed = failed.as_deref().map(failed_words).unwrap_or_default();
        lines.push(format!(
            "{what:<11} {} {} revision {}{counter}{elsewhere}{failed}",
            is.device, is.model, is.revision
        ));
    }
    lines.extend(status.verifying.iter().map(verifying_line));
    lines.extend(status.hub.as_ref().map(hub_line));
    lines.extend(stored_lines(&status.stored, now));
    for trouble in &status.troubles {
        lines.push(format!("trouble     {}: {} (since {})", trouble.what, trouble.why, ago(trouble.since)));
    }
    lines
}

/// A device with a key for people.
fn verifying_line(of: &VerifyingStatus) -> String {
    let mut line = match &of.state {
        Some(state) => {
            let is = &state.characteristics;
            let counter = state.release_counter.map(|counter| format!(", release {counter}")).unwrap_or_default();
            format!("device      {} {} revision {}{counter}", is.device, is.model, is.revision)
        }
        None => format!("device      {}, has not said yet what it runs", of.device),
    };
    line.push_str(match of.is_listening {
        Some(true) => ", connected",
        Some(false) => ", not connected",
        None => "",
    });
    if !of.is_updated_here {
        line.push_str(", not updated through this gateway");
    }
    if let Some(offered) = &of.offered {
        let why = match of.postponed {
            None => "",
            Some(Postponed::Therapy) => " (it waits for the end of the therapy)",
            Some(Postponed::Unsafe) => " (it waits for a safe moment)",
            Some(Postponed::Window) => " (it waits for its time)",
            Some(Postponed::Confirmation) => " (it waits for a confirmation at the device)",
        };
        let _ = write!(line, ", revision {offered} lies ready for it{why}");
    }
    line + &of.failed.as_deref().map(failed_words).unwrap_or_default()
}

fn failed_words(why: &str) -> String {
    format!(", its last update could not be installed: {why}")
}

/// The hub for people.
fn hub_line(hub: &HubStatus) -> String {
    let at = hub.address.map_or_else(|| "not listening".to_owned(), |address| format!("at {address}"));
    let listening: Vec<String> = hub.listening.iter().map(ToString::to_string).collect();
    match (hub.is_overdue, listening.is_empty()) {
        (true, _) => format!("hub         {at}, denies everything: the server was silent for too long"),
        (false, true) => format!("hub         {at}, nobody is connected"),
        (false, false) => format!("hub         {at}, connected: {}", listening.join(", ")),
    }
}

/// The stored data for people, in lines.
fn stored_lines(stored: &StoredStatus, now: UnixMillis) -> Vec<String> {
    let oldest = stored.oldest.map(|at| format!(", the oldest {} s old", now.since(at).as_secs())).unwrap_or_default();
    let mut lines = vec![format!(
        "stored      {} records{oldest}; {} of {} MB",
        stored.records,
        stored.bytes / 1_000_000,
        stored.capacity / 1_000_000
    )];
    for of in &stored.devices {
        let impossible =
            if of.impossible > 0 { format!(", {} of them cannot be", of.impossible) } else { String::new() };
        lines.push(format!("  of        {}: {} records in {} batches{impossible}", of.device, of.records, of.batches));
    }
    if stored.refused_batches > 0 {
        lines.push(format!("refused     {} batches of stored data", stored.refused_batches));
    }
    for of in &stored.refused {
        let numbers = format!("numbers {} to {} of chain {}", of.first, of.last, of.chain);
        lines.push(format!("  of        {}: {numbers}: {}: {}", of.device, of.step, of.reason));
    }
    lines
}
