//! Which traced calls are wanted, as it was typed.

use clap::Args;
use portolan_core::kernel::error_code;
use portolan_core::port::PortRange;
use portolan_core::snapshot::System;
use portolan_core::trace::{Call, Kind};

use crate::text::{is_like, nearest};

/// Which calls; several values of one option are alternatives, several options all hold.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Which calls")]
pub(super) struct Wanted {
    /// Those that come about too
    #[arg(long)]
    pub(super) all: bool,
    /// Of this process
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pid: Vec<u32>,
    /// Of a program of this name; * stands for any characters
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// About this port, of either end: 80, 8000-8100, 80,443
    #[arg(long, short, value_name = "PORTS", value_delimiter = ',')]
    port: Vec<PortRange>,
    /// bind, connect or listen
    #[arg(long, value_name = "CALL", value_delimiter = ',', value_parser = kind)]
    call: Vec<Kind>,
    /// That failed so: EADDRINUSE, EADDRNOTAVAIL, 98 …
    #[arg(long, value_name = "ERROR", value_delimiter = ',', value_parser = error)]
    error: Vec<Code>,
}

/// A code: its name or number.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Code {
    Name(String),
    Number(i32),
}

fn kind(text: &str) -> Result<Kind, String> {
    let lower = text.to_ascii_lowercase();
    let known = Kind::ALL.into_iter().find(|kind| kind.name() == lower);
    known.ok_or_else(|| format!("'{text}' is no call that is traced; use bind, connect or listen"))
}

fn error(text: &str) -> Result<Code, String> {
    if let Ok(number) = text.parse() {
        return Ok(Code::Number(number));
    }
    let upper = text.to_ascii_uppercase();
    let names = || error_code::ERROR_CODES.iter().map(|known| known.name);
    if names().any(|name| name == upper) {
        return Ok(Code::Name(upper));
    }
    Err(match nearest(&upper, names()) {
        Some(near) => format!("'{text}' is no error that is known; did you mean {near}?"),
        None => format!("'{text}' is no error that is known; type it as in EADDRINUSE, or its number"),
    })
}

impl Wanted {
    /// Whether it lets a call through, which was seen on that system.
    pub(super) fn has(&self, call: &Call, system: System) -> bool {
        let has_port = |range: &PortRange| {
            [call.local, call.remote].into_iter().flatten().any(|end| range.contains(end.port()))
        };
        let has_error = |wanted: &Code| match wanted {
            Code::Number(number) => call.outcome.code() == Some(*number),
            Code::Name(name) => call.error(system).as_ref() == Some(name),
        };
        (self.all || call.has_failed())
            && (self.pid.is_empty() || self.pid.contains(&call.pid))
            && (self.name.is_empty() || self.name.iter().any(|name| is_like(&call.program, name)))
            && (self.port.is_empty() || self.port.iter().any(has_port))
            && (self.call.is_empty() || self.call.contains(&call.kind))
            && (self.error.is_empty() || self.error.iter().any(has_error))
    }
}

#[cfg(test)]
mod tests {
    use portolan_core::trace::{Outcome, OwnRange};

    use super::*;

    fn call() -> Call {
        Call {
            at_ns: 0,
            took_ns: None,
            pid: 812,
            program: "nginx".into(),
            uid: None,
            kind: Kind::Connect,
            transport: None,
            local: Some("10.0.0.5:40000".parse().unwrap()),
            remote: Some("10.0.0.9:443".parse().unwrap()),
            outcome: Outcome::Failed(111),
            network_namespace: None,
            own_range: OwnRange::No,
        }
    }

    #[test]
    fn options_all_hold_and_their_values_are_alternatives() {
        let any = Wanted::default();
        assert!(any.has(&call(), System::Linux));
        assert!(!any.has(&Call { outcome: Outcome::Done, ..call() }, System::Linux));
        let all = Wanted { all: true, ..Wanted::default() };
        assert!(all.has(&Call { outcome: Outcome::Done, ..call() }, System::Linux));
        let wanted = Wanted {
            pid: vec![1, 812],
            name: vec!["ng*".into()],
            port: vec!["443".parse().unwrap()],
            call: vec![Kind::Connect],
            error: vec![error("econnrefused").unwrap(), error("5").unwrap()],
            ..Wanted::default()
        };
        assert!(wanted.has(&call(), System::Linux));
        // The same number is no error of that name on Windows.
        assert!(!wanted.has(&call(), System::Windows));
        for other in [
            Call { pid: 2, ..call() },
            Call { program: "curl".into(), ..call() },
            Call { remote: None, ..call() },
            Call { kind: Kind::Bind, ..call() },
            Call { outcome: Outcome::Failed(110), ..call() },
            Call { outcome: Outcome::GivenUp, ..call() },
        ] {
            assert!(!wanted.has(&other, System::Linux), "{other:?}");
        }
    }

    #[test]
    fn what_is_no_call_or_error_is_told_with_what_to_type() {
        assert!(kind("accept").unwrap_err().contains("use bind, connect or listen"));
        assert!(error("EADDRINUS").unwrap_err().contains("did you mean EADDRINUSE?"));
        assert!(error("?").unwrap_err().contains("or its number"));
    }
}
