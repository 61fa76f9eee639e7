//! PortQry's command line, read by hand: it is older than clap's grammar and does not fit it (`-wport`, `-cn !public!`).
//!
//! Source: PortQry 2's help and Microsoft's article "Using the PortQry command-line tool"; version 1's `-s`, and its `-i`
//! beside a port, are taken too. Left out on purpose: what is asked on the way, which is the rest of this folder's.

use std::path::PathBuf;
use std::time::Duration;

use portolan_core::socket::Transport;

use crate::typed::Transports;

/// What is asked where nothing says so.
const USUAL_PORT: u16 = 80;
/// How often a watch looks, in seconds: the bounds, and where nothing is said.
const WATCH_SECONDS: std::ops::RangeInclusive<u64> = 1..=1200;
const USUAL_WATCH: u64 = 60;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommandLine {
    pub(super) job: Job,
    /// `-l`: the log.
    pub(super) log: Option<LogFile>,
}

/// `-l`, `-y`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    /// `-y`: without asking where it exists.
    pub(super) overwrite: bool,
}

/// One of PortQry's modes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Job {
    Help,
    Query(Query),
    /// `-i`; the target may still be empty.
    Interactive(Query),
    /// `-local`.
    Local {
        verbose: bool,
    },
    /// `-wport`, `-wpid`.
    Watch {
        whom: Watched,
        every: Duration,
        verbose: bool,
    },
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    Port(u16),
    Process(u32),
}

/// What is asked of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    /// A name or an address.
    pub(super) target: String,
    pub(super) transports: Transports,
    pub(super) ports: Vec<u16>,
    /// Whether the ports are a range: the endpoint mapper's list is not shown then.
    pub(super) is_range: bool,
    /// `-q`: nothing but errors.
    pub(super) quiet: bool,
    /// `-sl`: twice the patience.
    pub(super) slow: bool,
    /// `-nr`: no name is looked for.
    pub(super) no_reverse: bool,
    /// `-sp`.
    pub(super) source_port: Option<u16>,
    /// `-cn`.
    pub(super) community: String,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            target: String::new(),
            transports: Transports::Tcp,
            ports: vec![USUAL_PORT],
            is_range: false,
            quiet: false,
            slow: false,
            no_reverse: false,
            source_port: None,
            community: "public".to_owned(),
        }
    }
}

impl Query {
    /// Every port with every transport, in the order in which they are told.
    pub(super) fn asked(&self) -> Vec<(Transport, u16)> {
        let of = |&port: &u16| self.transports.list().iter().map(move |&transport| (transport, port));
        self.ports.iter().flat_map(of).collect()
    }
}

/// A port, or why it is none.
pub(super) fn port(text: &str) -> Result<u16, String> {
    match text.trim().parse::<u64>() {
        Ok(number @ 1..=65535) => Ok(u16::try_from(number).unwrap_or_default()),
        _ => Err(format!("'{text}' is no port; type one from 1 to 65535")),
    }
}

/// `tcp`, `udp` or `both`.
pub(super) fn transports(text: &str) -> Result<Transports, String> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Transports::Tcp),
        "udp" => Ok(Transports::Udp),
        "both" => Ok(Transports::Both),
        _ => Err(format!("'{text}' is no protocol; type tcp, udp or both")),
    }
}

/// A community's name, which stands between exclamation marks.
pub(super) fn community(text: &str) -> Result<String, String> {
    let inner = text.strip_prefix('!').and_then(|rest| rest.strip_suffix('!')).unwrap_or(text);
    match inner {
        "" | "!" => Err("the community's name is empty; type it as in -cn !public!".to_owned()),
        name => Ok(name.to_owned()),
    }
}

/// A range: `1:1024`, and as version 1 wrote it `1;1024`.
fn range(text: &str) -> Result<Vec<u16>, String> {
    let wrong = || format!("'{text}' is no range of ports; type it as in -r 1:1024");
    let (first, last) = text.split_once([':', ';']).ok_or_else(wrong)?;
    let (first, last) = (port(first)?, port(last)?);
    if first < last { Ok((first..=last).collect()) } else { Err(wrong()) }
}

/// What was typed so far; which options came decides about the mode.
#[derive(Default)]
struct Read {
    query: Query,
    /// The option that named ports.
    ports_by: Option<&'static str>,
    interactive: bool,
    help: bool,
    local: bool,
    watched: Option<(&'static str, Watched)>,
    every: Option<u64>,
    verbose: bool,
    log: Option<PathBuf>,
    overwrite: bool,
}

/// Reads a command line, without the program's name.
pub(super) fn parse(arguments: &[String]) -> Result<CommandLine, String> {
    let mut read = Read { help: arguments.is_empty(), ..Read::default() };
    let mut rest = arguments.iter().map(String::as_str);
    while let Some(option) = rest.next() {
        read.option(option, &mut rest)?;
    }
    read.command_line()
}

impl Read {
    fn option<'a>(
        &mut self,
        option: &'a str,
        rest: &mut impl Iterator<Item = &'a str>,
    ) -> Result<(), String> {
        let name = option.strip_prefix(['-', '/']).unwrap_or_default().to_ascii_lowercase();
        let mut value =
            |what: &str| rest.next().ok_or_else(|| format!("{option} needs {what}; see: portqry -?"));
        match name.as_str() {
            "?" | "h" | "help" | "-help" => self.help = true,
            "n" => {
                let text = value("the name or address of a host")?;
                // As IPv6 addresses stand elsewhere.
                let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
                inner.filter(|inner| inner.contains(':')).unwrap_or(text).clone_into(&mut self.query.target);
            }
            "p" => self.query.transports = transports(value("tcp, udp or both")?)?,
            "e" => self.ports("-e", vec![port(value("a port")?)?])?,
            "r" => self.ports("-r", range(value("a range of ports")?)?)?,
            "o" => {
                let list: Result<_, String> = value("ports")?.split(',').map(port).collect();
                self.ports("-o", list?)?;
            }
            "q" => self.query.quiet = true,
            "l" => self.log = Some(value("the name of a log file")?.into()),
            "y" => self.overwrite = true,
            "sp" => self.query.source_port = Some(port(value("a port")?)?),
            "sl" | "s" => self.query.slow = true,
            "nr" => self.query.no_reverse = true,
            "cn" => self.query.community = community(value("the name of a community")?)?,
            "i" => self.interactive = true,
            "local" => self.local = true,
            "wport" | "wpid" if self.watched.is_some_and(|(before, _)| before != format!("-{name}")) => {
                return Err("-wport and -wpid exclude one another: watch one of them".to_owned());
            }
            "wport" => self.watched = Some(("-wport", Watched::Port(port(value("a port")?)?))),
            "wpid" => {
                let text = value("the id of a process")?;
                let pid = text.parse().map_err(|_| format!("'{text}' is no id of a process"))?;
                self.watched = Some(("-wpid", Watched::Process(pid)));
            }
            "wt" => {
                let text = value("a number of seconds")?;
                let seconds = text.parse().ok().filter(|seconds| WATCH_SECONDS.contains(seconds));
                let wrong = || format!("'{text}' is no time to watch; type seconds from 1 to 1200");
                self.every = Some(seconds.ok_or_else(wrong)?);
            }
            "v" => self.verbose = true,
            _ => return Err(format!("'{option}' is no option of PortQry; see: portqry -?")),
        }
        Ok(())
    }

    fn ports(&mut self, by: &'static str, ports: Vec<u16>) -> Result<(), String> {
        if let Some(other) = self.ports_by.replace(by) {
            return Err(format!("{other} and {by} exclude one another; leave one out"));
        }
        self.query.ports = ports;
        self.query.is_range = by == "-r";
        Ok(())
    }

    fn command_line(mut self) -> Result<CommandLine, String> {
        let log = self.log.take().map(|path| LogFile { path, overwrite: self.overwrite });
        if self.help {
            return Ok(CommandLine { job: Job::Help, log: None });
        }
        if self.local || self.watched.is_some() {
            return Ok(CommandLine { job: self.of_this_machine()?, log });
        }
        if self.every.is_some() || self.verbose {
            return Err("-wt and -v belong to -local, -wport and -wpid; see: portqry -?".to_owned());
        }
        // Version 1's -i beside a port asked for no reverse lookup.
        if self.interactive && self.ports_by.is_none() {
            return Ok(CommandLine { job: Job::Interactive(self.query), log });
        }
        self.query.no_reverse |= self.interactive;
        if self.query.target.is_empty() {
            return Err("no host is named; type it as in: portqry -n server -e 80".to_owned());
        }
        let both = self.query.transports == Transports::Both;
        if self.query.quiet && (self.ports_by != Some("-e") || both) {
            return Err("-q asks for one port: type it with -e, and -p tcp or -p udp".to_owned());
        }
        Ok(CommandLine { job: Job::Query(self.query), log })
    }

    fn of_this_machine(self) -> Result<Job, String> {
        let alone = |option: &str| {
            Err(format!(
                "{option} speaks of this machine: leave the options out that ask another one; see: portqry -?"
            ))
        };
        let others = !self.query.target.is_empty() || self.ports_by.is_some() || self.interactive;
        match (self.local, self.watched) {
            (true, Some((option, _))) => {
                Err(format!("-local and {option} exclude one another; leave one out"))
            }
            (true, None) if others => alone("-local"),
            (false, Some((option, _))) if others => alone(option),
            (false, Some((_, whom))) => {
                let every = Duration::from_secs(self.every.unwrap_or(USUAL_WATCH));
                Ok(Job::Watch { whom, every, verbose: self.verbose })
            }
            _ => Ok(Job::Local { verbose: self.verbose }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<CommandLine, String> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn query(line: &str) -> Query {
        match read(line).unwrap().job {
            Job::Query(query) => query,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_query_is_port_80_over_tcp_unless_it_says_otherwise() {
        let expected = Query { target: "server".into(), ..Query::default() };
        assert_eq!(query("-n server"), expected);
        assert_eq!(expected.asked(), [(Transport::Tcp, 80)]);
        let both = query("-N server -P BOTH -o 25,53 -sl -nr -sp 3000 -cn !secret!");
        assert_eq!(
            both.asked(),
            [(Transport::Tcp, 25), (Transport::Udp, 25), (Transport::Tcp, 53), (Transport::Udp, 53)]
        );
        assert!(both.slow && both.no_reverse && !both.is_range);
        assert_eq!((both.source_port, both.community.as_str()), (Some(3000), "secret"));
        assert_eq!(query("-n server -cn secret").community, "secret");
        for (typed, target) in [("[::1]", "::1"), ("[fe80::1%eth0]", "fe80::1%eth0"), ("[x]", "[x]")] {
            assert_eq!(query(&format!("-n {typed}")).target, target);
        }
    }

    #[test]
    fn version_1s_words_are_understood() {
        assert!(query("-n server -e 389 -p udp -s").slow);
        assert!(query("-n server -e 80 -i").no_reverse);
        assert_eq!(query("-n server -r 21;23").ports, [21, 22, 23]);
        assert_eq!(query("-n server -r 21:23").ports, [21, 22, 23]);
        assert!(matches!(read("-i").unwrap().job, Job::Interactive(_)));
        assert!(matches!(read("-i -n dc1").unwrap().job, Job::Interactive(query) if query.target == "dc1"));
    }

    #[test]
    fn this_machine_is_listed_and_watched() {
        assert_eq!(read("-local -v").unwrap().job, Job::Local { verbose: true });
        let watch = read("-wport 53 -wt 5 -l dns.txt -y").unwrap();
        let every = Duration::from_secs(5);
        assert_eq!(watch.job, Job::Watch { whom: Watched::Port(53), every, verbose: false });
        assert_eq!(watch.log, Some(LogFile { path: "dns.txt".into(), overwrite: true }));
        let every = Duration::from_secs(60);
        assert_eq!(
            read("-wpid 1276 -v").unwrap().job,
            Job::Watch { whom: Watched::Process(1276), every, verbose: true }
        );
        assert_eq!(read("").unwrap().job, Job::Help);
        assert_eq!(read("/?").unwrap().job, Job::Help);
    }

    #[test]
    fn what_is_typed_wrong_gets_one_line_with_what_to_type() {
        for (line, part) in [
            ("-e 80", "portqry -n server -e 80"),
            ("-n", "-n needs the name"),
            ("-n a -e 0", "from 1 to 65535"),
            ("-n a -e 65536", "from 1 to 65535"),
            ("-n a -e 99999999999999999999", "from 1 to 65535"),
            ("-n a -r 80:80", "-r 1:1024"),
            ("-n a -r 90:80", "-r 1:1024"),
            ("-n a -r 80-90", "-r 1:1024"),
            ("-n a -o 80,,90", "'' is no port"),
            ("-n a -e 80 -o 90", "-e and -o exclude one another"),
            ("-n a -p icmp", "type tcp, udp or both"),
            ("-n a -q", "type it with -e"),
            ("-n a -o 80 -q", "type it with -e"),
            ("-n a -e 80 -p both -q", "type it with -e"),
            ("-n a -cn !!", "-cn !public!"),
            ("-n a -wt 5", "belong to -local"),
            ("-wport 80 -wt 1201", "from 1 to 1200"),
            ("-wpid x", "no id of a process"),
            ("-local -n a", "leave the options out"),
            ("-local -wport 80", "exclude one another"),
            ("--json", "'--json' is no option"),
            ("server", "'server' is no option"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(part) && error.lines().count() == 1, "{line}: {error}");
        }
    }
}
