//! What dism says of optional features: `dism /Online /English /Get-Features /Format:List`.
//!
//! Source: Microsoft's page "DISM Operating System Package Servicing Command-Line Options". `/English` has it say the same
//! in every display language: a line `Feature Name : NAME`, then `State : STATE`. Left out on purpose: every other word.

use crate::change::FeatureState;
use crate::kernel::malformed::Malformed;

const FIELD: &str = "dism /Get-Features";

/// Every feature with its state. An error for an output without one, or with a feature whose state is not understood:
/// an output that was cut off must not read as "not part of this Windows".
pub fn features(text: &str) -> Result<Vec<(String, FeatureState)>, Malformed> {
    let mut features = Vec::new();
    let mut name: Option<String> = None;
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':').map(|(key, value)| (key.trim(), value.trim())) else {
            continue;
        };
        match (key, name.take()) {
            ("Feature Name", None) if !value.is_empty() => name = Some(value.to_owned()),
            ("State", Some(feature)) => features.push((feature, state(value)?)),
            ("Feature Name" | "State", _) => return Err(Malformed::new(FIELD, line)),
            (_, open) => name = open,
        }
    }
    // It ends with a sentence on a line of its own.
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    let ended = text.ends_with('\n') && last.is_some_and(|line| !line.contains(':'));
    if name.is_some() || features.is_empty() || !ended {
        return Err(Malformed::new(FIELD, text));
    }
    Ok(features)
}

fn state(word: &str) -> Result<FeatureState, Malformed> {
    match word {
        "Enabled" => Ok(FeatureState::Enabled),
        "Disabled" => Ok(FeatureState::Disabled),
        "Enable Pending" => Ok(FeatureState::EnablePending),
        "Disable Pending" => Ok(FeatureState::DisablePending),
        "Disabled with Payload Removed" => Ok(FeatureState::Absent),
        other => Err(Malformed::new(FIELD, other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\r\nDeployment Image Servicing and Management tool\r\nVersion: 10.0.19041.3636\r\n\r\n\
        Image Version: 10.0.19045.3693\r\n\r\nFeatures listing for package : Microsoft-Windows-Foundation-Package\r\n\r\n\
        Feature Name : Microsoft-Hyper-V-All\r\nState : Enabled\r\n\r\n\
        Feature Name : Microsoft-Hyper-V\r\nState : Disable Pending\r\n\r\n\
        Feature Name : TelnetClient\r\nState : Disabled with Payload Removed\r\n\r\n\
        The operation completed successfully.\r\n";

    #[test]
    fn features_are_read_with_their_states() {
        let features = features(LIST).unwrap();
        let states: Vec<(&str, FeatureState)> =
            features.iter().map(|(name, state)| (name.as_str(), *state)).collect();
        assert_eq!(
            states,
            [
                ("Microsoft-Hyper-V-All", FeatureState::Enabled),
                ("Microsoft-Hyper-V", FeatureState::DisablePending),
                ("TelnetClient", FeatureState::Absent),
            ]
        );
    }

    #[test]
    fn an_output_cut_anywhere_is_whole_or_an_error() {
        let whole = features(LIST).unwrap();
        let mut read = 0;
        for end in 0..LIST.len() {
            if let Ok(features) = features(&LIST[..end]) {
                assert_eq!(features, whole, "cut at {end}");
                read += 1;
            }
        }
        assert!(read < 50, "{read}");
        assert!(features(&LIST.replace("Pending", "Waiting")).is_err());
    }
}
