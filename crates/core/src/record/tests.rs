//! Entries of hand-made looks.

use super::*;
use crate::owner::{Container, Holder};
use crate::socket::{Socket, Transport};

/// A look with so many sockets of each process.
fn look(of: &[(&str, Option<&str>, usize, State)]) -> Snapshot {
    let mut snapshot = Snapshot { taken_ms: 5000, ..Snapshot::default() };
    for (index, (name, unit, count, state)) in (0..).zip(of) {
        snapshot.owners.push(Owner {
            pid: 100 + index,
            name: (*name).to_owned(),
            unit: unit.map(str::to_owned),
            handles: Some(10 + index),
            ..Owner::default()
        });
        snapshot.holders.push(Holder { owner: index, descriptor: 3 });
        let (here, there) = (([10, 0, 0, 5], 40_000).into(), ([10, 0, 0, 9], 443).into());
        let mut socket = Socket::new(Transport::Tcp, *state, here, there);
        (socket.owner_state, socket.first_holder, socket.holder_count) = (OwnerState::Seen, index, 1);
        snapshot.sockets.extend(std::iter::repeat_n(socket, *count));
    }
    snapshot
}

fn entry(snapshot: &Snapshot) -> Entry {
    Entry::new(snapshot, &Census::of(snapshot, DESTINATIONS), &[])
}

fn of(entry: &Entry, what: What) -> Vec<String> {
    let own = entry.amounts.iter().filter(|((of, _), _)| *of == what);
    own.map(|((_, name), amount)| format!("{name} = {}", amount.max)).collect()
}

#[test]
fn processes_of_one_name_and_unit_are_counted_together_and_no_pid_is_in_the_name() {
    let snapshot = look(&[
        ("nginx", Some("nginx.service"), 3, State::Established),
        ("nginx", Some("nginx.service"), 2, State::CloseWait),
        ("nginx", None, 1, State::Bound),
    ]);
    let entry = entry(&snapshot);
    assert_eq!(of(&entry, What::Owner), ["nginx = 1", "nginx (nginx.service) = 5"]);
    assert_eq!(of(&entry, What::Leak), ["nginx (nginx.service) CLOSE_WAIT = 2", "nginx BOUND = 1"]);
    assert_eq!(of(&entry, What::Descriptors), ["nginx = 12", "nginx (nginx.service) = 11"]);
    assert_eq!(of(&entry, What::Total), ["tcp = 6", "udp = 0"]);
    assert_eq!(of(&entry, What::State), ["BOUND = 1", "CLOSE_WAIT = 2", "ESTABLISHED = 3"]);
}

#[test]
fn of_too_many_owners_those_with_the_fewest_sockets_are_counted_together() {
    let names: Vec<String> = (0..OWNERS + 2).map(|n| format!("p{n:04}")).collect();
    let of_each: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(n, name)| (&**name, None, if n < 2 { 1 } else { 2 }, State::CloseWait))
        .collect();
    let entry = entry(&look(&of_each));
    assert_eq!(of(&entry, What::Owner).len(), OWNERS + 1);
    assert_eq!(entry.amounts[&(What::Owner, OTHERS.to_owned())], Amount::exact(2));
    assert_eq!(entry.amounts[&(What::Leak, "others CLOSE_WAIT".to_owned())], Amount::exact(2));
}

#[test]
fn owners_that_nobody_looked_for_are_not_taken_for_none() {
    let mut snapshot = look(&[("nginx", None, 1, State::Established)]);
    assert!(entry(&snapshot).seen.contains(&What::Owner));
    snapshot.sockets[0].owner_state = OwnerState::NotAsked;
    let entry = entry(&snapshot);
    assert!(!entry.seen.contains(&What::Owner) && of(&entry, What::Owner).is_empty());
}

#[test]
fn a_name_tells_the_container_before_the_unit_and_is_never_endless() {
    let container = Container { runtime: "docker".to_owned(), id: "0123456789abcdef".to_owned() };
    let owner = Owner {
        name: "node".to_owned(),
        unit: Some("docker-0123.scope".to_owned()),
        container: Some(container),
        ..Owner::default()
    };
    assert_eq!(name(&owner), "node (docker container 0123456789ab)");
    assert_eq!(name(&Owner { name: "ü".repeat(1000), ..Owner::default() }).chars().count(), LONGEST_NAME);
}

#[test]
fn a_finding_goes_on_while_its_numbers_change_and_another_destination_is_another() {
    let found = |summary: &str| {
        Found { rule: "x".to_owned(), severity: Severity::Warning, summary: summary.to_owned() }.key()
    };
    assert_eq!(
        found("nginx (pid 8) leaks 1,200 sockets (81%)."),
        found("nginx (pid 91) leaks 3 sockets (5%).")
    );
    assert_ne!(found("no room to 10.0.0.1:5432"), found("no room to 10.0.0.2:5432"));
    assert_ne!(found("no room to 10.0.0.1:5432"), found("no room to 10.0.0.1:5433"));
}
