//! Whether connect() may take a TIME_WAIT's place: Linux `tcp_twsk_unique`.
//!
//! It needs `tcp_tw_reuse` (1; or 2 where an end is a loopback address or the socket was bound to the loopback
//! interface), a connection that had timestamps, and an age beyond `tcp_tw_reuse_delay`. The age is told from the timer:
//! late segments start it anew, so that a TIME_WAIT can be older than it looks.

use std::net::IpAddr;

use crate::snapshot::Settings;
use crate::socket::{Socket, SocketOptions};

/// How long a TIME_WAIT lasts, milliseconds (TCP_TIMEWAIT_LEN).
const LASTS_MS: u32 = 60_000;
/// How exact the timer is, milliseconds: the kernel counts in ticks of up to 10 ms.
const TICK_MS: u32 = 20;
/// Kernels without `tcp_tw_reuse_delay` compare whole seconds: after 2 s it is certainly old enough, before 1 s perhaps.
const OLD_ENOUGH_MS: u32 = 2_000;

/// Whether a port is in use for a tuple.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    #[default]
    Free,
    Perhaps,
    Certain,
}

/// Whether a TIME_WAIT keeps its tuple from being used.
pub(super) fn keeps(socket: &Socket, on_loopback: bool, settings: &Settings) -> Use {
    let here = |address: IpAddr| address.to_canonical().is_loopback();
    let local = on_loopback || here(socket.local_address()) || here(socket.remote_address());
    let allowed = match settings.tcp_tw_reuse {
        Some(1) => Use::Free,
        Some(2) if local => Use::Free,
        Some(_) => return Use::Certain,
        None => Use::Perhaps,
    };
    let stamped = if !socket.options.has(SocketOptions::TIMESTAMPS_READ) {
        Use::Perhaps
    } else if socket.options.has(SocketOptions::TIMESTAMPS) {
        Use::Free
    } else {
        return Use::Certain;
    };
    allowed.max(stamped).max(too_young(LASTS_MS.saturating_sub(socket.timer_ms), settings))
}

fn too_young(age_ms: u32, settings: &Settings) -> Use {
    match settings.tcp_tw_reuse_delay_ms {
        Some(delay) if age_ms > delay.saturating_add(TICK_MS) => Use::Free,
        Some(delay) if age_ms.saturating_add(TICK_MS) < delay => Use::Certain,
        None if age_ms > OLD_ENOUGH_MS => Use::Free,
        _ => Use::Perhaps,
    }
}
