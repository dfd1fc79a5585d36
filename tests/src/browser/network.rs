//! A network that does not do what it should.

use anyhow::Result;
use serde_json::json;

use super::Browser;

impl Browser {
    /// Cuts the browser off from the network, or connects it again.
    pub fn cut_off(&self, offline: bool) -> Result<()> {
        self.devtools("Network.enable", json!({}))?;
        let conditions = json!({ "offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1 });
        self.devtools("Network.emulateNetworkConditions", conditions).map(drop)
    }

    /// Lets requests to addresses of this pattern, such as `*/api/*`, fail; none: all arrive again.
    pub fn lose_requests(&self, pattern: Option<&str>) -> Result<()> {
        self.devtools("Network.enable", json!({}))?;
        let patterns: Vec<&str> = pattern.into_iter().collect();
        self.devtools("Network.setBlockedURLs", json!({ "urls": patterns })).map(drop)
    }

    /// Leaves requests to addresses of this pattern without an answer; none: they go on.
    pub fn hold_requests(&self, pattern: Option<&str>) -> Result<()> {
        match pattern {
            Some(pattern) => {
                self.devtools("Fetch.enable", json!({ "patterns": [{ "urlPattern": pattern }] })).map(drop)
            }
            None => self.devtools("Fetch.disable", json!({})).map(drop),
        }
    }
}
