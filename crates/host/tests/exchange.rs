//! Conversations over real sockets: servers that answer, refuse, drip, flood, say nothing or rubbish.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use portolan_core::answer::{Answer, Fields};
use portolan_core::probe::{self, Event, Request, Session, Step, Via};
use portolan_host::Namespace;
use portolan_host::exchange::{Agenda, Contact, Manner, Next, Talk, Told, exchange};

/// Some conversations at once, and what came of them by key.
struct Several(Vec<Talk>, Vec<Told>);

impl Agenda for Several {
    fn next(&mut self, _: Instant) -> Next {
        self.0.pop().map_or(Next::Nothing, |talk| Next::Talk(Box::new(talk)))
    }

    fn over(&mut self, told: Told, _: Instant) {
        self.1.push(told);
    }
}

fn hold(manner: &Manner, talks: Vec<Talk>) -> Vec<Told> {
    let mut agenda = Several(talks, Vec::new());
    exchange(&Namespace::Own, manner, &mut agenda, &AtomicBool::new(false)).unwrap();
    agenda.1.sort_by_key(|told| told.key);
    agenda.1
}

/// For what does not answer: whatever does may take longer than that on a busy machine.
fn quick() -> Manner {
    Manner { wait: Some(Duration::from_millis(300)), ..Manner::default() }
}

fn request(to: SocketAddr, via: Via) -> Request {
    let (host, address, port) = (to.ip().to_string(), to.ip(), to.port());
    Request { host, address, port, via, settings: Vec::new(), seed: [3; 32], now_ms: 1_750_000_000_000 }
}

fn talk(protocol: &str, to: SocketAddr, via: Via) -> Talk {
    let session = (probe::protocol(protocol).unwrap().start)(&request(to, via));
    Talk { key: 0, host: to.ip().to_string(), to, via, tries: 2, pace: None, wait: None, session }
}

/// One conversation.
fn one(manner: &Manner, talk: Talk) -> Told {
    let mut told = hold(manner, vec![talk]);
    assert_eq!(told.len(), 1);
    told.remove(0)
}

/// A TCP server that treats its one client so.
fn server(treat: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || treat(listener.accept().unwrap().0));
    address
}

/// An answer to a DNS question: the question again, with a flag and no records.
fn dns_answer(question: &[u8]) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2] |= 0x80;
    answer
}

fn banner_answer(told: &Told) -> Option<String> {
    told.answer.as_ref().ok().and_then(|answer| answer.fields.text("banner").map(str::to_owned))
}

#[test]
fn a_banner_is_heard_and_a_conversation_over_tcp_is_held() {
    let greeting = server(|mut stream| stream.write_all(b"220 ready\r\n").unwrap());
    let told = one(&quick(), talk("banner", greeting, Via::Tcp));
    assert_eq!((told.contact, banner_answer(&told).as_deref()), (Contact::Answered, Some("220 ready")));
    let dns = server(|mut stream| {
        for _ in 0..2 {
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut question = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut question).unwrap();
            stream.write_all(&length).unwrap();
            // In two pieces.
            thread::sleep(Duration::from_millis(20));
            stream.write_all(&dns_answer(&question)).unwrap();
        }
    });
    let told = one(&quick(), talk("dns", dns, Via::Tcp));
    assert_eq!(told.answer.unwrap().summary, "a name server (NOERROR)");
}

#[test]
fn a_lost_datagram_is_sent_again_and_an_answer_from_another_port_is_heard() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = socket.local_addr().unwrap();
    thread::spawn(move || {
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut buffer = [0; 512];
        // The first try of the first question is lost, and so is every second question.
        for round in 0.. {
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            if round == 1 {
                other.send_to(&dns_answer(&buffer[..length]), from).unwrap();
            }
        }
    });
    let told = one(&quick(), talk("dns", to, Via::Udp));
    assert_eq!((told.contact, told.tries), (Contact::Answered, 2));
    assert_eq!(told.answer.unwrap().summary, "a name server (NOERROR)");
}

#[test]
fn silence_takes_its_tries_and_no_longer() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let started = Instant::now();
    let told = one(&quick(), talk("dns", socket.local_addr().unwrap(), Via::Udp));
    assert_eq!((told.contact, told.tries, told.round_trip), (Contact::Silent, 2, None));
    assert_eq!(told.answer.unwrap_err(), "it did not answer");
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_refused_connection_says_so() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = one(&quick(), talk("banner", port, Via::Tcp));
    assert!(matches!(told.contact, Contact::Refused { .. }), "{told:?}");
    assert!(told.answer.is_err());
}

/// Waits for a line of text for ever.
struct Endless;

impl Session for Endless {
    fn hello(&mut self) -> Step {
        Step::Send(b"hello\n".to_vec())
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Closed { data } => {
                let length = u32::try_from(data.len()).unwrap();
                Step::Done(Answer::new("endless", "over", Fields::new().with("length", length)))
            }
            _ => Step::More,
        }
    }
}

fn endless(to: SocketAddr, via: Via) -> Talk {
    Talk {
        key: 0,
        host: "server.example".into(),
        to,
        via,
        tries: 1,
        pace: None,
        wait: None,
        session: Box::new(Endless),
    }
}

fn length(told: &Told) -> i64 {
    match told.answer.as_ref().unwrap().fields.value("length") {
        Some(portolan_core::answer::Value::Number(length)) => *length,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_that_drips_costs_bounded_time() {
    let drip = server(|mut stream| {
        while stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
    });
    let silent = server(|stream| {
        let _ = (&stream).read(&mut [0; 100]);
        thread::sleep(Duration::from_secs(20));
    });
    let started = Instant::now();
    let mut told = hold(&quick(), vec![endless(drip, Via::Tcp), endless(silent, Via::Tcp)]);
    // Five waits of 0.3 s.
    assert!((1400..8000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    told.sort_by_key(length);
    assert_eq!(length(&told[0]), 0);
    assert!((5..30).contains(&length(&told[1])), "{told:?}");
}

#[test]
fn a_server_that_floods_costs_bounded_memory() {
    let flood = server(|mut stream| {
        let bytes = vec![b'x'; 1 << 20];
        let started = Instant::now();
        // A gibibyte, were anybody to take it.
        let sent = (0..1024).take_while(|_| stream.write_all(&bytes).is_ok()).count();
        assert!(sent < 64, "{sent} MiB were taken in {:?}", started.elapsed());
    });
    let told = one(&Manner::default(), endless(flood, Via::Tcp));
    let most = i64::try_from(probe::BYTE_BUDGET + 16 * 1024).unwrap();
    assert!(length(&told) <= most, "{}", length(&told));
}

#[test]
fn what_is_no_tls_is_told_as_that() {
    let rubbish = server(|mut stream| {
        let _ = stream.write_all(b"SSH-2.0-rubbish\r\n");
        let _ = stream.read(&mut [0; 1000]);
    });
    let told = one(&Manner::default(), talk("banner", rubbish, Via::Tls));
    assert_eq!(
        (told.contact, told.answer.unwrap_err().as_str()),
        (Contact::Answered, "what it sends is no TLS")
    );
    let hangs_up = server(drop);
    let told = one(&Manner::default(), talk("banner", hangs_up, Via::Tls));
    assert_eq!(told.answer.unwrap_err(), "it closed the connection");
    let mute = server(|stream| {
        thread::sleep(Duration::from_secs(20));
        drop(stream);
    });
    let started = Instant::now();
    assert!(one(&quick(), talk("banner", mute, Via::Tls)).answer.is_err());
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_cancelled_exchange_ends_soon() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let cancel = AtomicBool::new(false);
    let started = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(200));
            cancel.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        // To its end it would take twenty seconds.
        let pace = Some(Duration::from_secs(1));
        let talk = Talk { tries: 20, pace, ..talk("dns", socket.local_addr().unwrap(), Via::Udp) };
        let mut agenda = Several(vec![talk], Vec::new());
        exchange(&Namespace::Own, &Manner::default(), &mut agenda, &cancel).unwrap();
    });
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

/// A TLS server of OpenSSL with a certificate of its own making, until it is dropped.
#[cfg(target_os = "linux")]
struct OpenSsl(std::process::Child, SocketAddr, std::path::PathBuf);

#[cfg(target_os = "linux")]
impl OpenSsl {
    fn new(options: &[&str]) -> Self {
        use std::process::{Command, Stdio};
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder =
            std::env::temp_dir().join(format!("portolan-openssl-{}-{}", std::process::id(), port.port()));
        std::fs::create_dir(&folder).unwrap();
        let make = "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 30 \
                    -subj /CN=server.example -addext subjectAltName=DNS:server.example";
        let mut openssl = Command::new("openssl");
        let made = openssl.args(make.split_whitespace()).current_dir(&folder).stderr(Stdio::null()).status();
        assert!(made.expect("tests need openssl (apt-get install openssl)").success());
        let child = Command::new("openssl")
            .args([
                "s_server",
                "-quiet",
                "-key",
                "key.pem",
                "-cert",
                "cert.pem",
                "-accept",
                &port.to_string(),
            ])
            .args(options)
            .current_dir(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while TcpStream::connect(port).is_err() {
            thread::yield_now();
        }
        Self(child, port, folder)
    }
}

#[cfg(target_os = "linux")]
impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_dir_all(&self.2);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_certificate_that_nobody_trusts_is_told_and_the_conversation_goes_on() {
    for (options, version) in [(&["-tls1_3"][..], "TLS 1.3"), (&["-tls1_2"], "TLS 1.2")] {
        let mut server = OpenSsl::new(options);
        // What is typed at the server goes to its client.
        let mut says = server.0.stdin.take().unwrap();
        thread::spawn(move || {
            while says.write_all(b"220 behind TLS\n").is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        });
        let talk = Talk { host: "server.example".into(), ..talk("banner", server.1, Via::Tls) };
        let answer = one(&Manner::default(), talk).answer.unwrap();
        assert!(answer.summary.contains("220 behind TLS"), "{answer:?}");
        let Some(portolan_core::answer::Value::Fields(tls)) = answer.fields.value("tls") else {
            panic!("{answer:?}")
        };
        assert_eq!(tls.text("version"), Some(version));
        assert_eq!(tls.text("problem"), Some("it signs itself: nobody vouches for it"));
        assert!(format!("{:?}", tls.value("certificate")).contains("server.example"), "{tls:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_with_other_versions_of_tls_refuses_and_its_alert_is_told() {
    let server = OpenSsl::new(&["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]);
    let told = one(&Manner::default(), talk("banner", server.1, Via::Tls));
    let why = told.answer.unwrap_err();
    assert!(why.contains("ProtocolVersion") || why.contains("HandshakeFailure"), "{why}");
}
