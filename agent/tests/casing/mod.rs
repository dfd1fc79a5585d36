//! A pump and its casing, for tests that switch it on and off.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(dead_code, reason = "each test file uses its part")]

use crate::site::Site;
use clap::Parser;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use wardlink_agent::display::Screen;
use wardlink_agent::pump::journal::{Entry, Event};
use wardlink_agent::pump::settings::PumpArgs;
use wardlink_agent::pump::{Handle, Order, Outcome, Pump, PumpError};
use wardlink_protocol::provisioning::Provisioning;

#[derive(Parser)]
pub(crate) struct Line {
    #[command(flatten)]
    pub(crate) pump: PumpArgs,
}

/// A pump's casing: what survives when its power is cut.
pub(crate) struct Casing {
    pub(crate) folder: tempfile::TempDir,
    more: Vec<&'static str>,
}

/// A pump under power.
pub(crate) struct Running {
    events: mpsc::UnboundedReceiver<Entry>,
    pub(crate) screen: watch::Receiver<Screen>,
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) task: JoinHandle<Result<Outcome, PumpError>>,
}

impl Casing {
    /// Where the pump keeps its state.
    pub(crate) fn state(&self) -> std::path::PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn new(site: &Site, more: &[&'static str]) -> Self {
        Self::with(&site.provisioning(), more)
    }

    pub(crate) fn with(provisioning: &Provisioning, more: &[&'static str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("site.json"), serde_json::to_vec(provisioning).unwrap()).unwrap();
        Self { folder, more: more.to_vec() }
    }

    pub(crate) fn open(&self) -> Result<(Pump, Handle, mpsc::UnboundedReceiver<Entry>), PumpError> {
        let file = self.folder.path().join("site.json");
        let state = self.folder.path().join("state");
        let line = ["pump", "--telemetry-ms", "20", "--retry-secs", "1", "--provisioning", file.to_str().unwrap()];
        let line = [&line[..], &["--state", state.to_str().unwrap()], &self.more].concat();
        let settings = Line::try_parse_from(line).unwrap().pump.settings().unwrap().remove(0);
        let (journal, events) = mpsc::unbounded_channel();
        Pump::open(settings, journal).map(|(pump, handle)| (pump, handle, events))
    }

    pub(crate) fn power(&self) -> Running {
        let (pump, handle, events) = self.open().unwrap();
        let (stop, stopped) = watch::channel(false);
        Running { events, screen: handle.screen, orders: handle.orders, stop, task: tokio::spawn(pump.run(stopped)) }
    }
}

impl Running {
    pub(crate) async fn event(&mut self) -> Event {
        let event = tokio::time::timeout(Duration::from_secs(20), self.events.recv()).await;
        event.expect("the pump says nothing").expect("the pump ended").event
    }

    pub(crate) async fn until(&mut self, fits: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.event().await;
            if fits(&event) {
                return event;
            }
        }
    }

    /// How many of the events that it has said by now, and that nobody has looked at, fit.
    pub(crate) fn seen(&mut self, fits: impl Fn(&Event) -> bool) -> usize {
        let mut count = 0;
        while let Ok(entry) = self.events.try_recv() {
            count += usize::from(fits(&entry.event));
        }
        count
    }

    /// What it shows.
    pub(crate) fn screen(&self) -> Screen {
        self.screen.borrow().clone()
    }

    pub(crate) async fn code(&mut self) -> String {
        let Event::Code { code, .. } = self.until(|event| matches!(event, Event::Code { .. })).await else {
            unreachable!()
        };
        code.unwrap()
    }

    pub(crate) async fn paired(&mut self) {
        self.until(|event| matches!(event, Event::Paired { .. })).await;
    }

    /// Cuts the power.
    pub(crate) async fn cut(self) {
        assert!(self.cut_or_ended().await.is_none(), "it had ended by itself");
    }

    /// Cuts the power; how it ended where it had ended by itself before.
    pub(crate) async fn cut_or_ended(self) -> Option<Outcome> {
        self.task.abort();
        match self.task.await {
            Ok(outcome) => Some(outcome.unwrap()),
            Err(error) => {
                assert!(error.is_cancelled(), "{error}");
                None
            }
        }
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(self) -> Outcome {
        let ended = tokio::time::timeout(Duration::from_secs(20), self.task).await;
        ended.expect("the pump goes on").unwrap().unwrap()
    }

    /// Waits until it ends with a fault.
    pub(crate) async fn failed(self) -> PumpError {
        let ended = tokio::time::timeout(Duration::from_secs(20), self.task).await;
        ended.expect("the pump goes on").unwrap().unwrap_err()
    }

    /// Listens for a while, in which nothing may be sent on this channel.
    pub(crate) async fn silent_on(&mut self, channel: &str, listen: Duration) {
        let deadline = tokio::time::Instant::now() + listen;
        while let Ok(Some(entry)) = tokio::time::timeout_at(deadline, self.events.recv()).await {
            let spoke = matches!(&entry.event, Event::Sent { channel: name, .. } if name.as_str() == channel);
            assert!(!spoke, "something was sent on {channel}");
        }
    }

    pub(crate) async fn stop(self) -> Outcome {
        self.stop.send_replace(true);
        self.task.await.unwrap().unwrap()
    }
}

/// Waits until the site has so many reports on a channel.
pub(crate) async fn reports_on(site: &Site, channel: &str, count: usize) {
    for _ in 0..1_000 {
        if site.reports().await.iter().filter(|(name, _)| name == channel).count() >= count {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{channel} stays silent: {:?}", site.reports().await);
}
