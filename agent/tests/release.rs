//! `wardlink release`, driven as a manufacturer does; its repositories are followed by the Python reference implementation of TUF
//! and by `wardlink tuf`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "release/desk.rs"]
mod desk;
#[path = "release/interruptions.rs"]
mod interruptions;
#[path = "release/keys.rs"]
mod keys;
#[path = "release/packages.rs"]
mod packages;
mod reference;
#[path = "release/signing.rs"]
mod signing;
#[path = "release/terminal.rs"]
mod terminal;

use desk::Desk;
use reference::{Server, reference, succeeded};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Follows an exported folder with the reference implementation, from a first root, and downloads a target.
fn follow_with_reference(client: &Path, root: &[u8], server: &Server, target: &str) -> Vec<u8> {
    for name in ["metadata", "targets"] {
        fs::create_dir_all(client.join(name)).unwrap();
    }
    if !client.join("root.json").exists() {
        fs::write(client.join("root.json"), root).unwrap();
    }
    let place = client.to_str().unwrap();
    succeeded(&mut reference(&["follow", place, &server.url, target]), "the reference implementation refuses");
    fs::read(client.join("targets").join(target.replace('/', "%2F"))).unwrap()
}

/// The same with `wardlink tuf`.
fn follow_with_wardlink(client: &Path, root: &Path, server: &Server, target: &str) -> Vec<u8> {
    let files = client.join("files");
    fs::create_dir_all(&files).unwrap();
    let wardlink = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wardlink"));
        command.arg("tuf").arg("--metadata-dir").arg(client.join("trusted"));
        command
    };
    if !client.join("trusted").exists() {
        succeeded(wardlink().arg("init").arg(root), "wardlink tuf init");
    }
    let mut download = wardlink();
    download.args(["--metadata-url", &format!("{}/metadata", server.url), "--target-name", target]);
    download.args(["--target-base-url", &format!("{}/targets", server.url), "--target-dir"]).arg(&files);
    succeeded(download.arg("download"), "wardlink tuf download");
    fs::read(files.join(target.replace('/', "%2F"))).unwrap()
}

#[test]
fn what_is_exported_is_followed_by_the_reference_implementation_and_by_wardlink_tuf_through_rotations() {
    let desk = Desk::published();
    desk.delegate_acme();
    desk.add_program("1B", b"the first program");
    desk.publish(&["targets", "acme", "snapshot", "timestamp"]);
    let exported = desk.path("out");
    desk.succeed(&["export", exported.to_str().unwrap()]);
    let root = fs::read(exported.join("metadata/1.root.json")).unwrap();
    let first_root = desk.write("first.root.json", &root);
    let server = Server::start(&exported);
    let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let follow = |target: &str, program: &[u8]| {
        assert_eq!(follow_with_reference(theirs.path(), &root, &server, target), program);
        assert_eq!(follow_with_wardlink(ours.path(), &first_root, &server, target), program);
    };
    follow("acme/infusion-pump/PM2/1B.bin", b"the first program");

    // Every key changes: root's with the signatures of the old ones, then a new release.
    for role in ["root", "targets", "snapshot", "timestamp", "acme"] {
        let new = format!("new {role}");
        desk.key(&new);
        let mut rotate = vec!["--yes".to_owned(), "rotate".to_owned(), role.to_owned()];
        rotate.extend(["--add".to_owned(), desk.public(&new), "--threshold".to_owned(), "1".to_owned()]);
        let old = if role == "root" { vec!["root", "second root"] } else { vec![role] };
        rotate.extend(old.iter().flat_map(|old| ["--remove".to_owned(), desk.key_id(old)]));
        desk.succeed(&rotate.iter().map(String::as_str).collect::<Vec<_>>());
    }
    desk.add_program("1C", b"the second program");
    let new = ["new targets", "new acme", "new snapshot", "new timestamp"];
    desk.succeed(&desk.sign(&[&["root", "new root"][..], &new].concat()));
    assert!(!desk.is_published("2.root.json"), "one of two old keys of root is not enough");
    desk.publish(&["second root", "new snapshot", "new timestamp"]);
    assert!(desk.is_published("2.root.json"));
    desk.succeed(&["export", exported.to_str().unwrap()]);
    drop(server);
    let server = Server::start(&exported);
    let follow = |target: &str, program: &[u8]| {
        assert_eq!(follow_with_reference(theirs.path(), &root, &server, target), program);
        assert_eq!(follow_with_wardlink(ours.path(), &first_root, &server, target), program);
    };
    follow("acme/infusion-pump/PM2/1C.bin", b"the second program");
    // So does somebody who comes late.
    let late = tempfile::tempdir().unwrap();
    let program = follow_with_wardlink(late.path(), &first_root, &server, "acme/infusion-pump/PM2/1C.bin");
    assert_eq!(program, b"the second program");
    // The old keys count no longer.
    desk.succeed(&["--yes", "sign", "--renew", "timestamp"]);
    let refusal = desk.refuse(&desk.sign(&["timestamp"]));
    assert!(refusal.contains("may not sign"), "{refusal}");
}

#[test]
fn an_export_replaces_only_an_earlier_one_of_the_same_repository() {
    let desk = Desk::published();
    let out = desk.path("out");
    desk.succeed(&["export", out.to_str().unwrap()]);
    let other = Desk::stranger();
    let refusal = other.refuse(&["export", out.to_str().unwrap()]);
    assert!(refusal.contains("no earlier export"), "{refusal}");
    fs::write(out.join("notes.txt"), b"mine").unwrap();
    let refusal = desk.refuse(&["export", out.to_str().unwrap()]);
    assert!(refusal.contains("no earlier export"), "{refusal}");
    assert_eq!(fs::read(out.join("notes.txt")).unwrap(), b"mine");
    fs::remove_file(out.join("notes.txt")).unwrap();

    desk.succeed(&["--yes", "sign", "--renew", "timestamp"]);
    desk.publish(&["timestamp"]);
    desk.succeed(&["export", out.to_str().unwrap()]);
    desk.succeed(&["verify", out.to_str().unwrap()]);
    // An older state of the repository, from a copy that was kept, does not take its place.
    let newer = fs::read(out.join("metadata/timestamp.json")).unwrap();
    let older = Desk::copy_of(&desk);
    fs::write(older.path("repository/metadata/timestamp.json"), older.first_timestamp()).unwrap();
    let refusal = older.refuse(&["export", out.to_str().unwrap()]);
    assert!(refusal.contains("newer than this repository"), "{refusal}");
    assert_eq!(fs::read(out.join("metadata/timestamp.json")).unwrap(), newer);
    // Nothing is left beside it.
    let hidden = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().to_string_lossy().starts_with('.');
    assert!(!fs::read_dir(desk.path("")).unwrap().any(hidden));
}

#[test]
fn a_repository_that_a_client_would_refuse_is_not_exported() {
    let desk = Desk::published();
    desk.delegate_acme();
    desk.add_program("1B", b"the first program");
    desk.publish(&["targets", "acme", "snapshot", "timestamp"]);
    let out = desk.path("out");
    desk.succeed(&["export", out.to_str().unwrap()]);
    let before = fs::read(out.join("metadata/timestamp.json")).unwrap();
    desk.succeed(&["--yes", "sign", "--renew", "timestamp"]);
    desk.publish(&["timestamp"]);
    let place = desk.target_file("1B.bin");
    let whole = fs::read(&place).unwrap();
    let longer = [whole.as_slice(), b"!"].concat();
    for wrong in [&whole[1..], b"another program!!", &longer, b""] {
        fs::write(&place, wrong).unwrap();
        for command in [vec!["verify"], vec!["export", out.to_str().unwrap()]] {
            let refusal = desk.refuse(&command);
            assert!(refusal.contains("not the file that its metadata names"), "{refusal}");
        }
    }
    fs::remove_file(&place).unwrap();
    desk.refuse(&["verify"]);
    assert_eq!(fs::read(out.join("metadata/timestamp.json")).unwrap(), before);
    desk.succeed(&["verify", out.to_str().unwrap()]);
    // An altered snapshot is refused by the step that a client would name.
    fs::write(&place, &whole).unwrap();
    let snapshot = out.join("metadata/2.snapshot.json");
    let altered = String::from_utf8(fs::read(&snapshot).unwrap()).unwrap().replace("\"version\":1", "\"version\":9");
    fs::write(&snapshot, altered).unwrap();
    let refusal = desk.refuse(&["verify", out.to_str().unwrap()]);
    assert!(refusal.contains("step 5.5.2"), "{refusal}");
}

#[test]
fn what_is_shown_as_json_can_be_read() {
    let desk = Desk::published();
    desk.delegate_acme();
    desk.add_program("1B", b"the first program");
    let shown: serde_json::Value = serde_json::from_str(&desk.succeed(&["show", "--json"])).unwrap();
    assert_eq!(shown["published"]["root.json"]["roles"]["root"]["threshold"], 2);
    assert_eq!(shown["published"]["root.json"]["roles"]["root"]["keys"][0], desk.key_id("root"));
    let draft = &shown["drafts"]["acme.json"];
    assert_eq!(draft["signatures"][0], serde_json::json!({ "has": 0, "needs": 1 }));
    let package = &draft["targets"]["acme/infusion-pump/PM2/1B.bin"]["custom"]["package"];
    assert_eq!(package["post_revision"], "1B");
    let text = desk.succeed(&["show"]);
    assert!(text.contains("PM2 1A to 1A become 1B, release 1"), "{text}");
    assert!(text.contains("acme.json waits: 0 of 1 signatures"), "{text}");
}
