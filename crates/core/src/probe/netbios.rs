//! `netbios`: a Windows machine's NetBIOS names, and its network card's address.
//!
//! Source: RFC 1002 sections 4.2.17, 4.2.18 (node status); Microsoft's list of suffixes (KB 163409). Names of fields
//! are the RFC's.
//! Leaves out on purpose: the statistics at the end, which Windows fills with zeros, and asking for a name.

use super::{Event, Home, Protocol, Request, Session, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::{DecodeError, Reader, name};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "netbios",
    aliases: &["nbstat", "netbios-ns"],
    title: "NetBIOS names (nbtstat -A): computer, domain, roles; the card's address",
    doc: DOC,
    via: &[Via::Udp],
    homes: &[Home::new(Via::Udp, 137, "netbios-ns")],
    settings: &[],
    start,
};

const DOC: &str = "\
Asks for a machine's node status, as `nbtstat -A` and `nmblookup -A` do: the names that it has registered with
NetBIOS, each with a number that says what for (00 a workstation or, of a group, the domain; 20 a file server;
1b the domain's master browser; 1c a domain controller), and the hardware address of its network card, which
Samba gives as zeros.

Fields: names, each with name, suffix (two hexadecimal digits), meaning, group and active, and conflict or
permanent where set; unit_id, the hardware address.
";

const NODE_STATUS: u16 = 0x21;
const IN: u16 = 1;
/// What a suffix means: of a unique name, of a group's.
const MEANINGS: [(u8, &str, &str); 16] = [
    (0x00, "workstation", "domain or workgroup"),
    (0x01, "messenger", "master browser"),
    (0x03, "messenger", "messenger"),
    (0x06, "remote access server", ""),
    (0x1b, "domain master browser", ""),
    (0x1c, "", "domain controllers"),
    (0x1d, "master browser", ""),
    (0x1e, "", "browser elections"),
    (0x1f, "NetDDE", ""),
    (0x20, "file server", "internet group"),
    (0x21, "remote access client", ""),
    (0x22, "Exchange interchange", ""),
    (0x23, "Exchange store", ""),
    (0x24, "Exchange directory", ""),
    (0xbe, "network monitor agent", ""),
    (0xbf, "network monitor", ""),
];

struct Netbios {
    id: u16,
}

fn start(request: &Request) -> Box<dyn Session> {
    Box::new(Netbios { id: u16::from_be_bytes(request.random("NAME_TRN_ID")) })
}

impl Session for Netbios {
    fn hello(&mut self) -> Step {
        let header = [self.id, 0, 1, 0, 0, 0].map(u16::to_be_bytes).concat();
        let question = [&[32], &name::netbios("*", 0)[..], &[0]].concat();
        Step::Send([header, question, [NODE_STATUS, IN].map(u16::to_be_bytes).concat()].concat())
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } => self.read(data).ok().flatten().map_or(Step::More, Step::Done),
            Event::Closed { .. } | Event::Silence { .. } => Step::failed("it did not answer"),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

impl Netbios {
    fn read(&self, data: &[u8]) -> Result<Option<Answer>, DecodeError> {
        let mut reader = Reader::new(data);
        let (id, flags) = (reader.u16_be("NAME_TRN_ID")?, reader.u16_be("OPCODE, NM_FLAGS and RCODE")?);
        if id != self.id || flags & 0x8000 == 0 {
            return Ok(None);
        }
        reader.take(8, "QDCOUNT to ARCOUNT")?;
        name::read(data, &mut reader, "RR_NAME")?;
        if reader.u16_be("RR_TYPE")? != NODE_STATUS {
            return Ok(None);
        }
        reader.take(6, "RR_CLASS and TTL")?;
        let length = reader.u16_be("RDLENGTH")?;
        let mut data = reader.part(length.into(), "RDATA")?;
        let count = data.u8("NUM_NAMES")?;
        let (mut names, mut own, mut domain) = (Vec::new(), None, None);
        for _ in 0..count {
            let entry = node_name(&mut data)?;
            let text = entry.text("name").map(str::to_owned);
            match (entry.text("suffix"), entry.value("group")) {
                (Some("00"), Some(Value::Flag(true))) => domain = domain.or(text),
                (Some("00"), _) => own = own.or(text),
                _ => {}
            }
            names.push(entry);
        }
        let card = Value::hex(&data.array::<6>("UNIT_ID")?);
        let own = own.unwrap_or_else(|| "a machine without a name".to_owned());
        let summary = match domain {
            Some(domain) => format!("{own} of {domain}, {card}"),
            None => format!("{own}, {card}"),
        };
        let fields = Fields::new().with("names", Value::list(names)).with("unit_id", card);
        Ok(Some(Answer::new(PROTOCOL.id, summary, fields)))
    }
}

/// An entry of NODE_NAME ARRAY.
fn node_name(data: &mut Reader<'_>) -> Result<Fields, DecodeError> {
    let plain = data.take(15, "NetBIOS name")?;
    let suffix = data.u8("suffix")?;
    let flags = data.u16_be("NAME_FLAGS")?;
    let is_group = flags & 0x8000 != 0;
    let text = String::from_utf8_lossy(plain).trim_end_matches([' ', '\0']).to_owned();
    let meaning = MEANINGS.iter().find(|(known, _, _)| *known == suffix);
    let meaning = meaning.map(|(_, unique, group)| if is_group { *group } else { *unique });
    let set = |bit: u16| (flags & bit != 0).then_some(true);
    Ok(Fields::new()
        .with("name", text)
        .with("suffix", format!("{suffix:02x}"))
        .with_some("meaning", meaning.filter(|meaning| !meaning.is_empty()))
        .with("group", is_group)
        .with("active", flags & 0x0400 != 0)
        .with_some("conflict", set(0x0800))
        .with_some("deregistering", set(0x1000))
        .with_some("permanent", set(0x0200)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    #[test]
    fn names_are_shown_with_what_they_are_for() {
        let request = request(&PROTOCOL, Via::Udp);
        let nmbd = include_bytes!("../../tests/recordings/probe/netbios-nmbd.bin");
        let answer = survives(&PROTOCOL, &request, &[nmbd]);
        assert_eq!(answer.summary, "NBHOST of LAB, 00:00:00:00:00:00");
        let shown: Vec<String> = match answer.fields.value("names") {
            Some(Value::List(names)) => names.iter().map(Value::to_string).collect(),
            other => panic!("{other:?}"),
        };
        assert_eq!(shown.len(), 7);
        assert_eq!(shown[2], "name NBHOST, suffix 20, meaning file server, group no, active yes");
        assert_eq!(
            shown[3],
            "name \\u{1}\\u{2}__MSBROWSE__\\u{2}, suffix 01, meaning master browser, group yes, active yes"
        );
        let controller = include_bytes!("../../tests/recordings/probe/netbios-samba-dc.bin");
        let answer = play(&PROTOCOL, &request, &[controller]).answer.unwrap();
        assert_eq!(answer.summary, "DC1 of LAB, f0:a7:c7:41:81:7f");
    }
}
