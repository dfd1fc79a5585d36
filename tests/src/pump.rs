//! A real `wardlink pump` and what it says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use wardlink_protocol::api::VerificationProof;
use wardlink_protocol::provisioning::Provisioning;
use wardlink_protocol::verification::{VerificationCode, VerificationLink};

use crate::process::{self, Killer, Process, free_port};
use crate::{Scene, artifacts, wait};

/// One line of `--json`.
pub type Event = Value;

/// A pump's process, its state's folder, and the events that nobody has looked at yet.
#[derive(Debug)]
pub struct Pump<'s> {
    scene: &'s Scene,
    name: String,
    arguments: Vec<String>,
    display: u16,
    running: Option<(Process, Receiver<String>)>,
    seen: Vec<Event>,
}

impl<'s> Pump<'s> {
    /// Starts one pump with empty state; its identifier is `name`.
    pub fn start(scene: &'s Scene, provisioning: &Provisioning, name: &str) -> Result<Self> {
        Self::start_with(scene, provisioning, name, &["--identifier", name])
    }

    /// Starts pumps with empty state and further arguments; `name` names their folder and log.
    pub fn start_with(scene: &'s Scene, provisioning: &Provisioning, name: &str, more: &[&str]) -> Result<Self> {
        Self::start_as(scene, &["pump"], "--display", provisioning, name, more)
    }

    /// Starts a gateway, which couples as a pump does and says the same of it; `devices` is the file of those it speaks for.
    pub fn start_gateway(
        scene: &'s Scene,
        provisioning: &Provisioning,
        name: &str,
        devices: &Path,
        more: &[&str],
    ) -> Result<Self> {
        let devices = format!("--devices={}", devices.display());
        let more: Vec<&str> = ["--identifier", name, &devices].into_iter().chain(more.iter().copied()).collect();
        Self::start_as(scene, &["gateway", "run"], "--status", provisioning, name, &more)
    }

    fn start_as(
        scene: &'s Scene,
        program: &[&str],
        page: &str,
        provisioning: &Provisioning,
        name: &str,
        more: &[&str],
    ) -> Result<Self> {
        let file = scene.path(&format!("{name}.json"));
        let text = serde_json::to_vec(provisioning).context("cannot write the provisioning file")?;
        fs::write(&file, text).context("cannot write the provisioning file")?;
        let display = free_port()?;
        let mut arguments: Vec<String> = program.iter().map(|&word| word.to_owned()).collect();
        arguments.extend([
            "--json".to_owned(),
            format!("--provisioning={}", file.display()),
            format!("--state={}", scene.path(&format!("{name}-state")).display()),
            format!("{page}=127.0.0.1:{display}"),
        ]);
        arguments.extend(more.iter().map(|&argument| argument.to_owned()));
        let mut pump = Self { scene, name: name.to_owned(), arguments, display, running: None, seen: Vec::new() };
        pump.restart()?;
        Ok(pump)
    }

    /// The address of its display.
    pub fn display(&self) -> String {
        format!("http://127.0.0.1:{}/", self.display)
    }

    /// What its page says now, as HTML.
    pub fn page(&self) -> Result<String> {
        let mut page = ureq::get(self.display()).call().context("the display does not answer")?;
        page.body_mut().read_to_string().context("a page is text")
    }

    /// Presses a button of its page, given by what that posts to.
    pub fn press(&self, button: &str) -> Result<()> {
        let request = ureq::post(format!("{}{button}", self.display())).header("sec-fetch-site", "same-origin");
        request.send_empty().with_context(|| format!("the display does not take {button}")).map(drop)
    }

    /// Enters the control unit's answer at its display page.
    pub fn enter(&self, answer: &str) -> Result<()> {
        self.keypad().enter(answer)
    }

    /// The keys of its display page.
    pub fn keypad(&self) -> Keypad {
        Keypad(format!("{}answer", self.display()))
    }

    /// What ends it from elsewhere.
    pub fn killer(&self) -> Result<Killer> {
        self.running.as_ref().context("the pump does not run")?.0.killer()
    }

    /// The next event, if there is one by now.
    pub fn poll(&mut self) -> Result<Option<Event>> {
        let Some((_, lines)) = &self.running else { return Ok(None) };
        let Ok(line) = lines.try_recv() else { return Ok(None) };
        let event: Event = serde_json::from_str(&line).with_context(|| format!("the pump wrote no JSON: {line}"))?;
        self.seen.push(event.clone());
        Ok(Some(event))
    }

    /// The folder of its state.
    pub fn state(&self) -> PathBuf {
        self.scene.path(&format!("{}-state", self.name))
    }

    /// Ends it in the middle of whatever it does (SIGKILL).
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Starts it again on its state.
    pub fn restart(&mut self) -> Result<()> {
        self.start_by(&mut Command::new(artifacts::agent()?))
    }

    /// The same with a clock that is ahead by so many days, or behind (negative).
    pub fn restart_at(&mut self, days: i64) -> Result<()> {
        let mut command = Command::new(artifacts::agent()?);
        process::set_clock(self.scene, &mut command, days)?;
        self.start_by(&mut command)
    }

    fn start_by(&mut self, command: &mut Command) -> Result<()> {
        self.running = Some(Process::spawn_reading(self.scene, &self.name, command.args(&self.arguments))?);
        Ok(())
    }

    /// Starts it again where it has ended by itself, as whoever watches over it does; whether it had.
    pub fn watch_over(&mut self) -> Result<bool> {
        let has_ended = match &mut self.running {
            Some((process, _)) => process.has_ended()?,
            None => true,
        };
        if has_ended {
            self.restart()?;
        }
        Ok(has_ended)
    }

    /// The next event of this name; those before it are passed over.
    pub fn wait_for(&mut self, name: &str) -> Result<Event> {
        self.wait_until(name, |event| is(event, name))
    }

    /// Waits until it asks whether it may install an update.
    pub fn wait_for_question(&mut self) -> Result<Event> {
        self.wait_until("the question", |event| {
            event.pointer("/update/why").and_then(Value::as_str) == Some("confirmation")
        })
    }

    /// The next event that fits; those before it are passed over.
    pub fn wait_until(&mut self, what: &str, fits: impl Fn(&Event) -> bool) -> Result<Event> {
        let started = Instant::now();
        while started.elapsed() < wait::LIMIT {
            let event = self.next_event().with_context(|| format!("{} waits for `{what}`", self.name))?;
            if fits(&event) {
                return Ok(event);
            }
        }
        bail!("{} waited in vain for `{what}`; it said {:?}", self.name, self.seen)
    }

    /// The next event.
    pub fn next_event(&mut self) -> Result<Event> {
        let event = self.event_within(wait::LIMIT)?;
        let event = event.with_context(|| format!("the pump says nothing more; it said {:?}", self.seen))?;
        self.seen.push(event.clone());
        Ok(event)
    }

    /// The next event, if there is one within this time. It does not count as seen.
    pub fn event_within(&mut self, patience: Duration) -> Result<Option<Event>> {
        let (process, lines) = self.running.as_mut().context("the pump does not run")?;
        let Ok(line) = lines.recv_timeout(patience) else {
            process.require_running()?;
            return Ok(None);
        };
        serde_json::from_str(&line).map(Some).with_context(|| format!("the pump wrote no JSON: {line}"))
    }

    /// Everything that it has said so far and that a test has read.
    pub fn seen(&self) -> &[Event] {
        &self.seen
    }

    /// Waits for the code that it shows.
    pub fn code(&mut self) -> Result<String> {
        let event = self.wait_for("code")?;
        Ok(text(&event, "code")?.to_owned())
    }

    /// Waits for the link that its QR code says.
    pub fn link(&mut self) -> Result<VerificationLink> {
        let event = self.wait_for("code")?;
        let link = text(&event, "link")?;
        link.parse().with_context(|| format!("no verification link: {link}"))
    }
}

/// The keys of a pump's display page, for whoever stands there.
#[derive(Clone, Debug)]
pub struct Keypad(String);

impl Keypad {
    /// Enters the control unit's answer.
    pub fn enter(&self, answer: &str) -> Result<()> {
        let request = ureq::post(&self.0).header("sec-fetch-site", "same-origin");
        request.send(answer).context("the display does not take the answer").map(drop)
    }
}

/// Whether an event has this name.
pub fn is(event: &Event, name: &str) -> bool {
    event.get("event").and_then(Value::as_str) == Some(name)
}

/// A text of an event.
pub fn text<'e>(event: &'e Event, field: &str) -> Result<&'e str> {
    event.get(field).and_then(Value::as_str).with_context(|| format!("the event has no text `{field}`: {event}"))
}

/// The shown code with its second digit changed: the check digit no longer fits.
pub fn mistyped(code: &str) -> String {
    let changed = |digit: char| char::from_digit((digit.to_digit(10).unwrap_or(0) + 1) % 10, 10).unwrap_or('0');
    code.chars().enumerate().map(|(index, digit)| if index == 1 { changed(digit) } else { digit }).collect()
}

/// Another code than the shown one, with a check digit that fits.
pub fn another(code: &str, offset: u64) -> String {
    let digits: String = code.chars().filter(char::is_ascii_digit).take(7).collect();
    VerificationCode::from_number(digits.parse::<u64>().unwrap_or(0) + offset).to_string()
}

/// A proof that is wrong: another code than the shown one.
pub fn wrong(code: &str, offset: u64) -> VerificationProof {
    VerificationProof::Code(another(code, offset))
}

/// A point in time of an event, or another number of milliseconds.
pub fn milliseconds(event: &Event, field: &str) -> Result<Duration> {
    let value = event.get(field).and_then(Value::as_u64);
    value.map(Duration::from_millis).with_context(|| format!("the event has no number `{field}`: {event}"))
}
