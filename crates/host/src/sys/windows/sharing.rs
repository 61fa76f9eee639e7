//! Ports that are given out by other rules than the dynamic range's: the auto-reuse range, and WinNAT's pool.
//!
//! Source: `Get-NetTCPSetting` (no function of the IP helper library tells of the auto-reuse range, and no documented value
//! of the registry), asked once a run since PowerShell takes a second to start; the service WinNAT. Left out on purpose:
//! what WinNAT has given out, which `Get-NetNatSession` alone lists, a row for each of what may be many thousands.

use std::sync::OnceLock;

use portolan_core::kernel::tcp_setting::{QUESTION, auto_reuse_range};
use portolan_core::port::PortRange;
use portolan_core::snapshot::{ComponentState, Gap, GapReason, Reading};

use super::{command, service, wide};

/// How long PowerShell may take.
const TIME: std::time::Duration = std::time::Duration::from_secs(15);
const POWERSHELL: &str = r"WindowsPowerShell\v1.0\powershell.exe";

/// The range that TCP connect() draws from whose ports several destinations share; none where there is none.
pub(crate) fn auto_reuse() -> Reading<Option<PortRange>> {
    static ONCE: OnceLock<Reading<Option<PortRange>>> = OnceLock::new();
    let mut reading = ONCE.get_or_init(ask).clone();
    if matches!(service::component("winnat"), Ok(ComponentState::Running)) {
        let detail = "WinNAT gives its guests ports of a pool of its own, which is not counted";
        let count = "powershell Get-NetNatSession | Group-Object InternalSourceAddress";
        reading.gaps.push(Gap::new("winnat", GapReason::Unsupported, detail).with_remedy(count));
    }
    reading
}

fn ask() -> Reading<Option<PortRange>> {
    let gap = |reason, detail: String| {
        let gap = Gap::new("auto-reuse range", reason, format!("Get-NetTCPSetting: {detail}"));
        Reading { value: None, gaps: vec![gap] }
    };
    let words = ["-NoProfile", "-NonInteractive", "-Command", QUESTION];
    match command::tool(POWERSHELL, &words, TIME, &[0]) {
        Err(error) => gap(GapReason::Unsupported, error.to_string()),
        Ok((output, _)) if output.trim_ascii().is_empty() => {
            gap(GapReason::Unsupported, "PowerShell says nothing".to_owned())
        }
        Ok((output, _)) => match auto_reuse_range(&wide::of_console(&output)) {
            Ok(range) => Reading::whole(range),
            Err(error) => gap(GapReason::Malformed, error.to_string()),
        },
    }
}
