//! What each action of Windows expects, and what leads back.

use super::*;
use crate::change::Action;

const TCP: Table = Table { family: Family::Ipv4, transport: Transport::Tcp, store: NetshStore::Persistent };

fn range(text: &str) -> PortRange {
    text.parse().unwrap()
}

fn excluded(table: &[&str]) -> WindowsNow {
    let reservation = |text: &&str| {
        let kind = if text.ends_with('*') { ReservationKind::Administered } else { ReservationKind::System };
        Reservation {
            range: range(text.trim_end_matches('*')),
            transport: None,
            family: None,
            kind,
            by: None,
        }
    };
    WindowsNow::Excluded(table.iter().map(reservation).collect())
}

fn told(action: &WindowsAction, now: &WindowsNow) -> String {
    match decide(action, now) {
        Decision::Do(action) => action.to_string(),
        Decision::AlreadySo => "already so".into(),
        Decision::Changed(how) => how,
    }
}

#[test]
fn every_inverse_leads_back_and_every_action_survives_the_journal() {
    let name = "winnat".to_owned();
    let actions = [
        WindowsAction::SetDynamicRange {
            table: TCP,
            from: range("1025-15000"),
            to: range("49152-65535"),
            coupled: vec![range("2025-15000")],
        },
        WindowsAction::AddExclusion { table: TCP, range: range("5432") },
        WindowsAction::StopService { name: name.clone() },
        WindowsAction::EnableFeature { name },
        WindowsAction::LookAgain { table: TCP, range: range("5432"), stop: true },
        WindowsAction::AddTask { plan: Some(3) },
        WindowsAction::Restart { begun_in: Some("a".into()) },
    ];
    for action in actions {
        if let Some(inverse) = action.inverse() {
            assert_eq!(inverse.inverse(), Some(action.clone()));
        }
        let action = Action::Windows(action);
        let line = serde_json::to_string(&action).unwrap();
        assert_eq!(serde_json::from_str::<Action>(&line).unwrap(), action, "{line}");
    }
}

#[test]
fn a_dynamic_range_may_be_what_the_other_family_left_there_and_nothing_else() {
    let (from, to) = (range("1024-15000"), range("49152-65535"));
    let set = WindowsAction::SetDynamicRange { table: TCP, from, to, coupled: vec![range("2000-9000")] };
    let now = |text| WindowsNow::Range(range(text));
    assert_eq!(told(&set, &now("49152-65535")), "already so");
    assert_eq!(told(&set, &now("1024-15000")), "ipv4 tcp: dynamic range 1024-15000 → 49152-65535");
    assert_eq!(told(&set, &now("2000-9000")), "ipv4 tcp: dynamic range 1024-15000 → 49152-65535");
    assert!(told(&set, &now("3000-9000")).ends_with("it was changed meanwhile"));
}

#[test]
fn exclusions_are_added_beside_others_and_deleted_exactly_as_they_were_added() {
    let add = |text| WindowsAction::AddExclusion { table: TCP, range: range(text) };
    let delete = |text| add(text).inverse().unwrap();
    let now = excluded(&["1131-1230", "50000-50059*", "6000*"]);
    assert_eq!(told(&add("5432"), &now), "ipv4 tcp: exclude 5432");
    assert_eq!(told(&add("50020"), &now), "already so");
    assert_eq!(told(&add("1200"), &now), "ipv4 tcp: 1200 overlaps 1131-1230, which the system has set aside");
    assert_eq!(told(&delete("6000"), &now), "ipv4 tcp: delete the exclusion 6000");
    assert_eq!(told(&delete("5432"), &now), "already so");
    assert!(told(&delete("50020"), &now).ends_with("Windows deletes only exactly what was added"));
    assert_eq!(told(&delete("1200"), &now), "already so", "an add that the system's range refused");
    let look = |stop| WindowsAction::LookAgain { table: TCP, range: range("1200"), stop };
    assert_eq!(told(&look(true), &now), "ipv4 tcp: 1131-1230 is still set aside by the system");
    assert_eq!(told(&look(false), &now), "already so");
}

#[test]
fn services_features_and_restarts_that_are_so_already_are_left_alone() {
    let name = || "x".to_owned();
    for (action, now, wanted) in [
        (
            WindowsAction::StopService { name: name() },
            WindowsNow::Service(ComponentState::Absent),
            "already so",
        ),
        (
            WindowsAction::StartService { name: name() },
            WindowsNow::Service(ComponentState::Running),
            "already so",
        ),
        (
            WindowsAction::StartService { name: name() },
            WindowsNow::Service(ComponentState::Absent),
            "the service x is not installed",
        ),
        (
            WindowsAction::DisableFeature { name: name() },
            WindowsNow::Feature(FeatureState::DisablePending),
            "already so",
        ),
        (
            WindowsAction::EnableFeature { name: name() },
            WindowsNow::Feature(FeatureState::DisablePending),
            "turn the feature x on",
        ),
        (
            WindowsAction::EnableFeature { name: name() },
            WindowsNow::Feature(FeatureState::Absent),
            "this Windows does not have the feature x",
        ),
        (WindowsAction::RESTART, WindowsNow::Boot("b".into()), "restart Windows"),
        (
            WindowsAction::Restart { begun_in: Some("b".into()) },
            WindowsNow::Boot("b".into()),
            "restart Windows",
        ),
        (WindowsAction::Restart { begun_in: Some("a".into()) }, WindowsNow::Boot("b".into()), "already so"),
    ] {
        assert_eq!(told(&action, &now), wanted, "{action} at {now:?}");
    }
    let begun = decide(&WindowsAction::RESTART, &WindowsNow::Boot("b".into()));
    let written = WindowsAction::Restart { begun_in: Some("b".into()) };
    assert_eq!(begun, Decision::Do(Action::Windows(written)), "the journal keeps the boot it began in");
}
