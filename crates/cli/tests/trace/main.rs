//! `portolan trace`, end to end: each failing call of a program, with its error and what it means.
#![cfg(target_os = "linux")]

mod reasons;

use std::process::{Command, Stdio};

use portolan_testbed::{Answer, Held, Namespace, Signal, Telling, program};
use serde_json::Value;

/// An ordinary user.
const NOBODY: u32 = 65_534;
/// Connects as often as its first argument says, keeps every socket, and says how often it was refused.
const CONNECTS: &str = "
import socket, sys
kept, refused = [], 0
for _ in range(int(sys.argv[1])):
    s = socket.socket(); kept.append(s)
    try: s.connect((sys.argv[2], int(sys.argv[3])))
    except OSError: refused += 1
print(refused)
";

/// A trace of one namespace, from outside of it: it sees all of them.
fn begin(namespace: &Namespace, arguments: &[&str]) -> Telling {
    let mut command = Command::new(program("portolan"));
    begun(command.args(["trace", "--netns", namespace.name()]).args(arguments))
}

fn begun(command: &mut Command) -> Telling {
    let mut tracing = Telling::begin(command);
    let line = tracing.line();
    assert!(line.contains("tracing bind") || line.contains("\"begun\""), "{line}");
    tracing
}

/// Ends it by Ctrl+C's signal; what it said until then.
fn ended(tracing: Telling) -> String {
    tracing.signal(Signal::INT);
    let (rest, code) = tracing.end();
    assert_eq!(code, Some(0), "{rest}");
    rest
}

/// The same for --json: every call that it told of.
fn calls(tracing: Telling) -> Vec<Value> {
    let text = ended(tracing);
    let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(objects.iter().all(|object| object["lost"] == 0), "{text}");
    let calls: Vec<Value> =
        objects.iter().flat_map(|object| object["calls"].as_array().unwrap()).cloned().collect();
    assert_eq!(objects.last().unwrap()["calls_in_all"], calls.len());
    calls
}

/// Runs a script in a namespace; what it printed.
fn python(mut command: Command, script: &str, arguments: &[&str]) -> String {
    Answer::of(command.args(["-c", script]).args(arguments)).with_code(0).output.trim().to_owned()
}

fn connects(namespace: &Namespace, count: &str, port: &str) -> String {
    python(namespace.command("/usr/bin/python3"), CONNECTS, &[count, "127.0.0.1", port])
}

#[test]
fn each_failing_call_of_a_program_that_exhausts_its_range_is_shown_with_the_reason() {
    let namespace = Namespace::new();
    namespace.sysctl("net.ipv4.ip_local_port_range", "40000 40099");
    let _others = Held::new(&namespace, "connections 127.0.0.1:7000 --count 90");
    let tracing = begin(&namespace, &["--json"]);
    assert_eq!(connects(&namespace, "30", "7000"), "20");
    let calls = calls(tracing);
    assert_eq!(calls.len(), 20);
    for call in &calls {
        let seen = (&call["program"], &call["call"], &call["transport"], &call["error"], &call["remote"]);
        assert_eq!(
            seen,
            (
                &"python3".into(),
                &"connect".into(),
                &"tcp".into(),
                &"EADDRNOTAVAIL".into(),
                &"127.0.0.1:7000".into()
            )
        );
        assert_eq!(call["network_namespace"], namespace.inode());
        let meaning = &call["meaning"];
        assert_eq!(meaning["rule"], "destination-exhausted");
        let command = format!("portolan budget --to 127.0.0.1:7000 --netns {}", namespace.name());
        assert_eq!(meaning["command"], command);
        let text = meaning["text"].as_str().unwrap();
        assert!(text.contains("from 127.0.0.1 to 127.0.0.1:7000"), "{text}");
    }
}

#[test]
fn the_look_counts_what_is_left_while_the_program_still_has_its_ports() {
    let namespace = Namespace::new();
    namespace.sysctl("net.ipv4.ip_local_port_range", "40000 40099");
    let _others = Held::new(&namespace, "connections 127.0.0.1:7000 --count 100");
    let mut tracing = begin(&namespace, &[]);
    assert_eq!(connects(&namespace, "215", "7000"), "215");
    let line = tracing.line_with("EADDRNOTAVAIL");
    let expected = "no port is left from 127.0.0.1 to 127.0.0.1:7000: 100 ports of 40000-40099, 0 reserved, \
                    0 bound explicitly, 100 in use to it; type: portolan budget --to 127.0.0.1:7000";
    assert!(line.contains(expected), "{line}");
    let rest = ended(tracing);
    // The first was told; the rest are counted, within less than the 10 s after which they would be told by themselves.
    assert!(rest.contains("214 more in the last "), "{rest}");
    assert!(rest.contains("seen: 215 calls (215 connect EADDRNOTAVAIL)"), "{rest}");
}

#[test]
fn binds_are_told_with_the_holder_the_address_and_the_right() {
    let namespace = Namespace::new();
    let held = Held::new(&namespace, "tcp-listen 127.0.0.1:7000 udp [::1]:7001");
    let mut tracing = begin(&namespace, &["--call", "bind"]);
    let script = "
import socket, sys, time
for kind, address in [(socket.SOCK_STREAM, '127.0.0.1'), (socket.SOCK_DGRAM, '::1'), (socket.SOCK_STREAM, '192.0.2.9')]:
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    port = 7001 if ':' in address else 7000
    try: socket.socket(family, kind).bind((address, port))
    except OSError as error: print(error.errno)
";
    let output = python(namespace.command("/usr/bin/python3"), script, &[]);
    assert_eq!(output.lines().collect::<Vec<_>>(), ["98", "98", "99"]);
    let holder = format!("is held by testbed (pid {})", held.pid());
    let tcp = tracing.line_with("bind tcp 127.0.0.1:7000  EADDRINUSE");
    let command = format!("type: portolan why 127.0.0.1:7000 --netns {}\n", namespace.name());
    assert!(tcp.contains(&holder) && tcp.ends_with(&command), "{tcp}");
    let udp = tracing.line_with("bind udp [::1]:7001  EADDRINUSE");
    assert!(udp.contains(&holder), "{udp}");
    let foreign = tracing.line_with("192.0.2.9:7000  EADDRNOTAVAIL");
    assert!(foreign.contains("192.0.2.9 is not an address of this host; type: portolan why "), "{foreign}");
    let low = "
import socket
try: socket.socket().bind(('127.0.0.1', 80))
except OSError as error: print(error.errno)
";
    assert_eq!(python(namespace.command_as(NOBODY, "/usr/bin/python3"), low, &[]), "13");
    let denied = tracing.line_with("127.0.0.1:80  EACCES");
    assert!(denied.contains("80 lies below 1024, and the one who asks may not bind such ports"), "{denied}");
    ended(tracing);
}

#[test]
fn connections_of_every_family_are_told_and_filters_choose_among_them() {
    let namespace = Namespace::new();
    let script = "
import socket
for family, kind, to in [(socket.AF_INET, socket.SOCK_STREAM, ('127.0.0.1', 7101)),
                         (socket.AF_INET6, socket.SOCK_STREAM, ('::1', 7102)),
                         (socket.AF_INET6, socket.SOCK_STREAM, ('::ffff:127.0.0.1', 7103)),
                         (socket.AF_INET, socket.SOCK_DGRAM, ('198.51.100.7', 7104)),
                         (socket.AF_INET, socket.SOCK_STREAM, ('198.51.100.7', 7105))]:
    try: socket.socket(family, kind).connect(to)
    except OSError: pass
s = socket.socket(); s.setblocking(False)
try: s.connect(('127.0.0.1', 7106))
except BlockingIOError: pass
";
    let every = begin(&namespace, &["--json"]);
    let by_error = begin(&namespace, &["--json", "--error", "ENETUNREACH"]);
    let by_port = begin(&namespace, &["--json", "--port", "7102-7103", "--name", "pyth*"]);
    let none = begin(&namespace, &["--json", "--pid", "1"]);
    python(namespace.command("/usr/bin/python3"), script, &[]);
    let told = |calls: Vec<Value>| -> Vec<String> {
        let word = |call: &Value, key: &str| call[key].as_str().unwrap_or("-").to_owned();
        let keys = ["transport", "remote", "outcome", "error"];
        calls.iter().map(|call| keys.map(|key| word(call, key)).join(" ")).collect()
    };
    assert_eq!(
        told(calls(every)),
        [
            "tcp 127.0.0.1:7101 failed ECONNREFUSED",
            "tcp [::1]:7102 failed ECONNREFUSED",
            "tcp [::ffff:127.0.0.1]:7103 failed ECONNREFUSED",
            "udp 198.51.100.7:7104 failed ENETUNREACH",
            "tcp 198.51.100.7:7105 failed ENETUNREACH",
            "tcp 127.0.0.1:7106 failed-later ECONNREFUSED",
        ]
    );
    assert_eq!(told(calls(by_error)).len(), 2);
    assert_eq!(told(calls(by_port)).len(), 2);
    assert_eq!(told(calls(none)).len(), 0);
}

#[test]
fn calls_that_come_about_are_told_with_all_and_a_count_ends_it() {
    let namespace = Namespace::new();
    let _server = Held::new(&namespace, "tcp-listen 127.0.0.1:7000");
    let mut tracing = begin(&namespace, &["--all", "--call", "connect", "--count", "2"]);
    assert_eq!(connects(&namespace, "1", "7000"), "0");
    assert!(tracing.line_with("127.0.0.1:7000").contains("  done"));
    assert_eq!(connects(&namespace, "1", "7001"), "1");
    assert!(tracing.line_with("127.0.0.1:7001").contains("ECONNREFUSED  nobody listens on 127.0.0.1:7001"));
    tracing.line_with("seen: 2 calls (1 connect ECONNREFUSED, 1 connect done)");
    assert_eq!(tracing.end().1, Some(0));
    let mut command = Command::new(program("portolan"));
    command.args(["trace", "--netns", namespace.name(), "--count", "1", "--for", "0.2"]);
    let told = Answer::of(&mut command).with_code(1);
    assert!(told.errors.contains("there were not 1 such calls in 0.2 s"), "{told}");
}

#[test]
fn tracepoints_alone_see_the_same_but_for_the_address_of_bind_and_say_so() {
    let namespace = Namespace::new();
    namespace.sysctl("net.ipv4.ip_local_port_range", "40000 40009");
    let _held = Held::new(&namespace, "connections 127.0.0.1:7000 --count 10");
    let script = "
import socket, sys
for family, to in [(socket.AF_INET, ('127.0.0.1', 7000)), (socket.AF_INET, ('127.0.0.1', 7001)),
                   (socket.AF_INET6, ('::1', 7002))]:
    try: socket.socket(family).connect(to)
    except OSError: pass
try: socket.socket().bind(('127.0.0.1', 7000))
except OSError: pass
s = socket.socket(); s.setblocking(False)
try: s.connect(('127.0.0.1', 7003))
except BlockingIOError: pass
sys.stdin.read()
";
    let mut tracing = begin(&namespace, &["--way", "tracepoints"]);
    let told = tracing.line_with("not seen: addresses of bind");
    assert!(told.contains("the tracepoints do not tell the address that bind() was given"), "{told}");
    ended(tracing);
    let mut tracing = begin(&namespace, &["--way", "tracepoints", "--json"]);
    let mut python = namespace.command("/usr/bin/python3");
    let mut python = python.args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
    // It stays until all is told: its name is read after its calls.
    let mut calls: Vec<Value> = Vec::new();
    while !calls.iter().any(|call| call["remote"] == "127.0.0.1:7003") {
        let object: Value = serde_json::from_str(&tracing.line()).unwrap();
        calls.extend(object["calls"].as_array().unwrap().iter().cloned());
    }
    drop(python.stdin.take());
    python.wait().unwrap();
    calls.retain(|call| call["pid"] == python.id());
    let told = calls.iter().map(|call| {
        assert_eq!(call["program"], "python3", "{call}");
        let word = |key: &str| call[key].as_str().unwrap_or("-");
        ["call", "transport", "remote", "outcome", "error"].map(word).join(" ")
    });
    let mut told: Vec<String> = told.collect();
    told.sort();
    assert_eq!(
        told,
        [
            "bind - - failed EADDRINUSE",
            "connect tcp 127.0.0.1:7000 failed EADDRNOTAVAIL",
            "connect tcp 127.0.0.1:7001 failed ECONNREFUSED",
            "connect tcp 127.0.0.1:7003 failed-later ECONNREFUSED",
            "connect tcp [::1]:7002 failed ECONNREFUSED",
        ]
    );
}

#[test]
fn without_rights_one_line_says_what_is_needed() {
    let namespace = Namespace::new();
    let mut command = namespace.command_as(NOBODY, program("portolan"));
    let told = Answer::of(command.arg("trace")).with_code(2);
    assert_eq!(told.output, "");
    assert_eq!(told.errors.lines().count(), 1, "{told}");
    assert!(told.errors.contains("run it as root, or with CAP_BPF, CAP_PERFMON and a tracefs"), "{told}");
}

#[test]
fn the_capabilities_alone_are_enough_where_tracefs_may_be_read() {
    let namespace = Namespace::new();
    let capabilities = "+bpf,+perfmon,+dac_read_search";
    // A tracefs of its own mounts, since not every machine has one where it belongs.
    let script = format!(
        "mount -t tracefs tracefs /sys/kernel/tracing && exec 9<{portolan} && exec setpriv --reuid {NOBODY} \
         --regid {NOBODY} --clear-groups --inh-caps {capabilities} --ambient-caps {capabilities} \
         /proc/self/fd/9 trace --name python3 --json",
        portolan = program("portolan").display()
    );
    let mut command = namespace.command("/usr/bin/unshare");
    command.args(["--mount", "sh", "-c", &script]);
    let tracing = begun(&mut command);
    assert_eq!(connects(&namespace, "1", "7000"), "1");
    let calls = calls(tracing);
    let own = calls.iter().filter(|call| call["network_namespace"] == namespace.inode());
    assert_eq!(own.map(|call| call["error"].as_str().unwrap()).collect::<Vec<_>>(), ["ECONNREFUSED"]);
}

#[test]
fn a_hostile_name_reaches_no_terminal_and_a_log_has_what_was_told() {
    let namespace = Namespace::new();
    let log = std::env::temp_dir().join(format!("{}.trace.jsonl", namespace.name()));
    let named = "
import ctypes, socket
ctypes.CDLL(None).prctl(15, b'ev\\x1b]0;il\\x07', 0, 0, 0)
try: socket.socket().connect(('127.0.0.1', 7000))
except OSError: pass
";
    let tracing = begin(&namespace, &["--log", log.to_str().unwrap()]);
    python(namespace.command("/usr/bin/python3"), named, &[]);
    let rest = ended(tracing);
    assert!(rest.contains("ev\\u{1b}]0;il\\u{7} (pid "), "{rest}");
    let kept = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(log).unwrap();
    assert!(kept.contains("tracing bind") && kept.ends_with(&rest), "{kept}");
}
