//! PortQry's interactive mode: its words, and what they set.
//!
//! Source: Microsoft's article "Using the PortQry command-line tool" (commands, options, shortcuts).

use std::io::{self, BufRead as _, Read as _};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use portolan_host::sys::EndSignals;

use super::arguments::{Query, community, port, transports};
use super::log::Teller;
use super::query::Asker;
use crate::text::harmless;
use crate::typed::Transports;

/// Who is asked before a node is named.
const USUAL_NODE: &str = "127.0.0.1";
/// How soon Ctrl+C is seen.
const LOOK_UP: Duration = Duration::from_millis(100);
/// The longest line that is read.
const LONGEST_LINE: u64 = 4096;

/// What `help` says.
const HELP: &str = "
Commands:
  node NAME            ask this host from now on (short: n)
  query                ask it with the options that are set (short: q)
  query SHORTCUT       ask it for a service:
                       dns ftp imap ipsec isa ldap l2tp mail pop3 rpc smtp snmp sql tftp
  set OPTION=VALUE     set an option
  set all              show every option
  help                 show this
  exit                 end

Options:
  port=N, e=N          the port
  sport=N, sp=N        the source port; 0 is any
  protocol=P, p=P      tcp, udp or both
  cn=!NAME!            the SNMP community
  nr=on|off            no names of addresses
  sl=on|off            wait twice as long for UDP

";

/// Ports that are asked together.
type Asked = (Transports, &'static [u16]);

/// Services by their short word: what is asked, in turn.
static SHORTCUTS: [(&str, &[Asked]); 14] = [
    ("dns", &[(Transports::Both, &[53])]),
    ("ftp", &[(Transports::Tcp, &[21])]),
    ("imap", &[(Transports::Tcp, &[143])]),
    ("ipsec", &[(Transports::Udp, &[500])]),
    ("isa", &[(Transports::Both, &[1745])]),
    ("ldap", &[(Transports::Both, &[389])]),
    ("l2tp", &[(Transports::Udp, &[1701])]),
    ("mail", &[(Transports::Tcp, &[25, 110, 143])]),
    ("pop3", &[(Transports::Tcp, &[110])]),
    ("rpc", &[(Transports::Both, &[135])]),
    ("smtp", &[(Transports::Tcp, &[25])]),
    ("snmp", &[(Transports::Udp, &[161])]),
    ("sql", &[(Transports::Tcp, &[1433]), (Transports::Udp, &[1434])]),
    ("tftp", &[(Transports::Udp, &[69])]),
];

/// What to do after a line.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Ask these, in turn.
    Ask(Vec<Query>),
    Say(String),
    Exit,
}

/// What is shown of the options.
fn options(query: &Query) -> String {
    let source = match query.source_port {
        Some(port) => port.to_string(),
        None => "0 (ephemeral)".to_owned(),
    };
    let protocol = match query.transports {
        Transports::Tcp => "TCP",
        Transports::Udp => "UDP",
        Transports::Both => "BOTH",
    };
    let ports: Vec<String> = query.ports.iter().map(u16::to_string).collect();
    let switch = |on: bool| if on { "on" } else { "off" };
    format!(
        "\nCurrent option values:\n   node=        {}\n   end port=    {}\n   protocol=    {protocol}\n   \
         source port= {source}\n   community=   {}\n   nr=          {}\n   sl=          {}\n\n",
        harmless(&query.target),
        ports.join(","),
        harmless(&query.community),
        switch(query.no_reverse),
        switch(query.slow),
    )
}

/// Takes a line; what is set changes the query.
fn heed(line: &str, query: &mut Query) -> Result<Next, String> {
    let (word, rest) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
    let rest = rest.trim();
    match (word.to_ascii_lowercase().as_str(), rest) {
        ("", _) => Ok(Next::Say(String::new())),
        ("exit" | "quit", _) => Ok(Next::Exit),
        ("help" | "?", _) => Ok(Next::Say(HELP.to_owned())),
        ("node" | "n", "") => Err("type the host behind it, as in: node server".to_owned()),
        ("node" | "n", name) => {
            name.clone_into(&mut query.target);
            Ok(Next::Say(String::new()))
        }
        ("query" | "q", "") => Ok(Next::Ask(vec![query.clone()])),
        ("query" | "q", shortcut) => shortcut_of(shortcut, query).map(Next::Ask),
        ("set", "" | "all" | "ALL") => Ok(Next::Say(options(query))),
        ("set", option) => set(option, query).map(|()| Next::Say(String::new())),
        _ => Err(format!("'{}' is no command; type help", harmless(word))),
    }
}

fn shortcut_of(word: &str, query: &Query) -> Result<Vec<Query>, String> {
    let known = SHORTCUTS.iter().find(|(name, _)| name.eq_ignore_ascii_case(word));
    let (_, asked) = known.ok_or_else(|| format!("'{}' is no shortcut; type help", harmless(word)))?;
    let ask = |&(transports, ports): &Asked| Query {
        transports,
        ports: ports.to_vec(),
        is_range: false,
        ..query.clone()
    };
    Ok(asked.iter().map(ask).collect())
}

fn set(option: &str, query: &mut Query) -> Result<(), String> {
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
    match name.as_str() {
        "port" | "e" => {
            query.ports = vec![port(value)?];
            query.is_range = false;
        }
        "sport" | "sp" => query.source_port = if value == "0" { None } else { Some(port(value)?) },
        "protocol" | "p" => query.transports = transports(value)?,
        "cn" => query.community = community(value)?,
        "nr" => query.no_reverse = switch(value)?,
        "sl" => query.slow = switch(value)?,
        _ => return Err(format!("'{}' is no option; type help", harmless(&name))),
    }
    Ok(())
}

/// On, unless it says off.
fn switch(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "" | "on" | "yes" | "true" | "1" => Ok(true),
        "off" | "no" | "false" | "0" => Ok(false),
        _ => Err(format!("'{}' is neither on nor off", harmless(value))),
    }
}

/// Talks until `exit` or the end of input.
///
/// # Errors
/// The log or the screen cannot be written.
pub(super) fn talk(asker: &Asker<'_>, mut query: Query, teller: &mut Teller) -> Result<()> {
    if query.target.is_empty() {
        USUAL_NODE.clone_into(&mut query.target);
    }
    let hello = "\nPortqry Interactive Mode\n\nType \"help\" for a list of commands\n\nDefault Node: ";
    teller.say(&format!("{hello}{}\n{}", harmless(&query.target), options(&query)))?;
    // Queries take Ctrl+C for themselves; at the prompt it ends the program, with its log whole.
    let signals = EndSignals::block().context("cannot wait for signals")?;
    let lines = lines();
    loop {
        teller.say("> ")?;
        let line = loop {
            match lines.recv_timeout(LOOK_UP) {
                Ok(line) => break line,
                Err(RecvTimeoutError::Timeout)
                    if !signals.wait(Some(Duration::ZERO)).context("cannot wait for signals")? => {}
                Err(_) => return teller.say("\n"),
            }
        };
        teller.write_log(&format!("{}\n", harmless(line.trim_end())))?;
        match heed(&line, &mut query) {
            Ok(Next::Exit) => return Ok(()),
            Ok(Next::Say(text)) => teller.say(&text)?,
            Ok(Next::Ask(queries)) => {
                for query in queries {
                    if let Err(error) = asker.query(&query, teller) {
                        teller.say(&format!("\n{error:#}\n"))?;
                    }
                }
            }
            Err(why) => teller.say(&format!("{why}\n"))?,
        }
    }
}

/// The lines of the input, as they come, until its end.
fn lines() -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    // Reading cannot be told to stop: the thread ends with the input, or with the program.
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        let mut line = Vec::new();
        while (&mut input).take(LONGEST_LINE).read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(query: &mut Query, line: &str) -> String {
        match heed(line, query) {
            Ok(Next::Say(text)) | Err(text) => text,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn options_are_set_and_shown() {
        let mut query = Query::default();
        for line in
            ["node dc1", "set e=135", "SET sp=3000", "set p=both", "set cn=!x!", "set nr", "set sl=on"]
        {
            assert_eq!(said(&mut query, line), "", "{line}");
        }
        assert_eq!(
            (query.target.as_str(), &query.ports[..], query.source_port),
            ("dc1", &[135][..], Some(3000))
        );
        let shown = said(&mut query, "set all");
        for part in [
            "node=        dc1",
            "end port=    135",
            "protocol=    BOTH",
            "source port= 3000",
            "nr=          on",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        said(&mut query, "set sport=0");
        assert_eq!(query.source_port, None);
        for (line, part) in [
            ("set e=0", "from 1 to 65535"),
            ("set colour=red", "'colour' is no option"),
            ("query tea", "'tea' is no shortcut"),
            ("dance", "'dance' is no command"),
            ("node", "node server"),
            ("set sl=maybe", "neither on nor off"),
        ] {
            assert!(said(&mut query, line).contains(part), "{line}");
        }
    }

    #[test]
    fn a_shortcut_asks_for_a_service_and_leaves_the_options_alone() {
        let mut query = Query { target: "db".to_owned(), ..Query::default() };
        let Ok(Next::Ask(asked)) = heed("q sql", &mut query) else { panic!("it asks") };
        let asked: Vec<_> = asked.iter().flat_map(Query::asked).map(|(t, port)| (t.name(), port)).collect();
        assert_eq!(asked, [("tcp", 1433), ("udp", 1434)]);
        assert_eq!(query.ports, [80]);
        assert_eq!(heed("query", &mut query), Ok(Next::Ask(vec![query.clone()])));
        assert_eq!(heed("exit", &mut query), Ok(Next::Exit));
    }
}
