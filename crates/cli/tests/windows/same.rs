//! The same from a `cmd` line as elsewhere: every reading command ends with the code that is promised for every system, and
//! writes JSON that the program's own schema, which is one for both systems, describes.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Scratch, free_port, listener, portolan, run, says};

/// Runs a line of `cmd` in which `portolan` stands for the program.
fn typed(line: &str, scratch: &Scratch) -> (Option<i32>, String) {
    let mut command = Command::new("cmd");
    let folder = std::path::Path::new(env!("CARGO_BIN_EXE_portolan")).parent().unwrap();
    let path = format!("{};{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    command.args(["/d", "/c", line]).env("PATH", path).env("PORTOLAN_STATE", scratch.path("state"));
    command.stdin(Stdio::null());
    let output = run(command);
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

/// The schema of a command, made by the program itself.
fn schema(command: &str) -> Value {
    serde_json::from_str(&says(&["schema", command], 0)).unwrap()
}

#[track_caller]
fn assert_described(command: &str, text: &str) {
    let value: Value =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{command}: {error}: {text}"));
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("schema.json", schema(command)).unwrap();
    let index = compiler.compile("schema.json", &mut schemas).unwrap();
    schemas.validate(&value, index).unwrap_or_else(|error| panic!("{command}: {error}"));
}

#[test]
fn a_cmd_line_gives_the_promised_codes_and_json_that_the_schema_describes() {
    let scratch = Scratch::new("same");
    let (_listener, address) = listener();
    let (held, free) = (address.port().to_string(), free_port());
    let unused = TcpListener::bind("127.0.0.1:0").unwrap();
    let waited = unused.local_addr().unwrap().port();
    let lines = [
        ("chart", "--json".to_owned(), 0),
        ("list", "list --listening --json".to_owned(), 0),
        ("who", format!("who {held} --json"), 0),
        ("who", format!("who {free} --json"), 1),
        ("why", format!("why {address} --json"), 1),
        ("why", format!("why {free} --json"), 0),
        ("pick", "pick --count 3 --json".to_owned(), 0),
        ("wait", format!("wait {waited} --for listening --timeout 20 --json"), 0),
        ("wait", format!("wait {waited} --for free --timeout 0 --json"), 1),
        ("hold", format!("hold {free} --for 0 --json"), 0),
        ("snapshot", format!("snapshot --out {} --json", scratch.path("seen.json")), 0),
        ("who", format!("who {held} --from {} --json", scratch.path("seen.json")), 0),
        ("explain", "explain held-by-process --json".to_owned(), 0),
    ];
    for (command, words, code) in lines {
        let (ended, output) = typed(&format!("portolan {words}"), &scratch);
        assert_eq!(ended, Some(code), "portolan {words}: {output}");
        assert_described(command, &output);
    }
    for misuse in ["who", "why 70000", "list --port x", "no-such-command", "pick --count 0"] {
        assert_eq!(typed(&format!("portolan {misuse}"), &scratch).0, Some(2), "portolan {misuse}");
    }
}

#[test]
fn tracing_where_nothing_hands_events_out_is_refused_with_what_works_anyway() {
    let output = run(portolan(&["trace", "--for", "3"]));
    let errors = String::from_utf8(output.stderr).unwrap();
    // A real Windows traces for an administrator; Wine's event tracing hands nothing out.
    if output.status.code() == Some(0) {
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("Event Tracing for Windows"), "{said}");
        return;
    }
    assert_eq!((output.status.code(), errors.trim_end().lines().count()), (Some(2), 1), "{errors}");
    assert!(errors.contains("administrator") || errors.contains("--from FILE.etl"), "{errors}");
}
