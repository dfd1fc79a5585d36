//! What people set for the whole site, in the browser: rules, classes, access secrets and labels, locks.

use anyhow::{Result, ensure};
use wardlink_protocol::api::{
    DeviceClass, PairingPhase, PolicyView, Role, SecretState, SecretView, SerialQuestion, VerificationProof,
};
use wardlink_protocol::limits::MAX_FAILED_SESSIONS;
use wardlink_protocol::pairing::Mode;
use wardlink_protocol::provisioning::Provisioning;
use wardlink_tests::api::ADMINISTRATOR;
use wardlink_tests::browser::{Browser, Screen, Target};
use wardlink_tests::pump::{Pump, another};
use wardlink_tests::scene;
use wardlink_tests::ward::{NURSE, Ward, device};

/// Opens a screen of the control unit, as this person.
fn enter(browser: &Browser, ward: &Ward<'_>, screen: &str, name: &str) -> Result<()> {
    browser.sign_in(&format!("{}/{screen}", ward.worker.origin()), name)
}

fn policy(ward: &Ward<'_>) -> Result<PolicyView> {
    ward.administrator.get("policy")
}

#[test]
fn a_stronger_rule_is_saved_at_once_and_counts_for_the_next_request() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        enter(&desk, &ward, "#/policy", ADMINISTRATOR)?;
        desk.see(&Target::id("no-trust"))?;
        desk.click(&Target::choice("untrusted-pairing_qrcode"))?;
        desk.click(&Target::id("save-policy"))?;
        desk.see_vanish(&Target::id("save-bar"))?;
        let history = desk.see(&Target::id("policy-history"))?;
        ensure!(history.contains(ADMINISTRATOR), "it says who changed the rules: {history}");
        assert_eq!(policy(&ward)?.policy.least_on_untrusted, Mode::PairingQrcode);
        let _pump = ward.pump("ip-1")?;
        let waiting = ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Waiting)?;
        assert_eq!(waiting.modes, [Mode::PairingQrcode]);
        assert_eq!(desk.complaints()?, Vec::<String>::new());
        Ok(())
    })
}

#[test]
fn a_rule_that_accepts_without_a_person_says_so_before_it_is_saved_and_then_does() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        enter(&desk, &ward, "#/policy", ADMINISTRATOR)?;
        desk.click(&Target::id("add-rule"))?;
        let form = Target::id("rule-form");
        desk.fill(&Target::field("rule-name"), "Receiving")?;
        desk.fill(&Target::field("rule-location"), "Store room")?;
        desk.click(&Target::choice("untrusted").inside(&form))?;
        desk.click(&Target::xpath("the switch", "//label[.//input[@name=\"own-secret\"]]").inside(&form))?;
        let preview = desk.see(&Target::id("rule-preview"))?;
        ensure!(preview.contains("a person verifies"), "it says that nobody skips the verification: {preview}");
        desk.click(&Target::id("confirm").inside(&form))?;
        desk.click(&Target::id("save-policy"))?;
        let asked = desk.see(&Target::id("weaker-form"))?;
        ensure!(asked.contains("accepted without a person"), "it says what follows: {asked}");
        assert!(policy(&ward)?.policy.acceptance.is_empty(), "nothing is saved before the answer");
        desk.click(&Target::id("confirm").inside(&Target::id("weaker-form")))?;
        desk.see_vanish(&Target::id("save-bar"))?;
        let _pump = ward.pump("ip-1")?;
        let pairing = ward.nurse.wait_for_pairing("ip-1", |pairing| pairing.phase == PairingPhase::Verifying)?;
        assert_eq!(pairing.accepted_by.as_deref(), Some("Receiving"));
        assert_eq!(pairing.location, "Store room");
        Ok(())
    })
}

#[test]
fn a_change_meets_another_persons_change_and_both_count() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        enter(&desk, &ward, "#/policy", ADMINISTRATOR)?;
        desk.fill(&Target::field("request-minutes"), "30")?;
        desk.see(&Target::id("save-bar"))?;
        ward.administrator.change_policy(|policy| policy.serial_question = SerialQuestion::Always)?;
        // The change outlives the screen.
        desk.open(&format!("{}/#/classes", ward.worker.origin()))?;
        desk.see(&Target::id("classes"))?;
        desk.click(&Target::button("Back to the rules"))?;
        desk.see(&Target::id("policy-met"))?;
        desk.click(&Target::id("save-policy"))?;
        desk.see_vanish(&Target::id("save-bar"))?;
        let saved = policy(&ward)?.policy;
        assert_eq!((saved.request_minutes, saved.serial_question), (30, SerialQuestion::Always));

        // Outdated only when it is sent.
        desk.fill(&Target::field("request-minutes"), "40")?;
        ward.administrator.change_policy(|policy| policy.verification_minutes = 2)?;
        desk.click(&Target::id("save-policy"))?;
        desk.see(&Target::id("policy-met"))?;
        assert_eq!(policy(&ward)?.policy.request_minutes, 30, "nothing was written over");
        desk.click(&Target::id("save-policy"))?;
        desk.see_vanish(&Target::id("policy-met"))?;
        let saved = policy(&ward)?.policy;
        assert_eq!((saved.request_minutes, saved.verification_minutes), (40, 2));
        Ok(())
    })
}

#[test]
fn an_auditor_reads_the_rules_and_a_nurse_does_not() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        ward.administrator.add_person("otto", Role::Auditor)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        enter(&desk, &ward, "#/policy", "otto")?;
        desk.see(&Target::id("meaning"))?;
        let can_change: bool = desk.script("return !document.querySelector('[data-testid=policy]').disabled")?;
        ensure!(!can_change, "an auditor changes nothing");
        ensure!(!desk.sees(&Target::id("add-network"))?, "an auditor adds nothing");
        desk.open(&format!("{}/#/classes", ward.worker.origin()))?;
        desk.see(&Target::id("classes"))?;
        ensure!(!desk.sees(&Target::id("add-class"))?, "an auditor adds no class");
        desk.click(&Target::id("sign-out"))?;
        enter(&desk, &ward, "#/policy", NURSE)?;
        desk.see(&Target::id("me"))?;
        ensure!(!desk.sees(&Target::id("policy"))?, "a nurse sees no rules");
        Ok(())
    })
}

#[test]
fn a_class_is_made_and_switched_off() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        enter(&desk, &ward, "#/classes", ADMINISTRATOR)?;
        desk.click(&Target::id("add-class"))?;
        desk.fill(&Target::field("client"), "bed-scale")?;
        desk.fill(&Target::field("name"), "Bed scale")?;
        desk.fill(&Target::field("name-de"), "Bettwaage")?;
        desk.click(&Target::choice("passive"))?;
        desk.click(&Target::id("confirm").inside(&Target::id("class-form")))?;
        let row = "//*[@data-testid=\"class\"][@data-class=\"bed-scale\"]";
        let seen = desk.see(&Target::xpath("the class", row))?;
        ensure!(seen.contains("Bed scale") && seen.contains("Passive"), "{seen}");
        desk.click(&Target::xpath("its switch", &format!("{row}//label")))?;
        desk.see(&Target::xpath("that it is off", &format!("{row}[contains(., \"Switched off\")]")))?;
        wardlink_tests::wait::until("the class to be off", || {
            let classes: Vec<DeviceClass> = ward.administrator.get("classes")?;
            Ok(classes.into_iter().find(|class| class.client.as_str() == "bed-scale" && !class.enabled))
        })?;
        Ok(())
    })
}

#[test]
fn a_printed_label_is_all_that_a_pump_needs_to_ask() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        enter(&desk, &ward, "#/provisioning", ADMINISTRATOR)?;
        desk.fill(&Target::field("identifier"), "ip-7")?;
        desk.click(&Target::id("make-file"))?;
        let label = desk.see(&Target::id("label"))?;
        ensure!(
            label.to_lowercase().contains("ip-7") && label.contains("infusion-pump"),
            "it says for which device: {label}"
        );
        let text = desk.read_code()?;
        let file = Provisioning::from_label(&text)?;
        assert_eq!(file.identifier.as_ref().map(wardlink_protocol::DeviceIdentifier::as_str), Some("ip-7"));
        ensure!(label.contains(file.secret_id.as_str()), "it says which access secret it holds: {label}");

        assert_eq!(desk.print()?, (1, [90, 50]), "one label, and nothing else");
        desk.show_as_printed(true)?;
        ensure!(!desk.sees(&Target::id("sign-out"))? && !desk.sees(&Target::id("print-label"))?, "no page around it");
        assert_eq!(desk.read_code()?, text);
        desk.show_as_printed(false)?;
        desk.click(&Target::id("done"))?;
        desk.see(&Target::id("provisioning-form"))?;
        ensure!(!desk.sees(&Target::id("label"))?, "the page forgets it");

        let _pump = Pump::start(scene, &file, "ip-7")?;
        ward.nurse.wait_for_pairing("ip-7", |pairing| pairing.phase == PairingPhase::Waiting)?;
        assert_eq!(desk.complaints()?, Vec::<String>::new());
        Ok(())
    })
}

#[test]
fn an_access_secret_is_made_used_and_ended() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        enter(&desk, &ward, "#/provisioning", ADMINISTRATOR)?;
        desk.click(&Target::id("add-secret"))?;
        desk.fill(&Target::field("secret-name"), "Spring delivery")?;
        desk.fill(&Target::field("days"), "20")?;
        desk.click(&Target::id("confirm").inside(&Target::id("secret-form")))?;
        let row = Target::xpath("the secret", "//*[@data-testid=\"secret\"][contains(., \"Spring delivery\")]");
        desk.see(&row)?;
        desk.see(&Target::id("ends-soon").inside(&row))?;
        let known = || -> Result<SecretView> {
            let secrets: Vec<SecretView> = ward.administrator.get("secrets")?;
            secrets.into_iter().find(|secret| secret.name == "Spring delivery").ok_or(anyhow::anyhow!("no such secret"))
        };
        assert_eq!(known()?.state, SecretState::Active);
        desk.click(&Target::id("end-secret").inside(&row))?;
        desk.click(&Target::id("confirm").inside(&Target::id("end-secret-form")))?;
        desk.see(&Target::xpath(
            "that it is ended",
            "//*[@data-testid=\"secret\"][contains(., \"Spring\")][@data-state=\"Ended\"]",
        ))?;
        assert_eq!(known()?.state, SecretState::Ended);
        Ok(())
    })
}

#[test]
fn a_locked_identifier_alerts_everybody_and_an_administrator_lifts_it() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        enter(&desk, &ward, "#/devices", ADMINISTRATOR)?;
        desk.see(&Target::id("no-devices"))?;
        for number in 0..MAX_FAILED_SESSIONS {
            let folder = format!("ip-1-{number}");
            let mut pump = Pump::start_with(scene, &ward.provisioning, &folder, &["--identifier", "ip-1"])?;
            let (pairing, code) = ward.accept(&mut pump, "ip-1", Mode::PairingCode)?;
            for attempt in 1..=pairing.attempts_left {
                ward.nurse.verify(pairing.session, VerificationProof::Code(another(&code, attempt.into())))?;
            }
        }
        let lock = Target::row("lock", "infusion-pump/ip-1");
        desk.see(&lock)?;
        let other = Browser::start(scene, Screen::Phone)?;
        enter(&other, &ward, "#/requests", NURSE)?;
        let seen = other.see(&lock)?;
        ensure!(
            seen.contains("administrator") && !other.sees(&Target::id("lift"))?,
            "a nurse sees whom to ask: {seen}"
        );
        desk.click(&Target::id("lift").inside(&lock))?;
        desk.click(&Target::id("confirm").inside(&Target::id("lift-form")))?;
        desk.see_vanish(&lock)?;
        other.see_vanish(&lock)?;
        let locks: Vec<wardlink_protocol::api::Lock> = ward.administrator.get("locks")?;
        assert!(locks.iter().all(|lock| Some(&lock.device) != device("ip-1").ok().as_ref()));
        Ok(())
    })
}

#[test]
fn the_end_of_the_serial_number_is_asked_for_and_counts() -> Result<()> {
    scene(|scene| {
        let ward = Ward::with_pages(scene)?;
        ward.administrator.change_policy(|policy| policy.serial_question = SerialQuestion::Always)?;
        let more = ["--identifier", "ip-1", "--serial", "SN-204817"];
        let mut pump = Pump::start_with(scene, &ward.provisioning, "ip-1", &more)?;
        let (pairing, code) = ward.accept(&mut pump, "ip-1", Mode::PairingCode)?;
        let desk = Browser::start(scene, Screen::Desk)?;
        enter(&desk, &ward, &format!("#/requests/{}", pairing.session), NURSE)?;
        assert_eq!(pairing.information.serial_number, "SN-20\u{2022}\u{2022}\u{2022}\u{2022}", "its end is hidden");
        desk.fill(&Target::id("code"), &code)?;
        desk.click(&Target::id("verify"))?;
        desk.see(&Target::xpath("the complaint", "//input[@name=\"serial\"][@aria-invalid]"))?;
        assert_eq!(ward.nurse.pairing(pairing.session)?.attempts_left, 3, "nothing was sent");
        desk.fill(&Target::field("serial"), "4817")?;
        desk.click(&Target::id("verify"))?;
        pump.wait_for("paired")?;
        Ok(())
    })
}
