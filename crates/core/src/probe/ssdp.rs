//! `ssdp`: devices that announce themselves by UPnP.
//!
//! Source: UPnP Device Architecture 2.0, section 1.3 (M-SEARCH to one device and its responses).
//! Leaves out on purpose: fetching the description behind `location`, and asking the whole network.

use super::{Event, Home, Protocol, Request, Session, Setting, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::head::Head;
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "ssdp",
    aliases: &["upnp"],
    title: "UPnP: what a device announces, its software, where its description lies",
    doc: DOC,
    via: &[Via::Udp],
    homes: &[Home::new(Via::Udp, 1900, "ssdp")],
    settings: &[Setting {
        name: "target",
        default: "ssdp:all",
        title: "what to search for: ssdp:all, upnp:rootdevice",
    }],
    start,
};

const DOC: &str = "\
Asks one device, by its address, what it announces to its neighbours: routers, televisions, printers, media servers.
A device that answers here from the internet can be misused to flood others: it should answer to its own network
alone.

Fields: server; location, where the device describes itself; usn, its unique name; services, each kind that it
announces.
";

/// The most kinds of services that are kept.
const MOST_SERVICES: usize = 200;

struct Ssdp {
    request: Result<String, String>,
    server: Option<Vec<u8>>,
    location: Option<Vec<u8>>,
    usn: Option<Vec<u8>>,
    services: Vec<Vec<u8>>,
}

fn start(request: &Request) -> Box<dyn Session> {
    let target = request.setting(&PROTOCOL, "target");
    let host = std::net::SocketAddr::new(request.address, request.port);
    let is_word = !target.is_empty() && target.bytes().all(|byte| byte.is_ascii_graphic());
    let message = format!(
        "M-SEARCH * HTTP/1.1\r\nHOST: {host}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: {target}\r\nUSER-AGENT: portolan\r\n\r\n"
    );
    let request = if is_word { Ok(message) } else { Err(format!("'{target}' is nothing to search for")) };
    Box::new(Ssdp { request, server: None, location: None, usn: None, services: Vec::new() })
}

impl Ssdp {
    /// Takes a response; there may be one for each service.
    fn read(&mut self, data: &[u8]) -> Result<(), DecodeError> {
        let head = Head::read(&mut Reader::new(data))?;
        if !head.start.starts_with(b"HTTP/1.") || head.status()?.code != 200 || head.value("ST").is_none() {
            return Err(Reader::error_at(0, "start-line", Problem::Value(0)));
        }
        let kept = |known: &mut Option<Vec<u8>>, name: &str| {
            if known.is_none() {
                *known = head.value(name).map(<[u8]>::to_vec);
            }
        };
        kept(&mut self.server, "SERVER");
        kept(&mut self.location, "LOCATION");
        kept(&mut self.usn, "USN");
        let service = head.value("ST").unwrap_or_default().to_vec();
        if self.services.len() < MOST_SERVICES && !self.services.contains(&service) {
            self.services.push(service);
        }
        Ok(())
    }

    fn done(&self) -> Step {
        if self.services.is_empty() {
            return Step::failed("it did not answer");
        }
        let fields = Fields::new()
            .with_some("server", self.server.as_deref())
            .with_some("location", self.location.as_deref())
            .with_some("usn", self.usn.as_deref())
            .with("services", Value::list(self.services.iter().map(Vec::as_slice)));
        let summary = self.server.as_deref().map_or("a UPnP device".into(), String::from_utf8_lossy);
        Step::Done(Answer::new(PROTOCOL.id, summary, fields))
    }
}

impl Session for Ssdp {
    fn hello(&mut self) -> Step {
        match &self.request {
            Ok(message) => Step::Send(message.clone().into_bytes()),
            Err(why) => Step::failed(why.as_str()),
        }
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } => {
                // What is no response is somebody else's; after one, others follow until it falls silent.
                let _ = self.read(data);
                if self.services.len() < MOST_SERVICES { Step::More } else { self.done() }
            }
            Event::Closed { .. } | Event::Silence { .. } => self.done(),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    /// Built after UPnP Device Architecture 2.0 section 1.3.3, with the values of miniupnpd 2.3.1.
    fn reply(kind: &str) -> Vec<u8> {
        format!(
            "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: {kind}\r\nUSN: uuid:1-2::{kind}\r\nEXT:\r\n\
             SERVER: Debian UPnP/1.1 MiniUPnPd/2.3.1\r\nLOCATION: http://192.0.2.1:5000/rootDesc.xml\r\n\r\n"
        )
        .into_bytes()
    }

    #[test]
    fn what_a_device_announces_is_gathered_until_it_falls_silent() {
        let (root, gateway) =
            (reply("upnp:rootdevice"), reply("urn:schemas-upnp-org:device:InternetGatewayDevice:1"));
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Udp), &[&root, &gateway, &root]);
        assert_eq!(answer.summary, "Debian UPnP/1.1 MiniUPnPd/2.3.1");
        assert_eq!(answer.fields.text("location"), Some("http://192.0.2.1:5000/rootDesc.xml"));
        let Some(Value::List(services)) = answer.fields.value("services") else { panic!("services") };
        assert_eq!(services.len(), 2);
    }

    #[test]
    fn a_notice_of_somebody_else_is_no_answer() {
        let notice = b"NOTIFY * HTTP/1.1\r\nST: x\r\n\r\n";
        assert!(play(&PROTOCOL, &request(&PROTOCOL, Via::Udp), &[notice]).answer.is_err());
    }
}
