//! Mode selection (Coupling, claim 1): the control unit weighs every candidate.

use core::time::Duration;
use serde::{Deserialize, Serialize};
use wardlink_protocol::api::{PairingPolicy, SerialQuestion};
use wardlink_protocol::identity::TrustLevel;
pub use wardlink_protocol::network::Network;
use wardlink_protocol::pairing::{DisplayAbilities, Mode};

mod rules;
pub use rules::{Applicant, InvalidPolicy, check, network_of, new_site, rule_for};

/// The site's rules as one pairing needs them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The weakest mode on a secured network.
    pub least_on_secured: Mode,
    /// The weakest mode on an untrusted network; simple counts as code there.
    pub least_on_untrusted: Mode,
    /// When a person has to give the end of the serial number, too.
    pub serial_question: SerialQuestion,
    /// How long a request waits for a person.
    pub request_lifetime: Duration,
    /// How long an accepted pairing waits for its verification.
    pub verification_lifetime: Duration,
    /// How long a device's certificate holds.
    pub certificate_lifetime: Duration,
}

/// How long a device's certificate holds, unless the site's settings say otherwise: a year.
const CERTIFICATE_LIFETIME: Duration = Duration::from_hours(365 * 24);

impl From<&PairingPolicy> for Policy {
    fn from(policy: &PairingPolicy) -> Self {
        Self {
            least_on_secured: policy.least_on_secured,
            least_on_untrusted: policy.least_on_untrusted,
            serial_question: policy.serial_question,
            request_lifetime: minutes(policy.request_minutes),
            verification_lifetime: minutes(policy.verification_minutes),
            certificate_lifetime: CERTIFICATE_LIFETIME,
        }
    }
}

impl Default for Policy {
    /// That of a new site.
    fn default() -> Self {
        Self::from(&new_site())
    }
}

const fn minutes(count: u32) -> Duration {
    Duration::from_secs(count as u64 * 60)
}

/// A chosen mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The mode.
    pub mode: Mode,
    /// In QR mode: whether the device also shows the code.
    pub code_beside: bool,
}

impl Choice {
    /// How far a device is trusted that was paired so.
    pub const fn trust(self) -> TrustLevel {
        match self.mode {
            Mode::PairingSimple => TrustLevel::Reduced,
            Mode::PairingCode | Mode::PairingQrcode => TrustLevel::Full,
        }
    }

    /// Whether the device shows the code.
    pub const fn shows_code(self) -> bool {
        matches!(self.mode, Mode::PairingCode) || self.code_beside
    }

    /// Whether the device shows the QR code.
    pub const fn shows_qr(self) -> bool {
        matches!(self.mode, Mode::PairingQrcode)
    }
}

/// The caller's fault: the mode is weaker than policy asks for, or the device cannot show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy or the device's display does not allow this mode")]
pub struct ModeNotAllowed;

impl Policy {
    /// The weakest mode that counts on `network`.
    fn least(&self, network: Network) -> Mode {
        match network {
            Network::Secured => self.least_on_secured,
            // An untrusted network never goes without verification.
            Network::Untrusted => self.least_on_untrusted.max(Mode::PairingCode),
        }
    }

    /// Whether a verification of this kind over `network` takes the end of the serial number, too.
    pub(crate) const fn asks(&self, network: Network, choice: Choice) -> bool {
        !matches!(choice.mode, Mode::PairingSimple) && self.asks_serial(network)
    }

    /// Whether verifications over `network` take the end of the serial number, too.
    pub(crate) const fn asks_serial(&self, network: Network) -> bool {
        match self.serial_question {
            SerialQuestion::Never => false,
            SerialQuestion::Untrusted => matches!(network, Network::Untrusted),
            SerialQuestion::Always => true,
        }
    }

    /// Every mode that a person may choose, the proposed one first.
    ///
    /// On a secured network the least that policy asks for is proposed; on an untrusted one the strongest that the device can show.
    pub fn candidates(&self, network: Network, display: DisplayAbilities) -> Vec<Choice> {
        let least = self.least(network);
        let code_allowed = display.code && least <= Mode::PairingCode;
        let weighed =
            [(Mode::PairingSimple, true), (Mode::PairingCode, display.code), (Mode::PairingQrcode, display.qr)];
        let mut choices: Vec<Choice> = weighed
            .into_iter()
            .filter(|(mode, can_show)| *mode >= least && *can_show)
            .map(|(mode, _)| Choice { mode, code_beside: mode == Mode::PairingQrcode && code_allowed })
            .collect();
        if network == Network::Untrusted {
            choices.reverse();
        }
        choices
    }

    /// The choice for the mode that a person asks for, or the proposed one.
    pub fn choose(
        &self,
        network: Network,
        display: DisplayAbilities,
        asked: Option<Mode>,
    ) -> Result<Choice, ModeNotAllowed> {
        choose_of(&self.candidates(network, display), asked)
    }
}

/// The candidate for the mode that a person asks for, or the proposed one.
pub(crate) fn choose_of(candidates: &[Choice], asked: Option<Mode>) -> Result<Choice, ModeNotAllowed> {
    let fits = |choice: &&Choice| asked.is_none_or(|mode| choice.mode == mode);
    candidates.iter().find(fits).copied().ok_or(ModeNotAllowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: DisplayAbilities = DisplayAbilities { code: true, qr: true, digit_entry: false };
    const DIGITS: DisplayAbilities = DisplayAbilities { code: true, qr: false, digit_entry: false };
    const NOTHING: DisplayAbilities = DisplayAbilities { code: false, qr: false, digit_entry: false };

    fn modes(choices: &[Choice]) -> Vec<Mode> {
        choices.iter().map(|choice| choice.mode).collect()
    }

    #[test]
    fn an_untrusted_network_proposes_the_strongest_mode_and_never_simple() {
        let policy = Policy { least_on_untrusted: Mode::PairingSimple, ..Policy::default() };
        let choices = policy.candidates(Network::Untrusted, BOTH);
        assert_eq!(modes(&choices), [Mode::PairingQrcode, Mode::PairingCode]);
        assert_eq!(choices.first(), Some(&Choice { mode: Mode::PairingQrcode, code_beside: true }));
        assert!(policy.candidates(Network::Untrusted, NOTHING).is_empty());
        assert_eq!(policy.choose(Network::Untrusted, BOTH, Some(Mode::PairingSimple)), Err(ModeNotAllowed));
    }

    #[test]
    fn a_secured_network_proposes_simple_and_a_person_can_ask_for_more() {
        let policy = Policy::default();
        let proposed = policy.choose(Network::Secured, BOTH, None).map(|choice| choice.mode);
        assert_eq!(proposed, Ok(Mode::PairingSimple));
        let more = policy.choose(Network::Secured, BOTH, Some(Mode::PairingQrcode)).map(|choice| choice.mode);
        assert_eq!(more, Ok(Mode::PairingQrcode));
    }

    #[test]
    fn nobody_can_ask_for_less_than_policy() {
        let policy = Policy {
            least_on_secured: Mode::PairingCode,
            least_on_untrusted: Mode::PairingQrcode,
            ..Policy::default()
        };
        assert_eq!(policy.choose(Network::Secured, BOTH, Some(Mode::PairingSimple)), Err(ModeNotAllowed));
        assert_eq!(policy.choose(Network::Untrusted, BOTH, Some(Mode::PairingCode)), Err(ModeNotAllowed));
        assert_eq!(policy.choose(Network::Untrusted, DIGITS, None), Err(ModeNotAllowed));
    }

    #[test]
    fn the_code_stands_beside_the_qr_code_only_where_policy_allows_the_code() {
        let strict = Policy { least_on_untrusted: Mode::PairingQrcode, ..Policy::default() };
        let choice = strict.choose(Network::Untrusted, BOTH, None);
        assert_eq!(choice, Ok(Choice { mode: Mode::PairingQrcode, code_beside: false }));
        assert!(choice.is_ok_and(|choice| choice.shows_qr() && !choice.shows_code()));
    }

    #[test]
    fn only_simple_gives_reduced_trust() {
        let trust = |mode| Choice { mode, code_beside: false }.trust();
        assert_eq!(trust(Mode::PairingSimple), TrustLevel::Reduced);
        assert_eq!(trust(Mode::PairingCode), TrustLevel::Full);
        assert_eq!(trust(Mode::PairingQrcode), TrustLevel::Full);
    }
}
