//! The catalogue of texts: every text that a person reads, in every language.
//!
//! A text is a method of [`Language`]. The compiler sees that each has a version in each language, and leaves out of a page what the page does not use.

mod audit;
mod authority;
mod channels;
mod devices;
mod general;
mod orders;
mod policy;
mod problems;
mod records;
mod requests;
mod revocation;
mod services;
mod site;
mod updates;
mod verification;

/// A language of the app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Language {
    /// English.
    #[default]
    English,
    /// German.
    German,
}

impl Language {
    /// All languages, in the order of the switch.
    pub(crate) const ALL: [Self; 2] = [Self::English, Self::German];

    /// The tag of BCP 47.
    pub(crate) const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
        }
    }

    /// The language's own name.
    pub(crate) const fn own_name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::German => "Deutsch",
        }
    }

    /// Finds the language for a tag such as `de-AT`.
    pub(crate) fn from_tag(tag: &str) -> Option<Self> {
        let primary = tag.split('-').next().unwrap_or_default();
        Self::ALL.into_iter().find(|language| language.tag().eq_ignore_ascii_case(primary))
    }

    /// The character between whole and fraction.
    pub(crate) const fn decimal_mark(self) -> char {
        match self {
            Self::English => '.',
            Self::German => ',',
        }
    }
}

/// Defines texts: `name => "English" | "German";`, with parameters `name(n: u32) => "{n} …" | "{n} …";`.
macro_rules! texts {
    ($($name:ident $(($($parameter:ident : $kind:ty),+))? => $english:literal | $german:literal;)+) => {
        impl $crate::text::Language {
            $( $crate::text::text_method!($name $(($($parameter : $kind),+))? => $english | $german); )+
        }

        #[cfg(test)]
        pub(super) const ENTRIES: &[(&str, &str, &str)] = &[$((stringify!($name), $english, $german)),+];
    };
}
macro_rules! text_method {
    ($name:ident => $english:literal | $german:literal) => {
        #[doc = $english]
        pub(crate) const fn $name(self) -> &'static str {
            match self {
                Self::English => $english,
                Self::German => $german,
            }
        }
    };
    ($name:ident ($($parameter:ident : $kind:ty),+) => $english:literal | $german:literal) => {
        #[doc = $english]
        pub(crate) fn $name(self, $($parameter: $kind),+) -> String {
            match self {
                Self::English => format!($english),
                Self::German => format!($german),
            }
        }
    };
}
use {text_method, texts};

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn entries() -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str)> {
        let sections = [
            audit::ENTRIES,
            authority::ENTRIES,
            channels::ENTRIES,
            devices::ENTRIES,
            general::ENTRIES,
            orders::ENTRIES,
            policy::ENTRIES,
            problems::ENTRIES,
            records::ENTRIES,
            requests::ENTRIES,
            revocation::ENTRIES,
            services::ENTRIES,
            site::ENTRIES,
            updates::ENTRIES,
            verification::ENTRIES,
        ];
        sections.into_iter().flatten()
    }

    #[test]
    fn every_text_is_translated() {
        // Words that are the same in both languages.
        const SAME: [&str; 17] = [
            "firmware",
            "secret_name",
            "network_from",
            "network_name",
            "rule_name",
            "theme_system",
            "updates_nav",
            "release_way_one",
            "catalog_change",
            "changed_gateway",
            "catalog_revision",
            "catalog_hardware",
            "gateways_title",
            "token_line",
            "export_csv",
            "export_json",
            "outlet_line",
        ];
        for (name, english, german) in entries() {
            assert!(!english.trim().is_empty() && !german.trim().is_empty(), "{name} is empty");
            assert!(english != german || SAME.contains(name), "{name} is not translated");
        }
    }

    #[test]
    fn both_languages_use_the_same_parameters() {
        fn parameters(text: &str) -> BTreeSet<&str> {
            text.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect()
        }
        for (name, english, german) in entries() {
            assert_eq!(parameters(english), parameters(german), "{name}");
        }
    }

    #[test]
    fn a_language_is_found_by_its_primary_tag() {
        assert_eq!(Language::from_tag("de-AT"), Some(Language::German));
        assert_eq!(Language::from_tag("EN"), Some(Language::English));
        assert_eq!(Language::from_tag("fr"), None);
    }
}
