//! How a setting stands before a change, as its system keeps it: Linux in files, Windows in tables of its own.

use crate::kernel::windows_firewall::PortRule;
use crate::port::PortRange;
use crate::range::{EphemeralRange, Reservation};
use crate::snapshot::Gap;
use crate::socket::{Family, Transport};
use crate::wording;

/// What a gap is called where the registry's word on RPC servers could not be read.
pub const RPC_PORTS: &str = "ports of RPC servers";

/// How a setting stands.
#[derive(Clone, Debug)]
pub enum SettingNow<T> {
    /// Linux: one value in the running kernel, and files that set it when it starts.
    Files(T),
    /// Windows: four tables, each in force and kept over a restart. What is in force stands in the snapshot.
    Tables(Kept),
}

/// What Windows keeps over a restart, and who counts on its dynamic range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Dynamic ranges of the persistent store.
    pub ranges: Vec<EphemeralRange>,
    /// Excluded ranges of the persistent store.
    pub exclusions: Vec<Reservation>,
    /// Rules of the firewall that let ports in; none, with a gap, where they could not be read.
    pub rules: Option<Vec<PortRule>>,
    /// The ports to which the registry holds RPC servers (`Rpc\Internet`); none where they take dynamic ones, or, with a
    /// gap, where that could not be read.
    pub rpc: Option<Vec<PortRange>>,
    /// What could not be seen.
    pub gaps: Vec<Gap>,
}

impl Kept {
    /// Who counts on a dynamic range, as one sentence: listeners, firewall rules, RPC servers.
    pub(super) fn relying(&self, range: PortRange, listeners: usize) -> String {
        let rules = match &self.rules {
            None => "the firewall's rules were not read".to_owned(),
            Some(rules) => {
                let on = |rule: &&PortRule| rule.rpc || rule.ports.iter().any(|ports| ports.overlaps(range));
                let names: Vec<String> = rules.iter().filter(on).map(|rule| rule.name.clone()).collect();
                named("firewall rule", &names)
            }
        };
        let rpc = match &self.rpc {
            Some(ports) => format!("RPC servers keep to {}, by the registry", super::list(ports)),
            None if self.gaps.iter().any(|gap| gap.what == RPC_PORTS) => {
                "where RPC servers listen could not be read".to_owned()
            }
            None => "RPC servers take their ports from it".to_owned(),
        };
        format!("{}, {rules}, and {rpc}", wording::counted(listeners, "listener"))
    }

    /// The range of a table that holds after a restart.
    pub fn range_of(&self, transport: Transport, family: Family) -> Option<PortRange> {
        let mut ranges = self.ranges.iter();
        ranges.find(|r| (r.transport, r.family) == (transport, family)).map(|found| found.range)
    }

    /// Whether an exclusion of exactly that range comes back after a restart.
    pub fn keeps(&self, exclusion: &Reservation) -> bool {
        self.exclusions.iter().any(|kept| {
            (kept.range, kept.transport, kept.family)
                == (exclusion.range, exclusion.transport, exclusion.family)
        })
    }
}

/// So many of them, the first by name.
fn named(noun: &str, names: &[String]) -> String {
    const MOST: usize = 5;
    let counted = wording::counted(names.len(), noun);
    match names.len() {
        0 => counted,
        1..=MOST => format!("{counted} ({})", names.join(", ")),
        more => format!("{counted} ({} and {} more)", names[..MOST].join(", "), more - MOST),
    }
}
