//! What `portolan trace` costs: each call that it looks at, any other system call, and a machine on which nothing fails.
//!
//! Times are the calling thread's own processor time, in turn without a trace, with ours, and with strace attached, which
//! is what people use. The kernel takes a longer way through every system call while any tracepoint of one is on.

use std::hint::black_box;
use std::net::{TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use portolan_testbed::{Namespace, thread_time};

use super::{Programs, verdict};

/// Rounds, of which the least counts: the rest of the machine only ever adds.
const ROUNDS: usize = 7;
/// How long the idle trace is watched.
const IDLE: Duration = Duration::from_secs(30);
/// The share of one processor that an idle trace may take.
const GOAL_IDLE: f64 = 0.001;

/// A call that is repeated, and how often.
const CALLS: [(&str, u32, fn()); 3] = [
    ("connect that is refused", 2_000, || drop(black_box(TcpStream::connect("127.0.0.1:1")))),
    ("bind that succeeds", 5_000, || drop(black_box(UdpSocket::bind("127.0.0.1:0")))),
    ("getppid", 200_000, || {
        black_box(std::os::unix::process::parent_id());
    }),
];

/// Measures and prints; whether the goal was met.
pub(super) fn bench(programs: &Programs, quick: bool) -> anyhow::Result<bool> {
    println!("\ntrace: processor time of a call, least of {ROUNDS} rounds");
    let namespace = Namespace::new();
    let ours = programs.portolan.display().to_string();
    let own = std::process::id().to_string();
    let tracers: [(&str, Option<Vec<&str>>); 3] = [
        ("without", None),
        ("portolan trace", Some(vec![&ours, "trace", "--json"])),
        ("strace -f -e trace=network", Some(vec!["strace", "-f", "-q", "-e", "trace=network", "-p", &own])),
    ];
    println!("  {:<28}{:>26}{:>22}{:>12}", "", CALLS[0].0, CALLS[1].0, CALLS[2].0);
    let mut first: Option<Vec<f64>> = None;
    for (name, command) in &tracers {
        let tracer = command.as_ref().map(|words| begin(words)).transpose()?;
        let times: Vec<f64> = CALLS.iter().map(|(_, count, call)| least(&namespace, *count, *call)).collect();
        tracer.map_or(Ok(()), end)?;
        let shown = |at: usize| {
            let ratio =
                first.as_ref().map_or_else(String::new, |first| format!(" ({:.2})", times[at] / first[at]));
            format!("{:.0} ns{ratio}", times[at])
        };
        println!("  {name:<28}{:>26}{:>22}{:>12}", shown(0), shown(1), shown(2));
        first.get_or_insert(times);
    }
    idle(&ours, if quick { IDLE / 6 } else { IDLE })
}

/// How much of a processor the tracer takes while nothing fails.
fn idle(ours: &str, time: Duration) -> anyhow::Result<bool> {
    let tracer = begin(&[ours, "trace", "--pid", "1", "--json"])?;
    let before = processor_time(tracer.id())?;
    thread::sleep(time);
    let taken = processor_time(tracer.id())? - before;
    end(tracer)?;
    let share = taken / time.as_secs_f64();
    let met = share <= GOAL_IDLE;
    println!(
        "  idle for {} s it takes {:.0} ms, {:.3} % of a processor  (goal: at most {} %): {}",
        time.as_secs(),
        taken * 1000.0,
        share * 100.0,
        GOAL_IDLE * 100.0,
        verdict(met)
    );
    Ok(met)
}

/// Starts a tracer, and lets it begin.
fn begin(words: &[&str]) -> anyhow::Result<Child> {
    let (program, arguments) = words.split_first().context("a tracer is a program")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    thread::sleep(Duration::from_secs(2));
    Ok(child)
}

fn end(mut tracer: Child) -> anyhow::Result<()> {
    Command::new("kill").args(["-INT", &tracer.id().to_string()]).status()?;
    tracer.wait()?;
    Ok(())
}

/// Nanoseconds of a call, by the round that took least.
fn least(namespace: &Namespace, count: u32, call: fn()) -> f64 {
    let round = || {
        let before = thread_time();
        (0..count).for_each(|_| call());
        (thread_time() - before).as_secs_f64() * 1e9 / f64::from(count)
    };
    namespace.run(|| (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min))
}

/// Processor time of a process so far, seconds, as the scheduler counts it.
fn processor_time(pid: u32) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let ns: f64 = text.split_whitespace().next().context("/proc/PID/schedstat is empty")?.parse()?;
    Ok(ns / 1e9)
}
