//! A browser, and what is asked of every screen that it shows.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use wardlink_tests::Scene;
use wardlink_tests::api::PASSWORD;
use wardlink_tests::browser::{Aim, Browser, Screen, Target};

use crate::walk::walk;

/// How a screen is looked at: size, name of it, whether it is dark.
type Look = (Screen, &'static str, bool);

/// Each language with looks, so that every two of size, theme and language meet on every screen.
const ROUNDS: [(&str, [Look; 2]); 2] = [
    ("en", [(Screen::Desk, "desk", false), (Screen::Phone, "phone", true)]),
    ("de", [(Screen::Desk, "desk", true), (Screen::Phone, "phone", false)]),
];
/// A folder to which pictures of all screens are written, for people who look at them: in each language with the looks of all.
const PICTURES: &str = "WARDLINK_PICTURES";

/// What the screens of a table are about; it may borrow from the scene.
pub(crate) trait World {
    /// It, in a scene.
    type In<'s>;
}

/// Nothing but what the browser shows.
impl World for () {
    type In<'s> = ();
}

/// One screen in one state.
pub(crate) struct Row<W: World> {
    pub(crate) name: &'static str,
    /// What of the app's own lists it shows; see `coverage`.
    pub(crate) shows: &'static [&'static str],
    /// Brings the browser there.
    pub(crate) reach: for<'s> fn(&Stage, &W::In<'s>) -> Result<()>,
    /// Whether it is reached by requests that fail, which the console notes.
    pub(crate) fails: bool,
}

/// A screen of the table.
pub(crate) const fn row<W: World>(
    name: &'static str,
    shows: &'static [&'static str],
    reach: for<'s> fn(&Stage, &W::In<'s>) -> Result<()>,
) -> Row<W> {
    Row { name, shows, reach, fails: false }
}

/// A screen of the table that is reached by requests that fail.
pub(crate) const fn failing<W: World>(
    name: &'static str,
    shows: &'static [&'static str],
    reach: for<'s> fn(&Stage, &W::In<'s>) -> Result<()>,
) -> Row<W> {
    Row { name, shows, reach, fails: true }
}

/// What a page marks with `data-testid`.
pub(crate) fn id(id: &str) -> Target {
    Target::id(id)
}

/// A browser that visits screens.
pub(crate) struct Stage {
    pub(crate) browser: Browser,
    origin: String,
    language: Cell<&'static str>,
    aim: Aim,
    /// What is wrong, and on which screens.
    faults: RefCell<BTreeMap<String, Vec<String>>>,
}

impl Stage {
    /// A browser for the pages of `origin`, at which this aims.
    pub(crate) fn open(scene: &Scene, origin: String, aim: Aim) -> Result<Self> {
        let browser = Browser::start(scene, Screen::Desk)?;
        browser.watch_policy()?;
        Ok(Self { browser, origin, language: Cell::new("en"), aim, faults: RefCell::default() })
    }

    /// The language of the present round.
    pub(crate) fn language(&self) -> &'static str {
        self.language.get()
    }

    /// Opens a page of the origin anew, and waits for something on it.
    pub(crate) fn visit(&self, path: &str, target: &Target) -> Result<()> {
        // Only another document is loaded anew; a new fragment of the same one is not.
        self.browser.open("about:blank")?;
        self.browser.open(&format!("{}{path}", self.origin))?;
        self.browser.see(target).map(drop)
    }

    /// Signs somebody in with the test's password.
    pub(crate) fn sign_in(&self, page: &str, name: &str) -> Result<()> {
        self.visit(page, &id("sign-in"))?;
        self.browser.fill(&Target::field("username"), name)?;
        self.browser.fill(&Target::field("password"), PASSWORD)?;
        self.submit("sign-in")?;
        self.browser.see(&id("me")).map(drop)
    }

    /// Presses the main button of a form.
    pub(crate) fn submit(&self, form: &str) -> Result<()> {
        self.browser.click(&Target::xpath("the main button", "//button[not(@type=\"button\")]").inside(&id(form)))
    }

    /// Shows every screen of a table in each language, size and theme.
    pub(crate) fn show<W: World>(&self, table: &[Row<W>], world: &W::In<'_>) -> Result<()> {
        let every: Vec<Look> = ROUNDS.iter().flat_map(|(_, looks)| *looks).collect();
        for (language, looks) in &ROUNDS {
            let looks: &[Look] = if env::var_os(PICTURES).is_some() { &every } else { looks };
            self.language.set(language);
            // A blank page has no storage.
            self.browser.before_load(&format!(
                "try {{ localStorage.setItem('wardlink.language', '{language}') }} catch {{}}"
            ))?;
            for row in table {
                (row.reach)(self, world).with_context(|| format!("cannot reach `{}` in {language}", row.name))?;
                self.look_at(row, looks).with_context(|| format!("cannot look at `{}` in {language}", row.name))?;
                self.browser.lose_requests(None)?;
                self.browser.hold_requests(None)?;
                self.browser.cut_off(false)?;
            }
        }
        Ok(())
    }

    /// Everything that was wrong, at once.
    pub(crate) fn verdict(self) -> Result<()> {
        let faults = self.faults.take();
        let lines: Vec<String> =
            faults.iter().map(|(fault, screens)| format!("- {fault}\n    on: {}", screens.join("; "))).collect();
        ensure!(lines.is_empty(), "{} faults:\n{}", lines.len(), lines.join("\n"));
        Ok(())
    }

    fn look_at<W: World>(&self, row: &Row<W>, looks: &[Look]) -> Result<()> {
        let language = self.language();
        let shown: String = self.browser.script("return document.documentElement.lang")?;
        if shown != language {
            self.blame(row.name, &format!("is in {shown} instead of {language}"));
        }
        for &(screen, size, dark) in looks {
            self.browser.hold(screen)?;
            self.browser.prefer_dark(dark)?;
            let look = format!("{} ({language}, {size}, {})", row.name, if dark { "dark" } else { "light" });
            self.take_picture(row.name, &format!("{language}-{size}-{}", if dark { "dark" } else { "light" }))?;
            for violation in self.browser.violations(self.aim)? {
                let impact = violation.impact.unwrap_or_default();
                self.blame(&look, &format!("{} ({impact}): {}", violation.rule, violation.places.join("\n    ")));
            }
            let (wide, room): (f64, f64) =
                // What is too wide widens the page of a phone, too: its screen stays as it is.
                self.browser.script("return [document.documentElement.scrollWidth, Math.min(innerWidth, screen.width)]")?;
            if wide > room {
                self.blame(&look, &format!("is {wide} wide on a screen of {room}"));
            }
            // The way is the same in every language.
            if language == ROUNDS[0].0 {
                walk(&self.browser)?.iter().for_each(|fault| self.blame(&look, fault));
            }
        }
        self.browser.hold(Screen::Desk)?;
        for refused in self.browser.refused_by_policy()? {
            self.blame(row.name, &format!("Content Security Policy: {refused}"));
        }
        for complaint in self.browser.complaints()? {
            let is_network =
                complaint.contains("Failed to load resource") || complaint.contains("WebSocket connection");
            if !(row.fails && is_network) {
                self.blame(row.name, &format!("the console: {complaint}"));
            }
        }
        Ok(())
    }

    fn blame(&self, what: &str, fault: &str) {
        self.faults.borrow_mut().entry(fault.to_owned()).or_default().push(what.to_owned());
    }

    fn take_picture(&self, name: &str, look: &str) -> Result<()> {
        let Some(folder) = env::var_os(PICTURES).map(PathBuf::from) else { return Ok(()) };
        fs::create_dir_all(&folder)?;
        let file = folder.join(format!("{}-{look}.png", name.replace([' ', ','], "-")));
        fs::write(file, self.browser.screenshot()?).context("cannot write a picture")
    }
}
