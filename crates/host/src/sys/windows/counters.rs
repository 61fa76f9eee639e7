//! Counters of TCP and UDP under the names that Linux gives them, and of the event log's entries about ports.
//!
//! Source: `GetTcpStatisticsEx`, `GetUdpStatisticsEx` (RFC 4022, RFC 4113), [`super::events`]. TCP's are those of both
//! families together, as on Linux; `Udp` is IPv4's and `Udp6` IPv6's. `Tcpip.4231` counts events of that number within
//! the last day, and `Tcpip.4231.last_ms` is when the last of them was, milliseconds since 1970-01-01 UTC. Left out on
//! purpose: retransmission timers, which are settings.

use std::collections::BTreeMap;

use portolan_core::kernel::mib;
use portolan_core::snapshot::{Gap, GapReason, Reading};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    GetTcpStatisticsEx, GetUdpStatisticsEx, MIB_TCPSTATS_LH, MIB_UDPSTATS,
};
use windows_sys::Win32::Networking::WinSock::{AF_INET, AF_INET6};

use super::buffer::error;
use super::events;

/// The counters of this host.
pub(crate) fn counters() -> Reading<BTreeMap<String, u64>> {
    let mut reading = Reading::<BTreeMap<String, u64>>::default();
    for (family, udp) in [(AF_INET, "Udp"), (AF_INET6, "Udp6")] {
        add_tcp(family.into(), &mut reading);
        add_udp(family.into(), udp, &mut reading);
    }
    add_events(&mut reading);
    reading
}

fn unread(what: &str, code: u32) -> Gap {
    Gap::new("counters", GapReason::Unsupported, format!("{what}: {}", error(code)))
}

fn add_tcp(family: u32, reading: &mut Reading<BTreeMap<String, u64>>) {
    let mut statistics = MIB_TCPSTATS_LH::default();
    // SAFETY: `statistics` is where the function may write.
    let code = unsafe { GetTcpStatisticsEx(&raw mut statistics, family) };
    if code != 0 {
        return reading.gaps.push(unread("GetTcpStatisticsEx", code));
    }
    for (name, value) in [
        ("Tcp.ActiveOpens", statistics.dwActiveOpens),
        ("Tcp.PassiveOpens", statistics.dwPassiveOpens),
        ("Tcp.AttemptFails", statistics.dwAttemptFails),
        ("Tcp.EstabResets", statistics.dwEstabResets),
        ("Tcp.CurrEstab", statistics.dwCurrEstab),
        ("Tcp.InSegs", statistics.dwInSegs),
        ("Tcp.OutSegs", statistics.dwOutSegs),
        ("Tcp.RetransSegs", statistics.dwRetransSegs),
        ("Tcp.InErrs", statistics.dwInErrs),
        ("Tcp.OutRsts", statistics.dwOutRsts),
    ] {
        *reading.value.entry(name.to_owned()).or_default() += u64::from(value);
    }
}

fn add_udp(family: u32, group: &str, reading: &mut Reading<BTreeMap<String, u64>>) {
    let mut statistics = MIB_UDPSTATS::default();
    // SAFETY: `statistics` is where the function may write.
    let code = unsafe { GetUdpStatisticsEx(&raw mut statistics, family) };
    if code != 0 {
        return reading.gaps.push(unread("GetUdpStatisticsEx", code));
    }
    for (name, value) in [
        ("InDatagrams", statistics.dwInDatagrams),
        ("NoPorts", statistics.dwNoPorts),
        ("InErrors", statistics.dwInErrors),
        ("OutDatagrams", statistics.dwOutDatagrams),
    ] {
        reading.value.insert(format!("{group}.{name}"), value.into());
    }
}

fn add_events(reading: &mut Reading<BTreeMap<String, u64>>) {
    let mut read = || -> std::io::Result<bool> {
        if events::is_empty()? {
            return Ok(false);
        }
        for event in events::EVENTS {
            let (count, newest) = events::count(event)?;
            reading.value.insert(format!("Tcpip.{event}"), count);
            if let Some(newest) = newest.and_then(mib::unix_ms) {
                reading.value.insert(format!("Tcpip.{event}.last_ms"), newest);
            }
        }
        Ok(true)
    };
    let problem = match read() {
        Ok(true) => return,
        Ok(false) => "the System log has no entry at all".to_owned(),
        Err(error) => format!("the System log cannot be read: {error}"),
    };
    reading.gaps.push(Gap::new("event log", GapReason::Unsupported, problem));
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_counters_have_linux_names_and_an_event_log_without_entries_is_a_gap() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let Reading { value, gaps } = counters();
        for name in ["Tcp.ActiveOpens", "Tcp.CurrEstab", "Udp.InDatagrams", "Udp6.InDatagrams"] {
            assert!(value.contains_key(name), "{name}: {value:?} {gaps:?}");
        }
        let events = value.keys().filter(|name| name.starts_with("Tcpip.") && !name.ends_with("_ms")).count();
        let log_gaps = gaps.iter().filter(|gap| gap.what == "event log").count();
        assert_eq!((events, log_gaps), if events == 0 { (0, 1) } else { (4, 0) }, "{gaps:?}");
    }
}
