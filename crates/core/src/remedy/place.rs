//! A command for the network namespace that was looked at. What is of the whole machine (processes, units, containers)
//! is typed the same everywhere.
//!
//! Source: ip-netns(8), nsenter(1).

use super::name_quoted;

/// The command as it is typed for a network namespace, named as `--netns` takes it: as it is for the looker's own (none),
/// with `--netns` or inside that namespace for another one. None where the name is none that may be typed.
pub fn in_place(netns: Option<&str>, command: String) -> Option<String> {
    let Some(netns) = netns else { return Some(command) };
    let (sudo, bare) = match command.strip_prefix("sudo ") {
        Some(bare) => ("sudo ", bare),
        None => ("", &*command),
    };
    let program = bare.split(' ').next().unwrap_or_default();
    if !matches!(program, "portolan" | "sysctl" | "ip") {
        return Some(command);
    }
    let name = name_quoted(netns)?;
    Some(match (program, netns.parse::<u32>()) {
        ("portolan", _) => format!("{sudo}{bare} --netns {name}"),
        (_, Ok(pid)) => format!("{sudo}nsenter --target {pid} --net {bare}"),
        (_, Err(_)) => format!("{sudo}ip netns exec {name} {bare}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(netns: Option<&str>, command: &str) -> Option<String> {
        in_place(netns, command.to_owned())
    }

    #[test]
    fn what_is_of_a_network_namespace_is_typed_for_it_and_what_is_of_the_machine_is_not() {
        for (netns, command, expected) in [
            (None, "sudo portolan trace", "sudo portolan trace"),
            (Some("blue"), "sudo portolan trace", "sudo portolan trace --netns blue"),
            (Some("812"), "portolan why \"[::1]:80\"", "portolan why \"[::1]:80\" --netns 812"),
            (Some("blue"), "sudo sysctl -w a=1", "sudo ip netns exec blue sysctl -w a=1"),
            (Some("812"), "sysctl -w a=1", "nsenter --target 812 --net sysctl -w a=1"),
            (Some("blue"), "ip address", "ip netns exec blue ip address"),
            (Some("blue"), "systemctl restart a.service", "systemctl restart a.service"),
            (Some("blue"), "kill 812", "kill 812"),
        ] {
            assert_eq!(typed(netns, command).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_name_that_no_namespace_has_is_typed_nowhere() {
        for hostile in ["x; rm -rf /", "$(id)", "-x", "a\u{1b}[201~b"] {
            assert_eq!(typed(Some(hostile), "portolan trace"), None, "{hostile:?}");
            assert!(typed(Some(hostile), "kill 812").is_some());
        }
    }
}
