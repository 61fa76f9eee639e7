//! Typed targets, real wordings of real programs (`wordings.txt`: two lines add one), and hostile texts.

use super::{Asked, Call, Target, parse};
use crate::kernel::services::Services;

fn services() -> Services {
    Services::parse("http 80/tcp www\ndomain 53/tcp\ndomain 53/udp\ntftp 69/udp\n")
}

fn asked(text: &str) -> Asked {
    parse(text, &services()).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// `side transport host:port code call`, as the tables below write it; `*` is no host.
fn shown(asked: &Asked) -> String {
    let (side, transport, host, port) = match &asked.target {
        Target::Local(q) => ("local", q.transport, q.address.map(|a| a.to_string()), q.port),
        Target::Remote(r) => ("remote", r.transport, r.host.clone(), Some(r.port)),
    };
    let port = port.map_or("any".to_owned(), |port| port.to_string());
    let told = asked.told.as_ref().map_or(String::new(), |told| {
        let code = told.code.map_or("-", |code| code.name);
        let call = match told.call {
            Call::Bind => "bind",
            Call::Listen => "listen",
            Call::Connect => "connect",
            Call::Dial => "dial",
            Call::Unknown => "-",
        };
        format!(" {code} {call}")
    });
    format!("{side} {transport} {} {port}{told}", host.unwrap_or("*".into()))
}

/// Checks a table, and names every row that is wrong at once.
fn check(table: &[(&str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .filter_map(|(text, expected)| {
            let seen = parse(text, &services()).map_or_else(|e| format!("error: {e}"), |a| shown(&a));
            (seen != *expected).then(|| format!("{text}\n  expected {expected}\n  seen     {seen}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), table.len(), wrong.join("\n"));
}

#[test]
fn a_port_is_asked_about_as_it_is_typed() {
    check(&[
        ("8080", "local tcp * 8080"),
        (" 8080\n", "local tcp * 8080"),
        ("8080/udp", "local udp * 8080"),
        ("8080/TCP", "local tcp * 8080"),
        ("tcp/8080", "local tcp * 8080"),
        ("udp:53", "local udp * 53"),
        ("8080 udp", "local udp * 8080"),
        ("udp 8080", "local udp * 8080"),
        ("127.0.0.1:8080", "local tcp 127.0.0.1 8080"),
        ("[::1]:53/udp", "local udp ::1 53"),
        ("[fe80::1%eth0]:53", "local tcp fe80::1 53"),
        (":8080", "local tcp * 8080"),
        ("*:8080", "local tcp * 8080"),
        ("0.0.0.0:8080", "local tcp 0.0.0.0 8080"),
        (":::8080", "local tcp :: 8080"),
        ("localhost:8080", "local tcp 127.0.0.1 8080"),
        ("http://localhost:3000/app", "local tcp 127.0.0.1 3000"),
        ("udp://0.0.0.0:5353", "local udp 0.0.0.0 5353"),
        ("http", "local tcp * 80"),
        ("127.0.0.1:domain/udp", "local udp 127.0.0.1 53"),
        ("tftp", "local udp * 69"),
        ("any", "local tcp * any"),
        ("127.0.0.1:any/udp", "local udp 127.0.0.1 any"),
    ]);
    assert_eq!(asked("http").notes, ["http is 80/tcp"]);
    assert_eq!(asked("[fe80::1%eth0]:53").notes, ["the zone of fe80::1%eth0 is not looked at"]);
}

#[test]
fn what_is_no_target_gets_one_line_that_says_what_to_type() {
    for (text, message) in [
        ("", "nothing was asked; type a port, as in `portolan why 8080`"),
        ("0", "port 0 names no port; ports are 1 to 65535; type one, as in `portolan why 8080`"),
        ("70000", "port 70000 is too large; ports are 1 to 65535; type one, as in `portolan why 8080`"),
        ("80-20", "'80-20' is a range, and why asks about one port; type 80"),
        ("8080/sctp", "'sctp' is no transport; type 8080/tcp or 8080/udp"),
        ("127.0.0.1", "'127.0.0.1' names no port; add it, as in 127.0.0.1:8080"),
        ("[::1]", "'[::1]' names no port; add it, as in [::1]:8080"),
        ("::1", "'[::1]' names no port; add it, as in [::1]:8080"),
        ("::1:8080", "'::1:8080' may be an address alone; type [::1]:8080 for port 8080, or [::1:8080]:PORT"),
        ("2001:db8::ff", "'[2001:db8::ff]' names no port; add it, as in [2001:db8::ff]:8080"),
        ("[::1:8080", "'[::1:8080' lacks its ]; type [::1]:8080"),
        ("1:2:3", "'1:2:3' is no address and port; type [::1]:8080"),
        ("10.0.0.300:80", "'10.0.0.300' is no IPv4 address; type 127.0.0.1:8080"),
        (
            "htpp",
            "'htpp' is neither a port (1 to 65535) nor a known service; type one, as in `portolan why 8080`",
        ),
        (
            "example.com:443",
            "'example.com' is no address of this machine; type the port alone or address:port, as in \
             127.0.0.1:8080 (not example.com:443)",
        ),
        ("why does it fail", "no port is found in this text; type it, as in `portolan why 8080`"),
        (
            "EADDRINUSE",
            "the text tells of EADDRINUSE (98) but names no port; add it, as in `portolan why 8080`",
        ),
        (
            "アドレスは既に使用中です",
            "the text tells of EADDRINUSE (98) but names no port; add it, as in `portolan why 8080`",
        ),
    ] {
        assert_eq!(parse(text, &services()).unwrap_err().to_string(), message, "{text}");
    }
}

#[test]
fn every_wording_is_read_as_it_is_meant() {
    let mut texts = Vec::new();
    let mut text = String::new();
    for line in include_str!("wordings.txt").lines().filter(|line| !line.starts_with('#')) {
        if let Some(expected) = line.strip_prefix("=> ") {
            texts.push((std::mem::take(&mut text), expected));
        } else if !(text.is_empty() && line.is_empty()) {
            text.push_str(&line.replace('␛', "\u{1b}"));
            text.push('\n');
        }
    }
    assert!(text.is_empty(), "the last text lacks its =>: {text}");
    assert!(texts.len() >= 180, "{} wordings", texts.len());
    check(&texts.iter().map(|(text, expected)| (text.as_str(), *expected)).collect::<Vec<_>>());
}

#[test]
fn a_text_without_a_port_says_to_add_it() {
    let add = |code| format!("the text tells of {code} but names no port; add it, as in `portolan why 8080`");
    for (text, code) in [
        ("OSError: [Errno 98] Address already in use", "EADDRINUSE (98)"),
        ("PermissionError: [WinError 10013] An attempt was made", "WSAEACCES (10013)"),
        ("java.net.BindException: Address already in use (Bind failed)", "EADDRINUSE (98)"),
        ("Os { code: 98, kind: AddrInUse, message: \"Address already in use\" }", "EADDRINUSE (98)"),
        (
            "dnsmasq[99]: failed to create listening socket for 127.0.0.1: Address already in use",
            "EADDRINUSE (98)",
        ),
        ("2024-01-15 12:34:56 [4321] main.go:80: bind: Address already in use (v1.2.3)", "EADDRINUSE (98)"),
        (
            "at Net.java:555 line 80 pid 1234 fe80::1 aa:bb:cc:dd:ee:01 Address already in use",
            "EADDRINUSE (98)",
        ),
    ] {
        assert_eq!(parse(text, &services()).unwrap_err().to_string(), add(code), "{text}");
    }
    for text in [
        "java.net.ConnectException: Connection refused",
        "java.net.BindException: Cannot assign requested address: connect",
        "dial tcp: lookup db on 127.0.0.53:53: connect: connection refused",
        "dial unix /var/run/docker.sock: connect: permission denied",
    ] {
        let error = parse(text, &services()).unwrap_err().to_string();
        assert!(error.starts_with("the text tells of a connection that failed with "), "{error}");
        assert!(error.ends_with(" but names no remote port; paste the line that names HOST:PORT"), "{error}");
    }
}

#[test]
fn what_was_taken_for_granted_is_noted() {
    let two = "bind() to 0.0.0.0:80 failed (98: Address already in use)\nbind() to 0.0.0.0:443 failed (98: Address already in use)";
    assert_eq!(asked(two).notes, ["the text names other ports too: 443; ask for each by itself"]);
    assert_eq!(
        asked("TCP/UDP: Socket bind failed on local address [AF_INET][undef]:1194").notes,
        ["the text does not tell TCP from UDP; TCP is taken, else type 1194/udp"]
    );
    assert_eq!(
        asked("Failed to bind to address http://build7:5000: address already in use.").notes,
        ["the name build7 is not looked up; every address is asked about"]
    );
}

#[test]
fn the_line_of_the_error_is_kept_short() {
    let told = asked("starting\n  listen tcp :8080: bind: address already in use  \nbye").told.unwrap();
    assert_eq!(told.excerpt, "listen tcp :8080: bind: address already in use");
    let long = format!("port 80 address already in use {}", "é".repeat(1000));
    assert_eq!(asked(&long).told.unwrap().excerpt.chars().count(), 200);
}

#[test]
fn a_text_beyond_64_kib_is_read_up_to_there_and_says_so() {
    let late = format!("{}\nlisten tcp :8080: bind: address already in use", "é\n".repeat(40_000));
    assert!(parse(&late, &services()).is_err());
    let early = format!("listen tcp :8080: bind: address already in use\n{}", "é\n".repeat(40_000));
    assert_eq!(asked(&early).notes, ["only the first 64 KiB of the text were read"]);
}

#[test]
fn hostile_lines_of_64_kib_do_no_harm() {
    for piece in ["1:", "1.", "port ", "80 ", "[::1]:80 ", "'a', 1", "\u{1b}[", "::", "0x", "端口", "80端口"]
    {
        let text = piece.repeat(65_536 / piece.len());
        let _ = parse(&text, &services());
    }
}

#[test]
fn no_truncation_and_no_noise_makes_it_panic() {
    let line = "エラー (98: アドレス) dial tcp [fe80::1%eth0]:80->10.0.0.1:443/udp ('::', 8080) 端口８０ port=htons(1), 8080번 포트 <ipv4> 1433] |::1|:9 http-nio-8080";
    for (end, _) in line.char_indices() {
        let _ = parse(&line[..end], &services());
        let _ = parse(&line[end..], &services());
    }
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..5_000 {
        let mut bytes = Vec::new();
        for _ in 0..12 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(
                &state.to_le_bytes().map(|b| if b & 1 == 0 { b } else { b":[]'0189.-"[b as usize % 10] }),
            );
        }
        let _ = parse(&String::from_utf8_lossy(&bytes), &services());
    }
}
