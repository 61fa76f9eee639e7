//! Windows: what a plan's steps say, looked at, carried out and read back.
//!
//! Source: netsh (`tables`), the service control manager (`stop`), dism and shutdown (`features`).

use std::io;
use std::path::Path;

use portolan_core::change::{
    Action, FileBefore, NetshStore, Observed, Place, RangeNow, ReservedNow, SettingNow, Table, UNTIL_RESTART,
    WindowsAction, WindowsNow,
};
use portolan_core::kernel::netsh::Excluded;
use portolan_core::port::PortRange;
use portolan_core::range::{Reservation, ReservationKind};

use super::namespace::within;
use super::{close, features, host, kept, service, set_up, settings, start_up, stop, tables};
use crate::{Error, Namespace};

/// Which boot this is. There is one network namespace.
pub fn place(namespace: &Namespace) -> Result<Place, Error> {
    within(namespace, || Place { boot: host::boot_id().unwrap_or_default(), namespace: 0, name: None })
}

/// What is kept of dynamic ranges, and who counts on them.
pub fn range_now(namespace: &Namespace) -> Result<SettingNow<RangeNow>, Error> {
    within(namespace, || SettingNow::Tables(kept::ranges()))
}

/// What is kept of excluded ranges.
pub fn reserved_now(namespace: &Namespace) -> Result<SettingNow<ReservedNow>, Error> {
    within(namespace, || SettingNow::Tables(kept::exclusions()))
}

/// What there is now of an action's matter.
pub(crate) fn observe(_namespace: &Namespace, action: &Action) -> Result<Observed, Error> {
    match action {
        Action::StopProcess { process, .. } => stop::process_now(process).map(Observed::Process),
        Action::SetUpRecorder { .. } => set_up::recorder_now().map(Observed::SetUp),
        Action::Windows(action) => observe_windows(action),
        other if other.is_setting() => Err(not_here("look at this setting")),
        _ => Ok(Observed::Untold),
    }
}

fn observe_windows(action: &WindowsAction) -> Result<Observed, Error> {
    use WindowsAction as A;
    let now = match action {
        A::SetDynamicRange { table, to, .. } => WindowsNow::Range(dynamic(*table, *to)?),
        A::RememberRange { .. } => return Ok(Observed::Untold),
        A::AddExclusion { table, .. } | A::DeleteExclusion { table, .. } | A::LookAgain { table, .. } => {
            WindowsNow::Excluded(excluded(*table)?)
        }
        A::StopService { name } | A::StartService { name } => {
            let state = service::component(name);
            WindowsNow::Service(
                state.map_err(|source| Error::new(format!("ask for the service {name}"), source))?,
            )
        }
        A::EnableFeature { name } | A::DisableFeature { name } => WindowsNow::Feature(features::state(name)?),
        A::AddTask { plan } => WindowsNow::Task(start_up::exists(numbered(*plan)?)?),
        A::RemoveTask { plan } => WindowsNow::Task(start_up::is_left(numbered(*plan)?)?),
        A::Restart { .. } => WindowsNow::Boot(host::boot_id().ok_or_else(|| {
            let why = io::Error::other("Windows does not count its starts here (PrefetchParameters\\BootId)");
            Error::new("tell this start of Windows from the next", why)
        })?),
    };
    Ok(Observed::Windows(now))
}

/// A task is of a plan in the journal.
fn numbered(plan: Option<u64>) -> Result<u64, Error> {
    plan.ok_or_else(|| Error::new("name the start-up task", io::Error::other("the plan has no number yet")))
}

/// The dynamic range of a table. For one that is kept: what is kept, or where that is as wanted what is in force, since
/// both are to be so.
fn dynamic(table: Table, wanted: PortRange) -> Result<PortRange, Error> {
    let range = tables::dynamic(table)?;
    if table.store == NetshStore::Active || range != wanted {
        return Ok(range);
    }
    Ok(tables::dynamic(Table { store: NetshStore::Active, ..table })?)
}

/// What is excluded: in force, since that is what a new one collides with; and for a table that is kept, what is kept
/// beside it, with a mark on what is not.
fn excluded(table: Table) -> Result<Vec<Reservation>, Error> {
    let of_table = |excluded: &Excluded| settings::reservation(table, excluded);
    let mut ranges: Vec<Reservation> =
        tables::excluded(Table { store: NetshStore::Active, ..table })?.iter().map(of_table).collect();
    if table.store == NetshStore::Active {
        return Ok(ranges);
    }
    let kept: Vec<Reservation> = tables::excluded(table)?.iter().map(of_table).collect();
    for range in ranges.iter_mut().filter(|range| range.kind == ReservationKind::Administered) {
        if !kept.contains(range) {
            range.by = Some(UNTIL_RESTART.to_owned());
        }
    }
    let only_kept: Vec<Reservation> =
        kept.into_iter().filter(|kept| ranges.iter().all(|range| range.range != kept.range)).collect();
    ranges.extend(only_kept);
    Ok(ranges)
}

fn not_here(doing: &str) -> Error {
    Error::new(doing, io::Error::new(io::ErrorKind::Unsupported, "Windows has no such setting"))
}

/// Whether this process may carry out what an action says; an error says what is missing. Nothing is touched.
pub(crate) fn permitted(_namespace: &Namespace, action: &Action) -> Result<(), Error> {
    match action {
        Action::Windows(WindowsAction::LookAgain { .. } | WindowsAction::RememberRange { .. }) => Ok(()),
        // A service may be given to users by its own access list: it says so itself.
        Action::Windows(WindowsAction::StopService { .. } | WindowsAction::StartService { .. }) => Ok(()),
        Action::Windows(_) | Action::SetUpRecorder { .. } => elevated(),
        other if other.is_setting() => Err(not_here("change this setting")),
        _ => Ok(()),
    }
}

fn elevated() -> Result<(), Error> {
    if start_up::is_administrator() {
        return Ok(());
    }
    let why = "this window is not elevated; type it again in one opened with \"Run as administrator\"";
    Err(Error::new("change settings of Windows", io::Error::new(io::ErrorKind::PermissionDenied, why)))
}

/// Carries an action out.
pub(crate) fn perform(namespace: &Namespace, action: &Action) -> Result<(), Error> {
    use WindowsAction as A;
    match action {
        Action::SetUpRecorder { to, .. } => set_up::set_up(to.as_ref()),
        Action::CloseConnections { connections } => within(namespace, || close::close(connections))?,
        Action::Windows(A::SetDynamicRange { table, to, .. }) => tables::set_dynamic(*table, *to),
        Action::Windows(A::RememberRange { table, range, moved }) => {
            if !moved.contains(&dynamic(*table, *range)?) {
                return Ok(());
            }
            tables::set_dynamic(*table, *range)?;
            match dynamic(*table, *range)? {
                now if now == *range => Ok(()),
                now => Err(Error::new(
                    format!("put the dynamic range of {table} back to {range}"),
                    io::Error::other(format!("netsh took it, but it is {now}")),
                )),
            }
        }
        Action::Windows(A::AddExclusion { table, range }) => tables::add(*table, *range),
        Action::Windows(A::DeleteExclusion { table, range }) => tables::delete(*table, *range),
        Action::Windows(A::EnableFeature { name }) => features::turn(name, true),
        Action::Windows(A::DisableFeature { name }) => features::turn(name, false),
        Action::Windows(A::AddTask { plan }) => start_up::add(numbered(*plan)?),
        Action::Windows(A::RemoveTask { plan }) => start_up::remove(numbered(*plan)?),
        Action::Windows(A::Restart { .. }) => features::restart(),
        other => stop::perform(other),
    }
}

/// Features of the family of the one that an action turns on or off, and whether each is on: Windows turns those above
/// it on, and those below it off, along with it.
pub(crate) fn features_before(action: &Action) -> Result<Vec<(String, bool)>, Error> {
    match action {
        Action::Windows(WindowsAction::EnableFeature { name } | WindowsAction::DisableFeature { name }) => {
            features::family(name)
        }
        _ => Ok(Vec::new()),
    }
}

/// Turns those features back that are not as they were.
pub(crate) fn restore_features(before: &[(String, bool)]) -> Result<(), Error> {
    features::restore(before)
}

/// The file that an action is about, before it changes it: no setting here is kept in a file.
pub(crate) fn file_before(_action: &Action) -> Result<Option<FileBefore>, Error> {
    Ok(None)
}

/// Brings such a file back: nothing is done, as the answer says.
pub(crate) fn restore_file(_action: &Action, _before: &FileBefore) -> Result<bool, Error> {
    Ok(false)
}

/// Folders that are made get the rights of the folder above, which belongs to this user alone.
pub(crate) fn private_folder(_builder: &mut std::fs::DirBuilder) {}

/// Files that are made get the rights of their folder.
pub(crate) fn private_file(_options: &mut std::fs::OpenOptions) {}

/// The entries of a folder are durable as they are: NTFS writes them to its log first.
pub(crate) fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Users have no numbers here.
pub fn effective_uid() -> Option<u32> {
    None
}
