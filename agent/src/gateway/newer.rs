//! A newer directive than the one that a round works on: it may recall or withdraw what that one has directed, and counts before anything is
//! changed at a device.

use super::GatewayError;
use super::round::{Round, RoundEnd, now, try_again_at};
use super::store::{Directives, Poll, Store, StoreError};
use super::troubles::Source;
use std::time::Duration;
use wardlink_update::metadata::Version;

/// How often it is looked, while an image comes, whether a newer directive was heard of.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What the server has said, in a session or to a poll, of what there is to verify.
#[derive(PartialEq, Eq)]
pub(super) struct Heard {
    directive: Version,
    timestamp: Option<String>,
}

impl Heard {
    pub(super) fn now(store: &Store) -> Result<Self, StoreError> {
        let directive = store.value::<Directives>()?.unwrap_or_default().heard;
        Ok(Self { directive, timestamp: store.value::<Poll>()?.and_then(|poll| poll.etag) })
    }
}

impl Round<'_> {
    /// Whether a newer directive was heard of than the one that was verified.
    pub(super) fn is_overtaken(&self, version: Version) -> Result<bool, StoreError> {
        let heard = Heard::now(&self.shared.store)?;
        Ok(heard.directive > version || heard.timestamp != self.known.timestamp)
    }

    /// Ends when a newer directive was heard of.
    pub(super) async fn overtaken(&self, version: Version) -> Result<(), StoreError> {
        while !self.is_overtaken(version)? {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// The newer directive is verified next; what has come stays. One that was known of before and is not to be had yet is waited for.
    pub(super) fn gives_way(&self, end: &mut RoundEnd) -> Result<bool, GatewayError> {
        if Heard::now(&self.shared.store)? == self.known {
            let why = "a newer directive is known of, and has yet to come";
            self.shared.troubles.find(Source::Round, "updates", why);
            end.again(try_again_at());
        } else {
            end.again(now());
        }
        Ok(true)
    }
}
