//! Counters of the kernel about sockets, connections and open files.
//!
//! Source: /proc/net/{sockstat,sockstat6,netstat,snmp}, nf_conntrack's files (present only where connections are
//! tracked), /proc/sys/fs/file-nr. All but the last belong to the network namespace of the thread.

use std::collections::BTreeMap;
use std::io;

use portolan_core::kernel::counters::{self, Counters};
use portolan_core::kernel::malformed::Malformed;
use portolan_core::snapshot::{Gap, GapReason, Reading};

use super::file;

type Decode = fn(&str, &mut Counters) -> Result<(), Malformed>;

/// Each file, whether every kernel has it, and how it is read.
const FILES: [(&str, bool, Decode); 12] = [
    ("/proc/thread-self/net/sockstat", true, counters::sockstat),
    ("/proc/thread-self/net/sockstat6", false, counters::sockstat),
    ("/proc/thread-self/net/netstat", true, |text, into| {
        counters::name_and_value_lines(text, &["TcpExt"], into)
    }),
    ("/proc/thread-self/net/snmp", true, |text, into| {
        counters::name_and_value_lines(text, &["Tcp", "Udp"], into)
    }),
    ("/proc/thread-self/net/stat/nf_conntrack", false, counters::conntrack_statistics),
    ("/proc/sys/net/netfilter/nf_conntrack_count", false, |text, into| {
        number("nf_conntrack.count", text, into)
    }),
    ("/proc/sys/net/netfilter/nf_conntrack_max", false, |text, into| number("nf_conntrack.max", text, into)),
    ("/proc/sys/fs/file-nr", true, counters::file_numbers),
    // Shown in the first network namespace alone, but for the last, which each has.
    ("/proc/sys/net/ipv4/tcp_max_orphans", false, |text, into| number("tcp_max_orphans", text, into)),
    ("/proc/sys/net/ipv4/tcp_mem", false, |text, into| counters::memory("tcp_mem", text, into)),
    ("/proc/sys/net/ipv4/udp_mem", false, |text, into| counters::memory("udp_mem", text, into)),
    ("/proc/sys/net/core/somaxconn", false, |text, into| number("somaxconn", text, into)),
];

fn number(name: &'static str, text: &str, counters: &mut Counters) -> Result<(), Malformed> {
    let value = text.trim().parse().map_err(|_| Malformed::new(name, text))?;
    counters.insert(name.to_owned(), value);
    Ok(())
}

/// The counters of this thread's namespace.
pub(crate) fn counters() -> Reading<BTreeMap<String, u64>> {
    let mut reading = Reading::whole(Counters::new());
    for (path, everywhere, decode) in FILES {
        match file::text(path, file::LONG) {
            Ok(text) => {
                if let Err(error) = decode(&text, &mut reading.value) {
                    reading.gaps.push(Gap::new("counters", GapReason::Malformed, format!("{path}: {error}")));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !everywhere => {}
            Err(error) => reading.gaps.push(file::gap("counters", path, &error)),
        }
    }
    reading
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_shows_in_the_counters_of_its_own_namespace() {
        let namespace = portolan_testbed::Namespace::new();
        namespace.run(|| {
            let before = counters();
            assert_eq!(before.gaps, []);
            assert_eq!(before.value.get("Tcp.ActiveOpens"), Some(&0));
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let after = counters().value;
            assert_eq!(after.get("Tcp.ActiveOpens"), Some(&1));
            assert_eq!(after.get("Tcp.CurrEstab"), Some(&2));
            drop(client);
            for name in
                ["TCP.tw", "TcpExt.ListenDrops", "TcpExt.TCPTimeWaitOverflow", "file-nr.open", "UDP.inuse"]
            {
                assert!(after.contains_key(name), "{name}");
            }
        });
    }
}
