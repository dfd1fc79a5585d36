//! Rules before they are saved: what a change changes, what it weakens, how it meets another person's change, and what it means.

use wardlink_protocol::api::{AcceptanceRule, DeviceClass, PairingPolicy, SerialQuestion};
use wardlink_protocol::network::{AddressRange, Network, NetworkMatch};
use wardlink_protocol::pairing::Mode;

use crate::classes;
use crate::pairing::mode_name;
use crate::text::Language;

/// A range of IPv4 addresses is broad below this length of its prefix: more than 65,536 addresses.
const BROAD_V4: u8 = 16;
/// A range of IPv6 addresses is broad below this length: more than one site.
const BROAD_V6: u8 = 48;

/// A part of the rules that changes as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The secured networks.
    Networks,
    /// The least mode on them.
    LeastOnSecured,
    /// The least mode elsewhere.
    LeastOnUntrusted,
    /// When the serial number is asked for.
    SerialQuestion,
    /// How long a request waits.
    RequestMinutes,
    /// How long a verification is awaited.
    VerificationMinutes,
    /// The acceptance without a person.
    Acceptance,
}

impl Part {
    /// All parts, in the order of the screen.
    pub(super) const ALL: [Self; 7] = [
        Self::Networks,
        Self::LeastOnSecured,
        Self::LeastOnUntrusted,
        Self::SerialQuestion,
        Self::RequestMinutes,
        Self::VerificationMinutes,
        Self::Acceptance,
    ];

    /// What people call it.
    pub(super) const fn name(self, t: Language) -> &'static str {
        match self {
            Self::Networks => t.policy_networks(),
            Self::LeastOnSecured => t.policy_least_secured(),
            Self::LeastOnUntrusted => t.policy_least_untrusted(),
            Self::SerialQuestion => t.policy_serial(),
            Self::RequestMinutes => t.policy_request_minutes(),
            Self::VerificationMinutes => t.policy_verification_minutes(),
            Self::Acceptance => t.policy_acceptance(),
        }
    }

    fn is_same(self, one: &PairingPolicy, other: &PairingPolicy) -> bool {
        match self {
            Self::Networks => one.secured_networks == other.secured_networks,
            Self::LeastOnSecured => one.least_on_secured == other.least_on_secured,
            Self::LeastOnUntrusted => one.least_on_untrusted == other.least_on_untrusted,
            Self::SerialQuestion => one.serial_question == other.serial_question,
            Self::RequestMinutes => one.request_minutes == other.request_minutes,
            Self::VerificationMinutes => one.verification_minutes == other.verification_minutes,
            Self::Acceptance => one.acceptance == other.acceptance,
        }
    }

    fn copy(self, from: &PairingPolicy, into: &mut PairingPolicy) {
        match self {
            Self::Networks => into.secured_networks.clone_from(&from.secured_networks),
            Self::LeastOnSecured => into.least_on_secured = from.least_on_secured,
            Self::LeastOnUntrusted => into.least_on_untrusted = from.least_on_untrusted,
            Self::SerialQuestion => into.serial_question = from.serial_question,
            Self::RequestMinutes => into.request_minutes = from.request_minutes,
            Self::VerificationMinutes => into.verification_minutes = from.verification_minutes,
            Self::Acceptance => into.acceptance.clone_from(&from.acceptance),
        }
    }

    /// What a change brings into this part, in words.
    pub(super) fn new_in(self, before: &PairingPolicy, after: &PairingPolicy, t: Language) -> String {
        match self {
            Self::Networks => {
                let added = after.secured_networks.iter().filter(|network| !before.secured_networks.contains(network));
                added.map(|network| network.name.as_str()).collect::<Vec<_>>().join(", ")
            }
            Self::Acceptance => {
                let added = after.acceptance.iter().filter(|rule| !before.acceptance.contains(rule));
                added.map(|rule| rule.name.as_str()).collect::<Vec<_>>().join(", ")
            }
            Self::LeastOnSecured => mode_name(after.least_on_secured, t).to_owned(),
            Self::LeastOnUntrusted => mode_name(after.least_on_untrusted, t).to_owned(),
            Self::SerialQuestion => match after.serial_question {
                SerialQuestion::Never => t.serial_never().to_owned(),
                SerialQuestion::Untrusted => t.serial_untrusted().to_owned(),
                SerialQuestion::Always => t.serial_always().to_owned(),
            },
            Self::RequestMinutes => after.request_minutes.to_string(),
            Self::VerificationMinutes => after.verification_minutes.to_string(),
        }
    }

    /// Whether the change lets a device in more easily than before.
    fn is_weaker(self, before: &PairingPolicy, after: &PairingPolicy) -> bool {
        match self {
            Self::Networks => {
                let known = |by: &NetworkMatch| before.secured_networks.iter().any(|network| network.by == *by);
                after.secured_networks.iter().any(|network| !known(&network.by))
            }
            Self::LeastOnSecured => after.least_on_secured < before.least_on_secured,
            Self::LeastOnUntrusted => after.least_on_untrusted < before.least_on_untrusted,
            Self::SerialQuestion => strength(after.serial_question) < strength(before.serial_question),
            Self::RequestMinutes => false,
            Self::VerificationMinutes => after.verification_minutes > before.verification_minutes,
            Self::Acceptance => {
                let reach = |rule: &AcceptanceRule| (rule.client.clone(), rule.network, rule.own_secret);
                let known = |rule| before.acceptance.iter().any(|other| reach(other) == reach(rule));
                !after.acceptance.iter().all(known)
            }
        }
    }
}

const fn strength(question: SerialQuestion) -> u8 {
    match question {
        SerialQuestion::Never => 0,
        SerialQuestion::Untrusted => 1,
        SerialQuestion::Always => 2,
    }
}

/// The parts in which two sets of rules differ.
pub(super) fn changes(before: &PairingPolicy, after: &PairingPolicy) -> Vec<Part> {
    Part::ALL.into_iter().filter(|part| !part.is_same(before, after)).collect()
}

/// The parts that a change weakens.
pub(super) fn weaker(before: &PairingPolicy, after: &PairingPolicy) -> Vec<Part> {
    Part::ALL.into_iter().filter(|part| part.is_weaker(before, after)).collect()
}

/// My change, made again from what somebody else has saved meanwhile; and the parts that both of us changed, in which mine stays.
pub(super) fn meet(base: &PairingPolicy, mine: &PairingPolicy, theirs: &PairingPolicy) -> (PairingPolicy, Vec<Part>) {
    let mut met = theirs.clone();
    let mut both = Vec::new();
    for part in changes(base, mine) {
        part.copy(mine, &mut met);
        if !part.is_same(base, theirs) && !part.is_same(mine, theirs) {
            both.push(part);
        }
    }
    (met, both)
}

/// How many addresses a range has, where they are too many to be one ward's or one building's.
pub(super) fn is_broad(range: &AddressRange) -> bool {
    let least = if range.to_string().contains(':') { BROAD_V6 } else { BROAD_V4 };
    range.prefix_length() < least
}

/// What the rules mean, sentence by sentence. Without anybody who tells origins, no network is secured.
pub(super) fn meaning(
    policy: &PairingPolicy,
    tells_origins: bool,
    classes: &[DeviceClass],
    t: Language,
) -> Vec<String> {
    let names: Vec<&str> = policy.secured_networks.iter().map(|network| network.name.as_str()).collect();
    let has_secured = tells_origins && !names.is_empty();
    let mut sentences = Vec::new();
    if has_secured {
        sentences.push(t.means_secured(&names.join(", ")));
        sentences.push(match policy.least_on_secured {
            Mode::PairingSimple => t.means_secured_simple().to_owned(),
            Mode::PairingCode => t.means_secured_code().to_owned(),
            Mode::PairingQrcode => t.means_secured_qr().to_owned(),
        });
    } else {
        sentences.push(t.means_none_secured().to_owned());
    }
    sentences.push(match (has_secured, policy.least_on_untrusted) {
        (true, Mode::PairingQrcode) => t.means_else_qr().to_owned(),
        (true, _) => t.means_else_code().to_owned(),
        (false, Mode::PairingQrcode) => t.means_all_qr().to_owned(),
        (false, _) => t.means_all_code().to_owned(),
    });
    match policy.serial_question {
        SerialQuestion::Never => {}
        SerialQuestion::Untrusted => sentences.push(t.means_serial_untrusted().to_owned()),
        SerialQuestion::Always => sentences.push(t.means_serial_always().to_owned()),
    }
    sentences.push(t.means_waiting(policy.request_minutes, policy.verification_minutes));
    if policy.acceptance.is_empty() {
        sentences.push(t.means_person_accepts().to_owned());
    }
    sentences.extend(policy.acceptance.iter().flat_map(|rule| consequences(rule, policy, has_secured, classes, t)));
    sentences
}

/// Whom a rule is for, in words.
pub(super) fn reach(rule: &AcceptanceRule, classes: &[DeviceClass], t: Language) -> String {
    let who = match &rule.client {
        Some(client) => classes::name_of(client, classes, t),
        None => t.every_class().to_owned(),
    };
    if rule.own_secret { format!("{who}, {}", t.with_own_secret()) } else { who }
}

/// What a rule does, one sentence for each kind of network that it reaches.
pub(super) fn consequences(
    rule: &AcceptanceRule,
    policy: &PairingPolicy,
    has_secured: bool,
    classes: &[DeviceClass],
    t: Language,
) -> Vec<String> {
    let who = reach(rule, classes, t);
    let mut sentences = Vec::new();
    if rule.network != Some(Network::Untrusted) {
        sentences.push(match (has_secured, policy.least_on_secured) {
            (false, _) if rule.network.is_none() => None,
            (false, _) => Some(t.rule_reaches_nothing(&who)),
            (true, Mode::PairingSimple) => Some(t.rule_secured_simple(&who)),
            (true, _) => Some(t.rule_secured_verified(&who)),
        });
    }
    if rule.network != Some(Network::Secured) {
        sentences.push(Some(t.rule_untrusted(&who)));
    }
    sentences.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use wardlink_protocol::network::SecuredNetwork;

    fn policy() -> PairingPolicy {
        PairingPolicy {
            version: 1,
            secured_networks: Vec::new(),
            least_on_secured: Mode::PairingSimple,
            least_on_untrusted: Mode::PairingCode,
            serial_question: SerialQuestion::Never,
            request_minutes: 15,
            verification_minutes: 3,
            acceptance: Vec::new(),
        }
    }

    fn ward(range: &str) -> SecuredNetwork {
        SecuredNetwork { name: "Ward".to_owned(), by: NetworkMatch::Range(range.parse().unwrap()) }
    }

    fn rule(network: Option<Network>) -> AcceptanceRule {
        AcceptanceRule {
            name: "Pumps".to_owned(),
            client: Some("infusion-pump".parse().unwrap()),
            network,
            own_secret: false,
            location: "Store".to_owned(),
        }
    }

    #[test]
    fn a_change_that_lets_devices_in_more_easily_is_weaker() {
        let base = PairingPolicy {
            least_on_secured: Mode::PairingCode,
            least_on_untrusted: Mode::PairingQrcode,
            serial_question: SerialQuestion::Untrusted,
            ..policy()
        };
        let weaker_by = |after: PairingPolicy| weaker(&base, &after);
        assert_eq!(weaker_by(base.clone()), []);
        assert_eq!(
            weaker_by(PairingPolicy { least_on_secured: Mode::PairingSimple, ..base.clone() }),
            [Part::LeastOnSecured]
        );
        assert_eq!(
            weaker_by(PairingPolicy { least_on_untrusted: Mode::PairingCode, ..base.clone() }),
            [Part::LeastOnUntrusted]
        );
        assert_eq!(
            weaker_by(PairingPolicy { serial_question: SerialQuestion::Never, ..base.clone() }),
            [Part::SerialQuestion]
        );
        assert_eq!(
            weaker_by(PairingPolicy { secured_networks: vec![ward("10.0.0.0/8")], ..base.clone() }),
            [Part::Networks]
        );
        assert_eq!(weaker_by(PairingPolicy { acceptance: vec![rule(None)], ..base.clone() }), [Part::Acceptance]);
        assert_eq!(weaker_by(PairingPolicy { verification_minutes: 30, ..base.clone() }), [Part::VerificationMinutes]);
    }

    #[test]
    fn a_change_says_what_it_brings() {
        let t = Language::English;
        let base = policy();
        let after = PairingPolicy {
            secured_networks: vec![ward("10.0.0.0/8")],
            acceptance: vec![rule(None)],
            verification_minutes: 9,
            ..base.clone()
        };
        let said = |part: Part| part.new_in(&base, &after, t);
        assert_eq!(said(Part::Networks), "Ward");
        assert_eq!(said(Part::Acceptance), "Pumps");
        assert_eq!(said(Part::VerificationMinutes), "9");
        assert_eq!(said(Part::LeastOnUntrusted), t.mode_code());
    }

    #[test]
    fn a_change_that_takes_something_away_or_renames_it_is_not_weaker() {
        let base =
            PairingPolicy { secured_networks: vec![ward("10.0.0.0/8")], acceptance: vec![rule(None)], ..policy() };
        let renamed = SecuredNetwork { name: "ICU".to_owned(), ..ward("10.0.0.0/8") };
        for after in [
            PairingPolicy { secured_networks: Vec::new(), acceptance: Vec::new(), ..base.clone() },
            PairingPolicy { secured_networks: vec![renamed], ..base.clone() },
            PairingPolicy { least_on_secured: Mode::PairingQrcode, ..base.clone() },
            PairingPolicy { serial_question: SerialQuestion::Always, ..base.clone() },
        ] {
            assert_eq!(weaker(&base, &after), [], "{after:?}");
        }
    }

    #[test]
    fn two_changes_meet_and_only_what_both_changed_is_in_doubt() {
        let base = policy();
        let mine = PairingPolicy { request_minutes: 30, verification_minutes: 5, ..base.clone() };
        let theirs = PairingPolicy {
            version: 2,
            verification_minutes: 10,
            serial_question: SerialQuestion::Always,
            ..base.clone()
        };
        let (met, both) = meet(&base, &mine, &theirs);
        assert_eq!((met.version, met.request_minutes, met.verification_minutes), (2, 30, 5));
        assert_eq!(met.serial_question, SerialQuestion::Always);
        assert_eq!(both, [Part::VerificationMinutes]);
        assert_eq!(meet(&base, &mine, &PairingPolicy { version: 2, ..mine.clone() }).1, []);
    }

    #[test]
    fn a_range_beyond_a_building_is_broad() {
        for (range, broad) in
            [("10.0.0.0/8", true), ("10.20.0.0/16", false), ("192.0.2.7", false), ("2001:db8::/32", true)]
        {
            assert_eq!(is_broad(&range.parse().unwrap()), broad, "{range}");
        }
    }

    #[test]
    fn the_meaning_says_what_a_rule_does_on_each_kind_of_network() {
        let t = Language::English;
        let open =
            PairingPolicy { secured_networks: vec![ward("10.0.0.0/8")], acceptance: vec![rule(None)], ..policy() };
        let said = |policy: &PairingPolicy, tells| meaning(policy, tells, &[], t).join("\n");
        assert!(said(&open, true).contains(&t.rule_secured_simple("infusion-pump")));
        assert!(said(&open, true).contains(&t.rule_untrusted("infusion-pump")));
        assert!(said(&open, false).contains(t.means_none_secured()), "nobody tells origins");
        assert!(!said(&open, false).contains(&t.rule_secured_simple("infusion-pump")));
        let strict = PairingPolicy { least_on_secured: Mode::PairingCode, ..open };
        assert!(said(&strict, true).contains(&t.rule_secured_verified("infusion-pump")));
    }
}
