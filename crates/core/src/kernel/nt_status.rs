//! The status that Windows' kernel ends a bind or connect with, and the error that Winsock makes of it.
//!
//! Source: `ntstatus.h`; the pages on `bind`, `connect` and `ConnectEx`, and on the error codes of Windows Sockets. Left
//! out on purpose: statuses that neither call ends with; their number stands for them.

/// A status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NtStatus {
    /// Its number.
    pub status: u32,
    /// Its symbol, without `STATUS_`.
    pub name: &'static str,
    /// What Winsock tells the program: one of [`super::error_code::ERROR_CODES`].
    pub winsock: i32,
}

/// No port is left to choose from.
pub const TOO_MANY_ADDRESSES: u32 = 0xC000_0209;
/// The call is not over yet.
pub const PENDING: u32 = 0x103;
/// The socket was closed, or the call taken back, before it was over.
pub const CANCELLED: u32 = 0xC000_0120;

const fn known(status: u32, name: &'static str, winsock: i32) -> NtStatus {
    NtStatus { status, name, winsock }
}

/// Every status, in rising order.
pub static NT_STATUSES: &[NtStatus] = &[
    known(0xC000_000D, "INVALID_PARAMETER", 10022),
    known(0xC000_0017, "NO_MEMORY", 10055),
    known(0xC000_0022, "ACCESS_DENIED", 10013),
    known(0xC000_0043, "SHARING_VIOLATION", 10048),
    known(0xC000_0044, "QUOTA_EXCEEDED", 10055),
    known(0xC000_009A, "INSUFFICIENT_RESOURCES", 10055),
    known(0xC000_00B5, "IO_TIMEOUT", 10060),
    known(0xC000_00BB, "NOT_SUPPORTED", 10045),
    known(0xC000_00BE, "BAD_NETWORK_PATH", 10051),
    known(CANCELLED, "CANCELLED", 10004),
    known(0xC000_013B, "LOCAL_DISCONNECT", 10053),
    known(0xC000_013C, "REMOTE_DISCONNECT", 10054),
    known(0xC000_0141, "INVALID_ADDRESS", 10049),
    known(0xC000_0184, "INVALID_DEVICE_STATE", 10022),
    known(0xC000_0207, "INVALID_ADDRESS_COMPONENT", 10049),
    known(TOO_MANY_ADDRESSES, "TOO_MANY_ADDRESSES", 10055),
    known(0xC000_020A, "ADDRESS_ALREADY_EXISTS", 10048),
    known(0xC000_020C, "CONNECTION_DISCONNECTED", 10054),
    known(0xC000_020D, "CONNECTION_RESET", 10054),
    known(0xC000_0236, "CONNECTION_REFUSED", 10061),
    known(0xC000_0237, "GRACEFUL_DISCONNECT", 10053),
    known(0xC000_0238, "ADDRESS_ALREADY_ASSOCIATED", 10048),
    known(0xC000_023B, "CONNECTION_ACTIVE", 10056),
    known(0xC000_023C, "NETWORK_UNREACHABLE", 10051),
    known(0xC000_023D, "HOST_UNREACHABLE", 10065),
    known(0xC000_023E, "PROTOCOL_UNREACHABLE", 10051),
    known(0xC000_023F, "PORT_UNREACHABLE", 10054),
    known(0xC000_0240, "REQUEST_ABORTED", 10004),
    known(0xC000_0241, "CONNECTION_ABORTED", 10053),
];

/// Whether a status says that a call failed (its two upper bits are set).
pub const fn is_failure(status: u32) -> bool {
    status >> 30 == 3
}

/// The error that a program sees; the status itself, which is negative then, where the table lacks it.
pub fn winsock(status: u32) -> i32 {
    NT_STATUSES
        .iter()
        .find(|known| known.status == status)
        .map_or(status.cast_signed(), |known| known.winsock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::error_code;
    use crate::snapshot::System;

    #[test]
    fn statuses_rise_and_each_has_an_error_that_is_known() {
        assert!(NT_STATUSES.is_sorted_by(|a, b| a.status < b.status));
        for known in NT_STATUSES {
            assert!(is_failure(known.status), "{}", known.name);
            assert!(error_code::by_code(System::Windows, known.winsock).is_some(), "{}", known.name);
        }
    }

    #[test]
    fn a_full_range_is_no_buffers_and_an_unknown_status_stands_for_itself() {
        assert_eq!(winsock(TOO_MANY_ADDRESSES), 10055);
        assert_eq!(winsock(0xC000_FFFF), 0xC000_FFFF_u32.cast_signed());
        assert!(!is_failure(PENDING) && !is_failure(0) && !is_failure(0x8000_0005));
    }
}
