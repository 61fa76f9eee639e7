//! `carried-by-rule`: a destination NAT rule takes the port's traffic before any socket sees it.

use super::{Case, Finding, Question, Remedy, Rule, Severity};
use crate::conflict;
use crate::range::{Carrier, CarrierKind};
use crate::{remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "carried-by-rule", title: "a firewall rule takes the port's traffic", doc: DOC, check };

const DOC: &str = "\
A destination NAT rule of the local firewall sends what comes in for this port somewhere else, mostly into a
container or a virtual machine. No socket is needed for that, so the port looks free and can be bound. But a server
that binds it gets no connection from outside: the rule comes first. Connections from this host to its own loopback
address often do reach the server, which makes it hard to see.

Portolan reads the rules of nftables and iptables where it may (as root), and compares protocol, address and port. Rules
that decide by other marks, such as the sender, may apply to a part of the traffic alone.

What to do: take another port, stop the container that publishes this one, or take the rule away with the tool
that made it: docker, podman, kubectl, virsh, firewall-cmd. A rule deleted by hand comes back with the tool's next
start.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question else { return Vec::new() };
    let rules = case.snapshot.carriers.iter().filter(|rule| applies(rule, question));
    rules
        .map(|rule| {
            let to = rule.to.as_ref().map_or_else(String::new, |to| format!(" to {to}"));
            let summary = format!(
                "What comes in for {} is sent on{to} by a firewall rule, past any program that binds it here.",
                wording::target(question)
            );
            let command = if case.snapshot.host.privileged { "" } else { "sudo " };
            Finding::new(&RULE, Severity::Warning, summary)
                .with_evidence([format!("the rule: {}", wording::shortened(&rule.name))])
                .with_remedies([Remedy::command(
                    "see the rule where it stands",
                    format!("{command}nft list ruleset | grep -w {}", rule.ports.first()),
                )])
                .with_remedies(
                    question
                        .port
                        .filter(|_| rule.name.contains("DOCKER"))
                        .map(|port| remedy::stop_published(case.snapshot, port.number())),
                )
        })
        .collect()
}

fn applies(rule: &Carrier, question: &Question) -> bool {
    let reaches = rule.address.is_none_or(|to| {
        conflict::addresses(question)
            .into_iter()
            .any(|asked| asked == to || (asked.is_unspecified() && (asked.is_ipv6() || to.is_ipv4())))
    });
    rule.kind == CarrierKind::DnatRule
        && rule.transport == question.transport
        && question.port.is_some_and(|port| rule.ports.contains(port.number()))
        && reaches
}
