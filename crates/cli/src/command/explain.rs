//! `portolan explain [RULE|PROTOCOL]`: the manual of what `why` and the chart find, and of what `probe` speaks.

use anyhow::Result;
use clap::Args;
use portolan_core::diagnose::{self, RULES, Rule};
use portolan_core::probe::{self, PROBES, Protocol};
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use crate::cells::{Column, Table};
use crate::command::{Command, Output};
use crate::exit::Misuse;
use crate::report::{Block, Line, Report};
use crate::source::Session;
use crate::text::nearest;

/// Explain a finding or a protocol: what it means, how it comes about, what to do
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan explain                      every rule and protocol in a line
  portolan explain held-by-process
  portolan explain dns                  what probe asks a name server, and what it may be told")]
pub(crate) struct Explain {
    /// The rule's name, as findings show it, or a protocol's; without it all are listed
    #[arg(value_name = "RULE|PROTOCOL")]
    rule: Option<String>,
}

/// What explain says.
#[derive(Debug, Serialize, JsonSchema)]
struct Rules {
    /// The rules, the most telling first.
    rules: Vec<Page>,
    /// The protocols that probe speaks.
    protocols: Vec<ProtocolPage>,
}

/// One protocol.
#[derive(Debug, Serialize, JsonSchema)]
struct ProtocolPage {
    /// Its name, as probe --as takes it.
    protocol: &'static str,
    /// Other words for it.
    aliases: &'static [&'static str],
    /// What it tells, in a few words.
    title: &'static str,
    /// Its page of the manual.
    text: &'static str,
    /// Where it is at home: `53/udp`.
    ports: Vec<String>,
    /// What probe --set may tell it.
    settings: Vec<SettingPage>,
}

/// Something that a protocol may be told.
#[derive(Debug, Serialize, JsonSchema)]
struct SettingPage {
    name: &'static str,
    /// What counts where nobody says; empty for nothing.
    default: &'static str,
    title: &'static str,
}

impl ProtocolPage {
    fn of(protocol: &'static Protocol) -> Self {
        let mut ports: Vec<String> =
            protocol.homes.iter().map(|home| format!("{}/{}", home.port, home.via.transport())).collect();
        ports.dedup();
        let setting = |setting: &probe::Setting| SettingPage {
            name: setting.name,
            default: setting.default,
            title: setting.title,
        };
        Self {
            protocol: protocol.id,
            aliases: protocol.aliases,
            title: protocol.title,
            text: protocol.doc,
            ports,
            settings: protocol.settings.iter().map(setting).collect(),
        }
    }

    fn blocks(&self) -> Vec<Block> {
        let mut lines =
            vec![Line::new().strong(self.protocol).plain(format!("   {}", self.title)), Line::new()];
        lines.extend(self.text.trim().lines().map(Line::from));
        lines.push(Line::new());
        if !self.ports.is_empty() {
            lines.push(format!("Ports: {}", self.ports.join(", ")).into());
        }
        for SettingPage { name, default, title } in &self.settings {
            let default = if default.is_empty() { String::new() } else { format!(" (else {default})") };
            lines.push(format!("--set {name}=…   {title}{default}").into());
        }
        lines.into_iter().map(Block::Line).collect()
    }
}

/// One rule.
#[derive(Debug, Serialize, JsonSchema)]
struct Page {
    /// Its name, in kebab-case.
    rule: &'static str,
    /// What it finds, in a few words.
    title: &'static str,
    /// Its page of the manual, in Markdown.
    text: &'static str,
}

/// JSON Schema of the report.
pub(super) fn schema() -> Schema {
    schema_for!(Rules)
}

impl Command for Explain {
    fn run(&self, _: &Session) -> Result<Output> {
        let report = match &self.rule {
            None => report(RULES.iter(), PROBES.iter().copied(), index()),
            Some(id) => match (diagnose::rule(id), probe::protocol(id)) {
                (Some(rule), _) => report(std::iter::once(rule), std::iter::empty(), page(rule)),
                (None, Some(protocol)) => {
                    let blocks = ProtocolPage::of(protocol).blocks();
                    report(std::iter::empty(), std::iter::once(protocol), blocks)
                }
                (None, None) => return Err(unknown(id).into()),
            },
        };
        Ok(Output::Report(report))
    }
}

fn unknown(id: &str) -> Misuse {
    let known = RULES.iter().map(|rule| rule.id).chain(PROBES.iter().map(|protocol| protocol.id));
    match nearest(id, known) {
        Some(near) => Misuse(format!("'{id}' is no rule or protocol; did you mean: portolan explain {near}")),
        None => Misuse(format!("'{id}' is no rule or protocol; see all with: portolan explain")),
    }
}

fn report(
    rules: impl Iterator<Item = &'static Rule>,
    protocols: impl Iterator<Item = &'static Protocol>,
    blocks: Vec<Block>,
) -> Report {
    let protocols: Vec<ProtocolPage> = protocols.map(ProtocolPage::of).collect();
    let rules: Vec<Page> =
        rules.map(|rule| Page { rule: rule.id, title: rule.title, text: rule.doc }).collect();
    let columns = [Column::words("name"), Column::prose("title")];
    let rules_rows = rules.iter().map(|page| [page.rule.to_owned(), page.title.to_owned()]);
    let protocol_rows = protocols.iter().map(|page| [page.protocol.to_owned(), page.title.to_owned()]);
    let table = Table::of_rows(columns, rules_rows.chain(protocol_rows).collect());
    Report { gaps: None, ..Report::new(Rules { rules, protocols }, blocks, table, Vec::new()) }
}

fn index() -> Vec<Block> {
    let columns = [Column::words("rule"), Column::prose("title")];
    let rows = RULES.iter().map(|rule| [rule.id.to_owned(), rule.title.to_owned()]).collect();
    let protocols = [Column::words("protocol"), Column::prose("title")];
    let spoken = PROBES.iter().map(|protocol| [protocol.id.to_owned(), protocol.title.to_owned()]).collect();
    vec![
        Block::Table(Table::of_rows(columns, rows)),
        Block::gap(),
        Block::Table(Table::of_rows(protocols, spoken)),
    ]
}

fn page(rule: &Rule) -> Vec<Block> {
    let mut blocks =
        vec![Block::Line(Line::new().strong(rule.id).plain(format!("   {}", rule.title))), Block::gap()];
    blocks.extend(rule.doc.trim().lines().map(|line| Block::Line(Line::from(line))));
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_rule_is_answered_with_what_to_type() {
        assert_eq!(
            unknown("zzzz").to_string(),
            "'zzzz' is no rule or protocol; see all with: portolan explain"
        );
        for rule in RULES {
            let mut typed = rule.id.to_owned();
            typed.pop();
            assert!(
                unknown(&typed).to_string().ends_with(&format!("portolan explain {}", rule.id)),
                "{typed}"
            );
        }
    }
}
