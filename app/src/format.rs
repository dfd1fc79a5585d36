//! Ages, remaining times and quantities as people read them.

use core::time::Duration;

use crate::text::Language;

/// How long ago something was, in its largest whole unit.
pub(crate) fn age(age: Duration, language: Language) -> String {
    match age.as_secs() {
        seconds @ 0..60 => language.seconds(seconds),
        seconds @ 60..3_600 => language.minutes(seconds / 60),
        seconds @ 3_600..172_800 => language.hours(seconds / 3_600),
        seconds => language.days(seconds / 86_400),
    }
}

/// A remaining time as minutes and seconds, rounded up so that 0:00 means over.
pub(crate) fn countdown(left: Duration) -> String {
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// Microlitres as millilitres with one decimal, rounded to the nearest.
pub(crate) fn millilitres(microlitres: u32, language: Language) -> String {
    let tenths = (u64::from(microlitres) + 50) / 100;
    format!("{}{}{}", tenths / 10, language.decimal_mark(), tenths % 10)
}

/// A file's length, with one decimal: `1.3 MB`.
pub(crate) fn bytes(length: u64, language: Language) -> String {
    let (unit, word) = match length {
        0..1_000 => return format!("{length} B"),
        1_000..1_000_000 => (1_000, "kB"),
        1_000_000..1_000_000_000 => (1_000_000, "MB"),
        _ => (1_000_000_000, "GB"),
    };
    let tenths = (length.saturating_add(unit / 20)) / (unit / 10);
    format!("{}{}{} {word}", tenths / 10, language.decimal_mark(), tenths % 10)
}

/// Hexadecimal digits in groups of four, for comparing.
pub(crate) fn groups(hex: &str) -> String {
    let digits: Vec<char> = hex.to_uppercase().chars().collect();
    digits.chunks(4).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_stand_in_groups_of_four() {
        assert_eq!(groups("7f3a91c022"), "7F3A 91C0 22");
    }

    #[test]
    fn an_age_has_one_unit() {
        let english = |seconds| age(Duration::from_secs(seconds), Language::English);
        assert_eq!(english(0), "0 s");
        assert_eq!(english(59), "59 s");
        assert_eq!(english(60), "1 min");
        assert_eq!(english(3_599), "59 min");
        assert_eq!(english(7_200), "2 h");
        assert_eq!(english(200_000), "2 d");
        assert_eq!(age(Duration::from_secs(200_000), Language::German), "2 Tagen");
    }

    #[test]
    fn a_length_has_one_decimal_in_its_largest_unit() {
        assert_eq!(bytes(999, Language::English), "999 B");
        assert_eq!(bytes(1_250, Language::English), "1.3 kB");
        assert_eq!(bytes(12_345_678, Language::German), "12,3 MB");
        assert_eq!(bytes(u64::MAX, Language::English), "18446744073.7 GB");
    }

    #[test]
    fn a_countdown_ends_at_zero_only_when_it_is_over() {
        assert_eq!(countdown(Duration::from_secs(161)), "2:41");
        assert_eq!(countdown(Duration::from_millis(500)), "0:01");
        assert_eq!(countdown(Duration::ZERO), "0:00");
    }

    #[test]
    fn volumes_have_one_decimal_in_the_language_of_the_reader() {
        assert_eq!(millilitres(12_500, Language::English), "12.5");
        assert_eq!(millilitres(12_549, Language::German), "12,5");
        assert_eq!(millilitres(12_550, Language::German), "12,6");
        assert_eq!(millilitres(0, Language::English), "0.0");
        assert_eq!(millilitres(u32::MAX, Language::English), "4294967.3");
    }
}
