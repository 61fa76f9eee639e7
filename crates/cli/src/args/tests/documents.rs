//! The pages of help of files and texts.

use super::pages;

pub(super) const VERBS: &[&str] = &["explain", "snapshot", "schema", "completions", "man"];

#[test]
#[expect(clippy::too_many_lines, reason = "it is whole pages")]
fn their_help_is_known() {
    insta::assert_snapshot!(pages(VERBS), @r#"
    ======== explain

    Explain a finding or a protocol: what it means, how it comes about, what to do

    Usage: portolan explain [OPTIONS] [RULE|PROTOCOL]

    Arguments:
      [RULE|PROTOCOL]  The rule's name, as findings show it, or a protocol's; without it all are listed

    Options:
      -h, --help  Print help

    Options of every command

    Examples:
      portolan explain                      every rule and protocol in a line
      portolan explain held-by-process
      portolan explain dns                  what probe asks a name server, and what it may be told

    ======== snapshot

    Keep everything there is to see in a file, or what others sent, for --from

    Usage: portolan snapshot [OPTIONS] --out <FILE>

    Options:
      -o, --out <FILE>        The file to write; - writes to stdout
          --force             Replace the file if it is there already
          --import <FILE>...  Make the snapshot from text that others sent, instead of looking at this
                              machine (- reads stdin)
      -h, --help              Print help

    Options of every command

    Examples:
      portolan snapshot --out before.json
      portolan why 8080 --from before.json
      portolan snapshot --import netstat.txt netsh.txt --out osaka.json

    --import reads what these commands print, in any display language and code page, also whole
    console sessions:
      Windows: netstat -ano -anob -anobq, netsh int ipv4 show excludedportrange and dynamicport,
               tasklist /svc, Get-NetTCPConnection and Get-NetUDPEndpoint (table, list, Export-Csv)
      Linux:   ss -tuanp, netstat -tuanp, lsof -nP -i, cat /proc/net/tcp, sysctl

    The file holds process names and command lines: look through it before you give it away.

    ======== schema

    Print the JSON Schema of what a command gives with --json

    Usage: portolan schema [OPTIONS] [COMMAND]

    Arguments:
      [COMMAND]  The command; without it all, in one object by their names

    Options:
      -h, --help  Print help

    Options of every command

    Examples:
      portolan schema list
      portolan schema              those of all commands in one object

    ======== completions

    Print the script that completes portolan's words in a shell

    Usage: portolan completions [OPTIONS] <SHELL>

    Arguments:
      <SHELL>  The shell [possible values: bash, elvish, fish, powershell, zsh]

    Options:
      -h, --help  Print help

    Options of every command

    Examples:
      portolan completions bash > /etc/bash_completion.d/portolan
      portolan completions zsh > ~/.zfunc/_portolan
      portolan completions fish > ~/.config/fish/completions/portolan.fish

    ======== man

    Print a page of the manual, or write all of them to a directory

    Usage: portolan man [OPTIONS] [COMMAND]

    Arguments:
      [COMMAND]  Whose page; without it portolan's own

    Options:
          --out <DIRECTORY>  Write every page to this directory
      -h, --help             Print help

    Options of every command

    Examples:
      portolan man why | man -l -
      portolan man --out /usr/local/share/man/man1
    "#);
}
