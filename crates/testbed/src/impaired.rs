//! A line between two namespaces that delays packets and loses some: two TUN devices, and a thread that carries packets
//! from one to the other.
//!
//! Source: Linux `Documentation/networking/tuntap.rst`. In place of netem, which many kernels lack. Losses come from a
//! seeded generator (xorshift), so that the same packets in the same order lose the same ones; no more than [`MOST`] packets are
//! on the line in one direction, as in any queue. Left out: reordering, duplication, a limited bandwidth.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Namespace;
use crate::system::open_tun;

/// Packets under way in one direction; one more is lost.
const MOST: usize = 20_000;
/// No packet on such a device is longer.
const LONGEST: usize = 65_536;

/// What a line does to packets, in each direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Impairment {
    /// How long each is under way: half of a round trip.
    pub delay: Duration,
    /// How many of a thousand are lost.
    pub lost_per_mille: u32,
    /// Chooses which.
    pub seed: u64,
}

/// A line that is in place until this value is dropped.
#[derive(Debug)]
pub struct Impaired {
    name: String,
    end: Option<PipeWriter>,
    carrier: Option<JoinHandle<()>>,
    counts: Arc<[AtomicU64; 2]>,
}

impl Impaired {
    /// Lays a line between two namespaces, with an address (`10.0.0.1/24`, `2001:db8::1/64`) at each end.
    ///
    /// # Panics
    /// Where there is no /dev/net/tun, or an address cannot be had.
    #[track_caller]
    pub fn new(
        near: &Namespace,
        near_address: &str,
        far: &Namespace,
        far_address: &str,
        impairment: Impairment,
    ) -> Self {
        let name = Namespace::new_interface();
        let ends = [(near, near_address), (far, far_address)].map(|(namespace, address)| {
            let device = namespace.run(|| open_tun(&name)).unwrap_or_else(|error| {
                panic!("cannot make a TUN device ({error}): tests need /dev/net/tun (modprobe tun)")
            });
            namespace.raise(&name, address);
            device
        });
        let (read, write) = std::io::pipe().expect("a pipe can be made");
        let counts: Arc<[AtomicU64; 2]> = Arc::default();
        let mut line = Line { ends, impairment, random: impairment.seed | 1, counts: Arc::clone(&counts) };
        let carrier = thread::spawn(move || line.carry(&read));
        Self { name, end: Some(write), carrier: Some(carrier), counts }
    }

    /// The interface's name, the same at both ends.
    pub fn interface(&self) -> &str {
        &self.name
    }

    /// Packets that came through, and packets that were lost.
    pub fn counts(&self) -> (u64, u64) {
        let [passed, lost] = &*self.counts;
        (passed.load(Ordering::Relaxed), lost.load(Ordering::Relaxed))
    }
}

impl Drop for Impaired {
    fn drop(&mut self) {
        // The carrier sees the end of the pipe.
        self.end = None;
        if let Some(carrier) = self.carrier.take() {
            let ended = carrier.join();
            assert!(ended.is_ok() || thread::panicking(), "the line's carrier has panicked");
        }
    }
}

struct Line {
    ends: [File; 2],
    impairment: Impairment,
    random: u64,
    counts: Arc<[AtomicU64; 2]>,
}

impl Line {
    fn carry(&mut self, end: &PipeReader) {
        let mut under_way: [VecDeque<(Instant, Vec<u8>)>; 2] = Default::default();
        let mut packet = vec![0; LONGEST];
        loop {
            let first = under_way.iter().filter_map(|queue| Some(queue.front()?.0)).min();
            let limit = first.map(|due| due.saturating_duration_since(Instant::now()));
            let limit = limit.map(|left| Timespec::try_from(left).expect("a delay of seconds"));
            let [near, far] = &self.ends;
            let mut polled = [
                PollFd::new(near, PollFlags::IN),
                PollFd::new(far, PollFlags::IN),
                PollFd::new(end, PollFlags::IN),
            ];
            match poll(&mut polled, limit.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("poll of a TUN device: {error}"),
            }
            let [near, far, ended] = polled.map(|fd| !fd.revents().is_empty());
            if ended {
                return;
            }
            for (from, _) in [near, far].into_iter().enumerate().filter(|(_, ready)| *ready) {
                self.take_in(from, &mut under_way[1 - from], &mut packet);
            }
            let now = Instant::now();
            for (to, queue) in under_way.iter_mut().enumerate() {
                while queue.front().is_some_and(|(due, _)| *due <= now)
                    && let Some((_, packet)) = queue.pop_front()
                {
                    // A device that is going down takes none.
                    let _ = (&self.ends[to]).write_all(&packet);
                }
            }
        }
    }

    /// Reads what an end sends, as far as it goes without waiting.
    fn take_in(&mut self, from: usize, queue: &mut VecDeque<(Instant, Vec<u8>)>, packet: &mut [u8]) {
        while let Ok(length @ 1..) = (&self.ends[from]).read(packet) {
            let lost = self.is_lost() || queue.len() >= MOST;
            self.counts[usize::from(lost)].fetch_add(1, Ordering::Relaxed);
            if !lost {
                // Of each its own time: some come while others are read, and none is under way for less than the delay.
                queue.push_back((Instant::now() + self.impairment.delay, packet[..length].to_vec()));
            }
        }
    }

    fn is_lost(&mut self) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) % 1000 < u64::from(self.impairment.lost_per_mille)
    }
}
