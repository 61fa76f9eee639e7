//! The command line: every page of help, in files by what the verbs do, and that each verb is whole.

mod asking;
mod changing;
mod documents;
mod looking;
mod ranges;
mod recorded;
mod waiting;

use clap::CommandFactory as _;

use super::*;

/// The verbs whose pages are looked at.
const PAGES: [&[&str]; 7] = [
    asking::VERBS,
    changing::VERBS,
    documents::VERBS,
    looking::VERBS,
    ranges::VERBS,
    recorded::VERBS,
    waiting::VERBS,
];

/// What `--help` prints behind these words, where the output is no terminal.
fn help(words: &[&str]) -> String {
    let words = ["portolan"].iter().chain(words).chain(&["--help"]);
    Portolan::command().term_width(100).try_get_matches_from(words).unwrap_err().to_string()
}

/// The options of every command on a page of help.
fn general(help: &str) -> &str {
    help.split("\n\n").find(|section| section.starts_with("Options of every command:")).unwrap_or_default()
}

/// The pages of these verbs; options of every command stand on portolan's own, and a verb whose page has them
/// otherwise shows how.
fn pages(verbs: &[&str]) -> String {
    let first = help(&[]);
    let mut text = String::new();
    for verb in verbs {
        let mut page = help(&[verb]);
        if general(&page) == general(&first) {
            page = page.replacen(general(&first), "Options of every command", 1);
        }
        text.push_str(&format!("======== {verb}\n\n{page}\n"));
    }
    trimmed(&text)
}

/// Lines that clap fills up with spaces would not survive an editor.
fn trimmed(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_help_of_the_whole_is_known() {
    insta::assert_snapshot!(trimmed(&help(&[])), @r#"
    Whose is this port, and why can't I have it? Without a command: the chart of this machine's ports

    Usage: portolan [OPTIONS] [COMMAND]

    Commands:
      chart        Draw the chart: what portolan does without a command
      list         List sockets with their owners: filtered, sorted, or counted in groups
      who          Show who holds a port, and how far it is reachable
      why          Say why a port does not bind, and what to do about it
      range        Show or change the ephemeral range: the ports the system gives to clients by itself
      reserve      Keep ports from being given to clients: the system then leaves them to the programs
                   that ask for them by number
      budget       Tell how many more connections can be made, who uses the rest, and what else runs out
      free         Free a port: stop the program that holds it, its unit or its container
      close        Close TCP connections without ending their programs; the other side sees a reset
      undo         Take back what a command changed, also after a crash or a restart in the middle
      resume       Go on with a plan that was cut off, or that waited for a restart
      pick         Pick ports that are free now and likely to stay free, a line each
      wait         Wait until a port is listened on, closed, or free
      watch        Watch what opens, closes and changes state, a line each
      history      Tell how it went: who grew, how much room was left, when it ends; as a chart, a
                   picture, a table
      trace        Trace failing bind, connect and listen calls, of every program, and say why
      record       Record who uses the ports and how much room is left, for portolan history
      hold         Keep ports by binding them, without listening: until Ctrl+C, for a time, or for a
                   command
      probe        Ask whether ports of other hosts are open, and what speaks there
      portqry      PortQry's own command line, output and exit codes: portolan portqry -n HOST -e 80
      connect      Talk to a port: type at it, as with telnet, or let a script do it
      explain      Explain a finding or a protocol: what it means, how it comes about, what to do
      snapshot     Keep everything there is to see in a file, or what others sent, for --from
      schema       Print the JSON Schema of what a command gives with --json
      completions  Print the script that completes portolan's words in a shell
      man          Print a page of the manual, or write all of them to a directory

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Options of every command:
          --format <FORMAT>   How to write the answer: table (for people, the default), json (for
                              programs, see: portolan schema), csv (for spreadsheets, with gaps on
                              stderr)
          --json              Short for --format json
          --from <FILE>       Answer from a snapshot file instead of this machine (- reads it from
                              stdin)
          --netns <NAME|PID>  Look at another network namespace: a name below /run/netns, or that of a
                              process
          --color <WHEN>      When to use colour; auto: on a terminal, unless NO_COLOR is set [default:
                              auto] [possible values: auto, always, never]

    Examples:
      portolan                     the chart of this machine
      portolan why 8080            why the port does not bind, and the ways out
      portolan who 53/udp          who holds the port, and how far it is reachable
      portolan list --listening    every listener with its owner

    Exit codes: 0 fine; 1 not (why: does not bind; who: nobody); 2 could not tell, or typed wrong.
    "#);
}

#[test]
fn the_page_of_every_verb_is_looked_at() {
    let mut looked_at: Vec<&str> = PAGES.concat();
    looked_at.sort_unstable();
    let command = Portolan::command();
    let mut verbs: Vec<&str> = command.get_subcommands().map(|verb| verb.get_name()).collect();
    verbs.sort_unstable();
    assert_eq!(looked_at, verbs);
}

/// A command with all below it.
fn all(command: &clap::Command) -> Vec<&clap::Command> {
    let below = command.get_subcommands().flat_map(all);
    std::iter::once(command).chain(below).collect()
}

#[test]
fn what_stands_below_the_options_is_not_wrapped_twice() {
    let command = Portolan::command();
    for command in all(&command) {
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{}: {line}", command.get_name());
        }
    }
}

#[test]
fn the_command_line_is_sound() {
    Portolan::command().debug_assert();
}

#[test]
fn every_verb_that_reports_has_a_schema() {
    // These have documents, or words of their own.
    let documents = ["portqry", "schema", "completions", "man"];
    for verb in Portolan::command().get_subcommands() {
        let known = crate::command::SCHEMAS.iter().any(|(name, _)| *name == verb.get_name());
        assert!(known || documents.contains(&verb.get_name()), "{} has no schema", verb.get_name());
    }
}

#[test]
fn a_namespace_is_a_pid_or_a_name() {
    assert_eq!(namespace("812"), Ok(Namespace::Of(812)));
    assert_eq!(namespace("blue"), Ok(Namespace::Named("blue".into())));
    for text in ["", "..", "a/b"] {
        assert!(namespace(text).is_err(), "{text}");
    }
}
