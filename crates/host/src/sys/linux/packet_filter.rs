//! The kernel's packet filter, listed by its own tools: nft, and iptables-save for what only iptables knows whole.
//!
//! Source: nfnetlink (linux/netfilter/nf_tables.h: NFT_MSG_GETTABLE), proc(5) for ip_tables_names. A kernel without
//! tables is known by asking it, so that no tool runs and no missing tool is reported there. Left out on purpose:
//! BPF programs on the way in (XDP, tc, cgroup), which no listing explains.

use std::io;

use portolan_core::kernel::packet_filter::Ruleset;
use portolan_core::kernel::{iptables, nftables, procfs};
use portolan_core::snapshot::{Gap, GapReason, Reading};
use portolan_core::socket::Family;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use super::{command, file};

/// What the gaps are called.
const WHAT: &str = "firewall";

/// All tables of this thread's namespace, as far as they could be read.
pub(super) fn rules() -> Reading<Ruleset> {
    let mut reading = Reading::whole(Ruleset::default());
    let gaps = &mut reading.gaps;
    match nf_tables() {
        Ok(false) => {}
        Ok(true) => nftables_rules(&mut reading.value, gaps),
        Err(error) => gaps.push(refused(&error)),
    }
    for (family, names) in [(Family::Ipv4, "ip_tables_names"), (Family::Ipv6, "ip6_tables_names")] {
        match file::text(format!("/proc/thread-self/net/{names}"), file::SHORT) {
            Ok(text) if text.trim().is_empty() => {}
            Ok(_) => gaps.extend(iptables_rules(family, false, &mut reading.value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // One line about missing rights is enough.
            Err(error) if gaps.is_empty() => gaps.push(refused(&error)),
            Err(_) => {}
        }
    }
    reading
}

fn refused(error: &io::Error) -> Gap {
    let detail = format!("the kernel shows the firewall's rules to root alone ({error})");
    Gap::new(WHAT, file::reason(error), detail).with_remedy("run as root")
}

fn nftables_rules(ruleset: &mut Ruleset, gaps: &mut Vec<Gap>) {
    let Some(nft) = command::find("nft") else {
        gaps.push(
            Gap::new(
                WHAT,
                GapReason::Unsupported,
                "the kernel has nftables rules, and nft is not installed to list them",
            )
            .with_remedy("install nftables"),
        );
        for family in Family::ALL {
            // Rules of iptables may still be shown; that there are none, or no tool, changes nothing.
            let _ = iptables_rules(family, true, ruleset);
        }
        return;
    };
    let listing = command::output(&nft, &["--json", "list", "ruleset"]);
    match listing.map(|json| nftables::decode(&json)) {
        Ok(Ok(listing)) => {
            ruleset.replace(listing.ruleset);
            if listing.has_iptables_parts {
                gaps.extend(Family::ALL.into_iter().filter_map(|f| iptables_rules(f, true, ruleset)));
            }
        }
        Ok(Err(error)) => gaps.push(Gap::new(WHAT, GapReason::Malformed, error.to_string())),
        Err(error) => gaps.push(Gap::new(WHAT, file::reason(&error.source), error.to_string())),
    }
}

/// Rules of iptables: those that nftables holds for it, or those of the legacy kind. Gives a gap when they cannot be read.
fn iptables_rules(family: Family, of_nft_kind: bool, ruleset: &mut Ruleset) -> Option<Gap> {
    let name = if family == Family::Ipv4 { "iptables" } else { "ip6tables" };
    let kind = if of_nft_kind { "nft" } else { "legacy" };
    // Distributions name the tool of each kind; the plain name is one of the two.
    for (tool, shown) in
        [(format!("{name}-{kind}-save"), format!("{name}-{kind}")), (format!("{name}-save"), name.into())]
    {
        let Some(path) = command::find(&tool) else { continue };
        let text = match command::output(&path, &[]) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => return Some(Gap::new(WHAT, file::reason(&error.source), error.to_string())),
        };
        if !text.trim().is_empty() && iptables::is_nft_kind(&text) != of_nft_kind {
            continue;
        }
        return match iptables::decode(&text, family, &shown) {
            Ok(rules) => {
                ruleset.replace(rules);
                None
            }
            Err(error) => Some(Gap::new(WHAT, GapReason::Malformed, format!("{tool}: {error}"))),
        };
    }
    let detail = format!(
        "the kernel has rules of {name} ({kind}), and {name}-{kind}-save is not installed to list them"
    );
    Some(Gap::new(WHAT, GapReason::Unsupported, detail).with_remedy("install iptables"))
}

/// Whether the kernel has nftables tables in this thread's namespace. An error when it does not say.
fn nf_tables() -> io::Result<bool> {
    if !may_have_nf_tables() {
        return Ok(false);
    }
    match first_table_message() {
        Ok(kind) => Ok(kind == NEW_TABLE),
        // No nfnetlink, or no nf_tables below it.
        Err(Errno::PROTONOSUPPORT | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// False when the kernel's modules are known and nf_tables is not among them: asking would load it.
fn may_have_nf_tables() -> bool {
    let Ok(loaded) = file::text("/proc/modules", file::LONG) else { return true };
    let built_in = || {
        let release = file::text("/proc/sys/kernel/osrelease", file::SHORT).unwrap_or_default();
        let path = format!("/lib/modules/{}/modules.builtin", release.trim());
        file::text(path, file::LONG).map_or(true, |list| list.contains("/nf_tables.ko"))
    };
    procfs::has_module(&loaded, "nf_tables") || built_in()
}

/// NFNL_SUBSYS_NFTABLES, in the upper byte of a message's type.
const SUBSYSTEM: u16 = 10 << 8;
const NEW_TABLE: u16 = SUBSYSTEM;
const GET_TABLE: u16 = SUBSYSTEM | 1;
/// NLM_F_REQUEST | NLM_F_DUMP.
const FLAGS: u16 = 0x301;
/// NLMSG_ERROR.
const ERROR: u16 = 2;

/// Asks for all tables; the type of the first message of the answer says whether there is one.
fn first_table_message() -> Result<u16, Errno> {
    let flags = SocketFlags::CLOEXEC;
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::NETFILTER))?;
    let mut request = Vec::with_capacity(20);
    request.extend_from_slice(&20u32.to_ne_bytes());
    request.extend_from_slice(&GET_TABLE.to_ne_bytes());
    request.extend_from_slice(&FLAGS.to_ne_bytes());
    // Sequence, port, then struct nfgenmsg: any family, version 0, no resource.
    request.extend_from_slice(&[0; 12]);
    rustix::net::send(&socket, &request, SendFlags::empty())?;
    let mut answer = [0; 8192];
    // A dump begins while it is asked for: an answer that is not there will not come.
    let (length, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::DONTWAIT)?;
    let answer = answer.get(..length).unwrap_or_default();
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    match kind.ok_or(Errno::BADMSG)? {
        ERROR => {
            let code = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
            Err(Errno::from_raw_os_error(code.map_or(libc::EBADMSG, i32::saturating_neg)))
        }
        kind => Ok(kind),
    }
}
