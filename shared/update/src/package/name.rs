//! Names in packages: each may be one part of a target's path, and is the same on every file system and in every pattern.

use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};
use wardlink_protocol::name;

/// The longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// The longest text for people, in bytes.
pub const MAX_NOTE_BYTES: usize = 200;

/// Why a text is no name, or no note. The peer's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// It is empty or too long.
    #[error("it is empty or too long")]
    Length,
    /// A character that is not allowed there.
    #[error("it has a character that is not allowed")]
    Character,
}

/// Letters, digits, and between them a space, `.`, `-`, `_` and `+`: nothing that a path or a pattern reads otherwise.
fn check_name(text: &str) -> Result<(), InvalidName> {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return Err(InvalidName::Length) };
    if bytes.len() > MAX_NAME_BYTES {
        return Err(InvalidName::Length);
    }
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'.' | b'-' | b'_' | b'+');
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() && bytes.iter().all(is_inner) {
        Ok(())
    } else {
        Err(InvalidName::Character)
    }
}

/// One line of any script.
fn check_note(text: &str) -> Result<(), InvalidName> {
    if text.trim().is_empty() || text.len() > MAX_NOTE_BYTES {
        return Err(InvalidName::Length);
    }
    if text.chars().any(char::is_control) { Err(InvalidName::Character) } else { Ok(()) }
}

name! {
    /// A manufacturer, such as `acme`: the first part of its targets' paths, and the name of its role.
    Manufacturer, check_name
}
name! {
    /// A model of a device type (figure 3, 62), such as `PM2`.
    Model, check_name
}
name! {
    /// A hardware id: which hardware an image runs on, such as `PM2-B`.
    HardwareId, check_name
}
name! {
    /// A feature set: what people call the same release across models.
    FeatureSet, check_name
}
name! {
    /// A serial number on a casing (figure 2, 43 and 47).
    SerialNumber, check_name
}
name! {
    /// One line for people, at most [`MAX_NOTE_BYTES`] long.
    Note, check_note
}

impl Note {
    /// The text as a note: control characters become spaces, and what is too long is cut.
    pub fn cut(text: &str) -> Self {
        let mut plain = String::new();
        for letter in text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }) {
            if plain.len().saturating_add(letter.len_utf8()) > MAX_NOTE_BYTES {
                break;
            }
            plain.push(letter);
        }
        plain.try_into().unwrap_or_else(|_| Self("unknown".into()))
    }
}
