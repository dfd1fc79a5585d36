//! Signatures: thresholds, several machines, who may sign what.

use crate::desk::{Desk, refused, with_input};
use std::fs;
use std::path::{Path, PathBuf};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn two_signers_on_two_machines_sign_one_root() {
    let here = Desk::new();
    here.init();
    let request = here.path("request.json");
    let mut sign = here.sign(&["root", "targets", "snapshot", "timestamp"]);
    sign.extend(["--out".to_owned(), text(&request).to_owned()]);
    let said = here.succeed(&sign);
    assert!(said.contains("root.json waits: 1 of 2 signatures"), "{said}");
    assert!(!here.is_published("1.root.json") && !here.is_published("timestamp.json"));
    // The same key again is no second signature.
    let said = here.succeed(&here.sign(&["root"]));
    assert!(said.contains("root.json waits: 1 of 2 signatures"), "{said}");

    // The other machine has its key, and nothing of the repository.
    let there = Desk::new();
    let carried = there.path("carried.json");
    fs::copy(&request, &carried).unwrap();
    let second = there.key_file("second root");
    let arguments = ["--yes", "sign", "--request", text(&carried), "--key", &second];
    // That nothing vouches for the root has to be said.
    let refusal = there.refuse(&arguments);
    assert!(refusal.contains("--trusted-root FILE") && refusal.contains("--first-root"), "{refusal}");
    let said = there.succeed(&[&arguments[..], &["--first-root"]].concat());
    assert!(said.contains("signed root.json with key"), "{said}");
    assert!(!there.path("repository").exists());

    let mut merge = here.sign(&["snapshot", "timestamp"]);
    merge.extend(["--merge".to_owned(), text(&carried).to_owned()]);
    let said = here.succeed(&merge);
    assert!(said.contains("1 new signatures") && said.contains("published"), "{said}");
    here.succeed(&["verify"]);
}

/// A request with one part changed, so that it claims to be of a repository that begins.
fn claims_to_begin(desk: &Desk, request: &Path, change: impl FnOnce(&mut serde_json::Value)) -> PathBuf {
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(request).unwrap()).unwrap();
    json["roots"] = serde_json::json!([]);
    change(&mut json);
    desk.write("begins.json", &serde_json::to_vec(&json).unwrap())
}

#[test]
fn a_request_without_roots_is_signed_only_if_everything_begins() {
    let desk = Desk::published();
    desk.delegate_acme();
    desk.add_program("1B", b"a program");
    let request = desk.path("request.json");
    desk.succeed(&["sign", "--out", text(&request)]);
    let refuse = |file: &Path, key: &str| {
        let key = desk.key_file(key);
        let before = fs::read(file).unwrap();
        let refusal = desk.refuse(&["--yes", "sign", "--request", text(file), "--first-root", "--key", &key]);
        assert!(refusal.contains("not that of a first root"), "{refusal}");
        assert_eq!(fs::read(file).unwrap(), before);
    };
    // Somebody leaves the roots away, so that no trusted one is asked for; and what is published; and makes up a root.
    refuse(&request, "targets");
    refuse(&claims_to_begin(&desk, &request, |_| ()), "targets");
    refuse(&claims_to_begin(&desk, &request, |json| json["published"] = serde_json::json!({})), "acme");
    let root: serde_json::Value =
        serde_json::from_slice(&fs::read(desk.path("repository/metadata/1.root.json")).unwrap()).unwrap();
    let with_root = |version: u64| {
        claims_to_begin(&desk, &request, |json| {
            json["published"] = serde_json::json!({});
            json["drafts"]["root.json"] = root.clone();
            json["drafts"]["root.json"]["signed"]["version"] = version.into();
        })
    };
    // Version 2 of the targets is no beginning, whatever the root says; nor is version 2 of the root.
    refuse(&with_root(1), "targets");
    let later = with_root(2);
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&later).unwrap()).unwrap();
    json["drafts"]["targets.json"]["signed"]["version"] = 1.into();
    refuse(&desk.write("later.json", &serde_json::to_vec(&json).unwrap()), "root");
    // Where there is a root to trust, it is asked for.
    let trusted = desk.path("repository/metadata/1.root.json");
    let both = ["--yes", "sign", "--request", text(&request), "--first-root", "--trusted-root", text(&trusted)];
    assert_eq!(desk.command(&both).output().unwrap().status.code(), Some(2));
}

#[test]
fn a_key_signs_only_what_its_role_allows() {
    let desk = Desk::published();
    desk.delegate_acme();
    desk.add_program("1B", b"a program");
    let before = desk.state();
    desk.key("stranger");
    for keys in [&["stranger"][..], &["root"], &["targets", "stranger"]] {
        let refusal = desk.refuse(&desk.sign(keys));
        assert!(refusal.contains("may not sign") && refusal.contains("its role does not allow it"), "{refusal}");
        assert_eq!(desk.state(), before);
    }
    // Neither does it on another machine.
    let request = desk.path("request.json");
    desk.succeed(&["sign", "--out", text(&request)]);
    let trusted = desk.path("repository/metadata/1.root.json");
    let carried = fs::read(&request).unwrap();
    let arguments = ["--yes", "sign", "--request", text(&request), "--trusted-root", text(&trusted), "--key"];
    let key = desk.key_file("stranger");
    let refusal = desk.refuse(&[&arguments[..], &[&key]].concat());
    assert!(refusal.contains("may not sign"), "{refusal}");
    assert_eq!(fs::read(&request).unwrap(), carried);
    // The manufacturer's key signs its own role, and not the top-level one.
    let said = desk.succeed(&desk.sign(&["acme"]));
    assert!(said.contains("signed acme.json") && said.contains("targets.json waits: 0 of 1"), "{said}");
    assert!(!desk.is_published("2.targets.json"));
}

#[test]
fn what_comes_from_another_machine_is_checked() {
    let desk = Desk::published();
    desk.delegate_acme();
    desk.add_program("1B", b"a program");
    let request = desk.path("request.json");
    desk.succeed(&["sign", "--out", text(&request)]);
    let handed_out = fs::read_to_string(&request).unwrap();
    let trusted = desk.path("repository/metadata/1.root.json");
    let key = desk.key_file("acme");
    let countersign = |file: &Path, trusted: Option<&Path>| {
        let mut arguments = vec!["--yes", "sign", "--request", text(file), "--key", &key];
        arguments.extend(trusted.iter().flat_map(|root| ["--trusted-root", text(root)]));
        desk.command(&arguments).output().unwrap()
    };
    // A signer begins with a root of his own.
    assert!(refused(&countersign(&request, None)).contains("name a root that you trust"));
    let foreign = Desk::stranger();
    let foreign_root = foreign.path("repository/metadata/1.root.json");
    let refusal = refused(&countersign(&request, Some(&foreign_root)));
    assert!(refusal.contains("may not sign") || refusal.contains("not signed by their keys"), "{refusal}");
    // Without its roots, the request is about a repository that nobody knows.
    let rootless = desk.path("rootless.json");
    let begin = handed_out.find("\"roots\":[").unwrap();
    fs::write(&rootless, format!("{}\"roots\":[]}}", &handed_out[..begin])).unwrap();
    assert!(refused(&countersign(&rootless, Some(&trusted))).contains("no root that follows the trusted one"));
    for garbage in
        ["", "{}", "[]", "{\"format\":\"wardlink signing request 1\"}", "{\"format\":\"wardlink signing request 2\"}"]
    {
        let file = desk.write("garbage.json", garbage.as_bytes());
        assert!(refused(&countersign(&file, Some(&trusted))).contains("no signing request"), "{garbage}");
    }

    assert!(countersign(&request, Some(&trusted)).status.success());
    let signed = fs::read_to_string(&request).unwrap();
    let before = desk.state();
    // A changed draft is not the one that was handed out.
    let changed =
        desk.write("changed.json", signed.replace("\"post_revision\":\"1B\"", "\"post_revision\":\"9\"").as_bytes());
    let refusal = desk.refuse(&["--yes", "sign", "--merge", text(&changed)]);
    assert!(refusal.contains("was changed after it was handed out"), "{refusal}");
    // A signature that does not count, and one of a stranger.
    let at = signed.find("\"sig\":\"30").unwrap() + 20;
    let mut forged = signed.clone().into_bytes();
    for byte in &mut forged[at..at + 8] {
        *byte = b'0';
    }
    let forged = desk.write("forged.json", &forged);
    let stranger = desk.write("stranger.json", signed.replace(&desk.key_id("acme"), &"0".repeat(64)).as_bytes());
    for (file, why) in [(&forged, "may not sign"), (&stranger, "")] {
        let refusal = desk.refuse(&["--yes", "sign", "--merge", text(file)]);
        assert!(refusal.contains(why), "{refusal}");
    }
    assert_eq!(desk.state(), before);
    let mut merge = desk.sign(&["targets", "snapshot", "timestamp"]);
    merge.extend(["--merge".to_owned(), text(&request).to_owned()]);
    assert!(desk.succeed(&merge).contains("published"));
    desk.succeed(&["verify"]);
}

#[test]
fn a_root_that_follows_needs_the_old_keys_and_its_own() {
    let desk = Desk::published();
    for name in ["third root", "fourth root"] {
        desk.key(name);
    }
    let (add, more) = (desk.public("third root"), desk.public("fourth root"));
    let (remove, also) = (desk.key_id("root"), desk.key_id("second root"));
    let rotate = ["--yes", "rotate", "root", "--add", &add, "--add", &more, "--remove", &remove, "--remove", &also];
    desk.succeed(&rotate);
    for keys in [&["third root", "fourth root"][..], &["root"], &["snapshot", "timestamp"]] {
        let _ = desk.command(&desk.sign(keys)).output().unwrap();
        assert!(!desk.is_published("2.root.json"), "{keys:?}");
        desk.succeed(&["verify"]);
    }
    desk.publish(&["second root", "snapshot", "timestamp"]);
    assert!(desk.is_published("2.root.json"));
    desk.succeed(&["verify"]);
    // A machine that knows the first root follows to the second one.
    let first = desk.path("repository/metadata/1.root.json");
    desk.delegate_acme();
    let request = desk.path("request.json");
    desk.succeed(&["sign", "--out", text(&request)]);
    let key = desk.key_file("targets");
    desk.succeed(&["--yes", "sign", "--request", text(&request), "--trusted-root", text(&first), "--key", &key]);
}

#[test]
fn roles_keep_as_many_keys_as_have_to_sign() {
    let desk = Desk::published();
    let before = desk.state();
    let (id, public, unknown) = (desk.key_id("root"), desk.public("root"), "0".repeat(64));
    for (change, why) in [
        (vec!["--remove", id.as_str()], "would have 1 keys, of which 2 have to sign"),
        (vec!["--threshold", "3"], "would have 2 keys, of which 3 have to sign"),
        (vec!["--add", public.as_str()], "a key counts once"),
        (vec!["--remove", unknown.as_str()], "has no key"),
        (vec![], "say what changes"),
    ] {
        let refusal = desk.refuse(&[&["--yes", "rotate", "root"][..], &change].concat());
        assert!(refusal.contains(why), "{refusal}");
    }
    let refusal = desk.refuse(&["--yes", "rotate", "nobody", "--threshold", "1"]);
    assert!(refusal.contains("no role nobody"), "{refusal}");
    let mut twice = desk.init_arguments();
    twice.extend(["--root-key".to_owned(), desk.public("root")]);
    assert!(desk.refuse(&twice).contains("a key counts once"));
    assert_eq!(desk.state(), before);
    let refusal = desk.refuse(&desk.init_arguments());
    assert!(refusal.contains("is there already"), "{refusal}");
}

#[test]
fn dangerous_steps_ask_and_never_go_on_silently() {
    let desk = Desk::published();
    desk.delegate_acme();
    desk.add_program("1B", b"a program");
    let before = desk.state();
    let (public, key) = (desk.public("acme"), desk.key_file("acme"));
    for command in [
        vec!["sign", "--key", key.as_str()],
        vec!["rotate", "targets", "--add", public.as_str()],
        vec!["delegate", "acme", "--model", "infusion-pump/PM3"],
        vec!["recall", "acme/infusion-pump/PM2/1B.bin", "--reason", "an alarm is too quiet"],
    ] {
        let refusal = desk.refuse(&command);
        assert!(refusal.contains("nothing was done") && refusal.contains("--yes"), "{refusal}");
        // A pipe is no person.
        let refusal = refused(&with_input(&mut desk.command(&command), b"yes\nyes\n"));
        assert!(refusal.contains("nothing was done"), "{refusal}");
        assert_eq!(desk.state(), before, "{command:?}");
    }
}

#[test]
fn a_change_after_a_signature_voids_it() {
    let desk = Desk::published();
    desk.delegate_acme();
    desk.succeed(&desk.sign(&["acme"]));
    let file = desk.write("1B.bin", b"a program");
    let output = desk.command(&Desk::add_arguments("1B", &file)).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("acme.json was signed before it changed"), "{said}");
    let said = desk.succeed(&desk.sign(&["targets", "snapshot", "timestamp"]));
    assert!(said.contains("acme.json waits: 0 of 1 signatures"), "{said}");
    assert!(!desk.is_published("2.targets.json"));
    desk.publish(&["acme", "snapshot", "timestamp"]);
}

#[test]
fn a_renewed_role_says_the_same_for_longer() {
    let desk = Desk::published();
    for (role, keys) in [
        ("timestamp", &["timestamp"][..]),
        ("snapshot", &["snapshot", "timestamp"]),
        ("targets", &["targets", "snapshot", "timestamp"]),
        ("root", &["root", "second root", "snapshot", "timestamp"]),
    ] {
        desk.succeed(&["sign", "--renew", role]);
        desk.publish(keys);
        desk.succeed(&["verify"]);
    }
    let shown: serde_json::Value = serde_json::from_str(&desk.succeed(&["show", "--json"])).unwrap();
    let versions = ["root.json", "targets.json", "snapshot.json", "timestamp.json"];
    let versions = versions.map(|name| shown["published"][name]["version"].as_u64().unwrap());
    assert_eq!(versions, [2, 2, 4, 5]);
    assert!(desk.refuse(&["--yes", "sign"]).contains("nothing waits"));
}

#[test]
fn an_inventory_is_signed_by_its_manufacturers_role() {
    let desk = Desk::published();
    let device = |identifier: &str, serial: &str| {
        serde_json::json!({ "characteristics": {
            "device": { "client": "infusion-pump", "identifier": identifier },
            "manufacturer": "acme", "model": "PM2", "serial_number": serial, "revision": "1B", "hardware": "PM2-B",
        }})
    };
    let list = |devices: &[serde_json::Value]| {
        let devices = desk.write("devices.json", serde_json::to_string(devices).unwrap().as_bytes());
        vec!["inventory".to_owned(), "acme".to_owned(), "--devices".to_owned(), text(&devices).to_owned()]
    };
    let right = list(&[device("2", "0002"), device("1", "0001")]);
    let refusal = desk.refuse(&right);
    assert!(refusal.contains("no role acme"), "{refusal}");
    desk.delegate_acme();
    desk.publish(&["targets", "acme", "snapshot", "timestamp"]);
    for wrong in [&[device("1", "0001"), device("1", "0002")][..], &[device("1", "0001"), device("2", "0001")]] {
        desk.refuse(&list(wrong));
    }
    let mut foreign = device("1", "0001");
    foreign["characteristics"]["manufacturer"] = "other".into();
    let refusal = desk.refuse(&list(&[foreign]));
    assert!(refusal.contains("another manufacturer's device"), "{refusal}");
    desk.succeed(&list(&[device("2", "0002"), device("1", "0001")]));
    assert!(desk.refuse(&desk.sign(&["targets"])).contains("may not sign"));
    desk.publish(&["acme"]);
    assert!(desk.succeed(&["verify"]).contains("1 inventories"));
    let out = desk.path("out");
    desk.succeed(&["export", text(&out)]);
    let file = out.join("inventory/inventory@acme.json");
    let altered = fs::read_to_string(&file).unwrap().replace("0002", "0003");
    fs::write(&file, altered).unwrap();
    assert!(desk.refuse(&["verify", text(&out)]).contains("not enough of the manufacturer's keys"));
    // The next one has the next version.
    desk.succeed(&list(&[device("1", "0001")]));
    desk.publish(&["acme"]);
    let shown: serde_json::Value = serde_json::from_str(&desk.succeed(&["show", "--json"])).unwrap();
    assert_eq!(shown["published"]["inventory@acme.json"]["version"], 2);
}
