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

/// The longest setting: a list of reserved ports that is every second port has 190 KiB.
const SETTING: usize = 512 << 10;

/// A setting below /proc/sys as text, by its dotted key. In one read(): the kernel gives a list to the first one alone,
/// and whatever that has no room for is lost.
pub(super) fn setting(key: &str) -> io::Result<String> {
    let mut buffer = vec![0; SETTING];
    let length = std::fs::File::open(setting_path(key))?.read(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Where a setting stands.
pub(super) fn setting_path(key: &str) -> String {
    format!("/proc/sys/{}", key.replace('.', "/"))
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
