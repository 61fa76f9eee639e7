//! A snapshot of 1,000,000 sockets, written and read with the memory counted by the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use portolan_core::owner::{Holder, Origin, Owner};
use portolan_core::snapshot::Snapshot;
use portolan_core::snapshot_file::{read, write};
use portolan_core::socket::{OwnerState, Socket, State, Transport};

/// The system's allocator, which counts what is in use and how much ever was.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: each call is passed on to the system's allocator as it is; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = IN_USE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller keeps GlobalAlloc's contract, which is System's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `pointer` came from `alloc` above, so from System, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` gives, and how many bytes more than before it had in use at once.
fn measured<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = IN_USE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let value = work();
    (value, PEAK.load(Ordering::Relaxed) - before)
}

const SOCKETS: u32 = 1_000_000;
const OWNERS: u32 = 50;
const MEBIBYTE: usize = 1 << 20;

/// Connections of both families, each with an owner, as a busy proxy has them.
fn socket(number: u32) -> Socket {
    let [_, a, b, c] = number.to_be_bytes();
    let (local, remote): (IpAddr, IpAddr) = if number.is_multiple_of(4) {
        let group = |byte| u16::from(byte) + 0xa000;
        let peer = Ipv6Addr::new(0x2001, 0xdb8, group(a), group(b), group(c), 1, 2, 3);
        (Ipv6Addr::LOCALHOST.into(), peer.into())
    } else {
        (Ipv4Addr::new(192, 168, 100, 200).into(), Ipv4Addr::new(100, a, b, c).into())
    };
    let (local, remote) = (SocketAddr::new(local, 443), SocketAddr::new(remote, 50000));
    let mut socket = Socket::new(Transport::Tcp, State::Established, local, remote);
    socket.inode = 5_000_000 + number;
    socket.first_holder = number;
    socket.holder_count = 1;
    socket.owner_state = OwnerState::Seen;
    socket
}

fn generated() -> Snapshot {
    Snapshot {
        sockets: (0..SOCKETS).map(socket).collect(),
        holders: (0..SOCKETS).map(|n| Holder { owner: n % OWNERS, descriptor: n as i32 % 20_000 }).collect(),
        owners: (0..OWNERS).map(|pid| Owner { pid, name: "nginx".into(), ..Owner::default() }).collect(),
        origins: vec![Origin { uid: Some(33), ..Origin::default() }],
        ..Snapshot::default()
    }
}

/// Counts what is written to it.
struct Sink(u64);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_million_sockets_are_written_and_read_in_bounded_memory() {
    let (snapshot, made) = measured(generated);
    assert!(made > 70 * MEBIBYTE, "the allocator counts: {made}");

    let (size, writing) = measured(|| {
        let mut sink = Sink(0);
        write(&snapshot, &mut sink).unwrap();
        sink.0
    });
    assert!((100..200).contains(&(size / u64::from(SOCKETS))), "{size} bytes of text");
    assert!(writing < MEBIBYTE, "writing took {writing} bytes");

    let (reader, writer) = io::pipe().unwrap();
    let (back, reading) = measured(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| write(&snapshot, writer).unwrap());
            read(reader).unwrap()
        })
    });
    assert!(back == snapshot, "what is read is what was written");
    assert!(reading < 220 * MEBIBYTE, "reading took {reading} bytes");
    eprintln!("{size} bytes of text; writing took {writing} bytes of memory, reading {reading}");
}
