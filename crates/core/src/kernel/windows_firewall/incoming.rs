//! What Windows' firewall does with what comes in: all its rules for that, and its default.
//!
//! Source: [MS-GPFAS] 2.2.2.19 (the grammar of a rule), 2.2.3.1 and 2.2.3.11 (EnableFirewall, DefaultInboundAction).
//! A rule that blocks goes before one that allows, and what no rule names meets the profile's default.
//! Left out on purpose: rules for going out, and which of the three profiles is in force: a rule for some of them is one
//! with a condition. Rules that name a program or a service and no port are counted, since they say nothing of a port.

use super::{FIELD, LOCAL_PORTS, fields};
use crate::kernel::malformed::Malformed;
use crate::port::{PortRange, PortSet};
use crate::range::FirewallRule;
use crate::socket::Transport;

/// Fields that set no condition beyond transport and port.
const PLAIN: [&str; 11] = [
    "Action",
    "Active",
    "Dir",
    "Protocol",
    "LPort",
    "LPort2_10",
    "Name",
    "Desc",
    "EmbedCtxt",
    "Edge",
    "Platform",
];
const ACCEPT: &str = "accept";
const DROP: &str = "drop";

/// What a profile does with what no rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Whether the firewall is on in it.
    pub on: bool,
    /// Whether it blocks by default.
    pub blocks: bool,
}

/// One rule of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    transport: Option<Transport>,
    /// Empty for every port.
    ports: Vec<PortRange>,
    blocks: bool,
    unconditional: bool,
    text: String,
}

/// The rules for what comes in, in the order they are asked.
///
/// # Errors
/// A rule is not one of the grammar.
pub fn incoming(named: &[(String, String)], profiles: &[Profile]) -> Result<Vec<FirewallRule>, Malformed> {
    let mut read = Vec::new();
    for (id, text) in named {
        read.extend(rule(id, text)?);
    }
    let guarded = profiles.iter().filter(|profile| profile.on && profile.blocks).count();
    let on = profiles.iter().filter(|profile| profile.on).count();
    if on == 0 {
        return Ok(Vec::new());
    }
    // Off in a profile, no rule holds there.
    let everywhere = on == profiles.len();
    let (of_ports, of_programs): (Vec<Rule>, Vec<Rule>) =
        read.into_iter().partition(|rule| rule.unconditional || !rule.ports.is_empty());
    let mut found = Vec::new();
    for blocks in [true, false] {
        let chosen = of_ports.iter().filter(|rule| rule.blocks == blocks);
        found.extend(chosen.flat_map(|rule| shown(rule, everywhere)));
    }
    if !of_programs.is_empty() {
        found.push(FirewallRule {
            family: None,
            transport: None,
            ports: None,
            verdict: ACCEPT.into(),
            unconditional: false,
            text: format!(
                "{} rules for single programs (netsh advfirewall firewall show rule name=all dir=in)",
                of_programs.len()
            ),
        });
    }
    if guarded > 0 {
        found.extend(defaults(&of_ports, guarded == profiles.len()));
    }
    Ok(found)
}

fn shown(rule: &Rule, everywhere: bool) -> Vec<FirewallRule> {
    let one = |ports: Option<PortRange>| FirewallRule {
        family: None,
        transport: rule.transport,
        ports,
        verdict: if rule.blocks { DROP } else { ACCEPT }.into(),
        unconditional: rule.unconditional && (everywhere || !rule.blocks),
        text: rule.text.clone(),
    };
    if rule.ports.is_empty() {
        vec![one(None)]
    } else {
        rule.ports.iter().map(|range| one(Some(*range))).collect()
    }
}

/// The default, for the ports that no rule lets in whoever asks.
fn defaults(rules: &[Rule], everywhere: bool) -> Vec<FirewallRule> {
    let left = |transport: Transport| {
        let mut left = PortSet::from(PortRange::ALL);
        let opening = rules.iter().filter(|rule| !rule.blocks && rule.unconditional);
        for rule in opening.filter(|rule| rule.transport.is_none_or(|of| of == transport)) {
            let all = [PortRange::ALL];
            let ports = if rule.ports.is_empty() { &all[..] } else { &rule.ports };
            ports.iter().for_each(|range| left.remove_range(*range));
        }
        left.ranges()
    };
    let default = |transport: Transport, range: PortRange| FirewallRule {
        family: None,
        transport: Some(transport),
        ports: Some(range),
        verdict: DROP.into(),
        unconditional: everywhere,
        text: "the default of Windows' firewall: block".into(),
    };
    let of = |transport| left(transport).into_iter().map(move |range| default(transport, range));
    Transport::ALL.into_iter().flat_map(of).collect()
}

/// A rule; none for one that is off, goes out, or is about neither TCP nor UDP.
fn rule(id: &str, text: &str) -> Result<Option<Rule>, Malformed> {
    let bad = || Malformed::new(FIELD, text);
    let fields = fields(text)?;
    let of = |name: &str| fields.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let action = of("Action").ok_or_else(bad)?;
    let is_action = |name: &str| action.eq_ignore_ascii_case(name);
    let blocks = is_action("block");
    if !blocks && !is_action("allow") && !is_action("bypass") {
        return Err(bad());
    }
    let transport = match of("Protocol") {
        None => None,
        Some("6") => Some(Transport::Tcp),
        Some("17") => Some(Transport::Udp),
        Some(_) => return Ok(None),
    };
    let incoming = of("Dir").ok_or_else(bad)?.eq_ignore_ascii_case("in");
    if !incoming || of("Active").is_some_and(|active| !active.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let mut ports = Vec::new();
    // Keywords whose ports are given out when they are asked for have none to name.
    let mut unnamed = false;
    for (_, value) in fields.iter().filter(|(name, _)| LOCAL_PORTS.contains(name)) {
        match *value {
            "RPC-EPMap" => ports.push(single(135).ok_or_else(bad)?),
            "IPHTTPSIn" | "IPTLSIn" => ports.push(single(443).ok_or_else(bad)?),
            value if value.starts_with(|first: char| first.is_ascii_digit()) => {
                ports.push(value.parse().map_err(|_| bad())?);
            }
            _ => unnamed = true,
        }
    }
    let plain = fields.iter().all(|(name, _)| PLAIN.contains(name) || LOCAL_PORTS.contains(name));
    let unconditional = plain && !is_action("bypass") && !unnamed;
    // `@FirewallAPI.dll,-28502` is a name to be looked up in a library, in the display language.
    let name = of("Name").filter(|name| !name.starts_with('@')).unwrap_or(id);
    Ok(Some(Rule { transport, ports, blocks, unconditional, text: format!("Windows' firewall: {name}") }))
}

fn single(port: u16) -> Option<PortRange> {
    PortRange::new(port, port).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ON: Profile = Profile { on: true, blocks: true };
    const OFF: Profile = Profile { on: false, blocks: true };

    // The first is the example of [MS-GPFAS] 4.2; the others follow the grammar.
    const RULES: [&str; 8] = [
        "v2.10|Action=Allow|Active=TRUE|Dir=In|Protocol=6|Profile=Public|LPort=RPC|RPort=49000|\
         LA4=192.168.1.0/255.255.255.0|RA4=LocalSubnet|RA6=LocalSubnet|App=c:\\path\\foo.exe|\
         Name=Firewall Rule Test|Security=Authenticate|Security2_9=An-NoEncap|",
        "v2.32|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=8080|LPort2_10=9000-9010|Name=web|",
        "v2.32|Action=Block|Active=TRUE|Dir=In|Protocol=17|LPort=53|Name=@FirewallAPI.dll,-1|",
        "v2.32|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=3389|Profile=Private|Name=desk|",
        "v2.32|Action=Allow|Active=FALSE|Dir=In|Protocol=6|LPort=1|Name=off|",
        "v2.32|Action=Allow|Active=TRUE|Dir=Out|Protocol=6|LPort=2|Name=out|",
        "v2.32|Action=Allow|Active=TRUE|Dir=In|Protocol=58|ICMP6=1:*|Name=ping|",
        "v2.32|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=RPC-EPMap|Svc=rpcss|Name=map|",
    ];

    fn named() -> Vec<(String, String)> {
        RULES.iter().enumerate().map(|(index, text)| (format!("{{{index}}}"), (*text).to_owned())).collect()
    }

    fn lines(profiles: &[Profile]) -> Vec<String> {
        let line = |rule: FirewallRule| {
            let transport = rule.transport.map_or("any".to_owned(), |transport| transport.to_string());
            let ports = rule.ports.map_or("all".to_owned(), |ports| ports.to_string());
            let condition = if rule.unconditional { "" } else { " if" };
            format!("{} {transport} {ports}{condition}: {}", rule.verdict, rule.text)
        };
        incoming(&named(), profiles).unwrap().into_iter().map(line).collect()
    }

    #[test]
    fn what_blocks_goes_first_and_the_default_holds_for_what_nobody_opens() {
        insta::assert_snapshot!(lines(&[ON; 3]).join("\n"), @r"
        drop udp 53: Windows' firewall: {2}
        accept tcp 8080: Windows' firewall: web
        accept tcp 9000-9010: Windows' firewall: web
        accept tcp 3389 if: Windows' firewall: desk
        accept tcp 135 if: Windows' firewall: map
        accept any all if: 1 rules for single programs (netsh advfirewall firewall show rule name=all dir=in)
        drop tcp 1-8079: the default of Windows' firewall: block
        drop tcp 8081-8999: the default of Windows' firewall: block
        drop tcp 9011-65535: the default of Windows' firewall: block
        drop udp 1-65535: the default of Windows' firewall: block
        ");
    }

    #[test]
    fn a_firewall_that_is_off_has_no_rules_and_one_that_is_off_in_a_profile_blocks_under_that_condition() {
        assert_eq!(lines(&[OFF; 3]), [""; 0]);
        let some = lines(&[ON, ON, OFF]);
        assert!(
            some.iter().filter(|line| line.starts_with("drop")).all(|line| line.contains(" if: ")),
            "{some:?}"
        );
        let open = lines(&[Profile { on: true, blocks: false }; 3]);
        assert!(open.iter().all(|line| !line.contains("the default")), "{open:?}");
    }

    #[test]
    fn what_is_no_rule_is_an_error_and_never_an_open_port() {
        for text in [
            "",
            "Action=Allow|Dir=In|",
            "v2.32|Action=Maybe|Dir=In|",
            "v2.32|Dir=In|",
            "v2.32|Action=Allow|",
            "v2.32|Action=Allow|Dir=In|LPort=99999|",
            "v2.32|Action=Allow|Dir=In|stray|",
        ] {
            let named = [("{x}".to_owned(), text.to_owned())];
            assert!(incoming(&named, &[ON]).is_err(), "{text}");
        }
        for text in RULES {
            for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
                let named = [("{x}".to_owned(), text[..end].to_owned())];
                let _ = incoming(&named, &[ON]);
            }
        }
    }
}
