//! Web servers: nginx with and without TLS, a proxy, QUIC, and a TLS server of 1999.
//!
//! Source: nginx(8) and nginx.org's directives, tinyproxy.conf(5), gtlsserver of ngtcp2, openssl-s_server(1).

use super::{Ready, Server, Site, installed};
use crate::Namespace;

/// nginx on TCP 80 and, with the certificate of [`Server::path`] `cert.pem`, 443: a page at /, a redirection at /moved.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn nginx(namespace: &Namespace) -> Server {
    let site = Site::new("nginx");
    site.certificate(namespace);
    let page = "default_type text/html; location = /moved { return 301 http://example.com/; } \
        location / { return 200 '<html><title>Harbour &amp; chart</title>'; }";
    let head = "daemon off; user root; pid {}/nginx.pid; error_log stderr; worker_processes 1; events { }";
    let tls = "ssl_certificate {}/cert.pem; ssl_certificate_key {}/key.pem; ssl_protocols TLSv1.2 TLSv1.3;";
    let server = ["http { access_log off; server { listen 80; listen 443 ssl;", tls, page, "} }"].join(" ");
    let configuration = site.write("nginx.conf", &[head, &server].join("\n"));
    let mut command = site.command(namespace, &installed("nginx", "nginx-light"));
    command.arg("-c").arg(configuration);
    site.start(namespace, command, &Ready::Listens(443))
}

/// tinyproxy on TCP 8888, which opens tunnels to port 443 alone.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn tinyproxy(namespace: &Namespace) -> Server {
    let site = Site::new("tinyproxy");
    let configuration = site.write("tinyproxy.conf", "Port 8888\nTimeout 60\nConnectPort 443\n");
    let mut command = site.command(namespace, &installed("tinyproxy", "tinyproxy"));
    command.arg("-d").arg("-c").arg(configuration);
    site.start(namespace, command, &Ready::Listens(8888))
}

/// ngtcp2's example server on UDP 443 of 127.0.0.1.
///
/// # Panics
/// Where it is not installed or does not start.
#[track_caller]
pub fn ngtcp2(namespace: &Namespace) -> Server {
    let site = Site::new("ngtcp2");
    site.certificate(namespace);
    let mut command = site.command(namespace, &installed("gtlsserver", "ngtcp2-server"));
    command.args(["-q", "127.0.0.1", "443", "key.pem", "cert.pem"]);
    site.start(namespace, command, &Ready::Receives(443))
}

/// A server on TCP 4443 that speaks no newer version than TLS 1.0.
///
/// # Panics
/// Where openssl is not installed or does not start.
#[track_caller]
pub fn old_tls(namespace: &Namespace) -> Server {
    let site = Site::new("old-tls");
    site.certificate(namespace);
    let mut command = site.command(namespace, &installed("openssl", "openssl"));
    command.args(["s_server", "-accept", "4443", "-www", "-cert", "cert.pem", "-key", "key.pem"]);
    command.args(["-tls1", "-cipher", "ALL:@SECLEVEL=0"]);
    site.start(namespace, command, &Ready::Listens(4443))
}
