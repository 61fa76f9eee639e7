//! WinNAT's pool of ports and what is translated now, as PowerShell is asked for them: a line for each block of ports, and
//! one with the number of sessions.
//!
//! Source: Microsoft's pages on `Get-NetNatExternalAddress` (IPAddress, PortStart, PortEnd) and `Get-NetNatSession`.
//! WinNAT takes further blocks as it needs them. Left out on purpose: which guest has how many sessions, of which there
//! may be many thousands.

use std::collections::BTreeMap;

use super::malformed::Malformed;
use crate::port::{PortRange, PortSet};

/// What PowerShell is asked. What it may not see is to be an error, and not a pool without sessions.
pub const QUESTION: &str = "$ErrorActionPreference = 'Stop'; \
                            Get-NetNatExternalAddress | ForEach-Object { 'pool {0} {1} {2}' -f $_.IPAddress, \
                            $_.PortStart, $_.PortEnd }; 'sessions {0}' -f @(Get-NetNatSession).Count";

/// How WinNAT's pool is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pool {
    /// Ports that it keeps, on whatever address.
    pub ports: PortSet,
    /// Sessions that are translated.
    pub sessions: u64,
}

impl Pool {
    /// As counters of a snapshot.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let ports = u64::from(self.ports.len());
        BTreeMap::from([("winnat.ports".to_owned(), ports), ("winnat.sessions".to_owned(), self.sessions)])
    }
}

/// The pool.
///
/// # Errors
/// A line is none of that kind, or that of the sessions is missing.
pub fn pool(text: &str) -> Result<Pool, Malformed> {
    let mut ports = PortSet::new();
    let mut sessions = None;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let malformed = || Malformed::new("Get-NetNatExternalAddress", line.trim());
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["pool", _, first, last] => {
                let (first, last) = (first.parse().ok(), last.parse().ok());
                let range = first.zip(last).and_then(|(first, last)| PortRange::new(first, last).ok());
                ports.insert_range(range.ok_or_else(malformed)?);
            }
            ["sessions", count] => sessions = Some(count.parse().map_err(|_| malformed())?),
            _ => return Err(malformed()),
        }
    }
    let sessions = sessions.ok_or_else(|| Malformed::new("Get-NetNatSession", ""))?;
    Ok(Pool { ports, sessions })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The addresses are those of a Windows 10 with Hyper-V's default switch (gist.github.com/pldmgg,
    /// 3914df33e622f96179983bd9cc179ce9, 2018), printed as we ask for them; the number of sessions is made up.
    const RECORDED: &str = "pool 127.0.0.1 49708 49717\r\npool 127.0.0.1 61482 61491\r\n\
                            pool 192.168.2.13 49718 49727\r\npool 192.168.2.13 61492 61501\r\n\
                            pool 10.0.75.1 50016 50025\r\npool 10.0.75.1 62522 62531\r\nsessions 17\r\n";

    #[test]
    fn blocks_of_ports_are_put_together_and_sessions_counted() {
        let pool = pool(RECORDED).unwrap();
        assert_eq!((pool.ports.len(), pool.sessions), (60, 17));
        assert!(pool.ports.contains(49_727) && !pool.ports.contains(49_728));
        assert_eq!(super::pool("sessions 0\n"), Ok(Pool::default()));
    }

    #[test]
    fn what_is_not_understood_is_no_answer() {
        for text in [
            "",
            "pool 127.0.0.1 1 2\n",
            "pool 127.0.0.1 9 2\nsessions 1\n",
            "pool 127.0.0.1 x 2\nsessions 1\n",
            "sessions many\n",
            "Get-NetNatSession : Access denied",
        ] {
            assert!(pool(text).is_err(), "{text}");
        }
    }
}
