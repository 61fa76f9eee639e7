//! `portolan portqry …`, and the program under the name of `portqry`: PortQry 2's own command line, words and exit codes, on
//! the engine of `probe`.
//!
//! Source: Microsoft's article "Using the PortQry command-line tool". It tells as it goes, as PortQry does, and gives no
//! report. Otherwise than PortQry: it runs on Linux too, speaks IPv6, asks all ports of a range at once.

mod arguments;
mod conversation;
mod interactive;
mod local;
mod log;
mod query;
mod watch;
mod wording;

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use clap::Args;
use portolan_core::kernel::proc_maps::Module;
use portolan_core::wire::moment;
use portolan_host::{Look, Namespace, OwnerSearch, SocketFilter, look, sys};

use crate::command::{Command, Output};
use crate::exit::Exit;
use crate::source::Session;
use crate::text::harmless;
use arguments::{Job, LogFile, parse};
use log::Teller;
use query::Asker;
use wording::NOT_ASKED;

/// What `-?` says.
const HELP: &str = "\
portqry: whether ports of a host are LISTENING, NOT LISTENING or FILTERED, and what answers there

  portqry -n HOST [-p tcp|udp|both] [-e PORT | -r FIRST:LAST | -o PORT,PORT,...] [-q]
          [-l FILE [-y]] [-sp PORT] [-sl] [-nr] [-cn !COMMUNITY!]
  portqry -i [-n HOST]
  portqry -local | -wport PORT | -wpid PID [-wt SECONDS] [-v] [-l FILE [-y]]

  -n HOST       the name or address of a host
  -p PROTOCOL   tcp, udp or both; tcp unless said
  -e PORT       one port; 80 unless said
  -r A:B        a range of ports
  -o A,B,C      several ports, in this order
  -q            nothing but errors; the exit code tells (with -e and one protocol)
  -l FILE       a log as well; -y overwrites one that exists without asking
  -sp PORT      ask from this port
  -sl           wait twice as long for UDP
  -nr           look for no name of an address
  -cn !NAME!    the SNMP community; public unless said
  -i            interactive mode
  -local        every port of this machine with its process; -v tells of each process
  -wport PORT   watch a port of this machine; -wpid PID: a process
  -wt SECONDS   look that often, 1 to 1200; 60 unless said. Esc or Ctrl+C ends a watch

Exit codes: 0 LISTENING; 1 NOT LISTENING; 2 FILTERED, LISTENING or FILTERED; 99 nothing was asked.
portolan probe asks the same, with more protocols, JSON and IPv6.
";

/// PortQry's own command line, output and exit codes: portolan portqry -n HOST -e 80
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan portqry -n dc1 -e 389 -p both
  portolan portqry -n dc1 -o 53,88,135 -l dc1.txt -y
  portolan portqry -n web -e 80 -q
  portolan portqry -local

portolan portqry -? tells of every option. A copy or a link of the program under the name of
portqry does the same.
Exit codes: 0 LISTENING; 1 NOT LISTENING; 2 FILTERED, LISTENING or FILTERED; 99 nothing was asked.")]
pub(crate) struct PortQry {
    /// What is typed to PortQry: -n HOST -e PORT …; -? shows all
    #[arg(value_name = "WORDS", trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

impl Command for PortQry {
    fn run(&self, session: &Session) -> Result<Output> {
        session.needs_machine("portqry")?;
        let (namespace, arguments) = (session.namespace().clone(), self.arguments.clone());
        Ok(Output::Own(Box::new(move || Ok(ended(&namespace, Ok(arguments))))))
    }
}

/// What was typed to PortQry, where the program bears its name; the fault where it is no text.
pub(crate) fn typed(arguments: impl Iterator<Item = OsString>) -> Option<Result<Vec<String>>> {
    let mut arguments = arguments;
    let program = PathBuf::from(arguments.next()?);
    let is_portqry = program.file_stem().is_some_and(|name| name.eq_ignore_ascii_case("portqry"));
    let text = |argument: OsString| {
        argument.into_string().map_err(|other| anyhow!("'{}' is no text", other.display()))
    };
    is_portqry.then(|| arguments.map(text).collect())
}

/// Does what PortQry's command line says, to the end; a fault is told in one line.
pub(crate) fn ended(namespace: &Namespace, arguments: Result<Vec<String>>) -> Exit {
    Exit::Own(arguments.and_then(|arguments| run(namespace, &arguments)).unwrap_or_else(|error| {
        // Where stderr is gone there is nobody left to tell.
        let _ = writeln!(io::stderr(), "portqry: {}", harmless(&format!("{error:#}")));
        NOT_ASKED
    }))
}

/// Does what PortQry's command line says; the exit code. What was typed wrong, and why nothing could be asked, are errors
/// of one line.
fn run(namespace: &Namespace, arguments: &[String]) -> Result<u8> {
    let line = parse(arguments).map_err(|why| anyhow!("{why}"))?;
    let services = sys::services();
    let tell = |quiet: bool, log: &Option<LogFile>| {
        let computer = sys::host(namespace).map(|host| host.name).unwrap_or_default();
        let header = log::header(env!("CARGO_PKG_VERSION"), &now(), arguments, &computer);
        Teller::new(quiet, log.as_ref(), &header)
    };
    let asker = Asker { namespace, services: &services };
    match line.job {
        Job::Help => {
            Teller::new(false, None, "")?.say(HELP)?;
            Ok(0)
        }
        Job::Query(query) => {
            let mut teller = tell(query.quiet, &line.log)?;
            let asked = asker.query(&query, &mut teller);
            if let Err(error) = &asked {
                teller.write_log(&format!("\n{error:#}\n"))?;
            }
            teller.end()?;
            asked
        }
        Job::Interactive(query) => {
            let mut teller = tell(false, &line.log)?;
            interactive::talk(&asker, query, &mut teller)?;
            teller.end()?;
            Ok(0)
        }
        Job::Local { verbose } => {
            let mut teller = tell(false, &line.log)?;
            teller.say(&local::listing(&look(&sockets(namespace))?, verbose.then_some(&modules)))?;
            teller.end()?;
            Ok(0)
        }
        Job::Watch { whom, every, verbose } => {
            let mut teller = tell(false, &line.log)?;
            watch::Watch { namespace, whom, every, verbose }.run(&mut teller)?;
            teller.end()?;
            Ok(0)
        }
    }
}

/// The modules of a process of this machine.
fn modules(pid: u32) -> Result<Vec<Module>, String> {
    sys::modules(pid).map_err(|error| error.to_string())
}

/// Every socket with its holders.
fn sockets(namespace: &Namespace) -> Look {
    Look {
        namespace: namespace.clone(),
        sockets: Some(SocketFilter::default()),
        owners: OwnerSearch::All,
        ..Look::default()
    }
}

/// The time, as logs have it.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    moment::text(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
