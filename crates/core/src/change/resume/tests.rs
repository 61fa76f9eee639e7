//! A machine in small, on which each plan is broken off at every point and then gone on with, or undone.

use super::*;
use crate::change::{
    Dance, Decision, FeatureState, NetshStore, Observed, Place, Scope, WindowsAction, WindowsNow, decide,
    plan_windows_reserve,
};
use crate::port::PortRange;
use crate::range::{Reservation, ReservationKind};
use crate::snapshot::{Component, ComponentState, Snapshot, System};
use crate::socket::{Family, Transport};

/// What of a Windows machine the dances touch.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Machine {
    boot: u32,
    winnat: bool,
    hyperv: FeatureState,
    exclusions: Vec<PortRange>,
    /// WinNAT's block, which is there while the block's maker runs.
    block: bool,
    /// Whether the start-up task is there.
    task: bool,
}

const BLOCK: (u16, u16) = (1131, 1230);

impl Machine {
    fn new(hyperv: FeatureState) -> Self {
        Self { boot: 1, winnat: true, hyperv, exclusions: Vec::new(), block: true, task: false }
    }

    fn reservations(&self) -> Vec<Reservation> {
        let made = |range, kind| Reservation {
            range,
            transport: Some(Transport::Tcp),
            family: Some(Family::Ipv4),
            kind,
            by: None,
        };
        let block = PortRange::new(BLOCK.0, BLOCK.1).unwrap();
        let excluded = self.exclusions.iter().map(|range| made(*range, ReservationKind::Administered));
        excluded.chain(self.block.then(|| made(block, ReservationKind::System))).collect()
    }

    fn snapshot(&self) -> Snapshot {
        let component = |name: &str, runs| Component {
            name: name.into(),
            state: if runs { ComponentState::Running } else { ComponentState::Stopped },
        };
        let mut snapshot = Snapshot::default();
        snapshot.host.system = System::Windows;
        snapshot.components = vec![
            component("winnat", self.winnat),
            component("hyper-v", self.hyperv == FeatureState::Enabled),
        ];
        snapshot.reservations = self.reservations();
        snapshot
    }

    fn observe(&self, action: &WindowsAction) -> Observed {
        Observed::Windows(match action {
            WindowsAction::StopService { .. } | WindowsAction::StartService { .. } => {
                WindowsNow::Service(if self.winnat {
                    ComponentState::Running
                } else {
                    ComponentState::Stopped
                })
            }
            WindowsAction::EnableFeature { .. } | WindowsAction::DisableFeature { .. } => {
                WindowsNow::Feature(self.hyperv)
            }
            WindowsAction::AddTask { .. } | WindowsAction::RemoveTask { .. } => WindowsNow::Task(self.task),
            WindowsAction::Restart { .. } => WindowsNow::Boot(self.boot.to_string()),
            _ => WindowsNow::Excluded(self.reservations()),
        })
    }

    fn perform(&mut self, action: &WindowsAction) {
        match action {
            WindowsAction::StopService { .. } => (self.winnat, self.block) = (false, false),
            WindowsAction::StartService { .. } => self.winnat = true,
            WindowsAction::AddExclusion { range, .. } => self.exclusions.push(*range),
            WindowsAction::DeleteExclusion { range, .. } => self.exclusions.retain(|other| other != range),
            WindowsAction::EnableFeature { .. } if self.hyperv == FeatureState::DisablePending => {
                self.hyperv = FeatureState::Enabled;
            }
            WindowsAction::EnableFeature { .. } => self.hyperv = FeatureState::EnablePending,
            WindowsAction::DisableFeature { .. } if self.hyperv == FeatureState::EnablePending => {
                self.hyperv = FeatureState::Disabled;
            }
            WindowsAction::DisableFeature { .. } => self.hyperv = FeatureState::DisablePending,
            WindowsAction::AddTask { .. } => self.task = true,
            WindowsAction::RemoveTask { .. } => self.task = false,
            WindowsAction::Restart { .. } => self.restart(),
            WindowsAction::LookAgain { .. }
            | WindowsAction::SetDynamicRange { .. }
            | WindowsAction::RememberRange { .. } => {}
        }
    }

    fn restart(&mut self) {
        self.boot += 1;
        self.hyperv = match self.hyperv {
            FeatureState::EnablePending => FeatureState::Enabled,
            FeatureState::DisablePending => FeatureState::Disabled,
            settled => settled,
        };
        self.winnat = self.hyperv == FeatureState::Enabled || self.winnat;
        // The block is gone once Hyper-V was off for a start.
        self.block &= self.hyperv == FeatureState::Enabled;
    }
}

/// A run that breaks off after so many writes and deeds; none left: it breaks off at the next.
struct Run<'a> {
    machine: &'a mut Machine,
    progress: &'a mut [Progress],
    left: usize,
}

impl Run<'_> {
    /// One write to the journal or one deed; false where the power fails before it.
    fn tick(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left > 0
    }

    /// Does one action at its step, as the host does: look, write down that it begins, do, write down that it is done.
    fn step(&mut self, step: usize, action: &Action) -> Option<()> {
        let Action::Windows(windows) = action else { panic!("{action}") };
        match decide(action, &self.machine.observe(windows)) {
            Decision::Changed(how) => panic!("{action}: {how}"),
            Decision::AlreadySo => {
                self.tick().then_some(())?;
                // What had begun was done by this plan.
                self.progress[step] = match &self.progress[step] {
                    Progress::Begun(action) => Progress::Done(action.clone()),
                    _ => Progress::Unneeded,
                };
            }
            Decision::Do(action) => {
                let Action::Windows(windows) = &action else { panic!("{action}") };
                self.tick().then_some(())?;
                self.progress[step] = Progress::Begun(action.clone());
                self.tick().then_some(())?;
                self.machine.perform(windows);
                // The one who restarts the machine does not live to write that down.
                (!matches!(windows, WindowsAction::Restart { .. })).then_some(())?;
                self.tick().then_some(())?;
                self.progress[step] = Progress::Done(action.clone());
            }
        }
        Some(())
    }

    /// Goes on until the plan is finished, or the run breaks off.
    fn forward(&mut self, plan: &Plan) -> Option<()> {
        loop {
            match next_step(plan, self.progress) {
                Next::Do(step, action) => self.step(step, &action)?,
                Next::Finished => return Some(()),
                Next::Undo(_) => panic!("nothing was undone"),
            }
        }
    }

    fn undo(&mut self) -> Option<()> {
        for step in still_to_undo(self.progress) {
            let (Progress::Begun(action) | Progress::Done(action)) = self.progress[step].clone() else {
                panic!("{step}")
            };
            if let Some(inverse) = action.inverse() {
                let Action::Windows(windows) = &inverse else { panic!("{inverse}") };
                if let Decision::Do(_) = decide(&inverse, &self.machine.observe(windows)) {
                    self.tick().then_some(())?;
                    self.machine.perform(windows);
                }
            }
            self.tick().then_some(())?;
            self.progress[step] = Progress::Undone;
        }
        Some(())
    }
}

fn dances() -> Vec<(Machine, Plan)> {
    let scope = Scope {
        transports: vec![Transport::Tcp],
        families: vec![Family::Ipv4],
        store: NetshStore::Persistent,
    };
    let wanted = [PortRange::new(1200, 1200).unwrap()];
    [
        (Machine::new(FeatureState::Enabled), Dance::RestartWinnat),
        (Machine::new(FeatureState::Enabled), Dance::CycleHyperv { by_itself: true }),
        (Machine::new(FeatureState::Disabled), Dance::CycleHyperv { by_itself: false }),
    ]
    .map(|(machine, dance)| {
        let to = ("reserve add", None, Place::default());
        let plan = plan_windows_reserve(
            &machine.snapshot(),
            &crate::change::Kept::default(),
            &wanted,
            &scope,
            dance,
            to,
        )
        .unwrap();
        (machine, plan)
    })
    .into()
}

/// Runs a plan until it has broken off after `ticks` writes and deeds; each restart of the machine goes on by itself.
fn broken_off(machine: &Machine, plan: &Plan, ticks: usize) -> (Machine, Vec<Progress>, bool) {
    let (mut machine, mut progress) = (machine.clone(), vec![Progress::Waiting; plan.steps.len()]);
    let mut left = ticks;
    loop {
        let before = machine.boot;
        let mut run = Run { machine: &mut machine, progress: &mut progress, left };
        let finished = run.forward(plan).is_some();
        left = run.left;
        if finished || machine.boot == before || left == 0 {
            return (machine, progress, finished);
        }
    }
}

fn finish(machine: &mut Machine, progress: &mut [Progress], plan: &Plan) {
    for _ in 0..10 {
        if (Run { machine, progress, left: usize::MAX }).forward(plan).is_some() {
            return;
        }
    }
    panic!("the plan does not come to its end: {progress:?}");
}

#[test]
fn interrupted_at_any_point_a_plan_comes_to_its_end_when_gone_on_with() {
    for (start, plan) in dances() {
        let mut broken = 0;
        for ticks in 1..100 {
            let (mut machine, mut progress, finished) = broken_off(&start, &plan, ticks);
            broken += u32::from(!finished);
            finish(&mut machine, &mut progress, &plan);
            assert_eq!(machine.exclusions, [PortRange::new(1200, 1200).unwrap()], "{ticks}");
            assert_eq!(
                (machine.hyperv, machine.winnat, machine.task),
                (start.hyperv, true, false),
                "{ticks}"
            );
            assert_eq!(next_step(&plan, &progress), Next::Finished);
        }
        assert!(broken > 5, "{} was broken off {broken} times only", plan.steps.len());
    }
}

#[test]
fn the_machine_restarted_by_somebody_else_in_the_middle_changes_nothing_about_that() {
    for (start, plan) in dances() {
        for ticks in 1..40 {
            let (mut machine, mut progress, _) = broken_off(&start, &plan, ticks);
            machine.restart();
            finish(&mut machine, &mut progress, &plan);
            assert_eq!(machine.exclusions.len(), 1, "{ticks}");
            assert_eq!(
                (machine.hyperv, machine.winnat, machine.task),
                (start.hyperv, true, false),
                "{ticks}"
            );
        }
    }
}

#[test]
fn interrupted_at_any_point_a_plan_can_be_undone_and_that_too_be_interrupted() {
    for (start, plan) in dances() {
        for ticks in 1..60 {
            for undo_ticks in 1..12 {
                let (mut machine, mut progress, _) = broken_off(&start, &plan, ticks);
                let mut first = Run { machine: &mut machine, progress: &mut progress, left: undo_ticks };
                if first.undo().is_none() && progress.contains(&Progress::Undone) {
                    assert_eq!(
                        next_step(&plan, &progress),
                        Next::Undo(still_to_undo(&progress)),
                        "undo goes on"
                    );
                }
                let mut rest = Run { machine: &mut machine, progress: &mut progress, left: usize::MAX };
                rest.undo().unwrap();
                // A feature that was turned back takes effect with the next start of Windows, whoever asks for it.
                machine.restart();
                assert_eq!(machine.exclusions, [], "{ticks} {undo_ticks}");
                assert_eq!(
                    (machine.hyperv, machine.winnat, machine.task),
                    (start.hyperv, true, false),
                    "{ticks} {undo_ticks}"
                );
            }
        }
    }
}

#[test]
fn steps_that_cancel_each_other_are_left_as_they_are() {
    let (_, plan) = dances().remove(0);
    let done = |step: usize| Progress::Done(plan.steps[step].action.clone());
    assert_eq!(still_to_undo(&[done(0), done(1), done(2)]), [1], "only the exclusion goes: WinNAT runs on");
    let begun = Progress::Begun(plan.steps[2].action.clone());
    assert_eq!(still_to_undo(&[done(0), done(1), begun]), [2, 1, 0]);
    assert_eq!(still_to_undo(&[done(0), Progress::Waiting, Progress::Waiting]), [0]);
    assert_eq!(whatever_happens(&plan, 0), [2]);
    assert_eq!(whatever_happens(&plan, 1), [2], "after a failed add WinNAT starts again");
    assert_eq!(whatever_happens(&plan, 2), [] as [usize; 0]);
}
