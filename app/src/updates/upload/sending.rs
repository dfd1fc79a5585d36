//! Sending what was verified: the server says what it lacks, and an upload that was interrupted goes on there.

use core::time::Duration;

use gloo_net::http::Method;
use gloo_timers::future::sleep;
use serde::de::DeserializeOwned;
use wardlink_protocol::api::{PublicationView, Published};
use wasm_bindgen::JsValue;

use super::Progress;
use super::folder;
use super::verifying::Verified;
use crate::api::{self, Failure};
use crate::app::App;

/// How often a request is made again that found no answer.
const MAX_RETRIES: u32 = 5;
/// The pause before it is; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Publishes it. `tell` hears how far it is, and says whether anybody still waits; nothing comes of it where nobody does.
pub(super) async fn send(
    app: App,
    verified: &Verified,
    tell: impl Fn(Progress) -> bool,
) -> Result<Option<Published>, Failure> {
    let base = format!("/{}", api::encoded(&verified.manufacturer));
    let list = api::json(&verified.list).unwrap_or_default();
    let begun: PublicationView = ask(app, &base, &JsValue::from_str(&list)).await?;
    let base = format!("{base}/{}", begun.publication);
    let left = begun.missing.iter().flat_map(|missing| {
        missing.parts_left(begun.part_bytes).map(|part| (missing.file, part, missing.file.part(begun.part_bytes, part)))
    });
    let left: Vec<_> = left.collect();
    let total = left.iter().fold(0_u64, |sum, (_, _, range)| sum.saturating_add(range.end.saturating_sub(range.start)));
    let mut progress = Progress { done: 0, total };
    for (file, part, range) in left {
        if !tell(progress) {
            return Ok(None);
        }
        let blob = verified.files.get(&file.sha256).and_then(|blob| folder::slice(blob, range.start, range.end));
        // What it lacks, it was told of by us.
        let blob = blob.ok_or(Failure::Unreadable(200))?;
        again(app, Method::PUT, &format!("{base}/files/{}/{part}", file.sha256), blob.as_ref()).await?;
        progress.add(range.end.saturating_sub(range.start));
    }
    tell(progress);
    ask(app, &format!("{base}/commit"), &JsValue::UNDEFINED).await.map(Some)
}

async fn ask<T: DeserializeOwned>(app: App, path: &str, body: &JsValue) -> Result<T, Failure> {
    again(app, Method::POST, path, body).await?.read()
}

/// Makes a request, again where it finds no answer: each is the same when it is repeated.
async fn again(app: App, method: Method, path: &str, body: &JsValue) -> Result<api::Answer, Failure> {
    let (mut pause, mut retries) = (FIRST_PAUSE, 0);
    loop {
        match app.publish(method.clone(), path, body).await {
            Err(failure) if failure.is_passing() && retries < MAX_RETRIES => {
                retries += 1;
                sleep(pause).await;
                pause = pause.saturating_mul(2);
            }
            answer => return answer,
        }
    }
}
