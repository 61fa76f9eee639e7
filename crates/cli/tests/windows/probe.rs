//! `portolan probe` on Windows: TCP and UDP ports of this machine, and a server that greets.

use std::net::{TcpListener, UdpSocket};

use serde_json::Value;

use super::says;

#[test]
fn ports_of_a_host_are_probed_and_servers_talked_to() {
    let greets = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = greets.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in greets.incoming() {
            let _ = std::io::Write::write_all(&mut stream.unwrap(), b"220 ready\r\n");
        }
    });
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let answers = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp = answers.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((_, from)) = answers.recv_from(&mut buffer) {
            let _ = answers.send_to(b"here", from);
        }
    });
    let ports = format!("{open},{closed},{udp}/udp");
    let report: Value =
        serde_json::from_str(&says(&["probe", "127.0.0.1", "-p", &ports, "--bare", "--json"], 1)).unwrap();
    let states: Vec<&str> = report["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["open", "closed", "open"], "{report:#}");
    let told = says(&["probe", &format!("127.0.0.1:{open}"), "--as", "banner"], 0);
    assert!(told.contains("220 ready"), "{told}");
}

#[test]
fn this_machine_answers_an_echo_request() {
    let report: Value = serde_json::from_str(&says(&["probe", "127.0.0.1", "--json"], 0)).unwrap();
    let echo = &report["hosts"][0]["addresses"][0]["echo"];
    assert_eq!((&echo["sent"], &echo["answers"]), (&4.into(), &4.into()), "{report}");
}
