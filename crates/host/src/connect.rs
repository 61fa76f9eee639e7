//! Reaching for a TCP port of any host: its name's addresses, and a connection that is given up at once.
//!
//! Nothing is sent. Left out on purpose: UDP, where silence may mean anything, and what stands behind a refusal
//! (a firewall can refuse in the closed port's name).

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::{Error, Namespace, sys};

/// What a try to connect came to.
#[derive(Debug)]
pub enum Attempt {
    /// Somebody listens.
    Connected,
    /// The other end says that nobody listens.
    Refused,
    /// No answer within the time.
    Silent,
    /// The system or a host on the way says that it cannot be reached.
    Failed(io::Error),
}

/// The addresses of a host's name, as the system resolves it. A name server that does not answer is waited for no
/// longer than the limit.
///
/// # Errors
/// The name has no address, or nobody answered in time.
pub fn resolve(
    namespace: &Namespace,
    host: &str,
    port: u16,
    limit: Duration,
) -> Result<Vec<SocketAddr>, Error> {
    let doing = format!("resolve '{}'", host.escape_debug());
    let (answer, answered) = mpsc::channel();
    let (namespace, host) = (namespace.clone(), host.to_owned());
    // The C library's resolver cannot be told to stop: a thread that is left behind can.
    thread::spawn(move || {
        let addresses = || (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Nobody listens any more where the limit is over.
        let _ = answer.send(sys::within(&namespace, addresses));
    });
    match answered.recv_timeout(limit) {
        Ok(addresses) => addresses?.map_err(|source| Error::new(doing, source)),
        Err(_) => Err(Error::new(doing, io::Error::from(io::ErrorKind::TimedOut))),
    }
}

/// Connects, and hangs up at once. The limit must not be zero.
///
/// # Errors
/// The namespace cannot be entered.
pub fn connect(namespace: &Namespace, address: SocketAddr, limit: Duration) -> Result<Attempt, Error> {
    let connected = sys::within(namespace, || TcpStream::connect_timeout(&address, limit))?;
    Ok(match connected {
        Ok(stream) if is_own_end(&stream) => Attempt::Refused,
        Ok(_) => Attempt::Connected,
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Attempt::Refused,
            io::ErrorKind::TimedOut => Attempt::Silent,
            _ => Attempt::Failed(error),
        },
    })
}

/// A connection to a free port of the ephemeral range may be given that very port, and then meets itself.
fn is_own_end(stream: &TcpStream) -> bool {
    matches!((stream.local_addr(), stream.peer_addr()), (Ok(local), Ok(peer)) if local == peer)
}

#[cfg(test)]
mod tests {
    use portolan_testbed::Held;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn attempt(namespace: &portolan_testbed::Namespace, address: &str, limit: Duration) -> Attempt {
        let named = Namespace::Named(namespace.name().to_owned());
        connect(&named, address.parse().unwrap(), limit).unwrap()
    }

    #[test]
    fn a_listener_connects_and_a_closed_port_refuses() {
        let namespace = portolan_testbed::Namespace::new();
        let _held = Held::new(&namespace, "tcp-listen 127.0.0.1:7000 tcp-bound 127.0.0.1:7001");
        assert!(matches!(attempt(&namespace, "127.0.0.1:7000", LIMIT), Attempt::Connected));
        assert!(matches!(attempt(&namespace, "127.0.0.1:7001", LIMIT), Attempt::Refused));
        assert!(matches!(attempt(&namespace, "192.0.2.1:7000", LIMIT), Attempt::Failed(_)));
    }

    #[test]
    fn a_connection_that_meets_itself_is_a_refusal() {
        let namespace = portolan_testbed::Namespace::new();
        // One port that may be chosen: every connection to it is given it as its own end.
        namespace.sysctl("net.ipv4.ip_local_port_range", "7000 7000");
        let own = namespace.run(|| TcpStream::connect("127.0.0.1:7000").unwrap());
        assert_eq!(own.local_addr().unwrap(), own.peer_addr().unwrap());
        drop(own);
        namespace.sysctl("net.ipv4.ip_local_port_range", "7002 7002");
        assert!(matches!(attempt(&namespace, "127.0.0.1:7002", LIMIT), Attempt::Refused));
    }

    #[test]
    fn silence_is_no_refusal() {
        let (near, far) = (portolan_testbed::Namespace::new(), portolan_testbed::Namespace::new());
        near.link("10.9.0.1/24", &far, "10.9.0.2/24");
        far.run(|| std::process::Command::new("nft").args(["add", "table", "ip", "t"]).status().unwrap());
        let chain = "add chain ip t c { type filter hook input priority 0 ; policy drop ; }";
        far.run(|| {
            assert!(std::process::Command::new("nft").arg(chain).status().unwrap().success());
        });
        let silent = attempt(&near, "10.9.0.2:7000", Duration::from_millis(300));
        assert!(matches!(silent, Attempt::Silent), "{silent:?}");
    }

    #[test]
    fn names_resolve_and_a_name_without_address_is_an_error() {
        let addresses = resolve(&Namespace::Own, "127.0.0.1", 80, LIMIT).unwrap();
        assert_eq!(addresses, ["127.0.0.1:80".parse().unwrap()]);
        let error = resolve(&Namespace::Own, "a..b", 80, LIMIT).unwrap_err().to_string();
        assert!(error.starts_with("cannot resolve 'a..b'"), "{error}");
    }
}
