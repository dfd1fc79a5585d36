//! The same for Node: each call is timed there.

use crate::messages::Messages;
use crate::repositories::Repositories;
use getrandom::SysRng;
use rand_core::UnwrapErr;
use wasm_bindgen::JsError;
use wasm_bindgen::prelude::wasm_bindgen;

/// [`Repositories`].
#[wasm_bindgen]
pub struct Updates(Repositories);

#[wasm_bindgen]
impl Updates {
    /// From their JSON.
    #[wasm_bindgen(constructor)]
    pub fn new(json: &str) -> Result<Self, JsError> {
        Ok(Self(serde_json::from_str(json)?))
    }

    /// [`Repositories::verify`].
    pub fn verify(&self) -> Result<usize, JsError> {
        Ok(self.0.verify()?)
    }
}

/// [`Messages`].
#[wasm_bindgen]
pub struct Channel(Messages);

#[wasm_bindgen]
impl Channel {
    /// [`Messages::begin`].
    #[wasm_bindgen(constructor)]
    pub fn new(channel: &str) -> Result<Self, JsError> {
        Ok(Self(Messages::begin(channel, &mut UnwrapErr(SysRng))?))
    }

    /// [`Messages::protect`].
    pub fn protect(&mut self, count: usize) -> Result<(), JsError> {
        Ok(self.0.protect(count)?)
    }

    /// [`Messages::open`].
    pub fn open(&mut self) -> Result<usize, JsError> {
        Ok(self.0.open()?)
    }
}
