//! The colours of alarms: they are not on every screen at the time that it is looked at.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use wardlink_tests::artifacts;

/// WCAG 2.2, success criterion 1.4.3.
const LEAST_CONTRAST: f64 = 4.5;
const PRIORITIES: [&str; 3] = ["high", "medium", "low"];

#[test]
fn alarms_can_be_read_in_every_theme() -> Result<()> {
    let styles = fs::read_to_string(artifacts::in_checkout("public/styles/base.css")?)?;
    // The first block holds for every theme; the others change some of its colours.
    let usual = styles.split('}').next().context("the tokens")?;
    let mut themes = 0;
    for block in styles.split('}').filter(|block| block.contains("--alarm-high:")) {
        themes += 1;
        for priority in PRIORITIES {
            let colour = |name: &str| token(block, name).or_else(|| token(usual, name)).context("a colour of alarms");
            let (ground, ink) = (colour(&format!("--alarm-{priority}"))?, colour(&format!("--alarm-{priority}-ink"))?);
            let contrast = contrast(luminance(&ground)?, luminance(&ink)?);
            ensure!(contrast >= LEAST_CONTRAST, "{ink} on {ground} ({priority}) has a contrast of {contrast:.2}");
        }
    }
    ensure!(themes == 3, "light, dark by preference and dark by choice, not {themes}");
    Ok(())
}

/// The value of a custom property.
fn token(block: &str, name: &str) -> Option<String> {
    let (_, rest) = block.split_once(&format!("{name}: #"))?;
    rest.split(';').next().map(str::to_owned)
}

/// The relative luminance of a colour such as `de1a25` or `fff` (WCAG 2.2, "relative luminance").
fn luminance(colour: &str) -> Result<f64> {
    let width = colour.len() / 3;
    let channel = |index: usize| -> Result<f64> {
        let digits = colour.get(index * width..(index + 1) * width).context("a colour")?.repeat(2 / width.max(1));
        let value = f64::from(u8::from_str_radix(&digits, 16)?) / 255.0;
        Ok(if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) })
    };
    let (red, green, blue) = (channel(0)?, channel(1)?, channel(2)?);
    Ok(0.2126 * red + 0.7152 * green + 0.0722 * blue)
}

fn contrast(one: f64, other: f64) -> f64 {
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}
