//! The profile that is asked for: one of Portolan's own by its id, or one of a file.
//!
//! Source of the format: TOML 1.1 (toml.io). A file has at most a mebibyte and 4,096 ports.

use std::fs::File;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use clap::Args;
use portolan_core::probe::{PROBES, Protocol, Via, at_home, protocol};
use portolan_core::profile::{Entry, Expected, PROFILES, Profile, profile};
use portolan_core::socket::Transport;
use serde::Deserialize;

use crate::text::nearest;

/// The largest file that is read.
const MOST_BYTES: u64 = 1 << 20;
/// The most ports of one profile.
const MOST_PORTS: usize = 4096;

/// What is expected of what is found.
#[derive(Debug, Args)]
pub(super) struct Expecting {
    // As an attribute: the list of profiles is data.
    #[arg(long, value_name = "PROFILE", value_parser = chosen, help = help())]
    #[arg(conflicts_with_all = ["ports", "top", "tcp", "udp", "protocol", "bare", "identify"])]
    pub(super) profile: Option<&'static Profile>,
    /// Ask the hosts that a domain names for the profile: mail by MX, dc by SRV
    #[arg(long, value_name = "DOMAIN", requires = "profile", conflicts_with = "hosts")]
    pub(super) domain: Option<String>,
    /// Ask this name server for --domain, instead of the system's
    #[arg(long, value_name = "ADDRESS", requires = "domain", value_parser = name_server)]
    pub(super) name_server: Option<SocketAddr>,
    /// Tell what changed since an earlier run that was kept: portolan probe … --json > FILE
    #[arg(long, value_name = "FILE")]
    pub(super) baseline: Option<String>,
}

fn help() -> String {
    let ids: Vec<&str> = PROFILES.iter().map(|profile| profile.id).collect();
    format!(
        "Ask for the ports of a kind of server, and judge them: {}, or FILE.toml of yours",
        ids.join(", ")
    )
}

fn name_server(text: &str) -> Result<SocketAddr, String> {
    let address = || text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53));
    text.parse()
        .or_else(|_| address())
        .map_err(|_| format!("'{text}' is no address; type one as in 10.0.0.53"))
}

/// What speaks on a port of a profile: what the profile says, else what is at home there. A port that is typed behind a
/// host is taken for the profile's first.
pub(super) fn spoken(
    profile: &Profile,
    transport: Transport,
    port: u16,
    service: Option<&str>,
) -> Option<(&'static Protocol, Via)> {
    let entry = profile.entry(transport, port)?;
    match entry.protocol.and_then(protocol) {
        Some(known) => {
            let via = known.via.iter().find(|via| via.transport() == transport)?;
            Some((known, *via))
        }
        None => at_home(transport, entry.port, service.filter(|_| entry.port == port)),
    }
}

/// A profile as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    title: Option<String>,
    #[serde(default)]
    hosts: Vec<String>,
    port: Vec<WrittenPort>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenPort {
    port: u16,
    transport: Option<Transport>,
    protocol: Option<String>,
    expect: Option<Expected>,
    why: Option<String>,
    #[serde(default)]
    follow: bool,
}

/// The profile of a name or a file. The error says what to type.
pub(super) fn chosen(text: &str) -> Result<&'static Profile, String> {
    if let Some(profile) = profile(text) {
        return Ok(profile);
    }
    if is_file(text) {
        return read(Path::new(text)).map_err(|why| {
            let shown = text.escape_debug();
            format!("cannot read the profile {shown}: {why}; see: portolan probe --help")
        });
    }
    let ids = || PROFILES.iter().map(|profile| profile.id);
    Err(match nearest(text, ids()) {
        Some(near) => format!("there is no profile '{text}'; did you mean {near}?"),
        None => {
            let ids: Vec<&str> = ids().collect();
            format!("there is no profile '{text}'; type one of {}, or a file: FILE.toml", ids.join(", "))
        }
    })
}

fn is_file(text: &str) -> bool {
    text.to_ascii_lowercase().ends_with(".toml") || text.contains(['/', '\\'])
}

fn read(path: &Path) -> Result<&'static Profile, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MOST_BYTES + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MOST_BYTES {
        return Err("it is larger than 1 MiB".to_owned());
    }
    let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    parse(&name, &text)
}

/// A profile of that name from TOML.
fn parse(name: &str, text: &str) -> Result<&'static Profile, String> {
    let written: Written = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text.get(..span.start).unwrap_or("").lines().count().max(1));
        format!("line {line}: {}", error.message().lines().collect::<Vec<_>>().join(" "))
    })?;
    if written.port.is_empty() || written.port.len() > MOST_PORTS {
        return Err(format!("it has {} ports; 1 to {MOST_PORTS} are asked for", written.port.len()));
    }
    let entries: Vec<Entry> = written.port.into_iter().map(entry).collect::<Result<_, _>>()?;
    let twice = entries.iter().enumerate().find(|(index, entry)| {
        entries[..*index].iter().any(|other| (other.port, other.transport) == (entry.port, entry.transport))
    });
    if let Some((_, Entry { port, transport, .. })) = twice {
        return Err(format!("{port}/{transport} stands twice"));
    }
    // As long as the program: it asks for one profile.
    let hosts: Vec<&'static str> = written.hosts.into_iter().map(lasting).collect();
    Ok(Box::leak(Box::new(Profile {
        id: lasting(name.to_owned()),
        title: lasting(written.title.unwrap_or_else(|| "a profile of yours".to_owned())),
        place: None,
        hosts: hosts.leak(),
        entries: entries.leak(),
    })))
}

fn lasting(text: String) -> &'static str {
    text.leak()
}

fn entry(written: WrittenPort) -> Result<Entry, String> {
    let WrittenPort { port, transport, protocol: spoken, expect, why, follow } = written;
    let transport = transport.unwrap_or(Transport::Tcp);
    if port == 0 {
        return Err("0 is no port that can be asked".to_owned());
    }
    let spoken = match spoken {
        None => None,
        Some(name) => {
            let Some(known) = protocol(&name) else {
                let near = nearest(&name, PROBES.iter().map(|protocol| protocol.id));
                let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
                return Err(format!("'{}' is no protocol that Portolan speaks{near}", name.escape_debug()));
            };
            if !known.via.iter().any(|via| via.transport() == transport) {
                return Err(format!("{} is not spoken over {transport} ({port}/{transport})", known.id));
            }
            Some(known.id)
        }
    };
    let expected = expect.unwrap_or(Expected::Open);
    Ok(Entry { transport, port, protocol: spoken, expected, why: lasting(why.unwrap_or_default()), follow })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read_as_it_is_written() {
        let text = "title = \"Our shop\"\nhosts = [\"shop.example\", \"10.0.0.7\"]\n[[port]]\nport = 5432\nprotocol = \
                    \"postgresql\"\nexpect = \"answers\"\nwhy = \"the orders\"\n[[port]]\nport = 161\ntransport = \
                    \"udp\"\nexpect = \"not-open\"\n[[port]]\nport = 22\n";
        let profile = parse("shop", text).unwrap();
        assert_eq!((profile.id, profile.title, profile.hosts.len()), ("shop", "Our shop", 2));
        let told: Vec<_> =
            profile.entries.iter().map(|e| (e.port, e.transport, e.protocol, e.expected)).collect();
        assert_eq!(
            told,
            [
                (5432, Transport::Tcp, Some("postgresql"), Expected::Answers),
                (161, Transport::Udp, None, Expected::NotOpen),
                (22, Transport::Tcp, None, Expected::Open),
            ]
        );
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_in_one_line() {
        for (text, part) in [
            ("", "missing field `port`"),
            ("port = []", "0 ports"),
            ("[[port]]\nport = 70000", "line 2"),
            ("[[port]]\nport = 0", "0 is no port"),
            ("[[port]]\nport = 25\nexpect = \"opne\"", "unknown variant `opne`"),
            ("[[port]]\nport = 25\nprot = \"smtp\"", "unknown field `prot`"),
            ("[[port]]\nport = 25\nprotocol = \"smpt\"", "did you mean smtp?"),
            ("[[port]]\nport = 25\ntransport = \"udp\"\nprotocol = \"smtp\"", "not spoken over udp"),
            ("[[port]]\nport = 25\n[[port]]\nport = 25", "stands twice"),
            ("[[port]", "line 1"),
        ] {
            let error = parse("x", text).unwrap_err();
            assert!(error.contains(part) && error.lines().count() == 1, "{text}: {error}");
        }
        assert!(chosen("dcc").unwrap_err().contains("did you mean dc?"));
        assert!(chosen("zzzzzz").unwrap_err().contains("k8s-node"));
        assert!(chosen("no/such.toml").unwrap_err().starts_with("cannot read the profile no/such.toml: "));
        assert_eq!(chosen("DC").unwrap().id, "dc");
    }
}
