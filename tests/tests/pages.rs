//! The pages as they are served: what a browser is told to allow, and who may send people to them.

use anyhow::{Context as _, Result, ensure};
use wardlink_protocol::api::ProblemKind;
use wardlink_tests::api::problem;
use wardlink_tests::scene;
use wardlink_tests::worker::{Host, Worker};

#[test]
fn every_page_is_served_with_a_strict_policy() -> Result<()> {
    scene(|scene| {
        let worker = Worker::start_under(scene, Host::WithPages, &[])?;
        for path in ["/", "/verify", "/V/MFRGG"] {
            let mut page = worker.api().page(path, "none")?;
            assert_eq!(page.status().as_u16(), 200, "{path}");
            let headers = page.headers().clone();
            let header = |name: &str| {
                let value = headers.get(name).with_context(|| format!("{path} has no {name}"))?;
                anyhow::Ok(value.to_str()?.to_owned())
            };
            let policy = header("content-security-policy")?;
            for part in ["default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'", "frame-ancestors 'none'"] {
                ensure!(policy.contains(part), "{path} lacks {part}: {policy}");
            }
            ensure!(!policy.contains("unsafe-inline") && !policy.contains('*'), "{path} allows too much: {policy}");
            ensure!(header("permissions-policy")?.contains("camera=(self)"), "{path} may use the camera");
            assert_eq!(header("referrer-policy")?, "no-referrer", "{path}");
            assert_eq!(header("x-content-type-options")?, "nosniff", "{path}");
            let text = page.body_mut().read_to_string()?;
            ensure!(text.contains("<!doctype html>") || text.contains("<!DOCTYPE html>"), "{path} is a page");
            if path.starts_with("/V/") {
                assert_eq!(header("cache-control")?, "no-store", "a code's page is kept by nobody");
            }
        }
        Ok(())
    })
}

#[test]
fn a_foreign_page_cannot_send_people_to_a_code() -> Result<()> {
    scene(|scene| {
        let worker = Worker::start_under(scene, Host::WithPages, &[])?;
        for site in ["cross-site", "same-site"] {
            let refused = problem(worker.api().page("/V/MFRGG", site)?)?.0;
            assert_eq!(refused.kind, ProblemKind::ForeignOrigin, "{site}");
        }
        Ok(())
    })
}

/// Every sheet of the control unit, the phone and the pump's display.
const SHEETS: [&str; 5] = [
    include_str!("../../public/styles/base.css"),
    include_str!("../../public/styles/desk.css"),
    include_str!("../../public/styles/phone.css"),
    include_str!("../../public/styles/settings.css"),
    include_str!("../../agent/src/display/display.css"),
];

/// The blocks of a sheet: selector and declarations.
fn blocks(sheet: &str) -> impl Iterator<Item = (&str, &str)> {
    sheet.split('}').filter_map(|block| block.rsplit_once('{')).map(|(selector, declarations)| {
        let selector = selector.rsplit(['{', '/', '\n']).find(|line| !line.trim().is_empty()).unwrap_or(selector);
        (selector.trim(), declarations)
    })
}

#[test]
fn the_dark_that_is_chosen_is_the_dark_of_the_system() -> Result<()> {
    let words = |selector: &str| -> Result<Vec<&str>> {
        let found = blocks(SHEETS[0]).find(|(found, _)| *found == selector);
        Ok(found.with_context(|| format!("no block of {selector}"))?.1.split_whitespace().collect())
    };
    assert_eq!(words(":root:not([data-theme=\"light\"])")?, words(":root[data-theme=\"dark\"]")?);
    Ok(())
}

#[test]
fn the_colours_of_alarms_belong_to_alarms() -> Result<()> {
    let mut seen = 0;
    for (selector, declarations) in SHEETS.iter().flat_map(|sheet| blocks(sheet)) {
        for declaration in declarations.split(';') {
            let declaration = declaration.rsplit("*/").next().unwrap_or(declaration);
            if declaration.trim().starts_with("--alarm-") {
                seen += 1;
                continue;
            }
            let is_alarm = selector.contains(".alarm") || selector.contains("#alarms");
            ensure!(
                is_alarm || !declaration.contains("var(--alarm-"),
                "{selector} takes an alarm's colour: {declaration}"
            );
            for colour in declaration.split('#').skip(1) {
                let digits: String = colour.chars().take_while(char::is_ascii_hexdigit).collect();
                ensure!(!looks_like_an_alarm(&digits)?, "#{digits} in {selector} looks like an alarm");
            }
        }
    }
    ensure!(seen >= 9, "the alarms have their colours: {seen}");
    Ok(())
}

/// Whether a colour is a clear red, yellow or cyan (IEC 60601-1-8, table 2).
fn looks_like_an_alarm(digits: &str) -> Result<bool> {
    let wide = digits.len() == 6;
    ensure!(wide || digits.len() == 3, "#{digits} is no colour");
    let channel = |index: usize| -> Result<f64> {
        let part = if wide { digits[2 * index..2 * index + 2].to_owned() } else { digits[index..=index].repeat(2) };
        Ok(f64::from(u8::from_str_radix(&part, 16)?) / 255.0)
    };
    let (red, green, blue) = (channel(0)?, channel(1)?, channel(2)?);
    let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
    let (lightness, span) = (f64::midpoint(most, least), most - least);
    if span <= 0.0 || !(0.2..0.9).contains(&lightness) || span / (1.0 - (2.0 * lightness - 1.0).abs()) < 0.35 {
        return Ok(false);
    }
    let sector = if red >= most {
        ((green - blue) / span).rem_euclid(6.0)
    } else if green >= most {
        (blue - red) / span + 2.0
    } else {
        (red - green) / span + 4.0
    };
    let hue = sector * 60.0;
    Ok(!(15.0..345.0).contains(&hue) || (40.0..70.0).contains(&hue) || (172.0..200.0).contains(&hue))
}

#[test]
fn an_alarm_is_told_from_other_colours() -> Result<()> {
    for alarm in ["d3121f", "f2c200", "12a5b8", "f00", "ff0", "0ff"] {
        ensure!(looks_like_an_alarm(alarm)?, "#{alarm}");
    }
    for other in ["2747c7", "1d6f48", "16211f", "fff", "8ea4ff", "6fd1a1"] {
        ensure!(!looks_like_an_alarm(other)?, "#{other}");
    }
    Ok(())
}
