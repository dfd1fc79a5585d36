//! The session (Distribution, figure 10, 211 to 221): the handshake, and messages under its keys.

use super::GatewayObject;
use super::socket::{self, Kept, Over, Stage};
use serde_bytes::ByteBuf;
use std::rc::Rc;
use wardlink_crypto::session::{ServerHandshake, Session, Unanswered};
use wardlink_crypto::x509::Certificate;
use wardlink_edge::http::address;
use wardlink_edge::messages::{
    Admission, Dealt, Deposited, DeskRequest, DistributionRequest, Joined, RecordsRequest, Wanted,
};
use wardlink_edge::objects;
use wardlink_edge::platform::{log, now, rng};
use wardlink_edge::problem::Failure;
use wardlink_protocol::Device;
use wardlink_protocol::api::ProblemKind;
use wardlink_protocol::cbor;
use wardlink_protocol::distribution::{
    Answer, AssociatedDevice, FromGateway, FromServer, Numbered, SESSION_PROTOCOL, SessionAnswer, SessionRefusal,
    Welcome,
};
use wardlink_protocol::identity::Purpose;
use wardlink_protocol::limits::{MAX_HANDSHAKE_BYTES, MAX_SESSION_FRAME_BYTES, MAX_SESSION_MESSAGE_BYTES};
use worker::{Headers, Request, Response, State, WebSocket, WebSocketPair};
use zeroize::Zeroizing;

/// The most connections of one gateway, handshakes included; a newer one takes the place of the oldest that has proved nothing.
const MAX_CONNECTIONS: usize = 8;
/// The class of gateways.
const GATEWAYS: &str = "gateway";

/// A connection whose session stands.
pub(super) struct Open(WebSocket);

/// The connections whose session stands: one, but for the moment in which a newer one takes its place.
pub(super) fn open(state: &State) -> impl Iterator<Item = Open> {
    let is_open = |socket: &WebSocket| socket::kept(socket).is_ok_and(|kept| matches!(kept.stage, Stage::Open(_)));
    state.get_websockets().into_iter().filter(is_open).map(Open)
}

impl Open {
    /// There is a directive of this version.
    pub(super) fn tell_of_directive(&self, version: u64) {
        self.number(version, FromServer::Directive);
    }

    /// These are the gateway's devices.
    pub(super) fn tell_of_devices(&self, devices: Vec<AssociatedDevice>) {
        self.number(devices, FromServer::Devices);
    }

    /// Stored data is wanted (figure 9, 193); false where the connection is just going.
    pub(super) fn ask_for_records(&self, of: Option<&Device>) -> bool {
        self.number(of.cloned(), FromServer::Send)
    }

    /// A report is wanted (figure 6); false where the connection is just going.
    pub(super) fn ask_for_report(&self) -> bool {
        self.number((), FromServer::Report)
    }

    fn number<T>(&self, message: T, say: impl FnOnce(Numbered<T>) -> FromServer) -> bool {
        let told = (|| {
            let mut kept = socket::kept(&self.0)?;
            kept.number = kept.number.saturating_add(1);
            let message = say(Numbered { number: kept.number, message });
            seal(&self.0, kept, &message)
        })();
        // A connection that is just going is told nothing more; what it misses, the next session begins with.
        if let Err(over) = &told {
            log!("gateway: a session ends: {over}");
            socket::close(&self.0, over);
        }
        told.is_ok()
    }
}

/// Sends a message under the session's keys; its count is kept before it leaves.
fn seal(socket: &WebSocket, mut kept: Kept, message: &FromServer) -> Result<(), Over> {
    let Stage::Open(session) = &mut kept.stage else { return Err(Over::Malformed) };
    let frame = session.seal(&Zeroizing::new(cbor::encode(message)?))?;
    socket::keep(socket, &kept)?;
    Ok(socket.send_with_bytes(frame)?)
}

impl GatewayObject {
    /// Takes a WebSocket of a device that the site admits. Nothing is stored before the device has proved itself.
    pub(super) async fn take_socket(&self, request: &Request) -> Result<Response, Failure> {
        let device = device_of(&request.path()).ok_or(ProblemKind::NotFound)?;
        let offered = request.headers().get("Sec-WebSocket-Protocol")?.unwrap_or_default();
        if !offered.split(',').any(|name| name.trim() == SESSION_PROTOCOL) {
            let detail = format!("Ask for the subprotocol \"{SESSION_PROTOCOL}\".");
            return Err(Failure::with_detail(ProblemKind::BadRequest, detail));
        }
        let host = match request.headers().get("Host")? {
            Some(host) => host,
            None => address(request)?.authority().map(ToString::to_string).unwrap_or_default(),
        };
        let ends = self.ends.get();
        // Whoever opens many has the site asked no oftener: it is asked again with the proof.
        let known = self.admission.borrow().clone().filter(|_| self.excess().is_some());
        if known.is_none() {
            let admission: Option<Admission> = objects::call(&self.env, &DeskRequest::Admit(device.clone())).await?;
            let admission = admission.filter(|_| self.ends.get() == ends).ok_or(ProblemKind::Forbidden)?;
            self.admission.replace(Some(Rc::new(admission)));
        }
        // The oldest that has proved nothing goes: nobody is kept out by those who prove nothing.
        while let Some(oldest) = self.excess() {
            socket::close(&oldest, &Over::Replaced);
        }
        let WebSocketPair { client, server } = WebSocketPair::new()?;
        self.state.accept_web_socket(&server);
        let kept = Kept { device: device.to_string(), host, since: now(), number: 0, stage: Stage::Fresh };
        socket::keep(&server, &kept).map_err(Failure::internal)?;
        self.watch().await?;
        let answer = Headers::new();
        answer.set("Sec-WebSocket-Protocol", SESSION_PROTOCOL)?;
        Ok(Response::from_websocket(client)?.with_headers(answer))
    }

    /// The oldest connection that has proved nothing, where there are as many as there may be.
    fn excess(&self) -> Option<WebSocket> {
        let all = self.state.get_websockets();
        let count = all.iter().filter(|socket| socket::kept(socket).is_ok()).count();
        let unproven = all.into_iter().filter_map(|socket| Some((socket::unproven_since(&socket)?, socket)));
        unproven.min_by_key(|(since, _)| *since).map(|(_, oldest)| oldest).filter(|_| count >= MAX_CONNECTIONS)
    }

    /// Takes a frame.
    pub(super) async fn take_frame(&self, socket: &WebSocket, frame: Vec<u8>) -> Result<(), Over> {
        let mut kept = socket::kept(socket)?;
        let device: Device = kept.device.parse().map_err(|_| Over::Malformed)?;
        match core::mem::replace(&mut kept.stage, Stage::Answering) {
            Stage::Fresh if frame.len() <= MAX_HANDSHAKE_BYTES => {
                socket::keep(socket, &kept)?;
                let unanswered = Unanswered::start(&frame, &kept.host, &mut rng())?;
                let to_sign = DeskRequest::Sign(device, unanswered.opening().clone());
                let signed: Option<SessionAnswer> = objects::call(&self.env, &to_sign).await?;
                let (handshake, answer) = unanswered.answer(&signed.ok_or(Over::Refused)?)?;
                kept.stage = Stage::Answered(handshake);
                socket::keep(socket, &kept)?;
                Ok(socket.send_with_bytes(answer)?)
            }
            Stage::Answered(handshake) if frame.len() <= MAX_HANDSHAKE_BYTES => {
                kept.stage = Stage::Proving;
                socket::keep(socket, &kept)?;
                let session = self.prove(&device, &handshake, &frame).await?;
                kept.stage = Stage::Joining;
                socket::keep(socket, &kept)?;
                self.welcome(socket, kept, session, device).await
            }
            Stage::Open(mut session) if frame.len() <= MAX_SESSION_FRAME_BYTES => {
                let message = session.open(&frame)?;
                kept.stage = Stage::Open(session);
                socket::keep(socket, &kept)?;
                let message: FromGateway = cbor::decode(&message, MAX_SESSION_MESSAGE_BYTES)?;
                self.note_heard(device.clone(), true);
                self.take_message(socket, device, message).await
            }
            _ => Err(Over::Malformed),
        }
    }

    async fn admission(&self, device: &Device) -> Result<Rc<Admission>, Over> {
        if let Some(admission) = self.admission.borrow().as_ref() {
            return Ok(Rc::clone(admission));
        }
        let ends = self.ends.get();
        let asked: Option<Admission> = objects::call(&self.env, &DeskRequest::Admit(device.clone())).await?;
        let admission = Rc::new(asked.filter(|_| self.ends.get() == ends).ok_or(Over::Refused)?);
        self.admission.replace(Some(Rc::clone(&admission)));
        Ok(admission)
    }

    /// The gateway proves its key; the site is asked anew whether it still has rights, and whose key counts.
    async fn prove(&self, device: &Device, handshake: &ServerHandshake, proof: &[u8]) -> Result<Session, Over> {
        self.admission.take();
        let admission = self.admission(device).await?;
        let issuers = admission.issuing.iter().map(|der| Certificate::parse(der));
        let issuers = issuers.collect::<Result<Vec<_>, _>>().map_err(Failure::internal)?;
        let purpose = if device.client.as_str() == GATEWAYS { Purpose::Gateway } else { Purpose::Device };
        let (session, certificate) = handshake.finish(proof, &issuers, purpose, now())?;
        let holder = certificate.fingerprint().map_err(|_| Over::Refused)?;
        if certificate.device() != Some(device) || holder != admission.holder {
            return Err(Over::Refused);
        }
        self.admission.take();
        Ok(session)
    }

    /// The session stands: the distribution server says what there is, and the gateway is told. Earlier sessions end.
    async fn welcome(&self, socket: &WebSocket, mut kept: Kept, session: Session, device: Device) -> Result<(), Over> {
        let ends = self.ends.get();
        let known = if self.is_known()? { self.directive()? } else { 0 };
        let joined: Joined = objects::call(&self.env, &DistributionRequest::Join(device.clone(), known)).await?;
        if self.ends.get() != ends {
            return Err(Over::Refused);
        }
        let devices = joined.orders.devices.unwrap_or_default();
        // A later list was heard of meanwhile: the gateway comes again, and is told that.
        if !self.is_newest(&devices) {
            return Err(Over::Failure(ProblemKind::Unavailable.into()));
        }
        self.begin(&device, &joined.director_root)?;
        if let Some(files) = &joined.orders.directive {
            self.store(files)?;
        }
        let (ticket, ticket_ends_at) = self.make_ticket()?;
        let welcome = Welcome {
            directive: self.directive()?,
            reported: joined.reported,
            director_root: joined.director_root,
            manufacturers: joined.manufacturers,
            devices: devices.devices,
            ticket,
            ticket_ends_at,
        };
        for Open(earlier) in open(&self.state) {
            socket::close(&earlier, &Over::Replaced);
        }
        kept.stage = Stage::Open(session);
        log!("gateway: a session of {device} stands");
        seal(socket, kept, &FromServer::Welcome(Box::new(welcome)))?;
        if let Err(failure) = self.ask_for_wanted(device).await {
            log!("gateway: what stored data is wanted is told with the next session: {failure:?}");
        }
        Ok(())
    }

    /// Asks for what was wanted while no session stood; it is wanted until it was told.
    async fn ask_for_wanted(&self, device: Device) -> Result<(), Failure> {
        let wanted: Vec<Wanted> = objects::call(&self.env, &RecordsRequest::Wanted(device)).await?;
        let told = wanted.into_iter().filter(|wanted| self.ask_for_records(wanted.of.as_ref()));
        let told: Vec<u64> = told.map(|wanted| wanted.number).collect();
        if told.is_empty() {
            return Ok(());
        }
        objects::call(&self.env, &RecordsRequest::Told(told)).await
    }

    /// Asks for stored data over the session that stands; false where there is none.
    pub(super) fn ask_for_records(&self, of: Option<&Device>) -> bool {
        open(&self.state).fold(false, |told, open| open.ask_for_records(of) | told)
    }

    /// Asks what the gateway runs, over the session that stands; false where there is none.
    pub(super) fn ask_for_report(&self) -> bool {
        open(&self.state).fold(false, |told, open| open.ask_for_report() | told)
    }

    async fn take_message(&self, socket: &WebSocket, device: Device, message: FromGateway) -> Result<(), Over> {
        let (number, request) = match message {
            FromGateway::Report(Numbered { number, message }) => (number, DistributionRequest::Report(device, message)),
            FromGateway::Outcome(Numbered { number, message }) => {
                (number, DistributionRequest::Outcome(device, message))
            }
            FromGateway::Ask(Numbered { number, .. }) => (number, DistributionRequest::Ask(device)),
            FromGateway::Records(Numbered { number, message }) => {
                return self.take_records(socket, device, number, message).await;
            }
            FromGateway::Holds(held) => {
                return Ok(objects::call(&self.env, &DistributionRequest::Holds(device, held)).await?);
            }
            // What we say is the newest state; who did not take it hears it again with the next session.
            FromGateway::Answer(_) => return Ok(()),
        };
        let dealt: Dealt = objects::call(&self.env, &request).await?;
        let replied = reply(socket, number, dealt.refused);
        // It is stored for its polls, whether or not it has left meanwhile.
        self.say(&dealt.orders)?;
        replied
    }

    /// Stored data (figure 13, 274): answered when it is stored, and then with the receipt.
    async fn take_records(&self, socket: &WebSocket, from: Device, number: u64, batch: ByteBuf) -> Result<(), Over> {
        let request = RecordsRequest::Take(from, batch);
        match objects::call(&self.env, &request).await? {
            Deposited::Refused(refused) => reply(socket, number, Some(refused)),
            Deposited::Stored(receipt) => {
                reply(socket, number, None)?;
                seal(socket, socket::kept(socket)?, &FromServer::Receipt(receipt))
            }
        }
    }
}

fn reply(socket: &WebSocket, number: u64, refused: Option<SessionRefusal>) -> Result<(), Over> {
    seal(socket, socket::kept(socket)?, &FromServer::Answer(Answer { number, refused }))
}

/// The device in `/api/gateways/<client>/<identifier>/session`.
fn device_of(path: &str) -> Option<Device> {
    let (device, "session") = path.strip_prefix("/api/gateways/")?.rsplit_once('/')? else { return None };
    device.parse().ok()
}
