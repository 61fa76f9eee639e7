//! The error codes that bind, listen and connect give, by name and number, with their meaning in plain words.
//!
//! Source: Linux `include/uapi/asm-generic/errno*.h` (the numbers of x86, Arm and RISC-V; MIPS, SPARC, Alpha and
//! PA-RISC number some of them otherwise and are left out on purpose); Windows `winsock2.h`. Codes
//! that bind(2), listen(2) and connect(2) give for sockets of the file system alone (ENOENT, ELOOP, EROFS) are left out
//! too.

use crate::snapshot::System;

/// One error code of a system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode {
    /// Its symbol: `EADDRINUSE`, `WSAEACCES`.
    pub name: &'static str,
    /// Its number.
    pub code: i32,
    /// The system that gives it.
    pub system: System,
    /// What it says about a port, in plain words, fit to follow a colon.
    pub meaning: &'static str,
}

const fn linux(name: &'static str, code: i32, meaning: &'static str) -> ErrorCode {
    ErrorCode { name, code, system: System::Linux, meaning }
}

const fn windows(name: &'static str, code: i32, meaning: &'static str) -> ErrorCode {
    ErrorCode { name, code, system: System::Windows, meaning }
}

/// Every code, Linux' first, in rising order of their numbers.
pub static ERROR_CODES: &[ErrorCode] = &[
    linux("EPERM", 1, "not permitted: a security module, a BPF program or the firewall refused"),
    linux("EINTR", 4, "a signal came in between"),
    linux("EBADF", 9, "the descriptor is not open: the program gave a wrong or a closed one"),
    linux("EAGAIN", 11, "no port left for a UDP socket, or nothing to do yet"),
    linux("ENOMEM", 12, "no memory left"),
    linux("EACCES", 13, "permission denied: a privileged port, or a policy"),
    linux("EFAULT", 14, "the program gave an address that lies outside of its memory"),
    linux("ENODEV", 19, "no such network interface"),
    linux("EINVAL", 22, "invalid: the socket is bound already, or the address lacks its interface"),
    linux("ENFILE", 23, "the system has too many open files"),
    linux("EMFILE", 24, "the process has too many open files: not a port problem"),
    linux("ENOTSOCK", 88, "the descriptor is no socket, but a file or a pipe"),
    linux("EDESTADDRREQ", 89, "no address to connect to was given"),
    linux("EPROTOTYPE", 91, "the protocol does not fit the socket's type"),
    linux("ENOPROTOOPT", 92, "the protocol or option is not available there"),
    linux("EPROTONOSUPPORT", 93, "the protocol is not supported"),
    linux("EOPNOTSUPP", 95, "this socket cannot do that"),
    linux("ESOCKTNOSUPPORT", 94, "this type of socket is not supported"),
    linux("EPFNOSUPPORT", 96, "this protocol family is not supported here"),
    linux("EAFNOSUPPORT", 97, "this address family is not supported here"),
    linux("EADDRINUSE", 98, "address already in use"),
    linux(
        "EADDRNOTAVAIL",
        99,
        "address not available: not this machine's, or no port left towards that peer",
    ),
    linux("ENETDOWN", 100, "the network is down"),
    linux("ENETUNREACH", 101, "no route to that network"),
    linux("ECONNABORTED", 103, "the connection was given up by this side"),
    linux("ECONNRESET", 104, "the peer reset the connection"),
    linux("ENOBUFS", 105, "no buffers left"),
    linux("EISCONN", 106, "the socket is connected already, or listens"),
    linux("ETIMEDOUT", 110, "no answer in time"),
    linux("ECONNREFUSED", 111, "connection refused: nobody listens there, or a firewall rejects"),
    linux("EHOSTDOWN", 112, "the host is down"),
    linux("EHOSTUNREACH", 113, "no route to that host, or a firewall rejects"),
    linux("EALREADY", 114, "a connection attempt is under way already"),
    linux("EINPROGRESS", 115, "the connection attempt goes on"),
    windows("WSAEINTR", 10004, "the call was cancelled"),
    windows(
        "WSAEACCES",
        10013,
        "access denied: in a range set aside by the system, held exclusively, or another user's",
    ),
    windows(
        "WSAEFAULT",
        10014,
        "the program gave an address that lies outside of its memory, or is too short",
    ),
    windows("WSAEINVAL", 10022, "invalid: the socket is bound already, or not bound"),
    windows("WSAEMFILE", 10024, "too many open sockets"),
    windows("WSAEWOULDBLOCK", 10035, "the call goes on"),
    windows("WSAEINPROGRESS", 10036, "another call goes on"),
    windows("WSAEALREADY", 10037, "a connection attempt is under way already"),
    windows("WSAENOTSOCK", 10038, "the handle is no socket, or a closed one"),
    windows("WSAEDESTADDRREQ", 10039, "no address to connect to was given"),
    windows("WSAEPROTOTYPE", 10041, "the protocol does not fit the socket's type"),
    windows("WSAENOPROTOOPT", 10042, "the option is not available there"),
    windows("WSAEPROTONOSUPPORT", 10043, "the protocol is not supported"),
    windows("WSAESOCKTNOSUPPORT", 10044, "this type of socket is not supported"),
    windows("WSAEOPNOTSUPP", 10045, "this socket cannot do that"),
    windows("WSAEPFNOSUPPORT", 10046, "this protocol family is not supported here"),
    windows("WSAEAFNOSUPPORT", 10047, "this address family is not supported here"),
    windows("WSAEADDRINUSE", 10048, "address already in use; from connect: no port left towards that peer"),
    windows("WSAEADDRNOTAVAIL", 10049, "address not available: not this machine's"),
    windows("WSAENETDOWN", 10050, "the network is down"),
    windows("WSAENETUNREACH", 10051, "no route to that network"),
    windows("WSAENETRESET", 10052, "the network dropped the connection"),
    windows("WSAECONNABORTED", 10053, "the connection was given up by this side"),
    windows("WSAECONNRESET", 10054, "the peer reset the connection"),
    windows("WSAENOBUFS", 10055, "no buffers left, or no ports"),
    windows("WSAEISCONN", 10056, "the socket is connected already"),
    windows("WSAETIMEDOUT", 10060, "no answer in time"),
    windows("WSAECONNREFUSED", 10061, "connection refused: nobody listens there, or a firewall rejects"),
    windows("WSAEHOSTDOWN", 10064, "the host is down"),
    windows("WSAEHOSTUNREACH", 10065, "no route to that host"),
];

/// The code of that number on that system.
pub fn by_code(system: System, code: i32) -> Option<&'static ErrorCode> {
    ERROR_CODES.iter().find(|known| known.system == system && known.code == code)
}

/// The code of that name, in any case: `EADDRINUSE`, `wsaeacces`.
pub fn by_name(name: &str) -> Option<&'static ErrorCode> {
    ERROR_CODES.iter().find(|known| known.name.eq_ignore_ascii_case(name))
}

/// The name of a code, or `error 71` for one that the table lacks.
pub fn name_of(system: System, code: i32) -> String {
    by_code(system, code).map_or_else(|| format!("error {code}"), |known| known.name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_and_each_number_of_a_system_stands_once() {
        for (index, a) in ERROR_CODES.iter().enumerate() {
            for b in &ERROR_CODES[index + 1..] {
                assert!(a.name != b.name && (a.system, a.code) != (b.system, b.code), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn a_code_is_found_by_its_number_and_by_its_name() {
        assert_eq!(by_code(System::Linux, 98).unwrap().name, "EADDRINUSE");
        assert_eq!(by_code(System::Windows, 98), None);
        assert_eq!(by_name("wsaeacces").unwrap().code, 10013);
        assert_eq!(by_name("EWHATEVER"), None);
        assert_eq!(name_of(System::Linux, 71), "error 71");
    }
}
