//! dism: optional features, on and off with the next start.

use std::fmt::Write as _;

use crate::Said;
use crate::state::State;

/// Done, and takes effect with the next restart.
const NEEDS_RESTART: i32 = 3010;

pub(crate) fn dism(state: &mut State, words: &[&str]) -> Said {
    if words.contains(&"/Get-Features") {
        let mut text = "\r\nDeployment Image Servicing and Management tool\r\nVersion: 10.0.19041.3636\r\n\r\n\
            Image Version: 10.0.19045.3693\r\n\r\nFeatures listing for package : Microsoft-Windows-Foundation-Package\r\n\r\n"
            .to_owned();
        for (name, word) in &state.features {
            let _ = write!(text, "Feature Name : {name}\r\nState : {word}\r\n\r\n");
        }
        text.push_str("The operation completed successfully.\r\n");
        return (text.into_bytes(), 0);
    }
    let on = words.contains(&"/Enable-Feature");
    let name = words.iter().find_map(|word| word.strip_prefix("/FeatureName:")).unwrap_or_default();
    if !state.features.contains_key(name) || !words.contains(&"/NoRestart") {
        return (
            format!("\r\nError: 0x800f080c\r\n\r\nFeature name {name} is unknown.\r\n").into_bytes(),
            12,
        );
    }
    let (parents, children) = family(name);
    for feature in [name].into_iter().chain(if on { parents } else { children }) {
        if let Some(word) = state.features.get_mut(feature) {
            *word = turned(word, on).to_owned();
        }
    }
    (Vec::new(), NEEDS_RESTART)
}

/// The features above one, which `/All` turns on with it, and those below, which go off with it.
fn family(name: &str) -> (Vec<&'static str>, Vec<&'static str>) {
    match name {
        "Microsoft-Hyper-V" => (vec!["Microsoft-Hyper-V-All"], vec!["Microsoft-Hyper-V-Services"]),
        _ => (Vec::new(), Vec::new()),
    }
}

fn turned(word: &str, on: bool) -> &'static str {
    match (word, on) {
        ("Enabled" | "Disable Pending", true) => "Enabled",
        (_, true) => "Enable Pending",
        ("Enabled" | "Disable Pending", false) => "Disable Pending",
        (_, false) => "Disabled",
    }
}
