//! A real Chromium, driven through WebDriver.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, bail};
use fantoccini::elements::Element;
use fantoccini::error::CmdError;
use fantoccini::wd::{Capabilities, WindowHandle};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::{self, Runtime};

use crate::api::PASSWORD;
use crate::process::{Process, free_port};
use crate::{Scene, artifacts, camera, wait};

mod command;
mod downloads;
mod inspection;
mod keys;
mod network;
mod paper;
mod target;

use command::Command as Extension;
pub use inspection::{Aim, Violation};
pub use keys::Key;
pub use target::Target;

/// What a person holds or sits at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    /// A phone in the hand: 390 x 844, touch.
    Phone,
    /// A screen on a desk: 1440 x 900.
    Desk,
    /// What a pump's display page is photographed at.
    Pump,
}

impl Screen {
    fn metrics(self) -> Value {
        let (width, height, scale) = match self {
            Self::Phone => (390, 844, 2),
            Self::Desk => (1440, 900, 1),
            Self::Pump => (800, 600, 1),
        };
        json!({
            "width": width,
            "height": height,
            "screenWidth": width,
            "screenHeight": height,
            "deviceScaleFactor": scale,
            "mobile": matches!(self, Self::Phone),
        })
    }
}

/// A browser of its own, without anything remembered.
#[derive(Debug)]
pub struct Browser {
    runtime: Runtime,
    client: Client,
    camera: PathBuf,
    downloads: PathBuf,
    log: PathBuf,
    /// Ends after the client has said goodbye.
    _driver: Process,
}

impl Browser {
    /// Starts a browser, with a camera that sees nothing.
    pub fn start(scene: &Scene, screen: Screen) -> Result<Self> {
        Self::start_in(scene, screen, "en-US")
    }

    /// Starts a browser whose person reads a language, such as `de-DE`.
    pub fn start_in(scene: &Scene, screen: Screen, language: &str) -> Result<Self> {
        Self::start_with(scene, screen, language, &[])
    }

    /// Starts a browser that also takes a certificate with this key: SHA-256 of its SubjectPublicKeyInfo, base64.
    pub fn start_trusting(scene: &Scene, screen: Screen, key: &str) -> Result<Self> {
        Self::start_with(scene, screen, "en-US", &[format!("--ignore-certificate-errors-spki-list={key}")])
    }

    fn start_with(scene: &Scene, screen: Screen, language: &str, more: &[String]) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("browser-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let camera = scene.path(&name).with_extension("y4m");
        camera::film_of_nothing(&camera)?;
        let downloads = scene.path(&format!("{name}-downloads"));

        let port = free_port()?;
        let mut command = Command::new(artifacts::chromedriver()?);
        let mut driver = Process::spawn(scene, &format!("{name}-driver"), command.arg(format!("--port={port}")))?;
        wait::until("chromedriver answers", || {
            driver.require_running()?;
            Ok(TcpStream::connect(("127.0.0.1", port)).ok())
        })?;

        let runtime = runtime::Builder::new_current_thread().enable_all().build().context("no async runtime")?;
        let client = runtime
            .block_on(
                ClientBuilder::new(HttpConnector::new())
                    .capabilities(capabilities(&camera, &downloads, language, more)?)
                    .connect(&format!("http://127.0.0.1:{port}")),
            )
            .context("cannot start Chromium")?;
        let browser = Self { runtime, client, camera, downloads, log: scene.log(&name), _driver: driver };
        browser.hold(screen)?;
        Ok(browser)
    }

    /// Opens an address.
    pub fn open(&self, address: &str) -> Result<()> {
        self.run(self.client.goto(address)).with_context(|| format!("cannot open {address}"))
    }

    /// Opens a page of the web app as somebody who signs in there, with the password that everybody has in tests.
    pub fn sign_in(&self, address: &str, name: &str) -> Result<()> {
        self.open(address)?;
        self.fill(&Target::field("username"), name)?;
        self.fill(&Target::field("password"), PASSWORD)?;
        self.click(&Target::xpath("the main button", "//form//button[not(@type=\"button\")]"))
    }

    /// Where the page is now.
    pub fn address(&self) -> Result<String> {
        Ok(self.run(self.client.current_url())?.to_string())
    }

    /// Waits until something is to be seen, and returns its text.
    pub fn see(&self, target: &Target) -> Result<String> {
        self.act(target, "to be seen", async |element| element.text().await)
    }

    /// Waits until something can be clicked, and clicks it.
    pub fn click(&self, target: &Target) -> Result<()> {
        self.act(target, "to be clicked", async |element| element.click().await)
    }

    /// Waits for a field, and types into it in place of what was there.
    pub fn fill(&self, target: &Target, text: &str) -> Result<()> {
        self.act(target, "to be filled in", async |element| {
            element.clear().await?;
            element.send_keys(text).await
        })
    }

    /// Waits for a field for files, and chooses one.
    pub fn choose(&self, target: &Target, file: &std::path::Path) -> Result<()> {
        let path = file.to_str().context("a path of text")?.to_owned();
        self.act(target, "to be chosen for", async |element| element.send_keys(&path).await)
    }

    /// Waits for an attribute or property of something.
    pub fn property(&self, target: &Target, name: &str) -> Result<Option<String>> {
        self.act(target, "to be read", async |element| element.prop(name).await)
    }

    /// Whether something is to be seen now.
    pub fn sees(&self, target: &Target) -> Result<bool> {
        Ok(self.run(find(&self.client, target)).is_ok_and(|found| found.is_some()))
    }

    /// Waits until something is no longer to be seen.
    pub fn see_vanish(&self, target: &Target) -> Result<()> {
        wait::until(&format!("{target} to vanish"), || Ok((!self.sees(target)?).then_some(())))
    }

    /// How often something is in the document now.
    pub fn count(&self, target: &Target) -> Result<usize> {
        let count =
            "return document.evaluate(`count(${arguments[0]})`, document, null, XPathResult.NUMBER_TYPE).numberValue";
        self.script_with(count, vec![target.as_xpath().into()])
    }

    /// Waits until something is in the document so often.
    pub fn see_count(&self, target: &Target, count: usize) -> Result<()> {
        let seen = wait::until(&format!("{target} {count} times"), || Ok((self.count(target)? == count).then_some(())));
        seen.with_context(|| {
            format!("there are {}\nThe page says:\n{}", self.count(target).unwrap_or_default(), self.page_text())
        })
    }

    /// Walks a list to its end by what leads to more of it; `counts` says how many rows are there after each page.
    pub fn walk(&self, row: &Target, more: &Target, counts: &[usize]) -> Result<()> {
        let (last, before) = counts.split_last().context("a list has a page")?;
        for count in before {
            self.see_count(row, *count)?;
            self.click(more)?;
        }
        self.see_count(row, *last)?;
        self.see_vanish(more)
    }

    /// Loads the page anew.
    pub fn reload(&self) -> Result<()> {
        self.run(self.client.refresh()).context("cannot load the page anew")
    }

    /// Runs a script in the page and returns its value.
    pub fn script<T: DeserializeOwned>(&self, script: &str) -> Result<T> {
        self.script_with(script, Vec::new())
    }

    /// Runs a script with arguments in the page and returns its value.
    pub fn script_with<T: DeserializeOwned>(&self, script: &str, arguments: Vec<Value>) -> Result<T> {
        let value = self.run(self.client.execute(script, arguments)).context("the script failed")?;
        serde_json::from_value(value.clone()).with_context(|| format!("the script returned {value}"))
    }

    /// Takes a picture (PNG) of what another address shows, once `target` is to be seen there; the page stays as it is.
    pub fn photograph(&self, address: &str, target: &Target) -> Result<Vec<u8>> {
        let (here, other) = self.open_tab(Screen::Pump)?;
        self.open(address)?;
        self.see(target)?;
        wait::until("the picture to be there", || {
            self.script::<bool>("return [...document.images].every(image => image.complete)")
                .map(|done| done.then_some(()))
        })?;
        let picture = self.run(self.client.screenshot())?;
        self.close_tab(other, here)?;
        Ok(picture)
    }

    /// Takes a picture (PNG) of the page.
    pub fn screenshot(&self) -> Result<Vec<u8>> {
        self.run(self.client.screenshot()).context("no picture of the page")
    }

    /// Reads what another address shows at `target`; the page stays as it is.
    pub fn read_elsewhere(&self, address: &str, target: &Target) -> Result<String> {
        let (here, other) = self.open_tab(Screen::Pump)?;
        self.open(address)?;
        let text = self.see(target)?;
        self.close_tab(other, here)?;
        Ok(text)
    }

    /// Puts a picture (PNG) before the camera; it is seen when the camera is opened the next time.
    pub fn hold_before_camera(&self, png: &[u8]) -> Result<()> {
        camera::film(png, &self.camera)
    }

    /// Changes the size of the screen.
    pub fn hold(&self, screen: Screen) -> Result<()> {
        self.devtools("Emulation.setDeviceMetricsOverride", screen.metrics())?;
        self.devtools("Emulation.setTouchEmulationEnabled", json!({ "enabled": screen == Screen::Phone })).map(drop)
    }

    /// Chooses the light or the dark theme of the person's system.
    pub fn prefer_dark(&self, dark: bool) -> Result<()> {
        let value = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).map(drop)
    }

    /// What the console has said since the last look, at the level of an error: exceptions, refused resources, CSP.
    pub fn complaints(&self) -> Result<Vec<String>> {
        let entries = self.run(self.client.issue_cmd(Extension::ConsoleLog))?;
        let severe = entries.as_array().into_iter().flatten().filter(|entry| entry["level"] == "SEVERE");
        Ok(severe.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect())
    }

    fn open_tab(&self, screen: Screen) -> Result<(WindowHandle, WindowHandle)> {
        let here = self.run(self.client.window())?;
        let other = self.run(self.client.new_window(true))?.handle;
        self.run(self.client.switch_to_window(other.clone()))?;
        self.hold(screen)?;
        Ok((here, other))
    }

    fn close_tab(&self, tab: WindowHandle, back_to: WindowHandle) -> Result<()> {
        self.run(self.client.switch_to_window(tab))?;
        self.run(self.client.close_window())?;
        Ok(self.run(self.client.switch_to_window(back_to))?)
    }

    fn devtools(&self, method: &'static str, parameters: Value) -> Result<Value> {
        Ok(self.run(self.client.issue_cmd(Extension::DevTools { method, parameters }))?)
    }

    /// Looks for something until it is there and `act` succeeds: a page that renders anew may replace it in between.
    fn act<T>(&self, target: &Target, purpose: &str, act: impl AsyncFn(Element) -> Result<T, CmdError>) -> Result<T> {
        let mut last = None;
        let acted = wait::until(&format!("{target} {purpose}"), || {
            let attempt = self.run(async {
                match find(&self.client, target).await? {
                    Some(element) => act(element).await.map(Some),
                    None => Ok(None),
                }
            });
            match attempt {
                Ok(done) => Ok(done),
                Err(CmdError::Standard(error)) => {
                    last = Some(error.to_string());
                    Ok(None)
                }
                Err(error) => Err(error.into()),
            }
        });
        match (acted, last) {
            (Ok(done), _) => Ok(done),
            (Err(error), last) => bail!("{error}; {}\nThe page says:\n{}", last.unwrap_or_default(), self.page_text()),
        }
    }

    fn page_text(&self) -> String {
        self.script("return `${location.href}\\n${document.body.innerText}`").unwrap_or_default()
    }

    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let complaints = self.complaints().unwrap_or_default().join("\n");
        // The log is for people only, and a browser that is gone already is what is wanted.
        let _ = fs::write(&self.log, format!("{}\n\nConsole:\n{complaints}\n", self.page_text()));
        let _ = self.runtime.block_on(self.client.clone().close());
    }
}

/// The first element of the target that is displayed.
async fn find(client: &Client, target: &Target) -> Result<Option<Element>, CmdError> {
    for element in client.find_all(Locator::XPath(target.as_xpath())).await? {
        if element.is_displayed().await? {
            return Ok(Some(element));
        }
    }
    Ok(None)
}

fn capabilities(camera: &Path, downloads: &Path, language: &str, more: &[String]) -> Result<Capabilities> {
    let mut arguments = vec![
        "--headless=new".to_owned(),
        "--no-first-run".to_owned(),
        "--disable-gpu".to_owned(),
        "--disable-dev-shm-usage".to_owned(),
        // A proxy of the environment is for the outside, not for this machine.
        "--no-proxy-server".to_owned(),
        "--use-fake-device-for-media-stream".to_owned(),
        "--use-fake-ui-for-media-stream".to_owned(),
        format!("--use-file-for-fake-video-capture={}", camera.display()),
        format!("--lang={language}"),
    ];
    if nix::unistd::Uid::effective().is_root() {
        arguments.push("--no-sandbox".to_owned());
    }
    arguments.extend_from_slice(more);
    let capabilities = json!({
        "goog:chromeOptions": {
            "binary": artifacts::chromium()?,
            "args": arguments,
            "prefs": {
                "intl.accept_languages": language,
                "download.default_directory": downloads,
                "download.prompt_for_download": false,
            },
        },
        "goog:loggingPrefs": { "browser": "ALL" },
    });
    match capabilities {
        Value::Object(capabilities) => Ok(capabilities),
        _ => bail!("capabilities are an object"),
    }
}
