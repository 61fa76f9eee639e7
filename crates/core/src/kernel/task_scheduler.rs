//! Start-up tasks in the words of Windows' task scheduler: the XML that `schtasks /Create /XML` takes.
//!
//! Source: [MS-TSCH] 2.5 (the schema of tasks), Microsoft's pages on the Task Scheduler schema. It runs as SYSTEM (S-1-5-18)
//! at each start, on battery too, as long as it takes; its delay leaves Windows the time to end what the restart was
//! for. Left out on purpose: everything that is as wanted when it is not written.

/// The XML of a task that runs `program` with `arguments` once at each start of the system, [`encoded`].
pub fn start_up_task(program: &str, arguments: &str, description: &str) -> Vec<u8> {
    encoded(&task((program, arguments), description, "<Delay>PT1M</Delay>", ""))
}

/// The XML of a task that runs the recorder from each start of the system on, and starts it again where it failed.
pub fn recorder_task(program: &str, arguments: &str) -> String {
    let again = "<RestartOnFailure><Interval>PT1M</Interval><Count>999</Count></RestartOnFailure>\n    <Priority>8</Priority>\n    ";
    let description = "Records who uses the ports; portolan record --uninstall removes it.";
    task((program, arguments), description, "", again)
}

/// A text as schtasks takes it from a file: UTF-16 with a mark, the one encoding that every schtasks takes.
pub fn encoded(text: &str) -> Vec<u8> {
    std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

/// Arguments as one line that a program of Windows parts again (CommandLineToArgvW). No path there has a quotation mark.
pub fn command_line(arguments: &[String]) -> String {
    let word = |word: &String| match word.is_empty() || word.contains([' ', '\t']) {
        true => format!("\"{word}\""),
        false => word.clone(),
    };
    arguments.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn task((program, arguments): (&str, &str), description: &str, delay: &str, settings: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo><Description>{}</Description></RegistrationInfo>
  <Triggers><BootTrigger><Enabled>true</Enabled>{delay}</BootTrigger></Triggers>
  <Principals><Principal id="System"><UserId>S-1-5-18</UserId><RunLevel>HighestAvailable</RunLevel></Principal></Principals>
  <Settings>
    {settings}<MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
  </Settings>
  <Actions Context="System"><Exec><Command>{}</Command><Arguments>{}</Arguments></Exec></Actions>
</Task>
"#,
        escaped(description),
        escaped(&format!("\"{program}\"")),
        escaped(arguments)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::text::decoded;

    #[test]
    fn a_task_runs_its_program_as_the_system_at_each_start_on_battery_too() {
        let task = start_up_task(r"C:\Program Files\A & B\p.exe", "resume 3 --yes", "plan <3>");
        assert_eq!(task[..2], [0xff, 0xfe]);
        let text = decoded(&task);
        for part in [
            r"<Command>&quot;C:\Program Files\A &amp; B\p.exe&quot;</Command><Arguments>resume 3 --yes</Arguments>",
            "<BootTrigger>",
            "<UserId>S-1-5-18</UserId>",
            "<DisallowStartIfOnBatteries>false<",
            "plan &lt;3&gt;",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }

    #[test]
    fn a_recorder_is_started_again_where_it_failed_and_its_words_come_apart_as_they_were() {
        let words = ["record", "--file", r"C:\Program Files\h.db"].map(str::to_owned);
        let task = recorder_task(r"C:\p.exe", &command_line(&words));
        assert_eq!(decoded(&encoded(&task)), task);
        for part in [
            r"<Arguments>record --file &quot;C:\Program Files\h.db&quot;</Arguments>",
            "<RestartOnFailure>",
            "<BootTrigger><Enabled>true</Enabled></BootTrigger>",
        ] {
            assert!(task.contains(part), "{part} is not in {task}");
        }
    }
}
