//! Many connections held by several processes, in a namespace of their own, and what listing them takes.
//!
//! Each process listens on a port of its own and holds both ends of its connections, so that any number fits: the
//! ephemeral range limits the connections to one destination only.

use std::time::Instant;

use portolan_testbed::{Held, Namespace};

use super::{Contender, Programs, race, table};

/// Listening port of the first process; the others follow.
const FIRST_PORT: usize = 20_000;

/// One size, and what issue 2 asks of it.
struct Size {
    connections: usize,
    processes: usize,
    runs: usize,
    goals: Goals,
}

#[derive(Clone, Copy, Default)]
struct Goals {
    /// `list --no-owners` to `ss -tan`.
    rows: Option<f64>,
    /// `list` to `ss -tanp`.
    owners: Option<f64>,
    /// `who` to `lsof` of one port.
    who: Option<f64>,
    /// Most memory of `list`, in MiB.
    memory: Option<f64>,
}

const QUICK: [Size; 1] = [Size {
    connections: 2_000,
    processes: 4,
    runs: 3,
    goals: Goals { rows: None, owners: None, who: None, memory: None },
}];

const FULL: [Size; 2] = [
    Size {
        connections: 20_000,
        processes: 10,
        runs: 11,
        goals: Goals { rows: Some(0.7), owners: Some(0.3), who: Some(0.1), memory: Some(48.0) },
    },
    Size {
        connections: 100_000,
        processes: 50,
        runs: 7,
        goals: Goals { rows: None, owners: Some(0.04), who: Some(0.1), memory: Some(160.0) },
    },
];

/// Measures and prints; whether every goal was met.
pub(super) fn bench(programs: &Programs, quick: bool) -> bool {
    let sizes = if quick { &QUICK[..] } else { &FULL[..] };
    let met: Vec<bool> = sizes.iter().map(|size| measure(programs, size)).collect();
    !met.contains(&false)
}

fn measure(programs: &Programs, size: &Size) -> bool {
    let Size { connections, processes, runs, goals } = size;
    println!("\nsockets: {connections} connections, both ends held, by {processes} processes");
    let start = Instant::now();
    let namespace = Namespace::new();
    let each = connections / processes;
    let _held: Vec<Held> = (0..*processes)
        .map(|number| {
            let port = FIRST_PORT + number;
            Held::new(&namespace, &format!("connections 127.0.0.1:{port} --count {each}"))
        })
        .collect();
    println!("  made in {:.1} s", start.elapsed().as_secs_f64());

    let port = FIRST_PORT;
    let mut contenders = [
        programs.portolan("list --no-owners"),
        Contender::peer("ss -tan"),
        programs.portolan("list"),
        Contender::peer("ss -tanp"),
        Contender::peer("netstat -tanp"),
        Contender::peer("lsof -nP -i"),
        programs.portolan(&format!("who {port}")),
        Contender::peer(&format!("lsof -nP -iTCP:{port} -sTCP:LISTEN")),
        Contender::peer(&format!("fuser {port}/tcp")),
    ];
    race(&namespace, &mut contenders, *runs);
    table::print(&contenders);
    let [rows, ss, list, ss_owners, netstat, lsof, who, lsof_port, fuser] = &contenders;
    let met = [
        table::ratio(rows, ss, goals.rows),
        table::ratio(list, ss_owners, goals.owners),
        table::ratio(list, netstat, None),
        table::ratio(list, lsof, None),
        table::ratio(who, lsof_port, goals.who),
        table::ratio(who, fuser, None),
        table::memory(list, goals.memory),
    ];
    !met.contains(&false)
}
