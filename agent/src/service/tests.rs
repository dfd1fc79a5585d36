#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may panic")]

use super::*;
use crate::link::{Endpoint, TlsTrust};
use rand_core::Rng;
use serde_bytes::ByteBuf;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use wardlink_crypto::schedule::{WrapKeys, derive_enrolment_key};
use wardlink_crypto::x509::{Holder, IssuingCa, RootCa, Validity};
use wardlink_pairing::control_unit::Signer;
use wardlink_pairing::enrolment::renewal::{Asking, EnrolledOne};
use wardlink_pairing::enrolment::{AwaitedService, EnrolledService, enrol};
use wardlink_pairing::renewal::RenewingControlUnit;
use wardlink_protocol::identity::SessionId;
use wardlink_protocol::service::{ChannelOfClass, EnrolmentTicket, ServiceAccess};
use wardlink_trust::services as trust;
use wardlink_trust::wrap::WrapKey;

/// How long certificates hold.
const LIFETIME: Duration = Duration::from_mins(30);
/// How long ago the service was enrolled: its certificate is to be renewed, and holds.
const AGO: Duration = Duration::from_mins(29);

/// A control unit, as far as services ask it.
struct ControlUnit {
    ca: IssuingCa,
    key: PrivateKey,
    chain: Vec<ByteBuf>,
    ticket: EnrolmentTicket,
    access: ServiceAccess,
    given: Option<EnrolledService>,
    /// What it, or somebody on the way, answers first instead of what it should: status and body.
    instead: VecDeque<(u16, &'static [u8])>,
    /// What it was asked, and where.
    asked: Vec<(String, Vec<u8>)>,
}

fn ago(duration: Duration) -> UnixMillis {
    UnixMillis(clock::now().0 - UnixMillis::default().after(duration).0)
}

impl ControlUnit {
    fn new() -> Self {
        let mut rng = clock::rng();
        let validity = Validity::from_now(clock::now(), Duration::from_hours(1), Duration::from_hours(1));
        let root = RootCa::make("Root", validity, &mut rng).unwrap();
        let ca = root.make_issuing_ca("CA", validity, &mut rng).unwrap();
        let key = PrivateKey::make(&mut rng);
        let own = ca.issue(&Holder::ControlUnit("Site".into()), &key.public(), validity, &mut rng).unwrap();
        let chain = [own.to_bytes()].into_iter().chain(ca.chain()).collect();
        let root = ca.root().sha256();
        let mut ticket =
            EnrolmentTicket { name: "desk".parse().unwrap(), id: SessionId([7; 16]), secret: [0; 32], root };
        rng.fill_bytes(&mut ticket.secret);
        let writes = ChannelOfClass { channel: "command".parse().unwrap(), client: "infusion-pump".parse().unwrap() };
        let access = ServiceAccess { writes: [writes].into(), ..ServiceAccess::default() };
        Self { ca, key, chain, ticket, access, given: None, instead: VecDeque::new(), asked: Vec::new() }
    }

    fn unit(&self) -> RenewingControlUnit<'_> {
        let signer = Signer { key: &self.key, chain: &self.chain };
        RenewingControlUnit { signer, ca: &self.ca, certificate_lifetime: LIFETIME }
    }

    fn wrap_keys(&self) -> WrapKeys {
        let wrap_key = self.given.as_ref().unwrap().wrap_key;
        WrapKey::new(wrap_key).keys(&Device::service(self.ticket.name.clone())).unwrap()
    }

    fn answer(&mut self, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        self.asked.push((path.to_owned(), body.to_vec()));
        let is_enrolment = path.ends_with("/enrol");
        if !is_enrolment && let Some((status, body)) = self.instead.pop_front() {
            return (status, body.to_vec());
        }
        let name = self.ticket.name.clone();
        let mut rng = clock::rng();
        if is_enrolment {
            let key = derive_enrolment_key(&self.ticket.secret, &self.ticket.id, &name).unwrap();
            let service = AwaitedService { name: &name, id: self.ticket.id, key: &key, access: &self.access };
            self.given = Some(enrol(service, body, self.unit(), ago(AGO), &mut rng).unwrap());
        } else if path.ends_with("/renew") {
            let old = self.given.as_ref().unwrap();
            let enrolled = EnrolledOne { serial: old.serial, from: UnixMillis(0), access: &self.access };
            let asking = Asking::open(&name, old.key, body).unwrap();
            self.given = Some(asking.renew(enrolled, self.unit(), clock::now(), &mut rng).unwrap());
        } else {
            let (service, keys) = (Device::service(name), self.wrap_keys());
            let asked = trust::open_question(body, &service, &keys).unwrap();
            let answer = trust::answer(body, &asked, (Vec::new(), true), None, &service, &keys, &mut rng).unwrap();
            return (200, answer);
        }
        (200, self.given.as_ref().unwrap().answer.clone())
    }

    fn asked_for(&self, what: &str) -> Vec<&[u8]> {
        self.asked.iter().filter(|(path, _)| path.ends_with(what)).map(|(_, body)| body.as_slice()).collect()
    }
}

fn serve(stream: &TcpStream, unit: &Mutex<ControlUnit>) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let path = line.split(' ').nth(1).unwrap().to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let (status, answer) = unit.lock().unwrap().answer(&path, &body);
    let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
    let mut stream = stream;
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&answer).unwrap();
}

/// A control unit on this machine, and what a service is told of it.
fn begin(data: &Path) -> (Arc<Mutex<ControlUnit>>, Settings) {
    let unit = Arc::new(Mutex::new(ControlUnit::new()));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::clone(&unit);
    std::thread::spawn(move || listener.incoming().for_each(|stream| serve(&stream.unwrap(), &asked)));
    let tls = TlsTrust::from_pem(&[], false).unwrap();
    let settings = Settings {
        origin: format!("http://{address}"),
        endpoint: Arc::new(Endpoint::new(&format!("ws://{address}/mqtt"), &tls).unwrap()),
        tls,
        ticket: Some(unit.lock().unwrap().ticket.clone()),
        data: data.to_owned(),
    };
    (unit, settings)
}

#[tokio::test]
async fn while_answers_to_a_renewal_do_not_count_the_service_goes_on_and_asks_another_question_later() {
    let data = tempfile::tempdir().unwrap();
    let (unit, settings) = begin(&data.path().join("state"));
    let mut printer = Printer::new(Format::Json);
    unit.lock().unwrap().instead = [(200, b"a page of the hotel".as_slice()), (404, b"no")].into();
    let mut service = Service::open(settings, &mut printer).await.unwrap();
    let enrolled = service.enrolled.certificate.clone();
    // One that is not there is asked the same again.
    assert!(!service.renew(&mut printer).await.unwrap());
    assert_eq!(service.enrolled.certificate, enrolled, "it has the old one");
    assert!(service.renew(&mut printer).await.unwrap());
    assert!(service.enrolled.certificate != enrolled);
    let unit = unit.lock().unwrap();
    let [first, second, third] = unit.asked_for("/renew")[..] else { panic!("three questions") };
    assert!(first != second && second == third);
}

#[tokio::test]
async fn while_answers_about_keys_do_not_count_the_service_asks_again() {
    let data = tempfile::tempdir().unwrap();
    let (unit, settings) = begin(&data.path().join("state"));
    let mut service = Service::open(settings, &mut Printer::new(Format::Json)).await.unwrap();
    unit.lock().unwrap().instead = [(200, b"a page of the hotel".as_slice()), (404, b"no")].into();
    let (channel, device) = ("command".parse().unwrap(), "infusion-pump/ip-1".parse().unwrap());
    assert!(service.know(&channel, &device).await.unwrap());
    assert!(service.keys.of(&channel, &device).is_some());
    assert_eq!(unit.lock().unwrap().asked_for("/keys").len(), 3);
    // One that is revoked is told so.
    let refusal = br#"{"type":"urn:wardlink:problem:forbidden","kind":"forbidden","title":"no","status":403}"#;
    unit.lock().unwrap().instead = [(403, refusal.as_slice())].into();
    service.keys.forget_all();
    assert!(matches!(service.know(&channel, &device).await, Err(ServiceError::Ended)));
}
