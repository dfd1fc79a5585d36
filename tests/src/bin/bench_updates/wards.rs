//! A hospital's wards: gateways in sessions, and the devices without keys that each of them reports.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use wardlink_protocol::Device;
use wardlink_protocol::api::GatewayView;
use wardlink_tests::Scene;
use wardlink_tests::crowd::Crowd;
use wardlink_tests::hub::{Hub, Talk, state};
use wardlink_tests::manufacturer::Manufacturer;
use wardlink_tests::ward::Ward;
use wardlink_update::report::State;

/// The devices that a gateway of a large hospital reports, at most.
const WARD: usize = 250;
/// There are no fewer gateways, and so many devices at the first ones.
const LEAST: usize = 2;
const FIRST: usize = 100;
/// The most devices of one inventory.
const INVENTORY: usize = 10_000;
/// Of so many devices one is a scale, the others are pumps.
const SCALES: usize = 5;
/// How long a gateway waits for its directive, where all are directed.
const PATIENCE: Duration = Duration::from_mins(10);

/// A gateway in its session, and what it reports.
pub(super) struct Gateway {
    pub(super) hub: Hub,
    pub(super) talk: Talk,
    devices: Vec<State>,
}

/// All of them. The first one is a pump that does without a gateway. The second one has fifty devices, however many there are in the end.
#[derive(Default)]
pub(super) struct Wards {
    pub(super) gateways: Vec<Gateway>,
    devices: usize,
}

impl Gateway {
    /// Begins its session, and reports.
    pub(super) fn begin(hub: Hub, devices: Vec<State>) -> Result<Self> {
        let talk = connect(&hub)?;
        let mut gateway = Self { hub, talk, devices };
        let report = gateway.report(false)?;
        gateway.directive_after(report)?;
        Ok(gateway)
    }

    /// A report of all its devices, one of which runs what is offered to it, or what it had from the factory: that is the gateway itself where
    /// it has none.
    fn report(&mut self, is_updated: bool) -> Result<Vec<u8>> {
        let (revision, counter) = if is_updated { ("1B", Some(1)) } else { ("1A", None) };
        let Some(first) = self.devices.first_mut() else { return self.hub.report(revision, counter, &[]) };
        let State { characteristics: is, release_counter, .. } =
            state(&first.characteristics.device, revision, counter)?;
        (first.characteristics.revision, first.release_counter) = (is.revision, release_counter);
        self.hub.report("1A", None, &self.devices)
    }

    fn directive_after(&mut self, report: Vec<u8>) -> Result<()> {
        let refused = self.talk.report(report)?;
        ensure!(refused.is_none(), "a report is refused: {refused:?}");
        self.talk.directive().map(drop)
    }

    /// The times from a report to word of the directive that it brings about. What is reported takes turns, so that each report has another one.
    pub(super) fn report_to_directive(&mut self, rounds: usize) -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        for round in 0..2 * rounds {
            let report = self.report(round % 2 == 0)?;
            let begun = Instant::now();
            self.directive_after(report)?;
            times.push(begun.elapsed());
        }
        Ok(times)
    }
}

impl Wards {
    /// Takes a gateway in that has no devices.
    pub(super) fn take(&mut self, hub: Hub) -> Result<()> {
        self.gateways.push(Gateway::begin(hub, Vec::new())?);
        Ok(())
    }

    /// Goes on until there are so many devices: the manufacturer names them in inventories, gateways are paired, and report them.
    pub(super) fn grow(&mut self, scene: &Scene, ward: &Ward<'_>, acme: &Manufacturer<'_>, size: usize) -> Result<()> {
        if self.devices == 0 && size > FIRST {
            self.grow(scene, ward, acme, FIRST)?;
        }
        let mut devices = (self.devices..size).map(device).collect::<Result<Vec<_>>>()?;
        for some in devices.chunks(INVENTORY) {
            import(ward, acme, some)?;
        }
        let name = format!("wing-{size}");
        let crowd = Crowd { class: "gateway", name: &name };
        let count = devices.len().div_ceil(WARD).max(LEAST);
        crowd.pair(scene, ward, count, |_| Ok(()))?;
        for number in 1..=count {
            let gateway = crowd.device(number)?;
            let hub = Hub::with_state(&crowd.state(scene, number), &gateway, &ward.worker.origin())?;
            let share = devices.len().div_ceil(count - number + 1);
            let its = devices.drain(..share).collect();
            self.gateways.push(Gateway::begin(hub, its).with_context(|| gateway.to_string())?);
        }
        self.devices = size;
        Ok(())
    }

    /// Does something that changes what every gateway is directed to do: how long it takes until the last one has heard of that.
    pub(super) fn until_all_are_directed<T>(
        &mut self,
        ward: &Ward<'_>,
        act: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Duration)> {
        let known: Vec<GatewayView> = ward.administrator.get("gateways")?;
        let known: BTreeMap<Device, u64> = known.into_iter().map(|known| (known.gateway, known.directive)).collect();
        let begun = Instant::now();
        let done = act()?;
        for gateway in &mut self.gateways {
            let before = *known.get(&gateway.hub.device).context("the gateway is known")?;
            while gateway.talk.directive()? <= before {}
        }
        Ok((done, begun.elapsed()))
    }
}

/// Begins a session; tries again where nothing answers, as a gateway does, and says so.
fn connect(hub: &Hub) -> Result<Talk> {
    let talk = hub.connect().or_else(|error| {
        eprintln!("{} tries again: {error:#}", hub.device);
        hub.connect()
    })?;
    talk.set_patience(PATIENCE)?;
    Ok(talk)
}

/// The device of this number, as its gateway reports it.
fn device(number: usize) -> Result<State> {
    let is_scale = number % SCALES == SCALES - 1;
    let class = if is_scale { "scale" } else { "infusion-pump" };
    let mut state = state(&format!("{class}/stored-{number:06}").parse()?, "1A", None)?;
    if is_scale {
        let is = &mut state.characteristics;
        (is.model, is.hardware) = ("S1".parse().context("a model")?, "S1-B".parse().context("hardware")?);
    }
    Ok(state)
}

fn import(ward: &Ward<'_>, acme: &Manufacturer<'_>, devices: &[State]) -> Result<()> {
    let mut sold: Vec<_> = devices.iter().map(|state| &state.characteristics).collect();
    sold.sort_by(|one, other| one.device.cmp(&other.device));
    let sold: Vec<Value> = sold.into_iter().map(|is| json!({ "characteristics": is })).collect();
    let inventory = acme.inventory(&json!(sold))?;
    let _: Value = ward.administrator.post("inventories", &inventory)?;
    Ok(())
}
