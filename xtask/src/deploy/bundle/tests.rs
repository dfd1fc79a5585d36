use std::fs;

use serde_json::json;

use super::{
    Configuration, check_address, check_assets, check_beginning, check_bindings, check_configuration, check_secrets,
    metadata,
};

const SCRIPT: &str = "class a{}export{a as SiteObject,a as BridgeObject};";

fn configuration(trust: &str, classes: &[&str]) -> Configuration {
    let objects: Vec<_> = classes.iter().map(|class| json!({ "name": class, "class_name": class })).collect();
    serde_json::from_value(json!({
        "name": "wardlink",
        "vars": { "TRUST": trust },
        "durable_objects": { "bindings": objects },
        "migrations": [{ "tag": "v1", "new_sqlite_classes": ["SiteObject", "BridgeObject"] }],
    }))
    .unwrap()
}

fn refused(production: &Configuration, script: &str) -> String {
    let local = configuration("none", &["SiteObject", "BridgeObject"]);
    check_configuration(&local, production, &[], script).unwrap_err().to_string()
}

#[test]
fn production_has_to_be_what_is_tested() {
    let classes = ["SiteObject", "BridgeObject"];
    let local = configuration("none", &classes);
    let found = check_configuration(&local, &configuration("cloudflare", &classes), &[], SCRIPT).unwrap();
    assert_eq!(found, "Durable Objects of wardlink: SiteObject, BridgeObject (migrations: v1)");
    assert!(refused(&configuration("cloudflare", &["SiteObject"]), SCRIPT).contains("other Durable Objects"));
    assert!(refused(&configuration("cloudflare", &classes), "export{a as SiteObject};").contains("BridgeObject"));

    let unmade = configuration("cloudflare", &["SiteObject", "GatewayObject"]);
    let local = configuration("none", &["SiteObject", "GatewayObject"]);
    let error = check_configuration(&local, &unmade, &[], SCRIPT).unwrap_err().to_string();
    assert!(error.contains("no migration makes GatewayObject"), "{error}");
}

/// A worker that names an object of another.
fn asking(owner: &str) -> Configuration {
    let bindings = json!([
        { "name": "GATEWAY", "class_name": "GatewayObject" },
        { "name": "SITE", "class_name": "SiteObject", "script_name": owner },
    ]);
    serde_json::from_value(json!({
        "name": "other",
        "durable_objects": { "bindings": bindings },
        "migrations": [{ "tag": "v1", "new_sqlite_classes": ["GatewayObject"] }],
    }))
    .unwrap()
}

#[test]
fn an_object_of_another_worker_is_one_that_it_makes() {
    let script = "export{a as GatewayObject};";
    let all = [configuration("cloudflare", &["SiteObject"]), asking("wardlink")];
    let check = |owner| check_configuration(&asking(owner), &asking(owner), &all, script);
    assert_eq!(check("wardlink").unwrap(), "Durable Objects of other: GatewayObject (migrations: v1)");
    assert!(check("nobody").unwrap_err().to_string().contains("no worker is nobody"));
    assert!(check("other").unwrap_err().to_string().contains("no migration makes SiteObject"));
}

#[test]
fn a_first_deployment_begins_without_what_is_not_there() {
    let production = asking("wardlink");
    let mut first = asking("wardlink");
    assert!(check_beginning(&production, &first).is_err());
    first.durable_objects.bindings.retain(|object| object.script_name.is_none());
    check_beginning(&production, &first).unwrap();
    first.migrations.clear();
    assert!(check_beginning(&production, &first).is_err());
}

#[test]
fn an_upload_binds_every_object_and_names_no_secret() {
    let production = configuration("cloudflare", &["SiteObject"]);
    let site = json!({ "name": "SiteObject", "type": "durable_object_namespace", "class_name": "SiteObject" });
    let assets = json!({ "name": "ASSETS", "type": "assets" });
    let check = |bindings| check_bindings(&production, &json!({ "bindings": bindings }));
    assert_eq!(check(json!([site, assets])).unwrap(), "Bindings of wardlink: SiteObject, ASSETS");
    let address = |trust, bindings| check_address(&configuration(trust, &[]), &json!({ "bindings": bindings }));
    address("cloudflare", json!([site, assets])).unwrap();
    assert!(address("cloudflare", json!([site])).unwrap_err().to_string().contains("assets"));
    assert!(address("none", json!([site, assets])).unwrap_err().to_string().contains("TRUST"));
    assert!(check(json!([assets])).unwrap_err().to_string().contains("SiteObject"));
    for name in ["MASTER_KEY", "BOOTSTRAP_TOKEN", "PROXY_SECRET", "TLS_ANCHORS", "EST_CREDENTIALS"] {
        let secret = json!({ "name": name, "type": "plain_text", "text": "x" });
        assert!(check(json!([site, assets, secret])).unwrap_err().to_string().contains(name));
    }
}

#[test]
fn the_description_is_the_first_part_of_the_upload() {
    let upload =
        b"------form\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n{\"main_module\":\"index.js\"}\r\n\
                   ------form\r\n\r\nexport {};\xff\xfe";
    assert_eq!(metadata(upload).unwrap(), json!({ "main_module": "index.js" }));
    assert!(metadata(b"------form").is_err());
}

/// A web app in a folder, to be broken.
fn dist() -> tempfile::TempDir {
    let dist = tempfile::tempdir().unwrap();
    for file in ["index.html", "verify.html", "manifest.webmanifest"] {
        fs::write(dist.path().join(file), "text").unwrap();
    }
    fs::write(dist.path().join("_headers"), "/*\n  Content-Security-Policy: default-src 'none'\n").unwrap();
    dist
}

#[test]
fn assets_are_whole_and_hold_nothing_else() {
    assert_eq!(check_assets(dist().path()).unwrap(), "Assets: 4 files, with a Content Security Policy");
    for missing in ["_headers", "index.html", "verify.html"] {
        let dist = dist();
        fs::remove_file(dist.path().join(missing)).unwrap();
        assert!(check_assets(dist.path()).unwrap_err().to_string().contains(missing));
    }
    for foreign in [".dev.vars", "index.js.map", "wrangler.toml"] {
        let dist = dist();
        fs::write(dist.path().join(foreign), "x").unwrap();
        assert!(check_assets(dist.path()).unwrap_err().to_string().contains(foreign));
    }
    let dist = dist();
    fs::write(dist.path().join("_headers"), "/*\n  X-Frame-Options: DENY\n").unwrap();
    assert!(check_assets(dist.path()).is_err());
}

#[test]
fn a_secret_of_development_is_found_wherever_it_is() {
    let secrets = ["a-secret-of-this-machine".to_owned()];
    let clean = dist();
    assert!(check_secrets(&secrets, &[b"\x00\x01wasm".to_vec()], clean.path()).is_ok());
    assert!(
        check_secrets(&secrets, &[Vec::new(), b"\x00a-secret-of-this-machine\x00".to_vec()], clean.path()).is_err()
    );
    let leaking = dist();
    fs::write(leaking.path().join("index.html"), "<!-- a-secret-of-this-machine -->").unwrap();
    assert!(check_secrets(&secrets, &[], leaking.path()).unwrap_err().to_string().contains("index.html"));
}
