//! Orders to devices: carried out once, by whoever may give them, and never after their end.

use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, anyhow, ensure};
use wardlink_protocol::api::{
    AuditEntry, AuditOutcome, AuditPage, MadeService, NewOrder, NewService, OrderState, OrderView, ProblemKind, Role,
    ServiceState,
};
use wardlink_protocol::limits::MAX_WAITING_ORDERS;
use wardlink_protocol::order::{Order, OrderId, OrderRefusal, Task};
use wardlink_protocol::service::ServiceAccess;
use wardlink_protocol::{UnixMillis, cbor};
use wardlink_tests::api::{Api, refusal};
use wardlink_tests::impostor::steal;
use wardlink_tests::mqtt::Mqtt;
use wardlink_tests::process::Process;
use wardlink_tests::pump::{Pump, is};
use wardlink_tests::service::{self, Service, of_pumps};
use wardlink_tests::ward::{Ward, device};
use wardlink_tests::{Scene, artifacts, scene, wait};

const LIFETIME: u32 = 600;
const CONTROL: &str = "ais/ctl/command/infusion-pump/ip-1";

fn show(text: &str) -> Task {
    Task::ShowMessage { text: text.to_owned() }
}

fn new_id() -> Result<OrderId> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).context("no randomness")?;
    Ok(OrderId(id))
}

fn give(person: &Api, pump: &str, task: Task, lifetime_secs: u32) -> Result<OrderView> {
    person.post(&format!("devices/infusion-pump/{pump}/orders"), &NewOrder { id: new_id()?, task, lifetime_secs })
}

fn orders(person: &Api, pump: &str) -> Result<Vec<OrderView>> {
    person.get(&format!("devices/infusion-pump/{pump}/orders"))
}

fn find(person: &Api, pump: &str, id: OrderId) -> Result<OrderView> {
    orders(person, pump)?.into_iter().find(|order| order.id == id).context("the order is listed")
}

fn wait_for(person: &Api, pump: &str, id: OrderId, state: OrderState) -> Result<OrderView> {
    wait::until(&format!("an order that is {state:?}"), || {
        Ok(Some(find(person, pump, id)?).filter(|order| order.state == state))
    })
}

/// How often a pump took this order, as it has said up to now.
fn taken(pump: &Pump<'_>, id: OrderId) -> usize {
    let id = id.to_string();
    pump.seen().iter().filter(|event| is(event, "order-taken") && event["order"] == id).count()
}

/// A service that may send orders to infusion pumps, and read what comes of them where `reads`.
fn made(ward: &Ward<'_>, name: &str, reads: bool) -> Result<MadeService> {
    let command = of_pumps("command")?;
    let reads = reads.then_some(command.clone()).into_iter().collect();
    let access = ServiceAccess { reads, writes: [command].into() };
    ward.administrator.post("services", &NewService { name: name.parse()?, access })
}

/// `wardlink send` with the state of this service.
fn sending(scene: &Scene, ward: &Ward<'_>, name: &str, enrolment: Option<&str>, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(artifacts::agent()?);
    command.args(["send", "--json", "--site", &ward.worker.origin(), "--state"]);
    command.arg(scene.path(&format!("{name}-state"))).args(arguments).env_remove("WARDLINK_ENROL");
    if let Some(text) = enrolment {
        command.env("WARDLINK_ENROL", text);
    }
    Ok(command)
}

/// Runs it to its end.
fn send(scene: &Scene, ward: &Ward<'_>, name: &str, enrolment: Option<&str>, arguments: &[&str]) -> Result<Output> {
    sending(scene, ward, name, enrolment, arguments)?.stdin(Stdio::null()).output().context("cannot send")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_person_gives_an_order_which_the_pump_carries_out_once_and_accounts_for() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let (_, engineer) = ward.administrator.add_person("emil", Role::BiomedicalEngineer)?;
        let (_, auditor) = ward.administrator.add_person("aude", Role::Auditor)?;
        let mut pump = ward.paired_pump("ip-1")?;
        let given = give(&engineer, "ip-1", show("Call 2104"), LIFETIME)?;
        assert_eq!((given.given_by.as_str(), given.by_service), ("emil", false));
        let done = wait_for(&ward.nurse, "ip-1", given.id, OrderState::Done)?;
        ensure!(done.ended_at.is_some() && done.refusal.is_none(), "{done:?}");
        pump.wait_until("settled", |event| is(event, "order-settled") && event["result"] == "done")?;
        // The same order once more, as after a lost answer: it is the same, and is sent to nobody.
        let again = NewOrder { id: given.id, task: show("Call 2104"), lifetime_secs: LIFETIME };
        let same: OrderView = engineer.post("devices/infusion-pump/ip-1/orders", &again)?;
        assert_eq!((same.given_at, same.state), (given.given_at, OrderState::Done));
        // Each kind; what the pump cannot do it says.
        let interval = give(&ward.administrator, "ip-1", Task::SetInterval { seconds: 2 }, LIFETIME)?;
        wait_for(&ward.nurse, "ip-1", interval.id, OrderState::Done)?;
        let report = give(&ward.administrator, "ip-1", Task::ReportNow, LIFETIME)?;
        wait_for(&ward.nurse, "ip-1", report.id, OrderState::Done)?;
        let silence = give(&ward.administrator, "ip-1", Task::PauseAlarmTone, LIFETIME)?;
        let silence = wait::until("the pump answers", || {
            let order = find(&ward.nurse, "ip-1", silence.id)?;
            Ok((!matches!(order.state, OrderState::Waiting | OrderState::Delivered)).then_some(order))
        })?;
        ensure!(silence.state == OrderState::Done || silence.refusal == Some(OrderRefusal::NoAlarm), "{silence:?}");

        for person in [&ward.nurse, &auditor] {
            assert_eq!(refusal(give(person, "ip-1", show("no"), LIFETIME))?, ProblemKind::Forbidden);
            ensure!(orders(person, "ip-1")?.len() == 4, "everybody sees them");
        }
        for (task, lifetime) in [
            (show(""), LIFETIME),
            (show("a\nb"), LIFETIME),
            (Task::SetInterval { seconds: 0 }, LIFETIME),
            (show("no"), 0),
            (show("no"), 24 * 3600 + 1),
        ] {
            let refused = refusal(give(&ward.administrator, "ip-1", task, lifetime))?;
            assert_eq!(refused, ProblemKind::BadRequest);
        }
        assert_eq!(refusal(give(&ward.administrator, "ip-9", show("no"), LIFETIME))?, ProblemKind::NotFound);
        let log: serde_json::Value = auditor.get("audit?act=order-given")?;
        assert_eq!(log["entries"].as_array().map(Vec::len), Some(4), "{log}");
        let log: serde_json::Value = auditor.get("audit?act=order-ended")?;
        assert_eq!(log["entries"].as_array().map(Vec::len), Some(4), "{log}");
        Ok(())
    })
}

#[test]
fn an_order_reaches_the_pump_once_through_deaths_of_pump_and_worker() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::open(scene)?;
        let mut pump = ward.paired_pump("ip-1")?;
        pump.wait_until("a measurement", |event| is(event, "sent") && event["channel"] == "telemetry")?;
        // The pump is away; the order waits. Both die once more before it comes back.
        pump.kill();
        let waiting = give(&ward.administrator, "ip-1", show("while it was away"), LIFETIME)?;
        ward.worker.kill();
        ward.worker.restart()?;
        assert_eq!(find(&ward.administrator, "ip-1", waiting.id)?.state, OrderState::Waiting);
        pump.restart()?;
        wait_for(&ward.administrator, "ip-1", waiting.id, OrderState::Done)?;
        // One at each of many moments: the pump or the worker dies right after it was given.
        let mut given = vec![waiting.id];
        for round in 0..6_u32 {
            let order = give(&ward.administrator, "ip-1", show(&format!("round {round}")), LIFETIME)?;
            given.push(order.id);
            if round % 2 == 0 {
                pump.kill();
                pump.restart()?;
            } else {
                ward.worker.kill();
                ward.worker.restart()?;
            }
        }
        for id in &given {
            let ended = wait::until("the order has come to its end", || {
                let order = find(&ward.administrator, "ip-1", *id)?;
                Ok((!matches!(order.state, OrderState::Waiting | OrderState::Delivered)).then_some(order))
            })?;
            // A pump that dies while it carries an order out does not carry it out again, and says so.
            let fits = ended.state == OrderState::Done || ended.refusal == Some(OrderRefusal::Interrupted);
            ensure!(fits, "{ended:?}");
        }
        pump.wait_until("the connection", |event| is(event, "sent") && event["channel"] == "telemetry")?;
        for id in given {
            ensure!(taken(&pump, id) <= 1, "{id} was taken {} times", taken(&pump, id));
        }
        Ok(())
    })
}

#[test]
fn after_its_end_an_order_is_not_carried_out() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut pump = ward.paired_pump("ip-1")?;
        pump.wait_until("a measurement", |event| is(event, "sent") && event["channel"] == "telemetry")?;
        pump.kill();
        let late = give(&ward.administrator, "ip-1", show("too late"), 1)?;
        // Nobody has heard of it in time, as far as the control unit knows.
        let expired = wait_for(&ward.administrator, "ip-1", late.id, OrderState::Expired)?;
        ensure!(expired.ended_at.is_some_and(|at| at >= late.expires_at), "{expired:?}");
        pump.restart()?;
        let event = pump.wait_for("order-settled")?;
        assert_eq!((&event["order"], &event["result"]), (&late.id.to_string().into(), &"expired".into()));
        assert_eq!(taken(&pump, late.id), 0);
        assert_eq!(find(&ward.administrator, "ip-1", late.id)?.state, OrderState::Expired);
        Ok(())
    })
}

#[test]
fn a_service_gives_orders_where_it_is_granted_and_learns_how_they_went() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let pump = ward.paired_pump("ip-1")?;
        let desk = made(&ward, "desk", true)?;
        let sent = send(scene, &ward, "desk", Some(&desk.enrolment), &["infusion-pump/ip-1", "message", "Call 2104"])?;
        assert_eq!(sent.status.code(), Some(0), "{}", said(&sent));
        ensure!(
            said(&sent).contains(r#""event":"outcome""#) && said(&sent).contains(r#""result":"done""#),
            "{}",
            said(&sent)
        );
        let listed = orders(&ward.nurse, "ip-1")?;
        let [order] = listed.as_slice() else { return Err(anyhow!("one order: {listed:?}")) };
        assert_eq!((order.given_by.as_str(), order.by_service), ("desk", true));
        // The service may hear of the outcome before the control unit does.
        wait_for(&ward.nurse, "ip-1", order.id, OrderState::Done)?;
        // The next one uses the enrolment that is stored.
        let sent = send(scene, &ward, "desk", None, &["infusion-pump/ip-1", "interval", "3"])?;
        assert_eq!(sent.status.code(), Some(0), "{}", said(&sent));
        // Beyond its grant, to nobody, and what is no order.
        for (arguments, code) in [
            (&["--channel", "alarm", "infusion-pump/ip-1", "report"][..], 3),
            (&["scale/s-1", "report"], 3),
            (&["infusion-pump/ip-9", "report"], 3),
            (&["infusion-pump/ip-1", "interval", "0"], 1),
            (&["infusion-pump/ip-1", "dance"], 2),
        ] {
            let refused = send(scene, &ward, "desk", None, arguments)?;
            assert_eq!(refused.status.code(), Some(code), "{arguments:?}: {}", said(&refused));
        }
        // One that may not read the channel sends, and learns nothing.
        let blind = made(&ward, "blind", false)?;
        let sent = send(scene, &ward, "blind", Some(&blind.enrolment), &["infusion-pump/ip-1", "report"])?;
        assert_eq!(sent.status.code(), Some(0), "{}", said(&sent));
        ensure!(said(&sent).contains("learns no outcome"), "{}", said(&sent));
        wait::until("the blind one's order is done", || {
            let orders = orders(&ward.nurse, "ip-1")?;
            let done = |order: &&OrderView| order.given_by == "blind" && order.state == OrderState::Done;
            Ok(orders.iter().find(done).map(drop))
        })?;
        // A pump that does not listen: no outcome in time.
        let mut away = ward.paired_pump("ip-2")?;
        away.kill();
        let silent = send(scene, &ward, "desk", None, &["--timeout", "1", "infusion-pump/ip-2", "report"])?;
        assert_eq!(silent.status.code(), Some(1), "{}", said(&silent));
        // One without the right to send is refused by the bridge, whatever it makes.
        let monitor = service::make(&ward.administrator, "monitor", &["command"])?;
        let mut listening = Service::start(scene, &ward.worker.origin(), "monitor", &monitor.enrolment)?;
        listening.wait_for("connected")?;
        listening.stop()?;
        let stolen = listening.steal()?;
        let (topic, message) = stolen.say("command", "ip-1", b"forged")?;
        let mut mqtt =
            Mqtt::connect(&ward.worker.broker(), &stolen.credentials(), "own")?.map_err(|no| anyhow!("{no:?}"))?;
        ensure!(mqtt.publish(&topic, &message)?.is_refusal(), "it wrote without the right");
        let log: serde_json::Value = ward.administrator.get("audit?act=order-given")?;
        ensure!(log.to_string().contains("service/desk"), "{log}");
        drop(pump);
        Ok(())
    })
}

#[test]
fn a_revoked_services_order_that_waits_is_not_carried_out() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut pump = ward.paired_pump("ip-1")?;
        pump.wait_until("a measurement", |event| is(event, "sent") && event["channel"] == "telemetry")?;
        wait::until("the pump listens", || {
            let given = give(&ward.administrator, "ip-1", Task::ReportNow, LIFETIME)?;
            wait_for(&ward.administrator, "ip-1", given.id, OrderState::Done).map(Some)
        })?;
        pump.kill();
        let desk = made(&ward, "desk", true)?;
        let arguments = ["infusion-pump/ip-1", "message", "from the dead"];
        let mut command = sending(scene, &ward, "desk", Some(&desk.enrolment), &arguments)?;
        let mut waiting = Process::spawn(scene, "desk", &mut command)?;
        let order = wait::until("the order is seen", || {
            Ok(orders(&ward.nurse, "ip-1")?.into_iter().find(|order| order.by_service))
        })?;
        assert_eq!(order.state, OrderState::Waiting);
        waiting.require_running().context("it waits for the pump")?;
        waiting.kill();
        assert_eq!(service::revoke(&ward.administrator, "desk")?.state, ServiceState::Revoked);
        // Afterwards one of a person, which is carried out: the pump has dealt with what waited.
        let after = give(&ward.administrator, "ip-1", show("alive"), LIFETIME)?;
        pump.restart()?;
        wait_for(&ward.administrator, "ip-1", after.id, OrderState::Done)?;
        pump.wait_until("settled", |event| is(event, "order-settled") && event["order"] == after.id.to_string())?;
        assert_eq!(taken(&pump, order.id), 0, "{:?}", pump.seen());
        assert_eq!(find(&ward.nurse, "ip-1", order.id)?.state, OrderState::Waiting);
        let late = send(scene, &ward, "desk", None, &["infusion-pump/ip-1", "report"])?;
        assert_eq!(late.status.code(), Some(3), "{}", said(&late));
        Ok(())
    })
}

#[test]
fn orders_of_services_displace_none_of_people_and_are_held_to_the_same_limits() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut pump = ward.paired_pump("ip-1")?;
        let listens = give(&ward.administrator, "ip-1", Task::ReportNow, LIFETIME)?;
        wait_for(&ward.administrator, "ip-1", listens.id, OrderState::Done)?;
        pump.kill();
        let desk = made(&ward, "desk", true)?;
        let mut enrolled = Service::start(scene, &ward.worker.origin(), "desk", &desk.enrolment)?;
        enrolled.wait_for("connected")?;
        enrolled.stop()?;
        let stolen = enrolled.steal()?;
        let mut mqtt =
            Mqtt::connect(&ward.worker.broker(), &stolen.credentials(), "own")?.map_err(|no| anyhow!("{no:?}"))?;
        let now = ward.administrator.device(&device("ip-1")?)?.last_seen.context("the pump was heard")?;
        let order = |task| -> Result<Order> {
            Ok(Order { id: new_id()?, given_at: now, expires_at: UnixMillis(now.0 + 600_000), task })
        };
        let mut boot = 0;
        let mut publish = |order: &Order| {
            boot += 1;
            let (topic, message) = stolen.say_in("command", "ip-1", &cbor::encode(order)?, boot)?;
            ensure!(!mqtt.publish(&topic, &message)?.is_refusal(), "it may send");
            Ok(())
        };
        // What a person could not give, a service cannot either.
        let given_at = UnixMillis(now.0 + 48 * 3_600_000);
        let far = Order { given_at, expires_at: UnixMillis(given_at.0 + 1), ..order(Task::ReportNow)? };
        let late =
            Order { given_at: UnixMillis(now.0 - 2), expires_at: UnixMillis(now.0 - 1), ..order(Task::ReportNow)? };
        let refused = [order(show(""))?, order(show("a\nb"))?, order(Task::SetInterval { seconds: 0 })?, far, late];
        refused.iter().try_for_each(&mut publish)?;
        let before = give(&ward.administrator, "ip-1", show("before"), LIFETIME)?;
        for index in 0..MAX_WAITING_ORDERS {
            publish(&order(show(&format!("{index}")))?)?;
        }
        let unkept = order(show("one more"))?;
        publish(&unkept)?;
        let about_unkept = |act: &str, outcome| -> Result<Option<()>> {
            let page: AuditPage = ward.administrator.get(&format!("audit?act={act}"))?;
            let fits = |entry: &AuditEntry| entry.detail.contains(&unkept.id.to_string()) && entry.outcome == outcome;
            Ok(page.entries.iter().any(fits).then_some(()))
        };
        wait::until("every order is noted", || about_unkept("order-given", AuditOutcome::Begun))?;
        let page: AuditPage = ward.administrator.get("audit?act=order-given")?;
        let is_refused = |entry: &&AuditEntry| entry.outcome == AuditOutcome::Refused;
        assert_eq!(page.entries.iter().filter(is_refused).count(), refused.len());
        let listed = orders(&ward.nurse, "ip-1")?;
        let of_service = listed.iter().filter(|order| order.by_service);
        ensure!(of_service.clone().all(|order| order.state == OrderState::Waiting), "{listed:?}");
        assert_eq!(of_service.count(), MAX_WAITING_ORDERS);
        // People go on, and theirs are carried out.
        let after = give(&ward.administrator, "ip-1", show("after"), LIFETIME)?;
        assert_eq!(find(&ward.administrator, "ip-1", before.id)?.state, OrderState::Waiting);
        pump.restart()?;
        for order in [before, after] {
            wait_for(&ward.administrator, "ip-1", order.id, OrderState::Done)?;
        }
        // The one that is not kept was let pass by the bridge: that it was carried out stands in the log.
        wait::until("its end is noted", || about_unkept("order-ended", AuditOutcome::Done))
    })
}

#[test]
fn what_is_replayed_or_forged_is_refused_and_reported() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut pump = ward.paired_pump("ip-1")?;
        pump.wait_until("a measurement", |event| is(event, "sent") && event["channel"] == "telemetry")?;
        let desk = made(&ward, "desk", true)?;
        let mut enrolled = Service::start(scene, &ward.worker.origin(), "desk", &desk.enrolment)?;
        enrolled.wait_for("connected")?;
        enrolled.stop()?;
        let stolen = enrolled.steal()?;
        let mut mqtt =
            Mqtt::connect(&ward.worker.broker(), &stolen.credentials(), "own")?.map_err(|no| anyhow!("{no:?}"))?;
        let now = ward.administrator.device(&device("ip-1")?)?.last_seen.context("the pump was heard")?;
        let expires_at = UnixMillis(now.0 + 600_000);
        let order = Order { id: new_id()?, given_at: now, expires_at, task: show("once") };
        let (topic, message) = stolen.say("command", "ip-1", &cbor::encode(&order)?)?;
        assert_eq!(topic, CONTROL);
        ensure!(!mqtt.publish(&topic, &message)?.is_refusal(), "it may send");
        pump.wait_until("taken", |event| is(event, "order-taken") && event["order"] == order.id.to_string())?;
        wait_for(&ward.nurse, "ip-1", order.id, OrderState::Done)?;

        // The same bytes again; changed; meant for another pump; junk; what opens and is no order.
        let _other = ward.paired_pump("ip-2")?;
        let mut changed = message.clone();
        changed.last_mut().map(|byte| *byte ^= 1).context("the message has bytes")?;
        let (_, elsewhere) = stolen.say("command", "ip-2", &cbor::encode(&order)?)?;
        let (_, no_order) = stolen.say_in("command", "ip-1", b"junk", 2)?;
        for (payload, reason) in [
            (&message, "replayed"),
            (&elsewhere, "unknown_key"),
            (&b"junk".to_vec(), "altered"),
            (&no_order, "no_order"),
            (&changed, "earlier_run"),
        ] {
            ensure!(!mqtt.publish(&topic, payload)?.is_refusal(), "it may send");
            let refused = pump.wait_for("message-refused")?;
            assert_eq!((&refused["reason"], &refused["channel"]), (&reason.into(), &"command".into()));
        }
        assert_eq!(taken(&pump, order.id), 1);
        wait::until("the site is told of each", || {
            let log: serde_json::Value = ward.administrator.get("audit?act=message-refused")?;
            Ok((log["entries"].as_array().map(Vec::len) == Some(5)).then_some(()))
        })?;
        // What a thief of the pump itself holds opens nothing upwards: nobody listens to its own orders.
        pump.kill();
        let (certificate, _) = steal(&pump, &device("ip-1")?)?;
        let mut thief = Mqtt::connect(&ward.worker.broker(), &certificate, "own")?.map_err(|no| anyhow!("{no:?}"))?;
        ensure!(thief.publish(&topic, &message)?.is_refusal(), "a pump gave orders");
        ensure!(thief.subscribe("ais/ctl/command/infusion-pump/ip-2")?.is_refusal(), "it reads another's orders");
        Ok(())
    })
}
