//! Limits besides ports that refuse a connection for want of room: what is used, how much there may be, how often it did
//! not suffice.
//!
//! Source: Documentation/networking/ip-sysctl.rst, nf_conntrack-sysctl.rst, net/ipv4/proc.c. `refused` counts since the
//! network namespace began. In namespaces other than the first, the kernel shows fewer of them.

use schemars::JsonSchema;
use serde::Serialize;

use crate::snapshot::Snapshot;

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Limit {
    /// What is limited: `conntrack`, `time-wait`, `open-files` …
    pub what: &'static str,
    /// How much is used; null where it was not read.
    pub used: Option<u64>,
    /// How much there may be; null where it was not read, or has no bound.
    pub max: Option<u64>,
    /// How often it did not suffice; null where that is not counted.
    pub refused: Option<u64>,
    /// The setting that holds the bound.
    pub setting: Option<&'static str>,
    /// What is counted, in a few words.
    pub unit: &'static str,
}

impl Limit {
    /// How much of the bound is used, in percent.
    pub fn percent(&self) -> Option<u64> {
        let max = self.max.filter(|max| *max > 0)?;
        Some(self.used?.saturating_mul(100) / max)
    }
}

/// Where a limit's numbers stand among the counters.
struct Source {
    what: &'static str,
    used: Option<&'static str>,
    max: Option<&'static str>,
    refused: &'static [&'static str],
    setting: Option<&'static str>,
    unit: &'static str,
}

const SOURCES: &[Source] = &[
    Source {
        what: "conntrack",
        used: Some("nf_conntrack.count"),
        max: Some("nf_conntrack.max"),
        refused: &["nf_conntrack.drop", "nf_conntrack.early_drop"],
        setting: Some("net.netfilter.nf_conntrack_max"),
        unit: "tracked connections",
    },
    Source {
        what: "time-wait",
        used: Some("TCP.tw"),
        max: None,
        refused: &["TcpExt.TCPTimeWaitOverflow"],
        setting: Some("net.ipv4.tcp_max_tw_buckets"),
        unit: "sockets in TIME_WAIT",
    },
    Source {
        what: "orphans",
        used: Some("TCP.orphan"),
        max: Some("tcp_max_orphans"),
        refused: &["TcpExt.TCPAbortOnMemory"],
        setting: Some("net.ipv4.tcp_max_orphans"),
        unit: "connections that no process has any more",
    },
    Source {
        what: "tcp-memory",
        used: Some("TCP.mem"),
        max: Some("tcp_mem.max"),
        refused: &["TcpExt.TCPMemoryPressures"],
        setting: Some("net.ipv4.tcp_mem"),
        unit: "pages of buffers",
    },
    Source {
        what: "udp-memory",
        used: Some("UDP.mem"),
        max: Some("udp_mem.max"),
        refused: &["Udp.MemErrors"],
        setting: Some("net.ipv4.udp_mem"),
        unit: "pages of buffers",
    },
    Source {
        what: "open-files",
        used: Some("file-nr.open"),
        max: Some("file-nr.max"),
        refused: &[],
        setting: Some("fs.file-max"),
        unit: "open files of the whole system",
    },
    Source {
        what: "accept-queues",
        used: None,
        max: Some("somaxconn"),
        refused: &["TcpExt.ListenOverflows"],
        setting: Some("net.core.somaxconn"),
        unit: "connections a listener may let wait",
    },
    Source {
        what: "request-queues",
        used: None,
        max: None,
        refused: &["TcpExt.TCPReqQFullDrop"],
        setting: Some("net.ipv4.tcp_max_syn_backlog"),
        unit: "connection requests",
    },
    Source {
        what: "winnat-ports",
        used: Some("winnat.ports"),
        max: None,
        refused: &[],
        setting: None,
        unit: "ports that WinNAT keeps for its guests",
    },
    Source {
        what: "winnat-sessions",
        used: Some("winnat.sessions"),
        max: None,
        refused: &[],
        setting: None,
        unit: "connections that WinNAT translates",
    },
];

/// The limits of a snapshot of which at least one number was read.
pub fn limits(snapshot: &Snapshot) -> Vec<Limit> {
    let number = |name: &str| snapshot.counters.get(name).copied();
    let limit = |source: &Source| {
        let refused: Vec<u64> = source.refused.iter().filter_map(|name| number(name)).collect();
        let max = match source.what {
            "time-wait" => snapshot.settings.tcp_max_tw_buckets,
            _ => source.max.and_then(number),
        };
        Limit {
            what: source.what,
            used: source.used.and_then(number),
            // Systems without a bound have the largest number there is.
            max: max.filter(|max| *max < u64::MAX >> 1),
            refused: (!refused.is_empty())
                .then(|| refused.iter().fold(0, |sum: u64, n| sum.saturating_add(*n))),
            setting: source.setting,
            unit: source.unit,
        }
    };
    let found = SOURCES.iter().map(limit);
    found.filter(|limit| limit.used.is_some() || limit.refused.is_some()).collect()
}

/// One limit, where any of its numbers was read.
pub fn limit(snapshot: &Snapshot, what: &str) -> Option<Limit> {
    limits(snapshot).into_iter().find(|limit| limit.what == what)
}

/// How often a limit did not suffice since an earlier look; none where either was not read, or counting began anew.
pub fn refused_since(snapshot: &Snapshot, earlier: &Snapshot, what: &str) -> Option<u64> {
    limit(snapshot, what)?.refused?.checked_sub(limit(earlier, what)?.refused?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_read_is_told() {
        assert_eq!(limits(&Snapshot::default()), []);
        let mut seen = Snapshot::default();
        for (name, value) in [
            ("nf_conntrack.count", 90),
            ("nf_conntrack.max", 100),
            ("nf_conntrack.drop", 2),
            ("nf_conntrack.early_drop", 3),
            ("file-nr.open", 5),
            ("file-nr.max", i64::MAX as u64),
        ] {
            seen.counters.insert(name.to_owned(), value);
        }
        let found = limits(&seen);
        assert_eq!(found.iter().map(|limit| limit.what).collect::<Vec<_>>(), ["conntrack", "open-files"]);
        assert_eq!((found[0].percent(), found[0].refused), (Some(90), Some(5)));
        assert_eq!((found[1].percent(), found[1].refused), (None, None));
        assert_eq!(refused_since(&seen, &Snapshot::default(), "conntrack"), None);
        assert_eq!(refused_since(&seen, &seen, "conntrack"), Some(0));
    }
}
