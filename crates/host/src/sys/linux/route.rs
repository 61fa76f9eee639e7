//! The way to an address, asked of rtnetlink in this thread's network namespace.
//!
//! Source: rtnetlink(7) (RTM_GETROUTE), netdevice(7) (SIOCGIFNAME). No privilege is needed.

use std::io;
use std::net::SocketAddr;

use portolan_core::kernel::route::{Route, RouteKind, decode, is_route, request};
use portolan_core::wire::netlink::{Content, Messages};
use rustix::net::netdevice::index_to_name;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// A route has a few hundred bytes at most.
const BUFFER: usize = 16 * 1024;

/// The way to an address, with the interface's name.
pub(crate) fn route(to: SocketAddr) -> io::Result<(Route, Option<String>)> {
    let kind = (AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC);
    // Protocol 0 is NETLINK_ROUTE.
    let socket = rustix::net::socket_with(kind.0, kind.1, kind.2, None)?;
    // Connected to the kernel (port id 0), it takes messages from nobody else.
    rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0))?;
    let scope = match to {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => Some(v6.scope_id()),
        _ => None,
    };
    rustix::net::send(&socket, &request(1, to.ip(), scope), SendFlags::empty())?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let (_, length) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::TRUNC)?;
        for message in Messages::new(buffer.get(..length).unwrap_or(&buffer)) {
            let message = message.map_err(io::Error::other)?;
            match message.content {
                Content::Row(kind, body) if is_route(kind) => {
                    let route = decode(body).map_err(io::Error::other)?;
                    let name = route.interface.and_then(|index| index_to_name(&socket, index).ok());
                    return Ok((route, name));
                }
                Content::Refused(code) if code != 0 => {
                    return Ok((Route::none(RouteKind::of_refusal(code)), None));
                }
                Content::Row(..) => {}
                Content::Refused(_) | Content::Done(_) => {
                    return Err(io::Error::other("the kernel answered without a route"));
                }
            }
        }
    }
}
