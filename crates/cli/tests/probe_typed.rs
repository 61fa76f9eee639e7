//! What is typed to `portolan probe`: sources, settings, interfaces, lists, earlier runs; and what is told where it is wrong.
#![cfg(target_os = "linux")]

use std::net::TcpListener;
use std::process::Stdio;

use portolan_testbed::{Answer, Held, Namespace, program};

fn probe(namespace: &Namespace, arguments: &[&str]) -> Answer {
    Answer::of(namespace.command(program("portolan")).arg("probe").args(arguments))
}

/// The one line that tells what is wrong.
#[track_caller]
fn fault(namespace: &Namespace, arguments: &[&str]) -> String {
    let answer = probe(namespace, arguments).with_code(2);
    assert_eq!(answer.errors.lines().count(), 1, "{answer}");
    assert_eq!(answer.output, "", "{answer}");
    answer.errors
}

fn ip(namespace: &Namespace, arguments: &str) {
    let status = namespace.command("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

#[test]
fn a_setting_that_nobody_asked_has_is_told_with_those_that_there_are() {
    let namespace = Namespace::new();
    for (arguments, part) in [
        (&["-p", "80,53/udp", "--set", "community=x"][..], "here has a setting 'community': http has "),
        (&["-p", "80,53/udp", "--set", "community=x"], "; dns has name, type"),
        (&["-p", "22", "--set", "name=x"], "a setting 'name': none of them has any"),
        (&["-p", "80", "--bare", "--set", "path=/"], "a setting 'path': none of them has any"),
        (&["--profile", "mail", "--set", "path=/"], "a setting 'path': "),
    ] {
        let told = fault(&namespace, &[&["127.0.0.1"], arguments].concat());
        assert!(told.contains(part), "{arguments:?}: {told}");
    }
    // One of several is enough; and nobody knows beforehand what will be tried.
    probe(&namespace, &["127.0.0.1", "-p", "80,53/udp", "--set", "path=/x"]).with_code(1);
    probe(&namespace, &["127.0.0.1", "-p", "22", "--identify", "--set", "path=/x"]).with_code(1);
}

#[test]
fn a_source_that_cannot_be_had_is_told_alike_of_both_transports_and_of_none() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "tcp-listen 127.0.0.1:3000 udp 127.0.0.1:3000");
    for ports in [&["-p", "80"][..], &["-p", "53/udp"], &["-p", "53/udp,80"], &[]] {
        let told = fault(&namespace, &[&["127.0.0.1", "--source", "9.9.9.9"], ports].concat());
        assert_eq!(told, "portolan: cannot ask from 9.9.9.9: it is not an address of this machine\n");
    }
    for (port, name) in [("80", "tcp"), ("53/udp", "udp"), ("53/udp,80", "tcp")] {
        let source = ["--source", "127.0.0.1", "--source-port", "3000"];
        let told = fault(&namespace, &[&["127.0.0.1", "-p", port][..], &source].concat());
        let whole = format!(
            "portolan: cannot ask from 127.0.0.1:3000: Address already in use (os error 98); see: portolan who \
             3000/{name}\n"
        );
        assert_eq!(told, whole);
    }
}

#[test]
fn a_link_local_address_is_asked_on_its_interface_and_without_one_that_is_told() {
    let namespace = Namespace::new();
    for arguments in [
        "link add d0 type veth peer name d1",
        "link set d0 up",
        "link set d1 up",
        "address add fe80::7/64 dev d0 nodad",
    ] {
        ip(&namespace, arguments);
    }
    let _listener = namespace.run(|| TcpListener::bind(("fe80::7%d0", 7000)).unwrap());
    probe(&namespace, &["[fe80::7%d0]:7000", "--bare"]).with_code(0);
    probe(&namespace, &["[fe80::7%d0]", "-p", "7000", "--bare"]).with_code(0);
    let portqry = ["portqry", "-n", "[fe80::7%d0]", "-e", "7000", "-q"];
    Answer::of(namespace.command(program("portolan")).args(portqry)).with_code(0);
    let connect = ["connect", "[fe80::7%d0]", "7000", "--timeout", "0.2"];
    Answer::of(namespace.command(program("portolan")).args(connect).stdin(Stdio::null())).with_code(0);
    let hint = "fe80::7 is a link-local address: type its interface too, as in fe80::7%eth0\n";
    for arguments in
        [&["probe", "fe80::7", "-p", "7000"][..], &["probe", "fe80::7"], &["connect", "fe80::7", "7000"]]
    {
        let answer = Answer::of(namespace.command(program("portolan")).args(arguments)).with_code(2);
        assert_eq!(answer.errors, format!("portolan: {hint}"), "{answer}");
        assert!(!answer.output.contains("not seen"), "{answer}");
    }
    let portqry = ["portqry", "-n", "fe80::7", "-nr", "-e", "7000", "-q"];
    let answer = Answer::of(namespace.command(program("portolan")).args(portqry)).with_code(99);
    assert_eq!(answer.errors, format!("portqry: {hint}"), "{answer}");
}

#[test]
fn lists_of_ports_add_up() {
    let namespace = Namespace::new();
    let answer =
        probe(&namespace, &["127.0.0.1", "-p", "81,80", "-p", "443", "-p", "80", "--json"]).with_code(1);
    let json = answer.json();
    let ports: Vec<u64> =
        json["results"].as_array().unwrap().iter().map(|result| result["port"].as_u64().unwrap()).collect();
    assert_eq!(ports, [81, 80, 443]);
    assert!(fault(&namespace, &["127.0.0.1", "-p", "80", "-p", "70000"]).contains("port 70000 is too large"));
}

#[test]
fn an_earlier_run_says_which_ports_to_ask() {
    let namespace = Namespace::new();
    let listener = namespace.run(|| TcpListener::bind("127.0.0.1:7001").unwrap());
    let asked = ["127.0.0.1:7001,7002", "127.0.0.2:7003", "--bare", "--json"];
    let before = probe(&namespace, &asked).with_code(1).output;
    let file = std::env::temp_dir().join(format!("portolan-probe-typed-{}.json", namespace.name()));
    std::fs::write(&file, before).unwrap();
    drop(listener);
    let baseline = ["--bare", "--baseline", file.to_str().unwrap()];
    let again = probe(&namespace, &[&["127.0.0.1"], &baseline[..], &["--json"]].concat()).with_code(1).json();
    let ports: Vec<u64> =
        again["results"].as_array().unwrap().iter().map(|result| result["port"].as_u64().unwrap()).collect();
    assert_eq!(ports, [7001, 7002], "of this host alone");
    assert_eq!(again["changed"]["changes"][0]["kind"], "closed");
    // A host that it does not know is asked for all that anybody was.
    let other = probe(&namespace, &[&["127.0.0.3"], &baseline[..], &["--json"]].concat()).with_code(2).json();
    assert_eq!(other["results"].as_array().unwrap().len(), 3);
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn what_has_nobody_to_ask_says_so() {
    let namespace = Namespace::new();
    for (arguments, part) in [
        (&[][..], "no host is named; type one, as in: portolan probe db.example -p 5432"),
        (&["--from", "x"], "leave --from out; --source ADDRESS asks from an address of this machine"),
        (&["--from", "x", "127.0.0.1", "-p", "80"], "leave --from out; --source ADDRESS"),
        (&["127.0.0.1", "--bogus"], "unexpected argument '--bogus' found; see: portolan probe --help"),
        (&["127.0.0.1", "--prots", "80"], "a similar argument exists: '--ports'"),
        (&["127.0.0.1", "--top", "223"], "--top knows 1 to 222 tcp ports"),
    ] {
        let told = fault(&namespace, arguments);
        assert!(told.contains(part), "{arguments:?}: {told}");
    }
    let run =
        |arguments: &[&str]| Answer::of(namespace.command(program("portolan")).args(arguments)).with_code(2);
    let answer = run(&["--json", "portqry", "-n", "127.0.0.1"]);
    assert!(answer.errors.contains("leave --json and --format out") && answer.output.is_empty(), "{answer}");
    assert!(run(&["range", "set", "--bogus"]).errors.contains("see: portolan range set --help"));
}

#[test]
fn a_refusal_of_this_system_is_named_wherever_it_is_told() {
    let namespace = Namespace::new();
    let words = "refused by this system: Network is unreachable (os error 101)";
    for arguments in [&["-p", "80"][..], &["-p", "80", "--format", "csv"], &["--profile", "web"], &[]] {
        let answer = probe(&namespace, &[&["192.0.2.7"], arguments].concat());
        assert!(answer.output.contains(words), "{arguments:?}: {answer}");
    }
}

#[test]
fn that_a_run_was_broken_off_is_told_beside_rows_too() {
    let namespace = Namespace::new();
    let rules = "add table ip t; add chain ip t c { type filter hook input priority 0; }; \
                 add rule ip t c tcp dport 8000-9999 drop";
    assert!(namespace.command("nft").arg(rules).status().unwrap().success());
    let listener = namespace.run(|| TcpListener::bind("127.0.0.1:7000").unwrap());
    let ports = ["-p", "7000,8000-9999", "--rate", "50", "--bare", "--format", "csv"];
    let mut command = namespace.command(program("portolan"));
    command.args(["probe", "127.0.0.1"]).args(ports).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    listener.accept().unwrap();
    let kill = namespace.command("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    let (rows, errors) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert_eq!(errors, "portolan: broken off: not every port was asked\n");
    assert!(rows.starts_with("host,address,port,") && rows.contains(",7000,tcp,"), "{rows}");
    assert!(rows.lines().all(|line| line.matches(',').count() >= 10), "{rows}");
}
