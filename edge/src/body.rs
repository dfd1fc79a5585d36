//! The body of a request, on its way to the object that acts on it.

use crate::problem::Failure;
use core::marker::PhantomData;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wardlink_protocol::api::ProblemKind;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The body of a request as it came: JSON of a `T`. Only the object that acts on it reads it, so that the code that reads a `T` stands in
/// one place.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct Body<T> {
    #[serde(with = "serde_bytes")]
    json: Vec<u8>,
    #[serde(skip)]
    #[zeroize(skip)]
    says: PhantomData<fn() -> T>,
}

impl<T> Body<T> {
    /// Takes the bytes of a body.
    pub fn new(json: &[u8]) -> Self {
        Self { json: json.to_vec(), says: PhantomData }
    }
}

impl<T: DeserializeOwned> Body<T> {
    /// What it says; refused where that is no `T`.
    pub fn read(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.json)
            .map_err(|error| Failure::with_detail(ProblemKind::BadRequest, format!("The body: {error}.")))
    }
}
