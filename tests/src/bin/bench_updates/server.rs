//! What the distribution server costs, with 100, 10,000 and 100,000 devices in the catalog, or another number: gateways in their
//! sessions report them, and the manufacturer's inventories name them. Beyond 100 their number stands at the end of a key.
//!
//! On plain workerd:
//! `updates.polls_per_second`, `updates.idle_poll_bytes`: polls with nothing new, of all gateways in turn, over connections that stay open,
//! and the bytes of such a request with its answer. A gateway's object answers them from memory.
//! `updates.report_to_directive_p50_ms`, `…_p99_ms`: from the report of a pump that does without a gateway to word of the signed directive;
//! `updates.ward_to_directive_…`: the same from the report of a gateway with fifty devices, one of which runs something else than before.
//! `updates.ingest_mb_per_second`: a program from `wardlink release publish` until it is public.
//! `updates.upload_records_per_second`, `updates.upload_batch_p50_ms`: stored data of devices side by side, each batch after the receipt
//! of the one before.
//! `updates.offer_to_all_ms`: from an offer to a class of devices until the last gateway has heard of its directive.
//! `updates.…_list_p50_ms`: what a person asks for: the catalog's first page, a search for one device and one that finds most of them, the
//! releases, the gateways, the offers, and the first devices of the one offer.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::de::DeserializeOwned;
use wardlink_protocol::api::{
    CatalogPage, GatewayView, NewOffer, OfferDevices, OfferScope, OfferView, OfferWhen, ReleaseView,
};
use wardlink_records::limits::MAX_BATCH_RECORDS;
use wardlink_tests::figures::{Figures, percentile};
use wardlink_tests::hub::Talk;
use wardlink_tests::manufacturer::Manufacturer;
use wardlink_tests::records::{Recorder, heart_rate};
use wardlink_tests::ward::Ward;
use wardlink_tests::{Scene, scene};

use crate::wards::{Gateway, Wards};

/// Connections that poll, and devices that hand over what they stored, side by side.
const CONNECTIONS: usize = 8;
const TIME: Duration = Duration::from_secs(5);
const PROGRAM_BYTES: usize = 64 * 1024 * 1024;
/// The sizes of the catalog. Figures with the first one have plain keys.
pub(super) const SIZES: [usize; 3] = [100, 10_000, 100_000];
/// Any other size is no smaller.
const LEAST: usize = 1_000;
/// The class that is offered something.
const CLASS: &str = "infusion-pump";

/// Measures all of it.
pub(super) fn measure(sizes: &[usize], rounds: usize, figures: &mut Figures) -> Result<()> {
    let is_one = |size: &usize| *size == SIZES[0] || *size >= LEAST;
    ensure!(sizes.iter().all(is_one), "--devices takes {}, or a number from {LEAST}", SIZES[0]);
    let mut found = Figures::default();
    scene(|scene| catalogs(scene, sizes, rounds, &mut found))?;
    figures.take(found);
    Ok(())
}

/// The figures with one size of the catalog.
struct Sized<'f> {
    figures: &'f mut Figures,
    size: usize,
}

impl Sized<'_> {
    fn key(&self, name: &str) -> String {
        if self.size == SIZES[0] { format!("updates.{name}") } else { format!("updates.{name}_{}", self.size) }
    }

    fn put(&mut self, name: &str, value: f64) {
        self.figures.put(&self.key(name), value);
    }

    fn put_ms(&mut self, name: &str, time: Duration) {
        self.figures.put_ms(&self.key(name), time);
    }
}

/// A device that hands over what it stored: its session, and its chain.
struct Uploader {
    talk: Talk,
    recorder: Recorder,
}

fn catalogs(scene: &Scene, sizes: &[usize], rounds: usize, figures: &mut Figures) -> Result<()> {
    let ward = Ward::open(scene)?;
    let acme = Manufacturer::found(scene, "acme")?;
    acme.onboard(&ward.administrator)?;
    for (revision, counter) in [("1B", "1"), ("1C", "2")] {
        acme.add("1A", revision, revision.as_bytes(), &["--release", counter])?;
    }
    acme.delegate(&["infusion-pump/PM2", "infusion-pump/PM3", "scale/S1"])?;
    acme.publish(&ward.worker.origin())?;
    offer(&ward, &acme, "1B", OfferScope::Model)?;
    let mut wards = Wards::default();
    wards.take(ward.hub("pump-1")?)?;
    let mut uploaders = Vec::new();
    for number in 0..CONNECTIONS {
        let hub = ward.hub(&format!("recorder-{number}"))?;
        let (talk, recorder) = (hub.connect()?, Recorder::of(&hub.device, hub.key(), 1));
        uploaders.push(Uploader { talk, recorder });
    }
    for &size in sizes {
        wards.grow(scene, &ward, &acme, size)?;
        let mut figures = Sized { figures: &mut *figures, size };
        reports(&mut wards, rounds, &mut figures)?;
        uploads(&mut uploaders, &mut figures)?;
        offer_to_all(&ward, &acme, &mut wards, rounds, &mut figures)?;
        polls(&ward, &wards, &mut figures)?;
    }
    Ok(())
}

fn offer(ward: &Ward<'_>, acme: &Manufacturer<'_>, revision: &str, scope: OfferScope) -> Result<OfferView> {
    let new = NewOffer { path: acme.program(revision), scope, when: OfferWhen::AtOnce, added: Vec::new() };
    ward.administrator.post("offers", &new)
}

fn reports(wards: &mut Wards, rounds: usize, figures: &mut Sized<'_>) -> Result<()> {
    for (gateway, name) in wards.gateways.iter_mut().zip(["report", "ward"]) {
        let times = gateway.report_to_directive(rounds)?;
        figures.put_ms(&format!("{name}_to_directive_p50_ms"), percentile(&times, 50)?);
        figures.put_ms(&format!("{name}_to_directive_p99_ms"), percentile(&times, 99)?);
    }
    Ok(())
}

/// Offers a program to a class, looks at what there is to see of that, publishes another program, and withdraws the offer.
fn offer_to_all(
    ward: &Ward<'_>,
    acme: &Manufacturer<'_>,
    wards: &mut Wards,
    rounds: usize,
    figures: &mut Sized<'_>,
) -> Result<()> {
    let scope = OfferScope::Class(CLASS.parse().context("a class")?);
    let (made, elapsed) = wards.until_all_are_directed(ward, || offer(ward, acme, "1C", scope))?;
    figures.put_ms("offer_to_all_ms", elapsed);
    lists(ward, &made, rounds, figures)?;
    figures.put("ingest_mb_per_second", ingest(ward, acme, u64::try_from(figures.size)?)?);
    // What was published has every gateway matched: the polls begin when that is over.
    let withdraw = || ward.administrator.post::<OfferView>(&format!("offers/{}/withdraw", made.id), &());
    wards.until_all_are_directed(ward, withdraw).map(drop)
}

/// What a person asks for.
fn lists(ward: &Ward<'_>, offer: &OfferView, rounds: usize, figures: &mut Sized<'_>) -> Result<()> {
    let last = figures.size - 1;
    list::<CatalogPage>(ward, "catalog", "catalog", rounds, figures)?;
    list::<CatalogPage>(ward, "find_one", &format!("catalog?find=acme+stored-{last:06}"), rounds, figures)?;
    list::<CatalogPage>(ward, "find_most", "catalog?find=acme+pm2", rounds, figures)?;
    list::<Vec<ReleaseView>>(ward, "releases", "releases", rounds, figures)?;
    list::<Vec<GatewayView>>(ward, "gateways", "gateways", rounds, figures)?;
    list::<Vec<OfferView>>(ward, "offers", "offers", rounds, figures)?;
    list::<OfferDevices>(ward, "offer_devices", &format!("offers/{}/devices", offer.id), rounds, figures)
}

fn list<T: DeserializeOwned>(
    ward: &Ward<'_>,
    name: &str,
    path: &str,
    rounds: usize,
    figures: &mut Sized<'_>,
) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let begun = Instant::now();
        let _: T = ward.administrator.get(path)?;
        times.push(begun.elapsed());
    }
    figures.put_ms(&format!("{name}_list_p50_ms"), percentile(&times, 50)?);
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

fn polls(ward: &Ward<'_>, wards: &Wards, figures: &mut Sized<'_>) -> Result<()> {
    let requests = wards.gateways.iter().map(|gateway| idle_poll(ward, gateway)).collect::<Result<Vec<_>>>()?;
    let mut turns = requests.iter().cycle();
    let turns = Mutex::new(&mut turns);
    let (count, bytes, is_over) = (AtomicU64::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let poll = || -> Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", ward.worker.port()))?;
        stream.set_nodelay(true)?;
        while !is_over.load(Ordering::Relaxed) {
            let request = turns.lock().unwrap_or_else(PoisonError::into_inner).next().context("a gateway polls")?;
            stream.write_all(request.as_bytes())?;
            let answer = head(&mut stream)?;
            ensure!(answer.starts_with(b"HTTP/1.1 304"), "{}", String::from_utf8_lossy(&answer));
            bytes.fetch_max(request.len() + answer.len(), Ordering::Relaxed);
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
    figures.put("polls_per_second", polls / begun.elapsed().as_secs_f64());
    figures.put("idle_poll_bytes", f64::from(u32::try_from(bytes.load(Ordering::Relaxed))?));
    Ok(())
}

/// A poll of a gateway that has the newest directive. Its object has been woken by then.
fn idle_poll(ward: &Ward<'_>, Gateway { hub, talk, .. }: &Gateway) -> Result<String> {
    let ticket = &talk.welcome.ticket;
    let known = hub.poll("metadata/timestamp.json", ticket, "")?;
    ensure!(known.status == 200, "a poll is answered with {}", known.status);
    Ok(format!(
        "GET /api/gateways/{}/director/metadata/timestamp.json HTTP/1.1\r\nHost: localhost:{}\r\n\
         Authorization: Bearer {}\r\nIf-None-Match: {}\r\n\r\n",
        hub.device,
        ward.worker.port(),
        &*ticket.to_text(),
        known.etag,
    ))
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
fn uploads(uploaders: &mut [Uploader], figures: &mut Sized<'_>) -> Result<()> {
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
    figures.put("upload_records_per_second", records / begun.elapsed().as_secs_f64());
    figures.put_ms("upload_batch_p50_ms", percentile(&times, 50)?);
    Ok(())
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
