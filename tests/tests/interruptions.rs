//! Every message of every pairing, with pump, worker or both killed (SIGKILL) before, at and after it.
//!
//! `WARDLINK_INTERRUPTIONS` says how many random interruptions follow the systematic ones, `WARDLINK_SEED` which (it is printed):
//! `cargo xtask test --interruptions 1000` is the long form.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use wardlink_tests::chance::{drawn, number};
use wardlink_tests::interruption::{Bedside, Interruption, Place, Scenario, Victim};
use wardlink_tests::scene;
use wardlink_tests::wire::{Message, Moment};

const MOMENTS: [Moment; 3] = [Moment::Before, Moment::At(Duration::ZERO), Moment::After];
/// Random interruptions where nobody says how many.
const FEW: u64 = 12;
/// So many, and then another ward begins.
const WARD: usize = 50;
/// The longest time from a message to a random death: whole pairings fit into it.
const LATEST_MS: u64 = 400;

/// Every place of a scenario at every moment, with one victim after another; `first` is the one that begins.
fn survive(scenario: Scenario, first: usize) -> Result<()> {
    scene(|scene| {
        let mut bedside = Bedside::open(scene)?;
        let places = scenario.places().into_iter();
        let points = places.flat_map(|place| MOMENTS.map(|moment| (place, moment)));
        for (index, (place, moment)) in points.enumerate() {
            // Three moments to a place: without the shift by place, each moment would have the same victim everywhere.
            let victim = Victim::ALL.iter().cycle().nth(first + index + index / MOMENTS.len()).copied();
            let victim = victim.context("there is always a next one")?;
            bedside.survive(Interruption { scenario, place, moment, victim })?;
        }
        Ok(())
    })
}

/// A pairing by code with every victim at every place, at this moment.
fn survive_by_code(moment: Moment) -> Result<()> {
    scene(|scene| {
        let mut bedside = Bedside::open(scene)?;
        for place in Scenario::Code.places() {
            for victim in Victim::ALL {
                bedside.survive(Interruption { scenario: Scenario::Code, place, moment, victim })?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_pairing_by_code_survives_every_death_before_a_message() -> Result<()> {
    survive_by_code(Moment::Before)
}

#[test]
fn a_pairing_by_code_survives_every_death_at_a_message() -> Result<()> {
    survive_by_code(Moment::At(Duration::ZERO))
}

#[test]
fn a_pairing_by_code_survives_every_death_after_a_message() -> Result<()> {
    survive_by_code(Moment::After)
}

#[test]
fn a_pairing_by_qr_code_survives_a_death_at_every_message() -> Result<()> {
    survive(Scenario::Qr, 0)
}

#[test]
fn a_pairing_by_the_code_beside_the_qr_code_survives_a_death_at_every_message() -> Result<()> {
    survive(Scenario::CodeBeside, 1)
}

#[test]
fn a_pairing_without_verification_survives_a_death_at_every_message() -> Result<()> {
    survive(Scenario::Simple, 2)
}

#[test]
fn a_pairing_without_cert_ca_survives_a_death_at_every_message() -> Result<()> {
    survive(Scenario::Answer, 1)
}

#[test]
fn a_pairing_that_replaces_a_key_survives_a_death_at_every_message() -> Result<()> {
    survive(Scenario::Again, 2)
}

#[test]
fn a_rejection_survives_a_death_at_every_message_and_the_pump_can_pair_again() -> Result<()> {
    survive(Scenario::Rejected, 0)
}

#[test]
fn a_cancellation_survives_a_death_at_every_message_and_the_pump_can_pair_again() -> Result<()> {
    survive(Scenario::Cancelled, 1)
}

#[test]
fn three_wrong_codes_survive_a_death_at_every_message_and_the_pump_can_pair_again() -> Result<()> {
    survive(Scenario::WrongCode, 2)
}

#[test]
fn random_deaths_are_survived() -> Result<()> {
    let count = number("WARDLINK_INTERRUPTIONS")?.unwrap_or(FEW);
    let seed = number("WARDLINK_SEED")?.map_or_else(drawn, Ok)?;
    eprintln!("{count} random interruptions, WARDLINK_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for first in (0..count).step_by(WARD) {
        scene(|scene| {
            let mut bedside = Bedside::open(scene)?;
            for run in (first..count).take(WARD) {
                let interruption = any(&mut random).context("there is something to choose")?;
                eprintln!("{run}: {interruption}");
                bedside.survive(interruption).with_context(|| format!("run {run}, WARDLINK_SEED={seed}"))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn any(random: &mut StdRng) -> Option<Interruption> {
    let scenario = *Scenario::ALL.choose(random)?;
    let late = Moment::At(Duration::from_millis(random.random_range(0..LATEST_MS)));
    let soon = Moment::At(Duration::from_millis(random.random_range(0..10)));
    let [before, _, after] = MOMENTS;
    let moment = *[before, soon, late, after].choose(random)?;
    // A quarter dies at any time after the beginning, the others close to a message.
    let place = if moment == late && scenario.begins_with_hello() {
        Place::Wire(Message::Hello)
    } else {
        *scenario.places().choose(random)?
    };
    Some(Interruption { scenario, place, moment, victim: *Victim::ALL.choose(random)? })
}
