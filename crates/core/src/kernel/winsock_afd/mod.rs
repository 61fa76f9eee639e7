//! What Windows' driver for sockets (AFD) tells of the calls that reach it, from live sessions and from trace files.
//!
//! Source: the manifest of the provider Microsoft-Windows-Winsock-AFD; Microsoft's pages on Winsock network event tracing
//! (AFD_EVENT_CREATE and its neighbours: `EnterExit` is 0 when a call begins, 1 when it is over; `Process` is the address
//! of the kernel's EPROCESS, `Endpoint` that of the socket). Addresses are SOCKADDR_IN and SOCKADDR_IN6.
//!
//! Left out on purpose: what was sent and received; the events below 1000, which Windows 7 wrote (they are counted).

mod calls;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

pub use calls::{Follower, Recorded, read};

use super::etl::Event;
use crate::wire::{DecodeError, Reader};

/// {E53C6823-7BB8-44BB-90DC-3F86090D48A6}, as it stands in memory.
pub const PROVIDER: [u8; 16] = *b"\x23\x68\x3c\xe5\xb8\x7b\xbb\x44\x90\xdc\x3f\x86\x09\x0d\x48\xa6";

/// An address is never longer (SOCKADDR_STORAGE).
const LONGEST_ADDRESS: usize = 128;

/// When a call is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It begins.
    Enter,
    /// It is over.
    Exit,
    /// The driver or the transport did something of its own.
    Within,
}

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A socket is made.
    Create {
        /// 1 a stream, 2 datagrams.
        socket_type: u32,
        /// 6 TCP, 17 UDP, by the numbers of IP.
        protocol: u32,
        /// Whose it is.
        process_id: u64,
    },
    /// It is closed.
    Close,
    /// A bind, the one before a connect too.
    Bind {
        /// What was asked for, or what was got.
        address: Option<SocketAddr>,
        /// What came of it.
        status: u32,
    },
    /// A connect.
    Connect {
        /// To where.
        address: Option<SocketAddr>,
        /// What came of it.
        status: u32,
    },
    /// A listen.
    Listen {
        /// What came of it.
        status: u32,
    },
    /// A connection is given up by this side.
    Abort,
}

/// One event about a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AfdEvent {
    /// When.
    pub phase: Phase,
    /// Where the kernel keeps the process.
    pub process: u64,
    /// Where it keeps the socket.
    pub endpoint: u64,
    /// What.
    pub what: What,
}

/// The numbers of the events that are followed: AfdCreate, AfdClose, AfdConnect (alone, with an address; of ConnectEx too),
/// AfdBind (alone, with an address), AfdAbort, AfdListen.
pub const FOLLOWED: [u16; 10] = [1000, 1001, 1017, 1018, 1020, 1021, 1029, 1030, 1032, 1037];

/// Whether an event of this number is one that is followed.
pub fn is_followed(id: u16) -> bool {
    FOLLOWED.contains(&id)
}

/// Whether it is a call as Windows 7 told of it.
pub const fn is_of_windows_7(id: u16) -> bool {
    matches!(id, 1..=6 | 40)
}

/// Decodes an event of this provider; nothing for one that is not followed.
///
/// # Errors
/// Its data ends before its fields do, or says that an address is longer than any is.
pub fn decode(event: &Event<'_>) -> Result<Option<AfdEvent>, DecodeError> {
    if !is_followed(event.id) {
        return Ok(None);
    }
    let mut reader = Reader::new(event.data);
    let phase = match reader.u32_le("EnterExit")? {
        0 => Phase::Enter,
        1 => Phase::Exit,
        _ => Phase::Within,
    };
    reader.u32_le("Location")?;
    let mut fields = Fields { reader, pointer_size: event.pointer_size };
    let (process, endpoint) = (fields.pointer("Process")?, fields.pointer("Endpoint")?);
    let what = fields.what(event.id)?;
    Ok(Some(AfdEvent { phase, process, endpoint, what }))
}

struct Fields<'a> {
    reader: Reader<'a>,
    pointer_size: u8,
}

impl Fields<'_> {
    fn pointer(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        match self.pointer_size {
            4 => self.reader.u32_le(field).map(u64::from),
            _ => self.reader.u64_le(field),
        }
    }

    fn status(&mut self) -> Result<u32, DecodeError> {
        self.reader.u32_le("Status")
    }

    fn what(&mut self, id: u16) -> Result<What, DecodeError> {
        Ok(match id {
            1000 => {
                self.reader.u32_le("AddressFamily")?;
                let socket_type = self.reader.u32_le("SocketType")?;
                let protocol = self.reader.u32_le("Protocol")?;
                What::Create { socket_type, protocol, process_id: self.pointer("ProcessId")? }
            }
            1001 => What::Close,
            1018 | 1021 => {
                self.pointer("Buffer")?;
                self.reader.u32_le("BufferLength")?;
                let status = self.status()?;
                What::Connect { address: self.address()?, status }
            }
            1017 | 1020 => What::Connect { address: None, status: self.status()? },
            1029 => What::Bind { address: None, status: self.status()? },
            1030 => {
                let status = self.status()?;
                What::Bind { address: self.address()?, status }
            }
            1037 => {
                self.reader.u32_le("Backlog")?;
                What::Listen { status: self.status()? }
            }
            _ => What::Abort,
        })
    }

    /// `AddressLen` and `Address`; nothing where it is neither IPv4's nor IPv6's.
    fn address(&mut self) -> Result<Option<SocketAddr>, DecodeError> {
        let length = self.reader.u32_le("AddressLen")?;
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(LONGEST_ADDRESS + 1);
        let mut address = self.reader.part(length, "Address")?;
        if length < 2 {
            return Ok(None);
        }
        match address.u16_le("sin_family")? {
            2 => {
                let (port, ip) = (address.u16_be("sin_port")?, address.u32_be("sin_addr")?);
                Ok(Some(SocketAddrV4::new(Ipv4Addr::from_bits(ip), port).into()))
            }
            23 => {
                let port = address.u16_be("sin6_port")?;
                address.u32_be("sin6_flowinfo")?;
                let ip = Ipv6Addr::from(address.array("sin6_addr")?);
                // An address without its zone is an address still.
                let zone = address.u32_le("sin6_scope_id").unwrap_or(0);
                Ok(Some(SocketAddrV6::new(ip, port, 0, zone).into()))
            }
            _ => Ok(None),
        }
    }
}
