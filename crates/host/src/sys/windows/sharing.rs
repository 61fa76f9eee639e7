//! Ports that are given out by other rules than the dynamic range's: the auto-reuse range, and WinNAT's pool.
//!
//! Source: `Get-NetTCPSetting` (no function of the IP helper library tells of the auto-reuse range, and no documented value
//! of the registry), asked once a run since PowerShell takes a second to start; the service WinNAT, and
//! [`portolan_core::kernel::net_nat`] where it runs.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use portolan_core::kernel::net_nat;
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
    ONCE.get_or_init(ask).clone()
}

/// Counters of WinNAT's pool, where it runs: the ports that it keeps, and what it translates. Where nobody asks it, what
/// to type is a gap.
pub(crate) fn winnat(ask: bool) -> Reading<BTreeMap<String, u64>> {
    if !matches!(service::component("winnat"), Ok(ComponentState::Running)) {
        return Reading::default();
    }
    let gap = |reason, detail| {
        let count = "powershell Get-NetNatSession | Group-Object InternalSourceAddress";
        let gap = Gap::new("winnat", reason, detail).with_remedy(count);
        Reading { value: BTreeMap::new(), gaps: vec![gap] }
    };
    if !ask {
        let detail = "WinNAT gives its guests ports of a pool of its own, which is not counted here";
        return gap(GapReason::Unsupported, detail.to_owned());
    }
    match powershell(net_nat::QUESTION) {
        Err(detail) => gap(GapReason::Unsupported, format!("Get-NetNatSession: {detail}")),
        Ok(text) => match net_nat::pool(&text) {
            Ok(pool) => Reading::whole(pool.counters()),
            Err(error) => gap(GapReason::Malformed, error.to_string()),
        },
    }
}

fn ask() -> Reading<Option<PortRange>> {
    let gap = |reason, detail: String| {
        let gap = Gap::new("auto-reuse range", reason, format!("Get-NetTCPSetting: {detail}"));
        Reading { value: None, gaps: vec![gap] }
    };
    match powershell(QUESTION) {
        Err(detail) => gap(GapReason::Unsupported, detail),
        Ok(text) => match auto_reuse_range(&text) {
            Ok(range) => Reading::whole(range),
            Err(error) => gap(GapReason::Malformed, error.to_string()),
        },
    }
}

/// What PowerShell answers, or why it does not.
fn powershell(question: &str) -> Result<String, String> {
    let words = ["-NoProfile", "-NonInteractive", "-Command", question];
    match command::tool(POWERSHELL, &words, TIME, &[0]) {
        Err(error) => Err(error.to_string()),
        Ok((output, _)) if output.trim_ascii().is_empty() => Err("PowerShell says nothing".to_owned()),
        Ok((output, _)) => Ok(wide::of_console(&output)),
    }
}
