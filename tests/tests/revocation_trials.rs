//! A revoked pump gets nothing after the answer, however much is on its way to it at that moment.
//!
//! The worker runs without the proxy of development: what waits in there for a busy machine would look as if it had been sent late.
//! `cargo xtask test --revocations 1000` is the long form.

use std::env;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use rand::RngExt as _;
use tungstenite::{Error, Message, WebSocket};
use wardlink_protocol::Device;
use wardlink_protocol::api::ChannelsView;
use wardlink_tests::crowd::Crowd;
use wardlink_tests::impostor::{Stolen, copy_of};
use wardlink_tests::mqtt::{Answer, Mqtt};
use wardlink_tests::scene;
use wardlink_tests::ward::Ward;

/// How many pumps are revoked at one site, one after the other: few, so that new keys come by each of them often.
const PUMPS: usize = 25;
/// The first byte of a PUBLISH, without its flags (MQTT 5.0 section 2.1.2).
const PUBLISH: u8 = 3;

#[test]
fn a_revoked_pump_gets_nothing_after_the_answer() -> Result<()> {
    let trials = env::var("WARDLINK_REVOCATIONS").ok().map(|text| text.parse()).transpose();
    let trials: usize = trials.context("WARDLINK_REVOCATIONS is a number")?.unwrap_or(PUMPS);
    let (mut done, mut in_time) = (0, 0);
    while done < trials {
        let pumps = PUMPS.min(trials - done);
        in_time += try_at_one_site(pumps)?;
        done += pumps;
        println!("{done} of {trials}: {in_time} messages came before the answer, none after it");
    }
    ensure!(in_time > 0, "nothing was ever on its way: the trials prove nothing");
    Ok(())
}

/// Revokes so many pumps while all get new keys all the time, and returns how many messages had reached them by the answer.
fn try_at_one_site(pumps: usize) -> Result<usize> {
    let mut in_time = 0;
    scene(|scene| {
        let ward = Ward::open(scene)?;
        Crowd::PUMPS.pair(scene, &ward, pumps, |_| {
            let done = AtomicBool::new(false);
            thread::scope(|threads| {
                let busy = threads.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        ward.administrator.post::<ChannelsView>("channels/alarm/rotate", &())?;
                    }
                    anyhow::Ok(())
                });
                let outcome = (1..=pumps).try_for_each(|number| {
                    let device = Crowd::PUMPS.device(number)?;
                    let copy = copy_of(&Crowd::PUMPS.state(scene, number))?;
                    in_time += try_one(&ward, &device, copy.path()).with_context(|| device.to_string())?;
                    anyhow::Ok(())
                });
                done.store(true, Ordering::Relaxed);
                outcome.and(busy.join().map_err(|_| anyhow!("a thread panicked"))?)
            })
        })?;
        Ok(())
    })?;
    Ok(in_time)
}

/// Revokes a pump that hears everything it may, and returns how many messages had reached it by the answer.
fn try_one(ward: &Ward<'_>, device: &Device, state: &Path) -> Result<usize> {
    let certificate = Stolen::from(state, device)?.certificate.context("the pump is paired")?;
    let connect = || Mqtt::connect(&ward.worker.broker(), &certificate, "own");
    let mut session = connect()?.map_err(|answer| anyhow!("not connected: {answer:?}"))?;
    for topic in [format!("ais/{device}"), "ais/meta/infusion-pump".to_owned()] {
        ensure!(!session.subscribe(&topic)?.is_refusal(), "{topic}");
    }
    thread::sleep(Duration::from_millis(rand::rng().random_range(0..40)));
    ward.administrator.revoke(std::slice::from_ref(device))?;

    // What had arrived by the answer lies in this machine and is read without waiting.
    let mut socket = session.into_socket();
    socket.get_ref().set_nonblocking(true)?;
    let in_time = messages(&mut socket, Until::Now)?;
    socket.get_ref().set_nonblocking(false)?;
    let late = messages(&mut socket, Until::TheEnd)?;
    ensure!(late == 0, "{late} messages came after the answer");
    ensure!(connect()?.err().is_some_and(Answer::is_refusal), "it was let in again");
    Ok(in_time)
}

/// How far a connection is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// What is there: the socket does not wait.
    Now,
    /// The end of the connection.
    TheEnd,
}

/// Counts messages.
fn messages(socket: &mut WebSocket<TcpStream>, until: Until) -> Result<usize> {
    let mut count = 0;
    loop {
        match socket.read() {
            Ok(Message::Binary(frame)) => {
                ensure!(!frame.is_empty(), "a frame is empty");
                count += usize::from(frame.first().is_some_and(|byte| byte >> 4 == PUBLISH));
            }
            Ok(_) => {}
            Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(_)) => return Ok(count),
            Err(Error::Io(error)) if error.kind() == ErrorKind::ConnectionReset => return Ok(count),
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock && until == Until::Now => return Ok(count),
            Err(error) => return Err(error).context("the connection does not end"),
        }
    }
}
