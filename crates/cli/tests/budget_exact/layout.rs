//! Layouts of ports, generated: ranges, reservations, listeners, binds with and without reuse options, connections that were
//! bound and that were not, TIME_WAIT, in both families. The same ones at each run.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use portolan_testbed::{Held, Namespace};

/// Addresses of the machine, by family: two sources. Destinations are the second of them, and one that is silent.
const V4: [&str; 3] = ["10.0.0.1", "10.0.0.2", "198.51.100.9"];
const V6: [&str; 3] = ["2001:db8::1", "2001:db8::2", "2001:db8:ffff::9"];
const LOOPBACK: [&str; 3] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];

/// A layout that can be laid.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) first: u16,
    pub(crate) last: u16,
    reserved: Vec<String>,
    reuse: u8,
    /// `tcp_tw_reuse_delay`: 1 ms and a wait, or the longest, so that nothing is old enough.
    aged: bool,
    words: String,
    pub(crate) source: String,
    pub(crate) destination: String,
    /// How many ports IPv6 connections have, of which the kernel does not show whether they keep IPv4 out.
    pub(crate) v6_connections: u64,
}

/// A layout in a namespace of its own.
pub(crate) struct Layout {
    pub(crate) namespace: Namespace,
    _held: Held,
}

impl Plan {
    pub(crate) fn lay(&self) -> Layout {
        let namespace = Namespace::new();
        for address in ["10.0.0.1/32", "10.0.0.2/32", "2001:db8::1/128", "2001:db8::2/128"] {
            namespace.add_address(address);
        }
        // What goes out over loopback to nobody's address comes back in and is dropped: no answer, ever.
        for route in [["-4", "198.51.100.0/24"], ["-6", "2001:db8:ffff::/64"]] {
            let mut ip = namespace.command("/usr/sbin/ip");
            assert!(ip.args([route[0], "route", "add", route[1], "dev", "lo"]).status().unwrap().success());
        }
        namespace.sysctl("net.ipv4.ip_local_port_range", &format!("{} {}", self.first, self.last));
        namespace.sysctl("net.ipv4.ip_local_reserved_ports", &self.reserved.join(","));
        // A connection to nobody keeps its port until the last port is gone.
        namespace.sysctl("net.ipv4.tcp_syn_retries", "20");
        namespace.sysctl("net.ipv4.tcp_tw_reuse", &self.reuse.to_string());
        namespace.sysctl("net.ipv4.tcp_tw_reuse_delay", if self.aged { "1" } else { "60000" });
        let held = Held::new(&namespace, &self.words);
        if self.aged && self.words.contains("time-wait") {
            // Time itself is the event: a TIME_WAIT must be older than the delay, and the timer's tick.
            thread::sleep(Duration::from_millis(40));
        }
        Layout { namespace, _held: held }
    }
}

/// Numbers that look random and are the same at each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn one_of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len() as u64) as usize]
    }
}

/// Every plan.
pub(crate) fn plans() -> Vec<Plan> {
    let sizes = [4, 5, 6, 7, 9, 12, 16, 25, 31, 40, 64, 100, 101, 250, 333, 600];
    let mut plans: Vec<Plan> = (0..62).map(|n| plan(n, sizes[n as usize % sizes.len()])).collect();
    // Nearly all of it reserved.
    plans.push(Plan { reserved: vec!["33100-60990".into()], ..whole() });
    plans.push(Plan {
        reserved: vec!["32769-60700".into(), "60900".into()],
        first: 32_768,
        last: 60_998,
        ..plan(63, 400)
    });
    plans
}

/// The whole of Linux' own range: the kernel takes a minute or two to give away its last port.
pub(crate) fn whole() -> Plan {
    plan(62, 28_232)
}

/// Builds up the words of a plan: each port that is named is used once.
struct Words {
    dice: Dice,
    first: u16,
    size: u64,
    taken: BTreeSet<u16>,
    text: String,
    v6_connections: u64,
}

impl Words {
    /// A port of the range that nothing has yet; none where most are gone.
    fn port(&mut self) -> Option<u16> {
        if self.taken.len() as u64 * 3 > self.size {
            return None;
        }
        loop {
            let port = self.first + self.dice.below(self.size) as u16;
            if self.taken.insert(port) {
                return Some(port);
            }
        }
    }

    /// The whole range of Linux takes the kernel longer to give away than a TIME_WAIT lasts: there is none then.
    fn is_whole(&self) -> bool {
        self.size > 20_000
    }

    fn add(&mut self, word: &str) {
        let _ = write!(self.text, " {word}");
    }

    /// Listeners, bound sockets and UDP sockets, with and without options.
    fn add_holders(&mut self) {
        for _ in 0..=self.dice.below(4) {
            let Some(port) = self.port() else { return };
            let address =
                self.dice.one_of(&["0.0.0.0", "10.0.0.1", "127.0.0.1", "[::]", "[2001:db8::1]", "[::1]"]);
            let kind = self.dice.one_of(&["tcp-listen", "tcp-bound", "udp", "udp"]);
            let option = self.dice.one_of(&["", "--reuseaddr", "--reuseport", "--reuseaddr --reuseport"]);
            let only = if address == "[::]" { self.dice.one_of(&["--v6only", "--dual"]) } else { "" };
            self.add(&format!("{kind} {address}:{port} {option} {only}"));
        }
    }

    /// Sockets of a source that were bound before they were connected, to a destination of their own, and some that ended.
    /// They come before all whose ports the kernel chooses.
    fn add_bound(&mut self, source: &str, destination: &str, ended: &str) {
        for _ in 0..self.dice.below(3) {
            let Some(port) = self.port() else { break };
            let option = self.dice.one_of(&["", "--reuseaddr", "--reuseport"]);
            self.add(&format!("connections {destination} --as-client --from {source}:{port} {option}"));
            self.v6_connections += u64::from(source.starts_with('['));
        }
        if !self.is_whole()
            && self.dice.below(2) == 0
            && let Some(port) = self.port()
        {
            self.add(&format!("time-wait {source}:{port} --closed-by client --connect {ended}"));
            self.v6_connections += u64::from(source.starts_with('['));
        }
    }

    /// Connections whose ports the kernel chooses.
    fn add_connections(&mut self, source: &str, destination: &str) {
        let count = self.dice.below(1 + self.size / 8).min(300);
        if count > 0 {
            self.add(&format!(
                "connections {destination} --as-client --from {source}:0 --no-port --count {count}"
            ));
            self.v6_connections += if source.starts_with('[') { count } else { 0 };
        }
    }

    /// TIME_WAIT whose ports the kernel chooses, towards a destination whose listener is not yet there.
    fn add_time_wait(&mut self, source: &str, destination: &str) {
        let count = self.dice.below(1 + self.size / 10).min(12);
        if count > 0 && !self.is_whole() {
            let word = format!("time-wait {source}:0 --closed-by client --no-port --connect {destination}");
            self.add(&format!("{word} --count {count}"));
            self.v6_connections += if source.starts_with('[') { count } else { 0 };
        }
    }
}

fn plan(number: u64, size: u64) -> Plan {
    let mut dice = Dice(number * 7919 + 11);
    let first = 32_768 + number as u16 % 2 + 2 * dice.below(200) as u16;
    let first = if size > 20_000 { 32_768 } else { first };
    let last = first + size as u16 - 1;
    let family = if size > 20_000 { V4 } else { [V4, V6, LOOPBACK][number as usize % 3] };
    let literal =
        |address: &str| if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let [near, second, silent] = family.map(literal);
    let mut words =
        Words { dice, first, size, taken: BTreeSet::new(), text: String::new(), v6_connections: 0 };
    let mut reserved = Vec::new();
    for _ in 0..words.dice.below(3) {
        reserved.extend(words.port().map(|port| port.to_string()));
    }
    words.add_holders();
    let (one, other) = (format!("{second}:81"), format!("{second}:82"));
    words.add(&format!("tcp-listen {second}:83"));
    let ways = [(&near, &one), (&near, &other), (&second, &one)];
    ways.iter().for_each(|(source, ended)| words.add_bound(source, &format!("{second}:83"), ended));
    ways.iter().for_each(|(source, destination)| words.add_time_wait(source, destination));
    words.add(&format!("tcp-listen {one} --backlog 4096 tcp-listen {other} --backlog 4096"));
    ways.iter().for_each(|(source, destination)| words.add_connections(source, destination));
    if let Some(port) = words.port() {
        words.add(&format!("udp {near}:{port} --connect {second}:9 udp {second}:0 --connect {near}:9"));
        words.v6_connections += if near.starts_with('[') { 2 } else { 0 };
    }
    // The loopback's silent address would be its own: there a listener answers.
    let to_silent = number % 4 == 3 && family != LOOPBACK || size > 20_000;
    let destination = if to_silent { format!("{silent}:81") } else { one };
    Plan {
        first,
        last,
        reserved,
        reuse: (number / 3 % 3) as u8,
        aged: number % 5 != 4,
        words: words.text.trim().to_owned(),
        source: family[usize::from(number % 7 == 6)].to_owned(),
        destination,
        v6_connections: words.v6_connections,
    }
}
