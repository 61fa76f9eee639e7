//! `ldap`: what a directory server tells everybody about itself, its rootDSE.
//!
//! Source: RFC 4511 (messages), RFC 4512 section 5.1 (rootDSE); MS-ADTS section 3.1.1.3.2 (Microsoft's attributes, which
//! Samba has too).
//! Leaves out on purpose: binding, and searching anything else.

use super::{Event, Home, Protocol, Request, Session, Step, Via};
use crate::answer::{Answer, Fields};
use crate::wire::ldap::{self, LdapResult, Operation};
use crate::wire::{DecodeError, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "ldap",
    aliases: &["ldaps"],
    title: "a directory server: everything in its rootDSE",
    doc: DOC,
    via: &[Via::Tcp, Via::Tls],
    homes: &[
        Home::new(Via::Tcp, 389, "ldap"),
        Home::new(Via::Tls, 636, "ldaps"),
        Home::new(Via::Tcp, 3268, "msft-gc"),
        Home::new(Via::Tls, 3269, "msft-gc-ssl"),
    ],
    settings: &[],
    start,
};

const DOC: &str = "\
Asks a directory server, without logging in, for the object that describes the server itself, and shows every
attribute that it gives: the naming contexts that it holds, the versions, controls and ways to log in that it
supports; of a domain controller also its name, its site, its time, the domain's and the forest's level, and
whether it is in step with the others and a global catalog.

A refusal (strongerAuthRequired, insufficientAccessRights) is an answer too: a directory server is there, and
does not tell strangers.

Fields: result_code; diagnostic_message where the server said something; attributes, by the server's own names,
each a list of values; what is no text is shown in hexadecimal digits.
";

/// The number of our only request.
const MESSAGE_ID: i64 = 1;

struct Ldap;

fn start(_: &Request) -> Box<dyn Session> {
    Box::new(Ldap)
}

impl Session for Ldap {
    fn hello(&mut self) -> Step {
        // `*` is what users have, `+` what the server itself keeps (RFC 3673): of OpenLDAP all but the object class.
        Step::Send(ldap::search(MESSAGE_ID, &ldap::present("objectClass"), &["*", "+"]))
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } => read(data, false),
            Event::Closed { data } => ended(data, "it closed the connection without an answer"),
            Event::Silence { data } => ended(data, "it did not answer"),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

/// What can be told when nothing more will come: an entry may be there without the result that should follow.
fn ended(data: &[u8], otherwise: &str) -> Step {
    match read(data, true) {
        Step::More => Step::failed(otherwise),
        step => step,
    }
}

fn read(data: &[u8], is_over: bool) -> Step {
    let mut reader = Reader::new(data);
    let (mut entry, mut summary) = (None, None);
    loop {
        let envelope = match ldap::envelope(&mut reader) {
            Ok(envelope) => envelope,
            Err(error) => {
                return match (entry, Step::of_stream(Err(error))) {
                    (Some(entry), Step::More) if is_over => done(None, entry, summary),
                    (_, step) => step,
                };
            }
        };
        // What is cut inside of a whole message will never be there.
        match told(envelope) {
            Ok(Some(Told::Entry(fields, line))) => (entry, summary) = (Some(fields), line),
            Ok(Some(Told::Result(result))) => return done(Some(&result), entry.unwrap_or_default(), summary),
            Ok(None) => {}
            Err(error) => return Step::Failed(error.to_string()),
        }
    }
}

enum Told {
    Entry(Fields, Option<String>),
    Result(LdapResult),
}

/// What a message tells; nothing where it is about something else. The server's own notices have the number 0.
fn told(envelope: Reader<'_>) -> Result<Option<Told>, DecodeError> {
    Ok(match ldap::message(envelope)? {
        (MESSAGE_ID, Operation::Entry(attributes)) => {
            let name = ldap::first(&attributes, "dnsHostName");
            let holds = ldap::first(&attributes, "defaultNamingContext")
                .or_else(|| ldap::first(&attributes, "namingContexts"));
            let line = match (name, holds) {
                (Some(name), Some(holds)) => Some(format!("{name}: {holds}")),
                (name, holds) => name.or(holds),
            };
            Some(Told::Entry(ldap::fields(&attributes), line))
        }
        (MESSAGE_ID | 0, Operation::Done(result)) => Some(Told::Result(result)),
        _ => None,
    })
}

fn done(result: Option<&LdapResult>, attributes: Fields, summary: Option<String>) -> Step {
    let said = result.map(|result| result.diagnostic_message.as_slice()).filter(|said| !said.is_empty());
    let code = result.map(LdapResult::name);
    let summary = match (&summary, &code) {
        (Some(summary), _) => summary.clone(),
        (None, Some(code)) => format!("a directory server ({code})"),
        (None, None) => "a directory server".to_owned(),
    };
    let fields = Fields::new()
        .with_some("result_code", code)
        .with_some("diagnostic_message", said)
        .with_some("attributes", (!attributes.is_empty()).then_some(attributes));
    Step::Done(Answer::new(PROTOCOL.id, summary, fields))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    const SLAPD: &[u8] = include_bytes!("../../tests/recordings/probe/ldap-slapd.bin");
    const SAMBA: &[u8] = include_bytes!("../../tests/recordings/probe/ldap-samba.bin");

    #[test]
    fn everything_that_the_server_says_about_itself_is_shown() {
        let request = request(&PROTOCOL, Via::Tcp);
        let answer = survives(&PROTOCOL, &request, &[SLAPD]);
        assert_eq!(answer.summary, "dc=lab,dc=test");
        let json = serde_json::to_value(&answer.fields).unwrap();
        assert_eq!(json["result_code"], "success");
        let attributes = &json["attributes"];
        assert_eq!(attributes["supportedLDAPVersion"], serde_json::json!(["3"]));
        assert_eq!(attributes["supportedSASLMechanisms"].as_array().map(Vec::len), Some(8));
        let controller = play(&PROTOCOL, &request, &[SAMBA]).answer.unwrap();
        assert_eq!(controller.summary, "dc1.lab.test: DC=lab,DC=test");
        let json = serde_json::to_value(&controller.fields).unwrap();
        assert_eq!(json["attributes"]["namingContexts"].as_array().map(Vec::len), Some(5));
        assert_eq!(json["attributes"]["isGlobalCatalogReady"], serde_json::json!(["TRUE"]));
    }

    #[test]
    fn a_refusal_is_an_answer_and_an_entry_without_an_end_too() {
        let request = request(&PROTOCOL, Via::Tls);
        // A notice of disconnection, as RFC 4511 section 4.4.1 has it: strongerAuthRequired.
        let notice = b"\x30\x15\x02\x01\0\x78\x10\x0a\x01\x08\x04\0\x04\x09TLS first";
        let answer = survives(&PROTOCOL, &request, &[notice]);
        assert_eq!(answer.summary, "a directory server (strongerAuthRequired)");
        assert_eq!(answer.fields.text("diagnostic_message"), Some("TLS first"));
        let cut = play(&PROTOCOL, &request, &[&SLAPD[..SLAPD.len() - 3]]).answer.unwrap();
        assert_eq!((cut.summary.as_str(), cut.fields.value("result_code")), ("dc=lab,dc=test", None));
        let other = play(&PROTOCOL, &request, &[b"220 mail ESMTP\r\n"]).answer.unwrap_err();
        assert_eq!(other, "LDAPMessage (offset 0) is 50, which means nothing");
    }
}
