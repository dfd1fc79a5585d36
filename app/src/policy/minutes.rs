//! How long requests and verifications wait.

use leptos::prelude::*;
use wardlink_protocol::limits::{MAX_REQUEST_MINUTES, MAX_VERIFICATION_MINUTES};

use super::{PartHead, Rules};
use crate::app::use_text;
use crate::ui::field::Field;

/// The bounds of a request's wait, in minutes.
pub(super) const REQUEST: (u32, u32) = (1, MAX_REQUEST_MINUTES);
/// The bounds of a verification's wait, in minutes.
pub(super) const VERIFICATION: (u32, u32) = (1, MAX_VERIFICATION_MINUTES);

/// Both waiting times.
#[component]
pub(super) fn WaitingTimes(rules: Rules) -> impl IntoView {
    let t = use_text();
    let field = |is_request: bool| {
        let (bounds, text) =
            if is_request { (REQUEST, rules.request_text) } else { (VERIFICATION, rules.verification_text) };
        let known = Memo::new(move |_| {
            rules.part(|policy| if is_request { policy.request_minutes } else { policy.verification_minutes })
        });
        let typed = RwSignal::new(text.get_untracked().unwrap_or_else(|| known.get_untracked().to_string()));
        // Discarding or another person's change shows in the field, too.
        Effect::new(move |_| {
            let known = known.get();
            if text.get().is_none() && typed.with_untracked(|typed| typed.trim().parse() != Ok(known)) {
                typed.set(known.to_string());
            }
        });
        Effect::new(move |_| match typed.with(|typed| read(typed, bounds)) {
            Some(minutes) => {
                if text.with_untracked(Option::is_some) {
                    text.set(None);
                }
                if minutes != known.get_untracked() {
                    rules.change(|policy| {
                        *(if is_request { &mut policy.request_minutes } else { &mut policy.verification_minutes }) =
                            minutes;
                    });
                }
            }
            None => text.set(Some(typed.get_untracked())),
        });
        let error =
            Signal::derive(move || text.with(Option::is_some).then(|| t.policy_minutes_invalid(bounds.0, bounds.1)));
        let (label, name) = if is_request {
            (t.policy_request_minutes(), "request-minutes")
        } else {
            (t.policy_verification_minutes(), "verification-minutes")
        };
        view! { <Field label=label value=typed name=name error=error/> }
    };
    view! {
        <div class="card pad stack">
            <PartHead title=t.policy_waiting()/>
            <div class="two">{field(true)} {field(false)}</div>
        </div>
    }
}

fn read(text: &str, (least, most): (u32, u32)) -> Option<u32> {
    text.trim().parse().ok().filter(|minutes| (least..=most).contains(minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_whole_and_within_their_bounds() {
        assert_eq!(read(" 15 ", REQUEST), Some(15));
        for wrong in ["", "0", "1441", "1.5", "-3", "ten"] {
            assert_eq!(read(wrong, REQUEST), None, "{wrong}");
        }
        assert_eq!(read("61", VERIFICATION), None);
    }
}
