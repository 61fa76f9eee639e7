//! The host: its name, its build, and what the one who looks may do.
//!
//! Source: `GetComputerNameExW`, `RtlGetVersion`, the registry (`UBR`, the update's number; `BootId`, counted up at each
//! start; `MachineGuid`). What cannot be read stays empty: every other reading says for itself what it could not see.

use std::time::Duration;

use portolan_core::kernel::services::Services;
use portolan_core::snapshot::{Host, System};
use windows_sys::Wdk::System::SystemServices::RtlGetVersion;
use windows_sys::Win32::System::SystemInformation::{
    ComputerNamePhysicalDnsHostname, GetComputerNameExW, OSVERSIONINFOW,
};

use super::token::Token;
use super::{command, process, registry, wide};

const VERSION: &str = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion";
const PREFETCH: &str =
    r"SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters";
/// Windows makes `MachineGuid` here when it is set up.
const CRYPTOGRAPHY: &str = r"SOFTWARE\Microsoft\Cryptography";
/// Bytes of the services file that are read.
const LONGEST: u64 = 4 << 20;

/// The host as this process sees it.
pub(crate) fn host() -> Host {
    let token = Token::own().ok();
    Host {
        name: name(),
        system: System::Windows,
        release: release(),
        boot_id: boot_id(),
        user: token.as_ref().and_then(Token::user),
        privileged: token.is_some_and(|token| token.is_elevated()),
        // There are no privileged ports.
        may_bind_privileged: true,
        ..Host::default()
    }
}

/// The id that this Windows was given when it was set up.
pub(crate) fn machine() -> Option<String> {
    let texts = registry::named_texts(CRYPTOGRAPHY).ok()?;
    texts
        .into_iter()
        .find(|(name, text)| name.eq_ignore_ascii_case("MachineGuid") && !text.is_empty())
        .map(|(_, id)| id)
}

fn name() -> String {
    let mut name = [0_u16; 256];
    let mut length = name.len() as u32;
    // SAFETY: the text has the length that is handed over.
    let done =
        unsafe { GetComputerNameExW(ComputerNamePhysicalDnsHostname, name.as_mut_ptr(), &raw mut length) };
    if done == 0 { String::new() } else { wide::text(&name) }
}

/// `10.0.19045.3803`.
fn release() -> String {
    let mut version =
        OSVERSIONINFOW { dwOSVersionInfoSize: size_of::<OSVERSIONINFOW>() as u32, ..Default::default() };
    // SAFETY: `version` says its own size.
    if unsafe { RtlGetVersion(&raw mut version) } != 0 {
        return String::new();
    }
    let OSVERSIONINFOW { dwMajorVersion: major, dwMinorVersion: minor, dwBuildNumber: build, .. } = version;
    match registry::number(VERSION, "UBR") {
        Ok(Some(update)) => format!("{major}.{minor}.{build}.{update}"),
        _ => format!("{major}.{minor}.{build}"),
    }
}

/// What tells this boot from others; none where Windows does not count them.
pub(super) fn boot_id() -> Option<String> {
    registry::number(PREFETCH, "BootId").ok().flatten().map(|number| format!("boot {number}"))
}

/// Names of ports, of the system folder's `drivers\etc\services`; without that file none.
pub(crate) fn services() -> Services {
    use std::io::Read as _;
    let read = || -> std::io::Result<String> {
        let file = std::fs::File::open(command::system_folder()?.join(r"drivers\etc\services"))?;
        let mut bytes = Vec::new();
        file.take(LONGEST).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().map(|text| Services::parse(&text)).unwrap_or_default()
}

/// Processor time of this process so far, all threads together.
pub fn processor_time() -> Duration {
    process::own_processor_time()
        .map_or(Duration::ZERO, |units| Duration::from_nanos(units.saturating_mul(100)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_a_guid_once_windows_made_one() {
        // Wine makes it when a program first asks for cryptography.
        let id = machine().unwrap_or_else(|| "00000000-0000-0000-0000-000000000000".to_owned());
        assert!(id.len() == 36 && id.chars().all(|c| c == '-' || c.is_ascii_hexdigit()), "{id}");
    }

    #[test]
    fn the_host_has_a_name_and_a_build() {
        let host = host();
        assert!(!host.name.is_empty());
        assert_eq!(host.system, System::Windows);
        assert!(host.release.starts_with("10.0."), "{}", host.release);
        assert!(host.may_bind_privileged);
    }
}
