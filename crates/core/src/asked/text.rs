//! A pasted error text: the line that tells the error, the endpoint nearest to it, and whose side it is on.

use std::net::{IpAddr, Ipv4Addr};

use super::endpoint::{Host, Place, Role};
use super::{Asked, AskedError, Call, Remote, Target, Told, call, code, endpoint};
use crate::diagnose::Question;
use crate::kernel::error_code::ErrorCode;
use crate::socket::Transport;

/// How much of a text is read, in bytes.
const MAX_TEXT: usize = 64 << 10;

/// How much of a line is shown, in characters.
const MAX_EXCERPT: usize = 200;

/// What one line says.
struct Line<'a> {
    text: &'a str,
    code: Option<&'static ErrorCode>,
    call: Call,
    in_use: bool,
    places: Vec<Place>,
}

impl<'a> Line<'a> {
    fn read(text: &'a str) -> Self {
        let lower = text.to_lowercase();
        Self {
            text,
            code: code::told(text),
            call: call::named(&lower),
            in_use: call::says_in_use(&lower),
            places: endpoint::places(text),
        }
    }
}

/// What the text as a whole says of the error.
struct Error {
    line: usize,
    code: Option<&'static ErrorCode>,
    call: Call,
}

/// Reads a pasted text.
pub(super) fn parse(text: &str) -> Result<Asked, AskedError> {
    let mut notes = Vec::new();
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if end < text.len() {
        notes.push("only the first 64 KiB of the text were read".into());
    }
    let clean = without_colours(text.get(..end).unwrap_or_default());
    let lines: Vec<Line<'_>> = clean.lines().map(Line::read).collect();
    let error = find_error(&lines, &clean);
    let remote = is_remote(&error);
    let Some((line, place)) = nearest(&lines, error.line, remote) else {
        return Err(without_port(&error, remote));
    };
    let others = others(&lines, &error, place);
    if !others.is_empty() {
        notes.push(format!("the text names other ports too: {}; ask for each by itself", others.join(", ")));
    }
    if place.transport.is_none() && clean.to_ascii_lowercase().contains("udp") {
        notes
            .push(format!("the text does not tell TCP from UDP; TCP is taken, else type {}/udp", place.port));
    }
    let anchor = if error.code.is_some() || error.call != Call::Unknown { error.line } else { line };
    let excerpt = lines.get(anchor).map(|line| line.text.trim().chars().take(MAX_EXCERPT).collect());
    Ok(Asked {
        target: target(place, remote, &mut notes),
        told: Some(Told { code: error.code, call: error.call, excerpt: excerpt.unwrap_or_default() }),
        notes,
    })
}

/// The text without the colour sequences that terminals and logs leave in it.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_ascii_alphabetic()).map_or(part.len(), |end| end + 1);
        clean.push_str(part.get(end..).unwrap_or_default());
    }
    clean
}

/// The line of the error: one with a code and a port, one with a code, one that says so in a program's own words,
/// one that names a call, in this order.
fn find_error(lines: &[Line<'_>], text: &str) -> Error {
    let position = |test: &dyn Fn(&Line<'_>) -> bool| lines.iter().position(test);
    let line = position(&|l| l.code.is_some() && !l.places.is_empty())
        .or_else(|| position(&|l| l.code.is_some()))
        .or_else(|| position(&|l| l.in_use && !l.places.is_empty()))
        .or_else(|| position(&|l| l.call != Call::Unknown && !l.places.is_empty()))
        .or_else(|| position(&|l| l.call != Call::Unknown))
        .unwrap_or(0);
    let own = lines.get(line).map_or((None, Call::Unknown), |line| (line.code, line.call));
    // A message that a narrow terminal has wrapped stands in no line by itself.
    let code = own.0.or_else(|| code::told(&text.replace(['\r', '\n'], " ")));
    let call = if own.1 == Call::Unknown { nearest_call(lines, line, code) } else { own.1 };
    Error { line, code, call }
}

/// The call of the nearest line that names one: stack traces name it some lines away. Codes that a bind gives, and
/// hardly a connect, are not taken for a connection's because some other line tells of one.
fn nearest_call(lines: &[Line<'_>], line: usize, code: Option<&ErrorCode>) -> Call {
    let of_bind = code.is_some_and(|code| matches!(code.name, "EADDRINUSE" | "EACCES"));
    let fits = |call| match call {
        Call::Unknown => false,
        Call::Connect | Call::Dial => !of_bind,
        Call::Bind | Call::Listen => true,
    };
    let named = lines.iter().enumerate().filter(|(_, other)| fits(other.call));
    named.min_by_key(|(index, _)| index.abs_diff(line)).map_or(Call::Unknown, |(_, other)| other.call)
}

/// Whether the port is another's: a call that reaches out, or a code that only such calls give.
fn is_remote(error: &Error) -> bool {
    const REACHING: &[&str] = &[
        "ECONNREFUSED",
        "ECONNRESET",
        "EHOSTUNREACH",
        "ENETUNREACH",
        "ETIMEDOUT",
        "EHOSTDOWN",
        "WSAECONNREFUSED",
        "WSAECONNRESET",
        "WSAEHOSTUNREACH",
        "WSAENETUNREACH",
        "WSAETIMEDOUT",
        "WSAEHOSTDOWN",
    ];
    matches!(error.call, Call::Connect | Call::Dial)
        || error.code.is_some_and(|code| REACHING.contains(&code.name))
}

/// The endpoint nearest to the error's line, the first of the best placed. This side's port of a connection is not
/// the answer; of a port that is wanted here it is, where there is no other.
fn nearest<'l>(lines: &'l [Line<'_>], error: usize, remote: bool) -> Option<(usize, &'l Place)> {
    let places =
        lines.iter().enumerate().flat_map(|(index, line)| line.places.iter().map(move |p| (index, p)));
    places
        .filter(|(_, place)| !(remote && place.role == Role::Aside))
        .min_by_key(|(index, place)| (place.role == Role::Aside, index.abs_diff(error), place.role))
}

/// Other ports that the lines with the same code name, at most five.
fn others(lines: &[Line<'_>], error: &Error, chosen: &Place) -> Vec<String> {
    let mut ports = Vec::new();
    for line in lines.iter().filter(|line| line.code.is_some() && line.code == error.code) {
        for place in line.places.iter().filter(|place| place.role != Role::Aside).take(1) {
            let port = place.port.to_string();
            if place.port != chosen.port && !ports.contains(&port) && ports.len() < 5 {
                ports.push(port);
            }
        }
    }
    ports
}

fn target(place: &Place, remote: bool, notes: &mut Vec<String>) -> Target {
    let transport = place.transport.unwrap_or(Transport::Tcp);
    let port = place.port;
    if remote {
        let host = match &place.host {
            Host::Any => None,
            Host::Address(address) => Some(address.to_string()),
            Host::Name(name) => Some(name.clone()),
        };
        return Target::Remote(Remote { host, port, transport });
    }
    let address = match &place.host {
        Host::Any => None,
        Host::Address(address) => Some(*address),
        Host::Name(name) if name.eq_ignore_ascii_case("localhost") => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        Host::Name(name) => {
            notes.push(format!("the name {name} is not looked up; every address is asked about"));
            None
        }
    };
    Target::Local(Question { transport, port: Some(port), address, uid: None })
}

fn without_port(error: &Error, remote: bool) -> AskedError {
    let code = error.code.map(|code| format!("{} ({})", code.name, code.code));
    AskedError(match (remote, code) {
        (true, code) => format!(
            "the text tells of a connection that failed{} but names no remote port; \
             paste the line that names HOST:PORT",
            code.map_or(String::new(), |code| format!(" with {code}"))
        ),
        (false, Some(code)) => {
            format!("the text tells of {code} but names no port; add it, as in `portolan why 8080`")
        }
        (false, None) => "no port is found in this text; type it, as in `portolan why 8080`".to_owned(),
    })
}
