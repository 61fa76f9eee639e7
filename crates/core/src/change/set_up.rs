//! The recorder that the system starts: what is set up, planned, compared, and told by what differs.
//!
//! Pure, and the same for both systems: the text is that of a unit ([`crate::kernel::recorder_unit`]) or of a task
//! ([`crate::kernel::task_scheduler`]), and the host knows where it lies. What was recorded is never touched.

use serde::{Deserialize, Serialize};

use super::{Action, Decision, Place, Plan, Step};

/// A recorder as it is set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetUp {
    /// The unit, or the task.
    pub text: String,
    /// Whether the system starts it at its own start.
    pub enabled: bool,
    /// Whether it runs.
    pub running: bool,
}

impl SetUp {
    /// One that runs, now and after each start of the system.
    pub const fn standing(text: String) -> Self {
        Self { text, enabled: true, running: true }
    }
}

/// How it stands now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetUpNow {
    /// What is set up; none for nothing.
    pub set_up: Option<SetUp>,
    /// Whether the system does not know yet what the text says by now.
    pub stale: bool,
}

/// What an action does, for people.
pub(super) fn told(place: &str, from: Option<&SetUp>, to: Option<&SetUp>) -> String {
    let (verb, from) = match (from, to) {
        (_, None) => return format!("end the recorder and remove {place}"),
        (None, Some(_)) => ("make", None),
        (Some(from), Some(to)) if from.text == to.text => ("keep", Some(from)),
        (Some(from), Some(_)) => ("replace", Some(from)),
    };
    let (enabled, running) = to.map_or((false, false), |to| (to.enabled, to.running));
    let then = match (enabled, running) {
        (true, true) => "have it run, now and after each start",
        (true, false) => "have it run after each start",
        (false, true) => "have it run until the next start",
        (false, false) if from.is_some() => "leave it at rest",
        (false, false) => "leave it for later",
    };
    format!("{verb} {place}, and {then}")
}

/// Compares what an action expects with what is there; see [`super::decide`].
pub(super) fn decide((place, from, to): (&str, Option<&SetUp>, Option<&SetUp>), now: &SetUpNow) -> Decision {
    let text = |set_up: Option<&SetUp>| set_up.map(|set_up| set_up.text.clone());
    let there = now.set_up.as_ref();
    if there == to && !now.stale {
        return Decision::AlreadySo;
    }
    if ![text(from), text(to)].contains(&text(there)) {
        let how =
            if there.is_some() { "is not as expected: it was changed" } else { "is gone: it was removed" };
        return Decision::Changed(format!("{place} {how} meanwhile"));
    }
    Decision::Do(Action::SetUpRecorder { place: place.to_owned(), from: from.cloned(), to: to.cloned() })
}

/// The plan that has the system start a recorder with this text, or none any more. `effects` are told beneath its step.
pub fn plan_set_up(
    (location, now): (&str, &SetUpNow),
    wanted: Option<String>,
    mut effects: Vec<String>,
    (title, place): (&str, Place),
) -> Plan {
    let from = now.set_up.clone();
    let to = wanted.map(SetUp::standing);
    let mut steps = Vec::new();
    if from != to || (now.stale && to.is_some()) {
        if let (Some(from), Some(to)) = (&from, &to) {
            effects.extend(differences(&from.text, &to.text));
        }
        let mut step = Step::new(Action::SetUpRecorder { place: location.to_owned(), from, to });
        step.effects = effects;
        steps.push(step);
    }
    Plan { title: title.to_owned(), note: None, place, steps, warnings: Vec::new() }
}

/// The lines that one text has and the other has not, in order: `- ` for what goes, `+ ` for what comes.
fn differences(from: &str, to: &str) -> Vec<String> {
    let lacks = |text: &str, line: &str| !line.is_empty() && text.lines().all(|other| other != line);
    let gone = from.lines().filter(|line| lacks(to, line)).map(|line| format!("- {line}"));
    let come = to.lines().filter(|line| lacks(from, line)).map(|line| format!("+ {line}"));
    gone.chain(come).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHERE: &str = "/etc/systemd/system/portolan-record.service";

    fn now(text: &str, enabled: bool, running: bool) -> SetUpNow {
        let set_up = SetUp { text: text.into(), enabled, running };
        SetUpNow { set_up: Some(set_up), stale: false }
    }

    fn plan(now: &SetUpNow, wanted: Option<&str>) -> Plan {
        plan_set_up(
            (WHERE, now),
            wanted.map(str::to_owned),
            Vec::new(),
            ("record --install", Place::default()),
        )
    }

    fn decided(step: &Step, now: &SetUpNow) -> Decision {
        super::super::decide(&step.action, &super::super::Observed::SetUp(now.clone()))
    }

    #[test]
    fn a_second_recorder_replaces_the_first_and_tells_what_differs() {
        let first = plan(&SetUpNow::default(), Some("a\nb=1\nc\n"));
        assert!(first.steps[0].action.to_string().starts_with("make /etc/"), "{}", first.steps[0].action);
        let there = now("a\nb=1\nc\n", true, true);
        assert!(plan(&there, Some("a\nb=1\nc\n")).steps.is_empty());
        let second = plan(&there, Some("a\nb=2\nc\n"));
        assert_eq!(second.steps[0].effects, ["- b=1", "+ b=2"]);
        // One that rests is started; one that systemd does not know yet is told to it.
        assert_eq!(plan(&now("a\nb=1\nc\n", true, false), Some("a\nb=1\nc\n")).steps.len(), 1);
        assert_eq!(plan(&SetUpNow { stale: true, ..there }, Some("a\nb=1\nc\n")).steps.len(), 1);
        assert!(plan(&SetUpNow::default(), None).steps.is_empty());
    }

    #[test]
    fn what_stood_before_comes_back_at_rest_where_it_was_at_rest() {
        let rested = now("old", false, false);
        let step = plan(&rested, Some("new")).steps.remove(0);
        let back = step.inverse.unwrap();
        let Action::SetUpRecorder { from, to, .. } = &back else { panic!("{back}") };
        assert_eq!((from, to), (&Some(SetUp::standing("new".into())), &rested.set_up));
        assert!(back.to_string().ends_with("leave it at rest"), "{back}");
    }

    #[test]
    fn cut_off_anywhere_it_is_gone_on_with_and_what_others_changed_stops_it() {
        let step = plan(&now("old", true, true), Some("new")).steps.remove(0);
        for halfway in [
            now("old", true, true),
            now("old", true, false),
            now("new", true, false),
            now("new", false, false),
        ] {
            assert!(matches!(decided(&step, &halfway), Decision::Do(_)), "{halfway:?}");
        }
        assert_eq!(decided(&step, &now("new", true, true)), Decision::AlreadySo);
        let stale = SetUpNow { stale: true, ..now("new", true, true) };
        assert!(matches!(decided(&step, &stale), Decision::Do(_)));
        for other in [now("other", true, true), SetUpNow::default()] {
            assert!(matches!(decided(&step, &other), Decision::Changed(_)), "{other:?}");
        }
    }
}
