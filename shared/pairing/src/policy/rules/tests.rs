use super::*;
use core::net::{IpAddr, Ipv4Addr};
use wardlink_protocol::network::SecuredNetwork;

fn pump() -> ClientClass {
    "infusion-pump".parse().unwrap()
}

fn network(name: &str, range: &str) -> SecuredNetwork {
    SecuredNetwork { name: name.into(), by: NetworkMatch::Range(range.parse().unwrap()) }
}

fn rule(name: &str) -> AcceptanceRule {
    AcceptanceRule {
        name: name.into(),
        client: Some(pump()),
        network: Some(Network::Secured),
        own_secret: true,
        location: "Store".into(),
    }
}

/// A policy that says everything that one can say.
fn rich() -> PairingPolicy {
    let marked = SecuredNetwork { name: "Theatre".into(), by: NetworkMatch::Marker("theatre".parse().unwrap()) };
    PairingPolicy {
        secured_networks: vec![network("Ward", "10.20.0.0/16"), marked],
        acceptance: vec![rule("Own pumps"), AcceptanceRule { client: None, ..rule("Others") }],
        serial_question: SerialQuestion::Always,
        ..new_site()
    }
}

fn verdict(change: impl FnOnce(&mut PairingPolicy)) -> Result<(), InvalidPolicy> {
    let mut policy = rich();
    change(&mut policy);
    check(&policy, |client| *client == pump())
}

#[test]
fn a_new_site_and_a_rich_policy_may_be_set() {
    assert_eq!(check(&new_site(), |_| false), Ok(()));
    assert_eq!(verdict(|_| {}), Ok(()));
}

#[test]
fn what_contradicts_the_design_is_refused_and_says_where() {
    use InvalidPolicy as I;
    let long = "n".repeat(MAX_TEXT_BYTES + 1);
    assert_eq!(verdict(|policy| policy.least_on_untrusted = Mode::PairingSimple), Err(I::SimpleOnUntrusted));
    for minutes in [0, MAX_REQUEST_MINUTES + 1] {
        assert_eq!(verdict(|policy| policy.request_minutes = minutes), Err(I::RequestMinutes));
    }
    for minutes in [0, MAX_VERIFICATION_MINUTES + 1] {
        assert_eq!(verdict(|policy| policy.verification_minutes = minutes), Err(I::VerificationMinutes));
    }
    for name in ["", " ", "a\nb", long.as_str()] {
        assert_eq!(verdict(|policy| policy.secured_networks[1].name = name.into()), Err(I::NetworkName(2)));
        assert_eq!(verdict(|policy| policy.acceptance[0].name = name.into()), Err(I::RuleName(1)));
    }
    assert_eq!(verdict(|policy| policy.secured_networks[1].name = "Ward".into()), Err(I::NetworkTwice(2)));
    for range in ["0.0.0.0/0", "::/0"] {
        assert_eq!(verdict(|policy| policy.secured_networks[0] = network("Ward", range)), Err(I::Everything(1)));
    }
    assert_eq!(verdict(|policy| policy.acceptance[1].name = "Own pumps".into()), Err(I::RuleTwice(2)));
    let far = "n".repeat(MAX_NOTE_BYTES + 1);
    assert_eq!(verdict(|policy| policy.acceptance[1].location = far), Err(I::Location(2)));
    assert_eq!(verdict(|policy| policy.acceptance[1].client = "scale".parse().ok()), Err(I::Class(2)));
}

#[test]
fn there_are_only_so_many_networks_and_rules() {
    let networks = |count| (0..count).map(|number| network(&format!("n{number}"), "10.0.0.0/8")).collect();
    assert_eq!(verdict(|policy| policy.secured_networks = networks(MAX_SECURED_NETWORKS)), Ok(()));
    let many = networks(MAX_SECURED_NETWORKS + 1);
    assert_eq!(verdict(|policy| policy.secured_networks = many), Err(InvalidPolicy::TooManyNetworks));
    let rules = |count| (0..count).map(|number| rule(&format!("r{number}"))).collect();
    assert_eq!(verdict(|policy| policy.acceptance = rules(MAX_ACCEPTANCE_RULES)), Ok(()));
    let many = rules(MAX_ACCEPTANCE_RULES + 1);
    assert_eq!(verdict(|policy| policy.acceptance = many), Err(InvalidPolicy::TooManyRules));
}

#[test]
fn a_network_is_secured_only_if_the_policy_says_so() {
    let at = |address: [u8; 4]| NetworkOrigin { address: Some(IpAddr::V4(Ipv4Addr::from(address))), marker: None };
    assert_eq!(network_of(&rich(), &at([10, 20, 3, 4])), Network::Secured);
    assert_eq!(network_of(&rich(), &at([10, 21, 3, 4])), Network::Untrusted);
    assert_eq!(network_of(&rich(), &NetworkOrigin::default()), Network::Untrusted);
    let marked = NetworkOrigin { address: None, marker: "theatre".parse().ok() };
    assert_eq!(network_of(&rich(), &marked), Network::Secured);
    assert_eq!(network_of(&new_site(), &marked), Network::Untrusted);
}

#[test]
fn the_first_rule_that_fits_accepts() {
    let (pump, scale) = (pump(), "scale".parse().unwrap());
    let name = |client, network, own_secret| {
        rule_for(&rich(), Applicant { client, network, own_secret }).map(|rule| rule.name.clone())
    };
    assert_eq!(name(&pump, Network::Secured, true).as_deref(), Some("Own pumps"));
    assert_eq!(name(&scale, Network::Secured, true).as_deref(), Some("Others"));
    assert_eq!(name(&pump, Network::Secured, false), None);
    assert_eq!(name(&pump, Network::Untrusted, true), None);
    let open = PairingPolicy {
        acceptance: vec![AcceptanceRule { client: None, network: None, own_secret: false, ..rule("All") }],
        ..new_site()
    };
    let anybody = Applicant { client: &scale, network: Network::Untrusted, own_secret: false };
    assert_eq!(rule_for(&open, anybody).map(|rule| rule.name.as_str()), Some("All"));
}
