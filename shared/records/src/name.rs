//! The names in stored data.

use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};
use wardlink_protocol::identity::InvalidName;
use wardlink_protocol::name;

use crate::limits::{MAX_ANSWER_BYTES, MAX_NAME_BYTES, MAX_UNIT_BYTES};

/// `[a-z0-9][a-z0-9-]{0,31}`, as devices and classes are named.
fn check_name(text: &str) -> Result<(), InvalidName> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > MAX_NAME_BYTES {
        return Err(InvalidName::Length);
    }
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !bytes.first().is_some_and(plain) || !bytes.iter().all(|byte| plain(byte) || *byte == b'-') {
        return Err(InvalidName::Character);
    }
    Ok(())
}

/// The characters of UCUM: printable ASCII without the space (UCUM section 2.1, paragraph 1).
fn check_unit(text: &str) -> Result<(), InvalidName> {
    if text.is_empty() || text.len() > MAX_UNIT_BYTES {
        return Err(InvalidName::Length);
    }
    if text.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(()) } else { Err(InvalidName::Character) }
}

/// Lines of any script.
fn check_text(text: &str) -> Result<(), InvalidName> {
    if text.is_empty() || text.len() > MAX_ANSWER_BYTES {
        return Err(InvalidName::Length);
    }
    let is_allowed = |character: char| character == '\n' || !character.is_control();
    if text.chars().all(is_allowed) { Ok(()) } else { Err(InvalidName::Character) }
}

name! {
    /// What is measured, such as `heart-rate`.
    Kind, check_name
}
name! {
    /// A questionnaire, such as `daily-wellbeing`.
    Instrument, check_name
}
name! {
    /// A question within its instrument.
    Question, check_name
}
name! {
    /// One of the answers to choose from.
    Choice, check_name
}
name! {
    /// A rule.
    RuleId, check_name
}
name! {
    /// A unit: a case-sensitive code of the Unified Code for Units of Measure, such as `mm[Hg]`.
    ///
    /// Any text of UCUM's characters is kept as it was signed; which of them are understood, [`crate::unit`] says.
    Unit, check_unit
}
name! {
    /// What a person answers in own words; at most [`MAX_ANSWER_BYTES`] long.
    Text, check_text
}
