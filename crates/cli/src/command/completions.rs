//! `portolan completions SHELL`: the script that completes portolan's words in a shell.

use anyhow::Result;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::args::Portolan;
use crate::command::{Command, Output};
use crate::source::Session;

/// Print the script that completes portolan's words in a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan completions bash > /etc/bash_completion.d/portolan
  portolan completions zsh > ~/.zfunc/_portolan
  portolan completions fish > ~/.config/fish/completions/portolan.fish")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Command for Completions {
    fn run(&self, _: &Session) -> Result<Output> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Portolan::command(), "portolan", &mut script);
        Ok(Output::Document(Box::new(move |out| out.write_all(&script))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_verbs() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Portolan::command(), "portolan", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("explain") && script.contains("why"), "{shell}");
        }
    }
}
