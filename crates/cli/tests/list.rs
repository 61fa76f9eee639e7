//! `portolan list`, end to end: the same rows and owners as ss shows, and filters that choose among them.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;

use portolan_testbed::{Answer, Held, Namespace, program};
use serde_json::Value;

/// A user without rights and without other processes.
const NOBODY: u32 = 64_001;

fn list(namespace: &Namespace, options: &str) -> Answer {
    let mut command = namespace.command(program("portolan"));
    Answer::of(command.arg("list").args(options.split_whitespace())).with_code(0)
}

fn sockets(namespace: &Namespace, options: &str) -> Vec<Value> {
    let mut json = list(namespace, &format!("{options} --json")).json();
    serde_json::from_value(json["sockets"].take()).unwrap()
}

/// One socket as both programs can say it. Owners are pids.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    transport: String,
    state: String,
    local: String,
    remote: Option<String>,
    owners: BTreeSet<u64>,
}

/// A row of JSON.
fn ours(socket: &Value) -> Row {
    let endpoint = |end: &Value| {
        let (address, port) = (end["address"].as_str()?, end["port"].as_u64()?);
        Some(if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") })
    };
    Row {
        transport: socket["transport"].as_str().unwrap().to_owned(),
        state: socket["state"].as_str().unwrap().to_owned(),
        local: endpoint(&socket["local"]).unwrap(),
        remote: endpoint(&socket["remote"]),
        owners: socket["owners"]
            .as_array()
            .unwrap()
            .iter()
            .map(|owner| owner["pid"].as_u64().unwrap())
            .collect(),
    }
}

/// A row of `ss -Htuanp`.
fn theirs(line: &str) -> Row {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [transport, state, _, _, local, remote, users @ ..] = &fields[..] else { panic!("{line}") };
    let state = match *state {
        "ESTAB" => "ESTABLISHED",
        "UNCONN" => "UNCONNECTED",
        "SYN-RECV" => "SYN_RECEIVED",
        "FIN-WAIT-1" => "FIN_WAIT_1",
        "FIN-WAIT-2" => "FIN_WAIT_2",
        other => &other.replace('-', "_"),
    };
    let pids = users.concat();
    let pids = pids.split("pid=").skip(1).map(|rest| rest.split(',').next().unwrap().parse().unwrap());
    Row {
        transport: (*transport).to_owned(),
        state: state.to_owned(),
        // ss writes the wildcard of a dual-stack socket as a star.
        local: local.replace('*', "[::]"),
        remote: (!remote.ends_with(":*")).then(|| (*remote).to_owned()),
        owners: pids.collect(),
    }
}

fn ss(namespace: &Namespace) -> Vec<Row> {
    let answer = Answer::of(namespace.command("ss").arg("-Htuanp")).with_code(0);
    let mut rows: Vec<Row> = answer.output.lines().map(theirs).collect();
    rows.sort();
    rows
}

/// Several hundred sockets of every kind, held by six processes of two users.
fn harbour(namespace: &Namespace) -> Vec<Held> {
    let many = |word: &str, range: std::ops::Range<u16>| -> String {
        range.map(|port| word.replace("PORT", &port.to_string()) + " ").collect()
    };
    let words = [
        many("tcp-listen 127.0.0.1:PORT", 1000..1040) + &many("tcp-listen 0.0.0.0:PORT", 1040..1050),
        many("tcp-listen [::]:PORT --v6only", 2000..2020) + &many("tcp-listen [::]:PORT", 2020..2040),
        many("udp 127.0.0.1:PORT", 3000..3040)
            + &many("udp [::1]:PORT", 3040..3060)
            + &many("udp [::]:PORT", 3060..3080)
            + &many("udp 127.0.0.1:PORT --connect 127.0.0.1:9", 3080..3100),
        "connections 127.0.0.1:4000 --count 100 connections [::1]:4001 --count 50 \
         connections [::]:4002 --connect 127.0.0.1:4002 --count 20 connections 127.0.0.1:4003 --close-listener"
            .to_owned(),
        "close-wait 127.0.0.1:5000 --count 20 time-wait 127.0.0.1:5001 --count 1 \
         time-wait [::1]:5002 --closed-by client tcp-listen 127.0.0.1:5003 --workers 3 \
         tcp-listen 127.0.0.1:5004 --reuseport --count 4 tcp-bound 127.0.0.1:5005 tcp-bound [::1]:0 --count 5"
            .to_owned(),
        "--uid 64002 tcp-listen 127.0.0.1:6000 udp 0.0.0.0:6001 connections 127.0.0.1:6002 --count 5".to_owned(),
    ];
    let mut held: Vec<Held> = words.iter().map(|words| Held::new(namespace, words)).collect();
    // Connections that nobody has accepted: the server's ends have no process yet.
    held.push(Held::new(namespace, "connections 127.0.0.1:1000 --as-client --count 7"));
    held
}

#[test]
fn rows_and_owners_are_those_of_ss() {
    let namespace = Namespace::new();
    let held = harbour(&namespace);
    let mut rows: Vec<Row> = sockets(&namespace, "").iter().map(ours).collect();
    let bound: BTreeSet<Row> = rows.extract_if(.., |row| row.state == "BOUND").collect();
    rows.sort();
    let expected = ss(&namespace);
    assert!(expected.len() > 500, "{} sockets", expected.len());
    let only = |these: &[Row], those: &[Row]| -> Vec<Row> {
        these.iter().filter(|row| those.binary_search(row).is_err()).cloned().collect()
    };
    let (missing, surplus) = (only(&expected, &rows), only(&rows, &expected));
    assert!(missing.is_empty() && surplus.is_empty(), "missing: {missing:#?}\nsurplus: {surplus:#?}");
    assert_eq!(rows, expected, "each as often");

    // ss of Debian 12 does not show what is bound alone, so it is held against what holds it.
    let holdings = held.iter().flat_map(|held| held.holdings.iter().map(|holding| (held.pid(), holding)));
    let wanted: BTreeSet<Row> = holdings
        .filter(|(_, holding)| holding.word == "tcp-bound")
        .flat_map(|(pid, holding)| holding.local.iter().map(move |local| (pid, local)))
        .map(|(pid, local)| Row {
            transport: "tcp".to_owned(),
            state: "BOUND".to_owned(),
            local: local.to_string(),
            remote: None,
            owners: [u64::from(pid)].into(),
        })
        .collect();
    assert_eq!(bound, wanted);
}

#[test]
fn rows_without_owners_are_those_of_ss_too() {
    let namespace = Namespace::new();
    let _held = harbour(&namespace);
    let sockets = sockets(&namespace, "--no-owners");
    assert!(sockets.iter().all(|socket| socket["owner_state"] == "not-asked"));
    let mut rows: Vec<Row> = sockets.iter().map(ours).filter(|row| row.state != "BOUND").collect();
    rows.sort();
    let mut expected = ss(&namespace);
    expected.iter_mut().for_each(|row| row.owners.clear());
    expected.sort();
    assert_eq!(rows, expected);
}

#[test]
fn each_filter_chooses_among_the_rows() {
    let namespace = Namespace::new();
    let held = harbour(&namespace);
    let all: Vec<Row> = sockets(&namespace, "").iter().map(ours).collect();
    let port = |endpoint: &str| -> u16 { endpoint.rsplit(':').next().unwrap().parse().unwrap() };
    let pid = held[3].pid();
    type Chosen<'a> = Box<dyn Fn(&Row) -> bool + 'a>;
    let cases: Vec<(String, Chosen)> = vec![
        ("--port 1000".into(), Box::new(|row| port(&row.local) == 1000)),
        ("--port 1000-1009,3000".into(), Box::new(|row| matches!(port(&row.local), 1000..=1009 | 3000))),
        ("--state listen".into(), Box::new(|row| row.state == "LISTEN")),
        (
            "--state time-wait,CLOSE_WAIT".into(),
            Box::new(|row| ["TIME_WAIT", "CLOSE_WAIT"].contains(&&*row.state)),
        ),
        ("--state bound".into(), Box::new(|row| row.state == "BOUND")),
        ("--transport udp".into(), Box::new(|row| row.transport == "udp")),
        ("--family ipv6".into(), Box::new(|row| row.local.starts_with('['))),
        ("--listening".into(), Box::new(|row| ["LISTEN", "UNCONNECTED"].contains(&&*row.state))),
        (format!("--pid {pid}"), Box::new(|row| row.owners.contains(&u64::from(pid)))),
        ("--name testbed".into(), Box::new(|row| !row.owners.is_empty())),
        ("--name nginx".into(), Box::new(|_| false)),
        ("--unit no-such.service".into(), Box::new(|_| false)),
        ("--address ::1".into(), Box::new(|row| row.local.starts_with("[::1]:"))),
        (
            "--port 1000 --state established".into(),
            Box::new(|row| port(&row.local) == 1000 && row.state == "ESTABLISHED"),
        ),
    ];
    for (options, chosen) in cases {
        let rows: Vec<Row> = sockets(&namespace, &options).iter().map(ours).collect();
        let expected: Vec<Row> = all.iter().filter(|row| chosen(row)).cloned().collect();
        assert_eq!(rows, expected, "{options}");
    }
}

#[test]
fn a_user_is_chosen_by_id() {
    let namespace = Namespace::new();
    let held = harbour(&namespace);
    let rows = sockets(&namespace, "--user 64002");
    assert_eq!(rows.len(), 13, "{rows:#?}");
    let pid = u64::from(held[5].pid());
    assert!(rows.iter().all(|row| ours(row).owners == [pid].into() && row["uid"] == 64002));
}

#[test]
fn networks_are_matched_by_prefix() {
    let namespace = Namespace::new();
    namespace.add_address("10.1.2.3/32");
    let _held =
        Held::new(&namespace, "udp 10.1.2.3:53 udp 127.0.0.1:53 udp [::1]:53 connections 10.1.2.3:80");
    for (network, count) in
        [("10.0.0.0/8", 4), ("10.1.2.3", 4), ("127.0.0.0/8", 1), ("::1/128", 1), ("10.2.0.0/16", 0)]
    {
        assert_eq!(sockets(&namespace, &format!("--address {network}")).len(), count, "{network}");
    }
}

#[test]
fn an_owner_has_all_that_the_contract_names() {
    let namespace = Namespace::new();
    let held = Held::new(&namespace, "--uid 64002 --name harbour tcp-listen 127.0.0.1:8080");
    let rows = sockets(&namespace, "--listening");
    let [socket] = &rows[..] else { panic!("{rows:#?}") };
    let owner = &socket["owners"][0];
    assert_eq!(owner["pid"], held.pid());
    assert_eq!(owner["name"], "harbour");
    assert!(owner["command"].as_str().unwrap().contains("tcp-listen 127.0.0.1:8080"), "{owner}");
    for field in ["user", "unit", "container"] {
        assert!(owner.get(field).is_some(), "{field} is there, if only as null: {owner}");
    }
    assert_eq!(socket["owner_state"], "seen");
    assert_eq!(socket["uid"], 64002);
    assert!(socket["inode"].as_u64().unwrap() > 0);
}

#[test]
fn a_hidden_owner_is_not_nobody() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "tcp-listen 127.0.0.1:8080 time-wait 127.0.0.1:8081");
    let mut command = namespace.command_as(NOBODY, program("portolan"));
    let json = Answer::of(command.args(["list", "--json"])).with_code(0).json();
    let state = |name: &str| {
        let sockets = json["sockets"].as_array().unwrap();
        sockets.iter().find(|socket| socket["state"] == name).unwrap()["owner_state"].clone()
    };
    assert_eq!(state("LISTEN"), "hidden");
    assert_eq!(state("TIME_WAIT"), "nobody");
    assert!(json["gaps"].as_array().unwrap().iter().any(|gap| gap["what"] == "owners"), "{json:#}");

    let mut command = namespace.command_as(NOBODY, program("portolan"));
    let answer = Answer::of(command.arg("list")).with_code(0);
    assert!(answer.output.contains("8080"), "the row is there: {answer}");
    assert!(answer.output.contains("not seen"), "and the gap: {answer}");
}

#[test]
fn groups_are_counted() {
    let namespace = Namespace::new();
    let _held = harbour(&namespace);
    let all = sockets(&namespace, "");
    let json = list(&namespace, "--group-by state --json").json();
    let groups = json["groups"].as_array().unwrap();
    let total: u64 = groups.iter().map(|group| group["sockets"].as_u64().unwrap()).sum();
    assert_eq!(total, all.len() as u64, "{json:#}");
    for what in ["process", "user", "remote"] {
        let json = list(&namespace, &format!("--group-by {what} --json")).json();
        assert!(!json["groups"].as_array().unwrap().is_empty(), "{what}");
    }
}

#[test]
fn csv_has_a_row_for_each_socket() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "connections 127.0.0.1:8080 --count 5");
    let answer = list(&namespace, "--format csv");
    assert_eq!(answer.output.lines().count(), 1 + 11, "{answer}");
}

#[test]
fn control_characters_of_a_process_stay_harmless() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "--name \u{1b}[31mred\u{7} tcp-listen 127.0.0.1:8080");
    for options in ["", "--format csv", "--group-by process"] {
        let answer = list(&namespace, options);
        assert!(answer.output.contains("red"), "{answer}");
        assert!(!answer.output.contains(['\u{1b}', '\u{7}']), "{answer}");
    }
    assert_eq!(
        sockets(&namespace, "")[0]["owners"][0]["name"],
        "\u{1b}[31mred\u{7}",
        "JSON escapes it itself"
    );
}

#[test]
fn a_closed_pipe_ends_it_quietly() {
    let namespace = Namespace::new();
    let _held = harbour(&namespace);
    let line = format!("'{}' list --json | head -c 100", program("portolan").display());
    let mut command = namespace.command("bash");
    let answer = Answer::of(command.args(["-o", "pipefail", "-c", &line])).with_code(0);
    assert_eq!((answer.output.len(), answer.errors.as_str()), (100, ""));
}
