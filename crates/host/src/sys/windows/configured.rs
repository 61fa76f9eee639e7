//! What this system is told to ask: its name servers, its proxy.
//!
//! Source: Microsoft Learn, "TCP/IP and NBT configuration parameters" (NameServer, DhcpNameServer); the values
//! ProxyEnable and ProxyServer of "Internet Settings", as the system's dialog writes them.
//! Left out on purpose: proxies by script (AutoConfigURL), and name servers of single interfaces.

use std::net::IpAddr;

use super::registry::{named_texts, named_texts_of_user};

const TCPIP: &str = r"SYSTEM\CurrentControlSet\Services\Tcpip\Parameters";
const INTERNET: &str = r"Software\Microsoft\Windows\CurrentVersion\Internet Settings";

/// Its name servers, the first one first.
pub(crate) fn name_servers() -> Vec<IpAddr> {
    let values = named_texts(TCPIP).unwrap_or_default();
    let listed = |name| values.iter().find(|(known, _)| known == name).map_or("", |(_, text)| text);
    let servers = |text: &str| -> Vec<IpAddr> {
        text.split([' ', ',']).filter_map(|address| address.parse().ok()).collect()
    };
    let own = servers(listed("NameServer"));
    if own.is_empty() { servers(listed("DhcpNameServer")) } else { own }
}

/// The proxy that the user's settings name, as HOST:PORT; none where it is switched off.
pub(crate) fn proxy() -> Option<String> {
    let values = named_texts_of_user(INTERNET).unwrap_or_default();
    let text = |name| values.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str());
    // One for all, or one for each kind: http=proxy:80;https=proxy:443.
    let server = text("ProxyServer").filter(|_| text("ProxyEnable") == Some("1"))?;
    let of_kind =
        |kind: &str| server.split(';').find_map(|part| part.trim().strip_prefix(kind)?.strip_prefix('='));
    let one = of_kind("http").or_else(|| of_kind("https")).unwrap_or(server);
    (!one.is_empty() && !one.contains('=')).then(|| one.to_owned())
}
