//! Offers: to whom, when, which data the server adds (Distribution, figure 5B, 125; figure 10, 214), and what becomes of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use data_encoding::HEXUPPER;
use wardlink_agent::clock;
use wardlink_crypto::schedule::message_hash;
use wardlink_protocol::Device;
use wardlink_protocol::api::{
    Broadcast, CatalogDevice, CatalogPage, ManufacturerView, NewOffer, OfferDevices, OfferScope, OfferStanding,
    OfferView, OfferWhen, OfferedData, OutcomeView, ProblemKind, PublishedView, Pushed, Role, UpdateState, words,
};
use wardlink_protocol::cbor;
use wardlink_tests::api::{Refused, refusal};
use wardlink_tests::fleet::{Fleet, TAKES_DATA, device_of, library, program, settings};
use wardlink_tests::hub::{Talk, state};
use wardlink_tests::process::free_port;
use wardlink_tests::pump::Pump;
use wardlink_tests::stage::{Stage, installed, note};
use wardlink_tests::ward::device;
use wardlink_tests::{Scene, scene, wait};
use wardlink_update::uptane::Outcome;

/// The most devices of one offer, and the most offers that count.
const MANY: usize = 1_000;
/// The longest file of added data, in bytes.
const MAX_ADDED: usize = 1_000_000;

fn offer(hospital: &Fleet<'_>, revision: &str, when: OfferWhen, added: &[OfferedData]) -> Result<OfferView> {
    let path = hospital.acme.program(revision);
    let new = NewOffer { path, scope: OfferScope::Model, when, added: added.to_vec() };
    hospital.ward.administrator.post("offers", &new)
}

/// The step that a refusal names, and why.
fn refused_step<T>(outcome: Result<T>) -> Result<(String, String)> {
    let Err(error) = outcome else { bail!("the server did not refuse") };
    let problem = error.downcast::<Refused>()?.0;
    ensure!(problem.kind == ProblemKind::RefusedStep, "{problem}");
    let detail = problem.detail.context("it says why")?;
    let (step, why) = detail.strip_prefix("Step ").and_then(|rest| rest.split_once(": ")).context("a step")?;
    Ok((step.to_owned(), why.to_owned()))
}

/// Whether a file of this content lies somewhere in a folder.
fn holds(folder: &Path, content: &str) -> Result<bool> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry.context("cannot look into a folder")?.path();
        let found = if path.is_dir() { holds(&path, content)? } else { fs::read(&path)? == content.as_bytes() };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where a pump that verifies for itself keeps what was added.
fn kept(scene: &Scene, pump: &str, added: &OfferedData) -> PathBuf {
    scene.path(&format!("{pump}-state/software/added-{}", message_hash(added.text.as_bytes())))
}

#[test]
fn what_the_server_adds_is_installed_with_its_update_and_is_not_there_where_that_fails() -> Result<()> {
    scene(|scene| {
        let hospital = Fleet::open(scene)?;
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let _north = hospital.gateway("north", &["n-1"], &[&format!("--hub={address}")])?;
        hospital.sell(&["pump-1", "pump-2"])?;
        let _pump = hospital.pair_pump("pump-1", "gateway/north", &address)?;
        let _direct = hospital.pair_direct_pump("pump-2")?;
        let _south = hospital.gateway("south", &["s-1"], &["--fail=infusion-pump/s-1=start"])?;
        let [pump_1, pump_2, n_1, s_1] = [device("pump-1")?, device("pump-2")?, device("n-1")?, device("s-1")?];

        hospital.release_for_pumps(("1A", "1B"), "2", &[], &TAKES_DATA)?;
        hospital.publish()?;
        let (settings, library) = (settings("Ward 3"), library("Heparin"));
        let offered = offer(&hospital, "1B", OfferWhen::NextSafeMoment, &[settings.clone(), library.clone()])?;
        assert_eq!(offered.added, ["site_settings", "drug_library"]);
        hospital.wait_for_all(&[&pump_1, &pump_2, &n_1], "1B")?;
        let failed = hospital.outcome(&s_1, "failed")?;

        // They have the bytes that a person gave, beside the image that runs.
        let installed = hospital.slot("n-1")?;
        for (file, added) in [("site-settings.json", &settings), ("drug-library.json", &library)] {
            let there = fs::read_to_string(installed.join(file)).with_context(|| format!("n-1 has no {file}"))?;
            ensure!(there == added.text, "n-1 has another {file}: {there}");
            for pump in ["pump-1", "pump-2"] {
                let there = fs::read_to_string(kept(scene, pump, added));
                let there = there.with_context(|| format!("{pump} has no {file}"))?;
                ensure!(there == added.text, "{pump} has another {file}: {there}");
            }
            // Who could not start has nothing of it.
            wait::until("nothing of it to lie at s-1", || {
                Ok((!holds(&scene.path("passive-s-1"), &added.text)?).then_some(()))
            })?;
        }
        ensure!(hospital.revision("s-1")? == "1A", "{failed:?}");

        // The next one fails at the pumps: what came with the first one stays, and of the second one nothing does.
        hospital.release_for_pumps(("1B", "1C"), "3", &["--self-test", "fails"], &TAKES_DATA)?;
        hospital.publish()?;
        let next = self::settings("Ward 4");
        offer(&hospital, "1C", OfferWhen::NextSafeMoment, core::slice::from_ref(&next))?;
        for (pump, device) in [("pump-1", &pump_1), ("pump-2", &pump_2)] {
            hospital.outcome(device, "failed")?;
            wait::until("nothing of the failed one to lie there", || {
                Ok((!kept(scene, pump, &next).exists()).then_some(()))
            })?;
            for added in [&settings, &library] {
                let there = fs::read_to_string(kept(scene, pump, added)).with_context(|| added.kind.clone())?;
                ensure!(there == added.text, "{pump} has another {}", added.kind);
            }
        }
        Ok(())
    })
}

#[test]
fn an_offer_that_may_not_be_made_is_refused_with_its_step_and_nothing_is_offered() -> Result<()> {
    scene(|scene| {
        let hospital = Fleet::open(scene)?;
        let accepts = ["--accepts", "site_settings"];
        hospital.acme.add("1A", "1B", program("1B").as_bytes(), &accepts)?;
        hospital.acme.add("1A", "1C", program("1C").as_bytes(), &accepts)?;
        hospital.acme.release(&["--yes", "recall", &hospital.acme.program("1C"), "--reason", "it drips"])?;
        hospital.acme.sign()?;
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        let administrator = &hospital.ward.administrator;
        let good = NewOffer {
            path: hospital.acme.program("1B"),
            scope: OfferScope::Model,
            when: OfferWhen::AtOnce,
            added: Vec::new(),
        };
        let devices = |count: usize| -> Result<OfferScope> {
            Ok(OfferScope::Devices((0..count).map(|number| device(&format!("p-{number}"))).collect::<Result<_>>()?))
        };
        let text = |kind: &str, text: String| vec![OfferedData { kind: kind.to_owned(), text }];
        let now = clock::now().as_secs();
        let window = |from, until| OfferWhen::Window { from, until };
        let settings = settings("Ward 3");
        let padded = |length: usize| {
            let spaces = " ".repeat(length - settings.text.len());
            text("site_settings", format!("{}{spaces}", settings.text))
        };
        let silent = settings.text.replace("70", "0");
        for (step, why, wrong) in [
            ("package", "no such package", NewOffer { path: hospital.acme.program("9Z"), ..good.clone() }),
            ("package", "recalled", NewOffer { path: hospital.acme.program("1C"), ..good.clone() }),
            ("scope", "infusion-pump", NewOffer { scope: OfferScope::Class("scale".parse()?), ..good.clone() }),
            ("scope", "1 to 1000", NewOffer { scope: devices(0)?, ..good.clone() }),
            ("scope", "1 to 1000", NewOffer { scope: devices(MANY + 1)?, ..good.clone() }),
            ("when", "window", NewOffer { when: window(now + 600, now + 600), ..good.clone() }),
            ("when", "window", NewOffer { when: window(now + 601, now + 600), ..good.clone() }),
            ("when", "is over", NewOffer { when: window(now - 601, now - 600), ..good.clone() }),
            ("added data", "takes no firmware", NewOffer { added: text("firmware", "{}".to_owned()), ..good.clone() }),
            ("added data", "takes no drug_library", NewOffer { added: vec![library("Heparin")], ..good.clone() }),
            ("added data", "cannot be used", NewOffer { added: text("site_settings", String::new()), ..good.clone() }),
            (
                "added data",
                "cannot be used",
                NewOffer { added: text("site_settings", "[]".to_owned()), ..good.clone() },
            ),
            ("added data", "1 to 100", NewOffer { added: text("site_settings", silent), ..good.clone() }),
            ("added data", "longer than 1000000", NewOffer { added: padded(MAX_ADDED + 1), ..good.clone() }),
            ("added data", "twice", NewOffer { added: vec![settings.clone(), settings.clone()], ..good.clone() }),
        ] {
            let of = serde_json::to_string(&wrong)?;
            let of: String = of.chars().take(200).collect();
            let (found, said) = refused_step(administrator.post::<OfferView>("offers", &wrong)).context(of.clone())?;
            ensure!(found == step && said.contains(why), "{of}: step {found}, {said}");
        }
        let one = NewOffer { added: vec![settings.clone()], ..good.clone() };
        assert_eq!(refusal(hospital.ward.nurse.post::<OfferView>("offers", &one))?, ProblemKind::Forbidden);
        ensure!(administrator.get::<Vec<OfferView>>("offers")?.is_empty(), "something is offered");

        // As much as there may be of everything is no reason.
        let most = NewOffer {
            scope: devices(MANY)?,
            when: window(now - 600, now + 600),
            added: padded(MAX_ADDED),
            ..good.clone()
        };
        let made: OfferView = administrator.post("offers", &most)?;
        assert_eq!((made.scope, made.when, made.added), (most.scope, most.when, vec!["site_settings".to_owned()]));
        Ok(())
    })
}

#[test]
fn a_thousand_offers_count_at_once_and_one_that_is_withdrawn_makes_room() -> Result<()> {
    scene(|scene| {
        let mut hospital = Fleet::open(scene)?;
        hospital.release("1A", "1B", &[])?;
        let first = hospital.offer("1B")?;
        hospital.ward.worker.kill();
        let copies = format!(
            "WITH RECURSIVE numbers (number) AS (SELECT 2 UNION ALL SELECT number + 1 FROM numbers WHERE number < {MANY})
             INSERT INTO offers (record) SELECT record FROM offers, numbers"
        );
        hospital.ward.worker.tamper("DistributionObject", &copies)?;
        hospital.ward.worker.restart()?;
        let (step, why) = refused_step(hospital.offer("1B"))?;
        ensure!(step == "offers" && why.contains("1000"), "{step}: {why}");
        let withdrawn = format!("offers/{}/withdraw", first.id);
        let _: OfferView = hospital.ward.administrator.post(&withdrawn, &())?;
        hospital.offer("1B")?;
        assert_eq!(refused_step(hospital.offer("1B"))?.0, "offers");
        Ok(())
    })
}

/// Waits until the server has heard that a device's update waits for something.
fn waits_for(hospital: &Fleet<'_>, device: &Device, why: &str) -> Result<()> {
    let administrator = &hospital.ward.administrator;
    wait::patiently(&format!("{device} to wait for its {why}"), || {
        let told: Vec<OutcomeView> = administrator.get(&format!("outcomes?device={device}"))?;
        Ok(told.first().is_some_and(|told| told.outcome == "postponed" && told.detail == why).then_some(()))
    })
    .with_context(|| hospital.stands("north"))?;
    let known: CatalogDevice = administrator.get(&format!("catalog/{device}"))?;
    let standing = (known.entry.update, known.entry.detail.as_deref(), known.entry.revision.as_str());
    ensure!(standing == (UpdateState::Postponed, Some(why), "1A"), "{device}: {standing:?}");
    Ok(())
}

/// The button at a gateway that confirms what waits for a device, where its page shows one.
fn confirmation(gateway: &Pump<'_>, device: &Device) -> Result<Option<String>> {
    let page = gateway.page()?;
    let begins = format!("data-order=\"/confirm/{device}/");
    let rest = page.split_once(&begins).and_then(|(_, rest)| rest.split_once('"'));
    Ok(rest.map(|(directive, _)| format!("confirm/{device}/{directive}")))
}

#[test]
fn an_update_that_waits_for_a_confirmation_is_installed_where_and_when_that_is_given() -> Result<()> {
    scene(|scene| {
        let hospital = Fleet::open(scene)?;
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        let (north, mut pump) = hospital.pump_at_gateway("n-1")?;
        let [pump_1, n_1, s_1] = [device("pump-1")?, device("n-1")?, device("s-1")?];
        let south = hospital.gateway("south", &["s-1"], &[])?;
        hospital.release_for_pumps(("1A", "1B"), "2", &[], &[])?;
        hospital.publish()?;
        offer(&hospital, "1B", OfferWhen::OnConfirmation, &[])?;
        for device in [&pump_1, &n_1, &s_1] {
            waits_for(&hospital, device, "confirmation")?;
        }
        pump.wait_for_question()?;
        let shown = |gateway: &Pump<'_>, device: &Device| {
            wait::until(&format!("the button for {device}"), || confirmation(gateway, device))
        };
        let (at_north, at_south) = (shown(&north, &n_1)?, shown(&south, &s_1)?);

        // Another directive than the one that was shown is not confirmed by it.
        let (confirm, directive) = at_north.rsplit_once('/').context("a directive")?;
        north.press(&format!("{confirm}/{}", directive.parse::<u64>()? + 1))?;
        south.press(&at_south)?;
        hospital.wait_for_all(&[&s_1], "1B")?;
        ensure!(hospital.runs_by_catalog(&n_1)? == "1A" && confirmation(&north, &n_1)?.is_some(), "it waits no longer");

        // At a device that verifies for itself it is confirmed there, and nowhere else.
        ensure!(confirmation(&north, &pump_1)?.is_none(), "the gateway asks for the pump");
        north.press(&at_north)?;
        hospital.wait_for_all(&[&n_1], "1B")?;
        ensure!(hospital.runs_by_catalog(&pump_1)? == "1A", "nobody has confirmed it at the pump");
        pump.press("install")?;
        hospital.wait_for_all(&[&pump_1], "1B")?;
        hospital.outcome(&pump_1, "installed").map(drop)
    })
}

#[test]
fn a_window_that_is_not_now_keeps_an_update_waiting_and_one_that_is_now_or_begins_lets_it_in() -> Result<()> {
    scene(|scene| {
        let hospital = Fleet::open(scene)?;
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        let (_north, _pump) = hospital.pump_at_gateway("n-1")?;
        let _south = hospital.gateway("south", &["s-1"], &[])?;
        let [pump_1, n_1, s_1] = [device("pump-1")?, device("n-1")?, device("s-1")?];
        hospital.release_for_pumps(("1A", "1B"), "2", &[], &[])?;
        hospital.publish()?;
        let now = clock::now().as_secs();
        let later = OfferWhen::Window { from: now + 36_000, until: now + 72_000 };
        offer(&hospital, "1B", later, &[])?;
        for device in [&pump_1, &n_1, &s_1] {
            waits_for(&hospital, device, "window")?;
        }

        // Who need not wait does not, and the others go on waiting.
        let path = hospital.acme.program("1B");
        let scope = OfferScope::Devices(vec![s_1.clone()]);
        let at_once = NewOffer { path, scope, when: OfferWhen::AtOnce, added: Vec::new() };
        let _: OfferView = hospital.ward.administrator.post("offers", &at_once)?;
        hospital.wait_for_all(&[&s_1], "1B")?;
        for device in [&pump_1, &n_1] {
            waits_for(&hospital, device, "window")?;
        }

        let present = OfferWhen::Window { from: now - 36_000, until: now + 36_000 };
        offer(&hospital, "1B", present, &[])?;
        hospital.wait_for_all(&[&pump_1, &n_1], "1B")?;

        // Nobody has to say that it begins.
        hospital.release_for_pumps(("1B", "1C"), "3", &[], &[])?;
        hospital.publish()?;
        let from = clock::now().as_secs() + 20;
        offer(&hospital, "1C", OfferWhen::Window { from, until: from + 36_000 }, &[])?;
        hospital.wait_for_all(&[&pump_1, &n_1, &s_1], "1C")?;
        ensure!(clock::now().as_secs() >= from, "it was installed before its window");
        Ok(())
    })
}

#[test]
fn new_releases_recalls_and_people_push_to_open_sessions() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let mut hub = stage.hub("pump-1")?;
        let mut talk = hub.connect()?;
        stage.offer("1B", OfferScope::Devices(vec![hub.device.clone()]))?;
        talk.report(hub.report("1A", None, &[])?)?;
        let mut last = talk.directive()?;
        let mut is_newer = |talk: &mut Talk| -> Result<()> {
            let version = talk.directive()?;
            ensure!(version > last, "{version} comes after {last}");
            last = version;
            Ok(())
        };

        stage.acme.release(&["--yes", "recall", &stage.acme.program("1B"), "--reason", "it drips"])?;
        stage.acme.sign()?;
        stage.acme.publish(&stage.ward.worker.origin())?;
        is_newer(&mut talk)?;
        ensure!(hub.directive(&talk.welcome)?.orders.is_empty(), "a recalled release is directed to nobody");
        assert_eq!(refusal(stage.offer("1B", OfferScope::Model))?, ProblemKind::RefusedStep);

        stage.acme.add("1A", "1C", b"the second program", &[])?;
        stage.acme.publish(&stage.ward.worker.origin())?;
        let offer = stage.offer("1C", OfferScope::Class("infusion-pump".parse()?))?;
        is_newer(&mut talk)?;
        let _: OfferView = stage.ward.administrator.post(&format!("offers/{}/withdraw", offer.id), &())?;
        is_newer(&mut talk)?;
        ensure!(hub.directive(&talk.welcome)?.orders.is_empty(), "what is withdrawn is directed to nobody");

        let one: Pushed = stage.ward.administrator.post(&format!("gateways/{}/push", hub.device), &())?;
        is_newer(&mut talk)?;
        let (_, nurse) = stage.ward.administrator.add_person("nora", Role::Nurse)?;
        let (_, auditor) = stage.ward.administrator.add_person("otto", Role::Auditor)?;
        let broadcast = Broadcast { client: "infusion-pump".parse()? };
        assert_eq!(refusal(auditor.post::<Pushed>("gateways/push", &broadcast))?, ProblemKind::Forbidden);
        assert_eq!(refusal(nurse.get::<CatalogPage>("catalog"))?, ProblemKind::Forbidden);
        assert_eq!(auditor.get::<CatalogPage>("catalog?find=s-pump-1")?.total, 1);
        assert_eq!(auditor.get::<CatalogPage>("catalog?find=nothing")?.total, 0);
        assert_eq!((one.gateways, talk.ask()?), (1, None));
        Ok(())
    })
}

#[test]
fn a_broadcast_renews_the_directive_of_each_gateway_of_the_class_and_of_no_other() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let (mut first, mut second, mut third) = (stage.hub("pump-1")?, stage.hub("pump-2")?, stage.hub("pump-3")?);
        let scale = |name: &str| state(&device_of(name)?, "1A", None);
        let mut talk = first.connect()?;
        talk.report(first.report("1A", None, &[scale("scale/scale-1")?])?)?;
        let before = talk.directive()?;
        let mut polling = second.connect()?;
        polling.report(second.report("1A", None, &[scale("scale/scale-2")?])?)?;
        polling.directive()?;
        let welcome = polling.welcome.clone();
        polling.leave()?;
        let mut other = third.connect()?;
        other.report(third.report("1A", None, &[state(&device("pump-9")?, "1A", None)?])?)?;
        let others = other.directive()?;

        // As long as nobody says anything, nothing is new for anybody.
        for asking in [&mut talk, &mut other] {
            asking.ask()?;
        }
        assert_eq!(stage.gateway(&first.device)?.directive, before);
        let polled = second.poll("metadata/timestamp.json", &welcome.ticket, "")?;
        let known = second.directive(&welcome)?.version;
        assert_eq!(second.poll("metadata/timestamp.json", &welcome.ticket, &polled.etag)?.status, 304);

        let broadcast = Broadcast { client: "scale".parse()? };
        let pushed: Pushed = stage.ward.administrator.post("gateways/push", &broadcast)?;
        assert_eq!(pushed.gateways, 2);
        // It is told over the open session, and waits for whoever polls.
        let told = talk.directive()?;
        ensure!(told > before && first.directive(&talk.welcome)?.version == told, "{told} after {before}");
        wait::until("its next poll brings it something", || {
            let polled = second.poll("metadata/timestamp.json", &welcome.ticket, &polled.etag)?;
            Ok((polled.status == 200).then_some(()))
        })?;
        ensure!(second.directive(&welcome)?.version > known, "the same directive");
        other.ask()?;
        assert_eq!(stage.gateway(&third.device)?.directive, others, "it has no scale");

        // A class of which nobody has a device is no mistake.
        let nobody = Broadcast { client: "pill-dispenser".parse()? };
        assert_eq!(stage.ward.administrator.post::<Pushed>("gateways/push", &nobody)?.gateways, 0);
        Ok(())
    })
}

#[test]
fn a_device_that_fails_again_and_again_is_set_aside_until_somebody_decides() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let mut hub = stage.hub("pump-1")?;
        let mut talk = hub.connect()?;
        let offer = stage.offer("1B", OfferScope::Model)?;
        talk.report(hub.report("1A", None, &[])?)?;
        let pump = hub.device.clone();
        let fail = |talk: &mut Talk, directive| {
            talk.outcome(&pump, directive, &offer.path, Outcome::Failed { reason: note("flash")? })
        };
        let push = format!("gateways/{pump}/push");
        for standing in [UpdateState::Retrying, UpdateState::Retrying, UpdateState::SetAside] {
            let directed = wait::until("it is directed", || {
                Ok(Some(hub.directive(&talk.welcome)?).filter(|directed| directed.order_for(&pump).is_some()))
            })?;
            // What is told again, since its answer was lost, counts once.
            for _ in 0..3 {
                assert_eq!(fail(&mut talk, directed.version)?, None);
                assert_eq!(stage.standing(&pump)?, standing);
            }
            // It is left alone for a while, whatever its gateway reports meanwhile, unless a person wants it tried now.
            let scale = device(&format!("scale-{}", directed.version))?;
            talk.report(hub.report("1A", None, &[state(&scale, "1A", None)?])?)?;
            ensure!(hub.directive(&talk.welcome)?.order_for(&pump).is_none(), "it is directed again at once");
            let _: Pushed = stage.ward.administrator.post(&push, &())?;
        }
        ensure!(hub.directive(&talk.welcome)?.order_for(&pump).is_none(), "it is given nothing");

        let path = format!("catalog/{}/resume", hub.device);
        let _: CatalogDevice = stage.ward.administrator.post(&path, &())?;
        wait::until("it is directed again", || Ok(hub.directive(&talk.welcome)?.order_for(&hub.device).map(drop)))?;
        let again = stage.ward.administrator.post::<CatalogDevice>(&path, &());
        assert_eq!(refusal(again)?, ProblemKind::WrongState);
        let Some(outcomes) = stage.ward.administrator.get::<Vec<OutcomeView>>("outcomes").ok() else {
            bail!("outcomes")
        };
        assert_eq!(outcomes.iter().filter(|outcome| outcome.outcome == "failed").count(), 3);
        Ok(())
    })
}

#[test]
fn who_is_in_a_directive_that_its_gateway_refuses_waits_and_has_not_failed() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let mut hub = stage.hub("pump-1")?;
        let mut talk = hub.connect()?;
        let (gateway, pump) = (hub.device.clone(), device("pump-2")?);
        let offer = stage.offer("1B", OfferScope::Model)?;
        talk.report(hub.report("1A", None, &[state(&pump, "1A", None)?])?)?;
        let mut last = 0;
        for reason in ["a role has ended", "a role has ended", "a role has ended", "a signature is wrong"] {
            let directed = wait::until("both are directed", || {
                let newest = hub.directive(&talk.welcome)?;
                let both = [&gateway, &pump].iter().all(|device| newest.order_for(device).is_some());
                Ok(Some(newest.version).filter(|version| both && *version > last))
            })?;
            last = directed;
            assert_eq!(talk.refuse(&gateway, directed, reason)?, None);
            let detail = format!("{}5.4.4.2 step 6: {reason}", words::DIRECTIVE_REFUSED);
            for device in [&gateway, &pump] {
                let entry = stage.catalog(device)?.entry;
                assert_eq!((entry.update, entry.failures), (UpdateState::Postponed, 0));
                assert_eq!(entry.detail.as_deref(), Some(detail.as_str()));
            }
            let page: OfferDevices = stage.ward.administrator.get(&format!("offers/{}/devices", offer.id))?;
            for device in page.devices {
                assert_eq!((device.standing, device.detail), (OfferStanding::Waiting, Some(detail.clone())));
            }
            let _: Pushed = stage.ward.administrator.post(&format!("gateways/{gateway}/push"), &())?;
        }
        let told = stage.catalog(&pump)?.history.into_iter().filter(|change| change.what == "refused").count();
        assert_eq!(told, 2, "each reason once");

        // In the end it takes the directive: what it then tells of a device counts as ever.
        assert_eq!(talk.outcome(&pump, last, &offer.path, installed("1B", 1)?)?, None);
        assert_eq!(stage.standing(&pump)?, UpdateState::Current);
        assert_eq!(talk.outcome(&gateway, last, &offer.path, Outcome::Failed { reason: note("flash")? })?, None);
        assert_eq!(stage.catalog(&gateway)?.entry.failures, 1);
        Ok(())
    })
}

#[test]
fn a_broadcast_has_what_has_failed_tried_again_at_the_gateways_of_its_class() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let mut hub = stage.hub("pump-1")?;
        let mut talk = hub.connect()?;
        let offer = stage.offer("1B", OfferScope::Model)?;
        talk.report(hub.report("1A", None, &[])?)?;
        let pump = hub.device.clone();
        let welcome = talk.welcome.clone();
        let is_directed = || Ok::<_, anyhow::Error>(hub.directive(&welcome)?.order_for(&pump).is_some());
        ensure!(is_directed()?, "it is not directed");
        let directive = hub.directive(&welcome)?.version;
        talk.outcome(&pump, directive, &offer.path, Outcome::Failed { reason: note("flash")? })?;
        ensure!(!is_directed()?, "it does not rest");
        let broadcast = |client: &str| -> Result<u64> {
            let broadcast = Broadcast { client: client.parse().context("a class")? };
            Ok(stage.ward.administrator.post::<Pushed>("gateways/push", &broadcast)?.gateways)
        };
        // One that does not concern it changes nothing.
        assert_eq!(broadcast("scale")?, 0);
        let rests = |is: bool| -> Result<()> {
            let known = stage.catalog(&pump)?.entry;
            assert_eq!((known.update, known.failures, known.retry_at.is_some()), (UpdateState::Retrying, 1, is));
            Ok(())
        };
        rests(true)?;
        ensure!(!is_directed()?, "it does not rest any more");
        assert_eq!(broadcast("infusion-pump")?, 1);
        wait::until("it is directed again", || Ok(is_directed()?.then_some(())))?;
        rests(false)
    })
}

#[test]
fn an_image_that_is_corrupt_counts_once_however_often_its_device_tries_again() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let mut hub = stage.hub("pump-1")?;
        let mut talk = hub.connect()?;
        let offer = stage.offer("1B", OfferScope::Model)?;
        let (pump, mut scales) = (hub.device.clone(), Vec::new());
        for round in 0..4 {
            talk.report(hub.report("1A", None, &scales)?)?;
            // The order stays, as the device goes on by itself, also where the directive says more than before.
            let directed = hub.directive(&talk.welcome)?;
            ensure!(directed.order_for(&pump).is_some(), "its order is taken from it");
            for _ in 0..2 {
                assert_eq!(talk.outcome(&pump, directed.version, &offer.path, Outcome::Begun)?, None);
                assert_eq!(stage.standing(&pump)?, UpdateState::Installing);
                assert_eq!(talk.outcome(&pump, directed.version, &offer.path, Outcome::Corrupt)?, None);
                assert_eq!(stage.standing(&pump)?, UpdateState::Retrying);
            }
            scales.push(state(&device(&format!("scale-{round}"))?, "1A", None)?);
        }
        let changes = stage.catalog(&pump)?.history;
        assert_eq!(changes.iter().filter(|change| change.what == "corrupt").count(), 1);
        Ok(())
    })
}

#[test]
fn what_a_manufacturer_has_published_is_given_to_devices_only_as_long_as_it_counts() -> Result<()> {
    scene(|scene| {
        let mut stage = Stage::open(scene)?;
        let mut hub = stage.hub("pump-1")?;
        let pump = hub.device.clone();
        let mut talk = hub.connect()?;
        talk.report(hub.report("1A", None, &[])?)?;
        let offer = stage.offer("1B", OfferScope::Devices(vec![pump.clone()]))?;
        let stands = |stage: &Stage<'_>, standing: OfferStanding| {
            wait::until(&format!("{standing:?}"), || {
                Ok((stage.offered(offer.id)? == [(pump.clone(), standing)]).then_some(()))
            })
        };
        stands(&stage, OfferStanding::Directed)?;

        // It counts for a few seconds more; the end itself has the gateway matched anew.
        let known: Vec<ManufacturerView> = stage.ward.administrator.get("manufacturers")?;
        let published = known.into_iter().find_map(|known| known.published).context("it has published")?;
        let published = PublishedView { ends_at: clock::now().after(Duration::from_secs(10)), ..published };
        let record = HEXUPPER.encode(&cbor::pack(&published)?);
        stage.ward.worker.kill();
        stage.ward.worker.tamper("DistributionObject", &format!("UPDATE manufacturers SET published = X'{record}'"))?;
        stage.ward.worker.restart()?;
        let _: Pushed = stage.ward.administrator.post(&format!("gateways/{pump}/push"), &())?;
        stands(&stage, OfferStanding::Waiting)?;
        ensure!(clock::now() >= published.ends_at, "it is withheld too early");
        let page: OfferDevices = stage.ward.administrator.get(&format!("offers/{}/devices", offer.id))?;
        assert_eq!(page.devices.first().and_then(|known| known.detail.as_deref()), Some(words::OUT_OF_DATE));
        assert_eq!(stage.standing(&pump)?, UpdateState::Withheld);

        // The manufacturer publishes anew.
        stage.acme.add("1B", "1C", b"the second program", &["--release", "2"])?;
        stage.acme.publish(&stage.ward.worker.origin())?;
        stands(&stage, OfferStanding::Directed)
    })
}
