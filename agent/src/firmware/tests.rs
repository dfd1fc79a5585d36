#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::device::slots::Slot;
use proptest::prelude::*;

const PROGRAM: &[u8] = b"a program";

fn firmware() -> Firmware {
    Firmware {
        revision: "1B".parse().unwrap(),
        release_counter: ReleaseCounter::new(2).unwrap(),
        hardware: vec!["PM2-A".parse().unwrap(), "PM2-B".parse().unwrap()],
        greeting: Some("Spring 2027".parse().unwrap()),
        telemetry_ms: 500,
        self_test: SelfTest::Passes,
        program: Program::of(PROGRAM),
    }
}

fn image() -> Vec<u8> {
    firmware().to_bytes(PROGRAM).unwrap()
}

fn announced(revision: &str, counter: u32) -> Installed {
    let (revision, release_counter) = (revision.parse().unwrap(), ReleaseCounter::new(counter));
    Installed { slot: Slot::B, length: 1, sha256: Sha256([0; 32]), revision, release_counter, added: Vec::new() }
}

#[test]
fn an_image_is_read_as_it_was_written() {
    assert_eq!(Firmware::parse(&image()), Ok(firmware()));
    let (built_in, factory) = Firmware::built_in().unwrap();
    assert_eq!(Firmware::parse(&factory.bytes), Ok(built_in));
}

#[test]
fn the_format_is_frozen() {
    let frozen = "wardlink-pump-image 1\n{\"greeting\":\"Spring 2027\",\"hardware\":[\"PM2-A\",\"PM2-B\"],\
                  \"program\":{\"length\":9,\"sha256\":\"d69ea8cda2433733c1ce02de65da8f48e6a3dbba6bb18876a2062908e54ef7cb\"},\
                  \"release_counter\":2,\"revision\":\"1B\",\"self_test\":\"passes\",\"telemetry_ms\":500}\na program";
    assert_eq!(String::from_utf8(image()).unwrap(), frozen);
}

#[test]
fn there_is_one_spelling() {
    let text = String::from_utf8(image()).unwrap();
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        Firmware::parse(text.replacen(from, to, 1).as_bytes()).unwrap_err()
    };
    for (from, to) in [
        ("{\"greeting", "{ \"greeting"),
        ("\"revision\":\"1B\"", "\"revision\":\"1b\""),
        ("\"revision\":\"1B\",", ""),
        ("\"greeting\":\"Spring 2027\"", "\"greeting\":null"),
        ("\"greeting\"", "\"other\""),
        ("\"release_counter\":2", "\"release_counter\":0"),
        ("\"release_counter\":2", "\"release_counter\":2,\"release_counter\":2"),
        ("\"passes\"", "\"maybe\""),
    ] {
        assert!(matches!(changed(from, to), InvalidFirmware::Json(_)), "{from} {to}: {:?}", changed(from, to));
    }
    assert_eq!(changed("image 1", "image 2"), InvalidFirmware::Magic);
    for (from, to) in [
        ("[\"PM2-A\",\"PM2-B\"]", "[\"PM2-B\",\"PM2-A\"]"),
        ("[\"PM2-A\",\"PM2-B\"]", "[]"),
        ("\"telemetry_ms\":500", "\"telemetry_ms\":9"),
        ("\"telemetry_ms\":500", "\"telemetry_ms\":3600001"),
    ] {
        assert!(matches!(changed(from, to), InvalidFirmware::Contradiction(_)), "{from} {to}");
    }
    assert_eq!(changed("a program", "a progran"), InvalidFirmware::Program);
    assert_eq!(changed("a program", "a program!"), InvalidFirmware::Program);
    let endless = [MAGIC, &[b' '; MAX_HEADER_BYTES + 1]].concat();
    assert_eq!(Firmware::parse(&endless), Err(InvalidFirmware::Header));
}

#[test]
fn the_pump_finds_what_is_wrong_with_an_image_on_trial() {
    let hardware: HardwareId = "PM2-B".parse().unwrap();
    assert_eq!(self_test(&image(), &announced("1B", 2), &hardware), Tested::Passed);
    let fails = |bytes: &[u8], announced: &Installed, hardware: &str| match self_test(
        bytes,
        announced,
        &hardware.parse().unwrap(),
    ) {
        Tested::Failed(reason) => reason,
        other => panic!("{other:?}"),
    };
    assert!(fails(b"no image", &announced("1B", 2), "PM2-B").contains("no image of this pump"));
    assert!(fails(&image(), &announced("1C", 2), "PM2-B").contains("not revision 1C"));
    assert!(fails(&image(), &announced("1B", 3), "PM2-B").contains("announced"));
    assert!(fails(&image(), &announced("1B", 2), "PM3").contains("hardware"));
    let with = |self_test| Firmware { self_test, ..firmware() }.to_bytes(PROGRAM).unwrap();
    assert!(fails(&with(SelfTest::Fails), &announced("1B", 2), "PM2-B").contains("self-test"));
    assert_eq!(self_test(&with(SelfTest::Crashes), &announced("1B", 2), &hardware), Tested::Crashed);
}

proptest! {
    #[test]
    fn whatever_is_read_is_written_the_same(at in 0_usize..400, byte: u8) {
        let mut bytes = image();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(read) = Firmware::parse(&bytes) {
            prop_assert_eq!(read.to_bytes(PROGRAM).unwrap(), bytes);
        }
    }
}
