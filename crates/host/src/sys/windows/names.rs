//! The name of an address, as the system knows it.
//!
//! Source: Winsock's GetNameInfoW. Left out on purpose: every other name of the address; the first is the one that people
//! mean.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::SockAddr;
use windows_sys::Win32::Networking::WinSock::{GetNameInfoW, NI_NAMEREQD, WSATRY_AGAIN};

use super::bind::start_winsock;

/// NI_MAXHOST.
const LONGEST: usize = 1025;

/// The name of an address; an error where it has none. It may take as long as the name server.
pub(crate) fn name_of(address: IpAddr) -> io::Result<String> {
    start_winsock();
    let address = SockAddr::from(SocketAddr::new(address, 0));
    let mut name = [0_u16; LONGEST];
    // SAFETY: the address lives through the call and has that length; `name` is where so many units may be written; the
    // service is not asked for.
    let result = unsafe {
        GetNameInfoW(
            address.as_ptr().cast(),
            address.len(),
            name.as_mut_ptr(),
            LONGEST as u32,
            std::ptr::null_mut(),
            0,
            NI_NAMEREQD as i32,
        )
    };
    match result {
        0 => {
            let length = name.iter().position(|unit| *unit == 0).unwrap_or(LONGEST);
            Ok(String::from_utf16_lossy(name.split_at(length).0))
        }
        WSATRY_AGAIN => Err(io::Error::other("no name server answered")),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "it has no name")),
    }
}
