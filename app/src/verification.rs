//! Verifying a pairing with what a person brings from the device: the code, or the tag of the QR code.
//!
//! An attempt has an idempotency key. While the connection is lost the same attempt is sent again by itself, so that a wrong code
//! counts once however often it travels.

use core::time::Duration;

use gloo_net::http::Method;
use gloo_timers::future::sleep;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wardlink_protocol::api::{PairingPhase, PairingView, VerificationProof, Verify, VerifyAnswer, VerifyResult};
use wardlink_protocol::identity::SessionId;
use wardlink_protocol::verification::{InvalidCode, VerificationCode};

use crate::api::{self, Failure};
use crate::app::{App, use_app, use_text};
use crate::format;
use crate::text::Language;
use crate::ui::Trouble;
use crate::ui::code_field::CodeField;
use crate::ui::field::Field;

/// The pauses before an attempt is sent again, in seconds; the last one repeats.
const PAUSES: [u64; 4] = [1, 2, 4, 5];

/// How the present attempt stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// None was made.
    Idle,
    /// It is on its way.
    Sending,
    /// The connection is lost; it will be sent again.
    Waiting,
    /// The code did not match, and so many attempts are left.
    Wrong(u32),
    /// A digit is mistyped; nothing was counted.
    Mistyped,
    /// It is not eight digits yet.
    Incomplete,
    /// The end of the serial number is asked for, too, and is not typed yet.
    SerialMissing,
    /// The server refused it.
    Failed(Failure),
}

/// What outlives an attempt.
#[derive(Default)]
struct Kept {
    /// Rises with every attempt: an older one no longer speaks.
    number: u64,
    /// What was scanned for which pairing, until the end of the serial number is there and right.
    held: Option<Held>,
}

struct Held(SessionId, VerificationProof);

/// Makes attempts for one page, one at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verifier {
    /// How the present attempt stands.
    pub(crate) standing: RwSignal<Standing>,
    /// The end of the serial number, as typed.
    pub(crate) serial: RwSignal<String>,
    kept: StoredValue<Kept>,
    app: App,
    answered: Callback<VerifyAnswer>,
}

impl Verifier {
    /// `answered` hears of every answer that the server gave.
    pub(crate) fn new(app: App, answered: Callback<VerifyAnswer>) -> Self {
        Self {
            standing: RwSignal::new(Standing::Idle),
            serial: RwSignal::new(String::new()),
            kept: StoredValue::default(),
            app,
            answered,
        }
    }

    /// Whether an attempt is on its way.
    pub(crate) fn is_busy(self) -> bool {
        self.standing.with(|standing| matches!(standing, Standing::Sending | Standing::Waiting))
    }

    /// Gives up what is on its way and forgets what was said.
    pub(crate) fn reset(self) {
        self.kept.update_value(|kept| kept.number += 1);
        self.standing.set(Standing::Idle);
    }

    /// Tests the check digit here, where it costs no attempt, and sends the code.
    pub(crate) fn submit_code(self, session: SessionId, code: &str, asked: usize) {
        match code.parse::<VerificationCode>() {
            Ok(_) => {
                let digits = code.chars().filter(char::is_ascii_digit).collect();
                self.submit(session, VerificationProof::Code(digits), asked);
            }
            Err(InvalidCode::Length) => self.standing.set(Standing::Incomplete),
            Err(InvalidCode::CheckDigit) => self.standing.set(Standing::Mistyped),
        }
    }

    /// Sends what was scanned, now that the end of the serial number is typed; false where nothing was scanned.
    pub(crate) fn submit_held(self, session: SessionId, asked: usize) -> bool {
        let held = self.kept.with_value(|kept| match &kept.held {
            Some(Held(holder, proof)) if *holder == session => Some(proof.clone()),
            _ => None,
        });
        held.map(|proof| self.submit(session, proof, asked)).is_some()
    }

    /// Sends an attempt until there is an answer. `asked` is how many characters of the serial number have to be there.
    pub(crate) fn submit(self, session: SessionId, proof: VerificationProof, asked: usize) {
        if self.standing.with_untracked(|standing| matches!(standing, Standing::Sending | Standing::Waiting)) {
            return;
        }
        let serial = self.serial.get_untracked();
        if matches!(proof, VerificationProof::Tag(_)) {
            self.kept.update_value(|kept| kept.held = Some(Held(session, proof.clone())));
        }
        if length(&serial) != asked && asked > 0 {
            return self.standing.set(Standing::SerialMissing);
        }
        self.kept.update_value(|kept| kept.number += 1);
        self.standing.set(Standing::Sending);
        let serial_ending = (asked > 0).then_some(serial);
        let Some(body) = api::json(&Verify { attempt: draw_attempt(), proof, serial_ending }) else { return };
        spawn_local(self.send(session, body, self.kept.with_value(|kept| kept.number)));
    }

    async fn send(self, session: SessionId, body: String, number: u64) {
        let path = format!("/pairings/{session}/verify");
        let mut pauses = PAUSES.into_iter();
        let mut pause = 0;
        loop {
            let answer = self.app.send(Method::POST, &path, Some(body.clone())).await;
            if self.kept.try_with_value(|kept| kept.number) != Some(number) {
                return;
            }
            match answer.and_then(|answer| answer.read::<VerifyAnswer>()) {
                Ok(answer) => {
                    self.standing.set(match answer.result {
                        VerifyResult::Verified => Standing::Idle,
                        VerifyResult::Wrong => Standing::Wrong(answer.pairing.attempts_left),
                        VerifyResult::Mistyped => Standing::Mistyped,
                    });
                    return self.answered.run(answer);
                }
                Err(failure) if failure.is_passing() => {
                    self.standing.set(Standing::Waiting);
                    pause = pauses.next().unwrap_or(pause);
                    sleep(Duration::from_secs(pause)).await;
                    if self.kept.try_with_value(|kept| kept.number) != Some(number) {
                        return;
                    }
                }
                Err(failure) => return self.standing.set(Standing::Failed(failure)),
            }
        }
    }
}

fn draw_attempt() -> SessionId {
    SessionId(random_bytes())
}

/// Random bytes of the browser.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Ok(crypto) = window().crypto() {
        // It fails only for more than 65,536 bytes.
        let _ = crypto.get_random_values_with_u8_array(&mut bytes);
    }
    bytes
}

/// How many characters of the serial number a person has to bring: those that the view hides.
pub(crate) fn asked(pairing: &PairingView) -> usize {
    let hidden = || pairing.information.serial_number.chars().filter(|character| *character == '\u{2022}').count();
    if pairing.asks_serial { hidden() } else { 0 }
}

fn length(serial: &str) -> usize {
    serial.chars().filter(|character| !character.is_whitespace()).count()
}

/// The field for the end of the serial number.
#[component]
pub(crate) fn SerialField(
    /// Makes the attempts.
    verifier: Verifier,
    /// How many characters are asked for.
    asked: usize,
) -> impl IntoView {
    let t = use_text();
    let error = Signal::derive(move || {
        let is_missing = verifier.standing.with(|standing| *standing == Standing::SerialMissing);
        (is_missing && verifier.serial.with(|serial| length(serial) != asked)).then(|| t.serial_ending_missing(asked))
    });
    view! { <Field label=t.serial_ending() value=verifier.serial name="serial" hint=t.serial_ending_hint(asked) error=error/> }
}

/// The end of the serial number beside a scan, where no code is typed.
#[component]
pub(crate) fn SerialForm(verifier: Verifier, session: SessionId, asked: usize) -> impl IntoView {
    let t = use_text();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        verifier.submit_held(session, asked);
    };
    view! {
        <form class="stack" data-testid="serial-form" on:submit=submit novalidate>
            <SerialField verifier=verifier asked=asked/>
            <button class="button" data-testid="verify" aria-disabled=move || verifier.is_busy().then_some("true")>{t.verify()}</button>
        </form>
    }
}

/// The code field with its button, for one pairing that awaits verification.
#[component]
pub(crate) fn CodeForm(
    /// Makes the attempts.
    verifier: Verifier,
    /// The pairing.
    session: SessionId,
    /// What is typed; it outlives the form.
    typed: RwSignal<String>,
    /// How many characters of the serial number are asked for, too.
    #[prop(optional)]
    asked: usize,
    /// The id of an element from which the field takes the focus over.
    #[prop(optional)]
    takes_focus_from: &'static str,
) -> impl IntoView {
    let t = use_text();
    let error = Signal::derive(move || verifier.standing.with(|standing| complaint(standing, asked, t)));
    let failure = Signal::derive(move || match verifier.standing.get() {
        Standing::Failed(failure) => Some(failure),
        _ => None,
    });
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let code = typed.get_untracked();
        if !code.is_empty() || !verifier.submit_held(session, asked) {
            verifier.submit_code(session, &code, asked);
        }
    };
    view! {
        <form class="stack" data-testid="code-form" on:submit=submit novalidate>
            <CodeField value=typed error=error changed=Callback::new(move |()| verifier.reset()) takes_focus_from=takes_focus_from/>
            {(asked > 0).then(|| view! { <SerialField verifier=verifier asked=asked/> })}
            <p class="waiting" role="status">
                {move || verifier.standing.with(|standing| *standing == Standing::Waiting).then(|| t.verification_waits())}
            </p>
            <Trouble failure=failure/>
            <button class="button" data-testid="verify" aria-disabled=move || verifier.is_busy().then_some("true")>
                {move || if verifier.is_busy() { t.verifying() } else { t.verify() }}
            </button>
        </form>
    }
}

fn complaint(standing: &Standing, asked: usize, t: Language) -> Option<String> {
    match standing {
        Standing::Wrong(left) if asked > 0 => Some(t.wrong_code_or_serial(*left)),
        Standing::Wrong(0) => Some(t.wrong_code_last().to_owned()),
        Standing::Wrong(1) => Some(t.wrong_code_one_left().to_owned()),
        Standing::Wrong(left) => Some(t.wrong_code(*left)),
        Standing::Mistyped => Some(t.mistyped().to_owned()),
        Standing::Incomplete => Some(t.incomplete().to_owned()),
        Standing::Idle | Standing::Sending | Standing::Waiting | Standing::SerialMissing | Standing::Failed(_) => None,
    }
}

/// How many attempts and how much time are left.
#[component]
pub(crate) fn Remaining(#[prop(into)] pairing: Signal<PairingView>) -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let attempts = move || match pairing.with(|pairing| pairing.attempts_left) {
        1 => t.one_attempt().to_owned(),
        left => t.attempts(left),
    };
    let ends = move || {
        let end = pairing.with(|pairing| pairing.expires_at.filter(|_| pairing.phase == PairingPhase::Verifying))?;
        Some(t.ends_in(&format::countdown(app.clock.until(end))))
    };
    view! {
        <p class="remaining">
            <span data-testid="attempts-left">{attempts}</span>
            {move || ends().map(|ends| view! { <span role="timer" data-testid="time-left">{ends}</span> })}
        </p>
    }
}

/// What is to be entered at a device that was given no CertCA, so large that it can be carried in the head.
#[component]
pub(crate) fn AnswerToEnter(answer: Memo<Option<String>>) -> impl IntoView {
    let t = use_text();
    view! {
        <div role="status">
            {move || answer.get().map(|answer| view! {
                <p class="answer" data-testid="answer">
                    <span>{t.answer_before()}</span> " " <b>{answer}</b> " " <span>{t.answer_after()}</span>
                </p>
            })}
        </div>
    }
}
