//! `mysql`: the version of a MySQL or MariaDB server, and whether it encrypts.
//!
//! Source: MySQL's internals documentation, "Connection Phase" (Protocol::HandshakeV10, ERR_Packet); MariaDB's knowledge
//! base, "Connecting" (the prefix 5.5.5-, capabilities).
//! Leaves out on purpose: logging in, and encrypting: the line would have to change between two packets of ours.

use super::{Event, Home, Protocol, Request, Session, Step, Via};
use crate::answer::{Answer, Fields};
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "mysql",
    aliases: &["mariadb"],
    title: "MySQL or MariaDB: its version, how it authenticates, whether it encrypts",
    doc: DOC,
    via: &[Via::Tcp],
    homes: &[Home::new(Via::Tcp, 3306, "mysql"), Home::new(Via::Tcp, 3307, "")],
    settings: &[],
    start,
};

const DOC: &str = "\
Reads the handshake with which a MySQL or MariaDB server greets; nobody logs in. A server that lets nobody in from
this host, or that is full, says so instead: that is an answer too.

Each connection that ends so counts against this host (max_connect_errors, 100 by default): a server that was asked
too often in a row blocks it, until somebody types FLUSH HOSTS.

Fields: protocol_version, server_version, thread_id, auth_plugin_name, ssl, character_set; or error_code, sql_state
and error_message.
";

const HANDSHAKE_V10: u8 = 10;
const ERR: u8 = 0xff;
const CLIENT_SSL: u16 = 0x0800;
const LONGEST_PACKET: u32 = 4096;

struct Mysql;

fn start(_: &Request) -> Box<dyn Session> {
    Box::new(Mysql)
}

fn read(data: &[u8]) -> Result<Step, DecodeError> {
    let mut reader = Reader::new(data);
    let length = reader.u24_le("payload_length")?;
    if !(3..=LONGEST_PACKET).contains(&length) {
        return Err(Reader::error_at(0, "payload_length", Problem::Value(length.into())));
    }
    let sequence = reader.u8("sequence_id")?;
    if sequence != 0 {
        return Err(Reader::error_at(3, "sequence_id", Problem::Value(sequence.into())));
    }
    let payload = reader.part(length as usize, "payload")?;
    let decoded = handshake(payload).map_err(|error| match error.problem {
        // What is cut inside a whole packet does not get longer by waiting.
        Problem::Truncated => Reader::error_at(error.offset, error.field, Problem::Value(0)),
        Problem::Value(_) => error,
    })?;
    Ok(Step::Done(decoded))
}

fn handshake(mut payload: Reader<'_>) -> Result<Answer, DecodeError> {
    let start = payload.offset();
    match payload.u8("protocol_version")? {
        HANDSHAKE_V10 => {}
        ERR => return error(payload),
        other => return Err(Reader::error_at(start, "protocol_version", Problem::Value(other.into()))),
    }
    let version = String::from_utf8_lossy(payload.until(0, "server_version")?).into_owned();
    let thread = payload.u32_le("thread_id")?;
    payload.take(9, "auth-plugin-data-part-1 and filler")?;
    let lower = payload.u16_le("capability_flags")?;
    let mut fields = Fields::new()
        .with("protocol_version", HANDSHAKE_V10)
        .with("server_version", version.as_str())
        .with("thread_id", thread)
        .with("ssl", lower & CLIENT_SSL != 0);
    if !payload.is_empty() {
        fields.push("character_set", payload.u8("character_set")?);
        payload.take(2, "status_flags")?;
        payload.u16_le("capability_flags_2")?;
        let length = payload.u8("auth_plugin_data_len")?;
        payload.take(10, "reserved")?;
        payload.take(usize::from(length.saturating_sub(8)).max(13), "auth-plugin-data-part-2")?;
        // Early servers leave out the zero at the end.
        let plugin = payload.rest().split(|&byte| byte == 0).next().unwrap_or_default();
        if !plugin.is_empty() {
            fields.push("auth_plugin_name", plugin);
        }
    }
    // MariaDB puts 5.5.5- in front, for replicas that cannot count to 10.
    let summary = match version.strip_prefix("5.5.5-").unwrap_or(&version) {
        version if version.contains("MariaDB") => format!("MariaDB {version}"),
        version => format!("MySQL {version}"),
    };
    Ok(Answer::new(PROTOCOL.id, summary, fields))
}

fn error(mut payload: Reader<'_>) -> Result<Answer, DecodeError> {
    let code = payload.u16_le("error_code")?;
    let mut fields = Fields::new().with("error_code", code);
    if payload.peek() == Some(b'#') {
        payload.u8("sql_state_marker")?;
        fields.push("sql_state", payload.take(5, "sql_state")?);
    }
    let message = payload.rest();
    fields.push("error_message", message);
    let name = if message.windows(7).any(|word| word == b"MariaDB") { "MariaDB" } else { "MySQL" };
    Ok(Answer::new(PROTOCOL.id, format!("{name}: {} ({code})", String::from_utf8_lossy(message)), fields))
}

impl Session for Mysql {
    fn hello(&mut self) -> Step {
        Step::More
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } => Step::of_line(read(data), "MySQL", data),
            Event::Closed { .. } | Event::Silence { .. } => Step::failed("it does not greet as MySQL does"),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    /// MariaDB 10.11 of Debian 12: its handshake as it came.
    const MARIADB: &[u8] = include_bytes!("../../tests/recordings/probe/mysql-mariadb-10.11.bin");

    #[test]
    fn a_server_greets_with_its_version() {
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[MARIADB]);
        assert!(answer.summary.starts_with("MariaDB 10.11."), "{}", answer.summary);
        assert_eq!(answer.fields.value("ssl"), Some(&false.into()));
        assert_eq!(answer.fields.text("auth_plugin_name"), Some("mysql_native_password"));
    }

    #[test]
    fn a_refusal_is_an_answer() {
        let refused =
            b"\x44\0\0\0\xff\x6a\x04Host '192.0.2.9' is not allowed to connect to this MariaDB server";
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[refused]);
        assert_eq!(
            answer.summary,
            "MariaDB: Host '192.0.2.9' is not allowed to connect to this MariaDB server (1130)"
        );
        let why = play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[b"SSH-2.0-x\r\n"]).answer.unwrap_err();
        assert_eq!(why, "this is not MySQL: it said \"SSH-2.0-x\"");
    }
}
