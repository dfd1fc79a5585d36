//! Server applications: enrolled once, given what they are granted and no more, and out at once.

use anyhow::{Context as _, Result, anyhow, ensure};
use wardlink_protocol::api::{MadeService, NewService, ProblemKind, Role, ServiceState, ServiceView};
use wardlink_protocol::report::{Alarm, AlarmKind, AlarmPriority, Content};
use wardlink_protocol::service::{EnrolmentTicket, ServiceAccess};
use wardlink_tests::api::refusal;
use wardlink_tests::impostor::{open, report, steal};
use wardlink_tests::mqtt::Mqtt;
use wardlink_tests::pump::is;
use wardlink_tests::service::{self, Service, StolenService, of_pumps, post};
use wardlink_tests::ward::{Ward, device};
use wardlink_tests::worker::Worker;
use wardlink_tests::{Scene, scene, wait};

const ALARM: Alarm = Alarm { kind: AlarmKind::AirInLine, priority: AlarmPriority::High, active: true };

/// Makes a service and starts it; returns when it reads what it was granted.
fn started<'s>(scene: &'s Scene, ward: &Ward<'_>, name: &str, reads: &[&str]) -> Result<Service<'s>> {
    let made = service::make(&ward.administrator, name, reads)?;
    assert_eq!(made.service.state, ServiceState::Waiting);
    let mut service = Service::start(scene, &ward.worker.origin(), name, &made.enrolment)?;
    service.wait_for("enrolled")?;
    for _ in 0..=reads.len() {
        service.wait_for("subscribed")?;
    }
    Ok(service)
}

fn connect(ward: &Ward<'_>, service: &Service<'_>) -> Result<Mqtt> {
    let credentials = service.steal()?.credentials();
    Mqtt::connect(&ward.worker.broker(), &credentials, "own")?.map_err(|answer| anyhow!("not connected: {answer:?}"))
}

fn state(ward: &Ward<'_>, name: &str) -> Result<ServiceState> {
    let all: Vec<ServiceView> = ward.administrator.get("services")?;
    let found = all.into_iter().find(|service| service.name.as_str() == name).context("the service is listed")?;
    Ok(found.state)
}

#[test]
fn a_service_reads_what_it_is_granted_and_gets_neither_topic_nor_key_of_anything_else() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut service = started(scene, &ward, "ward-monitor", &["alarm", "therapy"])?;
        assert_eq!(state(&ward, "ward-monitor")?, ServiceState::Active);
        let mut pump = ward.paired_pump("ip-1")?;
        let therapy = service.wait_for_message("therapy", "ip-1")?;
        assert_eq!(
            (&therapy["report"]["content"]["therapy"]["event"], &therapy["signed"]),
            (&"started".into(), &true.into())
        );
        pump.wait_until("telemetry", |event| is(event, "sent") && event["channel"] == "telemetry")?;

        // An alarm, as this pump alone can make it.
        pump.kill();
        let pump_device = device("ip-1")?;
        let (topic, payload) = report(&pump, &pump_device, "alarm", Content::Alarm(ALARM))?;
        let (certificate, _) = steal(&pump, &pump_device)?;
        let mut mqtt = Mqtt::connect(&ward.worker.broker(), &certificate, "own")?.map_err(|no| anyhow!("{no:?}"))?;
        ensure!(!mqtt.publish(&topic, &payload)?.is_refusal(), "the alarm is refused");
        let alarm = service.wait_for_message("alarm", "ip-1")?;
        assert_eq!(alarm["report"]["content"]["alarm"]["kind"], "air_in_line");

        // The same once more, under another topic, another one that was changed: refused, each with its reason.
        let (_, mut changed) = report(&pump, &pump_device, "alarm", Content::Alarm(ALARM))?;
        changed.last_mut().map(|byte| *byte ^= 1).context("the message has bytes")?;
        let elsewhere = topic.replace("alarm", "therapy");
        for (topic, payload, reason) in [
            (&topic, &payload, "the message has been received before"),
            (&elsewhere, &payload, "the message is under an unknown network key"),
            (&topic, &changed, "the message does not open"),
        ] {
            mqtt.publish(topic, payload)?;
            let refused = service.wait_for("refused")?;
            ensure!(refused["reason"].as_str().is_some_and(|said| said.starts_with(reason)), "{refused}");
        }
        ensure!(service.seen().iter().all(|event| event["channel"] != "telemetry"), "telemetry is not granted");

        service.stop()?;
        let stolen = service.steal()?;
        ensure!(stolen.ask("alarm", "ip-1")?.is_ok(), "the service gets its keys");
        for (channel, pump) in [("telemetry", "ip-1"), ("command", "ip-1"), ("log", "ip-1")] {
            assert_eq!(stolen.ask(channel, pump)?.err(), Some(403), "{channel}");
        }
        let mut own = connect(&ward, &service)?;
        for filter in ["ais/data/telemetry/infusion-pump/+", "ais/infusion-pump/ip-1", "ais/data/#", "#"] {
            ensure!(own.subscribe(filter)?.is_refusal(), "{filter}");
        }
        ensure!(own.publish(&topic, &payload)?.is_refusal(), "it wrote in the pump's name");
        ensure!(own.publish("ais/ctl/alarm/infusion-pump/ip-1", b"x")?.is_refusal(), "it wrote without the right");
        Ok(())
    })
}

#[test]
fn a_revoked_service_is_cut_off_and_reads_nothing_of_what_follows() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let pump = ward.paired_pump("ip-1")?;
        let mut service = started(scene, &ward, "ward-monitor", &["therapy", "telemetry", "command"])?;
        let mut other = started(scene, &ward, "archive", &["telemetry"])?;
        service.wait_for_message("telemetry", "ip-1")?;
        other.wait_for_message("telemetry", "ip-1")?;
        service.kill();
        let stolen = service.steal()?;
        let knew = stolen.ask("telemetry", "ip-1")?.map_err(|status| anyhow!("{status}"))?;
        let knew_of_one = stolen.ask("command", "ip-1")?.map_err(|status| anyhow!("{status}"))?;
        let mut session = connect(&ward, &service)?;
        ensure!(!session.subscribe("ais/data/telemetry/infusion-pump/+")?.is_refusal(), "it reads");

        let revoked = service::revoke(&ward.administrator, "ward-monitor")?;
        assert_eq!((revoked.state, revoked.revoked_by.as_deref()), (ServiceState::Revoked, Some("ada")));
        session.wait_for_end()?;
        let again = Mqtt::connect(&ward.worker.broker(), &stolen.credentials(), "again")?;
        ensure!(again.err().is_some_and(wardlink_tests::mqtt::Answer::is_refusal), "it was let in again");
        assert_eq!(stolen.ask("telemetry", "ip-1")?.err(), Some(403), "it still gets keys");
        service.restart()?;
        service.wait_for_end()?;
        ensure!(service.log()?.contains("does not let this service in any more"), "{}", service.log()?);
        ward.worker.wait_for_line("service/ward-monitor is revoked and tries to come back")?;

        // The pump is given new keys, those of its own, too; what it sends under them the other service reads.
        for channel in ["therapy", "telemetry", "command"] {
            ward.worker.wait_for_line(&format!("ip-1 has epoch 2 of {channel}"))?;
        }
        let archive = {
            other.wait_for_message("telemetry", "ip-1")?;
            other.stop()?;
            other.steal()?
        };
        let news = archive.ask("telemetry", "ip-1")?.map_err(|status| anyhow!("{status}"))?;
        let current = |keys: &wardlink_trust::services::ServiceKeys| {
            keys.lines.iter().find_map(|line| line.current().map(|key| (key.kid, key.epoch))).context("a key")
        };
        ensure!(current(&news)?.0 != current(&knew)?.0, "the key that it knew is still in use");
        assert_eq!((current(&knew)?.1, current(&news)?.1, current(&knew_of_one)?.1), (1, 2, 1));
        // What was stamped after the cut under the key that it knew counts for nobody.
        let cut = revoked.revoked_at.context("it is revoked")?;
        let old = current(&knew)?.0;
        let line = news.lines.first().context("a line")?;
        ensure!(line.admit(old.as_bytes(), cut, true, cut.after(wait::LIMIT)).is_err(), "the old key still counts");
        drop(pump);
        Ok(())
    })
}

#[test]
fn a_service_that_was_away_gets_what_it_missed_under_new_keys_and_from_new_devices() -> Result<()> {
    scene(|scene| {
        let mut ward = Ward::open(scene)?;
        let mut service = started(scene, &ward, "ward-monitor", &["therapy", "telemetry"])?;
        let mut pump = ward.paired_pump("ip-1")?;
        service.wait_for_message("therapy", "ip-1")?;
        service.kill();
        // While it is away: a new epoch, and a pump that it does not know.
        let _: serde_json::Value = ward.administrator.post("channels/therapy/rotate", &())?;
        ward.worker.wait_for_line("ip-1 has epoch 2 of therapy")?;
        let second = ward.paired_pump("ip-2")?;
        wait::until("the second pump is heard", || {
            let latest = ward.nurse.device(&device("ip-2")?)?.latest;
            Ok(latest.iter().any(|data| data.channel.as_str() == "therapy").then_some(()))
        })?;
        service.restart()?;
        let missed = service.wait_for_message("therapy", "ip-2")?;
        assert_eq!(missed["report"]["content"]["therapy"]["event"], "started", "kept by the bridge meanwhile");
        // The worker goes down and comes back: so does the service, by itself. It may be asking for keys just then, and says what
        // happened once it has them.
        ward.worker.kill();
        ward.worker.restart()?;
        service.wait_for("disconnected")?;
        service.wait_for("connected")?;
        service.wait_for_message("telemetry", "ip-2")?;
        // A revoked pump is not heard any more, and the others are, under new keys.
        pump.kill();
        ward.administrator.revoke(&[device("ip-1")?])?;
        ward.worker.wait_for_line("ip-2 has epoch 3 of therapy")?;
        service.wait_for_message("telemetry", "ip-2")?;
        drop(second);
        Ok(())
    })
}

#[test]
fn what_nobody_read_comes_again() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut service = started(scene, &ward, "ward-monitor", &["alarm"])?;
        let mut pump = ward.paired_pump("ip-1")?;
        pump.kill();
        service.stop()?;
        let pump_device = device("ip-1")?;
        let (topic, payload) = report(&pump, &pump_device, "alarm", Content::Alarm(ALARM))?;
        let (certificate, _) = steal(&pump, &pump_device)?;
        let mut mqtt = Mqtt::connect(&ward.worker.broker(), &certificate, "own")?.map_err(|no| anyhow!("{no:?}"))?;
        ensure!(!mqtt.publish(&topic, &payload)?.is_refusal(), "the alarm is refused");

        let mut unread = service.start_unread()?;
        let status = wait::until("the service notices", || Ok(unread.try_wait()?))?;
        assert_eq!(status.code(), Some(1));
        service.restart()?;
        let alarm = service.wait_for_message("alarm", "ip-1")?;
        assert_eq!(
            (&alarm["report"]["content"]["alarm"]["kind"], &alarm["missing"]),
            (&"air_in_line".into(), &0.into())
        );
        Ok(())
    })
}

#[test]
fn a_service_writes_to_the_devices_of_its_grant_under_their_own_keys() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut pump = ward.paired_pump("ip-1")?;
        let _other = ward.paired_pump("ip-2")?;
        let access = ServiceAccess { writes: [of_pumps("command")?].into(), ..ServiceAccess::default() };
        let new = NewService { name: "desk".parse()?, access };
        let made: MadeService = ward.administrator.post("services", &new)?;
        let mut service = Service::start(scene, &ward.worker.origin(), "desk", &made.enrolment)?;
        service.wait_for("connected")?;
        service.stop()?;
        let (stolen, mut writing) = (service.steal()?, connect(&ward, &service)?);

        pump.kill();
        let pump_device = device("ip-1")?;
        let (certificate, _) = steal(&pump, &pump_device)?;
        let mut listening =
            Mqtt::connect(&ward.worker.broker(), &certificate, "own")?.map_err(|no| anyhow!("{no:?}"))?;
        ensure!(!listening.subscribe("ais/ctl/command/infusion-pump/ip-1")?.is_refusal(), "the pump listens");
        // What is meant for the other pump is under the other pump's key, and goes to it alone.
        let (elsewhere, foreign) = stolen.say("command", "ip-2", b"for another")?;
        ensure!(!writing.publish(&elsewhere, &foreign)?.is_refusal(), "it may write to every pump");
        let (topic, payload) = stolen.say("command", "ip-1", b"for this one")?;
        ensure!(!writing.publish(&topic, &payload)?.is_refusal(), "it may write");
        let (arrived_on, arrived) = listening.next_message()?.context("the message arrives")?;
        assert_eq!((&arrived_on, &arrived), (&topic, &payload));
        assert_eq!(open(&pump, &pump_device, &topic, &stolen.key(), &arrived)?, b"for this one");
        ensure!(open(&pump, &pump_device, &elsewhere, &stolen.key(), &foreign).is_err(), "the other pump's key");
        for foreign in
            ["ais/ctl/alarm/infusion-pump/ip-1", "ais/data/command/infusion-pump/ip-1", "ais/infusion-pump/ip-1"]
        {
            ensure!(writing.publish(foreign, b"x")?.is_refusal(), "{foreign}");
        }
        ensure!(writing.subscribe("ais/data/command/infusion-pump/+")?.is_refusal(), "it reads without the right");
        Ok(())
    })
}

#[test]
fn a_service_renews_its_certificate_before_and_after_its_end_and_not_once_it_is_revoked() -> Result<()> {
    scene(|scene| {
        let worker = Worker::start_with(scene, &[("SERVICE_CERTIFICATE_SECS", "20")])?;
        let ward = Ward::around(scene, worker)?;
        let _pump = ward.paired_pump("ip-1")?;
        let mut service = started(scene, &ward, "ward-monitor", &["telemetry"])?;
        let view = |ward: &Ward<'_>| -> Result<ServiceView> {
            let all: Vec<ServiceView> = ward.administrator.get("services")?;
            all.into_iter().next().context("the service is listed")
        };
        let enrolled = service.seen().iter().find(|event| is(event, "enrolled")).context("it has told so")?;
        let first = enrolled["certificate"].clone();
        // While it listens: it goes on with the new one.
        let renewed = service.wait_for("renewed")?;
        ensure!(renewed["certificate"] != first, "the same certificate");
        wait::until("the new certificate is in use", || {
            let used = view(&ward)?.certificate.context("a certificate")?;
            Ok((renewed["certificate"] == used.to_string()).then_some(()))
        })?;
        service.wait_for_message("telemetry", "ip-1")?;
        // After the end, with the static key.
        service.kill();
        let ended = wait::until("its certificate has ended", || {
            Ok(Some(view(&ward)?).filter(|view| view.state == ServiceState::Expired))
        })?;
        service.restart()?;
        service.wait_for("renewed")?;
        service.wait_for_message("telemetry", "ip-1")?;
        let third = view(&ward)?;
        assert_eq!(third.state, ServiceState::Active);
        ensure!(third.certificate != ended.certificate, "the same certificate");
        let log: serde_json::Value = ward.administrator.get("audit?act=certificate-renewed&find=ward-monitor")?;
        ensure!(log["entries"].as_array().is_some_and(|entries| entries.len() >= 2), "{log}");
        // Not once it is revoked, before the end or after it.
        service.kill();
        service::revoke(&ward.administrator, "ward-monitor")?;
        let stolen = service.steal()?;
        assert_eq!(post(&ward.worker.origin(), "renew", &stolen.renewal()?)?.err(), Some(403));
        service.restart()?;
        service.wait_for_end()?;
        ensure!(service.log()?.contains("does not let this service in any more"), "{}", service.log()?);
        for junk in [&b""[..], b"junk", &[0xd2; 300]] {
            let status = post(&ward.worker.origin(), "renew", junk)?.err();
            ensure!(matches!(status, Some(400 | 403)), "{status:?}");
        }
        Ok(())
    })
}

#[test]
fn a_quiet_service_renews_again_and_again_and_an_answer_counts_until_it_was_used() -> Result<()> {
    scene(|scene| {
        let worker = Worker::start_with(scene, &[("SERVICE_CERTIFICATE_SECS", "20")])?;
        let ward = Ward::around(scene, worker)?;
        let site = ward.worker.origin();
        let made = service::make(&ward.administrator, "archive", &["telemetry"])?;
        let mut quiet = StolenService::enrol(&site, &made.enrolment.parse()?)?;
        // As soon as its time has come.
        let renewed = |request: &[u8]| wait::until("a new certificate", || Ok(post(&site, "renew", request)?.ok()));
        let mut begun = Vec::new();
        for _ in 0..3 {
            let asked = quiet.begin_renewal()?;
            let answer = renewed(asked.request())?;
            assert_eq!(post(&site, "renew", asked.request())?, Ok(answer.clone()), "the same for one who lost it");
            quiet.finish_renewal(&asked, &answer)?;
            begun.push(asked);
        }
        // Those that it has used are gone; the last one, which the site has not seen in use, is given again.
        let [first, second, last] = begun.as_slice() else { return Err(anyhow!("three renewals")) };
        for used in [first, second] {
            assert_eq!(post(&site, "renew", used.request())?.err(), Some(403));
        }
        // One who lost it for longer is given one that lasts.
        let before = post(&site, "renew", last.request())?.map_err(|status| anyhow!("{status}"))?;
        let later = wait::until("another answer", || {
            Ok(post(&site, "renew", last.request())?.ok().filter(|answer| *answer != before))
        })?;
        quiet.finish_renewal(last, &later)?;
        assert_eq!(state(&ward, "archive")?, ServiceState::Active);
        let log: serde_json::Value = ward.administrator.get("audit?act=certificate-renewed&find=archive")?;
        assert_eq!(log["entries"].as_array().map(Vec::len), Some(2), "{log}");
        Ok(())
    })
}

#[test]
fn an_enrolment_text_counts_once_and_only_as_it_is() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let site = ward.worker.origin();
        let made = service::make(&ward.administrator, "ward-monitor", &["alarm"])?;
        let mut first = Service::start(scene, &site, "first", &made.enrolment)?;
        first.wait_for("enrolled")?;
        first.wait_for("connected")?;
        let mut second = Service::start(scene, &site, "second", &made.enrolment)?;
        second.wait_for_end()?;
        ensure!(second.log()?.contains("was used"), "{}", second.log()?);
        let taken = refusal(service::make(&ward.administrator, "ward-monitor", &["alarm"]))?;
        assert_eq!(taken, ProblemKind::NameTaken);

        // Another secret: refused in the same words, and five of them end the enrolment.
        let other = service::make(&ward.administrator, "archive", &["alarm"])?;
        let mut ticket: EnrolmentTicket = other.enrolment.parse()?;
        ticket.secret[0] ^= 1;
        for attempt in 0..5 {
            assert_eq!(state(&ward, "archive")?, ServiceState::Waiting, "attempt {attempt}");
            let mut wrong = Service::start(scene, &site, &format!("wrong-{attempt}"), &ticket.to_text()?)?;
            wrong.wait_for_end()?;
            ensure!(wrong.log()?.contains("was used"), "{}", wrong.log()?);
        }
        assert_eq!(state(&ward, "archive")?, ServiceState::Lapsed);
        let mut late = Service::start(scene, &site, "late", &other.enrolment)?;
        late.wait_for_end()?;
        ensure!(late.log()?.contains("was used"), "{}", late.log()?);
        // A text of another site: the control unit's answer is not believed.
        let mut foreign: EnrolmentTicket =
            service::make(&ward.administrator, "archive", &["alarm"])?.enrolment.parse()?;
        foreign.root.0[0] ^= 1;
        let mut astray = Service::start(scene, &site, "astray", &foreign.to_text()?)?;
        astray.wait_for_end()?;
        ensure!(astray.log()?.contains("the service cannot be enrolled"), "{}", astray.log()?);

        // The same request again gets the same answer, for a service that lost it; another one finds the text used.
        let ticket: EnrolmentTicket = service::make(&ward.administrator, "journal", &["alarm"])?.enrolment.parse()?;
        let key = service::new_key();
        let (asked, other) = (service::request(&ticket, &key)?, service::request(&ticket, &key)?);
        let answered = post(&site, "enrol", &asked)?;
        ensure!(answered.is_ok() && answered == post(&site, "enrol", &asked)?, "another answer");
        assert_eq!(post(&site, "enrol", &other)?.err(), Some(403));
        assert_eq!(post(&site, "enrol", asked.get(1..).context("bytes")?)?.err(), Some(403));
        assert_eq!(state(&ward, "journal")?, ServiceState::Active);
        // Nobody becomes another service with the same key.
        let third: EnrolmentTicket = service::make(&ward.administrator, "third", &["alarm"])?.enrolment.parse()?;
        assert_eq!(post(&site, "enrol", &service::request(&third, &key)?)?.err(), Some(403));
        assert_eq!(state(&ward, "third")?, ServiceState::Waiting);

        let long = vec![0; 20_000];
        for junk in [&b""[..], b"junk", &[0xd0; 300], &long] {
            let status = post(&site, "enrol", junk)?.err();
            ensure!(matches!(status, Some(400 | 403)), "{status:?}");
            let status = post(&site, "keys", junk)?.err();
            ensure!(matches!(status, Some(400 | 403)), "{status:?}");
        }
        Ok(())
    })
}

#[test]
fn only_an_administrator_makes_lists_and_revokes_services() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        service::make(&ward.administrator, "ward-monitor", &["alarm"])?;
        for (name, role) in [("emil", Role::BiomedicalEngineer), ("aude", Role::Auditor), ("nora", Role::Nurse)] {
            let (_, api) = ward.administrator.add_person(name, role)?;
            assert_eq!(refusal(api.get::<Vec<ServiceView>>("services"))?, ProblemKind::Forbidden);
            assert_eq!(refusal(service::make(&api, "other", &["alarm"]))?, ProblemKind::Forbidden);
            assert_eq!(refusal(service::revoke(&api, "ward-monitor"))?, ProblemKind::Forbidden);
        }
        let administrator = &ward.administrator;
        assert_eq!(refusal(service::make(administrator, "other", &[]))?, ProblemKind::BadRequest, "nothing");
        assert_eq!(refusal(service::make(administrator, "other", &["nothing"]))?, ProblemKind::BadRequest);
        let writes = [of_pumps("command")?].into();
        let new = NewService { name: "sender".parse()?, access: ServiceAccess { writes, ..ServiceAccess::default() } };
        let made: MadeService = administrator.post("services", &new)?;
        assert_eq!(made.service.access, new.access);
        // One that was never enrolled is revoked, too, and its name is free again.
        assert_eq!(service::revoke(administrator, "sender")?.state, ServiceState::Revoked);
        assert_eq!(refusal(service::revoke(administrator, "sender"))?, ProblemKind::WrongState);
        assert_eq!(refusal(service::revoke(administrator, "nobody"))?, ProblemKind::NotFound);
        assert_eq!(service::make(administrator, "sender", &["alarm"])?.service.state, ServiceState::Waiting);
        let log: serde_json::Value = administrator.get("audit?act=service-made")?;
        assert_eq!(log["entries"].as_array().map(Vec::len), Some(3), "{log}");
        Ok(())
    })
}
