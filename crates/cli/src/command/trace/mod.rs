//! `portolan trace`: failing bind(), connect() and listen() calls of every program as they happen, each with what it means.
//!
//! The host sees the calls; what one means stands in `portolan_core::trace`, how it is shown in `show.rs`. Here are the
//! order of things, and the end.

mod facts;
mod show;
mod wanted;

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use clap::Args;
use portolan_core::kernel::etl::RECORD;
use portolan_core::kernel::winsock_afd::{self, Recorded};
use portolan_core::snapshot::{Gap, System};
use portolan_core::trace::{Call, Calls, Repeats, SPAN_NS, Way};
use portolan_host::Namespace;
use portolan_host::sys::{EndKeys, EndSignals, SYSTEM, Tracer, host};

use crate::command::{Command, News, Output, Stream, Tell};
use crate::exit::{Exit, Misuse, Refused};
use crate::log::Log;
use crate::source::Session;
use crate::typed::seconds;
use facts::Facts;
use show::{Batch, Event, Told, Totals};
use wanted::Wanted;

pub(super) use show::schema;

/// Where the help tells how long and what then.
const HOW: &str = "How to trace";
/// So long nothing may come before it is looked whether repeated calls are to be told.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Trace failing bind, connect and listen calls, of every program, and say why
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  portolan trace
  portolan trace --name 'nginx*' --error EADDRNOTAVAIL --for 10
  portolan trace --call bind --count 1 --for 60
  portolan trace --all --pid 812 --json --log calls.jsonl
  portolan trace --from ports.etl                    what a Windows recorded, read anywhere

Calls of IPv4 and IPv6. A connection that fails after its call is told when it fails, and so is
one that the program gives up. Of calls that fail alike (same program, call, address and error)
the first is told and the rest are counted every 10 s; JSON and CSV have each of them. It sees
every network namespace, or that of --netns; what to type is written for the caller's. Why a call
failed is looked up a moment later: \"is\" tells what is so then, \"was\" what the call itself proves.
On Linux it needs root, or CAP_BPF, CAP_PERFMON and a tracefs that it may read; on Windows an
administrator. Not seen on Linux: sendto() without a bind, bind() by io_uring, calls of 32-bit
programs that fail at once, and connect() to where the socket is connected already (EISCONN), by
which programs ask whether it is. On Windows a connection without a bind begins with one of its
own, to port 0: where ports run out it is that one that fails.
To record on a Windows: netsh trace start provider=Microsoft-Windows-Winsock-AFD
tracefile=ports.etl, and netsh trace stop when it has happened.
Esc, q (on a terminal) and Ctrl+C end it.
Exit codes: 0 ended, with the calls of --count; 1 there were fewer; 2 could not trace, or typed
wrong.")]
pub(crate) struct Trace {
    #[command(flatten)]
    wanted: Wanted,
    /// End after that many seconds
    #[arg(long = "for", help_heading = HOW, value_name = "SECONDS", value_parser = seconds, conflicts_with = "from")]
    time: Option<Duration>,
    /// End after that many calls
    #[arg(long, help_heading = HOW, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// How to see calls on Linux: bpf or tracepoints; without it the first that works
    #[arg(long, help_heading = HOW, value_name = "WAY", value_parser = way, conflicts_with = "from")]
    way: Option<Way>,
    #[command(flatten, next_help_heading = HOW)]
    log: Log,
}

fn way(text: &str) -> Result<Way, String> {
    let known = Way::ALL.into_iter().find(|way| way.name() == text.to_ascii_lowercase());
    known.ok_or_else(|| format!("'{text}' is no way to trace; use bpf or tracepoints"))
}

impl Command for Trace {
    fn run(&self, session: &Session) -> Result<Output> {
        if let Some(path) = session.file() {
            return self.recorded(path);
        }
        // Before the log is made: where nothing can be traced there is nothing to write.
        let tracer = Tracer::begin(self.wanted.all, self.way)?;
        let log = self.log.open()?;
        let (trace, session) = (self.clone(), session.clone());
        let run = move |tell: Tell<'_>| trace.follow(&session, tracer.value, tracer.gaps, tell);
        Ok(Output::Stream(Stream { run: Box::new(run), log }))
    }
}

impl Trace {
    /// What a trace file tells; - reads stdin.
    fn recorded(&self, path: &Path) -> Result<Output> {
        let shown = path.display();
        let recorded = match path == Path::new("-") {
            true => winsock_afd::read(io::stdin().lock()),
            false => {
                let file = File::open(path).map_err(|error| {
                    Misuse(format!("cannot open {shown}: {error}; record one with: {RECORD}"))
                })?;
                winsock_afd::read(BufReader::with_capacity(1 << 18, file))
            }
        };
        let Recorded { mut calls, gaps, release } =
            recorded.with_context(|| format!("cannot read {shown}"))?;
        if !self.wanted.all {
            calls.retain(Call::has_failed);
        }
        let log = self.log.open()?;
        let trace = self.clone();
        let run = move |tell: Tell<'_>| {
            let mut telling = Telling::new(&trace, (System::Windows, Way::Etw), Facts::of_no_machine(), None);
            telling.clock_ns = Some(calls.first().map_or(0, |first| first.at_ns));
            let (gaps, release) = (Some(gaps), Some(release));
            tell(News::Report(Batch { gaps, release, ..telling.batch(Event::Begun) }.report()))?;
            for span in calls.chunk_by(|one, next| one.at_ns / SPAN_NS == next.at_ns / SPAN_NS) {
                telling.clock_ns = span.last().map(|last| last.at_ns);
                let batch = telling.take(Calls { calls: span.to_vec(), lost: 0 });
                if batch.is_worth_telling() {
                    tell(News::Report(batch.report()))?;
                }
            }
            tell(News::Report(telling.end().report()))?;
            trace.exit(telling.has_enough(), true)
        };
        Ok(Output::Stream(Stream { run: Box::new(run), log }))
    }

    fn follow(&self, session: &Session, mut tracer: Tracer, gaps: Vec<Gap>, tell: Tell<'_>) -> Result<Exit> {
        let signals = EndSignals::block().context("cannot wait for signals")?;
        let keys = EndKeys::heed(&signals);
        let until = self.time.and_then(|time| Instant::now().checked_add(time));
        let namespace = match session.namespace() {
            Namespace::Own => None,
            other => host(other)?.network_namespace,
        };
        let facts = Facts::of_machine(session.namespace())?;
        let mut telling = Telling::new(self, (SYSTEM, tracer.way()), facts, namespace);
        let by_key = keys.is_some();
        tell(News::Report(Batch { gaps: Some(gaps), by_key, ..telling.batch(Event::Begun) }.report()))?;
        loop {
            let left = until.map_or(LONGEST_WAIT, |until| until.saturating_duration_since(Instant::now()));
            let ended = tracer.wait(&signals, left.min(LONGEST_WAIT)).context("cannot wait for calls")?;
            let batch = telling.take(tracer.read()?);
            let (enough, over) = (telling.has_enough(), until.is_some_and(|until| until <= Instant::now()));
            if batch.is_worth_telling() {
                tell(News::Report(batch.report()))?;
            }
            if ended || enough || over {
                tell(News::Report(telling.end().report()))?;
                return self.exit(enough, over);
            }
        }
    }

    fn exit(&self, enough: bool, over: bool) -> Result<Exit> {
        match (self.count, self.time) {
            (Some(count), Some(time)) if over && !enough => {
                let time = time.as_secs_f64();
                Err(Refused(format!(
                    "there were not {count} such calls in {time} s; leave --for out to wait on"
                ))
                .into())
            }
            (Some(_), _) if !enough => Ok(Exit::Not),
            _ => Ok(Exit::Fine),
        }
    }
}

/// Turns calls into what is told of them.
struct Telling<'a> {
    trace: &'a Trace,
    system: System,
    way: Way,
    facts: Facts,
    /// Of which network namespace; none for all.
    namespace: Option<u64>,
    repeats: Repeats,
    totals: Totals,
    /// What time it is, nanoseconds since 1970-01-01 UTC, in what was recorded; none for now.
    clock_ns: Option<u64>,
}

impl<'a> Telling<'a> {
    fn new(trace: &'a Trace, (system, way): (System, Way), facts: Facts, namespace: Option<u64>) -> Self {
        let (repeats, totals) = (Repeats::default(), Totals::default());
        Self { trace, system, way, facts, namespace, repeats, totals, clock_ns: None }
    }

    fn batch(&self, event: Event) -> Batch {
        Batch::new(event, (self.system, self.way), self.now_ns(), self.totals.clone())
    }

    fn now_ns(&self) -> u64 {
        self.clock_ns.unwrap_or_else(now_ns)
    }

    fn has_enough(&self) -> bool {
        self.trace.count.is_some_and(|count| self.totals.calls >= count)
    }

    /// What is told of these calls; no more than were asked for.
    fn take(&mut self, seen: Calls) -> Batch {
        let Calls { mut calls, lost } = seen;
        // Where it was not seen it may be this one.
        let here = |namespace: Option<u64>| {
            self.namespace.is_none_or(|wanted| namespace.is_none_or(|namespace| namespace == wanted))
        };
        calls.retain(|call| here(call.network_namespace) && self.trace.wanted.has(call, self.system));
        let left = self.trace.count.map_or(u64::MAX, |count| count.saturating_sub(self.totals.calls));
        calls.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        self.totals.lost += lost;
        let mut told = Vec::with_capacity(calls.len());
        for call in calls {
            self.totals.add(&call, self.system);
            let is_first = self.repeats.is_first(&call);
            let meaning = self.facts.meaning(&call, self.system);
            told.push(Told { call, meaning, is_first });
        }
        let repeated = self.repeats.due(self.now_ns());
        Batch { told, repeated, lost, ..self.batch(Event::Calls) }
    }

    /// What is left to tell.
    fn end(&mut self) -> Batch {
        let repeated = self.repeats.rest(self.now_ns());
        Batch { repeated, ..self.batch(Event::Ended) }
    }
}

/// Nanoseconds since 1970-01-01 UTC.
fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
