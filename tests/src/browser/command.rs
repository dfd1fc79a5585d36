//! What Chromium's WebDriver offers beyond the standard.

use fantoccini::wd::WebDriverCompatibleCommand;
use serde_json::{Value, json};
use ureq::http::Method;

/// A command of chromedriver.
#[derive(Debug)]
pub(super) enum Command {
    /// The console's entries since the last call.
    ConsoleLog,
    /// A method of the DevTools protocol, on the present page.
    DevTools {
        /// Such as `Network.enable`.
        method: &'static str,
        /// Its parameters.
        parameters: Value,
    },
}

impl WebDriverCompatibleCommand for Command {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        let path = match self {
            Self::ConsoleLog => "se/log",
            Self::DevTools { .. } => "goog/cdp/execute",
        };
        base.join(&format!("session/{}/{path}", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (Method, Option<String>) {
        let body = match self {
            Self::ConsoleLog => json!({ "type": "browser" }),
            Self::DevTools { method, parameters } => json!({ "cmd": method, "params": parameters }),
        };
        (Method::POST, Some(body.to_string()))
    }
}
