//! Listings of `iptables-save` and `ip6tables-save`, of the legacy and the nft kind.
//!
//! Source: iptables(8), iptables-extensions(8); the listing is what iptables/iptables-save.c prints. A match that is
//! not understood narrows its rule, and a target that is not understood decides nothing.

use std::net::IpAddr;

use crate::kernel::malformed::Malformed;
use crate::kernel::packet_filter::{Chain, Condition, Hook, Rule, Ruleset, Verdict};
use crate::port::{PortRange, PortSet};
use crate::socket::Family;

/// Whether a listing is of the rules that nftables holds for iptables (`iptables-nft`), by its first line.
pub fn is_nft_kind(text: &str) -> bool {
    text.lines().next().is_some_and(|line| line.contains("(nf_tables)"))
}

/// Decodes a listing. `command` is what a person would type to change a rule: `iptables`, `ip6tables-legacy`.
/// Tables are named as nftables names them (`ip nat`), those of the legacy kind with `legacy ` before.
pub fn decode(text: &str, family: Family, command: &str) -> Result<Ruleset, Malformed> {
    let prefix = match (is_nft_kind(text), family) {
        (true, Family::Ipv4) => "ip",
        (true, Family::Ipv6) => "ip6",
        (false, Family::Ipv4) => "legacy ip",
        (false, Family::Ipv6) => "legacy ip6",
    };
    let mut ruleset = Ruleset::default();
    let mut table = String::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let error = || Malformed::new("iptables-save", line);
        if let Some(name) = line.strip_prefix('*') {
            name.clone_into(&mut table);
        } else if line == "COMMIT" {
            table.clear();
        } else if table.is_empty() {
            return Err(error());
        } else if let Some(rest) = line.strip_prefix(':') {
            let mut words = rest.split_whitespace();
            let (name, policy) = words.next().zip(words.next()).ok_or_else(error)?;
            let chain = chain(&table, name, policy, family, command);
            ruleset.chains.insert((format!("{prefix} {table}"), name.to_owned()), chain);
        } else {
            // With --counters a rule begins with `[packets:bytes]`.
            let rule_text =
                line.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map_or(line, |(_, r)| r);
            let words = words(rule_text).ok_or_else(error)?;
            let ["-A", name, options @ ..] = &words.iter().map(String::as_str).collect::<Vec<_>>()[..] else {
                return Err(error());
            };
            let key = (format!("{prefix} {table}"), (*name).to_owned());
            let chain = ruleset.chains.get_mut(&key).ok_or_else(error)?;
            let text = format!("{command} -t {table} {rule_text}");
            if let Some(rule) = rule(options, text) {
                chain.rules.push(rule);
            }
        }
    }
    Ok(ruleset)
}

fn chain(table: &str, name: &str, policy: &str, family: Family, command: &str) -> Chain {
    let hook = match (table, name) {
        ("nat", "PREROUTING" | "OUTPUT") => Some(Hook::Nat),
        ("raw" | "mangle", "PREROUTING") => Some(Hook::Prerouting),
        ("mangle" | "filter" | "security", "INPUT") => Some(Hook::Input),
        _ => None,
    };
    let priority = match table {
        "raw" => -300,
        "mangle" => -150,
        "nat" => -100,
        "security" => 50,
        _ => 0,
    };
    let verdict = match policy {
        "ACCEPT" => Some(Verdict::Accept),
        "DROP" => Some(Verdict::Drop),
        _ => None,
    };
    let text = format!("{command} -t {table} -P {name} {policy}");
    Chain { hook, priority, policy: verdict.map(|v| (v, text)), family: Some(family), rules: Vec::new() }
}

/// Words of a rule; quoted ones may hold blanks and escaped quotes. None for a quote that does not end.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.chars().peekable();
    loop {
        while rest.next_if(|c| *c == ' ').is_some() {}
        let Some(first) = rest.next() else { return Some(words) };
        let mut word = String::new();
        if first == '"' {
            loop {
                match rest.next()? {
                    '"' => break,
                    '\\' => word.push(rest.next()?),
                    other => word.push(other),
                }
            }
        } else {
            word.push(first);
            while let Some(next) = rest.next_if(|c| *c != ' ') {
                word.push(next);
            }
        }
        words.push(word);
    }
}

/// One rule; none when it decides nothing about TCP or UDP.
fn rule(options: &[&str], text: String) -> Option<Rule> {
    let mut condition = Condition::EVERYTHING;
    let mut verdict = None;
    let mut rest = options.iter().copied().peekable();
    while let Some(option) = rest.next() {
        let (option, negated) = if option == "!" { (rest.next()?, true) } else { (option, false) };
        // Values up to the next option belong to this one.
        let mut values = Vec::new();
        if matches!(option, "--comment" | "--log-prefix" | "--nflog-prefix") {
            // Free text, which may look like an option.
            values.extend(rest.next());
        }
        while let Some(value) = rest.next_if(|next| !next.starts_with('-') && *next != "!") {
            values.push(value);
        }
        let value = values.first().copied().unwrap_or("");
        match option {
            "-j" | "--jump" => verdict = target(value),
            "-g" | "--goto" => verdict = Some(Verdict::Goto(value.to_owned())),
            "--to-destination" => verdict = Some(Verdict::Translate(Some(value.to_owned()))),
            "--to-ports" => verdict = Some(Verdict::Translate(Some(format!("port {value}")))),
            _ => condition = condition.and(&matched(option, negated, value))?,
        }
    }
    Some(Rule { branches: vec![(condition, verdict?)], text })
}

fn target(name: &str) -> Option<Verdict> {
    match name {
        "ACCEPT" => Some(Verdict::Accept),
        "DROP" => Some(Verdict::Drop),
        "REJECT" => Some(Verdict::Reject),
        "RETURN" => Some(Verdict::Return),
        "DNAT" | "REDIRECT" => Some(Verdict::Translate(None)),
        "LOG" | "NFLOG" | "MARK" | "CONNMARK" | "MASQUERADE" | "SNAT" => None,
        // A chain of the user, or a target that decides nothing: a jump to a chain that is not there does the same.
        other => Some(Verdict::Jump(other.to_owned())),
    }
}

/// What one match lets through.
fn matched(option: &str, negated: bool, value: &str) -> Condition {
    let state = |established: bool| Condition { aside: established, ..Condition::EVERYTHING };
    match option {
        // The names of match modules, and what belongs to a target or says nothing about the packet.
        "-m" | "--match" | "--comment" | "--reject-with" | "--random" | "--persistent" => {
            Condition::EVERYTHING
        }
        "-p" | "--protocol" => protocol(value, negated),
        "--dport" | "--dports" | "--destination-port" | "--destination-ports" => {
            ports(value, negated).unwrap_or(Condition::NARROWED)
        }
        "--state" | "--ctstate" => {
            let new = value.split(',').any(|state| matches!(state, "NEW" | "UNTRACKED"));
            state(new == negated)
        }
        "-i" | "--in-interface" if value == "lo" => state(!negated),
        "--dst-type" if value == "LOCAL" && !negated => Condition::EVERYTHING,
        "-d" | "--destination" if !negated => destination(value),
        _ => Condition::NARROWED,
    }
}

fn protocol(value: &str, negated: bool) -> Condition {
    let (tcp, udp) = match value {
        "tcp" | "6" => (true, false),
        "udp" | "17" => (false, true),
        "all" | "0" => (true, true),
        _ => (false, false),
    };
    Condition { tcp: tcp != negated, udp: udp != negated, ..Condition::EVERYTHING }
}

/// `80`, `80:90`, `22,80:90`.
fn ports(value: &str, negated: bool) -> Option<Condition> {
    let mut set = PortSet::new();
    for part in value.split(',') {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        let first: u16 = first.parse().ok()?;
        set.insert_range(PortRange::new(first.max(1), last.parse().ok()?).ok()?);
    }
    if negated {
        let listed = std::mem::replace(&mut set, PortRange::ALL.into());
        set.subtract(&listed);
    }
    Some(Condition { ports: Some(set.ranges()), ..Condition::EVERYTHING })
}

/// One address, with or without the mask of a single host; anything wider narrows.
fn destination(value: &str) -> Condition {
    let address = match value.split_once('/') {
        Some((address, "32" | "128")) => address,
        Some(_) => return Condition::NARROWED,
        None => value,
    };
    match address.parse::<IpAddr>() {
        Ok(address) => Condition { address: Some(address), ..Condition::EVERYTHING },
        Err(_) => Condition::NARROWED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::Transport;

    /// Recorded with iptables 1.8.9 (nf_tables) on Linux 6.18.
    const LISTING: &str = include_str!("../../tests/recordings/iptables-save-1.8.9.txt");

    #[test]
    fn destination_nat_is_found_through_jumps_and_each_rule_once() {
        let ruleset = decode(LISTING, Family::Ipv4, "iptables").unwrap();
        let reading = ruleset.carriers();
        assert!(reading.gaps.is_empty());
        let seen: Vec<_> = reading
            .value
            .iter()
            .map(|c| {
                format!("{} {} {} -> {}", c.transport, c.address.unwrap(), c.ports, c.to.as_deref().unwrap())
            })
            .collect();
        assert_eq!(
            seen,
            [
                // OUTPUT is asked first only because its name sorts first.
                "tcp 0.0.0.0 8081 -> 172.17.0.2:80",
                "udp 127.0.0.1 5300 -> 172.17.0.2:53",
                "tcp 0.0.0.0 80 -> 10.0.0.2:8080",
                "tcp 0.0.0.0 90-91 -> port 9090",
                "tcp 0.0.0.0 100-110 -> port 9090",
            ]
        );
        assert_eq!(
            reading.value[2].name,
            "iptables -t nat -A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2:8080"
        );
    }

    #[test]
    fn the_way_in_is_read_in_order_with_the_policy_last() {
        let ruleset = decode(LISTING, Family::Ipv4, "iptables").unwrap();
        let rules = ruleset.firewall().value;
        let seen: Vec<_> = rules
            .iter()
            .map(|r| {
                let transport = r.transport.map_or("any", Transport::name);
                let ports = r.ports.map_or("all".to_owned(), |p| p.to_string());
                format!("{} {transport} {ports}{}", r.verdict, if r.unconditional { "" } else { " if" })
            })
            .collect();
        assert_eq!(
            seen,
            [
                "accept tcp 22",
                "accept tcp 5432 if",
                "drop tcp 1-98",
                "drop tcp 100-65535",
                "reject udp 6000-6010",
                "drop tcp 25-26",
                "drop any all",
            ]
        );
        assert_eq!(rules.last().unwrap().text, "iptables -t filter -P INPUT DROP");
        assert!(rules.iter().all(|rule| rule.family == Some(Family::Ipv4)));
    }

    #[test]
    fn a_legacy_listing_keeps_its_tables_apart() {
        let text = LISTING.replace(" (nf_tables)", "");
        let ruleset = decode(&text, Family::Ipv6, "ip6tables-legacy").unwrap();
        assert!(ruleset.chains.keys().all(|(table, _)| table.starts_with("legacy ip6 ")));
    }

    #[test]
    fn every_truncation_is_an_error_or_a_shorter_listing() {
        for end in 0..LISTING.len() {
            if let Ok(ruleset) = decode(&LISTING[..end], Family::Ipv4, "iptables") {
                ruleset.carriers();
                ruleset.firewall();
            }
        }
        for text in [
            ":INPUT ACCEPT [0:0]",
            "*nat\n-A NONE -j DROP",
            "*nat\nhello",
            "*nat\n:A -\n-A A \"x",
            "*nat\n:A",
        ] {
            assert!(decode(text, Family::Ipv4, "iptables").is_err(), "{text}");
        }
    }
}
