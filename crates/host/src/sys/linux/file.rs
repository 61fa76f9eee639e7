//! Files of the system, read to a limit: what is in them may be anyone's.
//!
//! Bytes that are no UTF-8 become replacement characters, so that one odd name does not hide a whole file.

use std::io::{self, Read};
use std::path::Path;

use portolan_core::snapshot::{Gap, GapReason};

/// For files that are short by nature.
pub(super) const SHORT: u64 = 64 << 10;
/// For files that grow with the machine.
pub(super) const LONG: u64 = 4 << 20;

/// The bytes of a file, at most `limit`; more is an error of kind `FileTooLarge`.
pub(super) fn bytes(path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// The text of a file, at most `limit` bytes.
pub(super) fn text(path: impl AsRef<Path>, limit: u64) -> io::Result<String> {
    bytes(path, limit).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Why a file or a tool could not be read, as a gap's reason.
pub(super) fn reason(error: &io::Error) -> GapReason {
    match error.kind() {
        io::ErrorKind::PermissionDenied => GapReason::Denied,
        io::ErrorKind::FileTooLarge => GapReason::TooLarge,
        io::ErrorKind::InvalidData => GapReason::Malformed,
        _ => GapReason::Unsupported,
    }
}

/// The gap that a file leaves.
pub(super) fn gap(what: &str, path: &str, error: &io::Error) -> Gap {
    let gap = Gap::new(what, reason(error), format!("{path}: {error}"));
    if gap.reason == GapReason::Denied { gap.with_remedy("run as root") } else { gap }
}
