//! Optional features and restarts, through `dism.exe` and `shutdown.exe` of the system folder.
//!
//! Source: Microsoft's pages on DISM's package servicing options (3010: done, and takes effect with the next restart) and
//! on shutdown. A feature is turned on with its parents (`/All`), so the states of its whole family are noted before.

use std::time::Duration;

use portolan_core::change::FeatureState;
use portolan_core::kernel::dism;

use super::command;
use crate::Error;

/// dism looks through every package of the system.
const READING: Duration = Duration::from_secs(300);
const CHANGING: Duration = Duration::from_secs(3600);
const RESTARTING: Duration = Duration::from_secs(60);
/// ERROR_SUCCESS_REBOOT_REQUIRED.
const NEEDS_RESTART: i32 = 3010;

/// Every optional feature with its state.
pub(super) fn all() -> Result<Vec<(String, FeatureState)>, Error> {
    let words = ["/Online", "/English", "/Get-Features", "/Format:List"];
    let (output, _) = command::tool("dism.exe", &words, READING, &[0])?;
    dism::features(&String::from_utf8_lossy(&output))
        .map_err(|error| Error::new("read the optional features", std::io::Error::other(error)))
}

/// How a feature stands.
pub(super) fn state(name: &str) -> Result<FeatureState, Error> {
    let mut features = all()?.into_iter();
    let found = features.find(|(feature, _)| feature.eq_ignore_ascii_case(name));
    Ok(found.map_or(FeatureState::Absent, |(_, state)| state))
}

/// Turns a feature on, with its parents, or off. It takes effect with the next restart.
pub(super) fn turn(name: &str, on: bool) -> Result<(), Error> {
    let feature = format!("/FeatureName:{name}");
    let words: &[&str] = match on {
        true => &["/Online", "/English", "/Enable-Feature", &feature, "/All", "/NoRestart", "/Quiet"],
        false => &["/Online", "/English", "/Disable-Feature", &feature, "/NoRestart", "/Quiet"],
    };
    command::tool("dism.exe", words, CHANGING, &[0, NEEDS_RESTART]).map(drop)
}

/// The features whose names begin as this one's does, without itself, and whether each is on or will be with the next
/// restart.
pub(super) fn family(name: &str) -> Result<Vec<(String, bool)>, Error> {
    let of_family = |feature: &str| {
        feature != name && feature.to_ascii_lowercase().starts_with(&name.to_ascii_lowercase())
    };
    let features = all()?.into_iter();
    Ok(features
        .filter(|(feature, _)| of_family(feature))
        .map(|(feature, state)| (feature, is_on(state)))
        .collect())
}

fn is_on(state: FeatureState) -> bool {
    matches!(state, FeatureState::Enabled | FeatureState::EnablePending)
}

/// Turns on what was on and is off now, and off what was off: those above first.
pub(super) fn restore(before: &[(String, bool)]) -> Result<(), Error> {
    if before.is_empty() {
        return Ok(());
    }
    let mut before = before.to_vec();
    before.sort_by_key(|(feature, _)| feature.len());
    for (feature, was_on) in before {
        if is_on(state(&feature)?) != was_on {
            turn(&feature, was_on)?;
        }
    }
    Ok(())
}

/// Asks Windows to restart in a minute, so that people see it coming (`shutdown /a` stops it).
pub(super) fn restart() -> Result<(), Error> {
    let words = ["/r", "/t", "60", "/d", "p:4:1"];
    command::tool("shutdown.exe", &words, RESTARTING, &[0]).map(drop)
}
