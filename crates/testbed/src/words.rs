//! The command line of `testbed hold`: words, each with an address and options.

use std::net::SocketAddr;
use std::slice::Iter;

use anyhow::{Context, bail};

/// What to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    TcpListen,
    TcpBound,
    Udp,
    Connections,
    TimeWait,
    CloseWait,
    SynSent,
}

impl Kind {
    const ALL: [(&'static str, Self); 7] = [
        ("tcp-listen", Self::TcpListen),
        ("tcp-bound", Self::TcpBound),
        ("udp", Self::Udp),
        ("connections", Self::Connections),
        ("time-wait", Self::TimeWait),
        ("close-wait", Self::CloseWait),
        ("syn-sent", Self::SynSent),
    ];

    /// The word itself.
    pub(crate) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// One word with its options.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of a command line")]
pub(crate) struct Word {
    pub(crate) kind: Kind,
    pub(crate) at: SocketAddr,
    pub(crate) count: usize,
    pub(crate) reuse_address: bool,
    pub(crate) reuse_port: bool,
    pub(crate) v6_only: Option<bool>,
    pub(crate) freebind: bool,
    pub(crate) no_port: bool,
    pub(crate) backlog: i32,
    pub(crate) accept: bool,
    pub(crate) workers: usize,
    pub(crate) connect: Option<SocketAddr>,
    pub(crate) from: Option<SocketAddr>,
    pub(crate) as_client: bool,
    pub(crate) close_listener: bool,
    pub(crate) closed_by_client: bool,
}

/// The whole command line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) uid: Option<u32>,
    pub(crate) name: Option<String>,
    pub(crate) ignore_sigterm: bool,
    pub(crate) words: Vec<Word>,
}

impl Request {
    /// Reads the command line.
    pub(crate) fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut request = Self::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if let Some((_, kind)) = Kind::ALL.iter().find(|(name, _)| name == argument) {
                request.words.push(Word::new(*kind, value(argument, &mut rest)?));
            } else if let Some(word) = request.words.last_mut() {
                word.option(argument, &mut rest)?;
            } else {
                request.option(argument, &mut rest)?;
            }
        }
        if request.words.is_empty() {
            bail!("nothing to hold: type `testbed` for the words");
        }
        Ok(request)
    }

    fn option(&mut self, option: &str, rest: &mut Iter<'_, String>) -> anyhow::Result<()> {
        match option {
            "--uid" => self.uid = Some(value(option, rest)?),
            "--name" => self.name = Some(value(option, rest)?),
            "--ignore-sigterm" => self.ignore_sigterm = true,
            _ => bail!("'{option}' is neither a word nor an option: type `testbed` for both"),
        }
        Ok(())
    }
}

impl Word {
    fn new(kind: Kind, at: SocketAddr) -> Self {
        Self {
            kind,
            at,
            count: 1,
            reuse_address: false,
            reuse_port: false,
            v6_only: None,
            freebind: false,
            no_port: false,
            backlog: 128,
            accept: false,
            workers: 0,
            connect: None,
            from: None,
            as_client: false,
            close_listener: false,
            closed_by_client: false,
        }
    }

    fn option(&mut self, option: &str, rest: &mut Iter<'_, String>) -> anyhow::Result<()> {
        match option {
            "--count" => self.count = value(option, rest)?,
            "--reuseaddr" => self.reuse_address = true,
            "--reuseport" => self.reuse_port = true,
            "--v6only" => self.v6_only = Some(true),
            "--dual" => self.v6_only = Some(false),
            "--freebind" => self.freebind = true,
            "--no-port" => self.no_port = true,
            "--backlog" => self.backlog = value(option, rest)?,
            "--accept" => self.accept = true,
            "--workers" => self.workers = value(option, rest)?,
            "--connect" => self.connect = Some(value(option, rest)?),
            "--from" => self.from = Some(value(option, rest)?),
            "--as-client" => self.as_client = true,
            "--close-listener" => self.close_listener = true,
            "--closed-by" => match value::<String>(option, rest)?.as_str() {
                "client" => self.closed_by_client = true,
                "server" => self.closed_by_client = false,
                other => bail!("--closed-by {other}: use server or client"),
            },
            _ => bail!("'{option}' is neither a word nor an option: type `testbed` for both"),
        }
        Ok(())
    }
}

/// The next argument, read as what is wanted.
fn value<T>(option: &str, rest: &mut Iter<'_, String>) -> anyhow::Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text = rest.next().with_context(|| format!("{option} needs a value"))?;
    text.parse().with_context(|| format!("{option} {text}"))
}
