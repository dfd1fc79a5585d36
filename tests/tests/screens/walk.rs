//! The keyboard's way through a screen: it reaches everything, in the order in which it is read, shows where it is, and ends.

use anyhow::{Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use wardlink_tests::browser::{Browser, Key};

const WALK: &str = include_str!("walk.js");
/// More stops than any screen has.
const MANY: usize = 200;
/// More parts than a field for a date has.
const MANY_PARTS: usize = 10;

/// Where a press of Tab has led.
#[derive(Deserialize)]
struct Step {
    /// The number of the stop; less than zero for one that only the browser sees, such as a region that scrolls; none outside.
    at: Option<i64>,
    #[serde(default)]
    name: String,
    /// Whether it is still inside the field that was reached before.
    #[serde(default)]
    within: bool,
    faults: Vec<String>,
}

fn press(browser: &Browser) -> Result<Step> {
    browser.press(Key::Tab)?;
    browser.script_with(WALK, vec![json!("step")])
}

/// Walks with Tab through the page, or the dialog that is open on it; returns what is wrong with the way.
pub(crate) fn walk(browser: &Browser) -> Result<Vec<String>> {
    let count: usize = browser.script_with(WALK, vec![json!("begin")])?;
    if count > MANY {
        bail!("{count} stops");
    }
    let (mut faults, mut way) = (Vec::new(), Vec::new());
    // One more leads out of the page, or back to the beginning of a dialog; regions that scroll come on top.
    for _ in 0..=count + 5 {
        let mut step = press(browser)?;
        faults.append(&mut step.faults);
        let mut parts = 0;
        while step.within && parts < MANY_PARTS {
            step = press(browser)?;
            faults.append(&mut step.faults);
            parts += 1;
        }
        match step.at.map(usize::try_from) {
            None => break,
            Some(Ok(0)) if !way.is_empty() => break,
            Some(Ok(at)) => way.push((at, step.name)),
            Some(Err(_)) => {}
        }
    }
    let order: Vec<usize> = way.iter().map(|(stop, _)| *stop).collect();
    if order != (0..count).collect::<Vec<_>>() {
        let missed: Vec<Value> = (0..count)
            .filter(|stop| !order.contains(stop))
            .map(|stop| browser.script_with(WALK, vec![json!("name"), json!(stop)]))
            .collect::<Result<_>>()?;
        let names: Vec<&str> = way.iter().map(|(_, name)| name.as_str()).collect();
        faults.push(format!("Tab goes {order:?} of {count} ({names:?}), and misses {missed:?}"));
    }
    Ok(faults)
}
