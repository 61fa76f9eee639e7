//! Who holds sockets: the socket tables name a process, and this describes it.
//!
//! A process id of 0 is nobody (TIME_WAIT), 4 the kernel. Windows names the process that made a socket: where that one
//! has ended, a child that inherited the socket holds it, and which one is not to be seen.

use std::collections::BTreeSet;

use portolan_core::owner::Holder;
use portolan_core::snapshot::{Gap, GapReason, Reading};
use portolan_core::socket::{OwnerState, Socket};

use super::process::Describer;
use super::token::Token;
use crate::OwnerSearch;
use crate::sys::Holdings;

/// The process "System".
const KERNEL: u32 = 4;

/// Writes into each socket who holds it; `first_holder` says the process until then.
pub(super) fn find(sockets: &mut [Socket], search: OwnerSearch) -> Reading<Holdings> {
    let describer = match search {
        OwnerSearch::None => None,
        OwnerSearch::All | OwnerSearch::First | OwnerSearch::Remembered => Some(Describer::new()),
    };
    match describer {
        None => {
            sockets.iter_mut().for_each(|socket| socket.first_holder = 0);
            Reading::default()
        }
        Some(Ok(describer)) => assign(sockets, &describer),
        Some(Err(error)) => {
            for socket in sockets {
                socket.owner_state = state(std::mem::take(&mut socket.first_holder), |_| false);
            }
            let gap = Gap::new("owners", GapReason::Denied, format!("processes cannot be listed: {error}"));
            Reading { value: Holdings::default(), gaps: vec![gap] }
        }
    }
}

fn state(pid: u32, is_there: impl Fn(u32) -> bool) -> OwnerState {
    match pid {
        0 => OwnerState::Nobody,
        KERNEL => OwnerState::Kernel,
        pid if is_there(pid) => OwnerState::Seen,
        _ => OwnerState::Hidden,
    }
}

fn assign(sockets: &mut [Socket], describer: &Describer) -> Reading<Holdings> {
    let mut ended = BTreeSet::new();
    let mut pids = BTreeSet::new();
    for socket in &mut *sockets {
        socket.owner_state = state(socket.first_holder, |pid| describer.knows(pid));
        match socket.owner_state {
            OwnerState::Seen => _ = pids.insert(socket.first_holder),
            OwnerState::Hidden => _ = ended.insert(socket.first_holder),
            _ => {}
        }
    }
    let pids: Vec<u32> = pids.into_iter().collect();
    let mut holdings = Holdings::default();
    for socket in sockets {
        let pid = std::mem::take(&mut socket.first_holder);
        if let (OwnerState::Seen, Ok(owner)) = (socket.owner_state, pids.binary_search(&pid)) {
            socket.first_holder = u32::try_from(holdings.holders.len()).unwrap_or(u32::MAX);
            socket.holder_count = 1;
            holdings.holders.push(Holder { owner: owner as u32, descriptor: -1 });
        }
    }
    holdings.owners = pids.into_iter().map(|pid| describer.describe(pid)).collect();
    let mut gaps: Vec<Gap> = ended.iter().map(|pid| made_by_ended(*pid, describer)).collect();
    let unseen = holdings.owners.iter().filter(|owner| owner.executable.is_none()).count();
    if unseen > 0 && !Token::own().is_ok_and(|token| token.is_elevated()) {
        let detail = format!("of {unseen} processes more than the name may not be seen");
        gaps.push(Gap::new("owners", GapReason::Denied, detail).with_remedy("run as administrator"));
    }
    Reading { value: holdings, gaps }
}

/// The process that made a socket has ended, and the socket has not.
fn made_by_ended(pid: u32, describer: &Describer) -> Gap {
    let children: Vec<String> =
        describer.children(pid).iter().map(|entry| format!("{} (pid {})", entry.name, entry.pid)).collect();
    let heirs = match &children[..] {
        [] => "whoever inherited it is not to be seen".to_owned(),
        children => format!("one of its children may have inherited it: {}", children.join(", ")),
    };
    let detail = format!("process {pid} made a socket and has ended; {heirs}");
    Gap::new("owners", GapReason::Unsupported, detail).with_remedy("end the processes that it started")
}
