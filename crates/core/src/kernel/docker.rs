//! Proxies of container runtimes, by their command lines, and Docker's own notes on its containers.
//!
//! Source: moby/cmd/docker-proxy (its flags), passt(1) for pasta, and config.v2.json as Docker's daemon writes it
//! (no published format: what is not understood is passed over). Left out on purpose: rootlessport and slirp4netns,
//! which get their ports over a pipe and a socket and show none.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;
use serde_json::Value;

use crate::port::{Port, PortRange};
use crate::range::{Carrier, CarrierKind};
use crate::socket::Transport;

/// The ports that a proxy process carries, from its arguments; nothing when it is no proxy.
pub fn carriers(arguments: &[String]) -> Vec<Carrier> {
    let program = arguments.first().map_or("", |path| path.rsplit('/').next().unwrap_or(path));
    match program {
        "docker-proxy" | "rootlesskit-docker-proxy" => docker_proxy(program, arguments).into_iter().collect(),
        "pasta" | "pasta.avx2" => pasta(program, arguments),
        _ => Vec::new(),
    }
}

fn docker_proxy(program: &str, arguments: &[String]) -> Option<Carrier> {
    let value = |name: &str| {
        arguments.iter().enumerate().find_map(|(at, argument)| {
            let flag =
                argument.trim_start_matches('-').strip_prefix(name).filter(|_| argument.starts_with('-'))?;
            match flag.strip_prefix('=') {
                Some(value) => Some(value),
                None if flag.is_empty() => arguments.get(at + 1).map(String::as_str),
                None => None,
            }
        })
    };
    let container: Option<IpAddr> = value("container-ip").and_then(|ip| ip.parse().ok());
    let port: Option<u16> = value("container-port").and_then(|port| port.parse().ok());
    Some(Carrier {
        kind: CarrierKind::ContainerProxy,
        transport: value("proto")?.parse().ok()?,
        address: value("host-ip").and_then(|ip| ip.parse().ok()),
        ports: PortRange::single(value("host-port")?.parse::<Port>().ok()?),
        name: program.to_owned(),
        to: container.zip(port).map(|(ip, port)| SocketAddr::new(ip, port).to_string()),
    })
}

/// `-t 127.0.0.1/8080-8081:80-81,9090` and `-u`, in each way that getopt takes them.
fn pasta(program: &str, arguments: &[String]) -> Vec<Carrier> {
    let mut carriers = Vec::new();
    for (at, argument) in arguments.iter().enumerate().skip(1) {
        let (transport, rest) = if let Some(rest) = argument.strip_prefix("--tcp-ports") {
            (Transport::Tcp, rest)
        } else if let Some(rest) = argument.strip_prefix("--udp-ports") {
            (Transport::Udp, rest)
        } else if let Some(rest) = argument.strip_prefix("-t") {
            (Transport::Tcp, rest)
        } else if let Some(rest) = argument.strip_prefix("-u") {
            (Transport::Udp, rest)
        } else {
            continue;
        };
        let list = match rest.strip_prefix('=').unwrap_or(rest) {
            "" => arguments.get(at + 1).map_or("", String::as_str),
            list => list,
        };
        carriers.extend(list.split(',').filter_map(|spec| pasta_carrier(program, transport, spec)));
    }
    carriers
}

/// `[ADDRESS[%INTERFACE]/]PORTS[:PORTS]`; `none`, `auto`, `all` and exclusions (`~9000`) name no port of their own.
fn pasta_carrier(program: &str, transport: Transport, spec: &str) -> Option<Carrier> {
    let (address, ports) = match spec.split_once('/') {
        Some((address, ports)) => (address.split('%').next(), ports),
        None => (None, spec),
    };
    let (from, to) = ports.split_once(':').unwrap_or((ports, ports));
    Some(Carrier {
        kind: CarrierKind::ContainerProxy,
        transport,
        address: address.and_then(|address| address.trim_matches(['[', ']']).parse().ok()),
        ports: from.parse().ok()?,
        name: program.to_owned(),
        to: to.parse::<PortRange>().ok().map(|to| format!("port {to} of its namespace")),
    })
}

/// A container and the addresses it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownContainer {
    /// Its name, without Docker's leading slash.
    pub name: String,
    /// Its addresses in the networks it is in.
    pub addresses: Vec<IpAddr>,
}

/// Docker's config.v2.json of one container; nothing when it has no name or no address.
pub fn known_container(json: &[u8]) -> Option<KnownContainer> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Config {
        name: String,
        network_settings: NetworkSettings,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct NetworkSettings {
        networks: std::collections::BTreeMap<String, Value>,
    }
    let config: Config = serde_json::from_slice(json).ok()?;
    let text =
        |network: &Value, key: &str| network.get(key).and_then(Value::as_str).and_then(|t| t.parse().ok());
    let addresses: Vec<IpAddr> = config
        .network_settings
        .networks
        .values()
        .flat_map(|network| [text(network, "IPAddress"), text(network, "GlobalIPv6Address")])
        .flatten()
        .collect();
    let name = config.name.trim_start_matches('/').to_owned();
    (!name.is_empty() && !addresses.is_empty()).then_some(KnownContainer { name, addresses })
}

/// Puts the container's name before an endpoint that belongs to one: `web (172.17.0.2:80)`.
pub fn name_container(to: &mut String, containers: &[KnownContainer]) {
    let Ok(address) = to.parse::<SocketAddr>().map(|at| at.ip()).or_else(|_| to.parse::<IpAddr>()) else {
        return;
    };
    if let Some(container) = containers.iter().find(|container| container.addresses.contains(&address)) {
        *to = format!("container {} ({to})", container.name);
    }
}

/// The name that [`name_container`] put there.
pub fn container_named(to: &str) -> Option<&str> {
    to.strip_prefix("container ")?.split_once(" (").map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(command: &str) -> Vec<String> {
        let arguments: Vec<String> = command.split(' ').map(str::to_owned).collect();
        let line = |c: Carrier| {
            let address = c.address.map_or("*".to_owned(), |a| a.to_string());
            format!("{} {address} {} {} -> {}", c.transport, c.ports, c.name, c.to.unwrap_or_default())
        };
        carriers(&arguments).into_iter().map(line).collect()
    }

    #[test]
    fn a_docker_proxy_names_both_ends() {
        assert_eq!(
            shown(
                "/usr/bin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 172.17.0.2 -container-port 80"
            ),
            ["tcp 0.0.0.0 8080 docker-proxy -> 172.17.0.2:80"]
        );
        assert_eq!(
            shown(
                "docker-proxy --proto=udp --host-ip=:: --host-port=53 --container-ip=fd00::2 --container-port=53"
            ),
            ["udp :: 53 docker-proxy -> [fd00::2]:53"]
        );
    }

    #[test]
    fn a_pasta_names_its_ports() {
        assert_eq!(
            shown("/usr/bin/pasta --config-net -t 127.0.0.1/8080-8081:80-81,9090 -u none --netns /run/x"),
            [
                "tcp 127.0.0.1 8080-8081 pasta -> port 80-81 of its namespace",
                "tcp * 9090 pasta -> port 9090 of its namespace"
            ]
        );
        assert_eq!(shown("pasta -u53 -t auto"), ["udp * 53 pasta -> port 53 of its namespace"]);
    }

    #[test]
    fn odd_command_lines_carry_nothing() {
        for command in [
            "",
            "docker-proxy",
            "docker-proxy -proto",
            "docker-proxy -proto tcp -host-port 0",
            "docker-proxy -proto sctp -host-port 80",
            "nginx -proto tcp -host-port 80",
            "pasta -t",
            "pasta -t ~9000,,x/y:z",
        ] {
            assert_eq!(shown(command), Vec::<String>::new(), "{command}");
        }
    }

    #[test]
    fn an_endpoint_gets_the_name_of_its_container() {
        // Shape of Docker 20 to 28, shortened.
        let json =
            br#"{"ID":"ab","Name":"/web","State":{"Running":true},"NetworkSettings":{"Bridge":"","Networks":
            {"bridge":{"IPAddress":"172.17.0.2","GlobalIPv6Address":""}}}}"#;
        let known = [known_container(json).unwrap()];
        let mut to = "172.17.0.2:80".to_owned();
        name_container(&mut to, &known);
        assert_eq!(to, "container web (172.17.0.2:80)");
        assert_eq!(container_named(&to), Some("web"));
        assert_eq!(container_named("172.17.0.2:80"), None);
        let mut other = "port 9090".to_owned();
        name_container(&mut other, &known);
        assert_eq!(other, "port 9090");
        for end in 0..json.len() {
            assert_eq!(known_container(&json[..end]), None);
        }
    }
}
