//! Users for whom a bind is tried: not on Windows, where a program needs another user's password to act for them.

use std::io;

use crate::Error;
use crate::sys::Identity;

/// The user of a name or number: always an error here.
pub(crate) fn user(name_or_uid: &str) -> Result<Identity, Error> {
    Err(Error::new(
        format!("act as the user '{}'", name_or_uid.escape_debug()),
        io::Error::new(
            io::ErrorKind::Unsupported,
            "Windows lets no program bind for another user; leave --user out, or type it in a window of \
             that user (runas)",
        ),
    ))
}
