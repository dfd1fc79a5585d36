//! The documents say what the code does: `docs/openapi.yaml` and `docs/coupling.md`, held against the sources and a real worker.

mod coupling;
mod openapi;
mod sources;
mod types;
