//! The system calls that no safe crate offers: wait4(2), which alone tells what one child used, ignoring a signal
//! with signal(2), a seccomp(2) filter that refuses one call, a mount namespace by unshare(2), a TUN device by ioctl(2),
//! and one option by setsockopt(2). All of this crate's `unsafe` stands here.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Makes this process, and those it starts, ignore SIGTERM.
pub fn ignore_sigterm() {
    // SAFETY: SIG_IGN installs no handler, so nothing of ours runs in a signal's context.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
}

/// Makes every later bind(2) of this process, and of the program it becomes, fail with EPERM, as a security policy
/// does. The filter looks at the call's number alone: the programs of this workspace are all of one architecture.
pub fn refuse_bind() -> io::Result<()> {
    let number = u32::try_from(libc::SYS_bind).map_err(io::Error::other)?;
    let refusal = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    // linux/filter.h: load seccomp_data.nr (offset 0); where it equals, go on, else skip one; answer.
    let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, refusal),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    rustix::thread::set_no_new_privs(true)?;
    // SAFETY: the kernel copies the program, which points to a live array of that length, before it returns.
    match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Gives this process, and the program it becomes, a mount namespace of its own, whose mounts nobody else sees.
pub fn own_mounts() -> io::Result<()> {
    // SAFETY: no descriptors are unshared, and nothing in this program relies on sharing mounts with another thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS)? };
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    Ok(())
}

/// A TUN device of that name in this thread's network namespace: each read and each write is one packet, without a
/// header. It is gone when the file is closed. Reads do not wait.
pub(crate) fn open_tun(name: &str) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).write(true).custom_flags(flags).open("/dev/net/tun")?;
    // linux/if.h's ifreq: the name with its end, the flags (IFF_TUN | IFF_NO_PI), and room for the union's largest member.
    let mut request = [0_u8; 40];
    let (place, rest) = request.split_at_mut(libc::IFNAMSIZ);
    place[..name.len().min(libc::IFNAMSIZ - 1)].copy_from_slice(name.as_bytes());
    rest[..2].copy_from_slice(&((libc::IFF_TUN | libc::IFF_NO_PI) as u16).to_ne_bytes());
    // SAFETY: the descriptor is open, and `request` is a live ifreq, which the call reads and writes.
    match unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) } {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Leaves the port of a bind with port 0 to connect(): IP_BIND_ADDRESS_NO_PORT, for sockets of both families.
pub fn leave_port_to_connect(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option's value is a live integer of that length, which the kernel only reads.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            length,
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What a child used.
pub(crate) struct Usage {
    /// Peak resident memory in KiB (ru_maxrss).
    pub(crate) peak_kib: u64,
    /// Processor time, its own and the kernel's for it.
    pub(crate) processor: Duration,
}

/// Waits for a child of this process: its status, and what it used.
pub(crate) fn wait_with_usage(pid: u32) -> io::Result<(ExitStatus, Usage)> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both pointers are to live locals of the types that wait4(2) writes.
        let answer = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
        if answer == pid {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // SAFETY: rusage is made of integers, for which zeroed memory is valid, and wait4 has filled it.
    let usage = unsafe { usage.assume_init() };
    let span = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    let usage = Usage {
        peak_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
        processor: span(usage.ru_utime) + span(usage.ru_stime),
    };
    Ok((ExitStatus::from_raw(status), usage))
}
