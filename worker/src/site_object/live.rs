//! Live changes for people, over hibernating WebSockets. A connection belongs to a browser session and ends with it.

use core::cell::RefCell;
use data_encoding::BASE64URL_NOPAD;
use std::collections::VecDeque;
use wardlink_edge::messages::{SESSION_HEADER, Session};
use wardlink_edge::platform::now;
use wardlink_edge::problem::Failure;
use wardlink_protocol::api::{LiveEvent, ProblemKind};
use wardlink_protocol::cbor;
use wardlink_protocol::identity::Sha256;
use worker::{Request, Response, State, WebSocket, WebSocketPair};

/// The longest session in a header, in bytes.
const MAX_SESSION_BYTES: usize = 1024;
/// How many ended sessions are remembered: against a connection that was on its way when its session ended.
const MAX_ENDED: usize = 256;
/// WebSocket close code for a policy (RFC 6455 section 7.4.1): the session is over.
const SESSION_OVER: u16 = 1008;

/// The open connections of people.
#[derive(Default)]
pub(super) struct Live {
    ended: RefCell<VecDeque<Sha256>>,
}

impl Live {
    /// Opens a connection, which begins with these events. The route has checked the session.
    pub(super) fn open(
        &self,
        state: &State,
        request: &Request,
        events: impl Iterator<Item = LiveEvent>,
    ) -> Result<Response, Failure> {
        let header = request.headers().get(SESSION_HEADER)?.ok_or(ProblemKind::SignedOut)?;
        let bytes = BASE64URL_NOPAD.decode(header.as_bytes()).map_err(Failure::internal)?;
        let session: Session = cbor::unpack(&bytes, MAX_SESSION_BYTES)?;
        if session.ends_at <= now() || self.ended.borrow().contains(&session.id) {
            return Err(ProblemKind::SignedOut.into());
        }
        let pair = WebSocketPair::new()?;
        state.accept_websocket_with_tags(&pair.server, &[&tag(session.id)]);
        for event in events {
            pair.server.send_with_str(serde_json::to_string(&event)?)?;
        }
        Ok(Response::from_websocket(pair.client)?)
    }

    /// Closes the connections of ended sessions.
    pub(super) fn end_sessions(&self, state: &State, sessions: &[Sha256]) {
        for session in sessions {
            let mut ended = self.ended.borrow_mut();
            if ended.len() >= MAX_ENDED {
                ended.pop_front();
            }
            ended.push_back(*session);
            for socket in state.get_websockets_with_tag(&tag(*session)) {
                close(&socket, SESSION_OVER, "the session is over");
            }
        }
    }
}

/// Sends an event to everybody who is connected.
pub(super) fn broadcast(state: &State, event: &LiveEvent) -> Result<(), Failure> {
    let sockets = state.get_websockets();
    if sockets.is_empty() {
        return Ok(());
    }
    let text = serde_json::to_string(event)?;
    for socket in sockets {
        // A connection that is just going gets nothing more.
        let _: worker::Result<()> = socket.send_with_str(&text);
    }
    Ok(())
}

/// Closes a connection; one that is closed already stays so.
pub(super) fn close(socket: &WebSocket, code: u16, reason: &str) {
    let _: worker::Result<()> = socket.close(Some(code), Some(reason));
}

fn tag(session: Sha256) -> String {
    session.to_string()
}
