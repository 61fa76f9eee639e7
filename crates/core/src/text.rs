//! Foreign text made harmless: what a process, a file or another host wrote, on its way to a person.
//!
//! On a terminal control characters are commands, and Unicode's direction marks (UAX #9) reorder what is read: both
//! are shown as escapes. Every text on its way to a terminal passes [`harmless`], in the output formats themselves;
//! what other hosts send passes [`foreign`] where it becomes part of an answer.

use std::borrow::Cow;

/// Whether a character may act on a terminal instead of being shown there: controls (C0, DEL, C1), direction and
/// format marks, line and paragraph separators.
pub const fn acts(character: char) -> bool {
    matches!(character,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

/// The text with every character that could act on a terminal shown as an escape: `\n`, `\u{1b}`.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) || !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if acts(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// What another host sent, as text of at most `longest` characters (then `…`): what is no UTF-8 becomes U+FFFD, lines
/// end in `\n` alone without empty ones at the end, tabs stay, and everything else that acts is shown as an escape.
pub fn foreign(bytes: &[u8], longest: usize) -> String {
    // A character has at most four bytes: what lies beyond can never be shown.
    let beyond = bytes.len() > longest.saturating_mul(4);
    let bytes = bytes.get(..longest.saturating_mul(4)).unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes).replace("\r\n", "\n");
    let text = text.trim_end_matches(['\r', '\n']);
    let mut shown: String = text.chars().take(longest).fold(String::new(), |mut shown, character| {
        if acts(character) && !matches!(character, '\n' | '\t') {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
        shown
    });
    if beyond || text.chars().nth(longest).is_some() {
        shown.push('…');
    }
    shown
}

/// What comes piece by piece over a stream, made harmless for a terminal: lines end however the sender ends them, tabs
/// stay, what is no UTF-8 becomes U+FFFD, and everything else that acts is shown as an escape. A character may be cut
/// between two pieces.
#[derive(Debug, Default)]
pub struct Shown {
    cut: Vec<u8>,
    /// A line was just ended by a carriage return: what belongs to the same end is passed over.
    returned: bool,
}

impl Shown {
    /// The text of the next piece.
    pub fn take(&mut self, bytes: &[u8]) -> String {
        self.cut.extend_from_slice(bytes);
        let whole = std::mem::take(&mut self.cut);
        let mut shown = String::with_capacity(whole.len());
        for chunk in whole.utf8_chunks() {
            chunk.valid().chars().for_each(|character| self.show(character, &mut shown));
            let invalid = chunk.invalid();
            let at_end = whole.ends_with(invalid) && !invalid.is_empty();
            let is_begun = std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            // Only the last one can end where the piece does.
            if at_end && is_begun && invalid.as_ptr_range().end == whole.as_ptr_range().end {
                self.cut = invalid.to_vec();
            } else if !invalid.is_empty() {
                self.show('\u{fffd}', &mut shown);
            }
        }
        shown
    }

    fn show(&mut self, character: char, shown: &mut String) {
        let returned = std::mem::replace(&mut self.returned, character == '\r');
        match character {
            '\n' if returned => {}
            // RFC 854: a carriage return that is none of a line's end has a NUL behind it.
            '\0' | '\r' if returned => self.returned = true,
            '\r' | '\n' => shown.push('\n'),
            '\t' => shown.push('\t'),
            character if acts(character) => shown.extend(character.escape_default()),
            character => shown.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_shown_as_an_escape() {
        assert_eq!(harmless("nginx: worker"), "nginx: worker");
        assert_eq!(harmless("größe 端口"), "größe 端口");
        assert_eq!(harmless("\x1b]0;owned\x07"), "\\u{1b}]0;owned\\u{7}");
        assert_eq!(harmless("a\nb\u{9b}31m"), "a\\nb\\u{9b}31m");
        assert_eq!(harmless("exe\u{202e}gpj"), "exe\\u{202e}gpj");
    }

    #[test]
    fn a_stream_is_harmless_wherever_it_is_cut() {
        let stream = "login:\r\0x\x1b[2J\r\r\n\tgröße\n\r\nü".as_bytes();
        for at in 0..=stream.len() {
            let mut shown = Shown::default();
            let text = shown.take(&stream[..at]) + &shown.take(&stream[at..]);
            assert_eq!(text, "login:\nx\\u{1b}[2J\n\tgröße\n\nü", "cut at {at}");
        }
        assert_eq!(Shown::default().take(b"a\xffb\xc3"), "a\u{fffd}b");
    }

    #[test]
    fn what_another_host_sent_keeps_its_lines_and_loses_its_commands() {
        assert_eq!(foreign(b"220 mail\r\n250 ok\r\n\r\n", 99), "220 mail\n250 ok");
        assert_eq!(foreign(b"a\x1b[2J\tb\rc\xff", 99), "a\\u{1b}[2J\tb\\rc\u{fffd}");
        assert_eq!(foreign("äöü".as_bytes(), 3), "äöü");
        assert_eq!(foreign("äöüß".as_bytes(), 3), "äöü…");
        assert_eq!(foreign(&[b'x'; 1000], 3), "xxx…");
    }
}
