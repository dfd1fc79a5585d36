//! The policy that people set: what it may say, and what follows from it.

use std::collections::BTreeSet;
use wardlink_protocol::ClientClass;
use wardlink_protocol::api::{AcceptanceRule, PairingPolicy, SerialQuestion};
use wardlink_protocol::limits::{
    MAX_ACCEPTANCE_RULES, MAX_NOTE_BYTES, MAX_REQUEST_MINUTES, MAX_SECURED_NETWORKS, MAX_TEXT_BYTES,
    MAX_VERIFICATION_MINUTES, REQUEST_LIFETIME, VERIFICATION_LIFETIME,
};
use wardlink_protocol::network::{Network, NetworkMatch, NetworkOrigin};
use wardlink_protocol::pairing::Mode;

/// The person's fault: what a policy may not say. Networks and rules are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// Nobody would look at a device that came from anywhere.
    #[error("on an untrusted network the weakest mode is the code")]
    SimpleOnUntrusted,
    /// Too many secured networks.
    #[error("there are more than {MAX_SECURED_NETWORKS} secured networks")]
    TooManyNetworks,
    /// A network's name is empty, too long, or has control characters.
    #[error("network {0}: its name has to have 1 to {MAX_TEXT_BYTES} bytes, without control characters")]
    NetworkName(usize),
    /// Two networks have one name.
    #[error("network {0}: another one has the same name")]
    NetworkTwice(usize),
    /// A range that covers every address secures nothing.
    #[error("network {0}: a range that covers every address is not a network")]
    Everything(usize),
    /// The time for an answer.
    #[error("a request waits 1 to {MAX_REQUEST_MINUTES} minutes for a person")]
    RequestMinutes,
    /// The time for a verification.
    #[error("a verification waits 1 to {MAX_VERIFICATION_MINUTES} minutes")]
    VerificationMinutes,
    /// Too many rules of acceptance.
    #[error("there are more than {MAX_ACCEPTANCE_RULES} rules of acceptance")]
    TooManyRules,
    /// A rule's name is empty, too long, or has control characters.
    #[error("rule {0}: its name has to have 1 to {MAX_TEXT_BYTES} bytes, without control characters")]
    RuleName(usize),
    /// Two rules have one name.
    #[error("rule {0}: another one has the same name")]
    RuleTwice(usize),
    /// A rule's bed or location is too long, or has control characters.
    #[error("rule {0}: its location has at most {MAX_NOTE_BYTES} bytes, without control characters")]
    Location(usize),
    /// A rule for a class that the site does not have.
    #[error("rule {0}: there is no such device class")]
    Class(usize),
}

/// The policy that a new site begins with: no network is secured, and nobody is accepted without a person.
pub fn new_site() -> PairingPolicy {
    PairingPolicy {
        version: 1,
        secured_networks: Vec::new(),
        least_on_secured: Mode::PairingSimple,
        least_on_untrusted: Mode::PairingCode,
        serial_question: SerialQuestion::Never,
        request_minutes: in_minutes(REQUEST_LIFETIME),
        verification_minutes: in_minutes(VERIFICATION_LIFETIME),
        acceptance: Vec::new(),
    }
}

fn in_minutes(duration: core::time::Duration) -> u32 {
    u32::try_from(duration.as_secs() / 60).unwrap_or(u32::MAX)
}

/// Whether a policy may be set.
pub fn check(policy: &PairingPolicy, is_class: impl Fn(&ClientClass) -> bool) -> Result<(), InvalidPolicy> {
    if policy.least_on_untrusted == Mode::PairingSimple {
        return Err(InvalidPolicy::SimpleOnUntrusted);
    }
    if !(1..=MAX_REQUEST_MINUTES).contains(&policy.request_minutes) {
        return Err(InvalidPolicy::RequestMinutes);
    }
    if !(1..=MAX_VERIFICATION_MINUTES).contains(&policy.verification_minutes) {
        return Err(InvalidPolicy::VerificationMinutes);
    }
    check_networks(policy)?;
    check_rules(policy, is_class)
}

fn check_networks(policy: &PairingPolicy) -> Result<(), InvalidPolicy> {
    if policy.secured_networks.len() > MAX_SECURED_NETWORKS {
        return Err(InvalidPolicy::TooManyNetworks);
    }
    let mut names = BTreeSet::new();
    for (number, network) in (1..).zip(&policy.secured_networks) {
        if !is_name(&network.name) {
            return Err(InvalidPolicy::NetworkName(number));
        }
        if !names.insert(network.name.as_str()) {
            return Err(InvalidPolicy::NetworkTwice(number));
        }
        if matches!(&network.by, NetworkMatch::Range(range) if range.prefix_length() == 0) {
            return Err(InvalidPolicy::Everything(number));
        }
    }
    Ok(())
}

fn check_rules(policy: &PairingPolicy, is_class: impl Fn(&ClientClass) -> bool) -> Result<(), InvalidPolicy> {
    if policy.acceptance.len() > MAX_ACCEPTANCE_RULES {
        return Err(InvalidPolicy::TooManyRules);
    }
    let mut names = BTreeSet::new();
    for (number, rule) in (1..).zip(&policy.acceptance) {
        if !is_name(&rule.name) {
            return Err(InvalidPolicy::RuleName(number));
        }
        if !names.insert(rule.name.as_str()) {
            return Err(InvalidPolicy::RuleTwice(number));
        }
        if rule.location.len() > MAX_NOTE_BYTES || rule.location.chars().any(char::is_control) {
            return Err(InvalidPolicy::Location(number));
        }
        if rule.client.as_ref().is_some_and(|client| !is_class(client)) {
            return Err(InvalidPolicy::Class(number));
        }
    }
    Ok(())
}

fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control)
}

/// What kind of network a connection from there came over. It is secured only if the policy says so.
pub fn network_of(policy: &PairingPolicy, origin: &NetworkOrigin) -> Network {
    if policy.secured_networks.iter().any(|network| network.covers(origin)) {
        Network::Secured
    } else {
        Network::Untrusted
    }
}

/// Who asks, as far as rules of acceptance look at it.
#[derive(Clone, Copy, Debug)]
pub struct Applicant<'a> {
    /// Its class.
    pub client: &'a ClientClass,
    /// The kind of network that it came over.
    pub network: Network,
    /// Whether it was given an access secret of its own.
    pub own_secret: bool,
}

/// The first rule that accepts the applicant without a person.
pub fn rule_for<'a>(policy: &'a PairingPolicy, applicant: Applicant<'_>) -> Option<&'a AcceptanceRule> {
    policy.acceptance.iter().find(|rule| {
        rule.client.as_ref().is_none_or(|client| client == applicant.client)
            && rule.network.is_none_or(|network| network == applicant.network)
            && (applicant.own_secret || !rule.own_secret)
    })
}

#[cfg(test)]
mod tests;
