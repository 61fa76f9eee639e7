//! Windows' TCP settings, as PowerShell is asked for them: a line for each template, `NAME START COUNT`.
//!
//! Source: Microsoft's pages on `Get-NetTCPSetting` and MSFT_NetTCPSetting (`AutoReusePortRangeStartPort`,
//! `AutoReusePortRangeNumberOfPorts`; 0 ports: off). Left out on purpose: which template a connection gets; they are
//! expected to agree, and where they do not nothing is told.

use super::malformed::Malformed;
use crate::port::PortRange;

/// What PowerShell is asked.
pub const QUESTION: &str = "Get-NetTCPSetting | ForEach-Object { '{0} {1} {2}' -f $_.SettingName, \
                            $_.AutoReusePortRangeStartPort, $_.AutoReusePortRangeNumberOfPorts }";

/// The range that connect() draws ports from which several destinations share; none where that is off.
///
/// # Errors
/// There is no line, one is none of that kind, or two disagree.
pub fn auto_reuse_range(text: &str) -> Result<Option<PortRange>, Malformed> {
    let mut found: Option<Option<PortRange>> = None;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let malformed = || Malformed::new("Get-NetTCPSetting", line.trim());
        let mut words = line.split_whitespace();
        let (Some(_), Some(start), Some(count), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(malformed());
        };
        let range = range(start, count).ok_or_else(malformed)?;
        if found.is_some_and(|known| known != range) {
            return Err(malformed());
        }
        found = Some(range);
    }
    found.ok_or_else(|| Malformed::new("Get-NetTCPSetting", ""))
}

/// A range by its first port and how many there are; the inner none for 0 of them.
pub fn range(start: &str, count: &str) -> Option<Option<PortRange>> {
    let (start, count): (u16, u16) = (start.parse().ok()?, count.parse().ok()?);
    let Some(more) = count.checked_sub(1) else { return Some(None) };
    PortRange::new(start, start.checked_add(more)?).ok().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_that_agree_tell_the_range() {
        let off = "Automatic 0 0\r\nInternetCustom 0 0\r\n\r\n";
        assert_eq!(auto_reuse_range(off), Ok(None));
        let on = "Automatic 30000 10000\nInternet 30000 10000\n";
        assert_eq!(auto_reuse_range(on), Ok(PortRange::new(30000, 39999).ok()));
    }

    #[test]
    fn what_is_not_understood_is_no_answer() {
        for text in [
            "",
            "Automatic 0 0\nInternet 30000 10\n",
            "Automatic 60000 10000",
            "Automatic x 0",
            "Get-NetTCPSetting : Access denied",
        ] {
            assert!(auto_reuse_range(text).is_err(), "{text}");
        }
    }
}
