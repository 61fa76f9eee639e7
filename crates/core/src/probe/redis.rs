//! `redis`: the version and role of a Redis or Valkey server.
//!
//! Source: the Redis protocol specification (RESP2: simple strings, errors, bulk strings; inline commands) and the page of
//! the command INFO, both on redis.io.
//! Leaves out on purpose: logging in, and every other command.

use super::{Event, Home, Protocol, Request, Session, Step, Via};
use crate::answer::{Answer, Fields};
use crate::wire::line::line;
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "redis",
    aliases: &["valkey"],
    title: "Redis: its version and mode, or that it wants a password",
    doc: DOC,
    via: &[Via::Tcp, Via::Tls],
    homes: &[Home::new(Via::Tcp, 6379, "redis"), Home::new(Via::Tls, 6380, "")],
    settings: &[],
    start,
};

const DOC: &str = "\
Asks a Redis (or Valkey, KeyDB, Dragonfly) server about itself: INFO server. One that wants a password first, or
that answers no strangers (protected mode), says so; that is an answer too. One that answers everybody should only
be reachable by those whom that is meant for.

Fields: of the server's own, redis_version, valkey_version, server_name, redis_mode, os, arch_bits, tcp_port,
uptime_in_seconds, executable, config_file; or error, what it said instead.
";

/// What is kept of what a server tells.
const KEPT: [&str; 10] = [
    "redis_version",
    "valkey_version",
    "server_name",
    "redis_mode",
    "os",
    "arch_bits",
    "tcp_port",
    "uptime_in_seconds",
    "executable",
    "config_file",
];

struct Redis;

fn start(_: &Request) -> Box<dyn Session> {
    Box::new(Redis)
}

fn read(data: &[u8]) -> Result<Step, DecodeError> {
    let mut reader = Reader::new(data);
    if let Some(other) = reader.peek().filter(|first| !matches!(first, b'$' | b'-')) {
        return Err(Reader::error_at(0, "type", Problem::Value(other.into())));
    }
    let head = line(&mut reader, "type")?;
    let answer = |summary: &str, fields| Ok(Step::Done(Answer::new(PROTOCOL.id, summary, fields)));
    if let Some(error) = head.strip_prefix(b"-") {
        let said = String::from_utf8_lossy(error).into_owned();
        let summary = match said.split(' ').next() {
            Some("NOAUTH") => "Redis, wants a password (NOAUTH)".to_owned(),
            Some("DENIED") => "Redis in protected mode: it answers no strangers (DENIED)".to_owned(),
            _ => format!("Redis, answers with an error: {said}"),
        };
        return answer(&summary, Fields::new().with("error", said));
    }
    let length = head.get(1..).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<usize>().ok());
    let length = length.ok_or(Reader::error_at(1, "bulk length", Problem::Value(0)))?;
    let info = reader.take(length, "bulk string")?;
    let mut fields = Fields::new();
    for (name, value) in info.split(|&byte| byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        Some((line.get(..colon)?, line.get(colon + 1..)?.trim_ascii()))
    }) {
        let Some(name) = KEPT.into_iter().find(|kept| kept.as_bytes() == name && !value.is_empty()) else {
            continue;
        };
        match std::str::from_utf8(value).ok().and_then(|value| value.parse::<i64>().ok()) {
            Some(number) => fields.push(name, number),
            None => fields.push(name, value),
        }
    }
    let summary = match (fields.text("valkey_version"), fields.text("redis_version")) {
        (Some(version), _) => format!("Valkey {version}"),
        (_, Some(version)) => format!("Redis {version}"),
        _ => "Redis".to_owned(),
    };
    answer(&summary, fields)
}

impl Session for Redis {
    fn hello(&mut self) -> Step {
        Step::Send(b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n".to_vec())
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } => Step::of_line(read(data), "Redis", data),
            Event::Closed { .. } | Event::Silence { .. } => {
                Step::failed("it did not answer a question of Redis")
            }
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    /// Redis 7.0.15 of Debian 12, some lines left out.
    const INFO: &[u8] =
        b"$164\r\n# Server\r\nredis_version:7.0.15\r\nredis_git_sha1:00000000\r\nredis_mode:standalone\r\n\
        os:Linux 6.18.44-fc-v769 x86_64\r\narch_bits:64\r\ntcp_port:6379\r\nconfig_file:\r\nhz:10 \r\n\r\n";

    #[test]
    fn a_server_tells_its_version() {
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[INFO]);
        assert_eq!(answer.summary, "Redis 7.0.15");
        let json = r#"{"redis_version":"7.0.15","redis_mode":"standalone","os":"Linux 6.18.44-fc-v769 x86_64","arch_bits":64,"tcp_port":6379}"#;
        assert_eq!(serde_json::to_string(&answer.fields).unwrap(), json);
    }

    #[test]
    fn a_server_that_wants_a_password_is_a_server() {
        let told =
            |reply: &[u8]| play(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[reply]).answer.map(|a| a.summary);
        assert_eq!(
            told(b"-NOAUTH Authentication required.\r\n").unwrap(),
            "Redis, wants a password (NOAUTH)"
        );
        assert!(
            told(b"-DENIED Redis is running in protected mode\r\n").unwrap().contains("answers no strangers")
        );
        assert_eq!(told(b"HTTP/1.1 400 x\r\n").unwrap_err(), "this is not Redis: it said \"HTTP/1.1 400 x\"");
        assert!(told(b"$x\r\n").is_err());
    }
}
