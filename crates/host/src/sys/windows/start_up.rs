//! The start-up task that goes on with a plan after a restart, and the folder that the system's journal is in.
//!
//! Source: Microsoft's pages on schtasks, `MoveFileExW`. What runs as SYSTEM lies where only administrators write: below
//! Program Files, whose place HKEY_LOCAL_MACHINE tells (a variable of the environment is the user's). So the task runs
//! a copy of this program, beside the journal that it goes on with. Left out on purpose: `schtasks /Create /TR`,
//! whose tasks do not start on battery.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use portolan_core::kernel::task_scheduler::start_up_task;
use windows_sys::Win32::Storage::FileSystem::{MOVEFILE_DELAY_UNTIL_REBOOT, MoveFileExW};

use super::token::Token;
use super::{command, registry, wide};
use crate::Error;

const VERSION: &str = r"SOFTWARE\Microsoft\Windows\CurrentVersion";
const TIME: Duration = Duration::from_secs(60);
/// What schtasks says of a task that is not there.
const NOT_THERE: i32 = 1;

/// The folder of the journal that only administrators write: `C:\Program Files\Portolan\journal`. None where the registry
/// does not name it.
pub fn system_journal() -> Option<PathBuf> {
    let values = registry::named_texts(VERSION).ok()?;
    let (_, folder) = values.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("ProgramFilesDir"))?;
    let folder = PathBuf::from(folder);
    folder.is_absolute().then(|| folder.join("Portolan").join("journal"))
}

/// Whether this process writes that journal: it is elevated.
pub fn is_administrator() -> bool {
    Token::own().is_ok_and(|token| token.is_elevated())
}

fn name(plan: u64) -> String {
    format!("Portolan plan {plan}")
}

/// That folder, or an error.
pub(super) fn folder() -> Result<PathBuf, Error> {
    let why = || io::Error::new(io::ErrorKind::NotFound, "the registry does not name Program Files");
    system_journal().ok_or_else(|| Error::new("find the folder of the system's journal", why()))
}

/// The program that the task of a plan runs.
fn program(plan: u64) -> Result<PathBuf, Error> {
    Ok(folder()?.join(format!("go-on-{plan}.exe")))
}

/// Calls schtasks for a change.
pub(super) fn schtasks(arguments: &[&str]) -> Result<(), Error> {
    command::tool("schtasks.exe", arguments, TIME, &[0]).map(drop)
}

/// Whether there is a task of that name.
pub(super) fn is_task(name: &str) -> Result<bool, Error> {
    let (_, code) = command::tool("schtasks.exe", &["/Query", "/TN", name], TIME, &[0, NOT_THERE])?;
    Ok(code == 0)
}

/// Whether there is the task of a plan. One without its program was made by somebody else.
pub(super) fn exists(plan: u64) -> Result<bool, Error> {
    Ok(is_task(&name(plan))? && program(plan)?.exists())
}

/// Whether anything of it is left to remove: also of one that was cut off while it was made, or removed. The program that
/// runs now goes with the next restart and does not count.
pub(super) fn is_left(plan: u64) -> Result<bool, Error> {
    let program = program(plan)?;
    let runs = std::env::current_exe().is_ok_and(|own| own.as_os_str().eq_ignore_ascii_case(&program));
    Ok(exists(plan)? || program.with_extension("xml").exists() || (program.exists() && !runs))
}

/// Makes it, in the place of another of that name.
pub(super) fn add(plan: u64) -> Result<(), Error> {
    let program = program(plan)?;
    let description =
        format!("Goes on with a change of ports after a restart; portolan undo {plan} takes it back.");
    let task = start_up_task(&program.to_string_lossy(), &format!("resume {plan} --yes"), &description);
    let written = program.with_extension("xml");
    let write = || -> io::Result<()> {
        fs::copy(std::env::current_exe()?, &program)?;
        fs::write(&written, &task)
    };
    write().map_err(|source| Error::new(format!("write {}", program.display()), source))?;
    let made = schtasks(&["/Create", "/TN", &name(plan), "/XML", &written.to_string_lossy(), "/F"]);
    // What is left of it is text, where only administrators write.
    let _ = fs::remove_file(&written);
    made
}

/// Removes it, and its program: where that is the one that runs now, with the next restart.
pub(super) fn remove(plan: u64) -> Result<(), Error> {
    if exists(plan)? {
        schtasks(&["/Delete", "/TN", &name(plan), "/F"])?;
    }
    let program = program(plan)?;
    // There only where making it was cut off.
    let _ = fs::remove_file(program.with_extension("xml"));
    if fs::remove_file(&program).is_err() && program.exists() {
        remove_with_restart(&program);
    }
    Ok(())
}

fn remove_with_restart(program: &Path) {
    let path = wide::zero_ended(&program.to_string_lossy());
    // SAFETY: the path ends with a zero; a null pointer stands for "remove". A copy that stays does nothing by itself.
    unsafe { MoveFileExW(path.as_ptr(), std::ptr::null(), MOVEFILE_DELAY_UNTIL_REBOOT) };
}
