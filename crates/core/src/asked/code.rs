//! Which error code a text tells: by its name, its number, or the system's message for it.
//!
//! Names come first, since they can't be mistaken; then Winsock numbers (10004 and up mean little else), messages,
//! and last the small numbers, which differ between systems: macOS' `[Errno 48] Address already in use` is told by
//! its message.

use super::scan::{self, Number};
use super::wording;
use crate::kernel::error_code::{self, ErrorCode};
use crate::snapshot::System;

/// Names that runtimes give to codes of their own.
const RUNTIME_NAMES: &[(&str, &str)] = &[
    ("addrinuse", "EADDRINUSE"),
    ("addrnotavailable", "EADDRNOTAVAIL"),
    ("addressalreadyinuse", "EADDRINUSE"),
    ("addressnotavailable", "EADDRNOTAVAIL"),
    ("connectionrefused", "ECONNREFUSED"),
    ("connectionrefusederror", "ECONNREFUSED"),
    ("hostunreachable", "EHOSTUNREACH"),
    ("networkunreachable", "ENETUNREACH"),
];

/// Linux numbers that are taken for codes without the word errno beside them.
const TELLING: &[u32] = &[13, 97, 98, 99, 101, 110, 111, 113];

/// The code that a text tells first.
pub(super) fn told(text: &str) -> Option<&'static ErrorCode> {
    by_name(text)
        .or_else(|| scan::numbers(text).find_map(winsock))
        .or_else(|| by_hexadecimal(text))
        .or_else(|| wording::told(text))
        .or_else(|| scan::numbers(text).find_map(errno))
        .or_else(|| by_runtime_name(text))
}

/// Words of letters, digits and underscores.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| (4..=24).contains(&word.len()))
}

fn by_name(text: &str) -> Option<&'static ErrorCode> {
    words(text).filter(|word| word.starts_with(['E', 'e', 'W', 'w'])).find_map(error_code::by_name)
}

fn by_runtime_name(text: &str) -> Option<&'static ErrorCode> {
    words(text).find_map(|word| {
        let (_, code) = RUNTIME_NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word))?;
        error_code::by_name(code)
    })
}

/// `0x2740`, `0x0000274D`, `0x80072740`: a Winsock number, or its HRESULT.
fn by_hexadecimal(text: &str) -> Option<&'static ErrorCode> {
    words(text).find_map(|word| {
        let digits = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"))?;
        let number = u32::from_str_radix(digits, 16).ok()?;
        let number = if number >> 16 == 0x8007 { number & 0xffff } else { number };
        windows(number)
    })
}

fn windows(number: u32) -> Option<&'static ErrorCode> {
    let number = i32::try_from(number).ok()?;
    error_code::by_code(System::Windows, number).filter(|_| number >= 10000)
}

/// How a number is introduced.
#[derive(PartialEq)]
enum Introduction {
    /// errno, os error.
    Errno,
    /// error, code: or in brackets of its own.
    Vague,
    None,
}

fn introduction(number: &Number<'_>) -> Introduction {
    let before = number.before.trim_end_matches([' ', ':', '=', '-', '#', '(', '\'', '"']);
    let (rest, word) = scan::last_word(before);
    let errno = matches!(word.as_str(), "errno" | "winerror" | "wsaerror" | "wsagetlasterror" | "sqlstate");
    let os_error = word == "error" && rest.to_ascii_lowercase().ends_with("os ");
    let vague =
        ["error", "err", "code", "socketexception", "fehler", "fehlercode", "erreur", "erro", "errore"];
    if errno || os_error {
        Introduction::Errno
    } else if vague.contains(&word.as_str())
        || wording::ERROR_WORDS.iter().any(|word| before.ends_with(word))
        || number.before.ends_with('(') && number.after.starts_with([')', ':'])
        || number.before.ends_with('/') && number.after.starts_with(')')
    {
        Introduction::Vague
    } else {
        Introduction::None
    }
}

fn winsock(number: Number<'_>) -> Option<&'static ErrorCode> {
    let code = windows(number.value).filter(|_| number.stands_alone())?;
    (introduction(&number) != Introduction::None).then_some(code)
}

fn errno(number: Number<'_>) -> Option<&'static ErrorCode> {
    if !number.stands_alone() {
        return None;
    }
    match introduction(&number) {
        Introduction::Errno => {}
        Introduction::Vague if TELLING.contains(&number.value) => {}
        _ => return None,
    }
    error_code::by_code(System::Linux, i32::try_from(number.value).ok()?)
}
