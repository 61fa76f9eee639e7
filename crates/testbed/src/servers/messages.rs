//! Messages, calls and what finds the way for them: Mosquitto, Kamailio, Coturn.
//!
//! Source: mosquitto.conf(5), Kamailio's core cookbook (5.6), turnserver(1).

use super::{Ready, Server, Site, installed};
use crate::Namespace;

/// Mosquitto on TCP 1883, which lets anybody in.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn mosquitto(namespace: &Namespace) -> Server {
    let site = Site::new("mosquitto");
    let configuration = site.write("mosquitto.conf", "listener 1883\nallow_anonymous true\n");
    let mut command = site.command(namespace, &installed("mosquitto", "mosquitto"));
    command.arg("-c").arg(configuration);
    site.start(namespace, command, &Ready::Listens(1883))
}

/// Kamailio on UDP and TCP 5060 of 127.0.0.1, which answers everything with 200.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn kamailio(namespace: &Namespace) -> Server {
    let site = Site::new("kamailio");
    let configuration = site.write(
        "kamailio.cfg",
        "listen=udp:127.0.0.1:5060\nlisten=tcp:127.0.0.1:5060\nchildren=1\nlog_stderror=yes\nloadmodule \"sl.so\"\n\
         request_route { sl_send_reply(\"200\", \"OK\"); }\n",
    );
    let mut command = site.command(namespace, &installed("kamailio", "kamailio"));
    command.args(["-DD", "-E", "-m", "64", "-M", "4", "-n", "1", "-f"]).arg(configuration);
    site.start(namespace, command, &Ready::Listens(5060))
}

/// Coturn on UDP and TCP 3478 of 127.0.0.1.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn coturn(namespace: &Namespace) -> Server {
    let site = Site::new("coturn");
    let mut command = site.command(namespace, &installed("turnserver", "coturn"));
    command.args([
        "-n",
        "--listening-ip=127.0.0.1",
        "--no-tls",
        "--no-dtls",
        "--no-cli",
        "--log-file=stdout",
    ]);
    command.arg(format!("--db={}", site.path("users").display()));
    site.start(namespace, command, &Ready::Listens(3478))
}
