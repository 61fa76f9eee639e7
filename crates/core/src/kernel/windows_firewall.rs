//! The rules of Windows' firewall as its registry keeps them (`SharedAccess\Parameters\FirewallPolicy\FirewallRules`):
//! which of them let in traffic for which ports.
//!
//! Source: [MS-FASP] 2.2, [MS-GPFAS] 2.2.2.19 (the text of a rule: `v2.10|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=80|…`; a range is
//! `LPort2_10=5000-5010`, a kind of port a word such as `RPC`). Of who counts on a range of ports tell those
//! that let in, whoever may come (addresses, programs, profiles); what comes in for a port is [`incoming`]'s to tell.

mod incoming;

use crate::kernel::malformed::Malformed;
use crate::port::PortRange;
use crate::socket::Transport;

pub use incoming::{Profile, incoming};

const FIELD: &str = "firewall rule";
/// Fields that name ports of this machine; later versions of the grammar have fields of their own.
const LOCAL_PORTS: [&str; 4] = ["LPort", "LPort2_10", "LPort2_20", "LPort2_24"];

/// The fields of a rule's text, behind its version.
fn fields(text: &str) -> Result<Vec<(&str, &str)>, Malformed> {
    let bad = || Malformed::new(FIELD, text);
    let (version, fields) = text.split_once('|').ok_or_else(bad)?;
    if !version.starts_with('v') {
        return Err(bad());
    }
    let fields = fields.split('|').filter(|field| !field.is_empty());
    fields.map(|field| field.split_once('=').ok_or_else(bad)).collect()
}

/// An active rule that lets traffic in for certain ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRule {
    /// Its name; `@FirewallAPI.dll,-28502` for a name that Windows translates.
    pub name: String,
    /// TCP or UDP.
    pub transport: Transport,
    /// The ports that it names.
    pub ports: Vec<PortRange>,
    /// Whether it names the ports that RPC servers take from the dynamic range.
    pub rpc: bool,
}

/// A rule's text; none for one that lets in nothing, is off, or names no port of TCP or UDP.
pub fn port_rule(text: &str) -> Result<Option<PortRule>, Malformed> {
    let (mut allows, mut active, mut inward, mut transport) = (false, false, false, None);
    let (mut name, mut ports, mut rpc) = (String::new(), Vec::new(), false);
    for (key, value) in fields(text)? {
        match key {
            "Action" => allows = value.eq_ignore_ascii_case("allow"),
            "Active" => active = value.eq_ignore_ascii_case("true"),
            "Dir" => inward = value.eq_ignore_ascii_case("in"),
            "Protocol" => {
                transport = match value {
                    "6" => Some(Transport::Tcp),
                    "17" => Some(Transport::Udp),
                    _ => None,
                }
            }
            "Name" => value.clone_into(&mut name),
            key if LOCAL_PORTS.contains(&key) => match value {
                "RPC" => rpc = true,
                digits if digits.starts_with(|c: char| c.is_ascii_digit()) => {
                    ports.push(digits.parse().map_err(|_| Malformed::new(FIELD, text))?);
                }
                // Another kind of port: RPC-EPMap, Teredo, IPHTTPS, Ply2Disc, mDNS.
                _ => {}
            },
            _ => {}
        }
    }
    let named = rpc || !ports.is_empty();
    Ok(transport.filter(|_| allows && active && inward && named).map(|transport| PortRule {
        name,
        transport,
        ports,
        rpc,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_rules_that_let_in_are_read_with_their_ports() {
        let rule = port_rule(
            r"v2.30|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=443|LPort2_10=50000-50100|App=C:\a.exe|Name=Web|",
        );
        let rule = rule.unwrap().unwrap();
        assert_eq!((rule.name.as_str(), rule.transport, rule.rpc), ("Web", Transport::Tcp, false));
        assert_eq!(rule.ports, ["443".parse().unwrap(), "50000-50100".parse().unwrap()]);
        let rpc =
            "v2.10|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=RPC|Svc=*|Name=@FirewallAPI.dll,-28502|";
        assert!(port_rule(rpc).unwrap().unwrap().rpc);
    }

    #[test]
    fn rules_that_let_in_nothing_are_none_and_what_is_no_rule_is_an_error() {
        let rule = "v2.10|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=80|Name=x|";
        assert!(port_rule(rule).unwrap().is_some());
        for (from, to) in [
            ("Allow", "Block"),
            ("TRUE", "FALSE"),
            ("Dir=In", "Dir=Out"),
            ("Protocol=6", "Protocol=1"),
            ("LPort=80|", ""),
        ] {
            assert_eq!(port_rule(&rule.replace(from, to)), Ok(None), "{to}");
        }
        assert!(port_rule("").is_err() && port_rule(&rule.replace("=80", "=80x")).is_err());
    }
}
