//! `address-not-local`: the address is not this host's.

use std::net::IpAddr;

use super::{Case, Finding, Question, Remedy, Rule, Severity};
use crate::cause;
use crate::snapshot::Snapshot;
use crate::socket::Family;
use crate::{remedy, wording};

pub(super) const RULE: Rule =
    Rule { id: "address-not-local", title: "the address is not this host's", doc: DOC, check };

const DOC: &str = "\
The system refused the address, not the port: no interface of this host (of this network namespace) has it. bind
fails with EADDRNOTAVAIL, whatever port is asked for. Usual reasons: a typing error, the address of a peer or of a
router that forwards to this host, a cloud's public address (the machine itself has only the private one), a
container that tries its host's address, an interface that is not up yet, or an address that moves between hosts.

An IPv6 address that is configured but still being checked for duplicates (tentative) is refused as well, for a second
or two. A link-local address (fe80::) needs its interface, and is refused with EINVAL without one.

What to do: bind an address that the host has (the nearest ones are offered), or 0.0.0.0 or [::] for all. If the
address is to come later, as with failover, net.ipv4.ip_nonlocal_bind or net.ipv6.ip_nonlocal_bind set to 1 lets
programs bind it in advance.
";

fn check(case: &Case<'_>) -> Vec<Finding> {
    let Some(question) = case.question else { return Vec::new() };
    let Some(address) = question.address.filter(|address| !address.is_unspecified()) else {
        return Vec::new();
    };
    let snapshot = case.snapshot;
    let configured = snapshot.addresses.iter().find(|local| local.address == address.to_canonical());
    let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let summary = match cause::refused(case.trials) {
        Some((_, "bind", "EADDRNOTAVAIL" | "WSAEADDRNOTAVAIL", _)) if let Some(local) = configured => {
            format!(
                "{address} is configured on {} and not usable yet: most likely it is still being checked for \
             duplicates.",
                local.interface
            )
        }
        Some((_, "bind", "EADDRNOTAVAIL" | "WSAEADDRNOTAVAIL", _)) => {
            format!("{address} is not an address of this host.")
        }
        Some((_, "bind", "EINVAL", _)) if link_local => {
            format!("{address} is a link-local address, and no interface of this host has it.")
        }
        Some((_, "socket", "EAFNOSUPPORT" | "WSAEAFNOSUPPORT", _)) => {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            format!("{address} cannot be bound: this host has no {family}.")
        }
        None if case.trials.is_empty() && by_the_table(snapshot, address) => {
            format!("{address} is not among the addresses of this host.")
        }
        _ => return Vec::new(),
    };
    vec![
        Finding::new(&RULE, Severity::Error, summary)
            .with_evidence(evidence(snapshot, address))
            .with_evidence(wording::trials(case.trials))
            .with_remedies(near(snapshot, question, address))
            .with_remedies(nonlocal(snapshot, address)),
    ]
}

/// Whether the table alone shows that a bind would fail: addresses were read, and nothing else lets it pass.
fn by_the_table(snapshot: &Snapshot, address: IpAddr) -> bool {
    let canonical = address.to_canonical();
    let free = if canonical.is_ipv4() {
        snapshot.settings.ipv4_nonlocal_bind
    } else {
        snapshot.settings.ipv6_nonlocal_bind
    };
    let broadcast = matches!(canonical, IpAddr::V4(v4) if v4.is_broadcast());
    !snapshot.addresses.is_empty()
        && (free == Some(false) || cause::is_windows(snapshot))
        && !canonical.is_multicast()
        && !broadcast
        && !snapshot.addresses.iter().any(|local| {
            local.address == canonical
                || (local.address.is_loopback() && same_bits(local.address, canonical) >= local.prefix)
        })
}

/// How many leading bits two addresses share; 0 across families.
fn same_bits(a: IpAddr, b: IpAddr) -> u8 {
    let differing = match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => 0,
    };
    // At most 128.
    differing as u8
}

fn evidence(snapshot: &Snapshot, address: IpAddr) -> Vec<String> {
    let (setting, value) = if address.to_canonical().is_ipv4() {
        ("net.ipv4.ip_nonlocal_bind", snapshot.settings.ipv4_nonlocal_bind)
    } else {
        ("net.ipv6.ip_nonlocal_bind", snapshot.settings.ipv6_nonlocal_bind)
    };
    let addresses: Vec<String> = snapshot
        .addresses
        .iter()
        .take(10)
        .map(|local| format!("{}/{} on {}", local.address, local.prefix, local.interface))
        .collect();
    let mut lines = Vec::new();
    if !addresses.is_empty() {
        lines.push(format!("this host has {}", wording::listed(&addresses)));
    }
    lines.extend(value.map(|on| format!("{setting} is {}", u8::from(on))));
    lines
}

/// The addresses of this host that look most like the one that was asked for, at most two, then all.
fn near(snapshot: &Snapshot, question: &Question, address: IpAddr) -> Vec<Remedy> {
    let Some(port) = question.port.map(u16::from) else { return Vec::new() };
    let canonical = address.to_canonical();
    let mut local: Vec<IpAddr> = snapshot.addresses.iter().map(|local| local.address).collect();
    local.retain(|own| Family::of(*own) == Family::of(canonical) && *own != canonical);
    local.sort_by_key(|own| std::cmp::Reverse(same_bits(*own, canonical)));
    let offer = |own: IpAddr| {
        Remedy::command(
            format!("use {own}, which this host has"),
            remedy::why(question.transport, port, Some(own)),
        )
    };
    local.into_iter().take(2).map(offer).collect()
}

fn nonlocal(snapshot: &Snapshot, address: IpAddr) -> Option<Remedy> {
    let (setting, value) = if address.to_canonical().is_ipv4() {
        ("net.ipv4.ip_nonlocal_bind", snapshot.settings.ipv4_nonlocal_bind)
    } else {
        ("net.ipv6.ip_nonlocal_bind", snapshot.settings.ipv6_nonlocal_bind)
    };
    let text = "let programs bind addresses that the host does not have yet";
    (value == Some(false)).then(|| remedy::set(snapshot, text, setting, "1"))
}
