//! Which programs registered which URLs with Windows' HTTP driver: `netsh http show servicestate view=requestq`.
//!
//! Source: the command's output as people posted it, in two shapes: process ids a line each under a heading (up to Windows
//! 8), and `ID: 8496, image: C:\…` (Windows 10 and later). Words are translated, so only this is relied on: URLs begin
//! with `http://` or `https://`; a process id stands alone on its line, or between a colon and a comma; and a line that is
//! indented less than the heading above the process ids begins the next request queue.
//!
//! Left out on purpose: the view by server sessions, which names no process: its URLs come back without one, unless the
//! same text names them again with one.

use std::net::IpAddr;

use crate::kernel::malformed::Malformed;
use crate::port::{Port, PortRange};
use crate::range::{Carrier, CarrierKind};
use crate::socket::Transport;

const FIELD: &str = "netsh http show servicestate";
/// The longest URL that is kept, in characters.
const LONGEST_URL: usize = 300;

/// A URL that a program registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The URL as it stands, at most 300 characters.
    pub url: String,
    /// The address it holds for; none for every address (`+`, `*`, a host name).
    pub address: Option<IpAddr>,
    /// Its port.
    pub port: Port,
    /// The request queue's name, where it has one: IIS' application pools do.
    pub queue: Option<String>,
    /// The processes that serve the queue; empty where the text names none.
    pub pids: Vec<u32>,
}

/// Every registered URL. An error for a text without any heading, and for a URL whose port is not understood.
pub fn registrations(text: &str) -> Result<Vec<Registration>, Malformed> {
    let mut found: Vec<Registration> = Vec::new();
    let mut queue = Queue::default();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (words, depth) = (line.trim(), line.len() - line.trim_start().len());
        if is_url(words) {
            let (address, port) = place(words).ok_or_else(|| Malformed::new(FIELD, words))?;
            let url = words.chars().take(LONGEST_URL).collect();
            found.push(Registration {
                url,
                address,
                port,
                queue: queue.name.clone(),
                pids: queue.pids.clone(),
            });
        } else if let Some(pid) = pid(words) {
            queue.process(pid);
        } else {
            queue.heading(words, depth);
        }
    }
    if queue.headings.is_empty() {
        return Err(Malformed::new(FIELD, text.trim()));
    }
    let named: Vec<String> = found.iter().filter(|r| !r.pids.is_empty()).map(|r| r.url.clone()).collect();
    found.retain(|r| !r.pids.is_empty() || !named.contains(&r.url));
    Ok(found)
}

/// What is known of the request queue whose lines are being read.
#[derive(Default)]
struct Queue {
    /// The headings above the present line, each indented further than the one before: how far, and its words.
    headings: Vec<(usize, String)>,
    /// How far the heading above the process ids is indented; none before the first id.
    depth: Option<usize>,
    name: Option<String>,
    pids: Vec<u32>,
}

impl Queue {
    fn heading(&mut self, words: &str, depth: usize) {
        if self.depth.is_some_and(|own| depth < own) {
            (self.depth, self.name) = (None, None);
            self.pids.clear();
        }
        while self.headings.last().is_some_and(|(above, _)| *above >= depth) {
            self.headings.pop();
        }
        self.headings.push((depth, words.chars().take(LONGEST_URL).collect()));
    }

    fn process(&mut self, pid: u32) {
        if self.depth.is_none() {
            self.depth = self.headings.last().map(|(depth, _)| *depth);
            let above = self.headings.len().checked_sub(2).and_then(|at| self.headings.get(at));
            self.name = above.and_then(|(_, words)| queue_name(words));
        }
        self.pids.push(pid);
    }
}

/// `Request queue name: DefaultAppPool`; an unnamed queue has a sentence there.
fn queue_name(heading: &str) -> Option<String> {
    let name = heading.split_once([':', '：'])?.1.trim();
    let plain =
        !name.is_empty() && name.len() <= 100 && !name.ends_with('.') && !name.contains(char::is_whitespace);
    (plain && name.chars().any(char::is_alphabetic)).then(|| name.to_owned())
}

fn is_url(words: &str) -> bool {
    let starts =
        |scheme: &str| words.get(..scheme.len()).is_some_and(|head| head.eq_ignore_ascii_case(scheme));
    starts("http://") || starts("https://")
}

/// `HTTP://+:5985/WSMAN/`, `HTTPS://[::1]:443/`, `HTTP://name:80:10.0.0.5/`: the address and the port.
fn place(url: &str) -> Option<(Option<IpAddr>, Port)> {
    let rest = url.split_once("://")?.1;
    let place = rest.split('/').next()?;
    let (host, after) = match place.strip_prefix('[') {
        Some(inside) => {
            let (host, after) = inside.split_once(']')?;
            (host, after.strip_prefix(':')?)
        }
        None => place.split_once(':')?,
    };
    let (port, bound) = after.split_once(':').map_or((after, None), |(port, bound)| (port, Some(bound)));
    let address = bound.unwrap_or(host).trim_matches(['[', ']']).parse().ok();
    Some((address, port.parse().ok()?))
}

/// A process id: alone on its line, or `ID: 8496, image: …`.
fn pid(words: &str) -> Option<u32> {
    if words.bytes().all(|b| b.is_ascii_digit()) {
        return words.parse().ok();
    }
    let rest = words.split_once([':', '：'])?.1.trim_start();
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    let (digits, after) = rest.split_at(end);
    after.starts_with([',', '，', '、']).then(|| digits.parse().ok())?
}

/// The registrations as carriers; `name_of` gives a process its name.
pub fn carriers(found: &[Registration], name_of: impl Fn(u32) -> Option<String>) -> Vec<Carrier> {
    let process = |pid: &u32| match name_of(*pid) {
        Some(name) => format!("{name} (pid {pid})"),
        None => format!("pid {pid}"),
    };
    let to = |registration: &Registration| {
        let pids: Vec<String> = registration.pids.iter().map(process).collect();
        let queue =
            registration.queue.as_ref().map_or_else(String::new, |queue| format!(", request queue {queue}"));
        (!pids.is_empty()).then(|| format!("{}{queue}", pids.join(" and ")))
    };
    let carrier = |registration: &Registration| Carrier {
        kind: CarrierKind::HttpSys,
        transport: Transport::Tcp,
        address: registration.address,
        ports: PortRange::single(registration.port),
        name: registration.url.clone(),
        to: to(registration),
    };
    found.iter().map(carrier).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Written after outputs of Windows 10 and of Server 2012 that people posted; ids and paths are made up.
    const NEW: &str = r"
Snapshot of HTTP service state (Request Queue View):
-----------------------------------------------------

Request queues:
    Request queue name: Request queue is unnamed.
        Version: 2.0
        State: Active
        Max requests: 1000
        Number of active processes attached: 1
        Processes:
            ID: 8496, image: <?>
            Services: WinRM
            Tagged Service: WinRM
        Registered URLs:
            HTTP://+:47001/WSMAN/
            HTTP://+:5985/WSMAN/
    Request queue name: Request queue is unnamed.
        Version: 2.0
        Number of active processes attached: 0
        Registered URLs:
            HTTP://127.0.0.1:19443:127.0.0.1/
    Request queue name: DefaultAppPool
        Processes:
            ID: 33704, image: C:\Windows\System32\inetsrv\w3wp.exe
            ID: 33705, image: C:\Windows\System32\inetsrv\w3wp.exe
        URL groups:
        URL group ID: FE0000022000001B
            Number of registered URLs: 1
            Registered URLs:
                HTTPS://[::1]:443/
";
    const OLD: &str = "Zustand des HTTP-Diensts:\r\n\r\nName der Anforderungswarteschlange: DefaultAppPool\r\n    Version: 2.0\r\n    Prozess-IDs:\r\n        3248\r\n    URL-Gruppen:\r\n    ID der URL-Gruppe: FE00000040000001\r\n        Registrierte URLs:\r\n            HTTP://*:80/\r\n";
    const SESSIONS: &str = "Server session ID: FF00000010000001\n    URL groups:\n        Registered URLs:\n            HTTP://+:5985/WSMAN/\n            HTTP://*:5357/4C2CDC17/\n\n";

    fn shown(text: &str) -> Vec<String> {
        let found = registrations(text).unwrap();
        let name = |pid| (pid == 3248).then(|| "w3wp.exe".to_owned());
        let line = |c: Carrier| {
            let address = c.address.map_or("*".to_owned(), |a| a.to_string());
            format!("{address} {} {} -> {}", c.ports, c.name, c.to.unwrap_or_default())
        };
        carriers(&found, name).into_iter().map(line).collect()
    }

    #[test]
    fn urls_name_the_processes_of_their_own_queue() {
        assert_eq!(
            shown(NEW),
            [
                "* 47001 HTTP://+:47001/WSMAN/ -> pid 8496",
                "* 5985 HTTP://+:5985/WSMAN/ -> pid 8496",
                "127.0.0.1 19443 HTTP://127.0.0.1:19443:127.0.0.1/ -> ",
                "::1 443 HTTPS://[::1]:443/ -> pid 33704 and pid 33705, request queue DefaultAppPool",
            ]
        );
        assert_eq!(shown(OLD), ["* 80 HTTP://*:80/ -> w3wp.exe (pid 3248), request queue DefaultAppPool"]);
    }

    #[test]
    fn the_view_by_sessions_adds_only_what_no_queue_names() {
        let both = format!("{SESSIONS}{NEW}");
        let urls = shown(&both);
        assert_eq!(urls[0], "* 5357 HTTP://*:5357/4C2CDC17/ -> ");
        assert_eq!(urls.iter().filter(|url| url.contains("5985")).count(), 1);
    }

    #[test]
    fn what_is_not_understood_is_an_error_and_nothing_is_no_none() {
        for text in ["", "\r\n", "    HTTP://+:/x", "Heading\n    HTTP://+:99999/x", "Heading\n  HTTP://+/"] {
            assert!(registrations(text).is_err(), "{text:?}");
        }
        assert_eq!(registrations("Snapshot of HTTP service state:").unwrap(), []);
    }

    #[test]
    fn no_truncation_gives_a_url_to_a_process_that_it_is_not_of() {
        let whole = registrations(NEW).unwrap();
        for end in (0..NEW.len()).filter(|end| NEW.is_char_boundary(*end)) {
            for found in registrations(&NEW[..end]).unwrap_or_default() {
                let same = |known: &&Registration| known.port == found.port;
                // A number or path cut off at the very end may be another; what it is given to is not.
                let Some(known) = whole.iter().find(same) else { continue };
                assert_eq!(found.pids, known.pids, "cut to {end}");
            }
        }
    }
}
