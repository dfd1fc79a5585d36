//! The server's end of a session.

use super::Inner;
use futures_util::{SinkExt, StreamExt};
use serde_bytes::ByteBuf;
use std::sync::{Arc, Mutex};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use wardlink_agent::clock;
use wardlink_crypto::session::{Session, Unanswered};
use wardlink_protocol::cbor;
use wardlink_protocol::distribution::{
    Answer, FromGateway, FromServer, ManufacturerRoot, PollTicket, SESSION_PROTOCOL, SessionRefusal, Welcome,
};
use wardlink_protocol::identity::{Device, Purpose};
use wardlink_protocol::limits::MAX_SESSION_MESSAGE_BYTES;
use wardlink_update::key::Key;
use wardlink_update::metadata::Version;
use wardlink_update::report::{Configuration, ConfigurationReport, Known};

pub(super) async fn serve(stream: TcpStream, inner: Arc<Mutex<Inner>>, path: &str) {
    assert_eq!(path, format!("/api/gateways/{}/session", inner.lock().unwrap().me));
    #[expect(clippy::result_large_err, reason = "the library's callback")]
    let subprotocol = |_: &Request, mut response: Response| {
        response.headers_mut().insert("sec-websocket-protocol", SESSION_PROTOCOL.parse().unwrap());
        Ok(response)
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, subprotocol).await else { return };
    let Some(session) = handshake(&mut socket, &inner).await else { return };
    let (sender, orders) = mpsc::unbounded_channel();
    let welcome = {
        let mut inner = inner.lock().unwrap();
        inner.sessions += 1;
        inner.live.push(sender);
        welcome(&inner)
    };
    talk(socket, session, orders, welcome, &inner).await;
}

async fn handshake(socket: &mut WebSocketStream<TcpStream>, inner: &Mutex<Inner>) -> Option<Session> {
    let hello = frame(socket).await?;
    let (server, answer) = {
        let inner = inner.lock().unwrap();
        let unanswered = Unanswered::start(&hello, &inner.host, &mut clock::rng()).ok()?;
        let signed = unanswered.opening().clone().sign(inner.chain.clone(), &inner.server_key).ok()?;
        unanswered.answer(&signed).ok()?
    };
    socket.send(Message::binary(answer)).await.ok()?;
    let proof = frame(socket).await?;
    let (issuers, me) = {
        let inner = inner.lock().unwrap();
        ([inner.ca.certificate().clone()], inner.me.clone())
    };
    let purpose = if me.is_gateway() { Purpose::Gateway } else { Purpose::Device };
    let (session, certificate) = server.finish(&proof, &issuers, purpose, clock::now()).ok()?;
    inner.lock().unwrap().shown = Some(*certificate.key());
    (certificate.device() == Some(&me)).then_some(session)
}

fn welcome(inner: &Inner) -> FromServer {
    let states = inner.hospital.bound.present.iter();
    let states = states.filter(|state| !inner.hides.contains(&state.characteristics.device));
    FromServer::Welcome(Box::new(Welcome {
        directive: inner.hospital.version,
        reported: inner.reports.last().map_or(0, |report| report.counter),
        director_root: ByteBuf::from(inner.hospital.director.root()),
        manufacturers: [Some(inner.hospital.maker.to_string()), inner.names_nobody.then(|| "a/b".to_owned())]
            .into_iter()
            .flatten()
            .map(|manufacturer| ManufacturerRoot { manufacturer, root: ByteBuf::from(inner.hospital.images.root()) })
            .collect(),
        devices: states.map(|state| inner.associated(&state.characteristics.device)).collect(),
        ticket: PollTicket::new(inner.ticket),
        ticket_ends_at: clock::now().after(inner.ticket_lasts),
    }))
}

async fn talk(
    mut socket: WebSocketStream<TcpStream>,
    mut session: Session,
    mut orders: mpsc::UnboundedReceiver<FromServer>,
    welcome: FromServer,
    inner: &Mutex<Inner>,
) {
    let mut next = vec![welcome];
    loop {
        for message in core::mem::take(&mut next) {
            let frame = session.seal(&cbor::encode(&message).unwrap()).unwrap();
            if socket.send(Message::binary(frame)).await.is_err() {
                return;
            }
        }
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => next.push(order),
                None => return,
            },
            message = socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    let opened = session.open(&bytes).unwrap();
                    let message = cbor::decode(&opened, MAX_SESSION_MESSAGE_BYTES).unwrap();
                    next = hear(message, &mut inner.lock().unwrap());
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return,
            },
        }
    }
}

async fn frame(socket: &mut WebSocketStream<TcpStream>) -> Option<Vec<u8>> {
    match socket.next().await? {
        Ok(Message::Binary(bytes)) => Some(bytes.to_vec()),
        _ => None,
    }
}

/// The gateway's key, and the counter of its newest report.
struct Registered<'a>(&'a Inner);

impl Known for Registered<'_> {
    fn key(&self, device: &Device) -> Option<Key> {
        use p256::pkcs8::DecodePublicKey;
        if *device != self.0.me {
            let key = self.0.keys.get(device).filter(|_| !self.0.hides.contains(device));
            return key.and_then(|key| Key::of_spki(key));
        }
        let spki = self.0.shown?.to_spki().unwrap();
        let key = p256::ecdsa::VerifyingKey::from_public_key_der(&spki).unwrap();
        Some(Key::ecdsa_p256(&key).unwrap())
    }

    fn counter(&self, device: &Device) -> Version {
        let of_device = |report: &Configuration| {
            let mut devices = report.devices.iter();
            devices.find(|(state, _)| state.characteristics.device == *device).and_then(|(_, counter)| *counter)
        };
        if *device == self.0.me {
            return self.0.reports.last().map_or(0, |report| report.counter);
        }
        self.0.reports.iter().filter_map(of_device).max().unwrap_or(0)
    }
}

/// What is answered: where data is stored, also the receipt.
fn hear(message: FromGateway, inner: &mut Inner) -> Vec<FromServer> {
    if let FromGateway::Records(batch) = &message {
        let taken = inner.archive.take(&batch.message, clock::now());
        let forged = inner.forger.as_mut().and_then(|forger| forger.take(&batch.message, clock::now()).ok());
        let (refused, receipt) = match taken {
            Ok(receipt) => (None, Some(forged.unwrap_or(receipt)).filter(|_| !inner.loses_receipts)),
            Err((step, reason)) => (Some(SessionRefusal { step, reason }), None),
        };
        let answer = FromServer::Answer(Answer { number: batch.number, refused });
        let receipt = receipt.map(|receipt| FromServer::Receipt(ByteBuf::from(receipt)));
        return [Some(answer), receipt].into_iter().flatten().collect();
    }
    answer(message, inner).map(FromServer::Answer).into_iter().collect()
}

fn answer(message: FromGateway, inner: &mut Inner) -> Option<Answer> {
    let refusal = |reason: String| Some(SessionRefusal { step: "figure 10, 213".to_owned(), reason });
    match message {
        FromGateway::Report(report) => {
            let now = clock::now().as_secs();
            let verified = ConfigurationReport::verify(&report.message, &inner.me, &Registered(inner), now);
            let refused = match verified {
                Ok(configuration) => {
                    // Figure 6: the catalog follows.
                    for (state, _) in &configuration.devices {
                        let present = &mut inner.hospital.bound.present;
                        let device = &state.characteristics.device;
                        if let Some(known) = present.iter_mut().find(|known| known.characteristics.device == *device) {
                            *known = state.clone();
                        }
                    }
                    inner.reports.push(configuration);
                    None
                }
                Err(error) => refusal(error.to_string()),
            };
            inner.faults.extend(refused.iter().map(|refused| format!("a report: {}", refused.reason)));
            let answer = Answer { number: report.number, refused };
            if inner.holds_reports {
                inner.held_answers.push(answer);
                return None;
            }
            Some(answer)
        }
        FromGateway::Outcome(outcome) => {
            let notification = serde_json::from_slice(&outcome.message).unwrap();
            if !inner.outcomes.contains(&notification) {
                inner.outcomes.push(notification);
            }
            (!inner.loses_answers).then_some(Answer { number: outcome.number, refused: None })
        }
        FromGateway::Ask(ask) => {
            inner.asked += 1;
            Some(Answer { number: ask.number, refused: None })
        }
        FromGateway::Holds(held) => {
            inner.held.push(held);
            None
        }
        FromGateway::Answer(answer) => {
            if answer.number == 0 || answer.number >= inner.next_number {
                inner.faults.push(format!("an answer to what nobody has asked: {answer:?}"));
            }
            inner.answers.push(answer);
            None
        }
        FromGateway::Records(records) => {
            inner.faults.push(format!("records {} that nobody has asked for", records.number));
            None
        }
    }
}
