//! The links below `/proc/PID/fd`: which of them are sockets.
//!
//! Source: proc_pid_fd(5): `socket:[N]`, N being the socket's inode in sockfs, 32 bits wide; proc_pid_stat(5) for
//! processes that have no descriptors at all. Left out on purpose: every other kind of file.

/// The inode of a socket, from what its link says; nothing for other files.
pub fn socket_inode(link: &[u8]) -> Option<u32> {
    let digits = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    decimal(digits)
}

/// A descriptor number or a process id, from the name of a directory entry; nothing for other names.
pub fn number(name: &[u8]) -> Option<u32> {
    decimal(name)
}

/// Whether `/proc/PID/stat` is that of a kernel thread: field 9, `flags`, has PF_KTHREAD.
pub fn is_kernel_thread(stat: &[u8]) -> bool {
    const PF_KTHREAD: u32 = 0x0020_0000;
    // The name, in parentheses, may hold parentheses and spaces itself: fields count from the last one.
    let Some(end) = stat.iter().rposition(|byte| *byte == b')') else { return false };
    let fields = stat.get(end + 1..).unwrap_or_default();
    let flags = fields.split(|byte| *byte == b' ').filter(|field| !field.is_empty()).nth(6);
    flags.and_then(decimal).is_some_and(|flags| flags & PF_KTHREAD != 0)
}

fn decimal(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u32, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { number.checked_mul(10)?.checked_add(digit.into()) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_socket_link_has_an_inode() {
        assert_eq!(socket_inode(b"socket:[4294967295]"), Some(u32::MAX));
        for link in [
            "",
            "socket:[",
            "socket:[]",
            "socket:[12",
            "socket:[4294967296]",
            "socket:[-1]",
            "socket:[1 ]",
            "pipe:[12]",
            "/tmp/socket:[12]",
            "anon_inode:[eventpoll]",
            "socket:[12] (deleted)",
        ] {
            assert_eq!(socket_inode(link.as_bytes()), None, "{link}");
        }
    }

    #[test]
    fn a_kernel_thread_is_known_by_its_flags_whatever_its_name() {
        assert!(is_kernel_thread(b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 5"));
        assert!(!is_kernel_thread(b"9 (a) S 0 0 0 0 -1 2129984 0) S 1 9 9 0 -1 4194304 0 0 0"));
        for cut in ["", "2", "2 (kthreadd", "2 (kthreadd)", "2 (kthreadd) S 0 0 0 0 -1"] {
            assert!(!is_kernel_thread(cut.as_bytes()), "{cut}");
        }
    }

    #[test]
    fn only_digits_are_a_number() {
        assert_eq!(number(b"0"), Some(0));
        for name in ["", ".", "..", "self", "+1", "1a", "99999999999"] {
            assert_eq!(number(name.as_bytes()), None, "{name}");
        }
    }
}
