//! `portolan probe`, typed in namespaces with filters, refusals, dead ends and bad lines: port by port, none wrong.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use portolan_testbed::{Answer, Impaired, Impairment, Namespace, program};
use serde_json::Value;

/// What a port of the far host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// A listener; a UDP server that answers.
    Open,
    /// A UDP server that stays silent (TCP: a listener).
    Mute,
    Closed,
    Drop,
    /// REJECT with a reset (UDP: with a port-unreachable).
    Reset,
    PortUnreachable,
    Prohibited,
}

const KINDS: [Kind; 7] =
    [Kind::Open, Kind::Mute, Kind::Closed, Kind::Drop, Kind::Reset, Kind::PortUnreachable, Kind::Prohibited];

impl Kind {
    /// The state that has to be found.
    fn state(self, transport: &str) -> &'static str {
        match (self, transport) {
            (Self::Open, _) | (Self::Mute, "tcp") => "open",
            (Self::Closed | Self::Reset, _) | (Self::PortUnreachable, "udp") => "closed",
            (Self::Mute | Self::Drop, "udp") => "open|filtered",
            _ => "filtered",
        }
    }

    /// What nftables is to do with it.
    fn verdict(self, transport: &str, ipv6: bool) -> Option<&'static str> {
        match (self, transport, ipv6) {
            (Self::Drop, _, _) => Some("drop"),
            (Self::Reset, "tcp", _) => Some("reject with tcp reset"),
            (Self::Reset | Self::PortUnreachable, _, false) => {
                Some("meta nfproto ipv4 reject with icmp port-unreachable")
            }
            (Self::Reset | Self::PortUnreachable, _, true) => {
                Some("meta nfproto ipv6 reject with icmpv6 port-unreachable")
            }
            (Self::Prohibited, _, false) => Some("meta nfproto ipv4 reject with icmp admin-prohibited"),
            (Self::Prohibited, _, true) => Some("meta nfproto ipv6 reject with icmpv6 admin-prohibited"),
            _ => None,
        }
    }
}

/// Numbers that look like chance (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What every asked port is: by transport and number.
type Layout = BTreeMap<(&'static str, u16), Kind>;

fn layout(dice: &mut Dice, tcp: usize, udp: usize) -> Layout {
    let mut layout = Layout::new();
    for (transport, count) in [("tcp", tcp), ("udp", udp)] {
        let before = layout.len();
        while layout.len() < before + count {
            let port = 1024 + u16::try_from(dice.below(20_000)).unwrap();
            let kind = KINDS[usize::try_from(dice.below(KINDS.len() as u64)).unwrap()];
            layout.entry((transport, port)).or_insert(kind);
        }
    }
    layout
}

/// Fills a namespace with what the layout says, on one address. The listeners live as long as the value.
fn furnish(namespace: &Namespace, address: IpAddr, layout: &Layout) -> Vec<TcpListener> {
    let mut rules = String::from("table inet t {\nchain c {\ntype filter hook input priority 0;\n");
    let mut listeners = Vec::new();
    for (&(transport, port), &kind) in layout {
        if let Some(verdict) = kind.verdict(transport, address.is_ipv6()) {
            rules.push_str(&format!("{transport} dport {port} {verdict}\n"));
        }
        let at = SocketAddr::new(address, port);
        match (kind, transport) {
            (Kind::Open | Kind::Mute, "tcp") => {
                listeners.push(namespace.run(|| TcpListener::bind(at).unwrap()));
            }
            (Kind::Open | Kind::Mute, _) => {
                let socket = namespace.run(|| UdpSocket::bind(at).unwrap());
                // Ends with this test program.
                thread::spawn(move || {
                    let mut buffer = [0; 2048];
                    while let Ok((_, from)) = socket.recv_from(&mut buffer) {
                        if kind == Kind::Open {
                            let _ = socket.send_to(b"here", from);
                        }
                    }
                });
            }
            _ => {}
        }
    }
    rules.push_str("}\n}\n");
    nft(namespace, &rules);
    listeners
}

fn nft(namespace: &Namespace, rules: &str) {
    let mut child = namespace.command("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{rules}");
}

fn ip(namespace: &Namespace, arguments: &str) {
    assert!(namespace.command("ip").args(arguments.split(' ')).status().unwrap().success(), "ip {arguments}");
}

/// Lifts the limit on ICMP errors, where a test is not about it.
fn without_limit(namespace: &Namespace) {
    namespace.sysctl("net.ipv4.icmp_ratemask", "0");
    namespace.sysctl("net.ipv6.icmp.ratelimit", "0");
}

fn portolan(namespace: &Namespace, arguments: &[&str]) -> Answer {
    Answer::of(namespace.command(program("portolan")).arg("probe").args(arguments))
}

/// The ports of a layout as they are typed.
fn typed(layout: &Layout) -> String {
    layout.keys().map(|(transport, port)| format!("{port}/{transport}")).collect::<Vec<_>>().join(",")
}

/// The results of a run, by transport and port.
fn results(answer: &Answer) -> BTreeMap<(String, u16), Value> {
    let json = answer.json();
    let key = |result: &Value| {
        let port = u16::try_from(result["port"].as_u64().unwrap()).unwrap();
        (result["transport"].as_str().unwrap().to_owned(), port)
    };
    json["results"].as_array().unwrap().iter().map(|result| (key(result), result.clone())).collect()
}

/// Asks for every port of a layout.
fn asked(near: &Namespace, host: &str, layout: &Layout) -> BTreeMap<(String, u16), Value> {
    let answer = portolan(near, &[host, "-p", &typed(layout), "--bare", "--json"]);
    let found = results(&answer);
    assert_eq!(found.len(), layout.len(), "{answer}");
    found
}

/// Those whose state is wrong, a line each.
fn wrong(host: &str, layout: &Layout, found: &BTreeMap<(String, u16), Value>) -> Vec<String> {
    let differs = |(&(transport, port), kind): (&(&'static str, u16), &Kind)| {
        let result = &found[&(transport.to_owned(), port)];
        (result["state"] != kind.state(transport)).then(|| format!("{host} {kind:?} {result}"))
    };
    layout.iter().filter_map(differs).collect()
}

/// A host behind a router that has dead ends besides.
struct Behind {
    near: Namespace,
    router: Namespace,
    far: Namespace,
}

impl Behind {
    fn new() -> Self {
        let (near, router, far) = (Namespace::new(), Namespace::new(), Namespace::new());
        near.link("10.9.0.1/24", &router, "10.9.0.2/24");
        near.link("2001:db8:9::1/64", &router, "2001:db8:9::2/64");
        router.link("10.8.0.1/24", &far, "10.8.0.2/24");
        router.link("2001:db8:8::1/64", &far, "2001:db8:8::2/64");
        router.sysctl("net.ipv4.ip_forward", "1");
        router.sysctl("net.ipv6.conf.all.forwarding", "1");
        ip(&near, "route add default via 10.9.0.2");
        ip(&near, "-6 route add default via 2001:db8:9::2");
        ip(&far, "route add default via 10.8.0.1");
        ip(&far, "-6 route add default via 2001:db8:8::1");
        ip(&router, "route add unreachable 10.7.0.0/24");
        ip(&router, "route add blackhole 10.6.0.0/24");
        ip(&router, "-6 route add unreachable 2001:db8:7::/64");
        ip(&router, "-6 route add blackhole 2001:db8:6::/64");
        without_limit(&router);
        Self { near, router, far }
    }
}

/// One random layout over a router, of one family, with dead ends; how many ports, and what was wrong.
fn random_layout(seed: u64) -> (usize, Vec<String>) {
    let behind = Behind::new();
    without_limit(&behind.far);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ ((seed + 1) * 0x1234_5677));
    let (far, unrouted, swallowed) = match seed % 2 {
        0 => ("10.8.0.2", "10.7.0.9", "10.6.0.9"),
        _ => ("2001:db8:8::2", "2001:db8:7::9", "2001:db8:6::9"),
    };
    let layout = layout(&mut dice, 65, 45);
    let _listeners = furnish(&behind.far, far.parse().unwrap(), &layout);
    let mut faults = wrong(far, &layout, &asked(&behind.near, far, &layout));
    for (host, tcp, udp) in
        [(unrouted, "unreachable", "unreachable"), (swallowed, "filtered", "open|filtered")]
    {
        let answer = portolan(&behind.near, &[host, "-p", "80/both,443/both", "--bare", "--json"]);
        for ((transport, _), result) in results(&answer) {
            if result["state"] != if transport == "tcp" { tcp } else { udp } {
                faults.push(result.to_string());
            }
        }
    }
    (layout.len() + 8, faults)
}

#[test]
fn twenty_random_layouts_are_told_without_a_fault() {
    // Nearly all of it is waiting: together they take little longer than one.
    let runs: Vec<_> = (0..20).map(|seed| thread::spawn(move || random_layout(seed))).collect();
    let told: Vec<(usize, Vec<String>)> = runs.into_iter().map(|run| run.join().unwrap()).collect();
    let ports: usize = told.iter().map(|(ports, _)| ports).sum();
    let faults: Vec<&String> = told.iter().flat_map(|(_, faults)| faults).collect();
    assert!(ports >= 2000 && told.len() == 20, "{ports} ports");
    assert!(faults.is_empty(), "{} of {ports} are wrong:\n{faults:#?}", faults.len());
}

/// A line that is 50 ms long and loses so many of a thousand packets in each direction, with a layout at its end.
fn lossy_layout(
    seed: u64,
    lost_per_mille: u32,
    layout: &Layout,
) -> (BTreeMap<(String, u16), Value>, Vec<String>) {
    let (near_address, far_address) = match seed % 2 {
        0 => ("10.9.0.1/24", "10.9.0.2/24"),
        _ => ("2001:db8::1/64", "2001:db8::2/64"),
    };
    let (near, far) = (Namespace::new(), Namespace::new());
    let impairment = Impairment { delay: Duration::from_millis(25), lost_per_mille, seed: seed + 1 };
    let line = Impaired::new(&near, near_address, &far, far_address, impairment);
    without_limit(&far);
    let host = far_address.split('/').next().unwrap();
    let _listeners = furnish(&far, host.parse().unwrap(), layout);
    let found = asked(&near, host, layout);
    let (passed, lost) = line.counts();
    assert!(lost_per_mille == 0 || lost > 0, "nothing of {passed} packets was lost");
    let faults = wrong(host, layout, &found);
    (found, faults)
}

#[test]
fn loss_and_delay_change_no_verdict_in_twenty_random_layouts() {
    let run = |seed: u64| {
        let layout = layout(&mut Dice(0x2545_f491_4f6c_dd1d ^ ((seed + 1) * 0x7654_3211)), 60, 45);
        let (found, faults) = lossy_layout(seed, 20, &layout);
        (found.len(), faults)
    };
    let runs: Vec<_> = (0..20).map(|seed| thread::spawn(move || run(seed))).collect();
    let told: Vec<(usize, Vec<String>)> = runs.into_iter().map(|run| run.join().unwrap()).collect();
    let ports: usize = told.iter().map(|(ports, _)| ports).sum();
    let faults: Vec<&String> = told.iter().flat_map(|(_, faults)| faults).collect();
    assert!(ports >= 2000 && told.len() == 20, "{ports} ports");
    assert!(faults.is_empty(), "{} of {ports} are wrong:\n{faults:#?}", faults.len());
}

#[test]
fn the_more_gets_lost_the_more_often_silence_is_asked() {
    // Ports that answer, by which the loss is measured, and some that do not. UDP: not closed ones, since hosts limit
    // their ICMP errors, which looks like loss.
    let layout_of = |transport: &'static str| -> Layout {
        let answers = if transport == "tcp" { Kind::Closed } else { Kind::Open };
        let answering = (5000..5240).map(|port| ((transport, port), answers));
        answering.chain((6000..6008).map(|port| ((transport, port), Kind::Drop))).collect()
    };
    let tries_of = |seed: u64, lost_per_mille: u32, transport: &'static str| {
        let (found, faults) = lossy_layout(seed, lost_per_mille, &layout_of(transport));
        assert_eq!(faults, Vec::<String>::new());
        let tries = |ports: std::ops::Range<u16>| -> Vec<f64> {
            ports.map(|port| found[&(transport.to_owned(), port)]["tries"].as_f64().unwrap()).collect()
        };
        let (answered, silent) = (tries(5000..5240), tries(6000..6008));
        let lost: f64 = answered.iter().map(|tries| tries - 1.0).sum();
        let loss = lost / (lost + answered.len() as f64);
        let least = silent.iter().copied().fold(f64::MAX, f64::min);
        (loss, least)
    };
    thread::scope(|scope| {
        for (seed, transport) in [(0, "tcp"), (1, "tcp"), (2, "udp"), (3, "udp")] {
            scope.spawn(move || {
                let of = |lost_per_mille| tries_of(seed, lost_per_mille, transport);
                let [clean, some, much] = thread::scope(|scope| {
                    [0, 20, 100].map(|lost| scope.spawn(move || of(lost))).map(|run| run.join().unwrap())
                });
                // Where this machine was busy, a late answer counts as lost.
                assert!(clean.0 > 0.0 || (3.0..=6.0).contains(&clean.1), "{transport} {clean:?}");
                assert!(clean.1 <= some.1 && some.1 < much.1, "{transport} {clean:?} {some:?} {much:?}");
                for (loss, tries) in [some, much] {
                    // A tenth of it is left to what was still under way when the last try was made.
                    assert!(loss > 0.0 && loss.powf(tries) < 1e-8, "{transport}: {loss} lost, {tries} tries");
                }
            });
        }
    });
}

#[test]
fn silence_is_told_right_where_icmp_errors_are_limited() {
    let (near, far) = (Namespace::new(), Namespace::new());
    near.link("10.9.0.1/24", &far, "10.9.0.2/24");
    let mut layout = Layout::new();
    layout.extend((7000..7016).map(|port| (("udp", port), Kind::Closed)));
    layout.extend((7100..7104).map(|port| (("udp", port), Kind::Mute)));
    layout.extend((7200..7204).map(|port| (("udp", port), Kind::Open)));
    let _listeners = furnish(&far, "10.9.0.2".parse().unwrap(), &layout);
    let found = asked(&near, "10.9.0.2", &layout);
    assert_eq!(wrong("10.9.0.2", &layout, &found), Vec::<String>::new());
}

#[test]
fn a_host_that_says_of_itself_that_it_is_unreachable_says_so_of_single_ports() {
    let (near, far) = (Namespace::new(), Namespace::new());
    near.link("10.9.0.1/24", &far, "10.9.0.2/24");
    nft(
        &far,
        "table ip t {\nchain c {\ntype filter hook input priority 0;\ntcp dport 7000-7011 drop\n\
         tcp dport 7050-7069 reject with icmp host-unreachable\n}\n}\n",
    );
    // Its errors are limited: of most ports nothing comes, whatever they are.
    let answer =
        portolan(&near, &["10.9.0.2", "-p", "7000-7011,7050-7069", "--bare", "--all", "--json"]).with_code(1);
    let mut told = 0;
    for ((_, port), result) in results(&answer) {
        let state = result["state"].as_str().unwrap();
        let allowed = if port < 7050 { ["filtered", "undecided"] } else { ["unreachable", "undecided"] };
        assert!(allowed.contains(&state), "{port} is {state}: {answer}");
        told += u32::from(state == "unreachable");
    }
    assert!(told >= 6, "{answer}");
}

#[test]
fn what_was_set_and_cannot_be_asked_is_told_before_anybody_is_asked() {
    let namespace = Namespace::new();
    for (ports, set, part) in [
        ("53/udp", "name=x..test", "dns cannot be asked that: "),
        ("69/udp", "path=", "tftp cannot be asked that: "),
        ("80", "path=foo", "http cannot be asked that: 'foo' is no path"),
    ] {
        let answer = portolan(&namespace, &["127.0.0.1", "-p", ports, "--set", set]).with_code(2);
        assert!(answer.errors.contains(part) && answer.errors.lines().count() == 1, "{answer}");
    }
    let answer = portolan(&namespace, &["127.0.0.1", "-p", "tftp"]).with_code(2);
    assert!(answer.errors.contains("'tftp' names no tcp port; type tftp/udp"), "{answer}");
}

#[test]
fn a_refusal_names_who_sent_it() {
    let behind = Behind::new();
    nft(
        &behind.router,
        "table ip t {\nchain c {\ntype filter hook forward priority 0;\n\
         tcp dport 81 reject with icmp admin-prohibited\n}\n}\n",
    );
    let answer = portolan(&behind.near, &["10.8.0.2", "-p", "80,81,53/udp", "--bare", "--json"]).with_code(1);
    let found = results(&answer);
    let of = |transport: &str, port: u16| &found[&(transport.to_owned(), port)];
    assert_eq!(
        (&of("tcp", 80)["state"], &of("tcp", 80)["reason"]["kind"]),
        (&"closed".into(), &"reset".into())
    );
    let prohibited = &of("tcp", 81)["reason"];
    assert_eq!((&prohibited["icmp_type"], &prohibited["icmp_code"]), (&3.into(), &13.into()));
    assert_eq!(prohibited["from"], "10.9.0.2");
    let closed = &of("udp", 53)["reason"];
    assert_eq!((&closed["icmp_code"], &closed["from"]), (&3.into(), &"10.8.0.2".into()));
    assert!(of("udp", 53)["rtt_ms"].as_f64().is_some_and(|ms| ms > 0.0));
}

#[test]
fn the_exit_code_and_one_line_tell_what_went_wrong() {
    let namespace = Namespace::new();
    let listener = namespace.run(|| TcpListener::bind("127.0.0.1:7000").unwrap());
    portolan(&namespace, &["127.0.0.1:7000", "--bare"]).with_code(0);
    portolan(&namespace, &["127.0.0.1", "-p", "7000,7001", "--bare"]).with_code(1);
    for (arguments, part) in [
        (&["no-such-host.invalid", "-p", "80"][..], "cannot resolve 'no-such-host.invalid'"),
        (&["192.0.2.7", "-p", "80"], "no way leads from here to 192.0.2.7: Network is unreachable"),
        (&["fe80::1%lo", "-p", "80"], "see: portolan probe fe80::1%lo\n"),
        (&["127.0.0.1", "-p", "80", "--rate", "0"], "'0' is no rate"),
        (&["no-such-host.invalid"], "cannot resolve 'no-such-host.invalid'"),
        (&["127.0.0.1", "-p", "70000"], "port 70000 is too large"),
        (&["127.0.0.1", "-p", "90-80"], "type 80-90"),
        (&["127.0.0.1", "--bare"], "-p 22,80,443"),
        (&["127.0.0.1", "-p", "1", "--as", "dn"], "did you mean dns?"),
        (&["127.0.0.1", "-p", "1/udp", "--as", "banner"], "type the port as 1/tcp"),
        (&["::1", "-p", "1", "--source", "127.0.0.1"], "the families differ"),
        (&["10.0.0.0/8", "-p", "1"], "/16"),
        (&["127.0.0.1", "-p", "1", "--set", "colour=red"], "no protocol has a setting 'colour'"),
    ] {
        let answer = portolan(&namespace, arguments).with_code(2);
        assert!(
            answer.errors.contains(part) && answer.errors.lines().count() == 1,
            "{arguments:?}: {answer}"
        );
    }
    drop(listener);
}

#[test]
fn a_server_is_talked_to_as_was_asked_or_as_what_it_says_it_is() {
    let namespace = Namespace::new();
    let listener = namespace.run(|| TcpListener::bind("127.0.0.1:7022").unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.unwrap().write_all(b"SSH-2.0-test\r\n");
        }
    });
    let answer = portolan(&namespace, &["127.0.0.1:7022", "--as", "banner", "--json"]).with_code(0);
    let result = &results(&answer)[&("tcp".to_owned(), 7022)];
    assert_eq!(result["answer"]["fields"]["banner"], "SSH-2.0-test");
    let table = portolan(&namespace, &["127.0.0.1:7022", "--identify"]).with_code(0);
    assert!(table.output.contains("7022/tcp  open"), "{table}");
    assert!(table.output.contains("SSH-2.0-test"), "{table}");
}

#[test]
fn ctrl_c_keeps_what_was_found() {
    let namespace = Namespace::new();
    nft(
        &namespace,
        "table inet t {\nchain c {\ntype filter hook input priority 0;\ntcp dport 8000-9999 drop\n}\n}\n",
    );
    let listener = namespace.run(|| TcpListener::bind("127.0.0.1:7000").unwrap());
    let mut command = namespace.command(program("portolan"));
    let child = command
        .args(["probe", "127.0.0.1", "-p", "7000,8000-9999", "--rate", "50", "--json", "--bare"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Until the first questions are out: the listener has been connected to.
    listener.accept().unwrap();
    let pid = child.id().to_string();
    assert!(namespace.command("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &json["complete"]), (Some(1), &Value::Bool(false)));
    assert!(json["results"].as_array().unwrap().iter().any(|result| result["state"] == "open"), "{json}");
}
