#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::display::Phase;
use crate::display::tests::{LINK, infusing, screen, verifying};

#[test]
fn the_block_shows_device_state_code_and_qr() {
    let view = screen(verifying()).view(Language::English);
    let block = Drawn::default().block(&view).unwrap();
    for part in ["PM2 · 204817", "infusion-pump/pump-1", "Coupling in progress", "4071 9326", "█"] {
        assert!(block.contains(part), "{part} is missing in\n{block}");
    }
    assert!(!block.contains('\r') && block.ends_with('\n'));
}

#[test]
fn what_did_not_change_is_not_drawn_again() {
    let mut drawn = Drawn::default();
    let view = screen(Phase::Requesting).view(Language::English);
    let first = drawn.block(&view).unwrap();
    assert!(!first.starts_with('\x1b'));
    assert_eq!(drawn.block(&view), None);
    let lines = first.lines().count();
    let second = drawn.block(&screen(Phase::Paired).view(Language::English)).unwrap();
    assert!(second.starts_with(&format!("\x1b[{lines}F\x1b[J")), "the last block is taken away");
}

#[test]
fn a_file_gets_one_plain_line_for_each_state() {
    let mut drawn = Drawn::default();
    let line = drawn.line(&screen(verifying()).view(Language::English)).unwrap();
    assert!(line.contains("Coupling in progress") && line.contains("4071 9326") && line.contains(LINK));
    assert!(!line.contains('\x1b') && line.matches('\n').count() == 1);
    let paired = drawn.line(&screen(Phase::Paired).view(Language::English));
    assert!(paired.is_some());
    assert_eq!(drawn.line(&infusing().view(Language::English)), None, "measurements are not states");
}

#[test]
fn long_texts_stay_inside_the_block() {
    let message = "word ".repeat(60);
    let block = block(&screen(Phase::Fault { message }).view(Language::English));
    assert!(block.lines().all(|line| line.chars().count() <= WIDTH + 1), "{block}");
}
