use std::path::Path;

use anyhow::anyhow;

use super::{Call, account, origins, secret_names};
use crate::build::{Script, Staged};

fn staged() -> Staged {
    Staged { dist: "/stage/dist".into(), build: "/stage/build".into() }
}

#[test]
fn a_deployment_uploads_what_was_built_into_the_production_environment() {
    let upload = "wrangler deploy --no-bundle --config wrangler.toml --env production --assets=/stage/dist \
                  /stage/build/worker/index.js";
    let deploy = |domain, secrets| Call::deploy(Script::ControlUnit, "production", &staged(), domain, secrets).line();
    assert_eq!(deploy(None, None), upload);
    assert_eq!(
        Call::deploy(Script::Distribution, "first", &staged(), None, None).line(),
        "wrangler deploy --no-bundle --config wrangler.distribution.toml --env first /stage/build/distribution/index.js"
    );
    assert_eq!(
        deploy(Some("wardlink.example"), Some(Path::new("/tmp/secrets"))),
        format!("{upload} --domain=wardlink.example --secrets-file=/tmp/secrets")
    );
}

#[test]
fn a_rehearsal_is_the_same_upload_and_stays_here() {
    for script in Script::ALL {
        let rehearsal = Call::rehearse(script, &staged(), Path::new("/out"), Path::new("/out/upload")).line();
        let upload = Call::deploy(script, "production", &staged(), None, None).line();
        assert_eq!(rehearsal, format!("{upload} --dry-run --outdir=/out --outfile=/out/upload"));
    }
}

#[test]
fn only_names_of_secrets_are_read() {
    let list = "wrangler secret list --format json --config wrangler.distribution.toml --env production";
    assert_eq!(Call::list_secrets(Script::Distribution).line(), list);
    let answer = r#"[{"name":"MASTER_KEY","type":"secret_text"},{"name":"BOOTSTRAP_TOKEN","type":"secret_text"}]"#;
    let names = secret_names(Ok(answer.to_owned())).unwrap();
    assert_eq!(names.unwrap(), ["MASTER_KEY", "BOOTSTRAP_TOKEN"]);
}

#[test]
fn a_worker_that_is_not_there_is_told_from_a_failure() {
    let missing = "`wrangler secret list` failed: exit status: 1\n✘ [ERROR] Worker \"wardlink\" (env: production) not found.\n\n\
                   If this is a new Worker, run `wrangler deploy` first to create it.";
    assert_eq!(secret_names(Err(anyhow!(missing))).unwrap(), None);
    assert!(secret_names(Err(anyhow!("✘ [ERROR] fetch failed"))).is_err());
    assert!(secret_names(Err(anyhow!("Authentication error [code: 10000]"))).is_err());
    assert!(secret_names(Ok("no JSON".to_owned())).is_err());
}

#[test]
fn the_account_is_the_only_one_or_the_chosen_one() {
    let one = r#"{"loggedIn":true,"accounts":[{"name":"Ward","id":"1"}]}"#;
    let two = r#"{"loggedIn":true,"accounts":[{"name":"Ward","id":"1"},{"name":"Lab","id":"2"}]}"#;
    assert_eq!(account(one, None).unwrap().name, "Ward");
    assert_eq!(account(two, Some("2")).unwrap().name, "Lab");
    assert!(account(two, None).unwrap_err().to_string().contains("CLOUDFLARE_ACCOUNT_ID"));
    assert!(account(one, Some("2")).is_err());
    for nobody in [r#"{"loggedIn":false}"#, "You are not authenticated.", ""] {
        assert!(account(nobody, None).unwrap_err().to_string().contains("npx wrangler login"), "{nobody}");
    }
}

#[test]
fn origins_come_from_the_report_of_the_deployment() {
    let report = "{\"type\":\"wrangler-session\",\"version\":1}\n\
                  {\"type\":\"deploy\",\"targets\":[\"https://wardlink.ward.workers.dev\",\"wardlink.example (custom domain)\"]}\n";
    assert_eq!(origins(report), ["https://wardlink.ward.workers.dev", "https://wardlink.example"]);
    assert!(origins("").is_empty());
}
