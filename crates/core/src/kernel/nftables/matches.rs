//! What a match, a set or a map of nftables lets through.
//!
//! Source: libnftables-json(5), MATCH, SET, MAP and the expressions. Only what bears on ports is told apart.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{only_field, text_of};
use crate::kernel::packet_filter::Condition;
use crate::port::{PortRange, PortSet};
use crate::socket::Family;

/// Elements of named sets and maps, by table and name.
pub(super) type Sets<'a> = BTreeMap<(String, &'a str), &'a [Value]>;

/// What a packet is asked for.
#[derive(Clone, Copy, PartialEq)]
enum Selector {
    /// Destination port, of TCP, of UDP.
    Port { tcp: bool, udp: bool },
    /// Transport protocol, in a packet of a family.
    Protocol(Option<Family>),
    /// Destination address.
    Destination,
    /// State of the connection.
    State,
    /// Interface it comes in by.
    Interface,
    /// Address family.
    Family,
    /// Kind of its destination address.
    Kind,
    /// Something of a protocol that is neither TCP nor UDP.
    Elsewhere,
    /// Anything else.
    Other(Option<Family>),
}

fn selector(left: &Value) -> Selector {
    let Some((kind, body)) = only_field(left) else { return Selector::Other(None) };
    match kind {
        "payload" => match (text_of(body, "protocol"), text_of(body, "field")) {
            ("tcp", "dport") => Selector::Port { tcp: true, udp: false },
            ("udp", "dport") => Selector::Port { tcp: false, udp: true },
            ("th", "dport") => Selector::Port { tcp: true, udp: true },
            ("ip" | "ip6", "daddr") => Selector::Destination,
            ("ip", "protocol") => Selector::Protocol(Some(Family::Ipv4)),
            ("ip6", "nexthdr") => Selector::Protocol(Some(Family::Ipv6)),
            ("ip", _) => Selector::Other(Some(Family::Ipv4)),
            ("ip6", _) => Selector::Other(Some(Family::Ipv6)),
            ("icmp" | "icmpv6" | "igmp" | "sctp" | "dccp" | "udplite" | "esp" | "ah", _) => {
                Selector::Elsewhere
            }
            _ => Selector::Other(None),
        },
        "meta" => match text_of(body, "key") {
            "l4proto" => Selector::Protocol(None),
            "iif" | "iifname" => Selector::Interface,
            "nfproto" => Selector::Family,
            _ => Selector::Other(None),
        },
        "ct" if text_of(body, "key") == "state" => Selector::State,
        "fib" if text_of(body, "result") == "type" => Selector::Kind,
        _ => Selector::Other(None),
    }
}

/// What a `match` lets through: any of these.
pub(super) fn matched(sets: &Sets<'_>, table: &str, body: &Value) -> Vec<Condition> {
    let null = Value::Null;
    let (left, right) = (body.get("left").unwrap_or(&null), body.get("right").unwrap_or(&null));
    let values = elements(sets, table, right);
    let negated = match text_of(body, "op") {
        "==" | "in" | "" => false,
        "!=" => true,
        op => return vec![compared(selector(left), op, right).unwrap_or(Condition::NARROWED)],
    };
    if negated {
        return excluded(selector(left), &values);
    }
    united(values.iter().filter_map(|value| key(left, value)))
}

/// What each element of a map lets through, and what it leads to.
pub(super) fn mapped<'a>(sets: &Sets<'a>, table: &str, body: &'a Value) -> Vec<(Condition, &'a Value)> {
    let null = &Value::Null;
    let (left, data) = (body.get("key").unwrap_or(null), body.get("data").unwrap_or(null));
    let pair = |element: &'a Value| match element.as_array().map(Vec::as_slice) {
        Some([value, to]) => Some((key(left, bare(value))?, to)),
        _ => None,
    };
    elements(sets, table, data).into_iter().filter_map(pair).collect()
}

/// The values of a right side: those of a set, named or not, or the one that stands there.
fn elements<'a>(sets: &Sets<'a>, table: &str, right: &'a Value) -> Vec<&'a Value> {
    if let Some(name) = right.as_str().and_then(|text| text.strip_prefix('@')) {
        let named = sets.get(&(table.to_owned(), name));
        return named.map_or(Vec::new(), |elements| elements.iter().map(bare).collect());
    }
    match right.get("set").unwrap_or(right).as_array() {
        Some(values) => values.iter().map(bare).collect(),
        None => vec![right.get("set").unwrap_or(right)],
    }
}

/// An element without its time-out, counter and comment.
fn bare(element: &Value) -> &Value {
    element.get("elem").and_then(|inner| inner.get("val")).unwrap_or(element)
}

/// What a packet must be for the left side, or each part of it, to have this value.
fn key(left: &Value, value: &Value) -> Option<Condition> {
    let parts = |of: &'_ Value| of.get("concat").and_then(Value::as_array).cloned();
    match (parts(left), parts(value)) {
        (Some(left), Some(values)) if left.len() == values.len() => left
            .iter()
            .zip(&values)
            .try_fold(Condition::EVERYTHING, |all, (left, value)| all.and(&equal(selector(left), value)?)),
        (Some(_), _) => Some(Condition::NARROWED),
        (None, _) => equal(selector(left), value),
    }
}

/// What a packet must be for a selector to have a value; none when no TCP or UDP packet has it.
fn equal(selector: Selector, value: &Value) -> Option<Condition> {
    let everything = Condition::EVERYTHING;
    Some(match selector {
        Selector::Port { tcp, udp } => match port_range(value) {
            Some(range) => Condition { tcp, udp, ports: Some(vec![range]), ..everything },
            None => Condition { tcp, udp, ..Condition::NARROWED },
        },
        Selector::Protocol(family) => {
            let (tcp, udp) = protocol(value);
            return (tcp || udp).then_some(Condition { family, tcp, udp, ..everything });
        }
        Selector::Destination => match value.as_str().and_then(|text| text.parse().ok()) {
            Some(address) => Condition { address: Some(address), ..everything },
            None => Condition::NARROWED,
        },
        Selector::State => Condition { aside: !is_new(value), ..everything },
        Selector::Interface if value == "lo" => Condition { aside: true, ..everything },
        Selector::Family => match value.as_str() {
            Some("ipv4") => Condition { family: Some(Family::Ipv4), ..everything },
            Some("ipv6") => Condition { family: Some(Family::Ipv6), ..everything },
            _ => Condition::NARROWED,
        },
        Selector::Kind if value == "local" => everything,
        Selector::Interface | Selector::Kind => Condition::NARROWED,
        Selector::Elsewhere => return None,
        Selector::Other(family) => Condition { family, ..Condition::NARROWED },
    })
}

/// What a packet must be for a selector to have none of the values.
fn excluded(selector: Selector, values: &[&Value]) -> Vec<Condition> {
    let condition = match selector {
        Selector::Port { tcp, udp } => {
            let mut rest = PortSet::from(PortRange::ALL);
            let ranges: Option<Vec<PortRange>> = values.iter().map(|value| port_range(value)).collect();
            match ranges {
                Some(ranges) => {
                    ranges.into_iter().for_each(|range| rest.remove_range(range));
                    Condition { tcp, udp, ports: Some(rest.ranges()), ..Condition::EVERYTHING }
                }
                None => Condition { tcp, udp, ..Condition::NARROWED },
            }
        }
        Selector::Protocol(family) => {
            let of = |pick: fn((bool, bool)) -> bool| values.iter().any(|value| pick(protocol(value)));
            Condition { family, tcp: !of(|p| p.0), udp: !of(|p| p.1), ..Condition::EVERYTHING }
        }
        Selector::State => {
            Condition { aside: values.iter().any(|value| is_new(value)), ..Condition::EVERYTHING }
        }
        Selector::Interface if values.iter().all(|value| *value == "lo") => Condition::EVERYTHING,
        Selector::Elsewhere => return Vec::new(),
        Selector::Other(family) => Condition { family, ..Condition::NARROWED },
        _ => Condition::NARROWED,
    };
    if condition.possible() { vec![condition] } else { Vec::new() }
}

/// `tcp dport < 1024` and the like.
fn compared(selector: Selector, op: &str, right: &Value) -> Option<Condition> {
    let Selector::Port { tcp, udp } = selector else { return None };
    let port = u16::try_from(right.as_u64()?).ok()?;
    let (first, last) = match op {
        "<" => (1, port.checked_sub(1)?),
        "<=" => (1, port),
        ">" => (port.checked_add(1)?, u16::MAX),
        ">=" => (port.max(1), u16::MAX),
        _ => return None,
    };
    let range = PortRange::new(first, last).ok()?;
    Some(Condition { tcp, udp, ports: Some(vec![range]), ..Condition::EVERYTHING })
}

/// Conditions that differ in one thing only, made one.
fn united(conditions: impl Iterator<Item = Condition>) -> Vec<Condition> {
    let mut all: Vec<Condition> = Vec::new();
    for next in conditions {
        if !all.last_mut().is_some_and(|last| unite(last, &next)) {
            all.push(next);
        }
    }
    for ports in all.iter_mut().filter_map(|condition| condition.ports.as_mut()) {
        *ports = ports.iter().copied().collect::<PortSet>().ranges();
    }
    all
}

/// Makes `last` hold for what either lets through, where one condition can say that.
fn unite(last: &mut Condition, next: &Condition) -> bool {
    let rest = |c: &Condition| (c.family, c.address, c.narrowed);
    let (transports, states) = ((last.tcp, last.udp) == (next.tcp, next.udp), last.aside == next.aside);
    if rest(last) != rest(next) {
        return false;
    }
    match (&mut last.ports, &next.ports) {
        (Some(ports), Some(more)) if transports && states => ports.extend(more),
        (None, None) if transports || states => {
            (last.tcp, last.udp) = (last.tcp | next.tcp, last.udp | next.udp);
            last.aside &= next.aside;
        }
        _ => return false,
    }
    true
}

fn is_new(value: &Value) -> bool {
    matches!(value.as_str(), Some("new" | "untracked"))
}

/// Whether a protocol is TCP, and whether UDP, by name or number.
fn protocol(value: &Value) -> (bool, bool) {
    let is = |name: &str, number: u64| value == name || value.as_u64() == Some(number);
    (is("tcp", 6), is("udp", 17))
}

/// `80`, `{"range": [80, 90]}`.
fn port_range(value: &Value) -> Option<PortRange> {
    let number = |value: &Value| u16::try_from(value.as_u64()?).ok();
    match value.get("range").and_then(Value::as_array).map(Vec::as_slice) {
        Some([first, last]) => PortRange::new(number(first)?.max(1), number(last)?).ok(),
        Some(_) => None,
        None => number(value).and_then(|port| PortRange::new(port, port).ok()),
    }
}
