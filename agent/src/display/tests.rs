#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;
use wardlink_protocol::report::AlarmKind;

pub(crate) const LINK: &str =
    "HTTPS://WARDLINK.EXAMPLE:8443/V/AAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQTCQKRMFYYDENBWHA5DYPXA5LNOAWTC";

pub(crate) fn screen(phase: Phase) -> Screen {
    Screen {
        device: "infusion-pump/pump-1".parse().unwrap(),
        model: "PM2".into(),
        serial: "204817".into(),
        phase,
        online: true,
        trouble: None,
        infusion: None,
        software: None,
        notice: Notice::default(),
    }
}

pub(crate) fn verifying() -> Phase {
    Phase::Verifying { code: Some("4071 9326".into()), link: Some(LINK.into()) }
}

pub(crate) fn infusing() -> Screen {
    let alarm = |kind, priority| Alarm { kind, priority, active: true };
    Screen {
        infusion: Some(Infusion {
            drug: "Heparin <500> IU/ml".into(),
            telemetry: Telemetry {
                rate_ul_per_h: 2_340,
                infused_ul: 12_500,
                remaining_ul: 37_500,
                pressure_mmhg: 42,
                battery_percent: 87,
            },
            alarms: vec![
                alarm(AlarmKind::DownstreamOcclusion, AlarmPriority::High),
                alarm(AlarmKind::NearEnd, AlarmPriority::Low),
            ],
        }),
        ..screen(Phase::Paired)
    }
}

#[test]
fn every_phase_has_its_words_in_both_languages() {
    let refused = |reason| Phase::Refused { reason, note: "wrong bed".into(), again_at: Some(UnixMillis(1)) };
    let phases = [
        Phase::Idle,
        Phase::Requesting,
        verifying(),
        Phase::Answering { tries_left: 3 },
        Phase::Answering { tries_left: 2 },
        Phase::Answering { tries_left: 1 },
        Phase::Finishing,
        Phase::Paired,
        refused(RefusalReason::Rejected),
        refused(RefusalReason::WrongCode),
        refused(RefusalReason::Locked),
        Phase::Fault { message: "disk".into() },
    ];
    let mut seen = std::collections::BTreeSet::new();
    for phase in phases {
        let english = screen(phase.clone()).view(Language::English);
        let german = screen(phase).view(Language::German);
        assert!(!english.title.is_empty() && !english.detail.is_empty());
        assert_ne!(english.title, german.title);
        assert_eq!(english.answering, english.phase == "answering");
        assert!(seen.insert(english.title + &english.detail), "two phases look alike");
    }
}

#[test]
fn the_code_is_shown_only_while_a_person_needs_it() {
    let view = screen(verifying()).view(Language::English);
    assert_eq!((view.code.as_deref(), view.link.as_deref()), (Some("4071 9326"), Some(LINK)));
    assert_eq!(view.title, "Coupling in progress");
    for phase in [Phase::Idle, Phase::Requesting, Phase::Finishing, Phase::Paired] {
        let view = screen(phase).view(Language::English);
        assert_eq!((view.code, view.link), (None, None));
    }
}

#[test]
fn a_refusal_says_why_and_what_happens_next() {
    let phase = |again_at| Phase::Refused { reason: RefusalReason::Rejected, note: "not ours".into(), again_at };
    let view = screen(phase(Some(UnixMillis(9)))).view(Language::English);
    assert_eq!(view.detail, "The request was rejected. “not ours” The pump will ask again by itself.");
    assert!(view.button);
    let view = screen(phase(None)).view(Language::English);
    assert_eq!(view.detail, "The request was rejected. “not ours”");
}

#[test]
fn numbers_are_written_as_the_language_writes_them() {
    let view = infusing().view(Language::German).infusion.unwrap();
    assert_eq!((view.rate.as_str(), view.infused.as_str(), view.progress), ("2,3", "12,5 ml", 25));
    assert_eq!(view.alarms[0].text, "Leitung verschlossen");
    assert_eq!(Language::English.millilitres(125_099), "125.0");
    assert_eq!(Language::English.millilitres(1_000_000), "1000");
    assert_eq!(Language::English.millilitres(99), "0.0");
}

#[test]
fn the_language_is_the_one_that_is_liked_most() {
    for (tags, language) in [
        ("de", Some(Language::German)),
        ("de-CH,en;q=0.5", Some(Language::German)),
        ("en;q=0.5, de;q=0.8, fr", Some(Language::German)),
        ("fr, en;q=0.1", Some(Language::English)),
        ("de;q=0, en", Some(Language::English)),
        ("de_DE.UTF-8", Some(Language::German)),
        ("fr", None),
        ("", None),
        ("ü", None),
        ("de;q=x", None),
    ] {
        assert_eq!(Language::preferred(tags), language, "{tags}");
    }
}

#[test]
fn the_qr_code_is_black_on_white_with_its_margin() {
    let png = qr::Qr::new(LINK).unwrap().png().unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let side = info.width as usize;
    assert_eq!(info.width, info.height);
    let margin = 4 * 8;
    for (index, pixel) in pixels.iter().enumerate() {
        let (x, y) = (index % side, index / side);
        let inside = (margin..side - margin).contains(&x) && (margin..side - margin).contains(&y);
        assert!(*pixel == 255 || (*pixel == 0 && inside), "pixel {x},{y} is {pixel}");
    }
    assert_eq!(pixels[margin * side + margin], 0, "a finder pattern begins right after the margin");
}

#[test]
fn the_qr_code_says_what_it_should() {
    let png = qr::Qr::new(LINK).unwrap().png().unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    let side = info.width as usize;
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(side, side, |x, y| pixels[y * side + x]);
    let grids = image.detect_grids();
    let (_, content) = grids.first().expect("no code found").decode().unwrap();
    assert_eq!(content, LINK);
}
