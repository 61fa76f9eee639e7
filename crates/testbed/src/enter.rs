//! `testbed enter`: becomes a program inside a network namespace, if asked as another user, or with other folders in
//! the place of the machine's (in a mount namespace of its own, so that nobody else sees them there).
//!
//! As another user the program is started through a descriptor that root opened, since a checkout below a home
//! directory may be out of that user's reach.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, bail};
use rustix::mount::mount_bind;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Does not return where it succeeds.
pub(crate) fn enter(arguments: &[String]) -> anyhow::Result<()> {
    let [namespace, rest @ ..] = arguments else { bail!("enter: give a file of a network namespace") };
    let file = File::open(namespace).with_context(|| format!("cannot open {namespace}"))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("cannot enter {namespace}"))?;
    let rest = bind(rest)?;
    let (uid, rest) = match rest {
        [option, uid, rest @ ..] if option == "--uid" => (Some(uid.parse::<u32>().context("--uid")?), rest),
        _ => (None, rest),
    };
    let [program, arguments @ ..] = rest else { bail!("enter: give a program") };
    become_program(program, arguments, uid)
}

/// Lays each `--bind SOURCE TARGET` over the machine's folders; what follows them is returned.
fn bind(mut arguments: &[String]) -> anyhow::Result<&[String]> {
    let mut private = false;
    while let [option, source, target, rest @ ..] = arguments
        && option == "--bind"
    {
        if !private {
            portolan_testbed::own_mounts().context("cannot make a mount namespace")?;
            private = true;
        }
        mount_bind(source, target).with_context(|| format!("cannot mount {source} on {target}"))?;
        arguments = rest;
    }
    Ok(arguments)
}

/// Replaces this process by another program; as another user it has that user's group alone and no capabilities.
pub(crate) fn become_program(program: &str, arguments: &[String], uid: Option<u32>) -> anyhow::Result<()> {
    let opened = match uid {
        Some(_) if program.contains('/') => {
            Some(File::open(program).with_context(|| format!("cannot open {program}"))?)
        }
        _ => None,
    };
    let reachable = opened.as_ref().map(|file| format!("/proc/self/fd/{}", file.as_raw_fd()));
    let mut command = Command::new(reachable.as_deref().unwrap_or(program));
    command.arg0(program).args(arguments);
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run {program}"))
}
