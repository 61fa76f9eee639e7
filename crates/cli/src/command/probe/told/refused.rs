//! Refusals of this system itself, in its own words, and what to type where it knows no way.

use portolan_core::probe::{PortState, Reason};

use super::Result;
use crate::typed::zone_hint;

/// Addresses without a way that are told, a line each.
const MOST_WITHOUT_WAY: usize = 10;

/// What this system says with that code.
pub(in super::super) fn refused(code: i32) -> String {
    format!("refused by this system: {}", std::io::Error::from_raw_os_error(code))
}

/// The reason of a verdict, with this system's own words for its own refusals.
pub(super) fn why(reason: Reason) -> String {
    match reason {
        Reason::System { code } => refused(code),
        reason => reason.to_string(),
    }
}

/// A line for each address to which this system itself knows no way.
pub(super) fn without_way(results: &[Result]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for result in results.iter().filter(|result| result.state == PortState::Unreachable) {
        let Reason::System { code } = result.reason else { continue };
        let line = zone_hint(&result.host, result.address).unwrap_or_else(|| {
            let why = std::io::Error::from_raw_os_error(code);
            // An address of one link is none without its zone.
            let to = if result.host.contains('%') { &result.host } else { &result.address.to_string() };
            format!("no way leads from here to {to}: {why}; see: portolan probe {to}")
        });
        if !lines.contains(&line) && lines.len() < MOST_WITHOUT_WAY {
            lines.push(line);
        }
    }
    lines
}
