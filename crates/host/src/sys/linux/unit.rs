//! Linux: how systemd's units stand, and stopping and starting them.
//!
//! Source: systemctl(1); systemd's src/core/socket.c (a socket unit does not start while its service runs). Names come
//! after `--`, so none can be taken for an option.

use std::io;
use std::time::Duration;

use portolan_core::change::UnitNow;
use portolan_core::kernel::systemd_unit::{self, PROPERTIES, Unit};

use super::command;
use super::stop::run;
use crate::Error;

/// How long systemd may take to answer: as long as systemctl itself waits for it.
const PATIENCE: Duration = Duration::from_secs(25);

/// How a unit stands. One that does not exist is not active.
pub(super) fn now(unit: &str) -> Result<UnitNow, Error> {
    let seen = seen(unit)?;
    let is_service = |name: &&str| unit.ends_with(".socket") && name.ends_with(".service");
    let services: Vec<&str> = seen.triggers.iter().map(String::as_str).filter(is_service).collect();
    Ok(UnitNow { active: seen.active, services: running(&services)? })
}

/// Those of these units that run.
fn running(units: &[&str]) -> Result<Vec<String>, Error> {
    if units.is_empty() {
        return Ok(Vec::new());
    }
    Ok(shown(units)?.into_iter().filter(|unit| unit.active).map(|unit| unit.id).collect())
}

/// What systemd says of one unit; of one that does not exist, that it is at rest.
pub(super) fn seen(unit: &str) -> Result<Unit, Error> {
    Ok(shown(&[unit])?.into_iter().next().unwrap_or_default())
}

fn shown(units: &[&str]) -> Result<Vec<Unit>, Error> {
    let doing = || format!("ask systemd for {}", units.join(", "));
    let systemctl = command::find("systemctl")
        .ok_or_else(|| Error::new(doing(), io::Error::other("systemctl is not installed")))?;
    let text = command::output_within(&systemctl, &[&["show", PROPERTIES, "--"], units].concat(), PATIENCE)?;
    systemd_unit::units(&String::from_utf8_lossy(&text))
        .map_err(|error| Error::new(doing(), io::Error::other(error)))
}

/// Asks systemd for a job, and waits until it is done.
pub(super) fn job(verb: &str, unit: &str) -> Result<(), Error> {
    run("systemctl", &[verb, "--", unit]).map_err(|error| {
        let why = format!("{}; systemctl status {unit} tells why", error.source);
        Error::new(error.doing, io::Error::new(error.source.kind(), why))
    })
}

/// Has systemd read the files of its units anew.
pub(super) fn reload() -> Result<(), Error> {
    run("systemctl", &["daemon-reload"])
}

/// Stops a unit, and waits until it has stopped.
pub(super) fn stop(unit: &str) -> Result<(), Error> {
    job("stop", unit)
}

/// Starts a unit, and what ran on it. Cut off anywhere, the same once more does what is left.
pub(super) fn start(unit: &str, services: &[String]) -> Result<(), Error> {
    if !services.is_empty() && !now(unit)?.active {
        services.iter().try_for_each(|service| stop(service))?;
    }
    job("start", unit)?;
    services.iter().try_for_each(|service| job("start", service))
}
