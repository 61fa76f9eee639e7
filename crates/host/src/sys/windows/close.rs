//! Closes TCP connections from outside, IPv4 only.
//!
//! Source: `SetTcpEntry` with MIB_TCP_STATE_DELETE_TCB. Windows has no such function for IPv6, and no number that names a
//! connection for good: it is known by its ends. Since a system may say that it was done and do nothing (Wine does),
//! the table is read again.

use std::io;
use std::net::SocketAddr;

use portolan_core::socket::{Connection, Family, Socket, State, Transport};
use windows_sys::Win32::Foundation::ERROR_ACCESS_DENIED;
use windows_sys::Win32::NetworkManagement::IpHelper::{
    MIB_TCP_STATE_DELETE_TCB, MIB_TCPROW_LH, MIB_TCPROW_LH_0, SetTcpEntry,
};

use super::buffer::error;
use super::namespace::within;
use super::sockets;
use crate::{Error, Namespace, SocketFilter};

/// The TCP connections that a filter lets through.
pub fn connections(namespace: &Namespace, filter: &SocketFilter) -> Result<Vec<(Socket, Connection)>, Error> {
    let rows = within(namespace, || {
        sockets::endpoints(&SocketFilter { transport: Some(Transport::Tcp), ..filter.clone() })
    })??;
    let is_connection = |socket: &Socket| !matches!(socket.state, State::Listen | State::Bound);
    let named = |socket: Socket| {
        let connection =
            Connection { local: socket.local(), remote: socket.remote(), interface: 0, cookie: 0 };
        (socket, connection)
    };
    Ok(rows.value.into_iter().map(|row| row.socket).filter(is_connection).map(named).collect())
}

/// Closes them. One that has ended by itself is fine: that is what was wanted.
///
/// # Errors
/// The first refusal, with how many were closed before.
pub(super) fn close(connections: &[Connection]) -> Result<(), Error> {
    let all = connections.len();
    for (done, connection) in connections.iter().enumerate() {
        if !is_there(connection)? {
            continue;
        }
        close_one(connection).map_err(|source| {
            Error::new(format!("close the connection {connection} ({done} of {all} are closed)"), source)
        })?;
    }
    Ok(())
}

fn is_there(connection: &Connection) -> Result<bool, Error> {
    let family = Some(Family::of(connection.local.ip()));
    let filter = SocketFilter { family, ..SocketFilter::default() };
    let left = connections(&Namespace::Own, &filter)?;
    let same = |(socket, found): &(Socket, Connection)| {
        (found.local, found.remote) == (connection.local, connection.remote)
            && !matches!(socket.state, State::TimeWait | State::Closed)
    };
    Ok(left.iter().any(same))
}

fn close_one(connection: &Connection) -> io::Result<()> {
    let (SocketAddr::V4(local), SocketAddr::V4(remote)) = (connection.local, connection.remote) else {
        let why = "Windows closes IPv4 connections only; `portolan free` ends the program instead";
        return Err(io::Error::new(io::ErrorKind::Unsupported, why));
    };
    let row = MIB_TCPROW_LH {
        Anonymous: MIB_TCPROW_LH_0 { State: MIB_TCP_STATE_DELETE_TCB },
        dwLocalAddr: local.ip().to_bits().to_be(),
        dwLocalPort: local.port().to_be().into(),
        dwRemoteAddr: remote.ip().to_bits().to_be(),
        dwRemotePort: remote.port().to_be().into(),
    };
    // SAFETY: the row is filled and lives through the call.
    match unsafe { SetTcpEntry(&raw const row) } {
        0 => {}
        ERROR_ACCESS_DENIED => {
            let why = "closing a connection needs an administrator's rights: run as administrator";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        code => return Err(error(code)),
    }
    match is_there(connection) {
        Ok(false) => Ok(()),
        Ok(true) => {
            Err(io::Error::other("the system says that it is done, and the connection is still there"))
        }
        Err(error) => Err(io::Error::other(error)),
    }
}
