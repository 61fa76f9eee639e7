//! `record --install`, `--uninstall` and `undo` on Windows: a task of the Task Scheduler, whose service the test plays: it
//! starts and ends what schtasks asks for, as real processes.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use super::wine::{Machine, Once};

const TASK: &str = "Portolan recorder";
const INTERVAL: Duration = Duration::from_millis(10);

/// Plays the scheduler's service while something goes on; what it started ends with it.
fn with_scheduler<T>(machine: &Machine, work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    let serve = || {
        let mut running: BTreeMap<String, Child> = BTreeMap::new();
        let end = |child: &mut Child| {
            let _ = child.kill();
            let _ = child.wait();
        };
        while !over.load(Ordering::Relaxed) {
            for (verb, task) in machine.asked_of_the_scheduler() {
                if let Some(mut child) = running.remove(&task) {
                    end(&mut child);
                }
                if verb == "/Run" {
                    let mut command = machine.command_of_task(&machine.state()["tasks"][&task]);
                    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
                    running.insert(task, child);
                }
            }
            sleep(INTERVAL);
        }
        running.values_mut().for_each(end);
    };
    scope(|threads| {
        threads.spawn(serve);
        // Whether it came to its end or failed: the service ends.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        over.store(true, Ordering::Relaxed);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// What lies beside the journal of a recorder that is set up.
fn files(machine: &Machine) -> Vec<&'static str> {
    let names = ["portolan-recorder.exe", "portolan-recorder.xml"];
    names.into_iter().filter(|name| machine.journal().join(name).exists()).collect()
}

#[test]
fn the_recorder_is_a_task_that_records_is_replaced_and_goes_and_its_file_stays() {
    let once = Once::new();
    let machine = Machine::new("en").with_the_system_s_journal(&once);
    let before = machine.seen();
    with_scheduler(&machine, || {
        let refused = machine.portolan_of_a_user("record --install --yes").with_code(1);
        assert!(refused.errors.contains("Run as administrator"), "{refused:#?}");
        assert_eq!((machine.seen(), files(&machine)), (before.clone(), vec![]));
        machine.portolan("record --install --interval 0.2 --yes").with_code(0);
        let task = machine.state()["tasks"][TASK].as_str().unwrap().to_owned();
        let words = r"record --interval 0.2 --keep 2d,31d,2y --max-size 256M --file &quot;C:\Program Files\Portolan\journal\history.db&quot;";
        for part in [
            r"journal\portolan-recorder.exe&quot;</Command>",
            &format!("<Arguments>{words}</Arguments>"),
            "<UserId>S-1-5-18<",
            "<RestartOnFailure>",
        ] {
            assert!(task.contains(part), "{part}: {task}");
        }
        let refused = machine.portolan("record --once").with_code(1);
        assert!(refused.errors.contains("another recorder"), "it records: {refused:#?}");
        let again = machine.portolan("record --install --interval 0.2 --yes").with_code(0);
        assert!(again.output.contains("it is so already"), "{again:#?}");
        let other = machine.portolan("record --install --interval 1 --yes --json").with_code(0);
        assert!(other.json()["steps"][0]["effects"].to_string().contains("+   <Actions"), "{other:#?}");
        assert_ne!(machine.state()["tasks"][TASK], task);
        machine.portolan("undo --yes").with_code(0);
        assert_eq!(machine.state()["tasks"][TASK], task);
        machine.portolan("record --uninstall --yes").with_code(0);
        assert_eq!((machine.seen(), files(&machine)), (before.clone(), vec![]));
        machine.portolan("record --once").with_code(0);
        machine.portolan("history").with_code(0);
        machine.portolan("undo --yes").with_code(0);
        assert_eq!((machine.state()["tasks"][TASK].as_str(), files(&machine).len()), (Some(&*task), 2));
        machine.portolan("undo 1 --yes").with_code(0);
        assert_eq!((machine.seen(), files(&machine)), (before.clone(), vec![]));
    });
}
