use super::{ENGLISH, GERMAN, TrustPage, prefers_german, system_of};

fn page() -> TrustPage {
    TrustPage {
        name: "Wardlink development (ward)".to_owned(),
        fingerprint: "AB:CD".to_owned(),
        certificate: vec![1, 2, 3],
        origins: vec!["https://192.168.1.20:8787".to_owned(), "https://ward:8787".to_owned()],
    }
}

#[test]
fn every_placeholder_is_filled_in_both_languages() {
    for german in [false, true] {
        let text = page().render(german, Some("ios"), None);
        assert!(!text.contains("{{") && !text.contains("}}"), "{text}");
        assert!(text.contains("AB:<wbr>CD") && text.contains("https://192.168.1.20:8787/"));
        assert_eq!(text.matches(" open>").count(), 1, "one system is unfolded");
        assert!(!text.contains("<script") && !text.contains("style="), "the policy allows neither");
    }
}

#[test]
fn both_languages_have_the_same_parts() {
    let parts = |text: &str| -> Vec<String> {
        let parts = text.split(['<', '>']).filter(|part| part.contains("id=\"") || part.starts_with("li"));
        parts.map(str::to_owned).collect()
    };
    assert!(parts(ENGLISH).len() > 20);
    assert_eq!(parts(ENGLISH), parts(GERMAN));
}

#[test]
fn the_link_goes_to_the_host_that_was_reached_and_to_no_other() {
    let link = |host| page().render(false, None, Some(host));
    assert!(link("ward:8788").contains("href=\"https://ward:8787/\""));
    assert!(link("192.168.1.20:8788").contains("href=\"https://192.168.1.20:8787/\""));
    assert!(link("evil.example\"><b>").contains("href=\"https://192.168.1.20:8787/\""));
    assert!(!link("evil.example").contains("evil"));
}

#[test]
fn the_first_known_language_counts() {
    for (languages, german) in [
        ("de-AT,de;q=0.9,en;q=0.8", true),
        ("en-US,de;q=0.5", false),
        ("fr,de;q=0.5", true),
        ("fr", false),
        ("", false),
    ] {
        assert_eq!(prefers_german(languages), german, "{languages}");
    }
}

#[test]
fn a_system_is_told_by_what_the_browser_calls_it() {
    let android = "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36";
    let iphone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15";
    let linux = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36";
    assert_eq!([android, iphone, linux, "curl/8"].map(system_of), [Some("android"), Some("ios"), Some("linux"), None]);
}
