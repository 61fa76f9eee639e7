//! Takes ICMP errors from a socket's error queue.
//!
//! Source: ip(7) and ipv6(7) (IP_RECVERR, IPV6_RECVERR), recvmsg(2) (MSG_ERRQUEUE). No privilege is needed.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd as _};

use portolan_core::kernel::error_queue::{QueuedError, icmp};

/// Room for the extended error with its sender, and for a time stamp or two that nobody asked for.
const CONTROL: usize = 256;

/// Makes the kernel queue the ICMP errors of a socket of that family.
pub(crate) fn enable(socket: impl AsFd, ipv6: bool) -> io::Result<()> {
    let (level, option) =
        if ipv6 { (libc::SOL_IPV6, libc::IPV6_RECVERR) } else { (libc::SOL_IP, libc::IP_RECVERR) };
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open; `on` lives through the call and has that length.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes the oldest ICMP error from the queue; none when it is empty, or its head is something else.
pub(crate) fn taken(socket: impl AsFd) -> Option<QueuedError> {
    // The kernel aligns control messages to words; the payload, the head of our own packet, is not asked for.
    let mut control = [0_usize; CONTROL / size_of::<usize>()];
    // SAFETY: msghdr is plain data, for which zero means "nothing".
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: the descriptor is open, and the message names a live buffer of that length alone.
    let received = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, flags) };
    if received < 0 {
        return None;
    }
    let bytes: Vec<u8> = control.iter().flat_map(|word| word.to_ne_bytes()).collect();
    // What the kernel wrote and we cannot read is as good as nothing: the error's code still says what happened.
    icmp(bytes.get(..message.msg_controllen as usize).unwrap_or_default()).ok().flatten()
}
