//! Somebody who reads the announcements on T4, and comes back whenever the connection ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

use crate::mqtt::{Credentials, Mqtt};

const TOPIC: &str = "ais/meta/infusion-pump";

/// What was read so far. The reader ends with the value.
pub(super) struct Reader {
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    stopped: Arc<AtomicBool>,
}

impl Reader {
    pub(super) fn start(broker: String, credentials: Credentials) -> Self {
        let (heard, stopped) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let reader = Self { heard: Arc::clone(&heard), stopped: Arc::clone(&stopped) };
        thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // The connection ends with the worker, and whenever the wire is cut: then it is made again.
                let _ = read(&broker, &credentials, &heard, &stopped);
                thread::sleep(Duration::from_millis(20));
            }
        });
        reader
    }

    /// Whether an announcement holds this certificate.
    pub(super) fn has_heard(&self, certificate: &[u8]) -> bool {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().any(|message| message.windows(certificate.len()).any(|part| part == certificate))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

fn read(broker: &str, credentials: &Credentials, heard: &Mutex<Vec<Vec<u8>>>, stopped: &AtomicBool) -> Result<()> {
    let mut mqtt =
        Mqtt::resume(broker, credentials, "reader")?.map_err(|answer| anyhow!("not connected: {answer:?}"))?;
    let answer = mqtt.subscribe(TOPIC)?;
    ensure!(!answer.is_refusal(), "the announcements cannot be read: {answer:?}");
    while let Some((_, payload)) = mqtt.next_message()? {
        heard.lock().unwrap_or_else(PoisonError::into_inner).push(payload);
        if stopped.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}
