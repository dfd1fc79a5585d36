//! The hospital's sockets: bytes in, bytes out.

use super::{Hospital, Input, Site};
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use wardlink_agent::clock;
use wardlink_bridge::{ConnectionId, Origin};
use wardlink_protocol::network::NetworkOrigin;
use wardlink_protocol::provisioning::AccessSecret;

impl Site {
    /// Opens a hospital on a free port.
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let secret = AccessSecret::new(vec![42; 32]).unwrap();
        let hospital = Hospital::make(host.clone(), secret.clone());
        let root = hospital.root();
        let (works, inputs) = mpsc::unbounded_channel();
        tokio::spawn(work(hospital, inputs));
        tokio::spawn(accept(listener, works.clone()));
        Self { works, address: format!("ws://{host}/mqtt"), root, secret }
    }
}

async fn work(mut hospital: Hospital, mut inputs: mpsc::UnboundedReceiver<Input>) {
    while let Some(input) = inputs.recv().await {
        let now = clock::now();
        match input {
            Input::Open(id, socket, host) => {
                hospital.sockets.insert(id, socket);
                let network = NetworkOrigin::default();
                hospital.broker.open(id, Origin { network, host, client_certificate: None }, now);
            }
            Input::Bytes(id, bytes) => hospital.broker.received(id, &bytes, now, &mut clock::rng()),
            Input::Closed(id) => {
                hospital.sockets.remove(&id);
                hospital.broker.closed(id, now);
            }
            Input::Do(work) => work(&mut hospital),
        }
        hospital.settle();
    }
}

async fn accept(listener: TcpListener, works: mpsc::UnboundedSender<Input>) {
    let mut number = 0;
    while let Ok((stream, _)) = listener.accept().await {
        number += 1;
        tokio::spawn(connection(stream, ConnectionId(number), works.clone()));
    }
}

/// One connection; it ends when either side, or the hospital, lets go.
async fn connection(stream: TcpStream, id: ConnectionId, works: mpsc::UnboundedSender<Input>) {
    let mut host = String::new();
    #[expect(clippy::result_large_err, reason = "the library's callback")]
    let subprotocol = |request: &Request, mut response: Response| {
        request.headers()["host"].to_str().unwrap().clone_into(&mut host);
        response.headers_mut().insert("sec-websocket-protocol", "mqtt".parse().unwrap());
        Ok(response)
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, subprotocol).await else { return };
    let (outgoing, mut frames) = mpsc::unbounded_channel();
    if works.send(Input::Open(id, outgoing, host)).is_err() {
        return;
    }
    loop {
        tokio::select! {
            frame = frames.recv() => match frame {
                Some(bytes) => if socket.send(Message::binary(bytes)).await.is_err() { break },
                None => break,
            },
            message = socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) => drop(works.send(Input::Bytes(id, bytes.to_vec()))),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => break,
            },
        }
    }
    drop(works.send(Input::Closed(id)));
}
