//! The switches for language and theme.

use leptos::prelude::*;

use crate::app::{Theme, use_app, use_text};
use crate::text::Language;
use crate::ui::focus;

/// Both switches, folded away where room is scarce.
#[component]
pub(crate) fn FoldedPreferences() -> impl IntoView {
    let t = use_text();
    view! {
        <details class="fold">
            <summary>{t.preferences()}</summary>
            <Preferences/>
        </details>
    }
}

/// Both switches.
#[component]
pub(crate) fn Preferences() -> impl IntoView {
    let t = use_text();
    let app = use_app();
    let languages = Language::ALL.map(|language| {
        view! {
            <button
                type="button"
                lang=language.tag()
                aria-pressed=if language == t { "true" } else { "false" }
                on:click=move |_| {
                    app.choose_language(language);
                    // The page is drawn anew; who has pressed this stays here.
                    request_animation_frame(move || {
                        focus(".fold summary");
                        focus(&format!(".switch [lang={}]", language.tag()));
                    });
                }
            >
                {language.own_name()}
            </button>
        }
    });
    let themes = Theme::ALL.map(|theme| {
        let label = match theme {
            Theme::System => t.theme_system(),
            Theme::Light => t.theme_light(),
            Theme::Dark => t.theme_dark(),
        };
        view! {
            <button
                type="button"
                aria-pressed=move || if app.theme.get() == theme { "true" } else { "false" }
                on:click=move |_| app.choose_theme(theme)
            >
                {label}
            </button>
        }
    });
    view! {
        <div class="preferences">
            <div class="switch" role="group" aria-label=t.language_label()>{languages.into_iter().collect_view()}</div>
            <div class="switch" role="group" aria-label=t.theme_label()>{themes.into_iter().collect_view()}</div>
        </div>
    }
}
