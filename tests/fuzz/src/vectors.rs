//! The frozen vectors, as seeds.

use data_encoding::HEXLOWER;
use serde_json::Value;
use std::sync::LazyLock;

/// A file of `tests/vectors`.
pub(crate) struct Vectors(Value);

static PAIRING: LazyLock<Vectors> = LazyLock::new(|| Vectors::read(include_str!("../../vectors/pairing.json")));
static AUTHENTICATION: LazyLock<Vectors> =
    LazyLock::new(|| Vectors::read(include_str!("../../vectors/authentication.json")));
static CHANNEL: LazyLock<Vectors> = LazyLock::new(|| Vectors::read(include_str!("../../vectors/channel.json")));
static TRUST: LazyLock<Vectors> = LazyLock::new(|| Vectors::read(include_str!("../../vectors/trust.json")));
static ENROLMENT: LazyLock<Vectors> = LazyLock::new(|| Vectors::read(include_str!("../../vectors/enrolment.json")));
static RENEWAL: LazyLock<Vectors> = LazyLock::new(|| Vectors::read(include_str!("../../vectors/renewal.json")));
static RECORDS: LazyLock<Vectors> = LazyLock::new(|| Vectors::read(include_str!("../../vectors/records.json")));

impl Vectors {
    pub(crate) fn pairing() -> &'static Self {
        &PAIRING
    }

    pub(crate) fn authentication() -> &'static Self {
        &AUTHENTICATION
    }

    pub(crate) fn channel() -> &'static Self {
        &CHANNEL
    }

    pub(crate) fn trust() -> &'static Self {
        &TRUST
    }

    pub(crate) fn enrolment() -> &'static Self {
        &ENROLMENT
    }

    pub(crate) fn renewal() -> &'static Self {
        &RENEWAL
    }

    pub(crate) fn records() -> &'static Self {
        &RECORDS
    }

    fn read(text: &str) -> Self {
        Self(serde_json::from_str(text).expect("a frozen file"))
    }

    pub(crate) fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {pointer}"))
    }

    pub(crate) fn json(&self, pointer: &str) -> String {
        self.0.pointer(pointer).unwrap_or_else(|| panic!("nothing at {pointer}")).to_string()
    }

    pub(crate) fn number(&self, pointer: &str) -> u64 {
        self.0.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no number at {pointer}"))
    }

    pub(crate) fn bytes(&self, pointer: &str) -> Vec<u8> {
        HEXLOWER.decode(self.text(pointer).as_bytes()).expect("hexadecimal")
    }
}
