//! The distribution server and those who report to it: sessions, the catalog, directives, outcomes, polls.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use wardlink_agent::clock;
use wardlink_protocol::Device;
use wardlink_protocol::api::{
    AllowUpload, Associate, CatalogDevice, CatalogPage, GatewayView, Held, InventoryPreview, OfferScope, OfferStanding,
    OfferView, OutcomeView, ProblemKind, Pushed, ReleaseView, Role, UpdateState,
};
use wardlink_protocol::distribution::{AssociatedDevice, FromServer, PollTicket};
use wardlink_protocol::limits::POLL_TICKET_BYTES;
use wardlink_tests::api::refusal;
use wardlink_tests::hub::{Hub, state};
use wardlink_tests::manufacturer::Manufacturer;
use wardlink_tests::stage::{Stage, installed};
use wardlink_tests::ward::{Ward, device};
use wardlink_tests::worker::Worker;
use wardlink_tests::{scene, wait};
use wardlink_update::director::When;
use wardlink_update::report::Reported;
use wardlink_update::uptane::{Outcome, Postponed};

#[test]
fn a_report_is_answered_by_a_directive_that_verifies_and_an_outcome_by_the_next() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let mut hub = stage.hub("pump-1")?;
        let mut talk = hub.connect()?;
        assert_eq!((talk.welcome.directive, talk.welcome.reported), (0, 0));
        assert_eq!(
            talk.welcome.manufacturers.iter().map(|known| known.manufacturer.as_str()).collect::<Vec<_>>(),
            ["acme"]
        );

        // Nothing is offered yet: the directive says that there is nothing to do.
        assert_eq!(talk.report(hub.report("1A", None, &[])?)?, None);
        let first = talk.directive()?;
        let directed = hub.directive(&talk.welcome)?;
        assert_eq!((directed.version, directed.orders.len(), &directed.gateway), (first, 0, &hub.device));

        // An offer is pushed to the open session.
        let offer = stage.offer("1B", OfferScope::Model)?;
        let second = talk.directive()?;
        ensure!(second > first, "versions rise");
        let directed = hub.directive(&talk.welcome)?;
        let (order, assignment) = directed.order_for(&hub.device).context("an order")?;
        assert_eq!((order.path.as_str(), assignment.when), (offer.path.as_str(), When::NextSafeMoment));
        assert_eq!(stage.standing(&hub.device)?, UpdateState::Directed);

        // It is installed: the catalog knows, and there is nothing more to do.
        assert_eq!(talk.outcome(&hub.device, second, &offer.path, installed("1B", 1)?)?, None);
        talk.directive()?;
        ensure!(hub.directive(&talk.welcome)?.orders.is_empty(), "nothing more is to be done");
        let known = stage.catalog(&hub.device)?;
        assert_eq!((known.entry.revision.as_str(), known.entry.release_counter), ("1B", Some(1)));
        ensure!(known.history.iter().any(|change| change.to.as_deref() == Some("1B")), "it stands in the history");
        let outcomes: Vec<OutcomeView> = stage.ward.administrator.get(&format!("outcomes?device={}", hub.device))?;
        assert_eq!(outcomes.first().map(|outcome| outcome.outcome.as_str()), Some("installed"));
        let offers: Vec<OfferView> = stage.ward.administrator.get("offers")?;
        assert_eq!(offers.first().map(|offer| (offer.installed, offer.directed)), Some((1, 0)));
        assert_eq!(stage.offered(offer.id)?, [(hub.device.clone(), OfferStanding::Installed)]);
        let scales = ["1A", "1A", "1C"].into_iter().zip(["scale-1", "scale-2", "scale-3"]);
        let scales = scales.map(|(revision, name)| state(&device(name)?, revision, None));
        talk.report(hub.report("1B", Some(1), &scales.collect::<Result<Vec<_>>>()?)?)?;
        let releases: Vec<ReleaseView> = stage.ward.administrator.get("releases")?;
        assert_eq!(releases.first().map(|release| (release.fitting, release.running)), Some((2, 1)));

        // That a device's data may not come through its gateway is not changed by the next report.
        let scale = device("scale-1")?;
        let never = AllowUpload { gateway: hub.device.clone(), allowed: false };
        let _: CatalogDevice = stage.ward.administrator.post(&format!("catalog/{scale}/uploads"), &never)?;
        talk.report(hub.report("1B", Some(1), &[state(&scale, "1A", None)?])?)?;
        assert_eq!(stage.catalog(&scale)?.entry.uploads, []);

        // Who comes back begins with the same state.
        drop(talk);
        let talk = hub.connect()?;
        assert_eq!(talk.welcome.reported, 3);
        let gateways: Vec<GatewayView> = stage.ward.administrator.get("gateways")?;
        ensure!(
            gateways.iter().any(|known| known.gateway == hub.device && known.reported_at.is_some()),
            "it is listed"
        );
        Ok(())
    })
}

#[test]
fn a_directive_is_matched_and_signed_anew_when_its_time_has_come_and_nobody_acts() -> Result<()> {
    scene(|scene| {
        let often = [("DIRECTIVE_RENEWAL_SECS", "3")];
        let mut stage = Stage::around(scene, Worker::start_with(scene, &often)?)?;
        let mut hub = stage.hub("pump-1")?;
        let mut talk = hub.connect()?;
        stage.offer("1B", OfferScope::Model)?;
        talk.report(hub.report("1A", None, &[])?)?;
        let mut last = talk.directive()?;
        for _ in 0..2 {
            let next = talk.directive()?;
            ensure!(next > last, "{next} after {last}");
            last = next;
        }
        let welcome = talk.welcome.clone();
        talk.leave()?;
        // A directive that is replaced while it is read is read once more.
        let is_directed = || hub.directive(&welcome).ok().map(|directed| directed.order_for(&hub.device).is_some());
        wait::until("it is directed", || Ok((is_directed() == Some(true)).then_some(())))?;

        // What the server was not told of, the match by time finds.
        stage.ward.worker.kill();
        stage.ward.worker.tamper("DistributionObject", "UPDATE offers SET withdrawn_at = 1")?;
        stage.ward.worker.restart()?;
        wait::until("the offer that is gone is directed no more", || Ok((is_directed() == Some(false)).then_some(())))
    })
}

#[test]
fn an_idle_poll_shows_the_ticket_and_gets_nothing_new() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let mut hub = stage.hub("pump-1")?;
        let mut talk = hub.connect()?;
        talk.report(hub.report("1A", None, &[])?)?;
        talk.directive()?;
        let ticket = talk.welcome.ticket.clone();
        let first = hub.poll("metadata/timestamp.json", &ticket, "")?;
        assert_eq!(first.status, 200);
        let idle = hub.poll("metadata/timestamp.json", &ticket, &first.etag)?;
        assert_eq!((idle.status, idle.body.len()), (304, 0));
        for known in [format!("\"older\", W/{}", first.etag), "*".to_owned()] {
            assert_eq!(hub.poll("metadata/timestamp.json", &ticket, &known)?.status, 304, "{known}");
        }
        assert_eq!(hub.poll("metadata/timestamp.json", &ticket, "\"older\"")?.status, 200);
        assert_eq!(hub.poll("metadata/1.root.json", &ticket, "")?.body, talk.welcome.director_root.to_vec());
        assert_eq!(hub.poll("metadata/99.targets.json", &ticket, "")?.status, 404);
        for other in ["", "x", "metadata", "metadata/"] {
            assert_eq!(hub.poll(other, &ticket, "")?.status, 404, "{other}");
        }

        let foreign = PollTicket::new([7; POLL_TICKET_BYTES]);
        assert_eq!(hub.poll("metadata/timestamp.json", &foreign, "")?.status, 401);
        assert_eq!(hub.posing_as(&device("pump-2")?).poll("metadata/timestamp.json", &ticket, "")?.status, 401);
        // A new session gives a new ticket, and ends the earlier session.
        let again = hub.connect()?;
        talk.wait_for_end()?;
        assert_eq!(hub.poll("metadata/timestamp.json", &ticket, "")?.status, 401);
        assert_eq!(hub.poll("metadata/timestamp.json", &again.welcome.ticket, &first.etag)?.status, 304);
        Ok(())
    })
}

#[test]
fn a_revoked_device_has_no_session_before_the_answer_and_strangers_have_none() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let hub = stage.hub("pump-1")?;
        let other = stage.hub("pump-2")?;

        // A name that nobody has, another's certificate, another host, another key, a garbled frame.
        assert_eq!(hub.posing_as(&device("nobody")?).refused(None, None)?, Some(403));
        assert_eq!(hub.posing_as(&other.device).refused(None, None)?, None);
        assert_eq!(hub.refused(Some("evil.example"), None)?, None);
        let stranger = wardlink_tests::service::new_key();
        assert_eq!(hub.refused(None, Some(&stranger))?, None);
        let mut garbled = hub.connect()?;
        garbled.send_raw(b"no message of this session")?;
        garbled.wait_for_end()?;

        // The same name with the certificate of another site.
        wardlink_tests::scene(|elsewhere| {
            let other = Stage::open(elsewhere)?;
            let theirs = other.hub("pump-1")?;
            drop(theirs.connect()?);
            assert_eq!(theirs.at(&stage.ward.worker.origin()).refused(None, None)?, None);
            Ok(())
        })?;

        let talk = hub.connect()?;
        let ticket = talk.welcome.ticket.clone();
        stage.ward.administrator.revoke(core::slice::from_ref(&hub.device))?;
        // The answer has come: nothing that it had counts.
        assert_eq!(hub.poll("metadata/timestamp.json", &ticket, "")?.status, 401);
        assert_eq!(hub.refused(None, None)?, Some(403));
        talk.wait_for_end()?;
        other.connect()?;
        Ok(())
    })
}

#[test]
fn connections_that_prove_nothing_are_closed_and_lock_nobody_out() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let mut hub = stage.hub("pump-1")?;
        let mut talk = hub.connect()?;
        // More than one gateway may have: the oldest goes for the newest, and the session stays.
        let silent: Vec<_> = (0..9).map(|_| hub.connect_silently()).collect::<Result<_>>()?;
        for (number, connection) in silent.into_iter().enumerate().take(2) {
            connection.wait_for_end().with_context(|| format!("the connection {number}"))?;
        }
        assert_eq!(talk.report(hub.report("1A", None, &[])?)?, None);
        drop(talk);
        talk = hub.connect()?;
        assert_eq!(talk.welcome.reported, 1);

        // Nobody else who comes later gives more time to who proves nothing.
        let mut first = hub.connect_silently()?;
        let mut later = Vec::new();
        while !first.ends_within(Duration::from_secs(5))? {
            later.push(hub.connect_silently()?);
            ensure!(later.len() < 7, "it is open still");
        }
        Ok(())
    })
}

#[test]
fn a_device_that_contradicts_the_catalog_is_left_out_of_its_gateways_report() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let (mut hub, other) = (stage.hub("pump-1")?, stage.hub("pump-2")?);
        let pump_2 = other.device.clone();
        let is = |revision| state(&pump_2, revision, None);
        let known = |stage: &Stage<'_>| -> Result<(String, Option<Device>)> {
            let known = stage.catalog(&pump_2)?.entry;
            Ok((known.revision, known.gateway))
        };
        let mut talk = hub.connect()?;
        // What it has signed itself goes on as it is, and again in each report until there is another one.
        let first = other.own_report(8, is("1A")?)?;
        for _ in 0..2 {
            assert_eq!(talk.report(hub.report_with("1A", None, vec![first.clone()])?)?, None);
            assert_eq!(known(&stage)?, ("1A".to_owned(), Some(hub.device.clone())));
            assert_eq!(stage.gateway(&hub.device)?.devices, 1);
        }
        let newer = other.own_report(9, is("1B")?)?;
        assert_eq!(talk.report(hub.report_with("1A", None, vec![newer.clone()])?)?, None);
        assert_eq!(known(&stage)?.0, "1B");
        // An older one is as if it were not there.
        assert_eq!(talk.report(hub.report_with("1A", None, vec![first])?)?, None);
        assert_eq!((known(&stage)?.0.as_str(), stage.gateway(&hub.device)?.devices), ("1B", 0));
        assert_eq!(talk.report(hub.report_with("1A", None, vec![newer])?)?, None);
        assert_eq!(stage.gateway(&hub.device)?.devices, 1, "it is there again");
        // What it is does not change: it is left out, people see why, and a scale beside it counts.
        let mut another = is("1C")?;
        another.characteristics.serial_number = "another".parse()?;
        let scale = device("scale-1")?;
        let devices = vec![other.own_report(10, another)?, Reported::Unsigned(state(&scale, "1A", None)?)];
        assert_eq!(talk.report(hub.report_with("1A", None, devices)?)?, None);
        assert_eq!(known(&stage)?.0, "1B");
        assert_eq!(stage.catalog(&scale)?.entry.gateway, Some(hub.device.clone()));
        let why = stage.gateway(&hub.device)?.refused.context("people see why")?;
        ensure!(why.contains("infusion-pump/pump-2") && why.contains("serial number"), "{why}");
        Ok(())
    })
}

#[test]
fn a_device_that_signs_for_itself_moves_with_its_newest_report() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let (mut first, mut second, pump) = (stage.hub("pump-1")?, stage.hub("pump-2")?, stage.hub("pump-3")?);
        let is = state(&pump.device, "1A", None)?;
        let stands = |through: &Device| -> Result<()> {
            let known = stage.catalog(&pump.device)?.entry;
            assert_eq!((known.gateway.as_ref(), known.conflict), (Some(through), None));
            for hub in ["pump-1", "pump-2"] {
                let hub = device(hub)?;
                assert_eq!(stage.gateway(&hub)?.devices, u64::from(hub == *through), "{hub}");
            }
            Ok(())
        };
        let (mut at_first, mut at_second) = (first.connect()?, second.connect()?);
        assert_eq!(at_second.report(second.report("1A", None, &[])?)?, None);
        let before = pump.own_report(5, is.clone())?;
        assert_eq!(at_first.report(first.report_with("1A", None, vec![before.clone()])?)?, None);
        stands(&first.device)?;
        // Who directs it the control unit says where it is, and to nobody who has nothing to do with it.
        let root = format!("devices/{}/root.cose", pump.device);
        let word = first.poll(&root, &at_first.welcome.ticket, "")?;
        assert_eq!(word.status, 200);
        let given = wardlink_crypto::director::verify(&word.body, &pump.device, &pump.root(), clock::now())?;
        assert_eq!(given.root, at_first.welcome.director_root);
        assert_eq!(second.poll(&root, &at_second.welcome.ticket, "")?.status, 404);
        // The gateway that it has left has not noticed, and shows what it has.
        assert_eq!(at_second.report(second.report_with("1A", None, vec![pump.own_report(6, is.clone())?])?)?, None);
        stands(&second.device)?;
        assert_eq!(at_first.report(first.report_with("1A", None, vec![before])?)?, None);
        stands(&second.device)?;
        // It comes back.
        assert_eq!(at_first.report(first.report_with("1A", None, vec![pump.own_report(7, is)?])?)?, None);
        stands(&first.device)
    })
}

#[test]
fn reports_that_do_not_count_are_refused_with_their_step() -> Result<()> {
    scene(|scene| {
        let mut stage = Stage::open(scene)?;
        let (mut hub, other) = (stage.hub("pump-1")?, stage.hub("pump-2")?);
        let mut talk = hub.connect()?;
        let why = |refused: Option<wardlink_protocol::distribution::SessionRefusal>| {
            let refused = refused.context("it is refused")?;
            ensure!(refused.step == "figure 10, 213", "{refused:?}");
            anyhow::Ok(refused.reason)
        };
        let report = hub.report("1A", None, &[])?;
        assert_eq!(talk.report(report.clone())?, None);
        ensure!(why(talk.report(report.clone())?)?.contains("seen before"), "it was replayed");
        let mut forged = report;
        if let Some(last) = forged.iter_mut().rev().nth(5) {
            *last ^= 1;
        }
        why(talk.report(forged)?)?;
        why(talk.report(b"{}".to_vec())?)?;
        // A device that has a key does not let others speak for it.
        let unsigned = hub.report("1A", None, &[state(&other.device, "1A", None)?])?;
        ensure!(why(talk.report(unsigned)?)?.contains("not signed"), "it has a key");
        // A device that suddenly is another one.
        let scale = device("scale-1")?;
        talk.report(hub.report("1A", None, &[state(&scale, "1A", None)?])?)?;
        let mut changed = state(&scale, "1A", None)?;
        changed.characteristics.serial_number = "another".parse()?;
        ensure!(
            why(talk.report(hub.report("1A", None, &[changed])?)?)?.contains("catalog"),
            "it contradicts the catalog"
        );
        let refused = talk.records(b"stored data")?.err().context("it is no batch")?;
        assert_eq!(refused.step, "form");
        let stranger = device("nobody")?;
        let refused = talk.outcome(&stranger, 1, &stage.acme.program("1B"), Outcome::Corrupt)?;
        assert_eq!(refused.context("nobody has it")?.step, "figure 10, 218");

        // What was refused has changed nothing, and is shown; what counted lives on in a new worker.
        let gateways: Vec<GatewayView> = stage.ward.administrator.get("gateways")?;
        ensure!(gateways.iter().any(|known| known.devices == 1), "the last good report counts");
        stage.ward.worker.kill();
        stage.ward.worker.restart()?;
        assert_eq!(hub.connect()?.welcome.reported, 3);
        Ok(())
    })
}

#[test]
fn a_device_that_two_gateways_report_gets_nothing_until_somebody_decides_and_moves_otherwise() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let (mut first, mut second) = (stage.hub("pump-1")?, stage.hub("pump-2")?);
        let (mut one, mut two) = (first.connect()?, second.connect()?);
        stage.offer("1B", OfferScope::Model)?;
        let scale = device("scale-1")?;
        let reported = [state(&scale, "1A", None)?];
        one.report(first.report("1A", None, &reported)?)?;
        ensure!(first.directive(&one.welcome)?.order_for(&scale).is_some(), "it is updated through the first");

        two.report(second.report("1A", None, &reported)?)?;
        assert_eq!(stage.catalog(&scale)?.entry.conflict.as_ref(), Some(&second.device));
        let conflicts: CatalogPage = stage.ward.administrator.get("catalog?update=conflict")?;
        assert_eq!(conflicts.total, 1);
        for (hub, talk) in [(&first, &one), (&second, &two)] {
            wait::until("nobody gives it anything", || {
                Ok(hub.directive(&talk.welcome)?.order_for(&scale).is_none().then_some(()))
            })?;
        }
        // What the first one had begun, it tells.
        let held_up = Outcome::Postponed(Postponed::Therapy);
        ensure!(one.outcome(&scale, 1, &stage.acme.program("1B"), held_up)?.is_none(), "it is stored");

        // Neither of the two ends the conflict by what it goes on saying; nor does a third one that comes and goes.
        let mut other = stage.hub("pump-3")?;
        let mut three = other.connect()?;
        three.report(other.report("1A", None, &reported)?)?;
        one.report(first.report("1A", None, &reported)?)?;
        two.report(second.report("1A", None, &reported)?)?;
        three.report(other.report("1A", None, &[])?)?;
        one.report(first.report("1A", None, &reported)?)?;
        let entry = stage.catalog(&scale)?.entry;
        assert_eq!((entry.gateway.as_ref(), entry.conflict.as_ref()), (Some(&first.device), Some(&second.device)));
        ensure!(first.directive(&one.welcome)?.order_for(&scale).is_none(), "nobody gives it anything still");

        // A person decides.
        let decision = Associate { gateway: second.device.clone() };
        let decided: CatalogDevice = stage.ward.administrator.post(&format!("catalog/{scale}/gateway"), &decision)?;
        assert_eq!((decided.entry.gateway.as_ref(), decided.entry.conflict), (Some(&second.device), None));
        wait::until("the second gateway gives it the update", || {
            Ok(second.directive(&two.welcome)?.order_for(&scale).map(drop))
        })?;
        ensure!(first.directive(&one.welcome)?.order_for(&scale).is_none(), "the first does not");

        // That lasts, though the first one goes on reporting it, in whatever order they do.
        for _ in 0..2 {
            one.report(first.report("1A", None, &reported)?)?;
            two.report(second.report("1A", None, &reported)?)?;
            let decided = stage.catalog(&scale)?.entry;
            assert_eq!((decided.gateway.as_ref(), decided.conflict), (Some(&second.device), None));
        }
        // So it does where the one that was chosen does not report it yet.
        let third = device("scale-2")?;
        let both = [state(&scale, "1A", None)?, state(&third, "1A", None)?];
        one.report(first.report("1A", None, &both)?)?;
        let decision = Associate { gateway: second.device.clone() };
        let _: CatalogDevice = stage.ward.administrator.post(&format!("catalog/{third}/gateway"), &decision)?;
        one.report(first.report("1A", None, &both)?)?;
        assert_eq!(stage.catalog(&third)?.entry.gateway.as_ref(), Some(&second.device));
        // The first one lets it go, and gets it back: that is news.
        one.report(first.report("1A", None, &reported)?)?;
        one.report(first.report("1A", None, &both)?)?;
        assert_eq!(stage.catalog(&third)?.entry.gateway.as_ref(), Some(&first.device));

        // It moves back: the second one reports it no longer.
        two.report(second.report("1A", None, &[])?)?;
        one.report(first.report("1A", None, &reported)?)?;
        let moved = stage.catalog(&scale)?;
        assert_eq!((moved.entry.gateway.as_ref(), moved.entry.conflict), (Some(&first.device), None));
        ensure!(
            moved.history.iter().filter(|change| change.what == "gateway").count() >= 3,
            "it stands in the history"
        );
        Ok(())
    })
}

#[test]
fn a_directive_reaches_who_has_left_and_whose_answer_was_lost() -> Result<()> {
    scene(|scene| {
        let mut stage = Stage::open(scene)?;
        let mut hub = stage.hub("pump-1")?;
        let mut talk = hub.connect()?;
        talk.report(hub.report("1A", None, &[])?)?;
        let (scale, second) = (device("scale-1")?, device("scale-2")?);
        stage.offer("1B", OfferScope::Devices(vec![scale.clone(), second.clone()]))?;
        let welcome = talk.welcome.clone();
        let scale_is = state(&scale, "1A", None)?;
        talk.report_and_leave(hub.report("1A", None, core::slice::from_ref(&scale_is))?)?;
        let polled = |hub: &Hub, of: &Device| Ok(hub.directive(&welcome)?.order_for(of).map(drop));
        wait::until("its polls bring the directive", || polled(&hub, &scale))?;

        // The server has signed the next one, and what it went to has died before it was stored.
        let objects = stage.ward.worker.objects("GatewayObject")?;
        stage.ward.worker.kill();
        copy(&objects, &scene.path("before"))?;
        stage.ward.worker.restart()?;
        let mut talk = hub.connect()?;
        talk.report(hub.report("1A", None, &[scale_is, state(&second, "1A", None)?])?)?;
        stage.ward.worker.kill();
        fs::remove_dir_all(&objects)?;
        copy(&scene.path("before"), &objects)?;
        stage.ward.worker.restart()?;
        wait::patiently("it is signed anew", || polled(&hub, &second))
    })
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

#[test]
fn of_each_device_the_newest_outcomes_and_changes_are_kept() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let mut hub = stage.hub("pump-1")?;
        let mut talk = hub.connect()?;
        let (pump, path) = (hub.device.clone(), stage.acme.program("1B"));
        for round in 0..51 {
            let revision = if round % 2 == 0 { "1A" } else { "1B" };
            talk.report(hub.report(revision, None, &[])?)?;
            talk.report(hub.report("1C", None, &[])?)?;
            for postponed in [Postponed::Therapy, Postponed::Unsafe, Postponed::Window, Postponed::Confirmation] {
                talk.outcome(&pump, 1, &path, Outcome::Postponed(postponed))?;
            }
        }
        let changes = stage.catalog(&pump)?.history;
        assert_eq!((changes.len(), changes.iter().filter(|change| change.what == "reported").count()), (100, 0));
        let page = |more: &str| -> Result<Vec<OutcomeView>> {
            stage.ward.administrator.get(&format!("outcomes?device={pump}{more}"))
        };
        let newest = page("")?;
        let oldest = newest.last().context("outcomes")?;
        assert_eq!((newest.len(), page(&format!("&before={}", oldest.id))?.len()), (200, 0));
        Ok(())
    })
}

#[test]
fn an_inventory_is_previewed_imported_once_and_held_to_its_manufacturer() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let record_of = |manufacturer: &str, name: &str, serial: &str| {
            let device = json!({ "client": "infusion-pump", "identifier": name });
            let model = "PM2";
            json!({ "characteristics": { "device": device, "manufacturer": manufacturer, "model": model,
                "serial_number": serial, "revision": "1A", "hardware": "PM2-B" } })
        };
        let record = |name: &str, serial: &str| record_of("acme", name, serial);
        let inventory = stage.acme.inventory(&json!([record("stored-1", "N1"), record("stored-2", "N2")]))?;
        let administrator = &stage.ward.administrator;
        let preview: InventoryPreview = administrator.post("inventories/preview", &inventory)?;
        assert_eq!((preview.version, preview.devices, preview.added, preview.changed), (1, 2, 2, 0));
        assert_eq!(administrator.get::<CatalogPage>("catalog")?.total, 0, "a preview changes nothing");
        let imported: InventoryPreview = administrator.post("inventories", &inventory)?;
        assert_eq!(imported, preview);
        let known: CatalogDevice = administrator.get("catalog/infusion-pump/stored-1")?;
        assert_eq!((known.entry.serial_number.as_str(), known.entry.reported_at), ("N1", None));

        // The same again, a forged one, and one that contradicts what a device has reported.
        let refused =
            |inventory: &serde_json::Value| refusal(administrator.post::<InventoryPreview>("inventories", inventory));
        assert_eq!(refused(&inventory)?, ProblemKind::RefusedStep);
        let mut forged = stage.acme.inventory(&json!([record("stored-3", "N3")]))?;
        *forged.pointer_mut("/signed/devices/0/characteristics/serial_number").context("a serial number")? =
            json!("N4");
        assert_eq!(refused(&forged)?, ProblemKind::RefusedStep);
        let mut hub = stage.hub("pump-1")?;
        hub.connect()?.report(hub.report("1A", None, &[])?)?;
        let contradiction = json!([record("another-1", "N5"), record("pump-1", "another"), record("stored-1", "N6")]);
        let contradiction = stage.acme.inventory(&contradiction)?;
        assert_eq!(refused(&contradiction)?, ProblemKind::RefusedStep);
        // Another manufacturer takes nobody over, neither who has reported nor who has not.
        let bolt = Manufacturer::found(scene, "bolt")?;
        bolt.onboard(administrator)?;
        bolt.add("1A", "1B", b"a foreign program", &[])?;
        bolt.publish(&stage.ward.worker.origin())?;
        for taken in ["pump-1", "stored-1"] {
            let records = json!([record_of("bolt", "new-1", "M1"), record_of("bolt", taken, "M2")]);
            assert_eq!(refused(&bolt.inventory(&records)?)?, ProblemKind::RefusedStep, "{taken}");
        }
        // What was refused has changed nothing, and a good one still counts.
        assert_eq!(administrator.get::<CatalogPage>("catalog?find=stored-1")?.devices, [known.entry]);
        assert_eq!(administrator.get::<CatalogPage>("catalog")?.total, 3);
        let good = bolt.inventory(&json!([record_of("bolt", "new-1", "M1")]))?;
        assert_eq!(administrator.post::<InventoryPreview>("inventories", &good)?.added, 1);
        let (_, auditor) = administrator.add_person("otto", Role::Auditor)?;
        let unsigned = auditor.post::<InventoryPreview>("inventories", &inventory);
        assert_eq!(refusal(unsigned)?, ProblemKind::Forbidden);
        Ok(())
    })
}

#[test]
fn a_gateway_is_told_of_a_revoked_device_without_asking() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut hubs = Vec::new();
        for name in ["pump-1", "pump-2", "pump-3"] {
            let mut pump = ward.paired_pump(name)?;
            pump.kill();
            let mut hub = Hub::of(&pump, &device(name)?, &ward.worker.origin())?;
            let mut talk = hub.connect()?;
            assert_eq!(talk.report(hub.report("1A", None, &[])?)?, None);
            talk.leave()?;
            hubs.push(hub);
        }
        let [through, lost, kept] = &hubs[..] else { bail!("three pumps") };
        for device in [&lost.device, &kept.device] {
            let allowed = AllowUpload { gateway: through.device.clone(), allowed: true };
            let _: CatalogDevice = ward.administrator.post(&format!("catalog/{device}/uploads"), &allowed)?;
        }
        let mut talk = through.connect()?;
        let has_key = |known: &[AssociatedDevice]| {
            known.iter().map(|one| (one.device.clone(), one.key.is_some())).collect::<Vec<_>>()
        };
        assert_eq!(has_key(&talk.welcome.devices), [(lost.device.clone(), true), (kept.device.clone(), true)]);
        ward.administrator.revoke(std::slice::from_ref(&lost.device))?;
        // Nothing else is said here: the server sends it by itself, and before it perhaps once more how it was.
        let told = loop {
            let FromServer::Devices(told) = talk.hear()? else { continue };
            if told.message.iter().all(|one| one.device != lost.device || one.key.is_none()) {
                break told.message;
            }
        };
        assert_eq!(has_key(&told), [(lost.device.clone(), false), (kept.device.clone(), true)]);
        Ok(())
    })
}

#[test]
fn the_devices_of_a_gateway_without_rights_are_whose_who_reports_them_next() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let (mut lost, mut next) = (stage.hub("pump-1")?, stage.hub("pump-2")?);
        let mut talk = lost.connect()?;
        let scale = device("scale-1")?;
        let reported = [state(&scale, "1A", None)?];
        talk.report(lost.report("1A", None, &reported)?)?;
        let mut two = next.connect()?;
        two.report(next.report("1A", None, &reported)?)?;
        assert_eq!(stage.catalog(&scale)?.entry.conflict.as_ref(), Some(&next.device));

        stage.ward.administrator.revoke(core::slice::from_ref(&lost.device))?;
        wait::until("the other one has it", || {
            let entry = stage.catalog(&scale)?.entry;
            Ok((entry.gateway.as_ref() == Some(&next.device) && entry.conflict.is_none()).then_some(()))
        })?;
        let known = stage.gateway(&lost.device)?;
        ensure!(known.lost_at.is_some() && !known.online && known.devices == 0, "{known:?}");
        assert_eq!(stage.gateway(&next.device)?.lost_at, None);
        let decision = Associate { gateway: lost.device.clone() };
        let decided = stage.ward.administrator.post::<CatalogDevice>(&format!("catalog/{scale}/gateway"), &decision);
        assert_eq!(refusal(decided)?, ProblemKind::WrongState);
        Ok(())
    })
}

#[test]
fn the_server_knows_when_a_gateway_was_heard_what_it_holds_and_asks_it_what_it_runs() -> Result<()> {
    scene(|scene| {
        let mut stage = Stage::open(scene)?;
        let mut hub = stage.hub("pump-1")?;
        let known = |stage: &Stage<'_>| -> Result<GatewayView> {
            let all: Vec<GatewayView> = stage.ward.administrator.get("gateways")?;
            all.into_iter().next().context("a gateway")
        };
        let mut talk = hub.connect()?;
        talk.report(hub.report("1A", None, &[])?)?;
        assert_eq!(known(&stage)?.held, None);
        let held = Held { records: 7, bytes: 700, capacity: 1_000, oldest: Some(clock::now()), refused_batches: 1 };
        talk.holds(held)?;
        wait::until("what it holds", || Ok((known(&stage)?.held == Some(held)).then_some(())))?;
        // With each push it is asked what it runs (figure 8, 176).
        let _: Pushed = stage.ward.administrator.post(&format!("gateways/{}/push", hub.device), &())?;
        talk.wait_for_inquiry()?;

        // A poll is a contact, too, and none is invented by the end of a session.
        let ticket = talk.welcome.ticket.clone();
        talk.leave()?;
        wait::until("the end of its session", || Ok((!known(&stage)?.online).then_some(())))?;
        let before = known(&stage)?.last_contact;
        stage.ward.worker.kill();
        stage.ward.worker.restart()?;
        assert_eq!(known(&stage)?.last_contact, before);
        assert_eq!(hub.poll("metadata/timestamp.json", &ticket, "")?.status, 200);
        wait::until("its poll", || Ok((known(&stage)?.last_contact > before).then_some(())))?;
        Ok(())
    })
}
