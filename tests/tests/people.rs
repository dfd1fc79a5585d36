//! Who may do what at the web interface.

use anyhow::{Result, ensure};
use serde_json::json;
use wardlink_protocol::api::{NewPerson, NewProvisioning, PersonChange, ProblemKind, Role, SecretView};
use wardlink_tests::api::{ADMINISTRATOR, PASSWORD, credentials, new_attempt, problem, refusal};
use wardlink_tests::live::Live;
use wardlink_tests::scene;
use wardlink_tests::ward::{NURSE, Ward};
use wardlink_tests::worker::Worker;

#[test]
fn the_one_time_link_works_once() -> Result<()> {
    scene(|scene| {
        let worker = Worker::start(scene)?;
        let body = json!({ "token": "bm90LXRoZS10b2tlbg", "credentials": { "name": "eve", "password": PASSWORD } });
        assert_eq!(refusal(worker.api().post::<()>("bootstrap", &body))?, ProblemKind::WrongToken);

        let administrator = worker.api().bootstrap()?;
        assert_eq!(administrator.whoami()?.role, Role::Administrator);

        ensure!(worker.api().bootstrap().is_err(), "a second administrator came in by the same link");
        assert_eq!(administrator.get::<Vec<wardlink_protocol::api::Person>>("people")?.len(), 1);
        Ok(())
    })
}

#[test]
fn each_role_does_what_it_may_and_nothing_more() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut pump = ward.pump("ip-7")?;
        pump.wait_for("requested")?;
        let session = ward.nurse.wait_for_pairing("ip-7", |_| true)?.session;
        let provisioning = NewProvisioning { client: "infusion-pump".parse()?, identifier: None, secret: None };
        let new = |name: &str| NewPerson { credentials: credentials(name, PASSWORD), role: Role::Administrator };
        for role in Role::ALL {
            use wardlink_protocol::api::Right;
            let (_, api) = ward.administrator.add_person(&format!("{role:?}").to_lowercase(), role)?;
            assert_eq!(api.pairings()?.len(), 1, "{role:?} sees the request");
            ensure!(api.devices()?.is_empty(), "no device is paired yet");

            let provisioned = api.post::<wardlink_protocol::provisioning::Provisioning>("provisioning", &provisioning);
            expect(role, Right::Provision, provisioned)?;
            expect(role, Right::Provision, api.get::<Vec<SecretView>>("secrets"))?;
            expect(role, Right::ManagePeople, api.get::<serde_json::Value>("people"))?;
            let added = api.post::<serde_json::Value>("people", &new(&format!("friend-of-{role:?}").to_lowercase()));
            expect(role, Right::ManagePeople, added)?;
            if !role.may(Right::Pair) {
                assert_eq!(
                    refusal(api.accept(session, wardlink_protocol::pairing::Mode::PairingCode))?,
                    ProblemKind::Forbidden
                );
                assert_eq!(refusal(api.reject(session, ""))?, ProblemKind::Forbidden);
                assert_eq!(refusal(api.act(session, "dismiss"))?, ProblemKind::Forbidden);
                let proof = wardlink_tests::pump::wrong("0000000", 1);
                assert_eq!(refusal(api.verify_again(session, new_attempt()?, proof))?, ProblemKind::Forbidden);
            }
        }
        Ok(())
    })
}

fn expect<T>(role: Role, right: wardlink_protocol::api::Right, outcome: Result<T>) -> Result<()> {
    if role.may(right) {
        outcome.map(drop)
    } else {
        assert_eq!(refusal(outcome)?, ProblemKind::Forbidden, "{role:?} and {right:?}");
        Ok(())
    }
}

#[test]
fn nobody_sees_anything_without_signing_in() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let stranger = ward.worker.api();
        for path in ["people", "pairings", "devices", "secrets"] {
            assert_eq!(refusal(stranger.get::<serde_json::Value>(path))?, ProblemKind::SignedOut, "{path}");
        }
        assert_eq!(Live::connect_from(&stranger, stranger.origin())?.err(), Some(401));
        assert_eq!(refusal(stranger.provisioning())?, ProblemKind::SignedOut);
        Ok(())
    })
}

#[test]
fn signing_out_ends_the_session_and_its_live_connection() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let live = Live::connect(&ward.nurse)?;
        let elsewhere = ward.worker.api().sign_in(NURSE, PASSWORD)?;
        ward.nurse.sign_out()?;
        assert_eq!(refusal(ward.nurse.pairings())?, ProblemKind::SignedOut);
        live.wait_for_end()?;
        elsewhere.pairings()?;
        Ok(())
    })
}

#[test]
fn deactivation_ends_every_session_at_once() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let (person, first) = ward.administrator.add_person("noor", Role::BiomedicalEngineer)?;
        let second = ward.worker.api().sign_in("Noor", PASSWORD)?;
        let live = Live::connect(&first)?;
        let off = PersonChange { active: Some(false), ..PersonChange::default() };
        ensure!(!ward.administrator.change_person(person.id, &off)?.active, "the account is off");
        assert_eq!(refusal(first.pairings())?, ProblemKind::SignedOut);
        assert_eq!(refusal(second.pairings())?, ProblemKind::SignedOut);
        live.wait_for_end()?;
        assert_eq!(refusal(ward.worker.api().sign_in("noor", PASSWORD))?, ProblemKind::WrongPassword);

        let on = PersonChange { active: Some(true), ..PersonChange::default() };
        ward.administrator.change_person(person.id, &on)?;
        ward.worker.api().sign_in("noor", PASSWORD)?.pairings()?;
        Ok(())
    })
}

#[test]
fn a_new_role_counts_at_once_and_the_last_administrator_stays() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let nurse = ward.nurse.whoami()?;
        ensure!(nurse.role == Role::Nurse && refusal(ward.nurse.provisioning())? == ProblemKind::Forbidden);
        let promoted = PersonChange { role: Some(Role::BiomedicalEngineer), ..PersonChange::default() };
        ward.administrator.change_person(nurse.id, &promoted)?;
        let again = ward.worker.api().sign_in(NURSE, PASSWORD)?;
        again.provisioning()?;

        let own = ward.administrator.whoami()?;
        assert_eq!(own.name, ADMINISTRATOR);
        let demoted = PersonChange { role: Some(Role::Nurse), ..PersonChange::default() };
        let refused = refusal(ward.administrator.change_person(own.id, &demoted))?;
        assert_eq!(refused, ProblemKind::LastAdministrator);
        let off = PersonChange { active: Some(false), ..PersonChange::default() };
        assert_eq!(refusal(ward.administrator.change_person(own.id, &off))?, ProblemKind::LastAdministrator);
        Ok(())
    })
}

#[test]
fn guessing_passwords_is_slowed_down_even_for_the_right_one() -> Result<()> {
    scene(|scene| {
        let worker = Worker::start(scene)?;
        worker.api().bootstrap()?;
        let mut refusals = Vec::new();
        for _ in 0..8 {
            refusals.push(refusal(worker.api().try_to_sign_in(ADMINISTRATOR, "a wrong password"))?);
        }
        assert_eq!(refusals.first(), Some(&ProblemKind::WrongPassword));
        assert_eq!(refusals.last(), Some(&ProblemKind::TooManyAttempts));
        let body = credentials(ADMINISTRATOR, PASSWORD);
        let origin = worker.origin();
        let own = [("Origin", origin.as_str()), ("Sec-Fetch-Site", "same-origin")];
        let refused = problem(worker.api().post_with("session", &own, &body)?)?.0;
        assert_eq!(refused.kind, ProblemKind::TooManyAttempts);
        ensure!(refused.retry_after_secs.is_some_and(|seconds| seconds > 0), "it says when to try again");
        Ok(())
    })
}

#[test]
fn foreign_pages_change_nothing_and_hear_nothing() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let own = ward.worker.origin();
        let new = NewPerson { credentials: credentials("mallory", PASSWORD), role: Role::Administrator };
        let foreign: [&[(&str, &str)]; 6] = [
            &[("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")],
            &[("Origin", "https://evil.example")],
            &[("Origin", "null")],
            &[("Origin", &own), ("Sec-Fetch-Site", "same-site")],
            &[("Sec-Fetch-Site", "none")],
            &[],
        ];
        for fields in foreign {
            let refused = problem(ward.administrator.post_with("people", fields, &new)?)?.0;
            assert_eq!(refused.kind, ProblemKind::ForeignOrigin, "{fields:?}");
        }
        assert_eq!(Live::connect_from(&ward.nurse, "https://evil.example")?.err(), Some(403));
        assert_eq!(ward.administrator.get::<Vec<serde_json::Value>>("people")?.len(), 2);
        Ok(())
    })
}

#[test]
fn passwords_and_names_are_checked() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let new =
            |name: &str, password: &str| NewPerson { credentials: credentials(name, password), role: Role::Nurse };
        let add = |new: &NewPerson| refusal(ward.administrator.post::<serde_json::Value>("people", new));
        assert_eq!(add(&new("zoe", "short"))?, ProblemKind::WeakPassword);
        assert_eq!(add(&new("zoe", &"x".repeat(1000)))?, ProblemKind::WeakPassword);
        assert_eq!(add(&new("NINA", PASSWORD))?, ProblemKind::NameTaken);
        assert_eq!(refusal(ward.worker.api().sign_in("nobody", PASSWORD))?, ProblemKind::WrongPassword);
        assert_eq!(refusal(ward.worker.api().sign_in(NURSE, "another password"))?, ProblemKind::WrongPassword);
        Ok(())
    })
}
