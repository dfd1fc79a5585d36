//! The camera in the page: asked for on tap, read by [`crate::qr`], with lamp, lens choice and zoom where the browser has them.

use leptos::html;
use leptos::prelude::*;

use crate::app::use_text;
use crate::text::Language;
use crate::ui::{focus, focus_is_lost, icon};

mod camera;

pub(crate) use camera::{Camera, Sight, Trouble};

/// The browser writes numbers with a fraction; the machinery for it would cost the phone more than everything else about zoom.
fn zoom_words(zoom: f64, t: Language) -> String {
    let number = String::from(js_sys::Number::from(zoom).to_locale_string(t.tag()));
    number + "×"
}

/// What is wrong with the camera, and what to do.
fn explain(trouble: Trouble, t: Language) -> (&'static str, &'static str) {
    match trouble {
        Trouble::NotAllowed => (t.camera_not_allowed(), t.camera_not_allowed_advice()),
        Trouble::NotFound => (t.camera_not_found(), t.camera_type_instead()),
        Trouble::Busy => (t.camera_busy(), t.camera_busy_advice()),
        Trouble::Insecure => (t.camera_insecure(), t.camera_type_instead()),
        Trouble::Other => (t.camera_failed(), t.camera_type_instead()),
    }
}

/// The camera's picture, and the button that asks for it.
#[component]
pub(crate) fn Scanner(
    /// Called with the text of each code that is read.
    found: Callback<String>,
) -> impl IntoView {
    let t = use_text();
    let video = NodeRef::<html::Video>::new();
    let camera = Camera::new(video, found);
    on_cleanup(move || camera.stop());
    let hint = move || match camera.sight.get() {
        Sight::Starting => vec![t.camera_starts()],
        Sight::Seeing => vec![t.point_at_code()],
        Sight::SeeingNothing => {
            let lamp = (camera.has_lamp.get() && !camera.lamp.get()).then(|| t.nothing_found_lamp());
            let zoom = camera.zooms.with(Option::is_some).then(|| t.nothing_found_zoom());
            [Some(t.nothing_found()), lamp, zoom].into_iter().flatten().collect()
        }
        Sight::Off | Sight::Failed(_) => Vec::new(),
    };
    let hint = move || hint().join(" ");
    let is_on = move || matches!(camera.sight.get(), Sight::Seeing | Sight::SeeingNothing);
    let can_start = move || matches!(camera.sight.get(), Sight::Off | Sight::Failed(_));
    // The button that was pressed is gone: the one that comes takes the focus.
    let buttons = Memo::new(move |_| (is_on(), can_start()));
    Effect::new(move |before: Option<_>| {
        let present = buttons.get();
        if before.is_some() {
            request_animation_frame(|| {
                if focus_is_lost() {
                    focus(".cam [data-testid^=camera]");
                }
            });
        }
        present
    });
    view! {
        <div class="cam" class:on=is_on data-testid="scanner" data-state=move || camera.sight.get().word()>
            <video node_ref=video playsinline muted autoplay aria-label=t.camera_picture()></video>
            <i></i><i></i><i></i><i></i>
            {move || match camera.sight.get() {
                Sight::Off => view! {
                    <button type="button" class="cam-start" data-testid="camera" on:click=move |_| camera.start()>
                        {icon::camera()} <b>{t.scan()}</b> <small>{t.scan_text()}</small>
                    </button>
                }.into_any(),
                Sight::Failed(trouble) => {
                    let (what, advice) = explain(trouble, t);
                    view! {
                        <div class="cam-word" role="alert">
                            <b>{what}</b>
                            <p>{advice}</p>
                            <button type="button" class="button small" data-testid="camera" on:click=move |_| camera.start()>{t.try_again()}</button>
                        </div>
                    }.into_any()
                }
                _ => ().into_any(),
            }}
            // Always there, so that a screen reader hears when it begins to speak.
            <p class="cam-hint" role="status">{hint}</p>
            <Show when=is_on>
                <div class="cam-tools">
                    <Show when=move || camera.has_lamp.get()>
                        <button type="button" aria-label=t.lamp() data-testid="lamp" aria-pressed=move || if camera.lamp.get() { "true" } else { "false" }
                            on:click=move |_| camera.switch_lamp()>{icon::lamp()}</button>
                    </Show>
                    <Show when=move || camera.zooms.with(Option::is_some)>
                        <button type="button" data-testid="zoom" on:click=move |_| camera.next_zoom()>
                            <span class="visually-hidden">{t.zoom()}</span> {move || zoom_words(camera.zoom.get(), t)}
                        </button>
                    </Show>
                    <Show when=move || camera.lenses.with(|lenses| lenses.len() > 1)>
                        <button type="button" aria-label=t.other_camera() data-testid="lens" on:click=move |_| camera.next_lens()>{icon::turn()}</button>
                    </Show>
                    <button type="button" aria-label=t.camera_off() data-testid="camera-off" on:click=move |_| camera.stop()>{icon::close()}</button>
                </div>
            </Show>
        </div>
    }
}
