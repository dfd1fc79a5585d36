//! Packages from elsewhere than the server, which cannot give them or is away: a mirror and a stick (Distribution, paragraph 0028; figure 12, 258 and 259).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use wardlink_protocol::Device;
use wardlink_protocol::api::OutcomeView;
use wardlink_tests::fleet::{Fleet, device_of, program};
use wardlink_tests::mirror::Mirror;
use wardlink_tests::process::free_port;
use wardlink_tests::pump::{Event, Pump, is, text};
use wardlink_tests::ward::device;
use wardlink_tests::{Scene, scene, wait};

/// A hospital that knows what it is to install on n-1, cannot have it from the server, and does not reach that any more.
struct CutOff<'s> {
    hospital: Fleet<'s>,
    north: Pump<'s>,
}

impl<'s> CutOff<'s> {
    fn open(scene: &'s Scene, more: &[&str]) -> Result<Self> {
        let hospital = Fleet::open(scene)?;
        let north = hospital.gateway("north", &["n-1"], more)?;
        hospital.release("1A", "1B", &[])?;
        Self::of(hospital, north, program("1B").as_bytes())
    }

    /// The server loses the package, which is offered, and then goes away.
    fn of(hospital: Fleet<'s>, north: Pump<'s>, package: &[u8]) -> Result<Self> {
        hospital.ward.worker.lose_file(package)?;
        hospital.offer("1B")?;
        let mut site = Self { hospital, north };
        site.wait_for_trouble("500")?;
        site.hospital.ward.worker.kill();
        site.north.wait_for("session-ended")?;
        Ok(site)
    }

    /// Why the gateway does not have the package.
    fn why(&self) -> Option<String> {
        let program = self.hospital.acme.program("1B");
        self.hospital.troubles("north")?.into_iter().find(|(what, _)| *what == program).map(|(_, why)| why)
    }

    fn wait_for_trouble(&self, part: &str) -> Result<String> {
        wait::until(&format!("the trouble \"{part}\""), || Ok(self.why().filter(|why| why.contains(part))))
            .with_context(|| self.hospital.stands("north"))
    }

    /// Exports what is published into a folder, as for a mirror or a stick.
    fn export(&self, to: &Path) -> Result<()> {
        self.hospital.acme.release(&["export", &to.join("acme").display().to_string()]).map(drop)
    }

    /// Somebody at the gateway has it look now.
    fn look(&self) -> Result<()> {
        self.north.press("ask")
    }

    /// It is installed while the server is away, which hears of it when it is there again.
    fn is_installed_and_told(&mut self) -> Result<()> {
        wait::until("1B on n-1", || {
            Ok(self.hospital.runs("n-1").is_ok_and(|runs| runs == program("1B")).then_some(()))
        })
        .with_context(|| self.hospital.stands("north"))?;
        self.is_told(&device("n-1")?, 1)
    }

    /// What has come of it waits for the server, which hears it once.
    fn is_told(&mut self, device: &Device, release: u32) -> Result<()> {
        wait::until("an outcome that waits", || {
            Ok(self.hospital.says("north", "outcomes_waiting").filter(|waiting| *waiting > 0))
        })?;
        wait::until("no trouble with it any more", || Ok(self.why().is_none().then_some(())))?;
        self.hospital.ward.worker.restart()?;
        self.hospital.wait_for_all(&[device], "1B")?;
        // What it runs may be reported before what has come of it.
        self.hospital.outcome(device, "installed")?;
        self.hospital.wait_for_rest("north")?;
        let told: Vec<OutcomeView> = self.hospital.ward.administrator.get(&format!("outcomes?device={device}"))?;
        let told: Vec<_> = told.iter().map(|told| (told.outcome.as_str(), told.detail.as_str())).collect();
        assert_eq!(told, [("installed", &*format!("1B, release {release}"))]);
        Ok(())
    }
}

/// The only file below a folder whose name ends so.
fn file_below(folder: &Path, end: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(folder).context("cannot look into a folder")? {
        let path = entry.context("cannot look into a folder")?.path();
        if path.is_dir() {
            if let Ok(found) = file_below(&path, end) {
                return Ok(found);
            }
        } else if path.to_string_lossy().ends_with(end) {
            return Ok(path);
        }
    }
    anyhow::bail!("nothing in {} ends with {end}", folder.display())
}

#[test]
fn a_package_that_the_server_has_lost_comes_from_a_mirror_while_the_server_is_away() -> Result<()> {
    scene(|scene| {
        let packages = scene.path("mirror");
        let mirror = Mirror::open(scene, &packages)?;
        let mut site = CutOff::open(scene, &[&format!("--mirror={}", mirror.address())])?;
        site.export(&packages)?;
        site.look()?;
        site.is_installed_and_told()
    })
}

#[test]
fn a_package_from_a_stick_is_refused_with_its_step_when_it_was_altered_and_installed_when_it_is_right() -> Result<()> {
    scene(|scene| {
        let stick = scene.path("stick");
        let mut site = CutOff::open(scene, &[&format!("--media={}", stick.display())])?;
        site.export(&stick)?;
        let package = file_below(&stick, ".1B.bin")?;
        let mut altered = fs::read(&package)?;
        *altered.last_mut().context("it has bytes")? ^= 1;
        fs::write(&package, &altered)?;
        site.look()?;
        let why = site.wait_for_trouble("5.4.3.4 step 7")?;
        ensure!(why.contains(&package.display().to_string()) && why.contains("hash"), "it is not said which: {why}");
        ensure!(site.north.page()?.contains("5.4.3.4 step 7"), "its page does not show it");
        ensure!(site.hospital.runs("n-1").is_err(), "something is installed");

        site.export(&stick)?;
        site.look()?;
        site.is_installed_and_told()
    })
}

#[test]
fn a_pump_that_verifies_for_itself_has_its_package_from_a_stick_at_its_gateway_while_the_server_is_away() -> Result<()>
{
    scene(|scene| {
        let hospital = Fleet::open(scene)?;
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        let (stick, address) = (scene.path("stick"), format!("127.0.0.1:{}", free_port()?));
        let more = [&*format!("--hub={address}"), "--collect-secs=1", &format!("--media={}", stick.display())];
        let north = hospital.gateway("north", &["n-1"], &more)?;
        hospital.sell(&["pump-1"])?;
        let mut pump = hospital.pair_pump("pump-1", "gateway/north", &address)?;
        hospital.wait_for_report(&device("pump-1")?, &device_of("gateway/north")?)?;
        // The pump has the manufacturer's first root, and follows the ones between, which only the server has had.
        for key in ["second", "third"] {
            hospital.acme.rotate(key)?;
        }
        hospital.release_for_pumps(("1A", "1B"), "2", &[], &[])?;
        hospital.publish()?;
        let package = fs::read(hospital.acme.path("image-1B")).context("an image")?;
        let mut site = CutOff::of(hospital, north, &package)?;

        site.export(&stick)?;
        site.look()?;
        let is_new =
            |event: &Event| is(event, "booted") && text(event, "revision").is_ok_and(|revision| revision == "1B");
        pump.wait_until("1B to start", is_new)?;
        site.is_told(&device("pump-1")?, 2)
    })
}
