//! The screen in a terminal: a calm block that is drawn anew when something changed.

use super::qr::Qr;
use super::texts::Language;
use super::{Phase, Screen, View};
use crate::pump::Order;
use core::fmt::Write as _;
use std::io::{self, Write};
use tokio::sync::{mpsc, watch};

/// The width of the block, in characters.
const WIDTH: usize = 72;

/// How a screen is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A block in place of the last one: one pump in a terminal.
    Block,
    /// A line for each new state: several pumps, files and pipes.
    Lines,
}

/// What a person types at the terminal, line by line.
///
/// A thread of its own reads it, which ends with the process: a read from a terminal cannot be given up.
fn typed_lines() -> mpsc::Receiver<String> {
    let (lines, typed) = mpsc::channel(4);
    std::thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    typed
}

/// The next typed line; where nothing is read, there is none.
async fn next_line(typed: &mut Option<mpsc::Receiver<String>>) -> Option<String> {
    match typed {
        Some(typed) => typed.recv().await,
        None => std::future::pending().await,
    }
}

/// Draws every change of `screens` until they end. With `orders`, it reads the answer that a person types once the pump waits for one.
pub async fn run(
    mut screens: watch::Receiver<Screen>,
    language: Language,
    style: Style,
    orders: Option<mpsc::Sender<Order>>,
) {
    let mut typed = None;
    let mut drawn = Drawn::default();
    loop {
        let view = screens.borrow_and_update().view(language);
        let text = match style {
            Style::Block => drawn.block(&view),
            Style::Lines => drawn.line(&view),
        };
        if let Some(text) = text {
            let mut out = io::stdout().lock();
            // A closed pipe ends the drawing, and nothing else.
            if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
                return;
            }
        }
        if typed.is_none() && orders.is_some() && (view.answering || view.confirming) {
            typed = Some(typed_lines());
        }
        loop {
            tokio::select! {
                changed = screens.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Some(line) = next_line(&mut typed) => {
                    drawn.typed();
                    if let Some(orders) = orders.as_ref().filter(|_| confirms(&screens.borrow(), &line))
                        && orders.try_send(Order::Install).is_err()
                    {
                        tracing::warn!("the pump is busy; type OK once more");
                    }
                    let asked = matches!(screens.borrow().phase, Phase::Answering { .. });
                    if let (true, Ok(answer), Some(orders)) = (asked, line.parse(), &orders)
                        && orders.try_send(Order::Answer(answer)).is_err()
                    {
                        tracing::warn!("the pump is busy; type the answer once more");
                    }
                }
            }
        }
    }
}

/// Whether a person has typed that an update which waits for it may be installed.
fn confirms(screen: &Screen, line: &str) -> bool {
    screen.view(Language::English).confirming && line.trim().eq_ignore_ascii_case("ok")
}

/// What was drawn last.
#[derive(Default)]
struct Drawn {
    text: String,
    lines: usize,
}

impl Drawn {
    /// A person ended a line below the block.
    const fn typed(&mut self) {
        if self.lines > 0 {
            self.lines += 1;
        }
    }

    /// The block, preceded by what takes the last one away; none where nothing changed.
    fn block(&mut self, view: &View) -> Option<String> {
        let text = block(view);
        if text == self.text {
            return None;
        }
        let back = if self.lines == 0 { String::new() } else { format!("\x1b[{}F\x1b[J", self.lines) };
        self.lines = text.lines().count();
        self.text.clone_from(&text);
        Some(back + &text)
    }

    /// One plain line for files and pipes, when the phase changed.
    fn line(&mut self, view: &View) -> Option<String> {
        let mut text = format!("{}: {}. {}", view.device, view.title, view.detail);
        if let Some(code) = &view.code {
            let _ = write!(text, " {code}");
        }
        if let Some(link) = &view.link {
            let _ = write!(text, " {link}");
        }
        if let Some(update) = &view.update {
            let _ = write!(text, " {update}");
        }
        text.push('\n');
        if text == self.text {
            return None;
        }
        self.text.clone_from(&text);
        Some(text)
    }
}

/// The whole block: device, state, digits in groups of four, QR code black on white.
fn block(view: &View) -> String {
    let mut text = String::new();
    let version = view.version.as_ref().map(|version| format!(" · {version}")).unwrap_or_default();
    let head = format!("{} · {}{version}", view.model, view.serial);
    let line = "─".repeat(WIDTH);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}\n {head:<35}{:>35} \n", view.device);
    let _ = writeln!(text, " \x1b[1m{}\x1b[0m", view.title);
    for part in wrapped(&view.detail) {
        let _ = writeln!(text, " {part}");
    }
    if let Some(Ok(qr)) = view.link.as_deref().map(Qr::new) {
        text.push('\n');
        for row in qr.blocks().lines() {
            let _ = writeln!(text, " \x1b[97;40m{row}\x1b[0m");
        }
    }
    if let Some(code) = &view.code {
        let _ = writeln!(text, "\n \x1b[1m{code}\x1b[0m");
    }
    if let Some(infusion) = &view.infusion {
        let _ = writeln!(text, "\n {}", infusion.drug);
        let _ = writeln!(
            text,
            " {} ml/h   {} / {}   {}   {} %",
            infusion.rate, infusion.infused, infusion.remaining, infusion.pressure, infusion.battery
        );
        for alarm in &infusion.alarms {
            let _ = writeln!(text, " ! {}", alarm.text);
        }
    }
    if let Some(tone) = view.tone {
        let _ = writeln!(text, " {tone}");
    }
    if let Some(message) = &view.message {
        text.push('\n');
        for part in wrapped(message) {
            let _ = writeln!(text, " \x1b[1m{part}\x1b[0m");
        }
    }
    if let Some(update) = &view.update {
        text.push('\n');
        for part in wrapped(update) {
            let _ = writeln!(text, " {part}");
        }
        if view.confirming {
            let _ = writeln!(text, " OK + Enter");
        }
    }
    if !view.online {
        for part in wrapped(&view.connection) {
            let _ = writeln!(text, "\n {part}");
        }
    }
    let _ = writeln!(text, "{line}");
    text
}

/// Breaks a text at spaces, so that the block stays as wide as it is.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() < WIDTH {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests;
