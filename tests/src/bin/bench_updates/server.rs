//! What the distribution server costs.
//!
//! `updates.polls_per_second`, `updates.idle_poll_bytes`: polls with nothing new over connections that stay open, on plain workerd, and the
//! bytes of such a request with its answer.
//! `updates.ingest_mb_per_second`: a program from `wardlink release publish` until it is public.
//! `updates.report_to_directive_p50_ms`, and the same with so many devices in the catalog: from a report to word of the signed directive.

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
use wardlink_tests::figures::{Figures, percentile};
use wardlink_tests::hub::{Hub, Talk};
use wardlink_tests::manufacturer::Manufacturer;
use wardlink_tests::ward::{Ward, device};
use wardlink_tests::worker::{Host, Worker};
use wardlink_tests::{Scene, scene};

const CONNECTIONS: usize = 8;
const TIME: Duration = Duration::from_secs(5);
const PROGRAM_BYTES: usize = 64 * 1024 * 1024;
/// The most devices of one inventory.
const INVENTORY: usize = 10_000;
/// The figure of each size of the catalog.
const CATALOGS: [(usize, &str); 3] = [
    (100, "updates.report_to_directive_p50_ms"),
    (10_000, "updates.report_to_directive_10000_p50_ms"),
    (100_000, "updates.report_to_directive_100000_p50_ms"),
];

/// Measures all of it.
pub(super) fn measure(rounds: usize, figures: &mut Figures) -> Result<()> {
    let mut found = Figures::default();
    scene(|scene| polls(scene, &mut found))?;
    scene(|scene| catalogs(scene, rounds, &mut found))?;
    figures.take(found);
    Ok(())
}

fn hub(ward: &Ward<'_>) -> Result<Hub> {
    let mut pump = ward.paired_pump("pump-1")?;
    pump.kill();
    Hub::of(&pump, &device("pump-1")?, &ward.worker.origin())
}

fn polls(scene: &Scene, figures: &mut Figures) -> Result<()> {
    let ward = Ward::around(scene, Worker::start_under(scene, Host::Workerd)?)?;
    let mut hub = hub(&ward)?;
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

fn catalogs(scene: &Scene, rounds: usize, figures: &mut Figures) -> Result<()> {
    let ward = Ward::open(scene)?;
    let acme = Manufacturer::found(scene, "acme")?;
    acme.onboard(&ward.administrator)?;
    let mut program = vec![0; PROGRAM_BYTES];
    StdRng::seed_from_u64(1).fill_bytes(&mut program);
    acme.add("1A", "1B", &program, &[])?;
    let begun = Instant::now();
    acme.publish(&ward.worker.origin())?;
    let megabytes = f64::from(u32::try_from(PROGRAM_BYTES)?) / 1e6;
    figures.put("updates.ingest_mb_per_second", megabytes / begun.elapsed().as_secs_f64());

    let new =
        NewOffer { path: acme.program("1B"), scope: OfferScope::Model, when: OfferWhen::AtOnce, added: Vec::new() };
    let _: OfferView = ward.administrator.post("offers", &new)?;
    let mut hub = hub(&ward)?;
    let mut talk = hub.connect()?;
    let mut stored = 0;
    for (size, figure) in CATALOGS {
        while stored < size {
            let count = (size - stored).min(INVENTORY);
            import(&ward, &acme, stored, count)?;
            stored += count;
        }
        figures.put_ms(figure, report_to_directive(&mut hub, &mut talk, rounds)?);
    }
    Ok(())
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
