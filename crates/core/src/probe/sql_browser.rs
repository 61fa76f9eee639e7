//! `sql-browser`: which instances of SQL Server a machine has, and at which ports and pipes.
//!
//! Source: MC-SQLR sections 2.2 (messages), 3.1. Names of fields are those that the server sends.
//! Leaves out on purpose: the broadcast, and the port of the administrator's connection.

use super::{Event, Home, Protocol, Request, Session, Setting, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "sql-browser",
    aliases: &["ssrp", "ms-sql-m"],
    title: "SQL Server's instances: names, versions, ports",
    doc: DOC,
    via: &[Via::Udp],
    homes: &[Home::new(Via::Udp, 1434, "ms-sql-m")],
    settings: &[Setting { name: "name", default: "", title: "the only instance to ask for" }],
    start,
};

const DOC: &str = "\
Asks SQL Server's browser service for the instances on its machine. Clients ask it for the port of a named
instance, which changes with every start of the server: without an answer they cannot connect by name. With
--set name=SQLEXPRESS it asks for that instance alone, as such a client does; a browser that has none of that
name does not answer at all.

Fields: instances, each with what the server sends: ServerName, InstanceName, IsClustered, Version, tcp (a
port), np (a pipe's name), and other transports.
";

/// CLNT_UCAST_EX and CLNT_UCAST_INST.
const ALL: u8 = 3;
const ONE: u8 = 4;
/// SVR_RESP.
const RESPONSE: u8 = 5;
/// MC-SQLR section 2.2.3: with its zero at most 33 bytes.
const LONGEST_NAME: usize = 32;

struct SqlBrowser {
    instance: String,
}

fn start(request: &Request) -> Box<dyn Session> {
    Box::new(SqlBrowser { instance: request.setting(&PROTOCOL, "name") })
}

impl Session for SqlBrowser {
    fn hello(&mut self) -> Step {
        match self.instance.as_bytes() {
            [] => Step::Send(vec![ALL]),
            name if name.len() <= LONGEST_NAME && !name.contains(&0) => {
                Step::Send([&[ONE], name, &[0]].concat())
            }
            _ => Step::failed("this is no name of an instance; give one with --set name=INSTANCE"),
        }
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } => read(data).map_or(Step::More, Step::Done),
            Event::Closed { .. } | Event::Silence { .. } => Step::failed("it did not answer"),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

fn read(data: &[u8]) -> Result<Answer, DecodeError> {
    let mut reader = Reader::new(data);
    let kind = reader.u8("SVR_RESP")?;
    if kind != RESPONSE {
        return Err(Reader::error_at(0, "SVR_RESP", Problem::Value(kind.into())));
    }
    let length = reader.u16_le("RESP_SIZE")?;
    let text = reader.take(length.into(), "RESP_DATA")?;
    let instances: Vec<Fields> = String::from_utf8_lossy(text).split(";;").filter_map(instance).collect();
    let names: Vec<String> = instances.iter().map(name_and_port).collect();
    let summary = if names.is_empty() { "no instances".to_owned() } else { names.join(", ") };
    Ok(Answer::new(PROTOCOL.id, summary, Fields::new().with("instances", Value::list(instances))))
}

/// Names and values in turn, with semicolons between.
fn instance(text: &str) -> Option<Fields> {
    let mut words = text.trim_matches('\0').split(';');
    let mut fields = Fields::new();
    while let (Some(name), Some(value)) = (words.next().filter(|name| !name.is_empty()), words.next()) {
        fields.push_foreign(name.as_bytes(), value);
    }
    (!fields.is_empty()).then_some(fields)
}

fn name_and_port(instance: &Fields) -> String {
    let text = |name| instance.text(name).unwrap_or("?");
    let port = instance.text("tcp").map_or_else(String::new, |port| format!(" at tcp {port}"));
    format!("{}\\{} {}{port}", text("ServerName"), text("InstanceName"), text("Version"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    /// MC-SQLR section 4.1's shape of an answer; there is no real server in Debian.
    fn reply(text: &str) -> Vec<u8> {
        [&[RESPONSE], &(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat()
    }

    #[test]
    fn every_instance_is_shown_with_its_port() {
        let mut request = request(&PROTOCOL, Via::Udp);
        let text = "ServerName;LAB;InstanceName;MSSQLSERVER;IsClustered;No;Version;16.0.1000.6;tcp;1433;\
                    np;\\\\LAB\\pipe\\sql\\query;;ServerName;LAB;InstanceName;SQLEXPRESS;IsClustered;No;\
                    Version;15.0.2000.5;tcp;49777;;";
        let answer = survives(&PROTOCOL, &request, &[&reply(text)]);
        let told = r"LAB\MSSQLSERVER 16.0.1000.6 at tcp 1433, LAB\SQLEXPRESS 15.0.2000.5 at tcp 49777";
        assert_eq!(answer.summary, told);
        let json = serde_json::to_value(&answer.fields).unwrap();
        assert_eq!(json["instances"][0]["np"], r"\\LAB\pipe\sql\query");
        assert_eq!(json["instances"][1]["tcp"], "49777");
        assert_eq!(play(&PROTOCOL, &request, &[]).sent, [[ALL]]);
        request.settings = vec![("name".into(), "SQLEXPRESS".into())];
        assert_eq!(play(&PROTOCOL, &request, &[]).sent, [b"\x04SQLEXPRESS\0"]);
        assert_eq!(play(&PROTOCOL, &request, &[&reply("")]).answer.unwrap().summary, "no instances");
    }
}
