//! End-to-end tests of Wardlink on its real parts: the worker under workerd, `wardlink pump` processes, and Chromium.
//!
//! `cargo xtask test` builds what they need and runs them. A test is a [`scene()`]: it starts what it needs, every
//! program writes its log into the scene's folder, and when the test fails the logs are printed. Programs end with the scene.
//!
//! Tests wait on conditions; the limits in [`wait`] only turn a hanging test into a failing one.
//!
//! From the environment: `WARDLINK_CHECKOUT` (the checkout), `WARDLINK_BIN` (the command `wardlink`), `WARDLINK_XTASK` (the command
//! `cargo xtask`), `CHROMIUM`, `CHROMEDRIVER`, `NGINX`. Each has a default that fits a checkout on Debian.

pub mod api;
pub mod artifacts;
pub mod browser;
pub mod camera;
pub mod chance;
pub mod crowd;
pub mod figures;
pub mod fleet;
pub mod hospital;
pub mod hub;
pub mod impostor;
pub mod independent;
pub mod interruption;
pub mod live;
pub mod manufacturer;
pub mod mirror;
pub mod mqtt;
pub mod nginx;
pub mod older;
pub mod postgres;
pub mod process;
pub mod publisher;
pub mod pump;
pub mod raw;
pub mod records;
pub mod revocations;
mod scene;
pub mod service;
pub mod stage;
pub mod table;
pub mod wait;
pub mod ward;
pub mod wasm;
pub mod wire;
pub mod worker;

pub use scene::{Scene, scene};
