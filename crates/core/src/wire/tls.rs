//! The first messages of a TLS handshake up to version 1.2: a hello that also old servers understand, and what they
//! answer in the clear.
//!
//! Source: RFC 5246 section 6.2.1 (records), 7.2 (alerts), 7.4 (handshake); RFC 2246 and RFC 4346 (versions 1.0 and 1.1,
//! alike as far as the certificate); RFC 6066 section 3 (server_name); IANA's TLS parameters (numbers).
//! Leaves out on purpose: everything that needs cryptography, and TLS 1.3, which encrypts its certificates.

use super::{DecodeError, Problem, Reader};

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;
const CERTIFICATE: u8 = 11;
const SERVER_HELLO_DONE: u8 = 14;
/// RFC 5246 section 6.2.1, with room for what compression may add.
const LONGEST_RECORD: usize = (1 << 14) + 2048;
/// More than any chain of certificates.
const LONGEST_MESSAGE: usize = 200_000;

/// Offered in this order. Whoever can do nothing better shall answer all the same: nothing secret is ever sent.
const CIPHER_SUITES: [(u16, &str); 26] = [
    (0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"),
    (0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    (0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"),
    (0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    (0xc00a, "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"),
    (0xc009, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"),
    (0xc014, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"),
    (0xc013, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"),
    (0x009f, "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384"),
    (0x009e, "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256"),
    (0x0039, "TLS_DHE_RSA_WITH_AES_256_CBC_SHA"),
    (0x0033, "TLS_DHE_RSA_WITH_AES_128_CBC_SHA"),
    (0x0038, "TLS_DHE_DSS_WITH_AES_256_CBC_SHA"),
    (0x009d, "TLS_RSA_WITH_AES_256_GCM_SHA384"),
    (0x009c, "TLS_RSA_WITH_AES_128_GCM_SHA256"),
    (0x003d, "TLS_RSA_WITH_AES_256_CBC_SHA256"),
    (0x003c, "TLS_RSA_WITH_AES_128_CBC_SHA256"),
    (0x0035, "TLS_RSA_WITH_AES_256_CBC_SHA"),
    (0x002f, "TLS_RSA_WITH_AES_128_CBC_SHA"),
    (0xc012, "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA"),
    (0x0016, "TLS_DHE_RSA_WITH_3DES_EDE_CBC_SHA"),
    (0x000a, "TLS_RSA_WITH_3DES_EDE_CBC_SHA"),
    (0x0005, "TLS_RSA_WITH_RC4_128_SHA"),
    (0x0004, "TLS_RSA_WITH_RC4_128_MD5"),
    (0x0018, "TLS_DH_anon_WITH_RC4_128_MD5"),
    (0x00ff, "TLS_EMPTY_RENEGOTIATION_INFO_SCSV"),
];

const ALERTS: [(u8, &str); 18] = [
    (0, "close_notify"),
    (10, "unexpected_message"),
    (20, "bad_record_mac"),
    (22, "record_overflow"),
    (40, "handshake_failure"),
    (42, "bad_certificate"),
    (43, "unsupported_certificate"),
    (47, "illegal_parameter"),
    (48, "unknown_ca"),
    (49, "access_denied"),
    (50, "decode_error"),
    (51, "decrypt_error"),
    (70, "protocol_version"),
    (71, "insufficient_security"),
    (80, "internal_error"),
    (86, "inappropriate_fallback"),
    (112, "unrecognized_name"),
    (120, "no_application_protocol"),
];

/// What a server answered in the clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerFlight {
    /// It agreed.
    Hello {
        /// `TLS 1.0`.
        version: String,
        /// The cipher suite's name, or its number.
        cipher_suite: String,
        /// The certificates, the server's own first, in DER; none where the suite needs none.
        chain: Vec<Vec<u8>>,
    },
    /// It refused: the alert's name, or its number.
    Alert(String),
}

/// A ClientHello for TLS 1.2 and older, in a record. `host` is named to the server where it is a domain name.
pub fn client_hello(random: [u8; 32], host: &str) -> Vec<u8> {
    let mut extensions = Vec::new();
    let is_name = host.is_ascii() && !host.is_empty() && host.len() < 256 && !host.contains(':');
    if is_name && host.parse::<std::net::IpAddr>().is_err() {
        let name = [&[0][..], &sized(host.as_bytes())].concat();
        extensions.extend(extension(0, &sized(&name)));
    }
    // supported_groups: x25519, P-256, P-384, P-521; ec_point_formats: uncompressed.
    extensions.extend(extension(10, &sized(&[0, 29, 0, 23, 0, 24, 0, 25])));
    extensions.extend(extension(11, &[1, 0]));
    // signature_algorithms: ECDSA, RSA-PSS, RSA, DSA; SHA-256, 384, 512 and 1.
    let signatures = [4, 3, 5, 3, 6, 3, 8, 4, 8, 5, 8, 6, 4, 1, 5, 1, 6, 1, 2, 3, 2, 1, 2, 2];
    extensions.extend(extension(13, &sized(&signatures)));
    let suites: Vec<u8> = CIPHER_SUITES.iter().flat_map(|(number, _)| number.to_be_bytes()).collect();
    let hello = [&[3, 3][..], &random, &[0], &sized(&suites), &[1, 0], &sized(&extensions)].concat();
    let length = (hello.len() as u32).to_be_bytes();
    let message = [&[CLIENT_HELLO], &length[1..], &hello].concat();
    // The record says 1.0: servers of that time refuse what says more.
    [&[HANDSHAKE, 3, 1][..], &sized(&message)].concat()
}

/// Bytes after their length in 16 bits.
fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &sized(content)].concat()
}

/// Reads what a server sent, up to its certificates, or up to where it shows that it sends none.
pub fn server_flight(data: &[u8]) -> Result<ServerFlight, DecodeError> {
    let (mut records, mut messages) = (Reader::new(data), Vec::new());
    loop {
        if let Some(flight) = hello_and_chain(&messages)? {
            return Ok(flight);
        }
        let start = records.offset();
        let bad = |field, value: u64| Reader::error_at(start, field, Problem::Value(value));
        let kind = records.u8("ContentType")?;
        if kind != ALERT && kind != HANDSHAKE {
            return Err(bad("ContentType", kind.into()));
        }
        let major = records.u8("ProtocolVersion")?;
        if major != 3 {
            return Err(bad("ProtocolVersion", major.into()));
        }
        records.u8("ProtocolVersion")?;
        let length = usize::from(records.u16_be("record length")?);
        if length > LONGEST_RECORD || messages.len() > LONGEST_MESSAGE {
            return Err(bad("record length", length as u64));
        }
        let mut fragment = records.part(length, "fragment")?;
        if kind == HANDSHAKE {
            messages.extend_from_slice(fragment.rest());
            continue;
        }
        let (level, description) = (fragment.u8("AlertLevel")?, fragment.u8("AlertDescription")?);
        // A warning goes before the rest: unrecognized_name, where the server has no such name.
        if level != 1 {
            return Ok(ServerFlight::Alert(alert(description)));
        }
    }
}

/// The name of an alert.
fn alert(description: u8) -> String {
    let known = ALERTS.iter().find(|(code, _)| *code == description);
    known.map_or_else(|| format!("alert {description}"), |(_, name)| (*name).to_owned())
}

/// What the handshake's messages say; nothing while they are not complete.
fn hello_and_chain(messages: &[u8]) -> Result<Option<ServerFlight>, DecodeError> {
    let mut reader = Reader::new(messages);
    let mut hello = None;
    while reader.remaining() >= 4 {
        let mut ahead = reader;
        let (kind, length) = (ahead.u8("HandshakeType")?, ahead.u24_be("handshake length")? as usize);
        if length > LONGEST_MESSAGE {
            return Err(Reader::error_at(reader.offset(), "handshake length", Problem::Value(length as u64)));
        }
        let Ok(mut body) = ahead.part(length, "handshake body") else { return Ok(None) };
        let start = reader.offset();
        reader = ahead;
        match (kind, &hello) {
            (SERVER_HELLO, None) => hello = Some(server_hello(&mut body).map_err(no_longer_cut)?),
            (CERTIFICATE, Some((version, suite))) => {
                let chain = certificates(&mut body).map_err(no_longer_cut)?;
                let (version, cipher_suite) = (version.clone(), suite.clone());
                return Ok(Some(ServerFlight::Hello { version, cipher_suite, chain }));
            }
            (SERVER_HELLO_DONE, Some((version, suite))) => {
                let (version, cipher_suite) = (version.clone(), suite.clone());
                return Ok(Some(ServerFlight::Hello { version, cipher_suite, chain: Vec::new() }));
            }
            (_, Some(_)) => {}
            _ => return Err(Reader::error_at(start, "HandshakeType", Problem::Value(kind.into()))),
        }
    }
    Ok(None)
}

/// What is cut inside a whole message does not get longer by waiting.
const fn no_longer_cut(error: DecodeError) -> DecodeError {
    match error.problem {
        Problem::Truncated => Reader::error_at(error.offset, error.field, Problem::Value(0)),
        Problem::Value(_) => error,
    }
}

fn server_hello(body: &mut Reader<'_>) -> Result<(String, String), DecodeError> {
    let version = body.u16_be("server_version")?;
    body.take(32, "random")?;
    let length = body.u8("session_id length")?;
    body.take(length.into(), "session_id")?;
    let suite = body.u16_be("cipher_suite")?;
    let version = match version {
        0x0300 => "SSL 3.0".to_owned(),
        0x0301 => "TLS 1.0".to_owned(),
        0x0302 => "TLS 1.1".to_owned(),
        0x0303 => "TLS 1.2".to_owned(),
        other => format!("TLS version {other:#06x}"),
    };
    let known = CIPHER_SUITES.iter().find(|(number, _)| *number == suite);
    Ok((version, known.map_or_else(|| format!("{suite:#06x}"), |(_, name)| (*name).to_owned())))
}

fn certificates(body: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, DecodeError> {
    let length = body.u24_be("certificate_list length")?;
    let mut list = body.part(length as usize, "certificate_list")?;
    let mut chain = Vec::new();
    while !list.is_empty() {
        let length = list.u24_be("ASN.1Cert length")?;
        chain.push(list.take(length as usize, "ASN.1Cert")?.to_vec());
    }
    Ok(chain)
}
