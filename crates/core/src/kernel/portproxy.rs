//! Windows' port-proxy rules, from `netsh interface portproxy show all` and from the registry.
//!
//! Source: netsh's output, recorded in many write-ups: a heading for each of its four tables (`Listen on ipv4:
//! Connect to ipv4:`), a line of dashes, then a rule a line: address, port, address, port. Words are translated, so only
//! `ipv4` and `ipv6`, dashes and columns are relied on. A machine without rules prints nothing: the caller cannot
//! tell that from a netsh that failed in silence, and may rather read the registry
//! (`HKLM\SYSTEM\CurrentControlSet\Services\PortProxy\v4tov4\tcp`: value `0.0.0.0/8080`, data `172.28.0.2/80`).
//!
//! Left out on purpose: ports by service name, which netsh stores as numbers.

use std::net::{IpAddr, SocketAddr};

use crate::kernel::malformed::Malformed;
use crate::port::{Port, PortRange};
use crate::range::{Carrier, CarrierKind};
use crate::socket::Transport;

const FIELD: &str = "netsh interface portproxy";

/// The rules of netsh's output. A line among the rules that is none is an error: a rule must not be lost in silence.
pub fn carriers(text: &str) -> Result<Vec<Carrier>, Malformed> {
    let mut rules = Vec::new();
    let mut table = None;
    let mut below_dashes = false;
    for line in text.lines().map(str::trim) {
        if line.is_empty() {
            below_dashes = false;
        } else if line.chars().all(|c| c == '-' || c.is_whitespace()) {
            below_dashes = true;
        } else if below_dashes {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let [listen, port, connect, to_port] = columns[..] else {
                return Err(Malformed::new(FIELD, line));
            };
            rules
                .push(carrier(table, (listen, port), (connect, to_port)).ok_or(Malformed::new(FIELD, line))?);
        } else if let Some(named) = named_table(line) {
            table = Some(named);
        }
    }
    if rules.is_empty() && !text.trim().is_empty() {
        return Err(Malformed::new(FIELD, text.trim()));
    }
    Ok(rules)
}

/// One rule of the registry: the key's table (`v4tov4`), the value's name and its data.
pub fn registry_rule(table: &str, listen: &str, connect: &str) -> Result<Carrier, Malformed> {
    let table =
        TABLES.into_iter().find(|(name, _, _)| name.eq_ignore_ascii_case(table)).map(|(name, _, _)| name);
    let rule = listen.split_once('/').zip(connect.split_once('/'));
    rule.and_then(|(listen, connect)| carrier(table, listen, connect)).ok_or(Malformed::new(FIELD, listen))
}

/// The tables by the families they listen on and connect to.
const TABLES: [(&str, &str, &str); 4] = [
    ("v4tov4", "ipv4", "ipv4"),
    ("v4tov6", "ipv4", "ipv6"),
    ("v6tov4", "ipv6", "ipv4"),
    ("v6tov6", "ipv6", "ipv6"),
];

/// The table that a heading announces, by the two families in it.
fn named_table(heading: &str) -> Option<&'static str> {
    let heading = heading.to_ascii_lowercase();
    let first = heading.find("ipv")?;
    let family = |at: usize| heading.get(at..at + 4);
    let second = heading.get(first + 4..)?.find("ipv").map(|at| first + 4 + at)?;
    let (listen, connect) = (family(first)?, family(second)?);
    TABLES.into_iter().find(|(_, l, c)| (*l, *c) == (listen, connect)).map(|(name, _, _)| name)
}

fn carrier(table: Option<&str>, listen: (&str, &str), connect: (&str, &str)) -> Option<Carrier> {
    let address: Option<IpAddr> = match listen.0 {
        "*" => None,
        address => Some(address.parse().ok()?),
    };
    let to_port: Port = connect.1.parse().ok()?;
    let to_address = (!connect.0.is_empty()).then_some(connect.0)?;
    let to = match to_address.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, to_port.number()).to_string(),
        Err(_) => format!("{to_address}:{to_port}"),
    };
    Some(Carrier {
        kind: CarrierKind::PortProxy,
        transport: Transport::Tcp,
        address,
        ports: PortRange::single(listen.1.parse().ok()?),
        name: table.unwrap_or("port proxy").to_owned(),
        to: Some(to.chars().take(300).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Written after outputs in English and Chinese that people posted; the addresses are made up.
    const ENGLISH: &str = "\r\nListen on ipv4:             Connect to ipv4:\r\n\r\n\
        Address         Port        Address         Port\r\n\
        --------------- ----------  --------------- ----------\r\n\
        0.0.0.0         3001        172.30.149.249  3001\r\n\
        *               8080        wsl.local       80\r\n\r\n\
        Listen on ipv6:             Connect to ipv4:\r\n\r\n\
        Address         Port        Address         Port\r\n\
        --------------- ----------  --------------- ----------\r\n\
        ::1             3002        127.0.0.1       3002\r\n\r\n";
    const CHINESE: &str = "\n侦听 ipv4:                 连接到 ipv6:\n\n地址            端口        地址            端口\n\
        --------------- ----------  --------------- ----------\n192.168.16.40   8081        ::1             81\n\n";

    fn shown(text: &str) -> Vec<String> {
        let line = |c: Carrier| {
            let address = c.address.map_or("*".to_owned(), |a| a.to_string());
            format!("{} {address} {} -> {}", c.name, c.ports, c.to.unwrap())
        };
        carriers(text).unwrap().into_iter().map(line).collect()
    }

    #[test]
    fn rules_are_read_by_their_columns_in_any_language() {
        assert_eq!(
            shown(ENGLISH),
            [
                "v4tov4 0.0.0.0 3001 -> 172.30.149.249:3001",
                "v4tov4 * 8080 -> wsl.local:80",
                "v6tov4 ::1 3002 -> 127.0.0.1:3002"
            ]
        );
        assert_eq!(shown(CHINESE), ["v4tov6 192.168.16.40 8081 -> [::1]:81"]);
        assert_eq!(shown("\r\n"), [] as [&str; 0]);
    }

    #[test]
    fn a_line_that_is_no_rule_is_an_error_and_never_a_lost_rule() {
        for (part, by) in
            [("3001 ", "x "), ("3001 ", "70000 "), ("0.0.0.0  ", "0.0.0.0.0"), ("wsl.local ", "")]
        {
            assert!(carriers(&ENGLISH.replacen(part, by, 1)).is_err(), "{part} as {by}");
        }
        assert!(carriers("The service has not been started.").is_err());
    }

    #[test]
    fn every_truncation_gives_fewer_rules_or_an_error_and_never_others() {
        let whole = shown(ENGLISH);
        for end in (0..ENGLISH.len()).filter(|end| ENGLISH.is_char_boundary(*end)) {
            // A port cut short is a number too: the last rule of a cut text is not held against the whole.
            let Ok(rules) = carriers(&ENGLISH[..end]) else { continue };
            let sure = rules.len().saturating_sub(1);
            assert!(
                rules.len() <= whole.len() && shown(&ENGLISH[..end])[..sure] == whole[..sure],
                "cut to {end}"
            );
        }
    }

    #[test]
    fn a_rule_of_the_registry_is_the_same_rule() {
        let rule = registry_rule("v4tov4", "0.0.0.0/3001", "172.30.149.249/3001").unwrap();
        assert_eq!(rule, carriers(ENGLISH).unwrap()[0]);
        for (listen, connect) in
            [("0.0.0.0", "1.2.3.4/5"), ("x/1", "1.2.3.4/5"), ("0.0.0.0/0", "1.2.3.4/5"), ("*/1", "/5")]
        {
            assert!(registry_rule("v4tov4", listen, connect).is_err(), "{listen} {connect}");
        }
    }
}
