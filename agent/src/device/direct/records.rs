//! The stored data of a device without a gateway: it sends it to the server, and deletes it on the server's receipt (figures 9 and 13).

use super::{Direct, Driven, Over};
use crate::clock;
use crate::device::disk::Folder;
use crate::device::handover::{Handover, Heard};
use crate::device::records::RecordsError;
use crate::gateway::session::{Connection, Sent};
use serde_bytes::ByteBuf;
use wardlink_protocol::Device;
use wardlink_protocol::distribution::SessionRefusal;
use wardlink_records::exchange::RefusedBatch;
use wardlink_records::queue::BatchKey;
use wardlink_records::sending::Trigger;

/// How many batches wait for their answers at once.
const AT_ONCE: usize = 4;

/// What there is to do with stored data, where the device has some. What its store does not do is told once and tried again later: the
/// session goes on, and with it the updates.
fn with_records<T>(
    driven: &mut Driven,
    act: impl FnOnce(&mut Handover<Folder>) -> Result<T, RecordsError>,
) -> Option<T> {
    let handover = driven.handover.as_mut()?;
    match act(handover) {
        Ok(done) => {
            handover.trouble = None;
            Some(done)
        }
        Err(error) => {
            let trouble = Some(error.to_string());
            if handover.trouble != trouble {
                tracing::warn!(%error, "nothing can be done with stored data now");
            }
            handover.trouble = trouble;
            handover.failed(clock::now());
            None
        }
    }
}

impl Direct {
    /// Sends what it is time for. What is sent is stored before, and stays until the receipt.
    pub(super) async fn send_records(&self, connection: &mut Connection) -> Result<(), Over> {
        while connection.count(|sent| matches!(sent, Sent::Records(_))) < AT_ONCE {
            let next = self
                .with(|driven| {
                    with_records(driven, |handover| {
                        let next = handover.outgoing(clock::now())?;
                        if let Some(next) = &next {
                            handover.records.sent(next.key);
                        }
                        Ok(next)
                    })
                })
                .await?;
            let Some(next) = next.flatten() else { return Ok(()) };
            let device = self.member.identity.device.clone();
            connection.records(device, next.key, next.bytes).await?;
        }
        Ok(())
    }

    /// The server asks for it: for this device's, or for everybody's.
    pub(super) async fn records_wanted(&self, of: Option<Device>) -> Result<Option<SessionRefusal>, Over> {
        if of.is_some_and(|of| of != self.member.identity.device) {
            let reason = "this device has only its own data".to_owned();
            return Ok(Some(SessionRefusal { step: "figure 9, 193".to_owned(), reason }));
        }
        let asked = self.with(|driven| {
            with_records(driven, |handover| {
                handover.ask(Trigger::Request);
                handover.records.retry()
            })
        });
        asked.await?;
        Ok(None)
    }

    /// A batch was refused: it is kept.
    pub(super) async fn records_refused(&self, key: BatchKey, refused: SessionRefusal) -> Result<(), Over> {
        tracing::warn!(step = refused.step, reason = refused.reason, "the server refused stored data");
        let refused = RefusedBatch::new(Some(key), &refused.step, &refused.reason);
        self.with(move |driven| with_records(driven, |handover| handover.refused(&refused, clock::now()))).await?;
        Ok(())
    }

    /// A receipt: what it is for is deleted.
    pub(super) async fn receipt(&self, receipt: ByteBuf) -> Result<(), Over> {
        let Some(root) = self.member.identity.root else { return Ok(()) };
        let heard =
            self.with(move |driven| with_records(driven, |handover| handover.receipt(&receipt, &root, clock::now())));
        if let Some(Heard::Ignored(why)) = heard.await? {
            tracing::warn!(why, "a receipt deletes nothing");
        }
        Ok(())
    }
}
