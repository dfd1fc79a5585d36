//! What a change of the site's settings does to requests that wait. Whatever was accepted goes on as it began.

use super::super::{Outcome, Site};
use super::{Needs, step, store};
use wardlink_edge::platform::{log, rng};
use wardlink_edge::problem::Failure;
use wardlink_protocol::identity::SecretId;

/// What the device shows when its access secret was ended before anybody answered.
const SECRET_ENDED: &str = "access secret ended";

/// The policy has changed: every request that waits is weighed anew. Each keeps its kind of network and its end.
pub(in super::super) fn weigh_anew(site: &Site<'_>, outcome: &mut Outcome) -> Result<(), Failure> {
    for mut session in store::waiting(site)? {
        session.weigh(site.rules.modes());
        store::put(site, &session, outcome)?;
    }
    Ok(())
}

/// An access secret was ended: the requests under it that nobody has answered are refused. Those that a person accepted may finish:
/// that person looked at the device.
pub(in super::super) fn refuse_under(site: &Site<'_>, id: &SecretId, outcome: &mut Outcome) -> Result<(), Failure> {
    let needs = Needs::plain(site)?;
    for mut session in store::waiting(site)? {
        if session.secret_id() == Some(id) {
            log!("site: the pairing {} of {} ends with the access secret {id}", session.id(), session.device());
            let refused =
                session.reject(needs.control_unit(site, &session)?, SECRET_ENDED.to_owned(), site.now, &mut rng());
            step(site, &session, false, refused.map_err(Failure::internal)?, outcome)?;
        }
    }
    Ok(())
}
