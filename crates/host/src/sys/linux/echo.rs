//! Echo requests to an address: by a datagram socket, which plain users may have, else by a raw one.
//!
//! Source: icmp(7) (ping_group_range), raw(7), ip(7) and ipv6(7) (IP_RECVERR). ICMP errors come by the error queue, with
//! their sender; a raw socket gets those about another program's echoes to the same address as well, which say the same
//! of it. A neighbour that does not answer ARP shows after about 3 seconds, as an error that this machine sends itself.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use portolan_core::socket::Family;
use portolan_core::wire::echo::{Echo, behind_ipv4_header, reply, request};
use socket2::{Domain, Protocol, Socket, Type};

use super::error_queue;
use crate::sys::{EchoPlan, Echoes};

/// What a plain user types to be let.
pub(crate) const ECHO_REMEDY: &str =
    "run as root, or let every group send them: sysctl net.ipv4.ping_group_range='0 2147483647'";

/// A socket for echoes of one family.
struct Pinger {
    socket: Socket,
    family: Family,
    /// It gives and takes whatever is ICMP, with the IPv4 header before it.
    raw: bool,
}

impl Pinger {
    fn open(family: Family) -> io::Result<Self> {
        let (domain, protocol) = match family {
            Family::Ipv4 => (Domain::IPV4, Protocol::ICMPV4),
            Family::Ipv6 => (Domain::IPV6, Protocol::ICMPV6),
        };
        let open = |kind, raw| {
            let socket = Socket::new(domain, kind, Some(protocol))?;
            Ok(Self { socket, family, raw })
        };
        // The datagram socket's refusal is the one that a user can do something about.
        open(Type::DGRAM, false)
            .or_else(|error: io::Error| open(Type::from(libc::SOCK_RAW), true).map_err(|_| error))
    }

    /// The answer to one of ours in what was received.
    fn answer(&self, packet: &[u8]) -> Option<Echo> {
        let message = match (self.raw, self.family) {
            (true, Family::Ipv4) => behind_ipv4_header(packet).ok()?,
            _ => packet,
        };
        reply(self.family, message).ok().flatten()
    }
}

/// Sends echo requests to an address, and hears what comes back. Fails where no socket may be had.
pub(crate) fn echo(to: SocketAddr, plan: &EchoPlan) -> io::Result<Echoes> {
    let pinger = Pinger::open(Family::of(to.ip()))?;
    let mut echoes = Echoes::default();
    error_queue::enable(&pinger.socket, to.is_ipv6())?;
    let source = |source: IpAddr| pinger.socket.bind(&SocketAddr::new(source, 0).into());
    let ready = plan.source.map_or(Ok(()), source).and_then(|()| pinger.socket.connect(&to.into()));
    if let Err(error) = ready {
        echoes.refused = error.raw_os_error();
        return Ok(echoes);
    }
    let mut sent: Vec<Option<Instant>> = Vec::new();
    while echoes.sent < plan.count {
        let number = echoes.sent;
        let echo = Echo { identifier: plan.token as u16, sequence: number, token: plan.token };
        echoes.sent += 1;
        sent.push(Some(Instant::now()));
        let send = || pinger.socket.send(&request(pinger.family, &echo));
        // The error of an earlier one may be told here, and then this one was not sent.
        let result = send().or_else(|error| if drain(&pinger, &mut echoes) { send() } else { Err(error) });
        if let Err(error) = result {
            echoes.refused = error.raw_os_error();
            return Ok(echoes);
        }
        let wait = if echoes.sent == plan.count { plan.wait } else { plan.apart };
        hear(&pinger, plan, &mut sent, &mut echoes, wait)?;
    }
    Ok(echoes)
}

/// Hears answers and errors, until each that was sent has one or the time is over.
fn hear(
    pinger: &Pinger,
    plan: &EchoPlan,
    sent: &mut [Option<Instant>],
    echoes: &mut Echoes,
    wait: Duration,
) -> io::Result<()> {
    let until = Instant::now() + wait;
    let last = echoes.sent == plan.count;
    let mut buffer = [MaybeUninit::<u8>::uninit(); 2048];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let complete = echoes.answers.len() + echoes.errors.len() >= usize::from(echoes.sent);
        if left.is_zero() || (last && complete) {
            return Ok(());
        }
        pinger.socket.set_read_timeout(Some(left))?;
        match pinger.socket.recv(&mut buffer) {
            Ok(length) => {
                let now = Instant::now();
                let bytes = buffer.iter().take(length);
                // SAFETY: the call has written that many bytes.
                let packet: Vec<u8> = bytes.map(|byte| unsafe { byte.assume_init() }).collect();
                let answered = pinger
                    .answer(&packet)
                    .filter(|echo| echo.token == plan.token)
                    .and_then(|echo| sent.get_mut(usize::from(echo.sequence))?.take());
                echoes.answers.extend(answered.map(|since| now - since));
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                // An error that the kernel has queued and told already.
                drain(pinger, echoes);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                if !drain(pinger, echoes) {
                    echoes.refused = error.raw_os_error();
                    return Ok(());
                }
            }
        }
    }
}

/// Takes what the error queue holds; whether it held something.
fn drain(pinger: &Pinger, echoes: &mut Echoes) -> bool {
    let before = echoes.errors.len();
    while let Some(error) = error_queue::taken(&pinger.socket) {
        echoes.errors.push(error.icmp);
    }
    echoes.errors.len() > before
}
