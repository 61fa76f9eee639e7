//! What the kernel's bind buckets and TIME_WAIT sockets know and sock_diag does not show, of the ports of a range.

use portolan_core::port::PortRange;
use portolan_core::snapshot::Reading;
use portolan_core::socket::{SocketOptions, State};

use super::tcp_iterator;
use crate::sys::Buckets;

/// The buckets of this thread's namespace, for ports of that range; none, with a gap, where they may not be read.
pub(crate) fn read(range: PortRange) -> Reading<Option<Buckets>> {
    let mut buckets = Buckets::default();
    let result = tcp_iterator::read(|listed| {
        let socket = listed.row.socket;
        if !range.contains(socket.local_port) {
            return;
        }
        if listed.burnt {
            buckets.burnt.insert(socket.local_port);
        }
        if socket.state == State::TimeWait && !socket.options.has(SocketOptions::TIMESTAMPS) {
            buckets.unstamped.insert((socket.local(), socket.remote()));
        }
    });
    match result {
        Ok(()) => Reading::whole(Some(buckets)),
        Err(gap) => Reading { value: None, gaps: vec![gap] },
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use portolan_testbed::{Held, Namespace};

    use super::*;

    #[test]
    fn the_buckets_tell_a_connection_that_was_bound_from_one_that_was_not() {
        let namespace = Namespace::new();
        let listener = namespace.run(|| TcpListener::bind("127.0.0.1:80").unwrap());
        let words = "connections 127.0.0.1:80 --as-client --from 127.0.0.1:40001 \
                     time-wait 127.0.0.1:40002 --closed-by client time-wait [::1]:40003 --closed-by client";
        let _held = Held::new(&namespace, words);
        let plain = namespace.run(|| TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let chosen = plain.local_addr().unwrap().port();
        let buckets = namespace.run(|| read(PortRange::ALL));
        assert_eq!(buckets.gaps, []);
        let burnt: Vec<u16> = buckets.value.unwrap().burnt.iter().map(u16::from).collect();
        // 80: the accepted ends.
        assert!([80, 40001, 40002, 40003].iter().all(|port| burnt.contains(port)), "{burnt:?}");
        assert!(!burnt.contains(&chosen), "{burnt:?}");
        assert!(burnt.len() <= 6, "the servers' ends of the two TIME_WAIT may linger: {burnt:?}");
        let narrow = namespace.run(|| read(PortRange::new(40002, 40002).unwrap()));
        assert_eq!(narrow.value.unwrap().burnt.iter().map(u16::from).collect::<Vec<_>>(), [40002]);
    }

    #[test]
    fn a_time_wait_without_timestamps_is_named_by_its_ends() {
        let namespace = Namespace::new();
        let words = "time-wait 127.0.0.1:40002 --closed-by client time-wait [::1]:40003 --closed-by client";
        let stamped = Held::new(&namespace, words);
        assert!(namespace.run(|| read(PortRange::ALL)).value.unwrap().unstamped.is_empty());
        drop(stamped);
        namespace.sysctl("net.ipv4.tcp_timestamps", "0");
        let words = "time-wait 127.0.0.1:40012 --closed-by client time-wait [::1]:40013 --closed-by client";
        let _held = Held::new(&namespace, words);
        let found = namespace.run(|| read(PortRange::ALL)).value.unwrap().unstamped;
        let mut ends: Vec<String> = found.iter().map(|(local, _)| local.to_string()).collect();
        ends.sort();
        assert_eq!(ends, ["127.0.0.1:40012", "[::1]:40013"]);
        assert!(found.iter().all(|(local, remote)| local.ip() == remote.ip() && remote.port() != 0));
    }
}
