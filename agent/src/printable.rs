//! Text of others on a terminal.

/// The same text, with everything escaped that a terminal would obey or that would show it in another order.
pub fn printable(text: &str) -> String {
    let is_plain = |letter: char| {
        !letter.is_control()
            && !matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_plain(letter) {
            plain.push(letter);
        } else {
            plain.extend(letter.escape_unicode());
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn a_terminal_is_told_nothing() {
        assert_eq!(printable("pümp \u{1b}[2J\r\n\u{202e}x"), r"pümp \u{1b}[2J\u{d}\u{a}\u{202e}x");
    }
}
