//! `portolan trace --from FILE.etl`: what a Windows recorded is read on every system.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

fn recording(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/recordings/windows").join(name)
}

/// What it says, what it complains of, and its exit code.
fn trace(options: &[&str], file: &Path) -> (String, String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    let output =
        command.arg("trace").args(options).arg("--from").arg(file).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr), output.status.code())
}

#[test]
fn the_calls_that_failed_are_told_with_their_meaning() {
    let (said, errors, code) = trace(&[], &recording("winsock-afd-written.etl"));
    assert_eq!((errors.as_str(), code), ("", Some(0)));
    insta::assert_snapshot!(said, @r"
    2025-11-28 12:00:00.302 UTC  recorded by Windows 10.0.19045
    2025-11-28 12:00:00.302  svchost.exe (pid 880)  bind tcp 0.0.0.0:80  WSAEADDRINUSE  80/tcp is in use; type: portolan why 80
    2025-11-28 12:00:00.402  svchost.exe (pid 880)  bind tcp 0.0.0.0:50010  WSAEACCES  access denied: 50010 lies in a range that the system set aside, is held exclusively, or is another user's; type: portolan why 50010
    2025-11-28 12:00:00.900  svchost.exe (pid 880)  connect → [fe80::1]:443  given up  the program closed the socket after 0.4 s, before an answer came: it did not wait for one; type: portolan probe fe80::1 -p 443
    2025-11-28 12:00:01.204  leaker.exe (pid 4321)  connect tcp 0.0.0.0:49153 → 10.0.0.9:5433  WSAECONNREFUSED  10.0.0.9 refused: nobody listens on 5433 there, or a firewall rejects; type: portolan probe 10.0.0.9 -p 5433
    2025-11-28 12:00:03.002  leaker.exe (pid 4321)  bind tcp 0.0.0.0:0  WSAENOBUFS  no port of the ephemeral range was left to give to tcp; type: portolan budget --bind
    2025-11-28 12:00:03.102  leaker.exe (pid 4321)  bind tcp [::]:0  WSAENOBUFS  no port of the ephemeral range was left to give to tcp; type: portolan budget --bind
    2025-11-28 12:00:03.302  leaker.exe (pid 4321)  bind udp 0.0.0.0:0  WSAENOBUFS  no port of the ephemeral range was left to give to udp; type: portolan budget --bind --udp
    2025-11-28 12:00:03.302  seen: 7 calls (1 bind WSAEACCES, 1 bind WSAEADDRINUSE, 3 bind WSAENOBUFS, 1 connect WSAECONNREFUSED, 1 connect given up)
    ");
}

#[test]
fn json_has_each_call_and_a_filter_leaves_the_others_out() {
    let options = ["--json", "--all", "--name", "leaker.exe", "--call", "bind"];
    let (said, errors, code) = trace(&options, &recording("winsock-afd-written.etl"));
    assert_eq!((errors.as_str(), code), ("", Some(0)));
    let told: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(told.iter().all(|told| told["system"] == "windows" && told["way"] == "etw"), "{said}");
    let calls: Vec<&Value> = told.iter().flat_map(|told| told["calls"].as_array().unwrap()).collect();
    let errors: Vec<&Value> = calls.iter().map(|call| &call["error"]).collect();
    let full = Value::from("WSAENOBUFS");
    assert_eq!(errors, [&Value::Null, &Value::Null, &full, &full, &full]);
    assert!(calls.iter().all(|call| call["pid"] == 4321 && call["program"] == "leaker.exe"), "{said}");
    let (_, _, code) = trace(&["--count", "9", "--call", "listen"], &recording("winsock-afd-written.etl"));
    assert_eq!(code, Some(1), "there were fewer");
}

#[test]
fn what_is_no_trace_and_what_makes_no_sense_is_refused_in_one_line() {
    for (options, file, expected) in [
        (&[][..], "netstat-ano-en.txt", "this is no trace of Windows (.etl): BufferSize"),
        (&[], "nowhere.etl", "cannot open"),
        (&["--for", "1"], "winsock-afd-written.etl", "--for"),
        (&["--way", "bpf"], "winsock-afd-written.etl", "--way"),
    ] {
        let (said, errors, code) = trace(options, &recording(file));
        assert_eq!((said.as_str(), code), ("", Some(2)), "{errors}");
        assert!(errors.contains(expected), "{errors}");
    }
}
