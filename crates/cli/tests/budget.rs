//! `portolan budget`, end to end: programs that leak are named rightly, a healthy one raises no alarm, and one real
//! connection tells exhausted, refused and filtered apart.
#![cfg(target_os = "linux")]

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
    let start = std::time::Instant::now();
    let _held = Held::new(&namespace, &words.join(" "));
    // A TIME_WAIT lasts a minute: were they slower to make, there would be fewer.
    assert!(start.elapsed().as_secs() < 50, "{:?}", start.elapsed());
    let answer = budget(&namespace, "").with_code(0);
    let json = answer.json();
    assert_eq!(alarms(&json), [] as [&str; 0], "{answer}");
    assert!(summary(&json, "time-wait-plenty").starts_with("20000 sockets in TIME_WAIT are no problem"));
}

#[test]
fn one_real_connection_tells_refused_and_filtered_apart() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "tcp-listen 127.0.0.1:80");
    let verdict = |to: &str| budget(&namespace, &format!("--try {to}")).json()["attempt"]["verdict"].take();
    assert_eq!(verdict("127.0.0.1:80"), "connected");
    assert_eq!(verdict("127.0.0.1:81"), "refused");
    assert_eq!(verdict("192.0.2.1:81"), "filtered", "there is no way there");
    let mut command = namespace.command(program("portolan"));
    let answer = Answer::of(command.args(["budget", "--to", "nohost"])).with_code(2);
    assert!(answer.errors.contains("type it as in db.example:5432"), "{answer}");
}
