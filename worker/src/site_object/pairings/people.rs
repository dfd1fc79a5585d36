//! What people do with pairings.

use super::super::{Outcome, Site, audit};
use super::actions::withdraw;
use super::{Needs, refused, step, store};
use crate::guard::Origin;
use wardlink_edge::http::json;
use wardlink_edge::platform::{log, rng};
use wardlink_edge::problem::Failure;
use wardlink_pairing::control_unit::{Acceptance, AttemptRefusal, Begun, PendingAttempt, Session};
use wardlink_protocol::api::{
    Accept, PairingPhase, PairingView, Person, ProblemKind, Reject, Verify, VerifyAnswer, VerifyResult,
};
use wardlink_protocol::identity::SessionId;
use wardlink_trust::audit::{Act, Outcome as Went};
use worker::Response;

/// What a person does in one turn; verification takes two.
pub(in super::super) enum Step {
    Accept(Accept),
    Reject(Reject),
    Dismiss,
    Cancel,
}

/// Takes a person's step; answers with the pairing after it.
pub(in super::super) fn act(
    site: &Site<'_>,
    person: &Person,
    origin: &Origin,
    id: SessionId,
    what: Step,
    outcome: &mut Outcome,
) -> Result<Response, Failure> {
    let session = store::get(site, id)?;
    let name = match &what {
        Step::Accept(_) => "accepts",
        Step::Reject(_) => "rejects",
        Step::Dismiss => "dismisses",
        Step::Cancel => "cancels",
    };
    log!("site: person {} {name} the pairing {id} of {}", person.id, session.device());
    let (act, detail) = match &what {
        Step::Accept(accept) => (Act::PairingAccepted, accept.location.clone()),
        Step::Reject(reject) => (Act::PairingRejected, reject.note.clone()),
        Step::Dismiss => (Act::PairingRejected, "dismissed".to_owned()),
        Step::Cancel => (Act::PairingCancelled, String::new()),
    };
    let device = session.device().clone();
    // Taking out of sight what is over decides nothing.
    let decides = !matches!(what, Step::Dismiss) || session.view(site.rules.modes()).phase == PairingPhase::Waiting;
    match what {
        Step::Accept(Accept { mode, location }) => {
            let acceptance = Acceptance { mode, location, accepted_by: person.name.clone() };
            take_up(site, session, acceptance, origin, outcome)?;
        }
        Step::Reject(Reject { note }) => end(site, session, Some(note), outcome)?,
        Step::Cancel => end(site, session, None, outcome)?,
        Step::Dismiss => dismiss(site, session, outcome)?,
    }
    if decides {
        outcome.notes.by(Some(person), act, &device, detail);
    }
    json(&store::view_of(site, id)?)
}

/// S4: the device's T2 comes to be, and its command is sent.
///
/// A problem means that nothing has changed.
pub(super) fn take_up(
    site: &Site<'_>,
    mut session: Session,
    acceptance: Acceptance,
    origin: &Origin,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let closing = decide_between(site, &session)?;
    let needs = Needs::accepting(site, origin)?;
    let actions =
        session.accept(acceptance, needs.control_unit(site, &session)?, site.now, &mut rng()).map_err(refused)?;
    for other in closing {
        store::archive(site, other.id())?;
        if other.key() != session.key() {
            withdraw(site, other.device(), other.key(), outcome)?;
        }
    }
    step(site, &session, false, actions, outcome)
}

/// One identifier has one live key: another request or pairing of the device that is under way has to be decided first.
/// Returns those that only wait for their end, which a new acceptance brings forward.
fn decide_between(site: &Site<'_>, session: &Session) -> Result<Vec<Session>, Failure> {
    let mut closing = Vec::new();
    for other in store::running_beside(site, session)? {
        match other.view(site.rules.modes()).phase {
            PairingPhase::Ended => closing.push(other),
            PairingPhase::Waiting | PairingPhase::Accepted | PairingPhase::Verifying => {
                let detail = "Another request of this device is open. Reject or cancel the one that is not at the bed.";
                return Err(Failure::with_detail(ProblemKind::Conflict, detail));
            }
            // Its rights end when the new pairing finishes.
            PairingPhase::Confirmed | PairingPhase::Finished => {}
        }
    }
    Ok(closing)
}

/// Ends a pairing: rejected with a note before acceptance, or cancelled after it.
fn end(site: &Site<'_>, mut session: Session, note: Option<String>, outcome: &mut Outcome) -> Result<(), Failure> {
    let needs = Needs::plain(site)?;
    let control_unit = needs.control_unit(site, &session)?;
    let actions = match note {
        Some(note) => session.reject(control_unit, note, site.now, &mut rng()),
        None => session.cancel(control_unit, site.now, &mut rng()),
    };
    step(site, &session, false, actions.map_err(refused)?, outcome)
}

/// Takes a request that nobody answers, or a pairing that is over, out of sight.
fn dismiss(site: &Site<'_>, mut session: Session, outcome: &mut Outcome) -> Result<(), Failure> {
    match session.view(site.rules.modes()).phase {
        PairingPhase::Waiting => {
            session.dismiss(site.now).map_err(refused)?;
            store::hide(site, session.id(), outcome)?;
            store::put(site, &session, outcome)?;
            Ok(())
        }
        PairingPhase::Finished | PairingPhase::Ended => store::hide(site, session.id(), outcome),
        _ => Err(ProblemKind::WrongState.into()),
    }
}

/// The first half of an attempt: it is counted. The caller makes sure that the count is on disk.
pub(in super::super) enum Counted {
    /// The attempt is to be compared.
    Pending(PendingAttempt),
    /// There is nothing to compare.
    Answered(Box<VerifyAnswer>),
}

/// Counts an attempt at verification.
pub(in super::super) fn begin_verification(
    site: &Site<'_>,
    person: &Person,
    id: SessionId,
    verify: &Verify,
) -> Result<Counted, Failure> {
    let mut session = store::get(site, id)?;
    let answered = |result| {
        let answer = VerifyAnswer { result, pairing: store::view_of(site, id)? };
        Ok(Counted::Answered(Box::new(answer)))
    };
    match session.begin_attempt(verify.attempt, &verify.proof, verify.serial_ending.as_deref(), site.now) {
        Ok(Begun::Counted(pending)) => {
            // People see the attempt when it is decided.
            store::put(site, &session, &mut Outcome::default())?;
            log!("site: person {} verifies the pairing {id} of {}", person.id, session.device());
            Ok(Counted::Pending(pending))
        }
        Ok(Begun::Repeated(result)) => answered(result),
        Ok(Begun::Mistyped) => answered(VerifyResult::Mistyped),
        Err(AttemptRefusal::WrongState) => Err(ProblemKind::WrongState.into()),
        Err(AttemptRefusal::NotShown) => {
            Err(Failure::with_detail(ProblemKind::ModeNotAllowed, "The device does not show this."))
        }
        Err(AttemptRefusal::SerialNeeded) => Err(ProblemKind::SerialNeeded.into()),
        Err(AttemptRefusal::KeyReused) => {
            Err(Failure::with_detail(ProblemKind::BadRequest, "This attempt was made with something else."))
        }
        Err(error) => Err(Failure::internal(error)),
    }
}

/// The second half: the attempt is compared.
pub(in super::super) fn decide_verification(
    site: &Site<'_>,
    person: &Person,
    id: SessionId,
    pending: PendingAttempt,
    outcome: &mut Outcome,
) -> Result<VerifyAnswer, Failure> {
    let mut session = store::get(site, id)?;
    let needs = Needs::confirming(site, session.device())?;
    let decided = session.decide(pending, needs.control_unit(site, &session)?, site.now, &mut rng());
    let (result, actions) = decided.map_err(refused)?;
    log!("site: pairing {id}: {result:?}");
    let (act, went) = match result {
        VerifyResult::Verified => (Act::PairingVerified, Went::Done),
        VerifyResult::Wrong | VerifyResult::Mistyped => (Act::PairingAttempted, Went::Refused),
    };
    outcome.notes.put(audit::actor(Some(person)), act, session.device(), "", went);
    step(site, &session, false, actions, outcome)?;
    let pairing: PairingView = store::view_of(site, id)?;
    Ok(VerifyAnswer { result, pairing })
}
