//! `portolan schema [COMMAND]`: the JSON Schema (2020-12) of what a command gives with `--json`.

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value};

use crate::command::{Command, Output, SCHEMAS};
use crate::exit::Misuse;
use crate::source::Session;

/// Print the JSON Schema of what a command gives with --json
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan schema list
  portolan schema              those of all commands in one object")]
pub(crate) struct Print {
    /// The command; without it all, in one object by their names
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

/// The schema of a command, or those of all by their names.
fn wanted(command: Option<&str>) -> Result<Value, Misuse> {
    let Some(name) = command else {
        return Ok(Value::Object(
            SCHEMAS.iter().map(|(n, s)| ((*n).to_owned(), s().to_value())).collect::<Map<_, _>>(),
        ));
    };
    SCHEMAS.iter().find(|(known, _)| *known == name).map(|(_, schema)| schema().to_value()).ok_or_else(|| {
        let names: Vec<_> = SCHEMAS.iter().map(|(name, _)| *name).collect();
        Misuse(format!("'{name}' has no schema; use one of {}", names.join(", ")))
    })
}

impl Command for Print {
    fn run(&self, _: &Session) -> Result<Output> {
        let schema = wanted(self.command.as_deref())?;
        Ok(Output::Document(Box::new(move |out| {
            serde_json::to_writer_pretty(&mut *out, &schema)?;
            out.write_all(b"\n")
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_command_is_answered_with_those_that_have_a_schema() {
        let error = wanted(Some("lst")).unwrap_err().to_string();
        assert!(error.starts_with("'lst' has no schema; use one of chart, list, who, why"), "{error}");
        assert!(wanted(None).unwrap().get("list").is_some());
    }
}
