//! Holding ports: bound, not listening, until dropped. What `pick` proves its answer with, and what `hold` keeps.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use portolan_core::diagnose::Reuse;
use portolan_core::kernel::error_code;
use portolan_core::socket::Transport;

use crate::{Error, Namespace, sys};

/// A port that is held.
#[derive(Debug)]
pub struct Held {
    /// TCP or UDP.
    pub transport: Transport,
    /// Where: `[::]` stands for every address of both families.
    pub address: SocketAddr,
    socket: sys::BoundSocket,
}

/// A port that could not be had.
#[derive(Debug)]
pub struct Refused {
    /// TCP or UDP.
    pub transport: Transport,
    /// The port.
    pub port: u16,
    /// The system's refusal, with its code.
    pub error: Error,
}

/// Binds every one of these ports, or none: on one address, or (without) on every address of both families. Nothing
/// is sent and nothing is accepted; dropping the values lets the ports go at once. The option is for TCP alone.
///
/// # Errors
/// The namespace cannot be entered. The system's refusal of a port is a value of its own.
pub fn hold(
    namespace: &Namespace,
    address: Option<IpAddr>,
    ports: &[(Transport, u16)],
    reuse: Reuse,
) -> Result<Result<Vec<Held>, Refused>, Error> {
    sys::allow_descriptors(ports.len());
    let one = |&(transport, port): &(Transport, u16)| {
        // Over UDP it would share the port with a running service, in silence.
        let reuse = if transport == Transport::Udp { Reuse::Plain } else { reuse };
        bound(transport, address, port, reuse).map_err(|refusal| Refused {
            transport,
            port,
            error: error(transport, port, refusal),
        })
    };
    sys::within(namespace, || ports.iter().map(one).collect())
}

/// Ports that are held at once, and how many did not bind.
#[derive(Debug)]
pub struct Several {
    /// The ports, in the order they were tried.
    pub ports: Vec<u16>,
    /// What holds them.
    pub held: Vec<Held>,
    /// How many ports were refused on the way.
    pub refused: u32,
}

/// Holds the first `count` of these ports that bind plainly on every address and for every transport, all at once.
/// There are fewer where too few bind.
///
/// # Errors
/// The namespace cannot be entered, or no more sockets can be made.
pub fn hold_first(
    namespace: &Namespace,
    transports: &[Transport],
    candidates: &[u16],
    count: usize,
) -> Result<Several, Error> {
    sys::allow_descriptors(count.saturating_mul(transports.len()));
    sys::within(namespace, || {
        let mut several = Several { ports: Vec::new(), held: Vec::new(), refused: 0 };
        for &port in candidates {
            if several.ports.len() == count {
                break;
            }
            let binds = transports.iter().map(|transport| bound(*transport, None, port, Reuse::Plain));
            match binds.collect::<Result<Vec<Held>, _>>() {
                Ok(held) => {
                    several.ports.push(port);
                    several.held.extend(held);
                }
                Err(refusal) if refusal.call == "bind" => several.refused += 1,
                Err(refusal) => return Err(error(transports[0], port, refusal)),
            }
        }
        Ok(several)
    })?
}

/// Becomes another program, in this process. The ports are let go in the instant it begins; with `pass` it gets
/// them instead, as sd_listen_fds(3) says: from descriptor 3 on, TCP sockets listening. Returns only where it failed.
pub fn become_program(program: &OsStr, arguments: &[OsString], held: Vec<Held>, pass: bool) -> Error {
    let (mut passed, mut kept) = (Vec::new(), Vec::new());
    for Held { transport, address, socket } in held {
        if !pass {
            kept.push(socket);
            continue;
        }
        if transport == Transport::Tcp
            && let Err(source) = sys::listen(&socket)
        {
            return Error::new(format!("listen on {address}"), source);
        }
        passed.push((socket, format!("{transport}-{}", address.port())));
    }
    let doing = format!("run {}", program.to_string_lossy());
    Error::new(doing, sys::become_program(program, arguments, &passed, kept))
}

/// A dual-stack socket stands for both families; a host without IPv6 has one for IPv4.
fn bound(
    transport: Transport,
    address: Option<IpAddr>,
    port: u16,
    reuse: Reuse,
) -> Result<Held, sys::Refusal> {
    let one = |address: IpAddr| sys::bound(transport, SocketAddr::new(address, port), None, reuse);
    let bound = match address {
        Some(address) => one(address),
        None => one(Ipv6Addr::UNSPECIFIED.into()).or_else(|refusal| match refusal.no_such_family {
            true => one(Ipv4Addr::UNSPECIFIED.into()),
            false => Err(refusal),
        }),
    };
    bound.map(|(socket, address)| Held { transport, address, socket })
}

fn error(transport: Transport, port: u16, refusal: sys::Refusal) -> Error {
    let name = error_code::name_of(sys::SYSTEM, refusal.code);
    let doing = format!("hold {port}/{transport}: {} gives {name}", refusal.call);
    Error::new(doing, std::io::Error::from_raw_os_error(refusal.code))
}
