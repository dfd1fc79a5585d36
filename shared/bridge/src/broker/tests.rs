//! The broker against clients that speak real packets, on virtual time, with storage that is nothing but the batches.

mod connecting;
mod delivery;
mod hostile;
mod model;
mod rights;
mod world;

use world::{Received, World, channel, device, grant, key};
