//! What is kept over a restart, and who counts on the dynamic range: netsh's persistent store, the firewall's rules and
//! the registry's word on RPC servers.
//!
//! Source: [MS-FASP] for the rules, which the registry keeps as texts (those of group policy below a key of their own);
//! Microsoft's "How to configure RPC dynamic port allocation" for `Rpc\Internet`.

use std::thread;

use portolan_core::change::{Kept, NetshStore, RPC_PORTS, Table};
use portolan_core::kernel::windows_firewall::{PortRule, port_rule};
use portolan_core::port::PortRange;
use portolan_core::range::{EphemeralRange, Reservation};
use portolan_core::snapshot::{Gap, GapReason};
use portolan_core::socket::{Family, Transport};

use super::settings::{RANGES, RESERVATIONS, one_for_all, reservation};
use super::tables::Unread;
use super::{registry, tables};

const RULES: [&str; 2] = [
    r"SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy\FirewallRules",
    r"SOFTWARE\Policies\Microsoft\WindowsFirewall\FirewallRules",
];
const RPC: &str = r"SOFTWARE\Microsoft\Rpc\Internet";

/// Dynamic ranges that are kept, and who counts on them.
pub(super) fn ranges() -> Kept {
    let mut kept = Kept::default();
    for (table, range) in of_tables(tables::dynamic) {
        match range {
            Ok(range) => {
                let (transport, family) = (table.transport, table.family);
                kept.ranges.push(EphemeralRange { transport, family, range });
            }
            Err(Unread { reason, detail }) => kept.gaps.push(Gap::new(RANGES, reason, detail)),
        }
    }
    kept.rules = rules(&mut kept.gaps);
    kept.rpc = rpc_ports(&mut kept.gaps);
    one_for_all(&mut kept.gaps);
    kept
}

/// Excluded ranges that are kept.
pub(super) fn exclusions() -> Kept {
    let mut kept = Kept::default();
    for (table, excluded) in of_tables(tables::excluded) {
        match excluded {
            Ok(excluded) => {
                let of_table = |one: &_| -> Reservation { reservation(table, one) };
                kept.exclusions.extend(excluded.iter().map(of_table));
            }
            Err(Unread { reason, detail }) => kept.gaps.push(Gap::new(RESERVATIONS, reason, detail)),
        }
    }
    one_for_all(&mut kept.gaps);
    kept
}

/// Reads the four tables at the same time: most of a netsh's time is its start.
fn of_tables<T: Send>(read: impl Fn(Table) -> Result<T, Unread> + Sync) -> Vec<(Table, Result<T, Unread>)> {
    let parts = Transport::ALL.into_iter().flat_map(|t| Family::ALL.map(|family| (t, family)));
    thread::scope(|scope| {
        let running: Vec<_> = parts
            .map(|(transport, family)| {
                let table = Table { family, transport, store: NetshStore::Persistent };
                let read = &read;
                scope.spawn(move || (table, read(table)))
            })
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        running.into_iter().map(join).collect()
    })
}

/// The firewall's rules that let ports in; none where a key could not be read.
fn rules(gaps: &mut Vec<Gap>) -> Option<Vec<PortRule>> {
    let mut rules = Vec::new();
    let mut is_whole = true;
    for (index, key) in RULES.into_iter().enumerate() {
        let mut note = |reason, problem: String| {
            gaps.push(Gap::new("firewall", reason, format!(r"HKLM\{key}: {problem}")));
        };
        match registry::named_texts(key) {
            // Every Windows brings rules of its own; group policy need not.
            Ok(values) if values.is_empty() && index == 0 => {
                note(GapReason::Unsupported, "there are no rules".into());
                is_whole = false;
            }
            Ok(values) => {
                for (_, text) in values {
                    match port_rule(&text) {
                        Ok(rule) => rules.extend(rule),
                        Err(error) => note(GapReason::Malformed, error.to_string()),
                    }
                }
            }
            Err(error) => {
                note(GapReason::Denied, error.to_string());
                is_whole = false;
            }
        }
    }
    is_whole.then_some(rules)
}

/// The ports to which RPC servers are held; none where they are held to none.
fn rpc_ports(gaps: &mut Vec<Gap>) -> Option<Vec<PortRange>> {
    let read = || -> Result<Option<Vec<PortRange>>, String> {
        let values = registry::named_texts(RPC).map_err(|error| error.to_string())?;
        let is_on = |name: &str| {
            values
                .iter()
                .any(|(key, value)| key.eq_ignore_ascii_case(name) && value.eq_ignore_ascii_case("y"))
        };
        if !(is_on("PortsInternetAvailable") && is_on("UseInternetPorts")) {
            return Ok(None);
        }
        let texts = registry::texts(RPC, "Ports").map_err(|error| error.to_string())?;
        let range = |text: &String| text.trim().parse().map_err(|error| format!("'{text}': {error}"));
        texts.map(|texts| texts.iter().map(range).collect()).transpose()
    };
    read().unwrap_or_else(|problem| {
        gaps.push(Gap::new(RPC_PORTS, GapReason::Malformed, format!(r"HKLM\{RPC}: {problem}")));
        None
    })
}
