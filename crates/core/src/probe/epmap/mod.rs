//! `epmap`: the MS-RPC endpoint mapper: which services of a machine wait at which ports and pipes.
//!
//! Source: C706 (DCE 1.1: RPC) chapter 12 (PDUs), appendix O (the mapper's interface: ept_lookup), chapter 14 (NDR);
//! MS-RPCE sections 2.2.1.1 (TCP), 2.2.1.2.5 (ept_lookup), 2.2.2. Names of fields are C706's.
//! Leaves out on purpose: authentication, and asking for one interface alone. The pages that the mapper hands out are
//! followed to the end by its entry handle; Samba's last page carries entries and the status "no more" at once.

mod datagram;
mod interfaces;
mod stream;
mod tower;

use super::{Event, Home, Protocol, Request, Session, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "epmap",
    aliases: &["rpc", "msrpc", "endpoint-mapper"],
    title: "the RPC endpoint mapper: every service with its port or pipe",
    doc: DOC,
    via: &[Via::Tcp, Via::Udp],
    homes: &[Home::new(Via::Tcp, 135, "epmap"), Home::new(Via::Udp, 135, "epmap")],
    settings: &[],
    start,
};

const DOC: &str = "\
Asks the endpoint mapper of a Windows machine (or of Samba) for everything in its list: RPC services get a new
port at each start, and clients ask here on port 135 which one it is. Where this port answers and the ports in
the list do not, a firewall lets the question through and not the conversation: the usual reason for `The RPC
server is unavailable`.

Over UDP the connectionless protocol is spoken, which Windows answered up to Server 2003; newer systems and
Samba stay silent there. That half was written after the specification, and never met a real server.

Fields: endpoints, each with uuid and version of the interface, name where it is a known one, annotation as the
server gives it, binding (ncacn_ip_tcp:192.0.2.1[49664]), protocol_sequence, network_address, endpoint and,
where that is a port, port; total_endpoints; complete, false where the conversation broke off before the end of
the list.
";

/// The most endpoints that are gathered, and the most pages: a domain controller has some hundreds.
const MOST_ENDPOINTS: usize = 4000;
const MOST_PAGES: usize = 600;
/// A page of a stream, and one that fits a datagram of 1,472 bytes.
const PAGE: u32 = 250;
const SMALL_PAGE: u32 = 7;
/// ept_s_not_registered: there are no more.
const NOT_REGISTERED: u32 = 0x16c9_a0d6;
/// The longest annotation (C706 appendix O: ept_max_annotation_size).
const LONGEST_ANNOTATION: usize = 64;

/// The endpoint mapper's interface (version 3.0) and NDR (version 2.0), fields with their low byte first.
const MAPPER: [u8; 16] = *b"\x08\x83\xaf\xe1\x1f\x5d\xc9\x11\x91\xa4\x08\x00\x2b\x14\xa0\xfa";
const NDR: [u8; 16] = *b"\x04\x5d\x88\x8a\xeb\x1c\xc9\x11\x9f\xe8\x08\x00\x2b\x10\x48\x60";
const EPT_LOOKUP: u16 = 2;

fn start(request: &Request) -> Box<dyn Session> {
    let line = match request.via {
        Via::Udp => Line::Datagram(datagram::Datagram::new(request.random("activity"))),
        _ => Line::Stream(stream::Stream::default()),
    };
    Box::new(Epmap { line, handle: [0; 20], endpoints: Vec::new(), pages: 0 })
}

enum Line {
    Stream(stream::Stream),
    Datagram(datagram::Datagram),
}

/// What came of a call.
enum Heard {
    /// The call's output, whole.
    Output(Vec<u8>),
    /// This is to be sent before more comes.
    Reply(Vec<u8>),
    /// The server agreed to the interface: the call may be made.
    Bound,
    /// Nothing yet.
    Nothing,
    /// The server refuses: why.
    Refused(String),
}

struct Epmap {
    line: Line,
    /// entry_handle: where the next page begins.
    handle: [u8; 20],
    endpoints: Vec<Fields>,
    pages: usize,
}

impl Session for Epmap {
    fn hello(&mut self) -> Step {
        match &self.line {
            Line::Stream(_) => Step::Send(stream::bind()),
            Line::Datagram(_) => self.ask(),
        }
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        let heard = match (&mut self.line, event) {
            (Line::Stream(stream), Event::Bytes { data, .. }) => match stream.hear(data) {
                Err(DecodeError { problem: Problem::Truncated, .. }) => Ok(Heard::Nothing),
                heard => heard,
            },
            (Line::Datagram(datagram), Event::Bytes { data, .. }) => {
                // What cannot be read may come from anybody.
                Ok(datagram.hear(data).unwrap_or(Heard::Nothing))
            }
            (_, Event::Closed { .. }) => return self.broken("it closed the connection without an answer"),
            (_, Event::Silence { .. }) => return self.broken("it did not answer"),
            (_, Event::NoLine { reason }) => return Step::failed(reason),
        };
        match heard {
            Ok(Heard::Output(output)) => match self.page(&output) {
                Ok(step) => step,
                Err(error) => self.broken(&error.to_string()),
            },
            Ok(Heard::Reply(bytes)) => Step::Send(bytes),
            Ok(Heard::Bound) => self.ask(),
            Ok(Heard::Nothing) => Step::More,
            Ok(Heard::Refused(why)) => self.broken(&why),
            Err(error) => self.broken(&error.to_string()),
        }
    }
}

impl Epmap {
    /// ept_lookup: everything (inquiry_type 0, no object, no interface, vers_option 1), from the handle on.
    fn ask(&mut self) -> Step {
        let numbers =
            |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
        let page = if matches!(self.line, Line::Stream(_)) { PAGE } else { SMALL_PAGE };
        let input = [numbers(&[0, 0, 0, 1]), self.handle.to_vec(), numbers(&[page])].concat();
        Step::Send(match &mut self.line {
            Line::Stream(stream) => stream.call(&input),
            Line::Datagram(datagram) => datagram.call(&input),
        })
    }

    fn page(&mut self, output: &[u8]) -> Result<Step, DecodeError> {
        self.pages += 1;
        let before = self.endpoints.len();
        let status = self.read(output)?;
        let is_over = status == NOT_REGISTERED || self.handle == [0; 20];
        let is_useless = self.endpoints.len() == before;
        if is_over || status != 0 {
            return Ok(self.done(is_over));
        }
        if is_useless || self.pages >= MOST_PAGES || self.endpoints.len() >= MOST_ENDPOINTS {
            return Ok(self.done(false));
        }
        Ok(self.ask())
    }

    /// The output of ept_lookup; its status is returned.
    fn read(&mut self, output: &[u8]) -> Result<u32, DecodeError> {
        let mut reader = Reader::new(output);
        self.handle = reader.array("entry_handle")?;
        let count = reader.u32_le("num_ents")?;
        reader.take(8, "max_count and offset of entries")?;
        let actual = reader.u32_le("actual_count of entries")?;
        if actual != count {
            return Err(Reader::error_at(
                reader.offset() - 4,
                "actual_count of entries",
                Problem::Value(actual.into()),
            ));
        }
        // Each entry takes bytes of the message, so that a count that is a lie ends the loop by itself.
        let mut entries = Vec::new();
        for _ in 0..count {
            reader.take(16, "object")?;
            let has_tower = reader.u32_le("tower")? != 0;
            reader.u32_le("offset of annotation")?;
            let length = reader.u32_le("actual_count of annotation")? as usize;
            if length > LONGEST_ANNOTATION {
                let place = reader.offset() - 4;
                return Err(Reader::error_at(
                    place,
                    "actual_count of annotation",
                    Problem::Value(length as u64),
                ));
            }
            let text = reader.take(length, "annotation")?;
            align(&mut reader);
            entries.push((has_tower, text.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()));
        }
        for (has_tower, annotation) in entries {
            if !has_tower {
                continue;
            }
            reader.u32_le("max_count of tower_octet_string")?;
            let length = reader.u32_le("tower_length")?;
            let tower = reader.part(length as usize, "tower_octet_string")?;
            align(&mut reader);
            if self.endpoints.len() < MOST_ENDPOINTS {
                self.endpoints.push(endpoint(tower, &annotation)?);
            }
        }
        reader.u32_le("status")
    }

    fn broken(&mut self, why: &str) -> Step {
        if self.endpoints.is_empty() { Step::failed(why) } else { self.done(false) }
    }

    fn done(&mut self, is_complete: bool) -> Step {
        let endpoints = std::mem::take(&mut self.endpoints);
        let total = i64::try_from(endpoints.len()).unwrap_or(i64::MAX);
        let least = if is_complete { "" } else { "at least " };
        let summary = format!("{least}{total} endpoints");
        let fields = Fields::new()
            .with("total_endpoints", total)
            .with("complete", is_complete)
            .with("endpoints", Value::list(endpoints));
        Step::Done(Answer::new(PROTOCOL.id, summary, fields))
    }
}

/// NDR puts numbers of four bytes at multiples of four.
fn align(reader: &mut Reader<'_>) {
    reader.skip_padding(reader.offset().next_multiple_of(4) - reader.offset());
}

fn endpoint(tower: Reader<'_>, annotation: &[u8]) -> Result<Fields, DecodeError> {
    let tower = tower::read(tower)?;
    let name = interfaces::name(&tower.uuid);
    let binding = tower.binding();
    let port = tower.port();
    Ok(Fields::new()
        .with("uuid", tower.uuid)
        .with("version", tower.version)
        .with_some("name", name)
        .with_some("annotation", (!annotation.is_empty()).then_some(annotation))
        .with("binding", binding)
        .with("protocol_sequence", tower.protocol_sequence)
        .with_some("network_address", (!tower.network_address.is_empty()).then_some(tower.network_address))
        .with_some("endpoint", (!tower.endpoint.is_empty()).then_some(tower.endpoint))
        .with_some("port", port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    /// Samba 4.17's domain controller: the answer to the bind; a page of four; the end. The pages between are left out.
    const BIND_ACK: &[u8] = include_bytes!("../../../tests/recordings/probe/epmap-bind-ack.bin");
    const ENTRIES: &[u8] = include_bytes!("../../../tests/recordings/probe/epmap-page.bin");
    const END: &[u8] = include_bytes!("../../../tests/recordings/probe/epmap-end.bin");

    #[test]
    fn every_page_is_asked_for_and_every_endpoint_shown() {
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[BIND_ACK, ENTRIES, END]);
        assert_eq!(answer.summary, "4 endpoints");
        let json = serde_json::to_value(&answer.fields).unwrap();
        assert_eq!(json["complete"], true);
        assert_eq!(
            json["endpoints"][0],
            serde_json::json!({
                "uuid": "50abc2a4-574d-40b3-9d66-ee4fd5fba076",
                "version": "5.0",
                "name": "MS-DNSP DNS server management",
                "annotation": "dnsserver",
                "binding": r"ncacn_np:[\pipe\dnsserver]",
                "protocol_sequence": "ncacn_np",
                "endpoint": r"\pipe\dnsserver",
            })
        );
    }

    #[test]
    fn a_list_that_breaks_off_is_not_called_complete() {
        let request = request(&PROTOCOL, Via::Tcp);
        let answer = play(&PROTOCOL, &request, &[BIND_ACK, ENTRIES]).answer.unwrap();
        assert_eq!(answer.summary, "at least 4 endpoints");
        let refused = play(&PROTOCOL, &request, &[b"\x05\0\x0d\x03\x10\0\0\0\x12\0\0\0\0\0\0\0\x04\0"]);
        assert_eq!(refused.answer.unwrap_err(), "it refuses to speak RPC with us (reason 4)");
        let other = play(&PROTOCOL, &request, &[b"HTTP/1.1 400 Bad Request\r\n\r\n"]).answer.unwrap_err();
        assert_eq!(other, "rpc_vers (offset 0) is 72, which means nothing");
    }

    /// The output of a recorded answer as a server of connectionless calls would send it (C706 section 12.5).
    fn datagram(call: u32, flags: u8, fragment: u16, output: &[u8]) -> Vec<u8> {
        let activity: [u8; 16] = request(&PROTOCOL, Via::Udp).random("activity");
        let length = (output.len() as u16).to_le_bytes();
        let head =
            [&[4, 2, flags, 0, 0x10, 0, 0, 0][..], &[0; 16], &MAPPER, &activity, &[0; 4], &[3, 0, 0, 0]]
                .concat();
        let tail = [
            &call.to_le_bytes()[..],
            &[2, 0, 0xff, 0xff, 0xff, 0xff],
            &length,
            &fragment.to_le_bytes(),
            &[0, 0],
        ];
        [head, tail.concat(), output.to_vec()].concat()
    }

    #[test]
    fn over_udp_fragments_come_in_any_order() {
        let request = request(&PROTOCOL, Via::Udp);
        let (page, end) = (&ENTRIES[24..], &END[24..]);
        let (first, last) = page.split_at(300);
        let replies = [datagram(1, 0x0e, 1, last), datagram(1, 0x04, 0, first), datagram(2, 0x08, 0, end)];
        let replies: Vec<&[u8]> = replies.iter().map(Vec::as_slice).collect();
        let answer = survives(&PROTOCOL, &request, &replies);
        assert_eq!(answer.summary, "4 endpoints");
        let acknowledged =
            [datagram(1, 0x04, 0, first), datagram(1, 0x0e, 1, last), datagram(2, 0x08, 0, end)];
        let replies: Vec<&[u8]> = acknowledged.iter().map(Vec::as_slice).collect();
        let sent = play(&PROTOCOL, &request, &replies).sent;
        assert_eq!(sent.iter().map(|pdu| pdu[1]).collect::<Vec<u8>>(), [0, 9, 0], "request, fack, request");
    }

    #[test]
    fn a_tower_names_the_port() {
        // The tower of ncacn_ip_tcp:192.0.2.1[49664], as C706 appendix L lays it out.
        let floors: [(&[u8], &[u8]); 5] = [
            (&[&[0x0d][..], &MAPPER, &[3, 0]].concat(), &[0, 0]),
            (&[&[0x0d][..], &NDR, &[2, 0]].concat(), &[0, 0]),
            (&[0x0b], &[0, 0]),
            (&[0x07], &[0xc2, 0]),
            (&[0x09], &[192, 0, 2, 1]),
        ];
        let side = |bytes: &[u8]| [&(bytes.len() as u16).to_le_bytes()[..], bytes].concat();
        let floors: Vec<u8> =
            floors.iter().flat_map(|(left, right)| [side(left), side(right)].concat()).collect();
        let fields = endpoint(Reader::new(&[&[5, 0][..], &floors].concat()), b"").unwrap();
        let json = r#"{"uuid":"e1af8308-5d1f-11c9-91a4-08002b14a0fa","version":"3.0","name":"C706 endpoint mapper","binding":"ncacn_ip_tcp:192.0.2.1[49664]","protocol_sequence":"ncacn_ip_tcp","network_address":"192.0.2.1","endpoint":"49664","port":49664}"#;
        assert_eq!(serde_json::to_string(&fields).unwrap(), json);
    }
}
