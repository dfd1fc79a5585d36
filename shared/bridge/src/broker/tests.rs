//! The broker against clients that speak real packets, on virtual time, with storage that is nothing but the batches.

mod connecting;
mod delivery;
mod flood;
mod hostile;
mod local;
mod model;
mod older;
mod rights;
mod services;
mod world;

use world::{Received, World, channel, device, grant, key};
