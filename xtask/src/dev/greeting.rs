//! What the terminal says when everything runs.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

use super::place::{Place, Tls};

/// What runs.
pub(super) struct Running<'a> {
    pub(super) place: &'a Place,
    /// Port of the page that helps to trust the certificate.
    pub(super) trust_port: u16,
    /// Opens the one-time link, as long as it is good.
    pub(super) token: Option<&'a str>,
    pub(super) display: Option<SocketAddr>,
    pub(super) folder: &'a Path,
    /// Whether the text is for a terminal, which has colours.
    pub(super) colours: bool,
}

/// The whole text.
pub(super) fn text(running: &Running<'_>) -> Result<String> {
    let mut text = "\nWardlink is running. Ctrl-C stops it.\n\n".to_owned();
    let origin = running.place.origin();
    for (index, origin) in running.place.origins().iter().enumerate() {
        line(&mut text, if index == 0 { "Control unit" } else { "" }, origin);
    }
    if let Some(token) = running.token {
        line(&mut text, "First sign-in", &format!("{origin}/#/welcome?token={token}"));
        line(&mut text, "", "(once: it makes the first administrator)");
    }
    if let Some(display) = running.display {
        line(&mut text, "Pump's display", &format!("http://{display}"));
    }
    line(&mut text, "Logs and storage", &format!("{}/", running.folder.display()));
    if let Some(tls) = running.place.tls() {
        trust(&mut text, tls, running)?;
    }
    text.push('\n');
    Ok(text)
}

/// How phones come to trust the certificate.
fn trust(text: &mut String, tls: &Tls, running: &Running<'_>) -> Result<()> {
    let pages = tls.names.origins("http", running.trust_port);
    let page = pages.first().context("no address")?;
    let authority = &tls.authority;
    text.push('\n');
    if authority.is_new() {
        text.push_str("  The certificate authority of this run is new: no device trusts it yet.\n");
    }
    line(text, "Phones begin here", page);
    line(text, "Certificate", &authority.name());
    let fingerprint = authority.fingerprint();
    let (first, second) = fingerprint.split_at_checked(48).unwrap_or((&fingerprint, ""));
    line(text, "SHA-256", first);
    line(text, "", second);
    text.push('\n');
    // In capitals it is alphanumeric, and the code small (ISO/IEC 18004).
    text.push_str(&blocks(&page.to_ascii_uppercase(), running.colours)?);
    Ok(())
}

fn line(text: &mut String, name: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  {name:<17} {value}");
}

/// A QR code of half blocks, white on black; with colours also where a terminal draws black on white.
fn blocks(content: &str, colours: bool) -> Result<String> {
    let code = QrCode::with_error_correction_level(content, EcLevel::M).context("the address fits no QR code")?;
    let picture = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    let (begin, end) = if colours { ("\u{1b}[97;40m", "\u{1b}[0m") } else { ("", "") };
    let lines: Vec<String> = picture.lines().map(|line| format!("    {begin}{line}{end}")).collect();
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Running, text};
    use crate::dev::place::Place;

    fn running(place: &Place, token: Option<&str>) -> String {
        let display = "127.0.0.1:8790".parse().ok();
        text(&Running { place, trust_port: 8788, token, display, folder: Path::new(".wardlink"), colours: false })
            .unwrap()
    }

    #[test]
    fn on_loopback_there_is_nothing_to_trust() {
        let text = running(&Place::on_loopback(8787), Some("TOKEN"));
        assert!(text.contains("http://localhost:8787/#/welcome?token=TOKEN"));
        assert!(!text.contains("SHA-256") && !text.contains('█'));
    }

    #[test]
    fn on_the_network_everything_names_its_address() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::on_network("192.168.1.20".parse().unwrap(), 8787, folder.path()).unwrap();
        let first = running(&place, Some("TOKEN"));
        assert!(first.contains("https://192.168.1.20:8787/#/welcome?token=TOKEN"));
        assert!(first.contains("http://192.168.1.20:8788") && first.contains('█'));
        let digits: String = first.chars().filter(|&c| c != '\n' && c != ' ').collect();
        assert!(digits.contains(&place.tls().unwrap().authority.fingerprint()), "the whole fingerprint");
        assert!(!running(&place, None).contains("welcome"), "once there is an administrator");
    }
}
