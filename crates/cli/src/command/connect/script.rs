//! What a script does: texts to send and to expect, in the order in which they are typed.

use std::collections::VecDeque;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Says it, as a line.
    Send(Vec<u8>),
    /// Waits until the other end has said it.
    Expect(Vec<u8>),
}

/// The steps. clap's derive gives each option a list of its own: here both share one.
#[derive(Clone, Debug, Default)]
pub(super) struct Script(pub(super) VecDeque<Act>);

impl Script {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Args for Script {
    fn augment_args(command: Command) -> Command {
        let option = |name: &'static str, help: &'static str| {
            Arg::new(name).long(name).value_name("TEXT").action(ArgAction::Append).help(help)
        };
        let send = option("send", "Send this line, and read nothing from standard input");
        let expect = option("expect", "Wait until the other end says this").allow_hyphen_values(true);
        // An empty line is one; an empty text is in whatever comes.
        command
            .arg(send.value_parser(|text: &str| unescaped(text)))
            .arg(expect.value_parser(|text: &str| unescaped(text).and_then(heard)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Script {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut acts = Vec::new();
        for (name, act) in [("send", Act::Send as fn(Vec<u8>) -> Act), ("expect", Act::Expect)] {
            let places = matches.indices_of(name).into_iter().flatten();
            let texts = matches.get_many::<Vec<u8>>(name).into_iter().flatten();
            acts.extend(places.zip(texts.map(|text| act(text.clone()))));
        }
        acts.sort_by_key(|(place, _)| *place);
        Ok(Self(acts.into_iter().map(|(_, act)| act).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// A text with its escapes: `\n`, `\r`, `\t`, `\\`, `\xNN`.
fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            bytes.extend(character.encode_utf8(&mut [0; 4]).bytes());
            continue;
        }
        bytes.push(match rest.next() {
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('\\') => b'\\',
            Some('x') => {
                let digits: String = rest.by_ref().take(2).collect();
                u8::from_str_radix(&digits, 16)
                    .ok()
                    .filter(|_| digits.len() == 2 && !digits.starts_with('+'))
                    .ok_or_else(|| format!("'\\x{digits}' is no byte; type two digits, as in \\x1b"))?
            }
            other => {
                let other = other.map_or_else(String::new, String::from);
                return Err(format!("'\\{other}' is no escape; type \\n, \\r, \\t, \\x1b, or \\\\ for \\"));
            }
        });
    }
    Ok(bytes)
}

/// A text that can be waited for.
fn heard(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    if bytes.is_empty() { Err("nothing is to be heard; type a text".to_owned()) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_escapes_and_say_what_is_wrong_with_them() {
        assert_eq!(unescaped(r"a\r\n\t\\\x1bü").unwrap(), "a\r\n\t\\\u{1b}ü".as_bytes());
        for (text, part) in [(r"\q", "is no escape"), ("a\\", "is no escape"), (r"\x1", "two digits")] {
            assert!(unescaped(text).unwrap_err().contains(part), "{text}");
        }
        // The line that ends a request's head.
        assert_eq!(unescaped(""), Ok(Vec::new()));
        assert!(heard(Vec::new()).is_err());
    }

    #[test]
    fn steps_are_done_in_the_order_typed() {
        let command = Script::augment_args(Command::new("x"));
        let matches = command
            .try_get_matches_from(["x", "--expect", "1", "--send", "2", "--expect", "-3", "--send", "4"])
            .unwrap();
        let script = Script::from_arg_matches(&matches).unwrap();
        let text = |text: &str| text.as_bytes().to_vec();
        assert_eq!(
            script.0,
            [Act::Expect(text("1")), Act::Send(text("2")), Act::Expect(text("-3")), Act::Send(text("4"))]
        );
    }
}
