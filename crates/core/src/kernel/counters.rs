//! The kernel's counters about sockets and connections, under names like `TCP.tw` and `TcpExt.ListenDrops`.
//!
//! Source: net/ipv4/proc.c and net/ipv6/proc.c (sockstat, sockstat6, netstat, snmp),
//! net/netfilter/nf_conntrack_standalone.c (stat/nf_conntrack), Documentation/admin-guide/sysctl/fs.rst (file-nr),
//! Documentation/networking/ip-sysctl.rst (tcp_mem).
//! Left out on purpose: values below 0 (Tcp.MaxConn is -1: "not fixed").

use std::collections::BTreeMap;

use crate::kernel::malformed::Malformed;

/// Counters by name.
pub type Counters = BTreeMap<String, u64>;

/// sockstat and sockstat6: `TCP: inuse 1 orphan 0 tw 1 alloc 1 mem 9`.
pub fn sockstat(text: &str, counters: &mut Counters) -> Result<(), Malformed> {
    for line in text.lines() {
        let error = || Malformed::new("sockstat", line);
        let (group, rest) = line.split_once(':').ok_or_else(error)?;
        let mut words = rest.split_whitespace();
        while let Some(name) = words.next() {
            let value = words.next().and_then(|word| word.parse().ok()).ok_or_else(error)?;
            counters.insert(format!("{group}.{name}"), value);
        }
    }
    Ok(())
}

/// netstat and snmp: a line of names, then a line of values, both after the group's name. Only the wanted groups.
pub fn name_and_value_lines(text: &str, groups: &[&str], counters: &mut Counters) -> Result<(), Malformed> {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (group, names) = names.split_once(':').ok_or_else(|| Malformed::new("netstat", names))?;
        let error = || Malformed::new("netstat", values);
        let values = values.strip_prefix(group).and_then(|v| v.strip_prefix(':')).ok_or_else(error)?;
        if !groups.contains(&group) {
            continue;
        }
        let (names, values) = (names.split_whitespace(), values.split_whitespace());
        if names.clone().count() != values.clone().count() {
            return Err(error());
        }
        for (name, value) in names.zip(values) {
            let value: i128 = value.parse().map_err(|_| error())?;
            if let Ok(value) = u64::try_from(value) {
                counters.insert(format!("{group}.{name}"), value);
            }
        }
    }
    Ok(())
}

/// stat/nf_conntrack: a line of names, then a line of hexadecimal values for each processor, which are added up.
/// The first column is the same number in each line (`nf_conntrack.count`) and is passed over.
pub fn conntrack_statistics(text: &str, counters: &mut Counters) -> Result<(), Malformed> {
    let mut lines = text.lines();
    let Some(names) = lines.next() else { return Err(Malformed::new("stat/nf_conntrack", text)) };
    for line in lines {
        for (name, value) in names.split_whitespace().zip(line.split_whitespace()).skip(1) {
            let value =
                u64::from_str_radix(value, 16).map_err(|_| Malformed::new("stat/nf_conntrack", line))?;
            let sum = counters.entry(format!("nf_conntrack.{name}")).or_default();
            *sum = sum.saturating_add(value);
        }
    }
    Ok(())
}

/// /proc/sys/fs/file-nr: open files of the whole system, a number that is always 0, and how many there may be.
pub fn file_numbers(text: &str, counters: &mut Counters) -> Result<(), Malformed> {
    let numbers: Vec<u64> = text.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let [open, _, max] = numbers[..] else { return Err(Malformed::new("file-nr", text)) };
    counters.insert("file-nr.open".into(), open);
    counters.insert("file-nr.max".into(), max);
    Ok(())
}

/// tcp_mem and udp_mem, in pages: from where on the kernel no longer cares, is under pressure, and refuses.
pub fn memory(name: &'static str, text: &str, counters: &mut Counters) -> Result<(), Malformed> {
    let numbers: Vec<u64> = text.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let [_, pressure, max] = numbers[..] else { return Err(Malformed::new(name, text)) };
    counters.insert(format!("{name}.pressure"), pressure);
    counters.insert(format!("{name}.max"), max);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Recorded on Linux 6.18, shortened.
    const SOCKSTAT: &str = "sockets: used 18\nTCP: inuse 1 orphan 0 tw 1 alloc 1 mem 9\nUDP: inuse 0 mem 0\n";
    const SNMP: &str = "Ip: Forwarding DefaultTTL\nIp: 2 64\nTcp: RtoAlgorithm MaxConn ActiveOpens\nTcp: 1 -1 25\n\
        Udp: InDatagrams NoPorts\nUdp: 50 0\n";
    const CONNTRACK: &str = "entries  clashres found new insert_failed drop early_drop icmp_error  expect_new\n\
        00000003  00000000 00000000 00000000 0000000a 00000001 00000000 00000000  00000000\n\
        00000003  00000000 00000000 00000000 00000010 00000001 00000000 00000000  00000000\n";

    #[test]
    fn each_format_gives_its_counters() {
        let mut counters = Counters::new();
        sockstat(SOCKSTAT, &mut counters).unwrap();
        name_and_value_lines(SNMP, &["Tcp", "Udp"], &mut counters).unwrap();
        conntrack_statistics(CONNTRACK, &mut counters).unwrap();
        file_numbers("540\t0\t2466171\n", &mut counters).unwrap();
        memory("tcp_mem", "22566\t30091\t45132\n", &mut counters).unwrap();
        let value = |name: &str| counters.get(name).copied();
        assert_eq!((value("tcp_mem.pressure"), value("tcp_mem.max")), (Some(30_091), Some(45_132)));
        assert_eq!((value("TCP.tw"), value("sockets.used")), (Some(1), Some(18)));
        assert_eq!((value("Tcp.ActiveOpens"), value("Udp.InDatagrams")), (Some(25), Some(50)));
        assert_eq!((value("Tcp.MaxConn"), value("Ip.Forwarding")), (None, None));
        assert_eq!((value("nf_conntrack.insert_failed"), value("nf_conntrack.drop")), (Some(26), Some(2)));
        assert_eq!((value("nf_conntrack.entries"), value("file-nr.max")), (None, Some(2_466_171)));
    }

    #[test]
    fn odd_text_is_an_error_or_nothing_and_never_a_panic() {
        let sum = &mut Counters::new();
        for text in ["TCP", "TCP: inuse", "TCP: inuse x", "\0"] {
            assert!(sockstat(text, sum).is_err(), "{text}");
        }
        for text in ["Tcp: A B\nTcp: 1", "Tcp: A\nUdp: 1", "Tcp\nTcp", "Tcp: A\nTcp: x"] {
            assert!(name_and_value_lines(text, &["Tcp"], sum).is_err(), "{text}");
        }
        assert!(conntrack_statistics("", sum).is_err());
        assert!(conntrack_statistics("entries drop\n0 zz", sum).is_err());
        assert!(file_numbers("1 2", sum).is_err());
        assert!(memory("tcp_mem", "1 2", sum).is_err());
        for end in 0..CONNTRACK.len() {
            let _ = conntrack_statistics(&CONNTRACK[..end], &mut Counters::new());
            let _ = name_and_value_lines(&SNMP[..end.min(SNMP.len())], &["Tcp"], &mut Counters::new());
        }
    }
}
