//! Every inverse leads back, and a setting that somebody else changed stops the step.

use super::*;
use crate::port::PortSet;

fn range(text: &str) -> PortRange {
    text.parse().unwrap()
}

#[test]
fn every_inverse_leads_back_to_the_action() {
    let ports = vec![range("5432"), range("8000-8100")];
    for action in [
        Action::SetRange { store: Store::Runtime, from: Some(range("1-2")), to: None },
        Action::Reserve { store: Store::File("/x".into()), ports: ports.clone(), kept: Vec::new() },
        Action::StopUnit { unit: "a.service".into(), services: Vec::new() },
        Action::StartContainer { runtime: "docker".into(), id: "f00".into() },
    ] {
        assert_eq!(action.inverse().unwrap().inverse().unwrap(), action);
    }
    let process = ProcessKey { pid: 2, start: 3, name: "a".into() };
    assert_eq!(stop(process).inverse(), None);
}

fn stop(process: ProcessKey) -> Action {
    let sockets = vec![99];
    Action::StopProcess { process, sockets, signal: "TERM".into(), timeout_ms: 1, force: true }
}

#[test]
fn a_process_is_stopped_only_while_it_is_the_one_that_was_meant_and_holds_the_socket() {
    let stop = stop(ProcessKey { pid: 2, start: 3, name: "web".into() });
    let decided = |now| decide(&stop, &Observed::Process(now));
    assert_eq!(decided(ProcessNow::Holding), Decision::Do(stop.clone()));
    assert_eq!(decided(ProcessNow::LetGo), Decision::AlreadySo);
    assert_eq!(decided(ProcessNow::Gone), Decision::AlreadySo);
    let Decision::Changed(why) = decided(ProcessNow::Another) else { panic!("another process") };
    assert_eq!(
        why,
        "pid 2 belongs to another process by now, not to the web that was meant: nothing was sent"
    );
}

#[test]
fn a_range_that_somebody_else_changed_stops_the_step() {
    let action = Action::SetRange {
        store: Store::Runtime,
        from: Some(range("32768-60999")),
        to: Some(range("10000-60999")),
    };
    let decided = |now| decide(&action, &Observed::Range(Some(range(now))));
    assert_eq!(decided("32768-60999"), Decision::Do(action.clone()));
    assert_eq!(decided("10000-60999"), Decision::AlreadySo);
    assert_eq!(
        decided("20000-30000"),
        Decision::Changed(
            "kernel: the ephemeral range is 20000-30000, not 32768-60999 as expected: it was changed meanwhile"
                .into()
        )
    );
}

#[test]
fn a_long_list_is_cut_in_sentences_and_whole_where_it_is_written() {
    let ports: Vec<PortRange> = (1..=50).map(|n| range(&(2 * n).to_string())).collect();
    let action = Action::Reserve { store: Store::Runtime, ports: ports.clone(), kept: Vec::new() };
    assert!(action.to_string().ends_with(",38,40 and 30 more"), "{action}");
    assert!(list(&ports).ends_with(",98,100"));
}

#[test]
fn of_reserved_ports_only_those_of_the_step_count() {
    let now: PortSet = [range("1-10"), range("5432")].into_iter().collect();
    let reserve = |ports| Action::Reserve { store: Store::Runtime, ports, kept: Vec::new() };
    assert_eq!(decide(&reserve(vec![range("5432")]), &Observed::Reserved(now.clone())), Decision::AlreadySo);
    assert_eq!(
        decide(&reserve(vec![range("5-12")]), &Observed::Reserved(now.clone())),
        Decision::Do(reserve(vec![range("11-12")]))
    );
    let undo = reserve(vec![range("5432-5433")]).inverse().unwrap();
    let narrowed = Action::Unreserve { store: Store::Runtime, ports: vec![range("5432")], kept: Vec::new() };
    assert_eq!(decide(&undo, &Observed::Reserved(now)), Decision::Do(narrowed));
}

#[test]
fn a_unit_is_stopped_only_while_it_runs_and_its_socket_unit_remembers_which_services_did() {
    let stop = |services: &[&str]| Action::StopUnit {
        unit: "a.socket".into(),
        services: services.iter().map(ToString::to_string).collect(),
    };
    let now = |active| Observed::Unit(UnitNow { active, services: vec!["a.service".into()] });
    assert_eq!(decide(&stop(&[]), &now(false)), Decision::AlreadySo);
    assert_eq!(decide(&stop(&[]), &now(true)), Decision::Do(stop(&["a.service"])));
    let start = stop(&["a.service"]).inverse().unwrap();
    assert_eq!(start.to_string(), "start unit a.socket, and anew what runs on it: a.service");
    // A unit that is up may be about to be stopped: systemd is asked all the same.
    assert_eq!(decide(&start, &now(true)), Decision::Do(start.clone()));
    assert_eq!(stop(&[]).inverse().unwrap().to_string(), "start unit a.socket");
}
