//! Releases on their way from the desk to three devices, with worker, gateway and pump killed (SIGKILL) at whatever moment: while a release is
//! published, while it is offered, and from then on until everybody runs it.
//!
//! `WARDLINK_DEATHS` says how many deaths follow each offer, `WARDLINK_SEED` which (it is printed).

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use wardlink_protocol::Device;
use wardlink_protocol::api::{CatalogDevice, OfferView, OutcomeView};
use wardlink_tests::chance::{drawn, number};
use wardlink_tests::fleet::Fleet;
use wardlink_tests::pump::Pump;
use wardlink_tests::ward::device;
use wardlink_tests::{scene, wait};

/// Deaths after each offer where nobody says how many.
const FEW: u64 = 5;
/// The longest time until the next death: a whole update fits into it.
const LATEST: Duration = Duration::from_secs(4);
/// The longest time from the beginning of a publication to a death in it.
const PUBLICATION_MS: u64 = 400;
/// The longest time from what is waited for, or from the beginning of a request, to a death.
const SOON_MS: u64 = 50;
/// What the worker's log says then.
const SESSION: &str = "a session of gateway/north stands";
const DIRECTIVE: &str = " for gateway/north: ";
/// The pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(3);

/// Who dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Worker,
    Gateway,
    Pump,
    Everybody,
}

impl Victim {
    const ALL: [Self; 4] = [Self::Worker, Self::Gateway, Self::Pump, Self::Everybody];
}

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Whatever happens meanwhile.
    Any,
    /// A session stands: the gateway reports next.
    Session,
    /// A directive is signed, and on its way.
    Directive,
    /// An image comes to the pump.
    Image,
    /// Something has come of an update, and has yet to be told.
    Outcome,
}

impl Moment {
    const ALL: [Self; 5] = [Self::Any, Self::Session, Self::Directive, Self::Image, Self::Outcome];
}

struct Site<'s> {
    hospital: Fleet<'s>,
    north: Pump<'s>,
    pump: Pump<'s>,
    devices: [Device; 3],
}

impl Site<'_> {
    /// Somebody dies, and is there again.
    fn survive(&mut self, victim: Victim) -> Result<()> {
        let is = |other| victim == other || victim == Victim::Everybody;
        if is(Victim::Worker) {
            self.hospital.ward.worker.kill();
        }
        if is(Victim::Gateway) {
            self.north.kill();
        }
        if is(Victim::Pump) {
            self.pump.kill();
        }
        if is(Victim::Gateway) {
            self.north.restart()?;
        }
        if is(Victim::Pump) {
            self.pump.restart()?;
        }
        if is(Victim::Worker) {
            self.hospital.ward.worker.restart()?;
        }
        Ok(())
    }

    /// Waits until this moment, or for a while: then somebody dies without it.
    fn wait_for(&self, moment: Moment, random: &mut StdRng) -> Result<()> {
        let lines = |part: &str| Ok::<_, anyhow::Error>(self.hospital.ward.worker.log()?.matches(part).count());
        let (sessions, directives) = (lines(SESSION)?, lines(DIRECTIVE)?);
        let incoming = self.pump.state().join("gateway/.incoming");
        let until = Instant::now() + LATEST.mul_f64(random.random());
        while Instant::now() < until {
            let is_there = match moment {
                Moment::Any => false,
                Moment::Session => lines(SESSION)? > sessions,
                Moment::Directive => lines(DIRECTIVE)? > directives,
                Moment::Image => fs::read_dir(&incoming).is_ok_and(|mut files| files.next().is_some()),
                Moment::Outcome => self.hospital.says("north", "outcomes_waiting").is_some_and(|waiting| waiting > 0),
            };
            if is_there {
                break;
            }
            thread::sleep(LOOK_AGAIN);
        }
        thread::sleep(Duration::from_millis(random.random_range(0..SOON_MS)));
        Ok(())
    }

    /// The worker and the desk die while a release is published; then it is published to its end.
    fn publish(&mut self, random: &mut StdRng) -> Result<()> {
        self.hospital.acme.sign()?;
        let origin = self.hospital.ward.worker.origin();
        let publishing = self.hospital.acme.start_publishing(&origin)?;
        thread::sleep(Duration::from_millis(random.random_range(0..PUBLICATION_MS)));
        self.hospital.ward.worker.kill();
        drop(publishing);
        self.hospital.ward.worker.restart()?;
        self.hospital.acme.publish(&origin).map(drop)
    }

    /// The worker dies while a person offers a release. What was answered counts; what was not, may or may not, and is said once more.
    fn offer(&mut self, revision: &str, random: &mut StdRng) -> Result<()> {
        let killer = self.hospital.ward.worker.killer()?;
        let after = Duration::from_millis(random.random_range(0..SOON_MS));
        let answered = thread::scope(|scope| {
            scope.spawn(move || {
                thread::sleep(after);
                killer.kill();
            });
            self.hospital.offer(revision)
        });
        self.survive(Victim::Worker)?;
        match (self.offers_of(revision)?.len(), answered) {
            (1, _) => Ok(()),
            (0, Err(_)) => self.hospital.offer(revision).map(drop),
            (count, answered) => bail!("there are {count} offers of {revision}; the answer was {answered:?}"),
        }
    }

    fn offers_of(&self, revision: &str) -> Result<Vec<OfferView>> {
        let offers: Vec<OfferView> = self.hospital.ward.administrator.get("offers")?;
        let path = self.hospital.acme.program(revision);
        Ok(offers.into_iter().filter(|offer| offer.path == path).collect())
    }

    /// Catalog, history, outcomes and offers say the same of a release that came to everybody.
    fn agrees(&self, revision: &str) -> Result<()> {
        let administrator = &self.hospital.ward.administrator;
        let installed = format!("{revision}, release ");
        for device in &self.devices {
            let told: Vec<OutcomeView> = wait::patiently(&format!("{device} to tell of {revision}"), || {
                let told: Vec<OutcomeView> = administrator.get(&format!("outcomes?device={device}"))?;
                Ok(told.iter().any(|told| told.detail.starts_with(&installed)).then_some(told))
            })?;
            let count = told.iter().filter(|told| told.detail.starts_with(&installed)).count();
            ensure!(count == 1, "{device} has told {count} times that it runs {revision}: {told:?}");
            let is_calm = |told: &OutcomeView| ["installed", "postponed"].contains(&told.outcome.as_str());
            ensure!(told.iter().all(is_calm), "{device} could not: {told:?}");
            let known: CatalogDevice = administrator.get(&format!("catalog/{device}"))?;
            let changes = known.history.iter().filter(|change| change.to.as_deref() == Some(revision)).count();
            ensure!(changes == 1, "{device} came to {revision} {changes} times: {:?}", known.history);
        }
        let offers = self.offers_of(revision)?;
        let counts: Vec<_> = offers.iter().map(|offer| (offer.installed, offer.directed, offer.failed)).collect();
        ensure!(counts == [(3, 0, 0)], "{offers:?}");
        Ok(())
    }

    /// The passive devices hold the very image.
    fn runs(&self, revision: &str) -> Result<()> {
        let image = fs::read(self.hospital.acme.path(&format!("image-{revision}"))).context("an image")?;
        for pump in ["n-1", "n-2"] {
            let found = fs::read(self.hospital.slot(pump)?.join("image.bin")).context("what it runs")?;
            ensure!(found == image, "{pump} runs something else than {revision}");
        }
        Ok(())
    }
}

#[test]
fn every_release_is_installed_once_and_everything_agrees_whoever_dies_on_the_way() -> Result<()> {
    let deaths = number("WARDLINK_DEATHS")?.unwrap_or(FEW);
    let seed = number("WARDLINK_SEED")?.map_or_else(drawn, Ok)?;
    eprintln!("{deaths} deaths after each offer, WARDLINK_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    scene(|scene| {
        let hospital = Fleet::open(scene)?;
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        let (north, pump) = hospital.pumps_at_gateway(&["n-1", "n-2"])?;
        let devices = [device("pump-1")?, device("n-1")?, device("n-2")?];
        let mut site = Site { hospital, north, pump, devices };
        let releases = [("1A", "1B", "2"), ("1B", "1C", "3")];
        for (from, to, counter) in releases {
            site.hospital.release_for_pumps((from, to), counter, &["--program-bytes", "2000000"], &[])?;
            site.publish(&mut random)?;
            site.offer(to, &mut random)?;
            for _ in 0..deaths {
                let victim = *Victim::ALL.choose(&mut random).context("there is somebody")?;
                let moment = *Moment::ALL.choose(&mut random).context("there is always a moment")?;
                eprintln!("{to}: {victim:?} at {moment:?}");
                site.wait_for(moment, &mut random)?;
                site.survive(victim)?;
            }
            let [one, two, three] = &site.devices;
            site.hospital.wait_for_all(&[one, two, three], to)?;
            site.hospital.wait_for_rest("north")?;
            site.agrees(to)?;
            site.runs(to)?;
        }
        // Whoever comes back once more tells nothing twice.
        site.survive(Victim::Everybody)?;
        site.hospital.wait_for_rest("north")?;
        releases.iter().try_for_each(|(_, to, _)| site.agrees(to))
    })
    .with_context(|| format!("WARDLINK_SEED={seed}"))
}
