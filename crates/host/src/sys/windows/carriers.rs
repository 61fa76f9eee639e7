//! What takes a port's traffic on behalf of another: port-proxy rules, and URLs of the HTTP driver.
//!
//! Source: the registry below `Services\\PortProxy`, where `netsh interface portproxy` keeps its rules in no language;
//! `netsh http show servicestate view=requestq`, whose output is a gap where it is empty or not understood.

use portolan_core::kernel::{http_servicestate, portproxy};
use portolan_core::range::{Carrier, FirewallRule};
use portolan_core::snapshot::{Gap, GapReason, Reading};
use portolan_core::wire::text::decoded;

use super::firewall::firewall;
use super::{command, process, registry};

const PORT_PROXY: &str = r"SYSTEM\CurrentControlSet\Services\PortProxy";
/// The tables, by the families they listen on and connect to.
const TABLES: [&str; 4] = ["v4tov4", "v4tov6", "v6tov4", "v6tov6"];

/// Carriers of this host.
pub(crate) fn carriers() -> Reading<Vec<Carrier>> {
    let mut gaps = Vec::new();
    let mut carriers = port_proxies(&mut gaps);
    carriers.extend(urls(&mut gaps));
    Reading { value: carriers, gaps }
}

/// Carriers and what the firewall lets in.
pub(crate) fn carriers_and_firewall() -> (Reading<Vec<Carrier>>, Reading<Option<Vec<FirewallRule>>>) {
    (carriers(), firewall())
}

fn port_proxies(gaps: &mut Vec<Gap>) -> Vec<Carrier> {
    let mut carriers = Vec::new();
    let mut note = |reason, problem: String| gaps.push(Gap::new("port-proxy rules", reason, problem));
    for table in TABLES {
        let key = format!(r"{PORT_PROXY}\{table}\tcp");
        let rules = registry::named_texts(&key).unwrap_or_else(|error| {
            note(GapReason::Denied, format!(r"HKLM\{key}: {error}"));
            Vec::new()
        });
        for (listen, connect) in rules {
            match portproxy::registry_rule(table, &listen, &connect) {
                Ok(carrier) => carriers.push(carrier),
                Err(error) => note(GapReason::Malformed, format!(r"HKLM\{key}: {error}")),
            }
        }
    }
    carriers
}

fn urls(gaps: &mut Vec<Gap>) -> Vec<Carrier> {
    let words = ["http", "show", "servicestate", "view=requestq"];
    let problem = match command::netsh(&words) {
        Ok(output) if output.trim_ascii().is_empty() => {
            (GapReason::Unsupported, format!("`netsh {}` says nothing", words.join(" ")))
        }
        Ok(output) => match http_servicestate::registrations(&decoded(&output)) {
            Ok(found) => {
                let table = process::table().unwrap_or_default();
                let name = |pid| table.iter().find(|entry| entry.pid == pid).map(|entry| entry.name.clone());
                return http_servicestate::carriers(&found, name);
            }
            Err(error) => (GapReason::Malformed, error.to_string()),
        },
        Err(error) => (GapReason::Unsupported, error.to_string()),
    };
    gaps.push(Gap::new("URLs of http.sys", problem.0, problem.1));
    Vec::new()
}
