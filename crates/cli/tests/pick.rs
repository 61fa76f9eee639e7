//! `portolan pick`, end to end: what is offered, what is not, and that it binds while others take ports.
#![cfg(target_os = "linux")]

use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use portolan_core::socket::Transport;
use portolan_host::hold::hold_first;
use portolan_testbed::{Answer, Held, Namespace, program};
use serde_json::{Value, json};

fn pick(namespace: &Namespace, arguments: &[&str]) -> Answer {
    let mut command = namespace.command(program("portolan"));
    Answer::of(command.arg("pick").args(arguments))
}

/// The ports of a pick that gives as many as it was asked for, as a script reads them.
#[track_caller]
fn ports(answer: Answer) -> Vec<u16> {
    let answer = answer.with_code(0);
    assert_eq!(answer.errors, "", "{answer}");
    answer.output.lines().map(|line| line.parse().unwrap_or_else(|_| panic!("{answer}"))).collect()
}

/// How many ports were left out for a reason.
fn left_out(json: &Value, why: &str) -> Option<u64> {
    json["left_out"].as_array().unwrap().iter().find(|one| one["why"] == why)?["ports"].as_u64()
}

/// How many of these ports cannot be bound plainly, on every address and for both transports, all at once.
fn refused(namespace: &Namespace, ports: &[u16]) -> u32 {
    let named = portolan_host::Namespace::Named(namespace.name().to_owned());
    hold_first(&named, &Transport::ALL, ports, ports.len()).unwrap().refused
}

#[test]
fn the_nearest_port_is_offered_that_nobody_holds_in_any_family_or_state() {
    let namespace = Namespace::new();
    let _held = Held::new(
        &namespace,
        "tcp-listen 127.0.0.1:7500 tcp-listen [::1]:7501 --v6only udp 127.0.0.1:7499 tcp-bound 127.0.0.1:7502 \
         time-wait 127.0.0.1:7498 connections 127.0.0.1:7503 --close-listener",
    );
    assert_eq!(ports(pick(&namespace, &["--near", "7500", "--count", "3"])), [7497, 7504, 7496]);
    // Over TCP alone a UDP socket is not in the way.
    assert_eq!(ports(pick(&namespace, &["--near", "7500", "--transport", "tcp"])), [7499]);
    assert_eq!(ports(pick(&namespace, &["--near", "7500", "--transport", "udp"])), [7500]);
    let json = pick(&namespace, &["--near", "7500", "--range", "7498-7510", "--json"]).with_code(0).json();
    assert_eq!(json["ports"], json!([7504]), "{json:#}");
    assert_eq!(left_out(&json, "held"), Some(6), "{json:#}");
}

#[test]
fn reserved_ephemeral_privileged_and_well_known_ports_are_not_offered() {
    let namespace = Namespace::new();
    namespace.sysctl("net.ipv4.ip_local_reserved_ports", "7600-7609,7611");
    namespace.sysctl("net.ipv4.ip_local_port_range", "20000 29999");
    assert_eq!(ports(pick(&namespace, &["--range", "7600-7611"])), [7610]);
    let of = |range: &str| pick(&namespace, &["--range", range, "--json"]).with_code(1).json();
    for (range, why) in [
        ("7600-7609", "reserved"),
        ("20000-20009", "ephemeral"),
        ("1014-1023", "privileged"),
        ("5432-5432", "well-known"),
    ] {
        let json = of(range);
        let (first, last) = range.split_once('-').unwrap();
        let all = last.parse::<u64>().unwrap() - first.parse::<u64>().unwrap() + 1;
        assert_eq!((left_out(&json, why), &json["ports"]), (Some(all), &json!([])), "{json:#}");
    }
    let taken = ports(pick(&namespace, &["--range", "20000-20009", "--ephemeral", "--count", "10"]));
    assert_eq!(taken.iter().min().zip(taken.iter().max()), Some((&20000, &20009)));
    // The usual range is no longer the ephemeral one.
    assert_eq!(ports(pick(&namespace, &["--range", "40001-40001"])), [40001]);
}

#[test]
fn too_few_ports_are_one_line_exit_code_1_and_nothing_for_a_script() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "tcp-listen 127.0.0.1:7700");
    let answer = pick(&namespace, &["--range", "7700-7702", "--count", "3"]).with_code(1);
    assert_eq!(answer.output, "", "{answer}");
    assert_eq!(
        answer.errors,
        "portolan: 2 of the 3 ports asked for can be offered in 7700-7702 (1 held): take another --range\n"
    );
    let answer = pick(&namespace, &["--range", "40000-40001"]).with_code(1);
    assert_eq!(answer.errors.lines().count(), 1, "{answer}");
    assert!(answer.errors.contains("2 in the ephemeral range") && answer.errors.contains("--ephemeral"));
}

#[test]
fn an_ordinary_user_picks_from_another_place_each_time() {
    let namespace = Namespace::new();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..8 {
        let mut command = namespace.command_as(65534, program("portolan"));
        let picked = ports(Answer::of(command.args(["pick", "--count", "20"])));
        assert_eq!(picked.len(), 20);
        assert!(picked.iter().all(|port| *port >= 1024), "{picked:?}");
        assert_eq!(refused(&namespace, &picked), 0, "{picked:?}");
        seen.insert(picked[0]);
    }
    // By chance alone eight starts of some 30,000 are one and the same never.
    assert!(seen.len() > 1, "{seen:?}");
}

#[test]
fn more_ports_than_descriptors_are_usual_can_be_asked_for() {
    let namespace = Namespace::new();
    let script = format!("ulimit -Sn 256; exec '{}' pick --count 3000", program("portolan").display());
    let picked = ports(Answer::of(namespace.command("sh").args(["-c", &script])));
    assert_eq!(picked.len(), 3000);
}

/// Takes ports by bind(0) and connect until told to stop, and keeps the newest hundreds; counts what it took.
fn churn(stop: &AtomicBool, taken: &AtomicU64) {
    let any = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0);
    let server = TcpListener::bind(any).unwrap();
    let there = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), server.local_addr().unwrap().port());
    let (mut listeners, mut datagrams, mut streams) = (Vec::new(), Vec::new(), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        listeners.push(TcpListener::bind(any).unwrap());
        datagrams.push(UdpSocket::bind(any).unwrap());
        streams.push((TcpStream::connect(there).unwrap(), server.accept().unwrap()));
        taken.fetch_add(3, Ordering::Relaxed);
        if streams.len() == 100 {
            listeners.drain(..50);
            datagrams.drain(..50);
            streams.drain(..50);
        }
    }
}

#[test]
fn a_thousand_picks_of_a_hundred_all_bind_while_a_program_takes_ports() {
    let namespace = Namespace::new();
    let (stop, taken) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| namespace.run(|| churn(&stop, &taken)));
        // Also where an assertion fails, or the scope would wait for ever.
        let outcome = std::panic::catch_unwind(|| {
            for run in 0..1000 {
                let mut command = std::process::Command::new(program("portolan"));
                let answer =
                    Answer::of(command.args(["pick", "--count", "100", "--netns", namespace.name()]));
                let picked = ports(answer);
                assert_eq!(picked.len(), 100);
                assert_eq!(refused(&namespace, &picked), 0, "run {run}: {picked:?}");
            }
        });
        stop.store(true, Ordering::Relaxed);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert!(taken.into_inner() > 1000, "nothing was taken meanwhile, so nothing was proven");
}
