//! The documents say what the code does: `docs/openapi.yaml`, and the tables of `docs/coupling.md`, `docs/distribution.md` and `docs/threat-model.md`, held against the
//! sources and a real worker.

mod coupling;
mod distribution;
mod openapi;
mod sources;
mod tables;
mod types;
