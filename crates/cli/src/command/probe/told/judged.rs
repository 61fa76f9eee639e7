//! What a profile expects, held against what was found: pass or fail, port by port.

use std::net::IpAddr;

use portolan_core::probe::PortState;
use portolan_core::profile::{Expected, Profile};
use portolan_core::socket::Transport;
use schemars::JsonSchema;
use serde::Serialize;

use super::Result;
use crate::cells::{Column, Table};
use crate::report::{Block, Line, Tone};
use crate::text::counted;

/// A profile, held against what was found.
#[derive(Clone, Serialize, JsonSchema)]
pub(in super::super) struct Judged {
    /// Its id, or the name of its file.
    profile: &'static str,
    /// What it is, in a few words.
    title: &'static str,
    /// Hosts that nobody has typed, and who names them.
    configured: Vec<Configured>,
    /// Whether every expectation is met.
    passed: bool,
    /// Every port that something is expected of, in the order asked.
    expectations: Vec<Expectation>,
    #[serde(skip)]
    followed: Vec<Followed>,
}

#[derive(Clone, Serialize, JsonSchema)]
struct Configured {
    host: String,
    origin: String,
}

#[derive(Clone, Serialize, JsonSchema)]
struct Expectation {
    host: String,
    address: IpAddr,
    transport: Transport,
    port: u16,
    /// What it is for.
    why: String,
    expected: Expected,
    state: PortState,
    /// Whether the server spoke the protocol.
    spoke: bool,
    met: bool,
    #[serde(skip)]
    told: String,
}

/// A port that an endpoint mapper named.
#[derive(Clone)]
struct Followed {
    address: IpAddr,
    port: u16,
    name: String,
}

impl Judged {
    pub(in super::super) fn new(profile: &Profile) -> Self {
        let (configured, expectations, followed) = (Vec::new(), Vec::new(), Vec::new());
        Self { profile: profile.id, title: profile.title, configured, passed: false, expectations, followed }
    }

    /// A host that nobody has typed.
    pub(in super::super) fn configured(&mut self, host: String, origin: String) {
        self.configured.push(Configured { host, origin });
    }

    /// A port that an endpoint mapper named is expected to be open.
    pub(in super::super) fn follow(&mut self, address: IpAddr, port: u16, name: String) {
        self.followed.push(Followed { address, port, name });
    }

    /// Holds the profile against what was found.
    pub(super) fn judge(&mut self, profile: &Profile, results: &[Result]) {
        let expectation = |result: &Result| {
            let named = |followed: &&Followed| {
                (followed.address, followed.port) == (result.address, result.port)
                    && result.transport == Transport::Tcp
            };
            let own = profile
                .entries
                .iter()
                .any(|entry| (entry.transport, entry.port) == (result.transport, result.port));
            let (expected, why) = match self.followed.iter().find(named).filter(|_| !own) {
                Some(followed) => {
                    (Expected::Open, format!("named by the endpoint mapper: {}", followed.name))
                }
                None => {
                    let entry = profile.entry(result.transport, result.port)?;
                    (entry.expected, entry.why.to_owned())
                }
            };
            let spoke = result.answer.is_some();
            let told = match (&result.answer, &result.failure) {
                (Some(answer), _) => answer.summary.clone(),
                (None, Some(failure)) => format!("{}: {}", failure.protocol, failure.reason),
                (None, None) => super::why(result.reason),
            };
            Some(Expectation {
                host: result.host.clone(),
                address: result.address,
                transport: result.transport,
                port: result.port,
                why,
                expected,
                state: result.state,
                spoke,
                met: expected.is_met(result.state, spoke),
                told,
            })
        };
        self.expectations = results.iter().filter_map(expectation).collect();
        self.passed = !self.expectations.is_empty() && self.expectations.iter().all(|e| e.met);
    }

    pub(super) const fn passed(&self) -> bool {
        self.passed
    }

    /// For people: the verdict, and every port.
    pub(super) fn blocks(&self) -> Vec<Block> {
        let judged = || self.expectations.iter().filter(|e| e.expected != Expected::Any);
        let (whole, met) = (judged().count() as u64, judged().filter(|e| e.met).count());
        let verdict = match self.passed {
            true => Line::new().and(Tone::Good, "pass"),
            false => Line::new().and(Tone::Bad, "fail"),
        };
        let told = format!("   {}: {met} of {} met", self.title, counted(whole, "expectation"));
        let mut blocks = vec![Block::Line(verdict.plain(told))];
        for Configured { host, origin } in &self.configured {
            blocks.push(Block::Line(format!("{host}: from {origin}").into()));
        }
        if self.expectations.is_empty() {
            return blocks;
        }
        let several = self.expectations.windows(2).any(|pair| pair[0].address != pair[1].address);
        let columns = [
            Column::words("host"),
            Column::words("port"),
            Column::words("state"),
            Column::words("expected"),
            Column::words("verdict"),
            Column::prose("what it is for, and what it tells"),
        ];
        let cells = |e: &Expectation| {
            let verdict = match (e.expected, e.met) {
                (Expected::Any, _) => "",
                (_, true) => "pass",
                (_, false) => "fail",
            };
            [
                e.host.clone(),
                format!("{}/{}", e.port, e.transport),
                e.state.word().to_owned(),
                e.expected.word().to_owned(),
                verdict.to_owned(),
                format!("{}: {}", e.why, e.told).trim_start_matches(": ").to_owned(),
            ]
        };
        let rows: Vec<[String; 6]> = self.expectations.iter().map(cells).collect();
        blocks.push(Block::gap());
        blocks.push(Block::Table(if several {
            Table::of_rows(columns, rows)
        } else {
            let [_, port, state, expected, verdict, tells] = columns;
            let rest = |[_, port, state, expected, verdict, tells]: [String; 6]| {
                [port, state, expected, verdict, tells]
            };
            Table::of_rows([port, state, expected, verdict, tells], rows.into_iter().map(rest).collect())
        }));
        blocks
    }
}
