//! `portolan portqry`, typed in namespaces: exit codes, wording, log files, interactive mode, local mode, watches. The
//! transcripts are those of Microsoft's help page and of version 1, with other names and addresses.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;

use portolan_testbed::servers::domain_controller;
use portolan_testbed::{Answer, Held, Namespace, program};

fn portqry(namespace: &Namespace, line: &str) -> Answer {
    Answer::of(namespace.command(program("portolan")).arg("portqry").args(line.split_whitespace()))
}

/// A file of this test's own, which is not there yet.
fn file(namespace: &Namespace, name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("{}.{name}", namespace.name()))
}

/// Drops what comes to these ports, TCP and UDP.
fn drop_ports(namespace: &Namespace, ports: &str) {
    let rules = format!(
        "table inet t {{\nchain c {{\ntype filter hook input priority 0;\ntcp dport {{ {ports} }} drop\n\
         udp dport {{ {ports} }} drop\n}}\n}}\n"
    );
    let mut child = namespace.command("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{rules}");
}

/// A UDP server that answers whatever comes with this.
fn answers(namespace: &Namespace, address: &str, reply: Vec<u8>) {
    let socket = namespace.run(|| UdpSocket::bind(address).unwrap());
    // Ends with this test program.
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            // An empty question is not one that such a server answers.
            if length > 0 {
                let _ = socket.send_to(&reply, from);
            }
        }
    });
}

#[test]
fn the_exit_code_is_0_for_listening_1_for_not_and_2_for_filtered() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "tcp-listen 127.0.0.1:80 udp 127.0.0.1:5000");
    drop_ports(&namespace, "7");
    for (line, code, word) in [
        ("-n 127.0.0.1 -nr -e 80", 0, "TCP port 80 (http service): LISTENING\n"),
        ("-n 127.0.0.1 -nr -e 81", 1, "TCP port 81 (unknown service): NOT LISTENING\n"),
        ("-n 127.0.0.1 -nr -e 7", 2, "TCP port 7 (echo service): FILTERED\n"),
        ("-n 127.0.0.1 -nr -p udp -e 5000", 2, "UDP port 5000 (unknown service): LISTENING or FILTERED\n"),
        ("-n 127.0.0.1 -nr -p udp -e 5001", 1, "UDP port 5001 (unknown service): NOT LISTENING\n"),
    ] {
        let told = portqry(&namespace, line).with_code(code);
        assert!(told.output.contains(word), "{told}");
        let quiet = portqry(&namespace, &format!("{line} -q")).with_code(code);
        assert_eq!((quiet.output.as_str(), quiet.errors.as_str()), ("", ""), "{quiet}");
    }
}

#[test]
fn both_transports_of_a_port_are_told_as_on_the_help_page() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "tcp-listen 127.0.0.1:80");
    let told = portqry(&namespace, "-n localhost -p both -e 80").with_code(1);
    let expected = "
Querying target system called:

 localhost

Attempting to resolve name to IP address...

Name resolved to 127.0.0.1

querying...

TCP port 80 (http service): LISTENING

UDP port 80 (unknown service): NOT LISTENING

";
    assert_eq!(told.output, expected, "{told}");
    let range = portqry(&namespace, "-n 127.0.0.1 -i -r 79;81").with_code(1);
    let expected = "
Querying target system called:

 127.0.0.1

querying...

TCP port 79 (finger service): NOT LISTENING

TCP port 80 (http service): LISTENING

TCP port 81 (unknown service): NOT LISTENING

";
    assert_eq!(range.output, expected, "{range}");
    let named = portqry(&namespace, "-n 127.0.0.1").with_code(0);
    assert!(named.output.contains("IP address resolved to localhost"), "{named}");
}

#[test]
fn what_a_service_says_first_and_an_answer_to_a_formatted_query_are_shown() {
    let namespace = Namespace::new();
    let mail = namespace.run(|| TcpListener::bind("127.0.0.1:25").unwrap());
    thread::spawn(move || {
        for stream in mail.incoming() {
            let _ = stream.unwrap().write_all(b"220 mail.lab.test ESMTP \x1b[2J\r\n");
        }
    });
    let told = portqry(&namespace, "-n 127.0.0.1 -nr -e 25").with_code(0);
    let part = "TCP port 25 (smtp service): LISTENING\n\nData returned from port:\n220 mail.lab.test ESMTP";
    assert!(told.output.contains(part) && !told.output.contains('\u{1b}'), "{told}");

    // MC-SQLR section 4.1's shape; ../shared/reference/portqry.md has what PortQry makes of it.
    let text = b"ServerName;SQL-Server1;InstanceName;MSSQLSERVER;IsClustered;No;Version;8.00.194;\
        tcp;1433;np;\\\\SQL-Server1\\pipe\\sql\\query;;";
    let length = u16::try_from(text.len()).unwrap().to_le_bytes();
    answers(&namespace, "127.0.0.1:1434", [&[5][..], &length, text].concat());
    let told = portqry(&namespace, "-n 127.0.0.1 -nr -p udp -e 1434").with_code(0);
    let expected = r"UDP port 1434 (ms-sql-m service): LISTENING or FILTERED

Sending SQL Server query to UDP port 1434...

Server's response:

ServerName SQL-Server1
InstanceName MSSQLSERVER
IsClustered No
Version 8.00.194
tcp 1433
np \\SQL-Server1\pipe\sql\query

==== End of SQL Server query response ====

UDP port 1434 is LISTENING
";
    assert!(told.output.contains(expected), "{told}");
    portqry(&namespace, "-n 127.0.0.1 -nr -p udp -e 1434 -q").with_code(0);
}

#[test]
fn a_domain_controller_tells_what_portqry_shows() {
    let (near, far) = (Namespace::new(), Namespace::new());
    near.link("10.9.0.1/24", &far, "10.9.0.2/24");
    let _server = domain_controller(&far, [10, 9, 0, 2].into());
    let ask = |line: &str| portqry(&near, &format!("-n 10.9.0.2 -nr {line}")).with_code(0).output;
    for (line, before) in [
        ("-e 389", "TCP port 389 (ldap service): LISTENING\n\nSending LDAP query to TCP port 389...\n"),
        (
            "-e 389 -p udp -sp 3001",
            "UDP port 389 (ldap service): LISTENING or FILTERED\nUsing ephemeral source port\n\nSending LDAP query to UDP port 389...\n",
        ),
    ] {
        let told = ask(line);
        assert!(told.contains(before), "{told}");
        for part in [
            "\nLDAP query response:\n\n\n",
            "currentdate: ",
            " (unadjusted GMT)\n",
            "\ndefaultNamingContext: DC=lab,DC=test\n",
            "\nsupportedLDAPVersion: 3\n",
            "\n======== End of LDAP query response ========\n",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
    let mapper = ask("-e 135");
    let before = "TCP port 135 (epmap service): LISTENING\nQuerying Endpoint Mapper Database...\nServer's response:\n\nUUID: ";
    assert!(mapper.contains(before), "{mapper}");
    let count = mapper.lines().filter(|line| line.starts_with("UUID: ")).count();
    assert!(count > 50 && mapper.contains("\nncacn_ip_tcp:0.0.0.0[135]"), "{mapper}");
    let end =
        format!("Total endpoints found: {count}\n\n==== End of RPC Endpoint Mapper query response ====\n");
    assert!(mapper.contains(&end), "{mapper}");
    let range = portqry(&near, "-n 10.9.0.2 -nr -r 134:135").with_code(1).output;
    assert!(
        range.contains("135 (epmap service): LISTENING\n") && !range.contains("Querying Endpoint"),
        "{range}"
    );
    let names = ask("-e 137 -p udp");
    for part in [
        "Attempting NETBIOS adapter status query to UDP port 137...\n\nServer's response: MAC address ",
        "\nUDP port 137 is LISTENING\n",
    ] {
        assert!(names.contains(part), "{names}");
    }
    assert!(
        ask("-e 53 -p udp").contains("Sending DNS query to UDP port 53...\n\nUDP port 53 is LISTENING\n")
    );
}

#[test]
fn one_line_and_code_99_tell_why_nothing_was_asked() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "udp 0.0.0.0:3000");
    for (line, part) in [
        ("-n no-such-host.invalid -e 80 -q", "cannot resolve 'no-such-host.invalid'"),
        ("-n 127.0.0.1 -e 70000", "type one from 1 to 65535"),
        ("-n 127.0.0.1 -r 90:80", "-r 1:1024"),
        ("-n 127.0.0.1 -e 80 --json", "'--json' is no option of PortQry"),
        ("-n 10.1.2.3 -nr -e 80 -q", "cannot ask 10.1.2.3: Network is unreachable"),
        ("-n 127.0.0.1 -nr -p udp -e 53 -sp 3000 -q", "3000"),
        ("-e 80", "portqry -n server -e 80"),
        ("-wport 22 -wpid 1", "-wport and -wpid exclude one another"),
    ] {
        let answer = portqry(&namespace, line).with_code(99);
        assert!(answer.errors.contains(part) && answer.errors.lines().count() == 1, "{line}: {answer}");
        assert!(answer.errors.starts_with("portqry: "), "{answer}");
    }
}

#[test]
fn a_log_has_what_was_said_and_another_file_is_not_lost() {
    let namespace = Namespace::new();
    let log = file(&namespace, "log");
    let path = log.display();
    let line = format!("-n 127.0.0.1 -nr -e 81 -l {path}");
    let told = portqry(&namespace, &line).with_code(1);
    let written = fs::read_to_string(&log).unwrap();
    assert!(written.starts_with("PortQry Version 2.0 Log File"), "{written}");
    assert!(written.contains(&format!("Command run:\n portqry {line}\n")), "{written}");
    assert!(written.contains("System Date: ") && written.contains("Local computer name:\n\n "), "{written}");
    assert!(written.contains(&told.output), "{written}");
    assert!(written.ends_with("========= end of log file =========\n"), "{written}");

    // Nobody is there to be asked: it stays.
    let refused = portqry(&namespace, &line).with_code(99);
    assert!(
        refused.errors.contains("exists and stays as it is") && refused.errors.lines().count() == 1,
        "{refused}"
    );
    portqry(&namespace, &format!("{line} -q")).with_code(99);
    assert_eq!(fs::read_to_string(&log).unwrap(), written);
    let typed = |answer: &str| {
        let mut command = namespace.command(program("portolan"));
        command.arg("portqry").args(line.split_whitespace());
        Answer::on_terminal(command, answer)
    };
    typed("n\n").with_code(99);
    assert_eq!(fs::read_to_string(&log).unwrap(), written);
    let asked = typed("y\n").with_code(1);
    assert!(asked.output.contains("exists. Overwrite it? (y/n)"), "{asked}");
    fs::write(&log, "something else").unwrap();
    portqry(&namespace, &format!("{line} -y")).with_code(1);
    assert!(fs::read_to_string(&log).unwrap().starts_with("PortQry Version 2.0 Log File"));
    // With -q the screen is empty, and the log is not.
    portqry(&namespace, &format!("{line} -y -q")).with_code(1);
    assert!(fs::read_to_string(&log).unwrap().contains("NOT LISTENING"));
    fs::remove_file(&log).unwrap();
    let nowhere = portqry(&namespace, "-n 127.0.0.1 -l /no/such/folder/log.txt").with_code(99);
    assert!(nowhere.errors.contains("name another one with -l"), "{nowhere}");
}

#[test]
fn a_program_called_portqry_needs_no_command() {
    let namespace = Namespace::new();
    let link = file(&namespace, "folder");
    fs::create_dir(&link).unwrap();
    symlink(program("portolan"), link.join("portqry")).unwrap();
    let run = |line: &str| Answer::of(namespace.command(link.join("portqry")).args(line.split_whitespace()));
    let told = run("-n 127.0.0.1 -nr -e 81").with_code(1);
    assert!(told.output.contains("NOT LISTENING"), "{told}");
    assert!(run("").with_code(0).output.starts_with("portqry: whether ports"));
    run("--help").with_code(0);
    fs::remove_dir_all(&link).unwrap();
}

#[test]
fn ctrl_c_keeps_what_was_found_and_the_log_whole() {
    let namespace = Namespace::new();
    drop_ports(&namespace, "8000-9999");
    let log = file(&namespace, "broken");
    let listener = namespace.run(|| TcpListener::bind("127.0.0.1:7999").unwrap());
    let mut command = namespace.command(program("portolan"));
    let child = command
        .args(["portqry", "-n", "127.0.0.1", "-nr", "-r", "7999:9999", "-l"])
        .arg(&log)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Until the first questions are out: the listener has been connected to.
    listener.accept().unwrap();
    let pid = child.id().to_string();
    assert!(namespace.command("kill").args(["-INT", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let (told, errors) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(
        (output.status.code(), errors.as_str()),
        (Some(99), "portqry: broken off: not everything was asked\n")
    );
    assert!(told.contains("TCP port 7999 (unknown service): LISTENING"), "{told}");
    let written = fs::read_to_string(&log).unwrap();
    assert!(written.contains(&told) && written.contains("broken off"), "{written}");
    assert!(written.ends_with("========= end of log file =========\n"), "{written}");
    fs::remove_file(&log).unwrap();
}

#[test]
fn a_source_port_is_the_one_that_a_server_sees() {
    let namespace = Namespace::new();
    let socket = namespace.run(|| UdpSocket::bind("127.0.0.1:5000").unwrap());
    let seen = thread::spawn(move || {
        let mut buffer = [0; 64];
        let (_, from) = socket.recv_from(&mut buffer).unwrap();
        let _ = socket.send_to(b"here", from);
        from.port()
    });
    portqry(&namespace, "-n 127.0.0.1 -nr -p udp -e 5000 -sp 3000").with_code(0);
    assert_eq!(seen.join().unwrap(), 3000);
    let mail = namespace.run(|| TcpListener::bind("127.0.0.1:25").unwrap());
    thread::spawn(move || {
        for stream in mail.incoming() {
            let _ = stream.unwrap().write_all(b"220 ready\r\n");
        }
    });
    let told = portqry(&namespace, "-n 127.0.0.1 -nr -o 25,26,27 -sp 3001").with_code(1);
    assert!(told.output.contains("Data returned from port:\n220 ready\n"), "{told}");
    assert!(told.output.contains("TCP port 27 (unknown service): NOT LISTENING"), "{told}");
}

#[test]
fn interactive_mode_asks_for_shortcuts_and_goes_on_after_mistakes() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "tcp-listen 127.0.0.1:110");
    let mut command = namespace.command(program("portolan"));
    let mut child = command
        .args(["portqry", "-i"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let typed = b"help\nset nr\nset all\nnode no-such-host.invalid\nq\nn 127.0.0.1\nset e=0\nq mail\nset e=110\nq\nexit\n";
    child.stdin.take().unwrap().write_all(typed).unwrap();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    for part in [
        "Portqry Interactive Mode",
        "Default Node: 127.0.0.1",
        "source port= 0 (ephemeral)",
        "cannot resolve 'no-such-host.invalid'",
        "'0' is no port",
        "TCP port 25 (smtp service): NOT LISTENING",
        "TCP port 110 (pop3 service): LISTENING",
        "TCP port 143 (imap2 service): NOT LISTENING",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(told.matches("TCP port 110 (pop3 service): LISTENING").count(), 2, "{told}");

    // Ctrl+C at the prompt, also after a query has taken it for itself.
    let mut command = namespace.command(program("portolan"));
    command.args(["portqry", "-i", "-n", "127.0.0.1"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.as_mut().unwrap().write_all(b"q pop3\n").unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("(pop3 service): LISTENING")));
    let pid = child.id().to_string();
    assert!(namespace.command("kill").args(["-INT", &pid]).status().unwrap().success());
    assert!(child.wait().unwrap().code().is_some());
}

#[test]
fn this_machines_ports_are_listed_with_their_processes() {
    let namespace = Namespace::new();
    let held = Held::new(&namespace, "tcp-listen 127.0.0.1:8080 udp 127.0.0.1:5353");
    let told = portqry(&namespace, "-local -v").with_code(0).output;
    for part in [
        "TCP/UDP Port to Process Mappings\n\n2 mappings found\n",
        "TCP 8080",
        "UDP 5353",
        "TCP mappings: 1\nUDP mappings: 1\n",
        "TCP ports in a LISTENING state: 1 = 100.00%\n",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let loaded = told.split("Loaded modules:\n").nth(1).unwrap_or_default();
    assert!(loaded.lines().next().is_some_and(|line| line.contains("/testbed (0x")), "{told}");
    assert!(told.contains("Process ID: ") && told.contains("(testbed)"), "{told}");
    drop(held);
}

#[test]
fn a_watch_tells_what_changes_and_ctrl_c_leaves_a_whole_log() {
    let namespace = Namespace::new();
    let log = file(&namespace, "watch");
    let listener = namespace.run(|| TcpListener::bind("127.0.0.1:8080").unwrap());
    let mut command = namespace.command(program("portolan"));
    let mut child = command
        .args(["portqry", "-wport", "8080", "-wt", "1", "-l"])
        .arg(&log)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("TCP mappings: 1")), "the first look");
    let _stream = namespace.run(|| TcpStream::connect("127.0.0.1:8080").unwrap());
    assert!(lines.any(|line| line.starts_with("new: ") && line.ends_with("ESTABLISHED")), "the change");
    let pid = child.id().to_string();
    assert!(namespace.command("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let written = fs::read_to_string(&log).unwrap();
    assert!(written.contains("Watching port: 8080") && written.contains("\nnew: "), "{written}");
    assert!(written.ends_with("========= end of log file =========\n"), "{written}");
    fs::remove_file(&log).unwrap();
    drop(listener);
}

#[test]
fn esc_alone_ends_a_watch_on_a_terminal_whose_mode_is_restored() {
    let namespace = Namespace::new();
    // script(1) gives it a terminal; what stty says comes afterwards.
    let line =
        format!("'{}' portqry -wport 8080 -wt 600; echo code $?; stty -a", program("portolan").display());
    let mut command = namespace.command("script");
    command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("Esc or Ctrl+C ends it")), "the watch begins");
    assert!(lines.any(|line| line.starts_with("TCP mappings")), "the first look");
    input.write_all(b"\x1b").unwrap();
    let rest = lines.collect::<Vec<_>>().join("\n");
    assert!(rest.contains("The watch has ended") && rest.contains("code 0"), "{rest}");
    assert!(rest.contains(" icanon") && rest.contains(" echo "), "{rest}");
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");
}

#[test]
fn an_unknown_process_is_watched_and_said_to_be_none() {
    let namespace = Namespace::new();
    let held = Held::new(&namespace, "tcp-listen 127.0.0.1:8080");
    let (nobody, somebody) = ("4194303".to_owned(), std::process::id().to_string());
    for (pid, is_told) in [(nobody, true), (somebody, false)] {
        let mut command = namespace.command(program("portolan"));
        command.args(["portqry", "-wpid", &pid, "-wt", "600"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let first = lines.by_ref().take_while(|line| !line.starts_with("TCP mappings")).collect::<Vec<_>>();
        let told = first.iter().any(|line| line.starts_with(&format!("No process has the ID {pid}")));
        assert_eq!(told, is_told, "{first:?}");
        // Where the input is no terminal Esc in it ends the watch.
        child.stdin.take().unwrap().write_all(b"\x1b").unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
    drop(held);
}
