//! `portolan budget`, end to end: programs that leak are named rightly, a healthy one raises no alarm, and one real
//! connection tells exhausted, refused and filtered apart.
#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use portolan_testbed::{Answer, Held, Namespace, program};
use serde_json::Value;

fn budget(namespace: &Namespace, options: &str) -> Answer {
    let mut command = namespace.command(program("portolan"));
    Answer::of(command.args(["budget", "--json"]).args(options.split_whitespace()))
}

/// The rules of the findings that are warnings or worse.
fn alarms(answer: &Value) -> Vec<&str> {
    let findings = answer["findings"].as_array().unwrap();
    let loud = findings.iter().filter(|finding| finding["severity"] != "note");
    loud.map(|finding| finding["rule"].as_str().unwrap()).collect()
}

fn summary<'a>(answer: &'a Value, rule: &str) -> &'a str {
    let findings = answer["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["rule"] == rule);
    found.unwrap_or_else(|| panic!("no {rule}: {findings:#?}"))["summary"].as_str().unwrap()
}

#[test]
fn a_leak_of_close_wait_is_named_with_its_program() {
    let namespace = Namespace::new();
    let held = Held::new(&namespace, "--name forgetful close-wait 127.0.0.1:7000 --count 150");
    let json = budget(&namespace, "").with_code(1).json();
    assert_eq!(alarms(&json), ["close-wait-leak"]);
    let told = summary(&json, "close-wait-leak");
    assert!(told.starts_with(&format!("forgetful (pid {}", held.pid())) && told.contains("150"), "{told}");
}

#[test]
fn a_leak_of_several_workers_is_named_with_their_program() {
    let namespace = Namespace::new();
    let workers: Vec<Held> = (0..4)
        .map(|n| Held::new(&namespace, &format!("--name prefork close-wait 127.0.0.1:700{n} --count 30")))
        .collect();
    let json = budget(&namespace, "").with_code(1).json();
    assert_eq!(alarms(&json), ["close-wait-leak"]);
    let told = summary(&json, "close-wait-leak");
    assert!(told.starts_with("4 processes of prefork") && told.contains("do not close 120"), "{told}");
    drop(workers);
}

#[test]
fn connections_that_nobody_accepts_are_laid_at_their_listener() {
    let namespace = Namespace::new();
    let listener = namespace.run(|| TcpListener::bind("127.0.0.1:7000").unwrap());
    namespace.run(|| (0..110).for_each(|_| drop(TcpStream::connect("127.0.0.1:7000").unwrap())));
    let answer = budget(&namespace, "").with_code(1);
    let json = answer.json();
    assert_eq!(alarms(&json), ["not-accepted"], "{answer}");
    let told = summary(&json, "not-accepted");
    let own = format!("(pid {}", std::process::id());
    assert!(told.contains(&own) && told.contains("on port 7000: 110 wait, 110 of them given up"), "{told}");
    let users = json["users"].as_array().unwrap();
    let waiting = users.iter().find(|user| user["tcp"]["CLOSE_WAIT"] == 110).unwrap();
    assert_eq!(waiting["who"], "connections that no program has accepted yet");
    drop(listener);
}

#[test]
fn udp_and_bind_rows_name_who_has_the_ports_and_tell_when_they_end() {
    let namespace = Namespace::new();
    namespace.sysctl("net.ipv4.ip_local_port_range", "40000 41999");
    let held =
        Held::new(&namespace, "--name talker udp 127.0.0.1:0 --count 300 tcp-bound 127.0.0.1:0 --count 50");
    let stop = AtomicBool::new(false);
    let json = std::thread::scope(|scope| {
        scope.spawn(|| {
            namespace.run(|| {
                let (mut sockets, start) = (Vec::new(), Instant::now());
                while !stop.load(Ordering::Relaxed) && start.elapsed().as_secs() < 60 {
                    sockets.push(UdpSocket::bind("127.0.0.1:0").unwrap());
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
        });
        let json = budget(&namespace, "--udp --over 8").json();
        stop.store(true, Ordering::Relaxed);
        json
    });
    let rows = json["room"].as_array().unwrap();
    let row = rows.iter().find(|row| row["call"] == "bind" && row["families"][0] == "ipv4").unwrap();
    let first = &row["users"][0];
    assert_eq!((&first["owner"]["pid"], &first["sockets"]), (&held.pid().into(), &300.into()), "{row:#}");
    let rate = row["trend"]["per_second"].as_f64().unwrap();
    assert!((-25.0..-10.0).contains(&rate), "{rate}");
    assert!(row["ends"]["likely_s"].as_f64().unwrap() < 200.0, "{row:#}");
    let told = summary(&json, "room-ends");
    assert!(told.starts_with("At the present rate the ports for udp"), "{told}");
    let json = budget(&namespace, "--bind").json();
    let rows = json["room"].as_array().unwrap();
    let row = rows.iter().find(|row| row["transport"] == "tcp").unwrap();
    assert_eq!((&row["users"][0]["sockets"], &row["states"]["BOUND"]), (&50.into(), &50.into()), "{row:#}");
}

#[test]
fn a_leak_of_bound_sockets_is_named_and_its_growth_is_told_beside_an_earlier_look() {
    let namespace = Namespace::new();
    let before = std::env::temp_dir().join(format!("{}.json", namespace.name()));
    let _ = std::fs::remove_file(&before);
    let first = Held::new(&namespace, "--name binder tcp-bound 127.0.0.1:0 --count 120");
    let mut command = namespace.command(program("portolan"));
    Answer::of(command.args(["snapshot", "--out", before.to_str().unwrap()])).with_code(0);
    let json = budget(&namespace, &format!("--since {}", before.display())).with_code(1).json();
    assert_eq!(alarms(&json), ["bound-leak"]);
    assert!(summary(&json, "bound-leak").starts_with(&format!("binder (pid {}", first.pid())));
    let told = json["findings"][0]["evidence"].to_string();
    assert!(
        told.contains("not growing: 120 before, 120 after") && told.contains("120 of them have been so"),
        "{told}"
    );
    std::fs::remove_file(before).unwrap();
}

#[test]
fn a_churning_client_is_named_and_the_destination_is_exhausted() {
    let namespace = Namespace::new();
    namespace.sysctl("net.ipv4.ip_local_port_range", "40000 40199");
    namespace.sysctl("net.ipv4.tcp_tw_reuse", "0");
    let words = "--name churner time-wait 127.0.0.1:0 --no-port --closed-by client --connect 127.0.0.1:80 \
                 --count 190 tcp-listen 127.0.0.1:80 connections 127.0.0.1:80 --as-client --count 10";
    let held = Held::new(&namespace, words);
    let answer = budget(&namespace, "--try 127.0.0.1:80").with_code(1);
    let json = answer.json();
    assert!(alarms(&json).contains(&"destination-exhausted"), "{answer}");
    let told = summary(&json, "no-connection-reuse");
    assert!(
        told.starts_with(&format!("churner (pid {}", held.pid())) && told.contains("190 of 200"),
        "{told}"
    );
    assert_eq!(json["attempt"]["verdict"], "exhausted");
    assert_eq!(json["attempt"]["code"], 99);
    let row =
        &json["room"].as_array().unwrap().iter().find(|row| !row["destination"].is_null()).unwrap().clone();
    assert_eq!(row["room"], serde_json::json!({ "min": 0, "max": 0 }));
    assert_eq!(row["states"], serde_json::json!({ "ESTABLISHED": 10, "TIME_WAIT": 190 }));
}

#[test]
fn the_ways_out_of_another_network_namespace_are_typed_for_it_and_work() {
    let namespace = Namespace::new();
    namespace.sysctl("net.ipv4.ip_local_port_range", "40000 40003");
    let held =
        Held::new(&namespace, "tcp-listen 127.0.0.1:80 connections 127.0.0.1:80 --as-client --count 4");
    for netns in [namespace.name().to_owned(), held.pid().to_string()] {
        let mut command = std::process::Command::new(program("portolan"));
        let json = Answer::of(command.args(["budget", "--json", "--netns", &netns])).with_code(1).json();
        assert_eq!(json["namespace"], *netns);
        let findings = json["findings"].as_array().unwrap();
        let found = findings.iter().find(|finding| finding["rule"] == "destination-exhausted").unwrap();
        let remedies = found["remedies"].as_array().unwrap();
        let commands: Vec<&str> = remedies.iter().filter_map(|way| way["command"].as_str()).collect();
        assert!(commands.len() >= 3, "{commands:?}");
        let end = format!(" --netns {netns}");
        assert!(commands.iter().all(|command| command.ends_with(&end)), "{commands:?}");
        let widen = commands.iter().find(|command| command.contains(" range set ")).unwrap();
        let words: Vec<&str> = widen.strip_prefix("portolan ").unwrap().split(' ').collect();
        let mut command = std::process::Command::new(program("portolan"));
        let state = std::env::temp_dir().join(format!("{}-state", namespace.name()));
        command.env("PORTOLAN_STATE", &state).args(words).arg("--yes");
        Answer::of(&mut command).with_code(0);
        let range = namespace.read_sysctl("net.ipv4.ip_local_port_range");
        assert_eq!(range.split_whitespace().collect::<Vec<_>>(), ["10240", "60999"]);
        namespace.sysctl("net.ipv4.ip_local_port_range", "40000 40003");
        std::fs::remove_dir_all(state).unwrap();
    }
}

#[test]
fn a_client_that_binds_before_it_connects_is_named() {
    let namespace = Namespace::new();
    namespace.sysctl("net.ipv4.ip_local_port_range", "40000 41999");
    let words = "--name earlybird tcp-listen 127.0.0.1:80 --backlog 4096 \
                 connections 127.0.0.1:80 --as-client --from 127.0.0.1:0 --count 300";
    let held = Held::new(&namespace, words);
    let json = budget(&namespace, "").with_code(1).json();
    assert_eq!(alarms(&json), ["bind-before-connect"]);
    let told = summary(&json, "bind-before-connect");
    assert!(
        told.starts_with(&format!("earlybird (pid {}", held.pid())) && told.contains("300 ports"),
        "{told}"
    );
}

#[test]
fn a_destination_that_does_not_answer_is_no_exhaustion() {
    let namespace = Namespace::new();
    namespace.add_address("10.0.0.1/32");
    let mut ip = namespace.command("/usr/sbin/ip");
    // What goes out over loopback to nobody's address is dropped when it comes back in.
    assert!(ip.args(["route", "add", "198.51.100.0/24", "dev", "lo"]).status().unwrap().success());
    namespace.sysctl("net.ipv4.ip_local_port_range", "40000 41999");
    // A child of the program keeps trying, so that its sockets are there while the budget is asked.
    let _held = Held::new(&namespace, "--name hopeful syn-sent 198.51.100.9:81 --count 80");
    let json = budget(&namespace, "").with_code(1).json();
    assert_eq!(alarms(&json), ["syn-sent-pile-up"]);
    let told = summary(&json, "syn-sent-pile-up");
    assert!(told.starts_with("198.51.100.9:81 does not answer: 80 connections"), "{told}");
}

#[test]
fn a_busy_healthy_proxy_with_20_000_time_wait_raises_no_alarm() {
    let namespace = Namespace::new();
    namespace.sysctl("net.ipv4.tcp_max_tw_buckets", "262144");
    let words: Vec<String> = (0..40)
        .map(|n| {
            format!(
                "time-wait 127.0.0.1:0 --no-port --closed-by client --connect 127.0.0.1:{} --count 500",
                9000 + n
            )
        })
        .collect();
    let start = Instant::now();
    let _held = Held::new(&namespace, &words.join(" "));
    // A TIME_WAIT lasts a minute: were they slower to make, there would be fewer.
    assert!(start.elapsed().as_secs() < 50, "{:?}", start.elapsed());
    let answer = budget(&namespace, "").with_code(0);
    let json = answer.json();
    assert_eq!(alarms(&json), [] as [&str; 0], "{answer}");
    assert!(summary(&json, "time-wait-plenty").starts_with("20000 sockets in TIME_WAIT are no problem"));
}

#[test]
fn one_real_connection_tells_refused_and_unreachable_apart() {
    let namespace = Namespace::new();
    let held = Held::new(&namespace, "tcp-listen 127.0.0.1:80");
    for route in ["blackhole 198.51.100.0/24", "prohibit 203.0.113.0/24"] {
        let mut ip = namespace.command("/usr/sbin/ip");
        assert!(ip.args(["route", "add"]).args(route.split(' ')).status().unwrap().success());
    }
    let attempt = |to: &str, code: u8| {
        budget(&namespace, &format!("--try {to}")).with_code(code.into()).json()["attempt"].take()
    };
    assert_eq!(attempt("127.0.0.1:80", 0)["verdict"], "connected");
    assert_eq!(attempt("127.0.0.1:81", 0)["verdict"], "refused");
    for (to, code, way) in [
        ("192.0.2.1", 101, "none"),
        ("[2001:db8::1]", 101, "none"),
        ("198.51.100.1", 22, "blackhole"),
        ("203.0.113.1", 13, "prohibit"),
    ] {
        let attempt = attempt(&format!("{to}:81"), 2);
        assert_eq!(
            (&attempt["verdict"], &attempt["code"], &attempt["way"]),
            (&"unreachable".into(), &code.into(), &way.into()),
            "{to}"
        );
    }
    let entered = |option: &str, of: &str| {
        let mut command = std::process::Command::new(program("portolan"));
        Answer::of(command.args(["budget", option, of, "--try", "198.51.100.1:81"])).with_code(2).output
    };
    let (name, pid) = (namespace.name(), held.pid().to_string());
    let told = "198.51.100.1:81   unreachable: a blackhole route of this machine swallows it (Invalid argument \
                (os error 22)); see: ";
    let named = entered("--netns", name);
    assert!(named.starts_with(&format!("{told}ip netns exec {name} ip route get 198.51.100.1\n")), "{named}");
    let of = entered("--netns", &pid);
    assert!(
        of.starts_with(&format!("{told}nsenter --target {pid} --net ip route get 198.51.100.1\n")),
        "{of}"
    );
}

#[test]
fn a_neighbour_that_does_not_answer_is_filtered_and_no_missing_way() {
    let (near, far) = (Namespace::new(), Namespace::new());
    near.link("10.9.0.1/24", &far, "10.9.0.2/24");
    // Nobody has that address: the kernel gives up when nobody answers its ARP request.
    let json = budget(&near, "--try 10.9.0.3:81").with_code(0).json();
    assert_eq!(json["attempt"]["verdict"], "filtered", "{json:#}");
    assert!(json["attempt"]["way"].is_null() && json["attempt"]["remedy"].is_null());
}

#[test]
fn a_destination_is_a_host_and_a_port() {
    let answer = Answer::of(Namespace::new().command(program("portolan")).args(["budget", "--to", "nohost"]));
    assert!(answer.with_code(2).errors.contains("type it as in db.example:5432"));
}

/// The rows towards a destination: from where, to where, and what was typed for that.
fn ways(answer: &Value) -> Vec<[Option<String>; 3]> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let rows = answer["room"].as_array().unwrap().iter().filter(|row| !row["destination"].is_null());
    rows.map(|row| [&row["source"], &row["destination"], &row["asked_as"]].map(text)).collect()
}

#[test]
fn a_connection_to_no_address_goes_where_the_kernel_takes_it() {
    let namespace = Namespace::new();
    namespace.add_address("10.0.0.1/32");
    let held = "tcp-listen 127.0.0.1:80 tcp-listen [::1]:80 tcp-listen 10.0.0.1:80 \
                connections 127.0.0.1:80 --as-client --count 3 connections [::1]:80 --as-client --count 2";
    let _held = Held::new(&namespace, held);
    // The kernel itself is asked where such a connection comes to. The standard library binds datagrams alone.
    let taken = |from: &str, to: &str| {
        namespace.run(|| {
            let socket = UdpSocket::bind(from).unwrap();
            socket.connect(to).unwrap();
            socket.peer_addr().unwrap().to_string()
        })
    };
    for (to, goes) in [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80")] {
        assert_eq!(namespace.run(|| TcpStream::connect(to).unwrap().peer_addr().unwrap().to_string()), goes);
    }
    for (from, to, options, goes) in [
        ("0.0.0.0:0", "0.0.0.0:80", "", "127.0.0.1:80"),
        ("[::]:0", "[::]:80", "", "[::1]:80"),
        ("10.0.0.1:0", "0.0.0.0:80", "--source 10.0.0.1", "10.0.0.1:80"),
    ] {
        assert_eq!(taken(from, to), goes);
        let answer = budget(&namespace, &format!("--to {to} {options}")).with_code(0);
        let [[_, destination, asked_as]] = &ways(&answer.json())[..] else { panic!("{answer}") };
        assert_eq!((destination.as_deref(), asked_as.as_deref()), (Some(goes), Some(to)));
    }
    let mut command = namespace.command(program("portolan"));
    let told = Answer::of(command.args(["budget", "--to", "0.0.0.0:80"])).with_code(0).output;
    assert!(told.contains("127.0.0.1 → 127.0.0.1:80 (where 0.0.0.0 goes)"), "{told}");
}

#[test]
fn a_source_is_an_address_of_the_namespace_that_is_asked_about() {
    let namespace = Namespace::new();
    namespace.add_address("10.0.0.1/32");
    let name = namespace.name();
    let inside = |options: &str| {
        let mut command = std::process::Command::new(program("portolan"));
        Answer::of(command.args(["budget", "--json", "--netns", name]).args(options.split_whitespace()))
    };
    // An address after --from is one in that namespace too, and may be watched and tried.
    for options in
        ["--source 10.0.0.1", "--from 10.0.0.1", "--from 10.0.0.1 --over 0.1", "--source 127.0.0.9"]
    {
        let json = inside(options).with_code(0).json();
        assert_eq!(json["namespace"], name, "{options}");
        let rows = json["room"].as_array().unwrap();
        assert!(
            rows.iter().any(|row| row["source"] == options.split(' ').nth(1).unwrap()),
            "{options}: {json:#}"
        );
    }
    for (options, expected) in [
        (
            "--source 192.0.2.9",
            &format!("192.0.2.9 is not an address of namespace {name}; see: ip netns exec {name} ip address")
                [..],
        ),
        ("--from 2001:db8::9", "2001:db8::9 is not an address of namespace"),
        ("--source 224.0.0.1", "224.0.0.1 is not an address of namespace"),
        (
            "--source 10.0.0.1 --to [::1]:80",
            "nothing goes from 10.0.0.1 to [::1]:80: give a --source of that family",
        ),
        ("--source 10.0.0", "it is no address; type one as in 10.0.0.5"),
        ("--source 10.0.0.1 --all-netns", "cannot be used with"),
        ("--from /no/such/file", "cannot be used with '--netns <NAME|PID>'"),
        ("--udp --try 127.0.0.1:80", "'--udp' cannot be used with '--try <HOST:PORT>'"),
        ("--bind --try 127.0.0.1:80", "'--bind' cannot be used with '--try <HOST:PORT>'"),
        ("--over 0", "nothing grows in no time; type a number of seconds as in 10"),
    ] {
        let answer = inside(options).with_code(2);
        assert_eq!((answer.errors.lines().count(), &answer.output[..]), (1, ""), "{answer}");
        assert!(answer.errors.contains(expected), "{options}: '{expected}' is not in: {}", answer.errors);
    }
    namespace.sysctl("net.ipv4.ip_nonlocal_bind", "1");
    inside("--source 192.0.2.9").with_code(0);
}

#[test]
fn a_source_of_a_file_is_an_address_in_it() {
    let namespace = Namespace::new();
    namespace.add_address("10.0.0.1/32");
    let file = std::env::temp_dir().join(format!("{}.source.json", namespace.name()));
    let _ = std::fs::remove_file(&file);
    let path = file.to_str().unwrap();
    Answer::of(namespace.command(program("portolan")).args(["snapshot", "--out", path])).with_code(0);
    let of_file = |options: &str| budget(&namespace, &format!("--from {path} {options}"));
    assert_eq!(ways(&of_file("--source 10.0.0.1 --to 0.0.0.0:80").with_code(0).json()).len(), 1);
    let refused = of_file("--source 10.0.0.2").with_code(2);
    assert!(
        refused.errors.contains("10.0.0.2 is not an address of the machine in the snapshot"),
        "{refused}"
    );
    for option in ["--over 1", "--try 127.0.0.1:80", "--all-netns"] {
        let refused = of_file(option).with_code(2);
        assert!(refused.errors.contains("'--from <FILE>' cannot be used with '--"), "{refused}");
    }
    std::fs::remove_file(file).unwrap();
}

/// A network namespace without a name: that of a program which is there as long as this value.
struct Nameless(Child);

impl Nameless {
    fn with_range(range: &str) -> Self {
        let script = format!(
            "echo {range} > /proc/sys/net/ipv4/ip_local_port_range && ip link set lo up && echo ready && exec sleep 600"
        );
        let mut command = std::process::Command::new("unshare");
        let mut child = command.args(["--net", "sh", "-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

impl Drop for Nameless {
    fn drop(&mut self) {
        // It has nothing to write and nobody waits for it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn every_namespace_is_told_of_and_one_that_cannot_be_entered_is_a_gap() {
    let named = Namespace::new();
    named.sysctl("net.ipv4.ip_local_port_range", "40000 40199");
    named.add_address("10.77.0.1/32");
    let nameless = Nameless::with_range("50000 50299");
    let answer = budget(&named, "--all-netns");
    let sheets = answer.json()["namespaces"].take();
    let room = |name: &str| {
        let of_name = sheets.as_array().unwrap().iter().filter(|sheet| sheet["namespace"] == name);
        let [sheet] = of_name.collect::<Vec<_>>()[..] else { panic!("{name} once: {answer}") };
        let row = sheet["room"].as_array().unwrap().iter().find(|row| row["transport"] == "udp").unwrap();
        (row["range"].clone(), row["ports"].clone(), row["room"].clone())
    };
    let pid = nameless.0.id();
    let expected = |first: u32, ports: u32| {
        let range = serde_json::json!([first, first + ports - 1]);
        (range, ports.into(), serde_json::json!({ "min": ports, "max": ports }))
    };
    // That of this program is the named one, and is told once.
    assert_eq!(room("of this process"), expected(40000, 200));
    assert_eq!(room(&format!("of process {pid}")), expected(50000, 300));
    let mut command = std::process::Command::new(program("portolan"));
    let told = Answer::of(command.args(["budget", "--all-netns"])).output;
    for name in [named.name(), &format!("of process {pid}")] {
        assert!(told.contains(&format!("network namespace {name}\n")), "{name}: {told}");
    }
    // Of an address, those that have it.
    let with_source = budget(&named, "--all-netns --source 10.77.0.1").json();
    let names = |json: &Value| {
        let sheets = json["namespaces"].as_array().unwrap().iter();
        sheets.map(|sheet| sheet["namespace"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&with_source), ["of this process"]);
    let nowhere = budget(&named, "--all-netns --source 192.0.2.77").with_code(2);
    assert!(nowhere.errors.contains("192.0.2.77 is no address of any network namespace"), "{nowhere}");
    // Another user may see that there is one, and not enter it.
    let other = Namespace::new();
    let mut command = named.command_as(65534, program("portolan"));
    let answer = Answer::of(command.args(["budget", "--all-netns", "--json", "--no-owners"]));
    let json = answer.json();
    assert_eq!(names(&json), ["of this process"]);
    let gap = json["gaps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|gap| gap["detail"].as_str().unwrap().contains(other.name()));
    let gap = gap.unwrap_or_else(|| panic!("{answer}"));
    assert_eq!((&gap["reason"], &gap["remedy"]), (&"denied".into(), &"run as root".into()));
}
