//! `Get-NetTCPSetting`, as PowerShell prints it: a list of properties for each template.
//!
//! Source: Microsoft's page on `Get-NetTCPSetting`; names of properties are English in every display language. Of all of
//! them the auto-reuse range alone is read ([`crate::kernel::tcp_setting`]). Left out on purpose: which template a
//! connection gets; where two disagree it is told as a gap.

use super::{Format, Gathering, Place};
use crate::kernel::tcp_setting;
use crate::listing::columns::property;
use crate::snapshot::{Gap, GapReason, System};

pub(super) const FORMAT: Format = Format {
    name: "Get-NetTCPSetting",
    system: Some(System::Windows),
    begins: |place| property(place.here()).is_some_and(|(name, _)| name == "SettingName"),
    read,
};

fn read(place: &Place<'_>, gathering: &mut Gathering) -> usize {
    let is_setting = |text: &str| text.contains(" : ") || text.trim_end().ends_with(" :");
    let length = place.lines.iter().take_while(|line| line.is_blank() || is_setting(line.text)).count();
    let lines = &place.lines[..length];
    let of = |wanted: &str| -> Vec<&str> {
        let properties = lines.iter().filter_map(|line| property(line.text));
        properties.filter(|(name, _)| *name == wanted).map(|(_, value)| value).collect()
    };
    let starts = of("AutoReusePortRangeStartPort").into_iter();
    let ranges: Vec<_> = starts
        .zip(of("AutoReusePortRangeNumberOfPorts"))
        .map(|(start, count)| tcp_setting::range(start, count))
        .collect();
    let agreed =
        ranges.first().copied().flatten().filter(|first| ranges.iter().all(|one| *one == Some(*first)));
    match agreed {
        Some(range) => gathering.auto_reuse_range(range),
        None => {
            let detail = format!(
                "{} line {}: the auto-reuse range is not told, or not alike in every template",
                place.file, place.lines[0].number
            );
            gathering.gap(Gap::new("auto-reuse range", GapReason::Malformed, detail));
        }
    }
    length
}
