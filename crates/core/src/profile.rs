//! Profiles: the ports of a kind of server as data, each with what is expected of it.
//!
//! Sources: Microsoft Learn, "Service overview and network port requirements for Windows" (dc), "Configure the Windows
//! Firewall to allow SQL Server access" (sql), "Network ports for clients and mail flow in Exchange" (exchange);
//! kubernetes.io, "Ports and Protocols" (k8s-node, k8s-control-plane); the IANA registry of service names for the rest.
//! Left out on purpose: ports that are expected of nobody in particular (a node's 30000-32767), and how many hosts of a
//! kind there must be.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Fields, Value};
use crate::probe::PortState;
use crate::socket::Transport;
use Expected::{Answers, Any, NotOpen, Open};

/// What is expected of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// Open, and the server speaks the protocol.
    Answers,
    /// Open.
    Open,
    /// The host says that nobody listens.
    Closed,
    /// Something keeps the question or the answer back; silence of UDP too.
    Filtered,
    /// Closed or filtered, whichever; not open, and not undecided.
    NotOpen,
    /// Whatever it is: it is told, and judged by nobody.
    Any,
}

impl Expected {
    /// Every one, as they are typed.
    pub const ALL: [Self; 6] =
        [Self::Answers, Self::Open, Self::Closed, Self::Filtered, Self::NotOpen, Self::Any];

    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Filtered => "filtered",
            Self::NotOpen => "not-open",
            Self::Any => "any",
        }
    }

    /// Whether a port in that state, whose server spoke the protocol or did not, is what was expected.
    pub const fn is_met(self, state: PortState, spoke: bool) -> bool {
        match self {
            Self::Answers => matches!(state, PortState::Open) && spoke,
            Self::Open => matches!(state, PortState::Open),
            Self::Closed => matches!(state, PortState::Closed),
            Self::Filtered => matches!(state, PortState::Filtered | PortState::OpenFiltered),
            Self::NotOpen => {
                matches!(state, PortState::Closed | PortState::Filtered | PortState::Unreachable)
            }
            Self::Any => true,
        }
    }
}

/// Where the host of a profile is found when nobody names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The environment's mail host, and a domain's MX.
    Mail,
    /// The environment's news server.
    News,
    /// The environment's start page.
    Web,
    /// The proxy of the environment or the system.
    Proxy,
    /// A domain's controllers: its SRV records.
    Directory,
}

/// One port of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its transport.
    pub transport: Transport,
    /// Its number.
    pub port: u16,
    /// The id of the protocol that is spoken there; none for the one that is at home there.
    pub protocol: Option<&'static str>,
    /// What is expected.
    pub expected: Expected,
    /// What it is for, in a few words.
    pub why: &'static str,
    /// Whether the ports that its answer names (an endpoint mapper's) are asked too, and expected to be open.
    pub follow: bool,
}

/// A port of the lists below.
const fn entry(
    transport: Transport,
    port: u16,
    protocol: Option<&'static str>,
    expected: Expected,
    why: &'static str,
) -> Entry {
    Entry { transport, port, protocol, expected, why, follow: false }
}

const fn tcp(port: u16, expected: Expected, why: &'static str) -> Entry {
    entry(Transport::Tcp, port, None, expected, why)
}

const fn udp(port: u16, expected: Expected, why: &'static str) -> Entry {
    entry(Transport::Udp, port, None, expected, why)
}

/// A port on which a protocol is spoken that is not at home there.
const fn speaks(port: u16, protocol: &'static str, expected: Expected, why: &'static str) -> Entry {
    entry(Transport::Tcp, port, Some(protocol), expected, why)
}

/// A kind of server. One that a person wrote lives as long as the program, as these do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its id, in kebab-case, or the name of the file that it is from.
    pub id: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// Where hosts are found when nobody names one.
    pub place: Option<Place>,
    /// Hosts that the profile itself names, as they are typed.
    pub hosts: &'static [&'static str],
    /// Its ports. The first says what a port of its own is expected to be that is typed behind a host.
    pub entries: &'static [Entry],
}

impl Profile {
    const fn of(
        id: &'static str,
        title: &'static str,
        place: Option<Place>,
        entries: &'static [Entry],
    ) -> Self {
        Self { id, title, place, hosts: &[], entries }
    }

    /// What is expected of a port; of one that is not listed, what is expected of the first with its transport.
    pub fn entry(&self, transport: Transport, port: u16) -> Option<&Entry> {
        let mut same = self.entries.iter().filter(|entry| entry.transport == transport);
        same.clone().find(|entry| entry.port == port).or_else(|| same.next())
    }
}

/// The profile of an id.
pub fn profile(id: &str) -> Option<&'static Profile> {
    PROFILES.iter().find(|profile| profile.id.eq_ignore_ascii_case(id))
}

/// Every profile.
pub static PROFILES: &[Profile] = &[
    Profile::of(
        "mail",
        "a mail server",
        Some(Place::Mail),
        &[
            tcp(25, Answers, "mail from other servers"),
            tcp(587, Any, "mail from its users"),
            tcp(465, Any, "mail from its users, encrypted from the start"),
            tcp(143, Any, "mailboxes (IMAP)"),
            tcp(993, Any, "mailboxes (IMAP), encrypted from the start"),
            tcp(110, Any, "mailboxes (POP3)"),
            tcp(995, Any, "mailboxes (POP3), encrypted from the start"),
        ],
    ),
    Profile::of(
        "news",
        "a news server",
        Some(Place::News),
        &[tcp(119, Answers, "articles (NNTP)"), tcp(563, Any, "articles (NNTP), encrypted from the start")],
    ),
    Profile::of(
        "web",
        "a web server",
        Some(Place::Web),
        &[
            tcp(80, Answers, "pages (HTTP)"),
            tcp(443, Answers, "pages, encrypted (HTTPS)"),
            udp(443, Any, "pages over QUIC (HTTP/3)"),
        ],
    ),
    Profile::of(
        "proxy",
        "an HTTP proxy",
        Some(Place::Proxy),
        &[speaks(3128, "http-proxy", Answers, "what browsers are told to ask")],
    ),
    Profile::of(
        "dns",
        "a name server",
        None,
        &[udp(53, Answers, "names"), tcp(53, Answers, "names, where an answer is too large for UDP")],
    ),
    Profile::of(
        "dc",
        "a domain controller of Active Directory",
        Some(Place::Directory),
        &[
            tcp(389, Answers, "the directory (LDAP)"),
            udp(389, Answers, "clients look for a controller (CLDAP)"),
            tcp(636, Any, "the directory, encrypted"),
            tcp(3268, Answers, "the global catalog"),
            tcp(3269, Any, "the global catalog, encrypted"),
            tcp(88, Answers, "tickets (Kerberos)"),
            udp(88, Answers, "tickets (Kerberos)"),
            tcp(464, Open, "passwords (kpasswd)"),
            udp(464, Any, "passwords (kpasswd)"),
            tcp(53, Answers, "names"),
            udp(53, Answers, "names"),
            tcp(445, Answers, "SYSVOL and NETLOGON (SMB)"),
            udp(123, Any, "time"),
            Entry { follow: true, ..tcp(135, Answers, "remote procedures: the endpoint mapper") },
            tcp(139, Any, "NetBIOS sessions, of old"),
            tcp(9389, Any, "Active Directory web services"),
            tcp(5985, Any, "remote management (WinRM)"),
        ],
    ),
    Profile::of(
        "sql",
        "Microsoft SQL Server",
        None,
        &[
            tcp(1433, Open, "the default instance"),
            udp(1434, Any, "named instances: SQL Server Browser"),
            tcp(1434, Any, "the administrator's own connection"),
            tcp(5022, Any, "mirroring and availability groups"),
        ],
    ),
    Profile::of(
        "exchange",
        "Microsoft Exchange",
        None,
        &[
            tcp(25, Answers, "mail from other servers"),
            tcp(443, Answers, "Outlook, the web, phones"),
            tcp(80, Any, "the web, led on to 443"),
            tcp(587, Any, "mail from its users"),
            tcp(993, Any, "mailboxes (IMAP)"),
            tcp(995, Any, "mailboxes (POP3)"),
            tcp(143, Any, "mailboxes (IMAP), begun in the clear"),
            tcp(110, Any, "mailboxes (POP3), begun in the clear"),
        ],
    ),
    Profile::of(
        "k8s-node",
        "a worker node of Kubernetes",
        None,
        &[
            speaks(10250, "https", Answers, "the kubelet"),
            speaks(10255, "http", NotOpen, "the kubelet's port that asks nobody who they are"),
            speaks(10256, "http", Any, "kube-proxy for load balancers"),
        ],
    ),
    Profile::of(
        "k8s-control-plane",
        "a control plane of Kubernetes",
        None,
        &[
            speaks(6443, "https", Answers, "the API"),
            tcp(8080, NotOpen, "the API of old, that asks nobody who they are"),
            speaks(10250, "https", Answers, "the kubelet"),
            tcp(2379, Any, "etcd for the API"),
            tcp(2380, Any, "etcd for its peers"),
            speaks(10257, "https", Any, "the controller manager"),
            speaks(10259, "https", Any, "the scheduler"),
        ],
    ),
    Profile::of(
        "file",
        "a file server of Windows, or Samba",
        None,
        &[tcp(445, Answers, "files (SMB)"), tcp(139, Any, "files over NetBIOS, of old")],
    ),
];

/// The TCP ports that an endpoint mapper's answer names, each with the interfaces that are reached there.
pub fn named_ports(answer: &Answer) -> Vec<(u16, String)> {
    let mut ports: Vec<(u16, Vec<String>)> = Vec::new();
    let Some(Value::List(endpoints)) = answer.fields.value("endpoints") else { return Vec::new() };
    let of_tcp = |fields: &&Fields| {
        fields.text("protocol_sequence").is_some_and(|sequence| sequence == "ncacn_ip_tcp")
    };
    for fields in endpoints.iter().filter_map(fields_of).filter(of_tcp) {
        let Some(Value::Number(port)) = fields.value("port") else { continue };
        let Some(port) = u16::try_from(*port).ok().filter(|port| *port != 0) else { continue };
        let known = ["name", "annotation", "uuid"].iter().find_map(|field| fields.text(field));
        let known = known.unwrap_or_default().to_owned();
        match ports.iter_mut().find(|(number, _)| *number == port) {
            Some((_, names)) if names.contains(&known) => {}
            Some((_, names)) => names.push(known),
            None => ports.push((port, vec![known])),
        }
    }
    let told = |names: Vec<String>| match &names[..] {
        [] => String::new(),
        [one] => one.clone(),
        [first, others @ ..] => format!("{first} and {} more", others.len()),
    };
    ports.into_iter().map(|(port, names)| (port, told(names))).collect()
}

fn fields_of(value: &Value) -> Option<&Fields> {
    match value {
        Value::Fields(fields) => Some(fields),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::probe::{at_home, protocol};

    #[test]
    fn every_profile_has_its_own_name_and_its_ports_once_with_protocols_that_there_are() {
        let mut names = BTreeSet::new();
        for profile in PROFILES {
            assert!(names.insert(profile.id) && !profile.entries.is_empty(), "{}", profile.id);
            let mut ports = BTreeSet::new();
            for entry in profile.entries.iter() {
                assert!(ports.insert((entry.transport, entry.port)), "{} {}", profile.id, entry.port);
                let spoken = match entry.protocol {
                    Some(id) => protocol(id).is_some(),
                    None => at_home(entry.transport, entry.port, None).is_some(),
                };
                // What answers has to be spoken to.
                assert!(
                    spoken || (entry.expected != Answers && entry.protocol.is_none()),
                    "{} {}",
                    profile.id,
                    entry.port
                );
            }
        }
    }

    #[test]
    fn an_expectation_is_met_by_its_states_alone() {
        for expected in Expected::ALL {
            let met: Vec<PortState> =
                PortState::ALL.into_iter().filter(|state| expected.is_met(*state, false)).collect();
            let right: &[PortState] = match expected {
                Answers => &[],
                Open => &[PortState::Open],
                Expected::Closed => &[PortState::Closed],
                Expected::Filtered => &[PortState::OpenFiltered, PortState::Filtered],
                NotOpen => &[PortState::Closed, PortState::Filtered, PortState::Unreachable],
                Any => &PortState::ALL,
            };
            assert_eq!(met, right, "{}", expected.word());
        }
        assert!(Answers.is_met(PortState::Open, true) && !Answers.is_met(PortState::Filtered, true));
    }

    #[test]
    fn an_endpoint_mapper_names_each_tcp_port_once() {
        let endpoint = |sequence: &'static str, port: u16, name: &'static str| {
            Fields::new().with("name", name).with("protocol_sequence", sequence).with("port", port)
        };
        let endpoints = [
            endpoint("ncacn_ip_tcp", 49152, "drsuapi"),
            endpoint("ncacn_ip_tcp", 49152, "lsarpc"),
            endpoint("ncadg_ip_udp", 49153, "x"),
            endpoint("ncacn_ip_tcp", 49154, "dnsserver"),
            endpoint("ncacn_ip_tcp", 49154, "dnsserver"),
        ];
        let answer = Answer::new("epmap", "", Fields::new().with("endpoints", Value::list(endpoints)));
        assert_eq!(
            named_ports(&answer),
            [(49152, "drsuapi and 1 more".to_owned()), (49154, "dnsserver".to_owned())]
        );
        assert_eq!(named_ports(&Answer::new("epmap", "", Fields::new())), []);
    }
}
