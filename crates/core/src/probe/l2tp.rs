//! `l2tp`: whether a tunnel could be begun, and with what.
//!
//! Source: RFC 2661 sections 3.1 (header), 4.4 (AVPs), 6.1, 6.2, 6.4 (SCCRQ, SCCRP, StopCCN). Names of fields are the
//! RFC's.
//! Leaves out on purpose: opening the tunnel: it is closed again as soon as the server agrees. L2TP inside of IPsec
//! cannot be seen without IPsec.

use super::{Event, Home, Protocol, Request, Session, Step, Via};
use crate::answer::{Answer, Fields};
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "l2tp",
    aliases: &["l2f"],
    title: "a tunnel server: whether it would begin a tunnel; its name and maker",
    doc: DOC,
    via: &[Via::Udp],
    homes: &[Home::new(Via::Udp, 1701, "l2tp"), Home::new(Via::Udp, 1701, "l2f")],
    settings: &[],
    start,
};

const DOC: &str = "\
Asks a tunnel server to begin a control connection, as a client does that wants to dial in, and closes it as
soon as the server agrees. Most servers take L2TP only inside of IPsec, and say nothing to a question without
it: then ask for ike on UDP 500.

Fields: message_type (SCCRP: it agrees; StopCCN: it refuses); host_name, vendor_name and firmware_revision,
where it tells them; protocol_version; framing_capabilities; receive_window_size; result_code and error_message
of a refusal.
";

/// Type, length and sequence numbers are there; version 2.
const FLAGS: u16 = 0xc802;
const SCCRQ: u16 = 1;
const SCCRP: u16 = 2;
const STOP_CCN: u16 = 4;
const MANDATORY: u16 = 0x8000;
const MESSAGE_TYPE: u16 = 0;
const RESULT_CODE: u16 = 1;
const PROTOCOL_VERSION: u16 = 2;
const FRAMING_CAPABILITIES: u16 = 3;
const FIRMWARE_REVISION: u16 = 6;
const HOST_NAME: u16 = 7;
const VENDOR_NAME: u16 = 8;
const ASSIGNED_TUNNEL_ID: u16 = 9;
const RECEIVE_WINDOW_SIZE: u16 = 10;

struct L2tp {
    /// Our end of the tunnel.
    tunnel: u16,
    answer: Option<Answer>,
}

fn start(request: &Request) -> Box<dyn Session> {
    let tunnel = u16::from_be_bytes(request.random("Assigned Tunnel ID")).max(1);
    Box::new(L2tp { tunnel, answer: None })
}

impl Session for L2tp {
    fn hello(&mut self) -> Step {
        let capabilities = 3_u32.to_be_bytes();
        Step::Send(message(
            [0, 0, 0],
            &[
                (MESSAGE_TYPE, &SCCRQ.to_be_bytes()),
                (PROTOCOL_VERSION, &[1, 0]),
                (FRAMING_CAPABILITIES, &capabilities),
                (HOST_NAME, b"portolan"),
                (ASSIGNED_TUNNEL_ID, &self.tunnel.to_be_bytes()),
                (RECEIVE_WINDOW_SIZE, &4_u16.to_be_bytes()),
            ],
        ))
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match (event, self.answer.take()) {
            // The tunnel is closed: whatever comes now, or nothing, is the end.
            (_, Some(answer)) => Step::Done(answer),
            (Event::Bytes { data, .. }, None) => self.read(data).unwrap_or(Step::More),
            (Event::Closed { .. } | Event::Silence { .. }, None) => Step::failed("it did not answer"),
            (Event::NoLine { reason }, None) => Step::failed(reason),
        }
    }
}

/// A control message: to that tunnel, with these numbers (Ns, Nr).
fn message(to: [u16; 3], avps: &[(u16, &[u8])]) -> Vec<u8> {
    let avp = |&(kind, value): &(u16, &[u8])| {
        let head = [MANDATORY | (6 + value.len()) as u16, 0, kind].map(u16::to_be_bytes).concat();
        [&head, value].concat()
    };
    let avps: Vec<u8> = avps.iter().flat_map(avp).collect();
    let [tunnel, sent, received] = to;
    let head = [FLAGS, 12 + avps.len() as u16, tunnel, 0, sent, received];
    [head.map(u16::to_be_bytes).concat(), avps].concat()
}

impl L2tp {
    fn read(&mut self, data: &[u8]) -> Result<Step, DecodeError> {
        let mut reader = Reader::new(data);
        let flags = reader.u16_be("T to Ver")?;
        if flags & 0xc80f != FLAGS {
            return Err(Reader::error_at(0, "T to Ver", Problem::Value(flags.into())));
        }
        let length = reader.u16_be("Length")?;
        let tunnel = reader.u16_be("Tunnel ID")?;
        reader.take(6, "Session ID, Ns and Nr")?;
        let rest = usize::from(length).saturating_sub(reader.offset());
        let mut avps = reader.part(rest, "AVPs")?;
        // A message without a body acknowledges; one to another tunnel is not ours.
        if tunnel != self.tunnel || avps.is_empty() {
            return Ok(Step::More);
        }
        let (mut kind, mut theirs, mut fields) = (0, 0, Fields::new());
        while !avps.is_empty() {
            let start = avps.offset();
            let head = avps.u16_be("M, H and Length")?;
            let length = usize::from(head & 0x3ff).checked_sub(2);
            let length = length.ok_or(Reader::error_at(start, "Length", Problem::Value(head.into())))?;
            let mut avp = avps.part(length, "AVP")?;
            let (vendor, attribute) = (avp.u16_be("Vendor ID")?, avp.u16_be("Attribute Type")?);
            // A hidden value (H) needs the tunnel's secret.
            if vendor != 0 || head & 0x4000 != 0 {
                continue;
            }
            match attribute {
                MESSAGE_TYPE => {
                    kind = avp.u16_be("Message Type")?;
                    let name = if kind == SCCRP { "SCCRP" } else { "StopCCN" };
                    fields.push("message_type", name);
                }
                ASSIGNED_TUNNEL_ID => theirs = avp.u16_be("Assigned Tunnel ID")?,
                _ => value(attribute, avp, &mut fields)?,
            }
        }
        let name = fields.text("host_name").unwrap_or("a tunnel server").to_owned();
        match kind {
            SCCRP => {
                let maker =
                    fields.text("vendor_name").map_or_else(String::new, |maker| format!(" ({maker})"));
                self.answer = Some(Answer::new(PROTOCOL.id, format!("{name}{maker}"), fields));
                // Result 1: a general request to clear the control connection.
                let (stop, own) = (STOP_CCN.to_be_bytes(), self.tunnel.to_be_bytes());
                let avps: [(u16, &[u8]); 3] =
                    [(MESSAGE_TYPE, &stop), (ASSIGNED_TUNNEL_ID, &own), (RESULT_CODE, &[0, 1])];
                Ok(Step::Send(message([theirs, 1, 1], &avps)))
            }
            STOP_CCN => Ok(Step::Done(Answer::new(PROTOCOL.id, format!("{name}, which refuses"), fields))),
            _ => Ok(Step::More),
        }
    }
}

/// An AVP that says something about the server.
fn value(attribute: u16, mut avp: Reader<'_>, fields: &mut Fields) -> Result<(), DecodeError> {
    match attribute {
        RESULT_CODE => {
            fields.push("result_code", avp.u16_be("Result Code")?);
            // An error code and a message may follow.
            if !avp.is_empty() {
                fields.push("error_code", avp.u16_be("Error Code")?);
            }
            if !avp.is_empty() {
                fields.push("error_message", avp.rest());
            }
        }
        PROTOCOL_VERSION => {
            let [version, revision] = avp.array("Protocol Version")?;
            fields.push("protocol_version", format!("{version}.{revision}"));
        }
        FRAMING_CAPABILITIES => {
            let bits = avp.u32_be("Framing Capabilities")?;
            let name = ["none", "synchronous", "asynchronous", "both"][bits as usize & 3];
            fields.push("framing_capabilities", name);
        }
        FIRMWARE_REVISION => fields.push("firmware_revision", avp.u16_be("Firmware Revision")?),
        HOST_NAME => fields.push("host_name", avp.rest()),
        VENDOR_NAME => fields.push("vendor_name", avp.rest()),
        RECEIVE_WINDOW_SIZE => fields.push("receive_window_size", avp.u16_be("Receive Window Size")?),
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    #[test]
    fn a_server_agrees_and_the_tunnel_is_closed_again() {
        let request = request(&PROTOCOL, Via::Udp);
        let reply = include_bytes!("../../tests/recordings/probe/l2tp-xl2tpd.bin");
        let answer = survives(&PROTOCOL, &request, &[reply]);
        assert_eq!(answer.summary, "vm (xelerance.com)");
        let json = r#"{"message_type":"SCCRP","protocol_version":"1.0","framing_capabilities":"both","firmware_revision":1680,"host_name":"vm","vendor_name":"xelerance.com","receive_window_size":4}"#;
        assert_eq!(serde_json::to_string(&answer.fields).unwrap(), json);
        let sent = play(&PROTOCOL, &request, &[reply]).sent;
        assert_eq!(sent.len(), 2);
        assert_eq!(&sent[1][12..20], b"\x80\x08\0\0\0\0\0\x04", "StopCCN");
    }

    #[test]
    fn a_refusal_is_told_with_its_reason() {
        let request = request(&PROTOCOL, Via::Udp);
        let tunnel = u16::from_be_bytes(request.random("Assigned Tunnel ID"));
        let stop = message(
            [tunnel, 0, 1],
            &[
                (MESSAGE_TYPE, &[0, 4]),
                (RESULT_CODE, b"\0\x02\0\x04no more tunnels"),
                (ASSIGNED_TUNNEL_ID, &[0, 9]),
            ],
        );
        let answer = survives(&PROTOCOL, &request, &[&stop]);
        assert_eq!(answer.summary, "a tunnel server, which refuses");
        assert_eq!(answer.fields.text("error_message"), Some("no more tunnels"));
        let other = message([tunnel ^ 1, 0, 1], &[(MESSAGE_TYPE, &[0, 4])]);
        assert_eq!(play(&PROTOCOL, &request, &[&other]).answer.unwrap_err(), "it did not answer");
    }
}
