//! `portqry` on Windows, by its own name: exit codes, wording, the log, this machine's ports.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use super::{free_port, listener, run, says};

#[test]
fn portqry_answers_as_the_program_that_it_takes_the_place_of() {
    let folder = std::env::temp_dir().join(format!("portqry-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("PortQry.exe");
    fs::copy(super::program(), &program).unwrap();
    let portqry = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.args(arguments).stdin(Stdio::null());
        let output = run(command);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (_listener, address) = listener();
    let (open, closed) = (address.port().to_string(), free_port());
    let quiet = |port: &str| portqry(&["-n", "127.0.0.1", "-nr", "-e", port, "-q"]);
    assert_eq!(quiet(&open), (Some(0), String::new()));
    assert_eq!(quiet(&closed), (Some(1), String::new()));
    let log = folder.join("log.txt");
    let (code, told) = portqry(&["-n", "localhost", "-e", &open, "-l", log.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains(&format!("TCP port {open} (unknown service): LISTENING\n")), "{told}");
    let written = fs::read_to_string(&log).unwrap();
    assert!(written.contains(&told) && written.contains("end of log file"), "{written}");
    let (code, _) = portqry(&["-n", "localhost", "-e", &open, "-l", log.to_str().unwrap()]);
    assert_eq!((code, fs::read_to_string(&log).unwrap()), (Some(99), written));
    assert_eq!(portqry(&["-n", "no-such-host.invalid", "-e", "80"]).0, Some(99));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_ports_of_this_machine_are_listed_with_their_processes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let told = says(&["portqry", "-local", "-v"], 0);
    let port = format!("TCP {}", listener.local_addr().unwrap().port());
    let own = format!("{}:", std::process::id());
    assert!(told.lines().any(|line| line.starts_with(&own) && line.contains(&port)), "{told}");
    assert!(told.contains("Loaded modules:\n"), "{told}");
    assert!(told.contains("Port Statistics\n\nTCP mappings: "), "{told}");
}
