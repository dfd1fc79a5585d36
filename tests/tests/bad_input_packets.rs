//! What is no MQTT, or breaks its rules: the connection ends with a reason and a line in the log, and nobody else notices.

use std::net::TcpStream;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::{HeaderValue, header};
use tungstenite::{Message, WebSocket};
use wardlink_tests::impostor::hello_of;
use wardlink_tests::mqtt::{Credentials, Mqtt, packets};
use wardlink_tests::ward::{Ward, device};
use wardlink_tests::{impostor, scene, wait};

/// How far a connection has come when the bad packet arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was said.
    Opened,
    /// CONNECT was sent, and the challenge has come.
    Authenticating,
}

/// What became of a connection.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// A ping was answered.
    Alive,
    /// The bridge ended it.
    Ended {
        /// The reason code of CONNACK or DISCONNECT, if there was one.
        reason: Option<u8>,
        /// The WebSocket's close code.
        close: Option<u16>,
    },
}

/// The first bytes of packets.
const CONNACK: u8 = 0x20;
const PINGREQ: [u8; 2] = [0xC0, 0x00];
const PINGRESP: u8 = 0xD0;
const DISCONNECT: u8 = 0xE0;
/// RFC 6455: the peer did what it may not do.
const POLICY: u16 = 1008;

fn dial(ward: &Ward<'_>) -> Result<WebSocket<TcpStream>> {
    let mut request = ward.worker.broker().into_client_request()?;
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mqtt"));
    let stream = TcpStream::connect(("localhost", ward.worker.port())).context("the bridge does not answer")?;
    stream.set_read_timeout(Some(wait::LIMIT)).context("cannot limit reading")?;
    let (socket, _) = tungstenite::client(request, stream).map_err(|error| anyhow!("no MQTT there: {error}"))?;
    Ok(socket)
}

/// Brings a connection to this state.
fn reach(ward: &Ward<'_>, state: State) -> Result<WebSocket<TcpStream>> {
    let mut socket = dial(ward)?;
    if state == State::Authenticating {
        let host = format!("localhost:{}", ward.worker.port());
        socket.send(Message::binary(packets::connect("packets", &hello_of("infusion-pump", "ip-bad", &host)?)?))?;
        ensure!(matches!(socket.read()?, Message::Binary(_)), "the challenge comes");
    }
    Ok(socket)
}

/// Reads until a ping is answered or the connection has ended.
fn fate(mut socket: WebSocket<TcpStream>) -> Result<Fate> {
    let mut reason = None;
    loop {
        match socket.read() {
            Ok(Message::Binary(bytes)) => {
                for packet in answers(&bytes)? {
                    match packet {
                        [CONNACK, _, _, code, ..] | [DISCONNECT, _, code, ..] => reason = Some(*code),
                        [PINGRESP, ..] => return Ok(Fate::Alive),
                        _ => {}
                    }
                }
            }
            Ok(Message::Close(frame)) => {
                return Ok(Fate::Ended { reason, close: frame.map(|frame| frame.code.into()) });
            }
            Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::Protocol(_)) => {
                return Ok(Fate::Ended { reason, close: None });
            }
            Ok(_) => {}
            Err(error) => bail!("the bridge neither answers nor closes: {error}"),
        }
    }
}

/// The packets of a frame; every answer here is short.
fn answers(mut frame: &[u8]) -> Result<Vec<&[u8]>> {
    let mut packets = Vec::new();
    while let Some(length) = frame.get(1) {
        ensure!(*length < 0x80, "an answer is longer than expected");
        let (packet, rest) = frame.split_at_checked(2 + usize::from(*length)).context("a frame holds whole packets")?;
        packets.push(packet);
        frame = rest;
    }
    Ok(packets)
}

/// A packet of every type there is, and of the one that is reserved, each of them whole.
fn whole() -> Result<Vec<Vec<u8>>> {
    Ok(vec![
        vec![0x00, 0x00],
        packets::connect("packets", b"no hello")?,
        vec![0x20, 0x03, 0x00, 0x00, 0x00],
        packets::publish("ais/register/infusion-pump", b"payload", 7)?,
        vec![0x40, 0x02, 0x00, 0x07],
        vec![0x50, 0x02, 0x00, 0x07],
        vec![0x62, 0x02, 0x00, 0x07],
        vec![0x70, 0x02, 0x00, 0x07],
        packets::subscribe("ais/infusion-pump/ip-1", 8)?,
        vec![0x90, 0x04, 0x00, 0x08, 0x00, 0x01],
        vec![0xA2, 0x06, 0x00, 0x09, 0x00, 0x00, 0x01, b'a'],
        vec![0xB0, 0x04, 0x00, 0x09, 0x00, 0x00],
        vec![0xC0, 0x00],
        vec![0xD0, 0x00],
        vec![0xE0, 0x00],
        packets::authenticate_again(b"no hello")?,
    ])
}

/// A packet cut short, prolonged and garbled; each still says its own length, so that the bridge does not wait for more.
fn damaged(packet: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let (first, body) = (packet.first().copied().unwrap_or(0), packet.get(2..).unwrap_or_default());
    let framed = |first: u8, body: &[u8]| [&[first, u8::try_from(body.len()).unwrap_or(0x7F)], body].concat();
    let cut = body.get(..body.len() / 2).unwrap_or_default();
    let garbled: Vec<u8> = body.iter().map(|byte| byte ^ 0xA5).collect();
    vec![
        ("cut short", framed(first, cut)),
        ("prolonged", framed(first, &[body, &[0xFF; 9]].concat())),
        ("garbled", framed(first, &garbled)),
        ("with other flags", framed(first ^ 0x0F, body)),
        ("with an endless length", [&[first, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], body].concat()),
        ("with a length beyond every limit", [&[first, 0xFF, 0xFF, 0xFF, 0x7F], body].concat()),
    ]
}

#[test]
fn a_bad_packet_before_anybody_is_known_ends_its_connection_only() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut witness = ward.paired_pump("ip-witness")?;
        let mut tried = 0;
        for state in [State::Opened, State::Authenticating] {
            for packet in whole()? {
                for (damage, bytes) in damaged(&packet) {
                    let mut socket = reach(&ward, state)?;
                    socket.send(Message::binary(bytes.clone()))?;
                    let fate = fate(socket).with_context(|| format!("{state:?}: {bytes:02x?}, {damage}"))?;
                    let is_told = match &fate {
                        Fate::Alive => false,
                        Fate::Ended { reason, close } => reason.map_or(*close == Some(POLICY), |reason| reason >= 0x80),
                    };
                    ensure!(is_told || is_goodbye(&bytes), "{state:?}: {bytes:02x?}, {damage}: {fate:?}");
                    tried += 1;
                }
            }
        }
        ensure!(tried == 2 * 16 * 6, "{tried} packets were tried");
        ward.worker.wait_for_line("it does not begin with CONNECT")?;
        ward.worker.wait_for_line("CONNECT is refused: ")?;
        undisturbed(&ward, &mut witness)
    })
}

#[test]
fn a_bad_packet_of_a_paired_device_ends_its_connection_and_no_more() -> Result<()> {
    scene(|scene| {
        let ward = Ward::open(scene)?;
        let mut witness = ward.paired_pump("ip-witness")?;
        let mut paired = ward.paired_pump("ip-1")?;
        paired.kill();
        let (certificate, _) = impostor::steal(&paired, &device("ip-1")?)?;
        let mut ended = 0;
        for packet in whole()? {
            for (damage, bytes) in damaged(&packet) {
                let mut socket = live(&ward, &certificate)?.into_socket();
                socket.send(Message::binary([bytes.as_slice(), &PINGREQ].concat()))?;
                match fate(socket).with_context(|| format!("{bytes:02x?}, {damage}"))? {
                    // What is a packet still is answered as one.
                    Fate::Alive => {}
                    Fate::Ended { reason, .. } => {
                        let is_told = reason.is_some_and(|reason| reason >= 0x80);
                        ensure!(is_told || is_goodbye(&bytes), "{bytes:02x?}, {damage}: it ended with {reason:02x?}");
                        ended += 1;
                    }
                }
            }
        }
        ensure!(ended > 70, "only {ended} connections ended with a reason");
        ward.worker.wait_for_line("it is disconnected: MalformedPacket")?;
        ward.worker.wait_for_line("it is disconnected: ProtocolError")?;
        drop(live(&ward, &certificate).context("the device itself can come back")?);
        undisturbed(&ward, &mut witness)
    })
}

fn live(ward: &Ward<'_>, credentials: &Credentials) -> Result<Mqtt> {
    Mqtt::connect(&ward.worker.broker(), credentials, "packets")?.map_err(|answer| anyhow!("not connected: {answer:?}"))
}

/// A DISCONNECT that is still one: the client ends the connection itself.
fn is_goodbye(bytes: &[u8]) -> bool {
    bytes == [DISCONNECT, 0]
}

/// The witness was never cut off, and its data goes on arriving.
fn undisturbed(ward: &Ward<'_>, witness: &mut wardlink_tests::pump::Pump<'_>) -> Result<()> {
    let before = ward.nurse.device(&device("ip-witness")?)?.last_seen;
    wait::until("newer data of the witness", || {
        Ok((ward.nurse.device(&device("ip-witness")?)?.last_seen > before).then_some(()))
    })?;
    while let Some(event) = witness.poll()? {
        ensure!(!wardlink_tests::pump::is(&event, "disconnected"), "the witness was cut off: {event}");
    }
    Ok(())
}
