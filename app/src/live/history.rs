//! What a device has sent while the page was open, bounded.

use std::collections::VecDeque;

use wardlink_protocol::UnixMillis;
use wardlink_protocol::api::{DeviceView, LiveData};
use wardlink_protocol::channel::DataType;
use wardlink_protocol::report::{Alarm, Content, Telemetry};

/// The most measurements that are kept.
const MEASUREMENTS: usize = 120;
/// The most events that are kept.
const EVENTS: usize = 40;

/// What a device has sent, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    measurements: VecDeque<(UnixMillis, Telemetry)>,
    events: VecDeque<LiveData>,
    alarms: Vec<Alarm>,
}

impl History {
    /// Takes a report; what is already known, or older than it, is left out.
    pub(crate) fn put(&mut self, data: LiveData) {
        match &data.report.content {
            Content::Telemetry(telemetry) => {
                if self.measurements.back().is_none_or(|(last, _)| *last < data.accepted_at) {
                    push(&mut self.measurements, (data.accepted_at, telemetry.clone()), MEASUREMENTS);
                }
            }
            Content::Alarm(_) | Content::Therapy(_) if self.knows(&data) => {}
            Content::Alarm(alarm) => {
                self.alarms.retain(|active| active.kind != alarm.kind);
                if alarm.active {
                    self.alarms.push(alarm.clone());
                    self.alarms.sort_by_key(|alarm| core::cmp::Reverse(alarm.priority));
                }
                push(&mut self.events, data, EVENTS);
            }
            Content::Therapy(_) => push(&mut self.events, data, EVENTS),
            // What a device says of orders stands with them.
            Content::Order(_) | Content::RefusedMessage(_) => {}
        }
    }

    /// Takes a device's newest reports.
    pub(crate) fn put_all(&mut self, device: &DeviceView) {
        device.latest.iter().rev().cloned().for_each(|data| self.put(data));
    }

    fn knows(&self, data: &LiveData) -> bool {
        self.events.iter().any(|event| event.channel == data.channel && event.sequence >= data.sequence)
    }

    /// The newest measurement.
    pub(crate) fn newest(&self) -> Option<&Telemetry> {
        self.measurements.back().map(|(_, telemetry)| telemetry)
    }

    /// One figure of each measurement, oldest first.
    pub(crate) fn series(&self, figure: fn(&Telemetry) -> u32) -> Vec<u32> {
        self.measurements.iter().map(|(_, telemetry)| figure(telemetry)).collect()
    }

    /// Therapy events and alarms, newest first.
    pub(crate) fn events(&self) -> Vec<LiveData> {
        self.events.iter().rev().cloned().collect()
    }

    /// The active alarms, the most urgent first.
    pub(crate) fn alarms(&self) -> &[Alarm] {
        &self.alarms
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    if queue.len() == most {
        queue.pop_front();
    }
    queue.push_back(item);
}

/// Puts a report among a device's newest ones, at most one of each kind, newest first.
pub(crate) fn put_latest(device: &mut DeviceView, data: LiveData) {
    let kind = |data: &LiveData| -> DataType { data.report.content.data_type() };
    device.last_seen = device.last_seen.max(Some(data.accepted_at));
    device.latest.retain(|known| kind(known) != kind(&data));
    device.latest.insert(0, data);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use wardlink_protocol::report::{AlarmKind, AlarmPriority, Report};

    fn data(channel: &str, sequence: u64, content: Content) -> LiveData {
        LiveData {
            device: "infusion-pump/ip-1".parse().unwrap(),
            channel: channel.parse().unwrap(),
            report: Report { measured_at: UnixMillis(sequence), content },
            accepted_at: UnixMillis(sequence * 1_000),
            sequence,
            signed: true,
        }
    }

    fn telemetry(sequence: u64) -> LiveData {
        let rate_ul_per_h = u32::try_from(sequence).unwrap();
        let content =
            Telemetry { rate_ul_per_h, infused_ul: 0, remaining_ul: 0, pressure_mmhg: 0, battery_percent: 100 };
        data("telemetry", sequence, Content::Telemetry(content))
    }

    fn alarm(sequence: u64, kind: AlarmKind, priority: AlarmPriority, active: bool) -> LiveData {
        data("alarm", sequence, Content::Alarm(Alarm { kind, priority, active }))
    }

    fn kinds(history: &History) -> Vec<AlarmKind> {
        history.alarms().iter().map(|alarm| alarm.kind).collect()
    }

    #[test]
    fn measurements_are_bounded_and_never_go_back() {
        let mut history = History::default();
        (1..=200).chain([150]).for_each(|sequence| history.put(telemetry(sequence)));
        let series = history.series(|telemetry| telemetry.rate_ul_per_h);
        assert_eq!((series.len(), series.first(), series.last()), (MEASUREMENTS, Some(&81), Some(&200)));
    }

    #[test]
    fn an_event_that_arrives_twice_is_shown_once() {
        let mut history = History::default();
        let event = alarm(1, AlarmKind::NearEnd, AlarmPriority::Low, true);
        history.put(event.clone());
        history.put(event);
        assert_eq!(history.events().len(), 1);
    }

    #[test]
    fn an_old_alarm_that_arrives_again_does_not_begin_again() {
        let mut history = History::default();
        history.put(alarm(1, AlarmKind::DoorOpen, AlarmPriority::Medium, true));
        history.put(alarm(2, AlarmKind::DoorOpen, AlarmPriority::Medium, false));
        history.put(alarm(1, AlarmKind::DoorOpen, AlarmPriority::Medium, true));
        assert_eq!(kinds(&history), []);
    }

    #[test]
    fn active_alarms_stand_by_urgency_until_they_end() {
        let mut history = History::default();
        history.put(alarm(1, AlarmKind::NearEnd, AlarmPriority::Low, true));
        history.put(alarm(2, AlarmKind::AirInLine, AlarmPriority::High, true));
        assert_eq!(kinds(&history), [AlarmKind::AirInLine, AlarmKind::NearEnd]);
        history.put(alarm(3, AlarmKind::AirInLine, AlarmPriority::High, false));
        assert_eq!(kinds(&history), [AlarmKind::NearEnd]);
    }
}
