//! The program as a process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

/// It is killed when it goes out of scope.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    /// `kill -9`.
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Process {
    /// Starts it; what it says is read by [`Process::said`].
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// A member of the first line about an event.
    pub(crate) async fn said(&mut self, event: &'static str, member: &'static str) -> String {
        let out = self.0.stdout.take().unwrap();
        let said = tokio::task::spawn_blocking(move || {
            BufReader::new(out).lines().find_map(|line| {
                let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
                (line["event"] == event).then(|| line[member].as_str().unwrap().to_owned())
            })
        });
        said.await.unwrap().expect("it ended without a word")
    }

    /// The code that it shows.
    pub(crate) async fn code(&mut self) -> String {
        self.said("code", "code").await
    }
}
