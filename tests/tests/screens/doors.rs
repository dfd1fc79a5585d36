//! Before anybody is signed in.

use wardlink_tests::browser::Target;
use wardlink_tests::worker::BOOTSTRAP_TOKEN;

use crate::stage::{Row, failing, id, row};

const LOADING: &str = "//*[contains(@class, \"loading\")]";

/// A site of which nobody is administrator yet.
pub(crate) const TABLE: &[Row<()>] = &[
    row("asking who is there", &["session::Stage::Asking"], |stage, ()| {
        stage.browser.hold_requests(Some("*/api/*"))?;
        stage.visit("/", &Target::xpath("that it loads", LOADING))
    }),
    failing("nobody answers", &["session::Stage::Failed"], |stage, ()| {
        stage.browser.lose_requests(Some("*/api/*"))?;
        stage.visit("/", &id("problem"))
    }),
    row("sign-in, nobody there yet", &["session::Stage::Out"], |stage, ()| {
        stage.visit("/", &Target::xpath("a hint", "//*[@data-testid=\"sign-in\"]//*[@class=\"hint\"]"))
    }),
    failing("sign-in refused", &[], |stage, ()| {
        stage.visit("/", &id("sign-in"))?;
        stage.browser.fill(&Target::field("username"), "nobody")?;
        stage.browser.fill(&Target::field("password"), "not the password")?;
        stage.submit("sign-in")?;
        stage.browser.see(&id("problem")).map(drop)
    }),
    row("welcome", &["route::Route::Welcome"], |stage, ()| {
        stage.visit(&format!("/#/welcome?token={BOOTSTRAP_TOKEN}"), &id("welcome"))
    }),
    row("welcome with mistakes", &[], |stage, ()| {
        stage.visit(&format!("/#/welcome?token={BOOTSTRAP_TOKEN}"), &id("welcome"))?;
        stage.submit("welcome")?;
        stage.browser.see(&Target::xpath("the complaint", "//input[@aria-invalid]")).map(drop)
    }),
    row("sign-in of the phone", &[], |stage, ()| stage.visit("/verify", &id("sign-in"))),
];
