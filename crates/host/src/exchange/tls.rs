//! TLS over bytes: what is sent and what comes is handed in and out; sockets are the line's.
//!
//! A certificate that does not hold never ends a conversation: who asks wants to know what is there. What is wrong with
//! it is written down instead. Source: RFC 8446, by way of rustls.
//! Left out on purpose: TLS before 1.2, which rustls does not speak (a session that wants to know reads the ServerHello
//! itself), client certificates, and whether a certificate was revoked.

use std::io::{Read as _, Write as _};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use portolan_core::probe::{BYTE_BUDGET, Security};
use portolan_core::wire::x509::Certificate;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, ProtocolVersion, RootCertStore,
    SignatureScheme,
};

use super::line::Seen;

/// One encrypted conversation.
pub(super) struct Encrypted {
    connection: ClientConnection,
    problem: Arc<Mutex<Option<String>>>,
    secured: bool,
    /// The other end said that nothing more comes.
    ended: bool,
}

/// The root certificates that this system trusts; read once.
fn trusted() -> Option<Arc<WebPkiServerVerifier>> {
    static TRUSTED: OnceLock<Option<Arc<WebPkiServerVerifier>>> = OnceLock::new();
    let load = || {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().ok()
    };
    TRUSTED.get_or_init(load).clone()
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(ring::default_provider())).clone()
}

/// Unpredictable bytes; none where the system gives none.
pub fn seed() -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    provider().secure_random.fill(&mut bytes).ok()?;
    Some(bytes)
}

impl Encrypted {
    /// Begins a conversation with a host of that name or, where it is none, of that address.
    pub(super) fn begin(host: &str, address: IpAddr) -> Result<Self, String> {
        let problem = Arc::new(Mutex::new(None));
        let verifier =
            Arc::new(Witness { problem: problem.clone(), trusted: trusted(), provider: provider() });
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        let name = ServerName::try_from(host.trim_end_matches('.').to_owned());
        let name = name.unwrap_or_else(|_| ServerName::IpAddress(address.into()));
        let connection = ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
        Ok(Self { connection, problem, secured: false, ended: false })
    }

    /// Takes what is to be said.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        // A buffer in memory: it takes what a session says, or the connection is over, which shows when it is read.
        let _ = self.connection.writer().write_all(bytes);
    }

    /// Says that nothing more will be said.
    pub(super) fn farewell(&mut self) {
        self.connection.send_close_notify();
    }

    /// Appends what is to be sent.
    pub(super) fn take_outgoing(&mut self, outgoing: &mut Vec<u8>) {
        while self.connection.wants_write() && self.connection.write_tls(outgoing).is_ok_and(|n| n > 0) {}
    }

    /// Takes bytes of the line.
    pub(super) fn heard(&mut self, mut bytes: &[u8]) -> Seen {
        while !bytes.is_empty() {
            if self.connection.read_tls(&mut bytes).is_err() {
                break;
            }
            if let Err(error) = self.connection.process_new_packets() {
                self.ended = true;
                let plain = self.plain();
                return match self.secured {
                    false => Seen::NotSecured(why(&error)),
                    true if plain.is_empty() => Seen::Closed,
                    true => Seen::Bytes(plain),
                };
            }
        }
        self.ready()
    }

    /// What is there to be told.
    pub(super) fn ready(&mut self) -> Seen {
        if !self.secured && !self.connection.is_handshaking() {
            self.secured = true;
            return Seen::Secured(self.security());
        }
        let plain = self.plain();
        match (plain.is_empty(), self.ended) {
            (false, _) => Seen::Bytes(plain),
            (true, true) => Seen::Closed,
            (true, false) => Seen::Nothing,
        }
    }

    /// The line was closed.
    pub(super) fn closed(&mut self) -> Seen {
        if self.secured { Seen::Closed } else { Seen::NotSecured("it closed the connection".to_owned()) }
    }

    fn plain(&mut self) -> Vec<u8> {
        let mut plain = Vec::new();
        match self.connection.reader().take(BYTE_BUDGET as u64).read_to_end(&mut plain) {
            // A close that was announced; without one there is nothing now (an error that would block).
            Ok(_) => self.ended = true,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => self.ended = true,
        }
        plain
    }

    fn security(&self) -> Security {
        let version = match self.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2".to_owned(),
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3".to_owned(),
            other => format!("{other:?}"),
        };
        let suite = self.connection.negotiated_cipher_suite();
        Security {
            version,
            cipher: suite.map_or_else(String::new, |suite| format!("{:?}", suite.suite())),
            protocol: self.connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
            chain: self
                .connection
                .peer_certificates()
                .unwrap_or_default()
                .iter()
                .map(|certificate| certificate.to_vec())
                .collect(),
            problem: self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// Why TLS did not come about, for people.
fn why(error: &Error) -> String {
    match error {
        Error::AlertReceived(alert) => format!("it refused with the TLS alert {alert:?}"),
        Error::InvalidMessage(_) => "what it sends is no TLS".to_owned(),
        Error::PeerIncompatible(_) => format!("no TLS version or cipher in common: {error}"),
        error => error.to_string(),
    }
}

/// Looks at a certificate and writes down what is wrong with it.
#[derive(Debug)]
struct Witness {
    problem: Arc<Mutex<Option<String>>>,
    trusted: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Witness {
    /// The first problem counts.
    fn note(&self, problem: String) {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(problem);
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.trusted {
            Some(trusted) => {
                if let Err(error) = trusted.verify_server_cert(certificate, intermediates, name, stapled, now)
                {
                    self.note(chain_problem(&error, certificate));
                }
            }
            None => self.note("not checked: this system has no root certificates".to_owned()),
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let supported = &self.provider.signature_verification_algorithms;
        Ok(verify_tls12_signature(message, certificate, signed, supported).unwrap_or_else(|error| {
            self.note(format!("its signature does not hold: {error}"));
            HandshakeSignatureValid::assertion()
        }))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let supported = &self.provider.signature_verification_algorithms;
        Ok(verify_tls13_signature(message, certificate, signed, supported).unwrap_or_else(|error| {
            self.note(format!("its signature does not hold: {error}"));
            HandshakeSignatureValid::assertion()
        }))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What is wrong with a chain, for people.
fn chain_problem(error: &Error, certificate: &[u8]) -> String {
    use rustls::CertificateError as Wrong;
    let own = Certificate::read(certificate).ok().filter(|own| own.subject == own.issuer);
    let Error::InvalidCertificate(wrong) = error else { return error.to_string() };
    match wrong {
        Wrong::Expired | Wrong::ExpiredContext { .. } => "expired",
        Wrong::NotValidYet | Wrong::NotValidYetContext { .. } => "not valid yet",
        // An authority's certificate in a server's place is nearly always one that signs itself.
        Wrong::UnknownIssuer | Wrong::Other(_) if own.is_some() => "it signs itself: nobody vouches for it",
        Wrong::UnknownIssuer => "its issuer is not trusted here",
        Wrong::NotValidForName | Wrong::NotValidForNameContext { .. } => "it is for another name",
        Wrong::BadEncoding => "it is not encoded as it should be",
        Wrong::InvalidPurpose | Wrong::InvalidPurposeContext { .. } => "it is not meant for servers",
        Wrong::BadSignature => "its signature does not hold",
        _ => return error.to_string(),
    }
    .to_owned()
}
