//! Rules: pure functions from a [`Case`] to [`Finding`]s. One rule a file; its `DOC` is the manual of `explain`.
//!
//! A new rule is a new file and a line in [`RULES`]; `why`, the chart, `explain` and the manual follow from there.

mod address_not_local;
mod administered_exclusion;
mod bind_before_connect;
mod bound_leak;
mod bound_not_listening;
mod carried_by_rule;
mod close_wait_leak;
mod connections_left;
mod conntrack_full;
mod container_proxy;
mod descriptors_near_limit;
mod destination_exhausted;
mod excluded_range;
mod exclusive_holder;
mod free;
mod held_by_process;
mod held_by_several;
mod hns_range;
mod holder_hidden;
mod in_ephemeral_range;
mod kernel_held;
mod logged_exhaustion;
mod low_dynamic_range;
mod many_handles;
mod no_connection_reuse;
mod not_accepted;
mod other_user_socket;
mod outgoing_connection;
mod port_proxy;
mod privileged_port;
mod range_exhausted;
mod range_small;
mod range_starts_low;
mod refused_by_policy;
mod reserved_ports_without_effect;
mod reserved_range;
mod reuseport_of_other_user;
mod room_ends;
mod shadowed;
mod socket_unit;
mod syn_sent_pile_up;
mod time_wait_left;
mod time_wait_overflow;
mod time_wait_plenty;

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::census::Census;
use crate::port::Port;
use crate::remedy;
use crate::room::RoomFor;
use crate::snapshot::Snapshot;
use crate::socket::{Family, Transport};
use crate::trend::Slope;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know; nothing fails by it.
    Note,
    /// Will fail some day, or fails in some cases.
    Warning,
    /// Fails now, for this reason.
    Error,
}

/// A way out: what it does, and what to type for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Remedy {
    /// What it does, in a few words.
    pub text: String,
    /// The command to type, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Remedy {
    /// A way out with the command for it.
    pub fn command(text: impl Into<String>, command: impl Into<String>) -> Self {
        Self { text: text.into(), command: Some(command.into()) }
    }

    /// A way out that is not one command.
    pub fn advice(text: impl Into<String>) -> Self {
        Self { text: text.into(), command: None }
    }
}

/// What a rule found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// The rule's id, in kebab-case.
    pub rule: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// One sentence: the verdict.
    pub summary: String,
    /// What was seen that proves it, a line each.
    pub evidence: Vec<String>,
    /// Ways out, mildest first.
    pub remedies: Vec<Remedy>,
}

impl Finding {
    /// A finding without evidence and remedies yet.
    fn new(rule: &Rule, severity: Severity, summary: String) -> Self {
        Self { rule: rule.id, severity, summary, evidence: Vec::new(), remedies: Vec::new() }
    }

    fn with_evidence(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(lines);
        self
    }

    fn with_remedies(mut self, remedies: impl IntoIterator<Item = Remedy>) -> Self {
        self.remedies.extend(remedies);
        self
    }
}

/// How a trial bind was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reuse {
    /// Without options.
    Plain,
    /// With SO_REUSEADDR.
    ReuseAddress,
}

/// What came of one trial bind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub enum Outcome {
    /// It bound (and listened, where that was needed to tell).
    Bound,
    /// The system refused.
    Refused {
        /// The call: `socket`, `bind`, `listen`.
        call: String,
        /// The code's name: `EADDRINUSE`, `WSAEACCES`.
        name: String,
        /// The system's number.
        code: i32,
    },
    /// Not tried, because trying would have disturbed a running service or could not be done; the reason.
    NotTried {
        /// Why.
        reason: String,
    },
}

/// One trial bind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trial {
    /// Where.
    pub address: SocketAddr,
    /// With which options.
    pub reuse: Reuse,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Whether the socket table answered instead of the kernel.
    pub inferred: bool,
}

/// What was asked: may I have this port?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// TCP or UDP.
    pub transport: Transport,
    /// The port; none asks for any port, as `bind(0)` does.
    pub port: Option<Port>,
    /// The address; none asks for 0.0.0.0 and dual-stack `[::]`.
    pub address: Option<IpAddr>,
    /// The user who asks: effective user id (Linux).
    pub uid: Option<u32>,
}

impl Question {
    /// The families that the question concerns.
    pub fn families(&self) -> &'static [Family] {
        match self.address.map(Family::of) {
            None => &Family::ALL,
            Some(Family::Ipv4) => &[Family::Ipv4],
            Some(Family::Ipv6) => &[Family::Ipv6],
        }
    }
}

/// All that a rule may look at. Plain data.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// What was seen.
    pub snapshot: &'a Snapshot,
    /// What was asked; none for the chart, which asks about the whole host.
    pub question: Option<&'a Question>,
    /// What the bind trials gave; empty when none were made (`--from`).
    pub trials: &'a [Trial],
    /// Who uses the room; none where the question is about one port.
    pub census: Option<&'a Census>,
    /// An earlier look at the same host, for what grows; none where there is none.
    pub earlier: Option<&'a Snapshot>,
    /// How the room changes, where it has a steady trend.
    pub trends: &'a [RoomTrend],
}

impl<'a> Case<'a> {
    /// The whole host, without a question.
    pub const fn host(snapshot: &'a Snapshot, census: &'a Census) -> Self {
        Self { snapshot, question: None, trials: &[], census: Some(census), earlier: None, trends: &[] }
    }

    /// One question, and what the kernel said to it.
    pub const fn asked(snapshot: &'a Snapshot, question: &'a Question, trials: &'a [Trial]) -> Self {
        Self { snapshot, question: Some(question), trials, census: None, earlier: None, trends: &[] }
    }
}

/// How the room left for something changes: ports a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoomTrend {
    /// For what.
    pub room: RoomFor,
    /// How fast.
    pub slope: Slope,
}

/// One rule.
pub struct Rule {
    /// Its id, in kebab-case.
    pub id: &'static str,
    /// What it finds, in a few words.
    pub title: &'static str,
    /// Its page of the manual.
    pub doc: &'static str,
    /// The rule itself.
    pub check: fn(&Case<'_>) -> Vec<Finding>,
}

/// Every rule, the most telling first: findings of one severity are shown in this order.
pub static RULES: &[Rule] = &[
    free::RULE,
    held_by_process::RULE,
    held_by_several::RULE,
    socket_unit::RULE,
    kernel_held::RULE,
    holder_hidden::RULE,
    bound_not_listening::RULE,
    connections_left::RULE,
    time_wait_left::RULE,
    outgoing_connection::RULE,
    address_not_local::RULE,
    excluded_range::RULE,
    exclusive_holder::RULE,
    other_user_socket::RULE,
    privileged_port::RULE,
    refused_by_policy::RULE,
    range_exhausted::RULE,
    destination_exhausted::RULE,
    room_ends::RULE,
    no_connection_reuse::RULE,
    logged_exhaustion::RULE,
    not_accepted::RULE,
    close_wait_leak::RULE,
    bound_leak::RULE,
    bind_before_connect::RULE,
    syn_sent_pile_up::RULE,
    descriptors_near_limit::RULE,
    many_handles::RULE,
    conntrack_full::RULE,
    time_wait_overflow::RULE,
    range_small::RULE,
    range_starts_low::RULE,
    time_wait_plenty::RULE,
    low_dynamic_range::RULE,
    container_proxy::RULE,
    port_proxy::RULE,
    carried_by_rule::RULE,
    shadowed::RULE,
    reuseport_of_other_user::RULE,
    in_ephemeral_range::RULE,
    reserved_range::RULE,
    administered_exclusion::RULE,
    hns_range::RULE,
    reserved_ports_without_effect::RULE,
];

/// The rules about room, by their ids: what `budget` asks.
pub static ROOM: &[&str] = &[
    "range-exhausted",
    "destination-exhausted",
    "room-ends",
    "no-connection-reuse",
    "logged-exhaustion",
    "not-accepted",
    "close-wait-leak",
    "bound-leak",
    "bind-before-connect",
    "syn-sent-pile-up",
    "descriptors-near-limit",
    "many-handles",
    "conntrack-full",
    "time-wait-overflow",
    "range-small",
    "range-starts-low",
    "time-wait-plenty",
];

/// Every finding of a case, the most severe first.
pub fn diagnose(case: &Case<'_>) -> Vec<Finding> {
    findings(case, |_| true)
}

/// The findings of the rules about room, the most severe first.
pub fn diagnose_room(case: &Case<'_>) -> Vec<Finding> {
    findings(case, |rule| ROOM.contains(&rule.id))
}

fn findings(case: &Case<'_>, wanted: impl Fn(&Rule) -> bool) -> Vec<Finding> {
    let rules = RULES.iter().filter(|rule| wanted(rule));
    let mut findings: Vec<Finding> = rules.flat_map(|rule| (rule.check)(case)).collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    // Here, for every rule: none can forget it.
    let netns = case.snapshot.host.netns.as_deref();
    for way_out in findings.iter_mut().flat_map(|finding| &mut finding.remedies) {
        way_out.command = way_out.command.take().and_then(|command| remedy::in_place(netns, command));
    }
    findings
}

/// The rule of an id.
pub fn rule(id: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id == id)
}

/// Whether it binds: every plain trial that was made did. None where none was made.
pub fn verdict(trials: &[Trial]) -> Option<bool> {
    let plain = trials.iter().filter(|trial| trial.reuse == Reuse::Plain);
    let answers: Vec<bool> = plain
        .filter_map(|trial| match trial.outcome {
            Outcome::Bound => Some(true),
            Outcome::Refused { .. } => Some(false),
            Outcome::NotTried { .. } => None,
        })
        .collect();
    if answers.is_empty() { None } else { Some(answers.into_iter().all(|binds| binds)) }
}

/// The code that the first refused plain trial gave: its name and its number.
pub fn refusal(trials: &[Trial]) -> Option<(&str, i32)> {
    crate::cause::refused(trials).map(|(_, _, name, code)| (name, code))
}
