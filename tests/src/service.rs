//! A real `wardlink listen` and what it says.

use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;
use ureq::Agent;
use wardlink_agent::state::{Record, StateDirectory};
use wardlink_crypto::key::{PrivateKey, PublicKey};
use wardlink_pairing::enrolment::renewal::Renewing;
use wardlink_pairing::enrolment::{Enrolled, Enrolling};
use wardlink_protocol::Device;
use wardlink_protocol::api::{MadeService, NewService, ServiceView};
use wardlink_protocol::service::{ChannelOfClass, EnrolmentTicket, ServiceAccess};
use wardlink_protocol::topic::Topic;
use wardlink_trust::Sender;
use wardlink_trust::epochs::Line;
use wardlink_trust::services::{self, ServiceKeys};
use wardlink_trust::wrap::WrapKey;

use crate::api::Api;
use crate::mqtt::{Credentials, rng};
use crate::process::Process;
use crate::pump::is;
use crate::ward::device;
use crate::{Scene, artifacts, wait};

/// A channel of infusion pumps.
pub fn of_pumps(channel: &str) -> Result<ChannelOfClass> {
    let (channel, client) = (channel.parse().context("a channel")?, "infusion-pump".parse().context("a class")?);
    Ok(ChannelOfClass { channel, client })
}

/// Makes a service that reads these channels of infusion pumps.
pub fn make(administrator: &Api, name: &str, reads: &[&str]) -> Result<MadeService> {
    let reads = reads.iter().map(|channel| of_pumps(channel)).collect::<Result<_>>()?;
    let access = ServiceAccess { reads, ..ServiceAccess::default() };
    administrator.post("services", &NewService { name: name.parse().context("a name")?, access })
}

/// Revokes a service.
pub fn revoke(administrator: &Api, name: &str) -> Result<ServiceView> {
    administrator.post(&format!("services/{name}/revoke"), &())
}

/// A service's certificate, key and wrapping key.
pub struct StolenService {
    site: String,
    enrolled: Enrolled,
    key: PrivateKey,
}

impl StolenService {
    /// Enrols a service that nobody runs, and that says nothing by itself.
    pub fn enrol(site: &str, ticket: &EnrolmentTicket) -> Result<Self> {
        let key = new_key();
        let begun = Enrolling::begin(ticket, &key, &mut rng())?;
        let answer = post(site, "enrol", begun.request())?.map_err(|status| anyhow!("not enrolled: {status}"))?;
        let enrolled = begun.finish(&key, &answer, wardlink_agent::clock::now())?;
        Ok(Self { site: site.to_owned(), enrolled, key })
    }

    /// Begins to renew its certificate.
    pub fn begin_renewal(&self) -> Result<Renewing> {
        Ok(Renewing::begin(&self.enrolled, &self.key, &mut rng())?)
    }

    /// Takes the answer to a renewal: it has a new certificate and new keys.
    pub fn finish_renewal(&mut self, begun: &Renewing, answer: &[u8]) -> Result<()> {
        self.enrolled = begun.finish(&self.enrolled, &self.key, answer, wardlink_agent::clock::now())?;
        Ok(())
    }

    /// What it shows to the bridge.
    pub fn credentials(&self) -> Credentials {
        Credentials::certificate(self.key.clone(), &self.enrolled.certificate)
    }

    /// What it would ask for a new certificate with.
    pub fn renewal(&self) -> Result<Vec<u8>> {
        Ok(self.begin_renewal()?.request().to_vec())
    }

    /// Its static key.
    pub fn key(&self) -> PublicKey {
        self.key.public()
    }

    /// Says something to a pump on a channel, signed and encrypted with the keys that it is given; returns the topic, too.
    pub fn say(&self, channel: &str, pump: &str, what: &[u8]) -> Result<(String, Vec<u8>)> {
        self.say_in(channel, pump, what, 1)
    }

    /// As [`Self::say`], in the run with this number.
    pub fn say_in(&self, channel: &str, pump: &str, what: &[u8], boot: u64) -> Result<(String, Vec<u8>)> {
        let keys = self.ask(channel, pump)?.map_err(|status| anyhow!("no keys: {status}"))?;
        let key = keys.lines.iter().find_map(Line::current).context("a key")?;
        let topic = Topic::Control(channel.parse().context("a channel")?, device(pump)?);
        let mut sender = Sender::begin(key, topic.clone(), boot, &mut rng())?;
        Ok((topic.to_string(), sender.seal_certified(what, &self.key, &self.enrolled.whole_chain())?))
    }

    /// Asks for the keys of a channel of a pump; an HTTP status where they are refused.
    pub fn ask(&self, channel: &str, pump: &str) -> Result<Result<ServiceKeys, u16>> {
        let service = Device::service(self.enrolled.name.clone());
        let keys = WrapKey::new(self.enrolled.wrap_key).keys(&service)?;
        let channel = channel.parse().context("a channel")?;
        let question = services::ask(channel, device(pump)?, &service, &keys, &mut rng())?;
        Ok(match post(&self.site, "keys", &question)? {
            Ok(answer) => Ok(services::open_answer(&answer, &question, &service, &keys)?),
            Err(status) => Err(status),
        })
    }
}

/// What a machine with this enrolment text and this key would send.
pub fn request(ticket: &EnrolmentTicket, key: &PrivateKey) -> Result<Vec<u8>> {
    Ok(Enrolling::begin(ticket, key, &mut rng())?.request().to_vec())
}

/// A new static key.
pub fn new_key() -> PrivateKey {
    PrivateKey::make(&mut rng())
}

/// Posts a COSE message as a service does.
pub fn post(site: &str, what: &str, body: &[u8]) -> Result<Result<Vec<u8>, u16>> {
    let agent = Agent::from(Agent::config_builder().http_status_as_error(false).build());
    let url = format!("{site}/api/v1/services/{what}");
    let mut answer = agent.post(&url).header("Content-Type", "application/cose").send(body).context("no answer")?;
    let bytes = answer.body_mut().read_to_vec().context("no answer")?;
    Ok(if answer.status().is_success() { Ok(bytes) } else { Err(answer.status().as_u16()) })
}

/// A service's process and the events that it has said.
#[derive(Debug)]
pub struct Service<'s> {
    scene: &'s Scene,
    name: String,
    site: String,
    /// Where it sends stored data on to; none where it listens.
    database: Option<String>,
    running: Option<(Process, Receiver<String>)>,
    seen: Vec<Value>,
}

impl<'s> Service<'s> {
    /// Starts a service with empty state, which enrols itself by this text.
    pub fn start(scene: &'s Scene, site: &str, name: &str, enrolment: &str) -> Result<Self> {
        let (name, site) = (name.to_owned(), site.to_owned());
        let mut service = Self { scene, name, site, database: None, running: None, seen: Vec::new() };
        service.run(Some(enrolment))?;
        Ok(service)
    }

    /// Starts a service that sends stored data on to a database.
    pub fn start_outlet(scene: &'s Scene, site: &str, name: &str, enrolment: &str, database: String) -> Result<Self> {
        let (name, site, database) = (name.to_owned(), site.to_owned(), Some(database));
        let mut service = Self { scene, name, site, database, running: None, seen: Vec::new() };
        service.run(Some(enrolment))?;
        Ok(service)
    }

    /// Starts it on its state.
    pub fn restart(&mut self) -> Result<()> {
        self.run(None)
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(artifacts::agent()?);
        command.arg(if self.database.is_some() { "outlet" } else { "listen" });
        command.args(["--format", "json", "--site", &self.site, "--data-dir"]);
        command.arg(self.scene.path(&format!("{}-state", self.name))).env_remove("WARDLINK_ENROL");
        if let Some(database) = &self.database {
            command.args(["--every", "1"]).env("WARDLINK_DATABASE", database);
        }
        Ok(command)
    }

    fn run(&mut self, enrolment: Option<&str>) -> Result<()> {
        let mut command = self.command()?;
        if let Some(text) = enrolment {
            command.env("WARDLINK_ENROL", text);
        }
        self.running = Some(Process::spawn_reading(self.scene, &self.name, &mut command)?);
        Ok(())
    }

    /// Starts it on its state, with an output that nobody reads.
    pub fn start_unread(&self) -> Result<Child> {
        let mut command = self.command()?;
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("cannot start a service")?;
        drop(child.stdout.take());
        Ok(child)
    }

    /// Ends it in the middle of whatever it does (SIGKILL).
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Asks it to end, and returns when it has.
    pub fn stop(&mut self) -> Result<()> {
        self.running.take().context("the service does not run")?.0.stop()
    }

    /// Waits until it has ended by itself.
    pub fn wait_for_end(&mut self) -> Result<()> {
        let (process, _) = self.running.as_mut().context("the service does not run")?;
        wait::until("the service ends", || Ok(process.require_running().is_err().then_some(())))
    }

    /// What it said on standard error and standard output so far.
    pub fn log(&self) -> Result<String> {
        std::fs::read_to_string(self.scene.log(&self.name)).context("cannot read a log")
    }

    /// The next event of this name; those before it are passed over.
    pub fn wait_for(&mut self, name: &str) -> Result<Value> {
        self.wait_until(name, |event| is(event, name))
    }

    /// The next message of a channel of a pump.
    pub fn wait_for_message(&mut self, channel: &str, pump: &str) -> Result<Value> {
        let device = format!("infusion-pump/{pump}");
        self.wait_until(channel, |event| {
            is(event, "message") && event["channel"] == channel && event["device"] == device
        })
    }

    /// The next event that fits; those before it are passed over.
    pub fn wait_until(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let (process, lines) = self.running.as_mut().context("the service does not run")?;
        let started = Instant::now();
        while started.elapsed() < wait::LIMIT {
            let Ok(line) = lines.recv_timeout(wait::LIMIT) else {
                process.require_running()?;
                break;
            };
            let event: Value = serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))?;
            self.seen.push(event.clone());
            if fits(&event) {
                return Ok(event);
            }
        }
        bail!("{} waited in vain for `{what}`; it said {:?}", self.name, self.seen)
    }

    /// What somebody finds in its folder when it does not run.
    pub fn steal(&self) -> Result<StolenService> {
        let state = StateDirectory::lock(&self.scene.path(&format!("{}-state", self.name)))?;
        let enrolled: Enrolled = state.read_value(Record::Service)?.context("the service is enrolled")?;
        let key = PrivateKey::from_pkcs8(&state.read(Record::StaticKey)?.context("the service has a key")?)?;
        Ok(StolenService { site: self.site.clone(), enrolled, key })
    }

    /// Everything that it has said so far and that a test has read.
    pub fn seen(&self) -> &[Value] {
        &self.seen
    }
}
