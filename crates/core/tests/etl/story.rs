//! A story of sockets as AFD tells it: the events of a program that runs out of ports.

use std::net::SocketAddr;

use super::writer::{Buffer, Bytes, COUNTER, Event, FREQUENCY};
use portolan_core::kernel::winsock_afd::PROVIDER;

/// S-1-5-18.
const LOCAL_SYSTEM: [u8; 12] = [1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];

/// Where the kernel keeps a program, and its number.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    pub(crate) object: u64,
    pub(crate) pid: u32,
}

/// A buffer that is told a story.
pub(crate) struct Teller {
    pub(crate) buffer: Buffer,
    pub(crate) pointer_size: u8,
    program: Program,
}

/// So many milliseconds after the trace began.
pub(crate) const fn at(milliseconds: u64) -> u64 {
    COUNTER + milliseconds * FREQUENCY / 1000
}

/// An address as sockets have it.
pub(crate) fn sockaddr(address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    match address {
        SocketAddr::V4(v4) => Bytes::default().u16(2).bytes(&port).bytes(&v4.ip().octets()).bytes(&[0; 8]).0,
        SocketAddr::V6(v6) => {
            let bytes = Bytes::default().u16(23).bytes(&port).u32(0).bytes(&v6.ip().octets());
            bytes.u32(v6.scope_id()).0
        }
    }
}

impl Teller {
    pub(crate) fn new(processor: u16, program: Program) -> Self {
        Self { buffer: Buffer::new(processor), pointer_size: 8, program }
    }

    pub(crate) fn with_pointers_of_32_bits(self) -> Self {
        Self { pointer_size: 4, ..self }
    }

    /// An event: its number, its time, whether the call is over, and what follows `Endpoint`. What is over is written in
    /// whatever process runs just then.
    pub(crate) fn event(self, id: u16, ms: u64, exit: bool, endpoint: u64, rest: &[u8]) -> Self {
        let size = self.pointer_size;
        let data = Bytes::default().u32(exit.into()).u32(7000);
        let data = data.pointer(size, self.program.object).pointer(size, endpoint).bytes(rest);
        let event = Event {
            time: at(ms),
            thread: 77,
            process: if exit { 0 } else { self.program.pid },
            provider: PROVIDER,
            id,
            version: 0,
            pointer_size: size,
            // The user and the stack, where they were asked for.
            items: if id == 1030 { vec![(2, LOCAL_SYSTEM.to_vec()), (6, vec![1; 24])] } else { Vec::new() },
        };
        Self { buffer: self.buffer.event(&event, &data.0), ..self }
    }

    pub(crate) fn create(self, ms: u64, endpoint: u64, protocol: u32) -> Self {
        let (size, pid) = (self.pointer_size, self.program.pid);
        let rest = Bytes::default().u32(2).u32(if protocol == 17 { 2 } else { 1 }).u32(protocol);
        let rest = rest.pointer(size, pid.into()).u32(0).0;
        self.event(1000, ms, false, endpoint, &rest).event(1000, ms, true, endpoint, &rest)
    }

    pub(crate) fn bind(self, ms: u64, endpoint: u64, asked: &str, status: u32, got: &str) -> Self {
        let rest = |status, address: &str| {
            let address = sockaddr(address.parse().unwrap());
            Bytes::default().u32(status).u32(address.len() as u32).bytes(&address).0
        };
        let begun = self.event(1030, ms, false, endpoint, &rest(0, asked));
        if got.is_empty() {
            return begun.event(1029, ms + 1, true, endpoint, &status.to_le_bytes());
        }
        begun.event(1030, ms + 1, true, endpoint, &rest(status, got))
    }

    pub(crate) fn connect_begins(self, ms: u64, endpoint: u64, to: &str) -> Self {
        let address = sockaddr(to.parse().unwrap());
        let rest = Bytes::default().pointer(self.pointer_size, 0).u32(0).u32(0);
        let rest = rest.u32(address.len() as u32).bytes(&address).0;
        self.event(1018, ms, false, endpoint, &rest)
    }

    pub(crate) fn connect_ends(self, ms: u64, endpoint: u64, status: u32) -> Self {
        self.event(1017, ms, true, endpoint, &status.to_le_bytes())
    }

    pub(crate) fn close(self, ms: u64, endpoint: u64) -> Self {
        let status = 0_u32.to_le_bytes();
        self.event(1001, ms, false, endpoint, &status).event(1001, ms, true, endpoint, &status)
    }
}
