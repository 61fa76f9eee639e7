//! What `systemctl show --property=Id,ActiveState,Triggers` says of units.
//!
//! Source: systemctl(1) show; org.freedesktop.systemd1(5) (`ActiveState`, `Triggers`, `UnitFileState`,
//! `NeedDaemonReload`).
//! Left out on purpose: sub-states, which differ from one type of unit to the next.

use crate::kernel::malformed::Malformed;
use crate::remedy::is_name;

/// The properties that are asked for, in whatever order they are told.
pub const PROPERTIES: &str = "--property=Id,ActiveState,Triggers,UnitFileState,NeedDaemonReload";

/// One unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// Its name.
    pub id: String,
    /// Whether it runs or listens, or is about to; one that is just stopping is not yet stopped.
    pub active: bool,
    /// The units that it starts: of a socket unit its service.
    pub triggers: Vec<String>,
    /// Whether it is started with the system.
    pub enabled: bool,
    /// Whether its file was changed since systemd read it.
    pub stale: bool,
}

/// The units in the order in which they were asked for. A blank line parts them.
pub fn units(text: &str) -> Result<Vec<Unit>, Malformed> {
    let blocks = text.split("\n\n").filter(|block| !block.trim().is_empty());
    blocks.map(unit).collect()
}

fn unit(block: &str) -> Result<Unit, Malformed> {
    let of = |name: &str| {
        block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::trim_end)
    };
    let missing = || Malformed::new("systemctl show", block);
    let active = match of("ActiveState").ok_or_else(missing)? {
        "active" | "reloading" | "refreshing" | "activating" | "deactivating" | "maintenance" => true,
        "inactive" | "failed" => false,
        other => return Err(Malformed::new("ActiveState", other)),
    };
    let names = of("Triggers").unwrap_or_default().split(' ').filter(|name| !name.is_empty());
    let triggers = names
        .map(|name| is_name(name).then(|| name.to_owned()).ok_or_else(|| Malformed::new("Triggers", name)))
        .collect::<Result<_, _>>()?;
    Ok(Unit {
        id: of("Id").ok_or_else(missing)?.to_owned(),
        active,
        triggers,
        enabled: of("UnitFileState") == Some("enabled"),
        stale: of("NeedDaemonReload") == Some("yes"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Recorded from systemd 252.
    const SHOWN: &str = "Id=echo.socket\nTriggers=echo.service\nActiveState=active\n\n\
                         Id=nothing-here.service\nActiveState=inactive\n";

    #[test]
    fn units_tell_whether_they_run_and_what_they_start() {
        let unit = |id: &str, active, triggers: &[&str]| Unit {
            id: id.into(),
            active,
            triggers: triggers.iter().map(ToString::to_string).collect(),
            ..Unit::default()
        };
        let expected =
            [unit("echo.socket", true, &["echo.service"]), unit("nothing-here.service", false, &[])];
        assert_eq!(units(SHOWN), Ok(expected.to_vec()));
        assert_eq!(units(""), Ok(Vec::new()));
        let set_up = "NeedDaemonReload=yes\nId=a.service\nUnitFileState=enabled\nActiveState=inactive\n";
        let expected = Unit { enabled: true, stale: true, ..unit("a.service", false, &[]) };
        assert_eq!(units(set_up), Ok(vec![expected]));
        for (state, active) in [("failed", false), ("deactivating", true), ("activating", true)] {
            assert_eq!(
                units(&format!("ActiveState={state}\nId=a.service\n")),
                Ok(vec![unit("a.service", active, &[])])
            );
        }
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert_eq!(units("Id=a.service\n").unwrap_err().field, "systemctl show");
        assert_eq!(units("ActiveState=active\n").unwrap_err().field, "systemctl show");
        assert_eq!(units("Id=a.service\nActiveState=asleep\n").unwrap_err().field, "ActiveState");
        let odd = "Id=a.socket\nActiveState=active\nTriggers=--force\n";
        assert_eq!(units(odd).unwrap_err().field, "Triggers");
    }
}
