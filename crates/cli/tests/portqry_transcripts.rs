//! The transcripts of PortQry 1 against real servers: each line of them comes out alike and in its order; names, addresses
//! and what a server says of itself aside. Version 2 prints more between them.
#![cfg(target_os = "linux")]

use portolan_testbed::servers::domain_controller;
use portolan_testbed::{Answer, Held, Namespace, program};

/// What was typed, and what came out. Source: transcripts of PortQry 1 in public articles, as gathered in
/// ../shared/reference/captures/portqry-v1.txt. The servers had other names; of two endpoints of one shape the first is
/// here.
const WEB: (&str, &str) = (
    "-p both -e 80",
    "
Querying target system called:

server01

Attempting to resolve name to IP address...

Name resolved to 192.168.0.13


TCP port 80 (http service): LISTENING

UDP port 80 (unknown service): NOT LISTENING
",
);
const MAPPER: (&str, &str) = (
    "-p both -e 135",
    r"
Querying target system called:

server01

Attempting to resolve name to IP address...

Name resolved to 192.168.0.13


TCP port 135 (epmap service): LISTENING
Querying Endpoint Mapper Database...
Server's response:

UUID: 8cfb5d80-31a4-11cf-a7d8-00805f48a135
ncacn_np:\\\\SERVER[\\PIPE\\SMTPSVC]

UUID: ecec0e70-a603-11d0-96b1-00a0c92ece31 NTDS Backup Interface
ncalrpc:[LRPC00000118.00000001]
",
);
const DIRECTORY: (&str, &str) = (
    "-p both -e 389",
    "
Querying target system called:

server01

Attempting to resolve name to IP address...

Name resolved to 192.168.0.13


TCP port 389 (ldap service): LISTENING

Sending LDAP query to TCP port 389...

LDAP query response:


currentdate: 07/10/2003 04:14:31 (unadjusted GMT)
subschemaSubentry: CN=Aggregate,CN=Schema,CN=Configuration,DC=d-advantage,DC=com
dsServiceName: CN=NTDS Settings,CN=SERVER,CN=Servers,CN=Digital-Advantage-Headquarters,CN=Sites,CN=Configuration,DC=d-dvantage,DC=com
namingContexts: CN=Schema,CN=Configuration,DC=d-advantage,DC=com
defaultNamingContext: DC=d-advantage,DC=com
schemaNamingContext: CN=Schema,CN=Configuration,DC=d-advantage,DC=com
",
);

/// What of a line does not depend on the server; for a verdict, or words of PortQry's own, that is all of it.
fn fixed(line: &str) -> &str {
    let labels = ["Name resolved to ", "UUID: ", "ncacn_np:", "ncalrpc:["];
    let label = labels.into_iter().find(|label| line.starts_with(label)).map(str::len);
    &line[..label.or_else(|| attribute(line)).unwrap_or(line.len())]
}

/// The end of an attribute's name.
fn attribute(line: &str) -> Option<usize> {
    line.find(": ").filter(|_| !line.contains(" port ")).map(|at| at + 2)
}

/// Asks the server there for what was typed then; every line that came out comes out again, in its order, which is a
/// directory's own for its attributes.
fn assert_alike(namespace: &Namespace, address: &str, (typed, transcript): (&str, &str)) {
    let hosts = std::env::temp_dir().join(format!("{}.hosts", namespace.name()));
    std::fs::write(&hosts, format!("{address} server01\n")).unwrap();
    let mut command = namespace.command("unshare");
    command.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]).arg(&hosts);
    command.arg(program("portolan")).args(["portqry", "-n", "server01"]).args(typed.split(' '));
    let answer = Answer::of(&mut command);
    std::fs::remove_file(&hosts).unwrap();
    let mut rest = answer.output.lines().map(str::trim);
    for line in transcript.lines().filter(|line| !line.is_empty()) {
        let part = fixed(line);
        let is_it = |told: &str| if part == line { told == part } else { told.starts_with(part) };
        let found = match attribute(part) {
            Some(_) if !part.starts_with("UUID") => rest.clone().any(is_it),
            _ => rest.any(is_it),
        };
        assert!(found, "not there, or not after what comes before it: {line}\n{answer}");
    }
}

#[test]
fn both_transports_of_a_web_server() {
    let namespace = Namespace::new();
    let _held = Held::new(&namespace, "tcp-listen 127.0.0.1:80");
    assert_alike(&namespace, "127.0.0.1", WEB);
}

#[test]
fn the_endpoint_mapper_and_the_directory_of_a_domain_controller() {
    let (near, far) = (Namespace::new(), Namespace::new());
    near.link("10.9.0.1/24", &far, "10.9.0.2/24");
    let _server = domain_controller(&far, [10, 9, 0, 2].into());
    assert_alike(&near, "10.9.0.2", MAPPER);
    assert_alike(&near, "10.9.0.2", DIRECTORY);
}
