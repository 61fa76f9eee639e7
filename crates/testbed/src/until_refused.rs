//! `testbed until-refused`: how often a call succeeds until the kernel has no port for it. Nothing is guessed: every socket
//! is made and kept.

use std::env;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::Command;

use anyhow::{Context, bail};
use portolan_testbed::{allow_descriptors, leave_port_to_connect};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use serde_json::{Value, json};

/// So many sockets a process keeps; the next ones are another's, since many systems allow no more descriptors.
const KEPT: u64 = 15_000;

/// Set for the second process, which is the last one: twice as many are more than any range of a test has.
const SECOND: &str = "TESTBED_SECOND";

/// Makes the call until it is refused, and prints one line of JSON.
pub(crate) fn until_refused(arguments: &[String]) -> anyhow::Result<()> {
    let [call, from, rest @ ..] = arguments else { bail!("type `testbed` for the calls") };
    let from: SocketAddr = from.parse().with_context(|| format!("'{from}' is no ADDR:0"))?;
    let to = rest.first().map(|to| to.parse::<SocketAddr>()).transpose().context("no ADDR:PORT")?;
    let kind = match (call.as_str(), to) {
        ("tcp-connect", Some(_)) | ("tcp-bind", None) => SocketType::STREAM,
        ("udp-connect", Some(_)) | ("udp-bind", None) => SocketType::DGRAM,
        _ => bail!("'{call}' with these addresses is no call: type `testbed` for the calls"),
    };
    allow_descriptors(KEPT);
    let mut kept = Vec::new();
    let refusal = loop {
        match attempt(kind, from, to) {
            Ok(socket) => kept.push(socket),
            Err(error) => break Some(error.raw_os_error()),
        }
        if kept.len() as u64 == KEPT {
            break None;
        }
    };
    let (more, refusal) = match refusal {
        Some(refusal) => (0, refusal),
        None if env::var_os(SECOND).is_some() => {
            bail!("more sockets than two processes keep: they free their ports")
        }
        None => go_on(arguments)?,
    };
    let line = json!({ "succeeded": kept.len() as u64 + more, "refusal": refusal });
    writeln!(std::io::stdout(), "{line}").context("cannot say it")
}

/// Another process goes on, while this one keeps what it has.
fn go_on(arguments: &[String]) -> anyhow::Result<(u64, i32)> {
    let output =
        Command::new("/proc/self/exe").arg("until-refused").args(arguments).env(SECOND, "").output()?;
    let line: Value = serde_json::from_slice(&output.stdout).context("the next process said nothing")?;
    let number = |name: &str| line[name].as_i64().context("the next process said something else");
    Ok((u64::try_from(number("succeeded")?)?, i32::try_from(number("refusal")?)?))
}

/// One call. A connection counts once it is on its way: it has its port then.
fn attempt(kind: SocketType, from: SocketAddr, to: Option<SocketAddr>) -> Result<OwnedFd, Errno> {
    let family = if from.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    let Some(to) = to else {
        bind(&socket, &from)?;
        return Ok(socket);
    };
    if kind == SocketType::STREAM {
        // Names the source, and leaves the port to connect().
        leave_port_to_connect(&socket)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::INVAL))?;
        bind(&socket, &from)?;
    }
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}
