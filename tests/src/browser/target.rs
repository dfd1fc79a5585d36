//! What a person looks for on a page: by what it is and what it says, not by how the page is built.

use std::fmt;

/// Something on a page.
#[derive(Clone, Debug)]
pub struct Target {
    said: String,
    xpath: String,
}

impl Target {
    /// A button or link that says exactly this.
    pub fn button(label: &str) -> Self {
        let said = quoted(label);
        let xpath = format!(
            "//*[self::button or self::a or @role='button'][not(@disabled)]\
             [normalize-space(.)={said} or @aria-label={said}]"
        );
        Self { said: format!("the button {said}"), xpath }
    }

    /// A field whose label says this.
    pub fn field(label: &str) -> Self {
        let said = quoted(label);
        let xpath = format!(
            "//*[self::input or self::select or self::textarea]\
             [@aria-label={said} or @id=//label[contains(normalize-space(.), {said})]/@for \
             or ancestor::label[contains(normalize-space(.), {said})]]"
        );
        Self { said: format!("the field {said}"), xpath }
    }

    /// The innermost element that says this, among other words.
    pub fn text(text: &str) -> Self {
        let said = quoted(text);
        let xpath = format!(
            "//body//*[not(self::script or self::style)][contains(normalize-space(.), {said})]\
             [not(*[contains(normalize-space(.), {said})])]"
        );
        Self { said: format!("the words {said}"), xpath }
    }

    /// What XPath finds.
    pub fn xpath_of(what: &str, xpath: &str) -> Self {
        Self { said: what.to_owned(), xpath: xpath.to_owned() }
    }

    /// The same, inside the innermost list item, row, article, form or section that says `text`.
    #[must_use]
    pub fn within(self, text: &str) -> Self {
        let said = quoted(text);
        let frame = "self::li or self::tr or self::article or self::form or self::section";
        let xpath = format!(
            "//*[{frame}][contains(normalize-space(.), {said})]\
             [not(.//*[{frame}][contains(normalize-space(.), {said})])]{}",
            self.xpath
        );
        Self { said: format!("{} at {said}", self.said), xpath }
    }

    pub(super) fn xpath(&self) -> &str {
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
