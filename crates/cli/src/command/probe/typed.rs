//! Values of probe's options as they are typed, and settings that nobody asked would heed.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use portolan_core::popular::popular;
use portolan_core::probe::{PROBES, Protocol, protocol};
use portolan_core::socket::Transport;

use crate::text::nearest;
use crate::typed::seconds;

/// What --top is, with how far it goes.
pub(super) fn top() -> String {
    let [tcp, udp] = [Transport::Tcp, Transport::Udp].map(|transport| popular(transport).len());
    format!("The N ports that are met most often: up to {tcp} of TCP, {udp} of UDP")
}

/// The id of a protocol.
pub(super) fn known_protocol(text: &str) -> Result<String, String> {
    protocol(text).map(|protocol| protocol.id.to_owned()).ok_or_else(|| {
        let near = nearest(text, PROBES.iter().map(|protocol| protocol.id));
        match near {
            Some(near) => format!("'{text}' is no protocol that Portolan speaks; did you mean {near}?"),
            None => format!("'{text}' is no protocol that Portolan speaks; see: portolan explain"),
        }
    })
}

/// Something that a protocol may be told, as NAME=VALUE.
pub(super) fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("'{text}' is no NAME=VALUE"))?;
    let names: BTreeSet<&str> =
        PROBES.iter().flat_map(|protocol| protocol.settings).map(|setting| setting.name).collect();
    if names.contains(name) {
        return Ok((name.to_owned(), value.to_owned()));
    }
    let names: Vec<&str> = names.into_iter().collect();
    Err(format!("no protocol has a setting '{name}'; use one of {}", names.join(", ")))
}

/// Questions a second.
pub(super) fn rate(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| format!("'{text}' is no rate; type questions a second, from 1"))
}

/// A wait that is one.
pub(super) fn wait(text: &str) -> Result<Duration, String> {
    let wait = seconds(text)?;
    match wait.as_millis() {
        1..=3_600_000 => Ok(wait),
        _ => Err(format!("'{text}' is no wait; type seconds from 0.001 to 3600")),
    }
}

/// What is wrong with the first of these settings that none of these protocols has; none where each is heeded.
pub(super) fn unheeded(set: &[(String, String)], asked: &[&Protocol]) -> Option<String> {
    let has =
        |name: &str| asked.iter().flat_map(|protocol| protocol.settings).any(|known| known.name == name);
    let (name, _) = set.iter().find(|(name, _)| !has(name))?;
    let mut known: Vec<String> = Vec::new();
    for protocol in asked.iter().filter(|protocol| !protocol.settings.is_empty()) {
        let names: Vec<&str> = protocol.settings.iter().map(|setting| setting.name).collect();
        let line = format!("{} has {}", protocol.id, names.join(", "));
        if !known.contains(&line) {
            known.push(line);
        }
    }
    let known = if known.is_empty() { "none of them has any".to_owned() } else { known.join("; ") };
    Some(format!("no protocol that is asked here has a setting '{name}': {known}"))
}
