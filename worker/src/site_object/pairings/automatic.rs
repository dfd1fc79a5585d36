//! Acceptance without a person, by a rule of the policy.

use super::super::{Outcome, Site};
use super::people::take_up;
use wardlink_edge::platform::log;
use wardlink_edge::problem::Failure;
use wardlink_pairing::control_unit::{Acceptance, Session};
use wardlink_pairing::policy::Applicant;
use wardlink_trust::audit::{Act, Actor};

/// Accepts a request that has just arrived, if a rule says so and nothing stands against it: another request of the same identifier,
/// or a device that can show nothing where something is to be shown. Says whether it did; otherwise the request waits for a person.
pub(super) fn accept(
    site: &Site<'_>,
    session: &Session,
    applicant: Applicant<'_>,
    outcome: &mut Outcome,
) -> Result<bool, Failure> {
    let Some((rule, origin)) = site.rules.accepting(applicant)? else { return Ok(false) };
    let acceptance = Acceptance { mode: None, location: rule.location.clone(), accepted_by: rule.name.clone() };
    let version = site.rules.version();
    match take_up(site, session.clone(), acceptance, &origin, outcome) {
        Ok(()) => {
            log!("site: a rule of the policy {version} accepts the pairing {} of {}", session.id(), session.device());
            let rule = Actor::Rule { name: rule.name.clone() };
            outcome.notes.add(rule, Act::PairingAccepted, session.device(), format!("rules of version {version}"));
            Ok(true)
        }
        Err(Failure::Problem(problem)) => {
            log!("site: no rule accepts the pairing {} of {}: {}", session.id(), session.device(), problem.title);
            Ok(false)
        }
        Err(failure) => Err(failure),
    }
}
