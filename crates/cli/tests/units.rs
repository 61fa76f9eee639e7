//! `who`, `free` and `undo` on units of a real systemd, nested in namespaces that the test makes: services, socket units
//! with and without their service running, and a kill at every step of every plan.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use portolan_testbed::{Answer, Held, NestedSystemd};
use serde_json::Value;

/// Every call by which the program writes its journal, starts others, and waits for them.
const CALLS: [&str; 7] = ["write", "fsync", "flock", "clone", "clone3", "poll", "wait4"];
/// More calls of one kind than any change makes.
const MOST: u32 = 200;
/// How long systemd may take to show a state.
const PATIENCE: Duration = Duration::from_secs(60);

const UNITS: [(&str, &str); 5] = [
    // systemd starts it again whenever it ends by itself.
    (
        "web.service",
        "[Service]\nExecStart=/bin/sh -c 'exec /testbed hold tcp-listen 0.0.0.0:8080 <> /never'\nRestart=always\n",
    ),
    ("echo.socket", "[Socket]\nListenStream=0.0.0.0:9090\nListenDatagram=127.0.0.1:9090\n"),
    // It gets the sockets as its descriptors 3 and 4, and keeps them.
    ("echo.service", "[Service]\nExecStart=/bin/sleep infinity\n"),
    // Both at once: whoever is asked first is started by the other's arrival.
    ("dual.socket", "[Socket]\nListenStream=127.0.0.1:7070\n"),
    ("dual.service", "Requires=dual.socket\n[Service]\nExecStart=/bin/sleep infinity\n"),
];
const WANTED: &str = "web.service echo.socket dual.socket dual.service";

fn nest() -> NestedSystemd {
    let nest = NestedSystemd::new(&UNITS, WANTED);
    await_state(&nest, "web.service", "running");
    await_port(&nest, "8080");
    nest
}

fn state(nest: &NestedSystemd, unit: &str) -> String {
    let shown = nest.systemctl(&format!("show --property=SubState --value {unit}")).with_code(0);
    shown.output.trim_end().to_owned()
}

#[track_caller]
fn await_state(nest: &NestedSystemd, unit: &str, wanted: &str) {
    let until = Instant::now() + PATIENCE;
    while state(nest, unit) != wanted {
        assert!(Instant::now() < until, "{unit} is {}, not {wanted}", state(nest, unit));
        thread::sleep(Duration::from_millis(5));
    }
}

/// A service of type simple counts as started before it listens.
#[track_caller]
fn await_port(nest: &NestedSystemd, port: &str) {
    nest.portolan(&format!("wait {port} --for listening --timeout 60")).with_code(0);
}

/// Starts echo.service as a client does, and waits until it is there.
#[track_caller]
fn wake_echo(nest: &NestedSystemd) {
    let mut client = nest.command("bash");
    Answer::of(client.args(["-c", "exec 3<> /dev/tcp/127.0.0.1/9090"])).with_code(0);
    await_state(nest, "echo.service", "running");
    // systemd's child has the sockets a moment before it has become the program.
    await_seen(nest, "sleep at 9090", |seen| {
        seen.listeners.contains(&("0.0.0.0:9090".into(), "sleep".into()))
    });
}

/// How each unit stands, and who listens where: all that stopping and starting could change, but for pids.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    units: BTreeMap<&'static str, String>,
    listeners: Vec<(String, String)>,
}

fn seen(nest: &NestedSystemd) -> Seen {
    let names = UNITS.map(|(unit, _)| unit);
    let shown = nest.systemctl(&format!("show --property=SubState --value {}", names.join(" "))).with_code(0);
    let states = shown.output.lines().filter(|line| !line.is_empty()).map(str::to_owned);
    let units: BTreeMap<_, _> = names.into_iter().zip(states).collect();
    assert_eq!(units.len(), names.len(), "{shown}");
    let list = nest.portolan("list --json").with_code(0).json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = list["sockets"].as_array().unwrap_or_else(|| panic!("{list:#}")).iter();
    let mut listeners: Vec<_> = rows
        .filter(|row| row["remote"].is_null())
        .flat_map(|row| {
            let holders = row["owners"].as_array().cloned().unwrap_or_default();
            let at = format!("{}:{}", text(&row["local"]["address"]), row["local"]["port"]);
            holders.into_iter().map(|owner| (at.clone(), text(&owner["name"]))).collect::<Vec<_>>()
        })
        .collect();
    listeners.sort();
    Seen { units, listeners }
}

#[track_caller]
fn await_seen(nest: &NestedSystemd, what: &str, is_so: impl Fn(&Seen) -> bool) {
    let until = Instant::now() + PATIENCE;
    loop {
        let now = seen(nest);
        if is_so(&now) {
            return;
        }
        assert!(Instant::now() < until, "{what}: {now:#?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The steps of a plan, and of what takes it back.
fn steps(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    let steps = json["steps"].as_array().unwrap_or_else(|| panic!("{json:#}")).iter();
    steps.map(|step| step["action"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Frees a port by these steps, finds these units at rest, and takes it back by those.
#[track_caller]
fn freed_and_back(nest: &NestedSystemd, port: &str, there: &[&str], stopped: &[&str], back: &[&str]) {
    let before = seen(nest);
    let plan = nest.portolan(&format!("free {port} --dry-run --json")).with_code(0);
    assert_eq!(steps(&plan), there, "{plan}");
    assert_eq!(seen(nest), before, "a dry run changes nothing");
    let answer = nest.portolan(&format!("free {port} --yes --json")).with_code(0);
    let json = answer.json();
    assert_eq!((&json["done"], &json["ports"][0]["binds"]), (&true.into(), &true.into()), "{json:#}");
    assert_eq!(steps(&answer), there, "{answer}");
    for (unit, was) in &before.units {
        let wanted = if stopped.contains(unit) { "dead" } else { was };
        assert_eq!(state(nest, unit), wanted, "{unit}: {answer}");
    }
    let undone = nest.portolan("undo --yes --json").with_code(0);
    assert_eq!(steps(&undone), back, "{undone}");
    await_seen(nest, "after the undo", |now| *now == before);
}

#[test]
fn who_names_the_unit_of_a_holder_and_the_socket_unit_of_systemd() {
    let nest = nest();
    let web = nest.portolan("who 8080").with_code(0);
    assert!(web.output.contains("web.service)"), "{web}");
    let echo = nest.portolan("who 9090/udp").with_code(0);
    assert!(echo.output.contains("systemd's socket unit echo.socket for echo.service"), "{echo}");
    let list = nest.portolan("list --listening").with_code(0);
    assert!(list.output.contains("9090") && !list.output.contains("not seen"), "{list}");
    nest.portolan("snapshot --out /run/seen.json").with_code(0);
    let snapshot = Answer::of(nest.command("cat").arg("/run/seen.json")).json();
    let carriers = snapshot["carriers"].as_array().unwrap_or_else(|| panic!("{snapshot:#}"));
    let units: Vec<String> = carriers
        .iter()
        .map(|carrier| {
            format!("{} {} → {}", carrier["name"], carrier["transport"], carrier["to"]).replace('"', "")
        })
        .collect();
    for unit in
        ["dual.socket tcp → dual.service", "echo.socket tcp → echo.service", "echo.socket udp → echo.service"]
    {
        assert!(units.iter().any(|seen| seen == unit), "{unit}: {units:?}");
    }
}

#[test]
fn units_are_stopped_with_their_socket_units_and_come_back_as_they_were() {
    let nest = nest();
    freed_and_back(&nest, "8080", &["stop unit web.service"], &["web.service"], &["start unit web.service"]);
    // Nobody has come yet: systemd alone holds it.
    freed_and_back(&nest, "9090", &["stop unit echo.socket"], &["echo.socket"], &["start unit echo.socket"]);
    wake_echo(&nest);
    freed_and_back(
        &nest,
        "9090",
        &["stop unit echo.socket", "stop unit echo.service"],
        &["echo.socket", "echo.service"],
        &["start unit echo.socket, and anew what runs on it: echo.service", "start unit echo.service"],
    );
    // The service requires its socket unit and has gone with it when its own turn comes.
    freed_and_back(
        &nest,
        "7070",
        &["stop unit dual.socket", "stop unit dual.service"],
        &["dual.socket", "dual.service"],
        &["start unit dual.socket, and anew what runs on it: dual.service"],
    );
}

#[test]
fn a_port_that_somebody_took_meanwhile_keeps_the_undo_from_its_end_until_it_is_free() {
    let nest = nest();
    let before = seen(&nest);
    nest.portolan("free 9090 --yes").with_code(0);
    let mut thief = nest.command("/testbed");
    thief.args(["hold", "tcp-listen", "0.0.0.0:9090"]);
    let thief = Held::from_command(thief);
    let undone = nest.portolan("undo --yes").with_code(1);
    let told = undone.output.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("not taken back"), "{undone}");
    assert!(told.contains("systemctl status echo.socket tells why"), "{undone}");
    nest.portolan("free 9090 --yes").with_code(0);
    drop(thief);
    // The thief's end cannot be taken back, and is passed over.
    nest.portolan("undo --yes").with_code(0);
    await_seen(&nest, "after the undo", |now| *now == before);
}

/// The program with one call of a kind at which it, or a program that it started, is killed.
fn killed(nest: &NestedSystemd, call: &str, number: u32, words: &str) -> Answer {
    let mut command = nest.command("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    command.args(["-e", &format!("inject={call}:signal=KILL:when={number}"), "/portolan"]);
    Answer::of(command.args(words.split_whitespace()))
}

/// Kills a change at each call of each kind in turn, and takes it back. How often it was killed is returned.
#[track_caller]
fn killed_everywhere(nest: &NestedSystemd, first: Option<&str>, cut: &str) -> u32 {
    let before = seen(nest);
    let mut kills = 0;
    for call in CALLS {
        for number in 1..=MOST {
            if let Some(first) = first {
                nest.portolan(first).with_code(0);
            }
            let answer = killed(nest, call, number, cut);
            let at = format!("{cut} at {call} {number}");
            assert!(!answer.errors.contains("panicked"), "{at}: {answer}");
            let was_killed = answer.code != Some(0);
            let undone = nest.portolan("undo --yes").with_code(0);
            await_seen(nest, &format!("{at}: {answer}\n{undone}"), |now| *now == before);
            if !was_killed {
                break;
            }
            kills += 1;
            assert!(number < MOST, "{at}: it never came to its end");
        }
    }
    kills
}

#[test]
fn a_stopped_service_killed_anywhere_comes_back() {
    let nest = nest();
    assert!(killed_everywhere(&nest, None, "free 8080 --yes") > 12);
}

#[test]
fn a_stopped_socket_unit_killed_anywhere_comes_back() {
    let nest = nest();
    assert!(killed_everywhere(&nest, None, "free 9090 --yes") > 12);
}

#[test]
fn a_socket_unit_and_its_running_service_killed_anywhere_come_back_together() {
    let nest = nest();
    wake_echo(&nest);
    assert!(killed_everywhere(&nest, None, "free 9090 --yes") > 20);
}

#[test]
fn an_undo_of_both_killed_anywhere_is_taken_up_again() {
    let nest = nest();
    wake_echo(&nest);
    assert!(killed_everywhere(&nest, Some("free 9090 --yes"), "undo --yes") > 12);
}
