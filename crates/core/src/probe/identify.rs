//! What a port may be of which nothing is known: which conversations to try, in which order, and when to stop.
//!
//! Source: experience. Over TCP: whoever greets has said what it is, and is not disturbed any further; the others are
//! asked for what most servers answer or refuse at once, TLS before HTTP, since web servers answer plain HTTP on ports
//! for TLS. Where TLS comes about, what is spoken under it is asked for. Over UDP nobody greets, and most servers pass over
//! what they do not understand: each question is asked once, what is met most often first. Left out on purpose: ports
//! of printers, which print whatever comes, are only listened to; over UDP the questions whose answer proves little
//! on another port (mDNS, the Winsock proxy); and waiting longer than a moment for each, which is the driver's to keep.

use std::collections::VecDeque;

use super::{Protocol, Via, protocol};
use crate::answer::Answer;
use crate::socket::Transport;

/// On a plain line, in this order: what listens is told before what is said.
const PLAIN: [(&str, Via); 16] = [
    ("banner", Via::Tcp),
    ("tls", Via::Tls),
    ("http", Via::Tcp),
    ("redis", Via::Tcp),
    ("memcached", Via::Tcp),
    ("postgresql", Via::Tcp),
    ("ldap", Via::Tcp),
    ("mqtt", Via::Tcp),
    ("amqp", Via::Tcp),
    ("mongodb", Via::Tcp),
    ("smb", Via::Tcp),
    ("rdp", Via::Tcp),
    ("epmap", Via::Tcp),
    ("dns", Via::Tcp),
    ("kerberos", Via::Tcp),
    ("sip", Via::Tcp),
];
/// Where TLS came about.
const SECURED: [(&str, Via); 5] =
    [("https", Via::Tls), ("banner", Via::Tls), ("ldap", Via::Tls), ("mqtt", Via::Tls), ("amqp", Via::Tls)];
/// Over UDP. The first that is understood is the answer.
const DATAGRAMS: [(&str, Via); 17] = [
    ("dns", Via::Udp),
    ("snmp", Via::Udp),
    ("ntp", Via::Udp),
    ("sip", Via::Udp),
    ("quic", Via::Udp),
    ("stun", Via::Udp),
    ("radius", Via::Udp),
    ("ike", Via::Udp),
    ("l2tp", Via::Udp),
    ("tftp", Via::Udp),
    ("kerberos", Via::Udp),
    ("cldap", Via::Udp),
    ("netbios", Via::Udp),
    ("sql-browser", Via::Udp),
    ("memcached", Via::Udp),
    ("ssdp", Via::Udp),
    ("epmap", Via::Udp),
];
/// JetDirect: whatever comes is printed.
const PRINTERS: std::ops::RangeInclusive<u16> = 9100..=9107;

/// One conversation to try.
#[derive(Clone, Copy)]
pub struct Attempt {
    /// The protocol.
    pub protocol: &'static Protocol,
    /// What carries it.
    pub via: Via,
    /// It may take as long as any: whoever greets late is heard by it.
    pub patient: bool,
}

/// The search for what speaks on one port.
pub struct Search {
    next: VecDeque<Attempt>,
    current: Option<Attempt>,
    tried: Vec<(&'static str, Via)>,
    best: Option<Answer>,
}

impl Search {
    /// The search on a port where `own`, what is at home there, has been tried already.
    pub fn new(transport: Transport, port: u16, own: Option<(&'static Protocol, Via)>) -> Self {
        let tried = own.map(|(protocol, via)| (protocol.id, via)).into_iter().collect();
        let mut search = Self { next: VecDeque::new(), current: None, tried, best: None };
        if transport == Transport::Udp {
            search.will_try(DATAGRAMS.into_iter());
            return search;
        }
        let plain = if PRINTERS.contains(&port) { &PLAIN[..1] } else { &PLAIN[..] };
        search.will_try(plain.iter().copied());
        search.next.extend(attempt("banner", Via::Tcp).map(|banner| Attempt { patient: true, ..banner }));
        search
    }

    /// What is tried next; none where the search is over.
    pub fn next_attempt(&mut self) -> Option<Attempt> {
        self.current = self.next.pop_front();
        let current = self.current?;
        self.tried.push((current.protocol.id, current.via));
        Some(current)
    }

    /// What is tried now.
    pub const fn current(&self) -> Option<Attempt> {
        self.current
    }

    /// The server told that in what was tried last.
    pub fn answered(&mut self, answer: Answer) {
        let Some(Attempt { protocol, via, .. }) = self.current else { return };
        self.next.clear();
        match protocol.id {
            "banner" => self.will_try(greeted(&answer).iter().map(|id| (*id, via))),
            "tls" => self.will_try(SECURED.into_iter()),
            _ => {}
        }
        self.best = Some(answer);
    }

    /// The most telling answer of all.
    pub fn best(self) -> Option<Answer> {
        self.best
    }

    /// How many conversations were tried.
    pub fn tried(&self) -> usize {
        self.tried.len()
    }

    fn will_try(&mut self, wanted: impl Iterator<Item = (&'static str, Via)>) {
        let tried = &self.tried;
        self.next
            .extend(wanted.filter(|wanted| !tried.contains(wanted)).filter_map(|(id, via)| attempt(id, via)));
    }
}

/// That attempt, where the protocol can be carried so.
fn attempt(id: &str, via: Via) -> Option<Attempt> {
    let protocol = protocol(id)?;
    protocol.via.contains(&via).then_some(Attempt { protocol, via, patient: false })
}

/// The protocols that begin with such a greeting, the likeliest first.
fn greeted(answer: &Answer) -> &'static [&'static str] {
    if let Some(bytes) = answer.fields.text("bytes") {
        // MySQL: a packet's length, number 0, and version 10 of the handshake or an error.
        let mysql = matches!(bytes.get(9..14), Some("00:0a" | "00:ff"));
        // Telnet: commands (255) about options (250 to 254).
        let telnet = bytes.starts_with("ff:f");
        return if mysql {
            &["mysql"]
        } else if telnet {
            &["telnet"]
        } else {
            &[]
        };
    }
    let text = answer.fields.text("banner").unwrap_or_default();
    let says_ftp = text.to_ascii_uppercase().contains("FTP");
    match text.as_bytes() {
        [b'S', b'S', b'H', b'-', ..] => &["ssh"],
        [b'2', b'2', b'0', b' ' | b'-', ..] if says_ftp => &["ftp", "smtp"],
        [b'2', b'2', b'0', b' ' | b'-', ..] => &["smtp", "ftp"],
        [b'2', b'0', b'0' | b'1', b' ', ..] => &["nntp"],
        [b'+', b'O', b'K', ..] => &["pop3"],
        [b'*', b' ', b'O', b'K', ..] | [b'*', b' ', b'P', b'R', b'E', ..] => &["imap"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Fields;

    fn ids(search: &mut Search) -> Vec<(&'static str, Via, bool)> {
        let next =
            || search.next_attempt().map(|attempt| (attempt.protocol.id, attempt.via, attempt.patient));
        std::iter::from_fn(next).collect()
    }

    fn greeting(field: &'static str, text: &str) -> Answer {
        Answer::new("banner", text, Fields::new().with(field, text))
    }

    #[test]
    fn everything_named_here_is_a_protocol_that_can_be_carried_so() {
        for (id, via) in PLAIN.into_iter().chain(SECURED).chain(DATAGRAMS) {
            assert!(attempt(id, via).is_some(), "{id}");
        }
    }

    #[test]
    fn who_greets_is_asked_what_it_says_it_is_and_nothing_else() {
        for (field, text, expected) in [
            ("banner", "SSH-2.0-OpenSSH_9.2p1", &["ssh"][..]),
            ("banner", "220 mail ESMTP", &["smtp", "ftp"]),
            ("banner", "220-a\n220 ProFTPD", &["ftp", "smtp"]),
            ("banner", "+OK ready", &["pop3"]),
            ("banner", "* OK [CAPABILITY] ready", &["imap"]),
            ("banner", "201 no posting", &["nntp"]),
            ("banner", "RFB 003.008", &[]),
            ("bytes", "5d:00:00:00:0a:35:2e", &["mysql"]),
            ("bytes", "ff:fd:18:ff:fd:20", &["telnet"]),
            ("bytes", "00:01", &[]),
        ] {
            let mut search = Search::new(Transport::Tcp, 7000, None);
            assert_eq!(search.next_attempt().unwrap().protocol.id, "banner");
            search.answered(greeting(field, text));
            let tried: Vec<&str> = ids(&mut search).into_iter().map(|(id, ..)| id).collect();
            assert_eq!(tried, expected, "{text}");
            // What it said stays, where the conversations come to nothing.
            assert_eq!(search.best().unwrap().summary, text.replace('\n', " "));
        }
    }

    #[test]
    fn under_tls_other_things_are_asked_for_and_the_best_answer_stays() {
        let mut search = Search::new(Transport::Tcp, 7000, None);
        assert_eq!(search.next_attempt().unwrap().protocol.id, "banner");
        assert_eq!(search.next_attempt().unwrap().protocol.id, "tls");
        search.answered(Answer::new("tls", "TLS 1.3", Fields::new()));
        let https = search.next_attempt().unwrap();
        assert_eq!((https.protocol.id, https.via), ("https", Via::Tls));
        assert_eq!(search.next_attempt().unwrap().protocol.id, "banner");
        search.answered(greeting("banner", "* OK IMAP"));
        let imap = search.next_attempt().unwrap();
        assert_eq!((imap.protocol.id, imap.via), ("imap", Via::Tls));
        search.answered(Answer::new("imap", "an IMAP server", Fields::new()));
        assert!(search.next_attempt().is_none());
        assert_eq!(search.best().unwrap().protocol, "imap");
    }

    #[test]
    fn who_says_nothing_is_asked_for_all_of_it_once_and_listened_to_at_the_end() {
        let mut search =
            Search::new(Transport::Tcp, 7000, attempt("http", Via::Tcp).map(|own| (own.protocol, own.via)));
        let all = ids(&mut search);
        assert_eq!(all.len(), PLAIN.len(), "http is not tried again, and the last is another look");
        assert!(!all.iter().any(|(id, ..)| *id == "http"));
        assert_eq!(all.last(), Some(&("banner", Via::Tcp, true)));
        assert!(search.best().is_none());
    }

    #[test]
    fn printers_are_only_listened_to() {
        assert!(ids(&mut Search::new(Transport::Tcp, 9100, None)).iter().all(|(id, ..)| *id == "banner"));
    }

    #[test]
    fn over_udp_each_question_is_asked_once_until_one_is_understood() {
        let own = attempt("snmp", Via::Udp).map(|own| (own.protocol, own.via));
        let all = ids(&mut Search::new(Transport::Udp, 161, own));
        assert_eq!(all.len(), DATAGRAMS.len() - 1, "what is at home there is not tried again");
        assert!(all.iter().all(|(id, via, patient)| *id != "snmp" && *via == Via::Udp && !patient));
        let mut search = Search::new(Transport::Udp, 7000, None);
        assert_eq!(search.next_attempt().unwrap().protocol.id, "dns");
        assert_eq!(search.next_attempt().unwrap().protocol.id, "snmp");
        search.answered(Answer::new("snmp", "an agent", Fields::new()));
        assert!(search.next_attempt().is_none());
        assert_eq!((search.tried(), search.best().unwrap().protocol), (2, "snmp"));
    }
}
