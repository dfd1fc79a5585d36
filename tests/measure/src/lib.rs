//! What is measured both natively and in WebAssembly: the same code, timed by whoever calls it.
//!
//! Natively the benchmarks of `wardlink-tests` call it; for WebAssembly it is built like the worker, and `node` hands it to
//! Node, whose engine is the platform's.

pub mod messages;
#[cfg(target_arch = "wasm32")]
pub mod node;
pub mod repositories;

/// Why something could not be measured.
#[derive(Debug)]
pub struct NotMeasured(String);

impl NotMeasured {
    /// What went wrong.
    pub fn new(cause: impl core::fmt::Display) -> Self {
        Self(cause.to_string())
    }
}

impl core::fmt::Display for NotMeasured {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for NotMeasured {}
