//! What the scripts on Cloudflare Workers share, the control unit's and the distribution server's: the platform, storage, secrets at rest,
//! and the typed requests between Durable Objects.

pub mod alarm;
pub mod body;
pub mod files;
pub mod http;
pub mod messages;
pub mod notes;
pub mod objects;
pub mod platform;
pub mod problem;
pub mod storage;
pub mod vault;
