//! A stand-in for SQL Server's browser service on UDP 1434, written after MC-SQLR: Debian has no real one. freetds'
//! `tsql -LH` understands it.
//!
//! Source: MC-SQLR sections 2.2.1 to 2.2.5 (messages) and 3.1.5 (what is answered, and what is passed over in silence).

use super::{Ready, Server, Site, installed};
use crate::Namespace;

const PROGRAM: &str = r#"
import socket

PORTS = {"MSSQLSERVER": 1433, "SQLEXPRESS": 49777}

def instance(name):
    tcp = f"tcp;{PORTS[name]};" if name in PORTS else ""
    return f"ServerName;LAB;InstanceName;{name};IsClustered;No;Version;16.0.1000.6;{tcp};"

browser = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
browser.bind(("0.0.0.0", 1434))
while True:
    question, client = browser.recvfrom(1024)
    kind, wanted = question[:1], question[1:].split(b"\0")[0].decode("ascii", "replace").upper()
    if kind in (b"\2", b"\3"):
        told = "".join(map(instance, PORTS))
    elif kind == b"\4" and wanted in PORTS:
        told = instance(wanted)
    else:
        continue
    browser.sendto(b"\5" + len(told).to_bytes(2, "little") + told.encode(), client)
"#;

/// Starts it on every IPv4 address.
///
/// # Panics
/// Where Python is not installed.
#[track_caller]
pub fn sql_browser(namespace: &Namespace) -> Server {
    let site = Site::new("sql-browser");
    let program = site.path("browser.py");
    std::fs::write(&program, PROGRAM).expect("the temporary folder can be written");
    let mut command = site.command(namespace, &installed("python3", "python3"));
    command.arg(program);
    site.start(namespace, command, &Ready::Answers(([127, 0, 0, 1], 1434).into(), &[3]))
}
