//! Whose a process is, and whether this one is elevated: what access tokens say.
//!
//! Source: `OpenProcessToken`, `GetTokenInformation` (TokenUser, TokenElevation), `LookupAccountSidW`.

use std::io;
use std::os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle};

use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, HANDLE};
use windows_sys::Win32::Security::{
    GetTokenInformation, LookupAccountSidW, TOKEN_ELEVATION, TOKEN_INFORMATION_CLASS, TOKEN_QUERY,
    TOKEN_USER, TokenElevation, TokenUser,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use super::buffer::Buffer;
use super::wide;

/// An access token.
pub(super) struct Token(OwnedHandle);

impl Token {
    /// That of this process.
    pub(super) fn own() -> io::Result<Self> {
        // SAFETY: it takes nothing and gives a handle that needs no closing.
        Self::of(unsafe { GetCurrentProcess() })
    }

    /// That of a process; the handle must allow limited queries.
    pub(super) fn of(process: HANDLE) -> io::Result<Self> {
        let mut token = std::ptr::null_mut();
        // SAFETY: `token` is where the function may write one handle.
        if unsafe { OpenProcessToken(process, TOKEN_QUERY, &raw mut token) } == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just made this handle, and nothing else owns it.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(token) }))
    }

    fn information(&self, class: TOKEN_INFORMATION_CLASS) -> io::Result<Buffer> {
        Buffer::filled(|pointer, size| {
            let length = *size;
            // SAFETY: the buffer has that length; `size` is where the function may write the one it needs.
            let done = unsafe {
                GetTokenInformation(self.0.as_raw_handle(), class, pointer, length, &raw mut *size)
            };
            if done != 0 {
                return 0;
            }
            io::Error::last_os_error().raw_os_error().map_or(ERROR_INSUFFICIENT_BUFFER, i32::cast_unsigned)
        })
    }

    /// Whether it has an administrator's full rights.
    pub(super) fn is_elevated(&self) -> bool {
        let Ok(buffer) = self.information(TokenElevation) else { return false };
        let Some(pointer) = buffer.at::<TOKEN_ELEVATION>(0) else { return false };
        // SAFETY: the buffer holds the structure of that class, aligned.
        unsafe { &*pointer }.TokenIsElevated != 0
    }

    /// Its user as `DOMAIN\name`.
    pub(super) fn user(&self) -> Option<String> {
        let buffer = self.information(TokenUser).ok()?;
        let pointer = buffer.at::<TOKEN_USER>(0)?;
        // SAFETY: the buffer holds the structure of that class, aligned.
        let sid = unsafe { &*pointer }.User.Sid;
        let (mut name, mut domain) = ([0_u16; 257], [0_u16; 257]);
        let (mut name_length, mut domain_length) = (name.len() as u32, domain.len() as u32);
        let mut kind = 0;
        // SAFETY: the identifier lies in the buffer, which lives; both texts have the lengths that are handed over.
        let found = unsafe {
            LookupAccountSidW(
                std::ptr::null(),
                sid,
                name.as_mut_ptr(),
                &raw mut name_length,
                domain.as_mut_ptr(),
                &raw mut domain_length,
                &raw mut kind,
            )
        };
        (found != 0).then(|| match (wide::text(&domain), wide::text(&name)) {
            (domain, name) if domain.is_empty() => name,
            (domain, name) => format!("{domain}\\{name}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_user_with_a_domain() {
        let user = Token::own().unwrap().user().unwrap();
        assert!(user.split_once('\\').is_some_and(|(domain, name)| !domain.is_empty() && !name.is_empty()));
    }
}
