//! Packages, deltas and recalls.

use crate::desk::Desk;
use std::fs;
use std::os::unix::fs::symlink;

/// Bytes that no compression makes smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..length).map(step).collect()
}

fn delegated() -> Desk {
    let desk = Desk::published();
    desk.delegate_acme();
    desk
}

#[test]
fn a_package_brings_its_documents() {
    let desk = delegated();
    let (sbom, provenance) = (desk.write("1B.cdx.json", b"{}"), desk.write("1B.intoto.json", b"[]"));
    let file = desk.write("1B.bin", b"a program");
    let mut add = Desk::add_arguments("1B", &file);
    add.extend(["--sbom", sbom.to_str().unwrap(), "--provenance", provenance.to_str().unwrap()].map(str::to_owned));
    desk.succeed(&add);
    desk.publish(&["acme", "targets", "snapshot", "timestamp"]);
    assert!(desk.succeed(&["verify"]).contains("3 targets"));
    let shown: serde_json::Value = serde_json::from_str(&desk.succeed(&["show", "--json"])).unwrap();
    let package = &shown["published"]["acme.json"]["targets"]["acme/infusion-pump/PM2/1B.bin"]["custom"]["package"];
    assert_eq!(package["sbom"]["path"], "acme/infusion-pump/PM2/1B.cdx.json");
    assert_eq!(package["hardware"], serde_json::json!(["PM2-A", "PM2-B"]));
    // A document that is not the bound one is refused.
    fs::write(desk.target_file("1B.intoto.json"), b"{}").unwrap();
    desk.refuse(&["verify"]);
}

#[test]
fn a_manufacturers_role_is_limited_to_its_own_models() {
    let desk = delegated();
    let file = desk.write("1B.bin", b"a program");
    let before = desk.state();
    for (argument, other) in [("PM2", "PM3"), ("infusion-pump", "gateway")] {
        let add: Vec<_> = Desk::add_arguments("1B", &file)
            .into_iter()
            .map(|a| if a == argument { other.to_owned() } else { a })
            .collect();
        let refusal = desk.refuse(&add);
        assert!(refusal.contains("is none of the models of acme"), "{refusal}");
    }
    for model in ["PM2", "infusion-pump/*", "infusion-pump/PM2/x", "*/PM2", "../PM2", "infusion-pump/.."] {
        let refusal = desk.refuse(&["--yes", "delegate", "acme", "--model", model]);
        assert!(refusal.contains("is not of the form"), "{refusal}");
    }
    assert_eq!(desk.state(), before);
    // Another manufacturer has no role of its own: the top-level one names its packages.
    let add: Vec<_> = Desk::add_arguments("1B", &file)
        .into_iter()
        .map(|a| if a == "acme" { "other".to_owned() } else { a })
        .collect();
    assert!(desk.succeed(&add).contains("other/infusion-pump/PM2/1B.bin"));
    // What a client would not accept is not published: a model is taken away that has a release.
    desk.succeed(&desk.sign(&["acme"]));
    desk.add_program("1C", b"the next program");
    desk.succeed(&["--yes", "delegate", "acme", "--model", "infusion-pump/PM3"]);
    let refusal = desk.refuse(&desk.sign(&["acme", "targets", "snapshot", "timestamp"]));
    assert!(refusal.contains("acme names acme/infusion-pump/PM2/1C.bin, but is not trusted for it"), "{refusal}");
    assert!(!desk.is_published("2.targets.json"));
    desk.succeed(&["verify"]);
    desk.succeed(&["--yes", "delegate", "acme", "--model", "infusion-pump/PM2", "--model", "infusion-pump/PM3"]);
    desk.publish(&["acme", "targets", "snapshot", "timestamp"]);
    desk.succeed(&["verify"]);
}

#[test]
fn hostile_names_and_files_are_refused() {
    let desk = delegated();
    let file = desk.write("1B.bin", b"a program");
    let before = desk.state();
    for name in ["../1B.bin", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "a\nb", "x\u{7f}", &"x".repeat(2_000)] {
        let mut add = Desk::add_arguments("1B", &file);
        add.extend(["--name".to_owned(), name.to_owned()]);
        desk.refuse(&add);
        assert_eq!(desk.state(), before, "{name:?}");
    }
    let empty = desk.write("empty.bin", b"");
    fs::create_dir(desk.path("folder.bin")).unwrap();
    for wrong in [empty, desk.path("folder.bin"), desk.path("missing.bin"), "/dev/zero".into()] {
        desk.refuse(&Desk::add_arguments("1B", &wrong));
        assert_eq!(desk.state(), before, "{}", wrong.display());
    }
    for (flag, wrong) in
        [("--revision", "v2"), ("--from", "1a"), ("--model", "../x"), ("--type", "Pump"), ("--hardware", "")]
    {
        let mut add = Desk::add_arguments("1B", &file);
        let at = add.iter().position(|argument| argument == flag).unwrap();
        add[at + 1] = wrong.to_owned();
        assert_eq!(desk.command(&add).output().unwrap().status.code(), Some(2), "{flag} {wrong}");
    }
    for (extra, why) in [
        (&["--to", "1"][..], "ends before it begins"),
        (&["--downgrade", "for fun"], "a downgrade, and nothing else, has its authorization"),
        (&["--to", "1B"], "the post-revision lies among the pre-revisions"),
        (&["--atomic", "acme/infusion-pump/PM2/spring 2027"], "two packages for one model"),
    ] {
        let mut add = Desk::add_arguments("1B", &file);
        add.extend(extra.iter().map(|&argument| argument.to_owned()));
        let refusal = desk.refuse(&add);
        assert!(refusal.contains(why), "{refusal}");
    }
    // A target's file that leads elsewhere is not followed.
    desk.succeed(&Desk::add_arguments("1B", &file));
    desk.publish(&["acme", "targets", "snapshot", "timestamp"]);
    let place = desk.target_file("1B.bin");
    fs::remove_file(&place).unwrap();
    symlink(&file, &place).unwrap();
    assert!(desk.refuse(&["verify"]).contains("is not the file that its metadata names"));
}

#[test]
fn a_released_file_is_not_replaced_and_counters_only_rise() {
    let desk = delegated();
    desk.add_program("1B", b"a program");
    let other = desk.write("1B.bin", b"another program");
    let refusal = desk.refuse(&Desk::add_arguments("1B", &other));
    assert!(refusal.contains("is released already"), "{refusal}");
    let file = desk.write("1C.bin", b"the next program");
    for (counter, why) in [("1", "take a higher one"), ("0", "counted from 1")] {
        let mut add = Desk::add_arguments("1C", &file);
        add.extend(["--release".to_owned(), counter.to_owned()]);
        let output = desk.command(&add).output().unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(why), "{said}");
    }
    let mut add = Desk::add_arguments("1C", &file);
    add.extend(["--release".to_owned(), "7".to_owned()]);
    assert!(desk.succeed(&add).contains("release 7"));
}

#[test]
fn a_delta_leads_from_one_package_to_the_next() {
    let desk = delegated();
    let old = noise(300_000);
    let mut new = old.clone();
    new.splice(1_000..1_010, b"a correction".iter().copied());
    desk.add_program("1B", &old);
    desk.add_program("1C", &new);
    let path = |name: &str| format!("acme/infusion-pump/PM2/{name}");
    let (from, to) = (path("1B.bin"), path("1C.bin"));
    desk.succeed(&["delta", "--from", &from, "--to", &to]);
    desk.publish(&["acme", "targets", "snapshot", "timestamp"]);
    desk.succeed(&["verify"]);
    let delta = fs::read(desk.target_file("1B-1C.delta")).unwrap();
    assert!(delta.len() < 5_000, "{}", delta.len());
    let mut made = Vec::new();
    wardlink_delta::apply(&old, &delta, u64::try_from(new.len()).unwrap(), &mut made).unwrap();
    assert!(made == new);
    let shown: serde_json::Value = serde_json::from_str(&desk.succeed(&["show", "--json"])).unwrap();
    let custom = &shown["published"]["acme.json"]["targets"][path("1B-1C.delta")]["custom"]["delta"];
    assert_eq!(
        (&custom["format"], &custom["source"]["path"], &custom["result"]["path"]),
        (&"bsdiff".into(), &from.into(), &to.into())
    );
}

#[test]
fn a_delta_that_is_not_smaller_is_not_added() {
    let desk = delegated();
    desk.add_program("1B", &noise(10_000));
    desk.add_program("1C", &noise(20_000)[10_000..]);
    let before = desk.state();
    let path = |name: &str| format!("acme/infusion-pump/PM2/{name}");
    let refusal = desk.refuse(&["delta", "--from", &path("1B.bin"), "--to", &path("1C.bin")]);
    assert!(refusal.contains("the whole file has 10000"), "{refusal}");
    for (from, to) in [("1B.bin", "1D.bin"), ("1B.bin", "../x"), ("x", "1B.bin")] {
        let refusal = desk.refuse(&["delta", "--from", &path(from), "--to", &path(to)]);
        assert!(refusal.contains("is no package of the repository"), "{refusal}");
    }
    // A package that was cut short makes no delta.
    fs::write(desk.target_file("1B.bin"), &noise(10_000)[1..]).unwrap();
    let refusal = desk.refuse(&["delta", "--from", &path("1B.bin"), "--to", &path("1C.bin")]);
    assert!(refusal.contains("is not the file that its metadata names"), "{refusal}");
    fs::write(desk.target_file("1B.bin"), noise(10_000)).unwrap();
    assert_eq!(desk.state(), before);
}

#[test]
fn a_recalled_package_stays_listed_and_deltas_to_it_go() {
    let desk = delegated();
    let old = noise(100_000);
    let mut new = old.clone();
    new[5] ^= 1;
    desk.add_program("1B", &old);
    desk.add_program("1C", &new);
    let path = |name: &str| format!("acme/infusion-pump/PM2/{name}");
    desk.succeed(&["delta", "--from", &path("1B.bin"), "--to", &path("1C.bin")]);
    desk.publish(&["acme", "targets", "snapshot", "timestamp"]);
    let recall = ["--yes", "recall", &path("1C.bin"), "--reason", "an alarm is too quiet"];
    let said = desk.succeed(&recall);
    assert!(
        said.contains("RECALLED: an alarm is too quiet") && said.contains("- acme/infusion-pump/PM2/1B-1C.delta"),
        "{said}"
    );
    assert!(desk.refuse(&recall).contains("recalled already"));
    // Until it is signed, nothing has changed for anybody.
    let published = || -> serde_json::Value {
        let shown: serde_json::Value = serde_json::from_str(&desk.succeed(&["show", "--json"])).unwrap();
        shown["published"]["acme.json"]["targets"].clone()
    };
    assert!(published()[path("1C.bin")]["custom"]["package"].get("recalled").is_none());
    desk.publish(&["acme", "snapshot", "timestamp"]);
    let targets = published();
    assert_eq!(targets[path("1C.bin")]["custom"]["package"]["recalled"]["reason"], "an alarm is too quiet");
    assert!(targets.get(path("1B-1C.delta")).is_none() && targets.get(path("1B.bin")).is_some());
    desk.succeed(&["verify"]);
}
