//! `portolan explain [RULE]`: the manual of what `why` and the chart find.

use anyhow::Result;
use clap::Args;
use portolan_core::diagnose::{self, RULES, Rule};
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use crate::cells::{Column, Table};
use crate::command::{Command, Output};
use crate::exit::Misuse;
use crate::report::{Block, Line, Report};
use crate::source::Session;
use crate::text::nearest;

/// Explain a finding: what it means, how it comes about, what to do
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan explain                      every rule in a line
  portolan explain held-by-process")]
pub(crate) struct Explain {
    /// The rule's name, as findings show it; without it all are listed
    #[arg(value_name = "RULE")]
    rule: Option<String>,
}

/// What explain says.
#[derive(Debug, Serialize, JsonSchema)]
struct Rules {
    /// The rules, the most telling first.
    rules: Vec<Page>,
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
            None => report(RULES.iter(), index()),
            Some(id) => match diagnose::rule(id) {
                Some(rule) => report(std::iter::once(rule), page(rule)),
                None => return Err(unknown(id).into()),
            },
        };
        Ok(Output::Report(report))
    }
}

fn unknown(id: &str) -> Misuse {
    match nearest(id, RULES.iter().map(|rule| rule.id)) {
        Some(near) => Misuse(format!("'{id}' is no rule; did you mean: portolan explain {near}")),
        None => Misuse(format!("'{id}' is no rule; see all with: portolan explain")),
    }
}

fn report(rules: impl Iterator<Item = &'static Rule>, blocks: Vec<Block>) -> Report {
    let rules: Vec<Page> =
        rules.map(|rule| Page { rule: rule.id, title: rule.title, text: rule.doc }).collect();
    let columns = [Column::words("rule"), Column::prose("title")];
    let rows = rules.iter().map(|page| [page.rule.to_owned(), page.title.to_owned()]).collect();
    let table = Table::of_rows(columns, rows);
    Report { gaps: None, ..Report::new(Rules { rules }, blocks, table, Vec::new()) }
}

fn index() -> Vec<Block> {
    let columns = [Column::words("rule"), Column::prose("title")];
    let rows = RULES.iter().map(|rule| [rule.id.to_owned(), rule.title.to_owned()]).collect();
    vec![Block::Table(Table::of_rows(columns, rows))]
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
        assert_eq!(unknown("zzzz").to_string(), "'zzzz' is no rule; see all with: portolan explain");
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
