//! `radius`: whether a RADIUS server takes this computer for a client.
//!
//! Source: RFC 2865 sections 3 (packets, authenticators), 5 (attributes, hiding of passwords); RFC 3579 section 3.2
//! (Message-Authenticator). Names of fields are the RFCs'.
//! Leaves out on purpose: logging anybody in, accounting, and RADIUS over TLS.

use super::{Event, Home, Protocol, Request, Session, Setting, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::{DecodeError, Problem, Reader, md5};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "radius",
    aliases: &[],
    title: "a RADIUS server: whether it answers this computer, and knows the secret",
    doc: DOC,
    via: &[Via::Udp],
    homes: &[Home::new(Via::Udp, 1812, "radius"), Home::new(Via::Udp, 1645, "")],
    settings: &[
        Setting {
            name: "secret",
            default: "testing123",
            title: "the secret that the server shares with this computer",
        },
        Setting { name: "user", default: "portolan-probe", title: "the user to ask for" },
        Setting { name: "password", default: "", title: "the user's password" },
    ],
    start,
};

const DOC: &str = "\
Asks a RADIUS server to let a user in who hardly exists; the refusal (Access-Reject) proves that the server
works and takes this computer for a client. A server says nothing at all to computers that are not in its list
of clients, and most say nothing where the secret is wrong: silence is no proof that there is none. Give the
secret with --set secret=SECRET (without it testing123 is tried, which examples have), and a user with --set
user=NAME and --set password=PASSWORD. The refused try stands in the server's log.

Fields: code (Access-Accept, Access-Reject, Access-Challenge); authenticated, whether the answer is signed with
the secret; reply_message; vendors, the numbers of makers whose attributes came.
";

const ACCESS_REQUEST: u8 = 1;
const CODES: [(u8, &str); 4] =
    [(2, "Access-Accept"), (3, "Access-Reject"), (11, "Access-Challenge"), (13, "Protocol-Error")];
const USER_NAME: u8 = 1;
const USER_PASSWORD: u8 = 2;
const REPLY_MESSAGE: u8 = 18;
const VENDOR_SPECIFIC: u8 = 26;
const NAS_IDENTIFIER: u8 = 32;
const MESSAGE_AUTHENTICATOR: u8 = 80;
const HEADER: usize = 20;
/// RFC 2865 section 5.2.
const LONGEST_PASSWORD: usize = 128;
const LONGEST_USER: usize = 253;

struct Radius {
    identifier: u8,
    authenticator: [u8; 16],
    secret: String,
    user: String,
    password: String,
}

fn start(request: &Request) -> Box<dyn Session> {
    let [identifier] = request.random("Identifier");
    Box::new(Radius {
        identifier,
        authenticator: request.random("Request Authenticator"),
        secret: request.setting(&PROTOCOL, "secret"),
        user: request.setting(&PROTOCOL, "user"),
        password: request.setting(&PROTOCOL, "password"),
    })
}

impl Session for Radius {
    fn hello(&mut self) -> Step {
        if self.user.is_empty() || self.user.len() > LONGEST_USER || self.password.len() > LONGEST_PASSWORD {
            return Step::failed("no user, or too long a name or password; give them with --set user=NAME");
        }
        Step::Send(self.request())
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } => self.read(data).ok().flatten().map_or(Step::More, Step::Done),
            Event::Closed { .. } | Event::Silence { .. } => Step::failed(
                "it did not answer: no server, or one that does not know this computer or secret",
            ),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

fn attribute(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind, (value.len() + 2) as u8], value].concat()
}

impl Radius {
    fn request(&self) -> Vec<u8> {
        let attributes = [
            attribute(MESSAGE_AUTHENTICATOR, &[0; 16]),
            attribute(USER_NAME, self.user.as_bytes()),
            attribute(USER_PASSWORD, &self.hidden()),
            attribute(NAS_IDENTIFIER, b"portolan"),
        ]
        .concat();
        let length = ((HEADER + attributes.len()) as u16).to_be_bytes();
        let mut packet =
            [&[ACCESS_REQUEST, self.identifier], &length[..], &self.authenticator, &attributes].concat();
        // It is signed with zeros in the signature's place, which is right behind the header.
        let signature = md5::keyed(self.secret.as_bytes(), &packet);
        packet.splice(HEADER + 2..HEADER + 18, signature);
        packet
    }

    /// The password, each 16 bytes mixed with a digest of the secret and of what stands before.
    fn hidden(&self) -> Vec<u8> {
        let mut plain = self.password.as_bytes().to_vec();
        plain.resize(plain.len().next_multiple_of(16).max(16), 0);
        let mut hidden: Vec<u8> = Vec::new();
        for chunk in plain.chunks(16) {
            let before = hidden.len().checked_sub(16).and_then(|place| hidden.get(place..));
            let mask = md5::digest(&[self.secret.as_bytes(), before.unwrap_or(&self.authenticator)].concat());
            hidden.extend(chunk.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect::<Vec<u8>>());
        }
        hidden
    }

    fn read(&self, data: &[u8]) -> Result<Option<Answer>, DecodeError> {
        let mut reader = Reader::new(data);
        let (code, identifier) = (reader.u8("Code")?, reader.u8("Identifier")?);
        let length = reader.u16_be("Length")?;
        let known = CODES.iter().find(|(known, _)| *known == code);
        let Some((_, code)) = known.filter(|_| identifier == self.identifier) else { return Ok(None) };
        let authenticator: [u8; 16] = reader.array("Response Authenticator")?;
        let rest = usize::from(length).checked_sub(HEADER);
        let rest = rest.ok_or(Reader::error_at(2, "Length", Problem::Value(length.into())))?;
        let mut attributes = reader.part(rest, "Attributes")?;
        let head = data.get(..4).unwrap_or_default();
        let signed = [head, &self.authenticator, attributes.rest(), self.secret.as_bytes()].concat();
        let is_signed = md5::digest(&signed) == authenticator;
        let (mut said, mut vendors) = (Vec::new(), Vec::new());
        while !attributes.is_empty() {
            let (kind, start) = (attributes.u8("Type")?, attributes.offset());
            let length = attributes.u8("Length")?;
            let value = usize::from(length).checked_sub(2);
            let value = value.ok_or(Reader::error_at(start, "Length", Problem::Value(length.into())))?;
            let mut value = attributes.part(value, "Value")?;
            match kind {
                REPLY_MESSAGE => said.push(value.rest()),
                VENDOR_SPECIFIC => vendors.push(value.u32_be("Vendor-Id")?),
                _ => {}
            }
        }
        let signed = if is_signed { "" } else { ", signed with another secret" };
        let fields = Fields::new()
            .with("code", *code)
            .with("authenticated", is_signed)
            .with_some("reply_message", (!said.is_empty()).then(|| Value::from(&said.concat()[..])))
            .with_some("vendors", (!vendors.is_empty()).then(|| Value::list(vendors)));
        Ok(Some(Answer::new(PROTOCOL.id, format!("{code}{signed}"), fields)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    /// FreeRADIUS 3.2.1 of Debian 12, with the secret testing123.
    const REJECT: &[u8] = b"\x03\x20\0\x27\xdd\x90\x08\x21\xad\x62\x06\x16\x9e\x33\x64\x38\
        \x4d\x4f\x2d\xd9\x12\x13no such user here";

    #[test]
    fn a_refusal_proves_the_server_and_the_secret() {
        let mut request = request(&PROTOCOL, Via::Udp);
        let answer = survives(&PROTOCOL, &request, &[REJECT]);
        let json = r#"{"code":"Access-Reject","authenticated":true,"reply_message":"no such user here"}"#;
        assert_eq!(
            (answer.summary.as_str(), serde_json::to_string(&answer.fields).unwrap()),
            ("Access-Reject", json.into())
        );
        request.settings = vec![("secret".into(), "other".into())];
        let answer = play(&PROTOCOL, &request, &[REJECT]).answer.unwrap();
        assert_eq!(answer.summary, "Access-Reject, signed with another secret");
    }

    #[test]
    fn a_password_is_hidden_as_the_specification_does() {
        // RFC 2865 section 7.1: nemo, arctangent, xyzzy5461.
        let authenticator = *b"\x0f\x40\x3f\x94\x73\x97\x80\x57\xbd\x83\xd5\xcb\x98\xf4\x22\x7a";
        let (secret, user, password) = ("xyzzy5461".into(), "nemo".into(), "arctangent".into());
        let radius = Radius { identifier: 0, authenticator, secret, user, password };
        assert_eq!(radius.hidden(), b"\x0d\xbe\x70\x8d\x93\xd4\x13\xce\x31\x96\xe4\x3f\x78\x2a\x0a\xee");
    }
}
