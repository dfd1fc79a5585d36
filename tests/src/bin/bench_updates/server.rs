//! What the distribution server costs.
//!
//! `updates.polls_per_second`, `updates.idle_poll_bytes`: polls with nothing new over connections that stay open, on plain workerd, and the
//! bytes of such a request with its answer. A gateway's object answers them from memory, whatever the catalog has.
//!
//! With 100 devices in the catalog, or as many as the number at the end of a key says, as in development, where there is a bucket for files:
//! `updates.report_to_directive_p50_ms`: from a report to word of the signed directive.
//! `updates.ingest_mb_per_second`: a program from `wardlink release publish` until it is public.
//! `updates.upload_records_per_second`, `updates.upload_batch_p50_ms`: stored data of devices side by side, each batch after the receipt
//! of the one before.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use wardlink_protocol::api::{NewOffer, OfferScope, OfferView, OfferWhen};
use wardlink_records::limits::MAX_BATCH_RECORDS;
use wardlink_tests::figures::{Figures, percentile};
use wardlink_tests::hub::{Hub, Talk};
use wardlink_tests::manufacturer::Manufacturer;
use wardlink_tests::records::{Recorder, heart_rate};
use wardlink_tests::ward::Ward;
use wardlink_tests::worker::{Host, Worker};
use wardlink_tests::{Scene, scene};

/// Connections that poll, and devices that hand over what they stored, side by side.
const CONNECTIONS: usize = 8;
const TIME: Duration = Duration::from_secs(5);
const PROGRAM_BYTES: usize = 64 * 1024 * 1024;
/// The most devices of one inventory.
const INVENTORY: usize = 10_000;

/// The keys of the figures with one size of the catalog.
struct Keys {
    directive: &'static str,
    ingest: &'static str,
    records: &'static str,
    batch: &'static str,
}

const CATALOGS: [(usize, Keys); 3] = [
    (
        100,
        Keys {
            directive: "updates.report_to_directive_p50_ms",
            ingest: "updates.ingest_mb_per_second",
            records: "updates.upload_records_per_second",
            batch: "updates.upload_batch_p50_ms",
        },
    ),
    (
        10_000,
        Keys {
            directive: "updates.report_to_directive_p50_ms_10000",
            ingest: "updates.ingest_mb_per_second_10000",
            records: "updates.upload_records_per_second_10000",
            batch: "updates.upload_batch_p50_ms_10000",
        },
    ),
    (
        100_000,
        Keys {
            directive: "updates.report_to_directive_p50_ms_100000",
            ingest: "updates.ingest_mb_per_second_100000",
            records: "updates.upload_records_per_second_100000",
            batch: "updates.upload_batch_p50_ms_100000",
        },
    ),
];

/// Measures all of it.
pub(super) fn measure(rounds: usize, figures: &mut Figures) -> Result<()> {
    let mut found = Figures::default();
    scene(|scene| polls(scene, &mut found))?;
    scene(|scene| catalogs(scene, rounds, &mut found))?;
    figures.take(found);
    Ok(())
}

/// A device that hands over what it stored: its session, and its chain.
struct Uploader {
    talk: Talk,
    recorder: Recorder,
}

fn catalogs(scene: &Scene, rounds: usize, figures: &mut Figures) -> Result<()> {
    let ward = Ward::open(scene)?;
    let acme = Manufacturer::found(scene, "acme")?;
    acme.onboard(&ward.administrator)?;
    acme.add("1A", "1B", b"a program", &[])?;
    acme.publish(&ward.worker.origin())?;
    acme.delegate(&["infusion-pump/PM2", "infusion-pump/PM3"])?;
    let new =
        NewOffer { path: acme.program("1B"), scope: OfferScope::Model, when: OfferWhen::AtOnce, added: Vec::new() };
    let _: OfferView = ward.administrator.post("offers", &new)?;
    let mut hub_1 = ward.hub("pump-1")?;
    let mut talk = hub_1.connect()?;
    let mut uploaders = Vec::new();
    for number in 0..CONNECTIONS {
        let hub = ward.hub(&format!("recorder-{number}"))?;
        uploaders.push(Uploader { talk: hub.connect()?, recorder: Recorder::of(&hub.device, hub.key(), 1) });
    }
    let mut stored = 0;
    for (number, (size, keys)) in CATALOGS.into_iter().enumerate() {
        while stored < size {
            let count = (size - stored).min(INVENTORY);
            import(&ward, &acme, stored, count)?;
            stored += count;
        }
        figures.put(keys.ingest, ingest(&ward, &acme, u64::try_from(number)?)?);
        figures.put_ms(keys.directive, report_to_directive(&mut hub_1, &mut talk, rounds)?);
        let (records, batch) = uploads(&mut uploaders)?;
        figures.put(keys.records, records);
        figures.put_ms(keys.batch, batch);
    }
    Ok(())
}

/// Publishes a program for a model that nobody here has; megabytes per second.
fn ingest(ward: &Ward<'_>, acme: &Manufacturer<'_>, number: u64) -> Result<f64> {
    let mut program = vec![0; PROGRAM_BYTES];
    StdRng::seed_from_u64(number).fill_bytes(&mut program);
    acme.add_for(("infusion-pump", "PM3", "PM3-B"), ("1A", &format!("1{number}")), &program, &[])?;
    acme.sign()?;
    let begun = Instant::now();
    acme.publish(&ward.worker.origin())?;
    Ok(f64::from(u32::try_from(PROGRAM_BYTES)?) / 1e6 / begun.elapsed().as_secs_f64())
}

/// What is reported takes turns, so that each report has another directive.
fn report_to_directive(hub: &mut Hub, talk: &mut Talk, rounds: usize) -> Result<Duration> {
    let mut times = Vec::new();
    for round in 0..rounds {
        let report = if round % 2 == 0 { hub.report("1A", None, &[])? } else { hub.report("1B", Some(1), &[])? };
        let begun = Instant::now();
        talk.report(report)?;
        talk.directive()?;
        times.push(begun.elapsed());
    }
    percentile(&times, 50)
}

fn polls(scene: &Scene, figures: &mut Figures) -> Result<()> {
    let ward = Ward::around(scene, Worker::start_under(scene, Host::Workerd)?)?;
    let mut hub = ward.hub("pump-1")?;
    let mut talk = hub.connect()?;
    talk.report(hub.report("1A", None, &[])?)?;
    talk.directive()?;
    let ticket = &talk.welcome.ticket;
    let known = hub.poll("metadata/timestamp.json", ticket, "")?.etag;
    let request = format!(
        "GET /api/gateways/{}/director/metadata/timestamp.json HTTP/1.1\r\nHost: localhost:{}\r\n\
         Authorization: Bearer {}\r\nIf-None-Match: {known}\r\n\r\n",
        hub.device,
        ward.worker.port(),
        &*ticket.to_text()
    );
    let (count, bytes, is_over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let poll = || -> Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", ward.worker.port()))?;
        stream.set_nodelay(true)?;
        while !is_over.load(Ordering::Relaxed) {
            stream.write_all(request.as_bytes())?;
            let answer = head(&mut stream)?;
            ensure!(answer.starts_with(b"HTTP/1.1 304"), "{}", String::from_utf8_lossy(&answer));
            bytes.store(u64::try_from(request.len() + answer.len())?, Ordering::Relaxed);
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let begun = Instant::now();
    thread::scope(|threads| -> Result<()> {
        let running: Vec<_> = (0..CONNECTIONS).map(|_| threads.spawn(poll)).collect();
        thread::sleep(TIME);
        is_over.store(true, Ordering::Relaxed);
        running.into_iter().try_for_each(|thread| thread.join().ok().context("a thread ended")?)
    })?;
    let polls = f64::from(u32::try_from(count.load(Ordering::Relaxed))?);
    figures.put("updates.polls_per_second", polls / begun.elapsed().as_secs_f64());
    figures.put("updates.idle_poll_bytes", f64::from(u32::try_from(bytes.load(Ordering::Relaxed))?));
    Ok(())
}

/// An answer without a body.
fn head(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.ends_with(b"\r\n\r\n") {
        let count = stream.read(&mut buffer)?;
        ensure!(count > 0, "the worker has gone");
        answer.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    Ok(answer)
}

/// Records per second of all devices together, and the time of a batch.
fn uploads(uploaders: &mut [Uploader]) -> Result<(f64, Duration)> {
    let begun = Instant::now();
    let times = thread::scope(|threads| -> Result<Vec<Duration>> {
        let running: Vec<_> = uploaders.iter_mut().map(|uploader| threads.spawn(|| upload(uploader, begun))).collect();
        let mut times = Vec::new();
        for thread in running {
            times.extend(thread.join().ok().context("a thread ended")??);
        }
        Ok(times)
    })?;
    let records = f64::from(u32::try_from(times.len() * MAX_BATCH_RECORDS)?);
    Ok((records / begun.elapsed().as_secs_f64(), percentile(&times, 50)?))
}

/// Hands over batches until the time is over: how long each took.
fn upload(uploader: &mut Uploader, begun: Instant) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    while begun.elapsed() < TIME {
        let values = (0..MAX_BATCH_RECORDS).map(|number| heart_rate("70", u64::try_from(number)?));
        let batch = uploader.recorder.sign(values.collect::<Result<_>>()?)?;
        let sent = Instant::now();
        let receipt = uploader.talk.records(&batch)?;
        ensure!(receipt.is_ok(), "it was refused: {receipt:?}");
        times.push(sent.elapsed());
    }
    Ok(times)
}

fn import(ward: &Ward<'_>, acme: &Manufacturer<'_>, first: usize, count: usize) -> Result<()> {
    let devices: Vec<_> = (first..first + count)
        .map(|number| {
            json!({ "characteristics": {
                "device": { "client": "infusion-pump", "identifier": format!("stored-{number:06}") },
                "manufacturer": "acme", "model": "PM2", "serial_number": format!("N{number:06}"),
                "revision": "1A", "hardware": "PM2-B",
            } })
        })
        .collect();
    let inventory = acme.inventory(&json!(devices))?;
    let _: serde_json::Value = ward.administrator.post("inventories", &inventory)?;
    Ok(())
}
