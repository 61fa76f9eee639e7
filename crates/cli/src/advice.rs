//! Findings for people: why first, then what else, then the ways out, mildest first, each ready to type.

use portolan_core::diagnose::{Finding, Remedy, Severity};

use crate::cells::{Column, Table};
use crate::report::{Block, Line, Tone};

/// No way out's text is padded beyond this to line up the commands.
const WIDEST_TEXT: usize = 44;

/// The blocks of findings and of their ways out.
pub(crate) fn blocks(findings: &[Finding]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut before = None;
    for finding in findings {
        let (label, tone) = match finding.severity {
            Severity::Error => ("why", Tone::Bad),
            Severity::Warning => ("warning", Tone::Warning),
            Severity::Note => ("note", Tone::Strong),
        };
        let label = if before == Some(finding.severity) { "" } else { label };
        before = Some(finding.severity);
        let text = Line::new().and(tone, finding.rule).plain(format!("   {}", finding.summary));
        blocks.push(Block::entry(label, text));
        for evidence in &finding.evidence {
            blocks.push(Block::Entry { label: "", hang: 2, text: Line::from(format!("  {evidence}")) });
        }
    }
    blocks.extend(ways_out(findings));
    blocks
}

fn ways_out(findings: &[Finding]) -> Vec<Block> {
    let mut remedies: Vec<&Remedy> = Vec::new();
    for remedy in findings.iter().flat_map(|finding| &finding.remedies) {
        if !remedies.contains(&remedy) {
            remedies.push(remedy);
        }
    }
    let width = remedies
        .iter()
        .filter(|remedy| remedy.command.is_some())
        .map(|remedy| remedy.text.chars().count())
        .max()
        .unwrap_or(0)
        .min(WIDEST_TEXT);
    let entry = |(index, remedy): (usize, &&Remedy)| {
        let mut text = Line::new().strong(format!("{:<3}", index + 1));
        text = match &remedy.command {
            None => text.plain(remedy.text.as_str()),
            Some(command) => {
                text.plain(format!("{:<width$}", remedy.text)).and(Tone::Command, format!("   {command}"))
            }
        };
        Block::Entry { label: if index == 0 { "ways out" } else { "" }, hang: 3, text }
    };
    remedies.iter().enumerate().map(entry).collect()
}

/// A severity as in JSON.
pub(crate) const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

/// The rows of findings.
pub(crate) fn rows(findings: &[Finding]) -> Table {
    let columns = [
        Column::words("rule"),
        Column::words("severity"),
        Column::prose("summary"),
        Column::prose("evidence"),
        Column::prose("remedies"),
    ];
    let remedy = |remedy: &Remedy| match &remedy.command {
        Some(command) => format!("{}: {command}", remedy.text),
        None => remedy.text.clone(),
    };
    let row = |finding: &Finding| {
        [
            finding.rule.to_owned(),
            severity(finding.severity).to_owned(),
            finding.summary.clone(),
            finding.evidence.join("; "),
            finding.remedies.iter().map(remedy).collect::<Vec<_>>().join("; "),
        ]
    };
    Table::of_rows(columns, findings.iter().map(row).collect())
}
