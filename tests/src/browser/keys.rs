//! The keyboard.

use anyhow::{Context as _, Result, bail};
use fantoccini::actions::{InputSource, KeyAction, KeyActions};
pub use fantoccini::key::Key;

use super::{Browser, Target};
use crate::wait;

/// More stops than any page has.
const MOST_STOPS: u8 = 100;

impl Browser {
    /// Presses a key and lets it go.
    pub fn press(&self, key: Key) -> Result<()> {
        self.strike(&[key.into()])
    }

    /// Presses Tab while Shift is held: one step back.
    pub fn press_back(&self) -> Result<()> {
        let (shift, tab) = (char::from(Key::Shift), char::from(Key::Tab));
        let strokes = [
            KeyAction::Down { value: shift },
            KeyAction::Down { value: tab },
            KeyAction::Up { value: tab },
            KeyAction::Up { value: shift },
        ];
        self.perform(strokes)
    }

    /// Types a text, wherever the focus is.
    pub fn type_text(&self, text: &str) -> Result<()> {
        self.strike(&text.chars().collect::<Vec<_>>())
    }

    /// Presses Tab until something has the focus.
    pub fn tab_to(&self, target: &Target) -> Result<()> {
        for _ in 0..MOST_STOPS {
            self.press(Key::Tab)?;
            if self.has_focus(target)? {
                return Ok(());
            }
        }
        bail!("Tab does not lead to {target}; it is at {}", self.focused()?)
    }

    /// Waits until something has the focus.
    pub fn see_focus(&self, target: &Target) -> Result<()> {
        let outcome = wait::until(&format!("the focus on {target}"), || Ok(self.has_focus(target)?.then_some(())));
        outcome.with_context(|| format!("it is on {}", self.focused().unwrap_or_default()))
    }

    /// Whether something has the focus.
    pub fn has_focus(&self, target: &Target) -> Result<bool> {
        let script = "const found = document.evaluate(arguments[0], document, null, XPathResult.ANY_TYPE, null);
            for (let node = found.iterateNext(); node; node = found.iterateNext()) if (node === document.activeElement) return true;
            return false;";
        self.script_with(script, vec![target.as_xpath().into()])
    }

    /// The tag that has the focus.
    pub fn focused(&self) -> Result<String> {
        self.script("return document.activeElement?.cloneNode(false).outerHTML ?? ''")
    }

    fn strike(&self, keys: &[char]) -> Result<()> {
        self.perform(keys.iter().flat_map(|&value| [KeyAction::Down { value }, KeyAction::Up { value }]))
    }

    fn perform(&self, strokes: impl IntoIterator<Item = KeyAction>) -> Result<()> {
        let keyboard = KeyActions::new("keyboard".to_owned());
        let actions = strokes.into_iter().fold(keyboard, InputSource::then);
        self.run(self.client.perform_actions(actions)).context("the keyboard failed")
    }
}
