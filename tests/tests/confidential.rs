//! Packages of a manufacturer that keeps them confidential: each gateway is given what it alone can read (Distribution, paragraphs 0030 and 0032).

use std::fs;

use anyhow::{Context as _, Result, ensure};
use ureq::Agent;
use wardlink_crypto::package::{Decoder, Sealed, open_key};
use wardlink_crypto::schedule::message_hash;
use wardlink_protocol::api::ProblemKind;
use wardlink_protocol::distribution::PollTicket;
use wardlink_protocol::limits::POLL_TICKET_BYTES;
use wardlink_tests::api::refusal;
use wardlink_tests::fleet::Fleet;
use wardlink_tests::ward::device;
use wardlink_tests::{scene, wait};

/// With which status a server answers somebody who shows nothing.
fn status(url: &str) -> Result<u16> {
    let agent: Agent = Agent::config_builder().http_status_as_error(false).build().into();
    Ok(agent.get(url).call().context("the worker does not answer")?.status().as_u16())
}

#[test]
fn a_confidential_package_is_encrypted_to_the_gateway_that_is_directed_and_nobody_else_can_read_it() -> Result<()> {
    scene(|scene| {
        let stage = Fleet::open(scene)?;
        let program: Vec<u8> = (0..200_000_u32).flat_map(u32::to_be_bytes).collect();
        fs::write(stage.acme.path("bom.json"), b"{}")?;
        let bom = stage.acme.path("bom.json").display().to_string();
        stage.acme.add("1A", "1C", &program, &["--sbom", &bom])?;
        stage.acme.publish(&stage.ward.worker.origin())?;
        assert_eq!(refusal(stage.acme.keep_confidential(&stage.ward.nurse, true))?, ProblemKind::Forbidden);
        ensure!(stage.acme.keep_confidential(&stage.ward.administrator, true)?.confidential, "it is said");
        stage.offer("1C")?;
        let mut hub = stage.ward.hub("pump-1")?;
        let mut talk = hub.connect()?;
        talk.report(hub.report("1A", None, &[])?)?;

        // It is directed as soon as it is encrypted.
        let ordered = |encrypted: bool| {
            wait::until("the order", || {
                let directed = hub.directive(&talk.welcome)?;
                let order = directed.order_for(&hub.device).map(|(order, _)| order.clone());
                Ok(order.filter(|order| order.encrypted.is_some() == encrypted))
            })
        };
        let order = ordered(true)?;
        let encrypted = order.encrypted.as_ref().context("it is encrypted")?;
        encrypted.check_for(&hub.device, &hub.key().public().fingerprint()?)?;
        let name = format!("targets/{}", encrypted.file.target().file_name(&encrypted.file.path));
        let ticket = &talk.welcome.ticket;
        let whole = hub.poll(&name, ticket, "")?;
        assert_eq!((whole.status, u64::try_from(whole.body.len())?), (200, encrypted.file.length));
        assert_eq!(message_hash(&whole.body), encrypted.file.sha256);
        let of = Sealed {
            gateway: &hub.device,
            path: order.path.as_str(),
            sha256: order.target.sha256().context("a hash")?,
        };
        let mut decoder = Decoder::new(open_key(encrypted.key.as_bytes(), hub.key(), of)?);
        let read = [decoder.push(&whole.body)?.to_vec(), decoder.finish()?.to_vec()].concat();
        ensure!(read == program, "it is another program");

        // Whoever was cut off goes on where that was.
        for (from, last) in [(0, None), (20, Some(30)), (65_557, None), (700_001, Some(700_001)), (799_999, None)] {
            let range = last.map_or_else(|| format!("bytes={from}-"), |last| format!("bytes={from}-{last}"));
            let part = hub.part(&name, ticket, &range)?;
            let is = whole.body.get(from..last.map_or(whole.body.len(), |last| last + 1)).context("a part")?;
            ensure!(part.status == 206 && part.body == is, "{range}: {}", part.status);
        }
        assert_eq!(hub.part(&name, ticket, "bytes=9000000-")?.status, 416);
        assert_eq!(hub.poll(&name, &PollTicket::new([7; POLL_TICKET_BYTES]), "")?.status, 401);
        let other = stage.ward.hub("pump-2")?;
        let theirs = other.connect()?;
        assert_eq!(other.poll(&name, &theirs.welcome.ticket, "")?.status, 404);

        // What it contains is known to everybody, and itself to nobody.
        let images = format!("{}/api/repositories/acme", stage.ward.worker.origin());
        let image = format!("{images}/targets/{}", order.target.file_name(&order.path));
        let document = order.package.sbom.as_ref().context("a document")?;
        let document = format!("{images}/targets/{}", document.target().file_name(&document.path));
        assert_eq!(status(&image)?, 404);
        assert_eq!((status(&document)?, status(&format!("{images}/metadata/timestamp.json"))?), (200, 200));
        stage.acme.keep_confidential(&stage.ward.administrator, false)?;
        assert_eq!((ordered(false)?.path, status(&image)?), (order.path, 200));
        Ok(())
    })
}

#[test]
fn a_confidential_release_is_installed_behind_a_gateway_and_without_one_whoever_dies_on_the_way() -> Result<()> {
    scene(|scene| {
        let mut hospital = Fleet::open(scene)?;
        hospital.acme.publish(&hospital.ward.worker.origin())?;
        hospital.acme.keep_confidential(&hospital.ward.administrator, true)?;
        let mut north = hospital.gateway("north", &["n-1"], &[])?;
        hospital.sell(&["pump-1"])?;
        let mut pump = hospital.pair_direct_pump("pump-1")?;
        hospital.release_for_pumps(("1A", "1B"), "2", &["--program-bytes", "5000000"], &[])?;
        hospital.publish()?;
        hospital.offer("1B")?;
        hospital.ward.worker.kill();
        hospital.ward.worker.restart()?;
        pump.wait_for("updating")?;
        north.kill();
        pump.kill();
        north.restart()?;
        pump.restart()?;
        hospital.wait_for_all(&[&device("n-1")?, &device("pump-1")?], "1B")
    })
}
