//! A session as people see it.

use wardlink_protocol::api::{PairingPhase, PairingView};
use wardlink_protocol::pairing::{DeviceInformation, RefusalReason};

use super::Session;
use super::state::State;
use crate::policy::{Choice, Policy};
use crate::serial::hide_ending;

pub(super) fn view(session: &Session, policy: &Policy) -> PairingView {
    let candidates = session.candidates(policy);
    let choice = choice(&session.state);
    let (reason, note) = ending(&session.state);
    PairingView {
        session: session.id,
        device: session.device.clone(),
        information: information(session),
        key: session.key,
        address: session.address,
        network: session.network,
        asks_serial: session.asks_serial,
        phase: phase(&session.state),
        modes: candidates.iter().map(|choice| choice.mode).collect(),
        mode: choice.map(|choice| choice.mode),
        code_beside: choice.is_some_and(|choice| choice.code_beside),
        location: session.location.clone(),
        accepted_by: session.accepted_by.clone(),
        attempts_left: session.attempts_left(),
        answer: answer(&session.state),
        replaces: session.replaces.is_some(),
        requested_at: session.requested_at,
        accepted_at: session.accepted_at,
        verifying_at: session.verifying_at,
        confirmed_at: session.confirmed_at,
        ended_at: session.ended_at,
        expires_at: session.expires_at,
        reason,
        note,
    }
}

/// Where the end of the serial number is asked for, only a verified session shows it; one that ended without keeps it hidden.
fn information(session: &Session) -> DeviceInformation {
    let mut information = session.information.clone();
    if session.asks_serial && !matches!(session.state, State::Confirmed(_) | State::Finished(_)) {
        information.serial_number = hide_ending(&information.serial_number);
    }
    information
}

const fn phase(state: &State) -> PairingPhase {
    match state {
        State::Requested(_) => PairingPhase::Waiting,
        State::Commanded(_) => PairingPhase::Accepted,
        State::Verifying(_) => PairingPhase::Verifying,
        State::Confirmed(_) => PairingPhase::Confirmed,
        State::Finished(_) => PairingPhase::Finished,
        State::Ended(_) => PairingPhase::Ended,
    }
}

pub(super) fn choice(state: &State) -> Option<Choice> {
    match state {
        State::Requested(_) => None,
        State::Commanded(state) => Some(state.choice),
        State::Verifying(state) => Some(state.commanded.choice),
        State::Confirmed(state) => Some(state.choice),
        State::Finished(state) => Some(state.choice),
        State::Ended(ended) => ended.choice,
    }
}

/// Only the device that was verified has the keys from which the same answer comes.
fn answer(state: &State) -> Option<String> {
    match state {
        State::Confirmed(state) => state.answer.map(|answer| answer.to_string()),
        _ => None,
    }
}

fn ending(state: &State) -> (Option<RefusalReason>, String) {
    match state {
        State::Ended(ended) => (ended.reason, ended.note.clone()),
        _ => (None, String::new()),
    }
}
