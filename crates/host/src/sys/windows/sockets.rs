//! Every TCP and UDP socket with the process that made it, from the IP helper library's tables.
//!
//! Source: `GetExtendedTcpTable`, `GetExtendedUdpTable`, and for bound sockets `InternalGetBoundTcpEndpointTable`
//! and `InternalGetBoundTcp6EndpointTable`, which are undocumented, stand behind `netstat -q` and are looked up when the
//! program runs. Windows shows neither queues nor options nor timers, and of UDP no peer.

use std::ffi::{CStr, c_void};
use std::io;

use portolan_core::kernel::mib::{self, Endpoint, Rows};
use portolan_core::owner::Origin;
use portolan_core::snapshot::{Gap, GapReason, Reading};
use portolan_core::socket::{Family, Socket, State, Transport};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    GetExtendedTcpTable, GetExtendedUdpTable, TCP_TABLE_OWNER_PID_ALL, UDP_TABLE_OWNER_PID,
};
use windows_sys::Win32::Networking::WinSock::{AF_INET, AF_INET6};
use windows_sys::Win32::System::Memory::{GetProcessHeap, HeapFree, HeapSize};

use super::buffer::{Buffer, error};
use super::{addresses, library, namespace, owners};
use crate::sys::Sockets;
use crate::{Error, OwnerSearch, SocketFilter};

/// The sockets that the filter lets through, and their holders.
pub(crate) fn read(
    namespace: &crate::Namespace,
    filter: &SocketFilter,
    search: OwnerSearch,
) -> Result<Reading<Sockets>, Error> {
    namespace::within(namespace, || {
        let rows = endpoints(filter)?;
        let mut gaps = rows.gaps;
        // `first_holder` of each socket is its process id until its owner is found.
        let (mut sockets, origins) = with_origins(&rows.value);
        let holdings = owners::find(&mut sockets, search).into_value(&mut gaps);
        Ok(Reading { value: Sockets { sockets, origins, burnt: None, holdings }, gaps })
    })?
}

/// All sockets: there is no shorter way to count them.
pub(crate) fn count(namespace: &crate::Namespace, search: OwnerSearch) -> Result<Reading<Sockets>, Error> {
    read(namespace, &SocketFilter::default(), search)
}

/// The rows that the filter lets through.
///
/// # Errors
/// No table can be read.
pub(super) fn endpoints(filter: &SocketFilter) -> Result<Reading<Vec<Endpoint>>, Error> {
    let mut rows: Vec<Endpoint> = Vec::new();
    let mut gaps = Vec::new();
    let mut failed = None;
    let mut any = false;
    for transport in Transport::ALL.into_iter().filter(|t| filter.transport.is_none_or(|only| only == *t)) {
        for family in Family::ALL.into_iter().filter(|f| filter.family.is_none_or(|only| only == *f)) {
            match table(transport, family) {
                Ok(mut read) => {
                    any = true;
                    if transport == Transport::Tcp && asks_for_bound(filter) {
                        match bound(family) {
                            Ok(bound) => read.extend(mib::bound_only(bound, &read)),
                            Err(error) => note_bound(&error, &mut gaps),
                        }
                    }
                    rows.append(&mut read);
                }
                Err(error) => {
                    let what = format!("{transport} {family} sockets");
                    let reason = match error.kind() {
                        io::ErrorKind::InvalidData => GapReason::Malformed,
                        _ => GapReason::Unsupported,
                    };
                    gaps.push(Gap::new(&what, reason, format!("the system's table: {error}")));
                    failed.get_or_insert((what, error));
                }
            }
        }
    }
    if let (Some((what, source)), false) = (failed, any) {
        return Err(Error::new(format!("read {what}"), source));
    }
    rows.retain(|row| filter.accepts(&row.socket));
    Ok(Reading { value: rows, gaps })
}

fn asks_for_bound(filter: &SocketFilter) -> bool {
    filter.states.is_empty() || filter.states.contains(&State::Bound)
}

/// One gap for both families.
fn note_bound(error: &io::Error, gaps: &mut Vec<Gap>) {
    let what = "bound sockets";
    if gaps.iter().all(|gap| gap.what != what) {
        let detail =
            format!("TCP sockets that are bound and neither listen nor are connected are not shown: {error}");
        gaps.push(Gap::new(what, GapReason::Unsupported, detail));
    }
}

const fn number(family: Family) -> u32 {
    match family {
        Family::Ipv4 => AF_INET as u32,
        Family::Ipv6 => AF_INET6 as u32,
    }
}

/// A documented table; an error of kind `InvalidData` where it is not understood.
fn table(transport: Transport, family: Family) -> io::Result<Vec<Endpoint>> {
    let number = number(family);
    let buffer = Buffer::filled(|pointer, size| match transport {
        Transport::Tcp => {
            // SAFETY: the buffer has the size that stands in `size`, where the function may write another one.
            unsafe { GetExtendedTcpTable(pointer, &raw mut *size, 0, number, TCP_TABLE_OWNER_PID_ALL, 0) }
        }
        Transport::Udp => {
            // SAFETY: as above.
            unsafe { GetExtendedUdpTable(pointer, &raw mut *size, 0, number, UDP_TABLE_OWNER_PID, 0) }
        }
    })?;
    decoded((transport, family), Rows::OwnerPid, buffer.bytes())
}

fn decoded(kind: (Transport, Family), rows: Rows, bytes: &[u8]) -> io::Result<Vec<Endpoint>> {
    mib::endpoints(kind, rows, bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Fills in a pointer to a table made on that heap.
type BoundTable = unsafe extern "system" fn(*mut *mut c_void, *mut c_void, u32) -> u32;

/// The table of bound TCP sockets; an error of kind `Unsupported` where this Windows does not have it.
fn bound(family: Family) -> io::Result<Vec<Endpoint>> {
    let name: &CStr = match family {
        Family::Ipv4 => c"InternalGetBoundTcpEndpointTable",
        Family::Ipv6 => c"InternalGetBoundTcp6EndpointTable",
    };
    let unsupported =
        || io::Error::new(io::ErrorKind::Unsupported, "iphlpapi.dll here does not have this table");
    let found = library::function("iphlpapi.dll", name).ok_or_else(unsupported)?;
    // SAFETY: since Windows 10 the function of that name takes where to put the table, a heap and its flags.
    let function = unsafe { std::mem::transmute::<unsafe extern "system" fn() -> isize, BoundTable>(found) };
    let mut table = std::ptr::null_mut();
    // SAFETY: it takes nothing and cannot fail.
    let heap = unsafe { GetProcessHeap() };
    // SAFETY: the function writes one pointer into `table`, to memory that it takes from that heap.
    let code = unsafe { function(&raw mut table, heap, 0) };
    if code != 0 {
        return Err(error(code));
    }
    if table.is_null() {
        return Err(unsupported());
    }
    // SAFETY: the function took this memory from that heap.
    let size = unsafe { HeapSize(heap, 0, table) };
    let bytes = match size {
        usize::MAX => Err(io::Error::other("the table's size cannot be told")),
        // SAFETY: the heap says that so many bytes are there, given out and filled by the system's own library; nothing
        // else refers to them.
        size => Ok(unsafe { std::slice::from_raw_parts(table.cast::<u8>(), size) }.to_vec()),
    };
    // SAFETY: the memory is from that heap, and nothing refers to it any more.
    unsafe { HeapFree(heap, 0, table) };
    decoded((Transport::Tcp, family), Rows::Bound, &bytes?)
}

/// The sockets, each with its process id noted and the interface of a link-local address as its origin.
fn with_origins(rows: &[Endpoint]) -> (Vec<Socket>, Vec<Origin>) {
    let mut indexes: Vec<u32> = rows.iter().map(|row| row.scope).collect();
    indexes.push(0);
    indexes.sort_unstable();
    indexes.dedup();
    let names = if indexes.len() > 1 { addresses::names() } else { Vec::new() };
    let name = |index: &u32| {
        let known = names.iter().find(|(known, _)| known == index).map(|(_, name)| name.clone());
        (*index != 0).then(|| known.unwrap_or_else(|| format!("#{index}")))
    };
    let origins =
        indexes.iter().map(|index| Origin { interface: name(index), ..Origin::default() }).collect();
    let sockets = rows.iter().map(|row| {
        let origin = indexes.binary_search(&row.scope).unwrap_or_default();
        let mut socket = row.socket;
        (socket.origin, socket.first_holder) = (origin as u32, row.pid);
        socket
    });
    (sockets.collect(), origins)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    fn find(local: std::net::SocketAddr, state: State) -> Option<Endpoint> {
        let rows = endpoints(&SocketFilter::default()).unwrap().value;
        rows.into_iter().find(|row| row.socket.local() == local && row.socket.state == state)
    }

    #[test]
    fn sockets_of_this_process_are_in_the_tables_with_its_number() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let local = listener.local_addr().unwrap();
            let client = TcpStream::connect(local).unwrap();
            let udp = UdpSocket::bind(address).unwrap();
            let own = std::process::id();
            assert_eq!(find(local, State::Listen).unwrap().pid, own);
            let connected = find(client.local_addr().unwrap(), State::Established).unwrap();
            assert_eq!((connected.pid, connected.socket.remote()), (own, local));
            assert_eq!(find(udp.local_addr().unwrap(), State::Unconnected).unwrap().pid, own);
            drop((client, listener));
            assert_eq!(find(local, State::Listen), None);
        }
    }

    #[test]
    fn a_filter_reads_only_what_it_asks_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let rows = |filter| endpoints(&filter).unwrap().value;
        let states = [State::Listen].into();
        let listening = rows(SocketFilter { states, ..SocketFilter::default() });
        assert!(listening.iter().all(|row| row.socket.state == State::Listen) && !listening.is_empty());
        let ipv6 = rows(SocketFilter { family: Some(Family::Ipv6), ..SocketFilter::default() });
        assert!(ipv6.iter().all(|row| row.socket.family == Family::Ipv6));
        let port = listener.local_addr().unwrap().port();
        let one = SocketFilter {
            local_ports: Some(
                [portolan_core::port::PortRange::new(port, port).unwrap()].into_iter().collect(),
            ),
            transport: Some(Transport::Tcp),
            // A connection of another test may still be in TIME_WAIT on the number that this listener got.
            states: [State::Listen].into(),
            ..SocketFilter::default()
        };
        let [row] = &rows(one)[..] else { panic!("one listener holds {port}") };
        assert_eq!(row.pid, std::process::id());
    }
}
