//! `kerberos`: a key distribution centre: its realm and its time.
//!
//! Source: RFC 4120 sections 5.4.1 (AS-REQ), 5.9.1 (KRB-ERROR), 7.2 (transports), 7.5.9 (codes), 5.2.7.5 (ETYPE-INFO2);
//! RFC 3961, 3962, 8009 (numbers of encryption types). Names of fields are RFC 4120's.
//! Leaves out on purpose: logging in. A user that hardly exists asks; a user without preauthentication would get a
//! ticket, which is thrown away.

use super::{Event, Home, Protocol, Request, Session, Setting, Step, Via};
use crate::answer::{Answer, Fields, Value};
use crate::wire::{DecodeError, Problem, Reader, ber, moment};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "kerberos",
    aliases: &["krb5", "kdc"],
    title: "a key distribution centre: its realm, its time, how a user would log in",
    doc: DOC,
    via: &[Via::Udp, Via::Tcp],
    homes: &[Home::new(Via::Udp, 88, "kerberos"), Home::new(Via::Tcp, 88, "kerberos")],
    settings: &[
        Setting {
            name: "realm",
            default: "",
            title: "the realm; without it, what follows the host's own name",
        },
        Setting { name: "user", default: "portolan-probe", title: "the user to ask for" },
    ],
    start,
};

const DOC: &str = "\
Asks a key distribution centre for a ticket for a user that hardly exists, without any secret. The refusal says
what is worth knowing: that it works, and what time it has; from five minutes apart on nobody can log in. The
realm comes from --set realm=EXAMPLE.COM, or is taken from the host's name (dc1.example.com). Where it serves
another one, Windows says so (KDC_ERR_WRONG_REALM); MIT's and Samba's centres know no such user, and repeat the
realm that was asked for.

With --set user=NAME it tells whether there is that user: KDC_ERR_C_PRINCIPAL_UNKNOWN means no,
KDC_ERR_PREAUTH_REQUIRED yes, with the kinds of encryption that its password takes. Each such question may stand
in the centre's log.

Fields: msg_type (KRB_ERROR, AS_REP); error_code; realm; sname; stime and offset_ms, how far its clock is ahead
of this computer's, to within the time that the answer took; e_text; etypes.
";

const ERRORS: [(i64, &str); 22] = [
    (6, "KDC_ERR_C_PRINCIPAL_UNKNOWN"),
    (7, "KDC_ERR_S_PRINCIPAL_UNKNOWN"),
    (8, "KDC_ERR_PRINCIPAL_NOT_UNIQUE"),
    (9, "KDC_ERR_NULL_KEY"),
    (10, "KDC_ERR_CANNOT_POSTDATE"),
    (11, "KDC_ERR_NEVER_VALID"),
    (12, "KDC_ERR_POLICY"),
    (13, "KDC_ERR_BADOPTION"),
    (14, "KDC_ERR_ETYPE_NOSUPP"),
    (16, "KDC_ERR_PADATA_TYPE_NOSUPP"),
    (18, "KDC_ERR_CLIENT_REVOKED"),
    (23, "KDC_ERR_KEY_EXPIRED"),
    (24, "KDC_ERR_PREAUTH_FAILED"),
    (25, "KDC_ERR_PREAUTH_REQUIRED"),
    (29, "KDC_ERR_SVC_UNAVAILABLE"),
    (31, "KRB_AP_ERR_BAD_INTEGRITY"),
    (37, "KRB_AP_ERR_SKEW"),
    (40, "KRB_AP_ERR_MSG_TYPE"),
    (52, "KRB_ERR_RESPONSE_TOO_BIG"),
    (60, "KRB_ERR_GENERIC"),
    (61, "KRB_ERR_FIELD_TOOLONG"),
    (68, "KDC_ERR_WRONG_REALM"),
];
const ETYPES: [(i64, &str); 9] = [
    (18, "aes256-cts-hmac-sha1-96"),
    (17, "aes128-cts-hmac-sha1-96"),
    (20, "aes256-cts-hmac-sha384-192"),
    (19, "aes128-cts-hmac-sha256-128"),
    (23, "rc4-hmac"),
    (16, "des3-cbc-sha1-kd"),
    (24, "rc4-hmac-exp"),
    (3, "des-cbc-md5"),
    (1, "des-cbc-crc"),
];
const GENERAL_STRING: u8 = 0x1b;
const GENERALIZED_TIME: u8 = 0x18;
const KRB_ERROR: u8 = 0x7e;
const AS_REP: u8 = 0x6b;
const PA_ETYPE_INFO2: i64 = 19;
const PREAUTH_REQUIRED: i64 = 25;
const DAY_MS: i64 = 86_400_000;

struct Kerberos {
    via: Via,
    realm: String,
    user: String,
    nonce: i64,
    now_ms: i64,
}

fn start(request: &Request) -> Box<dyn Session> {
    let realm = match request.setting(&PROTOCOL, "realm").as_str() {
        "" => realm_of(&request.host).to_ascii_uppercase(),
        set => set.to_owned(),
    };
    Box::new(Kerberos {
        via: request.via,
        realm,
        user: request.setting(&PROTOCOL, "user"),
        nonce: i64::from(u32::from_be_bytes(request.random("nonce")) >> 1),
        now_ms: i64::try_from(request.now_ms).unwrap_or(i64::MAX / 2),
    })
}

/// What follows the first label of a name; a realm that nobody has, where there is none.
fn realm_of(host: &str) -> &str {
    match host.trim_end_matches('.').split_once('.') {
        Some((_, domain)) if host.parse::<std::net::IpAddr>().is_err() => domain,
        _ => "UNKNOWN.INVALID",
    }
}

impl Session for Kerberos {
    fn hello(&mut self) -> Step {
        let request = self.request();
        let length = u32::try_from(request.len()).unwrap_or(u32::MAX).to_be_bytes();
        Step::Send(if self.via == Via::Udp { request } else { [&length[..], &request].concat() })
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } if self.via == Via::Udp => {
                self.read(Reader::new(data)).unwrap_or(Step::More)
            }
            Event::Bytes { data, .. } => {
                let mut reader = Reader::new(data);
                let message =
                    reader.u32_be("length").and_then(|length| reader.part(length as usize, "message"));
                match message {
                    Ok(message) => Step::of_datagram(self.read(message)),
                    Err(error) => Step::of_stream(Err(error)),
                }
            }
            Event::Closed { .. } | Event::Silence { .. } => Step::failed("it did not answer"),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

/// `[n]` around elements.
fn field(number: u8, parts: &[&[u8]]) -> Vec<u8> {
    ber::write(ber::context_of(number), parts)
}

impl Kerberos {
    /// An AS-REQ for a ticket to get tickets.
    fn request(&self) -> Vec<u8> {
        let number = |value| ber::write_number(ber::INTEGER, value);
        let text = |text: &str| ber::write(GENERAL_STRING, &[text.as_bytes()]);
        let name = |kind: i64, parts: &[&str]| {
            let parts: Vec<u8> = parts.iter().flat_map(|part| text(part)).collect();
            let parts = ber::write(ber::SEQUENCE, &[&parts]);
            ber::write(ber::SEQUENCE, &[&field(0, &[&number(kind)]), &field(1, &[&parts])])
        };
        let till: String =
            moment::text(self.now_ms + DAY_MS).chars().filter(|c| c.is_ascii_digit() || *c == 'Z').collect();
        let etypes: Vec<u8> =
            ETYPES.iter().flat_map(|(number, _)| ber::write_number(ber::INTEGER, *number)).collect();
        let body = [
            field(0, &[&ber::write(ber::BIT_STRING, &[&[0; 5]])]),
            field(1, &[&name(1, &[&self.user])]),
            field(2, &[&text(&self.realm)]),
            field(3, &[&name(2, &["krbtgt", &self.realm])]),
            field(5, &[&ber::write(GENERALIZED_TIME, &[till.as_bytes()])]),
            field(7, &[&number(self.nonce)]),
            field(8, &[&ber::write(ber::SEQUENCE, &[&etypes])]),
        ];
        let body = ber::write(ber::SEQUENCE, &[&body.concat()]);
        let request = [field(1, &[&number(5)]), field(2, &[&number(10)]), field(4, &[&body])].concat();
        ber::write(ber::application(10), &[&ber::write(ber::SEQUENCE, &[&request])])
    }

    fn read(&self, mut message: Reader<'_>) -> Result<Step, DecodeError> {
        let start = message.offset();
        let (kind, mut content) = ber::any(&mut message, "KDC reply")?;
        let sequence = ber::element(&mut content, ber::SEQUENCE, "SEQUENCE")?;
        match kind {
            KRB_ERROR => self.error(sequence),
            AS_REP => as_rep(sequence),
            other => Err(Reader::error_at(start, "KDC reply", Problem::Value(other.into()))),
        }
    }

    fn error(&self, mut sequence: Reader<'_>) -> Result<Step, DecodeError> {
        let mut fields = Fields::new().with("msg_type", "KRB_ERROR");
        let (mut code, mut realm, mut time, mut more) = (None, None, None, None);
        let (mut sname, mut said, mut micros) = (None, None, 0);
        while !sequence.is_empty() {
            let (tag, mut content) = ber::any(&mut sequence, "KRB-ERROR field")?;
            match tag & 0x1f {
                4 => time = generalized_time(&mut content)?,
                5 => micros = ber::integer(&mut content, "susec")?,
                6 => code = Some(ber::integer(&mut content, "error-code")?),
                9 => realm = Some(string(&mut content, "realm")?),
                10 => sname = Some(principal(&mut content)?),
                11 => said = Some(string(&mut content, "e-text")?),
                12 => more = Some(ber::octets(&mut content, "e-data")?),
                _ => {}
            }
        }
        let Some(code) = code else {
            return Err(Reader::error_at(sequence.offset(), "error-code", Problem::Truncated));
        };
        let name = ERRORS.iter().find(|(known, _)| *known == code);
        let name = name.map_or_else(|| format!("error-code {code}"), |(_, name)| (*name).to_owned());
        let etypes = more.map(etypes).unwrap_or_default();
        // Only who knows the user surely serves the realm.
        let whose =
            realm.as_deref().filter(|_| code == PREAUTH_REQUIRED).unwrap_or("a key distribution centre");
        let summary = format!("{whose}, {} ({name})", time.map(moment::text).unwrap_or_default());
        fields = fields
            .with("error_code", name)
            .with_some("realm", realm)
            .with_some("sname", sname)
            .with_some("stime", time.map(moment::text))
            .with_some("offset_ms", time.map(|time| time + micros.clamp(0, 999_999) / 1000 - self.now_ms))
            .with_some("e_text", said)
            .with_some("etypes", (!etypes.is_empty()).then(|| Value::list(etypes)));
        Ok(Step::Done(Answer::new(PROTOCOL.id, summary, fields)))
    }
}

/// A ticket: for a user who needs no preauthentication.
fn as_rep(mut sequence: Reader<'_>) -> Result<Step, DecodeError> {
    let mut fields = Fields::new().with("msg_type", "AS_REP");
    while !sequence.is_empty() {
        let (tag, mut content) = ber::any(&mut sequence, "AS-REP field")?;
        if tag == ber::context_of(3) {
            fields.push("realm", string(&mut content, "crealm")?);
        }
    }
    let summary =
        format!("{}, a ticket without preauthentication", fields.text("realm").unwrap_or("a realm"));
    Ok(Step::Done(Answer::new(PROTOCOL.id, summary, fields)))
}

fn string(content: &mut Reader<'_>, field: &'static str) -> Result<String, DecodeError> {
    let text = ber::element(content, GENERAL_STRING, field)?.rest();
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// A PrincipalName, its parts with slashes between.
fn principal(content: &mut Reader<'_>) -> Result<String, DecodeError> {
    let mut name = ber::element(content, ber::SEQUENCE, "PrincipalName")?;
    ber::element(&mut name, ber::context_of(0), "name-type")?;
    let mut strings = ber::element(&mut name, ber::context_of(1), "name-string")?;
    let mut list = ber::element(&mut strings, ber::SEQUENCE, "name-string")?;
    let mut parts = Vec::new();
    while !list.is_empty() {
        parts.push(string(&mut list, "name-string")?);
    }
    Ok(parts.join("/"))
}

/// A KerberosTime, `20260101120000Z`, in milliseconds since 1970; none where it is none.
fn generalized_time(content: &mut Reader<'_>) -> Result<Option<i64>, DecodeError> {
    let text = ber::element(content, GENERALIZED_TIME, "stime")?.rest();
    Ok(std::str::from_utf8(text).ok().and_then(moment::of_digits))
}

/// The encryption types of METHOD-DATA's ETYPE-INFO2; nothing where e-data is something else.
fn etypes(data: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    // What stands there depends on the error and on the maker: what cannot be read is left out.
    let _ = (|| -> Result<(), DecodeError> {
        let mut list = ber::element(&mut Reader::new(data), ber::SEQUENCE, "METHOD-DATA")?;
        while !list.is_empty() {
            let mut entry = ber::element(&mut list, ber::SEQUENCE, "PA-DATA")?;
            let kind = ber::integer(
                &mut ber::element(&mut entry, ber::context_of(1), "padata-type")?,
                "padata-type",
            )?;
            let mut value = ber::element(&mut entry, ber::context_of(2), "padata-value")?;
            if kind != PA_ETYPE_INFO2 {
                continue;
            }
            let octets = ber::octets(&mut value, "padata-value")?;
            let mut infos = ber::element(&mut Reader::new(octets), ber::SEQUENCE, "ETYPE-INFO2")?;
            while !infos.is_empty() {
                let mut info = ber::element(&mut infos, ber::SEQUENCE, "ETYPE-INFO2-ENTRY")?;
                let number =
                    ber::integer(&mut ber::element(&mut info, ber::context_of(0), "etype")?, "etype")?;
                let known = ETYPES.iter().find(|(known, _)| *known == number);
                found.push(known.map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned()));
            }
        }
        Ok(())
    })();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    #[test]
    fn the_centres_time_is_told_and_compared() {
        let reply = include_bytes!("../../tests/recordings/probe/kerberos-mit.bin");
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Udp), &[reply]);
        assert_eq!(
            answer.summary,
            "a key distribution centre, 2026-11-22T00:50:37Z (KDC_ERR_C_PRINCIPAL_UNKNOWN)"
        );
        let json = r#"{"msg_type":"KRB_ERROR","error_code":"KDC_ERR_C_PRINCIPAL_UNKNOWN","realm":"LAB.TEST","sname":"krbtgt/LAB.TEST","stime":"2026-11-22T00:50:37Z","offset_ms":45308637957,"e_text":"CLIENT_NOT_FOUND"}"#;
        assert_eq!(serde_json::to_string(&answer.fields).unwrap(), json);
    }

    #[test]
    fn how_a_user_would_log_in_is_told() {
        // Samba 4.17's centre, over TCP, with its length before it.
        let reply = include_bytes!("../../tests/recordings/probe/kerberos-samba-preauth.bin");
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[reply]);
        assert_eq!(answer.summary, "LAB.TEST, 2026-11-22T00:50:38Z (KDC_ERR_PREAUTH_REQUIRED)");
        let etypes = Value::list(["aes256-cts-hmac-sha1-96"]);
        assert_eq!(answer.fields.value("etypes"), Some(&etypes));
    }

    #[test]
    fn the_realm_is_taken_from_the_hosts_name() {
        assert_eq!(realm_of("dc1.lab.test."), "lab.test");
        for host in ["dc1", "192.0.2.1", "2001:db8::1", ""] {
            assert_eq!(realm_of(host), "UNKNOWN.INVALID");
        }
        let mut request = request(&PROTOCOL, Via::Udp);
        let sent = |request: &Request| play(&PROTOCOL, request, &[]).sent.concat();
        let has = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).any(|part| part == text);
        assert!(has(&sent(&request), b"\xa2\x09\x1b\x07EXAMPLE") && has(&sent(&request), b"20250616150640Z"));
        request.settings = vec![("realm".into(), "LAB.TEST".into()), ("user".into(), "alice".into())];
        assert!(has(&sent(&request), b"\x1b\x08LAB.TEST") && has(&sent(&request), b"\x1b\x05alice"));
    }
}
