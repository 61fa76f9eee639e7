//! Windows: the recorder as a task of the Task Scheduler, set up and taken away.
//!
//! Source: as in `start_up`; Microsoft's pages on schtasks /Run and /End. The task runs a copy of this program beside the
//! system's journal, where its definition is kept too: what the scheduler gives back is written anew by it. It is ended,
//! and its task removed, before its files change. Left out on purpose: a Windows service, which would need this program to
//! answer the service control manager.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fs, io};

use portolan_core::change::{SetUp, SetUpNow};
use portolan_core::kernel::task_scheduler::{command_line, encoded, recorder_task};
use portolan_core::wire::text::decoded;

use super::{process, start_up};
use crate::Error;

const TASK: &str = "Portolan recorder";
const PROGRAM: &str = "portolan-recorder.exe";
/// How long the scheduler may take to start or end it.
const PATIENCE: Duration = Duration::from_secs(20);
const INTERVAL: Duration = Duration::from_millis(50);

/// Where the recorder is kept.
pub fn recorder_place() -> String {
    format!("the task \"{TASK}\"")
}

fn program() -> Result<PathBuf, Error> {
    Ok(start_up::folder()?.join(PROGRAM))
}

fn definition() -> Result<PathBuf, Error> {
    Ok(start_up::folder()?.join("portolan-recorder.xml"))
}

/// The text of a task that records with these arguments. As the system it may write in any folder.
pub fn recorder_text(arguments: &[String], _folder: &Path) -> Result<String, Error> {
    Ok(recorder_task(&program()?.to_string_lossy(), &command_line(arguments)))
}

/// Whether a recorder can be set up here: always. Whether this window may is asked for with every change.
pub fn recorder_can_be_set_up() -> Result<(), Error> {
    Ok(())
}

/// How it stands.
pub fn recorder_now() -> Result<SetUpNow, Error> {
    let enabled = start_up::is_task(TASK)?;
    let path = definition()?;
    let text = match fs::read(&path) {
        Ok(bytes) => Some(decoded(&bytes).into_owned()),
        Err(gone) if gone.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(Error::new(format!("read {}", path.display()), source)),
    };
    // A task without its definition was made by somebody else.
    let text = text.or_else(|| enabled.then(String::new));
    let running = !running()?.is_empty();
    Ok(SetUpNow { set_up: text.map(|text| SetUp { text, enabled, running }), stale: false })
}

/// The processes of the copy. One whose path may not be seen counts by its name.
fn running() -> Result<Vec<u32>, Error> {
    let program = program()?.to_string_lossy().into_owned();
    let table = process::table().map_err(|source| Error::new("list processes", source))?;
    let is_it = |entry: &process::Entry| {
        entry.name.eq_ignore_ascii_case(PROGRAM)
            && process::path(entry.pid).is_none_or(|path| path.eq_ignore_ascii_case(&program))
    };
    Ok(table.into_iter().filter(is_it).map(|entry| entry.pid).collect())
}

/// Waits until it runs, or does not any more.
fn await_running(wanted: bool) -> Result<(), Error> {
    let start = Instant::now();
    while running()?.is_empty() == wanted {
        if start.elapsed() > PATIENCE {
            let verb = if wanted { "start" } else { "end" };
            let why = format!("it did not {verb} within {} s; taskschd.msc shows why", PATIENCE.as_secs());
            return Err(Error::new(format!("{verb} {}", recorder_place()), io::Error::other(why)));
        }
        sleep(INTERVAL);
    }
    Ok(())
}

/// Sets it up as wanted, or takes it away.
pub(super) fn set_up(wanted: Option<&SetUp>) -> Result<(), Error> {
    let (program, definition) = (program()?, definition()?);
    let has_task = start_up::is_task(TASK)?;
    if !running()?.is_empty() {
        if has_task {
            start_up::schtasks(&["/End", "/TN", TASK])?;
        }
        await_running(false)?;
    }
    if has_task {
        start_up::schtasks(&["/Delete", "/TN", TASK, "/F"])?;
    }
    let failed = |path: &Path, source| Error::new(format!("write {}", path.display()), source);
    let Some(wanted) = wanted else {
        for path in [&program, &definition] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(path, error)),
                _ => {}
            }
        }
        return Ok(());
    };
    let copy = || std::env::current_exe().and_then(|own| fs::copy(own, &program));
    copy().map_err(|source| failed(&program, source))?;
    fs::write(&definition, encoded(&wanted.text)).map_err(|source| failed(&definition, source))?;
    if wanted.enabled {
        start_up::schtasks(&["/Create", "/TN", TASK, "/XML", &definition.to_string_lossy(), "/F"])?;
    }
    if wanted.running && wanted.enabled {
        start_up::schtasks(&["/Run", "/TN", TASK])?;
        await_running(true)?;
    }
    Ok(())
}

/// Tells the one who started this that the first look is kept: the scheduler does not ask.
pub fn tell_started() {}
