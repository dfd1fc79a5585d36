//! The browser's camera: stream, frames, lamp, lenses and zoom.

use core::time::Duration;

use gloo_timers::future::sleep;
use js_sys::{Object, Reflect};
use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    CanvasRenderingContext2d, DomException, HtmlCanvasElement, HtmlVideoElement, MediaDeviceInfo, MediaDeviceKind,
    MediaDevices, MediaStream, MediaStreamConstraints, MediaStreamTrack,
};

use crate::qr::{Finder, Grey, LONGEST_SIDE};

/// A picture is looked at no more often than this.
const EVERY_MS: f64 = 100.0;
/// After this time no further look is taken at a picture; what is left of the looks comes with the next.
const LOOK_MS: f64 = 20.0;
/// After this time without a code a hint helps.
const PATIENCE_MS: f64 = 6_000.0;
/// The most that the picture is enlarged: beyond it a hand shakes too much.
const MOST_ZOOM: f64 = 4.0;
/// The name of the measurements in the browser's performance timeline.
const MEASUREMENT: &str = "qr-decode";

/// What the camera sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// Nobody asked for it.
    Off,
    /// The browser asks the person, or the camera wakes.
    Starting,
    /// Pictures come.
    Seeing,
    /// Pictures come, and for some seconds there was no code in them.
    SeeingNothing,
    /// There are no pictures.
    Failed(Trouble),
}

impl Sight {
    /// A word for tests and style.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Starting => "starting",
            Self::Seeing => "seeing",
            Self::SeeingNothing => "seeing-nothing",
            Self::Failed(_) => "failed",
        }
    }
}

/// Why there are no pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The person or the system did not allow it.
    NotAllowed,
    /// There is no camera.
    NotFound,
    /// Another program has it.
    Busy,
    /// The page did not come over https.
    Insecure,
    /// Anything else.
    Other,
}

impl Trouble {
    /// From the exception of getUserMedia (Media Capture and Streams, section 10.2).
    fn from_exception(exception: &JsValue) -> Self {
        match exception.dyn_ref::<DomException>().map(DomException::name).as_deref() {
            Some("NotAllowedError" | "SecurityError") => Self::NotAllowed,
            Some("NotFoundError" | "OverconstrainedError") => Self::NotFound,
            Some("NotReadableError" | "AbortError") => Self::Busy,
            _ => Self::Other,
        }
    }
}

/// The camera of a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Camera {
    /// What it sees.
    pub(crate) sight: RwSignal<Sight>,
    /// Whether it has a lamp.
    pub(crate) has_lamp: RwSignal<bool>,
    /// Whether the lamp is on.
    pub(crate) lamp: RwSignal<bool>,
    /// The ids of the lenses to choose from.
    pub(crate) lenses: RwSignal<Vec<String>>,
    /// How much the picture is enlarged.
    pub(crate) zoom: RwSignal<f64>,
    /// The least and the most that it can be enlarged; none where it cannot.
    pub(crate) zooms: RwSignal<Option<(f64, f64)>>,
    video: NodeRef<html::Video>,
    stream: StoredValue<Option<MediaStream>, LocalStorage>,
    /// Rises with every start and stop: an older loop ends.
    number: StoredValue<u64>,
    found: Callback<String>,
}

impl Camera {
    /// A camera that is off, and will show its pictures in `video`.
    pub(crate) fn new(video: NodeRef<html::Video>, found: Callback<String>) -> Self {
        Self {
            sight: RwSignal::new(Sight::Off),
            has_lamp: RwSignal::new(false),
            lamp: RwSignal::new(false),
            lenses: RwSignal::new(Vec::new()),
            zoom: RwSignal::new(1.0),
            zooms: RwSignal::new(None),
            video,
            stream: StoredValue::new_local(None),
            number: StoredValue::new(0),
            found,
        }
    }

    /// Asks for the camera at the back of the phone.
    pub(crate) fn start(self) {
        self.open(None);
    }

    /// Takes the next lens.
    pub(crate) fn next_lens(self) {
        let present = self.track().and_then(|track| text(&track.get_settings().into(), "deviceId"));
        let next = self.lenses.with_untracked(|lenses| {
            let at = lenses.iter().position(|lens| Some(lens) == present.as_ref()).map_or(0, |at| at + 1);
            lenses.get(at).or(lenses.first()).cloned()
        });
        self.open(next);
    }

    /// Ends the pictures and frees the camera.
    pub(crate) fn stop(self) {
        self.number.try_update_value(|number| *number += 1);
        self.release();
        let _ = self.sight.try_set(Sight::Off);
    }

    /// Turns the lamp on or off.
    pub(crate) fn switch_lamp(self) {
        let on = !self.lamp.get_untracked();
        self.adjust("torch", on.into(), move || self.lamp.try_set(on));
    }

    /// Enlarges the picture to twice its size, or begins anew.
    pub(crate) fn next_zoom(self) {
        let Some((least, most)) = self.zooms.get_untracked() else { return };
        let twice = self.zoom.get_untracked() * 2.0;
        let zoom = if twice > most { least } else { twice };
        self.adjust("zoom", zoom.into(), move || self.zoom.try_set(zoom));
    }

    /// Sets what only some cameras have (MediaStream Image Capture, section 10.1): inside `advanced` it is ignored where it is unknown.
    fn adjust<T>(self, name: &'static str, value: JsValue, done: impl FnOnce() -> Option<T> + 'static) {
        let Some(track) = self.track() else { return };
        spawn_local(async move {
            let advanced = js_sys::Array::of1(&object(&[(name, value)]));
            let wish = object(&[("advanced", advanced.into())]);
            if let Ok(promise) = track.apply_constraints_with_constraints(wish.unchecked_ref())
                && JsFuture::from(promise).await.is_ok()
            {
                // The scanner may be gone by now.
                let _ = done();
            }
        });
    }

    fn open(self, lens: Option<String>) {
        self.release();
        self.number.update_value(|number| *number += 1);
        self.sight.set(Sight::Starting);
        let number = self.number.get_value();
        spawn_local(async move {
            if let Err(trouble) = self.see(lens, number).await
                && self.is_current(number)
            {
                self.release();
                self.sight.set(Sight::Failed(trouble));
            }
        });
    }

    fn is_current(self, number: u64) -> bool {
        self.number.try_get_value() == Some(number)
    }

    fn release(self) {
        let stream = self.stream.try_update_value(Option::take).flatten();
        for track in stream.iter().flat_map(MediaStream::get_tracks) {
            track.unchecked_into::<MediaStreamTrack>().stop();
        }
        let _ = self.lamp.try_set(false);
        let _ = self.has_lamp.try_set(false);
        let _ = self.zooms.try_set(None);
        let _ = self.zoom.try_set(1.0);
    }

    fn track(self) -> Option<MediaStreamTrack> {
        let stream = self.stream.try_get_value().flatten()?;
        stream.get_video_tracks().get(0).dyn_into().ok()
    }

    /// Opens the camera and looks at its pictures until it is stopped.
    async fn see(self, lens: Option<String>, number: u64) -> Result<(), Trouble> {
        let devices = window().navigator().media_devices().map_err(|_| Trouble::Insecure)?;
        if devices.is_undefined() {
            return Err(Trouble::Insecure);
        }
        let asked =
            devices.get_user_media_with_constraints(&wish(lens.as_deref())).map_err(|e| Trouble::from_exception(&e))?;
        let stream: MediaStream =
            JsFuture::from(asked).await.map_err(|e| Trouble::from_exception(&e))?.unchecked_into();
        let Some(video) = self.video.try_get_untracked().flatten().filter(|_| self.is_current(number)) else {
            stream.get_tracks().iter().for_each(|track| track.unchecked_into::<MediaStreamTrack>().stop());
            return Ok(());
        };
        video.set_src_object(Some(&stream));
        self.stream.set_value(Some(stream));
        let playing = video.play().map_err(|e| Trouble::from_exception(&e))?;
        JsFuture::from(playing).await.map_err(|e| Trouble::from_exception(&e))?;
        let abilities = self.track().map_or(JsValue::UNDEFINED, |track| abilities(&track));
        let _ = self.has_lamp.try_set(field(&abilities, "torch").is_truthy());
        let _ = self.zooms.try_set(zooms(&field(&abilities, "zoom")));
        let _ = self.lenses.try_set(lenses(&devices).await);
        self.look(&video, number).await
    }

    async fn look(self, video: &HtmlVideoElement, number: u64) -> Result<(), Trouble> {
        let canvas = Canvas::new().ok_or(Trouble::Other)?;
        let performance = window().performance().ok_or(Trouble::Other)?;
        let mut finder = Finder::default();
        let mut last_found = performance.now();
        let _ = self.sight.try_set(Sight::Seeing);
        while self.is_current(number) {
            let begun = performance.now();
            let text = canvas.take(video).and_then(|picture| {
                let looked = performance.now();
                let text = finder.find(&picture, || performance.now() - looked < LOOK_MS);
                measure(&performance, looked);
                text
            });
            if let Some(text) = text {
                last_found = performance.now();
                self.found.run(text);
            }
            let impatient = performance.now() - last_found > PATIENCE_MS;
            let sight = if impatient { Sight::SeeingNothing } else { Sight::Seeing };
            if self.is_current(number) && self.sight.get_untracked() != sight {
                self.sight.set(sight);
            }
            let rest = (EVERY_MS - (performance.now() - begun)).max(10.0);
            sleep(Duration::from_secs_f64(rest / 1_000.0)).await;
        }
        Ok(())
    }
}

/// Notes in the performance timeline how long a picture was looked at, for `cargo xtask bench qr`.
fn measure(performance: &web_sys::Performance, begun: f64) {
    let span = object(&[("start", begun.into()), ("end", performance.now().into())]);
    if let Ok(measure) = Reflect::get(performance, &"measure".into()).and_then(JsCast::dyn_into::<js_sys::Function>) {
        // A missing measurement is no loss.
        let _ = measure.call2(performance, &MEASUREMENT.into(), &span);
    }
}

/// The canvas on which pictures are taken.
struct Canvas {
    canvas: HtmlCanvasElement,
    context: CanvasRenderingContext2d,
}

impl Canvas {
    fn new() -> Option<Self> {
        let canvas: HtmlCanvasElement = document().create_element("canvas").ok()?.dyn_into().ok()?;
        let options = object(&[("willReadFrequently", true.into()), ("alpha", false.into())]);
        let context = canvas.get_context_with_context_options("2d", &options).ok()??.dyn_into().ok()?;
        Some(Self { canvas, context })
    }

    /// The present picture of the camera, no larger than needed; none before the first has come.
    fn take(&self, video: &HtmlVideoElement) -> Option<Grey> {
        let (width, height) = (video.video_width(), video.video_height());
        let longer = width.max(height);
        if longer == 0 {
            return None;
        }
        let side = longer.min(LONGEST_SIDE);
        let (width, height) = (width * side / longer, height * side / longer);
        if (self.canvas.width(), self.canvas.height()) != (width, height) {
            self.canvas.set_width(width);
            self.canvas.set_height(height);
        }
        let (w, h) = (f64::from(width), f64::from(height));
        self.context.draw_image_with_html_video_element_and_dw_and_dh(video, 0.0, 0.0, w, h).ok()?;
        let picture = self.context.get_image_data(0.0, 0.0, w, h).ok()?;
        Grey::from_rgba(width, height, &picture.data())
    }
}

/// What is asked of the browser: a lens, or the camera at the back.
fn wish(lens: Option<&str>) -> MediaStreamConstraints {
    let which = match lens {
        Some(id) => ("deviceId", object(&[("exact", id.into())]).into()),
        None => ("facingMode", object(&[("ideal", "environment".into())]).into()),
    };
    let ideal = |pixels: u32| object(&[("ideal", pixels.into())]).into();
    // Chromium lets a page zoom only if it has asked for it here.
    let video = object(&[which, ("width", ideal(1280)), ("height", ideal(720)), ("zoom", true.into())]);
    let constraints = MediaStreamConstraints::new();
    constraints.set_video(&video);
    constraints
}

async fn lenses(devices: &MediaDevices) -> Vec<String> {
    let Ok(listed) = devices.enumerate_devices() else { return Vec::new() };
    let Ok(listed) = JsFuture::from(listed).await else { return Vec::new() };
    let listed = js_sys::Array::from(&listed);
    let listed = listed.iter().filter_map(|device| device.dyn_into::<MediaDeviceInfo>().ok());
    listed.filter(|device| device.kind() == MediaDeviceKind::Videoinput).map(|device| device.device_id()).collect()
}

fn object(fields: &[(&str, JsValue)]) -> Object {
    let object = Object::new();
    for (name, value) in fields {
        // Setting a property of a plain object cannot fail.
        let _ = Reflect::set(&object, &(*name).into(), value);
    }
    object
}

/// What the camera can do; not every browser has `getCapabilities`.
fn abilities(track: &MediaStreamTrack) -> JsValue {
    let asked = field(track, "getCapabilities").dyn_into::<js_sys::Function>();
    asked.and_then(|asked| asked.call0(track)).unwrap_or_default()
}

/// The zooms to choose from, unless there is only one.
fn zooms(zoom: &JsValue) -> Option<(f64, f64)> {
    let (least, most) = (field(zoom, "min").as_f64()?.max(1.0), field(zoom, "max").as_f64()?.min(MOST_ZOOM));
    (most >= 2.0 * least).then_some((least, most))
}

/// A property, or undefined.
fn field(value: &JsValue, name: &str) -> JsValue {
    Reflect::get(value, &name.into()).unwrap_or_default()
}

fn text(value: &JsValue, name: &str) -> Option<String> {
    field(value, name).as_string()
}
