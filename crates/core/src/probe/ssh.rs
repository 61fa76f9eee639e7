//! `ssh`: the version of a remote login server, and the algorithms that it offers.
//!
//! Source: RFC 4253 sections 4.2 (versions), 6 (packets), 7.1 (KEXINIT), 11.1 (disconnect).
//! Leaves out on purpose: agreeing on a key, and so the host's key; logging in.

use super::{Event, Home, Protocol, Request, Session, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::line::{LONGEST_LINE, line, unlike};
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "ssh",
    aliases: &["sftp", "scp"],
    title: "a remote login server: its version, its algorithms",
    doc: DOC,
    via: &[Via::Tcp],
    homes: &[Home::new(Via::Tcp, 22, "ssh"), Home::new(Via::Tcp, 2222, "")],
    settings: &[],
    start,
};

const DOC: &str = "\
Exchanges versions, and reads the list of algorithms with which a server begins. No key is agreed on and nobody
logs in. A server that is full (MaxStartups) or does not like where the question comes from closes the line: what it
said before that is shown.

Fields: protoversion and softwareversion, with comments; kex_algorithms, server_host_key_algorithms,
encryption_algorithms, mac_algorithms and compression_algorithms (to the client; where the other way differs, also
with _client_to_server at the end).
";

const DISCONNECT: u8 = 1;
const KEXINIT: u8 = 20;
/// RFC 4253 section 6.1 asks for 35,000; nobody sends more before there is a key.
const LONGEST_PACKET: u32 = 65_536;

/// RFC 4253 section 7.1, in order.
const LISTS: [&str; 8] = [
    "kex_algorithms",
    "server_host_key_algorithms",
    "encryption_algorithms_client_to_server",
    "encryption_algorithms",
    "mac_algorithms_client_to_server",
    "mac_algorithms",
    "compression_algorithms_client_to_server",
    "compression_algorithms",
];

struct Ssh;

fn start(_: &Request) -> Box<dyn Session> {
    Box::new(Ssh)
}

/// What a server said so far.
struct Said<'a> {
    /// Its version, without `SSH-`.
    version: &'a [u8],
    /// What is behind it.
    packets: Reader<'a>,
}

/// The version line; lines before it are for people (RFC 4253 section 4.2).
fn version(data: &[u8]) -> Result<Said<'_>, DecodeError> {
    let mut reader = Reader::new(data);
    loop {
        if let Some(version) = line(&mut reader, "identification string")?.strip_prefix(b"SSH-") {
            return Ok(Said { version, packets: reader });
        }
        if reader.offset() > LONGEST_LINE {
            return Err(Reader::error_at(0, "identification string", Problem::Value(0)));
        }
    }
}

/// The payload of the next packet.
fn packet<'a>(reader: &mut Reader<'a>) -> Result<Reader<'a>, DecodeError> {
    let start = reader.offset();
    let length = reader.u32_be("packet_length")?;
    if !(2..=LONGEST_PACKET).contains(&length) {
        return Err(Reader::error_at(start, "packet_length", Problem::Value(length.into())));
    }
    let mut packet = reader.part(length as usize, "packet")?;
    let padding = packet.u8("padding_length")?;
    let Some(length) = packet.remaining().checked_sub(padding.into()) else {
        return Err(Reader::error_at(start + 4, "padding_length", Problem::Value(padding.into())));
    };
    packet.part(length, "payload")
}

/// The fields of a version: `2.0-OpenSSH_9.2p1 Debian-2`.
fn fields(version: &[u8]) -> Fields {
    let version = String::from_utf8_lossy(version).into_owned();
    let (protocol, software) = version.split_once('-').unwrap_or((&version, ""));
    let (software, comments) = software.split_once(' ').map_or((software, None), |(s, c)| (s, Some(c)));
    Fields::new()
        .with("protoversion", protocol)
        .with("softwareversion", software)
        .with_some("comments", comments)
}

fn done(version: &[u8], fields: Fields) -> Step {
    let version = String::from_utf8_lossy(version);
    Step::Done(Answer::new(PROTOCOL.id, format!("SSH-{version}"), fields))
}

/// The algorithms, once they came.
fn read(data: &[u8]) -> Result<Step, DecodeError> {
    let Said { version, mut packets } = version(data)?;
    let mut fields = fields(version);
    if !version.starts_with(b"2.") && !version.starts_with(b"1.99-") {
        return Ok(done(version, fields));
    }
    loop {
        let mut payload = packet(&mut packets)?;
        match payload.u8("message number").map_err(no_longer_cut)? {
            KEXINIT => {
                algorithms(payload, &mut fields).map_err(no_longer_cut)?;
                return Ok(done(version, fields));
            }
            DISCONNECT => {
                payload.u32_be("reason code").map_err(no_longer_cut)?;
                fields.push("disconnect", string(&mut payload, "description").map_err(no_longer_cut)?);
                return Ok(done(version, fields));
            }
            // SSH_MSG_IGNORE, SSH_MSG_DEBUG.
            2 | 4 => {}
            other => return Err(Reader::error_at(0, "message number", Problem::Value(other.into()))),
        }
    }
}

/// What is cut inside a whole packet does not get longer by waiting.
fn no_longer_cut(error: DecodeError) -> DecodeError {
    Reader::error_at(error.offset, error.field, Problem::Value(0))
}

fn string<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<&'a [u8], DecodeError> {
    let length = reader.u32_be(field)?;
    reader.take(length as usize, field)
}

fn algorithms(mut payload: Reader<'_>, fields: &mut Fields) -> Result<(), DecodeError> {
    payload.take(16, "cookie")?;
    let mut other_way = None;
    for name in LISTS {
        let list = string(&mut payload, name)?;
        if name.ends_with("_client_to_server") {
            other_way = Some((name, list));
            continue;
        }
        fields.push(name, names(list));
        if let Some((name, other)) = other_way.take().filter(|(_, other)| *other != list) {
            fields.push(name, names(other));
        }
    }
    Ok(())
}

/// A name-list (RFC 4251 section 5).
fn names(list: &[u8]) -> Value {
    Value::list(list.split(|&byte| byte == b',').filter(|name| !name.is_empty()))
}

impl Session for Ssh {
    fn hello(&mut self) -> Step {
        Step::Send(b"SSH-2.0-Portolan\r\n".to_vec())
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } => match read(data) {
                // The version came, and what is behind it is not what should be there.
                Err(DecodeError { problem: Problem::Value(_), .. }) if version(data).is_ok() => ended(data),
                decoded => Step::of_line(decoded, "SSH", data),
            },
            Event::Closed { data } | Event::Silence { data } => ended(data),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

/// What can be told when nothing more comes.
fn ended(data: &[u8]) -> Step {
    match version(data) {
        Ok(Said { version, .. }) => done(version, fields(version)),
        Err(_) if data.is_empty() => Step::failed("it does not tell a version of SSH"),
        Err(_) => Step::failed(unlike("SSH", data)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    /// OpenSSH 9.2p1 of Debian 12: version and KEXINIT as they came.
    const OPENSSH: &[u8] = include_bytes!("../../tests/recordings/probe/ssh-openssh-9.2p1.bin");

    #[test]
    fn a_server_tells_its_version_and_its_algorithms() {
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[OPENSSH]);
        assert_eq!(answer.summary, "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u10");
        let shown: Vec<String> =
            answer.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(
            shown[..3],
            ["protoversion: 2.0", "softwareversion: OpenSSH_9.2p1", "comments: Debian-2+deb12u10"]
        );
        assert!(
            shown[3]
                .starts_with("kex_algorithms: sntrup761x25519-sha512, sntrup761x25519-sha512@openssh.com,")
        );
        assert_eq!(shown[4], "server_host_key_algorithms: ssh-ed25519");
        assert!(shown[5].starts_with("encryption_algorithms: chacha20-poly1305@openssh.com, aes128-ctr"));
        assert_eq!(shown[7..], ["compression_algorithms: none, zlib@openssh.com"]);
    }

    #[test]
    fn lists_that_differ_by_way_are_both_shown() {
        let list = |text: &str| [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat();
        let lists = ["k", "h", "a,b", "a", "m", "m", "", ""].map(list).concat();
        let payload = [&[KEXINIT][..], &[0; 16], &lists, &[0; 5]].concat();
        let framed = [&(payload.len() as u32 + 5).to_be_bytes()[..], &[4], &payload, &[0; 4]].concat();
        let ignored = [0, 0, 0, 7, 4, 2, 1, 0, 0, 0, 0];
        let reply = [b"hello\r\nSSH-2.0-x\n", &ignored[..], &framed].concat();
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[&reply]);
        assert_eq!(
            answer.fields.value("encryption_algorithms_client_to_server"),
            Some(&Value::list(["a", "b"]))
        );
        assert_eq!(answer.fields.value("mac_algorithms_client_to_server"), None);
    }

    #[test]
    fn a_version_alone_and_an_old_one_are_answers_and_other_words_are_none() {
        let told =
            |reply: &[u8]| play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[reply]).answer.map(|a| a.summary);
        assert_eq!(told(b"SSH-2.0-x\r\n").unwrap(), "SSH-2.0-x");
        assert_eq!(told(b"SSH-1.5-Cisco-1.25\n").unwrap(), "SSH-1.5-Cisco-1.25");
        assert_eq!(told(b"SSH-2.0-x\r\n\xff\xff\xff\xff\xff").unwrap(), "SSH-2.0-x");
        assert_eq!(
            told(b"Exceeded MaxStartups\r\n").unwrap_err(),
            "this is not SSH: it said \"Exceeded MaxStartups\""
        );
        assert_eq!(told(b"").unwrap_err(), "it does not tell a version of SSH");
    }
}
