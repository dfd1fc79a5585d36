//! Access secrets: several, each with its name, its end and its devices.

use anyhow::{Context as _, Result, ensure};
use wardlink_protocol::api::{
    NewProvisioning, NewSecret, PairingPhase, ProblemKind, SecretState, SecretView, VerifyResult,
};
use wardlink_protocol::identity::SecretId;
use wardlink_protocol::pairing::Mode;
use wardlink_protocol::provisioning::Provisioning;
use wardlink_tests::api::{Api, refusal};
use wardlink_tests::pump::{Pump, text};
use wardlink_tests::scene;
use wardlink_tests::ward::Ward;

fn make(api: &Api, name: &str) -> Result<SecretView> {
    api.post("secrets", &NewSecret { name: name.to_owned(), lifetime_days: 90 })
}

fn end(api: &Api, id: &SecretId) -> Result<SecretView> {
    api.post(&format!("secrets/{id}/end"), &())
}

fn provision(api: &Api, identifier: Option<&str>, secret: Option<&SecretId>) -> Result<Provisioning> {
    let identifier = identifier.map(str::parse).transpose().context("an identifier")?;
    api.post("provisioning", &NewProvisioning { client: "infusion-pump".parse()?, identifier, secret: secret.cloned() })
}

fn secret(api: &Api, id: &SecretId) -> Result<SecretView> {
    let secrets: Vec<SecretView> = api.get("secrets")?;
    secrets.into_iter().find(|secret| secret.id == *id).context("the secret is listed")
}

#[test]
fn a_secret_that_was_ended_lets_nobody_ask_and_its_accepted_pairing_finishes() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let administrator = &ward.administrator;
        let made = make(administrator, "Ward 3")?;
        assert_eq!((made.name.as_str(), made.state, made.used_at), ("Ward 3", SecretState::Active, None));
        assert_eq!(made.made_by.as_deref(), Some("ada"));
        let file = provision(administrator, None, Some(&made.id))?;
        assert_eq!(file.secret_id, made.id);
        ensure!(file.secret != ward.provisioning.secret, "each has its own");

        let mut accepted = Pump::start(scene, &file, "ip-1")?;
        let (pairing, code) = ward.accept(&mut accepted, "ip-1", Mode::PairingCode)?;
        let mut waiting = Pump::start(scene, &file, "ip-2")?;
        let request = ward.nurse.wait_for_pairing("ip-2", |pairing| pairing.phase == PairingPhase::Waiting)?;
        ensure!(secret(administrator, &made.id)?.used_at.is_some(), "it was used");

        assert_eq!(refusal(end(&ward.nurse, &made.id))?, ProblemKind::Forbidden);
        let ended = end(administrator, &made.id)?;
        assert_eq!(ended.state, SecretState::Ended);
        assert_eq!(end(administrator, &made.id)?.ended_at, ended.ended_at, "once is enough");

        assert_eq!(text(&waiting.wait_for("refused")?, "note")?, "access secret ended");
        assert_eq!(ward.nurse.pairing(request.session)?.phase, PairingPhase::Ended);
        assert_eq!(ward.type_code(&pairing, &code)?.result, VerifyResult::Verified, "a person had looked at it");
        accepted.wait_for("paired")?;

        let _late = Pump::start(scene, &file, "ip-3")?;
        ward.worker.wait_for_line(&format!("infusion-pump/ip-3 asks under the access secret {}", made.id))?;
        ensure!(ward.nurse.pairings()?.iter().all(|pairing| pairing.device.identifier.as_str() != "ip-3"));
        assert_eq!(refusal(provision(administrator, None, Some(&made.id)))?, ProblemKind::WrongState);
        Ok(())
    })
}

#[test]
fn a_devices_own_secret_can_be_ended_and_the_next_one_is_another() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let administrator = &ward.administrator;
        let first = provision(administrator, Some("ip-4"), None)?;
        ensure!(first == provision(administrator, Some("ip-4"), None)?, "asked for again, it is the same");
        end(administrator, &first.secret_id)?;
        let second = provision(administrator, Some("ip-4"), None)?;
        ensure!(second.secret_id != first.secret_id && second.secret != first.secret, "it does not come back");

        let _old = Pump::start(scene, &first, "ip-4")?;
        ward.worker.wait_for_line(&format!("under the access secret {}, which does not count", first.secret_id))?;
        let _new = Pump::start_with(scene, &second, "ip-4-new", &[])?;
        ward.nurse.wait_for_pairing("ip-4", |pairing| pairing.phase == PairingPhase::Waiting)?;

        let foreign = Pump::start_with(scene, &second, "ip-5", &["--identifier", "ip-5"]);
        drop(foreign);
        let chosen = provision(administrator, None, Some(&second.secret_id));
        assert_eq!(refusal(chosen)?, ProblemKind::NotFound, "it is no hospital-wide one");
        Ok(())
    })
}

#[test]
fn what_makes_no_secret_is_refused() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let administrator = &ward.administrator;
        for lifetime_days in [0, 3651] {
            let new = NewSecret { name: String::new(), lifetime_days };
            assert_eq!(refusal(administrator.post::<SecretView>("secrets", &new))?, ProblemKind::BadRequest);
        }
        assert_eq!(refusal(make(administrator, &"n".repeat(129)))?, ProblemKind::BadRequest);
        assert_eq!(refusal(make(&ward.nurse, "mine"))?, ProblemKind::Forbidden);
        let id = ward.provisioning.secret_id.clone();
        assert_eq!(refusal(provision(administrator, Some("ip-6"), Some(&id)))?, ProblemKind::BadRequest);
        assert_eq!(refusal(provision(administrator, None, Some(&"other".parse()?)))?, ProblemKind::NotFound);
        let newest = make(administrator, "Newest")?;
        assert_eq!(provision(administrator, None, None)?.secret_id, newest.id);
        Ok(())
    })
}
