//! Linux: the recorder as a unit of systemd, set up and taken away.
//!
//! Source: systemctl(1), systemd.unit(5) (/etc/systemd/system is the administrator's), sd_booted(3), sd_notify(3). A unit that
//! runs is stopped before its file changes: so one that runs was started from the file as it is, wherever this was cut off.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use portolan_core::change::{Action, FileBefore, SetUp, SetUpNow};
use portolan_core::kernel::recorder_unit::{UNIT, recorder_unit};

use super::{own_file, unit};
use crate::Error;

/// Where the unit is.
pub fn recorder_place() -> String {
    format!("/etc/systemd/system/{UNIT}")
}

/// The text of a unit that records with these arguments, and writes in this folder alone.
pub fn recorder_text(arguments: &[String], folder: &Path) -> Result<String, Error> {
    let make = || -> io::Result<String> {
        let program = std::env::current_exe()?;
        let (program, folder) = (told(&program)?, told(folder)?);
        recorder_unit(program, arguments, folder).map_err(io::Error::other)
    };
    make().map_err(|source| Error::new("make a unit for systemd", source))
}

fn told(path: &Path) -> io::Result<&str> {
    path.to_str()
        .ok_or_else(|| io::Error::other(format!("{} is no text; choose a plainer path", path.display())))
}

/// Whether systemd runs here, and what it would start is root's alone; an error says what to do.
pub fn recorder_can_be_set_up() -> Result<(), Error> {
    let refused = |why: String| Err(Error::new("have the system start a recorder", io::Error::other(why)));
    if !Path::new("/run/systemd/system").is_dir() {
        return refused(
            "systemd does not run here; have what starts programs here run `portolan record` \
             (portolan record --install --print shows the unit for another machine)"
                .into(),
        );
    }
    let program = std::env::current_exe().map_err(|source| Error::new("find this program", source))?;
    match writable_by_others(&program) {
        None => Ok(()),
        Some(path) => refused(format!(
            "others than root may change {}, and root would run it: install -m 755 {} /usr/local/bin/portolan, and \
             type it with that one",
            path.display(),
            program.display()
        )),
    }
}

/// The first of a file and the folders above it that belongs to another than root, that anybody may write, or of which
/// that cannot be seen.
fn writable_by_others(file: &Path) -> Option<PathBuf> {
    let is_open = |path: &&Path| {
        path.symlink_metadata().map_or(true, |about| about.uid() != 0 || about.mode() & 0o002 != 0)
    };
    file.ancestors().find(is_open).map(Path::to_owned)
}

/// How it stands.
pub fn recorder_now() -> Result<SetUpNow, Error> {
    let text = own_file::text(&recorder_place())?;
    let seen = unit::seen(UNIT)?;
    let set_up = text.map(|text| SetUp { text, enabled: seen.enabled, running: seen.active });
    Ok(SetUpNow { set_up, stale: seen.stale })
}

/// Ends it, before its file changes.
fn end() -> Result<(), Error> {
    if unit::seen(UNIT)?.active { unit::stop(UNIT) } else { Ok(()) }
}

/// Brings its file back as it was before an action, where it is as the action left it. systemd has still to learn of it.
pub(super) fn restore(action: &Action, before: &FileBefore) -> Result<bool, Error> {
    let Action::SetUpRecorder { place, to, .. } = action else { return Ok(false) };
    if own_file::text(place)?.as_ref() == to.as_ref().map(|to| &to.text) {
        end()?;
        own_file::restore(action, before)?;
    }
    Ok(false)
}

/// Sets it up as wanted, or takes it away.
pub(super) fn set_up(wanted: Option<&SetUp>) -> Result<(), Error> {
    end()?;
    let Some(wanted) = wanted else {
        if unit::seen(UNIT)?.enabled {
            unit::job("disable", UNIT)?;
        }
        own_file::replace(&recorder_place(), None)?;
        return unit::reload();
    };
    own_file::replace(&recorder_place(), Some(&wanted.text))?;
    unit::reload()?;
    unit::job(if wanted.enabled { "enable" } else { "disable" }, UNIT)?;
    if wanted.running { unit::start(UNIT, &[]) } else { Ok(()) }
}

/// Tells systemd, where it started this and wants to know, that the first look is kept.
pub fn tell_started() {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let address = match address.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&address),
    };
    // Whoever does not listen any more does not want to know.
    let _ = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(b"READY=1\n", &address));
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_program_that_others_may_change_is_none_for_root() {
        assert_eq!(writable_by_others(Path::new("/usr/bin/env")), None);
        let folder = portolan_testbed::Namespace::new();
        let file = Path::new("/run").join(format!("{}.program", folder.name()));
        fs::write(&file, "").unwrap();
        let open = |mode, uid| {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            std::os::unix::fs::chown(&file, Some(uid), None).unwrap();
            writable_by_others(&file)
        };
        let seen = [open(0o755, 0), open(0o757, 0), open(0o755, 12_345)];
        fs::remove_file(&file).unwrap();
        assert_eq!(seen, [None, Some(file.clone()), Some(file)]);
    }
}
