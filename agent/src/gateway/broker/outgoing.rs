//! What goes out to one connection: frames in their order, and its end, which waits behind none of them.

use tokio::sync::{mpsc, oneshot};

/// How many frames wait for a connection that does not read; then it is closed.
const MAX_WAITING_FRAMES: usize = 64;

/// The broker's side of a connection. Where it is dropped, the connection ends at once.
pub(super) struct Peer {
    frames: mpsc::Sender<Vec<u8>>,
    end: oneshot::Sender<Farewell>,
}

/// The socket's side of a connection.
pub(super) struct Outgoing {
    frames: mpsc::Receiver<Vec<u8>>,
    end: oneshot::Receiver<Farewell>,
}

/// How a connection is closed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Farewell {
    /// What its client is told at last, instead of everything that waits.
    pub(super) frames: Vec<Vec<u8>>,
    /// The code of the WebSocket's end.
    pub(super) code: u16,
}

/// What a connection is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Out {
    /// Send a binary frame.
    Frame(Vec<u8>),
    /// End; without a word where its client does not read.
    End(Option<Farewell>),
}

/// The two sides of a connection.
pub(super) fn pair() -> (Peer, Outgoing) {
    let (frames, outgoing) = mpsc::channel(MAX_WAITING_FRAMES);
    let (end, ended) = oneshot::channel();
    (Peer { frames, end }, Outgoing { frames: outgoing, end: ended })
}

impl Peer {
    /// Sends a frame; false where too many wait.
    pub(super) fn send(&self, frame: Vec<u8>) -> bool {
        self.frames.try_send(frame).is_ok()
    }

    /// Ends the connection, whatever waits.
    pub(super) fn end(self, farewell: Farewell) {
        // Whoever is gone needs no farewell.
        drop(self.end.send(farewell));
    }
}

impl Outgoing {
    /// What is to be done next: the end, where it has come, before anything that waits.
    pub(super) async fn next(&mut self) -> Out {
        tokio::select! {
            biased;
            end = &mut self.end => Out::End(end.ok()),
            Some(frame) = self.frames.recv() => Out::Frame(frame),
        }
    }

    /// Does something as long as the end has not come; then says how it ends.
    pub(super) async fn unless_ended<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Option<Farewell>> {
        tokio::select! {
            biased;
            end = &mut self.end => Err(end.ok()),
            done = work => Ok(done),
        }
    }
}
