#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use proptest::prelude::*;

#[test]
fn the_check_digit_is_that_of_damm() {
    // H. M. Damm's own example: 572 has the check digit 4.
    assert_eq!(damm([5, 7, 2].into_iter()), 4);
    assert_eq!(damm([5, 7, 2, 4].into_iter()), 0);
}

#[test]
fn a_code_is_the_last_seven_digits_and_a_check_digit() {
    let code = VerificationCode::from_number(99_900_000_572);
    assert_eq!(code.to_string(), "0000 5724");
    assert_eq!(&code.to_ascii(), b"00005724");
}

#[test]
fn spaces_and_hyphens_do_not_matter_and_other_text_is_no_code() {
    let code = VerificationCode::from_number(572);
    for text in ["00005724", "0000 5724", "0000-5724", " 00 00 57 24 "] {
        assert!(text.parse() == Ok(code), "{text}");
    }
    for text in ["", "0000572", "000057240", "0000572x", "０0005724"] {
        assert_eq!(text.parse::<VerificationCode>().err(), Some(InvalidCode::Length), "{text}");
    }
}

fn link() -> VerificationLink {
    VerificationLink {
        origin: "https://wardlink.example:8443".into(),
        session: SessionId([0xab; 16]),
        tag: QrTag([0xcd; 16]),
        identifier: "pump-1".parse().unwrap(),
    }
}

#[test]
fn a_link_fits_the_alphanumeric_mode_of_qr_codes() {
    let text = link().to_string();
    assert!(text.starts_with("HTTPS://WARDLINK.EXAMPLE:8443/V/"));
    let alphanumeric = |character: char| {
        character.is_ascii_digit() || character.is_ascii_uppercase() || " $%*+-./:".contains(character)
    };
    assert!(text.chars().all(alphanumeric), "{text}");
}

#[test]
fn other_texts_are_no_links() {
    for text in ["", "https://x", "ftp://x/V/AA", "/V/AAAA", "HTTPS://X/V/", "HTTPS://X/V/00000", "https://x/W/AAAA"] {
        assert!(text.parse::<VerificationLink>().is_err(), "{text}");
    }
    for origin in ["javascript:alert(1)//", "https://", "https://a.example/v/b", "https://a@b.example", "http://a?b"] {
        let foreign = VerificationLink { origin: origin.into(), ..link() };
        assert!(foreign.to_string().parse::<VerificationLink>().is_err(), "{origin}");
    }
}

proptest! {
    #[test]
    fn every_wrong_digit_and_every_swap_of_neighbours_is_found(
        number in any::<u64>(),
        position in 0usize..8,
        digit in 0u8..10,
    ) {
        let digits = VerificationCode::from_number(number).to_ascii();
        let mut wrong = digits;
        wrong[position] = b'0' + digit;
        let parsed = String::from_utf8(wrong.to_vec()).unwrap().parse::<VerificationCode>();
        prop_assert_eq!(parsed.is_ok(), wrong == digits);
        if position < 7 {
            let mut swapped = digits;
            swapped.swap(position, position + 1);
            let parsed = String::from_utf8(swapped.to_vec()).unwrap().parse::<VerificationCode>();
            prop_assert_eq!(parsed.is_ok(), swapped == digits);
        }
    }

    #[test]
    fn every_code_survives_being_read_aloud(number in any::<u64>()) {
        let code = VerificationCode::from_number(number);
        prop_assert!(code.to_string().parse() == Ok(code));
    }

    #[test]
    fn every_link_survives_its_text_in_either_case_of_scheme_and_host(
        session in any::<[u8; 16]>(),
        tag in any::<[u8; 16]>(),
        identifier in "[a-z0-9][a-z0-9-]{0,31}",
    ) {
        let Ok(identifier) = identifier.parse() else { return Ok(()) };
        let link = VerificationLink { session: SessionId(session), tag: QrTag(tag), identifier, ..link() };
        prop_assert!(link.to_string().parse() == Ok(link.clone()));
        let lower = format!("{}/V/{}", link.origin, link.token());
        prop_assert!(lower.parse() == Ok(link));
    }

    #[test]
    fn any_text_is_read_without_harm(text in "\\PC{0,200}") {
        let _ = text.parse::<VerificationCode>();
        let _ = text.parse::<VerificationLink>();
        let _ = VerificationLink::from_token("https://x.example", &text);
    }
}
