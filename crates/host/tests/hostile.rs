//! Every protocol of the registry, over all that carries it, against servers that drip, flood, stay silent, talk rubbish,
//! echo and hang up: each conversation ends in its time, and costs little memory. A program of its own: memory is
//! measured of the whole process.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portolan_core::probe::{BYTE_BUDGET, PROBES, Protocol, Request, Via};
use portolan_host::Namespace;
use portolan_host::exchange::{Agenda, Manner, Next, Talk, Told, exchange};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The longest wait for one answer here; five of it end a conversation.
const WAIT: Duration = Duration::from_millis(300);
/// As much as a server that floods would send, were anybody to take it.
const GIBIBYTE: u64 = 1 << 30;

/// What a server does, whatever it is asked.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// A byte, and another one after a while, for ever. (A second each, and waits of seconds: the same in slow.)
    Drip,
    /// These bytes, over and over.
    Flood(&'static [u8]),
    Nothing,
    Rubbish,
    /// What was asked, for an answer.
    Echo,
    HangUp,
}

const WAYS: [Way; 10] = [
    Way::Drip,
    Way::Flood(b"x"),
    Way::Flood(b"\0"),
    Way::Flood(b"\xff"),
    Way::Flood(b"220-more\r\n"),
    Way::Flood(b"\x30\x84\x7f\xff\xff\xff\x02\x01\x01"),
    Way::Nothing,
    Way::Rubbish,
    Way::Echo,
    Way::HangUp,
];

/// Bytes that servers got rid of.
static SENT: AtomicU64 = AtomicU64::new(0);

fn chunk(pattern: &[u8]) -> Vec<u8> {
    pattern.iter().copied().cycle().take(48 * 1024 / pattern.len() * pattern.len()).collect()
}

/// Bytes that look like chance (xorshift64).
fn rubbish(seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..4096).map(|_| next()).collect()
}

/// Treats one client of a stream; what cannot be written any more ends it.
fn treat(way: Way, stream: &mut (impl Read + Write)) {
    match way {
        Way::Drip => {
            while stream.write_all(b"2").and_then(|()| stream.flush()).is_ok() {
                thread::sleep(WAIT / 3);
            }
        }
        Way::Flood(pattern) => {
            let bytes = chunk(pattern);
            let mut sent = 0;
            while sent < GIBIBYTE && stream.write_all(&bytes).is_ok() {
                sent += bytes.len() as u64;
                SENT.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
        }
        Way::Nothing => while stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {},
        Way::Rubbish => {
            let _ = stream.write_all(&rubbish(7)).and_then(|()| stream.flush());
            while stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0) {}
        }
        Way::Echo => {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(&buffer[..length]).and_then(|()| stream.flush()).is_err() {
                    return;
                }
            }
        }
        Way::HangUp => {}
    }
}

/// A server of streams; with a configuration, under TLS.
fn streams(way: Way, tls: Option<Arc<ServerConfig>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let tls = tls.clone();
            // A client that is gone with a reset ends its thread.
            thread::spawn(move || match tls {
                None => treat(way, &mut stream),
                Some(tls) => {
                    let mut secure = StreamOwned::new(ServerConnection::new(tls).unwrap(), stream);
                    treat(way, &mut secure);
                }
            });
        }
    });
    address
}

/// A server of datagrams.
fn datagrams(way: Way, over: Arc<AtomicBool>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let send = |bytes: &[u8]| {
                // A receiver whose queue is full loses it; one that is gone is not told of.
                let _ = socket.send_to(bytes, from);
            };
            match way {
                Way::Drip => {
                    while !over.load(Ordering::Relaxed) {
                        send(b"2");
                        thread::sleep(WAIT / 3);
                    }
                }
                Way::Flood(pattern) => {
                    let bytes = chunk(pattern);
                    let mut sent = 0;
                    while sent < GIBIBYTE && !over.load(Ordering::Relaxed) {
                        send(&bytes);
                        sent += bytes.len() as u64;
                        thread::yield_now();
                    }
                }
                Way::Nothing => {}
                Way::Rubbish => (0..50).for_each(|seed| send(&rubbish(seed)[..usize::from(seed as u8) * 20])),
                Way::Echo => send(&buffer[..length]),
                Way::HangUp => return,
            }
        }
    });
    address
}

/// A certificate of its own making.
fn certificate() -> Arc<ServerConfig> {
    let folder = std::env::temp_dir().join(format!("portolan-hostile-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 30 \
                -subj /CN=hostile.example";
    let made = Command::new("openssl").args(make.split_whitespace()).current_dir(&folder).output();
    assert!(made.expect("tests need openssl (apt-get install openssl)").status.success());
    let certificates = vec![CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_no_client_auth().with_single_cert(certificates, key).unwrap())
}

struct Several(Vec<Talk>, Vec<Told>);

impl Agenda for Several {
    fn next(&mut self, _: Instant) -> Next {
        self.0.pop().map_or(Next::Nothing, |talk| Next::Talk(Box::new(talk)))
    }

    fn over(&mut self, told: Told, _: Instant) {
        self.1.push(told);
    }
}

/// Kibibytes of this process: `VmRSS` now, `VmHWM` at most.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What carries a protocol, and the servers of each way for that: of datagrams, of streams, under TLS.
type Servers = [[SocketAddr; 3]; WAYS.len()];

/// Every conversation of some protocols: over all that carries them, with every server.
fn talks(protocols: &[&'static Protocol], servers: &Servers) -> Vec<Talk> {
    let mut talks = Vec::new();
    for (protocol, &via) in
        protocols.iter().flat_map(|protocol| protocol.via.iter().map(move |via| (protocol, via)))
    {
        // For TLS also a server that misbehaves instead of agreeing on it.
        let places: &[usize] = match via {
            Via::Udp => &[0],
            Via::Tcp => &[1],
            Via::Tls => &[1, 2],
        };
        for to in servers.iter().flat_map(|of_way| places.iter().map(|place| of_way[*place])) {
            let (host, address, port) = ("hostile.example".to_owned(), to.ip(), to.port());
            let settings = Vec::new();
            let request = Request {
                host: host.clone(),
                address,
                port,
                via,
                settings,
                seed: [3; 32],
                now_ms: 1_750_000_000_000,
            };
            let session = (protocol.start)(&request);
            talks.push(Talk {
                key: talks.len() as u64,
                host,
                to,
                via,
                tries: 2,
                pace: None,
                wait: None,
                session,
            });
        }
    }
    talks
}

#[test]
fn no_server_costs_more_than_its_time_and_a_little_memory() {
    let over = Arc::new(AtomicBool::new(false));
    let tls = certificate();
    let servers: Servers = WAYS.map(|way| {
        [datagrams(way, Arc::clone(&over)), streams(way, None), streams(way, Some(Arc::clone(&tls)))]
    });
    let manner = Manner { wait: Some(WAIT), ..Manner::default() };
    let mut floods = 0;
    for protocols in PROBES.chunks(10) {
        let talks = talks(protocols, &servers);
        let (count, names) = (talks.len() as u64, [protocols[0].id, protocols[protocols.len() - 1].id]);
        floods += talks.iter().filter(|talk| talk.via != Via::Udp).count() / 2;
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let (before, started) = (memory("VmRSS"), Instant::now());
        let mut agenda = Several(talks, Vec::new());
        exchange(&Namespace::Own, &manner, &mut agenda, &AtomicBool::new(false)).unwrap();
        let (took, peak) = (started.elapsed(), memory("VmHWM").saturating_sub(before));
        let mut keys: Vec<u64> = agenda.1.iter().map(|told| told.key).collect();
        keys.sort_unstable();
        assert_eq!(keys, (0..count).collect::<Vec<_>>(), "each is told, once");
        let each = peak / count;
        println!("{names:?}: {count} conversations in {took:?}, {peak} KiB, {each} KiB each");
        // Five waits; and what one thread needs for all those floods on a busy machine.
        assert!(took < WAIT * 5 + Duration::from_secs(8), "{took:?}");
        // What is gathered, what it becomes, and what a line under TLS and a server's thread hold.
        assert!(each < 2 * BYTE_BUDGET as u64 / 1024, "{each} KiB each");
    }
    over.store(true, Ordering::Relaxed);
    let each = SENT.load(Ordering::Relaxed) / floods as u64;
    println!("{} KiB were taken from each that floods", each / 1024);
    assert!(floods > 100 && each < 16 << 20, "{each} bytes were taken from each that floods");
}
