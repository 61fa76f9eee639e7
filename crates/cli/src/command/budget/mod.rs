//! `portolan budget`: how many more connections the system can make, who uses the rest, and what else runs out.

mod ask;
mod attempt;
mod rows;
mod show;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use portolan_core::census::{self, Census};
use portolan_core::diagnose::{Case, Finding, RoomTrend, Severity, diagnose_room};
use portolan_core::limits::{Limit, limits};
use portolan_core::room::{self, RoomFor};
use portolan_core::snapshot::{Gap, Reading, Snapshot};
use portolan_core::socket::Family;
use portolan_core::trend::{self, Sample};
use portolan_host::{Look, Namespace, OwnerSearch, Sections, SocketFilter, connect, sys};
use schemars::{JsonSchema, Schema, schema_for};
use serde::Serialize;

use crate::command::{Command, Output};
use crate::exit::{Exit, Misuse};
use crate::report::{Block, Report};
use crate::source::Session;
use crate::typed;
use ask::{HostPort, Question};
use attempt::Attempt;
use rows::{RoomRow, UserRow};

/// Destinations that are kept, those with the least room; the text shows fewer.
const DESTINATIONS: usize = 1000;
/// While time passes, how often is looked.
const EVERY: Duration = Duration::from_secs(1);

/// Tell how many more connections can be made, who uses the rest, and what else runs out
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portolan budget
  portolan budget --to db.example:5432
  portolan budget --source 10.0.0.5 --bind
  portolan budget --over 10                          what grows, and when the room ends
  portolan budget --from now.json --since before.json
  portolan budget --try db.example:5432              one real connection, as evidence

The room left is counted by the system's own rules. Where it does not show what decides, it is a
range, with the reason. --from takes a snapshot file, as everywhere; an address after --from is
taken for --source.
Exit codes: 0 fine; 1 something runs out, or --try found no port; 2 could not tell, or no way there.")]
pub(crate) struct Budget {
    /// Towards this destination alone
    #[arg(long, value_name = "HOST:PORT", value_parser = HostPort::parse)]
    to: Option<HostPort>,
    /// From this address of the machine alone
    #[arg(long, value_name = "ADDRESS", value_parser = ask::address)]
    pub(crate) source: Option<IpAddr>,
    /// For UDP alone
    #[arg(long, conflicts_with_all = ["to", "connect"])]
    udp: bool,
    /// For bind with port 0 alone
    #[arg(long, conflicts_with_all = ["to", "connect"])]
    bind: bool,
    /// In every network namespace of the machine
    #[arg(long, conflicts_with_all = ["netns", "to", "connect", "over", "since"])]
    all_netns: bool,
    /// Leave owners out; much faster where there are many processes
    #[arg(long)]
    no_owners: bool,
    /// Watch for so many seconds, and tell what grows and when it ends
    #[arg(long, value_name = "SECONDS", value_parser = over, conflicts_with = "since")]
    over: Option<Duration>,
    /// Compare with an earlier snapshot file
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// Make one real connection there, to tell exhausted, refused and filtered apart
    #[arg(long = "try", id = "connect", value_name = "HOST:PORT", value_parser = HostPort::parse)]
    attempt: Option<HostPort>,
}

/// For how long is watched: a growth needs some time.
fn over(text: &str) -> Result<Duration, String> {
    match typed::seconds(text)? {
        Duration::ZERO => Err("nothing grows in no time; type a number of seconds as in 10".to_owned()),
        over => Ok(over),
    }
}

/// What budget says, of one network namespace.
#[derive(Serialize, JsonSchema)]
struct Sheet {
    /// When it was seen, milliseconds since 1970-01-01 UTC.
    taken_ms: u64,
    /// Which network namespace, where another one than this program's, or several, were looked at.
    namespace: Option<String>,
    /// The room left, the least first.
    room: Vec<RoomRow>,
    /// How many destinations there are, of which `room` has those with the least room.
    destinations: usize,
    /// Who has sockets, who has most first.
    users: Vec<UserRow>,
    /// What else refuses connections for want of room.
    limits: Vec<Limit>,
    /// The connection that was tried.
    attempt: Option<Attempt>,
    /// What was found, the most severe first.
    findings: Vec<Finding>,
    /// What could not be seen.
    gaps: Vec<Gap>,
}

/// What budget says of several network namespaces.
#[derive(Serialize, JsonSchema)]
struct Sheets {
    /// One for each.
    namespaces: Vec<Sheet>,
    /// What could not be seen of which namespaces there are.
    gaps: Vec<Gap>,
}

/// One or several.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum Told {
    One(Box<Sheet>),
    Several(Sheets),
}

/// JSON Schema of the report.
pub(super) fn schema() -> Schema {
    schema_for!(Told)
}

/// What is to be seen; what was seen before; and how the room developed meanwhile.
type Seen = (Arc<Snapshot>, Option<Arc<Snapshot>>, Vec<RoomTrend>);

impl Command for Budget {
    fn run(&self, session: &Session) -> Result<Output> {
        if self.all_netns {
            return self.everywhere(session);
        }
        let attempt = self.attempt.as_ref().map(|to| attempt::make(session, to)).transpose()?;
        let question = self.question(session)?;
        let (snapshot, earlier, trends) = self.see(session, &question)?;
        let question = question.of(&snapshot, session.is_file())?;
        let asked = ask::answer(&snapshot, &question);
        let sheet = sheet(&snapshot, earlier.as_deref(), &trends, asked, attempt);
        Ok(Output::Report(report(sheet)))
    }
}

impl Budget {
    /// What a file cannot be asked, of that which was typed.
    pub(crate) fn needs_machine(&self) -> Option<&'static str> {
        let asked = [
            ("--all-netns", self.all_netns),
            ("--over <SECONDS>", self.over.is_some()),
            ("--try <HOST:PORT>", self.attempt.is_some()),
        ];
        asked.into_iter().find_map(|(option, is_given)| is_given.then_some(option))
    }

    fn question(&self, session: &Session) -> Result<Question> {
        let mut destinations = match &self.to {
            None => Vec::new(),
            Some(to) => to.resolve(session)?,
        };
        if let Some(source) = self.source {
            ask::check_source(session, source, &mut destinations)?;
        }
        let sources = match (self.source, destinations.is_empty()) {
            (Some(source), _) => vec![source],
            (None, true) => Vec::new(),
            // Where the system would choose one, that one is meant.
            (None, false) => ask::chosen_sources(session, &destinations),
        };
        Ok(Question { sources, destinations, udp: self.udp, bind: self.bind, ..Question::default() })
    }

    fn see(&self, session: &Session, question: &Question) -> Result<Seen> {
        if let Some(over) = self.over {
            return watch(session, over, &self.look(), question);
        }
        let earlier = self.since.as_deref().map(crate::source::read).transpose()?.map(Arc::new);
        let snapshot = session.see(self.look())?;
        let trends = match &earlier {
            Some(earlier) => {
                if earlier.taken_ms >= snapshot.taken_ms {
                    let text = "the file of --since was not taken before what it is compared with; swap them";
                    return Err(Misuse(text.to_owned()).into());
                }
                let mut samples = Samples::default();
                samples.add(earlier, question);
                samples.add(&snapshot, question);
                samples.trends()
            }
            None => Vec::new(),
        };
        Ok((snapshot, earlier, trends))
    }

    fn look(&self) -> Look {
        Look {
            sockets: Some(SocketFilter::default()),
            owners: if self.no_owners { OwnerSearch::None } else { OwnerSearch::All },
            counting: true,
            sections: Sections {
                settings: true,
                buckets: true,
                slow: true,
                winnat: true,
                counters: true,
                ..Sections::default()
            },
            namespace: Namespace::Own,
        }
    }

    fn everywhere(&self, session: &Session) -> Result<Output> {
        let Reading { value: found, mut gaps } = sys::namespaces();
        let question = Question {
            sources: self.source.into_iter().collect(),
            udp: self.udp,
            bind: self.bind,
            ..Question::default()
        };
        let mut told = Vec::new();
        for (name, namespace) in found {
            // One without that address is not asked about; one that cannot be entered is told below.
            let has = |source| connect::is_source(&namespace, source).unwrap_or(true);
            if !self.source.is_none_or(has) {
                continue;
            }
            match session.see_in(&namespace, self.look()) {
                Ok(snapshot) => {
                    let asked = ask::answer(&snapshot, &question);
                    told.push(Sheet { namespace: Some(name), ..sheet(&snapshot, None, &[], asked, None) });
                }
                Err(error) => gaps.extend(ask::not_entered(&error)),
            }
        }
        match self.source.filter(|_| told.is_empty()) {
            Some(source) => {
                let text = "is no address of any network namespace that can be seen; see: ip address";
                Err(Misuse(format!("{source} {text}")).into())
            }
            None => Ok(Output::Report(reports(told, gaps))),
        }
    }
}

/// Looks at the beginning, at the end, and once a second between them at the sockets alone.
fn watch(session: &Session, over: Duration, look: &Look, question: &Question) -> Result<Seen> {
    let mut samples = Samples::default();
    // Only the last look is shown.
    let before = Look { sections: Sections { slow: false, winnat: false, ..look.sections }, ..look.clone() };
    let first = session.see(before.clone())?;
    samples.add(&first, question);
    let mut rest = over;
    while rest > EVERY {
        thread::sleep(EVERY);
        rest -= EVERY;
        samples.add(&*session.see(Look { owners: OwnerSearch::None, ..before.clone() })?, question);
    }
    thread::sleep(rest);
    let last = session.see(look.clone())?;
    samples.add(&last, question);
    Ok((last, Some(first), samples.trends()))
}

/// How much room there was towards each destination and for every other call, look by look.
#[derive(Default)]
struct Samples {
    of: HashMap<RoomFor, Vec<Sample>>,
    at: Vec<u64>,
}

impl Samples {
    fn add(&mut self, snapshot: &Snapshot, question: &Question) {
        self.at.push(snapshot.taken_ms);
        let connections = room::connections(snapshot, Family::Ipv4);
        let towards = connections.map(|connections| connections.worst(DESTINATIONS)).unwrap_or_default();
        let towards = towards.into_iter().map(|(tuple, left)| (RoomFor::Towards(tuple), left));
        let calls = ask::calls(snapshot, question);
        let calls = calls.iter().filter_map(|ask| Some((RoomFor::Call(*ask), room::of(snapshot, ask)?)));
        for (room, left) in towards.chain(calls) {
            let sample = Sample { at_ms: snapshot.taken_ms, value: f64::from(left.room.max) };
            self.of.entry(room).or_default().push(sample);
        }
    }

    /// What was there at every look and has a steady trend; of two looks, any change is taken.
    fn trends(&self) -> Vec<RoomTrend> {
        let slope = |samples: &[Sample]| match samples {
            [first, last] => trend::between(*first, *last),
            more => trend::slope(more),
        };
        let steady = |(room, samples): (&RoomFor, &Vec<Sample>)| {
            let slope = slope(samples).filter(|_| samples.len() == self.at.len())?;
            Some(RoomTrend { room: *room, slope })
        };
        self.of.iter().filter_map(steady).collect()
    }
}

fn sheet(
    snapshot: &Arc<Snapshot>,
    earlier: Option<&Snapshot>,
    trends: &[RoomTrend],
    room: ask::Answer,
    attempt: Option<Attempt>,
) -> Sheet {
    let census = Census::of(snapshot, DESTINATIONS);
    let case = Case { earlier, trends, ..Case::host(snapshot, &census) };
    let findings = diagnose_room(&case);
    let user = |usage: &census::Usage| UserRow::new(snapshot, usage);
    Sheet {
        taken_ms: snapshot.taken_ms,
        namespace: snapshot.host.netns.clone(),
        room: room.rows.into_iter().map(|row| row.with_trend(trends)).collect(),
        destinations: room.destinations,
        users: census.users.iter().map(user).collect(),
        limits: limits(snapshot),
        attempt,
        findings,
        gaps: snapshot.gaps.clone(),
    }
}

/// Whether something runs out.
fn exit(sheet: &Sheet) -> Exit {
    let found = sheet.findings.iter().any(|finding| finding.severity >= Severity::Warning);
    let attempt = sheet.attempt.as_ref().map_or(Exit::Fine, Attempt::exit);
    match () {
        () if found || attempt == Exit::Not => Exit::Not,
        () if sheet.room.is_empty() => Exit::Unclear,
        () => attempt,
    }
}

fn report(sheet: Sheet) -> Report {
    let (exit, gaps) = (exit(&sheet), sheet.gaps.clone());
    let (blocks, rows) = (show::blocks(&sheet), show::rows(std::slice::from_ref(&sheet)));
    Report { exit, ..Report::new(sheet, blocks, rows, gaps) }
}

fn reports(namespaces: Vec<Sheet>, gaps: Vec<Gap>) -> Report {
    let mut blocks = Vec::new();
    for sheet in &namespaces {
        blocks.push(show::heading(sheet.namespace.as_deref().unwrap_or_default()));
        blocks.extend(show::blocks(sheet));
    }
    if namespaces.is_empty() {
        blocks.push(Block::Line("no network namespace could be looked at".into()));
    }
    let exits: Vec<Exit> = namespaces.iter().map(exit).collect();
    let exit = match () {
        () if exits.contains(&Exit::Not) => Exit::Not,
        () if exits.is_empty() || exits.contains(&Exit::Unclear) => Exit::Unclear,
        () => Exit::Fine,
    };
    let mut all = gaps.clone();
    for gap in namespaces.iter().flat_map(|sheet| &sheet.gaps) {
        if !all.contains(gap) {
            all.push(gap.clone());
        }
    }
    let rows = show::rows(&namespaces);
    Report { exit, ..Report::new(Sheets { namespaces, gaps }, blocks, rows, all) }
}

#[cfg(test)]
mod tests;
