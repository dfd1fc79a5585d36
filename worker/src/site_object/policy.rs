//! The site's rules for pairings, as people set them.

use super::{Site, classes};
use crate::guard::Origin;
use wardlink_edge::messages::Vantage;
use wardlink_edge::platform::log;
use wardlink_edge::problem::Failure;
use wardlink_edge::storage::{Column, Database, record};
use wardlink_pairing::policy::{self, Applicant, Policy};
use wardlink_protocol::UnixMillis;
use wardlink_protocol::api::{AcceptanceRule, PairingPolicy, Person, PolicyView, ProblemKind};
use wardlink_protocol::network::{Network, NetworkOrigin};

/// The rules in force.
pub(super) struct Rules {
    policy: PairingPolicy,
    /// The same, as the state machines take it.
    modes: Policy,
    /// None: they are those of a new site.
    change: Option<Change>,
}

struct Change {
    at: UnixMillis,
    by: String,
    /// Where the person reached the control unit.
    origin: String,
}

impl Rules {
    /// Reads them.
    pub(super) fn open(database: &Database) -> Result<Self, Failure> {
        let query = "SELECT record, changed_at, changed_by, origin FROM policy";
        let Some(mut row) = database.row(query, [])? else { return Ok(Self::new(policy::new_site(), None)) };
        let policy = row.take_record()?;
        Ok(Self::new(policy, Some(Change { at: row.take()?, by: row.take()?, origin: row.take()? })))
    }

    fn new(policy: PairingPolicy, change: Option<Change>) -> Self {
        Self { modes: Policy::from(&policy), policy, change }
    }

    /// Rises with every change.
    pub(super) const fn version(&self) -> u64 {
        self.policy.version
    }

    /// What the state machines need.
    pub(super) const fn modes(&self) -> &Policy {
        &self.modes
    }

    /// What kind of network a connection from there came over.
    pub(super) fn network_of(&self, origin: &NetworkOrigin) -> Network {
        policy::network_of(&self.policy, origin)
    }

    /// The rule that accepts this applicant without a person, and the origin that the device is told: the one under which the rules
    /// were set.
    pub(super) fn accepting(&self, applicant: Applicant<'_>) -> Result<Option<(&AcceptanceRule, Origin)>, Failure> {
        let rule = policy::rule_for(&self.policy, applicant).zip(self.change.as_ref());
        rule.map(|(rule, change)| Ok((rule, change.origin.parse()?))).transpose()
    }

    /// As people see them.
    pub(super) fn view(&self, vantage: Vantage) -> PolicyView {
        PolicyView {
            policy: self.policy.clone(),
            changed_at: self.change.as_ref().map(|change| change.at),
            changed_by: self.change.as_ref().map(|change| change.by.clone()),
            trust: vantage.trust,
            here: vantage.here,
        }
    }
}

/// A person changes the rules. They have to be made from those in force.
pub(super) fn set(site: &Site<'_>, person: &Person, origin: &Origin, new: PairingPolicy) -> Result<Rules, Failure> {
    if new.version != site.rules.policy.version {
        return Err(ProblemKind::Outdated.into());
    }
    let known = classes::all(site.database)?;
    policy::check(&new, |client| known.iter().any(|class| class.client == *client))
        .map_err(|error| Failure::with_detail(ProblemKind::InvalidPolicy, sentence(&error.to_string())))?;
    let policy = PairingPolicy { version: new.version.saturating_add(1), ..new };
    let change = Change { at: site.now, by: person.name.clone(), origin: origin.to_string() };
    site.database.run(
        "INSERT OR REPLACE INTO policy (one, record, changed_at, changed_by, origin) VALUES (1, ?, ?, ?, ?)",
        [record(&policy)?, change.at.into_value(), change.by.clone().into_value(), change.origin.clone().into_value()],
    )?;
    log!(
        "site: person {} sets the pairing policy {}: {} secured networks, at least {:?} there and {:?} elsewhere, serial number \
         asked for: {:?}, {} and {} min, {} rules of acceptance",
        person.id,
        policy.version,
        policy.secured_networks.len(),
        policy.least_on_secured,
        policy.least_on_untrusted,
        policy.serial_question,
        policy.request_minutes,
        policy.verification_minutes,
        policy.acceptance.len(),
    );
    Ok(Rules::new(policy, Some(change)))
}

/// A phrase as a sentence.
fn sentence(phrase: &str) -> String {
    let mut characters = phrase.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).chain(core::iter::once('.')).collect()
}
