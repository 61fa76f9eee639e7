//! `list` on the machine made by hand: every format, filter, order and count.

use clap::Parser as _;

use super::*;
use crate::fixture::{machine, services, valid_json, written, written_on};
use crate::output::Surface;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    list: List,
}

/// The report as if the snapshot came from a file.
fn report(list: &List, snapshot: Arc<Snapshot>) -> Report {
    let session = Session::new(Some("machine.json".into()), portolan_host::Namespace::Own);
    let uids = list.filter.uids(&session, &snapshot).unwrap();
    let order = list.filter.choose(&snapshot, &uids);
    list.report(snapshot, services(), order)
}

fn list(words: &str) -> Report {
    let line = Line::try_parse_from(std::iter::once("list").chain(words.split_whitespace())).unwrap();
    report(&line.list, machine())
}

/// The local endpoints that a filter lets through.
fn locals(words: &str) -> Vec<String> {
    let value = valid_json(&list(words), "list");
    let local = |socket: &serde_json::Value| {
        format!(
            "{}",
            std::net::SocketAddr::new(
                socket["local"]["address"].as_str().unwrap().parse().unwrap(),
                socket["local"]["port"].as_u64().unwrap() as u16,
            )
        )
    };
    value["sockets"].as_array().unwrap().iter().map(local).collect()
}

#[test]
fn the_table_shows_every_socket_in_order() {
    insta::assert_snapshot!(written(&list(""), "table"), @r"
    TRANSPORT  STATE        LOCAL            REMOTE          SERVICE     OWNER
    tcp        LISTEN       0.0.0.0:80       -               http        nginx (pid 70 and 2 more, ngin…
    tcp        ESTABLISHED  10.0.0.5:80      10.0.9.1:51000  http        nginx (pid 71, nginx.service)
    tcp        ESTABLISHED  10.0.0.5:80      10.0.9.2:51001  http        nginx (pid 71, nginx.service)
    tcp        LISTEN       127.0.0.1:5432   -               postgresql  postgres (pid 60, postgresql.s…
    tcp        LISTEN       10.0.0.5:8080    -               http-alt    ev\u{1b}]0;il\u{7},\u{202e}x (…
    tcp        ESTABLISHED  10.0.0.5:40000   10.0.7.9:8443   -           nginx (pid 71, nginx.service)
    tcp        TIME_WAIT    10.0.0.5:40001   10.0.7.9:8443   -           no process
    tcp        BOUND        127.0.0.1:45000  -               -           postgres (pid 60, postgresql.s…
    tcp        LISTEN       [::]:80          -               http        nginx (pid 70 and 2 more, ngin…
    tcp        LISTEN       [::1]:9000       -               -           node (pid 80, docker 3f2a9c01b…
    udp        UNCONNECTED  0.0.0.0:53       -               domain      not visible (systemd-resolved.…

      not seen  owners: 1 socket's holder is not visible; run as root
    ");
}

#[test]
fn without_owners_the_table_says_so_by_their_absence() {
    insta::assert_snapshot!(written(&list("--no-owners --listening"), "table"), @r"
    TRANSPORT  STATE        LOCAL           REMOTE  SERVICE
    tcp        LISTEN       0.0.0.0:80      -       http
    tcp        LISTEN       127.0.0.1:5432  -       postgresql
    tcp        LISTEN       10.0.0.5:8080   -       http-alt
    tcp        LISTEN       [::]:80         -       http
    tcp        LISTEN       [::1]:9000      -       -
    udp        UNCONNECTED  0.0.0.0:53      -       domain

      not seen  owners: 1 socket's holder is not visible; run as root
    ");
}

#[test]
fn csv_has_one_row_a_socket_and_gaps_go_beside_it() {
    let surface = Surface { width: None, colour: false, unicode: true };
    let (rows, notes) = written_on(&list("--port 53,80,8080,9000"), "csv", surface);
    insta::assert_snapshot!(rows, @r#"
    transport,family,state,local_address,local_port,remote_address,remote_port,service,owner_state,pid,name,command,user,unit,container,inode,uid
    tcp,ipv4,LISTEN,0.0.0.0,80,,,http,seen,"70,71,72",nginx,"nginx: master process /usr/sbin/nginx,nginx: worker process","root,www-data",nginx.service,,1004,33
    tcp,ipv4,ESTABLISHED,10.0.0.5,80,10.0.9.1,51000,http,seen,71,nginx,nginx: worker process,www-data,nginx.service,,1000,33
    tcp,ipv4,ESTABLISHED,10.0.0.5,80,10.0.9.2,51001,http,seen,71,nginx,nginx: worker process,www-data,nginx.service,,1001,33
    tcp,ipv4,LISTEN,10.0.0.5,8080,,,http-alt,seen,90,"ev\u{1b}]0;il\u{7},\u{202e}x","'=evil ""quoted""\n",mallory,,,1007,1000
    tcp,ipv6,LISTEN,::,80,,,http,seen,"70,71,72",nginx,"nginx: master process /usr/sbin/nginx,nginx: worker process","root,www-data",nginx.service,,1005,33
    tcp,ipv6,LISTEN,::1,9000,,,,seen,80,node,node server.js,node,,docker 3f2a9c01b7de,1009,1000
    udp,ipv4,UNCONNECTED,0.0.0.0,53,,,domain,hidden,,,,101,systemd-resolved.service,,1008,101
    "#);
    insta::assert_snapshot!(notes, @"not seen: owners: 1 socket's holder is not visible; run as root");
}

#[test]
fn json_has_the_documented_fields() {
    insta::assert_snapshot!(format!("{:#}", valid_json(&list("--port 9000"), "list")), @r#"
    {
      "gaps": [
        {
          "detail": "1 socket's holder is not visible",
          "reason": "denied",
          "remedy": "run as root",
          "what": "owners"
        }
      ],
      "sockets": [
        {
          "family": "ipv6",
          "inode": 1009,
          "interface": null,
          "local": {
            "address": "::1",
            "port": 9000
          },
          "owner_state": "seen",
          "owners": [
            {
              "command": "node server.js",
              "container": {
                "id": "3f2a9c01b7de0000000000000000000000000000000000000000000000000000",
                "runtime": "docker"
              },
              "executable": null,
              "name": "node",
              "parent": 1,
              "pid": 80,
              "started_ms": 1772071200000,
              "uid": 1000,
              "unit": null,
              "user": "node"
            }
          ],
          "receive_queue": 0,
          "remote": null,
          "send_queue": 0,
          "service": null,
          "state": "LISTEN",
          "timer_ms": null,
          "transport": "tcp",
          "uid": 1000
        }
      ]
    }
    "#);
}

#[test]
fn a_time_wait_has_no_owner_and_says_nobody() {
    let value = valid_json(&list("--state time-wait"), "list");
    assert_eq!(value["sockets"][0]["owner_state"], "nobody");
    assert_eq!(value["sockets"][0]["timer_ms"], 42_000);
    assert_eq!(value["sockets"][0]["inode"], serde_json::Value::Null);
}

#[test]
fn each_filter_lets_through_what_it_names() {
    for (words, expected) in [
        ("--port 5432-8080", &["10.0.0.5:8080", "127.0.0.1:5432"][..]),
        ("--remote-port 8443", &["10.0.0.5:40000", "10.0.0.5:40001"]),
        ("--state bound", &["127.0.0.1:45000"]),
        ("--listening --family 6", &["[::1]:9000", "[::]:80"]),
        ("--transport udp", &["0.0.0.0:53"]),
        ("--address 10.0.9.0/24", &["10.0.0.5:80", "10.0.0.5:80"]),
        ("--address ::1", &["[::1]:9000"]),
        ("--local 10.0.0.5:40000", &["10.0.0.5:40000"]),
        ("--local 127.0.0.0/8", &["127.0.0.1:45000", "127.0.0.1:5432"]),
        ("--remote 10.0.9.2", &["10.0.0.5:80"]),
        ("--remote 10.0.7.9:8443 --local 10.0.0.5:40001", &["10.0.0.5:40001"]),
        ("--remote [fd00::1]:443", &[]),
        ("--pid 60", &["127.0.0.1:45000", "127.0.0.1:5432"]),
        ("--name postgres --state listen", &["127.0.0.1:5432"]),
        ("--name post", &[]),
        ("--user node", &["10.0.0.5:8080", "[::1]:9000"]),
        ("--user 105", &["127.0.0.1:45000", "127.0.0.1:5432"]),
        ("--unit postgresql", &["127.0.0.1:45000", "127.0.0.1:5432"]),
        ("--unit systemd-*", &["0.0.0.0:53"]),
        ("--listening --state established", &[]),
    ] {
        let mut found = locals(words);
        found.sort();
        assert_eq!(found, expected, "{words}");
    }
}

#[test]
fn any_column_sorts_both_ways() {
    let first = |words: &str| locals(words)[0].clone();
    assert_eq!(first("--sort local-port"), "0.0.0.0:53");
    assert_eq!(first("--sort=-local-port"), "127.0.0.1:45000");
    assert_eq!(first("--sort pid"), "127.0.0.1:5432");
    assert_eq!(first("--sort=-timer"), "10.0.0.5:40001");
}

#[test]
fn nothing_found_is_said_with_what_could_not_be_seen() {
    insta::assert_snapshot!(written(&list("--port 1"), "table"), @r"
    no socket matches

      not seen  owners: 1 socket's holder is not visible; run as root
    ");
}

#[test]
fn sockets_are_counted_by_what_is_asked() {
    insta::assert_snapshot!(written(&list("--group-by state"), "table"), @r"
    SOCKETS  STATE
          5  LISTEN
          3  ESTABLISHED
          1  BOUND
          1  TIME_WAIT
          1  UNCONNECTED

      not seen  owners: 1 socket's holder is not visible; run as root
    ");
    insta::assert_snapshot!(written(&list("--group-by process"), "table"), @r"
    SOCKETS  PROCESS
          5  nginx (pid 71, nginx.service)
          2  nginx (pid 70, nginx.service)
          2  nginx (pid 72, nginx.service)
          2  postgres (pid 60, postgresql.service)
          1  (no process)
          1  (not visible (systemd-resolved.service))
          1  ev\u{1b}]0;il\u{7},\u{202e}x (pid 90)
          1  node (pid 80, docker 3f2a9c01b7de)

      not seen  owners: 1 socket's holder is not visible; run as root
    ");
    let value = valid_json(&list("--group-by remote"), "list");
    assert_eq!(value["groups"][0], serde_json::json!({ "value": "(no peer)", "sockets": 7 }));
}

#[test]
fn chosen_columns_are_cut_to_a_narrow_terminal() {
    let surface = Surface { width: Some(40), colour: false, unicode: true };
    let report = list("--columns local-port,command,unit --port 80,5432 --state listen");
    insta::assert_snapshot!(written_on(&report, "table", surface).0, @r"
    LOCAL PORT  COMMAND   UNIT
            80  nginx: …  nginx.service
          5432  /usr/li…  postgresql.service
            80  nginx: …  nginx.service

      not seen  owners: 1 socket's holder is
                  not visible; run as root
    ");
}

#[test]
fn a_foreign_name_cannot_act_on_the_terminal() {
    let surface = Surface { width: None, colour: true, unicode: true };
    let (table, _) = written_on(&list("--port 8080 --columns name,command"), "table", surface);
    let rows = table.lines().nth(1).unwrap();
    assert_eq!(rows, r#"ev\u{1b}]0;il\u{7},\u{202e}x  =evil "quoted"\n"#);
}

#[test]
fn a_table_of_more_than_one_chunk_is_the_same_as_of_one() {
    let mut snapshot = (*machine()).clone();
    let row = snapshot.sockets[0];
    snapshot.sockets = vec![row; 300_000];
    let line = Line::try_parse_from(["list", "--columns", "local,owner"]).unwrap();
    let text = written(&report(&line.list, Arc::new(snapshot)), "table");
    assert_eq!(
        text.lines().filter(|line| *line == "10.0.0.5:80  nginx (pid 71, nginx.service)").count(),
        300_000
    );
}

#[test]
fn wrong_values_are_answered_on_one_line_with_what_is_right() {
    let error = |words: &str| {
        let line = Line::try_parse_from(std::iter::once("list").chain(words.split_whitespace()));
        crate::exit::one_line(&line.err().unwrap())
    };
    insta::assert_snapshot!(
        [
            "--port 0",
            "--port 70000",
            "--port 80-20",
            "--state tme-wait",
            "--columns remot",
            "--sort remot",
            "--address 10.0.0.0/33",
            "--address host",
            "--family 5",
            "--pid x",
            "--prot 80",
            "--no-owners --pid 1",
        ].map(error).join("\n"),
        @r"
    invalid value '0' for '--port <PORTS>': port 0 names no port; ports are 1 to 65535
    invalid value '70000' for '--port <PORTS>': port 70000 is too large; ports are 1 to 65535
    invalid value '80-20' for '--port <PORTS>': 80-20 runs backwards; type 20-80
    invalid value 'tme-wait' for '--state <STATE>': 'tme-wait' is no state; did you mean time-wait?
    invalid value 'remot' for '--columns <COLUMN>'; a similar value exists: 'remote'
    invalid value 'remot' for '--sort <COLUMN>': 'remot' is no column; did you mean remote?
    invalid value '10.0.0.0/33' for '--address <ADDRESS>': the prefix of '10.0.0.0/33' must be 0 to 32
    invalid value 'host' for '--address <ADDRESS>': 'host' is no address; type one such as 10.0.0.5, 10.0.0.0/8 or fd00::/8
    invalid value '5' for '--family <FAMILY>': '5' is no family; use ipv4 or ipv6
    invalid value 'x' for '--pid <PID>': a process id is a number; use --name for a name
    unexpected argument '--prot' found; a similar argument exists: '--port'
    the argument '--no-owners' cannot be used with '--pid <PID>'; see: list --help
    "
    );
}
