//! Every protocol of `PROBES` against replies from nowhere. `PORTOLAN_PROTOCOL=ldap` fuzzes one alone.
//!
//! The input: which protocol, what carries it, then replies, each behind its length (two bytes).
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use portolan_core::probe::{self, PROBES, Protocol};
use portolan_core::rehearsal;

static ONLY: LazyLock<Option<&Protocol>> = LazyLock::new(|| {
    let name = std::env::var("PORTOLAN_PROTOCOL").ok().filter(|name| !name.is_empty())?;
    Some(probe::protocol(&name).unwrap_or_else(|| panic!("there is no protocol {name}")))
});

fuzz_target!(|data: &[u8]| {
    let [which, how, replies @ ..] = data else { return };
    let protocol = ONLY.unwrap_or(PROBES[usize::from(*which) % PROBES.len()]);
    let via = protocol.via[usize::from(*how) % protocol.via.len()];
    let request = rehearsal::request(protocol, via);
    rehearsal::is_bounded(&rehearsal::play(protocol, &request, &parts(replies)), protocol.id);
});

/// At most eight replies; the last one may be shorter than it says.
fn parts(mut rest: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let [high, low, after @ ..] = rest
        && parts.len() < 8
    {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (part, left) = after.split_at(length);
        parts.push(part);
        rest = left;
    }
    parts
}
