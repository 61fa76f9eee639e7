//! `portolan man`: the manual, made from the same definitions as `--help`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, CommandFactory as _};
use clap_mangen::Man as Page;

use crate::args::Portolan;
use crate::cells::{Column, Table};
use crate::command::{Command, Output};
use crate::exit::Misuse;
use crate::report::{Block, Report};
use crate::source::Session;
use crate::text::nearest;

/// Print a page of the manual, or write all of them to a directory
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan man why | man -l -
  portolan man --out /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// Whose page; without it portolan's own
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Option<String>,
    /// Write every page to this directory
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
}

/// The pages: file name and roff text, portolan's own first.
fn pages() -> Result<Vec<(String, Vec<u8>)>> {
    let mut root = Portolan::command();
    root.build();
    let verbs = root.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
    let named = |command: clap::Command| {
        let name = match command.get_name() {
            "portolan" => "portolan".to_owned(),
            verb => format!("portolan-{verb}"),
        };
        let mut text = Vec::new();
        Page::new(command.display_name(name.clone())).render(&mut text)?;
        Ok((format!("{name}.1"), text))
    };
    std::iter::once(root.clone()).chain(verbs).map(named).collect()
}

impl Command for Man {
    fn run(&self, _: &Session) -> Result<Output> {
        let pages = pages()?;
        if let Some(directory) = &self.out {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot make the directory {}", directory.display()))?;
            let mut written = Vec::new();
            for (name, text) in pages {
                let path = directory.join(name);
                fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
                written.push(path.display().to_string());
            }
            return Ok(Output::Report(report(written)));
        }
        let wanted =
            self.command.as_deref().map_or("portolan.1".to_owned(), |verb| format!("portolan-{verb}.1"));
        let names: Vec<String> = pages.iter().map(|(name, _)| name.clone()).collect();
        let Some((_, text)) = pages.into_iter().find(|(name, _)| *name == wanted) else {
            let typed = self.command.as_deref().unwrap_or_default();
            let verbs = names.iter().filter_map(|n| n.strip_prefix("portolan-")?.strip_suffix(".1"));
            let near = nearest(typed, verbs).unwrap_or("why");
            return Err(Misuse(format!("'{typed}' is no command; type portolan man {near}")).into());
        };
        Ok(Output::Document(Box::new(move |out| out.write_all(&text))))
    }
}

fn report(written: Vec<String>) -> Report {
    let blocks = written.iter().map(|path| Block::Line(path.as_str().into())).collect();
    let rows = Table::of_rows([Column::words("file")], written.iter().map(|path| [path.clone()]).collect());
    Report { gaps: None, ..Report::new(serde_json::json!({ "files": written }), blocks, rows, Vec::new()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page_that_names_it() {
        let pages = pages().unwrap();
        assert_eq!(pages.len(), Portolan::command().get_subcommands().count() + 1);
        for (name, text) in pages {
            let text = String::from_utf8(text).unwrap();
            let title = name.strip_suffix(".1").unwrap();
            assert!(text.contains(".SH NAME") && text.contains(&title.replace('-', "\\-")), "{name}: {text}");
        }
    }
}
