//! The rules of pairing, as people set them and devices meet them.

use anyhow::{Context as _, Result, ensure};
use wardlink_protocol::api::{
    Accept, AcceptanceRule, LiveEvent, PairingPhase, PairingPolicy, PairingView, PolicyView, ProblemKind, Role,
    SerialQuestion, Trust, VerificationProof, Verify, VerifyAnswer, VerifyResult,
};
use wardlink_protocol::identity::TrustLevel;
use wardlink_protocol::network::{Network, NetworkMatch, NetworkOrigin, SecuredNetwork};
use wardlink_protocol::pairing::Mode;
use wardlink_tests::api::{Refused, new_attempt, refusal};
use wardlink_tests::live::Live;
use wardlink_tests::nginx::Proxied;
use wardlink_tests::pump::{Pump, text};
use wardlink_tests::ward::{Ward, device};
use wardlink_tests::{scene, wait};

fn rule(name: &str) -> AcceptanceRule {
    AcceptanceRule {
        name: name.to_owned(),
        client: "infusion-pump".parse().ok(),
        network: None,
        own_secret: false,
        location: "Store room".to_owned(),
    }
}

/// Says that this machine's own network is secured.
fn secure(policy: &mut PairingPolicy) -> Result<()> {
    let by = NetworkMatch::Range("127.0.0.1".parse()?);
    policy.secured_networks = vec![SecuredNetwork { name: "This machine".to_owned(), by }];
    Ok(())
}

fn is_waiting(pairing: &PairingView) -> bool {
    pairing.phase == PairingPhase::Waiting
}

#[test]
fn a_policy_is_changed_by_administrators_from_the_version_in_force() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::open(scene)?;
        let (_, engineer) = ward.administrator.add_person("erik", Role::BiomedicalEngineer)?;
        assert_eq!(refusal(ward.nurse.get::<PolicyView>("policy"))?, ProblemKind::Forbidden);
        let seen: PolicyView = engineer.get("policy")?;
        assert_eq!((seen.trust, &seen.here, seen.changed_at), (Trust::None, &NetworkOrigin::default(), None));
        assert_eq!(refusal(engineer.put::<PolicyView>("policy", &seen.policy))?, ProblemKind::Forbidden);

        let old = seen.policy;
        let changed = ward.administrator.change_policy(|policy| policy.request_minutes = 5)?;
        assert_eq!((changed.policy.version, changed.policy.request_minutes), (old.version + 1, 5));
        assert_eq!(changed.changed_by.as_deref(), Some("ada"));
        assert_eq!(refusal(ward.administrator.put::<PolicyView>("policy", &old))?, ProblemKind::Outdated);

        let wrong = ward.administrator.change_policy(|policy| policy.least_on_untrusted = Mode::PairingSimple);
        assert_eq!(refusal(wrong)?, ProblemKind::InvalidPolicy);
        let wrong = ward.administrator.change_policy(|policy| policy.acceptance = vec![rule("One"), rule("One")]);
        let refused = wrong.err().context("two rules of one name")?.downcast::<Refused>()?;
        ensure!(refused.0.detail.is_some_and(|detail| detail.starts_with("Rule 2:")), "it says where");

        ward.worker.kill();
        ward.worker.restart()?;
        assert_eq!(ward.administrator.get::<PolicyView>("policy")?.policy, changed.policy);
        Ok(())
    })
}

#[test]
fn a_new_policy_acts_on_requests_that_wait() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let _pump = ward.pump("ip-1")?;
        let before = ward.nurse.wait_for_pairing("ip-1", is_waiting)?;
        assert_eq!(before.modes, [Mode::PairingQrcode, Mode::PairingCode]);
        let mut live = Live::connect(&ward.nurse)?;
        ward.administrator.change_policy(|policy| policy.least_on_untrusted = Mode::PairingQrcode)?;
        let after = live.wait_for("the request as it is now", |event| match event {
            LiveEvent::Pairing { pairing } => Some(*pairing),
            _ => None,
        })?;
        assert_eq!((after.session, after.modes.as_slice()), (before.session, &[Mode::PairingQrcode][..]));
        assert_eq!(after.expires_at, before.expires_at);
        let refused = ward.nurse.accept(before.session, Mode::PairingCode);
        assert_eq!(refusal(refused)?, ProblemKind::ModeNotAllowed);
        Ok(())
    })
}

#[test]
fn on_a_secured_network_a_rule_pairs_with_nobody_acting_and_a_person_raises_the_trust() -> Result<()> {
    scene(|scene| {
        let proxied = Proxied::start(scene, "proxy")?;
        let administrator = proxied.nginx.api().bootstrap()?;
        let view = administrator.change_policy(|policy| {
            secure(policy).expect("a network");
            policy.acceptance = vec![AcceptanceRule { network: Some(Network::Secured), ..rule("Store room") }];
        })?;
        assert_eq!((view.trust, view.here.address), (Trust::Proxy, Some("127.0.0.1".parse()?)));
        let provisioning = administrator.provisioning()?;
        let mut old = Pump::start(scene, &provisioning, "ip-2")?;
        old.wait_for("paired")?;
        let finished = administrator.wait_for_finished_pairing("ip-2")?;
        let name = device("ip-2")?;
        let simple = administrator.device(&name)?;
        assert_eq!((simple.trust, simple.mode), (TrustLevel::Reduced, Mode::PairingSimple));
        assert_eq!((simple.paired_by.as_str(), simple.location.as_str()), ("Store room", "Store room"));
        let command = "command".parse()?;
        ensure!(!simple.channels.contains(&command), "it gets no orders");
        assert_eq!((finished.network, finished.mode), (Network::Secured, Some(Mode::PairingSimple)));

        let mut new = Pump::start_with(scene, &provisioning, "ip-2-new", &["--identifier", "ip-2"])?;
        let waiting = administrator.wait_for_pairing("ip-2", is_waiting)?;
        ensure!(waiting.replaces, "no rule replaces a key: a person has to see it");
        administrator.accept(waiting.session, Mode::PairingCode)?;
        let code = new.code()?;
        administrator.wait_for_pairing("ip-2", |pairing| pairing.phase == PairingPhase::Verifying)?;
        assert_eq!(administrator.device(&name)?.trust, TrustLevel::Reduced, "what was there lasts until the end");
        administrator.verify(waiting.session, VerificationProof::Code(code))?;
        new.wait_for("paired")?;
        administrator.wait_for_finished_pairing("ip-2")?;
        let raised = administrator.device(&name)?;
        assert_eq!((raised.trust, raised.mode), (TrustLevel::Full, Mode::PairingCode));
        ensure!(raised.channels.contains(&command), "now it does");
        Ok(())
    })
}

#[test]
fn a_rule_never_spares_the_verification_on_an_untrusted_network() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        ward.administrator.change_policy(|policy| {
            secure(policy).expect("a network");
            policy.acceptance = vec![rule("All pumps")];
        })?;
        let mut pump = ward.pump("ip-3")?;
        let code = pump.code()?;
        let pairing = ward.nurse.wait_for_pairing("ip-3", |pairing| pairing.phase == PairingPhase::Verifying)?;
        assert_eq!((pairing.network, pairing.address), (Network::Untrusted, None), "no address counts here");
        assert_eq!((pairing.accepted_by.as_deref(), pairing.location.as_str()), (Some("All pumps"), "Store room"));

        let _other = Pump::start_with(scene, &ward.provisioning, "ip-3-other", &["--identifier", "ip-3"])?;
        let other = wait::until("the conflicting request", || {
            Ok(ward.nurse.pairings()?.into_iter().find(|other| other.session != pairing.session))
        })?;
        assert_eq!(other.phase, PairingPhase::Waiting, "no rule decides between two of one name");
        ward.nurse.reject(other.session, "")?;

        assert_eq!(ward.type_code(&pairing, &code)?.result, VerifyResult::Verified);
        pump.wait_for("paired")?;
        // The other one may ask again meanwhile.
        let is_finished = |one: &PairingView| one.session == pairing.session && one.phase == PairingPhase::Finished;
        wait::until("the end of the pairing", || Ok(ward.nurse.pairings()?.into_iter().find(is_finished)))?;
        assert_eq!(ward.nurse.device(&device("ip-3")?)?.paired_by, "All pumps");
        ward.worker.wait_for_line("a rule of the policy 2 accepts the pairing")
    })
}

#[test]
fn a_person_is_asked_for_the_end_of_the_serial_number() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        ward.administrator.change_policy(|policy| policy.serial_question = SerialQuestion::Untrusted)?;
        let mut live = Live::connect(&ward.nurse)?;
        let arguments = ["--identifier", "ip-4", "--serial", "WL-2026-7Fb3"];
        let mut pump = Pump::start_with(scene, &ward.provisioning, "ip-4", &arguments)?;
        let (pairing, code) = ward.accept(&mut pump, "ip-4", Mode::PairingCode)?;
        ensure!(pairing.asks_serial, "people are told");
        assert_eq!(pairing.information.serial_number, "WL-2026-••••");
        let shown = live.wait_for("the verification", |event| match event {
            LiveEvent::Pairing { pairing } if pairing.phase == PairingPhase::Verifying => Some(pairing),
            _ => None,
        })?;
        assert_eq!(shown.information.serial_number, "WL-2026-••••", "nor does the live view say it");

        let bring = |ending: Option<&str>| -> Result<VerifyAnswer> {
            let proof = VerificationProof::Code(code.clone());
            let verify = Verify { attempt: new_attempt()?, proof, serial_ending: ending.map(str::to_owned) };
            ward.nurse.post(&format!("pairings/{}/verify", pairing.session), &verify)
        };
        assert_eq!(refusal(bring(None))?, ProblemKind::SerialNeeded);
        let wrong = bring(Some("7fb4"))?;
        assert_eq!((wrong.result, wrong.pairing.attempts_left), (VerifyResult::Wrong, 2));
        let right = bring(Some("7fB3"))?;
        assert_eq!(right.result, VerifyResult::Verified);
        assert_eq!(right.pairing.information.serial_number, "WL-2026-7Fb3");
        pump.wait_for("paired")?;
        Ok(())
    })
}

#[test]
fn what_a_person_used_is_what_the_device_shows_as_its_verification() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let (mut pump, pairing, code) = ward.pump_with_code("ip-5", Mode::PairingQrcode)?;
        ward.type_code(&pairing, &code)?;
        ward.wait_until_paired(&mut pump, "ip-5")?;
        assert_eq!(ward.nurse.device(&device("ip-5")?)?.mode, Mode::PairingCode);
        Ok(())
    })
}

#[test]
fn nobody_gets_simple_mode_on_an_untrusted_network() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        ward.administrator.change_policy(|policy| secure(policy).expect("a network"))?;
        let mut pump = ward.pump("ip-6")?;
        let waiting = ward.nurse.wait_for_pairing("ip-6", is_waiting)?;
        ensure!(!waiting.modes.contains(&Mode::PairingSimple), "TRUST=none secures nothing");
        let accept = Accept { mode: Some(Mode::PairingSimple), location: String::new() };
        let refused = ward.nurse.post::<PairingView>(&format!("pairings/{}/accept", waiting.session), &accept);
        assert_eq!(refusal(refused)?, ProblemKind::ModeNotAllowed);
        ward.nurse.reject(waiting.session, "no")?;
        assert_eq!(text(&pump.wait_for("refused")?, "reason")?, "rejected");
        Ok(())
    })
}
