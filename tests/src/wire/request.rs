//! What people ask of the web interface, as it stands on the wire.

use super::Message;

/// The requests of one connection, cut from its bytes.
#[derive(Default)]
pub(super) struct Requests {
    begun: Vec<u8>,
}

impl Requests {
    /// Takes bytes; returns the whole requests, with what each asks for where it is a step of a pairing.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<(Option<Message>, Vec<u8>)> {
        self.begun.extend_from_slice(bytes);
        let mut requests = Vec::new();
        while let Some(length) = whole(&self.begun) {
            let request: Vec<u8> = self.begun.drain(..length).collect();
            requests.push((step(&request), request));
        }
        requests
    }
}

/// The length of the first request, once all of it is there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = str::from_utf8(bytes.get(..end)?).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    let length = end + length.unwrap_or(0);
    (bytes.len() >= length).then_some(length)
}

fn step(request: &[u8]) -> Option<Message> {
    let line = request.split(|byte| *byte == b'\r').next()?;
    let line = str::from_utf8(line).ok()?.strip_prefix("POST /api/v1/pairings/")?;
    Some(match line.split('/').nth(1)?.split(' ').next()? {
        "accept" => Message::Accept,
        "verify" => Message::Attempt,
        "cancel" => Message::Cancel,
        "reject" => Message::Reject,
        _ => return None,
    })
}
