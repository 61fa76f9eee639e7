//! What a failing call means, each made to fail for a reason that only looks like another.

use std::process::{Child, Command, Stdio};

use portolan_testbed::{Answer, Held, Namespace, Telling, program};
use serde_json::Value;

use super::{begin, begun, ended};

/// What every script begins with: `tried` makes a call and keeps its socket, `own` narrows its range.
const PRELUDE: &str = "
import ctypes, os, socket, struct, sys, time
T, U, I, J = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.AF_INET, socket.AF_INET6
kept = []
def made(kind=T, family=I, bound=None, blocks=True):
    s = socket.socket(family, kind); kept.append(s)
    if bound: s.bind(bound)
    s.setblocking(blocks)
    return s
def tried(call, to):
    try: call(to)
    except OSError: pass
def own(kind, first, last):
    s = made(kind); s.setsockopt(socket.IPPROTO_IP, 51, struct.pack('I', last << 16 | first))
    return s
";

/// A program that makes calls, and keeps its sockets until all is told.
fn calling(mut command: Command, script: &str) -> Child {
    let script = format!("{PRELUDE}{script}\nsys.stdin.read()");
    command.args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap()
}

/// What it is told of so many calls of the program: transport, error, meaning and what to type, a line each; without how
/// long it took, and the program's pid.
fn told(mut tracing: Telling, mut caller: Child, count: usize) -> Vec<String> {
    let pid = caller.id();
    let mut calls: Vec<Value> = Vec::new();
    while calls.len() < count {
        let object: Value = serde_json::from_str(&tracing.line()).unwrap();
        let new = object["calls"].as_array().unwrap().iter().filter(|call| call["pid"] == pid);
        calls.extend(new.cloned());
    }
    drop(caller.stdin.take());
    caller.wait().unwrap();
    ended(tracing);
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let line = |call: &Value| {
        let meaning = &call["meaning"];
        let [kind, transport, error] = ["call", "transport", "error"].map(|key| word(&call[key]));
        let error = if error == "-" { word(&call["outcome"]) } else { error };
        let text = timeless(&word(&meaning["text"])).replace(&format!("(pid {pid})"), "(pid PID)");
        format!("{kind} {transport} {error}: {text} [{}]", word(&meaning["command"]))
    };
    calls.iter().map(line).collect()
}

/// How long something took depends on what else runs here: without ` after 1.2 s`.
fn timeless(text: &str) -> String {
    let Some((start, rest)) = text.split_once(" after ") else { return text.to_owned() };
    let unit = rest.split_once(' ').unwrap().1;
    let end = unit.find(|c: char| !c.is_alphabetic()).unwrap_or(unit.len());
    format!("{start}{}", &unit[end..])
}

/// The same, where the program runs in a namespace; its name is cut out.
fn told_in(namespace: &Namespace, script: &str, count: usize) -> String {
    let tracing = begin(namespace, &["--json"]);
    let lines = told(tracing, calling(namespace.command("/usr/bin/python3"), script), count);
    lines.join("\n").replace(namespace.name(), "NAME")
}

fn run(within: &Namespace, line: &str) {
    let mut words = line.split(' ');
    let status = within.command(words.next().unwrap()).args(words).status().unwrap();
    assert!(status.success(), "{line}");
}

#[test]
fn a_full_range_of_the_socket_s_own_is_told_beside_what_the_system_has_left() {
    let namespace = Namespace::new();
    namespace.sysctl("net.ipv4.ip_local_port_range", "40000 40099");
    let _server = Held::new(&namespace, "tcp-listen 127.0.0.1:7000");
    let script = "
for _ in range(3): tried(own(T, 40010, 40011).connect, ('127.0.0.1', 7000))
for _ in range(3): tried(own(U, 40010, 40011).connect, ('127.0.0.1', 7000))
for _ in range(2): tried(own(U, 40020, 40020).bind, ('127.0.0.1', 0))
";
    insta::assert_snapshot!(told_in(&namespace, script, 3), @r"
    connect tcp EADDRNOTAVAIL: no port of 40010-40011, the socket's own range (IP_LOCAL_PORT_RANGE), is left from 127.0.0.1 to 127.0.0.1:7000; the system's 40000-40099 has 98 left [portolan budget --to 127.0.0.1:7000 --netns NAME]
    connect udp EAGAIN: no port of 40010-40011, the socket's own range (IP_LOCAL_PORT_RANGE), is left for UDP; the system's 40000-40099 has 97 left [portolan budget --udp --netns NAME]
    bind udp EADDRINUSE: no port of 40020, the socket's own range (IP_LOCAL_PORT_RANGE), is left to give to udp on 127.0.0.1; the system's 40000-40099 has 97 left [portolan budget --bind --udp --netns NAME]
    ");
}

#[test]
fn a_machine_without_an_ipv6_address_does_not_lack_ports() {
    let namespace = Namespace::new();
    namespace.sysctl("net.ipv6.conf.all.disable_ipv6", "1");
    let script = "
tried(made(T, J).connect, ('::1', 7000))
tried(made(U, J).connect, ('2001:db8::1', 53))
tried(made(T, J, ('::', 7001)).connect, ('::1', 7000))
";
    insta::assert_snapshot!(told_in(&namespace, script, 3), @r"
    connect tcp EADDRNOTAVAIL: this machine has no IPv6 address to connect to ::1 from; IPv6 may be switched off (net.ipv6.conf.*.disable_ipv6) [ip netns exec NAME ip -6 address]
    connect udp EADDRNOTAVAIL: this machine has no IPv6 address to connect to 2001:db8::1 from; IPv6 may be switched off (net.ipv6.conf.*.disable_ipv6) [ip netns exec NAME ip -6 address]
    connect tcp EADDRNOTAVAIL: this machine has no IPv6 address to connect to ::1 from; IPv6 may be switched off (net.ipv6.conf.*.disable_ipv6) [ip netns exec NAME ip -6 address]
    ");
}

#[test]
fn udp_without_a_port_is_told_as_it_was_then_and_as_it_is_now() {
    let exhausted = |script: &str| {
        let namespace = Namespace::new();
        namespace.sysctl("net.ipv4.ip_local_port_range", "40000 40003");
        told_in(&namespace, &format!("for _ in range(4): made(U, I, ('0.0.0.0', 0))\n{script}"), 2)
    };
    let calls = "
s = made(U); tried(s.connect, ('127.0.0.1', 53))
tried(made(U).bind, ('127.0.0.1', 0))
";
    insta::assert_snapshot!(exhausted(calls), @r"
    connect udp EAGAIN: no port is left for UDP: 4 ports of 40000-40003, 0 reserved, 0 bound explicitly, 4 in use [portolan budget --udp --netns NAME]
    bind udp EADDRINUSE: no port is left to give to udp on 127.0.0.1: 4 ports of 40000-40003, 0 reserved, 0 bound explicitly, 4 in use [portolan budget --bind --udp --netns NAME]
    ");
    // What is told of is gathered for a moment before anybody looks.
    insta::assert_snapshot!(exhausted(&format!("{calls}\nfor s in kept: s.close()")), @r"
    connect udp EAGAIN: no port was left for UDP; since then 4 of 40000-40003 are free again [portolan budget --udp --netns NAME]
    bind udp EADDRINUSE: no port was left to give to udp on 127.0.0.1; since then 4 of 40000-40003 are free again [portolan budget --bind --udp --netns NAME]
    ");
}

#[test]
fn what_this_machine_refuses_is_told_apart_from_what_the_network_does() {
    let (namespace, other) = (Namespace::new(), Namespace::new());
    namespace.link("10.9.0.1/24", &other, "10.9.0.2/24");
    for (kind, host) in [("prohibit", 1), ("blackhole", 2), ("unreachable", 3)] {
        run(&namespace, &format!("ip route add {kind} 198.51.100.{host}"));
        run(&namespace, &format!("ip route add {kind} 2001:db8:1::{host}"));
    }
    run(&other, "nft add table ip t");
    run(&other, "nft add chain ip t in { type filter hook input priority 0 ; }");
    run(&other, "nft add rule ip t in tcp dport 7998 drop");
    run(&other, "nft add rule ip t in tcp dport 7999 reject with icmp type net-unreachable");
    let script = "
for host in (1, 2, 3):
    tried(made().connect, ('198.51.100.%d' % host, 80))
    tried(made(T, J).connect, ('2001:db8:1::%d' % host, 80))
tried(made(U).connect, ('198.51.100.3', 80))
tried(made(T, I, ('127.0.0.1', 0)).connect, ('10.9.0.2', 80))
tried(made(U, I, ('127.0.0.1', 0)).connect, ('10.9.0.2', 80))
tried(made().connect, ('224.0.0.5', 80))
tried(made().connect, ('10.9.0.255', 80))
tried(made(U).connect, ('10.9.0.255', 80))
tried(made(T, J).connect, ('fe80::1', 80))
tried(made().connect, ('203.0.113.1', 80))
tried(made().connect, ('10.9.0.2', 7999))
s = made(); s.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
tried(s.connect, ('10.9.0.2', 7998))
";
    insta::assert_snapshot!(told_in(&namespace, script, 16), @r"
    connect tcp EACCES: nothing was sent to 198.51.100.1: a prohibit route of this machine forbids it [ip netns exec NAME ip route get 198.51.100.1]
    connect tcp EACCES: nothing was sent to 2001:db8:1::1: a prohibit route of this machine forbids it [ip netns exec NAME ip route get 2001:db8:1::1]
    connect tcp EINVAL: nothing was sent to 198.51.100.2: a blackhole route of this machine swallows it [ip netns exec NAME ip route get 198.51.100.2]
    connect tcp EINVAL: nothing was sent to 2001:db8:1::2: a blackhole route of this machine swallows it [ip netns exec NAME ip route get 2001:db8:1::2]
    connect tcp EHOSTUNREACH: nothing was sent to 198.51.100.3: an unreachable route of this machine refuses it [ip netns exec NAME ip route get 198.51.100.3]
    connect tcp EHOSTUNREACH: nothing was sent to 2001:db8:1::3: an unreachable route of this machine refuses it [ip netns exec NAME ip route get 2001:db8:1::3]
    connect udp EHOSTUNREACH: nothing was sent to 198.51.100.3: an unreachable route of this machine refuses it [ip netns exec NAME ip route get 198.51.100.3]
    connect tcp EINVAL: the socket is bound to 127.0.0.1, and from there only this machine itself is reached, not 10.9.0.2 [ip netns exec NAME ip route get 10.9.0.2]
    connect udp EINVAL: the socket is bound to 127.0.0.1, and from there only this machine itself is reached, not 10.9.0.2 [ip netns exec NAME ip route get 10.9.0.2]
    connect tcp ENETUNREACH: 224.0.0.5 is a group, and TCP connects to single hosts alone [ip netns exec NAME ip route get 224.0.0.5]
    connect tcp ENETUNREACH: 10.9.0.255 is a broadcast address, and TCP connects to single hosts alone [ip netns exec NAME ip route get 10.9.0.255]
    connect udp EACCES: 10.9.0.255 is a broadcast address, which needs SO_BROADCAST [ip netns exec NAME ip route get 10.9.0.255]
    connect tcp EINVAL: fe80::1 is a link-local address, and the program did not say on which interface [ip netns exec NAME ip route get fe80::1]
    connect tcp ENETUNREACH: no route leads to 203.0.113.1 [portolan probe 203.0.113.1 --netns NAME]
    connect tcp ENETUNREACH: a router or a firewall said that no route leads to 10.9.0.2 [portolan probe 10.9.0.2 -p 7999 --netns NAME]
    connect tcp ETIMEDOUT: 10.9.0.2 did not answer: packets are dropped on the way, or the host is down [portolan probe 10.9.0.2 -p 7998 --netns NAME]
    ");
}

#[test]
fn whoever_does_not_wait_and_a_listener_that_does_not_accept_are_not_put_down_to_the_network() {
    let (namespace, other) = (Namespace::new(), Namespace::new());
    namespace.link("10.9.0.1/24", &other, "10.9.0.2/24");
    // Nobody has 10.9.0.77, and nothing on the link says so at once.
    let script = "
def begins(to):
    s = made(T, I, None, False); tried(s.connect, to); return s
begins(('10.9.0.77', 80)).close()
listener = made(T, I, ('127.0.0.1', 7000)); listener.listen(1)
queued = [begins(('127.0.0.1', 7000)) for _ in range(3)]
late = made(); late.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
tried(late.connect, ('127.0.0.1', 7000))
queued[2].close()
";
    insta::assert_snapshot!(told_in(&namespace, script, 3), @r"
    connect tcp given-up: the program closed the socket, before an answer came: it did not wait for one [portolan probe 10.9.0.77 -p 80 --netns NAME]
    connect tcp ETIMEDOUT: python3 (pid PID) does not accept fast enough on 127.0.0.1:7000 of this machine: 2 wait in its accept queue, with a backlog of 1; it timed out [portolan who 7000 --netns NAME]
    connect tcp given-up: python3 (pid PID) does not accept fast enough on 127.0.0.1:7000 of this machine: 2 wait in its accept queue, with a backlog of 1; the program gave up [portolan who 7000 --netns NAME]
    ");
}

#[test]
fn a_program_s_own_mistakes_are_shown_and_its_questions_whether_it_is_connected_are_not() {
    let namespace = Namespace::new();
    let _server = Held::new(&namespace, "tcp-listen 127.0.0.1:7000");
    let script = "
libc = ctypes.CDLL(None)
to = ctypes.create_string_buffer(struct.pack('=HH4s8x', 2, socket.htons(7000), bytes([127, 0, 0, 1])), 16)
nowhere = ctypes.c_void_p(8)
file = os.open('/etc/passwd', os.O_RDONLY)
unix = socket.socket(socket.AF_UNIX)
for fd in (file, 999): libc.bind(fd, to, 16); libc.connect(fd, to, 16); libc.listen(fd, 1)
for fd in (unix.fileno(), made().fileno()):
    for call in (libc.bind, libc.connect): call(fd, nowhere, 16); call(fd, to, 4)
s = made()
for port in (7000, 7000, 7001): tried(s.connect, ('127.0.0.1', port))
listener = made(T, I, ('127.0.0.1', 7002)); listener.listen(1); tried(listener.connect, ('127.0.0.1', 7000))
";
    insta::assert_snapshot!(told_in(&namespace, script, 12), @r"
    bind - ENOTSOCK: the descriptor is no socket, but a file or a pipe [-]
    connect - ENOTSOCK: the descriptor is no socket, but a file or a pipe [-]
    listen - ENOTSOCK: the descriptor is no socket, but a file or a pipe [-]
    bind - EBADF: the descriptor is not open: the program gave a wrong or a closed one [-]
    connect - EBADF: the descriptor is not open: the program gave a wrong or a closed one [-]
    listen - EBADF: the descriptor is not open: the program gave a wrong or a closed one [-]
    bind tcp EFAULT: the program gave an address that lies outside of its memory [-]
    bind tcp EINVAL: the socket is bound already, or the program gave an address that is too short [-]
    connect tcp EFAULT: the program gave an address that lies outside of its memory [-]
    connect tcp EINVAL: the program gave an address that is too short [-]
    connect tcp EISCONN: the socket is connected already, or listens [-]
    connect tcp EISCONN: the socket is connected already, or listens [-]
    ");
}

/// A command as it is printed, with this build's program; what it says.
fn typed(command: &str, code: i32) -> String {
    let own = format!("'{}'", program("portolan").display());
    let mut shell = Command::new("sh");
    Answer::of(shell.args(["-c", &command.replace("portolan", &own)])).with_code(code).output
}

#[test]
fn what_to_type_is_typed_for_the_caller_s_network_namespace_and_says_there_what_is_so() {
    let namespace = Namespace::new();
    namespace.sysctl("net.ipv4.ip_local_port_range", "40000 40003");
    run(&namespace, "ip route add blackhole 198.51.100.2");
    let _full = Held::new(&namespace, "connections 127.0.0.1:7000 --count 4");
    // It sees every namespace.
    let tracing = begun(Command::new(program("portolan")).args(["trace", "--json"]));
    let script = "
tried(made().connect, ('127.0.0.1', 7000))
tried(made().connect, ('198.51.100.2', 80))
tried(made().connect, ('127.0.0.1', 7009))
";
    let lines = told(tracing, calling(namespace.command("/usr/bin/python3"), script), 3);
    let commands: Vec<&str> =
        lines.iter().map(|line| line.split_once(" [").unwrap().1.trim_end_matches(']')).collect();
    let name = namespace.name();
    assert_eq!(
        commands,
        [
            format!("portolan budget --to 127.0.0.1:7000 --netns {name}"),
            format!("ip netns exec {name} ip route get 198.51.100.2"),
            format!("portolan who 7009 --netns {name}"),
        ]
    );
    let budget = typed(commands[0], 1);
    assert!(budget.contains("40000-40003"), "{budget}");
}

#[test]
fn a_namespace_without_a_name_is_that_of_a_process_in_it() {
    let tracing = begun(Command::new(program("portolan")).args(["trace", "--json"]));
    let mut command = Command::new("unshare");
    command.args(["--net", "/usr/bin/python3"]);
    let script = "
tried(made(T, J).connect, ('fe80::1', 80))
tried(made().connect, ('203.0.113.1', 80))
";
    let caller = calling(command, script);
    let pid = caller.id();
    let lines = told(tracing, caller, 2);
    assert!(
        lines[0].ends_with(&format!("[nsenter --target {pid} --net ip route get fe80::1]")),
        "{lines:#?}"
    );
    assert!(lines[1].ends_with(&format!("[portolan probe 203.0.113.1 --netns {pid}]")), "{lines:#?}");
}
