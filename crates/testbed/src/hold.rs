//! `testbed hold`: makes the sockets of each word, says what it holds, and waits.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use portolan_testbed::{Holding, READY, allow_descriptors, ignore_sigterm};
use rustix::io::{Errno, FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::{SocketType, connect};
use rustix::process::getuid;

use crate::enter::become_program;
use crate::sockets::{accepted, await_end, bound, client, listener, local, unbound};
use crate::words::{Kind, Request, Word};

/// The verb of a process that shares sockets with the one that started it.
pub(crate) const WORKER: &str = "worker";

/// How long the kernel may take to show a TIME_WAIT that both ends have agreed on.
const SETTLE: Duration = Duration::from_secs(10);

/// Holds what the command line asks for until standard input ends.
pub(crate) fn hold(arguments: &[String]) -> anyhow::Result<()> {
    let request = Request::parse(arguments)?;
    if request.ignore_sigterm {
        ignore_sigterm();
    }
    if let Some(uid) = request.uid.filter(|uid| getuid().as_raw() != *uid) {
        // Once more as that user, so that nothing of this process was ever root's.
        let again: Vec<String> =
            std::iter::once("hold".to_owned()).chain(arguments.iter().cloned()).collect();
        return become_program("/proc/self/exe", &again, Some(uid));
    }
    let name = CString::new(request.name.as_deref().unwrap_or("testbed"))?;
    rustix::thread::set_name(&name)?;
    // A TIME_WAIT has none.
    let kept = request.words.iter().filter(|word| word.kind != Kind::TimeWait);
    allow_descriptors(kept.map(|word| word.count as u64 * 2 + word.workers as u64).sum());

    let mut kept = Kept::default();
    let mut output = std::io::stdout().lock();
    for word in &request.words {
        let holding =
            kept.hold(word).with_context(|| format!("cannot hold {} {}", word.kind.name(), word.at))?;
        serde_json::to_writer(&mut output, &holding)?;
        writeln!(output)?;
    }
    writeln!(output, "{READY}")?;
    output.flush()?;
    crate::wait_for_end()
}

/// What this process keeps open.
#[derive(Default)]
struct Kept {
    sockets: Vec<OwnedFd>,
    /// Their standard input ends with this process, and they with it.
    workers: Vec<Child>,
}

impl Kept {
    fn hold(&mut self, word: &Word) -> anyhow::Result<Holding> {
        let first = self.sockets.len();
        let first_worker = self.workers.len();
        match word.kind {
            Kind::TcpListen => self.listen(word)?,
            Kind::TcpBound => self.repeat(word, |word| bound(word, SocketType::STREAM, word.at))?,
            Kind::Udp => self.repeat(word, udp)?,
            Kind::Connections => self.connect(word)?,
            Kind::CloseWait => self.leave_half_closed(word)?,
            Kind::SynSent => self.repeat(word, |word| asking(word.at))?,
            Kind::TimeWait => return self.leave_time_wait(word),
        }
        let sockets = self.sockets.get(first..).unwrap_or_default();
        Ok(Holding {
            word: word.kind.name().to_owned(),
            local: sockets.iter().map(local).collect::<Result<_, _>>()?,
            descriptors: sockets.iter().map(AsRawFd::as_raw_fd).collect(),
            workers: self.workers.iter().skip(first_worker).map(Child::id).collect(),
        })
    }

    fn repeat(&mut self, word: &Word, make: impl Fn(&Word) -> anyhow::Result<OwnedFd>) -> anyhow::Result<()> {
        for _ in 0..word.count {
            self.sockets.push(make(word)?);
        }
        Ok(())
    }

    fn listen(&mut self, word: &Word) -> anyhow::Result<()> {
        for _ in 0..word.count {
            let listener = listener(word, word.at)?;
            for _ in 0..word.workers {
                self.workers.push(worker_with(&listener)?);
            }
            if word.accept {
                let copy = listener.try_clone()?;
                thread::spawn(move || accept_for_ever(&copy));
            }
            self.sockets.push(listener);
        }
        Ok(())
    }

    /// A listener and connections to it, both ends of each; with `--as-client` the clients' ends alone.
    fn connect(&mut self, word: &Word) -> anyhow::Result<()> {
        if word.as_client {
            return self.repeat(word, |word| client(word, word.from, word.at));
        }
        let listener = listener(word, word.at)?;
        let to = word.connect.map_or_else(|| local(&listener), Ok)?;
        let mut ends = Vec::with_capacity(word.count * 2);
        for _ in 0..word.count {
            ends.push(client(word, word.from, to)?);
            ends.push(accepted(&listener)?);
        }
        if !word.close_listener {
            self.sockets.push(listener);
        }
        self.sockets.append(&mut ends);
        Ok(())
    }

    /// A listener, and the server's ends of connections whose clients are gone: CLOSE_WAIT.
    fn leave_half_closed(&mut self, word: &Word) -> anyhow::Result<()> {
        let listener = listener(word, word.at)?;
        let to = local(&listener)?;
        let mut ends = Vec::with_capacity(word.count);
        for _ in 0..word.count {
            let leaving = client(word, word.from, to)?;
            let staying = accepted(&listener)?;
            drop(leaving);
            ends.push(await_end(staying)?);
        }
        if !word.close_listener {
            self.sockets.push(listener);
        }
        self.sockets.append(&mut ends);
        Ok(())
    }

    /// Nothing that a process holds: a TIME_WAIT at the word's address, which the side that closes first keeps.
    fn leave_time_wait(&mut self, word: &Word) -> anyhow::Result<Holding> {
        let mut addresses = Vec::new();
        let (listens, from) = match word.closed_by_client {
            true => (word.connect.unwrap_or(SocketAddr::new(word.at.ip(), 0)), Some(word.at)),
            false => (word.at, word.from),
        };
        // The listener's port is its own, whatever the client leaves to connect().
        let listen = || listener(&Word { no_port: false, ..word.clone() }, listens);
        // Where clients close one listener does for all: to bind its port again at once fails while a server's end of it
        // still waits for its last acknowledgement.
        let common = if word.closed_by_client { Some(listen()?) } else { None };
        for _ in 0..word.count {
            let own = if common.is_none() { Some(listen()?) } else { None };
            let Some(listener) = common.as_ref().or(own.as_ref()) else { continue };
            let client = client(word, from, local(listener)?)?;
            let server = accepted(listener)?;
            let (first, second) = if word.closed_by_client { (client, server) } else { (server, client) };
            addresses.push(local(&first)?);
            drop(first);
            drop(await_end(second)?);
        }
        await_time_wait(&addresses)?;
        let word = word.kind.name().to_owned();
        Ok(Holding { word, local: addresses, descriptors: Vec::new(), workers: Vec::new() })
    }
}

/// A connection that was asked for and is not waited for.
fn asking(to: SocketAddr) -> anyhow::Result<OwnedFd> {
    let socket = unbound(SocketType::STREAM, to)?;
    ioctl_fionbio(&socket, true)?;
    match connect(&socket, &to) {
        Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error).with_context(|| format!("cannot ask {to}")),
        Ok(()) => bail!("{to} answered"),
    }
}

fn udp(word: &Word) -> anyhow::Result<OwnedFd> {
    let socket = bound(word, SocketType::DGRAM, word.at)?;
    if let Some(peer) = word.connect {
        connect(&socket, &peer).with_context(|| format!("cannot connect to {peer}"))?;
    }
    Ok(socket)
}

/// Takes every connection and keeps it as long as the process lives.
fn accept_for_ever(listener: &OwnedFd) {
    let mut taken = Vec::new();
    while let Ok(connection) = accepted(listener) {
        taken.push(connection);
    }
}

/// A process that inherits one socket, as the workers of a server do, and does nothing with it.
fn worker_with(socket: &OwnedFd) -> anyhow::Result<Child> {
    fcntl_setfd(socket, FdFlags::empty())?;
    let worker = Command::new("/proc/self/exe")
        .arg0("testbed")
        .arg(WORKER)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start a worker")?;
    fcntl_setfd(socket, FdFlags::CLOEXEC)?;
    Ok(worker)
}

/// Waits until the kernel's table shows a TIME_WAIT (06) with each of these local ports.
fn await_time_wait(addresses: &[SocketAddr]) -> anyhow::Result<()> {
    let mut awaited: BTreeSet<u16> = addresses.iter().map(SocketAddr::port).collect();
    let shown = |line: &str| -> Option<u16> {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (_, port) = fields.next()?.rsplit_once(':')?;
        if fields.nth(1)? == "06" { u16::from_str_radix(port, 16).ok() } else { None }
    };
    let start = Instant::now();
    while start.elapsed() < SETTLE {
        for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
            let text = fs::read_to_string(table).with_context(|| format!("cannot read {table}"))?;
            let there: BTreeSet<u16> = text.lines().skip(1).filter_map(shown).collect();
            awaited.retain(|port| !there.contains(port));
        }
        if awaited.is_empty() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
    bail!("no TIME_WAIT on {} ports after {} s", awaited.len(), SETTLE.as_secs())
}

/// Lives as long as the process that shares its sockets.
pub(crate) fn work() -> anyhow::Result<()> {
    rustix::thread::set_name(c"testbed")?;
    crate::wait_for_end()
}
