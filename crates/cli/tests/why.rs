//! `portolan why`, end to end: each cause is made in a network namespace, and must be named by its rule, with
//! evidence, the system's code, a remedy to type, and the exit code.
#![cfg(target_os = "linux")]

use std::process::Command;

use portolan_testbed::{Answer, Held, Machine, Namespace, program};
use serde_json::Value;

/// A user without rights and without other processes.
const NOBODY: u32 = 64_001;

fn why(namespace: &Namespace, question: &[&str]) -> Answer {
    let mut command = namespace.command(program("portolan"));
    Answer::of(command.arg("why").args(question).arg("--json"))
}

fn why_as(uid: u32, namespace: &Namespace, question: &[&str]) -> Answer {
    let mut command = namespace.command_as(uid, program("portolan"));
    Answer::of(command.arg("why").args(question).arg("--json"))
}

fn rules(answer: &Value) -> Vec<&str> {
    answer["findings"].as_array().unwrap().iter().map(|finding| finding["rule"].as_str().unwrap()).collect()
}

#[track_caller]
fn finding<'a>(answer: &'a Value, rule: &str) -> &'a Value {
    let found = answer["findings"].as_array().unwrap().iter().find(|finding| finding["rule"] == rule);
    found.unwrap_or_else(|| panic!("no {rule} in {answer:#}"))
}

/// The answer to a port that does not bind: its first finding is this rule, with this code, and worth reading.
#[track_caller]
fn refused(answer: &Answer, rule: &str, code: &str) -> Value {
    let json = answer.clone().with_code(1).json();
    assert_eq!(json["bindable"], false, "{json:#}");
    assert_eq!(json["error"]["name"], code, "{json:#}");
    assert!(json["error"]["code"].as_i64().is_some_and(|code| code > 0), "{json:#}");
    assert_eq!(rules(&json).first(), Some(&rule), "{json:#}");
    let first = &json["findings"][0];
    assert_eq!(first["severity"], "error", "{json:#}");
    assert!(first["summary"].as_str().is_some_and(|summary| summary.len() > 10), "{json:#}");
    assert!(!first["evidence"].as_array().unwrap().is_empty(), "{json:#}");
    assert!(!first["remedies"].as_array().unwrap().is_empty(), "{json:#}");
    json
}

/// The answer to a port that binds.
#[track_caller]
fn free(answer: &Answer) -> Value {
    let json = answer.clone().with_code(0).json();
    assert_eq!(json["bindable"], true, "{json:#}");
    assert_eq!(json["error"], Value::Null, "{json:#}");
    assert!(
        json["findings"].as_array().unwrap().iter().all(|finding| finding["severity"] != "error"),
        "{json:#}"
    );
    json
}

/// The commands of a finding's remedies.
fn commands(finding: &Value) -> Vec<&str> {
    finding["remedies"].as_array().unwrap().iter().filter_map(|remedy| remedy["command"].as_str()).collect()
}

#[test]
fn a_free_port_is_free_and_says_so() {
    let namespace = Namespace::new();
    for question in [&["8080"][..], &["127.0.0.1:8080"], &["[::1]:8080"], &["8080/udp"], &["[::]:8080/udp"]] {
        let json = free(&why(&namespace, question));
        assert_eq!(rules(&json), ["free"], "{question:?}");
        assert_eq!(json["gaps"], Value::Array(Vec::new()), "{question:?}");
    }
    let mut command = namespace.command(program("portolan"));
    let answer = Answer::of(command.args(["why", "8080"])).with_code(0);
    assert!(answer.output.lines().next().is_some_and(|line| line.contains("free")), "{answer}");
}

#[test]
fn a_listener_is_named_on_every_address_that_conflicts() {
    for (held, question) in [
        ("0.0.0.0:8080", "8080"),
        ("127.0.0.1:8080", "8080"),
        ("[::]:8080", "8080"),
        ("[::]:8080 --v6only", "8080"),
        ("[::1]:8080", "8080"),
        ("0.0.0.0:8080", "127.0.0.1:8080"),
        ("0.0.0.0:8080", "127.9.9.9:8080"),
        ("0.0.0.0:8080", "[::]:8080"),
        ("127.0.0.1:8080", "0.0.0.0:8080"),
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("127.0.0.1:8080", "[::]:8080"),
        ("[::]:8080", "127.0.0.1:8080"),
        ("[::]:8080", "[::1]:8080"),
        ("[::1]:8080", "[::]:8080"),
    ] {
        let namespace = Namespace::new();
        let holder = Held::new(&namespace, &format!("tcp-listen {held}"));
        let json = refused(&why(&namespace, &[question]), "held-by-process", "EADDRINUSE");
        let evidence = json["findings"][0].to_string();
        assert!(evidence.contains(&holder.pid().to_string()), "{held}, {question}: {evidence}");
        assert!(evidence.contains("testbed"), "{held}, {question}: {evidence}");
    }
}

#[test]
fn a_listener_elsewhere_is_no_conflict() {
    for (held, question) in [
        ("tcp-listen 127.0.0.1:8080", "127.0.0.2:8080"),
        ("tcp-listen 127.0.0.1:8080", "[::1]:8080"),
        ("tcp-listen [::]:8080 --v6only", "0.0.0.0:8080"),
        ("tcp-listen [::1]:8080", "127.0.0.1:8080"),
        ("tcp-listen 0.0.0.0:8080", "[::1]:8080"),
        ("tcp-listen 0.0.0.0:8080", "8081"),
        ("tcp-listen 0.0.0.0:8080", "8080/udp"),
        ("udp 0.0.0.0:8080", "8080"),
    ] {
        let namespace = Namespace::new();
        let _held = Held::new(&namespace, held);
        free(&why(&namespace, &[question]));
    }
}

#[test]
fn the_answer_is_the_kernels_for_every_pair_of_addresses() {
    let addresses = ["0.0.0.0", "127.0.0.1", "127.0.0.2", "[::]", "[::1]"];
    for transport in ["tcp-listen", "udp"] {
        for held in addresses {
            let namespace = Namespace::new();
            let _held = Held::new(&namespace, &format!("{transport} {held}:8080"));
            for asked in addresses {
                let suffix = if transport == "udp" { "/udp" } else { "" };
                let json = why(&namespace, &[&format!("{asked}:8080{suffix}")]).json();
                let probe = namespace.command(program("testbed"));
                let bound = binds(probe, if suffix.is_empty() { "tcp-bound" } else { "udp" }, asked);
                assert_eq!(json["bindable"], bound, "{transport} {held} held, {asked} asked: {json:#}");
                let blamed = rules(&json).contains(&"held-by-process");
                assert_eq!(blamed, !bound, "{transport} {held} held, {asked} asked: {json:#}");
            }
        }
    }
}

/// Whether another process can bind: the truth that `why` is held against.
fn binds(mut testbed: Command, word: &str, address: &str) -> bool {
    Answer::of(testbed.args(["hold", word, &format!("{address}:8080")])).code == Some(0)
}

#[test]
fn a_udp_holder_is_named() {
    let namespace = Namespace::new();
    let holder = Held::new(&namespace, "udp 127.0.0.1:53 --reuseaddr");
    let json = refused(&why(&namespace, &["53/udp"]), "held-by-process", "EADDRINUSE");
    assert!(json["findings"][0].to_string().contains(&holder.pid().to_string()));
}

#[test]
fn several_holders_through_reuseport_are_all_named() {
    let namespace = Namespace::new();
    let holders = [0, 1, 2].map(|_| Held::new(&namespace, "tcp-listen 0.0.0.0:8080 --reuseport"));
    let json = refused(&why(&namespace, &["8080"]), "held-by-several", "EADDRINUSE");
    for holder in &holders {
        assert!(json["findings"][0].to_string().contains(&holder.pid().to_string()), "{json:#}");
    }
}

#[test]
fn workers_that_share_one_listener_are_all_named() {
    let namespace = Namespace::new();
    let holder = Held::new(&namespace, "tcp-listen 0.0.0.0:8080 --workers 3");
    let json = why(&namespace, &["8080"]).with_code(1).json();
    for pid in holder.holdings[0].workers.iter().chain([&holder.pid()]) {
        assert!(json["findings"].to_string().contains(&pid.to_string()), "{json:#}");
    }
}

#[test]
fn a_process_of_another_user_is_named_with_its_user() {
    let namespace = Namespace::new();
    let holder = Held::new(&namespace, "--uid 64002 tcp-listen 0.0.0.0:8080");
    let json = refused(&why(&namespace, &["8080"]), "held-by-process", "EADDRINUSE");
    let text = json["findings"][0].to_string();
    assert!(text.contains(&holder.pid().to_string()) && text.contains("64002"), "{text}");
}

#[test]
fn a_holder_out_of_sight_is_a_gap_and_not_nobody() {
    let namespace = Namespace::new();
    let holder = Held::new(&namespace, "--uid 64002 tcp-listen 0.0.0.0:8080");
    let json = refused(&why_as(NOBODY, &namespace, &["8080"]), "holder-hidden", "EADDRINUSE");
    assert!(!json["findings"].to_string().contains(&format!("pid {}", holder.pid())), "{json:#}");
    let gaps = json["gaps"].as_array().unwrap();
    let owners = gaps.iter().find(|gap| gap["what"] == "owners").unwrap_or_else(|| panic!("{json:#}"));
    assert_eq!(owners["reason"], "denied");
    assert!(owners["remedy"].as_str().is_some_and(|remedy| remedy.contains("root")), "{owners}");
}

#[test]
fn the_remedy_for_a_holder_frees_the_port_when_typed() {
    let namespace = Namespace::new();
    let mut holder = Held::new(&namespace, "tcp-listen 0.0.0.0:8080");
    let json = refused(&why(&namespace, &["8080"]), "held-by-process", "EADDRINUSE");
    let typed = commands(&json["findings"][0]);
    let typed =
        typed.iter().find(|typed| typed.contains("portolan free")).unwrap_or_else(|| panic!("{typed:?}"));
    // There is no terminal on which a yes could be typed.
    let typed =
        format!("{} --yes", typed.replace("portolan", &format!("'{}'", program("portolan").display())));
    let state = std::env::temp_dir().join(namespace.name());
    let mut shell = namespace.command("sh");
    Answer::of(shell.args(["-c", &typed]).env("PORTOLAN_STATE", &state)).with_code(0);
    std::fs::remove_dir_all(state).unwrap();
    while !holder.has_ended() {
        std::thread::yield_now();
    }
    free(&why(&namespace, &["8080"]));
}

#[test]
fn a_time_wait_is_named_with_its_seconds() {
    for (side, options, shared) in
        [("server", "--reuseaddr", true), ("client", "--reuseaddr", true), ("server", "", false)]
    {
        let namespace = Namespace::new();
        let _held = Held::new(&namespace, &format!("time-wait 127.0.0.1:8080 --closed-by {side} {options}"));
        let json = refused(&why(&namespace, &["8080"]), "time-wait-left", "EADDRINUSE");
        let summary = json["findings"][0]["summary"].as_str().unwrap();
        let seconds = summary.split(' ').find_map(|word| word.parse::<u32>().ok());
        assert!(
            seconds.is_some_and(|seconds| (1..=60).contains(&seconds)) && summary.contains(" s "),
            "{summary}"
        );
        let tried = |reuse: &str, result: &str| {
            let trials = json["trials"].as_array().unwrap();
            trials.iter().any(|trial| trial["reuse"] == reuse && trial["result"] == result)
        };
        assert!(tried("plain", "refused"), "{json:#}");
        // SO_REUSEADDR helps only where the socket that left the TIME_WAIT had set it too.
        assert_eq!(tried("reuse-address", "bound"), shared, "{json:#}");
        let remedies = json["findings"][0]["remedies"].to_string();
        assert!(remedies.contains("SO_REUSEADDR"), "{json:#}");
        assert_eq!(remedies.contains("not yet now"), !shared, "{json:#}");
    }
}

#[test]
fn a_bound_socket_that_does_not_listen_is_named() {
    let namespace = Namespace::new();
    let holder = Held::new(&namespace, "tcp-bound 0.0.0.0:8080");
    let json = refused(&why(&namespace, &["8080"]), "bound-not-listening", "EADDRINUSE");
    assert!(json["findings"][0].to_string().contains(&holder.pid().to_string()), "{json:#}");
}

#[test]
fn connections_without_their_listener_still_hold_the_port() {
    let namespace = Namespace::new();
    let holder = Held::new(&namespace, "connections 127.0.0.1:8080 --count 2 --close-listener");
    let json = refused(&why(&namespace, &["8080"]), "connections-left", "EADDRINUSE");
    assert!(json["findings"][0].to_string().contains(&holder.pid().to_string()), "{json:#}");
}

#[test]
fn a_privileged_port_is_refused_by_the_settings_real_value() {
    let namespace = Namespace::new();
    let json = refused(&why_as(NOBODY, &namespace, &["80"]), "privileged-port", "EACCES");
    assert!(json["findings"][0].to_string().contains("1024"), "{json:#}");
    // Root asks for another user: the same answer.
    refused(&why(&namespace, &["80", "--user", &NOBODY.to_string()]), "privileged-port", "EACCES");
    free(&why(&namespace, &["80"]));

    namespace.sysctl("net.ipv4.ip_unprivileged_port_start", "3000");
    let json = refused(&why_as(NOBODY, &namespace, &["2000"]), "privileged-port", "EACCES");
    assert!(json["findings"][0].to_string().contains("3000"), "{json:#}");
    let typed = commands(&json["findings"][0]);
    let sysctl = typed.iter().find(|command| command.contains("ip_unprivileged_port_start"));
    let sysctl = sysctl.unwrap_or_else(|| panic!("{typed:?}")).replace("sudo ", "");
    Answer::of(namespace.command("sh").args(["-c", &sysctl])).with_code(0);
    free(&why_as(NOBODY, &namespace, &["2000"]));
}

#[test]
fn an_address_of_another_machine_is_named() {
    let namespace = Namespace::new();
    for question in ["192.0.2.1:8080", "[2001:db8::1]:8080", "192.0.2.1:8080/udp"] {
        refused(&why(&namespace, &[question]), "address-not-local", "EADDRNOTAVAIL");
    }
    namespace.add_address("192.0.2.1/32");
    free(&why(&namespace, &["192.0.2.1:8080"]));
    free(&why(&namespace, &["192.0.2.1:8080/udp"]));
}

#[test]
fn a_reserved_port_binds_with_a_note() {
    let namespace = Namespace::new();
    namespace.sysctl("net.ipv4.ip_local_reserved_ports", "8000-8090");
    let json = free(&why(&namespace, &["8080"]));
    let reserved = finding(&json, "reserved-range");
    assert!(reserved.to_string().contains("8000-8090"), "{reserved}");
}

#[test]
fn a_port_of_the_ephemeral_range_binds_with_a_warning_and_how_to_reserve_it() {
    let machine = Machine::new();
    let json = free(&why(&machine.namespace, &["40000"]));
    let warning = finding(&json, "in-ephemeral-range");
    assert_eq!(warning["severity"], "warning", "{warning}");
    let typed = commands(warning);
    let reserve =
        typed.iter().find_map(|command| command.trim_start_matches("sudo ").strip_prefix("portolan "));
    let reserve = reserve.unwrap_or_else(|| panic!("{typed:?}"));
    machine.portolan(&format!("{reserve} --yes")).with_code(0);
    assert_eq!(machine.reserved(), "40000");
    let json = free(&why(&machine.namespace, &["40000"]));
    assert!(!rules(&json).contains(&"in-ephemeral-range"), "{json:#}");
}

#[test]
fn an_exhausted_range_is_named() {
    let namespace = Namespace::new();
    namespace.sysctl("net.ipv4.ip_local_port_range", "40000 40099");
    let _held = Held::new(&namespace, "tcp-bound 0.0.0.0:0 --count 100");
    let json = refused(&why(&namespace, &["any"]), "range-exhausted", "EADDRINUSE");
    assert!(json["findings"][0].to_string().contains("40000-40099"), "{json:#}");
}

#[test]
fn a_socket_that_takes_the_traffic_of_a_free_address_shadows_it() {
    let namespace = Namespace::new();
    let holder = Held::new(&namespace, "tcp-listen 127.0.0.1:8080 --reuseaddr tcp-listen [::]:8081 --v6only");
    let json = free(&why(&namespace, &["0.0.0.0:8081"]));
    assert!(finding(&json, "shadowed").to_string().contains(&holder.pid().to_string()), "{json:#}");
}

#[test]
fn reuseport_of_another_user_is_named() {
    let namespace = Namespace::new();
    // One socket does not show that it set SO_REUSEPORT; two in one place prove it.
    let _held = Held::new(&namespace, "--uid 64002 tcp-listen 0.0.0.0:8080 --reuseport --count 2");
    let json = why(&namespace, &["8080", "--user", "64001"]).with_code(1).json();
    assert!(finding(&json, "reuseport-of-other-user").to_string().contains("64002"), "{json:#}");
    let json = why(&namespace, &["8080", "--user", "64002"]).with_code(1).json();
    assert!(!rules(&json).contains(&"reuseport-of-other-user"), "{json:#}");
}

#[test]
fn a_refusal_without_any_other_cause_is_a_policys() {
    let namespace = Namespace::new();
    let mut command = namespace.command(program("testbed"));
    command.arg("refuse-bind").arg(program("portolan")).args(["why", "8080", "--json"]);
    let json = refused(&Answer::of(&mut command), "refused-by-policy", "EPERM");
    assert_eq!(rules(&json), ["refused-by-policy"]);
}

#[test]
fn a_pasted_error_line_is_understood_in_many_wordings() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "tcp-listen 0.0.0.0:8080");
    for text in [
        "listen tcp 0.0.0.0:8080: bind: address already in use",
        "listen tcp :8080: bind: address already in use",
        "Error: listen EADDRINUSE: address already in use :::8080",
        "Error: listen EADDRINUSE: address already in use 127.0.0.1:8080",
        "nginx: [emerg] bind() to 0.0.0.0:8080 failed (98: Address already in use)",
        "docker: Error response from daemon: driver failed programming external connectivity on endpoint web \
         (0a1b): Error starting userland proxy: listen tcp4 0.0.0.0:8080: bind: address already in use.",
        "Web server failed to start. Port 8080 was already in use.",
        "System.IO.IOException: Failed to bind to address http://0.0.0.0:8080: address already in use.",
        "listen tcp 0.0.0.0:8080: bind: An attempt was made to access a socket in a way forbidden by its access permissions.",
        "[Errno 98] error while attempting to bind on address ('0.0.0.0', 8080): address already in use",
        "nginx: [emerg] bind() to 0.0.0.0:8080 failed (98: Adresse déjà utilisée)",
    ] {
        let json = refused(&why(&namespace, &[text]), "held-by-process", "EADDRINUSE");
        assert!(json["target"].to_string().contains("8080"), "{text}: {json:#}");
    }
}

#[test]
fn an_error_of_connect_names_a_remote_port_and_is_never_bind_tried() {
    let namespace = Namespace::new();
    for text in [
        "dial tcp 10.0.0.7:5432: connect: connection refused",
        "Error: connect ECONNREFUSED 10.0.0.7:5432",
        "connect() failed (111: Connection refused) while connecting to upstream, upstream: \"http://10.0.0.7:5432/\"",
    ] {
        let answer = why(&namespace, &[text]);
        let json = answer.json();
        assert_ne!(answer.code, Some(0), "{answer}");
        assert_eq!(json["bindable"], Value::Null, "{text}: {json:#}");
        assert_eq!(json["trials"].as_array().map_or(0, Vec::len), 0, "{text}: {json:#}");
        assert!(json.to_string().contains("remote"), "{text}: {json:#}");
    }
}

#[test]
fn a_snapshot_answers_too_and_tries_no_bind() {
    let namespace = Namespace::new();
    let holder = Held::new(&namespace, "tcp-listen 0.0.0.0:8080");
    let mut command = namespace.command(program("portolan"));
    let snapshot = Answer::of(command.args(["snapshot", "--out", "-"])).with_code(0).output;
    let pid = holder.pid().to_string();
    drop(holder);
    let file = std::env::temp_dir().join(format!("{}.json", namespace.name()));
    std::fs::write(&file, snapshot).unwrap();
    let answer = why(&namespace, &["8080", "--from", file.to_str().unwrap()]);
    std::fs::remove_file(&file).unwrap();
    let json = answer.with_code(1).json();
    assert_eq!(json["bindable"], Value::Null, "{json:#}");
    assert!(finding(&json, "held-by-process").to_string().contains(&pid), "{json:#}");
}

#[test]
fn another_namespace_is_asked_by_name_and_by_pid() {
    let (namespace, elsewhere) = (Namespace::new(), Namespace::new());
    let holder = Held::new(&namespace, "tcp-listen 0.0.0.0:8080");
    free(&why(&elsewhere, &["8080"]));
    for netns in [namespace.name(), &holder.pid().to_string()] {
        refused(&why(&elsewhere, &["8080", "--netns", netns]), "held-by-process", "EADDRINUSE");
    }
}
