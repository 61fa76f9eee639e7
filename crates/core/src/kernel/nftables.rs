//! Listings of `nft --json list ruleset`.
//!
//! Source: libnftables-json(5). An expression that is not understood narrows its rule. Rules of iptables-nft show
//! their matches and targets here only by name (`xt`): [`Listing::has_iptables_parts`] says that `iptables-save`
//! knows more. Left out on purpose: flow tables, objects, counters, netdev and bridge tables.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kernel::malformed::Malformed;
use crate::kernel::packet_filter::{Chain, Condition, Hook, Rule, Ruleset, Verdict};
use crate::socket::Family;

mod matches;
mod text;

use matches::Sets;

/// A decoded listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Its tables, named `ip nat`.
    pub ruleset: Ruleset,
    /// Whether it holds parts that only iptables can show whole.
    pub has_iptables_parts: bool,
}

/// Decodes a listing.
pub fn decode(json: &[u8]) -> Result<Listing, Malformed> {
    let error = |text: &str| Malformed::new("nft list ruleset", text);
    let document: Value = serde_json::from_slice(json).map_err(|e| error(&e.to_string()))?;
    let objects =
        document.get("nftables").and_then(Value::as_array).ok_or_else(|| error("no nftables array"))?;
    let mut sets: Sets<'_> = BTreeMap::new();
    let mut listing = Listing::default();
    for (kind, body) in objects.iter().filter_map(only_field) {
        match kind {
            "set" | "map" => {
                let elements = body.get("elem").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                sets.insert((table_of(body), text_of(body, "name")), elements);
            }
            "chain" => {
                let chain = chain(body);
                listing.ruleset.chains.insert((table_of(body), text_of(body, "name").to_owned()), chain);
            }
            _ => {}
        }
    }
    for (_, body) in objects.iter().filter_map(only_field).filter(|(kind, _)| *kind == "rule") {
        let key = (table_of(body), text_of(body, "chain").to_owned());
        let expressions = body.get("expr").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let is_foreign = |e: &Value| only_field(e).is_some_and(|(kind, _)| kind == "xt");
        listing.has_iptables_parts |= expressions.iter().any(is_foreign);
        let chain = listing.ruleset.chains.get_mut(&key).ok_or_else(|| error("a rule before its chain"))?;
        let branches = branches(&sets, &key.0, expressions);
        if !branches.is_empty() {
            let handle = body.get("handle").and_then(Value::as_u64).unwrap_or(0);
            let text = format!("nft {} {} handle {handle}: {}", key.0, key.1, text::rule(expressions));
            chain.rules.push(Rule { branches, text });
        }
    }
    Ok(listing)
}

/// The field of an object that has one: `{"drop": null}`.
fn only_field(value: &Value) -> Option<(&str, &Value)> {
    let fields = value.as_object()?;
    fields.iter().next().filter(|_| fields.len() == 1).map(|(name, body)| (name.as_str(), body))
}

fn text_of<'a>(body: &'a Value, field: &str) -> &'a str {
    body.get(field).and_then(Value::as_str).unwrap_or("")
}

fn table_of(body: &Value) -> String {
    format!("{} {}", text_of(body, "family"), text_of(body, "table"))
}

fn chain(body: &Value) -> Chain {
    let (family, local) = match text_of(body, "family") {
        "ip" => (Some(Family::Ipv4), true),
        "ip6" => (Some(Family::Ipv6), true),
        "inet" => (None, true),
        _ => (None, false),
    };
    let hook = match (text_of(body, "type"), text_of(body, "hook")) {
        ("filter", "input") => Some(Hook::Input),
        ("filter", "prerouting") => Some(Hook::Prerouting),
        ("nat", "prerouting" | "output") => Some(Hook::Nat),
        _ => None,
    };
    let policy = match text_of(body, "policy") {
        "accept" => Some(Verdict::Accept),
        "drop" => Some(Verdict::Drop),
        _ => None,
    };
    let at = format!("nft {} {}: policy {}", table_of(body), text_of(body, "name"), text_of(body, "policy"));
    Chain {
        hook: hook.filter(|_| local),
        priority: body.get("prio").and_then(Value::as_i64).unwrap_or(0),
        policy: policy.map(|verdict| (verdict, at)),
        family,
        rules: Vec::new(),
    }
}

/// Branches that one rule may have before the rest counts as "something else decides".
const BRANCHES: usize = 4096;

fn branches(sets: &Sets<'_>, table: &str, expressions: &[Value]) -> Vec<(Condition, Verdict)> {
    let mut reaching = vec![Condition::EVERYTHING];
    let mut branches = Vec::new();
    for (kind, body) in expressions.iter().filter_map(only_field) {
        let met = match kind {
            "match" => matches::matched(sets, table, body),
            "vmap" => {
                for (key, data) in matches::mapped(sets, table, body) {
                    if let Some(verdict) = verdict(data) {
                        branches.extend(joined(&reaching, &[key]).into_iter().map(|c| (c, verdict.clone())));
                    }
                }
                continue;
            }
            "dnat" | "redirect" => {
                for (condition, to) in translation(sets, table, kind, body) {
                    let verdict = Verdict::Translate(to);
                    branches
                        .extend(joined(&reaching, &[condition]).into_iter().map(|c| (c, verdict.clone())));
                }
                continue;
            }
            "xt" => match text_of(body, "name") {
                // Matches that decide nothing about new connections from elsewhere.
                "comment" | "tcp" | "udp" => continue,
                name @ ("DNAT" | "REDIRECT" | "REJECT") => {
                    let to = if name == "REJECT" { Verdict::Reject } else { Verdict::Translate(None) };
                    branches.extend(reaching.iter().map(|c| (c.clone(), to.clone())));
                    continue;
                }
                _ if text_of(body, "type") == "target" => continue,
                _ => vec![Condition::NARROWED],
            },
            // Statements that decide nothing.
            "counter" | "log" | "mangle" | "notrack" | "comment" | "flow" | "ct helper" => continue,
            _ => match verdict_of(kind, body) {
                Some(verdict) => {
                    branches.extend(reaching.iter().map(|condition| (condition.clone(), verdict.clone())));
                    continue;
                }
                None => vec![Condition::NARROWED],
            },
        };
        reaching = joined(&reaching, &met);
    }
    branches
}

/// Every pair that is possible.
fn joined(these: &[Condition], those: &[Condition]) -> Vec<Condition> {
    if these.len().saturating_mul(those.len()) > BRANCHES {
        return vec![Condition::NARROWED];
    }
    these.iter().flat_map(|a| those.iter().filter_map(|b| a.and(b))).collect()
}

fn verdict(value: &Value) -> Option<Verdict> {
    only_field(value).and_then(|(kind, body)| verdict_of(kind, body))
}

fn verdict_of(kind: &str, body: &Value) -> Option<Verdict> {
    let target = || text_of(body, "target").to_owned();
    match kind {
        "accept" => Some(Verdict::Accept),
        "drop" => Some(Verdict::Drop),
        "reject" => Some(Verdict::Reject),
        "return" => Some(Verdict::Return),
        "jump" => Some(Verdict::Jump(target())),
        "goto" => Some(Verdict::Goto(target())),
        _ => None,
    }
}

/// Where a `dnat` or `redirect` leads, by what else it asks: `dnat to tcp dport map { 80 : 10.0.0.2 }`.
fn translation(sets: &Sets<'_>, table: &str, kind: &str, body: &Value) -> Vec<(Condition, Option<String>)> {
    let (address, port) = (body.get("addr"), body.get("port"));
    let map_of = |value: Option<&'_ Value>| value.and_then(|v| v.get("map")).cloned();
    if let Some(map) = map_of(address).or_else(|| map_of(port)) {
        let lead = |data: &Value| {
            let parts = data
                .get("concat")
                .and_then(Value::as_array)
                .map_or(std::slice::from_ref(data), Vec::as_slice);
            match address.filter(|a| a.get("map").is_none()) {
                Some(fixed) => text::endpoint(Some(fixed), parts.first()),
                None if kind == "redirect" => text::endpoint(None, parts.first()),
                None => {
                    text::endpoint(parts.first(), parts.get(1).or(port.filter(|p| p.get("map").is_none())))
                }
            }
        };
        return matches::mapped(sets, table, &map).into_iter().map(|(key, data)| (key, lead(data))).collect();
    }
    vec![(Condition::EVERYTHING, text::endpoint(address, port))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::Transport;

    /// Recorded with nft 1.0.6 on Linux 6.18.
    const NATIVE: &str = include_str!("../../tests/recordings/nft-1.0.6.json");
    /// What iptables-nft 1.8.9 made, listed by nft 1.0.6.
    const FOREIGN: &str = include_str!("../../tests/recordings/nft-1.0.6-of-iptables.json");

    #[test]
    fn every_way_of_writing_destination_nat_is_found() {
        let listing = decode(NATIVE.as_bytes()).unwrap();
        assert!(!listing.has_iptables_parts);
        let seen: Vec<_> = listing
            .ruleset
            .carriers()
            .value
            .iter()
            .map(|c| {
                let to = c.to.as_deref().unwrap_or("?");
                format!("{} {} {} -> {to}", c.transport, c.address.unwrap(), c.ports)
            })
            .collect();
        assert_eq!(
            seen,
            [
                "tcp 0.0.0.0 80 -> 10.0.0.2:8080",
                "udp 192.0.2.1 5000-5010 -> 10.0.0.3",
                "tcp 0.0.0.0 90-91 -> port 9090",
                "tcp 0.0.0.0 100 -> 10.0.0.4",
                "tcp 0.0.0.0 101 -> 10.0.0.5",
                "tcp 0.0.0.0 81 -> 10.0.0.2:8081",
                "tcp 0.0.0.0 300 -> 10.0.0.7",
            ]
        );
    }

    #[test]
    fn the_way_in_is_read_in_order_through_sets_maps_and_jumps() {
        let rules = decode(NATIVE.as_bytes()).unwrap().ruleset.firewall().value;
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
                "accept tcp 443",
                "accept tcp 8000-8100",
                "accept tcp 9000",
                "drop udp 53",
                "accept tcp 5432 if",
                "reject tcp 6000-6010",
                "drop any 7777",
                "drop tcp 25",
                "accept tcp 70",
                "drop tcp 71",
                "accept tcp 4444 if",
                "drop any all",
            ]
        );
        assert_eq!(rules[6].text, "nft inet f in handle 11: tcp dport 6000-6010 reject");
        assert_eq!(rules[5].family, Some(Family::Ipv4));
    }

    #[test]
    fn rules_of_iptables_are_told_apart() {
        let listing = decode(FOREIGN.as_bytes()).unwrap();
        assert!(listing.has_iptables_parts);
        let carriers = listing.ruleset.carriers().value;
        assert!(carriers.iter().any(|c| c.ports.contains(8081) && c.to.is_none()));
        let save = include_str!("../../tests/recordings/iptables-save-1.8.9.txt");
        let mut ruleset = listing.ruleset;
        let ours = crate::kernel::iptables::decode(save, Family::Ipv4, "iptables").unwrap();
        let expected = (ours.carriers(), ours.firewall());
        ruleset.replace(ours);
        assert_eq!((ruleset.carriers(), ruleset.firewall()), expected);
    }

    fn with_rules(rules: &str) -> Ruleset {
        let text = format!(
            r#"{{"nftables": [{{"chain": {{"family": "inet", "table": "t", "name": "nat", "type": "nat", "hook": "prerouting", "prio": 0, "policy": "accept"}}}},
            {{"chain": {{"family": "inet", "table": "t", "name": "in", "type": "filter", "hook": "input", "prio": 0, "policy": "accept"}}}},
            {{"chain": {{"family": "inet", "table": "t", "name": "svc"}}}}, {rules}]}}"#
        );
        decode(text.as_bytes()).unwrap().ruleset
    }

    #[test]
    fn node_ports_of_kube_proxy_are_found_through_their_verdict_map() {
        // Shape of kube-proxy's nftables mode, shortened.
        let ruleset = with_rules(
            r#"{"map": {"family": "inet", "table": "t", "name": "ports", "elem": [[{"concat": ["tcp", 30080]}, {"goto": {"target": "svc"}}]]}},
            {"rule": {"family": "inet", "table": "t", "chain": "nat", "handle": 1, "expr": [{"vmap": {"key": {"concat": [{"meta": {"key": "l4proto"}}, {"payload": {"protocol": "th", "field": "dport"}}]}, "data": "@ports"}}]}},
            {"rule": {"family": "inet", "table": "t", "chain": "svc", "handle": 2, "expr": [{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "tcp"}}, {"dnat": {"family": "ip", "addr": "10.244.1.5", "port": 8080}}]}}"#,
        );
        let carriers = ruleset.carriers().value;
        assert_eq!(carriers.len(), 1);
        assert_eq!((carriers[0].transport, carriers[0].ports.first()), (Transport::Tcp, 30080));
        assert_eq!(carriers[0].to.as_deref(), Some("10.244.1.5:8080"));
    }

    #[test]
    fn an_endless_circle_of_jumps_ends_with_a_gap() {
        let ruleset = with_rules(
            r#"{"rule": {"family": "inet", "table": "t", "chain": "in", "handle": 1, "expr": [{"jump": {"target": "svc"}}]}},
            {"rule": {"family": "inet", "table": "t", "chain": "svc", "handle": 2, "expr": [{"jump": {"target": "svc"}}]}}"#,
        );
        assert_eq!(ruleset.firewall().gaps.len(), 1);
    }

    #[test]
    fn what_follows_a_return_holds_only_for_some() {
        let ruleset = with_rules(
            r#"{"rule": {"family": "inet", "table": "t", "chain": "in", "handle": 1, "expr": [{"jump": {"target": "svc"}}]}},
            {"rule": {"family": "inet", "table": "t", "chain": "svc", "handle": 2, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 80}}, {"return": null}]}},
            {"rule": {"family": "inet", "table": "t", "chain": "svc", "handle": 3, "expr": [{"drop": null}]}}"#,
        );
        let rules = ruleset.firewall().value;
        assert_eq!((rules[0].verdict.as_str(), rules[0].unconditional), ("drop", false));
    }

    #[test]
    fn an_accept_is_not_the_last_word_where_another_chain_decides_too() {
        let drop_later = r#"{"chain": {"family": "ip", "table": "u", "name": "late", "type": "filter", "hook": "input", "prio": 10, "policy": "accept"}},
            {"rule": {"family": "inet", "table": "t", "chain": "in", "handle": 1, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}}, {"accept": null}]}},
            {"rule": {"family": "inet", "table": "t", "chain": "in", "handle": 2, "expr": [{"drop": null}]}},
            {"rule": {"family": "ip", "table": "u", "chain": "late", "handle": 1, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}}, {"drop": null}]}}"#;
        let rules = with_rules(drop_later).firewall().value;
        let seen: Vec<_> = rules.iter().map(|r| (r.verdict.as_str(), r.unconditional, r.family)).collect();
        assert_eq!(
            seen,
            [
                ("accept", false, None),
                ("drop", false, None),
                ("drop", true, Some(Family::Ipv4)),
                ("accept", true, Some(Family::Ipv4)),
            ]
        );
    }

    #[test]
    fn odd_listings_are_errors_and_never_a_panic() {
        for end in 0..NATIVE.trim_end().len() {
            assert!(decode(&NATIVE.as_bytes()[..end]).is_err());
        }
        for text in ["{}", "[]", r#"{"nftables": 5}"#, r#"{"nftables": [{"rule": {}}]}"#] {
            assert!(decode(text.as_bytes()).is_err(), "{text}");
        }
        assert!(decode(br#"{"nftables": [{}, 5, {"chain": 7}, {"set": {"elem": 3}}]}"#).is_ok());
        let deep = format!(r#"{{"nftables": {}{}}}"#, "[".repeat(5000), "]".repeat(5000));
        assert!(decode(deep.as_bytes()).is_err());
    }
}
