//! Plans to free a port, on hosts made by hand: who is stopped, at which level, in which order, and who never is.

use super::*;
use crate::owner::{Container, Holder, Origin};
use crate::port::PortRange;

/// A host where root asks: pid 1, a login shell 40 with the caller 50, and what each test adds.
struct World {
    snapshot: Snapshot,
    processes: Vec<ProcessEntry>,
    caller: Caller,
    request: FreeRequest,
}

fn owner(pid: u32, name: &str) -> Owner {
    Owner { pid, parent: 1, name: name.into(), uid: Some(0), ..Owner::default() }
}

fn of_unit(pid: u32, name: &str, unit: &str) -> Owner {
    Owner { unit: Some(unit.into()), ..owner(pid, name) }
}

impl World {
    fn new() -> Self {
        let mut snapshot = Snapshot::default();
        (snapshot.host.uid, snapshot.host.privileged) = (Some(0), true);
        snapshot.origins.push(Origin::default());
        let caller = Caller { pid: 50, unit: Some("session-2.scope".into()), systemd: true };
        let request = FreeRequest {
            ports: vec![(Transport::Tcp, Port::new(8080).unwrap())],
            signal: "TERM".into(),
            timeout_ms: 10_000,
            force: false,
            tree: false,
            even_if_critical: Vec::new(),
        };
        let mut world = Self { snapshot, processes: Vec::new(), caller, request };
        for (pid, parent, name) in [(1, 0, "systemd"), (40, 1, "bash"), (50, 40, "portolan")] {
            world.runs(pid, parent, name);
        }
        world
    }

    fn runs(&mut self, pid: u32, parent: u32, name: &str) {
        self.processes.push(ProcessEntry { pid, parent, start: u64::from(pid) * 10, name: name.into() });
    }

    fn socket(&mut self, state: State, local: &str, remote: &str) -> &mut Socket {
        let transport = if state == State::Unconnected { Transport::Udp } else { Transport::Tcp };
        let mut socket = Socket::new(transport, state, local.parse().unwrap(), remote.parse().unwrap());
        socket.inode = 100 + self.snapshot.sockets.len() as u32;
        socket.owner_state = OwnerState::Hidden;
        self.snapshot.sockets.push(socket);
        self.snapshot.sockets.last_mut().unwrap()
    }

    /// Gives the newest socket to these processes, which run from now on.
    fn owned_by(&mut self, owners: &[Owner]) {
        let snapshot = &mut self.snapshot;
        let socket = snapshot.sockets.last_mut().unwrap();
        (socket.first_holder, socket.holder_count) = (snapshot.holders.len() as u32, owners.len() as u16);
        socket.owner_state = OwnerState::Seen;
        for owner in owners {
            let index = snapshot.owners.iter().position(|known| known == owner).unwrap_or_else(|| {
                snapshot.owners.push(owner.clone());
                snapshot.owners.len() - 1
            });
            snapshot.holders.push(Holder { owner: index as u32, descriptor: 3 });
        }
        for owner in owners {
            if self.processes.iter().all(|process| process.pid != owner.pid) {
                self.runs(owner.pid, owner.parent, &owner.name);
            }
        }
    }

    fn listens(mut self, local: &str, owners: &[Owner]) -> Self {
        self.socket(State::Listen, local, if local.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" });
        self.owned_by(owners);
        self
    }

    fn connected(mut self, local: &str, remote: &str, owner: &Owner) -> Self {
        self.socket(State::Established, local, remote);
        self.owned_by(std::slice::from_ref(owner));
        self
    }

    fn carried(mut self, kind: CarrierKind, name: &str, to: &str) -> Self {
        self.snapshot.carriers.push(Carrier {
            kind,
            transport: Transport::Tcp,
            address: None,
            ports: PortRange::new(8080, 8080).unwrap(),
            name: name.into(),
            to: Some(to.into()),
        });
        self
    }

    fn by_user(mut self) -> Self {
        (self.snapshot.host.uid, self.snapshot.host.privileged) = (Some(1000), false);
        self
    }

    fn answer(&self) -> FreeAnswer {
        let Self { snapshot, processes, caller, request } = self;
        plan_free(snapshot, processes, caller, request, ("free 8080/tcp", Place::default()))
    }

    #[track_caller]
    fn plan(&self) -> Plan {
        match self.answer() {
            FreeAnswer::Plan(plan) => plan,
            other => panic!("{other:?}"),
        }
    }

    /// The steps for people.
    #[track_caller]
    fn steps(&self) -> Vec<String> {
        self.plan().steps.iter().map(|step| step.action.to_string()).collect()
    }

    #[track_caller]
    fn refusal(&self) -> String {
        match self.answer() {
            FreeAnswer::Refused(reasons) => reasons.join("\n"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_process_is_named_by_its_start_and_stopped_for_its_socket() {
    let node = Owner { command: Some("node server.js".into()), ..owner(80, "node") };
    let world =
        World::new().listens("0.0.0.0:8080", std::slice::from_ref(&node)).listens("[::]:8080", &[node]);
    let plan = world.plan();
    let [step] = &plan.steps[..] else { panic!("{plan:?}") };
    assert_eq!(
        step.action,
        Action::StopProcess {
            process: ProcessKey { pid: 80, start: 800, name: "node".into() },
            sockets: vec![100, 101],
            signal: "TERM".into(),
            timeout_ms: 10_000,
            force: false,
        }
    );
    assert_eq!(step.inverse, None);
    assert_eq!(step.effects, ["pid 80 runs as user id 0, command: node server.js"]);
    assert_eq!(plan.warnings, [] as [&str; 0]);
}

#[test]
fn one_that_is_bound_or_waits_for_datagrams_holds_too() {
    let mut world = World::new();
    world.socket(State::Bound, "127.0.0.1:8080", "0.0.0.0:0");
    world.owned_by(&[owner(80, "held")]);
    assert_eq!(world.steps(), ["send SIGTERM to held (pid 80), wait up to 10 s for its end"]);
    world.socket(State::Unconnected, "0.0.0.0:8080", "0.0.0.0:0");
    world.owned_by(&[owner(90, "dns")]);
    assert_eq!(world.steps().len(), 1, "UDP was not asked for");
    world.request.ports = vec![(Transport::Udp, Port::new(8080).unwrap())];
    assert_eq!(world.steps(), ["send SIGTERM to dns (pid 90), wait up to 10 s for its end"]);
}

#[test]
fn clients_are_no_holders_whichever_end_has_the_number() {
    let (curl, node) = (owner(70, "curl"), owner(80, "node"));
    let world = World::new().connected("10.0.0.5:40000", "10.0.7.9:8080", &curl);
    assert_eq!(world.answer(), FreeAnswer::Free { time_wait_ms: 0 });
    let world = world.listens("0.0.0.0:8080", &[node]);
    assert_eq!(world.steps(), ["send SIGTERM to node (pid 80), wait up to 10 s for its end"]);

    let world = World::new().connected("10.0.0.5:8080", "10.0.7.9:443", &curl);
    assert_eq!(
        world.refusal(),
        "nobody listens on 8080 or is bound to it, but a connection of curl (pid 70) uses it as the local port \
         (10.0.0.5:8080 → 10.0.7.9:443); `portolan close --local 10.0.0.5:8080` closes it and ends nobody"
    );
    let world = world.connected("10.0.0.5:8080", "10.0.7.9:444", &curl);
    assert!(world.refusal().contains("2 connections, the first of curl"), "{}", world.refusal());
    assert!(world.refusal().contains("`portolan close --port 8080`"), "{}", world.refusal());
}

#[test]
fn time_wait_alone_leaves_the_port_free_after_some_seconds() {
    let mut world = World::new();
    for timer_ms in [3_000, 42_000] {
        world.socket(State::TimeWait, "10.0.0.5:8080", "10.0.7.9:50000").timer_ms = timer_ms;
    }
    assert_eq!(world.answer(), FreeAnswer::Free { time_wait_ms: 42_000 });
}

#[test]
fn all_who_share_a_socket_are_stopped_the_parent_first() {
    let worker = |pid| Owner { parent: 90, ..owner(pid, "worker") };
    let world = World::new().listens("0.0.0.0:8080", &[worker(80), worker(81), owner(90, "master")]);
    assert_eq!(
        world.steps(),
        [
            "send SIGTERM to master (pid 90), wait up to 10 s for its end",
            "send SIGTERM to worker (pid 80), wait up to 10 s for its end",
            "send SIGTERM to worker (pid 81), wait up to 10 s for its end"
        ]
    );
    assert!(world.plan().steps.iter().all(|step| step.effects.iter().all(|e| !e.contains("children"))));
}

#[test]
fn children_are_named_and_with_tree_stopped_too() {
    let mut world = World::new().listens("0.0.0.0:8080", &[owner(80, "make")]);
    world.runs(81, 80, "sh");
    world.runs(82, 81, "node");
    let plan = world.plan();
    assert_eq!(plan.steps.len(), 1);
    assert_eq!(
        plan.steps[0].effects.last().map(String::as_str),
        Some("its children get no signal (--tree ends them too): sh (pid 81) and node (pid 82)")
    );
    world.request.tree = true;
    let steps = world.plan().steps;
    let stopped: Vec<(u32, usize)> = steps
        .iter()
        .map(|step| match &step.action {
            Action::StopProcess { process, sockets, .. } => (process.pid, sockets.len()),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(stopped, [(80, 1), (81, 0), (82, 0)], "those below hold nothing, so nothing is asked of them");
    world.runs(83, 82, "sshd");
    assert!(
        world.refusal().starts_with("sshd (pid 83) is one whose end may cut you off"),
        "{}",
        world.refusal()
    );
}

#[test]
fn a_unit_is_stopped_by_systemd_and_its_socket_unit_before_it() {
    let nginx = of_unit(80, "nginx", "nginx.service");
    let world = World::new().listens("0.0.0.0:8080", &[nginx.clone(), of_unit(81, "nginx", "nginx.service")]);
    let plan = world.plan();
    assert_eq!(world.steps(), ["stop unit nginx.service"]);
    assert_eq!(plan.steps[0].effects, ["ends nginx (pid 80) and nginx (pid 81)"]);
    assert_eq!(
        plan.steps[0].inverse,
        Some(Action::StartUnit { unit: "nginx.service".into(), services: Vec::new() })
    );

    let world = World::new()
        .carried(CarrierKind::SocketUnit, "web.socket", "web.service")
        .listens("0.0.0.0:8080", &[owner(1, "systemd"), of_unit(80, "web", "web.service")]);
    assert_eq!(world.steps(), ["stop unit web.socket", "stop unit web.service"]);
    let idle = World::new()
        .carried(CarrierKind::SocketUnit, "web.socket", "web.service")
        .listens("0.0.0.0:8080", &[owner(1, "systemd")]);
    assert_eq!(idle.steps(), ["stop unit web.socket"]);
    assert_eq!(
        idle.plan().steps[0].effects,
        ["systemd then starts web.service no more when somebody connects"]
    );
}

#[test]
fn a_unit_that_systemctl_must_not_be_given_is_stopped_as_a_process() {
    let process = ["send SIGTERM to web (pid 80), wait up to 10 s for its end"];
    for (unit, told) in [
        ("user@1000.service/web.service", "it is web.service of a user's own manager"),
        ("user@1000.service/web.scope", ""),
        ("session-3.scope", ""),
        ("*.service", "no systemd that could stop *.service"),
        ("-H x.service", "no systemd"),
    ] {
        let world = World::new().listens("0.0.0.0:8080", &[of_unit(80, "web", unit)]);
        assert_eq!(world.steps(), process, "{unit}");
        let effects = world.plan().steps[0].effects.join("\n");
        assert!(effects.contains(told), "{unit}: {effects}");
    }
    let mut world = World::new().listens("0.0.0.0:8080", &[of_unit(80, "web", "web.service")]);
    world.caller.systemd = false;
    assert_eq!(world.steps(), process, "no systemd runs here");
    world.caller = Caller { systemd: true, unit: Some("web.service".into()), ..world.caller };
    assert_eq!(world.steps(), process, "it would end this program");
    let effects = world.plan().steps[0].effects.join("\n");
    assert!(effects.contains("this program runs in web.service too"), "{effects}");
}

#[test]
fn a_container_is_stopped_by_its_runtime() {
    let id = "0123456789ab".to_owned();
    let inside = |runtime: &str| {
        let container = Some(Container { runtime: runtime.into(), id: id.clone() });
        World::new().listens("0.0.0.0:8080", &[Owner { container, ..of_unit(80, "web", "docker-x.service") }])
    };
    assert_eq!(inside("docker").steps(), ["stop docker container 0123456789ab"]);
    assert_eq!(inside("podman").steps(), ["stop podman container 0123456789ab"]);
    let other = inside("lxc");
    assert_eq!(other.steps(), ["send SIGTERM to web (pid 80), wait up to 10 s for its end"]);
    assert!(
        other.plan().steps[0].effects.join("\n").contains("a container of lxc, which may start it again")
    );
}

#[test]
fn behind_a_proxy_it_is_the_container_that_is_stopped() {
    let proxied = |name, to| {
        World::new()
            .carried(CarrierKind::ContainerProxy, name, to)
            .listens("0.0.0.0:8080", &[of_unit(80, "docker-proxy", "docker.service")])
    };
    let world = proxied("docker-proxy (pid 80)", "container web (172.17.0.2:80)");
    assert_eq!(world.steps(), ["stop docker container web"]);
    assert_eq!(world.plan().steps[0].effects, ["ends docker-proxy (pid 80)"]);
    for (name, to) in [
        ("docker-proxy (pid 80)", "172.17.0.2:80"),
        ("docker-proxy (pid 80)", "container -f (172.17.0.2:80)"),
        ("pasta (pid 80)", "port 80 of its namespace"),
    ] {
        let refusal = proxied(name, to).refusal();
        assert!(refusal.contains("`docker ps --filter publish=8080`"), "{refusal}");
    }
}

#[test]
fn nobody_is_cut_off_unasked() {
    let holder = |owner| World::new().listens("0.0.0.0:8080", &[owner]);
    for (owner, reason) in [
        (owner(1, "systemd"), "systemd (pid 1) is the first process: it is never stopped"),
        (owner(50, "portolan"), "this program itself holds it"),
        (owner(40, "bash"), "bash (pid 40) has started this program"),
        (of_unit(80, "sshd", "ssh.service"), "add --even-if-critical 'sshd'"),
        (of_unit(80, "systemd", "user@1000.service"), "`systemctl --user stop NAME.socket` stops it"),
    ] {
        let refusal = holder(owner).refusal();
        assert!(refusal.contains(reason), "{refusal}");
    }
    let mut world = holder(of_unit(80, "sshd", "ssh.service"));
    world.request.even_if_critical = vec!["login".into(), "sshd".into()];
    assert_eq!(world.steps(), ["stop unit ssh.service"]);
}

#[test]
fn one_refusal_refuses_all_and_every_reason_is_told_once() {
    let sshd = owner(80, "sshd");
    let world = World::new()
        .listens("0.0.0.0:8080", &[sshd.clone(), owner(81, "node")])
        .listens("[::]:8080", &[sshd, owner(1, "init")]);
    let refusal = world.refusal();
    assert_eq!(refusal.lines().count(), 2, "{refusal}");
}

#[test]
fn what_cannot_be_seen_or_is_another_users_names_the_privilege() {
    let mut world = World::new();
    world.snapshot.origins.push(Origin { uid: Some(33), ..Origin::default() });
    let socket = world.socket(State::Listen, "0.0.0.0:8080", "0.0.0.0:0");
    socket.origin = 1;
    assert!(world.refusal().contains("another pid namespace"), "{}", world.refusal());
    let world = world.by_user();
    assert_eq!(
        world.refusal(),
        "0.0.0.0:8080 is held by a process of another user (uid 33): to see and to end it needs root \
         (CAP_SYS_PTRACE, CAP_KILL); type it again after sudo"
    );
    let seen = World::new().listens("0.0.0.0:8080", &[Owner { uid: Some(33), ..owner(80, "web") }]).by_user();
    assert!(seen.refusal().contains("belongs to another user (uid 33)"), "{}", seen.refusal());
    let own =
        World::new().listens("0.0.0.0:8080", &[Owner { uid: Some(1000), ..owner(80, "web") }]).by_user();
    assert_eq!(own.steps().len(), 1);

    for (state, reason) in [
        (OwnerState::Kernel, "the kernel itself holds 0.0.0.0:8080"),
        (OwnerState::Nobody, "no process holds 0.0.0.0:8080 any more"),
        (OwnerState::NotAsked, "cannot be seen"),
    ] {
        let mut world = World::new();
        world.socket(State::Listen, "0.0.0.0:8080", "0.0.0.0:0").owner_state = state;
        assert!(world.refusal().contains(reason), "{}", world.refusal());
    }
}

#[test]
fn what_else_ends_is_told() {
    let node = owner(80, "node");
    let world = World::new()
        .listens("0.0.0.0:8080", std::slice::from_ref(&node))
        .listens("127.0.0.1:9229", std::slice::from_ref(&node))
        .connected("10.0.0.5:8080", "10.0.0.9:50000", &node)
        .connected("10.0.0.5:41000", "10.0.0.7:5432", &node)
        .connected("10.0.0.5:41001", "10.0.0.7:5432", &owner(81, "other"));
    assert_eq!(world.plan().warnings, ["2 open connections drop", "what ends here also holds 9229/tcp"]);
}

#[test]
fn of_several_ports_the_free_ones_are_told() {
    let mut world = World::new().listens("0.0.0.0:8080", &[owner(80, "node")]).connected(
        "10.0.0.5:8082",
        "10.0.7.9:443",
        &owner(70, "curl"),
    );
    world.request.ports = [8080, 8081, 8082].map(|port| (Transport::Tcp, Port::new(port).unwrap())).to_vec();
    let plan = world.plan();
    assert_eq!(plan.steps.len(), 1);
    assert_eq!(plan.warnings.len(), 2, "{:?}", plan.warnings);
    assert!(plan.warnings[0].starts_with("nobody listens on 8082"), "{:?}", plan.warnings);
    assert_eq!(plan.warnings[1], "nobody holds 8081/tcp: it is free already");
}

#[test]
fn a_process_table_that_runs_in_circles_ends() {
    let mut world = World::new().listens("0.0.0.0:8080", &[Owner { parent: 81, ..owner(80, "a") }]);
    world.runs(81, 80, "b");
    world.request.tree = true;
    assert_eq!(world.steps().len(), 2);
}

#[test]
fn every_signal_name_and_force_reach_the_step() {
    let mut world = World::new().listens("0.0.0.0:8080", &[owner(80, "node")]);
    (world.request.signal, world.request.force, world.request.timeout_ms) = ("INT".into(), true, 1_500);
    assert_eq!(world.steps(), ["send SIGINT to node (pid 80), wait up to 2 s for its end, then SIGKILL"]);
    let mut world = World::new().listens("0.0.0.0:8080", &[of_unit(80, "nginx", "nginx.service")]);
    world.request.force = true;
    assert!(world.plan().steps[0].effects[1].contains("TimeoutStopSec"));
}

/// The same world on Windows, with a signal asked for.
fn on_windows(signal: &str, owners: &[Owner]) -> World {
    let mut world = World::new();
    world.snapshot.host.system = System::Windows;
    world.request.signal = signal.into();
    let owners: Vec<Owner> = owners.iter().map(|owner| Owner { uid: None, ..owner.clone() }).collect();
    world.listens("127.0.0.1:8080", &owners)
}

#[test]
fn on_windows_a_program_is_asked_to_close_or_terminated_and_there_are_no_other_signals() {
    let said = |signal| match on_windows(signal, &[owner(80, "web.exe")]).answer() {
        FreeAnswer::Plan(plan) => plan.steps[0].action.to_string(),
        FreeAnswer::Refused(reasons) => reasons.join(";"),
        FreeAnswer::Free { .. } => panic!("it is held"),
    };
    assert_eq!(said("TERM"), "ask web.exe (pid 80) to close, wait up to 10 s for its end");
    assert_eq!(said("KILL"), "terminate web.exe (pid 80)");
    assert_eq!(
        said("INT"),
        "Windows has no signal INT: --signal TERM asks a program to close, KILL terminates it"
    );
    let mut world = on_windows("TERM", &[owner(80, "web.exe")]);
    world.request.force = true;
    world.runs(81, 80, "worker.exe");
    let FreeAnswer::Plan(plan) = world.answer() else { panic!("it is held") };
    assert!(plan.steps[0].action.to_string().ends_with(", then terminate it"));
    assert!(
        plan.steps[0].effects.iter().any(|effect| effect.starts_with("its children go on (--tree")),
        "{plan:?}"
    );
}

#[test]
fn on_windows_a_service_is_stopped_by_its_manager_and_of_several_in_one_process_none() {
    let of_services = |names: &str| of_unit(80, "web.exe", names);
    let FreeAnswer::Plan(plan) = on_windows("TERM", &[of_services("Web")]).answer() else { panic!("held") };
    let stop = Action::Windows(WindowsAction::StopService { name: "Web".into() });
    assert_eq!(plan.steps.iter().map(|step| &step.action).collect::<Vec<_>>(), [&stop]);
    let FreeAnswer::Refused(reasons) = on_windows("TERM", &[of_services("Web,Other")]).answer() else {
        panic!("of two services neither is stopped")
    };
    assert!(reasons[0].contains("`net stop NAME` stops the one you mean"), "{reasons:?}");
}

#[test]
fn on_windows_a_socket_whose_maker_has_ended_is_one_of_its_childrens() {
    let mut world = World::new();
    world.snapshot.host.system = System::Windows;
    world.socket(State::Listen, "0.0.0.0:8080", "0.0.0.0:0");
    let FreeAnswer::Refused(reasons) = world.answer() else { panic!("nobody is seen") };
    assert!(
        reasons[0].contains("one that it started holds it") && !reasons[0].contains("sudo"),
        "{reasons:?}"
    );
}
