//! Closes TCP connections from outside: SOCK_DESTROY, by the cookie that the kernel gave each socket.
//!
//! Source: sock_diag(7), `tcp_diag_destroy` in Linux's `net/ipv4/tcp_diag.c`. Needs CAP_NET_ADMIN in the user namespace
//! of the network namespace, and a kernel with CONFIG_INET_DIAG_DESTROY.

use std::io;

use portolan_core::kernel::inet_diag::{Query, Table};
use portolan_core::socket::{Connection, Socket, State};
use rustix::io::Errno;

use super::namespace::within;
use super::netlink::{Refusal, SockDiag};
use crate::{Error, Namespace, SocketFilter};

/// How often a list is asked for anew when it was interrupted.
const ATTEMPTS: u32 = 4;

/// The TCP connections that a filter lets through, each with what names exactly it. One that came or went meanwhile may
/// be missing.
pub fn connections(namespace: &Namespace, filter: &SocketFilter) -> Result<Vec<(Socket, Connection)>, Error> {
    within(namespace, || listed(filter))?
        .map_err(|refusal| Error::new("list connections", io::Error::other(refusal.to_string())))
}

fn listed(filter: &SocketFilter) -> Result<Vec<(Socket, Connection)>, Refusal> {
    let no_connection = |state: &State| matches!(state, State::Listen | State::Bound | State::Unconnected);
    let wanted = |state: &State| filter.states.is_empty() || filter.states.contains(state);
    let states: Vec<State> =
        State::ALL.into_iter().filter(|state| wanted(state) && !no_connection(state)).collect();
    let table = filter.family.map_or(Table::Tcp, Table::TcpOf);
    let query = Query { table, states: &states, local_ports: filter.local_ports.as_ref() };
    let mut found = Vec::new();
    let mut conversation = SockDiag::open()?;
    for _ in 0..ATTEMPTS {
        found.clear();
        if !conversation.list(&query, |row| found.push((row.socket, row.connection())))?.interrupted {
            break;
        }
    }
    Ok(found)
}

/// Closes them in this thread's namespace. One that has ended by itself is fine: that is what was wanted.
///
/// # Errors
/// The first refusal, with how many were closed before.
pub(super) fn close(connections: &[Connection]) -> Result<(), Error> {
    let doing = |done: usize| match (done, connections.len()) {
        (0, 1) => "close the connection".to_owned(),
        (done, all) => format!("close the connections ({done} of {all} are closed)"),
    };
    let mut conversation = SockDiag::open().map_err(|error| Error::new(doing(0), error))?;
    for (done, connection) in connections.iter().enumerate() {
        match conversation.destroy(connection) {
            Ok(()) | Err(Refusal::System(Errno::NOENT)) => {}
            Err(refusal) => {
                let why = match refusal {
                    Refusal::System(Errno::PERM | Errno::ACCESS) => {
                        "closing somebody's connection needs root (CAP_NET_ADMIN); type it again after sudo"
                            .into()
                    }
                    Refusal::System(Errno::OPNOTSUPP) => "this kernel cannot (it is built without \
                        CONFIG_INET_DIAG_DESTROY); `portolan free` ends the program instead"
                        .into(),
                    other => format!("{connection}: {other}"),
                };
                return Err(Error::new(doing(done), io::Error::other(why)));
            }
        }
    }
    Ok(())
}
