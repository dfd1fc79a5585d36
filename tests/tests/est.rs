//! The site under the hospital's CA, over EST: an independent CA certifies it, and pumps trust the hospital's root.

use anyhow::{Context as _, Result, ensure};
use wardlink_crypto::x509::{Certificate, RevocationList};
use wardlink_protocol::api::{
    AuthorityKind, AuthorityState, AuthorityTrouble, AuthorityView, DeviceView, PairingPhase, ProblemKind,
};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::pairing::Mode;
use wardlink_tests::api::{Api, refusal};
use wardlink_tests::hospital::{HospitalCa, Manner};
use wardlink_tests::pump::Pump;
use wardlink_tests::ward::{Ward, device};
use wardlink_tests::worker::Worker;
use wardlink_tests::{Scene, scene, wait};

fn authority(api: &Api) -> Result<AuthorityView> {
    api.get("authority")
}

fn ask(ward: &Ward<'_>) -> Result<AuthorityView> {
    ward.administrator.post("authority/ask", &())
}

fn wait_for(ward: &Ward<'_>, what: &str, fits: impl Fn(&AuthorityView) -> bool) -> Result<AuthorityView> {
    let mut last = None;
    let found = wait::until(what, || {
        let view = authority(&ward.nurse)?;
        last = Some(view.clone());
        Ok(fits(&view).then_some(view))
    });
    found.with_context(|| format!("the CA was {last:?}"))
}

fn is_ready(view: &AuthorityView) -> bool {
    view.state == AuthorityState::Ready && view.trouble.is_none()
}

fn open<'s>(scene: &'s Scene, hospital: &HospitalCa) -> Result<Ward<'s>> {
    open_with(scene, &hospital.variables()?)
}

fn open_with<'s>(scene: &'s Scene, variables: &[(String, String)]) -> Result<Ward<'s>> {
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Ward::around(scene, Worker::start_with(scene, &variables)?)
}

/// The certificates that a pump has stored: its own and that of the CA that issued it. The pump is started again for it.
fn stored(pump: &mut Pump<'_>, name: &str) -> Result<(Certificate, Certificate)> {
    pump.kill();
    let (issuing, mine) = wardlink_tests::impostor::certificates(pump, &device(name)?)?;
    pump.restart()?;
    Ok((Certificate::parse(&mine)?, Certificate::parse(&issuing)?))
}

#[test]
fn a_pump_is_paired_under_the_hospitals_root() -> Result<()> {
    scene(|scene| {
        let hospital = HospitalCa::open(scene)?;
        let ward = open(scene, &hospital)?;
        assert_eq!(ward.provisioning.cert_ca_sha256, Some(hospital.root()?), "pumps are given the hospital's root");
        let view = wait_for(&ward, "the certificate", is_ready)?;
        assert_eq!((view.kind, view.root), (AuthorityKind::External, Some(hospital.root()?)));
        assert_eq!(view.root_name.as_deref(), Some("St. Elsewhere, St. Elsewhere root"));
        assert_eq!(view.name.as_deref(), Some("Wardlink issuing CA"));
        assert_eq!((view.earlier, view.awaits_approval), (0, false));

        let asked = hospital.asked()?;
        let operations: Vec<&str> = asked.iter().map(|asked| asked.operation.as_str()).collect();
        assert_eq!(operations, ["cacerts", "simpleenroll"]);
        ensure!(asked[0].authorization.is_none(), "the credentials are shown only where they are needed");
        let request = hospital.read_request(&asked[1].body)?;
        ensure!(request.contains("CA:TRUE, pathlen:0"), "{request}");
        ensure!(request.contains("Certificate Sign, CRL Sign"), "{request}");

        let mut pump = ward.paired_pump("ip-1")?;
        pump.wait_for("sent")?;
        let seen = ward.nurse.device(&device("ip-1")?)?;
        assert_eq!(seen.state, DeviceState::Paired);
        let (mine, issuing) = stored(&mut pump, "ip-1")?;
        let between = std::fs::read(hospital.root_file().with_file_name("between.pem"))?;
        let between = pem(&between)?;
        ensure!(
            hospital.verifies(mine.der(), &[issuing.der().to_vec(), between])?,
            "OpenSSL follows the chain to the root"
        );
        ensure!(mine.validity().not_after <= issuing.validity().not_after, "nothing outlives its issuer");

        ward.administrator.revoke(&[device("ip-1")?])?;
        let list = ward.worker.api().bytes("crl")?;
        let text = hospital.read_list(&list, issuing.der())?;
        ensure!(text.contains(&mine.serial().to_string().to_uppercase()), "the pump is on the list: {text}");
        Ok(())
    })
}

fn pem(text: &[u8]) -> Result<Vec<u8>> {
    let text = String::from_utf8_lossy(text);
    let lines: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    data_encoding::BASE64.decode(lines.as_bytes()).context("PEM")
}

#[test]
fn until_somebody_approves_nothing_is_paired_and_the_same_request_is_sent_again() -> Result<()> {
    scene(|scene| {
        let hospital = HospitalCa::open(scene)?;
        hospital.answer(Manner::AskSomebody);
        let ward = open(scene, &hospital)?;
        let view = wait_for(&ward, "the wait for the approval", |view| view.awaits_approval)?;
        assert_eq!((view.state, view.trouble, view.ends_at), (AuthorityState::Waiting, None, None));
        ensure!(view.next_try > view.last_try, "it says when it asks again");

        let mut pump = ward.pump("ip-1")?;
        let asked_often = || Ok((hospital.asked()?.len() >= 6).then_some(()));
        wait::until("three requests", asked_often)?;
        ensure!(ward.nurse.pairings()?.is_empty(), "nothing can ask before the site has its certificate");
        let list = ward.worker.api().get::<serde_json::Value>("crl");
        assert_eq!(refusal(list)?, ProblemKind::Unavailable);

        hospital.answer(Manner::Issue);
        wait_for(&ward, "the certificate", is_ready)?;
        let asked = hospital.asked()?;
        let mut requests = asked.iter().filter(|asked| asked.operation == "simpleenroll").map(|asked| &asked.body);
        let first = requests.next().context("a request")?;
        ensure!(requests.all(|again| again == first), "while it waits the request stays the same");
        let (pairing, code) = ward.accept(&mut pump, "ip-1", Mode::PairingCode)?;
        ward.type_code(&pairing, &code)?;
        pump.wait_for("paired")?;
        Ok(())
    })
}

#[test]
fn what_the_hospitals_ca_should_not_have_answered_is_refused_with_its_reason() -> Result<()> {
    scene(|scene| {
        let hospital = HospitalCa::open(scene)?;
        hospital.answer(Manner::Garbage);
        let ward = open(scene, &hospital)?;
        assert_eq!(refusal(ward.nurse.post::<AuthorityView>("authority/ask", &()))?, ProblemKind::Forbidden);
        let wrong = [
            (Manner::Garbage, AuthorityTrouble::Answer, "no PKCS#7 message"),
            (Manner::Broken, AuthorityTrouble::Answer, "status 500"),
            (Manner::ForAnotherKey, AuthorityTrouble::Certificate, "no certificate for the site's key"),
            (Manner::NoCa, AuthorityTrouble::Certificate, "not for a CA"),
            (Manner::CasBelow, AuthorityTrouble::Certificate, "path length has to be 0"),
            (Manner::Ended, AuthorityTrouble::Certificate, "expired"),
            (Manner::ByAnotherRoot, AuthorityTrouble::Certificate, "no certificates lead"),
        ];
        for (manner, trouble, words) in wrong {
            hospital.answer(manner);
            ask(&ward)?;
            let view =
                wait_for(&ward, words, |view| view.detail.as_ref().is_some_and(|detail| detail.contains(words)))?;
            assert_eq!((view.state, view.trouble), (AuthorityState::Waiting, Some(trouble)), "{manner:?}");
            ward.worker.wait_for_line(words)?;
        }
        hospital.answer(Manner::Issue);
        ask(&ward)?;
        wait_for(&ward, "the certificate", is_ready)?;
        Ok(())
    })
}

#[test]
fn without_the_right_root_and_the_right_password_the_site_waits_and_says_why() -> Result<()> {
    scene(|scene| {
        let hospital = HospitalCa::open(scene)?;
        let mut variables = hospital.variables()?;
        variables[1].1 = hospital.other_root()?.to_string();
        let mut ward = open_with(scene, &variables)?;
        let view = wait_for(&ward, "the refusal", |view| view.trouble.is_some())?;
        assert_eq!((view.state, view.trouble), (AuthorityState::Waiting, Some(AuthorityTrouble::Root)));
        ensure!(
            hospital.asked()?.iter().all(|asked| asked.operation == "cacerts"),
            "nothing is sent to a CA with another root"
        );

        // Nothing was issued yet, so that the right root can be named later, and the audit log goes on.
        let mut variables = hospital.variables()?;
        variables[2].1 = "wardlink:wrong".to_owned();
        ward.worker.restart_with(&variables)?;
        let view = wait_for(&ward, "the refusal", |view| view.trouble == Some(AuthorityTrouble::Credentials))?;
        assert_eq!((view.state, view.root), (AuthorityState::Waiting, Some(hospital.root()?)));
        ensure!(view.detail.is_some_and(|detail| detail.contains("401")), "it says what the server said");
        ward.worker.restart_with(&hospital.variables()?)?;
        wait_for(&ward, "the certificate", is_ready)?;
        let export = String::from_utf8(ward.administrator.bytes("audit/export")?)?;
        let end: serde_json::Value = serde_json::from_str(export.trim_end().lines().last().context("the end")?)?;
        assert_eq!(end["site"], hospital.other_root()?.to_string(), "the log keeps the name with which it began");
        Ok(())
    })
}

#[test]
fn a_deployment_that_names_no_root_trusts_nothing_and_says_so() -> Result<()> {
    scene(|scene| {
        let hospital = HospitalCa::open(scene)?;
        let url = [("EST_URL".to_owned(), hospital.url())];
        let variables: Vec<(&str, &str)> = url.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let worker = Worker::start_with(scene, &variables)?;
        let administrator = worker.api().bootstrap()?;
        let view = authority(&administrator)?;
        assert_eq!((view.state, view.trouble), (AuthorityState::Waiting, Some(AuthorityTrouble::Configuration)));
        ensure!(view.detail.is_some_and(|detail| detail.contains("EST_ROOT_SHA256")), "it says what is missing");
        assert_eq!(refusal(administrator.provisioning())?, ProblemKind::Unavailable);
        ensure!(hospital.asked()?.is_empty(), "nobody is asked");
        Ok(())
    })
}

#[test]
fn a_server_that_is_away_is_asked_again_until_it_is_back() -> Result<()> {
    scene(|scene| {
        let mut hospital = HospitalCa::make(scene)?;
        let mut ward = open(scene, &hospital)?;
        let view = wait_for(&ward, "the failure", |view| view.trouble.is_some())?;
        assert_eq!((view.state, view.trouble), (AuthorityState::Waiting, Some(AuthorityTrouble::Unreachable)));
        ward.worker.kill();
        ward.worker.restart()?;
        hospital.start()?;
        // By itself: nobody asks.
        wait_for(&ward, "the certificate", is_ready)?;
        ward.paired_pump("ip-1")?;
        Ok(())
    })
}

#[test]
fn a_new_certificate_for_the_site_leaves_paired_pumps_as_they_are() -> Result<()> {
    scene(|scene| {
        let hospital = HospitalCa::open(scene)?;
        let mut ward = open(scene, &hospital)?;
        wait_for(&ward, "the certificate", is_ready)?;
        let mut old = ward.paired_pump("ip-1")?;
        let (before, first) = stored(&mut old, "ip-1")?;
        // Another one is in the middle of its pairing.
        let (mut middle, pairing, code) = ward.pump_with_code("ip-3", Mode::PairingCode)?;

        ask(&ward)?;
        let view = wait_for(&ward, "the second certificate", |view| is_ready(view) && view.earlier == 1)?;
        assert_eq!(view.name.as_deref(), Some("Wardlink issuing CA"));
        let asked = hospital.asked()?;
        let renewal = asked.iter().find(|asked| asked.operation == "simplereenroll").context("a renewal")?;
        let request = hospital.read_request(&renewal.body)?;
        ensure!(request.contains("CN = Wardlink issuing CA"), "{request}");

        ward.type_code(&pairing, &code)?;
        middle.wait_for("paired").context("a pairing goes on that began before")?;
        middle.kill();
        let mut young = ward.paired_pump("ip-2")?;
        let (after, second) = stored(&mut young, "ip-2")?;
        ensure!(first.key() != second.key(), "the new certificate is for a new key");
        ensure!(before.verify_issued_by(&first, before.validity().not_before).is_ok(), "the old CA issued the old one");
        ensure!(after.verify_issued_by(&second, after.validity().not_before).is_ok(), "the new CA issued the new one");

        // Both come back after everything was started anew, and both send.
        old.kill();
        young.kill();
        ward.worker.kill();
        ward.worker.restart()?;
        old.restart()?;
        young.restart()?;
        for (pump, name) in [(&mut old, "ip-1"), (&mut young, "ip-2")] {
            let restarted = pump.wait_for("sent").with_context(|| format!("{name} sends"))?;
            ensure!(restarted.is_object(), "{name} sends");
        }
        let devices: Vec<DeviceView> = ward.nurse.devices()?;
        ensure!(devices.iter().all(|device| device.state == DeviceState::Paired), "{devices:?}");

        // Each CA has its list; whoever is revoked is on both.
        ward.administrator.revoke(&[device("ip-1")?])?;
        let now = wardlink_agent::clock::now();
        let newest = RevocationList::parse(&ward.worker.api().bytes("crl")?)?;
        newest.verify(&second, None, now)?;
        newest.check(&after)?;
        let key = data_encoding::HEXLOWER.encode(first.key_identifier());
        let earlier = RevocationList::parse(&ward.worker.api().bytes(&format!("crl/{key}"))?)?;
        earlier.verify(&first, None, now)?;
        ensure!(earlier.check(&before).is_err(), "the old pump is on the list of the CA that issued it");
        hospital.read_list(newest.der(), second.der())?;
        let nobody = ward.worker.api().get::<serde_json::Value>("crl/00ff");
        assert_eq!(refusal(nobody)?, ProblemKind::NotFound);
        Ok(())
    })
}

#[test]
fn another_ca_is_chosen_only_before_anything_is_issued() -> Result<()> {
    scene(|scene| {
        let hospital = HospitalCa::open(scene)?;
        let mut ward = Ward::open(scene)?;
        let built_in = authority(&ward.nurse)?;
        assert_eq!((built_in.kind, built_in.state), (AuthorityKind::BuiltIn, AuthorityState::Ready));
        assert_eq!(refusal(ask(&ward))?, ProblemKind::WrongState);

        // Nobody is paired yet: the hospital's CA can still be chosen.
        ward.worker.restart_with(&hospital.variables()?)?;
        wait_for(&ward, "the certificate", |view| is_ready(view) && view.kind == AuthorityKind::External)?;
        ward.provisioning = ward.administrator.provisioning()?;
        let mut pump = ward.paired_pump("ip-1")?;

        // Now somebody is: the deployment may say what it wants.
        ward.worker.restart_with(&[])?;
        let view = wait_for(&ward, "the refusal", |view| view.trouble == Some(AuthorityTrouble::Switched))?;
        assert_eq!((view.kind, view.state), (AuthorityKind::External, AuthorityState::Ready));
        assert_eq!(view.root, Some(hospital.root()?));
        ensure!(view.detail.is_some_and(|detail| detail.contains("EST_URL")), "it says what to do");
        ward.worker.wait_for_line("the CA stays as it is")?;
        assert_eq!(refusal(ask(&ward))?, ProblemKind::WrongState);
        pump.kill();
        pump.restart()?;
        pump.wait_for("sent")?;
        ward.paired_pump("ip-2")?;
        let phases: Vec<PairingPhase> = ward.nurse.pairings()?.iter().map(|pairing| pairing.phase).collect();
        ensure!(phases.iter().all(|phase| *phase == PairingPhase::Finished), "{phases:?}");
        Ok(())
    })
}
