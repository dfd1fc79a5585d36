//! The end of the serial number, as a person reads it from the casing: who never stood at the device does not know it.

use wardlink_crypto::schedule;
use wardlink_protocol::limits::SERIAL_ENDING_CHARS;

/// What stands for a hidden character.
const HIDDEN: char = '\u{2022}';

/// The last characters of a serial number. Neither case nor white space counts.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SerialEnding(String);

impl SerialEnding {
    /// The end of a device's serial number, the whole of a short one; none where it has no number.
    pub(crate) fn of(serial_number: &str) -> Option<Self> {
        let counted: Vec<char> = serial_number.chars().filter(|character| counts(*character)).collect();
        let start = counted.len().saturating_sub(SERIAL_ENDING_CHARS);
        let ending: String = counted.into_iter().skip(start).flat_map(char::to_lowercase).collect();
        (!ending.is_empty()).then_some(Self(ending))
    }

    /// What a person typed; none where it has another length than is asked for, which the hidden characters tell anyway.
    pub(crate) fn read(typed: &str, serial_number: &str) -> Option<Self> {
        let asked = serial_number.chars().filter(|character| counts(*character)).count().min(SERIAL_ENDING_CHARS);
        let length = typed.chars().filter(|character| counts(*character)).count();
        if length == asked { Self::of(typed) } else { None }
    }

    /// The text that is compared.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Compares in constant time.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let hash = |ending: &Self| schedule::message_hash(ending.0.as_bytes());
        schedule::same(&hash(self), &hash(other))
    }
}

/// The serial number without its end.
pub(crate) fn hide_ending(serial_number: &str) -> String {
    let total = serial_number.chars().filter(|character| counts(*character)).count();
    let shown = total.saturating_sub(SERIAL_ENDING_CHARS);
    let mut seen = 0;
    let mut hide = |character: char| {
        if !counts(character) {
            return character;
        }
        seen += 1;
        if seen > shown { HIDDEN } else { character }
    };
    serial_number.chars().map(&mut hide).collect()
}

fn counts(character: char) -> bool {
    !character.is_whitespace()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(typed: &str, serial_number: &str) -> bool {
        let expected = SerialEnding::of(serial_number);
        let typed = SerialEnding::read(typed, serial_number);
        expected.zip(typed).is_some_and(|(expected, typed)| expected.is_same(&typed))
    }

    #[test]
    fn the_last_four_characters_count_in_either_case() {
        for right in ["b-42", "B-42", " b -42"] {
            assert!(fits(right, "SN-00aB-42"), "{right}");
        }
        for wrong in ["", "42", "a-42", "SN-00AB-42"] {
            assert!(!fits(wrong, "SN-00aB-42"), "{wrong}");
        }
    }

    #[test]
    fn a_short_number_counts_whole() {
        assert!(fits("7x", "7X"));
        assert!(!fits("x", "7X") && !fits("007x", "7X"));
        assert!(SerialEnding::of(" ").is_none());
    }

    #[test]
    fn the_end_is_hidden_and_nothing_else() {
        assert_eq!(hide_ending("SN-00aB-42"), "SN-00a\u{2022}\u{2022}\u{2022}\u{2022}");
        assert_eq!(hide_ending("AB 1 2 3 4"), "AB \u{2022} \u{2022} \u{2022} \u{2022}");
        assert_eq!(hide_ending("7X"), "\u{2022}\u{2022}");
        assert_eq!(hide_ending(""), "");
    }
}
