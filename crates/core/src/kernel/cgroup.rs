//! What a cgroup path says of a process: its systemd unit and its container.
//!
//! Source: cgroups(7) (the file), systemd's "Control Group APIs and Delegation" (units), and the paths that Docker,
//! Podman, containerd, CRI-O, LXC, systemd-nspawn, Garden and ECS choose. A path is a hint, not a proof: whoever may
//! make cgroups may give one any unit's or container's name.
//! Left out on purpose: virtual machines of libvirt, whose sockets belong to the host's own process.

use crate::owner::Container;

/// What /proc/PID/cgroup says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// The path that says most: of the unified hierarchy, or of systemd's own, or of the first controller with one.
    pub path: Option<String>,
    /// See [`unit()`].
    pub unit: Option<String>,
    /// See [`container`].
    pub container: Option<Container>,
}

/// Reads /proc/PID/cgroup. On a hybrid system the unified path is often `/`, so every hierarchy is asked: the unified
/// one first, then systemd's, then the controllers in the order of the file.
pub fn placement(text: &str) -> Placement {
    let mut paths: Vec<(u8, &str)> = text
        .lines()
        .filter_map(|line| {
            let (id, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let rank = match (id, controllers) {
                ("0", "") => 0,
                (_, "name=systemd") => 1,
                _ => 2,
            };
            Some((rank, path))
        })
        .collect();
    paths.sort_by_key(|(rank, _)| *rank);
    let paths = || paths.iter().map(|(_, path)| *path);
    Placement {
        path: paths().find(|path| *path != "/").or_else(|| paths().next()).map(str::to_owned),
        unit: paths().find_map(unit),
        container: paths().find_map(container),
    }
}

/// Suffixes of units that have a cgroup with processes, besides slices.
const UNIT_SUFFIXES: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];

/// The systemd unit that a path belongs to, by the name `systemctl` knows it (with its `\x2d` and the like): the first
/// unit below the slices. A unit of a user's own manager stands behind it:
/// `user@1000.service/foo.service` is what `systemctl --user` calls `foo.service`.
pub fn unit(path: &str) -> Option<String> {
    let mut parts = path.split('/').filter(|part| !part.is_empty()).map(unprefixed);
    let is_unit = |part: &str| {
        UNIT_SUFFIXES.iter().any(|suffix| part.strip_suffix(suffix).is_some_and(|name| !name.is_empty()))
    };
    let found = parts.find(|part| is_unit(part))?;
    if found.starts_with("user@") && found.ends_with(".service") {
        // The manager itself runs in init.scope below its own unit.
        if let Some(inner) = parts.find(|part| is_unit(part)).filter(|inner| *inner != "init.scope") {
            return Some(format!("{found}/{inner}"));
        }
    }
    Some(found.to_owned())
}

/// systemd puts an underscore before names that the kernel could take for its own files.
fn unprefixed(part: &str) -> &str {
    part.strip_prefix('_').unwrap_or(part)
}

/// Names of runtimes in a cgroup of the form `PREFIX-ID.scope` or `PREFIX-ID`.
const SCOPES: [(&str, &str); 6] = [
    ("docker-", "docker"),
    ("libpod-", "podman"),
    ("cri-containerd-", "containerd"),
    ("containerd-", "containerd"),
    ("crio-", "cri-o"),
    ("nerdctl-", "containerd"),
];

/// The container that a path belongs to: of nested ones the outermost, which this host's own runtime knows.
pub fn container(path: &str) -> Option<Container> {
    let mut parent = "";
    let mut pods = None;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if part.starts_with("kubepods") {
            pods = Some("kubernetes");
        } else if part == "ecs" {
            pods = Some("ecs");
        }
        if let Some(container) = container_of(parent, part, pods) {
            return Some(container);
        }
        parent = part;
    }
    None
}

fn container_of(parent: &str, part: &str, pods: Option<&'static str>) -> Option<Container> {
    let made = |runtime: &str, id: &str| Some(Container { runtime: runtime.into(), id: id.into() });
    // Full ids have 64 digits; 12 are what people type and what no ordinary name has by chance.
    let is_id = |text: &str| text.len() >= 12 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let name = part.strip_suffix(".scope").unwrap_or(part);
    for (prefix, runtime) in SCOPES {
        if let Some(id) = name.strip_prefix(prefix).filter(|id| is_id(id)) {
            return made(runtime, id);
        }
    }
    // containerd with the systemd driver writes SLICE:cri-containerd:ID where it may not make scopes.
    if let Some(id) = part.rsplit_once(":cri-containerd:").map(|(_, id)| id).filter(|id| is_id(id)) {
        return made("containerd", id);
    }
    if let Some(name) = part.strip_prefix("lxc.payload.").filter(|name| !name.is_empty()) {
        return made("lxc", name);
    }
    match parent {
        "docker" if is_id(part) => return made("docker", part),
        "lxc" | "lxc.payload" => return made("lxc", part),
        "garden" => return made("garden", part),
        "machine.slice" => return machine(part),
        _ => {}
    }
    pods.filter(|_| part.len() == 64 && is_id(part)).and_then(|runtime| made(runtime, part))
}

/// `machine-NAME.scope` or `systemd-nspawn@NAME.service`, where NAME has `\x2d` for a dash.
fn machine(part: &str) -> Option<Container> {
    let scope = part.strip_prefix("machine-").and_then(|name| name.strip_suffix(".scope"));
    let service = part.strip_prefix("systemd-nspawn@").and_then(|name| name.strip_suffix(".service"));
    let name = unescaped(scope.or(service)?);
    if name.is_empty() || name.starts_with("qemu-") {
        return None;
    }
    match name.strip_prefix("lxc-") {
        Some(inner) => Some(Container { runtime: "lxc".into(), id: inner.into() }),
        None => Some(Container { runtime: "nspawn".into(), id: name }),
    }
}

/// `\x2d` and the like back to the character (systemd.unit(5), "String escaping for inclusion in unit names").
fn unescaped(name: &str) -> String {
    let mut parts = name.split("\\x");
    let mut bytes = parts.next().unwrap_or("").as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(code) => {
                bytes.push(code);
                bytes.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => {
                bytes.extend_from_slice(b"\\x");
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_path_names_its_unit() {
        for (path, name) in [
            ("/system.slice/nginx.service", Some("nginx.service")),
            ("/system.slice/system-getty.slice/getty@tty1.service", Some("getty@tty1.service")),
            ("/system.slice/srv-a\\x2db.mount", Some("srv-a\\x2db.mount")),
            ("/system.slice/_cgroup.service", Some("cgroup.service")),
            ("/user.slice/user-1000.slice/session-3.scope", Some("session-3.scope")),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/foo.scope",
                Some("user@1000.service/foo.scope"),
            ),
            ("/user.slice/user-1000.slice/user@1000.service/init.scope", Some("user@1000.service")),
            ("/init.scope", Some("init.scope")),
            ("/system.slice/nginx.service/worker/3", Some("nginx.service")),
            ("/system.slice", None),
            ("/.service", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(unit(path).as_deref(), name, "{path}");
        }
    }

    #[test]
    fn a_path_names_its_container() {
        for (path, runtime, id) in [
            (format!("/docker/{ID}"), "docker", ID),
            (format!("/system.slice/docker-{ID}.scope"), "docker", ID),
            (format!("/docker/{ID}/docker/{}", ID.replace('0', "f")), "docker", ID),
            (
                format!(
                    "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container"
                ),
                "podman",
                ID,
            ),
            (format!("/libpod_parent/libpod-{ID}"), "podman", ID),
            (
                format!(
                    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-{ID}.scope"
                ),
                "containerd",
                ID,
            ),
            (format!("/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope"), "cri-o", ID),
            (format!("/kubepods/besteffort/pod0d7f1c7e/{ID}"), "kubernetes", ID),
            (
                format!("/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{ID}"),
                "containerd",
                ID,
            ),
            (format!("/ecs/task/{ID}"), "ecs", ID),
            ("/lxc.payload.web-1/system.slice/a.service".into(), "lxc", "web-1"),
            ("/lxc/web/init.scope".into(), "lxc", "web"),
            ("/machine.slice/machine-my\\x2dbox.scope/payload".into(), "nspawn", "my-box"),
            ("/machine.slice/systemd-nspawn@box.service/payload".into(), "nspawn", "box"),
            ("/garden/abc".into(), "garden", "abc"),
        ] {
            let expected = Container { runtime: runtime.into(), id: id.into() };
            assert_eq!(container(&path), Some(expected), "{path}");
        }
    }

    #[test]
    fn other_paths_name_none() {
        for path in [
            "/system.slice/docker.service",
            "/system.slice/docker-registry.scope",
            "/libpod_parent/conmon",
            &format!("/machine.slice/libpod-conmon-{ID}.scope"),
            "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope",
            "/lxc.monitor.web",
            "/lxc.payload.",
            &format!("/home/{ID}"),
            "/kubepods/é€0123456789012345678901234567890123456789012345678901234567890123",
            "/docker/",
        ] {
            assert_eq!(container(path), None, "{path}");
        }
    }

    #[test]
    fn a_hybrid_system_is_asked_in_every_hierarchy() {
        let text = format!("9:name=systemd:/system.slice/a.service\n4:memory:/docker/{ID}\n0::/\nodd\n");
        let seen = placement(&text);
        assert_eq!(seen.path.as_deref(), Some("/system.slice/a.service"));
        assert_eq!(seen.unit.as_deref(), Some("a.service"));
        assert_eq!(seen.container.map(|c| c.id).as_deref(), Some(ID));
        assert_eq!(placement("0::/\n").path.as_deref(), Some("/"));
        assert_eq!(placement(""), Placement::default());
    }

    #[test]
    fn odd_escapes_stay_as_they_are() {
        assert_eq!(unescaped("a\\x2db\\xzz\\x"), "a-b\\xzz\\x");
        assert_eq!(unescaped("\\xé€"), "\\xé€");
    }
}
