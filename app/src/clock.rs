//! The server's time in the browser: ages and ends are shown by it, whatever the device's own clock says.

use core::time::Duration;

use gloo_timers::future::sleep;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wardlink_protocol::UnixMillis;

use crate::text::Language;

/// The time, ticking once a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    now: RwSignal<UnixMillis>,
    /// Server time minus the browser's, in milliseconds, once it is known.
    ahead: StoredValue<Option<i64>>,
}

impl Clock {
    /// Starts ticking.
    pub(crate) fn start() -> Self {
        let clock = Self { now: RwSignal::new(UnixMillis(browser_millis())), ahead: StoredValue::new(None) };
        spawn_local(async move {
            loop {
                sleep(Duration::from_secs(1)).await;
                clock.tick();
            }
        });
        clock
    }

    /// The present second; what reads it is told of the next.
    pub(crate) fn now(self) -> UnixMillis {
        self.now.get()
    }

    /// The present second, once.
    pub(crate) fn now_untracked(self) -> UnixMillis {
        self.now.get_untracked()
    }

    /// How long ago a point in time is, ticking.
    pub(crate) fn since(self, then: UnixMillis) -> Duration {
        self.now().since(then)
    }

    /// How long it is until a point in time, ticking; zero afterwards.
    pub(crate) fn until(self, then: UnixMillis) -> Duration {
        then.since(self.now())
    }

    /// Learns the server's time.
    pub(crate) fn set(self, server: UnixMillis) {
        let ahead = i64::try_from(server.0).unwrap_or_default() - i64::try_from(browser_millis()).unwrap_or_default();
        self.ahead.set_value(Some(ahead));
        self.tick();
    }

    /// Learns the server's time from a whole second, unless a better source has told it.
    pub(crate) fn learn(self, server: UnixMillis) {
        if self.ahead.get_value().is_none() {
            self.set(server);
        }
    }

    fn tick(self) {
        let ahead = self.ahead.get_value().unwrap_or_default();
        self.now.set(UnixMillis(browser_millis().saturating_add_signed(ahead)));
    }
}

/// The browser's own time, in milliseconds since 1970.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "Date.now() is a whole number after 1970")]
pub(crate) fn browser_millis() -> u64 {
    js_sys::Date::now() as u64
}

/// The time of the day, `14:02:11`.
pub(crate) fn time_of_day(at: UnixMillis, language: Language) -> String {
    date(at).to_locale_time_string(locale(language)).into()
}

/// Hour and minute, `14:02`.
pub(crate) fn hour_and_minute(at: UnixMillis, language: Language) -> String {
    formatted(at, language, &[("timeStyle", "short")])
}

/// Day and time, `21 Nov 2026, 14:02`.
pub(crate) fn day_and_time(at: UnixMillis, language: Language) -> String {
    formatted(at, language, &[("dateStyle", "medium"), ("timeStyle", "short")])
}

/// The day, `21 Nov 2026`.
pub(crate) fn day(at: UnixMillis, language: Language) -> String {
    formatted(at, language, &[("dateStyle", "medium")])
}

fn formatted(at: UnixMillis, language: Language, styles: &[(&str, &str)]) -> String {
    let options = js_sys::Object::new();
    for (key, value) in styles {
        // Setting a property of a plain object cannot fail.
        let _ = js_sys::Reflect::set(&options, &(*key).into(), &(*value).into());
    }
    date(at).to_locale_string(locale(language), &options).into()
}

fn date(at: UnixMillis) -> js_sys::Date {
    #[expect(clippy::cast_precision_loss, reason = "exact until the year 287396")]
    let millis = at.0 as f64;
    js_sys::Date::new(&millis.into())
}

fn locale(language: Language) -> &'static str {
    match language {
        Language::English => "en-GB",
        Language::German => "de-DE",
    }
}

/// Reads the `Date` field of a response (RFC 9110 section 6.6.1).
pub(crate) fn parse_http_date(text: &str) -> Option<UnixMillis> {
    let millis = js_sys::Date::parse(text);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked, and whole")]
    (millis.is_finite() && millis > 0.0).then_some(UnixMillis(millis as u64))
}
