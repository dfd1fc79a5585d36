//! What a person looks for on a page.

use std::fmt;

/// Something on a page.
#[derive(Clone, Debug)]
pub struct Target {
    said: String,
    xpath: String,
}

impl Target {
    /// What a page marks with `data-testid`.
    pub fn id(id: &str) -> Self {
        Self::xpath(&format!("`{id}`"), &format!("//*[@data-testid={}]", quoted(id)))
    }

    /// The row of a list that a page marks with `data-testid` and `data-device`.
    pub fn row(id: &str, device: &str) -> Self {
        let xpath = format!("//*[@data-testid={}][@data-device={}]", quoted(id), quoted(device));
        Self::xpath(&format!("the {id} of {device}"), &xpath)
    }

    /// A field by its name.
    pub fn field(name: &str) -> Self {
        Self::xpath(&format!("the field {name}"), &format!("//input[@name={}]", quoted(name)))
    }

    /// A choice by its value: its label, which is what a person clicks.
    pub fn choice(value: &str) -> Self {
        Self::xpath(&format!("the choice {value}"), &format!("//label[.//input[@value={}]]", quoted(value)))
    }

    /// A button or link that says this.
    pub fn button(label: &str) -> Self {
        let said = quoted(label);
        let xpath = format!("//*[self::button or self::a][normalize-space(.)={said} or @aria-label={said}]");
        Self::xpath(&format!("the button {said}"), &xpath)
    }

    /// The innermost element that says this, among other words.
    pub fn text(text: &str) -> Self {
        let said = quoted(text);
        let here = format!("contains(normalize-space(.), {said})");
        Self::xpath(&format!("the words {said}"), &format!("//body//*[{here}][not(*[{here}])]"))
    }

    /// What XPath finds.
    pub fn xpath(what: &str, xpath: &str) -> Self {
        Self { said: what.to_owned(), xpath: xpath.to_owned() }
    }

    /// This, inside of `outer`.
    #[must_use]
    pub fn inside(&self, outer: &Self) -> Self {
        Self::xpath(&format!("{self} in {outer}"), &format!("{}{}", outer.xpath, self.xpath))
    }

    pub(super) fn as_xpath(&self) -> &str {
        &self.xpath
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

/// A string literal of XPath, which knows no escapes; our words hold no double quotes.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', ""))
}
