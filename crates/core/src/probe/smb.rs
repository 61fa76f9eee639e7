//! `smb`: a file server: which version it speaks, its GUID and time, whether it wants messages signed.
//!
//! Source: MS-SMB2 sections 2.1 (transport), 2.2.1 (header), 2.2.3 and 2.2.4 (NEGOTIATE); RFC 1002 section 4.3 (NetBIOS
//! sessions); MS-SMB section 2.2.4.5.2 and MS-CIFS section 2.2.4.52 (the old NEGOTIATE); RFC 4178 section 4.2 (the
//! mechanisms). Names of fields are the specifications'.
//! Leaves out on purpose: logging in, shares, SMB over QUIC.

use super::{Event, Home, Protocol, Request, Session, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::{DecodeError, Reader, ber, moment, name, uuid};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "smb",
    aliases: &["smb2", "cifs", "microsoft-ds"],
    title: "a file server: its dialect, GUID and time, and whether it wants signing",
    doc: DOC,
    via: &[Via::Tcp],
    homes: &[Home::new(Via::Tcp, 445, "microsoft-ds"), Home::new(Via::Tcp, 139, "netbios-ssn")],
    settings: &[],
    start,
};

const DOC: &str = "\
Negotiates with a file server (Windows, Samba) without logging in, and shows what it chose of SMB 2.0.2 to
3.1.1. Where it hangs up on that, SMB 1 is tried: a server that knows nothing newer should not be in use any
more. On port 139 a NetBIOS session is begun first.

Fields: dialect_revision (3.1.1; NT LM 0.12 is SMB 1); signing_required and signing_enabled; server_guid;
capabilities; max_transact_size; system_time and offset_ms, how far its clock is ahead of this computer's, to
within the time that the answer took; server_start_time, where it tells it; cipher of SMB 3.1.1; mechanisms, the
ways to log in.
";

const DIALECTS: [(u16, &str); 5] =
    [(0x0202, "2.0.2"), (0x0210, "2.1"), (0x0300, "3.0"), (0x0302, "3.0.2"), (0x0311, "3.1.1")];
const CAPABILITIES: [(u32, &str); 8] = [
    (0x01, "DFS"),
    (0x02, "LEASING"),
    (0x04, "LARGE_MTU"),
    (0x08, "MULTI_CHANNEL"),
    (0x10, "PERSISTENT_HANDLES"),
    (0x20, "DIRECTORY_LEASING"),
    (0x40, "ENCRYPTION"),
    (0x80, "NOTIFICATIONS"),
];
const CIPHERS: [(u16, &str); 4] =
    [(1, "AES-128-CCM"), (2, "AES-128-GCM"), (3, "AES-256-CCM"), (4, "AES-256-GCM")];
const MECHANISMS: [(&str, &str); 5] = [
    ("1.2.840.48018.1.2.2", "MS-KRB5"),
    ("1.2.840.113554.1.2.2", "Kerberos 5"),
    ("1.2.840.113554.1.2.2.3", "Kerberos 5 user to user"),
    ("1.3.6.1.4.1.311.2.2.10", "NTLMSSP"),
    ("1.3.6.1.4.1.311.2.2.30", "NEGOEX"),
];
const SMB2: &[u8] = b"\xfeSMB";
const SMB1: &[u8] = b"\xffSMB";
const NETBIOS_SESSION: u16 = 139;
const POSITIVE_SESSION_RESPONSE: u8 = 0x82;
const HEADER: usize = 64;
/// SMB2_ENCRYPTION_CAPABILITIES.
const ENCRYPTION: u16 = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    NetbiosSession,
    Smb2,
    Smb1,
}

struct Smb {
    port: u16,
    asked: Asked,
    version: Asked,
    guid: [u8; 16],
    salt: [u8; 32],
    now_ms: i64,
}

fn start(request: &Request) -> Box<dyn Session> {
    Box::new(Smb {
        port: request.port,
        asked: Asked::Smb2,
        version: Asked::Smb2,
        guid: request.random("ClientGuid"),
        salt: request.random("Salt"),
        now_ms: i64::try_from(request.now_ms).unwrap_or(i64::MAX),
    })
}

impl Session for Smb {
    fn hello(&mut self) -> Step {
        if self.port == NETBIOS_SESSION {
            self.asked = Asked::NetbiosSession;
            let names = [name::netbios("*SMBSERVER", 0x20), name::netbios("PORTOLAN", 0)];
            let names = names.map(|name| [&[32], &name[..], &[0]].concat()).concat();
            return Step::Send([&[0x81, 0, 0, names.len() as u8], &names[..]].concat());
        }
        self.negotiate()
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } => self.read(data),
            Event::Closed { data: [] } if self.asked == Asked::Smb2 => {
                self.version = Asked::Smb1;
                Step::Reconnect { via: Via::Tcp, port: self.port }
            }
            Event::Closed { .. } => Step::failed("it closed the connection without an answer"),
            Event::Silence { .. } => Step::failed("it did not answer"),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

impl Smb {
    fn negotiate(&mut self) -> Step {
        self.asked = self.version;
        let message = if self.version == Asked::Smb1 { negotiate_smb1() } else { self.negotiate_smb2() };
        let length = u32::try_from(message.len()).unwrap_or(0).to_be_bytes();
        Step::Send([&length[..], &message].concat())
    }

    fn negotiate_smb2(&self) -> Vec<u8> {
        let word = |value: u16| value.to_le_bytes();
        let mut message = SMB2.to_vec();
        // StructureSize, then zeros but for 31 credits that are asked for: NEGOTIATE has the number 0.
        message.extend([64, 0]);
        message.resize(14, 0);
        message.extend(word(31));
        message.resize(HEADER, 0);
        // StructureSize, DialectCount, SecurityMode (signing is possible), Capabilities (all).
        message.extend([36, 5, 1, 0].map(word).concat());
        message.extend(0x7f_u32.to_le_bytes());
        message.extend(self.guid);
        // NegotiateContextOffset and -Count: behind the dialects.
        message.extend([112, 0, 2, 0].map(word).concat());
        message.extend(DIALECTS.map(|(number, _)| word(number)).concat());
        message.resize(112, 0);
        // SMB2_PREAUTH_INTEGRITY_CAPABILITIES: one algorithm, SHA-512, with 32 bytes of salt.
        message.extend([1, 38, 0, 0, 1, 32, 1].map(word).concat());
        message.extend(self.salt);
        message.resize(message.len().next_multiple_of(8), 0);
        message.extend([ENCRYPTION, 10, 0, 0, 4, 4, 3, 2, 1].map(word).concat());
        message
    }

    fn read(&mut self, data: &[u8]) -> Step {
        let mut reader = Reader::new(data);
        let frame = |reader: &mut Reader<'_>| -> Result<(u8, Vec<u8>), DecodeError> {
            let kind = reader.u8("NetBIOS session type")?;
            let length = reader.u24_be("length")?;
            Ok((kind, reader.take(length as usize, "message")?.to_vec()))
        };
        let (kind, message) = match frame(&mut reader) {
            Ok(frame) => frame,
            Err(error) => return Step::of_stream(Err(error)),
        };
        match (self.asked, kind) {
            (Asked::NetbiosSession, POSITIVE_SESSION_RESPONSE) => self.negotiate(),
            (Asked::NetbiosSession, other) => {
                Step::Failed(format!("the NetBIOS session was refused (type {other:#04x})"))
            }
            // What is cut inside of a whole message will never be there.
            (Asked::Smb2, _) if message.starts_with(SMB2) => Step::of_datagram(self.smb2(&message)),
            (_, _) if message.starts_with(SMB1) => Step::of_datagram(self.smb1(&message)),
            _ => Step::failed("its answer is not SMB"),
        }
    }

    fn smb2(&self, message: &[u8]) -> Result<Step, DecodeError> {
        let mut reader = Reader::new(message);
        reader.take(8, "ProtocolId to CreditCharge")?;
        let status = reader.u32_le("Status")?;
        reader.take(HEADER - 12, "SMB2 header")?;
        if status != 0 {
            return Ok(Step::Failed(format!("it refuses every dialect (status {status:#010x})")));
        }
        reader.u16_le("StructureSize")?;
        let (mode, number) = (reader.u16_le("SecurityMode")?, reader.u16_le("DialectRevision")?);
        let contexts = reader.u16_le("NegotiateContextCount")?;
        let guid = uuid::mixed(reader.array("ServerGuid")?);
        let bits = reader.u32_le("Capabilities")?;
        let largest = reader.u32_le("MaxTransactSize")?;
        reader.take(8, "MaxReadSize and MaxWriteSize")?;
        let time = moment::of_filetime(reader.u64_le("SystemTime")?);
        let started = moment::of_filetime(reader.u64_le("ServerStartTime")?);
        let (place, length) =
            (reader.u16_le("SecurityBufferOffset")?, reader.u16_le("SecurityBufferLength")?);
        let token = within(message, place.into(), length.into(), "SecurityBuffer")?;
        let context = reader.u32_le("NegotiateContextOffset")?;
        let known = DIALECTS.iter().find(|(known, _)| *known == number);
        let dialect = known.map_or_else(|| format!("{number:#06x}"), |(_, name)| (*name).to_owned());
        let cipher = match known {
            Some((0x0311, _)) => cipher(message, context as usize, contexts)?,
            _ => None,
        };
        let names = CAPABILITIES.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name);
        let fields = Fields::new()
            .with("dialect_revision", dialect.as_str())
            .with("signing_enabled", mode & 1 != 0)
            .with("signing_required", mode & 2 != 0)
            .with("server_guid", guid)
            .with("capabilities", Value::list(names))
            .with("max_transact_size", largest)
            .with_some("cipher", cipher);
        let mechanisms = mechanisms(token);
        let fields = self.times(fields, time, started);
        let fields =
            fields.with_some("mechanisms", (!mechanisms.is_empty()).then(|| Value::list(mechanisms)));
        let signing = if mode & 2 != 0 { "required" } else { "not required" };
        let summary = format!("SMB {dialect}, signing {signing}");
        Ok(Step::Done(Answer::new(PROTOCOL.id, summary, fields)))
    }

    fn times(&self, fields: Fields, now: Option<i64>, started: Option<i64>) -> Fields {
        fields
            .with_some("system_time", now.map(moment::text))
            .with_some("offset_ms", now.map(|now| now - self.now_ms))
            .with_some("server_start_time", started.map(moment::text))
    }

    fn smb1(&self, message: &[u8]) -> Result<Step, DecodeError> {
        let mut reader = Reader::new(message);
        reader.take(32, "SMB_Header")?;
        let words = reader.u8("WordCount")?;
        let index = reader.u16_le("DialectIndex")?;
        if words < 17 || index != 0 {
            return Ok(Step::failed("it refuses every dialect of SMB"));
        }
        let mode = reader.u8("SecurityMode")?;
        reader.take(16, "MaxMpxCount to SessionKey")?;
        let bits = reader.u32_le("Capabilities")?;
        let time = moment::of_filetime(reader.u64_le("SystemTime")?);
        let fields = Fields::new()
            .with("dialect_revision", "NT LM 0.12")
            .with("signing_enabled", mode & 4 != 0)
            .with("signing_required", mode & 8 != 0)
            .with("unix_extensions", bits & 0x0080_0000 != 0);
        let summary = "SMB 1 alone, which is no longer safe to use";
        Ok(Step::Done(Answer::new(PROTOCOL.id, summary, self.times(fields, time, None))))
    }
}

fn negotiate_smb1() -> Vec<u8> {
    // Command NEGOTIATE, flags (caseless), flags2 (long names, NT status codes, Unicode), then zeros.
    let mut message = [SMB1, &[0x72, 0, 0, 0, 0, 0x18, 0x01, 0xc0]].concat();
    message.resize(32, 0);
    // No words; the dialects.
    message.extend(b"\0\x0c\0\x02NT LM 0.12\0");
    message
}

/// Bytes at a place that a message names.
fn within<'a>(
    message: &'a [u8],
    place: usize,
    length: usize,
    field: &'static str,
) -> Result<&'a [u8], DecodeError> {
    let mut reader = Reader::new(message);
    reader.take(place, field)?;
    reader.take(length, field)
}

/// The cipher that the server chose, among the negotiate contexts, which begin at multiples of eight.
fn cipher(message: &[u8], place: usize, count: u16) -> Result<Option<String>, DecodeError> {
    let mut reader = Reader::new(message);
    reader.take(place, "NegotiateContextOffset")?;
    for _ in 0..count {
        reader.skip_padding(reader.offset().next_multiple_of(8) - reader.offset());
        let (kind, length) = (reader.u16_le("ContextType")?, reader.u16_le("DataLength")?);
        reader.u32_le("Reserved")?;
        let mut data = reader.part(length.into(), "Data")?;
        if kind == ENCRYPTION {
            data.u16_le("CipherCount")?;
            let number = data.u16_le("Ciphers")?;
            let known = CIPHERS.iter().find(|(known, _)| *known == number);
            return Ok(known.map(|(_, name)| (*name).to_owned()));
        }
    }
    Ok(None)
}

/// The mechTypes of a NegTokenInit; none where the token is something else.
fn mechanisms(token: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    // The token is the security packages': what cannot be read is left out.
    let _ = (|| -> Result<(), DecodeError> {
        let mut outer = ber::element(&mut Reader::new(token), ber::application(0), "InitialContextToken")?;
        ber::element(&mut outer, ber::OBJECT_IDENTIFIER, "thisMech")?;
        let mut choice = ber::element(&mut outer, ber::context_of(0), "NegTokenInit")?;
        let mut init = ber::element(&mut choice, ber::SEQUENCE, "NegTokenInit")?;
        let mut types = ber::element(&mut init, ber::context_of(0), "mechTypes")?;
        let mut list = ber::element(&mut types, ber::SEQUENCE, "MechTypeList")?;
        while !list.is_empty() {
            let oid = ber::oid(ber::element(&mut list, ber::OBJECT_IDENTIFIER, "MechType")?, "MechType")?;
            let known = MECHANISMS.iter().find(|(known, _)| *known == oid);
            found.push(known.map_or(oid, |(_, name)| (*name).to_owned()));
        }
        Ok(())
    })();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    const SMB3: &[u8] = include_bytes!("../../tests/recordings/probe/smb-samba.bin");
    const OLD: &[u8] = include_bytes!("../../tests/recordings/probe/smb1-samba.bin");

    #[test]
    fn the_newest_dialect_is_told_with_signing_and_time() {
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[SMB3]);
        assert_eq!(answer.summary, "SMB 3.1.1, signing not required");
        let json = r#"{"dialect_revision":"3.1.1","signing_enabled":true,"signing_required":false,"server_guid":"6f68626e-7473-0000-0000-000000000000","capabilities":["DFS","LEASING","LARGE_MTU","MULTI_CHANNEL"],"max_transact_size":8388608,"cipher":"AES-128-GCM","system_time":"2026-11-22T01:17:24Z","offset_ms":45310244300,"mechanisms":["NTLMSSP"]}"#;
        assert_eq!(serde_json::to_string(&answer.fields).unwrap(), json);
    }

    #[test]
    fn who_hangs_up_is_asked_for_smb_1() {
        let request = request(&PROTOCOL, Via::Tcp);
        let mut session = start(&request);
        assert!(matches!(session.hello(), Step::Send(_)));
        assert_eq!(session.on(Event::Closed { data: &[] }), Step::Reconnect { via: Via::Tcp, port: 445 });
        assert!(matches!(session.hello(), Step::Send(sent) if sent[4..].starts_with(SMB1)));
        let heard = session.on(Event::Bytes { from: ([192, 0, 2, 1], 445).into(), data: OLD });
        let Step::Done(answer) = heard else { panic!("{heard:?}") };
        assert_eq!(answer.fields.text("dialect_revision"), Some("NT LM 0.12"));
        assert_eq!(
            session.on(Event::Closed { data: &[] }),
            Step::failed("it closed the connection without an answer")
        );
        // Somebody may answer the new question in the old way.
        survives(&PROTOCOL, &request, &[OLD]);
    }

    #[test]
    fn on_port_139_a_session_comes_first() {
        let request = Request { port: NETBIOS_SESSION, ..request(&PROTOCOL, Via::Tcp) };
        let answer = survives(&PROTOCOL, &request, &[&[0x82, 0, 0, 0], SMB3]);
        assert_eq!(answer.fields.text("dialect_revision"), Some("3.1.1"));
        let refused = play(&PROTOCOL, &request, &[&[0x83, 0, 0, 1, 0x82]]).answer.unwrap_err();
        assert_eq!(refused, "the NetBIOS session was refused (type 0x83)");
    }
}
