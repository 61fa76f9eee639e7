//! LDAP messages, as far as asking a server about itself needs: a search below nothing, and what it brings.
//!
//! Source: RFC 4511 sections 4.1 (messages, results), 4.5 (searches), 4.12 (ExtendedResponse); appendix A.1 (codes).
//! Names of fields are the RFC's. MS-ADTS section 6.3.3 uses the same messages over UDP.
//! Leaves out on purpose: binding, controls, referrals' content, and every filter but presence and equality.

use super::{DecodeError, Reader, ber};
use crate::answer::{Fields, Value};

/// A filter: objects that have this attribute.
pub fn present(attribute: &str) -> Vec<u8> {
    ber::write(ber::context(7), &[attribute.as_bytes()])
}

/// A filter: objects with this value of the attribute.
pub fn equal(attribute: &str, value: &[u8]) -> Vec<u8> {
    ber::write(ber::context_of(3), &[&ber::write_octets(attribute.as_bytes()), &ber::write_octets(value)])
}

/// A SearchRequest for the object without a name (the rootDSE), with this filter; no attributes means all of the user's.
pub fn search(message_id: i64, filter: &[u8], attributes: &[&str]) -> Vec<u8> {
    let attributes: Vec<u8> = attributes.iter().flat_map(|name| ber::write_octets(name.as_bytes())).collect();
    let none = || ber::write_number(ber::ENUMERATED, 0);
    let unlimited = || ber::write_number(ber::INTEGER, 0);
    let request = [
        &ber::write_octets(b"")[..],
        // baseObject, neverDerefAliases, sizeLimit, timeLimit, typesOnly.
        &[none(), none(), unlimited(), unlimited(), ber::write(ber::BOOLEAN, &[&[0]])].concat(),
        filter,
        &ber::write(ber::SEQUENCE, &[&attributes]),
    ];
    let operation = ber::write(ber::application(3), &request);
    ber::write(ber::SEQUENCE, &[&ber::write_number(ber::INTEGER, message_id), &operation])
}

/// An attribute of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its name, as the server writes it.
    pub kind: &'a [u8],
    /// Its values.
    pub values: Vec<&'a [u8]>,
}

impl Attribute<'_> {
    /// Whether it has this name; case does not matter (RFC 4512 section 2.5).
    pub fn is(&self, name: &str) -> bool {
        self.kind.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapResult {
    /// 0 is success.
    pub result_code: i64,
    /// What the server says about it; often empty.
    pub diagnostic_message: Vec<u8>,
}

impl LdapResult {
    /// The code's name in RFC 4511.
    pub fn name(&self) -> String {
        let known = RESULT_CODES.iter().find(|(code, _)| *code == self.result_code);
        known.map_or_else(|| format!("resultCode {}", self.result_code), |(_, name)| (*name).to_owned())
    }
}

const RESULT_CODES: [(i64, &str); 20] = [
    (0, "success"),
    (1, "operationsError"),
    (2, "protocolError"),
    (3, "timeLimitExceeded"),
    (4, "sizeLimitExceeded"),
    (7, "authMethodNotSupported"),
    (8, "strongerAuthRequired"),
    (10, "referral"),
    (11, "adminLimitExceeded"),
    (12, "unavailableCriticalExtension"),
    (13, "confidentialityRequired"),
    (32, "noSuchObject"),
    (34, "invalidDNSyntax"),
    (48, "inappropriateAuthentication"),
    (49, "invalidCredentials"),
    (50, "insufficientAccessRights"),
    (51, "busy"),
    (52, "unavailable"),
    (53, "unwillingToPerform"),
    (80, "other"),
];

/// What a message brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// SearchResultEntry.
    Entry(Vec<Attribute<'a>>),
    /// SearchResultDone, or an ExtendedResponse: the server's notice that it hangs up comes as one.
    Done(LdapResult),
    /// Something else, by its tag: a reference.
    Other(u8),
}

/// The content of the next message of a stream or datagram; cut where it is not all there.
pub fn envelope<'a>(reader: &mut Reader<'a>) -> Result<Reader<'a>, DecodeError> {
    ber::element(reader, ber::SEQUENCE, "LDAPMessage")
}

/// Its messageID and what it brings.
pub fn message<'a>(mut envelope: Reader<'a>) -> Result<(i64, Operation<'a>), DecodeError> {
    let id = ber::integer(&mut envelope, "messageID")?;
    let (tag, mut content) = ber::any(&mut envelope, "protocolOp")?;
    let operation = match tag {
        0x64 => {
            ber::octets(&mut content, "objectName")?;
            Operation::Entry(attributes(content)?)
        }
        0x65 | 0x78 => {
            let code = ber::element(&mut content, ber::ENUMERATED, "resultCode")?;
            let result_code = ber::number(code, "resultCode")?;
            ber::octets(&mut content, "matchedDN")?;
            let diagnostic_message = ber::octets(&mut content, "diagnosticMessage")?.to_vec();
            Operation::Done(LdapResult { result_code, diagnostic_message })
        }
        other => Operation::Other(other),
    };
    Ok((id, operation))
}

fn attributes(mut entry: Reader<'_>) -> Result<Vec<Attribute<'_>>, DecodeError> {
    let mut list = ber::element(&mut entry, ber::SEQUENCE, "attributes")?;
    let mut attributes = Vec::new();
    while !list.is_empty() {
        let mut attribute = ber::element(&mut list, ber::SEQUENCE, "PartialAttribute")?;
        let kind = ber::octets(&mut attribute, "type")?;
        let mut set = ber::element(&mut attribute, ber::SET, "vals")?;
        let mut values = Vec::new();
        while !set.is_empty() {
            values.push(ber::octets(&mut set, "AttributeValue")?);
        }
        attributes.push(Attribute { kind, values });
    }
    Ok(attributes)
}

/// Attributes by the server's names, each with the list of its values; what is no text is hexadecimal.
pub fn fields<'a>(attributes: impl IntoIterator<Item = &'a Attribute<'a>>) -> Fields {
    let mut fields = Fields::new();
    for attribute in attributes {
        fields.push_foreign(attribute.kind, Value::list(attribute.values.iter().map(|bytes| value(bytes))));
    }
    fields
}

fn value(bytes: &[u8]) -> Value {
    let is_text =
        std::str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(|c| c.is_control() && c != '\n'));
    if is_text { bytes.into() } else { Value::hex(bytes) }
}

/// The first value of an attribute, as text for a summary.
pub fn first(attributes: &[Attribute<'_>], name: &str) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.is(name))?;
    attribute.values.first().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_written_as_ldapsearch_writes_it() {
        // ldapsearch 2.5.13 -x -s base -b "" (after its bind), as seen on the wire.
        let sent = b"\x30\x25\x02\x01\x02\x63\x20\x04\0\x0a\x01\0\x0a\x01\0\x02\x01\0\x02\x01\0\x01\x01\0\
            \x87\x0bobjectClass\x30\0";
        assert_eq!(search(2, &present("objectClass"), &[]), sent);
        assert_eq!(equal("a", &[6]), b"\xa3\x06\x04\x01a\x04\x01\x06");
    }

    #[test]
    fn values_that_are_no_text_are_shown_as_digits() {
        let attributes = [
            Attribute { kind: b"objectGUID", values: vec![&[0, 0xff]] },
            Attribute { kind: b"dnsHostName", values: vec![b"dc1.lab.test", b"other"] },
        ];
        let json = r#"{"objectGUID":["00:ff"],"dnsHostName":["dc1.lab.test","other"]}"#;
        assert_eq!(serde_json::to_string(&fields(&attributes)).unwrap(), json);
        assert_eq!(first(&attributes, "DNSHOSTNAME").as_deref(), Some("dc1.lab.test"));
    }
}
