//! `http-proxy`: whether a web proxy works, and whether it opens tunnels.
//!
//! Source: RFC 9110 section 9.3.6 (CONNECT), 11.7.1 (Proxy-Authenticate), 7.6.3 (Via).
//! Leaves out on purpose: what lies behind the tunnel, and proxies of another kind (SOCKS).

use super::{Event, Home, Protocol, Request, Session, Setting, Step, Via};
use crate::answer::{Answer, Fields};
use crate::wire::head::Head;
use crate::wire::line::may_begin;
use crate::wire::{DecodeError, Problem, Reader};

pub(super) static PROTOCOL: Protocol = Protocol {
    id: "http-proxy",
    aliases: &["proxy", "connect"],
    title: "a web proxy: whether it opens a tunnel, what it calls itself",
    doc: DOC,
    via: &[Via::Tcp, Via::Tls],
    homes: &[
        Home::new(Via::Tcp, 3128, "squid"),
        Home::new(Via::Tcp, 8888, ""),
        Home::new(Via::Tcp, 8118, "privoxy"),
        Home::new(Via::Tcp, 8123, "polipo"),
    ],
    settings: &[Setting {
        name: "target",
        default: "",
        title: "where the tunnel shall lead, HOST:PORT; without it, to the proxy's own host, port 443",
    }],
    start,
};

const DOC: &str = "\
Asks a web proxy for a tunnel (CONNECT), and shows what it says. 200 is an open tunnel; 407 wants a name and a
password; 403 is a rule against that target; 502, 503 and 504 mean that the proxy works and could not reach it.
Other web servers answer with 400, 404, 405 or 501: that is no proxy, and is said.

Without another word the tunnel is asked to lead to the proxy's own host, so that nothing leaves the house:
--set target=www.example.com:443 asks for a real one.

Fields: status, reason, tunnel (yes where it is open), target, proxy_agent, server, via, proxy_authenticate.
";

struct Proxy {
    target: Result<String, String>,
}

fn start(request: &Request) -> Box<dyn Session> {
    let target = match request.setting(&PROTOCOL, "target") {
        target if !target.is_empty() => target,
        _ if request.host.contains(':') => format!("[{}]:443", request.host),
        _ => format!("{}:443", request.host),
    };
    let port = target.rsplit_once(':').map(|(_, port)| port.parse::<u16>().is_ok());
    let is_word = target.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    let target = match (port, is_word) {
        (Some(true), true) => Ok(target),
        _ => Err(format!("'{target}' is no target; use --set target=HOST:PORT")),
    };
    Box::new(Proxy { target })
}

impl Proxy {
    fn read(&self, data: &[u8]) -> Result<Step, DecodeError> {
        if !may_begin(data, b"HTTP/") {
            return Err(Reader::error_at(0, "status-line", Problem::Value(0)));
        }
        let head = Head::read(&mut Reader::new(data))?;
        let status = head.status()?;
        let target = self.target.clone().unwrap_or_default();
        let says = ["Proxy-Agent", "Via", "Proxy-Authenticate"].iter().any(|name| head.value(name).is_some());
        let reason = String::from_utf8_lossy(status.reason).into_owned();
        if !says && [400, 404, 405, 501].contains(&status.code) {
            return Ok(Step::failed(format!("a web server, but no proxy: it says {} {reason}", status.code)));
        }
        let tunnel = (200..300).contains(&status.code);
        let fields = Fields::new()
            .with("status", status.code)
            .with_some("reason", Some(status.reason).filter(|reason| !reason.is_empty()))
            .with("tunnel", tunnel)
            .with("target", target.as_str())
            .with_some("proxy_agent", head.value("Proxy-Agent"))
            .with_some("server", head.value("Server"))
            .with_some("via", head.value("Via"))
            .with_some("proxy_authenticate", head.value("Proxy-Authenticate"));
        let name = head.value("Proxy-Agent").or(head.value("Server")).or(head.value("Via"));
        let name =
            name.map_or_else(|| "a proxy".to_owned(), |name| String::from_utf8_lossy(name).into_owned());
        let summary = match (tunnel, status.code) {
            (true, _) => format!("{name}, opens a tunnel to {target}"),
            (_, 407) => format!("{name}, wants a name and a password (407)"),
            (_, code) => format!("{name}, opens no tunnel to {target} ({code} {})", reason),
        };
        Ok(Step::Done(Answer::new(PROTOCOL.id, summary, fields)))
    }
}

impl Session for Proxy {
    fn hello(&mut self) -> Step {
        match &self.target {
            Ok(target) => Step::Send(
                format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: portolan\r\n\r\n")
                    .into_bytes(),
            ),
            Err(why) => Step::failed(why.as_str()),
        }
    }

    fn on(&mut self, event: Event<'_>) -> Step {
        match event {
            Event::Bytes { data, .. } => Step::of_line(self.read(data), "a web proxy", data),
            Event::Closed { .. } => Step::failed("it closed the line when it was asked for a tunnel"),
            Event::Silence { .. } => Step::failed("it did not answer when it was asked for a tunnel"),
            Event::NoLine { reason } => Step::failed(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{play, request, survives};

    #[test]
    fn an_open_tunnel_is_told() {
        // tinyproxy 1.11.1 of Debian 12.
        let reply = b"HTTP/1.0 200 Connection established\r\nProxy-agent: tinyproxy/1.11.1\r\n\r\n";
        let answer = survives(&PROTOCOL, &request(&PROTOCOL, Via::Tcp), &[reply]);
        assert_eq!(answer.summary, "tinyproxy/1.11.1, opens a tunnel to server.example:443");
        assert_eq!(answer.fields.value("tunnel"), Some(&true.into()));
    }

    #[test]
    fn a_refused_tunnel_is_an_answer_and_another_web_server_is_none() {
        // tinyproxy 1.11.1, and nginx 1.22.1 (which says 405 or 400), as they answer.
        let refused =
            b"HTTP/1.1 403 Access violation\r\nServer: tinyproxy/1.11.1\r\nConnection: close\r\n\r\n<?xml";
        let mut asked = request(&PROTOCOL, Via::Tcp);
        asked.settings = vec![("target".into(), "127.0.0.1:25".into())];
        let played = play(&PROTOCOL, &asked, &[refused]);
        assert!(played.sent.concat().starts_with(b"CONNECT 127.0.0.1:25 HTTP/1.1\r\nHost: 127.0.0.1:25\r\n"));
        let summary = "tinyproxy/1.11.1, opens no tunnel to 127.0.0.1:25 (403 Access violation)";
        assert_eq!(played.answer.unwrap().summary, summary);
        let other = b"HTTP/1.1 405 Not Allowed\r\nServer: nginx/1.22.1\r\n\r\n";
        let why = play(&PROTOCOL, &asked, &[other]).answer.unwrap_err();
        assert_eq!(why, "a web server, but no proxy: it says 405 Not Allowed");
        let wants =
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n";
        assert_eq!(
            play(&PROTOCOL, &asked, &[wants]).answer.unwrap().summary,
            "a proxy, wants a name and a password (407)"
        );
    }

    #[test]
    fn a_target_must_be_one() {
        for bad in ["x", "x:99999", "a b:1", "x:1\r\nA: b"] {
            let mut asked = request(&PROTOCOL, Via::Tcp);
            asked.settings = vec![("target".into(), bad.into())];
            let played = play(&PROTOCOL, &asked, &[]);
            assert!(
                played.sent.is_empty() && played.answer.unwrap_err().contains("use --set target"),
                "{bad}"
            );
        }
    }
}
