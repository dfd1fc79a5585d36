//! Alarms of devices, the only use of red, yellow and cyan (IEC 60601-1-8), always with text and a shape of their own.

use leptos::prelude::*;
use wardlink_protocol::report::{AlarmKind, AlarmPriority};

use crate::app::use_text;
use crate::text::Language;

/// What the device alarms for.
pub(crate) fn kind_name(kind: AlarmKind, t: Language) -> &'static str {
    match kind {
        AlarmKind::DownstreamOcclusion => t.alarm_downstream_occlusion(),
        AlarmKind::AirInLine => t.alarm_air_in_line(),
        AlarmKind::NearEnd => t.alarm_near_end(),
        AlarmKind::BatteryLow => t.alarm_battery_low(),
        AlarmKind::DoorOpen => t.alarm_door_open(),
    }
}

fn look(priority: AlarmPriority, t: Language) -> (&'static str, &'static str, &'static str) {
    match priority {
        AlarmPriority::High => ("alarm high", "!!!", t.alarm_high()),
        AlarmPriority::Medium => ("alarm medium", "!!", t.alarm_medium()),
        AlarmPriority::Low => ("alarm low", "!", t.alarm_low()),
    }
}

/// An active alarm.
#[component]
pub(crate) fn AlarmBadge(
    /// What the device alarms for.
    kind: AlarmKind,
    /// How urgent it is.
    priority: AlarmPriority,
) -> impl IntoView {
    let t = use_text();
    let (class, marks, word) = look(priority, t);
    view! {
        <span class=class data-testid="alarm">
            <b aria-hidden="true">{marks}</b>
            {kind_name(kind, t)}
            <small>{word}</small>
        </span>
    }
}
