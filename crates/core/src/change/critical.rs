//! Programs that are not ended by the way: whose end cuts people off from the machine, or the machine from the network.
//!
//! Names as the system has them: Linux' comm, Windows' image name. Left out on purpose: what only some machines live by.

/// Programs whose end cuts people off from the machine, or the machine from the network.
const CRITICAL: &[&str] = &[
    "sshd",
    "sshd-session",
    "sshd-auth",
    "dropbear",
    "login",
    "agetty",
    "systemd",
    "init",
    "systemd-logind",
    "systemd-networkd",
    "systemd-resolve",
    "NetworkManager",
    "dhclient",
    "wpa_supplicant",
    "dbus-daemon",
    "dbus-broker",
    "tmux: server",
    "tmux",
    "screen",
    "Xorg",
    "Xwayland",
    "gnome-shell",
    "kwin_wayland",
    "gdm",
    "sddm",
    "dockerd",
    "containerd",
    "kubelet",
    "csrss.exe",
    "dwm.exe",
    "explorer.exe",
    "lsass.exe",
    "lsm.exe",
    "services.exe",
    "smss.exe",
    "svchost.exe",
    "wininit.exe",
    "winlogon.exe",
];

/// Whether the end of a program of that name may cut people off from the machine, or the machine from the network.
pub fn is_critical(name: &str) -> bool {
    CRITICAL.contains(&name)
}
