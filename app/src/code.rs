//! What a person types into the code field, put into groups of four while she types.

/// The digits of a code.
pub(crate) const DIGITS: usize = 8;

/// The text of the field after an input, and where its caret stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    /// The digits in groups: `4071 93`.
    pub(crate) text: String,
    /// The caret, in characters.
    pub(crate) caret: usize,
}

/// Keeps the digits of what was typed or pasted, at most eight, and the caret after the same digit.
pub(crate) fn group(text: &str, caret: usize) -> Typed {
    let before = text.chars().take(caret).filter(char::is_ascii_digit).count().min(DIGITS);
    let mut grouped = String::with_capacity(DIGITS + 1);
    for (index, digit) in text.chars().filter(char::is_ascii_digit).take(DIGITS).enumerate() {
        if index == 4 {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    Typed { text: grouped, caret: if before > 4 { before + 1 } else { before } }
}

/// How many digits a grouped text has.
pub(crate) fn digits(text: &str) -> usize {
    text.chars().filter(char::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grouped(text: &str) -> String {
        group(text, text.chars().count()).text
    }

    #[test]
    fn digits_stand_in_groups_of_four() {
        assert_eq!(grouped("407"), "407");
        assert_eq!(grouped("4071"), "4071");
        assert_eq!(grouped("40719"), "4071 9");
        assert_eq!(grouped("40719326"), "4071 9326");
    }

    #[test]
    fn a_pasted_code_loses_everything_but_its_eight_digits() {
        assert_eq!(grouped(" Code: 4071-9326\n"), "4071 9326");
        assert_eq!(grouped("407193261234"), "4071 9326");
        assert_eq!(grouped("four"), "");
    }

    #[test]
    fn the_caret_stays_after_the_digit_before_it() {
        assert_eq!(group("40719", 5), Typed { text: "4071 9".to_owned(), caret: 6 });
        assert_eq!(group("40x71 9", 3), Typed { text: "4071 9".to_owned(), caret: 2 });
        assert_eq!(group("4071 9", 4), Typed { text: "4071 9".to_owned(), caret: 4 });
    }

    #[test]
    fn digits_are_counted_without_the_space() {
        assert_eq!(digits("4071 93"), 6);
    }
}
