//! Commands that are interrupted, and commands at the same time.

use crate::desk::{Desk, copy};
use std::fs;
use std::process::Stdio;
use std::time::Duration;

/// A repository with a package that only has to be signed.
fn ready() -> Desk {
    let desk = Desk::published();
    desk.delegate_acme();
    desk.add_program("1B", b"a program");
    desk
}

const KEYS: [&str; 4] = ["targets", "acme", "snapshot", "timestamp"];

/// A client sees what was before, or what comes after; and the same command ends well then.
fn assert_whole(desk: &Desk) {
    let said = desk.succeed(&["verify"]);
    assert!(said.contains("3 metadata files, 0 targets") || said.contains("4 metadata files, 1 targets"), "{said}");
    let output = desk.command(&desk.sign(&KEYS)).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() || said.contains("nothing waits"), "{said}");
    assert!(desk.succeed(&["verify"]).contains("4 metadata files, 1 targets"));
}

#[test]
fn a_killed_command_leaves_what_was_before_or_what_comes_after() {
    let ready = ready();
    for step in 0..12 {
        let desk = Desk::copy_of(&ready);
        let mut command = desk.command(&desk.sign(&KEYS));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Wherever it is by then, or done: what follows has to hold at any moment.
        std::thread::sleep(Duration::from_millis(step * step * 10));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_whole(&desk);
    }
}

#[test]
fn a_publication_that_was_interrupted_anywhere_is_ended_by_the_next_command() {
    let ready = ready();
    let done = Desk::copy_of(&ready);
    done.publish(&KEYS);
    let new = ["2.targets.json", "1.acme.json", "2.snapshot.json", "timestamp.json"];
    for moved in 0..=new.len() {
        let desk = Desk::copy_of(&ready);
        let (repository, of) = (desk.path("repository"), done.path("repository/metadata"));
        fs::create_dir(repository.join("commit")).unwrap();
        for (index, name) in new.iter().enumerate() {
            let folder = if index < moved { "metadata" } else { "commit" };
            fs::copy(of.join(name), repository.join(folder).join(name)).unwrap();
        }
        assert!(desk.succeed(&["verify"]).contains("4 metadata files, 1 targets"), "{moved}");
        assert!(!repository.join("commit").exists());
        assert_eq!(fs::read_dir(repository.join("drafts")).unwrap().count(), 0);
        assert_whole(&desk);
    }
}

#[test]
fn what_is_not_yet_whole_does_not_count() {
    let desk = ready();
    let repository = desk.path("repository");
    copy(&repository.join("metadata"), &repository.join("commit.new"));
    fs::write(repository.join("commit.new/timestamp.json"), b"{\"sig").unwrap();
    for folder in ["drafts", "metadata", "inventory"] {
        fs::write(repository.join(folder).join(".wardlink-abc"), b"{\"sig").unwrap();
    }
    assert_whole(&desk);
    assert!(!repository.join("commit.new").exists());
    // A folder whose making was interrupted is no repository, and is made anew.
    let other = Desk::new();
    for name in ["metadata", "drafts"] {
        fs::create_dir_all(other.path("repository").join(name)).unwrap();
    }
    assert!(other.refuse(&["show"]).contains("is no repository"));
    other.init();
    other.succeed(&["show"]);
}

#[test]
fn two_commands_do_not_work_at_the_same_time() {
    let desk = ready();
    let lock = fs::File::create(desk.path("repository/lock")).unwrap();
    lock.lock().unwrap();
    let refusal = desk.refuse(&desk.sign(&KEYS));
    assert!(refusal.contains("another command is working"), "{refusal}");
    drop(lock);
    desk.publish(&KEYS);
}

#[test]
fn a_damaged_draft_is_named() {
    let desk = ready();
    fs::write(desk.path("repository/drafts/acme.json"), b"{\"signatures\":[]").unwrap();
    let refusal = desk.refuse(&desk.sign(&KEYS));
    assert!(refusal.contains("acme.json cannot be read"), "{refusal}");
}
