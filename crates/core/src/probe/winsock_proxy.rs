//! `winsock-proxy`: the control channel of Microsoft's Proxy Server, ISA Server and TMG for their firewall clients.
//!
//! Source: Microsoft never published this protocol (RWSP). What is known of it stands in Wireshark's description of it
//! (epan/dissectors/packet-msproxy.c: header, commands, greeting, its acknowledgement), found by watching clients; Dante's
//! authors found the same.
//! Leaves out on purpose: the request for the client configuration, which nobody has described; a configuration that a
//! server sends by itself is shown. There was no server to try this with: the tests follow that description.

use std::net::Ipv4Addr;

use super::{Event, Home, Protocol, Request, Session, Step, Via};
use crate::answer::{Answer, Fields};
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "winsock-proxy",
    aliases: &["isa", "msproxy", "rwsp"],
    title: "the firewall client's channel of ISA Server and TMG",
    doc: DOC,
    via: &[Via::Udp, Via::Tcp],
    homes: &[
        Home::new(Via::Udp, 1745, "remote-winsock"),
        Home::new(Via::Tcp, 1745, "remote-winsock"),
        Home::new(Via::Udp, 1745, "isa"),
        Home::new(Via::Tcp, 1745, "isa"),
    ],
    settings: &[],
    start,
};

const DOC: &str = "\
Greets the control channel of Microsoft Proxy Server, ISA Server or Forefront TMG as a firewall
client does, and shows the acknowledgement. Microsoft never published the protocol, and the request
with which PortQry gets the client configuration is described nowhere: the configuration is shown
only where a server sends it by itself. This was written after descriptions of the protocol, and
never met a real server.

Fields: command (its number in hexadecimal digits, and its name where it is known); version;
server_address and server_port, to which the client goes on; configuration, where text came.
";

const SIGNATURE: &[u8] = b"RWSP";
/// 1.2, as clients send it.
const VERSION: u32 = 0x0001_0200;
const HELLO: u16 = 0x0500;
const HELLO_ACKNOWLEDGE: u16 = 0x1000;
/// Where the names of user, program and computer begin: after the header, the command and 182 bytes.
const NAMES: usize = 220;
const COMMAND: usize = 36;
/// A configuration's text begins with the first of its sections.
const SECTION: u8 = b'[';

struct WinsockProxy {
    via: Via,
    client_id: [u8; 4],
}

fn start(request: &Request) -> Box<dyn Session> {
    Box::new(WinsockProxy { via: request.via, client_id: request.random("Client Id") })
}

impl Session for WinsockProxy {
    fn hello(&mut self) -> Step {
        let mut message = [&self.client_id[..], &VERSION.to_le_bytes()].concat();
        message.resize(24, 0);
        message.extend(SIGNATURE);
        message.resize(COMMAND, 0);
        message.extend(HELLO.to_be_bytes());
        message.resize(NAMES, 0);
        message.extend(b"portolan\0\0portolan\0portolan\0");
        Step::Send(message)
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            // A datagram that cannot be read may come from anybody.
            Event::Bytes { data, .. } if self.via == Via::Udp => self.read(data).unwrap_or(Step::More),
            Event::Bytes { data, .. } => Step::of_stream(self.read(data)),
            Event::Closed { .. } => Step::failed("it closed the connection without an answer"),
            Event::Silence { .. } => Step::failed("it did not answer"),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

impl WinsockProxy {
    fn read(&self, data: &[u8]) -> Result<Step, DecodeError> {
        let mut reader = Reader::new(data);
        if reader.peek() == Some(SECTION) {
            let fields = Fields::new().with("configuration", reader.rest());
            return Ok(Step::Done(Answer::new(
                PROTOCOL.id,
                "a Winsock proxy's client configuration",
                fields,
            )));
        }
        let client: [u8; 4] = reader.array("Client Id")?;
        let version = reader.u32_le("Version")?;
        reader.take(16, "Server id to Sequence Number")?;
        let signature = reader.take(SIGNATURE.len(), "RWSP signature")?;
        if signature != SIGNATURE {
            return Err(Reader::error_at(24, "RWSP signature", Problem::Value(signature[0].into())));
        }
        reader.take(8, "header")?;
        let command = reader.u16_be("Command")?;
        if client != self.client_id {
            return Ok(Step::More);
        }
        let fields = Fields::new().with("version", format!("{version:#010x}"));
        if command != HELLO_ACKNOWLEDGE {
            let fields = fields.with("command", format!("{command:#06x}"));
            return Ok(Step::Done(Answer::new(PROTOCOL.id, "a Winsock proxy", fields)));
        }
        reader.take(60, "Hello Acknowledge")?;
        let (port, address) =
            (reader.u16_be("Server Port")?, Ipv4Addr::from(reader.array::<4>("Server Address")?));
        let fields = fields
            .with("command", format!("{command:#06x} Hello Acknowledge"))
            .with("server_address", address.to_string())
            .with("server_port", port);
        Ok(Step::Done(Answer::new(PROTOCOL.id, format!("a Winsock proxy, on {address}:{port}"), fields)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    /// An acknowledgement as Wireshark's description lays it out.
    fn acknowledgement(request: &Request) -> Vec<u8> {
        let client: [u8; 4] = request.random("Client Id");
        let mut message = [&client[..], &VERSION.to_le_bytes(), &[9, 0, 0, 0, 1]].concat();
        message.resize(24, 0);
        message.extend(SIGNATURE);
        message.resize(COMMAND, 0);
        message.extend(HELLO_ACKNOWLEDGE.to_be_bytes());
        message.resize(98, 0);
        message.extend(b"\x06\xd1\xc0\0\x02\x01");
        message
    }

    #[test]
    fn an_acknowledgement_names_where_the_client_goes_on() {
        for via in [Via::Udp, Via::Tcp] {
            let request = request(&PROTOCOL, via);
            let answer = survives(&PROTOCOL, &request, &[&acknowledgement(&request)]);
            assert_eq!(answer.summary, "a Winsock proxy, on 192.0.2.1:1745");
            assert_eq!(answer.fields.text("command"), Some("0x1000 Hello Acknowledge"));
        }
    }

    #[test]
    fn a_configuration_is_shown_as_text_and_others_are_passed_over() {
        let request = request(&PROTOCOL, Via::Udp);
        let text = b"[Common]\r\nPort=1745\r\n[Servers Ip Addresses]\r\nName=isa1\r\n";
        let answer = play(&PROTOCOL, &request, &[text]).answer.unwrap();
        assert_eq!(
            answer.fields.text("configuration"),
            Some("[Common]\nPort=1745\n[Servers Ip Addresses]\nName=isa1")
        );
        let mut other = acknowledgement(&request);
        other[0] ^= 1;
        assert_eq!(play(&PROTOCOL, &request, &[&other]).answer.unwrap_err(), "it did not answer");
        let sent = play(&PROTOCOL, &request, &[]).sent.concat();
        assert_eq!(
            (&sent[24..28], &sent[36..38], &sent[220..229]),
            (SIGNATURE, &[5, 0][..], &b"portolan\0"[..])
        );
    }
}
