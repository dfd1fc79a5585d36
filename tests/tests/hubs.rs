//! From the manufacturer's desk to devices behind gateways: the real tool, the real worker, real gateways (Distribution, figures 1, 10, 12).

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use wardlink_agent::clock;
use wardlink_protocol::api::{
    AllowUpload, Associate, Broadcast, CatalogDevice, ChannelsView, NewOffer, OfferScope, OfferView, OfferWhen,
    OutcomeView, ProblemKind, Pushed, UpdateState, words,
};
use wardlink_tests::api::refusal;
use wardlink_tests::fleet::{Fleet, SCALE, device_of, program};
use wardlink_tests::process::free_port;
use wardlink_tests::ward::device;
use wardlink_tests::{scene, wait};

#[test]
fn what_is_offered_reaches_the_devices_of_two_gateways_through_deaths_of_all() -> Result<()> {
    scene(|scene| {
        let mut hospital = Fleet::open(scene)?;
        let mut north = hospital.gateway("north", &["n-1", "n-2"], &[])?;
        let mut south = hospital.gateway("south", &["s-1"], &["--poll-only", "--poll-secs", "2"])?;

        // Nothing is installed that nobody offers.
        hospital.release("1A", "1B", &[])?;
        hospital.offer("1B")?;
        for pump in ["n-1", "n-2", "s-1"] {
            hospital.wait_for(pump, "1B")?;
            // What it runs may be reported before what has come of it.
            hospital.outcome(&device(pump)?, "installed")?;
        }

        // Everybody dies, and comes back to the next release.
        hospital.release("1B", "1C", &[])?;
        hospital.offer("1C")?;
        north.kill();
        hospital.ward.worker.kill();
        south.kill();
        hospital.ward.worker.restart()?;
        north.restart()?;
        south.restart()?;
        for pump in ["n-1", "n-2", "s-1"] {
            hospital.wait_for(pump, "1C")?;
        }

        // A recalled release goes to nobody.
        hospital.acme.add("1C", "1D", program("1D").as_bytes(), &[])?;
        hospital.acme.release(&["--yes", "recall", &hospital.acme.program("1D"), "--reason", "it drips"])?;
        hospital.acme.sign()?;
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        ensure!(hospital.offer("1D").is_err(), "a recalled release cannot be offered");

        // A revoked gateway is cut off, and its devices get nothing more through it.
        let cut = "gateway/north".parse().context("a device")?;
        hospital.ward.administrator.revoke(&[cut])?;
        ensure!(!hospital.known("north")?.context("north")?.online, "its session is open still");
        hospital.release("1C", "1E", &[])?;
        hospital.offer("1E")?;
        hospital.wait_for("s-1", "1E")?;
        ensure!(hospital.runs("n-1")? == program("1C"), "a revoked gateway has installed something");
        Ok(())
    })
}

#[test]
fn a_device_that_cannot_start_goes_back_and_the_server_is_told() -> Result<()> {
    scene(|scene| {
        let hospital = Fleet::open(scene)?;
        hospital.release("1A", "1B", &[])?;
        let _gateway = hospital.gateway("north", &["n-1", "n-2"], &["--fail", "infusion-pump/n-2=start"])?;
        hospital.offer("1B")?;
        hospital.wait_for("n-1", "1B")?;
        let failed = wait::patiently("the failure", || {
            let outcomes: Vec<OutcomeView> = hospital.ward.administrator.get("outcomes")?;
            Ok(outcomes.into_iter().find(|told| told.outcome == "failed"))
        })?;
        ensure!(failed.device == device("n-2")? && hospital.revision("n-2")? == "1A", "{failed:?}");
        Ok(())
    })
}

#[test]
fn a_pump_that_verifies_for_itself_is_updated_through_its_gateway_and_the_server_hears_what_came_of_it() -> Result<()> {
    scene(|scene| {
        let hospital = Fleet::open(scene)?;
        let (pump_1, administrator) = (device("pump-1")?, &hospital.ward.administrator);
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        let (mut north, mut pump) = hospital.pump_at_gateway("n-1")?;

        hospital.wait_for_report(&pump_1, &device_of("gateway/north")?)?;
        let known = || administrator.get::<CatalogDevice>(&format!("catalog/{pump_1}"));

        // A release reaches it as it reaches the passive one beside it, whoever dies on the way.
        let release = |from: &str, revision: &str, counter: &str, more: &[&str]| -> Result<()> {
            let of_image = [&["--program-bytes", "8000000"], more].concat();
            hospital.release_for_pumps((from, revision), counter, &of_image, &[])?;
            hospital.publish()
        };
        release("1A", "1B", "2", &[])?;
        hospital.offer("1B")?;
        let ready = |of: &str| scene.path(of).join("targets/acme");
        let (at_gateway, in_pump) =
            (ready("north-state/hub/updates/infusion-pump/pump-1"), ready("pump-1-state/gateway"));
        let incoming = scene.path("pump-1-state/gateway/.incoming");
        wait::until("a part of the image, or all of it", || {
            let files = fs::read_dir(&incoming).into_iter().flatten().flatten();
            let longest = files.filter_map(|file| Some(file.metadata().ok()?.len())).max();
            Ok((longest.is_some_and(|longest| longest > 100_000) || in_pump.exists()).then_some(()))
        })
        .with_context(|| hospital.stands("north"))?;
        north.kill();
        pump.kill();
        north.restart()?;
        pump.restart()?;
        hospital.outcome(&pump_1, "installed")?;
        wait::patiently("the pump with 1B", || Ok((known()?.entry.revision == "1B").then_some(())))?;
        wait::patiently("n-1 with 1B", || Ok((hospital.revision("n-1")? == "1B").then_some(())))?;

        // What it runs already does not lie ready any longer, neither at the gateway nor in the pump.
        wait::until("both folders to be empty", || Ok((!at_gateway.exists() && !in_pump.exists()).then_some(())))?;

        // One that does not start is taken back by the pump itself, and the server is told why.
        release("1B", "1C", "3", &["--self-test", "fails"])?;
        hospital.offer("1C")?;
        let failed = hospital.outcome(&pump_1, "failed")?;
        ensure!(known()?.entry.revision == "1B", "{failed:?}");
        let troubles: Vec<OutcomeView> = administrator.get("outcomes")?;
        ensure!(troubles.iter().all(|told| told.outcome != "refused"), "somebody has refused something: {troubles:?}");
        Ok(())
    })
}

/// The newest epoch of pump-1's channel to its gateway of which the site knows that the pump has it.
fn epoch(hospital: &Fleet<'_>) -> Result<u64> {
    let log = hospital.ward.worker.log()?;
    let epochs = log.lines().filter_map(|line| {
        let (_, said) = line.split_once("infusion-pump/pump-1 has epoch ")?;
        said.strip_suffix(" of update")?.parse().ok()
    });
    Ok(epochs.max().unwrap_or(1))
}

/// Waits until the server has something that pump-1 has recorded from now on.
fn more_arrives(hospital: &Fleet<'_>) -> Result<()> {
    let (pump_1, administrator) = (device("pump-1")?, &hospital.ward.administrator);
    let since = clock::now();
    wait::patiently("what the pump records now", || {
        let values = match administrator.recorded_values(&pump_1) {
            Ok(values) => values,
            // Before its first values the server knows nothing of it there.
            Err(error) => {
                assert_eq!(refusal::<()>(Err(error))?, ProblemKind::NotFound);
                return Ok(None);
            }
        };
        administrator.ask_for_records(&pump_1)?;
        Ok(values.iter().any(|value| value.at > since).then_some(()))
    })
    .with_context(|| hospital.stands("north"))
}

#[test]
fn a_gateway_has_the_keys_of_its_devices_and_loses_them_with_the_association_and_its_own_rights() -> Result<()> {
    scene(|scene| {
        let hospital = Fleet::open(scene)?;
        let (pump_1, administrator) = (device("pump-1")?, &hospital.ward.administrator);
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        let (mut north, mut pump) = hospital.pump_at_gateway("n-1")?;
        more_arrives(&hospital)?;
        ensure!(epoch(&hospital)? == 1, "nothing has changed yet");

        // A new key reaches both, and so it does where the gateway was away meanwhile.
        let _: ChannelsView = administrator.post("channels/update/rotate", &())?;
        hospital.ward.worker.wait_for_line("pump-1 has epoch 2 of update")?;
        more_arrives(&hospital)?;
        north.kill();
        let _: ChannelsView = administrator.post("channels/update/rotate", &())?;
        hospital.ward.worker.wait_for_line("pump-1 has epoch 3 of update")?;
        north.restart()?;
        more_arrives(&hospital)?;

        // The pump is another gateway's: the first one knows nothing of its channel any more, and the second one does.
        let south = hospital.gateway("south", &["s-1"], &[])?;
        let disallowed = AllowUpload { gateway: device_of("gateway/north")?, allowed: false };
        let _: CatalogDevice = administrator.post(&format!("catalog/{pump_1}/uploads"), &disallowed)?;
        let associate = Associate { gateway: device_of("gateway/south")? };
        let _: CatalogDevice = administrator.post(&format!("catalog/{pump_1}/gateway"), &associate)?;
        let left = "gateway/north was given keys of devices that are its own no longer: 1";
        hospital.ward.worker.wait_for_line(left)?;
        let replaced = || wait::patiently("a new key", || Ok(Some(epoch(&hospital)?).filter(|epoch| *epoch > 3)));
        let moved = replaced()?;
        wait::patiently("the gateway says whom it turns away", || {
            Ok(hospital.stands("north").contains(&format!("hub: {pump_1}")).then_some(()))
        })?;

        // A gateway that is revoked knows nothing any more either.
        administrator.revoke(&[device_of("gateway/north")?, device_of("gateway/south")?])?;
        wait::patiently("a new key", || Ok((epoch(&hospital)? > moved).then_some(())))?;
        drop((south, pump.poll()?));
        Ok(())
    })
}

#[test]
fn a_set_of_a_pump_that_verifies_for_itself_and_a_scale_is_installed_whole_or_not_at_all() -> Result<()> {
    scene(|scene| {
        let hospital = Fleet::open(scene)?;
        hospital.acme.delegate(&["infusion-pump/PM2", "scale/S1"])?;
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        let (mut north, mut pump) = hospital.pump_at_gateway("scale-1")?;
        let (pump_1, scale_1) = (device("pump-1")?, device_of("scale/scale-1")?);
        let release = |from: &str, to: &str, counter: &str, more: &[&str]| -> Result<()> {
            let (of_pump, of_scale) = ("acme/infusion-pump/PM2/spring 2027", "acme/scale/S1/spring 2027");
            hospital.release_for_pumps((from, to), counter, more, &["--atomic", of_scale])?;
            hospital.acme.add_for(SCALE, (from, to), program(to).as_bytes(), &["--atomic", of_pump])?;
            hospital.publish()?;
            for program in [hospital.acme.program(to), format!("acme/scale/S1/{to}.bin")] {
                hospital.offer_program(program)?;
            }
            Ok(())
        };
        hospital.keep_busy("scale-1", true)?;
        release("1A", "1B", "2", &[])?;
        // The power fails for both as it begins to come.
        pump.wait_for("updating").with_context(|| hospital.stands("north"))?;
        north.kill();
        pump.kill();
        north.restart()?;
        pump.restart()?;
        // The pump has it written, and waits for the scale, which is busy.
        let stands = |device| -> Result<UpdateState> {
            let known: CatalogDevice = hospital.ward.administrator.get(&format!("catalog/{device}"))?;
            Ok(known.entry.update)
        };
        wait::patiently("the pump to be written", || {
            let are = [stands(&pump_1)?, stands(&scale_1)?];
            Ok((are == [UpdateState::Installing, UpdateState::Postponed]).then_some(()))
        })
        .with_context(|| hospital.stands("north"))?;
        hospital.keep_busy("scale-1", false)?;
        for device in [&pump_1, &scale_1] {
            hospital.outcome(device, "installed")?;
            wait::patiently("what runs", || Ok((hospital.runs_by_catalog(device)? == "1B").then_some(())))?;
        }
        ensure!(hospital.runs("scale-1")? == program("1B"), "the scale runs something else");

        // The pump's next one does not start: the scale keeps what it has.
        release("1B", "1C", "3", &["--self-test", "fails"])?;
        for device in [&pump_1, &scale_1] {
            let failed = hospital.outcome(device, "failed")?;
            ensure!(hospital.runs_by_catalog(device)? == "1B", "{failed:?}");
        }
        ensure!(hospital.runs("scale-1")? == program("1B"), "the scale has changed over alone");
        Ok(())
    })
}

/// A mirror of packages with a fault: a byte of each file is another one.
struct DamagedMirror {
    address: String,
    asked: Arc<AtomicUsize>,
}

impl DamagedMirror {
    /// Serves the targets that lie in a folder, until the test is over.
    fn open(targets: PathBuf) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("a mirror")?;
        let address = format!("http://{}/packages", listener.local_addr()?);
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Who goes away in between is nobody's fault.
                let _served = serve_damaged(stream, &targets, &counted);
            }
        });
        Ok(Self { address, asked })
    }
}

fn serve_damaged(mut stream: TcpStream, targets: &Path, asked: &AtomicUsize) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut header = String::from("more");
    while !header.trim().is_empty() {
        header.clear();
        reader.read_line(&mut header)?;
    }
    let name = line.split(' ').nth(1).and_then(|path| path.split_once("/targets/")).map(|(_, name)| name.to_owned());
    match name.and_then(|name| fs::read(targets.join(name)).ok()) {
        Some(mut bytes) => {
            asked.fetch_add(1, Ordering::Relaxed);
            if let Some(byte) = bytes.last_mut() {
                *byte ^= 1;
            }
            let length = bytes.len();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
            stream.write_all(&bytes)?;
        }
        None => write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?,
    }
    Ok(())
}

#[test]
fn an_infusion_is_not_disturbed_by_an_update_that_its_manufacturer_has_not_allowed_meanwhile() -> Result<()> {
    scene(|scene| {
        let hospital = Fleet::open(scene)?;
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        let (_north, _pump) = hospital.pump_at_gateway("n-1")?;
        let _direct = hospital.pair_direct_pump("pump-2")?;
        let [pump_1, pump_2] = [device("pump-1")?, device("pump-2")?];

        // It lies ready, and waits; the passive pump, which treats nobody, has it.
        hospital.release_for_idle_pumps(("1A", "1B"), "2", &[], &[])?;
        hospital.publish()?;
        hospital.offer("1B")?;
        hospital.wait_for_all(&[&device("n-1")?], "1B")?;
        for pump in [&pump_1, &pump_2] {
            let told = hospital.outcome(pump, "postponed")?;
            assert_eq!(told.detail, "therapy");
            let known: CatalogDevice = hospital.ward.administrator.get(&format!("catalog/{pump}"))?;
            assert_eq!((known.entry.update, known.entry.revision.as_str()), (UpdateState::Postponed, "1A"));
        }

        // What may be installed meanwhile is.
        hospital.release_for_pumps(("1A", "1C"), "3", &[], &[])?;
        hospital.publish()?;
        hospital.offer("1C")?;
        hospital.wait_for_all(&[&pump_1, &pump_2], "1C")
    })
}

#[test]
fn what_arrives_damaged_is_not_installed_and_is_fetched_again() -> Result<()> {
    scene(|scene| {
        let hospital = Fleet::open(scene)?;
        let north = hospital.gateway("north", &["n-1"], &[])?;
        let n_1 = device("n-1")?;
        hospital.release("1A", "1B", &[])?;
        let (signed, damaged) = (program("1B"), program("1X"));
        hospital.ward.worker.alter_file(signed.as_bytes(), damaged.as_bytes())?;
        hospital.offer("1B")?;
        let told = hospital.outcome(&n_1, "corrupt").with_context(|| hospital.stands("north"))?;
        let known: CatalogDevice = hospital.ward.administrator.get(&format!("catalog/{n_1}"))?;
        assert_eq!((known.entry.update, known.entry.failures), (UpdateState::Retrying, 1), "{told:?}");
        ensure!(hospital.revision("n-1")? == "1A", "it says that it runs something else");

        // Nobody acts: it asks again by itself, after a minute.
        hospital.ward.worker.alter_file(damaged.as_bytes(), signed.as_bytes())?;
        hospital.wait_for("n-1", "1B")?;
        drop(north);
        Ok(())
    })
}

#[test]
fn a_gateway_whose_clock_is_wrong_by_weeks_says_so_goes_on_and_loses_nothing() -> Result<()> {
    scene(|scene| {
        let hospital = Fleet::open(scene)?;
        hospital.acme.delegate(&["infusion-pump/PM2", "scale/S1"])?;
        let mut north = hospital.gateway("north", &["n-1", "scale-1"], &["--collect-secs=1"])?;
        let (n_1, scale) = (device("n-1")?, device_of("scale/scale-1")?);
        let troubles = || hospital.troubles("north").unwrap_or_default();
        let mut wrong = |days: i64, word: &str| -> Result<()> {
            north.kill();
            north.restart_at(days)?;
            let (_, why) = wait::patiently("the trouble with the clock", || {
                Ok(troubles().into_iter().find(|(what, why)| what == "clock" && why.contains(word)))
            })
            .with_context(|| hospital.stands("north"))?;
            ensure!(why.contains("40 days") || why.contains("39 days"), "{why}");
            ensure!(troubles().iter().all(|(what, _)| what != "attack"), "{:?}", troubles());
            Ok(())
        };

        // Ahead, everything seems to have ended: nothing is installed, and what devices have stored goes to the server.
        hospital.weigh("scale-1", 1)?;
        hospital.release("1A", "1B", &[])?;
        wrong(40, "ahead of the server")?;
        hospital.offer("1B")?;
        hospital.weigh("scale-1", 2)?;
        hospital.count(&[&scale], 2, &[]).with_context(|| hospital.stands("north"))?;
        wait::patiently("the server to know why it waits", || {
            let known: CatalogDevice = hospital.ward.administrator.get(&format!("catalog/{n_1}"))?;
            let detail = known.entry.detail.unwrap_or_default();
            Ok((detail.starts_with(words::DIRECTIVE_REFUSED) && detail.contains("it ended at")).then_some(()))
        })?;
        ensure!(hospital.revision("n-1")? == "1A", "at a wrong time nothing is verified");

        // Behind, its certificate has not begun: it keeps what devices have stored.
        wrong(-40, "behind the server")?;
        hospital.weigh("scale-1", 3)?;
        wait::patiently("nothing to lie at the scale", || Ok(hospital.has_handed_over("scale-1")?.then_some(())))
            .with_context(|| hospital.stands("north"))?;

        north.kill();
        north.restart()?;
        hospital.wait_for_all(&[&n_1], "1B")?;
        hospital.weigh("scale-1", 4)?;
        hospital.count(&[&scale], 4, &[])?;
        wait::patiently("no trouble", || Ok(troubles().is_empty().then_some(())))
            .with_context(|| hospital.stands("north"))
    })
}

#[test]
fn what_a_gateway_had_taken_over_and_is_lost_with_it_comes_from_the_pump_once_more() -> Result<()> {
    scene(|scene| {
        let mut hospital = Fleet::open(scene)?;
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let hub = [&*format!("--hub={address}"), "--collect-secs=1"];
        let mut north = hospital.gateway("north", &["scale-1"], &hub)?;
        hospital.sell(&["pump-1"])?;
        let _pump = hospital.pair_pump("pump-1", "gateway/north", &address)?;
        let pump_1 = device("pump-1")?;
        hospital.count_recorded(&pump_1)?;

        // While the server is away, the gateway takes over what the pump records, and is stolen then, with its disk.
        hospital.ward.worker.kill();
        wait::patiently("values at the gateway", || {
            Ok(hospital.says("north", "stored/records").filter(|held| *held > 10))
        })?;
        north.kill();
        fs::remove_dir_all(scene.path("north-state")).context("cannot remove a folder")?;
        hospital.ward.worker.restart()?;
        let _north = hospital.gateway("north", &["scale-1"], &hub)?;
        hospital.count_recorded(&pump_1).with_context(|| hospital.stands("north"))
    })
}

#[test]
fn an_image_that_is_damaged_on_the_disks_of_gateway_and_pump_is_fetched_anew() -> Result<()> {
    scene(|scene| {
        let hospital = Fleet::open(scene)?;
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        let (_north, mut pump) = hospital.pump_at_gateway("n-1")?;
        let pump_1 = device("pump-1")?;
        hospital.release_for_pumps(("1A", "1B"), "2", &[], &[])?;
        hospital.publish()?;
        let (path, when) = (hospital.acme.program("1B"), OfferWhen::OnConfirmation);
        let offer = NewOffer { path, scope: OfferScope::Devices(vec![pump_1.clone()]), when, added: Vec::new() };
        let _: OfferView = hospital.ward.administrator.post("offers", &offer)?;
        pump.wait_for_question()?;
        let image = fs::read(hospital.acme.path("image-1B")).context("an image")?;
        let mut damaged = image.clone();
        *damaged.last_mut().context("an image has bytes")? ^= 1;
        let spoiled = |folder: &str| -> Result<usize> { spoil(&scene.path(folder), &image, &damaged) };
        wait::patiently("the pump's copy", || Ok((spoiled("pump-1-state/gateway")? == 1).then_some(())))?;
        ensure!(spoiled("north-state")? >= 1, "the gateway has it no more");

        pump.press("install")?;
        hospital.outcome(&pump_1, "corrupt").with_context(|| hospital.stands("north"))?;
        // It asks again by itself, after a minute.
        hospital.wait_for_all(&[&pump_1], "1B")
    })
}

/// Puts something else in the place of every file of this content in a folder; how many there were. A file with two names is one.
fn spoil(folder: &Path, content: &[u8], other: &[u8]) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry.context("cannot look into a folder")?.path();
        if path.is_dir() {
            count += spoil(&path, content, other)?;
        } else if fs::read(&path).is_ok_and(|found| found == content) {
            fs::write(&path, other).context("cannot write a file")?;
            count += 1;
        }
    }
    Ok(count)
}

/// Whether the gateway north lets no device in, as it has not heard the server for too long; none where it says nothing at this moment.
fn lets_nobody_in(hospital: &Fleet<'_>) -> Option<bool> {
    let troubles = hospital.troubles("north")?;
    Some(troubles.iter().any(|(_, why)| why.contains("no device is let in")))
}

#[test]
fn a_server_that_is_away_for_days_costs_no_value_and_finds_everybody_again() -> Result<()> {
    scene(|scene| {
        let mut hospital = Fleet::open(scene)?;
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        let (mut north, mut pump) = hospital.pump_at_gateway("scale-1")?;
        let (pump_1, scale_1) = (device("pump-1")?, device_of("scale/scale-1")?);
        hospital.wait_for_report(&pump_1, &device_of("gateway/north")?)?;
        hospital.weigh("scale-1", 1)?;
        hospital.count_recorded(&pump_1)?;
        hospital.ward.worker.kill();
        north.kill();
        pump.kill();

        // Three days later the gateway takes what the scale measures. It lets the pump in no more, whose rights may have ended meanwhile, and says so; the pump keeps its own.
        north.restart_at(3)?;
        pump.restart_at(3)?;
        wait::patiently("the hub to let nobody in", || Ok((lets_nobody_in(&hospital) == Some(true)).then_some(())))
            .with_context(|| hospital.stands("north"))?;
        hospital.weigh("scale-1", 2)?;
        wait::patiently("nothing to lie at the scale", || Ok(hospital.has_handed_over("scale-1")?.then_some(())))
            .with_context(|| hospital.stands("north"))?;

        // The server is back: everything that was measured is there, and updates go on.
        hospital.ward.comes_back_at(3)?;
        wait::patiently("the hub to let devices in", || Ok((lets_nobody_in(&hospital) == Some(false)).then_some(())))
            .with_context(|| hospital.stands("north"))?;
        hospital.count(&[&scale_1], 2, &[&pump_1])?;
        hospital.release_for_pumps(("1A", "1B"), "2", &[], &[])?;
        hospital.publish()?;
        hospital.offer("1B")?;
        hospital.wait_for_all(&[&pump_1], "1B")
    })
}

#[test]
fn six_devices_at_two_gateways_that_only_poll_get_what_is_offered() -> Result<()> {
    scene(|scene| {
        let hospital = Fleet::open(scene)?;
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        hospital.sell(&["pump-1", "pump-2"])?;
        let [of_north, of_south] = [format!("127.0.0.1:{}", free_port()?), format!("127.0.0.1:{}", free_port()?)];
        let polls = |address: &str| [format!("--hub={address}"), "--poll-only".to_owned(), "--poll-secs=2".to_owned()];
        let (at_north, at_south) = (polls(&of_north), polls(&of_south));
        let _north = hospital.gateway("north", &["n-1", "n-2"], &at_north.each_ref().map(String::as_str))?;
        let _south = hospital.gateway("south", &["s-1", "s-2"], &at_south.each_ref().map(String::as_str))?;
        let _first = hospital.pair_pump("pump-1", "gateway/north", &of_north)?;
        let _second = hospital.pair_pump("pump-2", "gateway/south", &of_south)?;
        hospital.release_for_pumps(("1A", "1B"), "2", &[], &[])?;
        hospital.publish()?;
        hospital.offer("1B")?;
        let devices = ["pump-1", "n-1", "n-2", "pump-2", "s-1", "s-2"].map(device);
        devices.into_iter().try_for_each(|device| hospital.wait_for_all(&[&device?], "1B"))
    })
}

/// From the manufacturer's desk to six devices at two gateways and back: single releases, a broadcast, a set of which one member fails, a damaged mirror, a server that is away, a pump
/// that moves, and everybody killed on the way. Nothing is half installed, and every value that was measured is counted at the end.
#[test]
fn six_devices_at_two_gateways_get_everything_and_nothing_of_theirs_is_lost() -> Result<()> {
    scene(|scene| {
        let mut hospital = Fleet::open(scene)?;
        hospital.acme.delegate(&["infusion-pump/PM2", "scale/S1"])?;
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        hospital.sell(&["pump-1", "pump-2"])?;
        let mirror = DamagedMirror::open(hospital.acme.repository().join("targets"))?;
        let [of_north, of_south] = [format!("127.0.0.1:{}", free_port()?), format!("127.0.0.1:{}", free_port()?)];
        let both = |address: &str| [format!("--hub={address}"), "--collect-secs=1".to_owned()];
        let more = [&both(&of_north)[..], &[format!("--mirror={}", mirror.address)]].concat();
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let mut north = hospital.gateway("north", &["n-1", "scale-1"], &more)?;
        let more = [&both(&of_south)[..], &["--fail=scale/scale-2=start".to_owned()]].concat();
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let mut south = hospital.gateway("south", &["s-1", "scale-2"], &more)?;
        let mut first = hospital.pair_pump("pump-1", "gateway/north", &of_north)?;
        let mut second = hospital.pair_pump("pump-2", "gateway/south", &of_south)?;
        let [pump_1, pump_2, n_1, s_1] = ["pump-1", "pump-2", "n-1", "s-1"].map(device);
        let (pump_1, pump_2, n_1, s_1) = (pump_1?, pump_2?, n_1?, s_1?);
        let (scale_1, scale_2) = (device_of("scale/scale-1")?, device_of("scale/scale-2")?);
        let mut weighed = 0;
        let mut weigh = |hospital: &Fleet<'_>| -> Result<u64> {
            weighed += 1;
            hospital.weigh("scale-1", weighed)?;
            hospital.weigh("scale-2", weighed)?;
            Ok(weighed)
        };

        // One release for all four pumps, of both kinds, while the server is away for a while and others die.
        hospital.release_for_pumps(("1A", "1B"), "2", &["--program-bytes", "2000000"], &[])?;
        hospital.publish()?;
        hospital.offer("1B")?;
        weigh(&hospital)?;
        north.kill();
        hospital.ward.worker.kill();
        second.kill();
        weigh(&hospital)?;
        north.restart()?;
        second.restart()?;
        hospital.ward.worker.restart()?;
        hospital.wait_for_all(&[&pump_1, &pump_2, &n_1, &s_1], "1B")?;
        // Nobody has anything left to do: what the gateways hear of now, they hear of by the broadcast.
        let before = [("north", hospital.wait_for_rest("north")?), ("south", hospital.wait_for_rest("south")?)];
        let pushed: Pushed = hospital
            .ward
            .administrator
            .post("gateways/push", &Broadcast { client: "infusion-pump".parse().context("a class")? })?;
        ensure!(pushed.gateways == 2, "{pushed:?}");
        for (gateway, before) in before {
            wait::until(&format!("a newer directive at {gateway}"), || {
                Ok(hospital.heard(gateway).filter(|heard| *heard > before).map(drop))
            })?;
        }

        // A set: whole at the one gateway; at the other one a member cannot start, and nobody has it.
        hospital.release_set(("1B", "1C"), "3")?;
        weigh(&hospital)?;
        first.kill();
        south.kill();
        first.restart()?;
        south.restart()?;
        hospital.wait_for_all(&[&pump_1, &n_1, &scale_1], "1C")?;
        for device in [&pump_2, &s_1, &scale_2] {
            hospital.outcome(device, "failed").with_context(|| hospital.stands("south"))?;
        }
        hospital.wait_for_all(&[&pump_2, &s_1], "1B")?;
        hospital.wait_for_all(&[&scale_2], "1A")?;

        // Through a mirror that damages everything comes what was signed, and nothing else.
        hospital.release_for_pumps(("1C", "1D"), "4", &[], &[])?;
        hospital.publish()?;
        hospital.offer("1D")?;
        hospital.wait_for_all(&[&pump_1, &n_1], "1D")?;
        ensure!(mirror.asked.load(Ordering::Relaxed) > 0, "nobody has asked the mirror");

        // A pump moves to the other gateway, and gets the next release there, as everybody else gets it, and everybody dies.
        first.kill();
        drop(first);
        hospital.allow(&pump_1, "gateway/south")?;
        let mut first = hospital.start_pump("pump-1", &of_south)?;
        wait::patiently("the pump at the other gateway", || {
            let known: CatalogDevice = hospital.ward.administrator.get(&format!("catalog/{pump_1}"))?;
            let is_there = known.entry.gateway == Some(device_of("gateway/south")?) && known.entry.conflict.is_none();
            Ok(is_there.then_some(()))
        })
        .with_context(|| hospital.stands("south"))?;
        hospital.release_for_pumps(("1B", "1E"), "5", &[], &["--to", "1D"])?;
        hospital.publish()?;
        hospital.offer("1E")?;
        // Those that have failed rest, unless a person pushes.
        let _: Pushed = hospital.ward.administrator.post("gateways/gateway/south/push", &())?;
        weigh(&hospital)?;
        first.kill();
        second.kill();
        north.kill();
        south.kill();
        hospital.ward.worker.kill();
        hospital.ward.worker.restart()?;
        south.restart()?;
        north.restart()?;
        second.restart()?;
        first.restart()?;
        hospital.wait_for_all(&[&pump_1, &pump_2, &n_1, &s_1], "1E")?;

        let last = weigh(&hospital)?;
        hospital.count(&[&scale_1, &scale_2], last, &[&pump_1, &pump_2])
    })
}
