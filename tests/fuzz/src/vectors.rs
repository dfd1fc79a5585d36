//! The frozen vectors, as seeds.

use data_encoding::HEXLOWER;
use serde_json::Value;

/// A file of `tests/vectors`.
pub(crate) struct Vectors(Value);

impl Vectors {
    pub(crate) fn pairing() -> Self {
        Self::read(include_str!("../../vectors/pairing.json"))
    }

    pub(crate) fn authentication() -> Self {
        Self::read(include_str!("../../vectors/authentication.json"))
    }

    pub(crate) fn channel() -> Self {
        Self::read(include_str!("../../vectors/channel.json"))
    }

    fn read(text: &str) -> Self {
        Self(serde_json::from_str(text).expect("a frozen file"))
    }

    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {pointer}"))
    }

    pub(crate) fn number(&self, pointer: &str) -> u64 {
        self.0.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no number at {pointer}"))
    }

    pub(crate) fn bytes(&self, pointer: &str) -> Vec<u8> {
        HEXLOWER.decode(self.text(pointer).as_bytes()).expect("hexadecimal")
    }
}
