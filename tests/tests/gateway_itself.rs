//! The gateway's own program, from the manufacturer's desk to the slot that it runs from, and back (Distribution, paragraphs 0048 and 0050).

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use wardlink_crypto::schedule::message_hash;
use wardlink_protocol::Device;
use wardlink_protocol::api::{CatalogDevice, OfferView, OutcomeView, Pushed, UpdateState};
use wardlink_tests::fleet::{Fleet, device_of};
use wardlink_tests::pump::Pump;
use wardlink_tests::{Scene, artifacts, scene, wait};

/// The type, model and hardware of the gateway.
const GATEWAY: (&str, &str, &str) = ("gateway", "GW1", "B");
/// The folders of its two slots.
const SLOTS: [&str; 2] = ["slot-a", "slot-b"];

/// A hospital whose gateway updates itself, with a passive device behind it.
struct Site<'s> {
    scene: &'s Scene,
    hospital: Fleet<'s>,
    north: Pump<'s>,
    gateway: Device,
}

impl<'s> Site<'s> {
    fn open(scene: &'s Scene) -> Result<Self> {
        Self::open_with(scene, &[])
    }

    /// The same, with these flags of the gateway.
    fn open_with(scene: &'s Scene, flags: &[&str]) -> Result<Self> {
        let hospital = Fleet::open(scene)?;
        hospital.acme.delegate(&["infusion-pump/PM2", "gateway/GW1"])?;
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        let programs = format!("--programs={}", scene.path("programs").display());
        let (_, model, hardware) = GATEWAY;
        let is = ["--made-by=acme", "--model", model, "--hardware", hardware, &programs];
        let north = hospital.gateway("north", &["n-1"], &[&is[..], flags].concat())?;
        Ok(Self { scene, hospital, north, gateway: device_of("gateway/north")? })
    }

    /// The manufacturer signs and publishes the gateway's next program, and a person offers it.
    fn offer(&self, to: &str, program: &[u8]) -> Result<OfferView> {
        let from = self.runs()?;
        self.hospital.acme.add_for(GATEWAY, (&from, to), program, &[])?;
        self.hospital.publish()?;
        self.hospital.offer_program(format!("acme/gateway/GW1/{to}.bin"))
    }

    /// What the catalog says that it runs.
    fn runs(&self) -> Result<String> {
        self.hospital.runs_by_catalog(&self.gateway)
    }

    fn catalog(&self) -> Result<CatalogDevice> {
        self.hospital.ward.administrator.get(&format!("catalog/{}", self.gateway))
    }

    /// What became of its updates, the newest first: the outcomes and their details.
    fn told(&self) -> Result<Vec<(String, String)>> {
        let told: Vec<OutcomeView> =
            self.hospital.ward.administrator.get(&format!("outcomes?device={}", self.gateway))?;
        Ok(told.into_iter().map(|told| (told.outcome, told.detail)).collect())
    }

    /// A file or folder of its own programs.
    fn programs(&self, name: &str) -> PathBuf {
        self.scene.path("programs").join(name)
    }

    /// Whether it has switched to a program that has yet to prove itself.
    fn is_on_trial(&self) -> bool {
        let record = fs::read(self.programs("record.json")).unwrap_or_default();
        serde_json::from_slice::<Value>(&record).is_ok_and(|record| record.get("before").is_some())
    }

    /// Waits until there is this program in one of its slots, or none at all, and nothing else.
    fn has_only(&self, program: Option<&[u8]>) -> Result<()> {
        wait::until("the programs that are left", || {
            let slots = SLOTS.map(|slot| self.programs(slot)).into_iter().filter(|slot| slot.exists());
            let images: Vec<_> = slots.map(|slot| fs::read(slot.join("image.bin")).unwrap_or_default()).collect();
            let is_so = !self.is_on_trial() && images.iter().map(Vec::as_slice).eq(program);
            Ok(is_so.then_some(()))
        })
    }

    /// Waits until the server has heard that it runs a revision.
    fn wait_for(&self, revision: &str) -> Result<()> {
        self.hospital.wait_for_all(&[&self.gateway], revision)?;
        self.hospital.wait_for_rest("north").map(drop)
    }

    /// Waits until the server has heard of a failure that it had not heard of; whoever watches over the gateway starts it again whenever it ends.
    /// How often that was.
    fn wait_for_failure(&mut self, known: usize) -> Result<usize> {
        let mut started = 0;
        wait::patiently("the word that it failed", || {
            started += usize::from(self.north.watch_over()?);
            let failed = self.told()?.into_iter().filter(|(outcome, _)| outcome == "failed").count();
            Ok((failed > known).then_some(()))
        })?;
        Ok(started)
    }

    /// A person wants what has failed to be tried again now.
    fn push(&self) -> Result<()> {
        let _: Pushed = self.hospital.ward.administrator.post(&format!("gateways/{}/push", self.gateway), &())?;
        Ok(())
    }
}

/// A program that works: the real one, under a name of its own and so long.
fn working(name: &str, length: usize) -> Result<Vec<u8>> {
    working_after("", name, length)
}

/// The same, which does this first.
fn working_after(first: &str, name: &str, length: usize) -> Result<Vec<u8>> {
    let program = format!("#!/bin/sh\n# {name}\n{first}exec '{}' \"$@\"\n", artifacts::agent()?.display());
    // A shell that has been replaced reads no further.
    Ok([program.into_bytes(), vec![b'#'; length]].concat())
}

#[test]
fn a_gateway_installs_its_own_next_program_and_goes_on_for_its_devices() -> Result<()> {
    scene(|scene| {
        let mut site = Site::open(scene)?;
        let (second, third) = (working("0.2", 0)?, working("0.3", 0)?);
        site.has_only(None)?;
        for (revision, program) in [("0.2", &second), ("0.3", &third)] {
            let offer = site.offer(revision, program)?;
            site.wait_for(revision)?;
            // Beside it nothing is left of what ran before.
            site.has_only(Some(program))?;
            let offers: Vec<OfferView> = site.hospital.ward.administrator.get("offers")?;
            let counts = offers.iter().find(|known| known.id == offer.id).map(|known| (known.installed, known.failed));
            assert_eq!(counts, Some((1, 0)));
            let known = site.catalog()?;
            assert_eq!((known.entry.update, known.entry.failures), (UpdateState::Current, 0));
            let changes = known.history.iter().filter(|change| change.to.as_deref() == Some(revision)).count();
            assert_eq!(changes, 1, "{:?}", known.history);
        }
        let installed = |detail: &str| ("installed".to_owned(), detail.to_owned());
        assert_eq!(site.told()?, [installed("0.3, release 2"), installed("0.2, release 1")]);
        let replaced = site.north.state().join("packages").join(message_hash(&second).to_string());
        ensure!(!replaced.exists(), "the replaced program lies in the cache");
        ensure!(site.north.page()?.contains("0.3"), "its page does not show what it runs");

        // It is the new program that serves its devices now, and nobody had to start it.
        site.hospital.release("1A", "1B", &[])?;
        site.hospital.offer("1B")?;
        site.hospital.wait_for("n-1", "1B")?;
        ensure!(!site.north.watch_over()?, "it has ended");
        Ok(())
    })
}

#[test]
fn a_program_of_the_gateways_that_does_not_come_up_is_taken_back_and_people_see_why() -> Result<()> {
    scene(|scene| {
        let mut site = Site::open(scene)?;
        let factory = site.runs()?;
        let stands = |site: &Site<'_>, runs: &str, failures: u64| -> Result<()> {
            let known = site.catalog()?.entry;
            let standing = (known.revision.as_str(), known.update, known.failures);
            ensure!(standing == (runs, UpdateState::Retrying, failures), "{known:?}");
            let why = known.detail.context("why it failed")?;
            ensure!(why.contains("did not start"), "{why}");
            ensure!(site.told()?.first().is_some_and(|told| *told == ("failed".to_owned(), why)), "the outcome");
            wait::until("its session", || Ok(site.hospital.known("north")?.filter(|known| known.online)))?;
            Ok(())
        };

        // What cannot be started at all: the gateway goes on by itself with what it had.
        site.offer("0.2", b"#!/nowhere\n")?;
        assert_eq!(site.wait_for_failure(0)?, 0, "somebody had to start it");
        stands(&site, &factory, 1)?;
        site.has_only(None)?;

        // What ends again and again is taken back in the end, also by one that was itself installed so.
        let third = working("0.3", 0)?;
        site.offer("0.3", &third)?;
        site.push()?;
        site.wait_for("0.3")?;
        site.offer("0.4", b"#!/bin/sh\nexit 1\n")?;
        ensure!(site.wait_for_failure(1)? >= 3, "it was taken back before it was tried");
        stands(&site, "0.3", 1)?;
        site.has_only(Some(&third))?;

        // The next one counts, and what failed before is forgiven.
        let fifth = working("0.5", 0)?;
        site.offer("0.5", &fifth)?;
        site.push()?;
        site.wait_for("0.5")?;
        site.has_only(Some(&fifth))?;
        let known = site.catalog()?.entry;
        assert_eq!((known.update, known.failures), (UpdateState::Current, 0));
        Ok(())
    })
}

#[test]
fn a_program_of_the_gateways_that_hangs_is_ended_and_taken_back() -> Result<()> {
    scene(|scene| {
        let mut site = Site::open_with(scene, &["--trial-secs=1"])?;
        let factory = site.runs()?;
        site.offer("0.2", b"#!/bin/sh\nexec sleep 1000000\n")?;
        assert_eq!(site.wait_for_failure(0)?, 3, "how often it was started anew");
        let known = site.catalog()?.entry;
        assert_eq!((known.revision, known.update), (factory, UpdateState::Retrying));
        site.has_only(None)
    })
}

#[test]
fn a_gateway_that_is_killed_while_it_replaces_itself_comes_to_the_end_of_it() -> Result<()> {
    scene(|scene| {
        let mut site = Site::open(scene)?;
        let may_start = scene.path("may-start");
        let wait_first = format!("until [ -e '{}' ]; do sleep 0.05; done\n", may_start.display());
        let program = working_after(&wait_first, "0.2", 12_000_000)?;
        site.offer("0.2", &program)?;
        let packages = site.north.state().join("packages");

        // While it comes, and while it is written into its slot.
        wait::until("a part of it", || Ok(fs::read_dir(&packages)?.next().map(drop)))?;
        site.north.kill();
        site.north.restart()?;
        wait::until("the slot", || Ok(site.programs("slot-b/image.bin").exists().then_some(())))?;
        site.north.kill();
        site.north.restart()?;

        // While it is on trial, and the server is away: it is not taken back for that. Its trial does not end before the server has gone.
        wait::until("its trial", || Ok(site.is_on_trial().then_some(())))?;
        site.hospital.ward.worker.kill();
        fs::write(may_start, "").context("a file")?;
        site.north.wait_for("trouble")?;
        site.north.kill();
        site.north.restart()?;
        site.north.wait_for("trouble")?;
        site.hospital.ward.worker.restart()?;
        site.wait_for("0.2")?;
        site.has_only(Some(&program))?;
        assert_eq!(site.told()?, [("installed".to_owned(), "0.2, release 1".to_owned())]);
        Ok(())
    })
}
