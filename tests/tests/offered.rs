//! How far devices are with what they are offered, as they, and time, tell of it.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use wardlink_agent::clock;
use wardlink_protocol::api::{
    CatalogPage, LiveEvent, NewOffer, OfferDevices, OfferScope, OfferStanding, OfferView, OfferWhen, OutcomeView,
    ProblemKind, Pushed, UpdateState, words,
};
use wardlink_tests::api::refusal;
use wardlink_tests::live::Live;
use wardlink_tests::stage::{Stage, installed, note};
use wardlink_tests::ward::device;
use wardlink_tests::{scene, wait};
use wardlink_update::uptane::{Outcome, Postponed};

#[test]
fn what_is_told_of_an_earlier_package_says_nothing_of_the_one_that_is_given() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        stage.acme.add("1A", "1C", b"the other program", &[])?;
        stage.acme.publish(&stage.ward.worker.origin())?;
        let mut hub = stage.hub("pump-1")?;
        let mut talk = hub.connect()?;
        let (pump, all) = (hub.device.clone(), || OfferScope::Model);
        talk.report(hub.report("1A", None, &[])?)?;
        let earlier = stage.offer("1B", all())?;
        let directive = talk.directive()?;
        let _: OfferView = stage.ward.administrator.post(&format!("offers/{}/withdraw", earlier.id), &())?;
        let present = stage.offer("1C", all())?;
        wait::until("it is given", || Ok((!stage.offered(present.id)?.is_empty()).then_some(())))?;

        talk.outcome(&pump, directive, &earlier.path, Outcome::Failed { reason: note("flash")? })?;
        let entry = stage.catalog(&pump)?.entry;
        assert_eq!((entry.update, entry.failures, entry.retry_at), (UpdateState::Directed, 0, None));
        assert_eq!(stage.offered(present.id)?, [(pump.clone(), OfferStanding::Directed)]);
        let told: Vec<OutcomeView> = stage.ward.administrator.get(&format!("outcomes?device={pump}"))?;
        assert_eq!(told.iter().map(|told| told.outcome.as_str()).collect::<Vec<_>>(), ["failed"]);
        Ok(())
    })
}

#[test]
fn who_has_missed_the_window_is_given_it_no_more_and_a_person_is_told() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let mut hub = stage.hub("pump-1")?;
        let mut talk = hub.connect()?;
        let pump = hub.device.clone();
        talk.report(hub.report("1A", None, &[])?)?;
        let now = clock::now().as_secs();
        let (scope, when) = (OfferScope::Model, OfferWhen::Window { from: now, until: now + 20 });
        let new = NewOffer { path: stage.acme.program("1B"), scope, when, added: Vec::new() };
        let offer: OfferView = stage.ward.administrator.post("offers", &new)?;
        talk.directive()?;
        ensure!(hub.directive(&talk.welcome)?.order_for(&pump).is_some(), "it is given the update");
        wait::until("the window is over", || {
            Ok((stage.offered(offer.id)? == [(pump.clone(), OfferStanding::Waiting)]).then_some(()))
        })?;
        let entry = stage.catalog(&pump)?.entry;
        assert_eq!((entry.update, entry.detail.as_deref()), (UpdateState::Withheld, Some(words::WINDOW_IS_OVER)));
        ensure!(hub.directive(&talk.welcome)?.order_for(&pump).is_none(), "it is given nothing");

        // Offered anew, it gets it.
        stage.offer("1B", OfferScope::Model)?;
        wait::until("it is given it anew", || Ok(hub.directive(&talk.welcome)?.order_for(&pump).map(drop)))
    })
}

#[test]
fn each_device_stands_once_with_its_offer_whatever_happens_to_it() -> Result<()> {
    scene(|scene| {
        let stage = Stage::open(scene)?;
        let mut hub = stage.hub("pump-1")?;
        let mut talk = hub.connect()?;
        let (pump, nobody) = (hub.device.clone(), device("nobody")?);
        let chosen = OfferScope::Devices(vec![pump.clone(), nobody.clone()]);
        let offer = stage.offer("1B", chosen)?;
        assert_eq!((offer.waiting, offer.directed), (2, 0), "nobody reports them yet");
        talk.report(hub.report("1A", None, &[])?)?;
        let directive = talk.directive()?;
        let waits = (nobody, OfferStanding::Waiting);
        let both = |standing| [waits.clone(), (pump.clone(), standing)];
        assert_eq!(stage.offered(offer.id)?, both(OfferStanding::Directed));

        // What its circumstances forbid, it waits for.
        talk.outcome(&pump, directive, &offer.path, Outcome::Postponed(Postponed::Therapy))?;
        assert_eq!(stage.offered(offer.id)?, both(OfferStanding::Waiting));
        let page: OfferDevices = stage.ward.administrator.get(&format!("offers/{}/devices", offer.id))?;
        let details: Vec<_> = page.devices.iter().filter_map(|known| known.detail.as_deref()).collect();
        assert_eq!(details, [words::NOT_KNOWN, "therapy"]);

        // Whoever looks is told that something has changed.
        let mut live = Live::connect(&stage.ward.administrator)?;
        // It is told once a second at most.
        thread::sleep(Duration::from_millis(1_100));
        talk.outcome(&pump, directive, &offer.path, Outcome::Postponed(Postponed::Unsafe))?;
        live.wait_for("a change", |event| matches!(event, LiveEvent::UpdatesChanged).then_some(()))?;
        talk.outcome(&pump, directive, &offer.path, Outcome::Postponed(Postponed::Therapy))?;

        // It begins, waits once more for the same, and begins again: neither is an outcome of its own.
        for _ in 0..2 {
            talk.outcome(&pump, directive, &offer.path, Outcome::Begun)?;
            assert_eq!(stage.offered(offer.id)?, both(OfferStanding::Installing));
            assert_eq!(stage.standing(&pump)?, UpdateState::Installing);
            talk.outcome(&pump, directive, &offer.path, Outcome::Postponed(Postponed::Therapy))?;
            assert_eq!(stage.offered(offer.id)?, both(OfferStanding::Waiting));
        }
        let told: Vec<OutcomeView> = stage.ward.administrator.get(&format!("outcomes?device={pump}"))?;
        assert_eq!(told.iter().map(|told| told.outcome.as_str()).collect::<Vec<_>>(), ["postponed"; 3]);
        talk.outcome(&pump, directive, &offer.path, Outcome::Begun)?;
        let find = |state: &str| stage.ward.administrator.get::<CatalogPage>(&format!("catalog?update={state}"));
        assert_eq!((find("installing")?.total, find("directed")?.total), (1, 0));

        // It fails, and is tried again: it is one device, and the catalog says when.
        talk.outcome(&pump, directive, &offer.path, Outcome::Failed { reason: note("flash")? })?;
        assert_eq!(stage.offered(offer.id)?, both(OfferStanding::Retrying));
        let entry = stage.catalog(&pump)?.entry;
        assert_eq!((entry.failures, entry.retry_at.is_some()), (1, true));
        let counts = |offer: &OfferView| [offer.directed, offer.waiting, offer.installed, offer.failed];
        let offers: Vec<OfferView> = stage.ward.administrator.get("offers")?;
        assert_eq!(offers.first().map(counts), Some([1, 1, 0, 0]));

        // Another offer of the same package to another device knows nothing of that.
        let other = stage.offer("1B", OfferScope::Devices(vec![device("nobody-2")?]))?;
        assert_eq!(counts(&other), [0, 1, 0, 0]);

        // It has installed it after all.
        let _: Pushed = stage.ward.administrator.post(&format!("gateways/{pump}/push"), &())?;
        talk.outcome(&pump, directive, &offer.path, installed("1B", 1)?)?;
        assert_eq!(stage.offered(offer.id)?, both(OfferStanding::Installed));
        let entry = stage.catalog(&pump)?.entry;
        assert_eq!((entry.failures, entry.retry_at), (0, None));

        // Who waited for it does so no more, and who has installed it has.
        let ended: OfferView = stage.ward.administrator.post(&format!("offers/{}/withdraw", offer.id), &())?;
        assert_eq!(counts(&ended), [0, 0, 1, 0]);
        assert_eq!(stage.offered(offer.id)?, [(pump.clone(), OfferStanding::Installed)]);
        let missing = stage.ward.administrator.get::<OfferDevices>("offers/99/devices");
        assert_eq!(refusal(missing)?, ProblemKind::NotFound);
        Ok(())
    })
}
