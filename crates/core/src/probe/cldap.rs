//! `cldap`: a domain controller over UDP, as clients look for one.
//!
//! Source: MS-ADTS sections 6.3.3 (LDAP ping), 6.3.1.1 (NETLOGON_NT_VERSION), 6.3.1.2 (DS_FLAG), 6.3.1.9
//! (NETLOGON_SAM_LOGON_RESPONSE_EX); RFC 4511 for the messages. Names of fields are the specification's.
//! Leaves out on purpose: the older forms of the Netlogon answer, which are not asked for.

use super::{Event, Home, Protocol, Request, Session, Setting, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::ldap::{self, Attribute, Operation};
use crate::wire::{DecodeError, Reader, ber, name, uuid};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "cldap",
    aliases: &["ldap-ping", "netlogon"],
    title: "a domain controller over UDP: its rootDSE and its Netlogon answer",
    doc: DOC,
    via: &[Via::Udp],
    homes: &[Home::new(Via::Udp, 389, "ldap")],
    settings: &[Setting {
        name: "domain",
        default: "",
        title: "the DNS name of the domain that it should serve; without it, its own",
    }],
    start,
};

const DOC: &str = "\
Asks as a member of a domain does when it looks for a domain controller: one datagram for the object that
describes the server (rootDSE), and one for its Netlogon answer, which names the domain, the forest, the server
and its site, and says what the server is able to do. With --set domain=example.com a controller of another
domain stays silent to the second question, as it would to a member of that domain.

Fields: attributes, by the server's own names, each a list of values; netlogon with Opcode's meaning, Flags,
DomainGuid, DnsForestName, DnsDomainName, DnsHostName, NetbiosDomainName, NetbiosComputerName, DcSiteName,
ClientSiteName and NtVersion, in snake_case.
";

const ROOT_DSE: i64 = 1;
const NETLOGON: i64 = 2;
/// NETLOGON_NT_VERSION_5 and NETLOGON_NT_VERSION_5EX: answer in the extended form.
const NT_VERSION: [u8; 4] = 0x6_u32.to_le_bytes();
/// LOGON_SAM_LOGON_RESPONSE_EX, and the same while Netlogon is paused.
const OPCODES: [(u16, &str); 3] = [
    (23, "LOGON_SAM_LOGON_RESPONSE_EX"),
    (24, "LOGON_SAM_PAUSE_RESPONSE_EX"),
    (25, "LOGON_SAM_USER_UNKNOWN_EX"),
];
const FLAGS: [(u32, &str); 20] = [
    (0x1, "PDC"),
    (0x4, "GC"),
    (0x8, "LDAP"),
    (0x10, "DS"),
    (0x20, "KDC"),
    (0x40, "TIMESERV"),
    (0x80, "CLOSEST"),
    (0x100, "WRITABLE"),
    (0x200, "GOOD_TIMESERV"),
    (0x400, "NDNC"),
    (0x800, "SELECT_SECRET_DOMAIN_6"),
    (0x1000, "FULL_SECRET_DOMAIN_6"),
    (0x2000, "WS"),
    (0x4000, "DS_8"),
    (0x8000, "DS_9"),
    (0x1_0000, "DS_10"),
    (0x2_0000, "KEY_LIST"),
    (0x2000_0000, "DNS_CONTROLLER"),
    (0x4000_0000, "DNS_DOMAIN"),
    (0x8000_0000, "DNS_FOREST"),
];

struct Cldap {
    domain: String,
    /// The number of the question that is open.
    asked: i64,
    fields: Fields,
    summary: Option<String>,
}

fn start(request: &Request) -> Box<dyn Session> {
    let domain = request.setting(&PROTOCOL, "domain");
    Box::new(Cldap { domain, asked: ROOT_DSE, fields: Fields::new(), summary: None })
}

impl Cldap {
    /// The second question, or the end.
    fn next(&mut self) -> Step {
        if self.asked == NETLOGON {
            return self.done();
        }
        self.asked = NETLOGON;
        let version = ldap::equal("NtVer", &NT_VERSION);
        let domain = match self.domain.as_str() {
            "" => Vec::new(),
            domain => ldap::equal("DnsDomain", domain.as_bytes()),
        };
        let filter = ber::write(ber::context_of(0), &[&domain, &version]);
        Step::Send(ldap::search(NETLOGON, &filter, &["Netlogon"]))
    }

    fn done(&mut self) -> Step {
        let fields = std::mem::take(&mut self.fields);
        match self.summary.take() {
            Some(summary) => Step::Done(Answer::new(PROTOCOL.id, summary, fields)),
            None => Step::failed("it did not answer"),
        }
    }

    /// A datagram: a message with the entry, if there is one, and one with the result.
    fn read(&mut self, data: &[u8]) -> Result<Step, DecodeError> {
        let mut reader = Reader::new(data);
        let mut is_for_us = false;
        while !reader.is_empty() {
            let (id, operation) = ldap::message(ldap::envelope(&mut reader)?)?;
            if id != self.asked {
                continue;
            }
            is_for_us = true;
            match operation {
                Operation::Entry(attributes) => self.entry(&attributes)?,
                Operation::Done(result) if result.result_code != 0 => {
                    self.fields.push("result_code", result.name());
                    self.summary.get_or_insert_with(|| format!("a directory server ({})", result.name()));
                }
                Operation::Done(_) => {
                    self.summary.get_or_insert_with(|| "a directory server".to_owned());
                }
                Operation::Other(_) => {}
            }
        }
        Ok(if is_for_us { self.next() } else { Step::More })
    }

    fn entry(&mut self, attributes: &[Attribute<'_>]) -> Result<(), DecodeError> {
        let netlogon = attributes.iter().find(|attribute| attribute.is("Netlogon"));
        if let (NETLOGON, Some(blob)) = (self.asked, netlogon.and_then(|attribute| attribute.values.first()))
        {
            let netlogon = netlogon_fields(blob)?;
            if let (Some(host), Some(domain)) =
                (netlogon.text("dns_host_name"), netlogon.text("dns_domain_name"))
            {
                self.summary = Some(format!("{host}, a domain controller of {domain}"));
            }
            self.fields.push("netlogon", netlogon);
        } else if self.asked == ROOT_DSE && !attributes.is_empty() {
            self.summary =
                ldap::first(attributes, "dnsHostName").or_else(|| ldap::first(attributes, "namingContexts"));
            self.fields.push("attributes", ldap::fields(attributes));
        }
        Ok(())
    }
}

impl Session for Cldap {
    fn hello(&mut self) -> Step {
        Step::Send(ldap::search(ROOT_DSE, &ldap::present("objectClass"), &[]))
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            // What is malformed may come from anybody: the true answer may still come.
            Event::Bytes { data, .. } => self.read(data).unwrap_or(Step::More),
            // Some answer one of the two alone.
            Event::Closed { .. } | Event::Silence { .. } => self.next(),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

/// NETLOGON_SAM_LOGON_RESPONSE_EX.
fn netlogon_fields(blob: &[u8]) -> Result<Fields, DecodeError> {
    let mut reader = Reader::new(blob);
    let opcode = reader.u16_le("Opcode")?;
    let known = OPCODES.iter().find(|(code, _)| *code == opcode);
    let Some((_, opcode)) = known else {
        return Ok(Fields::new().with("opcode", opcode).with("bytes", Value::hex(blob)));
    };
    reader.u16_le("Sbz")?;
    let flags = reader.u32_le("Flags")?;
    let guid = uuid::mixed(reader.array("DomainGuid")?);
    let names = FLAGS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name);
    let mut fields =
        Fields::new().with("opcode", *opcode).with("flags", Value::list(names)).with("domain_guid", guid);
    for field in [
        "dns_forest_name",
        "dns_domain_name",
        "dns_host_name",
        "netbios_domain_name",
        "netbios_computer_name",
        "user_name",
        "dc_site_name",
        "client_site_name",
    ] {
        let text = name::read(blob, &mut reader, field)?;
        fields = fields.with_some(field, (text != ".").then_some(text));
    }
    Ok(fields.with("nt_version", reader.u32_le("NtVersion")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    const ROOT_DSE: &[u8] = include_bytes!("../../tests/recordings/probe/cldap-samba-rootdse.bin");
    const LOGON: &[u8] = include_bytes!("../../tests/recordings/probe/cldap-samba-netlogon.bin");

    #[test]
    fn a_domain_controller_tells_what_it_is_and_of_which_domain() {
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Udp), &[ROOT_DSE, LOGON]);
        assert_eq!(answer.summary, "dc1.lab.test, a domain controller of lab.test");
        let json = serde_json::to_value(&answer.fields).unwrap();
        assert_eq!(json["attributes"]["dnsHostName"], serde_json::json!(["dc1.lab.test"]));
        assert_eq!(
            json["netlogon"],
            serde_json::json!({
                "opcode": "LOGON_SAM_LOGON_RESPONSE_EX",
                "flags": ["PDC", "GC", "LDAP", "DS", "KDC", "TIMESERV", "CLOSEST", "WRITABLE", "GOOD_TIMESERV",
                    "FULL_SECRET_DOMAIN_6"],
                "domain_guid": "3e04327b-e584-4a02-bc8c-751a4f43f529",
                "dns_forest_name": "lab.test",
                "dns_domain_name": "lab.test",
                "dns_host_name": "dc1.lab.test",
                "netbios_domain_name": "LAB",
                "netbios_computer_name": "DC1",
                "dc_site_name": "Default-First-Site-Name",
                "client_site_name": "Default-First-Site-Name",
                "nt_version": 5,
            })
        );
    }

    #[test]
    fn one_of_the_two_answers_is_enough_and_a_domain_is_asked_for_by_name() {
        let mut request = request(&PROTOCOL, Via::Udp);
        let answer = play(&PROTOCOL, &request, &[ROOT_DSE]).answer.unwrap();
        assert_eq!((answer.summary.as_str(), answer.fields.value("netlogon")), ("dc1.lab.test", None));
        assert_eq!(play(&PROTOCOL, &request, &[b"x", LOGON]).answer.unwrap_err(), "it did not answer");
        request.settings = vec![("domain".into(), "lab.test".into())];
        let sent = play(&PROTOCOL, &request, &[ROOT_DSE, LOGON]).sent;
        assert!(sent[1].windows(10).any(|part| part == b"\x04\x08lab.test"), "{sent:?}");
    }
}
