//! `rdp`: a remote desktop server: how it wants to be spoken to, and its certificate.
//!
//! Source: MS-RDPBCGR sections 2.2.1.1 (connection request), 2.2.1.2 (confirm), 5.4.5 (enhanced security); RFC 1006
//! section 6 (TPKT); X.224 section 13. Names of fields are MS-RDPBCGR's.
//! Leaves out on purpose: logging in; RDP over UDP, which begins with a TCP connection all the same.

use super::{Event, Home, Protocol, Request, Security, Session, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "rdp",
    aliases: &["ms-wbt-server", "remote-desktop"],
    title: "a remote desktop: its security protocol, and its certificate",
    doc: DOC,
    via: &[Via::Tcp],
    homes: &[Home::new(Via::Tcp, 3389, "ms-wbt-server")],
    settings: &[],
    start,
};

const DOC: &str = "\
Asks a remote desktop server for a connection and offers every way to secure it: RDP's own, TLS, and CredSSP
(network level authentication, NLA). Where the server chooses TLS or CredSSP, both begin with a TLS handshake,
which is made: the answer has the server's certificate too. Nobody is logged in.

Fields: selected_protocol (PROTOCOL_RDP, PROTOCOL_SSL, PROTOCOL_HYBRID, PROTOCOL_HYBRID_EX, PROTOCOL_RDSTLS,
PROTOCOL_RDSAAD), or failure_code where the server refuses; network_level_authentication, whether it wants the
user's name before it shows anything; flags.
";

const PROTOCOLS: [(u32, &str); 6] = [
    (0, "PROTOCOL_RDP"),
    (1, "PROTOCOL_SSL"),
    (2, "PROTOCOL_HYBRID"),
    (4, "PROTOCOL_RDSTLS"),
    (8, "PROTOCOL_HYBRID_EX"),
    (16, "PROTOCOL_RDSAAD"),
];
const FAILURES: [(u32, &str); 6] = [
    (1, "SSL_REQUIRED_BY_SERVER"),
    (2, "SSL_NOT_ALLOWED_BY_SERVER"),
    (3, "SSL_CERT_NOT_ON_SERVER"),
    (4, "INCONSISTENT_FLAGS"),
    (5, "HYBRID_REQUIRED_BY_SERVER"),
    (6, "SSL_WITH_USER_AUTH_REQUIRED_BY_SERVER"),
];
const FLAGS: [(u8, &str); 4] = [
    (0x01, "EXTENDED_CLIENT_DATA_SUPPORTED"),
    (0x02, "DYNVC_GFX_PROTOCOL_SUPPORTED"),
    (0x08, "RESTRICTED_ADMIN_MODE_SUPPORTED"),
    (0x10, "REDIRECTED_AUTHENTICATION_MODE_SUPPORTED"),
];
/// SSL, HYBRID and HYBRID_EX: what is worth asking without being a member of anything.
const OFFERED: u8 = 0x0b;
const HYBRID: [u32; 2] = [2, 8];
const CONNECTION_CONFIRM: u8 = 0xd0;
const NEG_RSP: u8 = 2;
const NEG_FAILURE: u8 = 3;

struct Rdp {
    /// What it told, while TLS is being begun.
    told: Option<Answer>,
}

fn start(_: &Request) -> Box<dyn Session> {
    Box::new(Rdp { told: None })
}

impl Session for Rdp {
    fn hello(&mut self) -> Step {
        // TPKT (version 3, 19 bytes), X.224 connection request, RDP_NEG_REQ.
        let tpkt = [3, 0, 0, 19];
        let request = [14, 0xe0, 0, 0, 0, 0, 0];
        Step::Send([&tpkt[..], &request, &[1, 0, 8, 0, OFFERED, 0, 0, 0]].concat())
    }

    fn secured(&mut self, _: &Security) -> Step {
        self.told.take().map_or_else(|| Step::failed("it did not answer"), Step::Done)
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } => Step::of_stream(self.read(data)),
            // Whether TLS comes about does not change what was told.
            Event::Closed { .. } | Event::Silence { .. } => self.secured(&Security::default()),
            Event::NoLine { reason } => match self.told.take() {
                Some(told) => Step::Done(Answer { fields: told.fields.with("tls_failure", reason), ..told }),
                None => Step::failed(reason),
            },
        }
    }
}

impl Rdp {
    fn read(&mut self, data: &[u8]) -> Result<Step, DecodeError> {
        let mut reader = Reader::new(data);
        let version = reader.u8("TPKT version")?;
        if version != 3 {
            return Err(Reader::error_at(0, "TPKT version", Problem::Value(version.into())));
        }
        reader.u8("TPKT reserved")?;
        let length = usize::from(reader.u16_be("TPKT length")?);
        let rest =
            length.checked_sub(4).ok_or(Reader::error_at(2, "TPKT length", Problem::Value(length as u64)))?;
        let message = reader.part(rest, "TPKT packet")?;
        // What is cut inside of a whole packet will never be there.
        Ok(match confirm(message) {
            Ok(told) => {
                let is_encrypted = told.1;
                self.told = Some(told.0);
                if is_encrypted { Step::StartTls } else { self.secured(&Security::default()) }
            }
            Err(error) => Step::Failed(error.to_string()),
        })
    }
}

/// What a connection confirm tells, and whether TLS begins now.
fn confirm(mut message: Reader<'_>) -> Result<(Answer, bool), DecodeError> {
    message.u8("X.224 length indicator")?;
    let start = message.offset();
    let kind = message.u8("X.224 code")? & 0xf0;
    if kind != CONNECTION_CONFIRM {
        return Err(Reader::error_at(start, "X.224 code", Problem::Value(kind.into())));
    }
    message.take(5, "X.224 references and class")?;
    if message.is_empty() {
        // A server from before 2003, or one that is set so.
        let fields = Fields::new().with("selected_protocol", PROTOCOLS[0].1);
        return Ok((Answer::new(PROTOCOL.id, "a remote desktop with RDP's own security", fields), false));
    }
    let start = message.offset();
    let (kind, flags) = (message.u8("RDP_NEG_RSP type")?, message.u8("RDP_NEG_RSP flags")?);
    message.u16_le("RDP_NEG_RSP length")?;
    let value = message.u32_le("selectedProtocol or failureCode")?;
    let name = |known: &[(u32, &str)]| {
        let found = known.iter().find(|(code, _)| *code == value);
        found.map_or_else(|| value.to_string(), |(_, name)| (*name).to_owned())
    };
    match kind {
        NEG_RSP => {
            let set: Vec<&str> =
                FLAGS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect();
            let nla = HYBRID.contains(&value);
            let how = match value {
                0 => "RDP's own security",
                1 => "TLS",
                _ if nla => "network level authentication",
                _ => "TLS and a token",
            };
            let fields = Fields::new()
                .with("selected_protocol", name(&PROTOCOLS))
                .with("network_level_authentication", nla)
                .with("flags", Value::list(set));
            Ok((Answer::new(PROTOCOL.id, format!("a remote desktop with {how}"), fields), value != 0))
        }
        NEG_FAILURE => {
            let name = name(&FAILURES);
            let fields = Fields::new().with("failure_code", name.as_str());
            Ok((Answer::new(PROTOCOL.id, format!("a remote desktop, which refuses: {name}"), fields), false))
        }
        other => Err(Reader::error_at(start, "RDP_NEG_RSP type", Problem::Value(other.into()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    /// xrdp 0.9.21 of Debian 12.
    const XRDP: &[u8] = b"\x03\0\0\x13\x0e\xd0\0\0\x12\x34\0\x02\x01\x08\0\x01\0\0\0";

    #[test]
    fn the_chosen_security_is_told_once_tls_is_there_or_not() {
        let request = request(&PROTOCOL, Via::Tcp);
        let answer = survives(&PROTOCOL, &request, &[XRDP]);
        let json = r#"{"selected_protocol":"PROTOCOL_SSL","network_level_authentication":false,"flags":["EXTENDED_CLIENT_DATA_SUPPORTED"]}"#;
        assert_eq!(serde_json::to_string(&answer.fields).unwrap(), json);
        let mut session = start(&request);
        assert_eq!(
            session.on(Event::Bytes { from: ([192, 0, 2, 1], 3389).into(), data: XRDP }),
            Step::StartTls
        );
        let Step::Done(answer) = session.on(Event::NoLine { reason: "reset" }) else { panic!("an answer") };
        assert_eq!(answer.fields.text("tls_failure"), Some("reset"));
    }

    #[test]
    fn old_servers_and_refusals_are_answers() {
        let request = request(&PROTOCOL, Via::Tcp);
        let old = b"\x03\0\0\x0b\x06\xd0\0\0\x12\x34\0";
        assert_eq!(survives(&PROTOCOL, &request, &[old]).summary, "a remote desktop with RDP's own security");
        let mut refusal = XRDP.to_vec();
        refusal.splice(11.., *b"\x03\0\x08\0\x05\0\0\0");
        let answer = survives(&PROTOCOL, &request, &[&refusal]);
        assert_eq!(answer.summary, "a remote desktop, which refuses: HYBRID_REQUIRED_BY_SERVER");
        let other = play(&PROTOCOL, &request, &[b"SSH-2.0-x\r\n"]).answer.unwrap_err();
        assert_eq!(other, "TPKT version (offset 0) is 83, which means nothing");
    }
}
