//! The hosts of a profile for which nobody has typed one: what this machine is set to ask, and what a domain names.
//!
//! Sources: curl(1) for the proxies' variables; RFC 5321 section 5.1 (MX, and no MX at all), RFC 7505 (the null MX), RFC
//! 2782 (SRV), MS-ADTS section 6.3.2.3 (a domain's controllers). NNTPSERVER, MAILHOST and WWW_HOME are what news readers,
//! mail readers and lynx(1) look at; /etc/news/server is Debian's.
//! Left out on purpose: proxies by script, and a news or mail program's own settings.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use portolan_core::answer::{Answer, Value};
use portolan_core::probe::{Via, protocol};
use portolan_core::profile::{Place, Profile};
use portolan_core::socket::Transport;
use portolan_host::probe::{Asked, Plan, Target, probe};
use portolan_host::{Namespace, sys};

use crate::exit::Misuse;

/// Hosts of a domain that are asked at most.
const MOST_HOSTS: usize = 64;

/// A host that nobody has typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// As it would be typed: HOST or HOST:PORT.
    pub(super) typed: String,
    /// Its address, where the domain's name server told it.
    pub(super) address: Option<IpAddr>,
    /// Who names it, for people.
    pub(super) origin: String,
}

/// The hosts that the environment, the system or a file names. The error says what to type.
pub(super) fn hosts(
    profile: &Profile,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Found>, Misuse> {
    let found = |typed: String, origin: &str| Found { typed, address: None, origin: origin.to_owned() };
    let of = |names: &[&'static str]| {
        let set = |name: &&'static str| Some((*name, variable(name).filter(|value| !value.is_empty())?));
        let all = || names.iter().filter_map(set);
        // Who has both uses HTTP's for what this profile asks.
        all().find(|(_, value)| !speaks_socks(value)).or_else(|| all().next())
    };
    let (names, what): (&[&'static str], &str) = match profile.place {
        Some(Place::Mail) => (&["MAILHOST", "SMTPSERVER"], "--domain DOMAIN asks the hosts of its MX"),
        Some(Place::News) => (&["NNTPSERVER"], "set NNTPSERVER"),
        Some(Place::Web) => (&["WWW_HOME"], "set WWW_HOME"),
        Some(Place::Proxy) => {
            (&["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"], "set http_proxy")
        }
        Some(Place::Directory) => (&[], "--domain DOMAIN asks its controllers"),
        None => (&[], "or write hosts = [\"HOST\"] into a profile of your own"),
    };
    if !profile.hosts.is_empty() {
        return Ok(profile.hosts.iter().map(|host| found((*host).to_owned(), "the profile")).collect());
    }
    let asks_proxies = profile.place == Some(Place::Proxy);
    if let Some((name, value)) = of(names).filter(|(_, value)| asks_proxies && speaks_socks(value)) {
        let typed =
            host_of(&value).map_or_else(|| "HOST -p PORT".to_owned(), |host| host.escape_debug().to_string());
        return Err(Misuse(format!(
            "{name} names a SOCKS proxy, and the profile is for HTTP proxies; type one: portolan probe --profile {} HOST; \
             whether the other is open tells: portolan probe {typed} --bare",
            profile.id
        )));
    }
    if let Some((name, value)) = of(names) {
        let host = host_of(&value).ok_or_else(|| {
            let value = value.escape_debug();
            Misuse(format!(
                "{name} names no host: '{value}'; type one: portolan probe --profile {} HOST",
                profile.id
            ))
        })?;
        return Ok(vec![found(host, name)]);
    }
    let system = match profile.place {
        Some(Place::Proxy) => sys::proxy().and_then(|proxy| host_of(&proxy)),
        Some(Place::News) => {
            std::fs::read_to_string("/etc/news/server").ok().and_then(|text| host_of(text.trim()))
        }
        _ => None,
    };
    match system {
        Some(host) => Ok(vec![found(host, "the system's settings")]),
        None => Err(Misuse(format!(
            "nothing here says which host to ask; type it: portolan probe --profile {} HOST ({what})",
            profile.id
        ))),
    }
}

/// Whether a proxy's URL is of SOCKS: curl(1) knows socks4, socks4a, socks5 and socks5h.
fn speaks_socks(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| scheme.to_ascii_lowercase().starts_with("socks"))
}

/// The host of a URL, HOST:PORT or HOST, as it would be typed.
fn host_of(text: &str) -> Option<String> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.trim_end_matches(':');
    (!host.is_empty() && !host.contains(char::is_whitespace)).then(|| host.to_owned())
}

/// The hosts that a domain names for a profile, in the order in which they are to be asked.
pub(super) fn of_domain(
    namespace: &Namespace,
    profile: &Profile,
    domain: &str,
    server: Option<SocketAddr>,
) -> Result<Vec<Found>> {
    let server = server.or_else(|| sys::name_servers().first().map(|address| SocketAddr::new(*address, 53)));
    let Some(server) = server else {
        let text = "this system names no name server to ask; name one with --name-server ADDRESS";
        return Err(Misuse(text.to_owned()).into());
    };
    let domain = domain.trim_end_matches('.');
    let (name, kind) = match profile.place {
        Some(Place::Mail) => (domain.to_owned(), "MX"),
        Some(Place::Directory) => (format!("_ldap._tcp.dc._msdcs.{domain}"), "SRV"),
        _ => (domain.to_owned(), "A"),
    };
    let answer = asked(namespace, server, &name, kind)?;
    let mut named: Vec<(u32, String)> =
        records(&answer, kind).iter().filter_map(|data| target(data, kind)).collect();
    named.sort();
    let rcode = answer.fields.text("rcode").unwrap_or_default();
    if named.is_empty() && kind == "MX" && rcode == "NOERROR" {
        // Without an MX the domain itself takes its mail (RFC 5321 section 5.1).
        named.push((0, domain.to_owned()));
    }
    if kind == "A" {
        named = vec![(0, domain.to_owned())];
    }
    if named.is_empty() || rcode == "NXDOMAIN" || named.iter().all(|(_, host)| host.is_empty()) {
        let (name, asked) = (name.escape_debug(), server.ip());
        return Err(Misuse(format!(
            "{asked} knows no host of '{name}' ({kind}: {rcode}); name one: portolan probe --profile {} HOST",
            profile.id
        ))
        .into());
    }
    let mut found = Vec::new();
    for (_, host) in named.into_iter().filter(|(_, host)| !host.is_empty()).take(MOST_HOSTS) {
        let address = ["A", "AAAA"].iter().find_map(|kind| {
            let answer = asked(namespace, server, &host, kind).ok()?;
            records(&answer, kind).iter().find_map(|data| data.parse().ok())
        });
        found.push(Found { typed: host, address, origin: format!("{kind} of {domain}") });
    }
    Ok(found)
}

/// What a name server says of a name.
fn asked(namespace: &Namespace, server: SocketAddr, name: &str, kind: &str) -> Result<Answer> {
    let target = Target { host: server.ip().to_string(), address: server.ip(), scope: 0 };
    let dns = protocol("dns").map(|dns| (dns, Via::Udp));
    let ports = vec![Asked { transport: Transport::Udp, port: server.port(), protocol: dns }];
    let settings = vec![("name".to_owned(), name.to_owned()), ("type".to_owned(), kind.to_owned())];
    let plan = Plan { settings, ..Plan::new(vec![target], ports) };
    let mut told = None;
    probe(namespace, &plan, &AtomicBool::new(false), &mut |probed| told = Some(probed))?;
    let failure = told.as_ref().and_then(|probed| probed.failure.clone());
    told.and_then(|probed| probed.answer).ok_or_else(|| {
        let why = failure.map_or_else(|| "no answer".to_owned(), |(_, why)| why);
        let name = name.escape_debug();
        anyhow::anyhow!(
            "cannot ask {server} for '{name}': {why}; name another one with --name-server ADDRESS"
        )
    })
}

/// The data of an answer's records of that type.
fn records(answer: &Answer, kind: &str) -> Vec<String> {
    let Some(Value::List(answers)) = answer.fields.value("answers") else { return Vec::new() };
    let data = |value: &Value| match value {
        Value::Fields(record) if record.text("type") == Some(kind) => record.text("data").map(str::to_owned),
        _ => None,
    };
    answers.iter().filter_map(data).collect()
}

/// The preference and host of an MX (`10 mail.example`) or SRV (`0 100 389 dc1.example`); an empty host stands for none.
fn target(data: &str, kind: &str) -> Option<(u32, String)> {
    let words: Vec<&str> = data.split(' ').collect();
    let (preference, host) = match (kind, &words[..]) {
        ("MX", [preference, host]) | ("SRV", [preference, _, _, host]) => (preference, host),
        _ => return None,
    };
    Some((preference.parse().ok()?, host.trim_end_matches('.').to_owned()))
}

#[cfg(test)]
mod tests {
    use portolan_core::profile::profile;

    use super::*;

    #[test]
    fn the_environment_names_hosts_as_other_programs_read_it() {
        let found = |id: &str, name: &'static str, value: &'static str| {
            hosts(profile(id).unwrap(), |asked| (asked == name).then(|| value.to_owned()))
                .map(|found| (found[0].typed.clone(), found[0].origin.clone()))
                .map_err(|misuse| misuse.0)
        };
        let proxy = found("proxy", "http_proxy", "http://me:secret@proxy.example:8080/");
        assert_eq!(proxy, Ok(("proxy.example:8080".into(), "http_proxy".into())));
        assert_eq!(found("proxy", "ALL_PROXY", "[::1]:3128"), Ok(("[::1]:3128".into(), "ALL_PROXY".into())));
        let socks = found("proxy", "ALL_PROXY", "socks5h://me:secret@127.0.0.1:1080").unwrap_err();
        assert!(socks.starts_with("ALL_PROXY names a SOCKS proxy") && !socks.contains("secret"), "{socks}");
        assert!(socks.ends_with("portolan probe 127.0.0.1:1080 --bare"), "{socks}");
        let both = |asked: &str| match asked {
            "all_proxy" => Some("socks5://127.0.0.1:1080".to_owned()),
            "ALL_PROXY" => Some("http://proxy.example:3128".to_owned()),
            _ => None,
        };
        assert_eq!(hosts(profile("proxy").unwrap(), both).unwrap()[0].typed, "proxy.example:3128");
        assert_eq!(found("news", "NNTPSERVER", "news"), Ok(("news".into(), "NNTPSERVER".into())));
        assert!(found("web", "WWW_HOME", "http://").unwrap_err().contains("WWW_HOME names no host"));
        assert!(found("dc", "X", "").unwrap_err().contains("--domain DOMAIN"));
    }

    #[test]
    fn a_record_names_its_host_and_its_place_in_line() {
        assert_eq!(target("10 mail.example.", "MX"), Some((10, "mail.example".into())));
        assert_eq!(target("0 .", "MX"), Some((0, String::new())));
        assert_eq!(target("0 100 389 dc1.lab.test", "SRV"), Some((0, "dc1.lab.test".into())));
        assert_eq!(target("x", "MX"), None);
    }
}
