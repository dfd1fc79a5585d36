#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]

use super::*;
use crate::epochs::{LineId, Why};
use crate::testing::{Counting, NOW, later, pump, row};
use crate::wrap::WrapKey;
use serde_bytes::ByteBuf;
use wardlink_crypto::cose::EnvelopeError;

struct World {
    rng: Counting,
    service: Device,
    keys: WrapKeys,
    line: Line,
}

fn keys_of(service: &Device, seed: u8) -> WrapKeys {
    WrapKey::new([seed; 32]).keys(service).unwrap()
}

fn world() -> World {
    let mut rng = Counting(5);
    let service = Device::service("ward-monitor".parse().unwrap());
    let line = Line::begin(LineId::of(&row("alarm"), &pump(1)), row("alarm"), 0, NOW, &mut rng).unwrap();
    World { rng, keys: keys_of(&service, 1), service, line }
}

impl World {
    fn ask(&mut self) -> Vec<u8> {
        ask("alarm".parse().unwrap(), pump(1), &self.service, &self.keys, &mut self.rng).unwrap()
    }

    fn answer(&mut self, question: &[u8]) -> Result<Vec<u8>, WrapError> {
        let asked = open_question(question, &self.service, &self.keys)?;
        let known = KnownDevice { certificate: ByteBuf::from(vec![1, 2]), trusted: true };
        let lines = vec![self.line.clone()];
        answer(question, &asked, (lines, true), Some(known), &self.service, &self.keys, &mut self.rng)
    }
}

#[test]
fn a_service_is_given_every_epoch_with_its_standing() {
    let mut world = world();
    world.line.rotate(row("alarm"), Why::Cut(later(1)), later(2), &mut world.rng).unwrap();
    let question = world.ask();
    assert_eq!(asked_under(&question), Some(world.keys.id()));
    let given = open_answer(&world.answer(&question).unwrap(), &question, &world.service, &world.keys).unwrap();
    assert!(given.lines == [world.line.clone()]);
    assert!(given.device.unwrap().trusted);
}

#[test]
fn an_answer_belongs_to_its_question() {
    let mut world = world();
    let (first, second) = (world.ask(), world.ask());
    let answered = world.answer(&first).unwrap();
    let error = open_answer(&answered, &second, &world.service, &world.keys).err();
    assert_eq!(error, Some(WrapError::Envelope(EnvelopeError::Authentication)));
    // Nor does a question pass as its own answer.
    assert!(open_answer(&first, &first, &world.service, &world.keys).is_err());
    assert!(open_question(&answered, &world.service, &world.keys).is_err());
}

#[test]
fn nobody_asks_or_reads_for_another_service() {
    let mut world = world();
    let question = world.ask();
    let answered = world.answer(&question).unwrap();
    let other = Device::service("other".parse().unwrap());
    let stolen = keys_of(&other, 1);
    assert_eq!(open_question(&question, &other, &stolen), Err(WrapError::UnknownWrapKey));
    assert_eq!(open_answer(&answered, &question, &other, &stolen).err(), Some(WrapError::UnknownWrapKey));
    let later_key = keys_of(&world.service, 2);
    assert_eq!(open_question(&question, &world.service, &later_key), Err(WrapError::UnknownWrapKey));
}

#[test]
fn keys_of_another_channel_class_or_device_never_go_out() {
    let mut world = world();
    let question = world.ask();
    let asked = open_question(&question, &world.service, &world.keys).unwrap();
    let foreign = [
        (row("therapy"), pump(1)),
        (row("command"), pump(1)),
        (row("alarm"), "scale/s-1".parse().unwrap()),
        (row("command"), pump(2)),
    ];
    for (row, device) in foreign {
        let line = Line::begin(LineId::of(&row, &device), row, 0, NOW, &mut world.rng).unwrap();
        let lines = vec![world.line.clone(), line];
        let result = answer(&question, &asked, (lines, true), None, &world.service, &world.keys, &mut world.rng);
        assert_eq!(result, Err(WrapError::NoKey));
    }
}

#[test]
fn a_question_that_was_changed_or_cut_short_is_refused() {
    let mut world = world();
    let question = world.ask();
    for place in 0..question.len() {
        let mut changed = question.clone();
        changed.get_mut(place).map(|byte| *byte ^= 1).unwrap();
        assert!(world.answer(&changed).is_err(), "byte {place}");
        assert!(world.answer(question.get(..place).unwrap()).is_err(), "cut at {place}");
    }
}

#[test]
fn stored_data_is_given_for_its_question_alone_and_keys_for_theirs() {
    let mut world = world();
    let World { rng, service, keys, .. } = &mut world;
    let (first, second) =
        (ask_for_records(7, service, keys, rng).unwrap(), ask_for_records(7, service, keys, rng).unwrap());
    assert_eq!(asked_under(&first), Some(keys.id()));
    assert_eq!(open_records_question(&first, service, keys).unwrap().after, 7);
    let answered = answer_records(&first, b"rows", service, keys, rng).unwrap();
    assert_eq!(open_records(&answered, &first, service, keys).unwrap().as_slice(), b"rows");
    assert!(open_records(&answered, &second, service, keys).is_err(), "another question's answer");
    assert!(open_records(&first, &first, service, keys).is_err(), "the question itself");
    assert!(open_question(&first, service, keys).is_err(), "it asks for no keys");
    let stranger = keys_of(service, 2);
    assert_eq!(open_records_question(&first, service, &stranger).err(), Some(WrapError::UnknownWrapKey));
    let keys_asked = world.ask();
    assert!(open_records_question(&keys_asked, &world.service, &world.keys).is_err(), "it asks for keys");
}
