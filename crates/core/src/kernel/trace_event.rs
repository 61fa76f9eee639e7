//! The records of `portolan trace`'s own BPF program, which writes one for each call that it tells of.
//!
//! Source: `struct event` in `crates/host/src/sys/linux/trace/trace.bpf.c`. Numbers are in this host's byte order,
//! addresses in the network's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::socket::Transport;
use crate::trace::{Call, Kind, Outcome, OwnRange};
use crate::wire::{DecodeError, Problem, Reader};

/// How long a record is.
pub const LENGTH: usize = 104;
const UNREAD: u16 = 0;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;

/// Reads a record. `epoch_ns`: where the kernel's monotonic clock began, nanoseconds since 1970-01-01 UTC.
pub fn call(record: &[u8], epoch_ns: u64) -> Result<Call, DecodeError> {
    let mut record = Reader::new(record);
    let at = record.u64_host("at")?;
    let took = record.u64_host("took")?;
    let pid = record.u32_host("pid")?;
    let uid = record.u32_host("user")?;
    let code = record.u32_host("error")?.cast_signed();
    let network = record.u32_host("network")?;
    let start = record.offset();
    let kind = match record.u8("kind")? {
        0 => Kind::Bind,
        1 => Kind::Connect,
        2 => Kind::Listen,
        other => return Err(Reader::error_at(start, "kind", Problem::Value(other.into()))),
    };
    let outcome = match record.u8("outcome")? {
        0 => Outcome::Done,
        1 => Outcome::Failed(code),
        2 => Outcome::FailedLater(code),
        3 => Outcome::GivenUp,
        other => return Err(Reader::error_at(start + 1, "outcome", Problem::Value(other.into()))),
    };
    record.take(6, "unused")?;
    let name: [u8; 16] = record.array("name")?;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    let Ends { transport, local, remote, own_range } = ends(&mut record)?;
    // A connection whose source was not chosen yet has none.
    let is_told =
        |local: &SocketAddr| kind != Kind::Connect || local.port() != 0 || !local.ip().is_unspecified();
    Ok(Call {
        at_ns: epoch_ns.saturating_add(at),
        took_ns: Some(took),
        pid,
        program: String::from_utf8_lossy(name).into_owned(),
        uid: Some(uid),
        kind,
        transport,
        local: local.filter(is_told),
        remote: remote.filter(|_| kind == Kind::Connect),
        outcome,
        network_namespace: (network != 0).then_some(network.into()),
        own_range,
    })
}

/// `struct ends`.
struct Ends {
    transport: Option<Transport>,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    own_range: OwnRange,
}

fn ends(record: &mut Reader<'_>) -> Result<Ends, DecodeError> {
    let start = record.offset();
    let family = record.u16_host("family")?;
    let local_port = record.u16_host("local_port")?;
    let remote_port = record.u16_host("remote_port")?;
    let transport = match record.u16_host("protocol")? {
        IPPROTO_TCP => Some(Transport::Tcp),
        IPPROTO_UDP => Some(Transport::Udp),
        _ => None,
    };
    let mut end = |port, field| {
        let bytes: [u8; 16] = record.array(field)?;
        let address = match family {
            AF_INET => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
            AF_INET6 => IpAddr::V6(Ipv6Addr::from(bytes)),
            UNREAD => return Ok(None),
            other => return Err(Reader::error_at(start, "family", Problem::Value(other.into()))),
        };
        Ok(Some(SocketAddr::new(address, port)))
    };
    let (local, remote) = (end(local_port, "local")?, end(remote_port, "remote")?);
    let own_range = OwnRange::of(record.u16_host("first")?, record.u16_host("last")?);
    Ok(Ends { transport, local, remote, own_range })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(5_000_u64.to_ne_bytes());
        bytes.extend(1_000_u64.to_ne_bytes());
        for word in [812_u32, 33, 99, 4_026_531_840] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend([1, 1, 0, 0, 0, 0, 0, 0]);
        bytes.extend(*b"ev\x1bil\0leftovers\0");
        for word in [AF_INET, 0, 443, IPPROTO_TCP] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend([10, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([10, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend((40_003_u32 << 16 | 40_000).to_ne_bytes());
        bytes.extend([0; 4]);
        bytes
    }

    #[test]
    fn a_record_is_a_call() {
        assert_eq!(record().len(), LENGTH);
        let read = call(&record(), 1_000_000).unwrap();
        assert_eq!((read.at_ns, read.took_ns, read.pid, read.uid), (1_005_000, Some(1_000), 812, Some(33)));
        assert_eq!((read.kind, read.outcome), (Kind::Connect, Outcome::Failed(99)));
        assert_eq!(read.program, "ev\u{1b}il");
        assert_eq!((read.local, read.remote), ("10.0.0.5:0".parse().ok(), "10.0.0.9:443".parse().ok()));
        assert_eq!((read.transport, read.network_namespace), (Some(Transport::Tcp), Some(4_026_531_840)));
        assert_eq!(read.own_range, OwnRange::Of { first: 40_000, last: 40_003 });
    }

    #[test]
    fn a_call_whose_address_could_not_be_read_has_none() {
        let mut unread = record();
        unread[56..58].fill(0);
        unread[96..100].fill(0);
        let read = call(&unread, 0).unwrap();
        assert_eq!((read.local, read.remote, read.own_range), (None, None, OwnRange::No));
    }

    #[test]
    fn a_record_that_is_cut_or_means_nothing_is_an_error() {
        let whole = record();
        for length in 0..LENGTH - 4 {
            assert!(call(&whole[..length], 0).is_err(), "{length}");
        }
        for (at, field) in [(32, "kind"), (33, "outcome"), (56, "family")] {
            let mut wrong = record();
            wrong[at] = 77;
            assert_eq!(call(&wrong, 0).unwrap_err().field, field);
        }
    }
}
