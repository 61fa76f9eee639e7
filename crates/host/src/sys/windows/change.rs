//! Windows: what a plan's steps say, looked at and carried out. Of settings nothing is changed on Windows yet.

use std::io;
use std::path::Path;

use portolan_core::change::{Action, Observed, Place, RangeNow, ReservedNow};

use super::namespace::within;
use super::{close, host, stop};
use crate::{Error, Namespace};

fn not_yet(doing: &str) -> Error {
    let how = "portolan does not change this on Windows yet; use netsh";
    Error::new(doing, io::Error::new(io::ErrorKind::Unsupported, how))
}

/// Which boot this is. There is one network namespace.
pub fn place(namespace: &Namespace) -> Result<Place, Error> {
    within(namespace, || Place { boot: host::boot_id().unwrap_or_default(), namespace: 0, name: None })
}

/// How the dynamic range stands, to change it: an error so far.
pub fn range_now(_namespace: &Namespace) -> Result<RangeNow, Error> {
    Err(not_yet("change the dynamic port range"))
}

/// How reservations stand, to change them: an error so far.
pub fn reserved_now(_namespace: &Namespace) -> Result<ReservedNow, Error> {
    Err(not_yet("change excluded port ranges"))
}

/// What there is now of an action's matter.
pub(crate) fn observe(_namespace: &Namespace, action: &Action) -> Result<Observed, Error> {
    match action {
        Action::StopProcess { process, .. } => stop::process_now(process).map(Observed::Process),
        other if other.is_setting() => Err(not_yet("change this setting")),
        _ => Ok(Observed::Untold),
    }
}

/// Carries an action out.
pub(crate) fn perform(namespace: &Namespace, action: &Action) -> Result<(), Error> {
    match action {
        Action::CloseConnections { connections } => within(namespace, || close::close(connections))?,
        other => stop::perform(other),
    }
}

/// Nothing is left behind by a change that was cut off: there are no files of ours.
pub(crate) fn sweep(_action: &Action) -> Result<(), Error> {
    Ok(())
}

/// Folders that are made get the rights of the folder above, which belongs to this user alone.
pub(crate) fn private_folder(_builder: &mut std::fs::DirBuilder) {}

/// The entries of a folder are durable as they are: NTFS writes them to its log first.
pub(crate) fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Users have no numbers here.
pub fn effective_uid() -> Option<u32> {
    None
}
