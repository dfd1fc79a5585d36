//! The audit log: what was done, by whom, and the way to take it along.

use leptos::prelude::*;
use leptos::task::spawn_local;
use wardlink_protocol::api::{AuditEntry, AuditOutcome, AuditPage};

use crate::api::Failure;
use crate::app::{App, use_app, use_text};
use crate::clock;
use crate::text::Language;
use crate::ui::file::download;
use crate::ui::select::Select;
use crate::ui::{Loading, ScreenTitle, Trouble, icon};

/// How long typing has to rest before the log is searched.
const REST: core::time::Duration = core::time::Duration::from_millis(300);

/// The acts that a person can ask for: the log's word and the text.
fn acts(t: Language) -> Vec<(&'static str, &'static str)> {
    vec![
        ("pairing-requested", t.act_pairing_requested()),
        ("pairing-accepted", t.act_pairing_accepted()),
        ("pairing-rejected", t.act_pairing_rejected()),
        ("pairing-cancelled", t.act_pairing_cancelled()),
        ("pairing-attempted", t.act_pairing_attempted()),
        ("pairing-verified", t.act_pairing_verified()),
        ("pairing-finished", t.act_pairing_finished()),
        ("pairing-ended", t.act_pairing_ended()),
        ("identifier-locked", t.act_identifier_locked()),
        ("identifier-unlocked", t.act_identifier_unlocked()),
        ("device-revoked", t.act_device_revoked()),
        ("revocation-lifted", t.act_revocation_lifted()),
        ("revoked-device-tried", t.act_revoked_device_tried()),
        ("decommission-ordered", t.act_decommission_ordered()),
        ("device-decommissioned", t.act_device_decommissioned()),
        ("certificate-renewed", t.act_certificate_renewed()),
        ("certificate-expired", t.act_certificate_expired()),
        ("key-rotated", t.act_key_rotated()),
        ("rekeying-finished", t.act_rekeying_finished()),
        ("channels-changed", t.act_channels_changed()),
        ("policy-changed", t.act_policy_changed()),
        ("classes-changed", t.act_classes_changed()),
        ("secret-made", t.act_secret_made()),
        ("secret-shown", t.act_secret_shown()),
        ("secret-ended", t.act_secret_ended()),
        ("service-made", t.act_service_made()),
        ("service-enrolled", t.act_service_enrolled()),
        ("service-revoked", t.act_service_revoked()),
        ("order-given", t.act_order_given()),
        ("order-ended", t.act_order_ended()),
        ("message-refused", t.act_message_refused()),
        ("manufacturer-changed", t.act_manufacturer_changed()),
        ("releases-published", t.act_releases_published()),
        ("inventory-imported", t.act_inventory_imported()),
        ("update-decided", t.act_update_decided()),
        ("gateway-changed", t.act_gateway_changed()),
        ("patient-assigned", t.act_patient_assigned()),
        ("records-asked", t.act_records_asked()),
        ("gap-conceded", t.act_gap_conceded()),
        ("records-exported", t.act_records_exported()),
        ("rules-changed", t.act_rules_changed()),
        ("flag-acknowledged", t.act_flag_acknowledged()),
        ("signed-in", t.act_signed_in()),
        ("signed-out", t.act_signed_out()),
        ("sign-in-refused", t.act_sign_in_refused()),
        ("person-added", t.act_person_added()),
        ("person-changed", t.act_person_changed()),
        ("log-exported", t.act_log_exported()),
    ]
}

/// What was done, in words; the log's own word where there is no text.
fn act_words(act: &str, t: Language) -> String {
    let known = acts(t).into_iter().find(|(word, _)| *word == act);
    known.map_or_else(|| act.to_owned(), |(_, words)| words.to_owned())
}

/// The entries that are known.
#[derive(Clone, Copy)]
struct Log {
    app: App,
    entries: RwSignal<Option<Vec<AuditEntry>>>,
    more: RwSignal<bool>,
    failure: RwSignal<Option<Failure>>,
    act: RwSignal<String>,
    find: RwSignal<String>,
    /// Rises with each question, so that a late answer to an earlier one is not shown.
    asked: RwSignal<u32>,
}

impl Log {
    /// Asks for the newest entries, or for those before the last known one.
    fn load(self, older: bool) {
        self.failure.set(None);
        let before = self.entries.with_untracked(|entries| {
            entries.as_ref().filter(|_| older).and_then(|entries| entries.last().map(|last| last.sequence))
        });
        self.asked.update(|asked| *asked += 1);
        let asked = self.asked.get_untracked();
        let path = path(before, &self.act.get_untracked(), &self.find.get_untracked());
        spawn_local(async move {
            let answer = self.app.get::<AuditPage>(&path).await;
            // The screen may be gone by now.
            if self.asked.try_get_untracked() != Some(asked) {
                return;
            }
            match answer {
                Ok(page) => {
                    self.more.set(page.more);
                    self.entries.update(|entries| match entries {
                        Some(known) if before.is_some() => known.extend(page.entries),
                        entries => *entries = Some(page.entries),
                    });
                }
                Err(failure) => self.failure.set(Some(failure)),
            }
        });
    }
}

/// The path of a question.
fn path(before: Option<u64>, act: &str, find: &str) -> String {
    let mut parts = Vec::new();
    parts.extend(before.map(|before| format!("before={before}")));
    parts.extend((!act.is_empty()).then(|| format!("act={act}")));
    let find = find.trim();
    parts.extend((!find.is_empty()).then(|| format!("find={}", js_sys::encode_uri_component(find))));
    if parts.is_empty() { "/audit".to_owned() } else { format!("/audit?{}", parts.join("&")) }
}

/// The screen.
#[component]
pub(crate) fn AuditScreen() -> impl IntoView {
    let t = use_text();
    let log = Log {
        app: use_app(),
        entries: RwSignal::new(None),
        more: RwSignal::new(false),
        failure: RwSignal::new(None),
        act: RwSignal::new(String::new()),
        find: RwSignal::new(String::new()),
        asked: RwSignal::new(0),
    };
    // A search begins when typing rests; another act at once.
    Effect::new(move |last: Option<(String, u32)>| {
        let (act, typed) = (log.act.get(), log.find.get());
        let first = last.is_none();
        if first || last.as_ref().is_some_and(|(known, _)| *known != act) {
            log.load(false);
            return (act, 0);
        }
        let count = last.map_or(0, |(_, count)| count.wrapping_add(1));
        set_timeout(
            move || {
                if log.find.try_get_untracked().as_ref() == Some(&typed) {
                    log.load(false);
                }
            },
            REST,
        );
        (act, count)
    });
    let options = core::iter::once((String::new(), t.audit_all_acts().to_owned()))
        .chain(acts(t).into_iter().map(|(word, words)| (word.to_owned(), words.to_owned())))
        .collect::<Vec<_>>();
    let is_asked = move || !(log.act.with(String::is_empty) && log.find.with(String::is_empty));
    view! {
        <section class="list-pane wide">
            <div class="screen-head">
                <ScreenTitle text=t.audit_title()/>
                <Export app=log.app/>
            </div>
            <p class="quiet">{t.audit_text()}</p>
            <div class="pairs">
                <label class="search">
                    {icon::search()}
                    <span class="visually-hidden">{t.audit_find()}</span>
                    <input type="search" data-testid="audit-find" placeholder=t.audit_find_hint() prop:value=log.find
                        on:input:target=move |event| log.find.set(event.target().value())/>
                </label>
                <Select label=t.audit_act() value=log.act name="act" options=options/>
            </div>
            <Trouble failure=log.failure retry=Callback::new(move |()| log.load(false))/>
            {move || match log.entries.with(|entries| entries.as_ref().map(Vec::is_empty)) {
                Some(true) => view! {
                    <div class="card empty"><p><b>{move || if is_asked() { t.audit_none() } else { t.audit_empty() }}</b></p></div>
                }.into_any(),
                Some(false) => view! {
                    <ul class="card rows" data-testid="audit">
                        <For each=move || log.entries.get().unwrap_or_default() key=|entry| entry.sequence let:entry>
                            <Row entry=entry/>
                        </For>
                    </ul>
                }.into_any(),
                None if log.failure.with(Option::is_some) => ().into_any(),
                None => view! { <div class="card"><Loading/></div> }.into_any(),
            }}
            <Show when=move || log.more.get()>
                <p><button type="button" class="button quiet" data-testid="audit-more" on:click=move |_| log.load(true)>{t.audit_more()}</button></p>
            </Show>
        </section>
    }
}

#[component]
fn Row(entry: AuditEntry) -> impl IntoView {
    let t = use_text();
    let went = match entry.outcome {
        AuditOutcome::Done => None,
        AuditOutcome::Begun => Some(t.audit_begun()),
        AuditOutcome::Refused => Some(t.audit_refused()),
        AuditOutcome::Failed => Some(t.audit_failed()),
    };
    let is_system = entry.role.is_none() && entry.actor == "control unit";
    let actor = if is_system { t.audit_system().to_owned() } else { entry.actor.clone() };
    let hash: String = entry.hash.to_string().chars().take(16).collect();
    let detail = (!entry.detail.is_empty()).then(|| view! { <span>{entry.detail.clone()}</span> });
    view! {
        <li class="row" data-testid="audit-entry" data-act=entry.act.clone()>
            <div class="row-main">
                <h2>{act_words(&entry.act, t)} <small>{entry.subject.clone()}</small></h2>
                <p class="tiny facts"><span>{actor}</span><span>{clock::day_and_time(entry.at, t)}</span>{detail}</p>
                <p class="tiny facts"><span>{t.audit_entry(entry.sequence)}</span><span class="mono" title=entry.hash.to_string()>{t.audit_hash(&hash)}</span></p>
            </div>
            {went.map(|word| view! { <div class="acts"><span class="chip">{word}</span></div> })}
        </li>
    }
}

/// Takes the whole log along as a file: lines of JSON, and its signed end.
#[component]
fn Export(app: App) -> impl IntoView {
    let t = use_text();
    let (busy, count) = (RwSignal::new(false), RwSignal::new(0_usize));
    let begin = move |_| {
        if busy.get_untracked() {
            return;
        }
        busy.set(true);
        count.set(0);
        spawn_local(async move {
            match collect(app, count).await {
                Ok(text) => {
                    download("wardlink-audit.ndjson", "application/x-ndjson", &text);
                    app.notices.say(t.audit_exported(count.try_get_untracked().unwrap_or_default()));
                }
                Err(failure) => app.notices.failure(&failure, t),
            }
            let _ = busy.try_set(false);
        });
    };
    view! {
        <button type="button" class="button small quiet" data-testid="audit-export"
            aria-disabled=move || busy.get().then_some("true") on:click=begin>
            {icon::download()} {move || if busy.get() { t.audit_exporting(count.get()) } else { t.audit_export().to_owned() }}
        </button>
    }
}

/// All parts of an export, one after the other.
async fn collect(app: App, count: RwSignal<usize>) -> Result<String, Failure> {
    let mut text = String::new();
    let (mut after, mut entries) = (0, 0);
    loop {
        let part = app.send(gloo_net::http::Method::GET, &format!("/audit/export?after={after}"), None).await?.body;
        text.push_str(&part);
        entries += part.lines().filter(|line| !is_head(line)).count();
        let _ = count.try_set(entries);
        match part.lines().last() {
            Some(line) if !is_head(line) => after = sequence_of(line).ok_or(Failure::Unreadable(200))?,
            _ => return Ok(text),
        }
    }
}

/// Whether a line is the log's signed end.
fn is_head(line: &str) -> bool {
    line.starts_with("{\"signed_head\"") || line.starts_with("{\"site\"")
}

/// The number of an exported entry.
fn sequence_of(line: &str) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(line).ok()?.pointer("/entry/sequence")?.as_u64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_act_has_its_word_and_unknown_ones_stay_as_they_are() {
        assert_eq!(act_words("device-revoked", Language::English), "Revoked a device");
        assert_eq!(act_words("something-new", Language::German), "something-new");
    }

    #[test]
    fn the_end_of_an_export_is_known_by_its_head() {
        assert!(is_head(r#"{"signed_head":"aa","site":"bb"}"#));
        let line = r#"{"entry":{"sequence":7},"hash":"00"}"#;
        assert!(!is_head(line));
        assert_eq!(sequence_of(line), Some(7));
    }
}
