// Copyright The rust-url developers.
//
// Licensed under the Apache License, Version 2.0 <LICENSE-APACHE or
// http://www.apache.org/licenses/LICENSE-2.0> or the MIT license
// <LICENSE-MIT or http://opensource.org/licenses/MIT>, at your
// option. This file may not be copied, modified, or distributed
// except according to those terms.

//! Version 1.2.2 natively, version 1.0.0 in WebAssembly; nothing else is changed. See the README.

#![no_std]

#[cfg(target_family = "wasm")]
mod ascii;
#[cfg(not(target_family = "wasm"))]
#[allow(deprecated)] // as upstream has it
mod icu;

#[cfg(target_family = "wasm")]
pub use ascii::*;
#[cfg(not(target_family = "wasm"))]
pub use icu::*;
