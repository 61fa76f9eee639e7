//! Certificates: whom they name, who issued them, and how long they count.
//!
//! Source: RFC 5280 section 4.1 (the fields), 4.2.1.6 (subject alternative names), RFC 3279, RFC 5480 and RFC 8410
//! (keys and signatures), RFC 4519 (short names of attributes).
//! Leaves out on purpose: signatures and trust, which whoever made the connection has to judge; every extension but the
//! alternative names. A certificate is shown, not believed. An existing reader would bring twenty crates for this.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::ber::{self, SEQUENCE};
use super::{DecodeError, Problem, Reader, moment};

const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const BMP_STRING: u8 = 0x1e;
/// The most alternative names that are kept.
const MOST_NAMES: usize = 1000;
const DAY_MS: i64 = 86_400_000;

/// Short names of attributes, as RFC 4519 and OpenSSL write them.
const ATTRIBUTES: [(&str, &str); 11] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.42", "GN"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

const ALGORITHMS: [(&str, &str); 23] = [
    ("1.2.840.113549.1.1.1", "RSA"),
    ("1.2.840.10045.2.1", "EC"),
    ("1.3.101.112", "Ed25519"),
    ("1.3.101.113", "Ed448"),
    ("1.2.840.10040.4.1", "DSA"),
    ("1.2.840.10045.3.1.7", "P-256"),
    ("1.3.132.0.34", "P-384"),
    ("1.3.132.0.35", "P-521"),
    ("1.3.132.0.10", "secp256k1"),
    ("1.2.840.113549.1.1.4", "md5WithRSAEncryption"),
    ("1.2.840.113549.1.1.5", "sha1WithRSAEncryption"),
    ("1.2.840.113549.1.1.10", "RSASSA-PSS"),
    ("1.2.840.113549.1.1.11", "sha256WithRSAEncryption"),
    ("1.2.840.113549.1.1.12", "sha384WithRSAEncryption"),
    ("1.2.840.113549.1.1.13", "sha512WithRSAEncryption"),
    ("1.2.840.10045.4.1", "ecdsa-with-SHA1"),
    ("1.2.840.10045.4.3.2", "ecdsa-with-SHA256"),
    ("1.2.840.10045.4.3.3", "ecdsa-with-SHA384"),
    ("1.2.840.10045.4.3.4", "ecdsa-with-SHA512"),
    ("1.2.840.10040.4.3", "dsa-with-SHA1"),
    ("2.16.840.1.101.3.4.3.17", "ML-DSA-44"),
    ("2.16.840.1.101.3.4.3.18", "ML-DSA-65"),
    ("2.16.840.1.101.3.4.3.19", "ML-DSA-87"),
];

/// What a certificate says. Texts are as they came: whoever shows them makes them harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is: `C=DE, O=Example, CN=www.example.com`, in the order of the certificate; may be empty.
    pub subject: String,
    /// Who issued it, written alike.
    pub issuer: String,
    /// Names and addresses of the subject: `www.example.com`, `192.0.2.1`.
    pub subject_alt_names: Vec<String>,
    /// Its number, without the zero byte before it by which DER says that it is positive.
    pub serial_number: Vec<u8>,
    /// When it begins to count.
    pub not_before: Time,
    /// When it ceases to count.
    pub not_after: Time,
    /// The kind and size of the key: `RSA 2048`, `EC P-256`.
    pub public_key: String,
    /// How it is signed: `ecdsa-with-SHA256`.
    pub signature_algorithm: String,
}

/// A time of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Time {
    /// `2026-11-22T00:28:43Z`.
    pub text: String,
    /// Milliseconds since 1970-01-01 UTC; negative before.
    pub ms: i64,
}

impl Time {
    /// Whole days from `now_ms` until this time, rounded down; negative once it is over.
    pub const fn days_after(&self, now_ms: u64) -> i64 {
        self.ms.saturating_sub_unsigned(now_ms).div_euclid(DAY_MS)
    }
}

impl Certificate {
    /// Reads a certificate in DER.
    pub fn read(der: &[u8]) -> Result<Self, DecodeError> {
        let mut certificate = ber::element(&mut Reader::new(der), SEQUENCE, "Certificate")?;
        let mut tbs = ber::element(&mut certificate, SEQUENCE, "tbsCertificate")?;
        ber::optional(&mut tbs, ber::context_of(0), "version")?;
        let serial_number = match ber::element(&mut tbs, ber::INTEGER, "serialNumber")?.rest() {
            [0, number @ ..] if !number.is_empty() => number.to_vec(),
            number => number.to_vec(),
        };
        let signature_algorithm = algorithm(&mut tbs, "signature")?.0;
        let issuer = name(&mut tbs, "issuer")?;
        let mut validity = ber::element(&mut tbs, SEQUENCE, "validity")?;
        let (not_before, not_after) = (time(&mut validity, "notBefore")?, time(&mut validity, "notAfter")?);
        let subject = name(&mut tbs, "subject")?;
        let public_key = public_key(&mut tbs)?;
        ber::optional(&mut tbs, ber::context(1), "issuerUniqueID")?;
        ber::optional(&mut tbs, ber::context(2), "subjectUniqueID")?;
        let subject_alt_names = match ber::optional(&mut tbs, ber::context_of(3), "extensions")? {
            Some(extensions) => alternative_names(extensions)?,
            None => Vec::new(),
        };
        Ok(Self {
            subject,
            issuer,
            subject_alt_names,
            serial_number,
            not_before,
            not_after,
            public_key,
            signature_algorithm,
        })
    }

    /// Whom it is for, in a word: its first alternative name, or else its subject.
    pub fn holder(&self) -> &str {
        self.subject_alt_names.first().map_or(&self.subject, |name| name)
    }
}

/// An AlgorithmIdentifier: its name or number, and its parameters.
fn algorithm<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<(String, Reader<'a>), DecodeError> {
    let mut identifier = ber::element(reader, SEQUENCE, field)?;
    let number = ber::oid(ber::element(&mut identifier, ber::OBJECT_IDENTIFIER, field)?, field)?;
    Ok((known(&ALGORITHMS, number), identifier))
}

fn known(table: &[(&str, &str)], number: String) -> String {
    table.iter().find(|(known, _)| *known == number).map(|(_, name)| (*name).to_owned()).unwrap_or(number)
}

/// SubjectPublicKeyInfo.
fn public_key(tbs: &mut Reader<'_>) -> Result<String, DecodeError> {
    let mut info = ber::element(tbs, SEQUENCE, "subjectPublicKeyInfo")?;
    let (kind, mut parameters) = algorithm(&mut info, "algorithm")?;
    let mut bits = ber::element(&mut info, ber::BIT_STRING, "subjectPublicKey")?;
    Ok(match kind.as_str() {
        "RSA" => {
            bits.u8("unused bits")?;
            let mut key = ber::element(&mut bits, SEQUENCE, "RSAPublicKey")?;
            let modulus = ber::element(&mut key, ber::INTEGER, "modulus")?.rest();
            let digits =
                modulus.iter().position(|&byte| byte != 0).map_or(&[][..], |first| &modulus[first..]);
            let spare = digits.first().map_or(0, |byte| byte.leading_zeros() as usize);
            format!("RSA {}", digits.len() * 8 - spare)
        }
        "EC" => match ber::optional(&mut parameters, ber::OBJECT_IDENTIFIER, "namedCurve")? {
            Some(curve) => format!("EC {}", known(&ALGORITHMS, ber::oid(curve, "namedCurve")?)),
            None => kind,
        },
        _ => kind,
    })
}

/// A Name: its attributes, in order.
fn name(reader: &mut Reader<'_>, field: &'static str) -> Result<String, DecodeError> {
    let mut relative = ber::element(reader, SEQUENCE, field)?;
    let mut parts = Vec::new();
    while !relative.is_empty() {
        let mut set = ber::element(&mut relative, ber::SET, field)?;
        while !set.is_empty() {
            let mut attribute = ber::element(&mut set, SEQUENCE, field)?;
            let number = ber::oid(ber::element(&mut attribute, ber::OBJECT_IDENTIFIER, field)?, field)?;
            let (tag, value) = ber::any(&mut attribute, field)?;
            parts.push(format!("{}={}", known(&ATTRIBUTES, number), string(tag, value.rest())));
        }
    }
    Ok(parts.join(", "))
}

/// A DirectoryString, or whatever else stands in its place.
fn string(tag: u8, bytes: &[u8]) -> String {
    match tag {
        BMP_STRING => {
            let (units, _) = bytes.as_chunks();
            String::from_utf16_lossy(&units.iter().map(|unit| u16::from_be_bytes(*unit)).collect::<Vec<_>>())
        }
        UTF8_STRING => String::from_utf8_lossy(bytes).into_owned(),
        // PrintableString, IA5String; TeletexString, which is Latin-1 wherever it was seen.
        _ => bytes.iter().copied().map(char::from).collect(),
    }
}

/// A Time: UTCTime of the years 1950 to 2049, or GeneralizedTime; both in UTC and with seconds.
fn time(reader: &mut Reader<'_>, field: &'static str) -> Result<Time, DecodeError> {
    let start = reader.offset();
    let bad = |value: u8| Reader::error_at(start, field, Problem::Value(value.into()));
    let (tag, content) = ber::any(reader, field)?;
    let digits = content.rest();
    let written = match (tag, digits) {
        (UTC_TIME, [b'0'..=b'4', ..]) => [b"20", digits].concat(),
        (UTC_TIME, _) => [b"19", digits].concat(),
        (GENERALIZED_TIME, _) => digits.to_vec(),
        _ => return Err(bad(tag)),
    };
    let ms = std::str::from_utf8(&written).ok().and_then(moment::of_digits).ok_or(bad(tag))?;
    let text = moment::text(ms);
    Ok(Time { text, ms })
}

/// The subjectAltName among the extensions.
fn alternative_names(mut extensions: Reader<'_>) -> Result<Vec<String>, DecodeError> {
    let mut list = ber::element(&mut extensions, SEQUENCE, "extensions")?;
    while !list.is_empty() {
        let mut extension = ber::element(&mut list, SEQUENCE, "Extension")?;
        let number = ber::oid(ber::element(&mut extension, ber::OBJECT_IDENTIFIER, "extnID")?, "extnID")?;
        ber::optional(&mut extension, ber::BOOLEAN, "critical")?;
        let mut value = ber::element(&mut extension, ber::OCTET_STRING, "extnValue")?;
        if number != "2.5.29.17" {
            continue;
        }
        let mut general = ber::element(&mut value, SEQUENCE, "GeneralNames")?;
        let mut names = Vec::new();
        while !general.is_empty() && names.len() < MOST_NAMES {
            let (tag, name) = ber::any(&mut general, "GeneralName")?;
            let bytes = name.rest();
            match tag & 0x1f {
                // rfc822Name, dNSName, uniformResourceIdentifier.
                1 | 2 | 6 => names.push(string(0, bytes)),
                7 => names.push(match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
                    (Ok(address), _) => Ipv4Addr::from(address).to_string(),
                    (_, Ok(address)) => Ipv6Addr::from(address).to_string(),
                    _ => {
                        return Err(Reader::error_at(
                            name.offset(),
                            "iPAddress",
                            Problem::Value(bytes.len() as u64),
                        ));
                    }
                }),
                // Kerberos principals and the like: nothing that a person would look for.
                _ => {}
            }
        }
        return Ok(names);
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with OpenSSL 3.0.17: `openssl req -x509 -newkey ec … -addext subjectAltName=…`.
    const EC: &[u8] = include_bytes!("../../tests/recordings/probe/x509-ec.der");
    const RSA: &[u8] = include_bytes!("../../tests/recordings/probe/x509-rsa.der");

    #[test]
    fn what_openssl_shows_of_a_certificate_is_what_is_read() {
        let certificate = Certificate::read(EC).unwrap();
        assert_eq!(certificate.subject, "C=DE, O=Portolan, CN=lab.test");
        assert_eq!(certificate.issuer, certificate.subject);
        assert_eq!(
            certificate.subject_alt_names,
            ["lab.test", "*.lab.test", "10.85.0.2", "2001:db8::2", "a@lab.test"]
        );
        assert_eq!(certificate.not_before.text, "2026-11-22T00:34:33Z");
        assert_eq!(certificate.not_after.ms, 2_110_667_673_000);
        assert_eq!(certificate.public_key, "EC P-256");
        assert_eq!(certificate.signature_algorithm, "ecdsa-with-SHA256");
        assert_eq!(certificate.serial_number[..3], [0x7f, 0x86, 0x34]);
        assert_eq!(certificate.holder(), "lab.test");
    }

    #[test]
    fn a_serial_number_s_sign_is_none_of_its_digits() {
        let at = EC.windows(3).position(|bytes| bytes == [0x7f, 0x86, 0x34]).unwrap();
        let mut certificate = EC.to_vec();
        certificate[at] = 0;
        let serial_number = Certificate::read(&certificate).unwrap().serial_number;
        assert_eq!((&serial_number[..2], serial_number.len()), (&[0x86, 0x34][..], 19));
    }

    #[test]
    fn other_keys_letters_and_far_years_are_read_too() {
        let certificate = Certificate::read(RSA).unwrap();
        assert_eq!(certificate.subject, "CN=Größe, emailAddress=a@b");
        assert_eq!(
            (certificate.public_key.as_str(), certificate.serial_number),
            ("RSA 1024", vec![0x12, 0x34])
        );
        assert_eq!(
            certificate.not_after,
            Time { text: "2066-11-12T00:34:33Z".into(), ms: 3_056_747_673_000 }
        );
        assert_eq!(certificate.not_after.days_after(3_056_747_674_000), -1);
        assert_eq!(certificate.subject_alt_names, Vec::<String>::new());
    }

    #[test]
    fn times_count_in_the_calendar() {
        let read = |tag: u8, text: &str| time(&mut Reader::new(&ber::write(tag, &[text.as_bytes()])), "t");
        for (tag, text, ms) in [
            (UTC_TIME, "700101000000Z", 0),
            (UTC_TIME, "691231235959Z", -1000),
            (UTC_TIME, "500101000000Z", -631_152_000_000),
            (UTC_TIME, "491231000000Z", 2_524_521_600_000),
            (GENERALIZED_TIME, "20000229120000Z", 951_825_600_000),
            (GENERALIZED_TIME, "99991231235959Z", 253_402_300_799_000),
        ] {
            assert_eq!(read(tag, text).unwrap().ms, ms, "{text}");
        }
        for bad in ["", "Z", "7001010000Z", "701301000000Z", "700101000000+0100", "70010100000xZ"] {
            assert!(read(UTC_TIME, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cut_or_changed_certificate_never_panics() {
        for whole in [EC, RSA] {
            for place in 0..whole.len() {
                assert!(Certificate::read(&whole[..place]).is_err());
                for value in [0, 0xff, 0x30, 0x80, whole[place] ^ 1] {
                    let mut changed = whole.to_vec();
                    changed[place] = value;
                    let _ = Certificate::read(&changed);
                }
            }
        }
    }
}
