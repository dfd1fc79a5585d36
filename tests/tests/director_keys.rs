//! The director's keys, made elsewhere and installed before the first start (Distribution, figure 4, 74; figure 8, 171).

use anyhow::{Context as _, Result, bail, ensure};
use data_encoding::BASE64URL_NOPAD;
use p256::ecdsa::SigningKey;
use p256::pkcs8::DecodePrivateKey as _;
use serde_json::{Value, json};
use wardlink_protocol::api::ProblemKind;
use wardlink_tests::api::Refused;
use wardlink_tests::hub::Hub;
use wardlink_tests::service::new_key;
use wardlink_tests::ward::Ward;
use wardlink_tests::worker::Worker;
use wardlink_tests::{Scene, scene};
use wardlink_update::key::Key;

const ROOT: &str = "DIRECTOR_ROOT_KEY";
const ONLINE: &str = "DIRECTOR_KEY";

/// A key as it is installed, and the identifier of its public part in metadata.
struct Installed {
    secret: String,
    id: Value,
}

impl Installed {
    fn make() -> Result<Self> {
        let der = new_key().to_pkcs8()?;
        let key = SigningKey::from_pkcs8_der(&der)?;
        let id = serde_json::to_value(Key::ecdsa_p256(key.verifying_key())?.id())?;
        Ok(Self { secret: BASE64URL_NOPAD.encode(&der), id })
    }
}

fn ward<'s>(scene: &'s Scene, root: &str, online: &str) -> Result<Ward<'s>> {
    Ward::around(scene, Worker::start_with(scene, &[(ROOT, root), (ONLINE, online)])?)
}

fn variables(root: &str, online: &str) -> [(String, String); 2] {
    [(ROOT, root), (ONLINE, online)].map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// The keys of each role, as a director's root names them.
fn keys_of(root: &[u8]) -> Result<Value> {
    let root: Value = serde_json::from_slice(root).context("a root is JSON")?;
    let of = |role: &str| Ok(root.pointer(&format!("/signed/roles/{role}/keyids")).context("a role")?.clone());
    let roles = ["root", "timestamp", "snapshot", "targets"].map(of).into_iter().collect::<Result<Vec<_>>>()?;
    let signed = root.pointer("/signatures").and_then(Value::as_array).context("signatures")?;
    let by: Vec<&Value> = signed.iter().filter_map(|signature| signature.get("keyid")).collect();
    Ok(json!({ "roles": roles, "signed by": by }))
}

/// What a root has to name where these keys are installed.
fn named(root: &Installed, online: &Installed) -> Value {
    let (root, online) = (json!([root.id]), json!([online.id]));
    json!({ "roles": [root, online, online, online], "signed by": root })
}

/// Reports once more, and verifies the directive that comes from the root that the device began with; its version.
fn directed(hub: &mut Hub, began_with: &[u8]) -> Result<u64> {
    let mut talk = hub.connect()?;
    assert_eq!(talk.report(hub.report("1A", None, &[])?)?, None);
    ensure!(talk.welcome.director_root.as_slice() == began_with, "it is told another root");
    talk.ask()?;
    Ok(hub.directive(&talk.welcome)?.version)
}

#[test]
fn a_director_signs_with_the_keys_that_were_installed_before_it_and_a_later_change_counts_for_nothing() -> Result<()> {
    scene(|scene| {
        let (root, online) = (Installed::make()?, Installed::make()?);
        let mut ward = ward(scene, &root.secret, &online.secret)?;
        let mut hub = ward.hub("pump-1")?;
        let began_with = hub.connect()?.welcome.director_root.to_vec();
        assert_eq!(keys_of(&began_with)?, named(&root, &online));
        let first = directed(&mut hub, &began_with)?;

        // Other keys, none at all, and what is no key: it goes on with those that it has.
        let (other, another) = (Installed::make()?, Installed::make()?);
        let mut last = first;
        for changed in [variables(&other.secret, &another.secret).to_vec(), Vec::new(), variables("-", "-").to_vec()] {
            ward.worker.restart_with(&changed)?;
            let push = format!("gateways/{}/push", hub.device);
            let _: Value = ward.administrator.post(&push, &())?;
            let version = directed(&mut hub, &began_with)?;
            ensure!(version > last, "{version} after {last}: nothing was signed");
            last = version;
        }
        Ok(())
    })
}

#[test]
fn a_director_whose_installed_key_is_none_says_which_and_makes_no_other() -> Result<()> {
    scene(|scene| {
        let (root, online) = (Installed::make()?, Installed::make()?);
        let mut ward = ward(scene, "not/base64url", &online.secret)?;
        let hub = ward.hub("pump-1")?;
        let not_pkcs8 = BASE64URL_NOPAD.encode(b"bytes that are no key");
        let wrong = [
            (None, "DIRECTOR_ROOT_KEY is not base64url"),
            (Some(variables(&not_pkcs8, &online.secret)), "DIRECTOR_ROOT_KEY: "),
            (Some(variables(&root.secret, "not/base64url")), "DIRECTOR_KEY is not base64url"),
            (Some(variables(&root.secret, &not_pkcs8)), "DIRECTOR_KEY: "),
        ];
        for (variables, said) in wrong {
            if let Some(variables) = variables {
                ward.worker.restart_with(&variables)?;
            }
            ensure!(hub.connect().is_err(), "there is a director: {said}");
            ward.worker.wait_for_line(&format!("internal error: {said}"))?;
            // Administrators need not look into the log.
            for path in ["gateways", "offers"] {
                let Err(error) = ward.administrator.get::<Value>(path) else {
                    bail!("{path} knows of nothing: {said}")
                };
                let problem = error.downcast::<Refused>()?.0;
                let detail = problem.detail.clone().unwrap_or_default();
                ensure!(problem.kind == ProblemKind::Unavailable && detail.contains(said), "{path}: {problem}");
                ensure!(!detail.contains(&online.secret) && !detail.contains(&root.secret), "{path} tells a key");
            }
            let log = ward.worker.log()?;
            ensure!(!log.contains(&online.secret) && !log.contains(&root.secret), "the log tells a key");
        }
        // Nothing was made meanwhile: the right ones count as if nothing had been.
        ward.worker.restart_with(&variables(&root.secret, &online.secret))?;
        let _: (Value, Value) = (ward.administrator.get("gateways")?, ward.administrator.get("offers")?);
        assert_eq!(keys_of(&hub.connect()?.welcome.director_root)?, named(&root, &online));
        Ok(())
    })
}
