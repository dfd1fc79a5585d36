//! A pairing as a person sees it: its names, its phase and its five steps.

use leptos::prelude::*;
use wardlink_protocol::api::{PairingPhase, PairingView};
use wardlink_protocol::network::Network;
use wardlink_protocol::pairing::{DeviceInformation, Mode, RefusalReason};
use wardlink_protocol::{Device, UnixMillis};

use crate::app::use_text;
use crate::clock;
use crate::text::Language;

/// Type and model: `Infusion pump PM2`.
pub(crate) fn kind_of(information: &DeviceInformation) -> String {
    format!("{} {}", information.device_type, information.model).trim().to_owned()
}

/// The device's identifier, as it stands on screens.
pub(crate) fn shown_name(device: &Device) -> String {
    device.identifier.as_str().to_ascii_uppercase()
}

/// What kind of network a request came over, and from which address where that is known.
pub(crate) fn network_words(pairing: &PairingView, t: Language) -> String {
    let kind = match pairing.network {
        Network::Secured => t.network_secured(),
        Network::Untrusted => t.network_untrusted(),
    };
    match pairing.address {
        Some(address) => t.network_from(kind, &address.to_string()),
        None => kind.to_owned(),
    }
}

/// The mode's name.
pub(crate) fn mode_name(mode: Mode, t: Language) -> &'static str {
    match mode {
        Mode::PairingSimple => t.mode_simple(),
        Mode::PairingCode => t.mode_code(),
        Mode::PairingQrcode => t.mode_qr(),
    }
}

/// Why a pairing ended.
pub(crate) fn reason_text(reason: Option<RefusalReason>, t: Language) -> &'static str {
    match reason {
        Some(RefusalReason::Rejected) => t.reason_rejected(),
        Some(RefusalReason::RequestExpired) => t.reason_request_expired(),
        Some(RefusalReason::VerificationExpired) => t.reason_verification_expired(),
        Some(RefusalReason::WrongCode) => t.reason_wrong_code(),
        Some(RefusalReason::Cancelled) => t.reason_cancelled(),
        Some(RefusalReason::ProtocolViolation) => t.reason_protocol_violation(),
        Some(RefusalReason::Locked) => t.reason_locked(),
        None => t.reason_unknown(),
    }
}

/// The phase in a word.
pub(crate) fn phase_name(phase: PairingPhase, t: Language) -> &'static str {
    match phase {
        PairingPhase::Waiting => t.phase_waiting(),
        PairingPhase::Accepted => t.phase_accepted(),
        PairingPhase::Verifying => t.phase_verifying(),
        PairingPhase::Confirmed => t.phase_confirmed(),
        PairingPhase::Finished => t.phase_finished(),
        PairingPhase::Ended => t.phase_ended(),
    }
}

/// The style of a phase's chip.
pub(crate) const fn phase_class(phase: PairingPhase) -> &'static str {
    match phase {
        PairingPhase::Waiting | PairingPhase::Ended => "chip",
        PairingPhase::Accepted | PairingPhase::Verifying | PairingPhase::Confirmed => "chip active",
        PairingPhase::Finished => "chip done",
    }
}

/// Whether a pairing still runs.
pub(crate) const fn is_open(phase: PairingPhase) -> bool {
    !matches!(phase, PairingPhase::Finished | PairingPhase::Ended)
}

/// How far a step has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It is over.
    Done,
    /// It is where the pairing stands.
    Now,
    /// It ended the pairing.
    Stopped,
    /// It comes later.
    Next,
}

/// The five steps of a pairing: asked, accepted, verified, keys delivered, connected.
pub(crate) fn progress(pairing: &PairingView) -> [Progress; 5] {
    use Progress::{Done, Next, Now, Stopped};
    let reached = match pairing.phase {
        PairingPhase::Waiting => 1,
        PairingPhase::Accepted | PairingPhase::Verifying => 2,
        PairingPhase::Confirmed => 3,
        PairingPhase::Finished => 5,
        PairingPhase::Ended => match (pairing.accepted_at, pairing.confirmed_at) {
            (_, Some(_)) => 3,
            (Some(_), None) => 2,
            (None, None) => 1,
        },
    };
    let present = if pairing.phase == PairingPhase::Ended { Stopped } else { Now };
    core::array::from_fn(|step| match step.cmp(&reached) {
        core::cmp::Ordering::Less => Done,
        core::cmp::Ordering::Equal => present,
        core::cmp::Ordering::Greater => Next,
    })
}

/// The five steps as a line that fills.
#[component]
pub(crate) fn Steps(#[prop(into)] pairing: Signal<PairingView>) -> impl IntoView {
    let t = use_text();
    move || {
        pairing.with(|pairing| {
            let steps = progress(pairing).into_iter().enumerate().map(|(index, progress)| {
                let (title, detail) = step_text(index, progress, pairing, t);
                let (class, word) = match progress {
                    Progress::Done => ("done", t.step_done()),
                    Progress::Now => ("now", t.step_now()),
                    Progress::Stopped => ("stopped", t.step_stopped()),
                    Progress::Next => ("next", t.step_next()),
                };
                let current = matches!(progress, Progress::Now | Progress::Stopped).then_some("step");
                view! {
                    <li class=class aria-current=current>
                        <div>
                            <b>{title}</b>
                            <span class="visually-hidden">{word}</span>
                            {(!detail.is_empty()).then(|| view! { <p>{detail}</p> })}
                        </div>
                    </li>
                }
            });
            view! { <ol class="steps" aria-label=t.steps_label()>{steps.collect_view()}</ol> }
        })
    }
}

fn step_text(index: usize, progress: Progress, pairing: &PairingView, t: Language) -> (String, String) {
    if progress == Progress::Stopped {
        let note = if pairing.note.is_empty() { String::new() } else { format!("“{}” · ", pairing.note) };
        return (reason_text(pairing.reason, t).to_owned(), format!("{note}{}", time(pairing.ended_at, t)));
    }
    let done = progress == Progress::Done;
    match index {
        0 => (t.step_asked().to_owned(), time(Some(pairing.requested_at), t)),
        1 if done => {
            let by = pairing.accepted_by.as_deref().unwrap_or_default();
            let mode = pairing.mode.map(|mode| mode_name(mode, t)).unwrap_or_default();
            (t.step_accepted_by(by), format!("{} · {mode}", time(pairing.accepted_at, t)))
        }
        1 => (t.step_accept().to_owned(), String::new()),
        2 if pairing.mode == Some(Mode::PairingSimple) && progress != Progress::Now => {
            (t.step_unverified().to_owned(), t.step_unverified_text().to_owned())
        }
        2 if done => (t.step_verified().to_owned(), time(pairing.confirmed_at, t)),
        2 if pairing.phase == PairingPhase::Accepted => {
            let is_simple = pairing.mode == Some(Mode::PairingSimple);
            let text = if is_simple { t.step_unverified_text() } else { t.step_answering_text() };
            (t.step_answering().to_owned(), text.to_owned())
        }
        2 if progress == Progress::Now => (t.step_verify().to_owned(), how_to_verify(pairing, t).to_owned()),
        2 => (t.step_verify().to_owned(), String::new()),
        3 if done => (t.step_keys_delivered().to_owned(), String::new()),
        3 => (t.step_keys().to_owned(), String::new()),
        _ if done => (t.step_connected().to_owned(), time(pairing.ended_at, t)),
        _ => (t.step_connect().to_owned(), String::new()),
    }
}

fn how_to_verify(pairing: &PairingView, t: Language) -> &'static str {
    match pairing.mode {
        Some(Mode::PairingQrcode) if pairing.code_beside => t.step_verify_text(),
        Some(Mode::PairingQrcode) => t.mode_qr_hint(),
        _ => t.mode_code_hint(),
    }
}

fn time(at: Option<UnixMillis>, t: Language) -> String {
    at.map(|at| clock::time_of_day(at, t)).unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use wardlink_protocol::identity::{KeyFingerprint, SessionId};
    use wardlink_protocol::pairing::DisplayAbilities;

    pub(crate) fn information() -> DeviceInformation {
        DeviceInformation {
            device_type: "Infusion pump".to_owned(),
            family: "PM".to_owned(),
            model: "PM2".to_owned(),
            serial_number: "204817".to_owned(),
            firmware_version: "1.4.2".to_owned(),
            hardware_id: "r3".to_owned(),
            display: DisplayAbilities { code: true, qr: true, digit_entry: true },
        }
    }

    pub(crate) fn pairing(session: u8, phase: PairingPhase) -> PairingView {
        PairingView {
            session: SessionId([session; 16]),
            device: format!("infusion-pump/ip-{session}").parse().unwrap(),
            information: information(),
            key: KeyFingerprint([7; 32]),
            address: None,
            network: Network::Untrusted,
            asks_serial: false,
            phase,
            modes: vec![Mode::PairingQrcode, Mode::PairingCode],
            mode: None,
            code_beside: false,
            location: String::new(),
            accepted_by: None,
            attempts_left: 3,
            answer: None,
            replaces: false,
            requested_at: UnixMillis(u64::from(session) * 1_000),
            accepted_at: None,
            verifying_at: None,
            confirmed_at: None,
            ended_at: None,
            expires_at: None,
            reason: None,
            note: String::new(),
        }
    }

    #[test]
    fn the_line_fills_with_the_phases() {
        use Progress::{Done, Next, Now};
        let line = |phase| progress(&pairing(1, phase));
        assert_eq!(line(PairingPhase::Waiting), [Done, Now, Next, Next, Next]);
        assert_eq!(line(PairingPhase::Verifying), [Done, Done, Now, Next, Next]);
        assert_eq!(line(PairingPhase::Confirmed), [Done, Done, Done, Now, Next]);
        assert_eq!(line(PairingPhase::Finished), [Done; 5]);
    }

    #[test]
    fn a_network_is_named_by_its_kind_and_its_address() {
        let t = Language::English;
        let mut asked = pairing(1, PairingPhase::Waiting);
        assert_eq!(network_words(&asked, t), t.network_untrusted());
        asked.network = Network::Secured;
        asked.address = Some("10.20.3.4".parse().unwrap());
        let words = network_words(&asked, t);
        assert!(words.contains(t.network_secured()) && words.contains("10.20.3.4"), "{words}");
    }

    #[test]
    fn without_verification_no_step_says_that_somebody_verified() {
        let t = Language::English;
        let mut simple = pairing(1, PairingPhase::Finished);
        simple.mode = Some(Mode::PairingSimple);
        assert_eq!(step_text(2, Progress::Done, &simple, t).0, t.step_unverified());
        simple.mode = Some(Mode::PairingCode);
        assert_eq!(step_text(2, Progress::Done, &simple, t).0, t.step_verified());
    }

    #[test]
    fn an_ended_pairing_stops_where_it_stood() {
        use Progress::{Done, Next, Stopped};
        let mut ended = pairing(1, PairingPhase::Ended);
        assert_eq!(progress(&ended), [Done, Stopped, Next, Next, Next]);
        ended.accepted_at = Some(UnixMillis(1));
        assert_eq!(progress(&ended), [Done, Done, Stopped, Next, Next]);
    }
}
