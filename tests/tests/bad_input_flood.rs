//! Ten thousand junk requests on T1 while a hundred pumps pair.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use wardlink_agent::clock;
use wardlink_protocol::api::{PairingPhase, VerificationProof, VerifyResult};
use wardlink_protocol::grant::DeviceState;
use wardlink_protocol::pairing::Mode;
use wardlink_protocol::provisioning::{AccessSecret, Provisioning};
use wardlink_protocol::verification::VerificationLink;
use wardlink_tests::impostor::Asker;
use wardlink_tests::mqtt::{Answer, Credentials, Mqtt};
use wardlink_tests::pump::{Pump, is, text};
use wardlink_tests::ward::{Ward, device};
use wardlink_tests::{scene, wait};

const PUMPS: usize = 100;
const JUNK: usize = 10_000;
/// What each key sends: more than it may at once.
const OF_ONE_KEY: usize = 12;
/// What the bridge takes of one key at once.
const BURST: usize = 10;
const THREADS: usize = 4;
const TOPIC: &str = "ais/register/infusion-pump";
/// MQTT 5.0: quota exceeded.
const QUOTA_EXCEEDED: Answer = Answer::Code(0x97);
/// How much more memory the worker may take in a flood, and how much it may store for it.
const MORE_MEMORY: u64 = 256 * 1024 * 1024;
const MORE_STORAGE: u64 = 48 * 1024 * 1024;

/// What became of the junk.
#[derive(Default)]
struct Tally {
    sent: AtomicUsize,
    taken: AtomicUsize,
    over_quota: AtomicUsize,
    keys: AtomicUsize,
}

#[test]
fn a_hundred_pumps_pair_in_a_flood_of_ten_thousand_junk_requests() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let (memory, storage) = (ward.worker.memory()?, ward.worker.stored()?);
        let tally = Tally::default();
        let junk = junk(&ward.provisioning)?;
        let broker = ward.worker.broker();
        thread::scope(|scope| {
            let floods: Vec<_> = (0..THREADS)
                .map(|_| scope.spawn(|| flood(&broker, &junk, &tally).context("somebody who sends junk")))
                .collect();
            let mut pumps = Pump::start_with(
                scene,
                &ward.provisioning,
                "ward",
                &[&format!("--count={PUMPS}"), "--telemetry-ms=60000"],
            )?;
            pair_all(&ward, &mut pumps)?;
            floods.into_iter().try_for_each(|flood| flood.join().map_err(|_| anyhow!("a flood panicked"))?)
        })?;

        let [sent, taken, over_quota, keys] =
            [&tally.sent, &tally.taken, &tally.over_quota, &tally.keys].map(|count| count.load(Ordering::Relaxed));
        eprintln!("{sent} junk requests of {keys} keys: {taken} taken, {over_quota} over their quota");
        ensure!(sent >= JUNK && over_quota > 0, "{sent} were sent, {over_quota} were over their quota");
        ensure!(taken <= keys * BURST, "{taken} requests of {keys} keys were taken");
        let pairings = ward.nurse.pairings()?;
        ensure!(pairings.len() == PUMPS, "the junk made pairings: there are {}", pairings.len());
        ensure!(pairings.iter().all(|pairing| pairing.phase == PairingPhase::Finished), "a pairing is not finished");
        ward.worker.wait_for_line("on ais/register/infusion-pump does not count: ")?;
        let more = (ward.worker.memory()?.saturating_sub(memory), ward.worker.stored()?.saturating_sub(storage));
        eprintln!("the worker has {} bytes more in memory and {} in storage", more.0, more.1);
        ensure!(more.0 < MORE_MEMORY && more.1 < MORE_STORAGE, "the worker grew by {more:?} bytes");
        // Whoever comes afterwards is served at once.
        ward.paired_pump("ip-last").map(drop)
    })
}

/// Bytes, parts of requests, requests of others, and requests under another secret.
fn junk(provisioning: &Provisioning) -> Result<Vec<Vec<u8>>> {
    let asker = Asker::new(provisioning, &device("ip-junk")?, clock::now())?;
    let mut guessed = provisioning.clone();
    guessed.secret = AccessSecret::new(vec![9; 32])?;
    let guess = Asker::new(&guessed, &device("ip-junk")?, clock::now())?;
    let cut = asker.request.get(..asker.request.len() / 2).context("half a request")?.to_vec();
    Ok(vec![Vec::new(), vec![0xFF; 300], vec![0xD8; 16 * 1024], cut, asker.request, guess.request])
}

fn flood(broker: &str, junk: &[Vec<u8>], tally: &Tally) -> Result<()> {
    while tally.sent.load(Ordering::Relaxed) < JUNK {
        let number = tally.keys.fetch_add(1, Ordering::Relaxed);
        let stranger = Credentials::stranger(&format!("infusion-pump/ip-junk-{number}"))?;
        let Ok(mut mqtt) = Mqtt::connect(broker, &stranger, "junk")? else { continue };
        for payload in junk.iter().cycle().skip(number % junk.len()).take(OF_ONE_KEY) {
            tally.sent.fetch_add(1, Ordering::Relaxed);
            let answer = mqtt.publish(TOPIC, payload)?;
            let count = match answer {
                QUOTA_EXCEEDED => &tally.over_quota,
                answer if answer.is_refusal() => break,
                _ => &tally.taken,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// Accepts every pump that asks, and verifies what each shows.
fn pair_all(ward: &Ward<'_>, pumps: &mut Pump<'_>) -> Result<()> {
    let mut accepted = BTreeSet::new();
    wait::patiently(&format!("the requests of {PUMPS} pumps"), || {
        for pairing in ward.nurse.pairings()? {
            if pairing.phase == PairingPhase::Waiting && accepted.insert(pairing.session) {
                ward.nurse.accept(pairing.session, Mode::PairingQrcode)?;
            }
        }
        Ok((accepted.len() == PUMPS).then_some(()))
    })?;
    let mut paired = 0;
    while paired < PUMPS {
        let event = pumps.wait_until("code or paired", |event| is(event, "code") || is(event, "paired"))?;
        if is(&event, "paired") {
            paired += 1;
            continue;
        }
        let link: VerificationLink = text(&event, "link")?.parse().context("a link")?;
        wait::until("the control unit awaits the scan", || {
            Ok((ward.nurse.pairing(link.session)?.phase == PairingPhase::Verifying).then_some(()))
        })?;
        let answer = ward.nurse.verify(link.session, VerificationProof::Tag(link.tag))?;
        ensure!(answer.result == VerifyResult::Verified, "a pump's own tag was refused");
    }
    wait::until("every device is paired", || {
        let devices = ward.nurse.devices()?;
        Ok((devices.iter().filter(|device| device.state == DeviceState::Paired).count() == PUMPS).then_some(()))
    })
}
