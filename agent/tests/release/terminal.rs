//! What a person is asked at a terminal, and what is done when they answer otherwise than yes.

use crate::desk::{Desk, PASSPHRASE};
use rexpect::session::{PtySession, spawn_command};
use rustix::termios::{LocalModes, tcgetattr};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// The longest wait for a question, in milliseconds; nothing is measured by it.
const PATIENCE: Option<u64> = Some(60_000);

/// A command at a terminal that shows what is typed, without a passphrase from elsewhere.
fn at_terminal(desk: &Desk, arguments: &[&str]) -> PtySession {
    after(desk, "stty echo", arguments)
}

/// The same, once something else is done there.
fn after(desk: &Desk, first: &str, arguments: &[&str]) -> PtySession {
    let plain = desk.command(arguments);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{first} && exec \"$0\" \"$@\"")]).arg(plain.get_program()).args(plain.get_args());
    command.current_dir(plain.get_current_dir().unwrap()).env_remove("WARDLINK_PASSPHRASE");
    spawn_command(command, PATIENCE).unwrap()
}

/// Waits for a question and answers it.
fn answer(session: &mut PtySession, question: &str, line: &str) {
    session.exp_string(question).unwrap();
    session.send_line(line).unwrap();
}

/// How it ends: what it said meanwhile, and its exit status.
fn end(mut session: PtySession) -> (String, i32) {
    let said = session.exp_eof().unwrap();
    let ended = format!("{:?}", session.process_mut().wait().unwrap());
    let status = (0..=2).find(|status| ended.starts_with("Exited(") && ended.ends_with(&format!(", {status})")));
    (said, status.unwrap_or_else(|| panic!("{ended}")))
}

#[test]
fn a_passphrase_is_asked_for_twice_and_not_shown() {
    let desk = Desk::new();
    let file = desk.path("new.key");
    let new = |first: &str, again: Option<&str>| {
        let mut session = at_terminal(&desk, &["key", "new", file.to_str().unwrap()]);
        answer(&mut session, "Passphrase for", first);
        if let Some(again) = again {
            answer(&mut session, "The same again: ", again);
        }
        let (said, status) = end(session);
        assert!(!said.contains(first), "{said}");
        (said, status)
    };
    let (said, status) = new(PASSPHRASE, Some("correct horse battery stable"));
    assert!(status == 1 && said.contains("two passphrases"), "{said}");
    assert!(!file.exists());
    let (said, status) = new("11 letters!", Some("11 letters!"));
    assert!(status == 1 && said.contains("12"), "{said}");
    assert!(!file.exists());
    let (said, status) = new(PASSPHRASE, Some(PASSPHRASE));
    assert_eq!(status, 0, "{said}");
    assert!(fs::read_to_string(&file).unwrap().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    // The key opens with it, and with nothing else.
    desk.succeed(&["key", "show", file.to_str().unwrap()]);
}

#[test]
fn what_is_typed_is_not_shown_from_before_the_question_on() {
    let desk = Desk::new();
    let file = desk.path("new.key");
    let line = ["key", "new", file.to_str().unwrap()];
    let mut session = after(&desk, "stty echo ixon && echo ready && read begin", &line);
    session.exp_string("ready").unwrap();
    let terminal = session.process().get_file_handle().unwrap();
    let shows = || tcgetattr(&terminal).unwrap().local_modes.contains(LocalModes::ECHO);
    assert!(shows());
    // The terminal takes no output: the question waits, and with it whoever asks.
    session.send_control('s').unwrap();
    session.send_line("").unwrap();
    let begun = Instant::now();
    while shows() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the question comes first");
        thread::sleep(Duration::from_millis(10));
    }
    session.send_line(PASSPHRASE).unwrap();
    session.send_control('q').unwrap();
    session.exp_string("Passphrase for").unwrap();
    answer(&mut session, "The same again: ", PASSPHRASE);
    let (said, status) = end(session);
    assert_eq!(status, 0, "{said}");
    assert!(!said.contains(PASSPHRASE), "{said}");
    assert!(shows(), "the terminal is as it was");
}

#[test]
fn a_dangerous_step_is_done_when_a_person_says_yes_and_not_otherwise() {
    let desk = Desk::published();
    let (public, key) = (desk.public("acme"), desk.key_file("targets"));
    let before = desk.state();
    let delegate = ["delegate", "acme", "--model", "infusion-pump/PM2", "--key", &public];
    for wrong in ["no", "", "y", "yes please", "YES"] {
        let mut session = at_terminal(&desk, &delegate);
        answer(&mut session, "Go on? Type yes: ", wrong);
        let (said, status) = end(session);
        assert!(status == 1 && said.contains("nothing was done"), "{wrong:?}: {said}");
        assert_eq!(desk.state(), before, "{wrong:?}");
    }
    let mut session = at_terminal(&desk, &delegate);
    answer(&mut session, "Go on? Type yes: ", "yes");
    let (said, status) = end(session);
    // The terminal shows what is typed, unless it is a passphrase.
    assert!(status == 0 && said.starts_with("yes"), "{said}");
    assert_ne!(desk.state(), before);

    // Signing shows what is signed, asks for the key's passphrase, and asks once more.
    let mut session = at_terminal(&desk, &["sign", "--key", &key]);
    answer(&mut session, "Passphrase of", PASSPHRASE);
    let shown = session.exp_string("Go on? Type yes: ").unwrap();
    assert!(shown.contains("acme/infusion-pump/PM2/*") && !shown.contains(PASSPHRASE), "{shown}");
    session.send_line("no").unwrap();
    assert_eq!(end(session).1, 1);
    assert!(!has_signature(&desk.path("repository/drafts/targets.json")));
    let mut session = at_terminal(&desk, &["sign", "--key", &key]);
    answer(&mut session, "Passphrase of", PASSPHRASE);
    answer(&mut session, "Go on? Type yes: ", "yes");
    let (said, status) = end(session);
    assert!(status == 0 && said.contains("signed targets.json"), "{said}");
}

fn has_signature(file: &Path) -> bool {
    let json: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    !json["signatures"].as_array().unwrap().is_empty()
}
