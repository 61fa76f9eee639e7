//! MiniSSDPd, which answers searches of UPnP for devices that are registered with it.
//!
//! Source: minissdpd(1); its source's `minissdpd.c` for the registration: type 4, then four texts, each behind its length.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use super::{Ready, Server, Site, installed};
use crate::Namespace;

/// What is registered: its kind, its unique name, its software, where its description lies.
const DEVICE: [&str; 4] = [
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "uuid:6f8a7c2e-0001::urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "Lab/1.0 UPnP/1.1 Harbour/2.0",
    "http://127.0.0.1:5000/root.xml",
];

/// MiniSSDPd on UDP 1900 of loopback, with a router registered.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn minissdpd(namespace: &Namespace) -> Server {
    let site = Site::new("minissdpd");
    let socket = site.path("socket");
    let mut command = site.command(namespace, &installed("minissdpd", "minissdpd"));
    command.args(["-d", "-i", "lo", "-s"]).arg(&socket).arg("-p").arg(site.path("pid"));
    let server = site.start(namespace, command, &Ready::Receives(1900));
    let mut request = vec![4];
    for text in DEVICE {
        request.push(u8::try_from(text.len()).expect("it is short: one byte of 7 bits"));
        request.extend(text.as_bytes());
    }
    // On a busy machine it has the port for a while before it listens on the socket.
    let until = Instant::now() + Duration::from_secs(10);
    let mut stream = loop {
        match UnixStream::connect(&socket) {
            Err(_) if Instant::now() < until => thread::sleep(Duration::from_millis(20)),
            connected => break connected.expect("minissdpd takes registrations"),
        }
    };
    stream.write_all(&request).expect("minissdpd takes registrations");
    server
}
