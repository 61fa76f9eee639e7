//! The name of an address, as the system knows it.
//!
//! Source: getnameinfo(3): the hosts file, then the name servers, as nsswitch.conf(5) says. Left out on purpose: every
//! other name of the address; the first is the one that people mean.

use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::SockAddr;

/// NI_MAXHOST.
const LONGEST: usize = 1025;

/// The name of an address; an error where it has none. It may take as long as the name server.
pub(crate) fn name_of(address: IpAddr) -> io::Result<String> {
    let address = SockAddr::from(SocketAddr::new(address, 0));
    let mut name = [0_u8; LONGEST];
    // SAFETY: the address lives through the call and has that length; `name` is where so many bytes may be written; the
    // service is not asked for.
    let result = unsafe {
        libc::getnameinfo(
            address.as_ptr().cast(),
            address.len(),
            name.as_mut_ptr().cast(),
            LONGEST as libc::socklen_t,
            std::ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    };
    let none = || io::Error::new(io::ErrorKind::NotFound, "it has no name");
    match (result, CStr::from_bytes_until_nul(&name)) {
        (0, Ok(name)) => Ok(name.to_string_lossy().into_owned()),
        (libc::EAI_AGAIN, _) => Err(io::Error::other("no name server answered")),
        (libc::EAI_SYSTEM, _) => Err(io::Error::last_os_error()),
        _ => Err(none()),
    }
}
