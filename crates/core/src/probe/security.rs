//! How a stream is encrypted, and by whom: what the certificates say, for people and machines.
//!
//! Source: the names of fields are RFC 8446's and RFC 5280's.
//! Leaves out on purpose: judging. Whether a chain is to be trusted is known to whoever made the connection.

use crate::answer::{Fields, Value};
use crate::wire::x509::Certificate;

/// The most certificates of a chain that are shown.
const MOST_CERTIFICATES: usize = 16;
/// Days before its end from which on a summary speaks of a certificate's end.
const SOON: i64 = 30;

/// How a stream was encrypted, as far as its driver knows. What it says is added to the answer by the driver, as
/// [`Security::fields`] under the name `tls`: only a session that is about TLS itself looks at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// `TLS 1.3`.
    pub version: String,
    /// The cipher suite's name.
    pub cipher: String,
    /// The protocol that was agreed on (ALPN).
    pub protocol: Option<String>,
    /// The certificates that the server sent, its own first, in DER.
    pub chain: Vec<Vec<u8>>,
    /// Why the chain is not to be trusted for this host, where it is not.
    pub problem: Option<String>,
}

impl Security {
    /// What there is to tell, at this time (milliseconds since 1970).
    pub fn fields(&self, now_ms: u64) -> Fields {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let mut fields = Fields::new()
            .with("version", self.version.as_str())
            .with_some("cipher_suite", some(&self.cipher))
            .with_some("protocol", self.protocol.clone())
            .with_some("problem", self.problem.clone());
        let mut chain = self.chain.iter().take(MOST_CERTIFICATES);
        if let Some(own) = chain.next() {
            fields.push("certificate", certificate(own, now_ms));
        }
        let others: Vec<Fields> = chain.map(|der| certificate(der, now_ms)).collect();
        if !others.is_empty() {
            fields.push("chain", Value::list(others));
        }
        fields
    }

    /// One line: `TLS 1.3, lab.test, expires in 12 days`.
    pub fn summary(&self, now_ms: u64) -> String {
        let mut parts = vec![self.version.clone()];
        if let Some(Ok(own)) = self.chain.first().map(|der| Certificate::read(der)) {
            parts.push(own.holder().to_owned());
            let days = own.not_after.days_after(now_ms);
            match days {
                ..0 => parts.push(format!("expired on {}", day(&own.not_after.text))),
                0..SOON => parts.push(format!("expires in {days} days")),
                _ => parts.push(format!("until {}", day(&own.not_after.text))),
            }
        }
        parts.extend(self.problem.clone());
        parts.join(", ")
    }
}

/// The day of a time.
fn day(time: &str) -> &str {
    time.split_once('T').map_or(time, |(day, _)| day)
}

fn certificate(der: &[u8], now_ms: u64) -> Fields {
    let certificate = match Certificate::read(der) {
        Ok(certificate) => certificate,
        Err(error) => return Fields::new().with("unreadable", error.to_string()),
    };
    let mut fields = Fields::new().with("subject", certificate.subject.as_str());
    if !certificate.subject_alt_names.is_empty() {
        fields.push("subject_alt_names", Value::list(certificate.subject_alt_names));
    }
    fields
        .with("issuer", certificate.issuer.as_str())
        .with("not_before", certificate.not_before.text)
        .with("days_left", certificate.not_after.days_after(now_ms))
        .with("not_after", certificate.not_after.text)
        .with("serial_number", Value::hex(&certificate.serial_number))
        .with("public_key", certificate.public_key)
        .with("signature_algorithm", certificate.signature_algorithm)
        .with_some("self_signed", (certificate.subject == certificate.issuer).then_some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn security() -> Security {
        let certificate = include_bytes!("../../tests/recordings/probe/x509-ec.der");
        Security {
            version: "TLS 1.3".into(),
            cipher: "TLS_AES_256_GCM_SHA384".into(),
            chain: vec![certificate.to_vec(), b"rubbish".to_vec()],
            ..Security::default()
        }
    }

    #[test]
    fn what_a_chain_says_is_told_by_name_and_what_cannot_be_read_is_said() {
        let fields = security().fields(NOW);
        let shown: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(
            shown,
            [
                "version: TLS 1.3",
                "cipher_suite: TLS_AES_256_GCM_SHA384",
                "certificate: subject C=DE, O=Portolan, CN=lab.test, subject_alt_names lab.test, *.lab.test, \
                 10.85.0.2, 2001:db8::2, a@lab.test, issuer C=DE, O=Portolan, CN=lab.test, not_before \
                 2026-11-22T00:34:33Z, days_left 3595, not_after 2036-11-19T00:34:33Z, serial_number \
                 7f:86:34:4b:10:56:70:19:40:c7:c3:9b:b2:ea:0b:55:cb:3c:cc:d6, public_key EC P-256, \
                 signature_algorithm ecdsa-with-SHA256, self_signed yes",
                "chain: unreadable Certificate (offset 0) is 114, which means nothing",
            ]
        );
    }

    #[test]
    fn a_summary_speaks_of_the_end_when_it_is_near() {
        let end = 2_110_667_673_000;
        let summary = |now| security().summary(now);
        assert_eq!(summary(NOW), "TLS 1.3, lab.test, until 2036-11-19");
        assert_eq!(summary(end - 86_400_000 * 2), "TLS 1.3, lab.test, expires in 2 days");
        assert_eq!(summary(end + 1), "TLS 1.3, lab.test, expired on 2036-11-19");
    }
}
