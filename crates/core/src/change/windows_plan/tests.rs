//! Plans on snapshots made by hand.

use super::*;
use crate::range::EphemeralRange;
use crate::snapshot::{Component, System};
use crate::socket::Socket;

fn range(text: &str) -> PortRange {
    text.parse().unwrap()
}

fn host() -> Snapshot {
    let mut host = Snapshot::default();
    host.host.system = System::Windows;
    for transport in Transport::ALL {
        for family in Family::ALL {
            host.ranges.push(EphemeralRange { transport, family, range: range("1024-15000") });
        }
    }
    host.components = vec![
        Component { name: "winnat".into(), state: ComponentState::Running },
        Component { name: "hyper-v".into(), state: ComponentState::Running },
    ];
    for (text, kind) in [
        ("1131-1230", ReservationKind::System),
        ("5357", ReservationKind::System),
        ("50000-50059", ReservationKind::Administered),
    ] {
        let transport = Some(Transport::Tcp);
        host.reservations.push(Reservation { range: range(text), transport, family: None, kind, by: None });
    }
    host
}

fn kept() -> Kept {
    let exclusions = host().reservations.into_iter();
    let exclusions = exclusions.filter(|r| r.kind == ReservationKind::Administered).collect();
    Kept { exclusions, ..Kept::default() }
}

fn tcp() -> Scope {
    Scope { transports: vec![Transport::Tcp], families: vec![Family::Ipv4], store: NetshStore::Persistent }
}

fn all() -> Scope {
    Scope {
        transports: Transport::ALL.to_vec(),
        families: Family::ALL.to_vec(),
        store: NetshStore::Persistent,
    }
}

fn said(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|step| step.action.to_string()).collect()
}

fn set(now: &Snapshot, wanted: Option<&str>, scope: &Scope) -> Result<Plan, String> {
    plan_windows_range(now, &Kept::default(), wanted.map(range), scope, ("range set", Place::default()))
}

fn reserve(now: &Snapshot, wanted: &str, dance: Dance) -> Result<Plan, String> {
    plan_windows_reserve(
        now,
        &kept(),
        &[range(wanted)],
        &tcp(),
        dance,
        ("reserve add", None, Place::default()),
    )
}

#[test]
fn a_reset_sets_all_four_ranges_back_and_warns_of_what_cannot_come_back() {
    let plan = set(&host(), None, &all()).unwrap();
    assert_eq!(
        said(&plan),
        [
            "ipv6 tcp: dynamic range 1024-15000 → 49152-65535",
            "ipv6 udp: dynamic range 1024-15000 → 49152-65535",
            "ipv4 tcp: dynamic range 1024-15000 → 49152-65535",
            "ipv4 udp: dynamic range 1024-15000 → 49152-65535",
        ]
    );
    assert_eq!(plan.warnings.len(), 4, "{:?}", plan.warnings);
    assert!(
        plan.warnings[0].ends_with("begins at 1024, so an undo leaves 1025-15000"),
        "{:?}",
        plan.warnings
    );
    assert!(plan.steps.iter().all(|step| step.inverse.is_some()));
}

#[test]
fn bounds_are_checked_before_anything_is_planned() {
    for (wanted, refusal) in [
        ("1024-15000", "1024-15000 begins below 1025, which Windows refuses; begin at 1025 or above"),
        ("50000-50100", "50000-50100 has 101 ports, Windows demands at least 255; type a longer range"),
    ] {
        assert_eq!(set(&host(), Some(wanted), &all()).unwrap_err(), refusal);
    }
    let mut unread = host();
    unread.ranges.remove(3);
    let refusal = set(&unread, None, &all()).unwrap_err();
    assert!(refusal.starts_with("the dynamic range of ipv6 udp could not be read"), "{refusal}");
}

#[test]
fn what_relies_on_the_default_range_and_what_the_other_family_does_is_told() {
    let mut now = host();
    now.ranges.iter_mut().for_each(|found| found.range = range("49152-65535"));
    let listener = |at: &str| Socket::unconnected(Transport::Tcp, State::Listen, at.parse().unwrap());
    now.sockets = vec![listener("0.0.0.0:49664"), listener("0.0.0.0:20080")];
    let told = set(&now, Some("20000-65535"), &tcp()).unwrap().warnings.join("\n");
    for part in [
        "setting ipv4 was seen to change ipv6 too: the ipv6 tcp range is 49152-65535",
        "rely on that range: 1 listener, the firewall's rules were not read, and RPC servers take their ports from it",
        "from 20000 up they would fall on ports that programs use",
        "programs listen inside the new range: 20080;",
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    assert_eq!(set(&now, Some("49152-65535"), &all()).unwrap().steps, []);
}

#[test]
fn what_is_taken_is_told_with_its_taker_and_the_mildest_plan() {
    let refusal = reserve(&host(), "1200", Dance::None).unwrap_err();
    assert_eq!(
        refusal,
        "1200 lies in or overlaps 1131-1230, which the system has set aside (most likely WinNAT (Hyper-V, WSL, \
         Docker)); type `portolan reserve add 1200 --restart-winnat`"
    );
    assert!(reserve(&host(), "5357", Dance::None).unwrap_err().ends_with("`portolan pick --near 5357`"));
    let mut held = host();
    held.sockets.push(Socket::unconnected(Transport::Tcp, State::Listen, "0.0.0.0:8080".parse().unwrap()));
    for dance in [Dance::None, Dance::RestartWinnat] {
        let refusal = reserve(&held, "8080", dance).unwrap_err();
        assert!(refusal.ends_with("Free it first: `portolan free 8080`"), "{refusal}");
    }
}

#[test]
fn winnat_is_started_again_whatever_happens() {
    let plan = reserve(&host(), "1200", Dance::RestartWinnat).unwrap();
    assert_eq!(
        said(&plan),
        ["stop the service winnat", "ipv4 tcp: exclude 1200", "start the service winnat"]
    );
    assert_eq!(plan.steps.iter().map(|step| step.always).collect::<Vec<_>>(), [false, false, true]);
    assert!(plan.steps[0].effects[0].contains("are cut until it runs again"));
    let mut stopped = host();
    stopped.components[0].state = ComponentState::Stopped;
    stopped.reservations.remove(0);
    assert_eq!(said(&reserve(&stopped, "1200", Dance::RestartWinnat).unwrap()), ["ipv4 tcp: exclude 1200"]);
    stopped.components[0].state = ComponentState::Absent;
    assert!(
        reserve(&stopped, "1200", Dance::RestartWinnat).unwrap_err().starts_with("WinNAT is not installed")
    );
}

#[test]
fn hyperv_comes_back_to_what_it_was() {
    let plan = reserve(&host(), "1200", Dance::CycleHyperv { by_itself: false }).unwrap();
    assert_eq!(
        said(&plan),
        [
            "turn the feature Microsoft-Hyper-V off",
            "restart Windows",
            "ipv4 tcp: exclude 1200",
            "turn the feature Microsoft-Hyper-V on",
            "restart Windows",
        ]
    );
    let told = reserve(&host(), "1200", Dance::CycleHyperv { by_itself: true }).unwrap();
    let steps = said(&told);
    assert_eq!(steps[0], "make a start-up task that goes on with this plan");
    assert_eq!(steps[1..6], said(&plan));
    assert_eq!(steps[6], "remove the start-up task");
    assert!(told.goes_on_by_itself() && told.steps[6].always && !plan.goes_on_by_itself());
    let mut off = host();
    off.components[1].state = ComponentState::Stopped;
    let plan = reserve(&off, "1200", Dance::CycleHyperv { by_itself: false }).unwrap();
    assert_eq!(
        said(&plan),
        [
            "turn the feature Microsoft-Hyper-V on",
            "restart Windows",
            "ipv4 tcp: look whether 1200 is still set aside by the system",
            "turn the feature Microsoft-Hyper-V off",
            "restart Windows",
            "ipv4 tcp: look whether 1200 is still set aside by the system",
            "ipv4 tcp: exclude 1200",
        ]
    );
    off.components.pop();
    assert!(
        reserve(&off, "1200", Dance::CycleHyperv { by_itself: false })
            .unwrap_err()
            .starts_with("whether Hyper-V is on")
    );
}

#[test]
fn what_is_excluded_already_is_not_added_again() {
    assert_eq!(reserve(&host(), "50010-50020", Dance::None).unwrap().steps, []);
    let plan = reserve(&host(), "50050-50069", Dance::None).unwrap();
    assert_eq!(said(&plan), ["ipv4 tcp: exclude 50060-50069"]);
    assert!(plan.warnings[0].starts_with("HNS may refuse"), "{:?}", plan.warnings);
}

#[test]
fn only_whole_exclusions_are_deleted_and_never_the_system_s() {
    let remove = |wanted: &str| {
        plan_windows_unreserve(
            &host(),
            &kept(),
            &[range(wanted)],
            &tcp(),
            ("reserve remove", Place::default()),
        )
    };
    let plan = remove("50000-50059").unwrap();
    assert_eq!(said(&plan), ["ipv4 tcp: delete the exclusion 50000-50059"]);
    assert!(plan.warnings[0].starts_with("HNS sets its own range aside again"), "{:?}", plan.warnings);
    assert!(remove("50020").unwrap_err().ends_with("`portolan reserve remove 50000-50059`"));
    assert!(remove("1200").unwrap_err().contains("not even an administrator may delete it"));
    assert!(remove("8080").unwrap_err().starts_with("8080: nothing of it is excluded here"));
}

#[test]
fn an_exclusion_until_the_next_restart_is_neither_kept_on_top_nor_deleted_from_what_is_kept() {
    let mut now = host();
    let own = Reservation { range: range("6000-6009"), ..now.reservations[2].clone() };
    now.reservations.push(own);
    let refusal = reserve(&now, "6000", Dance::None).unwrap_err();
    assert!(refusal.ends_with("type `portolan reserve remove 6000-6009` first"), "{refusal}");
    let wanted = [range("6000-6009")];
    let plan = plan_windows_unreserve(&now, &kept(), &wanted, &tcp(), ("reserve remove", Place::default()));
    assert_eq!(said(&plan.unwrap()), ["ipv4 tcp (until the next restart): delete the exclusion 6000-6009"]);
}

#[test]
fn what_is_in_force_and_what_is_kept_are_set_apart_where_they_differ() {
    let now = host();
    let ranges = vec![EphemeralRange { range: range("30000-40000"), ..now.ranges[0] }];
    let kept = Kept { ranges, ..Kept::default() };
    let plan = plan_windows_range(&now, &kept, None, &tcp(), ("range reset", Place::default())).unwrap();
    assert_eq!(
        said(&plan),
        [
            "ipv6 tcp: keep the dynamic range 1024-15000 in mind, to be put back by an undo",
            "ipv4 tcp (until the next restart): dynamic range 1024-15000 → 49152-65535",
            "ipv4 tcp: dynamic range 30000-40000 → 49152-65535",
        ]
    );
    assert_eq!(plan.steps[0].inverse.as_ref(), Some(&plan.steps[0].action));
}
